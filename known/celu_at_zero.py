"""The gradient of celu at 0 is 2: maximum and minimum both pass it on. Expected 1."""

import keras
import tensorflow as tf

x = tf.constant([-1e-3, 0.0, 1e-3])
with tf.GradientTape() as tape:
    tape.watch(x)
    y = keras.activations.celu(x)
print(tape.gradient(y, x).numpy())
