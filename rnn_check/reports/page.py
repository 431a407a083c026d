"""What does the reader see of what changed, as a page?

One HTML file that needs nothing else: no network, no script, no font. Whatever the claims and the
subjects say is text in it, never markup.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import msgspec
import numpy as np
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup, escape
from packaging.utils import canonicalize_name

from rnn_check.certificates.comparison import Comparison
from rnn_check.claims.written import Array
from rnn_check.reports import cells as reports_cells
from rnn_check.reports import pictures as picture
from rnn_check.reports.answers import TIMES, Said, answers_to, described, focus, numbered, timed
from rnn_check.reports.change import LEGEND, alike, cell, distance, explained, groups
from rnn_check.reports.matrices import Matrix, matrices
from rnn_check.reports.pictures import Cell
from rnn_check.upgrades.changes import BEYOND, DRIFT, KINDS, WORSE, Compared, Row, Side
from rnn_check.upgrades.document import document
from rnn_check.upgrades.sentence import effects, sentence
from rnn_check.verdicts.judge import AGREE, DIFFER, ERROR, NOT_RUN, Verdict

# How much is shown of what could be without end; the page says what it leaves out.
DRIFTS_SHOWN = 5  # of the changes within what is allowed, the largest are looked at closely
DETAILS = 100  # of each other kind of change
PICTURES = 30
LINES = 25  # of a table, before the rest is folded
ANSWERS = 4  # different answers that stand beside each other
MAP = 48  # lines of a heat map, before it is continued in another
LABEL = 26  # characters of a claim's name in the heat map


def html(compared: Compared) -> str:
    """The page."""
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["breakable"] = _breakable
    template = environment.from_string(
        files("rnn_check.reports").joinpath("page.html.j2").read_text(encoding="utf-8")
    )
    text = template.render(
        compared=compared,
        sentence=sentence(compared),
        tone=_tone(compared),
        subjects=_Subjects(compared),
        maps=_heat_maps(compared),
        level_names=picture.LEVEL_NAMES,
        legend=LEGEND,
        changed=list(_groups(compared)),
        drawn=_histogram(compared),
        answers=[_Answer(row) for row in compared.rows if any(row.verdicts)],
        json=_by_line(document(compared)),
        number=_number,
        shown=LINES,
        dashes=picture.DASHES,
    )
    return picture.printable(text)


def _breakable(name: str) -> Markup:
    """A name that may go on in the next line where one of its parts ends."""
    return Markup("<wbr>").join(re.findall(r"[^/\[=_]+[/\[=_]*|[/\[=_]+", name))


def _by_line(whole: Mapping[str, Any]) -> Markup:
    """A JSON document, each subject and each row on a line of its own.

    It stands between tags, where a quotation mark is none: escaped, it would be half of the page.
    """

    def text(value: Any) -> str:
        if isinstance(value, list):
            return "[\n" + ",\n".join(map(text, value)) + "\n]"
        return msgspec.json.encode(value).decode()

    lines = ",\n".join(f'"{key}": {text(value)}' for key, value in whole.items())
    return Markup(str(escape(f"{{\n{lines}\n}}")).replace("&#34;", '"'))


def _tone(compared: Compared) -> str:
    """The gravest kind of change in all; what is known to be worse alarms nobody."""
    kinds = {"known" if r.gravest == WORSE and r.is_known else r.gravest for r in compared.rows}
    return next((kind for kind in KINDS if kind in kinds), "same")


def _number(value: Any) -> str:
    """As many digits as tell float32 numbers apart."""
    return f"{value:.9g}".replace("-", "−")


# --- who was asked --------------------------------------------------------------------------------

_ASPECTS = {
    "Keras": "keras",
    "backend": "backend",
    "backend's version": "backend_version",
    "Python": "python",
    "NumPy": "numpy",
    "mode": "mode",
    "dtype": "dtype",
    "device": "device",
    "CPU": "cpu",
    "threads": "threads",
    "platform": "platform",
    "settings": "settings",
    "layer": "layer",
}


class _Subjects:
    """The subjects: what differs between them, what does not, and what is installed where."""

    def __init__(self, compared: Compared) -> None:
        self.names = compared.names()
        self.sides = compared.sides
        self.notes = [
            (n, note) for n, s in zip(self.names, self.sides, strict=True) for note in s.notes
        ]
        self.effects = [self._effects(compared, i) for i in range(len(self.sides))]
        said = {title: [_aspect(s, key) for s in self.sides] for title, key in _ASPECTS.items()}
        asked = [i for i, side in enumerate(self.sides) if not side.subject.did_not_start]
        known = {title: {values[i] for i in asked} - {""} for title, values in said.items()}
        self.differing = {t: said[t] for t, values in known.items() if len(values) > 1}
        self.common = {t: values.pop() for t, values in known.items() if len(values) == 1}
        self.packages = self._packages()

    def _effects(self, compared: Compared, i: int) -> list[str]:
        """How the subject differs from the baseline, and from the one before it."""
        failed = [side.failure for side in self.sides]
        if failed[i]:
            return ["could not be asked"]
        if not i:
            return ["baseline"]
        found = [] if failed[0] else [effects(compared, i)]
        if i > 1 and not failed[i - 1]:
            found.append(f"since {i}: {effects(compared.steps[i - 1], 1)}")
        return found

    def _packages(self) -> dict[str, list[str]]:
        """The version of each package at each subject, where there are several."""
        installed: list[dict[str, str]] = [
            {canonicalize_name(n): str(v) for n, v in side.subject.packages.items()}
            for side in self.sides
        ]
        known = [each for each in installed if each]
        names = sorted({name for each in known for name in each})
        differing = [name for name in names if len({each.get(name) for each in known}) > 1]
        return {name: [each.get(name, "") for each in installed] for name in differing}


def _aspect(side: Side, key: str) -> str:
    value = side.subject.told().get(key) or ""
    if isinstance(value, Mapping):
        return ", ".join(f"{name}={setting}" for name, setting in sorted(value.items()))
    return str(value)


# --- every answer ---------------------------------------------------------------------------------


class _Answer:
    """What each subject's verdict on one expectation is, with error/bound."""

    def __init__(self, row: Row) -> None:
        self.claim = row.claim.name
        self.what = row.what
        self.cells = [
            "" if v is None else f"{cell(v, None)} {reports_cells.short_ratio(v)}".rstrip()
            for v in row.verdicts
        ]


def _heat_maps(compared: Compared) -> list[tuple[str, str]]:
    """(folder, picture) of the claims in each folder; the variants of a claim are one line."""
    folders: dict[str, dict[str, list[Row]]] = {}
    for row in compared.rows:
        if any(v is not None for v in row.verdicts):
            file = row.claim.name.partition("[")[0]
            folder, _, name = file.rpartition("/")
            folders.setdefault(folder, {}).setdefault(name, []).append(row)
    widest = max((len(name) for claims in folders.values() for name in claims), default=0)
    numbers = [str(i + 1) for i in range(len(compared.sides))]
    maps: list[tuple[str, str]] = []
    for folder, claims in folders.items():
        cells = {name: _cells(rows, len(numbers)) for name, rows in claims.items()}
        for start in range(0, len(cells), MAP):
            part = dict(itertools.islice(cells.items(), start, start + MAP))
            svg = picture.heat_map(f"map-{len(maps)}", part, numbers, min(widest, LABEL))
            maps.append((folder if not start else f"{folder} (continued)", svg))
    return maps


def _cells(rows: Sequence[Row], subjects: int) -> list[Cell | None]:
    return [_cell([v for row in rows if (v := row.verdicts[i])]) for i in range(subjects)]


def _cell(verdicts: Sequence[Verdict]) -> Cell | None:
    """The worst of several verdicts on one subject."""
    if not verdicts:
        return None
    said = {v.verdict for v in verdicts}
    ratios = [_ratio(v) for v in verdicts if v.verdict in (AGREE, DIFFER)]
    mark = (
        picture.BREAKS
        if ERROR in said
        else picture.DIFFERS
        if DIFFER in said
        else picture.SILENT
        if said == {NOT_RUN}
        else ""
    )
    return Cell(max(ratios, default=None), mark)


def _ratio(v: Verdict) -> float:
    """error/bound; where a count or a word is wrong there is no bound that it could be within."""
    if v.ratio is not None:
        return v.ratio
    return math.inf if v.verdict == DIFFER else 0.0


# --- what changed ---------------------------------------------------------------------------------


class _Line:
    """One row of a table of changes; `at` is where it is looked at closely."""

    def __init__(self, row: Row, at: str = "") -> None:
        self.claim = row.claim.name
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
class _Group:
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


def _groups(compared: Compared) -> Iterator[_Group]:
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
        yield _Group(f"group-{next(ids)}", heading, kind, known, lines, details, left_out)


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
        self.claim = row.claim.name
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


# --- in ulps --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Drawn:
    """The histogram of all signed distances, and what it cannot show."""

    svg: str
    notes: list[str]


def _histogram(compared: Compared) -> _Drawn | None:
    names = compared.names()
    distances: dict[str, Array] = {}
    notes = []
    for i, name in enumerate(names):
        pairs = [p for row in compared.rows if (c := row.changes[i]) for p in c.pairs]
        # the baseline has no changes; a subject whose every bit is the same has no picture
        apart = [p for p in pairs if p.differ.any()]
        if not pairs:
            continue
        shown = picture.finite(p.ulps for p in apart)
        numbers = sum(p.ulps.size for p in pairs)
        endless = sum(int(np.isinf(p.ulps).sum()) for p in apart)
        label = f"{i + 1} {name}"
        note = f"{label}: {numbers - shown.size - endless:,} of {numbers:,} numbers are the same"
        if shown.size:
            distances[label] = shown
            up = int((shown > 0).sum())
            note += f", {up:,} went up, {shown.size - up:,} down"
        if endless:
            note += f"; {endless:,} are not finite on one side and not drawn"
        notes.append(f"{note}.")
    if not distances:
        return None
    svg = picture.histogram(
        "ulps", distances, "Histogram of signed distances in ulps. " + " ".join(notes)
    )
    return _Drawn(svg, notes)
