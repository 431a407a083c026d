"""Which mistakes does an optimizer make?  Each as a subclass of a real Keras optimizer.

They stand in for Keras's Adam, SGD and RMSprop through the public path, a request's `replace`.  The
first line of a class's docstring is the fault's name.  `Adam`, `SGD` and `RMSprop` are Keras's in
other words: without a fault they must be certified like Keras's own, though they round elsewhere.
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


class WeightDecay(keras.optimizers.Adam):
    """weight decay sneaked in"""

    def __init__(self, learning_rate: float) -> None:
        super().__init__(learning_rate, weight_decay=0.004)


class GradientClipped(keras.optimizers.Adam):
    """gradient clipped"""

    def __init__(self, learning_rate: float) -> None:
        super().__init__(learning_rate, clipvalue=1.0)


class NotCounted(keras.optimizers.Adam):
    """updates not counted"""

    def apply(self, *args: Any, **kwargs: Any) -> None:
        super().apply(*args, **kwargs)
        self._iterations.assign_sub(1)


# -- gradient descent ------------------------------------------------------------------------------


def last_of_two(optimizer: Any) -> Tensor:
    """Whether this update is by the second of two batches."""
    return ops.equal(optimizer.iterations % 2, 1)


def first_of_two(optimizer: Any) -> Tensor:
    return ops.equal(optimizer.iterations % 2, 0)


class SGD(keras.optimizers.SGD):
    """none"""

    def update_step(self, gradient: Tensor, variable: Any, learning_rate: Tensor) -> None:
        m = self.momentums[self._get_variable_index(variable)]
        rate = self.rate(ops.cast(learning_rate, variable.dtype))
        g, old = self.seen(gradient), self.before(ops.convert_to_tensor(m))
        new = self.velocity(old, g, rate)
        step = self.step(new, old, g, rate)
        self.assign(m, new)
        self.assign(variable, self.moved(variable, step))

    def seen(self, g: Tensor) -> Tensor:
        return g

    def rate(self, lr: Tensor) -> Tensor:
        return lr

    def before(self, m: Tensor) -> Tensor:
        return m

    def velocity(self, m: Tensor, g: Tensor, lr: Tensor) -> Tensor:
        return self.momentum * m - lr * g

    def step(self, new: Tensor, old: Tensor, g: Tensor, lr: Tensor) -> Tensor:
        return self.momentum * new - lr * g if self.nesterov else new

    def moved(self, variable: Tensor, step: Tensor) -> Tensor:
        return variable + step


class MomentumOfTheOtherSign(SGD):
    """momentum of the other sign"""

    def velocity(self, m: Tensor, g: Tensor, lr: Tensor) -> Tensor:
        return -self.momentum * m - lr * g


class NoLookAhead(SGD):
    """no look ahead"""

    def step(self, new: Tensor, old: Tensor, g: Tensor, lr: Tensor) -> Tensor:
        return new


class LookAheadByTheOldVelocity(SGD):
    """look ahead by the old velocity"""

    def step(self, new: Tensor, old: Tensor, g: Tensor, lr: Tensor) -> Tensor:
        return self.momentum * old - lr * g


class LooksAheadTwice(SGD):
    """look ahead twice"""

    def step(self, new: Tensor, old: Tensor, g: Tensor, lr: Tensor) -> Tensor:
        return self.momentum * (self.momentum * new - lr * g) - lr * g


class VelocityResetEachEpoch(SGD):
    """velocity reset each epoch"""

    def before(self, m: Tensor) -> Tensor:
        return ops.where(first_of_two(self), ops.zeros_like(m), m)


class Dampened(SGD):
    """velocity dampened"""

    def velocity(self, m: Tensor, g: Tensor, lr: Tensor) -> Tensor:
        return self.momentum * m - (1 - self.momentum) * lr * g


class MomentumOff(SGD):
    """momentum off by 1e-4"""

    def velocity(self, m: Tensor, g: Tensor, lr: Tensor) -> Tensor:
        return self.momentum * (1 + 1e-4) * m - lr * g


class RateOffAfterMomentum(SGD):
    """learning rate off by 1e-4 after the velocity"""

    def step(self, new: Tensor, old: Tensor, g: Tensor, lr: Tensor) -> Tensor:
        return super().step(new, old, g, lr * (1 + 1e-4))


class SumOfTheBatch(SGD):
    """gradient of the batch's sum instead of its mean"""

    def seen(self, g: Tensor) -> Tensor:
        return ops.where(first_of_two(self), 2 * g, g)


class WeightedByTheBatch(SGD):
    """gradient of the smaller batch weighted by its size"""

    def seen(self, g: Tensor) -> Tensor:
        return ops.where(last_of_two(self), g / 2, g)


class LastBatchDropped(SGD):
    """last batch of each epoch dropped"""

    def seen(self, g: Tensor) -> Tensor:
        return ops.where(last_of_two(self), 0 * g, g)


class GradientInHalf(SGD):
    """gradient rounded to float16"""

    def seen(self, g: Tensor) -> Tensor:
        return ops.cast(ops.cast(g, "float16"), g.dtype)


class BiasesForgotten(SGD):
    """biases not updated by descent"""

    def moved(self, variable: Tensor, step: Tensor) -> Tensor:
        return variable if len(variable.shape) == 1 else variable + step


class NormClipped(keras.optimizers.SGD):
    """norm of gradients clipped"""

    def __init__(self, **options: Any) -> None:
        super().__init__(clipnorm=0.5, **options)


class DecaySneakedIn(keras.optimizers.SGD):
    """weights decay"""

    def __init__(self, **options: Any) -> None:
        super().__init__(weight_decay=1e-3, **options)


# -- gradients divided by the root of their squares ------------------------------------------------


class RMSprop(keras.optimizers.RMSprop):
    """none"""

    def update_step(self, gradient: Tensor, variable: Any, learning_rate: Tensor) -> None:
        index = self._get_variable_index(variable)
        held = (self._velocities[index], self._average_gradients[index], self._momentums[index])
        v, a, m = map(ops.convert_to_tensor, held)
        g, lr = self.seen(gradient), ops.cast(learning_rate, variable.dtype)
        new_v, new_a = self.mean(self.before(v), self.size(g)), self.mean(a, g)
        new_m = self.velocity(m, self.step(g, lr, new_v, new_a, v))
        for variable_of, new in zip(held, (new_v, new_a, new_m), strict=True):
            self.assign(variable_of, new)
        self.assign(variable, self.moved(variable, new_m, lr))

    def seen(self, g: Tensor) -> Tensor:
        return g

    def before(self, v: Tensor) -> Tensor:
        return v

    def size(self, g: Tensor) -> Tensor:
        return g * g

    def mean(self, old: Tensor, new: Tensor) -> Tensor:
        return old + (1 - self.rho) * (new - old)

    def variance(self, g: Tensor, v: Tensor, a: Tensor, old: Tensor) -> Tensor:
        return v - a * a

    def step(self, g: Tensor, lr: Tensor, v: Tensor, a: Tensor, old: Tensor) -> Tensor:
        return lr * g * ops.rsqrt(self.variance(g, v, a, old) + self.epsilon)

    def velocity(self, m: Tensor, step: Tensor) -> Tensor:
        return self.momentum * m + step

    def moved(self, variable: Tensor, step: Tensor, lr: Tensor) -> Tensor:
        return variable - step


class EpsilonOutsideTheRoot(RMSprop):
    """epsilon outside the root"""

    def step(self, g: Tensor, lr: Tensor, v: Tensor, a: Tensor, old: Tensor) -> Tensor:
        return lr * g / (ops.sqrt(self.variance(g, v, a, old)) + self.epsilon)


class EpsilonMissing(RMSprop):
    """epsilon of another default"""

    def step(self, g: Tensor, lr: Tensor, v: Tensor, a: Tensor, old: Tensor) -> Tensor:
        return lr * g * ops.rsqrt(self.variance(g, v, a, old) + self.epsilon * (1 + 1e-3))


class RhoOff(RMSprop):
    """rho 0.99 for 0.9"""

    def mean(self, old: Tensor, new: Tensor) -> Tensor:
        return 0.99 * old + (1 - 0.99) * new


class RhoSwapped(RMSprop):
    """rho weighs the new gradient"""

    def mean(self, old: Tensor, new: Tensor) -> Tensor:
        return (1 - self.rho) * old + self.rho * new


class SizesForSquares(RMSprop):
    """running mean of sizes instead of squares"""

    def size(self, g: Tensor) -> Tensor:
        return ops.absolute(g)


class OldSquares(RMSprop):
    """divided by the squares before the update"""

    def variance(self, g: Tensor, v: Tensor, a: Tensor, old: Tensor) -> Tensor:
        return old


class NotCentered(RMSprop):
    """not centered"""

    def variance(self, g: Tensor, v: Tensor, a: Tensor, old: Tensor) -> Tensor:
        return v


class CenteredByTheGradient(RMSprop):
    """centered by the new gradient"""

    def variance(self, g: Tensor, v: Tensor, a: Tensor, old: Tensor) -> Tensor:
        return ops.absolute(v - g * g)


class SquaresResetEachEpoch(RMSprop):
    """squares reset each epoch"""

    def before(self, v: Tensor) -> Tensor:
        return ops.where(first_of_two(self), ops.zeros_like(v), v)


class MomentumSubtracted(RMSprop):
    """momentum subtracted"""

    def velocity(self, m: Tensor, step: Tensor) -> Tensor:
        return step - self.momentum * m


class MomentumForgotten(RMSprop):
    """momentum forgotten"""

    def velocity(self, m: Tensor, step: Tensor) -> Tensor:
        return step


class RateOutsideTheVelocity(RMSprop):
    """learning rate outside the velocity, as torch has it"""

    def step(self, g: Tensor, lr: Tensor, v: Tensor, a: Tensor, old: Tensor) -> Tensor:
        return super().step(g, ops.ones_like(lr), v, a, old)

    def moved(self, variable: Tensor, step: Tensor, lr: Tensor) -> Tensor:
        return variable - lr * step


class GradientSlightlyOff(RMSprop):
    """gradient off by 1e-3 in its squares"""

    def size(self, g: Tensor) -> Tensor:
        return g * g * (1 + 1e-3)


class SmallerBatchDropped(RMSprop):
    """smaller batch dropped"""

    def seen(self, g: Tensor) -> Tensor:
        return ops.where(last_of_two(self), 0 * g, g)


FAULTS = {
    kind: {
        (found.__doc__ or "").strip(): found
        for found in list(globals().values())
        if isinstance(found, type) and issubclass(found, getattr(keras.optimizers, kind))
        if found.__module__ == __name__
    }
    for kind in ("Adam", "SGD", "RMSprop")
}
