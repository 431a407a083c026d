"""What is a question, and what is an experiment made of that it is asked of?

Each question is a function, called as it is (see `question`): an experiment becomes a plan, which
is steps, and how their answers are put together to what was observed.

Sizes: B samples, T timesteps, F features, H units.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rnn_check.claims.written import Array
from rnn_check.subjects.ask import decode
from rnn_check.subjects.asked.named import changed, family_of, is_recurrent, named
from rnn_check.subjects.asked.wire import encode
from rnn_check.subjects.plan import Step, step

Said = Mapping[str, Any]


class Experiment(dict[str, Any]):
    """What is run, and how it is asked:

    layers         descriptions, see `asked.named`
    x, initial_state, mask, input_shape [T, F], x_dtype (what x is cast to first)
    weights        {layer name: {path: array}}, see `Session.make`
    loss           {"kind", "value" | "target": array}, see `Session.gradients`
    of             whose gradients (by default all that there are)
    training       {"optimizer", "epochs", "batch_size", "sample_weight" | "class_weight",
                   "reset_states"}: see
                   `Session.fit`
    learning_rate  of the one step of SGD of `fit_once` and `one_update`
    wrong          {"layer": {Keras's keys}, "x_shape", "initial_state_shape", "mask_shape"}
    through, how   of `stateful` ("call", "predict", "fit", "evaluate") and of `round_trip`
    file           {"name", "data": its bytes, "own"}, of `file`, `resumable` and `served`
    saved_as, written_as, composed_as, seeded  of `resumed`, `written`, `composed` and `seeded`
    mode, dtype, floatx, replace: see `Session.begin`
    """

    @property
    def made(self) -> Step:
        """The layers with the weights that it gives."""
        given = self.get("weights")
        return step("make", layers=self["layers"], input_shape=self.shape, weights=given)

    @property
    def specs(self) -> list[dict[str, Any]]:
        return named(self["layers"])

    @property
    def shape(self) -> list[int | None]:
        x = self.get("x")
        return [None, *(self.get("input_shape") or ())] if x is None else list(np.shape(x))

    @property
    def inputs(self) -> dict[str, Array]:
        """What the layers are called with."""
        names = ("x", "initial_state", "mask")
        given = {name: np.asarray(self[name]) for name in names if self.get(name) is not None}
        if self.get("x_dtype"):
            given["x"] = given["x"].astype(self["x_dtype"])
        return given

    @property
    def recurrent(self) -> int | None:
        """Which of the layers is the first that is recurrent."""
        found = (i for i, spec in enumerate(self["layers"]) if is_recurrent(spec["kind"]))
        return next(found, None)

    def again(self, copy: str, *, whole: bool = True, **changes: Any) -> Step:
        """The same layers with the same weights, but the recurrent one made with these changes.

        whole: not only up to that one. copy: of the question's own, which may change it.
        """
        at = self.recurrent
        new = [changed(spec, changes) if i == at else spec for i, spec in enumerate(self.specs)]
        if not whole and at is not None:
            new = new[: at + 1]
        return step("make", layers=new, input_shape=self.shape, like=self.made, copy=copy)

    @property
    def is_stateful(self) -> bool:
        return any((spec.get("layer") or spec).get("stateful") for spec in self.specs)

    def for_batches_of(self, size: int) -> Step:
        """The same layers with the same weights, made for so many samples, which is what stateful
        ones have to know."""
        shape = [size, *self.shape[1:]]
        copy = f"for batches of {size}"
        return step("make", layers=self["layers"], input_shape=shape, like=self.made, copy=copy)

    @property
    def loss(self) -> Mapping[str, Any]:
        if self.get("loss") is None:
            raise ValueError("this needs a loss")
        loss: Mapping[str, Any] = self["loss"]
        return loss

    @property
    def target(self) -> Array:
        loss = self.loss
        return np.asarray(loss["value" if loss["kind"] == "cotangent" else "target"])

    def zero_state(self, at: int | None) -> Array:
        """Of the layer of that number."""
        sizes = [1] if at is None else state_sizes(self["layers"][at])
        state = np.zeros((len(sizes), np.shape(self["x"])[0], sizes[0]))
        return state if len(sizes) > 1 else state[0]  # (B,H), or one of each state


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


def state_sizes(spec: Mapping[str, Any]) -> list[int]:
    """How wide each state is of the recurrent layer or cell of this description."""
    inner = spec.get("layer") or spec.get("cell")
    if inner is not None:
        parts = inner if isinstance(inner, list) else [inner]
        if "layer" in spec:
            parts = [inner, spec.get("backward_layer") or inner]
        return [size for part in parts for size in state_sizes(part)]
    family = family_of(spec["kind"])
    return [spec["units"]] * (1 if family is None else family.states)
