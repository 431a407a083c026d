"""Does the output of a Dense layer follow from what it was given?"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from rnn_check.certificates.activated import activated
from rnn_check.certificates.factors import Factor
from rnn_check.certificates.layer import COLUMNS, grid_of, reach_of
from rnn_check.certificates.pieces import Piece, _Worst
from rnn_check.certificates.result import Certificate, advised, judge
from rnn_check.certificates.sums import Sum
from rnn_check.numbers import activations
from rnn_check.numbers.arrays import check as _check
from rnn_check.numbers.arrays import claimed as _claimed
from rnn_check.numbers.arrays import read as _read


def certify_dense(
    output: Any,
    *,
    h: Any,
    kernel: Any,
    bias: Any = None,
    activation: str | None = "linear",
    dtype: Any = None,
) -> Certificate:
    """Is this output act(h·V + c), up to rounding? The rest as `certify`.

    output (...,O), h (...,H) as the subject computed it, V = kernel (H,O), c = bias (O,).
    """
    name = activations.activation(activation).name
    given = _read("output", output)
    a = _claimed(dtype, given)
    hidden, V = _read("h", h, a).astype(np.float64), _read("kernel", kernel, a).astype(np.float64)
    _check("kernel", V, ("units", "outputs"), "a matrix")
    H, O = V.shape  # noqa: E741 - the sizes declared above
    _check("h", hidden, (*hidden.shape[:-1], H), "its last size is the kernel's first")
    _check("output", given, (*hidden.shape[:-1], O), "the leading sizes of h by outputs of kernel")
    c = None if bias is None else _read("bias", bias, a).astype(np.float64)
    if c is not None:
        _check("bias", c, (O,), "the outputs of kernel")

    def pieces(worst: _Worst) -> Iterator[Piece]:
        factor = Factor(V, a, bias=c, names=(("h", "kernel"),))
        rows = math.prod(hidden.shape[:-1])
        z = Sum(hidden.reshape(rows, H), factor).bounded(stored=2)
        observed = given.astype(np.float64).reshape(rows, O)
        wide = O if activations.activation(name).derivative is None else min(O, COLUMNS)
        grid = grid_of(len(observed), 1, O, wide)
        at = grid.within(0, len(observed)), grid.columns
        expected, bound, sample = activated(name, z, observed, at, True)
        yield Piece((), expected.reshape(given.shape), bound.reshape(given.shape), sample)

    return advised(judge(a, given, pieces, reach_of(name)), dtype, given)
