"""Are the references of LSTM and GRU their equations, forward and backward, and how far off?

Held against what is not themselves: equations in 50 digits, exact fractions, complex steps, Keras,
and honest executions in float32.
"""

from __future__ import annotations

import dataclasses
from fractions import Fraction
from typing import Any

import mpmath
import numpy as np
import pytest

from rnn_check.numbers.activations import ACTIVATIONS
from rnn_check.numbers.formats import Array
from rnn_check.recurrences import gated, gru, kinds, lstm, over_time, running, simple
from rnn_check.recurrences.kinds import GRU, GRU_BEFORE, LSTM, SIMPLE, Recurrence
from tests.support.sampling import thinned

B, T, F, H = 2, 6, 3, 4
ALL = {"simple": SIMPLE, "lstm": LSTM, "gru": GRU, "gru, reset before": GRU_BEFORE}
each_recurrence = pytest.mark.parametrize("r", ALL.values(), ids=ALL)
SMOOTH = ("tanh", "sigmoid", "silu", "softplus", "mish", "softsign", "linear")


def drawn(r: Recurrence, seed: int = 0, dtype: Any = np.float64) -> dict[str, Any]:
    """The arguments of forward, with a mask and reversed."""
    rng = np.random.default_rng(seed)
    G = len(r.gates)

    def normal(*shape: int, size: float = 1.0) -> Array:
        return (size * rng.normal(size=shape)).astype(dtype)

    return {
        "x": normal(B, T, F), "kernel": normal(F, G * H, size=F**-0.5),
        "recurrent_kernel": normal(H, G * H, size=H**-0.5), "bias": normal(*r.bias_shape(H)),
        "initial_state": tuple(normal(B, H) for _ in r.states),
        "mask": rng.uniform(size=(B, T)) < 0.7, "go_backwards": True,
    }  # fmt: skip


def cotangents(r: Recurrence, seed: int = 1) -> dict[str, Array]:
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=(B, T, H)) for name in r.states}


# -- equations, one number after the other ---------------------------------------------------------


def by_hand(r: Recurrence, given: dict[str, Any], act: Any, gate: Any) -> dict[str, list[Any]]:
    """The last states of the first sample, as a textbook writes it: no matrix, no library."""
    W, U, b = given["kernel"], given["recurrent_kernel"], given["bias"]
    b, second = (b[0], b[1]) if r is GRU else (b, 0 * b)
    states = [list(s[0]) for s in given["initial_state"]]
    order = range(T - 1, -1, -1) if given["go_backwards"] else range(T)
    for t in order:
        if given["mask"] is not None and not given["mask"][0, t]:
            continue
        x, h = given["x"][0, t], states[0]

        def of_x(column: int) -> Any:
            return sum(x[k] * W[k, column] for k in range(F)) + b[column]  # noqa: B023

        def of_h(column: int, h: Any) -> Any:
            return sum(h[k] * U[k, column] for k in range(H)) + second[column]

        new_h, new_c = [], []
        for j in range(H):
            if r is SIMPLE:
                new_h.append(act(of_x(j) + of_h(j, h)))
                continue
            if r is LSTM:
                i, f, g, o = (of_x(n * H + j) + of_h(n * H + j, h) for n in range(4))
                c = gate(f) * states[1][j] + gate(i) * act(g)
                new_c.append(c)
                new_h.append(gate(o) * act(c))
                continue
            z = gate(of_x(j) + of_h(j, h))
            resets = [gate(of_x(H + k) + of_h(H + k, h)) for k in range(H)]
            if r is GRU:
                inner = resets[j] * of_h(2 * H + j, h)
            else:
                inner = of_h(2 * H + j, [resets[k] * h[k] for k in range(H)])
            new_h.append(z * h[j] + (1 - z) * act(of_x(2 * H + j) + inner))
        states = [new_h, new_c] if r is LSTM else [new_h]
    return dict(zip(r.states, states, strict=True))


def of_type(given: dict[str, Any], change: Any) -> dict[str, Any]:
    every = np.vectorize(change, otypes=[object])
    return {
        name: tuple(map(every, value))
        if isinstance(value, tuple)
        else every(value)
        if isinstance(value, np.ndarray) and value.dtype != bool
        else value
        for name, value in given.items()
    }


@each_recurrence
def test_the_reference_is_its_equations_in_fifty_digits(r: Recurrence) -> None:
    given = drawn(r)
    with mpmath.workdps(50):
        many = of_type(given, mpmath.mpf)
        wanted = by_hand(r, many, mpmath.tanh, lambda z: 1 / (1 + mpmath.exp(-z)))
        found = gated.forward(r, **given)
        # what an execution in float64 may be off, and the truth is one without rounding
        bounds = running.Running(r, **given, arithmetic="float64").states
        for name, values in wanted.items():
            off = np.abs(found.states[name][0, -1] - np.array([float(v) for v in values]))
            assert (off <= 2 * bounds[name].error[0, -1]).all()


HARD = {
    "linear": lambda z: z,
    "hard_tanh": lambda z: min(max(z, -1), 1),
    "relu6": lambda z: min(max(z, 0), 6),
    "hard_sigmoid": lambda z: min(max(z + 3, 0), 6) / 6,
}


@each_recurrence
@pytest.mark.parametrize(
    ("activation", "gate"),
    [("linear", "hard_tanh"), ("hard_tanh", "relu6"), ("linear", "hard_sigmoid")],
)
def test_the_reference_is_exact_in_fractions(r: Recurrence, activation: str, gate: str) -> None:
    """With hard gates every number is a fraction, and each is the very same."""
    digits = 16 if gate == "hard_sigmoid" else 4  # and numbers so small that it stays within
    given = of_type(drawn(r, 3), lambda v: Fraction(round(float(v) * 4), digits))
    wanted = by_hand(r, given, HARD[activation], HARD[gate])
    found = gated.forward(r, **given, activation=activation, recurrent_activation=gate)
    for name, values in wanted.items():
        assert list(found.states[name][0, -1]) == values


@thinned(6)
@each_recurrence
@pytest.mark.parametrize(("activation", "gate"), [(a, g) for a in SMOOTH[:3] for g in SMOOTH])
def test_gradients_are_those_of_complex_steps(r: Recurrence, activation: str, gate: str) -> None:
    names = {"activation": activation, "recurrent_activation": gate}
    given, c = drawn(r, 5), cotangents(r)
    found = gated.backward(c, gated.forward(r, **given, **names))
    # each of two executions in float64 is within it; steps of 80 bits round 2^-11 as much
    _, bound = running.Running(r, **given, **names, arithmetic="float64").gradients(c)

    def loss(**changed: Any) -> complex:
        run = gated.forward(r, **given | changed, **names)
        return sum((run.states[name] * c[name]).sum() for name in r.states)

    def slope(name: str, array: Array, at: tuple[int, ...]) -> float:
        moved = array.astype(np.clongdouble)
        moved[at] += 1e-30j
        return float(loss(**{name: moved}).imag / 1e-30)

    for name in ("x", "kernel", "recurrent_kernel", "bias"):
        for at in list(np.ndindex(given[name].shape))[::11]:
            wanted = slope(name, given[name], at)
            assert abs(getattr(found, name)[at] - wanted) <= 2 * getattr(bound, name)[at]
    for k, start in enumerate(given["initial_state"]):
        for at in list(np.ndindex(start.shape))[::3]:
            moved = [s.astype(np.clongdouble) for s in given["initial_state"]]
            moved[k][at] += 1e-30j
            wanted = float(loss(initial_state=tuple(moved)).imag / 1e-30)
            assert abs(found.initial_state[k][at] - wanted) <= 2 * bound.initial_state[k][at]


@thinned(5)
@each_recurrence
@pytest.mark.parametrize("activation", sorted({a.name for a in ACTIVATIONS.values()}))
def test_every_activation_is_taken_as_either(r: Recurrence, activation: str) -> None:
    given = drawn(r, 6, np.float32)
    for name in ("kernel", "recurrent_kernel", "bias"):
        given[name] = given[name] / 16  # exponential is no gate for large numbers
    for names in ({"activation": activation}, {"recurrent_activation": activation}):
        honest = gated.forward(r, **given, **names)
        bounds = running.Running(r, **given, **names)
        for name, (value, bound) in bounds.states.items():
            assert (np.abs(honest.states[name] - value) <= bound).all()


# -- how far others may be off ---------------------------------------------------------------------


@each_recurrence
def test_an_honest_execution_is_within_the_running_bounds(r: Recurrence) -> None:
    given, c = drawn(r, 8, np.float32), cotangents(r)
    c = {name: part.astype(np.float32) for name, part in c.items()}
    run, bounds = gated.forward(r, **given), running.Running(r, **given)
    for shown, known in ((run.states, bounds.states), (run.gates, bounds.gates)):
        assert shown.keys() == known.keys()
        for name, (value, bound) in known.items():
            assert shown[name].dtype == np.float32
            assert (np.abs(shown[name] - value) <= bound).all()
    value, bound = bounds.gradients(c)
    honest = gated.backward(c, run)
    for name in over_time.Gradients._fields:
        parts = (getattr(g, name) for g in (honest, value, bound))
        for got, v, e in zip(*parts, strict=True):
            assert (np.abs(got - v) <= e).all(), name


@each_recurrence
def test_an_execution_with_weights_in_half_precision_is_without_the_running_bounds(
    r: Recurrence,
) -> None:
    """The twin: of every state, gate and gradient there is one that is off by too much."""
    given, c = drawn(r, 8, np.float32), cotangents(r)
    weights = {n: given[n].astype(np.float16).astype(np.float64) for n in ("kernel", "bias")}
    run, bounds = gated.forward(r, **given | weights), running.Running(r, **given)
    for shown, known in ((run.states, bounds.states), (run.gates, bounds.gates)):
        for name, (value, bound) in known.items():
            assert (np.abs(shown[name] - value) > bound).any(), name
    value, bound = bounds.gradients(c)
    off = gated.backward(c, run)
    for name in over_time.Gradients._fields:
        parts = zip(*(getattr(g, name) for g in (off, value, bound)), strict=True)
        assert any((np.abs(got - v) > e).any() for got, v, e in parts), name


@each_recurrence
def test_running_gradients_are_those_of_the_reference(r: Recurrence) -> None:
    given, c = drawn(r, 9), cotangents(r)
    value, bound = running.Running(r, **given, arithmetic="float64").gradients(c)
    wanted = gated.backward(c, gated.forward(r, **given))
    for name in over_time.Gradients._fields:
        for one, other, e in zip(*(getattr(g, name) for g in (value, wanted, bound)), strict=True):
            assert (np.abs(one - other) <= e).all(), name


@thinned(5)
@pytest.mark.parametrize("seed", range(20))
def test_a_blend_is_gone_back_in_whatever_form(seed: int) -> None:
    """g·h - g·c and g - g·z round where the numbers are exact, and g·(h - c) and g·(1 - z) do
    not."""
    rng = np.random.default_rng(seed)

    def dyadic(*shape: int) -> Array:
        return (np.round(4 * rng.normal(size=shape)) / 4).astype(np.float32)

    given: dict[str, Any] = {
        "x": dyadic(9, 1, 2), "kernel": dyadic(2, 6), "recurrent_kernel": dyadic(2, 6),
        "bias": dyadic(2, 6), "initial_state": (dyadic(9, 2),),
        "activation": "linear", "recurrent_activation": "linear",
    }  # fmt: skip
    g = rng.normal(size=(9, 1, 2)).astype(np.float32)
    (step,) = gated.forward(GRU, **given).steps
    value, bound = running.Running(GRU, **given).gradients({"h": g})
    d, h, H = g[:, 0], given["initial_state"][0], 2
    for at, made in ((0, d * h - d * step.c), (2 * H, d - d * step.z)):
        wanted, off = (part.delta[:, 0, at : at + H] for part in (value, bound))
        assert (np.abs(made - wanted) <= off).all()


@each_recurrence
def test_what_the_inputs_bring_is_in_the_bound(r: Recurrence) -> None:
    """Weights printed to three digits: any that round to them are within."""
    given = drawn(r, 10)
    printed = given | {"kernel": np.round(given["kernel"], 3)}
    known = running.Running(
        r,
        **printed,
        arithmetic="float64",
        errors={"kernel": np.full(printed["kernel"].shape, 5e-4)},
    )
    value, bound = known.states["h"]
    off = np.abs(gated.forward(r, **given).states["h"] - value)
    rounding = running.Running(r, **printed, arithmetic="float64").states["h"].error
    assert (off > rounding).any()
    assert (off <= bound).all()


# -- by hand ---------------------------------------------------------------------------------------

DIGITS = {
    "f": 3,
    "g": 2,
    "o": 1,
    "c": 2,
    "h": 3,
    "z": 2,
    "r": 1,
    "s_f": 2,
    "s_g": 3,
    "s_z": 3,
    "s_h": 2,
}


class Paper:
    """Somebody who rounds what DIGITS names, and goes on with that; in float64."""

    def __init__(self, r: Recurrence, given: dict[str, Any]) -> None:
        self.made: dict[str, list[Array]] = {}  # before it is rounded
        self.steps: list[Any] = []
        self.rounded: list[list[Array]] = [list(given["initial_state"])]
        W, U, b = given["kernel"], given["recurrent_kernel"], given["bias"]
        b, second = (b[0], b[1]) if r is GRU else (b, 0 * b)
        x, mask = given["x"][:, ::-1], given["mask"][:, ::-1]
        for t in range(T):
            states = self.rounded[-1]
            of_x = np.split(x[:, t] @ W + b, len(r.gates), axis=-1)
            of_h = np.split(states[0] @ U + second, len(r.gates), axis=-1)
            step = {"simple": self.simple, "lstm": self.lstm, "gru": self.gru}[r.name]
            new = step(r, of_x, of_h, U[:, -H:], *states)
            keep = mask[:, t, None]
            self.rounded.append([np.where(keep, a, s) for a, s in zip(new, states, strict=True)])

    def down(self, name: str, value: Array) -> Array:
        self.made.setdefault(name, []).append(value)
        return np.round(value, DIGITS[name]) if name in DIGITS else value

    def sigma(self, name: str, z: Array) -> Array:
        return self.down(name, 1 / (1 + np.exp(-z)))

    def simple(self, r: Any, of_x: Any, of_h: Any, U: Array, h: Array) -> list[Array]:
        z = self.down("s_h", of_x[0] + of_h[0])
        h = self.down("h", np.tanh(z))
        self.steps.append(simple.Step(h, [z]))
        return [h]

    def lstm(self, r: Any, of_x: Any, of_h: Any, U: Array, h: Array, c: Array) -> list[Array]:
        s = [self.down(f"s_{n}", a + b) for n, a, b in zip("ifgo", of_x, of_h, strict=True)]
        i, f, o = (self.sigma(n, s[k]) for k, n in ((0, "i"), (1, "f"), (3, "o")))
        g = self.down("g", np.tanh(s[2]))
        c = self.down("c", f * c + i * g)
        h = self.down("h", o * np.tanh(c))
        self.steps.append(lstm.Step(h, c, i, f, g, o, s))
        return [h, c]

    def gru(self, r: Any, of_x: Any, of_h: Any, U: Array, h: Array) -> list[Array]:
        s = [self.down(f"s_{n}", a + b) for n, a, b in zip("zr", of_x, of_h, strict=False)]
        z, reset = self.sigma("z", s[0]), self.sigma("r", s[1])
        inner = of_h[2] if r is GRU else reset * h
        s.append(self.down("s_c", of_x[2] + (reset * inner if r is GRU else inner @ U)))
        c = self.down("c", np.tanh(s[2]))
        new = self.down("h", z * h + (1 - z) * c)
        self.steps.append(gru.Step(new, z, reset, c, s, inner))
        return [new]


def half_units(r: Recurrence) -> running.ByHand:
    def of(prefix: str, names: dict[str, str]) -> dict[str, Array]:
        return {
            name: np.full((B, T, H), 0.5 * 0.1 ** DIGITS[prefix + field])
            for name, field in names.items()
            if prefix + field in DIGITS
        }

    fields = dict(zip(r.gates, r.fields, strict=True))
    return running.ByHand(
        of("", {name: name for name in r.states}),
        of("", fields if r.has_gates else {}),
        of("s_", fields),
    )


@pytest.mark.thinned(4)
@each_recurrence
@pytest.mark.parametrize("seed", range(8))
def test_what_is_rounded_by_hand_is_within_the_bound(r: Recurrence, seed: int) -> None:
    given, c = drawn(r, seed), cotangents(r)
    paper, by_hand = Paper(r, given), half_units(r)
    how: dict[str, Any] = {"arithmetic": "float64", "by_hand": by_hand}
    known = running.Running(r, **given, **how)
    keep = given["mask"][:, ::-1, None]
    for part, prefix in ((known.gates, ""), (known.arguments, "s_")):
        for (name, (value, bound)), field in zip(part.items(), r.fields, strict=r.has_gates):
            made = np.stack(paper.made[prefix + field], 1)
            assert (np.abs(made - value) <= bound).all(), name
    for k, name in enumerate(r.states):
        shown = np.stack(paper.made[name], 1)
        value, bound = known.states[name]
        assert (np.where(keep, np.abs(shown - value), 0) <= bound).all(), name
        value, bound = known.carried[name]
        assert (np.abs(np.stack([s[k] for s in paper.rounded[1:]], 1) - value) <= bound).all()
    exact = gated.forward(r, **given)
    states = {
        name: np.stack([s[k] for s in paper.rounded[1:]], 1) for k, name in enumerate(r.states)
    }
    by_paper = gated.backward(c, dataclasses.replace(exact, states=states, steps=paper.steps))
    found = known.gradients(c)
    for name in over_time.Gradients._fields:
        parts = (getattr(g, name) for g in (by_paper, *found))
        for got, v, e in zip(*parts, strict=True):
            assert (np.abs(got - v) <= e).all(), name


@each_recurrence
def test_a_number_s_own_rounding_by_hand_is_no_part_of_its_bound(r: Recurrence) -> None:
    given = drawn(r, 1) | {"mask": None}
    plain = running.Running(r, **given, arithmetic="exact")
    known = running.Running(r, **given, arithmetic="exact", by_hand=half_units(r))
    for name, field in zip(r.gates, r.fields, strict=True):
        if field == "c":  # of a GRU it is made of its reset gate
            continue
        at_first = known.arguments[name].error[:, 0]
        np.testing.assert_array_equal(at_first, plain.arguments[name].error[:, 0])
        if r.has_gates and f"s_{field}" not in DIGITS:
            np.testing.assert_array_equal(
                known.gates[name].error[:, 0], plain.gates[name].error[:, 0]
            )
    for name in r.states:
        half = half_units(r).states[name]
        np.testing.assert_array_equal(known.states[name].error + half, known.carried[name].error)


def test_what_does_not_fit_is_refused() -> None:
    given = drawn(LSTM)
    for name, wrong in (
        ("kernel", given["kernel"][:, :-1]), ("recurrent_kernel", given["recurrent_kernel"][:-1]),
        ("bias", given["bias"][:-1]), ("mask", given["mask"][:, :-1]),
        ("initial_state", given["initial_state"][:1]),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=name):
            gated.forward(LSTM, **given | {name: wrong})
    with pytest.raises(ValueError, match="recurrence is 'mgu'"):
        kinds.recurrence("mgu")
    with pytest.raises(ValueError, match="errors of 'bais'"):
        running.Running(LSTM, **given, errors={"bais": 1.0})
