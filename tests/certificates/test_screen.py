"""Does the screen in float32 let nothing pass that is beyond its bound?"""

import math
from typing import Any

import numpy as np
import pytest

from rnn_check import certify
from rnn_check.certificates import pieces, screen, steps
from rnn_check.certificates.factors import Room
from rnn_check.certificates.layer import Layer as Read
from rnn_check.certificates.narrow import Narrow
from rnn_check.certificates.operands import FORMATS, narrowed
from rnn_check.certificates.sampled import Everywhere
from rnn_check.numbers.formats import Array, gamma
from tests.certificates.test_certificate import changed, plain, run
from tests.support.layers import Layer
from tests.support.sampling import thinned

TF32 = next(form for form in FORMATS if form.name == "TF32")
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


def apart(K: int, bits: float) -> float:
    """By how much the bits of the same errors may differ, of sums of K terms added up in float64 in
    another order: each is off by γ_K Σ|terms| <= γ_K √K m on either side, and is 2^-bits of m."""
    return 2 * float(gamma(K, 2.0**-53)) * K**0.5 * 2.0**bits / math.log(2)


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
    assert (found.judged, found.blind) == (without.judged, without.blind)
    assert found.bits is not None and without.bits is not None
    assert abs(found.bits - without.bits) <= apart(sum(size[2:]) + 1, found.bits)
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


@thinned(2)
@pytest.mark.parametrize("of", ["x", "kernel", "states", "recurrent_kernel"])
def test_operands_are_seen_to_be_cut_by_float32_as_by_float64(
    of: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However small the part is that they have in the sums: what float64 finds, float32 notices."""
    layer, hidden, rng = plain(8, 16, 80, 60), 0, np.random.default_rng(2)
    bias, h0 = rng.uniform(0.5, 1, 60), rng.uniform(-1, 1, (8, 60))  # all sums are of one size
    layer = changed(layer, bias=bias.astype(np.float32), initial_state=h0.astype(np.float32))

    def cut(name: str, array: Array) -> Array:
        found = narrowed(array.astype(np.float64), TF32, "truncated") if name == of else array
        return found.astype(np.float32)

    small = "kernel" if of in ("x", "kernel") else "recurrent_kernel"
    for scale in (2.0**-7, 2.0**-9):
        some = changed(layer, **{small: (scale * getattr(layer, small)).astype(np.float32)})
        h, states = some.initial_state, list[Array]()
        for t in range(16):
            z = cut("x", some.x[:, t]) @ cut("kernel", some.kernel) + some.bias
            h = np.tanh(z + cut("states", h) @ cut("recurrent_kernel", some.recurrent_kernel))
            states.append(h)
        found = certify(np.stack(states, 1), **some.arguments)
        with monkeypatch.context() as context:
            context.setattr(Everywhere, "look_rounded", lambda _: False)
            whole = certify(np.stack(states, 1), **some.arguments)
        assert (found.ok, found.reason, found.bits) == (whole.ok, whole.reason, whole.bits)
        hidden += whole.ok is False and whole.ratio <= 1
    assert hidden


def test_the_precision_is_told_when_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    layer, asked = plain(8, 40, 5, 28), list[int]()
    states, _ = run(layer)
    errors = Everywhere.errors

    def counted(of: Everywhere) -> Any:
        asked.append(1)
        return errors(of)

    monkeypatch.setattr(Everywhere, "errors", counted)
    found = certify(states, **layer.arguments)
    assert found.ok and not asked
    assert found.bits is not None and found.consistent_with == "float32" and len(asked) == 1


def test_a_verdict_that_is_asked_for_the_whole_looks_at_all() -> None:
    layer = plain(8, 40, 5, 28)
    states, _ = run(layer)
    read = Read(states, **layer.arguments)
    made = steps.certified(read)._pieces(pieces._Worst(ratio=-np.inf))
    assert sum(piece.expected.size for piece in made) == states.size
