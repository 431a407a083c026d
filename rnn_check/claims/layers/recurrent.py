"""Which keys do the recurrent layers take, and what do they hold?"""

from __future__ import annotations

from typing import ClassVar

import msgspec

from rnn_check.claims.layers.layer import (
    Constraint,
    Initializer,
    Layer,
    Part,
    Regularizer,
    Shapes,
)
from rnn_check.claims.tables import Flag, Name, Number, Seed, Size


class Recurrence(Part, frozen=True):
    """What takes a step: a kernel, a recurrent kernel and a bias, of each gate."""

    units: Size
    activation: str | msgspec.UnsetType = msgspec.UNSET  # "None" passes None
    use_bias: Flag = msgspec.UNSET

    default_activation: ClassVar[str] = "tanh"

    def own_shapes(self, features: int) -> Shapes:
        width = self.units * self.gates
        shapes = {"kernel": (features, width), "recurrent_kernel": (self.units, width)}
        return shapes | ({"bias": self.bias_shape} if self.option("use_bias") else {})

    @property
    def bias_shape(self) -> tuple[int, ...]:
        return (self.units * self.gates,)


class SimpleRNNCell(Recurrence, frozen=True, tag_field="kind", tag="SimpleRNNCell"):
    """What SimpleRNN does at one step; RNN takes one or several."""


class CustomCell(Recurrence, frozen=True, tag_field="kind", tag="CustomCell"):
    """A cell that a user wrote: the recurrence of SimpleRNNCell, with none of Keras's code."""


Cell = SimpleRNNCell | CustomCell


class Recurrent(Layer, Recurrence, frozen=True):
    """What SimpleRNN, LSTM and GRU take.  A key left out is not passed to Keras: its default holds.

    activation: Keras's name; "None" passes None, "callable NAME" a Python function that is NAME.
    """

    return_sequences: Flag = msgspec.UNSET
    return_state: Flag = msgspec.UNSET
    go_backwards: Flag = msgspec.UNSET
    stateful: Flag = msgspec.UNSET
    unroll: Flag = msgspec.UNSET
    zero_output_for_mask: Flag = msgspec.UNSET
    trainable: Flag = msgspec.UNSET
    dropout: Number | msgspec.UnsetType = msgspec.UNSET
    recurrent_dropout: Number | msgspec.UnsetType = msgspec.UNSET
    seed: Seed | msgspec.UnsetType = msgspec.UNSET
    kernel_initializer: Initializer = msgspec.UNSET
    recurrent_initializer: Initializer = msgspec.UNSET
    bias_initializer: Initializer = msgspec.UNSET
    kernel_regularizer: Regularizer = msgspec.UNSET
    recurrent_regularizer: Regularizer = msgspec.UNSET
    bias_regularizer: Regularizer = msgspec.UNSET
    activity_regularizer: Regularizer = msgspec.UNSET
    kernel_constraint: Constraint = msgspec.UNSET
    recurrent_constraint: Constraint = msgspec.UNSET
    bias_constraint: Constraint = msgspec.UNSET

    is_recurrent: ClassVar[bool] = True


class SimpleRNN(Recurrent, frozen=True, tag_field="kind", tag="SimpleRNN"):
    """Keras's layer of that name."""

    name: Name = "simple_rnn"


class LSTM(Recurrent, frozen=True, tag_field="kind", tag="LSTM"):
    """Keras's layer of that name; its recurrence is not derived here."""

    name: Name = "lstm"
    recurrent_activation: str | msgspec.UnsetType = msgspec.UNSET
    unit_forget_bias: Flag = msgspec.UNSET

    gates: ClassVar[int] = 4
    is_derived: ClassVar[bool] = False


class GRU(Recurrent, frozen=True, tag_field="kind", tag="GRU"):
    """Keras's layer of that name; its recurrence is not derived here."""

    name: Name = "gru"
    recurrent_activation: str | msgspec.UnsetType = msgspec.UNSET
    reset_after: Flag = msgspec.UNSET

    gates: ClassVar[int] = 3
    is_derived: ClassVar[bool] = False
    defaults: ClassVar[dict[str, bool]] = {**Part.defaults, "reset_after": True}

    @property
    def bias_shape(self) -> tuple[int, ...]:
        width = self.units * self.gates
        return (2, width) if self.option("reset_after") else (width,)  # kernels' own, one each


class RNN(Layer, frozen=True, tag_field="kind", tag="RNN"):
    """Keras's RNN over one cell, or over several stacked ones (StackedRNNCells)."""

    cell: Cell | list[Cell]
    name: Name = "rnn"
    return_sequences: Flag = msgspec.UNSET
    return_state: Flag = msgspec.UNSET
    go_backwards: Flag = msgspec.UNSET
    unroll: Flag = msgspec.UNSET
    zero_output_for_mask: Flag = msgspec.UNSET

    is_recurrent: ClassVar[bool] = True

    @property
    def cells(self) -> list[Cell]:
        return self.cell if isinstance(self.cell, list) else [self.cell]

    @property
    def units(self) -> int:
        return self.cells[-1].units

    def parts(self, features: int) -> list[tuple[str, Part, int]]:
        sizes = [features, *(cell.units for cell in self.cells)]
        names = [f"cell_{i}." for i in range(len(sizes))] if isinstance(self.cell, list) else [""]
        return list(zip(names, self.cells, sizes, strict=False))
