"""What is asked of other models of the same layers: put together, drawn twice, read from a file?"""

from __future__ import annotations

from typing import Any

from rnn_check.asking.questions.gradients import by_name
from rnn_check.asking.questions.plan import Experiment, Plan, Said, question
from rnn_check.asking.questions.training import fit_of
from rnn_check.subjects.plan import Step, step

SEED = 7  # of all random numbers


@question
def composed(e: Experiment) -> Plan:
    """The output of the model that `Session.compose` makes in the way `composed_as`."""
    run = step("run", of=_whole(e), **e.inputs)
    return Plan({"run": run}, lambda said: said["run"]["output"])


@question
def composed_gradients(e: Experiment) -> Plan:
    """Of the loss, by that model, named as those of `gradients`."""
    run = step("gradients", of=_whole(e), loss=e.loss, wrt=["x"], **e.inputs)
    return Plan({"run": run}, lambda said: by_name(e, said["run"]))


@question
def file(e: Experiment) -> Plan:
    """The model in the file that is carried: {"weights": {layer: {path: array}}, "output"}."""
    read = step("read_file", layers=e["layers"], input_shape=e.shape, **e["file"])
    steps = {"weights": step("weights", of=read), "run": step("run", of=read, **e.inputs)}
    return Plan(
        steps,
        lambda said: {"weights": said["weights"]["weights"], "output": said["run"]["output"]},
    )


@question
def written(e: Experiment) -> Plan:
    """A model of the layers is written as `written_as` says, see `Session.save`, trained before if
    there is a training: {"file": its bytes, "weights" and "optimizer" as they were then}."""
    made = step(
        "make", layers=e["layers"], input_shape=e.shape, like=e.made, model=e.inputs, copy="written"
    )
    fit = fit_of(e, made) if e.get("training") else None
    steps = {"fit": fit} if fit else {}
    steps["weights"] = step("weights", of=made, after=fit, optimizer=_optimizer(e))
    steps["save"] = step("save", of=made, how=e["written_as"], after=fit)

    def together(said: Said) -> Any:
        found = {name: said["weights"].get(name) for name in ("weights", "optimizer")}
        return {"file": said["save"]["file"], **found}

    return Plan(steps, together)


@question
def resumable(e: Experiment) -> Plan:
    """The model in the file that is carried, with what trained it: {"weights", "optimizer"}."""
    file = {**e["file"], "compiled": True}
    read = step("read_file", layers=e["layers"], input_shape=e.shape, **file)
    steps = {"weights": step("weights", of=read, optimizer=_optimizer(e))}
    return Plan(
        steps, lambda said: {name: said["weights"][name] for name in ("weights", "optimizer")}
    )


@question
def served(e: Experiment) -> Plan:
    """What TensorFlow makes of the SavedModel that is carried."""
    run = step("serve", data=e["file"]["data"], **e.inputs)
    return Plan({"run": run}, lambda said: said["run"]["output"])


def _optimizer(e: Experiment) -> str | None:
    return e["training"]["optimizer"]["kind"] if e.get("training") else None


def _whole(e: Experiment) -> Step:
    return step("compose", of=e.made, how=e["composed_as"])


@question
def seeded(e: Experiment) -> Plan:
    """Two models of one seed, one after the other: of each {"weights": {layer: {path: array}}},
    or `seeded` says "dropout" {"output"} in training, or of "fit" {"weights"} after it."""
    steps: dict[str, Step] = {}
    for name in ("first", "second"):
        made = step(
            "make", layers=e["layers"], input_shape=e.shape, drawn=True, seed=SEED,
            copy=f"seeded {name}",
        )  # fmt: skip
        if e["seeded"] == "dropout":
            steps[name] = step("run", of=made, training=True, **e.inputs)
            continue
        after = None
        if e["seeded"] == "fit":
            still: dict[str, Any] = {"optimizer": {"kind": "SGD", "learning_rate": 0.125}}
            after = step("fit", of=made, loss=e.loss["kind"], target=e.target, **still, **e.inputs)
            steps[f"fit of the {name}"] = after
        steps[name] = step("weights", of=made, after=after)

    def together(said: Said) -> Any:
        part = "output" if e["seeded"] == "dropout" else "weights"
        return {name: {part: said[name][part]} for name in ("first", "second")}

    return Plan(steps, together)
