"""What is asked of losses, of fit and of evaluate?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rnn_check.asking.questions.plan import (
    Experiment,
    Plan,
    Said,
    cut,
    question,
)
from rnn_check.subjects.plan import Step, step


@question
def training(e: Experiment) -> Plan:
    """compile(loss, optimizer) and fit, watched: weights, the optimizer's states and iterations
    before the first update and after each (N+1,...), each epoch's loss (E,), and the optimizer's
    constants."""
    _, fit = fitted(e, "training", "loss", "updates")
    return Plan({"fit": fit}, lambda said: {**said["fit"]["updates"], "loss": said["fit"]["loss"]})


@question
def trained(e: Experiment) -> Plan:
    """The same and not watched: {"weights": {layer: {path: array}} afterwards, "loss" (E,)}."""
    made, fit = fitted(e, "trained", "loss")
    steps = {"fit": fit, "after": step("weights", of=made, after=fit)}
    return Plan(
        steps,
        lambda said: {"weights": said["after"]["weights"], "loss": said["fit"]["loss"]},
    )


@question
def resumed(e: Experiment) -> Plan:
    """Trained, saved and loaded as `saved_as` says (see `Session.reload`), and both trained again:
    {"went_on", "loaded": {"weights": {layer: {path: array}}, "loss" (E,)}} of the second time."""
    made = step(
        "make", layers=e["layers"], input_shape=e.shape, like=e.made, model=e.inputs, copy="resumed"
    )
    first = fit_of(e, made)
    loaded = step("reload", of=made, how=e["saved_as"], after=first)
    steps = {"first": first, "reload": loaded}
    for name, of in (("went_on", made), ("loaded", loaded)):
        again = fit_of(e, of, loaded)
        steps |= {f"{name} again": again, name: step("weights", of=of, after=again)}
    return Plan(
        steps,
        lambda said: {
            name: {"weights": said[name]["weights"], "loss": said[f"{name} again"]["loss"]}
            for name in ("went_on", "loaded")
        },
    )


def fit_of(e: Experiment, of: Step, after: Step | None = None) -> Step:
    """The training, of layers that were made for it already."""
    asked = e["training"]
    how: dict[str, Any] = {
        "loss": e["loss"]["kind"], "epochs": asked["epochs"], "optimizer": asked["optimizer"],
        "target": e.target, "keep": ["loss"], **_batches(asked), **e.inputs,
    }  # fmt: skip
    return step("fit", of=of, after=after, **how)


def fitted(e: Experiment, copy: str, *keep: str, **more: Any) -> tuple[Step, Step]:
    """The layers, which are trained, and their training; more: how beyond what the claim says."""
    asked, shape = e["training"], e.shape
    if e.is_stateful:  # which has to know its batches
        shape = [asked.get("batch_size") or shape[0], *shape[1:]]
    made = step("make", layers=e["layers"], input_shape=shape, weights=e.get("weights"), copy=copy)
    fit = step(
        "fit", of=made, loss=e["loss"]["kind"], epochs=asked["epochs"], keep=list(keep),
        optimizer=asked["optimizer"], target=e.target, **more, **_batches(asked), **e.inputs,
    )  # fmt: skip
    return made, fit


def _batches(asked: Mapping[str, Any]) -> dict[str, Any]:
    """How a training takes its samples, and what they weigh."""
    names = ("batch_size", "sample_weight", "class_weight", "reset_states")
    return {name: asked[name] for name in names if asked.get(name) is not None}


@question
def losses(e: Experiment) -> Plan:
    """model.losses after a call: {"losses": their sum, "each": [...], "activities": {layer: its
    output in that call} of those with an activity_regularizer}."""
    keep = ["losses", "activities"]
    run = step("run", of=e.made, through="call", keep=keep, **e.inputs)

    def together(said: Said) -> Any:
        told = said["run"]
        found = {"losses": told["losses"]["sum"], "each": told["losses"]["each"]}
        return {**found, "activities": told["activities"]}

    return Plan({"run": run}, together)


@question
def evaluate(e: Experiment) -> Plan:
    """compile(loss), predict and evaluate: {"loss": float64, "output"}."""
    own = {"of": e.made, "loss": e["loss"]["kind"], **e.inputs}
    predict = step("run", through="predict", **own)
    loss = step("run", through="evaluate", keep=["loss"], target=e.target, **own)
    return Plan(
        {"predict": predict, "loss": loss},
        lambda said: {"loss": said["loss"]["loss"], "output": said["predict"]["output"]},
    )


def _one_step(e: Experiment, copy: str, keep: list[str] | None = None) -> dict[str, Step]:
    """compile(SGD(learning_rate), "mse") and one step of fit, the weights before and after it, and
    a run in inference."""
    of, inputs = e.again(copy), e.inputs
    how = {"optimizer": {"kind": "SGD", "learning_rate": e["learning_rate"]}, "loss": "mse"}
    fit = step("fit", of=of, keep=keep, target=e.target, **how, **inputs)
    return {
        "before": step("weights", of=of),
        "fit": fit,
        "after": step("weights", of=of, after=fit),
        "run": step("run", of=of, through="call", after=fit, **inputs),
    }


@question
def fit_once(e: Experiment) -> Plan:
    """One step of fit: weights {"before", "after"} by layer and path, {"trainable": {layer:
    [paths]}}."""
    steps = _one_step(e, "fit_once")
    del steps["run"]

    def together(said: Said) -> Any:
        found = {when: said[when]["weights"] for when in ("before", "after")}
        return {**found, "trainable": said["after"]["trainable"]}

    return Plan(steps, together)


@question
def one_update(e: Experiment) -> Plan:
    """The same step; beside before and after {"loss": as fit reports it, "scale": what it was
    multiplied by before its gradient was taken, "output": in inference after it}."""

    def together(said: Said) -> Any:
        found = {when: said[when]["weights"] for when in ("before", "after")}
        fit = said["fit"]
        shown = {"scale": fit["scale"], "output": said["run"]["output"]}
        return {**found, "loss": cut(fit["loss"], 0), **shown}

    return Plan(_one_step(e, "one_update", ["loss", "scale"]), together)
