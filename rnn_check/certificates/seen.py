"""What is a step made of states that were observed, and by how much may these have been others?

R rows: samples × steps, H units
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from rnn_check.certificates.activated import _spread_and_noise
from rnn_check.certificates.sums import Sum
from rnn_check.numbers import activations
from rnn_check.numbers.bounded import Bounded, untold
from rnn_check.numbers.formats import UP, Arithmetic, Array, _upper, gamma
from rnn_check.numbers.reading import Bounds


class Adding(Protocol):
    """A layer whose sums have bounds."""

    a: Arithmetic
    name: str  # of the activation
    gate: str  # of that of the gates

    def sums(
        self,
        products: Sequence[tuple[Array, Bounded]],
        bias: Bounded | None,
        stored: int | None = None,
    ) -> Sum:
        """Of rows and matrices, and biases."""


class Seen(Bounds):
    """Bounded numbers whose operands were observed; sums as `sums.Sum` bounds them.

    observed: of some states by name, what is known to have come of the step (R,H). A compiler may
    make a state once more for what comes next, with or without fused multiply-add, so that it
    differs from the one that is shown: by `differs`, twice the rounding of two products' sum. That
    is c of an LSTM, and h of a GRU (`Recurrence.sums`).
    """

    def __init__(
        self, layer: Adding, observed: dict[str, Array], known: Sequence[Sum] = ()
    ) -> None:
        """known: the first sums, where they were made before, of operands of the same values."""
        super().__init__(layer.a, layer.name, layer.gate)
        self.layer, self.observed, self.known = layer, observed, known
        self.expected: dict[str, Bounded] = {}  # of what was observed, what the step makes of it
        self.differs: dict[str, Array] = {}
        self.sums: list[Sum] = []  # one for each call of affine, in order

    def affine(  # type: ignore[override]
        self,
        *products: tuple[Bounded, Bounded],
        bias: Bounded | None = None,
        stored: int | None = None,
    ) -> Bounded:
        if len(self.sums) < len(self.known):
            s = self.known[len(self.sums)]
        else:
            s = self.layer.sums([(rows.value, m) for rows, m in products], bias, stored)
        error = s.error
        for rows, m in products:
            off = rows.known.error
            if rows.error.any():
                error = error + (off @ np.abs(m.value)) * (1 + 2 * s.gamma)
                if (unknown := untold(off, m.value)) is not None:
                    error = np.where(unknown, np.inf, error)
        if np.isnan(s.value).any():  # whatever the others are off by
            error = np.where((s.error == 0) & _is_nan(products, bias), 0.0, error)
        self.sums.append(s)
        return Bounded(s.value, _upper(error), self.a)

    def _activated(self, name: str, z: Bounded) -> Bounded:
        if activations.activation(name).closed is None:
            return super()._activated(name, z)
        h = np.asarray(activations.activation(name).function(z.value))
        far, noise = _spread_and_noise(name, z, h, gate=True)
        error = (far + noise) * UP
        if not (np.isfinite(error).all() and np.isfinite(z.error).all()):
            error = np.where(np.isfinite(z.error) & ~np.isnan(error), error, np.inf)
            error = np.where(z.is_nan, 0.0, error)
        return Bounded(h, error, self.a)

    def blend(self, z: Bounded, h: Bounded, c: Bounded, name: str = "h") -> Bounded:
        return self._seen(name, super().blend(z, h, c), self.made_again(z, h, c))

    def made_again(self, z: Bounded, h: Bounded, c: Bounded) -> Array:
        """By how much z∘h + (1 - z)∘c may differ if it is made once more, unless it is exact."""
        rest = np.abs(1 - z.value) + z.error
        most = z.most * h.most + rest * c.most
        return np.asarray(gamma(4, self.a.u_stored) * most + 4 * self.a.min_normal)

    def seen(self, name: str, a: Bounded, b: Bounded) -> Bounded:
        value = a + b
        most = np.abs(a.value) + a.error + np.abs(b.value) + b.error
        return self._seen(name, value, gamma(4, self.a.u_stored) * most + 4 * self.a.min_normal)

    def _seen(self, name: str, value: Bounded, differs: Array) -> Bounded:
        self.differs[name] = np.where(value.error == 0, 0.0, differs)
        self.expected[name] = value
        if name not in self.observed:
            return value
        off = self.differs[name]
        return Bounded(self.observed[name], np.where(np.isnan(off), np.inf, off), self.a)


class MadeAgain(Seen):
    """Of what makes one state, its output, by how much that may differ, and nothing of it."""

    def blend(self, z: Bounded, h: Bounded, c: Bounded, name: str = "h") -> Bounded:
        if name != "h" or (z.error == 0).any():  # it may choose, which rounds nothing
            return super().blend(z, h, c, name)
        differs = self.made_again(z, h, c)
        for each in (h.is_nan, c.is_nan):
            if each is not False:
                differs = np.where(each, 0.0, differs)
        self.differs["h"] = differs
        return h


def _is_nan(products: Sequence[tuple[Bounded, Bounded]], bias: Bounded | None) -> Array:
    """Which sums are NaN for sure, because an operand is."""
    found: Array = np.zeros((len(products[0][0].value), products[0][1].value.shape[1]), bool)
    for rows, m in products:
        of_row: Array = np.any(np.isnan(rows.value) & (rows.error == 0), axis=1, keepdims=True)
        found |= of_row
        found |= np.isnan(m.value).any(axis=0)
    if bias is not None:
        found |= np.isnan(bias.value.reshape(-1, found.shape[1])).any(axis=0)
    return found
