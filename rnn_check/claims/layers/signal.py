"""What does one layer hand to the next, and what of it is shown?

A mask belongs to the steps of what it travels with: a layer that returns its sequence reversed
hands the mask on reversed.

Sizes: B samples, T timesteps, F features, H units.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from rnn_check.certificates.comparison import Comparison, equal, no_bound
from rnn_check.claims.written import Array
from rnn_check.numbers import formats

Bounded = tuple[Array, Array]  # a value and its bound, of one shape
Weights = Mapping[str, Bounded]  # by path, as `Part.weight_shapes`


@dataclass(frozen=True)
class Signal:
    """What one layer hands to the next."""

    value: Array  # (B,T,F), (B,F), or (B,T) of indices
    error: Array  # of the same shape
    mask: Array | None = None  # (B,T)

    @classmethod
    def exactly(cls, value: Array, mask: Array | None = None) -> Signal:
        wide = np.asarray(value).astype(np.float64)
        return cls(wide, np.zeros_like(wide), mask)


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


def rounded(value: Array, arithmetic: str, error: Array | float = 0.0) -> Array:
    """How far one rounding may move a number that is off by `error`; float64's is of the same size.

    Nothing where the arithmetic holds the value, and it is not off.
    """
    a = formats.arithmetic(arithmetic)
    most = np.abs(value) + error
    moved = (a.u_stored + 2.0**-52) * most + a.min_normal
    if not a.u_stored:
        return np.zeros_like(value)
    digits = np.ldexp(np.frexp(value)[0], round(-math.log2(a.u_stored)))
    normal = (value == 0) | (np.abs(value) >= a.min_normal)
    held = (np.asarray(error) == 0) & (digits == np.rint(digits)) & normal
    return np.asarray(np.where(held, 0.0, moved))


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
