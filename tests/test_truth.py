"""Are an experiment's numbers and bounds those of the experiment that the claim describes?"""

from __future__ import annotations

import itertools

import numpy as np

from rnn_check import claim, reference
from rnn_check.truth import Truth, cotangent_of, dense_that_reaches

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


def masked(zero: bool) -> claim.Claim:
    return claim.loads(MASKED.replace("ZERO", f"zero_output_for_mask = {str(zero).lower()}"))


def test_what_a_mask_skips_is_shown_as_keras_shows_it() -> None:
    """By hand: h0 = 3 is carried over the first step; then 6 + 2·3 + 1 = 13; 8 + 2·13 + 1 = 35."""
    assert Truth(masked(False), "real")["output"][0].ravel().tolist() == [0, 13, 13, 35]
    assert Truth(masked(True), "real")["output"][0].ravel().tolist() == [0, 13, 0, 35]
    assert Truth(masked(True), "real")["preactivation"][0].ravel()[[1, 3]].tolist() == [13, 35]


def test_no_gradient_flows_from_a_zero_that_is_shown() -> None:
    """By hand: δ_4 = 1000, δ_2 = 2·1000 + 10 (+ 100 where step 3 shows a copy of step 2)."""
    copies, zeros = Truth(masked(False), "real"), Truth(masked(True), "real")
    assert copies["bias"][0].tolist() == [1000 + 2110]
    assert zeros["bias"][0].tolist() == [1000 + 2010]
    assert copies["initial_state"][0].ravel().tolist() == [2 * 2110]
    assert copies["x"][0].ravel().tolist() == [0, 2110, 0, 1000]


def test_bounds_contain_float32_in_every_order_of_summation() -> None:
    """The loss Σ c·o of four terms in float32, by all 24 orders."""
    c = claim.load(claim.bundled() / "derived" / "default_activation.toml")
    text = (claim.bundled() / "derived" / "default_activation.toml").read_text()
    shape = Truth(c, "float32")["output"][0].shape
    rng = np.random.default_rng(3)
    cotangent = rng.integers(-99, 100, shape) / 128
    with_loss = claim.loads(
        text.replace("[input]", f"[loss]\ncotangent = {cotangent.tolist()}\n[input]")
    )
    value, bound = Truth(with_loss, "float32")["loss"]
    assert with_loss.x is not None
    assert with_loss.weights is not None
    weights = {
        name: given.value.astype(np.float32)
        for name, given in with_loss.weights[with_loss.rnn.name].items()
    }
    states = reference.forward(
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
    c = claim.load(claim.bundled() / "derived" / "article_network.toml")
    truth = Truth(c, "real")
    assert c.weights is not None
    assert c.loss is not None
    assert c.dense is not None
    output = truth["output"][0]
    states = truth["states"][0]
    found, error = cotangent_of(c, states, output, "float64")
    V = c.weights[c.dense.name]["kernel"].value
    expected = 2 * (output - c.loss.value.value) / output.size @ V.T
    assert error is not None
    assert np.all(np.abs(found[:, -1] - expected) <= error[:, -1])
    assert not found[:, :-1].any()


def test_dense_weights_that_reach_the_printed_predictions() -> None:
    """One for each sample, and an inconsistent system would leave a residual."""
    c = claim.load(claim.bundled() / "article" / "training_2_3.toml")
    kernel, bias = dense_that_reaches(c)
    predictions = c.printed["predictions"].value
    reached = Truth(c, "real")["last_state"][0] @ kernel + bias
    # the least-squares solution is backward stable: its residual is a few u·|h||V|, far below
    # half a unit of the last digit printed
    assert np.all(np.abs(reached.ravel() - predictions) <= c.printed["predictions"].error)


def test_what_is_rounded_by_hand_is_carried_on() -> None:
    c = claim.load(claim.bundled() / "published" / "ayanpaul_scalar.toml")
    exact, by_hand = Truth(c, "hand"), Truth(c, "hand", 0.0005)
    assert np.all(by_hand["states"][1] >= exact["states"][1] + 0.0005)
    assert by_hand["states"][1][0, 0, 0] < 0.000501  # nothing was rounded before the first
