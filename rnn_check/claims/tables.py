"""Which keys may stand in the tables of a claim file that are not layers or expectations?

Each class is one table's schema, closed: an unknown key is refused.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any, Literal

import msgspec

from rnn_check.claims.gates import GateReading
from rnn_check.claims.written import Integers, Reading
from rnn_check.subjects.asked.named import MOST_SIZE, NAME

ComputedIn = Literal["exact", "real", "float32", "float64", "hand"]

MOST_WEIGHTS = 2_000_000  # of all layers together
MOST_EPOCHS = 10_000

_NUMBERS_SCHEMA: dict[str, Any] = {
    "description": "nested lists of numbers (or hex floats as strings), or a recipe",
    "type": ["array", "object", "number", "string", "boolean"],
}
Numbers = Annotated[Any, msgspec.Meta(extra_json_schema=_NUMBERS_SCHEMA)]
Size = Annotated[int, msgspec.Meta(ge=1, le=MOST_SIZE)]
Rows = Annotated[int, msgspec.Meta(ge=1, le=MOST_WEIGHTS)]
Seed = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]
Index = Annotated[int, msgspec.Meta(ge=-(10**7), le=10**7)]
Name = Annotated[str, msgspec.Meta(pattern=f"^{NAME.pattern}$")]
Number = Decimal | int
Flag = bool | msgspec.UnsetType
SCALAR_SCHEMA: dict[str, Any] = {"type": ["number", "string", "boolean"]}
Scalar = Annotated[Any, msgspec.Meta(extra_json_schema=SCALAR_SCHEMA)]


class Table(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """One table of a claim file."""


class Source(Table, frozen=True):
    """Where the numbers were published."""

    document: str
    section: str = ""
    author: str = ""
    url: str = ""
    published: str = ""
    seen_in: str = ""
    notes: str = ""


class ReadingTable(GateReading, frozen=True):
    """How the author's numbers are to be read."""

    weights: Reading = "exact"
    input: Reading = "exact"
    integers: Integers = "exact"  # whether 3 is 3, or any number from 2.5 to 3.5
    computed_in: ComputedIn | None = None


class InputTable(Table, frozen=True):
    x: Numbers = None
    initial_state: Numbers = None  # of a Bidirectional layer [the forward, the backward one]
    mask: Numbers = None
    shape: list[Rows] | None = None  # (T, F) or (T,) of an Embedding, when no numbers are run
    dtype: (
        Literal["bool", "uint8", "int8", "int32", "int64", "float16", "float32", "float64"] | None
    ) = None  # what x is passed as


class LossTable(Table, frozen=True):
    """L = Σ cotangent·output, or one of Keras's losses.

    of: "c", the cotangent is that of the last cell state of an LSTM. reduction, factor: what the
    author makes of the terms of a loss of Keras's, which is their mean.
    """

    of: Literal["", "c"] = ""
    kind: Literal["cotangent", "mse", "categorical_crossentropy"] = "cotangent"
    cotangent: Numbers = None
    target: Numbers = None
    reduction: Literal["mean", "sum", "mean of targets"] = "mean"
    factor: Number | msgspec.UnsetType = msgspec.UNSET


class PrintedTable(Table, frozen=True):
    """What the author printed and nobody runs: it is checked as it stands."""

    kernel: Numbers = None
    recurrent_kernel: Numbers = None
    bias: Numbers = None
    predictions: Numbers = None


class WrongTable(Table, frozen=True):
    """Arguments that Keras should refuse, in place of the right ones above."""

    layer: dict[str, Scalar] = {}
    backward_layer: dict[str, Scalar] = {}  # of the Bidirectional layer
    x_shape: list[Annotated[int, msgspec.Meta(ge=0)]] | None = None
    initial_state_shape: list[Annotated[int, msgspec.Meta(ge=0)]] | None = None
    mask_shape: list[Annotated[int, msgspec.Meta(ge=0)]] | None = None
