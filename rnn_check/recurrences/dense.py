"""What should the numbers of a Dense layer be, and how far may they be off?"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from rnn_check.numbers import activations, formats
from rnn_check.numbers.activated import _evaluated, vjp_bound
from rnn_check.numbers.activations import Activation
from rnn_check.numbers.arrays import check, of_one_dtype
from rnn_check.numbers.bounded import _given, _sum_error, operand
from rnn_check.numbers.formats import Array


@dataclass(frozen=True)
class DenseCache:
    """What dense_backward needs to remember of dense."""

    activation: Activation
    h: Array  # (...,H)
    kernel: Array  # (H,O)
    z: Array  # (...,O)
    output: Array  # (...,O)


class DenseGradients(NamedTuple):
    """The gradient of a loss with respect to each argument of dense."""

    h: Array  # (...,H)
    kernel: Array  # (H,O)
    bias: Array  # (O,) also without a bias: what one of zeros would receive


def dense(
    h: Array,
    kernel: Array,
    bias: Array | None = None,
    *,
    activation: str | None = "linear",
) -> tuple[Array, DenseCache]:
    """The output layer act(h·V + c): h (...,H), kernel V (H,O), bias c (O,) to (...,O).

    With activation="softmax" it is the article's ŷ = softmax(h·V + c).
    Raises ValueError for an unknown activation or shapes that do not fit.
    """
    act = activations.activation(activation)
    h, V, c = of_one_dtype(h, kernel, bias)
    check("kernel", V, ("units", "outputs"))
    H, O = V.shape  # noqa: E741 - the sizes declared above
    check("h", h, (*map(str, h.shape[:-1]), H), "its last size is the kernel's first")
    if c is not None:
        check("bias", c, (O,), "the outputs of kernel")
    z = h @ V if c is None else h @ V + c
    output = act.function(z)
    return output, DenseCache(act, h, V, z, output)


def dense_backward(doutput: Array, cache: DenseCache) -> DenseGradients:
    """The gradients of dense, given dL/d(output) (...,O); ValueError when its shape is another."""
    doutput = np.asarray(doutput)
    check("doutput", doutput, cache.z.shape, "the output that dense returned")
    dz = cache.activation.vjp(doutput, cache.z, cache.output)
    leading = tuple(range(dz.ndim - 1))
    return DenseGradients(
        h=dz @ cache.kernel.T,
        kernel=np.tensordot(cache.h, dz, axes=(leading, leading)),
        bias=dz.sum(axis=leading),
    )


class RunningDense:
    """output (...,O) of `dense` in float64, and bound, how far another's may be off, whose h is.

    h (...,H) is off by h_error; errors has the keys kernel and bias; the rest as running.Running.
    """

    def __init__(
        self,
        h: Array,
        h_error: Array | float,
        kernel: Array,
        bias: Array | None = None,
        *,
        activation: str | None = "linear",
        arithmetic: Any = "float32",
        errors: Mapping[str, Array] | None = None,
        round_inputs: bool = True,
    ) -> None:
        errors = {} if errors is None else errors
        if unknown := [name for name in errors if name not in ("kernel", "bias")]:
            raise ValueError(f"errors of {unknown[0]!r}: known are kernel, bias")
        self.a = a = formats.arithmetic(arithmetic)
        h, V = np.asarray(h, np.float64), np.asarray(kernel, np.float64)
        c = np.zeros(V.shape[1]) if bias is None else np.asarray(bias, np.float64)
        with np.errstate(all="ignore"):
            self.output, self.cache = dense(h, V, c, activation=activation)
            self.h = operand(h, h_error, a)
            self.kernel = _given(V, errors.get("kernel", 0.0), a, round_inputs)
            offset = _given(c, errors.get("bias", 0.0), a, round_inputs)
            self.D = _sum_error(a, ((self.h, self.kernel),), (offset,), k=len(V) + 2, stored=2)
            name, z = self.cache.activation.name, self.cache.z
            self.bound = _evaluated(name, z, self.output, self.D, a)

    def gradients(
        self, doutput: Array, doutput_error: Array | float, rounded: Array | float = 0.0
    ) -> tuple[DenseGradients, DenseGradients]:
        """Those of `dense_backward` in float64, and how far another's may be off.

        doutput (...,O) is dL/d(output), off by doutput_error; rounded, by how much the output is
        rounded by hand before act' is made of it.
        """
        a, cache = self.a, self.cache
        with np.errstate(all="ignore"):
            doutput = np.asarray(doutput, np.float64)
            dz, error = vjp_bound(
                cache.activation.name, doutput, doutput_error, cache.z, self.output, self.D, a,
                rounded,
            )  # fmt: skip
            d = operand(dz, error, a)
            rows = math.prod(dz.shape[:-1])
            ones = operand(np.ones((1, rows)), 0.0, a)
            return dense_backward(doutput, cache), DenseGradients(
                h=_sum_error(a, ((d, self.kernel.T),), k=dz.shape[-1] + 1),
                kernel=_sum_error(a, ((self.h.rows.T, d.rows),), k=rows + 1),
                bias=_sum_error(a, ((ones, d.rows),), k=rows + 1, stored=rows + 1)[0],
            )
