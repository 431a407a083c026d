"""Does a second framework, torch.nn, obey the same verbs, and is what is wrong with it seen?"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from rnn_check.asking import plans
from rnn_check.claims import files
from rnn_check.claims.claim import Claim
from rnn_check.cli.commands import main
from rnn_check.recurrences import dense, over_time
from rnn_check.subjects import environments
from rnn_check.subjects.ask import NotInstalled, Subject
from rnn_check.subjects.asked import session as sessions
from rnn_check.subjects.asked import torch_
from rnn_check.verdicts import judge
from tests.support.puppet import InThisProcess
from tests.support.sampling import long
from tests.support.sessions import claimed, verdicts

DOCUMENT = (Path(__file__).parents[2] / "docs" / "protocol.md").read_text(encoding="utf-8")
B, T, F, H = 2, 3, 3, 3
RNG = np.random.default_rng(7)
KERNEL, RECURRENT, BIAS, X, STATE = (
    RNG.integers(-3, 4, shape).astype(float) for shape in ((F, H), (H, H), (H,), (B, T, F), (B, H))
)
COTANGENT = np.arange(B * T * H).reshape(B, T, H) - 7.0
RNN = {"kind": "SimpleRNN", "units": H, "activation": "relu", "return_sequences": True}
WEIGHTS = {"simple_rnn": {"kernel": KERNEL, "recurrent_kernel": RECURRENT, "bias": BIAS}}


@pytest.fixture(scope="module")
def torch_subject() -> Iterator[Subject]:
    with Subject(framework="torch") as subject:
        try:
            assert subject.identity.framework == "torch"
        except NotInstalled as error:
            pytest.skip(str(error))
        yield subject


def ask(subject: Subject, *questions: str, **changes: Any) -> Any:
    loss = {"kind": "cotangent", "value": COTANGENT}
    asked = {"layers": [RNN], "weights": WEIGHTS, "x": X, "loss": loss, "ask": questions, **changes}
    return plans.ask(subject, asked)[1]


@pytest.mark.thinned(3)
@pytest.mark.parametrize("initial_state", [None, STATE], ids=["from zero", "from a state"])
@pytest.mark.parametrize("go_backwards", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_torch_computes_small_integers_as_the_reference_does(
    torch_subject: Subject, initial_state: Any, go_backwards: bool, dtype: str
) -> None:
    found = ask(
        torch_subject, "output", "states", "last_state", "gradients", "probe", "weights",
        layers=[{**RNN, "go_backwards": go_backwards}], initial_state=initial_state, dtype=dtype,
    )  # fmt: skip
    states, cache = over_time.forward(
        X, KERNEL, RECURRENT, BIAS, activation="relu", initial_state=initial_state,
        go_backwards=go_backwards,
    )  # fmt: skip
    wanted = over_time.backward(COTANGENT, cache)._asdict()
    assert found["output"].dtype == dtype
    assert np.array_equal(found["output"], states)
    assert np.array_equal(found["states"], states)
    assert np.array_equal(found["last_state"], states[:, -1])
    for answer in (found["gradients"], found["probe"]):
        for name in ("x", "kernel", "recurrent_kernel", "bias", "initial_state"):
            assert np.array_equal(answer[name], wanted[name]), name
    assert np.array_equal(found["probe"]["delta"], wanted["delta"])
    assert all(np.array_equal(found["weights"]["simple_rnn"][n], a)
               for n, a in WEIGHTS["simple_rnn"].items())  # fmt: skip


def test_a_last_output_goes_through_a_linear_layer(torch_subject: Subject) -> None:
    layers = [{**RNN, "return_sequences": False}, {"kind": "Dense", "units": H}]
    weights = {**WEIGHTS, "dense": {"kernel": KERNEL, "bias": BIAS}}
    loss = {"kind": "cotangent", "value": COTANGENT[:, -1]}
    found = ask(torch_subject, "output", "probe", layers=layers, weights=weights, loss=loss)
    states, cache = over_time.forward(X, KERNEL, RECURRENT, BIAS, activation="relu")
    output, of_dense = dense.dense(states[:, -1], KERNEL, BIAS)
    back = dense.dense_backward(COTANGENT[:, -1], of_dense)
    cotangent = np.zeros_like(states)
    cotangent[:, -1] = back.h
    assert np.array_equal(found["output"], output)
    assert np.array_equal(found["probe"]["dense.kernel"], back.kernel)
    assert np.array_equal(found["probe"]["delta"], over_time.backward(cotangent, cache).delta)


def test_the_start_of_a_second_layer_has_a_gradient(torch_subject: Subject) -> None:
    layers = [RNN, {**RNN, "name": "second"}]
    weights = {**WEIGHTS, "second": WEIGHTS["simple_rnn"]}
    of = ["second.initial_state"]
    found = ask(torch_subject, "gradients", layers=layers, weights=weights, of=of)["gradients"]
    first, _ = over_time.forward(X, KERNEL, RECURRENT, BIAS, activation="relu")
    _, cache = over_time.forward(first, KERNEL, RECURRENT, BIAS, activation="relu")
    wanted = over_time.backward(COTANGENT, cache).initial_state
    assert np.array_equal(found["second.initial_state"], wanted)
    assert np.any(wanted) and found.keys() == {*of, "loss"}


@pytest.mark.parametrize(
    ("question", "changes", "reason"),
    [
        ("output", {"mask": np.eye(B, T, dtype=bool)}, "torch has no mask, but lengths"),
        ("output", {"layers": [{**RNN, "activation": "gelu"}]}, "activation = 'gelu'"),
        ("output", {"layers": [{**RNN, "dropout": 0.5}]}, "dropout = 0.5"),
        ("output", {"mode": "xla"}, "no mode 'xla'"),
        ("initial_weights", {}, "draws its weights in a way of its own"),
        ("summary", {}, "torch has no summary"),
    ],
)
def test_what_torch_does_not_have_is_unsupported(
    torch_subject: Subject, question: str, changes: dict[str, Any], reason: str
) -> None:
    found = ask(torch_subject, question, **changes)[question]
    assert reason in found["unsupported"]


def test_the_exchange_of_the_documents_is_what_is_said() -> None:
    torch = pytest.importorskip("torch")
    asked, answered = re.findall(r"```json\n(.*?)```", DOCUMENT, re.DOTALL)
    line = json.dumps(json.loads(asked))
    assert sessions.reply_to(torch_.Torch(torch), line) == json.loads(answered)


def test_the_documents_name_every_verb() -> None:
    assert re.findall(r"^\| `(\w+)` \|", DOCUMENT, re.MULTILINE) == list(sessions.VERBS)


class _Transposed(torch_.Torch):
    def write(self, module: Any, spec: Any, own: Any) -> None:
        super().write(module, spec, own)
        if hasattr(module, "weight_hh_l0"):
            module.weight_hh_l0.data = module.weight_hh_l0.data.T.contiguous()


class _SecondBias(torch_.Torch):
    def write(self, module: Any, spec: Any, own: Any) -> None:
        super().write(module, spec, own)
        if hasattr(module, "bias_hh_l0"):
            self.torch.nn.init.constant_(module.bias_hh_l0, 1e-3)


class _LostStep(torch_.Torch):
    def recur(self, *given: Any) -> Any:
        sequence, ends = super().recur(*given)
        return sequence * (1 + 1e-5), ends


SEQUENCE = "certified/tanh_sequence"


def test_an_honest_torch_is_certified_and_a_fault_in_it_is_red() -> None:
    torch = pytest.importorskip("torch")
    assert verdicts(torch_.Torch(torch), claimed(SEQUENCE))["certified"] == judge.AGREE
    for fault in (_Transposed, _SecondBias, _LostStep):
        found = verdicts(fault(torch), claimed(SEQUENCE))
        assert found["certified"] in (judge.DIFFER, judge.ERROR), fault


class _OverSamples(torch_.Torch):
    def activated(self, name: Any, value: Any) -> Any:
        return self.torch.softmax(value, 0) if name == "softmax" else super().activated(name, value)


def test_a_softmax_is_over_units() -> None:
    torch = pytest.importorskip("torch")
    claim = claimed("derived/softmax_network")
    assert verdicts(torch_.Torch(torch), claim)["output"] == judge.AGREE
    assert verdicts(_OverSamples(torch), claim)["output"] == judge.DIFFER


# --- layers that follow each other ----------------------------------------------------------------


THREE = """
schema = 1
title  = "three layers of a kind"
source = { document = "a test" }
input  = { x = [[[0.5, -1.0], [1.25, 0.75], [-0.5, 0.25]]] }
[[expect]]
what  = "certified"
value = true
from  = "a test"
"""


class _Layers(torch_.Torch):
    """Remembers how many layers each module had that was called. shares: a fault in it."""

    def __init__(self, torch: Any, shares: Any = None) -> None:
        super().__init__(torch)
        self.deep: set[int] = set()
        self.shares = shares

    def recur(self, module: Any, *given: Any) -> Any:
        self.deep.add(module.num_layers)
        return super().recur(module, *given)

    def one(self, of: Any) -> Any:
        if self.shares is None:
            return super().one(of)
        return super().one(torch_.Stack(of.specs, self.shares(of.modules)))


def three_layers(kind: str, both_ways: bool) -> Claim:
    """Of which the gradients are asked, and the output."""
    columns, size, text = 2 * {"SimpleRNN": 1, "LSTM": 4, "GRU": 3}[kind], 2, [THREE]
    for number, name in enumerate(("first", "middle", "last"), 1):
        inner = f'kind = "{kind}", units = 2, return_sequences = {str(name != "last").lower()}'
        wrapped = f'kind = "Bidirectional", layer = {{ {inner} }}' if both_ways else inner
        keys = wrapped if both_ways else "\n".join(inner.split(", "))
        keys = keys.replace(", layer", "\nlayer")
        text.append(f'[[layers]]\nname = "{name}"\n{keys}')
        for way in (".forward", ".backward") if both_ways else ("",):
            end = number / 4 if way == ".backward" else -number / 4
            rows = "2, " if kind == "GRU" else ""
            text += [
                f"[weights.{name}{way}]",
                f"kernel = {{ linspace = [-0.5, {end}], shape = [{size}, {columns}] }}",
                f"recurrent_kernel = {{ linspace = [{end}, 0.625], shape = [2, {columns}] }}",
                f"bias = {{ linspace = [{end}, 0.25], shape = [{rows}{columns}] }}",
            ]
        size = 4 if both_ways else 2
    value = [[0.5, -1.0, 0.25, 2.0][:size]]
    text.append(f"[loss]\ncotangent = {value}")
    return files.loads("\n".join(text))


@pytest.mark.thinned(3)
@pytest.mark.parametrize("kind", ["SimpleRNN", "LSTM", "GRU"])
@pytest.mark.parametrize("both_ways", [False, True])
def test_layers_that_follow_each_other_are_one_module(kind: str, both_ways: bool) -> None:
    torch = pytest.importorskip("torch")
    claim, session = three_layers(kind, both_ways), _Layers(torch)
    assert set(verdicts(session, claim).values()) == {judge.AGREE}
    assert session.deep == {1, 3}  # what comes between them is asked, too
    wrong = _Layers(torch, lambda modules: [modules[0], *modules[:0:-1]])
    assert judge.DIFFER in verdicts(wrong, claim).values()


def test_what_comes_between_layers_is_asked_of_one_after_the_other() -> None:
    torch = pytest.importorskip("torch")
    session = _Layers(torch)
    subject: Any = InThisProcess(session)
    again = {**RNN, "name": "second"}
    given = {**WEIGHTS, "second": WEIGHTS["simple_rnn"]}
    ask(subject, "outputs", layers=[RNN, again], weights=given)
    assert session.deep == {1}
    ask(subject, "output", layers=[RNN, {**again, "activation": "tanh"}], weights=given)
    assert session.deep == {1}
    ask(subject, "output", layers=[RNN, again], weights=given)
    assert session.deep == {1, 2}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--backend", "jax"], "--backend: is Keras's"),
        (["--layer", "a.py:B"], "--layer: is Keras's"),
        (["--mode", "xla"], "no mode 'xla', only eager"),
        (["--dtype", "float16"], "no 'float16', only float32"),
        (["--framework", "caffe"], "caffe"),
    ],
    ids=str,
)
def test_what_does_not_go_with_torch_is_refused(options: list[str], words: str) -> None:
    result = CliRunner().invoke(main, ["--framework", "torch", *options])
    assert result.exit_code == 2
    assert words in result.stderr


def test_an_environment_of_torch_nn_needs_no_keras() -> None:
    wanted = environments.parse("torch==2.12.0@torch.nn")
    assert list(wanted.requirements) == ["torch==2.12.0", "numpy"]
    assert wanted.backend == "torch.nn"


@long
def test_torch_nn_that_is_installed_is_compared_with_a_record(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    more = ["-k", "certified/tanh_sequence"]
    record = str(tmp_path / "a.npz")
    done = CliRunner().invoke(main, ["observe", "--framework", "torch", *more, "-o", record])
    assert done.exit_code == 0, done.stderr
    done = CliRunner().invoke(main, ["compare", record, "current@torch.nn", "--json"])
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    assert [each["framework"] for each in said["subjects"]] == ["torch", "torch"]
    assert [each["name"] for each in said["subjects"]] == [record, "current@torch.nn"]
    assert said["summary"]["sentence"] == "Nothing differs, not a bit, in 1 claim."
