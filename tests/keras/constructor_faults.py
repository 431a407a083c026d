"""What can Bidirectional get wrong of weights that its constructor is given?  Keras's takes none of
them; these do, each with a mistake.

The first line of a class's docstring is the fault's name.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

Arrays = list[Any]


class Bidirectional(keras.layers.Bidirectional):
    """none"""

    def __init__(self, layer: Any, merge_mode: str = "concat", weights: Any = None, **how: Any):
        super().__init__(layer, merge_mode, **how)
        self.given = weights

    def build(self, *shape: Any) -> None:
        super().build(*shape)
        if self.given is not None:
            count = len(self.forward_layer.weights)
            self.take(self.given[:count], self.given[count:])

    def take(self, forward: Arrays, backward: Arrays) -> None:
        self.forward_layer.set_weights(forward)
        self.backward_layer.set_weights(backward)


class ForwardAlone(Bidirectional):
    """those of the backward direction left as they were drawn"""

    def take(self, forward: Arrays, backward: Arrays) -> None:
        self.forward_layer.set_weights(forward)


class Off(Bidirectional):
    """bias of the backward direction off by 1e-4"""

    def take(self, forward: Arrays, backward: Arrays) -> None:
        super().take(forward, [*backward[:2], np.asarray(backward[2]) * np.float32(1 + 1e-4)])


class Transposed(Bidirectional):
    """recurrent kernel of the forward direction transposed"""

    def take(self, forward: Arrays, backward: Arrays) -> None:
        super().take([forward[0], forward[1].T, forward[2]], backward)
