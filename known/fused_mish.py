"""mish of a negative number in a tf.function: softplus, tanh and the product are fused into one
operation, in which log(1 + exp(z)) or so cancels. Eager, by XLA, and where the gradient is asked
for, nothing is fused.
"""

import keras
import numpy as np
import tensorflow as tf

x = tf.constant([-3.0, -12.0, -17.0])
truth = x.numpy() * np.tanh(np.log1p(np.exp(x.numpy().astype(float))))
mish = keras.activations.mish
print("eager", mish(x).numpy(), "tf.function", tf.function(mish)(x).numpy(), "expected", truth)
