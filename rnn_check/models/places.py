"""What was seen of each recurrence in a model, in processing order?

B samples, of all calls of a layer; T timesteps, F features, H units
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from rnn_check.claims.layers.signal import carried
from rnn_check.claims.written import Array
from rnn_check.recurrences.kinds import Recurrence, recurrence

Answer = Mapping[str, Any]
_SAID = ("recurrence", "activation", "recurrent_activation", "reset_after")


@dataclass(frozen=True)
class Cell:
    """A recurrence: what it computes, as `certify` takes it, and with which weights."""

    units: int
    what: dict[str, Any]
    weights: dict[str, Array]
    prefix: str

    @classmethod
    def of(cls, said: Answer, weights: Mapping[str, Array]) -> Cell:
        prefix = said["prefix"]
        own = {p[len(prefix) :]: w for p, w in weights.items() if p.startswith(prefix)}
        what = {name: said[name] for name in _SAID if name in said}
        return cls(said["units"], what, own, prefix)

    @property
    def kind(self) -> Recurrence:
        return recurrence(self.what["recurrence"], self.what.get("reset_after", True))

    @property
    def states(self) -> int:
        """How many it carries."""
        return len(self.kind.states)

    @property
    def below(self) -> int:
        """How many numbers it takes at a step."""
        return len(self.weights["kernel"])


@dataclass(frozen=True)
class Layer:
    """A recurrent layer where it stands; refused: why it is not certified, if it is not.

    options: as a claim describes such a layer; None of a class of the user's own.
    """

    path: str
    kind: str
    refused: str
    cells: list[Cell] = field(default_factory=list)
    dtype: str = "float32"
    sequences: bool = False
    states: bool = False
    backwards: bool = False
    stateful: bool = False
    zeroed: bool = False
    options: dict[str, Any] | None = None

    @classmethod
    def of(cls, said: Answer) -> Layer:
        if said["refused"]:
            return cls(said["path"], said["kind"], said["refused"])
        return cls(
            said["path"], said["kind"], "", [Cell.of(c, said["weights"]) for c in said["cells"]],
            said["dtype"], said["return_sequences"], said["return_state"], said["go_backwards"],
            said["stateful"], said["zero_output_for_mask"],
            said.get("options"),  # which older records lack
        )  # fmt: skip

    def parts(self, array: Array) -> list[Array]:
        """What is side by side in it of each cell."""
        ends = np.cumsum([cell.units for cell in self.cells])[:-1]
        return np.split(array, ends, axis=-1)

    def by_cell(self, states: Sequence[Any]) -> list[list[Any]]:
        """What there is of each state, of each cell; nothing where there is nothing."""
        each = iter(states)
        return [[next(each) for _ in range(cell.states)] if states else [] for cell in self.cells]


@dataclass(frozen=True)
class Taken:
    """What a layer was called with: x (B,T,F), mask (B,T), start of each state (B,H)."""

    x: Array
    mask: Array | None
    start: list[Array]

    @classmethod
    def of(cls, layer: Layer, call: Answer) -> Taken:
        mask = call.get("mask")
        start = numbered(call, "start ")
        x = call["x"]
        if layer.backwards:
            x, mask = x[:, ::-1], None if mask is None else mask[:, ::-1]
        return cls(x, None if mask is None else mask.astype(bool), start)

    def options(self, layer: Layer, index: int) -> dict[str, Any]:
        """Of one of its cells, what `certify` takes beside x."""
        cell, start = layer.cells[index], layer.by_cell(self.start)[index]
        first: Any = None
        if start:
            first = tuple(start) if len(start) > 1 else start[0]
        return {
            "bias": None, **cell.weights, **cell.what,
            "initial_state": first, "mask": self.mask, "dtype": layer.dtype,
        }  # fmt: skip

    def carried(self, layer: Layer, states: Array) -> Array:
        """The states as they were carried, where zeros are shown instead."""
        if self.mask is None or not layer.zeroed:
            return states
        return carried(states, self.mask)


def numbered(call: Answer, name: str) -> list[Array]:
    """NAME 0, NAME 1, ... as far as there are."""
    return [call[f"{name}{i}"] for i in range(len(call)) if f"{name}{i}" in call]


def together(calls: Sequence[Answer]) -> Iterator[dict[str, Array]]:
    """Calls of a layer as one, where they are alike: sample by sample they say the same."""
    groups: dict[Any, list[Answer]] = {}
    for call in calls:
        shapes = sorted((n, a.shape[1:]) for n, a in call.items() if n != "layer")
        groups.setdefault(tuple(shapes), []).append(call)
    for group in groups.values():
        names = [name for name in group[0] if name != "layer"]
        yield {name: np.concatenate([call[name] for call in group]) for name in names}
