"""What may a stateful layer show before the first step that counts?  Each as a subclass of GRU.

The first line of a class's docstring is the fault's name; those that begin with "none" are allowed.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

Tensor = Any


class GRU(keras.layers.GRU):
    """none"""


class States(GRU):
    """none: the state that it starts from"""

    def call(
        self, sequences: Tensor, initial_state: Any = None, mask: Any = None, training: Any = False
    ) -> Tensor:
        start = ops.convert_to_tensor(self.states[0]) + 0.0
        found = super().call(sequences, initial_state, mask, training)
        leads = ops.equal(ops.cumsum(ops.cast(mask, "int32"), axis=1), 0)[:, :, None]
        return ops.where(leads, self.shown(start)[:, None], found)

    def shown(self, start: Tensor) -> Tensor:
        return start


class Half(States):
    """half the state that it starts from"""

    def shown(self, start: Tensor) -> Tensor:
        return start / 2


class Off(States):
    """the state that it starts from, off by 1e-3"""

    def shown(self, start: Tensor) -> Tensor:
        return start * (1 + 1e-3)


class OfTheEnd(States):
    """the state that it ends with"""

    def shown(self, start: Tensor) -> Tensor:
        return ops.convert_to_tensor(self.states[0])
