"""Are claim and observation held against each other as they should be?

The observations here are made by NumPy, in float32, so that each can be spoilt in one place.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from rnn_check.asking import request
from rnn_check.asking.request import Answer
from rnn_check.claims import files
from rnn_check.claims.claim import Claim
from rnn_check.claims.expectations.case import Case
from rnn_check.claims.truth import Truth
from rnn_check.recurrences import over_time
from rnn_check.verdicts import judge
from rnn_check.verdicts.judge import AGREE, DIFFER, ERROR, NOT_RUN, Verdict
from tests.support import bundled
from tests.support.spoilt import Beside
from tools import fuzz_records

HAND_SET = files.load(files.bundled() / "article" / "hand_set_weights.toml")
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


def observe(c: Claim) -> dict[str, Any]:
    """What a float32 framework would return, computed by a plain NumPy loop."""
    assert c.weights is not None
    assert c.x is not None
    weights: dict[str, Any] = {
        name: given.value.astype(np.float32) for name, given in c.weights[c.rnn.name].items()
    }
    states = over_time.forward(c.x.value.astype(np.float32), **weights, **c.recurrence)[0]
    assert states.dtype == np.float32
    return {"output": states.copy(), "states": states.copy(), "weights": {c.rnn.name: weights}}


def only(verdicts: list[Verdict], what: str = "output") -> Verdict:
    return next(v for v in verdicts if v.what == what)


def test_what_is_right_agrees() -> None:
    verdicts = judge.judge(HAND_SET, Answer(observe(HAND_SET)))
    assert {v.verdict for v in verdicts} == {AGREE}
    assert only(verdicts).ratio == 0
    tanh = files.loads(TANH)
    verdict = only(judge.judge(tanh, Answer(observe(tanh))))
    assert verdict.verdict == AGREE
    assert verdict.ratio is not None
    assert 0 < verdict.ratio < 1


@pytest.mark.long
def test_nothing_that_a_subject_says_stops_the_judge_or_agrees_by_itself() -> None:
    asked: set[str] = set()
    for c in bundled.everywhere():
        new = set() if c.slow else set(request.asks(c)) - asked
        asked |= new
        nothing: dict[str, Any] = {question: {} for question in request.asks(c)}
        beside = Beside(c)
        for what, e in itertools.product(new, c.expectations):
            if what not in e.asked(c):  # and cannot tell these answers apart
                assert judge.FAULT not in beside.verdict(e, nothing).detail, (c.name, what)
                continue
            for odd in fuzz_records.ODD:
                verdict = beside.verdict(e, nothing | {what: odd})
                assert judge.FAULT not in verdict.detail, (c.name, what, odd, verdict)
                assert verdict.verdict != AGREE, (c.name, what, odd, verdict)
    assert len(asked) > 20


@pytest.mark.parametrize("odd", [True, None, 3, "", [1], {"simple_rnn": True}])
def test_weights_that_are_none_are_told_in_one_sentence(odd: Any) -> None:
    said = {**observe(HAND_SET), "weights": odd}
    verdict = only(judge.judge(HAND_SET, Answer(said)))
    assert verdict.verdict == ERROR
    assert "weights" in verdict.detail


@pytest.mark.parametrize(
    ("right", "wrong"),
    [("0.5370496", "0.5370486"), ("0.62533695", "0.64"), ("0.25700226", "0.2570126")],
)
def test_a_wrong_printed_digit_is_the_claims_fault(right: str, wrong: str) -> None:
    tanh = files.loads(TANH.replace(right, wrong))
    verdict = only(judge.judge(tanh, Answer(observe(tanh))))
    assert verdict.verdict == DIFFER
    assert "the claim's own number does not hold" in verdict.detail


def test_fewer_digits_claim_less() -> None:
    tanh = files.loads(TANH.replace("0.62533695", "0.63"))
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
    tanh = files.loads(TANH)
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
    for c in (HAND_SET, files.loads(TANH)):
        observed = observe(c)
        observed[key][0, 0, 0] = bad
        assert only(judge.judge(c, Answer(observed))).verdict == DIFFER


def test_weights_that_do_not_read_back() -> None:
    observed = observe(HAND_SET)
    observed["weights"]["simple_rnn"]["bias"][0] = -0.0  # equal, but not the same bits
    verdict = only(judge.judge(HAND_SET, Answer(observed)), "weights_read_back")
    assert verdict.verdict == DIFFER


@pytest.mark.parametrize(
    ("dtype", "kept", "verdict"),
    [
        ("bfloat16", 1 + 2.0**-7, AGREE),
        ("mixed_bfloat16", 1 + 2.0**-7, DIFFER),
        ("bfloat16", 1 + 2.0**-6, DIFFER),
        ("mixed_bfloat16", 1.009, AGREE),
        ("float32", 1 + 2.0**-7, DIFFER),
    ],
)
def test_weights_are_read_back_as_the_policy_keeps_them(
    dtype: str, kept: float, verdict: str
) -> None:
    """1.009, of which bfloat16, told as float32, keeps 1 + 2^-7."""
    text = HAND_SET.file.read_text()
    c = files.loads(text.replace("= [0, 0, 1]", "= [1.009, 0, 1]"))
    observed = observe(c)
    weights = observed["weights"]["simple_rnn"]
    for array in weights.values():
        array[array == np.float32(1.009)] = kept
    assert (weights["bias"] == np.float32(kept)).any()
    assert only(judge.judge(c, Answer(observed), dtype=dtype), "weights_read_back").verdict == (
        verdict
    )


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
    agreeing = files.loads(known)
    verdict = only(judge.judge(agreeing, Answer(observe(agreeing))))
    assert (verdict.verdict, verdict.is_red) == (AGREE, True)
    differing = files.loads(known.replace("0.62533695", "0.6253395"))
    verdict = only(judge.judge(differing, Answer(observe(differing))))
    assert (verdict.verdict, verdict.is_red) == (DIFFER, False)


def test_the_subject_may_not_hide_behind_a_claim_known_to_be_wrong() -> None:
    """`known_to_differ` speaks of the claim's number; a wrong subject stays red."""
    known = TANH.replace('what = "output"', 'what = "output"\nknown_to_differ = "a digit is lost"')
    wrong = files.loads(known.replace("0.62533695", "0.6253395"))
    observed = observe(wrong)
    observed["output"][0, 0, 0] += np.float32(0.01)
    verdict = only(judge.judge(wrong, Answer(observed)))
    assert (verdict.verdict, verdict.is_red) == (DIFFER, True)


def test_an_exact_number_that_is_known_to_be_wrong_is_not_asked_of_the_subject() -> None:
    file = files.bundled() / "article" / "hand_set_weights.toml"
    text = file.read_text("utf-8").replace("[48, 45, 54]", "[48, 45, 55]")
    known = 'known_to_differ = "a digit is lost"\ncomputed_in = "exact"'
    wrong = files.loads(text.replace('computed_in = "exact"', known), file)
    verdict = only(judge.judge(wrong, Answer(observe(wrong))))
    assert (verdict.verdict, verdict.is_red) == (DIFFER, False)
    observed = observe(wrong)
    observed["output"][0, 2, 2] = 55  # what the claim says, and no recurrence gives
    verdict = only(judge.judge(wrong, Answer(observed)))
    assert (verdict.verdict, verdict.is_red) == (DIFFER, True)


def test_a_difference_is_placed_at_the_first_step_in_time() -> None:
    observed = observe(HAND_SET)
    observed["output"][0, 1:, 2] += np.float32(1)
    assert (
        "timestep 1, unit 2: the framework's 17, true 16"
        in only(judge.judge(HAND_SET, Answer(observed))).detail
    )


def test_a_printed_zero_of_a_relu_is_exactly_zero() -> None:
    text = TANH.replace("units = 2", 'units = 2, activation = "relu"')
    start = text.index("value = ")
    tanh = files.loads(text[:start] + "value = [[[0.6, 0], [0, 0.76], [0.198, 0.379]]]")
    verdict = only(judge.judge(tanh, Answer(observe(tanh))))
    assert verdict.verdict == AGREE, verdict.detail
    wrong = files.loads(text[:start] + "value = [[[0.6, 0], [0, 0], [0.198, 0.379]]]")
    assert only(judge.judge(wrong, Answer(observe(wrong)))).verdict == DIFFER


# -- by hand ---------------------------------------------------------------------------------------

ONE_STEP = """
schema = 1
title = "one step, one unit, by hand"
source = {document = "a test"}
reading = {computed_in = "hand"}
layer = {kind = "SimpleRNN", units = 1, return_sequences = true}
weights = {kernel = [[0.5]], recurrent_kernel = [[1]], bias = [0]}
input = {x = [[[1]]]}
loss = {cotangent = [[[1]]]}
[[expect]]
what = "WHAT"
OF
value = VALUE
from = "a test"
"""


@pytest.mark.parametrize(
    ("what", "of", "right", "wrong"),
    [
        ("preactivation", "", "[[[0.50]]]", ["[[[99.95]]]", "[[[0.51]]]", "[[[-0.5]]]"]),
        ("states", "", "[[[0.46]]]", ["[[[0.47]]]", "[[[0]]]"]),
        ("output", "", "[[[0.462]]]", ["[[[0.461]]]", "[[[1000.0]]]"]),
        ("loss", "", "0.46", ["987.6", "0.47", "inf", "-inf", "nan"]),
        # 1 - h² = 0.786, of 0.5 times 1
        ("gradient", "kernel", "[[0.786]]", ["[[123456]]", "[[0.788]]", "[[nan]]"]),
    ],
)
def test_by_hand_only_what_rounds_to_the_digits_agrees(
    what: str, of: str, right: str, wrong: list[str]
) -> None:
    text = ONE_STEP.replace("WHAT", what).replace("OF", f'of = "{of}"' * bool(of))
    for value, holds in ((right, True), *((each, False) for each in wrong)):
        c = files.loads(text.replace("VALUE", value))
        word = next(c.expectations[0].judge(Case(c, observed_gradients(c), "float32")))
        assert word.who == "claim"
        assert word.ok == holds, (value, word.blame())


def observed_gradients(c: Claim) -> dict[str, Any]:
    """The float64 truth as float32, where a framework would be asked."""
    truth = Truth(c, "real")
    found = {
        "loss": np.float32(truth.loss.value),
        "kernel": np.float32(truth.gradient("kernel").value),
    }
    return observe(c) | {"gradients": found}


def test_few_digits_of_a_result_do_not_loosen_the_states_before_it() -> None:
    """[-0.442, 0] is claimed; the truth is [-0.4393, 0]: a bare 0 has no digits to carry."""
    text = TANH.replace("units = 2", 'units = 1, activation = "linear"').replace(
        'computed_in = "float32"', 'computed_in = "hand"'
    )
    start, end = text.index("weights = {kernel"), text.index("[[expect]]")
    text = (
        text[:start]
        + """weights = {kernel = [[1]], recurrent_kernel = [[0.5]], bias = [0]}
input = {x = [[[-0.4393], [0.21965]]]}
"""
        + text[end : text.index("value = ")]
    )
    for value, holds in (
        ("[[[-0.442], [0]]]", False),
        ("[[[-0.439], [0]]]", True),
        ("[[[-0.439], [0.0004]]]", False),  # half of 0.0005 is what the digits of -0.439 bring
        ("[[[-0.4], [0.0197]]]", True),  # as -0.4 was carried on: -0.2 + 0.21965
        ("[[[-0.439], [0.0197]]]", False),
    ):
        c = files.loads(text + f"value = {value}\n")
        word = next(c.expectations[0].judge(Case(c, observe(c), "float32")))
        assert word.ok == holds, (value, word.blame())


def test_a_rounded_zero_agrees_and_a_bare_one_is_exact() -> None:
    """tanh(3e-5) is 0.0000 to four digits, and not 0."""
    text = TANH[: TANH.index("value = ")].replace("[[1], [-2], [0.5]]", "[[0.00003]]")
    text = text.replace("bias = [0.1, 0.2]", "bias = [0, 0]").replace("[[0.5, -0.25]]", "[[1, 1]]")
    for value, wanted in (("0.0000", AGREE), ("0", DIFFER), ("0.00000", DIFFER), ("0.0", AGREE)):
        c = files.loads(text + f"value = [[[{value}, 0.00003]]]")
        assert only(judge.judge(c, Answer(observe(c)))).verdict == wanted, value


def test_integers_among_rounded_weights_are_exact() -> None:
    """Σ of 16 ones is 16, and neither 25 nor 2.5."""
    text = TANH[: TANH.index("[[expect]]")].replace('weights = "float32"', 'weights = "rounded"')
    text = text.replace("units = 2", 'units = 2, activation = "linear"')
    start = text.index("weights = {kernel")
    text = (
        text[:start]
        + f"""
[weights]
kernel = {[[1, 1]] * 16}
recurrent_kernel = [[1, 0], [0, 1]]
bias = [0, 0]
[input]
x = [[{[1] * 16}]]
[[expect]]
what = "output"
from = "a test"
"""
    )
    for value, wanted in (("16, 16", AGREE), ("25, 2.5", DIFFER), ("16, 17", DIFFER)):
        c = files.loads(text + f"value = [[[{value}]]]")
        assert only(judge.judge(c, Answer(observe(c)))).verdict == wanted, value


# -- losses ----------------------------------------------------------------------------------------

SHARES = """
schema = 1
title = "outputs that do not sum to one"
source = {document = "a test"}
reading = {computed_in = "float32"}
layers = [
  {kind = "SimpleRNN", units = 2, activation = "linear", use_bias = false},
  {kind = "Dense", units = 2, use_bias = false, activation = "HEAD"},
]
weights = {simple_rnn = {kernel = [[1, 0], [0, 1]], recurrent_kernel = [[0, 0], [0, 0]]}, dense = {kernel = [[1, 0], [0, 1]]}}
input = {x = [[INPUT]]}
loss = {kind = "categorical_crossentropy", target = [TARGET]}
[[expect]]
what = "loss"
value = VALUE
from = "a test"
"""  # noqa: E501


def loss_verdict(
    value: str,
    returned: float,
    given: str = "[0.5, 0.75]",
    head: str = "linear",
    target: str = "[1, 0]",
    dtype: str = "float32",
) -> Verdict:
    text = SHARES.replace("VALUE", value).replace("INPUT", given).replace("HEAD", head)
    c = files.loads(text.replace("TARGET", target))
    answer = Answer({"gradients": {"loss": np.asarray(returned, dtype)}})
    (verdict,) = judge.judge(c, answer, dtype=dtype)
    return verdict


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        ("0.9162907", AGREE),
        ("0.6931472", DIFFER),
        ("0.4", DIFFER),
        ("1.5", DIFFER),
        ("1.0", DIFFER),
    ],
)
def test_a_cross_entropy_is_of_shares_in_the_sum(value: str, wanted: str) -> None:
    """-log(0.5/1.25), as Keras computes it; -log 0.5 is of what need not sum to one."""
    assert loss_verdict(value, -np.log(0.4)).verdict == wanted
    if wanted == AGREE:  # and the framework is held to it as well
        assert loss_verdict(value, -np.log(0.5)).verdict == DIFFER


def test_a_cross_entropy_of_outputs_whose_sum_is_large() -> None:
    """2 ln 2, printed with all digits of a float32: h3 of the handed-over cases."""
    found = loss_verdict("1.3862943649291992", 1.3862943649291992, "[1.9, 1.9]", target="[1, 1]")
    assert found.verdict == AGREE, found.detail
    assert loss_verdict("1.386299", 1.3862943649291992, "[1.9, 1.9]", target="[1, 1]").is_red


def test_a_softmax_is_clipped_or_computed_from_its_logits() -> None:
    """Either form is right of a share of 4e-18: nothing between them is."""
    for value, returned, wanted in (
        ("16.118095", -np.log(1e-7), AGREE),  # as most backends give it
        ("40", 40.0, AGREE),  # as TensorFlow does from the logits
        ("16.118095", 40.0, AGREE),  # printed with one, run on another
        ("20", 40.0, DIFFER),
        ("40", 20.0, DIFFER),
    ):
        found = loss_verdict(value, returned, "[-20, 20]", "softmax")
        assert found.verdict == wanted, found.detail
    # no softmax, no logits
    assert loss_verdict("16.118095", -np.log(1e-7), "[0.0, 1.0]").verdict == AGREE
    assert loss_verdict("16.118095", 40.0, "[0.0, 1.0]").verdict == DIFFER


def test_a_loss_counts_what_the_mask_keeps() -> None:
    """Keras's losses leave masked steps out: (3 - 1)² alone, and not its mean with another."""
    text = TANH[: TANH.index("[[expect]]")].replace("units = 2", 'units = 1, activation = "linear"')
    start = text.index("weights = {kernel")
    text = (
        text[:start]
        + """weights = {kernel = [[1]], recurrent_kernel = [[0]], bias = [0]}
input = {x = [[[7], [3]]], mask = [[false, MASK]]}
loss = {kind = "mse", target = [[[1], [1]]]}
[[expect]]
what = "loss"
from = "a test"
value = """
    )
    for mask, value, returned, wanted in (
        ("true", "4", 4.0, AGREE),
        ("true", "2.5", 4.0, DIFFER),
        ("true", "4", 2.5, DIFFER),
        ("false", "0", 0.0, AGREE),
        ("false", "1", 0.0, DIFFER),
        ("false", "nan", 0.0, DIFFER),
        ("false", "0", np.nan, DIFFER),
    ):
        c = files.loads(text.replace("MASK", mask) + value)
        answer = Answer({"gradients": {"loss": np.asarray(returned, np.float32)}})
        (verdict,) = judge.judge(c, answer)
        assert verdict.verdict == wanted, (mask, value, returned, verdict.detail)
    c = files.loads(text.replace("MASK", "true") + "4")
    assert Truth(c, "real").gradient("kernel").value.tolist() == [[2 * 2 * 3]]


# -- what is not known -----------------------------------------------------------------------------

OVERFLOW = """
schema = 1
title = "1e60 is no float32"
source = {document = "a test"}
reading = {computed_in = "COMPUTED"}
layer = {kind = "SimpleRNN", units = 1, activation = "linear", return_sequences = true}
weights = {kernel = [[0.5]], recurrent_kernel = [[1e30]], bias = [0]}
input = {x = [[[2], [2], [2]]]}
[[expect]]
what = "output"
at = { timestep = 2 }
value = [[VALUE]]
from = "a test"
"""


@pytest.mark.parametrize(
    ("computed_in", "value", "wanted"),
    [
        ("float32", "5.0", NOT_RUN),  # nothing is known of it, so nothing agrees
        ("float32", "inf", NOT_RUN),  # as is what that gives of 1e60
        ("exact", "inf", DIFFER),
        ("float64", "5.0", DIFFER),  # whatever the subject's arithmetic allows
    ],
)
def test_where_no_bound_can_be_given_nothing_agrees(
    computed_in: str, value: str, wanted: str
) -> None:
    c = files.loads(OVERFLOW.replace("COMPUTED", computed_in).replace("VALUE", value))
    with np.errstate(over="ignore"):
        observed = observe(c)
    assert np.isinf(observed["output"][0, 2, 0])
    (verdict,) = judge.judge(c, Answer({**observed, "states": observed["states"][:, :2]}))
    assert verdict.verdict == ERROR  # states of another length
    (verdict,) = judge.judge(c, Answer(observed))
    assert verdict.verdict == wanted, verdict.detail
    if wanted == NOT_RUN:
        assert "no bound can be given in float32" in verdict.detail


def expanding(value: str) -> Claim:
    """150 steps, each of which may double what is wrong: at the end no digit is known."""
    rng = np.random.default_rng(0)
    U, x, W = (
        np.round(size * rng.normal(size=shape), 2).tolist()
        for size, shape in ((0.5, (8, 8)), (0.2, (1, 150, 2)), (1.0, (2, 8)))
    )
    return files.loads(f"""
schema = 1
title = "every number agrees within a bound that is larger"
source = {{document = "a test"}}
reading = {{computed_in = "float32"}}
layer = {{kind = "SimpleRNN", units = 8, use_bias = false}}
weights = {{kernel = {W}, recurrent_kernel = {U}}}
input = {{x = {x}}}
[[expect]]
what = "output"
value = [[{", ".join([value] * 8)}]]
from = "a test"
[[expect]]
what = "certified"
value = true
from = "a test"
""")


def test_a_bound_that_is_larger_than_every_number_proves_nothing() -> None:
    c = expanding("0.5")
    observed = observe(c)
    observed["output"] = observed["output"][:, -1]
    output, certified = judge.judge(c, Answer(observed))
    assert output.verdict == NOT_RUN and "8 of 8 numbers may be off by more" in output.detail
    assert certified.verdict == AGREE  # the last of the states, bit for bit, and they follow
    observed["output"] = 0 * observed["output"] + np.float32(0.1)
    assert [v.verdict for v in judge.judge(c, Answer(observed))] == [NOT_RUN, NOT_RUN]
    observed["output"][0, 0] = np.nan
    assert only(judge.judge(c, Answer(observed)), "certified").verdict == DIFFER


def test_a_layer_that_keeps_other_weights_than_it_was_given_follows_nothing() -> None:
    c = expanding("0.5")
    observed = observe(c)
    weights = {n: w * np.float32(1.1) for n, w in observed["weights"][c.rnn.name].items()}
    assert c.x is not None
    states = over_time.forward(c.x.value.astype(np.float32), **weights, **c.recurrence)[0]
    answer = {"output": states[:, -1], "states": states, "weights": {c.rnn.name: weights}}
    verdict = only(judge.judge(c, Answer(answer)), "certified")
    assert verdict.verdict == DIFFER and "a step does not follow" in verdict.detail


def test_a_layer_that_keeps_its_weights_in_less_does_not_keep_them() -> None:
    c = files.loads(
        TANH + '[[expect]]\nwhat = "weights_read_back"\nvalue = true\nfrom = "a test"\n'
        '[[expect]]\nwhat = "certified"\nvalue = true\nfrom = "a test"\n'
    )
    assert [v.verdict for v in judge.judge(c, Answer(observe(c)))] == [AGREE] * 3
    half = {n: w.astype(np.float16) for n, w in observe(c)["weights"][c.rnn.name].items()}
    wide = {n: w.astype(np.float32) for n, w in half.items()}
    assert c.x is not None
    states = over_time.forward(c.x.value.astype(np.float32), **wide, **c.recurrence)[0]
    for weights in (half, wide):
        answer = {"output": states, "states": states, "weights": {c.rnn.name: weights}}
        assert [v.verdict for v in judge.judge(c, Answer(answer))] == [DIFFER] * 3


def test_the_output_of_a_dense_layer_is_certified_as_well() -> None:
    c = files.loads("""
schema = 1
title = "a sum of states"
source = {document = "a test"}
layers = [{kind = "SimpleRNN", units = 1, use_bias = false}, {kind = "Dense", units = 1}]
input = {x = [[[0.5], [0.25]]]}
[weights]
simple_rnn = {kernel = [[1]], recurrent_kernel = [[1]]}
dense = {kernel = [[3]], bias = [1]}
[[expect]]
what = "certified"
value = true
from = "a test"
""")
    observed = observe(c)
    observed["output"] = (observed["states"][:, -1] * 3 + 1).astype(np.float32)
    observed["weights"]["dense"] = {
        n: g.value.astype(np.float32) for n, g in (c.weights or {})["dense"].items()
    }
    assert only(judge.judge(c, Answer(observed)), "certified").verdict == AGREE
    observed["output"] *= np.float32(1 + 1e-5)
    assert only(judge.judge(c, Answer(observed)), "certified").verdict == DIFFER


# -- words -----------------------------------------------------------------------------------------


def test_a_sentence_says_what_is_claimed_and_what_that_means() -> None:
    wrong = files.loads(TANH.replace("0.62533695", "0.70"))
    detail = only(judge.judge(wrong, Answer(observe(wrong)))).detail
    assert "unit 1: claimed 0.7, that is 0.695 to 0.705, true 0.62533" in detail
    observed = observe(files.loads(TANH))
    observed["output"][0, 0, 0] = np.inf
    detail = only(judge.judge(files.loads(TANH), Answer(observed))).detail
    assert "the framework's inf, true 0.5370495" in detail and "not a finite number" in detail


def test_what_has_another_shape_is_told_and_no_error() -> None:
    observed = observe(files.loads(TANH))
    observed["output"] = observed["output"][:, :1]  # which would broadcast
    verdict = only(judge.judge(files.loads(TANH), Answer(observed)))
    assert verdict.verdict == DIFFER
    assert "shape of output: the framework's (1, 1, 2), true (1, 3, 2)" in verdict.detail


def test_asks_only_what_is_needed() -> None:
    counts = files.load(files.bundled() / "article" / "summary_2_1.toml")
    assert request.asks(counts) == ["summary"]
    assert set(request.asks(HAND_SET)) == {"output", "states", "weights"}
