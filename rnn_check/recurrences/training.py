"""What do weights and loss become in a training, and how far may they be off?

    B samples of a batch, S of all, T timesteps, F features, H units, G gates, O outputs
    N sets of weights at once: kernel (N,F,GH)   recurrent_kernel (N,H,GH)   bias (N,GH)
    (N,2,GH) where there are two   dense.kernel (N,H,O)   dense.bias (N,O)
    x (S,T,F)   target, prediction (S,O)

An epoch takes the samples in their order, batch by batch, the last of which may be smaller. Its
loss, as `fit` reports it, is the mean over the samples of what each batch's loss was before the
update by that batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from rnn_check.numbers.bounded import Bounded, _given, exactly
from rnn_check.numbers.formats import UP, Arithmetic, Array, arithmetic, gamma_of_both
from rnn_check.numbers.reading import Node, Tape
from rnn_check.recurrences import updating
from rnn_check.recurrences.kinds import SIMPLE, Recurrence
from rnn_check.recurrences.optimizers import Optimizer
from rnn_check.recurrences.penalties import Constraint, Regularizer
from rnn_check.recurrences.rounding import added

_MOST = 2_000_000  # numbers of a step that are derived at once

WEIGHTS = ("kernel", "recurrent_kernel", "bias", "dense.kernel", "dense.bias")
Sets = Mapping[str, Bounded]


@dataclass(frozen=True)
class Network:
    """A recurrent layer whose last state goes through a Dense layer, or not; the loss is the mse.

    error: how far x may be from what was run. regularizers, constraints: by weight. frozen: the
    weights that are not trained, each with its error.
    """

    x: Array  # (S,T,F)
    target: Array  # (S,O)
    activation: str | None = "tanh"
    dense_activation: str | None = "linear"
    go_backwards: bool = False
    recurrence: Recurrence = SIMPLE
    recurrent_activation: str | None = "sigmoid"
    batch_size: int | None = None  # None: all samples
    error: Array | float = 0.0
    regularizers: Mapping[str, Regularizer] = field(default_factory=dict)
    constraints: Mapping[str, Constraint] = field(default_factory=dict)
    frozen: Mapping[str, tuple[Array, Array]] = field(default_factory=dict)

    @property
    def steps(self) -> Array:
        """(T,S,F) in processing order."""
        return self._in_steps(self.x)

    def _in_steps(self, x: Array) -> Array:
        x = x[:, ::-1] if self.go_backwards else x
        return np.ascontiguousarray(x.swapaxes(0, 1), np.float64)

    @property
    def batches(self) -> list[slice]:
        """Of an epoch, which samples each update takes."""
        size, samples = self.batch_size or len(self.x), len(self.x)
        return [slice(at, min(at + size, samples)) for at in range(0, samples, size or 1)]

    @property
    def gates(self) -> int:
        return len(self.recurrence.gates)

    def shapes(self, units: int) -> dict[str, tuple[int, ...]]:
        """Of its weights, if the layers have all that they may have."""
        width = self.gates * units
        outputs = self.target.shape[-1]
        return {
            "kernel": (self.x.shape[2], width), "recurrent_kernel": (units, width),
            "bias": self.recurrence.bias_shape(units),
            "dense.kernel": (units, outputs), "dense.bias": (outputs,),
        }  # fmt: skip


# -- one update ------------------------------------------------------------------------------------


def gradients(network: Network, weights: Sets, batch: slice) -> tuple[dict[str, Bounded], Bounded]:
    """dL/dw and L (N,1) of a batch, at N sets of weights: a running error analysis, both ways."""
    trained, a = weights, next(iter(weights.values())).a
    N = len(next(iter(weights.values())).value)
    weights = {**weights, **_frozen(network, N, a)}
    units = weights["recurrent_kernel"].value.shape[-2]
    B = batch.stop - batch.start
    most = max(1, _MOST // max(1, B * network.x.shape[1] * network.gates * units))
    parts = []
    for at in range(0, N, most):
        part = slice(at, at + most)
        few = {n: w.each(lambda array: array[part]) for n, w in weights.items()}  # noqa: B023
        parts.append(_gradients(network, few, batch))
    found = {name: _joined([g[name] for g, _ in parts]) for name in trained}
    loss = _joined([loss for _, loss in parts])
    for name, regularizer in network.regularizers.items():
        found[name] = added(found[name], regularizer.gradient(trained[name]))
        loss = added(loss, regularizer.loss(trained[name]), len(network.regularizers))
    return found, loss


def _frozen(network: Network, N: int, a: Arithmetic) -> dict[str, Bounded]:
    """N times what is not trained, rounded as the framework has it."""
    held = {n: _given(value, error, a, True) for n, (value, error) in network.frozen.items()}

    def repeated(part: Array) -> Array:
        return np.broadcast_to(part, (N, *part.shape))

    return {name: b.each(repeated) for name, b in held.items()}


def _joined(parts: list[Bounded]) -> Bounded:
    value, error = (
        np.concatenate([getattr(b, which) for b in parts]) for which in ("value", "error")
    )
    return Bounded(value, error, parts[0].a)


def _gradients(network: Network, weights: Sets, batch: slice) -> tuple[dict[str, Bounded], Bounded]:
    """(Higham, Accuracy and Stability of Numerical Algorithms, section 3.3, for arrays.) The tape
    over the recurrence's step, a leading axis for the weights."""
    a = weights["kernel"].a
    N, H = weights["recurrent_kernel"].value.shape[:2]
    tape = Tape(a, network.activation, network.recurrent_activation)
    inside = {name: w for name, w in weights.items() if not name.startswith("dense.")}
    layer, of_layer = _layer(network, tape, inside)
    x = _steps(network, batch, a)
    states: tuple[Node, ...] = tuple(
        tape.constant(exactly(np.zeros((N, batch.stop - batch.start, H)), a))
        for _ in network.recurrence.states
    )
    for x_t in x:
        step = network.recurrence.step(tape, layer, tape.constant(x_t), *states)
        states = step[: len(states)]
    output = states[0]
    nodes: dict[str, Node] = {}
    if "dense.kernel" in weights:
        dense = {name: w for name, w in weights.items() if name.startswith("dense.")}
        nodes = {
            name: tape.leaf(w.each(lambda part: part[:, None]) if name.endswith("bias") else w)
            for name, w in dense.items()
        }
        summed = tape.affine((output, nodes["dense.kernel"]), bias=nodes.get("dense.bias"))
        output = tape.activated(network.dense_activation, summed)  # (N,B,O)
    loss = _loss(network, output, batch)
    tape.backward()
    found = of_layer()
    for name, node in nodes.items():
        g = tape.gradient(node)
        found[name] = g.each(lambda part: part[:, 0]) if name.endswith("bias") else g
    return found, loss


def _steps(network: Network, batch: slice, a: Arithmetic) -> list[Bounded]:
    """x (B,F) at each step, as the framework has it."""
    error = np.broadcast_to(np.asarray(network.error, np.float64), network.x.shape)
    both = (network._in_steps(part[batch]) for part in (network.x, error))
    return [_given(value, off, a, True) for value, off in zip(*both, strict=True)]


def _layer(network: Network, tape: Tape, weights: Sets) -> tuple[Any, Any]:
    """The layer's weights as its step takes them, over the tape, and what gives their gradients."""
    names, r, a = ("kernel", "recurrent_kernel", "bias"), network.recurrence, tape.a
    given = [weights.get(name) for name in names]
    value, error = (
        r.arranged(*(None if w is None else getattr(w, which) for w in given))
        for which in ("value", "error")
    )

    def leaf(value: Array, error: Array) -> Node:
        b = Bounded(value, error, a)
        return tape.leaf(b.each(lambda part: part[:, None]) if value.ndim == 2 else b)

    layer = type(value)(
        *(None if v is None else leaf(v, e) for v, e in zip(value, error, strict=True))
    )

    def gradients() -> dict[str, Bounded]:
        of = [None if node is None else tape.gradient(node) for node in layer]

        def joined(which: str) -> tuple[Any, ...]:
            pairs = zip(of, value, strict=True)
            parts = (None if g is None else getattr(g, which).reshape(v.shape) for g, v in pairs)
            return r.joined(type(value)(*parts))

        both = zip(names, joined("value"), joined("error"), strict=True)
        return {name: Bounded(v, e, a) for name, v, e in both if v is not None}

    return layer, gradients


def _loss(network: Network, output: Node, batch: slice) -> Bounded:
    """The batch's mse (N,1); its gradient is received by the output."""
    p = output.b.known
    a = p.a
    target = _given(network.target[batch], 0.0, a, True)
    n = target.value.size
    off = p.value - target.value
    off_error = p.error + target.error
    off_error = off_error + gamma_of_both(1, a) * (np.abs(off) + off_error)
    squares = (np.abs(off) + off_error) ** 2
    rounding = gamma_of_both(n + 8, a)
    # fit's loss is a mean of means: the batch's is weighted by B, summed, and divided by B again
    error = off_error * (2 * np.abs(off) + off_error) + rounding * squares
    error = error.sum(axis=(1, 2)) / n + 4 * (n + 8) * a.min_normal
    value = (off * off).sum(axis=(1, 2)) / n
    pull = 2 / n * (np.abs(off) + off_error)
    pull_error = 2 / n * off_error * UP + gamma_of_both(5, a) * pull
    output.receive(Bounded(2 / n * off, pull_error + 2 * a.min_normal, a))
    return Bounded(value[:, None], error[:, None] * UP, a)


def loss_of_epochs(network: Network, each: Bounded) -> Bounded:
    """(E,1) from that of each update (N,1): `fit`'s running mean, weighted by the samples."""
    sizes = np.array([batch.stop - batch.start for batch in network.batches], np.float64)
    K, a = len(sizes), each.a
    if K == 1:
        return each
    share = sizes / sizes.sum()
    value, error = (part.reshape(-1, K) @ share for part in (each.value, each.error))
    most = each.most.reshape(-1, K) @ share
    error = error + gamma_of_both(K + 2, a) * most + 2 * K * a.min_normal
    return Bounded(value[:, None], error[:, None] * UP, a)


# -- a whole training ------------------------------------------------------------------------------


class Trained(NamedTuple):
    """Where a training ends: values and bounds, which are infinite where nothing can be said."""

    weights: dict[str, tuple[Array, Array]]
    loss: tuple[Array, Array]  # (E,) of each epoch


def trained(
    network: Network,
    optimizer: Optimizer,
    weights: Mapping[str, tuple[Array, Array]],
    epochs: int,
    dtype: Any = "float32",
) -> Trained:
    """What the weights become, and the loss of each epoch; how far an arithmetic may be off.

    weights: by name (see WEIGHTS), each with its error. The errors of an update are carried into
    the next: of many updates nothing may be left to say; then the bounds are infinite, and the
    values those of the last update of which something was.
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
        for update in range(epochs * len(network.batches)):
            if all(np.isinf(b.error).all() for b in w.values()):
                losses.append(Bounded(np.zeros((1, 1)), np.full((1, 1), np.inf), a))
                continue
            g, loss = gradients(network, w, network.batches[update % len(network.batches)])
            losses.append(loss)
            after = updating.updated(
                optimizer, w, states, g, np.array([update]), constraints=network.constraints
            )
            w = {name: _known(b) for name, b in after.weights.items()}
            states = {
                state: {name: _known(b) for name, b in part.items()}
                for state, part in after.states.items()
            }
        w = {"weights": w, **states}[updating.ends_with(optimizer)]
        w = {**w, **_frozen(network, 1, a)}
        loss = loss_of_epochs(network, _known(_joined(losses)))
    return Trained(
        {name: (b.value[0], b.error[0]) for name, b in w.items()},
        (loss.value[:, 0], loss.error[:, 0]),
    )


def _known(b: Bounded) -> Bounded:
    """Nothing is known where the reference, or its bound, overflows."""
    known = np.isfinite(b.value)
    error = np.where(known & np.isfinite(b.error), b.error, np.inf)
    return Bounded(np.where(known, b.value, 0.0), error, b.a)
