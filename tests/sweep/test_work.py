"""Does a worker stay as it is, however long it is asked?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from rnn_check.asking.request import Setting
from rnn_check.asking.run import Target
from rnn_check.claims.claim import Claim
from rnn_check.sweep import findings, work
from rnn_check.sweep.space import BATCH, Case, Space
from rnn_check.sweep.work import Sought
from rnn_check.verdicts.judge import AGREE, DIFFER, Verdict

NUMPY = Sought("numpy eager float32", Target.named("numpy", Setting()), Setting())


@pytest.mark.parametrize(
    ("detail", "says"),
    [
        ("", ""),
        ("states differ\nmore", "states differ"),
        (
            "run: ValueError: Exception encountered when calling GRU.call().\n\n"
            "\x1b[1mshapes do not fit\x1b[0m\n\nArguments received by GRU.call():",
            "shapes do not fit",
        ),
        ("run: Exception encountered when calling GRU.call().",) * 2,
    ],
)
def test_what_was_raised_is_told_and_not_where(detail: str, says: str) -> None:
    assert work.why(detail) == says


def test_a_process_makes_so_many_models_and_then_another_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[FakeRun] = []

    class FakeRun:
        def __init__(self, targets: list[Target], **how: Any) -> None:
            self.stopped = False
            made.append(self)

        def stop(self) -> None:
            self.stopped = True

    def asked(case: Case, space: Space, of: Sought) -> str:
        work._run(of)
        return AGREE

    monkeypatch.setattr(work, "Run", FakeRun)
    monkeypatch.setattr(work, "_FAMILIES", Counter())
    monkeypatch.setattr(work, "_outcome", asked)
    monkeypatch.setattr(work, "MOST_FAMILIES", 3)
    try:
        for family in range(7):
            found = work.outcomes([Case(1, family)], Space(), NUMPY)
            assert found == [AGREE]  # type: ignore[list-item]
    finally:
        work.close()
    assert len(made) == 3 and all(run.stopped for run in made)


SPACE = Space.within(["do=certified"])
CASES = [Case(1, index) for index in range(2 * BATCH)]


def judged(monkeypatch: pytest.MonkeyPatch, differs: Callable[[Claim], bool]) -> list[int]:
    """Claims that are asked get verdicts that this gives; of how many samples each was."""
    asked: list[int] = []

    def verdicts_of(claim: Claim, of: Sought) -> list[Verdict]:
        assert claim.x is not None
        asked.append(len(claim.x.value))
        kind = DIFFER if differs(claim) else AGREE
        return [Verdict("c", "f", "certified", kind, None, "", "", "states differ")]

    monkeypatch.setattr(work, "verdicts_of", verdicts_of)
    monkeypatch.setattr(work, "_packages", lambda of: "keras")
    return asked


def samples(case: Case) -> Any:
    return case.document(SPACE)["input"]["x"]


def test_what_agrees_together_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = judged(monkeypatch, lambda claim: False)
    found = work.outcomes(CASES, SPACE, NUMPY)
    assert asked == [BATCH * len(samples(CASES[0]))] * 2
    assert [(each.index, each.verdict) for each in found] == [(c.index, AGREE) for c in CASES]


def test_a_batch_that_does_not_agree_is_asked_case_by_case(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wrong = samples(CASES[3])[0]

    def differs(claim: Claim) -> bool:
        assert claim.x is not None
        return any(np.array_equal(sample, wrong) for sample in claim.x.value)

    asked = judged(monkeypatch, differs)
    found = work.outcomes(CASES, SPACE, NUMPY)
    assert len(asked) == 2 + BATCH
    assert [each.index for each in found if each.verdict == DIFFER] == [3]


def test_what_is_wrong_of_samples_side_by_side_alone_is_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    many = len(samples(CASES[0]))

    def differs(claim: Claim) -> bool:
        assert claim.x is not None
        return len(claim.x.value) > many

    judged(monkeypatch, differs)
    found = work.outcomes(CASES[:BATCH], SPACE, NUMPY)
    assert [each.index for each in found if each.verdict == DIFFER] == [0]
    (group,) = findings.groups(found).values()
    least = findings.finding(group, SPACE, NUMPY).document
    assert len(least["input"]["x"]) == many + 1
