"""predict, evaluate and fit do not carry the state of a stateful layer on (jax); on openvino the
state cannot even be read afterwards."""

import keras
import numpy as np

layer = keras.layers.SimpleRNN(3, stateful=True, return_sequences=True, bias_initializer="ones")
model = keras.Sequential([keras.Input(shape=(4, 2), batch_size=2), layer])
x = np.ones((2, 4, 2), "float32")
first, second = (model.predict(x, batch_size=2, verbose=0) for _ in range(2))
print("predict twice gives the same:", np.array_equal(first, second), "(expected False)")
print("state", keras.ops.convert_to_numpy(layer.states[0]), "(expected: not zeros)")
