"""Do stacks of layers hand on what the definition of each layer says?  Held against plain loops."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mpmath
import numpy as np
import pytest

from rnn_check.claims import files, layers, stack
from rnn_check.claims.claim import Claim
from rnn_check.claims.expectations.behaviour import _overflowed
from rnn_check.claims.expectations.case import Said
from rnn_check.claims.experiment import Loss
from rnn_check.claims.truth import Truth
from rnn_check.claims.written import Array, Given
from rnn_check.numbers.bounded import Bounded, exactly
from rnn_check.numbers.formats import ARITHMETICS
from rnn_check.sweep.space import FAMILY, Case, Space
from tests.support import bundled
from tests.support.sampling import thinned

FLOAT32 = ARITHMETICS["float32"]
OPTIONS = Path(__file__).parents[2] / "fixtures" / "options"
STACKS = [
    each
    for file in sorted(OPTIONS.rglob("*.toml"))
    for each in bundled.in_file(file)
    if each.is_stack and each.x is not None and each.weights is not None
    if np.isfinite(each.x.value).all()
    and all(
        path in ("x", "initial_state") or path in each.weights.get(layer.name, {})
        for layer, path in each.gradients.values()
    )
]
ACTIVATIONS = {
    "tanh": np.tanh,
    "relu": lambda z: np.maximum(z, 0),
    "linear": lambda z: z,
    "softsign": lambda z: z / (1 + abs(z)),
    "sigmoid": lambda z: 1 / (1 + np.exp(-z)),
    "hard_sigmoid": lambda z: np.clip(z / 6 + 0.5, 0, 1),
    "elu": lambda z: np.where(z > 0, z, np.expm1(z)),
    "softmax": lambda z: np.exp(z) / np.exp(z).sum(axis=-1, keepdims=True),
}


def activated(name: str, z: Array) -> Array:
    """Of floats, or of numbers with a slope (`Dual`)."""
    if z.dtype != object:
        return np.asarray(ACTIVATIONS[name](z))
    if name == "softmax":
        each = activated("exp", z)
        return each * activated("inverse", each.sum(axis=-1, keepdims=True))
    return np.asarray(np.frompyfunc(lambda one: one.activated(name), 1, 1)(z))


def numbers(c: Claim) -> dict[str, Array]:
    """All that the layers of a claim are given, but x."""
    found = {
        f"{layer}.{path}": g.value
        for layer, table in (c.weights or {}).items()
        for path, g in table.items()
    }
    return found | ({"initial_state": c.initial_state.value} if c.initial_state else {})


def loop(
    c: Claim, index: int, x: Array, mask: Array | None, named: dict[str, Array] | None = None
) -> tuple[Array, Array | None]:
    """Layer `index` of a claim, sample by sample and step by step: its output, and its mask.

    named: the weights by "layer.path" and the "initial_state", if not those of the claim; of a
    layer after the first recurrent one "layer.initial_state", if not zeros.
    """
    named = numbers(c) if named is None else named
    layer = c.layers[index]
    own = f"{layer.name}."
    w = {n.removeprefix(own): array for n, array in named.items() if n.startswith(own)}
    given = w.pop("initial_state", None)
    if not any(before.is_recurrent for before in c.layers[:index]):
        given = named.get("initial_state")
    starts = [] if given is None else [given] if given.ndim == 2 else list(given)
    if isinstance(layer, layers.Masking):
        made = (x != float(layer.mask_value)).any(axis=-1)
        return x * made[..., None].astype(int), made
    if isinstance(layer, layers.Embedding):
        rows = np.array([[w["embeddings"][int(i)] for i in row] for row in x])
        return rows, x != 0 if layer.option("mask_zero") else None
    if isinstance(layer, layers.Dense | layers.TimeDistributed):
        inner = layer.layer if isinstance(layer, layers.TimeDistributed) else layer
        return activated(inner.function, x @ w["kernel"] + w["bias"]), mask
    if isinstance(layer, layers.Bidirectional):
        sides = []
        half = len(starts) // 2
        for side, one, reverse, start in zip(
            ("forward.", "backward."), (layer.layer, layer.backward_layer or layer.layer),
            (False, True), (starts[:half], starts[half:]), strict=True,
        ):  # fmt: skip
            own = {n.removeprefix(side): v for n, v in w.items() if n.startswith(side)}
            shown = cells([one], [own], x, mask, reverse, True, start)
            if not layer.returns_sequences:
                zeros = one.option("zero_output_for_mask")
                shown = cells([one], [own], x, mask, reverse, zeros, start)[:, -1]
            elif reverse:
                shown = shown[:, ::-1]
            sides.append(shown)
        a, b = sides
        merged: dict[str, Any] = {
            **dict.fromkeys(("concat", "None"), np.concatenate(sides, axis=-1)),
            "sum": a + b,
            "mul": a * b,
            "ave": (a + b) * 0.5,
        }
        return merged[layer.merge_mode], mask if layer.returns_sequences else None
    parts = layer.parts(x.shape[-1])
    own = [{n.removeprefix(p): v for n, v in w.items() if n.startswith(p)} for p, _, _ in parts]
    backwards = layer.option("go_backwards")
    zeros = layer.option("zero_output_for_mask")
    shown = cells([part for _, part, _ in parts], own, x, mask, backwards, zeros, starts)
    if not layer.returns_sequences:
        return shown[:, -1], None
    return shown, mask[:, ::-1] if mask is not None and backwards else mask


def after(cell: Any, w: dict[str, Array], x: Array, h: Array, *more: Array) -> list[Array]:
    """The states after one step, gate by gate."""
    W, U = w["kernel"], w["recurrent_kernel"]

    def act(z: Array) -> Array:
        return activated(cell.function, z)

    if cell.family == "SimpleRNN":
        return [act(x @ W + h @ U + w.get("bias", 0))]
    n = cell.units

    def gate(z: Array) -> Array:
        return activated(cell.gate_function, z)

    bias = w.get("bias", np.zeros(W.shape[1]))
    of_x, of_h = bias if bias.ndim == 2 else (bias, 0 * bias)
    at = [slice(i * n, (i + 1) * n) for i in range(W.shape[1] // n)]
    if cell.family == "LSTM":
        i, f, g, o = (x @ W[:, s] + h @ U[:, s] + bias[s] for s in at)
        c = gate(f) * more[0] + gate(i) * act(g)
        return [gate(o) * act(c), c]
    z, r = (gate(x @ W[:, s] + of_x[s] + h @ U[:, s] + of_h[s]) for s in at[:2])
    s = at[2]
    if cell.option("reset_after"):
        candidate = act(x @ W[:, s] + of_x[s] + r * (h @ U[:, s] + of_h[s]))
    else:
        candidate = act(x @ W[:, s] + of_x[s] + (r * h) @ U[:, s])
    return [z * h + (1 - z) * candidate]


def cells(
    layers: list[Any], weights: list[dict[str, Array]], x: Array, mask: Array | None,
    backwards: bool, zeros: bool, start: list[Array],
) -> Array:  # fmt: skip
    """All cells take a step before any takes the next, as StackedRNNCells does it.

    start: the initial states of the first.
    """
    B, T = x.shape[:2]
    dtype = np.result_type(x, *weights[0].values())
    shown = np.zeros((B, T, layers[-1].units), dtype)
    for b in range(B):
        states = [[np.zeros(cell.units, dtype) for _ in cell.states] for cell in layers]
        if start:
            states[0] = [state[b] for state in start]
        last = np.zeros(layers[-1].units, dtype)
        for t in range(T):
            at = T - 1 - t if backwards else t
            if mask is not None and not mask[b, at]:
                shown[b, t] = 0 * last if zeros else last
                continue
            value = x[b, at]
            for i, (cell, w) in enumerate(zip(layers, weights, strict=True)):
                states[i] = after(cell, w, value, *states[i])
                value = states[i][0]
            shown[b, t] = last = value
    return shown


@thinned(14)
@pytest.mark.parametrize("c", STACKS, ids=lambda c: c.name)
def test_each_layer_is_what_a_loop_makes(c: Claim) -> None:
    assert c.x is not None
    value, mask = c.x.value, c.mask
    for index, signal in enumerate(stack.run(c, "float64")):
        value, mask = loop(c, index, value, mask)
        assert (np.abs(value - signal.value) <= 2 * signal.error).all()  # either is off by it
        assert (signal.mask is None) == (mask is None)
        if mask is not None:
            assert (signal.mask == mask).all()


@thinned(5)
@pytest.mark.parametrize("c", STACKS[::5], ids=lambda c: c.name)
def test_the_bound_holds_for_float32_and_is_a_few_units(c: Claim) -> None:
    assert c.x is not None
    value: Array = c.x.value.astype(np.float32)
    mask = c.mask
    for index, signal in enumerate(stack.run(c, "float32")):
        value, mask = loop(c, index, value.astype(np.float32), mask)
        off = np.abs(value.astype(np.float64) - signal.value)
        assert (off <= signal.error).all()
        # 2⁸ units, or a wrong mask would fit in; a gate multiplies what the other factor is off by
        assert signal.error.max() < 2.0**-16 * max(1.0, np.abs(signal.value).max()) ** 2


def test_zeros_are_shown_before_the_first_step_that_counts() -> None:
    mask = np.array([[False, True, False, True], [False, False, False, False]])
    assert stack.shown_as_zero(mask, False)[:, :, 0].tolist() == [
        [True, False, False, False],
        [True] * 4,
    ]
    assert (stack.shown_as_zero(mask, True)[:, :, 0] == ~mask).all()


# --- the way back ---------------------------------------------------------------------------------


class Dual:
    """A number of 40 digits, or a fraction, and its slope in one direction."""

    def __init__(self, value: Any, slope: Any) -> None:
        self.value, self.slope = value, slope

    def __add__(self, other: Any) -> Dual:
        other = _dual(other)
        return Dual(self.value + other.value, self.slope + other.slope)

    def __mul__(self, other: Any) -> Dual:
        other = _dual(other)
        slope = self.value * other.slope + self.slope * other.value
        return Dual(self.value * other.value, slope)

    def __sub__(self, other: Any) -> Dual:
        return self + _dual(other) * -1

    def __rsub__(self, other: Any) -> Dual:
        return _dual(other) - self

    __radd__, __rmul__ = __add__, __mul__

    def __ne__(self, other: object) -> bool:
        return bool(self.value != other)

    __hash__ = None  # type: ignore[assignment]

    def __int__(self) -> int:
        return int(self.value)

    def activated(self, name: str) -> Dual:
        z = self.value
        if name == "linear" or (name in ("relu", "elu") and z > 0):
            return self
        if name == "relu":
            return Dual(z * 0, z * 0)
        value, derivative = {
            "tanh": lambda: (mpmath.tanh(z), 1 / mpmath.cosh(z) ** 2),
            "sigmoid": lambda: (1 / (1 + mpmath.exp(-z)), 1 / (2 + 2 * mpmath.cosh(z))),
            "softsign": lambda: (z / (1 + abs(z)), 1 / (1 + abs(z)) ** 2),
            "elu": lambda: (mpmath.expm1(z), mpmath.exp(z)),
            "exp": lambda: (mpmath.exp(z), mpmath.exp(z)),
            "inverse": lambda: (1 / z, -1 / z**2),
            "hard_sigmoid": lambda: (
                (z / 6 + mpmath.mpf(0.5), mpmath.mpf(1) / 6) if abs(z) < 3 else (z > 0, 0)
            ),
        }[name]()
        return Dual(value, derivative * self.slope)


def _dual(number: Any) -> Dual:
    if isinstance(number, Dual):
        return number
    exactly = Fraction(float(number))
    return Dual(exactly, Fraction(0))


def slopes(
    c: Claim, cotangent: Array, number: Callable[[float], Any], rng: np.random.Generator
) -> Iterator[tuple[str, Array, Any]]:
    """(name, direction of integers, slope of Σ cotangent·output in it) of all that it is of."""
    assert c.x is not None
    given = {"x": c.x.value, **numbers(c)}
    for name in map(c.gradient_of, c.gradients):
        layer, path = c.gradients[name]
        if path == "initial_state" and name not in given:
            assert isinstance(layer, layers.Carrying)
            given[name] = np.zeros((len(layer.state_sizes), len(c.x.value), layer.state_sizes[0]))
            given[name] = given[name][0] if len(given[name]) == 1 else given[name]
    for moved, array in given.items():
        direction = rng.integers(-3, 4, array.shape)
        if moved == "x" and isinstance(c.layers[0], layers.Embedding):
            continue
        dual = {
            name: np.frompyfunc(lambda v, d: Dual(number(v), number(float(d))), 2, 1)(
                values, direction if name == moved else 0 * values
            )
            for name, values in given.items()
        }
        value, mask = dual.pop("x"), c.mask
        for index in range(len(c.layers)):
            value, mask = loop(c, index, value, mask, dual)
        terms = (
            number(k) * _dual(o).slope for k, o in zip(cotangent.flat, value.flat, strict=True)
        )
        yield moved, direction, sum(terms)


def with_loss(c: Claim, cotangent: Array) -> Claim:
    nothing = np.zeros_like(cotangent)
    given = Given(cotangent, nothing, cotangent, cotangent)
    return dataclasses.replace(c, loss=Loss("cotangent", given))


def found_gradients(c: Claim, arithmetic: str) -> Iterator[tuple[str, Array, Array]]:
    truth = Truth(c, arithmetic)
    for name in dict.fromkeys(map(c.gradient_of, c.gradients)):
        layer, path = c.gradients[name]
        of = name if path in ("x", "initial_state") else f"{layer.name}.{path}"
        yield of, *truth.gradient(name)


def firsts(claims: list[Claim]) -> list[Claim]:
    """One of each file, and every thirteenth."""
    one = {c.file: c for c in reversed(claims)}
    return [c for i, c in enumerate(claims) if one[c.file] is c or i % 13 == 3]


@thinned(40)
@pytest.mark.parametrize("c", firsts(STACKS), ids=lambda c: c.name)
def test_gradients_are_those_of_a_loop_in_forty_digits(c: Claim) -> None:
    rng = np.random.default_rng(len(c.name))
    cotangent = rng.integers(-16, 17, c.output_shape) / 8
    c = with_loss(c, cotangent)
    found = {name: both for name, *both in found_gradients(c, "float64")}
    with mpmath.workdps(40):
        for name, direction, slope in slopes(c, cotangent, mpmath.mpf, rng):
            if name not in found:
                of_integers = not (c.input_dtype or "float32").startswith("float")
                assert name == "initial_state" or (name == "x" and of_integers)
                continue
            value, error = found[name]
            terms = zip(value.flat, direction.flat, strict=True)
            mine = sum(mpmath.mpf(float(v)) * int(d) for v, d in terms)
            allowed = math.fsum((error * np.abs(direction)).flat) * (1 + 2.0**-52)
            assert abs(mine - slope) <= allowed, name
            assert np.isfinite(error).all()


LINEAR = """
schema = 1
title = "integers"
source = {document = "a test"}
reading = {computed_in = "exact"}
loss = {cotangent = [[2, -1], [1, 3]]}
weights.embedding.embeddings = [[1, 0], [0, 1], [-1, 2]]
weights.first = {kernel = [[1, 2], [0, -1]], recurrent_kernel = [[0, 1], [-1, 1]], bias = [1, 0]}
weights.both.forward = {kernel = [[1], [2]], recurrent_kernel = [[-1]], bias = [1]}
weights.both.backward = {kernel = [[2], [1]], recurrent_kernel = [[1]], bias = [-2]}
weights.dense = {kernel = [[1, -2]], bias = [0, 1]}
[[layers]]
kind = "Embedding"
input_dim = 3
output_dim = 2
mask_zero = true
[[layers]]
kind = "SimpleRNN"
name = "first"
units = 2
activation = "relu"
return_sequences = true
[[layers]]
kind = "Bidirectional"
name = "both"
merge_mode = "mul"
layer = {kind = "SimpleRNN", units = 1, activation = "linear"}
[[layers]]
kind = "Dense"
units = 2
[input]
x = [[1, 2, 0, 1], [2, 1, 1, 0]]
[[expect]]
what = "certified"
value = true
from = "a test"
"""


def test_gradients_of_integers_are_those_of_fractions() -> None:
    """Linear and relu, so that nothing is rounded."""
    c = files.loads(LINEAR)
    assert c.loss is not None
    rng = np.random.default_rng(0)
    found = {name: both for name, *both in found_gradients(c, "exact")}
    checked = 0
    for name, direction, slope in slopes(c, c.loss.value.value, Fraction, rng):
        value, _ = found[name]
        assert (
            sum(Fraction(v) * int(d) for v, d in zip(value.flat, direction.flat, strict=True))
            == slope
        )
        checked += bool(slope)
    assert checked >= 8


DIRECTIONS = """
schema = 1
title = "two directions"
source = {document = "a test"}
reading = {computed_in = "exact"}
loss = {cotangent = [[[1], [10], [100]]]}
[[layers]]
kind = "Bidirectional"
name = "both"
merge_mode = "sum"
layer = {kind = "SimpleRNN", units = 1, activation = "linear", use_bias = false, return_sequences = true}
[[layers]]
kind = "SimpleRNN"
name = "c"
units = 1
activation = "linear"
use_bias = false
return_sequences = true
[weights]
both.forward = {kernel = [[1]], recurrent_kernel = [[2]]}
both.backward = {kernel = [[1]], recurrent_kernel = [[3]]}
c = {kernel = [[1]], recurrent_kernel = [[-1]]}
[input]
x = [[[1], [2], [3]]]
mask = [[false, true, true]]
[[expect]]
what = "certified"
value = true
from = "a test"
"""  # noqa: E501


def test_directions_and_layers_are_known_by_their_names() -> None:
    """By hand: forward 0 (carried), 2, 3 + 2·2 = 7; backward 3, 2 + 3·3 = 11, 11 (carried)."""
    c = files.loads(DIRECTIONS)
    truth = Truth(c, "real")
    for name in ("forward", "both.forward"):
        assert truth.states(name).value.ravel().tolist() == [0, 2, 7]
    assert truth.states("both.backward").value.ravel().tolist() == [3, 11, 11]
    assert truth.last_state("backward").value.ravel().tolist() == [11]
    # merged: 0 where the mask skips, 2 + 11, 7 + 3; then 0, 13, 10 - 13
    assert truth.states("c").value.ravel().tolist() == [0, 13, -3]
    assert truth.preactivation("c").value.ravel()[1:].tolist() == [13, -3]
    # of the second layer: 100 at the end, 10 - 100 before it, each times what it was given
    assert truth.gradient("c.kernel").value.item() == 100 * 10 - 90 * 13
    assert truth.gradient("c.recurrent_kernel").value.item() == 100 * 13
    # backward saw 100 first, and -90 of what it made of it
    assert truth.gradient("both.backward.recurrent_kernel").value.item() == -90 * 3
    assert truth.gradient("forward.recurrent_kernel").value.item() == 100 * 2


@thinned(8)
@pytest.mark.parametrize("family", range(80))
def test_masks_are_those_of_a_run_of_all_layers(family: int) -> None:
    space = Space.within(["do=certified", "front=mask,Masking,Embedding"])
    claim = Case(11, family * FAMILY).claim(space)
    ran = [signal.mask for signal in stack.run(claim, "float32")]
    for mask, wanted in zip(stack.masks(claim, "float32"), ran, strict=True):
        assert (mask is None) == (wanted is None)
        assert mask is None or np.array_equal(mask, wanted)


@pytest.mark.parametrize("merge_mode", ["concat", "sum", "mul", "ave"])
def test_of_what_overflows_before_it_is_merged_nothing_is_known(merge_mode: str) -> None:
    own = layers.SimpleRNN(units=1, activation="linear", return_sequences=True)
    layer = layers.Bidirectional(layer=own, merge_mode=merge_mode)
    weights = {
        f"{side}.{name}": exactly(np.full(shape, number), FLOAT32)
        for side, number in (("forward", 1e300), ("backward", 0.0))
        for name, shape in (("kernel", (1, 1)), ("recurrent_kernel", (1, 1)), ("bias", (1,)))
    }
    x = stack.Signal.exactly(np.array([[[1e300], [-1e300], [0.0]]]), FLOAT32)
    out = layer.passed(stack.Call(weights, x)).out
    assert (out.error >= 0).all() and np.isinf(out.error).any()


def test_a_row_whose_gradient_overflows_has_no_bound() -> None:
    layer = layers.Embedding(input_dim=2, output_dim=1)
    table = {"embeddings": exactly(np.ones((2, 1)), FLOAT32)}
    x = stack.Signal.exactly(np.array([[0, 1]]), FLOAT32)
    passed = layer.passed(stack.Call(table, x))
    back = passed.back(
        Bounded(np.array([[[np.nan], [1.0]]]), np.array([[[np.inf], [0.0]]]), FLOAT32)
    )
    _, bound = back.weights["embeddings"]
    assert np.isinf(bound[0, 0]) and 0 <= bound[1, 0] < 1e-6


def test_a_gradient_of_fit_may_overflow_in_any_layer() -> None:
    run: Any = SimpleNamespace(layers=[SimpleNamespace(name=name) for name in "abc"])
    for name in "ab":  # of c, which comes after, nothing is told
        told = {n: {"kernel": np.ones(2, np.float32)} for n in "ab"}
        assert not _overflowed(Said({"weights": told}), run)
        told[name]["kernel"][1] = np.nan
        assert _overflowed(Said({"weights": told}), run)
    assert not _overflowed(Said({}), run)
