"""How far may a number be off, and what is made of it?

Bounds on what rounding can do to the numbers of a reference, each derived where it is used, from

    fl(a op b) = (a op b)(1 + ε), |ε| <= u        k such factors: 1 + θ_k, |θ_k| <= γ_k
    γ_k = k·u / (1 - k·u)                         Higham, Accuracy and Stability of Numerical
                                                  Algorithms, 2nd ed., SIAM 2002, lemma 3.1

where u is the unit roundoff of an arithmetic (float32: 2^-24). A sum of products, in any order and
with or without fused multiply-add, is off by at most γ_k Σ|a_i||b_i|, where k counts the roundings
on the longest way through it (Higham, section 3.1), plus what underflow adds. Under IEEE rules that
is half a smallest subnormal a product (section 2.1), but frameworks flush subnormals to zero,
results and operands alike (TensorFlow sets FTZ and DAZ). So underflow terms here are built from the
smallest *normal* number η: η for each result that may be flushed, and |w| itself for each operand w
below η.

All bounds are float64 and never NaN: where nothing can be said, a bound is inf. They are sums and
products of numbers >= 0; the rounding of their own evaluation is covered by one last factor.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from rnn_check.numbers.formats import (
    FLOAT64,
    Arithmetic,
    Array,
    Bound,
    _upper,
    gamma,
    held,
    quantum,
)


@dataclass(frozen=True, eq=False)
class Bounded:
    """A number of the reference (float64), and how far the subject's may be from it.

    value, error: of one shape; error is inf where nothing can be said. a: the subject's arithmetic.
    size: |value|, or more: what its roundings are relative to. factor: the size of a factor of it
    that a compiler may multiply by first, as gelu's z in i·gelu(z).

    `value, error = number` takes it apart.
    """

    value: Array
    error: Array
    a: Arithmetic
    larger: Array | None = None  # size, where it is more
    factor: Array | None = None

    def __iter__(self) -> Iterator[Array]:
        yield self.value
        yield self.error

    @cached_property
    def size(self) -> Array:
        return np.asarray(np.abs(self.value) if self.larger is None else self.larger)

    @property
    def is_nan(self) -> Any:
        """Where it is NaN for sure, because an operand is; False if nowhere."""
        nan = np.isnan(self.value)
        return nan & (self.error == 0) if nan.any() else False

    @cached_property
    def most(self) -> Array:
        """What the subject's is at most, in absolute value."""
        return np.asarray(self.size + self.error)

    @cached_property
    def unit(self) -> float:
        """Of which all the values are multiples: see `formats.quantum`."""
        return quantum(self.value)

    @property
    def reached(self) -> Array:
        """What is the most that a product with it may meet on the way."""
        return self.most if self.factor is None else np.maximum(self.most, self.factor)

    @cached_property
    def known(self) -> Bounded:
        """As an operand: where the subject's number may be subnormal, it may count as zero."""
        flushed = abs(self.value) - self.error < self.a.min_normal
        if not flushed.any():
            return self
        error = np.where(flushed, np.maximum(self.error, abs(self.value)), self.error)
        return Bounded(self.value, error, self.a, self.larger)

    def __mul__(self, other: Bounded) -> Bounded:
        a, b = self.known, other.known
        value = a.value * b.value
        most = a.most * b.most
        error = a.error * b.most + a.size * b.error
        exact = (a.error == 0) & (b.error == 0)
        if exact.any():
            exact = exact & _product_is_exact(a.value, b.value, self.a)
        first = most
        if self.factor is not None or other.factor is not None:
            first = np.maximum(most, self.reached * other.reached)
        return _rounded(value, error, most, exact, self.a, self.is_nan, other.is_nan, first=first)

    def __add__(self, other: Bounded) -> Bounded:
        return _sum(self, other, np.add)

    def __sub__(self, other: Bounded) -> Bounded:
        return _sum(self, other, np.subtract)

    def __rsub__(self, one: float) -> Bounded:
        return exactly(np.asarray(one, np.float64), self.a) - self

    def __neg__(self) -> Bounded:
        return self.times(-1)

    def times(self, factor: Array | float) -> Bounded:
        """The same number in other units, a factor of which neither rounds anything."""
        larger = None if self.larger is None else self.larger * np.abs(factor)
        return Bounded(self.value * factor, self.error * np.abs(factor), self.a, larger)

    def off_by(self, more: Array | float) -> Bounded:
        """The same number, when the subject's may be off by so much more."""
        return Bounded(self.value, self.error + more, self.a, self.larger)

    @cached_property
    def T(self) -> Bounded:
        """Matrices transposed, of whatever leading axes."""
        return self.each(lambda part: part.swapaxes(-1, -2))

    def at(self, t: int | slice) -> Bounded:
        return self.each(lambda part: part[t])

    @property
    def rows(self) -> Bounded:
        """All but the last axis as one: (T,B,H) becomes (T·B,H)."""
        return self.each(lambda part: part.reshape(-1, part.shape[-1]))

    def each(self, change: Callable[[Array], Array]) -> Bounded:
        """The same change of shape to all parts."""
        larger, factor = (
            None if part is None else change(part) for part in (self.larger, self.factor)
        )
        return Bounded(change(self.value), change(self.error), self.a, larger, factor)


def stacked(parts: Sequence[Bounded], axis: int = 0) -> Bounded:
    """Along a new axis."""
    return _together(parts, lambda arrays: np.stack(arrays, axis))


def joined(parts: Sequence[Bounded], axis: int = 0) -> Bounded:
    """Along an axis that they have."""
    return _together(parts, lambda arrays: np.concatenate(arrays, axis))


def where(chosen: Array, one: Bounded, other: Bounded) -> Bounded:
    """One of the two, wherever it is chosen."""
    return _together([one, other], lambda arrays: np.where(chosen, *arrays))


def _together(parts: Sequence[Bounded], combine: Callable[[list[Array]], Array]) -> Bounded:
    value, error = combine([p.value for p in parts]), combine([p.error for p in parts])
    larger = None
    if any(part.larger is not None for part in parts):
        larger = combine([part.size for part in parts])
    return Bounded(value, error, parts[0].a, larger)


def exactly(value: Array, a: Arithmetic) -> Bounded:
    value = np.asarray(value, np.float64)
    return Bounded(value, np.zeros_like(value), a)


def _sum(x: Bounded, y: Bounded, combine: np.ufunc) -> Bounded:
    p, q = x.known, y.known
    value = combine(p.value, q.value)
    most, error = p.most + q.most, p.error + q.error
    exact = error == 0
    if exact.any():
        rest = value - p.value  # the rounding error of the sum: Knuth's two-sum
        other = combine(0.0, q.value)
        lost = (p.value - (value - rest)) + (other - rest)
        exact = exact & (lost == 0) & _held(value, x.a)
    return _rounded(value, error, most, exact, x.a, x.is_nan, y.is_nan)


def _rounded(
    value: Array,
    error: Array,
    most: Array,
    exact: Array,
    a: Arithmetic,
    *nan: Any,
    first: Array | None = None,
) -> Bounded:
    """One result more: rounded by the subject and by the reference, unless neither needs it.

    first: what is the most on the way to it, if not itself. Exactly NaN where one of the operands
    is (nan).
    """
    one = (gamma(1, a.u_stored) + gamma(2, FLOAT64.u)) * most + 2 * a.min_normal
    error = error + (np.where(exact, 0.0, one) if exact.any() else one)
    if (overflows := (most if first is None else first) > a.max).any():
        error = np.where(overflows, np.inf, error)
    return Bounded(value, _but_nan(_upper(error), *nan), a)


def _but_nan(error: Array, *nan: Any) -> Array:
    for where in nan:
        if where is not False:
            error = np.where(where, 0.0, error)
    return error


def _held(value: Array, a: Arithmetic) -> Array:
    """Whether the arithmetic holds the value, as a normal number or zero."""
    if not a.u_stored:
        return np.ones(np.shape(value), bool)
    normal = (value == 0) | ((np.abs(value) >= a.min_normal) & (np.abs(value) <= a.max))
    return np.asarray(normal & held(value, a))


def _product_is_exact(x: Array, y: Array, a: Arithmetic) -> Array:
    """Whether x·y is a float64, and a number of the arithmetic: by the digits of its factors."""
    with np.errstate(all="ignore"):
        value = x * y
        split = 2.0**27 + 1  # Dekker's product: halves of 26 bits, whose products are exact
        high = [v * split - (v * split - v) for v in (x, y)]
        low = [v - h for v, h in zip((x, y), high, strict=True)]
        lost = low[0] * low[1] - (
            ((value - high[0] * high[1]) - low[0] * high[1]) - high[0] * low[1]
        )
    inside = (np.abs(value) < 2.0**900) & ((value == 0) | (np.abs(value) > 2.0**-900))
    return np.asarray((lost == 0) & inside & _held(value, a))


def operand(value: Array | float, error: Array | float, a: Arithmetic) -> Bounded:
    """As an operand, the error of any shape that fits the value's."""
    value = np.asarray(value, np.float64)
    return Bounded(value, np.broadcast_to(np.asarray(error, np.float64), value.shape), a).known


def _given(value: Array, error: Array | float, a: Arithmetic, rounded: bool) -> Bounded:
    """An input as the subject receives it: known to within `error`, then rounded to its arithmetic.

    A number that is representable, and exactly known, is not changed by rounding.
    """
    value = np.asarray(value, np.float64)
    error = np.broadcast_to(np.asarray(error, np.float64), value.shape)
    if rounded and a.u_stored:
        kept = (error == 0) & held(value, a)
        most = abs(value) + error
        rounding = np.where(kept, 0.0, a.u_stored * most + a.min_subnormal)
        error = np.where(most * (1 + a.u_stored) > a.max, np.inf, error + rounding)
    return operand(value, error, a)


def _sum_error(
    a: Arithmetic,
    products: Iterable[tuple[Bounded, Bounded]],
    addends: Iterable[Bounded] = (),
    *,
    k: int,
    stored: int = 1,
) -> Bound:
    """How far the subject's Σ A·B + Σ C may be from the reference's, A·B being matrix products.

    k roundings at most on any way through the sum. With |Â - A| <= dA and so on,

        |ÂB̂ - AB| <= dA(|B| + dB) + |A|dB               what the operands bring along
        γ_k Σ (|A| + dA)(|B| + dB) + ...                 the subject's rounding
        γ_k(2^-53) Σ |A||B| + ...                        the reference's own: one sum, in any order

    Nothing of the last two where all partial sums are exactly representable (see quantum). inf
    where the sum may overflow, or nothing is known of a product (see `untold`).
    """
    size: Any = 0.0
    brought: Any = 0.0
    unit = np.inf
    for A, B in products:
        size = size + A.size @ B.size
        brought = brought + A.error @ B.most + A.size @ B.error
        if (unknown := untold(A.most, B.most)) is not None:
            brought = np.where(unknown, np.inf, brought)
        unit = min(unit, A.unit * B.unit)
    for C in addends:
        size, brought = size + C.size, brought + C.error
        unit = min(unit, C.unit)
    subject = a.gamma(k, stored) * (size + brought) + a.underflow(k, stored)
    own = gamma(k, FLOAT64.u) * size + FLOAT64.underflow(k)
    exact = (brought == 0) & (size < unit * 2.0**a.bits) & (unit >= max(a.min_normal, 2.0**-1022))
    error = brought + np.where(exact, 0.0, subject + own)
    error = error * (1 + gamma(k + 8, FLOAT64.u))  # of the sums above, which may be long
    return _upper(np.where(size + brought + subject > a.max, np.inf, error))


def untold(rows: Array, matrix: Array) -> Array | None:
    """Of which products' sums (...,R,H) nothing is told: inf, or NaN, times 0; None: of no one.

    IEEE has NaN for it, and BLAS may leave out whatever is multiplied with 0. A sum that has NaN
    beside it, times something else, is NaN all the same.
    """
    far = [~np.isfinite(part) for part in (rows, matrix)]
    if not any(part.any() for part in far):
        return None
    nan = [np.isnan(part) for part in (rows, matrix)]
    return _meet(far, [part == 0 for part in (rows, matrix)]) & ~_meet(
        nan, [part != 0 for part in (rows, matrix)]
    )


def _meet(some: Sequence[Array], others: Sequence[Array]) -> Array:
    """In which sums of products one of some is a factor of one of the others; of rows, matrix."""
    counts = [part.astype(np.float64) for part in (*some, *others)]
    return np.asarray(counts[0] @ counts[3] + counts[2] @ counts[1] > 0)


def orthogonality_bound(weight: Array, error: Array | float, a: Arithmetic) -> Bound:
    """How far WᵀW may be from the identity if W (m,n) is what a framework calls orthogonal.

    W is known to within `error`, and is the Q of a Householder factorization computed in `a`:
    ‖Q - Q̂‖_F <= √n γ_{c·m·n} with an orthogonal Q (Higham, theorem 19.4). There c is "a small
    integer constant" without a value; here it is 4, twice the operations on an element in a
    reflection.
    So |Q̂ᵀQ̂ - I| <= 2f + f² with that norm f; the error adds |W|ᵀe + eᵀ|W| + eᵀe.
    """
    W = np.abs(np.asarray(weight, np.float64))
    e = np.broadcast_to(np.asarray(error, np.float64), W.shape)
    m, n = W.shape
    f = math.sqrt(n) * gamma(4 * m * n, a.u_stored)
    product = gamma(m, FLOAT64.u) * (W.T @ W)
    return _upper(2 * f + f * f + product + W.T @ e + e.T @ W + e.T @ e)
