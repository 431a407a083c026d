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
from collections.abc import Callable, Generator, Iterator, Mapping
from copy import copy
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from rnn_check import operands, reference, sums
from rnn_check.arrays import check as _check
from rnn_check.arrays import claimed as _claimed
from rnn_check.arrays import narrower, numbers
from rnn_check.arrays import read as _read
from rnn_check.reference import Array
from rnn_check.rounding import (
    ARITHMETICS,
    C_ACT,
    Arithmetic,
    activation_error,
    derivative_error,
    derivative_spread,
    running_dense_gradients,
    running_loss,
    spread,
    vjp_bound,
)
from rnn_check.sums import (
    FLOAT64,
    NOTHING,
    SAMPLED,
    UP,
    Factor,
    Narrow,
    Room,
    Sample,
    Sum,
    called,
    effective_precision,
    quanta,
    sample_of,
)

_BLOCK = 2**20  # numbers in the arrays of a block, about: 8 MB


# The result -----------------------------------------------------------------------------------


class Piece(NamedTuple):
    """What the elements of a part of an array should be, and how far they may be from it."""

    place: tuple[slice, ...]
    expected: Array
    bound: Array
    sample: Sample = NOTHING
    only: Array | None = None  # the elements meant, of that part laid flat; None: all
    settles: int | None = None  # how many elements need no further piece; None: those meant
    blind: int = 0  # how many of those that are settled, but not meant, are blind
    rest: tuple[float, float] = (0.0, 0.0)  # the largest number expected there, the largest bound
    scale: Array | None = None  # how large the elements could be; None: as those expected are


# pieces(worst): what is proved to have no larger ratio than worst.ratio may be left out
Pieces = Callable[["_Worst"], Iterator[Piece]]


@dataclass
class _Worst:
    """The element with the largest ratio so far."""

    ratio: float = -1.0
    where: tuple[int, ...] = ()
    got: float = 0.0
    expected: float = 0.0
    off: float = 0.0
    allowed: float = 0.0

    def __str__(self) -> str:
        return (
            f"at {self.where}: got {self.got:.9g}, expected {self.expected:.9g}, "
            f"off by {self.off:.3g} where {self.allowed:.3g} is allowed"
        )


@dataclass(frozen=True)
class Certificate:
    """The answer for one array of a subject.

    ok               True: every element is within its bound, and no operand was seen to be cut.
                     False: one of that is not so. None: not proved, too little is judged
    ratio            the largest residual/bound: 0 where both are 0, inf where the bound alone is
    where            the index of that element
    judged           the share of elements, 0 to 1, whose bound can be exceeded: none has one where
                     a sum may overflow, or where the bound spans all that the activation may give
                     (of one without limits, the largest number expected beside it)
    blind            the share of elements whose bound is over a hundredth of the activation's
                     range, or of the number expected where that has no limits: what stands there
                     is proved in its first digits at most
    bits             the effective precision; None where too few sums were rounded to tell
    consistent_with  the arithmetic of which the errors are; None without bits, or where they are as
                     large as a narrower one's and not those of operands cut to it
    claimed          the arithmetic that was to be proved
    reason           one sentence

    observed, expected, residual and bound are whole arrays, float64, computed when they are first
    asked for from the arrays that were given: do not change those in between.
    """

    ok: bool | None
    ratio: float
    where: tuple[int, ...]
    judged: float
    blind: float
    bits: float | None
    consistent_with: str | None
    claimed: str
    reason: str
    _given: Array = field(repr=False, compare=False)
    _pieces: Pieces = field(repr=False, compare=False)
    aside: str = field(default="", repr=False)  # of the reason: what could not be told of the sums

    @cached_property
    def observed(self) -> Array:
        return self._given.astype(np.float64)

    @cached_property
    @np.errstate(all="ignore")
    def _derived(self) -> tuple[Array, Array]:
        expected, bound = np.empty(self._given.shape), np.empty(self._given.shape)
        for piece in self._pieces(_Worst(-math.inf)):
            expected[piece.place], bound[piece.place] = piece.expected, piece.bound
        return expected, bound

    @property
    def expected(self) -> Array:
        return self._derived[0]

    @property
    def bound(self) -> Array:
        return self._derived[1]

    @cached_property
    @np.errstate(all="ignore")
    def residual(self) -> Array:
        return _residual(self.observed, self.expected)


def _residual(observed: Array, expected: Array) -> Array:
    """|observed - expected|, where a NaN is only like a NaN, and inf like inf."""
    residual: Array = np.abs(observed - expected)
    if not np.isfinite(residual).all():
        same = (observed == expected) | (np.isnan(observed) & np.isnan(expected))
        residual = np.where(same, 0.0, np.where(np.isnan(residual), np.inf, residual))
    return residual


def _ratios(residual: Array, bound: Array) -> Array:
    """0 where both are 0, and where nothing is bounded."""
    ratios: Array = residual / bound
    if np.isnan(ratios).any():
        ratios = np.where((residual == 0) | (bound == np.inf), 0.0, ratios)
    return ratios


class Reach(NamedTuple):
    """Between which numbers an activation's values lie."""

    low: float = -math.inf
    high: float = math.inf

    @property
    def is_limited(self) -> bool:
        return self.high - self.low < math.inf

    def blind(self, piece: Piece) -> int:
        """How many bounds are over a hundredth of what there is to be known."""
        if self.is_limited:
            vague = piece.bound > (self.high - self.low) / 100
        else:
            vague = piece.bound > np.abs(piece.expected) / 100
        return piece.blind + int(np.count_nonzero(vague))


class _Judged:
    """How many bounds can be exceeded.

    Those of an activation with limits can if they do not span all that it may give. Others can if
    finite; but that says nothing of an array of which none exceeds them. So they are counted by
    their exponents, and those that are no larger than the largest number expected count.
    """

    def __init__(self, reach: Reach | None) -> None:
        self.reach, self.count, self.largest = reach, 0, 0.0
        self.exponents = np.zeros(2**12, np.intp)

    def add(self, piece: Piece, settled: int) -> None:
        bound, expected, others = piece.bound, piece.expected, settled - piece.bound.size
        if self.reach is None:
            self.count += others + int(np.count_nonzero(bound < np.inf))
            return
        if self.reach.is_limited:
            if bound.size and bound.max() <= (self.reach.high - self.reach.low) / 100:
                self.count += settled
                return
            farthest = np.maximum(self.reach.high - expected, expected - self.reach.low)
            self.count += others + int(np.count_nonzero((bound < farthest) | (bound == 0)))
            return
        sizes = np.abs(expected if piece.scale is None else piece.scale)
        self.largest = max(self.largest, piece.rest[0])
        self.largest = float(sizes.max(initial=self.largest, where=np.isfinite(sizes)))
        self.count += int(np.count_nonzero(bound == 0))
        found = np.frexp(bound[(bound > 0) & (bound < np.inf)])[1]
        self.exponents += np.bincount(found + 2**11, minlength=2**12)
        self.exponents[math.frexp(piece.rest[1])[1] + 2**11] += others

    @property
    def total(self) -> int:
        most = math.frexp(self.largest)[1] - 1  # 2^most <= largest
        return self.count + int(self.exponents[: most + 2**11 + 1].sum())


ENOUGH_JUDGED = 0.9  # of all elements


@np.errstate(all="ignore")
def judge(a: Arithmetic, given: Array, pieces: Pieces, reach: Reach | None = None) -> Certificate:
    """Compare piece by piece, and put into words. reach None: any finite bound can be exceeded."""
    worst, size, can, blind, nans, sample = _Worst(), 0, _Judged(reach), 0, 0, NOTHING
    for piece in pieces(worst):
        observed = given[piece.place]
        if piece.only is not None:
            observed = observed[np.unravel_index(piece.only, observed.shape)]
        observed = observed.astype(np.float64)
        residual, bound = _residual(observed, piece.expected), piece.bound
        sample += piece.sample
        settled = residual.size if piece.settles is None else piece.settles
        size += settled
        if settled:
            nans += int(np.count_nonzero(np.isnan(observed)))
            can.add(piece, settled)
            blind += (reach or Reach()).blind(piece)
        if not residual.size:
            continue
        ratios = _ratios(residual, bound)
        at = np.unravel_index(np.argmax(ratios), ratios.shape)
        if ratios[at] > worst.ratio:
            worst.ratio, worst.where = float(ratios[at]), _place(at, piece, given.shape)
            worst.got, worst.expected = float(observed[at]), float(piece.expected[at])
            worst.off, worst.allowed = float(residual[at]), float(bound[at])
    judged = can.total
    bits, consistent, cut, aside = _precision(a, sample)
    ok: bool | None = 0 <= worst.ratio <= 1 and not cut
    if not size:
        ok, reason = None, "there is nothing to judge"
        if not given.size:
            reason = f"there is nothing to judge in an array of shape {given.shape}"
    elif worst.ratio > 1:
        reason = str(worst)
    elif cut:
        reason = f"every element is within its bound, but {cut}"
    elif judged < ENOUGH_JUDGED * size:
        ok = None
        reason = (
            f"not proved: {size - judged} of {size} elements have no bound that could be exceeded, "
            "because their sums may overflow, cancel, or meet a saturated activation"
        )
    else:
        reason = "every element follows, up to the rounding of its own step"
        if judged < size:
            reason += f", but for {size - judged} of {size} that have no bound"
        if blind > (1 - ENOUGH_JUDGED) * size:
            reason += f"; the bound of {blind} of {size} is over a hundredth of what they can be"
        if nans:
            reason += f"; {nans} of {size} are NaN, which follow from one, or from an overflow"
        reason += aside
    size = max(size, 1)
    return Certificate(
        ok, max(worst.ratio, 0.0), worst.where, judged / size, blind / size, bits, consistent,
        called(a), reason, given, pieces, aside,
    )  # fmt: skip


def _precision(a: Arithmetic, sample: Sample) -> tuple[float | None, str | None, str, str]:
    """The bits; the arithmetic of which the errors are; what was cut; what could not be told."""
    bits, consistent, too_few = effective_precision(a, sample)
    if bits is None:
        return None, None, "", ""
    if not sample.errors:
        sentence = (
            f"the sums show {bits:.1f} bits of precision: consistent with {consistent}, not with "
            f"{called(a)}"
        )
        return bits, consistent, sentence if too_few else "", ""
    if sample.seen <= sums.CLOSER * sample.possible:
        return bits, called(a), "", ""
    unclear = set[str]()
    for errors, where in (
        (sample.errors, "the sums'"),
        (operands.loudest(sample.errors), "the largest of the sums'"),
    ):
        found = operands.examine(a, errors)
        unclear |= set(found.unclear)
        if found.cuts:
            consistent = found.cuts[0].format
            return bits, consistent, (
                f"{operands.describe(found.cuts)}: {found.explained:.2%} of the squares of {where} "
                f"errors are what that makes ({bits:.1f} bits of precision, consistent with "
                f"{consistent}, not with {called(a)})"
            ), ""  # fmt: skip
    if sample.seen <= sample.possible:
        return bits, called(a), "", ""
    aside = f"; the sums show {bits:.1f} bits of precision, fewer than {called(a)} mostly does, "
    if unclear:
        return bits, None, "", (
            f"{aside}and of {', '.join(sorted(unclear))} it cannot be told whether they were cut: "
            "these data are too few, or too much alike"
        )  # fmt: skip
    return bits, None, "", f"{aside}and it is not seen why"


def _place(at: Any, piece: Piece, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Where in the whole array the element `at` of the piece stands."""
    slices = (*piece.place, *(slice(None),) * (len(shape) - len(piece.place)))
    ranges = [range(*part.indices(n)) for part, n in zip(slices, shape, strict=True)]
    if piece.only is not None:
        at = np.unravel_index(piece.only[at], [len(r) for r in ranges])
    return tuple(r[int(i)] for r, i in zip(ranges, at, strict=True))


# What is judged -------------------------------------------------------------------------------


def advised(found: "Certificate", dtype: Any, given: Array) -> "Certificate":
    """A refusal of what may have been computed in less than its array shows says so."""
    if dtype is not None or found.ok is not False or not (name := narrower(given)):
        return found
    advice = f'; every number here is a {name}: if it was computed so, pass dtype="{name}"'
    return replace(found, reason=found.reason + advice)


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
_NOT_ELEMENTWISE = frozenset(("softmax", "log_softmax", "sparsemax"))


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
    """The operands of every step, in processing order, the states as observed."""

    def __init__(
        self,
        states: Any,
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
        self.name = reference.activation(activation).name
        self.h = numbers("states", states)
        self.a = a = _claimed(dtype, self.h)
        _check("states", self.h, ("batch", "timesteps", "units"), "one state for every step")
        B, T, H = self.h.shape
        self.x = _read("x", x, a)
        _check("x", self.x, (B, T, "features"), "batch and timesteps of the states")
        F = self.x.shape[2]
        W, U = _read("kernel", kernel, a), _read("recurrent_kernel", recurrent_kernel, a)
        _check("kernel", W, (F, H), "features of x by units of the states")
        _check("recurrent_kernel", U, (H, H), "units by units of the states")
        self.W, self.U = W.astype(np.float64), U.astype(np.float64)
        self.bias = None if bias is None else _read("bias", bias, a).astype(np.float64)
        if self.bias is not None:
            _check("bias", self.bias, (H,), "the units of the states")
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
        wide = H if self.name in _NOT_ELEMENTWISE else min(H, _COLUMNS)
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


def certify(
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
) -> Certificate:
    """Is each of these states the next value of the recurrence, up to the rounding of its step?

    states (B,T,H) in processing order, as the subject returned them; x (B,T,F), kernel (F,H),
    recurrent_kernel (H,H), bias (H,), initial_state (B,H) (zeros if not given), mask (B,T) in
    input order, True where a step counts; with go_backwards, x and mask are reversed first.
    dtype is the arithmetic that the subject claims, by default the states' own: "float64",
    "float32", "float16", "bfloat16" (the states then in any wider dtype), or Keras's policies
    "mixed_float16" and "mixed_bfloat16". Operands that it cannot hold are rounded to it first, to
    nearest, as frameworks do. float16 and bfloat16 are taken to be summed in float32, and to be
    narrow in all that is stored, as TensorFlow does.

    A masked step must copy the state before it, bit for bit; before a sample's first step that
    counts, that is its initial state or, as Keras returns it, zeros. With zero_output_for_mask, the
    subject returns zeros for all masked steps instead. A sum that may overflow has no bound. A NaN
    among the operands of a step must make it NaN, and nothing else may.

    Raises ValueError for shapes that do not fit, unknown activations and arithmetics.
    """
    layer = Layer(
        states, x, kernel, recurrent_kernel, bias, activation, initial_state, mask,
        go_backwards, zero_output_for_mask, dtype,
    )  # fmt: skip
    return advised(certified(layer), dtype, layer.h)


def certified(layer: Layer) -> Certificate:
    """The states of this layer, as `certify` judges them."""

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


# The values of all others go on for ever, at one end at least
_RANGES = {
    "tanh": Reach(-1, 1), "hard_tanh": Reach(-1, 1), "softsign": Reach(-1, 1),
    "sigmoid": Reach(0, 1), "hard_sigmoid": Reach(0, 1), "sparse_sigmoid": Reach(0, 1),
    "softmax": Reach(0, 1), "sparsemax": Reach(0, 1), "relu6": Reach(0, 6),
}  # fmt: skip


def reach_of(name: str) -> Reach:
    return _RANGES.get(name, Reach())


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


class _Closed(NamedTuple):
    """What bounds the spread of an activation in closed form.

    |act''| <= rate·|act'| is |(log act')'| <= rate. So over [z - Δ, z + Δ] act' stays between
    act'(z)·exp(∓rate·Δ), and act within Δ times the latter of act(z). It never is steeper than 1.
    """

    act: np.ufunc
    slope: Callable[[Array], Any]  # act'(z) from h = act(z)
    rate: float
    most: float  # the largest |h| there is
    own: float  # NumPy's error, in units of u·|h|: 4 ulp


_CLOSED = {
    "linear": _Closed(np.positive, np.ones_like, 0.0, math.inf, 0.0),
    "tanh": _Closed(np.tanh, lambda h: 1 - h * h, 2.0, 1.0, 8.0),
}


def _can_be_quick(name: str, z: Sum) -> bool:
    return name in _CLOSED and z.is_plain and z.a.u_stored > FLOAT64.u and z.value.size > SAMPLED


def _can_be_narrow(layer: Layer) -> bool:
    """Whether float32 holds all operands, and sums are so long that its own rounding is small."""
    held = layer.x.dtype == layer.h.dtype == np.float32 and layer.a.u_stored > FLOAT64.u
    long = len(layer.W) + len(layer.U) >= _LONG and not layer.forward.tight
    return held and long and layer.name in _CLOSED


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
    act'(z)·exp(-rate·Δ)·Δ + C_ACT·u·|h| at least, and act as seen here is off
    by act'(z)·exp(rate·own·size)·own·size and its own error. 32 roundings are more than the slope's
    error and those of these few lines.
    """
    closed, (gamma, own, vague), ratio = _CLOSED[name], off, worst.ratio
    u, other = float(np.finfo(h.dtype).eps) / 2, room(f"* {h.dtype}", *h.shape, dtype=h.dtype)
    closed.act(h, out=h)
    far_off = closed.rate * (gamma + 2 * own) * top * (1 + vague)
    if not far_off < 1:
        return np.arange(h.size)
    steepest = math.exp(far_off)
    fuzz = 2**5 * u
    less, more = 1 - fuzz - vague, 1 + fuzz + vague
    act_error = ratio * C_ACT[name] * a.u_stored
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


def _spread_and_noise(name: str, z: Sum, h: Array) -> tuple[Array, Array]:
    """How far act(z + e) is from h = act(z) if |e| <= z.error, and how far evaluating it may be."""
    a, d = z.a, z.error
    if name not in _CLOSED:
        noise = activation_error(name, z.value, h, a, d)
        noise += activation_error(name, z.value, h, FLOAT64)
        return spread(name, z.value, d), noise
    closed = _CLOSED[name]
    # exp(x) <= 1/(1 - x); and 2^-51 is more than the slope's own rounding
    far = d * np.fmin(1.0, (closed.slope(h) + 2.0**-51) / np.maximum(1 - closed.rate * d, 0))
    size = np.abs(h)
    far = np.fmin(far, size + closed.most)
    size += far
    if name == "linear":  # copies, but may flush what is subnormal
        small = size < a.min_normal + 2 * d
        noise = np.where(small, np.minimum(size, a.min_normal), 0.0) if small.any() else 0 * size
    else:
        noise = C_ACT[name] * (a.u_stored + FLOAT64.u) * size
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
    act = reference.activation(name)
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


# These choose by comparison, so that a NaN may come out as any of the choices.
_CHOOSING = frozenset((
    "relu", "relu6", "leaky_relu", "elu", "celu", "selu", "hard_sigmoid", "hard_silu", "hard_tanh",
    "hard_shrink", "soft_shrink", "sparse_plus", "sparse_sigmoid", "sparsemax",
))  # fmt: skip


def _unbounded(name: str, z: Sum, h: Array, bound: Array, observed: Array) -> Array:
    """The bound of act(z) where z is NaN or infinite because of an operand that is (error 0).

    A NaN makes a NaN. Of infinities the subject may have made one: inf - inf where a partial sum
    overflowed the other way, or -inf·sigmoid(-inf). Otherwise act has its limit.
    """
    if name in _CHOOSING:
        special: Any = np.inf
    else:
        nan = np.isnan(h) | np.isnan(observed)
        limit = np.where(np.isinf(h), 0.0, C_ACT[name] * z.a.u_stored * np.abs(h))
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
    name = reference.activation(activation).name
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
        wide = O if name in _NOT_ELEMENTWISE else min(O, _COLUMNS)
        grid = _grid(len(observed), 1, O, wide)
        at = grid.within(0, len(observed)), grid.columns
        expected, bound, sample = _activated(name, z, observed, at, True)
        yield Piece((), expected.reshape(given.shape), bound.reshape(given.shape), sample)

    return advised(judge(a, given, pieces, reach_of(name)), dtype, given)


def certify_dense_gradients(
    observed: Mapping[str, Any],
    *,
    cotangent: Any,
    h: Any,
    kernel: Any,
    bias: Any = None,
    activation: str | None = "linear",
    dtype: Any = None,
    cotangent_error: Any = 0.0,
) -> dict[str, Certificate]:
    """Are these the gradients of the output layer? The mathematics: `rounding.vjp_bound`.

    observed: any of "h" (...,H), "kernel" (H,O) and "bias" (O,); cotangent (...,O) is dL/d(output),
    off by at most cotangent_error. h as the subject computed it. Raises ValueError for other names.
    """
    got = {name: _read(name, array) for name, array in observed.items()}
    a = _claimed(dtype, next(iter(got.values()), np.zeros(0)))
    bias = None if bias is None else _read("bias", bias, a)
    truth, bounds = running_dense_gradients(
        _read("cotangent", cotangent, a), cotangent_error, _read("h", h, a), 0.0,
        _read("kernel", kernel, a), bias, activation=activation, arithmetic=a,
    )  # fmt: skip
    result = {}
    for name, array in got.items():
        if name not in truth._fields:
            raise ValueError(f"observed has {name!r}, but should have some of h, kernel, bias")
        expected, bound = getattr(truth, name), getattr(bounds, name)
        _check(f"observed {name}", array, expected.shape, "as the other arguments have it")
        found = judge(a, array, _whole(expected, bound))
        result[name] = advised(found, dtype, array)
    return result


def certify_loss(
    loss: Any, *, kind: str, target: Any, prediction: Any, dtype: Any = None
) -> Certificate:
    """Is this number the loss of these predictions, as the subject itself computed them?

    kind "mse" or "categorical_crossentropy", as rounding.running_loss knows them; target and
    prediction of one shape. What the loss hands on to the layers is rounding.running_loss_gradient.
    """
    given = _read("loss", loss)
    _check("loss", given, (), "one number")
    a = _claimed(dtype, given)
    target, prediction = _read("target", target, a), _read("prediction", prediction, a)
    if not target.size:
        return judge(a, given, lambda worst: iter(()))
    truth, bound = running_loss(kind, target, prediction, arithmetic=a)
    found = judge(a, given, _whole(np.asarray(truth), np.asarray(bound)))
    return advised(found, dtype, given)


def _whole(expected: Array, bound: Array) -> Pieces:
    """The one piece of an array whose bound was derived elsewhere."""
    return lambda worst: iter([Piece((), expected, bound)])


# Gradients ------------------------------------------------------------------------------------


def certify_gradients(
    observed: Mapping[str, Any],
    *,
    cotangent: Any,
    states: Any,
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
    cotangent_error: Any = None,
) -> dict[str, Certificate]:
    """Is each adjoint the one that follows from the next, and each gradient the sum they make?

    observed: "delta" (B,T,H), dL/dz in processing order, from which the others are judged, and any
    of "x" (B,T,F) in input order, "kernel" (F,H), "recurrent_kernel" (H,H), "bias" (H,),
    "initial_state" (B,H). cotangent (B,T,H) is dL/dh in processing order, as far as h is part of
    the output, off by at most cotangent_error. The other arguments are those of `certify`; the
    states are taken as they are, so certify them first.

    delta is 0 where the mask skips a step, and what reaches its state goes on to the one before.
    act' may have been evaluated from z or from h, and on either side of a kink. Sums over all steps
    may have been made in any order, step by step included.

    Returns a certificate for each array observed. Raises ValueError for shapes that do not fit,
    unknown names, and without a delta.
    """
    layer = Layer(
        states, x, kernel, recurrent_kernel, bias, activation, initial_state, mask,
        go_backwards, zero_output_for_mask, dtype,
    )  # fmt: skip
    (B, T, H), F = layer.h.shape, len(layer.W)
    shapes = {
        "delta": (B, T, H), "x": (B, T, F), "kernel": (F, H), "recurrent_kernel": (H, H),
        "bias": (H,), "initial_state": (B, H),
    }  # fmt: skip
    got = {name: _read(name, array) for name, array in observed.items()}
    for name, array in got.items():
        if name not in shapes:
            raise ValueError(f"observed has {name!r}, but should have some of {', '.join(shapes)}")
        _check(f"observed {name}", array, shapes[name], "as the other arguments have it")
    if "delta" not in got:
        raise ValueError("observed has no 'delta', from which the others are judged")
    c = _read("cotangent", cotangent, layer.a)
    _check("cotangent", c, (B, T, H), "the states'")
    if cotangent_error is not None:
        cotangent_error = _read("cotangent_error", cotangent_error)
        _check("cotangent_error", cotangent_error, (B, T, H), "the states'")
    adjoint = _Adjoint(layer, got["delta"], c, cotangent_error)
    makers: dict[str, Pieces] = {
        "delta": lambda worst: adjoint.deltas(),
        "x": lambda worst: adjoint.inputs(got["x"]),
        "kernel": lambda worst: adjoint.sums(slice(0, F), "x", got["kernel"]),
        "recurrent_kernel": lambda worst: adjoint.sums(
            slice(F, F + H), "states", got["recurrent_kernel"]
        ),
        "bias": lambda worst: adjoint.sums(None, "", got["bias"]),
        "initial_state": lambda worst: adjoint.initial(got["initial_state"]),
    }
    return {
        name: advised(judge(layer.a, array, makers[name], Reach()), dtype, array)
        for name, array in got.items()
    }


class _Adjoint:
    """The backward pass of a layer: what its gradients should be, given the observed adjoints."""

    def __init__(self, layer: Layer, delta: Array, c: Array, c_error: Array | None) -> None:
        self.layer, self.delta, self.c, self.c_error = layer, delta, c, c_error
        self.back = Factor(layer.U.T, layer.a, names=(("delta", "recurrent_kernel"),))

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
        act, room = reference.activation(layer.name), Room()
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
        derivative = reference.activation(name).derivative
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

    def factors(self, part: slice | None, room: Room) -> Iterator[tuple[Array, Array]]:
        """[x_t, h_{t-1}]ᵀ of each block, that part of it, or ones; and δ_t."""
        for samples, steps in self.layer.blocks():
            delta = self.delta[samples, steps].astype(np.float64)
            delta = delta.reshape(-1, self.delta.shape[2])
            rows = np.ones((len(delta), 1))
            if part is not None:
                rows = self.layer.operands(samples, steps, room)[:, part]
            yield np.ascontiguousarray(rows.T), delta

    def sums(self, part: slice | None, name: str, observed: Array) -> Iterator[Piece]:
        """dW and dU, those parts of Σ [x_t, h_{t-1}]ᵀδ_t, and db = Σ δ_t; `name` of the former."""
        layer, H = self.layer, self.delta.shape[2]
        T, R = self.delta.shape[1], observed.size // max(H, 1)
        grid = _grid(R, 1, H, min(H, _COLUMNS))
        at = grid.within(0, R), grid.columns
        total: Sum | None = None
        squares: Any = 0.0
        room = Room()
        for rows, delta in self.factors(part, room):
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

        def operands() -> Iterator[tuple[str, str, Array, Array]]:
            for rows, delta in self.factors(part, room):
                yield name, "delta", rows[at[0]], delta[:, at[1]]

        if total is not None:
            yield _linear((), total.bounded(stored=T + 2), observed, at, squares, operands)

    def initial(self, observed: Array) -> Iterator[Piece]:
        """dh_0 = δ_1·Uᵀ, and the cotangents of its copies where the states show it and not zeros.

        Where the initial state is 0 itself nobody can tell, and either is accepted.
        """
        layer = self.layer
        for samples, steps in layer.blocks():
            if steps.start:
                continue
            alone = self.through_time(samples, 0, 1, copies=False)
            s, got = alone, observed[samples].astype(np.float64)
            if layer.most > 1 and layer.next is not None:
                copied = self.through_time(samples, 0, 1)
                shown = layer.h[samples, 0].astype(np.float64)  # a copy, if it is masked
                masked = (layer.next[samples, 0] > 0)[:, None]
                zeros = (shown == 0).all(axis=1, keepdims=True)
                either = zeros & (layer.h0[samples] == 0).all(axis=1, keepdims=True)
                far, near = (
                    _ratios(_residual(got, one.value), one.error).max(axis=1, keepdims=True)
                    for one in (alone, copied)
                )
                keep = masked & (~zeros | (either & (near < far)))
                s.value = np.where(keep, copied.value, alone.value)
                s.error = np.where(keep, copied.error, alone.error)
                s.addend_size = np.where(keep, copied.addend_size, 0.0)
            grid = _grid(len(s.value), 1, s.value.shape[1], min(s.value.shape[1], _COLUMNS))
            at = grid.within(0, len(s.value)), grid.columns
            yield _linear((samples,), s, observed, at)


def _per_state(c: Array, samples: slice, start: int, end: int) -> Array:
    """c at the steps that made these states, 0 for the initial one."""
    if start:
        return c[samples, start - 1 : end - 1].astype(np.float64)
    padded = np.zeros((samples.stop - samples.start, end, c.shape[2]))
    padded[:, 1:] = c[samples, : end - 1]
    return padded


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
