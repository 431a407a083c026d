"""Dropout in training drops the same at every call (openvino): no dropout, but a pruning."""

import keras
import numpy as np

layer = keras.layers.SimpleRNN(64, dropout=0.5)
x = np.ones((2, 3, 64), "float32")
first, second = (keras.ops.convert_to_numpy(layer(x, training=True)) for _ in range(2))
print("the same output twice:", np.array_equal(first, second), "(expected False)")
plain = keras.layers.Dropout(0.5)
first, second = (keras.ops.convert_to_numpy(plain(x, training=True)) for _ in range(2))
print("of keras.layers.Dropout:", np.array_equal(first, second), "(expected False)")
