"""What do predict, evaluate and fit say, and their like of one batch, in batches of every size?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np

from rnn_check.certificates.comparison import Comparison, equal
from rnn_check.claims import stack
from rnn_check.claims.divisions import divisions
from rnn_check.claims.expectations import trained
from rnn_check.claims.expectations.case import Case, Said
from rnn_check.claims.expectations.expectation import MSE, ONE_OUTPUT, WEIGHTS, Holds, Path, X
from rnn_check.claims.experiment import Experiment
from rnn_check.claims.layers.signal import Unbegun
from rnn_check.claims.loss import penalized
from rnn_check.claims.written import Array
from rnn_check.recurrences import fitted, reported
from rnn_check.subjects.policy import Policy

_OF_TRAINING = ("fit", "train_on_batch")
_ASKED = {"evaluate": "evaluated", "fit": "reported_by_fit"}


class Predicted(Holds, frozen=True, kw_only=True):
    """Holds: what predict gives, or predict_on_batch, is the output, whatever the batches.

    Of a stateful layer each batch goes on where the one before ended.
    """

    of: Literal["predict", "predict_on_batch"]

    layers = "any"
    needs = (X, WEIGHTS)

    def asks(self, run: Experiment) -> set[str]:
        return {self.of}

    def spoils(self, run: Experiment) -> list[Path]:
        return [(self.of, "*")]

    def judge(self, case: Case) -> Iterator[Comparison]:
        """Each sample's output is its own, whatever else there is in its batch."""
        for size, batches in _batches(case):
            wanted = case.truth(case.dtype).in_batches(batches).last.number
            told = case.said[self.of][f"{size}"].array
            yield stack.bounded(f"output in batches of {size}", told, wanted, "subject")


class Reported(Holds, frozen=True, kw_only=True):
    """Holds: the loss and the metrics that it reports; of fit and train_on_batch needs [training].

    mse, mae and accuracy; of fit those of validation on the same samples as well.
    """

    of: Literal["evaluate", "test_on_batch", "fit", "train_on_batch"]

    layers = "any"
    needs = (X, WEIGHTS, MSE, ONE_OUTPUT)

    def underived(self, run: Experiment) -> str:
        return trained.underived(self.name, run) if self.of in _OF_TRAINING else ""

    def missing(self, run: Experiment) -> Iterator[str]:
        yield from super().missing(run)
        if self.of in _OF_TRAINING:
            yield from trained.missing(run)

    def unjudged(self, run: Experiment) -> str:
        if self.of in _OF_TRAINING:
            averaged = run.training is not None and run.training.optimizer.use_ema
            if self.of == "train_on_batch" and averaged:
                return f"{self.name} of averages, which only fit hands over, is not derived"
            return trained.unjudged(self.name, run)
        return ""

    def unjudged_in(self, policy: Policy) -> str:
        if policy.name in ("float32", "floatx_float64") or policy.is_mixed:
            return ""
        return f"what {self.of} reports in {policy.name} is not derived"

    @property
    def question(self) -> str:
        return _ASKED.get(self.of, self.of)

    def asks(self, run: Experiment) -> set[str]:
        return {self.question}

    def spoils(self, run: Experiment) -> list[Path]:
        names = ["loss", "mse", "mae"]
        trained = self.of in _OF_TRAINING
        if _weight(run) is not None or (trained and run.sample_weight is not None):
            names += ["weighted_mse", "weighted_mae"]
        inside: dict[str, list[Path]] = {
            "evaluate": [("*", name) for name in names],
            "test_on_batch": [("*",)],
            "fit": [(f"{val}{name}",) for val in ("", "val_") for name in names],
            "train_on_batch": [("reports", name) for name in names],
        }
        return [(self.question, *path) for path in inside[self.of]]

    def judge(self, case: Case) -> Iterator[Comparison]:
        """From the truth of the outputs, or of the whole training."""
        said = case.said[self.question]
        if self.of in _OF_TRAINING:
            yield from self._trained(case, said)
            return
        if not (case.claim.is_stateful and trained.penalizes_unbegun(case.claim)):
            yield from self._of_batches(case, said, "")
            return
        # zeros or states before the first step that counts: a backend shows one of them throughout
        forms = [[*self._of_batches(case, said, unbegun)] for unbegun in ("zeros", "states")]
        held = [form for form in forms if all(each.ok for each in form)]
        yield from (held or forms)[0]

    def _of_batches(self, case: Case, said: Said, unbegun: Unbegun) -> Iterator[Comparison]:
        for size, parts in _batches(case):
            of_size, shown = said[f"{size}"], case.truth(case.dtype).in_batches(parts, unbegun)
            if self.of == "evaluate":
                where = f"in batches of {size}"
                yield from self._compared(case, of_size, shown, slice(None), parts, where)
                continue
            each = list(of_size)
            yield equal("subject", f"batches of {size}", len(each), len(parts))
            for number, (told, part) in enumerate(zip(each, parts, strict=False), 1):
                where, alone = f"of batch {number} of {size}", [slice(0, part.stop - part.start)]
                yield from self._compared(case, told, shown, part, alone, where)

    def _compared(
        self,
        case: Case,
        told: Said,
        shown: stack.Shown,
        samples: slice,
        batches: Sequence[slice],
        where: str,
    ) -> Iterator[Comparison]:
        run, (last, returned) = case.claim, shown.part(samples)
        assert run.loss is not None
        weight = _weight(run)
        found = reported.reported(
            run.loss.value.value[samples], *last.number, mask=last.mask,
            weight=None if weight is None else weight[samples],
            batches=batches, computed_in=case.dtype,
        )  # fmt: skip
        loss = penalized(run, found["loss"], returned, last.number.a)
        wanted = {**found, "loss": loss}
        for name, number in wanted.items():
            got = np.asarray(told[name].number)
            yield stack.bounded(f"{name} {where}", got, number, "subject")

    def _trained(self, case: Case, said: Said) -> Iterator[Comparison]:
        by_batch = self.of == "train_on_batch"
        found = trained.ended(case, reports="train_on_batch" if by_batch else "fit")
        reports = said["reports"] if by_batch else said
        for name, wanted in (found.of_batches if by_batch else found.of_epochs).items():
            told = reports[name].shaped(wanted.value.shape)
            what = f"{name} of each {'batch' if by_batch else 'epoch'}"
            yield stack.bounded(what, told, wanted, "subject")
        if by_batch:
            yield from _afterwards(case, said["weights"], found)


def _afterwards(case: Case, told: Said, found: fitted.Trained) -> Iterator[Comparison]:
    run = case.claim
    for layer in run.layers:
        for path in layer.weight_shapes(run.features_of(layer)):
            wanted = found.weights[trained.prefix_of(run, layer) + path]
            got = told[layer.name][path].array
            what = f"{layer.name}.{path} afterwards"
            yield stack.bounded(what, got, wanted, "subject")


def _weight(run: Experiment) -> Array | None:
    """Those of samples; of classes evaluate takes none."""
    given = run.training is not None and run.training.class_weight is None
    return run.sample_weight.value if given and run.sample_weight is not None else None


def _batches(case: Case) -> Iterator[tuple[int, list[slice]]]:
    """Each size of batches that is asked, and which samples they hold."""
    samples = len(case.x)
    for size in divisions(samples, even=case.claim.is_stateful):
        yield size, [slice(at, min(at + size, samples)) for at in range(0, samples, size)]
