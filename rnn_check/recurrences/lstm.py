"""What should the numbers of a long short-term memory be?

    i_t = gate(x_t·W_i + h_{t-1}·U_i + b_i)     f_t, o_t alike: input, forget and output gate
    g_t = act(x_t·W_g + h_{t-1}·U_g + b_g)      the candidate, Keras's "c" among the gates
    c_t = f_t∘c_{t-1} + i_t∘g_t                 Hochreiter & Schmidhuber 1997, Gers et al. 2000
    h_t = o_t∘act(c_t)

and backwards, from dh_t = dL/dh_t and dc_t = dL/dc_t as far as it does not come through h_t:

    dc_t += dh_t∘o_t∘act'(c_t)
    δ_i = dc_t∘g_t∘gate'    δ_f = dc_t∘c_{t-1}∘gate'    δ_g = dc_t∘i_t∘act'
    δ_o = dh_t∘act(c_t)∘gate'                   each at its own argument
    dh_{t-1} = δ_t·Uᵀ       dc_{t-1} = f_t∘dc_t
    dW = Σ x_tᵀδ_t          dU = Σ h_{t-1}ᵀδ_t          db = Σ δ_t

Gates stand side by side in the order i, f, g, o, as in keras.layers.LSTM: kernel (F,4H),
recurrent_kernel (H,4H), bias (4H,).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from rnn_check.numbers.activations import Activation
from rnn_check.numbers.formats import Array


class Weights(NamedTuple):
    kernel: Any  # (F,4H)
    recurrent_kernel: Any  # (H,4H)
    bias: Any  # (4H,), or None


class Step(NamedTuple):
    """All of one step, (B,H) each; s the arguments of i, f, g and o."""

    h: Any
    c: Any
    i: Any
    f: Any
    g: Any
    o: Any
    s: Any


def step(n: Any, w: Weights, x: Any, h: Any, c: Any) -> Step:
    """One step in any reading n (see `numbers.reading`)."""
    s = n.split(n.affine((x, w.kernel), (h, w.recurrent_kernel), bias=w.bias), 4)
    i, f = n.gate(s[0], "i"), n.gate(s[1], "f")
    g, o = n.act(s[2], "g"), n.gate(s[3], "o")
    c = n.seen("c", f * c, i * g)
    return Step(o * n.act(c, "h"), c, i, f, g, o, s)


def step_back(
    act: Activation, gate: Activation, w: Weights, before: tuple[Array, Array], s: Step,
    dh: Array, dc: Array,
) -> tuple[Array, Array, tuple[Array, Array]]:  # fmt: skip
    """δ (B,4H), dU (H,4H) of this step alone, and dL/dh and dL/dc of the states before it."""
    h, c = before
    t = act.function(s.c)
    dc = dc + act.vjp(dh * s.o, s.c, t)
    delta = np.concatenate(
        [
            gate.vjp(dc * s.g, s.s[0], s.i),
            gate.vjp(dc * c, s.s[1], s.f),
            act.vjp(dc * s.i, s.s[2], s.g),
            gate.vjp(dh * t, s.s[3], s.o),
        ],
        axis=-1,
    )
    return delta, h.T @ delta, (delta @ w.recurrent_kernel.T, dc * s.f)
