"""Is what the same words deserve derived once, and what other words deserve anew?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rnn_check.asking.request import Answer, Setting
from rnn_check.asking.run import Asked
from rnn_check.claims.claim import Claim
from rnn_check.verdicts import gathered
from rnn_check.verdicts.gathered import Verdicts
from rnn_check.verdicts.judge import Verdict
from rnn_check.verdicts.known import Known
from tests.support import puppet
from tests.support.bundled import load_all


@pytest.fixture
def claims(tmp_path: Path) -> list[Claim]:
    return list(load_all([puppet.claims(tmp_path / "claims", "a", "b")]))


@pytest.fixture
def derived(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Any, str]]:
    """What was judged: claim, words, dtype."""
    found: list[tuple[str, Any, str]] = []

    def judge(claim: Claim, answer: Answer, *, dtype: str) -> list[Verdict]:
        found.append((claim.name, answer.said.get("x"), dtype))
        return []

    monkeypatch.setattr(gathered, "judge", judge)
    return found


def asked(subject: int, claim: Claim, said: dict[str, Any], dtype: str = "float32") -> Asked:
    return Asked(subject, claim, Answer(said, said=said), Setting(dtype=dtype))


def test_what_subjects_say_in_the_same_words_is_judged_once(
    claims: list[Claim], derived: list[Any]
) -> None:
    verdicts = Verdicts(claims, Known([]))
    for subject in range(3):
        for claim in claims:
            verdicts.add(asked(subject, claim, {"x": [1, 2]}))
    assert derived == [("a", [1, 2], "float32"), ("b", [1, 2], "float32")]
    assert len(verdicts.of) == 6


def test_other_words_and_other_arithmetic_are_judged_by_themselves(
    claims: list[Claim], derived: list[Any]
) -> None:
    """Also where Python calls them equal: a flag is no count, and -0.0 has other bits than 0.0."""
    verdicts = Verdicts(claims, Known([]))
    words: list[Any] = [True, 1, 1.0, 0.0, -0.0, None, float("nan")]
    for subject, word in enumerate(words):
        verdicts.add(asked(subject, claims[0], {"x": word}))
    verdicts.add(asked(0, claims[0], {"x": True}, "float64"))
    assert [repr(x) for _, x, _ in derived] == [*map(repr, words), "True"]
    assert derived[-1][2] == "float64"


def test_what_was_not_said_is_not_taken_for_the_same(
    claims: list[Claim], derived: list[Any]
) -> None:
    verdicts = Verdicts(claims, Known([]))
    for subject, error in enumerate(("it crashed", "it hung")):
        verdicts.add(Asked(subject, claims[0], Answer(error=error), Setting()))
    assert len(derived) == 2
