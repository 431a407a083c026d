"""Is what an author's training ended with an ordinary outcome of random draws?"""

import math
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from rnn_check.numbers.draws import Draws, Node, elementwise
from rnn_check.numbers.formats import Array
from rnn_check.recurrences.kinds import Recurrence
from rnn_check.recurrences.network import Network
from rnn_check.recurrences.optimizers import Optimizer

# The outcome ----------------------------------------------------------------------------------

DRAWS = 2000
FALSE_ALARM = 0.001  # the chance that an ordinary number is called extraordinary
SEED = 20230805


class State(NamedTuple):
    """Where D trainings stand; the draw is the last axis of every array.

    states: the optimizer's, by weight and then by name.
    """

    weights: Mapping[str, Array]  # (...,D)
    states: Mapping[str, Mapping[str, Array]]
    loss: Array  # (D,)
    predictions: Array  # (B,O,D)


class Outcomes(NamedTuple):
    """How trainings ended, draw by draw."""

    loss: Array  # (D,) as fit reports it for the last epoch: before that epoch's update
    predictions: Array  # (D,B,O) after all updates


def outcomes(
    network: Network,
    *,
    kernel: Array,
    recurrent_kernel: Array,
    bias: Array | None,
    optimizer: Optimizer,
    epochs: int,
    draws: int = DRAWS,
    seed: int = SEED,
) -> Outcomes:
    """Train the network from these recurrent weights under many random Dense layers, in float64.

    Their kernels are Glorot uniform, within ±sqrt(6/(H+O)), and their biases 0: Keras's defaults.
    Raises ValueError for fewer than one epoch, and for activations that are not elementwise.
    """
    if epochs < 1:
        raise ValueError(f"a training has at least one epoch, not {epochs}")
    rng = np.random.default_rng(seed)
    H, O = len(recurrent_kernel), network.target.shape[1]  # noqa: E741
    limit = math.sqrt(6 / (H + O))
    own = {"kernel": kernel, "recurrent_kernel": recurrent_kernel}
    own |= {} if bias is None else {"bias": bias}
    w = {name: np.repeat(array[..., None], draws, axis=-1) for name, array in own.items()}
    w["dense.kernel"] = np.moveaxis(rng.uniform(-limit, limit, (draws, H, O)), 0, -1)
    w["dense.bias"] = np.zeros((O, draws))
    with np.errstate(all="ignore"):  # some may overflow
        before_last, last = deque(trainings(network, w, optimizer, epochs), maxlen=2)
    return Outcomes(before_last.loss, np.moveaxis(last.predictions, -1, 0))


def trainings(
    network: Network, weights: Mapping[str, Array], optimizer: Optimizer, updates: int
) -> Iterator[State]:
    """D trainings at once, from weights (...,D) by name: the state at first, and after each update.

    The draw is the last axis, as `Draws` has it.
    """
    w = {name: np.asarray(array, np.float64) for name, array in weights.items()}
    states: dict[str, dict[str, Array]] = {
        name: {state: np.zeros_like(array) for state in optimizer.states}
        for name, array in w.items()
    }
    loss, g, predictions = _train_step(network, w)
    yield State(w, states, loss, predictions)
    for t in range(1, updates + 1):
        after = {name: optimizer.updated(w[name], states[name], g[name], t) for name in w}
        w = {name: new for name, (new, _) in after.items()}
        states = {name: new for name, (_, new) in after.items()}
        loss, g, predictions = _train_step(network, w)
        yield State(w, states, loss, predictions)


def _train_step(network: Network, w: Mapping[str, Array]) -> tuple[Array, dict[str, Array], Array]:
    """Loss (D,), gradients (...,D) and predictions (B,O,D) at these weights."""
    tape, r = Draws(network.activation, network.recurrent_activation), network.recurrence
    names = ("kernel", "recurrent_kernel", "bias")
    layer, joined = _layer(tape, r, [w.get(name) for name in names])
    x = network.steps[..., None]  # (T,B,F,1)
    zeros = tape.constant(np.zeros((x.shape[1], len(w["recurrent_kernel"]), 1)))
    states: tuple[Node, ...] = (zeros,) * len(r.states)
    for x_t in x:
        states = r.step(tape, layer, tape.constant(x_t), *states)[: len(states)]
    dense = {name: tape.leaf(w[name]) for name in ("dense.kernel", "dense.bias") if name in w}
    o = tape.affine((states[0], dense["dense.kernel"]), bias=dense.get("dense.bias"))
    predictions = tape.activated(elementwise(network.dense_activation), o)  # (B,O,D)
    off = predictions.b - network.target[..., None]
    predictions.receive(off * (2 / network.target.size))
    tape.backward()
    g = {name: array for name, array in zip(names, joined(), strict=True) if array is not None}
    g |= {name: _of(node) for name, node in dense.items()}
    return (off * off).mean(axis=(0, 1)), g, predictions.b


def _layer(
    tape: Draws, r: Recurrence, weights: Sequence[Array | None]
) -> tuple[Any, Callable[[], tuple[Array | None, ...]]]:
    """The layer's weights (...,D) as its step takes them, and what gives their gradients."""

    def moved(array: Array | None, start: int, end: int) -> Array | None:
        return None if array is None else np.moveaxis(array, start, end)

    arrays = r.arranged(*(moved(array, -1, 0) for array in weights))
    own = type(arrays)
    layer = own(*(None if a is None else tape.leaf(np.moveaxis(a, 0, -1)) for a in arrays))

    def joined() -> tuple[Array | None, ...]:
        found = r.joined(own(*(None if n is None else moved(_of(n), -1, 0) for n in layer)))
        return tuple(moved(array, 0, -1) for array in found)

    return layer, joined


def _of(node: Node) -> Array:
    return np.zeros(node.b.shape) if node.gradient is None else node.gradient


@dataclass(frozen=True)
class Place:
    """Where a number stands among draws."""

    percentile: float  # how many per cent of the draws are below it
    median: float
    low: float  # the ends of the interval that is called ordinary
    high: float
    ordinary: bool


def place(drawn: Array, low: float, high: float, false_alarm: float = FALSE_ALARM) -> Place:
    """Is a number that was printed as [low, high] an ordinary one among those drawn, (D,)?

    If it comes from the same distribution, all D+1 places that it can take among the D draws are
    equally likely. So it is below the k-th smallest or above the k-th largest with a chance of at
    most 2k/(D+1), and it is called extraordinary there, for the largest k that keeps that chance
    at or below false_alarm. With 2,000 draws and 0.001, k is 1: beyond all that were drawn.

    Raises ValueError where the draws are too few to call anything extraordinary.
    """
    ordered = np.sort(np.asarray(drawn, np.float64))
    k = int(false_alarm * (len(ordered) + 1) / 2)
    if not k or not np.isfinite(ordered).all():
        raise ValueError(f"{len(ordered)} draws do not support a false alarm of {false_alarm:g}")
    ends = float(ordered[k - 1]), float(ordered[-k])
    return Place(
        percentile=100 * float(np.mean(ordered < (low + high) / 2)),
        median=float(np.median(ordered)),
        low=ends[0],
        high=ends[1],
        ordinary=bool(high >= ends[0] and low <= ends[1]),
    )
