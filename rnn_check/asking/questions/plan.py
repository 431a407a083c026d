"""What is a question, and what is an experiment made of that it is asked of?

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
from rnn_check.subjects.ask import decode
from rnn_check.subjects.asked.named import RECURRENT, changed, named
from rnn_check.subjects.asked.wire import encode
from rnn_check.subjects.plan import Step, step

GATES = {"LSTM": 4, "GRU": 3}  # whose kernels stand side by side in one
Experiment = Mapping[str, Any]
Said = Mapping[str, Any]


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
QUESTIONS: dict[str, Question] = {}


def question(plan: Question) -> Question:
    """From here on it is asked under its name, wherever it is defined: a kind of expectation may
    bring its own. Raises TypeError if another one is called so."""
    if QUESTIONS.setdefault(plan.__name__, plan) is not plan:
        raise TypeError(f"there are two questions that are called {plan.__name__!r}")
    return plan


def layers(e: Experiment) -> Step:
    """The layers of the experiment with the weights that it gives."""
    return step("make", layers=e["layers"], input_shape=shape_of(e), weights=e.get("weights"))


def specs_of(e: Experiment) -> list[dict[str, Any]]:
    return named(e["layers"])


def shape_of(e: Experiment) -> list[int | None]:
    x = e.get("x")
    return [None, *(e.get("input_shape") or ())] if x is None else list(np.shape(x))


def inputs_of(e: Experiment) -> dict[str, Array]:
    """What the layers are called with."""
    names = ("x", "initial_state", "mask")
    given = {name: np.asarray(e[name]) for name in names if e.get(name) is not None}
    if e.get("x_dtype"):
        given["x"] = given["x"].astype(e["x_dtype"])
    return given


def recurrent_of(e: Experiment) -> int | None:
    """Which of the layers is the first that is recurrent."""
    found = (i for i, spec in enumerate(e["layers"]) if spec["kind"] in RECURRENT)
    return next(found, None)


def again(e: Experiment, copy: str, *, whole: bool = True, **changes: Any) -> Step:
    """The same layers with the same weights, but the recurrent one made with these changes.

    whole: not only up to that one. copy: of the question's own, which may change it.
    """
    at, specs = recurrent_of(e), specs_of(e)
    new = [changed(spec, changes) if i == at else spec for i, spec in enumerate(specs)]
    if not whole and at is not None:
        new = new[: at + 1]
    return step("make", layers=new, input_shape=shape_of(e), like=layers(e), copy=copy)


def loss_of(e: Experiment) -> Mapping[str, Any]:
    if e.get("loss") is None:
        raise ValueError("a gradient needs a loss")
    loss: Mapping[str, Any] = e["loss"]
    return loss


def target_of(e: Experiment) -> Array:
    if e.get("loss") is None:
        raise ValueError("this needs a loss")
    loss = e["loss"]
    return np.asarray(loss["value" if loss["kind"] == "cotangent" else "target"])


def state_sizes(spec: Mapping[str, Any]) -> list[int]:
    """How wide each state is of the recurrent layer or cell of this description."""
    inner = spec.get("layer") or spec.get("cell")
    if inner is not None:
        parts = inner if isinstance(inner, list) else [inner]
        twice = 2 if "layer" in spec else 1
        return [size for part in parts for size in state_sizes(part)] * twice
    return [spec["units"]] * (2 if spec["kind"] in ("LSTM", "LSTMCell") else 1)


def zero_state(e: Experiment, at: int | None) -> Array:
    """Of the layer of that number."""
    sizes = [1] if at is None else state_sizes(e["layers"][at])
    state = np.zeros((len(sizes), np.shape(e["x"])[0], sizes[0]))
    return state if len(sizes) > 1 else state[0]  # (B,H), or one of each state


def stacked(each: Sequence[Mapping[str, Any]], axis: int = 0) -> dict[str, Any]:
    """Encoded arrays as one, bit for bit."""
    dtype = each[0]["dtype"]
    as_bits = [{**a, "dtype": "uint16"} if dtype == "bfloat16" else dict(a) for a in each]
    return {**encode(np.stack([decode(a) for a in as_bits], axis=axis)), "dtype": dtype}


def cut(encoded: Mapping[str, Any], where: Any) -> dict[str, Any]:
    """A part of an encoded array, bit for bit."""
    is_bfloat16 = encoded["dtype"] == "bfloat16"
    bits = decode({**encoded, "dtype": "uint16"} if is_bfloat16 else dict(encoded))
    part = encode(bits[where])
    return {**part, "dtype": encoded["dtype"]}
