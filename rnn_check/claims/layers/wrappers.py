"""Which keys do the layers take that wrap another, and what do they hold?"""

from __future__ import annotations

from typing import ClassVar, Literal

from rnn_check.claims.layers.feedforward import Dense
from rnn_check.claims.layers.layer import Layer, Part
from rnn_check.claims.layers.recurrent import SimpleRNN
from rnn_check.claims.tables import Name


class Bidirectional(Layer, frozen=True, tag_field="kind", tag="Bidirectional"):
    """A SimpleRNN and its mirror image, their outputs merged."""

    layer: SimpleRNN
    name: Name = "bidirectional"
    merge_mode: Literal["concat", "sum", "mul", "ave"] = "concat"

    is_recurrent: ClassVar[bool] = True

    @property
    def inner(self) -> SimpleRNN:
        return self.layer

    @property
    def units(self) -> int:
        return self.layer.units * (2 if self.merge_mode == "concat" else 1)

    def parts(self, features: int) -> list[tuple[str, Part, int]]:
        return [(f"{side}.", self.layer, features) for side in ("forward", "backward")]


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

    def parts(self, features: int) -> list[tuple[str, Part, int]]:
        return self.layer.parts(features)
