"""On the numpy backend of Keras 3.6.0 to 3.13.2 no tensor of a model carries a mask."""

import keras

masked = keras.layers.Masking()(keras.Input((3, 1)))
print("mask of a masked input:", getattr(masked, "_keras_mask", None), "(expected one)")
