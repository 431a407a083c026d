"""Is it known that this subject gets this wrong?

Deviations are strict: an entry whose reason does not fit what is seen excuses nothing, and one
whose subject no longer shows it turns the run red (`Known.mark`).
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from rnn_check.asking.request import Setting
from rnn_check.certificates.comparison import Comparison
from rnn_check.claims import files
from rnn_check.claims.claim import Claim
from rnn_check.numbers import formats
from rnn_check.subjects.identity import Identity
from rnn_check.verdicts.deviations import Deviation
from rnn_check.verdicts.judge import AGREE, Verdict


@dataclass(frozen=True)
class Known:
    """The entries of a file, and how strictly they are held against claims that agree.

    own: whether the file is the user's own, and answers for every claim that is judged with it. The
    bundled file answers for the bundled claims, on which its entries have been seen; on anybody's
    else, where what it speaks of may not come to light, a claim that agrees simply agrees.
    whole: whether all the claims are judged that the file answers for, so that an entry that shows
    only `sometimes` has to show somewhere.
    """

    entries: Sequence[Deviation]
    own: bool = False
    whole: bool = False

    def mark(
        self,
        judged: Iterable[tuple[Claim, Sequence[Verdict]]],
        subject: Identity,
        setting: Setting,
        again: Callable[[Claim, str], Sequence[Verdict]],
    ) -> list[Verdict]:
        """The verdicts on one subject, those with a known deviation saying so.

        judged: claims, each with the verdicts on its expectations, in their order. again: judges a
        claim once more, as if it had been asked in another arithmetic. What is seen as an entry
        says is excused. Where an entry's subject does not show it any more, the verdicts that agree
        instead carry it too, which makes them red.
        """
        entries = [entry for entry in self.entries if entry.is_of(subject, setting)]
        marked: list[Verdict] = []
        agreeing: dict[int, int] = {}  # an entry that sometimes shows: the first that agrees
        showing: set[int] = set()
        for claim, verdicts in judged:
            reasons = [""] * len(verdicts)
            strict = self.own or claim.file.resolve().is_relative_to(files.bundled())
            about_what = [entry.is_about(claim, setting.dtype) for entry in entries]
            seen = [
                _Seen(
                    verdict,
                    [e for e, is_about in zip(entries, about_what, strict=True) if is_about[i]],
                    functools.partial(_once_more, again, claim, i),
                )
                for i, verdict in enumerate(verdicts)
            ]
            for number, entry in enumerate(entries):
                about = [i for i, is_about in enumerate(about_what[number]) if is_about]
                shown = [i for i in about if seen[i].is_as(entry)]
                gone = [i for i in about if verdicts[i].verdict == AGREE] if strict else []
                if shown:
                    showing.add(number)
                if entry.sometimes:
                    if gone and entry.sometimes is True:
                        agreeing.setdefault(number, len(marked) + gone[0])
                    gone = []
                elif not entry.expects:  # of the claim as a whole: one that shows it is enough
                    gone = [] if shown else gone[:1]
                for i in (*shown, *gone):
                    reasons[i] = reasons[i] or _reason(entry)
            marked += map(_known, verdicts, reasons)
        if self.whole:
            for number, at in agreeing.items():
                if number not in showing:
                    marked[at] = _known(marked[at], _reason(entries[number]))
        return marked


def _once_more(
    again: Callable[[Claim, str], Sequence[Verdict]], claim: Claim, index: int, arithmetic: str
) -> Verdict:
    return again(claim, arithmetic)[index]


class _Seen:
    """What is seen in one verdict, beside the entries that are about it.

    Two deviations may meet in it: what coarser rounding explains is set aside before anything else
    is asked to explain the rest.
    """

    def __init__(
        self, verdict: Verdict, entries: Iterable[Deviation], again: Callable[[str], Verdict]
    ) -> None:
        self.verdict = verdict.verdict
        self.rounded: set[int] = set()  # ids of the entries that explain something
        rest = [c for c in verdict.comparisons if not c.ok]
        self.is_all_rounded = bool(rest)
        for entry in entries if rest else ():
            if entry.rounds_like is not None and entry.seen == verdict.verdict:
                coarser = {c.what: c for c in again(entry.rounds_like).comparisons}
                left = []
                for c in rest:
                    other = coarser.get(c.what)
                    if not entry.says_so(c.blame()):
                        left.append(c)
                    elif other is not None and _is_part(other, c):
                        self.rounded.add(id(entry))
                        left += [] if other.ok else [other]
                    elif _is_last_bit(c, entry.rounds_like):
                        self.rounded.add(id(entry))
                    else:
                        left.append(c)
                rest = left
        self.is_all_rounded &= not rest
        self.detail = rest[0].blame() if rest and self.rounded else verdict.detail

    def is_as(self, entry: Deviation) -> bool:
        if entry.seen != self.verdict:
            return False
        if entry.rounds_like is not None:
            return self.is_all_rounded and id(entry) in self.rounded
        return entry.says_so(self.detail)


def _is_part(coarser: Comparison, fine: Comparison) -> bool:
    """Whether coarser rounding explains a comparison, or all of it but for some of its elements.

    What the coarser arithmetic has no bounds for at all explains nothing.
    """
    if coarser.ok:
        return not coarser.says_nothing
    if coarser.reason or coarser.ratios.shape != fine.ratios.shape:
        return False
    left, seen = coarser.ratios > 1, fine.ratios > 1
    return bool((left <= seen).all() and (left < seen).any())


def _is_last_bit(comparison: Comparison, arithmetic: str) -> bool:
    """Whether one rounding more, in that arithmetic, is as far as it is off: what is passed on
    unchanged is rounded where it is cast."""
    if comparison.reason or comparison.got.dtype.kind != "f":
        return False
    ulp = 2 * formats.arithmetic(arithmetic).u_stored * np.abs(comparison.expected)
    return bool((comparison.error <= ulp).all())


def _known(verdict: Verdict, reason: str) -> Verdict:
    return dataclasses.replace(verdict, deviation=reason) if reason else verdict


def _reason(entry: Deviation) -> str:
    return entry.why + (f" ({entry.link})" if entry.link else "")
