"""Does each gradient belong to what it was made of, as far as those numbers are known?

Of numbers that somebody printed, as `digits` reads them. Each step is taken from the states that
were given, over a tape, and gone back over: the gradients, with the error of all that they were
made of. How sums were made is not asked, and no δ is needed.

    B batch, T timesteps, F features, H units, G gates
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from rnn_check.certificates.digits import Known, note_of
from rnn_check.certificates.gated_layer import GatedLayer
from rnn_check.certificates.gradients import read_observed
from rnn_check.certificates.layer import Layer
from rnn_check.certificates.layouts import SECOND_BIAS
from rnn_check.certificates.pieces import Piece, Reach
from rnn_check.certificates.result import Certificate, judge
from rnn_check.numbers.bounded import Bounded, _given, exactly, joined, stacked
from rnn_check.numbers.formats import Array
from rnn_check.numbers.reading import Node, Tape
from rnn_check.recurrences.gated import steps
from rnn_check.recurrences.kinds import LSTM


def certified(
    layer: Layer,
    off: Mapping[str, float],
    observed: Mapping[str, Any],
    cotangent: Any,
    cotangent_error: Any,
    cell_cotangent: Any,
) -> dict[str, Certificate]:
    """See `public.certify_gradients`, with a reading."""
    if layer.mask is not None:
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
    made, found = _Back(layer, off).gradients(*given), {}
    for name, array in got.items():
        value, error = made[name].value, made[name].error + off.get("observed", 0.0)
        error = np.where(np.isfinite(value), error, np.inf)

        def pieces(worst: Any, value: Array = value, error: Array = error) -> Iterator[Piece]:
            yield Piece((), value, error)

        found[name] = judge(layer.a, array, pieces, Reach(), note_of(off))
    return found


class _Back:
    """The way back over the steps of a layer, as far as its numbers are known."""

    def __init__(self, layer: Layer, off: Mapping[str, float]) -> None:
        self.layer, self.off, self.known = layer, off, Known(layer, off)
        gate = layer.gate if isinstance(layer, GatedLayer) else "sigmoid"
        self.tape = Tape(layer.a.name, layer.name, gate)
        self.c = layer.c if isinstance(layer, GatedLayer) and self.known.r is LSTM else None

    def _seen(self, t: int, states: tuple[Node, ...]) -> tuple[Node, ...]:
        """The states of a step as they were given; steps that the mask skips hand on theirs."""
        found = []
        for node, given, name in zip(
            states, (self.layer.h, self.c), ("states", "cell_states"), strict=False
        ):
            if given is None:
                found.append(node)
                continue
            value = given[:, t].astype(np.float64)
            seen = self.tape.node(self.known.bounded(value, self.off.get(name, 0.0)), node.receive)
            if self.layer.mask is not None:
                seen = self.tape.where(self.layer.mask[:, t][:, None], seen, node)
            found.append(seen)
        return tuple(found)

    def gradients(
        self, cotangent: Array, cotangent_error: Array | None, cell_cotangent: Array | None
    ) -> dict[str, Bounded]:
        layer, r, a, tape, known = self.layer, self.known.r, self.layer.a, self.tape, self.known
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
        starts = [layer.h0, layer.c0] if isinstance(layer, GatedLayer) and r is LSTM else [layer.h0]
        of_start = self.off.get("initial_state", 0.0)
        start = [tape.leaf(known.bounded(s, of_start * (s != 0))) for s in starts]
        skip = None if layer.mask is None else ~layer.mask.T[:, :, None]
        deltas: list[Any] = []

        def turned(states: tuple[Node, ...]) -> tuple[Node, ...]:
            return self._seen(len(deltas) - 1, states)

        for t, (step, states) in enumerate(steps(tape, r, w, inputs, start, skip, turned)):
            deltas.append(step.s)
            own = self.off.get("cotangent", 0.0)
            error = own if cotangent_error is None else own + cotangent_error[:, t]
            states[0].receive(self._given(cotangent[:, t], error))
            if cell_cotangent is not None:
                states[1].receive(self._given(cell_cotangent[:, t], own))
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

    def _given(self, value: Array, error: Any) -> Bounded:
        value = value.astype(np.float64)
        return _given(value, error, self.layer.a, not np.any(error))
