"""Which states does a layer carry, and what are they made of?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar

from rnn_check.certificates.comparison import Comparison
from rnn_check.claims.expectations import certified
from rnn_check.claims.expectations.case import Case
from rnn_check.claims.expectations.expectation import WEIGHTS, Layers, Path, Unasked, X
from rnn_check.claims.expectations.numbers import Placed
from rnn_check.claims.experiment import Experiment
from rnn_check.claims.gates import Letters
from rnn_check.claims.truth import Truth
from rnn_check.numbers.bounded import Bounded


class OfSteps(Placed, frozen=True, kw_only=True):
    """Numbers of a recurrence, step by step.

    of: its layer's name, of the first recurrent layer left out; and what of it.
    """

    family: ClassVar[bool] = True
    of: str = ""
    layers: ClassVar[Layers] = "any"
    needs = (X, WEIGHTS)

    def words(self, letters: Letters) -> Sequence[str]:
        """What there is of a recurrence: a gate, the cell state; "" if it goes without a word."""
        return [""]

    def allowed(self, run: Experiment) -> list[str]:
        return [
            f"{path}.{word}".strip(".")
            for path, (layer, part) in run.recurrences.items()
            for word in self.words(layer.recurrences[part][1].letters)
        ]

    def shape(self, run: Experiment) -> tuple[int, ...] | None:
        layer, part, _ = run.recurrence_of(self.of)
        return None if run.x is None else (*run.x.shape[:2], layer.recurrences[part][1].units)


class OfAuthor(Unasked, OfSteps, frozen=True, kw_only=True):
    """Those that a framework does not show: the author's word alone is judged."""

    family: ClassVar[bool] = True

    def judge(self, case: Case) -> Iterator[Comparison]:
        yield self.author(case)


class Preactivation(OfAuthor, frozen=True, kw_only=True):
    """Numbers (B,T,H): what the activation is taken of.

    of a gate, by the letter that the author gives it. The author's word alone is judged: a
    framework does not show it.
    """

    def words(self, letters: Letters) -> Sequence[str]:
        return list(letters.authors) or [""]

    def true(self, truth: Truth) -> Bounded:
        return truth.preactivation(self.of)


class OfState(OfSteps, frozen=True, kw_only=True):
    """Numbers of a state, of which there may be several: the first goes without a word."""

    family: ClassVar[bool] = True

    def words(self, letters: Letters) -> Sequence[str]:
        return ["", *letters.states[1:]]

    def is_first(self, run: Experiment) -> bool:
        """Whether it is asked of the first layer itself."""
        return run.begins_recurrent and run.recurrence_of(self.of)[0] is run.layers[0]


class States(OfState, frozen=True, kw_only=True):
    """Numbers (B,T,H): the state after each step, in the order in which Keras returns it.

    of "c": an LSTM's cell state, as it is carried. Of cells that stand inside others, of a
    direction that is merged, and of the cell state of a layer that does not come first, all as they
    are carried, the author's word alone is judged: a framework does not show them.
    """

    def is_shown(self, run: Experiment) -> bool:
        layer, part, word = run.recurrence_of(self.of)
        return layer.shows_states_of(part) and not word

    def asks(self, run: Experiment) -> set[str]:
        if self.is_first(run):
            word = run.recurrence_of(self.of)[2]
            return {"states", "weights"} | ({"cell_states"} if word else set())
        return {"sequences", "outputs", "weights"} if self.is_shown(run) else set()

    def spoils(self, run: Experiment) -> list[Path]:
        layer, _, word = run.recurrence_of(self.of)
        if self.is_first(run):
            return [("states",), *([("cell_states", "c")] if word else [])]
        return [("sequences", layer.name, "states")] if self.is_shown(run) else []

    def true(self, truth: Truth) -> Bounded:
        return truth.states(self.of)

    def judge(self, case: Case) -> Iterator[Comparison]:
        yield self.author(case)
        run = case.claim
        layer, _, word = run.recurrence_of(self.of)
        if not self.is_first(run):
            if self.is_shown(run):
                yield self.subject(case, case.said["sequences"][layer.name]["states"].array)
                yield from certified.layer_steps(case)
        elif not word:
            yield self.subject(case, case.said["states"].array)
            yield certified.each_step(case)
            yield from certified.zeros(case)
        else:
            told = case.said["cell_states"]
            states, cell_states = told["h"].array, told["c"].array
            yield self.subject(case, cell_states)
            carried = certified.carried(case, case.said["states"].array)
            same = run.mask is None and certified.alike(states, carried)
            yield certified.each_step(case, cell_states=cell_states if same else None)


class LastState(OfState, frozen=True, kw_only=True):
    """Numbers (B,H): what `return_state = true` returns beside the output.

    of "c": the second of an LSTM's, its cell state.
    """

    def shape(self, run: Experiment) -> tuple[int, ...] | None:
        shape = super().shape(run)
        return None if shape is None else (shape[0], shape[2])

    def missing(self, run: Experiment) -> Iterator[str]:
        yield from super().missing(run)
        layer = run.recurrence_of(self.of)[0]
        if layer is run.layers[-1] and not layer.returns_state:
            yield "return_state = true in the layer"

    def asks(self, run: Experiment) -> set[str]:
        if self.is_alone(run):
            return {"last_state", "states", "weights"}
        return {"sequences", "outputs", "weights"}

    def is_alone(self, run: Experiment) -> bool:
        return self.is_first(run) and len(run.layers) == 1

    def index(self, run: Experiment) -> int:
        """Which of the states that its layer returns."""
        layer, part, word = run.recurrence_of(self.of)
        before = [state for _, each in layer.recurrences[:part] for state in each.states]
        return len(before) + bool(word)

    def spoils(self, run: Experiment) -> list[Path]:
        at = str(self.index(run))
        if not self.is_alone(run):
            return [("sequences", run.recurrence_of(self.of)[0].name, "last", at)]
        which = (at,) if len(run.rnn.states) > 1 else ()
        return [("last_state", *which), ("states",)]

    def true(self, truth: Truth) -> Bounded:
        return truth.last_state(self.of)

    def judge(self, case: Case) -> Iterator[Comparison]:
        yield self.author(case)
        run, at = case.claim, self.index(case.claim)
        if not self.is_alone(run):
            told = case.said["sequences"][run.recurrence_of(self.of)[0].name]["last"]
            yield self.subject(case, told[at].array)
            yield from certified.layer_steps(case)
            return
        told, cell = case.said["last_state"], None
        if len(run.rnn.states) > 1:
            told, cell = told[at], told[1].array
        yield self.subject(case, told.array)
        yield certified.each_step(case, cell_states=cell)


class Gate(OfAuthor, frozen=True, kw_only=True):
    """Numbers (B,T,H): a gate of an LSTM or GRU, by the letter that the author gives it.

    The author's word alone is judged: a framework does not show it.
    """

    def words(self, letters: Letters) -> Sequence[str]:
        return [each for each, gate in letters.authors.items() if gate != letters.candidate]

    def true(self, truth: Truth) -> Bounded:
        return truth.gate(self.of)


class Candidate(OfAuthor, frozen=True, kw_only=True):
    """Numbers (B,T,H): what the gates of an LSTM or GRU let into its state.

    The author's word alone is judged: a framework does not show it.
    """

    def missing(self, run: Experiment) -> Iterator[str]:
        yield from super().missing(run)
        layer, part, _ = run.recurrence_of(self.of)
        if not layer.recurrences[part][1].letters.authors:
            yield "a layer with gates"

    def true(self, truth: Truth) -> Bounded:
        return truth.gate(self.of)
