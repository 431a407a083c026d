"""What interval do the printed digits of a number claim?"""

import math
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np

from rnn_check.numbers.formats import Bound

# Printed numbers ------------------------------------------------------------------------------


def _up(value: Fraction) -> float:
    """The smallest float64 that is not below."""
    try:
        near = float(value)
    except OverflowError:
        return np.inf if value > 0 else -float(np.finfo(np.float64).max)
    return math.nextafter(near, math.inf) if Fraction(near) < value else near


def _half(d: Decimal) -> Fraction:
    """Half a unit of the last printed digit."""
    exponent = d.as_tuple().exponent
    if not isinstance(exponent, int):
        raise ValueError(f"{d} has no digits, so no last one")
    if abs(exponent) > 5000 or d.adjusted() > 5000:
        raise ValueError(f"{d} is out of any float's range")
    return Fraction(10) ** exponent / 2


def printed_interval(values: Any) -> tuple[Bound, Bound, Bound]:
    """(lo, hi, value) of printed decimals: what they can stand for, rounded outward, and nearest.

    values: a Decimal, or (nested) lists or an object array of Decimals: 0.40 stands for 0.395 to
    0.405, 7. for 6.5 to 7.5. Raises ValueError for NaN, infinities, exponents beyond ±5000, and for
    what is ragged or not a Decimal.
    """
    printed = np.array(values, dtype=object)
    lo, hi, value = (np.empty(printed.shape) for _ in range(3))
    for i, d in np.ndenumerate(printed):
        if not isinstance(d, Decimal):
            raise ValueError(f"printed values are Decimals of one rectangular array, not {d!r}")
        half, exact = _half(d), Fraction(d)
        lo[i], hi[i], value[i] = -_up(half - exact), _up(exact + half), float(d)
    return lo, hi, value
