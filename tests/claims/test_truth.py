"""Are an experiment's numbers and bounds those of the experiment that the claim describes?"""

from __future__ import annotations

import itertools
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from rnn_check.claims import files
from rnn_check.claims.claim import Claim
from rnn_check.claims.loss import cotangent_of, regularization
from rnn_check.claims.stack import dense_that_reaches
from rnn_check.claims.truth import Truth, _limited
from rnn_check.numbers.bounded import Bounded
from rnn_check.numbers.formats import ARITHMETICS
from rnn_check.recurrences import over_time

MASKED = """
schema = 1
title = "a mask"
source = {document = "a test"}
reading = {computed_in = "real"}
layer = {kind = "SimpleRNN", units = 1, activation = "linear", return_sequences = true, ZERO}
weights = {kernel = [[1]], recurrent_kernel = [[2]], bias = [1]}
loss = {cotangent = [[[1], [10], [100], [1000]]]}
[input]
x = [[[5], [6], [7], [8]]]
mask = [[false, true, false, true]]
initial_state = [[3]]
[[expect]]
what = "certified"
value = true
from = "a test"
"""


def masked(zero: bool) -> Claim:
    return files.loads(MASKED.replace("ZERO", f"zero_output_for_mask = {str(zero).lower()}"))


def test_what_a_mask_skips_is_shown_as_keras_shows_it() -> None:
    """By hand: h0 = 3 is carried over the first step; then 6 + 2·3 + 1 = 13; 8 + 2·13 + 1 = 35."""
    assert Truth(masked(False), "real").output.value.ravel().tolist() == [0, 13, 13, 35]
    assert Truth(masked(True), "real").output.value.ravel().tolist() == [0, 13, 0, 35]
    assert Truth(masked(True), "real").preactivation().value.ravel()[[1, 3]].tolist() == [13, 35]


def test_no_gradient_flows_from_a_zero_that_is_shown() -> None:
    """By hand: δ_4 = 1000, δ_2 = 2·1000 + 10 (+ 100 where step 3 shows a copy of step 2)."""
    copies, zeros = Truth(masked(False), "real"), Truth(masked(True), "real")
    assert copies.gradient("bias").value.tolist() == [1000 + 2110]
    assert zeros.gradient("bias").value.tolist() == [1000 + 2010]
    assert copies.gradient("initial_state").value.ravel().tolist() == [2 * 2110]
    assert copies.gradient("x").value.ravel().tolist() == [0, 2110, 0, 1000]


STATEFUL = """
schema = 1
title = "batches of one"
source = {document = "a test"}
weights = {WEIGHTS}
layer = {LAYER}
input = {x = [[[5], [6]], [[7], [8]]], MASK}
[[expect]]
what = "predicted"
of = "predict"
value = true
from = "a test"
"""
ONE = "kernel = [[1]], recurrent_kernel = [[2]], bias = [1]"
LINEAR = 'kind = "SimpleRNN", units = 1, activation = "linear", stateful = true'
ONE_BY_ONE, AT_ONCE = [slice(0, 1), slice(1, 2)], [slice(0, 2)]


def stateful(*options: str, weights: str = ONE, mask: str = "") -> Truth:
    layer = ", ".join([LINEAR, *options])
    if "forward" in weights:
        layer = f'kind = "Bidirectional", layer = {{{layer}}}'
    text = STATEFUL.replace("LAYER", layer).replace("WEIGHTS", weights)
    return Truth(files.loads(text.replace(", MASK", mask and f", mask = {mask}")), "float32")


def test_a_batch_of_a_stateful_layer_starts_where_the_one_before_ended() -> None:
    """By hand: 5 + 1 = 6, 6 + 2·6 + 1 = 19; then 7 + 2·19 + 1 = 46, 8 + 2·46 + 1 = 101. At once,
    the second sample starts from 0: 8, 8 + 2·8 + 1 = 25. Backwards 7, 20; then 49, 106."""
    sequence = stateful("return_sequences = true")
    assert sequence.in_batches(ONE_BY_ONE).last.value.ravel().tolist() == [6, 19, 46, 101]
    assert sequence.in_batches(AT_ONCE).last.value.ravel().tolist() == [6, 19, 8, 25]
    assert stateful().in_batches(ONE_BY_ONE).last.value.ravel().tolist() == [19, 101]
    backwards = stateful("go_backwards = true", "return_sequences = true")
    assert backwards.in_batches(ONE_BY_ONE).last.value.ravel().tolist() == [7, 20, 49, 106]


def test_each_direction_goes_on_where_it_ended_itself() -> None:
    """By hand, as above: 19, 101 forward and 20, 106 backward."""
    both = stateful(weights=f"forward = {{{ONE}}}, backward = {{{ONE}}}")
    assert both.in_batches(ONE_BY_ONE).last.value.tolist() == [[19, 20], [101, 106]]


def test_an_error_is_carried_into_the_next_batch() -> None:
    """Twice that of the state, beside what a batch that starts from 0 is off by itself."""
    tenths = stateful("return_sequences = true", weights=ONE.replace("[[1]]", "[[0.1]]"))
    error, alone = (tenths.in_batches(b).last.error.ravel() for b in (ONE_BY_ONE, AT_ONCE))
    assert error[1] > 0
    assert error[2] > alone[2] + 2 * error[1]


def test_what_is_shown_before_the_first_step_that_counts_is_not_known() -> None:
    """Of the first batch it is a zero either way; of the second some show the state, 19."""
    mask = "[[true, true], [false, true]]"
    found = stateful("return_sequences = true", mask=mask).in_batches(ONE_BY_ONE).last
    assert np.isinf(found.error).ravel().tolist() == [False, False, True, False]
    assert found.value.ravel()[[0, 1, 3]].tolist() == [6, 19, 8 + 2 * 19 + 1]
    zeros = stateful("return_sequences = true", "zero_output_for_mask = true", mask=mask)
    assert np.isfinite(zeros.in_batches(ONE_BY_ONE).last.error).all()


def test_all_that_a_call_returns_is_penalized_and_shared_by_the_samples() -> None:
    """By hand, as above: batch by batch 6, 19 and the state 19, then 46, 101 and 101."""
    penalized = "return_state = true", 'activity_regularizer = { kind = "L2", l2 = 1 }'
    sequence = stateful("return_sequences = true", *penalized)
    found = sequence.in_batches(ONE_BY_ONE)
    value, bound = regularization(sequence.claim, found.returned, sequence.a)
    assert value == (6**2 + 2 * 19**2 + 46**2 + 2 * 101**2) / 2
    assert bound < 2.0**-18 * value
    second = regularization(sequence.claim, found.part(slice(1, 2)).returned, sequence.a)
    assert second.value == 46**2 + 2 * 101**2
    weights = f"forward = {{{ONE}}}, backward = {{{ONE}}}"
    both = stateful(*penalized, weights=weights)  # the state is the last output
    apart = regularization(both.claim, both.in_batches(ONE_BY_ONE).returned, both.a)
    assert apart.value == (19**2 + 20**2 + 101**2 + 106**2) * 2 / 2


def test_of_what_may_be_a_state_or_a_zero_no_penalty_is_known() -> None:
    mask = "[[true, true], [false, true]]"
    penalized = "return_sequences = true", 'activity_regularizer = "L2"'
    for more, is_known in (((), False), (("zero_output_for_mask = true",), True)):
        found = stateful(*penalized, *more, mask=mask)
        returned = found.in_batches(ONE_BY_ONE).returned
        bound = regularization(found.claim, returned, found.a).error
        assert bool(np.isfinite(bound)) == is_known


def test_bounds_contain_float32_in_every_order_of_summation() -> None:
    """The loss Σ c·o of four terms in float32, by all 24 orders."""
    c = files.load(files.bundled() / "derived" / "default_activation.toml")
    text = (files.bundled() / "derived" / "default_activation.toml").read_text()
    shape = Truth(c, "float32").output.value.shape
    rng = np.random.default_rng(3)
    cotangent = rng.integers(-99, 100, shape) / 128
    with_loss = files.loads(
        text.replace("[input]", f"[loss]\ncotangent = {cotangent.tolist()}\n[input]")
    )
    value, bound = Truth(with_loss, "float32").loss
    assert with_loss.x is not None
    assert with_loss.weights is not None
    weights = {
        name: given.value.astype(np.float32)
        for name, given in with_loss.weights[with_loss.rnn.name].items()
    }
    states = over_time.forward(
        with_loss.x.value.astype(np.float32),
        weights["kernel"],
        weights["recurrent_kernel"],
        weights["bias"],
        **with_loss.recurrence,
    )[0]
    output = states if len(shape) == 3 else states[:, -1]
    terms = (cotangent.astype(np.float32) * output).ravel()[:4]
    rest = (cotangent.astype(np.float32) * output).ravel()[4:].sum()
    for order in itertools.permutations(terms):
        total = rest
        for term in order:
            total = np.float32(total + term)
        assert abs(float(total) - float(value)) <= bound


def test_the_cotangent_of_a_mean_squared_error() -> None:
    """d/dh of (o - y)²/N through the Dense layer: 2(o - y)/N · Vᵀ, at the last step alone."""
    c = files.load(files.bundled() / "derived" / "article_network.toml")
    truth = Truth(c, "real")
    assert c.weights is not None
    assert c.loss is not None
    assert c.dense is not None
    output = truth.output.value
    states = truth.states().value
    found, error = cotangent_of(c, states, output, "float64")
    V = c.weights[c.dense.name]["kernel"].value
    expected = 2 * (output - c.loss.value.value) / output.size @ V.T
    assert error is not None
    assert np.all(np.abs(found[:, -1] - expected) <= error[:, -1])
    assert not found[:, :-1].any()


def test_dense_weights_that_reach_the_printed_predictions() -> None:
    """One for each sample, and an inconsistent system would leave a residual."""
    c = files.load(files.bundled() / "article" / "training_2_3.toml")
    kernel, bias = dense_that_reaches(c)
    predictions = c.printed["predictions"].value
    reached = Truth(c, "real").last_state().value @ kernel + bias
    # the least-squares solution is backward stable: its residual is a few u·|h||V|, far below
    # half a unit of the last digit printed
    assert np.all(np.abs(reached.ravel() - predictions) <= c.printed["predictions"].error)


def test_what_is_rounded_by_hand_is_carried_on() -> None:
    """0.753 and 0.809 are printed: three digits, of which half a unit is 0.0005."""
    c = files.load(files.bundled() / "published" / "ayanpaul_scalar.toml")
    exact, by_hand = Truth(c, "exact"), Truth(c, "hand")
    (states, bound), (_, alone) = by_hand.states(), exact.states()
    (_, z_bound), (_, z_alone) = by_hand.preactivation(), exact.preactivation()
    assert bound[0, 0, 0] == alone[0, 0, 0]  # nothing was rounded before the first
    # U = 0.5 times what the state was rounded by; the rest is the reference's own rounding
    carried = z_bound[0, 1, 0] - z_alone[0, 1, 0]
    assert abs(carried - 0.5 * 0.0005) <= 2 * z_alone[0, 1, 0]
    # 1.1265 is printed as well, and tanh may have been taken of it; it rises by less from there on
    z = np.arctanh(states[0, 1, 0])
    off = 0.5 * 0.0005 + 0.00005
    more = bound[0, 1, 0] - alone[0, 1, 0]
    assert (
        np.tanh(z + off) - np.tanh(z) < more <= np.tanh(z) - np.tanh(z - off) + 2 * alone[0, 1, 0]
    )


HAND = """
schema = 1
title = "by hand"
source = {document = "a test"}
reading = {computed_in = "hand"}
layer = {kind = "SimpleRNN", units = 1, return_sequences = true, MORE}
weights = {kernel = [[1]], recurrent_kernel = [[2]], bias = [0]}
input = {x = [[[0.5], [0.25], [-1.5]]]}
"""
PRINTED = """
[[expect]]
what = "{}"
value = {}
at = {{ timestep = {} }}
from = "a test"
computed_in = "{}"
"""


def carries(bound: Any, *half_units: str) -> bool:
    """Whether a bound is what exact arithmetic carries on of printed half units: not less, and no
    more than by how it is itself rounded up, by 2^-40 in each of less than 16 operations."""
    exact = [Fraction(each) for each in half_units]
    pairs = zip(map(Fraction, np.ravel(bound).tolist()), exact, strict=True)
    return all(e <= b <= e * (1 + Fraction(1, 2**36)) for b, e in pairs)


def by_hand(*printed: tuple[str, str, int, str], more: str = 'activation = "linear"') -> Truth:
    text = HAND.replace("MORE", more) + "".join(PRINTED.format(*each) for each in printed)
    return Truth(files.loads(text), "hand")


def test_the_digits_of_a_state_are_read_where_it_is_printed() -> None:
    """By hand: 0.5; 1.25; 1. What is off at a step is worth twice as much at the next."""
    assert not by_hand(("output", "[[1.0]]", 2, "hand")).states().error.any()
    found = (
        by_hand(
            ("states", "[[0.50]]", 0, "hand"),
            ("output", "[[0.5]]", 0, "hand"),  # of two that are printed, the finest was carried on
            ("output", "[[1.2]]", 1, "float64"),  # of a program, not by hand
            ("output", "[[1]]", 2, "hand"),
        )
        .states()
        .error
    )
    assert carries(found, "0", "0.01", "0.02")


def test_a_bare_number_rounds_nothing() -> None:
    assert not by_hand(("output", "[[0]]", 0, "hand")).states().error.any()


def test_a_preactivation_that_is_printed_may_be_carried_on() -> None:
    found = by_hand(("preactivation", "[[0.5]]", 0, "hand"))
    assert carries(found.preactivation().error, "0", "0.1", "0.2")
    assert carries(found.states().error, "0.05", "0.1", "0.2")


def test_a_masked_step_carries_what_was_rounded_before_it() -> None:
    text = HAND.replace("MORE", 'activation = "linear"').replace(
        "[-1.5]]]", "[-1.5]]], mask = [[true, false, true]]"
    )
    printed = PRINTED.format("output", "[[0.50]]", 0, "hand")
    found = Truth(files.loads(text + printed), "hand").states()
    assert found.value.ravel().tolist() == [0.5, 0.5, -0.5]
    assert carries(found.error, "0", "0.005", "0.01")


def test_zeros_that_a_mask_shows_round_no_state() -> None:
    more = 'activation = "linear", zero_output_for_mask = true'
    text = HAND.replace("MORE", more).replace("[-1.5]]]", "[-1.5]]], mask = [[true, false, true]]")
    printed = PRINTED.format("output", "[[0.0]]", 1, "hand")
    assert not Truth(files.loads(text + printed), "hand").states().error.any()


STACK = """
schema = 1
title = "by hand"
source = {document = "a test"}
reading = {computed_in = "hand"}
layer = {kind = "Bidirectional", layer = {kind = "SimpleRNN", units = 1, activation = "linear", use_bias = false, return_sequences = true}, MORE}
weights = {forward = {kernel = [[1]], recurrent_kernel = [[2]]}, backward = {kernel = [[1]], recurrent_kernel = [[4]]}}
input = {x = [[[0.5], [0.25]]]}
[[expect]]
what = "output"
value = VALUE
from = "a test"
"""  # noqa: E501


def test_each_direction_carries_its_own_digits() -> None:
    """Forward 0.5 then 1.25; backward 0.25 (the last step) then 1.5."""
    text = STACK.replace("MORE", 'merge_mode = "concat"').replace(
        "VALUE", "[[[0.5, 1.5], [1.25, 0.25]]]"
    )
    value, bound = Truth(files.loads(text), "hand").output
    assert value.tolist() == [[[0.5, 1.5], [1.25, 0.25]]]
    assert carries(bound, "0", "0.02", "0.1", "0")  # 4 times 0.005; twice 0.05
    merged = STACK.replace("MORE", 'merge_mode = "sum"').replace("VALUE", "[[[2.0], [1.5]]]")
    assert not Truth(files.loads(merged), "hand").output.error.any()  # neither is printed


def test_what_is_printed_of_a_part_is_what_is_made_of_it() -> None:
    """Directions that are summed, and a cell whose states the next one takes: 0.5, 0.25 + 2·0.5."""
    printed = PRINTED.format("states", "[[0.50]]", 0, "hand").replace(
        "\nat =", '\nof = "forward"\nat ='
    )
    merged = STACK.replace("MORE", 'merge_mode = "sum"').replace("VALUE", "[[[2.0], [1.5]]]")
    bound = Truth(files.loads(merged + printed), "hand").output.error
    assert carries(bound, "0.005", "0.01")
    cell = '{kind = "SimpleRNNCell", units = 1, activation = "linear", use_bias = false}'
    start, end = merged.index("layer ="), merged.index("input =")
    text = f"""layer = {{kind = "RNN", cell = [{cell}, {cell}], return_sequences = true}}
weights = {{cell_0 = {{kernel = [[1]], recurrent_kernel = [[2]]}}, cell_1 = {{kernel = [[3]], recurrent_kernel = [[1]]}}}}
"""  # noqa: E501
    cells = merged[:start] + text + merged[end:].replace("[[[2.0], [1.5]]]", "[[[0], [0]]]")
    printed = printed.replace("forward", "cell_0")
    bound = Truth(files.loads(cells + printed), "hand").output.error
    assert carries(bound, "0.015", "0.045")  # 3 times 0.005; 3·2 and once more 3 times


NETWORK = """
schema = 1
title = "by hand"
source = {document = "a test"}
reading = {computed_in = "hand"}
layers = [{kind = "SimpleRNN", units = 1}, {kind = "Dense", units = 1, activation = "sigmoid"}]
weights = {simple_rnn = {kernel = [[1]], recurrent_kernel = [[0.5]], bias = [0]}, dense = {kernel = [[2]], bias = [0.25]}}
input = {x = [[[0.5], [0.25]]]}
loss = {kind = "mse", target = [[1]]}
"""  # noqa: E501


def test_loss_and_gradients_by_hand_go_on_from_what_is_printed() -> None:
    """Every way of rounding the output to two digits, the states to one, or not at all."""
    printed = ("states", "[[0.5]]", 0, "hand"), ("states", "[[0.4]]", 1, "hand")
    text = NETWORK + "".join(PRINTED.format(*each) for each in printed)
    text += '[[expect]]\nwhat = "output"\nvalue = [[0.75]]\nfrom = "a test"\n'
    truth = Truth(files.loads(text), "hand")
    reached = 0.0
    for one, two, three in itertools.product((None, 1), (None, 1), (None, 2)):

        def rounded(value: float, digits: int | None) -> float:
            return value if digits is None else round(value, digits)

        first = rounded(np.tanh(0.5), one)
        second = rounded(np.tanh(0.25 + 0.5 * first), two)
        o = rounded(1 / (1 + np.exp(-(2 * second + 0.25))), three)
        of_z = 2 * (o - 1) * o * (1 - o)
        delta = of_z * 2 * (1 - second**2)
        before = delta * 0.5 * (1 - first**2)
        found = {
            "loss": (o - 1) ** 2,
            "dense.kernel": of_z * second,
            "kernel": delta * 0.25 + before * 0.5,
            "recurrent_kernel": delta * first,
            "bias": delta + before,
        }
        for name, computed in found.items():
            value, bound = truth.loss if name == "loss" else truth.gradient(name)
            off = abs(computed - value.item())
            assert off <= bound.item(), name
            reached = max(reached, off / bound.item())
    assert reached > 0.3  # the bounds are no wider than a few such ways


@pytest.mark.parametrize(
    ("written", "l1", "l2"),
    [
        ('"L1"', 0.01, 0.0),
        ('"L2"', 0.0, 0.01),
        ('{kind = "L1"}', 0.01, 0.0),
        ('{kind = "L2"}', 0.0, 0.01),
        ('{kind = "L2", l2 = 0.5}', 0.0, 0.5),
        ('{kind = "L1L2", l1 = 0.5}', 0.5, 0.0),
    ],
)
def test_a_regularizer_counts_with_what_keras_takes_where_nothing_is_said(
    written: str, l1: float, l2: float
) -> None:
    """The recurrent kernel is 2; and of the output the same, divided by the batch of one."""
    for option in ("recurrent_regularizer", "activity_regularizer"):
        zero = f"zero_output_for_mask = true, {option} = {written}"
        c = files.loads(MASKED.replace("ZERO", zero))
        value, bound = Truth(c, "float64").regularization
        w = 2.0 if option.startswith("rec") else Truth(c, "float64").output.value.ravel()
        wanted = np.sum(l1 * np.abs(w) + l2 * np.square(w))
        assert abs(value - wanted) <= bound + 2.0**-50 * wanted  # its own few roundings
        assert bound < wanted / 1000


def test_a_bound_of_what_overflowed_spans_all_that_there_is() -> None:
    value, bound = np.array([np.inf, -np.inf, 1.0]), np.array([np.inf, np.inf, 0.5])
    found = _limited(Bounded(value, bound, ARITHMETICS["float32"]), (-np.inf, np.inf))
    assert found.error.tolist() == [np.inf, np.inf, 0.5]
