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
a wide layer: a sample of them shows an effective precision (see sums), and whether their errors are
those that operands cut to a narrower format make (see operands).

    B batch, T timesteps, F features, H units, O outputs       R rows: samples × steps
    x (B,T,F)   W = kernel (F,H)   U = recurrent_kernel (H,H)   b = bias (H,)   h, z, δ (B,T,H)
    c (B,T,H) = cotangent, dL/dh as far as it does not come through later states

All arrays are judged in blocks, so that memory does not grow with the sequence.
"""

import math
from collections.abc import Generator, Iterator
from copy import copy
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from rnn_check.certificates.result import Certificate, Piece, Reach, _Worst, advised, judge
from rnn_check.certificates.sums import (
    FLOAT64,
    NOTHING,
    SAMPLED,
    UP,
    Factor,
    Narrow,
    Room,
    Sample,
    Sum,
    sample_of,
)
from rnn_check.numbers import activations
from rnn_check.numbers.arrays import check as _check
from rnn_check.numbers.arrays import claimed as _claimed
from rnn_check.numbers.arrays import numbers
from rnn_check.numbers.arrays import read as _read
from rnn_check.numbers.formats import ARITHMETICS, Arithmetic, Array
from rnn_check.numbers.spread import activation_error, spread

_BLOCK = 2**20  # numbers in the arrays of a block, about: 8 MB


class _Grid(NamedTuple):
    """Some sums of all: at these rows, samples and steps counted through, and these columns."""

    rows: Array | None  # (n,) in order; None: all
    columns: Array | slice

    def within(self, first: int, stop: int) -> Array | slice:
        """The rows of a block, of which these are the first and the one after the last."""
        if self.rows is None:
            return slice(None)
        i, j = np.searchsorted(self.rows, (first, stop))
        return self.rows[i:j] - first


_COLUMNS = 2**6  # of a sample: the more rows, the more steps and samples it holds


def _grid(
    B: int, T: int, H: int, wide: int, skip_first: bool = False, mask: Array | None = None
) -> _Grid:
    """Some SAMPLED of B·T·H sums, at random, but always the same; all if there are no more.

    Both samples and steps are drawn one from each of n equal parts. Where nothing precedes a first
    step, h·U says nothing there: one in 16 rows is such a step; the others are none.
    """
    if B * T * H <= SAMPLED:
        return _Grid(None, slice(None))
    rng = np.random.default_rng(0)
    columns: Array | slice = slice(None)
    if wide < H:
        columns = np.sort(rng.choice(H, wide, replace=False))
    n = max(1, SAMPLED // wide)
    if mask is not None:
        found = np.flatnonzero(mask)
        before = np.maximum.accumulate(mask, axis=1)[:, :-1]
        later = np.flatnonzero(mask & np.pad(before, ((0, 0), (1, 0))))
        found = later if 2 * len(later) > len(found) else found
        return _Grid(found[_one_of_each(rng, len(found), n)], columns)
    if n >= B * T:
        return _Grid(None, columns)
    steps = _one_of_each(rng, T, n)
    if skip_first:
        steps = 1 + _one_of_each(rng, T - 1, n)
        steps[:: 2**4] = 0
    samples = _one_of_each(rng, B, n)
    return _Grid(np.unique(rng.permutation(samples) * T + steps), columns)


def _one_of_each(rng: np.random.Generator, size: int, n: int) -> Array:
    """n of the numbers below size, one from each of n equal parts; all, and again, if n > size."""
    return np.asarray((np.arange(n) + rng.uniform(size=n)) * (size / n)).astype(np.intp)


class Layer:
    """The operands of every step, in processing order, the states as observed.

    Arguments as `public.certify`. Raises ValueError for shapes that do not fit, unknown activations
    and arithmetics.
    """

    gates, biases = 1, 1  # of a kernel's columns for each unit, and of its rows of biases

    def __init__(
        self,
        states: Any,
        *,
        x: Any,
        kernel: Any,
        recurrent_kernel: Any,
        bias: Any,
        activation: str | None,
        initial_state: Any,
        mask: Any,
        go_backwards: bool,
        zero_output_for_mask: bool,
        dtype: Any,
    ) -> None:
        self.name = activations.activation(activation).name
        self.h = numbers("states", states)
        self.a = a = _claimed(dtype, self.h)
        self.dtype = dtype  # as it was claimed, if it was
        _check("states", self.h, ("batch", "timesteps", "units"), "one state for every step")
        B, T, H = self.h.shape
        self.x = _read("x", x, a)
        _check("x", self.x, (B, T, "features"), "batch and timesteps of the states")
        F = self.x.shape[2]
        W, U = _read("kernel", kernel, a), _read("recurrent_kernel", recurrent_kernel, a)
        wide = self.gates * H
        of_units = "units of the states" if self.gates == 1 else f"{self.gates} gates of H units"
        _check("kernel", W, (F, wide), f"features of x by {of_units}")
        _check("recurrent_kernel", U, (H, wide), f"units by {of_units}")
        self.W, self.U = W.astype(np.float64), U.astype(np.float64)
        self.bias = None if bias is None else _read("bias", bias, a).astype(np.float64)
        if self.bias is not None:
            shape = (wide,) if self.biases == 1 else (self.biases, wide)
            _check("bias", self.bias, shape, f"the {of_units}")
        self.h0 = (
            np.zeros((B, H)) if initial_state is None else _read("initial_state", initial_state, a)
        )
        _check("initial_state", self.h0, (B, H), "batch by units of the states")
        self.h0 = self.h0.astype(np.float64)
        self.mask = self.last = self.next = None
        self.most = 1  # a state and its copies by masked steps
        if mask is not None:
            self.mask = numbers("mask", mask)
            _check("mask", self.mask, (B, T), "batch and timesteps of the states")
            if self.mask.dtype.kind not in "biu":
                raise ValueError(f"mask has dtype {self.mask.dtype}, but should be bool")
            self.mask = self.mask.astype(bool)
        self.zeroed, self.go_backwards = zero_output_for_mask, go_backwards
        if go_backwards:
            self.x = self.x[:, ::-1]
            self.mask = None if self.mask is None else self.mask[:, ::-1]
        if self.mask is not None:
            # (B,T+1) the last step that counted before each, -1 for none; the next one, T for none
            edge = np.ones((B, 1), np.intp)
            last = np.maximum.accumulate(np.where(self.mask, np.arange(T), -1), axis=1)
            self.last = np.concatenate([-edge, last], axis=1)
            step = np.concatenate([np.where(self.mask, np.arange(T), T), T * edge], axis=1)
            self.next = np.minimum.accumulate(step[:, ::-1], axis=1)[:, ::-1]
            if not zero_output_for_mask:
                self.most = int((self.next - np.arange(T + 1)).max(initial=0)) + 1

    @cached_property
    def forward(self) -> Factor:
        return Factor(
            np.concatenate([self.W, self.U]), self.a, len(self.W), bias=self.bias,
            names=(("x", "kernel"), ("states", "recurrent_kernel")),
        )  # fmt: skip

    @cached_property
    def sampled_columns(self) -> Factor:
        return self.forward.columns(np.arange(len(self.U))[self.sample.columns])

    @cached_property
    def sample(self) -> "_Grid":
        B, T, H = self.h.shape
        first = self.mask is None and not self.h0.any()
        wide = H if activations.activation(self.name).derivative is None else min(H, _COLUMNS)
        return _grid(B, T, H, wide, T > 1 and first, self.mask)

    def alone(self, x: Array, before: Array, h: Array) -> "Layer":
        """A layer of these operands and one step: x (R,F), and states (R,H) before and after."""
        layer = copy(self)
        layer.forward = self.forward  # what is known of the weights serves both
        for name in ("sample", "sampled_columns"):
            layer.__dict__.pop(name, None)
        layer.x, layer.h0, layer.h = x[:, None], before.astype(np.float64), h[:, None]
        layer.mask = layer.last = layer.next = None
        layer.most = 1
        return layer

    def blocks(self) -> Iterator[tuple[slice, slice]]:
        """(samples, steps), of which the rows of a block's products fill about _BLOCK numbers."""
        B, T, H = self.h.shape
        if not self.h.size:
            return
        rows = max(1, _BLOCK // (len(self.W) + 3 * H))
        steps, samples = min(T, rows), max(1, rows // max(T, 1))
        for i in range(0, B, samples):
            for t in range(0, T, steps):
                yield slice(i, min(i + samples, B)), slice(t, min(t + steps, T))

    def sampled(self, samples: slice, steps: slice) -> tuple[Array | slice, Array | slice]:
        """Which of this block's rows, and which columns, are in the sample."""
        T = self.h.shape[1]
        first = samples.start * T + steps.start
        rows = (samples.stop - samples.start) * (steps.stop - steps.start)
        return self.sample.within(first, first + rows), self.sample.columns

    def after(self, samples: slice, steps: Array) -> Array:
        """The states after these steps (n,m); after -1, the initial ones. (n,m,H)"""
        taken = np.take_along_axis(self.h[samples], np.maximum(steps, 0)[:, :, None], axis=1)
        return np.where(steps[:, :, None] < 0, self.h0[samples, None], taken)

    def operands(self, samples: slice, steps: slice, room: Room, dtype: Any = np.float64) -> Array:
        """[x_t, h_{t-1}] for the steps of a block: (R,F+H)"""
        F, H = len(self.W), len(self.U)
        x = self.x[samples, steps]
        rows = room(f"rows {np.dtype(dtype)}", *x.shape[:2], F + H, dtype=dtype)
        rows[:, :, :F] = x
        if self.last is not None:
            rows[:, :, F:] = self.after(samples, self.last[samples, steps])
        elif steps.start:
            rows[:, :, F:] = self.h[samples, steps.start - 1 : steps.stop - 1]
        else:
            rows[:, 0, F:] = self.h0[samples]
            rows[:, 1:, F:] = self.h[samples, : steps.stop - 1]
        return rows.reshape(-1, F + H)

    def preactivation(self, samples: slice, steps: slice, room: Room) -> Sum:
        return Sum(self.operands(samples, steps, room), self.forward, room).bounded(stored=3)

    def counted(self, samples: slice, steps: slice) -> Any:
        """(R,1) True where a step counts."""
        return True if self.mask is None else self.mask[samples, steps].reshape(-1, 1)


# The forward pass -----------------------------------------------------------------------------


def certified(layer: Layer) -> Certificate:
    """Is each state the next value of the recurrence? See `public.certify`."""

    def pieces(worst: _Worst) -> Iterator[Piece]:
        room, quick = Room(), layer.mask is None and worst.ratio > -math.inf
        narrow = Narrow(layer.forward, 3) if quick and _can_be_narrow(layer) else None
        for samples, steps in layer.blocks():
            given = layer.h[samples, steps].reshape(-1, layer.h.shape[2])
            at = layer.sampled(samples, steps)
            sampled = False
            if narrow is not None and worst.ratio * narrow.gamma > 1.5 * narrow.own:
                rows, place = layer.operands(samples, steps, room, np.float32), (samples, steps)
                yield from _sampled(layer, place, _full(layer, rows, at), at, given)
                sampled = True
                if (yield from _narrowly(layer, narrow, place, rows, given, worst, room)):
                    continue
            z = layer.preactivation(samples, steps, room)
            if quick and _can_be_quick(layer.name, z):
                if not sampled:
                    yield from _sampled(layer, (samples, steps), z.at(*at), at, given)
                yield from _quickly(layer, (samples, steps), z, given, worst, room)
                continue
            observed = given.astype(np.float64)
            counted = layer.counted(samples, steps)
            expected, bound, sample = _activated(
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


def reach_of(name: str) -> Reach:
    return Reach(*activations.activation(name).values)


def copies_of(layer: Layer, samples: slice, steps: slice, observed: Array) -> Array:
    """What masked steps should hold. A -0.0 in place of 0.0 is expected to be something else."""
    assert layer.last is not None
    last = layer.last[samples, 1:][:, steps]
    copies = layer.after(samples, last)
    zeros = (last < 0) & (observed == 0).all(axis=-1)
    copies[zeros | layer.zeroed] = 0.0
    same = (copies.view(np.int64) == observed.view(np.int64)) | (copies != observed)
    same |= (zeros | layer.zeroed)[:, :, None]
    return np.where(same, copies, layer.a.min_subnormal)


def _is_quick(name: str) -> bool:
    closed = activations.activation(name).closed
    return closed is not None and closed.quick


def _can_be_quick(name: str, z: Sum) -> bool:
    quick = z.is_plain and _is_quick(name)
    return quick and z.a.u_stored > FLOAT64.u and z.value.size > SAMPLED


def _can_be_narrow(layer: Layer) -> bool:
    """Whether float32 holds all operands, and sums are so long that its own rounding is small."""
    held = layer.x.dtype == layer.h.dtype == np.float32 and layer.a.u_stored > FLOAT64.u
    long = len(layer.W) + len(layer.U) >= _LONG and not layer.forward.tight
    return held and long and _is_quick(layer.name)


_LONG = 512


def _full(layer: Layer, rows: Array, at: tuple[Array | slice, Array | slice]) -> Sum:
    """The sums at these rows and columns, of rows [x, h] (R,F+H) that float32 holds."""
    factor = layer.forward if isinstance(at[1], slice) else layer.sampled_columns
    return Sum(rows[at[0]].astype(np.float64), factor).bounded(stored=3)


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
    expected, bound, sample = _activated(layer.name, z, observed, (slice(None),) * 2, True)
    only = (np.arange(R)[rows][:, None] * H + np.arange(H)[columns]).reshape(-1)
    yield Piece(place, expected.reshape(-1), bound.reshape(-1), sample, only, 0)


def _quickly(
    layer: Layer, place: tuple[slice, ...], z: Sum, given: Array, worst: _Worst, room: Room
) -> Iterator[Piece]:
    """The same as _activated, for those elements alone whose ratio may be the largest.

    They are the ones for which less than the bound, in float32, times the largest ratio so far is
    exceeded by more than the residual.
    """
    value, size = (room(which, *given.shape, dtype=np.float32) for which in ("h", "+"))
    np.copyto(value, z.value, casting="same_kind")
    np.copyto(size, z.size, casting="same_kind")
    u = ARITHMETICS["float32"].u
    off = z.gamma, u, 2 * u
    vague = _vague(layer.name, z, value, size, off, room)
    if vague is None:
        at, blind = np.arange(given.size), 0
    else:
        at = _suspects(layer.name, z.a, value, size, off, z.top, given, worst, room)
        at, blind = _both(at, vague)
    observed = given.reshape(-1)[at].astype(np.float64)
    expected, bound, _ = _activated(layer.name, z.elements(at), observed, None, True)
    yield Piece(place, expected, bound, NOTHING, at, given.size, blind, (vague or _NOT_VAGUE).rest)


def _narrowly(
    layer: Layer,
    narrow: Narrow,
    place: tuple[slice, ...],
    rows: Array,
    given: Array,
    worst: _Worst,
    room: Room,
) -> Generator[Piece, None, bool]:
    """As _quickly, but no product is made in float64 of elements that are no suspects.

    Returns whether that went well; if not, nothing is settled.
    """
    found = narrow.sums(rows, room)
    if found is None:
        return False
    value, size, z = found
    off = z.gamma, narrow.own, narrow.vague
    vague = _vague(layer.name, z, value, size, off, room)
    if vague is None:
        return False
    h, allowed = (room(which, *given.shape, dtype=np.float32) for which in ("h", "+"))
    np.copyto(h, value)
    np.copyto(allowed, size)
    at = _suspects(layer.name, z.a, h, allowed, off, z.top, given, worst, room)
    if len(at) * 2**4 > given.size:
        return False
    # once more, with act in float64
    h, allowed, seen = (part.reshape(-1)[at].astype(np.float64) for part in (value, size, given))
    at = at[_suspects(layer.name, z.a, h, allowed, off, z.top, seen, worst, room)]
    at, blind = _both(at, vague)
    if len(at) * 2**8 > given.size:
        return False
    few = narrow.elements(rows, at, z)
    observed = given.reshape(-1)[at].astype(np.float64)
    expected, bound, _ = _activated(layer.name, few, observed, None, True)
    yield Piece(place, expected, bound, NOTHING, at, given.size, blind, vague.rest)
    return True


class _Vague(NamedTuple):
    """Which elements of a block laid flat are blind for sure, and which may be."""

    sure: Array | None  # (R·H,) bool; None: none is
    maybe: Array  # indices
    rest: tuple[float, float] = (0.0, 0.0)  # see Piece


_NOT_VAGUE = _Vague(None, np.zeros(0, np.intp))


def _both(at: Array, vague: _Vague) -> tuple[Array, int]:
    """All elements to be computed, and how many of the others are blind."""
    if len(vague.maybe):
        at = np.union1d(at, vague.maybe)
    if vague.sure is None:
        return at, 0
    return at, int(np.count_nonzero(vague.sure)) - int(np.count_nonzero(vague.sure[at]))


def _vague(
    name: str, z: Sum, value: Array, size: Array, off: tuple[float, float, float], room: Room
) -> _Vague | None:
    """Of z and its sizes as seen in float32; None where too many may be blind, or not judged.

    As in _suspects, z is off by own·size and sizes by their vague-th part. The bound is at most
    Δ = γ·size and act's own error, which with |h| <= 1 is 2^-10 at most; of linear it is Δ, but
    for copies that may be flushed.
    """
    gamma, own, vague = off
    least = float(z.lost) + z.a.min_normal  # what underflow adds
    top = gamma * z.top * (1 + vague) + least
    if name != "linear":
        return _NOT_VAGUE if top + 2.0**-10 < 0.02 and z.a.u_stored < 2.0**-16 else None
    fuzz = 2**5 * float(np.finfo(value.dtype).eps)
    known = np.abs(value, out=room("|h|", *value.shape, dtype=value.dtype)).reshape(-1)
    largest = float(known.max(initial=0)) * (1 - 2.0**-20) - own * z.top
    known *= value.dtype.type(0.01)
    allowed = np.multiply(
        size, value.dtype.type(gamma), out=room("* float32", *size.shape, dtype=size.dtype)
    ).reshape(-1)
    doubt = fuzz + vague + 0.01 * own / gamma  # of Δ
    allowed += value.dtype.type(z.lost)
    allowed -= known
    known *= value.dtype.type(fuzz)
    known += size.reshape(-1) * value.dtype.type(gamma * doubt)
    known += value.dtype.type(z.a.min_normal + 2.0**-20 * float(z.lost))
    maybe = np.flatnonzero(np.abs(allowed) <= known)
    return _Vague(allowed > known, maybe, (max(largest, 0.0), top))


def _suspects(
    name: str,
    a: Arithmetic,
    h: Array,
    allowed: Array,
    off: tuple[float, float, float],
    top: float,
    given: Array,
    worst: _Worst,
    room: Room,
) -> Array:
    """Which elements, of all in this block laid flat, may exceed the worst ratio so far.

    h is z in this precision, allowed the size of its terms, of which `top` is the largest; both
    are overwritten. z is off by own·size, sizes by their vague-th part; Δ = γ·size. The bound is
    act'(z)·exp(-rate·Δ)·Δ + act.c·u·|h| at least, and act as seen here is off
    by act'(z)·exp(rate·own·size)·own·size and its own error. 32 roundings are more than the slope's
    error and those of these few lines.
    """
    (gamma, own, vague), ratio = off, worst.ratio
    known = activations.activation(name)
    closed = known.closed
    assert closed is not None and closed.act is not None
    u, other = float(np.finfo(h.dtype).eps) / 2, room(f"* {h.dtype}", *h.shape, dtype=h.dtype)
    closed.act(h, out=h)
    far_off = closed.rate * (gamma + 2 * own) * top * (1 + vague)
    if not far_off < 1:
        return np.arange(h.size)
    steepest = math.exp(far_off)
    fuzz = 2**5 * u
    less, more = 1 - fuzz - vague, 1 + fuzz + vague
    act_error = ratio * known.c * a.u_stored
    near = own * steepest * more
    far = ratio * gamma / steepest * less - near
    if not far > 0:
        return np.arange(h.size)
    allowed *= h.dtype.type(far)
    if name != "linear":
        np.multiply(h, h, out=other)
        least = 1 - fuzz - (2 * fuzz + act_error) * near / far
        allowed *= np.subtract(h.dtype.type(least), other, out=other)
        np.abs(h, out=other)
        other *= h.dtype.type(act_error * less - closed.own * u * more)
        allowed += other
    h -= given
    return np.flatnonzero(~(np.abs(h, out=h) <= allowed))


def _spread_and_noise(name: str, z: Any, h: Array, gate: bool = False) -> tuple[Array, Array]:
    """How far act(z + e) is from h = act(z) if |e| <= z.error, and how far evaluating it may be.

    gate: in closed form, if there is one at all.
    """
    a, d = z.a, z.error
    act = activations.activation(name)
    closed = act.closed
    if closed is None or not (closed.quick or gate):
        noise = activation_error(name, z.value, h, a, d)
        noise += activation_error(name, z.value, h, FLOAT64)
        return spread(name, z.value, d), noise
    # exp(x) <= 1/(1 - x); and 2^-51 is more than the slope's own rounding
    far = d * np.fmin(1.0, (closed.slope(h) + 2.0**-51) / np.maximum(1 - closed.rate * d, 0))
    size = np.abs(h)
    far = np.fmin(far, size + closed.most)
    size += far
    if name == "linear":  # copies, but may flush what is subnormal
        small = size < a.min_normal + 2 * d
        noise = np.where(small, np.minimum(size, a.min_normal), 0.0) if small.any() else 0 * size
    else:
        noise = act.c * (a.u_stored + FLOAT64.u) * size
        noise += 2 * (a.min_normal + FLOAT64.min_normal) * (1 + np.abs(z.value) + d)
    noise[~(size <= a.max)] = np.inf
    return far, noise


def _activated(
    name: str,
    z: Sum,
    observed: Array,
    at: tuple[Array | slice, Array | slice] | None,
    counted: Any,
) -> tuple[Array, Array, Sample]:
    """act(z), how far the subject's may be from it, and the errors as seen from z. (R,H)

    The errors at these rows and columns; None: nowhere.
    """
    act = activations.activation(name)
    h = act.function(z.value)
    far, noise = _spread_and_noise(name, z, h)
    bound = (far + noise) * UP
    if not z.is_plain:
        bound[z.error == np.inf] = np.inf
        if z.special is not None:
            bound = _unbounded(name, z, h, bound, observed)
    if at is None or name == "sparsemax":
        return h, bound, NOTHING
    rows, columns = at
    if counted is not True:
        counted = counted[rows]
    z, seen, noise, got = (
        z.at(rows, columns), *(part[rows][:, columns] for part in (h, noise, observed))
    )  # fmt: skip
    if act.derivative is None:
        slope = seen if name == "softmax" else np.ones_like(seen)
        clear = (slope > 0) & counted
    else:
        slope = act.derivative(z.value, seen)
        clear = (np.abs(slope) > 0.01) & counted
    return h, bound, sample_of(z, (got - seen) / slope, np.abs(noise / slope), clear)


def _unbounded(name: str, z: Sum, h: Array, bound: Array, observed: Array) -> Array:
    """The bound of act(z) where z is NaN or infinite because of an operand that is (error 0).

    A NaN makes a NaN. Of infinities the subject may have made one: inf - inf where a partial sum
    overflowed the other way, or -inf·sigmoid(-inf). Otherwise act has its limit.
    """
    act = activations.activation(name)
    if act.chooses:
        special: Any = np.inf
    else:
        nan = np.isnan(h) | np.isnan(observed)
        limit = np.where(np.isinf(h), 0.0, act.c * z.a.u_stored * np.abs(h))
        special = np.where(np.isnan(z.value), 0.0, np.where(nan, np.inf, limit))
    return np.where(np.isfinite(z.value) | (z.error > 0), bound, special)


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
        wide = O if activations.activation(name).derivative is None else min(O, _COLUMNS)
        grid = _grid(len(observed), 1, O, wide)
        at = grid.within(0, len(observed)), grid.columns
        expected, bound, sample = _activated(name, z, observed, at, True)
        yield Piece((), expected.reshape(given.shape), bound.reshape(given.shape), sample)

    return advised(judge(a, given, pieces, reach_of(name)), dtype, given)


def _per_state(c: Array, samples: slice, start: int, end: int) -> Array:
    """c at the steps that made these states, 0 for the initial one."""
    if start:
        return c[samples, start - 1 : end - 1].astype(np.float64)
    padded = np.zeros((samples.stop - samples.start, end, c.shape[2]))
    padded[:, 1:] = c[samples, : end - 1]
    return padded
