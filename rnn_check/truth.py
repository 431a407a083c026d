"""What should an experiment's numbers be, and how far from them may an arithmetic end?

The float64 reference of a claim's experiment (layers, weights, input, loss), each array with its
rigorous running bound: for the arithmetic that the author computed in, and for the subject's.

Sizes: B batch, T timesteps, F features, H units, O units of the Dense layer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from rnn_check import reference, rounding, stack
from rnn_check.claim import GRADIENTS, GRU, LSTM, Bidirectional, Claim, activation_of, option
from rnn_check.written import Array

Bounded = tuple[Array, Array]  # a value and its bound, of one shape


@dataclass(frozen=True)
class Truth:
    """`truth["output"]` is (value, bound); derived when it is first asked for.

    computed_in: the arithmetic for which the bounds are asked ("real": none but the reference's
    own float64).  per_step: half a unit of the last digit that somebody who computes by hand
    carries from step to step.  loss_in: what a loss of Keras's is computed in, if that is coarser.
    """

    claim: Claim
    computed_in: str
    per_step: float = 0.0
    loss_in: str = ""

    def __getitem__(self, name: str) -> Bounded:
        if name in GRADIENTS or name.startswith("dense."):
            return self.gradients[name]
        found: Bounded = getattr(self, name)
        return found

    @property
    def arithmetic(self) -> str:
        return "exact" if self.computed_in == "real" else self.computed_in

    @cached_property
    def _layer(self) -> dict[str, Any]:
        """The recurrent layer as the running bounds take it."""
        claim = self.claim
        assert claim.x is not None and claim.weights is not None
        weights = claim.weights[claim.rnn.name]
        given = {"x": claim.x, **weights, "initial_state": claim.initial_state}
        return {
            **{name: None if g is None else g.value for name, g in given.items()},
            **claim.recurrence,
            "arithmetic": self.arithmetic,
            "errors": {name: g.error for name, g in given.items() if g is not None},
        }

    @cached_property
    def _running(self) -> rounding.Running:
        return rounding.running_bound(**self._layer, per_step=self.per_step)

    @property
    def preactivation(self) -> Bounded:  # (B,T,H)
        return self._running.z, self._running.z_bound

    @cached_property
    def states(self) -> Bounded:  # (B,T,H) as Keras returns the sequence
        zero = _shown_as_zero(self.claim)
        carried = self._running.states, self._running.bound
        if zero is None:
            return carried
        return np.where(zero, 0.0, carried[0]), np.where(zero, 0.0, carried[1])

    @property
    def last_state(self) -> Bounded:  # (B,H)
        return self._running.states[:, -1], self._running.bound[:, -1]

    @property
    def _hidden(self) -> Bounded:  # (B,T,H) or (B,H): what the recurrent layer outputs
        return self.states if option(self.claim.rnn, "return_sequences") else self._last_output

    @property
    def _last_output(self) -> Bounded:
        return self.states[0][:, -1], self.states[1][:, -1]

    @cached_property
    def _signals(self) -> list[stack.Signal]:  # what comes out of each layer of a stack
        return stack.run(self.claim, self.arithmetic)

    @cached_property
    def output(self) -> Bounded:
        if self.claim.is_stack:
            return self._signals[-1].value, self._signals[-1].error
        if self.claim.dense is None:
            return self._hidden
        return rounding.running_dense(*self._hidden, **dense_layer(self.claim, self.arithmetic))

    @property
    def _outputs(self) -> dict[str, Bounded]:
        """Each layer's own."""
        claim = self.claim
        if claim.is_stack:
            each = [(s.value, s.error) for s in stack.run(claim, self.arithmetic)]
        else:
            each = [self._hidden, self.output]
        return {layer.name: out for layer, out in zip(claim.layers, each, strict=False)}

    @cached_property
    def regularization(self) -> Bounded:  # ()
        return regularization(self.claim, self._outputs, self.arithmetic)

    @cached_property
    def loss(self) -> Bounded:  # ()
        loss = self.claim.loss
        assert loss is not None
        given = loss.value.value
        if loss.kind == "cotangent":
            return _weighted_sum(given, *self.output, self.arithmetic)
        output, arithmetic = given_to_loss(self.output, self.arithmetic, self.loss_in)
        found = rounding.running_loss(loss.kind, given, *output, arithmetic=arithmetic)
        return np.asarray(found[0]), np.asarray(found[1])

    @cached_property
    def gradients(self) -> dict[str, Bounded]:
        cotangent, error, of_dense = _backward_to_states(
            self.claim, self._hidden, self.output, self.arithmetic, self.loss_in
        )
        zero = _shown_as_zero(self.claim)
        if zero is not None:  # a zero that is shown instead of a state does not depend on it
            cotangent, error = _zeroed(zero, cotangent, error)
        found = rounding.running_gradients(
            **self._layer, cotangent=cotangent, cotangent_error=error
        )
        of_layer = {name: (getattr(found[0], name), getattr(found[1], name)) for name in GRADIENTS}
        return of_layer | of_dense

    def reach(self, what: str) -> Array | None:
        """How far from the truth what a comparison calls `what` may be at the end of all its steps.

        Of the states and outputs that are certified step by step, of each layer of a stack, and of
        gradients; None of anything else.
        """
        claim = self.claim
        if claim.x is None or claim.weights is None:
            return None
        if any(isinstance(layer, LSTM | GRU) for layer in claim.layers):
            return None  # their recurrence is not derived here
        if claim.is_stack:
            for layer, signal in zip(claim.layers, self._signals, strict=True):
                if what in (f"states of {layer.name}", f"output of {layer.name}"):
                    return signal.error
            return None
        name = what.removeprefix("gradient of ")
        has_loss = claim.loss is not None
        if name in ("states", "output", "last_state") or (has_loss and name in GRADIENTS):
            return self[name][1]
        return None


def cotangent_of(
    claim: Claim, states: Array, output: Array, arithmetic: str, loss_in: str = ""
) -> tuple[Array, Array | None]:
    """dL/dh (B,T,H) and its error, from the states (B,T,H) and output that a subject computed.

    Before the first step that counts a subject may show zeros or the initial state: which of them
    the cotangents there belong to, `certify_gradients` reads from the states.
    """
    states = states.astype(np.float64)
    hidden = states if option(claim.rnn, "return_sequences") else states[:, -1]
    exactly = np.zeros_like(hidden)
    observed = output.astype(np.float64)
    cotangent, error, _ = _backward_to_states(
        claim, (hidden, exactly), (observed, np.zeros_like(observed)), arithmetic, loss_in
    )
    mask = claim.processed_mask
    if mask is not None and option(claim.rnn, "zero_output_for_mask"):
        cotangent, error = _zeroed(~mask[:, :, None], cotangent, error)
    return cotangent, error


def _backward_to_states(
    claim: Claim, hidden: Bounded, output: Bounded, arithmetic: str, loss_in: str
) -> tuple[Array, Array | None, dict[str, Bounded]]:
    """(dL/dh, its error or None if it is given, the Dense layer's gradients)."""
    loss = claim.loss
    assert loss is not None
    assert claim.x is not None
    cotangent: Array = loss.value.value
    error: Array | None = None
    if loss.kind != "cotangent":
        to_loss, coarser = given_to_loss(output, arithmetic, loss_in)
        cotangent, error = rounding.running_loss_gradient(
            loss.kind, cotangent, *to_loss, arithmetic=coarser
        )
    of_dense: dict[str, Bounded] = {}
    if claim.dense is not None:
        given = np.zeros_like(cotangent) if error is None else error
        found = rounding.running_dense_gradients(
            cotangent, given, *hidden, **dense_layer(claim, arithmetic)
        )
        of_dense = {
            f"dense.{name}": (getattr(found[0], name), getattr(found[1], name))
            for name in ("kernel", "bias")
        }
        cotangent, error = found[0].h, found[1].h
    if not option(claim.rnn, "return_sequences"):
        timesteps = claim.x.shape[1]
        cotangent = at_the_end(cotangent, timesteps)
        error = None if error is None else at_the_end(error, timesteps)
    return cotangent, error, of_dense


def given_to_loss(output: Bounded, arithmetic: str, loss_in: str) -> tuple[Bounded, str]:
    """What a loss is computed from, and in which arithmetic: Keras casts an output to it first."""
    if not loss_in or loss_in == arithmetic:
        return output, arithmetic
    a = rounding.arithmetic(loss_in)
    value, error = output
    return (value, error + a.u_stored * (np.abs(value) + error) + a.min_normal), loss_in


def _zeroed(zero: Array, cotangent: Array, error: Array | None) -> tuple[Array, Array | None]:
    return np.where(zero, 0.0, cotangent), None if error is None else np.where(zero, 0.0, error)


def dense_layer(claim: Claim, arithmetic: str) -> dict[str, Any]:
    """The Dense layer as the running bounds take it."""
    assert claim.dense is not None and claim.weights is not None
    options = {"activation": activation_of(claim.dense), "arithmetic": arithmetic}
    given = claim.weights.get(claim.dense.name)
    if given is None:
        kernel, bias = dense_that_reaches(claim)
        return {"kernel": kernel, "bias": bias, **options}
    values = {name: g.value for name, g in given.items()}
    return {**values, "errors": {name: g.error for name, g in given.items()}, **options}


def dense_that_reaches(claim: Claim) -> Bounded:
    """Dense weights (H,O), (O,) of least norm with which the printed predictions come out."""
    assert claim.x is not None and claim.weights is not None
    weights: dict[str, Any] = {n: g.value for n, g in claim.weights[claim.rnn.name].items()}
    states = reference.forward(claim.x.value, **weights, **claim.recurrence)[0]  # (B,T,H)
    last = states[:, -1]
    augmented = np.concatenate([last, np.ones((len(last), 1))], axis=1)  # (B,H+1)
    predictions = claim.printed["predictions"].value.reshape(len(last), -1)  # (B,O)
    solution = np.linalg.lstsq(augmented, predictions, rcond=None)[0]
    return solution[:-1], solution[-1]


def _shown_as_zero(claim: Claim) -> Array | None:
    """(B,T,1) True where Keras shows a zero instead of the state, None without a mask."""
    mask = claim.processed_mask
    if mask is None:
        return None
    return stack.shown_as_zero(mask, option(claim.rnn, "zero_output_for_mask"))


def at_the_end(last: Array, timesteps: int) -> Array:
    """(B,T,H), zero but for the last step."""
    whole = np.zeros((len(last), timesteps, last.shape[-1]))
    whole[:, -1] = last
    return whole


def regularization(claim: Claim, outputs: Mapping[str, Bounded], arithmetic: str) -> Bounded:  # ()
    """Σ over the layers of l1·Σ|w| + l2·Σw², and of outputs the same divided by the batch."""
    terms, off = [np.zeros(0)], [np.zeros(0)]
    for layer in claim.layers:
        weights = (claim.weights or {}).get(layer.name, {})
        inner = layer.layer if isinstance(layer, Bidirectional) else layer
        for name in (*weights, "activity"):
            part = name.rpartition(".")[2].removesuffix("_kernel")
            given = getattr(inner, f"{part}_regularizer", None)
            if not isinstance(given, dict):
                continue
            if name == "activity":
                value, error = outputs[layer.name]
                share = 1 / len(value)
            else:
                value, error, share = weights[name].value, weights[name].error, 1.0
            l1, l2 = (float(given.get(key, 0)) * share for key in ("l1", "l2"))
            terms.append((l1 * np.abs(value) + l2 * value**2).ravel())
            off.append((l1 * error + l2 * error * (2 * np.abs(value) + error)).ravel())
    each, error = np.concatenate(terms), np.concatenate(off)
    a, n = rounding.arithmetic(arithmetic), each.size + 6
    rounded = (rounding.gamma(n, a.u_stored) + rounding.gamma(n, 2.0**-53)) * (each + error)
    bound = (rounded + error).sum() * (1 + 2.0**-40) + n * a.min_normal
    return np.asarray(each.sum()), np.asarray(bound)


def _weighted_sum(cotangent: Array, output: Array, error: Array, arithmetic: str) -> Bounded:
    """L = Σ c·o: N products of numbers that are rounded first, summed in any order."""
    terms = np.abs(cotangent) * (np.abs(output) + error)
    a, n = rounding.arithmetic(arithmetic), cotangent.size + 3
    rounded = (rounding.gamma(n, a.u_stored) + rounding.gamma(n, 2.0**-53)) * terms.sum()
    brought = (np.abs(cotangent) * error).sum() * (1 + 2.0**-40)
    bound = brought + rounded + 2 * n * a.min_normal
    return np.asarray((cotangent * output).sum()), np.asarray(bound)
