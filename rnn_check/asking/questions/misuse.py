"""What is asked of layers that are called as they should not be?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from rnn_check.asking.questions.plan import (
    Experiment,
    Plan,
    question,
    state_sizes,
)
from rnn_check.subjects.asked.named import refusals_of_wrong
from rnn_check.subjects.plan import Step, step


@question
def shrunk(e: Experiment) -> Plan:
    """A stateful layer built for B samples is called with B-1: as `raises` says; "control": with
    B."""
    inputs = e.inputs
    fewer = {name: array[:-1] for name, array in inputs.items()}
    tried = {
        which: step("attempt", of=e.again(which, whole=False, stateful=True), **given)
        for which, given in (("fewer", fewer), ("control", inputs))
    }
    return Plan(tried, lambda said: {**said["fewer"], "control": said["control"]})


@question
def raises(e: Experiment) -> Plan:
    """The first recurrent layer (or the first) is made with the keys of wrong["layer"], its
    backward_layer with those of wrong["backward_layer"], built for the right shape and called with
    zeros of the wrong ones: see `Session.attempt`; and "control": the same of the layer as
    described, given zeros of right shapes in place of the wrong ones, which should not raise."""
    wrong = e["wrong"]
    if refused := list(refusals_of_wrong(wrong)):
        raise ValueError("{}: {}".format(*refused[0]).lstrip(".: "))
    last = e.recurrent or 0
    asked = {name: wrong.get(f"{name}_shape") for name in ("x", "initial_state", "mask")}
    shapes: dict[str, Any] = {name: shape for name, shape in asked.items() if shape is not None}
    samples, *rest = e.shape
    if samples is None:  # as many as there are in what is wrong, so that no more is changed
        samples = next(iter(wrong.get("x_shape") or []), 0) or 1
    state = [[samples, units] for units in state_sizes(e["layers"][last])]
    right = {"x": [samples, *rest], "initial_state": state, "mask": [samples, *rest][:2]}
    right = {name: shape for name, shape in right.items() if name in shapes}
    if "initial_state" in shapes:  # each state is as wrong as the other
        shapes["initial_state"] = [shapes["initial_state"]] * len(state)

    def tried(of: Mapping[str, Any], of_wrong: bool) -> Step:
        given: dict[str, Any]
        given = {name: a if name == "mask" else 0 * a for name, a in e.inputs.items()}
        if "x" not in given:
            given["x"] = np.zeros([size or 1 for size in e.shape], np.float32)
        if "x" in of:
            given["x"] = np.zeros(of["x"], given["x"].dtype)
        if "mask" in of:
            given["mask"] = np.zeros(of["mask"], bool)
        if "initial_state" in of:
            zeros = [np.zeros(shape, np.float32) for shape in of["initial_state"]]
            given["initial_state"] = zeros if len(zeros) > 1 else zeros[0]
        *layers, described = e.specs[: last + 1]
        if of_wrong and (own := wrong.get("backward_layer")):
            described = {**described, "backward_layer": {**described["backward_layer"], **own}}
        keys = dict(wrong.get("layer") or {}) if of_wrong else {}
        layers = [*layers, described]
        return step("attempt", layers=layers, input_shape=e.shape, keys=keys, **given)

    both = {"wrong": tried(shapes, True), "control": tried(right, False)}
    return Plan(both, lambda said: {**said["wrong"], "control": said["control"]})
