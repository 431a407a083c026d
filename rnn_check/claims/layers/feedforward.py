"""Which keys do the layers take that carry no state, and what do they hold?"""

from __future__ import annotations

import msgspec

from rnn_check.claims.layers.layer import Layer, Shapes
from rnn_check.claims.tables import Flag, Name, Number, Rows, Size


class Dense(Layer, frozen=True, tag_field="kind", tag="Dense"):
    """The article's output layer, o = h·V + c."""

    units: Size
    name: Name = "dense"
    activation: str | msgspec.UnsetType = msgspec.UNSET
    use_bias: Flag = msgspec.UNSET
    trainable: Flag = msgspec.UNSET

    def own_shapes(self, features: int) -> Shapes:
        bias = {"bias": (self.units,)} if self.option("use_bias") else {}
        return {"kernel": (features, self.units), **bias}


class Masking(Layer, frozen=True, tag_field="kind", tag="Masking"):
    """Masks the timesteps whose features all equal mask_value."""

    name: Name = "masking"
    mask_value: Number = 0


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
