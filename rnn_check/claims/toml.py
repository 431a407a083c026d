"""How is a claim written down, so that it is read again bit for bit?"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
import numpy as np

from rnn_check.claims.written import Array


def written(array: Array) -> str:
    """Numbers as a claim holds them, every bit: integers, or hex floats as strings; rows apart."""
    if array.ndim == 0:
        return _number(array.item())
    if array.ndim == 1:
        return f"[{', '.join(map(_number, array.tolist()))}]"
    rows = (written(part).replace("\n", "\n    ") for part in array)
    return "[\n    " + ",\n    ".join(rows) + ",\n]"


def _number(value: float) -> str:
    if value == int(value) and not (value == 0 and np.signbit(value)):
        return str(int(value))
    mantissa, _, exponent = float(value).hex().partition("p")
    return f'"{re.sub(r"0+$", "", mantissa).removesuffix(".")}p{exponent}"'


def text(words: str) -> str:
    """A TOML string."""
    return msgspec.json.encode(words).decode()


def value(given: Any) -> str:
    """What stands after a key; tables inline. TOML has no None: a claim has the word for it."""
    if given is None:
        return text("None")
    if isinstance(given, np.ndarray):
        if given.dtype == bool:
            return value(given.tolist())
        return written(given)
    if isinstance(given, Mapping):
        return "{ " + ", ".join(f"{k} = {value(v)}" for k, v in given.items()) + " }"
    if isinstance(given, list):
        return f"[{', '.join(map(value, given))}]"
    return text(given) if not isinstance(given, float) else repr(given)


def document(tables: Mapping[str, Any]) -> str:
    """A whole claim file: words and numbers, then tables, of which a list is one after another."""
    plain = {name: each for name, each in tables.items() if not _is_table(each)}
    lines = [f"{name} = {value(each)}" for name, each in plain.items()]
    for name, each in tables.items():
        if name not in plain:
            for table in each if isinstance(each, list) else [each]:
                lines += _table(name, table, "[[{}]]" if isinstance(each, list) else "[{}]")
    return "\n".join(lines) + "\n"


def _table(name: str, table: Mapping[str, Any], heading: str) -> Iterator[str]:
    nested = {key: each for key, each in table.items() if name == "weights"}
    yield from ("", heading.format(name)) if len(nested) < len(table) or not table else ()
    for key, each in table.items():
        if key not in nested:
            yield f"{key} = {value(each)}"
    for key, each in nested.items():
        yield from _table(f"{name}.{key}", each, "[{}]")


def _is_table(each: Any) -> bool:
    return isinstance(each, Mapping) or (isinstance(each, list) and isinstance(each[0], Mapping))
