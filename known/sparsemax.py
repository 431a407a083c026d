"""sparsemax has to add up to 1, and to be what a projection onto the simplex is: here its input."""

import keras

y = keras.ops.convert_to_numpy(keras.activations.sparsemax(keras.ops.array([[0.5, 0.3, 0.2]])))
print("got", y, "expected [[0.5 0.3 0.2]]")
