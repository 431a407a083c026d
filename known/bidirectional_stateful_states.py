"""Bidirectional over a stateful layer that returns its state raises a TypeError after Masking.

compute_mask multiplies a generator: (None for _ in self.states) * 2.
"""

import keras
import numpy as np

masked = keras.layers.Masking()(np.ones((2, 3, 1), "float32"))
inner = keras.layers.SimpleRNN(1, stateful=True, return_state=True)
try:
    print([tuple(y.shape) for y in keras.layers.Bidirectional(inner)(masked)])
except TypeError as error:
    print("TypeError:", error, "(expected: an output and two states)")
