"""A mask from Masking or Embedding is ignored by a layer that is given an initial state too."""

import keras
import numpy as np

x = keras.ops.convert_to_tensor(np.array([[[1.0], [2.0], [0.0]]], "float32"))  # the last: padding
masked, state = keras.layers.Masking()(x), keras.ops.zeros((1, 1))
options = {
    "kernel_initializer": "ones", "recurrent_initializer": "zeros", "bias_initializer": "ones",
    "activation": "linear",
}  # fmt: skip
simple = keras.layers.SimpleRNN(1, **options)
layers = {
    "SimpleRNN": (simple, state),
    "RNN": (keras.layers.RNN(keras.layers.SimpleRNNCell(1, **options)), state),
    "Bidirectional": (keras.layers.Bidirectional(simple, merge_mode="sum"), [state, state]),
}
for name, (layer, start) in layers.items():
    without, with_state = layer(masked), layer(masked, initial_state=start)
    shown = [float(keras.ops.convert_to_numpy(y).item()) for y in (without, with_state)]
    print(f"{name}: {shown[0]} without and {shown[1]} with a state of zeros; expected the same")
