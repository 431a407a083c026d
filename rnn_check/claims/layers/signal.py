"""What does one layer hand to the next, what is handed back to it, and what of it is shown?

A mask belongs to the steps of what it travels with: a layer that returns its sequence reversed
hands the mask on reversed.

Sizes: B samples, T timesteps, F features, H units.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Self

import numpy as np

from rnn_check.certificates.comparison import Comparison, equal, no_bound
from rnn_check.claims.written import Array
from rnn_check.numbers import bounded as numbers
from rnn_check.numbers.bounded import Bounded
from rnn_check.numbers.formats import Arithmetic

Weights = Mapping[str, Bounded]  # by path, as `Part.weight_shapes`
# half units of the last digit to which what a layer carries on is rounded by hand: of its "output",
# and with the prefix of a part of its "states", "c", "gate f" and "preactivation f" (B,T,H)
ByHand = Mapping[str, Array]


@dataclass(frozen=True)
class Signal:
    """What one layer hands to the next.

    rounded: what is lost in addition, where somebody goes on with what is printed of it.
    """

    number: Bounded  # (B,T,F), (B,F), or (B,T) of indices
    mask: Array | None = None  # (B,T)
    rounded: Array | float = 0.0

    @property
    def value(self) -> Array:
        return self.number.value

    @property
    def error(self) -> Array:
        return self.number.error

    @property
    def handed_on(self) -> Signal:
        """As the next layer, or a loss, takes it."""
        return Signal(self.number.off_by(self.rounded), self.mask)

    @classmethod
    def exactly(cls, value: Array, a: Arithmetic, mask: Array | None = None) -> Self:
        return cls(numbers.exactly(value, a), mask)


Unbegun = Literal["", "zeros", "states"]


@dataclass(frozen=True)
class Call:
    """What a layer, or a part of one, is called with; it computes in the arithmetic of that.

    starts: the initial value (B,H) of each state that it carries; zeros if there is none.
    unbegun: what is shown before the first step that counts, where there are starts; zeros or the
    first of these, either of which Keras allows, or "" if nobody says which.
    """

    weights: Weights  # its own
    given: Signal
    starts: Sequence[Bounded] = ()
    by_hand: ByHand = field(default_factory=dict)
    unbegun: Unbegun = ""

    @property
    def a(self) -> Arithmetic:
        return self.given.number.a

    def with_unbegun(self, shown: Bounded, where: Array) -> Bounded:
        """What is shown, where it may be either; where: (B,T,1) of a sequence, or (B,1)."""
        if self.unbegun == "zeros":
            return shown
        if self.unbegun == "states":
            state = self.starts[0]
            if shown.value.ndim == 3:
                state = state.each(lambda part: part[:, None])
            state = state.off_by(shown.a.u_stored * state.most + shown.a.min_normal)
            value = np.where(where, state.value, shown.value)
            return Bounded(value, np.where(where, state.error, shown.error), shown.a)
        return shown.off_by(np.where(where, np.inf, 0.0))


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
    back: Callable[[Mapping[str, Bounded]], Back]  # of cotangents of its states


@dataclass(frozen=True)
class Pass:
    """What became of what a layer was given, and the way back.

    courses: of each recurrence in it.
    """

    out: Signal
    back: Callable[[Bounded], Back]  # of dL/d of `out`
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


def last_of(states: Array) -> Array:
    """(B,H) of (B,T,H): those after the last step."""
    return np.asarray(states[:, -1])


def at_the_end(last: Array, timesteps: int) -> Array:
    """(B,T,H), zero but for the last step."""
    whole = np.zeros((len(last), timesteps, last.shape[-1]))
    whole[:, -1] = last
    return whole


# -- what was observed of it -----------------------------------------------------------------------


def exactly(weights: Mapping[str, Array], a: Arithmetic) -> dict[str, Bounded]:
    """Weights as a subject reads them back: numbers that are exactly known."""
    return {name: numbers.exactly(w, a) for name, w in weights.items()}


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
