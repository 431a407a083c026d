"""RNN over a list of one cell raises a TypeError (jax)."""

import keras
import numpy as np

layer = keras.layers.RNN([keras.layers.SimpleRNNCell(3)])
print(layer(np.ones((2, 4, 2), "float32")).shape, "expected (2, 3)")
