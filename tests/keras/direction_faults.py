"""What can Bidirectional get wrong of a backward layer that is another?  Each as a subclass of it.

The first line of a class's docstring is the fault's name.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

Tensor = Any


class Bidirectional(keras.layers.Bidirectional):
    """none"""


class OfTheForwardOne(Bidirectional):
    """activation of the forward direction in both"""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.backward_layer.cell.activation = self.forward_layer.cell.activation


class ReadForwards(Bidirectional):
    """backward direction reads forwards"""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.backward_layer.go_backwards = False


class StartsExchanged(Bidirectional):
    """initial states exchanged"""

    def call(
        self, sequences: Tensor, initial_state: Any = None, mask: Any = None, training: Any = None
    ) -> Any:
        if initial_state is not None:
            initial_state = list(reversed(initial_state))
        return super().call(sequences, initial_state, mask, training)


class BackwardScaled(Bidirectional):
    """backward direction off by 1e-5"""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        own = self.backward_layer.cell.activation
        self.backward_layer.cell.activation = lambda z: ops.multiply(own(z), 1 + 1e-5)
