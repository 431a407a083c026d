"""Which layers are used again, and which never?"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from rnn_check.subjects.asked import shelf
from rnn_check.subjects.asked.models import Stack
from rnn_check.subjects.asked.named import CELLS, LAYERS

GIVEN = {"a": {"kernel": np.ones(1)}}


class Weight:
    name = "kernel"


class Layer:
    name = "a"
    weights = (Weight(),)


def stack(name: str = "a") -> Stack:
    return Stack([{"kind": "Dense", "name": name, "units": 1}], [Layer()], (1, 1))


def test_what_was_lent_is_taken_when_its_request_is_over() -> None:
    kept, made = shelf.Shelf(), stack()
    kept.lend("key", made)
    assert kept.take("key", GIVEN) is None  # it is in use
    made.ran[1] = {}
    kept.put_back()
    assert kept.take("another", GIVEN) is None and kept.take("key", GIVEN) is made
    assert kept.take("key", GIVEN) is None and not made.ran
    kept.put_back()
    assert kept.take("key", GIVEN) is made


def test_what_was_spoilt_is_not() -> None:
    kept, made = shelf.Shelf(), stack()
    kept.lend("key", made)
    made.spoilt = True
    kept.put_back()
    assert kept.take("key", GIVEN) is None


@pytest.mark.parametrize("given", [{}, {"a": {}}, {"a": {"bias": np.ones(1)}}])
def test_weights_that_are_not_given_would_be_the_last_ones(given: Any) -> None:
    kept = shelf.Shelf()
    kept.lend("key", stack())
    kept.put_back()
    assert kept.take("key", given) is None


def test_the_oldest_go() -> None:
    kept = shelf.Shelf()
    for number in range(shelf.MOST + 1):
        kept.lend(f"{number}", stack())
        kept.put_back()
    assert kept.take("0", GIVEN) is None and kept.take("1", GIVEN) is not None


REMEMBER = (
    *("stateful", "dropout", "recurrent_dropout", "seed", "trainable", "use_cudnn"),
    *("unit_forget_bias", "kernel_initializer", "kernel_regularizer", "activity_regularizer"),
    *("kernel_constraint", "recurrent_initializer", "recurrent_regularizer", "bias_initializer"),
    *("recurrent_constraint", "bias_constraint", "bias_regularizer", "backward_layer"),
)


def test_every_option_either_changes_nothing_or_keeps_layers_to_their_request() -> None:
    options = {option for of in (*LAYERS.values(), *CELLS.values()) for option in of}
    assert options == (options & shelf.OPTIONS) | set(REMEMBER)
    assert not shelf.OPTIONS & set(REMEMBER)


@pytest.mark.parametrize("option", REMEMBER)
def test_what_may_remember_is_not_kept(option: str) -> None:
    lstm = {"kind": "LSTM", "name": "a", "units": 2}
    assert shelf.hold_weights_only([lstm])
    assert not shelf.hold_weights_only([{**lstm, option: 1}])
    both = {"kind": "Bidirectional", "name": "a", "layer": lstm}
    assert shelf.hold_weights_only([both])
    assert not shelf.hold_weights_only([{**both, "layer": {**lstm, option: 1}}])
    assert not shelf.hold_weights_only([{"kind": "RNN", "cell": {"kind": "CustomCell"}}])


@pytest.mark.parametrize(
    ("verb", "asked", "looks"),
    [
        ("run", {}, True),
        ("run", {"through": "call"}, True),
        ("run", {"training": True}, False),
        ("run", {"through": "predict"}, True),
        ("run", {"through": "evaluate"}, False),
        ("gradients", {}, True),
        ("weights", {}, True),
        ("make", {}, True),
        *((verb, {}, False) for verb in ("fit", "reload", "compose", "export", "reset", "attempt")),
    ],
)
def test_only_who_looks_leaves_layers_as_they_are(verb: str, asked: Any, looks: bool) -> None:
    assert shelf.looks(verb, asked) is looks


def test_what_is_taken_and_spoilt_leaves_nothing_that_the_others_trip_over() -> None:
    kept = shelf.Shelf()
    kept.lend("spoilt", stack())
    kept.put_back()
    made = kept.take("spoilt", GIVEN)
    assert made is not None
    made.spoilt = True
    for number in range(shelf.MOST + 1):
        kept.lend(str(number), stack())
        kept.put_back()
    assert kept.take(str(shelf.MOST), GIVEN) is not None
