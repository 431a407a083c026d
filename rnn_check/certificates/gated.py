"""Does each step of a gated recurrence follow from the one before?

A step is read as bounded numbers from the states that were observed (see `numbers.reading`): its
sums of products with the bounds of `sums`, and what the gates make of them with theirs. GRU has one
state, and all of it is seen; of an LSTM whose cell states are seen, c_t is asked from c_{t-1} and
h_{t-1}, and h_t from that c_t.
Where they are hidden, see `observer`.

    B batch, T timesteps, F features, H units, G gates        R rows: samples × steps
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from rnn_check.certificates.gated_layer import GatedLayer, handed_on, masked
from rnn_check.certificates.gated_samples import samples_of_gates
from rnn_check.certificates.observer import Observer
from rnn_check.certificates.pieces import Piece, Reach
from rnn_check.certificates.precision import NOTHING
from rnn_check.certificates.result import Certificate, judge
from rnn_check.numbers.bounded import Bounded, exactly
from rnn_check.recurrences.kinds import LSTM


def certified(layer: GatedLayer) -> Certificate:
    """The states of this layer, and its cell states where they were given."""
    seen = layer.h
    if layer.c is not None:
        seen = np.stack([layer.h, layer.c])
    elif layer.last_c is not None:
        dtype = np.result_type(layer.h, layer.last_c)
        others = np.full((layer.h.shape[0], layer.h.shape[1] - 1, layer.h.shape[2]), np.nan, dtype)
        c = np.concatenate([others, layer.last_c[:, None]], axis=1)
        seen = np.stack([layer.h.astype(dtype), c])
    if layer.recurrence is LSTM and layer.c is None:
        observer = Observer(layer)
        note = (
            "; how its sums were made is not seen where cell_states are not, nor c where act is "
            "saturated"
        )
        return judge(layer.a, seen, observer.pieces, layer.reach(), note)
    return judge(layer.a, seen, lambda worst: _pieces(layer), layer.reach())


def _pieces(layer: GatedLayer) -> Iterator[Piece]:
    """All states are seen."""
    shows_c = layer.c is not None
    differs = np.zeros((0, 0))
    for samples, steps in layer.blocks():
        shape = layer.h[samples, steps].shape
        observed = {"h": layer.h[samples, steps].reshape(-1, shape[2]).astype(np.float64)}
        before: tuple[Bounded, ...] = ()
        if shows_c:
            cell = layer.cell
            observed["c"] = cell.h[samples, steps].reshape(-1, shape[2]).astype(np.float64)
            before = (exactly(cell.before(samples, steps), layer.a),)
        n, step = layer.step(samples, steps, observed, *before)
        samples_of = samples_of_gates(layer, samples, steps, observed, before, n, step)
        found = {"h": step.h, **n.expected}
        if shows_c:  # the step before may have handed on another c than it shows
            differs = differs if steps.start else np.zeros((shape[0], shape[2]))
            before_c, differs = handed_on(layer, samples, steps, n.differs["c"], differs)
            c = found["c"]
            more = (np.abs(step.f.value) + step.f.error) * before_c
            found["c"] = Bounded(
                c.value, np.where(np.isnan(c.value), c.error, c.error + more), layer.a
            )
        for i, name in enumerate(layer.recurrence.states):
            view = layer.cell if i else layer
            expected, bound = (
                part.reshape(shape) for part in (found[name].value, found[name].error)
            )
            expected, bound = masked(view, samples, steps, expected, bound)
            place: tuple[slice, ...] = (samples, steps)
            if shows_c:
                place, expected, bound = (slice(i, i + 1), *place), expected[None], bound[None]
            reach = Reach() if i else None
            yield Piece(place, expected, bound, samples_of.get(name, NOTHING), reach=reach)
