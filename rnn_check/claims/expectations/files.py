"""Is a layer that was saved and loaded, copied or exported the same layer?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from rnn_check.certificates.comparison import Comparison, equal
from rnn_check.claims.expectations.behaviour import whole_output
from rnn_check.claims.expectations.bitwise import same, yes
from rnn_check.claims.expectations.case import Case
from rnn_check.claims.expectations.expectation import LOSS, WEIGHTS, Holds, Path, X
from rnn_check.claims.experiment import Experiment


class RoundTrip(Holds, frozen=True, kw_only=True):
    """Holds: saved and loaded so, it computes the same, bit for bit."""

    of: Literal["config", "config_twice", "weights", "keras", "h5", "clone", "pickle", "deepcopy"]

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


class Resumed(Holds, frozen=True, kw_only=True):
    """Holds: a training that was saved and loaded so goes on where it was, bit for bit.

    [training] is run, the model saved; it and what was loaded run [training] once more.
    """

    of: Literal["keras", "h5", "pickle", "deepcopy"]

    layers = "any"
    needs = (X, WEIGHTS, LOSS)
    questions = ("resumed",)

    def missing(self, run: Experiment) -> Iterator[str]:
        yield from super().missing(run)
        if run.training is None:
            yield "training"
        if run.loss is not None and run.loss.kind == "cotangent":
            yield "a loss that fit knows"

    def tells(self) -> dict[str, Any]:
        return {"saved_as": self.of}

    def spoils(self, run: Experiment) -> list[Path]:
        return [("resumed", "went_on", "*"), ("resumed", "loaded", "*")]

    def judge(self, case: Case) -> Iterator[Comparison]:
        """Every loss and every weight: one number of the optimizer's that is lost moves them."""
        went_on, loaded = (case.said["resumed"][which] for which in ("went_on", "loaded"))
        yield same("loss", loaded["loss"].array, went_on["loss"].array)
        for layer, table in went_on["weights"].table():
            for name, array in table.arrays().items():
                got = loaded["weights"][layer][name].array
                yield same(f"{name} of {layer} after the second training", got, array)


class Exported(Holds, frozen=True, kw_only=True):
    """Holds: the SavedModel that it is exported as computes the same, within its bound."""

    layers = "any"
    needs = (X, WEIGHTS)
    questions = ("exported", "weights")

    def spoils(self, run: Experiment) -> list[Path]:
        return [("exported",)]

    def judge(self, case: Case) -> Iterator[Comparison]:
        yield whole_output(case, "output of what was exported", case.said["exported"].array)
