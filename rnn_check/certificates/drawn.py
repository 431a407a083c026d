"""Which dropout masks explain each update, of all that can have been drawn?

What is drawn cannot be seen from outside. But a small layer has few masks, one of its inputs (F,)
and one of its state (H,) for each sample, the same at all steps: 0 or 1/(1 - p), a power of two, so
that they round nothing. Of a layer with gates each gate may have masks of its own, which those are
among that are the same of all gates. Each update of a recorded training is derived with all of
them, from the weights and the optimizer's states that were recorded before it. Those with which it
is what was recorded are what may have been drawn. Where several are, they differ in the loss at
most, and of each epoch those are taken whose loss is nearest to what was reported. Of these it is
those that explain the updates best: a bound that others barely keep is a little smaller where the
update is derived with one mask alone.

A stateful layer's batch begins where the one before ended, which what was drawn there decides. So
each of these is followed on its own, as long as all that comes after it, losses too, may follow.

    B samples of a batch, H units, M masks of a batch, G gates, N updates
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from rnn_check.numbers.bounded import Bounded, exactly, joined
from rnn_check.numbers.formats import Arithmetic, Array
from rnn_check.recurrences import batches, training, updating
from rnn_check.recurrences.dropping import Dropped
from rnn_check.recurrences.network import Network
from rnn_check.recurrences.optimizers import Optimizer

MOST = 4096  # masks of a batch that are tried
PATHS = 64  # of a stateful layer, that are followed


class Rates(NamedTuple):
    """Of dropping inputs, and states: 0, 0.5, 0.75, ..."""

    of_input: float
    of_state: float


class Drawing(NamedTuple):
    """What a batch draws masks for."""

    rates: Rates
    samples: int
    features: int
    units: int
    gates: int

    @property
    def _sizes(self) -> Iterator[tuple[float, int]]:
        return zip(self.rates, (self.features, self.units), strict=True)

    @property
    def masks(self) -> int:
        """How many it may draw."""
        return int(2 ** (self.samples * self.gates * sum(n for rate, n in self._sizes if rate)))

    def all(self) -> Dropped:
        """Every one of them: (M,G,B,F) and (M,G,B,H)."""
        each = []
        for rate, size in self._sizes:
            shape = (self.gates, self.samples, size)
            values = (1 / (1 - rate), 0.0) if rate else (1.0,)
            drawn = itertools.product(values, repeat=math.prod(shape) if rate else 1)
            own = np.reshape([*drawn], (-1, *shape) if rate else (1, 1, 1, 1))
            each.append(np.broadcast_to(own, (len(own), *shape)))
        of_input, of_state = each
        M = len(of_input) * len(of_state)
        return Dropped(
            np.repeat(of_input, len(of_state), axis=0),
            np.resize(of_state, (M, *of_state.shape[1:])),
        )


class _Explained(NamedTuple):
    """Masks that explain an update, how far they are from it, and the batch's loss with them."""

    dropped: Dropped  # (1,G,B,...)
    worst: float  # of the largest bound's share; more than 1 if they do not
    loss: Bounded  # (1,1)


@dataclass(frozen=True)
class Recorded:
    """A training with dropout. weights: by name (N+1,...); states: of the optimizer, by state and
    name."""

    network: Network
    rates: Rates
    optimizer: Optimizer
    weights: Mapping[str, Array]
    states: Mapping[str, Mapping[str, Array]]
    a: Arithmetic

    @property
    def updates(self) -> int:
        return len(next(iter(self.weights.values()))) - 1

    def batch(self, update: int) -> slice:
        return self.network.batches[update % len(self.network.batches)]

    def before(self, update: int, times: int = 1) -> dict[str, Bounded]:
        """The weights before an update, so many times."""
        return self.repeated(self.weights, update, times)

    def drawing(self, update: int) -> Drawing:
        batch, network = self.batch(update), self.network
        frozen = {name: value for name, (value, _) in network.frozen.items()}
        units = {**self.weights, **frozen}["recurrent_kernel"].shape[-2]
        return Drawing(self.rates, batch.stop - batch.start, network.features, units, network.gates)

    def repeated(self, part: Mapping[str, Array], at: int, times: int) -> dict[str, Bounded]:
        each = {name: np.asarray(rows[at], np.float64) for name, rows in part.items()}
        return {n: exactly(np.broadcast_to(w, (times, *w.shape)), self.a) for n, w in each.items()}


def explained(recorded: Recorded, reported: Array) -> list[Dropped] | None:
    """Of each update the masks (1,G,B,...) that explain it best.

    None if more of them explain the updates of an epoch than are tried, and none of those tried its
    loss. reported: each epoch's loss (E,).
    """
    network = recorded.network
    if network.stateful:
        return _followed(recorded, reported)
    K = len(network.batches)
    found = [_explaining(recorded, update) for update in range(recorded.updates)]
    chosen: list[Dropped] = []
    for epoch, loss in enumerate(reported):
        off = functools.partial(_from_reported, network, float(loss))
        of_batches = [_of_other_losses(each) for each in found[epoch * K : (epoch + 1) * K]]
        best = min(_together(of_batches), key=lambda epoch: (off(epoch), _worst(epoch)))
        if math.prod(map(len, of_batches)) > MOST and off(best):
            return None
        chosen.extend(each.dropped for each in best)
    return chosen


class _Path(NamedTuple):
    """What may have been drawn so far, how far that is at most from what was recorded, and in which
    states (1,B,H) it ends; of this epoch the updates."""

    drawn: tuple[Dropped, ...]
    worst: float
    of_epoch: tuple[_Explained, ...]
    ends: training.States | None

    @property
    def state(self) -> tuple[bytes, ...]:
        """What of it matters for what follows."""
        ends = () if self.ends is None else self.ends
        return (
            *(b.value.tobytes() for b in ends),
            *(each.loss.value.tobytes() for each in self.of_epoch),
        )


def _followed(recorded: Recorded, reported: Array) -> list[Dropped] | None:
    """The same of a stateful layer; None if more may have been drawn than are followed."""
    network, K = recorded.network, len(recorded.network.batches)
    paths = [_Path((), 0.0, (), None)]
    for update in range(recorded.updates):
        begins_anew, batch = network.begins_anew(update), recorded.batch(update)
        further: list[tuple[float, _Path]] = []
        for path in paths:
            start = None if begins_anew else path.ends
            for each in _explaining(recorded, update, start):
                ends = training.ends(network, recorded.before(update), batch, start, each.dropped)
                drawn, worst = (*path.drawn, each.dropped), max(path.worst, each.worst)
                further.append((each.worst, _Path(drawn, worst, (*path.of_epoch, each), ends)))
        paths = _nearest(further, 1.0)
        if (update + 1) % K == 0:
            loss = float(reported[update // K])
            off = [(_from_reported(network, loss, path.of_epoch), path) for path in paths]
            paths = _nearest([(far, path._replace(of_epoch=())) for far, path in off], 0.0)
        if len(paths) > PATHS:
            return None
    return [*min(paths, key=lambda path: path.worst).drawn]


def _nearest(paths: list[tuple[float, _Path]], enough: float) -> list[_Path]:
    """Those that are near enough, of one state the best; or the one that is nearest."""
    best_last = sorted(paths, key=lambda pair: pair[1].worst, reverse=True)
    near = {path.state: path for far, path in best_last if far <= enough}
    return [*near.values()] or [min(paths, key=lambda pair: pair[0])[1]]


def _together(of_batches: list[list[_Explained]]) -> Iterator[tuple[_Explained, ...]]:
    """One for each batch of an epoch, as many ways as are tried."""
    return itertools.islice(itertools.product(*of_batches), MOST)


def _of_other_losses(each: list[_Explained]) -> list[_Explained]:
    """Of one loss the best."""
    best_last = sorted(each, key=lambda one: one.worst, reverse=True)
    return [*{float(one.loss.value[0, 0]): one for one in best_last}.values()]


def _worst(epoch: tuple[_Explained, ...]) -> float:
    return max(each.worst for each in epoch)


def _from_reported(network: Network, reported: float, epoch: tuple[_Explained, ...]) -> float:
    """How far this epoch's loss is from what was reported, beyond its bound."""
    loss = batches.loss_of_epochs(network, joined([each.loss for each in epoch]))
    return float(np.maximum(np.abs(loss.value - reported) - loss.error, 0.0)[0, 0])


def _explaining(
    recorded: Recorded, update: int, start: training.States | None = None
) -> list[_Explained]:
    """Those within all bounds; or the one that is nearest. start: as `training.gradients`."""
    network, batch = recorded.network, recorded.batch(update)
    every = recorded.drawing(update).all()
    M = len(every.of_input)
    begun = None
    if start is not None:
        begun = tuple(b.each(lambda part: np.repeat(part, M, axis=0)) for b in start)
    before = recorded.before(update, M)
    of_weights, loss = training.gradients(network, before, batch, every, begun)
    old, new = (
        {name: recorded.repeated(part, at, M) for name, part in recorded.states.items()}
        for at in (update, update + 1)
    )
    after = updating.updated(
        recorded.optimizer, before, old, of_weights, np.full(M, update), new, network.constraints
    )
    worst = np.zeros(M)
    for name, part in recorded.before(update + 1, M).items():
        pairs = [(part, after.weights[name])]
        pairs += [(new[state][name], moved[name]) for state, moved in after.states.items()]
        for seen, wanted in pairs:
            off = np.abs(seen.value - wanted.value) / np.where(
                wanted.error > 0, wanted.error, np.finfo(np.float64).tiny
            )
            off = np.where(np.isinf(wanted.error), 0.0, off)
            worst = np.maximum(worst, off.reshape(M, -1).max(axis=1, initial=0.0))
    rows = np.flatnonzero(worst <= 1) if (worst <= 1).any() else [int(worst.argmin())]
    return [
        _Explained(every.part(one), float(worst[one.start]), loss.at(one))
        for one in (slice(row, row + 1) for row in rows)
    ]
