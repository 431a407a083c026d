"""Do the same layers compute the same in another model, and a model made twice the same?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from rnn_check.certificates.comparison import Comparison
from rnn_check.claims import stack
from rnn_check.claims.expectations.behaviour import whole_output
from rnn_check.claims.expectations.bitwise import same
from rnn_check.claims.expectations.case import Case
from rnn_check.claims.expectations.expectation import LOSS, ONE_OUTPUT, WEIGHTS, Holds, Path, X
from rnn_check.claims.expectations.losses import that_fits
from rnn_check.claims.experiment import Experiment


class Composed(Holds, frozen=True, kw_only=True):
    """Holds: the layers compute the same in such a model, and so do their gradients.

    Each within its bound. "twice": they are called for the first half of the samples, and once
    more for the others, so that each gradient is the sum of two.
    """

    of: Literal["sequential", "nested", "subclassed", "twice", "constructed"]

    layers = "any"
    needs = (X, WEIGHTS, LOSS)
    questions = ("composed", "composed_gradients", "weights")
    does_without = frozenset({"composed_gradients"})

    def tells(self) -> dict[str, Any]:
        return {"composed_as": self.of}

    def missing(self, run: Experiment) -> Iterator[str]:
        yield from super().missing(run)
        if run.mask is not None or run.initial_state is not None:
            yield "an input without mask and initial_state"
        if self.of == "sequential" and not ONE_OUTPUT.there(run):
            yield ONE_OUTPUT.what
        if self.of == "twice" and run.x is not None and len(run.x.value) < 2:
            yield "two samples"

    def spoils(self, run: Experiment) -> list[Path]:
        seen = [("composed_gradients", name) for name in (*run.gradients, "loss")]
        return [("composed",), *seen]

    def judge(self, case: Case) -> Iterator[Comparison]:
        yield whole_output(case, f"output, {self.of}", case.said["composed"].array)
        gradients = case.said["composed_gradients"]
        if "unsupported" in gradients:
            return
        truth = case.truth(case.dtype, case.policy.loss_in)
        loss = gradients["loss"].number
        yield that_fits(
            [stack.bounded(f"loss, {self.of}", loss, form, "subject") for form in truth.losses]
        )
        for name in [name for name in case.claim.gradients if name in gradients]:
            what = f"gradient of {name}, {self.of}"
            yield stack.bounded(what, gradients[name].array, truth.gradient(name), "subject")


class Seeded(Holds, frozen=True, kw_only=True):
    """Holds: after set_random_seed, and after it once more, the same is drawn, bit for bit.

    Of the weights of a model, of its output in training, of its weights after a step of fit.
    """

    of: Literal["weights", "dropout", "fit"]

    layers = "any"
    needs = (X,)
    questions = ("seeded",)

    def tells(self) -> dict[str, Any]:
        return {"seeded": self.of}

    def missing(self, run: Experiment) -> Iterator[str]:
        yield from super().missing(run)
        if self.of == "fit" and (run.loss is None or run.loss.kind == "cotangent"):
            yield "a loss that fit knows"

    def spoils(self, run: Experiment) -> list[Path]:
        each = ["output"] if self.of == "dropout" else ["weights", "*", "*"]
        return [("seeded", "second", *each)]

    def judge(self, case: Case) -> Iterator[Comparison]:
        first, second = (case.said["seeded"][name] for name in ("first", "second"))
        if self.of == "dropout":
            yield same("output in training", second["output"].array, first["output"].array)
            return
        for layer, table in first["weights"].table():
            for name, array in table.arrays().items():
                yield same(f"{name} of {layer}", second["weights"][layer][name].array, array)
