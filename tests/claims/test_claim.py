"""Is every claim file either understood or refused with one clear message?"""

from __future__ import annotations

import json
import math
import re
import tomllib
from decimal import Decimal
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rnn_check.asking import request
from rnn_check.claims import beside, build, document, files, schema, variants, written
from rnn_check.claims.claim import Claim
from rnn_check.claims.expectations import trained
from rnn_check.claims.expectations.case import Case
from rnn_check.recurrences.penalties import Regularizer
from rnn_check.refusal import ClaimError
from rnn_check.subjects.asked import named as subject
from tests.support.sampling import sampled
from tools import fuzz_claims

GOOD = """\
schema = 1
title  = "Hand-set weights, linear activation"

[source]
document = "a document"

[layer]
kind = "SimpleRNN"
units = 3
activation = "linear"
return_sequences = true

[weights]
kernel           = [[1, 0, 2], [2, 1, 3]]
recurrent_kernel = [[1, 2, 1], [1, 0, 1], [0, 1, 0]]
bias             = [0, 0, 1]

[input]
x = [[[1, 3], [1, 1], [2, 3]]]

[[expect]]
what  = "output"
value = [[[7, 3, 12], [13, 27, 16], [48, 45, 54]]]
from  = "printed"
computed_in = "exact"
"""
X = "x = [[[1, 3], [1, 1], [2, 3]]]"


@pytest.mark.parametrize(
    ("dtype", "x", "lost"),
    [
        ("bool", "[[[1, 3], [1, 1], [2, 3]]]", 3),
        ("bool", "[[[1, 0], [-1, 1], [0, 1]]]", -1),
        ("int32", "[[[1, 0.5], [1, 1], [2, 3]]]", 0.5),
        ("int32", "[[[1, 3], [1, 1], [2, 4294967296]]]", 4.29497e09),
        ("int64", "[[[1, nan], [1, 1], [2, 3]]]", "nan"),
        ("float16", "[[[1, 3], [1, 1], [2, 0.1]]]", 0.1),
        ("float16", "[[[1, 3], [1, 1], [2, 70000]]]", 70000),
    ],
)
def test_what_x_is_passed_as_has_to_hold_it(dtype: str, x: str, lost: Any) -> None:
    """Else a subject would be told other numbers than those that it is judged by."""
    text = GOOD.replace(X, f'x = {x}\ndtype = "{dtype}"')
    shown = re.escape(f"{lost}" if isinstance(lost, str) else f"{lost:g}")
    with pytest.raises(ClaimError, match=rf"input.dtype: {dtype} does not hold {shown}, which"):
        files.loads(text)


@pytest.mark.parametrize(("dtype", "last"), [("bool", 1), ("float16", 0.5), ("int64", 7)])
def test_a_dtype_that_holds_x_is_taken(dtype: str, last: float) -> None:
    x = f'x = [[[1, 0], [0, 1], [1, {last}]]]\ndtype = "{dtype}"'
    assert files.loads(GOOD.replace(X, x)).input_dtype == dtype


def test_a_good_file_is_read_as_written() -> None:
    c = files.loads(GOOD, "good.toml")
    assert isinstance(c, Claim)
    assert c.name == "good"
    assert c.weights is not None
    assert c.weights["simple_rnn"]["kernel"].value.tolist() == [[1, 0, 2], [2, 1, 3]]
    assert c.expectations[0].name == "output"
    assert c.expectations[0].value.shape == (1, 3, 3)
    assert c.rnn.option("use_bias")
    assert not c.rnn.option("go_backwards")


@pytest.mark.parametrize(
    ("old", "new", "key", "message"),
    [
        ("schema = 1", "schema = 2", "schema", "this version reads schema 1"),
        ("schema = 1", "schema = ", "", "not TOML"),
        ("schema = 1\n", "", "schema", "required key is missing"),
        ('document = "a document"', 'document = " "', "source.document", "must not be empty"),
        ('[source]\ndocument = "a document"\n', "", "source", "required key is missing"),
        ("document =", "documnet =", "source.documnet", "did you mean `document`"),
        ("units = 3", "unit = 3", "layer.unit", "did you mean `units`"),
        ("units = 3", 'units = "3"', "layer.units", "expected int, got str"),
        ("units = 3", "units = 0", "layer.units", "expected a positive integer"),
        ("units = 3", "units = -1", "layer.units", "expected a positive integer"),
        ('kind = "SimpleRNN"', 'kind = "SimpelRNN"', "layer.kind", "did you mean `SimpleRNN`"),
        ('"linear"', '"tahn"', "layer.activation", "tanh"),
        ('what  = "output"', 'what  = "outptu"', "expect[0].what", "did you mean `output`"),
        ('from  = "printed"\n', "", "expect[0].from", "on whose word"),
        ('from  = "printed"', 'from = ""', "expect[0].from", "must not be empty"),
        ('computed_in = "exact"\n', "", "expect[0].computed_in", "in what arithmetic"),
        ("[2, 1, 3]]\nrec", "[2, 1]]\nrec", "weights.kernel[1]", "ragged array: 2 entries"),
        ("[2, 1, 3]]\nrec", "[2, 1, [3]]]\nrec", "weights.kernel[1][2]", "ragged array"),
        ("[2, 1, 3]]\nrec", "[2, 1, 3], [1, 1, 1]]\nrec", "weights.kernel", "(2, 3), got (3, 3)"),
        ("[2, 1, 3]]\nrec", "[2, 1, nan]]\nrec", "weights.kernel", "not finite"),
        ("[2, 1, 3]]\nrec", "[2, 1, 1e-9999]]\nrec", "weights.kernel", "out of any float's range"),
        ("[2, 1, 3]]\nrec", f"[2, 1, {10**400}]]\nrec", "weights.kernel", "does not fit a float64"),
        ("[2, 1, 3]]\nrec", "[2, 1, 1e999]]\nrec", "weights.kernel", "does not fit a float64"),
        ("[2, 1, 3]]\nrec", '[2, 1, "three"]]\nrec', "weights.kernel", "hex float"),
        ("[2, 1, 3]]\nrec", "[2, 1, true]]\nrec", "weights.kernel[1][2]", "expected a number"),
        ("[2, 1, 3]]\nrec", "[2, 1, 1979-05-27]]\nrec", "weights.kernel[1][2]", "got date"),
        ("kernel           =", "kernle =", "weights.kernle", "did you mean `kernel`"),
        ("bias             = [0, 0, 1]\n", "", "weights.bias", "required key is missing"),
        (X, "x = [[1, 3]]", "input.x", "(batch, timesteps, features)"),
        (X, "x = []", "input.x", "empty list"),
        (X, "", "input", "give either x, or shape"),
        ("x = [", "mask = [[true]]\nx = [", "input.mask", "expected shape (1, 3), got (1, 1)"),
        ("x = [", "mask = [[1, 0, 1]]\nx = [", "input.mask[0][0]", "expected true or false"),
        (
            "x = [",
            "initial_state = [[1, 2]]\nx = [",
            "input.initial_state",
            "expected shape (1, 3)",
        ),
        ("[[7, 3, 12], ", "[", "expect[0].value", "expected shape (1, 3, 3), got (1, 2, 3)"),
        ("value = [[[7, 3, 12], [13, 27, 16], [48, 45, 54]]]\n", "", "expect[0].value", "missing"),
        ("[[expect]]", "[[expct]]", "expct", "did you mean `expect`"),
        (
            'what  = "output"',
            'what = "gradient"',
            "expect[0].of",
            "required: one of x, kernel, recurrent_kernel, bias, initial_state",
        ),
        ('what  = "output"', 'what = "loss"', "expect[0].what", "loss needs loss"),
        ('what  = "output"', 'what = "last_state"', "expect[0].what", "return_state = true"),
        ('what  = "output"', 'what = "output"\nof = "kernel"', "expect[0].of", "takes no `of`"),
        (
            'what  = "output"',
            'what = "output"\nat = {timestep = 7}',
            "expect[0].at",
            "out of bounds",
        ),
        ('what  = "output"', 'what = "output"\nat = {step = 1}', "expect[0].at.step", "timestep"),
        ("[weights]\n", "[weights]\nrecurrent_bias = [1]\n", "weights.recurrent_bias", "(3,)"),
        (
            "[input]",
            "[loss]\ncotangent = [1]\n[input]",
            "loss.cotangent",
            "expected shape (1, 3, 3)",
        ),
        ("[input]", '[loss]\nkind = "mse"\n[input]', "loss.target", "required for the loss"),
        (X, "x = {arange = 5, shape = [1, 3, 2]}", "input.x.arange", "5"),
        (X, "x = {rand = 5}", "input.x", "unknown recipe"),
        (X, "x = {full = 5}", "input.x", "needs the key `shape`"),
        (X, 'x = {npz = "absent.npz", key = "x"}', "input.x.npz", "no file absent.npz"),
        (X, 'x = {npz = "../up.npz", key = "x"}', "input.x.npz", "beside this one"),
    ],
)
def test_each_mistake_is_named(old: str, new: str, key: str, message: str) -> None:
    assert old in GOOD
    with pytest.raises(ClaimError) as caught:
        files.loads(GOOD.replace(old, new, 1), "bad.toml")
    assert caught.value.file == "bad.toml"
    assert caught.value.key == key
    assert message in caught.value.problem
    assert "\n" not in caught.value.problem.strip() or key == ""


GATED = """\
schema = 1
title  = "An LSTM"
source = { document = "a document" }
layer  = { kind = "LSTM", units = 1, activity_regularizer = { kind = "L2", l2 = 1 } }
input  = { x = [[[1], [2]]] }

[weights]
kernel           = [[1, 2, 3, 4]]
recurrent_kernel = [[5, 6, 7, 8]]
bias             = [1, 0, 1, 0]

[[expect]]
what  = "activity_loss"
value = true
from  = "documented"
"""


@pytest.mark.parametrize(
    ("old", "new", "key", "message"),
    [
        ("[5, 6, 7, 8]", "[5, 6, 7]", "weights.recurrent_kernel", "shape (1, 4), got (1, 3)"),
        ('"LSTM"', '"GRU"', "weights.kernel", "expected shape (1, 3), got (1, 4)"),
        ("units = 1", "units = 0", "layer.units", "expected a positive integer"),
        ("units = 1", "unts = 1", "layer.unts", "did you mean `units`"),
        ("units = 1", 'units = 1, reset_after = true', "layer.reset_after", "unknown key"),
        ("units = 1", 'units = 1, recurrent_activation = "sigmiod"', "layer.recurrent_activation",
         "sigmoid"),
        (', activity_regularizer = { kind = "L2", l2 = 1 }', "", "expect[0].what",
         "needs an activity_regularizer"),
        ("input  = { x = [[[1], [2]]] }", "input  = { shape = [2, 1] }", "expect[0].what",
         "activity_loss needs input.x"),
        ("value = true", "value = 0.5", "expect[0].value", "expected true"),
        ('"activity_loss"', '"reproducible"', "expect[0].of", "required: one of kernel"),
        ('"activity_loss"', '"reproducible"\nof = "kernle"', "expect[0].of", "mean `kernel`"),
        ('"activity_loss"', '"reproducible"\nof = "kernel"', "expect[0].what",
         "needs kernel_initializer with a seed"),
        ('"activity_loss"', '"default"', "expect[0].of", "required: one of activation"),
        ('"activity_loss"', '"default"\nof = "actvation"', "expect[0].of", "mean `activation`"),
        ('"activity_loss"', '"default"\nof = "Adam.epsilom"', "expect[0].of",
         "mean `Adam.epsilon`"),
        ('"activity_loss"', '"default"\nof = "activity_regularizer"', "expect[0].of", "unknown"),
        ('"activity_loss"', '"config"\nof = "activation"', "expect[0].of", "unknown"),
        ('"activity_loss"\nvalue = true', '"default"\nof = "dropout"\nvalue = [0]',
         "expect[0].value", "expected true, a number"),
        ('"activity_loss"\nvalue = true', '"default"\nof = "dropout"\nvalue = nan',
         "expect[0].value", "not finite"),
        ('"activity_loss"\nvalue = true', '"default"\nof = "dropout"\nvalue = { gain = 1 }',
         "expect[0].value", "expected true, a number"),
        ('"activity_loss"\nvalue = true', '"default"\nof = "bias_initializer"\n'
         'value = { kind = "Zeros", seed = [] }', "expect[0].value.seed",
         "expected true, a number"),
    ],
)  # fmt: skip
def test_each_mistake_about_an_lstm_is_named(old: str, new: str, key: str, message: str) -> None:
    files.loads(GATED, "good.toml")
    assert old in GATED
    with pytest.raises(ClaimError) as caught:
        files.loads(GATED.replace(old, new, 1), "bad.toml")
    assert (caught.value.file, caught.value.key) == ("bad.toml", key)
    assert message in caught.value.problem


def test_the_largest_number_is_one() -> None:
    text = GOOD.replace("[2, 1, 3]]\nrec", "[2, 1, 1.7976931348623157e308]]\nrec")
    assert files.loads(text).weights is not None


def test_no_expectation_is_a_mistake() -> None:
    with pytest.raises(ClaimError, match="expects nothing"):
        files.loads("expect = []\n" + GOOD[: GOOD.index("[[expect]]")], "bad.toml")


def test_paths(tmp_path: Path) -> None:
    with pytest.raises(ClaimError, match="no such file or folder"):
        files.find([tmp_path / "absent"])
    with pytest.raises(ClaimError, match="holds no claim files"):
        files.find([tmp_path])
    (tmp_path / "claim.json").write_text("{}")
    with pytest.raises(ClaimError, match=r"ends in \.toml"):
        files.find([tmp_path / "claim.json"])
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "one.toml").write_text(GOOD)
    (tmp_path / "bytes.toml").write_bytes(b"\xff")
    found = files.find([tmp_path, tmp_path / "deep" / "one.toml"])
    assert [name for name, _ in found] == ["bytes", "deep/one"]
    with pytest.raises(ClaimError, match="not UTF-8"):
        files.load(tmp_path / "bytes.toml")


def test_known_deviations_stand_beside_the_claims_and_are_none() -> None:
    assert sorted(files.known().glob("*.toml"))
    for folder in (files.bundled(), files.known().parent / "known" / ".."):
        assert not [f for _, f in files.find([folder]) if f.is_relative_to(files.known())]
    with pytest.raises(ClaimError, match="holds no claim files"):
        files.find([files.known()])


def test_a_link_is_called_as_it_is_and_leads_to_no_other_folder(tmp_path: Path) -> None:
    folder = tmp_path / "claims"
    folder.mkdir()
    (tmp_path / "secret.toml").write_text(GOOD)
    (folder / "b.toml").write_text(GOOD)
    (folder / "a.toml").symlink_to("b.toml")
    (folder / "loop.toml").symlink_to("loop.toml")
    (folder / "out.toml").symlink_to("../secret.toml")
    found = files.find([folder])
    assert [name for name, _ in found] == ["a", "loop", "out"]
    assert [path for _, path in found] == [folder / f"{name}.toml" for name, _ in found]
    claims, refused = files.load_what_loads([folder])
    assert [each.name for each in claims] == ["a"]
    assert [(Path(each.file).name, each.problem) for each in refused] == [
        ("loop.toml", "cannot be read: Too many levels of symbolic links"),
        ("out.toml", "is a link that leads out of its folder; name the file itself"),
    ]


SCHEMA = json.loads(
    (Path(__file__).parents[2] / "docs" / "claim.schema.json").read_text(encoding="utf-8")
)


def test_the_published_schema_is_the_loaders() -> None:
    assert schema.json_schema() == SCHEMA
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


def test_every_bundled_claim_satisfies_the_published_schema() -> None:
    validator = jsonschema.Draft202012Validator(SCHEMA)
    every = [file for _, file in files.find([files.bundled()])]
    assert len(every) > 100
    for file in every:
        document = tomllib.loads(file.read_text(encoding="utf-8"), parse_float=Decimal)
        problems = [error.message for error in validator.iter_errors(fuzz_claims.as_json(document))]
        assert not problems, file


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("units = 3", "units = 5000"),
        ("units = 3", 'units = 3\ndropout = "0.5"'),
        ("units = 3", 'units = 3\nkernel_initializer = { kind = "Lambda" }'),
        ("units = 3", 'units = 3\nkernel_initializer = { kind = "Zeros", seed = 1 }'),
        ("units = 3", 'units = 3\nkernel_regularizer = { kind = "L2", l2 = [1] }'),
        ("units = 3", "units = 3\nkernel_regularizer = 0.5"),
        ("units = 3", 'units = 3\nname = "../a"'),
        ('kind = "SimpleRNN"', 'kind = "TFSMLayer"'),
        ("[input]", '[vary]\n"source.url" = ["a"]\n[input]\ndtype = "int16"'),
        ("[input]", "[wrong]\nx_shape = [-1]\n[input]"),
        ("[input]", "[wrong]\nlayer = { a = [1] }\n[input]"),
        ('kind = "SimpleRNN"\nunits = 3', 'kind = "Bidirectional"\nlayer = { units = 3 }'),
        ('document = "a document"', 'document = "a"\nurl = 1\n[vary]\n"source.url" = ["a"]'),
    ],
)
def test_what_the_published_schema_refuses_is_refused(old: str, new: str) -> None:
    validator = jsonschema.Draft202012Validator(SCHEMA)
    for text, is_right in ((GOOD, True), (GOOD.replace(old, new, 1), False)):
        document = fuzz_claims.as_json(tomllib.loads(text, parse_float=Decimal))
        assert validator.is_valid(document) is is_right
    with pytest.raises(ClaimError):
        files.loads(text)


@pytest.mark.parametrize("cases", sampled([80, 600], 2))
def test_nothing_but_one_short_complaint_comes_of_mutated_files(cases: int, tmp_path: Path) -> None:
    """A few of the cases of `python -m tools.fuzz_claims`, which measures time and memory too."""
    maker = fuzz_claims.Maker(fuzz_claims.archives(tmp_path))
    checker = fuzz_claims.Checker(tmp_path, seconds=math.inf, megabytes=math.inf)
    for number in range(cases):
        assert not list(checker.check(maker.case(2, number))), f"--seed 2 --only {number}"
    assert checker.loaded > cases // 20
    assert checker.refused > cases // 2


# --- whatever is fed to the loader: a valid claim or that one error -------------------------------

_SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.just("0x1p-3")
)
_TOKENS = st.sampled_from(
    [*GOOD.split(), "nan", "inf", "-0", "1e400", '"""', "[[", "]]", "{", "}", "=", "\x00", "𝄞", "#"]
)


def _loads_or_refuses(text: str) -> None:
    refusal = ""
    loaded = None
    try:
        loaded = files.loads(text, "mutated.toml")
    except ClaimError as error:
        refusal = str(error)
    if loaded is None:
        assert refusal.startswith("mutated.toml: ")
    else:
        assert loaded.expectations


@given(st.data())
def test_mutated_text(data: st.DataObject) -> None:
    text = GOOD
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(text)))
        stop = min(len(text), start + data.draw(st.integers(0, 20)))
        text = text[:start] + data.draw(_TOKENS) + text[stop:]
    _loads_or_refuses(text)


@given(st.data())
def test_mutated_values(data: st.DataObject) -> None:
    """One value of the document, wherever it stands, becomes something else."""
    document = tomllib.loads(GOOD)
    places: list[tuple[dict[str, object] | list[object], str | int]] = []

    def walk(node: object) -> None:
        if isinstance(node, dict):
            for key, value in node.items():
                places.append((node, key))
                walk(value)
        elif isinstance(node, list):
            for index, value in enumerate(node):
                places.append((node, index))
                walk(value)

    walk(document)
    container, key = data.draw(st.sampled_from(places))
    replacement = data.draw(st.recursive(_SCALARS, lambda inner: st.lists(inner, max_size=3)))
    if replacement is None:
        del container[key]  # type: ignore[arg-type]
    else:
        container[key] = replacement  # type: ignore[index]
    try:
        text = msgspec.toml.encode(document).decode()
    except (TypeError, ValueError):
        return  # not writable as TOML: nothing to load
    _loads_or_refuses(text)


OPTIONS = Path(__file__).parents[2] / "fixtures" / "options"


@pytest.mark.parametrize(
    ("name", "old", "new", "key", "message"),
    [
        (
            "bidirectional/states",
            "[[[0.25, -0.5, 0.75], [-0.125, 0.375, -0.625], [0.5, 0.875, -0.25]],", "[",
            "input.initial_state", "expected shape (2, 3, 3), got (1, 3, 3)",
        ),
        (
            "bidirectional/states", "return_state = true", "go_backwards = true",
            "layer.layer.go_backwards", "not inside Bidirectional",
        ),
        (
            "bidirectional/backward_layer", "go_backwards = true, ", "",
            "layer.backward_layer.go_backwards", "expected true",
        ),
        (
            "bidirectional/backward_layer", "return_sequences = true, return_state = true }\n\n",
            "return_state = true }\n\n", "layer.backward_layer.return_sequences", "expected true",
        ),
        (
            "bidirectional/backward_layer", '"GRU", units = 2', '"GRU", units = 3',
            "layer.backward_layer.units", "expected 2, as of the layer",
        ),
        (
            "bidirectional/backward_layer", '"GRU", units', '"LSTM", units',
            "input.initial_state", "directions have as many states",
        ),
        (
            "bidirectional/backward_layer", "go_backwards = true, ",
            "go_backwards = true, activity_regularizer = 'L2', ",
            "layer.backward_layer.activity_regularizer", "expected what the layer has",
        ),
        (
            "models/stack", 'name  = "both"\n', 'name  = "both"\nmerge_mode = "None"\n',
            "layers[2].merge_mode", "only of the last layer",
        ),
        (
            "bidirectional/apart_outputs", "[loss]",
            "[training]\noptimizer = 'SGD'\nlearning_rate = 0.1\nepochs = 1\n[loss]",
            "training", "puts out two arrays",
        ),
        ("models/apart", '["nested"', '["sequential"', "expect[0].what", "one array at the end"),
        (
            "bidirectional/apart_outputs", '"exported"', '"output_shape"\nof = "both"',
            "expect[3].what", "one array at the end",
        ),
        (
            "wrong/backward_layer", "\nbackward_layer = { k", "\nmerge_mode = 'sum' # { k",
            "wrong.backward_layer", "of a Bidirectional layer that has one",
        ),
        (
            "cells/stacked_states", "[input]\n", "[input]\ninitial_state = [[1, 2]]\n",
            "input.initial_state", "an RNN over one cell that is the first layer",
        ),
        (
            "bidirectional/stack", "return_sequences = true }",
            "return_sequences = true, return_state = true }", "layers.return_state",
            "only of the last layer",
        ),
        ("cells/without_bias", "initial_state", "#", "expect[0].what", "needs input.initial_state"),
        ("dropout/one_update", "= 0.5\nrec", "= 0.3\nrec", "expect[0].what", "0.5, 0.75 or 0.875"),
        ("dropout/one_update", '"mse"', '"cotangent"', "loss", ""),
        (
            "bidirectional/constraints", '"NonNeg"', '"NoNeg"',
            "layers[0].layer.kernel_constraint", "known: NonNeg, MaxNorm",
        ),
    ],
    ids=str,
)  # fmt: skip
def test_what_is_wrong_with_a_claim_of_an_option_is_named(
    name: str, old: str, new: str, key: str, message: str
) -> None:
    text = (OPTIONS / f"{name}.toml").read_text(encoding="utf-8")
    assert old in text
    with pytest.raises(ClaimError) as raised:
        files.loads_each(text.replace(old, new), f"{name}.toml")
    assert f"{name}.toml" in str(raised.value)
    assert key in str(raised.value)
    assert message in str(raised.value)


# --- claims that are too much, or are meant to be -------------------------------------------------


def nested(depth: int, inside: str = "1") -> str:
    return "[" * depth + inside + "]" * depth


LONG_HEX = "0x" + "f" * 5000
VALUE = "value = [[[7, 3, 12], [13, 27, 16], [48, 45, 54]]]"


@pytest.mark.parametrize(
    ("old", "new", "key", "message"),
    [
        (X, f"x = {nested(15)}", "input.x", "(batch, timesteps, features)"),
        (X, f"x = {nested(17)}", "input.x" + 15 * "[0]", "at most 16 deep"),
        (X, f"x = {nested(65)}", "", "at most 16 deep"),
        (X, f"x = {nested(20_000)}", "", "at most 16 deep"),
        (X, "x = " + "{a = " * 500 + "1" + "}" * 500, "", "at most 16 deep"),
        ("[input]", "a." * 20_000 + "a = 1\n[input]", "", "at most 16 deep"),
        ("[input]", "[" + "a." * 20_000 + "a]\n[input]", "", "at most 16 deep"),
        ("[input]", '"a" . ' * 40 + "'a' = 1\n[input]", "", "at most 16 deep"),
        ("units = 3", f"units = {LONG_HEX}", "layer.units", "less than 1,000 digits"),
        ("units = 3", f"units = 3\nseed = {LONG_HEX}", "layer.seed", "less than 1,000 digits"),
        ("units = 3", "units = 3\nseed = 0x80000000", "layer.seed", "<= 2,147,483,647"),
        ("schema = 1", f"schema = {LONG_HEX}", "schema", "less than 1,000 digits"),
        (X, f"x = [[[{LONG_HEX}, 3]]]", "input.x[0][0][0]", "less than 1,000 digits"),
        (X, f"x = [[[0.{'1' * 1001}, 3]]]", "input.x[0][0][0]", "at most 1,000 digits"),
        (X, f"x = [[[1e{'9' * 30}, 3]]]", "", "out of any float's range"),
        (X, f"x = [[[1e{'3' * 9_000}, 3]]]", "", "out of any float's range"),
        (X, f"mask = [[{LONG_HEX}]]\n{X}", "input.mask[0][0]", "less than 1,000 digits"),
        ("units = 3", "units = 3\ndropout = nan", "layer.dropout", "expected a finite number"),
        ("units = 3", "units = 3\ndropout = 1e400", "layer.dropout", "expected a finite number"),
        ("units = 3", 'units = 3\ndropout = "0.5"', "layer.dropout", "expected a number"),
        ("[input]", '[vary]\n"0.1" = [1]\n[input]', 'vary."0.1"', "no such place"),
        ("[input]", '[vary]\n"expect.-1.from" = ["a"]\n[input]', 'vary."expect.-1.from"',
         "no such place"),
        ("[input]", '[vary]\n"expect.0_0.from" = ["a"]\n[input]', 'vary."expect.0_0.from"',
         "no such place"),
        ("[input]", '[vary]\n"expect.٠.from" = ["a"]\n[input]', 'vary."expect.٠.from"',
         "no such place"),
        ("[input]", '[vary]\n"expect.99999999999999999999.from" = ["a"]\n[input]',
         'vary."expect.99999999999999999999.from"', "no such place"),
        ("[input]", '[vary]\n"layer.units" = [3, 3]\n[input]', 'vary."layer.units"', "called '3'"),
        ("[input]", '[vary]\n"layer.units" = []\n[input]', 'vary."layer.units"', "a list of"),
        ("[input]", '[vary]\n"vary.x" = [1]\n[input]', 'vary."vary.x"', "no such place"),
        ("[input]", f'[vary]\n"title" = {list("ab")}\n"notes" = {[str(i) for i in range(257)]}\n'
         "[input]", "vary", "expected 1 to 512 combinations, got 514"),
        ("[input]", f'[vary]\n"title" = {[str(i) for i in range(300)]}\n[input]', "vary",
         "a file holds at most 50,000"),
        ("[input]", '[vary."title"]\n"a\\nb" = "c"\n[input]', "vary.title",
         "characters that can be printed"),
        (X, "x = {linspace = [[0], 1], shape = [1, 2, 2]}", "input.x.linspace", "a number"),
        (X, "x = {linspace = [-1e308, 1e308], shape = [1, 2, 2]}", "input.x.linspace",
         "fits no float64"),
        (X, "x = {full = true, shape = [1, 2, 2]}", "input.x.full", "expected a number"),
        (X, "x = {full = 1, shape = [1, 1, 1, 1, 1, 1, 1, 1, 1]}", "input.x.shape", "1 to 8 sizes"),
        (X, "x = {full = 1, shape = [1, 1500000, 2]}", "input.x.shape", "3,000,000 numbers"),
        (X, "x = {identity = 1000000000, times = 1}", "input.x.identity", "far more numbers"),
        (X, "x = {full = 1, shape = [1, 20000, 2]}", "input", "20,000 timesteps are too many"),
        ("recurrent_kernel = [[1, 2, 1], [1, 0, 1], [0, 1, 0]]",
         "recurrent_kernel = {identity = 30000, times = 1}", "weights.recurrent_kernel.identity",
         "900,000,000 numbers"),
        ("units = 3", "units = 1000000000", "layer.units", "expected an integer <= 4,096"),
        (VALUE, f"{VALUE}\nat = {{timestep = {10**20}}}", "expect[0].at.timestep", "<= 10,000,000"),
        (VALUE, f"{VALUE}\nat = {{timestep = []}}", "expect[0].at.timestep", "empty list"),
        ('what  = "output"\n' + VALUE, 'what = "output_dtype"\nvalue = true',
         "expect[0].computed_in", "takes no `computed_in`"),
        ('kind = "SimpleRNN"', "kind = {}", "layer.kind", "expected str, got dict"),
        ("schema = 1", "schema = 1\nkind = {}", "kind", "unknown key"),
        ("schema = 1", "schema = 1\nvary = 1", "vary", "expected table"),
        ("[input]", "[vary]\ntitle = ['a', 'b', 'a']\n[input]", 'vary."title"', "called 'a'"),
        ("units = 3", "units = 2000", "weights.kernel", "expected shape (2, 2000)"),
        (X, "x = {full = 1, shape = [1000, 9999, 1]}", "input.x.shape", "9,999,000 numbers"),
        (X, "x = {full = 1, shape = [150, 9000, 1]}", "weights.kernel", "expected shape (1, 3)"),
        ("[input]", '[reading]\ninput = "float32"\n[input]', "", ""),
        (f"[input]\n{X}", f'[reading]\ninput = "float32"\n[input]\n{X.replace("1, 3", "1e300, 3")}',
         "input.x", "does not fit a float32"),
        (GOOD[GOOD.index("what  =") :], 'what = "output_dtype"\nvalue = []\nfrom = "a"',
         "expect[0].value", "unknown dtype []"),
        ("title  =", f'"{"k" * 3000}" = 1\ntitle  =', "", "at most 100 characters"),
        ("title  =", f'"{"k" * 100}" = 1\ntitle  =', "k" * 100, "unknown key"),
        ('"printed"', '"\\u001b[2J"', "expect[0].from", "cannot be shown"),
        ('"printed"', '"\\r\\r~~~"', "expect[0].from", "cannot be shown"),
        ('"printed"', '"\\u202e"', "expect[0].from", "cannot be shown"),
        ("[input]", '[wrong]\nlayer = {a = {b = 1}}\n[input]', "wrong.layer.a", "a number"),
        ("[input]", '[wrong]\nlayer = {kind = "Dense"}\n[input]', "wrong.layer.kind", "an option"),
        ("[input]", "[wrong]\nlayer = {units = 1000000000}\n[input]", "wrong.layer.units",
         "at most 4,096"),
        ("[input]", "[wrong]\nx_shape = [400, 1000, 1000]\n[input]", "wrong.x_shape", "1,000,000"),
        ("[input]", "[wrong]\nmask_shape = [1, -1]\n[input]", "wrong.mask_shape[1]", "0 or a pos"),
        ("weights]\nkernel", "weights.simple_rnn]\nkernel", "weights.simple_rnn", "unknown key"),
        ('computed_in = "exact"', "", "expect[0].computed_in", "required"),
    ],
)  # fmt: skip
def test_what_is_too_much_is_one_short_complaint(
    old: str, new: str, key: str, message: str
) -> None:
    assert old in GOOD
    text = GOOD.replace(old, new, 1)
    if not message:
        assert files.loads(text)
        return
    with pytest.raises(ClaimError) as caught:
        files.loads(text, "bad.toml")
    assert caught.value.key == key
    assert message in caught.value.problem
    assert len(str(caught.value)) < 1_000
    assert str(caught.value).isprintable()


# --- what is allowed is said ----------------------------------------------------------------------

TWO = """\
schema = 1
title  = "SimpleRNN and Dense"
source = { document = "a document" }

[[layers]]
kind = "SimpleRNN"
units = 3

[[layers]]
kind = "Dense"
units = 1

[weights.simple_rnn]
kernel           = [[1, 0, 2], [2, 1, 3]]
recurrent_kernel = [[1, 2, 1], [1, 0, 1], [0, 1, 0]]
bias             = [0, 0, 1]

[weights.dense]
kernel = [[1], [2], [3]]
bias   = [0]

[input]
x = [[[1, 3], [1, 1], [2, 3]]]

[loss]
kind   = "mse"
target = [[1]]

[training]
optimizer     = "Adam"
learning_rate = 0.1
epochs        = 2

[[expect]]
what  = "gradient"
of    = "kernel"
value = [[1, 2, 3], [4, 5, 6]]
from  = "somebody"
computed_in = "real"
"""


LINE = "learning_rate = {kind = 'ExponentialDecay', initial_learning_rate = 1, decay_steps = 3, "
LINE += "decay_rate = 0.5}"
WAVE = "learning_rate = {kind = 'CosineDecay', initial_learning_rate = 1, decay_steps = 3, "
WAVE += "alpha = 0.5}"
STEPS = "learning_rate = {kind = 'PiecewiseConstantDecay', boundaries = [2, 5], "
STEPS += "values = [1, 0.5, 0.25]}"


@pytest.mark.parametrize("rate", [LINE, WAVE, STEPS])
def test_a_learning_rate_may_be_a_schedule(rate: str) -> None:
    c = files.loads(TWO.replace("learning_rate = 0.1", rate))
    assert c.training is not None
    named = rate.split("'")[1]
    assert type(c.training.optimizer.learning_rate).__name__ == named
    assert c.training.options["learning_rate"]["kind"] == named


@pytest.mark.parametrize(
    ("old", "new", "key", "message"),
    [
        ('"Adam"', '"Lion"', "training.optimizer",
         "unknown optimizer 'Lion'; known: Adam, AdamW, RMSprop, SGD"),
        ('"mse"', '"sum_of_squares"', "loss.kind",
         "known: categorical_crossentropy, cotangent, mse"),
        ('kind = "Dense"', 'kind = "Desne"', "layers[1].kind", "did you mean `Dense`"),
        ('kind = "SimpleRNN"\nunits = 3',
         'kind = "Bidirectional"\nlayer = {kind = "RNN", units = 3}', "layers[0].layer.kind",
         "did you mean `SimpleRNN`?; known: GRU, LSTM, SimpleRNN"),
        ('kind = "SimpleRNN"\nunits = 3', 'kind = "RNN"\ncell = {kind = "GRU", units = 3}',
         "layers[0].cell.kind", "did you mean `GRUCell`?; known: CustomCell, GRUCell"),
        ('kind = "SimpleRNN"\nunits = 3', 'kind = "RNN"\ncell = [{units = 3}]',
         "layers[0].cell[0].kind", "one of SimpleRNNCell, CustomCell, LSTMCell, GRUCell"),
        ('kind = "SimpleRNN"\nunits = 3', "units = 3", "layers[0].kind", "one of "),
        ("[training]", '[reading]\nlayout = "Wx"\n[training]', "reading.layout", "mean `W·x`"),
        ("[training]", '[reading]\nweights = "round"\n[training]', "reading.weights",
         "did you mean `rounded`"),
        ('"real"', '"float"', "expect[0].computed_in", "known: exact, float32, float64, hand"),
        ('"real"', '"None"', "expect[0].computed_in", "known: exact, float32, float64, hand"),
        ('of    = "kernel"', 'of = "simple_rn.kernel"', "expect[0].of",
         "did you mean `simple_rnn.kernel`?"),
        ("[weights.simple_rnn]\n", "[weights]\n", "weights.kernel",
         "Give [weights.simple_rnn], [weights.dense]"),
        ("[[1, 0, 2], [2, 1, 3]]", "[[1, 0, 2], [2, 1, 3,5]]", "weights.simple_rnn.kernel[1]",
         "a decimal comma?"),
        ("[[1, 0, 2], [2, 1, 3]]", "[[1, 0, 2], [2, 1]]", "weights.simple_rnn.kernel[1]",
         "2 entries where its neighbours have 3"),
        ("units = 1", "units = 0", "layers[1].units", "expected a positive integer, got 0"),
        ("kind = \"Dense\"", "kind = \"Dense\"\nname = \"a/b\"", "layers[1].name",
         "expected a letter, then letters, digits and _"),
        ("units = 1", "unit = 1", "layers[1].unit", "did you mean `units`"),
        ("epochs        = 2", "epochs = 20000", "training.epochs", "<= 10,000, got 20000"),
        ("learning_rate = 0.1", "learning_rate = nan", "training.learning_rate", "positive number"),
        ("learning_rate = 0.1", "learning_rate = 1e400", "training.learning_rate", "a float64"),
        ("learning_rate = 0.1", "learning_rate = 0.0", "training.learning_rate", "positive number"),
        ("learning_rate = 0.1", 'learning_rate = {kind = "Decay"}', "training.learning_rate.kind",
         "CosineDecay"),
        ("learning_rate = 0.1", "learning_rate = {decay_rate = 2}",
         "training.learning_rate.kind", "one of ExponentialDecay"),
        ("learning_rate = 0.1", LINE.replace("0.5", "-1"), "training.learning_rate.decay_rate",
         "positive number"),
        ("learning_rate = 0.1", LINE.replace("decay_steps = 3, ", ""),
         "training.learning_rate.decay_steps", "required key is missing"),
        ("learning_rate = 0.1", WAVE.replace("alpha = 0.5", "alpha = 1"),
         "training.learning_rate.alpha", "from 0 to less than 1"),
        ("learning_rate = 0.1", WAVE.replace("alpha = 0.5", "warmup_steps = 2"),
         "training.learning_rate.warmup_steps", "both warmup_target and warmup_steps"),
        ("learning_rate = 0.1", STEPS.replace("[2, 5]", "[5, 2]"),
         "training.learning_rate.boundaries", "grow"),
        ("learning_rate = 0.1", STEPS.replace("[2, 5]", "[2]"), "training.learning_rate.values",
         "expected 2, one more than boundaries, got 3"),
        ("learning_rate = 0.1", STEPS.replace("0.25", "0"), "training.learning_rate.values[2]",
         "positive number"),
        ("epochs        = 2", "epochs = 2\nclipnorm = 1\nclipvalue = 1", "training.clipvalue",
         "one of clipnorm, clipvalue, global_clipnorm at most"),
        ("epochs        = 2", "epochs = 2\nclipnorm = 0", "training.clipnorm", "positive number"),
        ("epochs        = 2", "epochs = 2\nweight_decay = -1", "training.weight_decay",
         "positive number"),
        ("epochs        = 2", "epochs = 2\nema_momentum = 0.5", "training.ema_momentum",
         "use_ema = true"),
        ("epochs        = 2", "epochs = 2\nuse_ema = true\nema_momentum = 1",
         "training.ema_momentum", "from 0 to less than 1"),
        ("epochs        = 2", "epochs = 2\nuse_ema = true\nema_overwrite_frequency = 0",
         "training.ema_overwrite_frequency", "a positive integer"),
        ("epochs        = 2", "epochs = 2\ngradient_accumulation_steps = 1",
         "training.gradient_accumulation_steps", ">= 2"),
        ("epochs        = 2", "epochs = 2\nloss_scale_factor = 2", "training.loss_scale_factor",
         "no update with loss_scale_factor"),
    ],
)  # fmt: skip
def test_what_is_allowed_is_said(old: str, new: str, key: str, message: str) -> None:
    assert files.loads(TWO)
    assert old in TWO
    with pytest.raises(ClaimError) as caught:
        files.loads(TWO.replace(old, new, 1), "bad.toml")
    assert caught.value.key == key
    assert message in caught.value.problem


@pytest.mark.parametrize(
    ("what", "option", "message"),
    [
        ('what = "parameters"\nvalue = 18', 'computed_in = "float32"', "takes no `computed_in`"),
        ('what = "parameters"\nvalue = 18', "at = {unit = 1}", "parameters takes no `at`"),
        ('what = "certified"\nvalue = true', 'computed_in = "hand"', "certified takes no"),
        ('what = "certified"\nvalue = true', "at = {timestep = 1}", "certified takes no `at`"),
        ('what = "output_shape"\nvalue = "(1, 3, 3)"', "at = {unit = 1}", "takes no `at`"),
        ('what = "weights_read_back"\nvalue = true', "at = {row = 1}", "takes no `at`"),
        ('what = "output"\nvalue = 1\ncomputed_in = "exact"', "at = {epoch = 1}", "no such axis"),
        ('what = "output"\nvalue = 1\ncomputed_in = "exact"', "at = {row = 1}", "no such axis"),
    ],
)  # fmt: skip
def test_nothing_is_accepted_and_ignored(what: str, option: str, message: str) -> None:
    text = GOOD[: GOOD.index("[[expect]]")] + f'[[expect]]\n{what}\nfrom = "a"\n'
    with pytest.raises(ClaimError, match=message):
        files.loads(text + option)


def test_the_dropout_that_a_layer_has_not_cannot_be_claimed() -> None:
    text = GOOD[: GOOD.index("[[expect]]")] + '[[expect]]\nwhat = "dropout"\nof = "input"\n'
    text += 'value = true\nfrom = "a"\n'
    assert files.loads(text.replace("units = 3", "units = 3\ndropout = 0.5"))
    with pytest.raises(ClaimError, match="needs a dropout rate"):
        files.loads(text)
    with pytest.raises(ClaimError, match="needs a recurrent_dropout rate"):
        files.loads(text.replace('"input"', '"recurrent"'))


def test_the_biases_of_other_frameworks_are_added_wherever_there_are_two() -> None:
    text = (OPTIONS / "bidirectional" / "states.toml").read_text(encoding="utf-8")
    start = text.index("[weights.forward]")
    more = text[:start] + "[weights.forward]\nrecurrent_bias = [1, 2, 4]\n"
    more += text[start + len("[weights.forward]\n") :]
    before, after = (files.loads_each(each)[0].weights for each in (text, more))
    assert before is not None and after is not None
    (one,), (two,) = before.values(), after.values()
    assert (two["forward.bias"].value - one["forward.bias"].value).tolist() == [1, 2, 4]
    assert (two["backward.bias"].value == one["backward.bias"].value).all()


# --- what the author's layout turns ---------------------------------------------------------------

LEFT = TWO.replace("[training]", '[reading]\nlayout = "W·x"\n[training]').replace(
    "[[1, 0, 2], [2, 1, 3]]", "[[1, 2], [0, 1], [2, 3]]"
)
LEFT = LEFT.replace("kernel = [[1], [2], [3]]", "kernel = [[1, 2, 3]]")
LEFT = LEFT.replace("[[1, 2, 3], [4, 5, 6]]", "[[1, 4], [2, 5], [3, 6]]")


def test_gradients_are_read_in_the_layout_of_the_weights() -> None:
    for text, shown in ((TWO, [[1, 2, 3], [4, 5, 6]]), (LEFT, [[1, 4], [2, 5], [3, 6]])):
        c = files.loads(text)
        e = c.expectations[0]
        view = c.view(e.of)({"simple_rnn.kernel": np.array([[1, 2, 3], [4, 5, 6]])})
        assert e.value.value.tolist() == view.tolist() == shown
    kernels = [
        {name: array.value.tolist() for name, array in c.weights["simple_rnn"].items()}
        for c in (files.loads(TWO), files.loads(LEFT))
        if c.weights is not None
    ]
    assert kernels[0]["kernel"] == kernels[1]["kernel"]
    assert kernels[1]["recurrent_kernel"] == np.transpose(kernels[0]["recurrent_kernel"]).tolist()


@pytest.mark.parametrize(
    ("at", "value", "chosen"),
    [
        ("{ row = 1, column = 0 }", "2", 2),
        ("{ row = 2 }", "[3, 6]", [3, 6]),
        ("{ column = 1 }", "[4, 5, 6]", [4, 5, 6]),
        ("{ row = [0, 2], column = 1 }", "[4, 6]", [4, 6]),
        ("{ row = [0, 2], column = [1] }", "[[4], [6]]", [[4], [6]]),
    ],
)
def test_rows_and_columns_are_those_of_the_author(at: str, value: str, chosen: Any) -> None:
    text = LEFT.replace("value = [[1, 4], [2, 5], [3, 6]]", f"value = {value}\nat = {at}")
    c = files.loads(text)
    (e,) = c.expectations
    view = c.view(e.of)({"simple_rnn.kernel": np.array([[1, 2, 3], [4, 5, 6]])})  # of (F,H)
    assert e.select(view).tolist() == e.value.value.tolist() == chosen
    names, places = e.places(view.shape)
    assert names == ("row", "column")
    assert view[places].tolist() == chosen
    with pytest.raises(ClaimError, match="row 3 is out of bounds"):
        files.loads(text.replace(at, "{ row = 3 }"))


def test_shapes_of_weights_are_those_of_the_author() -> None:
    start = LEFT.index("[[expect]]")
    text = (
        LEFT[:start] + '[[expect]]\nwhat = "weight_shape"\nof = "OF"\nvalue = "VALUE"\nfrom = "a"'
    )
    drawn = {"kernel": np.zeros((2, 3)), "bias": np.zeros(3)}
    for of, value, keras in (("kernel", "(3, 2)", "(2, 3)"), ("bias", "(3,)", "(1, 3)")):
        for told, holds in ((value, True), (keras, False)):
            c = files.loads(text.replace("OF", of).replace("VALUE", told))
            case = Case(c, {"initial_weights": {"simple_rnn": drawn}}, "float32")
            author, subject = c.expectations[0].judge(case)
            assert (author.ok, subject.ok) == (holds, True)


def test_printed_kernels_are_turned_and_a_bias_of_two_rows_is_not() -> None:
    printed = "[printed]\nkernel = [[1, 2], [3, 4], [5, 6]]\nbias = [1, 2, 3]\n[training]"
    found = files.loads(LEFT.replace("[training]", printed)).printed
    assert found["kernel"].value.tolist() == [[1, 3, 5], [2, 4, 6]]
    gru = GATED.replace('"LSTM"', '"GRU"').replace("[weights]", """
reading = { layout = "W·x" }
[weights]""")  # fmt: skip
    gru = gru.replace("[[1, 2, 3, 4]]", "[[1], [2], [3]]").replace(
        "[[5, 6, 7, 8]]", "[[5], [6], [7]]"
    )
    gru = gru.replace("[1, 0, 1, 0]", "[[1, 0, 1], [2, 0, 2]]")
    weights = files.loads(gru).weights
    assert weights is not None
    assert weights["gru"]["kernel"].value.tolist() == [[1, 2, 3]]
    assert weights["gru"]["bias"].value.tolist() == [[1, 0, 1], [2, 0, 2]]


# --- what cannot be judged yet is not wrong -------------------------------------------------------


def test_what_nobody_can_derive_is_not_run_and_the_rest_is_judged() -> None:
    text = """\
schema = 1
title  = "handover"
source = { document = "handover" }
input  = { shape = [7, 2] }
layers = [{ kind = "LSTM", units = 3, return_sequences = true }, { kind = "SimpleRNN", units = 1 }]

[[expect]]
what  = "parameters"
value = 77
from  = "4·3·(2 + 3 + 1) + 3 + 1 + 1"

[[expect]]
what  = "one_update"
value = true
from  = "stated"
"""
    count, update = files.loads(text).expectations
    assert (count.value, count.not_run) == (77, "")
    alone = "a SimpleRNN, an LSTM or a GRU that stands alone"
    assert update.not_run == f"one_update is derived of {alone}, only"
    assert files.loads(text + 'not_run = "later"').expectations[1].not_run == "later"
    assert request.asks(files.loads(text)) == ["summary"]


def test_what_nobody_can_train_is_not_run_and_the_rest_is_judged() -> None:
    text = """\
schema = 1
title = "two updates of SGD"
source = { document = "handover" }
reading = { computed_in = "float32" }
training = { optimizer = "SGD", learning_rate = 5, epochs = 2 }
input = { x = { full = 1, shape = [5, 3, 4] } }
loss = { kind = "mse", target = { full = 0, shape = [5, 1] } }
layers = [
    { kind = "SimpleRNN", units = 1, use_bias = false },
    { kind = "Dense", units = 1, use_bias = false },
]
[weights.simple_rnn]
kernel = { full = 1, shape = [4, 1] }
recurrent_kernel = [[1]]
[weights.dense]
kernel = [[1]]
[[expect]]
what = "trained_weights"
value = [[0.8484658], [0.8484658], [0.8484658], [0.8484658]]
from = "stated"
of = "kernel"
[[expect]]
what = "updates"
value = true
from = "stated"
[[expect]]
what = "loss"
value = 0.9998184
from = "stated"
"""
    c = files.loads(text)
    assert [e.not_run for e in c.expectations] == ["", "", ""]
    assert request.asks(c) == ["gradients", "trained", "training"]
    for key, reason in (
        ('kernel_constraint = { kind = "MaxNorm", axis = 1 }', "another axis is not derived"),
        ('trainable = false, kernel_regularizer = "L2"', "of frozen weights is not derived"),
    ):
        c = files.loads(text.replace("use_bias = false }", f"use_bias = false, {key} }}", 1))
        assert [reason in e.not_run for e in c.expectations] == [True, True, False]
        assert request.asks(c) == ["gradients"]
    c = files.loads(text.replace("use_bias = false }", "use_bias = false, dropout = 0.5 }", 1))
    reasons = ("depends on what is drawn", "more than 4,096 masks", "")
    assert [w in e.not_run for w, e in zip(reasons, c.expectations, strict=True)] == [True] * 3
    c = files.loads(text.replace("use_bias = false }", "use_bias = false, stateful = true }", 1))
    assert [e.not_run for e in c.expectations] == ["", "", ""]
    constrained = text.replace(
        "use_bias = false }", 'use_bias = false, kernel_constraint = "NonNeg" }'
    )
    assert [e.not_run for e in files.loads(constrained).expectations] == ["", "", ""]
    c = files.loads(constrained.replace("epochs = 2 }", "epochs = 2, use_ema = true }"))
    assert [e.not_run for e in c.expectations] == ["", "", ""]
    c = files.loads(text.replace("use_bias = false }", "use_bias = false, trainable = false }"))
    assert ["everything is frozen" in e.not_run for e in c.expectations] == [True, True, False]
    for key in (
        'kernel_regularizer = "L2"',
        'bias_constraint = "NonNeg"',
        'bias_regularizer = "L1"',
        'activity_regularizer = "L2"',
    ):
        c = files.loads(text.replace("use_bias = false }", f"use_bias = false, {key} }}", 1))
        assert [e.not_run for e in c.expectations] == ["", "", ""]
        kept = trained.network(c)  # of the weights that there are
        assert [*kept.regularizers] == (["kernel"] if key.startswith("kernel") else [])
        assert not kept.constraints
        wanted = {"layer": Regularizer(l2=0.01)} if key.startswith("activity") else {}
        assert kept.activities == wanted
    for old, new, key, problem in (
        ("epochs = 2 }", "epochs = 2 }\nmask = [[true]]", "mask", "unknown key"),
        ('of = "kernel"', 'of = "kernel"\nat = { epoch = 1 }', "expect[0].what", "epochs = 1"),
        ('what = "loss"', 'what = "loss"\nat = { epoch = 3 }', "expect[2].what", "an epoch 3"),
        ('what = "loss"', 'what = "loss"\nat = { epoch = 0 }', "expect[2].what", "an epoch 0"),
        ('of = "kernel"', 'of = "bias"', "expect[0].of", "the layer has use_bias = false"),
    ):
        assert old in text
        with pytest.raises(ClaimError) as caught:
            files.loads(text.replace(old, new))
        assert caught.value.key == key
        assert problem in caught.value.problem
    later = files.loads(text.replace('of = "kernel"', 'of = "kernel"\nnot_run = "later"'))
    assert later.expectations[0].not_run == "later"
    with pytest.raises(ClaimError, match=r"expected shape \(4, 1\)"):
        files.loads(text.replace("[[0.8484658], ", "["))


def test_of_two_directions_one_is_named() -> None:
    text = (OPTIONS / "bidirectional" / "states.toml").read_text(encoding="utf-8")
    text += '\n[[expect]]\nwhat = "states"\nat = {sample = 0, timestep = 0, unit = 0}\n'
    text += 'value = 1\ncomputed_in = "real"\nfrom = "a"\n'
    with pytest.raises(ClaimError, match="required: one of forward, bidirectional"):
        files.loads_each(text)
    for each in files.loads_each(text + 'of = "backward"'):
        assert not each.expectations[-1].not_run
        assert request.asks(each) == ["outputs", "weights"]  # none shows it by itself


def test_an_embedding_takes_indices() -> None:
    text = """\
schema = 1
title  = "words"
source = { document = "d" }
input  = { shape = [7] }

[[layers]]
kind       = "Embedding"
input_dim  = 10
output_dim = 4

[[layers]]
kind  = "SimpleRNN"
units = 3

[[expect]]
what  = "parameters"
value = 64
from  = "10·4 + 3·(4 + 3 + 1)"
"""
    c = files.loads(text)
    assert c.input_shape == (7,)
    assert c.layers[0].shape_after(c.input_shape) == (7, 4)
    with pytest.raises(ClaimError, match=r"expected \[timesteps\], got \[7, 1\]"):
        files.loads(text.replace("[7]", "[7, 1]"))
    with pytest.raises(ClaimError, match=r"expected \[timesteps, features\], got \[3\]"):
        files.loads(
            GOOD.replace(X, "shape = [3]")
            .replace('"output"', '"parameters"')
            .replace('computed_in = "exact"', "")
        )


def test_layers_are_counted_with_their_cells() -> None:
    cells = ", ".join(['{kind = "SimpleRNNCell", units = 1}'] * 65)
    text = TWO.replace('kind = "SimpleRNN"\nunits = 3', f'kind = "RNN"\ncell = [{cells}]')
    with pytest.raises(ClaimError, match="66 layers and cells are too many; at most 64"):
        files.loads(text)


COUNTED = (
    GOOD[: GOOD.index("[weights]")]
    + """\
[input]
shape = [2, 2]

[[expect]]
what  = "parameters"
value = 18
from  = "counted"
"""
)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"units = 3": "units = 2000"}, "4,006,000 weights in all layers together are too many"),
        ({"[2, 2]": "[10001, 2]"}, "10,001 timesteps are too many; at most 10,000"),
        ({"[2, 2]": "[1001, 2]", "units = 3": "units = 3\nunroll = true"},
         "1,001 unrolled timesteps are too many; at most 1,000"),
        ({"[2, 2]": "[10000, 2]", "units = 3": "units = 401"},
         "4,010,000 numbers that come out of the layers"),
        ({"[2, 2]": "[10000, 2]", "units = 3": "units = 100",
          '"counted"\n': '"counted"\n[vary]\n"layer.unroll" = [false, false]\n'}, "called 'false'"),
        ({"[2, 2]": "[10000, 2]", "units = 3": "units = 101",
          '"counted"\n': '"counted"\n[vary]\ntitle = ["a", "b", "c", "d"]\n'},
         "4,040,000 numbers that come out of the layers"),
    ],
)  # fmt: skip
def test_what_layers_would_take_is_counted(changes: dict[str, str], message: str) -> None:
    text = COUNTED
    assert files.loads(text)
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    with pytest.raises(ClaimError, match=message):
        files.loads_each(text)


def test_no_configuration_names_a_file() -> None:
    """What is digested for a record are the files that a claim's arrays stand in."""
    text = GATED.replace(
        '"activity_loss"\nvalue = true',
        '"default"\nof = "bias_initializer"\nvalue = {kind = "A", npz = "../b"}',
    )
    with pytest.raises(ClaimError, match=r"expect.0..value.npz: no argument"):
        files.loads(text)


def test_the_limits_are_documented() -> None:
    text = (Path(__file__).parents[2] / "docs" / "claims.md").read_text(encoding="utf-8")
    stated = {int(number.replace(",", "")) for number in re.findall(r"\d[\d,]*\d|\d", text)}
    limits = {
        name: value
        for module in (beside, build, document, variants, written, subject)
        for name, value in vars(module).items()
        if name.startswith("MOST_") and name != "MOST_DIRECTORY"
    }
    assert len(limits) > 15
    assert {name for name, value in limits.items() if value not in stated} == set()


def test_only_the_weights_that_are_asked_for_may_be_left_out() -> None:
    reachable = '[[expect]]\nwhat = "predictions_reachable"\nvalue = true\nfrom = "a"\n'
    text = TWO + "[printed]\npredictions = [1]\n" + reachable
    dense = text[text.index("[weights.dense]") : text.index("[input]")]
    recurrent = text[text.index("[weights.simple_rnn]") : text.index("[weights.dense]")]
    assert files.loads(text.replace(dense, ""))
    for wrong in (
        text.replace(recurrent, ""),
        TWO.replace(dense, ""),
        text.replace(dense, "") + 'not_run = "later"\n',
    ):
        with pytest.raises(ClaimError, match="expected a table of that layer's weights"):
            files.loads(wrong)
    with pytest.raises(ClaimError, match="2 numbers, where the model puts out 1"):
        files.loads(text.replace("predictions = [1]", "predictions = [1, 2]"))


def of_training(which: str) -> str:
    folder = Path(__file__).parents[2] / "fixtures" / "options" / "training"
    return (folder / f"{which}.toml").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("old", "new", "key", "words"),
    [
        ("units = 2\n", "units = 2\nuse_bias = false\n", "weights.rnn.bias", "bias"),
        ("bias             = [0, 0, 1, 1, 0, 0, 0, 0]\n\n[[expect]]", "bias = [0]\n\n[[expect]]",
         "printed.bias", "expected shape (8,), got (1,)"),
        ("units = 2\n", "units = 2\nreturn_sequences = true\n", "loss.target", "shape"),
    ],
)  # fmt: skip
def test_each_mistake_beside_what_an_author_of_an_lstm_printed_is_named(
    old: str, new: str, key: str, words: str
) -> None:
    text = of_training("drawn_lstm")
    assert old in text
    with pytest.raises(ClaimError) as caught:
        files.loads(text.replace(old, new, 1))
    assert caught.value.key == key
    assert words in caught.value.problem


def test_outcomes_and_predictions_of_a_sequence_are_refused() -> None:
    sequence = ("units = 2\n", "units = 2\nreturn_sequences = true\n")
    six = ("[[1], [0.5]]", "[[[1], [1], [1]], [[1], [1], [1]]]")
    drawn, printed = of_training("drawn_lstm"), of_training("printed_gru")
    printed = printed.replace("[0.8986446, 0.64862406]", "[1, 2, 3, 4, 5, 6]")
    for text in (drawn, printed):
        with pytest.raises(ClaimError, match="needs a Dense layer after a last state"):
            files.loads(text.replace(*six).replace(*sequence, 1))


def test_printed_weights_are_those_of_a_recurrent_layer_that_comes_first() -> None:
    text = of_training("drawn_gru")
    mask = text.replace("[[layers]]", '[[layers]]\nkind = "Masking"\n\n[[layers]]', 1)
    with pytest.raises(ClaimError, match="only beside a SimpleRNN, an LSTM or a GRU that comes"):
        files.loads(mask)
