"""Does each gradient follow from the states, as far as they are known?

Each step is taken from the states that were given, over a tape, and gone back over: the gradients,
with the error of all that they were made of. That takes nothing but the definition of a recurrence,
and no δ. It is asked of numbers that somebody printed, as `digits` reads them, and of what has no
mathematics of its own for its adjoints (see `adjoints` and `gated_adjoints`): their errors are
handed on from step to step, which is blunter. How sums were made is not asked.

    B batch, T timesteps, F features, H units, G gates
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from rnn_check.certificates.digits import Known, note_of
from rnn_check.certificates.gated_layer import GatedLayer
from rnn_check.certificates.gradients import read_observed, shows_copies
from rnn_check.certificates.layer import Layer
from rnn_check.certificates.layouts import SECOND_BIAS
from rnn_check.certificates.pieces import Piece, Reach
from rnn_check.certificates.result import Certificate, NotSeen, advised, judge
from rnn_check.numbers.bounded import Bounded, _given, exactly, joined, stacked, where
from rnn_check.numbers.formats import Array
from rnn_check.numbers.reading import Node, Tape
from rnn_check.recurrences.gated import steps

_NOTE = (
    "; of the states as they are, and not each adjoint of the one after it, and how its sums were "
    "made is not asked"
)


def certified(
    layer: Layer,
    off: Mapping[str, float] | None,
    observed: Mapping[str, Any],
    cotangent: Any,
    cotangent_error: Any,
    cell_cotangent: Any,
) -> dict[str, Certificate]:
    """See `public.certify_gradients`. off: as `digits.half_units`; None: numbers are as given."""
    if isinstance(layer, GatedLayer) and layer.has_cell and layer.c is None and off is None:
        _, name = layer.recurrence.states
        raise NotSeen(f"cell_states should be given, {name} after every step")
    if layer.mask is not None and off is not None:
        if layer.zeroed:
            raise ValueError(
                "with a reading and a mask, the states should be those that were carried, and "
                "zero_output_for_mask=False"
            )
        if "initial_state" in observed and not layer.mask[:, 0].all():
            raise ValueError(
                "with a reading, the gradient of initial_state is not asked where the mask skips a "
                "first step"
            )
    got, given = read_observed(layer, observed, cotangent, cotangent_error, cell_cotangent)
    back, found = _Back(layer, off), {}
    made = back.gradients(*given)
    for name, array in got.items():
        expected = made[name]
        if off is None:
            expected = back.as_shown(name, expected, array, *given[:2])
        value = expected.value
        error = expected.error + (0.0 if off is None else off.get("observed", 0.0))
        error = np.where(np.isfinite(value), error, np.inf)

        def pieces(worst: Any, value: Array = value, error: Array = error) -> Iterator[Piece]:
            yield Piece((), value, error)

        if off is not None:
            found[name] = judge(layer.a, array, pieces, Reach(), note_of(off))
            continue
        judged = judge(layer.a, array, pieces, Reach(), _NOTE, backwards=name == "delta")
        found[name] = advised(judged, layer.dtype, array)
    return found


class _Back:
    """The way back over the steps of a layer, as far as its numbers are known."""

    def __init__(self, layer: Layer, off: Mapping[str, float] | None) -> None:
        self.layer, self.off, self.known = layer, off or {}, Known(layer, off or {})
        self.r = self.known.r
        gate = layer.gate if isinstance(layer, GatedLayer) else "sigmoid"
        self.tape = Tape(layer.a.name, layer.name, gate, 1 if off is not None else layer.gates + 1)
        self.given: list[Array | None] = [layer.h]
        self.starts = [layer.h0]
        # by how much what steps receive may differ from what was shown, which is known exactly
        self.differs: dict[str, Array] = {}
        if isinstance(layer, GatedLayer):
            if layer.has_cell:
                self.given.append(layer.c)
                self.starts.append(layer.c0)
            self.differs = {} if off is not None else layer.differs
        # the arguments of skipped steps that are no numbers: of those nothing is said
        self.lost = np.zeros(layer.h.shape[:2], bool)

    def _seen(self, t: int, states: tuple[Node, ...]) -> tuple[Node, ...]:
        """The states of a step as they were given; steps that the mask skips hand on theirs."""
        found = []
        for node, given, state, name in zip(
            states, self.given, self.r.states, ("states", "cell_states"), strict=False
        ):
            if given is None:
                found.append(node)
                continue
            value = given[:, t].astype(np.float64)
            error: Any = self.off.get(name, 0.0)
            if state in self.differs:
                error = error + self.differs[state][:, t + 1]
            seen = self.tape.node(self.known.bounded(value, error), node.receive)
            if self.layer.mask is not None:
                seen = self.tape.where(self.layer.mask[:, t][:, None], seen, node)
            found.append(seen)
        return tuple(found)

    def gradients(
        self, cotangent: Array, cotangent_error: Array | None, cell_cotangent: Array | None
    ) -> dict[str, Bounded]:
        layer, r, a, tape, known = self.layer, self.r, self.layer.a, self.tape, self.known
        H = layer.h.shape[2]
        weights = [w or exactly(np.zeros(r.bias_shape(H)), a) for w in known.weights]
        parts = (
            r.arranged(*(getattr(w, which) for w in weights))
            for which in ("value", "error", "size")
        )
        w = type(known.w)(
            *(None if v is None else tape.leaf(Bounded(v, e, a, s))
              for v, e, s in zip(*parts, strict=True))
        )  # fmt: skip
        inputs = [
            tape.leaf(known.bounded(layer.x[:, t].astype(np.float64), known.errors.x[:, t]))
            for t in range(layer.h.shape[1])
        ]
        of_start = self.off.get("initial_state", 0.0)
        start = [tape.leaf(known.bounded(s, of_start * (s != 0))) for s in self.starts]
        skip = None if layer.mask is None else ~layer.mask.T[:, :, None]
        deltas: list[Any] = []

        def turned(states: tuple[Node, ...]) -> tuple[Node, ...]:
            return self._seen(len(deltas) - 1, states)

        reaches = self._reaches()
        for t, (step, states) in enumerate(steps(tape, r, w, inputs, start, skip, turned)):
            deltas.append(step.s)
            states[0].receive(self._cotangent(cotangent, cotangent_error, t, reaches[:, t, None]))
            if cell_cotangent is not None:
                own = self.off.get("cotangent", 0.0)
                states[1].receive(self._given(cell_cotangent[:, t], own))
            finite = [np.isfinite(s.b.value + s.b.error).all(axis=-1) for s in step.s]
            self.lost[:, t] = ~np.all(finite, axis=0)
        tape.backward()
        of = (None if node is None else tape.gradient(node) for node in w)
        of_weights = type(w)(*of)

        def of_node(node: Node) -> Bounded:
            return node.gradient or exactly(np.zeros(node.b.value.shape), a)

        def whole(which: str) -> tuple[Array, Array, Array]:
            W, U, b = r.joined(
                type(w)(*(None if g is None else getattr(g, which) for g in of_weights))
            )
            return W, U, b

        W, U, b = (Bounded(v, e, a) for v, e in zip(whole("value"), whole("error"), strict=True))
        dx = stacked([of_node(node) for node in inputs], 1)
        delta = [[of_node(s) for s in step] for step in deltas]
        made = {
            "kernel": W.each(lambda part: part[: layer.features]),
            SECOND_BIAS: W.each(lambda part: part[-1]),
            "recurrent_kernel": U,
            "bias": b,
            "x": dx.each(
                lambda part: part[:, :: -1 if layer.go_backwards else 1, : layer.features]
            ),
            "delta": stacked([joined(each, -1) for each in delta], 1),
        }
        names = ("initial_state", "initial_cell_state")
        return made | dict(zip(names, map(of_node, start), strict=False))

    def _reaches(self) -> Array:
        """(B,T) whether the cotangent of a step reaches the step that made its state."""
        layer = self.layer
        if layer.mask is None or layer.last is None:
            return np.ones(layer.h.shape[:2], bool)
        return layer.mask if layer.zeroed else layer.last[:, 1:] >= 0

    def _cotangent(self, value: Array, error: Array | None, t: int, chosen: Array) -> Bounded:
        """That of a step, where it is chosen."""
        own: Any = self.off.get("cotangent", 0.0)
        own = own if error is None else own + error[:, t]
        if chosen.all():
            return self._given(value[:, t], own)
        return self._given(np.where(chosen, value[:, t], 0.0), np.where(chosen, own, 0.0))

    def _given(self, value: Array, error: Any) -> Bounded:
        value = value.astype(np.float64)
        return _given(value, error, self.layer.a, not np.any(error))

    def as_shown(
        self, name: str, made: Bounded, got: Array, cotangent: Array, error: Array | None
    ) -> Bounded:
        """What a framework shows of a gradient: δ is 0 where skipped, and read by a product; of
        copies of the initial state, the cotangents count where the states show them."""
        layer = self.layer
        if name == "delta":
            value, bound = made.value, np.where(np.isnan(made.error), np.inf, made.error)
            if layer.mask is not None:
                skipped = ~layer.mask
                value = np.where(skipped[:, :, None], 0.0, value)
                bound = np.where(skipped[:, :, None], 0.0, bound)
                # a framework takes the step all the same, and throws away what it makes: 0·NaN
                bound[(skipped & self.lost)[:, :, None] & np.isnan(got)] = np.inf
            bound[~np.isfinite(value)] = np.inf
            # a product with the identity, in which an infinity meets zeros: inf·0
            bound[np.isinf(bound).any(axis=-1, keepdims=True) & np.isnan(got)] = np.inf
            return Bounded(value, bound, layer.a)
        if name != "initial_state" or layer.mask is None or layer.last is None or layer.zeroed:
            return made
        first, copied = layer.last[:, 1:] < 0, made
        for t in np.flatnonzero(first.any(axis=0)):
            more = self._cotangent(cotangent, error, int(t), first[:, t, None])
            copied = self.tape.added(copied, more)
        keep = shows_copies(layer, slice(None), got.astype(np.float64), made, copied)
        return where(keep, copied, made)
