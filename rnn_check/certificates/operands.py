"""Were the operands of these sums cut, which ones, and how?

Sums of TF32 factors may stay within the bound of float32, and float32 itself may be as bad as TF32
where terms are equal or partial sums large. So how large the errors e are does not decide, but
whether they are the very errors that cut operands make, which can be computed:

    D = (x̃ - x)·W   or   x·(W̃ - W)        x̃, W̃ rounded or truncated to a narrower format

For each part of the sums, each operand, format and way there is one such D. If e = D + rounding,
the regression of e on D has coefficient 1 and explains almost all of e.

What the sums have in common, and multiples of the parts' values and sizes, as one-sided rounding
makes them, are taken out of e and of every D first. A D of which nothing is left, or of which few
numbers are independent, is collinear: of that operand nothing can be said.

Honest rounding knows nothing of the digits that a format drops: e then points anywhere in the space
that is left, and how probable it is that some D explain so much of it is known (see `explained`).
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

from rnn_check.certificates import precision
from rnn_check.certificates.explained import Grid, chance, fit, mean
from rnn_check.certificates.precision import Errors, Sample
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
    grid = Grid(np.concatenate([e.e[thin] for e in errors]))
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
    return mean(sums, np.count_nonzero(there, axis=axis))


def _chosen(
    grid: Grid, candidates: list[_Candidate], most: float
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
            D = fit(c.D, [other.D for other in chosen])[1] if chosen else c.D
            own = float(D @ D)
            gains.append(float(D @ rest) ** 2 / own if own > 2.0**-20 * float(c.D @ c.D) else 0.0)
        at = int(np.argmax(gains))
        if gains[at] <= 0:
            break
        sets *= len(left)
        chosen.append(left[at])
        rest = fit(e, [c.D for c in chosen])[1]
        named = _first_named(e, chosen, candidates)
        coefficients, unnamed = fit(e, [c.D for c in named])
        unexplained = float(unnamed @ unnamed) / whole
        free = min(grid.free, *(grid.independent(c.full, c.D) for c in named))
        near, sure = set[str](), list[Cut]()
        for c, coefficient in zip(named, coefficients, strict=True):
            if abs(coefficient - 1) < 3 / 8:
                near.add(c.operand.name)
                if not (c.few_digits and float(np.square(c.full).sum()) <= most):
                    sure.append(Cut(c.operand.name, c.way, c.format, float(coefficient)))
        if not chance(sets, unexplained, free, len(chosen)) < FALSE_ALARM:
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
            if alike and _left(e, instead) <= 2 * _left(e, named):
                named = instead
    return named


def _left(e: Array, chosen: Sequence[_Candidate]) -> float:
    """The sum of squares that these leave of e."""
    rest = fit(e, [c.D for c in chosen])[1]
    return float(rest @ rest)


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


def describe(cuts: Sequence[Cut]) -> str:
    """ "kernel and recurrent_kernel truncated to TF32, x rounded to bfloat16" """
    grouped: dict[tuple[str, str], list[str]] = {}
    for c in cuts:
        grouped.setdefault((c.way, c.format), []).append(c.name)
    return ", ".join(_all_of(names) + f" {way} to {form}" for (way, form), names in grouped.items())


def _all_of(names: Sequence[str]) -> str:
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last


class Summed(NamedTuple):
    """How sums were made."""

    bits: float | None
    consistent: str | None = None  # the arithmetic of which the errors are
    cut: str = ""  # what was
    aside: str = ""  # what could not be told


def how_summed(a: Arithmetic, sample: Sample) -> Summed:
    """The precision of sums, and whether what they are made of was cut."""
    bits, consistent, too_few = precision.effective_precision(a, sample)
    if bits is None:
        return Summed(None)
    if not sample.errors:
        sentence = (
            f"the sums show {bits:.1f} bits of precision: consistent with {consistent}, not with "
            f"{precision.called(a)}"
        )
        return Summed(bits, consistent, sentence if too_few else "")
    if sample.seen <= precision.CLOSER * sample.possible:
        return Summed(bits, precision.called(a))
    unclear = set[str]()
    for errors, where in (
        (sample.errors, "the sums'"),
        (loudest(sample.errors), "the largest of the sums'"),
    ):
        found = examine(a, errors)
        unclear |= set(found.unclear)
        if found.cuts:
            consistent = found.cuts[0].format
            return Summed(bits, consistent, (
                f"{describe(found.cuts)}: {found.explained:.2%} of the squares of {where} "
                f"errors are what that makes ({bits:.1f} bits of precision, consistent with "
                f"{consistent}, not with {precision.called(a)})"
            ))  # fmt: skip
    if sample.seen <= sample.possible:
        return Summed(bits, precision.called(a))
    aside = (
        f"; the sums show {bits:.1f} bits of precision, fewer than {precision.called(a)} mostly "
        "does, "
    )
    if unclear:
        return Summed(bits, aside=(
            f"{aside}and of {', '.join(sorted(unclear))} it cannot be told whether they were cut: "
            "these data are too few, or too much alike"
        ))  # fmt: skip
    return Summed(bits, aside=f"{aside}and it is not seen why")
