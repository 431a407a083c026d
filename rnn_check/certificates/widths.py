"""How vague may the cell states of an LSTM be that nobody shows, and how wide a state's bound?

From what each argument of a gate may be off by at most. An interval J_t is as wide as h lets it be,

    ρ·|tanh(c)|/(1 - (1 + ρ)²·tanh(c)²)         ρ: twice by how much of itself o may be off, nearly

or as a step makes it, f_t times as wide as J_{t-1} and what the step may be off by, to both sides;
none is vague if none before it was.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from rnn_check.certificates.gated_arguments import FLAT, FUZZ, U, largest, most_of
from rnn_check.numbers import activations
from rnn_check.numbers.formats import Array, gamma

_VAGUE, _BLIND = 0.02, 0.02  # see observer; a hundredth of tanh's range


class Steps(NamedTuple):
    """The numbers of some steps, laid flat: n samples, m steps, H units."""

    i: Array
    f: Array
    o: Array
    g: Array
    c: Array
    t: Array  # tanh(c)
    start: Array  # (n,H) c before the first step
    m: int

    def before(self, at: Array) -> Array:
        """c before these, in float64."""
        H = self.start.shape[1]
        row, unit = np.divmod(at, H)
        sample, step = np.divmod(row, self.m)
        before = self.c[at - H]  # of a first step another, or none
        found = np.where(step > 0, before, self.start[sample, unit])
        return np.asarray(found.astype(np.float64))

    def all_before(self) -> Array:
        """c before each."""
        c = self.c.reshape(len(self.start), self.m, -1)
        return np.concatenate([self.start[:, None], c[:, :-1]], axis=1).reshape(-1)

    def with_after(self, at: Array) -> Array:
        """These and those one step after them, as far as there are, in order."""
        H, found = self.start.shape[1], np.zeros(len(self.c), bool)
        found[at] = found[at[(at // H) % self.m < self.m - 1] + H] = True
        return np.flatnonzero(found)


class Widths:
    """Of gates whose arguments may be off by no more than this: i, f, o and g.

    far: at most. far_at: at these rows and units; None: no more is known.
    """

    def __init__(
        self, far: list[float], far_at: Callable[[Array, Array], list[Any]] | None
    ) -> None:
        self.far, self.far_at = far, far_at
        names = ("sigmoid", "sigmoid", "sigmoid", "tanh")
        self.most = [most_of(name, each) for name, each in zip(names, far, strict=True)]

    def wide(self, every: Steps, first: bool) -> Array:
        """Which elements may be vague, blind or unjudged. first: c is known before these steps."""
        most_c = 1.03 * max(largest(every.c), largest(every.start)) + 0.03
        again = 2 * gamma(4, U) * 1.2 * (most_c + 1) + 2.0**-100
        limit, rho = _VAGUE / 1.03 - again, _spread(self.far[2], 0.0)
        if not (limit > 0 and rho < 1 and most_c < 2.0**20):
            return np.arange(len(every.c))
        # up to this |tanh(c)| J is narrow for what h says
        k = 1 + rho
        end = (math.sqrt(rho * rho + 4 * (limit * k) ** 2) - rho) / (2 * limit * k * k)
        end *= 1 - FUZZ
        e_i, e_f, e_o, e_g = self.most
        new = _step(0.0, 1.0, 0.0, 1.0, e_i, e_f, e_g)
        d = (_VAGUE + e_f + new + 2 * (e_f + 8 * U) * most_c) / 2
        at, parts = None, (every.f, every.c, every.t)
        if e_o + (1 + e_o) * (d * (1 + 6 * d) + 20 * U) < _BLIND / (1 + FUZZ) and d < 2 * FLAT:
            if largest(every.t) < end:
                return np.zeros(0, np.intp)
            near = np.flatnonzero(~(np.abs(every.t) < end))
            if 2**4 * len(near) < len(every.t):
                at = every.with_after(near)
                parts = every.f[at], every.c[at], every.t[at]
        before = every.all_before() if at is None else every.before(at)
        found = np.flatnonzero(self._may_be(*parts, before, end, new))
        found = found if at is None else at[found]
        return self._in_time(every, found, again, first) if len(found) else found

    def _may_be(self, f: Array, c: Array, t: Array, before: Array, end: float, new: float) -> Array:
        """The same of these elements, if J was not vague before; in float32.

        new: how much wider a step makes J for i and g.
        """
        _, e_f, e_o, _ = self.most
        before = np.abs(before, dtype=np.float32)
        cap = np.maximum(before, np.float32(1))
        cap *= np.float32(_VAGUE / 1.03 * (1 + FUZZ))
        of_f = 2 * (e_f + 8 * U) * (1 + FUZZ)
        cap *= f + np.float32(of_f + e_f)
        before *= np.float32(of_f)
        P = np.add(cap, before, out=cap)  # how wide P may be
        P += np.float32(new)
        P *= np.float32(1 + FUZZ)
        size = np.abs(c, out=before)
        np.maximum(size, np.float32(1), out=size)
        size *= np.float32(_VAGUE / 1.03 * (1 - FUZZ))
        found = ~(size >= P)
        found &= ~(np.abs(t, out=size) < np.float32(end))
        # and the state: e^(2d)/(1 - 2d) <= 1 + 6d of its interval's half width d up to 1/8
        P *= np.float32(0.5)
        found |= ~(np.float32(2 * FLAT) > P)
        slope = np.multiply(t, t, out=size)
        np.subtract(np.float32(1 + FUZZ), slope, out=slope)
        slope *= P
        P *= np.float32(6)
        P += np.float32(1)
        slope *= P
        limit = (_BLIND / (1 + FUZZ) - e_o) / (1 + 2 * e_o) - 20 * U
        found |= ~(slope <= np.float32(limit * (1 - FUZZ)))
        return np.asarray(found)

    def _in_time(self, every: Steps, at: Array, again: float, first: bool) -> Array:
        """Of those that these belong to, sample and unit, which are not fine at some step."""
        H, m = every.start.shape[1], every.m
        row, unit = np.divmod(at, H)
        of = np.unique(row // m * (m * H) + unit)  # the first steps of each
        at = of + np.arange(m)[:, None] * H
        far = self.far if self.far_at is None else self.far_at(*np.divmod(at, H))
        i, f, o, g, c, t = (part[at].astype(np.float64) for part in every[:6])
        e_i, e_f, e_o = (_off("sigmoid", s, d) for s, d in zip((i, f, o), far, strict=False))
        e_g, size = _off("tanh", g, far[3]), np.abs(every.before(at))
        step = _step(size + _cap(size), i, f, np.abs(g), e_i, e_f, e_g)
        rho, t = _spread(far[2], o), np.abs(t) * (1 + FUZZ)
        end = t * (1 + rho)
        told = rho * t / np.maximum(1 - end * end, 2.0**-60) * (1 + FUZZ) + again
        told = np.where(end < 1, told, np.inf)
        W = np.empty((m + 1, len(of)))  # before each step
        W[0] = 0.0 if first else _cap(size[0])
        P = np.empty(c.shape)
        f = f + e_f
        for k in range(m):
            np.multiply(f[k], W[k], out=P[k])
            P[k] += step[k]
            np.minimum(P[k], told[k], out=W[k + 1])
        d = P / 2 * (1 + FUZZ)
        slope = np.minimum(1, (1 - t * t + 2.0**-16) * (1 + 6 * d))
        bound = e_o + (o + 2 * e_o) * (d * slope + 20 * U)
        fine = (W[1:] <= _cap(c)) & (d < 2 * FLAT) & (bound * (1 + FUZZ) < _BLIND)
        return np.asarray(of[~fine.all(axis=0)])


def _cap(c: Array) -> Array:
    """How wide J may be of a c̃ in it, and not vague."""
    return np.asarray(_VAGUE / 1.03 * np.maximum(1, np.abs(c)))


def _spread(far: Any, o: Any) -> Any:
    """ρ as told above. An end of what h says is the other times (1 + r)/(1 - r)."""
    r = far * math.exp(FLAT) / (1 - FLAT) if np.ndim(far) == 0 else far * np.exp(far) / (1 - far)
    r = r * (1 - o + 2.0**-16) + 20 * U
    r = r / (1 - r) + 64 * U
    return 2 * r / (1 - r)


def _step(c: Any, i: Any, f: Any, g: Any, e_i: Any, e_f: Any, e_g: Any) -> Any:
    """How much wider a step may make J, of gates and a c of these sizes, and gates so far off."""
    e = e_f * c + e_i * (g + 2 * e_g) + (i + 2 * e_i) * e_g
    e = e + 4 * U * ((f + 2 * e_f) * c + (i + 2 * e_i) * (g + 2 * e_g))
    return 2 * e * (1 + FUZZ) + 2.0**-100


def _off(name: str, gate: Array, far: Any) -> Array:
    """How far a gate may be off whose argument is off by so much."""
    act = activations.activation(name)
    assert act.closed is not None
    rate, slope = act.closed.rate, gate * (1 - gate) if name == "sigmoid" else 1 - gate * gate
    grown = far * np.exp(rate * far) / (1 - rate * far)
    own = (act.c + 2) * U
    return np.asarray((grown * (slope + 40 * U) + own * (np.abs(gate) + far)) * (1 + FUZZ))
