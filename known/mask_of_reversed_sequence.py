"""A sequence that is returned reversed carries a mask that is not."""

import keras
import numpy as np

x = np.array([[[1.0], [2.0], [0.0]]], "float32")  # the last step is padding
masked = keras.layers.Masking()(x)
options = {"return_sequences": True, "kernel_initializer": "ones", "activation": "linear"}
layer = keras.layers.SimpleRNN(
    1, go_backwards=True, recurrent_initializer="zeros", zero_output_for_mask=True, **options
)
y = layer(masked)  # [0, 2, 1]: the padding comes first
mask = layer.compute_mask(masked, np.array([[True, True, False]]))
print("output", keras.ops.convert_to_numpy(y).ravel())
print("mask", np.asarray(mask).ravel(), "expected [False True True]")
