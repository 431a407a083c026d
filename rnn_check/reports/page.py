"""What does the reader see of what changed, as a page?

One HTML file that needs nothing else: no network, no script, no font. Whatever the claims and the
subjects say is text in it, never markup.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import msgspec
import numpy as np
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup, escape
from packaging.utils import canonicalize_name

from rnn_check.certificates.comparison import Comparison, bits
from rnn_check.claims.written import Array
from rnn_check.reports import pictures as picture
from rnn_check.reports import verdicts as reports_verdicts
from rnn_check.reports.changes import LEGEND, alike, cell, distance, explained, groups
from rnn_check.reports.pictures import Cell
from rnn_check.upgrades.changes import (
    BEYOND,
    DRIFT,
    KINDS,
    WORSE,
    Change,
    Compared,
    Row,
    Side,
    document,
    effects,
)
from rnn_check.verdicts.judge import AGREE, DIFFER, ERROR, NOT_RUN, Verdict

# How much is shown of what could be without end; the page says what it leaves out.
DRIFTS_SHOWN = 5  # of the changes within what is allowed, the largest are looked at closely
DETAILS = 100  # of each other kind of change
PICTURES = 30
LINES = 25  # of a table, before the rest is folded
ANSWERS = 4  # different answers that stand beside each other
WINDOW = 12  # rows and columns of a matrix
MAP = 48  # lines of a heat map, before it is continued in another
LABEL = 26  # characters of a claim's name in the heat map
TIMES = ("timestep", "update")


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
            "" if v is None else f"{cell(v, None)} {reports_verdicts.short_ratio(v)}".rstrip()
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
        self.matrices: list[list[_Matrix]] = []
        self.compares = ""
        self.left_out = 0
        answers = _answers(row, _focus(row))
        if answers:
            first = answers[0].comparison
            self.compares = _described(first)
            self.left_out = len(answers[ANSWERS:])
            self.matrices = _matrices(answers[:ANSWERS], names)
        self.drawn = ""
        self.series: list[str] = []
        self.times = self.axis = ""
        in_time = answers if _timed(answers) else _answers(row, _focus(row, in_time=True))
        if draw and _timed(in_time):
            self._draw(in_time[:ANSWERS], names)

    def _draw(self, answers: Sequence[_Said], names: Sequence[str]) -> None:
        axis = next(axis for axis in TIMES if axis in answers[0].comparison.axes)
        self.axis = axis
        series = [_series(each.comparison, axis) for each in answers]
        if not any(s.error.any() or s.bound.any() for s in series):
            return  # exactly what is expected, at every time
        self.series = [_list(each.subjects, names) for each in answers]
        self.times = _described(answers[0].comparison)
        ends = [int(s.time[s.beyond].min()) for s in series if s.beyond.any()]
        beyond = f" The first beyond its bound is at {axis} {min(ends)}." if ends else ""
        describes = f"Error against {axis}: {self.times}, {self.claim}.{beyond}"
        self.drawn = picture.against_time(self.id, series, axis, describes)


@dataclass(frozen=True)
class _Said:
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


def _focus(row: Row, in_time: bool = False) -> _Key | None:
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


def _answers(row: Row, key: _Key | None) -> list[_Said]:
    """The different answers to one comparison, in the subjects' order."""
    found: dict[Any, _Said] = {}
    for i, v in enumerate(row.verdicts):
        c = None if v is None or key is None else dict(_keys(v)).get(key)
        if c is not None:
            same = (c.got.shape, c.got.tobytes(), c.error.tobytes(), c.bound.tobytes())
            found.setdefault(same, _Said([], c)).subjects.append(i)
    return list(found.values())


def _timed(answers: Sequence[_Said]) -> bool:
    return bool(answers) and bool(set(TIMES) & set(answers[0].comparison.axes))


def _series(c: Comparison, axis: str) -> picture.Series:
    time = c.coordinates[c.axes.index(axis)]
    error = np.where(np.isnan(c.error), np.inf, c.error)
    flat = (each.ravel() for each in (time, error, c.bound, c.ratios > 1))
    return picture.Series(*(np.asarray(each) for each in flat))


_AGAINST = {
    "subject": "against the truth",
    "step": "each step against the one before it",
    "own": "against what follows from the subject's own numbers",
}


def _described(c: Comparison) -> str:
    return f"{c.what}, {_AGAINST.get(c.who, c.who)}"


def _list(subjects: Iterable[int], names: Sequence[str]) -> str:
    """ "1 TensorFlow 2.13.1, 2 TensorFlow 2.19.1"."""
    return ", ".join(f"{i + 1} {names[i]}" for i in subjects)


# --- matrices -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Entry:
    """A number; whether it is another than the baseline's, whether it is beyond its bound."""

    value: float
    other: bool
    beyond: bool


@dataclass(frozen=True)
class _Matrix:
    """A part of an array, in rows: heads of columns and rows, and where the part was taken."""

    title: str
    names: str
    columns: list[str]
    rows: list[tuple[str, list[_Entry]]]
    part: str


def _matrices(answers: Sequence[_Said], names: Sequence[str]) -> list[list[_Matrix]]:
    """What each framework returned and what it is held against, in groups that belong together.

    They are one group if the same is expected of all; else each subject has its own.
    """
    baseline = answers[0].comparison
    at = _telling_place([a.comparison for a in answers])
    got, expected = [], []
    for said in answers:
        c, who = said.comparison, _list(said.subjects, names)
        where = at if c.got.shape == baseline.got.shape else c.first
        nothing = np.zeros(c.got.shape, bool)
        got.append(
            _matrix(f"the framework's · {who}", c, c.got, where, _other(c, baseline), c.ratios > 1)
        )
        expected.append(_matrix(c.against, c, c.expected, where, nothing, nothing))
    if all(_equal(a.comparison.expected, baseline.expected) for a in answers):
        return [[*got, expected[0]]]
    return [list(pair) for pair in zip(got, expected, strict=True)]


def _telling_place(answers: Sequence[Comparison]) -> tuple[int, ...]:
    """The first place beyond a bound; if there is none, the largest change."""
    baseline, worst = answers[0], max(answers, key=lambda c: c.ratio)
    if worst.ratio > 1 and worst.got.shape == baseline.got.shape:
        return worst.first
    for c in answers[1:]:
        other = _other(c, baseline)
        if other.any():
            with np.errstate(invalid="ignore"):
                apart = np.abs(c.got - baseline.got)
            apart = np.where(other, np.where(np.isnan(apart), np.inf, apart), -1.0)
            return tuple(int(i) for i in np.unravel_index(np.argmax(apart), apart.shape))
    return baseline.first


def _equal(one: Array, other: Array) -> bool:
    return one.shape == other.shape and not _differ(one, other).any()


def _differ(one: Array, other: Array) -> Array:
    one_bits, other_bits = (bits(np.asarray(each, np.float64)) for each in (one, other))
    return np.asarray(one_bits != other_bits)


def _other(c: Comparison, baseline: Comparison) -> Array:
    """Where a number is another than the baseline's."""
    if c.got.shape != baseline.got.shape:
        return np.zeros(c.got.shape, bool)
    return _differ(c.got, baseline.got)


def _matrix(
    title: str, c: Comparison, array: Array, at: Sequence[int], other: Array, beyond: Array
) -> _Matrix:
    """The part around one place: its last two axes, a window of them."""
    axes, told = _axes(c)
    lead = len(axes) - 2
    told += [f"{axes[k].name} {axes[k].head(at)}" for k in range(lead) if array.shape[k] > 1]
    axes = [_Axis(""), _Axis(""), *axes][-2:]
    near = [0, 0, *at][-2:]
    fixed = tuple(at[:lead]) if lead > 0 else ()
    parts = [np.atleast_2d(each[fixed]) for each in (array, other, beyond)]
    shape = parts[0].shape
    spans = [_span(i, n) for i, n in zip(near, shape, strict=True)]
    heads = []
    for axis, (start, stop), n, k in zip(axes, spans, shape, (-2, -1), strict=True):
        places = [(*at[:k], i, *at[len(at) + k + 1 :]) for i in range(start, stop)]
        heads.append([axis.head(place) for place in places])
        if stop - start < n:
            told.append(f"{axis.name} {heads[-1][0]} to {heads[-1][-1]} of {n:,}")
    rows = [
        (head, [_Entry(*(part[i, j].item() for part in parts)) for j in range(*spans[1])])
        for head, i in zip(heads[0], range(*spans[0]), strict=True)
    ]
    down, across = (axis.name for axis in axes)
    names = ", ".join(f"{axis} {way}" for axis, way in ((down, "down"), (across, "across")) if axis)
    return _Matrix(title, names, heads[1], rows, ", ".join(told))


def _span(near: int, size: int) -> tuple[int, int]:
    """A window of which `near` is as close to the middle as it can be."""
    start = max(0, min(near - WINDOW // 2, size - WINDOW))
    return start, min(size, start + WINDOW)


@dataclass(frozen=True)
class _Axis:
    """An axis of an array: its name, and what each element's place on it is called."""

    name: str
    index: Array | None = None

    def head(self, place: Sequence[int]) -> str:
        return "" if self.index is None else str(self.index[tuple(place)])


def _axes(c: Comparison) -> tuple[list[_Axis], list[str]]:
    """The axes that the array has, and the places on those that a claim leaves out of it."""
    axes = [_Axis(n, index) for n, index in zip(c.axes, c.coordinates, strict=True)]
    if len(axes) < c.got.ndim:
        return [_Axis("", np.asarray(index)) for index in np.indices(c.got.shape)], []
    told = []
    for axis in list(axes):
        if (
            len(axes) > c.got.ndim
            and axis.index is not None
            and (axis.index == axis.index.flat[0]).all()
        ):
            axes.remove(axis)
            told.append(f"{axis.name} {axis.index.flat[0]}")
    return axes[-c.got.ndim :] if c.got.ndim else [], told


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
