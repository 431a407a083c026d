"""Which mistakes does an optimizer make?  Each as a subclass of a real Keras optimizer.

They stand in for keras.optimizers.Adam through the public path, a request's `replace`.  The first
line of a class's docstring is the fault's name.  `Adam` is Keras's in other words: without a fault
it must be certified like Keras's own, though it rounds elsewhere.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

Tensor = Any


class Adam(keras.optimizers.Adam):
    """none"""

    def update_step(self, gradient: Tensor, variable: Any, learning_rate: Tensor) -> None:
        index = self._get_variable_index(variable)
        m, v = self._momentums[index], self._velocities[index]
        g, t = self.seen(gradient), ops.cast(self.count(), variable.dtype)
        new_m, new_v = self.moment(m, g), self.velocity(v, g)
        step = self.rate(ops.cast(learning_rate, variable.dtype), t) * self.direction(
            new_m, new_v, t, m, g
        )
        first, second = self.correction(t)
        self.assign(m, new_m)
        self.assign(v, new_v)
        self.assign(variable, self.moved(variable, step * ops.sqrt(second) / first))

    def seen(self, g: Tensor) -> Tensor:
        return g

    def count(self) -> Tensor:
        return self.iterations + 1

    def moment(self, m: Tensor, g: Tensor) -> Tensor:
        return self.beta_1 * m + (1 - self.beta_1) * g

    def velocity(self, v: Tensor, g: Tensor) -> Tensor:
        return self.beta_2 * v + (1 - self.beta_2) * (g * g)

    def rate(self, lr: Tensor, t: Tensor) -> Tensor:
        return lr

    def correction(self, t: Tensor) -> tuple[Tensor, Tensor]:
        beta_1, beta_2 = (ops.cast(beta, t.dtype) for beta in (self.beta_1, self.beta_2))
        return 1 - ops.power(beta_1, t), 1 - ops.power(beta_2, t)

    def direction(self, m: Tensor, v: Tensor, t: Tensor, old_m: Tensor, g: Tensor) -> Tensor:
        return m / (ops.sqrt(v) + self.epsilon)

    def moved(self, variable: Tensor, step: Tensor) -> Tensor:
        return variable - step


class EpsilonInsideTheRoot(Adam):
    """epsilon inside the root"""

    def direction(self, m: Tensor, v: Tensor, t: Tensor, old_m: Tensor, g: Tensor) -> Tensor:
        return m / ops.sqrt(v + self.epsilon)


class SquareOfEpsilonInsideTheRoot(Adam):
    """square of epsilon inside the root"""

    def direction(self, m: Tensor, v: Tensor, t: Tensor, old_m: Tensor, g: Tensor) -> Tensor:
        return m / ops.sqrt(v + self.epsilon * self.epsilon)


class EpsilonCorrected(Adam):
    """epsilon beside the corrected root, as in the paper's algorithm 1"""

    def direction(self, m: Tensor, v: Tensor, t: Tensor, old_m: Tensor, g: Tensor) -> Tensor:
        return m / (ops.sqrt(v) + self.epsilon * ops.sqrt(self.correction(t)[1]))


class NoBiasCorrection(Adam):
    """bias correction missing"""

    def correction(self, t: Tensor) -> tuple[Tensor, Tensor]:
        return ops.ones_like(t), ops.ones_like(t)


class BiasCorrectionOneLate(Adam):
    """bias correction of the next step"""

    def count(self) -> Tensor:
        return self.iterations + 2


class BetasSwapped(Adam):
    """betas swapped"""

    def moment(self, m: Tensor, g: Tensor) -> Tensor:
        return self.beta_2 * m + (1 - self.beta_2) * g

    def velocity(self, v: Tensor, g: Tensor) -> Tensor:
        return self.beta_1 * v + (1 - self.beta_1) * (g * g)


class LearningRateOff(Adam):
    """learning rate off by 1e-4"""

    def rate(self, lr: Tensor, t: Tensor) -> Tensor:
        return lr * (1 + 1e-4)


class MomentForgotten(Adam):
    """m not carried between steps"""

    def moment(self, m: Tensor, g: Tensor) -> Tensor:
        return (1 - self.beta_1) * g


class VelocityForgotten(Adam):
    """v not carried between steps"""

    def velocity(self, v: Tensor, g: Tensor) -> Tensor:
        return (1 - self.beta_2) * (g * g)


class VelocityOfTheGradient(Adam):
    """v from g instead of g²"""

    def velocity(self, v: Tensor, g: Tensor) -> Tensor:
        return self.beta_2 * v + (1 - self.beta_2) * ops.absolute(g)


class GradientOfTheSum(Adam):
    """gradient of the sum instead of the mean"""

    def seen(self, g: Tensor) -> Tensor:
        return 3 * g


class GradientOff(Adam):
    """gradient off by 1e-4"""

    def seen(self, g: Tensor) -> Tensor:
        return g * (1 + 1e-4)


class GradientInBfloat16(Adam):
    """gradient rounded to bfloat16"""

    def seen(self, g: Tensor) -> Tensor:
        return ops.cast(ops.cast(g, "bfloat16"), g.dtype)


class OldMoment(Adam):
    """step by the m before the update"""

    def direction(self, m: Tensor, v: Tensor, t: Tensor, old_m: Tensor, g: Tensor) -> Tensor:
        return super().direction(old_m, v, t, old_m, g)


class Nesterov(Adam):
    """step by the m after the next update"""

    def direction(self, m: Tensor, v: Tensor, t: Tensor, old_m: Tensor, g: Tensor) -> Tensor:
        return super().direction(self.moment(m, g), v, t, m, g)


class UpdateSkipped(Adam):
    """one update skipped"""

    def update_step(self, gradient: Tensor, variable: Any, learning_rate: Tensor) -> None:
        index = self._get_variable_index(variable)
        states = (self._momentums[index], self._velocities[index], variable)
        before = [ops.convert_to_tensor(state) + 0 for state in states]
        super().update_step(gradient, variable, learning_rate)
        skipped = ops.equal(self.iterations, 4)
        for state, kept in zip(states, before, strict=True):
            self.assign(state, ops.where(skipped, kept, state))


class BiasesFrozen(Adam):
    """biases not updated"""

    def moved(self, variable: Tensor, step: Tensor) -> Tensor:
        return variable if len(variable.shape) == 1 else variable - step


class WeightDecay(keras.optimizers.AdamW):
    """weight decay sneaked in"""


class GradientClipped(keras.optimizers.Adam):
    """gradient clipped"""

    def __init__(self, learning_rate: float) -> None:
        super().__init__(learning_rate, clipvalue=1.0)


class NotCounted(keras.optimizers.Adam):
    """updates not counted"""

    def apply(self, *args: Any, **kwargs: Any) -> None:
        super().apply(*args, **kwargs)
        self._iterations.assign_sub(1)


FAULTS = {
    (found.__doc__ or "").strip(): found
    for found in list(globals().values())
    if isinstance(found, type) and issubclass(found, keras.optimizers.Adam)
    if found.__module__ == __name__
}
