"""What does one layer hand to the next, what is handed back to it, and what of it is shown?

A mask belongs to the steps of what it travels with: a layer that returns its sequence reversed
hands the mask on reversed.

Sizes: B samples, T timesteps, F features, H units.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from rnn_check.certificates.comparison import Comparison, equal, no_bound
from rnn_check.claims.written import Array
from rnn_check.numbers import bounded as numbers
from rnn_check.numbers import formats

Bounded = tuple[Array, Array]  # a value and its bound, of one shape
Cotangent = tuple[
    Array, Array | None
]  # dL/d of an output; no bound: the loss's own, as it is given
Weights = Mapping[str, Bounded]  # by path, as `Part.weight_shapes`
# half units of the last digit to which what a layer carries on is rounded by hand: of its "output",
# and with the prefix of a part of its "states", "c", "gate f" and "preactivation f" (B,T,H)
ByHand = Mapping[str, Array]


@dataclass(frozen=True)
class Signal:
    """What one layer hands to the next.

    rounded: what is lost in addition, where somebody goes on with what is printed of it.
    """

    value: Array  # (B,T,F), (B,F), or (B,T) of indices
    error: Array  # of the same shape
    mask: Array | None = None  # (B,T)
    rounded: Array | float = 0.0

    @property
    def bounded(self) -> Bounded:
        return self.value, self.error

    @property
    def handed_on(self) -> Signal:
        """As the next layer, or a loss, takes it."""
        return Signal(self.value, self.error + self.rounded, self.mask)

    @classmethod
    def exactly(cls, value: Array, mask: Array | None = None) -> Signal:
        wide = np.asarray(value).astype(np.float64)
        return cls(wide, np.zeros_like(wide), mask)


@dataclass(frozen=True)
class Call:
    """What a layer, or a part of one, is called with, and in which arithmetic it computes.

    starts: the initial value (B,H) of each state that it carries; zeros if there is none.
    """

    weights: Weights  # its own
    given: Signal
    arithmetic: str
    starts: Sequence[Bounded] = ()
    by_hand: ByHand = field(default_factory=dict)


class Back(NamedTuple):
    """dL/d of what a layer was given: its input, its weights by path, each state's start."""

    x: Bounded
    weights: Mapping[str, Bounded] = {}
    starts: Sequence[Bounded] = ()


@dataclass(frozen=True)
class Course:
    """One recurrence at every step: each (B,T,H) in processing order.

    states: as they are carried, h first. arguments: of the activation "", or of that of each gate.
    """

    states: Mapping[str, Bounded]
    arguments: Mapping[str, Bounded]
    gates: Mapping[str, Bounded]
    back: Callable[[Mapping[str, Cotangent]], Back]  # of cotangents of its states


@dataclass(frozen=True)
class Pass:
    """What became of what a layer was given, and the way back.

    courses: of each recurrence in it.
    """

    out: Signal
    back: Callable[[Cotangent], Back]
    courses: Sequence[Course] = field(default=())


def shown_as_zero(mask: Array, zero_output_for_mask: bool) -> Array:
    """(B,T,1) True where Keras shows a zero instead of the state; mask (B,T) in processing order.

    Before the first step that counts there is no output to repeat; elsewhere a skipped step is
    zero if `zero_output_for_mask` says so.
    """
    zero = ~np.logical_or.accumulate(mask, axis=1)
    if zero_output_for_mask:
        zero = zero | ~mask
    shown: Array = zero[:, :, None]
    return shown


def each(change: Callable[[Array], Array], cotangent: Cotangent) -> Cotangent:
    """The same change of shape to both."""
    value, error = cotangent
    return change(value), None if error is None else change(error)


def at_the_end(last: Array, timesteps: int) -> Array:
    """(B,T,H), zero but for the last step."""
    whole = np.zeros((len(last), timesteps, last.shape[-1]))
    whole[:, -1] = last
    return whole


def known(cotangent: Cotangent, arithmetic: str) -> numbers.Bounded:
    """A cotangent as a number to compute with: rounded first, if it is the loss's own."""
    value, error = cotangent
    a = formats.arithmetic(arithmetic)
    return numbers._given(value, 0.0 if error is None else error, a, error is None)


# -- what was observed of it -----------------------------------------------------------------------


def exactly(weights: Mapping[str, Array]) -> dict[str, Bounded]:
    """Weights as a subject reads them back: numbers that are exactly known."""
    return {name: (np.asarray(w, np.float64), np.zeros(w.shape)) for name, w in weights.items()}


def bounded(what: str, got: Array, expected: Bounded, who: str = "step") -> Comparison:
    """An observed array against a value and its bound."""
    wide, (value, bound) = got.astype(np.float64), expected
    if wide.shape != value.shape:
        return equal("subject", f"shape of {what}", str(wide.shape), str(value.shape))
    with np.errstate(invalid="ignore"):
        error = np.abs(wide - value)
    return Comparison(
        who, what, wide, value, error, bound, axes(got), tuple(np.indices(got.shape)),
        unbounded=no_bound("this arithmetic"),
    )  # fmt: skip


def zeros(states: Array, mask: Array) -> Comparison:
    """Zeros at the steps that the mask (B,T) skips, in processing order: zero_output_for_mask."""
    wide = np.where(mask[:, :, None], 0.0, states.astype(np.float64))
    nothing = np.zeros_like(wide)
    places: tuple[Array, ...] = tuple(np.indices(wide.shape))
    what = "steps that the mask skips"
    return Comparison("subject", what, wide, nothing, np.abs(wide), nothing, axes(wide), places)


def carried(states: Array, mask: Array) -> Array:
    """The states as they were carried, where zeros are shown instead; mask in processing order."""
    last = np.maximum.accumulate(np.where(mask, np.arange(mask.shape[1]), 0), axis=1)
    return np.take_along_axis(states, last[:, :, None], axis=1)


def axes(array: Array) -> tuple[str, ...]:
    return ("sample", "timestep", "unit") if array.ndim == 3 else ("sample", "unit")[: array.ndim]
