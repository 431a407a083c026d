"""How much of some errors do others explain, and may that be chance?

What a grid of errors has in common tells nothing: means over rows, means over columns, and whatever
is known to be there beside. Of what is left of e in a space of ν dimensions, p directions chosen
from M sets explain all but a share ε of the square with probability

    M · P(Beta((ν-p)/2, p/2) < ε)  <=  M ε^((ν-p)/2) Γ(ν/2) / (Γ((ν-p)/2 + 1) Γ(p/2))    (p >= 2)

    R rows, C columns of a sample of sums       N of them count
"""

import math
from collections.abc import Sequence

import numpy as np

from rnn_check.numbers.formats import Array


def fit(e: Array, chosen: Sequence[Array]) -> tuple[Array, Array]:
    """The coefficients of these in e, and what they leave of it."""
    A = np.stack(chosen, axis=1)
    coefficients = np.linalg.lstsq(A, e, rcond=None)[0]
    return coefficients, e - A @ coefficients


def chance(sets: float, unexplained: float, free: float, p: int) -> float:
    """The probability that the best of so many sets of p directions leave no more unexplained."""
    p = max(p, 2)
    rest = free - p
    if rest <= 0 or not unexplained < 1:
        return 1.0
    log = math.log(sets) + rest / 2 * math.log(max(unexplained, 1e-300))
    log += math.lgamma(free / 2) - math.lgamma(rest / 2 + 1) - math.lgamma(p / 2)
    return math.exp(min(log, 0.0))


class Grid:
    """The errors that count, without what their rows, columns and known multiples have in common.

    e (N,) what is left of them; free: of how many dimensions that is.
    """

    def __init__(self, errors: Array) -> None:
        counted = np.isfinite(errors)
        # a row or a column that is alone in its column or row would leave nothing
        for _ in range(2):
            for axis in (0, 1):
                lonely = np.count_nonzero(counted, axis=axis, keepdims=True) < 2
                if counted.shape[axis] > 1:
                    counted = counted & ~lonely
        self.counted, self.shape = counted, counted.shape
        self.rows = np.count_nonzero(counted, axis=1)
        self.columns = np.count_nonzero(counted, axis=0)
        R, C = np.count_nonzero(self.rows), np.count_nonzero(self.columns)
        self.means = R > 1 and C > 1
        self.free = float(counted.sum() - (R + C - 1 if self.means else 1))
        self.basis = np.zeros((int(counted.sum()), 0))
        self.e = self._flat(errors)

    def take_out(self, known: Sequence[Array]) -> None:
        found = []
        for each in known:
            whole = float(np.linalg.norm(each[self.counted]))
            if 0 < whole < np.inf:
                found.append(self._flat(each) / whole)
        if found:
            basis, triangle = np.linalg.qr(np.stack(found, axis=1))
            # of what is nearly a combination of others only its own rounding would be left
            self.basis = basis[:, np.abs(np.diag(triangle)) > 2.0**-40]
            self.free -= self.basis.shape[1]
            self.e = self.e - self.basis @ (self.basis.T @ self.e)

    def left_of(self, D: Array) -> tuple[Array, bool]:
        """D without what it has in common, and whether that leaves something to be seen."""
        flat = self._flat(D)
        flat = flat - self.basis @ (self.basis.T @ flat)
        full = D[self.counted]
        left = float(flat @ flat) > 2.0**-20 * float(full @ full)
        return flat, left and self.independent(full, flat) > 3

    def independent(self, full: Array, flat: Array) -> float:
        """How many numbers of D are independent; flat: what is left of it, full: all. (N,)

        Errors of the same sums are the same, and a few may be larger than all others: so each value
        counts once, and no more count than (Σd²)²/Σd⁴, which is n for n of one size. A matrix of
        rank r has r·max(R,C) at most. Of rows (columns) that are multiples of one another, to less
        than 45 degrees, one counts; the rank is (tr DDᵀ)²/‖DDᵀ‖², no more than the number of
        different singular values. What was taken out took its dimensions with it.
        """
        flat = flat / max(float(np.abs(flat).max(initial=0)), 2.0**-1000)
        alike = float(np.square(flat).sum()) ** 2 / max(float((flat**4).sum()), 2.0**-1000)
        return min(alike, self._different(full, flat) - self.basis.shape[1])

    def _different(self, full: Array, flat: Array) -> float:
        if not self.means:  # one row or one column
            steps = full / max(float(np.abs(full).max(initial=0)), 2.0**-1000) * 2**10
            return float(len(np.unique(np.rint(steps))) - 1)
        D = np.zeros(self.shape)
        D[self.counted] = flat
        of_rows, of_columns = D @ D.T, D.T @ D
        trace = float(np.trace(of_rows))
        if not trace > 0:
            return 0.0
        rank = trace**2 / float(np.square(of_rows).sum())
        return rank * max(different(of_rows), different(of_columns))

    def _flat(self, array: Array) -> Array:
        """Minus the means over rows and columns, of what counts. (N,)"""
        D = np.where(self.counted, array, 0.0)
        if not self.means:
            flat = D[self.counted]
            return flat - flat.mean() if flat.size else flat
        for _ in range(2**5):  # exact at once where all count, else soon
            D -= np.where(self.counted, mean(D.sum(axis=1), self.rows)[:, None], 0.0)
            D -= np.where(self.counted, mean(D.sum(axis=0), self.columns), 0.0)
            if self.counted.all():
                break
        return D[self.counted]


def mean(sums: Array, counts: Array) -> Array:
    return np.asarray(sums / np.maximum(counts, 1))


def different(gram: Array) -> int:
    """How many vectors are not, nearly, multiples of one before them."""
    norms = np.diag(gram)
    alike = 2 * np.square(gram) > np.outer(norms, norms)
    return int(np.count_nonzero((norms > 0) & ~np.tril(alike, -1).any(axis=1)))
