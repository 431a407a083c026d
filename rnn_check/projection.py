"""Does every step follow from the one before, as far as random sums of units can tell?

`certify` multiplies matrices, as the layer did. After Freivalds (Probabilistic machines can use
less running time, IFIP Congress 1977) the columns are added up with random signs, in a few groups,
so that what is left to multiply is a narrow matrix, at a fraction of the price.

    B batch, T timesteps, F features, H units, G groups of n units or fewer
    x (B,T,F)   W = kernel (F,H)   U = recurrent_kernel (H,H)   b = bias (H,)   h, z (B,T,H)

The derivation is in docs/method.md.
"""

import math
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from rnn_check import certificate
from rnn_check.certificate import Certificate, Layer, Piece, copies_of, judge
from rnn_check.reference import Array
from rnn_check.rounding import C_ACT, gamma
from rnn_check.sums import ENOUGH, FLOAT64, UP, Room, Sample, effective_precision


def certify_projected(
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
    groups: int = 16,
    steps: int | None = 2048,
    seed: int | None = 0,
) -> Certificate:
    """The question of `certify`, asked of random sums of units at some of the steps.

    The units are dealt out at random into groups of n = H/groups (no fewer than 4), and each gets
    a sign r_j = ±1, once for all steps. For each step t and group g

        p_tg = Σ_j r_j (act⁻¹(ĥ_tj) - z_tj) = act⁻¹(ĥ_t)·r - x_t·(W·r) - ĥ_{t-1}·(U·r) - b·r

    where j runs over g: the group's errors as seen from z, with random signs. `steps` of all steps
    of all samples are asked, drawn at random (None: all, at several times the price). The
    certificate's arrays are these sums, (steps asked, groups); `observed` is the first term, and
    `where` is (sample, timestep, group). Beside each p, the squares of each group are added up over
    the steps where saturation blurs least, and show in `bits`. Masked steps are compared in full,
    all of them, bit for bit.

    What is certain, and what rests on a model. For n(F + H) up to about 80 the bound is the worst
    case, as in `certify`. For larger layers it is that of a model (Higham & Mary 2019): that
    roundings, the subject's and those of this test itself, have mean 0 given those before them. No
    more: nothing is assumed of data or order. Then a correct layer is called wrong with probability
    2^-40 at most, over roundings and signs. Where the model is wrong, errors still have to come
    near the λ/√(F + H)-th part of the worst case, λ about 9, in all units at once.

    What it sees. An error of one unit is in p in full, whatever the signs, so that no draw misses
    it where it exceeds twice the bound at a step that is asked. The bound is about

        λ u √(n(F + H)) (‖x_t‖‖W_j‖ + ‖ĥ_{t-1}‖‖U_j‖ + |b_j|)

    with the norms of a typical column, unless the group is saturated; an error at all steps is
    asked for 2,048 times, and found at the largest. Measured: a column of U times 1 + 5e-3 in
    layers of 512 features and 512 units, 1e-3 at 128 and 256, 5e-4 at 64 and 96, is found in every
    draw, a fifth of that in none. Factors cut to bfloat16 are found in every draw, and to TF32 up
    to F + H of about 1,200; beyond, the model's bound allows for them.

    What it misses. A single wrong step that is not asked: of N steps, with probability 1 - steps/N.
    Errors of several units that cancel: two units exchanged do so with probability 1/2 if they are
    in one group, and in one they are always if H/4, H/2 or 3H/4 apart (rounded up), otherwise with
    probability 1/groups. In general the errors e of a group show less than half of their norm ‖e‖
    with probability 13/16 at most (Paley and Zygmund's inequality), independently for each group.
    Who knows the signs can hide from them: seed=None draws others every time.

    Steps where a state is so saturated that its z is lost have no bound. Arguments as `certify`;
    activation linear or tanh, whose inverses cost little (else ValueError).
    """
    layer = Layer(
        states, x, kernel, recurrent_kernel, bias, activation, initial_state, mask,
        go_backwards, zero_output_for_mask, dtype,
    )  # fmt: skip
    if layer.name not in ("linear", "tanh"):
        raise ValueError(f"activation {layer.name!r} is not to be projected: linear and tanh are")
    if groups < 1:
        raise ValueError(f"groups is {groups}, but should be 1 at least")
    if steps is not None and steps < 1:
        raise ValueError(f"steps is {steps}, but should be 1 at least")
    with np.errstate(all="ignore"):
        return _Projection(layer, groups, steps, seed).judged()


_FALSE_ALARM = 2.0**-40
_CHOSEN = 256  # steps whose squares are added up, at most
_WIDTH = 4  # arrays of a block, of rows such as [x, h]


class _Parts(NamedTuple):
    """‖x_t‖, ‖ĥ_{t-1}‖ and 1, times something for each group: of which all bounds are made."""

    x: Array  # (G,)
    h: Array
    b: Array

    def times(self, norms: Array) -> Array:
        return np.asarray(norms @ np.stack(self))


class _Projection:
    """Signs and groups of units, and what the sums over them may be off by."""

    def __init__(self, layer: Layer, groups: int, steps: int | None, seed: int | None) -> None:
        self.layer, self.room, self.a = layer, Room(), layer.a
        F, H, a = len(layer.W), len(layer.U), layer.a
        self.k, self.steps = F + H + 2, steps
        k = self.k
        self.rng = rng = np.random.default_rng(seed)
        signs = rng.choice([-1.0, 1.0], size=H)
        # units j, j + Q, j + 2Q and j + 3Q go together, so that one logarithm does for four
        self.quads = Q = -(-H // 4)
        self.groups = G = max(1, min(groups, Q))
        dealt = rng.permutation(Q) % G
        self.member = (dealt[:, None] == np.arange(G)).astype(np.float64)  # (Q,G)
        signed = signs[:, None] * self.member[np.arange(H) % max(Q, 1)]  # (H,G)
        self.n = n = int(np.abs(signed).sum(axis=0).max(initial=0))
        tests = max(1, layer.h.shape[0] * layer.h.shape[1] * G)
        self.often = math.sqrt(2 * math.log(4 * tests / _FALSE_ALARM))  # λ
        self.model = k * n > self.often**2
        narrow = self.model and a.u_stored > FLOAT64.u
        self.dtype: Any = np.float32 if narrow else np.float64
        self.u = u = float(np.finfo(self.dtype).eps) / 2
        self.signs, self.signed = signs.astype(self.dtype), signed.astype(self.dtype)
        b = np.zeros(H) if layer.bias is None else layer.bias
        Wr, Ur, self.br = layer.W @ signed, layer.U @ signed, b @ signed
        self.Wr, self.Ur = Wr.astype(self.dtype), Ur.astype(self.dtype)

        tiny = float(np.finfo(np.float64).tiny)
        squares = _Parts(*(
            (_squares(part) + tiny * len(part)) @ np.abs(signed)
            for part in (layer.W, layer.U, b[None])
        ))  # fmt: skip
        own = _Parts(*(_squares(part) + tiny * len(part) for part in (Wr, Ur, self.br[None])))
        self.size = _Parts(*map(np.sqrt, squares))  # of Σ|terms|, the 2-norm over a group's units
        self.own_size = _Parts(*map(np.sqrt, own))  # of the terms of this test's own sums
        # squares of terms themselves, for an operand whose numbers are of one size
        self.m = _Parts(squares.x / max(F, 1), squares.h / max(H, 1), squares.b)
        # Azuma and Hoeffding: k + 1 roundings of sums, none of which exceeds Σ|terms|; what is
        # rounded otherwise is as far off as can be, with the signs' randomness alone
        second = (1 + a.gamma(k) + gamma(2 * k, u)) ** 2
        stored = 0.0
        if a.u_sum != a.u_product:
            stored = (1 + gamma(3, a.u_product)) * (1 + gamma(2, a.u_operand)) - 1
        of_sums = ((k + 1) * a.u_sum**2 + stored**2 + (n + 1) * u**2) * second
        self.spread = _Parts(*(np.sqrt(of_sums * part) for part in squares))
        # x·(W·r) and h·(U·r) are sums of their own, of factors rounded once
        lengths = zip((F, H, 0), own, strict=True)
        self.own_spread = _Parts(*((K + 3) * u**2 * second * part for K, part in lengths))
        self.most = max(
            max(float(part.max(initial=0)), -float(part.min(initial=0)))
            for part in (layer.W, layer.U, b)
        )
        # what tanh may be off by, relative to the state that is seen instead of the true one
        self.nu = 0.0 if layer.name == "linear" else 1.01 * C_ACT["tanh"] * a.u_stored
        # of Σ r·act⁻¹ computed here, relative to the largest logarithm, half of which belongs to a
        # group n/4 times: 4 ulp, and the sum; beside them 1 ± h, products and quotient, 8 in all
        fours = -(-n // 4)
        self.inverse_error = fours / 2 * (8 * u + gamma(fours + 4, u))
        self.inverse_least = 4 * n * u

    def judged(self) -> Certificate:
        layer, a, G = self.layer, self.a, self.groups
        B, T, _ = layer.h.shape
        asked = np.arange(B * T) if layer.mask is None else np.flatnonzero(layer.mask)
        if self.steps is not None and len(asked) > self.steps:
            asked = np.sort(self.rng.choice(asked, self.steps, replace=False, shuffle=False))
        S = len(asked)
        observed, expected = np.empty((S, G)), np.empty((S, G))
        noise, norms, off = np.empty((S, G)), np.ones((S, 3)), np.empty(S)
        nan = np.zeros(S, bool)
        many = max(1, certificate._BLOCK // (_WIDTH * (len(layer.W) + len(layer.U))))
        for i in range(0, S, many):
            some = slice(i, min(i + many, S))
            x, before, h = self.rows(asked[some])
            expected[some] = x @ self.Wr
            expected[some] += before @ self.Ur
            norms[some, 0], norms[some, 1] = self.norms(x), self.norms(before)
            observed[some], noise[some], off[some] = self.inverse(h)
            if not np.isfinite(norms[some]).all():
                nan[some] = np.isnan(x).any(axis=1) | np.isnan(before).any(axis=1)
        expected += self.br
        bound, sample, bad = self.bound(norms, noise, off, nan, observed, expected)
        if layer.mask is not None:
            skipped, wrong = np.flatnonzero(~layer.mask), np.zeros((B, T), bool)
            for samples, steps in layer.blocks():
                shown = layer.h[samples, steps].astype(np.float64)
                differ = (copies_of(layer, samples, steps, shown) != shown) & ~np.isnan(shown)
                wrong[samples, steps] = differ.any(axis=-1)
            asked = np.concatenate([asked, skipped])
            copied = np.where(wrong.reshape(-1)[skipped], np.inf, 0.0)
            observed = np.concatenate([observed, np.repeat(copied[:, None], G, axis=1)])
            expected, bound = (
                np.concatenate([part, np.zeros((len(skipped), G))]) for part in (expected, bound)
            )
        found = judge(a, observed, lambda worst: iter([Piece((), expected, bound, sample)]))
        if found.where:
            row, group = found.where
            where = (*(int(i) for i in np.unravel_index(asked[row], (B, T))), group)
            reason = found.reason.replace(f"at {found.where}", f"at {where}")
            found = replace(found, where=where, reason=reason)
        if found.bits is None or (found.ok and not bad):
            return found
        # what the bits say, now that something is wrong
        consistent = effective_precision(a, sample._replace(possible=0.0))[1]
        found = replace(found, consistent_with=consistent)
        if bad and found.ratio <= 1:
            whose = "all units"
            if len(bad) == 1:
                whose = "the units " + ", ".join(map(str, np.flatnonzero(self.signed[:, bad[0]])))
            reason = (
                f"every sum is within its bound, but the squares of those of {whose} are not: they "
                f"show {found.bits:.1f} bits of precision, consistent with {consistent}"
            )
            found = replace(found, ok=False, reason=reason)
        return found

    def rows(self, steps: Array) -> tuple[Array, Array, Array]:
        """x_t, ĥ_{t-1} and ĥ_t of these steps, all samples counted through."""
        layer, T = self.layer, self.layer.h.shape[1]
        s, t = np.divmod(steps, T)
        last = t - 1 if layer.last is None else layer.last[s, t]
        x = self.taken("x", layer.x, s, t)
        before = self.taken("before", layer.h, s, np.maximum(last, 0))
        first = np.flatnonzero(last < 0)
        before[first] = layer.h0[s[first]]
        return x, before, self.taken("h", layer.h, s, t)

    def taken(self, name: str, array: Array, s: Array, t: Array) -> Array:
        if not array.flags.c_contiguous or array.dtype != self.dtype:
            return np.asarray(array[s, t].astype(self.dtype, copy=False))
        rows = array.reshape(-1, array.shape[2])
        out = self.room(name, len(s), array.shape[2], dtype=self.dtype)
        return np.take(rows, s * array.shape[1] + t, axis=0, out=out, mode="clip")

    def norms(self, rows: Array) -> Array:
        """(...,K) -> (...) 2-norms, or more: squares may underflow, and are rounded."""
        K, of = rows.shape[-1], np.finfo(rows.dtype)
        squares = np.einsum("...k,...k->...", rows, rows).astype(np.float64)
        squares += K * float(of.tiny)
        return np.asarray(np.sqrt(squares) * (1 + gamma(K + 2, self.u)))

    def inverse(self, h: Array) -> tuple[Array, Array, Array]:
        """Σ r·act⁻¹(h) of each group, and Σ of the squares of what act's error is worth there.

        r·artanh(h) = ½ log (1 + r·h)/(1 - r·h), of four units together, at least 2^-96 if not 0.

        An error ν of |h| <= 1 is worth at most ν|h|/(1 - (|h| + ν)²) in z, and 3ν is more than
        2ν + ν² and the rounding of h². Of four units the worst is taken.
        """
        H, Q, room = h.shape[1], self.quads, self.room
        if self.layer.name == "linear":
            return h @ self.signed, np.zeros((len(h), self.groups)), np.zeros(len(h))
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
        saturated = not float(four.min(initial=1)) > 0
        if saturated:
            wrong, lost = ~(worst <= 1), ~(four > 0)
            other[lost] = worst[lost] = 0.0
            four[lost] = 1.0
        member = self.member.astype(h.dtype)
        sums = other @ (member / 2)
        # log and sums: 4 ulp, and one rounding for each four units, of logarithms as large as that
        off = self.inverse_error * np.abs(other, out=other).max(axis=1, initial=0)
        worst /= np.square(four, out=four)
        noise = worst @ (member * h.dtype.type(4 * self.nu**2 * (1 + 2.0**-10)))
        if saturated:
            noise[lost.astype(h.dtype) @ member > 0] = np.inf
            wrong = wrong.astype(h.dtype) @ member > 0
            noise[wrong], sums[wrong] = 0.0, np.nan
        return sums, noise, off

    def bound(
        self,
        norms: Array,
        noise: Array,
        off: Array,
        nan: Array,
        observed: Array,
        expected: Array,
    ) -> tuple[Array, Sample, list[int]]:
        """Of |p|, from the squares of act's noise; a sample; the groups whose squares are off."""
        a, k, n, u = self.a, self.k, self.n, self.u
        spread = np.square(self.spread.times(norms)) + self.own_spread.times(np.square(norms))
        # flushed to 0 are, in each unit's sum, η(Σ|operands|) at most, and in this test's own less
        lost = a.min_normal * (k * norms.sum(axis=1) + k * self.most + 4) + a.underflow(k)
        lost += 4 * k * float(np.finfo(self.dtype).tiny)
        off = ((off + self.inverse_least) + n * lost)[:, None]
        if self.model:
            bound = spread + noise
            np.sqrt(bound, out=bound)
            bound *= self.often
        else:  # Cauchy and Schwarz: of all units of a group
            bound = (a.gamma(k) + gamma(k + n, u)) * self.size.times(norms) + np.sqrt(noise)
            bound = math.sqrt(n) * bound + gamma(k + 2, u) * self.own_size.times(norms)
        bound += off
        bound *= UP
        sample, bad = self.sample(norms, spread, noise, off, observed, expected)
        largest = norms.max(axis=0, initial=0)
        top = max(
            float(parts.times(largest[None]).max(initial=0)) for parts in (self.size, self.own_size)
        )
        if not top * (1 + a.gamma(k)) <= min(a.max, float(np.finfo(self.dtype).max)):
            # where sums may overflow there is no bound; a NaN among the operands has to show
            most = min(a.max, float(np.finfo(self.dtype).max))
            fits = (self.size.times(norms) * (1 + a.gamma(k)) <= most) & (
                self.own_size.times(norms) <= most
            )
            bound[~fits] = np.inf
            fixed = any(bool(np.isnan(part).any()) for part in (self.Wr, self.Ur, self.br))
            bound[(fixed | nan)[:, None] & np.isnan(expected)] = 0.0
        return bound, sample, bad

    def sample(
        self,
        norms: Array,
        spread: Array,
        noise: Array,
        off: Array,
        observed: Array,
        expected: Array,
    ) -> tuple[Sample, list[int]]:
        """Σ p²/M² over the least saturated steps, and what it may be; M² = Σ m² of the group.

        The p of later steps are sub-Gaussian given those before, so that Σ p² exceeds
        Σ w + 2√(x Σ w²) + 2x max w with probability e^-x (Laurent and Massart), w the squares of
        spread. The signs are the same at all steps: what act adds is a quadratic form in them,
        and exceeds (1 + 2√x + 2x) times its mean with e^-x at most.
        """
        G = self.groups
        M = self.m.times(np.square(norms))
        w, v, seen, off = spread / M, noise / M, np.square(observed - expected) / M, off**2 / M
        clear = v / w
        clear[~(np.isfinite(seen + w) & (off <= w))] = np.inf
        if len(clear) > _CHOSEN:
            level = np.partition(clear, _CHOSEN, axis=0)[_CHOSEN]
        else:
            level = np.full(G, np.inf)
        chosen = clear <= np.minimum(level, 1.0)
        x = math.log(4 * G / _FALSE_ALARM)
        w, v, seen, off = (np.where(chosen, part, 0.0) for part in (w, v, seen, off))
        sums = w.sum(axis=0)
        of_sums = sums + 2 * np.sqrt(x * np.square(w).sum(axis=0))
        of_sums += 2 * x * w.max(axis=0, initial=0)
        of_act = v.sum(axis=0) * (1 + 2 * math.sqrt(x) + 2 * x)
        possible = np.square(np.sqrt(of_sums) + np.sqrt(of_act) + np.sqrt(off.sum(axis=0)))
        seen, count = seen.sum(axis=0), chosen.sum(axis=0)
        bad = np.flatnonzero((seen > possible) & (count >= ENOUGH))
        if 0 < 2 * len(bad) < G:
            bad = bad[[np.argmax(seen[bad] / possible[bad])]]
        of = bad if len(bad) else slice(None)
        return Sample(int(count[of].sum()), float(seen[of].sum()), math.inf), list(bad)


def _squares(columns: Array) -> Array:
    return np.asarray(np.einsum("kh,kh->h", columns, columns))


def _four(combine: np.ufunc, array: Array, out: Array) -> Array:
    """The four parts of an array, combined element by element."""
    combine(array[0], array[1], out=out)
    combine(out, array[2], out=out)
    return np.asarray(combine(out, array[3], out=out))
