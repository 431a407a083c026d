"""Does each adjoint follow from the one after it?

g_t = c_t + δ_{t+1}·Uᵀ            δ_t = g_t ∘ act'(z_t)            dh_0 = δ_1·Uᵀ

B batch, T timesteps, F features, H units
c (B,T,H) = cotangent, dL/dh as far as it does not come through later states
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from rnn_check.certificates.factors import Room, quanta
from rnn_check.certificates.gradients import Gradients, linear, shows_copies
from rnn_check.certificates.layer import COLUMNS, grid_of
from rnn_check.certificates.pieces import Piece
from rnn_check.certificates.precision import NOTHING, Sample, sample_of
from rnn_check.certificates.sums import Sum
from rnn_check.numbers import activations
from rnn_check.numbers.activated import vjp_bound
from rnn_check.numbers.formats import FLOAT64, Array
from rnn_check.numbers.spread import derivative_error, derivative_spread


class Adjoint(Gradients):
    """The backward pass of a SimpleRNN layer."""

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
                keep = shows_copies(layer, samples, got, alone, copied)
                s.value = np.where(keep, copied.value, alone.value)
                s.error = np.where(keep, copied.error, alone.error)
                s.addend_size = np.where(keep, copied.addend_size, 0.0)
            grid = grid_of(len(s.value), 1, s.value.shape[1], min(s.value.shape[1], COLUMNS))
            at = grid.within(0, len(s.value)), grid.columns
            yield linear((samples,), s, observed, at)


def _runs(combine: np.ufunc, array: Array, begins: Array) -> Array:
    """(n,m,H): where a run begins, its elements combined in the order of time; 0 elsewhere."""
    flat, at = array.reshape(-1, array.shape[2]), np.flatnonzero(begins)
    combined = np.zeros_like(flat)
    combined[at] = combine.reduceat(flat, at, axis=0)
    return combined.reshape(array.shape)


def _per_state(c: Array, samples: slice, start: int, end: int) -> Array:
    """c at the steps that made these states, 0 for the initial one."""
    if start:
        return c[samples, start - 1 : end - 1].astype(np.float64)
    padded = np.zeros((samples.stop - samples.start, end, c.shape[2]))
    padded[:, 1:] = c[samples, : end - 1]
    return padded
