"""Does the page of a sweep hold what the folder holds, and nothing that runs or loads?"""

from __future__ import annotations

from pathlib import Path

import pytest

from rnn_check.reports import swept_page
from rnn_check.sweep import axes
from rnn_check.sweep.results import About, Results, Written
from rnn_check.sweep.space import AXES, FAMILY, Case, Space
from rnn_check.sweep.work import Outcome
from rnn_check.verdicts.judge import DIFFER, ERROR, NOT_RUN
from tests.reports.test_page import HOSTILE, Node, read
from tests.support.command import run
from tests.sweep.test_cluster import outcome

ABOUT = About.of(1, Space())


def shown(everything: list[Outcome], *written: Written, interrupted: bool = False) -> Node:
    return read(swept_page.html(ABOUT, everything, written, interrupted))


def table(root: Node, label: str) -> dict[str, list[str]]:
    """The cells of its rows, by what heads them."""
    (region,) = (node for node in root.all("div") if node.attributes.get("aria-label") == label)
    rows = [row for body in region.all("tbody") for row in body.all("tr")]
    return {row.all("th")[0].whole(): [cell.whole() for cell in row.all("td")] for row in rows}


def test_every_case_is_counted_in_each_axis_under_what_was_drawn() -> None:
    everything = [outcome(i) for i in (0, 1, FAMILY, 7 * FAMILY)]
    everything[1:1] = [outcome(2, DIFFER, place="states of a", ratio=3.0)]
    root = shown(everything)
    (verdict,) = (n for n in root.all("p") if "verdict" in str(n.attributes.get("class")))
    assert verdict.whole() == "1 case wrong." and "worse" in str(verdict.attributes["class"])
    assert "5 cases of 3 structures" in root.whole()
    for axis in axes.SEEN:
        found = table(root, f"By {axis}")
        drawn = [axes.of_family(Case(1, each.index), Space())[axis] for each in everything]
        for value in AXES[axis]:
            many = sum(value in values for values in drawn)
            assert found.get(value, ["0"])[0] == str(many), (axis, value)
    (first,) = axes.of_family(Case(1, 0), Space())["do"]
    assert table(root, "By do")[first][3] == "1"  # of them differs


@pytest.mark.parametrize("do", AXES["do"])
def test_what_is_drawn_is_what_a_case_is_counted_as(do: str) -> None:
    space = Space.within([f"do={do}", "depth=2", "front=Masking"])
    found = axes.of_family(Case(3, FAMILY + 5), space)
    assert found["do"] == {do}
    alone = found["depth"] == {"1"}  # what is done with one layer is done with one
    assert found["depth"] == {"1" if alone else "2"}
    assert found["front"] == {"none" if alone else "Masking"}
    assert found["layer"] <= {*AXES["layer"]} and found["activation"] <= {*AXES["activation"]}


def test_who_was_asked_what_was_wrong_and_why_the_rest_is_known_are_said() -> None:
    root = shown(
        [
            outcome(0, ratio=0.25, seconds=0.5),
            outcome(0, ERROR, subject="b", place="ValueError: no", ratio=None, seconds=0.5),
            outcome(1, DIFFER, known="it was always so", ratio=7.0, seconds=0.5),
            outcome(2, NOT_RUN, detail="no such layer", ratio=None, seconds=0.5),
        ],
        interrupted=True,
    )
    a, b = table(root, "Subjects").values()
    assert a == ["3", "1", "1", "·", "·", "1", "0.25", "", "500"]
    assert b == ["1", "·", "·", "·", "1", "·", "", "", "500"]
    assert table(root, "What is wrong") == {"b": [ERROR, "certified", "ValueError: no", "1", "0"]}
    for words in ("1: it was always so", "1: no such layer", "2 cases a second", "interrupted"):
        assert words in root.whole()


def test_nothing_that_a_finding_says_becomes_markup() -> None:
    said = Written(HOSTILE, HOSTILE, HOSTILE, f"claim {HOSTILE}", f"script {HOSTILE}")
    wrong = outcome(0, ERROR, subject=HOSTILE, place=HOSTILE, packages=HOSTILE, ratio=None)
    root = shown([wrong, outcome(1, DIFFER, known=HOSTILE)], said)
    text = HOSTILE.replace("\x00", "�").replace("\x1b", "�")
    assert [pre.whole() for pre in root.all("pre")] == [f"claim {text}", f"script {text}"]


def test_a_sweep_of_nothing_has_a_page() -> None:
    root = shown([])
    assert "Nothing was found." in root.whole() and not root.all("svg")


def test_findings_are_read_from_the_folder(tmp_path: Path) -> None:
    results = Results(tmp_path / "sweep", ABOUT)
    assert list(results.written()) == []
    results.findings.mkdir()
    for name in ("b", "a"):
        (results.findings / f"{name}.claim.toml").write_text(f'title = "t {name}"\nnotes = "n"\n')
    (results.findings / "a.py").write_text("import keras\n")
    a, b = results.written()
    assert (a.name, a.title, a.notes, a.script) == ("a", "t a", "n", "import keras\n")
    assert (b.name, b.script) == ("b", "") and b.claim.startswith("title")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--force"], "--force is of --html, which is not given"),
        (["--html", "{}/there.html"], "there.html is there already; --force overwrites it"),
        (["--html", "{}/none/page.html"], "name one in a folder that is there"),
    ],
)
def test_a_page_that_cannot_be_written_is_refused_first(
    tmp_path: Path, words: list[str], says: str
) -> None:
    (tmp_path / "there.html").touch()
    asked = [word.format(tmp_path) for word in words]
    result = run("sweep", "--cases", 3, "-o", tmp_path / "sweep", *asked)
    assert result.exit_code == 2 and says in result.output
    assert not (tmp_path / "sweep").exists()
