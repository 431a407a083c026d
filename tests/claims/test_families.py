"""Do all places that say what a recurrence is say the same of it?

A subject's environment has no definitions, so `named.FAMILIES` says there what `kinds` says here.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, get_args

import numpy as np
import pytest

from rnn_check.claims.gates import order_of
from rnn_check.claims.layers.cells import Cell
from rnn_check.claims.layers.recurrent import LETTERS, AnyRecurrent
from rnn_check.recurrences import kinds
from rnn_check.subjects.asked import named, weight_files
from rnn_check.subjects.asked.making import Making
from rnn_check.subjects.asked.named import FAMILIES, cell_of

each = pytest.mark.parametrize("layer", get_args(AnyRecurrent))


def test_each_recurrence_is_in_all_of_them() -> None:
    tags = {cls.__struct_config__.tag for cls in get_args(Cell)}
    assert {layer.__struct_config__.tag for layer in get_args(AnyRecurrent)} == set(FAMILIES)
    assert tags == {*map(cell_of, FAMILIES), "CustomCell"}
    assert LETTERS.keys() == FAMILIES.keys()
    assert {family.recurrence for family in FAMILIES.values()} == kinds.KINDS.keys()


@each
def test_subjects_are_told_what_its_definition_says(layer: Any) -> None:
    family = FAMILIES[layer.letters.kind]
    r = kinds.recurrence(family.recurrence)
    assert (family.gates, family.states, family.biases) == (len(r.gates), len(r.states), r.biases)
    assert ("recurrent_activation" in family.options) == r.has_gates
    assert ("reset_after" in family.options) == (r.reset_before is not None)
    assert family.options.get("reset_after", False) == layer.defaults.get("reset_after", False)
    assert family.options.keys() <= {*layer.__struct_fields__}


@each
def test_its_letters_are_those_of_its_gates(layer: Any) -> None:
    letters = layer.letters
    r, gates = kinds.recurrence(letters.recurrence), {*letters.order}
    assert len(layer.states) == len(r.states)
    assert letters.candidate in gates
    assert {letters.forget, letters.update, letters.reset} <= {"", *gates}
    assert {*letters.authors.values()} == (gates if r.has_gates else set())
    assert letters.shown.keys() in (set(), {"held", *gates})
    if r.has_gates:
        assert order_of(letters.example, letters) is not None


def test_a_file_of_weights_is_read_as_the_first_that_has_as_many_gates(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(named.FAMILIES, "Other", named.Family("other", gates=4))
    found = weight_files._described("x", [[np.zeros((3, 8)), np.zeros((2, 8))]])
    assert found["layer"]["kind"] == "LSTM"


def test_what_this_keras_does_not_have_is_said() -> None:
    making = object.__new__(Making)
    activations = SimpleNamespace(get=lambda _: None)
    keras: Any = SimpleNamespace(layers=SimpleNamespace(RNN=0, LSTMCell=0), activations=activations)
    making.backend = SimpleNamespace(keras=keras, keras_version="3.0")  # type: ignore[assignment]
    cells = [{"kind": "LSTMCell", "units": 1}, {"kind": "CustomCell", "units": 1}]
    spec = {"kind": "RNN", "cell": cells}
    assert making.lacks([spec]) == ""
    cells.append({"kind": "GRUCell", "units": 1, "bias_initializer": {"kind": "Zeros"}})
    assert making.lacks([spec]).startswith("Keras 3.0 has no GRUCell; --layer names a class")
    making.replace = {"GRUCell": "own.py:Own"}
    assert making.lacks([spec]) == ""
