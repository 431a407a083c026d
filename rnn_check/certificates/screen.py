"""Which states may be beyond their bound? Asked in float32, of tiles of many rows.

For a verdict it is enough to know that no other state is. Let size be ‖x_t‖‖W_j‖ + ‖h‖‖U_j‖ + |b_j|
as the bound has it, γ·size the bound of z, and own·size how far z is off that is made here of short
sums. Then (see `quick.slack`) a state ĥ is within its bound if

    |ĥ - h| <= A·(least - h²) + C·|h|        h = tanh(z) in float32, A = far·size, C = what tanh's
                                             own error leaves beside that of NumPy's tanh

where A is taken for the least size of all in the tile, and, as |h| >= h², it is so if

    h² + |ĥ - h|/(A - C) <= least·A/(A - C)

Six passes over the tile, and nothing of the products in float64, nor of [x_t, h_{t-1}] as a copy:
h_{t-1} is the row above.

    B batch, T timesteps, F features, H units       R rows: samples × steps
"""

from __future__ import annotations

import threading
from copy import copy
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from rnn_check.certificates.factors import Room, some_of
from rnn_check.certificates.layer import Layer, reach_of
from rnn_check.certificates.narrow import Narrow
from rnn_check.certificates.precision import SAMPLED
from rnn_check.certificates.quick import is_clear, slack
from rnn_check.certificates.sampled import Everywhere
from rnn_check.certificates.sums import Sum
from rnn_check.numbers.formats import ARITHMETICS, Array, gamma

_ROWS, _STATES = 640, 2**17  # of a tile, at least: products like many, caches few
WIDE = 2**2  # blocks are screened at once: all that is written is a tile
_ADDED = 2**13  # numbers: so many are added at once
_FEW = 2**8  # one in so many states may be computed in full


class _Kept(threading.local):
    """Room that serves one certificate after the other: none is left in the middle of a block."""

    def __init__(self) -> None:
        self.room = Room()


_KEPT, _MOST_KEPT = _Kept(), 2**18  # numbers of an array


def rows_of(rows: int, H: int, least: int = _ROWS, states: int = _STATES) -> int:
    """How many of these rows to screen at once: so many, or those of so many states, or more."""
    most = min(max(least, states // H), rows)
    return -(-rows // -(-rows // most))  # tiles of one size


def room_for(rows: int, width: int) -> Room:
    """To write arrays of so many numbers into."""
    return _KEPT.room if rows * width <= _MOST_KEPT else Room()


class Above:
    """The states before each step of a layer without a mask, in float32."""

    def __init__(self, layer: Layer, room: Room) -> None:
        self.T, self.room = layer.h.shape[1], room
        self.h, self.h0 = layer.h.reshape(-1, len(layer.U)), layer.h0.astype(np.float32)
        self.from_zero = not self.h0.any()

    def __call__(self, start: int, n: int) -> tuple[Array, slice]:
        """(n,H) The states before n rows from `start` on, and which are the first of a sample.

        They are the rows above; of a first row the initial state, or any state where that is 0.
        """
        first = slice(-start % self.T, n, self.T)
        if start and (self.from_zero or first.start >= n):
            return self.h[start - 1 : start + n - 1], first
        before = self.room("before", n, self.h.shape[1], dtype=np.float32)
        before[1:], before[0] = self.h[start : start + n - 1], self.h[start - 1]
        if not self.from_zero:
            before[first] = self.h0[start // self.T + (first.start > 0) :][: len(range(n)[first])]
        return before, first


class Bias:
    """What is added to each row (H,): NumPy takes its time for each of many short ones."""

    def __init__(self, bias: Array) -> None:
        self.rows = -(-_ADDED // len(bias))
        several = np.empty((self.rows, len(bias)), bias.dtype)
        several[:] = bias
        self.several = several.reshape(-1)

    def added(self, to: Array) -> None:
        """To rows (R,H)."""
        whole = len(to) // self.rows * self.rows
        many, rest = to[:whole].reshape(-1, len(self.several)), to[whole:].reshape(-1)
        many += self.several
        rest += self.several[: len(rest)]


class Suspects(NamedTuple):
    """Of a block: the elements that may be beyond their bound, laid flat, and how many are ±1."""

    at: Array
    z: Sum | None  # of these elements; None: there are none
    ends: int


class Screen:
    """The states of a layer of tanh without a mask, whose sums are many and plain."""

    def __init__(self, layer: Layer, narrow: Narrow) -> None:
        self.layer, self.narrow = layer, narrow
        F, H = len(layer.W), len(layer.U)
        short = short_of(F, H)
        self.of_x, self.of_h = parts_of(0, F, short), parts_of(F, F + H, short)
        longest = max(j - i for i, j in (*self.of_x, *self.of_h))
        own = gamma(longest + len(self.of_x) + len(self.of_h) + 1, ARITHMETICS["float32"].u)
        self.off = narrow.gamma, own, narrow.vague
        norms = layer.forward.norms  # (2,H), or (3,H) with a bias
        self.reach = reach_of(layer.name)
        self.bias = None if narrow.bias is None else Bias(narrow.bias)
        self.least, self.most = ([*map(float, f(norms, axis=1)), 0.0][:3] for f in (np.min, np.max))
        self.rows = rows_of(layer.h[..., 0].size, H)
        self.room = room_for(self.rows, max(F, H))
        self.before = Above(layer, self.room)
        self.h, self.from_zero = self.before.h, self.before.from_zero

    @classmethod
    def of(cls, layer: Layer, narrow: Narrow) -> Screen | None:
        """None where nothing can be screened so."""
        plain = is_clear(layer.a, 0.0) and layer.forward.never_exact
        can = layer.name == "tanh" and plain and len(layer.W) > 0 and layer.h.size > SAMPLED
        return cls(layer, narrow) if can else None

    def suspects(
        self, samples: slice, steps: slice, level: float, shown: Everywhere | None = None
    ) -> Suspects | None:
        """Of the states of a block, those whose ratio may be above the level.

        shown: is shown what float32 makes of them.

        None if they are too many, or the sums perhaps not plain.
        """
        layer, (_, T, H) = self.layer, self.layer.h.shape
        start = samples.start * T + steps.start
        R = (samples.stop - samples.start) * (steps.stop - steps.start)
        looked = shown is not None and layer.h.size == R * H  # at a sample of the same
        if not looked and not layer.forward.is_used(layer.rows(start + some_of(R))):
            return None  # where terms are fewer bounds are smaller
        x = layer.x[samples, steps].reshape(R, -1)
        found, ends, left = list[Array](), 0, R * H // _FEW
        top = lost = 0.0
        for i in range(0, R, self.rows):
            j = min(i + self.rows, R)
            block = self._block(x[i:j], start + i, level, shown)
            if block is None:
                return None
            top, lost = max(top, block.top), max(lost, block.lost)
            most = float(block.stat.max())
            if not most < 1 - 2.0**-18:  # of |ĥ| = 1 it is 1 at least
                ends += self.reach.ends(self.h[start + i : start + j])
            if most <= block.most:
                continue
            at = np.flatnonzero(~(block.stat <= block.most))
            left -= len(at)
            if left < 0:
                return None
            found.append(at + i * H)
        if not found:
            return Suspects(np.zeros(0, np.intp), None, ends)
        at = np.concatenate(found)
        z = copy(self.narrow.first)
        z.unit = z.special = None
        z.top, z.lost = top * (1 + self.narrow.vague), lost
        rows, columns = np.divmod(at, H)
        return Suspects(at, self.narrow.of(layer.rows(start + rows), columns, z), ends)

    def _block(
        self, x: Array, start: int, level: float, shown: Everywhere | None = None
    ) -> _Block | None:
        """x (n,F) of these rows, the first of which is `start`; None if not all can be plain."""
        narrow, n, H = self.narrow, len(x), self.h.shape[1]
        h, (before, first) = self.h[start : start + n], self.before(start, n)
        z, some = (self.room(name, n, H, dtype=np.float32) for name in ("z", "some"))
        of_h = np.einsum("rk,rk->r", before, before)
        if self.from_zero:
            of_h[first] = 0
        of_x = np.einsum("rk,rk->r", x, x)
        np.sqrt(of_h, out=of_h)
        np.sqrt(of_x, out=of_x)
        largest = float(of_x.max()), float(of_h.max())
        top = self.most[0] * largest[0] + self.most[1] * largest[1] + self.most[2]
        least = float((self.least[0] * of_x + self.least[1] * of_h).min()) + self.least[2]
        lost = narrow.lost(max(*largest, 1.0))
        u = ARITHMETICS["float32"].u
        known = slack("tanh", self.layer.a, self.off, top, u, level)
        if known is None or not narrow.is_plain(top, least, lost):
            return None
        if not is_clear(self.layer.a, narrow.gamma * top * (1 + narrow.vague) + 2 * lost):
            return None
        far = known.far * least
        act = min(max(known.act, 0.0), far / 2)
        F = x.shape[1]
        for i, j in self.of_x:
            part = np.matmul(x[:, i:j], narrow.matrix[i:j], out=some if i else z)
            if i:
                z += part
        for i, j in self.of_h:
            np.matmul(before[:, i - F : j - F], narrow.matrix[i:j], out=some)
            if self.from_zero:
                some[first] = 0
            z += some
        if self.bias is not None:
            self.bias.added(z)
        np.tanh(z, out=z)
        if shown is not None:
            shown.made(start, z)
        np.subtract(z, h, out=some)
        np.abs(some, out=some)
        some *= np.nextafter(np.float32(1 / (far - act)), np.float32(np.inf))
        np.square(z, out=z)
        z += some
        return _Block(z, known.least * far / (far - act) * (1 - 2.0**-19), top, lost)


class _Block(NamedTuple):
    """h² + |ĥ - h|/(A - C) of some rows, what it is at most, the largest size and underflow."""

    stat: Array
    most: float
    top: float
    lost: float


def short_of(F: int, H: int) -> int:
    """How long a sum may be of those that x·W + h·U is made of: the fewer, the less there is to add
    up, and the more its own rounding takes of the bound.
    """
    return max(2 * (F + H) // 3, (F + H + 1) // 2)


def parts_of(start: int, stop: int, most: int) -> list[tuple[int, int]]:
    """Equal parts of these, none of more than that."""
    parts = -(-(stop - start) // most)
    return list(pairwise(start + (stop - start) * i // parts for i in range(parts + 1)))
