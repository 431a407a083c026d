"""What does a class of the user's own need, to stand in for one of Keras's?"""

from __future__ import annotations

import functools
import importlib.util
import os
import sys
from typing import Any, Callable

import numpy as np

from .backends import Backend
from .named import FAMILIES, cell_of, layer_of
from .parts import Tensor, first, named_weights

STANDS_IN = (*FAMILIES, *map(cell_of, FAMILIES))  # for which classes one may stand in

# what a class that stands in for a cell of Keras's is made with, and what is read from it
_OF_CELLS: dict[str, Any] = {
    "units": 2,
    "activation": "tanh",
    "use_bias": True,
    "kernel_initializer": "zeros",
    "recurrent_initializer": "zeros",
    "name": "own",
    "dtype": "float32",
}
_CELL_METHODS = ("__call__", "build", "count_params", "get_config", "get_weights", "set_weights")
_CELL_ATTRIBUTES = (
    *("compute_dtype", "name", "state_size"),
    *("non_trainable_weights", "trainable_weights", "variables", "weights"),
)
# and what a layer is made with besides
_OF_LAYERS: dict[str, Any] = {
    "return_sequences": True,
    "return_state": True,
    "go_backwards": True,
    "stateful": False,
    "unroll": True,
}
METHODS = (*_CELL_METHODS, "compute_output_shape")
ATTRIBUTES = (
    *("compute_dtype", "go_backwards", "name", "return_sequences", "return_state"),
    *("non_trainable_weights", "trainable_weights", "variables", "weights"),
)


def needs(kind: str) -> tuple[dict[str, Any], tuple[str, ...], tuple[str, ...]]:
    """Arguments of the constructor, methods and attributes of what stands in for this class."""
    arguments = {**_OF_CELLS, **FAMILIES[layer_of(kind)].options}
    if layer_of(kind) != kind:
        return arguments, _CELL_METHODS, _CELL_ATTRIBUTES
    return {**arguments, **_OF_LAYERS}, METHODS, ATTRIBUTES


@functools.cache
def custom_activation(keras: Any, name: str) -> Any:
    """A user's own function, which computes Keras's activation; saving and loading know it."""

    def custom(z: Tensor) -> Tensor:
        return getattr(keras.activations, name)(z)

    custom.__name__ = custom.__qualname__ = f"custom_{name}"
    return keras.utils.register_keras_serializable("rnn_check")(custom)


@functools.cache
def custom_cell(keras: Any) -> Any:
    """A user's own cell, which computes SimpleRNNCell's recurrence; saving and loading know it."""
    ops = keras.ops if hasattr(keras, "ops") else importlib.import_module("tensorflow")

    class CustomCell(keras.layers.Layer):  # type: ignore[misc]
        def __init__(
            self, units: int, activation: Any = "tanh", use_bias: bool = True, **options: Any
        ) -> None:
            super().__init__(**options)
            self.units = self.state_size = self.output_size = units
            self.activation, self.use_bias = keras.activations.get(activation), use_bias

        def build(self, input_shape: Any) -> None:
            sizes = {"kernel": input_shape[-1:], "recurrent_kernel": (self.units,), "bias": ()}
            self.parts = {
                name: self.add_weight(name=name, shape=(*size, self.units))
                for name, size in sizes.items()
                if self.use_bias or name != "bias"
            }
            self.built = True

        def call(self, inputs: Tensor, states: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
            z = ops.matmul(inputs, self.parts["kernel"])
            z = z + ops.matmul(states[0], self.parts["recurrent_kernel"])
            if self.use_bias:
                z = z + self.parts["bias"]
            state = self.activation(z)
            return state, [state]

        def get_config(self) -> dict[str, Any]:
            activation = keras.activations.serialize(self.activation)
            own = {"units": self.units, "activation": activation, "use_bias": self.use_bias}
            return {**super().get_config(), **own}

    return keras.utils.register_keras_serializable("rnn_check")(CustomCell)


@functools.cache
def load_class(where: str) -> Any:
    """CLASS of "FILE.py:CLASS"."""
    path, _, name = where.rpartition(":")
    return getattr(load_module(os.path.abspath(path)), name)


def lacking(backend: Backend, cls: Any, kind: str) -> list[str]:
    """What a class lacks to stand in for Keras's class of this name, one sentence each."""
    if not isinstance(cls, type):
        return [f"it is no class but {short(repr(cls))}"]
    name = cls.__name__
    arguments, methods, attributes = needs(kind)
    is_cell, family = layer_of(kind) != kind, FAMILIES[layer_of(kind)]
    needed = {"units": arguments["units"]}
    lacks = []

    def attempted(what: str, step: Callable[[], Any]) -> Any:
        try:
            return step()
        except Exception as error:  # whatever the user's own code raises
            lacks.append(f"{what}: {short(f'{type(error).__name__}: {error}')}")
            return None

    layer = attempted(f"{name}(units=2) cannot be made", lambda: cls(**needed))
    for key, value in arguments.items():
        if layer is not None and key not in needed:
            what = f"its constructor does not take {key}={value!r}"
            attempted(what, functools.partial(cls, **needed, **{key: value}))
    for method in methods:
        if not callable(getattr(cls, method, None)):
            lacks.append(f"it has no method {method}()")
    if layer is None:
        return lacks
    if hasattr(layer, "build"):
        size = (1, 3) if is_cell else (1, 2, 3)  # (B,F) or (B,T,F)
        attempted(f"build({size}) fails", lambda: layer.build(size))
    lacks += [f"it has no attribute {each}" for each in attributes if not hasattr(layer, each)]
    if not any(hasattr(each, "units") for each in (layer, getattr(layer, "cell", None))):
        lacks.append("it has no attribute units")
    found = {}
    if hasattr(layer, "weights"):
        read = attempted("its weights cannot be read", lambda: dict(named_weights(layer)))
        found = {path: tuple(weight.shape) for path, weight in (read or {}).items()}
        wide = 2 * family.gates
        bias = (family.biases, wide) if family.biases > 1 else (wide,)
        shapes = {"kernel": (3, wide), "recurrent_kernel": (2, wide), "bias": bias}
        for path, shape in shapes.items():
            if found.get(path) != shape:
                has = f"only {found}" if path not in found else f"but of shape {found[path]}"
                lacks.append(f"it has no weight {path!r} of shape {shape}, {has}")
    x = backend.tensor(np.zeros((1, 3) if is_cell else (1, 2, 3), np.float32))
    h = backend.tensor(np.zeros((1, 2), np.float32))
    states: Any = [h] * family.states if family.states > 1 else h
    calls: dict[str, Callable[[], Any]] = {
        "layer(x)": lambda: layer(x),
        "layer(x, initial_state=h)": lambda: layer(x, initial_state=states),
        "layer(x, mask=m)": lambda: layer(x, mask=backend.tensor(np.ones((1, 2), bool))),
    }
    if is_cell:
        several = states if isinstance(states, list) else [states]
        calls = {"cell(x, states)": lambda: layer(x, several)}
    for how, call in calls.items():
        output = first(attempted(f"{how} fails", call))
        shape = tuple(getattr(output, "shape", ()))
        if output is not None and shape != (1, 2):
            lacks.append(f"{how} returns shape {shape} for 2 units, not (1, 2)")
    return lacks


def short(text: str) -> str:
    return text if len(text) <= 200 else text[:200] + " …"


@functools.cache
def load_module(path: str) -> Any:
    name = "_" + os.path.basename(path)[: -len(".py")]  # theirs may be called like a module of ours
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ValueError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    sys.path.append(os.path.dirname(path))  # what stands beside it may be imported by it
    spec.loader.exec_module(module)
    return module
