"""What is asked of who writes a claim's model in a file, and what of who reads that file?

No claim file says these: `compare` makes them of claims about files (see `upgrades.carried`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path as Path_
from typing import Any, ClassVar

import numpy as np

from rnn_check.certificates.comparison import Comparison, equal
from rnn_check.claims.claim import Claim
from rnn_check.claims.expectations.behaviour import whole_output
from rnn_check.claims.expectations.bitwise import same
from rnn_check.claims.expectations.case import Case
from rnn_check.claims.expectations.expectation import Expectation, Holds, Path
from rnn_check.claims.expectations.files import Exported, File, Resumed, RoundTrip
from rnn_check.claims.experiment import Experiment
from rnn_check.subjects.policy import Policy

# how models are written (see `Session.save`), and what such a file is called
NAMES = {
    "keras": "model.keras", "h5": "model.h5", "weights": "model.weights.h5", "export": "SavedModel"
}  # fmt: skip


class Written(Holds, frozen=True, kw_only=True):
    """The file itself, which is judged by who reads it."""

    family: ClassVar[bool] = True
    written_as: str
    questions = ("written",)

    def tells(self) -> dict[str, Any]:
        return {"written_as": self.written_as}


class Carried(File, frozen=True, kw_only=True, tag="file"):
    """Holds: a file that somebody else wrote is read, and holds these layers with these weights.

    data: its bytes. promised: whether who reads it should be able to, see `Expectation.promised`.
    """

    family: ClassVar[bool] = True
    data: bytes
    promised: bool = True

    def carries(self, claim: Path_) -> dict[str, Any]:
        content = np.frombuffer(self.data, np.uint8)
        return {"file": {"name": self.of, "data": content, "own": True}}

    def unjudged_in(self, policy: Policy) -> str:
        return "NumPy has no bfloat16" if policy.kept_in == "bfloat16" else ""


class Resumable(Carried, frozen=True, kw_only=True, tag="file"):
    """Holds: it holds what a training left, bit for bit: weights, and what the optimizer keeps.

    left: {"weights", "optimizer"}, as they were when the file was written.
    """

    family: ClassVar[bool] = True
    left: Mapping[str, Any]

    def asks(self, run: Experiment) -> set[str]:
        return {"resumable"}

    def spoils(self, run: Experiment) -> list[Path]:
        return [("resumable", "weights", "*", "*"), ("resumable", "optimizer", "*")]

    def judge(self, case: Case) -> Iterator[Comparison]:
        told, left = case.said["resumable"], self.left["optimizer"]
        keeps = dict(told["optimizer"].table())
        yield equal("subject", "the optimizer keeps", _listed(keeps), _listed(left))
        count = keeps.pop("iterations", told["optimizer"]["iterations"]).of(np.ndarray)
        yield equal("subject", "iterations", str(count), str(left["iterations"]))
        for what, said in {"weights": told["weights"], **keeps}.items():
            for layer, table in (self.left["weights"] if what == "weights" else left[what]).items():
                for name, array in table.items():
                    of = name if what == "weights" else f"{what} of {name}"
                    yield same(f"{of} of {layer}", said[layer][name].array, array)


class Served(Carried, frozen=True, kw_only=True, tag="file"):
    """Holds: what TensorFlow makes of a SavedModel computes the same, within its bound."""

    family: ClassVar[bool] = True

    def asks(self, run: Experiment) -> set[str]:
        return {"served", "weights"}

    def spoils(self, run: Experiment) -> list[Path]:
        return [("served",)]

    def judge(self, case: Case) -> Iterator[Comparison]:
        yield whole_output(case, "output of what was exported", case.said["served"].array)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))


def writing(claim: Claim) -> Claim | None:
    """The claim as who writes its model is asked; None if it is about no file."""
    for e in claim.expectations:
        how = _written_as(e, claim)
        if how and not e.not_run:
            wanted = Written(value=True, from_=e.from_, written_as=how)
            training = claim.training if isinstance(e, Resumed) else None
            return dataclasses.replace(claim, expectations=(wanted,), training=training)
    return None


def reading(claim: Claim, said: Mapping[str, Any], promised: bool) -> Claim:
    """The claim, of which `writing` was asked, as who reads the file is. said: the answer."""
    (e,) = claim.expectations
    assert isinstance(e, Written)
    told: dict[str, Any] = {
        "value": True, "from_": e.from_, "of": NAMES[e.written_as], "promised": promised,
        "data": said["file"].tobytes(),
    }  # fmt: skip
    if e.written_as == "export":
        read: Carried = Served(**told)
    elif claim.training is not None:
        read = Resumable(**told, left={name: said[name] for name in ("weights", "optimizer")})
    else:
        read = Carried(**told)
    return dataclasses.replace(claim, expectations=(read,))


def _written_as(e: Expectation, run: Experiment) -> str:
    """As what its model is written, see `Session.save`; "" if as nothing that can be carried."""
    if isinstance(e, Exported):
        return "export"
    alone = run.mask is None and run.initial_state is None and not run.puts_out_two
    is_file = isinstance(e, RoundTrip | Resumed) and alone and e.of in NAMES
    return e.of if is_file else ""
