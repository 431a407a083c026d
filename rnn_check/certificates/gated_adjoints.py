"""Does each adjoint of a gated recurrence follow from the one after it, and each gradient from all?

δ_t (GH), dL/d of the arguments of the gates, is seen. So is what a step hands on through h·U, and
with it an LSTM's dh_t, of which δ_o is asked. The other δ_t have to lie where P_t, which is in part
hidden, says that they do (see `hidden`). The gradients of the weights are sums of products with
δ_t; of a GRU's recurrent kernel with δ_c∘r, or with r∘h, which are off by what r is.

    B batch, T timesteps, F features, H units, G gates        R rows: samples × steps
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from rnn_check.certificates.factors import Factor, Room
from rnn_check.certificates.gated_backward import STORED, Backward, Block
from rnn_check.certificates.gated_layer import GatedLayer
from rnn_check.certificates.gradients import Gradients, shows_copies
from rnn_check.certificates.hidden import (
    Left,
    Total,
    hidden_adjoints,
    in_time,
    nothing_left,
    seen_adjoints,
    told,
)
from rnn_check.certificates.observer import Between
from rnn_check.certificates.pieces import Piece
from rnn_check.certificates.precision import NOTHING, Sample, sample_of
from rnn_check.certificates.sums import Sum
from rnn_check.numbers import activations
from rnn_check.numbers.activated import vjp_bound
from rnn_check.numbers.bounded import Bounded, exactly
from rnn_check.numbers.formats import Array, gamma
from rnn_check.numbers.spread import derivative_error, derivative_spread
from rnn_check.recurrences.kinds import GRU, LSTM

# of what also comes from an adjoint that is hidden, whose doubt is as large
_UNASKED = "; how its sums were made is not asked"


def _finite(x: Array) -> Array:
    """|x|, what an error is multiplied with: beside a NaN none counts."""
    return np.nan_to_num(np.abs(x))


class GatedAdjoint(Gradients):
    """What the gradients of a gated recurrence should be, given the observed adjoints."""

    layer: GatedLayer
    stored = STORED

    def __init__(self, layer: GatedLayer, delta: Array, c: Array, *more: Array | None) -> None:
        super().__init__(layer, delta, c, *more)
        self.backward = Backward(layer, delta)
        self.left: dict[int, Left] = {}  # before all steps, by the first sample

    def note(self, name: str) -> str:
        silent = name == "initial_state" or (name == "delta" and not self.asks_sums)
        return _UNASKED if silent else ""

    @property
    def asks_sums(self) -> bool:
        """Whether δ_o shows how dh was summed; of other δ a part is hidden."""
        layer = self.layer
        shows = layer.recurrence is LSTM and layer.c is not None and layer.mask is None
        return shows and activations.activation(layer.gate).derivative is not None

    def deltas(self) -> Iterator[Piece]:
        """δ_t of each gate; 0 where skipped."""
        layer, backward = self.layer, self.backward
        left = nothing_left(0, 0)
        for samples, steps in sorted(layer.blocks(), key=lambda at: (at[0].start, -at[1].start)):
            if steps.stop == layer.h.shape[1]:
                left = nothing_left(samples.stop - samples.start, layer.h.shape[2])
            backward.differ[samples, steps] = 0.0  # what is asked for twice is the same twice
            b = backward.block(samples, steps)
            if layer.recurrence is not LSTM:
                backward.again(samples, steps, b, self.backwards(samples, steps, b, left)[2])
                b = backward.block(samples, steps)
            left, seen, P = self.backwards(samples, steps, b, left)
            if not steps.start:
                self.left[samples.start] = left
            yield self.judged(samples, steps, b, seen, P)

    def backwards(
        self, samples: slice, steps: slice, b: Block, left: Left
    ) -> tuple[Left, Bounded, Bounded]:
        """Back over a block: what is left for the steps before it; dh and the hidden adjoint in it.

        dh, or a GRU's part of it that is seen. (n,m,H)
        """
        layer, a = self.layer, self.layer.a
        shape = layer.h[samples, steps].shape

        def block(x: Bounded) -> Bounded:
            return x.each(lambda part: part.reshape(shape))

        c = self.c[samples, steps].astype(np.float64)
        e = np.zeros(shape) if self.c_error is None else self.c_error[samples, steps]
        totals, later, shown = seen_adjoints(layer, samples, steps, block(b.on), c, e, left)
        seen = in_time([total.bounded(a) for total in totals])
        each = np.split(self.backward.rows(samples, steps), len(b.gates), axis=-1)
        limits = [
            Between(*(part.reshape(shape) for part in told(gate, delta, a)))
            for gate, delta in zip(b.gates, each, strict=True)
        ]
        if b.direct is not None:
            o, cell, act = b.direct
            own = block(self.vjp(layer.name, seen.rows * o, cell, act.value))
            totals = [Total.of(own.value[:, t], own.error[:, t]) for t in range(shape[1])]
        cell_c = None if self.cell_c is None else self.cell_c[samples, steps].astype(np.float64)
        keep = None if layer.mask is None else layer.mask[samples, steps]
        P, hidden = hidden_adjoints(totals, limits, block(b.carries), cell_c, keep, left.hidden)
        return Left(later, hidden, shown), seen, P

    def vjp(self, name: str, g: Bounded, s: Bounded, h: Array) -> Bounded:
        return Bounded(*vjp_bound(name, g.value, g.error, s.value, h, s.error, self.layer.a),
                       self.layer.a)  # fmt: skip

    def judged(self, samples: slice, steps: slice, b: Block, seen: Bounded, P: Bounded) -> Piece:
        layer, a = self.layer, self.layer.a
        shape = layer.h[samples, steps].shape
        R, H = shape[0] * shape[1], shape[2]
        seen, P = (x.each(lambda part: part.reshape(R, H)) for x in (seen, P))
        values, bounds, scales = [], [], []
        finite = np.ones((R, 1), bool)
        for gate in b.gates:
            if gate.k is not None:
                g = P * gate.k
                if gate.size is not None:  # g·h - g·c
                    more = gamma(3, a.u_stored) * (np.abs(P.value) + P.error) * (
                        gate.size + gate.k.error)  # fmt: skip
                    g = Bounded(g.value, g.error + more, a)
            else:
                assert gate.of is not None
                g = gate.of if b.direct is None else seen * gate.of
            found = self.vjp(gate.name, g, gate.s, gate.value)
            values.append(found.value)
            bounds.append(found.error)
            scales.append(np.abs(g.value))
            finite = finite & np.isfinite(gate.s.value + gate.s.error).all(axis=1, keepdims=True)
        expected, bound = np.concatenate(values, axis=-1), np.concatenate(bounds, axis=-1)
        observed = self.backward.rows(samples, steps)
        sample = self.of_output(samples, steps, b, observed, values[-1])
        bound[~np.isfinite(expected)] = np.inf
        # δ is read by a product with the identity, in which an infinity meets zeros: inf·0
        beside = np.isinf(bound).any(axis=1, keepdims=True)
        bound[beside & np.isnan(observed)] = np.inf
        wide = (*shape[:2], expected.shape[1])
        expected, bound, scale = (
            part.reshape(wide) for part in (expected, bound, np.concatenate(scales, axis=-1))
        )
        if layer.mask is not None:
            skipped = ~layer.mask[samples, steps]
            expected[skipped] = bound[skipped] = 0.0
            # a framework takes the step all the same, and throws away what it makes: 0·NaN
            lost = ~finite.reshape(*shape[:2], 1) & skipped[:, :, None]
            bound[lost & np.isnan(observed.reshape(wide))] = np.inf
        return Piece((samples, steps), expected, bound, sample, scale=scale)

    def of_output(
        self, samples: slice, steps: slice, b: Block, observed: Array, expected: Array
    ) -> Sample:
        """The errors of an LSTM's δ_o as seen from dh = c + δ_{t+1}·Uᵀ."""
        layer, a, T = self.layer, self.layer.a, self.delta.shape[1]
        derivative = activations.activation(layer.gate).derivative
        if not self.asks_sums or b.direct is None or derivative is None:
            return NOTHING
        rows, units = layer.sampled(samples, steps)
        H = layer.h.shape[2]
        n = steps.stop - steps.start
        rows, units = np.arange(len(expected))[rows], np.arange(H)[units]
        sample, step = samples.start + rows // n, steps.start + rows % n
        rows, sample, step = (part[step + 1 < T] for part in (rows, sample, step))
        if not len(rows):
            return NOTHING
        following = self.delta[sample, step + 1].astype(np.float64)
        g = Sum(following, self.back_columns(units))
        own = self.c[sample, step][:, units].astype(np.float64)
        g = g.plus(own, np.abs(own)).bounded(1, stored=4)
        gate, t = b.gates[3], b.direct[2]

        def at(part: Array) -> Array:
            return np.asarray(part[rows][:, units])

        s, o = at(gate.s.value), at(gate.value)
        slope = derivative(s, o) * at(t.value)
        off = derivative_error(layer.gate, s, o, a) * np.abs(at(t.value))
        off = off + np.abs(slope) * 4 * a.u_stored + np.abs(derivative(s, o)) * at(t.error)
        off = off + derivative_spread(layer.gate, s, at(gate.s.error)) * np.abs(at(t.value))
        e = at(observed[:, 3 * H :]) - at(expected)
        clear = (np.abs(slope) > 0.001) & np.isfinite(s)
        return sample_of(g, e / slope, np.abs(g.value / slope) * off, clear)

    def back_columns(self, units: Array) -> Factor:
        if not hasattr(self, "_back_columns"):
            self._back_columns = self.back.columns(units)
        return self._back_columns

    def factors(self, part: slice | None, room: Room) -> Iterator[tuple[Array, Array, Any]]:
        """As of any layer; of a GRU's recurrent kernel, with δ_c∘r or r∘h in place of δ_c and h."""
        layer, a, H = self.layer, self.layer.a, self.layer.h.shape[2]
        is_recurrent = part is not None and part.start > 0
        if layer.recurrence is LSTM or not (is_recurrent or self.recurrent_bias):
            yield from super().factors(part, room)
            return
        for samples, steps in layer.blocks():
            _, s, _ = self.backward.step(samples, steps)
            delta = self.backward.rows(samples, steps)
            differ = self.backward.differ[samples, steps].reshape(delta.shape)
            d = Bounded(delta[:, 2 * H :], differ[:, 2 * H :], a)
            h = exactly(np.ones((len(delta), 1)), a)
            if is_recurrent:
                h = layer.handed(samples, steps)
            rows = h.value
            if layer.recurrence is GRU:
                q = d * s.r
                delta = np.concatenate([delta[:, : 2 * H], q.value], axis=1)
                off = np.concatenate([differ[:, : 2 * H], q.error], axis=1)
                brought = h.error.T @ (_finite(delta) + off) + np.abs(rows).T @ off
                yield np.ascontiguousarray(rows.T), delta, brought
                continue
            # rows of their own for the candidate: zeros elsewhere
            zero = np.zeros((len(delta), H))
            of_gates = np.concatenate([delta[:, : 2 * H], zero], axis=1)
            of_c = np.concatenate([zero, zero, d.value], axis=1)
            off = np.concatenate([differ[:, : 2 * H], zero], axis=1)
            brought = h.error.T @ (_finite(of_gates) + off) + np.abs(rows).T @ off
            yield np.ascontiguousarray(rows.T), of_gates, brought
            off = np.concatenate([zero, zero, d.error], axis=1)
            reset = s.inner.known
            brought = reset.error.T @ (np.abs(of_c) + off) + np.abs(reset.value).T @ off
            yield np.ascontiguousarray(reset.value.T), of_c, brought

    recurrent_bias = False

    def biases(self, observed: Array) -> Iterator[Piece]:
        """db = Σ δ_t; of two biases, the second as a unit that is always 1 beside h."""
        if self.layer.recurrence.biases == 1:
            yield from self.sums(None, "", observed)
            return
        for i, row in enumerate(observed):
            self.recurrent_bias = i == 1
            for piece in self.sums(None, "", row):
                yield piece._replace(
                    place=(slice(i, i + 1),),
                    expected=piece.expected[None], bound=piece.bound[None],
                )  # fmt: skip
        self.recurrent_bias = False

    def starts(self, name: str, observed: Array) -> Iterator[Piece]:
        """dL/d(initial state): what is left; with the cotangents of its copies where states show
        it."""
        layer, a = self.layer, self.layer.a
        if not self.left:
            for _ in self.deltas():
                pass
        groups = {samples.start: samples for samples, _ in layer.blocks()}
        for first, (later, hidden, shown) in self.left.items():
            samples = groups[first]
            got = observed[samples].astype(np.float64)
            if name == "initial_cell_state":
                alone = hidden.bounded(a)
            else:
                total = later
                if layer.recurrence is not LSTM:
                    total = later.joined(hidden)
                alone = total.bounded(a)
                if shown.addends:
                    copied = total.joined(shown).bounded(a)
                    keep = shows_copies(layer, samples, got, alone, copied)
                    alone = Bounded(
                        np.where(keep, copied.value, alone.value),
                        np.where(keep, copied.error, alone.error),
                        a,
                    )
            value, error = alone.value, alone.error
            error = np.where(np.isfinite(value), error, np.inf)
            yield Piece((samples,), value, error)
