"""By which other formulas of back-propagation through time may gradients have been made?

Of a layer of one recurrence that comes first, with a mask or without. The way back is that of
`recurrences`, step by step, of float64; B samples, T timesteps, F features, H units, G gates.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from rnn_check.claims.causes import recurrences
from rnn_check.claims.causes.shown import MOST_ROWS, Shown
from rnn_check.claims.claim import Claim
from rnn_check.claims.layers import Gated, Recurrent
from rnn_check.claims.loss import cotangent_of
from rnn_check.claims.truth import Truth
from rnn_check.claims.written import Array
from rnn_check.numbers import activations
from rnn_check.numbers.bounded import Bounded
from rnn_check.recurrences import gated


def gradients(claim: Claim) -> Iterator[tuple[str, Shown]]:
    """Each formula that is known, and the gradients that it makes."""
    first = claim.layers[0]
    if claim.loss is None or claim.x is None or claim.weights is None:
        return
    if not isinstance(first, Recurrent) or claim.cell_cotangent is not None:
        return
    if activations.activation(first.function).derivative is None:
        return
    ways = {"δ is handed on through recurrent_kernel in place of its transpose": _Way(turned=False)}
    if not first.letters.reset:  # of which a part is made of what the reset leaves of h
        words = "the gradient of recurrent_kernel is made of h_t in place of h_(t-1)"
        ways[words] = _Way(late=True)
    if not isinstance(first, Gated):
        ways["the activation's derivative is left out"] = _Way(slope=False)
    for steps in range(1, min(claim.x.shape[1], MOST_ROWS)):
        words = "nothing is handed back to the step before"
        if steps > 1:
            words = f"back-propagation is truncated after {steps} steps"
        ways[words] = _Way(most=steps)
    for words, way in ways.items():

        def gradient(truth: Truth, of: str, way: _Way = way) -> Bounded | None:
            layer, path = claim.gradients[of]
            found = way.gradients(truth).get(path) if layer is first else None
            right = truth.gradient(of)
            return None if found is None else Bounded(found, right.error, right.a)

        yield words, Shown(gradient=gradient)


@dataclass(frozen=True)
class _Way:
    """turned: δ goes back through Uᵀ. late: dU is made of h_t. slope: δ has act' in it. most:
    through how many steps each cotangent goes back; 0: all."""

    turned: bool = True
    late: bool = False
    slope: bool = True
    most: int = 0

    def gradients(self, truth: Truth) -> dict[str, Array]:
        """dL/d of what the layer is given, by Keras's paths."""
        claim = truth.claim
        assert isinstance(claim, Claim)
        run = _forward(claim)
        cotangent = cotangent_of(claim, run.states["h"], truth.passes[-1].out.value, "exact").value
        back = _Back(self, run)
        T = cotangent.shape[1]
        if self.most:
            for t in range(T):
                back.go({t: cotangent[:, t]}, t, max(0, t - self.most + 1), t < self.most)
        else:
            back.go({t: cotangent[:, t] for t in range(T)}, T - 1, 0, True)
        return back.found(claim.rnn.option("go_backwards"))


def _forward(claim: Claim) -> gated.Run:
    layer = claim.rnn
    ran = recurrences.ran(claim, layer, 0)  # in the order in which it takes the steps
    how: dict[str, Any] = {**layer.functions}
    bias = None if ran.bias is None else ran.bias.value
    starts = tuple(start.value for start in ran.starts)
    return gated.forward(
        layer.recurrence, ran.x.value, ran.kernel.value, ran.recurrent_kernel.value, bias,
        mask=ran.mask, initial_state=starts or None, **how,
    )  # fmt: skip


class _Straight:
    """An activation of which the derivative is left out."""

    @staticmethod
    def vjp(g: Array, z: Array, h: Array) -> Array:
        return g


class _Back:
    """A way back over a run, as often as it is gone, and the sum of all that it finds."""

    def __init__(self, way: _Way, run: gated.Run) -> None:
        self.way, self.run, r = way, run, run.recurrence
        W, U, b = run.arrays
        parts = np.split(U, len(r.gates), axis=-1)
        turned = U if way.turned else np.concatenate([part.T for part in parts], axis=-1)
        self.w = r.arranged(W, turned, b)
        (T, B, _), H = run.x.shape, len(U)
        self.delta, self.of_kernel = np.zeros((T, B, U.shape[1])), np.zeros(U.shape)
        self.second = np.zeros(U.shape[1])
        self.start = tuple(np.zeros((B, H)) for _ in r.states)

    def go(self, cotangents: Mapping[int, Array], last: int, least: int, to_start: bool) -> None:
        """From one step back to another; to_start: whether the initial state is reached too."""
        run, r = self.run, self.run.recurrence
        act: Any = run.activation if self.way.slope else _Straight
        later = tuple(np.zeros(start.shape) for start in self.start)
        for t in range(last, least - 1, -1):
            if t in cotangents:
                later = (later[0] + cotangents[t], *later[1:])
            before = run.start if not t else tuple(run.states[n][:, t - 1] for n in r.states)
            skip = np.False_ if run.skip is None else run.skip[t]
            g = tuple(np.where(skip, 0.0, part) for part in later)
            now, dU, rest = r.step_back(
                act, run.recurrent_activation, self.w, before, run.steps[t], *g
            )
            now = np.where(skip, 0.0, now)
            later = tuple(np.where(skip, *pair) for pair in zip(later, rest, strict=True))
            self.delta[t] += now
            self.of_kernel += run.states["h"][:, t].T @ now if self.way.late else dU
            self.second += gated.of_recurrent_bias(r, now, run.steps[t])
        if to_start:
            self.start = tuple(a + b for a, b in zip(self.start, later, strict=True))

    def found(self, go_backwards: bool) -> dict[str, Array]:
        run, delta = self.run, self.delta.swapaxes(0, 1)
        dx, db = delta @ run.arrays[0].T, delta.sum((0, 1))
        several = run.recurrence.biases > 1
        return {
            "kernel": np.einsum("tbf,bth->fh", run.x, delta),
            "recurrent_kernel": self.of_kernel,
            "bias": np.stack([db, self.second]) if several else db,
            "x": dx[:, ::-1] if go_backwards else dx,
            "initial_state": self.start[0] if len(self.start) == 1 else np.stack(self.start),
        }
