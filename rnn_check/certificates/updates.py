"""Does each update follow from the one before?

Two trainings from the same weights drift apart by rounding, so their ends say little. But weights
and optimizer can be read after every batch of a real `model.fit`, and each update asked alone:
given the weights w, the moments m and v and the count that you had, are these the next ones?

    g = dL/dw at the recorded w
    m' = β₁m + (1-β₁)g        v' = β₂v + (1-β₂)g²        w' = w - α_t m'/(√v' + ε)
    α_t = lr √(1-β₂^t) / (1-β₁^t)

That is Adam as Keras has it (Kingma & Ba, arXiv:1412.6980, the order of computation given just
before their section 2.1, where ε stands outside the root and is not corrected for bias). g comes
from the float64 reference with a running error bound, since no states are recorded; v' and w' from
the recorded m', v'. Nothing propagates from update to update.

Within an update rounding does propagate, from step to step. Where the weights amplify it so far
that the bound of a gradient is larger than the gradient, and could move a weight by more than a
hundredth of the learning rate, the update is not judged, and that is said. To run the model again
for its states would not help: that is another execution, whose roundings the same weights amplify
as far.

Where no seed was published, only the distribution of outcomes can be asked: `outcomes` trains many
random output layers, and `place` says where a printed number stands among them.

    N updates, D draws, P parameters        B batch, T timesteps, F features, H units, O outputs
    x (B,T,F)   W = kernel (F,H)   U = recurrent_kernel (H,H)   b = bias (H,)   δ (N,B,H) = dL/dz
    V = dense.kernel (H,O)         c = dense.bias (O,)          target, prediction (B,O)
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from rnn_check.numbers.arrays import claimed, numbers
from rnn_check.numbers.bounded import Bounded, exactly
from rnn_check.numbers.formats import ARITHMETICS, Arithmetic, Array, gamma, rounded
from rnn_check.numbers.reading import Tape
from rnn_check.recurrences import simple

_FLOAT64 = ARITHMETICS["float64"]
_UP = 1 + 2.0**-40  # covers the rounding of a bound's own few operations

WEIGHTS = ("kernel", "recurrent_kernel", "bias", "dense.kernel", "dense.bias")


@dataclass(frozen=True)
class Adam:
    """What the optimizer was told; the defaults are Keras's."""

    learning_rate: float
    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-7


@dataclass(frozen=True)
class Network:
    """A recurrent layer whose last state goes through a Dense layer; the loss is the mse."""

    x: Array  # (B,T,F)
    target: Array  # (B,O)
    activation: str | None = "tanh"
    dense_activation: str | None = "linear"
    go_backwards: bool = False

    @property
    def steps(self) -> Array:
        """(T,B,F) in processing order."""
        x = self.x[:, ::-1] if self.go_backwards else self.x
        return np.ascontiguousarray(x.swapaxes(0, 1), np.float64)


# The result -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Quantity:
    """What was recorded of one thing beside what follows; row t is the state after update t."""

    name: str
    elements: tuple[str, ...]  # "kernel[0, 1]", a name for each column
    observed: Array = field(repr=False)  # (N+1,P) float64, as the three below; bounds may be inf
    expected: Array = field(repr=False)
    residual: Array = field(repr=False)
    bound: Array = field(repr=False)

    @cached_property
    def ratios(self) -> Array:
        """residual/bound: 0 where both are 0, inf where only the bound is."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(self.residual == 0, 0.0, self.residual / self.bound)

    @property
    def ratio(self) -> float:
        return float(self.ratios.max(initial=0.0))

    def sentence(self, update: int, column: int) -> str:
        at = update, column
        return (
            f"{self.name} of {self.elements[column]} after update {update}: "
            f"got {self.observed[at]:.9g}, expected {self.expected[at]:.9g}, "
            f"off by {self.residual[at]:.3g} where {self.bound[at]:.3g} is allowed"
        )


@dataclass(frozen=True)
class Certificate:
    """What became of the question, for a whole training.

    ok           every number follows from those recorded before it; None, "not proved", where that
                 holds but fewer than 90 % of the updates could be judged
    ratio        the largest residual/bound
    where        (update, quantity, element) of the first that does not follow; else of the worst
    updates      N
    judged       the share of updates of which rounding hides no gradient that may move a weight by
                 more than a hundredth of the learning rate, nor the loss
    certified    how many of these follow in every number
    quantities   m, v, weights, loss, iterations
    reason       one sentence
    """

    ok: bool | None
    ratio: float
    where: tuple[int, str, str]
    updates: int
    judged: float
    certified: int
    quantities: Mapping[str, Quantity]
    reason: str

    @property
    def ratios(self) -> dict[str, float]:
        """The largest residual/bound of each quantity."""
        return {name: q.ratio for name, q in self.quantities.items()}


def certify_training(
    weights: Mapping[str, Array],
    m: Mapping[str, Array],
    v: Mapping[str, Array],
    *,
    network: Network,
    adam: Adam,
    iterations: Array,
    loss: Array,
    start: Mapping[str, Array] | None = None,
    dtype: Any = "float32",
) -> Certificate:
    """Is every recorded update the next step of Adam, up to the rounding of that one step?

    weights, m, v: by name (those of WEIGHTS that the network has), arrays (N+1,...), the first as
    it was before the first update and one after each; iterations (N+1,); loss (N,), as `fit`
    reports it for epochs of one batch: that of the weights before the update. start: the weights
    from which it was to start, rounded to the arithmetic as the framework does it (the recorded
    ones if not given). dtype: "float32" or "float64".

    m and v start at 0. What is recorded must be finite, unless its bound is not.
    Raises ValueError for unknown arithmetics and activations, and for shapes that do not fit.
    """
    a = claimed(dtype, np.zeros(0))
    if a.u_sum != a.u_stored or a.name not in ARITHMETICS:
        raise ValueError(f"training is certified in float32 and float64, not in {dtype}")
    weights, m, v = (
        {name: numbers(name, array) for name, array in part.items()} for part in (weights, m, v)
    )
    network = replace(network, x=numbers("x", network.x), target=numbers("target", network.target))
    names = tuple(name for name in WEIGHTS if name in weights)
    shapes = _shapes(network, names, weights)
    elements = tuple(f"{name}{list(index)}" for name in names for index in np.ndindex(shapes[name]))
    w, m_, v_ = (_rows(part, names, shapes) for part in (weights, m, v))  # (N+1,P)
    N = len(w) - 1
    counted = numbers("iterations", iterations).astype(np.float64).reshape(-1, 1)
    losses = numbers("loss", loss).astype(np.float64).reshape(-1, 1)
    rows = {"m": len(m_), "v": len(v_), "iterations": len(counted), "loss": len(losses) + 1}
    for name, length in rows.items():
        if length != N + 1:
            raise ValueError(f"{name} does not speak of the {N} updates that the weights show")
    if why := _nothing(network, shapes, N):
        return Certificate(
            None, 0.0, (0, "", ""), N, 0.0, 0, {}, f"there is nothing to judge: {why}"
        )
    with np.errstate(all="ignore"):
        before = {name: np.asarray(weights[name], np.float64)[:-1] for name in names}
        of_weights, of_loss = _gradients(network, before, a)
        blind = {
            f"the gradient of {name}": _is_blind(number, _moves(number, v[name], adam) > _FELT)
            for name, number in ((name, of_weights[name]) for name in names)
        }
        near = of_loss.error[:, 0] <= a.u * np.mean(np.square(network.target, dtype=np.float64))
        blind["the loss"] = _is_blind(of_loss, ~near)
        flat = [of_weights[name].each(_flat) for name in names]
        value, error = (
            np.concatenate([getattr(g, part) for g in flat], axis=1) for part in ("value", "error")
        )
        g = Bounded(value, error, a)  # (N,P)
        begin = w[:1]
        if start is not None:
            given = {name: numbers(f"start {name}", start[name])[None] for name in names}
            begin = _rows(given, names, shapes)
            begin = rounded(begin, a)
        nothing, zero = np.zeros_like(begin), np.zeros((1, 1))
        counts = exactly(np.arange(1.0, N + 1)[:, None], a)
        losses = np.concatenate([zero, losses])
        found = [
            _quantity("m", elements, m_, nothing, _moved(m_[:-1], g, adam.beta_1, a)),
            _quantity("v", elements, v_, nothing, _moved(v_[:-1], _square(g), adam.beta_2, a)),
            _quantity("weights", elements, w, begin, _stepped(w, m_, v_, adam, a)),
            _quantity("loss", ("the epoch",), losses, zero, of_loss),
            _quantity("iterations", ("the optimizer",), counted, zero, counts),
        ]
    return _conclude(found, N, blind)


def _nothing(network: Network, shapes: Mapping[str, tuple[int, ...]], N: int) -> str:
    """Why there is nothing to judge; "" if there is something."""
    (B, T, F), (H, O) = network.x.shape, shapes["dense.kernel"]  # noqa: E741
    sizes = {"sample": B, "timestep": T, "feature": F, "unit": H, "output": O, "update": N}
    return next((f"there is no {what}" for what, size in sizes.items() if not size), "")


_FELT = 0.01  # of the learning rate, which is about the largest step that Adam takes


def _moves(g: Bounded, v: Array, adam: Adam) -> Array:
    """(N,) how far the error of g may move a weight, in units of the learning rate."""
    t = np.arange(1.0, len(v))
    rate = np.sqrt(1 - adam.beta_2**t) / (1 - adam.beta_1**t)
    step = _flat(g.error / (np.sqrt(v[1:].astype(np.float64)) + adam.epsilon))
    step[_flat(g.error) == 0] = 0.0
    step[np.isnan(step)] = np.inf
    return np.asarray(rate * (1 - adam.beta_1) * step.max(axis=1))


def _is_blind(number: Bounded, matters: Array) -> Array:
    """(N,) whether 0 could pass for it: then so could its opposite, where that matters (N,)."""
    size, error = (np.linalg.norm(_flat(part), axis=1) for part in (number.value, number.error))
    return np.asarray(~(error < size) & matters)


_PROVED = 0.9  # the share of updates that is to be judged


def _conclude(found: list[Quantity], N: int, blind: Mapping[str, Array]) -> Certificate:
    ratio = max(q.ratio for q in found)
    follows = np.all([(q.ratios <= 1).all(axis=1) for q in found], axis=0)  # (N+1,)
    seen = ~np.any(list(blind.values()), axis=0)  # (N,)
    judged = float(np.mean(seen))
    first = int(np.argmin(follows))
    ok: bool | None = True if judged >= _PROVED else None
    if ratio > 1:  # causes come before effects in `found`
        update, q = first, next(q for q in found if (q.ratios[first] > 1).any())
        column = int(np.argmax(q.ratios[first] > 1))
        reason = q.sentence(update, column)
    else:
        q = max(found, key=lambda q: q.ratio)
        update, column = (int(i) for i in np.unravel_index(np.argmax(q.ratios), q.ratios.shape))
        reason = f"each of {N} updates follows within the rounding of its own step"
        if not seen.all():
            update_0 = int(np.argmin(seen))
            what = next(name for name, where in blind.items() if where[update_0])
            hidden = (
                f"in {N - int(seen.sum())} of {N} updates rounding alone may be as large as what "
                f"is judged, first in update {update_0 + 1}: {what}"
            )
            reason = f"not proved: {hidden}" if ok is None else f"{reason}, but {hidden}"
    return Certificate(
        ok=ok if ratio <= 1 else False,
        ratio=ratio,
        where=(update, q.name, q.elements[column]),
        updates=N,
        judged=judged,
        certified=int((follows[1:] & seen).sum()),
        quantities={q.name: q for q in found},
        reason=reason,
    )


def _shapes(
    network: Network, names: tuple[str, ...], weights: Mapping[str, Array]
) -> dict[str, tuple[int, ...]]:
    B, _, F = network.x.shape
    H = np.shape(weights["recurrent_kernel"])[-1]
    O = network.target.shape[-1]  # noqa: E741 - the sizes declared above
    wanted = {
        "kernel": (F, H), "recurrent_kernel": (H, H), "bias": (H,),
        "dense.kernel": (H, O), "dense.bias": (O,),
    }  # fmt: skip
    if network.target.shape != (B, O):
        raise ValueError(f"target has shape {network.target.shape}, but should have {(B, O)}")
    if missing := [n for n in WEIGHTS if n not in names and not n.endswith("bias")]:
        raise ValueError(f"the weights have no {missing[0]!r}")
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


# How far rounding goes --------------------------------------------------------------------------


def _gamma(k: int, a: Arithmetic) -> float:
    """γ_k of the subject and of the float64 reference together."""
    return gamma(k, a.u_stored + _FLOAT64.u)


def _gradients(
    network: Network, weights: Mapping[str, Array], a: Arithmetic
) -> tuple[dict[str, Bounded], Bounded]:
    """dL/dw and L (N,1) at N sets of weights at once: a running error analysis, both ways.

    (Higham, Accuracy and Stability of Numerical Algorithms, section 3.3, for arrays.) The tape over
    `simple.step`, a leading axis for the weights; the output's activation is its gate.
    """
    N, _, H = weights["kernel"].shape
    tape = Tape(a, network.activation, network.dense_activation)
    w = {
        name: tape.leaf(exactly(array[:, None] if name.endswith("bias") else array, a))
        for name, array in weights.items()
    }
    steps = rounded(network.steps, a)  # (T,B,F) as the framework has it
    layer = simple.Weights(w["kernel"], w["recurrent_kernel"], w.get("bias"))
    h = tape.constant(exactly(np.zeros((N, steps.shape[1], H)), a))
    for x_t in steps:
        (h,) = simple.step(tape, layer, tape.constant(exactly(x_t, a)), h)
    output = tape.gate(tape.affine((h, w["dense.kernel"]), bias=w.get("dense.bias")))  # (N,B,O)

    target = rounded(network.target, a)
    n, p = target.size, output.b.known
    off = p.value - target
    off_error = p.error + _gamma(1, a) * (np.abs(off) + p.error)
    squares = (np.abs(off) + off_error) ** 2
    # fit's loss is a mean of means: the batch's is weighted by B, summed, and divided by B again
    loss_error = off_error * (2 * np.abs(off) + off_error) + _gamma(n + 8, a) * squares
    loss_error = loss_error.sum(axis=(1, 2)) / n + 4 * (n + 8) * a.min_normal
    loss = Bounded((off * off).sum(axis=(1, 2))[:, None] / n, loss_error[:, None] * _UP, a)

    pull_error = 2 / n * off_error * _UP + _gamma(5, a) * 2 / n * (np.abs(off) + off_error)
    output.receive(Bounded(2 / n * off, pull_error + 2 * a.min_normal, a))
    tape.backward()
    found = {name: tape.gradient(node) for name, node in w.items()}
    return {
        name: g.each(lambda part: part[:, 0]) if name.endswith("bias") else g
        for name, g in found.items()
    }, loss


def _square(g: Bounded) -> Bounded:
    return Bounded(g.value * g.value, g.error * (2 * np.abs(g.value) + g.error) * _UP, g.a)


def _moved(old: Array, new: Bounded, beta: float, a: Arithmetic) -> Bounded:
    """β·old + (1-β)·new in any form of it, old + (new - old)(1-β) as Keras writes it among them.

    The terms are at most (2-β)|old| and (1-β)|new|, each with at most 7 roundings (new's own square
    included). The constant may be 1-β rounded, or 1 minus the rounded β: it is then off by what
    rounding does to β and to 1, and that much of old and new is exchanged.
    """
    rest = 1 - beta
    size = (1 + rest) * np.abs(old) + rest * new.most
    exchanged = abs(_rounded(beta, a) - beta) + _gamma(2, a) * rest + 2 * _FLOAT64.u
    error = rest * new.error + _gamma(7, a) * size + exchanged * (np.abs(old) + new.most)
    return Bounded(old + (new.value - old) * rest, error * _UP + 16 * a.min_normal, a)


def _rounded(constant: float, a: Arithmetic) -> float:
    return float(rounded(constant, a))


_POW = 8  # in u: four units in the last place, CUDA's powf; Eigen's and glibc's are below one


def _correction(adam: Adam, t: Array, a: Arithmetic) -> Bounded:
    """α_t, and how far float32 may be from it.

    β is rounded first, by a known θ: (1+θ)^t is its share in the power. Where 1-β^t cancels (t=1:
    0.001 is left of 1), the power's error counts 1/(1-β^t) times as much. A root halves a relative
    error q but for 1-√(1-q), a quotient by 1-q makes it q/(1-q).
    """

    def of_one_minus_power(beta: float) -> tuple[Array, Array]:
        power = np.power(beta, t)
        theta = abs(_rounded(beta, a) / beta - 1) + 2 * _FLOAT64.u
        error = np.expm1(t * np.log1p(theta)) + gamma(_POW, a.u_stored + _FLOAT64.u)
        return 1 - power, power * error * _UP / (1 - power)

    first, q1 = of_one_minus_power(adam.beta_1)
    second, q2 = of_one_minus_power(adam.beta_2)
    alpha = adam.learning_rate * np.sqrt(second) / first
    relative = (2 - np.sqrt(np.maximum(1 - q2, 0))) / np.maximum(1 - q1, 0) - 1
    relative = np.where(q2 < 1, relative, np.inf)
    return Bounded(alpha, alpha * relative * _UP, a)


def _stepped(w: Array, m: Array, v: Array, adam: Adam, a: Arithmetic) -> Bounded:
    """w - α_t m'/(√v' + ε) from the recorded m' and v'.

    A compiler may compute m' and v' once for the record and once more here, with other roundings
    (fused or not): twice γ_7 of the terms, where (1-β)g is at most |m'| + β|m| by what is recorded,
    and γ_8 covers that this is rounded itself. Ten operations, of which two
    roots and two quotients may be off by two units in the last place: 24 roundings at most.
    """
    t = np.arange(1.0, len(w))[:, None]
    old, m_new, v_new = w[:-1], m[1:], v[1:]
    alpha = _correction(adam, t, a)
    again = 2 * _gamma(8, a)
    m_error = again * (np.abs(m_new) + 2 * np.abs(m[:-1])) + 32 * a.min_normal
    v_error = again * (np.abs(v_new) + 2 * np.abs(v[:-1])) + 32 * a.min_normal
    root = np.sqrt(v_new)
    root_error = np.minimum(np.sqrt(v_error), v_error / root)  # of √v_error where v is 0
    below = root + adam.epsilon
    step = alpha.value * m_new / below
    least = np.maximum(below - root_error, 0)
    most = (alpha.value + alpha.error) * (np.abs(m_new) + m_error) / least
    error = most * (1 + _gamma(24, a)) - np.abs(step) + 4 * a.min_normal * (1 + 1 / below)
    error = error + _gamma(1, a) * (np.abs(old) + most) + 4 * a.min_normal
    return Bounded(old - step, error * _UP, a)


def _quantity(
    name: str, elements: tuple[str, ...], observed: Array, begin: Array, follows: Bounded
) -> Quantity:
    """begin is what stands in row 0, exactly; the others follow."""
    expected = np.concatenate([begin, follows.value])
    bound = np.concatenate([np.zeros_like(begin), follows.error])
    residual = np.where(observed == expected, 0.0, np.abs(observed - expected))
    residual = np.where(np.isfinite(observed), residual, np.inf)
    # nothing is known where the reference or its bound overflows
    unknown = ~(np.isfinite(expected) & np.isfinite(bound))
    return Quantity(
        name, elements, observed, expected,
        np.where(unknown, 0.0, residual), np.where(unknown, np.inf, bound),
    )  # fmt: skip
