"""What does each step of the backward pass of a gated recurrence compute with?

The δ that a GRU multiplies with U are others than those that it multiplies with W, and are seen:
a compiler may make them once more, in another order, with or without fused multiply-add. Where
1 - c² cancels that is no small difference (`again`).

    B batch, T timesteps, F features, H units, G gates        R rows: samples × steps
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from rnn_check.certificates.gated_layer import GatedLayer, handed_on
from rnn_check.certificates.hidden import Gate
from rnn_check.certificates.observer import Between, Observer
from rnn_check.certificates.seen import Seen
from rnn_check.numbers import activations
from rnn_check.numbers.activated import flushed
from rnn_check.numbers.bounded import Bounded, exactly
from rnn_check.numbers.formats import UP, Array, gamma
from rnn_check.numbers.spread import (
    activation_error,
    derivative_error,
    derivative_spread,
    spread,
)
from rnn_check.recurrences.kinds import GRU, LSTM

STORED = 5  # each gate's product may be stored, and what they add up to


class Block(NamedTuple):
    """What a block of the backward pass needs, (R,·) all."""

    on: Bounded  # what each step hands to the state before through its products
    carries: Bounded  # what the hidden adjoint is multiplied with on its way to the step before
    gates: list[Gate]
    direct: tuple[Bounded, Bounded, Bounded] | None  # LSTM: o, c, act(c)
    inner: Any = None  # GRU: |r·q|, added to a part of the candidate's argument
    inner_error: Any = None  # and by how much it may be off if r is made once more
    others: Callable[[Array], Array] = np.zeros_like  # GRU: what an error of δ_c makes of δ_r's


class Backward:
    """The operands of every step of the backward pass, δ (B,T,GH) as observed.

    differ (B,T,GH): how far a GRU's other δ may be from those.
    """

    def __init__(self, layer: GatedLayer, delta: Array) -> None:
        self.layer, self.delta = layer, delta
        self.differ = np.zeros(delta.shape)
        self.transposed = {
            id(part): part.each(lambda p: np.ascontiguousarray(p.T))
            for part in layer.weights if part is not None and part.value.ndim == 2
        }  # fmt: skip
        if layer.recurrence is LSTM:
            self.known = self._observed_cells()

    def rows(self, samples: slice, steps: slice) -> Array:
        """(R,GH) δ of a block."""
        return self.delta[samples, steps].reshape(-1, self.delta.shape[2]).astype(np.float64)

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
            left, off = handed_on(layer, samples, steps, n.differs["c"], off)
            left = left.reshape(shape)
            differs[samples, steps] = np.concatenate([left[:, 1:], off[:, None]], axis=1)
        return Bounded(layer.c.astype(np.float64), differs, a)

    def cell(self, samples: slice, steps: slice) -> tuple[Bounded, Bounded]:
        """c_{t-1} and c_t of a block, (R,H)."""
        layer, known = self.layer, self.known
        value, error = (
            layer.copied(known.value, layer.c0), layer.copied(known.error, 0 * layer.c0)
        )  # fmt: skip
        before = Bounded(value.before(samples, steps), error.before(samples, steps), layer.a)
        after = known.each(lambda part: part[samples, steps].reshape(before.value.shape))
        return before, after

    def step(self, samples: slice, steps: slice) -> tuple[Seen, Any, Any]:
        """The reading and the step of a block, and the cell states before and after it."""
        cell = self.cell(samples, steps) if self.layer.recurrence is LSTM else None
        return *self.layer.step(samples, steps, {}, *(cell or ())[:1]), cell

    def product(self, left: Bounded, matrix: Bounded) -> tuple[Bounded, Bounded]:
        """As affine takes it: with the matrix transposed."""
        return left, self.transposed[id(matrix)]

    def block(self, samples: slice, steps: slice) -> Block:
        layer, a, w = self.layer, self.layer.a, self.layer.weights
        n, s, cell = self.step(samples, steps)
        H = layer.h.shape[2]
        delta = self.rows(samples, steps)
        d = [exactly(part, a) for part in np.split(delta, len(layer.recurrence.gates), axis=-1)]
        if layer.recurrence is not LSTM:
            differ = self.differ[samples, steps].reshape(delta.shape)
            both = Bounded(delta[:, : 2 * H], differ[:, : 2 * H], a)
            d[2] = Bounded(d[2].value, differ[:, 2 * H :], a)
        names = layer.gate, layer.name
        if layer.recurrence is LSTM:
            on = n.affine(self.product(exactly(delta, a), w.recurrent_kernel), stored=STORED)
            before, after = cell
            t = n.act(after)
            gates = [
                Gate(names[0], s.s[0], s.i.value, s.g),
                Gate(names[0], s.s[1], s.f.value, before),
                Gate(names[1], s.s[2], s.g.value, s.i),
                Gate(names[0], s.s[3], s.o.value, None, None, t),
            ]
            return Block(on, s.f, gates, (s.o, after, t))
        h = layer.handed(samples, steps)
        of_gates = self.product(both, w.recurrent_gates)
        if layer.recurrence is GRU:
            on = n.affine(of_gates, self.product(d[2] * s.r, w.recurrent_candidate), stored=STORED)
            through = d[2] * s.inner
            inner = np.abs(s.r.value * s.inner.value) + s.inner.error
            inner_error = np.abs(s.inner.value) * activation_error(
                names[0], s.s[1].value, s.r.value, a
            )

            def others(error: Array) -> Array:
                return np.asarray(error * (np.abs(s.inner.value) + s.inner.error))
        else:
            back = n.affine(self.product(d[2], w.recurrent_candidate))
            on = n.affine(of_gates, stored=STORED) + back * s.r
            through = back * h
            inner = inner_error = 0.0

            def others(error: Array) -> Array:
                back = error @ np.abs(w.recurrent_candidate.value.T)
                return np.asarray(back * np.abs(h.value))

        gates = [
            Gate(names[0], s.s[0], s.z.value, h - s.c, np.abs(h.value) + np.abs(s.c.value)),
            Gate(names[0], s.s[1], s.r.value, None, None, through),
            Gate(names[1], s.s[2], s.c.value, 1.0 - s.z, 1 + np.abs(s.z.value)),
        ]
        return Block(on, s.z, gates, None, inner, inner_error, others)

    def again(self, samples: slice, steps: slice, b: Block, P: Bounded) -> None:
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
