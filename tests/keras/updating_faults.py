"""Which mistakes happen around an optimizer's own step?  Each as a subclass of a real one.

Decay, clipping, accumulation and schedules are those of AdamW, averages of weights those of SGD.
The first line of a class's docstring is the fault's name; those without one are Keras's in other
words, and have to be certified.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

Tensor = Any

# -- decay, clipping, accumulation, a cosine -------------------------------------------------------


class AdamW(keras.optimizers.AdamW):
    """none"""

    def _apply_weight_decay(self, variables: list[Any]) -> None:
        for variable in variables:
            factor = self.decay(ops.cast(self.learning_rate, variable.dtype))
            if self.decays(variable):
                variable.assign(ops.convert_to_tensor(variable) * (1 - factor))

    def decay(self, rate: Tensor) -> Tensor:
        return self.weight_decay * rate

    def decays(self, variable: Any) -> bool:
        return True

    def _clip_gradients(self, grads: list[Tensor]) -> list[Tensor]:
        square = sum(ops.sum(g * g) for g in grads if self.counts(g))
        scale = self.limit() / ops.maximum(ops.sqrt(square), self.limit())
        return [g * scale for g in grads]

    def counts(self, g: Tensor) -> bool:
        return True

    def limit(self) -> float:
        return float(self.global_clipnorm)

    def due(self) -> Tensor:
        """Whether this batch is the last whose gradients are accumulated."""
        steps = self.gradient_accumulation_steps
        return ops.equal((self._iterations + 1) % steps, 0)


class DecayAfterTheStep(AdamW):
    """decay after the step"""

    def decays(self, variable: Any) -> bool:
        return False

    def update_step(self, gradient: Tensor, variable: Any, learning_rate: Tensor) -> None:
        super().update_step(gradient, variable, learning_rate)
        factor = self.decay(ops.cast(learning_rate, variable.dtype))
        self.assign(variable, ops.convert_to_tensor(variable) * (1 - factor))


class DecayWithoutTheRate(AdamW):
    """decay not scaled by the learning rate"""

    def decay(self, rate: Tensor) -> Tensor:
        return self.weight_decay * ops.ones_like(rate)


class DecayOfKernelsAlone(AdamW):
    """decay of kernels alone"""

    def decays(self, variable: Any) -> bool:
        return len(variable.shape) > 1


class DecayInTheGradient(AdamW):
    """decay added to the gradient"""

    def decays(self, variable: Any) -> bool:
        return False

    def update_step(self, gradient: Tensor, variable: Any, learning_rate: Tensor) -> None:
        added = self.weight_decay * ops.convert_to_tensor(variable)
        super().update_step(gradient + added, variable, learning_rate)


class DecayByTheInitialRate(AdamW):
    """decay by the first learning rate"""

    def decay(self, rate: Tensor) -> Tensor:
        return self.weight_decay * self._learning_rate.initial_learning_rate * ops.ones_like(rate)


class DecayOfEachBatch(AdamW):
    """decay of batches that only accumulate"""

    def apply(self, grads: Any, trainable_variables: Any = None) -> None:
        for variable in self._trainable_variables:
            factor = self.decay(ops.cast(self.learning_rate, variable.dtype))
            factor = ops.where(self.due(), ops.zeros_like(factor), factor)
            variable.assign(ops.convert_to_tensor(variable) * (1 - factor))
        super().apply(grads, trainable_variables)


class ClippedEachByItself(AdamW):
    """clipped each weight by itself"""

    def _clip_gradients(self, grads: list[Tensor]) -> list[Tensor]:
        return [
            part for g in grads for part in super(ClippedEachByItself, self)._clip_gradients([g])
        ]


class NormOfKernelsAlone(AdamW):
    """norm of the kernels alone"""

    def counts(self, g: Tensor) -> bool:
        return len(g.shape) > 1


class LimitOff(AdamW):
    """limit of the norm off by 1e-4"""

    def limit(self) -> float:
        return super().limit() * (1 + 1e-4)


class NormNeverSmaller(AdamW):
    """small norms stretched to the limit"""

    def _clip_gradients(self, grads: list[Tensor]) -> list[Tensor]:
        norm = ops.sqrt(sum(ops.sum(g * g) for g in grads))
        return [g * (self.limit() / norm) for g in grads]


class NotClipped(AdamW):
    """not clipped at all"""

    def _clip_gradients(self, grads: list[Tensor]) -> list[Tensor]:
        return grads


class SumOfTheAccumulated(AdamW):
    """sum of the accumulated gradients"""

    def _clip_gradients(self, grads: list[Tensor]) -> list[Tensor]:
        return super()._clip_gradients([self.gradient_accumulation_steps * g for g in grads])


class AccumulatedNotReset(AdamW):
    """accumulated gradients not reset"""

    def apply(self, grads: Any, trainable_variables: Any = None) -> None:
        held = [ops.convert_to_tensor(each) for each in self._accumulated_gradients]
        sums = [old + g for old, g in zip(held, grads, strict=True)]
        due = self.due()
        super().apply(grads, trainable_variables)
        for accumulated, total in zip(self._accumulated_gradients, sums, strict=True):
            accumulated.assign(ops.where(due, total, ops.convert_to_tensor(accumulated)))


class AccumulatedForgotten(AdamW):
    """gradient of the last batch alone"""

    def apply(self, grads: Any, trainable_variables: Any = None) -> None:
        scale = ops.where(self.due(), float(self.gradient_accumulation_steps), 0.0)
        super().apply([g * ops.cast(scale, g.dtype) for g in grads], trainable_variables)


class ScheduleOfUpdates(AdamW):
    """schedule of updates instead of batches"""

    def _get_current_learning_rate(self) -> Tensor:
        return self._learning_rate(self.iterations)


class ScheduleOneEarly(AdamW):
    """schedule one batch early"""

    def _get_current_learning_rate(self) -> Tensor:
        return self._learning_rate(self._iterations + 1)


class ScheduleOff(AdamW):
    """schedule off by 1e-4"""

    def _get_current_learning_rate(self) -> Tensor:
        return super()._get_current_learning_rate() * (1 + 1e-4)


# -- averages of weights, values clipped, stairs ---------------------------------------------------


class SGD(keras.optimizers.SGD):
    """none"""

    def _update_model_variables_moving_average(self, trainable_variables: list[Any]) -> None:
        pairs = zip(trainable_variables, self._model_variables_moving_average, strict=True)
        for variable, average in pairs:
            w, old = map(ops.convert_to_tensor, (variable, average))
            average.assign(self.averaged(w, old, ops.equal(self.iterations, 0)))

    def averaged(self, w: Tensor, old: Tensor, is_first: Tensor) -> Tensor:
        return ops.where(is_first, w, old + (1 - self.ema_momentum) * (w - old))


class AveragesBeginAtZero(SGD):
    """averages begin at zero"""

    def averaged(self, w: Tensor, old: Tensor, is_first: Tensor) -> Tensor:
        return old + (1 - self.ema_momentum) * (w - old)


class AveragesTheOtherWay(SGD):
    """momentum weighs the new weights"""

    def averaged(self, w: Tensor, old: Tensor, is_first: Tensor) -> Tensor:
        return ops.where(is_first, w, old + self.ema_momentum * (w - old))


class AveragesOff(SGD):
    """momentum of averages off by 1e-4"""

    def averaged(self, w: Tensor, old: Tensor, is_first: Tensor) -> Tensor:
        return ops.where(is_first, w, old + (1 - self.ema_momentum * (1 + 1e-4)) * (w - old))


class AveragesAreWeights(SGD):
    """averages are the last weights"""

    def averaged(self, w: Tensor, old: Tensor, is_first: Tensor) -> Tensor:
        return w


class OverwrittenTooEarly(SGD):
    """weights overwritten one update early"""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{**options, "ema_overwrite_frequency": 2})


class NeverOverwritten(SGD):
    """weights never overwritten"""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{**options, "ema_overwrite_frequency": None})


class NotHandedOver(SGD):
    """averages not handed over at the end"""

    def finalize_variable_values(self, var_list: list[Any]) -> None:
        pass


class ClippedFromAbove(SGD):
    """values clipped from above alone"""

    def _clip_gradients(self, grads: list[Tensor]) -> list[Tensor]:
        return [ops.minimum(g, self.clipvalue) for g in grads]


class ClippedByTheNorm(SGD):
    """norms clipped instead of values"""

    def __init__(self, clipvalue: float, **options: Any) -> None:
        super().__init__(clipnorm=clipvalue, **options)


class NoStairs(SGD):
    """no stairs"""

    def _get_current_learning_rate(self) -> Tensor:
        of = self._learning_rate
        p = ops.cast(self._iterations, "float32") / of.decay_steps
        return of.initial_learning_rate * ops.power(of.decay_rate, p)


class StairsOneEarly(SGD):
    """stairs one update early"""

    def _get_current_learning_rate(self) -> Tensor:
        return self._learning_rate(self._iterations + 1)


FAULTS = {
    by: {
        (found.__doc__ or "").strip(): found
        for found in list(globals().values())
        if isinstance(found, type) and issubclass(found, root)
        if found.__module__ == __name__
    }
    for by, root in (("AdamW", keras.optimizers.AdamW), ("SGD, averaged", keras.optimizers.SGD))
}
