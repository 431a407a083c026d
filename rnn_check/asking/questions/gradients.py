"""What is asked of the gradients of a loss, and of what they are made of?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rnn_check.asking.questions.plan import (
    Experiment,
    Plan,
    Said,
    cut,
    question,
    stacked,
    state_sizes,
)
from rnn_check.subjects.asked.named import FAMILIES
from rnn_check.subjects.asked.parts import STATES
from rnn_check.subjects.plan import step


@question
def gradients(e: Experiment) -> Plan:
    """Of the loss: x, kernel, recurrent_kernel, bias, initial_state, and of layers that are not the
    first recurrent one NAME.kernel, ...; and the loss itself. NAME.initial_state only where `of`
    names it.

    Where no initial state was given the run was plain; its gradient needs one that is.
    """
    of, inputs, wanted, loss = e.made, e.inputs, e.get("of"), e.loss
    steps = {"plain": step("gradients", of=of, loss=loss, wrt=["x", "initial_state"], **inputs)}
    asked = wanted is None or "initial_state" in wanted
    if "initial_state" not in inputs and asked and _takes_start(e):
        given = {**inputs, "initial_state": e.zero_state(e.recurrent)}
        steps["start"] = step("gradients", of=of, loss=loss, wrt=["initial_state"], **given)
    starts = {
        spec["name"]: e.zero_state(index)
        for index, spec in enumerate(e.specs)
        if f"{spec['name']}.initial_state" in (wanted or ())
    }
    if starts:
        steps["later"] = step("gradients", of=of, loss=loss, wrt=[], starts=starts, **inputs)

    def together(said: Said) -> Any:
        found = by_name(e, said["plain"])
        if "start" in said:
            found["initial_state"] = by_name(e, said["start"])["initial_state"]
        for name in starts:
            found[f"{name}.initial_state"] = _one(said["later"]["starts"][name])
        return {n: v for n, v in found.items() if wanted is None or n in wanted or n == "loss"}

    return Plan(steps, together)


@question
def probe(e: Experiment) -> Plan:
    """The same, together with output, states and delta = dL/dz, all from one run.

    The layer has H more features (of each gate), zero in x, whose kernel is the identity: the
    forward pass means the same, and the input gradient in those columns is delta (B,T,H), in the
    order in which the steps were taken. x is passed as floats, of which alone there are gradients.
    """
    spec, *rest = e.specs
    if e.recurrent != 0:
        reason = "the probe needs a model that begins with its recurrent layer"
        return Plan({}, lambda said: {"unsupported": reason})
    *before, features = e.shape
    width = spec["units"] * FAMILIES[spec["kind"]].gates
    inputs = e.inputs
    x = inputs["x"]  # (B,T,F)
    x = x if x.dtype.kind == "f" else x.astype(np.float64)
    inputs["x"] = np.concatenate([x, np.zeros((*x.shape[:2], width), x.dtype)], axis=-1)
    inputs.setdefault("initial_state", e.zero_state(0))
    assert features is not None
    wide = step(
        "make",
        layers=[{**spec, "return_sequences": True, "return_state": False}, *rest],
        input_shape=[*before, features + width],
        like=e.made,
        below={spec["name"]: {"kernel": np.eye(width)}},
    )
    run = step(
        "gradients", of=wide, loss=e.loss, wrt=["x", "initial_state"],
        keep=["output", "states"], last=None if spec.get("return_sequences") else True, **inputs,
    )  # fmt: skip
    order = slice(None, None, -1 if spec.get("go_backwards") else 1)  # into processing order

    def together(said: Said) -> Any:
        found = by_name(e, said["run"])
        found["delta"] = cut(found["x"], (slice(None), order, slice(features, None)))
        found["x"] = cut(found["x"], (..., slice(None, features)))
        found["kernel"] = cut(found["kernel"], slice(None, features))
        return found

    return Plan({"run": run}, together)


def _takes_start(e: Experiment) -> bool:
    """Whether its first recurrent layer takes an initial state: stacked cells are not given any,
    and directions only that have as many states of one size."""
    at = e.recurrent
    if at is None:
        return False
    spec = e["layers"][at]
    cell, other = spec.get("cell"), spec.get("backward_layer")
    alike = other is None or state_sizes(other) == state_sizes(spec["layer"])
    return alike and not (isinstance(cell, list) and len(cell) > 1)


def by_name(e: Experiment, said: Said) -> dict[str, Any]:
    """Gradients as they are called here: kernel, dense.kernel, simple_rnn_1.kernel."""
    at = e.recurrent
    found = {name: said[name] for name in ("states", "output", "loss") if name in said}
    for index, spec in enumerate(e.specs):
        prefix = "" if index == at else f"{spec['name']}."
        of_layer = said["weights"].get(spec["name"], {})
        found.update({prefix + path: value for path, value in of_layer.items()})
    if "x" in said:
        found["x"] = said["x"]
    states = [said[name] for name in STATES if name in said]
    if states:
        found["initial_state"] = _one(states)
    return found


def _one(states: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """(B,H), or one of each state."""
    return stacked(states) if len(states) > 1 else states[0]
