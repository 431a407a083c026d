"""The last output where the last step is masked and zero_output_for_mask is set (openvino: 1)."""

import keras
import numpy as np

layer = keras.layers.SimpleRNN(
    1, zero_output_for_mask=True, activation="linear", kernel_initializer="ones",
    recurrent_initializer="zeros",
)  # fmt: skip
mask = keras.ops.convert_to_tensor(np.array([[True, True, False]]))
y = layer(np.ones((1, 3, 1), "float32"), mask=mask)
print(keras.ops.convert_to_numpy(y), "expected [[0.]], as on the other backends")
