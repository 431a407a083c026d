"""Does each step follow from the one before, and each gradient from its adjoints?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rnn_check.certificates import public
from rnn_check.certificates.comparison import Comparison, bits, step
from rnn_check.claims import loss, stack
from rnn_check.claims.expectations.case import Case, given
from rnn_check.claims.expectations.expectation import (
    WEIGHTS,
    Holds,
    Path,
    X,
    axes,
)
from rnn_check.claims.experiment import Experiment
from rnn_check.claims.layers import Masking
from rnn_check.claims.written import Array
from rnn_check.numbers import formats
from rnn_check.numbers.bounded import where

GRADIENTS = ("x", "kernel", "recurrent_kernel", "bias", "initial_state")  # of the first layer


class Certified(Holds, frozen=True, kw_only=True):
    """Holds: each step follows from the one before, and with a [loss] each gradient from its
    adjoints. Nothing needs to be printed."""

    layers = "any"
    needs = (X, WEIGHTS)
    # the forward pass is certified without gradients all the same, and the verdict says so
    does_without = frozenset({"gradients", "probe"})
    not_in_older = frozenset({"gradients"})  # see `_only_probed`

    def gradients(self, run: Experiment) -> list[str]:
        names = dict.fromkeys(map(run.gradient_of, run.gradients))
        return [n for n in names if n == "initial_state" or not n.endswith(".initial_state")]

    def asks(self, run: Experiment) -> set[str]:
        asked = {"outputs", "weights"} if run.is_stack else {"output", "states", "weights"}
        asked |= {"gradients"} if run.loss is not None else set()
        return asked | ({"probe", "states"} if has_adjoints(run) else set())

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
            if has_adjoints(run):
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
            if not alike(output, states):
                yield each_step(case, "output")
        elif run.dense is not None or not alike(output, states[:, -1]):
            yield whole_output(case, output)
        if has_adjoints(run):
            yield from gradient_steps(case, [])
            yield from _unprobed(case)


def has_adjoints(run: Experiment) -> bool:
    return run.loss is not None and run.begins_recurrent


# --- the certificates -----------------------------------------------------------------------------


def layer_steps(case: Case) -> Iterator[Comparison]:
    """Each layer of a stack against what was observed of the one before it."""
    told = case.said["outputs"]
    run = case.claim
    outputs = []
    for index, said in enumerate(told["layers"]):
        shape = (len(case.x), *run.shape_after(index, case.x.shape[1:]))
        as_given = isinstance(run.layers[index], Masking) and not run.x_has_gradient
        outputs.append(said.shaped(shape, whole=as_given))
    states = [said.array for said in told["states"]]
    yield from given(
        lambda: list(stack.steps(run, case.weights, outputs, states, case.policy.layer))
    )


def whole_output(case: Case, got: Array) -> Comparison:
    """What is made of zeros, or of the state that it starts from, before the first step that
    counts."""
    run, truth, mask = case.claim, case.truth(case.dtype), case.claim.mask
    a = formats.arithmetic(case.dtype)
    zeros = stack.bounded("output", got, truth.output, "subject")
    if zeros.ok or mask is None or run.initial_state is None:
        return zeros
    shown, start = truth.passes[0].out, stack.starts(run, a)[0]
    if run.rnn.returns_sequences:
        start = start.each(lambda part: part[:, None])
    begun = where(stack.not_begun(run.rnn, mask), start, shown.number)
    signal = stack.Signal(begun, shown.mask)
    for layer in run.layers[1:]:
        signal = layer.passed(stack.Call(stack.weights_of(run, layer, a), signal)).out
    found = stack.bounded("output", got, signal.number, "subject")
    return found if found.ok else zeros


def each_step(
    case: Case,
    name: str = "states",
    shown: Array | None = None,
    cell_states: Array | None = None,
) -> Comparison:
    """Each state against the state before it; cell_states: all (B,T,H) or the last (B,H)."""
    states = carried(case, case.said[name].array if shown is None else shown)
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
    if "states" not in case.said or not alike(states, case.said["states"].array):
        yield each_step(case, "states with the probe", states)
    cotangent, error = given(
        loss.cotangent_of, case.claim, states, output, case.dtype, case.policy.loss_in
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
        states=carried(case, states),
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
        if seen and not (has_adjoints(run) and name in GRADIENTS):
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
        if not alike(told, probe[name].array):
            yield stack.bounded(
                f"gradient of {name} without the probe", told, whole.gradient(name), "subject"
            )
    if "output" in probe and len(case.claim.layers) > 1:  # else it is the states
        shown = probe["output"].array
        if not alike(shown, output(case)):
            yield stack.bounded("output with the probe", shown, whole.output, "subject")


def output(case: Case) -> Array:
    if case.claim.is_stack:
        return list(case.said["outputs"]["layers"])[-1].array
    return case.said["output"].array


def _states_shape(case: Case) -> tuple[int, ...]:
    return (*case.x.shape[:2], case.claim.rnn.units)


def carried(case: Case, states: Array) -> Array:
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


def alike(one: Array, other: Array) -> bool:
    return one.shape == other.shape and bool((bits(one) == bits(other)).all())
