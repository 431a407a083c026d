"""Is what is known of bounded numbers kept when they are put together, cut and taken apart?"""

import numpy as np

from rnn_check.numbers.bounded import Bounded, _sum_error, exactly, joined, stacked, untold, where
from rnn_check.numbers.formats import ARITHMETICS

FLOAT32 = ARITHMETICS["float32"]
PLAIN = exactly(np.array([1.0, -2.0]), FLOAT32)
SUM = Bounded(np.array([0.0, 3.0]), np.array([0.5, 0.25]), FLOAT32, np.array([8.0, 4.0]))


def told(number: Bounded) -> list[list[float]]:
    return [part.tolist() for part in (*number, number.size)]


def test_a_number_is_taken_apart_into_its_value_and_its_error() -> None:
    value, error = SUM
    assert (value.tolist(), error.tolist()) == ([0, 3], [0.5, 0.25])


def test_what_is_joined_keeps_to_what_its_roundings_are_relative() -> None:
    assert told(joined([PLAIN, SUM])) == [[1, -2, 0, 3], [0, 0, 0.5, 0.25], [1, 2, 8, 4]]
    assert told(stacked([PLAIN, SUM], 1)) == [
        [[1, 0], [-2, 3]], [[0, 0.5], [0, 0.25]], [[1, 8], [2, 4]]
    ]  # fmt: skip
    assert told(where(np.array([True, False]), PLAIN, SUM)) == [[1, 3], [0, 0.25], [1, 4]]
    assert joined([PLAIN, PLAIN]).larger is None


def test_a_factor_that_rounds_nothing_makes_of_an_error_no_less_than_nothing() -> None:
    assert told(SUM.times(-2)) == [[0, -6], [1, 0.5], [16, 8]]
    assert told(-SUM) == [[0, -3], [0.5, 0.25], [8, 4]]


def test_nothing_is_told_of_an_infinity_times_0_unless_a_nan_decides() -> None:
    nan, inf = np.nan, np.inf
    rows = np.array([[inf, 1.0], [nan, 0.0], [nan, 1.0], [1.0, 2.0]])
    matrix = np.array([[0.0, 3.0], [1.0, 2.0]])
    unknown = untold(rows, matrix)
    assert unknown is not None
    assert unknown.tolist() == [[True, False], [True, False], [True, False], [False, False]]
    decided = untold(np.array([[inf, nan]]), matrix)  # NaN·1 beside inf·0
    assert decided is not None and not decided.any()
    assert untold(rows[3:], matrix) is None
    may_overflow = Bounded(np.array([[1.0, 0.0]]), np.array([[inf, 0.0]]), FLOAT32)
    with np.errstate(invalid="ignore"):
        error = _sum_error(FLOAT32, [(may_overflow, exactly(matrix, FLOAT32))], k=2)
    assert np.isinf(error).all()
