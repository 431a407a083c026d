"""Were the operands of these sums cut, which ones, and how?

Sums of TF32 factors may stay within the bound of float32, and float32 itself may be as bad as TF32
where terms are equal or partial sums large. So how large the errors e are does not decide, but
whether they are the very errors that cut operands make, which can be computed:

    D = (x̃ - x)·W   or   x·(W̃ - W)        x̃, W̃ rounded or truncated to a narrower format

For each part of the sums, each operand, format and way there is one such D. If e = D + rounding,
the regression of e on D has coefficient 1 and explains almost all of e.

What the sums have in common tells nothing: means over rows, means over columns, and multiples of
the parts' values and sizes, as one-sided rounding makes them, are taken out of e and of every D
first. A D of which nothing is left, or of which few numbers are independent, is collinear: of that
operand nothing can be said.

Honest rounding knows nothing of the digits that a format drops: e then points anywhere in the space
of ν dimensions that is left. That p directions chosen from M sets explain all but a share ε of its
square has probability

    M · P(Beta((ν-p)/2, p/2) < ε)  <=  M ε^((ν-p)/2) Γ(ν/2) / (Γ((ν-p)/2 + 1) Γ(p/2))    (p >= 2)

An operand is called cut if that is below 2^-40 and its coefficient is nearer to 1 than to the 1/4
that rounding with one bit more would have: its errors are half as large, and are a part of these.
Where the format holds the other operand of the product exactly, products are rounded where their
operands would be, as large partial sums do it in honest sums. There the sum of squares of D has to
be more than K roundings of sums as large as Σ|terms| make.

    R rows, C columns of a sample of sums       K terms
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from rnn_check.certificates.precision import Errors
from rnn_check.numbers.formats import Arithmetic, Array

FALSE_ALARM = 2.0**-40
_ROWS = 2**9  # more than that would not tell more


class Format(NamedTuple):
    name: str
    digits: int
    least: int  # the exponent of its smallest number
    most: float


FORMATS = (
    Format("float32", 24, -149, 3.4028235677973366e38),
    Format("TF32", 11, -136, 3.4e38),
    Format("float16", 11, -24, 65504.0),
    Format("bfloat16", 8, -133, 3.39e38),
)
WAYS: dict[str, Callable[[Array], Array]] = {"rounded": np.rint, "truncated": np.trunc}


def narrowed(values: Array, to: Format, way: str) -> Array:
    """These numbers in a narrower format."""
    exponent = np.maximum(np.frexp(values)[1] - to.digits, to.least)
    out = np.ldexp(WAYS[way](np.ldexp(values, -exponent)), exponent)
    return np.where(np.abs(out) > to.most, np.copysign(np.inf, values), out)


class Operand(NamedTuple):
    """One side of one part of the sums."""

    name: str
    other: str  # what it is multiplied with
    right: bool


class Cut(NamedTuple):
    """An operand, and what its errors explain."""

    name: str
    way: str
    format: str
    coefficient: float

    def __str__(self) -> str:
        return f"{self.name} {self.way} to {self.format}"


@dataclass(frozen=True)
class Finding:
    """What the errors of a sample say.

    cuts     operands that were cut: none if the errors are others than those
    explained   the share of the errors' squares that is theirs
    unclear  operands of which nothing can be said
    """

    cuts: tuple[Cut, ...]
    explained: float
    unclear: tuple[str, ...]


@dataclass(eq=False)
class _Candidate:
    operand: Operand
    format: str
    digits: int
    way: str
    D: Array  # (N,) what is left of it
    full: Array  # (N,) all of it
    few_digits: bool = False  # of the other operand


def examine(a: Arithmetic, errors: Sequence[Errors]) -> Finding:
    """Which operands were cut to a format narrower than that of the arithmetic claimed."""
    digits = min(a.bits, round(-math.log2(a.u)))
    if a.u_operand:
        digits = min(digits, round(-math.log2(a.u_operand)))
    formats = [f for f in FORMATS if f.digits < digits]
    thin = slice(None, None, max(1, sum(len(e.e) for e in errors) // _ROWS))
    grid = _Grid(np.concatenate([e.e[thin] for e in errors]))
    m = np.concatenate([e.m[thin] for e in errors])
    made = [_made(e, formats, thin) for e in errors]
    value, size, terms = (
        np.concatenate(part) for part in zip(*(p.sums for p in made), strict=True)
    )
    parts = list(dict.fromkeys(part for p in made for part in p.values))
    known = [
        np.concatenate([p.values.get(part, 0 * p.sums[0]) for p in made]) / m for part in parts
    ]
    grid.take_out([*known, value / m, size / m])
    candidates, unclear, digits_of = [], set(), {f.name: f.digits for f in formats}
    for key in dict.fromkeys(key for p in made for key in p.cut):
        operand, form, way = key
        full = np.concatenate([p.cut.get(key, 0 * p.sums[0]) for p in made]) / m
        if not np.isfinite(full).all() or not full.any():
            continue
        D, independent = grid.left_of(full)
        if not independent:
            unclear.add(operand.name)
            continue
        candidates.append(
            _Candidate(
                operand,
                form,
                digits_of[form],
                way,
                D,
                full[grid.counted],
                _held(made, operand, form),
            )
        )
    unclear -= {c.operand.name for c in candidates}
    most = a.u_sum * np.sqrt(terms + 1) * size / m  # what K roundings of Σ|terms| make
    cuts, explained, doubtful = _chosen(
        grid, candidates, float(np.square(most[grid.counted]).sum())
    )
    return Finding(tuple(cuts), explained, () if cuts else tuple(sorted(unclear | doubtful)))


def loudest(errors: Sequence[Errors]) -> list[Errors]:
    """The errors of those rows, and in them of those columns, where they are large alone.

    Where operands are cut in some of the rows only (at some steps, in some samples), or in some of
    the columns, all the others explain nothing. Large is what is over a sixteenth of the largest
    mean square: cut operands make errors of one size, up to the sizes of what is multiplied. That
    says nothing of where they point, which is all that `examine` goes by.
    """
    squares = [np.square(each.e) for each in errors]
    most = max((_means(s, 1).max(initial=0) for s in squares), default=0.0)
    kept = [_means(s, 1) > most / 2**4 for s in squares]
    columns = _means(np.concatenate([s[k] for s, k in zip(squares, kept, strict=True)]), 0)
    loud = columns > columns.max(initial=0) / 2**4
    return [
        each._replace(e=np.where(rows[:, None] & loud, each.e, np.nan))
        for each, rows in zip(errors, kept, strict=True)
    ]


def _means(squares: Array, axis: int) -> Array:
    """Over what counts."""
    there = ~np.isnan(squares)
    sums = np.where(there, squares, 0.0).sum(axis=axis)
    return _over(sums, np.count_nonzero(there, axis=axis))


def _chosen(
    grid: "_Grid", candidates: list[_Candidate], most: float
) -> tuple[list[Cut], float, set[str]]:
    """One way for each operand, the best first, as long as more is explained.

    Also how much is, and of which operands this may be chance. most: Σ of the squares of what large
    partial sums make.
    """
    e = grid.e
    chosen: list[_Candidate] = []
    best, explained, doubtful = list[Cut](), 0.0, set[str]()
    rest, whole, sets = e, float(e @ e), 1.0
    while whole > 0:
        taken = {c.operand for c in chosen}
        left = [c for c in candidates if c.operand not in taken]
        if not left:
            break
        gains = []
        for c in left:
            D = c.D
            if chosen:
                A = np.stack([other.D for other in chosen], axis=1)
                D = D - A @ np.linalg.lstsq(A, D, rcond=None)[0]
            own = float(D @ D)
            gains.append(float(D @ rest) ** 2 / own if own > 2.0**-20 * float(c.D @ c.D) else 0.0)
        at = int(np.argmax(gains))
        if gains[at] <= 0:
            break
        sets *= len(left)
        chosen.append(left[at])
        rest = e - np.stack([c.D for c in chosen], axis=1) @ _fit(e, chosen)[0]
        named = _first_named(e, chosen, candidates)
        coefficients, squares = _fit(e, named)
        unexplained = squares / whole
        free = min(grid.free, *(grid.independent(c.D) for c in named))
        near, sure = set[str](), list[Cut]()
        for c, coefficient in zip(named, coefficients, strict=True):
            if abs(coefficient - 1) < 3 / 8:
                near.add(c.operand.name)
                if not (c.few_digits and float(np.square(c.full).sum()) <= most):
                    sure.append(Cut(c.operand.name, c.way, c.format, float(coefficient)))
        if not _chance(sets, unexplained, free, len(chosen)) < FALSE_ALARM:
            sure = []
        if unexplained < 1 / 2:
            doubtful |= near - {cut.name for cut in sure}
        # one more has to explain half of what was left, or it is a guess
        if sure and unexplained < (1 - explained) / 2:
            best, explained = sure, 1 - unexplained
    return best, explained, doubtful


def _first_named(
    e: Array, chosen: Sequence[_Candidate], candidates: Sequence[_Candidate]
) -> list[_Candidate]:
    """These, but of two formats of as many digits, if they do nearly alike, the first."""
    named = list(chosen)
    for i, c in enumerate(chosen):
        for other in candidates[: candidates.index(c)]:
            alike = (other.operand, other.way, other.digits) == (c.operand, c.way, c.digits)
            instead = [*named[:i], other, *named[i + 1 :]]
            if alike and _fit(e, instead)[1] <= 2 * _fit(e, named)[1]:
                named = instead
    return named


def _fit(e: Array, chosen: Sequence[_Candidate]) -> tuple[Array, float]:
    """The coefficients of these in e, and the sum of squares that they leave."""
    A = np.stack([c.D for c in chosen], axis=1)
    coefficients = np.linalg.lstsq(A, e, rcond=None)[0]
    rest = e - A @ coefficients
    return coefficients, float(rest @ rest)


def _chance(sets: float, unexplained: float, free: float, p: int) -> float:
    """The probability that the best of so many sets of p directions leave no more unexplained."""
    p = max(p, 2)
    rest = free - p
    if rest <= 0 or not unexplained < 1:
        return 1.0
    log = math.log(sets) + rest / 2 * math.log(max(unexplained, 1e-300))
    log += math.lgamma(free / 2) - math.lgamma(rest / 2 + 1) - math.lgamma(p / 2)
    return math.exp(min(log, 0.0))


class _Made(NamedTuple):
    """What the operands of some sums make."""

    sums: tuple[Array, Array, Array]  # value, Σ|terms|, how many terms are not 0; (R,C)
    values: dict[tuple[str, str], Array]  # of each part
    cut: dict[tuple[Operand, str, str], Array]  # (R,C) what cutting an operand adds
    exact: dict[tuple[str, str], bool]  # whether a format holds an operand: (name, format)


def _made(errors: Errors, formats: Sequence[Format], thin: slice) -> _Made:
    value, size, terms = (np.zeros(errors.e[thin].shape) for _ in range(3))
    values: dict[tuple[str, str], Array] = {}
    cut: dict[tuple[Operand, str, str], Array] = {}
    exact: dict[tuple[str, str], bool] = {}
    for left, right, rows, matrix, through in errors.operands():
        rows = rows[thin]
        seen: Callable[[Array], Array] = _as_it_is
        size_of: Callable[[Array], Array] = _as_it_is
        if through is not None:
            seen, size_of = through.rows(thin).shown, through.rows(thin).sizes
        part = seen(rows @ matrix)
        value += part
        size += size_of(np.abs(rows) @ np.abs(matrix))
        count = (rows != 0).astype(np.float64) @ (matrix != 0).astype(np.float64)
        terms += count[:, : errors.e.shape[1]]
        values[left, right] = values.get((left, right), 0.0) + part
        for form in formats:
            for way in WAYS:
                for name, other, array, on_right in (
                    (left, right, rows, False), (right, left, matrix, True),
                ):  # fmt: skip
                    off = narrowed(array, form, way) - array
                    held = exact.get((name, form.name), True)
                    exact[name, form.name] = held and not off.any()
                    if not name:
                        continue
                    key = Operand(name, other, on_right), form.name, way
                    added = seen(rows @ off if on_right else off @ matrix)
                    cut[key] = cut.get(key, 0.0) + added
    return _Made((value, size, terms), values, cut, exact)


def _as_it_is(part: Array) -> Array:
    return part


def _held(made: Sequence[_Made], operand: Operand, form: str) -> bool:
    return all(p.exact.get((operand.other, form), True) for p in made)


class _Grid:
    """The errors that count, without what their rows, columns and known multiples have in common.

    e (N,) what is left of them; free: of how many dimensions that is.
    """

    def __init__(self, errors: Array) -> None:
        counted = np.isfinite(errors)
        # a row or a column that is alone in its column or row would leave nothing
        for _ in range(2):
            for axis in (0, 1):
                lonely = np.count_nonzero(counted, axis=axis, keepdims=True) < 2
                if counted.shape[axis] > 1:
                    counted = counted & ~lonely
        self.counted, self.shape = counted, counted.shape
        self.rows = np.count_nonzero(counted, axis=1)
        self.columns = np.count_nonzero(counted, axis=0)
        R, C = np.count_nonzero(self.rows), np.count_nonzero(self.columns)
        self.means = R > 1 and C > 1
        self.free = float(counted.sum() - (R + C - 1 if self.means else 1))
        self.basis = np.zeros((int(counted.sum()), 0))
        self.e = self._flat(errors)

    def take_out(self, known: Sequence[Array]) -> None:
        found = [v for v in map(self._flat, known) if np.isfinite(v).all()]
        if found:
            basis, triangle = np.linalg.qr(np.stack(found, axis=1))
            sizes = np.abs(np.diag(triangle))
            self.basis = basis[:, sizes > 2.0**-40 * sizes.max(initial=0)]
            self.free -= self.basis.shape[1]
            self.e = self.e - self.basis @ (self.basis.T @ self.e)

    def left_of(self, D: Array) -> tuple[Array, bool]:
        """D without what it has in common, and whether that leaves something to be seen."""
        flat = self._flat(D)
        flat = flat - self.basis @ (self.basis.T @ flat)
        whole = float(np.square(D[self.counted]).sum())
        return flat, float(flat @ flat) > 2.0**-20 * whole and self.independent(flat) > 3

    def independent(self, flat: Array) -> float:
        """How many numbers of D are independent: a matrix of rank r has r·max(R,C) at most.

        Of rows (columns) that are multiples of one another, to less than 45 degrees, one counts;
        the rank is (tr DDᵀ)²/‖DDᵀ‖², no more than the number of different singular values.
        """
        if not self.means:  # one row or one column
            return float(len(np.unique(flat)))
        D = np.zeros(self.shape)
        D[self.counted] = flat
        of_rows, of_columns = D @ D.T, D.T @ D
        trace = float(np.trace(of_rows))
        if not trace > 0:
            return 0.0
        rank = trace**2 / float(np.square(of_rows).sum())
        return rank * max(_different(of_rows), _different(of_columns))

    def _flat(self, array: Array) -> Array:
        """Minus the means over rows and columns, of what counts. (N,)"""
        D = np.where(self.counted, array, 0.0)
        if not self.means:
            flat = D[self.counted]
            return flat - flat.mean() if flat.size else flat
        for _ in range(2**5):  # exact at once where all count, else soon
            D -= np.where(self.counted, _over(D.sum(axis=1), self.rows)[:, None], 0.0)
            D -= np.where(self.counted, _over(D.sum(axis=0), self.columns), 0.0)
            if self.counted.all():
                break
        return D[self.counted]


def _over(sums: Array, counts: Array) -> Array:
    return np.asarray(sums / np.maximum(counts, 1))


def _different(gram: Array) -> int:
    """How many vectors are not, nearly, multiples of one before them."""
    norms = np.diag(gram)
    alike = 2 * np.square(gram) > np.outer(norms, norms)
    return int(np.count_nonzero((norms > 0) & ~np.tril(alike, -1).any(axis=1)))


def describe(cuts: Sequence[Cut]) -> str:
    """ "kernel and recurrent_kernel truncated to TF32, x rounded to bfloat16" """
    grouped: dict[tuple[str, str], list[str]] = {}
    for c in cuts:
        grouped.setdefault((c.way, c.format), []).append(c.name)
    return ", ".join(_all_of(names) + f" {way} to {form}" for (way, form), names in grouped.items())


def _all_of(names: Sequence[str]) -> str:
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last
