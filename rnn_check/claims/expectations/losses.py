"""What is a loss: of a batch, of evaluate, of regularizers, of printed predictions?"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from rnn_check.certificates.comparison import Comparison
from rnn_check.claims import stack
from rnn_check.claims.expectations import trained
from rnn_check.claims.expectations.case import Case
from rnn_check.claims.expectations.expectation import (
    DENSE,
    LOSS,
    MSE,
    ONE_OUTPUT,
    WEIGHTS,
    Holds,
    Need,
    Path,
    Reading,
    Unasked,
    X,
)
from rnn_check.claims.expectations.numbers import Numbers, Placed
from rnn_check.claims.experiment import Experiment
from rnn_check.claims.layers import Bidirectional, Carrying
from rnn_check.claims.layers.layer import penalizes_outputs
from rnn_check.claims.loss import given_to_loss, loss_of_kept, penalized, regularization
from rnn_check.claims.truth import Truth
from rnn_check.numbers import formats
from rnn_check.numbers.bounded import Bounded, exactly
from rnn_check.subjects.policy import Policy

PREDICTIONS = Need("printed.predictions", lambda run: "predictions" in run.printed)
TARGET = Need("loss.target", lambda run: run.loss is not None and run.loss.kind != "cotangent")


def _check_predictions(reading: Reading, wanted: int, of: str) -> None:
    got = reading.experiment.printed["predictions"].value.size
    if got != wanted:
        problem = f"{got} numbers, where {of} {wanted}"
        raise reading.read.fail("printed.predictions", problem)


class Loss(Placed, frozen=True, kw_only=True):
    """A number: the loss of [loss]; at an epoch as `fit` reports it, counted from 1."""

    layers = "any"
    needs = (X, WEIGHTS, LOSS)

    def underived(self, run: Experiment) -> str:
        return "" if self.at.epoch is None else trained.underived(self.name, run)

    def missing(self, run: Experiment) -> Iterator[str]:
        yield from super().missing(run)
        if self.at.epoch is not None:
            yield from trained.missing(run)
            epochs = run.training.epochs if run.training else 0
            if not (0 < abs(self.at.epoch) <= epochs):
                yield f"an epoch {self.at.epoch}: there are {epochs}, counted from 1,"
            if not MSE.there(run):
                yield MSE.what

    def unjudged(self, run: Experiment) -> str:
        if self.at.epoch is None:
            return ""
        return trained.unjudged(self.name, run) or trained.other_biases(self.name, run)

    def unjudged_in(self, policy: Policy) -> str:
        return "" if self.at.epoch is None else trained.unjudged_in(policy)

    def asks(self, run: Experiment) -> set[str]:
        return {"gradients" if self.at.epoch is None else "trained"}

    def spoils(self, run: Experiment) -> list[Path]:
        return [("gradients" if self.at.epoch is None else "trained", "loss")]

    @property
    def of_one_pass(self) -> bool:
        return self.at.epoch is None

    def author(self, case: Case) -> Comparison:
        assert self.computed_in is not None
        forms = case.truth(self.computed_in).losses
        return that_fits([self.word(case, self.of_authors_loss(case, form)) for form in forms])

    def judge(self, case: Case) -> Iterator[Comparison]:
        """In the form that fits: a framework, and an author who prints its loss, take either."""
        assert self.computed_in is not None
        if (epoch := self.at.epoch) is not None:
            yield self.word(case, trained.loss_of_epoch(case, epoch, self.computed_in))
            told = trained.told_of_epoch(case, epoch)
            yield self.returned(case, told, trained.loss_of_epoch(case, epoch))
            return
        observed = case.said["gradients"]["loss"].array
        yield self.author(case)
        forms = case.truth(case.dtype, case.policy.loss_in).losses
        yield that_fits([self.returned(case, observed, form) for form in forms])


def that_fits(forms: list[Comparison]) -> Comparison:
    """The first that holds; else the first that says nothing; else the first, which differs."""
    held = [form for form in forms if form.ok and not form.says_nothing]
    silent = [form for form in forms if form.says_nothing]
    return (held or silent or forms)[0]


class Regularization(Numbers, frozen=True, kw_only=True):
    """A number: the sum of all losses that the layers add."""

    layers = "any"
    needs = (X, WEIGHTS)
    questions = ("losses",)

    def spoils(self, run: Experiment) -> list[Path]:
        return [("losses", "losses")]

    def true(self, truth: Truth) -> Bounded:
        return truth.regularization

    def judge(self, case: Case) -> Iterator[Comparison]:
        yield self.author(case)
        yield self.subject(case, case.said["losses"]["losses"].array)


class ActivityLoss(Holds, frozen=True, kw_only=True):
    """Holds: that sum, of the outputs that were seen; needs an `activity_regularizer`."""

    layers = "any"
    needs = (
        X,
        WEIGHTS,
        Need(
            "an activity_regularizer",
            lambda run: any(penalizes_outputs(layer) for layer in run.layers),
        ),
    )
    questions = ("losses",)

    def spoils(self, run: Experiment) -> list[Path]:
        seen = (each for each in run.layers if not isinstance(each, Bidirectional))
        activities = (("losses", "activities", each.name) for each in seen)
        return [("losses", "losses"), *activities]

    def judge(self, case: Case) -> Iterator[Comparison]:
        """From the outputs that the subject itself returned, so that no recurrence is needed.

        Bidirectional does not show its directions apart: of each all that it should return.
        """
        told, run, a = case.said["losses"], case.claim, formats.arithmetic(case.dtype)
        outputs = {}
        for index, layer in enumerate(run.layers):
            if isinstance(layer, Bidirectional) and penalizes_outputs(layer):
                outputs[layer.name] = case.truth(case.dtype).returned[layer.name]
            elif penalizes_outputs(layer):
                shapes = [(len(case.x), *run.shape_after(index, case.x.shape[1:]))]
                if layer.returns_state and isinstance(layer, Carrying):
                    shapes += [(len(case.x), size) for size in layer.state_sizes]
                shown = told["activities"][layer.name].states(*shapes)
                outputs[layer.name] = [exactly(each, a) for each in shown]
        loss = regularization(run, outputs, a)
        yield stack.bounded("loss of the regularizers", told["losses"].array, loss)


class LossOfEvaluate(Holds, frozen=True, kw_only=True):
    """Holds: what evaluate returns, masked steps left out; needs `mse`."""

    layers = "any"
    needs = (X, WEIGHTS, MSE, ONE_OUTPUT)
    questions = ("evaluate",)

    def spoils(self, run: Experiment) -> list[Path]:
        return [("evaluate", "loss")]

    def judge(self, case: Case) -> Iterator[Comparison]:
        """mse over the steps that the mask keeps, from the output that the subject predicted.

        See `loss.loss_of_kept`; Keras then averages it over batches, and reports it in float32.
        """
        told = case.said["evaluate"]
        run = case.claim
        assert run.loss is not None
        mask = stack.masks(run, "float32")[-1]
        output = told["output"].shaped(run.output_shape)
        truth = case.truth(case.dtype)
        to_loss = given_to_loss(exactly(output, truth.a), case.policy.loss_in)
        loss = loss_of_kept("mse", run.loss.value.value, to_loss, mask)
        u = max(loss.a.u_stored, 2.0**-24)  # reported in float32
        loss = loss.off_by(formats.gamma(6, u) * loss.most)
        wanted = penalized(run, loss, truth.returned, truth.a)
        yield stack.bounded("loss of evaluate", told["loss"].number, wanted, "own")


class LossOfPredictions(Unasked, Numbers, frozen=True, kw_only=True):
    """A number: the loss of `[printed] predictions` against the target of [loss]."""

    layers = "any"
    needs = (PREDICTIONS, TARGET)

    def reads(self, reading: Reading) -> dict[str, Any]:
        run = reading.experiment
        if not self.not_run and run.loss is not None:
            _check_predictions(reading, run.loss.value.value.size, "has the target")
        return super().reads(reading)

    def judge(self, case: Case) -> Iterator[Comparison]:
        loss = case.claim.loss
        assert loss is not None and self.computed_in is not None
        predictions = case.claim.printed["predictions"]
        target = loss.value.value.reshape(predictions.shape)
        given = predictions.bounded(formats.arithmetic(self.computed_in))
        whole = loss_of_kept(loss.kind, target, given, None)
        yield self.word(case, self.of_authors_loss(case, whole))


class PredictionsReachable(Holds, frozen=True, kw_only=True):
    """Holds: Dense weights exist that give `[printed] predictions`."""

    layers = "plain"
    needs = (PREDICTIONS, DENSE, WEIGHTS)
    questions = ("output",)

    def reads(self, reading: Reading) -> dict[str, Any]:
        run = reading.experiment
        if not self.not_run and run.x is not None:
            _check_predictions(reading, math.prod(run.output_shape), "the model puts out")
        return super().reads(reading)

    def spoils(self, run: Experiment) -> list[Path]:
        return [("output",)]

    def judge(self, case: Case) -> Iterator[Comparison]:
        """Dense weights that give the printed predictions exist.

        They are a solution of [H 1]·[V; c] = p, with the last states H (B,H) and as many
        predictions as samples.  One exists for every p when [H 1] has full row rank; by Weyl's
        inequality it has, whatever the error of H, if its smallest singular value exceeds the
        norm of that error.  Then the subject is asked with such weights.
        """
        states, error = case.truth("float32").last_state()
        augmented = np.concatenate([states, np.ones((len(states), 1))], axis=1)
        smallest = np.linalg.svd(augmented, compute_uv=False).min()
        own = formats.gamma(augmented.size, 2.0**-53) * np.linalg.norm(augmented)
        perturbation = np.asarray(np.linalg.norm(error) + own)
        yield Comparison(
            "claim",
            "error of the states against the smallest singular value of [h 1]",
            np.asarray(perturbation),
            np.asarray(0.0),
            perturbation,
            np.asarray(smallest),
        )
        predictions = case.claim.printed["predictions"]
        told = case.said["output"].shaped(case.claim.output_shape)
        got = told.astype(np.float64).reshape(predictions.shape)
        bound = case.truth(case.dtype).output.error.reshape(predictions.shape) + predictions.error
        error = np.abs(got - predictions.value)
        yield Comparison("subject", "output", got, predictions.value, error, bound)
