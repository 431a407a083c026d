"""What are layers called with that a framework made, and what is kept of a run?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from .session import Descriptions, Made
from .wire import Array

Tensor = Any


class Stack(Made):
    """What the framework made of each description."""

    def __init__(self, specs: Descriptions, modules: list[Any]) -> None:
        self.specs = specs
        self.modules = modules


class Run:
    """What can be kept of a run.

    masks: whether a layer's output is a sequence to which the mask belongs, 1, or reversed, -1, or
    is none, 0. unlike: what of it stands for no result of Keras's, since sequences are filled up
    with zeros.
    """

    def __init__(self) -> None:
        self.found: dict[str, Any] = {"layers": [], "masks": [], "beside": []}
        self.unlike: set[str] = set()


class Given(NamedTuple):
    """What layers are called with. last: the first recurrent one returns a sequence, of which the
    last step goes on. later: the initial states of recurrent layers after it."""

    x: Tensor
    starts: list[Tensor]
    lengths: list[int] | None
    last: bool
    later: dict[str, list[Tensor]]


class Derived(NamedTuple):
    """What a loss is, its gradients of all that a run takes, and what was kept of the run."""

    loss: Tensor
    weights: list[dict[str, Array]]  # of each layer, by Keras's paths
    x: Tensor
    states: list[Tensor]
    starts: dict[str, list[Tensor]]
    kept: dict[str, Tensor]


def backwards(length: int, lengths: Sequence[int] | None) -> Array:
    """Where each step of a sequence that is read backwards stands: (T,), or (B,T) of lengths, of
    which what does not count stays last."""
    steps = np.arange(length)
    if lengths is None:
        return steps[::-1].copy()
    counts = np.asarray(lengths)[:, None]
    return np.where(steps < counts, counts - 1 - steps, steps)
