"""Stacked cells with a mask raise in half precision (openvino): select is given float32 too."""

import keras
import numpy as np

mask = keras.ops.convert_to_tensor(np.array([[True, False, True]]))
for dtype in ("float32", "bfloat16", "mixed_bfloat16", "float16", "mixed_float16"):
    options = {"activation": "relu", "recurrent_initializer": "zeros", "dtype": dtype}
    cells = [keras.layers.SimpleRNNCell(2, **options) for _ in range(2)]
    layer = keras.layers.RNN(cells, dtype=dtype)
    try:
        print(dtype, layer(np.ones((1, 3, 2), "float32"), mask=mask).shape)
    except Exception as error:
        print(dtype, type(error).__name__, str(error).strip()[:160], "(expected: (1, 2))")
