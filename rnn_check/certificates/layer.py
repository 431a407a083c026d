"""What did each step of a layer compute with?

The operands, in processing order, in blocks of samples and steps; which sums are a sample of all.

    B batch, T timesteps, F features, H units       R rows: samples × steps
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy
from functools import cached_property, lru_cache
from typing import Any, NamedTuple

import numpy as np

from rnn_check.certificates.factors import Factor, Room
from rnn_check.certificates.pieces import Reach
from rnn_check.certificates.precision import SAMPLED
from rnn_check.certificates.sums import Sum
from rnn_check.numbers import activations
from rnn_check.numbers.arrays import check as _check
from rnn_check.numbers.arrays import claimed as _claimed
from rnn_check.numbers.arrays import numbers
from rnn_check.numbers.arrays import read as _read
from rnn_check.numbers.formats import Array

_BLOCK = 2**20  # numbers in the arrays of a block, about: 8 MB


Block = tuple[slice, slice]  # samples, and steps


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


COLUMNS = 2**6  # of a sample: the more rows, the more steps and samples it holds


def grid_of(
    B: int, T: int, H: int, wide: int, skip_first: bool = False, mask: Array | None = None
) -> _Grid:
    """Some SAMPLED of B·T·H sums, at random, but always the same; all if there are no more.

    Both samples and steps are drawn one from each of n equal parts. Where nothing precedes a first
    step, h·U says nothing there: one in 16 rows is such a step; the others are none.
    """
    if B * T * H <= SAMPLED:
        return _Grid(None, slice(None))
    if mask is None:
        return _drawn(B, T, H, wide, skip_first)
    rng, columns, n = _columns(H, wide)
    found = np.flatnonzero(mask)
    before = np.maximum.accumulate(mask, axis=1)[:, :-1]
    later = np.flatnonzero(mask & np.pad(before, ((0, 0), (1, 0))))
    found = later if 2 * len(later) > len(found) else found
    return _Grid(found[_one_of_each(rng, len(found), n)], columns)


def _columns(H: int, wide: int) -> tuple[np.random.Generator, Array | slice, int]:
    """What draws, some columns, and how many rows with as many columns make a sample."""
    rng = np.random.default_rng(0)
    columns: Array | slice = slice(None)
    if wide < H:
        columns = np.sort(rng.choice(H, wide, replace=False))
    return rng, columns, max(1, SAMPLED // wide)


@lru_cache(maxsize=2**6)  # layers of the same sizes come one after the other
def _drawn(B: int, T: int, H: int, wide: int, skip_first: bool) -> _Grid:
    rng, columns, n = _columns(H, wide)
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
    arrays = 3  # of each step's units, in a block

    def __init__(
        self,
        states: Any,
        *,
        x: Any,
        kernel: Any,
        recurrent_kernel: Any,
        bias: Any = None,
        activation: str | None = "tanh",
        initial_state: Any = None,
        mask: Any = None,
        go_backwards: bool = False,
        zero_output_for_mask: bool = False,
        dtype: Any = None,
    ) -> None:
        self.name = activations.activation(activation).name
        self.h = numbers("states", states)
        self.a = a = _claimed(dtype, self.h)
        self.dtype = dtype  # as it was claimed, if it was
        _check("states", self.h, ("batch", "timesteps", "units"), "one state for every step")
        B, T, H = self.h.shape
        self.x = _read("x", x, a)
        _check("x", self.x, (B, T, "features"), "batch and timesteps of the states")
        self.features = F = self.x.shape[2]  # without those that stand for a second bias
        W, U = _read("kernel", kernel, a), _read("recurrent_kernel", recurrent_kernel, a)
        wide = self.gates * H
        of_units = "units of the states" if self.gates == 1 else f"{self.gates} gates of H units"
        _check("kernel", W, (F, wide), f"features of x by {of_units}")
        _check("recurrent_kernel", U, (H, wide), f"units by {of_units}")
        self.W, self.U = W.astype(np.float64), U.astype(np.float64)
        self.bias = None if bias is None else _read("bias", bias, a).astype(np.float64)
        if self.bias is not None:
            _check("bias", self.bias, self.gradient_shapes["bias"], f"the {of_units}")
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

    @property
    def gradient_shapes(self) -> dict[str, tuple[int, ...]]:
        """Of what can be observed of a backward pass."""
        (B, T, H), F = self.h.shape, self.features
        wide = self.gates * H
        return {
            "delta": (B, T, wide), "x": (B, T, F), "kernel": (F, wide),
            "recurrent_kernel": (H, wide),
            "bias": (wide,) if self.biases == 1 else (self.biases, wide), "initial_state": (B, H),
        }  # fmt: skip

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
    def sample(self) -> _Grid:
        B, T, H = self.h.shape
        first = self.mask is None and not self.h0.any()
        wide = H if activations.activation(self.name).derivative is None else min(H, COLUMNS)
        return grid_of(B, T, H, wide, T > 1 and first, self.mask)

    def alone(self, x: Array, before: Array, h: Array) -> Layer:
        """A layer of these operands and one step: x (R,F), and states (R,H) before and after."""
        layer = copy(self)
        layer.forward = self.forward  # what is known of the weights serves both
        for name in ("sample", "sampled_columns"):
            layer.__dict__.pop(name, None)
        layer.x, layer.h0, layer.h = x[:, None], before.astype(np.float64), h[:, None]
        layer.mask = layer.last = layer.next = None
        layer.most = 1
        return layer

    def blocks(self, within: Block = (slice(None), slice(None)), times: int = 1) -> Iterator[Block]:
        """Samples and steps, of which the rows of a block's products fill about _BLOCK numbers.

        within: of these samples and steps alone. times: so many times as many rows.
        """
        if not self.h.size:
            return
        (B, T, H), (first, last) = self.h.shape, within
        rows = max(1, times * _BLOCK // (len(self.W) + self.arrays * H))
        i0, i1, _ = first.indices(B)
        t0, t1, _ = last.indices(T)
        steps, samples = min(t1 - t0, rows), max(1, rows // max(t1 - t0, 1))
        for i in range(i0, i1, samples):
            for t in range(t0, t1, steps):
                yield slice(i, min(i + samples, i1)), slice(t, min(t + steps, t1))

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

    def rows(self, which: Array) -> Array:
        """(n,F+H) [x_t, h_{t-1}] of these steps, all samples counted through; without a mask."""
        F, H = len(self.W), len(self.U)
        s, t = np.divmod(which, self.h.shape[1])
        rows = np.empty((len(which), F + H))
        rows[:, :F], rows[:, F:] = self.x[s, t], self.h[s, t - 1]
        first = np.flatnonzero(t == 0)
        rows[first, F:] = self.h0[s[first]]
        return rows

    def preactivation(self, samples: slice, steps: slice, room: Room) -> Sum:
        return Sum(self.operands(samples, steps, room), self.forward, room).bounded(stored=3)

    def counted(self, samples: slice, steps: slice) -> Any:
        """(R,1) True where a step counts."""
        return True if self.mask is None else self.mask[samples, steps].reshape(-1, 1)


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
