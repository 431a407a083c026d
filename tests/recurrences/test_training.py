"""Is what a training should end with what its definitions say, in 50 digits?

The recurrences, the loss and the optimizers are written once more, number by number in mpmath,
from their definitions; gradients are differences. Nothing of rnn_check computes them.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import ml_dtypes
import mpmath
import numpy as np
import pytest

from rnn_check.certificates import drawn
from rnn_check.certificates.updates import certify_training
from rnn_check.numbers import formats
from rnn_check.numbers.bounded import exactly
from rnn_check.numbers.formats import ARITHMETICS, Array
from rnn_check.recurrences import kinds, training
from rnn_check.recurrences.dropping import Dropped
from rnn_check.recurrences.fitted import trained
from rnn_check.recurrences.network import Network
from rnn_check.recurrences.optimizers import SGD, Adam, AdamW, Optimizer, RMSprop
from rnn_check.recurrences.penalties import Regularizer
from rnn_check.recurrences.schedules import CosineDecay, ExponentialDecay, PiecewiseConstantDecay
from rnn_check.recurrences.updating import carried, ends_with
from tests.support.sampling import sampled

Numbers = dict[tuple[str, tuple[int, ...]], Any]  # by weight and place
Exact = list[tuple[Numbers, dict[str, Numbers], Any]]  # weights, states, loss before, each update

X = np.array([[[1, -2], [2, 1]], [[-1, 1], [3, -1]], [[0.5, 1], [1, 1]]])
INPUTS = [[[mpmath.mpf(number) for number in x_t] for x_t in sample] for sample in X.tolist()]
TARGET = np.array([[1.0], [-2.0], [0.5]])
NETWORKS = {
    "SimpleRNN": Network(X, TARGET, batch_size=2),
    "LSTM": Network(X, TARGET, recurrence=kinds.LSTM, batch_size=2),
    "GRU": Network(X, TARGET, recurrence=kinds.GRU, batch_size=2),
    "GRU, reset before": Network(X, TARGET, recurrence=kinds.GRU_BEFORE, batch_size=2),
}
ADAM: dict[str, Any] = {"beta_1": 0.75, "beta_2": 0.875, "epsilon": 2.0**-7}
OPTIMIZERS: dict[str, Optimizer] = {
    "SGD": SGD(0.125),
    "momentum": SGD(0.125, momentum=0.75),
    "nesterov": SGD(0.125, momentum=0.75, nesterov=True),
    "RMSprop": RMSprop(0.125, rho=0.75, epsilon=2.0**-7),
    "RMSprop, momentum": RMSprop(0.125, rho=0.75, momentum=0.5, epsilon=2.0**-7),
    "RMSprop, centered": RMSprop(0.125, rho=0.75, epsilon=2.0**-7, centered=True),
    "Adam": Adam(0.125, **ADAM),
    "amsgrad": Adam(0.125, **ADAM, amsgrad=True),
    "AdamW": AdamW(
        PiecewiseConstantDecay((0, 2), (0.125, 0.0625, 0.25)), beta_1=0.75, beta_2=0.875,
        epsilon=2.0**-7, weight_decay=0.25, clipvalue=0.25,
    ),
    "decayed, clipped": SGD(
        CosineDecay(0.125, 4, alpha=0.25), momentum=0.75, weight_decay=0.125, clipnorm=0.5
    ),
    "warm, averaged": SGD(
        CosineDecay(0.125, 3, warmup_target=0.25, warmup_steps=2),
        use_ema=True, ema_momentum=0.75, ema_overwrite_frequency=3,
    ),
    "accumulated, clipped": RMSprop(
        ExponentialDecay(0.125, 2, 0.5), rho=0.75, epsilon=2.0**-7, global_clipnorm=0.5,
        gradient_accumulation_steps=2, weight_decay=0.5,
    ),
    "stairs, averaged": Adam(
        ExponentialDecay(0.125, 2, 0.5, staircase=True), beta_1=0.75, beta_2=0.875,
        epsilon=2.0**-7, use_ema=True, ema_momentum=0.5, global_clipnorm=100.0,
    ),
}  # fmt: skip
EPOCHS = 2


@pytest.fixture(autouse=True)
def digits() -> Iterator[None]:
    with mpmath.workdps(50):
        yield


def initial(net: Network) -> dict[str, Array]:
    rng = np.random.default_rng(8)
    return {name: rng.integers(-4, 5, shape) / 4.0 for name, shape in net.shapes(2).items()}


# -- in 50 digits ----------------------------------------------------------------------------------


def sigmoid(z: Any) -> Any:
    return 1 / (1 + mpmath.exp(-z))


def last_state(net: Network, w: Numbers, x: list[Any]) -> list[Any]:
    H = range(2)
    h, c = [mpmath.mpf(0)] * 2, [mpmath.mpf(0)] * 2

    def own(x_t: list[Any], of: int, j: int) -> list[tuple[Any, Any]]:
        return [(x_t[i], w["kernel", (i, 2 * of + j)]) for i in range(2)]

    def recurrent(state: list[Any], of: int, j: int) -> list[tuple[Any, Any]]:
        return [(state[i], w["recurrent_kernel", (i, 2 * of + j)]) for i in H]

    def bias(of: int, j: int, *row: int) -> list[tuple[Any, Any]]:
        return [(1, w["bias", (*row, 2 * of + j)])]

    for x_t in x:
        if net.recurrence is kinds.SIMPLE:
            h = [
                mpmath.tanh(mpmath.fdot(own(x_t, 0, j) + recurrent(h, 0, j) + bias(0, j)))
                for j in H
            ]
        elif net.recurrence is kinds.LSTM:
            s = [[mpmath.fdot(own(x_t, of, j) + recurrent(h, of, j) + bias(of, j)) for j in H]
                 for of in range(4)]  # fmt: skip
            c = [sigmoid(s[1][j]) * c[j] + sigmoid(s[0][j]) * mpmath.tanh(s[2][j]) for j in H]
            h = [sigmoid(s[3][j]) * mpmath.tanh(c[j]) for j in H]
        else:
            after = net.recurrence is kinds.GRU
            rows: list[tuple[int, ...]] = [(0,), (1,)] if after else [()]
            z, r = (
                [
                    sigmoid(
                        mpmath.fdot(
                            own(x_t, of, j)
                            + recurrent(h, of, j)
                            + [b for row in rows for b in bias(of, j, *row)]
                        )
                    )
                    for j in H
                ]
                for of in range(2)
            )
            if after:
                q = [mpmath.fdot(recurrent(h, 2, j) + bias(2, j, 1)) for j in H]
                inner = [[(r[j], q[j]), *bias(2, j, 0)] for j in H]
            else:
                reset = [r[j] * h[j] for j in H]
                inner = [recurrent(reset, 2, j) + bias(2, j) for j in H]
            new = [mpmath.tanh(mpmath.fdot(own(x_t, 2, j) + inner[j])) for j in H]
            h = [z[j] * h[j] + (1 - z[j]) * new[j] for j in H]
    return h


def loss_of(net: Network, w: Numbers, samples: range) -> Any:
    total = mpmath.mpf(0)
    for s in samples:
        h = last_state(net, w, INPUTS[s])
        parts = [(h[i], w["dense.kernel", (i, 0)]) for i in range(2)]
        total += (mpmath.fdot([*parts, (1, w["dense.bias", (0,)])]) - net.target[s, 0]) ** 2
    return total / len(samples)


class EpsilonInside(Adam):
    """A mistake: the root is taken of v and of epsilon."""


def learning_rate(of: Any, n: int) -> Any:
    """After n batches, from Keras's documentation."""
    if isinstance(of, ExponentialDecay):
        exponent = mpmath.mpf(n) / of.decay_steps
        exponent = mpmath.floor(exponent) if of.staircase else exponent
        return of.initial_learning_rate * mpmath.mpf(of.decay_rate) ** exponent
    if isinstance(of, CosineDecay):
        top = of.initial_learning_rate
        if of.warmup_target is not None:
            if n < of.warmup_steps:
                return top + (of.warmup_target - top) * mpmath.mpf(n) / of.warmup_steps
            top, n = of.warmup_target, n - of.warmup_steps
        fraction = mpmath.mpf(min(n, of.decay_steps)) / of.decay_steps
        wave = (1 + mpmath.cos(mpmath.pi * fraction)) / 2
        return top * ((1 - of.alpha) * wave + of.alpha)
    if isinstance(of, PiecewiseConstantDecay):
        passed = [value for low, value in zip(of.boundaries, of.values[1:], strict=True) if n > low]
        return mpmath.mpf(passed[-1] if passed else of.values[0])
    return mpmath.mpf(of)


def clipped(o: Optimizer, g: Numbers) -> Numbers:
    if o.clipvalue is not None:
        return {key: max(min(part, o.clipvalue), -o.clipvalue) for key, part in g.items()}

    def norm(*names: str) -> Any:
        return mpmath.sqrt(sum(part**2 for (name, _), part in g.items() if name in names))

    names = {name for name, _ in g}
    if o.clipnorm is not None:
        return {key: g[key] * o.clipnorm / max(norm(key[0]), o.clipnorm) for key in g}
    if o.global_clipnorm is not None:
        scale = o.global_clipnorm / max(norm(*names), o.global_clipnorm)
        return {key: part * scale for key, part in g.items()}
    return g


def updated(
    o: Optimizer, w: Numbers, states: dict[str, Numbers], g: Numbers, n: int, stored: Any
) -> tuple[Numbers, dict[str, Numbers]]:
    """All weights and states after a batch, n batches after the first."""
    k = o.gradient_accumulation_steps or 1
    new = {name: dict(part) for name, part in states.items()}
    if k > 1:
        sums = {key: states["accumulated"][key] + part for key, part in g.items()}
        due = n % k == k - 1
        new["accumulated"] = {key: mpmath.mpf(0) if due else stored(sums[key]) for key in g}
        if not due:
            return w, new
        g = {key: part / k for key, part in sums.items()}
    g, eta, after = clipped(o, g), learning_rate(o.learning_rate, n), {}
    for key, part in w.items():
        own = {name: states[name][key] for name in o.states}
        decayed = part - eta * (o.weight_decay or 0) * part
        moved, kept = update(o, decayed, own, g[key], n // k + 1, eta)
        for name, value in kept.items():
            new[name][key] = stored(value)
        if o.use_ema:
            average = moved
            if n:
                beta = o.ema_momentum
                average = beta * states["average"][key] + (1 - beta) * moved
            new["average"][key] = stored(average)
            every = o.ema_overwrite_frequency
            moved = average if every and (n + 1) % every == 0 else moved
        after[key] = stored(moved)
    return after, new


def update(
    o: Optimizer, w: Any, s: dict[str, Any], g: Any, t: int, eta: Any
) -> tuple[Any, dict[str, Any]]:
    """One weight's, from the papers and Keras's documentation."""
    if isinstance(o, SGD):
        if not o.momentum:
            return w - eta * g, {}
        velocity = o.momentum * s["m"] - eta * g
        if o.nesterov:
            return w + o.momentum * velocity - eta * g, {"m": velocity}
        return w + velocity, {"m": velocity}
    if isinstance(o, RMSprop):
        new = {"v": o.rho * s["v"] + (1 - o.rho) * g**2}
        variance = new["v"]
        if o.centered:
            new["a"] = o.rho * s["a"] + (1 - o.rho) * g
            variance = variance - new["a"] ** 2
        step = eta * g / mpmath.sqrt(variance + o.epsilon)
        if o.momentum:
            step = new["m"] = o.momentum * s["m"] + step
        return w - step, new
    assert isinstance(o, Adam)
    new = {
        "m": o.beta_1 * s["m"] + (1 - o.beta_1) * g,
        "v": o.beta_2 * s["v"] + (1 - o.beta_2) * g**2,
    }
    below = new["v"]
    if o.amsgrad:
        below = new["s"] = max(s["s"], new["v"])
    rate = eta * mpmath.sqrt(1 - mpmath.mpf(o.beta_2) ** t) / (1 - mpmath.mpf(o.beta_1) ** t)
    if isinstance(o, EpsilonInside):
        return w - rate * new["m"] / mpmath.sqrt(below + o.epsilon), new
    return w - rate * new["m"] / (mpmath.sqrt(below) + o.epsilon), new


@functools.cache  # every optimizer begins with the same weights
def gradients(recurrence: kinds.Recurrence, at: tuple[Any, ...], batch: range) -> Numbers:
    """By differences, off by step·f''/2 and 10^-50/step: in the 25th digit."""
    (net,) = (each for each in NETWORKS.values() if each.recurrence is recurrence)
    w, step = dict(at), mpmath.mpf(10) ** -25
    here = loss_of(net, w, batch)
    return {key: (loss_of(net, {**w, key: w[key] + step}, batch) - here) / step for key in w}


def run(net: Network, optimizer: Optimizer, stored: Any = lambda value: value) -> Exact:
    """Each update from the state before it, as it was stored."""
    w: Numbers = {
        (name, at): mpmath.mpf(float(array[at]))
        for name, array in initial(net).items()
        for at in np.ndindex(array.shape)
    }
    states = {name: dict.fromkeys(w, mpmath.mpf(0)) for name in carried(optimizer)}
    found: Exact = []
    batches = itertools.cycle([range(2), range(2, 3)])
    for n, batch in zip(range(2 * EPOCHS), batches, strict=False):
        found.append((w, states, loss_of(net, w, batch)))
        g = gradients(net.recurrence, tuple(w.items()), batch)
        w, states = updated(optimizer, w, states, g, n, stored)
    return [*found, (w, states, None)]


def arrays(net: Network, part: Numbers) -> dict[str, Array]:
    return {
        name: np.array([float(part[name, at]) for at in np.ndindex(shape)]).reshape(shape)
        for name, shape in net.shapes(2).items()
    }


def losses(exact: Exact) -> list[Any]:
    """The mean over the samples: two in the first batch, one in the second."""
    each = [loss for _, _, loss in exact[:-1]]
    return [(2 * each[i] + each[i + 1]) / 3 for i in range(0, len(each), 2)]


# -- held against it -------------------------------------------------------------------------------

CASES = {f"{name}-{by}": (name, by) for name in NETWORKS for by in OPTIMIZERS}
OTHERS: dict[str, Optimizer] = {  # of which each is another optimizer's mistake
    "SGD": SGD(-0.125),
    "momentum": SGD(0.125, momentum=0.75, nesterov=True),
    "nesterov": SGD(0.125, momentum=0.75),
    "RMSprop": RMSprop(0.125, rho=0.875, epsilon=2.0**-7),
    "RMSprop, momentum": RMSprop(0.125, rho=0.75, epsilon=2.0**-7),
    "RMSprop, centered": RMSprop(0.125, rho=0.75, epsilon=2.0**-7),
    "Adam": Adam(0.125, beta_1=0.875, beta_2=0.75, epsilon=2.0**-7),
    "amsgrad": Adam(0.125, beta_1=0.75, beta_2=0.875, epsilon=2.0**-8, amsgrad=True),
    "AdamW": replace(OPTIMIZERS["AdamW"], weight_decay=0.25 * (1 + 2.0**-8)),
    "decayed, clipped": replace(OPTIMIZERS["decayed, clipped"], clipnorm=None, global_clipnorm=0.5),
    "warm, averaged": replace(OPTIMIZERS["warm, averaged"], ema_overwrite_frequency=2),
    "accumulated, clipped": replace(
        OPTIMIZERS["accumulated, clipped"], gradient_accumulation_steps=3
    ),
    "stairs, averaged": replace(
        OPTIMIZERS["stairs, averaged"], learning_rate=ExponentialDecay(0.125, 2, 0.5)
    ),
}


@pytest.mark.thinned(2)
@pytest.mark.parametrize("case", sampled(sorted(CASES), 13))
def test_where_a_training_ends_is_within_the_bound(case: str) -> None:
    name, by = CASES[case]
    net, start = NETWORKS[name], initial(NETWORKS[name])
    exact = run(net, OPTIMIZERS[by])
    end = {"weights": exact[-1][0], **exact[-1][1]}
    ends = arrays(net, end[ends_with(OPTIMIZERS[by])])
    given = {weight: (array, np.zeros_like(array)) for weight, array in start.items()}
    for arithmetic in ("exact", "float64", "float32"):
        found = trained(net, OPTIMIZERS[by], given, EPOCHS, arithmetic)
        for weight, (value, bound) in found.weights.items():
            # float() of 50 digits rounds them once
            assert (abs(value - ends[weight]) <= bound + 2.0**-53 * abs(ends[weight])).all()
        value, bound = found.loss
        for epoch, wanted in enumerate(losses(exact)):
            assert abs(mpmath.mpf(float(value[epoch])) - wanted) <= float(bound[epoch])
        wrong = trained(net, OTHERS[by], given, EPOCHS, arithmetic)
        assert any(
            (abs(found.weights[weight].value - wrong.weights[weight].value) > bound).any()
            for weight, (_, bound) in found.weights.items()
        )


def recorded(net: Network, optimizer: Optimizer, dtype: str) -> dict[str, Any]:
    """What `certify_training` is given of exact updates, each rounded as it was stored."""

    def stored(value: Any) -> Any:
        return mpmath.mpf(float(np.dtype(dtype).type(float(value))))

    exact = run(net, optimizer, stored)
    weights = [arrays(net, w) for w, _, _ in exact]
    states = {
        state: [arrays(net, part[state]) for _, part, _ in exact] for state in carried(optimizer)
    }
    return {
        "weights": {n: np.stack([w[n] for w in weights]) for n in weights[0]},
        "states": {
            state: {n: np.stack([w[n] for w in each]) for n in weights[0]}
            for state, each in states.items()
        },
        "iterations": np.arange(len(weights)) // (optimizer.gradient_accumulation_steps or 1),
        "loss": np.array([float(stored(loss)) for loss in losses(exact)]),
        "dtype": dtype,
        "network": net,
    }


@pytest.mark.thinned(2)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", sampled(sorted(CASES), 19))
def test_the_exact_updates_are_certified_and_others_are_not(case: str, dtype: str) -> None:
    name, by = CASES[case]
    told = recorded(NETWORKS[name], OPTIMIZERS[by], dtype)
    found = certify_training(**told, optimizer=OPTIMIZERS[by])
    assert found.ok, found.reason
    assert found.certified == 2 * EPOCHS
    other = OTHERS[by]
    if set(carried(other)) <= set(carried(OPTIMIZERS[by])):
        assert certify_training(**told, optimizer=other).ok is False


@pytest.mark.parametrize(
    "other",
    [Adam(0.125 * (1 + 1e-9), **ADAM), EpsilonInside(0.125, **ADAM)],
    ids=["learning rate off by 1e-9", "epsilon inside the root"],
)
def test_updates_of_another_adam_are_not_certified(other: Adam) -> None:
    told = recorded(NETWORKS["SimpleRNN"], other, "float64")
    found = certify_training(**told, optimizer=Adam(0.125, **ADAM))
    assert not found.ok
    assert found.where[:2] == (1, "weights")


def test_at_zero_any_subgradient_of_a_penalty_is_allowed_and_none_beyond() -> None:
    a = ARITHMETICS["float32"]
    w = exactly(np.array([[0.0, -0.0, 1e-40, 0.5, -0.5]]), a)
    found = Regularizer(l1=0.125).gradient(w)
    for at, allowed in enumerate([(-1, 0, 1)] * 3 + [(1,), (-1,)]):
        for sign in (-1, -0.5, 0, 0.5, 1):
            inside = abs(0.125 * sign - found.value[0, at]) <= found.error[0, at]
            assert inside == (min(allowed) <= sign <= max(allowed))
    assert abs(0.126 - found.value[0, 0]) > found.error[0, 0]


@pytest.mark.parametrize("mixed", ["float16", "bfloat16"])
def test_weights_that_are_cast_are_within_the_bound_of_mixed_precision_alone(mixed: str) -> None:
    net = NETWORKS["SimpleRNN"]
    start = {name: array[None] * (1 + 1e-3) for name, array in initial(net).items()}
    a, exact = ARITHMETICS["float32"], formats.arithmetic("exact")
    stored = {"float16": np.float16, "bfloat16": ml_dtypes.bfloat16}[mixed]
    cast = {n: exactly(w.astype(stored).astype(np.float64), exact) for n, w in start.items()}
    wanted, loss = training.gradients(net, cast, net.batches[0])
    weights = {name: exactly(w, a) for name, w in start.items()}
    within = {}
    for scale in (1.0, 2.0**5, 2.0**18):
        for computed_in in (mixed, ""):
            other = replace(net, mixed=computed_in, scale=scale)
            with np.errstate(invalid="ignore"):  # 0 times a bound that is infinite
                found, of_loss = training.gradients(other, weights, net.batches[0])
            pairs = [(found[name], wanted[name]) for name in wanted] + [(of_loss, loss)]
            off = [(np.abs(b.value - exactly.value) <= b.error).all() for b, exactly in pairs]
            within[scale, computed_in] = all(off)
            known = [bool(np.isfinite(b.error).all()) for b in found.values()]
            overflows = computed_in == "float16" and scale == 2.0**18
            assert known == [not overflows] * len(found)  # of none, if one may overflow
    assert all(within[scale, mixed] for scale, _ in within)
    assert not any(within[scale, ""] for scale, _ in within)


@pytest.mark.parametrize("kind", NETWORKS)
def test_a_batch_whose_samples_have_masks_of_their_own_is_the_mean_of_its_samples(
    kind: str,
) -> None:
    """Of one sample a gate's mask scales the rows of its columns in the kernels, and so it does
    their gradients."""
    net, a = NETWORKS[kind], ARITHMETICS["float32"]
    w = {name: exactly(array[None], a) for name, array in initial(net).items()}
    units, rng = w["recurrent_kernel"].value.shape[-2], np.random.default_rng(0)

    def drawn_one(size: int, scale: float) -> Array:
        return rng.integers(0, 2, (1, net.gates, 2, size)) * scale

    def columns(mask: Array, sample: int) -> Array:  # (1,G,B,R) -> (1,R,GH)
        return np.repeat(mask[:, :, sample].swapaxes(1, 2), units, axis=-1)

    for _ in range(3):
        one = Dropped(drawn_one(net.features, 2.0), drawn_one(units, 4.0))
        found, loss = training.gradients(net, w, slice(0, 2), one)
        alone = []
        for sample in (0, 1):
            scales = {
                "kernel": columns(one.of_input, sample),
                "recurrent_kernel": columns(one.of_state, sample),
            }
            scaled = {n: exactly(b.value * scales.get(n, 1.0), a) for n, b in w.items()}
            of, of_loss = training.gradients(net, scaled, slice(sample, sample + 1))
            alone.append(({n: g.value * scales.get(n, 1.0) for n, g in of.items()}, of_loss.value))
        for name, g in found.items():
            wanted = (alone[0][0][name] + alone[1][0][name]) / 2
            assert (np.abs(g.value - wanted) <= g.error).all()
        assert (np.abs(loss.value - (alone[0][1] + alone[1][1]) / 2) <= loss.error).all()
        turned = Dropped(one.of_input, one.of_state.copy())
        turned.of_state[0, -1, 0, 0] = 4.0 - turned.of_state[0, -1, 0, 0]
        other, _ = training.gradients(net, w, slice(0, 2), turned)
        off = (
            np.abs(other[n].value - g.value) > other[n].error + g.error for n, g in found.items()
        )
        assert any(each.any() for each in off)  # what differs in one number is another update


@pytest.mark.parametrize("gates", [1, 3])
def test_every_mask_that_can_be_drawn_is_there_once(gates: int) -> None:
    for rates in (drawn.Rates(0.5, 0.75), drawn.Rates(0.5, 0.0), drawn.Rates(0.0, 0.875)):
        drawing = drawn.Drawing(rates, 1, 2, 1, gates)
        every = drawing.all()
        pairs = {(x.tobytes(), h.tobytes()) for x, h in zip(*every, strict=True)}
        assert len(pairs) == len(every.of_input) == drawing.masks
        assert every.of_input.shape[1:] == (gates, 1, 2) and every.of_state.shape[1:] == (
            gates,
            1,
            1,
        )


@pytest.mark.parametrize("kind", NETWORKS)
def test_batches_of_a_stateful_layer_are_one_long_sequence(kind: str) -> None:
    """As long as nothing is learnt: the losses are those at its ends."""
    net = replace(NETWORKS[kind], batch_size=1, stateful=True)
    start = initial(net)
    epochs, S = 2, len(net.x)
    told = trained(net, SGD(0.0), {n: (w, np.zeros_like(w)) for n, w in start.items()}, epochs)
    w = {name: exactly(array[None], ARITHMETICS["float32"]) for name, array in start.items()}
    losses, bounds = [], []
    long = np.concatenate([*net.x] * epochs)
    for batch in range(epochs * S):
        x, target = long[None, : (batch + 1) * net.x.shape[1]], net.target[batch % S][None]
        loss = training.gradients(replace(net, x=x, target=target), w, slice(0, 1))[1]
        losses.append(loss.value.item())
        bounds.append(loss.error.item())
    for epoch in range(epochs):
        own = slice(epoch * S, (epoch + 1) * S)
        off = abs(told.loss.value[epoch] - np.mean(losses[own]))
        assert off <= told.loss.error[epoch] + np.mean(bounds[own])
    alone = trained(replace(net, stateful=False), SGD(0.0), {
        n: (a, np.zeros_like(a)) for n, a in start.items()}, epochs)  # fmt: skip
    assert (np.abs(alone.loss.value - told.loss.value) > alone.loss.error + told.loss.error).all()


def stateful_with_dropout(x: list[list[float]], drawn_masks: list[float], afresh: int = -1) -> Any:
    """What is recorded of a linear layer of one unit that learns nothing, h = m·x + h/2: a batch a
    sample, whose losses alone tell what was drawn. afresh: a batch that forgets the one before."""
    h, losses = mpmath.mpf(0), []
    for batch, m in enumerate(drawn_masks):
        h = 0 if batch == afresh else h
        h = m * mpmath.mpf(x[batch % len(x)][0]) + h / 2
        losses.append((h - 1) ** 2)
    K, N = len(x), len(drawn_masks)
    epochs = [sum(losses[at : at + K]) / K for at in range(0, N, K)]
    values = {"kernel": [[1.0]] * len(x[0]), "recurrent_kernel": [[0.5]]}
    weights = {name: np.array([w] * (N + 1)) for name, w in values.items()}
    return certify_training(
        weights, {}, optimizer=SGD(0.0), iterations=np.arange(N + 1), dtype="float64",
        network=Network(
            np.array(x)[:, None], np.ones((K, 1)), activation="linear", batch_size=1, stateful=True
        ),
        loss=np.array([float(loss) for loss in epochs]), rates=drawn.Rates(0.5, 0.0),
    )  # fmt: skip


@pytest.mark.parametrize("samples", [1, 2])
def test_what_was_drawn_is_followed_from_batch_to_batch(samples: int) -> None:
    """With one batch an epoch each loss tells what was drawn, with two both together."""
    x = [[3.0], [5.0]][:samples]
    masks = [2.0, 0.0, 2.0, 2.0, 0.0, 2.0]
    assert stateful_with_dropout(x, masks).ratio <= 1
    for batch in (1, 3):
        assert stateful_with_dropout(x, masks, afresh=batch).ok is False


def test_more_than_can_be_followed_is_not_proved() -> None:
    """2⁷ masks of the first batch, in whose states the second may begin."""
    many = [[2.0**i for i in range(7)]] * 2
    found = stateful_with_dropout(many, [0.0] * 4)
    assert found.ok is None
    assert "too many masks" in found.reason
