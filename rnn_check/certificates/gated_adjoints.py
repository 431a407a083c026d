"""Does each adjoint of a gated recurrence follow from the one after it, and each gradient from all?

δ_t (GH), dL/d of the arguments of the gates, is seen. So is what a step hands on through h·U, and
with it an LSTM's dh_t, of which δ_o is asked. dc_t is hidden, as a GRU's dh_t is: each takes a part
from the same number of the next step, which nobody shows. But each δ says between which numbers it
lies, and an observer as in `observer` goes backwards:

    LSTM   P_t = dh_t∘o_t∘act'(c_t) + f_{t+1}∘J_{t+1}        J_t = P_t ∩ δ_i/(g∘gate') ∩ ...
    GRU    P_t = dL/dh_t + δ_{t+1}·Uᵀ + z_{t+1}∘J_{t+1}      J_t = P_t ∩ δ_c/((1 - z)∘act') ∩ ...

Each P_t says between which numbers δ_t lies. The gradients of the weights are sums of products with
δ_t; of a GRU's recurrent kernel with δ_c∘r, or with r∘h, which are off by what r is.

The δ that a GRU multiplies with U are others than those that it multiplies with W, and are seen:
a compiler may make them once more, in another order, with or without fused multiply-add. Where
1 - c² cancels that is no small difference (`again`).

    B batch, T timesteps, F features, H units, G gates
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from rnn_check.certificates.adjoints import Adjoint
from rnn_check.certificates.factors import FLOAT64, Factor, Room
from rnn_check.certificates.gated_layer import GatedLayer, Seen
from rnn_check.certificates.gated_layer import handed_on as _handed_on
from rnn_check.certificates.observer import Between, Observer
from rnn_check.certificates.precision import NOTHING, Sample, sample_of
from rnn_check.certificates.result import (
    Piece,
)
from rnn_check.certificates.sums import UP, Sum
from rnn_check.numbers import activations
from rnn_check.numbers.bounded import Bounded, exactly, flushed, vjp_bound
from rnn_check.numbers.formats import Array, gamma
from rnn_check.numbers.spread import (
    activation_error,
    derivative_error,
    derivative_spread,
    spread,
)
from rnn_check.recurrences.kinds import GRU, LSTM

# of what also comes from an adjoint that is hidden, whose doubt is as large
_UNASKED = "; how its sums were made is not asked"
_STORED = 5  # each gate's product may be stored, and what they add up to


class _Total(NamedTuple):
    """A sum that is still growing: |value - its| <= error, of addends in any order."""

    value: Array
    error: Array
    size: Array
    addends: int

    def plus(self, value: Any, error: Any = 0.0, size: Any = None) -> _Total:
        size = np.abs(value) if size is None else size
        return _Total(self.value + value, self.error + error, self.size + size, self.addends + 1)

    def joined(self, other: _Total) -> _Total:
        return _Total(
            self.value + other.value,
            self.error + other.error,
            self.size + other.size,
            self.addends + other.addends,
        )

    def bounded(self, a: Any) -> Bounded:
        """One addend is a copy, but may have been flushed."""
        k = max(self.addends - 1, 0)
        most = self.size + self.error
        own = (gamma(k, a.u_stored) + gamma(k + 1, FLOAT64.u)) * most + (k + 1) * a.min_normal
        error = (self.error + own) * UP
        return Bounded(self.value, np.where(most <= a.max, error, np.inf), a, self.size)


def _where(keep: Any, new: _Total, old: _Total) -> _Total:
    value, error, size = (np.where(keep, *pair) for pair in zip(new[:3], old[:3], strict=True))
    return _Total(value, error, size, max(new.addends, old.addends))


def _finite(x: Array) -> Array:
    """|x|, what an error is multiplied with: beside a NaN none counts."""
    return np.nan_to_num(np.abs(x))


class _Gate(NamedTuple):
    """One gate: its argument, what comes of it, and what its δ is of: δ = hidden·k∘act'(s)."""

    name: str  # of its activation
    s: Bounded
    value: Array
    k: Bounded | None  # None: of what is seen (`of`)
    size: Any = None  # what products with k are rounded to relatively, where k is a difference
    of: Bounded | None = None


class _Block(NamedTuple):
    """What a block of the backward pass needs, (n,m,·) all."""

    on: Bounded  # what each step hands to the state before through its products
    carries: Bounded  # what the hidden adjoint is multiplied with on its way to the step before
    gates: list[_Gate]
    direct: tuple[Bounded, Bounded, Bounded] | None  # LSTM: o, c, act(c)
    inner: Any = None  # GRU: |r·q|, added to a part of the candidate's argument
    inner_error: Any = None  # and by how much it may be off if r is made once more
    others: Callable[[Array], Array] = np.zeros_like  # GRU: what an error of δ_c makes of δ_r's


class GatedAdjoint(Adjoint):
    """The backward pass: what its gradients should be, given the observed adjoints."""

    layer: GatedLayer
    stored = _STORED

    def __init__(self, layer: GatedLayer, delta: Array, c: Array, *more: Array | None) -> None:
        super().__init__(layer, delta, c, *more)
        self.differ = np.zeros((0,))  # (B,T,GH) how far a GRU's other δ may be from those seen
        if layer.recurrence is not LSTM:
            self.differ = np.zeros(delta.shape)
        self.start: dict[int, tuple[_Total, _Total, _Total]] = {}  # by the first sample
        w, a = layer.weights, layer.a
        self.transposed = {
            id(part): part.each(lambda p: np.ascontiguousarray(p.T))
            for part in w if part is not None and part.value.ndim == 2
        }  # fmt: skip
        if layer.recurrence is LSTM:
            self.known = self._observed_cells()
        self.a = a

    def note(self, name: str) -> str:
        silent = name == "initial_state" or (name == "delta" and not self.asks_sums)
        return _UNASKED if silent else ""

    @property
    def asks_sums(self) -> bool:
        """Whether δ_o shows how dh was summed; of other δ a part is hidden."""
        layer = self.layer
        shows = layer.recurrence is LSTM and layer.c is not None and layer.mask is None
        return shows and activations.activation(layer.gate).derivative is not None

    def _observed_cells(self) -> Bounded:
        """The cell state after each step (B,T,H): seen, or between which numbers it lies."""
        layer, a = self.layer, self.layer.a
        low, high = (np.empty(layer.h.shape) for _ in range(2))
        if layer.c is None:
            observer = Observer(layer)
            for samples, steps, *_, J, _ in observer.blocks():
                low[samples, steps], high[samples, steps] = J
                if layer.last_c is not None and steps.stop == layer.h.shape[1]:
                    last, off = layer.last_c[samples].astype(np.float64), observer.differs
                    low[samples, -1], high[samples, -1] = last - off, last + off
            return Between(low, high).bounded(a)
        differs, off = low, np.zeros((0, 0))
        for samples, steps in layer.blocks():
            shape = layer.h[samples, steps].shape
            off = off if steps.start else np.zeros((shape[0], shape[2]))
            before = exactly(layer.cell.before(samples, steps), a)
            n, _ = layer.step(samples, steps, {}, before)
            left, off = _handed_on(layer, samples, steps, n.differs["c"], off)
            left = left.reshape(shape)
            differs[samples, steps] = np.concatenate([left[:, 1:], off[:, None]], axis=1)
        return Bounded(layer.c.astype(np.float64), differs, a)

    def cell(self, samples: slice, steps: slice) -> tuple[Bounded, Bounded]:
        """c_{t-1} and c_t of a block, (R,H)."""
        layer, a = self.layer, self.layer.a
        H = layer.h.shape[2]
        value = layer.copied(self.known.value, layer.c0)
        error = layer.copied(self.known.error, 0 * layer.c0)
        before, after = (
            Bounded(parts[0], parts[1], a)
            for parts in (
                [view.before(samples, steps) for view in (value, error)],
                [view.h[samples, steps].reshape(-1, H) for view in (value, error)],
            )
        )
        return before, after

    def step(self, samples: slice, steps: slice) -> tuple[Seen, Any, Any]:
        """The reading and the step of a block, and the cell states before and after it."""
        layer = self.layer
        if layer.recurrence is not LSTM:
            n, s = layer.step(samples, steps, {})
            return n, s, None
        cell = self.cell(samples, steps)
        n, s = layer.step(samples, steps, {}, cell[0])
        return n, s, cell

    def product(self, left: Bounded, matrix: Bounded) -> tuple[Bounded, Bounded]:
        """As affine takes it: with the matrix transposed."""
        return left, self.transposed[id(matrix)]

    def block(self, samples: slice, steps: slice) -> _Block:
        layer, a, w = self.layer, self.layer.a, self.layer.weights
        n, s, cell = self.step(samples, steps)
        H = layer.h.shape[2]
        delta = self.delta[samples, steps].reshape(-1, self.delta.shape[2]).astype(np.float64)
        d = [exactly(part, a) for part in np.split(delta, len(layer.recurrence.gates), axis=-1)]
        if layer.recurrence is not LSTM:
            differ = self.differ[samples, steps].reshape(delta.shape)
            both = Bounded(delta[:, : 2 * H], differ[:, : 2 * H], a)
            d[2] = Bounded(d[2].value, differ[:, 2 * H :], a)
        names = layer.gate, layer.name
        if layer.recurrence is LSTM:
            on = n.affine(self.product(exactly(delta, a), w.recurrent_kernel), stored=_STORED)
            before, after = cell
            t = n.act(after)
            gates = [
                _Gate(names[0], s.s[0], s.i.value, s.g),
                _Gate(names[0], s.s[1], s.f.value, before),
                _Gate(names[1], s.s[2], s.g.value, s.i),
                _Gate(names[0], s.s[3], s.o.value, None, None, t),
            ]
            return _Block(on, s.f, gates, (s.o, after, t))
        h = layer.handed(samples, steps)
        of_gates = self.product(both, w.recurrent_gates)
        if layer.recurrence is GRU:
            on = n.affine(of_gates, self.product(d[2] * s.r, w.recurrent_candidate), stored=_STORED)
            through = d[2] * s.inner
            inner = np.abs(s.r.value * s.inner.value) + s.inner.error
            inner_error = np.abs(s.inner.value) * activation_error(
                names[0], s.s[1].value, s.r.value, a
            )

            def others(error: Array) -> Array:
                return np.asarray(error * (np.abs(s.inner.value) + s.inner.error))
        else:
            back = n.affine(self.product(d[2], w.recurrent_candidate))
            on = n.affine(of_gates, stored=_STORED) + back * s.r
            through = back * h
            inner = inner_error = 0.0

            def others(error: Array) -> Array:
                back = error @ np.abs(w.recurrent_candidate.value.T)
                return np.asarray(back * np.abs(h.value))

        gates = [
            _Gate(names[0], s.s[0], s.z.value, h - s.c, np.abs(h.value) + np.abs(s.c.value)),
            _Gate(names[0], s.s[1], s.r.value, None, None, through),
            _Gate(names[1], s.s[2], s.c.value, 1.0 - s.z, 1 + np.abs(s.z.value)),
        ]
        return _Block(on, s.z, gates, None, inner, inner_error, others)

    def told(self, gate: _Gate, observed: Array) -> Between:
        """Between which numbers the hidden adjoint lies, by this δ = hidden·k·act'(s)."""
        a = self.layer.a
        everything = Between(np.full(observed.shape, -np.inf), np.full(observed.shape, np.inf))
        act = activations.activation(gate.name)
        if gate.k is None or act.derivative is None:
            return everything
        slope = act.derivative(gate.s.value, gate.value)
        e = derivative_spread(gate.name, gate.s.value, gate.s.error)
        e = e + derivative_error(gate.name, gate.s.value, gate.value, a, gate.s.error)
        e = e + derivative_error(gate.name, gate.s.value, gate.value, FLOAT64)
        k = gate.k
        size = np.abs(k.value) if gate.size is None else gate.size
        off = k.error * (np.abs(slope) + e) + np.abs(k.value) * e
        off = off + (gamma(5, a.u_stored) + gamma(8, FLOAT64.u)) * (
            (size + k.error) * (np.abs(slope) + e)
        )
        factor = k.value * slope
        least, most = np.abs(factor) - off, np.abs(factor) + off
        lost = 2 * a.min_normal + flushed(act, gate.s.value, gate.s.error, a)
        lost = lost * (1 + np.abs(slope) + e) * (1 + size)
        high = (np.abs(observed) + lost) / np.where(least > lost, least, np.nan) + a.min_normal
        high = np.where(np.isfinite(high) & np.isfinite(observed), high * UP, np.inf)
        low = np.maximum(np.abs(observed) - lost, 0) / most / UP - a.min_normal
        sign = np.sign(observed) * np.sign(factor)
        one_side = (low > 0) & (least > lost) & (high < np.inf)
        return Between(
            np.where(one_side & (sign > 0), low, -high),
            np.where(one_side & (sign < 0), -low, high),
        )

    def deltas(self) -> Iterator[Piece]:
        """δ_t of each gate; 0 where skipped."""
        layer = self.layer
        of_samples: dict[tuple[int, int], list[slice]] = {}
        for samples, steps in layer.blocks():
            of_samples.setdefault((samples.start, samples.stop), []).append(steps)
        for (first, stop), parts in of_samples.items():
            samples = slice(first, stop)
            zero = np.zeros((stop - first, layer.h.shape[2]))
            later, hidden, shown = (_Total(zero, zero, zero, 0) for _ in range(3))
            for steps in reversed(parts):
                b = self.block(samples, steps)
                if layer.recurrence is not LSTM:
                    *_, P = self.backwards(samples, steps, b, later, hidden, shown)
                    self.again(samples, steps, b, P)
                    b = self.block(samples, steps)
                later, hidden, shown, seen, P = self.backwards(
                    samples, steps, b, later, hidden, shown
                )
                yield self.judged(samples, steps, b, seen, P)
            self.start[first] = later, hidden, shown

    def backwards(
        self, samples: slice, steps: slice, b: _Block, later: _Total, hidden: _Total, shown: _Total
    ) -> tuple[_Total, _Total, _Total, Bounded, Bounded]:
        """Back over a block: what is left for the steps before it; dh and the hidden adjoint in it.

        later: what reaches the state by what is seen; hidden: by the hidden adjoint; shown: the
        cotangents of copies of the initial state.
        """
        layer, a = self.layer, self.layer.a
        shape = layer.h[samples, steps].shape
        R, H = shape[0] * shape[1], shape[2]

        def block(x: Bounded) -> Bounded:
            return x.each(lambda part: part.reshape(shape))

        def flat(x: Bounded) -> Bounded:
            return x.each(lambda part: part.reshape(R, H))

        on, carries = block(b.on), block(b.carries)
        c = self.c[samples, steps].astype(np.float64)
        e = np.zeros(shape) if self.c_error is None else self.c_error[samples, steps]
        cell_c = None if self.cell_c is None else self.cell_c[samples, steps].astype(np.float64)
        is_lstm = layer.recurrence is LSTM
        keep = None if layer.mask is None else layer.mask[samples, steps]
        initial = None
        if layer.last is not None:  # the steps that copy the initial state
            initial = (layer.last[samples, 1:][:, steps] < 0)[:, :, None]
        # dh, or a GRU's part of it that is seen
        value, error, size = (np.empty(shape) for _ in range(3))
        totals = []
        for t in reversed(range(shape[1])):
            mine = later.plus(c[:, t], e[:, t])
            totals.append(mine)
            found = mine.bounded(a)
            value[:, t], error[:, t], size[:, t] = found.value, found.error, found.size
            zero = np.zeros_like(c[:, t])
            after = _Total(zero, zero, zero, 0).plus(
                on.value[:, t], on.error[:, t], np.abs(on.value[:, t])
            )
            if keep is None or initial is None:
                later = after
                continue
            k, first = keep[:, t, None], initial[:, t]
            passed = later if layer.zeroed else _where(first, later, mine)
            if not layer.zeroed:
                shown = _where(first & ~k, shown.plus(c[:, t], e[:, t]), shown)
            later = _where(k, after, passed)
        seen = Bounded(value, error, a, size)
        each = np.split(self._observed(samples, steps), len(b.gates), axis=-1)
        told = [self.told(gate, part) for gate, part in zip(b.gates, each, strict=True)]
        own = seen
        if b.direct is not None:
            o, cell, act = b.direct
            own = block(self.vjp(layer.name, flat(seen) * o, cell, act.value))
        P_value, P_error, P_size = (np.empty(shape) for _ in range(3))
        limits = [Between(*(part.reshape(shape) for part in each)) for each in told]
        for i, t in enumerate(reversed(range(shape[1]))):
            base = totals[i] if not is_lstm else _Total(
                own.value[:, t], own.error[:, t], np.abs(own.value[:, t]), 1)  # fmt: skip
            now = hidden if cell_c is None else hidden.plus(cell_c[:, t])
            P = base.joined(now).bounded(a)
            P_value[:, t], P_error[:, t], P_size[:, t] = P.value, P.error, P.size
            J = Between(P.value - P.error, P.value + P.error)
            J = Between(*(np.where(np.isnan(end), side * np.inf, end)
                          for end, side in zip(J, (-1, 1), strict=True)))  # fmt: skip
            for limit in limits:
                J, _ = J.within(Between(limit.low[:, t], limit.high[:, t]))
            found = J.bounded(a)
            f = Bounded(carries.value[:, t], carries.error[:, t], a)
            product = found * f
            zero = np.zeros_like(product.value)
            after = _Total(zero, zero, zero, 0).plus(product.value, product.error)
            hidden = after if keep is None else _where(keep[:, t, None], after, now)
        return later, hidden, shown, seen, Bounded(P_value, P_error, a, P_size)

    def again(self, samples: slice, steps: slice, b: _Block, P: Bounded) -> None:
        """How far the δ of a GRU may be from those seen, if they are made once more.

        What differs is what is done element by element, from the same products: P is a sum of four,
        each factor and each act' is off by its own error on either side. P is known here but for
        what this adds to it, of which twice P takes care.
        """
        layer, a = self.layer, self.layer.a
        R, H = b.gates[0].value.shape
        P = P.each(lambda part: part.reshape(R, H))
        most = 2 * (np.abs(P.value) + P.error)
        own = gamma(5, a.u_stored) * (np.asarray(P.size) + P.error)
        z, r, c = b.gates
        slopes, offs, acts, lost = [], [], [], []
        for gate in b.gates:
            act = activations.activation(gate.name)
            near = 8 * a.u_stored * (np.abs(gate.s.value) + gate.s.error)
            if gate is c:  # r·q is added, with or without a rounding
                near = near + 8 * a.u_stored * b.inner + 2 * b.inner_error
            acts.append(2 * spread(gate.name, gate.s.value, near))
            acts[-1] = acts[-1] + 2 * activation_error(gate.name, gate.s.value, gate.value, a, near)
            lost.append(4 * a.min_normal + 2 * flushed(act, gate.s.value, near, a))
            if act.derivative is None:
                slopes.append(np.full((R, H), np.inf))
                offs.append(np.full((R, H), np.inf))
                continue
            slopes.append(np.abs(act.derivative(gate.s.value, gate.value)))
            off = derivative_spread(gate.name, gate.s.value, near)
            offs.append(
                2 * off + 2 * derivative_error(gate.name, gate.s.value, gate.value, a, near)
            )
        found = []
        for gate, of_k in ((z, acts[2]), (c, acts[0])):
            assert gate.k is not None
            at = 0 if gate is z else 2
            k, size = np.abs(gate.k.value) + of_k, gate.size + of_k
            slope = slopes[at] + offs[at]
            error = most * (k * offs[at] + of_k * slope + gamma(8, a.u_stored) * size * slope)
            found.append(error + own * k * slope + lost[at] * (1 + size))
        assert r.of is not None
        through = np.abs(r.of.value) + r.of.error
        of_r = through * (offs[1] + gamma(8, a.u_stored) * (slopes[1] + offs[1]))
        of_r = of_r + b.others(found[1]) * (slopes[1] + offs[1]) + lost[1]
        differ = np.concatenate([found[0], of_r, found[1]], axis=-1) * UP
        differ = np.where(np.isnan(differ), np.inf, differ)
        if layer.mask is not None:  # zeros are copied
            differ[~layer.mask[samples, steps].reshape(-1)] = 0.0
        self.differ[samples, steps] = differ.reshape(self.differ[samples, steps].shape)

    def _observed(self, samples: slice, steps: slice) -> Array:
        return self.delta[samples, steps].reshape(-1, self.delta.shape[2]).astype(np.float64)

    def vjp(self, name: str, g: Bounded, s: Bounded, h: Array) -> Bounded:
        return Bounded(*vjp_bound(name, g.value, g.error, s.value, h, s.error, self.layer.a),
                       self.layer.a)  # fmt: skip

    def judged(self, samples: slice, steps: slice, b: _Block, seen: Bounded, P: Bounded) -> Piece:
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
        observed = self._observed(samples, steps)
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
        self, samples: slice, steps: slice, b: _Block, observed: Array, expected: Array
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
            _, s, _ = self.step(samples, steps)
            delta = self._observed(samples, steps)
            differ = self.differ[samples, steps].reshape(delta.shape)
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
        if not self.start:
            for _ in self.deltas():
                pass
        groups = {samples.start: samples for samples, _ in layer.blocks()}
        for first, (later, hidden, shown) in self.start.items():
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
                    keep = self.shows_copies(samples, got, alone, copied)
                    alone = Bounded(
                        np.where(keep, copied.value, alone.value),
                        np.where(keep, copied.error, alone.error),
                        a,
                    )
            value, error = alone.value, alone.error
            error = np.where(np.isfinite(value), error, np.inf)
            yield Piece((samples,), value, error)
