"""A dropout rate of 1.5 is accepted, and silently made 1, which drops everything."""

import keras

layer = keras.layers.SimpleRNN(3, dropout=1.5)
print("accepted, dropout =", layer.dropout, "(expected a ValueError, as of keras.layers.Dropout)")
