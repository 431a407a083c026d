"""A layer of dtype float64 computes in float32 on torch, numpy and openvino; on jax, with
jax_enable_x64, it raises or does the same. Only TensorFlow computes in float64.

keras.backend.result_type("float64", "float64") is "float32" there, and matmul and add cast to it.
"""

import keras
import numpy as np

if keras.backend.backend() == "jax":
    import jax

    jax.config.update("jax_enable_x64", True)
keras.backend.set_floatx("float64")
print("float64 and float64 make", keras.backend.result_type("float64", "float64"))
x = np.random.default_rng(0).normal(size=(2, 4, 2))
layer = keras.layers.SimpleRNN(3, use_bias=False, dtype="float64")
layer.build(x.shape)
kernel, recurrent_kernel = layer.get_weights()
state = np.zeros((2, 3))
for step in range(4):
    state = np.tanh(x[:, step] @ kernel + state @ recurrent_kernel)
try:
    y = keras.ops.convert_to_numpy(layer(keras.ops.convert_to_tensor(x)))
    print(f"output {y.dtype}, off by {np.abs(y - state).max():.1e}; expected about 1e-16")
except Exception as error:
    print(type(error).__name__, str(error)[:300])
