"""Are claim and observation held against each other as they should be?

The observations here are made by NumPy, in float32, so that each can be spoilt in one place.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from rnn_check import claim, judge, reference
from rnn_check.judge import AGREE, DIFFER, ERROR, NOT_RUN, Answer, Verdict

HAND_SET = claim.load(claim.bundled() / "article" / "hand_set_weights.toml")
TANH = """
schema = 1
title = "a tanh layer"
source = {document = "a test"}
reading = {computed_in = "float32", weights = "float32"}
layer = {kind = "SimpleRNN", units = 2, return_sequences = true}
weights = {kernel = [[0.5, -0.25]], recurrent_kernel = [[0.3, 0.1], [-0.2, 0.4]], bias = [0.1, 0.2]}
input = {x = [[[1], [-2], [0.5]]]}
[[expect]]
what = "output"
from = "float32 NumPy"
value = [[[0.5370496, -0.04995837], [-0.6223879, 0.62533695], [0.03819761, 0.25700226]]]
"""


def observe(c: claim.Claim) -> dict[str, Any]:
    """What a float32 framework would return, computed by a plain NumPy loop."""
    assert c.weights is not None
    assert c.x is not None
    weights: dict[str, Any] = {
        name: given.value.astype(np.float32) for name, given in c.weights[c.rnn.name].items()
    }
    states = reference.forward(c.x.value.astype(np.float32), **weights, **c.recurrence)[0]
    assert states.dtype == np.float32
    return {"output": states.copy(), "states": states.copy(), "weights": {c.rnn.name: weights}}


def only(verdicts: list[Verdict], what: str = "output") -> Verdict:
    return next(v for v in verdicts if v.what == what)


def test_what_is_right_agrees() -> None:
    verdicts = judge.judge(HAND_SET, Answer(observe(HAND_SET)))
    assert {v.verdict for v in verdicts} == {AGREE}
    assert only(verdicts).ratio == 0
    tanh = claim.loads(TANH)
    verdict = only(judge.judge(tanh, Answer(observe(tanh))))
    assert verdict.verdict == AGREE
    assert verdict.ratio is not None
    assert 0 < verdict.ratio < 1


@pytest.mark.parametrize(
    ("right", "wrong"),
    [("0.5370496", "0.5370486"), ("0.62533695", "0.64"), ("0.25700226", "0.2570126")],
)
def test_a_wrong_printed_digit_is_the_claims_fault(right: str, wrong: str) -> None:
    tanh = claim.loads(TANH.replace(right, wrong))
    verdict = only(judge.judge(tanh, Answer(observe(tanh))))
    assert verdict.verdict == DIFFER
    assert "the claim's own number does not hold" in verdict.detail


def test_fewer_digits_claim_less() -> None:
    tanh = claim.loads(TANH.replace("0.62533695", "0.63"))
    assert only(judge.judge(tanh, Answer(observe(tanh)))).verdict == AGREE


def test_one_ulp_is_too_much_where_nothing_rounds() -> None:
    observed = observe(HAND_SET)
    observed["output"][0, 2, 1] = np.nextafter(observed["output"][0, 2, 1], np.float32(np.inf))
    verdict = only(judge.judge(HAND_SET, Answer(observed)))
    assert verdict.verdict == DIFFER
    assert verdict.ratio is None  # infinite: no JSON number
    assert "sample 0, timestep 2, unit 1" in verdict.detail


def test_a_step_that_does_not_follow_is_seen_where_the_end_is_right() -> None:
    """The output is right, the states behind it are not a run of the recurrence."""
    tanh = claim.loads(TANH)
    observed = observe(tanh)
    observed["states"][0, 1, 0] *= np.float32(1 + 1e-5)
    verdict = only(judge.judge(tanh, Answer(observed)))
    assert verdict.verdict == DIFFER
    assert "a step does not follow from the one before: states at sample 0, timestep 1, unit 0" in (
        verdict.detail
    )


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("key", ["output", "states"])
def test_what_is_not_finite_differs(key: str, bad: float) -> None:
    for c in (HAND_SET, claim.loads(TANH)):
        observed = observe(c)
        observed[key][0, 0, 0] = bad
        assert only(judge.judge(c, Answer(observed))).verdict == DIFFER


def test_weights_that_do_not_read_back() -> None:
    observed = observe(HAND_SET)
    observed["weights"]["simple_rnn"]["bias"][0] = -0.0  # equal, but not the same bits
    verdict = only(judge.judge(HAND_SET, Answer(observed)), "weights_read_back")
    assert verdict.verdict == DIFFER


def test_a_subject_that_crashed_or_cannot() -> None:
    verdicts = judge.judge(HAND_SET, Answer(error="killed by SIGSEGV"))
    assert only(verdicts).verdict == ERROR
    assert only(verdicts).detail == "killed by SIGSEGV"
    assert only(verdicts, "input_shape").verdict == AGREE  # nobody had to be asked
    observed = observe(HAND_SET) | {"states": {"unsupported": "no such mode"}}
    assert only(judge.judge(HAND_SET, Answer(observed))).verdict == NOT_RUN
    assert only(judge.judge(HAND_SET, Answer(observed))).detail == "no such mode"


def test_known_to_differ_is_strict() -> None:
    known = TANH.replace('what = "output"', 'what = "output"\nknown_to_differ = "a digit is lost"')
    agreeing = claim.loads(known)
    verdict = only(judge.judge(agreeing, Answer(observe(agreeing))))
    assert (verdict.verdict, verdict.is_red) == (AGREE, True)
    differing = claim.loads(known.replace("0.62533695", "0.6253395"))
    verdict = only(judge.judge(differing, Answer(observe(differing))))
    assert (verdict.verdict, verdict.is_red) == (DIFFER, False)


def test_the_subject_may_not_hide_behind_a_claim_known_to_be_wrong() -> None:
    """`known_to_differ` speaks of the claim's number; a wrong subject stays red."""
    known = TANH.replace('what = "output"', 'what = "output"\nknown_to_differ = "a digit is lost"')
    wrong = claim.loads(known.replace("0.62533695", "0.6253395"))
    observed = observe(wrong)
    observed["output"][0, 0, 0] += np.float32(0.01)
    verdict = only(judge.judge(wrong, Answer(observed)))
    assert (verdict.verdict, verdict.is_red) == (DIFFER, True)


def test_a_difference_is_placed_at_the_first_step_in_time() -> None:
    observed = observe(HAND_SET)
    observed["output"][0, 1:, 2] += np.float32(1)
    assert (
        "timestep 1, unit 2: the framework's 17, claimed 16"
        in only(judge.judge(HAND_SET, Answer(observed))).detail
    )


def test_a_printed_zero_of_a_relu_is_exactly_zero() -> None:
    text = TANH.replace("units = 2", 'units = 2, activation = "relu"')
    start = text.index("value = ")
    tanh = claim.loads(text[:start] + "value = [[[0.6, 0], [0, 0.76], [0.198, 0.379]]]")
    verdict = only(judge.judge(tanh, Answer(observe(tanh))))
    assert verdict.verdict == AGREE, verdict.detail
    wrong = claim.loads(text[:start] + "value = [[[0.6, 0], [0, 0], [0.198, 0.379]]]")
    assert only(judge.judge(wrong, Answer(observe(wrong)))).verdict == DIFFER


def test_asks_only_what_is_needed() -> None:
    counts = claim.load(claim.bundled() / "article" / "summary_2_1.toml")
    assert judge.asks(counts) == ["summary"]
    assert set(judge.asks(HAND_SET)) == {"output", "states", "weights"}
