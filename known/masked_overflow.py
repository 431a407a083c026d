"""A step that the mask skips is computed all the same; if it overflows, gradients are NaN."""

import keras
import numpy as np
import tensorflow as tf

x = tf.constant([[[1.0], [100.0], [1.0]]])  # exp(100) is infinite in float32
layer = keras.layers.SimpleRNN(1, activation="exponential", recurrent_initializer="zeros")
layer.build((1, 3, 1))
layer.set_weights([np.ones((1, 1)), np.zeros((1, 1)), np.zeros(1)])
with tf.GradientTape() as tape:
    y = layer(x, mask=tf.constant([[True, False, True]]))
print("output", y.numpy(), "gradients", [g.numpy() for g in tape.gradient(y, layer.weights)])
print("expected: finite numbers")
