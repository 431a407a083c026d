"""What does each of several cells, one above the other, give at each step?"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Sequence
from typing import Any

from .finding import Place
from .parts import Tensor, flat

SHOWING = {"return_sequences": True, "return_state": True}
_LIKE = ("go_backwards", "unroll", "zero_output_for_mask")


def showing(
    keras: Any,
    place: Place,
    cells: list[Any],
    below: Sequence[int] = (),
    widths: Sequence[int] = (),
) -> Any:
    """A layer that does with these cells what the layer there does with its own, and shows all.

    below, widths: of each cell how many numbers it takes, and how many features it has besides (see
    `probed`); nothing if there are none.
    """
    layer = place.layer
    dtype = getattr(layer, "dtype_policy", None) or layer.dtype
    like = {name: getattr(layer, name) for name in _LIKE if hasattr(layer, name)}
    cell = _class_of(keras)(cells, below, widths, dtype=dtype)
    return keras.layers.RNN(cell, **SHOWING, **like, dtype=dtype)


def shown_of(
    layer: Any, call: Any, x: Tensor, start: Sequence[Tensor], mask: Tensor | None
) -> list[Tensor]:
    """The steps of all cells side by side, and the last state of each."""
    of = {} if mask is None else {"mask": mask}
    if start:
        firsts = [start[at] for at in layer.cell.firsts]
        of["initial_state"] = [joined(layer.cell.keras, firsts), *start]
    shown, _, *states = flat(call(x, **of))
    return [shown, *states]


def joined(keras: Any, tensors: Sequence[Tensor]) -> Tensor:
    """Side by side, along the last axis."""
    if hasattr(keras, "ops"):
        return keras.ops.concatenate(list(tensors), axis=-1)
    return importlib.import_module("tensorflow").concat(list(tensors), -1)


@functools.cache
def _class_of(the_keras: Any) -> Any:
    class Showing(the_keras.layers.Layer):  # type: ignore[misc]
        """Cells as one whose output is that of all of them.

        Its first state is its output: jax takes that for what masked steps repeat.
        """

        keras = the_keras

        def __init__(
            self, cells: list[Any], below: Sequence[int], widths: Sequence[int], **options: Any
        ) -> None:
            super().__init__(**options)
            self.cells, self.below = cells, list(below)
            self.widths = list(widths)
            each = [flat(cell.state_size) for cell in cells]
            self.firsts = [sum(map(len, each[:i])) for i in range(len(each))]
            self.counts = list(map(len, each))
            self.output_size = sum(sizes[0] for sizes in each)
            self.state_size = [self.output_size, *(size for sizes in each for size in sizes)]

        def build(self, input_shape: Any) -> None:
            for cell, size, width in zip(self.cells, self.below, self.widths):
                if not cell.built:
                    cell.build((None, size + width))
                    cell.built = True
            self.built = True

        def call(self, inputs: Tensor, states: Any) -> tuple[Tensor, list[Tensor]]:
            outputs: list[Tensor] = []
            after: list[Tensor] = []
            at = 0
            for i, cell in enumerate(self.cells):
                given = outputs[-1] if i else inputs
                if self.widths:
                    wide = inputs[:, at : at + self.below[i] + self.widths[i]]
                    at += self.below[i] + self.widths[i]
                    given = wide
                    if i:  # what is added to the output below is 0
                        above = outputs[-1] + wide[:, : self.below[i]]
                        given = joined(the_keras, [above, wide[:, self.below[i] :]])
                own = states[1 + self.firsts[i] : 1 + self.firsts[i] + self.counts[i]]
                output, new = cell(given, list(own))
                outputs.append(output)
                after.extend(flat(new))
            shown = joined(the_keras, outputs)
            return shown, [shown, *after]

    return Showing
