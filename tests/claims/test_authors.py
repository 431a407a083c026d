"""Is a claim of gates what its author means, and what nobody can mean refused?

Claim files as authors of LSTM and GRU write them, through the loader.
"""

from __future__ import annotations

import re
import tomllib
from decimal import Decimal

import jsonschema
import numpy as np
import pytest

from rnn_check.asking import request
from rnn_check.claims import files, schema
from rnn_check.claims.expectations.case import Case
from rnn_check.refusal import ClaimError
from tools import fuzz_claims

HEAD = """\
schema = 1
title = "gates"
source = { document = "a test" }
"""
LSTM = """\
layer = { kind = "LSTM", units = 1, return_sequences = true }
reading = { computed_in = "real" }
weights.i = { kernel = [[0.5]], recurrent_kernel = [[0.25]], bias = [0] }
weights.f = { kernel = [[-0.5]], recurrent_kernel = [[0.5]], bias = [1] }
weights.g = { kernel = [[1]], recurrent_kernel = [[-0.25]], bias = [0] }
weights.o = { kernel = [[0.25]], recurrent_kernel = [[1]], bias = [-1] }
input = { x = [[[1], [2]]] }
"""
GRU = """\
layer = { kind = "GRU", units = 1, return_sequences = true }
reading = { computed_in = "real" }
weights.u = { kernel = [[0.5]], recurrent_kernel = [[0.25]], bias = [0] }
weights.r = { kernel = [[-0.5]], recurrent_kernel = [[0.5]], bias = [1] }
weights.n = { kernel = [[1]], recurrent_kernel = [[-0.25]], bias = [0] }
input = { x = [[[1], [2]]] }
"""
CERTIFIED = """
[[expect]]
what = "certified"
value = true
from = "a test"
"""


# --- initial states -------------------------------------------------------------------------------

BOTH = """\
layer = { kind = "Bidirectional", layer = { kind = "LSTM", units = 1, use_bias = false } }
weights.forward = { kernel = [[1, 0, 0, 0]], recurrent_kernel = [[1, 0, 0, 0]] }
weights.backward = { kernel = [[1, 0, 0, 0]], recurrent_kernel = [[1, 0, 0, 0]] }
"""


@pytest.mark.parametrize(
    "written",
    [
        "[[[1]], [[2]], [[3]], [[4]]]",
        "[[[[1]], [[2]]], [[[3]], [[4]]]]",
        "[{ full = 1, shape = [1, 1] }, [[2]], { full = 3, shape = [1, 1] }, [[4]]]",
        "[[{ full = 1, shape = [1, 1] }, [[2]]], [[[3]], { full = 4, shape = [1, 1] }]]",
    ],
)
def test_states_of_two_directions_may_be_written_direction_by_direction(written: str) -> None:
    text = HEAD + BOTH + f"input = {{ x = [[[1]]], initial_state = {written} }}" + CERTIFIED
    start = files.loads(text).initial_state
    assert start is not None
    assert start.value.tolist() == [[[1]], [[2]], [[3]], [[4]]]
    other = files.loads('reading = { states = "[c, h]" }\n' + text).initial_state
    assert other is not None
    assert other.value.tolist() == [[[2]], [[1]], [[4]], [[3]]]


def test_an_author_may_keep_the_cell_state_first() -> None:
    text = HEAD + LSTM.replace("[2]]] }", "[2]]], initial_state = [[[0.5]], [[3]]] }") + CERTIFIED
    text = text.replace("computed_in", 'states = "[c, h]", computed_in')
    start = files.loads(text).initial_state
    assert start is not None
    assert start.value.tolist() == [[[3]], [[0.5]]]


@pytest.mark.parametrize(
    ("written", "key", "said"),
    [
        ("[[[1]], [[2]]]", "input.initial_state", "expected shape (4, 1, 1), got (2, 1, 1)"),
        (
            "[[[[1]], [[2]]]]", "input.initial_state",
            "expected shape (4, 1, 1), got (1, 2, 1, 1)",
        ),
        (
            "[[{ full = 1, shape = [1, 1] }, [[2]]], [[[3]], { full = 4, shape = [1, 2] }]]",
            "input.initial_state[1][1]", "expected shape (1, 1), got (1, 2)",
        ),
    ],
)  # fmt: skip
def test_states_of_another_shape_are_refused(written: str, key: str, said: str) -> None:
    text = HEAD + BOTH + f"input = {{ x = [[[1]]], initial_state = {written} }}" + CERTIFIED
    with pytest.raises(ClaimError) as raised:
        files.loads(text)
    assert (raised.value.key, raised.value.problem) == (key, said)


# --- 1 - z ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("argument", [4.0, 9.0, 16.0])
def test_who_weighs_the_candidate_rounds_one_minus_z(argument: float) -> None:
    """In float32 1 - z of a z near 1 has few digits, where Keras's z has all of its own."""
    z = np.float32(1) / (np.float32(1) + np.exp(np.float32(-argument)))
    h = (np.float32(1) - z) * np.float32(1) + z * np.float32(0)
    text = (
        HEAD
        + f"""\
layer = {{ kind = "GRU", units = 1, return_sequences = true, use_bias = false }}
reading = {{ computed_in = "float32", z_weighs = "candidate" }}
input = {{ x = [[[1]]], initial_state = [[1]] }}
[weights]
u = {{ kernel = {argument}, recurrent_kernel = 0 }}
r = {{ kernel = 0, recurrent_kernel = 0 }}
n = {{ kernel = 0, recurrent_kernel = 0 }}
[[expect]]
what = "gate"
of = "u"
value = [[[{float(z):.12f}]]]
from = "in float32"
[[expect]]
what = "output"
value = [[[{float(h):.12f}]]]
from = "in float32"
"""
    )
    c = files.loads(text)
    for e in c.expectations:
        word = next(e.judge(Case(c, {}, "float32")))
        assert word.ok, word.blame()
    wrong = files.loads(text.replace(f"{float(h):.12f}", f"{float(h) + 1e-5:.12f}"))
    assert not next(wrong.expectations[1].judge(Case(wrong, {}, "float32"))).ok


# --- what nobody can mean -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "key", "said"),
    [
        ("weights.i", "weights.x", "weights.x", "names no gates of LSTM; a table has the letters "
         "of its gates, each once: i, f, c, o, or the author's own (g j a for c)"),
        ("weights.i", "weights.if", "weights.if.kernel", "expected shape (1, 2), got (1, 1)"),
        ("weights.o = {", "weights.c = {", "weights.c.kernel",
         "the gate c has a kernel elsewhere too"),
        ("reading = {", 'reading = { gates = "i f o g",', "reading.gates",
         "no matrix holds all gates: they are given apart; leave it out"),
        ("reading = {", 'reading = { joined = "[h, x]",', "weights.i.kernel",
         "expected shape (2, 1), got (1, 1)"),
        ("reading = {", 'reading = { z_weighs = "candidate",', "reading.z_weighs",
         "the claim has no layer with an update gate; leave it out"),
        ('"LSTM"', '"GRU"', "weights.i", "names no gates of GRU; a table has the letters of its "
         "gates, each once: z, r, h, or the author's own (u for z; n c g for h)"),
        ("reading = {", "reading = { forget_bias = 1e7,", "reading.forget_bias",
         "expected a number of at most 1,000,000"),
        ("kernel = [[0.5]], rec", "rec", "weights.i.kernel", "required key is missing"),
    ],
)  # fmt: skip
def test_what_nobody_can_mean_is_refused(old: str, new: str, key: str, said: str) -> None:
    text = HEAD + LSTM + CERTIFIED
    files.loads(text)
    with pytest.raises(ClaimError) as raised:
        files.loads(text.replace(old, new, 1))
    assert (raised.value.key, raised.value.problem) == (key, said)


@pytest.mark.parametrize(
    ("old", "new", "key", "said"),
    [
        ("forward = {", "forwards = {", "weights.forwards",
         "unknown key; did you mean `forward`?; known: backward, forward"),
        ("forward = { kernel", "forward = { z.kernel = 1, kernel", "weights.forward.z",
         "names no gates of LSTM; a table has the letters of its gates, each once: i, f, c, o, or "
         "the author's own (g j a for c)"),
        ('layer = { kind = "LSTM"', 'layer = { kind = "SimpleRNN"', "weights.forward.kernel",
         "expected shape (1, 1), got (1, 4)"),
    ],
)  # fmt: skip
def test_what_nobody_can_mean_of_a_direction_is_refused(
    old: str, new: str, key: str, said: str
) -> None:
    text = HEAD + BOTH + "input = { x = [[[1]]] }" + CERTIFIED
    files.loads(text)
    with pytest.raises(ClaimError) as raised:
        files.loads(text.replace(old, new, 1))
    assert (raised.value.key, raised.value.problem) == (key, said)


def test_only_an_lstm_has_states_in_an_order() -> None:
    text = HEAD + GRU.replace("reading = {", 'reading = { states = "[c, h]",') + CERTIFIED
    with pytest.raises(ClaimError, match="only an LSTM has two states; leave it out") as raised:
        files.loads(text)
    assert raised.value.key == "reading.states"


def test_a_kernel_that_is_printed_is_that_of_x() -> None:
    text = (
        HEAD
        + """\
reading = { joined = "[h, x]" }
layer = { kind = "SimpleRNN", units = 1 }
input = { shape = [1, 2] }
printed = { kernel = [[1], [2], [3]] }
"""
        + CERTIFIED.replace('"certified"', '"zero"\nof = "kernel"\non = "printed"')
    )
    with pytest.raises(ClaimError) as raised:
        files.loads(text)
    assert raised.value.key == "printed.kernel"
    assert raised.value.problem == (
        'with joined = "[h, x]" it holds two; [printed] has the kernel of x alone'
    )


@pytest.mark.parametrize(
    ("of", "value", "known"),
    [("kernel", "(5, 8)", True), ("kernel", "(3, 8)", False), ("f.kernel", "(5, 2)", True)],
)
def test_shapes_of_weights_are_those_of_the_author(of: str, value: str, known: bool) -> None:
    c = files.loads(
        HEAD
        + f"""\
reading = {{ joined = "[h, x]" }}
layer = {{ kind = "LSTM", units = 2 }}
input = {{ shape = [1, 3] }}
[[expect]]
what = "weight_shape"
of = "{of}"
value = "{value}"
from = "a test"
"""
    )
    drawn = {"kernel": np.zeros((3, 8)), "recurrent_kernel": np.zeros((2, 8))}
    case = Case(c, {"initial_weights": {"lstm": drawn}}, "float32")
    author, *subject = c.expectations[0].judge(case)
    assert author.ok == known
    assert [each.ok for each in subject] == [True, True]


NAMED = """\
layers = [{ kind = "Masking" }, { kind = "GRU", units = 1 }]
input = { shape = [1, 2] }
"""


@pytest.mark.parametrize(
    "of", ["x", "initial_state", "masking.kernel", "gru", ".kernel", "kernel."]
)
def test_what_is_no_weight_has_no_shape(of: str) -> None:
    told = CERTIFIED.replace('"certified"', f'"weight_shape"\nof = "{of}"')
    told = told.replace("= true", '= "(2, 3)"')
    files.loads(HEAD + NAMED + told.replace(f'"{of}"', '"kernel"'))
    with pytest.raises(ClaimError, match=f"unknown '{re.escape(of)}'"):
        files.loads(HEAD + NAMED + told)


@pytest.mark.parametrize(
    ("loss", "key", "said"),
    [
        (
            'of = "c", kind = "mse", target = [[1]]', "loss",
            'of = "c" takes a cotangent, and nothing else',
        ),
        ('of = "c", cotangent = [[[1]]]', "loss.cotangent", "expected shape (1, 1), got (1, 1, 1)"),
        ('of = "h", cotangent = [[1]]', "loss.of", "unknown 'h'; known: c"),
    ],
)  # fmt: skip
def test_a_loss_of_the_last_cell_state_is_a_cotangent(loss: str, key: str, said: str) -> None:
    told = CERTIFIED.replace('"certified"', '"gradient"\nof = "f.bias"').replace("true", "[0]")
    text = HEAD + LSTM + "loss = { LOSS }" + told
    right = files.loads(text.replace("LOSS", 'of = "c", cotangent = [[1]]'))
    assert request.asks(right) == []
    with pytest.raises(ClaimError) as raised:
        files.loads(text.replace("LOSS", loss))
    assert (raised.value.key, raised.value.problem) == (key, said)
    with pytest.raises(ClaimError, match="only an LSTM alone has a last cell state; leave it out"):
        files.loads(HEAD + GRU + 'loss = { of = "c", cotangent = [[1]] }' + CERTIFIED)


# --- what an editor is told -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "right", "wrong"),
    [
        ("gates", '"z r h"', "3"),
        ("joined", '"[x, h]"', '"[x h]"'),
        ("z_weighs", '"candidate"', '"h"'),
        ("forget_bias", "0", '"1"'),
        ("states", '"[c, h]"', '"c h"'),
        ("layout", '"W·x"', '"Wx"'),
        ("order", '"z r h"', '"z r h"'),
    ],
)
def test_what_the_published_schema_refuses_is_refused(key: str, right: str, wrong: str) -> None:
    validator = jsonschema.Draft202012Validator(schema.json_schema())
    for value, fits in ((right, key != "order"), (wrong, False)):
        text = HEAD + GRU.replace("reading = {", f"reading = {{ {key} = {value},") + CERTIFIED
        document = fuzz_claims.as_json(tomllib.loads(text, parse_float=Decimal))
        assert validator.is_valid(document) is fits
        if not fits:
            with pytest.raises(ClaimError) as raised:
                files.loads(text)
            assert raised.value.key == f"reading.{key}"
