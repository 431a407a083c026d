"""What single change would make all numbers agree that differ now?

One change is made, and every number of the claim judged again with the same bounds. A cause is
named only if all of them agree then; all causes that do are named. Asked where a claim differs, and
nowhere else.

A change that is none of the causes makes a number agree by chance too. If what is wrong there may
be as far off as it is, d, to either side, and a is allowed, that has probability a/(a+d). So the
numbers that differed have to say more than that one of the changes that were tried fits by chance:
Σ log2(1 + d/a) over them, each that is another number once, is at least log2(changes tried). Less
the largest for every number that was fitted, or log2 of the numbers with as many digits that are no
farther from what was written. Of a claim with one printed digit nothing is named.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from rnn_check.asking.request import Answer
from rnn_check.certificates.comparison import Comparison
from rnn_check.claims.causes import counts, entries, experiments
from rnn_check.claims.causes.experiments import Cause
from rnn_check.claims.claim import Claim
from rnn_check.claims.expectations.case import Case, Malformed
from rnn_check.claims.expectations.certified import Certified, each_step
from rnn_check.claims.expectations.expectation import Expectation
from rnn_check.claims.expectations.numbers import Numbers
from rnn_check.claims.expectations.shapes import Counted
from rnn_check.claims.layers import Carrying
from rnn_check.claims.layers.signal import bounded
from rnn_check.claims.written import Array, Given
from rnn_check.verdicts.judge import DIFFER, FAULT, Verdict, where

MOST_NUMBERS = 4_000_000  # that all recurrences put out, over all the changes that are tried
MOST_STEPS = 30_000  # of all gates of all recurrences, of which one takes half a millisecond
MOST_ENTRIES = 150  # of all arrays, of which each is tried
MOST_NAMED = 8

NO_CAUSE = "no one change that is known here makes all of these numbers agree"
TOO_LARGE = "causes were not looked for: the experiment is too large"
TOO_LITTLE = "the numbers that differ say too little to tell a cause from chance"


@dataclass(frozen=True)
class _Number:
    """One expectation's numbers beside what should be."""

    index: int
    of: Comparison


def diagnosed(
    claim: Claim, answer: Answer, dtype: str, verdicts: Sequence[Verdict]
) -> list[Verdict]:
    """The verdicts on a claim, each that is red and differs with its causes, or why there is none.

    verdicts: one for each expectation.
    """
    out = list(verdicts)
    red = [i for i, v in enumerate(verdicts) if v.verdict == DIFFER and v.is_red]
    for i in red:
        e, v = claim.expectations[i], verdicts[i]
        if isinstance(e, Counted) and not isinstance(e.value, bool):
            out[i] = replace(v, **_told(of_count(claim, e)))
    for who in ("claim", "subject"):
        of_who = [
            i for i in red
            if verdicts[i].worst is not None and _who(verdicts[i].worst) == who
            and _is_number(claim.expectations[i], who)
        ]  # fmt: skip
        if of_who:
            found = of_claim(claim) if who == "claim" else of_subject(claim, answer, dtype)
            for i in of_who:
                out[i] = replace(out[i], **_told(found))
    return out


def of_claim(claim: Claim) -> tuple[list[str], str]:
    """With which changes the author's numbers are right; or why there is none."""
    return _causes(claim, _Claimed(claim))


def of_subject(claim: Claim, answer: Answer, dtype: str) -> tuple[list[str], str]:
    """The same of what a subject returned."""
    return _causes(claim, _Observed(claim, answer, dtype))


def _causes(claim: Claim, numbers: _Claimed | _Observed) -> tuple[list[str], str]:
    try:
        return _Search(claim, numbers).causes()
    except Exception as fault:  # the verdict stands, whatever its cause
        return [], f"{FAULT}, {where(fault)}: {fault!r}"


def _who(worst: Comparison | None) -> str:
    assert worst is not None
    return "claim" if worst.who == "claim" else "subject"


def _told(found: tuple[list[str], str]) -> dict[str, Any]:
    causes, why = found
    more = len(causes) - MOST_NAMED
    if more > 0:
        causes = [*causes[:MOST_NAMED], f"… or one of {more} more"]
    return {"causes": tuple(causes), "no_cause": why}


def of_count(claim: Claim, e: Counted) -> tuple[list[str], str]:
    """How else its parameters may have been counted."""
    layers = [x for x in claim.layers if e.counts(x) and e.of in ("", x.name)]
    found = counts.causes(claim, layers, e.value)
    return found, "" if found else NO_CAUSE


def _is_number(e: Expectation, who: str) -> bool:
    if isinstance(e, Numbers):
        return e.of_one_pass and isinstance(e.value, Given) and not e.not_run
    return who == "subject" and isinstance(e, Certified)


# --- which numbers --------------------------------------------------------------------------------


class _Claimed:
    """The numbers that the author claims."""

    def __init__(self, claim: Claim) -> None:
        chosen = [i for i, e in enumerate(claim.expectations) if _is_number(e, "claim")]
        self.chosen = chosen
        honest = {n.index: n.of for n in self.of(Cause("", claim))}
        kept = [i for i in chosen if not honest[i].ok or not _corrects(claim, i, honest)]
        self.chosen = sorted(kept, key=lambda i: honest[i].ok)  # those that differ decide first

    def of(self, cause: Cause) -> Iterator[_Number]:
        case = Case(cause.claim, {}, "float32", cause.derive)
        for index in self.chosen:
            e = cause.claim.expectations[index]
            assert isinstance(e, Numbers)
            yield _Number(index, e.author(case))


def _corrects(claim: Claim, index: int, honest: dict[int, Comparison]) -> bool:
    """Whether it says of a number that differs something else, and so is not of the same word."""
    own = _intervals(claim, index, honest[index])
    for other, comparison in honest.items():
        if comparison.ok:
            continue
        theirs = _intervals(claim, other, comparison)
        for place in own.keys() & theirs.keys():
            (lo, hi), (low, high) = own[place], theirs[place]
            if lo > high or low > hi:
                return True
    return False


def _intervals(
    claim: Claim, index: int, found: Comparison
) -> dict[tuple[Any, ...], tuple[float, float]]:
    e = claim.expectations[index]
    value: Given = e.value
    return {
        (e.what, e.of, *(int(c[at]) for c in found.coordinates)): (
            float(value.lo[at]),
            float(value.hi[at]),
        )
        for at in np.ndindex(found.got.shape)
    }


class _Observed:
    """The numbers that a subject returned: its states step by step, the rest from the input."""

    def __init__(self, claim: Claim, answer: Answer, dtype: str) -> None:
        self.observed, self.dtype = answer.observed or {}, dtype

    def of(self, cause: Cause) -> Iterator[_Number]:
        claim, said = cause.claim, self.observed
        case = Case(claim, said, self.dtype, cause.derive)
        truth = case.truth(case.dtype, case.policy.loss_in)
        if "states" in said and claim.begins_recurrent:
            if not cause.reorders and "weights" in said:
                yield _Number(0, replace(each_step(case), reason="", unproved=""))
            else:
                yield _Number(0, bounded("states", case.said["states"].array, truth.states()))
        if "output" in said:
            yield _Number(1, bounded("output", case.said["output"].array, truth.output))
        elif "outputs" in said:
            last = list(case.said["outputs"]["layers"])[-1].array
            yield _Number(1, bounded("output", last, truth.output))
        if (
            "gradients" in said
            and claim.loss is not None
            and "unsupported" not in said["gradients"]
        ):
            told = case.said["gradients"]
            if "loss" in told:
                yield _Number(2, bounded("loss", told["loss"].array, truth.losses[0]))
            names = {claim.gradient_of(name) for name in claim.gradients}
            for name in sorted(names):
                if name in told:
                    array = told[name].array
                    yield _Number(3, bounded(f"gradient of {name}", array, truth.gradient(name)))


# --- the search -----------------------------------------------------------------------------------


class _Search:
    """All changes, one after the other, and which numbers agree when each is made."""

    def __init__(self, claim: Claim, numbers: _Claimed | _Observed) -> None:
        self.claim, self.numbers = claim, numbers
        self.tried, self.is_cut_short = 0, False
        self.honest = [n.of for n in numbers.of(Cause("", claim))]
        self.scales = [_allowed(n, n) for n in self.honest]
        self.reading: Callable[[Claim], Claim] | None = None
        assert claim.x is not None
        width = sum(layer.width for layer in claim.layers)
        ways = 1 + (claim.loss is not None)
        size = math.prod(claim.x.shape[:2]) * width * ways
        gates = sum(
            part.gates
            for layer in claim.layers
            if isinstance(layer, Carrying)
            for _, part in layer.recurrences
        )
        steps = claim.x.shape[1] * gates * ways
        self.most = min(MOST_NUMBERS // max(1, size), MOST_STEPS // max(1, steps))

    def causes(self) -> tuple[list[str], str]:
        """What to say: the causes, or why there is none."""
        if all(n.ok for n in self.honest):
            return [], NO_CAUSE
        if self.most < 1:
            return [], TOO_LARGE
        found, suffix = self._plausible(), ""
        if not found and any(n.interval is not None for n in self.honest):
            self.reading, suffix = experiments.within_a_unit, _SUFFIX
            found = self._plausible()
        sure = [cause.words + suffix for cause, bits in found if self._is_sure(bits)]
        if sure:
            return list(dict.fromkeys(sure)), ""
        if found:
            return [], TOO_LITTLE
        return [], self._none()

    def _none(self) -> str:
        size = sum(n.got.size for n in self.honest)
        off = sum(int((n.ratios > 1).sum()) for n in self.honest)
        some = f"; {off:,} of {size:,} differ" if off < size else ""
        return NO_CAUSE + some + "; not all were tried: the experiment is large" * self.is_cut_short

    def _is_sure(self, bits: float) -> bool:
        return bits >= math.log2(max(1, self.tried))

    def _plausible(self) -> list[tuple[Cause, float]]:
        """With which all agree; where only more is allowed, if that is needed for most of them."""
        found = list(self._found())
        return [(c, bits) for c, bits in found if not c.widens or self._is_sure(bits)]

    def _found(self) -> Iterator[tuple[Cause, float]]:
        changes = experiments.causes(self.claim)
        if isinstance(self.numbers, _Claimed) and self.reading is None:
            changes = itertools.chain(changes, [experiments.cut(self.claim)])
        any_yet = False
        for cause in changes:
            if self.tried >= self.most:
                self.is_cut_short = True
                return
            self.tried += 1
            if self._agrees(cause):
                any_yet = True
                yield cause, self._bits(cause)
        yield from self._of_entries(any_yet)

    def _of_entries(self, any_yet: bool) -> Iterator[tuple[Cause, float]]:
        """One entry of an array, and a bias as a whole if nothing simpler is found."""
        each = entries.entries(self.claim)
        if any_yet and isinstance(self.numbers, _Observed):
            return  # a framework has one mistake in it rather than one number
        if self.tried + each * entries.MOST_ROUNDS > self.most or each > MOST_ENTRIES:
            self.is_cut_short = True
            return
        honest = self._look(Cause("", self.claim))
        if honest is None:
            return
        self.tried += 3 * each
        found = list(entries.causes(self.claim, self._look, honest[0]))
        if not (found or any_yet):
            found = list(entries.biases(self.claim, self._look, honest[0]))
        for cause in found:
            yield cause, self._bits(cause)

    def _of(self, cause: Cause) -> Iterator[Comparison | None]:
        """Its numbers beside what is true of it; None of what has another shape, or none."""
        if self.reading is not None:
            cause = replace(cause, claim=self.reading(cause.claim))
        with np.errstate(all="ignore"):
            made = self.numbers.of(cause)
            for honest in self.honest:
                try:
                    found = next(made).of
                except (ValueError, Malformed):
                    yield None
                    return
                yield found if found.got.shape == honest.got.shape else None

    def _agrees(self, cause: Cause) -> bool:
        return all(n is not None and n.ok and not n.says_nothing for n in self._of(cause))

    def _look(self, cause: Cause) -> tuple[Array, bool] | None:
        found, agrees = [], True
        for n, scale in zip(self._of(cause), self.scales, strict=True):
            if n is None:
                return None
            off = (n.expected - n.got) / scale
            found.append(np.where(np.isfinite(off), off, 0.0).ravel())
            agrees = agrees and n.ok and not n.says_nothing
        return np.concatenate(found), agrees

    def _bits(self, cause: Cause) -> float:
        """How much the numbers say that differed, and agree now.

        Where only more is allowed, a, those that agreed before speak against it: of as much they
        would have made use.
        """
        told: dict[tuple[float, float], float] = {}
        for honest, now in zip(self.honest, self._of(cause), strict=True):
            assert now is not None
            allowed, before = _allowed(now, honest), _allowed(honest, honest)
            for place in np.ndindex(honest.got.shape):
                got, expected = float(honest.got[place]), float(honest.expected[place])
                a, differed = float(allowed[place]), honest.ratios[place] > 1
                off = abs(got) if cause.widens else abs(got - expected)
                if differed and np.isfinite(off) and a > 0:
                    told[got, expected] = math.log2(1 + off / a)
                elif cause.widens and not differed and before[place] > 0:
                    told[got, expected] = -math.log2(max(1.0, a / float(before[place])))
        each = sorted(told.values())
        spent = sum(each[max(0, len(each) - cause.fitted) :])
        return sum(each) - min(spent, cause.choices)


_SUFFIX = ", and each number may be off by a whole unit of its last digit"


def _allowed(now: Comparison, honest: Comparison) -> Array:
    """How far each number may be off: half of what its digits leave open, and its bound.

    Of numbers that are exact, half of what all of them are multiples of.
    """
    half = np.zeros_like(now.bound)
    if now.interval is not None:
        half = (now.interval[1] - now.interval[0]) / 2
    allowed = half + now.bound
    if (allowed > 0).all():
        return allowed
    grain = entries.grain(np.concatenate([honest.got.ravel(), honest.expected.ravel()]))
    return np.where(allowed > 0, allowed, grain / 2)
