"""What is asserted, on whose word?  Loads and validates claim files.

A claim file is one TOML document: an experiment (layers, weights, input) and what somebody says
its numbers are.  It is data: nothing in it is evaluated.  The classes below are the schema, closed
at every level; `json_schema()` publishes it for editors.  Whatever is wrong with a file is raised
as one `ClaimError` that names the file, the key, what was wrong and what would be right.

Sizes: B batch, T timesteps, F features, H units of the recurrent layer, O units of the Dense layer.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import msgspec
import numpy as np

from rnn_check import reference, rounding
from rnn_check.written import Array, ClaimError, Given, Reader, Reading, nearest

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


class SimpleRNN(_Table, frozen=True, tag_field="kind", tag="SimpleRNN"):
    """Keras's layer of that name.  A key left out is not passed to Keras: its default holds."""

    units: int
    name: str = "simple_rnn"
    activation: str | msgspec.UnsetType = msgspec.UNSET  # "None" passes None
    use_bias: bool | msgspec.UnsetType = msgspec.UNSET
    return_sequences: bool | msgspec.UnsetType = msgspec.UNSET
    return_state: bool | msgspec.UnsetType = msgspec.UNSET
    go_backwards: bool | msgspec.UnsetType = msgspec.UNSET
    unroll: bool | msgspec.UnsetType = msgspec.UNSET
    zero_output_for_mask: bool | msgspec.UnsetType = msgspec.UNSET

    default_activation: ClassVar[str] = "tanh"


class Dense(_Table, frozen=True, tag_field="kind", tag="Dense"):
    """The article's output layer, o = h·V + c."""

    units: int
    name: str = "dense"
    activation: str | msgspec.UnsetType = msgspec.UNSET
    use_bias: bool | msgspec.UnsetType = msgspec.UNSET

    default_activation: ClassVar[str] = "linear"


Layer = SimpleRNN | Dense


class ReadingTable(_Table, frozen=True):
    """How the author's numbers are to be read."""

    weights: Reading = "exact"
    input: Reading = "exact"
    layout: Literal["x·W", "W·x"] = "x·W"
    computed_in: ComputedIn | None = None


class InputTable(_Table, frozen=True):
    x: Numbers = None
    initial_state: Numbers = None
    mask: Numbers = None
    shape: list[int] | None = None  # (timesteps, features), when no numbers are run


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
    "initial_weights",
    "loss_of_predictions",
    "predictions_reachable",
    "trained_weights",
    "updates",
    "ordinary_outcome",
]
ARRAYS = frozenset({"input", "preactivation", "output", "states", "last_state", "gradient"})
SCALARS = frozenset({"loss", "loss_of_predictions"})
COUNTS = frozenset({"parameters", "trainable", "non_trainable"})
SHAPES = frozenset({"output_shape", "input_shape", "weight_shape"})
PROPERTIES = frozenset({"orthogonal", "within_glorot_uniform", "zero"})
HOLDS = PROPERTIES | {"certified", "weights_read_back", "predictions_reachable", "updates"}
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
    layer: Layer | None = None
    layers: list[Layer] | None = None
    reading: ReadingTable = ReadingTable()
    weights: dict[str, Any] | None = None
    input: InputTable | None = None
    loss: LossTable | None = None
    printed: PrintedTable | None = None
    training: TrainingTable | None = None


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
    input_shape: tuple[int, int] | None = None  # (T, F)
    loss: Loss | None = None
    printed: Mapping[str, Given] = field(default_factory=dict)
    training: TrainingTable | None = None

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


_DEFAULTS = {"use_bias": True}


def option(layer: Layer, name: str) -> bool:
    """The value of a boolean option, Keras's default if the claim leaves it out."""
    value = getattr(layer, name, msgspec.UNSET)
    return _DEFAULTS.get(name, False) if value is msgspec.UNSET else bool(value)


def activation_of(layer: Layer) -> str:
    if layer.activation is msgspec.UNSET:
        return layer.default_activation
    return "linear" if layer.activation == "None" else layer.activation


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
    """Load one claim file; ClaimError if anything is wrong with it."""
    file = Path(file)
    try:
        text = file.read_bytes().decode()
    except UnicodeDecodeError as error:
        raise ClaimError(file, "", f"not UTF-8 text (byte {error.start})") from None
    except OSError as error:
        raise ClaimError(file, "", f"cannot be read: {error.strerror}") from None
    return loads(text, file, name if name is not None else _name(file, file))


def loads(text: str, file: Path | str = "claim.toml", name: str | None = None) -> Claim:
    """The claim written in `text`; `file` is where it says it stands (npz files lie beside it)."""
    file = Path(file)
    try:
        document = tomllib.loads(text, parse_float=Decimal)
    except tomllib.TOMLDecodeError as error:
        raise ClaimError(file, "", f"not TOML: {error}") from None
    except (RecursionError, ValueError) as error:
        raise ClaimError(file, "", f"not readable as TOML: {error}") from None
    try:
        written = msgspec.convert(document, ClaimFile)
    except (msgspec.ValidationError, RecursionError, OverflowError) as error:
        raise _explain(str(error), document, file) from None
    return _Builder(Reader(file), written, name if name is not None else file.stem).claim()


_STRUCTS: dict[str, type[msgspec.Struct]] = {
    "": ClaimFile,
    "source": Source,
    "reading": ReadingTable,
    "input": InputTable,
    "loss": LossTable,
    "printed": PrintedTable,
    "training": TrainingTable,
    "expect": ExpectTable,
    "expect.at": At,
}
_KINDS: dict[Any, type[msgspec.Struct]] = {"SimpleRNN": SimpleRNN, "Dense": Dense}
_CHOICES: dict[str, tuple[str, ...]] = {
    "expect.what": What.__args__,  # type: ignore[attr-defined]
    "layer.kind": tuple(_KINDS),
    "layers.kind": tuple(_KINDS),
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
    if plain in ("layer", "layers"):
        return _KINDS.get(node.get("kind")) if isinstance(node, dict) else None
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
        features = input_shape[1] if input_shape else None
        weights = self._weights(layers, features)
        printed = self._printed(layers[0], features)
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
            loss=loss,
            printed=printed,
            training=doc.training,
        )
        if not doc.expect:
            raise self.fail("expect", "the claim expects nothing; add an [[expect]] table")
        expectations = tuple(self._expectation(i, e, partial) for i, e in enumerate(doc.expect))
        return Claim(**{**partial.__dict__, "expectations": expectations})

    def fail(self, key: str, problem: str) -> ClaimError:
        return self.read.fail(key, problem)

    def _runs(self) -> bool:
        needs = ARRAYS | {"loss", "certified", "weights_read_back", "predictions_reachable"}
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
        kinds = [type(layer).__name__ for layer in layers]
        if kinds not in (["SimpleRNN"], ["SimpleRNN", "Dense"]):
            raise self.fail(key, f"expected SimpleRNN, or SimpleRNN then Dense, got {kinds}")
        names = [layer.name for layer in layers]
        if len(set(names)) != len(names):
            raise self.fail(key, f"two layers are called {names[0]!r}")
        for i, layer in enumerate(layers):
            at = f"layers[{i}]" if doc.layers is not None else "layer"
            if layer.units < 1:
                raise self.fail(f"{at}.units", f"expected a positive integer, got {layer.units}")
            if not layer.name.strip():
                raise self.fail(f"{at}.name", "must not be empty")
            try:
                reference.activation(activation_of(layer))
            except ValueError as error:
                raise self.fail(f"{at}.activation", str(error)) from None
        if len(layers) == 2 and option(layers[0], "return_state"):
            raise self.fail(
                "layers[0].return_state", "not with a Dense layer after it; leave it out"
            )
        return layers

    def _input(
        self, layers: tuple[Layer, ...]
    ) -> tuple[Given | None, Given | None, Array | None, tuple[int, int] | None]:
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
        x = self.read.given(table.x, "input.x", reading)
        if len(x.shape) != 3:
            raise self.fail("input.x", f"expected (batch, timesteps, features), got {x.shape}")
        batch, timesteps, features = x.shape
        state = mask = None
        if table.initial_state is not None:
            state = self.read.given(table.initial_state, "input.initial_state", reading)
            self._shaped(state.shape, (batch, layers[0].units), "input.initial_state")
        if table.mask is not None:
            mask = self.read.booleans(table.mask, "input.mask")
            self._shaped(mask.shape, (batch, timesteps), "input.mask")
        return x, state, mask, (timesteps, features)

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
            return {layers[0].name: self._rnn_weights(layers[0], tables, "weights", features)}
        for name in tables:
            if name not in (names := [layer.name for layer in layers]):
                raise self.fail(f"weights.{name}", f"no layer has that name{nearest(name, names)}")
        weights = {}
        for layer in layers:
            key = f"weights.{layer.name}"
            table = tables.get(layer.name)
            if table is None and "predictions_reachable" in {e.what for e in self.doc.expect}:
                continue  # that claim asks whether such weights exist
            if not isinstance(table, dict):
                raise self.fail(key, "expected a table of that layer's weights")
            if isinstance(layer, SimpleRNN):
                weights[layer.name] = self._rnn_weights(layer, table, key, features)
            else:
                weights[layer.name] = self._dense_weights(layer, table, key, layers[0].units)
        return weights

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

    def _rnn_weights(
        self, layer: Layer, table: dict[str, Any], key: str, features: int | None
    ) -> dict[str, Given]:
        units = layer.units
        wanted: dict[str, tuple[int | None, ...]] = {
            "kernel": (features, units),
            "recurrent_kernel": (units, units),
        }
        if option(layer, "use_bias"):
            wanted["bias"] = (units,)
            if "recurrent_bias" in table:
                wanted["recurrent_bias"] = (units,)
        arrays = self._arrays(table, wanted, key)
        if "recurrent_bias" in arrays:
            arrays["bias"] = arrays["bias"].plus(arrays.pop("recurrent_bias"))
        return arrays

    def _dense_weights(
        self, layer: Layer, table: dict[str, Any], key: str, units: int
    ) -> dict[str, Given]:
        wanted: dict[str, tuple[int | None, ...]] = {"kernel": (units, layer.units)}
        if option(layer, "use_bias"):
            wanted["bias"] = (layer.units,)
        return self._arrays(table, wanted, key)

    def _printed(self, rnn: Layer, features: int | None) -> dict[str, Given]:
        if self.doc.printed is None:
            return {}
        table = msgspec.structs.asdict(self.doc.printed)
        arrays = {
            k: self.read.given(v, f"printed.{k}", "rounded")
            for k, v in table.items()
            if v is not None
        }
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
        batch, timesteps, _ = x.shape
        if option(layers[0], "return_sequences"):
            return (batch, timesteps, layers[-1].units)
        return (batch, layers[-1].units)

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
        if e.what in COUNTS:
            if not isinstance(e.value, int) or isinstance(e.value, bool) or e.value < 0:
                raise self.fail(key, f"expected a number of parameters, got {e.value!r}")
            return e.value
        if e.what in SHAPES:
            pattern = r"\((?:None|\d+)(?:, (?:None|\d+))*,?\)"
            if not isinstance(e.value, str) or not re.fullmatch(pattern, e.value):
                raise self.fail(key, f'expected a shape as printed, "(None, 3)", got {e.value!r}')
            return e.value
        if e.what == "output_dtype":
            if e.value not in rounding.ARITHMETICS:
                raise self.fail(key, f'unknown dtype {e.value!r}; e.g. "float32"')
            return e.value
        value = self.read.given(e.value, key)
        self._check_value_shape(e, claim, value, key)
        return value

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
        yield load(file, name)
