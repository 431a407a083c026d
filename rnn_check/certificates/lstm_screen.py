"""Which units of an LSTM may have a state beyond its bound? Asked in float32; c is hidden.

The certificate follows intervals J_t of what is known of c_t (see `observer`). Here one number c̃_t
of each is enough: where

    |c̃_t - (f_t·c̃_{t-1} + i_t·g_t)|  <=  what one step may be off by    and
    |ĥ_t - o_t·tanh(c̃_t)|            <=  what o and tanh may be off by

at all t, c̃_t is in P_t, in I_t and so in J_t, which is not empty, and ĥ_t is within its bound. How
c̃ was found does not matter: it is what the gates make of c_0, and where h says otherwise it is
moved there, so that of all other steps nothing is to be asked.

    B batch, T timesteps, F features, H units       R rows: n samples × m steps
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from rnn_check.certificates.gated_arguments import (
    FLAT,
    FUZZ,
    OWN,
    Argument,
    Between,
    Columns,
    Left,
    U,
    largest,
    left_of,
)
from rnn_check.certificates.gated_layer import GatedLayer
from rnn_check.certificates.gated_screen import Screened, sigmoids
from rnn_check.certificates.screen import short_of
from rnn_check.certificates.widths import Steps, Widths
from rnn_check.numbers import activations
from rnn_check.numbers.formats import Array

ORDER = (0, 1, 3, 2)  # i, f, o, which are sigmoids, and g
NAMES = ("sigmoid", "sigmoid", "sigmoid", "tanh")
_TILE = 2**17  # states of a tile
_ROUNDS = 2**3
_FEW = 2**9  # states


class Settled(NamedTuple):
    """Of each sample, of which units a state may be beyond its bound, blind or unjudged.

    None: of all. ends: how many are ±1.
    """

    samples: slice
    units: list[Array | None]
    ends: Array


class LstmScreen(Screened):
    """The states of an LSTM whose cell states nobody shows."""

    def __init__(self, layer: GatedLayer) -> None:
        super().__init__(layer)
        w, H = layer.weights, layer.h.shape[2]
        self.signs = np.array([-1.0, -1.0, -1.0, 1.0])
        every = [slice(k * H, (k + 1) * H) for k in ORDER]

        def ordered(columns: Array) -> Array:
            return np.concatenate([columns[..., k] for k in every], axis=-1)

        self.of_x, self.of_h = (
            Columns(ordered(m), self.signs, short_of(len(layer.W), H)) for m in (layer.W, layer.U)
        )
        self.bias = None if layer.bias is None else ordered(layer.bias)
        factor, _ = layer.factor([w.kernel, w.recurrent_kernel], w.bias)
        # and one to add both products, one to add a bias
        roundings = max(self.of_x.roundings, self.of_h.roundings) + 2
        of_each = (2, int(layer.bias is not None), roundings)
        self.args = [Argument(factor, k, *of_each) for k in every]
        self.c0, self.reach = layer.c0.astype(np.float32), layer.reach()

    @classmethod
    def of(cls, layer: GatedLayer) -> LstmScreen | None:
        hidden = layer.c is None and layer.last_c is None
        if not hidden or not cls.can(layer, _FEW):
            return None
        screen, T = cls(layer), layer.h.shape[1]
        if not np.array_equal(screen.c0, layer.c0):
            return None
        for samples, steps in layer.blocks():
            R = (samples.stop - samples.start) * (steps.stop - steps.start)
            if not screen.uses_all(samples.start * T + steps.start, R):
                return None
        return screen

    def settled(self) -> Iterator[Settled]:
        B, T, H = self.layer.h.shape
        m = min(T, max(1, _TILE // H))
        n = min(B, max(1, _TILE // (m * H)))
        bias = self.biases("bias", self.bias, self.signs, n * m)
        for i in range(0, B, n):
            samples = slice(i, min(i + n, B))
            n_of = samples.stop - i
            open_, ends = np.zeros((n_of, H), bool), np.zeros(n_of, np.intp)
            c = self.c0[samples]
            for t in range(0, T, m):
                found = self._tile(samples, slice(t, min(t + m, T)), c, bias)
                if found is None:
                    open_[:] = True
                    break
                c, bad = found
                shown = self.layer.h[samples, t : t + m]
                open_[bad // shown[0].size, bad % H] = True
                if largest(shown) >= 1:
                    ends += [self.reach.ends(one) for one in shown]
            units = [np.flatnonzero(one) for one in open_]
            yield Settled(samples, [u if 2**3 * len(u) <= H else None for u in units], ends)

    def _tile(
        self, samples: slice, steps: slice, start: Array, bias: Array | None
    ) -> tuple[Array, Array] | None:
        """From c before these steps (n,H): c after them, and what is not settled, laid flat.

        None: not plain.
        """
        shown = self.layer.h[samples, steps]
        (n, m, H), R = shown.shape, shown.shape[0] * shown.shape[1]
        made = self._gates(samples, steps, R, bias)
        if made is None:
            return None
        (i, f, o, g), sizes, norms = made
        p, c, t, allowed, off = self.array("more", 5, R, H)
        np.multiply(i, g, out=p)
        shape = (n, m, H)
        scanned = _in_time(f.reshape(shape), p.reshape(shape), start, c.reshape(shape))
        np.tanh(c, out=t)
        left = self._left(sizes)
        if left is None:
            return None
        np.multiply(o, t, out=p)
        self.state_left(p, o, left, shown.reshape(R, H), allowed, off)
        allowed *= np.float32(0.5)
        allowed -= off
        flat = [part.reshape(-1) for part in (i, f, o, g, c, t)]
        every = Steps(flat[0], flat[1], flat[2], flat[3], flat[4], flat[5], start, m)
        bad = np.zeros(0, np.intp)
        at = bad if allowed.min() >= 0 else np.flatnonzero(~(allowed >= 0))
        if len(at) or scanned:
            if len(at) > allowed.size // 4:
                return None
            bad = _Moved(every, shown.reshape(-1), left).where(at, scanned)
        far = [a.gamma * size.most for a, size in zip(self.args, sizes, strict=True)]
        tight = self.args[0].factor.tight

        def far_at(rows: Array, units: Array) -> list[Array]:
            return [a.far_at(rows, units, *norms) for a in self.args]

        wide = Widths(far, None if tight else far_at).wide(every, steps.start == 0)
        return c.reshape(shape)[:, -1].copy(), np.concatenate([bad, wide])

    def state_left(
        self, p: Array, o: Array, left: list[Left], shown: Array, allowed: Array, off: Array
    ) -> None:
        """How far h is off p = o·tanh(c), and what is left of the bounds of o and tanh."""
        of_o, of_t = left[2], left[4].C
        np.subtract(shown, p, out=off)
        np.abs(off, out=off)
        np.multiply(o, np.float32(-of_o.A), out=allowed)
        allowed += np.float32(of_o.A + (of_o.C + of_t) * (1 - FUZZ) - 4 * U * of_o.A)
        allowed *= np.abs(p, out=p)

    def _gates(
        self, samples: slice, steps: slice, R: int, bias: Array | None
    ) -> tuple[Array, list[Between], list[Array]] | None:
        """i, f, o, g (4,R,H), the sizes of their sums, norms of rows; None: some may be exact."""
        layer, H = self.layer, self.layer.h.shape[2]
        x = layer.x[samples, steps].reshape(R, -1)
        s, more = (self.array(name, 4, R, H) for name in ("s", "more"))
        before = self.array("before h", R, H)
        in_time = before.reshape(-1, steps.stop - steps.start, H)
        in_time[:, 0] = layer.h0[samples] if steps.start == 0 else layer.h[samples, steps.start - 1]
        in_time[:, 1:] = layer.h[samples, steps.start : steps.stop - 1]
        self.of_x.of(x, s, more)
        self.of_h.added(before, s, more)
        if bias is not None:
            s += bias[:, :R]
        rows = (x, self.norms(x)), (before, self.norms(before))
        sizes = [each.sizes(*rows) for each in self.args]
        unit = self.unit(x)
        if any(a.may_be_exact(unit, size) for a, size in zip(self.args, sizes, strict=True)):
            return None
        sigmoids(s[:3])
        np.tanh(s[3], out=s[3])
        return s, sizes, [norm for _, norm in rows]

    def _left(self, sizes: list[Between]) -> list[Left] | None:
        """Of i, f, o and g; and of tanh of c, in units of o·|tanh(c)|."""
        each = zip(NAMES, self.args, sizes, strict=True)
        left = [found for name, a, size in each if (found := left_of(name, a, size)) is not None]
        if len(left) < len(NAMES) or not sizes[2].most < 60:
            return None
        # o here is off by so much of itself
        off = self.args[2].own * sizes[2].most * math.exp(FLAT) + (OWN["sigmoid"] + 2) * U
        of_t = (activations.activation("tanh").c + 1) * (1 - off) - OWN["tanh"] - 1
        return [*left, Left(0.0, of_t * U)] if of_t >= 0 else None


def _in_time(f: Array, p: Array, start: Array, c: Array) -> bool:
    """c_t = f_t∘c_{t-1} + p_t, (n,m,H); whether the sums were made in another order than that."""
    n, m, H = f.shape
    if n * H < 2**6 and m > 2**5:  # so narrow: steps that are twice as long each time
        c[:] = p
        c[:, 0] += f[:, 0] * start
        f, k = f.copy(), 1
        while k < m:
            c[:, k:] += f[:, k:] * c[:, :-k]
            f[:, k:] = f[:, k:] * f[:, :-k]
            k *= 2
        return True
    now = start
    for t in range(m):
        now = np.multiply(f[:, t], now, out=c[:, t])
        now += p[:, t]
    return False


class _Moved:
    """c̃ moved to where it says what was shown: no farther than it must."""

    def __init__(self, every: Steps, shown: Array, left: list[Left]) -> None:
        self.every, self.shown, self.left = every, shown, left

    def where(self, at: Array, all_asked: bool) -> Array:
        """Which elements do not follow, after those were moved that say another state.

        all_asked: whether c̃ is the next of the one before only up to rounding.
        """
        every = self.every
        o, t, c, off, allowed = self._said(at)
        excess = np.sign(off) * np.maximum(np.abs(off) - allowed / 2, 0)
        every.c[at] = c + excess / (o * np.maximum(1 - t * t, 2.0**-12))
        every.t[at] = np.tanh(every.c[at])
        asked = np.arange(len(every.c)) if all_asked else every.with_after(at)
        if not len(bad := self._bad(asked)):
            return bad
        self._clipped()
        return self._bad(np.arange(len(every.c)))

    def _said(self, at: Array) -> tuple[Array, Array, Array, Array, Array]:
        """o, tanh(c̃) and c̃; how far the state is off what they say, and how far it may be."""
        every, of_o, of_t = self.every, self.left[2], self.left[4]
        o, t, c, shown = (
            part[at].astype(np.float64) for part in (every.o, every.t, every.c, self.shown)
        )
        allowed = (of_o.A * (1 - o) + of_o.C + of_t.C) * np.abs(o * t) * (1 - FUZZ)
        return o, t, c, shown - o * t, allowed

    def _bad(self, at: Array) -> Array:
        """Which of these do not say what was shown, or do not follow from the one before."""
        every, (of_i, of_f, _, of_g, _) = self.every, self.left
        _, _, c, off, most = self._said(at)
        i, f, g = (part[at].astype(np.float64) for part in (every.i, every.f, every.g))
        kept, new = f * every.before(at), i * g
        allowed = (of_f.A * (1 - f) + of_f.C) * np.abs(kept) + of_g.A * i * (1 - g * g)
        allowed += (of_i.A * (1 - i) + of_i.C + of_g.C) * np.abs(new)
        fine = (np.abs(off) <= most) & (np.abs(c - kept - new) <= allowed * (1 - FUZZ))
        return at[~fine]

    def _clipped(self) -> None:
        """Each as near to what follows from the one before as h lets it be, all at once, and again:
        what was moved moves those after it.
        """
        every, at = self.every, np.arange(len(self.every.c))
        o, t, c, off, allowed = self._said(at)
        slope = o * np.maximum(1 - t * t, 2.0**-40)
        middle, far = c + off / slope, 0.7 * allowed / slope
        low, high = middle - far, middle + far
        f, new = every.f.astype(np.float64), every.i.astype(np.float64) * every.g
        for _ in range(_ROUNDS):
            every.c[:] = np.clip(f * every.before(at) + new, low, high)
        np.tanh(every.c, out=every.t)
