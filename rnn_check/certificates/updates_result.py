"""What became of the question whether each update follows, for a whole training?

N updates, P parameters
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from rnn_check.numbers.bounded import Bounded
from rnn_check.numbers.formats import Array


@dataclass(frozen=True)
class Quantity:
    """What was recorded of one thing beside what follows; row t is the state after update t.

    every: how many updates the rows are apart, those of an epoch for its loss.
    """

    name: str
    elements: tuple[str, ...]  # "kernel[0, 1]", a name for each column
    observed: Array = field(repr=False)  # (N+1,P) float64, as the three below; bounds may be inf
    expected: Array = field(repr=False)
    residual: Array = field(repr=False)
    bound: Array = field(repr=False)
    every: int = 1

    @cached_property
    def ratios(self) -> Array:
        """residual/bound: 0 where both are 0, inf where only the bound is."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(self.residual == 0, 0.0, self.residual / self.bound)

    @property
    def ratio(self) -> float:
        return float(self.ratios.max(initial=0.0))

    @property
    def follows(self) -> Array:
        """(N+1,) whether all does that stands after an update, or is of its epoch."""
        rows: Array = np.all(self.ratios <= 1, axis=1)
        return np.concatenate([rows[:1], np.repeat(rows[1:], self.every)])

    def sentence(self, row: int, column: int) -> str:
        at = row, column
        return (
            f"{self.name} of {self.elements[column]} after update {row * self.every}: "
            f"got {self.observed[at]:.9g}, expected {self.expected[at]:.9g}, "
            f"off by {self.residual[at]:.3g} where {self.bound[at]:.3g} is allowed"
        )


@dataclass(frozen=True)
class Certificate:
    """What became of the question, for a whole training.

    ok           every number follows from those recorded before it; None, "not proved", where that
                 holds but fewer than 90 % of the updates could be judged
    ratio        the largest residual/bound
    where        (update, quantity, element) of the first that does not follow; else of the worst
    updates      N
    judged       the share of updates of which rounding hides no gradient that may move a weight by
                 more than a hundredth of a usual step, nor the loss
    certified    how many of these follow in every number
    quantities   the optimizer's states, weights, loss, iterations
    reason       one sentence
    """

    ok: bool | None
    ratio: float
    where: tuple[int, str, str]
    updates: int
    judged: float
    certified: int
    quantities: Mapping[str, Quantity]
    reason: str

    @property
    def ratios(self) -> dict[str, float]:
        """The largest residual/bound of each quantity."""
        return {name: q.ratio for name, q in self.quantities.items()}


def quantity(
    name: str,
    elements: tuple[str, ...],
    observed: Array,
    begin: Array,
    follows: Bounded,
    every: int = 1,
) -> Quantity:
    """begin is what stands in row 0, exactly; the others follow."""
    expected = np.concatenate([begin, follows.value])
    bound = np.concatenate([np.zeros_like(begin), follows.error])
    residual = np.where(observed == expected, 0.0, np.abs(observed - expected))
    residual = np.where(np.isfinite(observed), residual, np.inf)
    # nothing is known where the reference or its bound overflows
    unknown = ~(np.isfinite(expected) & np.isfinite(bound))
    return Quantity(
        name, elements, observed, expected,
        np.where(unknown, 0.0, residual), np.where(unknown, np.inf, bound), every,
    )  # fmt: skip


_PROVED = 0.9  # the share of updates that is to be judged


def conclude(found: list[Quantity], N: int, blind: Mapping[str, Array]) -> Certificate:
    ratio = max(q.ratio for q in found)
    follows = np.all([q.follows for q in found], axis=0)  # (N+1,)
    seen = ~np.any(list(blind.values()), axis=0)  # (N,)
    judged = float(np.mean(seen))
    first = int(np.argmin(follows))
    ok: bool | None = True if judged >= _PROVED else None
    if ratio > 1:  # causes come before effects in `found`
        q = next(q for q in found if not q.follows[first])
        row = -(-first // q.every)
        column = int(np.argmax(q.ratios[row] > 1))
        reason = q.sentence(row, column)
    else:
        q = max(found, key=lambda q: q.ratio)
        row, column = (int(i) for i in np.unravel_index(np.argmax(q.ratios), q.ratios.shape))
        reason = f"each of {N} updates follows within the rounding of its own step"
        if not seen.all():
            update_0 = int(np.argmin(seen))
            what = next(name for name, where in blind.items() if where[update_0])
            hidden = (
                f"in {N - int(seen.sum())} of {N} updates rounding alone may be as large as what "
                f"is judged, first in update {update_0 + 1}: {what}"
            )
            reason = f"not proved: {hidden}" if ok is None else f"{reason}, but {hidden}"
    return Certificate(
        ok=ok if ratio <= 1 else False,
        ratio=ratio,
        where=(row * q.every, q.name, q.elements[column]),
        updates=N,
        judged=judged,
        certified=int((follows[1:] & seen).sum()),
        quantities={q.name: q for q in found},
        reason=reason,
    )
