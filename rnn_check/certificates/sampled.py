"""Of which sums is it asked how they were made, and is there anything to be asked?

A sample of all sums of a layer, in float64. But where they were made in float32 to judge all
states, both roundings together are mostly so little that they need not be made again: what cut
operands make would be seen there as well.

    B batch, T timesteps, F features, H units       n rows and C columns of a sample
"""

from __future__ import annotations

from functools import cached_property

import numpy as np

from rnn_check.certificates.activated import activated, errors_seen
from rnn_check.certificates.factors import some_of
from rnn_check.certificates.layer import Layer
from rnn_check.certificates.pieces import Piece
from rnn_check.certificates.precision import CLOSER, NOISE, NOTHING, Sample, variance
from rnn_check.certificates.sums import Sum
from rnn_check.numbers import activations
from rnn_check.numbers.formats import Array


class Everywhere:
    """A sample of all sums at once, of a layer without a mask whose activation is quick."""

    def __init__(self, layer: Layer) -> None:
        (B, T, H), (rows, columns) = layer.h.shape, layer.sample
        self.layer, self.columns = layer, columns
        self.rows = np.arange(B * T) if rows is None else rows  # (n,) samples and steps in one
        self.operands = layer.rows(self.rows)
        self.factor = layer.forward if isinstance(columns, slice) else layer.sampled_columns
        self.observed = self._of(layer.h.reshape(-1, H)[self.rows])
        self.h = np.empty(self.observed.shape, np.float32)

    def _of(self, rows: Array) -> Array:
        """(n,C) these columns."""
        return rows if isinstance(self.columns, slice) else rows[:, self.columns]

    def made(self, start: int, h: Array) -> None:
        """What float32 makes of these rows, of which the first is `start`."""
        i, j = np.searchsorted(self.rows, (start, start + len(h)))
        self.h[i:j] = self._of(h[self.rows[i:j] - start])

    @property
    def holds_all(self) -> bool:
        """Whether these rows hold all operands."""
        return self.factor.is_used(self.operands[some_of(len(self.rows))])

    @cached_property
    def z(self) -> Sum:
        return Sum(self.operands, self.factor).bounded(stored=3)

    def errors(self) -> Sample:
        """How their sums were made."""
        name = self.layer.name
        h = np.asarray(activations.activation(name).function(self.z.value))
        return errors_seen(name, self.z, h, self.observed.astype(np.float64))

    def judged(self) -> Piece:
        """They themselves."""
        H, observed = len(self.layer.U), self.observed.astype(np.float64)
        expected, bound, _ = activated(self.layer.name, self.z, observed, None, True)
        only = (self.rows[:, None] * H + np.arange(H)[self.columns]).reshape(-1)
        return Piece((), expected.reshape(-1), bound.reshape(-1), NOTHING, only, 0)

    def look_rounded(self) -> bool:
        """Whether what float32 made of all these shows that nothing is to be looked at closely.

        Cut operands add their errors to what is seen here, as they do in float64: so nothing is, if
        the mean square of all is less than half of what would be, of which less is taken here: as
        if |z| were |h|.
        """
        layer, a, h = self.layer, self.layer.a, self.h
        act = activations.activation(layer.name)
        squares = np.square(self.operands) @ self.factor.squares
        if self.factor.bias is not None:
            squares += np.square(self.factor.bias)
        m, size = np.sqrt(squares, dtype=np.float32, casting="same_kind"), np.abs(h)
        slope = np.subtract(np.float32(1), np.square(h))
        counts = slope > np.float32(0.01)
        counts &= np.float32(act.c * a.u_stored / (NOISE * a.u)) * size <= m * slope
        e = self.observed - h
        e /= np.multiply(slope, m, out=slope)
        size /= m
        size += np.float32(3)
        many = counts.astype(np.float32)
        seen, most = (float(np.vdot(np.square(part, out=part), many)) for part in (e, size))
        return seen <= CLOSER / 2 * variance(a, len(self.factor.matrix), 3) * most
