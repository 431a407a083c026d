"""Which arrays go in, come out, and come back?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from rnn_check.certificates.comparison import Comparison
from rnn_check.claims.expectations import certified
from rnn_check.claims.expectations.case import Case
from rnn_check.claims.expectations.expectation import ANY_LOSS, WEIGHTS, Path, Reading, Unasked, X
from rnn_check.claims.expectations.numbers import OfWeight, Placed
from rnn_check.claims.experiment import Experiment
from rnn_check.claims.layers import Carrying
from rnn_check.claims.truth import Truth
from rnn_check.claims.views import View
from rnn_check.numbers.bounded import Bounded


class Input(Unasked, Placed, frozen=True, kw_only=True):
    """Numbers: that `x`, or some of it, is what the author printed."""

    layers = "any"
    needs = (X, WEIGHTS)

    def shape(self, run: Experiment) -> tuple[int, ...] | None:
        return None if run.x is None else run.x.shape

    def author(self, case: Case) -> Comparison:
        x = case.claim.x
        assert x is not None
        assert self.computed_in is not None
        return self.word(case, x.bounded(case.truth(self.computed_in).a))

    def judge(self, case: Case) -> Iterator[Comparison]:
        yield self.author(case)


class Output(Placed, frozen=True, kw_only=True):
    """Numbers: what the last layer puts out."""

    layers = "any"
    needs = (X, WEIGHTS)

    def shape(self, run: Experiment) -> tuple[int, ...] | None:
        return None if run.x is None else run.output_shape

    def asks(self, run: Experiment) -> set[str]:
        return {"outputs", "weights"} if run.is_stack else {"output", "states", "weights"}

    def spoils(self, run: Experiment) -> list[Path]:
        return [("outputs", "layers", "*")] if run.is_stack else [("output",), ("states",)]

    def judge(self, case: Case) -> Iterator[Comparison]:
        yield self.author(case)
        yield self.subject(case, certified.output(case))
        if case.claim.is_stack:
            yield from certified.layer_steps(case)
        else:
            yield certified.each_step(case)

    def true(self, truth: Truth) -> Bounded:
        return truth.output


class Gradient(OfWeight, frozen=True, kw_only=True):
    """Numbers: the gradient of the loss with regard to a weight, the input or the state.

    Of a loss of the last cell state the author's word alone is judged.
    """

    layers = "any"
    needs = (X, WEIGHTS, ANY_LOSS)

    def allowed(self, run: Experiment) -> Sequence[str] | None:
        return None if self.of else list(run.gradients)

    def view(self, run: Experiment) -> View:
        layer, path = run.gradients.get(self.of, (None, ""))
        if path == "x":
            assert layer is not None
            return View.whole("x", () if run.x is None else run.x.shape, False)
        if path != "initial_state":
            return super().view(run)
        assert isinstance(layer, Carrying)
        sizes, batch = layer.state_sizes, 1 if run.x is None else len(run.x.value)
        shape = (*([len(sizes)] if len(sizes) > 1 else []), batch, sizes[0])
        whole = View.whole(run.gradient_of(self.of), shape, False)
        return whole.of_states(run.gates, len(layer.recurrences))

    def reads(self, reading: Reading) -> dict[str, Any]:
        run, told = reading.experiment, super().reads(reading)
        is_whole = self.of in run.gradients and run.gates.is_in_order
        return {**told, "of": run.gradient_of(self.of)} if is_whole else told

    def asks(self, run: Experiment) -> set[str]:
        if run.loss is None:
            return set()
        return {"gradients", "weights"} | ({"probe"} if self.is_probed(run) else set())

    def is_probed(self, run: Experiment) -> bool:
        """Whether it is seen by itself what it is made of."""
        seen = {*self.gradients(run)} <= {*certified.GRADIENTS}
        return certified.has_adjoints(run) and (seen or not run.is_stack)

    def gradients(self, run: Experiment) -> list[str]:
        return [run.gradient_of(name) for name in self.view(run).sources]

    def spoils(self, run: Experiment) -> list[Path]:
        return [("gradients", name) for name in self.gradients(run) if run.loss is not None]

    def true(self, truth: Truth) -> Bounded:
        return self.as_written(truth.claim, truth.gradient)

    def authors(self, case: Case, whole: Bounded) -> Bounded:
        return self.of_authors_loss(case, whole)

    def judge(self, case: Case) -> Iterator[Comparison]:
        yield self.author(case)
        run = case.claim
        if run.loss is None:
            return
        told = case.said["gradients"]
        yield from self.seen_as_written(
            case, lambda name: told[run.gradient_of(name)].array,
            case.truth(case.dtype, case.policy.loss_in).gradient,
        )  # fmt: skip
        if self.is_probed(run):
            yield from certified.gradient_steps(case, self.gradients(run))
