"""Which steps does a layer tell the next to skip?"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from rnn_check.certificates.comparison import Comparison, equal
from rnn_check.claims import stack, tables
from rnn_check.claims.expectations.case import Case, Malformed
from rnn_check.claims.expectations.expectation import (
    WEIGHTS,
    Expectation,
    Holds,
    Path,
    Reading,
    X,
)
from rnn_check.claims.experiment import Experiment
from rnn_check.claims.layers import Recurrent
from rnn_check.claims.written import Array
from rnn_check.numbers import formats
from rnn_check.numbers.bounded import exactly
from rnn_check.refusal import any_of
from rnn_check.subjects.asked.named import FAMILIES


class Mask(Expectation, frozen=True, kw_only=True):
    """The mask (B,T) that a layer hands on, or `"none"`."""

    of: str = ""
    value: tables.Numbers

    layers = "any"
    needs = (X, WEIGHTS)
    questions = ("outputs",)

    def allowed(self, run: Experiment) -> Sequence[str]:
        return run.names

    def reads(self, reading: Reading) -> dict[str, Any]:
        """None where no mask is handed on."""
        if self.value == "none":
            return {"value": None}
        mask = reading.read.booleans(self.value, f"{reading.key}.value")
        x = reading.experiment.x  # None: it is not run
        if x is not None and mask.shape != x.shape[:2]:
            raise reading.fail("value", f"expected shape {x.shape[:2]}, got {mask.shape}")
        return {"value": mask}

    def spoils(self, run: Experiment) -> list[Path]:
        return [("outputs", "masks", str(run.names.index(self.of)))]

    def judge(self, case: Case) -> Iterator[Comparison]:
        run = case.claim
        at = run.names.index(self.of)
        said = case.said["outputs"]["masks"][at]
        told = None if said.is_none else said.of(np.ndarray)
        if told is not None and told.dtype.kind != "b":
            raise Malformed(f"{said.where}: expected booleans, got {told.dtype}")
        for who, mask in (("claim", stack.masks(run, "exact")[at]), ("subject", told)):
            if mask is None or self.value is None:
                got, wanted = ("no mask" if m is None else "a mask" for m in (mask, self.value))
            elif mask.shape != self.value.shape:
                got, wanted = (f"a mask of shape {each.shape}" for each in (mask, self.value))
            else:
                error = (mask != self.value).astype(np.float64)
                names = ("sample", "timestep")
                places: tuple[Array, ...] = tuple(np.indices(mask.shape))
                shown, given = mask.astype(np.float64), self.value.astype(np.float64)
                if who == "claim":
                    shown, given = given, shown
                yield Comparison(
                    who, self.name, shown, given, error, 0 * error, names, places,
                    against="true" if who == "claim" else "claimed",
                )  # fmt: skip
                continue
            if who == "claim":
                yield equal(who, self.name, wanted, got)
            else:
                yield equal(who, self.name, got, wanted, "claimed")


class Leading(Holds, frozen=True, kw_only=True):
    """Holds: before the first step that the mask keeps, every way to run the layer shows the same.

    A zero or the initial state, either of which Keras allows: its backends differ in it. Called,
    predicted, unrolled or not: one of them.
    """

    layers = "any"
    needs = (X, WEIGHTS)
    questions = ("leading",)

    def missing(self, run: Experiment) -> Iterator[str]:
        yield from super().missing(run)
        layer = run.layers[0]
        if not isinstance(layer, Recurrent) or len(run.layers) > 1:
            yield f"{any_of(FAMILIES)} that stands alone"
        elif not layer.returns_sequences or layer.option("go_backwards"):
            yield "a sequence that is returned, and not read backwards"
        elif layer.option("zero_output_for_mask"):
            yield "a layer without zero_output_for_mask, which wants zeros"
        if run.mask is None or not (~run.mask[:, 0]).any():
            yield "input.mask whose first step is skipped in some sample"
        if run.initial_state is None or not run.initial_state.value.all():
            yield "input.initial_state, of which no number is 0"

    def spoils(self, run: Experiment) -> list[Path]:
        return [("leading", "*")]

    def judge(self, case: Case) -> Iterator[Comparison]:
        told, run = case.said["leading"], case.claim
        assert run.mask is not None
        leading = ~np.logical_or.accumulate(run.mask, axis=1)
        a = formats.arithmetic(case.dtype)
        start = stack.starts(run, a)[0]
        start = start.off_by(a.u_stored * start.most + a.min_normal).each(
            lambda part: np.broadcast_to(part[:, None], (*leading.shape, part.shape[-1]))[leading]
        )
        shown = {way: array.array.astype(np.float64) for way, array in told.table()}
        as_called = told["called"].array.astype(np.float64)
        is_start = bool((np.abs(as_called - start.value) <= start.error).all())
        wanted = start if is_start else exactly(np.zeros_like(start.value), a)
        which = "the initial state" if is_start else "a zero"
        # which of both it is stands in no name, by which what two versions say is held together
        yield equal("subject", "what is shown before the first step that counts", which, which)
        for way, got in shown.items():
            what = f"before the first step that counts, {way}"
            compared = stack.bounded(what, got, wanted, "subject")
            yield dataclasses.replace(compared, against=which)
