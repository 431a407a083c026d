"""Are two numbers that were printed one and the same, whatever the weights were?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from rnn_check.certificates.comparison import Comparison
from rnn_check.claims import tables
from rnn_check.claims.expectations.case import Case
from rnn_check.claims.expectations.expectation import At, Reading, Unasked
from rnn_check.claims.expectations.numbers import check_places
from rnn_check.claims.written import Given


class Same(Unasked, frozen=True, kw_only=True):
    """Two arrays of numbers as printed: `value`, or what `at` names of it, and `to` are the same.

    Where no weights are known: a state beside the last step of an output, two outputs of one layer.
    The author's word alone is judged: there is nothing that a framework could be asked.
    """

    value: tables.Numbers
    to: tables.Numbers
    at: At = At()

    layers = "any"
    needs = ()

    def reads(self, reading: Reading) -> dict[str, Any]:
        value, to = (
            reading.read.given(node, f"{reading.key}.{key}", "rounded", finite=False)
            for key, node in (("value", self.value), ("to", self.to))
        )
        if value.value.ndim > 3:
            raise reading.fail("value", "expected (sample, timestep, unit) or fewer axes")
        check_places(self, value.shape, reading)
        if self.select(value.value).shape != to.shape:
            wanted = self.select(value.value).shape
            raise reading.fail("to", f"expected shape {wanted}, as value has, got {to.shape}")
        return {"value": value, "to": to}

    def judge(self, case: Case) -> Iterator[Comparison]:
        """Their digits claim intervals, which have to meet."""
        value, to = self.value, self.to
        assert isinstance(value, Given) and isinstance(to, Given)
        got, lo, hi = (self.select(part) for part in (value.value, value.lo, value.hi))
        with np.errstate(invalid="ignore"):
            error = np.maximum(np.maximum(to.lo - hi, lo - to.hi), 0.0)
        alike = (got == to.value) | (np.isnan(got) & np.isnan(to.value))
        error = np.where(alike, 0.0, error)
        yield Comparison(
            "claim", self.what, got, to.value, error, np.zeros_like(got),
            *self.places(value.shape), interval=(lo, hi), against="printed beside it",
        )  # fmt: skip
