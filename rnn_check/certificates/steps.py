"""Does each step follow from the one before?

A framework hands us all of its states, so each step is asked alone: given the ĥ_{t-1} that you
computed, is your ĥ_t the value of the recurrence, up to the rounding of that one step? Nothing
propagates, so the bound is as tight at the millionth step as at the first:

    z_t = x_t·W + ĥ_{t-1}·U + b       Δ_t = γ_k (|x_t||W| + |ĥ_{t-1}||U| + |b|),  k = F + H + 2
    |ĥ_t - act(z_t)|  <=  sup |act(z_t + e) - act(z_t)| over |e| <= Δ_t  +  the error of act itself

γ_k = k·u/(1 - k·u) covers every order of summation (see sums); to ask what change of the terms
explains a residual is the componentwise backward error of Oettli & Prager (Numer. Math. 6, 1964).
Gradients go the same way, each adjoint δ = dL/dz from the one after it, and each gradient from the
adjoints:

    g_t = c_t + δ_{t+1}·Uᵀ            δ_t = g_t ∘ act'(z_t)
    dW = Σ x_tᵀδ_t    dU = Σ h_{t-1}ᵀδ_t    db = Σ δ_t    dx_t = δ_t·Wᵀ    dh_0 = δ_1·Uᵀ

The second question of a certificate is how the sums were made, which finds what hides under γ_k in
a wide layer: a sample of them shows an effective precision (see precision), and whether their
errors are those that operands cut to a narrower format make (see operands).

    B batch, T timesteps, F features, H units, O outputs       R rows: samples × steps
    x (B,T,F)   W = kernel (F,H)   U = recurrent_kernel (H,H)   b = bias (H,)   h, z, δ (B,T,H)
    c (B,T,H) = cotangent, dL/dh as far as it does not come through later states

All arrays are judged in blocks, so that memory does not grow with the sequence.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from rnn_check.certificates.activated import activated
from rnn_check.certificates.factors import Room, some_of
from rnn_check.certificates.layer import Layer, copies_of, reach_of
from rnn_check.certificates.narrow import Narrow
from rnn_check.certificates.precision import NOTHING
from rnn_check.certificates.quick import can_be_narrow, can_be_quick, is_held, narrowly, quickly
from rnn_check.certificates.result import Certificate, Piece, _Worst, judge
from rnn_check.certificates.screen import Screen, Suspects
from rnn_check.certificates.sums import Sum
from rnn_check.numbers.formats import Array


def certified(layer: Layer) -> Certificate:
    """Is each state the next value of the recurrence? See `public.certify`."""

    def pieces(worst: _Worst) -> Iterator[Piece]:
        room, quick = Room(), layer.mask is None and worst.ratio > -math.inf
        narrow = Narrow(layer.forward, 3) if quick and is_held(layer) else None
        long = narrow is not None and can_be_narrow(layer)
        screen = None if worst.exact or not narrow else Screen.of(layer, narrow)
        everywhere = None if screen is None else _sampled_everywhere(layer)
        if everywhere is not None:  # how sums were made; the screen judges all of them
            none = np.empty(0)
            yield everywhere._replace(expected=none, bound=none, only=none.astype(np.intp))
        for samples, steps in layer.blocks():
            if screen is not None and everywhere is not None:
                found = screen.suspects(samples, steps, worst.level)
                if found is not None:
                    yield _settled(layer, (samples, steps), found)
                    continue
                if worst.ratio < 0:  # one that is large spares a look at many
                    yield everywhere._replace(sample=NOTHING)
            given = layer.h[samples, steps].reshape(-1, layer.h.shape[2])
            at = layer.sampled(samples, steps)
            sampled = everywhere is not None
            if long and narrow and worst.level * narrow.gamma > 1.5 * narrow.own:
                rows, place = layer.operands(samples, steps, room, np.float32), (samples, steps)
                if not sampled:
                    yield from _sampled(layer, place, _full(layer, rows, at), at, given)
                sampled = True
                if (yield from narrowly(layer, narrow, place, rows, given, worst, room)):
                    continue
            z = layer.preactivation(samples, steps, room)
            if quick and can_be_quick(layer.name, z):
                if not sampled:
                    yield from _sampled(layer, (samples, steps), z.at(*at), at, given)
                yield from quickly(layer, (samples, steps), z, given, worst, room)
                continue
            observed = given.astype(np.float64)
            counted = layer.counted(samples, steps)
            expected, bound, sample = activated(
                layer.name, z, observed, None if sampled else at, counted
            )
            shape = layer.h[samples, steps].shape
            expected, bound = expected.reshape(shape), bound.reshape(shape)
            if layer.mask is not None:
                skipped = ~layer.mask[samples, steps]
                copies = copies_of(layer, samples, steps, observed.reshape(shape))
                expected[skipped], bound[skipped] = copies[skipped], 0.0
            yield Piece((samples, steps), expected, bound, sample)

    return judge(layer.a, layer.h, pieces, reach_of(layer.name))


def _full(layer: Layer, rows: Array, at: tuple[Array | slice, Array | slice]) -> Sum:
    """The sums at these rows and columns, of rows [x, h] (R,F+H) that float32 holds."""
    factor = layer.forward if isinstance(at[1], slice) else layer.sampled_columns
    return Sum(rows[at[0]].astype(np.float64), factor).bounded(stored=3)


def _sampled_everywhere(layer: Layer) -> Piece | None:
    """A sample of all sums at once; None if its rows do not hold all operands, as blocks do."""
    (B, T, H), (rows, columns), factor = layer.h.shape, layer.sample, layer.forward
    which = np.arange(B * T) if rows is None else rows
    operands = layer.rows(which)
    if not factor.is_used(operands[some_of(len(which))]):
        return None
    z = Sum(operands, factor if isinstance(columns, slice) else layer.sampled_columns)
    observed = layer.h.reshape(-1, H)[which][:, columns].astype(np.float64)
    every = slice(None), slice(None)
    expected, bound, sample = activated(layer.name, z.bounded(stored=3), observed, every, True)
    only = (which[:, None] * H + np.arange(H)[columns]).reshape(-1)
    return Piece((), expected.reshape(-1), bound.reshape(-1), sample, only, 0)


def _settled(layer: Layer, place: tuple[slice, ...], found: Suspects) -> Piece:
    """A block of which no others than these can be beyond their bound."""
    given, expected, bound = layer.h[place], np.empty(0), np.empty(0)
    if found.z is not None:
        observed = given.reshape(-1)[found.at].astype(np.float64)
        expected, bound, _ = activated(layer.name, found.z, observed, None, True)
    return Piece(place, expected, bound, NOTHING, found.at, given.size, ends=found.ends)


def _sampled(
    layer: Layer,
    place: tuple[slice, ...],
    z: Sum,
    at: tuple[Array | slice, Array | slice],
    given: Array,
) -> Iterator[Piece]:
    """The sums z of a block, at these rows and columns: to see how they were made, and a ratio."""
    (R, H), (rows, columns) = given.shape, at
    if not z.value.size:
        return
    observed = given[rows][:, columns].astype(np.float64)
    expected, bound, sample = activated(layer.name, z, observed, (slice(None),) * 2, True)
    only = (np.arange(R)[rows][:, None] * H + np.arange(H)[columns]).reshape(-1)
    yield Piece(place, expected.reshape(-1), bound.reshape(-1), sample, only, 0)
