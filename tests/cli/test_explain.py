"""Is the calculation that is shown the one that is made, and does it add up?"""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from rnn_check.claims import files, paper
from rnn_check.claims.files import bundled
from rnn_check.claims.truth import Truth
from rnn_check.cli.commands import main
from rnn_check.reports.paper import formula
from tests.support import puppet
from tests.support.bundled import load_all
from tests.support.whole_numbers import LAYERS, whole_numbers

HAND_SET = str(bundled() / "article" / "hand_set_weights.toml")


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["explain", *map(str, arguments)])


def evaluated(term: str) -> float:
    text = re.sub(r"\blinear\(", "(", term).replace("·", "*")
    assert re.fullmatch(r"[-+*(). \d]+", text), text
    return float(eval(text))


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("more", ["", "go_backwards = true"])
def test_every_line_adds_up_to_what_the_reference_says(kind: str, more: str) -> None:
    two = kind == "LSTM"
    start = "[[[1, 2], [0, -1]], [[3, 1], [1, 1]]]" if two else "[[1, 2], [0, -1]]"
    claim = files.loads(whole_numbers(kind, more, f"initial_state = {start}"))
    shown = paper.Paper(claim)
    states = Truth(claim, "real").states().value
    for sample, t in np.ndindex(2, 3):
        for unit in shown.step(sample, t, range(2)):
            for line in unit.lines:
                if line.terms:
                    assert sum(map(evaluated, line.terms)) == line.value, line
            assert unit.lines[-1].name == "h"
            assert unit.lines[-1].value == states[sample, t, unit.unit]


def test_a_line_that_does_not_add_up_is_seen() -> None:
    shown = paper.Paper(files.loads(whole_numbers("LSTM")))
    line = next(line for unit in shown.step(0, 1, [0]) for line in unit.lines if line.name == "z_f")
    assert sum(map(evaluated, line.terms)) != line.value + 1


def test_cells_and_later_layers_take_what_those_before_them_give() -> None:
    text = whole_numbers("SimpleRNN").replace("[layer]", "[[layers]]").replace(
        "[weights]",
        '[[layers]]\nkind = "SimpleRNN"\nname = "second"\nunits = 1\nactivation = "linear"\n'
        "[weights.second]\nkernel = [[1], [2]]\nrecurrent_kernel = [[1]]\nbias = [0]\n"
        "[weights.rnn]",
    )  # fmt: skip
    claim = files.loads(text)
    first, second = paper.Paper(claim), paper.Paper(claim, "second")
    made = [unit.lines[-1].value for unit in first.step(0, 1, range(2))]
    assert second.x(0, 1).tolist() == made
    with pytest.raises(paper.NotOnPaper, match=r"no recurrent layer is called 'third'.*second"):
        paper.Paper(claim, "third")


def test_a_step_that_the_mask_skips_says_so() -> None:
    mask = "mask = [[true, false, true], [true, true, true]]"
    shown = paper.Paper(files.loads(whole_numbers("SimpleRNN", start=mask)))
    (line,) = next(shown.step(0, 1, [0])).lines
    assert "the mask skips this step" in line.terms[0]
    assert line.value == shown.before("h", 0, 1)[0]


@pytest.mark.parametrize("folder", ["article", "published", "gates", "derived"])
def test_counts_are_those_of_the_weights(folder: str) -> None:
    for claim in load_all([bundled() / folder]):
        counted = list(paper.counts(claim))
        for count in counted:
            assert evaluated(count.filled) == count.value
        if counted:
            shapes = [
                shape
                for layer in claim.layers
                for shape in layer.weight_shapes(claim.features_of(layer)).values()
            ]
            assert sum(c.value for c in counted) == sum(map(math.prod, shapes)), claim.name


def test_the_article_is_explained_as_on_paper() -> None:
    result = run(HAND_SET, "--by-hand", "--step", 2, "--unit", 2)
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    for line in (
        "step 2 of 3, sample 0: x = (2, 3); h before = (13, 27, 16)",
        "    x·W = 2·2 + 3·3 = 13",
        "    h·U = 13·1 + 27·1 + 16·0 = 40",
        "    z   = 13 + 40 + 1 = 54",
        "    h   = linear(54) = 54; claimed 54",
        "  simple_rnn: units·(units + features + 1) = 3·(3 + 2 + 1) = 18",
    ):
        assert line in lines


def test_what_the_framework_says_stands_beside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    puppet.play(monkeypatch)
    file = tmp_path / "hand.claim.toml"
    file.write_text(puppet.CLAIM.format(name="hand"))
    result = run(file, "--step", 1)
    assert result.exit_code == 0, result.stderr
    beside = r"= -0\.622387905; the framework -0\.622387\d+; claimed -0\.6223879\b"
    assert re.search(beside, re.sub(r"\s+", " ", result.stdout))
    assert "the framework" not in run(file, "--step", 1, "--by-hand").stdout


def test_it_fits_eighty_columns_and_says_what_it_leaves_out(tmp_path: Path) -> None:
    file = tmp_path / "wide.toml"
    file.write_text(
        """
        schema = 1
        title = "wide"
        source = { document = "a test" }
        layer = { kind = "LSTM", units = 12 }
        weights.kernel = { linspace = [-0.37, 0.41], shape = [20, 48] }
        weights.recurrent_kernel = { linspace = [0.33, -0.43], shape = [12, 48] }
        weights.bias = { full = 0.1, shape = [48] }
        input.x = { linspace = [-0.31, 0.57], shape = [1, 9, 20] }
        [[expect]]
        what = "certified"
        value = true
        from = "itself"
        """
    )
    result = run(file, "--by-hand")
    assert result.exit_code == 0, result.stderr
    assert max(map(len, result.stdout.splitlines())) <= 80
    for left_out in ("… (13 more)", "4 more units: --unit shows one", "5 more steps: --step shows"):
        assert left_out in re.sub(r"\s+", " ", result.stdout)


def test_markdown_has_the_same_as_formulas() -> None:
    result = run(HAND_SET, "--by-hand", "--step", 2, "--unit", 2, "--markdown")
    assert r"x \cdot W &= 2 \cdot 2 + 3 \cdot 3 = 13 \\" in result.stdout
    assert r"h &= \mathrm{linear}(54) = 54 \\" in result.stdout
    assert "- h: claimed 54" in result.stdout
    assert result.stdout.count("$$") % 2 == 0


@pytest.mark.parametrize("name", ["hard_sigmoid", "log_softmax", "leaky_relu"])
def test_a_functions_name_is_one_word_in_formulas(name: str) -> None:
    r"""\mathrm{hard_sigmoid} would set the s below the line."""
    escaped = name.replace("_", r"\_")
    assert formula(f"{name}(0.5)") == rf"\mathrm{{{escaped}}}(0.5)"


@pytest.mark.thinned(3)
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["absent.toml"], "absent.toml: no such file or folder"),
        (["no_such_claim"], "no claim matches 'no_such_claim'"),
        (["article"], "claims: "),
        ([HAND_SET, "--step", "3", "--by-hand"], "--step: there are 3, counted from 0; got 3"),
        ([HAND_SET, "--sample", "1", "--by-hand"], "--sample: there are 1"),
        ([HAND_SET, "--unit", "3", "--by-hand"], "--unit: there are 3"),
        ([HAND_SET, "--of", "second", "--by-hand"], "--of: no recurrent layer is called 'second'"),
        ([HAND_SET, "--by-hand", "--backend", "jax"], "do not go together"),
        (["article/hand_set_weights", "-k", "a"], "-k: chooses among the claims of a FILE"),
    ],
)
def test_wrong_usage_is_one_message(arguments: list[str], message: str) -> None:
    result = run(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr
