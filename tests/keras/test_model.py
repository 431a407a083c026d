"""Is each recurrent layer of a model certified where it stands, and is a fault of one found?"""

from __future__ import annotations

import copy
import json
import shutil
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner

from rnn_check.cli.commands import main
from rnn_check.models import inputs, recorded
from rnn_check.models.asking import Question, Unreadable
from rnn_check.models.excused import Excuses
from rnn_check.models.judged import GRADIENTS, KNOWN, OUTPUTS, Model, judged
from rnn_check.subjects import ask as observe
from rnn_check.verdicts.deviations import bundled, load
from rnn_check.verdicts.judge import AGREE, DIFFER, NOT_RUN
from rnn_check.verdicts.known import Known
from tests.support.models import MODELS
from tests.support.sampling import long, thinned

X = {"x": np.random.default_rng(0).normal(size=(3, 4, 3)).astype(np.float32)}
# by the model's name: each layer, and how many recurrences it is
HONEST = {
    "two_directions": ["one/forward_lstm", "one/backward_lstm", "two/forward_lstm_1",
                       "two/backward_lstm_1"],
    "translator": ["inner/turned", "reads", "stack/cell_0", "stack/cell_1", "stack/cell_2",
                   "writes"],
    "masks": ["before", "both/backward_gru", "both/forward_gru", "last", "zeroed"],
    "kept": ["kept"],
    "shared": ["reader"],
    "frames": ["each/simple_rnn", "over"],
    "alone": ["lstm"],
    "one_cell": ["one"],
}  # fmt: skip


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("models") / "mine.py"
    path.write_text(MODELS)
    return str(path)


def said(
    question: Question, subject: observe.Subject, given: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """What the subject says of a model that is run on generated input, arrays decoded."""
    if given is None:
        taken = question.ask(subject)["inputs"]
        given = inputs.generated(question.where, taken, 3, 4, 1)
    found: dict[str, Any] = observe.decode(question.ask(subject, given))
    return found


def wrong(model: Model) -> dict[str, list[tuple[str, str]]]:
    return {
        row.path: [*([("", row.refused)] if row.refused else []),
                   *(each for part in row.parts for each in part.wrong())]
        for row in model.rows if row.verdict != AGREE
    }  # fmt: skip


def name_of(path: str) -> str:
    """Without the numbers that Keras counts names with."""
    return "/".join(part.rstrip("0123456789").rstrip("_") for part in path.split("/"))


@thinned(6)
@pytest.mark.parametrize("name", HONEST)
def test_every_layer_of_an_honest_model_is_certified(
    name: str, file: str, subject: observe.Subject
) -> None:
    answer = said(Question(f"{file}:{name}"), subject)
    found = judged(name, answer)
    assert sorted(name_of(row.path) for row in found.rows) == sorted(map(name_of, HONEST[name]))
    assert found.verdict == AGREE, wrong(found)
    assert wrong(found) == {}
    for row in found.rows:
        outputs, gradients = row.parts
        assert (outputs.name, outputs.verdict) == (OUTPUTS, AGREE)
        assert outputs.judged == 1.0
        if subject.identity.gradients:
            assert (gradients.name, gradients.verdict, found.silent) == (GRADIENTS, AGREE, "")
            assert {"delta", "x", "kernel", "recurrent_kernel", "bias"} <= gradients.found.keys()
            assert gradients.same + len(gradients.without) >= 3
        else:
            assert gradients.verdict == NOT_RUN and "has none" in found.silent


@thinned(6)
@pytest.mark.parametrize("name", ["two_directions", "masks"])
@pytest.mark.parametrize("dtype", ["float64", "float16", "mixed_bfloat16"])
def test_a_model_is_made_anew_in_another_dtype(
    dtype: str, name: str, file: str, subject: observe.Subject
) -> None:
    answer = said(Question(f"{file}:{name}", dtype=dtype), subject)
    found = judged("", answer, excuses(subject, dtype=dtype))  # some float64 is float32 in part
    claimed = {c.claimed for row in found.rows for part in row.parts for c in part.found.values()}
    assert claimed == {dtype.removeprefix("mixed_")}
    assert DIFFER not in {row.verdict for row in found.rows}, wrong(found)
    if subject.identity.backend == "tensorflow":
        assert KNOWN not in {row.verdict for row in found.rows}, wrong(found)


@pytest.mark.long
@pytest.mark.parametrize(("mode", "name"), [("function", "masks"), ("xla", "shared")])
def test_compiled_models_are_certified(
    mode: str, name: str, file: str, subject: observe.Subject
) -> None:
    if mode not in subject.identity.modes:
        pytest.skip(f"no mode {mode}")
    found = judged("", said(Question(f"{file}:{name}", mode), subject))
    assert found.verdict == AGREE, wrong(found)


FAULTS = {
    "off_at_a_step": OUTPUTS,
    "another_output": OUTPUTS,
    "another_state": OUTPUTS,
    "another_cell_state": OUTPUTS,
    "half_a_gradient": GRADIENTS,
    "deaf": GRADIENTS,
    "no_mask": OUTPUTS,
}


@thinned(12)
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_of_one_layer_is_found_in_that_layer(
    fault: str, file: str, subject: observe.Subject
) -> None:
    if FAULTS[fault] == GRADIENTS and not subject.identity.gradients:
        pytest.skip("no gradients")
    question = Question(f"{file}:with_{fault}", own={f"{file}:Faulty_{fault}": "LSTM"})
    found = judged("", said(question, subject))
    assert {row.path: row.verdict for row in found.rows} == {
        "before": AGREE, "middle": DIFFER, "after": AGREE,
    }  # fmt: skip
    (middle,) = (row for row in found.rows if row.path == "middle")
    verdicts = {part.name: part.verdict for part in middle.parts}
    assert verdicts[FAULTS[fault]] == DIFFER, wrong(found)


def excuses(subject: observe.Subject, mode: str = "eager", dtype: str | None = None) -> Excuses:
    return Excuses(Known(load(bundled())), subject.identity, mode, dtype)


@thinned(2)
@pytest.mark.parametrize("name", ["sparse", "sparse_cells"])
def test_what_is_known_of_a_framework_is_called_known_in_anybodys_model(
    name: str, file: str, subject: observe.Subject
) -> None:
    answer = said(Question(f"{file}:{name}"), subject)
    assert judged("", answer).verdict == DIFFER
    found = judged("", answer, excuses(subject))
    assert (found.verdict, found.rows[-1].verdict) == (KNOWN, AGREE)
    row = found.rows[-2]  # of cells it is the last, whose gradients reach those before it
    assert row.outputs is not None and "sparsemax sums" in row.outputs.known
    assert {part.verdict for each in found.rows for part in each.parts} <= {KNOWN, AGREE, NOT_RUN}
    elsewhere = msgspec.structs.replace(subject.identity, keras="3.8.0")  # which has none
    older = Excuses(Known(load(bundled())), elsewhere, "eager", None)
    assert judged("", answer, older).verdict == DIFFER


def test_a_known_deviation_is_shown_with_its_reason(file: str, command: CliRunner) -> None:
    result = command.invoke(main, ["model", f"{file}:sparse"])
    assert result.exit_code == 0, result.output
    assert "1 recurrence agrees · 1 differs as is known" in result.stdout
    assert "known  odd · outputs\n  sparsemax sums the cumulative sums" in result.stdout
    document = json.loads(command.invoke(main, ["model", f"{file}:sparse", "--json"]).stdout)
    verdicts = {layer["layer"]: layer["verdict"] for layer in document["layers"]}
    assert verdicts == {"odd": KNOWN, "fine": AGREE}
    assert document["layers"][0]["outputs"]["known"].startswith("sparsemax sums")


@pytest.mark.long
def test_with_a_file_of_ones_own_only_that_is_known(
    file: str, command: CliRunner, tmp_path: Path
) -> None:
    mine = tmp_path / "mine.toml"
    mine.write_text(bundled().read_text().replace('"sparsemax"', '"selu"'))
    shutil.copytree(bundled().parent, tmp_path, dirs_exist_ok=True)  # with its reproducers
    arguments = ["model", f"{file}:sparse", "--known", str(mine)]
    result = command.invoke(main, arguments)
    assert result.exit_code == 1 and "1 recurrence agrees · 1 differs" in result.stdout
    result = command.invoke(main, [*arguments[:-1], str(tmp_path / "absent.toml")])
    assert result.exit_code == 2 and "absent.toml" in result.stderr and not result.stdout


def test_zeros_that_unrolled_layers_forget_are_known_on_the_backends_that_do(
    file: str, subject: observe.Subject
) -> None:
    found = judged("", said(Question(f"{file}:forgetful"), subject), excuses(subject))
    forgets = subject.identity.backend in ("jax", "numpy")
    (row,) = (row for row in found.rows if row.path == "forgets")
    assert row.verdict == (KNOWN if forgets else AGREE), wrong(found)
    if forgets:
        assert row.outputs is not None and "zero_output_for_mask" in row.outputs.known


@thinned(3)
@pytest.mark.parametrize("name", ["two_directions", "sparse", "forgetful"])
def test_another_fault_of_a_layer_is_never_called_known(
    name: str, file: str, subject: observe.Subject
) -> None:
    """One number off in a layer that no deviation is about."""
    answer = copy.deepcopy(said(Question(f"{file}:{name}"), subject))
    last = len(answer["layers"]) - 1
    call = next(call for call in answer["calls"] if call["layer"] == last)
    call["given 0"] = np.array(call["given 0"])
    call["given 0"].flat[0] += 0.25
    found = judged("", answer, excuses(subject))
    assert (found.verdict, found.rows[last].verdict) == (DIFFER, DIFFER)


def test_what_cannot_be_certified_says_why(file: str, subject: observe.Subject) -> None:
    found = judged("", said(Question(f"{file}:own"), subject))
    reasons = {name_of(row.path): row.refused for row in found.rows}
    assert "MyCell is a cell of no known definition" in reasons["mine"]
    assert "--layer KIND=FILE.py:MyCell" in reasons["mine"]
    assert "its activation is a function of its own" in reasons["odd"]
    assert "a cell outside of an RNN layer" in reasons["loop/gru_cell"]
    assert reasons["known"] == ""
    assert found.verdict == AGREE
    question = Question(f"{file}:bare", own={f"{file}:Bare": "SimpleRNNCell"})
    (row,) = judged("", said(question, subject)).rows
    assert "no attribute units, by which a SimpleRNNCell says" in row.refused


def test_a_cell_of_ones_own_is_certified_as_what_it_is_said_to_compute(
    file: str, subject: observe.Subject
) -> None:
    def verdict(kind: str) -> tuple[str, str]:
        question = Question(f"{file}:own", own={f"{file}:MyCell": kind})
        (row,) = (r for r in judged("", said(question, subject)).rows if r.path == "mine")
        if subject.identity.gradients and not row.refused:
            assert {part.name: part.verdict for part in row.parts} == {
                OUTPUTS: AGREE, GRADIENTS: AGREE,
            }, list(row.parts[1].wrong())  # fmt: skip
        return row.verdict, row.refused

    assert verdict("SimpleRNNCell") == (AGREE, "")
    refused = verdict("GRUCell")  # it has no recurrent_activation
    assert refused[0] == NOT_RUN and "no attribute recurrent_activation" in refused[1]


def test_a_model_that_is_a_class_needs_an_input(file: str, subject: observe.Subject) -> None:
    question = Question(f"{file}:written")
    found = judged("", said(question, subject, X))
    assert {row.path: row.verdict for row in found.rows} == {"first": AGREE, "unused": NOT_RUN}
    assert "was not called" in next(row.refused for row in found.rows if row.path == "unused")


def test_directions_that_are_one_kernel_are_not_certified(
    file: str, subject: observe.Subject
) -> None:
    found = judged("", said(Question(f"{file}:fused"), subject))
    assert [row.verdict for row in found.rows] == [NOT_RUN, NOT_RUN, AGREE]
    assert all("a kernel may show neither" in row.refused for row in found.rows[:2])


@thinned(9)
@pytest.mark.parametrize(
    ("name", "given", "reason"),
    [
        ("none", None, None),
        ("absent", None, "AttributeError"),
        ("MODELS", None, "AttributeError"),
        ("ops", None, "it is a module, no layer and no model"),
        ("unknown_sizes", None, "ValueError"),
        ("two_directions", {"x": np.zeros((2, 7, 5), np.float32)}, "(?i)shape|incompatible"),
    ],
)
def test_what_is_no_model_or_no_input_of_it_is_refused(
    name: str, given: Any, reason: str | None, file: str, subject: observe.Subject
) -> None:
    question = Question(f"{file}:{name}")
    if reason is None:
        assert judged("", said(question, subject)).rows == []
        return
    with pytest.raises((Unreadable, inputs.InputError), match=reason):
        said(question, subject, given)


@pytest.mark.long
def test_what_a_newer_keras_says_of_initializers_is_left_out(
    file: str, subject: observe.Subject, command: CliRunner, tmp_path: Path
) -> None:
    """A file as another version may have saved it: it is read, and its weights are its own."""
    (tmp_path / "save.py").write_text(
        f"import sys\nsys.path.insert(0, {str(Path(file).parent)!r})\nimport mine\n"
        "def model():\n    made = mine.two_directions()\n"
        f"    made.save({str(tmp_path / 'saved.keras')!r})\n    return made\n"
    )
    before = said(Question(f"{tmp_path / 'save.py'}:model"), subject)
    with zipfile.ZipFile(tmp_path / "saved.keras") as saved:
        files = {name: saved.read(name) for name in saved.namelist()}
    newer = files["config.json"].replace(
        b'"GlorotUniform", "config": {', b'"GlorotUniform", "config": {"axes_of_2030": null, '
    )
    assert newer != files["config.json"]
    with zipfile.ZipFile(tmp_path / "newer.keras", "w") as other:
        for name, data in {**files, "config.json": newer}.items():
            other.writestr(name, data)
    after = said(Question(str(tmp_path / "newer.keras")), subject)
    for one, same in zip(before["layers"], after["layers"], strict=True):
        assert all((array == same["weights"][path]).all() for path, array in one["weights"].items())
    assert judged("", after).verdict == AGREE
    (tmp_path / "broken.keras").write_bytes(b"PK")
    result = command.invoke(main, ["model", str(tmp_path / "broken.keras")])
    assert result.exit_code == 2 and "broken.keras: no model that Keras saved" in result.stderr


# --- numbers that are others ----------------------------------------------------------------------


def paths(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Of all arrays of floats in an answer."""
    if isinstance(node, np.ndarray):
        if node.dtype.kind == "f" and node.size:
            yield path
    elif isinstance(node, dict | list):
        for key, value in node.items() if isinstance(node, dict) else enumerate(node):
            yield from paths(value, (*path, key))


def is_asked(path: tuple[Any, ...]) -> bool:
    """What the model gives is compared, not judged; h that is not returned is the last step's."""
    return path[0] != "outputs" and path[-1] != "state 0"


@long
def test_every_number_that_was_seen_can_turn_a_layer_red(
    file: str, subject: observe.Subject
) -> None:
    answer = said(Question(f"{file}:two_directions"), subject)
    if not subject.identity.gradients:
        pytest.skip("no gradients")
    rng, silent = np.random.default_rng(0), []
    for path in paths(answer):
        if not is_asked(path):
            continue
        spoilt = copy.deepcopy(answer)
        node = spoilt
        for key in path[:-1]:
            node = node[key]
        array = node[path[-1]] = np.array(node[path[-1]])
        at = tuple(rng.integers(0, n) for n in array.shape)
        array[at] += 1e-2 * (1 + abs(array[at]))
        if judged("", spoilt).verdict == AGREE:
            silent.append(path)
    assert not silent, silent


# --- the command ----------------------------------------------------------------------------------


@pytest.fixture
def command(subject: observe.Subject, monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    class Held:
        def __enter__(self) -> observe.Subject:
            return subject

        def __exit__(self, *_: Any) -> None: ...

    monkeypatch.setattr(observe, "Subject", lambda *_, **__: Held())
    monkeypatch.setenv("COLUMNS", "80")
    return CliRunner()


def test_a_record_says_the_same_again(file: str, command: CliRunner, tmp_path: Path) -> None:
    what, record = f"{file}:two_directions", str(tmp_path / "said.npz")
    asked = command.invoke(main, ["model", what, "--record", record])
    assert asked.exit_code == 0, asked.output
    assert "4 recurrences agree" in asked.stdout
    assert max(map(len, asked.stdout.splitlines())) <= 80
    again = command.invoke(main, ["model", record])
    assert again.exit_code == 0, again.output
    old, new = (each.stdout.splitlines()[2:] for each in (asked, again))
    same = [line for line in old if "│" in line or "✓" in line]
    assert same and same == [line for line in new if "✓" in line]
    assert command.invoke(main, ["model", what, "--record", record]).exit_code == 2
    refused = command.invoke(main, ["model", record, "--seed", "2"])
    assert refused.exit_code == 2 and "--seed changes nothing of a record" in refused.stderr
    (said,) = recorded.read(Path(record))
    assert (
        said.question.where == what
        and list(said.ran_on)
        and said.judged(Known([])).verdict == AGREE
    )


def test_json_says_what_the_table_says(file: str, command: CliRunner) -> None:
    arguments = [f"{file}:own", "--layer", f"SimpleRNNCell={file}:MyCell", "--json"]
    result = command.invoke(main, ["model", *arguments])
    document = json.loads(result.stdout)
    assert (result.exit_code, document["verdict"]) == (0, AGREE)
    verdicts = {name_of(layer["layer"]): layer["verdict"] for layer in document["layers"]}
    assert verdicts == {"mine": AGREE, "odd": NOT_RUN, "known": AGREE, "loop/gru_cell": NOT_RUN}
    table = command.invoke(main, ["model", *arguments[:-1], "-v"])
    assert table.exit_code == 0
    assert "2 recurrences agree · 2 are not certified" in table.stdout
    assert max(map(len, table.stdout.splitlines())) <= 80


def test_a_fault_is_named_and_ends_with_1(file: str, command: CliRunner) -> None:
    own = f"LSTM={file}:Faulty_off_at_a_step"
    result = command.invoke(main, ["model", f"{file}:with_off_at_a_step", "--layer", own])
    assert result.exit_code == 1
    assert "differ  middle · steps" in result.stdout
    assert "2 recurrences agree · 1 differs" in result.stdout


def test_a_model_without_a_recurrence_certifies_nothing(file: str, command: CliRunner) -> None:
    result = command.invoke(main, ["model", f"{file}:none"])
    assert result.exit_code == 3 and "It holds no recurrent layer." in result.stdout


@pytest.mark.long
def test_ones_own_input_is_what_it_is_run_on(file: str, command: CliRunner, tmp_path: Path) -> None:
    x = tmp_path / "x.npz"
    words, y = np.ones((2, 6), int), np.zeros((2, 6, 3), np.float32)
    np.savez(x, words=words, y=y)
    result = command.invoke(main, ["model", f"{file}:translator", "--input", str(x)])
    assert "words 2×6, y 2×6×3" in result.stdout.replace("\n", " ")
    for arrays, message in (
        ({"words": words}, "it lacks y, which the model takes"),
        ({"words": words, "y": y, "z": y}, "the model takes no 'z'; known: words, y"),
        ({"words": words, "y": np.array(["a"])}, "'y' is of dtype <U1"),
        (
            {"words": words, "y": np.zeros((2, 6, 5))},
            "its input y is 2×6×5, where it takes any×6×3",
        ),
    ):
        np.savez(x, **arrays)
        result = command.invoke(main, ["model", f"{file}:translator", "--input", str(x)])
        assert (result.exit_code, result.stdout) == (2, "")
        assert message in result.stderr
    with zipfile.ZipFile(x, "w") as archive:  # such as a saved model
        archive.writestr("config.json", "{}")
    result = command.invoke(main, ["model", f"{file}:translator", "--input", str(x)])
    assert result.exit_code == 2 and "'config.json' is of dtype |S2" in result.stderr
    np.save(tmp_path / "x.npy", y)
    given = str(tmp_path / "x.npy")
    result = command.invoke(main, ["model", f"{file}:translator", "--input", given])
    assert result.exit_code == 2 and "one array, but the model takes 2" in result.stderr
