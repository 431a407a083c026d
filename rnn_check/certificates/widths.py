"""How vague may the cell states of an LSTM be that nobody shows, and how wide a state's bound?

From what each argument of a gate may be off by at most. An interval J_t is as wide as h lets it be,

    2.6·ρ·|tanh(c)|/(1 - (1 + 2.6ρ)²·tanh(c)²)         ρ: by how much of itself o may be off

or as a step makes it, f_t times as wide as J_{t-1} and what the step may be off by, to both sides;
none is vague if none before it was.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from rnn_check.certificates.gated_screen import FLAT, FUZZ, U, largest, most_of
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

    def with_after(self, at: Array) -> Array:
        """These and those one step after them, as far as there are, in order."""
        H, found = self.start.shape[1], np.zeros(len(self.c), bool)
        found[at] = found[at[(at // H) % self.m < self.m - 1] + H] = True
        return np.flatnonzero(found)


class _Off(NamedTuple):
    """How far these gates may be off: |act'|·far and act's own error."""

    i: Array
    f: Array
    o: Array
    g: Array


class Widths(NamedTuple):
    """far: how far the arguments of i, f, o and g may be off, at most. most: the gates."""

    far: list[float]
    most: list[float]

    @classmethod
    def of(cls, far: list[float]) -> Widths | None:
        if not max(far) < FLAT:
            return None
        names = ("sigmoid", "sigmoid", "sigmoid", "tanh")
        return cls(far, [most_of(name, each) for name, each in zip(names, far, strict=True)])

    @property
    def rho(self) -> float:
        """2.6 times by how much of itself h/o may be off."""
        e = self.far[2] / (1 - self.far[2]) + 20 * U
        return 2.6 * (e / (1 - e) + 64 * U)

    def told(self, t: Array, again: float) -> Array:
        """How wide J may be where h says it; t = tanh(c)."""
        t = np.abs(t) * (1 + FUZZ)
        end = t * (1 + self.rho)
        found = self.rho * t / np.maximum(1 - end * end, 2.0**-60) * (1 + FUZZ) + again
        return np.where(end < 1, found, np.inf)

    def wide(self, every: Steps, first: bool) -> Array:
        """Which elements may be vague, blind or unjudged. first: c is known before these steps."""
        most_c = 1.03 * max(largest(every.c), largest(every.start)) + 0.03
        e_i, e_f, e_o, e_g = self.most
        again = 2 * gamma(4, U) * 1.2 * (most_c + 1) + 2.0**-100
        step = self._step(most_c, 1.0, 1.0, e_i, e_f, e_g, 1.0)
        limit = _VAGUE / 1.03 - again
        if not (limit > 0 and self.rho < FLAT and step < FLAT):
            return np.arange(len(every.c))
        # up to this |tanh(c)| J is narrow for what h says
        k, rho = 1 + self.rho, self.rho
        end = (math.sqrt(rho * rho + 4 * (limit * k) ** 2) - rho) / (2 * limit * k * k)
        d = (_VAGUE + step) / 2
        bound = e_o + (1 + e_o) * (d / (1 - 2 * d) + 20 * U)
        if not bound * (1 + FUZZ) < _BLIND:
            at = np.arange(len(every.c))
        elif largest(every.t) < end * (1 - FUZZ):
            return np.zeros(0, np.intp)
        else:
            near = np.flatnonzero(~(np.abs(every.t) < end * (1 - FUZZ)))
            at = every.with_after(near)
        H = every.start.shape[1]
        starts = (at // H) % every.m == 0
        W = np.where(starts, 0.0 if first else np.inf, self.told(every.t[at - H], again))
        W = np.minimum(W, _cap(every.before(at)))  # as none before is vague
        fine = self._asked(every, at, again).are_fine(W)
        return at[:0] if fine.all() else self._in_time(every, at[~fine], again, first)

    def _step(self, c: Any, i: Any, g: Any, e_i: Any, e_f: Any, e_g: Any, f: Any) -> Any:
        """How much wider a step may make what is known of c, of gates and c of these sizes."""
        e = e_f * c + e_i * (g + 2 * e_g) + (i + 2 * e_i) * e_g
        e = e + 4 * U * ((f + 2 * e_f) * c + (i + 2 * e_i) * (g + 2 * e_g))
        return 2 * e * (1 + FUZZ) + 2.0**-100

    def _off(self, i: Array, f: Array, o: Array, g: Array) -> _Off:
        found = []
        for gate, far, rate in zip((i, f, o, g), self.far, (1, 1, 1, 2), strict=True):
            slope = gate * (1 - gate) if rate == 1 else 1 - gate * gate
            name = "sigmoid" if rate == 1 else "tanh"
            grown = far * math.exp(rate * far) / (1 - rate * far)
            own = (activations.activation(name).c + 2) * U
            found.append((grown * (slope + 40 * U) + own * (np.abs(gate) + far)) * (1 + FUZZ))
        return _Off(*found)

    def _asked(self, every: Steps, at: Array, again: float) -> _Asked:
        i, f, o, g, c, t = (part[at].astype(np.float64) for part in every[:6])
        e, before = self._off(i, f, o, g), every.before(at)
        size = np.abs(before) + _cap(before)
        step = self._step(size, i, np.abs(g), e.i, e.f, e.g, f)
        return _Asked(f + e.f, step, self.told(t, again), _cap(c), t, o, e.o)

    def _in_time(self, every: Steps, at: Array, again: float, first: bool) -> Array:
        """Of those that these belong to, sample and unit, which are not fine at some step."""
        H, m = every.start.shape[1], every.m
        row, unit = np.divmod(at, H)
        of = np.unique(row // m * (m * H) + unit)  # the first steps of each
        asked = self._asked(every, of + np.arange(m)[:, None] * H, again)
        W = np.empty((m, len(of)))  # before each step
        W[0] = 0.0 if first else _cap(every.before(of))
        for t in range(m - 1):
            np.multiply(asked.f[t], W[t], out=W[t + 1])
            W[t + 1] += asked.step[t]
            np.minimum(W[t + 1], asked.told[t], out=W[t + 1])
        return of[~asked.are_fine(W).all(axis=0)]


def _cap(c: Array) -> Array:
    """How wide J may be of a c̃ in it, and not vague."""
    return np.asarray(_VAGUE / 1.03 * np.maximum(1, np.abs(c)))


class _Asked(NamedTuple):
    """Of some elements: f, at most; how much wider a step makes J; how wide it may be by h."""

    f: Array
    step: Array
    told: Array
    cap: Array
    t: Array
    o: Array
    off: Array  # o is off by

    def are_fine(self, W: Array) -> Array:
        """Which are neither vague nor blind, if J was no wider than W before."""
        P = self.f * W + self.step
        d = P / 2 * (1 + FUZZ)
        slope = np.minimum(1, (1 - self.t * self.t + 2.0**-18) * np.exp(2 * d))
        bound = self.off + (self.o + 2 * self.off) * (d * slope / (1 - 2 * d) + 20 * U)
        narrow = (np.minimum(P, self.told) <= self.cap) & (d < 2 * FLAT)
        return np.asarray(narrow & (bound * (1 + FUZZ) < _BLIND))
