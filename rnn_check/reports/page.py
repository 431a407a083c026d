"""What does the reader see of what changed, as a page?

One HTML file that needs nothing else: no network, no script, no font. Whatever the claims and the
subjects say is text in it, never markup.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import msgspec
import numpy as np
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup, escape
from packaging.utils import canonicalize_name

from rnn_check.claims.written import Array
from rnn_check.reports import pictures as picture
from rnn_check.reports.cells import short_ratio
from rnn_check.reports.change import LEGEND, cell
from rnn_check.reports.page_changes import groups_of
from rnn_check.reports.pictures import Cell
from rnn_check.reports.svg import printable
from rnn_check.upgrades.changes import KINDS, WORSE, Compared, Row, Side
from rnn_check.upgrades.document import document
from rnn_check.upgrades.sentence import each_effect, sentence
from rnn_check.verdicts.judge import AGREE, DIFFER, ERROR, NOT_RUN, Verdict

# How much is shown of what could be without end; the page says what it leaves out.
LINES = 25  # of a table, before the rest is folded
MAP = 48  # lines of a heat map, before it is continued in another
LABEL = 26  # characters of a claim's name in the heat map


def rendered(template: str, **values: Any) -> str:
    """A page of this template; whatever it is given is text in it."""
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["breakable"] = _breakable
    page, style = (
        files("rnn_check.reports").joinpath(name).read_text(encoding="utf-8")
        for name in (template, "page.css")
    )
    text = environment.from_string(page).render(style=Markup(style), **values)
    return printable(text)


def html(compared: Compared) -> str:
    """The page."""
    return rendered(
        "page.html.j2",
        compared=compared,
        sentence=sentence(compared),
        tone=_tone(compared),
        subjects=_Subjects(compared),
        maps=_heat_maps(compared),
        level_names=picture.LEVEL_NAMES,
        legend=LEGEND,
        changed=list(groups_of(compared)),
        drawn=_histogram(compared),
        answers=[_Answer(row) for row in compared.rows if any(row.verdicts)],
        json=_by_line(document(compared)),
        number=_number,
        shown=LINES,
        dashes=picture.DASHES,
    )


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
        effects = [each_effect(compared, i) if i else ["baseline"] for i in range(len(self.sides))]
        self.effects = [
            ["could not be asked"] if side.failure else found
            for side, found in zip(self.sides, effects, strict=True)
        ]
        said = {title: [_aspect(s, key) for s in self.sides] for title, key in _ASPECTS.items()}
        asked = [i for i, side in enumerate(self.sides) if not side.subject.did_not_start]
        known = {title: {values[i] for i in asked} - {""} for title, values in said.items()}
        self.differing = {t: said[t] for t, values in known.items() if len(values) > 1}
        self.common = {t: values.pop() for t, values in known.items() if len(values) == 1}
        self.packages = self._packages()

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
        self.claim = row.name
        self.what = row.what
        self.cells = [
            "" if v is None else f"{cell(v, None)} {short_ratio(v)}".rstrip() for v in row.verdicts
        ]


def _heat_maps(compared: Compared) -> list[tuple[str, str]]:
    """(folder, picture) of the claims in each folder; the variants of a claim are one line."""
    folders: dict[str, dict[str, list[Row]]] = {}
    for row in compared.rows:
        if any(v is not None for v in row.verdicts):
            file = row.name.partition("[")[0]
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
