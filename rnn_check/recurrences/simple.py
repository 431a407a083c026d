"""What should the numbers of a simple recurrent layer be?

    h_t = act(z_t)     z_t = x_t·W + h_{t-1}·U + b           Elman 1990; keras.layers.SimpleRNN

and backwards, from dh_t = dL/dh_t:

    δ_t = dh_t∘act'(z_t)    dh_{t-1} = δ_t·Uᵀ
    dW = Σ x_tᵀδ_t          dU = Σ h_{t-1}ᵀδ_t    db = Σ δ_t
"""

from __future__ import annotations

from typing import Any, NamedTuple

from rnn_check.numbers.activations import Activation
from rnn_check.numbers.formats import Array


class Weights(NamedTuple):
    kernel: Any  # (F,H)
    recurrent_kernel: Any  # (H,H)
    bias: Any  # (H,), or None


class Step(NamedTuple):
    """All of one step, (B,H); s the argument of act."""

    h: Any
    s: Any


def step(n: Any, w: Weights, x: Any, h: Any) -> Step:
    """One step in any reading n (see `numbers.reading`)."""
    z = n.affine((x, w.kernel), (h, w.recurrent_kernel), bias=w.bias)
    return Step(n.act(z, "h"), [z])


def step_back(
    act: Activation, gate: Activation, w: Weights, before: tuple[Array], s: Step, dh: Array
) -> tuple[Array, Array, tuple[Array]]:
    """δ (B,H), dU (H,H) of this step alone, and dL/dh of the state before it."""
    delta = act.vjp(dh, s.s[0], s.h)
    return delta, before[0].T @ delta, (delta @ w.recurrent_kernel.T,)
