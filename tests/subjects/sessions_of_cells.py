"""Do the cells of flax and equinox obey the same verbs, and is what is wrong with them seen?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from rnn_check.asking import plans
from rnn_check.claims import files
from rnn_check.claims.claim import Claim
from rnn_check.verdicts.judge import AGREE, DIFFER, ERROR
from tests.support.puppet import InThisProcess
from tests.support.sampling import long, thinned
from tests.support.sessions import (
    CELLS,
    claimed,
    module_of,
    opened,
    takes_no_argument_of_keras,
    verdicts,
)

LSTM = "certified/lstm_sequence"
BACKWARDS = "gates/keras_lstm_initial_state_backwards"
GRU = """
schema = 1
title  = "a GRU whose second bias is that of the candidate"
source = {{ document = "a test" }}
[layer]
kind  = "GRU"
units = 2
return_sequences = true
[weights]
kernel           = {{ linspace = [-0.75, 1.0], shape = [2, 6] }}
recurrent_kernel = {{ linspace = [0.5, -0.625], shape = [2, 6] }}
bias             = [[0.5, -0.25, 0.125, 0.75, -0.5, 0.25], [0, 0, 0, 0, {second}]]
[input]
x             = {{ linspace = [-1.0, 1.5], shape = [2, 3, 2] }}
initial_state = [[0.5, -0.25], [0.125, 0.75]]
{loss}
[[expect]]
what  = "certified"
value = true
from  = "a test"
"""
LOSS = "[loss]\ncotangent = { linspace = [1.0, -2.0], shape = [2, 3, 2] }"


def gru(framework: str) -> Claim:
    """As far as that framework has it: flax has one bias, and no gradient of a second."""
    if framework == "flax":
        return files.loads(GRU.format(second="0, 0", loss=""))
    return files.loads(GRU.format(second="0.375, -0.625", loss=LOSS))


@pytest.fixture
def unoptimized() -> Iterator[None]:
    """What is compiled for one run is compiled sooner."""
    jax = pytest.importorskip("jax")
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


@pytest.mark.parametrize("dtype", ["float32", pytest.param("float64", marks=long)])
@pytest.mark.parametrize("framework", CELLS)
def test_an_honest_framework_is_certified(framework: str, dtype: str) -> None:
    session = opened(framework)
    for claim in (claimed(LSTM), claimed(BACKWARDS), gru(framework)):
        assert set(verdicts(session, claim, dtype).values()) == {AGREE}, claim.name


@long
@pytest.mark.usefixtures("unoptimized")
def test_a_simple_cell_of_flax_is_certified_with_other_activations() -> None:
    session = opened("flax")
    names = ["certified/tanh_sequence", "certified/last_state"]
    for each in ("softplus", "softsign", "elu", "linear", "hard_sigmoid"):
        names.append(f"options/activations/every[activation={each}]")
    for name in names:
        assert verdicts(session, claimed(name))["certified"] == AGREE, name


def _unordered(session: Any, framework: str, monkeypatch: pytest.MonkeyPatch) -> None:
    own = module_of(framework)
    order = {**own.TORCH, "LSTM": "iofc", "GRU": "zrh"}
    monkeypatch.setattr(own, "TORCH", order)


def _starts_exchanged(session: Any, framework: str, monkeypatch: pytest.MonkeyPatch) -> None:
    right = session.sequence
    monkeypatch.setattr(
        session, "sequence", lambda spec, own, x, start: right(spec, own, x, start[::-1] * 2)
    )


def _starts_ignored(session: Any, framework: str, monkeypatch: pytest.MonkeyPatch) -> None:
    right = session.sequence
    monkeypatch.setattr(
        session, "sequence", lambda spec, own, x, start: right(spec, own, x, [0 * s for s in start])
    )


def _one_weight_off(session: Any, framework: str, monkeypatch: pytest.MonkeyPatch) -> None:
    right = session.sequence

    def wrong(spec: Any, own: Any, x: Any, start: Any) -> Any:
        kernel = own["recurrent_kernel"]
        return right(spec, {**own, "recurrent_kernel": kernel.at[0, -1].add(1e-4)}, x, start)

    monkeypatch.setattr(session, "sequence", wrong)


def _gradients_of_one_bias(session: Any, framework: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "of_weights", session.read)


FAULTS = [
    *[(framework, "gru", fault) for framework in CELLS
      for fault in (_unordered, _starts_ignored, _one_weight_off)],
    *[(framework, LSTM, fault) for framework in CELLS
      for fault in (_unordered, _starts_exchanged, _one_weight_off)],
    ("equinox", "gru", _gradients_of_one_bias),
]  # fmt: skip


@thinned(4)
@pytest.mark.usefixtures("unoptimized")
@pytest.mark.parametrize(("framework", "name", "fault"), FAULTS)
def test_a_fault_in_it_is_red(
    framework: str, name: str, fault: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = opened(framework)
    claim = gru(framework) if name == "gru" else claimed(name)
    fault(session, framework, monkeypatch)
    assert {DIFFER, ERROR} & {*verdicts(session, claim).values()}


@pytest.mark.parametrize(
    ("framework", "spec", "reason"),
    [
        ("flax", {"kind": "GRU"}, "flax has no second bias in all gates of a GRU"),
        ("equinox", {"kind": "GRU"}, "equinox has no second bias in all gates of a GRU"),
        ("equinox", {"kind": "SimpleRNN"}, "equinox has no SimpleRNN"),
        ("equinox", {"kind": "LSTM", "activation": "relu"}, "LSTM with activation = 'relu'"),
        ("flax", {"kind": "LSTM", "dropout": 0.5}, "LSTM with dropout = 0.5"),
        ("flax", {"kind": "Dense"}, "flax has no Dense"),
    ],
)
def test_what_it_does_not_have_is_unsupported(
    framework: str, spec: dict[str, Any], reason: str
) -> None:
    gates = {"GRU": 3, "LSTM": 4}.get(spec["kind"], 1)
    rows = (2,) if spec["kind"] == "GRU" else ()
    own = {"kernel": np.ones((2, 2 * gates)), "recurrent_kernel": np.ones((2, 2 * gates)),
           "bias": np.ones((*rows, 2 * gates))}  # fmt: skip
    asked = {"layers": [{"name": "one", "units": 2, **spec}], "x": np.ones((1, 2, 2)),
             "weights": {"one": own}, "ask": ["output"]}  # fmt: skip
    session: Any = InThisProcess(opened(framework))
    assert reason in plans.ask(session, asked)[1]["output"]["unsupported"]


@pytest.mark.parametrize("framework", CELLS)
def test_an_argument_that_is_keras_alone_is_unsupported(framework: str) -> None:
    takes_no_argument_of_keras(framework)
