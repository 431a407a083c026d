"""Does the report say what happened, and does the exit code follow from it?"""

from __future__ import annotations

import dataclasses
import functools
import io
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rnn_check.certificates.comparison import Comparison, equal
from rnn_check.claims.claim import Claim
from rnn_check.claims.files import bundled
from rnn_check.reports import documents, listing, outcome, terminal
from rnn_check.reports import rows as reports_rows
from rnn_check.reports import verdicts as reports_verdicts
from rnn_check.reports.verdicts import Amount
from rnn_check.subjects.identity import Who, not_started
from rnn_check.verdicts import judge
from rnn_check.verdicts.judge import AGREE, DIFFER, ERROR, NOT_RUN, Verdict
from tests.support.bundled import everywhere
from tests.support.sampling import sampled, thinned

SAID: dict[str, Any] = {
    "keras": "3.15.1",
    "backend": "tensorflow",
    "backend_version": "2.21.0",
    "mode": "eager",
    "python": "3.11.7",
    "numpy": "2.4.6",
    "device": "CPU",
    "dtype": "float32",
}
SUBJECT = Who(**SAID)
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


def printed(
    *judged: judge.Judged,
    width: int = 120,
    amount: Amount = Amount.SHORT,
    titles: Mapping[str, str] | None = None,
    interrupted: bool = False,
) -> str:
    out = io.StringIO()
    console = terminal.console(out, width)
    reports_verdicts.terminal(judged, console, titles, amount, interrupted=interrupted)
    return out.getvalue()


def one(*verdicts: Verdict, width: int = 80, amount: Amount = Amount.SHORT) -> str:
    return printed(judge.Judged(SUBJECT, verdicts), width=width, amount=amount)


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
    assert outcome.exit_code([verdict(kind) for kind in verdicts]) == code


def test_known_differences_are_green_until_they_are_gone() -> None:
    assert outcome.exit_code([verdict(DIFFER, known="a digit is lost")]) == 0
    assert outcome.exit_code([verdict(AGREE, known="a digit is lost")]) == 1


def test_json_holds_no_infinity() -> None:
    verdicts = [verdict(DIFFER, ratio=None), verdict(AGREE, ratio=0.5)]
    text = documents.as_json([judge.Judged(SUBJECT, verdicts)])
    document = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} in the JSON"))
    assert document["summary"] == [{"agree": 1, "differ": 1, "error": 0, "not_run": 0, "known": 0}]
    assert document["verdicts"][0]["source"] == "printed (a document, 2.2)"
    assert document["verdicts"][0]["ratio"] is None


def test_an_explanation_stands_alone() -> None:
    judged = judge.Judged(SUBJECT, [verdict(DIFFER)], ["my claims/", "--backend", "jax"])
    text = printed(judged, amount=Amount.WRONG)
    for part in (
        "folder/claim.toml",
        "printed (a document, 2.2)",
        "sample 0, unit 1: claimed 3.5, true 3; off by 0.5 where 0.25 is allowed",
        "[[7.  3.5]]",
        "[[7. 3.]]",
        "rnn-check 'my claims/' --backend jax -k folder/claim",
    ):
        assert part in text


def test_the_causes_of_a_difference_are_named_or_that_there_is_none() -> None:
    causes = "bias is dropped", "kernel[0][1] is 2 in place of 3"
    found = verdict(DIFFER, causes=causes)
    text = printed(judge.Judged(SUBJECT, [found]), amount=Amount.WRONG)
    assert "  cause     agrees if bias is dropped\n            agrees if kernel[0][1] is 2" in text
    document = json.loads(documents.as_json([judge.Judged(SUBJECT, [found])]))
    assert document["verdicts"][0]["causes"] == [*causes]
    text = printed(judge.Judged(SUBJECT, [verdict(DIFFER, no_cause="none is known")]))
    assert "  cause     none is known\n" in text
    assert "cause" not in printed(judge.Judged(SUBJECT, [verdict(DIFFER)]))


def test_a_known_difference_that_agrees_now_is_explained() -> None:
    text = one(verdict(AGREE, known="a digit"), amount=Amount.WRONG)
    assert "agrees now; update the claim" in text


def test_the_terminal_report_shows_everything() -> None:
    verdicts = [verdict(AGREE), verdict(DIFFER), verdict(NOT_RUN, detail="[no] seed")]
    titles = {"folder/claim": "A [bold]title"}
    text = printed(judge.Judged(SUBJECT, verdicts), titles=titles, amount=Amount.ALL)
    assert text.startswith("keras 3.15.1 · tensorflow 2.21.0 · eager · Python 3.11.7 · NumPy 2.4.6")
    assert "A [bold]title" in text  # a claim's text is no markup
    assert "[no] seed" in text
    assert text.splitlines()[-1] == "1 agree · 1 differ · 0 error · 1 not_run"


# -- several subjects ------------------------------------------------------------------------------


def subject(backend: str, **how: Any) -> Who:
    machine = {"cpu": "A CPU", "threads": 2, "settings": {}}
    return Who(**(SAID | machine | {"backend": backend} | how))


def several(*judged: judge.Judged, width: int = 120) -> str:
    return printed(*judged, width=width, amount=Amount.ALL)


def test_several_subjects_stand_side_by_side() -> None:
    text = several(
        judge.Judged(subject("jax"), [verdict(AGREE, ratio=0.2), verdict(NOT_RUN, what="b")]),
        judge.Judged(subject("torch"), [verdict(DIFFER, ratio=2), verdict(ERROR, what="b")]),
        judge.Judged(subject("numpy", mode="xla"), [verdict(DIFFER, deviation="it is so")]),
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
    assert "not_run:\n  1  [1] why\n     folder/claim · b" in text
    assert lines[-1].startswith("3  numpy xla")
    assert lines[-1].endswith("0 agree · 1 differ (1 known) · 0 error · 0 not_run")


def test_what_several_show_alike_is_explained_once() -> None:
    other = WRONG.blame().replace("3.5", "3.25")
    text = several(
        judge.Judged(subject("jax"), [verdict(DIFFER)], ["--backend", "jax"]),
        judge.Judged(subject("torch"), [verdict(DIFFER, detail=other)]),
        judge.Judged(subject("numpy"), [verdict(DIFFER)]),
    )
    assert text.count("true      [[7. 3.]]") == 1
    assert "differ  folder/claim · output  [1, 2, 3]" in text
    assert f"  in 2      {other}" in text
    assert "in 3" not in text
    assert "rerun     rnn-check --backend jax -k folder/claim" in text


def test_one_reason_for_many_claims_is_said_once() -> None:
    known = [verdict(ERROR, claim=f"c{i}", deviation="no such mode") for i in range(20)]
    text = several(judge.Judged(subject("jax"), known), judge.Judged(subject("torch"), known))
    assert text.count("known: no such mode") == 1
    assert "also      c1 · output [1, 2], c2 · output [1, 2]" in text
    assert "and 11 more" in text
    text = printed(judge.Judged(subject("jax"), known), amount=Amount.ALL)
    assert text.count("known: no such mode") == 1
    assert text.splitlines()[-1] == "0 agree · 0 differ · 20 error (20 known) · 0 not_run"


@pytest.mark.parametrize("ratio", [0, 1e-9, 0.2, 9.996, 999.4, 999.6, 3e38, 1e300, None])
@pytest.mark.parametrize("kind", [AGREE, DIFFER, ERROR, NOT_RUN])
@pytest.mark.parametrize("known", ["", "why"])
def test_a_cell_is_narrow(ratio: float | None, kind: str, known: str) -> None:
    cell = reports_rows._cell(verdict(kind, ratio=ratio, deviation=known))
    assert 0 < len(cell.plain) <= reports_rows._CELL or (ratio == 1e300 and len(cell.plain) == 9)


def test_eight_subjects_fit_into_120_columns() -> None:
    what = "gradient of recurrent_kernel at row 3, column 4"
    judged = [
        judge.Judged(subject("jax"), [verdict(DIFFER, ratio=3e38, deviation="why", what=what)])
        for _ in range(8)
    ]
    table = [line for line in several(*judged).splitlines() if "✗ 3e38" in line]
    assert [line.count("(✗ 3e38)") for line in table] == [8]
    assert all(len(line) <= 120 for line in table)


def test_what_changes_numbers_is_in_the_header() -> None:
    changed = subject("jax", settings={"XLA_FLAGS": "--fast"}, output_dtype="float16", threads=1)
    text = several(
        judge.Judged(changed, [verdict(AGREE)]),
        judge.Judged(subject("torch"), [verdict(AGREE)]),
    )
    lines = text.splitlines()
    assert lines[0].endswith("float32 (output: float16)")
    assert lines[1] == "   1 thread · XLA_FLAGS=--fast"
    assert lines[3] == "   2 threads"
    assert lines[4] == "   all on A CPU"
    text = printed(judge.Judged(changed, [verdict(AGREE)]), width=200)
    assert text.splitlines()[0].endswith(" · A CPU · 1 thread · XLA_FLAGS=--fast")


def test_a_subject_that_did_not_start_is_named() -> None:
    absent = not_started("torch").asked()
    text = several(
        judge.Judged(absent, [verdict(ERROR)]), judge.Judged(subject("jax"), [verdict(AGREE)])
    )
    assert text.startswith("1  torch · eager · did not start\n2  keras")


def test_the_json_of_several_says_whose_each_verdict_is() -> None:
    judged = [
        judge.Judged(subject("jax"), [verdict(AGREE)]),
        judge.Judged(subject("torch"), [verdict(DIFFER, deviation="it is so"), verdict(ERROR)]),
    ]
    document = json.loads(documents.as_json(judged))
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
    assert outcome.exit_code(verdicts) == code


# -- narrow terminals ------------------------------------------------------------------------------

NAMES = ("gradient of recurrent_kernel at row 3", "weights_read_back", "parameters of simple_rnn")


def without_space(text: str) -> str:
    return "".join(text.split())


def narrow(width: int, *verdicts: Verdict) -> str:
    return one(*verdicts, width=width, amount=Amount.ALL)


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
        judge.Judged(subject("jax"), [verdict(DIFFER, ratio=3e38, deviation="why", what=name)
                                       for name in NAMES])
        for _ in range(subjects)
    ]  # fmt: skip
    # one alone has a table of its own
    text = several(*judged, *judged[: subjects == 1], width=width)
    subjects = max(2, subjects)
    assert "…" not in text
    assert text.count("(✗ 3e38)") == subjects * len(NAMES)
    for number in range(1, subjects + 1):
        assert any(str(number) in line.split()[1:] for line in text.splitlines()
                   if line.startswith("folder/claim"))  # fmt: skip


def test_the_list_of_claims_is_whole_on_a_narrow_terminal() -> None:
    claims = list(everywhere())
    out = io.StringIO()
    listing.listing(claims, terminal.console(out, 60))
    assert "…" not in out.getvalue()
    assert all(len(line) <= 60 for line in out.getvalue().splitlines())


# -- what is read first ----------------------------------------------------------------------------

OTHER = {"claim": "folder/other"}


@pytest.mark.parametrize(
    ("verdicts", "words"),
    [
        ([verdict(AGREE)], "Everything agrees."),
        ([verdict(AGREE), verdict(NOT_RUN)], "Everything agrees."),
        ([verdict(NOT_RUN)], "Nothing was compared."),
        ([], "Nothing was compared."),
        (
            [verdict(AGREE), verdict(DIFFER, deviation="so")],
            "Everything agrees, but for 1 difference that is known.",
        ),
        (
            [verdict(DIFFER, deviation="so"), verdict(ERROR, deviation="so", **OTHER)],
            "Everything agrees, but for 1 difference and 1 error that are known.",
        ),
        ([verdict(DIFFER)], "1 number differs that was not known to."),
        (
            [verdict(DIFFER), verdict(DIFFER, **OTHER), verdict(AGREE)],
            "2 numbers differ that were not known to.",
        ),
        (
            [verdict(DIFFER, comparisons=(equal("subject", "raises", "none", "ValueError"),))],
            "1 thing differs that was not known to.",
        ),
        ([verdict(ERROR)], "1 thing could not be judged for an error."),
        (
            [verdict(AGREE, deviation="so"), verdict(AGREE, **OTHER)],
            "1 thing known to be wrong agrees now.",
        ),
        (
            [
                verdict(DIFFER),
                verdict(ERROR, **OTHER),
                verdict(AGREE, what="a", known="so"),
                verdict(DIFFER, what="b", deviation="so"),
            ],
            "1 number differs that was not known to, 1 thing could not be judged for an error and "
            "1 thing known to be wrong agrees now, beside 1 difference that is known.",
        ),
    ],
)
def test_a_sentence_answers(verdicts: list[Verdict], words: str) -> None:
    assert outcome.sentence([judge.Judged(SUBJECT, verdicts)]) == words
    assert outcome.sentence([judge.Judged(SUBJECT, verdicts)] * 3) == words  # of one number each
    text = printed(judge.Judged(SUBJECT, verdicts), width=200)
    assert text.splitlines()[2] == words


def test_a_sentence_about_a_part_says_so() -> None:
    judged = [judge.Judged(SUBJECT, [verdict(AGREE)])]
    assert outcome.sentence(judged, interrupted=True) == "What was judged agrees so far."
    judged = [judge.Judged(SUBJECT, [verdict(DIFFER)])]
    assert outcome.sentence(judged, True) == "1 number differs that was not known to so far."


def table(text: str) -> dict[str, list[str]]:
    """The cells of each line of the table of folders."""
    lines = text.splitlines()
    (head,) = [i for i, line in enumerate(lines) if line.startswith("claims ")]
    rows = [re.split("  +", line.strip()) for line in lines[head : lines.index("", head)]]
    return {name: cells for name, *cells in rows}


def ours(folder: str, kind: str, **changes: Any) -> Verdict:
    file = str(bundled() / folder / "a.toml")
    return verdict(kind, claim=f"{folder}/a", file=file, **changes)


def test_a_folder_is_a_line() -> None:
    text = one(
        ours("article", AGREE, ratio=0.25, bits=23.0),
        ours("article", AGREE, ratio=0.5, bits=24.0),
        ours("article", DIFFER, ratio=9e9, bits=2.0, known="so"),
        ours("derived", DIFFER, what="b"),
        ours("derived", DIFFER, known="so"),
        ours("derived", ERROR, what="c"),
        ours("derived", NOT_RUN, what="d"),
        ours("options", DIFFER, ratio=None),
        ours("options", AGREE, ratio=None, known="gone"),
        ours("options", ERROR, deviation="so"),
    )
    assert table(text) == {
        "claims": ["agree", "differ", "error", "not_run", "error/bound", "bits"],
        "article": ["2", "1 known", "0", "0", "0.50", "23.0"],
        "derived": ["0", "1 + 1 known", "1", "1", "2.00"],
        "options": ["1 gone", "1", "1 known", "0", "∞"],
    }


def test_folders_of_several_stand_side_by_side() -> None:
    first = [ours("article", AGREE, ratio=0.25), ours("article", NOT_RUN), ours("derived", ERROR)]
    second = [ours("article", DIFFER), ours("article", DIFFER, deviation="so", what="b")]
    text = printed(judge.Judged(subject("jax"), first), judge.Judged(subject("torch"), second))
    assert table(text) == {
        "claims": ["1", "2"],
        "article": ["✓1 ≤0.25 –1", "✗1 (✗1)"],
        "derived": ["!1"],
    }
    assert "known (-v explains them):\n  article/a · b [2]: so\n" in text
    assert "not_run:\n  1  [1] why: article/a · output\n" in text


def test_claims_of_ones_own_are_named_by_their_folder_or_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    files = [tmp_path / "mine" / "a.toml", tmp_path / "mine" / "b.toml", tmp_path / "c.toml"]
    text = one(*(verdict(AGREE, claim=file.stem, file=str(file)) for file in files))
    assert list(table(text)) == ["claims", "mine", "c.toml"]
    (tmp_path / "mine").mkdir()
    monkeypatch.chdir(tmp_path / "mine")
    for many, names in ((2, ["0.toml", "1.toml"]), (20, ["mine/"])):
        here = [str(tmp_path / "mine" / f"{i}.toml") for i in range(many)]
        text = one(*(verdict(AGREE, claim=file, file=file) for file in here))
        assert list(table(text)) == ["claims", *names]


def test_what_is_wrong_is_explained_and_what_is_known_is_a_line() -> None:
    text = one(
        verdict(DIFFER),
        verdict(DIFFER, what="loss", deviation="a reason " * 20),
        verdict(ERROR, what="mask", detail="ValueError: no"),
    )
    assert "differ  folder/claim · output\n  file      folder/claim.toml\n" in text
    assert "claimed   [[7.  3.5]]" in text
    assert "error  folder/claim · mask\n" in text
    (known,) = [line for line in text.splitlines() if "folder/claim · loss" in line]
    assert known.startswith("  folder/claim · loss: a reason a reason")
    assert len(known) == 80 and known.endswith("…")


def test_what_was_not_run_is_a_line_a_reason() -> None:
    rows = [verdict(NOT_RUN, claim=f"c{i}", detail="no seed\nat all " * 50) for i in range(20)]
    others = [verdict(NOT_RUN, detail=f"reason {i}") for i in range(8)]
    text = one(*rows, *others)
    lines = text.splitlines()
    start = lines.index("not_run:")
    assert lines[start + 1].startswith("  20  no seed\\nat all")
    assert lines[start + 2] == "   1  reason 0: folder/claim · output"
    assert lines[start + 7 : start + 9] == ["   3  for 3 other reasons, which -v shows", ""]
    assert max(map(len, lines)) <= 80
    everything = one(*rows, *others, amount=Amount.ALL)
    assert all(f"reason {i}" in everything for i in range(8))
    assert max(map(len, everything.splitlines())) <= 80


def test_quiet_is_what_is_wrong_and_the_count() -> None:
    known, skipped = verdict(DIFFER, what="loss", deviation="so"), verdict(NOT_RUN, what="mask")
    assert one(verdict(AGREE), known, skipped, amount=Amount.WRONG) == (
        "1 agree · 1 differ (1 known) · 0 error · 1 not_run\n"
    )
    lines = one(verdict(DIFFER), known, skipped, amount=Amount.WRONG).splitlines()
    assert lines[0] == "differ  folder/claim · output"
    assert lines[-1] == "0 agree · 2 differ (1 known) · 0 error · 1 not_run"
    assert not any("loss" in line or "mask" in line for line in lines)


def number(cell: str) -> int:
    return int(cell.split()[0].replace(",", ""))


@functools.cache
def bundled_verdicts() -> list[Verdict]:
    """As of a run over all the bundled claims, the options too, in which all is well."""

    def of(c: Claim) -> Verdict:
        return verdict(AGREE, claim=c.name, file=str(c.file), ratio=0.123, bits=22.2)

    rows = [dataclasses.replace(of(c), what=e.name) for c in everywhere() for e in c.expectations]
    for i in range(0, len(rows) - 1, 20):
        rows[i] = dataclasses.replace(rows[i], verdict=DIFFER, deviation=f"{i} is so " * 30)
        rows[i + 1] = dataclasses.replace(rows[i + 1], verdict=NOT_RUN, detail=f"{i} " * 90)
    return rows


@thinned(3)
@pytest.mark.parametrize("width", [60, 80, 120])
def test_all_is_well_in_forty_lines(width: int) -> None:
    rows = bundled_verdicts()
    text = one(*rows, width=width)
    lines = text.splitlines()
    assert len(lines) <= 40
    assert max(map(len, lines)) <= width
    assert list(table(text)) == ["claims", "article", "certified", "derived", "gates",
                                 "options", "published"]  # fmt: skip
    agree = sum(row.verdict == AGREE for row in rows)
    assert sum(number(cells[0]) for name, cells in table(text).items() if name != "claims") == agree
    assert lines[-1].startswith(f"{agree} agree")
    assert f"{sum(row.is_known for row in rows)} differences that are known" in text
    everything = one(*rows, width=width, amount=Amount.ALL)
    assert all(row.claim in everything for row in rows)


@pytest.mark.parametrize("width", [60, 80, 120])
@pytest.mark.parametrize("subjects", sampled([2, 5, 9], 3))
def test_folders_of_several_are_whole_at_any_width(width: int, subjects: int) -> None:
    rows = bundled_verdicts()
    text = printed(*[judge.Judged(subject("jax"), rows)] * subjects, width=width)
    (legend,) = [i for i, line in enumerate(text.splitlines()) if line.startswith("✓ agree")]
    head = text.splitlines()[legend : text.splitlines().index("known (-v explains them):")]
    assert sum(line.count("≤0.12") for line in head) == subjects * 6
    assert "…" not in "".join(head)
    assert max(map(len, head)) <= max(width, len(head[0]))


# -- JSON ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("subjects", [0, 1, 2])
def test_json_has_one_shape_whatever_the_number_of_subjects(subjects: int) -> None:
    judged = [judge.Judged(SUBJECT, [verdict(DIFFER), verdict(AGREE)])] * subjects
    document = json.loads(documents.as_json(judged))
    assert list(document) == ["schema", "subjects", "verdicts", "summary"]
    assert document["schema"] == 2
    assert document["subjects"] == [SUBJECT.told()] * subjects
    assert [row["subject"] for row in document["verdicts"]] == [
        i for i in range(subjects) for _ in "ab"
    ]
    keys = [
        "subject",
        "claim",
        "file",
        "what",
        "verdict",
        "ratio",
        "source",
        "detail",
        "bits",
        "known",
        "causes",
    ]
    assert all(list(row) == keys for row in document["verdicts"])
    counts = ["agree", "differ", "error", "not_run", "known"]
    assert [list(each) for each in document["summary"]] == [counts] * subjects
