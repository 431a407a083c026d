"""What are the adjoints of a layer, called by itself as its model calls it?

A copy of the layer has more features: one of each column of each cell's kernel, 0 in x, whose rows
of the kernel are the identity. The gradient of those is delta, dL/d(argument of each gate). Cells
that take what the one below gives get zeros added to that as well, whose gradient is what is handed
back to the one below.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from .backends import Backend
from .finding import Place
from .parts import Tensor, Tensors, flat, set_weights, trainable_weights, weights_of
from .session import Answer
from .watched import SHOWING, joined
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
        of = {"initial_state": [tensors[name] for name in starts]}
        if "mask" in tensors:
            of["mask"] = tensors["mask"]
        shown, *states = copy(tensors["x"], **of)
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
    paths = [path for path, _ in trainable_weights(copy)]
    return {
        "shown": encode(backend.array(results["shown"])),
        "x": of_x,
        "starts": of_starts,
        "weights": {p: encode(backend.array(each)) for p, each in zip(paths, of_weights)},
    }


def sizes_of(place: Place) -> list[int]:
    """Of each state of each cell."""
    return [c["units"] for c in place.cells for _ in range(1 + (c["recurrence"] == "lstm"))]


def copied(keras: Any, place: Place, below: list[int], widths: list[int]) -> Any:
    """A layer of the same class that shows all, neither built nor frozen."""
    layer = place.layer
    config = plain(layer.get_config())
    config.update(SHOWING, stateful=False, trainable=True)
    config.pop("batch_input_shape", None)
    if not place.is_stack:
        return type(layer).from_config(config)
    cells = [type(cell).from_config(plain(cell.get_config())) for cell in layer.cell.cells]
    config = {key: value for key, value in config.items() if key not in ("cell", "dtype")}
    dtype = getattr(layer, "dtype_policy", None) or layer.dtype
    return keras.layers.RNN(stack_of(keras)(cells, below, widths, dtype=dtype), **config,
                            dtype=dtype)  # fmt: skip


def plain(config: Any) -> Any:
    """A configuration whose weights are not drawn, since they will be given."""
    if isinstance(config, (list, tuple)):
        return [plain(each) for each in config]
    if not isinstance(config, dict):
        return config
    found = {key: plain(value) for key, value in config.items()}
    found.update({key: "zeros" for key in found if key.endswith("_initializer")})
    found.update({key: None for key in _NOT_COPIED if key in found})
    return found


@functools.cache
def stack_of(keras: Any) -> Any:
    """Cells one above the other, each with its further features, which returns what all give."""

    class Probed(keras.layers.Layer):  # type: ignore[misc, name-defined]
        def __init__(
            self, cells: list[Any], below: list[int], widths: list[int], **options: Any
        ) -> None:
            super().__init__(**options)
            self.cells, self.below, self.widths = cells, below, widths
            self.each = [flat(cell.state_size) for cell in cells]
            self.state_size = [size for sizes in self.each for size in sizes]
            self.output_size = sum(int(cell.units) for cell in cells)

        def build(self, input_shape: Any) -> None:
            for cell, size, width in zip(self.cells, self.below, self.widths):
                if not cell.built:
                    cell.build((None, size + width))
                    cell.built = True
            self.built = True

        def call(self, inputs: Tensor, states: Any) -> tuple[Tensor, list[Tensor]]:
            outputs: list[Tensor] = []
            after: list[Tensor] = []
            at = self.below[0]
            for i, (cell, width) in enumerate(zip(self.cells, self.widths)):
                given = inputs[:, : self.below[0]]
                if i:
                    given = outputs[-1] + inputs[:, at : at + self.below[i]]
                    at += self.below[i]
                given = joined(keras, [given, inputs[:, at : at + width]])
                at += width
                own = list(states[len(after) : len(after) + len(self.each[i])])
                output, new = cell(given, own)
                outputs.append(output)
                after.extend(flat(new))
            return joined(keras, outputs), after

    return Probed
