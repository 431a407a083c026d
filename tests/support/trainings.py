"""Trainings in NumPy, every single operation rounded as you like, in several forms.

And the article's, cut short.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import numpy as np
import numpy.typing as npt

from rnn_check.certificates.updates import certify_training
from rnn_check.certificates.updates_result import Certificate
from rnn_check.claims import files
from rnn_check.claims.claim import Claim
from rnn_check.claims.optimizers import AdamTraining
from rnn_check.numbers import activations
from rnn_check.recurrences import kinds, updating
from rnn_check.recurrences.network import Network
from rnn_check.recurrences.optimizers import SGD, Adam, AdamW, Optimizer, RMSprop
from rnn_check.recurrences.penalties import EPSILON, MaxNorm, NonNeg, Regularizer
from rnn_check.recurrences.schedules import CosineDecay, ExponentialDecay, PiecewiseConstantDecay

Array = npt.NDArray[Any]
Weights = dict[str, Array]

FILE = files.bundled() / "article" / "training_certified.toml"
ARTICLE = files.load(FILE)
U32 = 2.0**-24
ADAM = Adam(0.01)
FORMS = ("keras", "textbook", "corrected moments")  # the last of Adam alone
OPTIMIZERS: dict[str, Optimizer] = {
    "Adam": ADAM,
    "amsgrad": Adam(0.01, beta_1=0.8, beta_2=0.99, epsilon=1e-3, amsgrad=True),
    "SGD": SGD(0.01),
    "momentum": SGD(0.01, momentum=0.9),
    "nesterov": SGD(0.01, momentum=0.75, nesterov=True),
    "RMSprop": RMSprop(0.01),
    "RMSprop, momentum": RMSprop(0.01, rho=0.8, momentum=0.5, epsilon=1e-3),
    "RMSprop, centered": RMSprop(0.01, epsilon=1e-2, centered=True),
    "RMSprop, centered, momentum": RMSprop(0.01, momentum=0.9, epsilon=1e-2, centered=True),
    "AdamW": AdamW(0.01, weight_decay=0.1),
    "Adam, all norms clipped, accumulated": Adam(
        PiecewiseConstantDecay((2, 5), (0.01, 0.1, 0.003)),
        global_clipnorm=0.7, gradient_accumulation_steps=2, weight_decay=0.05,
    ),
    "SGD, values clipped, accumulated": SGD(
        ExponentialDecay(0.01, 3, 0.9), clipvalue=0.3, gradient_accumulation_steps=3
    ),
    "nesterov, norms clipped, decayed": SGD(
        CosineDecay(0.01, 7, 0.1), momentum=0.75, nesterov=True, clipnorm=0.6, weight_decay=0.1
    ),
    "RMSprop, averaged": RMSprop(
        CosineDecay(0.01, 7, warmup_target=0.05, warmup_steps=3),
        momentum=0.5, epsilon=1e-3, use_ema=True, ema_momentum=0.75, ema_overwrite_frequency=3,
    ),
    "SGD, averaged, decayed": SGD(
        ExponentialDecay(0.01, 2, 0.7, staircase=True), use_ema=True, weight_decay=0.01
    ),
    "momentum, averaged, accumulated": SGD(
        0.01, momentum=0.5, use_ema=True, ema_momentum=0.75, ema_overwrite_frequency=2,
        gradient_accumulation_steps=2,
    ),
}  # fmt: skip


def network(**changes: Any) -> Network:
    rng = np.random.default_rng(3)
    x = rng.integers(-3, 4, (3, 4, 2)).astype(float)  # B, T, F
    return Network(**{"x": x, "target": rng.integers(-4, 5, (3, 2)).astype(float), **changes})


FROZEN = {
    name: np.random.default_rng(9).normal(size=shape).astype(np.float32).astype(float)
    for name, shape in network(recurrence=kinds.GRU).shapes(3).items()
    if not name.startswith("dense.")
}
NETWORKS = {
    "tanh": (network(), True),
    "relu, backwards, no bias": (network(activation="relu", go_backwards=True), False),
    "sigmoid, then tanh": (network(activation="sigmoid", dense_activation="tanh"), True),
    "LSTM": (network(recurrence=kinds.LSTM), True),
    "LSTM, relu, hard gates, no bias": (
        network(recurrence=kinds.LSTM, activation="relu", recurrent_activation="hard_sigmoid"),
        False,
    ),
    "GRU": (network(recurrence=kinds.GRU, go_backwards=True), True),
    "GRU, no bias": (network(recurrence=kinds.GRU), False),
    "GRU, reset before": (network(recurrence=kinds.GRU_BEFORE), True),
    "two batches, the last smaller": (network(batch_size=2), True),
    "LSTM, batches of one": (network(recurrence=kinds.LSTM, batch_size=1), True),
    "penalized, constrained": (
        network(
            regularizers={
                "kernel": Regularizer(l1=0.03),
                "bias": Regularizer(0.01, 0.02),
                "dense.kernel": Regularizer(l2=0.05),
            },
            constraints={"recurrent_kernel": MaxNorm(0.8), "bias": NonNeg(), "kernel": MaxNorm()},
        ),
        True,
    ),
    "GRU, frozen before a constrained Dense": (
        network(
            recurrence=kinds.GRU,
            frozen={n: (a, np.zeros_like(a)) for n, a in FROZEN.items()},
            constraints={"dense.kernel": MaxNorm(0.5), "dense.bias": NonNeg()},
        ),
        True,
    ),
    "masked sequences that weigh": (
        network(
            recurrence=kinds.LSTM,
            batch_size=2,
            target=np.random.default_rng(5).integers(-4, 5, (3, 4, 2)).astype(float),
            mask=np.array([[1, 1, 0, 0], [0, 1, 0, 1], [1, 1, 1, 1]], bool),
            sample_weight=np.array([[1, 2, 0.1, 3], [0, 1, 1, 0.3], [0.7, 0, 5, 1]]),
        ),
        True,
    ),
    "looked up, masked, backwards, samples that weigh": (
        network(
            x=np.array([[3.0, 1, 0, 1], [0, 0, 2, 2], [1, 3, 3, 3]]),
            recurrence=kinds.GRU,
            go_backwards=True,
            embedding=(4, 2),
            mask=np.array([[1, 1, 0, 1], [0, 0, 1, 1], [1, 1, 1, 1]], bool),
            sample_weight=np.array([0.3, 4.0, 0.0]),
        ),
        True,
    ),
    "far off, many outputs": (network(target=np.full((3, 20), 1000.0)), True),  # its loss adds 60
}


def initial(net: Network, with_bias: bool, dtype: Any = np.float32, units: int = 3) -> Weights:
    rng = np.random.default_rng(4)
    names = ["kernel", "recurrent_kernel", "dense.kernel"]
    names += ["bias", "dense.bias"] if with_bias else []
    names += ["embeddings"] if net.embedding else []
    shapes = net.shapes(units)
    drawn = {n: rng.normal(size=shapes[n]).astype(dtype).astype(float) for n in names}
    return {name: array for name, array in drawn.items() if name not in net.frozen}


Rounding = Callable[[Any], Any]


def to_float32(value: Any) -> Any:
    return np.asarray(value, np.float32).astype(float)


def always(sign: float) -> Rounding:
    return lambda value: value * (1 + sign * U32)


def either_way(seed: int) -> Rounding:
    rng = np.random.default_rng(seed)
    return lambda value: value * (1 + np.copysign(U32, rng.random(np.shape(value)) - 0.5))


ROUNDINGS = {
    "float32": to_float32,
    "always up": always(1),
    "always down": always(-1),
    "either way": either_way(1),  # drawn anew for each training
}


@dataclasses.dataclass
class Execution:
    """A training of a network, every single operation rounded by `r`, in one of several forms."""

    net: Network
    r: Rounding
    form: str
    dtype: Any = np.float32  # of the optimizer's constants
    optimizer: Optimizer = ADAM

    def dot(self, a: Array, b: Array) -> Array:
        r, total = self.r, 0.0
        for product in r(a.T[:, :, None] * b[:, None]):
            total = r(total + product)
        return np.asarray(total)

    def summed(self, d: Array) -> Array:
        return self.dot(np.ones((1, len(d))), d)[0]

    def act(self, name: str | None, z: Array) -> tuple[Array, Array]:
        """An activation and its slope."""
        r, found = self.r, activations.activation(name)
        assert found.derivative is not None
        h = r(found.function(z))
        if name == "tanh":
            return h, r(1 - r(h * h))
        if name == "sigmoid":
            return h, r(h * r(1 - h))
        return h, r(found.derivative(z, h))

    def gradients(self, w: Weights, batch: slice) -> tuple[float, Weights]:
        """The loss of a batch and its gradients, by back-propagation through time."""
        net, r, dot, own = self.net, self.r, self.dot, w
        w = {**w, **{name: value for name, (value, _) in net.frozen.items()}}
        x, target = (net.x[:, ::-1] if net.go_backwards else net.x)[batch], net.target[batch]
        rows = x.astype(int)
        x = x if net.embedding is None else w["embeddings"][rows]
        H, T = len(w["recurrent_kernel"]), x.shape[1]
        mask = np.ones((len(x), T), bool) if net.mask is None else net.mask[batch]
        mask = mask[:, ::-1] if net.go_backwards else mask
        states = [np.zeros((len(x), H)) for _ in net.recurrence.states]
        backs, shown = [], []
        for t in range(T):
            new, back = self.step(w, x[:, t], states)
            states = [np.where(mask[:, t, None], *pair) for pair in zip(new, states, strict=True)]
            backs.append(back)
            shown.append(states[0])
        shares = self.shares_of(target, mask, batch)  # (B,1), or (B,T)
        loss, g, later = 0.0, {}, [np.zeros((len(x), H)) for _ in states]

        def add(more: Weights) -> None:
            g.update({n: r(g[n] + part) if n in g else part for n, part in more.items()})

        for t in reversed(range(T)):
            if net.is_sequence or t == T - 1:
                at = (slice(None), t) if net.is_sequence else slice(None)
                o = dot(shown[t], w["dense.kernel"])
                o = r(o + w["dense.bias"]) if "dense.bias" in w else o
                p, slope = self.act(net.dense_activation, o)
                off = r(p - target[at])
                share = shares[:, t if net.is_sequence else 0, None]
                for square in r(r(off * off) * share).ravel():
                    loss = r(loss + square)
                d = r(r(r(2 / target.size) * r(off * share)) * slope)
                add({"dense.kernel": dot(shown[t].T, d), "dense.bias": self.summed(d)})
                later[0] = r(later[0] + dot(d, w["dense.kernel"].T))
            keep = mask[:, t, None]
            more, before = backs[t]([np.where(keep, part, 0.0) for part in later])
            of_x = more.pop("x", np.zeros_like(x[:, t]))
            add(more)
            later = [
                r(b + np.where(keep, 0.0, part)) for b, part in zip(before, later, strict=True)
            ]
            if net.embedding is not None:
                table = g.setdefault("embeddings", np.zeros(net.embedding))
                for row, share_of in zip(rows[:, t], of_x, strict=True):
                    table[row] = r(table[row] + share_of)
        loss = r(loss / target.size)
        for name, of in net.regularizers.items():
            pull = r(r(of.l1) * np.sign(w[name])) + r(r(2 * r(of.l2)) * w[name])
            g[name] = r(g[name] + r(pull))
            for each in w[name].ravel():
                loss = r(loss + r(r(of.l1) * abs(each)))
                loss = r(loss + r(r(of.l2) * r(each * each)))
        return float(loss), {n: g[n] for n in own}

    def shares_of(self, target: Array, mask: Array, batch: slice) -> Array:
        """What each square is multiplied by before all are divided by how many there are."""
        net, r = self.net, self.r
        shares = np.ones((len(target), target.shape[1] if net.is_sequence else 1))
        if net.is_sequence and net.mask is not None:
            shares = np.where(mask, r(mask.size / max(1, mask.sum())), 0.0)
        if net.sample_weight is not None:
            weight = r(net.sample_weight[batch])
            shares = r(shares * (weight if weight.ndim == 2 else weight[:, None]))
        return np.asarray(shares)

    def constrained(self, name: str, w: Array) -> Array:
        r, by = self.r, self.net.constraints.get(name)
        if isinstance(by, NonNeg):
            return np.maximum(w, 0.0)
        if not isinstance(by, MaxNorm):
            return w
        square = np.zeros_like(w[:1])
        for row in w:
            square = r(square + r(row * row))
        norm = r(np.sqrt(square))
        below, least = r(r(EPSILON) + norm), np.minimum(norm, r(by.max_value))
        if self.form == "keras":
            return np.asarray(r(w * r(least / below)))
        return np.asarray(r(r(w * least) / below))

    def step(self, w: Weights, x: Array, states: list[Array]) -> tuple[list[Array], Any]:
        """The states after a step, and the way back: dL/dstates to gradients and those before."""
        of = {"simple": self.simple, "lstm": self.lstm, "gru": self.gru}[self.net.recurrence.name]
        return of(w, x, *states)

    def affine(self, x: Array, W: Array, h: Array, U: Array, *biases: Array) -> Array:
        r = self.r
        z = r(self.dot(x, W) + self.dot(h, U))
        for b in biases:
            z = r(z + b)
        return np.asarray(z)

    def shares(self, w: Weights, x: Array, h: Array, d: Array) -> Weights:
        dot = self.dot
        found = {"kernel": dot(x.T, d), "recurrent_kernel": dot(h.T, d), "bias": self.summed(d)}
        return {**found, "x": dot(d, w["kernel"].T)} if self.net.embedding else found

    def simple(self, w: Weights, x: Array, h: Array) -> tuple[list[Array], Any]:
        r, biases = self.r, [w["bias"]] if "bias" in w else []
        z = self.affine(x, w["kernel"], h, w["recurrent_kernel"], *biases)
        new, slope = self.act(self.net.activation, z)

        def back(later: list[Array]) -> tuple[Weights, list[Array]]:
            d = r(later[0] * slope)
            return self.shares(w, x, h, d), [self.dot(d, w["recurrent_kernel"].T)]

        return [new], back

    def lstm(self, w: Weights, x: Array, h: Array, c: Array) -> tuple[list[Array], Any]:
        r, net = self.r, self.net
        biases = [w["bias"]] if "bias" in w else []
        s = self.affine(x, w["kernel"], h, w["recurrent_kernel"], *biases)
        names = (net.recurrent_activation, net.recurrent_activation, net.activation)
        parts = zip((*names, net.recurrent_activation), np.split(s, 4, axis=1), strict=True)
        (i, of_i), (f, of_f), (g, of_g), (o, of_o) = (self.act(*part) for part in parts)
        new = r(r(f * c) + r(i * g))
        shown, of_c = self.act(net.activation, new)

        def back(later: list[Array]) -> tuple[Weights, list[Array]]:
            dh, dc = later
            dc = r(dc + r(r(dh * o) * of_c))
            each = (r(dc * g), of_i), (r(dc * c), of_f), (r(dc * i), of_g), (r(dh * shown), of_o)
            d = np.concatenate([r(part * slope) for part, slope in each], axis=1)
            return self.shares(w, x, h, d), [self.dot(d, w["recurrent_kernel"].T), r(dc * f)]

        return [r(o * shown), new], back

    def gru(self, w: Weights, x: Array, h: Array) -> tuple[list[Array], Any]:
        r, net, dot, H = self.r, self.net, self.dot, h.shape[1]
        after = net.recurrence.biases == 2
        (Wg, Wc), (Ug, Uc) = (
            np.split(w[n], [2 * H], axis=1) for n in ("kernel", "recurrent_kernel")
        )
        b = np.split(np.atleast_2d(w["bias"]), [2 * H], axis=1) if "bias" in w else [[], []]
        z_r = self.affine(x, Wg, h, Ug, *b[0])
        names = [net.recurrent_activation] * 2
        (z, of_z), (reset, of_r) = map(self.act, names, np.split(z_r, 2, axis=1))
        if after:
            inner = dot(h, Uc)
            inner = r(inner + b[1][1]) if "bias" in w else inner
            s = dot(x, Wc)
            s = r((r(s + b[1][0]) if "bias" in w else s) + r(reset * inner))
        else:
            inner = r(reset * h)
            s = self.affine(x, Wc, inner, Uc, *b[1])
        c, of_c = self.act(net.activation, s)
        textbook = r(r(z * h) + r(r(1 - z) * c))
        new = textbook if self.form != "corrected moments" else r(c + r(z * r(h - c)))

        def back(later: list[Array]) -> tuple[Weights, list[Array]]:
            (dh,) = later
            d_z = r(r(dh * r(h - c)) * of_z)
            d_c = r(r(dh * r(1 - z)) * of_c)
            d_q = r(d_c * reset) if after else d_c
            through = dot(d_q, Uc.T)
            d_r = r(r(d_c * inner if after else through * h) * of_r)
            gates = np.concatenate([d_z, d_r], axis=1)
            own, of_state = (np.concatenate([gates, part], axis=1) for part in (d_c, d_q))
            dU = np.concatenate([dot(h.T, gates), dot((h if after else inner).T, d_q)], axis=1)
            bias = self.summed(own)
            bias = np.stack([bias, self.summed(of_state)]) if after else bias
            shares = {"kernel": dot(x.T, own), "recurrent_kernel": dU, "bias": bias}
            if net.embedding:
                shares["x"] = dot(own, w["kernel"].T)
            before = through if after else r(through * reset)
            return shares, [r(r(r(dh * z) + dot(gates, Ug.T)) + before)]

        return [new], back

    def constant(self, value: float) -> float:
        return float(self.dtype(value))

    def rate(self, n: int) -> Any:
        """The learning rate after n batches."""
        r, of = self.r, self.optimizer.learning_rate
        if isinstance(of, PiecewiseConstantDecay):
            return r(of.values[sum(n > boundary for boundary in of.boundaries)])
        if isinstance(of, ExponentialDecay):
            p = np.floor(n / of.decay_steps) if of.staircase else r(n / of.decay_steps)
            power = r(self.constant(of.decay_rate) ** p)
            return r(r(of.initial_learning_rate) * power)
        if not isinstance(of, CosineDecay):
            return r(of)
        top, first = r(of.warmup_target or of.initial_learning_rate), r(of.initial_learning_rate)
        if n < of.warmup_steps:
            return r(r(r(top - first) * r(n / of.warmup_steps)) + first)
        passed = r(min(n - of.warmup_steps, of.decay_steps) / of.decay_steps)
        half = r(0.5 * r(1 + r(np.cos(r(r(np.pi) * passed)))))
        return r(top * r(r(r(1 - of.alpha) * half) + r(of.alpha)))

    def updated(
        self, w: Weights, old: dict[str, Weights], g: Weights, n: int
    ) -> tuple[Weights, dict[str, Weights]]:
        """Weights and states after a batch, by weight, n batches after the first."""
        r, o = self.r, self.optimizer
        k = o.gradient_accumulation_steps or 1
        kept: dict[str, Weights] = {name: {} for name in w}
        if k > 1:
            sums = {name: r(old[name]["accumulated"] + part) for name, part in g.items()}
            if n % k != k - 1:
                kept = {name: {**old[name], "accumulated": sums[name]} for name in w}
                return {name: self.ended(name, kept[name], w[name], n) for name in w}, kept
            g = {name: r(total / k) for name, total in sums.items()}
            kept = {name: {"accumulated": np.zeros_like(part)} for name, part in w.items()}
        g, t, lr = self.clipped(g), n // k + 1, self.rate(n)
        after = {}
        for name, part in w.items():
            after[name], new = self.update(self.decayed(part, lr), old[name], g[name], t, lr)
            kept[name] |= new
            kept[name] = {**old[name], **kept[name]}
            after[name] = self.ended(name, kept[name], after[name], n)
        return after, kept

    def ended(self, name: str, state: Weights, w: Array, n: int) -> Array:
        """What a weight is after a batch: constrained, its average being updated in its state."""
        o, w = self.optimizer, self.constrained(name, w)
        if not o.use_ema:
            return w
        is_first = n < (o.gradient_accumulation_steps or 1)
        state["average"] = w if is_first else self.mean(state["average"], w, o.ema_momentum)
        over = updating.overwrites(o, np.array(n))
        return self.constrained(name, state["average"]) if over else w

    def decayed(self, w: Array, lr: Any) -> Array:
        r, rate = self.r, self.optimizer.weight_decay
        if rate is None:
            return w
        if self.form == "keras":
            return np.asarray(r(w - r(r(w * r(rate)) * lr)))
        return np.asarray(r(w * r(1 - r(rate * lr))))

    def clipped(self, g: Weights) -> Weights:
        r, o = self.r, self.optimizer
        if o.clipvalue is not None:
            return {
                name: np.clip(part, -r(o.clipvalue), r(o.clipvalue)) for name, part in g.items()
            }

        def square(part: Array) -> Any:
            total = 0.0
            for each in part.ravel():
                total = r(total + r(each * each))
            return total

        if o.clipnorm is not None:
            c = r(o.clipnorm)
            norms = {name: r(np.sqrt(square(part))) for name, part in g.items()}
        elif o.global_clipnorm is not None:
            c, total = r(o.global_clipnorm), 0.0
            for part in g.values():
                total = r(total + square(part))
            norms = dict.fromkeys(g, r(np.sqrt(total)))
        else:
            return g
        if self.form == "keras":
            return {name: r(r(part * c) / max(norms[name], c)) for name, part in g.items()}
        scales = {name: r(c * min(r(1 / norms[name]), r(1 / c))) for name in g}
        return {name: r(part * scales[name]) for name, part in g.items()}

    def update(self, w: Array, old: Weights, g: Array, t: int, lr: Any) -> tuple[Array, Weights]:
        """Weights and states after the update."""
        o = self.optimizer
        if isinstance(o, SGD):
            return self.descended(o, w, old, g, lr)
        if isinstance(o, RMSprop):
            return self.normalized(o, w, old, g, lr)
        return self.adam(w, old, g, t, lr)

    def mean(self, old: Array, new: Array, beta: float) -> Array:
        r = self.r
        if self.form == "keras":  # 1 - beta in Python's numbers
            return np.asarray(r(old + r(r(new - old) * r(1 - beta))))
        rest = r(1 - self.constant(beta))  # in float32
        return np.asarray(r(r(self.constant(beta) * old) + r(rest * new)))

    def descended(self, o: SGD, w: Array, old: Weights, g: Array, lr: Any) -> tuple[Array, Weights]:
        r, mu = self.r, self.constant(o.momentum)
        step = r(lr * g)
        if not o.momentum:
            return r(w - step), {}
        m = r(r(mu * old["m"]) - step)
        if not o.nesterov:
            return r(w + m), {"m": m}
        if self.form == "keras":
            return r(w + r(r(mu * m) - step)), {"m": m}
        return r(r(w + r(mu * m)) - step), {"m": m}

    def normalized(
        self, o: RMSprop, w: Array, old: Weights, g: Array, lr: Any
    ) -> tuple[Array, Weights]:
        r = self.r
        new = {"v": self.mean(old["v"], r(g * g), o.rho)}
        below = r(new["v"] + r(o.epsilon))
        if o.centered:
            new["a"] = self.mean(old["a"], g, o.rho)
            below = r(r(new["v"] - r(new["a"] * new["a"])) + r(o.epsilon))
        if self.form == "keras":
            step = r(r(lr * g) / r(np.sqrt(below)))
        else:  # by the reciprocal of the root
            step = r(r(lr * g) * r(1 / r(np.sqrt(below))))
        if o.momentum:
            step = new["m"] = r(r(self.constant(o.momentum) * old["m"]) + step)
        return r(w - step), new

    def adam(self, w: Array, old: Weights, g: Array, t: int, lr: Any) -> tuple[Array, Weights]:
        r, o = self.r, self.optimizer
        assert isinstance(o, Adam)
        eps = r(o.epsilon)
        beta_1, beta_2 = self.constant(o.beta_1), self.constant(o.beta_2)
        first, second = r(1 - r(beta_1**t)), r(1 - r(beta_2**t))
        m = self.mean(old["m"], g, o.beta_1)
        new = {"m": m, "v": self.mean(old["v"], r(g * g), o.beta_2)}
        v = new["v"]
        if o.amsgrad:
            v = new["s"] = np.maximum(old["s"], v)
        if self.form == "corrected moments":
            root = r(np.sqrt(second))
            below = r(r(np.sqrt(r(v / second))) + r(eps / root))
            return r(w - r(r(lr * r(m / first)) / below)), new
        alpha = r(r(lr * r(np.sqrt(second))) / first)
        return r(w - r(r(m * alpha) / r(r(np.sqrt(v)) + eps))), new

    def run(self, w: Weights, epochs: int) -> dict[str, Any]:
        """The recording, as `certify_training` takes it."""
        carried = updating.carried(self.optimizer)
        states = {n: {s: np.zeros_like(a) for s in carried} for n, a in w.items()}
        recorded, losses, t = [(w, states)], [], 0
        for _ in range(epochs):
            total = count = 0.0
            for batch in self.net.batches:
                w, states = recorded[-1]
                loss, g = self.gradients(w, batch)
                t, size = t + 1, batch.stop - batch.start
                total, count = self.r(total + self.r(loss * size)), count + size
                after, kept = self.updated(w, states, g, t - 1)
                recorded.append((after, kept))
            losses.append(self.r(total / count))
        return {
            "weights": {n: np.stack([at[n] for at, _ in recorded]) for n in w},
            "states": {
                s: {n: np.stack([at[n][s] for _, at in recorded]) for n in w} for s in carried
            },
            "iterations": updating.iterations(self.optimizer, np.arange(t + 1)),
            "loss": np.array(losses),
        }


def certified(recorded: dict[str, Any], net: Network, **options: Any) -> Certificate:
    return certify_training(**{"network": net, "optimizer": ADAM, **recorded, **options})


def short(updates: int, c: Claim = ARTICLE) -> Claim:
    """The article's training, or one of its kin, cut short; nothing else is asked."""
    told = dataclasses.replace  # a frozen claim
    epochs = AdamTraining(learning_rate=Decimal("0.01"), epochs=updates)
    return told(c, slow=False, training=epochs, expectations=c.expectations[:1])


def gated(kind: str) -> Claim:
    """The article's training with a layer of gates in the place of its SimpleRNN."""
    return files.load(FILE.parent / f"training_{kind.lower()}.toml")


def planted_in(by: str) -> Claim:
    """The training in which faults of the optimizer are planted: of SGD and RMSprop by two batches,
    the second of which is smaller, with all that the optimizer has; of AdamW with what all have."""
    if by == "Adam":
        return short(10)
    name = {
        "SGD": "trained_nesterov",
        "RMSprop": "trained_rmsprop_centered",
        "AdamW": "trained_adamw",
        "SGD, averaged": "trained_averages",
    }[by]
    c = files.load(files.bundled() / "derived" / f"{name}.toml")
    return dataclasses.replace(c, expectations=c.expectations[:1])
