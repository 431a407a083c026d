"""Of a long family of cases, a sample for every run; `pytest --all` asks them all."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Any

import pytest

long = pytest.mark.long
thinned = pytest.mark.thinned  # (every): of all its cases the first, and each `every`-th after it


def sampled(cases: Iterable[Any], every: int) -> list[Any]:
    """As parameters: the first, and each `every`-th after it, for any run; the others are long."""
    return [
        case if i % every == 0 else pytest.param(case, marks=long) for i, case in enumerate(cases)
    ]


def first_of_each(cases: Iterable[tuple[Hashable, Any]], every: int) -> list[Any]:
    """The parameters of cases, each with its kind: the first of each `every`-th for any run."""
    seen: set[Hashable] = set()
    found = []
    for kind, case in cases:
        marks = [*case.marks, long] if kind in seen or len(seen) % every else case.marks
        found.append(pytest.param(*case.values, id=case.id, marks=marks))
        seen.add(kind)
    return found
