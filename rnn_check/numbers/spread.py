"""How far can an activation, or its derivative, move with its argument, and be evaluated off?"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from rnn_check.numbers import activations
from rnn_check.numbers.activations import ACTIVATIONS, Activation
from rnn_check.numbers.formats import _FLOAT64, Arithmetic, Array, Bound, _upper

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
    act = activations.activation(name)
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
    act = activations.activation(activation_name)
    z, d = _same_shape(z, d)
    with np.errstate(all="ignore"):
        if act.derivative is None:
            most = d.max(axis=-1, keepdims=True)
            if act.name == "sparsemax":
                far = np.minimum(d + most, 1)
            else:
                s = activations.ACTIVATIONS["softmax"].function(z)
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
        return _upper(C_ACT[activations.activation(activation_name).name] * unit + beside)


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
    act = activations.activation(activation_name)
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
        bound = C_DERIVATIVE[activations.activation(activation_name).name] * unit + beside
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
