"""What should the numbers of a gated recurrent unit be?

    z_t = gate(x_t·W_z + h_{t-1}·U_z + b_z + b'_z)          the update gate
    r_t = gate(x_t·W_r + h_{t-1}·U_r + b_r + b'_r)          the reset gate
    q_t = h_{t-1}·U_c + b'_c
    c_t = act(x_t·W_c + b_c + r_t∘q_t)                      reset after the product (Keras, cuDNN)
    c_t = act(x_t·W_c + b_c + (r_t∘h_{t-1})·U_c)            reset before it (Cho et al. 2014)
    h_t = z_t∘h_{t-1} + (1 - z_t)∘c_t                       c the candidate, Keras's "h"

and backwards, from dh_t = dL/dh_t:

    δ_z = dh_t∘(h_{t-1} - c_t)∘gate'    δ_c = dh_t∘(1 - z_t)∘act'
    δ_r = δ_c∘q_t∘gate'    dh_{t-1} = z_t∘dh_t + [δ_z, δ_r]·Uᵀ + (δ_c∘r_t)·U_cᵀ            after
    δ_r = δ_c·U_cᵀ∘h_{t-1}∘gate'    dh_{t-1} = z_t∘dh_t + [δ_z, δ_r]·Uᵀ + (δ_c·U_cᵀ)∘r_t   before
    dW = Σ x_tᵀδ_t    db = Σ δ_t    dU as of any product, U_c's of h_{t-1}ᵀ(δ_c∘r_t) or
    (r_t∘h_{t-1})ᵀδ_c    db' = Σ [δ_z, δ_r, δ_c∘r_t]

Gates stand side by side in the order z, r, c, as in keras.layers.GRU: kernel (F,3H),
recurrent_kernel (H,3H), bias (3H,). With the reset after the product there are two biases, b and
b', in Keras the rows of one array (2,3H).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from rnn_check.numbers.activations import Activation
from rnn_check.numbers.formats import Array


class Weights(NamedTuple):
    """Those of both gates, and those of the candidate. Without biases None."""

    gates: Any  # (F,2H)
    recurrent_gates: Any  # (H,2H)
    gates_bias: Any  # (2,2H): b and b', which may be added up in any order; before: (2H,)
    candidate: Any  # (F,H)
    recurrent_candidate: Any  # (H,H)
    candidate_bias: Any  # (H,)
    recurrent_candidate_bias: Any  # (H,); before: None


class Step(NamedTuple):
    """All of one step, (B,H) each; s the arguments of z, r and c.

    inner: q with the reset after the product, r∘h with the reset before it.
    """

    h: Any
    z: Any
    r: Any
    c: Any
    s: Any
    inner: Any


def arranged(kernel: Any, recurrent_kernel: Any, bias: Any) -> Weights:
    """From Keras's arrays, of whatever leading axes. bias: (2,3H), or None."""
    w = arranged_before(kernel, recurrent_kernel, bias)
    if bias is None:
        return w
    of_x, of_h = np.split(w.candidate_bias, 2, axis=-2)
    return w._replace(candidate_bias=of_x[..., 0, :], recurrent_candidate_bias=of_h[..., 0, :])


def arranged_before(kernel: Any, recurrent_kernel: Any, bias: Any) -> Weights:
    """The same, the reset before the product. bias: (3H,), or None."""
    H = recurrent_kernel.shape[-2]
    two, last = (..., slice(0, 2 * H)), (..., slice(2 * H, None))
    of_gates, of_candidate = (None, None) if bias is None else (bias[two], bias[last])
    return Weights(
        kernel[two], recurrent_kernel[two], of_gates,
        kernel[last], recurrent_kernel[last], of_candidate, None,
    )  # fmt: skip


def joined(w: Weights) -> tuple[Array, Array, Array | None]:
    """And back."""
    bias = None
    if w.gates_bias is not None:
        of_candidate = w.candidate_bias
        if w.recurrent_candidate_bias is not None:
            of_candidate = np.stack([of_candidate, w.recurrent_candidate_bias], axis=-2)
        bias = np.concatenate([w.gates_bias, of_candidate], axis=-1)
    return (
        np.concatenate([w.gates, w.candidate], axis=-1),
        np.concatenate([w.recurrent_gates, w.recurrent_candidate], axis=-1),
        bias,
    )


def _gates(n: Any, w: Weights, x: Any, h: Any) -> Any:
    return n.split(n.affine((x, w.gates), (h, w.recurrent_gates), bias=w.gates_bias), 2)


def step(n: Any, w: Weights, x: Any, h: Any) -> Step:
    """One step in any reading n (see `numbers.reading`), the reset after the product."""
    s_z, s_r = _gates(n, w, x, h)
    z, r = n.gate(s_z, "z"), n.gate(s_r, "r")
    q = n.affine((h, w.recurrent_candidate), bias=w.recurrent_candidate_bias)
    s_c = n.affine((x, w.candidate), bias=w.candidate_bias) + r * q
    c = n.act(s_c, "c")
    return Step(n.blend(z, h, c), z, r, c, [s_z, s_r, s_c], q)


def step_before(n: Any, w: Weights, x: Any, h: Any) -> Step:
    """The same, the reset before the product."""
    s_z, s_r = _gates(n, w, x, h)
    z, r = n.gate(s_z, "z"), n.gate(s_r, "r")
    reset = r * h
    s_c = n.affine((x, w.candidate), (reset, w.recurrent_candidate), bias=w.candidate_bias)
    c = n.act(s_c, "c")
    return Step(n.blend(z, h, c), z, r, c, [s_z, s_r, s_c], reset)


def beside(delta: Array, s: Step) -> Array:
    """δ (B,3H) as b' receives it: of the candidate's what reaches q."""
    two = delta.shape[-1] // 3 * 2
    return np.concatenate([delta[..., :two], delta[..., two:] * s.r], axis=-1)


def step_back(
    act: Activation, gate: Activation, w: Weights, before: tuple[Array], s: Step, dh: Array
) -> tuple[Array, Array, tuple[Array]]:
    """δ (B,3H), dU (H,3H) of this step alone, and dL/dh of the state before; the reset after."""
    (h,) = before
    d_z = gate.vjp(dh * (h - s.c), s.s[0], s.z)
    d_c = act.vjp(dh * (1 - s.z), s.s[2], s.c)
    d_r = gate.vjp(d_c * s.inner, s.s[1], s.r)
    delta, d_q = np.concatenate([d_z, d_r, d_c], axis=-1), d_c * s.r
    of_gates = np.concatenate([d_z, d_r], axis=-1)
    dU = h.T @ np.concatenate([of_gates, d_q], axis=-1)
    later = dh * s.z + of_gates @ w.recurrent_gates.T + d_q @ w.recurrent_candidate.T
    return delta, dU, (later,)


def step_back_before(
    act: Activation, gate: Activation, w: Weights, before: tuple[Array], s: Step, dh: Array
) -> tuple[Array, Array, tuple[Array]]:
    """The same, the reset before the product."""
    (h,) = before
    d_z = gate.vjp(dh * (h - s.c), s.s[0], s.z)
    d_c = act.vjp(dh * (1 - s.z), s.s[2], s.c)
    through = d_c @ w.recurrent_candidate.T
    d_r = gate.vjp(through * h, s.s[1], s.r)
    of_gates = np.concatenate([d_z, d_r], axis=-1)
    dU = np.concatenate([h.T @ of_gates, s.inner.T @ d_c], axis=-1)
    later = dh * s.z + of_gates @ w.recurrent_gates.T + through * s.r
    return np.concatenate([of_gates, d_c], axis=-1), dU, (later,)
