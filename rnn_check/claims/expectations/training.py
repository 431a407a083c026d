"""What did a training do, update by update, and with what did it end?"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any, ClassVar, Literal

import numpy as np

from rnn_check.certificates import outcomes, updates
from rnn_check.certificates.comparison import Comparison, equal
from rnn_check.certificates.updates_result import Quantity
from rnn_check.claims import tables
from rnn_check.claims.expectations import trained
from rnn_check.claims.expectations.bitwise import same, yes
from rnn_check.claims.expectations.case import Case, Said, Unproved, given
from rnn_check.claims.expectations.expectation import (
    DENSE,
    MSE,
    WEIGHTS,
    At,
    Expectation,
    Holds,
    Path,
    Reading,
    Unasked,
    X,
)
from rnn_check.claims.expectations.numbers import OfWeight, read_value
from rnn_check.claims.experiment import Experiment
from rnn_check.claims.written import Array, Given
from rnn_check.numbers import formats
from rnn_check.numbers.activations import activation
from rnn_check.numbers.bounded import Bounded
from rnn_check.recurrences import updating
from rnn_check.recurrences.optimizers import Optimizer
from rnn_check.subjects.policy import Policy


class OfTraining(Expectation, frozen=True, kw_only=True):
    """What becomes of a whole training."""

    family: ClassVar[bool] = True

    layers = "any"
    needs = (X, WEIGHTS, MSE)

    def underived(self, run: Experiment) -> str:
        return trained.underived(self.what, run)

    def missing(self, run: Experiment) -> Iterator[str]:
        yield from super().missing(run)
        yield from trained.missing(run)

    def unjudged(self, run: Experiment) -> str:
        return trained.unjudged(self.what, run)


class Updates(OfTraining, Holds, frozen=True, kw_only=True):
    """Holds: each update of [training] follows from the one before."""

    questions = ("training",)

    def unjudged(self, run: Experiment) -> str:
        return trained.unjudged(self.what, run, drawn=True)

    def spoils(self, run: Experiment) -> list[Path]:
        assert run.training is not None
        parts = ("weights", *updating.carried(run.training.optimizer), "ended")
        return [("training", part, "*", "*") for part in parts]

    def judge(self, case: Case) -> Iterator[Comparison]:
        """Each update of the recorded training against the state before it."""
        run, recorded = case.claim, case.said["training"]
        assert run.training is not None and run.weights is not None and run.x is not None
        optimizer = run.training.optimizer
        told = ", ".join(layer for layer, _ in recorded["weights"].table())
        own = [layer for layer in run.layers if layer.weight_shapes(1) and layer.is_trainable]
        wanted = ", ".join(layer.name for layer in own)
        if told != wanted:
            yield equal("subject", "what is trained", told, wanted)
            return
        start = {
            layer: {name: given.value for name, given in table.items()}
            for layer, table in run.weights.items()
        }
        found = given(
            updates.certify_training,
            trained.by_name(run, _tables(recorded["weights"])),
            {
                state: trained.by_name(run, _tables(recorded[state]))
                for state in updating.carried(optimizer)
            },
            network=trained.computed(trained.network(run), trained.mixed(case.policy)),
            optimizer=optimizer,
            iterations=recorded["iterations"].of(np.ndarray),
            loss=recorded["loss"].array,
            start=trained.by_name(run, start),
            dtype=case.policy.kept_in,
            rates=trained.rates_of(run),
        )
        done, asked = np.asarray(found.updates), np.asarray(run.training.updates(len(case.x)))
        missing = np.abs(done - asked)
        follow = f"each of {done:,} updates follows"
        if found.judged < 1:
            follow = f"{found.certified:,} of {done:,} updates follow; rounding hides the others"
        if found.ok is None and not missing:
            raise Unproved(found.reason)
        yield Comparison("step", "updates", done, asked, missing, 0 * missing, praise=follow)
        # what fails first comes first, as it is what the verdict quotes
        for q in sorted(found.quantities.values(), key=lambda q: q.name != found.where[1]):
            yield _updated(q)
        if "ended" in recorded or optimizer.use_ema:  # records of earlier versions do not tell
            last = _tables(recorded[updating.ends_with(optimizer)])
            for layer, table in last.items():
                for name, each in table.items():
                    got = recorded["ended"][layer][name].shaped(each.shape[1:])
                    yield same(f"{layer}.{name} when fit returns", got, each[-1])
        constants, options = recorded["optimizer"], _constants(optimizer)
        for name in [name for name in options if name not in constants]:
            yield equal("subject", f"the optimizer's {name}", "nothing", str(options.pop(name)))
        for name in [name for name, value in options.items() if isinstance(value, bool)]:
            yield equal("subject", name, yes(constants[name].flag), yes(options.pop(name)))
        got = np.asarray([constants[name].of(float) for name in options])
        expected = np.asarray(list(options.values()))
        bound = expected * formats.arithmetic(case.policy.kept_in).u
        names = ", ".join(options)
        yield Comparison("subject", names, got, expected, np.abs(got - expected), bound)


class TrainedWeights(OfTraining, OfWeight, frozen=True, kw_only=True):
    """Numbers, or with `not_run` none: what a training ended with."""

    value: tables.Numbers = None
    questions = ("trained",)

    def missing(self, run: Experiment) -> Iterator[str]:
        yield from super().missing(run)
        epochs = run.training.epochs if run.training else 0
        if self.at.epoch not in (None, -1, epochs):
            yield f"training.epochs = {self.at.epoch}"

    def unjudged(self, run: Experiment) -> str:
        return super().unjudged(run) or trained.other_biases(self.name, run)

    def unjudged_in(self, policy: Policy) -> str:
        return trained.unjudged_in(policy)

    def reads(self, reading: Reading) -> dict[str, Any]:
        if self.value is None:
            if self.not_run:
                return {}
            raise reading.fail("value", "required key is missing")
        return super().reads(reading)

    def spoils(self, run: Experiment) -> list[Path]:
        places = (run.gradients[name] for name in self.view(run).sources)
        return [("trained", "weights", layer.name, path) for layer, path in places]

    def judge(self, case: Case) -> Iterator[Comparison]:
        """The author's numbers, and those that the same training by the subject ends with."""
        assert self.computed_in is not None
        run = case.claim

        def ends(computed_in: str | None = None) -> Callable[[str], Bounded]:
            weights = trained.ended(case, computed_in).weights

            def of(name: str) -> Bounded:
                layer, path = run.gradients[name]
                return weights[trained.prefix_of(run, layer) + path]

            return of

        def told(name: str) -> Array:
            layer, path = run.gradients[name]
            return case.said["trained"]["weights"][layer.name][path].array

        yield self.word(case, self.as_written(run, ends(self.computed_in), weights=True))
        yield from self.seen_as_written(case, told, ends(), weights=True)


class OrdinaryOutcome(Unasked, frozen=True, kw_only=True):
    """Numbers: they are among what the training ends with from random Dense weights."""

    of: Literal["loss", "predictions"]
    value: tables.Numbers
    at: At = At()

    layers = "plain"
    needs = (X, WEIGHTS, MSE, DENSE)

    def missing(self, run: Experiment) -> Iterator[str]:
        yield from super().missing(run)
        yield from (need for need in trained.missing(run) if not need.startswith("weights."))

    def unjudged(self, run: Experiment) -> str:
        if run.training and run.x and run.training.updates(len(run.x.value)) > run.training.epochs:
            return f"{self.what} of a training by several batches is not derived"
        own = dataclasses.fields(Optimizer)[1:]
        optimizer = run.training.optimizer if run.training else None
        for name in (each.name for each in own if getattr(optimizer, each.name, None)):
            if name != "ema_momentum":
                return f"{self.what} of a training with {name} is not derived"
        if run.is_stateful:
            return f"{self.what} of a training of a stateful layer is not derived"
        if beside := trained.embellished(run):
            return f"{self.what} of a training with {beside} is not derived"
        of_dense = [] if run.dense is None else [run.dense.inner.function]
        for name in [*run.rnn.functions.values(), *of_dense]:
            if activation(name).derivative is None:
                return f"{self.what} of a training with {activation(name).name} is not derived"
        return trained.unjudged(self.what, run) or trained.other_biases(self.what, run)

    def reads(self, reading: Reading) -> dict[str, Any]:
        run = reading.experiment
        shape = None if run.x is None else run.output_shape
        return read_value(self, () if self.of == "loss" else shape, reading)

    def judge(self, case: Case) -> Iterator[Comparison]:
        """The author's number among those that random Dense layers end with."""
        drawn = getattr(case.once(draw), self.of)  # (D,...)
        if not np.isfinite(drawn).all():
            raise Unproved("trainings from random Dense weights overflow")
        places = self.places(drawn.shape[1:])
        drawn = np.stack([self.select(draw) for draw in drawn])
        value: Given = self.value
        found = [
            outcomes.place(*each)
            for each in zip(
                drawn.reshape(len(drawn), -1).T, value.lo.ravel(), value.hi.ravel(), strict=True
            )
        ]
        median, low, high = (
            np.reshape([getattr(p, part) for p in found], value.shape)
            for part in ("median", "low", "high")
        )
        above = value.value >= median
        error = np.maximum(np.where(above, value.lo - median, median - value.hi), 0.0)
        bound = np.where(above, high - median, median - low)
        percentiles = ", ".join(f"{p.percentile:.0f}" for p in found)
        held = f"an ordinary outcome: percentile {percentiles} of {len(drawn):,} draws"
        yield Comparison(
            "claim", f"{self.of} among random draws", value.value, median, error, bound, *places,
            praise=held, against="their median",
        )  # fmt: skip


def draw(run: Experiment) -> outcomes.Outcomes:
    """What the training ends with from random Dense weights."""
    assert run.training is not None and run.weights is not None
    weights = run.weights[run.rnn.name]
    return outcomes.outcomes(
        trained.network(run),
        kernel=weights["kernel"].value,
        recurrent_kernel=weights["recurrent_kernel"].value,
        bias=weights["bias"].value if "bias" in weights else None,
        optimizer=run.training.optimizer,
        epochs=run.training.epochs,
    )


def _constants(optimizer: Optimizer) -> dict[str, Any]:
    """What it was told, number by number: all of its own, and what is not left as all have it."""
    found = dataclasses.asdict(optimizer)
    for each in dataclasses.fields(Optimizer):
        if found[each.name] == each.default:
            del found[each.name]
    schedule = found.pop("learning_rate")
    if not isinstance(schedule, dict):
        return {"learning_rate": schedule, **found}
    for name, value in schedule.items():
        if isinstance(value, tuple):
            found.update({f"{name}[{i}]": each for i, each in enumerate(value)})
        elif value is not None:
            found[name] = value
    return found


def _tables(said: Said) -> dict[str, dict[str, Array]]:
    return {layer: table.arrays() for layer, table in said.table()}


def _updated(q: Quantity) -> Comparison:
    """Row t is the state after update t; what has no bound is left out."""
    rows = np.indices(q.observed.shape)
    known = np.isfinite(q.bound)
    kept: Any = slice(None) if known.all() else known
    return Comparison(
        who="step",
        what=q.name,
        got=q.observed[kept],
        expected=q.expected[kept],
        error=q.residual[kept],
        bound=q.bound[kept],
        axes=("update", "of"),
        coordinates=(rows[0][kept], np.asarray(q.elements)[rows[1][kept]]),
        praise=f"{q.name} ({f'{q.ratio:.2g} of the bound' if q.bound.any() else 'exactly'})",
    )
