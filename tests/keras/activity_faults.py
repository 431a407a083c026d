"""Which mistakes does a layer make with what it puts out and is to penalize?  Each as a subclass.

The first line of a class's docstring is the fault's name.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

Tensor = Any


class Instead(keras.regularizers.Regularizer):
    """What a layer makes of its regularizer and of what it puts out."""

    def __init__(self, of: Dense, whole: Any) -> None:
        self.of, self.whole = of, whole

    def __call__(self, x: Tensor) -> Tensor:
        return self.of.penalty(self.whole, x)


class Dense(keras.layers.Dense):
    """none"""

    kept: Any = None

    def __init__(self, *given: Any, **options: Any) -> None:
        super().__init__(*given, **options)
        self.activity_regularizer = Instead(self, self.activity_regularizer)

    def penalty(self, whole: Any, x: Tensor) -> Tensor:
        return whole(x)


class Forgotten(Dense):
    """penalty of outputs forgotten"""

    def penalty(self, whole: Any, x: Tensor) -> Tensor:
        return 0 * whole(x)


class WholeBatch(Dense):
    """not divided by the batch"""

    def penalty(self, whole: Any, x: Tensor) -> Tensor:
        return whole(x) * ops.shape(x)[0]


class Off(Dense):
    """penalty of outputs off by 1e-4"""

    def penalty(self, whole: Any, x: Tensor) -> Tensor:
        return whole(x) * (1 + 1e-4)


class NotTrained(Dense):
    """reported, and not trained on"""

    def penalty(self, whole: Any, x: Tensor) -> Tensor:
        return ops.stop_gradient(whole(x))


class EachStep(Dense):
    """divided by the timesteps, too"""

    def penalty(self, whole: Any, x: Tensor) -> Tensor:
        return whole(x) / ops.shape(x)[1]


class LastStep(Dense):
    """last timestep alone penalized"""

    def penalty(self, whole: Any, x: Tensor) -> Tensor:
        return whole(x[:, -1])


class SkippedLeftOut(Dense):
    """steps that the mask skips not penalized"""

    def call(self, inputs: Tensor, mask: Any = None) -> Tensor:
        self.kept = mask
        return super().call(inputs)

    def penalty(self, whole: Any, x: Tensor) -> Tensor:
        kept = ops.ones(ops.shape(x)[:2]) if self.kept is None else self.kept
        return whole(x * ops.cast(kept, x.dtype)[..., None])


class OfSquares(Dense):
    """squares penalized in place of sizes"""

    def penalty(self, whole: Any, x: Tensor) -> Tensor:
        return whole(x * x)


class StatesLeftOut(keras.layers.LSTM):
    """states not penalized"""

    told = 0

    def __call__(self, *given: Any, **how: Any) -> Any:
        self.told = 0
        return super().__call__(*given, **how)

    def add_loss(self, loss: Any) -> None:
        self.told += 1
        if self.told == 1:
            super().add_loss(loss)
