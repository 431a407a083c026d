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
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


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


_named = activation  # for the functions below, whose argument has that name


# The recurrence -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Cache:
    """What backward needs to remember of forward, in processing order and time-major."""

    activation: Activation
    go_backwards: bool
    x: Array  # (T,B,F)
    kernel: Array  # (F,H)
    recurrent_kernel: Array  # (H,H)
    bias: Array | None  # (H,)
    h: Array  # (T+1,B,H) the initial state first
    skip: Array | None  # (T,B,1) True where the mask says the step does not count


class Gradients(NamedTuple):
    """The gradient of a loss with respect to each argument of forward, and to z."""

    x: Array  # (B,T,F) in input order
    kernel: Array  # (F,H)
    recurrent_kernel: Array  # (H,H)
    bias: Array  # (H,) also without a bias: what one of zeros would receive
    initial_state: Array  # (B,H)
    delta: Array  # (B,T,H) in processing order


def _check(name: str, array: Array, wanted: tuple[int | str, ...], because: str = "") -> None:
    """Sizes in `wanted` must be equal; letters name sizes that may be anything."""
    fits = array.ndim == len(wanted) and all(
        isinstance(want, str) or size == want
        for size, want in zip(array.shape, wanted, strict=True)
    )
    if not fits:
        shape = "(" + ", ".join(map(str, wanted)) + ("," if len(wanted) == 1 else "") + ")"
        raise ValueError(f"{name} has shape {array.shape}, but should have {shape}{because}")


def _arrays(*given: Array | None) -> list[Any]:
    """As arrays of the one dtype that holds them all: integers become float64."""
    arrays = [None if a is None else np.asarray(a) for a in given]
    dtype = np.result_type(np.float16, *(a for a in arrays if a is not None))
    return [None if a is None else a.astype(dtype, copy=False) for a in arrays]


def forward(
    x: Array,
    kernel: Array,
    recurrent_kernel: Array,
    bias: Array | None = None,
    *,
    activation: str | None = "tanh",
    initial_state: Array | None = None,
    mask: Array | None = None,
    go_backwards: bool = False,
) -> tuple[Array, Cache]:
    """The states of a simple recurrent layer over a sequence, and what backward needs.

    x (B,T,F), kernel (F,H), recurrent_kernel (H,H), bias (H,), initial_state (B,H) (zeros if not
    given), mask (B,T) in input order, True where a step counts; the state is copied where not.
    With go_backwards, x and mask are reversed in time first, and the states come in processing
    order, as Keras returns them.

    Returns the states (B,T,H), in np.result_type of the numbers given. They are a view of
    time-major memory that backward reads again: copy them before you change them.
    All products with x are one matrix product before the loop, and each state replaces its step's
    share of it; the loop allocates nothing. (An activation may need room for its own steps, B·H
    numbers each; linear, tanh, relu and exponential need none.)

    Raises ValueError for an unknown activation or shapes that do not fit.
    """
    act = _named(activation)
    x, W, U, b, h0 = _arrays(x, kernel, recurrent_kernel, bias, initial_state)
    _check("x", x, ("batch", "timesteps", "features"))
    _check("recurrent_kernel", U, ("units", "units"))
    B, T, F = x.shape
    H = U.shape[0]
    _check("recurrent_kernel", U, (H, H), ": square, units by units")
    _check("kernel", W, (F, H), ": features of x by units of recurrent_kernel")
    if b is not None:
        _check("bias", b, (H,), ": the units of recurrent_kernel")
    if h0 is not None:
        _check("initial_state", h0, (B, H), ": batch of x by units")
    if mask is not None:
        mask = np.asarray(mask, bool)
        _check("mask", mask, (B, T), ": batch and timesteps of x")
    if go_backwards:
        x = x[:, ::-1]
        mask = None if mask is None else mask[:, ::-1]

    x = np.ascontiguousarray(x.swapaxes(0, 1))  # (T,B,F) time-major: each step is one block
    h = np.empty((T + 1, B, H), x.dtype)
    h[0] = 0 if h0 is None else h0
    np.matmul(x.reshape(T * B, F), W, out=h[1:].reshape(T * B, H))
    if b is not None:
        h[1:] += b
    z = np.empty((B, H), x.dtype)
    into = act.into or (lambda z, h: np.copyto(h, act.function(z)))
    before, add = h[0], np.add
    if mask is None:
        skip = None
        for h_t in h[1:]:  # h_t holds x_t·W + b until the state replaces it
            before.dot(U, z)
            add(z, h_t, z)
            into(z, h_t)
            before = h_t
    else:
        skip = ~mask.T[:, :, np.newaxis]
        for h_t, skip_t in zip(h[1:], skip, strict=True):
            before.dot(U, z)
            add(z, h_t, z)
            into(z, h_t)
            np.copyto(h_t, before, where=skip_t)
            before = h_t
    return h[1:].swapaxes(0, 1), Cache(act, go_backwards, x, W, U, b, h, skip)


def backward(dstates: Array, cache: Cache) -> Gradients:
    """Back-propagation through time, without truncation.

    dstates (B,T,H) is dL/dh in processing order, as forward returned the states. Where the mask
    skipped a step its delta is 0, and what reaches its state goes on to the state before it.
    The gradients are true to the numbers' mathematics, complex ones not conjugated.
    Raises ValueError when dstates does not have the shape of the states.
    """
    x, W, U, h = cache.x, cache.kernel, cache.recurrent_kernel, cache.h
    T, B, F = x.shape
    H = U.shape[0]
    derivative, vjp = cache.activation.derivative, cache.activation.vjp
    dstates = np.asarray(dstates)
    _check("dstates", dstates, (B, T, H), ": the states that forward returned")

    z = np.tensordot(x, W, 1) + np.tensordot(h[:-1], U, 1)  # forward keeps h alone
    if cache.bias is not None:
        z += cache.bias
    delta = np.empty((T, B, H), np.result_type(dstates, h))
    if derivative is not None:
        delta[...] = derivative(z, h[1:])  # each waits where its delta will be
    g = np.empty((B, H), delta.dtype)  # dL/dh_t
    later = np.zeros((B, H), delta.dtype)  # the part of it that came through h_{t+1}
    U_transposed = U.T.astype(delta.dtype)
    for t in reversed(range(T)):
        delta_t = delta[t]
        np.add(dstates[:, t], later, out=g)
        if derivative is not None:
            np.multiply(g, delta_t, out=delta_t)
        else:
            delta_t[...] = vjp(g, z[t], h[t + 1])
        if cache.skip is not None:
            np.copyto(delta_t, 0, where=cache.skip[t])
        np.dot(delta_t, U_transposed, out=later)
        if cache.skip is not None:
            np.copyto(later, g, where=cache.skip[t])

    dx = np.tensordot(delta, W.T, 1).swapaxes(0, 1)  # (B,T,F)
    flat = delta.reshape(T * B, H)
    return Gradients(
        x=dx[:, ::-1] if cache.go_backwards else dx,
        kernel=x.reshape(T * B, F).T @ flat,
        recurrent_kernel=h[:-1].reshape(T * B, H).T @ flat,
        bias=flat.sum(axis=0),
        initial_state=later,
        delta=delta.swapaxes(0, 1),
    )


# The output layer and the losses --------------------------------------------------------------


@dataclass(frozen=True)
class DenseCache:
    """What dense_backward needs to remember of dense."""

    activation: Activation
    h: Array  # (...,H)
    kernel: Array  # (H,O)
    z: Array  # (...,O)
    output: Array  # (...,O)


class DenseGradients(NamedTuple):
    """The gradient of a loss with respect to each argument of dense."""

    h: Array  # (...,H)
    kernel: Array  # (H,O)
    bias: Array  # (O,) also without a bias: what one of zeros would receive


def dense(
    h: Array,
    kernel: Array,
    bias: Array | None = None,
    *,
    activation: str | None = "linear",
) -> tuple[Array, DenseCache]:
    """The output layer act(h·V + c): h (...,H), kernel V (H,O), bias c (O,) to (...,O).

    With activation="softmax" it is the article's ŷ = softmax(h·V + c).
    Raises ValueError for an unknown activation or shapes that do not fit.
    """
    act = _named(activation)
    h, V, c = _arrays(h, kernel, bias)
    _check("kernel", V, ("units", "outputs"))
    H, O = V.shape  # noqa: E741 - the sizes declared above
    _check("h", h, (*map(str, h.shape[:-1]), H), ": its last size is the kernel's first")
    if c is not None:
        _check("bias", c, (O,), ": the outputs of kernel")
    z = h @ V if c is None else h @ V + c
    output = act.function(z)
    return output, DenseCache(act, h, V, z, output)


def dense_backward(doutput: Array, cache: DenseCache) -> DenseGradients:
    """The gradients of dense, given dL/d(output) (...,O); ValueError when its shape is another."""
    doutput = np.asarray(doutput)
    _check("doutput", doutput, cache.z.shape, ": the output that dense returned")
    dz = cache.activation.vjp(doutput, cache.z, cache.output)
    leading = tuple(range(dz.ndim - 1))
    return DenseGradients(
        h=dz @ cache.kernel.T,
        kernel=np.tensordot(cache.h, dz, axes=(leading, leading)),
        bias=dz.sum(axis=leading),
    )


def mean_squared_error(target: Array, prediction: Array) -> tuple[float, Array]:
    """The mean of (prediction - target)² over all entries, as in Keras, and its gradient.

    Raises ValueError when the shapes differ: nothing is broadcast.
    """
    target, prediction = _arrays(target, prediction)
    _check("target", target, prediction.shape, ": the prediction's")
    error = prediction - target
    return (error * error).mean().item(), error * (2 / error.size)


def categorical_cross_entropy(
    target: Array, output: Array, *, epsilon: float = 1e-7
) -> tuple[float, Array]:
    """-Σ target·log(p) over the last axis, its mean over the others, and its gradient: Keras's.

    p is the output divided by its sum, and kept epsilon away from 0 and 1, beyond which its
    gradient is 0. With epsilon = 0 it is taken as it is: a p of 0 where the target is not 0 costs
    infinity, and has no gradient (nan). Of outputs that sum to 0 there is neither.
    Raises ValueError when the shapes differ: nothing is broadcast.
    """
    target, output = _arrays(target, output)
    _check("target", target, output.shape, ": the output's")
    rows = math.prod(target.shape[:-1])
    with np.errstate(divide="ignore", invalid="ignore"):
        total = output.sum(axis=-1, keepdims=True)
        share = output / total
        below = (share.real < epsilon) & (epsilon > 0)
        above = (share.real > 1 - epsilon) & (epsilon > 0)
        kept = np.where(below, epsilon, np.where(above, 1 - epsilon, share))
        kept = np.where(target != 0, kept, 1)  # 0·log(0) is 0
        loss = -(target * np.log(kept)).sum() / rows
        of_share = np.where(below | above, 0, -target / kept / rows)
        passed = np.where(of_share != 0, of_share * share, 0).sum(axis=-1, keepdims=True)
        return loss.item(), (of_share - passed) / total
