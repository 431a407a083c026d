"""Does every step follow from the one before, as far as random sums of units can tell?"""

import tracemalloc
from typing import Any

import numpy as np
import pytest

from rnn_check.certificates import projected as projection
from rnn_check.certificates import projections
from rnn_check.certificates.layer import Layer as Read
from rnn_check.certificates.public import certify_projected
from rnn_check.numbers.formats import Array, gamma
from tests.certificates.test_certificate import (
    ORDERS,
    blas,
    changed,
    fused_multiply_add,
    loop,
    masked,
    one_by_one,
    plain,
    quietly,
    run,
    to_bfloat16,
    to_tf32,
)
from tests.support.layers import Layer, random_layer
from tests.support.sampling import long, thinned

WIDE = (2, 40, 512, 512)
MIDDLE = (8, 50, 64, 96)


def honest(layer: Layer, dot: Any = blas) -> Array:
    """The states alone: the gradients of a wide layer take longer."""
    tanh = np.tanh if layer.activation == "tanh" else np.asarray
    return loop(
        layer,
        lambda t, h, z: tanh(
            dot(layer.x[:, t], layer.kernel) + dot(h[-1], layer.recurrent_kernel) + layer.bias
        ),
    )


@pytest.fixture(scope="module")
def wide() -> tuple[Layer, Array]:
    layer = plain(*WIDE)
    return layer, honest(layer)


@pytest.fixture(scope="module")
def middle() -> tuple[Layer, Array]:
    layer = plain(*MIDDLE)
    return layer, honest(layer)


# No false alarm -------------------------------------------------------------------------------


@thinned(7)
@pytest.mark.parametrize("activation", ["tanh", "linear"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("first", range(0, 120, 20))
def test_random_layers_are_certified(first: int, activation: str, dtype: Any) -> None:
    """Masks, initial states, reversed time, all scales; all orders; several draws of the signs."""
    for seed in range(first, first + 20):
        layer = random_layer(seed, dtype, activation=activation)
        dot = ORDERS[seed % len(ORDERS)]
        if dot is fused_multiply_add or layer.x.size * len(layer.recurrent_kernel) > 2**16:
            dot = blas
        states, _ = quietly(run, layer, dot, together=seed % 2 == 0)
        options: dict[str, Any] = {"groups": (1, 3, 16)[seed % 3], "seed": seed}
        found = certify_projected(states, **layer.arguments, **options)
        assert found.ratio <= 1, f"random_layer({seed}): {found.reason}"
        assert found.ok is not False, f"random_layer({seed}): {found.reason}"


@pytest.mark.thinned(4)
@pytest.mark.parametrize("dot", [blas, one_by_one])
@pytest.mark.parametrize("size", [MIDDLE, (2, 30, 300, 200)])
def test_wide_layers_are_certified_whatever_the_signs(dot: Any, size: Any) -> None:
    layer = plain(*size)
    states = honest(layer, dot)
    for seed in range(30):
        found = certify_projected(states, **layer.arguments, seed=seed)
        assert found.ok and found.ratio < 0.3 and found.consistent_with == "float32"


@pytest.mark.thinned(2)
@pytest.mark.parametrize("cancel", [False, True])
def test_roundings_that_all_go_one_way_are_no_alarm(cancel: bool) -> None:
    """Equal terms, added one by one: the model of random roundings is as wrong as can be."""
    for value in (0.1, 0.3, 0.7):
        layer = plain(2, 20, 700, 64)
        x = np.full_like(layer.x, value)
        kernel = np.full_like(layer.kernel, np.float32(1 / 700))
        if cancel:  # large partial sums, small results
            kernel[350:] *= -1
        layer = changed(layer, x=x, kernel=kernel)
        states = honest(layer, one_by_one)
        for seed in range(5):
            found = certify_projected(states, **layer.arguments, seed=seed)
            assert found.ok and found.ratio < 0.5


def test_a_projection_is_that_of_the_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """observed - expected = Σ r_j e_j over a group, for each step, e from z in float64."""
    layer = plain(3, 25, 4, 21, np.float64)
    states = np.tanh(np.random.default_rng(0).normal(size=(3, 25, 21)))  # any
    seen: list[Any] = []
    made = projection._Asked

    def keep(*args: Any) -> Any:
        seen.append(made(*args))
        return seen[-1]

    monkeypatch.setattr(projection, "_Asked", keep)
    certify_projected(states, **layer.arguments, groups=3, seed=5)
    (p,) = seen
    r = p.signed
    assert (np.abs(r).sum(axis=1) == 1).all() and (np.abs(r).sum(axis=0) >= 4).all()
    before = np.concatenate([np.zeros((3, 1, 21)), states[:, :-1]], axis=1)
    z = layer.x @ layer.kernel + before @ layer.recurrent_kernel + layer.bias
    e = np.arctanh(states) - z
    for near_one in (p.near_one, 0.7):  # the second leaves out a good part of the states
        p.near_one = near_one
        monkeypatch.setattr(projections, "_FEW", 1)
        sums = p.sums()
        in_sums = np.where(np.abs(states) <= near_one, e, 0.0)
        assert sums.observed.shape == (75, 3)
        # both ways are sums of fewer than 2^6 terms, each below 2^4, in float64
        off = sums.observed - sums.expected - (in_sums @ r).reshape(75, 3)
        assert (np.abs(off) <= 2.0**6 * 2**4 * 2**6 * 2.0**-53).all()
        outside = (np.abs(states) > near_one).any(axis=-1).reshape(-1)
        assert (sums.alone == outside).all() and outside.any() == (near_one == 0.7)


# Faults ---------------------------------------------------------------------------------------


@thinned(3)
@pytest.mark.parametrize(("narrow", "seen"), [(to_tf32, "TF32"), (to_bfloat16, "bfloat16")])
@pytest.mark.parametrize("size", [(4, 200, 512, 512), (4, 40, 30, 60), (4, 300, 128, 256)])
def test_narrow_factors_are_found(narrow: Any, seen: str, size: tuple[int, int, int, int]) -> None:
    layer = plain(*size)
    W, U = narrow(layer.kernel), narrow(layer.recurrent_kernel)
    states = loop(
        layer, lambda t, h, z: np.tanh(narrow(layer.x[:, t]) @ W + narrow(h[-1]) @ U + layer.bias)
    )
    for seed in range(10):
        found = certify_projected(states, **layer.arguments, seed=seed)
        same_digits = {"float16", seen} if seen == "TF32" else {seen}
        assert found.ok is False and found.consistent_with in same_digits


@thinned(3)
@pytest.mark.parametrize(("of", "off"), [("wide", 1e-2), ("middle", 1e-3), ("middle", 5e-4)])
def test_one_wrong_unit_is_found_whatever_the_signs(of: str, off: float, request: Any) -> None:
    """A column of U times 1 + off."""
    layer, _ = request.getfixturevalue(of)
    for unit in (0, 17, 95):
        U = layer.recurrent_kernel.copy()
        U[:, unit] *= np.float32(1 + off)
        states = honest(changed(layer, recurrent_kernel=U))
        for seed in range(10):
            assert not certify_projected(states, **layer.arguments, seed=seed).ok


def test_two_exchanged_units_cancel_in_half_of_the_draws_that_group_them(
    middle: tuple[Layer, Array], monkeypatch: pytest.MonkeyPatch
) -> None:
    """At one step of 400: the 32 that are judged in full anyway mostly miss it."""
    layer, honestly = middle
    monkeypatch.setattr(projection, "_IN_FULL", 1)
    draws = 40
    for j, k, escapes in ((3, 3 + 24, 1 / 2), (3, 4, 1 / 32)):  # 96/4 apart: always in one group
        z = layer.x[2, 30] @ layer.kernel + honestly[2, 29] @ layer.recurrent_kernel + layer.bias
        states = honestly.copy()
        # errors of one size in z, as of a weight that is off in both
        states[2, 30, [j, k]] = np.tanh(z[[j, k]] + np.float32([0.1, -0.1]))
        later = changed(layer, x=layer.x[2:3, :31])  # what follows from it is not asked
        ok = [certify_projected(states[2:3, :31], **later.arguments, seed=s).ok
              for s in range(draws)]  # fmt: skip
        # 4 standard deviations of that many draws, and that step among those judged in full
        margin = 4 * np.sqrt(escapes * (1 - escapes) / draws) + 1 / 31
        assert abs(np.mean(ok) - escapes) <= margin


@long
def test_one_wrong_step_is_found_and_named_if_it_is_asked(wide: tuple[Layer, Array]) -> None:
    layer, states = wide
    wrong = states.copy()
    wrong[1, 9] = wrong[1, 8]  # a step left out: e is large in all units
    for seed in range(5):
        found = certify_projected(wrong, **layer.arguments, seed=seed)
        assert found.ratio > 1 and found.where[:2] in ((1, 9), (1, 10))
        assert f"at {found.where}" in found.reason
    # of 80 steps 8 are asked, and two show the error
    found_in = [
        not certify_projected(wrong, **layer.arguments, steps=8, seed=s).ok for s in range(40)
    ]
    assert 0 < np.mean(found_in) < 0.5


def test_layers_with_other_operands_are_found() -> None:
    layer = plain(2, 30, 5, 6)
    states, _ = run(layer)
    for other in (
        changed(layer, recurrent_kernel=layer.recurrent_kernel.T),
        changed(layer, bias=None),
        changed(layer, x=layer.x[:, ::-1]),
        changed(layer, initial_state=np.full((2, 6), 0.01, np.float32)),
    ):
        assert not certify_projected(states, **other.arguments).ok


def test_masks_are_heeded() -> None:
    layer = masked([[1, 0, 1, 1, 0, 0], [0, 0, 1, 1, 0, 1]])
    states, _ = run(layer)
    assert certify_projected(states, **layer.arguments).ok
    assert certify_projected(states, **layer.arguments, steps=2).ok
    assert not certify_projected(states, **changed(layer, mask=None).arguments).ok
    copied = states.copy()
    copied[0, 4, 1] = np.nextafter(copied[0, 4, 1], np.float32(2))
    for steps in (None, 1):
        found = certify_projected(copied, **layer.arguments, steps=steps)
        assert found.ratio == np.inf and found.where[:2] == (0, 4)


def test_nan_and_infinity() -> None:
    layer = plain(2, 6, 2, 5)
    states, _ = run(layer)
    for value in (np.nan, np.inf, 1.5):
        wrong = states.copy()
        wrong[1, 3, 2] = value
        found = certify_projected(wrong, **layer.arguments)
        assert not found.ok and found.where[:2] in ((1, 3), (1, 4))
    x = layer.x.copy()
    x[0, 2, 1] = np.nan
    layer = changed(layer, x=x)
    states, _ = run(layer)
    assert certify_projected(states, **layer.arguments).ok
    states[0, 4] = 0.25
    assert not certify_projected(states, **layer.arguments).ok


# Saturation -----------------------------------------------------------------------------------


def scaled(size: tuple[int, int, int, int], scale: float) -> Layer:
    layer = plain(*size)
    f = np.float32
    return changed(
        layer, kernel=f(scale) * layer.kernel, recurrent_kernel=f(scale) * layer.recurrent_kernel
    )


def altered(layer: Layer, alter: Any) -> Array:
    """The states, each step's altered before the next begins."""
    return loop(
        layer,
        lambda t, h, z: alter(
            np.tanh(layer.x[:, t] @ layer.kernel + h[-1] @ layer.recurrent_kernel + layer.bias), t
        ),
    )


def unit_stuck(h: Array, t: int) -> Array:
    h[:, 3] = 1
    return h


def sign_of_some_steps(h: Array, t: int) -> Array:
    return np.sign(h) if t % 4 == 3 else h


def sign_of_some_units(h: Array, t: int) -> Array:
    h[:, ::8] = np.sign(h[:, ::8])
    return h


def sign_beyond_half(h: Array, t: int) -> Array:
    return np.where(np.abs(h) > 0.5, np.sign(h), h)


SATURATING = (unit_stuck, sign_of_some_steps, sign_of_some_units, sign_beyond_half)
NARROW = (4, 40, 20, 30)


@pytest.mark.parametrize("alter", SATURATING)
@pytest.mark.parametrize("size", [MIDDLE, NARROW])
def test_what_saturates_does_not_hide_itself(alter: Any, size: Any) -> None:
    layer = scaled(size, 1)
    assert certify_projected(altered(layer, lambda h, t: h), **layer.arguments).ok
    found = certify_projected(altered(layer, alter), **layer.arguments)
    assert found.ok is False and found.ratio > 1


@pytest.mark.parametrize("value", [1.0, -1.0, 1 - 2.0**-24])
def test_one_state_stuck_at_one_step_is_found_and_named(
    value: float, middle: tuple[Layer, Array], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No step is judged in full by chance: only the state itself gives it away."""
    layer, states = middle
    monkeypatch.setattr(projection, "_IN_FULL", 1)
    for at in ((1, 49, 5), (7, 49, 95), (4, 49, 50)):  # last steps: nothing follows from them
        wrong = states.copy()
        wrong[at] = value
        found = certify_projected(wrong, **layer.arguments)
        assert found.ok is False and found.where == at
        assert f"at {at}: got {value:.9g}" in found.reason
    # a state that should be there is no fault
    x, kernel = layer.x.copy(), layer.kernel.copy()
    x[4, 49], kernel[:, 50] = np.sign(kernel[:, 50]), np.copysign(0.5, kernel[:, 50])
    right = changed(layer, x=x, kernel=kernel)
    states = honest(right)
    assert states[4, 49, 50] == 1 and certify_projected(states, **right.arguments).ok


@pytest.mark.parametrize("scale", [1.5, 2, 3, 4])
def test_saturated_layers_are_judged_all_the_same(scale: float) -> None:
    layer = scaled((8, 20, 256, 256), scale)
    states = honest(layer)
    found = certify_projected(states, **layer.arguments)
    assert found.ok and found.judged == 1, found.reason
    doubled = honest(changed(layer, recurrent_kernel=2 * layer.recurrent_kernel))
    assert certify_projected(doubled, **layer.arguments).ok is False


@pytest.mark.parametrize("often", [1, 3, 10**6])
def test_what_is_made_in_full_is_as_good_however_it_is_made(
    often: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of a unit's z at once, or each by itself; and how large those are is not forgotten."""
    layer = scaled((8, 50, 64, 96), 1)
    states = honest(layer)
    monkeypatch.setattr(projections, "_OFTEN", often)
    asked = projections.Projection(Read(states, **layer.arguments), 16, None, 0)
    x, before, h = (asked.narrowed(rows) for rows in asked.rows(asked.asked))
    rows, units = np.nonzero(np.abs(h) > asked.near_one)
    assert len(rows) > 100
    z = asked.preactivation(x, before, rows, units)
    matrix = np.concatenate([layer.kernel, layer.recurrent_kernel]).astype(np.float64)
    operands = np.concatenate([x, before], axis=1).astype(np.float64)
    true = (operands @ matrix + layer.bias)[rows, units]
    size = (np.abs(operands) @ np.abs(matrix) + np.abs(layer.bias))[rows, units]
    assert (np.abs(z - true) <= (gamma(160, 2.0**-24) + gamma(162, 2.0**-53)) * size).all()
    sums = asked.sums()
    assert sums is not None
    least = np.zeros_like(sums.own)
    np.add.at(least, (rows, asked.group[units]), np.square(size))
    assert (sums.own >= least).all() and ((sums.own > 0) == (least > 0)).all()
    assert (asked.bound(sums) > asked.bound(sums._replace(own=0 * least)))[least > 0].all()


def test_certify_is_asked_where_sums_cannot_tell(middle: tuple[Layer, Array]) -> None:
    layer, states = middle
    arguments = layer.arguments

    def shape(states: Array, **changes: Any) -> tuple[int, ...]:
        found = certify_projected(states, **(arguments | changes))
        assert found.ok, found.reason
        return found.observed.shape

    assert shape(states) == (400, 16)
    assert shape(states, steps=33) == (33, 16)
    assert shape(states, steps=32) == (32, 1, 96)
    half = to_bfloat16(states)  # in 16 bits act's rounding blurs every sum
    found = certify_projected(half, **arguments, dtype="bfloat16")
    assert found.observed.shape == (400, 1, 96)
    saturated = scaled(MIDDLE, 3)
    found = certify_projected(honest(saturated), **saturated.arguments)
    assert found.ok and found.observed.shape == (400, 1, 96)


def test_a_feature_that_is_never_there_does_not_blind(middle: tuple[Layer, Array]) -> None:
    """A weight of 1e6 that meets zeros makes ‖x‖‖W‖ as large as anything."""
    layer, _ = middle
    x, kernel = layer.x.copy(), layer.kernel.copy()
    x[:, :, 7], kernel[7] = 0, 1e6
    layer = changed(layer, x=x, kernel=kernel)
    states = honest(layer)
    found = certify_projected(states, **layer.arguments)
    assert found.ok and found.observed.shape == (400, 1, 96)
    states[:, 1:] *= -1
    assert certify_projected(states, **layer.arguments).ok is False


def test_nothing_is_called_wrong_that_certify_does_not_call_wrong(
    middle: tuple[Layer, Array], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model that expects almost no rounding suspects all steps, and certify clears them."""
    layer, states = middle
    made = projection._Asked.bound
    monkeypatch.setattr(projection._Asked, "bound", lambda p, sums: 1e-6 * made(p, sums))
    found = certify_projected(states, **layer.arguments)
    assert found.ok and found.ratio <= 1 and found.observed.shape == (400, 16)
    wrong = states.copy()
    wrong[3, 49, 60] += np.float32(0.01)
    found = certify_projected(wrong, **layer.arguments)
    assert found.ok is False and found.where == (3, 49, 60)


def test_equal_terms_are_no_alarm() -> None:
    """Constant weights and inputs: all errors are one number, which no √K describes."""
    for value, weight in ((0.1, 0.3), (0.9, 0.05), (0.7, 0.7)):
        layer = plain(4, 30, 512, 32, activation="linear")
        layer = changed(
            layer, x=np.full_like(layer.x, value), kernel=np.full_like(layer.kernel, weight),
            recurrent_kernel=np.zeros_like(layer.recurrent_kernel),
        )  # fmt: skip
        for dot in (blas, one_by_one):
            found = certify_projected(honest(layer, dot), **layer.arguments)
            assert found.ok, found.reason


def test_masked_steps_alone_are_judged_as_copies() -> None:
    layer = masked([[0, 0, 0, 0, 0, 0]] * 2)
    states, _ = run(layer)
    assert certify_projected(states, **layer.arguments).ok
    for wrong in (0.5, np.nan):
        states[1, 3, 2] = wrong
        found = certify_projected(states, **layer.arguments)
        assert found.ok is False and found.where == (1, 3, 2)


@pytest.mark.parametrize("block", [1, 300])
def test_blocks_change_nothing(
    block: int, monkeypatch: pytest.MonkeyPatch, middle: tuple[Layer, Array]
) -> None:
    few = masked([[1, 0, 1, 1, 0, 0], [1, 1, 1, 1, 0, 1]])
    for layer, states in ((few, run(few)[0]), middle):
        whole = certify_projected(states, **layer.arguments)
        monkeypatch.setattr("rnn_check.certificates.layer._BLOCK", block)
        found = certify_projected(states, **layer.arguments)
        # sums of 6 units, or of 64 terms and 96, at most, in float32: 2^-16 is more than they lose
        off = np.abs(found.observed - whole.observed)
        assert (off <= 2.0**-16 * (1 + np.abs(whole.observed))).all()
        assert found.ok and found.judged == whole.judged


def test_memory_is_less_than_the_states_take() -> None:
    """Beside the arrays given: blocks, and the sums of groups."""
    layer = plain(4, 4000, 4, 256)
    states = np.tanh(layer.x @ layer.kernel + layer.bias)  # wrong, which costs as much
    for steps in (2048, None):
        tracemalloc.start()
        certify_projected(states, **layer.arguments, steps=steps)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < (3 if steps is None else 1) * states.nbytes


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"activation": "relu"}, "'relu'.*linear and tanh"),
        ({"groups": 0}, "groups is 0"),
        ({"steps": 0}, "steps is 0"),
    ],
)
def test_what_cannot_be_projected_is_said(options: dict[str, Any], message: str) -> None:
    layer = plain(1, 2, 2, 3)
    with pytest.raises(ValueError, match=message):
        certify_projected(run(layer)[0], **(layer.arguments | options))
