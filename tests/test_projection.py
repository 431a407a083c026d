"""Does every step follow from the one before, as far as a random sum of all units can tell?"""

from typing import Any

import numpy as np
import pytest

from rnn_check import certificate
from rnn_check.certificate import certify
from rnn_check.projection import certify_projected
from rnn_check.reference import Array
from tests.layers import Layer, random_layer
from tests.test_certificate import (
    changed,
    loop,
    masked,
    plain,
    quietly,
    run,
    to_bfloat16,
    to_tf32,
)

WIDE = (2, 16, 512, 512)


@pytest.fixture(scope="module")
def wide() -> tuple[Layer, Array]:
    layer = plain(*WIDE)
    return layer, run(layer)[0]


@pytest.mark.parametrize("activation", ["tanh", "linear"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_random_layers_are_certified(activation: str, dtype: Any) -> None:
    """Masks, initial states, reversed time, all scales; several draws of the signs."""
    for seed in range(120):
        layer = random_layer(seed, dtype, activation=activation)
        states, _ = quietly(run, layer, together=seed % 2 == 0)
        found = certify_projected(states, **layer.arguments, projections=1 + seed % 3, seed=seed)
        assert found.ratio <= 1, f"random_layer({seed}): {found.reason}"
        assert found.ok or found.judged == 0, f"random_layer({seed}): {found.reason}"


@pytest.mark.parametrize("projections", [1, 3])
def test_a_projection_is_that_of_the_error(projections: int) -> None:
    """observed - expected = e·r for each step, e from z in float64, r the signs."""
    layer = plain(3, 5, 4, 7, np.float64)
    states = np.tanh(np.random.default_rng(0).normal(size=(3, 5, 7)))  # any
    found = certify_projected(states, **layer.arguments, projections=projections, seed=5)
    r = np.random.default_rng(5).choice([-1.0, 1.0], size=(projections, 7))
    before = np.concatenate([np.zeros((3, 1, 7)), states[:, :-1]], axis=1)
    z = layer.x @ layer.kernel + before @ layer.recurrent_kernel + layer.bias
    e = (np.arctanh(states) - z) @ r.T
    assert found.observed.shape == (3, 5, projections)
    # both ways are sums of fewer than 2^6 terms, each below 2^4, in float64
    assert (np.abs(found.observed - found.expected - e) <= 2.0**6 * 2**4 * 2**6 * 2.0**-53).all()


@pytest.mark.parametrize(("narrow", "seen"), [(to_tf32, "TF32"), (to_bfloat16, "bfloat16")])
@pytest.mark.parametrize("size", [(4, 200, 512, 512), (4, 40, 30, 60), (4, 300, 128, 256)])
def test_narrow_factors_show_in_the_bits(
    narrow: Any, seen: str, size: tuple[int, int, int, int]
) -> None:
    layer = plain(*size)
    W, U = narrow(layer.kernel), narrow(layer.recurrent_kernel)
    states = loop(
        layer, lambda t, h, z: np.tanh(narrow(layer.x[:, t]) @ W + narrow(h[-1]) @ U + layer.bias)
    )
    found = certify_projected(states, **layer.arguments)
    assert not found.ok and found.consistent_with == seen


@pytest.mark.parametrize("seed", range(5))
def test_one_wrong_unit_is_caught_whatever_the_signs(wide: tuple[Layer, Array], seed: int) -> None:
    layer, _ = wide
    bias = layer.bias.copy()
    bias[17] += np.float32(0.5)
    found = certify_projected(run(changed(layer, bias=bias))[0], **layer.arguments, seed=seed)
    assert not found.ok


def test_two_exchanged_units_escape_half_of_the_projections(wide: tuple[Layer, Array]) -> None:
    """The signs of unit 3 and 4 are equal in half of the draws: then both errors cancel."""
    layer, _ = wide
    units = np.arange(512)
    units[[3, 4]] = 4, 3
    states, _ = run(changed(layer, kernel=layer.kernel[:, units]))
    for seed in range(20):
        signs = np.random.default_rng(seed).choice([-1.0, 1.0], size=(1, 512))[0]
        found = certify_projected(states, **layer.arguments, seed=seed)
        assert found.ok == (signs[3] == signs[4])
    assert not certify_projected(states, **layer.arguments, projections=20).ok


@pytest.mark.parametrize("seed", range(5))
def test_one_wrong_step_is_caught_and_named(wide: tuple[Layer, Array], seed: int) -> None:
    layer, states = wide
    wrong = states.copy()
    wrong[1, 9] = wrong[1, 8]  # a step left out: e is large in all units
    found = certify_projected(wrong, **layer.arguments, projections=4, seed=seed)
    assert found.ratio > 1 and found.where[:2] in ((1, 9), (1, 10))


def test_layers_with_other_operands_are_caught() -> None:
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
    assert not certify_projected(states, **changed(layer, mask=None).arguments).ok
    copied = states.copy()
    copied[0, 4, 1] = np.nextafter(copied[0, 4, 1], np.float32(2))
    found = certify_projected(copied, **layer.arguments)
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


def test_a_saturated_step_has_no_bound() -> None:
    layer = changed(plain(1, 4, 2, 5), x=np.full((1, 4, 2), 1e3, np.float32))
    states, _ = run(layer)
    found = certify_projected(states, **layer.arguments)
    assert not found.ok and found.judged == 0 and "saturated" in found.reason
    assert certify(states, **layer.arguments).ok


@pytest.mark.parametrize("block", [1, 300])
def test_blocks_change_nothing(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    layer = masked([[1, 0, 1, 1, 0, 0], [1, 1, 1, 1, 0, 1]])
    states, _ = run(layer)
    whole = certify_projected(states, **layer.arguments)
    monkeypatch.setattr(certificate, "_BLOCK", block)
    found = certify_projected(states, **layer.arguments)
    # the sums of 3 units, in float32: 2^-20 is more than their rounding
    assert (
        np.abs(found.observed - whole.observed) <= 2.0**-20 * (1 + np.abs(whole.observed))
    ).all()
    assert found.ok and found.judged == whole.judged


@pytest.mark.parametrize(
    ("options", "message"),
    [({"activation": "relu"}, "'relu'.*linear and tanh"), ({"projections": 0}, "projections is 0")],
)
def test_what_cannot_be_projected_is_said(options: dict[str, Any], message: str) -> None:
    layer = plain(1, 2, 2, 3)
    with pytest.raises(ValueError, match=message):
        certify_projected(run(layer)[0], **(layer.arguments | options))
