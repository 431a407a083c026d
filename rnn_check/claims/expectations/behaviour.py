"""What does a layer do across calls, at any shape, and cell by cell?

Most comparisons are of bits: a layer that is reset runs the same code on the same numbers.

Sizes: B samples, T timesteps, F features, H units.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

import numpy as np

from rnn_check.certificates import public
from rnn_check.certificates.comparison import Comparison, step
from rnn_check.claims import stack
from rnn_check.claims.expectations import certified
from rnn_check.claims.expectations.bitwise import SEQUENCE, same
from rnn_check.claims.expectations.case import Case, Said, given
from rnn_check.claims.expectations.expectation import WEIGHTS, Holds, Path, X
from rnn_check.claims.experiment import Experiment
from rnn_check.claims.layers import RNN, Carrying
from rnn_check.claims.layers.layer import Layer
from rnn_check.claims.written import Array
from rnn_check.numbers import formats
from rnn_check.numbers.bounded import exactly


class Stateful(Holds, frozen=True, kw_only=True):
    """Holds: the state is carried from call to call, and reset_state ends that.

    The layer is made stateful for it.
    """

    of: Literal["call", "predict", "fit", "evaluate"]

    layers = "any"
    needs = (X, WEIGHTS)
    questions = ("stateful", "weights")

    def tells(self) -> dict[str, Any]:
        return {"through": self.of}

    def spoils(self, run: Experiment) -> list[Path]:
        shown = [("stateful", "runs", "*")] if self.of in ("call", "predict") else []
        return [("stateful", "states", "*"), *shown]

    def judge(self, case: Case) -> Iterator[Comparison]:
        """The second run starts where the first ended; after a reset everything is as at first.

        Where the claim gives an initial state, every run is given it, and starts there. A sequence
        of a SimpleRNN alone is certified step by step; the state that other layers end with, or
        that is all that there is to see (fit, evaluate), is held against the running bound of the
        whole run. What fit makes of weights that are none any more is not judged.
        """
        told, run = case.said["stateful"], case.claim
        a = formats.arithmetic(case.dtype)
        signal = stack.Signal.exactly(case.x, a, run.mask)
        at = next(i for i, layer in enumerate(run.layers) if layer.is_recurrent)
        for before in run.layers[:at]:
            own = stack.exactly(case.weights.get(before.name, {}), a)
            signal = before.passed(stack.Call(own, signal)).out
        layer = run.layers[at]
        assert isinstance(layer, Carrying)
        shapes = [(len(case.x), units) for units in layer.state_sizes]
        *ends, reset = (told["states"][i].states(*shapes) for i in range(4))
        weights = stack.exactly(case.weights[layer.name], a)
        for state in reset:
            yield same("the state after a reset", state, np.zeros_like(state))
        zeros = [np.zeros_like(s) for s in reset]
        starts = (zeros, ends[0], zeros)
        if run.initial_state is not None:
            starts = ([start.value for start in stack.starts(run, a)],) * 3
        runs = [None if told["runs"][i].is_none else told["runs"][i].array for i in range(3)]
        for name, start, shown, left in zip(
            ("first", "second", "third"), starts, runs, ends, strict=True
        ):
            started = [exactly(s, a) for s in start]
            if shown is not None and not run.is_stack:
                yield _sequence(case, f"states of the {name} run", shown, start[0])
                yield same(f"the state after the {name} run", left[0], _last(run, shown, start[0]))
                continue
            call = stack.Call(weights, signal, started)
            for (part, ended), got in zip(layer.ends(call).items(), left, strict=True):
                if name != "first" and _overflowed(told, run):
                    ended = ended.off_by(np.full_like(ended.value, np.inf))
                yield stack.bounded(f"the {part} after the {name} run", got, ended, "subject")
            if shown is not None:
                what, whole = f"output of the {name} run", layer.returning_sequences()
                yield returned(what, shown, whole, call)
        if runs[0] is not None and runs[2] is not None:
            yield same("the run after a reset", runs[2], runs[0])


def _overflowed(told: Said, run: Experiment) -> bool:
    """Whether a gradient of fit did, of which a learning rate of 0 makes NaN: in the layer, or in
    the Embedding before it."""
    if "weights" not in told:
        return False
    of_layers = (told["weights"][e.name].arrays() for e in run.layers if e.name in told["weights"])
    return any(np.isnan(weight).any() for weights in of_layers for weight in weights.values())


def whole_output(
    case: Case,
    what: str,
    got: Array,
    weights: Mapping[str, Mapping[str, Array]] | None = None,
) -> Comparison:
    """What a model of all layers puts out, of x; weights: if they are not those of the subject."""
    run, weights = case.claim, case.weights if weights is None else weights
    a = formats.arithmetic(case.dtype)
    signal, starts = stack.Signal.exactly(case.x, a, run.mask), stack.starts(run, a)
    for layer in run.layers:
        own = stack.exactly(weights.get(layer.name, {}), a)
        call = stack.Call(own, signal, starts if layer.is_recurrent else [])
        signal, starts = layer.passed(call).out, [] if layer.is_recurrent else starts
    return returned(what, got, run.layers[-1], call)


def returned(what: str, got: Array, layer: Layer, call: stack.Call) -> Comparison:
    """What is observed of a layer against what it should hand on."""
    return layer.shows(what, got, call, "subject")


def _sequence(case: Case, what: str, states: Array, start: Array) -> Comparison:
    told = {**certified.ran_on(case), "initial_state": start}
    states = certified.carried(case, states)
    found = given(public.certify, states, dtype=case.policy.layer, **told)
    return step(what, found, SEQUENCE)


def _last(run: Experiment, states: Array, start: Array) -> Array:
    """The state that is left after a run: of the last step that counted, or the one before it."""
    mask = run.processed_mask
    if mask is None:
        return states[:, -1]
    last = mask.shape[1] - 1 - np.argmax(mask[:, ::-1], axis=1)
    ran = np.asarray(mask.any(axis=1, keepdims=True))
    return np.where(ran, states[np.arange(len(states)), last], start)


class AnyShape(Holds, frozen=True, kw_only=True):
    """Holds: a model of unknown batch and timesteps computes the same."""

    layers = "any"
    needs = (X, WEIGHTS)
    questions = ("dynamic", "weights")

    def spoils(self, run: Experiment) -> list[Path]:
        return [("dynamic", "outputs", "*")]

    def judge(self, case: Case) -> Iterator[Comparison]:
        """One model for every batch and length: all of x, one sample, one step, half the steps."""
        x, run, a = case.x, case.claim, formats.arithmetic(case.dtype)
        half = x.shape[1] // 2 + 1
        cuts = {"x": x, "x[:1]": x[:1], "x[:, :1]": x[:, :1], f"x[:, :{half}]": x[:, :half]}
        outputs = case.said["dynamic"]["outputs"]
        for index, (what, part) in enumerate(cuts.items()):
            mask = None if run.mask is None else run.mask[: part.shape[0], : part.shape[1]]
            signal = stack.Signal.exactly(part, a, mask)
            start = [s.at(slice(len(part))) for s in stack.starts(run, a)]
            for layer in run.layers:
                own = stack.exactly(case.weights.get(layer.name, {}), a)
                call = stack.Call(own, signal, start)
                if layer is run.layers[-1]:
                    yield returned(f"output of {what}", outputs[index].array, layer, call)
                    break
                signal, start = layer.passed(call).out, [] if layer.is_recurrent else start


class Cell(Holds, frozen=True, kw_only=True):
    """Holds: a cell called by itself takes a step.

    Needs an RNN over one cell and an initial state.
    """

    layers = "any"
    needs = (X, WEIGHTS)
    questions = ("cell", "weights")

    def missing(self, run: Experiment) -> Iterator[str]:
        yield from super().missing(run)
        layer = run.layers[0]
        if not (isinstance(layer, RNN) and len(layer.cells) == len(run.layers) == 1):
            yield "an RNN over one cell"
        if run.initial_state is None:
            yield "input.initial_state"

    def spoils(self, run: Experiment) -> list[Path]:
        return [("cell", "*")]

    def judge(self, case: Case) -> Iterator[Comparison]:
        """A cell called by itself, step by step, each from the state that it returned before.

        Its output is its first state, bit for bit, and each follows from the one before.
        """
        told = case.said["cell"]
        layer = case.claim.layers[0]
        assert isinstance(layer, RNN) and case.claim.initial_state is not None
        ((prefix, cell),) = layer.recurrences
        own = case.weights[layer.name].items()
        weights: dict[str, Any] = {name.removeprefix(prefix): w for name, w in own}
        start: Any = case.claim.initial_state.value
        outputs = told["outputs"].array
        each = told["states"].states(*[outputs.shape for _ in cell.states])
        seen = {"cell_states": each[1]} if len(each) > 1 else {}
        found = given(
            public.certify, outputs, x=case.x, **{"bias": None, **weights}, **cell.definition,
            initial_state=start if start.ndim == 2 else tuple(start), dtype=case.dtype, **seen,
        )  # fmt: skip
        yield step("outputs of the cell", found, SEQUENCE)
        yield same("the state beside the output", each[0], outputs)
