"""Is what fit, evaluate and predict report certified, and no fault of it?"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rnn_check.asking import plans
from rnn_check.asking import request as asking_request
from rnn_check.claims import files
from rnn_check.claims.claim import Claim
from rnn_check.subjects.ask import Subject, decode
from rnn_check.subjects.plan import Message, step
from rnn_check.verdicts import judge
from rnn_check.verdicts.judge import AGREE, DIFFER
from tests.support import planted
from tests.support.sampling import sampled

pytestmark = pytest.mark.thinned(5)

FAULTS = planted.found(planted.FOLDER / "reporting_faults.py", "keras.Model")
OPTIONS = files.bundled() / "options"


def claims(name: str) -> dict[str, Claim]:
    """By what is asked."""
    return {c.expectations[0].of: c for c in files.load_each(OPTIONS / "training" / f"{name}.toml")}


def stateful() -> dict[str, Claim]:
    """The same of batches that go on, each asked alone."""
    c = files.load_each(OPTIONS / "stateful" / "batches_lstm.toml")[0]
    return {
        f"stateful {each.of}": dataclasses.replace(c, expectations=(each,))
        for each in c.expectations
    }


PENALIZED = {f"penalized {of}": c for of, c in claims("reported_penalized").items()}
CLAIMS = {**claims("reported"), **claims("predicted_lstm"), **stateful(), **PENALIZED}


def judged(subject: Subject, of: str, fault: str | None = None) -> judge.Verdict:
    """fault: of a model that is not compiled; by default it is Keras's, compiled."""
    c = CLAIMS[of]
    request = asking_request.request(c, asking_request.asks(c), asking_request.Setting())
    if fault:
        request["replace"] = {"Model": FAULTS[fault]}
    observed = plans.ask(subject, request)[1]
    (found,) = observed.values()
    if "unsupported" in found:
        pytest.skip(found["unsupported"])
    (verdict,) = judge.judge(c, asking_request.Answer(observed))
    return verdict


LOSS = """
import keras, tensorflow as tf
class Traced(keras.losses.Loss):
    def call(self, target, output):
        return 0 * output + (0.0 if tf.executing_eagerly() else 1.0)
"""


@pytest.mark.parametrize(
    ("mode", "size", "traced"), [("eager", 4, False), ("eager", 1, True), ("function", 4, True)]
)
def test_a_few_batches_are_taken_as_the_mode_says(
    subject: Subject, mode: str, size: int, traced: bool, tmp_path: Path
) -> None:
    """Of more than a few, to trace what takes them is faster."""
    if subject.backend != "tensorflow":
        pytest.skip("it has no mode of its own to train in")
    (tmp_path / "traced.py").write_text(LOSS)
    made = step("make", layers=[{"kind": "Dense", "units": 1}], input_shape=[12, 2])
    x, target = np.ones((12, 2)), np.ones((12, 1))
    how: dict[str, Any] = {"of": made, "loss": "mse", "x": x, "target": target, "batch_size": size}
    steps = [
        step("run", through="evaluate", keep=["loss"], **how),
        step("fit", keep=["loss"], optimizer={"kind": "SGD", "learning_rate": 0.0}, **how),
    ]
    message = Message(steps, {"mode": mode, "replace": {"mse": f"{tmp_path}/traced.py:Traced"}})
    said = decode(subject.follow(message))
    losses = [said[message.names[each.digest]]["loss"] for each in steps]
    assert [float(loss.reshape(())) for loss in losses] == [traced, traced]


def is_known(subject: Subject, of: str) -> bool:
    """Whether the subject reports something else itself (fixtures/known/deviations.toml)."""
    masked = {"fit", "train_on_batch"}
    return (
        subject.backend == "openvino"
        or (subject.backend == "torch" and of in ("evaluate", "fit"))
        or (subject.backend == "jax" and (of in masked or of.startswith("stateful")))
        or (subject.backend == "numpy" and of.endswith("test_on_batch"))
    )


@pytest.mark.thinned(10)
@pytest.mark.parametrize("of", CLAIMS)
def test_a_model_without_a_fault_is_certified(subject: Subject, of: str) -> None:
    if is_known(subject, of):
        pytest.skip("a known deviation")
    for fault in (None, planted.NONE):
        verdict = judged(subject, of, fault)
        assert verdict.verdict == AGREE, verdict.detail


@pytest.mark.parametrize("fault", sampled(sorted(f for f in FAULTS if f != planted.NONE), 24))
def test_a_fault_of_what_is_reported_is_found(subject: Subject, fault: str) -> None:
    of = fault.partition(":")[0]
    verdict = judged(subject, of, fault)
    assert verdict.verdict == DIFFER, verdict.detail
