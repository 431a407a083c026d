"""What can Bidirectional get wrong of its two directions?  Each as a subclass of it.

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


class Apart(Bidirectional):
    """of two arrays: none"""

    def call(
        self, sequences: Tensor, initial_state: Any = None, mask: Any = None, training: Any = None
    ) -> Any:
        forward, backward, *states = super().call(sequences, initial_state, mask, training)
        return self.put(forward, backward, states)

    def put(self, forward: Tensor, backward: Tensor, states: list[Tensor]) -> Any:
        return (forward, backward, *states)


class Exchanged(Apart):
    """of two arrays: exchanged"""

    def put(self, forward: Tensor, backward: Tensor, states: list[Tensor]) -> Any:
        return (backward, forward, *states)


class Unturned(Apart):
    """of two arrays: backward in the order in which it was read"""

    def put(self, forward: Tensor, backward: Tensor, states: list[Tensor]) -> Any:
        return (forward, ops.flip(backward, axis=1), *states)


class ForwardTwice(Apart):
    """of two arrays: forward twice"""

    def put(self, forward: Tensor, backward: Tensor, states: list[Tensor]) -> Any:
        return (forward, forward, *states)


class Joined(Apart):
    """of two arrays: one array"""

    def put(self, forward: Tensor, backward: Tensor, states: list[Tensor]) -> Any:
        joined = ops.concatenate([forward, backward], axis=-1)
        return (joined, *states) if states else joined
