"""Trainings in NumPy, every single operation rounded as you like, in several forms of Adam.

And the article's, cut short.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import numpy as np
import numpy.typing as npt

from rnn_check.certificates.updates import Adam, Certificate, Network, certify_training
from rnn_check.claims import files
from rnn_check.claims.claim import Claim
from rnn_check.claims.tables import TrainingTable
from rnn_check.numbers import activations

Array = npt.NDArray[Any]
Weights = dict[str, Array]

FILE = files.bundled() / "article" / "training_certified.toml"
ARTICLE = files.load(FILE)
U32 = 2.0**-24
ADAM = Adam(0.01)
FORMS = ("keras", "textbook", "corrected moments")


def network(**changes: Any) -> Network:
    rng = np.random.default_rng(3)
    x = rng.integers(-3, 4, (3, 4, 2)).astype(float)  # B, T, F
    return Network(**{"x": x, "target": rng.integers(-4, 5, (3, 2)).astype(float), **changes})


NETWORKS = {
    "tanh": (network(), True),
    "relu, backwards, no bias": (network(activation="relu", go_backwards=True), False),
    "sigmoid, then tanh": (network(activation="sigmoid", dense_activation="tanh"), True),
    "far off, many outputs": (network(target=np.full((3, 20), 1000.0)), True),  # its loss adds 60
}


def initial(net: Network, with_bias: bool, dtype: Any = np.float32, units: int = 3) -> Weights:
    rng = np.random.default_rng(4)
    F, O = net.x.shape[2], net.target.shape[1]  # noqa: E741
    shapes = {"kernel": (F, units), "recurrent_kernel": (units, units), "dense.kernel": (units, O)}
    if with_bias:
        shapes |= {"bias": (units,), "dense.bias": (O,)}
    return {n: rng.normal(size=shape).astype(dtype).astype(float) for n, shape in shapes.items()}


Rounding = Callable[[Any], Any]


def to_float32(value: Any) -> Any:
    return np.asarray(value, np.float32).astype(float)


def always(sign: float) -> Rounding:
    return lambda value: value * (1 + sign * U32)


def either_way(seed: int) -> Rounding:
    rng = np.random.default_rng(seed)
    return lambda value: value * (1 + U32 * rng.choice([-1.0, 1.0], np.shape(value)))


ROUNDINGS = {
    "float32": to_float32,
    "always up": always(1),
    "always down": always(-1),
    "either way": either_way(1),
    "either way again": either_way(2),
}


@dataclasses.dataclass
class Execution:
    """Adam on a network, every single operation rounded by `r`, in one of several forms."""

    net: Network
    r: Rounding
    form: str
    dtype: Any = np.float32  # of the betas

    def dot(self, a: Array, b: Array) -> Array:
        r, total = self.r, 0.0
        for k in range(a.shape[1]):
            total = r(total + r(a[:, k, None] * b[k]))
        return np.asarray(total)

    def gradients(self, w: Weights) -> tuple[float, Weights]:
        net, r, dot = self.net, self.r, self.dot
        act, dense = (
            activations.ACTIVATIONS[str(n)] for n in (net.activation, net.dense_activation)
        )
        assert act.derivative is not None
        assert dense.derivative is not None
        x = net.x[:, ::-1] if net.go_backwards else net.x
        h = [np.zeros((len(x), len(w["recurrent_kernel"])))]
        z = []
        for t in range(x.shape[1]):
            both = r(dot(x[:, t], w["kernel"]) + dot(h[-1], w["recurrent_kernel"]))
            z.append(r(both + w["bias"]) if "bias" in w else both)
            h.append(r(act.function(z[-1])))
        o = dot(h[-1], w["dense.kernel"])
        o = r(o + w["dense.bias"]) if "dense.bias" in w else o
        p = r(dense.function(o))
        off = r(p - net.target)
        loss = 0.0
        for square in r(off * off).ravel():
            loss = r(loss + square)
        loss = r(loss / off.size)
        d = r(r(r(2 / off.size) * off) * r(dense.derivative(o, p)))
        g = {"dense.kernel": dot(h[-1].T, d), "dense.bias": dot(np.ones((1, len(d))), d)[0]}
        later = dot(d, w["dense.kernel"].T)
        for t in reversed(range(x.shape[1])):
            slope = r(1 - r(h[t + 1] * h[t + 1])) if net.activation == "tanh" else None
            delta = r(later * (r(act.derivative(z[t], h[t + 1])) if slope is None else slope))
            shares = {
                "kernel": dot(x[:, t].T, delta),
                "recurrent_kernel": dot(h[t].T, delta),
                "bias": dot(np.ones((1, len(delta))), delta)[0],
            }
            g |= {n: r(g[n] + share) if n in g else share for n, share in shares.items()}
            later = dot(delta, w["recurrent_kernel"].T)
        return float(loss), {n: g[n] for n in w}

    def update(self, w: Array, m: Array, v: Array, g: Array, t: int) -> tuple[Array, Array, Array]:
        r = self.r
        beta_1, beta_2 = (float(self.dtype(b)) for b in (ADAM.beta_1, ADAM.beta_2))
        lr, eps = r(ADAM.learning_rate), r(ADAM.epsilon)
        first, second = r(1 - r(beta_1**t)), r(1 - r(beta_2**t))
        if self.form == "keras":  # 1 - beta in Python's numbers
            m = r(m + r(r(g - m) * r(1 - ADAM.beta_1)))
            v = r(v + r(r(r(g * g) - v) * r(1 - ADAM.beta_2)))
        else:  # 1 - beta in float32
            m = r(r(beta_1 * m) + r(r(1 - beta_1) * g))
            v = r(r(beta_2 * v) + r(r(r(1 - beta_2) * g) * g))
        if self.form == "corrected moments":
            root = r(np.sqrt(second))
            below = r(r(np.sqrt(r(v / second))) + r(eps / root))
            return r(w - r(r(lr * r(m / first)) / below)), m, v
        alpha = r(r(lr * r(np.sqrt(second))) / first)
        return r(w - r(r(m * alpha) / r(r(np.sqrt(v)) + eps))), m, v

    def run(self, w: Weights, updates: int) -> dict[str, Any]:
        """The recording, as `certify_training` takes it."""
        m, v = ({n: np.zeros_like(a) for n, a in w.items()} for _ in range(2))
        states: list[tuple[Weights, Weights, Weights]] = [(w, m, v)]
        losses = []
        for t in range(1, updates + 1):
            w, m, v = states[-1]
            loss, g = self.gradients(w)
            losses.append(loss)
            new = {n: self.update(w[n], m[n], v[n], g[n], t) for n in w}
            states.append(tuple({n: part[i] for n, part in new.items()} for i in range(3)))  # type: ignore[arg-type]
        parts = {
            name: {n: np.stack([state[i][n] for state in states]) for n in w}
            for i, name in enumerate(("weights", "m", "v"))
        }
        return {**parts, "iterations": np.arange(updates + 1), "loss": np.array(losses)}


def certified(recorded: dict[str, Any], net: Network, **options: Any) -> Certificate:
    return certify_training(**{"network": net, "adam": ADAM, **recorded, **options})


def short(updates: int) -> Claim:
    """The article's training, cut short; nothing else is asked."""
    told = dataclasses.replace  # a frozen claim
    epochs = TrainingTable(optimizer="Adam", learning_rate=Decimal("0.01"), epochs=updates)
    return told(ARTICLE, slow=False, training=epochs, expectations=ARTICLE.expectations[:1])
