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
from rnn_check.numbers.formats import FLOAT64, UP, Arithmetic, Array, gamma_of_both
from rnn_check.recurrences.rounding import (
    added,
    again,
    larger,
    mean,
    passed,
    root_of,
    square,
    times,
)
from rnn_check.recurrences.schedules import FUNCTION as _POW
from rnn_check.recurrences.schedules import Schedule, drift

States = Mapping[str, Array]
BoundedStates = Mapping[str, Bounded]

_STEP = 24  # roundings of a step: ten operations, of which two roots and two quotients may be off
# by two units in the last place


@dataclass(frozen=True)
class Update:
    """What a step is made of: weights and gradient, the states before and after, t and η."""

    w: Bounded
    old: BoundedStates
    new: BoundedStates
    g: Bounded
    t: Any
    eta: Bounded


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
        return self.rate(t - 1, FLOAT64).value

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

    def stepped(self, u: Update) -> Bounded:
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
        return {"m": passed(old["m"], times(eta, g), self.momentum, -1)}

    def stepped(self, u: Update) -> Bounded:
        """With nesterov, what is subtracted is ηg, which m' shows as well: μm - m'.

        Whichever of both is known better is taken: of a recorded m' that is the second.
        """
        a, mu, step = u.g.a, self.momentum, times(u.eta, u.g)
        if not mu:
            error = step.error + gamma_of_both(3, a) * step.most
            down = Bounded(-step.value, error * UP + 4 * a.min_normal, a, step.most)
            return added(u.w, down)
        m, m_new = u.old["m"], u.new["m"]
        anew = 2 * gamma_of_both(6, a) * (m_new.most + 2 * mu * m.most) + 16 * a.min_normal
        if not self.nesterov:
            return added(u.w, m_new.off_by(anew))
        straight = mu * m_new.error + step.error
        shown = (1 + mu) * m_new.error + mu * m.error
        value = mu * m_new.value - np.where(
            straight < shown, step.value, mu * m.value - m_new.value
        )
        error = np.minimum(straight, shown) + (1 + mu) * anew
        size = (1 + mu) * m_new.most + mu * m.most
        return added(u.w, Bounded(value, error * UP, a, size), 2)

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
        after = {"v": mean(old["v"], square(g), self.rho)}
        if self.centered:
            after["a"] = mean(old["a"], g, self.rho)
        if self.momentum > 0:
            after["m"] = passed(old["m"], self._step(old, after, g, eta), self.momentum)
        return after

    def stepped(self, u: Update) -> Bounded:
        step = self._step(u.old, u.new, u.g, u.eta)
        if self.momentum > 0:
            m, m_new, a = u.old["m"], u.new["m"], u.g.a
            most = m_new.most + 2 * self.momentum * m.most
            step = m_new.off_by(2 * gamma_of_both(_STEP + 4, a) * most * UP + 16 * a.min_normal)
        return added(u.w, Bounded(-step.value, step.error, step.a, step.size))

    def _under(self, old: BoundedStates, new: BoundedStates, g: Bounded) -> Bounded:
        """What the root is taken of. With momentum it is not the recorded one, but one like it."""
        a, v = g.a, again(old["v"], new["v"])
        value, size, error = v.value + self.epsilon, v.most + self.epsilon, v.error
        if self.centered:
            middle = square(again(old["a"], new["a"]))
            value, size, error = value - middle.value, size + middle.most, error + middle.error
        error = error + gamma_of_both(4, a) * size + 4 * a.min_normal
        return Bounded(value, error * UP, a)

    def _step(self, old: BoundedStates, new: BoundedStates, g: Bounded, eta: Bounded) -> Bounded:
        """ηg/√(…), of the states as they were recorded, or are bounded."""
        a, scaled = g.a, times(eta, g)
        root, root_error = root_of(self._under(old, new, g))
        value = scaled.value / root
        most = scaled.most / np.maximum(root - root_error, 0)
        error = (
            most * (1 + gamma_of_both(_STEP, a)) - np.abs(value) + 4 * a.min_normal * (1 + 1 / root)
        )
        return Bounded(value, error * UP, a)

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
            "v": mean(old["v"], square(g), self.beta_2),
        }
        if self.amsgrad:
            after["s"] = larger(old["s"], again(old["v"], after["v"]))
        return after

    def stepped(self, u: Update) -> Bounded:
        a, alpha = u.g.a, self.correction(u.eta, u.t)
        m, v = again(u.old["m"], u.new["m"]), again(u.old["v"], u.new["v"])
        if self.amsgrad:
            v = larger(u.old["s"], v)
        root, root_error = root_of(v)
        below = root + self.epsilon
        step = alpha.value * m.value / below
        most = alpha.most * m.most / np.maximum(below - root_error, 0)
        error = (
            most * (1 + gamma_of_both(_STEP, a)) - np.abs(step) + 4 * a.min_normal * (1 + 1 / below)
        )
        return added(u.w, Bounded(-step, error * UP, a))

    def correction(self, eta: Bounded, t: Any) -> Bounded:
        """α_t, and how far float32 may be from it.

        β is rounded first, by a known θ: (1+θ)^t is its share in the power. Where 1-β^t cancels
        (t=1: 0.001 is left of 1), the power's error counts 1/(1-β^t) times as much. A root halves a
        relative error q but for 1-√(1-q), a quotient by 1-q makes it q/(1-q).
        """

        a = eta.a

        def of_one_minus_power(beta: float) -> tuple[Array, Array]:
            power = np.power(beta, np.asarray(t, np.float64))
            error = np.expm1(t * np.log1p(drift(beta, a))) + gamma_of_both(_POW, a)
            return 1 - power, power * error * UP / (1 - power)

        first, q1 = of_one_minus_power(self.beta_1)
        second, q2 = of_one_minus_power(self.beta_2)
        factor = np.sqrt(second) / first
        relative = (2 - np.sqrt(np.maximum(1 - q2, 0))) / np.maximum(1 - q1, 0) - 1
        relative = np.where(q2 < 1, relative, np.inf)
        error = eta.most * factor * relative + eta.error * factor
        return Bounded(eta.value * factor, error * UP, a)

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


def _rows(part: Array) -> Array:
    return part.reshape(len(part), -1)


def _share(part: Array, whole: Array) -> Array:
    """0 of nothing is 0; something of nothing, or what is no number, is anything."""
    with np.errstate(all="ignore"):
        found = part / whole
    return np.where(part == 0, 0.0, np.where(np.isnan(found), np.inf, found))
