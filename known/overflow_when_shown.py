"""A state that overflows in float16 is infinite where it is shown, not where it is used (openvino).

exp(12) is 162,754, more than float16 holds. The next step is exp(11 - 2^-14 h): 0 from the state
that is shown, 2.9 from the one that openvino keeps in float32.
"""

import keras
import numpy as np

x = np.array([[[12.0], [11.0]]], "float16")
for unroll in (False, True):
    options = {"activation": "exponential", "use_bias": False, "return_sequences": True}
    options |= {"recurrent_initializer": "zeros", "dtype": "float16", "unroll": unroll}
    layer = keras.layers.SimpleRNN(1, **options)
    layer.build(x.shape)
    layer.set_weights([np.ones((1, 1)), np.full((1, 1), -(2.0**-14))])
    states = keras.ops.convert_to_numpy(layer(keras.ops.convert_to_tensor(x)))
    print(f"unroll={unroll}: {states.ravel()}, expected [inf 0]")
