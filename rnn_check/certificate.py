"""Does each step follow from the one before?

A framework hands us all of its states, so each step is asked alone: given the ĥ_{t-1} that you
computed, is your ĥ_t the value of the recurrence, up to the rounding of that one step? Nothing
propagates, so the bound is as tight at the millionth step as at the first:

    z_t = x_t·W + ĥ_{t-1}·U + b       Δ_t = γ_k (|x_t||W| + |ĥ_{t-1}||U| + |b|),  k = F + H + 2
    |ĥ_t - act(z_t)|  <=  sup |act(z_t + e) - act(z_t)| over |e| <= Δ_t  +  the error of act itself

γ_k covers every order of summation, with or without fused multiply-add (N. J. Higham, Accuracy and
Stability of Numerical Algorithms, 2nd ed., SIAM 2002, section 3.1); to ask for the smallest change
of the terms that explains a residual is the componentwise backward error of Oettli & Prager (Numer.
Math. 6, 1964). Gradients go the same way, each adjoint δ = dL/dz from the one after it, and each
gradient from the adjoints:

    g_t = c_t + δ_{t+1}·Uᵀ            δ_t = g_t ∘ act'(z_t)
    dW = Σ x_tᵀδ_t    dU = Σ h_{t-1}ᵀδ_t    db = Σ δ_t    dx_t = δ_t·Wᵀ    dh_0 = δ_1·Uᵀ

The worst case γ_k grows with k while rounding grows with √k (Higham & Mary, SIAM J. Sci. Comput.
41, 2019), so products of TF32 factors can hide in a wide layer. A second figure finds them, the
effective precision: bits = -log2 rms(e/m), where e is the error as seen from z, and m the 2-norm of
the terms that were added. TF32 shows 11.7 bits at any width, float32 more than 20.

    B batch, T timesteps, F features, H units, O outputs       R rows, K terms of a sum
    x (B,T,F)   W = kernel (F,H)   U = recurrent_kernel (H,H)   b = bias (H,)   h, z, δ (B,T,H)
    c (B,T,H) = cotangent, dL/dh as far as it does not come through later states

All arrays are judged in blocks, so that memory does not grow with the sequence.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from copy import copy
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from rnn_check import reference
from rnn_check.reference import Array
from rnn_check.rounding import (
    ARITHMETICS,
    C_ACT,
    Arithmetic,
    activation_error,
    arithmetic,
    derivative_error,
    derivative_spread,
    gamma,
    precision_class,
    running_dense_gradients,
    running_loss,
    spread,
    vjp_bound,
)

_FLOAT64 = ARITHMETICS["float64"]
_UP = 1 + 2.0**-40  # covers the rounding of a bound's own few operations
_BLOCK = 2**20  # numbers in the arrays of a block, about: 8 MB


# The result -----------------------------------------------------------------------------------


class _Sample(NamedTuple):
    """Errors e of sums, in units of the 2-norm m of their terms: how many, and sums of squares."""

    sums: int
    seen: float  # Σ (e/m)²
    possible: float  # Σ of what rounding may have made of them, see _sample

    def __add__(self, other: Any) -> "_Sample":
        return _Sample(*(one + another for one, another in zip(self, other, strict=True)))


_NOTHING = _Sample(0, 0.0, 0.0)


class _Piece(NamedTuple):
    """What the elements of a part of an array should be, and how far they may be from it."""

    place: tuple[slice, ...]
    expected: Array
    bound: Array
    sample: _Sample = _NOTHING
    only: Array | None = None  # the elements meant, of that part laid flat; None: all
    settles: int | None = None  # how many elements need no further piece; None: those meant


# pieces(worst): what is proved to have no larger ratio than worst.ratio may be left out
_Pieces = Callable[["_Worst"], Iterator[_Piece]]


@dataclass
class _Worst:
    """The element with the largest ratio so far."""

    ratio: float = -1.0
    where: tuple[int, ...] = ()
    got: float = 0.0
    expected: float = 0.0
    off: float = 0.0
    allowed: float = 0.0

    def __str__(self) -> str:
        return (
            f"at {self.where}: got {self.got:.9g}, expected {self.expected:.9g}, "
            f"off by {self.off:.3g} where {self.allowed:.3g} is allowed"
        )


@dataclass(frozen=True)
class Certificate:
    """The answer for one array of a subject.

    ok               every element is within its bound, and the bits are those of the arithmetic
    ratio            the largest residual/bound: 0 where both are 0, inf where the bound alone is
    where            the index of that element
    judged           how many elements have a bound: sums that may overflow have none
    bits             the effective precision; None where too few sums were rounded to tell
    consistent_with  the arithmetic that these bits speak for; None without bits
    claimed          the arithmetic that was to be proved
    reason           one sentence

    observed, expected, residual and bound are whole arrays, float64, computed when they are first
    asked for from the arrays that were given: do not change those in between.
    """

    ok: bool
    ratio: float
    where: tuple[int, ...]
    judged: int
    bits: float | None
    consistent_with: str | None
    claimed: str
    reason: str
    _given: Array = field(repr=False, compare=False)
    _pieces: _Pieces = field(repr=False, compare=False)

    @cached_property
    def observed(self) -> Array:
        return self._given.astype(np.float64)

    @cached_property
    @np.errstate(all="ignore")
    def _derived(self) -> tuple[Array, Array]:
        expected, bound = np.empty(self._given.shape), np.empty(self._given.shape)
        for piece in self._pieces(_Worst(-math.inf)):
            expected[piece.place], bound[piece.place] = piece.expected, piece.bound
        return expected, bound

    @property
    def expected(self) -> Array:
        return self._derived[0]

    @property
    def bound(self) -> Array:
        return self._derived[1]

    @cached_property
    @np.errstate(all="ignore")
    def residual(self) -> Array:
        return _residual(self.observed, self.expected)


def _residual(observed: Array, expected: Array) -> Array:
    """|observed - expected|, where a NaN is only like a NaN, and inf like inf."""
    residual: Array = np.abs(observed - expected)
    if not np.isfinite(residual).all():
        same = (observed == expected) | (np.isnan(observed) & np.isnan(expected))
        residual = np.where(same, 0.0, np.where(np.isnan(residual), np.inf, residual))
    return residual


def _ratios(residual: Array, bound: Array) -> Array:
    """0 where both are 0, and where nothing is bounded."""
    ratios: Array = residual / bound
    if np.isnan(ratios).any():
        ratios = np.where((residual == 0) | (bound == np.inf), 0.0, ratios)
    return ratios


@np.errstate(all="ignore")
def _judge(a: Arithmetic, given: Array, pieces: _Pieces) -> Certificate:
    """Compare piece by piece, and put into words."""
    worst, size, judged, sample = _Worst(), 0, 0, _NOTHING
    for piece in pieces(worst):
        observed = given[piece.place]
        if piece.only is not None:
            observed = observed[np.unravel_index(piece.only, observed.shape)]
        observed = observed.astype(np.float64)
        residual, bound = _residual(observed, piece.expected), piece.bound
        sample += piece.sample
        settled = residual.size if piece.settles is None else piece.settles
        size += settled
        judged += settled - int(np.count_nonzero(bound == np.inf))
        if not residual.size:
            continue
        ratios = _ratios(residual, bound)
        at = np.unravel_index(np.argmax(ratios), ratios.shape)
        if ratios[at] > worst.ratio:
            worst.ratio, worst.where = float(ratios[at]), _place(at, piece, given.shape)
            worst.got, worst.expected = float(observed[at]), float(piece.expected[at])
            worst.off, worst.allowed = float(residual[at]), float(bound[at])
    bits, consistent, too_few = _effective(a, sample)
    ok = 0 <= worst.ratio <= 1 and not too_few and judged > 0
    if not size:
        reason = "there is nothing to judge"
    elif worst.ratio > 1:
        reason = str(worst)
    elif too_few:
        reason = (
            f"every element is within its bound, but the sums show {bits:.1f} bits of precision: "
            f"consistent with {consistent}, not with {_called(a)}"
        )
    elif not judged:
        reason = "nothing can be said: every sum may overflow, or its activation is saturated"
    else:
        reason = "every element follows, up to the rounding of its own step"
        if judged < size:
            reason += f", but for {size - judged} of {size} that have no bound"
    return Certificate(
        ok, max(worst.ratio, 0.0), worst.where, judged, bits, consistent, _called(a), reason,
        given, pieces,
    )  # fmt: skip


def _place(at: Any, piece: _Piece, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Where in the whole array the element `at` of the piece stands."""
    slices = (*piece.place, *(slice(None),) * (len(shape) - len(piece.place)))
    ranges = [range(*part.indices(n)) for part, n in zip(slices, shape, strict=True)]
    if piece.only is not None:
        at = np.unravel_index(piece.only[at], [len(r) for r in ranges])
    return tuple(r[int(i)] for r, i in zip(ranges, at, strict=True))


def _called(a: Arithmetic) -> str:
    return "TF32" if a.name == "tf32" else a.name


# Sums of products -----------------------------------------------------------------------------

_TIGHT = 32  # up to so many terms, Σ|x||W| itself costs no more than its bound by norms


class _Room:
    """Arrays to write into again and again: where memory is new, its first touch costs most."""

    def __init__(self) -> None:
        self.flat: dict[str, Array] = {}

    def __call__(self, name: str, *shape: int, dtype: Any = np.float64) -> Array:
        size = math.prod(shape)
        if name not in self.flat or len(self.flat[name]) < size:
            self.flat[name] = np.empty(size, dtype)
        return self.flat[name][:size].reshape(shape)


class _Factor:
    """The right factor of products with many rows, and what their bounds need to know of it."""

    def __init__(
        self,
        matrix: Array,
        a: Arithmetic,
        *parts: int,
        bias: Array | None = None,
        tight: bool = False,
    ) -> None:
        """parts: at which of the K terms others begin, of another kind and perhaps size."""
        self.matrix, self.a, self.bias = matrix, a, bias  # (K,H), (H,)
        self.size = np.abs(matrix)
        self.most = float(self.size.max(initial=0))
        self.starts, self.ends = [0, *parts], [*parts, len(matrix)]
        self.terms = len(matrix) + (bias is not None)
        # squares need the room that float64 has beside all narrower arithmetics
        self.tight = tight or len(matrix) <= _TIGHT or a.min_normal <= _FLOAT64.min_normal
        if not self.tight:  # (parts,H)
            self.norms = np.sqrt(np.add.reduceat(np.square(matrix), self.starts, axis=0))
            if bias is not None:
                self.norms = np.vstack([self.norms, np.abs(bias)])

    def sizes(self, rows: Array, room: _Room) -> tuple[Array, float]:
        """(R,H) Σ|terms|, or by Cauchy and Schwarz ‖row‖‖column‖, which is no less; a max |row|."""
        out = room("size", len(rows), self.matrix.shape[1])
        if self.tight:
            size = np.abs(rows, out=room("|rows|", *rows.shape))
            np.matmul(size, self.size, out=out)
            if self.bias is not None:
                out += np.abs(self.bias)
            return out, float(size.max(initial=0))
        norms = room("norms", len(rows), len(self.norms))
        for p, (i, j) in enumerate(zip(self.starts, self.ends, strict=True)):
            np.einsum("rk,rk->r", rows[:, i:j], rows[:, i:j], out=norms[:, p])
        norms[:, len(self.starts) :] = 1.0  # the bias's
        np.sqrt(norms, out=norms)
        return np.matmul(norms, self.norms, out=out), float(norms.max(initial=0))

    @cached_property
    def small(self) -> Array | None:
        return _subnormal(self.size, self.a)

    def units(self, rows: Array, least: float) -> Array | None:
        """(R,) a power of two of which all terms of a row's sums are multiples.

        None if no sum, of which `least` is the least size, holds fewer than 2^bits of its units:
        then some partial sum may be rounded. Most factors and rows show that in a few numbers.

        A row that is not 0 is so in one part, where its norm is its own quantum q at least. So its
        sums have a size of q times the least norm of any part of a column, and the unit q·quantum.
        """
        digits = 2.0**self.a.bits
        if not self.tight:
            least_norm = float(self.norms[: len(self.starts)].min(initial=np.inf))
            for some in (self.matrix[:1], self.matrix):
                if _quanta(some.reshape(1, -1))[0] * digits <= least_norm:
                    return None
        quantum = _quanta(self.matrix.reshape(1, -1))
        for some in (rows[:, :1], rows):
            units = quantum * _quanta(some)
            if not (units * digits > least).any():
                return None
        return units if self.bias is None else np.minimum(units, _quanta(self.bias[None]))


def _subnormal(size: Array, a: Arithmetic) -> Array | None:
    """Which of these absolute values may be read as 0, the others 0; None if there are none."""
    small = size < a.min_normal
    if not small.any() or not size[small].any():
        return None
    return np.where(small, size, 0.0)


def _quanta(array: Array) -> Array:
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


class _Sum:
    """Sums of products and addends, (R,H), and how far the subject's may be from them."""

    value: Array
    size: Array  # Σ|terms|, or more
    top: float  # the largest of them
    lost: Any  # to underflow: Σ|terms with a subnormal operand|, which may be read as 0, and so on
    unit: Array | None  # (R,) a power of two of which all terms are multiples; None: of no use
    special: Any  # (R,H) whether some operand is NaN or infinite; None: none is
    terms: int  # how many are added
    stored: int  # how many results are stored, partial sums included
    gamma: float  # their roundings, and the reference's
    given: Any  # how far the addend is off

    def __init__(self, rows: Array, factor: _Factor, room: _Room | None = None) -> None:
        """rows (R,K) · matrix (K,H) + bias."""
        self.rows, self.factor, self.a = rows, factor, factor.a
        a, room = self.a, _Room() if room is None else room
        self.addend_size: Any = None
        shape = len(rows), factor.matrix.shape[1]
        self.value = np.matmul(rows, factor.matrix, out=room("value", *shape))
        if factor.bias is not None:
            self.value += factor.bias
        self.size, most = factor.sizes(rows, room)
        self.top, least = float(self.size.max(initial=0)), float(self.size.min(initial=np.inf))
        # operands that are read as 0 take η(Σ|row| + Σ|column|) at most, which mostly is nothing
        self.lost = a.min_normal * (factor.terms * (factor.most + most) + 1)
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
        self.unit = factor.units(rows, least)
        self.special = None
        if not np.isfinite(self.top):
            self.special = ~np.isfinite(rows).all(axis=1, keepdims=True)
            self.special = self.special | ~np.isfinite(factor.matrix).all(axis=0)
            if factor.bias is not None:
                self.special = self.special | ~np.isfinite(factor.bias)

    def plus(self, addend: Array, size: Array, unit: Array | None = None) -> "_Sum":
        """The addend (R,H) may itself be a sum: of numbers of this size, and this unit (R,)."""
        self.addend_size = size
        self.value += addend
        self.size += size
        if (small := _subnormal(size, self.a)) is not None:
            self.lost = self.lost + small
        if self.unit is not None:
            self.unit = np.minimum(self.unit, _quanta(addend) if unit is None else unit)
        self.top = float(self.size.max(initial=0))
        if not np.isfinite(self.top):
            special = ~np.isfinite(addend)
            self.special = special if self.special is None else self.special | special
        return self

    def bounded(self, terms: int, *, stored: int, given: Array | None = None) -> "_Sum":
        """`terms` are added, `stored` sums are stored, the addend is off by `given`.

        The bound of the error is then

            γ_k Σ|terms| + γ_k(2^-53) Σ|terms|      the subject's rounding and this product's own
            + underflow + lost

        Nothing of this where no partial sum needs rounding (see quantum); inf where a sum may
        overflow. Operands that are NaN or infinite make a sum exactly NaN or infinite.
        """
        k = terms + 1
        self.terms, self.stored, self.given = terms, stored, given
        own = _FLOAT64.gamma(k)
        self.gamma = (self.a.gamma(k, stored) + own) * (_UP + 2 * own)
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
            own = _UP + 2 * _FLOAT64.gamma(self.terms + 1)
            error[self.size * own < unit * 2.0**a.bits] = 0.0
        most = self.size * (1 + self.gamma)
        if self.given is not None:
            error += self.given * (1 + self.gamma)
            most += self.given
        error[~(most <= a.max)] = np.inf
        if self.special is not None:
            error[self.special & ~np.isfinite(self.value)] = 0.0
        return error

    def some(self, rows: Array) -> "_Sum":
        """These rows of a plain sum alone."""
        few = copy(self)
        few.__dict__.pop("error", None)
        few.rows, few.value, few.size = self.rows[rows], self.value[rows], self.size[rows]
        return few

    def elements(self, flat: Array) -> "_Sum":
        """These elements of a plain sum alone, in one row."""
        few = copy(self)
        few.__dict__.pop("error", None)
        few.value, few.size = self.value.reshape(-1)[flat], self.size.reshape(-1)[flat]
        return few

    def squares(self, every: int) -> Array:
        """Σ terms² of every so many rows, the addend's as if its own were of one sign."""
        squares = np.square(self.rows[::every]) @ np.square(self.factor.matrix)
        if self.factor.bias is not None:
            squares += np.square(self.factor.bias)
        if self.addend_size is not None:
            squares += np.square(self.addend_size[::every])
        return np.asarray(squares)


# Effective precision --------------------------------------------------------------------------

# Three standard deviations of the rms of N errors are 3/√(2N) of it. From N = 16 on they stay
# within half the distance of the nearest two classes, 9.3 bits of bfloat16 and 11.7 of TF32.
_ENOUGH = 16
_SAMPLED = 2**12  # sums in a sample, whose rms is then known to 1 %: more would not tell more
_CLASSES = ("float64", "float32", "TF32", "bfloat16", "less than bfloat16")


def _effective(a: Arithmetic, sample: _Sample) -> tuple[float | None, str | None, bool]:
    """(bits, the class they speak for, whether they are too few for the arithmetic claimed)."""
    if sample.sums < _ENOUGH or sample.seen == 0:
        return None, None, False
    bits = -math.log2(sample.seen / sample.sums) / 2
    seen, claimed = precision_class(bits), _called(a)
    rank = _CLASSES.index("TF32" if claimed == "float16" else claimed)
    if _CLASSES.index(seen) <= rank or sample.seen <= sample.possible:
        return bits, claimed, False
    return bits, seen, True


def _sample(
    s: _Sum, squares: Array, every: int, e: Array, noise: Array | float = 0.0, clear: Any = True
) -> _Sample:
    """What the errors e (R',H) of every so many rows' sums say about how the sums were made.

    noise bounds what else may be in e, such as the rounding of the activation. A sum counts if
    that is at most 2^5 u·m (5 bits, fewer than lie between two classes), and underflow is at most
    u·m, and something was rounded at all.

    What rounding may do is more than u·m in long sums: each partial sum s is off by at most u|s|,
    with a random sign and uniformly (Higham & Mary's model), and partial sums are as large as the
    sum itself, or wander off like a random walk of the terms, to about 3m. So the mean square of e
    is at most (u(|sum| + 3m))² K/3, the same for each result that is stored, and 2(u·m)² for
    operands that are cut.
    """
    a = s.a
    m, value = np.sqrt(squares), s.value[::every]
    lost = np.broadcast_to(s.lost, s.value.shape)[::every]
    counts = (noise <= 2**5 * a.u * m) & (lost <= a.u * m) & clear
    counts = counts & np.isfinite(e) & np.isfinite(m) & (s.error[::every] > 0)
    m, value, e = m[counts], value[counts], e[counts]
    variance = s.terms / 3 * a.u_sum**2
    if a.u_sum != a.u_product:
        variance += s.stored / 3 * a.u_product**2
    possible = variance * np.square(np.abs(value) / m + 3) + 2 * a.u_operand**2
    return _Sample(int(e.size), float(np.square(e / m).sum()), float(possible.sum()))


# What is judged -------------------------------------------------------------------------------


def _claimed(dtype: Any, array: Array) -> Arithmetic:
    """Keras's mixed policies store weights in float32, and round them on the way in."""
    dtype = array.dtype if dtype is None else dtype
    return arithmetic(dtype.removeprefix("mixed_") if isinstance(dtype, str) else dtype)


@np.errstate(all="ignore")
def _read(name: str, array: Any, a: Arithmetic | None = None) -> Array:
    """Real numbers; those that the arithmetic cannot hold are rounded to it, as frameworks do."""
    given = np.asarray(array)
    if given.dtype.kind not in "fiub" and given.dtype.name != "bfloat16":
        raise ValueError(f"{name} has dtype {given.dtype}, but should hold real numbers")
    if a is None or given.dtype.name == a.name or a.u_stored == _FLOAT64.u:
        return given
    if a.u_stored == ARITHMETICS["float32"].u:
        return given.astype(np.float32)
    value = given.astype(np.float64)
    digits = round(-math.log2(a.u_stored))
    exponent = np.frexp(value)[1] - digits
    exponent = np.maximum(exponent, round(math.log2(a.min_subnormal)))
    rounded = np.ldexp(np.rint(np.ldexp(value, -exponent)), exponent)
    rounded = np.where(np.abs(rounded) > a.max, np.copysign(np.inf, value), rounded)
    return np.where(np.isfinite(value), rounded, value)


def _check(name: str, array: Array, shape: tuple[int | str, ...], because: str) -> None:
    fits = array.ndim == len(shape) and all(
        isinstance(want, str) or size == want for size, want in zip(array.shape, shape, strict=True)
    )
    if not fits:
        wanted = "(" + ", ".join(map(str, shape)) + ("," if len(shape) == 1 else "") + ")"
        raise ValueError(f"{name} has shape {array.shape}, but should have {wanted}: {because}")


class _Layer:
    """The operands of every step, in processing order, the states as observed."""

    def __init__(
        self,
        states: Any,
        x: Any,
        kernel: Any,
        recurrent_kernel: Any,
        bias: Any,
        activation: str | None,
        initial_state: Any,
        mask: Any,
        go_backwards: bool,
        zero_output_for_mask: bool,
        dtype: Any,
    ) -> None:
        self.name = reference.activation(activation).name
        self.a = a = _claimed(dtype, np.asarray(states))
        self.h = _read("states", states)
        _check("states", self.h, ("batch", "timesteps", "units"), "one state for every step")
        B, T, H = self.h.shape
        self.x = _read("x", x, a)
        _check("x", self.x, (B, T, "features"), "batch and timesteps of the states")
        F = self.x.shape[2]
        W, U = _read("kernel", kernel, a), _read("recurrent_kernel", recurrent_kernel, a)
        _check("kernel", W, (F, H), "features of x by units of the states")
        _check("recurrent_kernel", U, (H, H), "units by units of the states")
        self.W, self.U = W.astype(np.float64), U.astype(np.float64)
        self.bias = None if bias is None else _read("bias", bias, a).astype(np.float64)
        if self.bias is not None:
            _check("bias", self.bias, (H,), "the units of the states")
        self.h0 = (
            np.zeros((B, H)) if initial_state is None else _read("initial_state", initial_state, a)
        )
        _check("initial_state", self.h0, (B, H), "batch by units of the states")
        self.h0 = self.h0.astype(np.float64)
        self.mask = self.last = self.next = None
        self.most = 1  # a state and its copies by masked steps
        if mask is not None:
            self.mask = np.asarray(mask)
            _check("mask", self.mask, (B, T), "batch and timesteps of the states")
            if self.mask.dtype.kind not in "biu":
                raise ValueError(f"mask has dtype {self.mask.dtype}, but should be bool")
            self.mask = self.mask.astype(bool)
        self.zeroed, self.go_backwards = zero_output_for_mask, go_backwards
        if go_backwards:
            self.x = self.x[:, ::-1]
            self.mask = None if self.mask is None else self.mask[:, ::-1]
        if self.mask is not None:
            # (B,T+1) the last step that counted before each, -1 for none; the next one, T for none
            edge = np.ones((B, 1), np.intp)
            last = np.maximum.accumulate(np.where(self.mask, np.arange(T), -1), axis=1)
            self.last = np.concatenate([-edge, last], axis=1)
            step = np.concatenate([np.where(self.mask, np.arange(T), T), T * edge], axis=1)
            self.next = np.minimum.accumulate(step[:, ::-1], axis=1)[:, ::-1]
            if not zero_output_for_mask:
                self.most = int((self.next - np.arange(T + 1)).max(initial=0)) + 1
        self.every = max(1, B * T * H // _SAMPLED)
        self.room = _Room()

    @cached_property
    def forward(self) -> _Factor:
        return _Factor(np.concatenate([self.W, self.U]), self.a, len(self.W), bias=self.bias)

    def blocks(self) -> Iterator[tuple[slice, slice]]:
        """(samples, steps), of which the rows of a block's products fill about _BLOCK numbers."""
        B, T, H = self.h.shape
        rows = max(1, _BLOCK // (len(self.W) + 3 * H))
        steps, samples = min(T, rows), max(1, rows // max(T, 1))
        for i in range(0, B, samples):
            for t in range(0, T, steps):
                yield slice(i, min(i + samples, B)), slice(t, min(t + steps, T))

    def after(self, samples: slice, steps: Array) -> Array:
        """The states after these steps (n,m); after -1, the initial ones. (n,m,H)"""
        taken = np.take_along_axis(self.h[samples], np.maximum(steps, 0)[:, :, None], axis=1)
        return np.where(steps[:, :, None] < 0, self.h0[samples, None], taken)

    def operands(self, samples: slice, steps: slice) -> Array:
        """[x_t, h_{t-1}] for the steps of a block: (R,F+H)"""
        F, H = len(self.W), len(self.U)
        x = self.x[samples, steps]
        rows = self.room("rows", *x.shape[:2], F + H)
        rows[:, :, :F] = x
        if self.last is not None:
            rows[:, :, F:] = self.after(samples, self.last[samples, steps])
        elif steps.start:
            rows[:, :, F:] = self.h[samples, steps.start - 1 : steps.stop - 1]
        else:
            rows[:, 0, F:] = self.h0[samples]
            rows[:, 1:, F:] = self.h[samples, : steps.stop - 1]
        return rows.reshape(-1, F + H)

    def preactivation(self, samples: slice, steps: slice) -> _Sum:
        z = _Sum(self.operands(samples, steps), self.forward, self.room)
        return z.bounded(self.forward.terms, stored=3)

    def counted(self, samples: slice, steps: slice) -> Any:
        """(R,1) True where a step counts."""
        return True if self.mask is None else self.mask[samples, steps].reshape(-1, 1)


# The forward pass -----------------------------------------------------------------------------


def certify(
    states: Any,
    *,
    x: Any,
    kernel: Any,
    recurrent_kernel: Any,
    bias: Any = None,
    activation: str | None = "tanh",
    initial_state: Any = None,
    mask: Any = None,
    go_backwards: bool = False,
    zero_output_for_mask: bool = False,
    dtype: Any = None,
) -> Certificate:
    """Is each of these states the next value of the recurrence, up to the rounding of its step?

    states (B,T,H) in processing order, as the subject returned them; x (B,T,F), kernel (F,H),
    recurrent_kernel (H,H), bias (H,), initial_state (B,H) (zeros if not given), mask (B,T) in
    input order, True where a step counts; with go_backwards, x and mask are reversed first.
    dtype is the arithmetic that the subject claims, by default the states' own: "float64",
    "float32", "float16", "bfloat16" (the states then in any wider dtype), or Keras's policies
    "mixed_float16" and "mixed_bfloat16". Operands that it cannot hold are rounded to it first, to
    nearest, as frameworks do. float16 and bfloat16 are taken to be summed in float32, and to be
    narrow in all that is stored, as TensorFlow does.

    A masked step must copy the state before it, bit for bit; before a sample's first step that
    counts, that is its initial state or, as Keras returns it, zeros. With zero_output_for_mask, the
    subject returns zeros for all masked steps instead. A sum that may overflow has no bound. A NaN
    among the operands of a step must make it NaN, and nothing else may.

    Raises ValueError for shapes that do not fit, unknown activations and arithmetics.
    """
    layer = _Layer(
        states, x, kernel, recurrent_kernel, bias, activation, initial_state, mask,
        go_backwards, zero_output_for_mask, dtype,
    )  # fmt: skip

    def pieces(worst: _Worst) -> Iterator[_Piece]:
        for samples, steps in layer.blocks():
            z = layer.preactivation(samples, steps)
            given = layer.h[samples, steps].reshape(z.value.shape)
            if layer.mask is None and worst.ratio > -math.inf and _can_be_quick(layer.name, z):
                yield from _quickly(layer, (samples, steps), z, given, worst)
                continue
            observed = given.astype(np.float64)
            expected, bound, sample = _activated(
                layer.name, z, observed, layer.every, layer.counted(samples, steps)
            )
            shape = layer.h[samples, steps].shape
            expected, bound = expected.reshape(shape), bound.reshape(shape)
            if layer.mask is not None:
                skipped = ~layer.mask[samples, steps]
                copies = _copies(layer, samples, steps, observed.reshape(shape))
                expected[skipped], bound[skipped] = copies[skipped], 0.0
            yield _Piece((samples, steps), expected, bound, sample)

    return _judge(layer.a, layer.h, pieces)


def _copies(layer: _Layer, samples: slice, steps: slice, observed: Array) -> Array:
    """What masked steps should hold. A -0.0 in place of 0.0 is expected to be something else."""
    assert layer.last is not None
    last = layer.last[samples, 1:][:, steps]
    copies = layer.after(samples, last)
    zeros = (last < 0) & (observed == 0).all(axis=-1)
    copies[zeros | layer.zeroed] = 0.0
    same = (copies.view(np.int64) == observed.view(np.int64)) | (copies != observed)
    same |= (zeros | layer.zeroed)[:, :, None]
    return np.where(same, copies, layer.a.min_subnormal)


class _Closed(NamedTuple):
    """What bounds the spread of an activation in closed form.

    |act''| <= rate·|act'| is |(log act')'| <= rate. So over [z - Δ, z + Δ] act' stays between
    act'(z)·exp(∓rate·Δ), and act within Δ times the latter of act(z). It never is steeper than 1.
    """

    act: np.ufunc
    slope: Callable[[Array], Any]  # act'(z) from h = act(z)
    rate: float
    own: float  # NumPy's error in float32, in units of 2^-24·|h|: 4 ulp


_CLOSED = {
    "linear": _Closed(np.positive, np.ones_like, 0.0, 0.0),
    "tanh": _Closed(np.tanh, lambda h: 1 - h * h, 2.0, 8.0),
}


def _can_be_quick(name: str, z: _Sum) -> bool:
    return name in _CLOSED and z.is_plain and z.a.u_stored > _FLOAT64.u and z.value.size > _SAMPLED


def _quickly(
    layer: _Layer, place: tuple[slice, ...], z: _Sum, given: Array, worst: _Worst
) -> Iterator[_Piece]:
    """The same as _activated, for those elements alone whose ratio may be the largest.

    First a sample, for its bits and to have some ratio; then the elements for which less than the
    bound, in float32, times that ratio is exceeded by more than the residual.
    """
    R, H = given.shape
    rows = np.arange(0, R, layer.every)
    observed = given[rows].astype(np.float64)
    expected, bound, sample = _activated(layer.name, z.some(rows), observed, 1, True)
    at = (rows[:, None] * H + np.arange(H)).reshape(-1)
    yield _Piece(place, expected.reshape(-1), bound.reshape(-1), sample, at, 0)
    at = _suspects(layer, z, given, worst.ratio)
    observed = given.reshape(-1)[at].astype(np.float64)
    expected, bound, _ = _activated(layer.name, z.elements(at), observed, 0, True)
    yield _Piece(place, expected, bound, _NOTHING, at, given.size)


def _suspects(layer: _Layer, z: _Sum, given: Array, ratio: float) -> Array:
    """Which elements, of all in this block laid flat, may exceed `ratio`.

    The bound is act'(z)·exp(-rate·Δ)·Δ + C_ACT·u·|h| at least, Δ = γ·size. float32 knows |h| to
    within its own error and that of z, own·u·|h| + u·act'(z)·size. The factors 1 ± 2^-19, and 2^-19
    off the slope, cover the rounding of these few lines.
    """
    closed, u, shape = _CLOSED[layer.name], ARITHMETICS["float32"].u, z.value.shape
    h, allowed, other = (layer.room(name, *shape, dtype=np.float32) for name in ("h", "+", "*"))
    np.copyto(h, z.value, casting="same_kind")
    np.copyto(allowed, z.size, casting="same_kind")
    closed.act(h, out=h)
    far = z.gamma * math.exp(-closed.rate * z.gamma * z.top) * (1 - 2.0**-19)
    allowed *= np.float32(ratio * far - 2 * u)
    if layer.name != "linear":
        np.multiply(h, h, out=other)
        allowed *= np.subtract(np.float32(1 - 2.0**-19), other, out=other)
        act_error = C_ACT[layer.name] * z.a.u_stored * (1 - 2.0**-19)
        np.abs(h, out=other)
        other *= np.float32(ratio * act_error - closed.own * u * (1 + 2.0**-19))
        allowed += other
    h -= given
    return np.flatnonzero(~(np.abs(h, out=h) <= allowed))


def _spread_and_noise(name: str, z: _Sum, h: Array) -> tuple[Array, Array]:
    """How far act(z + e) is from h = act(z) if |e| <= z.error, and how far evaluating it may be."""
    a, d = z.a, z.error
    if name not in _CLOSED:
        noise = activation_error(name, z.value, h, a, d)
        noise += activation_error(name, z.value, h, _FLOAT64)
        return spread(name, z.value, d), noise
    closed = _CLOSED[name]
    # exp(x) <= 1/(1 - x); and 2^-51 is more than the slope's own rounding
    far = d * np.fmin(1.0, (closed.slope(h) + 2.0**-51) / np.maximum(1 - closed.rate * d, 0))
    size = np.abs(h) + far
    if name == "linear":  # copies, but may flush what is subnormal
        small = size < a.min_normal + 2 * d
        noise = np.where(small, np.minimum(size, a.min_normal), 0.0) if small.any() else 0 * size
    else:
        noise = C_ACT[name] * (a.u_stored + _FLOAT64.u) * size
        noise += 2 * (a.min_normal + _FLOAT64.min_normal) * (1 + np.abs(z.value) + d)
    noise[~(size <= a.max)] = np.inf
    return far, noise


def _activated(
    name: str, z: _Sum, observed: Array, every: int, counted: Any
) -> tuple[Array, Array, _Sample]:
    """act(z), how far the subject's may be from it, and the errors as seen from z. (R,H)

    The errors of every so many rows; of none if that is 0.
    """
    act = reference.activation(name)
    h = act.function(z.value)
    far, noise = _spread_and_noise(name, z, h)
    bound = (far + noise) * _UP
    if not z.is_plain:
        bound[z.error == np.inf] = np.inf
        if z.special is not None:
            bound = _unbounded(name, z, h, bound, observed)
    if not every or name == "sparsemax":
        return h, bound, _NOTHING
    if counted is not True:
        counted = counted[::every]
    seen, noise = h[::every], noise[::every]
    if act.derivative is None:
        slope = seen if name == "softmax" else np.ones_like(seen)
        clear = (slope > 0) & counted
    else:
        slope = act.derivative(z.value[::every], seen)
        clear = (np.abs(slope) > 0.01) & counted
    e = (observed[::every] - seen) / slope
    return h, bound, _sample(z, z.squares(every), every, e, np.abs(noise / slope), clear)


# These choose by comparison, so that a NaN may come out as any of the choices.
_CHOOSING = frozenset((
    "relu", "relu6", "leaky_relu", "elu", "celu", "selu", "hard_sigmoid", "hard_silu", "hard_tanh",
    "hard_shrink", "soft_shrink", "sparse_plus", "sparse_sigmoid", "sparsemax",
))  # fmt: skip


def _unbounded(name: str, z: _Sum, h: Array, bound: Array, observed: Array) -> Array:
    """The bound of act(z) where z is NaN or infinite because of an operand that is (error 0).

    A NaN makes a NaN. Of infinities the subject may have made one: inf - inf where a partial sum
    overflowed the other way, or -inf·sigmoid(-inf). Otherwise act has its limit.
    """
    if name in _CHOOSING:
        special: Any = np.inf
    else:
        nan = np.isnan(h) | np.isnan(observed)
        limit = np.where(np.isinf(h), 0.0, C_ACT[name] * z.a.u_stored * np.abs(h))
        special = np.where(np.isnan(z.value), 0.0, np.where(nan, np.inf, limit))
    return np.where(np.isfinite(z.value) | (z.error > 0), bound, special)


# The forward pass, projected ---------------------------------------------------------------------


def certify_projected(
    states: Any,
    *,
    x: Any,
    kernel: Any,
    recurrent_kernel: Any,
    bias: Any = None,
    activation: str | None = "tanh",
    initial_state: Any = None,
    mask: Any = None,
    go_backwards: bool = False,
    zero_output_for_mask: bool = False,
    dtype: Any = None,
    projections: int = 1,
    seed: int | None = 0,
) -> Certificate:
    """The question of `certify`, asked of a random sum of all units: products become vectors.

    After Freivalds (IFIP Congress 1977): with signs r_j = ±1 drawn at random, once for all steps,

        p_t = act⁻¹(ĥ_t)·r - x_t·(W·r) - ĥ_{t-1}·(U·r) - b·r = e_t·r

    where e_t (H,) is the error as seen from z. For certain |e_tj| <= E_tj = Δ_tj + what act's own
    error is worth in z; so by Hoeffding |p_t| <= λ‖E_t‖ except with probability 2exp(-λ²/2), and λ
    is such that a false alarm at any step has probability 2^-40 at most. Steps of which some state
    is so saturated that its z is lost have no bound.

    What it can miss. If one unit alone is wrong, p_t shows its full error, whatever the signs. In
    general |e·r| < ‖e‖/2 has probability 13/16 at most (Paley & Zygmund's inequality with
    E(e·r)⁴ <= 3‖e‖⁴: 1 - (1 - 1/4)²/3). So a step with ‖e‖ of more than twice its bound escapes
    with probability (13/16)^projections at most; errors of less than the bound, which is about √H
    times larger than that of `certify`, do escape. Errors at all steps, such as narrow products,
    show in the bits long before: the mean of p_t² is that of ‖e_t‖². Who knows the signs can hide
    from them: seed=None draws others every time.

    Arguments as `certify`; activation linear or tanh, whose inverse costs little (else ValueError).
    The certificate's arrays are (B,T,projections), `observed` the first term of p_t.
    """
    layer = _Layer(
        states, x, kernel, recurrent_kernel, bias, activation, initial_state, mask,
        go_backwards, zero_output_for_mask, dtype,
    )  # fmt: skip
    if layer.name not in ("linear", "tanh"):
        raise ValueError(f"activation {layer.name!r} is not to be projected: linear and tanh are")
    if projections < 1:
        raise ValueError(f"projections is {projections}, but should be 1 at least")
    with np.errstate(all="ignore"):
        observed, piece = _Projection(layer, projections, seed).judged()
    return _judge(layer.a, observed, lambda worst: iter([piece]))


class _Projection:
    """Sums of units with random signs, in the subject's precision, and the errors of these sums."""

    def __init__(self, layer: _Layer, projections: int, seed: int | None) -> None:
        self.layer = layer
        self.dtype: Any = np.float64 if layer.a.u_stored <= _FLOAT64.u else np.float32
        self.u = float(np.finfo(self.dtype).eps) / 2
        H = len(layer.U)
        self.signs = np.random.default_rng(seed).choice([-1.0, 1.0], size=(projections, H))
        self.b = np.zeros(H) if layer.bias is None else layer.bias
        # what tanh may be off by, relative to the state that is seen instead of the true one
        self.act_error = 0.0 if layer.name == "linear" else 1.01 * C_ACT["tanh"] * layer.a.u_stored

    def judged(self) -> tuple[Array, _Piece]:
        """act⁻¹(ĥ_t)·r, and what it should be. (B,T,P)"""
        layer, a, u = self.layer, self.layer.a, self.u
        (B, T, H), F, P = layer.h.shape, len(layer.W), len(self.signs)
        Wr, Ur = layer.W @ self.signs.T, layer.U @ self.signs.T  # (F,P), (H,P)
        narrow = Wr.astype(self.dtype), Ur.astype(self.dtype)
        observed, through_x = np.empty((B, T, P)), np.empty((B, T, P))
        through_h, h_norm = np.empty((B, T + 1, P)), np.empty((B, T + 1))  # the initial state first
        x_norm, noise = np.empty((B, T)), np.empty((B, T))
        through_h[:, 0], h_norm[:, 0] = layer.h0 @ Ur, np.linalg.norm(layer.h0, axis=1)
        for samples, steps in layer.blocks():
            made = samples, slice(steps.start + 1, steps.stop + 1)
            h = np.ascontiguousarray(layer.h[samples, steps], self.dtype)
            x = np.ascontiguousarray(layer.x[samples, steps], self.dtype)
            through_x[samples, steps], through_h[made] = x @ narrow[0], h @ narrow[1]
            x_norm[samples, steps], h_norm[made] = _norms(x), _norms(h)
            observed[samples, steps], noise[samples, steps] = self.inverse(h)
        if layer.last is None:
            through_h, h_norm = through_h[:, :-1], h_norm[:, :-1]
        else:
            before = layer.last[:, :-1] + 1
            through_h = np.take_along_axis(through_h, before[:, :, None], axis=1)
            h_norm = np.take_along_axis(h_norm, before, axis=1)
        expected = through_x + through_h + self.b @ self.signs.T

        def norms(*parts: Array) -> Any:
            """Cauchy and Schwarz: of what is added up for all units, or for all projections."""
            W, U, b = (float(np.linalg.norm(part)) for part in parts)
            return x_norm * W + h_norm * U + b

        k, size = F + H + 2, norms(layer.W, layer.U, self.b)
        lost = a.underflow(k) + a.min_normal * (k * (layer.forward.most + x_norm + h_norm) + 4)
        error = (a.gamma(k) + _FLOAT64.gamma(k)) * size + noise + math.sqrt(H) * lost  # ‖E‖
        often = math.sqrt(2 * math.log(2 * max(1, observed.size) * 2.0**40))  # λ
        # these sums' own: x·(W·r) and h·(U·r) rounded as any; act⁻¹ 4u for each unit and 8u of its
        # size; everything else in float64. ‖z‖₁ <= √H‖z‖ <= √H·size
        own = gamma(k, u) * norms(Wr, Ur, np.zeros(1))
        own += (8 * u + _FLOAT64.gamma(4 * k)) * math.sqrt(H) * (size + error) + 4 * u * H
        bound = (often * error + own) * _UP
        bound[~(size * (1 + a.gamma(k)) <= a.max) & np.isfinite(x_norm + h_norm)] = np.inf
        bound = np.repeat(np.where(np.isnan(bound), 0.0, bound)[:, :, None], P, axis=2)
        sample = self.sample(observed - expected, noise)
        if layer.mask is not None:
            observed[~layer.mask] = expected[~layer.mask] = bound[~layer.mask] = 0.0
            for samples, steps in layer.blocks():
                h = layer.h[samples, steps].astype(np.float64)
                wrong = (_copies(layer, samples, steps, h) != h).any(axis=-1) & ~np.isnan(h).any(-1)
                observed[samples, steps][wrong & ~layer.mask[samples, steps]] = np.inf
        return observed, _Piece((), expected, bound, sample)

    def inverse(self, h: Array) -> tuple[Array, Array]:
        """act⁻¹(h)·r (n,m,P), and the 2-norm over units of what act's error is worth there (n,m).

        Σ r·artanh(h) = ½ log Π (1 + r·h)/(1 - r·h), of four units together: no more than e^70.
        An error ν of |h| <= 1 is worth ν/(1 - (|h| + ν)²) <= ν/(1 - |h| - ν) in z.
        """
        H, leading = h.shape[-1], h.shape[:-1]
        h = h.reshape(-1, H)
        if self.layer.name == "linear":
            return (h @ self.signs.T.astype(h.dtype)).reshape(*leading, -1), np.zeros(leading)
        sums, quarter, room = np.empty((len(h), len(self.signs))), H // 4, self.layer.room
        above, below = (room(name, *h.shape, dtype=h.dtype) for name in ("above", "below"))
        product = room("product", len(h), quarter, dtype=h.dtype)
        for p, signs in enumerate(self.signs.astype(h.dtype)):
            np.multiply(h, signs, out=above)
            np.subtract(1, above, out=below)
            above += 1
            above /= below
            np.multiply(above[:, :quarter], above[:, quarter : 2 * quarter], out=product)
            product *= above[:, 2 * quarter : 3 * quarter]
            product *= above[:, 3 * quarter : 4 * quarter]
            sums[:, p] = np.log(product, out=product).sum(axis=1, dtype=np.float64)
            if H % 4:
                sums[:, p] += np.log(above[:, 4 * quarter :]).sum(axis=1, dtype=np.float64)
        sums /= 2
        nu = np.asarray(self.act_error, h.dtype)
        np.abs(h, out=above)
        saturated = not float(above.max(initial=0)) + float(nu) < 1
        np.subtract(1, above, out=below)  # exact from ½ on
        below -= nu
        if saturated:
            np.maximum(below, 0, out=below)
        above /= below
        noise = nu * (_norms(above) + math.sqrt(H) * 2 * self.u)
        if saturated:
            impossible = ~(np.abs(h) <= 1).all(axis=1)
            noise[impossible], sums[impossible] = 0.0, np.nan
        return sums.reshape(*leading, -1), noise.reshape(leading)

    def sample(self, p: Array, noise: Array) -> _Sample:
        """p² at some steps, in units of Σ m², and what rounding may have made of it; as _sample.

        Σ_j (u(|z_j| + 3m_j))² K/3 <= 2(‖z‖² + 9Σm²)u²K/3, the same for this projection's own sums,
        the activation's error, and the inverse's. A step counts if the activation's error is at
        most 2^-13 of the terms: TF32 is 2^-11.7.
        """
        layer, a = self.layer, self.layer.a
        B, T, H = layer.h.shape
        flat = np.arange(0, B * T, max(1, B * T // 128))
        s, t = np.unravel_index(flat, (B, T)) if flat.size else (flat, flat)
        last = t - 1 if layer.last is None else layer.last[s, t]
        before = np.where((last < 0)[:, None], layer.h0[s], layer.h[s, np.maximum(last, 0)])
        h, x = layer.h[s, t].astype(np.float64), layer.x[s, t].astype(np.float64)
        z = np.square(h if layer.name == "linear" else np.arctanh(h)).sum(axis=1)
        m = np.square(before.astype(np.float64)) @ np.square(layer.U).sum(axis=1)
        m += np.square(x) @ np.square(layer.W).sum(axis=1) + np.square(self.b).sum()
        k = len(layer.W) + H + 1
        variance = k / 3 * (a.u_sum**2 + self.u**2)
        if a.u_sum != a.u_product:
            variance += a.u_product**2
        possible = 2 * variance * (z + 9 * m) + 2 * a.u_operand**2 * m
        possible += np.square(noise[s, t]) + (2 * self.u) ** 2 * H + (4 * self.u) ** 2 * z
        seen = np.square(p[s, t])  # (n,P)
        lost = math.sqrt(H) * a.underflow(k)
        clear = (noise[s, t] <= 2.0**-13 * np.sqrt(m)) & (lost <= a.u * np.sqrt(m))
        clear &= np.isfinite(possible) & np.isfinite(seen).all(axis=1)
        if layer.mask is not None:
            clear &= layer.mask[s, t]
        seen, possible, m = seen[clear], possible[clear], m[clear]
        return _Sample(
            seen.size, float((seen / m[:, None]).sum()), float((possible / m).sum() * seen.shape[1])
        )


def _norms(rows: Array) -> Array:
    """(...,K) -> (...) 2-norms, in float64 from where they are sums."""
    norms: Array = np.sqrt(np.einsum("...k,...k->...", rows, rows))
    return norms.astype(np.float64)


def certify_dense(
    output: Any,
    *,
    h: Any,
    kernel: Any,
    bias: Any = None,
    activation: str | None = "linear",
    dtype: Any = None,
) -> Certificate:
    """Is this output act(h·V + c), up to rounding? The rest as `certify`.

    output (...,O), h (...,H) as the subject computed it, V = kernel (H,O), c = bias (O,).
    """
    name = reference.activation(activation).name
    given = _read("output", output)
    a = _claimed(dtype, given)
    hidden, V = _read("h", h, a).astype(np.float64), _read("kernel", kernel, a).astype(np.float64)
    _check("kernel", V, ("units", "outputs"), "a matrix")
    H, O = V.shape  # noqa: E741 - the sizes declared above
    _check("h", hidden, (*hidden.shape[:-1], H), "its last size is the kernel's first")
    _check("output", given, (*hidden.shape[:-1], O), "the leading sizes of h by outputs of kernel")
    c = None if bias is None else _read("bias", bias, a).astype(np.float64)
    if c is not None:
        _check("bias", c, (O,), "the outputs of kernel")

    def pieces(worst: _Worst) -> Iterator[_Piece]:
        factor = _Factor(V, a, bias=c)
        z = _Sum(hidden.reshape(-1, H), factor).bounded(factor.terms, stored=2)
        observed = given.astype(np.float64).reshape(-1, O)
        every = max(1, observed.size // _SAMPLED)
        expected, bound, sample = _activated(name, z, observed, every, True)
        yield _Piece((), expected.reshape(given.shape), bound.reshape(given.shape), sample)

    return _judge(a, given, pieces)


def certify_dense_gradients(
    observed: Mapping[str, Any],
    *,
    cotangent: Any,
    h: Any,
    kernel: Any,
    bias: Any = None,
    activation: str | None = "linear",
    dtype: Any = None,
    cotangent_error: Any = 0.0,
) -> dict[str, Certificate]:
    """Are these the gradients of the output layer? The mathematics: `rounding.vjp_bound`.

    observed: any of "h" (...,H), "kernel" (H,O) and "bias" (O,); cotangent (...,O) is dL/d(output),
    off by at most cotangent_error. h as the subject computed it. Raises ValueError for other names.
    """
    got = {name: _read(name, array) for name, array in observed.items()}
    a = _claimed(dtype, next(iter(got.values()), np.zeros(0)))
    bias = None if bias is None else _read("bias", bias, a)
    truth, bounds = running_dense_gradients(
        _read("cotangent", cotangent, a), cotangent_error, _read("h", h, a), 0.0,
        _read("kernel", kernel, a), bias, activation=activation, arithmetic=a,
    )  # fmt: skip
    result = {}
    for name, array in got.items():
        if name not in truth._fields:
            raise ValueError(f"observed has {name!r}, but should have some of h, kernel, bias")
        expected, bound = getattr(truth, name), getattr(bounds, name)
        _check(f"observed {name}", array, expected.shape, "as the other arguments have it")
        result[name] = _judge(a, array, _whole(expected, bound))
    return result


def certify_loss(
    loss: Any, *, kind: str, target: Any, prediction: Any, dtype: Any = None
) -> Certificate:
    """Is this number the loss of these predictions, as the subject itself computed them?

    kind "mse" or "categorical_crossentropy", as rounding.running_loss knows them; target and
    prediction of one shape. What the loss hands on to the layers is rounding.running_loss_gradient.
    """
    given = _read("loss", loss)
    _check("loss", given, (), "one number")
    a = _claimed(dtype, given)
    truth, bound = running_loss(
        kind, _read("target", target, a), _read("prediction", prediction, a), arithmetic=a
    )
    return _judge(a, given, _whole(np.asarray(truth), np.asarray(bound)))


def _whole(expected: Array, bound: Array) -> _Pieces:
    """The one piece of an array whose bound was derived elsewhere."""
    return lambda worst: iter([_Piece((), expected, bound)])


# Gradients ------------------------------------------------------------------------------------


def certify_gradients(
    observed: Mapping[str, Any],
    *,
    cotangent: Any,
    states: Any,
    x: Any,
    kernel: Any,
    recurrent_kernel: Any,
    bias: Any = None,
    activation: str | None = "tanh",
    initial_state: Any = None,
    mask: Any = None,
    go_backwards: bool = False,
    zero_output_for_mask: bool = False,
    dtype: Any = None,
    cotangent_error: Any = None,
) -> dict[str, Certificate]:
    """Is each adjoint the one that follows from the next, and each gradient the sum they make?

    observed: "delta" (B,T,H), dL/dz in processing order, from which the others are judged, and any
    of "x" (B,T,F) in input order, "kernel" (F,H), "recurrent_kernel" (H,H), "bias" (H,),
    "initial_state" (B,H). cotangent (B,T,H) is dL/dh in processing order, as far as h is part of
    the output, off by at most cotangent_error. The other arguments are those of `certify`; the
    states are taken as they are, so certify them first.

    delta is 0 where the mask skips a step, and what reaches its state goes on to the one before.
    act' may have been evaluated from z or from h, and on either side of a kink. Sums over all steps
    may have been made in any order, step by step included.

    Returns a certificate for each array observed. Raises ValueError for shapes that do not fit,
    unknown names, and without a delta.
    """
    layer = _Layer(
        states, x, kernel, recurrent_kernel, bias, activation, initial_state, mask,
        go_backwards, zero_output_for_mask, dtype,
    )  # fmt: skip
    (B, T, H), F = layer.h.shape, len(layer.W)
    shapes = {
        "delta": (B, T, H), "x": (B, T, F), "kernel": (F, H), "recurrent_kernel": (H, H),
        "bias": (H,), "initial_state": (B, H),
    }  # fmt: skip
    got = {name: _read(name, array) for name, array in observed.items()}
    for name, array in got.items():
        if name not in shapes:
            raise ValueError(f"observed has {name!r}, but should have some of {', '.join(shapes)}")
        _check(f"observed {name}", array, shapes[name], "as the other arguments have it")
    if "delta" not in got:
        raise ValueError("observed has no 'delta', from which the others are judged")
    c = _read("cotangent", cotangent, layer.a)
    _check("cotangent", c, (B, T, H), "the states'")
    if cotangent_error is not None:
        cotangent_error = _read("cotangent_error", cotangent_error)
        _check("cotangent_error", cotangent_error, (B, T, H), "the states'")
    adjoint = _Adjoint(layer, got["delta"], c, cotangent_error)
    makers: dict[str, _Pieces] = {
        "delta": lambda worst: adjoint.deltas(),
        "x": lambda worst: adjoint.inputs(got["x"]),
        "kernel": lambda worst: adjoint.sums(slice(0, F), got["kernel"]),
        "recurrent_kernel": lambda worst: adjoint.sums(slice(F, F + H), got["recurrent_kernel"]),
        "bias": lambda worst: adjoint.sums(None, got["bias"]),
        "initial_state": lambda worst: adjoint.initial(got["initial_state"]),
    }
    return {name: _judge(layer.a, array, makers[name]) for name, array in got.items()}


class _Adjoint:
    """The backward pass of a layer: what its gradients should be, given the observed adjoints."""

    def __init__(self, layer: _Layer, delta: Array, c: Array, c_error: Array | None) -> None:
        self.layer, self.delta, self.c, self.c_error = layer, delta, c, c_error
        self.back = _Factor(layer.U.T, layer.a)

    def through_time(self, samples: slice, start: int, stop: int, copies: bool = True) -> _Sum:
        """g of the states start to stop - 1; state 0 is the initial one, and step t makes t + 1.

        The adjoint of the next step that counts, through Uᵀ, and the cotangents of the state and of
        its `copies` by masked steps. For states that are themselves copies it means nothing.
        """
        layer, T, H = self.layer, self.delta.shape[1], self.delta.shape[2]
        n, end = samples.stop - samples.start, stop
        if layer.next is None:
            delta = self.delta[samples, start:stop].astype(np.float64)
            if stop > T:
                delta = np.concatenate([delta, np.zeros((n, 1, H))], axis=1)
        else:
            following = layer.next[samples, start:stop]
            at = np.minimum(following, T - 1)[:, :, None]
            delta = np.take_along_axis(self.delta[samples], at, axis=1).astype(np.float64)
            delta[following == T] = 0.0
            end = int(following.max()) + 1 if layer.most > 1 else stop
        g = _Sum(delta.reshape(-1, H), self.back)
        own = _per_state(self.c, samples, start, end)
        size, error, unit = np.abs(own), np.zeros_like(own), None
        if self.c_error is not None:
            error = _per_state(self.c_error, samples, start, end)
        if not copies:
            own = size = error = np.zeros_like(own)
        elif layer.most > 1 and layer.mask is not None:
            begins = np.ones(own.shape[:2], bool)  # runs: a state that was made, and its copies
            begins[:, 1:] = layer.mask[samples, start : end - 1]
            if g.unit is not None:
                unit = _quanta(own.reshape(-1, H)).reshape(*own.shape[:2], 1)
                unit = _runs(np.minimum, unit, begins)[:, : stop - start].reshape(-1)
            own, size, error = (_runs(np.add, part, begins) for part in (own, size, error))
        own, size, error = (part[:, : stop - start].reshape(-1, H) for part in (own, size, error))
        given = None if self.c_error is None else error
        return g.plus(own, size, unit).bounded(H + layer.most, stored=2 + layer.most, given=given)

    def deltas(self) -> Iterator[_Piece]:
        """δ_t = g_t ∘ act'(z_t), or the adjoint of softmax and its like; 0 where skipped."""
        layer, a = self.layer, self.layer.a
        act = reference.activation(layer.name)
        for samples, steps in layer.blocks():
            observed = self.delta[samples, steps].astype(np.float64)
            shape = observed.shape
            g = self.through_time(samples, steps.start + 1, steps.stop + 1)
            z = layer.preactivation(samples, steps)
            h = act.function(z.value)
            expected, bound = vjp_bound(layer.name, g.value, g.error, z.value, h, z.error, a)
            bound[~(np.isfinite(expected) & np.isfinite(z.value))] = np.inf
            nan = np.isnan(g.value) & (g.error == 0) & np.isnan(observed.reshape(bound.shape))
            bound[nan] = 0.0
            sample = _NOTHING
            if act.derivative is not None:
                e = observed.reshape(expected.shape) - expected
                sample = self.sample(e, g, z, h, layer.counted(samples, steps))
            expected, bound = expected.reshape(shape), bound.reshape(shape)
            if layer.mask is not None:
                skipped = ~layer.mask[samples, steps]
                expected[skipped] = bound[skipped] = 0.0
            yield _Piece((samples, steps), expected, bound, sample)

    def sample(self, e: Array, g: _Sum, z: _Sum, h: Array, counted: Any) -> _Sample:
        """The errors of δ as seen from g; of those that z may have, typical ones are counted."""
        name, a, every = self.layer.name, self.layer.a, self.layer.every
        derivative = reference.activation(name).derivative
        assert derivative is not None
        if counted is not True:
            counted = counted[::every]
        value, h, most = z.value[::every], h[::every], z.error[::every]
        slope = derivative(value, h)
        walk = np.abs(value) + 3 * np.sqrt(z.squares(every))  # as in _sample
        typical = a.u_product * math.sqrt(z.terms / 3) * walk
        typical += np.broadcast_to(z.lost, z.value.shape)[::every]
        off = derivative_spread(name, value, most)
        off *= np.where(typical < most, typical / most, 1)
        off += derivative_error(name, value, h, a, most)
        off += derivative_error(name, value, h, _FLOAT64)
        noise = np.abs(g.value[::every] / slope) * off
        clear = (np.abs(slope) > 0.01) & np.isfinite(value + most) & counted
        return _sample(g, g.squares(every), every, e[::every] / slope, noise, clear)

    def inputs(self, observed: Array) -> Iterator[_Piece]:
        """dx_t = δ_t·Wᵀ, in input order."""
        layer, T = self.layer, self.delta.shape[1]
        factor = _Factor(layer.W.T, layer.a)
        for samples, steps in layer.blocks():
            delta = self.delta[samples, steps].astype(np.float64)
            dx = _Sum(delta.reshape(-1, delta.shape[2]), factor).bounded(delta.shape[2], stored=1)
            index = samples, steps
            if layer.go_backwards:
                before = T - 1 - steps.stop
                index = samples, slice(T - 1 - steps.start, before if before >= 0 else None, -1)
            yield _linear(index, dx, observed, layer.every)

    def sums(self, part: slice | None, observed: Array) -> Iterator[_Piece]:
        """dW and dU, those parts of Σ [x_t, h_{t-1}]ᵀδ_t, and db = Σ δ_t."""
        layer = self.layer
        B, T, H = self.delta.shape
        every = max(1, observed.size // _SAMPLED)
        total: _Sum | None = None
        squares: Any = 0.0
        for samples, steps in layer.blocks():
            delta = self.delta[samples, steps].astype(np.float64).reshape(-1, H)
            rows = np.ones((len(delta), 1))
            if part is not None:
                rows = layer.operands(samples, steps)[:, part]
            block = _Sum(np.ascontiguousarray(rows.T), _Factor(delta, layer.a, tight=True))
            squares = squares + block.squares(every)
            if total is None:
                total = block
            else:
                total.value += block.value
                total.size += block.size
                total.lost = total.lost + block.lost
                if total.unit is not None:
                    total.unit = None if block.unit is None else np.minimum(total.unit, block.unit)
                if block.special is not None:
                    total.special = block.special | (
                        False if total.special is None else total.special
                    )
        if total is not None:
            total.bounded(B * T, stored=T + 2)
            yield _linear((), total, observed, every, squares)

    def initial(self, observed: Array) -> Iterator[_Piece]:
        """dh_0 = δ_1·Uᵀ, and the cotangents of its copies where the states show it and not zeros.

        Where the initial state is 0 itself nobody can tell, and either is accepted.
        """
        layer = self.layer
        for samples, steps in layer.blocks():
            if steps.start:
                continue
            alone = self.through_time(samples, 0, 1, copies=False)
            s, got = alone, observed[samples].astype(np.float64)
            if layer.most > 1 and layer.next is not None:
                copied = self.through_time(samples, 0, 1)
                shown = layer.h[samples, 0].astype(np.float64)  # a copy, if it is masked
                masked = (layer.next[samples, 0] > 0)[:, None]
                zeros = (shown == 0).all(axis=1, keepdims=True)
                either = zeros & (layer.h0[samples] == 0).all(axis=1, keepdims=True)
                far, near = (
                    _ratios(_residual(got, one.value), one.error).max(axis=1, keepdims=True)
                    for one in (alone, copied)
                )
                keep = masked & (~zeros | (either & (near < far)))
                s.value = np.where(keep, copied.value, alone.value)
                s.error = np.where(keep, copied.error, alone.error)
                s.addend_size = np.where(keep, copied.addend_size, 0.0)
            yield _linear((samples,), s, observed, layer.every)


def _per_state(c: Array, samples: slice, start: int, end: int) -> Array:
    """c at the steps that made these states, 0 for the initial one."""
    if start:
        return c[samples, start - 1 : end - 1].astype(np.float64)
    padded = np.zeros((samples.stop - samples.start, end, c.shape[2]))
    padded[:, 1:] = c[samples, : end - 1]
    return padded


def _runs(combine: np.ufunc, array: Array, begins: Array) -> Array:
    """(n,m,H): where a run begins, its elements combined in the order of time; 0 elsewhere."""
    flat, at = array.reshape(-1, array.shape[2]), np.flatnonzero(begins)
    combined = np.zeros_like(flat)
    combined[at] = combine.reduceat(flat, at, axis=0)
    return combined.reshape(array.shape)


def _linear(
    index: tuple[slice, ...], s: _Sum, observed: Array, every: int, squares: Array | None = None
) -> _Piece:
    """A piece that is a sum of products and nothing else."""
    got = observed[index].astype(np.float64)
    e = got.reshape(s.value.shape)[::every] - s.value[::every]
    squares = s.squares(every) if squares is None else squares
    sample = _sample(s, squares, every, e)
    s.error[np.isinf(s.value) & np.isnan(got.reshape(s.value.shape))] = np.inf  # inf - inf
    return _Piece(index, s.value.reshape(got.shape), s.error.reshape(got.shape), sample)
