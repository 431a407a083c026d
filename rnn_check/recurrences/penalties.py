"""What do regularizers and constraints do to weights in a training, and to what layers put out?

    regularizer    L = L + l₁Σ|w| + l₂Σw²      g = g + l₁ sign(w) + 2 l₂w
    of outputs     both divided by the batch, of all that the layer's call returns
    NonNeg         w = max(w, 0)
    MaxNorm        w = w·min(‖w‖, c)/(ε + ‖w‖), ‖w‖ over the first axis: of what goes into each unit

as Keras has them; sign(0) is a choice, here 0, and ε = 1e-7. A constraint is applied to what an
update leaves. All arrays have a leading axis, of N sets of weights.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from rnn_check.numbers.bounded import Bounded
from rnn_check.numbers.formats import UP, Arithmetic, Array, gamma_of_both

EPSILON = 1e-7


@dataclass(frozen=True)
class Regularizer:
    """l₁Σ|w| + l₂Σw²."""

    l1: float = 0.0
    l2: float = 0.0

    def loss(self, w: Bounded, batch: int = 1) -> Bounded:
        """(N,1) its share of the loss: sums in any order, and each term three roundings; one where
        both are added, two of a running mean, and two where a batch divides it, rounded itself."""
        a, n = w.a, math.prod(w.value.shape[1:])
        v, e, most = (np.reshape(p, (len(p), -1)) for p in (w.value, w.known.error, w.most))
        value = (self.l1 * np.abs(v) + self.l2 * v * v).sum(axis=1)
        error = (self.l1 * e + self.l2 * e * (2 * np.abs(v) + e)).sum(axis=1)
        sums = most.sum(axis=1), (most * most).sum(axis=1)
        size = self.l1 * sums[0] + self.l2 * sums[1]
        lost = sum(factor * s for factor, s in zip(self._flushed(a), sums, strict=True))
        error = error + lost + gamma_of_both(n + 5 + 2 * (batch > 1), a) * size
        error = error / batch + (4 + 2 * n * (1 + self.l1 + self.l2)) * a.min_normal
        largest = np.maximum(size, np.maximum(*sums)) * (1 + gamma_of_both(n + 4, a))
        error = np.where(largest < a.max, error, np.inf)
        return Bounded(value[:, None] / batch, error[:, None] * UP, a)

    def gradient(self, w: Bounded, batch: int = 1, scale: float = 1.0) -> Bounded:
        """Where the sign of w is in doubt, so is its share; at 0 it may be any from -l₁ to l₁.

        TensorFlow and torch take 0 there, JAX l₁. Of a loss that is scaled, divided by a batch:
        three roundings more.
        """
        a, share = w.a, scale / batch
        sign = np.sign(w.value)
        value = share * (self.l1 * sign + 2 * self.l2 * w.value)
        at_kink = np.abs(w.value) - w.error < a.min_normal  # what is subnormal may be flushed
        doubt = np.where(at_kink, self.l1 * (1 + np.abs(sign)), 0.0)
        size = self.l1 + 2 * self.l2 * w.most
        lost = self._flushed(a)
        error = doubt + 2 * self.l2 * w.known.error + lost[0] + 2 * lost[1] * w.most
        error = error + gamma_of_both(4 + 3 * (batch > 1 or scale != 1), a) * size
        error = share * error * UP + 4 * (1 + w.most) * a.min_normal
        most = max(scale, 1.0) * max(1.0, self.l1, self.l2) * (1 + 2 * w.most)
        return Bounded(value, np.where(most < a.max, error, np.inf), a)

    def _flushed(self, a: Arithmetic) -> tuple[float, float]:
        """What of l₁ and l₂ may be lost where they are cast to what is coarser."""
        return tuple(each if each < a.min_normal else 0.0 for each in (self.l1, self.l2))  # type: ignore[return-value]


@dataclass(frozen=True)
class Constraint:
    """What weights become after an update."""

    def applied(self, w: Bounded) -> Bounded:
        raise NotImplementedError


@dataclass(frozen=True)
class NonNeg(Constraint):
    """No weight is negative."""

    def applied(self, w: Bounded) -> Bounded:
        """What is negative for sure is 0, and nothing else is farther off than it was."""
        error = np.where(w.value + w.error < 0, 0.0, w.error)
        return Bounded(np.maximum(w.value, 0.0), error, w.a)


@dataclass(frozen=True)
class MaxNorm(Constraint):
    """No unit's weights have a norm beyond this one."""

    max_value: float = 2.0

    def applied(self, w: Bounded) -> Bounded:
        """The scale min(‖w‖, c)/(ε + ‖w‖) lies between that of the least and the largest norm: of
        min(‖w‖, c) and of ε + ‖w‖ apart. A root, two sums, a quotient, a product, and c, ε."""
        a, m = w.a, w.value.shape[1]
        square = (w.value * w.value).sum(axis=1, keepdims=True)
        off = (w.error * (2 * np.abs(w.value) + w.error)).sum(axis=1, keepdims=True)
        most = (w.most * w.most).sum(axis=1, keepdims=True)
        off = off * UP + gamma_of_both(m + 2, a) * most + 4 * m * a.min_normal

        def scale(norm: Array, other: Array) -> Array:
            return np.asarray(np.minimum(norm, self.max_value) / (EPSILON + other))

        norm = np.sqrt(square)
        low, high = np.sqrt(np.maximum(square - off, 0)), np.sqrt(square + off)
        exact, least, largest = scale(norm, norm), scale(low, high), scale(high, low)
        spread = np.maximum(largest - exact, exact - least)
        error = largest * w.error + spread * np.abs(w.value)
        error = error + gamma_of_both(12, a) * largest * w.most + 4 * a.min_normal * (1 + w.most)
        error = np.where(most > a.max / 2, np.inf, error * UP)
        return Bounded(w.value * exact, error, a)


def regularizer(kind: str, **given: Any) -> Regularizer:
    """Keras's L1, L2 or L1L2, with its defaults."""
    l1, l2 = {"L1": (0.01, 0.0), "L2": (0.0, 0.01), "L1L2": (0.0, 0.0)}[kind]
    return Regularizer(float(given.get("l1", l1)), float(given.get("l2", l2)))


def constraint(kind: str, **given: Any) -> Constraint:
    """Keras's NonNeg, or MaxNorm along the first axis."""
    return NonNeg() if kind == "NonNeg" else MaxNorm(float(given.get("max_value", 2)))
