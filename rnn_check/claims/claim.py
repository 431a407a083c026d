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
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, Union

import msgspec.inspect
import numpy as np

from rnn_check.claims import expectations as _all_kinds  # noqa: F401  (registers them)
from rnn_check.claims import gates, truth
from rnn_check.claims.expectations.expectation import KINDS, WEIGHTS, Expectation
from rnn_check.claims.expectations.expectation import Reading as ReadBeside
from rnn_check.claims.experiment import Experiment, Loss
from rnn_check.claims.layers import (
    RNN,
    AnyLayer,
    Bidirectional,
    Carrying,
    Dense,
    Embedding,
    Gated,
    Layer,
    Masking,
    SimpleRNN,
    TimeDistributed,
)
from rnn_check.claims.layers.recurrent import Recurrence, Recurrent
from rnn_check.claims.optimizers import AnyTraining
from rnn_check.claims.tables import (
    MOST_WEIGHTS,
    SCALAR_SCHEMA,
    InputTable,
    LossTable,
    PrintedTable,
    ReadingTable,
    Source,
    Table,
    WrongTable,
)
from rnn_check.claims.written import Array, Given, Reader, regular_bytes
from rnn_check.numbers import activations
from rnn_check.refusal import ClaimError, nearest
from rnn_check.subjects.asked.named import KINDS as FAMILIES
from rnn_check.subjects.asked.named import refusals, refusals_of_wrong

# what a file may hold, and what its layers may take (docs/claims.md)
MOST_BYTES = 2**18
MOST_DEPTH = 16  # of lists and tables in each other; of the parts of a dotted key
MOST_VALUES = 50_000  # counted anew in each claim that [vary] makes
MOST_VARIANTS = 512
MOST_KEY, MOST_DIGITS = 100, 1000  # characters of a key or of the label of a variant; of a number
MOST_STEPS, MOST_UNROLLED = 10_000, 1_000  # timesteps
MOST_LAYERS = 64  # cells included
MOST_STATES = (
    4_000_000  # B·T·units (of each gate) of all layers, anew for each [[expect]] and claim
)
MOST_UPDATED = 5_000_000  # weights times updates
MOST_TRAINED = 50_000_000  # B·T·units times epochs


# --- the schema -----------------------------------------------------------------------------------


class ClaimFile(Table, frozen=True, kw_only=True):
    """The document as written."""

    schema: Literal[1]
    title: str
    source: Source
    expect: list[Any]  # of the union of all kinds: see `document`
    catches: list[str] = msgspec.field(default_factory=list)
    notes: str = ""
    slow: bool = False
    covers: list[str] = msgspec.field(default_factory=list)
    vary: dict[str, list[Any] | dict[str, Any]] | None = None
    layer: AnyLayer | None = None
    layers: list[AnyLayer] | None = None
    reading: ReadingTable = ReadingTable()
    weights: dict[str, Any] | None = None
    input: InputTable | None = None
    loss: LossTable | None = None
    printed: PrintedTable | None = None
    training: AnyTraining | None = None
    wrong: WrongTable | None = None


def document() -> type[ClaimFile]:
    """The same with every kind of expectation that there is."""
    return _document(tuple(KINDS.values()))


@functools.cache
def _document(kinds: tuple[type[Expectation], ...]) -> type[ClaimFile]:
    every: Any = Union[kinds]  # noqa: UP007  (of what is there, not of what is written)
    made = msgspec.defstruct(
        "ClaimFile", [("expect", list[every])], bases=(ClaimFile,), frozen=True, kw_only=True,
        module=__name__,
    )  # fmt: skip
    made.__doc__ = ClaimFile.__doc__
    assert issubclass(made, ClaimFile)
    return made


def json_schema() -> dict[str, Any]:
    """The claim format as a JSON Schema (draft 2020-12), for editors."""
    schema: dict[str, Any] = _as_numbers(msgspec.json.schema(document()))
    schema["$defs"] |= {family: _family_schema(family) for family in FAMILIES}
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
            "properties": {"kind": {"const": kind}, **dict.fromkeys(arguments, SCALAR_SCHEMA)},
            "required": ["kind"],
            "additionalProperties": False,
        }
        for kind, arguments in FAMILIES[family].items()
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


@dataclass(frozen=True, kw_only=True)
class Claim(Experiment):
    """An experiment and what is said of it; everything validated, arrays in Keras's layout."""

    name: str
    file: Path
    title: str
    source: Source
    expectations: tuple[Expectation, ...]
    catches: tuple[str, ...] = ()
    notes: str = ""
    slow: bool = False
    covers: tuple[str, ...] = ()

    def rounded_by_hand(self) -> dict[str, Array]:
        """Half a unit of the last digit that the claim prints of what is carried on.

        Of states, pre-activations and outputs, 0 where none is printed; the finest, where several
        are. Somebody who computes by hand goes on with the number on the paper.
        """
        if self.x is None:
            return {}
        steps = (*self.x.shape[:2], self.rnn.units) if not self.is_stack else ()
        shapes = {name: steps for name in ("preactivation", "states") if steps}
        shapes["output"] = self.output_shape
        finest = {name: np.full(shape, np.inf) for name, shape in shapes.items()}
        for e in self.expectations:
            if e.what not in ("preactivation", "output", "states", "last_state") or (
                e.computed_in != "hand" or not isinstance(e.value, Given)
            ):
                continue
            name, last = e.what, e.what == "last_state"
            if e.what == "output" and not self.is_stack and self.dense is None:
                name, last = "states", not self.rnn.option("return_sequences")
            if (name := "states" if last else name) not in finest:
                continue  # of gates nothing is rounded by hand
            whole = finest[name]
            part = whole[:, -1] if last else whole  # a view
            at = e.select(np.arange(part.size).reshape(part.shape))
            part[np.unravel_index(at, part.shape)] = np.minimum(e.select(part), e.value.half_unit)
        rounded = {n: np.where(np.isfinite(part), part, 0.0) for n, part in finest.items()}
        zero = None if self.is_stack else truth.shown_as_zero(self)
        if zero is not None:  # what is shown there is no state
            rounded["states"] = np.where(zero, 0.0, rounded["states"])
        return rounded


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


def _written(told: dict[str, Any], file: Path) -> ClaimFile:
    """The document as the schema has it."""
    try:
        written = msgspec.convert(told, document(), builtin_types=(Decimal,))
    except (msgspec.ValidationError, OverflowError) as error:
        raise _explain(str(error), told, file) from None
    several = written.layers is not None
    described = [told["layer"]] if "layer" in told else told.get("layers", [])
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
    expectation = _expectation(node) if re.fullmatch(r"expect\[\d+\]", path) else None
    if unknown := re.fullmatch(r"Object contains unknown field `(.*)`", problem, re.DOTALL):
        key = unknown[1]
        known = [f.encode_name for kind in _tagged(keys, node) for f in kind.fields]
        known += [kind.tag_field for kind in keys[:1] if kind.tag_field]
        hint = nearest(key, known)
        if key in ("weights", "input", "expect") or not known:
            hint = f"; known: {', '.join(sorted(known))}"
        if expectation is not None and ("did you mean" not in hint or key in _OF_OTHERS):
            hint = f"{node['what']} takes no `{key}`; it takes {', '.join(sorted(known))}"
            return ClaimError(file, f"{path}.{key}", hint)
        return ClaimError(file, f"{path}.{key}".lstrip("."), f"unknown key{hint}")
    if missing := re.fullmatch(r"Object missing required field `(.*)`", problem):
        key = f"{path}.{missing[1]}".lstrip(".")
        hint = "; say on whose word the value stands" if missing[1] == "from" else ""
        if missing[1] in _TAG_FIELDS:
            hint = f"; one of {', '.join(_tags(keys))}"
        if expectation is not None and missing[1] == "of":
            values = _literals(_walk(document, key)[1])
            return ClaimError(file, key, f"required: one of {', '.join(values)}")
        return ClaimError(file, key, f"required key is missing{hint}")
    word = path.rpartition(".")[2]
    if path == "schema":
        return ClaimError(file, path, f"this version reads schema 1, the file says {node!r}")
    values = _literals(kinds)
    if word in _TAG_FIELDS and not values:
        values = _tags(_walk(document, path[: -len(f".{word}")])[1])
    if values and isinstance(node, str):
        bare = node.rpartition(".")[2]
        if word == "of" and bare in values:
            return ClaimError(file, path, f"unknown {node!r}; did you mean `{bare}`?")
        if word == "of":
            word = ""
        return ClaimError(
            file, path, f"unknown {word} {node!r}".replace("  ", " ") + nearest(node, values)
        )
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


_TAG_FIELDS = ("kind", "what", "optimizer")  # which of several tables it is

# keys that some kind of expectation takes
_OF_OTHERS = {"of", "at", "on", "computed_in", "value"}


def _expectation(node: Any) -> type[Expectation] | None:
    """The kind that an [[expect]] table says it is."""
    return KINDS.get(str(node.get("what"))) if isinstance(node, dict) else None


def _tagged(
    kinds: Iterable[msgspec.inspect.StructType], node: Any
) -> list[msgspec.inspect.StructType]:
    """Those of the kinds that the table `node` says it is; all if it does not say."""
    told = node if isinstance(node, dict) else {}
    kinds = list(kinds)
    return [k for k in kinds if k.tag_field is None or k.tag == told.get(k.tag_field)] or kinds


def _literals(kinds: Iterable[msgspec.inspect.Type]) -> list[str]:
    """The words that may stand there."""
    words = [k for k in kinds if isinstance(k, msgspec.inspect.LiteralType)]
    return [str(value) for word in words for value in word.values if value]


def _tags(kinds: Iterable[msgspec.inspect.Type]) -> list[str]:
    return [str(k.tag) for k in kinds if isinstance(k, msgspec.inspect.StructType) and k.tag_field]


def _walk(node: Any, path: str) -> tuple[Any, list[msgspec.inspect.Type]]:
    """What stands at a path of the document, and what may stand there."""
    kinds = _alternatives(_whole(document()))
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
def _whole(kind: type[ClaimFile]) -> msgspec.inspect.Type:
    return msgspec.inspect.type_info(kind)


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
        self._gates(layers)
        weights = self._weights(layers, features)
        printed = self._printed(layers[0], features)
        self._sizes(layers, x, input_shape)
        self._wrong()
        runs = any(
            WEIGHTS in e.needs and not e.not_run and not e.underived(Experiment(layers=layers))
            for e in doc.expect
        )
        if weights is None and x is not None and runs:
            raise self.fail("weights", "required: the claim gives an input to run but no weights")
        loss = self._loss(layers, x)
        run = Experiment(
            layers=layers,
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
            gates=doc.reading,
        )
        if not doc.expect:
            raise self.fail("expect", "the claim expects nothing; add an [[expect]] table")
        reading = ReadBeside(self.read, run, doc.reading.layout, doc.reading.computed_in, "")
        told: dict[str, dict[str, Any]] = {}
        for e in doc.expect:
            if told.setdefault(e.what, e.tells()) != e.tells():
                raise self.fail("expect", f"one {e.what} a claim; [vary] makes several claims")
        return Claim(
            **{f.name: getattr(run, f.name) for f in dataclasses.fields(run)},
            name=self.name,
            file=self.read.file,
            title=doc.title,
            source=doc.source,
            expectations=tuple(
                e.read_in(dataclasses.replace(reading, key=f"expect[{i}]"))
                for i, e in enumerate(doc.expect)
            ),
            catches=tuple(doc.catches),
            notes=doc.notes,
            slow=doc.slow,
            covers=tuple(doc.covers),
        )

    def fail(self, key: str, problem: str) -> ClaimError:
        return self.read.fail(key, problem)

    def _texts(self) -> None:
        texts = [("title", self.doc.title), ("source.document", self.doc.source.document)]
        texts += [(f"expect[{i}].from", e.from_) for i, e in enumerate(self.doc.expect)]
        for key, text in texts:
            if not text.strip():
                raise self.fail(key, "must not be empty")

    def _training(self) -> None:
        for key, problem in self.doc.training.problems() if self.doc.training else ():
            raise self.fail(f"training.{key}", problem)

    def _layers(self) -> tuple[AnyLayer, ...]:
        doc = self.doc
        if (doc.layer is None) == (doc.layers is None):
            raise self.fail("layer", "give either one [layer] or several [[layers]]")
        layers: tuple[Any, ...] = tuple(doc.layers) if doc.layers is not None else (doc.layer,)
        key = "layers" if doc.layers is not None else "layer"
        if not any(layer.is_recurrent for layer in layers):
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
            if (layer.is_recurrent or isinstance(layer, TimeDistributed)) and any(
                not before.returns_sequences for before in layers[:i]
            ):
                raise self.fail(f"{at}.kind", f"{layer.name} needs a sequence before it")
        if any(layer.returns_state for layer in layers[:-1]):
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
            if layer.layer.option("go_backwards"):
                raise self.fail(f"{at}.go_backwards", "not inside Bidirectional; leave it out")
        for _, part, _ in layer.parts(1):
            functions = {"activation": part.function}
            if isinstance(part, Gated):
                functions["recurrent_activation"] = part.gate_function
            for key, name in functions.items():
                try:
                    activations.activation(name)
                except ValueError as error:
                    raise self.fail(f"{at}.{key}", str(error)) from None
        layer = layer.layer if isinstance(layer, Bidirectional) else layer
        if isinstance(layer, Recurrent):
            for name in ("dropout", "recurrent_dropout"):
                rate = getattr(layer, name)
                if rate is not msgspec.UNSET and not 0 <= rate < 1:
                    raise self.fail(
                        f"{at}.{name}", f"expected a rate from 0 to less than 1, got {rate}"
                    )

    def _gates(self, layers: tuple[AnyLayer, ...]) -> None:
        """What the author says of gates is said of some that there are."""
        functions: dict[gates.Kind, set[str]] = {}
        for layer in layers:
            for _, part in layer.recurrences if isinstance(layer, Carrying) else ():
                own = functions.setdefault(part.family, set())
                if isinstance(part, Gated):
                    own.add(part.gate_function)
        gates.check(self.doc.reading, functions, self.fail)

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
        self, layers: tuple[AnyLayer, ...], x: Given | None, input_shape: tuple[int, ...] | None
    ) -> None:
        """Refuse what would take a subject, or the judge, gigabytes or hours."""
        batch = x.shape[0] if x is not None else 1
        steps, features = (input_shape[0], input_shape[-1]) if input_shape else (1, 1)
        weights = width = 0
        for layer in layers:
            weights += sum(math.prod(shape) for shape in layer.weight_shapes(features).values())
            width += layer.width
            features = layer.features_after(features)
        unrolled = any(layer.inner.option("unroll") for layer in layers)
        states = batch * steps * width
        self.states[0] += states * len(self.doc.expect)
        training = self.doc.training
        updates, epochs = (training.updates(batch), training.epochs) if training else (0, 0)
        key = "layer" if self.doc.layer is not None else "layers"
        for where, got, most, what in (
            ("input", steps, MOST_UNROLLED if unrolled else MOST_STEPS,
             "unrolled timesteps" if unrolled else "timesteps"),
            (key, weights, MOST_WEIGHTS, "weights in all layers together"),
            (key, self.states[0], MOST_STATES,
             "numbers that come out of the layers, for all [[expect]] and [vary] together,"),
            ("training.epochs", updates * weights, MOST_UPDATED, "weights times updates"),
            ("training.epochs", epochs * states, MOST_TRAINED, "numbers in all epochs together"),
        ):  # fmt: skip
            if got > most:
                raise self.fail(where, f"{got:,} {what} are too many; at most {most:,}")

    def _input(
        self, layers: tuple[AnyLayer, ...]
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
            state = self._states(table.initial_state)
            first = next(layer for layer in layers if not isinstance(layer, Masking))
            if not isinstance(first, Carrying) or (isinstance(first, RNN) and len(first.cells) > 1):
                raise self.fail(
                    "input.initial_state",
                    "only of a SimpleRNN, LSTM, GRU, a Bidirectional layer, or an RNN over one "
                    "cell that is the first layer, or comes after Masking",
                )
            several = len(first.state_sizes)
            shape = (*([several] if several > 1 else []), batch, first.state_sizes[0])
            self._shaped(state.shape, shape, "input.initial_state")
        if table.mask is not None:
            if isinstance(layers[0], Masking | Embedding):
                raise self.fail("input.mask", f"{layers[0].name} makes the mask; leave it out")
            mask = self.read.booleans(table.mask, "input.mask")
            self._shaped(mask.shape, (batch, timesteps), "input.mask")
        return x, state, mask, x.shape[1:]

    def _states(self, node: Any) -> Given:
        """An array, or a list of one for each state, which may be recipes."""
        key, reading = "input.initial_state", self.doc.reading.input
        if not (isinstance(node, list) and any(isinstance(each, dict) for each in node)):
            return self.read.given(node, key, reading)
        each = [self.read.given(part, f"{key}[{i}]", reading) for i, part in enumerate(node)]
        for i, state in enumerate(each):
            self._shaped(state.shape, each[0].shape, f"{key}[{i}]")
        return gates.stacked(each)

    def _shaped(self, got: tuple[int, ...], wanted: tuple[int, ...], key: str) -> None:
        if got != wanted:
            raise self.fail(key, f"expected shape {wanted}, got {got}")

    def _weights(
        self, layers: tuple[AnyLayer, ...], features: int | None
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
            if features is not None:
                features = layer.features_after(features)
        return weights

    def _layer_weights(
        self, layer: Layer, table: dict[str, Any], key: str, features: int | None
    ) -> dict[str, Given]:
        joined = self.doc.reading.joined is not None
        parts = layer.parts(-1 if features is None else features)
        if isinstance(layer, Carrying) and (
            joined or any(isinstance(p, Gated) for _, p, _ in parts)
        ):
            return self._of_gates(layer, table, key, features)
        shapes = layer.weight_shapes(-1 if features is None else features)
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

    def _of_gates(
        self, layer: Carrying, table: dict[str, Any], key: str, features: int | None
    ) -> dict[str, Given]:
        """Of each of its parts, whose author may have written the gates in other ways."""
        parts = layer.parts(-1 if features is None else features)
        names = [prefix.removesuffix(".") for prefix, _, _ in parts]
        arrays: dict[str, Given] = {}
        for name in table if names != [""] else ():
            if name not in names:
                raise self.fail(f"{key}.{name}", f"unknown key{nearest(name, names)}")
        for name, (prefix, part, fan_in) in zip(names, parts, strict=True):
            assert isinstance(part, Recurrence)
            own, at = (table.get(name), f"{key}.{name}") if name else (table, key)
            if not isinstance(own, dict):
                raise self.fail(at, f"expected a table of its {', '.join(gates.PARTS[:3])}")
            given = gates.given(own, self.read, part.family, self.doc.reading.weights, at)
            found = gates.weights(
                given, self.doc.reading, part.family, part.units, None if fan_in < 0 else fan_in,
                fail=self.fail, key=at, use_bias=part.option("use_bias"),
                reset_after=part.option("reset_after"),
            )  # fmt: skip
            arrays |= {prefix + part_of: array for part_of, array in found.items()}
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

    def _loss(self, layers: tuple[AnyLayer, ...], x: Given | None) -> Loss | None:
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
            self._shaped(value.shape, Experiment(layers=layers, x=x).output_shape, f"loss.{name}")
        return Loss(table.kind, value)


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
