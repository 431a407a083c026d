"""How far can an activation, or its derivative, move with its argument, and be evaluated off?"""

from collections.abc import Iterable

import numpy as np

from rnn_check.numbers import activations
from rnn_check.numbers.activations import Activation, Extent
from rnn_check.numbers.formats import FLOAT64, Arithmetic, Array, Bound, _upper


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
        self.act, self.z, self.d = act, z, d
        self.ends = low, high = _around(z, d)
        self.h = act.function(low), act.function(high)
        self.slopes = act.derivative(low, self.h[0]), act.derivative(high, self.h[1])
        self.extent = Extent(
            low=low,
            z=np.maximum(abs(low), abs(high)),
            h=self.furthest(self.h, act.turns),
            slope=self.furthest(self.slopes, act.slopes),
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
                s = s + activation_error("softmax", z, s, FLOAT64)
                shift = np.log1p((s * np.expm1(d)).sum(axis=-1, keepdims=True))
                far = d + np.fmin(shift, most)
                if act.name == "softmax":
                    far = np.minimum(s * np.expm1(far), 1)
            far = far * (most > 0)
            return _upper(np.where(np.isnan(z + d).any(-1, keepdims=True), np.inf, far))
        if act.name == "linear":
            return _upper(np.where(np.isnan(z), np.inf, d))
        r = _Range(act, z, d)
        own = 2 * act.c * FLOAT64.u * act.scale(r.extent)  # of two values
        far = r.furthest(r.h, act.turns, act.function(z)) + own
        if not act.jumps:
            own = act.c_slope * FLOAT64.u * act.slope_scale(r.extent)
            far = np.fmin(far, d * (r.extent.slope + own))
        return r.unknown(np.where(d == 0, 0, far))


def derivative_spread(activation_name: str | None, z: Array, d: Array | float) -> Bound:
    """How far act'(z + e) can be from reference's act'(z), for any |e| <= d.

    At a kink both one-sided derivatives count, at d = 0 too: frameworks choose as they please.
    Elementwise activations only (ValueError); `vjp_bound` knows the others.
    """
    act = _elementwise(activation_name)
    assert act.derivative is not None
    z, d = _same_shape(z, d)
    if act.name == "linear":
        return np.where(np.isnan(z) | np.isnan(d), np.inf, 0.0)
    with np.errstate(all="ignore"):
        r = _Range(act, z, d)
        own = 2 * act.c_slope * FLOAT64.u * act.slope_scale(r.extent)
        at = act.derivative(z, act.function(z))
        far = r.furthest(r.slopes, act.slopes, at)
        return r.unknown(np.where(d == 0, far, far + own))


def activation_error(
    activation_name: str | None, z: Array, h: Array, a: Arithmetic, d: Array | float = 0.0
) -> Bound:
    """How far a framework's evaluation of act may be from act, at any argument within d of z.

    z, h = act(z) (...,H). The bound is act.c units and what is allowed beside: `activation_unit`.
    """
    unit, beside = activation_unit(activation_name, z, h, a, d)
    with np.errstate(all="ignore"):
        return _upper(activations.activation(activation_name).c * unit + beside)


def activation_unit(
    activation_name: str | None, z: Array, h: Array, a: Arithmetic, d: Array | float = 0.0
) -> tuple[Array, Bound]:
    """In which unit errors of act are measured, and what is allowed beside; as activation_error.

    The unit is u·scale, where the scale is |h| if frameworks are relatively accurate, and |z|,
    1 + |z| or 1 if their formulas cancel. Underflow adds 2η(1 + |z|), as when silu multiplies z by
    a sigmoid that was flushed. Activations that only choose or copy (linear, relu, relu6,
    hard_tanh, hard_shrink) are exact, but for a flushed subnormal. inf where the result, or
    squareplus's z² or sparsemax's Σ z, may exceed the arithmetic's largest number; and where d is
    inf: an argument that may overflow may be NaN, whatever values act has.

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
            if act.name == "sparsemax":  # sums of a row, sorted, are on the way to it
                size = np.maximum(size, (z.shape[-1] * reach).max(axis=-1, keepdims=True))
        else:
            r = _Range(act, z, d).extent if d.any() else Extent(z, abs(z), h, h)
            size, reach = r.h, r.z
            scale = act.scale(r)
        beside = 2 * a.min_normal * (1 + reach)
        if act.copies:
            beside = np.where(h < a.min_normal + d, np.minimum(size, a.min_normal), 0.0)
        largest = np.maximum(size, reach * reach) if act.squares else size
        unknown = np.isinf(d) if act.derivative else np.isinf(d).any(axis=-1, keepdims=True)
        return a.u_stored * scale, np.where(unknown | (largest > a.max), np.inf, beside)


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
    """The same for act': act.c_slope units and what is allowed beside: `derivative_unit`.

    Elementwise activations only (ValueError).
    """
    unit, beside = derivative_unit(activation_name, z, h, a, d)
    with np.errstate(all="ignore"):
        unknown = np.isnan(np.asarray(z, np.float64)) | np.isnan(np.asarray(d, np.float64))
        bound = activations.activation(activation_name).c_slope * unit + beside
        return _upper(np.where(unknown, np.inf, bound))


def derivative_unit(
    activation_name: str | None, z: Array, h: Array, a: Arithmetic, d: Array | float = 0.0
) -> tuple[Array, Bound]:
    """In which unit errors of act' are measured, and what is allowed beside; as derivative_error.

    The unit is u·scale: tanh's 1 - h·h, say, is off by a few u. Where rounding can put a framework
    on the other side of a kink (hard_sigmoid at 3, selu at 0), the jump of act' is allowed. inf
    where act', or squareplus's z², may exceed the arithmetic's largest number, and where d is inf.
    """
    act = _elementwise(activation_name)
    z, d = _same_shape(z, d)
    with np.errstate(all="ignore"):
        r = _Range(act, z, d)
        unit = a.u_stored * act.slope_scale(r.extent)
        exact = act.exact_slope
        beside = np.zeros(z.shape) if exact else 2 * a.min_normal * (1 + r.extent.z)
        for (kink, left), (_, right) in zip(act.slopes, act.slopes[1:], strict=False):
            if act.blur and _ == kink:
                near = abs(z - kink) <= d + act.blur * a.u_stored
                beside = beside + np.where(near, abs(right - left), 0.0)
        square = r.extent.z * r.extent.z if act.squares else 0.0
        unknown = np.isinf(d) | (np.maximum(r.extent.slope, square) > a.max)
        return unit, np.where(unknown, np.inf, beside)
