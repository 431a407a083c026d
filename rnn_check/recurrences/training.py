"""What do weights and loss become in a training, and how far may they be off?

    B samples of a batch, S of all, T timesteps, F features, H units, G gates, O outputs
    N sets of weights at once: kernel (N,F,GH)   recurrent_kernel (N,H,GH)   bias (N,GH)
    (N,2,GH) where there are two   dense.kernel (N,H,O)   dense.bias (N,O)
    embeddings (N,V,F) of V indices
    x (S,T,F), or indices (S,T)   target, prediction (S,O), or of each step (S,T,O)

An epoch takes the samples in their order, batch by batch, the last of which may be smaller. Its
loss, as `fit` reports it, is the mean over the samples of what each batch's loss (see `batches`)
was before the update by that batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from rnn_check.numbers.bounded import Bounded, _given, exactly, joined
from rnn_check.numbers.formats import (
    ARITHMETICS,
    UP,
    Arithmetic,
    Array,
    arithmetic,
    gamma_of_both,
)
from rnn_check.numbers.reading import Node, Tape
from rnn_check.recurrences import batches
from rnn_check.recurrences.dropping import Dropped, Dropping
from rnn_check.recurrences.network import Network
from rnn_check.recurrences.rounding import added

_MOST = 2_000_000  # numbers of a step that are derived at once

Sets = Mapping[str, Bounded]
States = tuple[Bounded, ...]  # (N,B,H) each, as the recurrence has them


# -- one update ------------------------------------------------------------------------------------


def gradients(
    network: Network,
    weights: Sets,
    batch: slice,
    dropped: Dropped | None = None,
    start: States | None = None,
) -> tuple[dict[str, Bounded], Bounded]:
    """dL/dw and L (N,1) of a batch, at N sets of weights: a running error analysis, both ways.

    start: from which states it begins, which no gradient goes back to; zeros if not given.

    Of a loss that is scaled nothing is known of any gradient if one of them may overflow: no step
    is taken then.
    """
    trained, a = weights, next(iter(weights.values())).a
    N = len(next(iter(weights.values())).value)
    weights = _as_computed(network, {**weights, **frozen(network, N, a)})
    units = weights["recurrent_kernel"].value.shape[-2]
    B = batch.stop - batch.start
    most = max(1, _MOST // max(1, B * network.x.shape[1] * network.gates * units))
    parts = []
    for at in range(0, N, most):
        part = slice(at, at + most)
        few = {n: w.each(lambda array: array[part]) for n, w in weights.items()}  # noqa: B023
        drawn = None if dropped is None else dropped.part(part)
        begun = None if start is None else tuple(b.each(lambda a: a[part]) for b in start)  # noqa: B023
        parts.append(_gradients(network, few, batch, drawn, begun))
    found = {
        name: _unscaled(joined([g[name] for g, _ in parts]), network.scale) for name in trained
    }
    if network.scale != 1:
        each = (np.isfinite(g.error).reshape(N, -1).all(axis=1) for g in found.values())
        taken = np.logical_and.reduce([*each])
        found = {name: _where_known(g, taken) for name, g in found.items()}
    loss = joined([loss for _, loss in parts])
    if network.mixed:  # from here on in what the weights are kept in
        found = {name: Bounded(g.value, g.error, a) for name, g in found.items()}
        loss = Bounded(loss.value, loss.error, a)
    for name, regularizer in network.regularizers.items():
        found[name] = added(found[name], regularizer.gradient(trained[name]))
        loss = added(loss, regularizer.loss(trained[name]), len(network.regularizers))
    return found, loss


def _as_computed(network: Network, weights: Sets) -> Sets:
    """As layers cast them that compute in another arithmetic."""
    if not network.mixed:
        return weights
    a = arithmetic(network.mixed)
    return {name: _given(w.value, w.error, a, True) for name, w in weights.items()}


def _unscaled(g: Bounded, scale: float) -> Bounded:
    return g if scale == 1 else Bounded(g.value / scale, g.error / scale, g.a)


def _where_known(g: Bounded, taken: Array) -> Bounded:
    """taken (N,): where a step is taken."""
    at = taken.reshape(-1, *(1,) * (g.value.ndim - 1))
    return Bounded(g.value, np.where(at, g.error, np.inf), g.a)


def frozen(network: Network, N: int, a: Arithmetic) -> dict[str, Bounded]:
    """N times what is not trained, rounded as the framework has it."""
    held = {n: _given(value, error, a, True) for n, (value, error) in network.frozen.items()}

    def repeated(part: Array) -> Array:
        return np.broadcast_to(part, (N, *part.shape))

    return {name: b.each(repeated) for name, b in held.items()}


def outputs(network: Network, weights: Sets, batch: slice, start: States | None = None) -> Bounded:
    """(B,O), or of each step (B,T,O), at one set of weights."""
    each = _forward(network, _all_of(network, weights), batch, start=start).outputs
    value, error = (
        np.stack([getattr(node.b, part)[0] for node in each], axis=1) for part in ("value", "error")
    )
    found = Bounded(value, error, each[0].b.a)
    return found if network.is_sequence else found.each(lambda part: part[:, 0])


def ends(
    network: Network,
    weights: Sets,
    batch: slice,
    start: States | None = None,
    dropped: Dropped | None = None,
) -> States:
    """The states after a batch, from which the next one of a stateful layer begins."""
    run = _forward(network, _all_of(network, weights), batch, dropped, start)
    return tuple(node.b for node in run.states)


def _all_of(network: Network, weights: Sets) -> Sets:
    """What is not trained among them, as layers compute with them."""
    first = next(iter(weights.values()))
    return _as_computed(network, {**weights, **frozen(network, len(first.value), first.a)})


def _gradients(
    network: Network, weights: Sets, batch: slice, dropped: Dropped | None, start: States | None
) -> tuple[dict[str, Bounded], Bounded]:
    """(Higham, Accuracy and Stability of Numerical Algorithms, section 3.3, for arrays.) The tape
    over the recurrence's step, a leading axis for the weights."""
    run = _forward(network, weights, batch, dropped, start)
    loss = batches.loss_of(network, run.outputs, batch)
    penalties = [*_of_outputs(network, run, batch.stop - batch.start)]
    for penalty in penalties:
        loss = added(loss, penalty, len(penalties))
    run.tape.backward()
    return run.gradients(), loss


def _of_outputs(network: Network, run: _Forward, B: int) -> Iterator[Bounded]:
    """(N,1) what the outputs of layers add to the loss, one tensor after another; the gradient of
    each is received by it."""
    shown = {"dense": [run.outputs], "layer": [run.hidden]}
    if network.returns_state:
        shown["layer"] += [[state] for state in run.states]
    for layer, regularizer in network.activities.items():
        for tensor in shown[layer]:
            for node in tensor:
                node.receive(regularizer.gradient(node.b, B, network.scale))
            parts = (
                np.stack([getattr(node.b, part) for node in tensor], axis=1)
                for part in ("value", "error", "size")
            )
            value, error, size = parts
            yield regularizer.loss(Bounded(value, error, run.tape.a, size), B)


class _Forward(NamedTuple):
    """outputs (N,B,O), of each step or of the last, and hidden (N,B,H), what the recurrent layer
    put out; states (N,B,H) after the last."""

    tape: Tape
    outputs: list[Node]
    hidden: list[Node]
    states: tuple[Node, ...]
    gradients: Callable[[], dict[str, Bounded]]


def _forward(
    network: Network,
    weights: Sets,
    batch: slice,
    dropped: Dropped | None = None,
    start: States | None = None,
) -> _Forward:
    a = weights["kernel"].a
    N, H = weights["recurrent_kernel"].value.shape[:2]
    tape = Tape(a, network.activation, network.recurrent_activation)
    inside = {name: w for name, w in weights.items() if not name.startswith("dense.")}
    n, layer, of_layer = _layer(network, tape, inside, dropped)
    x = _steps(network, batch, tape, weights.get("embeddings"))
    kept = None if network.mask is None else network.in_steps(network.mask[batch]) > 0
    zero = exactly(np.zeros((N, batch.stop - batch.start, H)), a)
    begun = [zero] * len(network.recurrence.states) if start is None else start
    states: tuple[Node, ...] = tuple(tape.constant(state) for state in begun)
    outputs: list[Node] = []
    for t, x_t in enumerate(x):
        new = network.recurrence.step(n, layer, x_t, *states)[: len(states)]
        if kept is not None:
            keep = kept[t][:, None]
            new = tuple(tape.where(keep, *pair) for pair in zip(new, states, strict=True))
        states = new
        shown = states[0]
        if kept is not None and network.zeros:
            shown = tape.scaled(shown, 1.0 * kept[t][:, None])
        outputs.append(shown)
    outputs = hidden = outputs if network.is_sequence else outputs[-1:]
    nodes: dict[str, Node] = {}
    if "dense.kernel" in weights:
        dense = {name: w for name, w in weights.items() if name.startswith("dense.")}
        nodes = {
            name: tape.leaf(w.each(lambda part: part[:, None]) if name.endswith("bias") else w)
            for name, w in dense.items()
        }
        kernel, bias = nodes["dense.kernel"], nodes.get("dense.bias")
        outputs = [
            tape.activated(network.dense_activation, tape.affine((each, kernel), bias=bias))
            for each in outputs
        ]  # (N,B,O)

    def gradients() -> dict[str, Bounded]:
        found: dict[str, Bounded] = of_layer()
        if "embeddings" in weights:
            found["embeddings"] = _of_rows(_rows(network, batch), x, weights["embeddings"])
        for name, node in nodes.items():
            g = tape.gradient(node)
            found[name] = g.each(lambda part: part[:, 0]) if name.endswith("bias") else g
        return found

    return _Forward(tape, outputs, hidden, states, gradients)


def _steps(network: Network, batch: slice, tape: Tape, table: Bounded | None) -> list[Node]:
    """x (B,F) at each step, as the framework has it, or the rows of its table (N,B,F)."""
    if table is not None:
        rows = _rows(network, batch)
        return [tape.leaf(table.each(lambda part: part[:, each])) for each in rows]  # noqa: B023
    error = np.broadcast_to(np.asarray(network.error, np.float64), network.x.shape)
    value, off = (network.in_steps(part[batch]) for part in (network.x, error))
    if network.mixed:  # it comes in float32, and is cast
        off = _given(value, off, ARITHMETICS["float32"], True).error
    each = zip(value, off, strict=True)
    return [tape.constant(_given(*step, tape.a, rounded=True)) for step in each]


def _rows(network: Network, batch: slice) -> Array:
    """(T,B) the indices at each step."""
    return network.in_steps(network.x[batch]).astype(np.int64)


def _of_rows(rows: Array, x: list[Node], table: Bounded) -> Bounded:
    """dL/d of each row of the table: the sum, in any order, of what reaches the steps that look it
    up."""
    value, error, most = np.zeros((3, *table.value.shape))
    for index, node in zip(rows, x, strict=True):
        if (g := node.gradient) is not None:
            for total, part in ((value, g.value), (error, g.error), (most, g.most)):
                np.add.at(total.swapaxes(0, 1), index, part.swapaxes(0, 1))
    n = np.bincount(rows.ravel(), minlength=table.value.shape[1])[:, None]
    roundings = np.array([gamma_of_both(int(k) + 1, table.a) for k in n[:, 0]])
    error = error + roundings[:, None] * most + 2 * n * table.a.min_normal
    error = np.where(most + error > table.a.max, np.inf, error * UP)
    return Bounded(value, np.where(n > 0, error, 0.0), table.a)


def _layer(
    network: Network, tape: Tape, weights: Sets, dropped: Dropped | None
) -> tuple[Any, Any, Any]:
    """How a step is read, the layer's weights as it takes them, and what gives their gradients."""
    names, r, a = ("kernel", "recurrent_kernel", "bias"), network.recurrence, tape.a
    given = [weights.get(name) for name in names]
    value, error = (
        r.arranged(*(None if w is None else getattr(w, which) for w in given))
        for which in ("value", "error")
    )

    def field(value: Array | None, error: Array) -> Bounded | None:
        if value is None:
            return None
        b = Bounded(value, error, a)
        return b.each(lambda part: part[:, None]) if value.ndim == 2 else b

    fields = dict(zip(value._fields, map(field, value, error), strict=True))
    n: Tape | Dropping = tape if dropped is None else Dropping(tape, dropped, fields)
    if isinstance(n, Dropping):
        layer = type(value)(**n.fields)
    else:
        layer = type(value)(*(None if b is None else tape.leaf(b) for b in fields.values()))

    def gradients() -> dict[str, Bounded]:
        if isinstance(n, Dropping):
            of = [None if part is None else n.gradient(name) for name, part in n.fields.items()]
        else:
            of = [None if node is None else tape.gradient(node) for node in layer]

        def joined(which: str) -> tuple[Any, ...]:
            pairs = zip(of, value, strict=True)
            parts = (None if g is None else getattr(g, which).reshape(v.shape) for g, v in pairs)
            return r.joined(type(value)(*parts))

        both = zip(names, joined("value"), joined("error"), strict=True)
        return {name: Bounded(v, e, a) for name, v, e in both if v is not None}

    return n, layer, gradients
