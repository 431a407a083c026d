"""Does the table of a history say which features differ where, and nothing else?"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from rnn_check.reports import history as reports_history
from rnn_check.reports import history_page
from rnn_check.subjects.identity import known, not_started
from rnn_check.subjects.policy import NAMES
from rnn_check.upgrades import history
from rnn_check.upgrades.changes import Side
from rnn_check.verdicts import diagnosis
from rnn_check.verdicts.judge import AGREE, DIFFER, ERROR, NOT_RUN, Judged, Verdict
from tests.support import puppet
from tests.support.command import run as command

DAY = date(2026, 11, 28)
Said = Mapping[str, str]  # of each claim its verdict


def verdict(claim: str, kind: str) -> Verdict:
    return Verdict(claim, "f", "output", kind, None, "w", "d", f"{kind}: 0.5, not 0.25")


def side(keras: str, backend: str, said: Said | Sequence[Verdict], failure: str = "") -> Side:
    who = {
        **{"keras": keras, "backend": backend, "backend_version": "1.2.3", "cpu": "A CPU"},
        **{"python": "3.11.7", "numpy": "2.4.6", "device": "CPU", "dtype": "float32"},
    }
    verdicts = [verdict(*each) for each in said.items()] if isinstance(said, Mapping) else said
    asked = (not_started(backend) if failure else known(who)).asked()
    return Side(f"keras=={keras}@{backend}", Judged(asked, list(verdicts)), failure)


def table(found: history.History) -> dict[str, list[str]]:
    """The cells of the Markdown, by the first of each row."""
    lines = reports_history.markdown(found, DAY).splitlines()
    rows = [re.split(r" ?\| ?", line)[1:-1] for line in lines if line.startswith("|")]
    return {re.sub(r"[*\\]", "", first): cells for first, *cells in rows}


def test_a_cell_names_the_backends_on_which_a_feature_differs() -> None:
    found = history.of(
        {
            "": [
                side("3.0.5", "tensorflow", {"options/a": DIFFER, "options/b": AGREE}),
                side("3.0.5", "numpy", {"options/a": ERROR, "options/b": AGREE}),
                side("3.1.1", "tensorflow", {"options/a": AGREE, "options/b": AGREE}),
                side("3.1.1", "numpy", {"options/a": DIFFER, "options/b": AGREE}),
                side("3.2.1", "numpy", {"options/a": AGREE, "options/b": AGREE}),
            ]
        }
    )
    assert table(found) == {
        "": ["3.0.5", "3.1.1", "3.2.1"],
        "---": ["---"] * 3,
        "asked on": ["TN", "TN", "N"],
        "options/a": ["TN", "N", ""],
    }
    text = reports_history.markdown(found, DAY)
    assert text.startswith("1 of 2 features differ somewhere, in 2 claims asked of 5 subjects. ")
    assert "Asked on 28 November 2026, A CPU, Python 3.11.7." in text
    assert "T tensorflow, N numpy" in text
    assert "Nothing differs in 1 others: 1 of options." in text
    assert found.exit_code == 0


def test_a_way_is_told_where_it_alone_differs() -> None:
    base = [
        side("3.0.5", "jax", {"a/x": AGREE, "a/y": DIFFER}),
        side("3.0.5", "torch", {"a/x": AGREE, "a/y": DIFFER}),
    ]
    half = [side("3.0.5", "jax", {"a/x": DIFFER, "a/y": DIFFER}), side("3.0.5", "torch", {})]
    wide = [side("3.0.5", "jax", {"a/x": DIFFER}), side("3.0.5", "torch", {"a/x": ERROR})]
    found = history.of({"": base, "compiled": half, "float64": wide})
    assert table(found)["a/x"] == ["J¹²P²"]
    assert table(found)["a/y"] == ["JP"]
    assert "only asked so: ¹ compiled, ² float64" in reports_history.markdown(found, DAY)
    found = history.of({"": base, "compiled": base, "float64": wide})
    assert table(found)["a/x"] == ["J¹P¹"]
    assert "only asked so: ¹ float64" in reports_history.markdown(found, DAY)
    assert len({*reports_history.MARKS}) == len(reports_history.MARKS) >= 3 * len(NAMES) - 1


def test_what_nobody_can_be_asked_is_told_from_what_agrees() -> None:
    found = history.of(
        {
            "": [
                side("3.0.5", "jax", {"a/x": NOT_RUN, "a/z": NOT_RUN}),
                side("3.1.1", "jax", {"a/x": AGREE, "a/z": NOT_RUN}),
                side("3.2.1", "jax", {"a/x": DIFFER, "a/z": NOT_RUN}),
            ]
        }
    )
    assert table(found)["a/x"] == ["–", "", "J"]
    assert "1 could be asked of nobody: 1 of a." in reports_history.markdown(found, DAY)


def test_files_that_say_the_same_of_several_layers_are_one_feature() -> None:
    for claim in ("a/b", "a/b_lstm[kind=GRU, unroll=true]", "a/b_gru"):
        assert history.feature_of(claim) == "a/b"
    assert history.feature_of("a/gru[unroll=true]") == "a/*"


def test_features_of_a_folder_that_differ_alike_share_a_row_and_what_differs_last_is_first() -> (
    None
):
    wrong = {"a/old": (1, 0, 0), "b/new": (0, 0, 1), "a/early": (1, 0, 0), "b/old": (1, 0, 0)}
    sides = [
        side(f"3.{i}", "jax", {name: (AGREE, DIFFER)[at[i]] for name, at in wrong.items()})
        for i in range(3)
    ]
    assert [*table(history.of({"": sides}))][3:] == ["b/new", "a/old, early", "b/old"]


def test_a_number_of_the_claims_that_is_known_to_be_wrong_blames_nobody() -> None:
    of_claim = dataclasses.replace(verdict("a/x", DIFFER), known="a misprint")
    of_subject = dataclasses.replace(verdict("a/y", DIFFER), deviation="known of it")
    found = history.of({"": [side("3.0.5", "jax", [of_claim, of_subject])]})
    assert [*table(found)][3:] == ["a/y"]


def test_who_could_not_be_asked_is_said_and_has_no_column() -> None:
    broken = side("3.1.1", "jax", {}, failure="it broke\nfor lack of | memory")
    sides = [side("3.0.5", "jax", {"a/x": DIFFER}), broken]
    found = history.of({"": sides})
    assert table(found)[""] == ["3.0.5"]
    said = "keras==3.1.1@jax could not be asked: it broke for lack of | memory"
    assert said in history_page.html(found, DAY)
    assert found.exit_code == 3
    nobody = history.of({"": [broken]})
    assert table(nobody) == {}
    assert nobody.exit_code == 3


def test_two_of_one_version_have_a_column_each() -> None:
    sides = [side("3.0.5", "jax", {"a/x": kind}) for kind in (AGREE, DIFFER, AGREE)]
    sides = [dataclasses.replace(each, word=f"word {i}") for i, each in enumerate(sides)]
    cells = table(history.of({"": sides}))
    assert (cells[""], cells["a/x"]) == (["3.0.5", "3.0.5, jax 1.2.3", "word 2"], ["", "J", ""])


def test_the_page_says_what_differs_of_which_claims_where_and_what_is_known() -> None:
    deviation = dataclasses.replace(verdict("a/x", DIFFER), deviation="a <b>known</b> fault")
    sides = [
        side("3.0.5", "jax", [verdict("a/x", DIFFER)]),
        side("3.1.1", "jax", [verdict("a/x", DIFFER)]),
        side("3.2.1", "jax", [verdict("a/x", AGREE)]),
        side("3.3.3", "jax", [deviation]),
    ]
    page = history_page.html(history.of({"": sides}), DAY)
    assert "<dt>jax</dt> <dd>3.0.5 to 3.1.1</dd>" in page
    assert "<dt>jax</dt> <dd>3.3.3</dd>" in page
    assert "Known: a &lt;b&gt;known&lt;/b&gt; fault" in page
    assert "differ: 0.5, not 0.25" in page
    assert '<a href="#feature-1">' in page
    assert 'id="feature-1"' in page


def test_columns_side_by_side_are_told_as_a_span() -> None:
    columns = ["1", "2", "3", "4", "5"]
    assert history.spans(columns, ["5", "1", "2", "3"]) == "1 to 3, 5"
    assert history.spans(columns, []) == ""


# -- the command -----------------------------------------------------------------------------------


@pytest.fixture
def records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """What puppets of three versions said to two claims; the second is wrong in the first two."""
    found = []
    claims = puppet.claims(tmp_path / "claims", "a", "b")
    for version, fates in (("3.0.5", ["jax", "torch"]), ("3.1.1", ["torch"]), ("3.2.1", [])):
        monkeypatch.setenv("PUPPET_KERAS", version)
        wrong: dict[str, Any] = {backend: {"b": "wrong"} for backend in fates}
        puppet.play(monkeypatch, **wrong)
        found.append(tmp_path / f"{version}.npz")
        of = ("--backend", "jax", "--backend", "torch", "--mode", "eager")
        done = command("observe", claims, *of, "-o", found[-1])
        assert done.exit_code == 0, done.output
    monkeypatch.setattr("platformdirs.user_cache_path", lambda *_, **__: tmp_path)
    return found


def ask(*words: object, claims: Path) -> Result:
    return command("history", *words, "--claims", claims)


def test_records_of_three_versions_are_tabulated(records: list[Path], tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    result = ask(*records, "--html", page, claims=tmp_path / "claims")
    assert result.exit_code == 0, result.output
    assert "|  | 3.0.5 | 3.1.1 | 3.2.1 |" in result.stdout
    assert "| *asked on* | JP | JP | JP |" in result.stdout
    assert "| b | JP | P |  |" in result.stdout
    assert "<dt>torch</dt> <dd>3.0.5 to 3.1.1</dd>" in page.read_text(encoding="utf-8")
    written = tmp_path / "table.md"
    assert ask(*records, "-o", written, claims=tmp_path / "claims").stdout == ""
    assert written.read_text(encoding="utf-8") == result.stdout


def test_bad_input_of_a_history_is_one_message(records: list[Path], tmp_path: Path) -> None:
    there = tmp_path / "mine.md"
    there.write_text("mine")
    first, new = records[0], tmp_path / "new.md"
    bad = {
        ("no_such.npz",): "no_such.npz: cannot be read: No such file",
        ("keras==3@jaxx",): "unknown backend 'jaxx'",
        (first, first): "named twice",
        (first, "-o", there): f"-o: {there} is there already; --force overwrites it",
        (first, "--html", tmp_path / "no" / "x"): "cannot be a file: name one in a folder",
        (first, "-o", new, "--html", new): f"--html: {new} is where -o writes the table",
        (first, "--force"): "--force is of -o and --html, neither of which is given",
        (first, "--mode", "xla"): "--mode changes nothing of these subjects",
    }
    for words, said in bad.items():
        result = ask(*words, claims=tmp_path / "claims")
        assert (result.exit_code, result.stdout) == (2, ""), words
        assert said in result.stderr
        assert result.stderr.startswith("Error: ")
    assert there.read_text() == "mine"


def test_no_cause_is_looked_for_that_nobody_is_shown(
    records: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes seconds a claim, and of seventy subjects eight claims each are wrong."""

    def looked_for(*_: object) -> None:
        raise AssertionError("a cause was looked for")

    monkeypatch.setattr(diagnosis, "diagnosed", looked_for)
    assert ask(*records, claims=tmp_path / "claims").exit_code == 0
    newer, older = records[::-2]
    assert command("compare", newer, older, "--claims", tmp_path / "claims").exit_code == 1
    with pytest.raises(AssertionError, match="a cause was looked for"):
        raise command("judge", older, tmp_path / "claims").exception or AssertionError("")
