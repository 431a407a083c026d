"""Which tables may a claim file hold?  The document as written, and its JSON Schema.

The schema is closed at every level: an unknown key is refused.
"""

from __future__ import annotations

import functools
from typing import Any, Literal, Union

import msgspec

from rnn_check.claims import expectations as _all_kinds  # noqa: F401  (registers them)
from rnn_check.claims.document import MOST_KEY
from rnn_check.claims.expectations.expectation import KINDS, Expectation
from rnn_check.claims.layers import AnyLayer
from rnn_check.claims.optimizers import AnyTraining
from rnn_check.claims.several import MOST_EXPERIMENTS, OWN
from rnn_check.claims.tables import (
    SCALAR_SCHEMA,
    InputTable,
    LossTable,
    PrintedTable,
    ReadingTable,
    Source,
    Table,
    WrongTable,
)
from rnn_check.subjects.asked.named import KINDS as FAMILIES


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
    return _document(tuple(kind for _, kind in sorted(KINDS.items())))


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
    _add_experiments(schema["$defs"])
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "rnn_check claim",
        **schema,
    }


def _add_experiments(defs: dict[str, Any]) -> None:
    """[[experiment]], whose keys are the file's own, and which may have all the expectations."""
    whole = defs["ClaimFile"]
    defs["Experiment"] = {
        "title": "Experiment",
        "description": "One experiment of several in a file.",
        "type": "object",
        "properties": {
            "name": {"type": "string", "minLength": 1, "maxLength": MOST_KEY},
            **{key: whole["properties"][key] for key in OWN},
        },
        "required": ["name"],
        "additionalProperties": False,
    }
    whole["properties"]["experiment"] = {
        "type": "array",
        "items": {"$ref": "#/$defs/Experiment"},
        "minItems": 1,
        "maxItems": MOST_EXPERIMENTS,
    }
    whole["required"] = [key for key in whole["required"] if key not in ("expect", "title")]
    whole["anyOf"] = [{"required": ["title", "expect"]}, {"required": ["experiment"]}]


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
