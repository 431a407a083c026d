"""Does each adjoint follow from the one after it, and each gradient from the adjoints?

g_t = c_t + δ_{t+1}·Uᵀ            δ_t = g_t ∘ act'(z_t)
dW = Σ x_tᵀδ_t    dU = Σ h_{t-1}ᵀδ_t    db = Σ δ_t    dx_t = δ_t·Wᵀ    dh_0 = δ_1·Uᵀ

B batch, T timesteps, F features, H units, O outputs
c (B,T,H) = cotangent, dL/dh as far as it does not come through later states
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from rnn_check.certificates.factors import FLOAT64, Factor, Room, quanta
from rnn_check.certificates.layer import COLUMNS as _COLUMNS
from rnn_check.certificates.layer import Layer, _per_state
from rnn_check.certificates.layer import grid_of as _grid
from rnn_check.certificates.precision import NOTHING, Sample, sample_of
from rnn_check.certificates.result import (
    Certificate,
    Piece,
    Reach,
    _ratios,
    _residual,
    advised,
    judge,
)
from rnn_check.certificates.sums import Sum, Through
from rnn_check.numbers import activations
from rnn_check.numbers.arrays import check as _check
from rnn_check.numbers.arrays import read as _read
from rnn_check.numbers.bounded import vjp_bound
from rnn_check.numbers.formats import Array
from rnn_check.numbers.spread import derivative_error, derivative_spread


def certified(
    kind: type[Adjoint],
    layer: Layer,
    observed: Mapping[str, Any],
    cotangent: Any,
    cotangent_error: Any,
    cell_cotangent: Any,
) -> dict[str, Certificate]:
    """Is each adjoint the one that follows from the next? See `public.certify_gradients`."""
    shapes = layer.gradient_shapes
    got = {name: _read(name, array) for name, array in observed.items()}
    for name, array in got.items():
        if name not in shapes:
            raise ValueError(f"observed has {name!r}, but should have some of {', '.join(shapes)}")
        _check(f"observed {name}", array, shapes[name], "as the other arguments have it")
    if "delta" not in got:
        raise ValueError("observed has no 'delta', from which the others are judged")
    given: list[Any] = []
    for name, array, a in (
        ("cotangent", cotangent, layer.a),
        ("cotangent_error", cotangent_error, None),
        ("cell_cotangent", cell_cotangent, layer.a),
    ):
        given.append(None if array is None and name != "cotangent" else _read(name, array, a))
        if given[-1] is not None:
            _check(name, given[-1], layer.h.shape, "the states'")
    adjoint = kind(layer, got["delta"], *given)
    found = {}
    for name in sorted(got, key=lambda name: name != "delta"):  # what is known of it serves all
        pieces = functools.partial(adjoint.pieces, name, got[name])
        made = judge(layer.a, got[name], pieces, Reach(), adjoint.note(name))
        found[name] = advised(made, layer.dtype, got[name])
    return {name: found[name] for name in got}


class Adjoint:
    """The backward pass of a layer: what its gradients should be, given the observed adjoints."""

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
        F, H = len(self.layer.W), len(self.layer.U)
        if name == "delta":
            return self.deltas()
        if name == "x":
            return self.inputs(observed)
        if name == "kernel":
            return self.sums(slice(0, F), "x", observed)
        if name == "recurrent_kernel":
            return self.sums(slice(F, F + H), "states", observed)
        return self.biases(observed) if name == "bias" else self.starts(name, observed)

    def note(self, name: str) -> str:
        """What is not asked of the gradient of that name."""
        return ""

    def through_time(self, samples: slice, start: int, stop: int, copies: bool = True) -> Sum:
        """g of the states start to stop - 1; state 0 is the initial one, and step t makes t + 1.

        The adjoint of the next step that counts, through Uᵀ, and the cotangents of the state and of
        its `copies` by masked steps. For states that are themselves copies it means nothing.
        """
        layer, T, H = self.layer, self.delta.shape[1], self.delta.shape[2]
        n, end = samples.stop - samples.start, stop
        if layer.next is None:
            delta = self.delta[samples, start:stop].astype(np.float64)
            if stop > T:
                delta = np.concatenate([delta, np.zeros((n, 1, H))], axis=1)
        else:
            following = layer.next[samples, start:stop]
            at = np.minimum(following, T - 1)[:, :, None]
            delta = np.take_along_axis(self.delta[samples], at, axis=1).astype(np.float64)
            delta[following == T] = 0.0
            end = int(following.max()) + 1 if layer.most > 1 else stop
        g = Sum(delta.reshape(-1, H), self.back)
        own = _per_state(self.c, samples, start, end)
        size, error, unit = np.abs(own), np.zeros_like(own), None
        if self.c_error is not None:
            error = _per_state(self.c_error, samples, start, end)
        if not copies:
            own = size = error = np.zeros_like(own)
        elif layer.most > 1 and layer.mask is not None:
            begins = np.ones(own.shape[:2], bool)  # runs: a state that was made, and its copies
            begins[:, 1:] = layer.mask[samples, start : end - 1]
            if g.unit is not None:
                unit = quanta(own.reshape(-1, H)).reshape(*own.shape[:2], 1)
                unit = _runs(np.minimum, unit, begins)[:, : stop - start].reshape(-1)
            own, size, error = (_runs(np.add, part, begins) for part in (own, size, error))
        own, size, error = (part[:, : stop - start].reshape(-1, H) for part in (own, size, error))
        given = None if self.c_error is None else error
        return g.plus(own, size, unit).bounded(layer.most, stored=2 + layer.most, given=given)

    def deltas(self) -> Iterator[Piece]:
        """δ_t = g_t ∘ act'(z_t), or the adjoint of softmax and its like; 0 where skipped."""
        layer, a = self.layer, self.layer.a
        act, room = activations.activation(layer.name), Room()
        for samples, steps in layer.blocks():
            observed = self.delta[samples, steps].astype(np.float64)
            shape = observed.shape
            g = self.through_time(samples, steps.start + 1, steps.stop + 1)
            z = layer.preactivation(samples, steps, room)
            h = act.function(z.value)
            expected, bound = vjp_bound(layer.name, g.value, g.error, z.value, h, z.error, a)
            bound[~(np.isfinite(expected) & np.isfinite(z.value))] = np.inf
            nan = np.isnan(g.value) & (g.error == 0) & np.isnan(observed.reshape(bound.shape))
            bound[nan] = 0.0
            # δ is read by a product with the identity, in which an infinity meets zeros: inf·0
            beside = np.isinf(bound).any(axis=1, keepdims=True)
            bound[beside & np.isnan(observed.reshape(bound.shape))] = np.inf
            sample = NOTHING
            if act.derivative is not None:
                e = observed.reshape(expected.shape) - expected
                at = layer.sampled(samples, steps)
                sample = self.sample(e, g, z, h, layer.counted(samples, steps), *at)
            expected, bound = expected.reshape(shape), bound.reshape(shape)
            if layer.mask is not None:
                skipped = ~layer.mask[samples, steps]
                expected[skipped] = bound[skipped] = 0.0
                # a framework takes the step all the same, and throws away what it makes: 0·NaN
                lost = ~np.isfinite(z.value + z.error).reshape(shape) & skipped[:, :, None]
                bound[lost & np.isnan(observed)] = np.inf
            scale = np.abs(g.value).reshape(shape)  # act' is 1 at most, or not much more
            yield Piece((samples, steps), expected, bound, sample, scale=scale)

    def sample(
        self,
        e: Array,
        g: Sum,
        z: Sum,
        h: Array,
        counted: Any,
        rows: Array | slice,
        columns: Array | slice,
    ) -> Sample:
        """The errors of δ as seen from g; of those that z may have, typical ones are counted."""
        name, a = self.layer.name, self.layer.a
        derivative = activations.activation(name).derivative
        assert derivative is not None
        if counted is not True:
            counted = counted[rows]
        g, z = g.at(rows, columns), z.at(rows, columns)
        e, h = e[rows][:, columns], h[rows][:, columns]
        value, most = z.value, z.error
        slope = derivative(value, h)
        walk = np.abs(value) + 3 * np.sqrt(z.squares)  # as in sample_of
        typical = a.u_product * math.sqrt(z.terms / 3) * walk + z.lost
        off = derivative_spread(name, value, most)
        off *= np.where(typical < most, typical / most, 1)
        off += derivative_error(name, value, h, a, most)
        off += derivative_error(name, value, h, FLOAT64)
        noise = np.abs(g.value / slope) * off
        clear = (np.abs(slope) > 0.01) & np.isfinite(value + most) & counted
        return sample_of(g, e / slope, noise, clear)

    def inputs(self, observed: Array) -> Iterator[Piece]:
        """dx_t = δ_t·Wᵀ, in input order."""
        layer, T = self.layer, self.delta.shape[1]
        factor = Factor(layer.W.T, layer.a, names=(("delta", "kernel"),))
        (B, _, H), F = self.delta.shape, len(layer.W)
        grid = _grid(B, T, F, min(F, _COLUMNS))
        for samples, steps in layer.blocks():
            delta = self.delta[samples, steps].astype(np.float64)
            dx = Sum(delta.reshape(-1, H), factor).bounded(stored=1)
            first = samples.start * T + steps.start
            at = grid.within(first, first + len(dx.value)), grid.columns
            index = samples, steps
            if layer.go_backwards:
                before = T - 1 - steps.stop
                index = samples, slice(T - 1 - steps.start, before if before >= 0 else None, -1)
            yield _linear(index, dx, observed, at)

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
        grid = _grid(R, 1, H, min(H, _COLUMNS))
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
            yield _linear((), total, observed, at, squares, operands)

    def biases(self, observed: Array) -> Iterator[Piece]:
        """db = Σ δ_t."""
        return self.sums(None, "", observed)

    def starts(self, name: str, observed: Array) -> Iterator[Piece]:
        """dh_0 = δ_1·Uᵀ, and the cotangents of its copies where the states show it."""
        layer = self.layer
        for samples, steps in layer.blocks():
            if steps.start:
                continue
            alone = self.through_time(samples, 0, 1, copies=False)
            s, got = alone, observed[samples].astype(np.float64)
            if layer.most > 1 and layer.next is not None:
                copied = self.through_time(samples, 0, 1)
                keep = self.shows_copies(samples, got, alone, copied)
                s.value = np.where(keep, copied.value, alone.value)
                s.error = np.where(keep, copied.error, alone.error)
                s.addend_size = np.where(keep, copied.addend_size, 0.0)
            grid = _grid(len(s.value), 1, s.value.shape[1], min(s.value.shape[1], _COLUMNS))
            at = grid.within(0, len(s.value)), grid.columns
            yield _linear((samples,), s, observed, at)

    def shows_copies(self, samples: slice, got: Array, alone: Any, copied: Any) -> Array:
        """(n,1) Whether the cotangents of copies of the initial state are a part of its gradient.

        They are where masked first states show it, and not zeros. Where it is 0 itself nobody can
        tell, and what fits better is right.
        """
        layer = self.layer
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


def _runs(combine: np.ufunc, array: Array, begins: Array) -> Array:
    """(n,m,H): where a run begins, its elements combined in the order of time; 0 elsewhere."""
    flat, at = array.reshape(-1, array.shape[2]), np.flatnonzero(begins)
    combined = np.zeros_like(flat)
    combined[at] = combine.reduceat(flat, at, axis=0)
    return combined.reshape(array.shape)


def _linear(
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
