"""Where do an author's arrays stand in Keras's: weights, and what is linear in them?"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from rnn_check.claims.gates import (
    PARTS,
    GateReading,
    Letters,
    gates_of,
    order_of_all,
)
from rnn_check.claims.written import Array


@dataclass(frozen=True)
class View:
    """An array as its author has it: where its numbers stand in Keras's arrays.

    sources: which of those. index: of each number, where it stands in them, one array after the
    other. mirrored: whether it is -1 times that one. added: what the author's program adds to it.
    """

    sources: tuple[str, ...]
    index: Array
    mirrored: Array
    added: Array | float = 0.0

    @classmethod
    def whole(cls, name: str, shape: tuple[int, ...], turned: bool) -> View:
        """Of one array, as it is or transposed."""
        index = np.arange(math.prod(shape)).reshape(shape)
        index = index.T if turned else index
        return cls((name,), index, np.zeros(index.shape, bool))

    def under(self, prefix: str) -> View:
        """The same, where Keras's arrays have longer paths."""
        sources = tuple(prefix + name for name in self.sources)
        return View(sources, self.index, self.mirrored, self.added)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.index.shape

    def __call__(self, arrays: Mapping[str, Array]) -> Array:
        """Of whatever is linear in the weights: gradients, and changes by an update."""
        found = self._taken(arrays)
        return np.where(self.mirrored, -found, found)

    def bounds(self, arrays: Mapping[str, Array]) -> Array:
        """Of how far each of them may be off."""
        return self._taken(arrays)

    def _taken(self, arrays: Mapping[str, Array]) -> Array:
        flat = np.concatenate([np.ravel(arrays[name]) for name in self.sources])
        return np.asarray(flat[self.index])

    def of_states(self, reading: GateReading, parts: int) -> View:
        """Of all states (S,B,H), or of one (B,H), in the author's order.

        parts: of the layer, which have as many states each.
        """
        if reading.states == "[h, c]" or self.index.ndim < 3:
            return self
        index = self.index.reshape(parts, -1, *self.shape[1:])[:, ::-1].reshape(self.shape)
        return View(self.sources, index, self.mirrored)


def view(
    path: str,
    shapes: Mapping[str, tuple[int, ...]],
    written: Mapping[str, tuple[int, ...]],
    reading: GateReading,
    letters: Letters,
    units: int,
) -> View:
    """What the author calls `path` ("kernel", "f.kernel", "ru.bias"), as a view of Keras's arrays.

    shapes: of those. written: of the arrays in the author's table of weights, whose shape (a bias
    may be a column, or two rows) is also that of a gradient. Of two biases that are added, either
    has the gradient of the sum. Raises LookupError, with what could be, for what is no path, and
    ValueError, which says why, for what the author cannot mean.
    """
    group, dot, part = path.rpartition(".")
    order = gates_of(group, letters) if dot else order_of_all(reading, letters)
    if part not in PARTS or order is None:
        raise LookupError(_paths(shapes, written, letters))
    if part == "recurrent_kernel" and reading.joined is not None:
        whole = path.removesuffix(part) + "kernel"
        raise ValueError(f'with joined = "{reading.joined}", {whole} holds it')
    if part.endswith("bias") and "bias" not in shapes:
        raise ValueError("the layer has use_bias = false")
    second = [name for name in written if name.endswith("recurrent_bias")]
    two_rows = len(shapes.get("bias", ())) == 2
    if part == "recurrent_bias" and not (second or two_rows):
        raise ValueError("the author has one bias: [weights] gives no recurrent_bias")
    both = part == "kernel" and reading.joined is not None
    sources = ("kernel", "recurrent_kernel") if both else (part.replace("recurrent_bias", "bias"),)
    sizes = [math.prod(shapes[name]) for name in sources]
    every = np.split(np.arange(sum(sizes)), np.cumsum(sizes)[:-1])
    own = {n: index.reshape(shapes[n]) for n, index in zip(sources, every, strict=True)}
    if both:
        in_order = sources if reading.joined == "[x, h]" else sources[::-1]
        found = np.concatenate([own[name] for name in in_order])
    else:
        found = own[sources[0]]
    if two_rows and part.endswith("bias"):
        as_keras = not (second or group) and path not in written
        if not as_keras and written.get(path) != (2, len(order) * units):
            found = found[int(part == "recurrent_bias")]
    gates = dict(zip(letters.order, np.split(found, len(letters.order), axis=-1), strict=True))
    found = np.concatenate([gates[gate] for gate in order], axis=-1)
    is_update = np.array([gate == letters.update for gate in order]).repeat(units)
    mirrored = np.broadcast_to(is_update & (reading.z_weighs == "candidate"), found.shape)
    if reading.layout == "W·x" and part.endswith("kernel"):
        found, mirrored = found.T, mirrored.T
    shape = written.get(path, found.shape)
    added: Array | float = 0.0
    if part == "bias" and reading.forget_bias is not None and letters.forget:
        is_forget = np.array([gate == letters.forget for gate in order]).repeat(units)
        added = (is_forget * float(reading.forget_bias)).reshape(shape)
    return View(sources, found.reshape(shape), mirrored.reshape(shape), added)


def _paths(shapes: Iterable[str], written: Iterable[str], letters: Letters) -> set[str]:
    """What can be named: what is written, all gates together, and each."""
    groups = ["", *(f"{gate}." for gate in letters.order if letters.authors)]
    return {*written, *(group + part for group in groups for part in shapes)}
