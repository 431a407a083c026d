"""Does each gradient follow from the adjoints?

dW = Σ x_tᵀδ_t    dU = Σ h_{t-1}ᵀδ_t    db = Σ δ_t    dx_t = δ_t·Wᵀ

δ_t = dL/dz_t is seen, as one feature more for each unit shows it, that is 0 in x and 1 in the
unit's column of the kernel. What it follows from itself, and dL/dh_0 from it, is said by
`adjoints`, and with gates by `gated_adjoints`.

B batch, T timesteps, F features, H units
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from rnn_check.certificates.factors import Factor, Room
from rnn_check.certificates.layer import COLUMNS, Layer, grid_of
from rnn_check.certificates.layouts import SECOND_BIAS
from rnn_check.certificates.pieces import Piece, Reach, _ratios, _residual
from rnn_check.certificates.precision import sample_of
from rnn_check.certificates.result import Certificate, advised, judge
from rnn_check.certificates.sums import Sum, Through
from rnn_check.numbers.arrays import check, read
from rnn_check.numbers.formats import Array


def read_observed(
    layer: Layer, observed: Mapping[str, Any], cotangent: Any, error: Any, cell_cotangent: Any
) -> tuple[dict[str, Array], list[Any]]:
    """What was observed, and the cotangents: each of the shape that it has to have."""
    shapes = layer.gradient_shapes
    if layer.features < len(layer.W):
        shapes = shapes | {SECOND_BIAS: shapes["bias"]}
    got = {name: read(name, array) for name, array in observed.items()}
    for name, array in got.items():
        if name not in shapes:
            raise ValueError(f"observed has {name!r}, but should have some of {', '.join(shapes)}")
        check(f"observed {name}", array, shapes[name], "as the other arguments have it")
    given: list[Any] = []
    for name, array, a in (
        ("cotangent", cotangent, layer.a),
        ("cotangent_error", error, None),
        ("cell_cotangent", cell_cotangent, layer.a),
    ):
        given.append(None if array is None and name != "cotangent" else read(name, array, a))
        if given[-1] is not None:
            check(name, given[-1], layer.h.shape, "the states'")
    return got, given


def certified(
    kind: type[Gradients],
    layer: Layer,
    observed: Mapping[str, Any],
    cotangent: Any,
    cotangent_error: Any,
    cell_cotangent: Any,
) -> dict[str, Certificate]:
    """Is each adjoint the one that follows from the next? See `public.certify_gradients`."""
    got, given = read_observed(layer, observed, cotangent, cotangent_error, cell_cotangent)
    if "delta" not in got:
        raise ValueError("observed has no 'delta', from which the others are judged")
    adjoint = kind(layer, got["delta"], *given)
    found = {}
    for name in sorted(got, key=lambda name: name != "delta"):  # what is known of it serves all
        pieces = functools.partial(adjoint.pieces, name, got[name])
        note = adjoint.note(name)
        made = judge(layer.a, got[name], pieces, Reach(), note, backwards=name == "delta")
        found[name] = advised(made, layer.dtype, got[name])
    return {name: found[name] for name in got}


class Gradients:
    """What the gradients of a layer should be, given the observed adjoints.

    stored: how many results make an input's gradient, partial sums included.
    """

    stored = 1

    def __init__(
        self,
        layer: Layer,
        delta: Array,
        c: Array,
        c_error: Array | None = None,
        cell_c: Array | None = None,
    ) -> None:
        self.layer, self.delta, self.c, self.c_error, self.cell_c = layer, delta, c, c_error, cell_c
        self.back = Factor(layer.U.T, layer.a, names=(("delta", "recurrent_kernel"),))

    def pieces(self, name: str, observed: Array, worst: Any) -> Iterator[Piece]:
        """What the gradient of that name should be."""
        rows, F, H = len(self.layer.W), self.layer.features, len(self.layer.U)
        if name == "delta":
            return self.deltas()
        if name == "x":
            return self.inputs(observed)
        if name == "kernel":
            return self.sums(slice(0, F), "x", observed)
        if name == "recurrent_kernel":
            return self.sums(slice(rows, rows + H), "states", observed)
        is_bias = name in ("bias", SECOND_BIAS)
        return self.biases(observed) if is_bias else self.starts(name, observed)

    def note(self, name: str) -> str:
        """What is not asked of the gradient of that name."""
        return ""

    def deltas(self) -> Iterator[Piece]:
        """The adjoints themselves, of each from the one after it."""
        raise NotImplementedError

    def starts(self, name: str, observed: Array) -> Iterator[Piece]:
        """dL/d(initial state) of that name."""
        raise NotImplementedError

    def inputs(self, observed: Array) -> Iterator[Piece]:
        """dx_t = δ_t·Wᵀ, in input order."""
        layer, T = self.layer, self.delta.shape[1]
        (B, _, H), F = self.delta.shape, layer.features
        factor = Factor(layer.W[:F].T, layer.a, names=(("delta", "kernel"),))
        grid = grid_of(B, T, F, min(F, COLUMNS))
        for samples, steps in layer.blocks():
            delta = self.delta[samples, steps].astype(np.float64)
            dx = Sum(delta.reshape(-1, H), factor).bounded(stored=self.stored)
            first = samples.start * T + steps.start
            at = grid.within(first, first + len(dx.value)), grid.columns
            index = samples, steps
            if layer.go_backwards:
                before = T - 1 - steps.stop
                index = samples, slice(T - 1 - steps.start, before if before >= 0 else None, -1)
            yield linear(index, dx, observed, at)

    def factors(self, part: slice | None, room: Room) -> Iterator[tuple[Array, Array, Any]]:
        """[x_t, h_{t-1}]ᵀ of each block, that part of it, or ones; δ_t; what their errors make."""
        for samples, steps in self.layer.blocks():
            delta = self.delta[samples, steps].astype(np.float64)
            delta = delta.reshape(-1, self.delta.shape[2])
            rows = np.ones((len(delta), 1))
            if part is not None:
                rows = self.layer.operands(samples, steps, room)[:, part]
            yield np.ascontiguousarray(rows.T), delta, None

    def sums(self, part: slice | None, name: str, observed: Array) -> Iterator[Piece]:
        """dW and dU, those parts of Σ [x_t, h_{t-1}]ᵀδ_t, and db = Σ δ_t; `name` of the former."""
        layer, H = self.layer, self.delta.shape[2]
        T, R = self.delta.shape[1], observed.size // max(H, 1)
        grid = grid_of(R, 1, H, min(H, COLUMNS))
        at = grid.within(0, R), grid.columns
        total: Sum | None = None
        squares: Any = 0.0
        off: Any = None
        room = Room()
        for rows, delta, brought in self.factors(part, room):
            if brought is not None:
                off = brought if off is None else off + brought
            block = Sum(rows, Factor(delta, layer.a, tight=True))
            squares = squares + block.at(*at).squares
            if total is None:
                total = block
            else:
                total.value += block.value
                total.size += block.size
                total.terms += block.terms
                total.lost = total.lost + block.lost
                if total.unit is not None:
                    total.unit = None if block.unit is None else np.minimum(total.unit, block.unit)
                if block.special is not None:
                    total.special = block.special | (
                        False if total.special is None else total.special
                    )

        def operands() -> Iterator[tuple[str, str, Array, Array, Through | None]]:
            for rows, delta, _ in self.factors(part, room):
                yield name, "delta", rows[at[0]], delta[:, at[1]], None

        if total is not None:
            total = total.bounded(stored=T + 2, given=off)
            yield linear((), total, observed, at, squares, operands)

    def biases(self, observed: Array) -> Iterator[Piece]:
        """db = Σ δ_t."""
        return self.sums(None, "", observed)


def linear(
    index: tuple[slice, ...],
    s: Sum,
    observed: Array,
    at: tuple[Array | slice, Array | slice],
    squares: Array | None = None,
    operands: Any = None,
) -> Piece:
    """A piece that is a sum of products and nothing else; at: the rows and columns of a sample."""
    got = observed[index].astype(np.float64)
    rows, columns = at
    e = (got.reshape(s.value.shape) - s.value)[rows][:, columns]
    sample = sample_of(s.at(rows, columns), e, squares=squares, operands=operands)
    nan = np.isnan(got.reshape(s.value.shape))
    s.error[np.isinf(s.value) & nan] = np.inf  # inf - inf
    s.error[np.isnan(s.value) & ~nan] = np.inf  # δ is read by a product: inf·0 hides its neighbours
    return Piece(index, s.value.reshape(got.shape), s.error.reshape(got.shape), sample)


def shows_copies(layer: Layer, samples: slice, got: Array, alone: Any, copied: Any) -> Array:
    """(n,1) Whether the cotangents of copies of the initial state are a part of its gradient.

    They are where masked first states show it, and not zeros. Where it is 0 itself nobody can
    tell, and what fits better is right.
    """
    assert layer.next is not None
    shown = layer.h[samples, 0].astype(np.float64)  # a copy, if it is masked
    masked = (layer.next[samples, 0] > 0)[:, None]
    zeros = (shown == 0).all(axis=1, keepdims=True)
    either = zeros & (layer.h0[samples] == 0).all(axis=1, keepdims=True)
    far, near = (
        _ratios(_residual(got, one.value), one.error).max(axis=1, keepdims=True)
        for one in (alone, copied)
    )
    return np.asarray(masked & (~zeros | (either & (near < far))))
