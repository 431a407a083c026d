"""What does a layer compute: outputs, states, and does each step follow from the one before?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

from rnn_check.certificates import public
from rnn_check.certificates.comparison import Comparison, bits, step
from rnn_check.claims import gates, stack, truth
from rnn_check.claims.expectations import trained
from rnn_check.claims.expectations.case import Case, given
from rnn_check.claims.expectations.expectation import (
    ANY_LOSS,
    LOSS,
    MSE,
    WEIGHTS,
    Holds,
    Layers,
    Path,
    Reading,
    X,
    axes,
)
from rnn_check.claims.expectations.numbers import OfWeight, Placed
from rnn_check.claims.experiment import Experiment
from rnn_check.claims.gates import View
from rnn_check.claims.layers import LSTM, Carrying
from rnn_check.claims.layers.signal import Bounded
from rnn_check.claims.truth import Truth
from rnn_check.claims.written import Array
from rnn_check.subjects.policy import Policy

GRADIENTS = ("x", "kernel", "recurrent_kernel", "bias", "initial_state")  # of the first layer


class Input(Placed, frozen=True, kw_only=True):
    """Numbers: that `x`, or some of it, is what the author printed."""

    layers = "plain"
    needs = (X, WEIGHTS)

    def shape(self, run: Experiment) -> tuple[int, ...] | None:
        return None if run.x is None or run.is_stack else run.x.shape

    def asks(self, run: Experiment) -> set[str]:
        return set()

    def spoils(self, run: Experiment) -> list[Path]:
        return []

    def judge(self, case: Case) -> Iterator[Comparison]:
        x = case.claim.x
        assert x is not None
        yield self.word(case, (x.value, x.error))


class OfSteps(Placed, frozen=True, kw_only=True):
    """Numbers of a recurrence, step by step.

    of: its layer's name, of the first recurrent layer left out; and what of it.
    """

    family: ClassVar[bool] = True
    of: str = ""
    layers: ClassVar[Layers] = "any"
    needs = (X, WEIGHTS)

    def words(self, kind: gates.Kind) -> Sequence[str]:
        """What there is of a recurrence: a gate, the cell state; "" if it goes without a word."""
        return [""]

    def allowed(self, run: Experiment) -> list[str]:
        return [
            f"{path}.{word}".strip(".")
            for path, (layer, part) in run.recurrences.items()
            for word in self.words(layer.recurrences[part][1].family)
        ]

    def shape(self, run: Experiment) -> tuple[int, ...] | None:
        layer, part, _ = run.recurrence_of(self.of)
        return None if run.x is None else (*run.x.shape[:2], layer.recurrences[part][1].units)


class OfAuthor(OfSteps, frozen=True, kw_only=True):
    """Those that a framework does not show: the author's word alone is judged."""

    family: ClassVar[bool] = True

    def asks(self, run: Experiment) -> set[str]:
        return set()

    def spoils(self, run: Experiment) -> list[Path]:
        return []

    def judge(self, case: Case) -> Iterator[Comparison]:
        yield self.author(case)


class Preactivation(OfAuthor, frozen=True, kw_only=True):
    """Numbers (B,T,H): what the activation is taken of.

    of a gate, by the letter that the author gives it. The author's word alone is judged: a
    framework does not show it.
    """

    def words(self, kind: gates.Kind) -> Sequence[str]:
        return list(gates.LETTERS[kind]) or [""]

    def true(self, truth: Truth) -> Bounded:
        return truth.preactivation(self.of)


class OfState(OfSteps, frozen=True, kw_only=True):
    """Numbers of a state, of which an LSTM has two."""

    family: ClassVar[bool] = True

    def words(self, kind: gates.Kind) -> Sequence[str]:
        return ["", "c"] if kind == "LSTM" else [""]

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
                yield from layer_steps(case)
        elif not word:
            yield self.subject(case, case.said["states"].array)
            yield each_step(case)
            yield from zeros(case)
        else:
            told = case.said["cell_states"]
            states, cell_states = told["h"].array, told["c"].array
            yield self.subject(case, cell_states)
            carried = _carried(case, case.said["states"].array)
            same = run.mask is None and _alike(states, carried)
            yield each_step(case, cell_states=cell_states if same else None)


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
        which = (at,) if isinstance(run.layers[0], LSTM) else ()
        return [("last_state", *which), ("states",)]

    def true(self, truth: Truth) -> Bounded:
        return truth.last_state(self.of)

    def judge(self, case: Case) -> Iterator[Comparison]:
        yield self.author(case)
        run, at = case.claim, self.index(case.claim)
        if not self.is_alone(run):
            told = case.said["sequences"][run.recurrence_of(self.of)[0].name]["last"]
            yield self.subject(case, told[at].array)
            yield from layer_steps(case)
            return
        told, cell = case.said["last_state"], None
        if isinstance(run.rnn, LSTM):
            told, cell = told[at], told[1].array
        yield self.subject(case, told.array)
        yield each_step(case, cell_states=cell)


class Gate(OfAuthor, frozen=True, kw_only=True):
    """Numbers (B,T,H): a gate of an LSTM or GRU, by the letter that the author gives it.

    The author's word alone is judged: a framework does not show it.
    """

    def words(self, kind: gates.Kind) -> Sequence[str]:
        return [each for each, g in gates.LETTERS[kind].items() if g != gates.CANDIDATE[kind]]

    def true(self, truth: Truth) -> Bounded:
        return truth.gate(self.of)


class Candidate(OfAuthor, frozen=True, kw_only=True):
    """Numbers (B,T,H): what the gates of an LSTM or GRU let into its state.

    The author's word alone is judged: a framework does not show it.
    """

    def missing(self, run: Experiment) -> Iterator[str]:
        yield from super().missing(run)
        layer, part, _ = run.recurrence_of(self.of)
        if not gates.LETTERS[layer.recurrences[part][1].family]:
            yield "an LSTM or a GRU"

    def true(self, truth: Truth) -> Bounded:
        return truth.gate(self.of)


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
        yield self.subject(case, _output(case))
        if case.claim.is_stack:
            yield from layer_steps(case)
        else:
            yield each_step(case)

    def true(self, truth: Truth) -> Bounded:
        return truth.output


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

    def judge(self, case: Case) -> Iterator[Comparison]:
        """In the form that fits: a framework, and an author who prints its loss, take either."""
        assert self.computed_in is not None
        if (epoch := self.at.epoch) is not None:
            yield self.word(case, trained.loss_of_epoch(case, epoch, self.computed_in))
            told = trained.told_of_epoch(case, epoch)
            yield self.returned(case, told, trained.loss_of_epoch(case, epoch, case.dtype))
            return
        observed = case.said["gradients"]["loss"].array
        yield _that_fits([self.word(case, f) for f in case.truth(self.computed_in).losses])
        forms = case.truth(case.dtype, case.policy.loss_in).losses
        yield _that_fits([self.returned(case, observed, form) for form in forms])


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
        return run.gates.of_states(View.whole(path, shape, False), len(layer.recurrences))

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
        seen = {*self.gradients(run)} <= {*GRADIENTS}
        return _has_adjoints(run) and (seen or not run.is_stack)

    def gradients(self, run: Experiment) -> list[str]:
        return [run.gradient_of(name) for name in self.view(run).sources]

    def spoils(self, run: Experiment) -> list[Path]:
        return [("gradients", name) for name in self.gradients(run) if run.loss is not None]

    def true(self, truth: Truth) -> Bounded:
        return self.as_written(truth.claim, truth.gradient)

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
            yield from gradient_steps(case, self.gradients(run))


class Certified(Holds, frozen=True, kw_only=True):
    """Holds: each step follows from the one before, and with a [loss] each gradient from its
    adjoints. Nothing needs to be printed."""

    layers = "any"
    needs = (X, WEIGHTS)
    # the forward pass is certified without gradients all the same, and the verdict says so
    does_without = frozenset({"gradients", "probe"})
    not_in_older = frozenset({"gradients"})  # see `_only_probed`

    def gradients(self, run: Experiment) -> None:
        return None

    def asks(self, run: Experiment) -> set[str]:
        asked = {"outputs", "weights"} if run.is_stack else {"output", "states", "weights"}
        asked |= {"gradients"} if run.loss is not None else set()
        return asked | ({"probe", "states"} if _has_adjoints(run) else set())

    def praise(self, case: Case) -> str:
        names = ", ".join(_only_probed(case))
        return f"; the gradients of {names} only as a model with a probe shows them" * bool(names)

    def spoils(self, run: Experiment) -> list[Path]:
        if not run.is_stack:
            return [("output",), ("states",)]
        gradients = _bounded(run) if run.loss is not None else []
        return [("outputs", "layers", "*"), *(("gradients", name) for name in gradients)]

    def judge(self, case: Case) -> Iterator[Comparison]:
        run = case.claim
        if run.is_stack:
            yield from layer_steps(case)
            if _has_adjoints(run):
                yield each_step(case)
                yield from gradient_steps(case, [])
                yield from _unprobed(case)
            if run.loss is not None and "gradients" in case.said:  # which an older record lacks
                told = case.said["gradients"]
                whole = case.truth(case.dtype, case.policy.loss_in)
                for name in _bounded(run) if "unsupported" not in told else ():
                    what, true = f"gradient of {name}", whole.gradient(name)
                    yield stack.bounded(what, told[name].array, true, "subject")
            return
        yield each_step(case)
        yield from zeros(case)
        output, states = case.said["output"].array, case.said["states"].array
        sequence = run.rnn.option("return_sequences")
        if run.dense is None and sequence:
            if not _alike(output, states):
                yield each_step(case, "output")
        elif run.dense is not None or not _alike(output, states[:, -1]):
            yield stack.bounded("output", output, case.truth(case.dtype).output, "subject")
        if _has_adjoints(run):
            yield from gradient_steps(case, [])
            yield from _unprobed(case)


def _has_adjoints(run: Experiment) -> bool:
    return run.loss is not None and run.begins_recurrent


# --- the certificates -----------------------------------------------------------------------------


def layer_steps(case: Case) -> Iterator[Comparison]:
    """Each layer of a stack against what was observed of the one before it."""
    told = case.said["outputs"]
    run = case.claim
    outputs = []
    for index, said in enumerate(told["layers"]):
        shape = run.shape_after(index, case.x.shape[1:])
        outputs.append(said.shaped((len(case.x), *shape)))
    states = [said.array for said in told["states"]]
    yield from given(
        lambda: list(stack.steps(run, case.weights, outputs, states, case.policy.layer))
    )


def each_step(
    case: Case,
    name: str = "states",
    shown: Array | None = None,
    cell_states: Array | None = None,
) -> Comparison:
    """Each state against the state before it; cell_states: all (B,T,H) or the last (B,H)."""
    states = _carried(case, case.said[name].array if shown is None else shown)
    seen = {} if cell_states is None else {"cell_states": cell_states}
    found = given(public.certify, states, dtype=case.dtype, **ran_on(case), **seen)
    return step(name, found, axes("states", "", 3))


def zeros(case: Case) -> Iterator[Comparison]:
    """What zero_output_for_mask promises."""
    mask = case.claim.processed_mask
    if mask is not None and case.claim.rnn.option("zero_output_for_mask"):
        yield stack.zeros(case.said["states"].array, mask)


def gradient_steps(case: Case, of: list[str]) -> Iterator[Comparison]:
    """Each adjoint against the one after it, then the gradients named (all if none is)."""
    probe = case.said["probe"]
    if "unsupported" in probe:
        return  # a backend without gradients
    told = probe.arrays()
    states, output = probe["states"].shaped(_states_shape(case)), probe["output"].array
    if "states" not in case.said or not _alike(states, case.said["states"].array):
        yield each_step(case, "states with the probe", states)
    cotangent, error = given(
        truth.cotangent_of, case.claim, states, output, case.dtype, case.policy.loss_in
    )
    observed = {k: v for k, v in told.items() if k in ("delta", *GRADIENTS)}
    start = observed.get("initial_state")
    if start is not None and start.ndim == 3:
        observed["initial_state"], observed["initial_cell_state"] = start
    found = given(
        public.certify_gradients,
        observed,
        cotangent=cotangent,
        cotangent_error=error,
        states=_carried(case, states),
        dtype=case.dtype,
        **ran_on(case),
    )
    for name, result in found.items():
        if not of or name.replace("cell_", "") in ("delta", *of):
            names = axes("gradient", name, result.residual.ndim)
            yield step(f"gradient of {name}" if name != "delta" else name, result, names)


def _bounded(run: Experiment) -> list[str]:
    """The gradients of a stack that are not certified step by step, but bounded as a whole.

    Not those of weights that are frozen, nor of a state that a mask may hide, see `_only_probed`.
    """
    found = []
    for name in dict.fromkeys(map(run.gradient_of, run.gradients)) if run.is_stack else ():
        layer, path = run.gradients[name]
        seen = path == "x" or layer.is_trainable
        if path == "initial_state":  # what comes before may make a mask
            seen = run.mask is None and layer is run.layers[0]
        if seen and not (_has_adjoints(run) and name in GRADIENTS):
            found.append(name)
    return found


def _only_probed(case: Case) -> list[str]:
    """The gradients that are not judged of the model itself.

    An older rnn_check did not ask for them. Before the first step that counts either zeros or the
    initial state are shown, so that its gradient has no one truth.
    """
    if (
        not case.claim.begins_recurrent
        or "probe" not in case.said
        or "unsupported" in case.said["probe"]
    ):
        return []
    probe = case.said["probe"]
    told = [n for n in GRADIENTS if "gradients" in case.said and n in case.said["gradients"]]
    mask = case.claim.processed_mask
    untold = [name for name in GRADIENTS if name in probe and name not in told]
    if mask is not None and not mask[:, 0].all() and "initial_state" in told:
        untold.append("initial_state")
    return untold


def _unprobed(case: Case) -> Iterator[Comparison]:
    """What the model computes without the probe: the same bits, or within the running bound.

    The probe has more features than the model. A layer that tells them apart could be right with it
    and wrong without.
    """
    probe, whole = case.said["probe"], case.truth(case.dtype, case.policy.loss_in)
    names = [name for name in GRADIENTS if name in probe and name not in _only_probed(case)]
    for name in names:
        told = case.said["gradients"][name].array
        if not _alike(told, probe[name].array):
            yield stack.bounded(
                f"gradient of {name} without the probe", told, whole.gradient(name), "subject"
            )
    if "output" in probe and len(case.claim.layers) > 1:  # else it is the states
        shown = probe["output"].array
        if not _alike(shown, _output(case)):
            yield stack.bounded("output with the probe", shown, whole.output, "subject")


def _output(case: Case) -> Array:
    if case.claim.is_stack:
        return list(case.said["outputs"]["layers"])[-1].array
    return case.said["output"].array


def _states_shape(case: Case) -> tuple[int, ...]:
    return (*case.x.shape[:2], case.claim.rnn.units)


def _carried(case: Case, states: Array) -> Array:
    """The states as they were carried, where `zero_output_for_mask` shows zeros instead."""
    mask = case.claim.processed_mask
    if mask is None or not case.claim.rnn.option("zero_output_for_mask"):
        return states
    return given(stack.carried, states, mask)


def ran_on(case: Case) -> dict[str, Any]:
    """What the subject ran on: the input rounded as it was, the weights as they read back."""
    run = case.claim
    state = run.initial_state
    return {
        "x": case.x,
        "bias": None,
        **case.weights[run.rnn.name],
        "initial_state": None if state is None else _states(state.value),
        **run.recurrence,
    }


def _states(start: Array) -> Any:
    """One array, or a pair of them where there are two states."""
    return start if start.ndim == 2 else tuple(start)


def _that_fits(forms: list[Comparison]) -> Comparison:
    """The first that holds; else the first that says nothing; else the first, which differs."""
    held = [form for form in forms if form.ok and not form.says_nothing]
    silent = [form for form in forms if form.says_nothing]
    return (held or silent or forms)[0]


def _alike(one: Array, other: Array) -> bool:
    return one.shape == other.shape and bool((bits(one) == bits(other)).all())
