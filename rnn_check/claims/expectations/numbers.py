"""Which numbers did the author print, and how are they held against the truth and an answer?"""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec
import numpy as np

from rnn_check.certificates.comparison import Comparison, equal, no_bound
from rnn_check.claims import tables
from rnn_check.claims.expectations.case import Case, Unproved
from rnn_check.claims.expectations.expectation import At, AtTurned, Expectation, Reading
from rnn_check.claims.experiment import Experiment
from rnn_check.claims.layers import Gated, Layer
from rnn_check.claims.layers.signal import Bounded
from rnn_check.claims.tables import ComputedIn
from rnn_check.claims.truth import Truth
from rnn_check.claims.written import Array, Given
from rnn_check.numbers import formats


def read_value(e: Expectation, shape: tuple[int, ...] | None, reading: Reading) -> dict[str, Any]:
    """`value` as a Given in Keras's layout, and `at` as it then speaks of it.

    shape: of the whole array, if the claim fixes it. inf and nan may be claimed, and differ.
    """
    value = reading.read.given(e.value, f"{reading.key}.value", finite=False)
    turned = reading.is_turned(e.of)
    if turned and len(value.shape) == 2:
        value = value.transposed()
    at = AtTurned(**msgspec.structs.asdict(e.at)) if turned else e.at
    told = msgspec.structs.replace(e, at=at) if "at" in e.__struct_fields__ else e
    if shape is not None:
        _check_places(told, shape, reading)
        # counted without making it: an array of no bytes that is as large as it says
        wanted = told.select(np.broadcast_to(np.empty((), bool), shape)).shape
        if value.shape != wanted:
            raise reading.fail("value", f"expected shape {wanted}, got {value.shape}")
    return {"value": value} | ({"at": at} if turned else {})


def _check_places(e: Expectation, shape: tuple[int, ...], reading: Reading) -> None:
    names = e.axes(len(shape))
    for name, index in e.at.given().items():
        if name == "epoch" and e.what in ("loss", "trained_weights"):
            continue
        if name not in names:
            only = f", only {', '.join(sorted(names))}" if names else ""
            raise reading.fail(f"at.{name}", f"{e.name} has no such axis{only}")
        size = shape[names.index(name)]
        for one in index if isinstance(index, list) else [index]:
            if not -size <= one < size:
                problem = f"{name} {one} is out of bounds: there are {size}, counted from 0"
                raise reading.fail("at", problem)
        if index == []:
            raise reading.fail(f"at.{name}", "empty list; name at least one")


def has_gates(layer: Layer) -> bool:
    return any(isinstance(part, Gated) for _, part, _ in layer.parts(1))


class Numbers(Expectation, frozen=True, kw_only=True):
    """Numbers that somebody computed in some arithmetic."""

    family: ClassVar[bool] = True
    value: tables.Numbers
    computed_in: ComputedIn | None = None

    def shape(self, run: Experiment) -> tuple[int, ...] | None:
        """The whole array's; None where the claim does not fix it."""
        return ()

    def reads(self, reading: Reading) -> dict[str, Any]:
        computed_in = self.computed_in or reading.computed_in
        if not self.not_run and computed_in is None:
            raise reading.fail(
                "computed_in",
                "required: in what arithmetic was the value computed "
                "(exact, real, float32, float64 or hand)?",
            )
        told = read_value(self, self.shape(reading.experiment), reading)
        return {"computed_in": computed_in or "exact", **told}

    def word(self, case: Case, whole: Bounded) -> Comparison:
        """The number that is printed: its digits claim an interval, which must meet the truth's."""
        assert self.computed_in is not None
        if self.computed_in == "hand" and any(map(has_gates, case.claim.layers)):
            raise Unproved("what is rounded by hand between the gates of a step is not derived")
        value: Given = self.value
        expected, allowed = (self.select(part) for part in whole)
        interval = None if self.computed_in == "exact" else (value.lo, value.hi)
        lo, hi = (value.value, value.value) if interval is None else interval
        with np.errstate(invalid="ignore"):
            error = np.maximum(np.maximum(expected - hi, lo - expected), 0.0)
        # where no bound can be given, what is no number differs all the same, but for the infinity
        # of an arithmetic that holds no number so large
        most = formats.arithmetic(case.truth(self.computed_in).arithmetic).max
        too_large = np.abs(expected) > most
        allowed = np.where(np.isfinite(value.value) | too_large, allowed, 0.0)
        return Comparison(
            "claim", self.what, value.value, expected, error, allowed,
            *self.places(whole[0].shape), interval=interval, unbounded=no_bound(self.computed_in),
        )  # fmt: skip

    def returned(self, case: Case, observed: Array, whole: Bounded) -> Comparison:
        """What the framework returned against the truth of the whole array, and its bound."""
        if observed.shape != whole[0].shape:
            shapes = (str(part.shape) for part in (observed, whole[0]))
            return equal("subject", f"shape of {self.name}", *shapes)
        got = self.select(observed.astype(np.float64))
        expected, bound = (self.select(part) for part in whole)
        if self.computed_in == "exact" and case.dtype in ("float32", "float64"):
            # nothing is rounded (the integers may be too long for a narrow arithmetic)
            bound = np.zeros_like(got)
        with np.errstate(invalid="ignore"):  # a NaN or an infinity is an infinite error
            error = np.abs(got - expected)
        return Comparison(
            "subject", self.what, got, expected, error, bound, *self.places(observed.shape),
            unbounded=no_bound(case.policy.name),
        )  # fmt: skip

    def true(self, truth: Truth) -> Bounded:
        """What it should be, the whole array."""
        raise NotImplementedError

    def author(self, case: Case) -> Comparison:
        """The author's number against the truth."""
        assert self.computed_in is not None
        return self.word(case, self.true(case.truth(self.computed_in)))

    def subject(self, case: Case, observed: Array) -> Comparison:
        """The subject's against it."""
        return self.returned(case, observed, self.true(case.truth(case.dtype, case.policy.loss_in)))


class Placed(Numbers, frozen=True, kw_only=True):
    """Numbers of an array, of which `at` names a part."""

    family: ClassVar[bool] = True
    at: At = At()
