"""How precisely were sums of products computed?

γ_k grows with k while rounding grows with √k (Higham & Mary, SIAM J. Sci. Comput. 41, 2019), so the
products of a wide layer may be made of TF32 factors and stay within. Their effective precision
hints at it:

    bits = -log2 rms(e/m)       e the error of a sum, m the 2-norm of its terms

TF32 shows 11.7 bits in sums of any length, float32 mostly more than 20; but sums of equal terms, or
in an unlucky order, are as bad as that in float32. Which it was, see operands.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from rnn_check.certificates.sums import Operands, Sum
from rnn_check.numbers.formats import Arithmetic, Array, precision_class

# The squares of errors above which sums are looked at more closely, in units of what rounding
# mostly makes of them, which is several times what it makes of sums in a good order
CLOSER = 2.0**-4
NOISE = 2.0**5  # u·m: a sum tells of its rounding if what else may be off is no more


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

    def __add__(self, other: Any) -> Sample:
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
    operands: Operands | None = None,
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
    counts = (noise <= NOISE * a.u * m) & clear
    if np.ndim(s.lost) or not s.lost <= a.u * m.min(initial=np.inf):
        counts &= s.lost <= a.u * m
    if not s.always_rounds:
        counts &= s.error > 0
    kept = s.parts if operands is None else lambda: operands
    return sampled(e, m, typical(s, m), counts, kept)


def typical(s: Sum, m: Array) -> Array:
    """The square of what rounding mostly makes of sums, in units of m, the 2-norm of the terms."""
    a, found = s.a, np.abs(s.value)
    found /= m
    found += 3
    np.square(found, out=found)
    found *= variance(a, s.terms, s.stored)
    if a.u_operand:
        found += 2 * a.u_operand**2
    return found


def variance(a: Arithmetic, terms: int, stored: int) -> float:
    """Of so many roundings, in units of the square of what is rounded."""
    found = terms / 3 * a.u_sum**2
    return found if a.u_sum == a.u_product else found + stored / 3 * a.u_product**2


def sampled(
    e: Array, m: Array, possible: Array, counts: Array, kept: Callable[[], Operands]
) -> Sample:
    """Those errors e (R,C) that count, in units of m; possible: of (e/m)².

    kept: asked for the operands, if these sums may be looked at more closely.
    """
    e = e / m
    squares, weights = np.square(e), counts.astype(np.float64)
    seen, most = float(np.vdot(squares, weights)), float(np.vdot(possible, weights))
    if not (math.isfinite(seen + most) and m.max(initial=0) < np.inf):  # some of them are not
        counts = counts & np.isfinite(e) & np.isfinite(m) & (m > 0)
        seen, most = float(squares[counts].sum()), float(possible[counts].sum())
    sums = int(np.count_nonzero(counts))
    found = Sample(sums, seen, most)
    if not seen > CLOSER * most / 2**6:
        return found  # these sums will not be looked at more closely
    e = e if sums == counts.size else np.where(counts, e, np.nan)
    return found._replace(errors=(Errors(e, m, kept()),))
