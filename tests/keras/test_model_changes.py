"""What changed in a model from one subject to another, layer by layer?"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from rnn_check.cli.commands import main
from rnn_check.models import inputs, recorded
from rnn_check.models.asking import Question
from rnn_check.models.recorded import Said
from rnn_check.subjects import ask as observe
from rnn_check.subjects.ask import decode, encode
from tests.support.models import MODELS


@pytest.fixture(scope="module")
def said(subject: observe.Subject, tmp_path_factory: pytest.TempPathFactory) -> Said:
    path = tmp_path_factory.mktemp("models") / "mine.py"
    path.write_text(MODELS)
    question = Question(f"{path}:two_directions")
    given = inputs.generated("", question.ask(subject)["inputs"], 2, 4, 1)
    return Said(question, subject.identity, question.ask(subject, given), given)


Spoil = Callable[[dict[str, Any]], None]


@pytest.fixture
def compared(said: Said, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The command on the record of what was said, and of that with something spoilt."""
    monkeypatch.setenv("COLUMNS", "80")

    def run(spoil: Spoil, *more: str) -> Any:
        other = copy.deepcopy(dict(said.said))
        spoil(other)
        old, new = str(tmp_path / "old.npz"), str(tmp_path / "new.npz")
        recorded.write(Path(old), [said])
        recorded.write(Path(new), [Said(said.question, said.identity, other, said.ran_on)])
        return CliRunner().invoke(
            main, ["compare", old, new, "--model", said.question.where, *more]
        )

    return run


def moved(node: dict[str, Any], name: str, factor: float) -> None:
    """One number of an array that is still encoded, by a factor."""
    array = np.array(decode(node[name]))
    array[0, 0, 0] *= np.float32(factor)
    node[name] = encode(array)


def test_the_same_is_the_same_bit_for_bit(compared: Any) -> None:
    result = compared(lambda said: None, "--fail-on", "drift")
    assert result.exit_code == 0, result.output
    assert "no verdict of 4 recurrences got worse, bit for bit the same" in result.stdout
    assert "the model gives is the same" in " ".join(result.stdout.split())


def test_the_last_bit_of_a_step_is_a_change_within_both_bounds(compared: Any) -> None:
    def spoil(said: dict[str, Any]) -> None:
        moved(said["calls"][0], "given 0", 1 + 2**-23)

    result = compared(spoil)
    assert result.exit_code == 0, result.output
    told = " ".join(result.stdout.split())
    assert "no verdict of 4 recurrences got worse; 1 changed, by at most" in told
    assert "within both bounds" in told
    assert compared(spoil, "--fail-on", "drift").exit_code == 1
    assert compared(spoil, "--fail-on", "never").exit_code == 0
    assert max(map(len, result.stdout.splitlines())) <= 80


def test_a_layer_that_got_worse_is_named(compared: Any) -> None:
    def spoil(said: dict[str, Any]) -> None:
        moved(said["calls"][1], "given 0", 1.01)

    result = compared(spoil)
    assert result.exit_code == 1
    told = " ".join(result.stdout.split())
    assert "1 recurrence got worse: one/backward_lstm" in told
    assert re.search(r"after: differ one/backward_lstm(_\d+)? · steps", told)
    document = json.loads(compared(spoil, "--json").stdout)
    worse = [each for each in document["changes"] if each["worse"]]
    (one,) = worse
    assert one["layer"].startswith("one/backward_lstm") and one["change"] > sum(one["bounds"])
    assert len(document["changes"]) == 4


def test_what_got_worse_is_shown_in_a_pull_request_and_on_a_page(
    compared: Any, tmp_path: Path
) -> None:
    def spoil(said: dict[str, Any]) -> None:
        moved(said["calls"][1], "given 0", 1.01)

    page = tmp_path / "page.html"
    result = compared(spoil, "--markdown", "--html", str(page))
    assert result.exit_code == 1, result.output
    assert result.stdout.startswith("**1 → 2: 1 recurrence got worse: one/backward")
    assert "<summary>1 → 2: changed (1)</summary>" in result.stdout
    assert "<summary>1 → 2: the same (3)</summary>" in result.stdout
    rows = [line for line in result.stdout.splitlines() if "LSTM 3→3" in line]
    assert len(rows) == 2 and all(line.count(" | ") == 6 for line in rows)
    html = page.read_text()
    assert "1 recurrence got worse: one/backward" in html and html.count("<svg") == 1
    assert "://" not in re.sub(r"http://www.w3.org/\S+", "", html) and "<script" not in html
    assert compared(spoil, "--html", str(page)).exit_code == 2  # which is there
    same = compared(lambda said: None, "--markdown")
    assert same.exit_code == 0 and "bit for bit the same" in same.stdout.splitlines()[0]


def test_other_weights_are_said(compared: Any) -> None:
    def spoil(said: dict[str, Any]) -> None:
        weights = said["layers"][0]["weights"]
        weights["bias"] = encode(np.array(decode(weights["bias"])) + np.float32(1))

    result = compared(spoil, "--fail-on", "never")
    told = " ".join(result.stdout.split())
    assert "the weights of 1 are others, so that their numbers have to be" in told


def test_a_layer_that_is_no_longer_there_is_a_change(compared: Any) -> None:
    def spoil(said: dict[str, Any]) -> None:
        said["layers"][2]["path"] = "renamed"

    result = compared(spoil)
    assert result.exit_code == 1 and "absent" in result.stdout


def test_it_is_run_on_one_input_by_all(
    compared: Any, said: Said, tmp_path: Path, subject: observe.Subject,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    class Held:
        def __enter__(self) -> observe.Subject:
            return subject

        def __exit__(self, *_: Any) -> None: ...

    monkeypatch.setattr(observe, "Subject", lambda *_, **__: Held())
    compared(lambda _: None)  # which writes the record
    record = str(tmp_path / "old.npz")
    arguments = ["compare", record, f"current@{subject.identity.backend}"]
    arguments += ["--model", said.question.where, "--json", "--fail-on", "never"]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert document["ran_on"] == "run on what the record was run on"
    assert [change["worse"] for change in document["changes"][:1]] == [False]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["-k", "lstm"], "-k is of claims, and does not go with --model"),
        (["--markdown", "--json"], "--json and --markdown do not go together"),
        (["--known", "absent.toml"], "absent.toml"),
        (["--model", "absent.keras"], "absent.keras: no such file"),
        (["--model", "keras.layers:LSTM"], "it holds no model keras.layers:LSTM, but mine.py"),
        (["--layer", "absent.py:A"], "--layer: no such file: absent.py"),
    ],
)
def test_wrong_usage_is_one_message(more: list[str], message: str, compared: Any) -> None:
    result = compared(lambda said: None, *more)
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr


def test_options_of_a_model_want_one() -> None:
    result = CliRunner().invoke(main, ["compare", "keras==3.12.0", "keras==3.15.1", "--input", "x"])
    assert result.exit_code == 2 and "--input is of --model, which is not given" in result.stderr
