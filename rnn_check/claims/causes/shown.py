"""What may be made of right numbers, so that others are seen?

Rows in another order, a loss that is a sum in place of a mean, a gradient by another formula: the
experiment is as it was, and the truth that is asked for is another.

Sizes: B samples, T timesteps, F features, H units.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from rnn_check.claims.causes.recurrences import unmasked_reversed
from rnn_check.claims.claim import Claim
from rnn_check.claims.experiment import Experiment
from rnn_check.claims.truth import Truth
from rnn_check.claims.written import Array, Given
from rnn_check.numbers.bounded import Bounded, joined

Get = Callable[[Truth], Bounded]
Derive = Callable[[Experiment, str, str], Truth]
MOST_ROWS = 8  # timesteps of which each may follow from each


@dataclass(frozen=True)
class Shown:
    """What is made of what is right.

    sequence: of whatever has an entry for each step (B,T,H), which `Get` takes of a truth. loss:
    times what a loss and its gradients are. gradient: of a gradient, by what a claim may call it;
    None if it is the right one.
    """

    sequence: Callable[[Truth, Get], Bounded] | None = None
    loss: float = 1.0
    gradient: Callable[[Truth, str], Bounded | None] | None = None

    def derive(self, claim: Experiment, computed_in: str, loss_in: str = "") -> Truth:
        return Altered(claim, computed_in, loss_in, by=self)


@dataclass(frozen=True)
class Altered(Truth):
    """A truth of which something else is shown."""

    by: Shown = field(default_factory=Shown)

    @cached_property
    def honest(self) -> Truth:
        return Truth(self.claim, self.computed_in, self.loss_in)

    def _sequence(self, get: Get) -> Bounded:
        if self.by.sequence is None:
            return get(self.honest)
        return self.by.sequence(self.honest, get)

    @property
    def output(self) -> Bounded:
        if not self.claim.layers[-1].returns_sequences:
            return self.honest.output
        return self._sequence(lambda truth: truth.output)

    def states(self, of: str = "") -> Bounded:
        return self._sequence(lambda truth: truth.states(of))

    def preactivation(self, of: str = "") -> Bounded:
        return self._sequence(lambda truth: truth.preactivation(of))

    def gate(self, of: str) -> Bounded:
        return self._sequence(lambda truth: truth.gate(of))

    @property
    def losses(self) -> list[Bounded]:
        return [loss.times(self.by.loss) for loss in self.honest.losses]

    def gradient(self, of: str) -> Bounded:
        found = None if self.by.gradient is None else self.by.gradient(self.honest, of)
        return (self.honest.gradient(of) if found is None else found).times(self.by.loss)


def each(change: Callable[[Array], Array]) -> Shown:
    """The same change of shape of every sequence and its bounds."""
    return Shown(lambda truth, get: get(truth).each(change))


# --- rows -----------------------------------------------------------------------------------------


def rows(claim: Claim) -> Iterator[tuple[str, Shown]]:
    """Steps in another order, or that follow from others."""
    assert claim.x is not None
    timesteps = claim.x.shape[1]
    if timesteps < 2:
        return
    yield "the steps are shown in reverse", each(lambda a: a[:, ::-1])
    yield (
        "every step shows the last state",
        each(lambda a: np.repeat(a[:, -1:], a.shape[1], axis=1)),
    )
    yield "each step is shown one step early", each(_early)
    if claim.mask is not None:
        order = unmasked_reversed(claim.mask)[:, :, None]
        words = "the steps that are not masked are shown in reverse"
        yield words, each(lambda a: np.take_along_axis(a, order, axis=1))
        yield (
            "steps that the mask skips are shown as zero",
            each(
                lambda a: a * claim.mask[:, :, None]  # type: ignore[index]
            ),
        )
    if claim.mask is None and timesteps <= MOST_ROWS:
        yield from _spliced(claim, timesteps)


def _early(steps: Array) -> Array:
    """Each row the next one's: the first is left out, and the last stands twice."""
    return np.concatenate([steps[:, 1:], steps[:, -1:]], axis=1)


def _spliced(claim: Claim, timesteps: int) -> Iterator[tuple[str, Shown]]:
    """A step that follows from another than the one before it, and what follows from that."""
    if claim.layers[0].is_recurrent and claim.layers[0].option("go_backwards"):
        return
    assert claim.x is not None
    for step in range(1, timesteps):
        for before in range(-1, step - 1):
            taken = [*range(before + 1), *range(step, timesteps)]
            x = claim.x.each(lambda a, taken=taken: a[:, taken])  # type: ignore[misc]
            other = dataclasses.replace(claim, x=x, expectations=())

            def sequence(
                truth: Truth, get: Get, other: Claim = other, step: int = step, at: int = before + 1
            ) -> Bounded:
                rest = get(Truth(other, truth.computed_in, truth.loss_in))
                first = get(truth).each(lambda a: a[:, :step])
                return joined([first, rest.each(lambda a: a[:, at:])], axis=1)

            from_ = f"step {before}" if before >= 0 else "the initial state"
            yield f"step {step} follows from {from_}", Shown(sequence)


def clipped(claim: Claim) -> Iterator[tuple[str, Shown]]:
    """Sequences, or gradients, that are cut at the largest number that is claimed of them."""
    most: dict[bool, float] = {}
    for e in claim.expectations:
        if e.what in ("output", "states", "gradient") and isinstance(e.value, Given):
            size = float(np.abs(e.value.value).max(initial=0.0))
            is_gradient = e.what == "gradient"
            most[is_gradient] = max(most.get(is_gradient, 0.0), size)
    for is_gradient, size in most.items():

        def clip(a: Array, size: float = size) -> Array:
            return np.clip(a, -size, size)

        def sequence(truth: Truth, get: Get, clip: Callable[[Array], Array] = clip) -> Bounded:
            shown = get(truth)
            return Bounded(clip(shown.value), shown.error, shown.a)

        def gradient(truth: Truth, of: str, clip: Callable[[Array], Array] = clip) -> Bounded:
            right = truth.gradient(of)
            return Bounded(clip(right.value), right.error, right.a)

        what = "gradients are" if is_gradient else "what is shown is"
        made = Shown(gradient=gradient) if is_gradient else Shown(sequence)
        yield f"{what} clipped at {size:g}", made


# --- losses ---------------------------------------------------------------------------------------


def losses(claim: Claim) -> Iterator[tuple[str, Shown]]:
    """Sum for mean, and their like: of the loss and of all its gradients."""
    loss = claim.loss
    if loss is None or loss.kind == "cotangent" or claim.x is None:
        return
    shape = loss.value.shape
    size, last, batch = math.prod(shape), shape[-1], shape[0]
    mean_over = size if loss.kind == "mse" else size // last
    factors = {
        "the loss is a mean": 1.0,
        "the loss is a sum in place of a mean": float(mean_over),
        "the loss is half the sum in place of a mean": mean_over / 2,
        "the loss is half the mean": 0.5,
        "the loss is a sum over all but the samples": mean_over / batch,
        "the loss is a sum over the samples, and a mean of the rest": float(batch),
        "the sign of the loss is changed": -1.0,
    }
    if loss.kind == "mse":
        factors["the loss is a sum over the units, and a mean of the rest"] = float(last)
    else:
        factors["the loss is of logarithms to the base 2"] = 1 / math.log(2)
        factors["the loss is of logarithms to the base 10"] = 1 / math.log(10)
    told: set[float] = {loss.times}
    for words, factor in factors.items():
        if factor not in told:
            told.add(factor)
            yield words, Shown(loss=factor / loss.times)
