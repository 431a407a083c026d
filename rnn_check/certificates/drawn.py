"""Which dropout masks explain each update, of all that can have been drawn?

What is drawn cannot be seen from outside. But a small layer has few masks, one of its inputs (F,)
and one of its state (H,) for each sample, the same at all steps: 0 or 1/(1 - p), a power of two, so
that they round nothing. Of a layer with gates each gate may have masks of its own, which those are
among that are the same of all gates. Each update of a recorded training is derived with all of
them, from the weights and the optimizer's states that were recorded before it. Those with which it
is what was recorded are what may have been drawn. Where several are, they differ in the loss at
most, and of each epoch those are taken whose loss is nearest to what was reported.

    B samples of a batch, M masks of a batch, G gates, N updates
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np

from rnn_check.numbers.bounded import Bounded, exactly
from rnn_check.numbers.formats import Arithmetic, Array
from rnn_check.recurrences import batches, training, updating
from rnn_check.recurrences.dropping import Dropped
from rnn_check.recurrences.network import Network
from rnn_check.recurrences.optimizers import Optimizer

MOST = 4096  # masks of a batch that are tried


class Rates(NamedTuple):
    """Of dropping inputs, and states: 0, 0.5, 0.75, ..."""

    of_input: float
    of_state: float


def masks(rates: Rates, samples: int, features: int, units: int, gates: int) -> int:
    """How many a batch may have drawn."""
    sizes = zip(rates, (features, units), strict=True)
    return int(2 ** (samples * gates * sum(size for rate, size in sizes if rate)))


def all_of(rates: Rates, samples: int, features: int, units: int, gates: int) -> Dropped:
    """Every one of them: (M,G,B,F) and (M,G,B,H)."""
    each = []
    for rate, size in zip(rates, (features, units), strict=True):
        values = (1 / (1 - rate), 0.0) if rate else (1.0,)
        drawn = itertools.product(values, repeat=gates * samples * size if rate else 1)
        own = np.reshape([*drawn], (-1, gates, samples, size) if rate else (1, 1, 1, 1))
        each.append(np.broadcast_to(own, (len(own), gates, samples, size)))
    of_input, of_state = each
    M = len(of_input) * len(of_state)
    return Dropped(
        np.repeat(of_input, len(of_state), axis=0), np.resize(of_state, (M, *of_state.shape[1:]))
    )


class _Explained(NamedTuple):
    """Masks that explain an update, and the batch's loss with them."""

    dropped: Dropped  # (1,G,B,...)
    loss: Bounded  # (1,1)


def explained(
    network: Network,
    rates: Rates,
    optimizer: Optimizer,
    weights: Mapping[str, Array],
    states: Mapping[str, Mapping[str, Array]],
    reported: Array,
    a: Arithmetic,
) -> list[Dropped] | None:
    """Of each update the masks (1,G,B,...) that explain it best.

    None if more of them explain the updates of an epoch than are tried, and none of those tried its
    loss. weights: by name (N+1,...), states: of the optimizer, by state and name, as they were
    recorded; reported: each epoch's loss (E,).
    """
    first = next(iter(weights.values()))
    K, found = len(network.batches), list[list[_Explained]]()
    for update in range(len(first) - 1):
        found.append(_explaining(network, rates, optimizer, weights, states, update, a))
    chosen: list[Dropped] = []
    for epoch, loss in enumerate(reported):
        off = functools.partial(_from_reported, network, float(loss))
        of_batches = found[epoch * K : (epoch + 1) * K]
        best = min(_together(of_batches), key=off)
        if math.prod(map(len, of_batches)) > MOST and off(best):
            return None
        chosen.extend(each.dropped for each in best)
    return chosen


def _together(of_batches: list[list[_Explained]]) -> Iterator[tuple[_Explained, ...]]:
    """One for each batch of an epoch, as many ways as are tried."""
    return itertools.islice(itertools.product(*of_batches), MOST)


def _from_reported(network: Network, reported: float, epoch: tuple[_Explained, ...]) -> float:
    """How far this epoch's loss is from what was reported, beyond its bound."""
    value, error = (np.concatenate([getattr(e.loss, p) for e in epoch]) for p in ("value", "error"))
    loss = batches.loss_of_epochs(network, Bounded(value, error, epoch[0].loss.a))
    return float(np.maximum(np.abs(loss.value - reported) - loss.error, 0.0)[0, 0])


def _explaining(
    network: Network,
    rates: Rates,
    optimizer: Optimizer,
    weights: Mapping[str, Array],
    states: Mapping[str, Mapping[str, Array]],
    update: int,
    a: Arithmetic,
) -> list[_Explained]:
    """Those within all bounds, of one loss once; or the one that is nearest."""
    batch = network.batches[update % len(network.batches)]
    units = {**weights, **{n: v for n, (v, _) in network.frozen.items()}}["recurrent_kernel"]
    samples, H = batch.stop - batch.start, units.shape[-2]
    every = all_of(rates, samples, network.features, H, network.gates)
    M = len(every.of_input)

    def repeated(recorded: Mapping[str, Array], at: int) -> dict[str, Bounded]:
        each = {name: np.asarray(part[at], np.float64) for name, part in recorded.items()}
        return {n: exactly(np.broadcast_to(w, (M, *w.shape)), a) for n, w in each.items()}

    before = repeated(weights, update)
    of_weights, loss = training.gradients(network, before, batch, every)
    old, new = (
        {name: repeated(part, at) for name, part in states.items()} for at in (update, update + 1)
    )
    after = updating.updated(
        optimizer, before, old, of_weights, np.full(M, update), new, network.constraints
    )
    worst = np.zeros(M)
    for name, part in repeated(weights, update + 1).items():
        pairs = [(part, after.weights[name])]
        pairs += [(new[state][name], moved[name]) for state, moved in after.states.items()]
        for recorded, wanted in pairs:
            off = np.abs(recorded.value - wanted.value) / np.where(
                wanted.error > 0, wanted.error, np.finfo(np.float64).tiny
            )
            off = np.where(np.isinf(wanted.error), 0.0, off)
            worst = np.maximum(worst, off.reshape(M, -1).max(axis=1, initial=0.0))
    rows = np.flatnonzero(worst <= 1) if (worst <= 1).any() else [int(worst.argmin())]
    alike = {float(loss.value[row, 0]): row for row in rows}
    return [
        _Explained(
            every.part(slice(row, row + 1)),
            Bounded(loss.value[row : row + 1], loss.error[row : row + 1], loss.a),
        )
        for row in alike.values()
    ]
