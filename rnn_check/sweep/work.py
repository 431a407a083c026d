"""What does one worker do: which cases does it ask of whom, and what came of each?

A worker is a process that keeps the subjects that it asked warm. What it cannot do for a subject
(it does not start, it is gone) is the outcome of that case, and the next is asked of a fresh one.
"""

from __future__ import annotations

import atexit
import functools
import itertools
import re
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from rnn_check.asking.request import Setting
from rnn_check.asking.run import Run, Target
from rnn_check.claims.claim import Claim
from rnn_check.sweep.space import Case, Space, read, together
from rnn_check.verdicts import deviations
from rnn_check.verdicts.judge import AGREE, DIFFER, ERROR, NOT_RUN, Verdict, judge
from rnn_check.verdicts.known import Known

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
MOST_FAMILIES = 200  # that one process is asked: frameworks keep something of every model


@dataclass(frozen=True)
class Sought:
    """A subject of a sweep: a target and how it is asked. name: as it was typed, and how."""

    name: str
    target: Target
    setting: Setting
    timeout: float = 300.0
    most_memory: int | None = None


@dataclass(frozen=True)
class Outcome:
    """What came of one case on one subject; of its expectations the gravest decides.

    subject: its name; packages: who that was. known: why it was to be expected; "" if it was not.
    place: what differs first, "states of a". ratio, bits: the worst of all that was compared, of
    the cases asked together. seconds: what drawing, asking and judging took, shared by these.
    """

    seed: int
    index: int
    subject: str
    packages: str
    verdict: str
    what: str
    place: str
    detail: str
    known: str
    ratio: float | None
    bits: float | None
    seconds: float

    @property
    def is_found(self) -> bool:
        """Whether somebody has to look at it."""
        return self.verdict in (DIFFER, ERROR) and not self.known


def outcomes(cases: Sequence[Case], space: Space, of: Sought) -> list[Outcome]:
    """Each case, asked and judged."""
    found = [
        each
        for _, batch in itertools.groupby(cases, key=lambda case: case.batch)
        for each in _of_batch(list(batch), space, of)
    ]
    _FAMILIES[of] += 1
    if _FAMILIES[of] >= MOST_FAMILIES and of in _RUNS:
        _RUNS.pop(of).stop()
        _FAMILIES[of] = 0
    return found


def _of_batch(cases: list[Case], space: Space, of: Sought) -> list[Outcome]:
    """Of cases of the same weights, which are asked together, and each by itself unless all agree.

    What agrees in a batch was proved of each of its samples; ratio and bits are the batch's.
    """
    before = time.perf_counter()
    if (document := together(cases, space)) is None:
        return [_outcome(case, space, of) for case in cases]
    verdicts = verdicts_of(read(document, cases[0].name), of)
    taken = time.perf_counter() - before
    if all(v.verdict == AGREE for v in verdicts):
        return [_as_outcome(case, verdicts, of, taken / len(cases)) for case in cases]
    found = [_outcome(case, space, of) for case in cases]
    whole = _as_outcome(cases[0], verdicts, of, taken + found[0].seconds)
    if whole.is_found and all(each.verdict == AGREE for each in found):  # of samples side by side
        found[0] = whole
    return found


def _outcome(case: Case, space: Space, of: Sought) -> Outcome:
    before = time.perf_counter()
    verdicts = verdicts_of(case.claim(space), of)
    return _as_outcome(case, verdicts, of, time.perf_counter() - before)


def _as_outcome(case: Case, verdicts: list[Verdict], of: Sought, seconds: float) -> Outcome:
    decides = min(verdicts, key=_gravity)
    numbers = [v for v in verdicts if v.verdict != NOT_RUN]
    return Outcome(
        seed=case.seed,
        index=case.index,
        subject=of.name,
        packages=_packages(of),
        verdict=decides.verdict,
        what=decides.what,
        place=place(decides),
        detail=why(decides.detail),
        known=(decides.known or decides.deviation) if decides.is_known else "",
        ratio=max((v.ratio for v in numbers if v.ratio is not None), default=None),
        bits=min((v.bits for v in numbers if v.bits is not None), default=None),
        seconds=seconds,
    )


def verdicts_of(claim: Claim, of: Sought) -> list[Verdict]:
    """The verdicts on a claim, those that are known to differ marked."""
    run = _run(of)
    answer = run.answer(0, claim, of.setting)

    def again(claim: Claim, arithmetic: str) -> list[Verdict]:
        return judge(claim, answer, dtype=arithmetic)

    judged = judge(claim, answer, dtype=of.setting.dtype)
    if all(v.verdict in (AGREE, NOT_RUN) for v in judged):
        return judged  # nothing to excuse
    identity = run.subjects[0].identity
    return _known().mark([(claim, judged)], identity, of.setting, again)


def place(verdict: Verdict) -> str:
    """What is wrong, as far as it is the same in cases that differ in numbers only."""
    worst = verdict.worst
    if verdict.verdict == DIFFER and worst is not None and not worst.ok:
        return worst.what
    return why(verdict.detail) if verdict.verdict == ERROR else ""


def why(detail: str) -> str:
    """The first line of what was raised that says something: Keras begins with where it was."""
    lines = [_COLOUR.sub("", line).strip() for line in detail.splitlines()]
    told = [line for line in lines if line] or [""]
    return told[1] if told[0].endswith(".call().") and len(told) > 1 else told[0]


def _gravity(v: Verdict) -> int:
    order = [(ERROR, False), (DIFFER, False), (ERROR, True), (DIFFER, True)]
    if v.verdict in (DIFFER, ERROR):
        return order.index((v.verdict, v.is_known))
    return 4 if v.verdict == AGREE else 5


def _packages(of: Sought) -> str:
    who = _run(of).subjects[0].identity
    keras = [f"keras {who.keras}"] if who.is_keras and who.keras else []
    return " · ".join([*keras, f"{who.backend} {who.backend_version}"])


@functools.cache
def _known() -> Known:
    return Known(deviations.load(deviations.bundled()))


_RUNS: dict[Sought, Run] = {}
_FAMILIES: Counter[Sought] = Counter()


def _run(of: Sought) -> Run:
    """The process of this subject, which stays warm; it ends with the worker."""
    if of not in _RUNS:
        _RUNS[of] = Run([of.target], timeout=of.timeout, most_memory=of.most_memory)
    return _RUNS[of]


def close() -> None:
    """End the processes of this worker."""
    while _RUNS:
        _RUNS.popitem()[1].stop()


atexit.register(close)
