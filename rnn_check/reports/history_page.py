"""What does a page show of which features differ where: the table, and below it why?"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date

from rnn_check.reports.change import packages, telling
from rnn_check.reports.history import cell, legend, name, notes, said, when
from rnn_check.reports.page import rendered
from rnn_check.upgrades.history import Feature, History, Wrong, spans
from rnn_check.verdicts.judge import Verdict

CLAIMS = 6  # of one cause that are named


@dataclass(frozen=True)
class _Cause:
    """One thing that is wrong: what is said of it, of which claims, where, and whether it is known.

    where: (backend and way, versions).
    """

    says: str
    claims: list[str]
    more: int
    where: list[tuple[str, str]]
    known: list[str]


@dataclass(frozen=True)
class _Row:
    id: str
    name: str
    cells: list[str]
    features: list[tuple[str, list[_Cause]]]


def html(history: History, today: date) -> str:
    """The page."""
    rows = [
        _Row(
            f"feature-{number}",
            name(group),
            [cell(history, group[0], column) for column in history.columns],
            [(feature.name, list(_causes(history, feature))) for feature in group],
        )
        for number, group in enumerate(history.differing, 1)
    ]
    return rendered(
        "history_page.html.j2",
        sentence=said(history),
        when=when(history, today),
        columns=history.columns,
        asked=[history.letters(column) for column in history.columns],
        rows=rows,
        legend=list(legend(history)),
        notes=list(notes(history)),
        same=[feature.name for feature in history.same],
        who=[(place.side.word, packages(place.side)) for place in history.places],
    )


def _causes(history: History, feature: Feature) -> Iterator[_Cause]:
    found: dict[object, list[Wrong]] = {}
    for each in feature.wrong:
        found.setdefault(_alike(each.verdict), []).append(each)
    for same in found.values():
        first = same[0].verdict
        claims = list(dict.fromkeys(f"{each.verdict.claim} · {each.verdict.what}" for each in same))
        known = dict.fromkeys(v.deviation or v.known for v in (e.verdict for e in same))
        yield _Cause(
            f"{first.verdict}: {telling(first.detail)}",
            claims[:CLAIMS],
            len(claims[CLAIMS:]),
            list(_where(history, same)),
            [reason for reason in known if reason],
        )


def _alike(v: Verdict) -> object:
    """The same for what is said alike, but for numbers and names in it."""
    return v.verdict, v.deviation, re.sub(r"'[^']*'|\d[\d.,e+-]*", "#", telling(v.detail))


def _where(history: History, same: Sequence[Wrong]) -> Iterator[tuple[str, str]]:
    found: dict[tuple[str, str], list[str]] = {}
    for each in same:
        who = each.place.side.subject
        found.setdefault((who.backend, each.way), []).append(each.place.column)
    for (backend, way), columns in found.items():
        yield (f"{backend}, {way}" if way else backend), spans(history.columns, columns)
