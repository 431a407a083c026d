"""Which states of a GRU may be beyond their bound? Asked in float32.

A step is made once more in float32, of short sums, and with each number goes what is left of its
bound when all that float32 may be off here is taken from it. In one gate, of an argument s whose
bound is γ·size, while it is off by ω·size here, with σ the gate as it is seen here,

    bound of the gate - what it is off here  >=  A·σ' + C·|σ|

with A = (γ - ω)·size and C = (c - own)·u, nearly (see docs/method.md, section 9), and what is made
of gates hands on what is left of theirs: of z∘h + (1 - z)∘c what is left of z times |h - c|, and
what is left of c times 1 - z. A state is no suspect if it is not farther from the one made here
than what is left of its bound.

    B batch, T timesteps, F features, H units, G gates        R rows: samples × steps
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from rnn_check.certificates.factors import quanta, some_of
from rnn_check.certificates.gated_arguments import (
    FLAT,
    FUZZ,
    Argument,
    Between,
    Columns,
    U,
    has_room,
    largest,
    left_of,
    most_of,
)
from rnn_check.certificates.gated_layer import GatedLayer
from rnn_check.certificates.precision import SAMPLED
from rnn_check.certificates.screen import Above, room_for, rows_of, short_of
from rnn_check.numbers import activations
from rnn_check.numbers.formats import Array, gamma
from rnn_check.recurrences.kinds import GRU

_ROWS, _STATES = 2**8, 2**16  # of a tile, at least: a step of gates takes some hundred calls


class Suspects(NamedTuple):
    """Of a block: the elements that may be beyond their bound, laid flat, and how many are ends."""

    at: Array
    ends: int
    at_c: Array | None = None  # of c, where it is seen
    rest: tuple[float, float] = (0.0, 0.0)  # of c, see Piece
    maybe: int = 0  # how many bounds of c may be blind


class Screened:
    """What the screens of all gates have in common: layers of float32, of tanh and sigmoid."""

    def __init__(self, layer: GatedLayer) -> None:
        self.layer = layer
        (B, T, H), F, G = layer.h.shape, len(layer.W), layer.gates
        self.rows = rows_of(B * T, H, _ROWS, _STATES)
        self.room = room_for(self.rows, G * max(F, H))
        self.before = Above(layer, self.room)

    @staticmethod
    def can(layer: GatedLayer, few: int) -> bool:
        """few: states that are judged as soon in full."""
        plain = (layer.name, layer.gate) == ("tanh", "sigmoid") and layer.a.name == "float32"
        held = layer.x.dtype == layer.h.dtype == np.float32 and layer.mask is None
        return plain and held and len(layer.W) > 0 and layer.h.size > few

    def uses_all(self, start: int, R: int) -> bool:
        """Whether some of these rows find all operands to hold something: then γ counts all."""
        return bool((self.layer.rows(start + some_of(R)) != 0).any(axis=0).all())

    def norms(self, rows: Array) -> Array:
        return np.asarray(np.sqrt(np.einsum("rk,rk->r", rows, rows)))

    def array(self, name: str, *shape: int) -> Array:
        return self.room(name, *shape, dtype=np.float32)

    def biases(self, name: str, bias: Array | None, signs: Array, n: int) -> Array | None:
        """(G,n,H) for so many rows: to add a whole array takes less than to add a row to each."""
        if bias is None:
            return None
        gates = bias.reshape(len(signs), 1, -1) * signs[:, None, None]
        whole = self.array(name, len(signs), n, gates.shape[2])
        whole[:] = gates
        return whole

    def unit(self, rows: Array) -> float:
        """The largest power of two of which all numbers of some row are multiples; or more."""
        of_first = float(quanta(rows[:, :1].astype(np.float64)).max())
        return of_first if of_first < np.inf else float(quanta(rows.astype(np.float64)).max())


def sigmoids(s: Array) -> Array:
    """1/(1 + exp(s)) in its place: of s = -z the sigmoid of z."""
    np.exp(s, out=s)
    s += 1
    return np.divide(np.float32(1), s, out=s)


class GruScreen(Screened):
    """The states of a GRU, with either reset."""

    def __init__(self, layer: GatedLayer) -> None:
        super().__init__(layer)
        w, H = layer.weights, layer.h.shape[2]
        self.after = layer.recurrence is GRU
        self.signs = np.array([-1.0, -1.0, 1.0])
        two, last, short = slice(2 * H), slice(2 * H, None), short_of(len(layer.W), H)
        # x·W and h·U of a candidate have bounds of their own, if that is made of their sum
        halves = [-(-len(m) // 2) if self.after else short for m in (layer.W, layer.U)]
        self.of_x, self.of_h = (Columns(m[:, two], self.signs[:2], short)
                                for m in (layer.W, layer.U))  # fmt: skip
        self.x_of_c, self.h_of_c = (
            Columns(m[:, last], self.signs[2:], half)
            for m, half in zip((layer.W, layer.U), halves, strict=True)
        )
        biases = 0 if layer.bias is None else 1 + self.after
        # the products and two biases are added up
        both = max(self.of_x.roundings, self.of_h.roundings) + 3
        x, h = self.x_of_c.roundings, self.h_of_c.roundings
        z_and_r, _ = layer.factor([w.gates, w.recurrent_gates], w.gates_bias)
        self.z = Argument(z_and_r, slice(0, H), 2, biases, both)
        self.r = Argument(z_and_r, slice(H, 2 * H), 2, biases, both)
        every, own = slice(None), min(biases, 1)
        if self.after:  # a bias, r·q and its sum with x·W
            c, _ = layer.factor([w.candidate], w.candidate_bias)
            q, _ = layer.factor([w.recurrent_candidate], w.recurrent_candidate_bias)
            self.c, self.q = Argument(c, every, 1, own, x + 3), Argument(q, every, 1, own, h + 3)
        else:
            c, _ = layer.factor([w.candidate, w.recurrent_candidate], w.candidate_bias)
            self.c = Argument(c, every, 2, own, max(x, h) + 3)
        self.sums_of_U = float(np.abs(layer.U).sum(axis=0).max())
        self.reach = layer.reach()

    @classmethod
    def of(cls, layer: GatedLayer) -> GruScreen | None:
        return cls(layer) if cls.can(layer, SAMPLED) else None

    def suspects(self, samples: slice, steps: slice) -> Suspects | None:
        """Of the states of a block; None if they are too many, or something is not plain."""
        layer, (_, T, H) = self.layer, self.layer.h.shape
        start = samples.start * T + steps.start
        R = (samples.stop - samples.start) * (steps.stop - steps.start)
        if not self.uses_all(start, R):
            return None
        x, biases = layer.x[samples, steps].reshape(R, -1), self._biases(min(R, self.rows))
        found, ends, left = list[Array](), 0, R // 2**3
        for i in range(0, R, self.rows):
            j = min(i + self.rows, R)
            given = self.before.h[start + i : start + j]
            ends += self.reach.ends(given) if largest(given) >= 1 else 0
            spare = self._tile(x[i:j], start + i, *biases)
            if spare is None:
                return None
            if spare.min() >= 0:
                continue
            at = np.flatnonzero(~(spare >= 0))
            left -= len(np.unique(at // H))
            if left < 0:
                return None
            found.append(at + i * H)
        return Suspects(np.concatenate(found) if found else np.zeros(0, np.intp), ends)

    def _biases(self, n: int) -> tuple[Array | None, Array | None]:
        """Of x·W, all gates; and of q."""
        bias, H = self.layer.bias, self.layer.h.shape[2]
        if bias is None or not self.after:
            return self.biases("bias", bias, self.signs, n), None
        joined = bias[0].copy()
        joined[: 2 * H] += bias[1, : 2 * H]
        own = self.biases("bias of q", bias[1, 2 * H :], self.signs[2:], n)
        return self.biases("bias", joined, self.signs, n), own

    def _tile(self, x: Array, start: int, bias: Array | None, of_q: Array | None) -> Array | None:
        """(R,H) what is left of each bound, less how far the state is off; None: not plain."""
        R, H, zero = len(x), self.layer.h.shape[2], self.before.from_zero
        before, first = self.before(start, R)
        s, s_h, some = (self.array(n, 3, R, H) for n in ("s", "of h", "some"))
        self.of_x.of(x, s[:2], some[:2])
        self.x_of_c.of(x, s[2:], some[2:])
        if bias is not None:
            s += bias[:, :R]
        self.of_h.of(before, s_h[:2], some[:2])
        if self.after:
            self.h_of_c.of(before, s_h[2:], some[2:])
        rows = (x, self.norms(x)), (before, self.norms(before))
        started = rows
        if zero:
            s_h[:, first] = 0
            norms = rows[1][1].copy()
            norms[first] = 0
            started = rows[0], (before, norms)
            if self.z.factor.tight:
                started = rows[0], (before.copy(), norms)
                started[1][0][first] = 0
        s[:2] += s_h[:2]
        of_z, of_r = (each.sizes(*started) for each in (self.z, self.r))
        z, r = sigmoids(s[:2])
        c = s[2]
        hmax = largest(before)
        unit = self.unit(x)
        step = _Step(hmax, self._handed(hmax), unit, of_r, rows[0], rows[1], first)
        left = (
            self._after(step, r, c, s_h[2], of_q) if self.after else self._reset(step, r, c, some)
        )
        of_gate = left_of("sigmoid", self.z, of_z)
        exact = any(each.may_be_exact(unit, of) for each, of in ((self.z, of_z), (self.r, of_r)))
        if exact or left is None or of_gate is None:
            return None
        if not self._is_clear(step, of_z, left.most):
            return None
        # z·|h - c|·(A·(1 - z) + C) + (1 - z)·(1 - c²)·left + what rounding leaves, less |ĥ - h|
        d, spare, w = some
        np.multiply(c, c, out=spare)
        np.subtract(1, spare, out=spare)
        spare *= left.of_s
        np.subtract(1, z, out=w)
        spare *= w
        np.subtract(before, c, out=d)
        if zero:
            np.negative(c[first], out=d[first])
        z *= d
        np.abs(c, out=d)
        c += z
        c -= self.before.h[start : start + R]
        spare -= np.abs(c, out=c)
        w *= np.float32(of_gate.A)
        w += np.float32(of_gate.C * (1 - FUZZ))
        w *= np.abs(z, out=z)
        spare += w
        d *= np.float32(6 * U * (1 - FUZZ))
        spare += d
        return np.asarray(spare)

    def _after(
        self, step: _Step, r: Array, c: Array, q: Array, bias: Array | None
    ) -> _Candidate | None:
        """The candidate, written over x·W, of r∘q."""
        of_x, of_q = self.c.sizes(step.x), self.q.sizes(step.before)
        if bias is not None:
            q += bias[0, : len(q)]
        most = largest(q) + self.q.gamma * of_q.most
        gate_off = 0.25 * self.r.own * step.of_r.most * math.exp(FLAT) + 12 * U
        off = self.c.own * of_x.most + gate_off * most + (1 + gate_off) * self.q.own * of_q.most
        exact = self.c.may_be_exact(step.unit, of_x)
        exact = exact or self.q.may_be_exact(self.unit(step.before[0]), of_q)
        left = [left_of("tanh", a, of, off) for a, of in ((self.c, of_x), (self.q, of_q))]
        if exact or left[0] is None or left[1] is None or not self._may_be_given(step, off):
            return None
        A_x, A_q = left[0].A, left[1].A
        if not has_room("tanh", A_x + A_q):
            return None
        q *= r
        c += q
        np.tanh(c, out=c)
        r *= np.float32(A_q)
        if self.before.from_zero:
            r[step.first] = 0  # q is the bias, exactly
        r += np.float32(A_x * (1 - FUZZ))
        e_r = most_of("sigmoid", self.r.gamma * step.of_r.most + step.handed)
        e_q = self.q.gamma * of_q.most + step.handed
        reached = (1 + e_r) * (most + e_q)
        far = self.c.gamma * of_x.most + e_r * (most + e_q) + e_q
        return _Candidate(r, far + 2 * U * (reached + 2 * of_x.most))

    def _reset(self, step: _Step, r: Array, c: Array, some: Array) -> _Candidate | None:
        """The candidate, of (r∘h)·U."""
        before, p, product = step.before[0], some[0], some[1:2]
        np.multiply(r, before, out=p)
        if self.before.from_zero:
            p[step.first] = 0
        # how far p is off of itself, here and at most
        off_p = self.r.own * step.of_r.most * math.exp(FLAT) + 12 * U
        most_p = self.r.gamma * step.of_r.most + step.handed
        most_p = (most_p / (1 - most_p) + (activations.activation("sigmoid").c + 4) * U) * (
            1 + FUZZ
        )
        norms = self.norms(p)
        of_c = self.c.sizes(step.x, (p, norms))
        of_c = Between(of_c.least * (1 - off_p), of_c.most * (1 + 2 * off_p))
        off = (self.c.own * (1 + off_p) + off_p) * of_c.most
        left = left_of("tanh", self.c, of_c, off, 1 + off_p)
        exact = self.c.may_be_exact(step.unit, of_c)
        # where r may be 0 the certificate may find less to be used, and bounds are smaller
        if exact or left is None or not (self._may_be_given(step, off) and step.of_r.most < 80):
            return None
        self.h_of_c.of(p, product, some[2:])
        c += product[0]
        np.tanh(c, out=c)
        of_p = of_c.most
        if not self.c.factor.tight:
            of_p = float(norms.max()) * (1 + 2 * off_p) * self.c.high[1] * (1 + self.c.vague)
        far = self.c.gamma * of_c.most + most_p * of_p + 2 * step.handed
        return _Candidate(np.float32(left.A), far)

    def _may_be_given(self, step: _Step, off: float) -> bool:
        """Whether r's own bound is more than its error here, as often as the candidate may show it.

        off: how far the candidate's argument may be off here.
        """
        if not off < FLAT:
            return False
        act = activations.activation("tanh")
        more = (1 + act.c * U) * math.exp(2 * off) * (1 + FUZZ)
        left = left_of("sigmoid", self.r, step.of_r, None, more)
        return left is not None and (more - 1) * U <= left.C

    def _handed(self, hmax: float) -> float:
        """How far a state handed on may be from the one shown, times a column of U; at most."""
        return self._again(hmax) * self.sums_of_U * (1 + FUZZ)

    def _again(self, hmax: float) -> float:
        return gamma(4, U) * 2 * (hmax + 1) + 2.0**-100

    def _is_clear(self, step: _Step, of_z: Between, far: float) -> bool:
        """Whether no state is blind or unjudged; far: the candidate's argument is off, at most."""
        far_z = self.z.gamma * of_z.most + step.handed
        if not (far < FLAT and far_z < FLAT):
            return False
        e_z, e_c = most_of("sigmoid", far_z), most_of("tanh", far)
        d, h = self._again(step.hmax), step.hmax
        bound = e_z * (h + 1 + d + e_c) + (1 + e_z) * d + e_c
        bound += gamma(8, U) * (1 + e_z) * (h + d + 3 + 3 * e_c)
        return bound * (1 + FUZZ) < (self.reach.high - self.reach.low) / 100


class _Step(NamedTuple):
    """What the candidate of a tile is made of. x, before: rows and their norms."""

    hmax: float
    handed: float  # see GruScreen._handed
    unit: float  # of x, see Screened.unit
    of_r: Between
    x: tuple[Array, Array]
    before: tuple[Array, Array]  # of a first row of a sample any state, where all begin with 0
    first: slice


class _Candidate(NamedTuple):
    """What is left of the bound of its argument, (R,H) or a number; how far that may be off."""

    of_s: Array | np.float32
    most: float
