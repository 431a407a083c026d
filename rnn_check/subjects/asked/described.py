"""What stands in a layer or model that a user made, in the words of a request's descriptions?"""

from __future__ import annotations

import functools
import importlib
import inspect
import os
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from .loading import loaded
from .named import CELLS, LAYERS, is_recurrent
from .own import load_module
from .parts import as_described, first, flat, own_output, puts_out_two, weights_of
from .session import Answer, Maybe
from .wire import encode

# what matters for no call with these weights; and what for how it is computed alone
_UNSEEN = ("trainable", "seed", "unit_forget_bias", "_initializer", "_regularizer", "_constraint")
_HOW = ("dropout", "stateful", "implementation", "_cudnn")


class Refused(Exception):
    """What cannot be described. The message says why."""


def described(backend: Any, where: str, only: str, x: Maybe) -> Answer:
    """The answer to the verb `describe`."""
    try:
        whole = found(backend.keras, where)
        layers = chain(backend.keras, whole, only)
        told = [description(backend.keras, layer) for layer in layers]
    except Refused as reason:
        return {"refused": str(reason)}
    answer: Answer = {
        "layers": told,
        "weights": {
            layer.name: {path: encode(array) for path, array in weights_of(layer).items()}
            for layer in layers
        },
        "input_shape": list(input_shape(layers[0]) or ()),
        "parameters": sum(int(layer.count_params()) for layer in layers),
        "dtype": str(getattr(layers[0].dtype_policy, "name", layers[0].dtype_policy)),
    }
    if x is not None:
        tensor = backend.tensor(x)
        output = layers[0](tensor) if only else whole(tensor)
        own = own_output(layers[-1], output) if puts_out_two(layers[-1]) else [first(output)]
        answer["output"] = encode(np.concatenate([backend.array(e) for e in own], axis=-1))
    return answer


@functools.cache
def found(keras: Any, where: str) -> Any:
    """The layer or model of FILE.keras, FILE.h5, FILE.py:NAME or MODULE:NAME, made if need be."""
    if where.endswith((".keras", ".h5", ".hdf5")):
        return loaded(keras, where)
    module, _, name = where.rpartition(":")
    sys.path.insert(0, os.getcwd())
    thing = load_module(module) if module.endswith(".py") else importlib.import_module(module)
    for part in name.split("."):
        thing = getattr(thing, part)
    if not isinstance(thing, keras.layers.Layer) and callable(thing):
        thing = thing()
    if not isinstance(thing, keras.layers.Layer):
        raise Refused(f"it is a {type(thing).__name__}, no layer and no model of Keras")
    return thing


def chain(keras: Any, whole: Any, only: str) -> list[Any]:
    """Its layers, each of which takes what the one before it gives; or the one that is asked."""
    if not isinstance(whole, keras.Model):
        if only:
            raise Refused(f"it is a layer by itself, in which there is no {only}")
        return [whole]
    if only:
        layers = list(within(keras, whole))
        named = [each for each in layers if each.name == only]
        if not named:
            raise Refused(f"it has no layer {only}; it has {', '.join(e.name for e in layers)}")
        return named
    try:
        return list(in_turn(keras, whole))
    except (AttributeError, ValueError):
        taken = [each.name for each in within(keras, whole) if is_recurrent(type(each).__name__)]
        raise Refused(
            "its layers do not stand one after the other, each taking what the one before it "
            f"gives; --only takes one of them: {', '.join(taken)}"
        ) from None


def within(keras: Any, model: Any) -> Any:
    """All layers, also of models in it."""
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from within(keras, layer)
        elif isinstance(layer, keras.layers.Layer) and type(layer).__name__ != "InputLayer":
            yield layer


def in_turn(keras: Any, model: Any) -> Any:
    """The layers on the way from the input to the output; an error if there are several ways."""
    if isinstance(model, keras.Sequential):
        layers = model.layers
    else:
        layers, outputs = [], flat(model.output)
        tensor = outputs[0]
        while True:
            layer = tensor._keras_history[0]
            if type(layer).__name__ == "InputLayer":
                break
            if layers and puts_out_two(layer):
                raise ValueError
            if not layers and len(outputs) > 1:
                own = own_output(layer, layer.output) if puts_out_two(layer) else []
                if [*map(id, own)] != [*map(id, outputs)]:
                    raise ValueError
            layers.insert(0, layer)
            tensor, *beside = flat(layer.input)
            if any("bool" not in str(each.dtype) for each in beside):  # but for masks
                raise ValueError
    for layer in layers:
        if isinstance(layer, keras.Model):
            yield from in_turn(keras, layer)
        elif type(layer).__name__ != "InputLayer":
            yield layer


def input_shape(layer: Any) -> Sequence[Any] | None:
    """(B,T,F), None where any size will do; the features alone, where it was built by a call."""
    try:
        return tuple(layer.input.shape)
    except (AttributeError, ValueError):
        shape = getattr(layer, "_build_shapes_dict", None) or {}
        known = next(iter(shape.values()), None)
        return tuple(known) if isinstance(known, (list, tuple)) else None


def description(keras: Any, layer: Any) -> dict[str, Any]:
    """{"kind", "name", its options that are not Keras's defaults}."""
    check(keras, layer)
    if not layer.built:
        raise Refused(f"{layer.name} is not built yet, so it has no weights: call it once")
    config = as_described({"class_name": type(layer).__name__, "config": layer.get_config()})
    return {**options(keras, config), "name": layer.name}


def check(keras: Any, layer: Any) -> None:
    """Of layers and cells of the user's own nobody knows what they compute."""
    kind = type(layer).__name__
    if getattr(keras.layers, kind, None) is not type(layer) or kind not in {**LAYERS, **CELLS}:
        raise Refused(
            f"{layer.name} is a {kind}, and a claim has no such layer: it has "
            f"{', '.join(LAYERS)}; --only NAME takes out one of those"
        )
    inside = []
    if kind == "TimeDistributed":
        inside = [layer.layer]
    elif kind == "RNN":
        inside = list(getattr(layer.cell, "cells", [layer.cell]))
    elif kind == "Bidirectional":
        inside = [layer.forward_layer, layer.backward_layer]
    for part in inside:
        check(keras, part)
    if kind == "Bidirectional" and (inside[0].go_backwards or not inside[1].go_backwards):
        raise Refused(f"the forward direction of {layer.name} reads backwards: a claim says none")


def all_options(keras: Any, layer: Any) -> dict[str, Any] | None:
    """{"kind", its options that are not Keras's defaults} of a layer as it stands in a model, also
    those that change no number that is right; None of what no claim speaks of."""
    try:
        check(keras, layer)
        config = as_described({"class_name": type(layer).__name__, "config": layer.get_config()})
        return options(keras, config, _UNSEEN)
    except Exception:  # whatever a user's own class raises: then nothing is known of it
        return None


def options(
    keras: Any, config: dict[str, Any], but: tuple[str, ...] = (*_UNSEEN, *_HOW)
) -> dict[str, Any]:
    """but: the ends of the names of those that are left out."""
    kind = config["kind"]
    if kind == "StackedRNNCells":
        return {"cells": [options(keras, cell, but) for cell in config["cells"]]}
    defaults = inspect.signature(getattr(keras.layers, kind).__init__).parameters
    known: dict[str, Any] = {"kind": kind}
    for key in {**LAYERS, **CELLS}[kind]:
        if key.endswith(but) or key not in config:
            continue
        value = config[key]
        if isinstance(value, dict) and "kind" in value and key in ("layer", "cell"):
            value = options(keras, value, but)
            value = value.get("cells", value)
        elif key == "backward_layer":
            value = options(keras, value, but)
            if value == {**known["layer"], "go_backwards": True}:  # its mirror image
                continue
        elif (key in defaults and value == defaults[key].default) or (
            key not in defaults and value is False
        ):
            continue
        known[key] = value
    return known
