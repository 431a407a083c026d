"""Does `ok` mean that something was proved, and do attacks on certificates stay without success?"""

import math
from itertools import product
from typing import Any

import numpy as np
import pytest

from rnn_check import certify, certify_gradients, certify_projected
from rnn_check.certificates import layer as certificates_layer
from rnn_check.certificates import pieces, result
from rnn_check.certificates.comparison import step
from rnn_check.certificates.factors import Factor
from rnn_check.certificates.pieces import Reach
from rnn_check.certificates.result import Certificate
from rnn_check.certificates.sums import Sum
from rnn_check.numbers.activations import ACTIVATIONS
from rnn_check.numbers.formats import ARITHMETICS, Array, gamma
from rnn_check.verdicts import judge
from tests.certificates.test_certificate import changed, loop, plain, quietly, run, to_float16
from tests.support.layers import Layer
from tests.support.sampling import long, sampled, thinned
from tools import adversary, detectable, screened

FLOAT32 = ARITHMETICS["float32"]


def random_states(layer: Layer) -> Array:
    shape = (*layer.x.shape[:2], len(layer.recurrent_kernel))
    return np.random.default_rng(1).uniform(-1, 1, shape).astype(np.float32)


# What is judged, and what is not ----------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_the_range_of_an_activation_holds_its_values_and_no_more(name: str) -> None:
    act = ACTIVATIONS[name]
    rng = np.random.default_rng(0)
    z = np.concatenate([rng.normal(size=(400, 3)) * s for s in (1, 30, 1e3)])
    z = np.concatenate([z, [[1e3, -1e3, -1e3], [-1e3, 1e3, 1e3], [0, 0, 0], [700, 700, 700]]])
    reach = certificates_layer.reach_of(name)
    with np.errstate(all="ignore"):
        h = act.function(z)
    assert (reach.low <= h).all() and (h <= reach.high).all()
    if reach.is_limited:
        assert h.min() - reach.low < 2e-3 and reach.high - h.max() < 2e-3
    else:
        assert np.abs(h).max() > 100


def test_most_elements_random_is_not_proved_where_most_sums_may_overflow() -> None:
    """float16, inputs of 1e4: of 50 samples, one can be judged."""
    layer = changed(plain(50, 10, 64, 32), bias=None)
    x = 1.2e4 * np.clip(layer.x, -5, 5)
    x[0] *= np.float32(1e-5)
    layer = changed(layer, x=x)
    right, wrong = to_float16(quietly(run, layer)[0]), to_float16(random_states(layer))
    wrong[0] = right[0]
    for states in (right, wrong):
        found = certify(states, **layer.arguments, dtype="float16")
        assert found.ok is None and found.judged < 0.1
        assert found.reason.startswith("not proved: ")


@pytest.mark.parametrize("activation", ["tanh", "linear", "relu", "sigmoid"])
def test_random_states_are_not_proved_where_large_inputs_cancel(activation: str) -> None:
    layer = plain(8, 20, 16, 32, activation=activation)
    x, W = layer.x.copy(), layer.kernel.copy()
    x[..., 0], x[..., 1], W[:2] = 1, -1, 1e8
    layer = changed(layer, x=x, kernel=W)
    found = certify(np.abs(random_states(layer)), **layer.arguments)
    assert found.ok is None and found.judged < 0.1 and found.blind > 0.9


def test_what_is_proved_in_its_first_digits_alone_is_said() -> None:
    layer = plain(8, 20, 16, 32)
    x, W = layer.x.copy(), layer.kernel.copy()
    x[..., 0], x[..., 1], W[:2] = 1, -1, 1e4
    layer = changed(layer, x=x, kernel=W)
    states, _ = run(layer)
    found = certify(states, **layer.arguments)
    assert found.ok and found.judged == 1 and 0.1 < found.blind < 1
    assert "over a hundredth" in found.reason
    assert (found.bound > 0.02).mean() == found.blind


def test_an_ordinary_layer_is_judged_whole_and_is_nowhere_blind() -> None:
    layer = plain(2, 6, 20, 30)
    found = certify(run(layer)[0], **layer.arguments)
    assert found.ok is True and found.judged == 1 and found.blind == 0


def test_what_saturation_hides_is_said() -> None:
    """Of states that are all 1 nothing can be told but that they should be: U may be any."""
    layer = plain(2, 6, 20, 30)
    certified = certify(run(layer)[0], **layer.arguments)
    assert "at an end of what the activation gives" not in certified.reason
    layer = changed(layer, bias=np.full(30, 90, np.float32))
    states, _ = run(layer)
    for changes in (
        {},
        {"recurrent_kernel": layer.recurrent_kernel.T},
        {"kernel": 3 * layer.kernel},
    ):
        for judged in (certify, certify_projected):
            found = judged(states, **(layer.arguments | changes))
            assert found.ok and "360 of 360 are at an end of what the activation" in found.reason


def test_a_gradient_whose_bound_exceeds_all_of_it_is_not_proved() -> None:
    """Of cotangents that cancel over time: any sum of them follows, within rounding."""
    T = 4000
    layer = plain(1, T, 1, 1, activation="linear")
    layer = changed(layer, recurrent_kernel=0 * layer.recurrent_kernel)
    c = np.where(np.arange(T) % 2, -1.0, 1.0).astype(np.float32)[None, :, None]
    c *= 1 + 1e-6 * np.random.default_rng(0).normal(size=c.shape).astype(np.float32)
    found = certify_gradients(
        {"delta": c, "bias": np.float32([1e-4])}, cotangent=c,
        states=run(layer)[0], **layer.arguments,
    )  # fmt: skip
    assert found["delta"].ok is True
    assert found["bias"].ok is None and found["bias"].blind == 1


def test_a_saturated_adjoint_is_judged_by_what_it_could_be() -> None:
    """δ = g·act'(z) is 0 there, up to u·g: to be within that of g itself would be a fault."""
    layer = plain(2, 4, 6, 5)
    layer = changed(layer, bias=np.full(5, 60, np.float32))
    states, gradients = run(layer)
    found = certify_gradients(
        gradients, cotangent=layer.cotangent, states=states, **layer.arguments
    )
    assert found["delta"].ok is True and found["delta"].judged == 1


def test_what_is_not_proved_is_not_run() -> None:
    layer = plain(8, 20, 16, 32)
    x, W = layer.x.copy(), layer.kernel.copy()
    x[..., 0], x[..., 1], W[:2] = 1, -1, 1e8
    layer = changed(layer, x=x, kernel=W)
    found = certify(random_states(layer), **layer.arguments)
    compared = step("states", found, ("sample", "timestep", "unit"))
    assert compared.ok and compared.unproved.startswith("states: not proved: ")
    assert judge.NOT_RUN == "not_run"
    right = certify(run(plain(2, 3, 2, 3))[0], **plain(2, 3, 2, 3).arguments)
    assert not step("states", right, ("sample", "timestep", "unit")).unproved


# Zeros ------------------------------------------------------------------------------------------


def sharp(layer: Layer, states: Array) -> Array:
    """γ_k Σ|terms| act'(z) and tanh's own error, k and the sum over terms that are not 0."""
    before = np.concatenate([np.zeros_like(states[:, :1]), states[:, :-1]], axis=1)
    rows = np.concatenate([layer.x, before], axis=2).astype(np.float64)
    matrix = np.concatenate([layer.kernel, layer.recurrent_kernel]).astype(np.float64)
    size = np.abs(rows) @ np.abs(matrix) + np.abs(layer.bias)
    terms = np.count_nonzero(rows, axis=2)[..., None] + 2
    h = np.tanh(rows @ matrix + layer.bias)
    return np.asarray(terms * 2.0**-24 * size * (1 - h * h) + 14 * 2.0**-24 * np.abs(h))


@pytest.mark.parametrize("F", [65, 1000, 5000])
def test_the_bound_of_a_one_hot_input_is_that_of_its_one_term(F: int) -> None:
    """As sharp, against Σ|terms| themselves, as that of a dense input with as many terms."""

    def ratio(layer: Layer) -> float:
        states, _ = run(layer)
        found = certify(states, **layer.arguments)
        assert found.ok
        return float(np.median(found.bound[:, 1:] / sharp(layer, states)[:, 1:]))

    layer, rng = plain(8, 12, F, 100), np.random.default_rng(0)
    tokens = rng.integers(0, F, layer.x.shape[:2])
    hot = changed(
        layer, x=np.eye(F, dtype=np.float32)[tokens], recurrent_kernel=layer.recurrent_kernel / 2,
        kernel=layer.kernel * np.float32(F**0.5 / 2),
    )  # fmt: skip
    assert ratio(hot) < 1.25 * ratio(plain(8, 12, 2, 100))
    wrong = hot.kernel.copy()
    token = tokens[0, 1]
    wrong[token, np.abs(wrong[token]).argmax()] *= np.float32(1 + 1e-4)
    assert certify(run(changed(hot, kernel=wrong))[0], **hot.arguments).ok is False


@pytest.mark.parametrize("weight", [1e4, 1e7, 1e30])
def test_a_feature_that_is_always_zero_hides_nothing(weight: float) -> None:
    layer = plain(64, 50, 16, 64)
    x, W = layer.x.copy(), layer.kernel.copy()
    x[..., 3] = 0
    W[3] = weight
    layer = changed(layer, x=x, kernel=W)
    U = layer.recurrent_kernel
    right = loop(layer, lambda t, h, z: np.tanh(z + h[-1] @ U))
    assert certify(right, **layer.arguments).ok is True
    negated = loop(layer, lambda t, h, z: np.tanh(z + h[-1] @ U) * np.float32(-1 if t else 1))
    assert certify(negated, **layer.arguments).ok is False


@pytest.mark.parametrize("kind", ["rare", "dead", "both", "dense", "empty rows"])
def test_sizes_over_what_a_block_uses_are_no_less_than_the_terms(kind: str) -> None:
    rng = np.random.default_rng(0)
    rows, matrix, bias = (rng.normal(size=s) for s in ((40, 60), (60, 7), (7,)))
    if kind in ("rare", "both"):
        rows[:, 5:40] *= rng.uniform(size=(40, 35)) < 0.1
    if kind in ("dead", "both"):
        rows[:, 45:50] = 0
        matrix[47] = 1e9
    if kind == "empty rows":
        rows[::3] = 0
    s = Sum(rows, Factor(matrix, FLOAT32, 20, bias=bias)).bounded(stored=3)
    size = np.abs(rows) @ np.abs(matrix) + np.abs(bias)
    terms = int(np.count_nonzero(rows, axis=1).max()) + 1
    assert (s.size >= size * (1 - 2.0**-40)).all() and (s.size <= 9 * size).all()
    assert terms <= s.terms <= 61 and (kind not in ("rare", "both") or s.terms < 50)
    assert (s.error >= gamma(terms + 1, FLOAT32.u) * size * (1 - 2.0**-40)).all()


def test_a_time_stamp_among_the_features_is_no_crash() -> None:
    """More than exp can hold of z; of tanh nothing is left to be judged."""
    layer = plain(8, 30, 16, 32)
    x = layer.x.copy()
    x[..., 0] = 1.7e9
    layer = changed(layer, x=x)
    found = certify(run(layer)[0], **layer.arguments)
    assert found.ok is not False and found.judged < 1


@pytest.mark.parametrize("swapped", [False, True])
def test_a_subnormal_operand_of_an_exact_sum_may_be_read_as_zero(swapped: bool) -> None:
    """2^-130·2^40 is an exact product of float32, and 0 where frameworks flush operands."""
    small, large = np.full((1, 4, 1), 2.0**-130), np.full((1, 1), 2.0**40)
    if swapped:
        small, large = np.full((1, 4, 1), 2.0**40), np.full((1, 1), 2.0**-130)
    options: dict[str, Any] = {
        "x": small.astype(np.float32), "kernel": large.astype(np.float32),
        "recurrent_kernel": np.zeros((1, 1), np.float32), "activation": "linear",
    }  # fmt: skip
    for state, allowed in ((0.0, True), (2.0**-90, True), (2.0**-88, False)):
        found = certify(np.full((1, 4, 1), state, np.float32), **options)
        assert (found.ok is not False) == allowed


# Attacks, a few of each; whole: python -m tools.adversary, tools.screened, tools.detectable ------


@thinned(8)
@pytest.mark.parametrize("size", [(3, 3, 4, 6), (40, 40, 2, 3)])
@pytest.mark.parametrize("activation", ["linear", "tanh"])
@pytest.mark.parametrize("kind", adversary.DATA)
def test_no_legal_execution_is_called_wrong(
    kind: str, activation: str, size: tuple[int, int, int, int]
) -> None:
    data = adversary.draw(kind, *size, seed=1)
    for execution in list(adversary.executions())[:: 3 if size[0] == 3 else 7]:
        found = adversary.certified(execution, data, activation)
        assert found is None or found.ok is not False, f"{execution}: {found.reason}"


@pytest.mark.thinned(2)
@pytest.mark.parametrize("kind", sampled(adversary.DATA, 3))
@pytest.mark.parametrize("recurrence", adversary.GATED)
def test_no_legal_execution_of_gates_is_called_wrong(recurrence: str, kind: str) -> None:
    for r, names in product(adversary.GATED[recurrence], adversary.ACTIVATIONS_OF_GATED):
        data = adversary.with_gates(r, kind, (3, 3, 2, 6), seed=1)
        for execution in list(adversary.executions())[::13]:
            for found in adversary.certified_with_gates(execution, r, data, names):
                assert found.ok is not False, f"{execution}: {found.reason}"


def test_executions_of_gates_round_nothing_that_needs_no_rounding() -> None:
    rng = np.random.default_rng(0)
    x, h, W, U = (rng.integers(-8, 9, size=(4, 4)).astype(np.float64) for _ in range(4))
    b = rng.integers(-8, 9, size=(2, 4)).astype(np.float64)
    for execution in adversary.executions():
        if execution.rounding == "all by 2^-24":
            continue
        n = adversary.Legal(execution, ("linear", "linear"))
        rows = [adversary.Number(n, part) for part in (x, h)]
        z = n.affine((rows[0], W), (rows[1], U), bias=b)
        assert (z.value == x @ W + h @ U + b.sum(0)).all()
        blend = n.blend(n.gate(rows[0]), rows[1], n.act(z))
        assert (blend.value == x * h + (1 - x) * z.value).all()


@pytest.mark.parametrize("recurrence", adversary.GATED)
def test_to_round_all_to_one_side_takes_more_of_what_is_allowed(recurrence: str) -> None:
    for r in adversary.GATED[recurrence]:
        data = adversary.with_gates(r, "positive", (1, 1, 8, 30), seed=0)
        honest, worst = (
            adversary.certified_with_gates(
                adversary.Execution("first to last", rounding, False, "x·W + b + h·U"),
                r, data, ("linear", "hard_sigmoid"),
            )
            for rounding in ("to nearest", "all by 2^-24")
        )  # fmt: skip
        for usual, large in zip(honest, worst, strict=True):
            assert usual.ratio < large.ratio <= 1


def test_the_executions_of_the_adversary_are_legal_and_as_bad_as_allowed() -> None:
    """Its rounding is within u; and rounding all to one side comes near the bound."""
    rng = np.random.default_rng(0)
    v, direction = rng.normal(size=1000), rng.choice([-1.0, 1.0], size=1000)
    for name, rounding in adversary.ROUNDINGS.items():
        off = np.abs(rounding(v, direction) - v)
        assert (off <= 2.0**-24 * np.abs(v) * (1 + 2.0**-28)).all(), name
    data = adversary.draw("positive", 1, 1, 8, 30)
    worst = adversary.Execution("first to last", "all by 2^-24", False, "x·W + b + h·U")
    found = adversary.certified(worst, data, "linear")
    assert found is not None and 0.5 < found.ratio <= 1


@pytest.mark.parametrize("seed", sampled(range(4), 4))
def test_what_is_not_looked_at_would_change_nothing(seed: int) -> None:
    rng, many = np.random.default_rng(seed), screened.layers(seed + 1000)
    for _ in range(10):
        kind, given = next(many)
        for problem in screened.attack(given, rng):
            assert not problem, f"{kind}, {given['activation']}: {problem}"


@long
def test_the_smallest_fault_that_is_found_is_searched_for_rightly() -> None:
    assert detectable.smallest(lambda by: by >= 2.0**-17) == 2.0**-17
    assert detectable.smallest(lambda by: False) == math.inf
    found = detectable.of_states(8, "float32")
    assert found["ratio"] < 1 and all(
        2.0**-24 < v < 2.0**-14 for k, v in found.items() if k != "ratio"
    )


def test_reach_is_shown_by_an_array_of_numbers() -> None:
    """A bound that spans all values of an activation cannot be exceeded by any of them."""
    expected, bound = np.array([0.0, 0.9, -0.9]), np.array([1.0, 1.5, 1.95])

    def of(reach: Reach) -> Certificate:
        return result.judge(
            FLOAT32, expected,
            lambda worst: iter([pieces.Piece((), expected, bound)]), reach,
        )  # fmt: skip

    assert of(Reach(-1, 1)).judged == 1 / 3
    assert of(Reach(-2, 2)).judged == 1
