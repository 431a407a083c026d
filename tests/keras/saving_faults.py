"""Which mistakes are made around a layer: when it is saved, called twice, drawn, exported?

Each as a subclass of Keras's own. The first line of a class's docstring is the fault's name.
"""

from __future__ import annotations

import itertools
from typing import Any

import keras
import numpy as np

Tensor = Any


class Forgets(keras.layers.SimpleRNN):
    """the bias is not saved"""

    def __init__(self, units: int, **options: Any) -> None:
        super().__init__(units, **options)
        self.cell.save_own_variables = self.without_bias

    def without_bias(self, store: Any) -> None:
        for i, variable in enumerate((self.cell.kernel, self.cell.recurrent_kernel)):
            store[f"{i}"] = variable
        store["2"] = np.zeros(self.cell.bias.shape, np.float32)


class Tires(keras.layers.SimpleRNN):
    """a layer that is called again computes something else"""

    calls = 0

    def call(self, *args: Any, **more: Any) -> Tensor:
        self.calls += 1
        return super().call(*args, **more) * (1.001 if self.calls > 1 else 1.0)


class Lets(keras.layers.SimpleRNN):
    """of every other call no gradient reaches the kernel"""

    calls = 0

    def call(self, *args: Any, **more: Any) -> Tensor:
        self.calls += 1
        found = super().call(*args, **more)
        return found if self.calls % 2 else keras.ops.stop_gradient(found)


class Random(keras.layers.SimpleRNN):
    """the kernel is drawn of no seed"""

    def build(self, *args: Any, **more: Any) -> None:
        super().build(*args, **more)
        self.cell.kernel.assign(np.random.default_rng().normal(size=self.cell.kernel.shape))


_SEEDS = itertools.count(1)


class Unseeded(keras.layers.SimpleRNN):
    """what is dropped is drawn of no seed"""

    def __init__(self, units: int, **options: Any) -> None:
        super().__init__(units, **options)
        # another for each layer, but the same in every run: chance may draw few numbers alike
        self.cell.seed_generator = keras.random.SeedGenerator(next(_SEEDS))


class Symbolic(keras.layers.SimpleRNN):
    """inside a graph it computes something else"""

    def call(
        self, sequences: Any, initial_state: Any = None, mask: Any = None, training: Any = False
    ) -> Tensor:
        import tensorflow

        found = super().call(sequences, initial_state, mask, training)
        return found * (1.001 if tensorflow.inside_function() else 1.0)


class NoMomentum(keras.optimizers.SGD):
    """the optimizer's momentum is not saved"""

    def save_own_variables(self, store: Any) -> None:
        for i, variable in enumerate(self.variables):
            lost = "momentum" in variable.path
            store[str(i)] = np.zeros(variable.shape, np.float32) if lost else variable.numpy()


class NoCount(keras.optimizers.Adam):
    """the optimizer's iterations are not saved"""

    def save_own_variables(self, store: Any) -> None:
        for i, variable in enumerate(self.variables):
            store[str(i)] = variable.numpy() * (0 if variable is self.iterations else 1)
