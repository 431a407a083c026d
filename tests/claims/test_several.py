"""Do several experiments stand in one file, each with what the file says of all?"""

from __future__ import annotations

import tomllib
from decimal import Decimal

import jsonschema
import pytest

from rnn_check.claims import files, schema
from rnn_check.refusal import ClaimError
from tools import fuzz_claims

SHARED = """
schema = 1
title = "t"
source = { document = "d" }
reading = { computed_in = "exact" }
layer = { kind = "SimpleRNN", units = 1, activation = "linear", return_sequences = true }
weights = { kernel = [[2]], recurrent_kernel = [[1]], bias = [0] }
"""
TWO = """
[[experiment]]
name = "one step"
input = { x = [[[1]]] }
expect = [{ what = "output", value = [[[2]]], from = "by hand" }]
[[experiment]]
name = "two steps"
title = "another"
input = { x = [[[1], [3]]] }
expect = [{ what = "output", value = [[[2], [8]]], from = "by hand" }]
"""


def test_each_is_a_claim_with_what_the_file_says() -> None:
    one, two = files.loads_each(SHARED + TWO, "a.toml")
    assert (one.name, one.title) == ("a[one step]", "t")
    assert (two.name, two.title) == ("a[two steps]", "another")
    assert two.expectations[0].value.value.tolist() == [[[2], [8]]]
    assert one.layers == two.layers


def test_what_one_gives_itself_stands_in_the_place_of_the_files() -> None:
    other = """
    [[experiment]]
    name = "stacked"
    layers = [{ kind = "LSTM", units = 1 }, { kind = "Dense", units = 2 }]
    input = { shape = [3, 1] }
    expect = [{ what = "parameters", value = 16, from = "4·(1 + 1 + 1) + 2·2" }]
    """
    found = files.loads_each(SHARED.replace("weights =", "#") + other)
    assert [type(layer).__name__ for layer in found[0].layers] == ["LSTM", "Dense"]


def test_each_is_varied() -> None:
    found = files.loads_each(SHARED + '[vary]\n"layer.unroll" = [true, false]\n' + TWO, "a.toml")
    assert [claim.name for claim in found] == [
        f"a[{name}][unroll={value}]"
        for name in ("one step", "two steps")
        for value in ("true", "false")
    ]


def test_an_expectation_of_the_file_is_one_of_each() -> None:
    own = 'expect = [{ what = "output", value = [[[2], [8]]], from = "by hand" }]\n'
    shared = '[[expect]]\nwhat = "certified"\nvalue = true\nfrom = "itself"\n'
    first, second = files.loads_each(SHARED + TWO.replace(own, "") + shared)
    assert [e.what for e in first.expectations] == ["output"]
    assert [e.what for e in second.expectations] == ["certified"]


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("[[[2], [8]]]", "[[[2]]]", "experiment[1].expect[0].value: expected shape (1, 2, 1)"),
        ('"two steps"', '"one step"', "experiment[1].name: two experiments are called"),
        ('name = "two steps"', "", "experiment[1].name: expected a word"),
        ('"two steps"', '"two [steps]"', "experiment[1].name: a name has no brackets"),
        ('title = "another"', "vary = {}", "experiment[1].vary: unknown key; the file says"),
        ('title = "another"', "wieghts = 1", "experiment[1].wieghts: unknown key; did you mean"),
        ("x = [[[1], [3]]]", "y = 1", "experiment[1].input.y: unknown key"),
        ("units = 1", "unitz = 1", "a.toml: layer.unitz: unknown key"),
        ("kernel = [[2]], r", "kernel = [[2, 1]], r", "a.toml: weights.kernel: expected shape"),
        (TWO, "experiment = []", "experiment: expected 1 to 64 tables"),
        (TWO, "experiment = [1]", "experiment[0]: expected a table"),
        (TWO, "experiment = 1", "experiment: expected 1 to 64 tables"),
    ],
)  # fmt: skip
def test_what_is_wrong_in_one_is_said_where_it_stands(old: str, new: str, problem: str) -> None:
    assert old in SHARED + TWO
    with pytest.raises(ClaimError) as refused:
        files.loads_each((SHARED + TWO).replace(old, new), "a.toml")
    assert problem in str(refused.value)


def test_more_values_than_a_file_may_hold_are_refused() -> None:
    numbers = "[" + ", ".join("[[1]]" for _ in range(9000)) + "]"
    text = SHARED + f"[input]\nx = {numbers}\n"
    for name in ("a", "b", "c"):
        text += f'[[experiment]]\nname = "{name}"\n'
    with pytest.raises(ClaimError, match="the experiments hold more than 50,000 values"):
        files.loads_each(text)


def test_the_published_schema_has_them() -> None:
    validator = jsonschema.Draft202012Validator(schema.json_schema())
    for text, is_right in (
        (SHARED + TWO, True),
        ((SHARED + TWO).replace("[[[1], [3]]]", "[[[1], [3]]], y = 1"), False),
        ((SHARED + TWO).replace('name = "two steps"', ""), False),
        (SHARED, False),
    ):
        document = fuzz_claims.as_json(tomllib.loads(text, parse_float=Decimal))
        assert validator.is_valid(document) is is_right
