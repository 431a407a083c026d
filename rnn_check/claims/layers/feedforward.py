"""Which keys do the layers take that carry no state, and what do they hold?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

from rnn_check.certificates import layer as certificates_layer
from rnn_check.claims.layers.layer import Layer, Shapes
from rnn_check.claims.layers.signal import Bounded, Signal, Weights, rounded
from rnn_check.claims.tables import Flag, Name, Number, Rows, Size
from rnn_check.claims.written import Array
from rnn_check.recurrences import dense


class Dense(Layer, frozen=True, tag_field="kind", tag="Dense"):
    """The article's output layer, o = h·V + c."""

    units: Size
    name: Name = "dense"
    activation: str | msgspec.UnsetType = msgspec.UNSET
    use_bias: Flag = msgspec.UNSET
    trainable: Flag = msgspec.UNSET

    @property
    def reach(self) -> tuple[float, float]:
        return certificates_layer.reach_of(self.function)

    def own_shapes(self, features: int) -> Shapes:
        bias = {"bias": (self.units,)} if self.option("use_bias") else {}
        return {"kernel": (features, self.units), **bias}

    def through(
        self,
        weights: Weights,
        given: Signal,
        arithmetic: str,
        starts: Sequence[Bounded] = (),
        by_hand: Array | None = None,
    ) -> Signal:
        values: dict[str, Any] = {name: value for name, (value, _) in weights.items()}
        errors = {name: error for name, (_, error) in weights.items()}
        value, error = dense.running_dense(
            given.value, given.error, **values, errors=errors,
            activation=self.function, arithmetic=arithmetic,
        )  # fmt: skip
        return Signal(value, error, given.mask)


class Masking(Layer, frozen=True, tag_field="kind", tag="Masking"):
    """Masks the timesteps whose features all equal mask_value."""

    name: Name = "masking"
    mask_value: Number = 0

    def through(
        self,
        weights: Weights,
        given: Signal,
        arithmetic: str,
        starts: Sequence[Bounded] = (),
        by_hand: Array | None = None,
    ) -> Signal:
        mask = (given.value != float(self.mask_value)).any(axis=-1)
        shown = mask[..., None]
        return Signal(given.value * shown, given.error * shown, mask)


class Embedding(Layer, frozen=True, tag_field="kind", tag="Embedding"):
    """Rows of a table; with mask_zero, index 0 is padding."""

    input_dim: Rows
    output_dim: Size
    name: Name = "embedding"
    mask_zero: Flag = msgspec.UNSET

    @property
    def units(self) -> int:
        return self.output_dim

    @property
    def width(self) -> int:
        return self.units

    def own_shapes(self, features: int) -> Shapes:
        return {"embeddings": (self.input_dim, self.output_dim)}

    def shape_after(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return (*shape, self.units)

    def through(
        self,
        weights: Weights,
        given: Signal,
        arithmetic: str,
        starts: Sequence[Bounded] = (),
        by_hand: Array | None = None,
    ) -> Signal:
        rows = given.value.astype(np.int64)
        value, error = (part[rows] for part in weights["embeddings"])
        mask = given.value != 0 if self.option("mask_zero") else None
        return Signal(value, error + rounded(value, arithmetic), mask)
