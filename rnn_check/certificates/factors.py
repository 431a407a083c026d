"""What do the bounds of products need to know of their right factor?

R rows, each with K numbers       H columns
"""

from __future__ import annotations

import math
from copy import copy
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from rnn_check.numbers.formats import FLOAT64, Arithmetic, Array

_TIGHT = 32  # up to so many terms, Σ|x||W| itself costs no more than its bound by norms


class Room:
    """Arrays to write into again and again: where memory is new, its first touch costs most."""

    def __init__(self) -> None:
        self.flat: dict[str, Array] = {}

    def __call__(self, name: str, *shape: int, dtype: Any = np.float64) -> Array:
        size = math.prod(shape)
        if name not in self.flat or len(self.flat[name]) < size:
            self.flat[name] = np.empty(size, dtype)
        return self.flat[name][:size].reshape(shape)


Names = tuple[tuple[str, str], ...]


class Factor:
    """The right factor of products with many rows, and what their bounds need to know of it."""

    whole = False  # whether it is known of all rows that they use all operands

    def __init__(
        self,
        matrix: Array,
        a: Arithmetic,
        *parts: int,
        bias: Array | None = None,
        tight: bool = False,
        names: Names = (("", ""),),
    ) -> None:
        """parts: at which of the K terms others begin, of another kind and perhaps size.

        names: what the operands of each part are called, rows and matrix; "" if there are none.
        """
        self.matrix, self.a, self.bias = matrix, a, bias  # (K,H), (H,)
        self.names = names
        self.most = float(np.maximum(matrix.max(initial=0), -matrix.min(initial=0)))
        self.starts, self.ends = [0, *parts], [*parts, len(matrix)]
        # squares need the room that float64 has beside all narrower arithmetics
        self.tight = tight or len(matrix) <= _TIGHT or a.min_normal <= FLOAT64.min_normal
        if not self.tight:  # (parts,H)
            each = [matrix[i:j] for i, j in zip(self.starts, self.ends, strict=True)]
            self.norms = np.sqrt(np.stack([np.einsum("kh,kh->h", m, m) for m in each]))
            if bias is not None:
                self.norms = np.vstack([self.norms, np.abs(bias)])

    def columns(self, which: Array) -> Factor:
        """The same with these columns of the matrix alone."""
        few = copy(self)
        for name in ("size", "small", "squares", "never_exact"):
            few.__dict__.pop(name, None)
        few.matrix = self.matrix[:, which]
        if self.bias is not None:
            few.bias = self.bias[which]
        if not self.tight:
            few.norms = self.norms[:, which]
        return few

    def used(self, rows: Array) -> Used | None:
        """Which operands of these rows hold something; None if a look at a few finds all to do so.

        A look that overlooks zeros costs sharpness alone.
        """
        if not len(rows) or self.is_used(rows[some_of(len(rows))]):
            return None
        held = rows != 0
        often = np.count_nonzero(held, axis=0)
        terms = int(np.count_nonzero(held, axis=1).max(initial=0))
        rare = (often > 0) & (often < len(rows) / 4)
        if self.tight or ((often > 0).all() and not rare.any()):
            return Used(terms, None, np.zeros(0, np.intp), [])
        common = (often > 0) & ~rare
        parts = [
            i + np.flatnonzero(common[i:j]) for i, j in zip(self.starts, self.ends, strict=True)
        ]
        norms = np.stack([np.sqrt(np.square(self.matrix[part]).sum(axis=0)) for part in parts])
        if self.bias is not None:
            norms = np.vstack([norms, np.abs(self.bias)])
        return Used(terms, norms, np.flatnonzero(rare), parts)

    def is_used(self, few: Array) -> bool:
        """Whether these few rows find all operands to hold something, or nobody asks."""
        asked = len(self.matrix) > _TIGHT and np.isfinite(self.most) and not self.whole
        return not asked or bool((few != 0).any(axis=0).all())

    @cached_property
    def never_exact(self) -> bool:
        """Whether the matrix alone shows that some partial sum of any rows may be rounded.

        A row that is not 0 is so in one part, where its norm is its own quantum q at least. So its
        sums have a size of q times the least norm of any part of a column, and the unit q·quantum.
        """
        if self.tight:
            return False
        least = float(self.norms[: len(self.starts)].min(initial=np.inf))
        digits = 2.0**self.a.bits
        few = self.matrix[0, :4].tolist() if len(self.matrix) else []  # mostly they show it
        if any(digits * _unit(number) <= least for number in few):
            return True
        return bool(quanta(self.matrix.reshape(1, -1))[0] * digits <= least)

    def sizes(self, rows: Array, room: Room, used: Used | None) -> tuple[Array, float]:
        """(R,H) Σ|terms|, or by Cauchy and Schwarz ‖row‖‖column‖, which is no less; a max |row|.

        Norms run over the operands that the block of rows uses; terms that few of its rows have are
        added up as they are.
        """
        out = room("size", len(rows), self.matrix.shape[1])
        if self.tight:
            size = np.abs(rows, out=room("|rows|", *rows.shape))
            np.matmul(size, self.size, out=out)
            if self.bias is not None:
                out += np.abs(self.bias)
            return out, float(size.max(initial=0))
        of_rows = self.norms_of(rows, room("norms", len(rows), len(self.norms)), used)
        most = float(of_rows.max(initial=0))
        if used is None or used.norms is None:
            return np.matmul(of_rows, self.norms, out=out), most
        np.matmul(of_rows, used.norms, out=out)
        if len(used.rare):
            few = np.abs(rows[:, used.rare])
            out += few @ self.size[used.rare]
            most = max(most, float(few.max(initial=0)))
        return out, most

    def norms_of(self, rows: Array, out: Array, used: Used | None) -> Array:
        """(R,parts) the rows' norms, and 1 for the bias's."""
        for p, (i, j) in enumerate(zip(self.starts, self.ends, strict=True)):
            part = rows[:, i:j]
            if used is not None and len(used.rare):
                part = rows[:, used.parts[p]]
            np.einsum("rk,rk->r", part, part, out=out[:, p])
        out[:, len(self.starts) :] = 1.0
        return np.asarray(np.sqrt(out, out=out))

    @cached_property
    def size(self) -> Array:
        return np.abs(self.matrix)

    @cached_property
    def small(self) -> Array | None:
        return subnormal(self.size, self.a)

    @cached_property
    def squares(self) -> Array:
        return np.square(self.matrix)

    def units(self, rows: Array, least: float, used: Used | None) -> Array | None:
        """(R,) a power of two of which all terms of a row's sums are multiples.

        None if no sum, of which `least` is the least size, holds fewer than 2^bits of its units:
        then some partial sum may be rounded. Most factors and rows show that in a few numbers.
        """
        digits = 2.0**self.a.bits
        if (used is None or used.norms is None) and self.never_exact:
            return None
        quantum = quanta(self.matrix.reshape(1, -1))
        for some in (rows[:, :1], rows):
            units = quantum * quanta(some)
            if not (units * digits > least).any():
                return None
        return units if self.bias is None else np.minimum(units, quanta(self.bias[None]))


class Used(NamedTuple):
    """What a block of rows uses of a factor: all of its columns, or some of them that are named."""

    terms: int  # how many operands of a row are not 0, at most
    norms: Array | None  # as Factor.norms, over the columns that many rows use; None: over all
    rare: Array  # the columns that few rows use
    parts: list[Array]  # the others of each part


def some_of(R: int) -> Array:
    """Eight of R rows, spread by the golden ratio: a stride may hit first steps alone, whose states
    are 0.
    """
    return np.asarray((np.arange(8) * (0.618 * R)).astype(np.intp) % R)


def subnormal(size: Array, a: Arithmetic) -> Array | None:
    """Which of these absolute values may be read as 0, the others 0; None if there are none."""
    small = size < a.min_normal
    if not small.any() or not size[small].any():
        return None
    return np.where(small, size, 0.0)


def _unit(number: float) -> float:
    """The same of one number."""
    if not math.isfinite(number):
        return 0.0
    whole, parts = number.as_integer_ratio()
    return math.inf if not whole else float(whole & -whole) / parts


def quanta(array: Array) -> Array:
    """The largest power of two of which all numbers of a row are multiples; see quantum. (R,)

    To take away the last digit of a number that is 1 takes away its quantum.
    """
    bits = np.ascontiguousarray(array).view(np.int64)
    digits = bits & (2**52 - 1)
    rest = np.where(digits == 0, 0, bits & (bits - 1)).view(np.float64)
    unit = np.abs(array - rest)
    unit[array == 0] = np.inf
    unit[~np.isfinite(array)] = 0.0
    return np.asarray(unit.min(axis=1, initial=np.inf))
