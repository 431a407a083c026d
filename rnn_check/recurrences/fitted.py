"""Where does a whole training end, and what is reported of it?

Update by update, the errors of one carried into the next: see `training`, whose sizes and names
these are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from rnn_check.numbers.bounded import Bounded, _given, exactly, joined, stacked
from rnn_check.numbers.formats import arithmetic
from rnn_check.recurrences import batches, reported, training, updating
from rnn_check.recurrences.network import Network
from rnn_check.recurrences.optimizers import Optimizer
from rnn_check.recurrences.training import Sets, States

Reports = dict[str, Bounded]  # by name


class Trained(NamedTuple):
    """Where a training ends: values and bounds, which are infinite where nothing can be said.

    of_batches (N,), of_epochs (E,): what is reported, loss and metrics; and "val_loss" and its like
    on the same samples after each epoch, where these weigh as in `validated`. A stateful layer
    begins them where the epoch ended, and the next epoch where they do.
    """

    weights: dict[str, Bounded]
    loss: Bounded  # (E,) of each epoch
    of_batches: Reports
    of_epochs: Reports


def trained(
    network: Network,
    optimizer: Optimizer,
    weights: Mapping[str, Bounded],
    epochs: int,
    dtype: Any = "float32",
    validated: Network | None = None,
    reports: bool = False,
) -> Trained:
    """What the weights become, and the loss of each epoch; how far an arithmetic may be off.

    weights: by name (see WEIGHTS), each with its error. The errors of an update are carried into
    the next: of many updates nothing may be left to say; then the bounds are infinite, and the
    values those of the last update of which something was. reports: whether what is reported is
    said. validated: if given, what it is validated on after each epoch.
    Raises ValueError for unknown arithmetics and activations.
    """
    a = arithmetic(dtype)
    with np.errstate(all="ignore"):
        w = {
            name: _given(np.asarray(value)[None], np.asarray(error)[None], a, True)
            for name, (value, error) in weights.items()
        }
        w = {name: Bounded(b.value, b.error, a) for name, b in w.items()}
        zero = {name: exactly(np.zeros_like(b.value), a) for name, b in w.items()}
        states: dict[str, dict[str, Bounded]] = dict.fromkeys(updating.carried(optimizer), zero)
        losses: list[Bounded] = []
        start: States | None = None
        seen = _Reported(network, validated, network.mixed or a.name) if reports else None
        for update in range(epochs * len(network.batches)):
            if all(np.isinf(b.error).all() for b in w.values()):
                losses.append(Bounded(np.zeros((1, 1)), np.full((1, 1), np.inf), a))
                if seen is not None:
                    seen.batch(w, losses[-1], update, start)
                    start = seen.ended(w, update, start)
                continue
            batch = network.batches[update % len(network.batches)]
            start = None if network.begins_anew(update) else start
            g, loss = training.gradients(network, w, batch, start=start)
            losses.append(loss)
            if seen is not None:
                seen.batch(w, loss, update, start)
            start = training.ends(network, w, batch, start) if network.stateful else None
            after = updating.updated(
                optimizer, w, states, g, np.array([update]), constraints=network.constraints
            )
            w = {name: _known(b) for name, b in after.weights.items()}
            states = {
                state: {name: _known(b) for name, b in part.items()}
                for state, part in after.states.items()
            }
            start = start if seen is None else seen.ended(w, update, start)
        w = {"weights": w, **states}[updating.ends_with(optimizer)]
        w = {**w, **training.frozen(network, 1, a)}
        loss = batches.loss_of_epochs(network, _known(joined(losses)))
    return Trained(
        {name: b.at(0) for name, b in w.items()},
        loss.each(lambda part: part[:, 0]),
        _stacked([] if seen is None else seen.of_batches),
        _stacked([] if seen is None else seen.of_epochs),
    )


class _Reported:
    """What is reported while it is trained: of each batch, of each epoch, and what follows it."""

    def __init__(self, network: Network, validated: Network | None, computed_in: str) -> None:
        self.network, self.validated, self.computed_in = network, validated, computed_in
        self.losses: list[Bounded] = []
        self.outputs: list[Bounded] = []
        self.of_batches: list[Mapping[str, Bounded]] = []
        self.of_epochs: list[Mapping[str, Bounded]] = []

    def _of(self, network: Network, out: Bounded, loss: Bounded, part: slice) -> dict[str, Bounded]:
        mask, weight = network.mask if network.is_sequence else None, network.sample_weight
        if weight is None and self.network.sample_weight is not None:  # validated without classes
            weight = np.ones(len(network.target))
        found = reported.reported(
            network.target[part], out.value, out.error, batches=[],
            weight=None if weight is None else weight[part],
            mask=None if mask is None else mask[part], computed_in=self.computed_in,
        )  # fmt: skip
        return {**found, "loss": loss.at(0).at(0)}  # with what is penalized

    def batch(self, w: Sets, loss: Bounded, update: int, start: States | None) -> None:
        taken = self.network.batches
        part = taken[update % len(taken)]
        self.losses.append(loss)
        self.outputs.append(training.outputs(self.network, w, part, start))
        self.of_batches.append(self._of(self.network, self.outputs[-1], loss, part))

    def ended(self, w: Sets, update: int, start: States | None) -> States | None:
        """At the end of an epoch: in which states the next one begins."""
        if self.validated is None or (update + 1) % (K := len(self.network.batches)):
            return start
        loss = batches.loss_of_epochs(self.network, _known(joined(self.losses[-K:])))
        of_epoch = self._of(self.network, joined(self.outputs[-K:]), loss, slice(None))
        other, after, shown = self.validated, list[Bounded](), list[Bounded]()
        for part in other.batches:
            after.append(training.gradients(other, w, part, start=start)[1])
            shown.append(training.outputs(other, w, part, start))
            start = training.ends(other, w, part, start) if other.stateful else None
        loss = batches.loss_of_epochs(other, _known(joined(after)))
        of_it = self._of(other, joined(shown), loss, slice(None))
        self.of_epochs.append({**of_epoch, **{f"val_{name}": n for name, n in of_it.items()}})
        return start


def _stacked(each: list[Mapping[str, Bounded]]) -> Reports:
    names = each[0] if each else ()
    return {name: stacked([report[name] for report in each]) for name in names}


def _known(b: Bounded) -> Bounded:
    """Nothing is known where the reference, or its bound, overflows."""
    known = np.isfinite(b.value)
    error = np.where(known & np.isfinite(b.error), b.error, np.inf)
    return Bounded(np.where(known, b.value, 0.0), error, b.a)
