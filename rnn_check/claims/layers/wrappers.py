"""Which keys do the layers take that wrap another, and what do they hold?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Self

import msgspec
import numpy as np

from rnn_check.claims.layers.feedforward import Dense
from rnn_check.claims.layers.layer import Layer, Part
from rnn_check.claims.layers.recurrent import GRU, LSTM, Carrying, SimpleRNN
from rnn_check.claims.layers.signal import Bounded, Signal, Weights, rounded
from rnn_check.claims.tables import Name
from rnn_check.claims.written import Array


class Bidirectional(Carrying, frozen=True, tag_field="kind", tag="Bidirectional"):
    """A recurrent layer and its mirror image, their outputs merged."""

    layer: SimpleRNN | LSTM | GRU
    name: Name = "bidirectional"
    merge_mode: Literal["concat", "sum", "mul", "ave"] = "concat"

    @property
    def inner(self) -> SimpleRNN | LSTM | GRU:
        return self.layer

    @property
    def units(self) -> int:
        return self.layer.units * (2 if self.merge_mode == "concat" else 1)

    @property
    def reach(self) -> tuple[float, float]:
        return self.layer.reach if self.merge_mode == "concat" else (-np.inf, np.inf)

    @property
    def backward_part(self) -> int:
        return 1

    def parts(self, features: int) -> list[tuple[str, Part, int]]:
        return [(f"{side}.", self.layer, features) for side in ("forward", "backward")]

    def by_hand_of(self, index: int, output: Array | None) -> Array | float:
        """Of merged states neither is printed."""
        if output is None or not self.returns_sequences or self.merge_mode != "concat":
            return 0.0
        units = self.layer.units
        return output[:, ::-1, units:] if index else output[..., :units]

    def returning_sequences(self) -> Self:
        inner = msgspec.structs.replace(self.layer, return_sequences=True)
        return msgspec.structs.replace(self, layer=inner)

    def through(
        self,
        weights: Weights,
        given: Signal,
        arithmetic: str,
        starts: Sequence[Bounded] = (),
        by_hand: Array | None = None,
    ) -> Signal:
        """The merged outputs: one more rounding of a sum or a product, none of a concatenation.

        A sequence has zeros at the steps that are skipped, whatever zero_output_for_mask is: so
        Keras says of Bidirectional.
        """
        states = self.carried_states(weights, given, arithmetic, starts, by_hand)
        mask, sides = given.mask, []
        for (carried, *_), backwards in zip(states, (False, True), strict=True):
            own_mask = mask[:, ::-1] if mask is not None and backwards else mask
            shown = self.layer.shown(carried, own_mask, zeros=self.returns_sequences)
            value, error = shown.value, shown.error
            if backwards and self.returns_sequences:
                value, error = value[:, ::-1], error[:, ::-1]
            sides.append((value, error))
        (a, da), (b, db) = sides
        if self.merge_mode == "concat":
            value, error = np.concatenate([a, b], axis=-1), np.concatenate([da, db], axis=-1)
        elif self.merge_mode == "mul":
            value, error = a * b, da * np.abs(b) + db * np.abs(a) + da * db
            error = error + rounded(value, arithmetic, error)
        else:
            value, error = a + b, da + db
            error = error + rounded(value, arithmetic, error)
            if self.merge_mode == "ave":  # halving is exact
                value, error = value / 2, error / 2
        return Signal(value, error, mask if self.returns_sequences else None)


class TimeDistributed(Layer, frozen=True, tag_field="kind", tag="TimeDistributed"):
    """A Dense layer at each timestep."""

    layer: Dense
    name: Name = "time_distributed"

    @property
    def inner(self) -> Dense:
        return self.layer

    @property
    def units(self) -> int:
        return self.layer.units

    @property
    def reach(self) -> tuple[float, float]:
        return self.layer.reach

    def parts(self, features: int) -> list[tuple[str, Part, int]]:
        return self.layer.parts(features)

    def through(
        self,
        weights: Weights,
        given: Signal,
        arithmetic: str,
        starts: Sequence[Bounded] = (),
        by_hand: Array | None = None,
    ) -> Signal:
        return self.layer.through(weights, given, arithmetic)
