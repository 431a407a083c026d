"""Do layers that served other claims, with other weights, say bit for bit what fresh ones say?"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from rnn_check.asking import plans
from rnn_check.asking import request as asking_request
from rnn_check.asking.request import Setting
from rnn_check.subjects.ask import Subject
from rnn_check.subjects.plan import Message, Step, step
from rnn_check.sweep.space import BATCH, FAMILY, Case, Space
from tests.support.sampling import long

ALIKE = "certified,gradients,weights_read_back,any_shape,cell"  # what draws nothing
CHANGED = [
    *(f"stateful of {through}" for through in ("call", "predict", "fit", "evaluate")),
    *(f"round_trip of {how}" for how in ("config", "weights", "keras", "clone")),
]


def said(subject: Subject, case: Case, space: Space, setting: Setting) -> Any:
    claim = case.claim(space)
    request = asking_request.request(claim, asking_request.asks(claim), setting)
    return plans.ask(subject, request)[0]


def alike(subject: Subject, space: Space, family: int, setting: Setting) -> None:
    """The first of a family is asked once more after two others, when its layers are at hand.

    Of other weights than its own, which those of a batch share.
    """
    first, *others = (Case(3, family * FAMILY + batch * BATCH) for batch in range(3))
    fresh = said(subject, first, space, setting)
    different = [said(subject, each, space, setting) for each in others]
    assert all(each != fresh for each in different)
    assert said(subject, first, space, setting) == fresh


@pytest.mark.parametrize("family", range(4))
def test_looked_at(subject: Subject, family: int) -> None:
    alike(subject, Space.within([f"do={ALIKE}"]), family, Setting())


@long
@pytest.mark.parametrize("family", range(4, 32))
def test_looked_at_in_many_ways(subject: Subject, family: int) -> None:
    alike(subject, Space.within([f"do={ALIKE}"]), family, Setting())


@long
@pytest.mark.parametrize("mode", ["function", "xla"])
@pytest.mark.parametrize("family", range(6))
def test_compiled(subject: Subject, family: int, mode: str) -> None:
    if mode not in subject.identity.modes:
        pytest.skip(f"the {subject.backend} backend has no mode {mode!r}")
    alike(subject, Space.within([f"do={ALIKE}", "depth=1,2"]), family, Setting(mode))


@long
@pytest.mark.parametrize("do", CHANGED)
def test_changed_in_between(subject: Subject, do: str) -> None:
    """What trains, keeps or saves them takes them away from those that come after."""
    space = Space.within([f"do={do}", "layer=SimpleRNN,LSTM,GRU"])
    alike(subject, space, 0, Setting())


@long
def test_models_that_predict(subject: Subject) -> None:
    layers = [{"kind": "SimpleRNN", "name": "rnn", "units": 2}]
    x = np.arange(12).reshape(2, 3, 2) / 8

    def predicted(first: float, mask: bool) -> Any:
        """Through a model that takes a mask, and through one that does not."""
        weights = {"kernel": np.full((2, 2), first), "recurrent_kernel": np.eye(2) / 2}
        made = step("make", layers=layers, input_shape=[2, 3, 2],
                    weights={"rnn": {**weights, "bias": np.zeros(2)}})  # fmt: skip
        given = {"x": x, "mask": np.array([[True, True, False]] * 2) if mask else None}
        run = step("run", of=made, through="predict", keep=["output"], **given)
        return asked(subject, run)

    fresh = {mask: predicted(0.25, mask) for mask in (False, True)}
    assert fresh[False] != fresh[True]
    assert predicted(0.5, mask=False) != fresh[False]
    assert {mask: predicted(0.25, mask) for mask in (False, True)} == fresh


@long
def test_a_model_that_evaluated_predicts_and_tests_as_one_that_did_not(subject: Subject) -> None:
    layers = [{"kind": "GRU", "name": "rnn", "units": 2}]
    x, target = np.arange(24).reshape(4, 3, 2) / 8, np.ones((4, 2))
    made = step("make", layers=layers, input_shape=[4, 3, 2], seed=1)
    judged = {"of": made, "x": x, "target": target, "loss": "mse", "metrics": ["mae"],
              "batch_size": 2, "keep": ["reported"]}  # fmt: skip
    evaluated = step("run", through="evaluate", **judged)
    predicted = step("run", through="predict", of=made, x=x, batch_size=2, keep=["output"])
    tested = step("run", through="test_on_batch", **judged)
    _, *after = asked(subject, evaluated, predicted, tested)
    assert after == [*asked(subject, predicted), *asked(subject, tested)]


def asked(subject: Subject, *steps: Step) -> list[Any]:
    message = Message(steps, {})
    answers = subject.follow(message, ["what a model says"])
    said = [answers[message.names[each.digest]] for each in steps]
    assert not any({"error", "unsupported"} & answer.keys() for answer in said)
    return said
