"""What was a certificate asked of?  In Keras's layout, for who looks for causes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from rnn_check.numbers.arrays import numbers
from rnn_check.numbers.formats import Array
from rnn_check.recurrences.kinds import Recurrence


@dataclass(frozen=True)
class Asked:
    """The arguments of `certify` or of `certify_gradients`, read.

    x (B,T,F), kernel (F,GH), recurrent_kernel (H,GH), bias as Keras has it, second the one that was
    added to it, starts an array (B,H) for each state, mask (B,T). off: by how much each may be off.
    observed, cotangent: of gradients, as Keras has them.
    """

    recurrence: str
    options: Mapping[str, Any]
    arithmetic: str
    states: Array
    x: Array
    kernel: Array
    recurrent_kernel: Array
    bias: Array | None
    second: Array | None
    starts: tuple[Array, ...]
    mask: Array | None
    off: Mapping[str, float]
    observed: Mapping[str, Array] | None = None
    cotangent: Array | None = None
    cell_cotangent: Array | None = None

    @classmethod
    def of(
        cls, r: Recurrence, states: Any, given: Mapping[str, Any], features: int, **rest: Any
    ) -> Asked:
        """given: the arrays as `layouts.Layout.keras` leaves them; features: of x itself."""

        def wide(name: str) -> Array:
            return numbers(name, given[name]).astype(np.float64)

        kernel, bias, second = wide("kernel"), None, None
        if given["bias"] is not None:
            bias = wide("bias")
        if len(kernel) > features and bias is not None:
            second = kernel[features]
            bias = bias + second
        start = given["initial_state"]
        starts = () if start is None else (start,) if len(r.states) < 2 else tuple(start)
        mask = given["mask"]
        return cls(
            recurrence=r.name, states=numbers("states", states),
            x=wide("x")[:, :, :features], kernel=kernel[:features],
            recurrent_kernel=wide("recurrent_kernel"), bias=bias, second=second,
            starts=tuple(numbers("initial_state", s).astype(np.float64) for s in starts),
            mask=None if mask is None else numbers("mask", mask).astype(bool), **rest,
        )  # fmt: skip
