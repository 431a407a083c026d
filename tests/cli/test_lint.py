"""Does a claim notice the faults that it is said to notice, and is every other one listed?"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from rnn_check.claims import files, sensitivity
from rnn_check.claims.causes import recurrences
from rnn_check.claims.files import bundled
from rnn_check.claims.layers import Carrying
from rnn_check.claims.truth import Truth
from rnn_check.cli.commands import main
from tests.support.whole_numbers import LAYERS, whole_numbers

ROOT = Path(__file__).parents[2]
# a claim that misses nothing; each test below takes something from it
CLAIM = """
schema = 1
title = "it can fail"
source = { document = "a test" }
layer = { kind = "SimpleRNN", units = 2, return_sequences = true }
[weights]
kernel = [[1, 0.5], [-2, 0.25]]
recurrent_kernel = [[0.5, 2], [1, -1]]
bias = [0.5, -1]
[input]
x = [[[1, 0.5], [0.25, 2], [-1, 1]]]
initial_state = [[0.5, 1]]
mask = [[true, false, true]]
[[expect]]
what = "certified"
value = true
from = "itself"
"""
RECURRENT = "recurrent_kernel = [[0.5, 2], [1, -1]]"


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["lint", *map(str, arguments)])


def missed(text: str) -> dict[str, str]:
    """What goes unnoticed, and why."""
    found = sensitivity.planted(files.loads(text))
    return {fault.what: fault.why for fault in found if fault.why}


def test_a_claim_in_which_no_two_numbers_are_alike_notices_every_fault() -> None:
    found = list(sensitivity.planted(files.loads(CLAIM)))
    assert len(found) == 13
    assert missed(CLAIM) == {}


@pytest.mark.parametrize(
    ("old", "new", "unnoticed"),
    [
        (RECURRENT, "recurrent_kernel = [[0.5, 2], [2, -1]]",
         {"recurrent_kernel transposed": "it is symmetric"}),
        (RECURRENT, "recurrent_kernel = [[1, 2], [1, 2]]",
         {"rows of recurrent_kernel permuted": "they are alike"}),
        (RECURRENT, "recurrent_kernel = [[1, 0.5], [-2, 0.25]]",
         {"kernel and recurrent_kernel exchanged": "they are equal"}),
        ("bias = [0.5, -1]", "bias = [0, 0]",
         {"bias dropped": "it is zero", "bias doubled": "it is zero"}),
        ("x = [[[1, 0.5], [0.25, 2], [-1, 1]]]", "x = [[[1, 0.5], [0.25, 2], [1, 0.5]]]",
         {"time reversed": "x reads the same in reverse"}),
        ("initial_state = [[0.5, 1]]", "initial_state = [[0, 0]]",
         {"initial state ignored": "it is zero"}),
        ("mask = [[true, false, true]]", "mask = [[true, true, true]]",
         {"mask ignored": "it skips no step"}),
        ("kernel = [[1, 0.5], [-2, 0.25]]\nr", "kernel = [[1, 0.5], [1, 0.5]]\nr",
         {"features permuted": "their weights are alike"}),
    ],
)  # fmt: skip
def test_what_a_claim_cannot_see_is_listed_with_the_reason(
    old: str, new: str, unnoticed: dict[str, str]
) -> None:
    assert old in CLAIM
    found = missed(CLAIM.replace(old, new))
    assert found == {what: f"changes nothing: {why}" for what, why in unnoticed.items()}


def test_of_one_step_from_zero_no_recurrent_kernel_is_seen() -> None:
    text = re.sub(r"x = .*\ninitial_state.*\nmask.*", "x = [[[1, 0.5]]]", CLAIM)
    assert set(missed(text).values()) == {"changes nothing: no step has a state before it"}
    assert {
        "recurrent_kernel dropped",
        "recurrent_kernel transposed",
        "rows of recurrent_kernel permuted",
    } == set(missed(text))


def test_only_what_is_claimed_is_looked_at() -> None:
    text = CLAIM.replace(
        "value = true", "at = { unit = 0, timestep = 0 }\nvalue = [0.25]\ncomputed_in = 'real'"
    )
    text = text.replace('"certified"', '"output"').replace(
        RECURRENT, "recurrent_kernel = [[0.5, 2], [0.5, -1]]"
    )
    text = text.replace("initial_state = [[0.5, 1]]", "initial_state = [[1, 1]]")
    assert missed(text)["rows of recurrent_kernel permuted"] == "changes no number that is claimed"
    whole = CLAIM.replace("value = true", "value = 3").replace('"certified"', '"parameters"')
    assert list(sensitivity.planted(files.loads(whole))) == []  # of which no state is a part


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("more", ["", "go_backwards = true"])
def test_the_states_that_faults_are_planted_into_are_those_of_the_reference(
    kind: str, more: str
) -> None:
    mask = "mask = [[true, false, true], [true, true, false]]"
    claim = files.loads(whole_numbers(kind, more, mask))
    (layer,) = claim.layers
    assert isinstance(layer, Carrying)
    states = recurrences.ran(claim, layer, 0).states()
    carried = Truth(claim, "real").passes[0].courses[0].states["h"].value
    assert np.array_equal(states, carried.astype(np.float32))


@pytest.mark.parametrize("name", ["gates/burn_bilstm", "certified/middle_of_a_stack"])
def test_so_are_those_of_two_directions_and_of_later_layers(name: str) -> None:
    claim = files.load(bundled() / f"{name}.toml")
    passes = Truth(claim, "real").passes
    for layer, each in zip(claim.layers, passes, strict=True):
        for index, course in enumerate(each.courses):
            assert isinstance(layer, Carrying)
            states = recurrences.ran(claim, layer, index).states()
            value, bound = course.states["h"]
            with np.errstate(over="ignore"):
                near = np.abs(states - value) <= bound + np.spacing(np.abs(states))
            assert near.all()


def test_gates_that_are_alike_are_listed() -> None:
    claim = whole_numbers("LSTM")
    assert not {"gates i and f exchanged"} & missed(claim).keys()
    alike = re.sub(r"(kernel|bias) = .*", _all_ones, claim)
    assert missed(alike)["gates i and f exchanged"] == "changes nothing: their weights are alike"


def _all_ones(found: re.Match[str]) -> str:
    return re.sub(r"-?\d+", "1", found[0])


def test_a_claim_that_cannot_fail_is_exit_1_and_one_that_misses_some_is_not(
    tmp_path: Path,
) -> None:
    good, some, blind = (tmp_path / f"{name}.claim.toml" for name in ("good", "some", "blind"))
    good.write_text(CLAIM)
    result = run(good)
    assert (result.exit_code, result.stdout) == (
        0, "1 file, 1 claim: 13 faults planted, 0 unnoticed\n",
    )  # fmt: skip
    some.write_text(CLAIM.replace("bias = [0.5, -1]", "bias = [0, 0]"))
    result = run(tmp_path)
    assert result.exit_code == 0
    assert "  simple_rnn: bias dropped: changes nothing: it is zero\n" in result.stdout
    assert run(tmp_path, "--strict").exit_code == 1
    assert run(tmp_path, "-q").stdout == ""
    text = re.sub(r"(kernel|bias) = .*", lambda m: re.sub(r"-?[\d.]+", "0", m[0]), CLAIM)
    blind.write_text(text.replace("initial_state = [[0.5, 1]]\n", ""))
    result = run(blind)
    assert result.exit_code == 1
    assert "blind.claim.toml: notices no fault" in result.stdout


def test_a_file_that_is_refused_is_exit_2_and_the_others_are_checked(tmp_path: Path) -> None:
    (tmp_path / "bad.claim.toml").write_text(CLAIM.replace("units", "unitz"))
    (tmp_path / "good.claim.toml").write_text(CLAIM)
    result = run(tmp_path)
    assert result.exit_code == 2
    assert "bad.claim.toml: layer.unitz: unknown key; did you mean `units`?" in result.stderr
    assert "13 faults planted" in result.stdout
    assert run().exit_code == run(tmp_path / "absent").exit_code == 2


def test_every_bundled_claim_of_the_article_notices_something() -> None:
    result = run("-q", bundled() / "article", bundled() / "published")
    assert (result.exit_code, result.stdout) == (0, "")


def test_it_imports_no_framework(tmp_path: Path) -> None:
    (tmp_path / "good.claim.toml").write_text(CLAIM)
    code = (
        "import sys; from rnn_check.cli import main; main(['lint', sys.argv[1]], "
        "standalone_mode=False)"
    )
    watched = f"import atexit, sys; atexit.register(lambda: print(sorted(sys.modules)));{code}"
    done = subprocess.run(
        [sys.executable, "-c", watched, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert "'numpy'" in done.stdout
    for framework in ("keras", "tensorflow", "jax", "torch"):
        assert f"'{framework}'" not in done.stdout


def test_the_hook_of_pre_commit_runs_it_on_claim_files() -> None:
    hook = (ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8")
    said = dict(re.findall(r"^[- ] (\w+): (.*)$", hook, re.MULTILINE))
    assert said["entry"] == "rnn-check lint" and "lint" in main.commands
    assert re.search(said["files"], "claims/hand.claim.toml")
    assert not re.search(said["files"], "pyproject.toml")
