"""How far may a sum of products be off?

A sum of K terms, in whatever order and with or without fused multiply-add, is off by γ_k Σ|terms|
at most (N. J. Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., SIAM 2002, section
3.1), and by nothing where no partial sum needs rounding.

A product with an exact zero is zero, and to add it rounds nothing: k counts the other terms.

    R rows, each with K numbers       H columns       one sum for each row and column
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from copy import copy
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from rnn_check.certificates.factors import Factor, Room, quanta, subnormal
from rnn_check.numbers.bounded import untold
from rnn_check.numbers.formats import FLOAT64, UP, Array


class Sum:
    """Sums of products and addends, (R,H), and how far the subject's may be from them."""

    value: Array
    size: Array  # Σ|terms|, or more
    top: float  # the largest of them
    lost: Any  # to underflow: Σ|terms with a subnormal operand|, which may be read as 0, and so on
    unit: Array | None  # (R,) a power of two of which all terms are multiples; None: of no use
    special: Any  # (R,H) whether some operand is NaN or infinite; None: none is
    terms: int  # how many are added that are not 0, at most
    stored: int  # how many results are stored, partial sums included
    gamma: float  # their roundings, and the reference's
    given: Any  # how far the addend is off

    def __init__(self, rows: Array, factor: Factor, room: Room | None = None) -> None:
        """rows (R,K) · matrix (K,H) + bias."""
        self.rows, self.factor, self.a = rows, factor, factor.a
        a, room = self.a, Room() if room is None else room
        self.addend_size: Any = None
        shape = len(rows), factor.matrix.shape[1]
        self.value = np.matmul(rows, factor.matrix, out=room("value", *shape))
        if factor.bias is not None:
            self.value += factor.bias
        used = factor.used(rows)
        self.terms = (factor.matrix.shape[0] if used is None else used.terms) + (
            factor.bias is not None
        )
        self.size, most = factor.sizes(rows, room, used)
        self.top, least = float(self.size.max(initial=0)), float(self.size.min(initial=np.inf))
        # operands that are read as 0 take η(Σ|row| + Σ|column|) at most, which mostly is nothing
        self.lost = a.min_normal * (self.terms * (factor.most + most) + 1)
        if not self.lost <= 2.0**-24 * a.u * least:
            self.lost = 0.0
            if (small := subnormal(np.abs(rows), a)) is not None:
                self.lost = small @ factor.size
            if factor.small is not None:
                self.lost = self.lost + np.abs(rows) @ factor.small
            if factor.bias is not None and (small := subnormal(np.abs(factor.bias), a)) is not None:
                self.lost = self.lost + small
        self.unit = factor.units(rows, least, used)
        if self.unit is not None:  # what is read as 0 makes a sum another, exact or not
            exact = self.unit * 2.0**a.bits > least
            if exact.any():
                small = subnormal(np.abs(rows[exact]), a)
                if factor.small is not None:
                    self.unit = None
                elif small is not None:
                    self.unit[exact] = np.where(small.any(axis=1), 0.0, self.unit[exact])
        self.special = None
        if not np.isfinite(self.top + most + factor.most):
            self.special = ~np.isfinite(rows).all(axis=1, keepdims=True)
            self.special = self.special | ~np.isfinite(factor.matrix).all(axis=0)
            if factor.bias is not None:
                self.special = self.special | ~np.isfinite(factor.bias)
            if (unknown := untold(rows, factor.matrix)) is not None:
                self.lost = np.where(unknown, np.inf, self.lost)

    @classmethod
    def plain(cls, factor: Factor) -> Sum:
        """What sums have in common that use all operands; none of them is made."""
        s = cls.__new__(cls)
        s.factor, s.a, s.addend_size = factor, factor.a, None
        s.terms = factor.matrix.shape[0] + (factor.bias is not None)
        s.lost, s.top, s.unit, s.special = 0.0, 0.0, None, None
        return s

    def plus(self, addend: Array, size: Array, unit: Array | None = None) -> Sum:
        """The addend (R,H) may itself be a sum: of numbers of this size, and this unit (R,)."""
        self.addend_size = size
        self.value += addend
        self.size += size
        if (small := subnormal(size, self.a)) is not None:
            self.lost = self.lost + small
        if self.unit is not None:
            self.unit = np.minimum(self.unit, quanta(addend) if unit is None else unit)
        self.top = float(self.size.max(initial=0))
        if not np.isfinite(self.top):
            special = ~np.isfinite(addend)
            self.special = special if self.special is None else self.special | special
        return self

    def bounded(self, addends: int = 0, *, stored: int, given: Array | None = None) -> Sum:
        """So many more are added, `stored` sums are stored, the addend is off by `given`.

        The bound of the error is then

            γ_k Σ|terms| + γ_k(2^-53) Σ|terms|      the subject's rounding and this product's own
            + underflow + lost

        Nothing of this where no partial sum needs rounding (see quantum); inf where a sum may
        overflow. Operands that are NaN or infinite make a sum exactly NaN or infinite, unless they
        are multiplied with 0 (see `untold`).
        """
        self.terms += addends
        k = self.terms + 1
        self.stored, self.given = stored, given
        own = FLOAT64.gamma(k)
        self.gamma = (self.a.gamma(k, stored) + own) * (UP + 2 * own)
        self.lost = self.lost + self.a.underflow(k, stored)
        return self

    @cached_property
    def is_plain(self) -> bool:
        """Whether the error of each sum is gamma·size and something that is the same for all."""
        return (
            self.unit is None
            and self.special is None
            and self.given is None
            and np.ndim(self.lost) == 0
            and self.top * (1 + self.gamma) <= self.a.max
        )

    @property
    def always_rounds(self) -> bool:
        """Whether all errors are more than 0."""
        return self.is_plain and self.lost > 0

    @cached_property
    def error(self) -> Array:
        a = self.a
        error: Array = self.gamma * self.size + self.lost
        if self.is_plain:
            return error
        if self.unit is not None:
            unit = np.where(self.unit < a.min_normal, 0.0, self.unit)[:, None]
            own = UP + 2 * FLOAT64.gamma(self.terms + 1)
            error[self.size * own < unit * 2.0**a.bits] = 0.0
        most = self.size * (1 + self.gamma)
        if self.given is not None:
            error += self.given * (1 + self.gamma)
            most += self.given
        error[~(most <= a.max)] = np.inf
        if self.special is not None:
            exact = self.special & ~np.isfinite(self.value) & (self.lost != np.inf)
            if self.given is not None:  # what may be off by anything is no operand that is infinite
                exact &= np.isfinite(self.given)
            error[exact] = 0.0
        return error

    def elements(self, flat: Array) -> Sum:
        """These elements of a plain sum alone, in one row."""
        few = copy(self)
        few.__dict__.pop("error", None)
        few.value, few.size = self.value.reshape(-1)[flat], self.size.reshape(-1)[flat]
        return few

    def at(self, rows: Array | slice, columns: Array | slice) -> Sum:
        """The sums at these rows and columns alone: a sample of all."""
        if isinstance(rows, slice) and isinstance(columns, slice):
            return self
        few = copy(self)
        few.rows = self.rows[rows]
        if not isinstance(columns, slice):
            few.factor = self.factor.columns(columns)
        few.value, few.size = self.value[rows][:, columns], self.size[rows][:, columns]
        for name in ("lost", "special", "given", "addend_size", "error"):
            part = few.__dict__.get(name)
            if isinstance(part, np.ndarray) and part.ndim:  # of some only columns differ
                few.__dict__[name] = np.broadcast_to(part, self.value.shape)[rows][:, columns]
        few.unit = None if self.unit is None else self.unit[rows]
        return few

    @property
    def squares(self) -> Array:
        """Σ terms² (R,H), the addend's as if its own were of one sign."""
        squares = np.square(self.rows) @ self.factor.squares
        if self.factor.bias is not None:
            squares += np.square(self.factor.bias)
        if self.addend_size is not None:
            squares += np.square(self.addend_size)
        return np.asarray(squares)

    def parts(self) -> Operands:
        """The operands once more, even when the rows' place in memory will hold others."""
        factor, rows = self.factor, self.rows.copy()

        def each() -> Iterator[tuple[str, str, Array, Array, Through | None]]:
            for (left, right), i, j in zip(factor.names, factor.starts, factor.ends, strict=True):
                yield left, right, rows[:, i:j], factor.matrix[i:j], None

        return each


class Through(NamedTuple):
    """How the error of a sum shows in what is made of it: times a weight, after another product."""

    weight: Array  # (R,C)
    inner: Array | None = None  # (R,K) what it is multiplied with before
    matrix: Array | None = None  # (K,C) a product

    def shown(self, error: Array) -> Array:
        if self.inner is not None and self.matrix is not None:
            error = (error * self.inner) @ self.matrix
        return error * self.weight

    def rows(self, which: Array | slice) -> Through:
        inner = None if self.inner is None else self.inner[which]
        return Through(self.weight[which], inner, self.matrix)

    def sizes(self, size: Array) -> Array:
        """The same of absolute values."""
        return self._each(np.abs).shown(size)

    def squares(self, squares: Array) -> Array:
        """The same of squares, whose roots are independent."""
        return self._each(np.square).shown(squares)

    def _each(self, change: Callable[[Array], Array]) -> Through:
        parts = (None if part is None else change(part) for part in (self.inner, self.matrix))
        return Through(change(self.weight), *parts)


# what rows and matrix are called, the rows (R,k), the matrix (k,C), and what their sums go through
Operands = Callable[[], Iterable[tuple[str, str, Array, Array, Through | None]]]
