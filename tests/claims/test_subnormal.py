"""Is no subject called wrong that takes subnormal numbers for zeros, as TensorFlow does?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rnn_check.asking.request import Answer
from rnn_check.claims import files
from rnn_check.claims.expectations.one_step import _taken
from rnn_check.claims.layers import Masking
from rnn_check.claims.layers.signal import Call, Signal
from rnn_check.numbers.formats import ARITHMETICS
from rnn_check.verdicts import judge
from rnn_check.verdicts.judge import AGREE, DIFFER, NOT_RUN

TINY, FLOAT32 = 1e-40, ARITHMETICS["float32"]


def shown(x: Any) -> Any:
    signal = Signal.exactly(np.asarray(x, np.float64), FLOAT32, None)
    return Masking().passed(Call({}, signal, [])).out.number


def test_masking_multiplies_what_counts_which_may_flush_it() -> None:
    number = shown([[[TINY, 0.0, 0.5, FLOAT32.min_normal]]])
    assert number.error[0, 0, 0] >= TINY
    assert (number.error[0, 0, 1:] == 0).all()


def test_a_step_of_subnormal_numbers_is_in_doubt() -> None:
    for step, value, is_doubtful in (
        ([TINY, -TINY], 0, True),
        ([0.0, TINY], 0, True),
        ([0.0, 0.0], 0, False),
        ([TINY, 0.5], 0, False),
        ([TINY, TINY], -1, False),
    ):
        x = np.array([[[1.0, 1.0], step]])
        assert Masking(mask_value=value).is_doubtful(x, FLOAT32) == is_doubtful, (step, value)


def test_a_step_of_sgd_may_flush_what_it_leaves() -> None:
    weight, zero = np.array([TINY]), np.zeros(1)
    assert _taken(weight, zero, zero, FLOAT32).error >= TINY
    most = np.array([3e38])
    assert np.isinf(_taken(most, -most, zero, FLOAT32).error)


CLAIM = """
schema = 1
title = "A step of subnormal numbers"
layers = [{{ kind = "Masking" }}, {{ kind = "SimpleRNN", units = 1 }}]
input = {{ x = [[[0.5], [{step}]]] }}
weights.simple_rnn = {{ kernel = [[1]], recurrent_kernel = [[1]], bias = [1] }}
source = {{ document = "a test", section = "doubt" }}

[[expect]]
what = "output"
value = [[{value}]]
computed_in = "real"
from = "a test"
"""


@pytest.mark.parametrize(
    ("step", "claimed", "verdict"),
    [
        ("1e-40", "0.9567", NOT_RUN),  # it may have masked the step
        ("1e-40", "0.5", DIFFER),  # the claim's own number is wrong whoever masks
        ("1e-30", "0.9567", DIFFER),
    ],
)
def test_who_masks_it_is_not_called_wrong(
    step: str, claimed: str, verdict: str, tmp_path: Path
) -> None:
    file = tmp_path / "doubt.toml"
    file.write_text(CLAIM.format(step=step, value=claimed))
    c = files.load(file)
    masked = np.tanh(np.array([[1.5]], np.float32))
    truth = np.tanh(masked + 1)
    for observed, expected in (
        (masked, verdict),
        (truth, AGREE if claimed == "0.9567" else DIFFER),
    ):
        one = np.ones((1, 1), np.float32)
        own = {"kernel": one, "recurrent_kernel": one, "bias": one[0]}
        layers = {
            "layers": [np.float32([[[0.5], [float(step) * (step != "1e-40")]]]), observed],
            "masks": [np.array([[True, True]]), None],
            "states": [],
        }
        said = {"outputs": layers, "weights": {"simple_rnn": own}}
        (found,) = judge.judge(c, Answer(said))
        assert found.verdict == expected, found.detail
