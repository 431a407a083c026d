"""What do weights become after an update, and how far may they be off?

    SGD       without momentum       w' = w - ηg
              m' = μm - ηg           w' = w + m'                  Sutskever et al. 2013
                          nesterov:  w' = w + μm' - ηg
    RMSprop   v' = ρv + (1-ρ)g²      d = ηg/√(v' + ε)             Hinton 2012; ε inside the root
                          centered:  d = ηg/√(v' - a'² + ε)       a' = ρa + (1-ρ)g; Graves 2013
              without momentum       w' = w - d
              m' = μm + d            w' = w - m'
    Adam      m' = β₁m + (1-β₁)g     w' = w - α_t m'/(√v' + ε)    α_t = η √(1-β₂^t) / (1-β₁^t)
              v' = β₂v + (1-β₂)g²
                          amsgrad:   s' = max(s, v') in place of v'
    AdamW     Adam whose weights decay by default

as Keras has them; each state starts at 0. What any of them may be told besides (decay, clipping,
averages, accumulation), and happens before and after these steps, is in `updating`. Adam is Kingma
& Ba, arXiv:1412.6980, the order of computation given just before their section 2.1, where ε stands
outside the root and is not corrected for bias.

An optimizer is read as numbers (`updated`) and as bounded ones: what its states become (`moved`),
and the weights by the states before and after (`stepped`), which a certificate has as they were
recorded. A compiler may compute a state once for the record and once more for the weights, with
other roundings (fused or not), so twice its roundings are allowed there.

All arrays of an update have one shape, or shapes that broadcast; t counts updates from 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass
from typing import Any

import numpy as np

from rnn_check.numbers.bounded import Bounded
from rnn_check.numbers.formats import ARITHMETICS, Arithmetic, Array, rounded
from rnn_check.recurrences.schedules import FUNCTION as _POW
from rnn_check.recurrences.schedules import Schedule, drift
from rnn_check.recurrences.schedules import gamma_of_both as _gamma

States = Mapping[str, Array]
BoundedStates = Mapping[str, Bounded]

_FLOAT64 = ARITHMETICS["float64"]
_UP = 1 + 2.0**-40  # covers the rounding of a bound's own few operations
_STEP = 24  # roundings of a step: ten operations, of which two roots and two quotients may be off
# by two units in the last place


@dataclass(frozen=True)
class Optimizer:
    """What an optimizer was told; the defaults are Keras's.

    eta, below, is the learning rate of the update (see `rate`), of a shape that broadcasts.
    """

    learning_rate: float | Schedule
    _: KW_ONLY
    weight_decay: float | None = None
    clipvalue: float | None = None
    clipnorm: float | None = None
    global_clipnorm: float | None = None
    use_ema: bool = False
    ema_momentum: float = 0.99
    ema_overwrite_frequency: int | None = None
    gradient_accumulation_steps: int | None = None

    def rate(self, n: Any, a: Arithmetic) -> Bounded:
        """The learning rate after n batches; a constant is rounded once, which its users count."""
        if isinstance(self.learning_rate, Schedule):
            return self.learning_rate.bounded(n, a)
        return Bounded(np.asarray(self.learning_rate), np.zeros(()), a)

    def _eta(self, t: int) -> Any:
        """The learning rate of update t, counted from 1."""
        return self.rate(t - 1, _FLOAT64).value

    @property
    def states(self) -> tuple[str, ...]:
        """What its own step carries of each weight from update to update."""
        raise NotImplementedError

    def updated(self, w: Array, states: States, g: Array, t: int) -> tuple[Array, dict[str, Array]]:
        """Weights and states after the optimizer's own step: the definition."""
        raise NotImplementedError

    def moved(self, old: BoundedStates, g: Bounded, eta: Bounded) -> dict[str, Bounded]:
        """The states after the update, from those before it and the gradient."""
        raise NotImplementedError

    def stepped(
        self,
        w: Bounded,
        old: BoundedStates,
        new: BoundedStates,
        g: Bounded,
        t: Any,
        eta: Bounded,
    ) -> Bounded:
        """The weights after the update."""
        raise NotImplementedError

    def moves(self, g: Bounded, new: States, t: Array, largest: float) -> Array:
        """(N,) how far the error of g (N,...) may move a weight, in units of a usual step.

        new: the states after each update, recorded. t (N,). largest: gradient of the training.
        """
        raise NotImplementedError


@dataclass(frozen=True)
class SGD(Optimizer):
    """Gradient descent, plain or with momentum."""

    momentum: float = 0.0
    nesterov: bool = False

    @property
    def states(self) -> tuple[str, ...]:
        return ("m",) if self.momentum else ()

    def updated(self, w: Array, states: States, g: Array, t: int) -> tuple[Array, dict[str, Array]]:
        step = self._eta(t) * g
        if not self.momentum:
            return w - step, {}
        m = self.momentum * states["m"] - step
        return w + (self.momentum * m - step if self.nesterov else m), {"m": m}

    def moved(self, old: BoundedStates, g: Bounded, eta: Bounded) -> dict[str, Bounded]:
        if not self.momentum:
            return {}
        m, mu, step = old["m"], self.momentum, _times(eta, g)
        error = mu * m.error + step.error + _gamma(4, g.a) * (mu * m.most + step.most)
        value = mu * m.value - step.value
        return {"m": Bounded(value, error * _UP + 8 * g.a.min_normal, g.a)}

    def stepped(
        self,
        w: Bounded,
        old: BoundedStates,
        new: BoundedStates,
        g: Bounded,
        t: Any,
        eta: Bounded,
    ) -> Bounded:
        """With nesterov, what is subtracted is ηg, which m' shows as well: μm - m'.

        Whichever of both is known better is taken: of a recorded m' that is the second.
        """
        a, mu, step = g.a, self.momentum, _times(eta, g)
        if not mu:
            error = step.error + _gamma(3, a) * step.most
            down = Bounded(-step.value, error * _UP + 4 * a.min_normal, a, step.most)
            return added(w, down)
        m, m_new = old["m"], new["m"]
        again = 2 * _gamma(6, a) * (m_new.most + 2 * mu * m.most) + 16 * a.min_normal
        if not self.nesterov:
            return added(w, m_new.off_by(again))
        straight = mu * m_new.error + step.error
        shown = (1 + mu) * m_new.error + mu * m.error
        value = mu * m_new.value - np.where(
            straight < shown, step.value, mu * m.value - m_new.value
        )
        error = np.minimum(straight, shown) + (1 + mu) * again
        size = (1 + mu) * m_new.most + mu * m.most
        return added(w, Bounded(value, error * _UP, a, size), 2)

    def moves(self, g: Bounded, new: States, t: Array, largest: float) -> Array:
        """A usual step is that of the largest gradient."""
        each = _share(_rows(g.error), np.asarray(largest))
        return np.asarray(each.max(axis=1, initial=0.0))


@dataclass(frozen=True)
class RMSprop(Optimizer):
    """Gradients divided by the root of the running mean of their squares."""

    rho: float = 0.9
    momentum: float = 0.0
    epsilon: float = 1e-7
    centered: bool = False

    @property
    def states(self) -> tuple[str, ...]:
        return ("v", *("a" for _ in range(self.centered)), *("m" for _ in range(self.momentum > 0)))

    def updated(self, w: Array, states: States, g: Array, t: int) -> tuple[Array, dict[str, Array]]:
        rho = self.rho
        after = {"v": rho * states["v"] + (1 - rho) * (g * g)}
        below = after["v"] + self.epsilon
        if self.centered:
            after["a"] = rho * states["a"] + (1 - rho) * g
            below = after["v"] - after["a"] ** 2 + self.epsilon
        step = self._eta(t) * g / np.sqrt(below)
        if self.momentum > 0:
            step = after["m"] = self.momentum * states["m"] + step
        return w - step, after

    def moved(self, old: BoundedStates, g: Bounded, eta: Bounded) -> dict[str, Bounded]:
        after = {"v": mean(old["v"], _square(g), self.rho)}
        if self.centered:
            after["a"] = mean(old["a"], g, self.rho)
        if self.momentum > 0:
            step, m, mu = self._step(old, after, g, eta), old["m"], self.momentum
            error = step.error + mu * m.error + _gamma(4, g.a) * (step.most + mu * m.most)
            value = mu * m.value + step.value
            after["m"] = Bounded(value, error * _UP + 8 * g.a.min_normal, g.a)
        return after

    def stepped(
        self,
        w: Bounded,
        old: BoundedStates,
        new: BoundedStates,
        g: Bounded,
        t: Any,
        eta: Bounded,
    ) -> Bounded:
        step = self._step(old, new, g, eta)
        if self.momentum > 0:
            m, m_new, a = old["m"], new["m"], g.a
            most = m_new.most + 2 * self.momentum * m.most
            step = m_new.off_by(2 * _gamma(_STEP + 4, a) * most * _UP + 16 * a.min_normal)
        return added(w, Bounded(-step.value, step.error, step.a, step.size))

    def _under(self, old: BoundedStates, new: BoundedStates, g: Bounded) -> Bounded:
        """What the root is taken of. With momentum it is not the recorded one, but one like it."""
        a, v = g.a, _again(old["v"], new["v"])
        value, size, error = v.value + self.epsilon, v.most + self.epsilon, v.error
        if self.centered:
            mean = _square(_again(old["a"], new["a"]))
            value, size, error = value - mean.value, size + mean.most, error + mean.error
        error = error + _gamma(4, a) * size + 4 * a.min_normal
        return Bounded(value, error * _UP, a)

    def _step(self, old: BoundedStates, new: BoundedStates, g: Bounded, eta: Bounded) -> Bounded:
        """ηg/√(…), of the states as they were recorded, or are bounded."""
        a, scaled = g.a, _times(eta, g)
        root, root_error = _root(self._under(old, new, g))
        value = scaled.value / root
        most = scaled.most / np.maximum(root - root_error, 0)
        error = most * (1 + _gamma(_STEP, a)) - np.abs(value) + 4 * a.min_normal * (1 + 1 / root)
        return Bounded(value, error * _UP, a)

    def moves(self, g: Bounded, new: States, t: Array, largest: float) -> Array:
        """A usual step is about the learning rate."""
        mean = new["a"] ** 2 if self.centered else 0.0
        below = np.sqrt(np.maximum(new["v"] - mean, 0) + self.epsilon)
        return np.asarray(_share(_rows(g.error), _rows(below)).max(axis=1, initial=0.0))


@dataclass(frozen=True)
class Adam(Optimizer):
    """Running means of gradients divided by the root of those of their squares."""

    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-7
    amsgrad: bool = False

    @property
    def states(self) -> tuple[str, ...]:
        return ("m", "v", *("s" for _ in range(self.amsgrad)))

    def updated(self, w: Array, states: States, g: Array, t: int) -> tuple[Array, dict[str, Array]]:
        m, v = states["m"], states["v"]
        after = {"m": m + (g - m) * (1 - self.beta_1), "v": v + (g * g - v) * (1 - self.beta_2)}
        below = after["v"]
        if self.amsgrad:
            below = after["s"] = np.maximum(states["s"], after["v"])
        alpha = self._eta(t) * np.sqrt(1 - self.beta_2**t) / (1 - self.beta_1**t)
        return w - alpha * after["m"] / (np.sqrt(below) + self.epsilon), after

    def moved(self, old: BoundedStates, g: Bounded, eta: Bounded) -> dict[str, Bounded]:
        after = {
            "m": mean(old["m"], g, self.beta_1),
            "v": mean(old["v"], _square(g), self.beta_2),
        }
        if self.amsgrad:
            after["s"] = _largest(old["s"], _again(old["v"], after["v"]))
        return after

    def stepped(
        self,
        w: Bounded,
        old: BoundedStates,
        new: BoundedStates,
        g: Bounded,
        t: Any,
        eta: Bounded,
    ) -> Bounded:
        a, alpha = g.a, self.correction(eta, t)
        m, v = _again(old["m"], new["m"]), _again(old["v"], new["v"])
        if self.amsgrad:
            v = _largest(old["s"], v)
        root, root_error = _root(v)
        below = root + self.epsilon
        step = alpha.value * m.value / below
        most = alpha.most * m.most / np.maximum(below - root_error, 0)
        error = most * (1 + _gamma(_STEP, a)) - np.abs(step) + 4 * a.min_normal * (1 + 1 / below)
        return added(w, Bounded(-step, error * _UP, a))

    def correction(self, eta: Bounded, t: Any) -> Bounded:
        """α_t, and how far float32 may be from it.

        β is rounded first, by a known θ: (1+θ)^t is its share in the power. Where 1-β^t cancels
        (t=1: 0.001 is left of 1), the power's error counts 1/(1-β^t) times as much. A root halves a
        relative error q but for 1-√(1-q), a quotient by 1-q makes it q/(1-q).
        """

        a = eta.a

        def of_one_minus_power(beta: float) -> tuple[Array, Array]:
            power = np.power(beta, np.asarray(t, np.float64))
            error = np.expm1(t * np.log1p(drift(beta, a))) + _gamma(_POW, a)
            return 1 - power, power * error * _UP / (1 - power)

        first, q1 = of_one_minus_power(self.beta_1)
        second, q2 = of_one_minus_power(self.beta_2)
        factor = np.sqrt(second) / first
        relative = (2 - np.sqrt(np.maximum(1 - q2, 0))) / np.maximum(1 - q1, 0) - 1
        relative = np.where(q2 < 1, relative, np.inf)
        error = eta.most * factor * relative + eta.error * factor
        return Bounded(eta.value * factor, error * _UP, a)

    def moves(self, g: Bounded, new: States, t: Array, largest: float) -> Array:
        """A usual step is about the learning rate."""
        rate = np.sqrt(1 - self.beta_2**t) / (1 - self.beta_1**t)
        below = np.sqrt(new["s"] if self.amsgrad else new["v"]) + self.epsilon
        step = _share(_rows(g.error), _rows(below))
        return np.asarray(rate * (1 - self.beta_1) * step.max(axis=1, initial=0.0))


@dataclass(frozen=True)
class AdamW(Adam):
    """Adam whose weights decay (Loshchilov & Hutter, arXiv:1711.05101, without their schedule)."""

    _: KW_ONLY
    weight_decay: float | None = 0.004


OPTIMIZERS: dict[str, type[Optimizer]] = {
    "Adam": Adam, "AdamW": AdamW, "SGD": SGD, "RMSprop": RMSprop
}  # fmt: skip


# -- how far rounding goes -------------------------------------------------------------------------


def _held(constant: float, a: Arithmetic) -> float:
    return float(rounded(constant, a))


def _rows(part: Array) -> Array:
    return part.reshape(len(part), -1)


def _share(part: Array, whole: Array) -> Array:
    """0 of nothing is 0; something of nothing, or what is no number, is anything."""
    with np.errstate(all="ignore"):
        found = part / whole
    return np.where(part == 0, 0.0, np.where(np.isnan(found), np.inf, found))


def _times(eta: Bounded, g: Bounded) -> Bounded:
    """Not rounded: its users count."""
    error = eta.most * g.error + eta.error * g.size
    return Bounded(eta.value * g.value, error, g.a, eta.size * g.size)


def _square(g: Bounded) -> Bounded:
    return Bounded(g.value * g.value, g.error * (2 * np.abs(g.value) + g.error) * _UP, g.a)


def mean(old: Bounded, new: Bounded, beta: float) -> Bounded:
    """β·old + (1-β)·new in any form of it, old + (new - old)(1-β) as Keras writes it among them.

    The terms are at most (2-β)|old| and (1-β)|new|, each with at most 7 roundings (new's own square
    included). The constant may be 1-β rounded, or 1 minus the rounded β: it is then off by what
    rounding does to β and to 1, and that much of old and new is exchanged.
    """
    a, rest = new.a, 1 - beta
    size = (1 + rest) * old.most + rest * new.most
    exchanged = abs(_held(beta, a) - beta) + _gamma(2, a) * rest + 2 * _FLOAT64.u
    error = beta * old.error + rest * new.error
    error = error + _gamma(7, a) * size + exchanged * (old.most + new.most)
    value = old.value + (new.value - old.value) * rest
    return Bounded(value, error * _UP + 16 * a.min_normal, a)


def _again(old: Bounded, new: Bounded) -> Bounded:
    """A running mean computed once more: twice γ_7 of the terms, where (1-β)g is at most
    |m'| + β|m| by what is known, and γ_8 covers that this is rounded itself."""
    a = new.a
    return new.off_by(2 * _gamma(8, a) * (new.most + 2 * old.most) + 32 * a.min_normal)


def _largest(one: Bounded, other: Bounded) -> Bounded:
    """Neither rounded nor farther off than what it is chosen from."""
    value = np.maximum(one.value, other.value)
    return Bounded(value, np.maximum(one.error, other.error), other.a)


def _root(v: Bounded) -> tuple[Array, Array]:
    """√v, and how far √v̂ may be from it: √δ where v is 0."""
    root = np.sqrt(v.value)
    return root, np.fmin(np.sqrt(v.error), v.error / root)


def added(w: Bounded, step: Bounded, parts: int = 1) -> Bounded:
    """w + step, of which some parts may be added one after the other."""
    a = w.a
    error = w.error + step.error + _gamma(parts, a) * (w.most + step.most) + 4 * a.min_normal
    return Bounded(w.value + step.value, error * _UP, a)
