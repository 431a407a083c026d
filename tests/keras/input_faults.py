"""What can a layer get wrong of flags and integers?  Each as a subclass of SimpleRNN, or of
Embedding.

The first line of a class's docstring is the fault's name.
"""

from __future__ import annotations

from typing import Any

import keras

Tensor = Any


class SimpleRNN(keras.layers.SimpleRNN):
    """none"""

    def read(self, x: Tensor) -> Tensor:
        return keras.ops.cast(x, "float32")

    def call(
        self, sequence: Tensor, initial_state: Any = None, mask: Any = None, training: bool = False
    ) -> Tensor:
        return super().call(
            self.read(sequence), initial_state=initial_state, mask=mask, training=training
        )


class Negated(SimpleRNN):
    """flags negated"""

    def read(self, x: Tensor) -> Tensor:
        return 1.0 - super().read(x)


class AsBytes(SimpleRNN):
    """integers as shares of 255"""

    def read(self, x: Tensor) -> Tensor:
        return super().read(x) / 255.0


class Signed(SimpleRNN):
    """a set flag as -1"""

    def read(self, x: Tensor) -> Tensor:
        return -super().read(x)


class AnyFlag(SimpleRNN):
    """flags of a step taken together"""

    def read(self, x: Tensor) -> Tensor:
        each = super().read(x)
        return keras.ops.zeros_like(each) + keras.ops.max(each, axis=-1, keepdims=True)


class Embedding(keras.layers.Embedding):
    """none"""

    def row(self, x: Tensor) -> Tensor:
        return keras.ops.cast(x, "int32")

    def call(self, inputs: Tensor) -> Tensor:
        return super().call(self.row(inputs))


class OtherRow(Embedding):
    """flags negated"""

    def row(self, x: Tensor) -> Tensor:
        return 1 - super().row(x)


class Shares(Embedding):
    """integers as shares of 255"""

    def row(self, x: Tensor) -> Tensor:
        return keras.ops.cast(keras.ops.cast(x, "float32") / 255.0, "int32")


class MasksOnes(Embedding):
    """ones masked in place of zeros"""

    def compute_mask(self, inputs: Tensor, mask: Any = None) -> Any:
        return keras.ops.equal(self.row(inputs), 0)


class LearntHalf(Embedding):
    """half of the gradient of the table lost"""

    def call(self, inputs: Tensor) -> Tensor:
        rows = super().call(inputs)
        return 0.5 * rows + keras.ops.stop_gradient(0.5 * rows)
