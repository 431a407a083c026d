"""Do LSTM and GRU of other frameworks obey the same verbs, and is what is wrong with them seen?"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from rnn_check.asking import plans
from rnn_check.claims import files
from rnn_check.subjects.asked import layouts
from rnn_check.subjects.asked.layouts import KERAS, ONNX, TORCH, Turned
from rnn_check.verdicts.judge import AGREE, DIFFER, NOT_RUN
from tests.support.puppet import InThisProcess
from tests.support.sessions import (
    OTHERS,
    claimed,
    module_of,
    opened,
    takes_no_argument_of_keras,
    verdicts,
)

pytestmark = pytest.mark.thinned(5)

RNG = np.random.default_rng(5)
BOTH_WAYS = "[merge_mode=concat, return_sequences={}, mask=none]"
HONEST = (
    "certified/lstm_sequence",
    "certified/gru_sequence",
    "gates/keras_lstm_initial_state_backwards",
    "gates/keras_lstm_no_bias",
    "gates/keras_gru_initial_state_backwards",
    *(f"options/bidirectional/{kind}{BOTH_WAYS.format(shown)}"
      for kind in ("lstm", "gru") for shown in ("true", "false")),
    f"options/bidirectional/states_lstm{BOTH_WAYS.format('true')}",
)  # fmt: skip


@pytest.mark.parametrize("name", HONEST)
@pytest.mark.parametrize("framework", OTHERS)
def test_an_honest_framework_is_certified(framework: str, name: str) -> None:
    found = verdicts(opened(framework), claimed(name))
    assert found and set(found.values()) == {AGREE}


@pytest.mark.parametrize("framework", ["torch", "onnx"])
def test_float64_is_certified_as_float64(framework: str) -> None:
    for name in HONEST[:2]:
        found = verdicts(opened(framework), claimed(name), "float64")
        assert set(found.values()) == {AGREE}


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "SimpleRNN"])
@pytest.mark.parametrize("order", [TORCH, ONNX], ids=["torch", "ONNX"])
def test_weights_that_are_turned_and_turned_back_are_the_same_bits(
    kind: str, order: dict[str, str]
) -> None:
    gates = len(KERAS[kind])
    for rows in ((), (2,)) if kind == "GRU" else ((),):
        own = {
            "kernel": RNG.random((3, gates * 2)),
            "recurrent_kernel": RNG.random((2, gates * 2)),
            "bias": RNG.random((*rows, gates * 2)),
        }
        theirs = layouts.turned(own, KERAS[kind], order[kind])
        again = layouts.as_keras(theirs, order[kind], KERAS[kind], bool(rows))
        assert again.keys() == own.keys()
        assert all(np.array_equal(again[path], own[path]) for path in own)
        for at, gate in enumerate(order[kind]):  # each block is that gate's, from the left
            of_keras = slice(2 * KERAS[kind].index(gate), 2 * KERAS[kind].index(gate) + 2)
            block = theirs.w[2 * at : 2 * at + 2]
            assert np.array_equal(block, own["kernel"][:, of_keras].T)


# --- faults: what of a conversion goes wrong in the ports that people write -----------------------


def _unordered(theirs: Turned, own: dict[str, Any], have: str, want: str) -> Turned:
    return layouts.turned(own, have, have)


def _exchanged(theirs: Turned, own: dict[str, Any], have: str, want: str) -> Turned:
    """The first two gates, which is what is wrong where the order is Keras's own."""
    return layouts.turned(own, have, want[1] + want[0] + want[2:])


def _not_transposed(theirs: Turned, own: dict[str, Any], have: str, want: str) -> Turned:
    units = theirs.r.shape[1]
    blocks = [theirs.r[i : i + units].T for i in range(0, len(theirs.r), units)]
    return theirs._replace(r=np.concatenate(blocks))


def _one_bias(theirs: Turned, own: dict[str, Any], have: str, want: str) -> Turned:
    return theirs._replace(r_bias=np.zeros_like(theirs.r_bias))


def _other_bias(theirs: Turned, own: dict[str, Any], have: str, want: str) -> Turned:
    return theirs._replace(w_bias=theirs.r_bias, r_bias=theirs.w_bias)


def _both_biases(theirs: Turned, own: dict[str, Any], have: str, want: str) -> Turned:
    return theirs._replace(r_bias=theirs.w_bias)


WRONG = [
    *itertools.product(HONEST[:2], [_exchanged, _not_transposed, _both_biases]),
    ("certified/gru_sequence", _one_bias),
    ("certified/gru_sequence", _other_bias),
]


@pytest.mark.thinned(15)
@pytest.mark.parametrize(("name", "fault"), WRONG)
@pytest.mark.parametrize("framework", OTHERS)
def test_a_wrong_conversion_is_red(
    framework: str, name: str, fault: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = opened(framework)

    def turned(own: dict[str, Any], have: str, want: str) -> Turned:
        return fault(layouts.turned(own, have, want), own, have, want)  # type: ignore[no-any-return]

    monkeypatch.setattr(module_of(framework), "turned", turned)
    assert DIFFER in verdicts(session, claimed(name)).values()


@pytest.mark.parametrize(
    ("framework", "name"), [("torch", HONEST[1]), ("onnx", HONEST[0]), ("onnxruntime", HONEST[0])]
)
def test_gates_that_keep_the_order_of_keras_are_red(
    framework: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    test_a_wrong_conversion_is_red(framework, name, _unordered, monkeypatch)


def _changed(session: Any, monkeypatch: pytest.MonkeyPatch, change: Any) -> None:
    """recur is given, or says, something else."""
    right = session.recur

    def wrong(module: Any, spec: Any, x: Any, starts: Any, lengths: Any) -> Any:
        return change(right, module, spec, x, starts, lengths)

    monkeypatch.setattr(session, "recur", wrong)


def _starts_exchanged(right: Any, module: Any, spec: Any, x: Any, starts: Any, lengths: Any) -> Any:
    return right(module, spec, x, [*starts][::-1], lengths)


def _forwards(right: Any, module: Any, spec: Any, x: Any, starts: Any, lengths: Any) -> Any:
    return right(module, {**spec, "go_backwards": False}, x, starts, lengths)


def _ends_exchanged(right: Any, module: Any, spec: Any, x: Any, starts: Any, lengths: Any) -> Any:
    sequence, ends = right(module, spec, x, starts, lengths)
    return sequence, ends[::-1]


def _starts_ignored(right: Any, module: Any, spec: Any, x: Any, starts: Any, lengths: Any) -> Any:
    return right(module, spec, x, [], lengths)


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        *itertools.product(HONEST[2:3], [_forwards, _ends_exchanged, _starts_ignored]),
        *itertools.product(HONEST[4:5], [_forwards, _starts_ignored]),
        (HONEST[-1], _starts_exchanged),
        (HONEST[-1], _ends_exchanged),
    ],
)
@pytest.mark.parametrize("framework", OTHERS)
def test_states_and_directions_that_are_exchanged_are_red(
    framework: str, name: str, fault: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = opened(framework)
    _changed(session, monkeypatch, fault)
    assert DIFFER in verdicts(session, claimed(name)).values()


@pytest.mark.parametrize("framework", OTHERS)
def test_directions_whose_weights_are_exchanged_are_red(
    framework: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = opened(framework)
    monkeypatch.setattr(module_of(framework), "ways", lambda spec: layouts.ways(spec)[::-1])
    for name in HONEST[5:7]:
        assert DIFFER in verdicts(session, claimed(name)).values()


# --- sequences that end early ---------------------------------------------------------------------

ENDS = """
schema = 1
title  = "sequences that end early"
source = {{ document = "a test" }}
[layer]
kind  = "{kind}"
units = 2
{options}
[weights]
kernel           = {{ linspace = [-0.75, 1.0], shape = [2, {columns}] }}
recurrent_kernel = {{ linspace = [0.5, -0.625], shape = [2, {columns}] }}
bias             = {{ linspace = [-0.25, 0.5], shape = [{rows}{columns}] }}
[input]
x    = {{ linspace = [-1.0, 1.5], shape = [3, 4, 2] }}
mask = {mask}
[[expect]]
what  = "{what}"
value = {value}
from  = "a test"
"""
AT_THE_END = "[[true, true, false, false], [true, true, true, true], [true, false, false, false]]"
FULL = str([[True] * 4] * 3).lower()
HOLES = AT_THE_END.replace("true, true, false", "true, false, true")
NONE = AT_THE_END.replace("[true, false, false, false]", "[false, false, false, false]")
BACKWARDS = "\ngo_backwards = true"
SHOWN = "return_sequences = true\nzero_output_for_mask = true"


def ends(kind: str, options: str = "", mask: str = AT_THE_END, what: str = "certified") -> Any:
    columns = {"SimpleRNN": 2, "LSTM": 8, "GRU": 6}[kind]
    given = {"rows": "2, " if kind == "GRU" else "", "columns": columns, "options": options}
    text = ENDS.format(kind=kind, mask=mask, what=what, value="true", **given)
    return files.loads(text)


@pytest.mark.parametrize("kind", ["SimpleRNN", "LSTM", "GRU"])
@pytest.mark.parametrize("framework", ["torch", "onnxruntime"])
def test_sequences_that_end_early_are_certified_and_lengths_that_are_ignored_are_red(
    framework: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = opened(framework)
    claims = [ends(kind, how + more) for how in (SHOWN, "") for more in ("", BACKWARDS)]
    asked = [claim for claim in claims if set(verdicts(session, claim).values()) == {AGREE}]
    # of a SimpleRNN the sequence is always asked for, which Keras fills up with the last output
    assert [claims.index(claim) for claim in asked] == [*range(2 if kind == "SimpleRNN" else 4)]
    _changed(session, monkeypatch, lambda right, *given: right(*given[:-1], None))
    for claim in asked:
        assert DIFFER in verdicts(session, claim).values()


@pytest.mark.parametrize(
    ("mask", "options", "reason"),
    [
        (HOLES, "", "skips a step before one that counts"),
        (NONE, "", "a sample has no step that counts"),
        (AT_THE_END, "return_sequences = true", "fills a sequence up with zeros"),
    ],
)
@pytest.mark.parametrize("framework", OTHERS)
def test_a_mask_that_is_no_length_is_not_run(
    framework: str, mask: str, options: str, reason: str
) -> None:
    session, claim = opened(framework), ends("LSTM", options, mask)
    assert set(verdicts(session, claim).values()) == {NOT_RUN}
    x = np.ones((3, 4, 2))
    asked = {
        "layers": [{"kind": "LSTM", "units": 2, "return_sequences": bool(options)}], "x": x,
        "mask": claim.mask, "ask": ["output"],
        "weights": {"lstm": {"kernel": np.ones((2, 8)), "recurrent_kernel": np.ones((2, 8)),
                             "bias": np.ones(8)}},
    }  # fmt: skip
    _, found = plans.ask(InThisProcess(session), asked)  # type: ignore[arg-type]
    assert reason in found["output"]["unsupported"]


@pytest.mark.parametrize("framework", OTHERS)
def test_a_mask_under_which_everything_counts_changes_nothing(framework: str) -> None:
    for options in ("", "return_sequences = true"):
        found = verdicts(opened(framework), ends("GRU", options, FULL))
        assert set(found.values()) == {AGREE}


# --- what there is not ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("frameworks", "spec", "reason"),
    [
        (("torch",), {"kind": "GRU", "reset_after": False}, "GRU with reset_after = False"),
        (("torch",), {"kind": "LSTM", "activation": "relu"}, "LSTM with activation = 'relu'"),
        (OTHERS, {"kind": "LSTM", "activation": "mish"}, "LSTM with activation = 'mish'"),
        (OTHERS, {"kind": "LSTM", "dropout": 0.5}, "LSTM with dropout = 0.5"),
        (OTHERS, {"kind": "GRU", "stateful": True}, "GRU with stateful = True"),
        (OTHERS, {"kind": "LSTM", "implementation": 2}, "LSTM with implementation = 2"),
    ],
)
def test_what_no_module_has_is_unsupported(
    frameworks: Sequence[str], spec: dict[str, Any], reason: str
) -> None:
    for framework in frameworks:
        asked = {"layers": [{"units": 2, **spec}], "x": np.ones((1, 2, 2)), "ask": ["output"]}
        session = InThisProcess(opened(framework))
        found = plans.ask(session, asked)[1]["output"]  # type: ignore[arg-type]
        assert reason in found["unsupported"]


@pytest.mark.parametrize("framework", OTHERS)
def test_an_argument_that_is_keras_alone_is_unsupported(framework: str) -> None:
    takes_no_argument_of_keras(framework)


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ({"merge_mode": "sum"}, "Bidirectional with merge_mode = 'sum'"),
        ({"layer": {"go_backwards": True}}, "Bidirectional of a layer with go_backwards"),
    ],
)
@pytest.mark.parametrize("framework", OTHERS)
def test_directions_that_are_merged_otherwise_are_unsupported(
    framework: str, spec: dict[str, Any], reason: str
) -> None:
    inner = {"kind": "LSTM", "units": 2, **spec.get("layer", {})}
    layer = {**spec, "kind": "Bidirectional", "layer": inner}
    asked = {"layers": [layer], "x": np.ones((1, 2, 2)), "ask": ["output"]}
    found = plans.ask(InThisProcess(opened(framework)), asked)[1]["output"]  # type: ignore[arg-type]
    assert reason in found["unsupported"]


@pytest.mark.parametrize("framework", OTHERS)
def test_weights_of_another_shape_are_an_error_that_says_which(framework: str) -> None:
    given = {"lstm": {"kernel": np.ones((2, 6))}}
    asked = {"layers": [{"kind": "LSTM", "units": 2}], "x": np.ones((1, 2, 2)), "weights": given,
             "ask": ["output"]}  # fmt: skip
    session = opened(framework)
    session.draws = True  # whatever else is given
    with pytest.raises(Exception, match=r"kernel of lstm has shape \(2, 8\), not \(2, 6\)"):
        plans.ask(InThisProcess(session), asked)  # type: ignore[arg-type]
