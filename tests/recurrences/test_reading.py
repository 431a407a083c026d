"""Is one definition of a step the reference, its bounds and its gradients?

The readings are held against what is not themselves: the loop that is run and its running bounds,
complex steps of many digits, the equations in many digits, and honest executions in float32. How
far float64 itself may be off is what the readings say of it: `Bounds("float64")` of one execution,
`Bounds("exact")` of the reference beside numbers that nothing rounds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import mpmath
import numpy as np
import pytest

from rnn_check.numbers.bounded import Bounded
from rnn_check.numbers.formats import Array
from rnn_check.numbers.reading import Bounds, Numbers, Tape
from rnn_check.recurrences import gated, gru, lstm, over_time, running, simple
from rnn_check.recurrences.kinds import SIMPLE

B, T, F, H = 3, 12, 5, 6
FLOAT32 = 2.0**-24  # a bound of float64 that were larger than one such rounding would see little


@dataclass(frozen=True)
class Cell:
    step: Callable[..., Any]
    weights: Any
    shapes: tuple[tuple[int, ...], ...]
    states: int = 1


CELLS = {
    "simple": Cell(simple.step, simple.Weights, ((F, H), (H, H), (H,))),
    "gru": Cell(
        gru.step, gru.Weights, ((F, 2 * H), (H, 2 * H), (2, 2 * H), (F, H), (H, H), (H,), (H,))
    ),
    "gru, reset before": Cell(
        gru.step_before,
        lambda *w: gru.Weights(*w, recurrent_candidate_bias=None),
        ((F, 2 * H), (H, 2 * H), (2 * H,), (F, H), (H, H), (H,)),
    ),
    "lstm": Cell(lstm.step, lstm.Weights, ((F, 4 * H), (H, 4 * H), (4 * H,)), states=2),
}
Drawn = tuple[Any, list[Array], list[Array]]


def drawn(cell: Cell, seed: int = 0, scale: float = 1.0) -> Drawn:
    """Weights, T inputs (B,F) and the initial states (B,H), of float32."""
    rng = np.random.default_rng(seed)
    weights = [scale * rng.normal(size=s) / (s[0] ** 0.5 if s[1:] else 1) for s in cell.shapes]
    x, states = rng.normal(size=(T, B, F)), rng.normal(size=(cell.states, B, H))
    return (
        cell.weights(*(w.astype(np.float32) for w in weights)),
        list(x.astype(np.float32)),
        list(states.astype(np.float32)),
    )


def given(w: Any) -> list[Any]:
    """The weights that there are."""
    return [part for part in w if part is not None]


def ran(n: Any, cell: Cell, w: Any, x: Sequence[Any], start: Sequence[Any]) -> list[Any]:
    """The states after each step."""
    found, states = [], tuple(start)
    for x_t in x:
        states = cell.step(n, w, x_t, *states)[: cell.states]
        found.append(states)
    return found


def bounded(n: Bounds, cell: Cell, w: Any, x: list[Array], start: list[Array]) -> list[Any]:
    exactly = n.exactly
    return ran(n, cell, cell.weights(*map(exactly, given(w))), list(map(exactly, x)), [
        exactly(s) for s in start
    ])  # fmt: skip


def worst(got: Array, wanted: Bounded) -> float:
    off = np.abs(got - wanted.value)
    return float(np.where(off == 0, 0.0, off / wanted.error).max())


class ManyDigits(Numbers):
    """Arrays of mpmath's numbers, of as many digits as are asked of it."""

    def act(self, z: Array, name: str = "") -> Array:
        return np.asarray(np.frompyfunc(mpmath.tanh, 1, 1)(z))

    def gate(self, z: Array, name: str = "") -> Array:
        return np.asarray(np.frompyfunc(lambda v: 1 / (1 + mpmath.exp(-v)), 1, 1)(z))


def in_many_digits(array: Array) -> Array:
    return np.asarray(np.frompyfunc(mpmath.mpf, 1, 1)(array.astype(np.float64)))


# -- against the loop that is run ------------------------------------------------------------------


def arguments(w: Any, x: list[Array], h0: Any) -> dict[str, Any]:
    named = w._asdict()
    return {"x": np.stack(x, 1), **named, "initial_state": h0}


def test_the_loop_that_is_run_is_the_textbook() -> None:
    """Both are executions in float64, and so within its bounds."""
    cell = CELLS["simple"]
    w, x, (h0,) = drawn(cell)
    c = np.random.default_rng(1).normal(size=(T, B, H)).astype(np.float32)
    wide = simple.Weights(*(part.astype(np.float64) for part in w))
    told = arguments(wide, list(np.stack(x).astype(np.float64)), h0.astype(np.float64))
    run = gated.forward(SIMPLE, **told | {"initial_state": (told["initial_state"],)})
    textbook = gated.backward({"h": c.swapaxes(0, 1)}, run)._asdict()
    textbook["initial_state"] = textbook["initial_state"][0]
    states, cache = over_time.forward(**told)
    found = over_time.backward(c.swapaxes(0, 1), cache)._asdict()
    bounds = bounded(Bounds("float64"), cell, w, x, [h0])
    for t, (state,) in enumerate(bounds):
        assert worst(run.states["h"][:, t], state) <= 1
        assert worst(states[:, t], state) <= 1
        assert (state.error < FLOAT32 * state.size).all()
    gradients, (begin,), inputs = taped(cell, w, x, [h0], c, "float64")
    named = dict(zip(w._fields, gradients, strict=True)) | {"initial_state": begin.gradient}
    for name, gradient in named.items():
        assert worst(textbook[name], gradient) <= 1
        assert worst(found[name], gradient) <= 1
        assert (gradient.error < FLOAT32 * gradient.size).all()
    for t, node in enumerate(inputs):
        assert worst(textbook["x"][:, t], node.gradient) <= 1
        assert worst(found["x"][:, t], node.gradient) <= 1


def test_bounds_along_a_sequence_are_the_running_bounds() -> None:
    cell = CELLS["simple"]
    w, x, (h0,) = drawn(cell)
    known, error = running.Running(SIMPLE, **arguments(w, x, (h0,))).states["h"]
    found = bounded(Bounds("float32"), cell, w, x, [h0])
    np.testing.assert_array_equal(np.stack([s[0].value for s in found], 1), known)
    np.testing.assert_array_equal(np.stack([s[0].error for s in found], 1), error)


def taped(
    cell: Cell, w: Any, x: list[Array], start: list[Array], c: Array, dtype: str = "float32"
) -> Any:
    """(gradients of the weights, the tape's start, its inputs)."""
    tape = Tape(dtype)
    leaves = cell.weights(*(tape.leaf(tape.n.exactly(part)) for part in given(w)))
    begin = [tape.leaf(tape.n.exactly(s)) for s in start]
    inputs = [tape.leaf(tape.n.exactly(v)) for v in x]
    for states, c_t in zip(ran(tape, cell, leaves, inputs, begin), c, strict=True):
        states[0].receive(tape.n.exactly(c_t))
    tape.backward()
    return [tape.gradient(leaf) for leaf in given(leaves)], begin, inputs


def test_gradients_over_the_tape_are_those_of_the_running_analysis() -> None:
    cell = CELLS["simple"]
    w, x, (h0,) = drawn(cell)
    c = np.random.default_rng(2).normal(size=(T, B, H)).astype(np.float32)
    ran_over = running.Running(SIMPLE, **arguments(w, x, (h0,)))
    value, bound = ran_over.gradients({"h": c.swapaxes(0, 1)})
    found, (start,), inputs = taped(cell, w, x, [h0], c)
    gradients = dict(zip(w._fields, found, strict=True)) | {"initial_state": start.gradient}
    for gradient, (each, error) in (
        *((g, (getattr(value, name), getattr(bound, name))) for name, g in gradients.items()),
        *((node.gradient, (value.x[:, t], bound.x[:, t])) for t, node in enumerate(inputs)),
    ):
        np.testing.assert_array_equal(gradient.value, np.reshape(each, gradient.value.shape))
        np.testing.assert_array_equal(gradient.error, np.reshape(error, gradient.error.shape))


# -- against executions, complex steps and many digits ---------------------------------------------


@pytest.mark.parametrize("scale", [0.1, 1.0, 4.0])
@pytest.mark.parametrize("name", CELLS)
def test_an_honest_execution_is_within_both_bounds(name: str, scale: float) -> None:
    cell = CELLS[name]
    w, x, start = drawn(cell, 3, scale)
    n = Bounds("float32")
    honest = ran(Numbers(), cell, w, x, start)
    assert all(state.dtype == np.float32 for states in honest for state in states)
    for states, found in zip(honest, bounded(n, cell, w, x, start), strict=True):
        for got, wanted in zip(states, found, strict=True):
            assert worst(got, wanted) <= 1
    for before, states, x_t in zip([tuple(start), *honest], honest, x, strict=False):
        (found,) = bounded(n, cell, w, [x_t], list(before))
        for got, wanted in zip(states, found, strict=True):
            assert worst(got, wanted) <= 1


@pytest.mark.parametrize("name", CELLS)
def test_one_weight_that_is_off_does_not_follow(name: str) -> None:
    cell = CELLS[name]
    w, x, start = drawn(cell, 4)
    off = w[1].copy()
    off.flat[np.argmax(np.abs(off))] *= np.float32(1 + 1e-3)
    faulty = ran(Numbers(), cell, w._replace(**{w._fields[1]: off}), x, start)
    n = Bounds("float32")
    ratios = [
        worst(states[0], bounded(n, cell, w, [x_t], list(before))[0][0])
        for before, states, x_t in zip([tuple(start), *faulty], faulty, x, strict=False)
    ]
    assert max(ratios) > 1


@pytest.mark.thinned(2)
@pytest.mark.parametrize("name", CELLS)
def test_gradients_over_the_tape_are_those_of_complex_steps(name: str) -> None:
    """In one direction of each weight, and of the start; the step's own error is its square."""
    cell, step = CELLS[name], mpmath.mpf(10) ** -30
    w, x, start = drawn(cell, 5)
    c = np.random.default_rng(6).normal(size=(T, B, H)).astype(np.float32)
    of_weights, begin, _ = taped(cell, w, x, start, c, "exact")
    gradients = [*of_weights, *(node.gradient for node in begin)]
    with mpmath.workdps(70):
        parts = list(map(in_many_digits, [*given(w), *start]))
        inputs, many = list(map(in_many_digits, x)), len(of_weights)
        for k, gradient in enumerate(gradients):
            way = np.random.default_rng(k).choice([-1.0, 1.0], size=parts[k].shape)
            moved = [*parts[:k], parts[k] + mpmath.mpc(0, step) * way, *parts[k + 1 :]]
            states = ran(ManyDigits(), cell, cell.weights(*moved[:many]), inputs, moved[many:])
            totals = (s[0] * in_many_digits(c_t) for s, c_t in zip(states, c, strict=True))
            slope = sum(total.sum() for total in totals).imag / step
            off = (in_many_digits(gradient.value) * way).sum() - slope
            allowed = in_many_digits(gradient.error).sum()
            assert abs(off) <= allowed < FLOAT32 * abs(slope)


def test_the_gated_references_are_their_equations_in_fifty_digits() -> None:
    """One unit, one feature, three steps, written out by hand."""
    x, start = [0.5, -1.25, 2.0], 0.375
    with mpmath.workdps(50):
        sigmoid = lambda z: 1 / (1 + mpmath.exp(-z))  # noqa: E731
        h = mpmath.mpf(start)
        for v in x:  # gru: kernel 1, 2, -1; recurrent .5, -.25, .75; biases .1 .2 .3 and .4 .5 .6
            z = sigmoid(v + mpmath.mpf(0.125) + h / 2 + mpmath.mpf(0.5))
            r = sigmoid(2 * v + mpmath.mpf(0.25) - h / 4 + mpmath.mpf(0.75))
            candidate = mpmath.tanh(-v + mpmath.mpf(0.375) + r * (h * mpmath.mpf(0.75) + 1))
            h = z * h + (1 - z) * candidate
        of_gru = [h]
        h, c = mpmath.mpf(start), mpmath.mpf(-0.5)
        for v in x:
            i, f = sigmoid(v + h / 2), sigmoid(2 * v - h / 4 + 1)
            g, o = mpmath.tanh(-v + h * mpmath.mpf(0.75)), sigmoid(v / 2 - h)
            c = f * c + i * g
            h = o * mpmath.tanh(c)
        of_lstm = [h, c]
    one = lambda *values: np.array([values], np.float64)  # noqa: E731
    gru_weights = gru.arranged(
        one(1, 2, -1), one(0.5, -0.25, 0.75), np.array([[0.125, 0.25, 0.375], [0.5, 0.75, 1.0]]),
    )  # fmt: skip
    lstm_weights = lstm.Weights(
        one(1, 2, -1, 0.5), one(0.5, -0.25, 0.75, -1), np.array([0.0, 1, 0, 0])
    )
    for name, w, begin, wanted in (
        ("gru", gru_weights, [one(start)], of_gru),
        ("lstm", lstm_weights, [one(start), one(-0.5)], of_lstm),
    ):
        inputs = [one(v) for v in x]
        honest = ran(Numbers(), CELLS[name], w, inputs, begin)[-1]
        for exact, state, of_float64, got in zip(
            wanted,
            bounded(Bounds("exact"), CELLS[name], w, inputs, begin)[-1],
            bounded(Bounds("float64"), CELLS[name], w, inputs, begin)[-1],
            honest,
            strict=True,
        ):
            off = abs(exact - mpmath.mpf(state.value.item()))
            assert off <= state.error.item() < FLOAT32 * abs(exact)
            assert worst(got, of_float64) <= 1


def test_what_needs_no_rounding_has_no_bound() -> None:
    """Small integers, linear: each sum and product is a float32."""
    n = Bounds("float32", "linear", "linear")
    whole = np.arange(-3.0, 3.0).reshape(2, 3)
    a, b = n.exactly(whole), n.exactly(whole[::-1] / 4)
    for found in (a * b, a + b, a - b, 1.0 - a, n.affine((a, n.exactly(np.eye(3))))):
        assert not found.error.any()
    third = n.exactly(np.full((2, 3), 1 / 3))
    assert (third * a).error[whole != 0].all()


def test_a_gradient_of_0_that_may_be_off_is_no_exact_zero() -> None:
    """Added to another it brings its error along; an exact zero brings none."""
    tape = Tape("float32")
    zero, one = np.zeros((1, 1)), np.ones((1, 1))
    for error in (0.0, 0.25):
        node = tape.leaf(tape.n.exactly(one))
        node.receive(Bounded(one, zero, tape.a))
        node.receive(Bounded(zero, zero + error, tape.a))
        assert node.gradient is not None
        assert (node.gradient.error >= error).all()
        assert error or not node.gradient.error.any()


def near_one(rng: Any, n: int = 10**4) -> Array:
    """Where float32 rounds by most."""
    return (1 + rng.random((n, 1)) * 2.0**-6).astype(np.float32)


def test_a_gate_that_is_used_twice_receives_its_addends_in_any_order() -> None:
    """Of z∘h + (1 - z)∘c it receives g·h and -g·c, which are much larger than their sum; what else
    it receives may be added to one of them first."""
    rng, tape = np.random.default_rng(0), Tape("float32")
    z, h, c, g = (near_one(rng) for _ in range(4))
    more = (rng.random((len(g), 1)) * 2.0**-16).astype(np.float32)
    leaves = [tape.leaf(tape.n.exactly(part)) for part in (z, h, c, more)]
    blend, product = tape.blend(*leaves[:3]), leaves[0] * leaves[3]
    blend.receive(tape.n.exactly(g))
    product.receive(tape.n.exactly(np.ones_like(g)))
    tape.backward()
    found = leaves[0].gradient
    assert found is not None
    for got in ((g * h + more) - g * c, (g * h - g * c) + more, g * h + (more - g * c)):
        assert (np.abs(got - found.value) <= found.error).all()


def test_four_addends_of_a_gradient_may_be_added_in_any_order() -> None:
    """What a state receives of three uses, and its cotangent."""
    rng, tape = np.random.default_rng(0), Tape("float32")
    small = [(rng.random((10**4, 1)) * 2.0**-16).astype(np.float32) for _ in range(3)]
    large = near_one(rng)
    node = tape.leaf(tape.n.exactly(large))
    for part in (*small, large):
        node.receive(tape.n.exactly(part))
    assert node.gradient is not None
    got = ((large + small[0]) + small[1]) + small[2]
    assert (np.abs(got - node.gradient.value) <= node.gradient.error).all()


def test_a_step_that_a_mask_skips_has_no_adjoint() -> None:
    """Whatever it would have been: here exp overflows, and 0·inf is NaN."""
    x = np.array([[[1.0], [2000.0], [1.0]]], np.float32)
    found = running.Running(
        SIMPLE, x, np.ones((1, 1)), np.ones((1, 1)) / 4, activation="exponential",
        mask=np.array([[True, False, True]]),
    )  # fmt: skip
    gradients, bounds = found.gradients({"h": np.ones((1, 3, 1), np.float32)})
    assert gradients.delta[0, 1, 0] == bounds.delta[0, 1, 0] == 0
    assert all(np.isfinite(part).all() for part in (*gradients, *bounds))
