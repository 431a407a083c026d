"""Does a worker stay as it is, however long it is asked?"""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from rnn_check.asking.request import Setting
from rnn_check.asking.run import Target
from rnn_check.sweep import work
from rnn_check.sweep.space import Case, Space
from rnn_check.sweep.work import Sought
from rnn_check.verdicts.judge import AGREE

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
