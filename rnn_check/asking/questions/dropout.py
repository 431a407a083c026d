"""How is what dropout drops made visible?"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from rnn_check.asking.questions.plan import (
    Experiment,
    Plan,
    Said,
    cut,
    question,
)
from rnn_check.claims.layers.recurrent import LETTERS
from rnn_check.claims.written import Array
from rnn_check.recurrences.kinds import recurrence
from rnn_check.subjects.asked.named import FAMILIES, default_name
from rnn_check.subjects.plan import Step, step

OF_GATES = ("reset_after", "implementation", "use_cudnn")  # options of layers with gates alone


@question
def dropout(e: Experiment) -> Plan:
    """Masks of the first layer's dropout and recurrent_dropout rates and seed, shown by layers made
    for it (linear, the kernels of identities).

    "input" and "recurrent" are what is shown of each, null if its rate is not given; of a layer
    with gates {gate: ...}, and "held" a state that is carried and should not be dropped. See
    `_shown_by_states` and `_shown_by_gates`. "next": both from the same layers, called once more;
    "again": both from fresh layers with the same seed, null without one; "inference": both with
    training=False.
    """
    first = e["layers"][0]
    options = {k: first[k] for k in ("seed", "unroll", *OF_GATES) if k in first}
    if FAMILIES[first["kind"]].gates > 1:
        return _shown_by_gates(first, options)
    return _shown_by_states(first, options)


@question
def dropped_steps(e: Experiment) -> Plan:
    """What the first layer, one with gates, drops of x at each timestep where its activations are
    the default ones, which fused loops take: "shown" (B,T,n), of 128 samples, 4 steps, 16 features
    that are 1. A unit shows tanh of its feature times the mask, where a gate weighs that state
    tanh of that: no gate lets the state before through. "next", "again" and "inference" as
    `dropout` has them.
    """
    first, size = e["layers"][0], 16
    options = {k: first[k] for k in ("seed", "unroll", "dropout", *OF_GATES) if k in first}
    letters = LETTERS[first["kind"]]
    gates, weighs = letters.order, (letters.forget, letters.update)  # the state before
    kernel = np.zeros((size, len(gates), size), np.float32)  # (F,gates,H)
    kernel[:, gates.index(letters.candidate)] = np.eye(size)
    rows = _biases(first)
    bias = np.zeros((rows, len(gates), size), np.float32)
    for at, gate in enumerate(gates):
        if gate in weighs:
            bias[0, at] = -1000
        elif gate not in (letters.candidate, letters.reset):
            bias[0, at] = 1000
    weights = {
        "kernel": kernel.reshape(size, -1),
        "recurrent_kernel": np.zeros((size, size * len(gates)), np.float32),
        "bias": bias.reshape(rows, -1) if rows > 1 else bias.ravel(),
    }
    spec = {"kind": first["kind"], "units": size, "return_sequences": True, **options}
    steps = _made_and_run(spec, weights, {"x": np.ones((128, 4, size), np.float32)})
    return Plan(
        steps, lambda said: _with_later(options, lambda what: {"shown": said[what]["output"]})
    )


def _biases(spec: Mapping[str, Any]) -> int:
    reset_after = spec.get("reset_after") is not False
    return recurrence(FAMILIES[spec["kind"]].recurrence, reset_after).biases


def _made_and_run(
    spec: Mapping[str, Any], weights: Mapping[str, Array], inputs: Mapping[str, Any], rest: str = ""
) -> dict[str, Step]:
    """What a layer shows in training, once more, of a fresh one with its seed, and in inference."""

    def run(copy: str, training: bool = True, after: Step | None = None) -> Step:
        named = {default_name(spec["kind"]): dict(weights)}
        shape = [*inputs["x"].shape]
        made = step("make", layers=[dict(spec)], input_shape=shape, weights=named, copy=copy)
        return step("run", of=made, training=training, after=after, **inputs)

    shown = run("shown")
    steps = {f"shown{rest}": shown, f"next{rest}": run("shown", after=shown)}
    steps[f"inference{rest}"] = run("inference", training=False)
    return steps | ({f"again{rest}": run("again")} if spec.get("seed") is not None else {})


def _with_later(options: Mapping[str, Any], both: Callable[[str], dict[str, Any]]) -> Any:
    again = both("again") if options.get("seed") is not None else None
    return {**both("shown"), "next": both("next"), "again": again, "inference": both("inference")}


def _shown_by_states(first: Mapping[str, Any], options: Mapping[str, Any]) -> Plan:
    """A layer of 64 units and features for each rate, 64 samples, 4 steps: "input" (B,T,H) is
    mask·scale at each step; "recurrent" (B,T,H) is (mask·scale)^t at step t = 0 .. 3."""
    size, timesteps = 64, 4
    ones = np.ones((size, timesteps, size), np.float32)  # (B,T,F)
    once = ones * (np.arange(timesteps) == 0)[:, None].astype(np.float32)
    identity = np.eye(size, dtype=np.float32)
    probes = {  # rate: the name of its answer, the recurrent kernel and the input that show it
        "dropout": ("input", np.zeros_like(identity), ones),
        "recurrent_dropout": ("recurrent", identity, once),
    }
    steps: dict[str, Step] = {}
    for rate, (name, recurrent_kernel, x) in probes.items():
        if first.get(rate):
            spec = {"kind": first["kind"], "units": size, "activation": "linear", "use_bias": False,
                    "return_sequences": True, **options, rate: first[rate]}  # fmt: skip
            own = {"kernel": identity, "recurrent_kernel": recurrent_kernel}
            steps |= _made_and_run(spec, own, {"x": x}, f" {name}")

    def together(said: Said) -> Any:
        def both(what: str) -> dict[str, Any]:
            names = ("input", "recurrent")
            return {n: said.get(f"{what} {n}", {"output": None})["output"] for n in names}

        return _with_later(options, both)

    return Plan(steps, together)


def _shown_by_gates(first: Mapping[str, Any], options: Mapping[str, Any]) -> Plan:
    """One layer of all rates, 128 samples, 3 steps, whose states are 1 at first and whose units
    are groups of 16, as x has features: "held" carries its state, which stays 1 unless that is
    dropped. Of "input" and "recurrent" there is a group for each gate, which alone is not constant
    there: x = 1, or what is held, times the mask (B,T,16) of that gate and its scale. That is shown
    at each step t = 0 .. 2; of a gate that weighs the state before as (mask·scale)^(t+1).
    A gate that resets before the product weighs what is held for it and dropped once more by the
    candidate's recurrent mask: the product of both is shown.
    """
    kind, size, samples, timesteps = first["kind"], 16, 128, 3
    letters = LETTERS[kind]
    # of each group the gates that are 1 whatever comes in
    ones, gates = letters.shown, [*letters.order]
    candidate = gates.index(letters.candidate)
    rates = {"dropout": "input", "recurrent_dropout": "recurrent"}
    shown = {rates[rate]: first[rate] for rate in rates if first.get(rate)}
    before = bool(letters.reset) and first.get("reset_after") is False
    groups = [("held", "held")]
    groups += [(of, gate) for of in shown for gate in gates]
    groups += [(of, "reset") for of in shown] if before else []
    units = size * len(groups)
    kernel = np.zeros((size, len(gates), units), np.float32)  # (F,gates,H)
    recurrent_kernel = np.zeros((units, len(gates), units), np.float32)
    biases = np.zeros((_biases(first), len(gates), units), np.float32)
    where = {group: slice(size * i, size * (i + 1)) for i, group in enumerate(groups)}
    held, identity = where["held", "held"], np.eye(size, dtype=np.float32)
    for (of, gate), own in where.items():
        for name in ones.get(gate, letters.update):  # "reset" holds its state, too
            biases[0, gates.index(name), own] = 1
        if gate == letters.reset and before:
            recurrent_kernel[where[of, "reset"], candidate, own] = identity
        elif gate != "held":
            at = gates.index(letters.reset if gate == "reset" else gate)
            if of == "input":
                kernel[:, at, own] = identity
            else:
                recurrent_kernel[held, at, own] = identity
        if gate == letters.reset and not before:
            biases[1, candidate, own] = 1  # what is reset
    weights = {"kernel": kernel.reshape(size, -1), "bias": biases.reshape(len(biases), -1)}
    if len(biases) == 1:
        weights["bias"] = weights["bias"][0]
    weights["recurrent_kernel"] = recurrent_kernel.reshape(units, -1)
    given = {rate: first[rate] for rate in rates if first.get(rate)}
    spec = {"kind": kind, "units": units, "activation": "linear", "recurrent_activation": "linear",
            "return_sequences": True, **options, **given}  # fmt: skip
    state = np.ones((samples, units), np.float32)
    start = np.stack([state] * len(letters.states)) if len(letters.states) > 1 else state
    x = np.ones((samples, timesteps, size), np.float32)
    steps = _made_and_run(spec, weights, {"x": x, "initial_state": start})

    def together(said: Said) -> Any:
        def both(what: str) -> dict[str, Any]:
            output = said[what]["output"]
            parts: dict[str, Any] = {of: dict.fromkeys(gates) for of in shown}
            for (of, gate), own in where.items():
                if gate in gates:
                    parts[of][gate] = cut(output, (..., own))
            held_at = cut(output, (..., held))
            return {"input": None, "recurrent": None, **parts, "held": held_at}

        return _with_later(options, both)

    return Plan(steps, together)
