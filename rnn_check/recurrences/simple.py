"""What should the numbers of a simple recurrent layer be?

    h_t = act(x_t·W + h_{t-1}·U + b)                          Elman 1990; keras.layers.SimpleRNN

    T timesteps, B batch, F features, H units
    x (T,B,F)   W = kernel (F,H)   U = recurrent_kernel (H,H)   b = bias (H,)
    h (T+1,B,H), the initial state first   z (T,B,H) the argument of act
    c (T,B,H) = dL/dh as far as it does not come through later states

This is the textbook, one line a step; `over_time` has the loop that is run, with masks and in no
time, and is held against it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from rnn_check.numbers.activations import activation
from rnn_check.numbers.formats import Array


class Weights(NamedTuple):
    kernel: Any  # (F,H)
    recurrent_kernel: Any  # (H,H)
    bias: Any  # (H,)


def step(n: Any, w: Weights, x: Any, h: Any) -> tuple[Any]:
    """One step in any reading n (see `numbers.reading`)."""
    return (n.act(n.affine((x, w.kernel), (h, w.recurrent_kernel), bias=w.bias)),)


def forward(x: Array, w: Weights, h0: Array, act: str | None = "tanh") -> tuple[Array, Array]:
    """h and z."""
    h, z = [h0], []
    for x_t in x:
        z.append(x_t @ w.kernel + h[-1] @ w.recurrent_kernel + w.bias)
        h.append(activation(act).function(z[-1]))
    return np.stack(h), np.stack(z)


def backward(
    c: Array, x: Array, w: Weights, h: Array, z: Array, act: str | None = "tanh"
) -> dict[str, Array]:
    """dL/d everything, by back-propagation through time."""
    delta, later = np.empty_like(z), np.zeros_like(h[0])
    for t in reversed(range(len(x))):
        delta[t] = activation(act).vjp(c[t] + later, z[t], h[t + 1])
        later = delta[t] @ w.recurrent_kernel.T
    return {
        "x": delta @ w.kernel.T,
        "kernel": np.einsum("tbf,tbh->fh", x, delta),
        "recurrent_kernel": np.einsum("tbi,tbj->ij", h[:-1], delta),
        "bias": delta.sum((0, 1)),
        "initial_state": later,
    }
