"""How far may a sum of products be off, and how precisely was it computed?"""

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from rnn_check.certificates.factors import Factor, Room, quanta
from rnn_check.certificates.precision import Sample, effective_precision
from rnn_check.certificates.sums import Sum
from rnn_check.numbers.formats import ARITHMETICS, FLOAT64, Array, quantum

FLOAT32 = ARITHMETICS["float32"]


def summed(rows: Array, matrix: Array, bias: Array | None = None, **options: Any) -> Sum:
    factor = Factor(matrix, FLOAT32, bias=bias, **options)
    return Sum(rows, factor).bounded(stored=3)


def test_quanta_are_those_of_the_definition() -> None:
    rng = np.random.default_rng(0)
    for n in range(500):
        row = np.round(rng.normal(size=(1, 4)) * 2.0 ** rng.integers(0, 50)) * 2.0 ** (n - 250)
        if n % 3 == 0:
            row = rng.normal(size=(1, 4))
        assert quanta(row)[0] == quantum(row)
        multiples = [Fraction(v) / Fraction(quanta(row)[0]) for v in row[0]]
        assert all(m.denominator == 1 for m in multiples)
        assert not any(row[0]) or any(m.numerator % 2 for m in multiples)


def test_quanta_of_what_is_no_ordinary_number() -> None:
    tiny = 2.0**-1074
    rows = np.array([[0.0, -0.0], [1.0, 0.0], [tiny, 8 * tiny], [1.0, np.inf], [np.nan, 1.0]])
    assert quanta(rows).tolist() == [math.inf, 1.0, tiny, 0.0, 0.0]
    assert quanta(np.zeros((2, 0))).tolist() == [math.inf, math.inf]


@pytest.mark.parametrize("K", [3, 50])
@pytest.mark.parametrize("digits", [3, 8, 11, 12, 13, 16, 24])
def test_no_rounding_is_claimed_exactly_where_there_can_be_none(K: int, digits: int) -> None:
    """Whole numbers of so many digits, against float32 sums in three orders.

    Where the error is said to be 0 all three are equal to the sum in whole numbers; and where the
    absolute sum (or, of many terms, its bound by norms) is below 2^24, it is said to be 0.
    """
    rng = np.random.default_rng(digits)
    rows, matrix = (rng.integers(-(2**digits), 2**digits, size=s) for s in ((6, K), (K, 4)))
    s = summed(rows.astype(float), matrix.astype(float))
    truth = rows @ matrix  # int64
    terms = rows[:, :, None].astype(np.float32) * matrix.astype(np.float32)
    for order in (np.arange(K), np.arange(K)[::-1], rng.permutation(K)):
        total = np.zeros((6, 4), np.float32)
        for k in order:
            total = total + terms[:, k]
        assert (total == truth)[s.error == 0].all()
    assert ((s.error == 0) == (s.size < 2**24)).all()
    assert (s.size >= (np.abs(rows) @ np.abs(matrix)) * (1 - 2.0**-40)).all()


def test_a_row_of_few_digits_among_others_is_exact() -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(5, 40)).astype(np.float32).astype(float)
    rows[3] = np.round(rows[3])
    s = summed(rows, np.ones((40, 2)))
    assert (s.error[3] == 0).all() and (np.delete(s.error, 3, axis=0) > 0).all()


@pytest.mark.parametrize("tight", [True, False])
def test_sizes_and_squares_are_those_of_the_terms(tight: bool) -> None:
    rng = np.random.default_rng(0)
    rows, matrix, bias = (rng.normal(size=s) for s in ((7, 40), (40, 5), (5,)))
    factor = Factor(matrix, FLOAT32, 15, bias=bias, tight=tight)
    s = Sum(rows, factor).bounded(stored=3)
    terms = np.concatenate(
        [rows[:, :, None] * matrix, np.broadcast_to(bias, (7, 1, 5))], axis=1
    )  # fmt: skip
    size = np.abs(terms).sum(axis=1)
    # by norms: no less, and by Cauchy and Schwarz no more than √K times as large
    assert (s.size >= size * (1 - 2.0**-40)).all() and (s.size <= math.sqrt(41) * size).all()
    assert not tight or (np.abs(s.size - size) <= 2.0**-40 * size).all()
    squares = np.square(terms).sum(axis=1)
    assert (np.abs(s.squares - squares) <= 2.0**-40 * squares).all()
    assert (np.abs(s.value - terms.sum(axis=1)) <= FLOAT64.gamma(42) * size).all()


def test_subnormal_operands_widen_the_error_by_what_they_would_take_with_them() -> None:
    """1e30 times 1e-40: the product is lost where 1e-40 is read as 0."""
    rows, matrix = np.array([[1e-40, 1.0], [1.0, 1.0]]), np.array([[1e30], [1e-10]])
    s = summed(rows, matrix)
    assert s.error[0, 0] >= 1e-10 and s.error[1, 0] <= 2 * FLOAT32.gamma(3) * 1e30
    s = summed(matrix.T, rows.T)  # the same products, from the other side
    assert s.error[0, 0] >= 1e-10


def test_what_a_subnormal_bias_loses_is_of_its_column_alone() -> None:
    a = ARITHMETICS["float32"]
    rows, matrix = np.full((3, 2), 1e-30), np.full((2, 4), 1e-9)
    whole = Sum(rows, Factor(matrix, a, bias=np.array([0.0, 1e-40, 0.0, 2e-40]))).bounded(stored=1)
    some = whole.at(np.array([0, 2]), np.array([1, 2]))
    assert some.lost.shape == some.value.shape == (2, 2)
    np.testing.assert_array_equal(some.error, whole.error[[0, 2]][:, [1, 2]])


def test_room_is_used_again() -> None:
    room = Room()
    first = room("a", 3, 4)
    assert room("a", 2, 5).base is first.base and room("b", 3).base is not first.base
    assert room("a", 5, 4).shape == (5, 4)


def test_too_few_errors_say_nothing_and_enough_name_their_class() -> None:
    def seen(bits: float, sums: int = 16, possible: float = 0.0) -> Sample:
        return Sample(sums, sums * 2.0 ** (-2 * bits), possible)

    assert effective_precision(FLOAT32, seen(11.7, sums=15)) == (None, None, False)
    assert effective_precision(FLOAT32, Sample(100, 0.0, 0.0)) == (None, None, False)
    assert effective_precision(FLOAT32, seen(11.75)) == (11.75, "TF32", True)
    assert effective_precision(FLOAT32, seen(9.0)) == (9.0, "bfloat16", True)
    assert effective_precision(FLOAT32, seen(22.0)) == (22.0, "float32", False)
    assert effective_precision(FLOAT32, seen(60.0)) == (60.0, "float32", False)
    assert effective_precision(FLOAT64, seen(22.0)) == (22.0, "float32", True)
    assert effective_precision(ARITHMETICS["float16"], seen(11.0)) == (11.0, "float16", False)
    # long sums of one sign may be that bad by rounding alone
    assert effective_precision(FLOAT32, seen(16.0, possible=1.0)) == (16.0, "float32", False)
