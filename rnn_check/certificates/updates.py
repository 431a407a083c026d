"""Does each update follow from the one before?

Two trainings from the same weights drift apart by rounding, so their ends say little. But weights
and optimizer can be read after every batch of a real `model.fit`, and each update asked alone:
given the weights, the optimizer's states and the count that you had, are these the next ones? What
they should be is in `recurrences.optimizers`. The gradient comes from the float64 reference with a
running error bound (`recurrences.training`), since no states of the layer are recorded; what
follows from the optimizer's new states follows from those recorded. Nothing propagates from update
to update.

Within an update rounding does propagate, from step to step. Where the weights amplify it so far
that the bound of a gradient is larger than the gradient, and could move a weight by more than a
hundredth of a usual step, the update is not judged, and that is said. To run the model again
for its states would not help: that is another execution, whose roundings the same weights amplify
as far.

Where no seed was published, only the distribution of outcomes can be asked: `outcomes` trains many
random output layers, and `place` says where a printed number stands among them.

    N updates, E epochs, P parameters; the network's sizes are those of `recurrences.training`
"""

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from rnn_check.certificates.drawn import Rates, Recorded, explained
from rnn_check.certificates.updates_result import Certificate, conclude, quantity
from rnn_check.numbers.arrays import claimed, numbers
from rnn_check.numbers.bounded import Bounded, exactly, joined
from rnn_check.numbers.formats import ARITHMETICS, Arithmetic, Array, rounded
from rnn_check.recurrences import batches, training, updating
from rnn_check.recurrences.dropping import Dropped
from rnn_check.recurrences.network import WEIGHTS, Network
from rnn_check.recurrences.optimizers import Optimizer


def certify_training(
    weights: Mapping[str, Array],
    states: Mapping[str, Mapping[str, Array]],
    *,
    network: Network,
    optimizer: Optimizer,
    iterations: Array,
    loss: Array,
    start: Mapping[str, Array] | None = None,
    dtype: Any = "float32",
    rates: Rates | None = None,
) -> Certificate:
    """Is every recorded update the optimizer's next step, up to the rounding of that one step?

    weights: by name (those of WEIGHTS that the network has), arrays (N+1,...), the first as it was
    before the first update and one after each; states: each that is `carried` by its name, of
    each weight in the same way; iterations (N+1,); loss (E,), as `fit` reports it of epochs. start:
    the weights from which it was to start, rounded to the arithmetic as the framework does it (the
    recorded ones if not given). dtype: "float32" or "float64", in which weights and states are
    kept, whatever the network's layers compute in. rates: of dropout, where there is any: an update
    follows if it does with masks that can have been drawn, see `drawn`.

    States start at 0. What is recorded must be finite, unless its bound is not.
    Raises ValueError for unknown arithmetics and activations, and for shapes that do not fit.
    """
    a = claimed(dtype, np.zeros(0))
    if a.u_sum != a.u_stored or a.name not in ARITHMETICS:
        raise ValueError(f"training is certified in float32 and float64, not in {dtype}")
    carried = updating.carried(optimizer)
    if missing := [name for name in carried if name not in states]:
        raise ValueError(f"nothing was recorded of the optimizer's {missing[0]}")
    weights = {name: numbers(name, array) for name, array in weights.items()}
    recorded = {
        state: {name: numbers(name, array) for name, array in states[state].items()}
        for state in carried
    }
    network = replace(network, x=numbers("x", network.x), target=numbers("target", network.target))
    names = tuple(name for name in WEIGHTS if name in weights)
    shapes = _shapes(network, names, weights)
    elements = tuple(f"{name}{list(index)}" for name in names for index in np.ndindex(shapes[name]))
    w = _rows(weights, names, shapes)  # (N+1,P)
    s = {state: _rows(part, names, shapes) for state, part in recorded.items()}
    N, K = len(w) - 1, max(1, len(network.batches))
    counted = numbers("iterations", iterations).astype(np.float64).reshape(-1, 1)
    losses = numbers("loss", loss).astype(np.float64).reshape(-1, 1)
    rows = {state: len(part) for state, part in s.items()} | {"iterations": len(counted)}
    for name, length in {**rows, "loss": K * len(losses) + 1}.items():
        if length != N + 1:
            raise ValueError(f"{name} does not speak of the {N} updates that the weights show")
    if why := _nothing(network, shapes, N):
        return Certificate(
            None, 0.0, (0, "", ""), N, 0.0, 0, {}, f"there is nothing to judge: {why}"
        )
    with np.errstate(all="ignore"):
        before = {name: np.asarray(weights[name], np.float64)[:-1] for name in names}
        dropped = None
        if rates is not None:
            dropped = explained(
                Recorded(network, rates, optimizer, weights, recorded, a), losses[:, 0]
            )
            if dropped is None:
                why = "too many masks explain the updates to look at all for what the loss may be"
                return Certificate(None, 0.0, (0, "", ""), N, 0.0, 0, {}, why)
        of_weights, of_loss = _gradients(network, before, a, dropped)
        rows_of = functools.partial(_each_row, recorded, a)
        after = updating.updated(
            optimizer,
            {name: exactly(w, a) for name, w in before.items()},
            rows_of(slice(None, -1)),
            of_weights,
            np.arange(N),
            rows_of(slice(1, None)),
            network.constraints,
        )
        blind = _hidden(network, optimizer, after.gradients, of_loss, recorded)
        begin = w[:1]
        if start is not None:
            given = {name: numbers(f"start {name}", start[name])[None] for name in names}
            begin = rounded(_rows(given, names, shapes), a)
        t = updating.iterations(optimizer, np.arange(1.0, N + 1)[:, None])
        nothing, zero = np.zeros_like(begin), np.zeros((1, 1))
        losses = np.concatenate([zero, losses])
        found = [
            *(
                quantity(state, elements, s[state], nothing, _side_by_side(moved))
                for state, moved in after.states.items()
                if state != "average"  # which follows from the weights
            ),
            quantity("weights", elements, w, begin, _side_by_side(after.weights)),
            *(
                quantity(state, elements, s[state], nothing, _side_by_side(moved))
                for state, moved in after.states.items()
                if state == "average"
            ),
            quantity("loss", ("the epoch",), losses, zero, of_loss, K),
            quantity("iterations", ("the optimizer",), counted, zero, exactly(t, a)),
        ]
    concluded = conclude(found, N, blind)
    out = _left_out(network, of_weights, counted)
    if concluded.ok is not False or out is None or concluded.where[0] < out:
        return concluded
    why = f"step {out} was left out, as where a gradient that is scaled overflows"
    return Certificate(None, 0.0, (0, "", ""), N, 0.0, 0, {}, why)


def _left_out(network: Network, of_weights: Mapping[str, Bounded], counted: Array) -> int | None:
    """The first update that was not counted, if that may be because it overflows."""
    (skipped,) = np.nonzero(np.diff(counted[:, 0]) < 1)
    if network.scale == 1 or not skipped.size:
        return None
    first = int(skipped[0])
    overflows = any(np.isinf(g.error[first]).any() for g in of_weights.values())
    return first + 1 if overflows else None


def _gradients(
    network: Network,
    before: Mapping[str, Array],
    a: Arithmetic,
    dropped: Sequence[Dropped] | None = None,
) -> tuple[dict[str, Bounded], Bounded]:
    """Of each update at the weights (N,...) before it, by its own batch; and each epoch's loss.

    dropped: by each update, (1,B,...).
    """
    taken = network.batches
    N, K = len(next(iter(before.values()))), len(taken)
    if network.stateful:
        return _one_after_another(network, before, a, dropped)

    def drawn(at: int) -> Dropped | None:
        if dropped is None:
            return None
        of_input, of_state = zip(*dropped[at::K], strict=True)
        return Dropped(np.concatenate(of_input), np.concatenate(of_state))

    each = [
        training.gradients(
            network, {name: exactly(w[at::K], a) for name, w in before.items()}, batch, drawn(at)
        )
        for at, batch in enumerate(taken[:N])
    ]

    def in_turn(parts: list[Bounded]) -> Bounded:
        """Those of updates 0, K, 2K, ..., of updates 1, K+1, ..., in the order of the updates."""
        value, error = np.empty((2, N, *parts[0].value.shape[1:]))
        for at, part in enumerate(parts):
            value[at::K], error[at::K] = part.value, part.error
        return Bounded(value, error, a)  # whose size is taken when it is made

    loss = batches.loss_of_epochs(network, in_turn([loss for _, loss in each]))
    return {name: in_turn([g[name] for g, _ in each]) for name in before}, loss


def _one_after_another(
    network: Network,
    before: Mapping[str, Array],
    a: Arithmetic,
    dropped: Sequence[Dropped] | None,
) -> tuple[dict[str, Bounded], Bounded]:
    """The same, each batch from the states in which the one before ended."""
    start: training.States | None = None
    each = []
    for update in range(len(next(iter(before.values())))):
        batch = network.batches[update % len(network.batches)]
        start = None if network.begins_anew(update) else start
        weights = {name: exactly(w[update : update + 1], a) for name, w in before.items()}
        drawn = None if dropped is None else dropped[update]
        each.append(training.gradients(network, weights, batch, drawn, start))
        start = training.ends(network, weights, batch, start, drawn)

    loss = batches.loss_of_epochs(network, joined([loss for _, loss in each]))
    return {name: joined([g[name] for g, _ in each]) for name in before}, loss


_FELT = 0.01  # of a usual step


def _hidden(
    network: Network,
    optimizer: Optimizer,
    of_weights: Mapping[str, Bounded],
    of_loss: Bounded,
    recorded: Mapping[str, Mapping[str, Array]],
) -> dict[str, Array]:
    """(N,) by what it is: of which updates rounding may hide it where that matters."""
    N = len(next(iter(of_weights.values())).value)
    t = np.arange(1.0, N + 1)
    largest = max(
        float(np.abs(g.value).max(initial=0.0, where=np.isfinite(g.value)))
        for g in of_weights.values()
    )
    blind = {}
    for name, g in of_weights.items():
        new = {state: np.asarray(part[name], np.float64)[1:] for state, part in recorded.items()}
        moves = optimizer.moves(g, new, t, largest)
        blind[f"the gradient of {name}"] = _is_blind(g, moves > _FELT)
    size = np.mean(np.square(network.target, dtype=np.float64))
    hidden = _is_blind(of_loss, of_loss.error[:, 0] > of_loss.a.u * size)
    return {**blind, "the loss": np.repeat(hidden, N // len(hidden))}


def _is_blind(number: Bounded, matters: Array) -> Array:
    """(N,) whether 0 could pass for it: then so could its opposite, where that matters (N,)."""
    size, error = (np.linalg.norm(_flat(part), axis=1) for part in (number.value, number.error))
    return np.asarray(~(error < size) & matters)


def _nothing(network: Network, shapes: Mapping[str, tuple[int, ...]], N: int) -> str:
    """Why there is nothing to judge; "" if there is something."""
    (S, T), F, O = network.x.shape[:2], network.features, network.target.shape[-1]  # noqa: E741
    frozen = {name: value.shape for name, (value, _) in network.frozen.items()}
    H = {**shapes, **frozen}["recurrent_kernel"][0]
    sizes = {"sample": S, "timestep": T, "feature": F, "unit": H, "output": O, "update": N}
    return next((f"there is no {what}" for what, size in sizes.items() if not size), "")


def _shapes(
    network: Network, names: tuple[str, ...], weights: Mapping[str, Array]
) -> dict[str, tuple[int, ...]]:
    O = network.target.shape[-1]  # noqa: E741
    frozen = {name: value for name, (value, _) in network.frozen.items()}
    H = np.shape({**weights, **frozen}["recurrent_kernel"])[-1] // network.gates
    wanted = network.shapes(H)
    needed = ("kernel", *(["dense.kernel"] if "dense.bias" in names else []))
    if missing := [name for name in needed if name not in (*names, *frozen)]:
        raise ValueError(f"the weights have no {missing[0]!r}")
    steps = network.x.shape[:2] if network.is_sequence else network.x.shape[:1]
    if network.target.shape != (fit := (*steps, O)):
        raise ValueError(f"target has shape {network.target.shape}, but should have {fit}")
    if "dense.kernel" not in (*names, *frozen) and O != H:
        raise ValueError(f"target has {O} outputs, and the last state {H} units")
    for name in names:
        if weights[name].shape[1:] != wanted[name]:
            shape = weights[name].shape
            raise ValueError(f"{name} has shape {shape}, but should have (N+1, *{wanted[name]})")
    return {name: wanted[name] for name in names}


def _rows(
    part: Mapping[str, Array], names: tuple[str, ...], shapes: Mapping[str, tuple[int, ...]]
) -> Array:
    """All parameters side by side: (N+1,P)."""
    for name in names:
        if np.shape(part[name])[1:] != shapes[name]:
            raise ValueError(f"{name} has shape {np.shape(part[name])[1:]}, not {shapes[name]}")
    return np.concatenate([_flat(np.asarray(part[n], np.float64)) for n in names], axis=1)


def _flat(array: Array) -> Array:
    return array.reshape(len(array), math.prod(array.shape[1:]))


def _side_by_side(part: Mapping[str, Bounded]) -> Bounded:
    return joined([b.each(_flat) for b in part.values()], axis=1)


def _each_row(
    recorded: Mapping[str, Mapping[str, Array]], a: Arithmetic, rows: slice
) -> dict[str, dict[str, Bounded]]:
    """Some rows of what was recorded."""
    return {
        state: {name: exactly(part[rows], a) for name, part in each.items()}
        for state, each in recorded.items()
    }
