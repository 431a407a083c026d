"""What does a page show of arrays: which part, and what is another or beyond its bound?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rnn_check.certificates.comparison import Comparison, bits
from rnn_check.claims.written import Array
from rnn_check.reports.answers import Said, numbered

WINDOW = 12  # rows and columns of a matrix


@dataclass(frozen=True)
class _Entry:
    """A number; whether it is another than the baseline's, whether it is beyond its bound."""

    value: float
    other: bool
    beyond: bool


@dataclass(frozen=True)
class Matrix:
    """A part of an array, in rows: heads of columns and rows, and where the part was taken."""

    title: str
    names: str
    columns: list[str]
    rows: list[tuple[str, list[_Entry]]]
    part: str


def matrices(answers: Sequence[Said], names: Sequence[str]) -> list[list[Matrix]]:
    """What each framework returned and what it is held against, in groups that belong together.

    They are one group if the same is expected of all; else each subject has its own.
    """
    baseline = answers[0].comparison
    at = _telling_place([a.comparison for a in answers])
    got, expected = [], []
    for said in answers:
        c, who = said.comparison, numbered(said.subjects, names)
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
) -> Matrix:
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
    return Matrix(title, names, heads[1], rows, ", ".join(told))


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
