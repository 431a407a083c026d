"""Does the screen in float32 let nothing pass that is beyond its bound?"""

from typing import Any

import numpy as np
import pytest

from rnn_check import certify
from rnn_check.certificates import pieces, screen, steps
from rnn_check.certificates.factors import Room
from rnn_check.certificates.layer import Layer as Read
from rnn_check.certificates.narrow import Narrow
from rnn_check.numbers.formats import Array
from tests.certificates.test_certificate import changed, plain, run
from tests.support.layers import Layer

SIZES = [(8, 40, 5, 28), (5, 30, 40, 64), (40, 3, 30, 60)]


def screened(layer: Layer, states: Array) -> tuple[Read, screen.Screen]:
    read = Read(states, **layer.arguments)
    found = screen.Screen.of(read, Narrow(read.forward, 3))
    assert found is not None
    return read, found


def beyond(layer: Layer, states: Array, by: float) -> tuple[Array, Array]:
    """A few states, no two of them one after the other, off by so much of their bounds; which."""
    (B, T, H), rng = states.shape, np.random.default_rng(0)
    whole, wrong = certify(states, **layer.arguments), states.copy()
    n = states.size // 2**9
    b, j, sign = rng.integers(0, B, n), rng.integers(0, H, n), rng.choice([-1.0, 1.0], n)
    t = 2 * rng.integers(0, (T + 1) // 2, n)
    wrong[b, t, j] = whole.expected[b, t, j] + sign * by * whole.bound[b, t, j]
    found = certify(wrong, **layer.arguments)
    return wrong, np.flatnonzero(found.residual.reshape(-1) > found.bound.reshape(-1))


@pytest.mark.parametrize("started", [False, True])
@pytest.mark.parametrize("size", SIZES)
def test_what_is_beyond_its_bound_is_a_suspect_however_bad_float32_is(
    size: tuple[int, int, int, int], started: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its sums are off by as much as they may be, to where the wrong states are."""
    layer = plain(*size)
    if started:
        h0 = np.random.default_rng(1).uniform(-1, 1, (size[0], size[3])).astype(np.float32)
        layer = changed(layer, initial_state=h0)
    wrong, at = beyond(layer, run(layer)[0], 1.001)
    assert len(at) >= 4
    read, of = screened(layer, wrong)
    R, H = size[0] * size[1], size[3]
    rows = read.rows(np.arange(R))
    sizes = read.forward.sizes(rows, Room(), None)[0]
    true = np.tanh(rows @ read.forward.matrix + read.bias)
    hide = of.off[1] * sizes * np.sign(wrong.reshape(R, H) - true) * (1 - 2.0**-10)
    hide[~np.isin(np.arange(R * H), at).reshape(R, H)] = 0

    class Worst:
        def __getattr__(self, name: str) -> Any:
            return getattr(np, name)

        def tanh(self, z: Array, out: Array) -> None:
            out[:] = np.tanh(z + hide)

    of.rows = R
    monkeypatch.setattr(screen, "_FEW", 1)  # the steps after wrong ones are suspects as well
    monkeypatch.setattr(screen, "np", Worst())
    found = of.suspects(slice(0, size[0]), slice(0, size[1]), 1.0)
    assert found is not None and set(at) <= set(found.at)


@pytest.mark.parametrize("size", SIZES)
def test_honest_states_are_settled_and_their_ratio_is_searched_when_it_is_asked_for(
    size: tuple[int, int, int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    layer = plain(*size)
    states, _ = run(layer)
    found = certify(states, **layer.arguments)
    assert found.ok and found.largest.search is not None and "≤ 1" in repr(found)
    with monkeypatch.context() as context:
        context.setattr(screen.Screen, "of", lambda *_: None)
        without = certify(states, **layer.arguments)
    assert (found.judged, found.blind, found.bits) == (without.judged, without.blind, without.bits)
    ratios = found.residual / found.bound
    # up to the order of sums in float64, whose rounding is 2^-29 of what float32's may be
    assert abs(found.ratio - ratios.max()) <= 2 * 2.0**-29 + 2.0**-38 * ratios.max()
    assert ratios[found.where] == ratios.max()
    assert "≤" not in repr(found.largest.found())


def test_a_fault_is_named_by_the_largest_ratio_at_once() -> None:
    layer = plain(8, 40, 5, 28)
    wrong, at = beyond(layer, run(layer)[0], 1.05)
    found = certify(wrong, **layer.arguments)
    assert found.ok is False and found.largest.search is None and found.wrong == len(at)
    assert np.ravel_multi_index(found.where, wrong.shape) in at


def test_states_at_an_end_are_counted_once() -> None:
    layer = plain(8, 40, 5, 28)
    layer = changed(layer, bias=np.where(np.arange(28) < 8, 90, layer.bias).astype(np.float32))
    states, _ = run(layer)
    n = int((np.abs(states) == 1).sum())
    assert n >= 8 * 40 * 8
    found = certify(states, **layer.arguments)
    assert found.ok and f"{n} of {states.size} are at an end" in found.reason


@pytest.mark.parametrize("spoiled", [np.nan, np.inf])
def test_what_is_no_number_is_left_to_the_certificate_in_full(spoiled: float) -> None:
    layer = plain(8, 40, 5, 28)
    states, _ = run(layer)
    x = layer.x.copy()
    x[3, 7, 2] = spoiled
    assert screened(changed(layer, x=x), states)[1].suspects(slice(0, 8), slice(0, 40), 1) is None
    wrong = states.copy()
    wrong[2, 5, 3] = spoiled
    found = certify(wrong, **layer.arguments)
    assert found.ok is False and found.where == (2, 5, 3)


def test_a_verdict_that_is_asked_for_the_whole_looks_at_all() -> None:
    layer = plain(8, 40, 5, 28)
    states, _ = run(layer)
    read = Read(states, **layer.arguments)
    made = steps.certified(read)._pieces(pieces._Worst(ratio=-np.inf))
    assert sum(piece.expected.size for piece in made) == states.size
