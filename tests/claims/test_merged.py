"""Do the two directions' outputs meet within the bound, as any honest machine merges them?"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from rnn_check.claims.layers.recurrent import SimpleRNN
from rnn_check.claims.layers.wrappers import Bidirectional
from rnn_check.numbers.bounded import exactly
from rnn_check.numbers.formats import ARITHMETICS

TINY = np.finfo(np.float32).tiny
# what a step may end at: nothing, what is below the normal numbers and at their edge, the largest
SIDES = [*(0.0, -0.0, 1.0, 3.0, 1e-30, TINY, TINY / 2, TINY * 0.75, TINY * 1.5, 2.0**-149, 1e30),
         float(np.finfo(np.float32).max), 2.5e38, np.inf, np.nan, *(0.1, 1 / 3)]  # fmt: skip


def kept(number: Any) -> Any:
    return number


def flushed(number: Any) -> Any:
    """As TensorFlow sets its machine: what is below the normal numbers is zero."""
    return np.where(np.abs(number) < TINY, np.copysign(np.float32(0), number), number)


@pytest.mark.parametrize("machine", [kept, flushed])
@pytest.mark.parametrize("mode", ["sum", "mul", "ave"])
def test_what_float32_makes_of_two_directions_is_never_called_wrong(
    mode: Any, machine: Callable[[Any], Any]
) -> None:
    both = np.float32(list(itertools.product([*SIDES, *(-each for each in SIDES)], repeat=2)))
    one, other = machine(both.T)
    with np.errstate(all="ignore"):
        honest = machine(one * other if mode == "mul" else one + other)
        if mode == "ave":
            honest = machine(honest / np.float32(2))
        layer = Bidirectional(layer=SimpleRNN(units=1), merge_mode=mode)
        value, error = layer._merged(*(exactly(side, ARITHMETICS["float32"]) for side in both.T))
        off = np.abs(honest.astype(np.float64) - value)
    same = (honest == value) | (np.isnan(honest) & np.isnan(value))
    wrong = ~(same | (off <= error) | np.isposinf(error))
    assert not wrong.any(), both[wrong][:5]


@pytest.mark.parametrize("mode", ["sum", "mul", "ave"])
def test_what_is_exact_may_not_be_off(mode: Any) -> None:
    sides = np.array([0.5, 3.0, -1.0]), np.array([0.25, 4.0, 1.0])
    layer = Bidirectional(layer=SimpleRNN(units=1), merge_mode=mode)
    value, error = layer._merged(*(exactly(side, ARITHMETICS["float32"]) for side in sides))
    expected = {"sum": [0.75, 7, 0], "mul": [0.125, 12, -1], "ave": [0.375, 3.5, 0]}[mode]
    assert (value.tolist(), error.tolist()) == (expected, [0, 0, 0])
