"""How far may act of a sum be off, and what does its error say of the sum?"""

from __future__ import annotations

from typing import Any

import numpy as np

from rnn_check.certificates.precision import NOTHING, Sample, sample_of
from rnn_check.certificates.sums import Sum
from rnn_check.numbers import activations
from rnn_check.numbers.formats import FLOAT64, UP, Array
from rnn_check.numbers.spread import activation_error, spread


def _spread_and_noise(name: str, z: Any, h: Array, gate: bool = False) -> tuple[Array, Array]:
    """How far act(z + e) is from h = act(z) if |e| <= z.error, and how far evaluating it may be.

    gate: in closed form, if there is one at all.
    """
    a, d = z.a, z.error
    act = activations.activation(name)
    closed = act.closed
    if closed is None or not (closed.quick or gate):
        noise = activation_error(name, z.value, h, a, d)
        noise += activation_error(name, z.value, h, FLOAT64)
        return spread(name, z.value, d), noise
    # exp(x) <= 1/(1 - x); and 2^-51 is more than the slope's own rounding
    far = d * np.fmin(1.0, (closed.slope(h) + 2.0**-51) / np.maximum(1 - closed.rate * d, 0))
    size = np.abs(h)
    far = np.fmin(far, size + closed.most)
    size += far
    if name == "linear":  # copies, but may flush what is subnormal
        small = size < a.min_normal + 2 * d
        noise = np.where(small, np.minimum(size, a.min_normal), 0.0) if small.any() else 0 * size
    else:
        noise = act.c * (a.u_stored + FLOAT64.u) * size
        noise += 2 * (a.min_normal + FLOAT64.min_normal) * (1 + np.abs(z.value) + d)
    noise[~(size <= a.max)] = np.inf
    return far, noise


def activated(
    name: str,
    z: Sum,
    observed: Array,
    at: tuple[Array | slice, Array | slice] | None,
    counted: Any,
) -> tuple[Array, Array, Sample]:
    """act(z), how far the subject's may be from it, and the errors as seen from z. (R,H)

    The errors at these rows and columns; None: nowhere.
    """
    act = activations.activation(name)
    h = act.function(z.value)
    far, noise = _spread_and_noise(name, z, h)
    bound = (far + noise) * UP
    if not z.is_plain:
        bound[z.error == np.inf] = np.inf
        if z.special is not None:
            bound = _unbounded(name, z, h, bound, observed)
    if at is None or name == "sparsemax":
        return h, bound, NOTHING
    rows, columns = at
    if counted is not True:
        counted = counted[rows]
    z, seen, noise, got = (
        z.at(rows, columns), *(part[rows][:, columns] for part in (h, noise, observed))
    )  # fmt: skip
    return h, bound, errors_seen(name, z, seen, got, noise, counted)


def errors_seen(
    name: str, z: Sum, h: Array, observed: Array, noise: Array | None = None, counted: Any = True
) -> Sample:
    """What the errors of these h = act(z) (R,C), as seen from z, say of how the sums were made.

    noise: how far evaluating act may be off.
    """
    act = activations.activation(name)
    if act.derivative is None:
        slope = h if name == "softmax" else np.ones_like(h)
        clear = (slope > 0) & counted
    else:
        slope = act.derivative(z.value, h)
        clear = (np.abs(slope) > 0.01) & counted
    if act.closed is not None and act.closed.quick and not act.copies:
        noise = act.c * z.a.u_stored * h
    elif noise is None:
        noise = activation_error(name, z.value, h, z.a)
    noise = noise / slope
    e = observed - h
    e /= slope
    return sample_of(z, e, np.abs(noise, out=noise), clear)


def _unbounded(name: str, z: Sum, h: Array, bound: Array, observed: Array) -> Array:
    """The bound of act(z) where z is NaN or infinite because of an operand that is (error 0).

    A NaN makes a NaN. Of infinities the subject may have made one: inf - inf where a partial sum
    overflowed the other way, or -inf·sigmoid(-inf). Otherwise act has its limit.
    """
    act = activations.activation(name)
    if act.chooses:
        special: Any = np.inf
    else:
        nan = np.isnan(h) | np.isnan(observed)
        limit = np.where(np.isinf(h), 0.0, act.c * z.a.u_stored * np.abs(h))
        special = np.where(np.isnan(z.value), 0.0, np.where(nan, np.inf, limit))
    return np.where(np.isfinite(z.value) | (z.error > 0), bound, special)
