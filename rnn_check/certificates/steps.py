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
from collections.abc import Iterable, Iterator

import numpy as np

from rnn_check.certificates.activated import activated
from rnn_check.certificates.factors import Room
from rnn_check.certificates.layer import Block, Layer, copies_of, reach_of
from rnn_check.certificates.narrow import Narrow
from rnn_check.certificates.pieces import Piece, _Worst
from rnn_check.certificates.precision import ENOUGH, NOTHING
from rnn_check.certificates.quick import can_be_narrow, can_be_quick, is_held, narrowly, quickly
from rnn_check.certificates.result import Certificate, judge
from rnn_check.certificates.sampled import Everywhere
from rnn_check.certificates.screen import WIDE, Screen, Suspects
from rnn_check.certificates.sums import Sum
from rnn_check.numbers.formats import Array


def certified(layer: Layer) -> Certificate:
    """Is each state the next value of the recurrence? See `public.certify`."""

    def pieces(worst: _Worst) -> Iterator[Piece]:
        room, quick = Room(), layer.mask is None and worst.ratio > -math.inf
        # how sums were made
        is_asked = not worst.exact and worst.ratio > -math.inf and layer.h.size >= ENOUGH
        narrow = Narrow(layer.forward, 3) if quick and is_held(layer) else None
        long = narrow is not None and can_be_narrow(layer)
        screen = None if worst.exact or not narrow else Screen.of(layer, narrow)
        everywhere = None if screen is None else Everywhere(layer)
        sampled = screen is not None and everywhere is not None and everywhere.holds_all
        left: Iterable[Block] = layer.blocks()
        if sampled:
            assert screen is not None and everywhere is not None
            left = list[Block]()
            for block in layer.blocks(times=WIDE):
                found = screen.suspects(*block, worst.level, everywhere)
                if found is not None:
                    yield _settled(layer, block, found)
                else:
                    left += layer.blocks(block)
            if left or not everywhere.look_rounded():
                sample, later = everywhere.errors(), None
            else:
                sample, later = NOTHING, everywhere.errors
            yield Piece((), _NONE, _NONE, sample, _NONE.astype(np.intp), 0, later=later)
            if left and worst.ratio < 0:  # one that is large spares a look at many
                yield everywhere.judged()
        for samples, steps in left:
            given = layer.h[samples, steps].reshape(-1, layer.h.shape[2])
            at, asked = layer.sampled(samples, steps), not sampled
            if long and narrow and worst.level * narrow.gamma > 1.5 * narrow.own:
                rows, place = layer.operands(samples, steps, room, np.float32), (samples, steps)
                if asked:
                    yield from _sampled(layer, place, _full(layer, rows, at), at, given)
                asked = False
                if (yield from narrowly(layer, narrow, place, rows, given, worst, room)):
                    continue
            z = layer.preactivation(samples, steps, room)
            if quick and can_be_quick(layer.name, z):
                if asked:
                    yield from _sampled(layer, (samples, steps), z.at(*at), at, given)
                yield from quickly(layer, (samples, steps), z, given, worst, room)
                continue
            observed = given.astype(np.float64)
            counted = layer.counted(samples, steps)
            expected, bound, sample = activated(
                layer.name, z, observed, at if asked and is_asked else None, counted
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


_NONE = np.empty(0)


def _settled(layer: Layer, place: tuple[slice, ...], found: Suspects) -> Piece:
    """A block of which no others than these can be beyond their bound."""
    given, expected, bound = layer.h[place], _NONE, _NONE
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
