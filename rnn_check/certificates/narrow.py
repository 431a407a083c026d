"""How far may the same sums be off, made in float32?"""

from __future__ import annotations

import math
from copy import copy

import numpy as np

from rnn_check.certificates.factors import Factor, Room
from rnn_check.certificates.sums import Sum
from rnn_check.numbers.formats import ARITHMETICS, Array, gamma


class Narrow:
    """The same sums in float32, of which short ones are added up: off by little, at half the price.

    For rows and factors whose numbers float32 holds, and whose sums turn out to be plain.
    """

    def __init__(self, factor: Factor, stored: int) -> None:
        self.factor, K = factor, len(factor.matrix)
        self.matrix = factor.matrix.astype(np.float32)
        self.norms = np.empty((0, 0)) if factor.tight else factor.norms.astype(np.float32)
        self.bias = None if factor.bias is None else factor.bias.astype(np.float32)
        self.short = min(max(32, K // 8), 64)
        u = ARITHMETICS["float32"].u
        self.own = gamma(self.short + -(-K // self.short) + 2, u)  # of Σ|terms|
        self.first = Sum.plain(factor).bounded(stored=stored)  # of which others are copies
        self.gamma = self.first.gamma
        self.vague = gamma(K + 2**5, u)  # how far a size may be from Factor.sizes', relative to it

    def sums(self, rows: Array, room: Room) -> tuple[Array, Array, Sum] | None:
        """Value and size (R,H), and what all these sums have in common; None: perhaps not plain."""
        factor, (R, K), H = self.factor, rows.shape, self.matrix.shape[1]
        if factor.used(rows) is not None:  # few terms that are not 0 round less than K/64
            return None
        value, size, some = (room(n, R, H, dtype=np.float32) for n in ("value4", "size4", "some4"))
        norms = factor.norms_of(rows, room("norms4", R, len(self.norms), dtype=np.float32), None)
        np.matmul(norms, self.norms, out=size)
        top, least = float(size.max(initial=0)), float(size.min(initial=np.inf))
        most = float(norms.max(initial=0))
        z = copy(self.first)
        z.unit = z.special = None
        z.top = top * (1 + self.vague)
        z.lost = self.lost(most)
        plain = self.is_plain(top, least, z.lost)
        if not plain or factor.units(rows[:, :1].astype(np.float64), least / 2, None) is not None:
            return None
        np.matmul(rows[:, : self.short], self.matrix[: self.short], out=value)
        for i in range(self.short, K, self.short):
            j = i + self.short
            value += np.matmul(rows[:, i:j], self.matrix[i:j], out=some)
        if self.bias is not None:
            value += self.bias
        return value, size, z

    def lost(self, most: float) -> float:
        """To underflow, of rows of such norms."""
        a, terms = self.factor.a, self.first.terms
        return a.min_normal * (terms * (self.factor.most + most) + 1) + a.underflow(
            terms + 1, self.first.stored
        )

    def is_plain(self, top: float, least: float, lost: float) -> bool:
        """Whether sums of sizes between these do not overflow, and underflow means nothing."""
        a, factor = self.factor.a, self.factor
        # squares in float32 may lose what is below 2^-63
        dropped = math.sqrt(len(factor.matrix)) * 2.0**-62 * float(factor.norms.max(initial=0))
        return (
            lost <= 2.0**-25 * a.u * least
            and dropped <= 2.0**-24 * least
            and top < 2.0**120
            and top * (1 + self.vague) * (1 + self.gamma) <= a.max
        )

    def elements(self, rows: Array, at: Array, z: Sum) -> Sum:
        """These elements, of all sums laid flat, in full."""
        r, j = np.divmod(at, self.matrix.shape[1])
        return self.of(rows[r].astype(np.float64), j, z)

    def of(self, chosen: Array, j: Array, z: Sum) -> Sum:
        """Of each of these rows (n,K), the sum of that column, in full."""
        few, factor = copy(z), self.factor
        columns = factor.matrix.T[j]
        few.value = np.einsum("sk,sk->s", chosen, columns)
        few.size = np.zeros(len(j))
        for p, (i, k) in enumerate(zip(factor.starts, factor.ends, strict=True)):
            norms = np.sqrt(np.einsum("sk,sk->s", chosen[:, i:k], chosen[:, i:k]))
            few.size += norms * factor.norms[p, j]
        if factor.bias is not None:
            few.value += factor.bias[j]
            few.size += factor.norms[-1, j]
        return few
