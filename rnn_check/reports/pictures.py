"""What does a comparison look like, drawn?  As SVG, see `svg`."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.patches import PathPatch
from matplotlib.path import Path
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator

from rnn_check.claims.written import Array
from rnn_check.reports.svg import (
    BAND,
    DRAWN_AS,
    INK,
    LEVELS,
    QUIET,
    SERIES,
    STYLE,
    WIDTH,
    axes_in,
    figure_of,
    printable,
    svg,
)

DASHES = ("none", "8 3", "2 2", "8 3 2 3")  # of the series, as an SVG has them
LEGIBLE = 32  # numbers up to which each gets a mark of its own


# --- error/bound ----------------------------------------------------------------------------------

# Up to which error/bound each level goes: whole decades, the bound itself among them.
ENDS = (0.0, 0.01, 0.1, 1.0, 10.0, 1000.0, math.inf)
LEVEL_NAMES = ("0", "up to 0.01", "up to 0.1", "up to 1", "up to 10", "up to 1000", "more")
DIFFERS, BREAKS, SILENT = "✗", "!", "–"
_CELL = 16  # pixels
_CHARACTER = 6.8  # pixels, of a wide font


def level(ratio: float) -> int:
    """Which level an error/bound is of; what is not a number is of the last."""
    return next((i for i, end in enumerate(ENDS) if ratio <= end), len(ENDS) - 1)


@dataclass(frozen=True)
class Cell:
    """One subject's error/bound of one claim, None if there is none, and a mark."""

    ratio: float | None
    mark: str = ""


@rc_context(STYLE)
def heat_map(
    name: str, rows: Mapping[str, Sequence[Cell | None]], columns: Sequence[str], widest: int
) -> str:
    """Claims down, subjects across; `widest` is the longest label of all maps that stand by it."""
    label, head = _CHARACTER * widest + 8, 18
    width, height = _CELL * len(columns), _CELL * len(rows)
    figure = figure_of(label + width + 2, head + height + 2)
    axes = axes_in(figure, label, head, width, height)
    axes.set(xlim=(0, len(columns)), ylim=(len(rows), 0))
    axes.set_xticks(np.arange(len(columns)) + 0.5, columns)
    axes.set_yticks(np.arange(len(rows)) + 0.5, [shortened(row, widest) for row in rows])
    axes.tick_params(length=0, pad=4, top=False, labeltop=True, labelbottom=False)
    axes.tick_params(axis="y", labelcolor=DRAWN_AS[INK])
    axes.spines[:].set_visible(False)
    _squares(axes, list(rows.values()))
    for y, cells in enumerate(rows.values()):
        for x, cell in enumerate(cells):
            if cell is not None and cell.mark:
                axes.text(x + 0.5, y + 0.5, cell.mark, ha="center", va="center_baseline", size=12)
    marked = [row for row, cells in rows.items() if any(c and c.mark for c in cells)]
    found = f"Marked: {', '.join(marked)}." if marked else "All within their bounds."
    describes = f"Heat map of error/bound: {len(rows)} claims, {len(columns)} subjects. {found}"
    return svg(figure, name, describes)


def _squares(axes: Axes, rows: Sequence[Sequence[Cell | None]]) -> None:
    """One shape for each level: all its squares."""
    of_level: dict[int, list[Path]] = {}
    gap = 1 / _CELL  # one pixel
    for y, cells in enumerate(rows):
        for x, cell in enumerate(cells):
            if cell is not None and cell.ratio is not None:
                left, top = x + gap / 2, y + gap / 2
                right, bottom = x + 1 - gap / 2, y + 1 - gap / 2
                corners = [(left, top), (right, top), (right, bottom), (left, bottom), (left, top)]
                square = Path(corners, closed=True)
                of_level.setdefault(level(cell.ratio), []).append(square)
    for number, squares in sorted(of_level.items()):
        colour = DRAWN_AS[LEVELS[number]]
        shape = Path.make_compound_path(*squares)
        axes.add_patch(PathPatch(shape, facecolor=colour, edgecolor="none", snap=False))


def shortened(text: str, most: int) -> str:
    """One line of at most so many characters: the middle is left out."""
    text = " ".join(printable(text).split())
    if len(text) <= most:
        return text
    end = (most - 1) // 2
    return f"{text[: most - 1 - end]}…{text[len(text) - end :]}"


# --- error against time ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Series:
    """Errors of one answer, all its elements, each at its time."""

    time: Array
    error: Array
    bound: Array
    beyond: Array  # bool


@rc_context(STYLE)
def against_time(
    name: str, series: Sequence[Series], axis: str, describes: str, of: str = "error"
) -> str:
    """The largest error at each time, a line for each answer, over what the widest bound allows."""
    time, bound = (np.concatenate([getattr(s, part) for s in series]) for part in ("time", "bound"))
    known = np.isfinite(bound)
    allowed = _largest(time[known], bound[known])
    ends = np.concatenate([allowed[1], *(_largest(s.time, s.error)[1] for s in series)])
    drawn = ends[np.isfinite(ends) & (ends > 0)]
    low, high = (math.log10(end(drawn)) if drawn.size else 0.0 for end in (np.min, np.max))
    low, high = math.floor(low), math.floor(high) + 1
    top = 10.0**high  # an error without end is drawn there
    figure = figure_of(WIDTH, 240)
    axes = axes_in(figure, 64, 12, WIDTH - 72, 240 - 60)
    if (ends == 0).any():  # which has its place below the smallest number
        axes.set_yscale("symlog", linthresh=10.0**low, linscale=max(0.5, (high - low) / 8))
    else:
        axes.set_yscale("log")
    if known.any():
        _allowed(axes, *allowed)
    for number, s in enumerate(series):
        error = np.minimum(s.error, top)
        times, errors = _largest(s.time, error)
        axes.plot(
            times,
            errors,
            color=DRAWN_AS[SERIES[number % len(SERIES)]],
            linestyle=_line(DASHES[number % len(DASHES)]),
            linewidth=1.6,
            marker=_MARKERS[number % len(_MARKERS)] if times.size <= LEGIBLE else "",
            markersize=5,
            clip_on=False,
        )
        if s.beyond.any():
            times, errors = _largest(s.time[s.beyond], error[s.beyond])
            size = 8 if times.size <= LEGIBLE else 4
            axes.plot(times, errors, "x", color=DRAWN_AS[INK], markersize=size, clip_on=False)
    zero = [0.0] if (ends == 0).any() else []
    decades = range(low, high + 1, max(1, math.ceil((high - low + 1) / 6)))
    axes.set_yticks(
        [*zero, *(10.0**e for e in decades)], ["0" for _ in zero] + [f"1e{e}" for e in decades]
    )
    axes.set_ylim(0.0 if zero else 10.0**low, top)
    axes.set_xlabel(axis)
    axes.set_ylabel(f"|{of}|")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=10, min_n_ticks=1))
    axes.minorticks_off()
    return svg(figure, name, describes)


_MARKERS = ("o", "s", "^", "D")


def _line(dash: str) -> str | tuple[float, list[float]]:
    return "solid" if dash == "none" else (0, [float(part) / 1.6 for part in dash.split()])


def _allowed(axes: Axes, times: Array, bound: Array) -> None:
    """Shaded up to the bound."""
    if times.size == 1:  # what is at one time only has no width
        times, bound = times + np.array([-0.5, 0.5]), np.repeat(bound, 2)
    shade, edge = DRAWN_AS[BAND], DRAWN_AS[QUIET]
    axes.fill_between(times, bound, 0.0, facecolor=shade, edgecolor="none")
    axes.plot(times, bound, color=edge, linewidth=1)


def _largest(time: Array, value: Array) -> tuple[Array, Array]:
    """Every time that there is, and the largest value at it."""
    times, at = np.unique(time, return_inverse=True)
    found = np.full(times.shape, -np.inf)
    np.maximum.at(found, at.ravel(), value)
    return times, found


@rc_context(STYLE)
def shares(name: str, ratios: Array, describes: str) -> str:
    """How many error/bound are how large: bars from 0 to 1, and one for all beyond the bound."""
    edges = np.linspace(0, 1, 41)
    many, _ = np.histogram(ratios[ratios <= 1], edges)
    beyond = int((~(ratios <= 1)).sum())
    figure = figure_of(WIDTH, 160)
    axes = axes_in(figure, 56, 12, WIDTH - 72, 100)
    middle, width = edges[:-1] + edges[1] / 2, 0.9 * edges[1]
    axes.bar(middle, many, width=width, color=DRAWN_AS[SERIES[1]])
    axes.bar([1 + 2.5 * edges[1]], [beyond], width=width, color=DRAWN_AS[LEVELS[-1]])
    axes.axvline(1, color=DRAWN_AS[QUIET], linewidth=0.8)
    most = float(max(many.max(), beyond, 1))
    axes.set(xlim=(0, 1 + 4 * edges[1]), yscale="log", ylim=(0.5, 2 * most))
    axes.yaxis.set_major_locator(LogLocator(numticks=4))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda n, _: f"{n:,.0f}" if n >= 1 else ""))
    axes.minorticks_off()
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1, 1 + 2.5 * edges[1]], ["0", "", "0.5", "", "1", "more"])
    axes.set_xlabel("largest error/bound of a case")
    return svg(figure, name, describes)


# --- signed distances -----------------------------------------------------------------------------


def bins(ulps: Array) -> tuple[Array, Array]:
    """(bin, how many) of distances that are not 0 and finite.

    Bins double: ±1 holds up to 1 ulp, ±2 up to 2, ±3 up to 4, ±k up to 2^(k−1).
    """
    number = 1 + np.ceil(np.log2(np.maximum(np.abs(ulps), 1)))
    found, many = np.unique(np.sign(ulps) * number, return_counts=True)
    return found, many


@rc_context(STYLE)
def histogram(name: str, distances: Mapping[str, Array], describes: str) -> str:
    """Signed distances in ulps, not 0 and finite: one panel for each that has a label."""
    counted = {label: bins(ulps) for label, ulps in distances.items()}
    reach = int(max(np.abs(found).max() for found, _ in counted.values()))
    most = max(many.max() for _, many in counted.values())
    every = max(1, math.ceil(reach / 5))
    panel, head = 80, 30
    figure = figure_of(WIDTH, (panel + head) * len(counted) + 44)
    for i, (label, (found, many)) in enumerate(counted.items()):
        axes = axes_in(figure, 56, head + (panel + head) * i, WIDTH - 72, panel)
        # next to each other: there is no bin of 0
        axes.bar(
            found - 0.5 * np.sign(found),
            many,
            width=0.9,
            color=DRAWN_AS[SERIES[1]],
        )
        axes.axvline(0, color=DRAWN_AS[QUIET], linewidth=0.8)
        axes.set_title(shortened(label, 80), loc="left", size=12, pad=5)
        axes.set(xlim=(-reach - 0.5, reach + 0.5), yscale="log", ylim=(0.5, 2 * float(most)))
        axes.yaxis.set_major_locator(LogLocator(numticks=4))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda n, _: f"{n:,.0f}" if n >= 1 else ""))
        axes.minorticks_off()
        ends = range(every, reach + 1, every)
        axes.set_xticks([0.0, *(sign * (k - 0.5) for sign in (-1, 1) for k in ends)])
        axes.set_xticklabels([])
        if i + 1 == len(counted):
            labels = [f"{sign}{_power(k - 1)}" for sign in ("−", "+") for k in ends]
            axes.set_xticklabels(["0", *labels])
            axes.set_xlabel("ulps, after − before; each bar goes up to twice the one before it")
    return svg(figure, name, describes)


def _power(exponent: int) -> str:
    """2^exponent in few characters."""
    number = 2**exponent
    return f"{number:,}" if exponent < 14 else f"{number:.0e}".replace("e+0", "e").replace("+", "")


def finite(ulps: Iterable[Array]) -> Array:
    """All distances in one row: those that are not 0 and have an end."""
    flat = [each.ravel() for each in ulps]
    whole = np.concatenate(flat) if flat else np.zeros(0)
    return np.asarray(whole[np.isfinite(whole) & (whole != 0)])
