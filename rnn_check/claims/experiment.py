"""What has to be run?  Layers, weights, input and loss, and nothing of what is expected.

Everything is validated, arrays stand in Keras's layout.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rnn_check.claims.gates import GateReading
from rnn_check.claims.layers import GRU, LSTM, AnyLayer, Dense, SimpleRNN
from rnn_check.claims.optimizers import AnyTraining
from rnn_check.claims.tables import WrongTable
from rnn_check.claims.written import Array, Given

AS_KERAS = GateReading()


@dataclass(frozen=True)
class Loss:
    kind: str
    value: Given  # the cotangent or the target


@dataclass(frozen=True, kw_only=True)
class Experiment:
    layers: tuple[AnyLayer, ...]
    weights: Mapping[str, Mapping[str, Given]] | None = None
    x: Given | None = None
    initial_state: Given | None = None
    mask: Array | None = None
    input_shape: tuple[int, ...] | None = None  # (T, F); (T,) of an Embedding's indices
    input_dtype: str | None = None
    loss: Loss | None = None
    printed: Mapping[str, Given] = dataclasses.field(default_factory=dict)
    training: AnyTraining | None = None
    wrong: WrongTable | None = None
    gates: GateReading = AS_KERAS  # as the author has them

    @property
    def is_stack(self) -> bool:
        """Whether it is anything but a SimpleRNN, or a SimpleRNN and then a Dense layer."""
        return [type(layer) for layer in self.layers] not in ([SimpleRNN], [SimpleRNN, Dense])

    @property
    def has_steps(self) -> bool:
        """Whether the states of its first layer are derived step by step."""
        return not self.is_stack or isinstance(self.layers[0], LSTM | GRU)

    @property
    def has_gradients(self) -> bool:
        """Whether gradients of its loss are derived."""
        return not self.is_stack or (self.has_steps and len(self.layers) == 1)

    @property
    def names(self) -> list[str]:
        return [layer.name for layer in self.layers]

    @property
    def rnn(self) -> SimpleRNN | LSTM | GRU:
        layer = self.layers[0]
        assert isinstance(layer, SimpleRNN | LSTM | GRU)
        return layer

    @property
    def dense(self) -> Dense | None:
        layer = self.layers[1] if len(self.layers) > 1 else None
        assert layer is None or isinstance(layer, Dense)
        return layer

    @property
    def processed_mask(self) -> Array | None:
        """The mask (B,T) in the order in which the steps are processed."""
        if self.mask is None or not self.rnn.option("go_backwards"):
            return self.mask
        return self.mask[:, ::-1]

    @property
    def recurrence(self) -> dict[str, Any]:
        """The recurrence and its options, as `over_time.forward` and `certify` take them."""
        return {
            **self.rnn.definition,
            "mask": self.mask,
            "go_backwards": self.rnn.option("go_backwards"),
        }

    def shape_after(self, index: int, shape: tuple[int, ...]) -> tuple[int, ...]:
        """What comes out of the layer of that number, without the batch."""
        for layer in self.layers[: index + 1]:
            shape = layer.shape_after(shape)
        return shape

    @property
    def output_shape(self) -> tuple[int, ...]:
        """With the batch."""
        assert self.x is not None
        return (self.x.shape[0], *self.shape_after(len(self.layers) - 1, self.x.shape[1:]))

    def features_of(self, layer: AnyLayer) -> int:
        """The size of the last axis of what goes into the layer."""
        assert self.input_shape is not None
        features = self.input_shape[-1]
        for before in self.layers[: self.layers.index(layer)]:
            features = before.features_after(features)
        return features

    def rounded_by_hand(self) -> dict[str, Array]:
        """Half a unit of the last digit to which somebody who computes by hand rounds what is
        carried on: of "states", "preactivation" (B,T,H) and "output"."""
        return {}
