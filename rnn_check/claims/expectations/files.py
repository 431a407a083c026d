"""Is what was saved, loaded, copied, exported, or written by somebody else, the same layer?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path as Path_
from typing import Any, Literal

import numpy as np

from rnn_check.certificates.comparison import Comparison, equal
from rnn_check.claims import beside
from rnn_check.claims.expectations.behaviour import whole_output
from rnn_check.claims.expectations.bitwise import same, yes
from rnn_check.claims.expectations.case import Case
from rnn_check.claims.expectations.expectation import LOSS, WEIGHTS, Holds, Path, Reading, X
from rnn_check.claims.experiment import Experiment
from rnn_check.subjects.asked.named import FILES
from rnn_check.subjects.policy import Policy

MOST_BYTES = 1_000_000  # of a file that is carried


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


class File(Holds, frozen=True, kw_only=True):
    """Holds: a file beside the claim is read, and holds these layers with these weights.

    Whoever wrote it: a whole model (.keras, .h5), or weights (.weights.h5).
    """

    of: str

    layers = "any"
    needs = (X, WEIGHTS)
    questions = ("file",)

    def carries(self, claim: Path_) -> dict[str, Any]:
        content = np.frombuffer(beside.beside(claim, self.of, MOST_BYTES), np.uint8)
        return {"file": {"name": self.of, "data": content}}

    def spoils(self, run: Experiment) -> list[Path]:
        return [("file", "output"), ("file", "weights", "*", "*")]

    def missing(self, run: Experiment) -> Iterator[str]:
        yield from super().missing(run)
        if run.mask is not None or run.initial_state is not None:
            yield "an input without mask and initial_state"

    def unjudged_in(self, policy: Policy) -> str:
        if policy.name == "float32" or self.of.endswith(".weights.h5"):
            return ""
        return "a whole model computes in the precision that it was saved in"

    def _of(self, reading: Reading) -> None:
        if not self.of.endswith(FILES) or not beside.PLAIN_NAME.fullmatch(self.of):
            problem = f"expected the name of a file beside this one, got {self.of!r}"
            raise reading.fail("of", f"{problem}; known: {', '.join(FILES)}")

    def reads(self, reading: Reading) -> dict[str, Any]:
        try:
            self.carries(reading.read.file)
        except (OSError, ValueError) as error:
            said = error.strerror if isinstance(error, OSError) else str(error)
            absent = isinstance(error, FileNotFoundError)
            problem = f"there is no file {self.of} beside the claim"
            raise reading.fail("of", problem if absent else f"{self.of} {said}") from None
        return super().reads(reading)

    def judge(self, case: Case) -> Iterator[Comparison]:
        told, run = case.said["file"], case.claim
        assert run.weights is not None
        for layer, table in run.weights.items():
            for name, given in table.items():
                got = told["weights"][layer][name].array
                yield same(f"{name} of {layer} in the file", got, given.value.astype(got.dtype))
        read = {name: t.arrays() for name, t in told["weights"].table()}
        yield whole_output(case, "output of what was read", told["output"].array, read)


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
