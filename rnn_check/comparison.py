"""How far is one array from another, where, and whose fault would it be?

What every verdict rests on: something got beside something expected, with an error, the bound on
that error, and the place of the worst.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from rnn_check import certificate
from rnn_check.written import Array


@dataclass(frozen=True)
class Comparison:
    """One array held against another; got, expected, error and bound have one shape.

    who: "claim" (the author's number against the truth), "subject" (what the framework returned
    against the truth), "step" (each step against the one before it: the certificate) or "own" (a
    loss against what follows from the framework's own numbers).
    """

    who: str
    what: str
    got: Array
    expected: Array
    error: Array
    bound: Array
    axes: tuple[str, ...] = ()
    coordinates: tuple[Array, ...] = ()  # per axis, each element's place in the whole array
    bits: float | None = None
    reason: str = ""  # why it fails although every error is within its bound
    praise: str = ""  # what to say when it holds, if not the usual

    @cached_property
    def ratios(self) -> Array:
        """error/bound; 0 where either says nothing, infinite where nothing is allowed."""
        error = np.where(np.isnan(self.error), np.inf, self.error)
        with np.errstate(divide="ignore", invalid="ignore"):
            ratios = error / self.bound
        return np.where((error == 0) | (self.bound == np.inf), 0.0, ratios)

    @property
    def ratio(self) -> float:
        return float(self.ratios.max(initial=0.0))

    @property
    def ok(self) -> bool:
        return self.ratio <= 1 and not self.reason

    @property
    def says_nothing(self) -> bool:
        """Whether every bound is infinite, so that no error would be seen."""
        return self.bound.size > 0 and bool((self.bound == np.inf).all())

    @cached_property
    def first(self) -> tuple[int, ...]:
        """Index of the first element in time beyond its bound; of the worst if none is."""
        beyond = np.argwhere(self.ratios > 1)
        if not len(beyond):
            return tuple(int(i) for i in np.unravel_index(np.argmax(self.ratios), self.got.shape))
        if "timestep" in self.axes:
            time = self.coordinates[self.axes.index("timestep")]
            beyond = beyond[np.argsort(time[tuple(beyond.T)], kind="stable")]
        return tuple(int(i) for i in beyond[0])

    @property
    def place(self) -> str:
        """Where `first` is: "sample 0, timestep 2, unit 1"."""
        named = zip(self.axes, self.coordinates, strict=True)
        return ", ".join(f"{axis} {index[self.first]}" for axis, index in named)

    def blame(self) -> str:
        """What is wrong, in one sentence: who, where, got, expected, how far, how far allowed."""
        got, expected = (_show(a[self.first]) for a in (self.got, self.expected))
        where = f" at {self.place}" if self.place else ""
        if self.reason:
            return f"{_WHO[self.who]}: {self.what}: {self.reason}"
        text = f"{_WHO[self.who]}: {self.what}{where}: got {got}, expected {expected}"
        if self.error.dtype.kind == "f":
            off, allowed = self.error[self.first], self.bound[self.first]
            text += f"; off by {off:.3g} where {allowed:.3g} is allowed"
        return text


_WHO = {
    "claim": "the claim's own number does not hold",
    "subject": "the subject computes something else",
    "step": "a step does not follow from the one before",
    "own": "the subject's loss does not follow from its own numbers",
}
HELD = {
    "claim": "the number holds",
    "subject": "the subject gives it",
    "step": "every step follows",
    "own": "the loss follows",
}


def _show(value: Any) -> str:
    return f"{value:.9g}" if isinstance(value, float | np.floating) else str(value)


def step(what: str, found: certificate.Certificate, names: tuple[str, ...]) -> Comparison:
    return Comparison(
        who="step",
        what=what,
        got=found.observed,
        expected=found.expected,
        error=found.residual,
        bound=found.bound,
        axes=names,
        coordinates=tuple(np.indices(found.residual.shape)),
        bits=found.bits,
        reason="" if found.ok or found.ratio > 1 else found.reason,
    )


def equal(who: str, what: str, got: int | str, expected: int | str) -> Comparison:
    """A comparison of two counts or two words: equal or not."""
    error = np.asarray(0 if got == expected else 1)
    return Comparison(who, what, np.asarray(got), np.asarray(expected), error, 0 * error)


def bits(array: Array) -> Array:
    """As integers, of which a NaN equals itself and -0 is not 0."""
    return np.ascontiguousarray(array).view(f"u{array.dtype.itemsize}")
