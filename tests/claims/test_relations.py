"""Are two printed arrays held against each other by what their digits claim?"""

from __future__ import annotations

import pytest

from rnn_check.asking.request import Answer
from rnn_check.claims import files
from rnn_check.refusal import ClaimError
from rnn_check.verdicts.judge import Verdict, judge

TEXT = """
schema = 1
title = "t"
source = { document = "d" }
layer = { kind = "LSTM", units = 2, return_sequences = true }
input = { shape = [2, 1] }
[[expect]]
what = "same"
value = [[[0.25, 0.5], [0.12, -0.34]]]
at = { timestep = -1 }
to = TO
from = "printed"
"""


def verdict(to: str) -> Verdict:
    (found,) = judge(files.loads(TEXT.replace("TO", to)), Answer({}))
    return found


@pytest.mark.parametrize("to", ["[[0.12, -0.34]]", "[[0.1234, -0.3351]]", "[[0.115, -0.3450]]"])
def test_digits_that_leave_the_same_number_open_agree(to: str) -> None:
    assert verdict(to).verdict == "agree"


@pytest.mark.parametrize("to", ["[[0.126, -0.34]]", "[[0.12, 0.34]]", "[[0.12, -0.3349]]"])
def test_digits_that_leave_none_open_differ(to: str) -> None:
    assert verdict(to).verdict == "differ"


def test_the_place_is_that_of_the_first() -> None:
    assert "sample 0, timestep 1, unit 1: claimed -0.34" in verdict("[[0.12, 0.34]]").detail


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("TO", "[0.12, -0.34]", "expect[0].to: expected shape (1, 2), as value has, got (2,)"),
        ("timestep = -1", "timestep = 2", "expect[0].at: timestep 2 is out of bounds"),
        ("timestep", "row", "expect[0].at.row: same at row -1 has no such axis"),
        ("to = TO", "", "expect[0].to: required key is missing"),
        ("to = TO", 'to = [[1, 2]]\nof = "x"', "expect[0].of: same takes no `of`"),
        ("[[[0.25, 0.5], [0.12, -0.34]]]", "[[[[0.25]]]]", "expect[0].value: expected (sample"),
    ],
)
def test_what_cannot_be_the_same_is_refused(old: str, new: str, problem: str) -> None:
    with pytest.raises(ClaimError) as refused:
        files.loads(TEXT.replace(old, new).replace("TO", "[[0.12, -0.34]]"))
    assert problem in str(refused.value)
