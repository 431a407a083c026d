"""What are random sums of units, and how far may they be off?

Units are dealt out into groups, each with a sign. For each step asked and each group

    p = Σ r_j (act⁻¹(ĥ_tj) - z_tj) = act⁻¹(ĥ_t)·r - x_t·(W·r) - ĥ_{t-1}·(U·r) - b·r

    B batch, T timesteps, F features, H units, G groups of n units or fewer      S steps asked
    x (B,T,F)   W = kernel (F,H)   U = recurrent_kernel (H,H)   b = bias (H,)   h, z (B,T,H)

The derivation is in docs/method.md.
"""

import math
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from rnn_check.certificates import layer as certificates_layer
from rnn_check.certificates.factors import Room
from rnn_check.certificates.layer import Layer
from rnn_check.numbers.activations import activation
from rnn_check.numbers.formats import FLOAT64, UP, Array, gamma
from rnn_check.numbers.spread import activation_error, spread

_LOOK = 2.0**-10  # the chance that roundings of the model make any sum be looked at closely
_NEAR_ONE = 2.0**-10  # what act's error may be worth in z where a state is in a sum
_FEW = 64  # so many states for one near ±1: the products for that one alone cost as much as all
_GATHERED = 2**17  # numbers in the rows that are gathered for such z: they stay in the cache
_OFTEN = 6  # such z of one unit in a block: all of that unit cost as much
_WIDTH = 4  # arrays of a block, of rows such as [x, h]


class _Parts(NamedTuple):
    """‖x_t‖, ‖ĥ_{t-1}‖ and 1, times something for each group: of which all bounds are made."""

    x: Array  # (G,)
    h: Array
    b: Array

    def times(self, norms: Array) -> Array:
        return np.asarray(norms @ np.stack(self))


class Sums(NamedTuple):
    """What is known of the steps asked, (S,G) but for norms (S,3), off (S,) and alone (S,)."""

    observed: Array
    expected: Array
    noise: Array  # squares of what act's error is worth
    own: Array  # squares of the sizes of z that were made here, each in full
    reach: Array  # what act can reach, in the units that the bound has
    norms: Array
    off: Array  # rounding of act⁻¹ here
    alone: Array  # whether a state that was asked by itself does not follow


class Projection:
    """Signs and groups of units, and what the sums over them may be off by."""

    def __init__(self, layer: Layer, groups: int, steps: int | None, seed: int | None) -> None:
        self.layer, self.room, self.a = layer, Room(), layer.a
        F, H, a = len(layer.W), len(layer.U), layer.a
        self.rng = rng = np.random.default_rng(seed)
        asked = np.arange(layer.h.shape[0] * layer.h.shape[1])
        if layer.mask is not None:
            asked = np.flatnonzero(layer.mask)
        if steps is not None and len(asked) > steps:
            asked = np.sort(rng.choice(asked, steps, replace=False, shuffle=False))
        self.asked = asked
        self.k = k = F + H + 2
        signs = rng.choice([-1.0, 1.0], size=H)
        # units j, j + Q, j + 2Q and j + 3Q go together, so that one logarithm does for four
        self.quads = Q = -(-H // 4)
        self.groups = G = max(1, min(groups, Q))
        dealt = rng.permutation(Q) % G
        self.group = dealt[np.arange(H) % Q]  # (H,)
        self.member = (dealt[:, None] == np.arange(G)).astype(np.float64)  # (Q,G)
        signed = signs[:, None] * self.member[np.arange(H) % Q]  # (H,G)
        self.n = n = int(np.abs(signed).sum(axis=0).max())
        self.often = math.sqrt(2 * math.log(8 * max(1, len(asked)) * G / _LOOK))  # λ
        self.model = k * n > self.often**2
        narrow = self.model and a.u_stored > FLOAT64.u
        self.dtype: Any = np.float32 if narrow else np.float64
        self.u = u = float(np.finfo(self.dtype).eps) / 2
        self.signs, self.signed = signs.astype(self.dtype), signed.astype(self.dtype)
        b = np.zeros(H) if layer.bias is None else layer.bias
        Wr, Ur, self.br = layer.W @ signed, layer.U @ signed, b @ signed
        self.Wr, self.Ur = Wr.astype(self.dtype), Ur.astype(self.dtype)

        tiny = float(np.finfo(np.float64).tiny)
        columns = [_squares(part) + tiny * len(part) for part in (layer.W, layer.U, b[None])]
        self.columns = np.sqrt(np.stack(columns))  # (3,H) of Σ|terms| of one unit
        squares = _Parts(*(column @ np.abs(signed) for column in columns))
        own = _Parts(*(_squares(part) + tiny * len(part) for part in (Wr, Ur, self.br[None])))
        self.size = _Parts(*map(np.sqrt, squares))  # the same, the 2-norm over a group's units
        self.own_size = _Parts(*map(np.sqrt, own))  # of the terms of this test's own sums
        # Azuma and Hoeffding: k + 1 roundings of sums, none of which exceeds Σ|terms|; what is
        # rounded otherwise is as far off as can be, with the signs' randomness alone
        second = (1 + a.gamma(k) + gamma(2 * k, u)) ** 2
        stored = 0.0
        if a.u_sum != a.u_product:
            stored = (1 + gamma(3, a.u_product)) * (1 + gamma(2, a.u_operand)) - 1
        of_sums = ((k + 1) * a.u_sum**2 + stored**2 + (n + 1) * u**2) * second
        self.spread = _Parts(*(np.sqrt(of_sums * part) for part in squares))
        # a z that is made here is a sum of k terms
        self.of_z = (self.k + 1) * u**2 * second
        # x·(W·r) and h·(U·r) are sums of their own, of factors rounded once
        lengths = zip((F, H, 0), own, strict=True)
        self.own_spread = _Parts(*((K + 3) * u**2 * second * part for K, part in lengths))
        self.most = max(float(np.abs(part).max(initial=0)) for part in (layer.W, layer.U, b))
        # what tanh may be off by, relative to the state that is seen instead of the true one
        self.nu = 0.0 if layer.name == "linear" else 1.01 * activation(layer.name).c * a.u_stored
        # beyond, an error ν|h| is worth more than _NEAR_ONE in z: ν|h|/(1 - (|h| + ν)²)
        self.near_one = math.inf
        if self.nu:
            self.near_one = math.sqrt(max(0.0, 1 - (3 + 1 / _NEAR_ONE) * self.nu))
        # of Σ r·act⁻¹ computed here, relative to the largest logarithm, half of which belongs to a
        # group n/4 times: 4 ulp, and the sum; beside them 1 ± h, products and quotient, 8 in all
        fours = -(-n // 4)
        self.inverse_error = fours / 2 * (8 * u + gamma(fours + 4, u))
        self.inverse_least = 4 * n * u

    def sums(self) -> Sums | None:
        """None if too many states are near ±1."""
        asked, G, F, H = self.asked, self.groups, len(self.layer.W), len(self.layer.U)
        S = len(asked)
        observed, expected, noise, reach = (np.empty((S, G)) for _ in range(4))
        norms, off, differ = np.ones((S, 3)), np.empty(S), np.zeros(S, bool)
        found = Sums(observed, expected, noise, np.zeros((S, G)), reach, norms, off, differ)
        many, left = max(1, certificates_layer._BLOCK // (_WIDTH * (F + H))), S * H // _FEW
        alone: list[tuple[Array, ...]] = []
        for i in range(0, S, many):
            some = slice(i, min(i + many, S))
            x, before, h = (self.narrowed(rows) for rows in self.rows(asked[some]))
            found.expected[some] = x @ self.Wr
            found.expected[some] += before @ self.Ur
            found.norms[some, 0], found.norms[some, 1] = self.norms(x), self.norms(before)
            if np.isfinite(self.near_one):
                near = np.flatnonzero(np.abs(h) > self.near_one)
                left -= len(near)
                if left < 0:
                    return None
                rows, units = np.divmod(near, H)
                seen = h[rows, units]
                h[rows, units] = 0
                z = self.preactivation(x, before, rows, units)
                own = self.signs[units] * z
                np.subtract.at(found.expected, (rows + i, self.group[units]), own)
                alone.append((rows + i, units, seen, z))
            part = found.observed[some], found.noise[some], found.reach[some], found.off[some]
            self.inverse(h, *part)
        found.expected[:] += self.br
        if alone:
            rows, units, seen, z = map(np.concatenate, zip(*alone, strict=True))
            size = np.einsum("sp,ps->s", found.norms[rows], self.columns[:, units])
            np.add.at(found.own, (rows, self.group[units]), np.square(size))
            found.alone[rows[self.differ(seen, z, size, found.norms[rows])]] = True
        return found

    def rows(self, steps: Array) -> tuple[Array, Array, Array]:
        """x_t, ĥ_{t-1} and ĥ_t of these steps, all samples counted through."""
        layer, T = self.layer, self.layer.h.shape[1]
        s, t = np.divmod(steps, T)
        last = t - 1 if layer.last is None else layer.last[s, t]
        before = layer.h[s, np.maximum(last, 0)]
        first = np.flatnonzero(last < 0)
        before[first] = layer.h0[s[first]]
        return layer.x[s, t], before, layer.h[s, t]

    def narrowed(self, rows: Array) -> Array:
        return rows.astype(self.dtype, copy=False)

    def norms(self, rows: Array) -> Array:
        """(...,K) -> (...) 2-norms, or more: squares may underflow, and are rounded."""
        K, of = rows.shape[-1], np.finfo(rows.dtype)
        squares = np.einsum("...k,...k->...", rows, rows).astype(np.float64)
        squares += K * float(of.tiny)
        return np.asarray(np.sqrt(squares) * (1 + gamma(K + 2, self.u)))

    def preactivation(self, x: Array, before: Array, rows: Array, units: Array) -> Array:
        """z of these units at these rows of x and before, in full, in this test's precision.

        Of units that are asked for often all are made at once.
        """
        z = np.zeros(len(rows)) if self.layer.bias is None else self.layer.bias[units]
        often = np.bincount(units, minlength=len(self.layer.U)) >= _OFTEN
        these = np.flatnonzero(often[units])
        of_each = np.cumsum(often) - 1
        rest = np.flatnonzero(~often[units])
        for operands, weights in zip((x, before), self.transposed, strict=True):
            if len(these):
                made = operands @ weights[often].T
                z[these] += made[rows[these], of_each[units[these]]]
            many = max(1, _GATHERED // max(1, weights.shape[1]))
            for i in range(0, len(rest), many):
                few = rest[i : i + many]
                left = self.gathered("left", operands, rows[few])
                right = self.gathered("right", weights, units[few])
                z[few] += np.einsum("sk,sk->s", left, right)
        return z

    def gathered(self, name: str, array: Array, rows: Array) -> Array:
        out = self.room(name, len(rows), array.shape[1], dtype=array.dtype)
        return np.take(array, rows, axis=0, out=out, mode="clip")

    def differ(self, h: Array, z: Array, size: Array, norms: Array) -> Array:
        """Which of these ĥ are not tanh(z) up to rounding; norms are those of their rows."""
        a, true = self.a, np.tanh(z)
        d = (a.gamma(self.k) + gamma(self.k, self.u)) * size + 2 * self.lost(norms)
        bound = spread("tanh", z, d) + activation_error("tanh", z, true, a, d)
        bound += activation_error("tanh", z, true, FLOAT64)
        return np.asarray(~(np.abs(h - true) <= bound * UP))

    @cached_property
    def transposed(self) -> tuple[Array, Array]:
        """Wᵀ and Uᵀ, whose rows are the units' weights."""
        W, U = self.narrowed(self.layer.W), self.narrowed(self.layer.U)
        return np.ascontiguousarray(W.T), np.ascontiguousarray(U.T)

    def inverse(self, h: Array, sums: Array, noise: Array, reach: Array, off: Array) -> None:
        """Σ r·act⁻¹(h) of each group, Σ of squares of what act's error is worth there, and more.

        r·artanh(h) = ½ log (1 + r·h)/(1 - r·h), of four units together, at least 2^-96 if not 0.

        An error ν of |h| <= 1 is worth at most ν|h|/(1 - (|h| + ν)²) in z, and 3ν is more than
        2ν + ν² and the rounding of h². Of four units the worst is taken.
        """
        H, Q, room = h.shape[1], self.quads, self.room
        if self.layer.name == "linear":
            sums[:], noise[:], off[:] = h @ self.signed, 0.0, 0.0
            np.sqrt(np.square(h) @ np.abs(self.signed), out=reach)
            return
        over, under = (room(name, 4, len(h), Q, dtype=h.dtype) for name in ("over", "under"))
        for i in range(4):
            these = slice(i * Q, min((i + 1) * Q, H))
            many = max(these.stop - these.start, 0)
            np.multiply(h[:, these], self.signs[these], out=over[i, :, :many])
            over[i, :, many:] = 0
        np.square(over, out=under)
        worst = room("worst", len(h), Q, dtype=h.dtype)
        _four(np.maximum, under, worst)
        four = _four(np.multiply, np.subtract(1, over, out=under), under[0])
        over += 1
        other = _four(np.multiply, over, over[0])
        other /= four
        np.log(other, out=other)
        np.subtract(1 - 3 * h.dtype.type(self.nu), worst, out=four)
        member = self.member.astype(h.dtype)
        sums[:] = other @ (member / 2)
        # log and sums: 4 ulp, and one rounding for each four units, of logarithms as large as that
        off[:] = self.inverse_error * np.abs(other, out=other).max(axis=1)
        worst /= np.square(four, out=four)
        noise[:] = worst @ (member * h.dtype.type(4 * self.nu**2 * (1 + 2.0**-10)))
        reach[:] = 2.0

    def lost(self, norms: Array) -> Array:
        """To underflow, (R,): flushed to 0 are η(Σ|operands|) at most in each unit's sum."""
        lost = self.a.min_normal * (self.k * norms.sum(axis=1) + self.k * self.most + 4)
        return np.asarray(lost + self.a.underflow(self.k))

    def apart(self, sums: Sums) -> Array:
        """(S,1) what is off beside sums and act: underflow, and in this test's own sums less."""
        lost = self.lost(sums.norms) + 4 * self.k * float(np.finfo(self.dtype).tiny)
        return np.asarray((sums.off + self.inverse_least + self.n * lost)[:, None])

    def bound(self, sums: Sums) -> Array:
        """Of |p|; inf where sums may overflow."""
        norms = sums.norms
        if self.model:
            bound = np.square(self.spread.times(norms)) + self.own_spread.times(np.square(norms))
            bound += self.of_z * sums.own
            np.sqrt(bound, out=bound)
            bound += np.sqrt(sums.noise)
            bound *= self.often
            bound += self.apart(sums)
            bound *= UP
        else:
            bound = self.worst_case(sums)
        most = min(self.a.max, float(np.finfo(self.dtype).max))
        largest = norms.max(axis=0)
        top = max(float(part.times(largest[None]).max()) for part in (self.size, self.own_size))
        if not top * (1 + self.a.gamma(self.k)) <= most:
            fits = (self.size.times(norms) * (1 + self.a.gamma(self.k)) <= most) & (
                self.own_size.times(norms) <= most
            )
            bound[~fits] = np.inf
        return bound

    def worst_case(self, sums: Sums) -> Array:
        """Cauchy and Schwarz: of all units of a group, all errors one way."""
        k, n, u, norms = self.k, self.n, self.u, sums.norms
        own = gamma(k + n, u) * self.size.times(norms) + gamma(k, u) * np.sqrt(sums.own)
        bound = self.a.gamma(k) * self.size.times(norms) + own + np.sqrt(sums.noise)
        bound = math.sqrt(n) * bound + gamma(k + 2, u) * self.own_size.times(norms)
        return np.asarray((bound + self.apart(sums)) * UP)


def _squares(columns: Array) -> Array:
    return np.asarray(np.einsum("kh,kh->h", columns, columns))


def _four(combine: np.ufunc, array: Array, out: Array) -> Array:
    """The four parts of an array, combined element by element."""
    combine(array[0], array[1], out=out)
    combine(out, array[2], out=out)
    return np.asarray(combine(out, array[3], out=out))
