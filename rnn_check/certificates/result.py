"""What is said of one array: is every element within its bound, and was anything proved?"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache, cached_property, partial
from typing import Any

import numpy as np

from rnn_check.certificates.asked import Asked
from rnn_check.certificates.operands import Summed, how_summed
from rnn_check.certificates.pieces import (
    Largest,
    Piece,
    Pieces,
    Reach,
    _Judged,
    _place,
    _ratios,
    _residual,
    _Worst,
)
from rnn_check.certificates.precision import NOTHING, Sample, called, effective_precision
from rnn_check.numbers.arrays import narrower
from rnn_check.numbers.formats import Arithmetic, Array

Told = tuple[tuple[str, ...], str]  # causes; or none, and why

# The result -----------------------------------------------------------------------------------


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

    bits and consistent_with are computed when they are first asked for, if the verdict's own sums
    in float32 showed nothing to be looked at more closely; so is blind, of an LSTM whose cell
    states are seen, if it is known to be a tenth at most.

    ratio is the largest residual/bound, 0 where both are 0, inf where the bound alone is; where is
    the index of that element. If the verdict did not need them, they are searched for when they are
    first asked for, which takes about as long as the verdict.

    observed, expected, residual and bound are whole arrays, float64, computed when they are first
    asked for from the arrays that were given: do not change those in between.
    """

    ok: bool | None
    largest: Largest
    judged: float
    _blind: float | Callable[[], float]
    _bits: float | Callable[[], float | None] | None = field(repr=False, compare=False)
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
    def blind(self) -> float:
        return self._blind() if callable(self._blind) else self._blind

    @cached_property
    def bits(self) -> float | None:
        return self._bits() if callable(self._bits) else self._bits

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


class NotSeen(ValueError):
    """What has to be observed for a certificate, and was not: of what else there is, nothing is
    wrong."""


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
    worst, size, blind, maybe, nans, sample = _Worst(), 0, 0, 0, 0, NOTHING
    wrong, first, left_out, computed = 0, tuple[int, ...](), False, False
    can: dict[Reach | None, _Judged] = {}
    saturated, later = 0, None
    for piece in pieces(worst):
        sample += piece.sample
        later = piece.later or later
        own, settled = piece.reach or reach, piece.settles
        settled = piece.expected.size if settled is None else settled
        size += settled
        if settled:
            if piece.ends is not None:
                saturated += piece.ends
            elif reach is not None:
                saturated += reach.ends(given[piece.place])
            if own not in can:
                can[own] = _Judged(own)
            can[own].add(piece, settled)
            blind += (own or Reach()).blind(piece)
            maybe += piece.maybe
        left_out = left_out or settled > piece.expected.size
        if piece.expected.size:
            computed = True
            observed, residual = _observed(piece, given)
            if settled and np.isnan(observed.sum()):
                nans += int(np.count_nonzero(np.isnan(observed)))
            worst.take(piece, given, observed, residual)
    judged = sum(each.total for each in can.values())
    if blind + maybe > (1 - ENOUGH_JUDGED) * size:
        blind, maybe = _all_blind(pieces, reach), 0
    cut, aside = "", ""
    bits: float | Callable[[], float | None] | None
    consistent: str | Callable[[], str | None] | None

    @cache
    @np.errstate(all="ignore")
    def whole() -> Sample:
        return sample if later is None else sample + later()

    @cache
    @np.errstate(all="ignore")
    def summed() -> Summed:
        return how_summed(a, whole())

    if worst.ratio > 1:  # what is wrong anyway is looked at more closely if somebody asks
        bits, consistent = lambda: effective_precision(a, whole())[0], lambda: summed().consistent
    elif later is not None:
        bits, consistent = lambda: summed().bits, lambda: summed().consistent
    else:
        bits, consistent, cut, aside = summed()
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
    blind_share = (lambda: _all_blind(pieces, reach) / size) if maybe else blind / size
    return Certificate(
        ok, largest, judged / size, blind_share, bits,
        consistent, called(a), reason, given, pieces, wrong, first, aside,
    )  # fmt: skip


def _observed(piece: Piece, given: Array) -> tuple[Array, Array]:
    """What was observed of a piece, and the residual."""
    observed = given[piece.place]
    if piece.only is not None:
        observed = observed[np.unravel_index(piece.only, observed.shape)]
    observed = observed.astype(np.float64)
    return observed, _residual(observed, piece.expected)


@np.errstate(all="ignore")
def _all_blind(pieces: Pieces, reach: Reach | None) -> int:
    """How many bounds are blind, of all."""
    every = pieces(_Worst(ratio=-math.inf))
    return sum((p.reach or reach or Reach()).blind(p) for p in every if p.only is None)


@np.errstate(all="ignore")
def _searched(so_far: _Worst, given: Array, pieces: Pieces) -> Largest:
    """The largest ratio of all, of which that of those computed so far is one."""
    worst = replace(so_far, exact=True)
    for piece in pieces(worst):
        worst.take(piece, given, *_observed(piece, given))
    return Largest(max(worst.ratio, 0.0), worst.where)


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
