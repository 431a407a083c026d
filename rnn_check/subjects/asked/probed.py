"""What are the adjoints of a layer, called by itself as its model calls it?

A copy of the layer has more features: one of each column of each cell's kernel, 0 in x, whose rows
of the kernel are the identity. The gradient of those is delta, dL/d(argument of each gate). Cells
that take what the one below gives get zeros added to that as well, whose gradient is what is handed
back to the one below.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .backends import Backend
from .cell_by_cell import SHOWING, showing, shown_of
from .finding import Place
from .named import FAMILIES, layer_computing
from .parts import Tensors, flat, set_weights, trainable_weights, weights_of
from .session import Answer
from .wire import Array, encode

_NOT_COPIED = ("kernel_regularizer", "recurrent_regularizer", "bias_regularizer")


def probed(
    backend: Backend, place: Place, x: Array, mask: Array | None, start: list[Array],
    cotangents: dict[str, Array], mode: str,
) -> Answer:  # fmt: skip
    """Of the loss that is the sum of the cotangents ("shown", "state 0", ...) times what they are
    of.

    {"shown": (B,T,H), "x": (B,T,F+...), "starts": [...], "weights": {path: array}}: the steps of
    all cells side by side, and gradients.
    """
    keras, layer = backend.keras, place.layer
    weights = weights_of(layer)
    widths, below = [], []
    for cell in place.cells:
        path = f"{cell['prefix']}kernel"
        kernel = weights[path]
        widths.append(kernel.shape[1])
        below.append(kernel.shape[0])
        identity = np.eye(kernel.shape[1], dtype=kernel.dtype)
        weights[path] = np.concatenate([kernel, identity])
    copy = copied(keras, place, below, widths)
    wide = sum(widths) + sum(below[1:])
    x = np.concatenate([x, np.zeros((*x.shape[:2], wide), x.dtype)], axis=-1)
    copy.build(x.shape)
    set_weights(copy, weights)
    given: Tensors = {"x": backend.tensor(x)}
    if mask is not None:
        given["mask"] = backend.tensor(mask)
    states = start or [np.zeros((len(x), n), x.dtype) for n in sizes_of(place)]
    starts = [f"start {i}" for i in range(len(states))]
    given.update(zip(starts, map(backend.tensor, states)))
    given.update((f"of {name}", backend.tensor(c)) for name, c in cotangents.items())

    def compute(tensors: Tensors) -> Tensors:
        start = [tensors[name] for name in starts]
        if place.is_stack:
            shown, *states = shown_of(copy, copy, tensors["x"], start, tensors.get("mask"))
        else:
            of = {"mask": tensors["mask"]} if "mask" in tensors else {}
            shown, *states = copy(tensors["x"], initial_state=start, **of)
        results = {"shown": shown}
        results.update((f"state {i}", each) for i, each in enumerate(flat(states)))
        loss = None
        for name in cotangents:
            tensor = results[name]
            part = tensor[..., -cotangents[name].shape[-1] :]  # of several cells the last one's
            part = part * backend.cast(tensors[f"of {name}"], part.dtype)
            term = backend.sum(backend.cast(part, "float32"))
            loss = term if loss is None else loss + term
        return {"shown": shown, "loss": loss}

    asked = ["x", *starts]
    results, of_weights, of_inputs = backend.differentiate(compute, [copy], given, asked, mode)
    of_x, *of_starts = (encode(backend.array(each)) for each in of_inputs)
    gradients = {
        path: backend.array(each) for (path, _), each in zip(trainable_weights(copy), of_weights)
    }
    for cell, size in zip(place.cells, below):  # the rows of the identity are nobody's
        path = f"{cell['prefix']}kernel"
        gradients[path] = gradients[path][:size]
    return {
        "shown": encode(backend.array(results["shown"])),
        "x": of_x,
        "starts": of_starts,
        "weights": {path: encode(each) for path, each in gradients.items()},
    }


def sizes_of(place: Place) -> list[int]:
    """Of each state of each cell."""
    return [
        cell["units"]
        for cell in place.cells
        for _ in range(FAMILIES[layer_computing(cell["recurrence"])].states)
    ]


def copied(keras: Any, place: Place, below: list[int], widths: list[int]) -> Any:
    """A layer of the same class that shows all, neither built nor frozen."""
    layer = place.layer
    config = plain(layer.get_config())
    config.update(SHOWING, stateful=False, trainable=True)
    config.pop("batch_input_shape", None)
    if not place.is_stack:
        return type(layer).from_config(config)
    cells = [type(cell).from_config(plain(cell.get_config())) for cell in layer.cell.cells]
    return showing(keras, place, cells, below, widths)


def plain(config: Any) -> Any:
    """A configuration whose weights are not drawn, since they will be given."""
    if isinstance(config, (list, tuple)):
        return [plain(each) for each in config]
    if not isinstance(config, dict):
        return config
    # nor built as the other one was
    found = {key: plain(value) for key, value in config.items() if key != "build_config"}
    found.update({key: "zeros" for key in found if key.endswith("_initializer")})
    found.update({key: None for key in _NOT_COPIED if key in found})
    return found
