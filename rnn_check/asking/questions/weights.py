"""What is asked of layers that are not run: their weights, and what they say of themselves?"""

from __future__ import annotations

from rnn_check.asking.questions.plan import Experiment, Plan, question
from rnn_check.subjects.plan import Step, step


@question
def summary(e: Experiment) -> Plan:
    """Names, output shapes and parameter counts, of a real model."""
    return Plan({"summary": step("summary", of=e.made)}, lambda said: said["summary"])


def _drawn(e: Experiment, copy: str | None = None) -> Step:
    made = step("make", layers=e["layers"], input_shape=e.shape, drawn=True, copy=copy)
    return step("weights", of=made)


@question
def initial_weights(e: Experiment) -> Plan:
    """The weights as the framework made them."""
    return Plan({"drawn": _drawn(e)}, lambda said: said["drawn"]["weights"])


@question
def initialized(e: Experiment) -> Plan:
    """The same of the layers made twice: {"first", "second"}."""
    both = {which: _drawn(e, which) for which in ("first", "second")}
    return Plan(both, lambda said: {which: said[which]["weights"] for which in both})


@question
def weights(e: Experiment) -> Plan:
    """The weights read back after they were set."""
    return Plan({"read": step("weights", of=e.made)}, lambda said: said["read"]["weights"])


@question
def config(e: Experiment) -> Plan:
    """What get_config() says, see `Session.config`."""
    return Plan({"config": step("config", layers=e["layers"])}, lambda said: said["config"])
