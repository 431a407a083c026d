"""Which mistakes does a stateful layer make with what it carries on?  Each as a subclass of it.

The first line of a class's docstring is the fault's name.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

Tensor = Any


class SimpleRNN(keras.layers.SimpleRNN):
    """none"""

    def call(
        self,
        sequences: Tensor,
        initial_state: Any = None,
        mask: Tensor | None = None,
        training: bool = False,
    ) -> Any:
        if initial_state is None and self.states is not None and self.states[0] is not None:
            initial_state = [self.begun(ops.convert_to_tensor(state)) for state in self.states]
        return super().call(sequences, initial_state, mask, training)

    def begun(self, state: Tensor) -> Tensor:
        return state


class Afresh(SimpleRNN):
    """every batch from zeros"""

    def begun(self, state: Tensor) -> Tensor:
        return ops.zeros_like(state)


class OfTheSampleBeside(SimpleRNN):
    """state of the sample beside"""

    def begun(self, state: Tensor) -> Tensor:
        return ops.flip(state, axis=0)


class Faded(SimpleRNN):
    """state faded by 1e-3 from batch to batch"""

    def begun(self, state: Tensor) -> Tensor:
        return state * (1 - 1e-3)


class InHalf(SimpleRNN):
    """state rounded to float16 from batch to batch"""

    def begun(self, state: Tensor) -> Tensor:
        return ops.cast(ops.cast(state, "float16"), state.dtype)


class NeverReset(SimpleRNN):
    """state carried on although it was reset"""

    def reset_state(self) -> None:
        pass
