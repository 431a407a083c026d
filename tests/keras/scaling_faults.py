"""Which mistakes does a step make with a loss that was scaled?  Each as a subclass of SGD.

The first line of a class's docstring is the fault's name.
"""

from __future__ import annotations

from typing import Any

import keras

SCALE = 2.0**15  # Keras's, to begin with


class SGD(keras.optimizers.SGD):
    """none"""


class NotDivided(SGD):
    """scale not divided out"""

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        super().update_step(gradient * SCALE, variable, learning_rate)


class DividedTwice(SGD):
    """scale divided out twice"""

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        super().update_step(gradient / SCALE, variable, learning_rate)


class LeftOut(SGD):
    """step left out where nothing overflows"""

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        super().update_step(gradient * 0.0, variable, learning_rate)


class HalfDivided(SGD):
    """scale halved before it is divided out"""

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        super().update_step(gradient * 2.0, variable, learning_rate)


class BiasNotDivided(SGD):
    """scale not divided out of the bias"""

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        by = SCALE if len(variable.shape) == 1 else 1.0
        super().update_step(gradient * by, variable, learning_rate)


class WeightsInHalf(SGD):
    """weights rounded to float16 by the step"""

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        super().update_step(gradient, variable, learning_rate)
        half = keras.ops.cast(keras.ops.cast(variable, "float16"), variable.dtype)
        self.assign(variable, half)
