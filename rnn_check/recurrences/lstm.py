"""What should the numbers of a long short-term memory be?

    i_t = gate(x_t·W_i + h_{t-1}·U_i + b_i)     f_t, o_t alike: input, forget and output gate
    g_t = act(x_t·W_g + h_{t-1}·U_g + b_g)      the candidate
    c_t = f_t∘c_{t-1} + i_t∘g_t                 Hochreiter & Schmidhuber 1997, Gers et al. 2000
    h_t = o_t∘act(c_t)

Gates stand side by side in the order i, f, g, o, as in keras.layers.LSTM: kernel (F,4H),
recurrent_kernel (H,4H), bias (4H,).
"""

from __future__ import annotations

from typing import Any, NamedTuple


class Weights(NamedTuple):
    kernel: Any  # (F,4H)
    recurrent_kernel: Any  # (H,4H)
    bias: Any  # (4H,)


def step(n: Any, w: Weights, x: Any, h: Any, c: Any) -> tuple[Any, Any]:
    """One step in any reading n (see `numbers.reading`): the state, and the cell's."""
    i, f, g, o = n.split(n.affine((x, w.kernel), (h, w.recurrent_kernel), bias=w.bias), 4)
    c = n.gate(f) * c + n.gate(i) * n.act(g)
    return n.gate(o) * n.act(c), c
