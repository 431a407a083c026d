"""Is what layers put out penalized as its definition says, in the loss and in its gradient?

The recurrences are written once more over complex numbers, and the gradient is a complex step: the
imaginary part of the loss at w + ih, divided by h, has no cancellation. Its own rounding is that of
float64, a millionth of the bounds of float32 that it is held against.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from rnn_check.numbers.bounded import exactly
from rnn_check.numbers.formats import ARITHMETICS, Array
from rnn_check.recurrences import kinds, training
from rnn_check.recurrences.network import Network
from rnn_check.recurrences.penalties import Regularizer

A = ARITHMETICS["float32"]
STEP = 1e-30
X = np.array([[[1, -2], [2, 1], [-1, 0.5]], [[-1, 1], [3, -1], [0.5, 2]]])
TARGETS = np.array([[[1.0], [-2.0], [0.5]], [[0.25], [-0.5], [2.0]]])
MASK = np.array([[True, False, True], [False, True, False]])
BOTH = {"layer": Regularizer(0.25, 0.5), "dense": Regularizer(0.5, 0.125)}
EVERY = {
    "SimpleRNN": kinds.SIMPLE,
    "LSTM": kinds.LSTM,
    "GRU": kinds.GRU,
    "GRU, reset before": kinds.GRU_BEFORE,
}
HOW: dict[str, dict[str, Any]] = {
    "last output": {"target": TARGETS[:, -1]},
    "last output, masked": {"target": TARGETS[:, -1], "mask": MASK},
    "sequence": {"target": TARGETS},
    "sequence, masked": {"target": TARGETS, "mask": MASK, "returns_state": True},
    "sequence, zeros": {"target": TARGETS, "mask": MASK, "zeros": True, "returns_state": True},
    "weighs": {"target": TARGETS, "mask": MASK, "sample_weight": np.array([0.5, 3.0])},
}


def sigmoid(z: Array) -> Array:
    return 1 / (1 + np.exp(-z))


def step(net: Network, w: dict[str, Array], x: Array, h: Array, c: Array) -> tuple[Array, Array]:
    """(B,H) states of one step."""
    K, R, b = w["kernel"], w["recurrent_kernel"], w["bias"]
    H = len(R)
    if net.recurrence is kinds.SIMPLE:
        return np.tanh(x @ K + h @ R + b), c
    if net.recurrence is kinds.LSTM:
        i, f, g, o = np.split(x @ K + h @ R + b, 4, axis=1)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        return sigmoid(o) * np.tanh(c), c
    if net.recurrence is kinds.GRU:
        own, other = np.split(x @ K + b[0], 3, axis=1), np.split(h @ R + b[1], 3, axis=1)
        z, r = sigmoid(own[0] + other[0]), sigmoid(own[1] + other[1])
        new = np.tanh(own[2] + r * other[2])
    else:
        z, r, _ = np.split(sigmoid(x @ K + h @ np.c_[R[:, : 2 * H], 0 * R[:, :H]] + b), 3, axis=1)
        new = np.tanh((x @ K + b)[:, 2 * H :] + (r * h) @ R[:, 2 * H :])
    return z * h + (1 - z) * new, c


def size(z: Array) -> Array:
    """|z|, where it is real."""
    return np.where(z.real < 0, -z, z)


def loss_of(net: Network, w: dict[str, Array]) -> Any:
    """Of a batch of all samples, from the definitions."""
    B, H = len(net.x), w["recurrent_kernel"].shape[0]
    h = c = np.zeros((B, H), complex)
    hidden = []
    for t in range(net.x.shape[1]):
        new = step(net, w, net.x[:, t], h, c)
        keep = np.ones((B, 1), bool) if net.mask is None else net.mask[:, t, None]
        h, c = (np.where(keep, one, other) for one, other in zip(new, (h, c), strict=True))
        hidden.append(np.where(keep, h, 0) if net.zeros else h)
    shown = hidden if net.is_sequence else hidden[-1:]
    outputs = [each @ w["dense.kernel"] + w["dense.bias"] for each in shown]
    states = [h, c] if net.recurrence is kinds.LSTM else [h]
    tensors = {"layer": [np.stack(shown)], "dense": [np.stack(outputs)]}
    tensors["layer"] += states if net.returns_state else []
    target = net.target if net.is_sequence else net.target[:, None]
    squares = np.stack([(each - target[:, t]) ** 2 for t, each in enumerate(outputs)], axis=1)
    m = np.ones(squares.shape[:2])
    if net.mask is not None and net.is_sequence:
        m = 1.0 * net.mask
    s = np.ones(B) if net.sample_weight is None else net.sample_weight
    total = (squares[..., 0] * m * s[:, None]).sum() / m.sum()
    for layer, r in net.activities.items():
        for tensor in tensors[layer]:
            total = total + (r.l1 * size(tensor).sum() + r.l2 * (tensor**2).sum()) / B
    return total


def gradients(net: Network, w: dict[str, Array]) -> dict[str, Array]:
    found = {}
    for name, array in w.items():
        found[name] = np.empty_like(array)
        for at in np.ndindex(array.shape):
            moved = array.astype(complex)
            moved[at] += STEP * 1j
            found[name][at] = loss_of(net, {**w, name: moved}).imag / STEP
    return found


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("kind", EVERY)
def test_the_loss_and_its_gradient_are_within_the_bound(kind: str, how: str) -> None:
    net = Network(X, recurrence=EVERY[kind], activities=BOTH, **HOW[how])
    rng = np.random.default_rng(3)
    w = {name: rng.integers(-4, 5, shape) / 4.0 for name, shape in net.shapes(2).items()}
    given = {name: exactly(array[None], A) for name, array in w.items()}
    wanted, loss = gradients(net, w), loss_of(net, w).real

    def agrees(other: Network) -> bool:
        found, of_loss = training.gradients(other, given, slice(0, 2))
        off = [abs(found[n].value[0] - wanted[n]) <= found[n].error[0] for n in wanted]
        return all(each.all() for each in off) and bool(
            abs(of_loss.value[0, 0] - loss) <= of_loss.error[0, 0]
        )

    assert agrees(net)
    assert not agrees(replace(net, activities={"dense": BOTH["dense"]}))
    off_by_little = Regularizer(0.5, 0.125 * (1 + 1e-4))
    assert not agrees(replace(net, activities={**BOTH, "dense": off_by_little}))
    if net.returns_state:
        assert not agrees(replace(net, returns_state=False))
    if how == "sequence, masked":
        assert not agrees(replace(net, zeros=True))


@pytest.mark.parametrize("mixed", ["float16", "bfloat16"])
def test_of_half_precision_the_penalty_is_within_its_bound(mixed: str) -> None:
    """One sum of squares, computed in that arithmetic number by number, in two orders."""
    import ml_dtypes

    dtype = {"float16": np.float16, "bfloat16": ml_dtypes.bfloat16}[mixed]
    a = ARITHMETICS[mixed]
    rng = np.random.default_rng(0)
    for l1, l2 in ((0.3, 0.0), (0.0, 0.7), (0.3, 1e-5)):
        values = rng.standard_normal((7, 3)).astype(dtype)
        one = exactly(values.astype(np.float64)[None], a)
        found = Regularizer(l1, l2).loss(one, len(values))
        for order in (1, -1):
            sums = [dtype(0), dtype(0)]
            for v in values.ravel()[::order]:
                sums = [dtype(sums[0] + dtype(abs(v))), dtype(sums[1] + dtype(v * v))]
            parts = [dtype(dtype(f) * s) for f, s in zip((l1, l2), sums, strict=True)]
            got = dtype(dtype(parts[0] + parts[1]) / dtype(len(values)))
            assert abs(float(got) - found.value[0, 0]) <= found.error[0, 0]
            assert abs(float(got) * len(values) - found.value[0, 0]) > found.error[0, 0]


def test_of_what_overflows_nothing_is_known() -> None:
    big = exactly(np.full((1, 2, 1), 300.0), ARITHMETICS["float16"])
    for given in ({"l2": 0.5}, {"l1": 0.5, "l2": 2.0**-20}):
        penalty = Regularizer(**given)
        assert np.isinf(penalty.loss(big, 2).error).all()  # 300² is no float16
        assert np.isfinite(penalty.loss(exactly(big.value, A), 2).error).all()
    assert np.isinf(Regularizer(l2=1.0).gradient(big, 2, scale=2.0**15).error).all()
