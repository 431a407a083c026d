"""What does a layer compute: outputs, states, and does each step follow from the one before?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar, Literal

from rnn_check.certificates import public
from rnn_check.certificates.comparison import Comparison, bits, step
from rnn_check.claims import gates, stack, truth
from rnn_check.claims.expectations import training
from rnn_check.claims.expectations.case import Case, given
from rnn_check.claims.expectations.expectation import (
    LOSS,
    MSE,
    WEIGHTS,
    Holds,
    Layers,
    Path,
    X,
    axes,
)
from rnn_check.claims.expectations.numbers import Placed
from rnn_check.claims.experiment import Experiment
from rnn_check.claims.layers import LSTM, Gated
from rnn_check.claims.truth import GRADIENTS
from rnn_check.claims.written import Array
from rnn_check.subjects.policy import Policy


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
    """Numbers of a plain layer, step by step."""

    family: ClassVar[bool] = True
    layers: ClassVar[Layers] = "steps"
    needs = (X, WEIGHTS)

    def shape(self, run: Experiment) -> tuple[int, ...] | None:
        if run.x is None or not run.has_steps:
            return None
        return (*run.x.shape[:2], run.rnn.units)


class Preactivation(OfSteps, frozen=True, kw_only=True):
    """Numbers (B,T,H): what the activation is taken of.

    The author's word alone is judged: a framework does not show it.
    """

    layers = "plain"

    def asks(self, run: Experiment) -> set[str]:
        return set()

    def spoils(self, run: Experiment) -> list[Path]:
        return []

    def judge(self, case: Case) -> Iterator[Comparison]:
        yield self.author(case, "preactivation")


class OfState(OfSteps, frozen=True, kw_only=True):
    """Numbers of a state, of which an LSTM has two."""

    family: ClassVar[bool] = True
    of: Literal["", "c"] = ""

    def allowed(self, run: Experiment) -> list[str]:
        return ["", "c"] if isinstance(run.layers[0], LSTM) else [""]


class States(OfState, frozen=True, kw_only=True):
    """Numbers (B,T,H): the state after each step, in the order in which Keras returns it.

    of "c": an LSTM's cell state, as it is carried.
    """

    def asks(self, run: Experiment) -> set[str]:
        return {"states", "weights"} | ({"cell_states"} if self.of else set())

    def spoils(self, run: Experiment) -> list[Path]:
        return [("states",), *([("cell_states", "c")] if self.of else [])]

    def judge(self, case: Case) -> Iterator[Comparison]:
        name = "cell_states" if self.of else "states"
        yield self.author(case, name)
        if not self.of:
            yield self.subject(case, "states", case.said["states"].array)
            yield each_step(case)
            yield from zeros(case)
            return
        told = case.said["cell_states"]
        states, cell_states = told["h"].array, told["c"].array
        yield self.subject(case, name, cell_states)
        carried = _carried(case, case.said["states"].array)
        same = case.claim.mask is None and _alike(states, carried)
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
        if not run.rnn.option("return_state"):
            yield "return_state = true in the layer"

    def asks(self, run: Experiment) -> set[str]:
        return {"last_state", "states", "weights"}

    def spoils(self, run: Experiment) -> list[Path]:
        which = (str(int(bool(self.of))),) if isinstance(run.layers[0], LSTM) else ()
        return [("last_state", *which), ("states",)]

    def judge(self, case: Case) -> Iterator[Comparison]:
        name = "last_cell_state" if self.of else "last_state"
        yield self.author(case, name)
        told, cell = case.said["last_state"], None
        if isinstance(case.claim.rnn, LSTM):
            told, cell = told[int(bool(self.of))], told[1].array
        yield self.subject(case, name, told.array)
        yield each_step(case, cell_states=cell)


class Gate(OfSteps, frozen=True, kw_only=True):
    """Numbers (B,T,H): a gate of an LSTM or GRU, by the letter that the author gives it.

    The author's word alone is judged: a framework does not show it.
    """

    of: str

    def allowed(self, run: Experiment) -> list[str]:
        kind = run.rnn.family
        return [each for each, g in gates.LETTERS[kind].items() if g != gates.CANDIDATE[kind]]

    def asks(self, run: Experiment) -> set[str]:
        return set()

    def spoils(self, run: Experiment) -> list[Path]:
        return []

    def judge(self, case: Case) -> Iterator[Comparison]:
        assert self.computed_in is not None
        yield self.word(case, case.truth(self.computed_in).gate(self.of))


class Candidate(OfSteps, frozen=True, kw_only=True):
    """Numbers (B,T,H): what the gates of an LSTM or GRU let into its state.

    The author's word alone is judged: a framework does not show it.
    """

    def missing(self, run: Experiment) -> Iterator[str]:
        yield from super().missing(run)
        if not gates.LETTERS[run.rnn.family]:
            yield "an LSTM or a GRU"

    def asks(self, run: Experiment) -> set[str]:
        return set()

    def spoils(self, run: Experiment) -> list[Path]:
        return []

    def judge(self, case: Case) -> Iterator[Comparison]:
        assert self.computed_in is not None
        letter = gates.CANDIDATE[case.claim.rnn.family]
        yield self.word(case, case.truth(self.computed_in).gate(letter))


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
        yield self.author(case, "output")
        if case.claim.is_stack:
            yield self.subject(case, "output", list(case.said["outputs"]["layers"])[-1].array)
            yield from layer_steps(case)
            return
        yield self.subject(case, "output", case.said["output"].array)
        yield each_step(case)


class Loss(Placed, frozen=True, kw_only=True):
    """A number: the loss of [loss]; at an epoch as `fit` reports it, counted from 1."""

    layers = "any"
    needs = (X, WEIGHTS, LOSS)

    def underived(self, run: Experiment) -> str:
        return "" if self.at.epoch is None else training.underived(self.name, run)

    def missing(self, run: Experiment) -> Iterator[str]:
        yield from super().missing(run)
        if self.at.epoch is not None:
            yield from training.missing(run)
            epochs = run.training.epochs if run.training else 0
            if not (0 < abs(self.at.epoch) <= epochs):
                yield f"an epoch {self.at.epoch}: there are {epochs}, counted from 1,"
            if not MSE.there(run):
                yield MSE.what

    def unjudged(self, run: Experiment) -> str:
        return "" if self.at.epoch is None else training.unjudged(self.name, run)

    def unjudged_in(self, policy: Policy) -> str:
        return "" if self.at.epoch is None else training.unjudged_in(policy)

    def asks(self, run: Experiment) -> set[str]:
        return {"gradients" if self.at.epoch is None else "trained"}

    def spoils(self, run: Experiment) -> list[Path]:
        return [("gradients" if self.at.epoch is None else "trained", "loss")]

    def judge(self, case: Case) -> Iterator[Comparison]:
        """In the form that fits: a framework, and an author who prints its loss, take either."""
        assert self.computed_in is not None
        if (epoch := self.at.epoch) is not None:
            yield self.word(case, training.loss_of_epoch(case, epoch, self.computed_in))
            told = training.told_of_epoch(case, epoch)
            yield self.returned(case, told, training.loss_of_epoch(case, epoch, case.dtype))
            return
        observed = case.said["gradients"]["loss"].array
        yield _that_fits([self.word(case, f) for f in case.truth(self.computed_in).losses])
        forms = case.truth(case.dtype, case.policy.loss_in).losses
        yield _that_fits([self.returned(case, observed, form) for form in forms])


class Gradient(Placed, frozen=True, kw_only=True):
    """Numbers: the gradient of the loss with regard to a weight, the input or the state."""

    of: Literal[
        "x", "kernel", "recurrent_kernel", "bias", "initial_state", "dense.kernel", "dense.bias"
    ]

    layers = "gradients"
    needs = (X, WEIGHTS, LOSS)

    def allowed(self, run: Experiment) -> list[str]:
        none = set() if run.rnn.option("use_bias") else {"bias"}
        dense = ["dense.kernel", "dense.bias"] if run.dense is not None else []
        return [name for name in (*GRADIENTS, *dense) if name not in none]

    def shape(self, run: Experiment) -> tuple[int, ...] | None:
        if run.x is None or not run.has_gradients:
            return None
        batch, _, features = run.x.shape
        units, several = run.rnn.units, len(run.rnn.states)
        of_state = (*([several] if several > 1 else []), batch, units)
        shapes = {"x": run.x.shape, "initial_state": of_state, "bias": run.rnn.bias_shape}
        shapes |= run.rnn.weight_shapes(features)
        if run.dense is not None:
            of_dense = {"bias": (run.dense.units,), **run.dense.weight_shapes(units)}
            shapes |= {f"dense.{name}": shape for name, shape in of_dense.items()}
        return shapes.get(self.of)

    def asks(self, run: Experiment) -> set[str]:
        return {"gradients", "weights"} | ({"probe"} if run.loss is not None else set())

    def unjudged(self, run: Experiment) -> str:
        weights = self.of not in ("x", "initial_state")
        if weights and isinstance(run.rnn, Gated) and not run.gates.is_in_order:
            return f"the gradient of {self.of} is derived in Keras's order of gates only"
        return ""

    def gradients(self) -> list[str]:
        return [self.of]

    def spoils(self, run: Experiment) -> list[Path]:
        return [("gradients", self.of)]

    def judge(self, case: Case) -> Iterator[Comparison]:
        yield self.author(case, self.of)
        yield self.subject(case, self.of, case.said["gradients"][self.of].array)
        yield from gradient_steps(case, [self.of])


class Certified(Holds, frozen=True, kw_only=True):
    """Holds: each step follows from the one before, and with a [loss] each gradient from its
    adjoints. Nothing needs to be printed."""

    layers = "any"
    needs = (X, WEIGHTS)
    # the forward pass is certified without gradients all the same, and the verdict says so
    does_without = frozenset({"gradients", "probe"})
    not_in_older = frozenset({"gradients"})  # see `_only_probed`

    def gradients(self) -> None:
        return None

    def asks(self, run: Experiment) -> set[str]:
        gradients = {"gradients", "probe"} if _has_adjoints(run) else set()
        if run.is_stack:
            states = {"states"} if gradients else set()
            return {"outputs", "weights"} | gradients | states
        return {"output", "states", "weights"} | gradients

    def praise(self, case: Case) -> str:
        names = ", ".join(_only_probed(case))
        return f"; the gradients of {names} only as a model with a probe shows them" * bool(names)

    def spoils(self, run: Experiment) -> list[Path]:
        return [("outputs", "layers", "*")] if run.is_stack else [("output",), ("states",)]

    def judge(self, case: Case) -> Iterator[Comparison]:
        run = case.claim
        if run.is_stack:
            yield from layer_steps(case)
            if _has_adjoints(run):
                yield each_step(case)
                yield from gradient_steps(case, [])
                yield from _unprobed(case)
            return
        yield each_step(case)
        yield from zeros(case)
        output, states = case.said["output"].array, case.said["states"].array
        sequence = run.rnn.option("return_sequences")
        if run.dense is None and sequence:
            if not _alike(output, states):
                yield each_step(case, "output")
        elif run.dense is not None or not _alike(output, states[:, -1]):
            yield stack.bounded("output", output, case.truth(case.dtype)["output"], "subject")
        if _has_adjoints(run):
            yield from gradient_steps(case, [])
            yield from _unprobed(case)


def _has_adjoints(run: Experiment) -> bool:
    return run.loss is not None and run.has_gradients


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
    names = axes("states", "", 3)
    return step(name, found, names if found.residual.ndim == 3 else ("state", *names))


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


def _only_probed(case: Case) -> list[str]:
    """The gradients that are not judged of the model itself.

    An older rnn_check did not ask for them. Before the first step that counts either zeros or the
    initial state are shown, so that its gradient has no one truth.
    """
    if (
        not case.claim.has_gradients
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
                f"gradient of {name} without the probe", told, whole[name], "subject"
            )
    if "output" in probe and len(case.claim.layers) > 1:  # else it is the states
        shown = probe["output"].array
        if not _alike(shown, case.said["output"].array):
            yield stack.bounded("output with the probe", shown, whole["output"], "subject")


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
