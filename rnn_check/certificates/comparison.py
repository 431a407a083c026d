"""How far is one array from another, where, and whose fault would it be?

What every verdict rests on: something got beside something expected, with an error, the bound on
that error, and the place of the worst.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from rnn_check.certificates import result
from rnn_check.numbers.formats import Array


@dataclass(frozen=True)
class Comparison:
    """One array held against another; got, expected, error and bound have one shape.

    who: "claim" (the author's number against the truth), "subject" (what the framework returned
    against the truth), "step" (each step against the one before it: the certificate) or "own" (a
    loss against what follows from the framework's own numbers).

    Raises ValueError if it could not fail: for shapes that differ, a bound that is negative or NaN,
    or infinite without a word of why (`unbounded`), and for a negative error.
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
    against: str = "true"  # what `expected` is
    interval: tuple[Array, Array] | None = None  # (lo, hi) that printed digits claim
    unproved: str = ""  # why nothing is proved although nothing fails
    unbounded: str = ""  # why some bounds are infinite, and say nothing

    def __post_init__(self) -> None:
        parts = {name: getattr(self, name) for name in ("got", "expected", "error", "bound")}
        if self.interval is not None:
            parts["lo"], parts["hi"] = self.interval
        shapes = {name: np.shape(part) for name, part in parts.items()}
        if len(set(shapes.values())) > 1:
            told = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
            raise ValueError(f"{self.what}: the shapes differ: {told}")
        if len(self.axes) != len(self.coordinates):
            raise ValueError(f"{self.what}: {self.axes} of {len(self.coordinates)} coordinates")
        if not (self.bound >= 0).all():
            raise ValueError(f"{self.what}: a bound is negative or NaN")
        if (self.error < 0).any():
            raise ValueError(f"{self.what}: an error is negative")
        if not self.unbounded and np.isinf(self.bound).any():
            raise ValueError(f"{self.what}: a bound is infinite, and nothing says why")

    @cached_property
    def ratios(self) -> Array:
        """error/bound; 0 where the bound is infinite, infinite where nothing is allowed."""
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
    def unjudged(self) -> int:
        """How many elements have an infinite bound, so that no error would be seen."""
        return int((self.bound == np.inf).sum())

    @property
    def vague(self) -> int:
        """How many bounds are finite and yet larger than every number that is expected.

        Not counted where all of those are 0.
        """
        if self.expected.dtype.kind != "f":
            return 0
        most = float(np.abs(self.expected).max(initial=0.0, where=np.isfinite(self.expected)))
        return int(((self.bound > most) & (self.bound < np.inf)).sum()) if most else 0

    @property
    def says_nothing(self) -> bool:
        """Whether all of them have."""
        return self.bound.size > 0 and self.unjudged == self.bound.size

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

    @property
    def whose(self) -> str:
        """What `got` is: what the author claimed, or what the framework returned."""
        return "claimed" if self.who == "claim" else "the framework's"

    def blame(self) -> str:
        """What is wrong, in one sentence: whose number, where, against what, how far, how far
        allowed."""
        if self.reason:
            return f"{_WHO[self.who]}: {self.what}: {self.reason}"
        where = f" at {self.place}" if self.place else ""
        got, expected = apart(self.got[self.first], self.expected[self.first])
        text = f"{_WHO[self.who]}: {self.what}{where}: {self.whose} {got}"
        means = False
        if self.interval is not None:
            lo, hi = (part[self.first] for part in self.interval)
            means = bool(lo < hi)
            if means:
                text += ", that is {} to {}".format(*apart(lo, hi))
        text += f", {self.against} {expected}"
        return text + self._distance(means) if self.error.dtype.kind == "f" else text

    def _distance(self, from_interval: bool) -> str:
        off, allowed = self.error[self.first], self.bound[self.first]
        if not np.isfinite(off):
            finite = np.isfinite(self.got[self.first])
            return "; not the same bits" if finite else "; not a finite number"
        text = f"; {off:.3g} beyond" if from_interval else f"; off by {off:.3g}"
        return f"{text} where {f'{allowed:.3g}' if allowed else 'nothing'} is allowed"


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


def apart(*values: Any) -> list[str]:
    """Numbers with nine digits, or as many more as tell those that differ from each other."""
    if not all(isinstance(v, float | np.floating) for v in values):
        return [str(v) for v in values]
    numbers = [float(v) for v in values]
    wanted = len(set(map(repr, numbers)))
    texts = [f"{n:.9g}" for n in numbers]
    for digits in range(10, 18):
        if len(set(texts)) == wanted:
            break
        texts = [f"{n:.{digits}g}" for n in numbers]
    return texts


def no_bound(arithmetic: str) -> str:
    """Why a bound may be infinite."""
    return f"no bound can be given in {arithmetic}: errors may grow too large"


def step(what: str, found: result.Certificate, names: tuple[str, ...]) -> Comparison:
    """A certificate as a comparison. names: of the axes of one state."""
    names = ("state",) * (found.residual.ndim - len(names)) + names
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
        reason=found.reason if found.ok is False and found.ratio <= 1 else "",
        unproved=f"{what}: {found.reason}" if found.ok is None else "",
        against="what follows",
        unbounded=no_bound(found.claimed),
    )


def equal(
    who: str, what: str, got: int | str, expected: int | str, against: str = "true"
) -> Comparison:
    """A comparison of two counts or two words: equal or not."""
    error = np.asarray(0 if got == expected else 1)
    parts = (np.asarray(got), np.asarray(expected), error, 0 * error)
    return Comparison(who, what, *parts, against=against)


def bits(array: Array) -> Array:
    """As integers, of which a NaN equals itself and -0 is not 0."""
    return np.ascontiguousarray(array).view(f"u{array.dtype.itemsize}")
