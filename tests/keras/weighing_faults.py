"""Which mistakes does a loss make with weights and masks, and what makes a mask before it?

Each as a subclass of the real one; the first line of its docstring is the fault's name, and "none"
is Keras's in other words, which has to be certified.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops
from keras.src.backend.common.masking import get_keras_mask

Tensor = Any


class MeanSquaredError(keras.losses.MeanSquaredError):
    """none"""

    def __call__(self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor = None) -> Tensor:
        mask = get_keras_mask(y_pred)
        squares = ops.mean(ops.square(y_pred - ops.cast(y_true, y_pred.dtype)), axis=-1)
        mask = ops.ones_like(squares) if mask is None else ops.cast(mask, squares.dtype)
        weight = ops.ones_like(squares) if sample_weight is None else sample_weight
        weight = ops.cast(ops.convert_to_tensor(weight), squares.dtype)
        weight, mask = self.weighed(weight), self.masked(mask)
        return ops.sum(squares * weight * mask) / self.divisor(squares, weight, mask)

    def weighed(self, weight: Tensor) -> Tensor:
        return weight

    def masked(self, mask: Tensor) -> Tensor:
        return mask

    def divisor(self, squares: Tensor, weight: Tensor, mask: Tensor) -> Tensor:
        return ops.sum(mask)


class WeightsIgnored(MeanSquaredError):
    """weights of samples ignored"""

    def weighed(self, weight: Tensor) -> Tensor:
        return ops.ones_like(weight)


class WeightsSquared(MeanSquaredError):
    """weights of samples squared"""

    def weighed(self, weight: Tensor) -> Tensor:
        return ops.square(weight)


class WeightsReversed(MeanSquaredError):
    """weights of samples in another order"""

    def weighed(self, weight: Tensor) -> Tensor:
        return ops.flip(weight, axis=0)


class NoWeightOfZero(MeanSquaredError):
    """weight of 0 taken for none"""

    def weighed(self, weight: Tensor) -> Tensor:
        return ops.where(weight == 0, ops.ones_like(weight), weight)


class WeightsOff(MeanSquaredError):
    """weights of samples off by 1e-4"""

    def weighed(self, weight: Tensor) -> Tensor:
        return weight * (1 + 1e-4)


class DividedByWeights(MeanSquaredError):
    """divided by the sum of the weights"""

    def divisor(self, squares: Tensor, weight: Tensor, mask: Tensor) -> Tensor:
        return ops.sum(weight * mask)


class DividedByWhatWeighs(MeanSquaredError):
    """divided by how many weigh at all"""

    def divisor(self, squares: Tensor, weight: Tensor, mask: Tensor) -> Tensor:
        return ops.sum(ops.cast(weight * mask != 0, squares.dtype))


class SumOfTheLosses(MeanSquaredError):
    """sum instead of mean"""

    def divisor(self, squares: Tensor, weight: Tensor, mask: Tensor) -> Tensor:
        return ops.ones_like(ops.sum(mask))


class MaskIgnored(MeanSquaredError):
    """mask of the loss ignored"""

    def masked(self, mask: Tensor) -> Tensor:
        return ops.ones_like(mask)


class MaskNotCounted(MeanSquaredError):
    """divided by all steps, skipped or not"""

    def divisor(self, squares: Tensor, weight: Tensor, mask: Tensor) -> Tensor:
        return ops.sum(ops.ones_like(mask))


class MaskOneLate(MeanSquaredError):
    """mask of the loss one step late"""

    def masked(self, mask: Tensor) -> Tensor:
        return ops.roll(mask, 1, axis=-1)


class Masking(keras.layers.Masking):
    """a step that is skipped of one sample skipped of all"""

    def call(self, inputs: Tensor) -> Tensor:
        counts = ops.any(ops.not_equal(inputs, self.mask_value), axis=-1, keepdims=True)
        every = ops.all(counts, axis=0, keepdims=True)
        return super().call(ops.where(every, inputs, self.mask_value * ops.ones_like(inputs)))


class Embedding(keras.layers.Embedding):
    """padding looked up as the next row"""

    def call(self, inputs: Tensor) -> Tensor:
        return super().call(ops.roll(inputs, 1, axis=0))
