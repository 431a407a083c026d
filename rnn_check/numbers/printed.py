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
    exponent = d.as_tuple().exponent
    if not isinstance(exponent, int):
        raise ValueError(f"{d} has no digits, so no last one")
    if abs(exponent) > 5000 or d.adjusted() > 5000:
        raise ValueError(f"{d} is out of any float's range")
    return Fraction(10) ** exponent / 2


def half_unit(d: Decimal) -> float:
    """Half a unit of the last printed digit, rounded up: 0.40 is 0.005, 7. is 0.5, 1e-3 is 0.0005.

    Raises ValueError for NaN, infinities, and exponents beyond ±5000.
    """
    return _up(_half(d))


def printed_interval(values: Any) -> tuple[Bound, Bound, Bound]:
    """(lo, hi, value) of printed decimals: what they can stand for, rounded outward, and nearest.

    values: a Decimal, or (nested) lists or an object array of Decimals. Raises ValueError as
    half_unit does, and for what is ragged or not a Decimal.
    """
    printed = np.array(values, dtype=object)
    lo, hi, value = (np.empty(printed.shape) for _ in range(3))
    for i, d in np.ndenumerate(printed):
        if not isinstance(d, Decimal):
            raise ValueError(f"printed values are Decimals of one rectangular array, not {d!r}")
        half, exact = _half(d), Fraction(d)
        lo[i], hi[i], value[i] = -_up(half - exact), _up(exact + half), float(d)
    return lo, hi, value
