"""What does the page show of each change, in tables and looked at closely?"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from rnn_check.certificates.comparison import Comparison
from rnn_check.reports import pictures as picture
from rnn_check.reports.answers import TIMES, Said, answers_to, described, focus, numbered, timed
from rnn_check.reports.change import alike, cell, distance, explained, groups
from rnn_check.reports.matrices import Matrix, matrices
from rnn_check.upgrades.changes import BEYOND, DRIFT, WORSE, Compared, Row

# How much is shown of what could be without end; the page says what it leaves out.
DRIFTS_SHOWN = 5  # of the changes within what is allowed, the largest are looked at closely
DETAILS = 100  # of each other kind of change
PICTURES = 30
ANSWERS = 4  # different answers that stand beside each other


class _Line:
    """One row of a table of changes; `at` is where it is looked at closely."""

    def __init__(self, row: Row, at: str = "") -> None:
        self.claim = row.name
        self.what = row.what
        self.at = at
        self.cells = [
            (cell(v, change), kind)
            for v, change, kind in zip(row.verdicts, row.changes, row.kinds, strict=True)
        ]
        changes = [change for change in row.changes if change is not None]
        farthest = max(changes, key=lambda change: change.ulp or 0.0, default=None)
        share = _share(row)
        self.figures = {
            "ulps": distance(farthest) if farthest and farthest.drifted else "",
            "share": "" if share is None else _short(share),
            "bits": _effective(row),
        }
        self.where = row.where


@dataclass(frozen=True)
class Group:
    """The rows of one kind of change, and those of them that are looked at closely.

    Of rows with one cause the first stands for all; left_out: causes that are not looked at.
    """

    id: str
    heading: str
    kind: str
    known: bool
    lines: Sequence[_Line]
    details: Sequence[_Detail]
    left_out: int

    @property
    def is_grave(self) -> bool:
        """Whether the reader has to see it before everything else."""
        return self.kind in (WORSE, BEYOND) and not self.known

    @property
    def says(self) -> str:
        """What its figures mean."""
        if "share" not in self.figures:
            return ""
        return (
            "share: the largest distance as a share of what rounding may put between two subjects "
            "that are both right; ∞ where nothing is allowed, empty where no bound is known."
        )

    @property
    def figures(self) -> list[str]:
        """Those that any of the rows has."""
        names = self.lines[0].figures
        return [name for name in names if any(line.figures[name] for line in self.lines)]


def groups_of(compared: Compared) -> Iterator[Group]:
    names = compared.names()
    ids, numbers, drawn = itertools.count(1), itertools.count(1), 0
    for heading, rows in groups(compared.changed):
        kind = rows[0].gravest
        if kind == DRIFT:
            rows = sorted(rows, key=_size, reverse=True)
        causes = [[row] for row in rows] if kind == DRIFT else alike(rows)
        details, at = [], {}
        for same in causes[: DRIFTS_SHOWN if kind == DRIFT else DETAILS]:
            detail = _Detail(f"change-{next(numbers)}", compared, names, same, drawn < PICTURES)
            drawn += bool(detail.drawn)
            details.append(detail)
            at.update({id(row): detail.id for row in same})
        lines = [_Line(row, at.get(id(row), "")) for row in rows]
        left_out = len(causes) - len(details)
        known = kind == WORSE and rows[0].is_known
        yield Group(f"group-{next(ids)}", heading, kind, known, lines, details, left_out)


def _size(row: Row) -> tuple[float, float]:
    """By which drifts are ordered: how much of what is allowed they take, then ulps."""
    ulp = row.ulp or 0.0
    return math.inf if math.isinf(ulp) else _share(row) or 0.0, ulp


def _short(share: float) -> str:
    return "∞" if math.isinf(share) else re.sub(r"e\+0?", "e", f"{share:.2g}")


def _share(row: Row) -> float | None:
    """The largest distance as a share of what rounding may explain."""
    shares = (change.share for change in row.changes if change is not None)
    return max((share for share in shares if share is not None), default=None)


def _effective(row: Row) -> str:
    """Effective bits: the baseline's, and the fewest of those that changed, if they are others."""
    before, *_ = (None if v is None else v.bits for v in row.verdicts)
    changed = zip(row.verdicts, row.kinds, strict=True)
    after = min((v.bits for v, kind in changed if kind and v and v.bits is not None), default=None)
    shown = list(dict.fromkeys(f"{each:.1f}" for each in (before, after) if each is not None))
    return " → ".join(shown)


class _Detail:
    """One change, looked at closely: in words, as matrices, against time."""

    def __init__(
        self, id_: str, compared: Compared, names: Sequence[str], same: Sequence[Row], draw: bool
    ) -> None:
        row = same[0]
        self.id = id_
        self.claim = row.name
        self.title = row.claim.title
        self.what = row.what
        url = row.claim.source.url or ""
        self.url = url if re.match(r"https?://", url) else ""
        self.text = "\n".join(line.removeprefix("  ") for line in explained(compared, *same)[1:])
        self.matrices: list[list[Matrix]] = []
        self.compares = ""
        self.left_out = 0
        answers = answers_to(row, focus(row))
        if answers:
            first = answers[0].comparison
            self.compares = described(first)
            self.left_out = len(answers[ANSWERS:])
            self.matrices = matrices(answers[:ANSWERS], names)
        self.drawn = ""
        self.series: list[str] = []
        self.times = self.axis = ""
        in_time = answers if timed(answers) else answers_to(row, focus(row, in_time=True))
        if draw and timed(in_time):
            self._draw(in_time[:ANSWERS], names)

    def _draw(self, answers: Sequence[Said], names: Sequence[str]) -> None:
        axis = next(axis for axis in TIMES if axis in answers[0].comparison.axes)
        self.axis = axis
        series = [_series(each.comparison, axis) for each in answers]
        if not any(s.error.any() or s.bound.any() for s in series):
            return  # exactly what is expected, at every time
        self.series = [numbered(each.subjects, names) for each in answers]
        self.times = described(answers[0].comparison)
        ends = [int(s.time[s.beyond].min()) for s in series if s.beyond.any()]
        beyond = f" The first beyond its bound is at {axis} {min(ends)}." if ends else ""
        describes = f"Error against {axis}: {self.times}, {self.claim}.{beyond}"
        self.drawn = picture.against_time(self.id, series, axis, describes)


def _series(c: Comparison, axis: str) -> picture.Series:
    time = c.coordinates[c.axes.index(axis)]
    error = np.where(np.isnan(c.error), np.inf, c.error)
    flat = (each.ravel() for each in (time, error, c.bound, c.ratios > 1))
    return picture.Series(*(np.asarray(each) for each in flat))
