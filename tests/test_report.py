"""Does the report say what happened, and does the exit code follow from it?"""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from rnn_check import report
from rnn_check.comparison import Comparison
from rnn_check.judge import AGREE, DIFFER, ERROR, NOT_RUN, Verdict

SUBJECT = {
    "keras": "3.15.1",
    "backend": "tensorflow",
    "backend_version": "2.21.0",
    "mode": "eager",
    "python": "3.11.7",
    "numpy": "2.4.6",
    "device": "CPU",
    "dtype": "float32",
}
WRONG = Comparison(
    who="claim",
    what="output",
    got=np.array([[7.0, 3.5]]),
    expected=np.array([[7.0, 3.0]]),
    error=np.array([[0.0, 0.5]]),
    bound=np.array([[0.25, 0.25]]),
    axes=("sample", "unit"),
    coordinates=tuple(np.indices((1, 2))),
)


def verdict(kind: str, known: str = "", **changes: Any) -> Verdict:
    fields: dict[str, Any] = {
        "claim": "folder/claim",
        "file": "folder/claim.toml",
        "what": "output",
        "verdict": kind,
        "ratio": 2.0 if kind == DIFFER else None,
        "word": "printed",
        "document": "a document, 2.2",
        "detail": WRONG.blame() if kind == DIFFER else "why",
        "known": known,
        "comparisons": (WRONG,) if kind == DIFFER else (),
    }
    return Verdict(**fields | changes)


@pytest.mark.parametrize(
    ("verdicts", "code"),
    [
        ([AGREE], 0),
        ([AGREE, NOT_RUN], 0),
        ([AGREE, DIFFER], 1),
        ([AGREE, ERROR], 3),
        ([DIFFER, ERROR], 1),
        ([NOT_RUN], 3),
        ([], 3),
    ],
)
def test_exit_code(verdicts: list[str], code: int) -> None:
    assert report.exit_code([verdict(kind) for kind in verdicts]) == code


def test_known_differences_are_green_until_they_are_gone() -> None:
    assert report.exit_code([verdict(DIFFER, known="a digit is lost")]) == 0
    assert report.exit_code([verdict(AGREE, known="a digit is lost")]) == 1


def test_json_holds_no_infinity() -> None:
    text = report.as_json(SUBJECT, [verdict(DIFFER, ratio=None), verdict(AGREE, ratio=0.5)])
    document = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} in the JSON"))
    assert document["summary"] == {"agree": 1, "differ": 1, "error": 0, "not_run": 0, "known": 0}
    assert document["verdicts"][0]["source"] == "printed (a document, 2.2)"
    assert document["verdicts"][0]["ratio"] is None


def test_an_explanation_stands_alone() -> None:
    text = report.explanation(verdict(DIFFER), rerun=["my claims/", "--backend", "jax"])
    for part in (
        "folder/claim.toml",
        "printed (a document, 2.2)",
        "sample 0, unit 1: got 3.5, expected 3; off by 0.5 where 0.25 is allowed",
        "[[7.  3.5]]",
        "[[7. 3.]]",
        "rnn-check 'my claims/' --backend jax -k folder/claim",
    ):
        assert part in text


def test_a_known_difference_that_agrees_now_is_explained() -> None:
    assert "agrees now; update the claim" in report.explanation(verdict(AGREE, known="a digit"))


def test_the_terminal_report_shows_everything() -> None:
    out = io.StringIO()
    verdicts = [verdict(AGREE), verdict(DIFFER), verdict(NOT_RUN, detail="[no] seed")]
    report.terminal(
        SUBJECT, verdicts, {"folder/claim": "A [bold]title"}, Console(file=out, width=120)
    )
    text = out.getvalue()
    assert text.startswith("keras 3.15.1 · tensorflow 2.21.0 · eager · Python 3.11.7 · NumPy 2.4.6")
    assert "A [bold]title" in text  # a claim's text is no markup
    assert "[no] seed" in text
    assert text.splitlines()[-1] == "1 agree · 1 differ · 0 error · 1 not_run"
