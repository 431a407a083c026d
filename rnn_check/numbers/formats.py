"""What are the arithmetics, and how far may one rounding, or k of them, be off?

    fl(a op b) = (a op b)(1 + ε), |ε| <= u        k such factors: 1 + θ_k, |θ_k| <= γ_k
    γ_k = k·u / (1 - k·u)                         Higham, Accuracy and Stability of Numerical
                                                  Algorithms, 2nd ed., SIAM 2002, lemma 3.1

where u is the unit roundoff of an arithmetic (float32: 2^-24).
"""

import math
from dataclasses import dataclass
from typing import Any

import ml_dtypes  # gives NumPy its bfloat16
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

Bound = npt.NDArray[np.float64]


# Arithmetics ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Arithmetic:
    """A floating-point arithmetic as frameworks use it in a recurrence.

    u is the roundoff that names it. What is stored (states, activations) is off by u_stored, sums
    inside a matrix product by u_sum, the result of one by u_product, and its operands by u_operand.
    """

    name: str
    u: float
    min_normal: float
    min_subnormal: float
    max: float
    u_stored: float
    u_sum: float
    u_product: float
    u_operand: float = 0.0

    @property
    def dtype(self) -> np.dtype[Any]:
        """What is stored in; float64 where nothing is rounded."""
        stored = {"tf32": "float32", "exact": "float64", "bfloat16": ml_dtypes.bfloat16}
        found: np.dtype[Any] = np.dtype(stored.get(self.name, self.name))
        return found

    @property
    def bits(self) -> int:
        """Integers below 2^bits pass every rounding unchanged (but never more than float64's)."""
        coarsest = max(self.u, self.u_stored, self.u_sum)
        return int(-math.log2(coarsest)) if coarsest else 53

    def gamma(self, k: int, stored: int = 3) -> float:
        """The relative error of a sum of products with k roundings on the longest way through it.

        Where sums are wider than storage, `stored` of the k roundings are those of storing:
        SimpleRNN stores x·W, x·W + b, h·U and the sum of both, three on the longest way. Both kinds
        are then counted in full, which is more than enough.
        """
        if self.u_sum == self.u_product:
            return gamma(k, self.u)
        factors = (gamma(k, self.u_sum), gamma(stored, self.u_product), gamma(2, self.u_operand))
        return math.prod(1 + factor for factor in factors) * UP - 1

    def underflow(self, k: int, stored: int = 3) -> float:
        """What flushed results add to such a sum: η for each of k products and k sums.

        Twice that, for the roundings that follow. Sums wider than storage underflow in float32.
        """
        wide = self.min_normal if self.u_sum == self.u_product else min(self.min_normal, 2.0**-126)
        return 2 * (2 * k * wide + stored * self.min_normal)


def _arithmetic(
    name: str,
    bits: int,
    exponent: int,
    *,
    stored: int | None = None,
    sums: int | None = None,
    product: int | None = None,
    operand: float = 0.0,
) -> Arithmetic:
    """`bits` of precision with the hidden one; the largest number is just below 2^(exponent+1)."""
    width = stored or bits
    return Arithmetic(
        name=name,
        u=2.0**-bits,
        min_normal=2.0 ** (1 - exponent),
        min_subnormal=2.0 ** (2 - exponent - width),
        max=(2 - 2.0 ** (1 - width)) * 2.0**exponent,
        u_stored=2.0**-width,
        u_sum=2.0 ** -(sums or bits),
        u_product=2.0 ** -(product or width),
        u_operand=operand,
    )


# TensorFlow on CPU sums products of float16 and bfloat16 in float32 (measured, up to 8192 terms;
# XLA alike). Eager it then cuts to bfloat16 instead of rounding: twice the error. Tensor cores take
# operands rounded or cut to TF32 (2^-10), and cut in their float32 additions too (2^-23).
ARITHMETICS: dict[str, Arithmetic] = {
    "float64": _arithmetic("float64", 53, 1023),
    "float32": _arithmetic("float32", 24, 127),
    "tf32": _arithmetic("tf32", 11, 127, stored=24, sums=23, operand=2.0**-10),
    "float16": _arithmetic("float16", 11, 15, sums=24),
    "bfloat16": _arithmetic("bfloat16", 8, 127, sums=24, product=7),
}
_EXACT = Arithmetic("exact", 0.0, 0.0, 0.0, np.inf, 0.0, 0.0, 0.0)
FLOAT64 = ARITHMETICS["float64"]
UP = 1 + 2.0**-40  # covers the rounding of up to 2^12 operations in the evaluation of a bound


def arithmetic(dtype_or_name: Any) -> Arithmetic:
    """The arithmetic of a dtype, or of its name; "exact" and "hand" round nothing.

    ("hand": the author's own rounding, to the digits shown, is `by_hand` of running.Running.)
    Raises ValueError for any other.
    """
    if isinstance(dtype_or_name, Arithmetic):
        return dtype_or_name
    name = dtype_or_name if isinstance(dtype_or_name, str) else np.dtype(dtype_or_name).name
    if name in ("exact", "hand"):
        return _EXACT
    if name.lower() not in ARITHMETICS:
        known = ", ".join([*ARITHMETICS, "exact", "hand"])
        raise ValueError(f"unknown arithmetic {name!r}: known are {known}")
    return ARITHMETICS[name.lower()]


@np.errstate(all="ignore")
def rounded(value: Array | float, a: Arithmetic) -> Bound:
    """To what the arithmetic stores, as frameworks cast: to bfloat16 by way of float32."""
    return np.asarray(value).astype(a.dtype).astype(np.float64)


def held(value: Array, a: Arithmetic) -> Array:
    """Which of these the arithmetic stores as they are, infinities and subnormal numbers too."""
    return np.asarray(rounded(value, a) == value)


def gamma(k: int, u: float) -> float:
    """γ_k = k·u / (1 - k·u), rounded up; inf when k·u >= 1."""
    return k * u / (1 - k * u) * (1 + 2**-50) if k * u < 1 else np.inf


def gamma_of_both(k: int, a: Arithmetic) -> float:
    """γ_k of the subject and of the float64 reference together."""
    return gamma(k, a.u_stored + FLOAT64.u)


def quantum(values: Array) -> float:
    """The largest power of two of which all the values are multiples; inf when all are zero.

    Sums of such numbers are exact, in any order, as long as Σ|terms| < quantum·2^bits: every
    partial sum is an integer below 2^bits in units of the quantum. 0 when a value is not finite.
    """
    values = np.asarray(values, np.float64)
    if not np.isfinite(values).all():
        return 0.0
    fraction, exponent = np.frexp(values[values != 0])
    whole = np.ldexp(fraction, 53).astype(np.int64)
    with np.errstate(under="ignore"):
        return float(
            np.ldexp((whole & -whole).astype(np.float64), exponent - 53).min(initial=np.inf)
        )


def _upper(bound: Array) -> Bound:
    """Rounded up, and inf where nothing is known."""
    return np.asarray(np.fmin(bound * UP, np.inf))


def ulps(a: Array, b: Array, arithmetic: Arithmetic) -> Bound:
    """How many units in the last place of b lie between b and a; negative where a < b.

    The unit is the spacing of the arithmetic's numbers at b, that of the subnormals at the least,
    so a need not be one of them. 0 where both are the same infinity or both NaN, else NaN or inf.
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    with np.errstate(all="ignore"):
        spacing = np.ldexp(2 * arithmetic.u_stored, np.frexp(b)[1] - 1)
        spacing = np.maximum(spacing, arithmetic.min_subnormal)
        same = (a == b) | (np.isnan(a) & np.isnan(b))
        return np.asarray(np.where(same, 0.0, (a - b) / spacing))


def precision_class(bits: float) -> str:
    """The arithmetic whose products are consistent with this many effective bits.

    The borders lie midway between neighbours as measured (float64 about 52, float32 21.4 to 23.5,
    TF32 11.7, bfloat16 8.8 to 9.3). float16 has TF32's 11 bits: only what is stored tells them
    apart, so "TF32" is the name of both here.
    """
    for least, name in ((37, "float64"), (16.5, "float32"), (10.5, "TF32"), (6.5, "bfloat16")):
        if bits >= least:
            return name
    return "less than bfloat16"
