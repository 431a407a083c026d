"""Which states may be off by more than matters? Asked in float32, as most are not."""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator
from typing import NamedTuple

import numpy as np

from rnn_check.certificates.activated import activated
from rnn_check.certificates.factors import Room
from rnn_check.certificates.layer import Layer
from rnn_check.certificates.narrow import Narrow
from rnn_check.certificates.pieces import Piece, _Worst
from rnn_check.certificates.precision import NOTHING, SAMPLED
from rnn_check.certificates.sums import Sum
from rnn_check.numbers import activations
from rnn_check.numbers.formats import ARITHMETICS, FLOAT64, Arithmetic, Array


def _is_quick(name: str) -> bool:
    closed = activations.activation(name).closed
    return closed is not None and closed.quick


def can_be_quick(name: str, z: Sum) -> bool:
    quick = z.is_plain and _is_quick(name)
    return quick and z.a.u_stored > FLOAT64.u and z.value.size > SAMPLED


def is_held(layer: Layer) -> bool:
    """Whether float32 holds all operands, of sums whose sizes are bounded by norms."""
    held = layer.x.dtype == layer.h.dtype == np.float32 and layer.a.u_stored > FLOAT64.u
    return held and not layer.forward.tight and _is_quick(layer.name)


def can_be_narrow(layer: Layer) -> bool:
    """Whether sums are so long, besides, that float32's own rounding is small."""
    return len(layer.W) + len(layer.U) >= _LONG and is_held(layer)


_LONG = 512


def quickly(
    layer: Layer, place: tuple[slice, ...], z: Sum, given: Array, worst: _Worst, room: Room
) -> Iterator[Piece]:
    """The same as activated, for those elements alone whose ratio may be the largest.

    They are the ones for which less than the bound, in float32, times the ratio that matters
    (`_Worst.level`) is exceeded by more than the residual.
    """
    value, size = (room(which, *given.shape, dtype=np.float32) for which in ("h", "+"))
    np.copyto(value, z.value, casting="same_kind")
    np.copyto(size, z.size, casting="same_kind")
    u = ARITHMETICS["float32"].u
    off = z.gamma, u, 2 * u
    vague = _vague(layer.name, z, value, size, off, room)
    if vague is None:
        at, blind = np.arange(given.size), 0
    else:
        at = _suspects(layer.name, z.a, value, size, off, z.top, given, worst, room)
        at, blind = _both(at, vague)
    observed = given.reshape(-1)[at].astype(np.float64)
    expected, bound, _ = activated(layer.name, z.elements(at), observed, None, True)
    yield Piece(place, expected, bound, NOTHING, at, given.size, blind, (vague or _NOT_VAGUE).rest)


def narrowly(
    layer: Layer,
    narrow: Narrow,
    place: tuple[slice, ...],
    rows: Array,
    given: Array,
    worst: _Worst,
    room: Room,
) -> Generator[Piece, None, bool]:
    """As quickly, but no product is made in float64 of elements that are no suspects.

    Returns whether that went well; if not, nothing is settled.
    """
    found = narrow.sums(rows, room)
    if found is None:
        return False
    value, size, z = found
    off = z.gamma, narrow.own, narrow.vague
    vague = _vague(layer.name, z, value, size, off, room)
    if vague is None:
        return False
    h, allowed = (room(which, *given.shape, dtype=np.float32) for which in ("h", "+"))
    np.copyto(h, value)
    np.copyto(allowed, size)
    at = _suspects(layer.name, z.a, h, allowed, off, z.top, given, worst, room)
    if len(at) * 2**4 > given.size:
        return False
    # once more, with act in float64
    h, allowed, seen = (part.reshape(-1)[at].astype(np.float64) for part in (value, size, given))
    at = at[_suspects(layer.name, z.a, h, allowed, off, z.top, seen, worst, room)]
    at, blind = _both(at, vague)
    if len(at) * 2**8 > given.size:
        return False
    few = narrow.elements(rows, at, z)
    observed = given.reshape(-1)[at].astype(np.float64)
    expected, bound, _ = activated(layer.name, few, observed, None, True)
    yield Piece(place, expected, bound, NOTHING, at, given.size, blind, vague.rest)
    return True


class _Vague(NamedTuple):
    """Which elements of a block laid flat are blind for sure, and which may be."""

    sure: Array | None  # (R·H,) bool; None: none is
    maybe: Array  # indices
    rest: tuple[float, float] = (0.0, 0.0)  # see Piece


_NOT_VAGUE = _Vague(None, np.zeros(0, np.intp))


def _both(at: Array, vague: _Vague) -> tuple[Array, int]:
    """All elements to be computed, and how many of the others are blind."""
    if len(vague.maybe):
        at = np.union1d(at, vague.maybe)
    if vague.sure is None:
        return at, 0
    return at, int(np.count_nonzero(vague.sure)) - int(np.count_nonzero(vague.sure[at]))


def _vague(
    name: str, z: Sum, value: Array, size: Array, off: tuple[float, float, float], room: Room
) -> _Vague | None:
    """Of z and its sizes as seen in float32; None where too many may be blind, or not judged.

    As in _suspects, z is off by own·size and sizes by their vague-th part. The bound is at most
    Δ = γ·size and act's own error, which with |h| <= 1 is 2^-10 at most; of linear it is Δ, but
    for copies that may be flushed.
    """
    gamma, own, vague = off
    least = float(z.lost) + z.a.min_normal  # what underflow adds
    top = gamma * z.top * (1 + vague) + least
    if name != "linear":
        return _NOT_VAGUE if is_clear(z.a, top) else None
    fuzz = 2**5 * float(np.finfo(value.dtype).eps)
    known = np.abs(value, out=room("|h|", *value.shape, dtype=value.dtype)).reshape(-1)
    largest = float(known.max(initial=0)) * (1 - 2.0**-20) - own * z.top
    known *= value.dtype.type(0.01)
    allowed = np.multiply(
        size, value.dtype.type(gamma), out=room("* float32", *size.shape, dtype=size.dtype)
    ).reshape(-1)
    doubt = fuzz + vague + 0.01 * own / gamma  # of Δ
    allowed += value.dtype.type(z.lost)
    allowed -= known
    known *= value.dtype.type(fuzz)
    known += size.reshape(-1) * value.dtype.type(gamma * doubt)
    known += value.dtype.type(z.a.min_normal + 2.0**-20 * float(z.lost))
    maybe = np.flatnonzero(np.abs(allowed) <= known)
    return _Vague(allowed > known, maybe, (max(largest, 0.0), top))


def is_clear(a: Arithmetic, top: float) -> bool:
    """Whether no state of tanh is blind or unjudged, if its z is off by `top` at most."""
    return top + 2.0**-10 < 0.02 and a.u_stored < 2.0**-16


class Slack(NamedTuple):
    """A state ĥ is no suspect if |ĥ - h| <= far·size·(least - h²) + act·|h|; linear: far·size."""

    far: float
    least: float
    act: float


def slack(
    name: str, a: Arithmetic, off: tuple[float, float, float], top: float, u: float, ratio: float
) -> Slack | None:
    """None if all are suspects.

    h is z in a precision u, off by own·size, sizes by their vague-th part; Δ = γ·size, of which
    `top` is the largest. The bound is act'(z)·exp(-rate·Δ)·Δ + act.c·u·|h| at least, and act as
    seen here is off by act'(z)·exp(rate·own·size)·own·size and its own error. 32 roundings are more
    than the slope's error and those of the few lines that compare.
    """
    (gamma, own, vague), known = off, activations.activation(name)
    closed = known.closed
    assert closed is not None
    far_off = closed.rate * (gamma + 2 * own) * top * (1 + vague)
    if not far_off < 1:
        return None
    steepest = math.exp(far_off)
    fuzz = 2**5 * u
    less, more = 1 - fuzz - vague, 1 + fuzz + vague
    act_error = ratio * known.c * a.u_stored
    near = own * steepest * more
    far = ratio * gamma / steepest * less - near
    if not far > 0:
        return None
    least = 1 - fuzz - (2 * fuzz + act_error) * near / far
    return Slack(far, least, act_error * less - closed.own * u * more)


def _suspects(
    name: str,
    a: Arithmetic,
    h: Array,
    allowed: Array,
    off: tuple[float, float, float],
    top: float,
    given: Array,
    worst: _Worst,
    room: Room,
) -> Array:
    """Which elements, of all in this block laid flat, may have a ratio that matters.

    h is z in this precision, allowed the size of its terms, of which `top` is the largest (see
    `slack`); both are overwritten.
    """
    closed = activations.activation(name).closed
    assert closed is not None and closed.act is not None
    found = slack(name, a, off, top, float(np.finfo(h.dtype).eps) / 2, worst.level)
    if found is None:
        return np.arange(h.size)
    closed.act(h, out=h)
    allowed *= h.dtype.type(found.far)
    if name != "linear":
        other = room(f"* {h.dtype}", *h.shape, dtype=h.dtype)
        np.multiply(h, h, out=other)
        allowed *= np.subtract(h.dtype.type(found.least), other, out=other)
        np.abs(h, out=other)
        other *= h.dtype.type(found.act)
        allowed += other
    h -= given
    return np.flatnonzero(~(np.abs(h, out=h) <= allowed))
