"""How far may a sum of products be off, and how precisely was it computed?

A sum of K terms, in whatever order and with or without fused multiply-add, is off by γ_k Σ|terms|
at most (N. J. Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., SIAM 2002, section
3.1), and by nothing where no partial sum needs rounding. γ_k grows with k while rounding grows with
√k (Higham & Mary, SIAM J. Sci. Comput. 41, 2019), so the products of a wide layer may be made of
TF32 factors and stay within. Their effective precision hints at it:

    bits = -log2 rms(e/m)       e the error of a sum, m the 2-norm of its terms

TF32 shows 11.7 bits in sums of any length, float32 mostly more than 20; but sums of equal terms, or
in an unlucky order, are as bad as that in float32. Which it was, see operands.

A product with an exact zero is zero, and to add it rounds nothing: k counts the other terms.

    R rows, each with K numbers       H columns       one sum for each row and column
"""

import math
from collections.abc import Callable, Iterable, Iterator
from copy import copy
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from rnn_check.numbers.formats import ARITHMETICS, Arithmetic, Array, gamma, precision_class

FLOAT64 = ARITHMETICS["float64"]
UP = 1 + 2.0**-40  # covers the rounding of a bound's own few operations


# Sums of products -----------------------------------------------------------------------------

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
        self.size = np.abs(matrix)
        self.most = float(self.size.max(initial=0))
        self.starts, self.ends = [0, *parts], [*parts, len(matrix)]
        # squares need the room that float64 has beside all narrower arithmetics
        self.tight = tight or len(matrix) <= _TIGHT or a.min_normal <= FLOAT64.min_normal
        if not self.tight:  # (parts,H)
            self.norms = np.sqrt(np.add.reduceat(np.square(matrix), self.starts, axis=0))
            if bias is not None:
                self.norms = np.vstack([self.norms, np.abs(bias)])

    def columns(self, which: Array) -> "Factor":
        """The same with these columns of the matrix alone."""
        few = copy(self)
        for name in ("small", "squares"):
            few.__dict__.pop(name, None)
        few.matrix, few.size = self.matrix[:, which], self.size[:, which]
        if self.bias is not None:
            few.bias = self.bias[which]
        if not self.tight:
            few.norms = self.norms[:, which]
        return few

    def used(self, rows: Array) -> "Used | None":
        """Which operands of these rows hold something; None if a look at a few finds all to do so.

        A look that overlooks zeros costs sharpness alone.
        """
        if not len(rows) or len(self.matrix) <= _TIGHT or not np.isfinite(self.most):
            return None
        # spread by the golden ratio: a stride may hit first steps alone, whose states are 0
        few = rows[(np.arange(8) * (0.618 * len(rows))).astype(np.intp) % len(rows)]
        if (few != 0).any(axis=0).all():
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

    def sizes(self, rows: Array, room: Room, used: "Used | None") -> tuple[Array, float]:
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

    def norms_of(self, rows: Array, out: Array, used: "Used | None") -> Array:
        """(R,parts) the rows' norms, and 1 for the bias's."""
        for p, (i, j) in enumerate(zip(self.starts, self.ends, strict=True)):
            part = rows[:, i:j]
            if used is not None and len(used.rare):
                part = rows[:, used.parts[p]]
            np.einsum("rk,rk->r", part, part, out=out[:, p])
        out[:, len(self.starts) :] = 1.0
        return np.asarray(np.sqrt(out, out=out))

    @cached_property
    def small(self) -> Array | None:
        return _subnormal(self.size, self.a)

    @cached_property
    def squares(self) -> Array:
        return np.square(self.matrix)

    def units(self, rows: Array, least: float, used: "Used | None") -> Array | None:
        """(R,) a power of two of which all terms of a row's sums are multiples.

        None if no sum, of which `least` is the least size, holds fewer than 2^bits of its units:
        then some partial sum may be rounded. Most factors and rows show that in a few numbers.

        A row that is not 0 is so in one part, where its norm is its own quantum q at least. So its
        sums have a size of q times the least norm of any part of a column, and the unit q·quantum.
        """
        digits = 2.0**self.a.bits
        if not self.tight and (used is None or used.norms is None):
            least_norm = float(self.norms[: len(self.starts)].min(initial=np.inf))
            for some in (self.matrix[:1], self.matrix):
                if quanta(some.reshape(1, -1))[0] * digits <= least_norm:
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


def _subnormal(size: Array, a: Arithmetic) -> Array | None:
    """Which of these absolute values may be read as 0, the others 0; None if there are none."""
    small = size < a.min_normal
    if not small.any() or not size[small].any():
        return None
    return np.where(small, size, 0.0)


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
            if (small := _subnormal(np.abs(rows), a)) is not None:
                self.lost = small @ factor.size
            if factor.small is not None:
                self.lost = self.lost + np.abs(rows) @ factor.small
            if (
                factor.bias is not None
                and (small := _subnormal(np.abs(factor.bias), a)) is not None
            ):
                self.lost = self.lost + small
        self.unit = factor.units(rows, least, used)
        if self.unit is not None:  # what is read as 0 makes a sum another, exact or not
            exact = self.unit * 2.0**a.bits > least
            if exact.any():
                small = _subnormal(np.abs(rows[exact]), a)
                if factor.small is not None:
                    self.unit = None
                elif small is not None:
                    self.unit[exact] = np.where(small.any(axis=1), 0.0, self.unit[exact])
        self.special = None
        if not np.isfinite(self.top):
            self.special = ~np.isfinite(rows).all(axis=1, keepdims=True)
            self.special = self.special | ~np.isfinite(factor.matrix).all(axis=0)
            if factor.bias is not None:
                self.special = self.special | ~np.isfinite(factor.bias)

    def plus(self, addend: Array, size: Array, unit: Array | None = None) -> "Sum":
        """The addend (R,H) may itself be a sum: of numbers of this size, and this unit (R,)."""
        self.addend_size = size
        self.value += addend
        self.size += size
        if (small := _subnormal(size, self.a)) is not None:
            self.lost = self.lost + small
        if self.unit is not None:
            self.unit = np.minimum(self.unit, quanta(addend) if unit is None else unit)
        self.top = float(self.size.max(initial=0))
        if not np.isfinite(self.top):
            special = ~np.isfinite(addend)
            self.special = special if self.special is None else self.special | special
        return self

    def bounded(self, addends: int = 0, *, stored: int, given: Array | None = None) -> "Sum":
        """So many more are added, `stored` sums are stored, the addend is off by `given`.

        The bound of the error is then

            γ_k Σ|terms| + γ_k(2^-53) Σ|terms|      the subject's rounding and this product's own
            + underflow + lost

        Nothing of this where no partial sum needs rounding (see quantum); inf where a sum may
        overflow. Operands that are NaN or infinite make a sum exactly NaN or infinite.
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
            error[self.special & ~np.isfinite(self.value)] = 0.0
        return error

    def some(self, rows: Array) -> "Sum":
        """These rows of a plain sum alone."""
        few = copy(self)
        few.__dict__.pop("error", None)
        few.rows, few.value, few.size = self.rows[rows], self.value[rows], self.size[rows]
        return few

    def elements(self, flat: Array) -> "Sum":
        """These elements of a plain sum alone, in one row."""
        few = copy(self)
        few.__dict__.pop("error", None)
        few.value, few.size = self.value.reshape(-1)[flat], self.size.reshape(-1)[flat]
        return few

    def at(self, rows: Array | slice, columns: Array | slice) -> "Sum":
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
            if isinstance(part, np.ndarray) and part.ndim == 2:
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

    def parts(self) -> "Operands":
        """The operands once more, even when the rows' place in memory will hold others."""
        factor, rows = self.factor, self.rows.copy()

        def each() -> Iterator[tuple[str, str, Array, Array, Through | None]]:
            for (left, right), i, j in zip(factor.names, factor.starts, factor.ends, strict=True):
                yield left, right, rows[:, i:j], factor.matrix[i:j], None

        return each


class Narrow:
    """The same sums in float32, of which short ones are added up: off by little, at half the price.

    For rows and factors whose numbers float32 holds, and whose sums turn out to be plain.
    """

    def __init__(self, factor: Factor, stored: int) -> None:
        self.factor, K = factor, len(factor.matrix)
        self.matrix = factor.matrix.astype(np.float32)
        self.norms = np.empty((0, 0)) if factor.tight else factor.norms.astype(np.float32)
        self.bias = None if factor.bias is None else factor.bias.astype(np.float32)
        self.short = min(max(32, K // 8), 64)
        u = ARITHMETICS["float32"].u
        self.own = gamma(self.short + -(-K // self.short) + 2, u)  # of Σ|terms|
        # any, of which others are copies
        self.first = Sum(np.ones((1, K)), factor).bounded(stored=stored)
        self.gamma = self.first.gamma
        self.vague = gamma(K + 2**5, u)  # how far a size may be from Factor.sizes', relative to it

    def sums(self, rows: Array, room: Room) -> tuple[Array, Array, Sum] | None:
        """Value and size (R,H), and what all these sums have in common; None: perhaps not plain."""
        factor, a = self.factor, self.factor.a
        (R, K), H, terms = rows.shape, self.matrix.shape[1], self.first.terms
        if factor.used(rows) is not None:  # few terms that are not 0 round less than K/64
            return None
        value, size, some = (room(n, R, H, dtype=np.float32) for n in ("value4", "size4", "some4"))
        norms = factor.norms_of(rows, room("norms4", R, len(self.norms), dtype=np.float32), None)
        np.matmul(norms, self.norms, out=size)
        top, least = float(size.max(initial=0)), float(size.min(initial=np.inf))
        most = float(norms.max(initial=0))
        z = copy(self.first)
        z.unit = z.special = None
        z.top = top * (1 + self.vague)
        z.lost = a.min_normal * (terms * (factor.most + most) + 1)
        z.lost += a.underflow(terms + 1, z.stored)
        # squares in float32 may lose what is below 2^-63
        dropped = math.sqrt(K) * 2.0**-62 * float(factor.norms.max(initial=0))
        plain = (
            z.lost <= 2.0**-25 * a.u * least
            and dropped <= 2.0**-24 * least
            and top < 2.0**120
            and factor.units(rows[:, :1].astype(np.float64), least / 2, None) is None
        )
        if not plain or not z.is_plain:
            return None
        np.matmul(rows[:, : self.short], self.matrix[: self.short], out=value)
        for i in range(self.short, K, self.short):
            j = i + self.short
            value += np.matmul(rows[:, i:j], self.matrix[i:j], out=some)
        if self.bias is not None:
            value += self.bias
        return value, size, z

    def elements(self, rows: Array, at: Array, z: Sum) -> Sum:
        """These elements, of all sums laid flat, in full."""
        few, factor = copy(z), self.factor
        r, j = np.divmod(at, self.matrix.shape[1])
        chosen, columns = rows[r].astype(np.float64), factor.matrix.T[j]
        few.value = np.einsum("sk,sk->s", chosen, columns)
        few.size = np.zeros(len(at))
        for p, (i, k) in enumerate(zip(factor.starts, factor.ends, strict=True)):
            norms = np.sqrt(np.einsum("sk,sk->s", chosen[:, i:k], chosen[:, i:k]))
            few.size += norms * factor.norms[p, j]
        if factor.bias is not None:
            few.value += factor.bias[j]
            few.size += factor.norms[-1, j]
        return few


# Effective precision --------------------------------------------------------------------------


# The squares of errors above which sums are looked at more closely, in units of what rounding
# mostly makes of them, which is several times what it makes of sums in a good order
CLOSER = 2.0**-4


class Through(NamedTuple):
    """How the error of a sum shows in what is made of it: times a weight, after another product."""

    weight: Array  # (R,C)
    inner: Array | None = None  # (R,K) what it is multiplied with before
    matrix: Array | None = None  # (K,C) a product

    def shown(self, error: Array) -> Array:
        if self.inner is not None and self.matrix is not None:
            error = (error * self.inner) @ self.matrix
        return error * self.weight

    def rows(self, which: Array | slice) -> "Through":
        inner = None if self.inner is None else self.inner[which]
        return Through(self.weight[which], inner, self.matrix)

    def sizes(self, size: Array) -> Array:
        """The same of absolute values."""
        return self._each(np.abs).shown(size)

    def squares(self, squares: Array) -> Array:
        """The same of squares, whose roots are independent."""
        return self._each(np.square).shown(squares)

    def _each(self, change: Callable[[Array], Array]) -> "Through":
        parts = (None if part is None else change(part) for part in (self.inner, self.matrix))
        return Through(change(self.weight), *parts)


# what rows and matrix are called, the rows (R,k), the matrix (k,C), and what their sums go through
Operands = Callable[[], Iterable[tuple[str, str, Array, Array, Through | None]]]


class Errors(NamedTuple):
    """The errors of a grid of sums, in units of the 2-norm of their terms; NaN where none counts.

    operands() gives the parts of these sums once more, of which one sum after the other may be a
    part.
    """

    e: Array  # (R,C)
    m: Array
    operands: Operands


class Sample(NamedTuple):
    """Errors e of sums, in units of the 2-norm m of their terms: how many, and sums of squares."""

    sums: int
    seen: float  # Σ (e/m)²
    possible: float  # Σ of what rounding mostly makes of them, see sample_of
    errors: tuple[Errors, ...] = ()

    def __add__(self, other: Any) -> "Sample":
        return Sample(*(one + another for one, another in zip(self, other, strict=True)))


NOTHING = Sample(0, 0.0, 0.0)


def called(a: Arithmetic) -> str:
    return "TF32" if a.name == "tf32" else a.name


# Three standard deviations of the rms of N errors are 3/√(2N) of it. From N = 16 on they stay
# within half the distance of the nearest two classes, 9.3 bits of bfloat16 and 11.7 of TF32.
ENOUGH = 16
SAMPLED = 2**12  # sums in a sample, whose rms is then known to 1 %: more would not tell more
_CLASSES = ("float64", "float32", "TF32", "bfloat16", "less than bfloat16")


def effective_precision(a: Arithmetic, sample: Sample) -> tuple[float | None, str | None, bool]:
    """(bits, the class they speak for, whether they are too few for the arithmetic claimed)."""
    if sample.sums < ENOUGH or sample.seen == 0:
        return None, None, False
    bits = -math.log2(sample.seen / sample.sums) / 2
    seen, claimed = precision_class(bits), called(a)
    rank = _CLASSES.index("TF32" if claimed == "float16" else claimed)
    if _CLASSES.index(seen) <= rank or sample.seen <= sample.possible:
        return bits, claimed, False
    return bits, seen, True


def sample_of(
    s: Sum, e: Array, noise: Array | float = 0.0, clear: Any = True, squares: Array | None = None,
    operands: "Operands | None" = None,
) -> Sample:  # fmt: skip
    """What the errors e (R,C) of these sums say about how the sums were made.

    noise bounds what else may be in e, such as the rounding of the activation. A sum counts if
    that is at most 2^5 u·m (5 bits, fewer than lie between two classes), and underflow is at most
    u·m, and something was rounded at all.

    What rounding mostly does is more than u·m in long sums: each partial sum s is off by at most
    u|s|, with a random sign and uniformly (Higham & Mary's model), and partial sums are as large as
    the sum itself, or wander off like a random walk of the terms, to about 3m. So the mean square
    of e is about (u(|sum| + 3m))² K/3, the same for each result that is stored, and 2(u·m)² for
    operands that are cut. Where it is more, one has to look closer.
    """
    a = s.a
    m = np.sqrt(s.squares if squares is None else squares)
    counts = (noise <= 2**5 * a.u * m) & (s.lost <= a.u * m) & clear & (s.error > 0)
    return sampled(e, m, typical(s, m) / np.square(m), counts, operands or s.parts())


def typical(s: Sum, m: Array) -> Array:
    """The square of what rounding mostly makes of sums, of which m is the 2-norm of the terms."""
    a = s.a
    variance = s.terms / 3 * a.u_sum**2
    if a.u_sum != a.u_product:
        variance += s.stored / 3 * a.u_product**2
    return np.asarray(
        variance * np.square(np.abs(s.value) + 3 * m) + 2 * a.u_operand**2 * np.square(m)
    )


def sampled(e: Array, m: Array, possible: Array, counts: Array, operands: Operands) -> Sample:
    """Those errors e (R,C) that count, in units of m; possible: of (e/m)²."""
    counts = counts & np.isfinite(e) & np.isfinite(m) & (m > 0)
    e = e / m
    sums, squares = int(np.count_nonzero(counts)), np.square(e)
    if sums < counts.size:
        e = np.where(counts, e, np.nan)
        squares, possible = squares[counts], possible[counts]
    seen = Sample(sums, float(squares.sum()), float(possible.sum()))
    if not seen.seen > CLOSER * seen.possible / 2**6:
        return seen  # these sums will not be looked at more closely
    errors = Errors(e, m, operands)
    return seen._replace(errors=(errors,))
