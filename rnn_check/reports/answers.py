"""Which answers to one comparison stand beside each other?"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from rnn_check.certificates.comparison import Comparison
from rnn_check.upgrades.changes import Change, Row
from rnn_check.verdicts.judge import DIFFER, Verdict

TIMES = ("timestep", "update")


@dataclass(frozen=True)
class Said:
    """One answer and the subjects that give it, by number."""

    subjects: list[int]
    comparison: Comparison


_Key = tuple[str, str, int]  # who, what, and the how manieth of that name


def _keys(verdict: Verdict) -> Iterator[tuple[_Key, Comparison]]:
    """The comparisons of numbers."""
    seen: dict[tuple[str, str], int] = {}
    for c in verdict.comparisons:
        place = (c.who, c.what)
        seen[place] = seen.get(place, -1) + 1
        if c.got.dtype.kind == "f" and c.got.size:
            yield (*place, seen[place]), c


def focus(row: Row, in_time: bool = False) -> _Key | None:
    """The comparison that shows best what changed: one that fails, else what drifts most."""
    change = next(
        (c for c, kind in zip(row.changes, row.kinds, strict=True) if c and kind == row.gravest),
        None,
    )
    if change is None:
        return None
    wanted = list(_telling(change))
    found = {id(c): key for v in (change.after, change.before) for key, c in _keys(v)}
    for c in wanted:
        if id(c) in found and (not in_time or set(TIMES) & set(c.axes)):
            return found[id(c)]
    return None


def _telling(change: Change) -> Iterator[Comparison]:
    """The comparisons of a change, the most telling first."""
    for v in (change.after, change.before):
        if v.verdict == DIFFER:
            yield from (c for c in v.comparisons if not c.ok and c.who != "claim")
    for pair in change.drifted:
        yield pair.after
    for v in (change.after, change.before):
        yield from (c for c in v.comparisons if c.who != "claim")


def answers_to(row: Row, key: _Key | None) -> list[Said]:
    """The different answers to one comparison, in the subjects' order."""
    found: dict[Any, Said] = {}
    for i, v in enumerate(row.verdicts):
        c = None if v is None or key is None else dict(_keys(v)).get(key)
        if c is not None:
            same = (c.got.shape, c.got.tobytes(), c.error.tobytes(), c.bound.tobytes())
            found.setdefault(same, Said([], c)).subjects.append(i)
    return list(found.values())


def timed(answers: Sequence[Said]) -> bool:
    return bool(answers) and bool(set(TIMES) & set(answers[0].comparison.axes))


_AGAINST = {
    "subject": "against the truth",
    "step": "each step against the one before it",
    "own": "against what follows from the subject's own numbers",
}


def described(c: Comparison) -> str:
    return f"{c.what}, {_AGAINST.get(c.who, c.who)}"


def numbered(subjects: Iterable[int], names: Sequence[str]) -> str:
    """ "1 TensorFlow 2.13.1, 2 TensorFlow 2.19.1"."""
    return ", ".join(f"{i + 1} {names[i]}" for i in subjects)
