"""zero_output_for_mask of an unrolled layer.

On jax and numpy it is ignored; on tensorflow, with go_backwards, the mask is taken in the order of
the input, so that the wrong steps are zero.
"""

import keras
import numpy as np

x = np.ones((1, 3, 1), "float32")
mask = keras.ops.convert_to_tensor(np.array([[True, False, False]]))
for backwards in (False, True):
    for unroll in (False, True):
        layer = keras.layers.SimpleRNN(
            1, return_sequences=True, zero_output_for_mask=True, unroll=unroll,
            go_backwards=backwards, activation="linear", kernel_initializer="ones",
            recurrent_initializer="ones",
        )  # fmt: skip
        y = keras.ops.convert_to_numpy(layer(x, mask=mask)).ravel()
        print(f"go_backwards={backwards} unroll={unroll}: {y}")
print("expected: [1 0 0] forwards and [0 0 1] backwards, unrolled or not")
