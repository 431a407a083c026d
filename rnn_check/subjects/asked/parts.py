"""What are a Keras layer's weights and states called, and what does it return?"""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from .wire import Array, encode

Tensor = Any  # whatever the framework computes with
Tensors = dict[str, Any]
Layers = list[Any]
STATES = ("initial_state", "backward_state", "third_state", "fourth_state")  # among the inputs


def weight_name(weight: Any) -> str:
    """kernel, whether Keras calls it that or simple_rnn/simple_rnn_cell/kernel:0."""
    return str(weight.name).rsplit("/", 1)[-1].split(":")[0]


def named_weights(layer: Any) -> list[tuple[str, Any]]:
    """A layer's weights by their paths: "kernel", "forward.kernel" or "cell_0.kernel"."""
    if hasattr(layer, "forward_layer"):
        parts = {"forward.": layer.forward_layer, "backward.": layer.backward_layer}
    elif hasattr(getattr(layer, "cell", None), "cells"):
        parts = {f"cell_{index}.": cell for index, cell in enumerate(layer.cell.cells)}
    elif hasattr(layer, "cell"):
        parts = {"": layer.cell}
    elif hasattr(layer, "layer"):
        parts = {"": layer.layer}
    else:
        return [(weight_name(weight), weight) for weight in layer.weights]
    return [(p + path, weight) for p, part in parts.items() for path, weight in named_weights(part)]


def trainable_weights(layer: Any) -> list[tuple[str, Any]]:
    """Those that are trained, in Keras's order."""
    paths = {id(weight): path for path, weight in named_weights(layer)}
    return [(paths[id(weight)], weight) for weight in layer.trainable_weights]


def weights_of(layer: Any) -> dict[str, Array]:
    arrays = {id(weight): array for weight, array in zip(layer.weights, layer.get_weights())}
    return {path: arrays[id(weight)] for path, weight in named_weights(layer)}


def read_weights(layer: Any) -> dict[str, Any]:
    return {path: encode(array) for path, array in weights_of(layer).items()}


def set_weights(layer: Any, given: dict[str, Array]) -> None:
    """As a user sets them, layer.set_weights([...]); those not given stay as they are."""
    weights = weights_of(layer)
    for path, array in given.items():
        if path not in weights:
            raise ValueError(f"{layer.name} has no weight {path!r}, only {list(weights)}")
        if array.shape != weights[path].shape:
            raise ValueError(
                f"{path} of {layer.name} has shape {weights[path].shape}, not {array.shape}"
            )
    if given:
        new = {id(weight): given[path] for path, weight in named_weights(layer) if path in given}
        old = zip(layer.weights, layer.get_weights())
        layer.set_weights([new.get(id(weight), array) for weight, array in old])


def variables_of(layers: Layers) -> list[Any]:
    """All that may change when the layers are called, the states of stateful ones included."""
    inner = [part for layer in layers for part in getattr(layer, "layers", [])]
    found = [variable for layer in layers for variable in layer.variables]
    found += [state for layer in [*layers, *inner] for state in states_of(layer)]
    return list({id(variable): variable for variable in found}.values())


def states_of(layer: Any) -> list[Any]:
    """What a stateful layer remembers."""
    parts = [getattr(layer, f"{way}_layer", None) for way in ("forward", "backward")]
    if all(parts):
        return [state for part in parts for state in states_of(part)]
    return flat(layer.states or []) if getattr(layer, "stateful", False) else []


def reset(layers: Layers) -> None:
    """A stateful layer starts every run afresh."""
    for layer in layers:
        if getattr(layer, "stateful", False):
            (getattr(layer, "reset_state", None) or layer.reset_states)()


def flat(nested: Any) -> list[Any]:
    """What is in lists and tuples, however deep."""
    if not isinstance(nested, (list, tuple)):
        return [nested]
    return [each for part in nested for each in flat(part)]


def first(outputs: Any) -> Any:
    """The output of a layer that may return its state beside it."""
    return outputs[0] if isinstance(outputs, (list, tuple)) else outputs


def own_output(layer: Any, outputs: Any) -> Any:
    """The output without the states beside it; a list of two where Bidirectional does not merge."""
    if not has_more_outputs(layer):
        return outputs
    if not isinstance(outputs, (list, tuple)):
        raise ValueError(f"{layer.name} returned one array, where several were wanted")
    return list(outputs[:2]) if puts_out_two(layer) else outputs[0]


def states_beside(layer: Any, outputs: Any) -> list[Tensor]:
    """What a layer with return_state returns beside its output, in a flat list."""
    if not getattr(layer, "return_state", False):
        return []
    return flat(list(outputs[len(flat(own_output(layer, outputs))) :]))


def has_more_outputs(layer: Any) -> bool:
    return getattr(layer, "return_state", False) or puts_out_two(layer)


def puts_out_two(layer: Any) -> bool:
    """Whether it is a Bidirectional that does not merge."""
    return getattr(layer, "merge_mode", "concat") is None


def configuration(config: Any, named: bool) -> str:
    """A layer's configuration in one comparable form; `named`: with the names in it."""

    def without_names(part: Any) -> Any:
        if isinstance(part, dict):
            return {k: without_names(v) for k, v in part.items() if named or k != "name"}
        return [without_names(each) for each in part] if isinstance(part, (list, tuple)) else part

    return json.dumps(without_names(config), sort_keys=True, default=str)


def as_described(config: Any) -> Any:
    """A configuration as a request would describe it, whichever Keras wrote it down.

    Orthogonal and OrthogonalInitializer are two names of one class.
    """
    if isinstance(config, (list, tuple)):
        return [as_described(part) for part in config]
    if not isinstance(config, dict):
        return config.item() if isinstance(config, np.generic) else config
    if "class_name" not in config:
        return {key: as_described(part) for key, part in config.items()}
    kind, inner = config["class_name"].removesuffix("Initializer"), as_described(config["config"])
    return {"kind": kind, **inner} if isinstance(inner, dict) else inner  # a function's: its name


def counts(layer: Any) -> dict[str, int]:
    def size(weights: Any) -> int:
        return sum(int(np.prod(weight.shape)) for weight in weights)

    return {
        "parameters": int(layer.count_params()),
        "trainable": size(layer.trainable_weights),
        "non_trainable": size(layer.non_trainable_weights),
    }


def is_floating(name: str, array: Array) -> bool:
    """Whether it is an input of the layer's that has a gradient."""
    return name in ("x", *STATES) and array.dtype.kind == "f"


def state_and_mask(inputs: Tensors) -> Tensors:
    """What a recurrent layer is called with beside x."""
    given: Tensors = {n: inputs[n] for n in ("initial_state", "mask") if n in inputs}
    if "backward_state" in inputs:
        given["initial_state"] = [inputs[name] for name in STATES if name in inputs]
    return given
