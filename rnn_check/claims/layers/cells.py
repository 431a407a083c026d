"""What takes a step: which keys does it take, and what does it hold and compute?

A recurrence has one class here for what its layer and its cell have in common, its family, and one
for its cell; that of its layer is in `recurrent`.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any, ClassVar

import msgspec
import numpy as np

from rnn_check.certificates import layer as certificates_layer
from rnn_check.claims.gates import Letters
from rnn_check.claims.layers.layer import (
    Part,
    Shapes,
)
from rnn_check.claims.layers.signal import (
    Back,
    Call,
    Course,
)
from rnn_check.claims.tables import Flag, Size
from rnn_check.numbers.bounded import Bounded
from rnn_check.recurrences import kinds, running


class Recurrence(Part, frozen=True):
    """What takes a step: a kernel, a recurrent kernel and a bias, of each gate.

    states: what it carries from step to step, the output first, as it is called in reports.
    letters: which layer computes it, and what authors call its gates.
    """

    units: Size
    activation: str | msgspec.UnsetType = msgspec.UNSET  # "None" passes None
    use_bias: Flag = msgspec.UNSET

    default_activation: ClassVar[str] = "tanh"
    states: ClassVar[tuple[str, ...]] = ("state",)
    letters: ClassVar[Letters] = Letters("SimpleRNN")

    @property
    def family(self) -> str:
        """The layer that computes it."""
        return self.letters.kind

    @property
    def gates(self) -> int:
        return len(self.recurrence.gates)

    @property
    def definition(self) -> dict[str, Any]:
        """What it computes, as `public.certify` takes it."""
        return {"activation": self.function}

    def own_shapes(self, features: int) -> Shapes:
        width = self.units * self.gates
        shapes = {"kernel": (features, width), "recurrent_kernel": (self.units, width)}
        return shapes | ({"bias": self.bias_shape} if self.option("use_bias") else {})

    @property
    def bias_shape(self) -> tuple[int, ...]:
        return self.recurrence.bias_shape(self.units)

    @property
    def reach(self) -> tuple[float, float]:
        """Between which numbers its states lie, whatever its weights are."""
        return certificates_layer.reach_of(self.function)

    @property
    def recurrence(self) -> kinds.Recurrence:
        return kinds.recurrence(self.letters.recurrence, self.option("reset_after"))

    @property
    def functions(self) -> dict[str, str]:
        """Its activations, as `recurrences` take them."""
        return {"activation": self.function}

    def course(self, call: Call, backwards: bool, by_hand: running.ByHand) -> Course:
        """Its numbers at every step."""
        own: dict[str, Any] = dict(call.weights)
        if call.starts:
            own["initial_state"] = tuple(zip(*call.starts, strict=True))
        how: dict[str, Any] = {name: value for name, (value, _) in own.items()}
        how["errors"] = {"x": call.given.error, **{name: off for name, (_, off) in own.items()}}
        how |= {"mask": call.given.mask, "go_backwards": backwards, "arithmetic": call.a}
        how |= {"by_hand": by_hand, **self.functions}
        ran = running.Running(self.recurrence, call.given.value, **how)

        def back(cotangents: Mapping[str, Bounded]) -> Back:
            found = ran.gradients(
                {name: c.value for name, c in cotangents.items()},
                {name: c.error for name, c in cotangents.items()},
            )
            x, *weights, starts, _ = zip(*found, strict=True)
            names = ("kernel", "recurrent_kernel", "bias")
            return Back(
                Bounded(*x, call.a),
                {n: Bounded(*w, call.a) for n, w in zip(names, weights, strict=True)},
                [Bounded(*start, call.a) for start in zip(*starts, strict=True)],
            )

        return Course(ran.states, ran.arguments, ran.gates, back)


class Gated(Recurrence, frozen=True):
    """What has gates, whatever they are."""

    @property
    def gate_function(self) -> str:
        """The activation of its gates."""
        return self._function("recurrent_activation", "sigmoid")

    @property
    def functions(self) -> dict[str, str]:
        return {"activation": self.function, "recurrent_activation": self.gate_function}

    @property
    def definition(self) -> dict[str, Any]:
        gates = {"recurrent_activation": self.gate_function}
        return {**super().definition, "recurrence": self.letters.recurrence, **gates}


class LongShortTerm(Gated, frozen=True):
    """Long short-term memory: gates i, f, c, o; it carries h and c."""

    states: ClassVar[tuple[str, ...]] = ("state", "cell state")
    defaults: ClassVar[dict[str, bool]] = {**Part.defaults, "unit_forget_bias": True}
    letters: ClassVar[Letters] = Letters(
        "LSTM",
        {"i": "i", "f": "f", "o": "o", "c": "c", "g": "c", "j": "c", "a": "c"},
        candidate="c",
        example="i f o g",
        forget="f",
        shown={"held": "fo", "i": "co", "f": "o", "c": "io", "o": "ic"},
    )

    @property
    def reach(self) -> tuple[float, float]:
        ends = itertools.product(
            certificates_layer.reach_of(self.function),
            certificates_layer.reach_of(self.gate_function),
        )
        products = [a * b if a and b else 0.0 for a, b in ends]  # 0 times what is unbounded is 0
        return min(products), max(products)


class GatedUnit(Gated, frozen=True):
    """A gated recurrent unit: gates z, r, h; with reset_after it has two biases."""

    defaults: ClassVar[dict[str, bool]] = {**Part.defaults, "reset_after": True}
    letters: ClassVar[Letters] = Letters(
        "GRU",
        {"z": "z", "u": "z", "r": "r", "h": "h", "n": "h", "c": "h", "g": "h"},
        example="r u c",
        update="z",
        reset="r",
        shown={"held": "zr", "z": "", "r": "", "h": "r"},
    )

    @property
    def reach(self) -> tuple[float, float]:
        return -np.inf, np.inf

    @property
    def definition(self) -> dict[str, Any]:
        return {**super().definition, "reset_after": self.option("reset_after")}


class SimpleRNNCell(Recurrence, frozen=True, tag_field="kind", tag="SimpleRNNCell"):
    """What SimpleRNN does at one step; RNN takes one or several."""


class CustomCell(Recurrence, frozen=True, tag_field="kind", tag="CustomCell"):
    """A cell that a user wrote: the recurrence of SimpleRNNCell, with none of Keras's code."""


class LSTMCell(LongShortTerm, frozen=True, tag_field="kind", tag="LSTMCell"):
    """What LSTM does at one step."""

    recurrent_activation: str | msgspec.UnsetType = msgspec.UNSET
    unit_forget_bias: Flag = msgspec.UNSET


class GRUCell(GatedUnit, frozen=True, tag_field="kind", tag="GRUCell"):
    """What GRU does at one step."""

    recurrent_activation: str | msgspec.UnsetType = msgspec.UNSET
    reset_after: Flag = msgspec.UNSET


Cell = SimpleRNNCell | CustomCell | LSTMCell | GRUCell  # what an RNN may be over
