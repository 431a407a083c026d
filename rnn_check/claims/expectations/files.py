"""Is a layer that was saved and loaded the same layer?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from rnn_check.certificates.comparison import Comparison, equal
from rnn_check.claims.expectations.bitwise import same, yes
from rnn_check.claims.expectations.case import Case
from rnn_check.claims.expectations.expectation import WEIGHTS, Holds, Path, X
from rnn_check.claims.experiment import Experiment


class RoundTrip(Holds, frozen=True, kw_only=True):
    """Holds: saved and loaded so, it computes the same, bit for bit."""

    of: Literal["config", "weights", "keras", "clone"]

    layers = "any"
    needs = (X, WEIGHTS)
    questions = ("round_trip",)

    def tells(self) -> dict[str, Any]:
        return {"how": self.of}

    def spoils(self, run: Experiment) -> list[Path]:
        return [("round_trip", "*")]

    def judge(self, case: Case) -> Iterator[Comparison]:
        told = case.said["round_trip"]
        yield equal("subject", "same configuration", yes(told["same_config"].flag), "yes")
        yield equal("subject", "same weights", yes(told["same_weights"].flag), "yes")
        yield same("output", told["after"].array, told["before"].array)
