"""A dropout rate of 1.5 is accepted, and silently made 1, which drops everything; on tensorflow,
until Keras 3.13.2, the call raises."""

import keras
import numpy as np

layer = keras.layers.SimpleRNN(3, dropout=1.5)
print("accepted, dropout =", layer.dropout, "(expected a ValueError, as of keras.layers.Dropout)")
try:
    print("called:", layer(np.ones((2, 4, 2), "float32"), training=True).shape)
except Exception as error:
    print(type(error).__name__, str(error)[:200])
