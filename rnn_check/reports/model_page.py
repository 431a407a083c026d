"""What does the reader see of what changed in somebody's model, as a page?

One HTML file that needs nothing else, as that of claims (see `page`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from rnn_check.claims.written import Array
from rnn_check.models.judged import Row
from rnn_check.reports import pictures
from rnn_check.reports.explaining import near_path
from rnn_check.reports.model_changes import LEGEND, cells, sentence, told_of
from rnn_check.reports.model_markdown import HEADS, numbers_asked
from rnn_check.reports.page import rendered
from rnn_check.reports.subject import header
from rnn_check.upgrades.models import Change, Compared

MOST_DRAWN = 30  # pictures of a page


@dataclass(frozen=True)
class _Pair:
    """The baseline and another: what changed in words, the layers, those that changed closely."""

    name: str
    sentence: str
    kind: str
    rows: Sequence[_Line]


@dataclass(frozen=True)
class _Line:
    """A layer. kind: as the page colours it; drawn: its change against time."""

    cells: Sequence[str]
    kind: str
    told: Sequence[str]
    drawn: str


def html(compared: Compared) -> str:
    """The page."""
    pairs, drawn = [], 0
    for number in numbers_asked(compared):
        lines = []
        for each in compared.changes(number):
            picture = ""
            if each.has_changed and drawn < MOST_DRAWN:
                picture = _drawn(each, f"layer-{drawn}")
                drawn += bool(picture)
            lines.append(_Line(cells(each), _kind(each), list(told_of(each)), picture))
        kinds = [each.kind for each in lines]
        gravest = next((kind for kind in ("worse", "known", "drift") if kind in kinds), "same")
        words = sentence(compared, number)
        pairs.append(_Pair(f"{number + 1} {compared.sides[number].word}", words, gravest, lines))
    return rendered(
        "model_page.html.j2", model=near_path(compared.where), ran_on=compared.ran_on,
        asked=list(_asked(compared)), pairs=pairs, heads=HEADS, legend=LEGEND,
    )  # fmt: skip


def _asked(compared: Compared) -> Iterator[tuple[str, str, Sequence[str]]]:
    """(word, who it is, what has to be known of it)."""
    for side in compared.sides:
        failed = [f"could not be asked: {side.failure}"] if side.failure else []
        yield side.word, "" if side.who is None else header(side.who), [*side.notes, *failed]


def _kind(change: Change) -> str:
    if change.is_worse:
        return "known" if change.is_known else "worse"
    return "drift" if change.has_changed else "same"


def _drawn(change: Change, name: str) -> str:
    """How far its steps moved, over the sum of both bounds of each; "" where nothing can be."""
    one, other = _steps(change.before), _steps(change.after)
    if one is None or other is None:
        return ""
    (before, bound), (after, beside) = one, other
    if before.shape != after.shape:
        return ""
    with np.errstate(invalid="ignore"):
        moved = np.where((before == after) | (np.isnan(before) & np.isnan(after)), 0.0,
                         np.abs(before - after))  # fmt: skip
    moved = np.where(np.isnan(moved), np.inf, moved)
    allowed = bound + beside
    time = np.broadcast_to(np.arange(before.shape[1])[:, None], before.shape)
    if not moved.any():
        return ""
    series = pictures.Series(*(a.ravel() for a in (time, moved, allowed, moved > allowed)))
    told = f"Change of each timestep of {change.path}."
    return pictures.against_time(name, [series], "timestep", told, of="change")


def _steps(row: Row | None) -> tuple[Array, Array] | None:
    """What it put out at each step (B,T,H), and the bound of each."""
    found = None if row is None or row.outputs is None else row.outputs.found.get("steps")
    if row is None or found is None or row.output is None:
        return None
    bound = found.bound if found.bound.ndim == 3 else found.bound[0]
    return row.output.astype(np.float64), bound
