"""What is left of the bound of a gate, when all that it is off here is taken from it?

Sums of float32, made of short ones, whose sizes lie between two numbers; and the gate of one.

    F features, H units, G gates        R rows, each with K numbers
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from rnn_check.certificates.factors import Factor, quanta
from rnn_check.certificates.screen import parts_of
from rnn_check.certificates.sums import Sum
from rnn_check.numbers import activations
from rnn_check.numbers.formats import ARITHMETICS, FLOAT64, Array, gamma

U = ARITHMETICS["float32"].u
FUZZ = 2.0**-18  # of what is compared: 2^6 roundings in float32, more than any of these lines has
OWN = {"tanh": 8.0, "sigmoid": 10.0}  # units of u·|σ|: NumPy's 4 ulp of tanh; of exp, 1 + and 1 /
FLAT = 2.0**-4  # no argument may be off by more, so that bounds are nearly linear
_PIECE = 2**4  # products of fewer terms are made in float64


class Columns:
    """What rows (R,K) are multiplied with, gate beside gate, in float32 or of short sums."""

    def __init__(self, matrix: Array, signs: Array, short: int) -> None:
        """matrix (K,GH); signs (G,): a gate whose columns are negated is made of -s.

        short: no sum that is made at once has more terms, or is half of all.
        """
        K, G = len(matrix), len(signs)
        gates = matrix.reshape(K, G, -1).swapaxes(0, 1) * signs[:, None, None]
        self.narrow = K >= _PIECE
        self.matrix = np.ascontiguousarray(gates, np.float32 if self.narrow else np.float64)
        self.parts = parts_of(0, K, max(short, _PIECE // 2) if self.narrow else max(K, 1))
        longest = max(j - i for i, j in self.parts)
        # how many roundings there are, at most: of sums in float64 that of the result
        self.roundings = longest + len(self.parts) - 1 if self.narrow else 1

    def of(self, rows: Array, out: Array, some: Array) -> Array:
        """(G,R,H)"""
        if not self.narrow:
            np.copyto(out, np.matmul(rows.astype(np.float64), self.matrix), casting="same_kind")
            return out
        for i, j in self.parts:
            part = np.matmul(rows[:, i:j], self.matrix[:, i:j], out=some if i else out)
            if i:
                out += part
        return out

    def added(self, rows: Array, to: Array, some: Array) -> None:
        """The same added to what is there."""
        if not self.narrow:
            to += self.of(rows, some, some)
            return
        for i, j in self.parts:
            to += np.matmul(rows[:, i:j], self.matrix[:, i:j], out=some)


class Between(NamedTuple):
    """The least and the largest of some sizes."""

    least: float
    most: float


class Argument:
    """The sums of one gate: their γ, and between which numbers their sizes lie.

    roundings: how many there are in the same sums as they are made here.
    """

    def __init__(
        self, factor: Factor, columns: slice, products: int, biases: int, roundings: int
    ) -> None:
        sums = Sum.plain(factor).bounded(products, stored=products + biases)
        self.factor, self.gamma, self.own = factor, sums.gamma, gamma(roundings, U)
        self.vague = gamma(len(factor.matrix) + 2**5, U)
        self.starts, self.ends = factor.starts[:products], factor.ends[:products]
        rest = np.abs(factor.matrix[self.ends[-1] :, columns]).sum(axis=0)
        rest = rest if factor.bias is None else rest + np.abs(factor.bias[columns])
        if factor.tight:
            self.matrix = np.abs(factor.matrix[: self.ends[-1], columns]).astype(np.float32)
            self.rest = rest.astype(np.float32)
        else:
            self.norms = np.vstack([factor.norms[:products, columns], rest])
            self.low, self.high = (f(self.norms, axis=1) for f in (np.min, np.max))

    def sizes(self, *rows: tuple[Array, Array]) -> Between:
        """Of rows (R,K) and their norms (R,), one pair for each product."""
        if self.factor.tight:
            size = self.rest + sum(
                np.abs(part) @ self.matrix[i:j]
                for (part, _), i, j in zip(rows, self.starts, self.ends, strict=True)
            )
            low, high = float(size.min()), float(size.max())
        else:
            ends = []
            for f, found in ((np.min, self.low), (np.max, self.high)):
                size = found[-1] + sum(n * norm for n, (_, norm) in zip(found, rows, strict=False))
                ends.append(float(f(size)))
            low, high = ends
        return Between(low * (1 - self.vague), high * (1 + self.vague) + 2.0**-60)

    def far_at(self, rows: Array, columns: Array, *norms: Array) -> Array:
        """By how much these sums may be off at most, of rows of these norms; not of a tight factor.

        γ·size: of what underflow adds, nothing is seen beside it.
        """
        *several, rest = self.norms
        size = rest[columns] + sum(
            each[columns] * norm[rows] for each, norm in zip(several, norms, strict=True)
        )
        return np.asarray(self.gamma * (1 + self.vague) * size + 2.0**-60)

    def may_be_exact(self, unit: float, size: Between) -> bool:
        """Whether some sum may need no rounding; unit: the largest of a row's, see Factor.units."""
        # mostly a row of the matrix says that it is none
        return all(
            not float(quanta(some.reshape(1, -1))[0]) * 2.0**self.factor.a.bits * unit <= size.least
            for some in (self.factor.matrix[:1], self.factor.matrix)
        )


class Left(NamedTuple):
    """What is left of the bound of a gate: A·σ' + C·|σ| at least."""

    A: float
    C: float


def left_of(
    name: str, of: Argument, size: Between, off: float | None = None, more: float = 1.0
) -> Left | None:
    """Of the bound of a gate, less `more` times what it is off here; None: perhaps nothing.

    off: how far the argument may be off here, if by more than its own sums.
    """
    act = activations.activation(name)
    assert act.closed is not None
    off = of.own * size.most if off is None else off
    if not (off < FLAT and of.gamma * size.most < FLAT):
        return None
    steepest = math.exp(act.closed.rate * off)
    A = (of.gamma - of.own * more * (1 + act.c * U) * steepest) / steepest * size.least
    A *= 1 - FUZZ
    C = (act.c - more * OWN[name]) * (1 - FUZZ) - (3 * OWN[name] + 8) * A
    return Left(A, C * U) if A >= 0 and C >= 0 else None


def has_room(name: str, A: float) -> bool:
    """Whether act's own error is more than what float32 makes of a slope, A times."""
    return activations.activation(name).c * (1 - FUZZ) - OWN[name] >= (3 * OWN[name] + 4) * A


def most_of(name: str, off: float) -> float:
    """How far a gate may be off at most, whose argument is off by so much at most."""
    act = activations.activation(name)
    assert act.closed is not None
    slope = 1.0 if name == "tanh" else 0.25
    far = off * (slope + 2.0**-50) / (1 - act.closed.rate * off)
    return (far + act.c * (U + FLOAT64.u) * (1 + far)) * (1 + FUZZ) + 2.0**-100


def largest(array: Array) -> float:
    """The largest absolute value; NaN if one is."""
    return float(np.maximum(array.max(), -array.min()))
