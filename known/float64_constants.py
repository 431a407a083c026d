"""leaky_relu and gelu of a float64 are off by float32's rounding (tensorflow)."""

import math

import keras
import numpy as np

z = 1.25
want = {"leaky_relu": -0.2 * z, "gelu": -z * (1 + math.erf(-z / math.sqrt(2))) / 2}
for name, expected in want.items():
    y = getattr(keras.activations, name)(keras.ops.convert_to_tensor(np.array([-z]), "float64"))
    print(name, y.dtype, f"off by {abs(float(y[0]) - expected):.1e}; expected about 1e-17")
