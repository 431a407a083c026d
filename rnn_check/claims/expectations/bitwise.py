"""Are two arrays the same bits, and does something hold: comparisons that several kinds make."""

from __future__ import annotations

import numpy as np

from rnn_check.certificates.comparison import Comparison, bits, equal
from rnn_check.claims.written import Array

SEQUENCE = ("sample", "timestep", "unit")


def yes(holds: bool) -> str:
    return "yes" if holds else "no"


def moved(before: Array, after: Array) -> bool:
    """Whether any bit changed."""
    return before.shape != after.shape or bool((bits(before) != bits(after)).any())


def same(what: str, got: Array, expected: Array) -> Comparison:
    """Bits: nothing is allowed."""
    if got.shape != expected.shape:
        return equal("subject", f"shape of {what}", str(got.shape), str(expected.shape))
    error = np.where(bits(got) == bits(expected.astype(got.dtype)), 0.0, np.inf)
    axes = {0: (), 1: ("unit",), 2: ("row", "column")}.get(got.ndim, SEQUENCE)
    return Comparison(
        "subject", what, got.astype(np.float64), expected.astype(np.float64), error,
        np.zeros_like(error), axes, tuple(np.indices(got.shape)) if axes else (),
    )  # fmt: skip
