"""Does each step follow from the one before, as far as its numbers are known?

Of numbers that somebody printed, the last digit is known to half a unit. Every step is read as
bounded numbers (see `numbers.reading`): what the printed ones may have been, and the rounding of a
subject that had those. That says whether the numbers belong together, and nothing of how a sum was
made.

    B batch, T timesteps, F features, H units        R rows: samples × steps
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from typing import Any

import numpy as np

from rnn_check.certificates.factors import Room
from rnn_check.certificates.gated_layer import GatedLayer, masked
from rnn_check.certificates.layer import Layer, reach_of
from rnn_check.certificates.pieces import Piece, Reach
from rnn_check.certificates.result import Certificate, judge
from rnn_check.numbers import activations
from rnn_check.numbers.bounded import Bounded, _given
from rnn_check.numbers.formats import Array
from rnn_check.numbers.reading import Bounds
from rnn_check.recurrences.kinds import SIMPLE
from rnn_check.recurrences.running import _arranged

WEIGHTS = ("kernel", "recurrent_kernel", "bias")
KNOWN = ("x", *WEIGHTS, "initial_state", "states", "cell_states")
OF_GRADIENTS = (*KNOWN, "cotangent", "observed")
MOST = 30  # decimals: a float64 has none beyond those


def half_units(reading: Mapping[str, int], known: Sequence[str] = KNOWN) -> dict[str, float]:
    """By how much each of those may be off, of the decimals to which it is known.

    "weights" stands for all of WEIGHTS. Raises ValueError for other names, and for no decimals.
    """
    found: dict[str, float] = {}
    for name, decimals in reading.items():
        if name not in (*known, "weights"):
            raise ValueError(
                f"reading has {name!r}, but should have some of weights, {', '.join(known)}"
            )
        whole = isinstance(decimals, int | np.integer) and not isinstance(decimals, bool)
        if not whole or not -MOST <= decimals <= MOST:
            raise ValueError(
                f"reading of {name} is {decimals!r}, but should be to how many decimals it is known"
            )
        for each in WEIGHTS if name == "weights" else (name,):
            if each in found:
                raise ValueError(f'reading has "weights" and {each!r}, which is one of them')
            found[each] = 0.5 * 10.0 ** -int(decimals)
    return found


def certified(layer: Layer, off: Mapping[str, float]) -> Certificate:
    """See `public.certify`."""
    known = Known(layer, off)
    seen = layer.h
    if isinstance(layer, GatedLayer):
        if layer.last_c is not None:
            raise ValueError("with a reading, cell_states should be those of all steps, or none")
        if layer.mask is not None and layer.has_cell and layer.c is None:
            raise ValueError("with a reading and a mask, cell_states should be given")
        if layer.c is not None:
            seen = np.stack([layer.h, layer.c])
    reach = layer.reach() if isinstance(layer, GatedLayer) else reach_of(layer.name)
    return judge(layer.a, seen, lambda worst: known.pieces(), reach, note_of(off))


def note_of(off: Mapping[str, float]) -> str:
    said = ", ".join(f"{name} to ±{half:.3g}" for name, half in off.items())
    return f"; with {said}, and how its sums were made is not asked"


class Known:
    """The operands of every step, each with what it may be off."""

    def __init__(self, layer: Layer, off: Mapping[str, float]) -> None:
        self.layer, self.off, features = layer, off, layer.features
        self.r = layer.recurrence if isinstance(layer, GatedLayer) else SIMPLE
        gate = layer.gate if isinstance(layer, GatedLayer) else "sigmoid"
        self.n = Bounds(layer.a.name, layer.name, activations.activation(gate).name)
        of_kernel = np.full(layer.W.shape, off.get("kernel", 0.0))
        of_kernel[features:] = off.get("bias", 0.0)
        self.weights = [
            None if value is None else self.bounded(value, error)
            for value, error in (
                (layer.W, of_kernel),
                (layer.U, off.get("recurrent_kernel", 0.0)),
                (layer.bias, off.get("bias", 0.0)),
            )
        ]
        self.w = _arranged(self.r, self.weights, layer.a)
        # a layer of errors, so that each of them stands where its number does
        self.errors = copy(layer)
        self.errors.h = np.full(layer.h.shape, off.get("states", 0.0))
        self.errors.h0 = np.full(layer.h0.shape, off.get("initial_state", 0.0)) * (layer.h0 != 0)
        self.errors.x = np.full(layer.x.shape, off.get("x", 0.0))
        self.errors.x[:, :, features:] = 0.0

    def bounded(self, value: Array, error: Any) -> Bounded:
        return _given(value, error, self.layer.a, True)

    def pieces(self) -> Iterator[Piece]:
        layer = self.layer
        if isinstance(layer, GatedLayer) and layer.has_cell and layer.c is None:
            yield from self._hidden(layer)
            return
        for samples, steps in layer.blocks():
            x, h = self._operands(samples, steps)
            before: tuple[Bounded, ...] = ()
            if isinstance(layer, GatedLayer) and layer.has_cell:
                before = (self._cells(layer, samples, steps),)
            made = self.r.step(self.n, self.w, x, h, *before)[: 1 + len(before)]
            for which, state in enumerate(made):
                yield from self._piece((samples, steps), state, which)

    def _operands(self, samples: slice, steps: slice) -> tuple[Bounded, Bounded]:
        """x_t and h_{t-1} of a block."""
        F = len(self.layer.W)
        value, error = (
            each.operands(samples, steps, Room()).astype(np.float64)
            for each in (self.layer, self.errors)
        )
        return self.bounded(value[:, :F], error[:, :F]), self.bounded(value[:, F:], error[:, F:])

    def _cells(self, layer: GatedLayer, samples: slice, steps: slice) -> Bounded:
        """c_{t-1} of a block, where all are seen."""
        value = layer.cell.before(samples, steps)
        first = layer.c0[samples] != 0
        off, of_start = self.off.get("cell_states", 0.0), self.off.get("initial_state", 0.0)
        errors = layer.copied(np.full(layer.h.shape, off), np.where(first, of_start, 0.0))
        errors.h0 = np.where(layer.c0 != 0, of_start, 0.0)
        return self.bounded(value, errors.before(samples, steps))

    def _hidden(self, layer: GatedLayer) -> Iterator[Piece]:
        """c is what the steps make of it, from the first to the last."""
        every, T = slice(0, layer.h.shape[0]), layer.h.shape[1]
        c = self.bounded(layer.c0, np.where(layer.c0 != 0, self.off.get("initial_state", 0), 0.0))
        for t in range(T):
            x, h = self._operands(every, slice(t, t + 1))
            h, c, *_ = self.r.step(self.n, self.w, x, h, c)
            yield from self._piece((every, slice(t, t + 1)), h, 0)

    def _piece(self, place: tuple[slice, slice], made: Bounded, which: int) -> Iterator[Piece]:
        layer = self.layer
        view = layer.cell if which and isinstance(layer, GatedLayer) else layer
        shape = view.h[place].shape
        off = self.off.get("cell_states" if which else "states", 0.0)
        # the printed number, and the subject's own, which it was printed of
        error = made.error + np.where(np.isnan(made.value), 0.0, off)
        expected, bound = made.value.reshape(shape), error.reshape(shape)
        if layer.mask is not None:
            expected, bound = masked(view, *place, expected, bound)  # type: ignore[arg-type]
        if isinstance(layer, GatedLayer) and layer.c is not None:
            index = (slice(which, which + 1), *place)
            yield Piece(index, expected[None], bound[None], reach=Reach() if which else None)
        else:
            yield Piece(place, expected, bound)
