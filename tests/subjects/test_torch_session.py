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

from rnn_check.asking import plans, request
from rnn_check.claims import files
from rnn_check.cli.commands import main
from rnn_check.recurrences import dense, over_time
from rnn_check.subjects import environments
from rnn_check.subjects.ask import NotInstalled, Subject
from rnn_check.subjects.asked import session as sessions
from rnn_check.subjects.asked import torch_
from rnn_check.verdicts import judge
from tests.support.puppet import InThisProcess
from tests.support.sampling import long

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
        ("output", {"mask": np.ones((B, T), bool)}, "torch has no mask"),
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


def _judged(
    session: torch_.Torch, name: str = "certified/tanh_sequence", what: str = "certified"
) -> set[str]:
    c = files.load(files.bundled() / f"{name}.toml")
    answer = request.ask(c, InThisProcess(session), request.Setting())  # type: ignore[arg-type]
    return {v.verdict for v in judge.judge(c, answer) if what in v.what}


class _Transposed(torch_.Torch):
    def called(self, of: Any, x: Any, start: Any, last: bool = False) -> Any:
        for module in of.modules:
            if hasattr(module, "weight_hh_l0") and not hasattr(module, "turned"):
                module.weight_hh_l0.data = module.weight_hh_l0.data.T.contiguous()
                module.turned = True
        return super().called(of, x, start, last)


class _SecondBias(torch_.Torch):
    def module(self, spec: Any, size: Any) -> Any:
        made = super().module(spec, size)
        if hasattr(made, "bias_hh_l0"):
            self.torch.nn.init.constant_(made.bias_hh_l0, 1e-3)
        return made


class _LostStep(torch_.Torch):
    def called(self, of: Any, x: Any, start: Any, last: bool = False) -> Any:
        found = super().called(of, x, start, last)
        found["states"] = found["states"] * (1 + 1e-5)
        return found


def test_an_honest_torch_is_certified_and_a_fault_in_it_is_red() -> None:
    torch = pytest.importorskip("torch")
    assert _judged(torch_.Torch(torch)) == {judge.AGREE}
    for fault in (_Transposed, _SecondBias, _LostStep):
        assert _judged(fault(torch)) & {judge.DIFFER, judge.ERROR}, fault


class _OverSamples(torch_.Torch):
    def activated(self, name: Any, value: Any) -> Any:
        return self.torch.softmax(value, 0) if name == "softmax" else super().activated(name, value)


def test_a_softmax_is_over_units() -> None:
    torch = pytest.importorskip("torch")
    of = "derived/softmax_network", "output"
    assert _judged(torch_.Torch(torch), *of) == {judge.AGREE}
    assert _judged(_OverSamples(torch), *of) == {judge.DIFFER}


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
