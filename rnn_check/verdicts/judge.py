"""Claim × observation → verdict: does the number hold, and does the framework compute it?

Two questions are kept apart, because their answers blame different people.  Does the *claim* hold:
does the printed interval meet [truth − bound, truth + bound] for the arithmetic that its author
computed in?  Does the *subject* compute it: is what it returned within its own bound of the truth,
and does each of its steps follow from the one before (the certificate)?  A verdict is `agree` when
every comparison made for it holds, and its ratio is the worst error/bound among them.

Sizes: B batch, T timesteps, F features, H units, O units of the Dense layer.
"""

from __future__ import annotations

import dataclasses
import math
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rnn_check.asking.request import Answer
from rnn_check.certificates import result as certificates_result
from rnn_check.certificates.comparison import HELD, Comparison
from rnn_check.claims.claim import Claim
from rnn_check.claims.expectations.case import Case, Malformed, Unproved, Unsupported
from rnn_check.claims.expectations.expectation import Expectation
from rnn_check.subjects.identity import Who

AGREE, DIFFER, ERROR, NOT_RUN = "agree", "differ", "error", "not_run"
FAULT = "a fault of rnn_check's own, not of the subject"


@dataclass(frozen=True)
class Verdict:
    """The judgement of one expectation.

    known: what is known to be wrong with the claim's own number (`known_to_differ`).
    deviation: what is known to be wrong with the subject (see `deviations`), which then either
    shows it, and is excused, or does not show it any more.
    unsupported: whether it was not run because the subject says that it has no such thing.
    causes: with which single changes all of the claim's numbers agree; no_cause: why there is none
    (see `diagnosis`). Both empty where nobody looked for any.
    """

    claim: str
    file: str
    what: str
    verdict: str
    ratio: float | None
    word: str
    document: str
    detail: str
    known: str = ""
    bits: float | None = None
    comparisons: tuple[Comparison, ...] = field(default=(), repr=False)
    deviation: str = ""
    unsupported: bool = False
    causes: tuple[str, ...] = ()
    no_cause: str = ""

    @property
    def source(self) -> str:
        """On whose word, and where that stands."""
        return f"{self.word} ({self.document})"

    @property
    def is_red(self) -> bool:
        """Whether the run must fail for it: an unknown difference, or a known one that is gone.

        A claim's number that is known to be wrong excuses no subject; a known deviation does.
        """
        if self.verdict == AGREE:
            return bool(self.known or self.deviation)
        return self.verdict == DIFFER and not self.is_known

    @property
    def is_known(self) -> bool:
        """Whether what is wrong was to be expected, and excused for that."""
        only_the_claim = all(c.ok or c.who == "claim" for c in self.comparisons)
        if self.verdict == DIFFER and self.known and only_the_claim:
            return True
        return self.verdict in (DIFFER, ERROR) and bool(self.deviation)

    @property
    def worst(self) -> Comparison | None:
        """The comparison that decides: the first that fails, else the one of the largest ratio."""
        failing = [c for c in self.comparisons if not c.ok]
        if failing:
            return failing[0]
        return max(self.comparisons, key=lambda c: c.ratio, default=None)


def judge(claim: Claim, answer: Answer, *, dtype: str = "float32") -> list[Verdict]:
    """The verdict on every expectation of a claim; dtype: the policy that the subject ran in."""
    case = Case(claim, answer.observed or {}, dtype)
    return [judge_one(claim, case, e, answer) for e in claim.expectations]


def judge_one(c: Claim, case: Case, e: Expectation, answer: Answer) -> Verdict:
    """The verdict on one expectation of a claim, beside what was observed."""
    section = f", {c.source.section}" if c.source.section else ""
    document = f"{c.source.document}{section}"

    def verdict(kind: str, detail: str, comparisons: tuple[Comparison, ...] = ()) -> Verdict:
        numeric = [m for m in comparisons if m.got.dtype.kind == "f"]
        ratio = max((m.ratio for m in numeric), default=None) if kind != NOT_RUN else None
        bits = [] if kind == NOT_RUN else [m.bits for m in comparisons if m.bits is not None]
        return Verdict(
            claim=c.name,
            file=str(c.file),
            what=e.name,
            verdict=kind,
            ratio=ratio if ratio is not None and math.isfinite(ratio) else None,
            word=e.from_,
            document=document,
            detail=detail,
            known=e.known_to_differ,
            bits=min(bits, default=None),
            comparisons=comparisons,
        )

    if e.not_run or answer.skip:
        return verdict(NOT_RUN, e.not_run or answer.skip)
    needed = e.asked(c)
    if reason := e.unjudged_in(case.policy):
        return verdict(NOT_RUN, reason)
    if answer.error and needed:
        return verdict(ERROR, answer.error)
    for question in sorted(needed & case.observed.keys()):
        answer = case.observed[question]
        if isinstance(answer, Mapping) and "unsupported" in answer:
            if question in e.does_without:
                continue
            return dataclasses.replace(
                verdict(NOT_RUN, str(answer["unsupported"])), unsupported=True
            )
        if isinstance(answer, Mapping) and answer.keys() == {"error", "traceback"}:
            return verdict(ERROR, f"{question}: {answer['error']}\n{answer['traceback']}")
    if missing := sorted(needed - e.not_in_older - case.observed.keys()):
        return verdict(NOT_RUN, f"not observed: {', '.join(missing)}")
    try:
        comparisons = tuple(e.judge(case))
    except Unproved as reason:
        return verdict(NOT_RUN, str(reason))
    except Unsupported as reason:
        return dataclasses.replace(verdict(NOT_RUN, str(reason)), unsupported=True)
    except Malformed as problem:
        return verdict(ERROR, f"what was observed cannot be compared: {problem}")
    except Exception as fault:  # the other claims are judged
        return verdict(ERROR, f"{FAULT}, {where(fault)}: {fault!r}")
    failing = [m for m in comparisons if not m.ok]
    if failing:
        if case.doubt and not any(m.who == "claim" for m in failing):
            return verdict(NOT_RUN, case.doubt, comparisons)
        return verdict(DIFFER, failing[0].blame(), comparisons)
    of_claim = [m for m in comparisons if m.who == "claim"]
    of_subject = [m for m in comparisons if m.who != "claim"]
    for deciding in (of_claim, of_subject):
        if deciding and all(m.says_nothing for m in deciding):
            return verdict(NOT_RUN, deciding[0].unbounded, comparisons)
    for m in comparisons:
        if m.who in ("claim", "subject") and m.unbounded and (why := too_little(m)):
            return verdict(NOT_RUN, why, comparisons)
    if unproved := [m.unproved for m in comparisons if m.unproved]:
        return verdict(NOT_RUN, unproved[0], comparisons)
    if not comparisons:
        return verdict(ERROR, "nothing was compared")
    return verdict(AGREE, _praise(comparisons) + e.praise(case), comparisons)


def where(fault: Exception) -> str:
    """The line that raised it."""
    frame = traceback.extract_tb(fault.__traceback__)[-1]
    return f"{Path(frame.filename).name}:{frame.lineno}"


def too_little(m: Comparison) -> str:
    """Why it proves nothing that none of these numbers is beyond its bound; empty if it does."""
    size, least = m.bound.size, (1 - certificates_result.ENOUGH_JUDGED) * m.bound.size
    if m.unjudged > least:
        return f"{m.what}: {m.unjudged:,} of {size:,} numbers are not judged: {m.unbounded}"
    if m.unjudged + m.vague > least:
        return (
            f"{m.what}: not proved: errors may grow so large that {m.vague:,} of {size:,} numbers "
            "may be off by more than any of them is"
        )
    return ""


def _praise(comparisons: tuple[Comparison, ...]) -> str:
    """Why it agrees, in one line."""
    parts = []
    for m in comparisons:
        if m.praise:
            parts.append(m.praise)
            continue
        exact = not m.bound.any() if m.got.dtype.kind == "f" else True
        how = "exactly" if exact else f"{m.ratio:.2g} of the bound"
        if m.vague:
            how += f"; the bound of {m.vague:,} of {m.bound.size:,} is larger than every number"
        if m.unjudged:
            how += f"; {m.unjudged:,} of {m.bound.size:,} have no bound and are not judged"
        parts.append(f"{HELD[m.who]} ({how})")
    return "; ".join(dict.fromkeys(parts))


@dataclass(frozen=True)
class Judged:
    """One subject and the verdicts on it; rerun: the arguments that ask it alone."""

    subject: Who
    verdicts: Sequence[Verdict]
    rerun: Sequence[str] = ()
