"""Of which arrays is a gradient, where a mistake puts others in their place?

A program that transposes its recurrent kernel has its gradients with regard to the kernel that it
was given: those of the other one, transposed back.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from rnn_check.claims.causes.recurrences import Mistake, Ran
from rnn_check.claims.causes.shown import Shown
from rnn_check.claims.claim import Claim
from rnn_check.claims.layers import Carrying
from rnn_check.claims.truth import Truth
from rnn_check.claims.written import Array, Given
from rnn_check.numbers.bounded import Bounded


@dataclass(frozen=True)
class Moved:
    """Where the numbers of changed arrays stood, and how many times those they are.

    Of each array; index: in all arrays as they were, one after the other. shapes: of these.
    """

    index: Mapping[str, Array]
    times: Mapping[str, Array]
    shapes: Mapping[str, tuple[int, ...]]

    def back(self, changed: Mapping[str, Array], part: str, sign: bool = True) -> Array:
        """dL/d of an array as it was, of dL/d of all that are in their place; sign: or of how far
        these are off."""
        sizes = [int(np.prod(shape)) for shape in self.shapes.values()]
        total = np.zeros(sum(sizes))
        for name, array in changed.items():
            times = self.times[name] if sign else np.abs(self.times[name])
            np.add.at(total, self.index[name].ravel(), (times * array).ravel())
        start = sum(sizes[: list(self.shapes).index(part)])
        shape = self.shapes[part]
        return total[start : start + int(np.prod(shape))].reshape(shape)


def moved(mistake: Mistake, words: str, run: Ran, parts: tuple[str, ...]) -> Moved | None:
    """What the mistake does to the arrays; None where it does more than to move and to multiply."""
    given: dict[str, Given] = {
        part: getattr(run, part) for part in parts if getattr(run, part) is not None
    }
    shapes = {part: array.shape for part, array in given.items()}
    if run.second is not None:
        return None

    def made(start: int, step: int) -> dict[str, Array] | None:
        """The changed arrays of those that hold start, start + step, start + 2·step, …"""
        at, filled = start, {}
        for part, shape in shapes.items():
            size = int(np.prod(shape))
            numbers = at + step * np.arange(size, dtype=np.float64)
            filled[part], at = Given.exactly(numbers.reshape(shape)), at + step * size
        other = dataclasses.replace(run, **filled)  # type: ignore[arg-type]
        for told, changed in mistake.change(other):
            if told == words:
                return {part: getattr(changed, part).value for part in shapes}
        return None

    zero, one, numbered, twice = made(0, 0), made(1, 0), made(0, 1), made(1, 2)
    if zero is None or one is None or numbered is None or twice is None:
        return None
    index, times = {}, {}
    for part, shape in shapes.items():
        if numbered[part].shape != shape:
            return None
        times[part] = one[part] - zero[part]
        with np.errstate(divide="ignore", invalid="ignore"):
            found = np.where(times[part] != 0, (numbered[part] - zero[part]) / times[part], 0)
        if not np.array_equal(times[part] * (1 + 2 * found) + zero[part], twice[part]):
            return None
        index[part] = np.rint(found).astype(np.int64)
    every = sum(int(np.prod(shape)) for shape in shapes.values())
    if any((i >= every).any() or (i < 0).any() for i in index.values()):
        return None
    return Moved(index, times, shapes)


def of_given(
    claim: Claim, layer: Carrying, index: int, mistake: Mistake, words: str, run: Ran
) -> Shown | None:
    """The gradients with regard to the arrays that were given; None if they are those as they are.

    claim: with the mistake in that recurrence.
    """
    if claim.loss is None:
        return None
    prefix = layer.recurrences[index][0]
    alone = claim.layers[0].name == layer.name and len(layer.recurrences) == 1
    parts = (
        "kernel",
        "recurrent_kernel",
        "bias",
        *(("x",) if "x" in claim.gradients and alone else ()),
    )
    found = moved(mistake, words, run, parts)
    if found is None:
        return None
    names = {part: "x" if part == "x" else f"{layer.name}.{prefix}{part}" for part in found.shapes}
    paths = {name if part == "x" else prefix + part: part for part, name in names.items()}
    backwards = layer.option("go_backwards")

    def in_order(part: str, array: Array) -> Array:
        return array[:, ::-1] if part == "x" and backwards else array

    def gradient(truth: Truth, of: str) -> Bounded | None:
        own, path = claim.gradients[of]
        if own.name != layer.name or path not in paths:
            return None
        part = paths[path]
        whole = {p: truth.gradient(name) for p, name in names.items()}
        value = found.back({p: in_order(p, g.value) for p, g in whole.items()}, part)
        error = found.back({p: in_order(p, g.error) for p, g in whole.items()}, part, sign=False)
        return Bounded(in_order(part, value), in_order(part, error), whole[part].a)

    return Shown(gradient=gradient)
