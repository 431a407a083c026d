"""Does each step of a gated recurrence follow from the one before?

A step is read as bounded numbers from the states that were observed (see `numbers.reading`): its
sums of products with the bounds of `sums`, and what the gates make of them with theirs. That takes
nothing but the definition, of whatever recurrence, all of whose states are seen: of an LSTM c_t is
asked from c_{t-1} and h_{t-1}, and h_t from that c_t. Where its cell states are hidden, see
`observer`. What is asked of some recurrences in float32 first is in `_SCREENS`, how their sums were
made in `gated_samples`.

    B batch, T timesteps, F features, H units, G gates        R rows: samples × steps
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import groupby

import numpy as np

from rnn_check.certificates.factors import some_of
from rnn_check.certificates.gated_layer import GatedLayer, handed_on, masked
from rnn_check.certificates.gated_samples import Value, Values, are_asked, samples_of_gates
from rnn_check.certificates.gated_screen import GruScreen, Suspects
from rnn_check.certificates.lstm_screen import LstmScreen
from rnn_check.certificates.observer import Observer
from rnn_check.certificates.pieces import Piece, Reach, _Worst
from rnn_check.certificates.precision import ENOUGH, NOTHING
from rnn_check.certificates.result import Certificate, NotSeen, judge
from rnn_check.certificates.seen_screen import SeenScreen
from rnn_check.numbers.bounded import Bounded, exactly
from rnn_check.numbers.formats import Array
from rnn_check.recurrences.kinds import GRU, GRU_BEFORE, LSTM, Recurrence

_SCREENS: dict[Recurrence, type[GruScreen] | type[SeenScreen]] = {
    LSTM: SeenScreen, GRU: GruScreen, GRU_BEFORE: GruScreen,
}  # fmt: skip


def certified(layer: GatedLayer) -> Certificate:
    """The states of this layer, and its cell states where they were given."""
    r = layer.recurrence
    seen = layer.h
    if layer.c is not None:
        seen = np.stack([layer.h, layer.c])
    elif layer.last_c is not None:
        dtype = np.result_type(layer.h, layer.last_c)
        others = np.full((layer.h.shape[0], layer.h.shape[1] - 1, layer.h.shape[2]), np.nan, dtype)
        c = np.concatenate([others, layer.last_c[:, None]], axis=1)
        seen = np.stack([layer.h.astype(dtype), c])
    if layer.has_cell and layer.c is None:
        if r is not LSTM:
            raise NotSeen(
                f"cell_states should be given, {r.states[1]} after every step: of {r.name!r} they "
                "are not known by the states alone"
            )
        note = (
            "; how its sums were made is not seen where cell_states are not, nor c where act is "
            "saturated"
        )
        return judge(layer.a, seen, lambda worst: _hidden(layer, worst), layer.reach(), note)
    note = "" if are_asked(r) else "; how its sums were made is not asked"
    return judge(layer.a, seen, lambda worst: _pieces(layer, worst), layer.reach(), note)


def _hidden(layer: GatedLayer, worst: _Worst) -> Iterator[Piece]:
    """Of an LSTM h alone is seen: by samples what the screen settles, and the other units."""
    whole = worst.exact or worst.ratio == -math.inf
    screen = None if whole else LstmScreen.of(layer)
    found = [] if screen is None else list(screen.settled())
    B, T, H = layer.h.shape
    units = [one for each in found for one in each.units]
    if not found or 2 * sum(one is not None for one in units) < B:
        yield from Observer(layer).pieces(worst)
        return
    none, ends = np.empty(0), np.concatenate([each.ends for each in found])
    open_of = [one is None or len(one) > 0 for one in units]
    for is_open, those in groupby(range(B), open_of.__getitem__):
        which = list(those)
        if not is_open:
            place = slice(which[0], which[-1] + 1)
            only, size = none.astype(np.intp), len(which) * T * H
            yield Piece((place,), none, none, only=only, settles=size, ends=int(ends[which].sum()))
            continue
        for i in which:
            some, of = layer.of_samples(slice(i, i + 1)), units[i]
            for piece in Observer(some if of is None else some.of_units(of)).pieces(worst):
                piece = piece._replace(place=(slice(i, i + 1), piece.place[1]))
                yield piece if of is None else _among(piece, of, H)


def _among(piece: Piece, units: Array, H: int) -> Piece:
    """A piece of these units alone, of a place whose other units are settled."""
    assert piece.says is not None
    n, m, _ = piece.expected.shape
    only = np.arange(n * m)[:, None] * H + units
    expected, bound, says = (part.reshape(-1) for part in (piece.expected, piece.bound, piece.says))
    return piece._replace(
        expected=expected, bound=bound, says=says, only=only.reshape(-1), settles=n * m * H
    )


def _pieces(layer: GatedLayer, worst: _Worst) -> Iterator[Piece]:
    """All states are seen."""
    r, shows_c = layer.recurrence, layer.c is not None
    differs = np.zeros((0, 0))
    screen: GruScreen | SeenScreen | None = None
    whole = worst.exact or worst.ratio == -math.inf
    few = layer.h.size * (1 + shows_c) < ENOUGH
    sampled = whole or few or not are_asked(r)  # nobody asks how sums were made
    if not whole and r in _SCREENS:
        screen = _SCREENS[r].of(layer)
        everywhere = None if screen is None else _sampled_everywhere(layer)
        if everywhere is None:
            screen = None
        else:  # how sums were made; the screen judges all of them
            sampled = True
            yield everywhere
    for samples, steps in layer.blocks():
        suspects = None if screen is None else screen.suspects(samples, steps)
        if suspects is not None:
            yield from _settled(layer, samples, steps, suspects)
            continue
        screen = None  # what such a step hands on, the next receives
        shape, observed, before = layer.h[samples, steps].shape, *_seen(layer, samples, steps)
        n, step = layer.step(samples, steps, layer.observed(samples, steps), *before)
        samples_of = (
            {} if sampled else samples_of_gates(layer, samples, steps, observed, before, n, step)
        )
        found = dict(zip(r.states, step, strict=False)) | n.expected
        if shows_c and r is LSTM:  # the step before may have handed on another c than it shows
            differs = differs if steps.start else np.zeros((shape[0], shape[2]))
            before_c, differs = handed_on(layer, samples, steps, n.differs["c"], differs)
            found["c"] = _handed(found["c"], step.f, before_c)
        for i, (name, view) in enumerate(layer.shown.items()):
            expected, bound = (
                part.reshape(shape) for part in (found[name].value, found[name].error)
            )
            expected, bound = masked(view, samples, steps, expected, bound)
            place: tuple[slice, ...] = (samples, steps)
            if shows_c:
                place, expected, bound = (slice(i, i + 1), *place), expected[None], bound[None]
            reach = Reach() if i else None
            yield Piece(place, expected, bound, samples_of.get(name, NOTHING), reach=reach)


def _seen(
    layer: GatedLayer, samples: slice, steps: slice
) -> tuple[dict[str, Array], tuple[Bounded, ...]]:
    """What is seen of the states of a block (R,H), and before it of those that are not h."""
    H, (_, *others) = layer.h.shape[2], layer.shown.items()
    h = layer.h[samples, steps].reshape(-1, H).astype(np.float64)
    only = layer.recurrence is LSTM  # by what c may differ, c alone may differ then: see `_handed`
    before = (
        exactly(of.before(samples, steps), layer.a) if only else layer.handed(samples, steps, name)
        for name, of in others
    )  # fmt: skip
    return {"h": h, **layer.observed(samples, steps)}, tuple(before)


def _handed(c: Bounded, f: Bounded, differs: Array) -> Bounded:
    """c, if the one before it may differ by so much from the one that is shown."""
    more = np.where(differs == 0, 0.0, (np.abs(f.value) + f.error) * differs)
    more[np.isnan(more)] = np.inf
    return Bounded(c.value, np.where(np.isnan(c.value), c.error, c.error + more), c.a)


def _sampled_everywhere(layer: GatedLayer) -> Piece | None:
    """A sample of all sums at once; None if its rows do not hold all operands, as blocks do."""
    (B, T, _), rows = layer.h.shape, layer.sample.rows
    which = np.arange(B * T) if rows is None else rows
    if not (layer.rows(which)[some_of(len(which))] != 0).any(axis=0).all():
        return None
    alone, at = layer.alone_at(which, handed=False), (slice(0, len(which)), slice(0, 1))
    observed, before = _seen(alone, *at)
    n = Values(alone, observed)
    states = Value(alone.h0), *(Value(b.value) for b in before)
    step = layer.recurrence.step(n, layer.weights, Value(alone.x[:, 0]), *states)
    samples = samples_of_gates(alone, *at, observed, before, n, step)
    none = np.empty(0)
    sample = sum(samples.values(), start=NOTHING)
    return Piece((), none, none, sample, none.astype(np.intp), 0)


def _settled(layer: GatedLayer, samples: slice, steps: slice, found: Suspects) -> Iterator[Piece]:
    """A block of which no others than these can be beyond their bound."""
    (_, T, H), place = layer.h.shape, (samples, steps)
    size, empty = layer.h[place].size, np.empty(0)
    several = {"h": found.at} if found.at_c is None else {"h": found.at, "c": found.at_c}
    rows = np.unique(np.concatenate(list(several.values())) // H)
    made: dict[str, Bounded] = {}
    if len(rows):
        alone = layer.alone_at(samples.start * T + steps.start + rows)
        every = slice(0, len(rows)), slice(0, 1)
        _, before = _seen(alone, *every)
        n, step = alone.step(*every, alone.observed(*every), *before)
        made = {"h": step.h} | n.expected
        if layer.c is not None:
            made["c"] = _handed(n.expected["c"], step.f, alone.differs["c"][:, 0])
    for i, (name, at) in enumerate(several.items()):
        which = np.searchsorted(rows, at // H), at % H
        expected, bound = (
            (made[name].value[which], made[name].error[which]) if len(at) else (empty, empty)
        )
        piece = Piece(place, expected, bound, NOTHING, at, size, ends=found.ends)
        if layer.c is not None:
            piece = piece._replace(place=(slice(i, i + 1), *place))
        if name == "c":
            piece = piece._replace(
                ends=0, reach=Reach(), rest=found.rest, maybe=max(0, found.maybe - len(at))
            )
        yield piece
