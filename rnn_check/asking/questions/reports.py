"""What is asked of predict, evaluate and fit, and of their like of one batch?"""

from __future__ import annotations

from typing import Any

from rnn_check.asking.questions.plan import Experiment, Plan, Said, question
from rnn_check.asking.questions.training import fitted
from rnn_check.claims.divisions import divisions
from rnn_check.recurrences.reported import METRICS
from rnn_check.subjects.plan import Step, step


def _by_size(e: Experiment, through: str, keep: str, **more: Any) -> Plan:
    """{size of the batches: what a run in such batches keeps}."""
    steps: dict[str, Step] = {}
    for size in divisions(len(e.inputs["x"]), even=e.is_stateful):
        of = e.for_batches_of(size) if e.is_stateful else e.made
        run = step("run", of=of, through=through, keep=[keep], batch_size=size, **more, **e.inputs)
        steps[f"{size}"] = run
    return Plan(steps, lambda said: {size: said[size][keep] for size in steps})


def _weighed(e: Experiment) -> dict[str, Any]:
    weight = (e.get("training") or {}).get("sample_weight")
    return {} if weight is None else {"sample_weight": weight}


@question
def predict(e: Experiment) -> Plan:
    """Outputs (B,...) in batches of each size, the last of which may be smaller."""
    return _by_size(e, "predict", "output")


@question
def predict_on_batch(e: Experiment) -> Plan:
    """The same, each batch by itself."""
    return _by_size(e, "predict_on_batch", "output")


def _report(e: Experiment, through: str) -> Plan:
    how = {"loss": e.loss["kind"], "target": e.target, "metrics": list(METRICS), **_weighed(e)}
    return _by_size(e, through, "reported", **how)


@question
def evaluated(e: Experiment) -> Plan:
    """compile(loss, metrics) and evaluate: {size of the batches: {name: number}}."""
    return _report(e, "evaluate")


@question
def test_on_batch(e: Experiment) -> Plan:
    """{size of the batches: [what test_on_batch says of each]}."""
    return _report(e, "test_on_batch")


@question
def reported_by_fit(e: Experiment) -> Plan:
    """The training as `trained`, validated on its own samples: {name, val_name: (E,)}."""
    _, fit = fitted(e, "reported by fit", "reported", metrics=list(METRICS))
    return Plan({"fit": fit}, lambda said: said["fit"]["reported"])


@question
def train_on_batch(e: Experiment) -> Plan:
    """The same training, batch by batch: {"reports": {name: (N,)} of each batch, "weights"
    afterwards}."""
    made, fit = fitted(e, "train_on_batch", "reported", metrics=list(METRICS), by_batch=True)
    steps = {"fit": fit, "after": step("weights", of=made, after=fit)}

    def together(said: Said) -> Any:
        return {"reports": said["fit"]["reported"], "weights": said["after"]["weights"]}

    return Plan(steps, together)
