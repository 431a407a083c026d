"""Does a document fit the schema, and if not: which key is wrong, and what would be right?"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec.inspect

from rnn_check.claims.expectations.expectation import KINDS, Expectation
from rnn_check.claims.schema import ClaimFile, document
from rnn_check.refusal import ClaimError, closest, meant, nearest
from rnn_check.subjects.asked.named import refusals, refusals_of_wrong


def converted(told: dict[str, Any], file: Path) -> ClaimFile:
    """The document as the schema has it."""
    try:
        written = msgspec.convert(told, document(), builtin_types=(Decimal,))
    except (msgspec.ValidationError, OverflowError) as error:
        raise explained(str(error), told, file, document()) from None
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


def explained(message: str, told: Any, file: Path, schema: type[msgspec.Struct]) -> ClaimError:
    """msgspec's complaint about a document as one that names the key and what would be right.

    A class of the schema may say in `refused`, by key, why it has no such key.
    """
    problem, _, where = message.partition(" - at ")
    path = where.strip("`").removeprefix("$").removeprefix(".").removeprefix("key in ")
    node, kinds = _walk(told, path, schema)
    keys = [kind for kind in kinds if isinstance(kind, msgspec.inspect.StructType)]
    expectation = _expectation(node) if re.fullmatch(r"expect\[\d+\]", path) else None
    if unknown := re.fullmatch(r"Object contains unknown field `(.*)`", problem, re.DOTALL):
        key = unknown[1]
        known = [f.encode_name for kind in _tagged(keys, node) for f in kind.fields]
        known += [kind.tag_field for kind in keys[:1] if kind.tag_field]
        hint = nearest(key, known)
        if key in ("weights", "input", "expect") or not known:
            hint = f"; known: {', '.join(sorted(known))}"
        if expectation is not None and (closest(key, known) is None or key in _OF_OTHERS):
            hint = f"{node['what']} takes no `{key}`; it takes {', '.join(sorted(known))}"
            return ClaimError(file, f"{path}.{key}", hint)
        refused = [reasons for kind in keys if (reasons := getattr(kind.cls, "refused", None))]
        why = next((each[key] for each in refused if key in each), f"unknown key{hint}")
        return ClaimError(file, f"{path}.{key}".lstrip("."), why)
    if missing := re.fullmatch(r"Object missing required field `(.*)`", problem):
        key = f"{path}.{missing[1]}".lstrip(".")
        hint = "; say on whose word the value stands" if missing[1] == "from" else ""
        if missing[1] in _TAG_FIELDS:
            hint = f"; one of {', '.join(_tags(keys))}"
        if expectation is not None and missing[1] == "of":
            values = _literals(_walk(told, key, schema)[1])
            return ClaimError(file, key, f"required: one of {', '.join(values)}")
        return ClaimError(file, key, f"required key is missing{hint}")
    word = path.rpartition(".")[2]
    if path == "schema":
        (reads,) = _literals(kinds)
        return ClaimError(file, path, f"this version reads schema {reads}, the file says {node!r}")
    values = _literals(kinds)
    if word in _TAG_FIELDS and not values:
        values = _tags(_walk(told, path[: -len(f".{word}")], schema)[1])
    if values and isinstance(node, str):
        bare = node.rpartition(".")[2]
        if word == "of" and bare in values:
            return ClaimError(file, path, f"unknown {node!r}{meant(bare)}")
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


def _walk(
    node: Any, path: str, schema: type[msgspec.Struct]
) -> tuple[Any, list[msgspec.inspect.Type]]:
    """What stands at a path of the document, and what may stand there."""
    kinds = _alternatives(_whole(schema))
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
def _whole(kind: type[msgspec.Struct]) -> msgspec.inspect.Type:
    return msgspec.inspect.type_info(kind)


def _alternatives(kind: msgspec.inspect.Type) -> list[msgspec.inspect.Type]:
    if isinstance(kind, msgspec.inspect.Metadata):
        return _alternatives(kind.type)
    if isinstance(kind, msgspec.inspect.UnionType):
        return [each for part in kind.types for each in _alternatives(part)]
    return [kind]
