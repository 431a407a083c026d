"""Which mistakes are made where gradients are accumulated, of a loss that was scaled?

Each as a subclass of SGD. The first line of a class's docstring is the fault's name.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

Tensor = Any
SCALE = 2.0**15  # Keras's, to begin with


class SGD(keras.optimizers.SGD):
    """none"""

    def due(self) -> Tensor:
        """Whether this batch is the last whose gradients are accumulated."""
        return ops.equal((self._iterations + 1) % self.gradient_accumulation_steps, 0)


class AccumulatedInHalf(SGD):
    """accumulated in half precision"""

    half = "float16"

    def apply(self, grads: Any, trainable_variables: Any = None) -> None:
        super().apply(grads, trainable_variables)
        for each in self._accumulated_gradients:
            each.assign(ops.cast(ops.cast(each, self.half), each.dtype))


class AccumulatedInBfloat16(AccumulatedInHalf):
    """accumulated in bfloat16"""

    half = "bfloat16"


class DividedTwice(SGD):
    """divided twice by the number of batches"""

    def update_step(self, gradient: Tensor, variable: Any, learning_rate: Tensor) -> None:
        by = float(self.gradient_accumulation_steps)
        super().update_step(gradient / by, variable, learning_rate)


class NotDivided(SGD):
    """not divided by the number of batches"""

    def update_step(self, gradient: Tensor, variable: Any, learning_rate: Tensor) -> None:
        by = float(self.gradient_accumulation_steps)
        super().update_step(gradient * by, variable, learning_rate)


class Scaled(SGD):
    """scale not divided out of what is accumulated"""

    factor = SCALE

    def apply(self, grads: Any, trainable_variables: Any = None) -> None:
        by = ops.where(self.due(), 1.0, self.factor)
        super().apply([each * ops.cast(by, each.dtype) for each in grads], trainable_variables)


class UnscaledTwice(Scaled):
    """scale divided twice out of what is accumulated"""

    factor = 1 / SCALE


class LastAlone(Scaled):
    """the last batch alone counts"""

    factor = 0.0


class ScaledOnceMore(SGD):
    """scale applied once more to the mean"""

    def update_step(self, gradient: Tensor, variable: Any, learning_rate: Tensor) -> None:
        super().update_step(gradient * SCALE, variable, learning_rate)
