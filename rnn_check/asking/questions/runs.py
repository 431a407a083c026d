"""What is asked of a run: outputs, states, what is kept from run to run, and what is saved?"""

from __future__ import annotations

from typing import Any

import numpy as np

from rnn_check.asking.questions.plan import (
    Experiment,
    Plan,
    Said,
    cut,
    question,
    stacked,
)
from rnn_check.subjects.asked.named import changed, is_recurrent
from rnn_check.subjects.plan import Step, step


def _kept(e: Experiment, what: str) -> Plan:
    run = step("run", of=e.made, keep=[what], **e.inputs)
    return Plan({"run": run}, lambda said: said["run"][what])


def _told(e: Experiment, through: str, **told: str) -> Plan:
    """What a run keeps, by the names of the answers."""
    run = step("run", of=e.made, through=through, keep=[*told.values()], **e.inputs)
    return Plan({"run": run}, lambda said: {name: said["run"][of] for name, of in told.items()})


@question
def output(e: Experiment) -> Plan:
    """Of the whole model (B,T,H), (B,H), (B,T,O) or (B,O)."""
    return _kept(e, "output")


@question
def states(e: Experiment) -> Plan:
    """The recurrent layer's own sequence (B,T,H), as return_sequences=True gives it."""
    return _kept(e, "states")


@question
def last_state(e: Experiment) -> Plan:
    """The state that return_state=True gives (B,H); of several cells a list."""
    return _kept(e, "last_state")


@question
def leading(e: Experiment) -> Plan:
    """What is shown (n,H) at the steps before the first one that the mask keeps, by the way that
    the layers are run."""
    inputs, at = e.inputs, e.recurrent
    lead = ~np.logical_or.accumulate(inputs["mask"].astype(bool), axis=1)
    unroll = not (e["layers"][at or 0].get("unroll") or False)
    other = e.again("leading", unroll=unroll)
    steps = {
        "called": step("run", of=e.made, **inputs),
        "as a model": step("run", of=e.made, through="call", **inputs),
        "predicted": step("run", of=e.made, through="predict", **inputs),
        "unrolled" if unroll else "not unrolled": step("run", of=other, **inputs),
    }
    return Plan(steps, lambda said: {way: cut(said[way]["output"], lead) for way in steps})


@question
def cell_states(e: Experiment) -> Plan:
    """An LSTM's {"h", "c"} (B,T,H) after each step, in processing order: Keras shows the last ones
    only, so that it is run on the first step, on the first two, and so on."""
    at, inputs = e.recurrent, e.inputs
    timesteps = inputs["x"].shape[1]
    backwards = at is not None and e["layers"][at].get("go_backwards")
    steps = {}
    for t in range(1, timesteps + 1):
        part = slice(timesteps - t, None) if backwards else slice(None, t)
        given = {n: a if n == "initial_state" else a[:, part] for n, a in inputs.items()}
        steps[f"{t}"] = step("run", of=e.made, keep=["last_state"], **given)

    def together(said: Said) -> Any:
        each = [said[name]["last_state"] for name in steps]
        pairs = {"h": [h for h, _ in each], "c": [c for _, c in each]}
        return {name: stacked(states, axis=1) for name, states in pairs.items()}

    return Plan(steps, together)


@question
def sequences(e: Experiment) -> Plan:
    """Of each recurrent layer, made to return both: {name: {"states": its sequence (B,T,H) as it
    shows it, "last": [each state (B,H) that it ends with]}}."""
    specs, steps = e.specs, {}
    for index, spec in enumerate(specs):
        if is_recurrent(spec["kind"]):
            shows = changed(spec, {"return_sequences": True, "return_state": True})
            made = step(
                "make", layers=[*specs[:index], shows], input_shape=e.shape, like=e.made,
                copy=f"sequences of {spec['name']}",
            )  # fmt: skip
            keep = ["layers", "beside"]
            steps[spec["name"]] = step("run", of=made, through="call", keep=keep, **e.inputs)

    def together(said: Said) -> Any:
        return {
            name: {"states": said[name]["layers"][-1], "last": said[name]["beside"]}
            for name in steps
        }

    return Plan(steps, together)


@question
def cell(e: Experiment) -> Plan:
    """The cell of an RNN over one, called by itself at every step with the states that it returned
    at the one before, from initial_state: {"outputs", "states"} (B,T,H) each."""
    return _told(e, "cell", outputs="output", states="states")


@question
def outputs(e: Experiment) -> Plan:
    """Every layer's own output (without the states beside it, two for a Bidirectional layer that
    does not merge) and the mask that it carries, or null: {"layers": [...], "masks": [...],
    "states": [what the last layer returns beside its output, if that is its state]}."""
    return _told(e, "call", layers="layers", masks="masks", states="beside")


@question
def stateful(e: Experiment) -> Plan:
    """Of the layers up to the first recurrent one, that made stateful and to return sequences, for
    B samples. It is run on x three times, its state reset before the third: {"runs": the three
    sequences, null of fit and evaluate, "states": the layer's state (B,H) after each run, and after
    the reset, "weights": of fit, those at the end}. Where there are several states each of these
    four is a list."""
    through, inputs = e.get("through", "call"), e.inputs
    changes = {"stateful": True, "return_sequences": True, "return_state": False}
    of = e.again("stateful", whole=False, **changes)
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
    if through == "fit":
        steps["weights"] = step("weights", of=of, after=steps["third"])

    def together(said: Said) -> Any:
        runs = [said[name] for name in ("first", "second", "third")]
        left = [each["left"] for each in (*runs, said["reset"])]
        found = {"runs": [each.get("output") for each in runs], "states": left}
        return found | ({"weights": said["weights"]["weights"]} if "weights" in said else {})

    return Plan(steps, together)


@question
def round_trip(e: Experiment) -> Plan:
    """A model is saved and loaded in the way `how`, see `Session.reload`: {"before", "after":
    outputs, "same_config", "same_weights"}."""
    inputs = e.inputs
    before = step(
        "make", layers=e["layers"], input_shape=e.shape, like=e.made, model=inputs,
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


@question
def exported(e: Experiment) -> Plan:
    """What TensorFlow makes of the SavedModel that a model of the layers is exported as."""
    inputs = e.inputs
    made = step(
        "make", layers=e["layers"], input_shape=e.shape, like=e.made, model=inputs, copy="exported"
    )
    return Plan(
        {"export": step("export", of=made, **inputs)}, lambda said: said["export"]["output"]
    )


@question
def dynamic(e: Experiment) -> Plan:
    """One model that does not know how many samples and timesteps there will be, on all of x, one
    sample, one step, half the steps: {"outputs": [...]}."""
    timesteps = np.shape(e["x"])[1]
    each = []
    for most, until in ((None, None), (1, None), (None, 1), (None, timesteps // 2 + 1)):
        cut = {
            name: array[..., :most, :] if name == "initial_state" else array[:most, :until]
            for name, array in e.inputs.items()
        }
        each.append(cut)
    run = step("run_shapes", of=e.made, each=each)
    return Plan({"run": run}, lambda said: said["run"])
