"""Answers that are spoilt where a kind of expectation says that it must turn red."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

Way = tuple[str, ...]


def spoilt(observed: Mapping[str, Any], way: Way) -> Iterator[tuple[str, dict[str, Any]]]:
    """(where, the answer with another value there) for every value at and below a way."""
    for path in _leaves(observed, way):
        other = copy.deepcopy(dict(observed))
        node: Any = other
        for key in path[:-1]:
            node = node[key]
        node[path[-1]] = _another(node[path[-1]])
        yield ".".join(map(str, path)), other


def _leaves(node: Any, way: Way) -> Iterator[tuple[Any, ...]]:
    if node is None:
        return
    inside = isinstance(node, Mapping | list)
    if not way and not inside:
        yield ()
        return
    if not inside:
        return
    first, rest = (way[0], way[1:]) if way else ("*", ())
    entries = node.items() if isinstance(node, Mapping) else enumerate(node)
    for key, part in entries:
        if first in ("*", str(key)):
            yield from ((key, *below) for below in _leaves(part, rest))


def _another(value: Any) -> Any:
    """What is beyond any bound, and of the same type."""
    if isinstance(value, np.ndarray):
        other = value.copy()
        at = tuple(size // 2 for size in other.shape)
        other[at] = not other[at] if other.dtype.kind == "b" else 3 + 2 * abs(other[at])
        return other
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    return f"{value}_"
