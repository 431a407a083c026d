"""Could each number that a bundled claim prints be wrong, and turn its verdict red?

Of every file the first claim is asked once, and judged as it was answered. Then each number that it
prints is moved by three units of its last digit beyond what its bound allows, up and down, and the
same answer has to differ: of arrays and losses, counts, shapes, masks, options, and of what is
printed and not run. Nothing is said here of two numbers of training, which are held against random
draws: see certificates/test_training, test_an_extraordinary_outcome_differs.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np
import pytest

from rnn_check.asking import request
from rnn_check.certificates.comparison import Comparison
from rnn_check.claims import files
from rnn_check.claims.claim import Claim
from rnn_check.claims.expectations import configuration, weights
from rnn_check.claims.expectations.case import Case
from rnn_check.claims.expectations.expectation import Expectation, Holds
from rnn_check.claims.expectations.shapes import Shaped
from rnn_check.claims.written import Array, Given
from rnn_check.subjects.ask import Subject
from rnn_check.verdicts import judge
from rnn_check.verdicts.judge import DIFFER, NOT_RUN
from tests.support import bundled
from tests.support.planted import asked_eagerly
from tests.support.sampling import sampled


def prints_numbers(e: Expectation) -> bool:
    if e.not_run or e.known_to_differ or e.what == "ordinary_outcome":
        return False
    return not isinstance(e, Holds) or e.on == "printed" or e.what == "predictions_reachable"


CLAIMS: dict[str, Claim] = {}
for name, file in files.find([files.bundled()]):
    first = bundled.in_file(file)[0]
    told = tuple(e for e in first.expectations if prints_numbers(e))
    if told:  # what is known to differ stays: its digits are carried on by hand
        also = tuple(e for e in first.expectations if e.known_to_differ)
        CLAIMS[name] = dataclasses.replace(first, expectations=told + also)


def units(given: Given) -> Array:
    """Of the last digit; 1 of a bare integer, and a float32's last place of what was computed."""
    whole = given.value == np.rint(given.value)
    exact = np.where(whole, 1.0, np.spacing(given.value.astype(np.float32)).astype(np.float64))
    return np.where(given.half_unit > 0, 2 * given.half_unit, np.abs(exact))


def shifted(given: Given, by: Array | float) -> Given:
    return Given(given.value + by, given.error, given.lo + by, given.hi + by)


def one_by_one(given: Given, allowed: Array | float) -> Iterator[Given]:
    """Each number three units beyond what is allowed on either side of the truth."""
    steps = 3 * units(given) + 2 * allowed
    for at in np.ndindex(given.shape):
        for sign in (1, -1):
            by = np.zeros(given.shape)
            by[at] = sign * steps[at]
            yield shifted(given, by)


def other_values(e: Expectation, agreed: tuple[Comparison, ...]) -> Iterator[Any]:
    value = e.value
    if isinstance(value, Given):
        yield from one_by_one(value, agreed[0].bound)
    elif isinstance(value, np.ndarray):
        for at in np.ndindex(value.shape):
            other = value.copy()
            other[at] = not other[at]
            yield other
        yield None
    elif e.what == "mask":
        yield np.ones((1, 1), bool)
    elif isinstance(value, bool):
        yield not value
    elif isinstance(value, int):
        yield from (value + 1, value - 1)
    elif isinstance(value, float):
        yield from (value * (1 + 2**-20) + 2**-40, value * (1 - 2**-20) - 2**-40)
    elif isinstance(value, dict):
        for key, part in value.items():
            inner = configuration.Config(of=e.of, value=part, from_=e.from_)
            for other in other_values(inner, ()):
                yield {**value, key: other}
    elif isinstance(e, Shaped):
        for digits in re.finditer(r"\d+", value):
            before, after = value[: digits.start()], value[digits.end() :]
            yield f"{before}{int(digits[0]) + 1}{after}"
    elif e.what == "raises":
        yield "ZeroDivisionError"
    elif e.what == "output_dtype":
        yield "float64" if value != "float64" else "float32"
    else:
        yield f"{value}_" if isinstance(value, str) else 1.0


def other_prints(c: Claim, e: Expectation, agreed: tuple[Comparison, ...]) -> Iterator[Claim]:
    """The claim with another number in [printed]."""
    which = "predictions" if e.what == "predictions_reachable" else e.of
    given, allowed = c.printed[which], agreed[-1].bound
    if e.what == "within_glorot_uniform":  # beyond the limit, from wherever it is
        others = one_by_one(given, allowed)
    elif e.what == "orthogonal":
        # an entry w_ij moves row j of WᵀW by its neighbours in row i, of which the largest counts;
        # where there are fewer rows than columns, it is WWᵀ
        along = int(given.shape[0] >= given.shape[1])
        largest = np.abs(given.value).max(axis=along, keepdims=True)
        others = one_by_one(given, allowed.max() / largest)
    else:
        others = one_by_one(given, allowed.reshape(given.shape))
    for other in others:
        yield dataclasses.replace(c, printed={**c.printed, which: other})


def other_claims(
    c: Claim, e: Expectation, agreed: tuple[Comparison, ...]
) -> Iterator[tuple[Claim, Any]]:
    """The claim and the value expected in it, one number of either moved."""
    if e.on == "printed" or e.what == "predictions_reachable":
        yield from ((other, e.value) for other in other_prints(c, e, agreed))
    else:
        yield from ((c, value) for value in other_values(e, agreed))


def says_enough(c: Comparison) -> bool:
    """Whether what is allowed is small beside the numbers: a hundredth of the largest at most."""
    return c.who == "step" or bool((c.bound <= 0.01 * np.abs(c.expected).max(initial=0.0)).all())


def turns(held: list[bool], now: Iterator[Comparison]) -> bool:
    """Whether one that held fails now, or there are others; those after it are not computed."""
    count = 0
    for count, each in enumerate(now, 1):
        if not each.ok and (count > len(held) or held[count - 1]):
            return True
    return count != len(held)


@pytest.mark.thinned(2)
@pytest.mark.parametrize("name", sampled(CLAIMS, 9))
def test_each_number_moved_turns_red(name: str, subject: Subject) -> None:
    c = CLAIMS[name]
    answer = asked_eagerly(c, subject, request.Setting(slow=True))
    case = Case(c, answer.observed or {}, "float32")
    for e in filter(prints_numbers, c.expectations):
        verdict = judge.judge_one(c, case, e, answer)
        if verdict.verdict == NOT_RUN and verdict.unsupported:
            continue
        held = [each.ok for each in verdict.comparisons]
        # what the framework is known not to do says nothing of the number, nor of its being moved
        assert all(each.ok or each.who == "subject" for each in verdict.comparisons), verdict.detail
        if not any(held):
            continue
        if isinstance(e.value, Given):
            assert all(map(says_enough, verdict.comparisons)), e.name
        moves = 0
        for other, value in other_claims(c, e, verdict.comparisons):
            again = case if other is c else Case(other, case.observed, "float32")
            moved = msgspec.structs.replace(e, value=value)
            if not moves:  # the whole verdict, of which a comparison that turns red is enough
                wrong = judge.judge_one(other, again, moved, answer)
                assert (wrong.verdict, wrong.is_red) == (DIFFER, True), (e.name, value)
            assert turns(held, moved.judge(again)), (e.name, value)
            moves += 1
        assert moves, f"nothing to move in {e.name}"


def test_all_that_is_printed_is_moved() -> None:
    """Numbers that are judged, and by what is not moved here."""
    for name, c in CLAIMS.items():
        for e in c.expectations:
            assert (
                (isinstance(e, Holds) and not isinstance(e, weights.Property))
                or prints_numbers(e)
                or e.known_to_differ
            ), name
