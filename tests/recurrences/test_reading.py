"""Is one definition of a step the reference, its bounds and its gradients?

The readings are held against what is not themselves: the loop that is run and its running bounds,
complex steps, mpmath, and honest executions in float32.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import mpmath
import numpy as np
import pytest

from rnn_check.numbers.formats import Array
from rnn_check.numbers.reading import Bounded, Bounds, Numbers, Tape
from rnn_check.recurrences import gru, lstm, over_time, running, simple

B, T, F, H = 3, 12, 5, 6


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
    return float((np.abs(got - wanted.value) / wanted.error).max())


# -- against the loop that is run ------------------------------------------------------------------


def arguments(w: Any, x: list[Array], h0: Array) -> dict[str, Any]:
    named = w._asdict()
    return {"x": np.stack(x, 1), **named, "initial_state": h0}


def test_the_loop_that_is_run_is_the_textbook() -> None:
    cell = CELLS["simple"]
    w, x, (h0,) = drawn(cell)
    wide = simple.Weights(*(part.astype(np.float64) for part in w))
    h, z = simple.forward(np.stack(x).astype(np.float64), wide, h0.astype(np.float64))
    states, cache = over_time.forward(**arguments(wide, [v.astype(float) for v in x], h0))
    np.testing.assert_allclose(states.swapaxes(0, 1), h[1:], rtol=1e-13, atol=1e-15)
    c = np.random.default_rng(1).normal(size=(T, B, H))
    wanted = over_time.backward(c.swapaxes(0, 1), cache)._asdict()
    found = simple.backward(c, np.stack(x).astype(np.float64), wide, h, z)
    for name, gradient in found.items():
        turned = gradient.swapaxes(0, 1) if name == "x" else gradient
        np.testing.assert_allclose(turned, wanted[name], rtol=1e-11, atol=1e-13)


def test_bounds_along_a_sequence_are_the_running_bounds() -> None:
    cell = CELLS["simple"]
    w, x, (h0,) = drawn(cell)
    known = running.running_bound(**arguments(w, x, h0))
    found = bounded(Bounds("float32"), cell, w, x, [h0])
    np.testing.assert_allclose(np.stack([s[0].error for s in found], 1), known.bound, rtol=1e-9)


def taped(cell: Cell, w: Any, x: list[Array], start: list[Array], c: Array) -> Any:
    """(gradients of the weights, the tape's start)."""
    tape = Tape("float32")
    leaves = cell.weights(*(tape.leaf(tape.n.exactly(part)) for part in given(w)))
    begin = [tape.leaf(tape.n.exactly(s)) for s in start]
    inputs = [tape.leaf(tape.n.exactly(v)) for v in x]
    for states, c_t in zip(ran(tape, cell, leaves, inputs, begin), c, strict=True):
        states[0].receive(tape.n.exactly(c_t))
    tape.backward()
    return [tape.gradient(leaf) for leaf in given(leaves)], begin, inputs


def test_gradients_over_the_tape_are_those_of_the_running_analysis() -> None:
    """As large or smaller: at the last step there is nothing that is added to the cotangent."""
    cell = CELLS["simple"]
    w, x, (h0,) = drawn(cell)
    c = np.random.default_rng(2).normal(size=(T, B, H)).astype(np.float32)
    value, bound = running.running_gradients(**arguments(w, x, h0), cotangent=c.swapaxes(0, 1))
    found, (start,), inputs = taped(cell, w, x, [h0], c)
    gradients = dict(zip(w._fields, found, strict=True)) | {"initial_state": start.gradient}
    of_x = np.stack([v.gradient.value for v in inputs], 1)
    np.testing.assert_allclose(of_x, value.x, rtol=1e-10, atol=1e-12)
    for name, gradient in gradients.items():
        np.testing.assert_allclose(gradient.value, getattr(value, name), rtol=1e-10, atol=1e-12)
        ratio = gradient.error / getattr(bound, name)
        assert ratio.max() <= 1 + 1e-9
        assert ratio.min() > 0.95


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


@pytest.mark.parametrize("name", CELLS)
def test_gradients_over_the_tape_are_those_of_complex_steps(name: str) -> None:
    cell = CELLS[name]
    w, x, start = drawn(cell, 5)
    c = np.random.default_rng(6).normal(size=(T, B, H)).astype(np.float32)
    found, _, _ = taped(cell, w, x, start, c)
    wide = [part.astype(np.complex128) for part in given(w)]
    inputs = [v.astype(float) for v in x], [s.astype(float) for s in start]
    for k, gradient in enumerate(found):
        for at in list(np.ndindex(wide[k].shape))[::17]:
            moved = [part.copy() for part in wide]
            moved[k][at] += 1e-30j
            states = ran(Numbers(), cell, cell.weights(*moved), *inputs)
            slope = sum((s[0] * c_t).sum() for s, c_t in zip(states, c, strict=True)).imag / 1e-30
            assert gradient.value[at] == pytest.approx(slope, rel=1e-9, abs=1e-12)


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
        of_gru = float(h)
        h, c = mpmath.mpf(start), mpmath.mpf(-0.5)
        for v in x:
            i, f = sigmoid(v + h / 2), sigmoid(2 * v - h / 4 + 1)
            g, o = mpmath.tanh(-v + h * mpmath.mpf(0.75)), sigmoid(v / 2 - h)
            c = f * c + i * g
            h = o * mpmath.tanh(c)
        of_lstm = float(h), float(c)
    one = lambda *values: np.array([values], np.float64)  # noqa: E731
    found = ran(Numbers(), CELLS["gru"], gru.arranged(
        one(1, 2, -1), one(0.5, -0.25, 0.75), np.array([[0.125, 0.25, 0.375], [0.5, 0.75, 1.0]]),
    ), [one(v) for v in x], [one(start)])  # fmt: skip
    assert found[-1][0].item() == pytest.approx(of_gru, rel=1e-14)
    found = ran(Numbers(), CELLS["lstm"], lstm.Weights(
        one(1, 2, -1, 0.5), one(0.5, -0.25, 0.75, -1), np.array([0.0, 1, 0, 0]),
    ), [one(v) for v in x], [one(start), one(-0.5)])  # fmt: skip
    assert [s.item() for s in found[-1]] == pytest.approx(of_lstm, rel=1e-14)


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


def test_a_step_that_a_mask_skips_has_no_adjoint() -> None:
    """Whatever it would have been: here exp overflows, and 0·inf is NaN."""
    x = np.array([[[1.0], [2000.0], [1.0]]], np.float32)
    gradients, bounds = running.running_gradients(
        x, np.ones((1, 1)), np.ones((1, 1)) / 4, activation="exponential",
        mask=np.array([[True, False, True]]), cotangent=np.ones((1, 3, 1), np.float32),
    )  # fmt: skip
    assert gradients.delta[0, 1, 0] == bounds.delta[0, 1, 0] == 0
    assert all(np.isfinite(part).all() for part in (*gradients, *bounds))
