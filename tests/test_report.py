"""Does the report say what happened, and does the exit code follow from it?"""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from rnn_check import report, terminal
from rnn_check.claim import load_all
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
        "sample 0, unit 1: claimed 3.5, true 3; off by 0.5 where 0.25 is allowed",
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


# -- several subjects ------------------------------------------------------------------------------


def subject(backend: str, **how: Any) -> dict[str, Any]:
    machine = {"cpu": "A CPU", "threads": 2, "settings": {}}
    return {**SUBJECT, **machine, "backend": backend, **how}


def several(*judged: report.Judged, width: int = 120) -> str:
    out = io.StringIO()
    report.terminal_of_several(judged, Console(file=out, width=width))
    return out.getvalue()


def test_several_subjects_stand_side_by_side() -> None:
    text = several(
        report.Judged(subject("jax"), [verdict(AGREE, ratio=0.2), verdict(NOT_RUN, what="b")]),
        report.Judged(subject("torch"), [verdict(DIFFER, ratio=2), verdict(ERROR, what="b")]),
        report.Judged(subject("numpy", mode="xla"), [verdict(DIFFER, deviation="it is so")]),
    )
    lines = text.splitlines()
    assert lines[0].startswith("1  keras 3.15.1 · jax 2.21.0 · eager · Python")
    assert lines[2].startswith("3  keras 3.15.1 · numpy 2.21.0 · xla")
    assert "all on A CPU · 2 threads" in lines[3]
    rows = {line.split("  ")[1].strip(): line.split()[1:] for line in lines if line[:3] == "  o"}
    assert rows["output"] == ["✓", "0.20", "✗", "2.00", "(✗", "2.00)"]
    assert "  b                        " in text
    assert "differ  folder/claim · output  [2]" in text
    assert "differ (known)  folder/claim · output  [3]" in text
    assert "known: it is so" in text
    assert "error  folder/claim · b  [2]" in text
    assert "not_run  [1]  why: folder/claim b" in text
    assert lines[-1].startswith("3  numpy xla")
    assert lines[-1].endswith("0 agree · 1 differ (1 known) · 0 error · 0 not_run")


def test_what_several_show_alike_is_explained_once() -> None:
    other = WRONG.blame().replace("3.5", "3.25")
    text = several(
        report.Judged(subject("jax"), [verdict(DIFFER)], ["--backend", "jax"]),
        report.Judged(subject("torch"), [verdict(DIFFER, detail=other)]),
        report.Judged(subject("numpy"), [verdict(DIFFER)]),
    )
    assert text.count("true      [[7. 3.]]") == 1
    assert "differ  folder/claim · output  [1, 2, 3]" in text
    assert f"  in 2      {other}" in text
    assert "in 3" not in text
    assert "rerun     rnn-check --backend jax -k folder/claim" in text


def test_one_reason_for_many_claims_is_said_once() -> None:
    known = [verdict(ERROR, claim=f"c{i}", deviation="no such mode") for i in range(20)]
    text = several(report.Judged(subject("jax"), known), report.Judged(subject("torch"), known))
    assert text.count("known: no such mode") == 1
    assert "also      c1 · output [1, 2], c2 · output [1, 2]" in text
    assert "and 11 more" in text
    out = io.StringIO()
    report.terminal(subject("jax"), known, {}, Console(file=out, width=120))
    assert out.getvalue().count("known: no such mode") == 1
    assert out.getvalue().splitlines()[-1] == (
        "0 agree · 0 differ · 20 error (20 known) · 0 not_run"
    )


@pytest.mark.parametrize("ratio", [0, 1e-9, 0.2, 9.996, 999.4, 999.6, 3e38, 1e300, None])
@pytest.mark.parametrize("kind", [AGREE, DIFFER, ERROR, NOT_RUN])
@pytest.mark.parametrize("known", ["", "why"])
def test_a_cell_is_narrow(ratio: float | None, kind: str, known: str) -> None:
    cell = report._cell(verdict(kind, ratio=ratio, deviation=known))
    assert 0 < len(cell.plain) <= report._CELL or (ratio == 1e300 and len(cell.plain) == 9)


def test_eight_subjects_fit_into_120_columns() -> None:
    what = "gradient of recurrent_kernel at row 3, column 4"
    judged = [
        report.Judged(subject("jax"), [verdict(DIFFER, ratio=3e38, deviation="why", what=what)])
        for _ in range(8)
    ]
    table = [line for line in several(*judged).splitlines() if "✗ 3e38" in line]
    assert [line.count("(✗ 3e38)") for line in table] == [8]
    assert all(len(line) <= 120 for line in table)


def test_what_changes_numbers_is_in_the_header() -> None:
    changed = subject("jax", settings={"XLA_FLAGS": "--fast"}, output_dtype="float16", threads=1)
    text = several(
        report.Judged(changed, [verdict(AGREE)]),
        report.Judged(subject("torch"), [verdict(AGREE)]),
    )
    lines = text.splitlines()
    assert lines[0].endswith("float32 (output: float16)")
    assert lines[1] == "   1 thread · XLA_FLAGS=--fast"
    assert lines[3] == "   2 threads"
    assert lines[4] == "   all on A CPU"
    out = io.StringIO()
    report.terminal(changed, [verdict(AGREE)], {}, Console(file=out, width=120))
    assert out.getvalue().splitlines()[1] == "A CPU · 1 thread · XLA_FLAGS=--fast"


def test_a_subject_that_did_not_start_is_named() -> None:
    absent = {"backend": "torch", "mode": "eager", "dtype": "float32"}
    text = several(
        report.Judged(absent, [verdict(ERROR)]), report.Judged(subject("jax"), [verdict(AGREE)])
    )
    assert text.startswith("1  torch · eager · did not start\n2  keras")


def test_the_json_of_several_says_whose_each_verdict_is() -> None:
    judged = [
        report.Judged(subject("jax"), [verdict(AGREE)]),
        report.Judged(subject("torch"), [verdict(DIFFER, deviation="it is so"), verdict(ERROR)]),
    ]
    document = json.loads(report.as_json_of_several(judged))
    assert document.keys() == {"schema", "subjects", "verdicts", "summary"}
    assert [s["backend"] for s in document["subjects"]] == ["jax", "torch"]
    assert [row["subject"] for row in document["verdicts"]] == [0, 1, 1]
    assert [row["known"] for row in document["verdicts"]] == [None, "it is so", None]
    assert [s["known"] for s in document["summary"]] == [0, 1]


@pytest.mark.parametrize(
    ("verdicts", "code"),
    [
        ([verdict(ERROR, deviation="why")], 0),
        ([verdict(ERROR, deviation="why"), verdict(ERROR)], 3),
        ([verdict(DIFFER, deviation="why"), verdict(ERROR)], 3),
        ([verdict(AGREE, deviation="why"), verdict(ERROR)], 1),
        ([verdict(NOT_RUN, deviation="why")], 3),
    ],
)
def test_exit_code_of_what_is_known(verdicts: list[Verdict], code: int) -> None:
    assert report.exit_code(verdicts) == code


# -- narrow terminals ------------------------------------------------------------------------------

NAMES = ("gradient of recurrent_kernel at row 3", "weights_read_back", "parameters of simple_rnn")


def without_space(text: str) -> str:
    return "".join(text.split())


def narrow(width: int, *verdicts: Verdict) -> str:
    out = io.StringIO()
    report.terminal(SUBJECT, verdicts, {}, terminal.console(out, width))
    return out.getvalue()


@pytest.mark.parametrize("width", [40, 60, 80, 100, 160])
def test_what_is_judged_is_named_whole_at_any_width(width: int) -> None:
    rows = [verdict(AGREE, what=name, ratio=0.5, bits=23.9) for name in NAMES]
    text = narrow(width, *rows)
    assert "…" not in text
    lines = text.splitlines()
    (heads,) = [i for i, line in enumerate(lines) if "verdict" in line and "error/bound" in line]
    end = lines[heads].index("on whose word" if width >= 100 else "verdict")
    names = without_space("".join(line[:end] for line in lines[heads:]))
    for name in NAMES:
        assert without_space(name) in names


def test_on_whose_word_is_what_a_narrow_terminal_does_without() -> None:
    row = verdict(AGREE, ratio=0.5, word="the word of somebody")
    assert "the word of somebody" in narrow(120, row)
    assert "the word of somebody" not in narrow(80, row)
    assert "[a document, 2.2]" in narrow(80, row)


@pytest.mark.parametrize("width", [60, 120])
def test_headings_stand_over_the_columns_and_say_what_they_are(width: int) -> None:
    text = narrow(width, verdict(AGREE, ratio=0.25, bits=23.9), verdict(DIFFER, claim="other"))
    (heads,) = [line for line in text.splitlines() if line.rstrip().endswith(" bits")
                and "verdict" in line]  # fmt: skip
    (row,) = [line for line in text.splitlines() if line.rstrip().endswith("23.9 bits")]
    assert heads.index("verdict") == row.index("agree")
    assert heads.index("error/bound") + len("error/bound") == row.index("0.25") + len("0.25")
    assert "a share of what is allowed" in without_newlines(text)


def without_newlines(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.parametrize("width", [60, 80])
@pytest.mark.parametrize("subjects", [1, 3, 7, 12])
def test_several_subjects_are_whole_on_a_narrow_terminal(width: int, subjects: int) -> None:
    judged = [
        report.Judged(subject("jax"), [verdict(DIFFER, ratio=3e38, deviation="why", what=name)
                                       for name in NAMES])
        for _ in range(subjects)
    ]  # fmt: skip
    out = io.StringIO()
    report.terminal_of_several(judged, terminal.console(out, width))
    text = out.getvalue()
    assert "…" not in text
    assert text.count("(✗ 3e38)") == subjects * len(NAMES)
    for number in range(1, subjects + 1):
        assert any(str(number) in line.split()[1:] for line in text.splitlines()
                   if line.startswith("folder/claim"))  # fmt: skip


def test_the_list_of_claims_is_whole_on_a_narrow_terminal() -> None:
    claims = list(load_all())
    out = io.StringIO()
    report.listing(claims, terminal.console(out, 60))
    assert "…" not in out.getvalue()
    assert all(len(line) <= 60 for line in out.getvalue().splitlines())
