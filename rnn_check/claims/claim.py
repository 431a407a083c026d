"""What is asserted, on whose word?  Loads and validates claim files.

A claim file is one TOML document: an experiment (layers, weights, input) and what somebody says
its numbers are.  It is data: nothing in it is evaluated.  The classes below are the schema, closed
at every level; `json_schema()` publishes it for editors.  Whatever is wrong with a file is raised
as one `ClaimError` that names the file, the key, what was wrong and what would be right, before
much time or memory is spent on it: what a file may hold is limited (docs/claims.md).

Sizes: B batch, T timesteps, F features, H units of the recurrent layer, O units of the Dense layer.
"""

from __future__ import annotations

import collections
import copy
import dataclasses
import functools
import itertools
import json
import math
import os
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import msgspec.inspect
import numpy as np

from rnn_check.claims.written import Array, Given, Integers, Reader, Reading, regular_bytes
from rnn_check.numbers import activations, formats
from rnn_check.refusal import ClaimError, nearest
from rnn_check.subjects.asked.named import KINDS, MOST_SIZE, NAME, refusals, refusals_of_wrong

ComputedIn = Literal["exact", "real", "float32", "float64", "hand"]

# what a file may hold, and what its layers may take (docs/claims.md)
MOST_BYTES = 2**18
MOST_DEPTH = 16  # of lists and tables in each other; of the parts of a dotted key
MOST_VALUES = 50_000  # counted anew in each claim that [vary] makes
MOST_VARIANTS = 512
MOST_KEY, MOST_DIGITS = 100, 1000  # characters of a key or of the label of a variant; of a number
MOST_STEPS, MOST_UNROLLED = 10_000, 1_000  # timesteps
MOST_WEIGHTS = 2_000_000  # of all layers together
MOST_LAYERS = 64  # cells included
MOST_STATES = (
    4_000_000  # B·T·units (of each gate) of all layers, anew for each [[expect]] and claim
)
MOST_EPOCHS = 10_000
MOST_UPDATED = 5_000_000  # weights times epochs
MOST_TRAINED = 50_000_000  # B·T·units times epochs


# --- the schema -----------------------------------------------------------------------------------

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
_SCALAR_SCHEMA: dict[str, Any] = {"type": ["number", "string", "boolean"]}
Scalar = Annotated[Any, msgspec.Meta(extra_json_schema=_SCALAR_SCHEMA)]


def _one_of(family: str) -> msgspec.Meta:
    return msgspec.Meta(extra_json_schema={"$ref": f"#/$defs/{family}"})


class _Table(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    pass


class Source(_Table, frozen=True):
    """Where the numbers were published."""

    document: str
    section: str = ""
    author: str = ""
    url: str = ""
    published: str = ""
    seen_in: str = ""
    notes: str = ""


Flag = bool | msgspec.UnsetType
Initializer = Annotated[Any, _one_of("initializer")]
Regularizer = Annotated[Any, _one_of("regularizer")]
Constraint = Annotated[Any, _one_of("constraint")]


class SimpleRNNCell(_Table, frozen=True, tag_field="kind", tag="SimpleRNNCell"):
    """What SimpleRNN does at one step; RNN takes one or several."""

    units: Size
    activation: str | msgspec.UnsetType = msgspec.UNSET  # "None" passes None
    use_bias: Flag = msgspec.UNSET

    default_activation: ClassVar[str] = "tanh"


class CustomCell(_Table, frozen=True, tag_field="kind", tag="CustomCell"):
    """A cell that a user wrote: the recurrence of SimpleRNNCell, with none of Keras's code."""

    units: Size
    activation: str | msgspec.UnsetType = msgspec.UNSET
    use_bias: Flag = msgspec.UNSET

    default_activation: ClassVar[str] = "tanh"


Cell = SimpleRNNCell | CustomCell


class _Recurrent(_Table, frozen=True):
    """What SimpleRNN, LSTM and GRU take.  A key left out is not passed to Keras: its default holds.

    activation: Keras's name; "None" passes None, "callable NAME" a Python function that is NAME.
    """

    units: Size
    activation: str | msgspec.UnsetType = msgspec.UNSET
    use_bias: Flag = msgspec.UNSET
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

    default_activation: ClassVar[str] = "tanh"
    gates: ClassVar[int] = 1


class SimpleRNN(_Recurrent, frozen=True, tag_field="kind", tag="SimpleRNN"):
    """Keras's layer of that name."""

    name: Name = "simple_rnn"


class LSTM(_Recurrent, frozen=True, tag_field="kind", tag="LSTM"):
    """Keras's layer of that name; its recurrence is not derived here."""

    name: Name = "lstm"
    recurrent_activation: str | msgspec.UnsetType = msgspec.UNSET
    unit_forget_bias: Flag = msgspec.UNSET

    gates: ClassVar[int] = 4


class GRU(_Recurrent, frozen=True, tag_field="kind", tag="GRU"):
    """Keras's layer of that name; its recurrence is not derived here."""

    name: Name = "gru"
    recurrent_activation: str | msgspec.UnsetType = msgspec.UNSET
    reset_after: Flag = msgspec.UNSET

    gates: ClassVar[int] = 3


class Dense(_Table, frozen=True, tag_field="kind", tag="Dense"):
    """The article's output layer, o = h·V + c."""

    units: Size
    name: Name = "dense"
    activation: str | msgspec.UnsetType = msgspec.UNSET
    use_bias: Flag = msgspec.UNSET
    trainable: Flag = msgspec.UNSET

    default_activation: ClassVar[str] = "linear"


class RNN(_Table, frozen=True, tag_field="kind", tag="RNN"):
    """Keras's RNN over one cell, or over several stacked ones (StackedRNNCells)."""

    cell: Cell | list[Cell]
    name: Name = "rnn"
    return_sequences: Flag = msgspec.UNSET
    return_state: Flag = msgspec.UNSET
    go_backwards: Flag = msgspec.UNSET
    unroll: Flag = msgspec.UNSET
    zero_output_for_mask: Flag = msgspec.UNSET

    @property
    def cells(self) -> list[Cell]:
        return self.cell if isinstance(self.cell, list) else [self.cell]

    @property
    def units(self) -> int:
        return self.cells[-1].units


class Bidirectional(_Table, frozen=True, tag_field="kind", tag="Bidirectional"):
    """A SimpleRNN and its mirror image, their outputs merged."""

    layer: SimpleRNN
    name: Name = "bidirectional"
    merge_mode: Literal["concat", "sum", "mul", "ave"] = "concat"

    @property
    def units(self) -> int:
        return self.layer.units * (2 if self.merge_mode == "concat" else 1)


class TimeDistributed(_Table, frozen=True, tag_field="kind", tag="TimeDistributed"):
    """A Dense layer at each timestep."""

    layer: Dense
    name: Name = "time_distributed"

    @property
    def units(self) -> int:
        return self.layer.units


class Masking(_Table, frozen=True, tag_field="kind", tag="Masking"):
    """Masks the timesteps whose features all equal mask_value."""

    name: Name = "masking"
    mask_value: Number = 0


class Embedding(_Table, frozen=True, tag_field="kind", tag="Embedding"):
    """Rows of a table; with mask_zero, index 0 is padding."""

    input_dim: Rows
    output_dim: Size
    name: Name = "embedding"
    mask_zero: Flag = msgspec.UNSET

    @property
    def units(self) -> int:
        return self.output_dim


Layer = SimpleRNN | LSTM | GRU | RNN | Bidirectional | TimeDistributed | Dense | Masking | Embedding
RECURRENT = (SimpleRNN, LSTM, GRU, RNN, Bidirectional)
DERIVED = (SimpleRNN, RNN, Bidirectional)  # whose recurrence is derived here


class ReadingTable(_Table, frozen=True):
    """How the author's numbers are to be read."""

    weights: Reading = "exact"
    input: Reading = "exact"
    integers: Integers = "exact"  # whether 3 is 3, or any number from 2.5 to 3.5
    layout: Literal["x·W", "W·x"] = "x·W"
    computed_in: ComputedIn | None = None


class InputTable(_Table, frozen=True):
    x: Numbers = None
    initial_state: Numbers = None  # of a Bidirectional layer [the forward, the backward one]
    mask: Numbers = None
    shape: list[Rows] | None = None  # (T, F) or (T,) of an Embedding, when no numbers are run
    dtype: Literal["int32", "int64", "float16", "float64"] | None = None  # what x is passed as


class LossTable(_Table, frozen=True):
    """L = Σ cotangent·output, or one of Keras's losses."""

    kind: Literal["cotangent", "mse", "categorical_crossentropy"] = "cotangent"
    cotangent: Numbers = None
    target: Numbers = None


class PrintedTable(_Table, frozen=True):
    """What the author printed and nobody runs: it is checked as it stands."""

    kernel: Numbers = None
    recurrent_kernel: Numbers = None
    bias: Numbers = None
    predictions: Numbers = None


class TrainingTable(_Table, frozen=True):
    """How the author trained: what `compile` and `fit` were given."""

    optimizer: Literal["Adam", "SGD"]
    learning_rate: Number
    epochs: Annotated[int, msgspec.Meta(ge=1, le=MOST_EPOCHS)]


class WrongTable(_Table, frozen=True):
    """Arguments that Keras should refuse, in place of the right ones above."""

    layer: dict[str, Scalar] = {}
    x_shape: list[Annotated[int, msgspec.Meta(ge=0)]] | None = None
    initial_state_shape: list[Annotated[int, msgspec.Meta(ge=0)]] | None = None
    mask_shape: list[Annotated[int, msgspec.Meta(ge=0)]] | None = None


class At(_Table, frozen=True):
    """Which entries the value speaks of; an axis left out is taken whole."""

    sample: Index | list[Index] | None = None
    timestep: Index | list[Index] | None = None
    unit: Index | list[Index] | None = None
    feature: Index | list[Index] | None = None
    row: Index | list[Index] | None = None
    column: Index | list[Index] | None = None
    epoch: Index | None = None


What = Literal[
    "input",
    "preactivation",
    "output",
    "states",
    "last_state",
    "loss",
    "gradient",
    "certified",
    "config",
    "default",
    "parameters",
    "trainable",
    "non_trainable",
    "output_shape",
    "output_dtype",
    "input_shape",
    "weight_shape",
    "weights_read_back",
    "orthogonal",
    "within_glorot_uniform",
    "zero",
    "reproducible",
    "initial_weights",
    "loss_of_predictions",
    "predictions_reachable",
    "trained_weights",
    "updates",
    "ordinary_outcome",
    "mask",
    "stateful",
    "round_trip",
    "dropout",
    "regularization",
    "activity_loss",
    "loss_of_evaluate",
    "frozen",
    "constrained",
    "any_shape",
    "cell",
    "one_update",
    "raises",
]
ARRAYS = frozenset({"input", "preactivation", "output", "states", "last_state", "gradient"})
SCALARS = frozenset({"loss", "loss_of_predictions", "regularization"})
CONFIGURED = frozenset({"config", "default"})  # an option that the claim gives, or leaves out
COUNTS = frozenset({"parameters", "trainable", "non_trainable"})
SHAPES = frozenset({"output_shape", "input_shape", "weight_shape"})
# in some arithmetic; and of these, what `at` may choose from
NUMERIC = ARRAYS | SCALARS | {"initial_weights", "trained_weights"}
WITH_AXES = (NUMERIC - SCALARS) | {"ordinary_outcome", "loss"}
PROPERTIES = frozenset({"orthogonal", "within_glorot_uniform", "zero"})
# what a layer does beyond its numbers, and in which ways it can be asked
BEHAVIOURS: dict[str, tuple[str, ...]] = {
    "stateful": ("call", "predict", "fit", "evaluate"),
    "round_trip": ("config", "weights", "keras", "clone"),
    "dropout": ("input", "recurrent"),
    "loss_of_evaluate": ("",),
    "frozen": ("",),
    "constrained": ("",),
    "any_shape": ("",),
    "cell": ("",),
    "one_update": ("",),
}
HOLDS = (
    PROPERTIES
    | {"certified", "weights_read_back", "predictions_reachable", "updates"}
    | {"reproducible", "activity_loss"}
    | BEHAVIOURS.keys()
)
# what can be said of layers that are not SimpleRNN alone, or SimpleRNN and Dense
OF_STACKS = COUNTS | BEHAVIOURS.keys() | {"output", "certified", "mask", "weights_read_back"}
OF_STACKS |= {"regularization", "activity_loss", "raises", "output_shape", "reproducible"}
OF_STACKS |= {"config", "default", "loss"}
# of these, what can be said without the recurrence
OF_LSTM_AND_GRU = COUNTS | {"output_shape", "weights_read_back", "reproducible", "activity_loss"}
OF_LSTM_AND_GRU |= {"round_trip", "frozen", "raises", "config", "default"}
OPTIMIZERS: dict[str, tuple[str, ...]] = {  # and their options, whose defaults can be claimed
    "Adam": ("learning_rate", "beta_1", "beta_2", "epsilon", "amsgrad", "weight_decay", "clipnorm",
             "global_clipnorm", "clipvalue", "use_ema", "ema_momentum"),
    "SGD": ("learning_rate", "momentum", "nesterov", "weight_decay", "clipnorm", "global_clipnorm",
            "clipvalue", "use_ema", "ema_momentum"),
}  # fmt: skip
OF_STACKS -= {"one_update"}
TRAINED = frozenset({"updates", "ordinary_outcome"})
ONLY_STATED = frozenset({"initial_weights", "trained_weights"})
GRADIENTS = ("x", "kernel", "recurrent_kernel", "bias", "initial_state")


class ExpectTable(_Table, frozen=True, rename={"from_": "from"}):
    what: What
    from_: str
    value: Numbers = None
    of: str = ""
    at: At = At()
    on: Literal["subject", "printed"] = "subject"
    computed_in: ComputedIn | None = None
    known_to_differ: str = ""
    not_run: str = ""


class ClaimFile(_Table, frozen=True):
    """The document as written."""

    schema: Literal[1]
    title: str
    source: Source
    expect: list[ExpectTable]
    catches: list[str] = []
    notes: str = ""
    slow: bool = False
    covers: list[str] = []
    vary: dict[str, list[Any] | dict[str, Any]] | None = None
    layer: Layer | None = None
    layers: list[Layer] | None = None
    reading: ReadingTable = ReadingTable()
    weights: dict[str, Any] | None = None
    input: InputTable | None = None
    loss: LossTable | None = None
    printed: PrintedTable | None = None
    training: TrainingTable | None = None
    wrong: WrongTable | None = None


def json_schema() -> dict[str, Any]:
    """The claim format as a JSON Schema (draft 2020-12), for editors."""
    schema: dict[str, Any] = _as_numbers(msgspec.json.schema(ClaimFile))
    schema["$defs"] |= {family: _family_schema(family) for family in KINDS}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "rnn_check claim",
        **schema,
    }


def _family_schema(family: str) -> dict[str, Any]:
    """A word, or a table {kind = ..., its arguments}, as `named.KINDS` has them."""
    tables = [
        {
            "type": "object",
            "properties": {"kind": {"const": kind}, **dict.fromkeys(arguments, _SCALAR_SCHEMA)},
            "required": ["kind"],
            "additionalProperties": False,
        }
        for kind, arguments in KINDS[family].items()
    ]
    return {"anyOf": [{"type": "string"}, *tables]}


def _as_numbers(schema: Any) -> Any:
    """A Decimal is a number here; msgspec publishes it as the string that JSON would hold."""
    if isinstance(schema, dict):
        if schema.get("format") == "decimal":
            return {"type": "number"}
        return {key: _as_numbers(part) for key, part in schema.items()}
    return [_as_numbers(part) for part in schema] if isinstance(schema, list) else schema


# --- the claim ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Expectation:
    """One asserted value and whose word it stands on."""

    what: str
    of: str
    value: Any  # Given for arrays and scalars, int, str or True
    from_: str
    at: At
    on: str
    computed_in: str
    known_to_differ: str
    not_run: str
    turned: bool = False  # whether `at` speaks of the author's W·x layout, where `value` is Keras's

    @property
    def name(self) -> str:
        """How tables call it: "gradient of kernel", "output at timestep 3"."""
        name = f"{self.what} of {self.of}" if self.of else self.what
        if self.on == "printed":
            name += " as printed"
        places = [
            f"{axis} {index}"
            for axis, index in msgspec.structs.asdict(self.at).items()
            if index is not None
        ]
        return f"{name} at {', '.join(places)}" if places else name

    def select(self, array: Array) -> Array:
        """The entries of `array` that the value speaks of."""
        names = self.axes(array.ndim)
        for axis, name in reversed(list(enumerate(names))):
            index = getattr(self.at, name)
            if index is not None:
                array = np.take(array, index, axis=axis)
        return array

    def axes(self, ndim: int) -> tuple[str, ...]:
        """What the axes of the whole array are called by who wrote the claim."""
        names = axes(self.what, self.of, ndim)
        return names[::-1] if self.turned else names


def axes(what: str, of: str, ndim: int) -> tuple[str, ...]:
    """What the axes of an array are called, in claim files (`at`) and in reports."""
    of_weights = what in ("gradient", "initial_weights", "trained_weights")
    if of_weights and of not in ("x", "initial_state", "delta"):
        return ("unit",) if ndim == 1 else ("row", "column")
    last = "feature" if what == "input" or of == "x" else "unit"
    return {0: (), 1: (last,), 2: ("sample", last), 3: ("sample", "timestep", last)}[ndim]


@dataclass(frozen=True)
class Loss:
    kind: str
    value: Given  # the cotangent or the target


@dataclass(frozen=True)
class Claim:
    """An experiment and what is said of it; everything validated, arrays in Keras's layout."""

    name: str
    file: Path
    title: str
    source: Source
    layers: tuple[Layer, ...]
    expectations: tuple[Expectation, ...]
    catches: tuple[str, ...] = ()
    notes: str = ""
    slow: bool = False
    weights: Mapping[str, Mapping[str, Given]] | None = None
    x: Given | None = None
    initial_state: Given | None = None
    mask: Array | None = None
    input_shape: tuple[int, ...] | None = None  # (T, F); (T,) of an Embedding's indices
    input_dtype: str | None = None
    loss: Loss | None = None
    printed: Mapping[str, Given] = field(default_factory=dict)
    training: TrainingTable | None = None
    wrong: WrongTable | None = None
    covers: tuple[str, ...] = ()

    @property
    def is_stack(self) -> bool:
        """Whether it is anything but a SimpleRNN, or a SimpleRNN and then a Dense layer."""
        return not _is_plain(self.layers)

    @property
    def rnn(self) -> SimpleRNN:
        layer = self.layers[0]
        assert isinstance(layer, SimpleRNN)
        return layer

    @property
    def dense(self) -> Dense | None:
        layer = self.layers[1] if len(self.layers) > 1 else None
        assert layer is None or isinstance(layer, Dense)
        return layer

    @property
    def processed_mask(self) -> Array | None:
        """The mask (B,T) in the order in which the steps are processed."""
        if self.mask is None or not option(self.rnn, "go_backwards"):
            return self.mask
        return self.mask[:, ::-1]

    @property
    def recurrence(self) -> dict[str, Any]:
        """The options of the recurrence, as `over_time.forward` and `certify` take them."""
        return {
            "activation": activation_of(self.rnn),
            "mask": self.mask,
            "go_backwards": option(self.rnn, "go_backwards"),
        }


_DEFAULTS = {"use_bias": True, "trainable": True, "reset_after": True}


def _is_plain(layers: Sequence[Layer]) -> bool:
    return [type(layer) for layer in layers] in ([SimpleRNN], [SimpleRNN, Dense])


def underived(layers: Sequence[Layer], what: str) -> str:
    """Why nobody here can judge that of such layers; empty if it can be judged."""
    for layer in layers:
        if isinstance(layer, LSTM | GRU) and what not in OF_LSTM_AND_GRU:
            return f"the recurrence of {type(layer).__name__} is not derived here"
    if not _is_plain(layers) and what not in OF_STACKS:
        return f"{what} is derived of a SimpleRNN, or of SimpleRNN and Dense, only"
    return ""


def returns_sequences(layer: Layer) -> bool:
    """Whether (B,T,...) goes in and (B,T,...) comes out."""
    if isinstance(layer, Bidirectional):
        return returns_sequences(layer.layer)
    return not isinstance(layer, RECURRENT) or option(layer, "return_sequences")


def is_trainable(layer: Layer) -> bool:
    return option(layer.layer if isinstance(layer, Bidirectional) else layer, "trainable")


def returns_state(layer: Layer) -> bool:
    return option(layer.layer if isinstance(layer, Bidirectional) else layer, "return_state")


def shape_after(layer: Layer, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of its output, without the batch."""
    if isinstance(layer, Masking):
        return shape
    if isinstance(layer, Embedding):
        return (*shape, layer.units)
    return (*(shape[:-1] if returns_sequences(layer) else ()), layer.units)


def weight_shapes(layer: Layer | Cell, features: int) -> dict[str, tuple[int, ...]]:
    """The shapes of its weights by path: "kernel", "forward.bias", "cell_0.kernel"."""
    if isinstance(layer, Masking):
        return {}
    if isinstance(layer, Embedding):
        return {"embeddings": (layer.input_dim, layer.output_dim)}
    if isinstance(layer, TimeDistributed):
        return weight_shapes(layer.layer, features)
    shapes: dict[str, tuple[int, ...]] = {}
    for prefix, part, fan_in in parts(layer, features):
        width = part.units * getattr(part, "gates", 1)
        shapes[prefix + "kernel"] = (fan_in, width)
        if not isinstance(part, Dense):
            shapes[prefix + "recurrent_kernel"] = (part.units, width)
        if option(part, "use_bias"):
            of_both = isinstance(part, GRU) and option(
                part, "reset_after"
            )  # kernels, one bias each
            shapes[prefix + "bias"] = (2, width) if of_both else (width,)
    return shapes


def parts(layer: Layer | Cell, features: int) -> list[tuple[str, _Recurrent | Cell | Dense, int]]:
    """The layers or cells that hold its weights: (prefix of their paths, part, its features)."""
    if isinstance(layer, Bidirectional):
        return [(f"{side}.", layer.layer, features) for side in ("forward", "backward")]
    if isinstance(layer, RNN):
        sizes = [features, *(cell.units for cell in layer.cells)]
        names = [f"cell_{i}." for i in range(len(sizes))] if isinstance(layer.cell, list) else [""]
        return list(zip(names, layer.cells, sizes, strict=False))
    assert isinstance(layer, _Recurrent | SimpleRNNCell | CustomCell | Dense)
    return [("", layer, features)]


def options_of(layer: Layer) -> tuple[str, ...]:
    """The keys of its description that Keras takes."""
    return tuple(name for name in layer.__struct_fields__ if name not in ("units", "name"))


def option(layer: Layer | _Recurrent | Cell, name: str) -> bool:
    """The value of a boolean option, Keras's default if the claim leaves it out."""
    value = getattr(layer, name, msgspec.UNSET)
    return _DEFAULTS.get(name, False) if value is msgspec.UNSET else bool(value)


def activation_of(layer: _Recurrent | Cell | Dense) -> str:
    if layer.activation is msgspec.UNSET:
        return layer.default_activation
    name = layer.activation.removeprefix("callable ")
    return "linear" if name == "None" else name


# --- loading --------------------------------------------------------------------------------------


def bundled() -> Path:
    """The folder of the claim files that come with rnn_check."""
    package = Path(__file__).resolve().parents[1]
    inside = package / "fixtures"
    return inside if inside.is_dir() else package.parent / "fixtures"


def known() -> Path:
    """The folder of what subjects are known to get wrong: beside the claims, and no claims."""
    return bundled() / "known"


def find(paths: Iterable[Path | str]) -> list[tuple[str, Path]]:
    """(claim name, file) of every claim file named or inside a folder named, sorted, each once.

    What a folder holds of `known()` is left out. Raises ClaimError for a path that does not exist,
    a folder with no claims, a file that is not TOML by its name.
    """
    found: dict[str, tuple[str, Path]] = {}
    no_claims = known()
    for path in map(Path, paths):
        if path.is_dir():
            files = sorted(f for f in path.rglob("*.toml") if f.parent.resolve() != no_claims)
            if not files:
                raise ClaimError(path, "", "the folder holds no claim files (*.toml)")
        elif path.is_file():
            if path.suffix != ".toml":
                raise ClaimError(path, "", "a claim file's name ends in .toml")
            files = [path]
        else:
            raise ClaimError(path, "", "no such file or folder")
        for file in files:
            # a link stays what it is called, and is read once with what it leads to
            found.setdefault(
                os.path.realpath(file), (_name(file, path), file.parent.resolve() / file.name)
            )
    return list(found.values())


def _name(file: Path, root: Path) -> str:
    resolved = file.parent.resolve() / file.name
    for base in (bundled(), root.resolve()):
        if resolved.is_relative_to(base) and resolved != base:
            return resolved.relative_to(base).with_suffix("").as_posix()
    return file.stem


def load(file: Path | str, name: str | None = None) -> Claim:
    """Load a file that holds one claim; ClaimError if anything is wrong with it, or it varies."""
    claims = load_each(file, name)
    if len(claims) != 1:
        raise ClaimError(file, "vary", f"the file holds {len(claims)} claims, one was wanted")
    return claims[0]


def load_each(file: Path | str, name: str | None = None) -> list[Claim]:
    """The claims of one file: one, or as many as its [vary] has combinations.

    Raises ClaimError, whatever happens while it is read: a fault of ours as well costs this file
    alone.
    """
    try:
        return read_each(file, name)
    except ClaimError:
        raise
    except Exception as fault:
        problem = f"cannot be read, by a fault of rnn_check's own: {type(fault).__name__}: {fault}"
        raise ClaimError(file, "", problem) from fault


def read_each(file: Path | str, name: str | None = None) -> list[Claim]:
    """As `load_each`, but a fault of ours comes out as it is."""
    file = Path(file)
    if file.is_symlink() and Path(os.path.realpath(file)).parent != file.parent.resolve():
        raise ClaimError(file, "", "is a link that leads out of its folder; name the file itself")
    try:
        text = regular_bytes(file, MOST_BYTES).decode()
    except UnicodeDecodeError as error:
        raise ClaimError(file, "", f"not UTF-8 text (byte {error.start})") from None
    except OSError as error:
        raise ClaimError(file, "", f"cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise ClaimError(file, "", str(error)) from None
    return loads_each(text, file, name if name is not None else _name(file, file))


def loads(text: str, file: Path | str = "claim.toml", name: str | None = None) -> Claim:
    """The claim written in `text`; `file` is where it says it stands (npz files lie beside it)."""
    return loads_each(text, file, name)[0]


def loads_each(text: str, file: Path | str = "claim.toml", name: str | None = None) -> list[Claim]:
    """The claims written in `text`, as `read_each`."""
    file = Path(file)
    _scan(text, file)
    try:
        document = tomllib.loads(text, parse_float=_decimal)
    except tomllib.TOMLDecodeError as error:
        raise ClaimError(file, "", f"not TOML: {error}") from None
    except (RecursionError, ValueError) as error:
        raise ClaimError(file, "", f"not readable as TOML: {error}") from None
    size = _size(document, file)
    _written(document, file)  # what the schema refuses is refused, though [vary] might mend it
    name = name if name is not None else file.stem
    read, states = Reader(file), [0]
    claims = []
    for suffix, varied in _variants(document, file, size):
        written = _written(varied, file)
        own = dataclasses.replace(read, integers=written.reading.integers)
        claims.append(_Builder(own, written, name + suffix, states).claim())
    return claims


# TOML's strings and comments whole, then what a key is made of; each matches in linear time
_TOKEN = re.compile(
    r'"""(?:[^"\\]|\\.|"(?!""))*+(?:""")?|'
    r"'''(?:[^']|'(?!''))*+(?:''')?|"
    r'"(?:[^"\\\n]|\\.)*+"?|'
    r"'[^'\n]*+'?|#[^\n]*+|[A-Za-z0-9_+:-]++|[ \t]++|[^\S ]|[\s\S]",
    re.DOTALL,
)


def _scan(text: str, file: Path) -> None:
    """Refuse what takes a parser of TOML more time than its size: it is not asked."""
    depth = dots = 0
    for found in _TOKEN.finditer(text):
        token = found[0]
        if token in ("[", "{"):
            depth += 1
        elif token in ("]", "}"):
            depth -= 1
        if token == ".":
            dots += 1
        elif not (token[0].isalnum() or token[0] in "_+-\"' \t"):
            dots = 0
        if max(depth, dots) > 2 * MOST_DEPTH:
            line = text.count("\n", 0, found.start()) + 1
            problem = f"line {line}: lists and tables stand in each other at most {MOST_DEPTH} deep"
            raise ClaimError(file, "", problem)


def _decimal(text: str) -> Decimal:
    try:
        return Decimal(text)
    except ArithmeticError:  # 1e9999999999999999999
        raise ValueError(f"{text[:20]}... is out of any float's range") from None


def _size(document: dict[str, Any], file: Path) -> int:
    """How many values a document holds.  Refuses what no claim needs: depth, length, size."""
    count = 0
    stack: list[tuple[Any, int, Any]] = [(document, 0, None)]  # (node, depth, (key, those above))
    while stack:
        node, depth, way = stack.pop()
        count += 1
        problem = ""
        if count > MOST_VALUES:
            raise ClaimError(file, "", f"holds more than {MOST_VALUES:,} values; an .npz has room")
        if isinstance(node, dict | list) and depth > MOST_DEPTH:
            problem = f"lists and tables stand in each other at most {MOST_DEPTH} deep"
        elif isinstance(node, dict):
            for key, value in node.items():
                if len(key) > MOST_KEY or not key.isprintable():
                    problem = f"{key!r}: a key is at most {MOST_KEY} characters that can be printed"
                stack.append((value, depth + 1, (key, way)))
        elif isinstance(node, list):
            stack.extend((value, depth + 1, (index, way)) for index, value in enumerate(node))
        elif isinstance(node, str):
            if unseen := _UNSEEN.search(node):
                problem = f"the character {unseen[0]!r} cannot be shown; leave it out"
        elif isinstance(node, Decimal):
            if len(node.as_tuple().digits) > MOST_DIGITS:
                problem = f"a number has at most {MOST_DIGITS:,} digits"
        elif isinstance(node, int) and node.bit_length() > 3 * MOST_DIGITS:
            problem = f"an integer has less than {MOST_DIGITS:,} digits"
        if problem:
            raise ClaimError(file, _path(way), problem)
    return count


# what moves a cursor, turns text around or ends a line somewhere else than here
_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]"
)


def _path(way: Any) -> str:
    """ "expect[0].value", of (its last part, (the part before it, ...))."""
    path = ""
    while way is not None:
        part, way = way
        path = (f"[{part}]" if isinstance(part, int) else f".{part}") + path
    return path.lstrip(".")


def _written(document: dict[str, Any], file: Path) -> ClaimFile:
    """The document as the schema has it."""
    try:
        written = msgspec.convert(document, ClaimFile, builtin_types=(Decimal,))
    except (msgspec.ValidationError, OverflowError) as error:
        raise _explain(str(error), document, file) from None
    several = written.layers is not None
    described = [document["layer"]] if "layer" in document else document.get("layers", [])
    for i, layer in enumerate(described):
        for where, problem in refusals(layer):
            raise ClaimError(file, (f"layers[{i}]" if several else "layer") + where, problem)
    if written.layer is not None and several:
        raise ClaimError(file, "layer", "give either one [layer] or several [[layers]]")
    wrong = msgspec.structs.asdict(written.wrong) if written.wrong is not None else {}
    for where, problem in refusals_of_wrong(wrong):
        raise ClaimError(file, f"wrong{where}", problem)
    return written


def _variants(
    document: dict[str, Any], file: Path, size: int
) -> Iterator[tuple[str, dict[str, Any]]]:
    """(suffix of the claim's name, document) for each combination of what [vary] lists.

    A key is the path of another key; its values are a list, or a table that names them. An empty
    table as a value leaves the other key out.
    """
    table = document.pop("vary", None)
    if table is None:
        yield "", document
        return
    choices: list[list[tuple[str, str, Any]]] = []
    for path, values in table.items():
        key = f'vary."{path}"'
        parts = path.split(".")
        if parts[0] not in ClaimFile.__struct_fields__ or parts[0] in ("vary", "schema"):
            raise ClaimError(file, key, "there is no such place in the file")
        if len(parts) > MOST_DEPTH:
            raise ClaimError(file, key, f"at most {MOST_DEPTH} parts")
        if isinstance(values, list):
            labels = [v if isinstance(v, str) else json.dumps(v, default=str) for v in values]
            if twice := [label for label, n in collections.Counter(labels).items() if n > 1]:
                problem = f"two of the values are called {twice[0]!r}; a table gives each its name"
                raise ClaimError(file, key, problem)
            values = dict(zip(labels, values, strict=True))
        if not values:
            raise ClaimError(file, key, "expected a list of values, or a table that names them")
        for label in values:
            if len(label) > MOST_KEY or not label.isprintable():
                problem = f"a name of at most {MOST_KEY} characters wanted; a table gives each one"
                raise ClaimError(file, key, problem)
        choices.append([(path, label, value) for label, value in values.items()])
    count = math.prod(map(len, choices))
    if not choices or count > MOST_VARIANTS:
        raise ClaimError(file, "vary", f"expected 1 to {MOST_VARIANTS} combinations, got {count:,}")
    if count * size > MOST_VALUES:
        raise ClaimError(
            file, "vary", f"{count} claims of {size:,} values each are {count * size:,}; "
            f"a file holds at most {MOST_VALUES:,}",
        )  # fmt: skip
    for chosen in itertools.product(*choices):
        varied = copy.deepcopy(document)
        for path, _, value in chosen:
            _put(varied, path, copy.deepcopy(value), file)
        names = [[part for part in path.split(".") if not _INDEX.fullmatch(part)] for path in table]
        shown = ", ".join(f"{name[-1]}={c[1]}" for name, c in zip(names, chosen, strict=True))
        yield f"[{shown}]", varied


_INDEX = re.compile("0|[1-9][0-9]*")


def _put(document: dict[str, Any], path: str, value: Any, file: Path) -> None:
    *way, last = path.split(".")
    node: Any = document
    try:
        for part in way:
            node = _entry(node, part) if isinstance(node, list) else node.setdefault(part, {})
        if isinstance(node, list):
            _entry(node, last)
            node[int(last)] = value
        elif value == {}:
            node.pop(last, None)
        else:
            node[last] = value
    except (IndexError, AttributeError, TypeError):
        raise ClaimError(file, f'vary."{path}"', "there is no such place in the file") from None


def _entry(node: list[Any], index: str) -> Any:
    if not _INDEX.fullmatch(index) or len(index) > 9:
        raise IndexError
    return node[int(index)]


def _explain(message: str, document: Any, file: Path) -> ClaimError:
    """msgspec's complaint as one that names the key and what would be right."""
    problem, _, where = message.partition(" - at ")
    path = where.strip("`").removeprefix("$").removeprefix(".").removeprefix("key in ")
    node, kinds = _walk(document, path)
    keys = [kind for kind in kinds if isinstance(kind, msgspec.inspect.StructType)]
    if unknown := re.fullmatch(r"Object contains unknown field `(.*)`", problem, re.DOTALL):
        key = unknown[1]
        known = [f.encode_name for kind in _tagged(keys, node) for f in kind.fields]
        known += ["kind"] if any(kind.tag_field for kind in keys) else []
        hint = nearest(key, known)
        if key in ("weights", "input", "expect") or not known:
            hint = f"; known: {', '.join(sorted(known))}"
        return ClaimError(file, f"{path}.{key}".lstrip("."), f"unknown key{hint}")
    if missing := re.fullmatch(r"Object missing required field `(.*)`", problem):
        key = f"{path}.{missing[1]}".lstrip(".")
        hint = "; say on whose word the value stands" if missing[1] == "from" else ""
        if missing[1] == "kind":
            hint = f"; one of {', '.join(_tags(keys))}"
        return ClaimError(file, key, f"required key is missing{hint}")
    word = path.rpartition(".")[2]
    if path == "schema":
        return ClaimError(file, path, f"this version reads schema 1, the file says {node!r}")
    literals = [kind for kind in kinds if isinstance(kind, msgspec.inspect.LiteralType)]
    values = [str(value) for kind in literals for value in kind.values]
    if word == "kind" and not values:
        values = _tags(k for k in _walk(document, path[: -len(".kind")])[1])
    if values and isinstance(node, str):
        return ClaimError(file, path, f"unknown {word} {node!r}{nearest(node, values)}")
    if limit := re.fullmatch(r"Expected `int` (>=|<=) (-?\d+)", problem):
        wanted = {
            ">=1": "a positive integer",
            ">=0": "0 or a positive integer",
        }.get(limit[1] + limit[2], f"an integer {limit[1]} {int(limit[2]):,}")
        return ClaimError(file, path, f"expected {wanted}, got {node!r}")
    if "matching regex" in problem:
        return ClaimError(
            file, path, f"expected a letter, then letters, digits and _, got {node!r}"
        )
    problem = problem[:1].lower() + problem[1:].replace("`", "")
    for theirs, ours in (("int | decimal", "a number"), ("object", "table"), ("array", "list")):
        problem = problem.replace(theirs, ours)
    return ClaimError(file, path, problem)


def _tagged(
    kinds: Iterable[msgspec.inspect.StructType], node: Any
) -> list[msgspec.inspect.StructType]:
    """Those of the kinds that the table `node` says it is; all if it does not say."""
    kind = node.get("kind") if isinstance(node, dict) else None
    return [each for each in kinds if each.tag_field is None or each.tag == kind] or list(kinds)


def _tags(kinds: Iterable[msgspec.inspect.Type]) -> list[str]:
    return [str(k.tag) for k in kinds if isinstance(k, msgspec.inspect.StructType) and k.tag_field]


def _walk(node: Any, path: str) -> tuple[Any, list[msgspec.inspect.Type]]:
    """What stands at a path of the document, and what may stand there."""
    kinds = _alternatives(_whole())
    for key, index in re.findall(r"([^.\[\]]+)|\[(\d+|\.\.\.)\]", path):
        inner: list[msgspec.inspect.Type] = []
        structs = [k for k in kinds if isinstance(k, msgspec.inspect.StructType)]
        fields = [field for struct in _tagged(structs, node) for field in struct.fields]
        inner += [t for f in fields if f.encode_name == key for t in _alternatives(f.type)]
        for kind in kinds:
            if index and isinstance(kind, msgspec.inspect.ListType):
                inner += _alternatives(kind.item_type)
            elif index == "..." and isinstance(kind, msgspec.inspect.DictType):
                inner += _alternatives(kind.value_type)
        kinds = inner
        try:
            node = node[int(index)] if index else node[key]
        except (KeyError, IndexError, TypeError, ValueError):
            node = None
    return node, kinds


@functools.cache
def _whole() -> msgspec.inspect.Type:
    return msgspec.inspect.type_info(ClaimFile)


def _alternatives(kind: msgspec.inspect.Type) -> list[msgspec.inspect.Type]:
    if isinstance(kind, msgspec.inspect.Metadata):
        return _alternatives(kind.type)
    if isinstance(kind, msgspec.inspect.UnionType):
        return [each for part in kind.types for each in _alternatives(part)]
    return [kind]


@dataclass
class _Builder:
    """From the document as written to a Claim: what one table alone cannot know."""

    read: Reader
    doc: ClaimFile
    name: str
    states: list[int]  # how many numbers the layers of the file's claims put out so far

    def claim(self) -> Claim:
        doc = self.doc
        self._texts()
        self._training()
        layers = self._layers()
        x, initial_state, mask, input_shape = self._input(layers)
        features = input_shape[-1] if input_shape else None
        weights = self._weights(layers, features)
        printed = self._printed(layers[0], features)
        self._sizes(layers, x, input_shape)
        self._wrong()
        if weights is None and x is not None and self._runs(layers):
            raise self.fail("weights", "required: the claim gives an input to run but no weights")
        loss = self._loss(layers, x)
        partial = Claim(
            name=self.name,
            file=self.read.file,
            title=doc.title,
            source=doc.source,
            layers=layers,
            expectations=(),
            catches=tuple(doc.catches),
            notes=doc.notes,
            slow=doc.slow,
            weights=weights,
            x=x,
            initial_state=initial_state,
            mask=mask,
            input_shape=input_shape,
            input_dtype=doc.input.dtype if doc.input else None,
            loss=loss,
            printed=printed,
            training=doc.training,
            wrong=doc.wrong,
            covers=tuple(doc.covers),
        )
        if not doc.expect:
            raise self.fail("expect", "the claim expects nothing; add an [[expect]] table")
        expectations = tuple(self._expectation(i, e, partial) for i, e in enumerate(doc.expect))
        for what in ("stateful", "round_trip"):
            if len({e.of for e in expectations if e.what == what}) > 1:
                raise self.fail("expect", f"one {what} a claim; [vary] makes several claims")
        return Claim(**{**partial.__dict__, "expectations": expectations})

    def fail(self, key: str, problem: str) -> ClaimError:
        return self.read.fail(key, problem)

    def _runs(self, layers: tuple[Layer, ...]) -> bool:
        needs = ARRAYS | {"loss", "certified", "weights_read_back", "predictions_reachable"}
        needs |= BEHAVIOURS.keys() - {"dropout"}
        return any(
            e.what in needs and not e.not_run and not underived(layers, e.what)
            for e in self.doc.expect
        )

    def _texts(self) -> None:
        texts = [("title", self.doc.title), ("source.document", self.doc.source.document)]
        texts += [(f"expect[{i}].from", e.from_) for i, e in enumerate(self.doc.expect)]
        for key, text in texts:
            if not text.strip():
                raise self.fail(key, "must not be empty")

    def _training(self) -> None:
        training = self.doc.training
        if training is None:
            return
        rate, key = training.learning_rate, "training.learning_rate"
        if not (Decimal(rate).is_finite() and self.read.number(rate, key) > 0):
            raise self.fail(key, f"expected a positive number, got {rate}")

    def _layers(self) -> tuple[Layer, ...]:
        doc = self.doc
        if (doc.layer is None) == (doc.layers is None):
            raise self.fail("layer", "give either one [layer] or several [[layers]]")
        layers: tuple[Any, ...] = tuple(doc.layers) if doc.layers is not None else (doc.layer,)
        key = "layers" if doc.layers is not None else "layer"
        if not any(isinstance(layer, RECURRENT) for layer in layers):
            raise self.fail(key, "none of the layers is recurrent")
        count = sum(len(layer.cells) if isinstance(layer, RNN) else 1 for layer in layers)
        if count > MOST_LAYERS:
            raise self.fail(key, f"{count:,} layers and cells are too many; at most {MOST_LAYERS}")
        names = [layer.name for layer in layers]
        if len(set(names)) != len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise self.fail(key, f"two layers are called {twice!r}")
        for i, layer in enumerate(layers):
            at = f"layers[{i}]" if doc.layers is not None else "layer"
            self._layer(layer, at)
            if isinstance(layer, Embedding) and i:
                raise self.fail(f"{at}.kind", "an Embedding comes first: it takes indices")
            if isinstance(layer, (*RECURRENT, TimeDistributed)) and any(
                not returns_sequences(before) for before in layers[:i]
            ):
                raise self.fail(f"{at}.kind", f"{layer.name} needs a sequence before it")
        if any(returns_state(layer) for layer in layers[:-1]):
            raise self.fail(f"{key}.return_state", "only of the last layer; leave it out")
        return layers

    def _layer(self, layer: Layer, at: str) -> None:
        """The sizes and activations of a layer, or of those inside it."""
        if isinstance(layer, Masking | Embedding):
            return
        if isinstance(layer, TimeDistributed):
            return self._layer(layer.layer, f"{at}.layer")
        if isinstance(layer, RNN) and not layer.cells:
            raise self.fail(f"{at}.cell", "expected at least one cell")
        if isinstance(layer, Bidirectional):
            at = f"{at}.layer"
            if option(layer.layer, "go_backwards"):
                raise self.fail(f"{at}.go_backwards", "not inside Bidirectional; leave it out")
        for _, part, _ in parts(layer, 1):
            functions = {"activation": activation_of(part)}
            gate = getattr(part, "recurrent_activation", msgspec.UNSET)
            if gate is not msgspec.UNSET:
                functions["recurrent_activation"] = gate
            for key, name in functions.items():
                try:
                    activations.activation(name)
                except ValueError as error:
                    raise self.fail(f"{at}.{key}", str(error)) from None
        layer = layer.layer if isinstance(layer, Bidirectional) else layer
        if isinstance(layer, _Recurrent):
            for name in ("dropout", "recurrent_dropout"):
                rate = getattr(layer, name)
                if rate is not msgspec.UNSET and not 0 <= rate < 1:
                    raise self.fail(
                        f"{at}.{name}", f"expected a rate from 0 to less than 1, got {rate}"
                    )

    def _wrong(self) -> None:
        wrong = self.doc.wrong
        if wrong is None:
            return
        if not (wrong.layer or wrong.x_shape or wrong.initial_state_shape or wrong.mask_shape):
            raise self.fail(
                "wrong", "says nothing; give layer, x_shape, initial_state_shape or ..."
            )
        if self.doc.input is None:
            raise self.fail("input", "required: what the layer is built for before it is misused")

    def _sizes(
        self, layers: tuple[Layer, ...], x: Given | None, input_shape: tuple[int, ...] | None
    ) -> None:
        """Refuse what would take a subject, or the judge, gigabytes or hours."""
        batch = x.shape[0] if x is not None else 1
        steps, features = (input_shape[0], input_shape[-1]) if input_shape else (1, 1)
        weights = width = 0
        for layer in layers:
            weights += sum(math.prod(shape) for shape in weight_shapes(layer, features).values())
            if isinstance(layer, Embedding):
                width += layer.units
            elif not isinstance(layer, Masking):
                inside = layer.layer if isinstance(layer, TimeDistributed) else layer
                width += sum(p.units * getattr(p, "gates", 1) for _, p, _ in parts(inside, 1))
            features = features if isinstance(layer, Masking) else layer.units
        unrolled = any(
            option(layer.layer if isinstance(layer, Bidirectional) else layer, "unroll")
            for layer in layers
        )
        states = batch * steps * width
        self.states[0] += states * len(self.doc.expect)
        epochs = self.doc.training.epochs if self.doc.training else 0
        key = "layer" if self.doc.layer is not None else "layers"
        for where, got, most, what in (
            ("input", steps, MOST_UNROLLED if unrolled else MOST_STEPS,
             "unrolled timesteps" if unrolled else "timesteps"),
            (key, weights, MOST_WEIGHTS, "weights in all layers together"),
            (key, self.states[0], MOST_STATES,
             "numbers that come out of the layers, for all [[expect]] and [vary] together,"),
            ("training.epochs", epochs * weights, MOST_UPDATED, "weights times epochs"),
            ("training.epochs", epochs * states, MOST_TRAINED, "numbers in all epochs together"),
        ):  # fmt: skip
            if got > most:
                raise self.fail(where, f"{got:,} {what} are too many; at most {most:,}")

    def _input(
        self, layers: tuple[Layer, ...]
    ) -> tuple[Given | None, Given | None, Array | None, tuple[int, ...] | None]:
        table = self.doc.input
        if table is None:
            return None, None, None, None
        reading = self.doc.reading.input
        if (table.x is None) == (table.shape is None):
            raise self.fail("input", "give either x, or shape = [timesteps, features]")
        if table.shape is not None:
            wanted = "[timesteps]" if isinstance(layers[0], Embedding) else "[timesteps, features]"
            if len(table.shape) != wanted.count(",") + 1:
                raise self.fail("input.shape", f"expected {wanted}, got {table.shape}")
            for key in ("initial_state", "mask"):
                if getattr(table, key) is not None:
                    raise self.fail(f"input.{key}", "needs x, not only a shape")
            return None, None, None, tuple(table.shape)
        x = self.read.given(table.x, "input.x", reading, finite=False)
        axes: tuple[str, ...] = ("batch", "timesteps", "features")
        if isinstance(layers[0], Embedding):
            axes = axes[:2]
            indices = x.value
            if not ((indices == np.rint(indices)) & (indices >= 0)).all():
                raise self.fail("input.x", "expected indices of the embedding: 0, 1, 2, ...")
            if indices.max() >= layers[0].input_dim:
                raise self.fail("input.x", f"an index is not below {layers[0].input_dim}")
        if len(x.shape) != len(axes):
            raise self.fail("input.x", f"expected ({', '.join(axes)}), got {x.shape}")
        batch, timesteps = x.shape[:2]
        state = mask = None
        if table.initial_state is not None:
            state = self.read.given(table.initial_state, "input.initial_state", reading)
            first = next(layer for layer in layers if not isinstance(layer, Masking))
            shape: tuple[int, ...] = (batch, getattr(first, "units", 0))
            if isinstance(first, Bidirectional):
                shape = (2, batch, first.layer.units)
            elif not isinstance(first, SimpleRNN | RNN) or len(parts(first, 1)) > 1:
                raise self.fail(
                    "input.initial_state",
                    "only of a SimpleRNN, a Bidirectional layer, or an RNN over one cell that is "
                    "the first layer, or comes after Masking",
                )
            self._shaped(state.shape, shape, "input.initial_state")
        if table.mask is not None:
            if isinstance(layers[0], Masking | Embedding):
                raise self.fail("input.mask", f"{layers[0].name} makes the mask; leave it out")
            mask = self.read.booleans(table.mask, "input.mask")
            self._shaped(mask.shape, (batch, timesteps), "input.mask")
        return x, state, mask, x.shape[1:]

    def _shaped(self, got: tuple[int, ...], wanted: tuple[int, ...], key: str) -> None:
        if got != wanted:
            raise self.fail(key, f"expected shape {wanted}, got {got}")

    def _weights(
        self, layers: tuple[Layer, ...], features: int | None
    ) -> dict[str, dict[str, Given]] | None:
        tables = self.doc.weights
        if tables is None:
            return None
        if self.doc.layer is not None:
            return {layers[0].name: self._layer_weights(layers[0], tables, "weights", features)}
        several = ", ".join(f"[weights.{n.name}]" for n in layers if not isinstance(n, Masking))
        for name in tables:
            if not isinstance(tables[name], dict) and name not in {n.name for n in layers}:
                raise self.fail(f"weights.{name}", f"of which of the [[layers]]? Give {several}")
            if name not in (names := [layer.name for layer in layers]):
                raise self.fail(f"weights.{name}", f"no layer has that name{nearest(name, names)}")
        weights = {}
        wanted = {e.what for e in self.doc.expect if not e.not_run}
        reachable = "predictions_reachable" in wanted
        for layer in layers:
            key = f"weights.{layer.name}"
            table = tables.get(layer.name)
            if table is None and (
                isinstance(layer, Masking) or (reachable and isinstance(layer, Dense))
            ):
                continue  # that claim asks whether such weights exist
            if not isinstance(table, dict):
                raise self.fail(key, f"expected a table of that layer's weights; give {several}")
            weights[layer.name] = self._layer_weights(layer, table, key, features)
            features = layer.units if not isinstance(layer, Masking) else features
        return weights

    def _layer_weights(
        self, layer: Layer, table: dict[str, Any], key: str, features: int | None
    ) -> dict[str, Given]:
        shapes = weight_shapes(layer, -1 if features is None else features)
        wanted = {
            path: tuple(None if n < 0 else n for n in shape) for path, shape in shapes.items()
        }
        prefixes = {path.rpartition(".")[0] for path in wanted} - {""}
        flat: dict[str, Any] = {}
        for k, value in table.items():
            inner = value if k in prefixes and isinstance(value, dict) else {"": value}
            flat |= {f"{k}.{name}" if name else k: array for name, array in inner.items()}
        second = {}  # the second bias that other frameworks have, by the first
        for path in flat.keys() - wanted.keys():
            prefix = path.removesuffix("recurrent_bias")
            if path != prefix and f"{prefix}recurrent_kernel" in wanted:
                bias = f"{prefix}bias"
                if len(wanted.get(bias, ())) == 2:
                    raise self.fail(f"{key}.{path}", f"{bias} holds both: [of inputs, of states]")
                if bias in wanted:
                    wanted[path], second[bias] = wanted[bias], path
        arrays = self._arrays(flat, wanted, key)
        for bias, path in second.items():
            arrays[bias] = arrays[bias].plus(arrays.pop(path))
        return arrays

    def _arrays(
        self, table: dict[str, Any], wanted: dict[str, tuple[int | None, ...]], key: str
    ) -> dict[str, Given]:
        for k in table:
            if k not in wanted:
                raise self.fail(f"{key}.{k}", f"unknown key{nearest(k, wanted)}")
        arrays = {}
        for k, shape in wanted.items():
            if k not in table:
                raise self.fail(f"{key}.{k}", "required key is missing")
            array = self.read.given(table[k], f"{key}.{k}", self.doc.reading.weights)
            array = self._turned(array, k)
            got = array.shape
            if len(got) != len(shape) or any(
                w not in (None, g) for g, w in zip(got, shape, strict=False)
            ):
                layout = " (after W·x is turned into x·W)" * self._is_turned(k)
                sizes = tuple("features" if w is None else w for w in shape)
                raise self.fail(f"{key}.{k}", f"expected shape {sizes}, got {got}{layout}")
            arrays[k] = array
        return arrays

    def _is_turned(self, name: str) -> bool:
        """Whether the author's layout of a weight, or of its gradient, is not Keras's."""
        return self.doc.reading.layout == "W·x" and name.endswith("kernel")

    def _turned(self, array: Given, name: str) -> Given:
        both = self._is_turned(name) and len(array.shape) == 2
        return array.transposed() if both else array

    def _printed(self, rnn: Layer, features: int | None) -> dict[str, Given]:
        if self.doc.printed is None:
            return {}
        table = msgspec.structs.asdict(self.doc.printed)
        arrays = {
            k: self._turned(self.read.given(v, f"printed.{k}", "rounded"), k)
            for k, v in table.items()
            if v is not None
        }
        if not isinstance(rnn, SimpleRNN):
            raise self.fail("printed", "only beside a SimpleRNN that comes first")
        shapes = {
            "kernel": (features, rnn.units),
            "recurrent_kernel": (rnn.units, rnn.units),
            "bias": (rnn.units,),
        }
        for k, shape in shapes.items():
            if k in arrays and len(shape) == 2 and shape[0] is None:
                raise self.fail("input", "required: how many features the printed kernel has")
            if k in arrays:
                self._shaped(arrays[k].shape, tuple(n or 0 for n in shape), f"printed.{k}")
        return arrays

    def _output_shape(self, layers: tuple[Layer, ...], x: Given) -> tuple[int, ...]:
        shape = x.shape[1:]
        for layer in layers:
            shape = shape_after(layer, shape)
        return (x.shape[0], *shape)

    def _loss(self, layers: tuple[Layer, ...], x: Given | None) -> Loss | None:
        table = self.doc.loss
        if table is None:
            return None
        name = "cotangent" if table.kind == "cotangent" else "target"
        other = "target" if name == "cotangent" else "cotangent"
        if getattr(table, name) is None:
            raise self.fail(f"loss.{name}", f"required for the loss {table.kind!r}")
        if getattr(table, other) is not None:
            raise self.fail(f"loss.{other}", f"not used by the loss {table.kind!r}; leave it out")
        value = self.read.given(getattr(table, name), f"loss.{name}")
        if x is not None:
            self._shaped(value.shape, self._output_shape(layers, x), f"loss.{name}")
        return Loss(table.kind, value)

    # -- expectations --

    def _expectation(self, i: int, e: ExpectTable, claim: Claim) -> Expectation:
        key = f"expect[{i}]"
        reason = underived(claim.layers, e.what)
        if not reason:
            self._of(e, claim, key)
            self._needs(e, claim, key)
            reason = self._unjudged(e, claim)
        if e.known_to_differ and e.not_run:
            raise self.fail(f"{key}.not_run", "not together with known_to_differ")
        computed_in = e.computed_in or self.doc.reading.computed_in
        numeric = e.what in NUMERIC
        if numeric and not (e.not_run or reason) and computed_in is None:
            raise self.fail(
                f"{key}.computed_in",
                "required: in what arithmetic was the value computed "
                "(exact, real, float32, float64 or hand)?",
            )
        if e.on == "printed" and e.what not in PROPERTIES:
            raise self.fail(f"{key}.on", f"{e.what} is not a property of printed weights")
        if e.computed_in and not (numeric or e.on == "printed"):
            raise self.fail(
                f"{key}.computed_in", f"{e.what} is no number that somebody computed; leave it out"
            )
        if e.what not in WITH_AXES and e.at != At():
            raise self.fail(f"{key}.at", f"{e.what} has no axes; leave it out")
        value = self._value(e, claim, f"{key}.value")
        return Expectation(
            what=e.what,
            of=e.of,
            value=value,
            from_=e.from_,
            at=e.at,
            on=e.on,
            computed_in=computed_in or "exact",
            known_to_differ=e.known_to_differ,
            not_run=e.not_run or reason,
            turned=self._is_turned(e.of) and e.what in WITH_AXES,
        )

    def _unjudged(self, e: ExpectTable, claim: Claim) -> str:
        """Why nobody can judge it yet, though there is nothing wrong with it; empty if they can."""
        if e.what in ONLY_STATED:
            return f"{e.what} cannot be reproduced yet"
        trained = claim.training
        if e.what in TRAINED and trained is not None and trained.optimizer != "Adam":
            return f"{e.what} of training with {trained.optimizer} is not derived here, only Adam's"
        return ""

    def _of(self, e: ExpectTable, claim: Claim, key: str) -> None:
        names = [layer.name for layer in claim.layers]
        allowed: list[str]
        if e.what == "gradient":
            allowed = list(GRADIENTS)
            if not option(claim.rnn, "use_bias"):
                allowed.remove("bias")
            if claim.dense is not None:
                allowed += ["dense.kernel", "dense.bias"]
        elif e.what in BEHAVIOURS:
            allowed = list(BEHAVIOURS[e.what])
        elif e.what == "mask":
            allowed = names
        elif e.what == "reproducible":
            allowed = list(weight_shapes(claim.layers[0], 1))
        elif e.what == "raises":
            allowed = ["", "construct", "build", "call", "smaller batch"]
        elif e.what in CONFIGURED:
            allowed = []
            for layer in claim.layers:
                where = f"{layer.name}." if len(names) > 1 else ""
                for name in options_of(layer):
                    is_given = getattr(layer, name) is not msgspec.UNSET
                    if is_given == (e.what == "config"):
                        allowed.append(where + name)
            if e.what == "default":
                allowed += [f"{name}.{o}" for name, options in OPTIMIZERS.items() for o in options]
        elif e.what in COUNTS:
            allowed = ["", *names]
        elif e.what == "output_shape":
            allowed = ["", *names] if len(names) == 1 else names
        elif e.what in {"weight_shape", "trained_weights", "initial_weights"} | PROPERTIES:
            allowed = ["kernel", "recurrent_kernel", "bias"]
        elif e.what == "ordinary_outcome":
            allowed = ["loss", "predictions"]
        else:
            allowed = [""]
        if e.of not in allowed:
            if not e.of:
                raise self.fail(f"{key}.of", f"required: one of {', '.join(filter(None, allowed))}")
            if allowed == [""]:
                raise self.fail(f"{key}.of", f"{e.what} takes no `of`; leave it out")
            bare = e.of.removeprefix(f"{claim.layers[0].name}.")
            hint = f"; did you mean `{bare}`?" if bare in allowed else ""
            known = hint or nearest(e.of, filter(None, allowed))
            raise self.fail(f"{key}.of", f"unknown {e.of!r}{known}")

    def _needs(self, e: ExpectTable, claim: Claim, key: str) -> None:
        if e.not_run:
            return
        needs: dict[str, bool] = {}
        if e.what in BEHAVIOURS.keys() - {"dropout"} | {"mask", "regularization", "activity_loss"}:
            needs["input.x"] = claim.x is not None
            needs["weights"] = claim.weights is not None
        if e.what in {"frozen", "constrained", "loss_of_evaluate"}:
            needs['loss.kind = "mse"'] = claim.loss is not None and claim.loss.kind == "mse"
        if e.what == "activity_loss":
            given = (getattr(r, "activity_regularizer", None) for r in claim.layers)
            needs["an activity_regularizer"] = any(isinstance(each, dict) for each in given)
        if e.what == "reproducible":
            needs["input"] = claim.input_shape is not None
            name = e.of.removesuffix("_kernel") + "_initializer"
            drawn = getattr(claim.layers[0], name, None)
            needs[f"{name} with a seed"] = isinstance(drawn, dict) and "seed" in drawn
        if e.what == "dropout":
            rate = "recurrent_dropout" if e.of == "recurrent" else "dropout"
            given_rate = getattr(claim.layers[0], rate, msgspec.UNSET)
            needs[f"a {rate} rate"] = given_rate is not msgspec.UNSET
        if e.what == "cell":
            layer = claim.layers[0]
            cells = layer.cells if isinstance(layer, RNN) else []
            needs["an RNN over one cell"] = len(cells) == len(claim.layers) == 1
            needs["input.initial_state"] = claim.initial_state is not None
        if e.what == "one_update":
            needs['loss.kind = "mse"'] = claim.loss is not None and claim.loss.kind == "mse"
            needs["a SimpleRNN that stands alone"] = claim.dense is None
            needs["one sample"] = claim.x is not None and claim.x.shape[0] == 1
            rates = (claim.rnn.dropout, claim.rnn.recurrent_dropout)
            needs["dropout rates of 0.5, 0.75 or 0.875, whose scale 1/(1 - p) is exact"] = all(
                rate is msgspec.UNSET or float(rate) in (0, 0.5, 0.75, 0.875) for rate in rates
            )
        if e.what == "raises" and e.of == "smaller batch":
            needs["input.x of two samples or more"] = claim.x is not None and claim.x.shape[0] > 1
        elif e.what == "raises":
            needs["a [wrong] table"] = claim.wrong is not None
        if e.what in ARRAYS | {"certified", "loss"}:
            needs["input.x"] = claim.x is not None
            needs["weights"] = claim.weights is not None
        if e.what in {"gradient", "loss"}:
            needs["loss"] = claim.loss is not None
        if e.what in COUNTS | {"output_shape", "input_shape", "output_dtype", "weight_shape"}:
            needs["input"] = claim.input_shape is not None
        if e.what in {"input_shape", "output_dtype"}:
            needs["input.x"] = claim.x is not None
        if e.what in {"weights_read_back", "output_dtype"}:
            needs["weights"] = claim.weights is not None
        if e.what in PROPERTIES and e.on == "printed":
            needs[f"printed.{e.of}"] = e.of in claim.printed
        if e.what in PROPERTIES and e.on == "subject":
            needs["input"] = claim.input_shape is not None
        if e.what == "loss_of_predictions":
            needs["printed.predictions"] = "predictions" in claim.printed
            needs["loss.target"] = claim.loss is not None and claim.loss.kind != "cotangent"
        if e.what == "predictions_reachable":
            needs["printed.predictions"] = "predictions" in claim.printed
            needs["a Dense layer"] = claim.dense is not None
            needs["weights"] = claim.weights is not None
        if e.what in TRAINED:
            needs["training"] = claim.training is not None
            needs["input.x"] = claim.x is not None
            needs["weights"] = claim.weights is not None
            needs['loss.kind = "mse"'] = claim.loss is not None and claim.loss.kind == "mse"
            needs["a Dense layer"] = claim.dense is not None
        if e.what == "updates" and claim.dense is not None and claim.weights is not None:
            needs[f"weights.{claim.dense.name}"] = claim.dense.name in claim.weights
        for what, there in needs.items():
            if not there:
                raise self.fail(
                    f"{key}.what", f"{e.what} needs {what}, which the claim does not give"
                )
        if e.what in ("predictions_reachable", "loss_of_predictions"):
            got = claim.printed["predictions"].value.size
            wanted = math.prod(self._output_shape(claim.layers, claim.x)) if claim.x else got
            if claim.loss is not None and e.what == "loss_of_predictions":
                wanted = claim.loss.value.value.size
            if got != wanted:
                of = "the model puts out" if e.what == "predictions_reachable" else "has the target"
                raise self.fail("printed.predictions", f"{got} numbers, where {of} {wanted}")
        if e.what == "last_state" and not option(claim.rnn, "return_state"):
            raise self.fail(f"{key}.what", "last_state needs return_state = true in the layer")
        if e.what in TRAINED and (
            option(claim.rnn, "return_sequences")
            or claim.initial_state is not None
            or claim.mask is not None
        ):
            raise self.fail(
                f"{key}.what",
                f"{e.what} is of a layer that returns its last output, without mask and state",
            )

    def _value(self, e: ExpectTable, claim: Claim, key: str) -> Any:
        if e.value is None:
            if e.what in ONLY_STATED:
                return None
            raise self.fail(key, "required key is missing")
        if e.what in HOLDS:
            if e.value is not True:
                raise self.fail(key, f"expected true, got {e.value!r}")
            return True
        if e.what in CONFIGURED:
            return self._configured(e.value, key)
        if e.what in COUNTS:
            if not isinstance(e.value, int) or isinstance(e.value, bool) or e.value < 0:
                raise self.fail(key, f"expected a number of parameters, got {e.value!r}")
            return e.value
        if e.what in SHAPES:
            pattern = r"\((?:None|[0-9]{1,9})(?:, (?:None|[0-9]{1,9})){0,7},?\)"
            if not isinstance(e.value, str) or not re.fullmatch(pattern, e.value):
                raise self.fail(key, f'expected a shape as printed, "(None, 3)", got {e.value!r}')
            if e.what == "weight_shape" and self._is_turned(e.of):
                return f"({', '.join(reversed(re.findall(r'None|[0-9]+', e.value)))})"
            return e.value
        if e.what == "raises":
            if not isinstance(e.value, str) or not e.value.isidentifier():
                raise self.fail(
                    key, f'expected the name of an exception, "ValueError", got {e.value!r}'
                )
            return e.value
        if e.what == "mask":
            return self._mask(e, claim, key)
        if e.what == "output_dtype":
            if not isinstance(e.value, str) or e.value not in formats.ARITHMETICS:
                known = ", ".join(formats.ARITHMETICS)
                raise self.fail(key, f"unknown dtype {e.value!r}; known: {known}")
            return e.value
        # inf and nan are claimed, and differ
        value = self.read.given(e.value, key, finite=False)
        if e.what in WITH_AXES:
            value = self._turned(value, e.of)
        self._check_value_shape(e, claim, value, key)
        return value

    def _configured(self, value: Any, key: str) -> Any:
        """True, a number, a word ("None" is None), or a table: {kind = "Orthogonal", gain = 1}."""
        if isinstance(value, dict) and isinstance(value.get("kind"), str):
            for name in value:
                if not NAME.fullmatch(name) or name == "npz":
                    raise self.fail(f"{key}.{name}", "no argument of a class is so called")
            return {name: self._configured(part, f"{key}.{name}") for name, part in value.items()}
        if isinstance(value, bool) or value in ("None", None):
            return value if isinstance(value, bool) else None
        if isinstance(value, str) and value.strip():
            return value
        if isinstance(value, int | Decimal):
            return float(self.read.given(value, key).value)
        raise self.fail(
            key, f'expected true, a number, "None", a name, or {{ kind = ... }}, got {value!r}'
        )

    def _mask(self, e: ExpectTable, claim: Claim, key: str) -> Array | None:
        """(B,T), or None (written "none") where no mask is handed on."""
        if e.value == "none":
            return None
        mask = self.read.booleans(e.value, key)
        if claim.x is not None:  # else it is not run
            self._shaped(mask.shape, claim.x.shape[:2], key)
        return mask

    def _check_value_shape(self, e: ExpectTable, claim: Claim, value: Given, key: str) -> None:
        shape = self._shape_of(e, claim)
        if shape is None:
            return
        turned = self._is_turned(e.of)
        whole = Expectation(e.what, e.of, None, "", e.at, "", "", "", "", turned)
        names = whole.axes(len(shape))
        for name, index in msgspec.structs.asdict(e.at).items():
            at = f"{key.removesuffix('.value')}.at"
            if index is None or (name == "epoch" and e.what in ("loss", "trained_weights")):
                continue
            if name not in names:
                only = f", only {', '.join(sorted(names))}" if names else ""
                raise self.fail(f"{at}.{name}", f"{whole.name} has no such axis{only}")
            size = shape[names.index(name)]
            for one in index if isinstance(index, list) else [index]:
                if not -size <= one < size:
                    raise self.fail(
                        at, f"{name} {one} is out of bounds: there are {size}, counted from 0"
                    )
            if index == []:
                raise self.fail(f"{at}.{name}", "empty list; name at least one")
        # counted without making it: an array of no bytes that is as large as it says
        wanted = whole.select(np.broadcast_to(np.empty((), bool), shape)).shape
        self._shaped(value.shape, wanted, key)

    def _shape_of(self, e: ExpectTable, claim: Claim) -> tuple[int, ...] | None:
        """The whole array's shape; None where the claim does not fix it."""
        if e.what in SCALARS or (e.what, e.of) == ("ordinary_outcome", "loss"):
            return ()
        if claim.is_stack:
            runs = e.what == "output" and claim.x is not None
            return self._output_shape(claim.layers, claim.x) if runs and claim.x else None
        units = claim.rnn.units
        rnn = {"recurrent_kernel": (units, units), "bias": (units,)}
        if claim.input_shape is not None:
            rnn["kernel"] = (claim.input_shape[1], units)
        if e.what in ("initial_weights", "trained_weights"):
            return rnn.get(e.of)
        if claim.x is None:
            return None
        batch, timesteps, features = claim.x.shape
        if e.what == "gradient":
            if claim.dense is not None:
                rnn["dense.kernel"] = (units, claim.dense.units)
                rnn["dense.bias"] = (claim.dense.units,)
            rnn["x"] = (batch, timesteps, features)
            rnn["initial_state"] = (batch, units)
            return rnn[e.of]
        if e.what == "input":
            return (batch, timesteps, features)
        if e.what in ("states", "preactivation"):
            return (batch, timesteps, units)
        if e.what == "last_state":
            return (batch, units)
        return self._output_shape(claim.layers, claim.x)


def load_all(paths: Iterable[Path | str] = ()) -> Iterator[Claim]:
    """Every claim in the files and folders named; the bundled ones if none is."""
    for name, file in find(list(paths) or [bundled()]):
        yield from load_each(file, name)


def load_what_loads(
    paths: Iterable[Path | str] = (),
) -> tuple[list[Claim], list[ClaimError]]:
    """The same, and what is wrong with each file that cannot be loaded, which stops no other."""
    claims: list[Claim] = []
    refused: list[ClaimError] = []
    for name, file in find(list(paths) or [bundled()]):
        try:
            claims += load_each(file, name)
        except ClaimError as error:
            refused.append(error)
    return claims, refused
