"""What are the values and the slopes of activations?

Formulas: the docstrings of keras.activations in Keras 3. The functions are rearranged where the
textbook form would overflow or cancel. At a kink the derivative is TensorFlow's choice. Of an
activation of single numbers, h = act(z); of rows, `_vjp` is dz = dL/dz from g = dL/dh.

NumPy only. Every function keeps the precision it is given (float32 stays float32), and takes
complex numbers wherever its mathematics is analytic, so that complex step can check it.
"""

import math

import numpy as np

from rnn_check.numbers.formats import Array


def _magnitude(z: Array) -> Array:
    return np.where(z.real < 0, -z, z)  # |z|, and analytic off the imaginary axis


def one_where(condition: Array, z: Array) -> Array:
    return condition.astype(z.dtype)


def relu(z: Array) -> Array:
    return np.maximum(z, 0)


def relu6(z: Array) -> Array:
    return np.minimum(np.maximum(z, 0), 6)


def leaky_relu(z: Array) -> Array:
    return np.where(z > 0, z, 0.2 * z)


def elu(z: Array) -> Array:
    return np.where(z > 0, z, np.expm1(np.minimum(z, 0)))


def elu_derivative(z: Array, h: Array) -> Array:
    return np.exp(np.minimum(z, 0))


SELU_SCALE = 1.0507009873554804934193349852946  # Klambauer et al. 2017, equation 14
SELU_ALPHA = 1.6732632423543772848170429916717


def selu(z: Array) -> Array:
    return np.where(z > 0, SELU_SCALE * z, SELU_SCALE * SELU_ALPHA * np.expm1(np.minimum(z, 0)))


def selu_derivative(z: Array, h: Array) -> Array:
    negative = SELU_SCALE * SELU_ALPHA * np.exp(np.minimum(z, 0))
    return np.where(z >= 0, np.full_like(z, SELU_SCALE), negative)


_erfc = np.vectorize(math.erfc, otypes=[np.float64])  # NumPy has none; the C library's is good


def normal_cdf(z: Array) -> Array:
    if np.iscomplexobj(z):
        raise TypeError("gelu takes real numbers only: the C library's erfc knows no others")
    return np.asarray(0.5 * _erfc(-z / math.sqrt(2)), z.dtype)  # erfc(-z), as 1 + erf(z) cancels


def gelu(z: Array) -> Array:
    return z * normal_cdf(z)


def gelu_derivative(z: Array, h: Array) -> Array:
    near = np.minimum(np.abs(z), 40)  # beyond 40 the density is 0, and z² might overflow
    return normal_cdf(z) + z * np.exp(-near * near / 2) / math.sqrt(2 * math.pi)


def sigmoid(z: Array) -> Array:
    e = np.exp(-_magnitude(z))
    return np.asarray(np.where(z.real < 0, e, 1) / (1 + e))


def sigmoid_derivative(z: Array, h: Array) -> Array:
    e = np.exp(-_magnitude(z))
    return np.asarray(e / ((1 + e) * (1 + e)))


def silu(z: Array) -> Array:
    return z * sigmoid(z)


def silu_derivative(z: Array, h: Array) -> Array:
    return np.asarray(sigmoid(z) * (1 + z * sigmoid(-z)))


def softplus(z: Array) -> Array:
    return np.maximum(z, 0) + np.log1p(np.exp(-_magnitude(z)))


def log_sigmoid(z: Array) -> Array:
    return -softplus(-z)


def softsign(z: Array) -> Array:
    return np.asarray(z / (1 + _magnitude(z)))


def softsign_derivative(z: Array, h: Array) -> Array:
    reciprocal = 1 / (1 + _magnitude(z))
    return reciprocal * reciprocal


def hard_sigmoid(z: Array) -> Array:
    return relu6(z + 3) / 6


def hard_sigmoid_derivative(z: Array, h: Array) -> Array:
    return one_where((z > -3) & (z < 3), z) / 6


def hard_silu(z: Array) -> Array:
    return z * hard_sigmoid(z)


def hard_silu_derivative(z: Array, h: Array) -> Array:
    return np.asarray(hard_sigmoid(z) + z * hard_sigmoid_derivative(z, h))


def hard_tanh(z: Array) -> Array:
    return np.minimum(np.maximum(z, -1), 1)


def hard_shrink(z: Array) -> Array:
    return np.where(_magnitude(z) > 0.5, z, 0)


def soft_shrink(z: Array) -> Array:
    return np.where(z > 0.5, z - 0.5, np.where(z < -0.5, z + 0.5, 0))


def beyond_half(z: Array, h: Array) -> Array:
    return one_where(_magnitude(z) > 0.5, z)


def tanh_shrink(z: Array) -> Array:
    return z - np.tanh(z)


def tanh_shrink_derivative(z: Array, h: Array) -> Array:
    t = np.tanh(z)
    return t * t


def squareplus_root(z: Array) -> Array:
    return np.sqrt(z * z + 4) if np.iscomplexobj(z) else np.hypot(z, 2)


def squareplus(z: Array) -> Array:
    larger = (_magnitude(z) + squareplus_root(z)) / 2
    return np.where(z.real < 0, 1 / larger, larger)  # the roots of h² - zh - 1 multiply to -1


def squareplus_derivative(z: Array, h: Array) -> Array:
    return squareplus(z) / squareplus_root(z)


def sparse_plus(z: Array) -> Array:
    near = hard_tanh(z) + 1
    return np.where(z < 1, near * near / 4, z)


def sparse_sigmoid(z: Array) -> Array:
    return (hard_tanh(z) + 1) / 2


def mish_parts(z: Array) -> tuple[Array, Array]:
    """tanh(softplus(z)) and 1 - tanh(softplus(z)) as rational functions of e = exp(-|z|) <= 1."""
    e = np.exp(-_magnitude(z))
    a = np.where(z.real < 0, e * (e + 2), 1 + 2 * e)
    b = np.where(z.real < 0, 2, 2 * e * e)
    return a / (a + b), b / (a + b)


def mish(z: Array) -> Array:
    return z * mish_parts(z)[0]


def mish_derivative(z: Array, h: Array) -> Array:
    t, rest = mish_parts(z)
    return np.asarray(t + z * rest * (1 + t) * sigmoid(z))


def softmax(z: Array) -> Array:
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    return np.asarray(e / e.sum(axis=-1, keepdims=True))


def softmax_vjp(g: Array, z: Array, h: Array) -> Array:
    return np.asarray(h * (g - (g * h).sum(axis=-1, keepdims=True)))


def log_softmax(z: Array) -> Array:
    shifted = z - z.max(axis=-1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True)))


def log_softmax_vjp(g: Array, z: Array, h: Array) -> Array:
    return np.asarray(g - np.exp(h) * g.sum(axis=-1, keepdims=True))


def sparsemax(z: Array) -> Array:
    """The point of the simplex nearest to z (Martins & Astudillo 2016, algorithm 1)."""
    shifted = z - z.max(axis=-1, keepdims=True)
    largest_first = -np.sort(-shifted, axis=-1)
    excess = largest_first.cumsum(axis=-1) - 1
    count = np.arange(1, z.shape[-1] + 1)
    support = (count * largest_first > excess).sum(axis=-1, keepdims=True)
    threshold = np.take_along_axis(excess, support - 1, axis=-1) / support
    return np.asarray(np.maximum(shifted - threshold, 0).astype(z.dtype))


def sparsemax_vjp(g: Array, z: Array, h: Array) -> Array:
    inside = one_where(h != 0, g)
    count = np.maximum(inside.sum(axis=-1, keepdims=True), 1)  # 0: a state that a mask copied
    return np.asarray(inside * (g - (inside * g).sum(axis=-1, keepdims=True) / count))
