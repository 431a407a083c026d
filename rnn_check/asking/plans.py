"""What does a subject have to do, so that a question can be answered?

Each question is a function, called as it is (see `question`): an experiment becomes a plan, which
is steps, and how their answers are put together to what was observed. An experiment is a table:

    layers         descriptions, see `asked.named`
    x, initial_state, mask, input_shape [T, F], x_dtype (what x is cast to first)
    weights        {layer name: {path: array}}, see `Session.make`
    loss           {"kind", "value" | "target": array}, see `Session.gradients`
    of             whose gradients (by default all that there are)
    training       {"optimizer", "epochs", "batch_size"}: of compile and of fit, see `Session.fit`
    learning_rate  of the one step of SGD of `fit_once` and `one_update`
    wrong          {"layer": {Keras's keys}, "x_shape", "initial_state_shape", "mask_shape"}
    through, how   of `stateful` ("call", "predict", "fit", "evaluate") and of `round_trip`
    mode, dtype, floatx, replace: see `Session.begin`

Sizes: B samples, T timesteps, F features, H units.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rnn_check.claims.written import Array
from rnn_check.subjects.ask import Subject, decode
from rnn_check.subjects.asked.named import (
    RECURRENT,
    changed,
    default_name,
    named,
    refusals_of_wrong,
)
from rnn_check.subjects.asked.parts import STATES
from rnn_check.subjects.asked.wire import encode
from rnn_check.subjects.plan import Message, Step, step

Experiment = Mapping[str, Any]
Said = Mapping[str, Any]
GATES = {"LSTM": 4, "GRU": 3}  # whose kernels stand side by side in one
HOW = ("mode", "dtype", "floatx", "replace")


@dataclass(frozen=True)
class Plan:
    """together: the answers to the steps, by their names here, as what was observed."""

    steps: Mapping[str, Step]
    together: Callable[[Said], Any]

    def observed(self, said: Said) -> Any:
        """What was observed, or the answer of the first step that has none."""
        for name in self.steps:
            if {"error", "unsupported"} & said[name].keys():
                return said[name]
        return self.together(said)


Question = Callable[[Experiment], Plan]


# -- an experiment ---------------------------------------------------------------------------------


def layers(e: Experiment) -> Step:
    """The layers of the experiment with the weights that it gives."""
    return step("make", layers=e["layers"], input_shape=_shape(e), weights=e.get("weights"))


def _specs(e: Experiment) -> list[dict[str, Any]]:
    return named(e["layers"])


def _shape(e: Experiment) -> list[int | None]:
    x = e.get("x")
    return [None, *(e.get("input_shape") or ())] if x is None else list(np.shape(x))


def _inputs(e: Experiment) -> dict[str, Array]:
    """What the layers are called with."""
    names = ("x", "initial_state", "mask")
    given = {name: np.asarray(e[name]) for name in names if e.get(name) is not None}
    if e.get("x_dtype"):
        given["x"] = given["x"].astype(e["x_dtype"])
    return given


def _recurrent(e: Experiment) -> int | None:
    """Which of the layers is the first that is recurrent."""
    found = (i for i, spec in enumerate(e["layers"]) if spec["kind"] in RECURRENT)
    return next(found, None)


def _again(e: Experiment, copy: str, *, whole: bool = True, **changes: Any) -> Step:
    """The same layers with the same weights, but the recurrent one made with these changes.

    whole: not only up to that one. copy: of the question's own, which may change it.
    """
    at, specs = _recurrent(e), _specs(e)
    new = [changed(spec, changes) if i == at else spec for i, spec in enumerate(specs)]
    if not whole and at is not None:
        new = new[: at + 1]
    return step("make", layers=new, input_shape=_shape(e), like=layers(e), copy=copy)


def _loss(e: Experiment) -> Mapping[str, Any]:
    if e.get("loss") is None:
        raise ValueError("a gradient needs a loss")
    loss: Mapping[str, Any] = e["loss"]
    return loss


def _target(e: Experiment) -> Array:
    if e.get("loss") is None:
        raise ValueError("this needs a loss")
    loss = e["loss"]
    return np.asarray(loss["value" if loss["kind"] == "cotangent" else "target"])


def _sgd(e: Experiment) -> dict[str, Any]:
    return {"kind": "SGD", "learning_rate": e["learning_rate"]}


# -- questions about layers that are called one after the other ------------------------------------


def summary(e: Experiment) -> Plan:
    """Names, output shapes and parameter counts, of a real model."""
    return Plan({"summary": step("summary", of=layers(e))}, lambda said: said["summary"])


def _drawn(e: Experiment, copy: str | None = None) -> Step:
    made = step("make", layers=e["layers"], input_shape=_shape(e), drawn=True, copy=copy)
    return step("weights", of=made)


def initial_weights(e: Experiment) -> Plan:
    """The weights as the framework made them."""
    return Plan({"drawn": _drawn(e)}, lambda said: said["drawn"]["weights"])


def initialized(e: Experiment) -> Plan:
    """The same of the layers made twice: {"first", "second"}."""
    both = {which: _drawn(e, which) for which in ("first", "second")}
    return Plan(both, lambda said: {which: said[which]["weights"] for which in both})


def weights(e: Experiment) -> Plan:
    """The weights read back after they were set."""
    return Plan({"read": step("weights", of=layers(e))}, lambda said: said["read"]["weights"])


def _kept(e: Experiment, what: str) -> Plan:
    run = step("run", of=layers(e), keep=[what], **_inputs(e))
    return Plan({"run": run}, lambda said: said["run"][what])


def output(e: Experiment) -> Plan:
    """Of the whole model (B,T,H), (B,H), (B,T,O) or (B,O)."""
    return _kept(e, "output")


def states(e: Experiment) -> Plan:
    """The recurrent layer's own sequence (B,T,H), as return_sequences=True gives it."""
    return _kept(e, "states")


def last_state(e: Experiment) -> Plan:
    """The state that return_state=True gives (B,H); of several cells a list."""
    return _kept(e, "last_state")


def cell_states(e: Experiment) -> Plan:
    """An LSTM's {"h", "c"} (B,T,H) after each step, in processing order: Keras shows the last ones
    only, so that it is run on the first step, on the first two, and so on."""
    at, inputs = _recurrent(e), _inputs(e)
    timesteps = inputs["x"].shape[1]
    backwards = at is not None and e["layers"][at].get("go_backwards")
    steps = {}
    for t in range(1, timesteps + 1):
        part = slice(timesteps - t, None) if backwards else slice(None, t)
        cut = {n: a if n == "initial_state" else a[:, part] for n, a in inputs.items()}
        steps[f"{t}"] = step("run", of=layers(e), keep=["last_state"], **cut)

    def together(said: Said) -> Any:
        each = [said[name]["last_state"] for name in steps]
        pairs = {"h": [h for h, _ in each], "c": [c for _, c in each]}
        return {name: _stacked(states, axis=1) for name, states in pairs.items()}

    return Plan(steps, together)


def sequences(e: Experiment) -> Plan:
    """Of each recurrent layer, made to return both: {name: {"states": its sequence (B,T,H) as it
    shows it, "last": [each state (B,H) that it ends with]}}."""
    specs, steps = _specs(e), {}
    for index, spec in enumerate(specs):
        if spec["kind"] in RECURRENT:
            shows = changed(spec, {"return_sequences": True, "return_state": True})
            made = step(
                "make", layers=[*specs[:index], shows], input_shape=_shape(e), like=layers(e),
                copy=f"sequences of {spec['name']}",
            )  # fmt: skip
            keep = ["layers", "beside"]
            steps[spec["name"]] = step("run", of=made, through="call", keep=keep, **_inputs(e))

    def together(said: Said) -> Any:
        return {
            name: {"states": said[name]["layers"][-1], "last": said[name]["beside"]}
            for name in steps
        }

    return Plan(steps, together)


def gradients(e: Experiment) -> Plan:
    """Of the loss: x, kernel, recurrent_kernel, bias, initial_state, and of layers that are not the
    first recurrent one NAME.kernel, ...; and the loss itself. NAME.initial_state only where `of`
    names it.

    Where no initial state was given the run was plain; its gradient needs one that is.
    """
    of, inputs, wanted, loss = layers(e), _inputs(e), e.get("of"), _loss(e)
    steps = {"plain": step("gradients", of=of, loss=loss, wrt=["x", "initial_state"], **inputs)}
    asked = wanted is None or "initial_state" in wanted
    if "initial_state" not in inputs and asked and _takes_start(e):
        given = {**inputs, "initial_state": _zero_state(e, _recurrent(e))}
        steps["start"] = step("gradients", of=of, loss=loss, wrt=["initial_state"], **given)
    starts = {
        spec["name"]: _zero_state(e, index)
        for index, spec in enumerate(_specs(e))
        if f"{spec['name']}.initial_state" in (wanted or ())
    }
    if starts:
        steps["later"] = step("gradients", of=of, loss=loss, wrt=[], starts=starts, **inputs)

    def together(said: Said) -> Any:
        found = _by_name(e, said["plain"])
        if "start" in said:
            found["initial_state"] = _by_name(e, said["start"])["initial_state"]
        for name in starts:
            found[f"{name}.initial_state"] = _one(said["later"]["starts"][name])
        return {n: v for n, v in found.items() if wanted is None or n in wanted or n == "loss"}

    return Plan(steps, together)


def probe(e: Experiment) -> Plan:
    """The same, together with output, states and delta = dL/dz, all from one run.

    The layer has H more features (of each gate), zero in x, whose kernel is the identity: the
    forward pass means the same, and the input gradient in those columns is delta (B,T,H), in the
    order in which the steps were taken.
    """
    spec, *rest = _specs(e)
    if _recurrent(e) != 0:
        reason = "the probe needs a model that begins with its recurrent layer"
        return Plan({}, lambda said: {"unsupported": reason})
    *before, features = _shape(e)
    width = spec["units"] * GATES.get(spec["kind"], 1)
    inputs = _inputs(e)
    x = inputs["x"]  # (B,T,F)
    inputs["x"] = np.concatenate([x, np.zeros((*x.shape[:2], width), x.dtype)], axis=-1)
    inputs.setdefault("initial_state", _zero_state(e, 0))
    assert features is not None
    wide = step(
        "make",
        layers=[{**spec, "return_sequences": True, "return_state": False}, *rest],
        input_shape=[*before, features + width],
        like=layers(e),
        below={spec["name"]: {"kernel": np.eye(width)}},
    )
    run = step(
        "gradients", of=wide, loss=_loss(e), wrt=["x", "initial_state"], keep=["output", "states"],
        last=True if not spec.get("return_sequences") else None, **inputs,
    )  # fmt: skip
    order = slice(None, None, -1 if spec.get("go_backwards") else 1)  # into processing order

    def together(said: Said) -> Any:
        found = _by_name(e, said["run"])
        found["delta"] = _cut(found["x"], (slice(None), order, slice(features, None)))
        found["x"] = _cut(found["x"], (..., slice(None, features)))
        found["kernel"] = _cut(found["kernel"], slice(None, features))
        return found

    return Plan({"run": run}, together)


def _takes_start(e: Experiment) -> bool:
    """Whether its first recurrent layer takes an initial state: stacked cells are not given any."""
    at = _recurrent(e)
    cell = None if at is None else e["layers"][at].get("cell")
    return at is not None and not (isinstance(cell, list) and len(cell) > 1)


def _zero_state(e: Experiment, at: int | None) -> Array:
    """Of the layer of that number."""
    sizes = [1] if at is None else state_sizes(e["layers"][at])
    state = np.zeros((len(sizes), np.shape(e["x"])[0], sizes[0]))
    return state if len(sizes) > 1 else state[0]  # (B,H), or one of each state


def _by_name(e: Experiment, said: Said) -> dict[str, Any]:
    """Gradients as they are called here: kernel, dense.kernel, simple_rnn_1.kernel."""
    at = _recurrent(e)
    found = {name: said[name] for name in ("states", "output", "loss") if name in said}
    for index, spec in enumerate(_specs(e)):
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
    return _stacked(states) if len(states) > 1 else states[0]


def _stacked(each: Sequence[Mapping[str, Any]], axis: int = 0) -> dict[str, Any]:
    """Encoded arrays as one, bit for bit."""
    dtype = each[0]["dtype"]
    as_bits = [{**a, "dtype": "uint16"} if dtype == "bfloat16" else dict(a) for a in each]
    return {**encode(np.stack([decode(a) for a in as_bits], axis=axis)), "dtype": dtype}


def _cut(encoded: Mapping[str, Any], where: Any) -> dict[str, Any]:
    """A part of an encoded array, bit for bit."""
    is_bfloat16 = encoded["dtype"] == "bfloat16"
    bits = decode({**encoded, "dtype": "uint16"} if is_bfloat16 else dict(encoded))
    part = encode(bits[where])
    return {**part, "dtype": encoded["dtype"]}


def training(e: Experiment) -> Plan:
    """compile(loss, optimizer) and fit, watched: weights, the optimizer's states and iterations
    before the first update and after each (N+1,...), each epoch's loss (E,), and the optimizer's
    constants."""
    _, fit = _fitted(e, "training", "loss", "updates")
    return Plan({"fit": fit}, lambda said: {**said["fit"]["updates"], "loss": said["fit"]["loss"]})


def trained(e: Experiment) -> Plan:
    """The same and not watched: {"weights": {layer: {path: array}} afterwards, "loss" (E,)}."""
    made, fit = _fitted(e, "trained", "loss")
    steps = {"fit": fit, "after": step("weights", of=made, after=fit)}
    return Plan(
        steps,
        lambda said: {"weights": said["after"]["weights"], "loss": said["fit"]["loss"]},
    )


def _fitted(e: Experiment, copy: str, *keep: str) -> tuple[Step, Step]:
    """The layers, which are trained, and their training."""
    asked = e["training"]
    made = step(
        "make", layers=e["layers"], input_shape=_shape(e), weights=e.get("weights"), copy=copy
    )
    batches = {} if asked.get("batch_size") is None else {"batch_size": asked["batch_size"]}
    fit = step(
        "fit", of=made, loss=e["loss"]["kind"], epochs=asked["epochs"], keep=list(keep),
        optimizer=asked["optimizer"], target=_target(e), **batches, **_inputs(e),
    )  # fmt: skip
    return made, fit


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
    if first["kind"] in GATES:
        return _shown_by_gates(first, options)
    return _shown_by_states(first, options)


OF_GATES = ("reset_after", "implementation", "use_cudnn")  # options of layers with gates alone


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
    """A SimpleRNN of 64 units and features for each rate, 64 samples, 4 steps: "input" (B,T,H) is
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
            spec = {"kind": "SimpleRNN", "units": size, "activation": "linear", "use_bias": False,
                    "return_sequences": True, **options, rate: first[rate]}  # fmt: skip
            own = {"kernel": identity, "recurrent_kernel": recurrent_kernel}
            steps |= _made_and_run(spec, own, {"x": x}, f" {name}")

    def together(said: Said) -> Any:
        def both(what: str) -> dict[str, Any]:
            names = ("input", "recurrent")
            return {n: said.get(f"{what} {n}", {"output": None})["output"] for n in names}

        return _with_later(options, both)

    return Plan(steps, together)


# by the kind of layer: its gates, and of each group of units which gates are 1 whatever comes in
_ONE = {
    "LSTM": {"held": "fo", "i": "co", "f": "o", "c": "io", "o": "ic"},
    "GRU": {"held": "zr", "z": "", "r": "", "h": "r"},
}


def _shown_by_gates(first: Mapping[str, Any], options: Mapping[str, Any]) -> Plan:
    """One layer of all rates, 128 samples, 3 steps, whose states are 1 at first and whose units
    are groups of 16, as x has features: "held" carries its state, which stays 1 unless that is
    dropped. Of "input" and "recurrent" there is a group for each gate, which alone is not constant
    there: x = 1, or what is held, times the mask (B,T,16) of that gate and its scale. That is shown
    at each step t = 0 .. 2; of a gate that weighs the state before (f, z) as (mask·scale)^(t+1).
    The reset gate of a GRU that resets before the product weighs what is held for it and dropped
    once more by the candidate's recurrent mask: the product of both is shown.
    """
    kind, size, samples, timesteps = first["kind"], 16, 128, 3
    ones = _ONE[kind]
    gates = [name for name in ones if name != "held"]
    rates = {"dropout": "input", "recurrent_dropout": "recurrent"}
    shown = {rates[rate]: first[rate] for rate in rates if first.get(rate)}
    before = kind == "GRU" and first.get("reset_after") is False
    groups = [("held", "held")]
    groups += [(of, gate) for of in shown for gate in gates]
    groups += [(of, "reset") for of in shown] if before else []
    units = size * len(groups)
    kernel = np.zeros((size, len(gates), units), np.float32)  # (F,gates,H)
    recurrent_kernel = np.zeros((units, len(gates), units), np.float32)
    biases = np.zeros((1 if kind == "LSTM" or before else 2, len(gates), units), np.float32)
    where = {group: slice(size * i, size * (i + 1)) for i, group in enumerate(groups)}
    held, identity = where["held", "held"], np.eye(size, dtype=np.float32)
    for (of, gate), own in where.items():
        for name in ones.get(gate, "z"):  # "reset" holds its state, too
            biases[0, gates.index(name), own] = 1
        if gate == "r" and before:
            recurrent_kernel[where[of, "reset"], gates.index("h"), own] = identity
        elif gate != "held":
            at = gates.index("r" if gate == "reset" else gate)
            if of == "input":
                kernel[:, at, own] = identity
            else:
                recurrent_kernel[held, at, own] = identity
        if gate == "r" and not before:
            biases[1, gates.index("h"), own] = 1  # what is reset
    weights = {"kernel": kernel.reshape(size, -1), "bias": biases.reshape(len(biases), -1)}
    if len(biases) == 1:
        weights["bias"] = weights["bias"][0]
    weights["recurrent_kernel"] = recurrent_kernel.reshape(units, -1)
    given = {rate: first[rate] for rate in rates if first.get(rate)}
    spec = {"kind": kind, "units": units, "activation": "linear", "recurrent_activation": "linear",
            "return_sequences": True, **options, **given}  # fmt: skip
    state = np.ones((samples, units), np.float32)
    start = np.stack([state, state]) if kind == "LSTM" else state
    x = np.ones((samples, timesteps, size), np.float32)
    steps = _made_and_run(spec, weights, {"x": x, "initial_state": start})

    def together(said: Said) -> Any:
        def both(what: str) -> dict[str, Any]:
            output = said[what]["output"]
            parts: dict[str, Any] = {of: dict.fromkeys(gates) for of in shown}
            for (of, gate), own in where.items():
                if gate in gates:
                    parts[of][gate] = _cut(output, (..., own))
            held_at = _cut(output, (..., held))
            return {"input": None, "recurrent": None, **parts, "held": held_at}

        return _with_later(options, both)

    return Plan(steps, together)


def cell(e: Experiment) -> Plan:
    """The cell of an RNN over one, called by itself at every step with the states that it returned
    at the one before, from initial_state: {"outputs", "states"} (B,T,H) each."""
    keep = ["output", "states"]
    run = step("run", of=layers(e), through="cell", keep=keep, **_inputs(e))
    told = {"outputs": "output", "states": "states"}
    return Plan({"run": run}, lambda said: {name: said["run"][of] for name, of in told.items()})


def shrunk(e: Experiment) -> Plan:
    """A stateful layer built for B samples is called with B-1: as `raises` says; "control": with
    B."""
    inputs = _inputs(e)
    fewer = {name: array[:-1] for name, array in inputs.items()}
    tried = {
        which: step("attempt", of=_again(e, which, whole=False, stateful=True), **given)
        for which, given in (("fewer", fewer), ("control", inputs))
    }
    return Plan(tried, lambda said: {**said["fewer"], "control": said["control"]})


def raises(e: Experiment) -> Plan:
    """The first recurrent layer (or the first) is made with the keys of wrong["layer"], built for
    the right shape and called with zeros of the wrong ones: see `Session.attempt`; and "control":
    the same of the layer as described, given zeros of right shapes in place of the wrong ones,
    which should not raise."""
    wrong = e["wrong"]
    if refused := list(refusals_of_wrong(wrong)):
        raise ValueError("{}: {}".format(*refused[0]).lstrip(".: "))
    last = _recurrent(e) or 0
    asked = {name: wrong.get(f"{name}_shape") for name in ("x", "initial_state", "mask")}
    shapes: dict[str, Any] = {name: shape for name, shape in asked.items() if shape is not None}
    samples, *rest = _shape(e)
    if samples is None:  # as many as there are in what is wrong, so that no more is changed
        samples = next(iter(wrong.get("x_shape") or []), 0) or 1
    state = [[samples, units] for units in state_sizes(e["layers"][last])]
    right = {"x": [samples, *rest], "initial_state": state, "mask": [samples, *rest][:2]}
    right = {name: shape for name, shape in right.items() if name in shapes}
    if "initial_state" in shapes:  # each state is as wrong as the other
        shapes["initial_state"] = [shapes["initial_state"]] * len(state)

    def tried(keys: Mapping[str, Any], of: Mapping[str, Any]) -> Step:
        given: dict[str, Any]
        given = {name: a if name == "mask" else 0 * a for name, a in _inputs(e).items()}
        if "x" not in given:
            given["x"] = np.zeros([size or 1 for size in _shape(e)], np.float32)
        if "x" in of:
            given["x"] = np.zeros(of["x"], given["x"].dtype)
        if "mask" in of:
            given["mask"] = np.zeros(of["mask"], bool)
        if "initial_state" in of:
            zeros = [np.zeros(shape, np.float32) for shape in of["initial_state"]]
            given["initial_state"] = zeros if len(zeros) > 1 else zeros[0]
        described = _specs(e)[: last + 1]
        return step("attempt", layers=described, input_shape=_shape(e), keys=dict(keys), **given)

    both = {"wrong": tried(wrong.get("layer") or {}, shapes), "control": tried({}, right)}
    return Plan(both, lambda said: {**said["wrong"], "control": said["control"]})


def state_sizes(spec: Mapping[str, Any]) -> list[int]:
    """How wide each state is of the recurrent layer or cell of this description."""
    inner = spec.get("layer") or spec.get("cell")
    if inner is not None:
        parts = inner if isinstance(inner, list) else [inner]
        twice = 2 if "layer" in spec else 1
        return [size for part in parts for size in state_sizes(part)] * twice
    return [spec["units"]] * (2 if spec["kind"] in ("LSTM", "LSTMCell") else 1)


def config(e: Experiment) -> Plan:
    """What get_config() says, see `Session.config`."""
    return Plan({"config": step("config", layers=e["layers"])}, lambda said: said["config"])


# -- questions to a keras.Model of the functional API ----------------------------------------------


def outputs(e: Experiment) -> Plan:
    """Every layer's own output (without the states beside it, two for a Bidirectional layer that
    does not merge) and the mask that it carries, or null: {"layers": [...], "masks": [...],
    "states": [what the last layer returns beside its output, if that is its state]}."""
    keep = ["layers", "masks", "beside"]
    run = step("run", of=layers(e), through="call", keep=keep, **_inputs(e))
    told = {"layers": "layers", "masks": "masks", "states": "beside"}
    return Plan({"run": run}, lambda said: {name: said["run"][of] for name, of in told.items()})


def stateful(e: Experiment) -> Plan:
    """Of the layers up to the first recurrent one, that made stateful and to return sequences, for
    B samples. It is run on x three times, its state reset before the third: {"runs": the three
    sequences, null of fit and evaluate, "states": the layer's state (B,H) after each run, and after
    the reset}. Where there are several states each of these four is a list."""
    through, inputs = e.get("through", "call"), _inputs(e)
    changes = {"stateful": True, "return_sequences": True, "return_state": False}
    of = _again(e, "stateful", whole=False, **changes)
    shows = through in ("call", "predict")

    def run(after: Step | None) -> Step:
        if through == "fit":
            still = {"kind": "SGD", "learning_rate": 0.0}
            how: dict[str, Any] = {"optimizer": still, "loss": "mse", "keep": ["left"]}
            return step("fit", of=of, after=after, **how, **inputs)
        keep = ["output", "left"] if shows else ["left"]
        loss = "mse" if through == "evaluate" else None
        return step("run", of=of, through=through, keep=keep, loss=loss, after=after, **inputs)

    first = run(None)
    second = run(first)
    reset = step("reset", of=of, after=second)
    steps = {"first": first, "second": second, "reset": reset, "third": run(reset)}

    def together(said: Said) -> Any:
        runs = [said[name] for name in ("first", "second", "third")]
        left = [each["left"] for each in (*runs, said["reset"])]
        return {"runs": [each.get("output") for each in runs], "states": left}

    return Plan(steps, together)


def round_trip(e: Experiment) -> Plan:
    """A model is saved and loaded in the way `how`, see `Session.reload`: {"before", "after":
    outputs, "same_config", "same_weights"}."""
    inputs = _inputs(e)
    before = step(
        "make", layers=e["layers"], input_shape=_shape(e), like=layers(e), model=inputs,
        copy="round_trip",
    )  # fmt: skip
    after = step("reload", of=before, how=e["how"])
    steps = {"same": after} | {
        name: step("run", of=of, through="call", **inputs)
        for name, of in (("before", before), ("after", after))
    }
    return Plan(
        steps,
        lambda said: {**said["same"], **{n: said[n]["output"] for n in ("before", "after")}},
    )


def losses(e: Experiment) -> Plan:
    """model.losses after a call: {"losses": their sum, "each": [...], "activities": {layer: its
    output in that call} of those with an activity_regularizer}."""
    keep = ["losses", "activities"]
    run = step("run", of=layers(e), through="call", keep=keep, **_inputs(e))

    def together(said: Said) -> Any:
        told = said["run"]
        found = {"losses": told["losses"]["sum"], "each": told["losses"]["each"]}
        return {**found, "activities": told["activities"]}

    return Plan({"run": run}, together)


def evaluate(e: Experiment) -> Plan:
    """compile(loss), predict and evaluate: {"loss": float64, "output"}."""
    own = {"of": layers(e), "loss": e["loss"]["kind"], **_inputs(e)}
    predict = step("run", through="predict", **own)
    loss = step("run", through="evaluate", keep=["loss"], target=_target(e), **own)
    return Plan(
        {"predict": predict, "loss": loss},
        lambda said: {"loss": said["loss"]["loss"], "output": said["predict"]["output"]},
    )


def fit_once(e: Experiment) -> Plan:
    """compile(SGD(learning_rate), "mse") and one step of fit: weights {"before",
    "after"} by layer and path, {"trainable": {layer: [paths]}}."""
    of = _again(e, "fit_once")
    fit = step("fit", of=of, optimizer=_sgd(e), loss="mse", target=_target(e), **_inputs(e))
    steps = {"before": step("weights", of=of), "fit": fit}
    steps["after"] = step("weights", of=of, after=fit)

    def together(said: Said) -> Any:
        found = {when: said[when]["weights"] for when in ("before", "after")}
        return {**found, "trainable": said["after"]["trainable"]}

    return Plan(steps, together)


def one_update(e: Experiment) -> Plan:
    """The same step; beside before and after {"loss": as fit reports it, "output": in inference
    after it}."""
    of, inputs = _again(e, "one_update"), _inputs(e)
    fit = step(
        "fit", of=of, optimizer=_sgd(e), loss="mse", keep=["loss"], target=_target(e), **inputs
    )
    steps = {
        "before": step("weights", of=of),
        "fit": fit,
        "after": step("weights", of=of, after=fit),
        "run": step("run", of=of, through="call", after=fit, **inputs),
    }

    def together(said: Said) -> Any:
        found = {when: said[when]["weights"] for when in ("before", "after")}
        loss = _cut(said["fit"]["loss"], 0)
        return {**found, "loss": loss, "output": said["run"]["output"]}

    return Plan(steps, together)


def dynamic(e: Experiment) -> Plan:
    """One model that does not know how many samples and timesteps there will be, on all of x, one
    sample, one step, half the steps: {"outputs": [...]}."""
    timesteps = np.shape(e["x"])[1]
    each = []
    for most, until in ((None, None), (1, None), (None, 1), (None, timesteps // 2 + 1)):
        cut = {
            name: array[..., :most, :] if name == "initial_state" else array[:most, :until]
            for name, array in _inputs(e).items()
        }
        each.append(cut)
    run = step("run_shapes", of=layers(e), each=each)
    return Plan({"run": run}, lambda said: said["run"])


QUESTIONS: dict[str, Question] = {}


def question(plan: Question) -> Question:
    """From here on it is asked under its name, wherever it is defined: a kind of expectation may
    bring its own. Raises TypeError if another one is called so."""
    if QUESTIONS.setdefault(plan.__name__, plan) is not plan:
        raise TypeError(f"there are two questions that are called {plan.__name__!r}")
    return plan


for _each in (
    *(summary, initial_weights, initialized, weights, output, states, last_state, gradients),
    *(probe, training, trained, dropout, cell, shrunk, raises, config, outputs, stateful),
    *(round_trip, cell_states, sequences, losses, evaluate, fit_once, one_update, dynamic),
):
    question(_each)


# -- asking ----------------------------------------------------------------------------------------


def planned(e: Experiment) -> tuple[dict[str, Plan], Message]:
    """The plan of each question that the experiment asks, and all of them as one message."""
    plans = {question: QUESTIONS[question](e) for question in e["ask"]}
    how = {name: e[name] for name in HOW if e.get(name) is not None}
    return plans, Message((each for p in plans.values() for each in p.steps.values()), how)


def ask(subject: Subject, e: Experiment) -> tuple[dict[str, Any], dict[str, Any]]:
    """What was observed, question by question: arrays still encoded, and as NumPy's.

    Raises Raised if the layers of the experiment could not be made, and SubjectError if there is no
    answer. What breaks one question is the answer to it, {"error", "traceback"} or {"unsupported"}.
    """
    plans, message = planned(e)
    answers = subject.follow(message, e["ask"])
    if (own := message.names.get(layers(e).digest)) is not None:
        subject.check(answers[own])

    def observed() -> dict[str, Any]:
        return {
            question: plan.observed(
                {name: answers[message.names[s.digest]] for name, s in plan.steps.items()}
            )
            for question, plan in plans.items()
        }

    return subject.understood(observed)
