"""What should the numbers be?

The recurrence of a simple recurrent layer, the output layer above it, two losses, and
back-propagation through time, written to be read beside the mathematics:

    z_t = x_t·W + h_{t-1}·U + b        h_t = act(z_t)        (h_0 = 0 unless given)
    o_t = h_t·V + c                    ŷ_t = softmax(o_t)

    δ_t = (dL/dh_t + δ_{t+1}·Uᵀ) ∘ act'(z_t)
    dW = Σ x_tᵀδ_t    dU = Σ h_{t-1}ᵀδ_t    db = Σ δ_t    dx_t = δ_t·Wᵀ    dh_0 = δ_1·Uᵀ

    B batch, T timesteps, F features, H units, O outputs
    x (B,T,F)   W = kernel (F,H)   U = recurrent_kernel (H,H)   b = bias (H,)   h, z (B,T,H)
    V = dense kernel (H,O)         c = dense bias (O,)

NumPy only. Every function keeps the precision it is given (float32 stays float32), and takes
complex numbers wherever its mathematics is analytic, so that complex step can check it.
"""

import difflib
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from rnn_check.numbers.formats import Array

# Activations ----------------------------------------------------------------------------------
# Formulas: the docstrings of keras.activations in Keras 3. The functions are rearranged where the
# textbook form would overflow or cancel. At a kink the derivative is TensorFlow's choice.


@dataclass(frozen=True)
class Activation:
    """An activation and its derivative; z and h = function(z) are arrays of one shape and dtype."""

    name: str
    function: Callable[[Array], Array]  # z -> h
    vjp: Callable[[Array, Array, Array], Array]  # (g, z, h) -> dz, where g = dL/dh
    derivative: Callable[[Array, Array], Array] | None = None  # (z, h) -> act'(z); elementwise only
    into: Callable[[Array, Array], object] | None = None  # function, written into a given array


def _magnitude(z: Array) -> Array:
    return np.where(z.real < 0, -z, z)  # |z|, and analytic off the imaginary axis


def _one_where(condition: Array, z: Array) -> Array:
    return condition.astype(z.dtype)


def _relu(z: Array) -> Array:
    return np.maximum(z, 0)


def _relu6(z: Array) -> Array:
    return np.minimum(np.maximum(z, 0), 6)


def _leaky_relu(z: Array) -> Array:
    return np.where(z > 0, z, 0.2 * z)


def _elu(z: Array) -> Array:
    return np.where(z > 0, z, np.expm1(np.minimum(z, 0)))


def _elu_derivative(z: Array, h: Array) -> Array:
    return np.exp(np.minimum(z, 0))


_SELU_SCALE = 1.0507009873554804934193349852946  # Klambauer et al. 2017, equation 14
_SELU_ALPHA = 1.6732632423543772848170429916717


def _selu(z: Array) -> Array:
    return np.where(z > 0, _SELU_SCALE * z, _SELU_SCALE * _SELU_ALPHA * np.expm1(np.minimum(z, 0)))


def _selu_derivative(z: Array, h: Array) -> Array:
    negative = _SELU_SCALE * _SELU_ALPHA * np.exp(np.minimum(z, 0))
    return np.where(z >= 0, np.full_like(z, _SELU_SCALE), negative)


_erfc = np.vectorize(math.erfc, otypes=[np.float64])  # NumPy has none; the C library's is good


def _normal_cdf(z: Array) -> Array:
    if np.iscomplexobj(z):
        raise TypeError("gelu takes real numbers only: the C library's erfc knows no others")
    return np.asarray(0.5 * _erfc(-z / math.sqrt(2)), z.dtype)  # erfc(-z), as 1 + erf(z) cancels


def _gelu(z: Array) -> Array:
    return z * _normal_cdf(z)


def _gelu_derivative(z: Array, h: Array) -> Array:
    near = np.minimum(np.abs(z), 40)  # beyond 40 the density is 0, and z² might overflow
    return _normal_cdf(z) + z * np.exp(-near * near / 2) / math.sqrt(2 * math.pi)


def _sigmoid(z: Array) -> Array:
    e = np.exp(-_magnitude(z))
    return np.asarray(np.where(z.real < 0, e, 1) / (1 + e))


def _sigmoid_derivative(z: Array, h: Array) -> Array:
    e = np.exp(-_magnitude(z))
    return np.asarray(e / ((1 + e) * (1 + e)))


def _silu(z: Array) -> Array:
    return z * _sigmoid(z)


def _silu_derivative(z: Array, h: Array) -> Array:
    return np.asarray(_sigmoid(z) * (1 + z * _sigmoid(-z)))


def _softplus(z: Array) -> Array:
    return np.maximum(z, 0) + np.log1p(np.exp(-_magnitude(z)))


def _log_sigmoid(z: Array) -> Array:
    return -_softplus(-z)


def _softsign(z: Array) -> Array:
    return np.asarray(z / (1 + _magnitude(z)))


def _softsign_derivative(z: Array, h: Array) -> Array:
    reciprocal = 1 / (1 + _magnitude(z))
    return reciprocal * reciprocal


def _hard_sigmoid(z: Array) -> Array:
    return _relu6(z + 3) / 6


def _hard_sigmoid_derivative(z: Array, h: Array) -> Array:
    return _one_where((z > -3) & (z < 3), z) / 6


def _hard_silu(z: Array) -> Array:
    return z * _hard_sigmoid(z)


def _hard_silu_derivative(z: Array, h: Array) -> Array:
    return np.asarray(_hard_sigmoid(z) + z * _hard_sigmoid_derivative(z, h))


def _hard_tanh(z: Array) -> Array:
    return np.minimum(np.maximum(z, -1), 1)


def _hard_shrink(z: Array) -> Array:
    return np.where(_magnitude(z) > 0.5, z, 0)


def _soft_shrink(z: Array) -> Array:
    return np.where(z > 0.5, z - 0.5, np.where(z < -0.5, z + 0.5, 0))


def _beyond_half(z: Array, h: Array) -> Array:
    return _one_where(_magnitude(z) > 0.5, z)


def _tanh_shrink(z: Array) -> Array:
    return z - np.tanh(z)


def _tanh_shrink_derivative(z: Array, h: Array) -> Array:
    t = np.tanh(z)
    return t * t


def _squareplus_root(z: Array) -> Array:
    return np.sqrt(z * z + 4) if np.iscomplexobj(z) else np.hypot(z, 2)


def _squareplus(z: Array) -> Array:
    larger = (_magnitude(z) + _squareplus_root(z)) / 2
    return np.where(z.real < 0, 1 / larger, larger)  # the roots of h² - zh - 1 multiply to -1


def _squareplus_derivative(z: Array, h: Array) -> Array:
    return _squareplus(z) / _squareplus_root(z)


def _sparse_plus(z: Array) -> Array:
    near = _hard_tanh(z) + 1
    return np.where(z < 1, near * near / 4, z)


def _sparse_sigmoid(z: Array) -> Array:
    return (_hard_tanh(z) + 1) / 2


def _mish_parts(z: Array) -> tuple[Array, Array]:
    """tanh(softplus(z)) and 1 - tanh(softplus(z)) as rational functions of e = exp(-|z|) <= 1."""
    e = np.exp(-_magnitude(z))
    a = np.where(z.real < 0, e * (e + 2), 1 + 2 * e)
    b = np.where(z.real < 0, 2, 2 * e * e)
    return a / (a + b), b / (a + b)


def _mish(z: Array) -> Array:
    return z * _mish_parts(z)[0]


def _mish_derivative(z: Array, h: Array) -> Array:
    t, rest = _mish_parts(z)
    return np.asarray(t + z * rest * (1 + t) * _sigmoid(z))


def _softmax(z: Array) -> Array:
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    return np.asarray(e / e.sum(axis=-1, keepdims=True))


def _softmax_vjp(g: Array, z: Array, h: Array) -> Array:
    return np.asarray(h * (g - (g * h).sum(axis=-1, keepdims=True)))


def _log_softmax(z: Array) -> Array:
    shifted = z - z.max(axis=-1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True)))


def _log_softmax_vjp(g: Array, z: Array, h: Array) -> Array:
    return np.asarray(g - np.exp(h) * g.sum(axis=-1, keepdims=True))


def _sparsemax(z: Array) -> Array:
    """The point of the simplex nearest to z (Martins & Astudillo 2016, algorithm 1)."""
    shifted = z - z.max(axis=-1, keepdims=True)
    largest_first = -np.sort(-shifted, axis=-1)
    excess = largest_first.cumsum(axis=-1) - 1
    count = np.arange(1, z.shape[-1] + 1)
    support = (count * largest_first > excess).sum(axis=-1, keepdims=True)
    threshold = np.take_along_axis(excess, support - 1, axis=-1) / support
    return np.asarray(np.maximum(shifted - threshold, 0).astype(z.dtype))


def _sparsemax_vjp(g: Array, z: Array, h: Array) -> Array:
    inside = _one_where(h != 0, g)
    count = np.maximum(inside.sum(axis=-1, keepdims=True), 1)  # 0: a state that a mask copied
    return np.asarray(inside * (g - (inside * g).sum(axis=-1, keepdims=True) / count))


def _elementwise(
    name: str,
    function: Callable[[Array], Array],
    derivative: Callable[[Array, Array], Array],
    into: Callable[[Array, Array], object] | None = None,
) -> Activation:
    return Activation(name, function, lambda g, z, h: g * derivative(z, h), derivative, into)


_ALL = (
    _elementwise("linear", lambda z: z, lambda z, h: np.ones_like(z), lambda z, h: np.copyto(h, z)),
    _elementwise("tanh", np.tanh, lambda z, h: (1 - h) * (1 + h), np.tanh),
    _elementwise(
        "relu", _relu, lambda z, h: _one_where(z > 0, z), lambda z, h: np.maximum(z, 0, out=h)
    ),
    _elementwise("relu6", _relu6, lambda z, h: _one_where((z > 0) & (z < 6), z)),
    _elementwise("leaky_relu", _leaky_relu, lambda z, h: np.where(z > 0, np.ones_like(z), 0.2)),
    _elementwise("elu", _elu, _elu_derivative),
    _elementwise("celu", _elu, _elu_derivative),  # the same at Keras's alpha = 1
    _elementwise("selu", _selu, _selu_derivative),
    _elementwise("gelu", _gelu, _gelu_derivative),
    _elementwise("silu", _silu, _silu_derivative),
    _elementwise("softplus", _softplus, lambda z, h: _sigmoid(z)),
    _elementwise("softsign", _softsign, _softsign_derivative),
    _elementwise("sigmoid", _sigmoid, _sigmoid_derivative),
    _elementwise("log_sigmoid", _log_sigmoid, lambda z, h: _sigmoid(-z)),
    _elementwise("exponential", np.exp, lambda z, h: h, np.exp),
    _elementwise("hard_sigmoid", _hard_sigmoid, _hard_sigmoid_derivative),
    _elementwise("hard_silu", _hard_silu, _hard_silu_derivative),
    _elementwise("hard_tanh", _hard_tanh, lambda z, h: _one_where((z >= -1) & (z <= 1), z)),
    _elementwise("hard_shrink", _hard_shrink, _beyond_half),
    _elementwise("soft_shrink", _soft_shrink, _beyond_half),
    _elementwise("tanh_shrink", _tanh_shrink, _tanh_shrink_derivative),
    _elementwise("squareplus", _squareplus, _squareplus_derivative),
    _elementwise("sparse_plus", _sparse_plus, lambda z, h: _sparse_sigmoid(z)),
    _elementwise("sparse_sigmoid", _sparse_sigmoid, lambda z, h: _one_where(abs(z) < 1, z) / 2),
    _elementwise("mish", _mish, _mish_derivative),
    Activation("softmax", _softmax, _softmax_vjp),
    Activation("log_softmax", _log_softmax, _log_softmax_vjp),
    Activation("sparsemax", _sparsemax, _sparsemax_vjp),
)

ACTIVATIONS: dict[str, Activation] = {a.name: a for a in _ALL}
ACTIVATIONS["swish"] = ACTIVATIONS["silu"]
ACTIVATIONS["hard_swish"] = ACTIVATIONS["hard_silu"]


def activation(name: str | None) -> Activation:
    """The activation of this Keras name; None is linear, as in Keras.

    Raises ValueError that names the nearest known activation.
    """
    known = ACTIVATIONS.get("linear" if name is None else name)
    if known is None:
        near = difflib.get_close_matches(str(name).lower(), ACTIVATIONS, n=1, cutoff=0)[0]
        raise ValueError(f"unknown activation {name!r}: did you mean {near!r}?")
    return known
