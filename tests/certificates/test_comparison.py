"""Can every comparison fail, and does its sentence say what differs?"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from rnn_check import certify
from rnn_check.certificates import comparison
from rnn_check.certificates.comparison import Comparison, apart

ONE = np.array([1.0, 2.0])
ZERO = np.zeros(2)


def compared(**changes: Any) -> Comparison:
    parts: dict[str, Any] = {"got": ONE, "expected": ONE, "error": ZERO, "bound": ZERO}
    return Comparison("claim", "output", **parts | changes)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"bound": np.array([1.0, -1e-300])}, "negative or NaN"),
        ({"bound": np.array([np.nan, 1.0])}, "negative or NaN"),
        ({"bound": np.array([-np.inf, 1.0])}, "negative or NaN"),
        ({"bound": np.array([np.inf, 1.0])}, "infinite, and nothing says why"),
        ({"error": np.array([0.0, -1.0])}, "an error is negative"),
        ({"got": np.ones(3)}, r"got \(3,\), expected \(2,\)"),
        ({"expected": np.ones((1, 2))}, "shapes differ"),
        ({"error": np.ones(())}, "shapes differ"),
        ({"bound": np.ones((2, 1))}, "shapes differ"),
        ({"interval": (np.ones(1), np.ones(1))}, r"lo \(1,\)"),
        ({"axes": ("unit",)}, "of 0 coordinates"),
        ({"axes": ("unit",), "coordinates": (np.arange(2),) * 2}, "of 2 coordinates"),
    ],
)
def test_what_could_not_fail_is_refused(changes: dict[str, Any], problem: str) -> None:
    assert compared().ok
    with pytest.raises(ValueError, match=problem):
        compared(**changes)


def test_infinite_bounds_say_why_and_are_counted() -> None:
    some = compared(bound=np.array([np.inf, 1.0]), unbounded="errors grow")
    assert (some.unjudged, some.says_nothing) == (1, False)
    assert compared(bound=np.full(2, np.inf), unbounded="errors grow").says_nothing


def test_an_error_that_is_no_number_is_beyond_every_bound() -> None:
    assert compared(error=np.array([0.0, np.nan]), bound=np.full(2, 1e300)).ratio == np.inf


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        ((1.0, 1.5), ["1", "1.5"]),
        ((1.27052099, 1.2705209904), ["1.27052099", "1.2705209904"]),
        ((1.3862943649291992, 1.3862943611198906), ["1.386294365", "1.386294361"]),
        ((1.0, 1.0 + 2.0**-52), ["1", "1.0000000000000002"]),
        ((0.0, -0.0), ["0", "-0"]),
        ((1.0, 1.0), ["1", "1"]),
        ((np.nan, 1.0), ["nan", "1"]),
        ((100, 24), ["100", "24"]),
    ],
)
def test_as_many_digits_as_differ_are_shown(values: Any, texts: list[str]) -> None:
    assert apart(*values) == texts


@pytest.mark.parametrize(
    ("who", "how", "sentence"),
    [
        (
            "claim",
            {"interval": (np.array([0.745]), np.array([0.755]))},
            "claimed 0.75, that is 0.745 to 0.755, true 0.8; 0.05 beyond where 0.001 is allowed",
        ),
        (
            "claim",
            {"interval": (np.array([0.75]), np.array([0.75])), "bound": np.zeros(1)},
            "claimed 0.75, true 0.8; off by 0.05 where nothing is allowed",
        ),
        ("subject", {}, "the framework's 0.75, true 0.8; off by 0.05 where 0.001 is allowed"),
        ("subject", {"against": "claimed"}, "the framework's 0.75, claimed 0.8; off by"),
        ("subject", {"error": np.array([np.inf])}, "0.75, true 0.8; not the same bits"),
        (
            "subject",
            {"error": np.array([np.nan]), "got": np.array([np.nan])},
            "the framework's nan, true 0.8; not a finite number",
        ),
    ],
)
def test_a_sentence_says_whose_number_and_how_far(
    who: str, how: dict[str, Any], sentence: str
) -> None:
    parts: dict[str, Any] = {
        "got": np.array([0.75]), "expected": np.array([0.8]), "error": np.array([0.05]),
        "bound": np.array([0.001]),
    }  # fmt: skip
    assert sentence in Comparison(who, "output", **parts | how).blame()


def test_words_and_counts_are_claimed_and_true_as_well() -> None:
    assert (
        comparison.equal("claim", "parameters", 100, 24)
        .blame()
        .endswith("parameters: claimed 100, true 24")
    )
    asked = comparison.equal("subject", "raises", "nothing", "ValueError", "claimed")
    assert asked.blame().endswith("raises: the framework's nothing, claimed ValueError")


def test_bounds_that_are_larger_than_every_number_are_counted() -> None:
    expected = np.array([0.5, -2.0, 0.0])

    def vague(expected: np.ndarray, bound: list[float]) -> int:
        parts = expected, expected, 0 * expected, np.array(bound)
        return Comparison("claim", "output", *parts, unbounded="it overflows").vague

    assert vague(expected, [2.0, 2.1, 3.0]) == 2  # as large as the largest would be seen
    assert vague(expected, [np.inf, 1.0, 3.0]) == 1  # counted as unjudged
    assert vague(0 * expected, [1.0, 1.0, 1.0]) == 0  # beside zeros nothing is large


def test_both_states_of_an_lstm_that_do_not_follow_are_placed() -> None:
    h = np.ones((1, 2, 3), np.float32)
    found = certify(
        h, x=np.zeros((1, 2, 1), np.float32), kernel=np.zeros((1, 12), np.float32),
        recurrent_kernel=np.zeros((3, 12), np.float32), recurrence="lstm", cell_states=h,
    )  # fmt: skip
    place = comparison.step("states", found, ("sample", "timestep", "unit")).place
    assert place == "state 0, sample 0, timestep 0, unit 0"
