"""What do the states of an LSTM say of its cell states, which frameworks mostly do not show?

c is hidden, but not unknown: h_t = o_t∘act(c_t) says between
which numbers c_t lies, and so does c_t = f_t∘c_{t-1} + i_t∘g_t if c_{t-1} is known to lie between
some. An interval observer keeps what both say,

    P_t = f_t·J_{t-1} + i_t·g_t ± rounding        I_t = act⁻¹(ĥ_t/o_t ± rounding)
    J_t = P_t ∩ I_t                               J_0 = [c_0, c_0]

Each P_t says between which numbers ĥ_t has to lie; an empty J_t proves that something else was
computed. f < 1 forgets what was vague. Where act is saturated, I_t says nothing, and J_t grows.

    B batch, T timesteps, F features, H units, G gates        R rows: samples × steps
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from rnn_check.certificates.gated_layer import GatedLayer, masked
from rnn_check.certificates.layer import reach_of
from rnn_check.certificates.pieces import Piece, Reach, _Worst
from rnn_check.certificates.seen import Seen
from rnn_check.numbers import activations
from rnn_check.numbers.bounded import Bounded, exactly
from rnn_check.numbers.formats import FLOAT64, UP, Array, gamma


class Between(NamedTuple):
    """Intervals: what is known of the numbers of an array."""

    low: Array
    high: Array

    def at(self, which: Any) -> Between:
        return Between(self.low[which], self.high[which])

    def put(self, which: Any, values: Between) -> None:
        self.low[which], self.high[which] = values

    @property
    def middle(self) -> Array:
        """0 where nothing is known."""
        middle = self.low / 2 + self.high / 2
        return np.where(np.isfinite(middle), middle, 0.0)

    def bounded(self, a: Any) -> Bounded:
        middle = self.middle
        far = np.maximum(self.high - middle, middle - self.low)
        return Bounded(middle, np.where(np.isnan(far), np.inf, far * UP), a)

    def within(self, other: Between) -> tuple[Between, Array]:
        """What both say, and where they contradict each other; there what this one says."""
        low, high = np.fmax(self.low, other.low), np.fmin(self.high, other.high)
        empty = low > high
        return Between(np.where(empty, self.low, low), np.where(empty, self.high, high)), empty


# The inverses of activations whose own error is relative to |act|, over what they may give
_INVERSES: dict[str, Callable[[Array], Array]] = {
    "linear": lambda t: t,
    "tanh": np.arctanh,
    "softsign": lambda t: t / (1 - np.abs(t)),
    "sigmoid": lambda t: np.log(t) - np.log1p(-t),
    "exponential": np.log,
    "relu": lambda t: np.where(t > 0, t, -np.inf),
    "relu6": lambda t: np.where(t > 0, t, -np.inf),
    "hard_tanh": lambda t: t,
}


def _before_act(name: str, t: Between, a: Any) -> Between:
    """Between which numbers c lies if what act makes of it, with its own error, lies in t.

    act rises, and its error is C·u·|act| and 2η(1 + |c|), where |c| > 2^6 does not matter beside u.
    """
    everything = Between(np.full_like(t.low, -np.inf), np.full_like(t.low, np.inf))
    if name not in _INVERSES:
        return everything
    reach, own = (
        reach_of(name),
        2 * activations.activation(name).c * (a.u_stored + FLOAT64.u) + 2.0**-48,
    )
    least = 2.0**9 * (a.min_normal + FLOAT64.min_normal)
    low = t.low - own * np.abs(t.low) - least
    high = t.high + own * np.abs(t.high) + least
    bottom, top = (0.0, math.inf) if name in ("relu", "exponential") else reach
    inverse = _INVERSES[name]

    def inside(v: Array) -> Array:
        return (v > bottom) & (v < top)

    middle = 0.5 * (max(bottom, -1.0) + min(top, 1.0))
    c = [inverse(np.where(inside(v), v, middle)) for v in (low, high)]
    c = (
        [v + side * 2.0**-46 * (1 + np.abs(v)) for v, side in zip(c, (-1, 1), strict=True)]
        if name != "linear"
        else c
    )
    return Between(np.where(inside(low), c[0], -np.inf), np.where(inside(high), c[1], np.inf))


class Observer:
    """What the states of an LSTM say of its cell states, step by step."""

    def __init__(self, layer: GatedLayer) -> None:
        self.layer = layer

    def told(self, h: Array, o: Bounded) -> Between:
        """I_t: between which numbers c lies, by the state h = o∘act(c) that was observed."""
        layer, a = self.layer, self.layer.a
        u, eta = 2 * (a.u_stored + FLOAT64.u), 4 * a.min_normal
        least, most = np.abs(o.value) - o.error, np.abs(o.value) + o.error
        size = np.abs(h)
        # |act(c)|, of which a product was rounded, and perhaps flushed
        low = np.maximum(size * (1 - u) - eta, 0) / most - eta
        high = (size * (1 + u) + eta) / np.where(least > eta, least, np.nan) + eta
        high = np.where(np.isnan(high), np.inf, high)
        sign = np.sign(h) * np.sign(o.value)
        one_side = (low > 0) & (least > eta)
        t = Between(
            np.where(one_side & (sign > 0), low, -high),
            np.where(one_side & (sign < 0), -low, high),
        )
        found = _before_act(layer.name, t, a)
        unknown = ~np.isfinite(h)
        return Between(np.where(unknown, -np.inf, found.low), np.where(unknown, np.inf, found.high))

    def blocks(self) -> Iterator[tuple[slice, slice, Seen, Any, Between, Between, Array]]:
        """Of each block: its step, P and J (n,m,H), and where J is empty.

        J is of the c that is handed on; that which made h, and that which is shown, may differ.
        """
        layer = self.layer
        a, H = layer.a, layer.h.shape[2]
        self.differs = np.zeros(layer.c0.shape)
        J = Between(layer.c0, layer.c0)
        for samples, steps in layer.blocks():
            if steps.start == 0:
                J = Between(layer.c0[samples], layer.c0[samples])
                self.differs = np.zeros(J.low.shape)
            n, s = layer.step(samples, steps, {}, _nothing(a, samples, steps, H))
            shape = layer.h[samples, steps].shape
            h = layer.h[samples, steps].astype(np.float64)
            moves = _Moves(*(b.each(lambda part: part.reshape(shape)) for b in (s.f, s.i * s.g)))  # noqa: B023
            told = self.told(h, s.o.each(lambda part: part.reshape(shape)))  # noqa: B023
            keep = None
            if layer.mask is not None:
                keep = np.broadcast_to(layer.mask[samples, steps][:, :, None], shape)
                told = Between(np.where(keep, told.low, -np.inf), np.where(keep, told.high, np.inf))
            known = _InTime(moves, told, keep)
            known.follow(J, self.differs)
            J, self.differs = known.J.at((slice(None), -1)), known.off[:, -1]
            yield samples, steps, n, s, known.P, known.J, known.empty

    def pieces(self, worst: _Worst) -> Iterator[Piece]:
        layer = self.layer
        a, T = layer.a, layer.h.shape[1]
        for samples, steps, n, s, P, J, empty in self.blocks():
            shape = J.low.shape
            flat = Between(*(part.reshape(-1, shape[2]) for part in P))
            t = _over(n, flat)
            h = s.o * t
            expected, bound = h.value.reshape(shape), h.error.reshape(shape)
            observed = layer.h[samples, steps].astype(np.float64)
            off = np.abs(observed - expected)
            bound = np.where(empty & (off <= bound), off * (1 - 2.0**-20), bound)
            # all that |h| may be: the gate, times the activation's range
            reach = layer.reach()
            says = np.isfinite(bound)
            if reach.is_limited:
                half = (reach_of(layer.name).high - reach_of(layer.name).low) / 2
                widest = (np.abs(s.o.value) + s.o.error) * half
                says &= (bound < 0.99 * widest.reshape(shape)) | (bound == 0)
            vague = _vague(J)
            expected, bound = masked(layer, samples, steps, expected, bound)
            if layer.mask is not None:
                says |= ~layer.mask[samples, steps][:, :, None]
                vague &= layer.mask[samples, steps][:, :, None]
            blind = (reach.high - reach.low) / 100 if reach.is_limited else np.abs(expected) / 100
            hidden = int(np.count_nonzero(vague & ~(bound > blind)))
            place: tuple[slice, ...] = (samples, steps)
            last = layer.last_c is not None
            parts = [expected, bound, says]
            if last:
                place, parts = (slice(0, 1), *place), [part[None] for part in parts]
            limits = None if reach.is_limited else Reach()
            yield Piece(
                place, parts[0], parts[1], blind=hidden, reach=limits,
                says=parts[2] if reach.is_limited else None,
            )  # fmt: skip
            if last and steps.stop == T:
                off = self.differs[:, None]
                c = Between(J.low[:, -1:] - off, J.high[:, -1:] + off).bounded(a)
                where = (slice(1, 2), samples, slice(T - 1, T))
                yield Piece(where, c.value[None], c.error[None], reach=Reach())


def _nothing(a: Any, samples: slice, steps: slice, H: int) -> Bounded:
    R = (samples.stop - samples.start) * (steps.stop - steps.start)
    return exactly(np.zeros((R, H)), a)


def _vague(J: Between) -> Array:
    """Where c is not known to a hundredth of it, or of 1."""
    return np.asarray(~(J.high - J.low <= 0.02 * np.fmax(1.0, np.abs(J.middle))))


class _Moves:
    """P_t from J_{t-1} at each step t of a block: f·c + i·g for each c in it, and two roundings."""

    def __init__(self, f: Bounded, ig: Bounded) -> None:
        self.f, self.ig, self.a = f, ig, f.a
        self.slope, self.most, self.first = np.abs(f.value), f.most, f.reached
        self.added, self.lost = ig.most, (4 + 2 * f.most) * f.a.min_normal
        self.u, self.again = gamma(2, f.a.u_stored) + gamma(4, FLOAT64.u), gamma(4, f.a.u_stored)

    def next(self, at: Any, J: Between) -> tuple[Between, Array]:
        """Of these (n,m,H). Also by how much it may differ if it is made once more."""
        a, c = self.a, J.bounded(self.a)
        e = self.f.error[at] * c.most + self.slope[at] * c.error + self.ig.error[at]
        size = self.most[at] * c.most + self.added[at]
        e = (e + self.u * size + self.lost[at]) * UP
        value = self.f.value[at] * c.value + self.ig.value[at]
        differs = self.again * size + 4 * a.min_normal
        reached = size if self.f.factor is None else self.first[at] * c.most + self.added[at]
        known = (reached <= a.max) & np.isfinite(value) & ~np.isnan(e)
        if known.all():
            return Between(value - e, value + e), differs
        P = Between(np.where(known, value - e, -np.inf), np.where(known, value + e, np.inf))
        return P, np.where(known, differs, 0.0)


_MANY, _ROUNDS = 2**4, 2**6  # steps that are made at once, at least; how often at most
_SMALL = 2**4  # states of a step: more of them cost more than the calls that make them


class _InTime:
    """P and J of each step of a block, where J is empty, and by how much c may differ. (n,m,H)

    keep: which steps count; None: all. One step follows from the other; but mostly J is what h
    tells of it, whatever was before. So all steps are made at once, as if that were all that is
    known of the steps before; then once more those after which something else was found, until
    nothing is. What is left then follows from what is before it: it is what one step after the
    other gives, bit for bit.
    """

    def __init__(self, moves: _Moves, told: Between, keep: Array | None) -> None:
        self.moves, self.told, self.keep = moves, told, keep
        shape = self.shape = told.low.shape
        self.P = Between(np.empty(shape), np.empty(shape))
        self.J = Between(told.low.copy(), told.high.copy())
        self.off, self.empty = np.zeros(shape), np.zeros(shape, bool)

    def follow(self, J: Between, off: Array) -> None:
        """From what is known of the cell states before the block, (n,H)."""
        (n, m, H), first = self.shape, 0
        if m >= _MANY and n * H <= _SMALL:
            first = self._together(J, off)
        for t in range(first, m):
            at, before = (slice(None), t), (slice(None), t - 1)
            self._step(at, self.J.at(before) if t else J, self.off[before] if t else off)

    def _step(self, at: Any, J: Between, before: Array) -> Array:
        """Which of these are not what they were."""
        now, off = self.moves.next(at, J)
        told = Between(self.told.low[at] - off, self.told.high[at] + off)
        found, empty = now.within(told)
        if self.keep is not None:
            keep = self.keep[at]
            found = Between(*(np.where(keep, *pair) for pair in zip(found, J, strict=True)))
            empty, off = empty & keep, np.where(keep, off, before)
        other = (found.low != self.J.low[at]) | (found.high != self.J.high[at])
        if self.keep is not None:
            other |= off != self.off[at]
        self.P.put(at, now)
        self.J.put(at, found)
        self.off[at], self.empty[at] = off, empty
        return np.asarray(other)

    def _together(self, J: Between, off: Array) -> int:
        """The first step that is not settled."""
        m: int = self.shape[1]
        low, high, before = (
            np.concatenate([first[:, None], later[:, :-1]], axis=1)
            for first, later in zip((*J, off), (*self.J, self.off), strict=True)
        )
        i, t, j = np.nonzero(self._step((), Between(low, high), before))
        for _ in range(_ROUNDS):
            inside = t + 1 < m
            i, t, j = i[inside], t[inside] + 1, j[inside]
            if not len(t):
                return m
            last = i, t - 1, j
            other = self._step((i, t, j), self.J.at(last), self.off[last])
            i, t, j = i[other], t[other], j[other]
        return min(int(t.min(initial=m)) + 1, m)


def _over(n: Seen, c: Between) -> Bounded:
    """act of all numbers in c: where it rises and both ends are finite, midway between them."""
    t = n.act(c.bounded(n.a))
    if n.names[0] not in _INVERSES:
        return t
    low, high = (n.act(exactly(np.where(np.isfinite(end), end, 0.0), n.a)) for end in c)
    middle = (low.value + high.value) / 2
    far = (high.value - low.value) / 2 + np.maximum(low.error, high.error)
    use = np.isfinite(c.low) & np.isfinite(c.high) & (far * UP < t.error)
    error = np.where(use, far * UP, t.error)
    return Bounded(np.where(use, middle, t.value), error, n.a, factor=t.factor)
