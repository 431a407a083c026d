"""What changed in somebody's model, layer by layer?

Each subject runs the model on the same input. A layer's outputs may differ because it computes them
another way, because what it takes is another already, or because a change grows from step to step;
the two bounds beside a change are those of one step.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from rnn_check.certificates.comparison import bits
from rnn_check.claims.written import Array
from rnn_check.models.judged import KNOWN, OUTPUTS, UNPROVED, Model, Row, size_of_change
from rnn_check.subjects.identity import Who
from rnn_check.verdicts.judge import AGREE, DIFFER, NOT_RUN

_GRAVITY = {AGREE: 0, NOT_RUN: 1, UNPROVED: 1, KNOWN: 2, DIFFER: 3}


@dataclass(frozen=True)
class Side:
    """One subject: as it was typed, who it is and what was found; or why it was not asked."""

    word: str
    who: Who | None = None
    model: Model | None = None
    failure: str = ""
    notes: tuple[str, ...] = ()

    @cached_property
    def rows(self) -> Mapping[str, Row]:
        """By path; names that Keras counts anew in each process go by their order."""
        return {} if self.model is None else {row.path: row for row in self.model.rows}


@dataclass(frozen=True)
class Change:
    """A recurrence before and after; None where there is none of that name.

    size: the largest change of what it puts out; bounds: those of either step there; where: its
    (sample, timestep, unit). None where nothing is the same to be compared.
    """

    path: str
    before: Row | None
    after: Row | None
    size: float | None = None
    where: tuple[int, ...] = ()
    bounds: tuple[float, float] = (math.nan, math.nan)
    gradients: float | None = None
    same_bits: bool = False

    @property
    def is_worse(self) -> bool:
        if self.before is None or self.after is None:
            return True
        return _GRAVITY[self.after.verdict] > _GRAVITY[self.before.verdict]

    @property
    def is_known(self) -> bool:
        """Whether it got worse in a way that is known of the subject."""
        return self.is_worse and self.after is not None and self.after.verdict == KNOWN

    @property
    def is_within(self) -> bool:
        """Whether rounding of this one step explains it."""
        return self.size is None or self.size <= sum(self.bounds)

    @property
    def has_other_weights(self) -> bool:
        """Whether it is another layer: of a function that draws its weights, say."""
        if self.before is None or self.after is None:
            return False
        return self.before.weights != self.after.weights

    @property
    def has_changed(self) -> bool:
        return self.is_worse or not self.same_bits


@dataclass(frozen=True)
class Compared:
    """sides: the first is the baseline. ran_on: in words."""

    where: str
    sides: Sequence[Side]
    ran_on: str = ""
    options: tuple[str, ...] = field(default=())

    def changes(self, number: int) -> list[Change]:
        """From the baseline to the subject of that number."""
        before, after = self.sides[0].rows, self.sides[number].rows
        paths = [*before, *(path for path in after if path not in before)]
        return [_change(path, before.get(path), after.get(path)) for path in paths]

    def of_outputs(self, number: int) -> float | None:
        """The largest change of what the model itself gives."""
        models = self.sides[0].model, self.sides[number].model
        if models[0] is None or models[1] is None:
            return None
        pairs = zip(models[0].outputs, models[1].outputs, strict=False)
        return max((size_of_change(*pair) for pair in pairs), default=None)

    def exit_code(self, fail_on: str) -> int:
        """3 if somebody was not asked; 1 if something got worse, or, with "drift", has changed."""
        if any(side.failure for side in self.sides):
            return 3
        found = [c for n in range(1, len(self.sides)) for c in self.changes(n)]
        if fail_on == "never":
            return 0
        wrong = (
            c.has_changed if fail_on == "drift" else c.is_worse and not c.is_known for c in found
        )
        return int(any(wrong))


def _change(path: str, before: Row | None, after: Row | None) -> Change:
    if before is None or after is None:
        return Change(path, before, after)
    if before.output is None or after.output is None:
        same = before.output is None and after.output is None
        return Change(path, before, after, same_bits=same)
    if before.output.shape != after.output.shape:
        return Change(path, before, after, math.inf)
    one, other = (
        row.output.astype(np.float64) for row in (before, after) if row.output is not None
    )
    with np.errstate(invalid="ignore"):
        sizes = np.where((one == other) | (np.isnan(one) & np.isnan(other)), 0, np.abs(other - one))
    sizes = np.where(np.isnan(sizes), np.inf, sizes)
    at = tuple(int(i) for i in np.unravel_index(int(np.argmax(sizes)), sizes.shape))
    gradients = list(_gradients(before, after))
    same = _same(before.output, after.output) and not any(gradients)
    return Change(
        path, before, after, float(sizes[at]), at, (_bound(before, at), _bound(after, at)),
        max(gradients, default=None), same,
    )  # fmt: skip


def _same(one: Array, other: Array) -> bool:
    return one.dtype == other.dtype and bool(np.all(bits(one) == bits(other)))


def _bound(row: Row, at: tuple[int, ...]) -> float:
    outputs = next(part for part in row.parts if part.name == OUTPUTS)
    bound = outputs.found["steps"].bound
    return float(bound[(0, *at)] if bound.ndim > len(at) else bound[at])


def _gradients(before: Row, after: Row) -> Iterator[float]:
    """The largest change of each."""
    found = [
        {n: c.observed for part in row.parts if part.name != OUTPUTS for n, c in part.found.items()}
        for row in (before, after)
    ]
    for name in found[0].keys() & found[1].keys():
        yield size_of_change(found[0][name], found[1][name])
