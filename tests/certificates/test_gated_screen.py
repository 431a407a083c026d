"""Do the screens of gates in float32 let nothing pass that is beyond its bound?"""

from typing import Any

import numpy as np
import pytest

from rnn_check import certify
from rnn_check.certificates import gated_arguments, gated_screen, lstm_screen, seen_screen
from rnn_check.certificates.factors import Room
from rnn_check.certificates.gated_arguments import U
from rnn_check.certificates.gated_layer import GatedLayer
from rnn_check.certificates.gated_screen import GruScreen
from rnn_check.certificates.lstm_screen import ORDER, LstmScreen
from rnn_check.certificates.result import Certificate
from rnn_check.certificates.seen_screen import SeenScreen
from rnn_check.numbers.formats import Array
from rnn_check.recurrences.kinds import GRU, GRU_BEFORE, LSTM, Recurrence
from tests.certificates.test_certify_gated import Layer, each_recurrence
from tests.certificates.test_screen import apart
from tests.support.sampling import sampled
from tools import screened

SIZES = [(8, 40, 5, 28), (5, 30, 40, 64)]
each_size = pytest.mark.parametrize("size", SIZES)


def read(layer: Layer, states: Array) -> GatedLayer:
    asked = {k: v for k, v in layer.asked.items() if k not in ("recurrence", "reset_after")}
    return GatedLayer(layer.r, "sigmoid", None, states, **asked)


def even(r: Recurrence, size: tuple[int, int, int, int]) -> Layer:
    """A layer whose sums are of nearly one size, so that no bound is much above the least."""
    layer, rng = Layer(r, size), np.random.default_rng(1)

    def alike(array: Array, scale: float) -> Array:
        off = scale * (1 + 1e-3 * rng.uniform(size=array.shape))
        return (off * rng.choice([-1, 1], array.shape)).astype(np.float32)

    layer.x = alike(layer.x, 1.0)
    (F, H), w = layer.weights["kernel"].shape, layer.weights
    H //= len(r.gates)
    layer.weights = {
        "kernel": alike(w["kernel"], F**-0.5), "recurrent_kernel": alike(w["recurrent_kernel"],
        0.1 / H**0.5), "bias": alike(w["bias"], 0.01),
    }  # fmt: skip
    layer.start = tuple(0 * part for part in layer.start)
    return layer


def in_full(layer: Layer, states: Array) -> Certificate:
    return screened.certified_in_full(states, layer.asked)


def beyond(layer: Layer, states: Array, by: float, n: int) -> tuple[Array, Array]:
    """Single states of the first n samples off by so much of their bounds; all that are beyond."""
    (_, T, H), rng = states.shape, np.random.default_rng(0)
    whole, wrong = in_full(layer, states), states.copy()
    for b in range(n):
        at = b, int(rng.integers(T)) * (b % 2), int(rng.integers(H))
        wrong[at] = whole.expected[at] + rng.choice([-by, by]) * whole.bound[at]
    found = in_full(layer, wrong)
    return wrong, np.flatnonzero(found.residual.reshape(-1) > found.bound.reshape(-1))


class Worst:
    """NumPy, whose tanh and exp are off by as much as they may be, and what they are given."""

    def __init__(self, tanh: list[tuple[Array, Array]], exp: Array) -> None:
        """tanh: of each call what is added to its argument, and to its value in units of u."""
        self.off, self.exponent = iter(tanh), exp

    def __getattr__(self, name: str) -> Any:
        return getattr(np, name)

    def tanh(self, z: Array, out: Array | None = None) -> Array:
        found = next(self.off, None) if out is not None else None
        if found is not None and out is not None:
            argument, value = found
            out[:] = np.tanh(z.astype(np.float64) + argument) * (1 + value * U)
            return out
        return np.asarray(np.tanh(z, out=out))

    def exp(self, z: Array, out: Array) -> None:
        out[:] = np.exp(z.astype(np.float64) + self.exponent)


NEARLY = 1 - 2.0**-10


@each_size
@pytest.mark.parametrize("r", [GRU, GRU_BEFORE], ids=["after", "before"])
@pytest.mark.parametrize("started", [False, True, None])
def test_a_state_of_a_gru_beyond_its_bound_is_a_suspect_however_bad_float32_is(
    r: Recurrence,
    size: tuple[int, int, int, int],
    started: bool | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """z, the candidate's sum and tanh are off by as much as they may be, to where it is."""
    layer = even(r, size) if started is None else Layer(r, size)
    if not started:
        layer.start = (np.zeros_like(layer.start[0]),)
    (B, T, F, H), R = size, size[0] * size[1]
    wrong, at = beyond(layer, layer.run().states["h"], 1.001, B)
    assert len(at) >= B // 2
    of = read(layer, wrong)
    screen = GruScreen.of(of)
    assert screen is not None
    _, step = of.step(slice(0, B), slice(0, T), {})
    h = of.rows(np.arange(R))[:, F:]
    to = np.where(np.isin(np.arange(R * H), at).reshape(R, H), NEARLY, 0.0)
    to *= np.sign(wrong.reshape(R, H) - step.h.value)

    def size_of(argument: gated_arguments.Argument, *rows: Array) -> Array:
        several = len(argument.factor.matrix) - sum(part.shape[1] for part in rows)
        every = np.concatenate([*rows, np.ones((R, several))], axis=1)
        return np.asarray(argument.factor.sizes(every, Room(), None)[0])

    x = of.rows(np.arange(R))[:, :F]
    of_c = size_of(screen.c, x) if r is GRU else size_of(screen.c, x, step.inner.value)
    of_z = size_of(screen.z, x, h)[:, :H]
    exp = np.zeros((2, R, H))
    exp[0] = -to * np.sign(h - step.c.value) * screen.z.own * of_z  # of -s
    tanh = to * screen.c.own * of_c, to * 8 * np.sign(step.c.value)
    screen.rows = R
    monkeypatch.setattr(gated_screen, "np", Worst([tanh], exp))
    found = screen.suspects(slice(0, B), slice(0, T))
    assert found is not None and set(at) <= set(found.at)


@each_size
@pytest.mark.parametrize("is_even", [False, True])
def test_an_lstm_s_unit_beyond_its_bound_is_not_settled_however_bad_float32_is(
    size: tuple[int, int, int, int], is_even: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All gates, and tanh(c), are off by as much as they may be, to where the wrong state is."""
    layer = even(LSTM, size) if is_even else Layer(LSTM, size)
    (B, T, _, H), R = size, size[0] * size[1]
    run = layer.run()
    wrong, at = beyond(layer, run.states["h"], 1.001, B // 2)
    of = read(layer, wrong)
    screen = LstmScreen.of(of)
    assert screen is not None
    c = run.states["c"].astype(np.float64)
    before = np.concatenate([layer.start[1][:, None], c[:, :-1]], axis=1).reshape(R, H)
    rows = of.rows(np.arange(R))
    s = np.split(rows @ np.concatenate([of.W, of.U]) + of.bias, 4, axis=1)
    to = np.where(np.isin(np.arange(R * H), at).reshape(R, H), NEARLY, 0.0)
    to *= np.sign(wrong - in_full(layer, wrong).expected).reshape(R, H)
    off = to * screen.args[0].own
    sizes = np.split(screen.args[0].factor.sizes(rows, Room(), None)[0], 4, axis=1)
    exp = np.zeros((3, R, H))
    t = np.tanh(c).reshape(R, H)
    for k, sign in ((0, np.sign(s[2])), (1, np.sign(before)), (2, np.sign(t))):
        exp[k] = -off * sign * sizes[ORDER[k]]
    tanh = [(off * sizes[2], to * 8 * np.sign(s[2])), (0 * to, to * 8 * np.sign(t))]
    monkeypatch.setattr(lstm_screen, "np", Worst(tanh, exp))
    monkeypatch.setattr(gated_screen, "np", Worst([], exp))
    (found,) = screen.settled()
    assert len(at) >= 2
    for k in at:
        units = found.units[k // (T * H)]
        assert units is None or k % H in units
    assert all(units is not None and not len(units) for units in found.units[B // 2 :])


@each_size
@pytest.mark.parametrize("is_even", [False, True])
@pytest.mark.parametrize("wrong_state", ["h", "c"])
def test_a_seen_state_beyond_its_bound_is_a_suspect_however_bad_float32_is(
    size: tuple[int, int, int, int], is_even: bool, wrong_state: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """All gates, and tanh(c), are off by as much as they may be, to where the wrong state is."""
    layer, rng = even(LSTM, size) if is_even else Layer(LSTM, size), np.random.default_rng(0)
    (B, T, _, H), R = size, size[0] * size[1]
    shown = {name: part.copy() for name, part in layer.run().states.items()}
    which = ["h", "c"].index(wrong_state)

    def whole() -> Certificate:
        return screened.certified_in_full(shown["h"], layer.asked | {"cell_states": shown["c"]})

    right = whole()
    for b in range(B):
        at = b, int(rng.integers(T)) * (b % 2), int(rng.integers(H))
        off = rng.choice([-1.001, 1.001]) * right.bound[which][at]
        shown[wrong_state][at] = right.expected[which][at] + off
    found = whole()
    beyond = np.flatnonzero((found.residual > found.bound)[which].reshape(-1))
    assert len(beyond) >= B // 2
    asked = {k: v for k, v in layer.asked.items() if k not in ("recurrence", "reset_after")}
    of = GatedLayer(LSTM, "sigmoid", shown["c"], shown["h"], **asked)
    screen = SeenScreen.of(of)
    assert screen is not None
    c = shown["c"].astype(np.float64)
    before = np.concatenate([layer.start[1][:, None], c[:, :-1]], axis=1).reshape(R, H)
    rows = of.rows(np.arange(R))
    s = np.split(rows @ np.concatenate([of.W, of.U]) + of.bias, 4, axis=1)
    to = np.where(np.isin(np.arange(R * H), beyond).reshape(R, H), NEARLY, 0.0)
    to *= np.sign(shown[wrong_state] - found.expected[which]).reshape(R, H)
    off = to * screen.args[0].own
    sizes = np.split(screen.args[0].factor.sizes(rows, Room(), None)[0], 4, axis=1)
    exp, t = np.zeros((3, R, H)), np.tanh(c).reshape(R, H)
    for k, sign in ((0, np.sign(s[2])), (1, np.sign(before)), (2, np.sign(t))):
        exp[k] = -off * sign * sizes[ORDER[k]]
    monkeypatch.setattr(lstm_screen, "np", Worst([(off * sizes[2], to * 8 * np.sign(s[2]))], exp))
    monkeypatch.setattr(seen_screen, "np", Worst([(0 * to, to * 8 * np.sign(t))], exp))
    monkeypatch.setattr(gated_screen, "np", Worst([], exp))
    monkeypatch.setattr(seen_screen, "_FEW", 1)
    suspects = screen.suspects(slice(0, B), slice(0, T))
    assert suspects is not None
    those = suspects.at if wrong_state == "h" else suspects.at_c
    assert those is not None and set(beyond) <= set(those)


def assert_alike(found: Certificate, whole: Certificate, K: int) -> None:
    """But for the order of sums of K terms in float64, whose rounding is 2^-29 of float32's."""
    if found.bits is None or whole.bits is None:  # of cell states that are hidden
        assert found.bits is whole.bits
    else:
        assert abs(found.bits - whole.bits) <= apart(K, found.bits)
    assert abs(found.ratio - whole.ratio) <= 2 * 2.0**-29 + 2.0**-38 * whole.ratio
    assert found.where == whole.where


@each_size
def test_of_seen_cell_states_all_is_said_that_is_said_in_full(
    size: tuple[int, int, int, int],
) -> None:
    """Also how many bounds of c are blind, which are counted when somebody asks."""
    layer = Layer(LSTM, size)
    states = layer.run().states
    asked = layer.asked | {"cell_states": states["c"]}
    found, whole = certify(states["h"], **asked), screened.certified_in_full(states["h"], asked)
    assert found.ok and found.largest.search is not None
    assert (found.reason, found.judged, found.blind) == (whole.reason, whole.judged, whole.blind)
    assert 0 < found.blind < 0.1
    assert_alike(found, whole, sum(size[2:]) + 2)


@each_recurrence
@each_size
def test_honest_states_are_settled_and_all_that_is_said_is_what_is_said_in_full(
    r: Recurrence, size: tuple[int, int, int, int]
) -> None:
    layer = Layer(r, size)
    h = layer.run().states["h"]
    found, whole = certify(h, **layer.asked), in_full(layer, h)
    assert found.ok and found.largest.search is not None and "≤ 1" in repr(found)
    assert (found.judged, found.blind, found.reason) == (whole.judged, whole.blind, whole.reason)
    assert_alike(found, whole, sum(size[2:]) + 2)
    assert (found.ratio, found.where) == (whole.largest.ratio, whole.largest.where)


@pytest.mark.parametrize("seed", sampled(range(6), 6))
def test_what_is_not_looked_at_of_gates_would_change_nothing(seed: int) -> None:
    rng, many = np.random.default_rng(seed), screened.gated_layers(seed + 2000)
    for _ in range(6):
        kind, given = next(many)
        for problem in screened.attack_gates(given, rng, 2):
            assert not problem, f"{kind}: {problem}"


@each_recurrence
def test_many_blocks_and_tiles_are_the_whole(
    r: Recurrence, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where what is known of c goes on into the next tile, and one of them is not settled."""
    layer = Layer(r, (3, 300, 5, 8))
    layer.start = tuple(0 * part for part in layer.start)
    h = layer.run().states["h"]
    wrong, at = beyond(layer, h, 1.05, 1)
    monkeypatch.setattr(lstm_screen, "_TILE", 2**9)
    monkeypatch.setattr("rnn_check.certificates.layer._BLOCK", 2**13)
    settled = []
    tile = LstmScreen._tile if r is LSTM else GruScreen._tile

    def counted(*args: Any) -> Any:
        settled.append(tile(*args))
        return settled[-1]

    monkeypatch.setattr(LstmScreen if r is LSTM else GruScreen, "_tile", counted)
    assert certify(h, **layer.asked).ok and len(settled) > 2
    assert all(each is not None for each in settled)
    found = certify(wrong, **layer.asked)
    assert found.ok is False and found.wrong == len(at)
    assert np.ravel_multi_index(found.where, h.shape) in at


@each_recurrence
@pytest.mark.parametrize("spoiled", [np.nan, np.inf])
def test_what_is_no_number_is_left_to_the_certificate_of_gates_in_full(
    r: Recurrence, spoiled: float
) -> None:
    layer = Layer(r, SIZES[0])
    h = layer.run().states["h"]
    layer.x[3, 7, 2] = spoiled
    for wrong in (False, True):
        if wrong:
            h[2, 5, 3] = spoiled
        found, whole = certify(h, **layer.asked), in_full(layer, h)
        assert (found.ok, found.wrong, found.reason) == (whole.ok, whole.wrong, whole.reason)
        assert found.ok is False or not wrong


@each_recurrence
def test_no_samples_are_nothing_to_judge(r: Recurrence) -> None:
    layer = Layer(r, (0, 3, 5, 6))
    assert certify(layer.run().states["h"], **layer.asked).ok is None


@each_recurrence
def test_sums_that_need_no_rounding_are_not_screened(r: Recurrence) -> None:
    """Of a bound that is that of the gates alone float32 knows nothing."""
    layer = Layer(r, (1500, 1, 5, 8))
    for name, part in layer.weights.items():
        layer.weights[name] = np.round(part * 4) / 4
    layer.x, layer.start = np.round(layer.x), tuple(np.round(s) for s in layer.start)
    h = layer.run().states["h"]
    assert certify(h, **layer.asked).largest.search is None
