"""What is known of a part of an array: what its elements should be, and how far they are off."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from rnn_check.certificates.precision import NOTHING, Sample
from rnn_check.numbers.formats import Array


class Piece(NamedTuple):
    """What the elements of a part of an array should be, and how far they may be from it."""

    place: tuple[slice, ...]
    expected: Array
    bound: Array
    sample: Sample = NOTHING
    only: Array | None = None  # the elements meant, of that part laid flat; None: all
    settles: int | None = None  # how many elements need no further piece; None: those meant
    blind: int = 0  # how many of those that are settled, but not meant, are blind
    rest: tuple[float, float] = (0.0, 0.0)  # the largest number expected there, the largest bound
    scale: Array | None = None  # how large the elements could be; None: as those expected are
    reach: Reach | None = None  # between which numbers they lie; None: as all of the array do
    says: Array | None = None  # which bounds can be exceeded; None: by what is said in `judge`
    ends: int | None = None  # how many are an end of what the activation gives; None: to be counted
    maybe: int = 0  # how many more may be blind of those that are settled, but not meant
    later: Callable[[], Sample] | None = None  # a sample that can tell the precision, and no more


# pieces(worst): what is proved to have no larger ratio than worst.level may be left out
Pieces = Callable[["_Worst"], Iterator[Piece]]


@dataclass
class _Worst:
    """The element with the largest ratio of those that were computed so far."""

    exact: bool = False  # whether it is searched for, or a verdict alone
    ratio: float = -1.0
    where: tuple[int, ...] = ()
    got: float = 0.0
    expected: float = 0.0
    off: float = 0.0
    allowed: float = 0.0

    @property
    def level(self) -> float:
        """The ratio above which elements matter: of 1 or less all are within their bound."""
        return self.ratio if self.exact else max(self.ratio, 1.0)

    def take(self, piece: Piece, given: Array, observed: Array, residual: Array) -> None:
        if not residual.size:
            return
        ratios = _ratios(residual, piece.bound)
        flat = int(np.argmax(ratios))
        if ratios.reshape(-1)[flat] > self.ratio:
            at = np.unravel_index(flat, ratios.shape)
            self.ratio, self.where = float(ratios[at]), _place(at, piece, given.shape)
            self.got, self.expected = float(observed[at]), float(piece.expected[at])
            self.off, self.allowed = float(residual[at]), float(piece.bound[at])

    def __str__(self) -> str:
        return (
            f"at {self.where}: got {self.got:.9g}, expected {self.expected:.9g}, "
            f"off by {self.off:.3g} where {self.allowed:.3g} is allowed"
        )


@dataclass(frozen=True)
class Largest:
    """The largest residual/bound, and the index of that element.

    search: finds it, where no more is known than that it is at most 1.
    """

    ratio: float = 0.0
    where: tuple[int, ...] = ()
    search: Callable[[], Largest] | None = field(default=None, compare=False)

    def found(self) -> Largest:
        return self if self.search is None else self.search()

    def moved(self, to: Callable[[tuple[int, ...]], tuple[int, ...]]) -> Largest:
        """The same, where the element has another index."""
        if self.search is None:
            return Largest(self.ratio, to(self.where))
        return Largest(self.ratio, self.where, lambda: self.found().moved(to))

    def __repr__(self) -> str:
        return f"{self.ratio:.3g} at {self.where}" if self.search is None else "≤ 1"


def _residual(observed: Array, expected: Array) -> Array:
    """|observed - expected|, where a NaN is only like a NaN, and inf like inf."""
    residual: Array = np.abs(observed - expected)
    if not np.isfinite(residual.sum()):
        same = (observed == expected) | (np.isnan(observed) & np.isnan(expected))
        residual = np.where(same, 0.0, np.where(np.isnan(residual), np.inf, residual))
    return residual


def _ratios(residual: Array, bound: Array) -> Array:
    """0 where both are 0, and where nothing is bounded: a bound that is none hides no other."""
    ratios: Array = residual / bound
    if np.isnan(ratios.sum()):
        ratios = np.where((residual == 0) | ~(bound < np.inf), 0.0, ratios)
    return ratios


class Reach(NamedTuple):
    """Between which numbers an activation's values lie."""

    low: float = -math.inf
    high: float = math.inf

    @property
    def is_limited(self) -> bool:
        return self.high - self.low < math.inf

    def ends(self, observed: Array) -> int:
        """How many numbers are the least or the largest that there may be."""
        if not self.is_limited or not observed.size:
            return 0
        if observed.min() > self.low and observed.max() < self.high:  # most often
            return 0
        return int(np.count_nonzero((observed == self.low) | (observed == self.high)))

    def blind(self, piece: Piece) -> int:
        """How many bounds are over a hundredth of what there is to be known."""
        if not piece.bound.size:
            return piece.blind
        if self.is_limited:
            limit = (self.high - self.low) / 100
            if piece.bound.max() <= limit:
                return piece.blind
            vague = piece.bound > limit
        else:
            vague = piece.bound > np.abs(piece.expected) / 100
        return piece.blind + int(np.count_nonzero(vague))


class _Judged:
    """How many bounds can be exceeded.

    Those of an activation with limits can if they do not span all that it may give. Others can if
    finite; but that says nothing of an array of which none exceeds them. So they are counted by
    their exponents, and those that are no larger than the largest number expected count.
    """

    def __init__(self, reach: Reach | None) -> None:
        self.reach, self.count, self.largest = reach, 0, 0.0
        self.exponents = np.zeros(2**12, np.intp)

    def add(self, piece: Piece, settled: int) -> None:
        bound, expected, others = piece.bound, piece.expected, settled - piece.bound.size
        if piece.says is not None:
            self.count += others + int(np.count_nonzero(piece.says))
            return
        if self.reach is None:
            self.count += others + int(np.count_nonzero(bound < np.inf))
            return
        if self.reach.is_limited:
            if not bound.size or bound.max() <= (self.reach.high - self.reach.low) / 100:
                self.count += settled
                return
            farthest = np.maximum(self.reach.high - expected, expected - self.reach.low)
            self.count += others + int(np.count_nonzero((bound < farthest) | (bound == 0)))
            return
        sizes = np.abs(expected if piece.scale is None else piece.scale)
        self.largest = max(self.largest, piece.rest[0])
        self.largest = float(sizes.max(initial=self.largest, where=np.isfinite(sizes)))
        self.count += int(np.count_nonzero(bound == 0))
        found = np.frexp(bound[(bound > 0) & (bound < np.inf)])[1]
        self.exponents += np.bincount(found + 2**11, minlength=2**12)
        self.exponents[math.frexp(piece.rest[1])[1] + 2**11] += others

    @property
    def total(self) -> int:
        most = math.frexp(self.largest)[1] - 1  # 2^most <= largest
        return self.count + int(self.exponents[: most + 2**11 + 1].sum())


def _place(at: Any, piece: Piece, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Where in the whole array the element `at` of the piece stands."""
    slices = (*piece.place, *(slice(None),) * (len(shape) - len(piece.place)))
    ranges = [range(*part.indices(n)) for part, n in zip(slices, shape, strict=True)]
    if piece.only is not None:
        at = np.unravel_index(piece.only[at], [len(r) for r in ranges])
    return tuple(r[int(i)] for r, i in zip(ranges, at, strict=True))
