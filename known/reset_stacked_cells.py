"""reset_state of a stateful RNN over several cells raises: a list of states is taken for one."""

import keras
import numpy as np

cells = [keras.layers.SimpleRNNCell(3), keras.layers.SimpleRNNCell(2)]
layer = keras.layers.RNN(cells, stateful=True)
layer(np.ones((2, 4, 2), "float32"))
try:
    layer.reset_state()
    print("reset")
except AttributeError as error:
    print("AttributeError:", error, "(expected: reset)")
