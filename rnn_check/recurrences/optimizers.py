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

as Keras has them; each state starts at 0. Adam is Kingma & Ba, arXiv:1412.6980, the order of
computation given just before their section 2.1, where ε stands outside the root and is not
corrected for bias.

An optimizer is read as numbers (`updated`) and as bounded ones: what its states become (`moved`),
and the weights by the states before and after (`stepped`), which a certificate has as they were
recorded. A compiler may compute a state once for the record and once more for the weights, with
other roundings (fused or not), so twice its roundings are allowed there.

All arrays of an update have one shape, or shapes that broadcast; t counts updates from 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from rnn_check.numbers.bounded import Bounded
from rnn_check.numbers.formats import ARITHMETICS, Arithmetic, Array, gamma, rounded

States = Mapping[str, Array]
BoundedStates = Mapping[str, Bounded]

_FLOAT64 = ARITHMETICS["float64"]
_UP = 1 + 2.0**-40  # covers the rounding of a bound's own few operations
_POW = 8  # in u: four units in the last place, CUDA's powf; Eigen's and glibc's are below one
_STEP = 24  # roundings of a step: ten operations, of which two roots and two quotients may be off
# by two units in the last place


@dataclass(frozen=True)
class Optimizer:
    """What an optimizer was told; the defaults are Keras's."""

    learning_rate: float

    @property
    def states(self) -> tuple[str, ...]:
        """What it carries of each weight from update to update."""
        raise NotImplementedError

    def updated(self, w: Array, states: States, g: Array, t: int) -> tuple[Array, dict[str, Array]]:
        """Weights and states after the update: the definition."""
        raise NotImplementedError

    def moved(self, old: BoundedStates, g: Bounded) -> dict[str, Bounded]:
        """The states after the update, from those before it and the gradient."""
        raise NotImplementedError

    def stepped(
        self, w: Bounded, old: BoundedStates, new: BoundedStates, g: Bounded, t: Any
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
        step = self.learning_rate * g
        if not self.momentum:
            return w - step, {}
        m = self.momentum * states["m"] - step
        return w + (self.momentum * m - step if self.nesterov else m), {"m": m}

    def moved(self, old: BoundedStates, g: Bounded) -> dict[str, Bounded]:
        if not self.momentum:
            return {}
        m, mu, eta = old["m"], self.momentum, self.learning_rate
        error = mu * m.error + eta * g.error + _gamma(4, g.a) * (mu * m.most + eta * g.most)
        value = mu * m.value - eta * g.value
        return {"m": Bounded(value, error * _UP + 8 * g.a.min_normal, g.a)}

    def stepped(
        self, w: Bounded, old: BoundedStates, new: BoundedStates, g: Bounded, t: Any
    ) -> Bounded:
        """With nesterov, what is subtracted is ηg, which m' shows as well: μm - m'.

        Whichever of both is known better is taken: of a recorded m' that is the second.
        """
        a, mu, eta = g.a, self.momentum, self.learning_rate
        if not mu:
            most = eta * g.most
            error = eta * g.error + _gamma(3, a) * most
            return _added(w, Bounded(-eta * g.value, error * _UP + 4 * a.min_normal, a, most))
        m, m_new = old["m"], new["m"]
        again = 2 * _gamma(6, a) * (m_new.most + 2 * mu * m.most) + 16 * a.min_normal
        if not self.nesterov:
            return _added(w, m_new.off_by(again))
        straight = mu * m_new.error + eta * g.error
        shown = (1 + mu) * m_new.error + mu * m.error
        value = mu * m_new.value - np.where(
            straight < shown, eta * g.value, mu * m.value - m_new.value
        )
        error = np.minimum(straight, shown) + (1 + mu) * again
        size = (1 + mu) * m_new.most + mu * m.most
        return _added(w, Bounded(value, error * _UP, a, size), 2)

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
        step = self.learning_rate * g / np.sqrt(below)
        if self.momentum > 0:
            step = after["m"] = self.momentum * states["m"] + step
        return w - step, after

    def moved(self, old: BoundedStates, g: Bounded) -> dict[str, Bounded]:
        after = {"v": _mean(old["v"], _square(g), self.rho)}
        if self.centered:
            after["a"] = _mean(old["a"], g, self.rho)
        if self.momentum > 0:
            step, m, mu = self._step(old, after, g), old["m"], self.momentum
            error = step.error + mu * m.error + _gamma(4, g.a) * (step.most + mu * m.most)
            value = mu * m.value + step.value
            after["m"] = Bounded(value, error * _UP + 8 * g.a.min_normal, g.a)
        return after

    def stepped(
        self, w: Bounded, old: BoundedStates, new: BoundedStates, g: Bounded, t: Any
    ) -> Bounded:
        step = self._step(old, new, g)
        if self.momentum > 0:
            m, m_new, a = old["m"], new["m"], g.a
            most = m_new.most + 2 * self.momentum * m.most
            step = m_new.off_by(2 * _gamma(_STEP + 4, a) * most * _UP + 16 * a.min_normal)
        return _added(w, Bounded(-step.value, step.error, step.a, step.size))

    def _under(self, old: BoundedStates, new: BoundedStates, g: Bounded) -> Bounded:
        """What the root is taken of. With momentum it is not the recorded one, but one like it."""
        a, v = g.a, _again(old["v"], new["v"])
        value, size, error = v.value + self.epsilon, v.most + self.epsilon, v.error
        if self.centered:
            mean = _square(_again(old["a"], new["a"]))
            value, size, error = value - mean.value, size + mean.most, error + mean.error
        error = error + _gamma(4, a) * size + 4 * a.min_normal
        return Bounded(value, error * _UP, a)

    def _step(self, old: BoundedStates, new: BoundedStates, g: Bounded) -> Bounded:
        """ηg/√(…), of the states as they were recorded, or are bounded."""
        a, eta = g.a, self.learning_rate
        root, root_error = _root(self._under(old, new, g))
        value = eta * g.value / root
        most = eta * g.most / np.maximum(root - root_error, 0)
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
        alpha = self.learning_rate * np.sqrt(1 - self.beta_2**t) / (1 - self.beta_1**t)
        return w - alpha * after["m"] / (np.sqrt(below) + self.epsilon), after

    def moved(self, old: BoundedStates, g: Bounded) -> dict[str, Bounded]:
        after = {
            "m": _mean(old["m"], g, self.beta_1),
            "v": _mean(old["v"], _square(g), self.beta_2),
        }
        if self.amsgrad:
            after["s"] = _largest(old["s"], _again(old["v"], after["v"]))
        return after

    def stepped(
        self, w: Bounded, old: BoundedStates, new: BoundedStates, g: Bounded, t: Any
    ) -> Bounded:
        a, alpha = g.a, self.correction(t, g.a)
        m, v = _again(old["m"], new["m"]), _again(old["v"], new["v"])
        if self.amsgrad:
            v = _largest(old["s"], v)
        root, root_error = _root(v)
        below = root + self.epsilon
        step = alpha.value * m.value / below
        most = alpha.most * m.most / np.maximum(below - root_error, 0)
        error = most * (1 + _gamma(_STEP, a)) - np.abs(step) + 4 * a.min_normal * (1 + 1 / below)
        return _added(w, Bounded(-step, error * _UP, a))

    def correction(self, t: Any, a: Arithmetic) -> Bounded:
        """α_t, and how far float32 may be from it.

        β is rounded first, by a known θ: (1+θ)^t is its share in the power. Where 1-β^t cancels
        (t=1: 0.001 is left of 1), the power's error counts 1/(1-β^t) times as much. A root halves a
        relative error q but for 1-√(1-q), a quotient by 1-q makes it q/(1-q).
        """

        def of_one_minus_power(beta: float) -> tuple[Array, Array]:
            power = np.power(beta, np.asarray(t, np.float64))
            theta = abs(_held(beta, a) / beta - 1) + 2 * _FLOAT64.u if beta else 0.0
            error = np.expm1(t * np.log1p(theta)) + gamma(_POW, a.u_stored + _FLOAT64.u)
            return 1 - power, power * error * _UP / (1 - power)

        first, q1 = of_one_minus_power(self.beta_1)
        second, q2 = of_one_minus_power(self.beta_2)
        alpha = self.learning_rate * np.sqrt(second) / first
        relative = (2 - np.sqrt(np.maximum(1 - q2, 0))) / np.maximum(1 - q1, 0) - 1
        relative = np.where(q2 < 1, relative, np.inf)
        return Bounded(alpha, alpha * relative * _UP, a)

    def moves(self, g: Bounded, new: States, t: Array, largest: float) -> Array:
        """A usual step is about the learning rate."""
        rate = np.sqrt(1 - self.beta_2**t) / (1 - self.beta_1**t)
        below = np.sqrt(new["s"] if self.amsgrad else new["v"]) + self.epsilon
        step = _share(_rows(g.error), _rows(below))
        return np.asarray(rate * (1 - self.beta_1) * step.max(axis=1, initial=0.0))


OPTIMIZERS: dict[str, type[Optimizer]] = {"Adam": Adam, "SGD": SGD, "RMSprop": RMSprop}


# -- how far rounding goes -------------------------------------------------------------------------


def _gamma(k: int, a: Arithmetic) -> float:
    """γ_k of the subject and of the float64 reference together."""
    return gamma(k, a.u_stored + _FLOAT64.u)


def _held(constant: float, a: Arithmetic) -> float:
    return float(rounded(constant, a))


def _rows(part: Array) -> Array:
    return part.reshape(len(part), -1)


def _share(part: Array, whole: Array) -> Array:
    """0 of nothing is 0; something of nothing, or what is no number, is anything."""
    with np.errstate(all="ignore"):
        found = part / whole
    return np.where(part == 0, 0.0, np.where(np.isnan(found), np.inf, found))


def _square(g: Bounded) -> Bounded:
    return Bounded(g.value * g.value, g.error * (2 * np.abs(g.value) + g.error) * _UP, g.a)


def _mean(old: Bounded, new: Bounded, beta: float) -> Bounded:
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


def _added(w: Bounded, step: Bounded, parts: int = 1) -> Bounded:
    """w + step, of which some parts may be added one after the other."""
    a = w.a
    error = w.error + step.error + _gamma(parts, a) * (w.most + step.most) + 4 * a.min_normal
    return Bounded(w.value + step.value, error * _UP, a)
