"""How far may rounding put what an update is made of?

Bounds of the operations that optimizers share, in whatever form a compiler leaves them.
"""

from __future__ import annotations

import numpy as np

from rnn_check.numbers.bounded import Bounded
from rnn_check.numbers.formats import (
    FLOAT64,
    UP,
    Arithmetic,
    Array,
    gamma_of_both,
    rounded,
)


def _held(constant: float, a: Arithmetic) -> float:
    return float(rounded(constant, a))


def times(eta: Bounded, g: Bounded) -> Bounded:
    """Not rounded: its users count."""
    error = eta.most * g.error + eta.error * g.size
    return Bounded(eta.value * g.value, error, g.a, eta.size * g.size)


def square(g: Bounded) -> Bounded:
    return Bounded(g.value * g.value, g.error * (2 * np.abs(g.value) + g.error) * UP, g.a)


def passed(m: Bounded, step: Bounded, mu: float, sign: int = 1) -> Bounded:
    """μm + step, or μm - step: what momentum makes of both."""
    a = step.a
    error = mu * m.error + step.error + gamma_of_both(4, a) * (mu * m.most + step.most)
    return Bounded(mu * m.value + sign * step.value, error * UP + 8 * a.min_normal, a)


def mean(old: Bounded, new: Bounded, beta: float) -> Bounded:
    """β·old + (1-β)·new in any form of it, old + (new - old)(1-β) as Keras writes it among them.

    The terms are at most (2-β)|old| and (1-β)|new|, each with at most 7 roundings (new's own square
    included). The constant may be 1-β rounded, or 1 minus the rounded β: it is then off by what
    rounding does to β and to 1, and that much of old and new is exchanged.
    """
    a, rest = new.a, 1 - beta
    size = (1 + rest) * old.most + rest * new.most
    exchanged = abs(_held(beta, a) - beta) + gamma_of_both(2, a) * rest + 2 * FLOAT64.u
    error = beta * old.error + rest * new.error
    error = error + gamma_of_both(7, a) * size + exchanged * (old.most + new.most)
    value = old.value + (new.value - old.value) * rest
    return Bounded(value, error * UP + 16 * a.min_normal, a)


def again(old: Bounded, new: Bounded) -> Bounded:
    """A running mean computed once more: twice γ_7 of the terms, where (1-β)g is at most
    |m'| + β|m| by what is known, and γ_8 covers that this is rounded itself."""
    a = new.a
    return new.off_by(2 * gamma_of_both(8, a) * (new.most + 2 * old.most) + 32 * a.min_normal)


def larger(one: Bounded, other: Bounded) -> Bounded:
    """Neither rounded nor farther off than what it is chosen from."""
    value = np.maximum(one.value, other.value)
    return Bounded(value, np.maximum(one.error, other.error), other.a)


def root_of(v: Bounded) -> tuple[Array, Array]:
    """√v, and how far √v̂ may be from it: √δ where v is 0."""
    root = np.sqrt(v.value)
    return root, np.fmin(np.sqrt(v.error), v.error / root)


def added(w: Bounded, step: Bounded, parts: int = 1) -> Bounded:
    """w + step, of which some parts may be added one after the other."""
    a = w.a
    error = w.error + step.error + gamma_of_both(parts, a) * (w.most + step.most) + 4 * a.min_normal
    return Bounded(w.value + step.value, error * UP, a)
