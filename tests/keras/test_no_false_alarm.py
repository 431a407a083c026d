"""Does an honest layer never fail?  150 of the 10,000 of no_false_alarm.py."""

from __future__ import annotations

import numpy as np
import pytest

from rnn_check import certify
from tests.support.layers import random_layer
from tests.support.sampling import long, sampled
from tools import no_false_alarm


def test_no_honest_layer_of_a_few_fails() -> None:
    """In every run, of a family that the others are not of."""
    modes = ("eager", "function")
    tally = no_false_alarm.run(layers=3, per_family=3, first=31, modes=modes)
    assert tally.alarms == []
    assert tally.certificates >= 6


@long
@pytest.mark.parametrize("first", range(0, 30, 3))
def test_no_honest_layer_fails(first: int) -> None:
    """A family of five layers, each in all modes, forward and backward."""
    tally = no_false_alarm.run(layers=5, per_family=5, first=first)
    assert tally.alarms == []
    assert tally.certificates >= 15


FAMILIES = [(r, n) for n in range(10) for r in ("lstm", "gru")]


@pytest.mark.parametrize("family", sampled(FAMILIES, 20), ids=str)
def test_no_honest_layer_with_gates_fails(family: tuple[str, int]) -> None:
    """Five layers of one structure, eager, forward and backward."""
    recurrence, first = family
    tally = no_false_alarm.run(
        layers=5, per_family=5, first=first, modes=("eager",), recurrence=recurrence
    )
    assert tally.alarms == []
    assert tally.certificates >= 5


@pytest.mark.parametrize("activation", no_false_alarm.KNOWN_WRONG)
def test_what_is_known_to_be_wrong_is_still_wrong(activation: str) -> None:
    """Strict: once Keras's sparsemax is right, it belongs among the others."""
    layer = random_layer(5, activation=activation)
    tally = no_false_alarm.Tally()
    no_false_alarm.Subject(layer).certify(layer, "eager", tally)
    assert tally.alarms


def test_an_alarm_is_raised() -> None:
    """The twin: one weight off is an alarm."""
    layer = random_layer(8, activation="tanh")
    subject = no_false_alarm.Subject(layer)
    tally = no_false_alarm.Tally()
    subject.certify(layer, "eager", tally)
    assert tally.alarms == []
    wrong = layer.recurrent_kernel.copy()
    wrong.flat[np.argmax(np.abs(wrong))] *= np.float32(1 + 1e-3)
    states = subject.plain(layer.x, initial_state=layer.initial_state, mask=layer.mask).numpy()
    assert not certify(states, **layer.arguments | {"recurrent_kernel": wrong}).ok
