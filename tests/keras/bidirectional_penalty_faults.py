"""What can Bidirectional get wrong of its directions' penalties?  Each as a subclass of it.

The first line of a class's docstring is the fault's name.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

Tensor = Any


class Times(keras.regularizers.Regularizer):
    """Another's, so many times; of a whole batch, by how many samples that has."""

    def __init__(self, whole: Any, factor: float | None) -> None:
        self.whole, self.factor = whole, factor

    def __call__(self, x: Tensor) -> Tensor:
        found = self.whole(x)
        return found * (ops.cast(ops.shape(x)[0], x.dtype) if self.factor is None else self.factor)


class Bidirectional(keras.layers.Bidirectional):
    """none"""

    factors: tuple[float | None, float | None] = (1.0, 1.0)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        both = (self.forward_layer, self.backward_layer)
        for layer, factor in zip(both, self.factors, strict=True):
            layer.activity_regularizer = Times(layer.activity_regularizer, factor)


class ForwardAlone(Bidirectional):
    """backward direction not penalized"""

    factors = (1.0, 0.0)


class BackwardAlone(Bidirectional):
    """forward direction not penalized"""

    factors = (0.0, 1.0)


class Twice(Bidirectional):
    """both penalized twice"""

    factors = (2.0, 2.0)


class WholeBatch(Bidirectional):
    """backward direction not divided by the batch"""

    factors = (1.0, None)


class Off(Bidirectional):
    """penalty of the forward direction off by 1e-4"""

    factors = (1 + 1e-4, 1.0)


class Merged(Bidirectional):
    """what is merged penalized as well"""

    def call(
        self, sequences: Tensor, initial_state: Any = None, mask: Any = None, training: Any = None
    ) -> Any:
        found = super().call(sequences, initial_state, mask, training)
        whole = found[0] if isinstance(found, tuple | list) else found
        self.add_loss(self.forward_layer.activity_regularizer(whole))
        return found
