"""Do stacks of layers hand on what the definition of each layer says?  Held against plain loops."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rnn_check.claims import files, layers, stack
from rnn_check.claims.claim import Claim
from rnn_check.claims.written import Array

OPTIONS = Path(__file__).parents[2] / "fixtures" / "options"
STACKS = [
    each
    for file in sorted(OPTIONS.rglob("*.toml"))
    for each in files.load_each(file)
    if each.is_stack and each.x is not None and each.weights is not None
    if np.isfinite(each.x.value).all()
]
ACTIVATIONS = {
    "tanh": np.tanh,
    "relu": lambda z: np.maximum(z, 0),
    "linear": lambda z: z,
    "softsign": lambda z: z / (1 + abs(z)),
    "sigmoid": lambda z: 1 / (1 + np.exp(-z)),
    "hard_sigmoid": lambda z: np.clip(z / 6 + 0.5, 0, 1),
    "elu": lambda z: np.where(z > 0, z, np.expm1(z)),
}


def loop(c: Claim, index: int, x: Array, mask: Array | None) -> tuple[Array, Array | None]:
    """Layer `index` of a claim, sample by sample and step by step: its output, and its mask."""
    layer = c.layers[index]
    given = c.initial_state.value if c.initial_state is not None else None
    if any(before.is_recurrent for before in c.layers[:index]):
        given = None
    starts = [] if given is None else [given] if given.ndim == 2 else list(given)
    w = {n: g.value for n, g in (c.weights or {}).get(layer.name, {}).items()}
    if isinstance(layer, layers.Masking):
        made = (x != float(layer.mask_value)).any(axis=-1)
        return x * made[..., None], made
    if isinstance(layer, layers.Embedding):
        rows = np.array([[w["embeddings"][int(i)] for i in row] for row in x])
        return rows, x != 0 if layer.option("mask_zero") else None
    if isinstance(layer, layers.Dense | layers.TimeDistributed):
        inner = layer.layer if isinstance(layer, layers.TimeDistributed) else layer
        return ACTIVATIONS[inner.function](x @ w["kernel"] + w["bias"]), mask
    if isinstance(layer, layers.Bidirectional):
        sides = []
        half = len(starts) // 2
        for side, reverse, start in zip(
            ("forward.", "backward."), (False, True), (starts[:half], starts[half:]), strict=True
        ):
            own = {n.removeprefix(side): v for n, v in w.items() if n.startswith(side)}
            shown = cells([layer.layer], [own], x, mask, reverse, True, start)
            if not layer.returns_sequences:
                shown = cells([layer.layer], [own], x, mask, reverse, False, start)[:, -1]
            elif reverse:
                shown = shown[:, ::-1]
            sides.append(shown)
        a, b = sides
        merged: dict[str, Any] = {
            "concat": np.concatenate(sides, axis=-1), "sum": a + b, "mul": a * b, "ave": (a + b) / 2
        }  # fmt: skip
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
    act, W, U = ACTIVATIONS[cell.function], w["kernel"], w["recurrent_kernel"]
    if cell.family == "SimpleRNN":
        return [act(x @ W + h @ U + w.get("bias", 0))]
    gate, n = ACTIVATIONS[cell.gate_function], cell.units
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
    shown = np.zeros((B, T, layers[-1].units))
    for b in range(B):
        states = [[np.zeros(cell.units) for _ in cell.states] for cell in layers]
        if start:
            states[0] = [state[b] for state in start]
        last = np.zeros(layers[-1].units)
        for t in range(T):
            at = T - 1 - t if backwards else t
            if mask is not None and not mask[b, at]:
                shown[b, t] = 0 if zeros else last
                continue
            value = x[b, at]
            for i, (cell, w) in enumerate(zip(layers, weights, strict=True)):
                states[i] = after(cell, w, value, *states[i])
                value = states[i][0]
            shown[b, t] = last = value
    return shown


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
