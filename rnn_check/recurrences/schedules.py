"""What is the learning rate of an update, and how far may it be off?

    ExponentialDecay        η = η₀ d^(n/s), or with staircase η₀ d^⌊n/s⌋
    CosineDecay             η = η₀ ((1-α)(1 + cos πc)/2 + α), c = min(n/s, 1)
                            Loshchilov & Hutter, arXiv:1608.03983; with a warmup of k updates first
                            η = η₀ + (η₁ - η₀) n/k, then the same of η₁ and n - k
    PiecewiseConstantDecay  η = v_i, i the number of boundaries below n

as Keras has them; n counts the batches before this one, from 0, those among them whose gradients
were only accumulated. ⌊n/s⌋ is that of the integers: a quotient that is rounded to one of the two
numbers beside it is right wherever it is a number. n and s are below 2^24.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from rnn_check.numbers.bounded import Bounded
from rnn_check.numbers.formats import (
    FLOAT64,
    UP,
    Arithmetic,
    gamma_of_both,
    rounded,
)

FUNCTION = 8  # in u: four units in the last place of a power or a cosine, as CUDA has them


def drift(constant: float, a: Arithmetic) -> float:
    """How far a constant is moved, relative to itself, where it is rounded to the arithmetic."""
    held = float(rounded(constant, a))
    return abs(held / constant - 1) + 2 * FLOAT64.u if constant else 0.0


@dataclass(frozen=True)
class Schedule:
    """A learning rate for each update."""

    def bounded(self, n: Any, a: Arithmetic) -> Bounded:
        """That of the update after n batches; n an array of any shape."""
        raise NotImplementedError


@dataclass(frozen=True)
class ExponentialDecay(Schedule):
    """A power of the decay rate."""

    initial_learning_rate: float
    decay_steps: int
    decay_rate: float
    staircase: bool = False

    def bounded(self, n: Any, a: Arithmetic) -> Bounded:
        """The exponent is a quotient, off by 2u of itself, and multiplies the drift of d."""
        p = np.asarray(n, np.float64)
        p = np.floor_divide(p, self.decay_steps) if self.staircase else p / self.decay_steps
        value = self.initial_learning_rate * np.power(self.decay_rate, p)
        off = 0.0 if self.staircase else gamma_of_both(2, a)
        power = p * (np.log1p(drift(self.decay_rate, a)) + abs(np.log(self.decay_rate)) * off)
        error = value * (np.expm1(power) + gamma_of_both(FUNCTION + 3, a)) * (1 + np.expm1(power))
        return Bounded(value, error * UP + 4 * a.min_normal, a)


@dataclass(frozen=True)
class CosineDecay(Schedule):
    """Half a wave of the cosine, after a line that rises."""

    initial_learning_rate: float
    decay_steps: int
    alpha: float = 0.0
    warmup_target: float | None = None
    warmup_steps: int = 0

    def bounded(self, n: Any, a: Arithmetic) -> Bounded:
        """The angle is off by 4u of itself (π, a quotient, a product), the cosine by that and by
        what its evaluation adds; sums and products are of numbers up to 2."""
        n = np.asarray(n, np.float64)
        u, warm = gamma_of_both(1, a), self.warmup_target is not None
        top = self.initial_learning_rate if self.warmup_target is None else self.warmup_target
        after = n - self.warmup_steps if warm else n
        angle = np.pi * np.clip(after / self.decay_steps, 0, 1)
        half = 0.5 * (1 + np.cos(angle))
        error = (1 - self.alpha) * (0.5 * (4 * angle + FUNCTION) + 2) * u + 6 * u
        value = top * ((1 - self.alpha) * half + self.alpha)
        error = top * error + gamma_of_both(3, a) * value
        if warm:
            first = self.initial_learning_rate
            rising = first + (top - first) * (n / max(self.warmup_steps, 1))
            size = 2 * (abs(top) + abs(first))
            is_rising = n < self.warmup_steps
            value = np.where(is_rising, rising, value)
            error = np.where(is_rising, gamma_of_both(6, a) * size, error)
        return Bounded(value, error * UP + 8 * a.min_normal, a)


@dataclass(frozen=True)
class PiecewiseConstantDecay(Schedule):
    """A number until each boundary."""

    boundaries: tuple[int, ...]
    values: tuple[float, ...]

    def bounded(self, n: Any, a: Arithmetic) -> Bounded:
        """A constant is rounded once, which its users count."""
        at = np.searchsorted(np.asarray(self.boundaries), np.asarray(n), side="left")
        value = np.asarray(self.values, np.float64)[at]
        return Bounded(value, np.zeros_like(value), a)


SCHEDULES: dict[str, type[Schedule]] = {
    each.__name__: each for each in (ExponentialDecay, CosineDecay, PiecewiseConstantDecay)
}
