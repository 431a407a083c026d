"""Masks and states of a wrong shape are taken without a word, here and there."""

import keras
import numpy as np

x, layer = np.ones((3, 5, 2), "float32"), keras.layers.SimpleRNN(3)
wrong = {
    "mask of 4 timesteps for 5": {"mask": keras.ops.ones((3, 4), "bool")},
    "mask of 6 timesteps for 5": {"mask": keras.ops.ones((3, 6), "bool")},
    "mask of 2 samples for 3": {"mask": keras.ops.ones((2, 5), "bool")},
    "state without a batch": {"initial_state": keras.ops.ones((3,))},
    "state of 1 sample for 3": {"initial_state": keras.ops.ones((1, 3))},
}
for name, given in wrong.items():
    try:
        print(f"{name}: accepted, {layer(x, **given).shape}; expected an exception")
    except Exception as error:
        print(f"{name}: {type(error).__name__}")
