"""What do adjoints say of the adjoint that nobody shows?

An LSTM's dc_t is hidden, as a GRU's dh_t is: each takes a part from the same number of the next
step. But each δ says between which numbers it lies, and an observer as in `observer` goes
backwards:

    LSTM   P_t = dh_t∘o_t∘act'(c_t) + f_{t+1}∘J_{t+1}        J_t = P_t ∩ δ_i/(g∘gate') ∩ ...
    GRU    P_t = dL/dh_t + δ_{t+1}·Uᵀ + z_{t+1}∘J_{t+1}      J_t = P_t ∩ δ_c/((1 - z)∘act') ∩ ...

    B batch, T timesteps, H units; n, m samples and steps of a block
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from rnn_check.certificates.gated_layer import GatedLayer
from rnn_check.certificates.observer import Between
from rnn_check.numbers import activations
from rnn_check.numbers.activated import flushed
from rnn_check.numbers.bounded import Bounded, stacked
from rnn_check.numbers.formats import FLOAT64, UP, Arithmetic, Array, gamma
from rnn_check.numbers.spread import derivative_error, derivative_spread


class Total(NamedTuple):
    """A sum that is still growing: |value - its| <= error, of addends in any order."""

    value: Array
    error: Array
    size: Array
    addends: int

    @classmethod
    def of(cls, value: Array, error: Array) -> Total:
        return cls(value, error, np.abs(value), 1)

    def plus(self, value: Any, error: Any = 0.0) -> Total:
        return self.joined(Total(value, error, np.abs(value), 1))

    def joined(self, other: Total) -> Total:
        pairs: Any = zip(self, other, strict=True)
        return Total(*(one + another for one, another in pairs))

    def bounded(self, a: Arithmetic) -> Bounded:
        """One addend is a copy, but may have been flushed."""
        k = max(self.addends - 1, 0)
        most = self.size + self.error
        own = (gamma(k, a.u_stored) + gamma(k + 1, FLOAT64.u)) * most + (k + 1) * a.min_normal
        error = (self.error + own) * UP
        return Bounded(self.value, np.where(most <= a.max, error, np.inf), a, self.size)


def where(keep: Any, new: Total, old: Total) -> Total:
    value, error, size = (np.where(keep, *pair) for pair in zip(new[:3], old[:3], strict=True))
    return Total(value, error, size, max(new.addends, old.addends))


class Left(NamedTuple):
    """What is left of a backward pass for the steps before: (n,H) each."""

    seen: Total  # what reaches the state by what is seen
    hidden: Total  # by the hidden adjoint
    shown: Total  # the cotangents of copies of the initial state


def nothing_left(n: int, H: int) -> Left:
    zero = np.zeros((n, H))
    return Left(*(Total(zero, zero, zero, 0) for _ in range(3)))


class Gate(NamedTuple):
    """One gate: its argument, what comes of it, and what its δ is of: δ = hidden·k∘act'(s)."""

    name: str  # of its activation
    s: Bounded
    value: Array
    k: Bounded | None  # None: of what is seen (`of`)
    size: Any = None  # what products with k are rounded to relatively, where k is a difference
    of: Bounded | None = None


def told(gate: Gate, observed: Array, a: Arithmetic) -> Between:
    """Between which numbers the hidden adjoint lies, by this δ = hidden·k·act'(s)."""
    everything = Between(np.full(observed.shape, -np.inf), np.full(observed.shape, np.inf))
    act = activations.activation(gate.name)
    if gate.k is None or act.derivative is None:
        return everything
    slope = act.derivative(gate.s.value, gate.value)
    e = derivative_spread(gate.name, gate.s.value, gate.s.error)
    e = e + derivative_error(gate.name, gate.s.value, gate.value, a, gate.s.error)
    e = e + derivative_error(gate.name, gate.s.value, gate.value, FLOAT64)
    k = gate.k
    size = np.abs(k.value) if gate.size is None else gate.size
    off = k.error * (np.abs(slope) + e) + np.abs(k.value) * e
    off = off + (gamma(5, a.u_stored) + gamma(8, FLOAT64.u)) * (
        (size + k.error) * (np.abs(slope) + e)
    )
    factor = k.value * slope
    least, most = np.abs(factor) - off, np.abs(factor) + off
    lost = 2 * a.min_normal + flushed(act, gate.s.value, gate.s.error, a)
    lost = lost * (1 + np.abs(slope) + e) * (1 + size)
    high = (np.abs(observed) + lost) / np.where(least > lost, least, np.nan) + a.min_normal
    high = np.where(np.isfinite(high) & np.isfinite(observed), high * UP, np.inf)
    low = np.maximum(np.abs(observed) - lost, 0) / most / UP - a.min_normal
    sign = np.sign(observed) * np.sign(factor)
    one_side = (low > 0) & (least > lost) & (high < np.inf)
    return Between(
        np.where(one_side & (sign > 0), low, -high),
        np.where(one_side & (sign < 0), -low, high),
    )


def seen_adjoints(
    layer: GatedLayer, samples: slice, steps: slice, on: Bounded, c: Array, e: Array, left: Left
) -> tuple[list[Total], Total, Total]:
    """What reaches the state of each step by what is seen; and what is left of it, and `shown`.

    on: what each step hands to the state before it through its products. c, e: its cotangent, and
    by how much that may be off. (n,m,H) all.
    """
    later, shown, totals = left.seen, left.shown, list[Total]()
    for t in reversed(range(c.shape[1])):
        mine = later.plus(c[:, t], e[:, t])
        totals.insert(0, mine)
        after = Total.of(on.value[:, t], on.error[:, t])
        if layer.mask is None or layer.last is None:
            later = after
            continue
        step = steps.start + t
        keep, first = layer.mask[samples, step, None], layer.last[samples, step + 1, None] < 0
        passed = later
        if not layer.zeroed:  # the steps that copy the initial state
            passed = where(first, later, mine)
            shown = where(first & ~keep, shown.plus(c[:, t], e[:, t]), shown)
        later = where(keep, after, passed)
    return totals, later, shown


def hidden_adjoints(
    totals: Sequence[Total], limits: Sequence[Between], carries: Bounded, c: Array | None,
    keep: Array | None, hidden: Total,
) -> tuple[Bounded, Total]:  # fmt: skip
    """P of each step (n,m,H), and what is left of it.

    totals: what it takes of what is seen. limits: what each δ says. carries: what it is multiplied
    with on its way to the step before. c: its own cotangent, if it has one. keep (n,m): the mask.
    """
    a, found = carries.a, list[Bounded]()
    for t in reversed(range(len(totals))):
        now = hidden if c is None else hidden.plus(c[:, t])
        P = totals[t].joined(now).bounded(a)
        found.insert(0, P)
        ends = (P.value - P.error, -np.inf), (P.value + P.error, np.inf)
        J = Between(*(np.where(np.isnan(end), nothing, end) for end, nothing in ends))
        for limit in limits:
            J, _ = J.within(Between(limit.low[:, t], limit.high[:, t]))
        product = J.bounded(a) * carries.each(lambda part: part[:, t])  # noqa: B023
        after = Total.of(product.value, product.error)
        hidden = after if keep is None else where(keep[:, t, None], after, now)
    return in_time(found), hidden


def in_time(parts: Sequence[Bounded]) -> Bounded:
    """(n,m,H) of (n,H) for each step."""
    return stacked(parts, 1)
