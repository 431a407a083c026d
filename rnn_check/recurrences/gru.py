"""What should the numbers of a gated recurrent unit be?

    z_t = gate(x_t·W_z + h_{t-1}·U_z + b_z)                 the update gate
    r_t = gate(x_t·W_r + h_{t-1}·U_r + b_r)                 the reset gate
    c_t = act(x_t·W_c + b_c + r_t∘(h_{t-1}·U_c + b'_c))     reset after the product (Keras, cuDNN)
    c_t = act(x_t·W_c + b_c + (r_t∘h_{t-1})·U_c)            reset before it (Cho et al. 2014)
    h_t = z_t∘h_{t-1} + (1 - z_t)∘c_t

Gates stand side by side in the order z, r, c, as in keras.layers.GRU: kernel (F,3H),
recurrent_kernel (H,3H), bias (3H,). With reset_after there are two biases, (2,3H) in Keras.
"""

from __future__ import annotations

from typing import Any, NamedTuple


class Weights(NamedTuple):
    """With the reset after the product."""

    kernel: Any  # (F,3H)
    recurrent_kernel: Any  # (H,3H)
    bias: Any  # (3H,)
    recurrent_bias: Any  # (3H,)


class WeightsBefore(NamedTuple):
    """With the reset before it: the recurrent kernel in two, that of the gates and U_c."""

    kernel: Any  # (F,3H)
    gates: Any  # (H,2H)
    candidate: Any  # (H,H)
    bias: Any  # (3H,)


def step(n: Any, w: Weights, x: Any, h: Any) -> tuple[Any]:
    """One step in any reading n (see `numbers.reading`), the reset after the product."""
    x_z, x_r, x_c = n.split(n.affine((x, w.kernel), bias=w.bias), 3)
    h_z, h_r, h_c = n.split(n.affine((h, w.recurrent_kernel), bias=w.recurrent_bias), 3)
    z, r = n.gate(x_z + h_z), n.gate(x_r + h_r)
    c = n.act(x_c + r * h_c)
    return (n.blend(z, h, c),)


def step_before(n: Any, w: WeightsBefore, x: Any, h: Any) -> tuple[Any]:
    """The same, the reset before the product."""
    x_z, x_r, x_c = n.split(n.affine((x, w.kernel), bias=w.bias), 3)
    h_z, h_r = n.split(n.affine((h, w.gates)), 2)
    z, r = n.gate(x_z + h_z), n.gate(x_r + h_r)
    c = n.act(x_c + n.affine((r * h, w.candidate)))
    return (n.blend(z, h, c),)
