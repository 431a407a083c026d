"""RNN over a list of cells computes in floatx, whatever its dtype: StackedRNNCells is not told."""

import keras
import numpy as np

for dtype in ("float64", "float16"):
    cells = [keras.layers.SimpleRNNCell(2, recurrent_initializer="ones", dtype=dtype)]
    layer = keras.layers.RNN([*cells, *cells], dtype=dtype)
    print(dtype, "cells in", layer.cell.dtype_policy.name, f"(expected {dtype})")
    mask = keras.ops.convert_to_tensor(np.array([[True, False, True]]))
    try:
        print("with a mask:", layer(np.ones((1, 3, 2), dtype), mask=mask).dtype)
    except Exception as error:
        print("with a mask:", type(error).__name__, "(expected none)")
