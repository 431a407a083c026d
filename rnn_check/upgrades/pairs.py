"""How far apart are the same numbers of two subjects, and how far may they be?

Bit for bit, then in units of the last place, then as a share of the distance that rounding may put
between two subjects that are both right (the sum of their bounds).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from rnn_check.certificates.comparison import Comparison, bits
from rnn_check.claims import truth
from rnn_check.claims.claim import Claim
from rnn_check.claims.written import Array
from rnn_check.numbers import formats


@dataclass(frozen=True)
class Pair:
    """The same numbers of the baseline and of another subject."""

    before: Comparison
    after: Comparison
    arithmetic: str
    reach: Callable[[], Array | None] = field(repr=False)

    @property
    def what(self) -> str:
        return self.after.what

    @cached_property
    def ulps(self) -> Array:
        """Signed distances, after − before, in units of the last place; inf at a NaN of one."""
        arithmetic = formats.arithmetic(self.arithmetic)
        found = formats.ulps(self.after.got, self.before.got, arithmetic)
        return np.where(self.differ, np.where(np.isnan(found), np.inf, found), 0.0)

    @cached_property
    def differ(self) -> Array:
        """Where another number stands; a NaN is the same as any other, and −0 as 0."""
        before, after = self.before.got, self.after.got
        return np.asarray((before != after) & ~(np.isnan(before) & np.isnan(after)))

    @property
    def signs(self) -> bool:
        """Whether a zero has another sign."""
        before, after = (np.asarray(each.got, np.float64) for each in (self.before, self.after))
        return bool((bits(before) != bits(after))[(before == 0) & (after == 0)].any())

    @cached_property
    def allowed(self) -> Array | None:
        """How far apart rounding may put them; None where that is not known.

        Two that are both within their bounds of one truth are no further apart than the sum. What
        is held against something that moved itself (a step against the one before it, a layer
        against what it was before it was saved) has the reach of all steps instead.
        """
        one_truth = self.before.expected, self.after.expected
        if self.after.who == "subject" and np.array_equal(*one_truth, equal_nan=True):
            return self.before.bound + self.after.bound
        reach = self.reach()
        return None if reach is None or reach.shape != self.ulps.shape else reach

    @cached_property
    def _shares(self) -> Array | None:
        """Of each number that moved, |after − before| / allowed; NaN where that is not known."""
        if self.allowed is None:
            return None
        allowed = np.broadcast_to(self.allowed, self.differ.shape)[self.differ]
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            apart = np.abs(self.after.got - self.before.got)[self.differ]
            shares = np.where(np.isnan(apart), np.inf, apart) / allowed
        return np.where(np.isfinite(allowed), shares, np.nan)

    @property
    def share(self) -> float | None:
        """The largest known, infinite where nothing is allowed; None if there is none."""
        known = np.empty(0) if self._shares is None else self._shares[~np.isnan(self._shares)]
        return float(known.max()) if known.size else None

    @property
    def unbounded(self) -> bool:
        """Whether a number moved of which nobody knows how far rounding may go."""
        shares = self._shares
        return bool(self.differ.any()) and (shares is None or bool(np.isnan(shares).any()))

    @property
    def place(self) -> str:
        """Where the largest distance is: "states at sample 0, timestep 2, unit 1"."""
        at = np.unravel_index(int(np.argmax(np.abs(self.ulps))), self.ulps.shape)
        named = zip(self.after.axes, self.after.coordinates, strict=True)
        where = ", ".join(f"{axis} {index[at]}" for axis, index in named)
        return f"{self.what} at {where}" if where else self.what

    @property
    def timestep(self) -> int | None:
        """The first at which they part."""
        if "timestep" not in self.after.axes or not self.differ.any():
            return None
        return int(self.after.coordinates[self.after.axes.index("timestep")][self.differ].min())


class Reach:
    """How far from the truth a right subject may be, of what is certified step by step.

    Derived when it is first asked for, and once for all subjects.
    """

    def __init__(self, claim: Claim) -> None:
        self.claim = claim
        self.of: dict[str, truth.Truth] = {}

    def __call__(self, what: str, *arithmetics: str) -> Array | None:
        """The sum of what subjects of these arithmetics may be off by."""
        found = [self._of(what, arithmetic) for arithmetic in arithmetics]
        known = [each for each in found if each is not None]
        return sum(known) if len(known) == len(found) else None  # type: ignore[return-value]

    def _of(self, what: str, arithmetic: str) -> Array | None:
        return self.of.setdefault(arithmetic, truth.Truth(self.claim, arithmetic)).reach(what)
