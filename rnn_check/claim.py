"""What is asserted, on whose word?  Loads and validates claim files.

A claim file is one TOML document: an experiment (layers, weights, input) and what somebody says
its numbers are.  It is data: nothing in it is evaluated.  The classes below are the schema, closed
at every level; `json_schema()` publishes it for editors.  Whatever is wrong with a file is raised
as one `ClaimError` that names the file, the key, what was wrong and what would be right.

Sizes: B batch, T timesteps, F features, H units of the recurrent layer, O units of the Dense layer.
"""

from __future__ import annotations

import copy
import itertools
import json
import math
import re
import tomllib
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import msgspec
import numpy as np

from rnn_check import reference, rounding
from rnn_check.written import Array, ClaimError, Given, Integers, Reader, Reading, nearest

ComputedIn = Literal["exact", "real", "float32", "float64", "hand"]


# --- the schema -----------------------------------------------------------------------------------

_NUMBERS_SCHEMA: dict[str, Any] = {
    "description": "nested lists of numbers (or hex floats as strings), or a recipe",
    "type": ["array", "object", "number", "string", "boolean"],
}
Numbers = Annotated[Any, msgspec.Meta(extra_json_schema=_NUMBERS_SCHEMA)]


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
Constant = dict[str, Any] | str | msgspec.UnsetType  # a regularizer, constraint or initializer


class SimpleRNNCell(_Table, frozen=True, tag_field="kind", tag="SimpleRNNCell"):
    """What SimpleRNN does at one step; RNN takes one or several."""

    units: int
    activation: str | msgspec.UnsetType = msgspec.UNSET  # "None" passes None
    use_bias: Flag = msgspec.UNSET

    default_activation: ClassVar[str] = "tanh"


class CustomCell(_Table, frozen=True, tag_field="kind", tag="CustomCell"):
    """A cell that a user wrote: the recurrence of SimpleRNNCell, with none of Keras's code."""

    units: int
    activation: str | msgspec.UnsetType = msgspec.UNSET
    use_bias: Flag = msgspec.UNSET

    default_activation: ClassVar[str] = "tanh"


Cell = SimpleRNNCell | CustomCell


class _Recurrent(_Table, frozen=True):
    """What SimpleRNN, LSTM and GRU take.  A key left out is not passed to Keras: its default holds.

    activation: Keras's name; "None" passes None, "callable NAME" a Python function that is NAME.
    """

    units: int
    activation: str | msgspec.UnsetType = msgspec.UNSET
    use_bias: Flag = msgspec.UNSET
    return_sequences: Flag = msgspec.UNSET
    return_state: Flag = msgspec.UNSET
    go_backwards: Flag = msgspec.UNSET
    stateful: Flag = msgspec.UNSET
    unroll: Flag = msgspec.UNSET
    zero_output_for_mask: Flag = msgspec.UNSET
    trainable: Flag = msgspec.UNSET
    dropout: Decimal | int | msgspec.UnsetType = msgspec.UNSET
    recurrent_dropout: Decimal | int | msgspec.UnsetType = msgspec.UNSET
    seed: int | msgspec.UnsetType = msgspec.UNSET
    kernel_initializer: Constant = msgspec.UNSET
    recurrent_initializer: Constant = msgspec.UNSET
    bias_initializer: Constant = msgspec.UNSET
    kernel_regularizer: Constant = msgspec.UNSET
    recurrent_regularizer: Constant = msgspec.UNSET
    bias_regularizer: Constant = msgspec.UNSET
    activity_regularizer: Constant = msgspec.UNSET
    kernel_constraint: Constant = msgspec.UNSET
    recurrent_constraint: Constant = msgspec.UNSET
    bias_constraint: Constant = msgspec.UNSET

    default_activation: ClassVar[str] = "tanh"
    gates: ClassVar[int] = 1


class SimpleRNN(_Recurrent, frozen=True, tag_field="kind", tag="SimpleRNN"):
    """Keras's layer of that name."""

    name: str = "simple_rnn"


class LSTM(_Recurrent, frozen=True, tag_field="kind", tag="LSTM"):
    """Keras's layer of that name; its recurrence is not derived here."""

    name: str = "lstm"
    recurrent_activation: str | msgspec.UnsetType = msgspec.UNSET
    unit_forget_bias: Flag = msgspec.UNSET

    gates: ClassVar[int] = 4


class GRU(_Recurrent, frozen=True, tag_field="kind", tag="GRU"):
    """Keras's layer of that name; its recurrence is not derived here."""

    name: str = "gru"
    recurrent_activation: str | msgspec.UnsetType = msgspec.UNSET
    reset_after: Flag = msgspec.UNSET

    gates: ClassVar[int] = 3


class Dense(_Table, frozen=True, tag_field="kind", tag="Dense"):
    """The article's output layer, o = h·V + c."""

    units: int
    name: str = "dense"
    activation: str | msgspec.UnsetType = msgspec.UNSET
    use_bias: Flag = msgspec.UNSET
    trainable: Flag = msgspec.UNSET

    default_activation: ClassVar[str] = "linear"


class RNN(_Table, frozen=True, tag_field="kind", tag="RNN"):
    """Keras's RNN over one cell, or over several stacked ones (StackedRNNCells)."""

    cell: Cell | list[Cell]
    name: str = "rnn"
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
    name: str = "bidirectional"
    merge_mode: Literal["concat", "sum", "mul", "ave"] = "concat"

    @property
    def units(self) -> int:
        return self.layer.units * (2 if self.merge_mode == "concat" else 1)


class TimeDistributed(_Table, frozen=True, tag_field="kind", tag="TimeDistributed"):
    """A Dense layer at each timestep."""

    layer: Dense
    name: str = "time_distributed"

    @property
    def units(self) -> int:
        return self.layer.units


class Masking(_Table, frozen=True, tag_field="kind", tag="Masking"):
    """Masks the timesteps whose features all equal mask_value."""

    name: str = "masking"
    mask_value: Decimal | int = 0


class Embedding(_Table, frozen=True, tag_field="kind", tag="Embedding"):
    """Rows of a table; with mask_zero, index 0 is padding."""

    input_dim: int
    output_dim: int
    name: str = "embedding"
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
    shape: list[int] | None = None  # (timesteps, features), when no numbers are run
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

    optimizer: Literal["Adam"]
    learning_rate: Decimal
    epochs: int


class WrongTable(_Table, frozen=True):
    """Arguments that Keras should refuse, in place of the right ones above."""

    layer: dict[str, Any] = {}
    x_shape: list[int] | None = None
    initial_state_shape: list[int] | None = None
    mask_shape: list[int] | None = None


class At(_Table, frozen=True):
    """Which entries the value speaks of; an axis left out is taken whole."""

    sample: int | list[int] | None = None
    timestep: int | list[int] | None = None
    unit: int | list[int] | None = None
    feature: int | list[int] | None = None
    row: int | list[int] | None = None
    column: int | list[int] | None = None
    epoch: int | None = None


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
REGULARIZERS = ("L1", "L2", "L1L2")  # as {kind = "L2", l2 = 0.5}
CONSTRAINTS = ("NonNeg", "MaxNorm")  # as "NonNeg" or {kind = "MaxNorm", max_value = 2}
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
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "rnn_check claim",
        **msgspec.json.schema(ClaimFile),
    }


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
        names = axes(self.what, self.of, array.ndim)
        for axis, name in reversed(list(enumerate(names))):
            index = getattr(self.at, name)
            if index is not None:
                array = np.take(array, index, axis=axis)
        return array


def axes(what: str, of: str, ndim: int) -> tuple[str, ...]:
    """What the axes of an array are called, in claim files (`at`) and in reports."""
    if what == "gradient" and of not in ("x", "initial_state", "delta"):
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
        """The options of the recurrence, as `reference.forward` and `certify` take them."""
        return {
            "activation": activation_of(self.rnn),
            "mask": self.mask,
            "go_backwards": option(self.rnn, "go_backwards"),
        }


_DEFAULTS = {"use_bias": True, "trainable": True, "reset_after": True}


def _is_plain(layers: Sequence[Layer]) -> bool:
    return [type(layer) for layer in layers] in ([SimpleRNN], [SimpleRNN, Dense])


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
    package = Path(__file__).resolve().parent
    inside = package / "fixtures"
    return inside if inside.is_dir() else package.parent / "fixtures"


def find(paths: Iterable[Path | str]) -> list[tuple[str, Path]]:
    """(claim name, file) of every claim file named or inside a folder named, sorted, each once.

    Raises ClaimError for a path that does not exist, a folder with no claims, a file that is not
    TOML by its name.
    """
    found: dict[Path, str] = {}
    for path in map(Path, paths):
        if path.is_dir():
            files = sorted(path.rglob("*.toml"))
            if not files:
                raise ClaimError(path, "", "the folder holds no claim files (*.toml)")
        elif path.is_file():
            if path.suffix != ".toml":
                raise ClaimError(path, "", "a claim file's name ends in .toml")
            files = [path]
        else:
            raise ClaimError(path, "", "no such file or folder")
        for file in files:
            found.setdefault(file.resolve(), _name(file, path))
    return [(name, file) for file, name in found.items()]


def _name(file: Path, root: Path) -> str:
    resolved = file.resolve()
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
    """The claims of one file: one, or as many as its [vary] has combinations."""
    file = Path(file)
    try:
        text = file.read_bytes().decode()
    except UnicodeDecodeError as error:
        raise ClaimError(file, "", f"not UTF-8 text (byte {error.start})") from None
    except OSError as error:
        raise ClaimError(file, "", f"cannot be read: {error.strerror}") from None
    return loads_each(text, file, name if name is not None else _name(file, file))


def loads(text: str, file: Path | str = "claim.toml", name: str | None = None) -> Claim:
    """The claim written in `text`; `file` is where it says it stands (npz files lie beside it)."""
    return loads_each(text, file, name)[0]


def loads_each(text: str, file: Path | str = "claim.toml", name: str | None = None) -> list[Claim]:
    """The claims written in `text`, as `load_each`."""
    file = Path(file)
    try:
        document = tomllib.loads(text, parse_float=Decimal)
    except tomllib.TOMLDecodeError as error:
        raise ClaimError(file, "", f"not TOML: {error}") from None
    except (RecursionError, ValueError) as error:
        raise ClaimError(file, "", f"not readable as TOML: {error}") from None
    name = name if name is not None else file.stem
    claims = []
    for suffix, varied in _variants(document, file):
        try:
            written = msgspec.convert(varied, ClaimFile)
        except (msgspec.ValidationError, RecursionError, OverflowError) as error:
            raise _explain(str(error), varied, file) from None
        reader = Reader(file, written.reading.integers)
        claims.append(_Builder(reader, written, name + suffix).claim())
    return claims


MOST_VARIANTS = 512


def _variants(document: dict[str, Any], file: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """(suffix of the claim's name, document) for each combination of what [vary] lists.

    A key is the path of another key; its values are a list, or a table that names them. An empty
    table as a value leaves the other key out.
    """
    table = document.get("vary")
    if not isinstance(table, dict):
        yield "", document
        return
    choices: list[list[tuple[str, str, Any]]] = []
    for path, values in table.items():
        key = f'vary."{path}"'
        if isinstance(values, list):
            values = {v if isinstance(v, str) else json.dumps(v, default=str): v for v in values}
        if not isinstance(values, dict) or not values:
            raise ClaimError(file, key, "expected a list of values, or a table that names them")
        choices.append([(path, label, value) for label, value in values.items()])
    if not choices or math.prod(map(len, choices)) > MOST_VARIANTS:
        raise ClaimError(file, "vary", f"expected 1 to {MOST_VARIANTS} combinations")
    for chosen in itertools.product(*choices):
        varied = copy.deepcopy(document)
        for path, _, value in chosen:
            _put(varied, path, copy.deepcopy(value), file)
        names = [[part for part in path.split(".") if not part.isdigit()][-1] for path in table]
        shown = ", ".join(f"{name}={c[1]}" for name, c in zip(names, chosen, strict=True))
        yield f"[{shown}]", varied


def _put(document: dict[str, Any], path: str, value: Any, file: Path) -> None:
    *way, last = path.split(".")
    node: Any = document
    try:
        for part in way:
            node = node[int(part)] if isinstance(node, list) else node.setdefault(part, {})
        if value == {}:
            node.pop(last, None)
        elif isinstance(node, list):
            node[int(last)] = value
        else:
            node[last] = value
    except (ValueError, IndexError, AttributeError, TypeError):
        raise ClaimError(file, f'vary."{path}"', "there is no such place in the file") from None


_STRUCTS: dict[str, type[msgspec.Struct]] = {
    "": ClaimFile,
    "source": Source,
    "reading": ReadingTable,
    "input": InputTable,
    "loss": LossTable,
    "printed": PrintedTable,
    "training": TrainingTable,
    "wrong": WrongTable,
    "expect": ExpectTable,
    "expect.at": At,
}
_KINDS: dict[Any, type[msgspec.Struct]] = {
    kind.__name__: kind for kind in (*typing.get_args(Layer), *typing.get_args(Cell))
}
_LAYERS = tuple(kind.__name__ for kind in typing.get_args(Layer))
_CHOICES: dict[str, tuple[str, ...]] = {
    "expect.what": typing.get_args(What),
    "layer.kind": _LAYERS,
    "layers.kind": _LAYERS,
}


def _explain(message: str, document: Any, file: Path) -> ClaimError:
    """msgspec's complaint as one that names the key and what would be right."""
    problem, _, where = message.partition(" - at ")
    path = where.strip("`").removeprefix("$").removeprefix(".")
    plain = re.sub(r"\[[^\]]*\]", "", path)
    node = _walk(document, path)
    keys = ""
    if unknown := re.fullmatch(r"Object contains unknown field `(.*)`", problem):
        key = unknown[1]
        struct = _struct(plain, node)
        known = struct.__struct_encode_fields__ if struct else ()
        return ClaimError(file, f"{path}.{key}".lstrip("."), f"unknown key{nearest(key, known)}")
    if missing := re.fullmatch(r"Object missing required field `(.*)`", problem):
        key = f"{path}.{missing[1]}".lstrip(".")
        hint = "; say on whose word the value stands" if missing[1] == "from" else ""
        return ClaimError(file, key, f"required key is missing{hint}")
    if plain in _CHOICES and isinstance(node, str):
        keys = nearest(node, _CHOICES[plain])
        return ClaimError(file, path, f"unknown {plain.rpartition('.')[2]} {node!r}{keys}")
    if path == "schema":
        return ClaimError(file, path, f"this version reads schema 1, the file says {node!r}")
    return ClaimError(file, path, problem[:1].lower() + problem[1:].replace("`", ""))


def _walk(node: Any, path: str) -> Any:
    for key, index in re.findall(r"([^.\[\]]+)|\[(\d+)\]", path):
        try:
            node = node[int(index)] if index else node[key]
        except (KeyError, IndexError, TypeError):
            return None
    return node


def _struct(plain: str, node: Any) -> type[msgspec.Struct] | None:
    if isinstance(node, dict) and node.get("kind") in _KINDS:
        return _KINDS[node["kind"]]
    return _STRUCTS.get(plain)


@dataclass
class _Builder:
    """From the document as written to a Claim: what one table alone cannot know."""

    read: Reader
    doc: ClaimFile
    name: str

    def claim(self) -> Claim:
        doc = self.doc
        self._texts()
        self._training()
        layers = self._layers()
        x, initial_state, mask, input_shape = self._input(layers)
        features = input_shape[-1] if input_shape else None
        weights = self._weights(layers, features)
        printed = self._printed(layers[0], features)
        self._wrong()
        if weights is None and x is not None and self._runs():
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

    def _runs(self) -> bool:
        needs = ARRAYS | {"loss", "certified", "weights_read_back", "predictions_reachable"}
        needs |= BEHAVIOURS.keys() - {"dropout"}
        return any(e.what in needs and not e.not_run for e in self.doc.expect)

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
        if not (training.learning_rate.is_finite() and training.learning_rate > 0):
            raise self.fail("training.learning_rate", "expected a positive number")
        if training.epochs < 1:
            raise self.fail("training.epochs", "expected a positive integer")

    def _layers(self) -> tuple[Layer, ...]:
        doc = self.doc
        if (doc.layer is None) == (doc.layers is None):
            raise self.fail("layer", "give either one [layer] or several [[layers]]")
        layers: tuple[Any, ...] = tuple(doc.layers) if doc.layers is not None else (doc.layer,)
        key = "layers" if doc.layers is not None else "layer"
        if not any(isinstance(layer, RECURRENT) for layer in layers):
            raise self.fail(key, "none of the layers is recurrent")
        names = [layer.name for layer in layers]
        if len(set(names)) != len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise self.fail(key, f"two layers are called {twice!r}")
        for i, layer in enumerate(layers):
            at = f"layers[{i}]" if doc.layers is not None else "layer"
            if not layer.name.strip():
                raise self.fail(f"{at}.name", "must not be empty")
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
        if isinstance(layer, Masking):
            return
        if isinstance(layer, Embedding):
            for size in ("input_dim", "output_dim"):
                if getattr(layer, size) < 1:
                    raise self.fail(f"{at}.{size}", "expected a positive integer")
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
            if part.units < 1:
                raise self.fail(f"{at}.units", f"expected a positive integer, got {part.units}")
            functions = {"activation": activation_of(part)}
            gate = getattr(part, "recurrent_activation", msgspec.UNSET)
            if gate is not msgspec.UNSET:
                functions["recurrent_activation"] = gate
            for key, name in functions.items():
                try:
                    reference.activation(name)
                except ValueError as error:
                    raise self.fail(f"{at}.{key}", str(error)) from None
        layer = layer.layer if isinstance(layer, Bidirectional) else layer
        if isinstance(layer, _Recurrent):
            for kind, known in (("regularizer", REGULARIZERS), ("constraint", CONSTRAINTS)):
                for name in ("kernel", "recurrent", "bias", "activity"):
                    given = getattr(layer, f"{name}_{kind}", msgspec.UNSET)
                    named = given.get("kind") if isinstance(given, dict) else given
                    if given is not msgspec.UNSET and named not in known:
                        key = f"{at}.{name}_{kind}"
                        raise self.fail(key, f"unknown {named!r}{nearest(str(named), known)}")
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
        for name in ("x_shape", "initial_state_shape", "mask_shape"):
            if any(size < 0 for size in getattr(wrong, name) or ()):
                raise self.fail(f"wrong.{name}", "expected sizes, 0 or more")

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
            if len(table.shape) != 2 or min(table.shape) < 1:
                raise self.fail("input.shape", "expected [timesteps, features], both positive")
            for key in ("initial_state", "mask"):
                if getattr(table, key) is not None:
                    raise self.fail(f"input.{key}", "needs x, not only a shape")
            return None, None, None, (table.shape[0], table.shape[1])
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
        for name in tables:
            if name not in (names := [layer.name for layer in layers]):
                raise self.fail(f"weights.{name}", f"no layer has that name{nearest(name, names)}")
        weights = {}
        for layer in layers:
            key = f"weights.{layer.name}"
            table = tables.get(layer.name)
            reachable = "predictions_reachable" in {e.what for e in self.doc.expect}
            if table is None and (reachable or isinstance(layer, Masking)):
                continue  # that claim asks whether such weights exist
            if not isinstance(table, dict):
                raise self.fail(key, "expected a table of that layer's weights")
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
        if "recurrent_bias" in flat and "bias" in wanted and "recurrent_kernel" in wanted:
            wanted["recurrent_bias"] = wanted["bias"]
        arrays = self._arrays(flat, wanted, key)
        if "recurrent_bias" in arrays:
            arrays["bias"] = arrays["bias"].plus(arrays.pop("recurrent_bias"))
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
            if self.doc.reading.layout == "W·x" and len(array.shape) == 2:
                array = array.transposed()
            got = array.shape
            if len(got) != len(shape) or any(
                w not in (None, g) for g, w in zip(got, shape, strict=False)
            ):
                layout = " (after W·x is turned into x·W)" * (self.doc.reading.layout == "W·x")
                sizes = tuple("features" if w is None else w for w in shape)
                raise self.fail(f"{key}.{k}", f"expected shape {sizes}, got {got}{layout}")
            arrays[k] = array
        return arrays

    def _printed(self, rnn: Layer, features: int | None) -> dict[str, Given]:
        if self.doc.printed is None:
            return {}
        table = msgspec.structs.asdict(self.doc.printed)
        arrays = {
            k: self.read.given(v, f"printed.{k}", "rounded")
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
        if claim.is_stack and e.what not in OF_STACKS:
            raise self.fail(f"{key}.what", f"{e.what} is of a SimpleRNN, or of SimpleRNN and Dense")
        gated = next((layer for layer in claim.layers if isinstance(layer, LSTM | GRU)), None)
        if gated is not None and e.what not in OF_LSTM_AND_GRU:
            kind = type(gated).__name__
            raise self.fail(f"{key}.what", f"the recurrence of {kind} is not derived here")
        self._of(e, claim, key)
        self._needs(e, claim, key)
        if e.known_to_differ and e.not_run:
            raise self.fail(f"{key}.not_run", "not together with known_to_differ")
        if e.what in ONLY_STATED and not e.not_run:
            raise self.fail(f"{key}.not_run", f"{e.what} cannot be reproduced yet; say why")
        computed_in = e.computed_in or self.doc.reading.computed_in
        numeric = e.what in ARRAYS | SCALARS | {"initial_weights", "trained_weights"}
        if numeric and not e.not_run and computed_in is None:
            raise self.fail(
                f"{key}.computed_in",
                "required: in what arithmetic was the value computed "
                "(exact, real, float32, float64 or hand)?",
            )
        if e.on == "printed" and e.what not in PROPERTIES:
            raise self.fail(f"{key}.on", f"{e.what} is not a property of printed weights")
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
            not_run=e.not_run,
        )

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
            raise self.fail(f"{key}.of", f"unknown {e.of!r}{nearest(e.of, filter(None, allowed))}")

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
            pattern = r"\((?:None|\d+)(?:, (?:None|\d+))*,?\)"
            if not isinstance(e.value, str) or not re.fullmatch(pattern, e.value):
                raise self.fail(key, f'expected a shape as printed, "(None, 3)", got {e.value!r}')
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
            if e.value not in rounding.ARITHMETICS:
                raise self.fail(key, f'unknown dtype {e.value!r}; e.g. "float32"')
            return e.value
        value = self.read.given(e.value, key, finite=False)  # inf and nan are claimed, and differ
        self._check_value_shape(e, claim, value, key)
        return value

    def _configured(self, value: Any, key: str) -> Any:
        """True, a number, a word ("None" is None), or a table: {kind = "Orthogonal", gain = 1}."""
        if isinstance(value, dict) and isinstance(value.get("kind"), str):
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
        assert claim.x is not None
        mask = self.read.booleans(e.value, key)
        self._shaped(mask.shape, claim.x.shape[:2], key)
        return mask

    def _check_value_shape(self, e: ExpectTable, claim: Claim, value: Given, key: str) -> None:
        shape = self._shape_of(e, claim)
        if shape is None:
            return
        whole = Expectation(e.what, e.of, None, "", e.at, "", "", "", "")
        names = axes(e.what, e.of, len(shape))
        for name, index in msgspec.structs.asdict(e.at).items():
            if index is not None and name not in (*names, "epoch"):
                raise self.fail(
                    f"{key.removesuffix('.value')}.at.{name}",
                    f"{whole.name} has no such axis, only {', '.join(names)}",
                )
        try:
            wanted = whole.select(np.empty(shape, bool)).shape
        except IndexError as error:
            raise self.fail(f"{key.removesuffix('.value')}.at", str(error)) from None
        self._shaped(value.shape, wanted, key)

    def _shape_of(self, e: ExpectTable, claim: Claim) -> tuple[int, ...] | None:
        """The whole array's shape; None where the claim does not fix it."""
        if e.what in SCALARS or (e.what, e.of) == ("ordinary_outcome", "loss"):
            return ()
        if claim.is_stack:
            return None if claim.x is None else self._output_shape(claim.layers, claim.x)
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
