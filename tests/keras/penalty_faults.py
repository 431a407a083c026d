"""Which mistakes does a layer make with regularizers, constraints and what is frozen?

Each as a subclass of the real Dense layer, which stands behind the layer of a training; the first
line of its docstring is the fault's name.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

Tensor = Any


class Halved(keras.regularizers.Regularizer):
    """Half of another's."""

    def __init__(self, whole: Any) -> None:
        self.whole = whole

    def __call__(self, x: Tensor) -> Tensor:
        return 0.5 * self.whole(x)


class Dense(keras.layers.Dense):
    """none"""

    def __init__(self, *given: Any, **options: Any) -> None:
        super().__init__(*given, **options)
        self.spoil()

    def spoil(self) -> None:
        pass


class PenaltyForgotten(Dense):
    """penalty of the bias forgotten"""

    def spoil(self) -> None:
        self.bias_regularizer = None


class PenaltyHalved(Dense):
    """penalty of the kernel halved"""

    def spoil(self) -> None:
        self.kernel_regularizer = Halved(self.kernel_regularizer)


class PenaltyOfSquares(Dense):
    """squares of the kernel penalized instead of sizes"""

    def spoil(self) -> None:
        self.kernel_regularizer = keras.regularizers.L2(0.0625)


class PenaltyOff(Dense):
    """penalty of the bias off by 1e-4"""

    def spoil(self) -> None:
        self.bias_regularizer = keras.regularizers.L2(0.5 * (1 + 1e-4))


class ConstraintForgotten(Dense):
    """constraint of the bias forgotten"""

    def spoil(self) -> None:
        self.bias_constraint = None


class NormForgotten(Dense):
    """constraint of the kernel forgotten"""

    def spoil(self) -> None:
        self.kernel_constraint = None


class NormOfTheOtherAxis(Dense):
    """norm along the other axis"""

    def spoil(self) -> None:
        self.kernel_constraint = keras.constraints.MaxNorm(0.5, axis=1)


class NormAlwaysReached(Dense):
    """weights of a small norm stretched"""

    def spoil(self) -> None:
        self.kernel_constraint = keras.constraints.UnitNorm()


class NormOff(Dense):
    """limit of the norm of weights off by 1e-5"""

    def spoil(self) -> None:
        self.kernel_constraint = keras.constraints.MaxNorm(0.5 * (1 + 1e-5))


class SizesOfWeights(Dense):
    """negative biases mirrored instead of cut"""

    def spoil(self) -> None:
        self.bias_constraint = ops.absolute


class LSTM(keras.layers.LSTM):
    """trained although it is frozen"""

    def __init__(self, *given: Any, **options: Any) -> None:
        super().__init__(*given, **options)
        self.trainable = True


FAULTS = {
    (found.__doc__ or "").strip(): found
    for found in list(globals().values())
    if isinstance(found, type) and issubclass(found, keras.layers.Dense)
    if found.__module__ == __name__
}
