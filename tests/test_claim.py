"""Is every claim file either understood or refused with one clear message?"""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rnn_check import claim
from rnn_check.claim import Claim, ClaimError

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


def test_a_good_file_is_read_as_written() -> None:
    c = claim.loads(GOOD, "good.toml")
    assert isinstance(c, Claim)
    assert c.name == "good"
    assert c.weights is not None
    assert c.weights["simple_rnn"]["kernel"].value.tolist() == [[1, 0, 2], [2, 1, 3]]
    assert c.expectations[0].name == "output"
    assert c.expectations[0].value.shape == (1, 3, 3)
    assert claim.option(c.rnn, "use_bias")
    assert not claim.option(c.rnn, "go_backwards")


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
        (
            "x = [[[1, 3], [1, 1], [2, 3]]]",
            "x = [[1, 3]]",
            "input.x",
            "(batch, timesteps, features)",
        ),
        ("x = [[[1, 3], [1, 1], [2, 3]]]", "x = []", "input.x", "empty list"),
        ("x = [[[1, 3], [1, 1], [2, 3]]]", "", "input", "give either x, or shape"),
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
        ('what  = "output"', 'what = "gradient"', "expect[0].of", "required: one of x, kernel"),
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
        (
            "x = [[[1, 3], [1, 1], [2, 3]]]",
            "x = {arange = 5, shape = [1, 3, 2]}",
            "input.x.arange",
            "5",
        ),
        ("x = [[[1, 3], [1, 1], [2, 3]]]", "x = {rand = 5}", "input.x", "unknown recipe"),
        ("x = [[[1, 3], [1, 1], [2, 3]]]", "x = {full = 5}", "input.x", "needs the key `shape`"),
        (
            "x = [[[1, 3], [1, 1], [2, 3]]]",
            'x = {npz = "absent.npz", key = "x"}',
            "input.x.npz",
            "no file absent.npz",
        ),
        (
            "x = [[[1, 3], [1, 1], [2, 3]]]",
            'x = {npz = "../up.npz", key = "x"}',
            "input.x.npz",
            "beside this one",
        ),
    ],
)
def test_each_mistake_is_named(old: str, new: str, key: str, message: str) -> None:
    assert old in GOOD
    with pytest.raises(ClaimError) as caught:
        claim.loads(GOOD.replace(old, new, 1), "bad.toml")
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
    claim.loads(GATED, "good.toml")
    assert old in GATED
    with pytest.raises(ClaimError) as caught:
        claim.loads(GATED.replace(old, new, 1), "bad.toml")
    assert (caught.value.file, caught.value.key) == ("bad.toml", key)
    assert message in caught.value.problem


def test_the_largest_number_is_one() -> None:
    text = GOOD.replace("[2, 1, 3]]\nrec", "[2, 1, 1.7976931348623157e308]]\nrec")
    assert claim.loads(text).weights is not None


def test_no_expectation_is_a_mistake() -> None:
    with pytest.raises(ClaimError, match="expects nothing"):
        claim.loads("expect = []\n" + GOOD[: GOOD.index("[[expect]]")], "bad.toml")


def test_paths(tmp_path: Path) -> None:
    with pytest.raises(ClaimError, match="no such file or folder"):
        claim.find([tmp_path / "absent"])
    with pytest.raises(ClaimError, match="holds no claim files"):
        claim.find([tmp_path])
    (tmp_path / "claim.json").write_text("{}")
    with pytest.raises(ClaimError, match=r"ends in \.toml"):
        claim.find([tmp_path / "claim.json"])
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "one.toml").write_text(GOOD)
    (tmp_path / "bytes.toml").write_bytes(b"\xff")
    found = claim.find([tmp_path, tmp_path / "deep" / "one.toml"])
    assert [name for name, _ in found] == ["bytes", "deep/one"]
    with pytest.raises(ClaimError, match="not UTF-8"):
        claim.load(tmp_path / "bytes.toml")


def test_the_published_schema_is_the_loaders() -> None:
    published = Path(__file__).parents[1] / "docs" / "claim.schema.json"
    assert json.loads(published.read_text()) == claim.json_schema()


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
        loaded = claim.loads(text, "mutated.toml")
    except ClaimError as error:
        refusal = str(error)
    if loaded is None:
        assert refusal.startswith("mutated.toml: ")
    else:
        assert loaded.expectations


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_mutated_text(data: st.DataObject) -> None:
    text = GOOD
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(text)))
        stop = min(len(text), start + data.draw(st.integers(0, 20)))
        text = text[:start] + data.draw(_TOKENS) + text[stop:]
    _loads_or_refuses(text)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_mutated_values(data: st.DataObject) -> None:
    """One value of the document, wherever it stands, becomes something else."""
    import tomllib

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


OPTIONS = Path(__file__).parents[1] / "fixtures" / "options"


@pytest.mark.parametrize(
    ("name", "old", "new", "key", "message"),
    [
        (
            "bidirectional_states",
            "[[[0.25, -0.5, 0.75], [-0.125, 0.375, -0.625], [0.5, 0.875, -0.25]],", "[",
            "input.initial_state", "expected shape (2, 3, 3), got (1, 3, 3)",
        ),
        (
            "bidirectional_states", "return_state = true", "go_backwards = true",
            "layer.layer.go_backwards", "not inside Bidirectional",
        ),
        (
            "stacked_states", "[input]\n", "[input]\ninitial_state = [[1, 2]]\n",
            "input.initial_state", "an RNN over one cell that is the first layer",
        ),
        (
            "bidirectional_stack", "return_sequences = true }",
            "return_sequences = true, return_state = true }", "layers.return_state",
            "only of the last layer",
        ),
        ("cell_without_bias", "initial_state", "#", "expect[0].what", "needs input.initial_state"),
        ("one_update", "= 0.5\nrec", "= 0.3\nrec", "expect[0].what", "0.5, 0.75 or 0.875"),
        ("one_update", '"mse"', '"cotangent"', "loss", ""),
        (
            "bidirectional_constraints", '"NonNeg"', '"NoNeg"',
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
    with pytest.raises(claim.ClaimError) as raised:
        claim.loads_each(text.replace(old, new), f"{name}.toml")
    assert f"{name}.toml" in str(raised.value)
    assert key in str(raised.value)
    assert message in str(raised.value)
