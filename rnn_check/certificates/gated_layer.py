"""What did each step of a gated recurrence compute with, and what follows from that?

B batch, T timesteps, F features, H units, G gates        R rows: samples × steps
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from typing import Any

import numpy as np

from rnn_check.certificates.factors import Factor
from rnn_check.certificates.layer import Layer, copies_of, reach_of
from rnn_check.certificates.pieces import Reach
from rnn_check.certificates.seen import MadeAgain, Seen
from rnn_check.certificates.sums import Sum
from rnn_check.numbers import activations
from rnn_check.numbers.arrays import check as _check
from rnn_check.numbers.arrays import numbers
from rnn_check.numbers.arrays import read as _read
from rnn_check.numbers.bounded import Bounded, exactly
from rnn_check.numbers.formats import Array
from rnn_check.recurrences.kinds import GRU, GRU_BEFORE, LSTM, Recurrence


class GatedLayer(Layer):
    """The operands of every step of a gated recurrence, the states as observed.

    c: the second state (B,T,H), as an LSTM's cell states; None: not seen, or there is none. last_c:
    the last of them (B,H), if it alone is seen.
    """

    def __init__(
        self,
        recurrence: Recurrence,
        recurrent_activation: str | None,
        cell_states: Any,
        states: Any,
        *,
        initial_state: Any = None,
        **operands: Any,
    ) -> None:
        self.recurrence = recurrence
        self.gates, self.biases = len(recurrence.gates), recurrence.biases
        self.arrays = 1 + 2 * self.gates
        self.gate = activations.activation(recurrent_activation).name
        if len(recurrence.states) > 2:
            raise ValueError(f"{recurrence.name!r} has more states than two, and is not certified")
        self.has_cell = len(recurrence.states) > 1
        start = [initial_state, None]
        if self.has_cell and initial_state is not None:
            if not isinstance(initial_state, (list, tuple)) or len(initial_state) != 2:
                names = " and of ".join(recurrence.states)
                raise ValueError(f"initial_state should hold two arrays (B,H), of {names}")
            start = list(initial_state)
        super().__init__(states, initial_state=start[0], **operands)
        B, T, H = self.h.shape
        self.c: Array | None = None
        self.last_c: Array | None = None
        if cell_states is not None:
            if not self.has_cell:
                name = recurrence.name
                raise ValueError(f"cell_states are a second state, and {name!r} has none")
            given = numbers("cell_states", cell_states)
            if given.ndim == 2:
                _check("cell_states", given, (B, H), "the last ones, batch by units of the states")
                self.last_c = given
            else:
                _check("cell_states", given, (B, T, H), "the states', or (B,H): the last alone")
                self.c = given
        self.c0 = (
            np.zeros((B, H)) if start[1] is None else _read("initial_state[1]", start[1], self.a)
        )
        _check("initial_state[1]", self.c0, (B, H), "batch by units of the states")
        self.c0 = self.c0.astype(np.float64)
        whole = (exactly(part, self.a) if part is not None else None
                 for part in (self.W, self.U, self.bias))  # fmt: skip
        arranged = [recurrence.arranged(*(None if b is None else b.value for b in whole))]
        self.weights = type(arranged[0])(
            *(None if part is None else exactly(part, self.a) for part in arranged[0])
        )
        self._factors: dict[tuple[int, ...], tuple[Factor, int]] = {}
        self._factored: list[Any] = []  # kept, so that nothing else has their ids
        self._differs: dict[str, Array] | None = None
        self.receives: GatedLayer | None = None  # whose states steps receive, if not these
        # the sums of the last block that was asked for: of whatever errors, their values are these
        self._made: tuple[tuple[int, int], tuple[Sum, ...]] = (-1, -1), ()

    @property
    def gradient_shapes(self) -> dict[str, tuple[int, ...]]:
        of_cell = {"initial_cell_state": self.h.shape[::2]} if self.has_cell else {}
        return super().gradient_shapes | of_cell

    def factor(self, matrices: Sequence[Bounded], bias: Bounded | None) -> tuple[Factor, int]:
        """The matrices one below the other; how many biases stand below them, as rows.

        All but one of several biases are rows of the matrix, that ones are multiplied with.
        """
        key = (*map(id, matrices), id(bias))
        if key not in self._factors:
            parts = [m.value for m in matrices]
            one, several = None if bias is None else bias.value, 0
            if one is not None and one.ndim > 1:
                parts.append(one[1:])
                one, several = one[0], len(one) - 1
            ends = np.cumsum([len(p) for p in parts])[:-1]
            matrix = np.concatenate(parts) if len(parts) > 1 else parts[0]
            self._factors[key] = Factor(matrix, self.a, *map(int, ends), bias=one), several
            self._factored += [*matrices, bias]
        return self._factors[key]

    def sums(
        self,
        products: Sequence[tuple[Array, Bounded]],
        bias: Bounded | None,
        stored: int | None = None,
    ) -> Sum:
        """Of rows and matrices, and biases."""
        factor, several = self.factor([m for _, m in products], bias)
        parts = [rows for rows, _ in products]
        if several:
            parts.append(np.ones((len(parts[0]), several)))
        s = Sum(np.concatenate(parts, axis=1) if len(parts) > 1 else parts[0], factor)
        biases = 0 if bias is None else several + 1
        return s.bounded(len(products), stored=stored or len(products) + biases)

    @property
    def cell(self) -> GatedLayer:
        """As if the cell states were what it shows; masked steps copy them."""
        assert self.c is not None
        return self.copied(self.c, self.c0)

    @property
    def shown(self) -> dict[str, GatedLayer]:
        """Of each state that is seen, by name, this layer as if that were what it shows."""
        name, *others = self.recurrence.states
        return {name: self} | ({} if self.c is None else dict.fromkeys(others, self.cell))

    def copied(self, states: Array, initial: Array) -> GatedLayer:
        """As if these were the states that it shows."""
        layer = copy(self)
        layer.h, layer.h0, layer.zeroed = states, initial, False
        return layer

    def before(self, samples: slice, steps: slice) -> Array:
        """(R,H) the states before the steps of a block."""
        if self.receives is not None:
            return self.receives.before(samples, steps)
        if self.last is not None:
            found = self.after(samples, self.last[samples, steps])
        elif steps.start:
            found = self.h[samples, steps.start - 1 : steps.stop - 1]
        else:
            found = np.concatenate([self.h0[samples, None], self.h[samples, : steps.stop - 1]], 1)
        return found.reshape(-1, found.shape[2]).astype(np.float64)

    def handed(self, samples: slice, steps: slice, name: str = "h") -> Bounded:
        """(R,H) a state that the steps of a block receive, which may have been made once more."""
        before = exactly(self.shown[name].before(samples, steps), self.a)
        if name not in self.recurrence.sums:  # as h = o∘act(c) of an LSTM
            return before
        return before.off_by(self.differs[name][samples, steps].reshape(before.value.shape))

    @property
    def differs(self) -> dict[str, Array]:
        """(B,T,H) by how much what steps receive may differ from what was shown, by name.

        Of gates as the states that are shown make them. Two fused and unfused sums differ by no
        more than 3u of their terms; γ_4 covers terms that are a quarter larger.
        """
        if self._differs is None:
            found = {name: np.zeros(self.h.shape) for name in self.recurrence.sums}
            off: dict[str, Array] = {}
            for samples, steps in self.blocks():
                shape = self.h[samples, steps].shape
                if not steps.start:
                    off = {name: np.zeros(shape[::2]) for name in found}
                for name, made in self._made_again(samples, steps).items():
                    left, off[name] = handed_on(self, samples, steps, made, off[name])
                    found[name][samples, steps] = left.reshape(shape)
            self._differs = found
        return self._differs

    def _made_again(self, samples: slice, steps: slice) -> dict[str, Array]:
        """(R,H) by how much what these steps hand on may differ from what they show, by name."""
        before = [exactly(of.before(samples, steps), self.a) for of in self.shown.values()]
        reading = Seen if self.has_cell else MadeAgain
        n, _ = self._stepped(reading, samples, steps, self.observed(samples, steps), *before)
        found = {}
        for name in self.recurrence.sums:
            # a state that is none brings no doubt to those after it
            made = n.differs[name]
            finite = np.isfinite(self.shown[name].h[samples, steps]).reshape(made.shape)
            found[name] = np.where(finite & ~np.isnan(made), made, 0.0)
        return found

    def observed(self, samples: slice, steps: slice) -> dict[str, Array]:
        """(R,H) what is seen of the states after a block's steps, of which the rest is made."""
        H, (_, *others) = self.h.shape[2], self.shown.items()
        return {name: of.h[samples, steps].reshape(-1, H).astype(np.float64) for name, of in others}

    def _whole(self) -> GatedLayer:
        """To be given other steps, all of which use all operands."""
        layer = copy(self)
        layer._made, layer._factors = ((-1, -1), ()), {}
        for key, (factor, several) in self._factors.items():
            layer._factors[key] = copy(factor), several
            layer._factors[key][0].whole = True
        return layer

    def of_samples(self, which: slice) -> GatedLayer:
        """These samples of an LSTM without a mask, of steps that are known to use all operands."""
        layer = self._whole()
        layer.x, layer.h, layer.h0, layer.c0 = (
            part[which] for part in (self.x, self.h, self.h0, self.c0)
        )
        return layer

    def of_units(self, which: Array) -> GatedLayer:
        """These units alone of such an LSTM, which receive the states of all."""
        layer, H = self._whole(), self.h.shape[2]
        columns = (np.arange(self.gates)[:, None] * H + which).reshape(-1)
        parts = (
            None if part is None else exactly(part.value[..., columns], self.a)
            for part in self.weights
        )
        layer.weights, layer.receives = type(self.weights)(*parts), self
        layer.h, layer.c0 = self.h[:, :, which], self.c0[:, which]
        w = layer.weights
        layer.factor([w.kernel, w.recurrent_kernel], w.bias)[0].whole = True
        return layer

    def alone_at(self, which: Array, handed: bool = True) -> GatedLayer:
        """One step each of a layer without a mask: these, all samples counted through.

        Of steps that are known to use all operands. With `handed`, what the steps before them may
        have made again, of an LSTM's c where it is seen, is taken from those; without, it is none.
        """
        T, F = self.h.shape[1], len(self.W)
        at, rows, layer = np.divmod(which, T), self.rows(which), self._whole()
        layer.x, layer.h0, layer.h = rows[:, None, :F], rows[:, F:], self.h[at][:, None]
        layer.sample = self.sample._replace(rows=None)
        if self.c is not None:
            layer.c, layer.c0 = self.c[at][:, None], self.c[at[0], at[1] - 1].astype(np.float64)
            layer.c0[at[1] == 0] = self.c0[at[0][at[1] == 0]]
        layer._differs = {name: np.zeros(layer.h.shape) for name in self.recurrence.sums}
        later = np.flatnonzero(at[1])
        if handed and len(later) and len(self.shown) == len(self.recurrence.states):
            before = self.alone_at(which[later] - 1, handed=False)
            again = before._made_again(slice(0, len(later)), slice(0, 1))
            for name, made in again.items():
                layer._differs[name][later, 0] = made
        return layer

    def step(
        self, samples: slice, steps: slice, observed: dict[str, Array], *before: Bounded
    ) -> tuple[Seen, Any]:
        """One step each of a block, and the reading that made it. before: of further states."""
        return self._stepped(Seen, samples, steps, observed, self.handed(samples, steps), *before)

    def _stepped(
        self,
        reading: type[Seen],
        samples: slice,
        steps: slice,
        observed: dict[str, Array],
        *before: Bounded,
    ) -> tuple[Seen, Any]:
        of, known = self._made
        n = reading(self, observed, known if of == (samples.start, steps.start) else ())
        x = self.x[samples, steps].reshape(-1, len(self.W)).astype(np.float64)
        step = self.recurrence.step(n, self.weights, exactly(x, self.a), *before)
        self._made = (samples.start, steps.start), tuple(n.sums)
        return n, step

    def reach(self) -> Reach:
        """Between which numbers h lies."""
        act = reach_of(self.name)
        if not act.is_limited or activations.activation(self.gate).values != (0, 1):
            return Reach()
        beside = _BESIDE.get(self.recurrence)
        if beside is None:
            return Reach()
        others = beside(self)
        return Reach(float(others.min(initial=act.low)), float(others.max(initial=act.high)))


# h lies between the least and the largest of what act gives and of these: a gate of 0 to 1 lets a
# part of act through, or weighs act and the state before. Of other recurrences it is not derived.
_BESIDE: dict[Recurrence, Callable[[GatedLayer], Array]] = {
    LSTM: lambda layer: np.zeros(1),
    GRU: lambda layer: layer.h0,
    GRU_BEFORE: lambda layer: layer.h0,
}


def handed_on(
    layer: GatedLayer, samples: slice, steps: slice, made: Array, first: Array
) -> tuple[Array, Array]:
    """Of what each step made (R,H), what the steps before those of a block left; and the last."""
    shape = layer.h[samples, steps].shape
    each, before = made.reshape(shape), np.empty(shape)
    if layer.mask is None:
        before[:, 0] = first
        before[:, 1:] = each[:, :-1]
        return before.reshape(made.shape), each[:, -1]
    for t, keep in enumerate(layer.mask[samples, steps].T[:, :, None]):
        before[:, t] = first
        first = np.where(keep, each[:, t], first)
    return before.reshape(made.shape), first


def masked(
    layer: GatedLayer, samples: slice, steps: slice, expected: Array, bound: Array
) -> tuple[Array, Array]:
    """Masked steps copy the state before them, bit for bit."""
    if layer.mask is None:
        return expected, bound
    skipped = ~layer.mask[samples, steps]
    observed = layer.h[samples, steps].astype(np.float64)
    copies = copies_of(layer, samples, steps, observed)
    expected = np.where(skipped[:, :, None], copies, expected)
    return expected, np.where(skipped[:, :, None], 0.0, bound)
