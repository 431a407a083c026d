"""How far may they be off?

Bounds on what rounding can do to the numbers of `reference`, each derived where it is used, from

    fl(a op b) = (a op b)(1 + ε), |ε| <= u        k such factors: 1 + θ_k, |θ_k| <= γ_k
    γ_k = k·u / (1 - k·u)                         Higham, Accuracy and Stability of Numerical
                                                  Algorithms, 2nd ed., SIAM 2002, lemma 3.1

where u is the unit roundoff of an arithmetic (float32: 2^-24). A sum of products, in any order and
with or without fused multiply-add, is off by at most γ_k Σ|a_i||b_i|, where k counts the roundings
on the longest way through it (Higham, section 3.1), plus what underflow adds. Under IEEE rules that
is half a smallest subnormal a product (section 2.1), but frameworks flush subnormals to zero,
results and operands alike (TensorFlow sets FTZ and DAZ). So underflow terms here are built from the
smallest *normal* number η: η for each result that may be flushed, and |w| itself for each operand w
below η.

    B batch, T timesteps, F features, H units, O outputs
    x (B,T,F)   W = kernel (F,H)   U = recurrent_kernel (H,H)   b = bias (H,)   h, z (B,T,H)
    E (B,T,H)   how far a state may be from the reference's     D (B,T,H) the same for z

All bounds are float64 and never NaN: where nothing can be said, a bound is inf. They are sums and
products of numbers >= 0; the rounding of their own evaluation is covered by one last factor.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from rnn_check import reference
from rnn_check.reference import ACTIVATIONS, Activation, Array, DenseGradients, Gradients

Bound = npt.NDArray[np.float64]


# Arithmetics ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Arithmetic:
    """A floating-point arithmetic as frameworks use it in a recurrence.

    u is the roundoff that names it. What is stored (states, activations) is off by u_stored, sums
    inside a matrix product by u_sum, the result of one by u_product, and its operands by u_operand.
    """

    name: str
    u: float
    min_normal: float
    min_subnormal: float
    max: float
    u_stored: float
    u_sum: float
    u_product: float
    u_operand: float = 0.0

    @property
    def bits(self) -> int:
        """Integers below 2^bits pass every rounding unchanged (but never more than float64's)."""
        coarsest = max(self.u, self.u_stored, self.u_sum)
        return int(-math.log2(coarsest)) if coarsest else 53

    def gamma(self, k: int, stored: int = 3) -> float:
        """The relative error of a sum of products with k roundings on the longest way through it.

        Where sums are wider than storage, `stored` of the k roundings are those of storing:
        SimpleRNN stores x·W, x·W + b, h·U and the sum of both, three on the longest way. Both kinds
        are then counted in full, which is more than enough.
        """
        if self.u_sum == self.u_product:
            return gamma(k, self.u)
        factors = (gamma(k, self.u_sum), gamma(stored, self.u_product), gamma(2, self.u_operand))
        return math.prod(1 + factor for factor in factors) * _UP - 1

    def underflow(self, k: int, stored: int = 3) -> float:
        """What flushed results add to such a sum: η for each of k products and k sums.

        Twice that, for the roundings that follow. Sums wider than storage underflow in float32.
        """
        wide = self.min_normal if self.u_sum == self.u_product else min(self.min_normal, 2.0**-126)
        return 2 * (2 * k * wide + stored * self.min_normal)


def _arithmetic(
    name: str,
    bits: int,
    exponent: int,
    *,
    stored: int | None = None,
    sums: int | None = None,
    product: int | None = None,
    operand: float = 0.0,
) -> Arithmetic:
    """`bits` of precision with the hidden one; the largest number is just below 2^(exponent+1)."""
    width = stored or bits
    return Arithmetic(
        name=name,
        u=2.0**-bits,
        min_normal=2.0 ** (1 - exponent),
        min_subnormal=2.0 ** (2 - exponent - width),
        max=(2 - 2.0 ** (1 - width)) * 2.0**exponent,
        u_stored=2.0**-width,
        u_sum=2.0 ** -(sums or bits),
        u_product=2.0 ** -(product or width),
        u_operand=operand,
    )


# TensorFlow on CPU sums products of float16 and bfloat16 in float32 (measured, up to 8192 terms;
# XLA alike). Eager it then cuts to bfloat16 instead of rounding: twice the error. Tensor cores take
# operands rounded or cut to TF32 (2^-10), and cut in their float32 additions too (2^-23).
ARITHMETICS: dict[str, Arithmetic] = {
    "float64": _arithmetic("float64", 53, 1023),
    "float32": _arithmetic("float32", 24, 127),
    "tf32": _arithmetic("tf32", 11, 127, stored=24, sums=23, operand=2.0**-10),
    "float16": _arithmetic("float16", 11, 15, sums=24),
    "bfloat16": _arithmetic("bfloat16", 8, 127, sums=24, product=7),
}
_EXACT = Arithmetic("exact", 0.0, 0.0, 0.0, np.inf, 0.0, 0.0, 0.0)
_FLOAT64 = ARITHMETICS["float64"]
_UP = 1 + 2.0**-40  # covers the rounding of up to 2^12 operations in the evaluation of a bound


def arithmetic(dtype_or_name: Any) -> Arithmetic:
    """The arithmetic of a dtype, or of its name; "exact" and "hand" round nothing.

    ("hand": the author's own rounding, to the digits shown, is `by_hand` of running_bound.)
    Raises ValueError for any other.
    """
    if isinstance(dtype_or_name, Arithmetic):
        return dtype_or_name
    name = dtype_or_name if isinstance(dtype_or_name, str) else np.dtype(dtype_or_name).name
    if name in ("exact", "hand"):
        return _EXACT
    if name.lower() not in ARITHMETICS:
        known = ", ".join([*ARITHMETICS, "exact", "hand"])
        raise ValueError(f"unknown arithmetic {name!r}: known are {known}")
    return ARITHMETICS[name.lower()]


_named = arithmetic  # for the functions below, whose argument has that name


def gamma(k: int, u: float) -> float:
    """γ_k = k·u / (1 - k·u), rounded up; inf when k·u >= 1."""
    return k * u / (1 - k * u) * (1 + 2**-50) if k * u < 1 else np.inf


def quantum(values: Array) -> float:
    """The largest power of two of which all the values are multiples; inf when all are zero.

    Sums of such numbers are exact, in any order, as long as Σ|terms| < quantum·2^bits: every
    partial sum is an integer below 2^bits in units of the quantum. 0 when a value is not finite.
    """
    values = np.asarray(values, np.float64)
    if not np.isfinite(values).all():
        return 0.0
    fraction, exponent = np.frexp(values[values != 0])
    whole = np.ldexp(fraction, 53).astype(np.int64)
    with np.errstate(under="ignore"):
        return float(
            np.ldexp((whole & -whole).astype(np.float64), exponent - 53).min(initial=np.inf)
        )


def _upper(bound: Array) -> Bound:
    """Rounded up, and inf where nothing is known."""
    return np.nan_to_num(bound * _UP, nan=np.inf, posinf=np.inf)


# Activations ----------------------------------------------------------------------------------


class _Reach(NamedTuple):
    """Suprema over the arguments within d of z."""

    low: Array  # z - d
    z: Array  # of |z|
    h: Array  # of |act|
    slope: Array  # of |act'|


@dataclass(frozen=True)
class _Shape:
    """What the bounds must know of an elementwise activation.

    turns   (z, h) where act changes direction, and both values at a jump
    slopes  (z, s) where act' changes direction, and both one-sided limits at a kink
    Between neighbours in turns (slopes) act (act') is monotone, so that its extremes over an
    interval are at the ends or in the list.
    blur    how far from a kink, in u, frameworks may already be on its other side: hard_sigmoid
            rounds z + 3, sparse_sigmoid z + 1; TensorFlow decides selu's side by an h that
            cancels to 0
    scale, slope_scale   the size in units of which the errors of a framework's act, act' are given
    """

    turns: tuple[tuple[float, float], ...] = ()
    slopes: tuple[tuple[float, float], ...] = ()
    jumps: bool = False
    blur: float = 0.0
    scale: Callable[[_Reach], Array] = lambda r: r.h
    slope_scale: Callable[[_Reach], Array] = lambda r: r.slope


_SILU = 1.2784645427610738  # silu's least value is 1 - _SILU, at -_SILU
_SELU, _SELU_ALPHA = 1.0507009873554805, 1.6732632423543772


def _one(r: _Reach) -> Array:
    return np.ones_like(r.z)


def _if_negative(scale: Callable[[_Reach], Array]) -> Callable[[_Reach], Array]:
    """Exact for z >= 0, where act(z) is z."""
    return lambda r: np.where(r.low < 0, scale(r), 0)


def _one_and_z(r: _Reach) -> Array:
    return 1 + np.minimum(r.z, 40)  # beyond 40 the factor whose error z multiplies is 0 or 1


def _beyond_minus_4(scale: Callable[[_Reach], Array]) -> Callable[[_Reach], Array]:
    """Exact below, where act is 0: there z/6 + 1/2, which cancels at -3, is negative anyhow."""
    return lambda r: np.where((r.h > 0) | (r.low > -4), scale(r), 0)


_SHAPES: dict[str, _Shape] = {
    "linear": _Shape(),
    "tanh": _Shape(slopes=((0, 1),), slope_scale=_one),  # 1 - h·h cancels
    "relu": _Shape(slopes=((0, 0), (0, 1))),
    "relu6": _Shape(slopes=((0, 0), (0, 1), (6, 1), (6, 0))),
    "leaky_relu": _Shape(slopes=((0, 0.2), (0, 1)), scale=_if_negative(lambda r: r.h)),
    # TensorFlow computes elu and selu of a negative number as exp(z) - 1, and act' as h + 1
    "elu": _Shape(scale=_if_negative(_one), slope_scale=_one),
    "celu": _Shape(scale=_if_negative(lambda r: r.h), slope_scale=_one),  # act' is h + 1 in JAX
    "selu": _Shape(
        slopes=((0, _SELU * _SELU_ALPHA), (0, _SELU)),
        blur=1,
        scale=lambda r: np.where(r.low < 0, 1 + r.h, r.h),
        slope_scale=_one,
    ),
    "gelu": _Shape(
        turns=((-0.7517915246935645, -0.16997120747990369),),
        slopes=((-math.sqrt(2), -0.12890414519515478), (math.sqrt(2), 1.1289041451951548)),
        scale=lambda r: r.z,  # 1 + erf cancels
        slope_scale=_one,
    ),
    "silu": _Shape(
        turns=((-_SILU, 1 - _SILU),),
        slopes=(
            (-2.3993572805154677, -0.0998393201288669),
            (2.3993572805154677, 1.099839320128867),
        ),
        slope_scale=_one_and_z,
    ),
    # act' is exp(z - h) in JAX, whose argument is rounded
    "softplus": _Shape(slope_scale=lambda r: r.slope * _one_and_z(r)),
    # act' is r(1 - |z|r) in JAX and PyTorch, r = 1/(1 + |z|), which cancels to r²
    "softsign": _Shape(slopes=((0, 1),), slope_scale=lambda r: np.sqrt(r.slope)),
    "sigmoid": _Shape(slopes=((0, 0.25),), slope_scale=lambda r: r.h),  # 1 - h cancels
    "log_sigmoid": _Shape(slope_scale=lambda r: r.slope * _one_and_z(r)),
    "exponential": _Shape(),
    "hard_sigmoid": _Shape(
        slopes=((-3, 0), (-3, 1 / 6), (3, 1 / 6), (3, 0)), blur=8, scale=_beyond_minus_4(_one)
    ),
    "hard_silu": _Shape(
        turns=((-1.5, -0.375),),
        slopes=((-3, 0), (-3, -0.5), (3, 1.5), (3, 1)),
        blur=8,
        scale=_beyond_minus_4(lambda r: r.z),
        slope_scale=_one,
    ),
    "hard_tanh": _Shape(slopes=((-1, 0), (-1, 1), (1, 1), (1, 0))),
    "hard_shrink": _Shape(
        turns=((-0.5, -0.5), (-0.5, 0), (0.5, 0), (0.5, 0.5)),
        slopes=((-0.5, 1), (-0.5, 0), (0.5, 0), (0.5, 1)),
        jumps=True,
    ),
    "soft_shrink": _Shape(slopes=((-0.5, 1), (-0.5, 0), (0.5, 0), (0.5, 1))),
    "tanh_shrink": _Shape(slopes=((0, 0),), scale=lambda r: r.z, slope_scale=_one),
    "squareplus": _Shape(scale=lambda r: 1 + r.z, slope_scale=_one),  # z + sqrt(z² + 4) cancels
    "sparse_plus": _Shape(),
    "sparse_sigmoid": _Shape(slopes=((-1, 0), (-1, 0.5), (1, 0.5), (1, 0)), blur=4),
    "mish": _Shape(
        turns=((-1.1924312145154952, -0.30884341301725043),),
        slopes=(
            (-2.256376396360793, -0.1125261223894626),
            (1.4905711794854284, 1.0884981612517279),
        ),
        slope_scale=_one_and_z,
    ),
}

_EXACT_ACTIVATIONS = ("linear", "relu", "relu6", "hard_tanh", "hard_shrink")
_EXACT_DERIVATIVES = (*_EXACT_ACTIVATIONS, "soft_shrink", "sparse_sigmoid")

# The largest errors found of act and of act', in the units of activation_unit and derivative_unit,
# by tools/measure_activations.py: Keras 3.15.1 on TensorFlow 2.21.0, JAX 0.10.2, PyTorch 2.13.0,
# NumPy 2.4.6 and OpenVINO 2026.4.1, eager and compiled, on every number of float16 and bfloat16,
# and a sample of float32 (TensorFlow: every one) and of float64. docs/activations.md has each, and
# what is not allowed for, because it is not rounding. softmax and log_softmax: the largest ever
# found. Keras's sparsemax sums the wrong numbers on every backend, so its figure is derived: an
# average of n numbers, and 3 roundings more.
_MEASURED: dict[str, tuple[float, float]] = {
    "linear": (0, 0),
    "tanh": (7.38, 14.8),
    "relu": (0, 0),
    "relu6": (0, 0),
    "leaky_relu": (2.6, 0.5),
    "elu": (1.94, 2.08),
    "celu": (6.31, 2.08),
    "selu": (2.41, 5.02),
    "gelu": (5.83, 4.98),
    "silu": (9.15, 2.78),
    "softplus": (8.27, 4.12),
    "softsign": (2, 3.45),
    "sigmoid": (8.38, 8.67),
    "log_sigmoid": (8.27, 4.12),
    "exponential": (6.5, 5.23),
    "hard_sigmoid": (1.34, 0.501),
    "hard_silu": (2.2, 2.67),
    "hard_tanh": (0, 0),
    "hard_shrink": (0, 0),
    "soft_shrink": (1.99, 0),
    "tanh_shrink": (4.85, 14.8),
    "squareplus": (3.49, 1.88),
    "sparse_plus": (3.96, 1),
    "sparse_sigmoid": (1.98, 0),
    "mish": (8.6, 13.6),
    "softmax": (1.24, 0),  # their act' follows from act: see vjp_bound
    "log_softmax": (0.96, 0),
    "sparsemax": (1.5, 0),
}
_MARGIN = 2  # for CPUs, versions and arguments that were not measured
C_ACT = {name: _MARGIN * _MEASURED[act.name][0] for name, act in ACTIVATIONS.items()}
C_DERIVATIVE = {name: _MARGIN * _MEASURED[act.name][1] for name, act in ACTIVATIONS.items()}


def _around(z: Array, d: Array) -> tuple[Array, Array]:
    """The ends of [z - d, z + d], rounded outward unless d is 0, and finite."""
    most = np.finfo(np.float64).max
    low = np.where(d == 0, z, np.nextafter(z - d, -np.inf))
    high = np.where(d == 0, z, np.nextafter(z + d, np.inf))
    return np.clip(low, -most, most), np.clip(high, -most, most)


class _Range:
    """An elementwise activation over the intervals [z - d, z + d]."""

    def __init__(self, act: Activation, z: Array, d: Array) -> None:
        assert act.derivative is not None
        self.shape, self.z, self.d = _SHAPES[act.name], z, d
        self.function, self.derivative = act.function, act.derivative
        self.ends = low, high = _around(z, d)
        self.h = act.function(low), act.function(high)
        self.slopes = act.derivative(low, self.h[0]), act.derivative(high, self.h[1])
        self.reach = _Reach(
            low=low,
            z=np.maximum(abs(low), abs(high)),
            h=self.furthest(self.h, self.shape.turns),
            slope=self.furthest(self.slopes, self.shape.slopes),
        )

    def furthest(
        self,
        ends: tuple[Array, Array],
        listed: Iterable[tuple[float, float]],
        value: Array | float = 0,
    ) -> Array:
        """The largest |v - value| at the two ends and at the listed points between them."""
        low, high = self.ends
        far = np.maximum(abs(ends[0] - value), abs(ends[1] - value))
        for where, v in listed:
            far = np.maximum(far, np.where((low <= where) & (where <= high), np.abs(v - value), 0))
        return np.asarray(far)

    def unknown(self, bound: Array) -> Bound:
        return _upper(np.where(np.isnan(self.z) | np.isnan(self.d), np.inf, bound))


def _same_shape(z: Array, d: Array | float) -> tuple[Array, Array]:
    z = np.asarray(z, np.float64)
    return z, np.broadcast_to(np.asarray(d, np.float64), z.shape)


def _elementwise(name: str | None) -> Activation:
    act = reference.activation(name)
    if act.derivative is None:
        raise ValueError(f"{act.name} is not elementwise, so it has no act': see vjp_bound")
    return act


def spread(activation_name: str | None, z: Array, d: Array | float) -> Bound:
    """How far act(z + e) can be from act(z), for any |e| <= d: the mathematics, without rounding.

    z (...,H), d >= 0 broadcastable to it. 0 where d is 0; inf where z or d is NaN.

    Elementwise activations: the smaller of two bounds, (1) the largest difference at the ends of
    the interval and at the extremes and jumps inside, and (2) d times the largest |act'| inside,
    where act has no jump. (1) is sharp for large d, but cancels for small ones; (2) does not.
    log_softmax, l_i = z_i - log Σ exp(z_j): log Σ exp moves by log Σ s_j exp(e_j), s = softmax(z),
    which is at most log Σ s_j exp(d_j) <= max d in either direction, as Σ s_j exp(d_j) times
    Σ s_j exp(-d_j) is at least 1 (Cauchy-Schwarz). softmax: exp(l_i), and never beyond 1.
    sparsemax: max(z - τ, 0), where τ grows with each z_j, and by t when all grow by t; so it
    moves by max d at most.
    """
    act = reference.activation(activation_name)
    z, d = _same_shape(z, d)
    with np.errstate(all="ignore"):
        if act.derivative is None:
            most = d.max(axis=-1, keepdims=True)
            if act.name == "sparsemax":
                far = np.minimum(d + most, 1)
            else:
                s = reference.ACTIVATIONS["softmax"].function(z)
                s = s + activation_error("softmax", z, s, _FLOAT64)
                shift = np.log1p((s * np.expm1(d)).sum(axis=-1, keepdims=True))
                far = d + np.fmin(shift, most)
                if act.name == "softmax":
                    far = np.minimum(s * np.expm1(far), 1)
            far = far * (most > 0)
            return _upper(np.where(np.isnan(z + d).any(-1, keepdims=True), np.inf, far))
        if act.name == "linear":
            return _upper(np.where(np.isnan(z), np.inf, d))
        r = _Range(act, z, d)
        own = 2 * C_ACT[act.name] * _FLOAT64.u * r.shape.scale(r.reach)  # of two values
        far = r.furthest(r.h, r.shape.turns, r.function(z)) + own
        if not r.shape.jumps:
            own = C_DERIVATIVE[act.name] * _FLOAT64.u * r.shape.slope_scale(r.reach)
            far = np.fmin(far, d * (r.reach.slope + own))
        return r.unknown(np.where(d == 0, 0, far))


def derivative_spread(activation_name: str | None, z: Array, d: Array | float) -> Bound:
    """How far act'(z + e) can be from reference's act'(z), for any |e| <= d.

    At a kink both one-sided derivatives count, at d = 0 too: frameworks choose as they please.
    Elementwise activations only (ValueError); `vjp_bound` knows the others.
    """
    act = _elementwise(activation_name)
    z, d = _same_shape(z, d)
    if act.name == "linear":
        return np.where(np.isnan(z) | np.isnan(d), np.inf, 0.0)
    with np.errstate(all="ignore"):
        r = _Range(act, z, d)
        own = 2 * C_DERIVATIVE[act.name] * _FLOAT64.u * r.shape.slope_scale(r.reach)
        at = r.derivative(z, r.function(z))
        far = r.furthest(r.slopes, r.shape.slopes, at)
        return r.unknown(np.where(d == 0, far, far + own))


def activation_error(
    activation_name: str | None, z: Array, h: Array, a: Arithmetic, d: Array | float = 0.0
) -> Bound:
    """How far a framework's evaluation of act may be from act, at any argument within d of z.

    z, h = act(z) (...,H). The bound is C_ACT units and what is allowed beside: `activation_unit`.
    """
    unit, beside = activation_unit(activation_name, z, h, a, d)
    with np.errstate(all="ignore"):
        return _upper(C_ACT[reference.activation(activation_name).name] * unit + beside)


def activation_unit(
    activation_name: str | None, z: Array, h: Array, a: Arithmetic, d: Array | float = 0.0
) -> tuple[Array, Bound]:
    """In which unit errors of act are measured, and what is allowed beside; as activation_error.

    The unit is u·scale, where the scale is |h| if frameworks are relatively accurate, and |z|,
    1 + |z| or 1 if their formulas cancel. Underflow adds 2η(1 + |z|), as when silu multiplies z by
    a sigmoid that was flushed. Activations that only choose or copy (linear, relu, relu6,
    hard_tanh, hard_shrink) are exact, but for a flushed subnormal. inf where the result, or
    squareplus's z², may exceed the arithmetic's largest number.

    softmax: exp(z_i - m), m the maximum, of a rounded difference is off by (m - z_i)u relatively;
    the sum by the weighted average of the same and γ_n. log_softmax: the same, absolutely.
    sparsemax: τ is an average of n numbers up to 1 + max|z|, and so are those that select them.
    """
    act = reference.activation(activation_name)
    z, d = _same_shape(z, d)
    h = abs(np.asarray(h, np.float64))
    with np.errstate(all="ignore"):
        if act.derivative is None:
            size = h + spread(act.name, z, d) if d.any() else h
            reach = abs(z) + d
            scale = _row_scale(act.name, z, size, d)
        else:
            r = _Range(act, z, d).reach if d.any() else _Reach(z, abs(z), h, h)
            size, reach = r.h, r.z
            scale = _SHAPES[act.name].scale(r)
        beside = 2 * a.min_normal * (1 + reach)
        if act.name in _EXACT_ACTIVATIONS:
            beside = np.where(h < a.min_normal + d, np.minimum(size, a.min_normal), 0.0)
        largest = np.maximum(size, reach * reach) if act.name == "squareplus" else size
        return a.u_stored * scale, np.where(largest > a.max, np.inf, beside)


def _row_scale(name: str, z: Array, size: Array, d: Array) -> Array:
    n, most = z.shape[-1], d.max(axis=-1, keepdims=True)
    if name == "sparsemax":
        return np.asarray((n + 4) * (1 + (abs(z) + d).max(axis=-1, keepdims=True)) + 0 * z)
    below = z.max(axis=-1, keepdims=True) - z + 2 * most
    weight = np.exp(-below + 2 * most)
    average = (weight * below).sum(axis=-1, keepdims=True) / weight.sum(axis=-1, keepdims=True)
    relative = n + 1 + below + average * np.exp(2 * most)
    return np.asarray(size * relative if name == "softmax" else size + relative)


def derivative_error(
    activation_name: str | None, z: Array, h: Array, a: Arithmetic, d: Array | float = 0.0
) -> Bound:
    """The same for act': C_DERIVATIVE units and what is allowed beside: `derivative_unit`.

    Elementwise activations only (ValueError).
    """
    unit, beside = derivative_unit(activation_name, z, h, a, d)
    with np.errstate(all="ignore"):
        unknown = np.isnan(np.asarray(z, np.float64)) | np.isnan(np.asarray(d, np.float64))
        bound = C_DERIVATIVE[reference.activation(activation_name).name] * unit + beside
        return _upper(np.where(unknown, np.inf, bound))


def derivative_unit(
    activation_name: str | None, z: Array, h: Array, a: Arithmetic, d: Array | float = 0.0
) -> tuple[Array, Bound]:
    """In which unit errors of act' are measured, and what is allowed beside; as derivative_error.

    The unit is u·scale: tanh's 1 - h·h, say, is off by a few u. Where rounding can put a framework
    on the other side of a kink (hard_sigmoid at 3, selu at 0), the jump of act' is allowed. inf
    where act', or squareplus's z², may exceed the arithmetic's largest number.
    """
    act = _elementwise(activation_name)
    z, d = _same_shape(z, d)
    with np.errstate(all="ignore"):
        r = _Range(act, z, d)
        unit = a.u_stored * r.shape.slope_scale(r.reach)
        exact = act.name in _EXACT_DERIVATIVES
        beside = np.zeros(z.shape) if exact else 2 * a.min_normal * (1 + r.reach.z)
        for (kink, left), (_, right) in zip(r.shape.slopes, r.shape.slopes[1:], strict=False):
            if r.shape.blur and _ == kink:
                near = abs(z - kink) <= d + r.shape.blur * a.u_stored
                beside = beside + np.where(near, abs(right - left), 0.0)
        square = r.reach.z * r.reach.z if act.name == "squareplus" else 0.0
        return unit, np.where(np.maximum(r.reach.slope, square) > a.max, np.inf, beside)


# Printed numbers ------------------------------------------------------------------------------


def _up(value: Fraction) -> float:
    """The smallest float64 that is not below."""
    try:
        near = float(value)
    except OverflowError:
        return np.inf if value > 0 else -float(np.finfo(np.float64).max)
    return math.nextafter(near, math.inf) if Fraction(near) < value else near


def _half(d: Decimal) -> Fraction:
    exponent = d.as_tuple().exponent
    if not isinstance(exponent, int):
        raise ValueError(f"{d} has no digits, so no last one")
    if abs(exponent) > 5000 or d.adjusted() > 5000:
        raise ValueError(f"{d} is out of any float's range")
    return Fraction(10) ** exponent / 2


def half_unit(d: Decimal) -> float:
    """Half a unit of the last printed digit, rounded up: 0.40 is 0.005, 7. is 0.5, 1e-3 is 0.0005.

    Raises ValueError for NaN, infinities, and exponents beyond ±5000.
    """
    return _up(_half(d))


def printed_interval(values: Any) -> tuple[Bound, Bound, Bound]:
    """(lo, hi, value) of printed decimals: what they can stand for, rounded outward, and nearest.

    values: a Decimal, or (nested) lists or an object array of Decimals. Raises ValueError as
    half_unit does, and for what is ragged or not a Decimal.
    """
    printed = np.array(values, dtype=object)
    lo, hi, value = (np.empty(printed.shape) for _ in range(3))
    for i, d in np.ndenumerate(printed):
        if not isinstance(d, Decimal):
            raise ValueError(f"printed values are Decimals of one rectangular array, not {d!r}")
        half, exact = _half(d), Fraction(d)
        lo[i], hi[i], value[i] = -_up(half - exact), _up(exact + half), float(d)
    return lo, hi, value


def ulps(a: Array, b: Array, arithmetic: Arithmetic) -> Bound:
    """How many units in the last place of b lie between b and a; negative where a < b.

    The unit is the spacing of the arithmetic's numbers at b, that of the subnormals at the least,
    so a need not be one of them. 0 where both are the same infinity or both NaN, else NaN or inf.
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    with np.errstate(all="ignore"):
        spacing = np.ldexp(2 * arithmetic.u_stored, np.frexp(b)[1] - 1)
        spacing = np.maximum(spacing, arithmetic.min_subnormal)
        same = (a == b) | (np.isnan(a) & np.isnan(b))
        return np.asarray(np.where(same, 0.0, (a - b) / spacing))


def precision_class(bits: float) -> str:
    """The arithmetic whose products are consistent with this many effective bits.

    The borders lie midway between neighbours as measured (float64 about 52, float32 21.4 to 23.5,
    TF32 11.7, bfloat16 8.8 to 9.3). float16 has TF32's 11 bits: only what is stored tells them
    apart, so "TF32" is the name of both here.
    """
    for least, name in ((37, "float64"), (16.5, "float32"), (10.5, "TF32"), (6.5, "bfloat16")):
        if bits >= least:
            return name
    return "less than bfloat16"


# Sums of products -----------------------------------------------------------------------------


@dataclass(frozen=True)
class _Known:
    """A number of the reference, and how far the subject's may be from it."""

    value: Array
    error: Array
    size: Array  # |value|, or more: what its roundings are relative to

    def each(self, change: Callable[[Array], Array]) -> "_Known":
        """The same change of shape to all three."""
        return _Known(change(self.value), change(self.error), change(self.size))

    @property
    def T(self) -> "_Known":
        return self.each(np.transpose)

    @property
    def rows(self) -> "_Known":
        """All but the last axis as one: (T,B,H) becomes (T·B,H)."""
        return self.each(lambda part: part.reshape(-1, part.shape[-1]))

    def at(self, t: int) -> "_Known":
        return self.each(lambda part: part[t])


def _known(value: Array, error: Array | float, a: Arithmetic, size: Array | None = None) -> _Known:
    """As an operand: where the subject's number may be subnormal, it may count as zero."""
    value = np.asarray(value, np.float64)
    error = np.broadcast_to(np.asarray(error, np.float64), value.shape)
    flushed = abs(value) - error < a.min_normal
    error = np.where(flushed, np.maximum(error, abs(value)), error)
    return _Known(value, error, abs(value) if size is None else size)


def _given(value: Array, error: Array | float, a: Arithmetic, rounded: bool) -> _Known:
    """An input as the subject receives it: known to within `error`, then rounded to its arithmetic.

    A number that is representable, and exactly known, is not changed by rounding.
    """
    value = np.asarray(value, np.float64)
    error = np.broadcast_to(np.asarray(error, np.float64), value.shape)
    if rounded and a.u_stored:
        digits = np.ldexp(np.frexp(value)[0], round(-math.log2(a.u_stored)))
        least = np.ldexp(value, -round(math.log2(a.min_subnormal)))
        kept = (error == 0) & (digits == np.rint(digits)) & (least == np.rint(least))
        most = abs(value) + error
        rounding = np.where(kept, 0.0, a.u_stored * most + a.min_subnormal)
        error = np.where(most * (1 + a.u_stored) > a.max, np.inf, error + rounding)
    return _known(value, error, a)


def _sum_error(
    a: Arithmetic,
    products: Iterable[tuple[_Known, _Known]],
    addends: Iterable[_Known] = (),
    *,
    k: int,
    stored: int = 1,
) -> Bound:
    """How far the subject's Σ A·B + Σ C may be from the reference's, A·B being matrix products.

    k roundings at most on any way through the sum. With |Â - A| <= dA and so on,

        |ÂB̂ - AB| <= dA(|B| + dB) + |A|dB               what the operands bring along
        γ_k Σ (|A| + dA)(|B| + dB) + ...                 the subject's rounding
        2γ_k(2^-53) Σ |A||B| + ...                       the reference's, here and in `reference`

    Nothing of the last two where all partial sums are exactly representable (see quantum). inf
    where the sum may overflow.
    """
    size: Any = 0.0
    brought: Any = 0.0
    unit = np.inf
    for A, B in products:
        size = size + A.size @ B.size
        brought = brought + A.error @ (B.size + B.error) + A.size @ B.error
        unit = min(unit, quantum(A.value) * quantum(B.value))
    for C in addends:
        size, brought = size + C.size, brought + C.error
        unit = min(unit, quantum(C.value))
    subject = a.gamma(k, stored) * (size + brought) + a.underflow(k, stored)
    own = 2 * gamma(k, _FLOAT64.u) * size + _FLOAT64.underflow(k)
    exact = (brought == 0) & (size < unit * 2.0**a.bits) & (unit >= max(a.min_normal, 2.0**-1022))
    error = brought + np.where(exact, 0.0, subject + own)
    error = error * (1 + gamma(k + 8, _FLOAT64.u))  # of the sums above, which may be long
    return _upper(np.where(size + brought + subject > a.max, np.inf, error))


def vjp_bound(
    activation_name: str | None,
    g: Array,
    g_error: Array | float,
    z: Array,
    h: Array,
    d: Array | float,
    a: Arithmetic,
    h_rounded: Array | float = 0.0,
) -> tuple[Array, Bound]:
    """dz from g = dL/dh as reference computes it, and how far the subject's may be: both (...,H).

    g_error bounds the error of g, d that of z, and h_rounded by how much h was rounded by hand
    before act' was made of it (1 - h² and the like). Elementwise, dz = g·act'(z): one product, with
    the error of act' from z (derivative_spread) and its evaluation (derivative_error); inf where
    it, or g·z on the way to it, may overflow: gelu's g·z·exp(-z²/2) is then inf·0.
    softmax: dz = h(g - Σ g·h), and log_softmax: dz = g - exp(h)·Σ g, with h off by its own spread
    and activation_error. sparsemax: on its support dz = g minus the mean of g there; where that
    support is in doubt, no component exceeds 2 max|g|.
    """
    act = reference.activation(activation_name)
    z, d = _same_shape(z, d)
    with np.errstate(all="ignore"):
        G = _known(g, g_error, a)
        dz = np.asarray(act.vjp(G.value, z, np.asarray(h, np.float64)))
        if act.derivative is not None:
            slope = act.derivative(z, h)
            e = derivative_spread(act.name, z, d) + derivative_error(act.name, z, h, a, d)
            e = e + derivative_error(act.name, z, h, _FLOAT64)
            if np.any(h_rounded):
                e = e + _by_rounded_state(act.name, z, h, d, np.asarray(h_rounded))
            largest = G.size + G.error
            most = largest * (abs(slope) + e)
            rounding = (gamma(3, a.u_stored) + gamma(3, _FLOAT64.u)) * most + 2 * a.min_normal
            copied = (e == 0) & ((slope == 0) | (slope == 1))
            error = G.error * (abs(slope) + e) + G.size * e + np.where(copied, 0.0, rounding)
            if act.name not in _EXACT_DERIVATIVES:  # g·z on the way, as gelu and silu make it
                most = np.maximum(most, largest * (abs(z) + d))
            return dz, _upper(np.where(most > a.max, np.inf, error))
        n = z.shape[-1]
        u = a.u_stored + _FLOAT64.u
        e = spread(act.name, z, d) + activation_error(act.name, z, h, a, d)
        e = e + activation_error(act.name, z, h, _FLOAT64) + h_rounded
        p, e = (h, e) if act.name == "softmax" else (np.exp(h), np.exp(h) * np.expm1(e))
        if act.name == "log_softmax":
            e = e + C_ACT["exponential"] * u * (p + e) * (1 + abs(h))
        most_g, most_p = G.size + G.error, abs(p) + e
        if act.name == "softmax":
            total = (G.value * p).sum(-1, keepdims=True)
            total_most = (most_g * most_p).sum(-1, keepdims=True)
            total_error = (G.error * most_p + G.size * e).sum(-1, keepdims=True)
            total_error = total_error + gamma(n + 1, u) * total_most
            error = most_p * (G.error + total_error) + e * abs(G.value - total)
            error = error + gamma(4, u) * most_p * (most_g + total_most)
        elif act.name == "log_softmax":
            total = G.value.sum(-1, keepdims=True)
            total_most = most_g.sum(-1, keepdims=True)
            total_error = G.error.sum(-1, keepdims=True) + gamma(n, u) * total_most
            error = G.error + most_p * total_error + e * abs(total)
            error = error + gamma(4, u) * (most_g + most_p * total_most)
        else:
            threshold = _threshold(z, h)
            near = abs(z - threshold) <= e + d + activation_error(act.name, z, h, a, d)
            doubt = near.any(axis=-1, keepdims=True)
            most = most_g.max(-1, keepdims=True)
            certain = 2 * G.error.max(-1, keepdims=True) + gamma(n + 4, u) * 2 * most
            error = np.where(doubt, abs(dz) + 2 * most, certain) + 0 * z
        error = error + 2 * (n + 2) * a.min_normal * (1 + most_g.max(-1, keepdims=True))
        return dz, _upper(np.where(most_g.sum(-1, keepdims=True) > a.max, np.inf, error))


def _by_rounded_state(name: str, z: Array, h: Array, d: Array, r: Array) -> Array:
    """How far act' may move if it is made of an h that was rounded by r, for any z within d."""
    most: Array = abs(h) + spread(name, z, d)
    if name == "tanh":  # 1 - h²
        return np.asarray(r * (2 * most + r))
    if name == "sigmoid":  # h(1 - h)
        return np.asarray(r * (1 + r))
    if name in ("exponential", "elu", "celu", "selu"):  # h, or h and a constant
        return np.asarray(r + 0 * most)
    # what is made of pieces of slope 1 moves as if z were rounded
    return np.asarray(derivative_spread(name, z, d + r))


def _threshold(z: Array, h: Array) -> Array:
    """sparsemax's τ, from its definition Σ max(z - τ, 0) = 1 on the support that h shows."""
    inside = h > 0
    top = z.max(-1, keepdims=True)
    shifted = np.where(inside, z - top, 0).sum(-1, keepdims=True)
    return np.asarray(top + (shifted - 1) / inside.sum(-1, keepdims=True))


# The recurrence -------------------------------------------------------------------------------


class Running(NamedTuple):
    """The reference in float64, and componentwise bounds on |subject - reference|."""

    states: Array  # (B,T,H) in processing order
    bound: Bound  # (B,T,H)
    carried: Bound  # (B,T,H) of the states as the next step takes them: rounded by hand, if at all
    z: Array  # (B,T,H)
    z_bound: Bound  # (B,T,H)


_INPUTS = ("x", "kernel", "recurrent_kernel", "bias", "initial_state")


class _Run:
    """A forward pass of the reference, with the error of every operand beside it.

    E_t <= spread(z_t, D_t) + activation_error + the reference's own, where D_t is the error of the
    sum z_t = x_t·W + h_{t-1}·U + b, to which E_{t-1} contributes |U| E_{t-1}: a running error
    analysis (Higham, section 3.3), for vectors.
    """

    def __init__(
        self,
        arrays: Mapping[str, Array | None],
        a: Arithmetic,
        errors: Mapping[str, Array] | None,
        round_inputs: bool,
        by_hand: "ByHand",
        **options: Any,
    ) -> None:
        errors = {} if errors is None else errors
        if unknown := [name for name in errors if name not in _INPUTS]:
            raise ValueError(f"errors of {unknown[0]!r}: known are {', '.join(_INPUTS)}")
        values = {k: None if v is None else np.asarray(v, np.float64) for k, v in arrays.items()}
        cache: reference.Cache = reference.forward(**values, **options)[1]  # type: ignore[arg-type]
        (T, B, F), H = cache.x.shape, cache.h.shape[-1]
        absent = {"bias": (H,), "initial_state": (B, H)}
        given = {
            k: _given(np.zeros(absent[k]) if v is None else v, errors.get(k, 0.0), a, round_inputs)
            for k, v in values.items()
        }
        self.cache, self.a, self.name = cache, a, cache.activation.name
        x = given["x"].each(lambda part: part[:, ::-1] if cache.go_backwards else part)
        self.x = x.each(lambda part: part.swapaxes(0, 1))  # (T,B,F), time-major as cache and below
        self.kernel, self.recurrent_kernel = given["kernel"], given["recurrent_kernel"]
        self.z = np.tensordot(cache.x, cache.kernel, 1)  # (T,B,H)
        self.z += np.tensordot(cache.h[:-1], cache.recurrent_kernel, 1) + given["bias"].value
        self.act = cache.activation.function(self.z)  # (T,B,H) is h, but where a masked step copies
        self.rounded, self.z_rounded = (_steps_first(part, self.z.shape) for part in by_hand)
        self.E = np.empty_like(cache.h)  # (T+1,B,H) the initial state first, each as it is carried
        self.D = np.empty_like(self.z)  # (T,B,H)
        self.computed = np.empty_like(self.z)  # (T,B,H) E before the state is rounded by hand
        self.E[0] = given["initial_state"].error
        for t in range(T):
            products = ((self.x.at(t), self.kernel), (self.h(t), self.recurrent_kernel))
            self.D[t] = _sum_error(a, products, (given["bias"],), k=F + H + 2, stored=3)
            E = _evaluated(self.name, self.z[t], self.act[t], self.argument(t), a)
            self.computed[t] = E if cache.skip is None else np.where(cache.skip[t], self.E[t], E)
            self.E[t + 1] = self.computed[t] + self.rounded[t]

    def argument(self, t: int) -> Array:
        """How far z_t may be off when act is taken of it: (B,H)."""
        return np.asarray(self.D[t] + self.z_rounded[t])

    def h(self, t: int) -> _Known:
        """The state before step t, as the operand it is there: (B,H)."""
        return _known(self.cache.h[t], self.E[t], self.a)


class ByHand(NamedTuple):
    """Half units of the last digit to which somebody who computes by hand rounds what is carried.

    Both (B,T,H), in processing order, or 0 where nothing is rounded.
    """

    states: Array | float = 0.0  # before the next step, or whatever else is made of them
    z: Array | float = 0.0  # before act is taken


_NOT_BY_HAND = ByHand()


def _steps_first(part: Array | float, shape: tuple[int, ...]) -> Array:
    part = np.asarray(part, np.float64)
    return np.broadcast_to(part.swapaxes(0, 1) if part.ndim else part, shape)


def _evaluated(name: str, z: Array, h: Array, d: Array, a: Arithmetic) -> Bound:
    """How far the subject's act(ẑ), |ẑ - z| <= d, may be from the reference's h = act(z)."""
    error = spread(name, z, d) + activation_error(name, z, h, a, d)
    return error if name in _EXACT_ACTIVATIONS else error + activation_error(name, z, h, _FLOAT64)


def running_bound(
    x: Array,
    kernel: Array,
    recurrent_kernel: Array,
    bias: Array | None = None,
    *,
    activation: str | None = "tanh",
    initial_state: Array | None = None,
    mask: Array | None = None,
    go_backwards: bool = False,
    arithmetic: Any = "float32",
    errors: Mapping[str, Array] | None = None,
    round_inputs: bool = True,
    by_hand: ByHand = _NOT_BY_HAND,
) -> Running:
    """The states of reference.forward in float64, and how far another's computation may be off.

    Arguments as reference.forward; and arithmetic, what the other computes in (see `arithmetic`);
    errors, how far the true inputs may be from those given (half units of what was printed; keys
    x, kernel, recurrent_kernel, bias, initial_state); round_inputs, whether inputs that the
    arithmetic cannot represent are rounded to it first; by_hand, to what is rounded by hand.
    Linear in T·H²: no certificate, but all there is for those who see the last state only.

    Raises ValueError as reference.forward and `arithmetic`, and for unknown keys of errors.
    """
    arrays = dict(zip(_INPUTS, (x, kernel, recurrent_kernel, bias, initial_state), strict=True))
    options = {"activation": activation, "mask": mask, "go_backwards": go_backwards}
    with np.errstate(all="ignore"):
        run = _Run(arrays, _named(arithmetic), errors, round_inputs, by_hand, **options)
    parts = (run.cache.h[1:], run.computed, run.E[1:], run.z, run.D)
    return Running(*(part.swapaxes(0, 1) for part in parts))


def running_gradients(
    x: Array,
    kernel: Array,
    recurrent_kernel: Array,
    bias: Array | None = None,
    *,
    cotangent: Array,
    cotangent_error: Array | None = None,
    activation: str | None = "tanh",
    initial_state: Array | None = None,
    mask: Array | None = None,
    go_backwards: bool = False,
    arithmetic: Any = "float32",
    errors: Mapping[str, Array] | None = None,
    round_inputs: bool = True,
    by_hand: ByHand = _NOT_BY_HAND,
) -> tuple[Gradients, Gradients]:
    """The gradients of reference.backward in float64, and how far another's may be off.

    cotangent (B,T,H) is dL/dh in processing order, known to within cotangent_error, and rounded to
    the arithmetic if it is exactly known and round_inputs; the rest as running_bound.

    The recurrence of δ is analysed like that of h, backwards: g_t = c_t + δ_{t+1}·Uᵀ is a sum with
    the error of δ_{t+1}, δ_t comes from it by vjp_bound with the D_t of the forward pass, and the
    gradients of weights are sums over B·T products. A masked step passes g_t on; there frameworks
    may add up cotangents in another order, so the sizes of all that were added are carried along.
    """
    arrays = dict(zip(_INPUTS, (x, kernel, recurrent_kernel, bias, initial_state), strict=True))
    options = {"activation": activation, "mask": mask, "go_backwards": go_backwards}
    a = _named(arithmetic)
    with np.errstate(all="ignore"):
        run = _Run(arrays, a, errors, round_inputs, by_hand, **options)
        cache, U = run.cache, run.recurrent_kernel
        (T, B, H), F = run.z.shape, cache.x.shape[-1]
        wanted = _given(
            cotangent,
            0.0 if cotangent_error is None else cotangent_error,
            a,
            round_inputs and cotangent_error is None,
        )
        gradients = reference.backward(wanted.value, cache)
        c = wanted.each(lambda part: part.swapaxes(0, 1))  # (T,B,H)
        delta = gradients.delta.swapaxes(0, 1)  # (T,B,H)
        error = np.empty_like(delta)
        later = _known(np.zeros((B, H)), 0.0, a)
        for t in reversed(range(T)):
            now = c.at(t)
            passed = _sum_error(a, (), (now, later), k=2, stored=2)
            g = _known(now.value + later.value, passed, a, now.size + later.size)
            _, error[t] = vjp_bound(
                run.name, g.value, g.error, run.z[t], run.act[t], run.argument(t), a,
                run.rounded[t],
            )  # fmt: skip
            if cache.skip is not None:
                error[t] = np.where(cache.skip[t], 0.0, error[t])
            d = _known(delta[t], error[t], a)
            product = d.value @ U.T.value
            later = _known(product, _sum_error(a, ((d, U.T),), k=H + 1), a)
            if cache.skip is not None:
                skip = cache.skip[t]
                parts = zip(
                    (g.value, g.error, g.size), (later.value, later.error, later.size), strict=True
                )
                later = _Known(*(np.where(skip, *pair) for pair in parts))
        d = _known(delta, error, a).rows
        steps = {"k": B * T + 1, "stored": T + 1}  # summed over the batch, then step by step
        h = _known(cache.h[:-1], run.E[:-1], a).rows
        ones = _known(np.ones((1, B * T)), 0.0, a)
        dx = _sum_error(a, ((d, run.kernel.T),), k=H + 1).reshape(T, B, F).swapaxes(0, 1)
        return gradients, Gradients(
            x=dx[:, ::-1] if cache.go_backwards else dx,
            kernel=_sum_error(a, ((run.x.rows.T, d),), **steps),
            recurrent_kernel=_sum_error(a, ((h.T, d),), **steps),
            # biases are not summed by a matrix product, so nothing wider is promised
            bias=_sum_error(a, ((ones, d),), k=B * T + 1, stored=B * T + 1)[0],
            initial_state=later.error,
            delta=error.swapaxes(0, 1),
        )


# The output layer and the losses --------------------------------------------------------------


def running_dense(
    h: Array,
    h_error: Array | float,
    kernel: Array,
    bias: Array | None = None,
    *,
    activation: str | None = "linear",
    arithmetic: Any = "float32",
    errors: Mapping[str, Array] | None = None,
    round_inputs: bool = True,
) -> tuple[Array, Bound]:
    """The output of reference.dense in float64, and how far another's may be off, whose h is.

    h (...,H) is off by h_error; errors has the keys kernel and bias; the rest as running_bound.
    """
    a = _named(arithmetic)
    with np.errstate(all="ignore"):
        dense = _Dense(h, h_error, kernel, bias, activation, a, errors, round_inputs)
        name, cache = dense.cache.activation.name, dense.cache
        return cache.output, _evaluated(name, cache.z, cache.output, dense.D, a)


def running_dense_gradients(
    doutput: Array,
    doutput_error: Array | float,
    h: Array,
    h_error: Array | float,
    kernel: Array,
    bias: Array | None = None,
    *,
    activation: str | None = "linear",
    arithmetic: Any = "float32",
    errors: Mapping[str, Array] | None = None,
    round_inputs: bool = True,
    output_rounded: Array | float = 0.0,
) -> tuple[DenseGradients, DenseGradients]:
    """The gradients of reference.dense_backward in float64, and how far another's may be off.

    doutput (...,O) is dL/d(output), off by doutput_error; output_rounded, by how much the output is
    rounded by hand before act' is made of it; the rest as running_dense.
    """
    a = _named(arithmetic)
    with np.errstate(all="ignore"):
        dense = _Dense(h, h_error, kernel, bias, activation, a, errors, round_inputs)
        cache = dense.cache
        doutput = np.asarray(doutput, np.float64)
        gradients = reference.dense_backward(doutput, cache)
        name = cache.activation.name
        dz, error = vjp_bound(
            name, doutput, doutput_error, cache.z, cache.output, dense.D, a, output_rounded
        )
        d = _known(dz, error, a)
        rows = math.prod(dz.shape[:-1])
        ones = _known(np.ones((1, rows)), 0.0, a)
        return gradients, DenseGradients(
            h=_sum_error(a, ((d, dense.kernel.T),), k=dz.shape[-1] + 1),
            kernel=_sum_error(a, ((dense.h.rows.T, d.rows),), k=rows + 1),
            bias=_sum_error(a, ((ones, d.rows),), k=rows + 1, stored=rows + 1)[0],
        )


class _Dense:
    """The output layer of the reference, and the error of its z."""

    def __init__(
        self,
        h: Array,
        h_error: Array | float,
        kernel: Array,
        bias: Array | None,
        activation: str | None,
        a: Arithmetic,
        errors: Mapping[str, Array] | None,
        round_inputs: bool,
    ) -> None:
        errors = {} if errors is None else errors
        if unknown := [name for name in errors if name not in ("kernel", "bias")]:
            raise ValueError(f"errors of {unknown[0]!r}: known are kernel, bias")
        h, V = np.asarray(h, np.float64), np.asarray(kernel, np.float64)
        c = np.zeros(V.shape[1]) if bias is None else np.asarray(bias, np.float64)
        self.cache = reference.dense(h, V, c, activation=activation)[1]
        self.h = _known(h, h_error, a)
        self.kernel = _given(V, errors.get("kernel", 0.0), a, round_inputs)
        offset = _given(c, errors.get("bias", 0.0), a, round_inputs)
        self.D = _sum_error(a, ((self.h, self.kernel),), (offset,), k=len(V) + 2, stored=2)


def running_loss(
    kind: str,
    target: Array,
    prediction: Array,
    prediction_error: Array | float = 0.0,
    *,
    arithmetic: Any = "float32",
    target_error: Array | float = 0.0,
    clipped: bool | None = None,
) -> tuple[float, float]:
    """The loss of the reference in float64, and how far another's may be off.

    kind "mse" or "categorical_crossentropy" (ValueError for another); target and prediction of one
    shape, off by their errors. clipped: whether a cross-entropy keeps its shares 1e-7 away from 0
    and 1, as Keras does; TensorFlow does not where it knows the logits of a softmax. None: either.

    mse: r = p - t is off by the errors and one rounding; r² by dr(2|r| + dr); N squares are summed.
    Cross-entropy: log q̂ - log q is at most -log1p(-dq/q), and inf where dq reaches q, the share of
    a prediction in their sum (see _shares).
    """
    a = _named(arithmetic)
    with np.errstate(all="ignore"):
        p, t = _known(prediction, prediction_error, a), _given(target, target_error, a, True)
        if kind == "mse":
            loss = reference.mean_squared_error(t.value, p.value)[0]
            r = _residual(p, t, a)
            n = r.value.size
            terms = (r.size + r.error) ** 2
            error = (r.error * (2 * r.size + r.error)).sum() / n
        elif kind == "categorical_crossentropy":
            if clipped is None:
                return _either_loss(target, prediction, prediction_error, a, target_error)
            epsilon = _EPSILON if clipped else 0.0
            loss = reference.categorical_cross_entropy(t.value, p.value, epsilon=epsilon)[0]
            q = _shares(p, a, epsilon)
            n = math.prod(p.value.shape[:-1])
            counts = t.size + t.error > 0
            logs = np.where(counts, abs(np.log(q.value)), 0)
            off = -np.log1p(-np.minimum(q.error / q.value, 1))
            # of what counts; but 0·log(0) is NaN, unless it comes from logits
            off = np.where(counts | (clipped & ~(q.error < q.value)), off, 0)
            off = off + C_ACT["log_softmax"] * (a.u_stored + _FLOAT64.u) * (logs + off)
            error = (t.error * (logs + off) + t.size * off).sum() / n
            terms = (t.size + t.error) * (logs + off)
        else:
            raise ValueError(f"unknown loss {kind!r}: known are {', '.join(_LOSSES)}")
        count = p.value.size + 4
        total = terms.sum() / n
        error = error + (gamma(count, a.u_stored) + gamma(count, _FLOAT64.u)) * total
        error = error + 2 * count * a.min_normal
        known = np.isfinite(loss) and terms.sum() <= a.max
        return loss, float(_upper(np.asarray(error if known else np.inf)))


_LOSSES = ("mse", "categorical_crossentropy")
_EPSILON = 1e-7  # keras.config.epsilon()


def _either_loss(
    target: Array,
    prediction: Array,
    prediction_error: Array | float,
    a: Arithmetic,
    target_error: Array | float,
) -> tuple[float, float]:
    """The clipped cross-entropy, and a bound for the one that is not clipped as well."""
    both = [
        running_loss(
            "categorical_crossentropy", target, prediction, prediction_error, arithmetic=a,
            target_error=target_error, clipped=clipped,
        )
        for clipped in (True, False)
    ]  # fmt: skip
    (loss, bound), (other, its) = both
    apart = abs(other - loss) + its
    return loss, float(np.nan_to_num(max(bound, apart), nan=np.inf, posinf=np.inf))


def running_loss_gradient(
    kind: str,
    target: Array,
    prediction: Array,
    prediction_error: Array | float = 0.0,
    *,
    arithmetic: Any = "float32",
    target_error: Array | float = 0.0,
    clipped: bool | None = None,
) -> tuple[Array, Bound]:
    """dL/dprediction of the reference in float64, and how far another's may be off.

    mse: 2r/N. Cross-entropy of N rows: g = -t/q/N, 0 where q is clipped, and through the division
    by the sum S of the predictions (g - Σ g·p)/S, where 1/q̂ - 1/q <= dq/(q(q - dq)). Where clipping
    is in doubt, g may be 0; and if `clipped` is None, nothing is said of a row where it is active.
    Arguments as running_loss.
    """
    a = _named(arithmetic)
    with np.errstate(all="ignore"):
        o, t = _known(prediction, prediction_error, a), _given(target, target_error, a, True)
        if kind == "mse":
            gradient = reference.mean_squared_error(t.value, o.value)[1]
            r = _residual(o, t, a)
            n = r.value.size
            error, most = 2 * r.error / n, 2 * (r.size + r.error) / n
        elif kind == "categorical_crossentropy":
            epsilon = 0.0 if clipped is False else _EPSILON
            gradient = reference.categorical_cross_entropy(t.value, o.value, epsilon=epsilon)[1]
            n = math.prod(o.value.shape[:-1])
            p, q = _shares(o, a, 0.0), _shares(o, a, epsilon)
            counts = t.size + t.error > 0
            least = np.maximum(q.value - q.error, 0)
            largest = np.where(counts, (t.size + t.error) / least / n, 0)
            off = (t.error / least + t.size * q.error / (q.value * least)) / n
            low, high = p.value - p.error, p.value + p.error
            edge = 2 * a.u_stored
            certain = (low > epsilon * (1 + edge)) & (high < 1 - epsilon - edge)
            cut = (high < epsilon * (1 - edge)) | (low > 1 - epsilon + edge)
            if clipped is False:
                certain = np.ones_like(cut)
            off = np.where(counts, np.where(certain, off, largest), 0)
            if clipped is None:
                off = np.where(counts & ~certain, np.inf, off)
            else:
                off = np.where(cut & ~certain, 0, off)
                largest = np.where(cut & ~certain, 0, largest)
            of_shares = abs(p.value) + p.error
            brought = np.where(largest > 0, off * of_shares + largest * p.error, 0)
            passed = (largest * of_shares).sum(-1, keepdims=True)
            total, total_error = _total(o, a)
            smallest = abs(total) - total_error
            most = (largest + passed) / smallest
            error = (off + brought.sum(-1, keepdims=True)) / smallest
            error = error + most * total_error / abs(total)
            sums = o.value.shape[-1] + 4
            error = error + (gamma(sums, a.u_stored) + gamma(sums, _FLOAT64.u)) * most
            error = np.where(smallest > 0, error + 2 * sums * a.min_normal, np.inf)
        else:
            raise ValueError(f"unknown loss {kind!r}: known are {', '.join(_LOSSES)}")
        error = error + (gamma(5, a.u_stored) + gamma(5, _FLOAT64.u)) * most + 2 * a.min_normal
        known = (most <= a.max) & np.isfinite(gradient)
        return np.nan_to_num(gradient), _upper(np.where(known, error, np.inf))


def _residual(p: _Known, t: _Known, a: Arithmetic) -> _Known:
    """Their difference as the subject computes it."""
    r = p.value - t.value
    brought = p.error + t.error
    rounding = (a.u_stored + _FLOAT64.u) * (abs(r) + brought) * (brought + abs(r) > 0)
    return _Known(r, brought + rounding, abs(r))


def _total(o: _Known, a: Arithmetic) -> tuple[Array, Array]:
    """Σ o over the last axis, which stays, and how far the subject's may be off."""
    n = o.value.shape[-1]
    size = (o.size + o.error).sum(-1, keepdims=True)
    error = o.error.sum(-1, keepdims=True) + (gamma(n, a.u_stored) + gamma(n, _FLOAT64.u)) * size
    error = error * _UP + n * a.min_normal
    return o.value.sum(-1, keepdims=True), np.where(size > a.max, np.inf, error)


def _shares(o: _Known, a: Arithmetic, epsilon: float) -> _Known:
    """o/Σo, kept epsilon away from 0 and 1 if that is not 0, and how far the subject's may be off.

    |ô/Ŝ - o/S| <= (do + |o/S| dS)/(|S| - dS), and one rounding. Clipping brings numbers no further
    apart, but its limits are rounded too; where an epsilon is subnormal it may count as 0.
    """
    total, total_error = _total(o, a)
    share = o.value / total
    least = abs(total) - total_error
    error = (o.error + abs(share) * total_error) / least
    error = error + (a.u_stored + _FLOAT64.u) * (abs(share) + error) + a.min_normal
    error = np.where(least > 0, error * _UP, np.inf)
    if not epsilon:
        return _Known(share, error, abs(share))
    ends = (share - error, share, share + error)
    low, kept, high = (np.clip(end, epsilon, 1 - epsilon) for end in ends)
    limit = epsilon if epsilon < a.min_normal else a.u_stored * epsilon
    off = np.maximum(high - kept, kept - low)
    off = off + np.where(share - error < epsilon + limit, limit, 0)
    off = off + np.where(share + error > 1 - epsilon - a.u_stored, a.u_stored, 0)
    return _Known(kept, np.where(np.isfinite(error), off, np.inf), kept)


def orthogonality_bound(weight: Array, error: Array | float, a: Arithmetic) -> Bound:
    """How far WᵀW may be from the identity if W (m,n) is what a framework calls orthogonal.

    W is known to within `error`, and is the Q of a Householder factorization computed in `a`:
    ‖Q - Q̂‖_F <= √n γ_{c·m·n} with an orthogonal Q (Higham, theorem 19.4). There c is "a small
    integer constant" without a value; here it is 4, twice the operations on an element in a
    reflection.
    So |Q̂ᵀQ̂ - I| <= 2f + f² with that norm f; the error adds |W|ᵀe + eᵀ|W| + eᵀe.
    """
    W = np.abs(np.asarray(weight, np.float64))
    e = np.broadcast_to(np.asarray(error, np.float64), W.shape)
    m, n = W.shape
    f = math.sqrt(n) * gamma(4 * m * n, a.u_stored)
    product = gamma(m, _FLOAT64.u) * (W.T @ W)
    return _upper(2 * f + f * f + product + W.T @ e + e.T @ W + e.T @ e)
