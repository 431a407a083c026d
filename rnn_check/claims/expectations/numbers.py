"""Which numbers did the author print, and how are they held against the truth and an answer?"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar

import numpy as np

from rnn_check.certificates.comparison import Comparison, equal, no_bound
from rnn_check.claims import tables
from rnn_check.claims.expectations.case import Case
from rnn_check.claims.expectations.expectation import At, Expectation, Reading
from rnn_check.claims.experiment import Experiment
from rnn_check.claims.tables import ComputedIn
from rnn_check.claims.truth import Truth
from rnn_check.claims.views import View
from rnn_check.claims.written import Array, Given
from rnn_check.numbers import formats
from rnn_check.numbers.bounded import Bounded


def read_value(e: Expectation, shape: tuple[int, ...] | None, reading: Reading) -> dict[str, Any]:
    """`value` as a Given.

    shape: of the whole array, if the claim fixes it. inf and nan may be claimed, and differ.
    """
    value = reading.read.given(e.value, f"{reading.key}.value", finite=False)
    if shape is not None:
        check_places(e, shape, reading)
        # counted without making it: an array of no bytes that is as large as it says
        wanted = e.select(np.broadcast_to(np.empty((), bool), shape)).shape
        if value.shape != wanted:
            raise reading.fail("value", f"expected shape {wanted}, got {value.shape}")
    return {"value": value}


def check_places(e: Expectation, shape: tuple[int, ...], reading: Reading) -> None:
    """Raises ClaimError if `at` names what an array of that shape has not."""
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
        value: Given = self.value
        expected, allowed = (self.select(part) for part in whole)
        interval = None if self.computed_in == "exact" else (value.lo, value.hi)
        lo, hi = (value.value, value.value) if interval is None else interval
        with np.errstate(invalid="ignore"):
            error = np.maximum(np.maximum(expected - hi, lo - expected), 0.0)
        # where no bound can be given, what is no number differs all the same, but for the infinity
        # of an arithmetic that holds no number so large
        most = case.truth(self.computed_in).a.max
        too_large = np.abs(expected) > most
        allowed = np.where(np.isfinite(value.value) | too_large, allowed, 0.0)
        return Comparison(
            "claim", self.what, value.value, expected, error, allowed,
            *self.places(whole.value.shape), interval=interval,
            unbounded=no_bound(self.computed_in),
        )  # fmt: skip

    def returned(self, case: Case, observed: Array, whole: Bounded) -> Comparison:
        """What the framework returned against the truth of the whole array, and its bound."""
        if observed.shape != whole.value.shape:
            shapes = (str(part.shape) for part in (observed, whole.value))
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

    @property
    def of_one_pass(self) -> bool:
        """Whether `author` says it all: what a pass forward and back makes of the experiment."""
        own = type(self)
        return own.true is not Numbers.true or own.author is not Numbers.author

    def true(self, truth: Truth) -> Bounded:
        """What it should be, the whole array."""
        raise NotImplementedError

    def author(self, case: Case) -> Comparison:
        """The author's number against the truth."""
        assert self.computed_in is not None
        return self.word(case, self.authors(case, self.true(case.truth(self.computed_in))))

    def authors(self, case: Case, whole: Bounded) -> Bounded:
        """What the author has of it, who may have it another way than a framework."""
        return whole

    def of_authors_loss(self, case: Case, whole: Bounded) -> Bounded:
        """Keras's loss, or its gradient, as so many times the author takes it: two roundings."""
        loss = case.claim.loss
        if loss is None or loss.times == 1:
            return whole
        assert self.computed_in is not None
        u = case.truth(self.computed_in).a.u_stored
        value, bound = whole.times(loss.times)
        more = (formats.gamma(2, u) + 2.0**-51) * np.abs(value)
        return Bounded(value, bound * (1 + 2 * u) + more, whole.a)

    def subject(self, case: Case, observed: Array) -> Comparison:
        """The subject's against it."""
        return self.returned(case, observed, self.true(case.truth(case.dtype, case.policy.loss_in)))


class Placed(Numbers, frozen=True, kw_only=True):
    """Numbers of an array, of which `at` names a part."""

    family: ClassVar[bool] = True
    at: At = At()


class OfWeight(Placed, frozen=True, kw_only=True):
    """Numbers of a weight, as its author has it."""

    family: ClassVar[bool] = True
    of: str = ""

    def view(self, run: Experiment) -> View:
        return run.view(self.of)

    def shape(self, run: Experiment) -> tuple[int, ...] | None:
        if run.input_shape is None or self.underived(run):
            return None
        return self.view(run).shape

    def allowed(self, run: Experiment) -> Sequence[str] | None:
        """What else is a weight, `view` says."""
        return None if self.of else run.weights_known

    def _of(self, reading: Reading) -> None:
        super()._of(reading)
        try:
            self.view(reading.experiment)
        except ValueError as problem:
            raise reading.fail("of", str(problem)) from None

    def as_written(
        self, run: Experiment, whole: Callable[[str], Bounded], *, weights: bool = False
    ) -> Bounded:
        """Of each of Keras's arrays and how far it may be off, what the author has.

        weights: whether they are weights; else what is linear in them.
        """
        view = self.view(run)
        found = {name: whole(name) for name in view.sources}
        value = view({name: number.value for name, number in found.items()})
        error = view.bounds({name: number.error for name, number in found.items()})
        if weights and np.any(view.added):
            value = value - view.added
            error = error + np.where(view.added, 2.0**-53 * np.abs(value), 0.0)
        return Bounded(value, error, found[view.sources[0]].a)

    def seen_as_written(
        self,
        case: Case,
        observed: Callable[[str], Array],
        true: Callable[[str], Bounded],
        *,
        weights: bool = False,
    ) -> Iterator[Comparison]:
        """The same of what a subject returned, against the truth of each of Keras's arrays."""
        view, arrays = self.view(case.claim), {}
        for name in view.sources:
            arrays[name], shape = observed(name), true(name).value.shape
            if arrays[name].shape != shape:
                yield equal("subject", f"shape of {name}", str(arrays[name].shape), str(shape))
                return
        seen = view(arrays) - view.added if weights else view(arrays)
        yield self.returned(case, seen, self.as_written(case.claim, true, weights=weights))
