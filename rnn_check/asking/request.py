"""What is a subject asked about a claim?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import msgspec

from rnn_check.asking import plans
from rnn_check.claims import stack
from rnn_check.claims.claim import Claim
from rnn_check.claims.layers import AnyLayer
from rnn_check.subjects import ask as observe
from rnn_check.subjects.own_layer import place
from rnn_check.subjects.policy import Policy


def asks(claim: Claim) -> list[str]:
    """What has to be asked of a subject to judge the claim."""
    return sorted(set().union(*(e.asked(claim) for e in claim.expectations)))


@dataclass(frozen=True)
class Setting:
    """How a subject is asked.

    dtype: one of `policy.NAMES`.  layer: "[KIND=]FILE.py:CLASS", asked in place of Keras's layer or
    cell of that kind, by default SimpleRNN.  slow: whether claims that take minutes are asked as
    well.
    """

    mode: str = "eager"
    dtype: str = "float32"
    layer: str | None = None
    slow: bool = False


@dataclass(frozen=True)
class Answer:
    """What came of asking: what was observed, or why nothing was.

    said: the same in the subject's own words, arrays still encoded, which is what is recorded.
    fault: whether there is none because the process failed, and might not the next time.
    """

    observed: Mapping[str, Any] | None = None
    error: str = ""
    skip: str = ""
    said: Mapping[str, Any] = field(default_factory=dict, repr=False)
    fault: bool = False


def unasked(claim: Claim, setting: Setting) -> Answer | None:
    """The answer, if nobody has to be asked for it."""
    if claim.slow and not setting.slow:
        return Answer(skip="slow; `--slow` judges it too")
    return None if asks(claim) else Answer({})


def ask(claim: Claim, subject: observe.Subject, setting: Setting) -> Answer:
    """Ask the subject what the claim needs.

    A crash of the subject is an error of this claim; the next one is asked of a fresh process.
    """
    if (answer := unasked(claim, setting)) is not None:
        return answer
    try:
        said, observed = plans.ask(subject, request(claim, asks(claim), setting))
        return Answer(observed, said=said)
    except observe.SubjectError as error:
        return Answer(error=str(error), fault=not isinstance(error, observe.Raised))


def request(claim: Claim, wanted: list[str], setting: Setting) -> dict[str, Any]:
    """The experiment, as `plans` takes it; arrays are float64, and the framework rounds them."""
    layers = [_config(part) for part in claim.layers]
    judged = [e for e in claim.expectations if not e.not_run]
    of = sorted({name for e in judged for name in e.gradients(claim)})
    weights = None
    if claim.weights is not None:
        weights = {
            name: {key: given.value for key, given in table.items()}
            for name, table in claim.weights.items()
        }
        if claim.is_plain and claim.dense is not None and claim.dense.name not in weights:
            kernel, bias = stack.dense_that_reaches(claim)
            weights[claim.dense.name] = {"kernel": kernel, "bias": bias}
    question: dict[str, Any] = {
        "mode": setting.mode,
        "dtype": Policy(setting.dtype).layer,
        "layers": layers,
        "input_shape": list(claim.input_shape) if claim.input_shape else None,
        "weights": weights,
        "x": claim.x.value if claim.x else None,
        "initial_state": claim.initial_state.value if claim.initial_state else None,
        "mask": claim.mask,
        "loss": None,
        "ask": wanted,
        "of": of,
    }
    if claim.loss is not None:
        key = "value" if claim.loss.kind == "cotangent" else "target"
        question["loss"] = {"kind": claim.loss.kind, key: claim.loss.value.value}
    if claim.training is not None:
        trained = claim.training
        question["training"] = {
            "optimizer": {"kind": trained.kind, **trained.options},
            "epochs": trained.epochs,
            "batch_size": trained.batch_size,
        }
        if trained.reset_states is True:
            question["training"]["reset_states"] = True
        if trained.class_weight is not None:
            question["training"]["class_weight"] = _plain(trained.class_weight)
        elif claim.sample_weight is not None:
            question["training"]["sample_weight"] = claim.sample_weight.value
    if claim.input_dtype is not None:
        question["x_dtype"] = claim.input_dtype
    if claim.wrong is not None:
        given = _plain(msgspec.to_builtins(claim.wrong, builtin_types=(Decimal,)))
        question["wrong"] = {name: value for name, value in given.items() if value}
    for e in judged:
        question |= e.tells() | e.carries(claim.file)
    if (floatx := Policy(setting.dtype).floatx) != "float32":
        question["floatx"] = floatx
    if setting.layer is not None:
        question["replace"] = dict([place(setting.layer)])
    return question


def _config(part: AnyLayer) -> dict[str, Any]:
    """The layer as `asked.named` has it: Keras's own keys; None where the claim says "None"."""
    config: dict[str, Any] = _plain(msgspec.to_builtins(part, builtin_types=(Decimal,)))
    return config


def _plain(node: Any) -> Any:
    if isinstance(node, dict):
        return {
            key: None
            if value == "None" and key.endswith(("activation", "merge_mode"))
            else _plain(value)
            for key, value in node.items()
        }
    if isinstance(node, list):
        return [_plain(each) for each in node]
    return float(node) if isinstance(node, Decimal) else node
