"""What is said of one array: is every element within its bound, and was anything proved?"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache, cached_property, partial
from typing import Any, NamedTuple

import numpy as np

from rnn_check.certificates.asked import Asked
from rnn_check.certificates.operands import how_summed
from rnn_check.certificates.precision import NOTHING, Sample, called, effective_precision
from rnn_check.numbers.arrays import narrower
from rnn_check.numbers.formats import Arithmetic, Array

Told = tuple[tuple[str, ...], str]  # causes; or none, and why

# The result -----------------------------------------------------------------------------------


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
        at = np.unravel_index(np.argmax(ratios), ratios.shape)
        if ratios[at] > self.ratio:
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


@dataclass(frozen=True)
class Certificate:
    """The answer for one array of a subject.

    ok               True: every element is within its bound, and no operand was seen to be cut.
                     False: one of that is not so. None: not proved, too little is judged
    largest          the largest residual/bound and its place, as far as the verdict needed them:
                     of a large layer that holds no more may be known than that it is at most 1
    wrong            how many elements are beyond their bound
    first            the index of the first of them in time, of adjoints the last, from which all
                     others come; () if none is, or there is no time
    judged           the share of elements, 0 to 1, whose bound can be exceeded: none has one where
                     a sum may overflow, or where the bound spans all that the activation may give
                     (of one without limits, the largest number expected beside it)
    blind            the share of elements whose bound is over a hundredth of the activation's
                     range, or of the number expected where that has no limits: what stands there
                     is proved in its first digits at most
    bits             the effective precision; None where too few sums were rounded to tell
    consistent_with  the arithmetic of which the errors are; None without bits, or where they are as
                     large as a narrower one's and not those of operands cut to it
    claimed          the arithmetic that was to be proved
    reason           one sentence

    ratio is the largest residual/bound, 0 where both are 0, inf where the bound alone is; where is
    the index of that element. If the verdict did not need them, they are searched for when they are
    first asked for, which takes about as long as the verdict.

    observed, expected, residual and bound are whole arrays, float64, computed when they are first
    asked for from the arrays that were given: do not change those in between.
    """

    ok: bool | None
    largest: Largest
    judged: float
    blind: float
    bits: float | None
    _consistent: str | Callable[[], str | None] | None = field(repr=False, compare=False)
    claimed: str
    reason: str
    _given: Array = field(repr=False, compare=False)
    _pieces: Pieces = field(repr=False, compare=False)
    wrong: int = 0
    first: tuple[int, ...] = ()
    aside: str = field(default="", repr=False)  # of the reason: what could not be told of the sums
    _sought: Callable[[], Told] | None = field(default=None, repr=False, compare=False)

    @cached_property
    def consistent_with(self) -> str | None:
        return self._consistent() if callable(self._consistent) else self._consistent

    @cached_property
    def _told(self) -> Told:
        return ((), "") if self._sought is None else self._sought()

    @property
    def causes(self) -> tuple[str, ...]:
        """With what single changes everything agrees: "recurrent_kernel is transposed". Looked for
        when first asked for, if something is wrong."""
        return self._told[0]

    @property
    def no_cause(self) -> str:
        """Why none is named of something that is wrong."""
        return self._told[1]

    def _repr_html_(self) -> str | None:
        return None if shown_in_notebooks is None else shown_in_notebooks(self)

    @property
    def ratio(self) -> float:
        return self._found.ratio

    @property
    def where(self) -> tuple[int, ...]:
        return self._found.where

    @cached_property
    def _found(self) -> Largest:
        return self.largest.found()

    @cached_property
    def observed(self) -> Array:
        return self._given.astype(np.float64)

    @cached_property
    @np.errstate(all="ignore")
    def _derived(self) -> tuple[Array, Array]:
        expected, bound = (np.full(self._given.shape, fill) for fill in (np.nan, np.inf))
        for piece in self._pieces(_Worst(ratio=-math.inf)):
            expected[piece.place], bound[piece.place] = piece.expected, piece.bound
        return expected, bound

    @property
    def expected(self) -> Array:
        return self._derived[0]

    @property
    def bound(self) -> Array:
        return self._derived[1]

    @cached_property
    @np.errstate(all="ignore")
    def residual(self) -> Array:
        return _residual(self.observed, self.expected)


# who knows how to show one, or looks for causes, puts that here: a certificate knows neither
shown_in_notebooks: Callable[[Certificate], str] | None = None
causes_of: Callable[[Asked], Told] | None = None


def with_causes(
    found: Mapping[str, Certificate], asked: Callable[[], Asked]
) -> dict[str, Certificate]:
    """Those that say that something is wrong able to say with what change it would not be."""

    @cache
    def sought() -> Told:
        return ((), "") if causes_of is None else causes_of(asked())

    return {n: replace(c, _sought=sought) if c.ok is False else c for n, c in found.items()}


def _residual(observed: Array, expected: Array) -> Array:
    """|observed - expected|, where a NaN is only like a NaN, and inf like inf."""
    residual: Array = np.abs(observed - expected)
    if not np.isfinite(residual).all():
        same = (observed == expected) | (np.isnan(observed) & np.isnan(expected))
        residual = np.where(same, 0.0, np.where(np.isnan(residual), np.inf, residual))
    return residual


def _ratios(residual: Array, bound: Array) -> Array:
    """0 where both are 0, and where nothing is bounded."""
    ratios: Array = residual / bound
    if np.isnan(ratios).any():
        ratios = np.where((residual == 0) | (bound == np.inf), 0.0, ratios)
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
        if not self.is_limited:
            return 0
        return int(np.count_nonzero((observed == self.low) | (observed == self.high)))

    def blind(self, piece: Piece) -> int:
        """How many bounds are over a hundredth of what there is to be known."""
        if not piece.bound.size:
            return piece.blind
        if self.is_limited:
            vague = piece.bound > (self.high - self.low) / 100
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


ENOUGH_JUDGED = 0.9  # of all elements


@np.errstate(all="ignore")
def judge(
    a: Arithmetic,
    given: Array,
    pieces: Pieces,
    reach: Reach | None = None,
    note: str = "",
    backwards: bool = False,
) -> Certificate:
    """Compare piece by piece, and put into words. reach None: any finite bound can be exceeded.

    note: what to say of an array that holds, beside. backwards: one step follows from the one after
    it.
    """
    worst, size, blind, nans, sample = _Worst(), 0, 0, 0, NOTHING
    wrong, first, left_out, computed = 0, tuple[int, ...](), False, False
    can: dict[Reach | None, _Judged] = {}
    saturated = 0
    for piece in pieces(worst):
        observed, residual = _observed(piece, given)
        sample += piece.sample
        settled = residual.size if piece.settles is None else piece.settles
        size += settled
        left_out, computed = left_out or settled > residual.size, computed or residual.size > 0
        if settled:
            if piece.ends is not None:
                saturated += piece.ends
            elif reach is not None:
                saturated += reach.ends(given[piece.place])
            nans += int(np.count_nonzero(np.isnan(observed)))
            own = piece.reach or reach
            can.setdefault(own, _Judged(own)).add(piece, settled)
            blind += (own or Reach()).blind(piece)
        worst.take(piece, given, observed, residual)
    judged = sum(each.total for each in can.values())
    cut, aside, consistent = "", "", None

    @np.errstate(all="ignore")
    def consistent_with() -> str | None:
        return how_summed(a, sample)[1]

    if worst.ratio > 1:  # what is wrong anyway is looked at more closely if somebody asks
        bits = effective_precision(a, sample)[0]
    else:
        bits, consistent, cut, aside = how_summed(a, sample)
    ok: bool | None = (0 <= worst.ratio <= 1 or not computed) and not cut
    if not size:
        ok, reason = None, "there is nothing to judge"
        if not given.size:
            reason = f"there is nothing to judge in an array of shape {given.shape}"
    elif worst.ratio > 1:
        wrong, first = _beyond(given, pieces, backwards)
        reason = f"{worst}{_how_many(wrong, first, worst, backwards)}"
    elif cut:
        reason = f"every element is within its bound, but {cut}"
    elif judged < ENOUGH_JUDGED * size:
        ok = None
        reason = (
            f"not proved: {size - judged} of {size} elements have no bound that could be exceeded, "
            "because their sums may overflow, cancel, or meet a saturated activation"
        )
    else:
        reason = "every element follows, up to the rounding of its own step"
        if judged < size:
            reason += f", but for {size - judged} of {size} that have no bound"
        if blind > (1 - ENOUGH_JUDGED) * size:
            reason += f"; the bound of {blind} of {size} is over a hundredth of what they can be"
        if saturated > (1 - ENOUGH_JUDGED) * size:
            reason += (
                f"; {saturated} of {size} are at an end of what the activation gives, where all "
                "sums that are large enough look alike"
            )
        if nans:
            reason += f"; {nans} of {size} are NaN, which follow from one, or from an overflow"
        reason += aside + note
    size = max(size, 1)
    largest = Largest(max(worst.ratio, 0.0), worst.where)
    if left_out and worst.ratio <= 1:
        largest = replace(largest, search=partial(_searched, worst, given, pieces))
    return Certificate(
        ok, largest, judged / size, blind / size, bits,
        consistent_with if worst.ratio > 1 else consistent,
        called(a), reason, given, pieces, wrong, first, aside,
    )  # fmt: skip


def _observed(piece: Piece, given: Array) -> tuple[Array, Array]:
    """What was observed of a piece, and the residual."""
    observed = given[piece.place]
    if piece.only is not None:
        observed = observed[np.unravel_index(piece.only, observed.shape)]
    observed = observed.astype(np.float64)
    return observed, _residual(observed, piece.expected)


@np.errstate(all="ignore")
def _searched(so_far: _Worst, given: Array, pieces: Pieces) -> Largest:
    """The largest ratio of all, of which that of those computed so far is one."""
    worst = replace(so_far, exact=True)
    for piece in pieces(worst):
        worst.take(piece, given, *_observed(piece, given))
    return Largest(max(worst.ratio, 0.0), worst.where)


def _place(at: Any, piece: Piece, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Where in the whole array the element `at` of the piece stands."""
    slices = (*piece.place, *(slice(None),) * (len(shape) - len(piece.place)))
    ranges = [range(*part.indices(n)) for part, n in zip(slices, shape, strict=True)]
    if piece.only is not None:
        at = np.unravel_index(piece.only[at], [len(r) for r in ranges])
    return tuple(r[int(i)] for r, i in zip(ranges, at, strict=True))


def _beyond(given: Array, pieces: Pieces, backwards: bool) -> tuple[int, tuple[int, ...]]:
    """How many elements are beyond their bound, and where the first of them in time is."""
    wrong, found, axis = 0, list[tuple[int, ...]](), given.ndim - 2
    for piece in pieces(_Worst(ratio=-math.inf)):
        if piece.only is not None:
            continue  # a sample of what comes as a whole as well
        beyond = _residual(given[piece.place].astype(np.float64), piece.expected)
        beyond = _ratios(beyond, piece.bound) > 1
        wrong += int(np.count_nonzero(beyond))
        if given.ndim > 2 and beyond.any():
            in_time = np.moveaxis(beyond, axis, 0)
            times = np.flatnonzero(in_time.reshape(len(in_time), -1).any(axis=1))
            first = int(times[-1 if backwards else 0])
            at = list(np.unravel_index(int(np.argmax(in_time[first])), in_time.shape[1:]))
            found.append(_place([*at[:axis], first, *at[axis:]], piece, given.shape))
    order = -1 if backwards else 1
    return wrong, min(found, key=lambda where: order * where[axis], default=())


def _how_many(wrong: int, first: tuple[int, ...], worst: _Worst, backwards: bool) -> str:
    if wrong < 2:
        return ""
    if not first:
        return f"; {wrong} are beyond their bound"
    which = "last" if backwards else "first"
    where = "this one" if first == worst.where else f"{first}"
    return f"; {wrong} are beyond their bound, the {which} in time is {where}"


# What is judged -------------------------------------------------------------------------------


def advised(found: Certificate, dtype: Any, given: Array) -> Certificate:
    """A refusal of what may have been computed in less than its array shows says so."""
    if dtype is not None or found.ok is not False or not (name := narrower(given)):
        return found
    advice = f'; every number here is a {name}: if it was computed so, pass dtype="{name}"'
    return replace(found, reason=found.reason + advice)
