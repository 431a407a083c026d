"""Does each step follow from the one before?

A framework hands us all of its states, so each step is asked alone: given the ĥ_{t-1} that you
computed, is your ĥ_t the value of the recurrence, up to the rounding of that one step? Nothing
propagates, all steps are checked by one batched product, and a step that fails is a proof:

    z_t = x_t·W + ĥ_{t-1}·U + b       Δ_t = γ_k (|x_t||W| + |ĥ_{t-1}||U| + |b|),  k = F + H + 2
    |ĥ_t - act(z_t)|  <=  sup |act(z_t + e) - act(z_t)| over |e| <= Δ_t  +  the error of act itself

γ_k covers every order of summation, with or without fused multiply-add (N. J. Higham, Accuracy and
Stability of Numerical Algorithms, 2nd ed., SIAM 2002, sections 3.1 and 4.2); that such a residual
is attainable by rounding alone is the theorem of Oettli & Prager (Numer. Math. 6, 1964). Gradients
go the same way, each adjoint from the one after it and each sum from the adjoints:

    g_t = c_t + δ_{t+1}·Uᵀ            δ_t = g_t ∘ act'(z_t)
    dW = Σ x_tᵀδ_t    dU = Σ h_{t-1}ᵀδ_t    db = Σ δ_t    dx_t = δ_t·Wᵀ    dh_0 = δ_1·Uᵀ

The worst case γ_k grows with k while rounding grows with √k (Higham & Mary, SIAM J. Sci. Comput.
41, 2019), so a product of TF32 factors can hide in a wide layer. A second figure finds it, the
effective precision: bits = -log2 rms(e/m), where e is the error seen from z and m the 2-norm of
the terms that were added. TF32 shows 11.7 bits at any width, float32 more than 20.

    B batch, T timesteps, F features, H units, O outputs        R rows, K terms of a sum
    x (B,T,F)   W = kernel (F,H)   U = recurrent_kernel (H,H)   b = bias (H,)   h, z, δ (B,T,H)
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from rnn_check.reference import Array
from rnn_check.reference import activation as named
from rnn_check.rounding import (
    ARITHMETICS,
    Arithmetic,
    activation_error,
    arithmetic,
    derivative_error,
    derivative_spread,
    precision_class,
    spread,
)

_FLOAT64 = ARITHMETICS["float64"]
_UP = 1 + 2.0**-40  # covers the rounding of a bound's own few operations


# The result -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Certificate:
    """What became of the question, for one array.

    ok              every element is within its bound, and the bits are those of the arithmetic
    ratio           the largest residual/bound: 0 where both are 0, inf where only the bound is
    where           the index of that element
    bits            the effective precision, None where too little was rounded to say
    consistent_with the arithmetic that these bits speak for, None without bits
    claimed         the arithmetic that was to be proved
    reason          one sentence
    observed, expected, residual, bound     arrays of one shape, float64
    """

    ok: bool
    ratio: float
    where: tuple[int, ...]
    bits: float | None
    consistent_with: str | None
    claimed: str
    reason: str
    observed: Array = field(repr=False)
    expected: Array = field(repr=False)
    residual: Array = field(repr=False)
    bound: Array = field(repr=False)


class _Sample(NamedTuple):
    """Errors e of sums as multiples of the 2-norms m of their terms, and what float32 could do.

    border: u·√(K/3)·(|sum|/m + 3). Roundings of partial sums are independent as Higham & Mary
    model them; a partial sum is no larger than the sum itself or a random walk of its terms.
    """

    error: Array  # (N,) e/m
    border: Array  # (N,)


# Three standard deviations of the rms of N errors, 3/√(2N), stay within half the distance of the
# nearest two classes (bfloat16's 9.3 and TF32's 11.7 bits) from N = 16 on.
_ENOUGH = 16


def _conclude(
    a: Arithmetic, observed: Array, expected: Array, bound: Array, sample: _Sample | None = None
) -> Certificate:
    """Compare, and put into words."""
    with np.errstate(all="ignore"):
        residual = np.abs(observed - expected)
        residual = np.where(observed == expected, 0.0, residual)  # inf - inf
        residual = np.where(np.isnan(observed) & np.isnan(expected), 0.0, residual)
        residual = np.where(np.isnan(residual), np.inf, residual)
        ratios = np.where(residual == 0, 0.0, residual / bound)
        ratios = np.where(bound == np.inf, 0.0, ratios)
    if not ratios.size:
        return Certificate(
            False, 0.0, (), None, None, a.name, "there is nothing to judge",
            observed, expected, residual, bound,
        )  # fmt: skip
    worst = tuple(int(i) for i in np.unravel_index(np.argmax(ratios), ratios.shape))
    ratio = float(ratios[worst])
    bits, consistent, too_few = _effective(a, sample)
    ok = ratio <= 1 and not too_few
    if ratio > 1:
        off, allowed = residual[worst], bound[worst]
        reason = (
            f"at {worst}: got {observed[worst]:.9g}, expected {expected[worst]:.9g}, "
            f"off by {off:.3g} where {allowed:.3g} is allowed"
        )
    elif too_few:
        reason = f"{bits:.1f} bits of effective precision: consistent with {consistent}"
    elif (bound == np.inf).all():
        ok, reason = False, f"nothing can be said: every sum may overflow {a.name}"
    else:
        reason = "every element follows within the rounding of its own step"
        unbounded = int((bound == np.inf).sum())
        if unbounded:
            reason += f", but for {unbounded} that may overflow"
    return Certificate(
        ok, ratio, worst, bits, consistent, a.name, reason, observed, expected, residual, bound
    )


def _effective(a: Arithmetic, sample: _Sample | None) -> tuple[float | None, str | None, bool]:
    """(bits, the class they speak for, whether they are too few for the arithmetic claimed)."""
    if sample is None or sample.error.size < _ENOUGH:
        return None, None, False
    rms = math.sqrt(np.mean(np.square(sample.error)))
    if rms == 0:
        return None, None, False
    bits = -math.log2(rms)
    seen = precision_class(bits)
    if a.u != a.u_stored or a.u != a.u_sum:  # what is stored hides what was computed
        return bits, a.name if bits >= -math.log2(a.u) - 3 else seen, False
    possible = math.sqrt(np.mean(np.square(sample.border)))
    order = ("float64", "float32", "TF32", "bfloat16", "less than bfloat16")
    if order.index(seen) <= order.index(a.name) or rms <= possible:
        return bits, a.name, False
    return bits, seen, True


# Sums of products -----------------------------------------------------------------------------


class _Sum(NamedTuple):
    """rows·matrix + addend, how far an arithmetic may be from it, and how large its terms are."""

    value: Array  # (R,H) float64
    error: Array  # (R,H)
    norm: Array  # (R,H) 2-norm of the terms
    terms: int


def _flushable(array: Array, a: Arithmetic) -> Array | None:
    """|array| where a framework may read 0 instead (subnormal operands), else 0; None if all 0."""
    size = np.abs(array)
    small = (size < a.min_normal) & (size > 0)
    return np.where(small, size, 0.0) if small.any() else None


def _quantum(array: Array) -> float:
    """The largest power of two of which all numbers are multiples; inf for none but zeros."""
    finite = array[np.isfinite(array) & (array != 0)]
    if not finite.size:
        return math.inf
    mantissa, exponent = np.frexp(finite)
    whole = np.ldexp(mantissa, 53).astype(np.int64)
    return float(np.ldexp((whole & -whole).astype(np.float64), exponent - 53).min())


def _product(
    rows: Array,
    matrix: Array,
    addend: Array | None,
    a: Arithmetic,
    *,
    more: int = 0,
    stored: int = 3,
    addend_error: Array | None = None,
) -> _Sum:
    """rows (R,K) · matrix (K,H) + addend, as any order of summation may compute it.

    `more` summands are hidden in the addend beyond its first. Δ = γ_k·Σ|terms|, the reference's
    own γ_k, and what underflow takes: every operation may flush a result below the smallest
    normal number, every product may read an operand below it as 0. Where all terms are multiples
    of one power of two and their absolute sum is so small that every partial sum is a number of
    the arithmetic, nothing is rounded and Δ = 0.
    """
    K = rows.shape[1]
    k = K + 2 + more
    with np.errstate(all="ignore"):
        value = rows @ matrix
        abs_rows, abs_matrix = np.abs(rows), np.abs(matrix)
        size = abs_rows @ abs_matrix
        norm = np.square(rows) @ np.square(matrix)
        if addend is not None:
            value, size, norm = value + addend, size + np.abs(addend), norm + np.square(addend)
        gamma = a.gamma(k, stored) + _FLOAT64.gamma(k)
        # sums wider than what is stored underflow only there
        narrow, wide = (stored, k) if a.u_sum != a.u_stored else (0, 2 * k)
        wider = ARITHMETICS["float32"].min_normal if a.u_sum != a.u_stored else a.min_normal
        flushed = narrow * a.min_normal + wide * wider
        error = gamma * size + flushed
        for one, other in ((rows, abs_matrix), (abs_rows, matrix)):
            if (small := _flushable(one if one is rows else other, a)) is not None:
                error = error + (small @ other if one is rows else one @ small)
        if addend is not None and (small := _flushable(addend, a)) is not None:
            error = error + small
        error = error * (_UP + 2 * _FLOAT64.gamma(k))
        bits = -math.log2(max(a.u, a.u_sum, a.u_stored))
        quantum = _quantum(rows) * _quantum(matrix)
        if addend is not None:
            quantum = min(quantum, _quantum(addend))
        if quantum >= a.min_normal:
            error = np.where(size < min(2.0**bits * quantum, a.max), 0.0, error)
        if addend_error is not None:
            error = error + addend_error * (1 + gamma)
        error = np.where(size * (1 + gamma) > a.max, np.inf, error)
        error = np.where(np.isnan(value), 0.0, error)
        return _Sum(value, error, np.sqrt(norm), k)


def _sample(
    a: Arithmetic, sum_: _Sum, error: Array, noise: Array | float, where: Array | None = None
) -> _Sample:
    """The errors, seen from the sums, where they say something about how the sums were made.

    noise: what else may be in the error (the activation's own rounding); an element counts where
    that is at most 2^5 u·m, and underflow at most u·m.
    """
    with np.errstate(all="ignore"):
        m = sum_.norm
        counts = (noise <= 2**5 * a.u * m) & (2 * sum_.terms * a.min_normal <= a.u * m)
        counts &= np.isfinite(error) & np.isfinite(m) & (sum_.error > 0)
        if where is not None:
            counts &= where
        m, value = m[counts], sum_.value[counts]
        border = a.u * math.sqrt(sum_.terms / 3) * (np.abs(value) / m + 3)
        return _Sample(error[counts] / m, border)


# What is judged -------------------------------------------------------------------------------


def _claimed(dtype: Any, array: Array) -> Arithmetic:
    if dtype is None:
        dtype = array.dtype
    if isinstance(dtype, str):
        dtype = dtype.removeprefix("mixed_")  # weights in float32 are rounded on the way in
    return arithmetic(dtype)


def _read(name: str, array: Any, a: Arithmetic | None = None) -> Array:
    """As float64; rounded to the arithmetic first, as frameworks do with what they are given."""
    given = np.asarray(array)
    if given.dtype.kind not in "fiub" and given.dtype.name != "bfloat16":
        raise ValueError(f"{name} has dtype {given.dtype}, but should hold real numbers")
    value = given.astype(np.float64)
    if a is None or a.u_stored == _FLOAT64.u:
        return value
    with np.errstate(all="ignore"):
        if a.name in ("float32", "tf32"):
            return value if given.dtype == np.float32 else value.astype(np.float32).astype(float)
        bits = round(-math.log2(a.u_stored))
        exponent = np.maximum(np.frexp(value)[1], round(math.log2(a.min_subnormal)) + bits)
        rounded = np.ldexp(np.rint(np.ldexp(value, bits - exponent)), exponent - bits)
        rounded = np.where(np.abs(rounded) > a.max, np.copysign(np.inf, value), rounded)
        return np.where(np.isfinite(value), rounded, value)


def _check(name: str, array: Array, shape: tuple[int, ...], because: str) -> None:
    if array.shape != shape:
        raise ValueError(f"{name} has shape {array.shape}, but should have {shape}: {because}")


@dataclass(frozen=True)
class _Layer:
    """The operands of all steps, in processing order and float64, states as observed."""

    a: Arithmetic
    x: Array  # (B,T,F)
    W: Array
    U: Array
    b: Array | None
    h0: Array  # (B,H)
    h: Array  # (B,T,H) as observed
    before: Array  # (B,T,H) the state that each step started from
    mask: Array | None  # (B,T) True where a step counts
    last: Array | None  # (B,T) the last step that counted, this one included; -1 for none

    def preactivation(self) -> _Sum:
        B, T, H = self.h.shape
        rows = np.concatenate([self.x, self.before], axis=-1).reshape(B * T, -1)
        return _product(rows, np.concatenate([self.W, self.U]), self.b, self.a)

    def counted(self) -> Array | None:
        """(R,H) True where a step counts, None where all do."""
        if self.mask is None:
            return None
        return np.broadcast_to(self.mask[:, :, None], self.h.shape).reshape(-1, self.h.shape[2])


def _layer(
    states: Any,
    x: Any,
    kernel: Any,
    recurrent_kernel: Any,
    bias: Any,
    initial_state: Any,
    mask: Any,
    go_backwards: bool,
    dtype: Any,
) -> _Layer:
    a = _claimed(dtype, np.asarray(states))
    h = _read("states", states)
    if h.ndim != 3:
        raise ValueError(f"states has shape {h.shape}, but should have (batch, timesteps, units)")
    B, T, H = h.shape
    x = _read("x", x, a)
    if x.ndim != 3:
        raise ValueError(f"x has shape {x.shape}, but should have (batch, timesteps, features)")
    F = x.shape[2]
    _check("x", x, (B, T, F), "batch and timesteps of the states")
    W, U = _read("kernel", kernel, a), _read("recurrent_kernel", recurrent_kernel, a)
    _check("kernel", W, (F, H), "features of x by units of the states")
    _check("recurrent_kernel", U, (H, H), "units by units of the states")
    b = None if bias is None else _read("bias", bias, a)
    if b is not None:
        _check("bias", b, (H,), "the units of the states")
    h0 = np.zeros((B, H)) if initial_state is None else _read("initial_state", initial_state, a)
    _check("initial_state", h0, (B, H), "batch by units of the states")
    last = None
    if mask is not None:
        mask = np.asarray(mask)
        _check("mask", mask, (B, T), "batch and timesteps of the states")
        if mask.dtype.kind not in "biu":
            raise ValueError(f"mask has dtype {mask.dtype}, but should be True where a step counts")
        mask = mask.astype(bool)
    if go_backwards:
        x = x[:, ::-1]
        mask = None if mask is None else mask[:, ::-1]
    before = np.concatenate([h0[:, None], h[:, :-1]], axis=1)[:, :T]
    if mask is not None:
        last = np.maximum.accumulate(np.where(mask, np.arange(T), -1), axis=1)
        carried = np.concatenate([np.full((B, 1), -1), last[:, :-1]], axis=1)[:, :T]
        before = _at(h, h0, carried)
    return _Layer(a, x, W, U, b, h0, h, before, mask, last)


def _at(h: Array, h0: Array, step: Array) -> Array:
    """The state after each of these steps (B,T) -> (B,T,H); after -1 it is the initial one."""
    taken = np.take_along_axis(h, np.maximum(step, 0)[:, :, None], axis=1)
    return np.where(step[:, :, None] < 0, h0[:, None], taken)


# The forward pass -----------------------------------------------------------------------------


def certify(
    states: Any,
    *,
    x: Any,
    kernel: Any,
    recurrent_kernel: Any,
    bias: Any = None,
    activation: str | None = "tanh",
    initial_state: Any = None,
    mask: Any = None,
    go_backwards: bool = False,
    dtype: Any = None,
) -> Certificate:
    """Is each of these states the next value of the recurrence, up to the rounding of its step?

    states (B,T,H) in processing order, as the subject returned them; x (B,T,F), kernel (F,H),
    recurrent_kernel (H,H), bias (H,), initial_state (B,H) (zeros if not given), mask (B,T) in
    input order, True where a step counts; with go_backwards, x and mask are reversed first.
    dtype is the arithmetic the subject claims, from the states if not given: "float64",
    "float32", "float16", "bfloat16" (states then in any wider dtype), or Keras's "mixed_float16"
    and "mixed_bfloat16". Operands that it cannot hold are rounded to it first, to nearest, as
    frameworks do. float16 and bfloat16 are taken to be summed in float32 and stored narrow.

    A masked step must be a copy of the state before it, bit for bit; before a sample's first
    step that counts, that is its initial state or, as Keras returns it, zeros. Sums that may
    overflow have an infinite bound. A NaN needs a NaN among its operands, and must not vanish.

    Raises ValueError for shapes that do not fit, unknown activations and arithmetics.
    """
    act = named(activation)
    layer = _layer(
        states, x, kernel, recurrent_kernel, bias, initial_state, mask, go_backwards, dtype
    )
    B, T, H = layer.h.shape
    a, z = layer.a, layer.preactivation()
    expected, bound, sample = _activated(act.name, z, layer.h.reshape(-1, H), a, layer.counted())
    expected, bound = expected.reshape(B, T, H), bound.reshape(B, T, H)
    if layer.mask is not None and layer.last is not None:
        copied = _at(layer.h, layer.h0, layer.last)
        zeros = ((layer.last < 0) & (layer.h == 0).all(axis=-1))[:, :, None]
        copied = np.where(zeros, 0.0, copied)
        skipped = ~layer.mask[:, :, None]
        # a copy in value alone (-0.0 for 0.0) is none
        same = (copied.view(np.int64) == layer.h.view(np.int64)) | (copied != copied)
        copied = np.where(same | (copied != layer.h), copied, a.min_subnormal)
        expected = np.where(skipped, np.where(zeros, layer.h, copied), expected)
        bound = np.where(skipped, 0.0, bound)
    return _conclude(a, layer.h, expected, bound, sample)


def _activated(
    name: str, z: _Sum, observed: Array, a: Arithmetic, counted: Array | None
) -> tuple[Array, Array, _Sample | None]:
    """act(z), how far an arithmetic may be from it, and the errors as seen from z."""
    act = named(name)
    with np.errstate(all="ignore"):
        h = act.function(z.value)
        own = activation_error(name, z.value, h, _FLOAT64)
        noise = activation_error(name, z.value, h, a, z.error) + own
        bound = (spread(name, z.value, z.error) + noise) * _UP
        bound = np.where(z.error == np.inf, np.inf, bound)
        bound = np.where(np.isnan(z.value), 0.0, bound)  # NaN must be NaN
        infinite = np.isinf(z.value) & (np.isnan(observed) | np.isnan(h))  # as in -inf·sigmoid
        bound = np.where(infinite, np.inf, bound)
        if act.derivative is None:
            if name == "sparsemax":
                return h, bound, None
            slope = h if name == "softmax" else np.ones_like(h)
            clear = slope > 0
        else:
            slope = np.abs(act.derivative(z.value, h))
            clear = slope > 0.01
        if counted is not None:
            clear &= counted
        sample = _sample(a, z, (observed - h) / slope, noise / slope, clear)
    return h, bound, sample


def certify_dense(
    output: Any,
    *,
    h: Any,
    kernel: Any,
    bias: Any = None,
    activation: str | None = "linear",
    dtype: Any = None,
) -> Certificate:
    """Is this output act(h·V + c), up to rounding? output (...,O), h (...,H), kernel (H,O), bias (O,).

    h as the subject itself computed it. Otherwise as `certify`.
    """
    act = named(activation)
    a = _claimed(dtype, np.asarray(output))
    observed, h, V = _read("output", output), _read("h", h, a), _read("kernel", kernel, a)
    if V.ndim != 2:
        raise ValueError(f"kernel has shape {V.shape}, but should have (units, outputs)")
    H, O = V.shape  # noqa: E741 - the sizes declared above
    _check("h", h, (*h.shape[:-1], H), "its last size is the kernel's first")
    _check("output", observed, (*h.shape[:-1], O), "the leading sizes of h by outputs of kernel")
    c = None if bias is None else _read("bias", bias, a)
    if c is not None:
        _check("bias", c, (O,), "the outputs of kernel")
    z = _product(h.reshape(-1, H), V, c, a)
    expected, bound, sample = _activated(act.name, z, observed.reshape(-1, O), a, None)
    return _conclude(
        a, observed, expected.reshape(observed.shape), bound.reshape(observed.shape), sample
    )


# Gradients ------------------------------------------------------------------------------------


def certify_gradients(
    observed: Mapping[str, Any],
    *,
    cotangent: Any,
    states: Any,
    x: Any,
    kernel: Any,
    recurrent_kernel: Any,
    bias: Any = None,
    activation: str | None = "tanh",
    initial_state: Any = None,
    mask: Any = None,
    go_backwards: bool = False,
    dtype: Any = None,
    cotangent_error: Any = None,
) -> dict[str, Certificate]:
    """Is each adjoint the one that follows from the next, and each gradient their sum?

    observed: "delta" (B,T,H), dL/dz in processing order, which all others are judged from, and any
    of "x" (B,T,F) in input order, "kernel" (F,H), "recurrent_kernel" (H,H), "bias" (H,),
    "initial_state" (B,H). cotangent (B,T,H) is dL/dh in processing order, off by at most
    cotangent_error. The other arguments are those of `certify`, and the states are taken as they
    are: certify them first.

    delta is 0 where the mask skips a step, and what reaches that state goes on to the one before.
    act' may be evaluated from z or from h, on either side of a kink. A sum over all steps may be
    taken in any order, step by step included.

    Returns a certificate for each array observed. Raises ValueError for shapes that do not fit,
    unknown names, a missing delta, and activations that are not elementwise.
    """
    act = named(activation)
    if act.derivative is None:
        raise ValueError(f"{act.name} is not elementwise: its adjoints cannot be certified")
    layer = _layer(
        states, x, kernel, recurrent_kernel, bias, initial_state, mask, go_backwards, dtype
    )
    B, T, H = layer.h.shape
    F = layer.x.shape[2]
    shapes = {
        "delta": (B, T, H), "x": (B, T, F), "kernel": (F, H), "recurrent_kernel": (H, H),
        "bias": (H,), "initial_state": (B, H),
    }  # fmt: skip
    got = {}
    for name, array in observed.items():
        if name not in shapes:
            raise ValueError(f"observed has {name!r}, but should have some of {', '.join(shapes)}")
        got[name] = _read(name, array)
        _check(f"observed {name}", got[name], shapes[name], "as the arguments have it")
    if "delta" not in got:
        raise ValueError("observed has no 'delta', from which all others are judged")
    c = _read("cotangent", cotangent, layer.a)
    _check("cotangent", c, (B, T, H), "the states'")
    error = np.zeros_like(c) if cotangent_error is None else _read("error", cotangent_error)
    _check("cotangent_error", error, (B, T, H), "the states'")

    delta = got["delta"]
    result = {"delta": _certify_delta(act.name, layer, delta, c, error)}
    x_, before = layer.x.reshape(-1, F), layer.before.reshape(-1, H)
    flat = delta.reshape(-1, H)
    a = layer.a
    for name in got.keys() - {"delta"}:
        n = B * T
        if name == "x":
            s = _product(flat, layer.W.T, None, a)
            value, bound = s.value.reshape(B, T, F), s.error.reshape(B, T, F)
            if go_backwards:
                value, bound = value[:, ::-1], bound[:, ::-1]
            seen = got[name][:, ::-1] if go_backwards else got[name]
            sample = _sample(a, s, seen.reshape(-1, F) - s.value, 0.0)
        elif name == "initial_state":
            result[name] = _certify_initial(layer, got[name], delta, c, error)
            continue
        else:
            rows = {
                "kernel": x_.T, "recurrent_kernel": before.T, "bias": np.ones((1, n)),
            }[name]  # fmt: skip
            s = _product(rows, flat, None, a, stored=T + 2)
            value, bound = s.value.reshape(shapes[name]), s.error.reshape(shapes[name])
            sample = _sample(a, s, got[name].reshape(s.value.shape) - s.value, 0.0)
        result[name] = _conclude(a, got[name], value, bound, sample)
    return {name: result[name] for name in got}


def _arriving(layer: _Layer, delta: Array, c: Array) -> tuple[Array, Array, Array, int]:
    """What each state is given from later: (δ at the next step that counts, Σc, Σ|c|, most c).

    All (B,T+1,H), the initial state first. Σc adds the cotangent of a state and of its copies.
    """
    B, T, H = delta.shape
    if layer.mask is None:
        nothing = np.zeros((B, 1, H))
        own = np.concatenate([nothing, c], axis=1)
        return np.concatenate([delta, nothing], axis=1), own, np.abs(own), 1
    counts = np.concatenate([np.ones((B, 1), bool), layer.mask], axis=1)  # (B,T+1)
    starts = np.flatnonzero(counts)  # each state begins a run: itself and its copies
    padded = np.concatenate([np.zeros((B, 1, H)), c], axis=1).reshape(-1, H)
    own, size = (np.zeros((B * (T + 1), H)) for _ in range(2))
    own[starts] = np.add.reduceat(padded, starts, axis=0)
    size[starts] = np.add.reduceat(np.abs(padded), starts, axis=0)
    longest = int(np.diff(np.append(starts, B * (T + 1))).max())
    step = np.where(layer.mask, np.arange(T), T)
    following = np.minimum.accumulate(step[:, ::-1], axis=1)[:, ::-1]  # (B,T) this one included
    following = np.concatenate([following, np.full((B, 1), T)], axis=1)
    ended = np.concatenate([delta, np.zeros((B, 1, H))], axis=1)
    later = np.take_along_axis(ended, following[:, :, None], axis=1)
    shape = (B, T + 1, H)
    return later, own.reshape(shape), size.reshape(shape), longest


def _certify_delta(
    name: str, layer: _Layer, delta: Array, c: Array, c_error: Array
) -> Certificate:
    act, a = named(name), layer.a
    assert act.derivative is not None
    B, T, H = delta.shape
    later, own, size, most = _arriving(layer, delta, c)
    _, error, _, _ = _arriving(layer, delta, c_error)
    with np.errstate(all="ignore"):
        error = error + (a.gamma(most + H) + _FLOAT64.gamma(most)) * size * (most > 1)
        rows = later[:, 1:].reshape(-1, H)
        g = _product(
            rows, layer.U.T, own[:, 1:].reshape(-1, H), a,
            more=most, addend_error=error[:, 1:].reshape(-1, H),
        )  # fmt: skip
        z = layer.preactivation()
        h = act.function(z.value)
        slope = act.derivative(z.value, h)
        rounding_ = derivative_error(name, z.value, h, a, z.error)
        rounding_ = rounding_ + derivative_error(name, z.value, h, _FLOAT64)
        moved = derivative_spread(name, z.value, z.error)
        off = rounding_ + moved
        size_of_g = np.abs(g.value)
        expected = g.value * slope
        bound = g.error * (np.abs(slope) + off) + size_of_g * off
        bound = bound + (size_of_g + g.error) * (np.abs(slope) + off) * (a.u_stored + _FLOAT64.u)
        bound = np.where(expected == 0, bound, bound + a.min_normal)
        exact = (g.error == 0) & (off == 0) & (np.abs(slope) == 1) | (expected == 0) & (bound == 0)
        bound = np.where(exact, 0.0, bound * _UP)
        bound = np.where(np.isnan(bound), np.inf, bound)
        bound = np.where(np.isnan(expected) & np.isfinite(g.error), 0.0, bound)
        typical = a.u * math.sqrt(z.terms / 3) * (np.abs(z.value) + 3 * z.norm)
        noise = rounding_ + moved * np.fmin(1.0, typical / z.error)
        steep = np.abs(slope)
        clear = steep > 0.01
        if (counted := layer.counted()) is not None:
            clear &= counted
            expected, bound = np.where(counted, expected, 0.0), np.where(counted, bound, 0.0)
        sample = _sample(
            a, g, (delta.reshape(-1, H) - expected) / slope, size_of_g * noise / steep, clear
        )
    return _conclude(a, delta, expected.reshape(B, T, H), bound.reshape(B, T, H), sample)


def _certify_initial(
    layer: _Layer, observed: Array, delta: Array, c: Array, c_error: Array
) -> Certificate:
    """dh_0 = δ_1·Uᵀ, and the cotangents of its copies, where the states show copies and not zeros.

    Where the initial state is 0 itself, both are the same states, and either sum is accepted.
    """
    a, (_, _, H) = layer.a, delta.shape
    later, own, size, most = _arriving(layer, delta, c)
    _, error, _, _ = _arriving(layer, delta, c_error)
    with np.errstate(all="ignore"):
        error = error + (a.gamma(most + H) + _FLOAT64.gamma(most)) * size * (most > 1)
        found = []
        for kept in (0.0, 1.0):
            s = _product(
                later[:, 0], layer.U.T, kept * own[:, 0], a,
                more=most, addend_error=kept * error[:, 0],
            )  # fmt: skip
            found.append(s)
    zeros, copies = found
    expected, bound = zeros.value, zeros.error
    if layer.last is not None:
        before_first = (layer.last < 0)[:, :, None]
        shows_zeros = (~before_first | (layer.h == 0)).all(axis=(1, 2))[:, None]
        free = shows_zeros & (layer.h0 == 0).all(axis=1, keepdims=True)
        nearer = np.abs(observed - copies.value) < np.abs(observed - zeros.value)
        keep = ~shows_zeros | (free & nearer.all(axis=1, keepdims=True))
        expected = np.where(keep, copies.value, expected)
        bound = np.where(keep, copies.error, bound)
    s = _Sum(expected, bound, copies.norm, copies.terms)
    return _conclude(a, observed, expected, bound, _sample(a, s, observed - expected, 0.0))
