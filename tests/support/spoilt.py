"""Answers that are spoilt, and what is said of each."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from rnn_check.asking.request import Answer
from rnn_check.claims.claim import Claim
from rnn_check.claims.expectations.case import Case
from rnn_check.claims.expectations.expectation import Expectation
from rnn_check.verdicts import judge

Way = tuple[str, ...]


class Beside:
    """A claim beside one answer after the other: what is true of it is computed once."""

    def __init__(self, claim: Claim) -> None:
        self.claim = claim
        self._known = Case(claim, {}, "float32")

    def verdict(self, e: Expectation, observed: Mapping[str, Any]) -> judge.Verdict:
        case = Case(self.claim, observed, "float32")
        case._truths, case._made = self._known._truths, self._known._made
        return judge.judge_one(self.claim, case, e, Answer(observed))


def spoilt(observed: Mapping[str, Any], way: Way) -> Iterator[tuple[str, Any]]:
    """(where, the answer with another value there) for every value at and below a way."""
    for path in _leaves(observed, way):
        yield ".".join(map(str, path)), changed(observed, path, _another)


def changed(node: Any, path: tuple[Any, ...], change: Callable[[Any], Any]) -> Any:
    """The same, but for what stands there; of the rest nothing is copied."""
    if not path:
        return change(node)
    other = copy.copy(node)
    other[path[0]] = changed(node[path[0]], path[1:], change)
    return other


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
