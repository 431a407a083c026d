"""Which steps does a layer tell the next to skip?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from rnn_check.certificates.comparison import Comparison, equal
from rnn_check.claims import stack, tables
from rnn_check.claims.expectations.case import Case, Malformed
from rnn_check.claims.expectations.expectation import WEIGHTS, Expectation, Path, Reading, X
from rnn_check.claims.experiment import Experiment
from rnn_check.claims.written import Array


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
