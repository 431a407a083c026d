"""Which states of an LSTM may be beyond their bound, h or c? Asked in float32; c is seen.

Where c_t and c_{t-1} are both seen, each step can be asked alone, as a GRU's is (`gated_screen`):

    |c_t - (f_t·c_{t-1} + i_t·g_t)|  <=  what one step may be off by
    |ĥ_t - o_t·tanh(c_t)|            <=  what o and tanh may be off by

of which what float32 is off by here is taken away. A bound of c is blind if it is over a hundredth
of c, which depends on both: how many may be is told here, and how many are if somebody asks.

    B batch, T timesteps, F features, H units       R rows: samples × steps
"""

from __future__ import annotations

import math

import numpy as np

from rnn_check.certificates.gated_arguments import FLAT, FUZZ, Between, Left, U, largest, most_of
from rnn_check.certificates.gated_layer import GatedLayer
from rnn_check.certificates.gated_screen import Suspects
from rnn_check.certificates.lstm_screen import NAMES, LstmScreen
from rnn_check.certificates.precision import SAMPLED
from rnn_check.numbers import activations
from rnn_check.numbers.formats import Array, gamma

_FEW = 2**3  # of so many rows one may be judged in full
_OFF = 2.5 * U  # a sum of two products in float32, of its terms


class SeenScreen(LstmScreen):
    """The states of an LSTM whose cell states are seen."""

    most: float  # |c|

    @classmethod
    def of(cls, layer: GatedLayer) -> SeenScreen | None:
        c = layer.c
        if c is None or c.dtype != np.float32 or not cls.can(layer, SAMPLED):
            return None
        screen = cls(layer)
        screen.most = max(largest(c), largest(screen.c0))
        return screen if np.array_equal(screen.c0, layer.c0) else None

    def suspects(self, samples: slice, steps: slice) -> Suspects | None:
        """Of the states and the cell states of a block; None if they are too many."""
        layer, (_, T, H) = self.layer, self.layer.h.shape
        shown, c = layer.h[samples, steps].reshape(-1, H), self._cells(samples, steps)
        R = len(shown)
        if not self.uses_all(samples.start * T + steps.start, R):
            return None
        made = self._gates(samples, steps, R, self.biases("bias", self.bias, self.signs, R))
        left = None if made is None else self._left(made[1])
        if made is None or left is None:
            return None
        (i, f, o, g), sizes, _ = made
        before, t, spare, allowed, off = self.array("more", 5, R, H)
        before = self._before(samples, steps, before)
        kept, new = np.multiply(f, before, out=before), np.multiply(i, g, out=t)
        # of c: |kept|·(A·(1 - f) + C) + |new|·(A·(1 - i) + C) + i·A·(1 - g²)
        np.add(kept, new, out=off)
        np.subtract(c, off, out=off)
        np.abs(off, out=off)
        of_i, of_f, _, of_g = left[:4]
        np.multiply(g, g, out=spare)
        _slope(spare, of_g.A, 0.0)
        spare *= i
        for gate, product, of, C in ((f, kept, of_f, of_f.C), (i, new, of_i, of_i.C + of_g.C)):
            np.copyto(allowed, gate)
            _slope(allowed, of.A, C - _OFF)
            allowed *= np.abs(product, out=product)
            spare += allowed
        np.multiply(spare, np.float32(1 - FUZZ), out=allowed)
        at_c = np.flatnonzero(~(off <= allowed))
        top = self._blind(spare, c, left, sizes)
        if top is None:
            return None
        maybe = int(np.count_nonzero(spare >= 0))
        # of h
        np.tanh(c, out=t)
        np.multiply(o, t, out=spare)
        self.state_left(spare, o, left, shown, allowed, off)
        at_h = np.flatnonzero(~(off <= allowed))
        rows = np.unique(np.concatenate([at_h, at_c]) // H)
        if len(rows) * _FEW > R:
            return None
        ends = self.reach.ends(shown)
        return Suspects(at_h, ends, at_c, (largest(c) - top, top), maybe)

    def _cells(self, samples: slice, steps: slice) -> Array:
        assert self.layer.c is not None
        return self.layer.c[samples, steps].reshape(-1, self.layer.h.shape[2])

    def _before(self, samples: slice, steps: slice, out: Array) -> Array:
        """(R,H) c before each step."""
        assert self.layer.c is not None
        each = out.reshape(-1, steps.stop - steps.start, out.shape[1])
        c, start = self.layer.c, steps.start
        each[:, 0] = c[samples, start - 1] if start else self.c0[samples]
        each[:, 1:] = c[samples, start : steps.stop - 1]
        return out

    def _blind(self, left: Array, c: Array, of: list[Left], sizes: list[Between]) -> float | None:
        """How large the bound of a c may be; None if some may be unjudged, or one of h blind.

        left: of each bound at least; it becomes 0 or more where c may be blind. What a bound is at
        most is a multiple of that, for its A at most in place of at least, and a rest.
        """
        far = [each.gamma * size.most for each, size in zip(self.args, sizes, strict=True)]
        if not max(far) < FLAT:
            return None
        e_i, e_f, e_o, e_g = (most_of(*each) for each in zip(NAMES, far, strict=True))
        times, own = 1.0, 0.0
        for k in (0, 1, 3):
            act = activations.activation(NAMES[k])
            assert act.closed is not None
            # the slope is that of what float32 made, which is off by no more
            A = far[k] * math.exp(2 * act.closed.rate * far[k]) / (1 - act.closed.rate * far[k])
            times = max(times, A / of[k].A) if of[k].A > 0 else math.inf
            own += (2 * act.c + 2**6 * (1 + A)) * U
        most = 1.1 * self.most + 1.1  # of |f·c| + |i·g|
        again = gamma(4, U) * (1 + e_f) * most + 2.0**-100
        rest = (own + gamma(6, U) + times * 2 * _OFF) * most + 2 * e_i * e_g + 2 * again
        top = (float(left.max()) * times + rest) * (1 + FUZZ)
        of_h = e_o + (1 + e_o) * (again + 20 * U)
        # NaN is not
        if not (4 * top <= largest(c) and of_h * (1 + FUZZ) < 0.02 and times < 2.0**10):
            return None
        left *= np.float32(101 * times)
        left += np.float32(101 * rest)
        left -= np.abs(c)
        return top


def _slope(gate: Array, A: float, C: float) -> None:
    """A·(1 - gate) + C in its place, or a little less."""
    gate *= np.float32(-A)
    gate += np.float32(A + C * (1 - FUZZ) - 4 * U * A)
