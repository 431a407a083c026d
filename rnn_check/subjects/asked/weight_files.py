"""Which recurrent layer is meant of those in a file of weights, and which stand in Keras's own?

A .weights.h5 file holds arrays and the names of layers, and no options: their kinds follow from the
shapes, and other options are taken to be Keras's defaults.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from .described import Refused
from .layouts import PATHS
from .named import FAMILIES
from .session import Answer
from .wire import encode

# {name: {"layer": its description, "weights": {path: array}, "dtype"}, or {"refused": why none}}
Found = dict[str, dict[str, Any]]


def described_in(layers_in: Callable[[], Found], only: str) -> Answer:
    """The answer to `describe`, of the one layer there, or the one that is asked."""
    try:
        found = layers_in()
        if not found:
            raise Refused("it has no recurrent layer")
        names = ", ".join(found)
        if not only and len(found) > 1:
            raise Refused(f"it has several layers: {names}; name one")
        if only and only not in found:
            raise Refused(f"it has no layer {only}; it has {names}")
        of = found[only or names]
        if "refused" in of:
            raise Refused(of["refused"])
    except Refused as reason:
        return {"refused": str(reason)}
    weights = of["weights"]
    return {
        "layers": [of["layer"]],
        "weights": {of["layer"]["name"]: {path: encode(a) for path, a in weights.items()}},
        "input_shape": [None, None, int(next(iter(weights.values())).shape[0])],
        "parameters": sum(array.size for array in weights.values()),
        "dtype": of["dtype"],
    }


def layers_in(where: str) -> Found:
    """The recurrent layers in a .weights.h5 file of Keras 3."""
    h5py = importlib.import_module("h5py")
    try:
        with h5py.File(where, "r") as file:
            return {name: _described(name, ways) for name, ways in _layers(file)}
    except FileNotFoundError:
        raise
    except OSError as error:
        raise Refused(f"it is no HDF5 file: {error}") from None


def _layers(group: Any) -> Iterator[tuple[str, list[list[Any]]]]:
    """Each recurrent layer's name, and the arrays of its directions."""
    for name, inner in group.items() if hasattr(group, "items") else ():
        ways = [inner] if "cell" in inner else []
        if "forward_layer" in inner:
            ways = [inner["forward_layer"], inner["backward_layer"]]
        if not ways:
            yield from _layers(inner) if hasattr(inner, "items") else ()
            continue
        own = inner["vars"].attrs.get("name", name) if "vars" in inner else name
        arrays = [way.get("cell/vars") or {} for way in ways]
        yield str(own), [[np.asarray(of[key]) for key in sorted(of)] for of in arrays]


def _described(name: str, ways: list[list[Any]]) -> dict[str, Any]:
    weights: dict[str, Any] = {}
    for prefix, arrays in zip(("forward.", "backward.") if len(ways) > 1 else ("",), ways):
        if len(arrays) < 2 or arrays[1].ndim != 2 or len(arrays[1]) == 0:
            return {"refused": f"{name} has no kernel and recurrent_kernel"}
        units, columns = arrays[1].shape
        alike = (k for k, family in FAMILIES.items() if family.gates == columns / units)
        kind = next(alike, None)  # the first that is listed: shapes say no more
        if kind is None:
            *some, last = FAMILIES
            return {"refused": f"{name} is no {', '.join(some)} or {last}"}
        weights.update((prefix + path, array) for path, array in zip(PATHS, arrays))
    layer: dict[str, Any] = {"kind": kind, "units": int(units)}
    layer.update({"use_bias": False} if len(arrays) == 2 else {})
    if "reset_after" in FAMILIES[layer["kind"]].options and len(arrays) > 2 and arrays[2].ndim == 1:
        layer["reset_after"] = False
    if len(ways) > 1:
        layer = {"kind": "Bidirectional", "layer": layer}
    return {"layer": {**layer, "name": name}, "weights": weights, "dtype": arrays[0].dtype.name}
