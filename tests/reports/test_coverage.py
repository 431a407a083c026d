"""Does the table say what was judged, and is a cell empty only if nobody covers it?"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from rnn_check.cli.commands import main
from rnn_check.reports import coverage
from rnn_check.subjects.identity import Who, not_started
from rnn_check.verdicts.judge import AGREE, DIFFER, ERROR, NOT_RUN, Judged, Verdict
from tests.support import bundled, puppet


@dataclasses.dataclass(frozen=True)
class Covering:
    """As much of a claim as the table reads."""

    name: str
    covers: tuple[str, ...]


CLAIMS: Any = [
    Covering("a", ("unroll", "mask")),
    Covering("b", ("mask", "go|backwards")),
    Covering("c", ("stateful",)),
]


def verdict(name: str, kind: str, **changes: Any) -> Verdict:
    verdict = Verdict(name, "file", "output", kind, None, "word", "document", "why")
    return dataclasses.replace(verdict, **changes)


def judged(backend: str, *verdicts: Verdict, **how: str) -> Judged:
    identity: dict[str, Any] = {
        "keras": "3.15.1",
        "backend_version": "1",
        "python": "3.11",
        "numpy": "2",
    }
    subject = {**identity, "device": "CPU", "mode": "eager", "backend": backend, **how}
    return Judged(Who(**subject), verdicts)


def rows(*subjects: Judged) -> dict[str, list[str]]:
    """The cells of each option."""
    found = {}
    for line in coverage.table(CLAIMS, subjects).splitlines():
        if line.startswith("| "):
            cells = line[1:-1].replace("\\|", "¦").split("|")
            first, *rest = (cell.strip() for cell in cells)
            found[first] = rest
    return found


@pytest.mark.parametrize(
    ("verdicts", "cell"),
    [
        ([verdict("a", AGREE), verdict("a", AGREE)], "✓ 2"),
        ([verdict("a", DIFFER)], "**differ** 1"),
        ([verdict("a", ERROR)], "**error** 1"),
        ([verdict("a", DIFFER, deviation="why"), verdict("a", AGREE)], "✓ 1, differ (known) 1"),
        ([verdict("a", ERROR, deviation="why")], "error (known) 1"),
        ([verdict("a", AGREE, deviation="why")], "**differ** 1"),
        ([verdict("a", NOT_RUN, unsupported=True)], "not supported 1"),
        ([verdict("a", NOT_RUN)], "not run 1"),
        ([verdict("b", AGREE)], ""),
        ([], ""),
    ],
)
def test_a_cell_counts_verdicts(verdicts: list[Verdict], cell: str) -> None:
    assert rows(judged("jax", *verdicts))["unroll"] == [cell]


def test_options_come_in_the_order_of_the_claims_and_subjects_across() -> None:
    table = rows(
        judged("jax", verdict("a", AGREE), verdict("b", AGREE), verdict("c", ERROR)),
        judged("torch", verdict("b", DIFFER, deviation="it | is <so>"), dtype="float64"),
    )
    assert table == {
        "option": ["jax eager", "torch eager float64"],
        "---": ["---", "---"],
        "unroll": ["✓ 1", ""],
        "mask": ["✓ 2", "differ (known) 1"],
        "go¦backwards": ["✓ 1", "differ (known) 1"],
        "stateful": ["**error** 1", ""],
    }


def test_known_deviations_are_listed_with_their_reasons() -> None:
    known = verdict("b", DIFFER, deviation="it is <so>\n(link)")
    text = coverage.table(CLAIMS, [judged("torch", known), judged("jax", verdict("a", AGREE))])
    assert "- it is &lt;so> (link)\n    - torch eager: `b` output\n" in text
    assert "Known deviations" not in coverage.table(CLAIMS, [judged("jax", verdict("a", AGREE))])


def test_a_subject_that_did_not_start_has_a_column() -> None:
    absent = Judged(not_started("torch").asked(), [verdict("a", ERROR)])
    assert rows(absent)["unroll"] == ["**error** 1"]


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    puppet.play(monkeypatch)
    folder, record = puppet.claims(tmp_path / "claims", "a"), tmp_path / "record.npz"
    run = CliRunner().invoke
    run(main, ["observe", str(folder), "--backend", "jax", "-o", str(record)])
    page = tmp_path / "coverage.md"
    printed = run(main, ["coverage", str(record), str(folder)])
    assert printed.exit_code == 0, printed.output
    written = run(main, ["coverage", str(record), str(folder), "-o", str(page)])
    assert written.exit_code == 0
    assert page.read_text() == printed.stdout
    assert "Keras 3.15.1 on jax 1.2.3" in printed.stdout
    bad = run(main, ["coverage", str(record), "-o", str(tmp_path / "absent" / "page.md")])
    assert bad.exit_code == 2


def test_claims_that_cover_nothing_are_no_fault() -> None:
    assert coverage.table(list(bundled.everywhere())[:1], [judged("jax")])
