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

from rnn_check.claims import gates, stack
from rnn_check.claims.experiment import Experiment
from rnn_check.claims.layers import Gated, TimeDistributed
from rnn_check.claims.written import Array
from rnn_check.numbers import formats
from rnn_check.recurrences import dense, gated, over_time, running
from rnn_check.recurrences import losses as recurrences_losses

GRADIENTS = ("x", "kernel", "recurrent_kernel", "bias", "initial_state")
Bounded = tuple[Array, Array]  # a value and its bound, of one shape


@dataclass(frozen=True)
class Truth:
    """`truth["output"]` is (value, bound); derived when it is first asked for.

    computed_in: the arithmetic for which the bounds are asked ("real": none but the reference's
    own float64; "hand": none either, but what is carried on is rounded first, see `_rounded`).
    loss_in: what a loss of Keras's is computed in, if that is coarser.
    """

    claim: Experiment
    computed_in: str
    loss_in: str = ""

    def __getitem__(self, name: str) -> Bounded:
        if name in GRADIENTS or name.startswith("dense."):
            return self.gradients[name]
        found: Bounded = getattr(self, name)
        return self._limited(name, found)

    def _limited(self, name: str, found: Bounded) -> Bounded:
        """Infinite where the bound spans all that the activation may give: no number exceeds it."""
        if name not in ("output", "states", "last_state"):
            return found
        layer = self.claim.layers[0 if name in ("states", "last_state") else -1]
        value, bound = found
        low, high = layer.reach
        return value, np.where(bound >= np.maximum(high - value, value - low), np.inf, bound)

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
    def _rounded(self) -> dict[str, Array]:
        return self.claim.rounded_by_hand() if self.computed_in == "hand" else {}

    @property
    def _by_hand(self) -> running.ByHand:
        rounded = self._rounded
        return running.ByHand(rounded.get("states", 0.0), rounded.get("preactivation", 0.0))

    @cached_property
    def _running(self) -> running.Running:
        return running.running_bound(**self._layer, by_hand=self._by_hand)

    @property
    def preactivation(self) -> Bounded:  # (B,T,H)
        return self._running.z, self._running.z_bound

    @cached_property
    def states(self) -> Bounded:  # (B,T,H) as Keras returns the sequence
        return self._as_shown(self._of_states[:2])

    @property
    def last_state(self) -> Bounded:  # (B,H)
        states, bound = self._of_states[:2]
        return states[:, -1], bound[:, -1]

    @property
    def _of_states(self) -> tuple[Array, Array, Array]:
        """The states, their bound, and their bound as the next step takes them."""
        if isinstance(self.claim.rnn, Gated):
            states, bound = self._gated.states["h"]
            return states, bound, bound
        return self._running.states, self._running.bound, self._running.carried

    @cached_property
    def _gated(self) -> gated.Running:
        """The states and gates of an LSTM or GRU, as they are carried."""
        claim, layer = self.claim, self.claim.rnn
        assert isinstance(layer, Gated) and claim.x is not None and claim.weights is not None
        own = {n: (g.value, g.error) for n, g in claim.weights[layer.name].items()}
        return layer.ran(
            own, stack.Signal(claim.x.value, claim.x.error, claim.mask),
            layer.option("go_backwards"), self.arithmetic, stack.starts(claim),
        )  # fmt: skip

    @property
    def cell_states(self) -> Bounded:  # (B,T,H) of an LSTM, as they are carried
        return self._gated.states["c"]

    @property
    def last_cell_state(self) -> Bounded:  # (B,H)
        value, bound = self.cell_states
        return value[:, -1], bound[:, -1]

    def gate(self, letter: str) -> Bounded:
        """(B,T,H): a gate as its author has it, or the candidate."""
        name, mirrored = gates.gate_of(self.claim.rnn.family, letter, self.claim.gates)
        value, bound = self._gated.gates[name]
        if mirrored:  # of which the author's arithmetic is that of the other
            value, bound = 1.0 - value, bound + 2.0**-53
        return value, bound

    def _as_shown(self, states: Bounded) -> Bounded:
        zero = shown_as_zero(self.claim)
        return (
            states
            if zero is None
            else (np.where(zero, 0.0, states[0]), np.where(zero, 0.0, states[1]))
        )

    def _returned(self, states: Bounded) -> Bounded:
        """(B,T,H) or (B,H): what the recurrent layer outputs."""
        if self.claim.rnn.option("return_sequences"):
            return states
        return states[0][:, -1], states[1][:, -1]

    @property
    def _hidden(self) -> Bounded:  # what the recurrent layer hands on
        return self._returned(self._as_shown((self._of_states[0], self._of_states[2])))

    @cached_property
    def _signals(self) -> list[stack.Signal]:  # what comes out of each layer of a stack
        return stack.run(self.claim, self.arithmetic, self._rounded.get("output"))

    @cached_property
    def output(self) -> Bounded:
        if self.claim.is_stack:
            return self._signals[-1].value, self._signals[-1].error
        if self.claim.dense is None:
            return self._returned(self.states)
        return dense.running_dense(*self._hidden, **dense_layer(self.claim, self.arithmetic))

    @property
    def _handed_on(self) -> Bounded:  # the output as a loss takes it
        if not self.claim.is_stack and self.claim.dense is None:
            return self._hidden
        return self.output[0], self.output[1] + self._rounded.get("output", 0.0)

    @property
    def _outputs(self) -> dict[str, Bounded]:
        """Each layer's own."""
        claim = self.claim
        if claim.is_stack:
            each = [(s.value, s.error) for s in self._signals]
        else:
            each = [self._hidden, self.output]
        return {layer.name: out for layer, out in zip(claim.layers, each, strict=False)}

    @cached_property
    def regularization(self) -> Bounded:  # ()
        return regularization(self.claim, self._outputs, self.arithmetic)

    @cached_property
    def losses(self) -> list[Bounded]:  # () each
        """The loss in each of the forms that frameworks give it.

        They are two where a cross-entropy follows a softmax and is clipped: from its logits
        TensorFlow computes one that is not.
        """
        loss = self.claim.loss
        assert loss is not None
        given = loss.value.value
        if loss.kind == "cotangent":
            return [_weighted_sum(given, *self._handed_on, self.arithmetic)]
        forms = [True, False] if _from_logits(self.claim) else [True]
        mask = self._signals[-1].mask if self.claim.is_stack else _mask_of_output(self.claim)
        output, arithmetic = given_to_loss(self._handed_on, self.arithmetic, self.loss_in)
        found = [
            loss_of_kept(loss.kind, given, *output, mask, arithmetic, clipped) for clipped in forms
        ]
        return [(np.asarray(value), np.asarray(bound)) for value, bound in dict.fromkeys(found)]

    @property
    def loss(self) -> Bounded:  # () in its usual form
        return self.losses[0]

    @cached_property
    def gradients(self) -> dict[str, Bounded]:
        cotangent, error, of_dense = _backward_to_states(
            self.claim,
            self._hidden,
            self._handed_on,
            self.arithmetic,
            self.loss_in,
            self._rounded.get("output"),
        )
        zero = shown_as_zero(self.claim)
        if zero is not None:  # a zero that is shown instead of a state does not depend on it
            cotangent, error = _zeroed(zero, cotangent, error)
        if isinstance(self.claim.rnn, Gated):
            return self._of_gated(cotangent, error)
        found = running.running_gradients(
            **self._layer, cotangent=cotangent, cotangent_error=error, by_hand=self._by_hand
        )
        of_layer = {name: (getattr(found[0], name), getattr(found[1], name)) for name in GRADIENTS}
        return of_layer | of_dense

    def _of_gated(self, cotangent: Array, error: Array | None) -> dict[str, Bounded]:
        claim, layer = self.claim, self.claim.rnn
        assert isinstance(layer, Gated) and claim.x is not None and claim.weights is not None
        given = {"x": claim.x, **claim.weights[layer.name]}
        start = stack.starts(claim)
        errors: dict[str, Any] = {name: g.error for name, g in given.items()}
        values: dict[str, Any] = {name: g.value for name, g in given.items()}
        if start:
            values["initial_state"] = tuple(value for value, _ in start)
            errors["initial_state"] = tuple(e for _, e in start)
        found = gated.running_gradients(
            layer.recurrence, **values, cotangents={"h": cotangent},
            cotangent_errors={} if error is None else {"h": error},
            activation=layer.function, recurrent_activation=layer.gate_function, mask=claim.mask,
            go_backwards=layer.option("go_backwards"), arithmetic=self.arithmetic, errors=errors,
        )  # fmt: skip
        both = [{name: getattr(part, name) for name in GRADIENTS} for part in found]
        for part in both:
            states = part["initial_state"]
            part["initial_state"] = np.stack(states) if len(states) > 1 else states[0]
        return {name: (both[0][name], both[1][name]) for name in GRADIENTS}

    def reach(self, what: str) -> Array | None:
        """How far from the truth what a comparison calls `what` may be at the end of all its steps.

        Of states and outputs that are certified step by step (as they are carried, whatever is
        shown of a step that the mask skips), of a stack and each of its layers, and of gradients;
        None of anything else.
        """
        claim = self.claim
        if claim.x is None or claim.weights is None:
            return None
        if claim.is_stack:
            if what == "output":
                return self.output[1]
            masks = [claim.mask, *(signal.mask for signal in self._signals)]
            for layer, signal, mask in zip(claim.layers, self._signals, masks, strict=False):
                if what == f"output of {layer.name}":
                    return signal.error
                if what == f"states of {layer.name}":
                    return layer.carried_error(signal, mask)
        if not claim.has_steps:
            return None
        name = what.removeprefix("gradient of ")
        alone = len(claim.layers) == 1
        sequence = alone and claim.rnn.option("return_sequences")
        if name == "states" or (name == "output" and sequence):
            return self._of_states[1]
        gradients = claim.loss is not None and claim.has_gradients
        if name in ("output", "last_state") or (gradients and name in GRADIENTS):
            return self[name][1]
        return None


def cotangent_of(
    claim: Experiment, states: Array, output: Array, arithmetic: str, loss_in: str = ""
) -> tuple[Array, Array | None]:
    """dL/dh (B,T,H) and its error, from the states (B,T,H) and output that a subject computed.

    Before the first step that counts a subject may show zeros or the initial state: which of them
    the cotangents there belong to, `certify_gradients` reads from the states.
    """
    states = states.astype(np.float64)
    hidden = states if claim.rnn.option("return_sequences") else states[:, -1]
    exactly = np.zeros_like(hidden)
    observed = output.astype(np.float64)
    cotangent, error, _ = _backward_to_states(
        claim, (hidden, exactly), (observed, np.zeros_like(observed)), arithmetic, loss_in
    )
    mask = claim.processed_mask
    if mask is not None and claim.rnn.option("zero_output_for_mask"):
        cotangent, error = _zeroed(~mask[:, :, None], cotangent, error)
    return cotangent, error


def _from_logits(claim: Experiment) -> bool:
    """Whether a framework may know the logits behind the output: those of a softmax."""
    last = claim.layers[-1]
    last = last.layer if isinstance(last, TimeDistributed) else last
    return getattr(last, "activation", None) in ("softmax", "callable softmax")


def _mask_of_output(claim: Experiment) -> Array | None:
    """(B,T) in processing order: what travels with the output of a SimpleRNN, and of its Dense."""
    return claim.processed_mask if claim.rnn.option("return_sequences") else None


_MASKING = 6  # roundings: Keras multiplies by mask·T/V (V of T steps kept) and divides by T


def loss_of_kept(
    kind: str,
    target: Array,
    prediction: Array,
    error: Array,
    mask: Array | None,
    arithmetic: str,
    clipped: bool | None = None,
) -> tuple[float, float]:
    """A loss over the steps that a mask (B,T) keeps, and how far another's may be off.

    Where none is kept there is nothing to average, and it is 0.
    """
    how: dict[str, Any] = {"arithmetic": arithmetic, "clipped": clipped}
    if mask is None:
        return recurrences_losses.running_loss(kind, target, prediction, error, **how)
    if not mask.any():
        return 0.0, 0.0
    loss, bound = recurrences_losses.running_loss(
        kind, target[mask], prediction[mask], error[mask], **how
    )
    more = formats.gamma(_MASKING, formats.arithmetic(arithmetic).u_stored)
    return loss, bound + more * (abs(loss) + bound)


def _loss_gradient_of_kept(
    kind: str,
    target: Array,
    prediction: Array,
    error: Array,
    mask: Array | None,
    arithmetic: str,
    clipped: bool | None,
) -> Bounded:
    """The same of its gradient, which is 0 at the steps that are not kept."""
    how: dict[str, Any] = {"arithmetic": arithmetic, "clipped": clipped}
    if mask is None:
        return recurrences_losses.running_loss_gradient(kind, target, prediction, error, **how)
    gradient, bound = np.zeros_like(prediction), np.zeros_like(prediction)
    if mask.any():
        kept = (target[mask], prediction[mask], error[mask])
        found, off = recurrences_losses.running_loss_gradient(kind, *kept, **how)
        more = formats.gamma(_MASKING, formats.arithmetic(arithmetic).u_stored)
        gradient[mask], bound[mask] = found, off + more * (np.abs(found) + off)
    return gradient, bound


def _backward_to_states(
    claim: Experiment,
    hidden: Bounded,
    output: Bounded,
    arithmetic: str,
    loss_in: str = "",
    output_rounded: Array | None = None,
) -> tuple[Array, Array | None, dict[str, Bounded]]:
    """(dL/dh, its error or None if it is given, the Dense layer's gradients)."""
    loss = claim.loss
    assert loss is not None
    assert claim.x is not None
    cotangent: Array = loss.value.value
    error: Array | None = None
    if loss.kind != "cotangent":
        clipped = None if _from_logits(claim) else True
        mask = _mask_of_output(claim)
        to_loss, coarser = given_to_loss(output, arithmetic, loss_in)
        cotangent, error = _loss_gradient_of_kept(
            loss.kind, cotangent, *to_loss, mask, coarser, clipped
        )
    of_dense: dict[str, Bounded] = {}
    if claim.dense is not None:
        given = np.zeros_like(cotangent) if error is None else error
        found = dense.running_dense_gradients(
            cotangent, given, *hidden, **dense_layer(claim, arithmetic),
            output_rounded=0.0 if output_rounded is None else output_rounded,
        )  # fmt: skip
        of_dense = {
            f"dense.{name}": (getattr(found[0], name), getattr(found[1], name))
            for name in ("kernel", "bias")
        }
        cotangent, error = found[0].h, found[1].h
    if not claim.rnn.option("return_sequences"):
        timesteps = claim.x.shape[1]
        cotangent = at_the_end(cotangent, timesteps)
        error = None if error is None else at_the_end(error, timesteps)
    return cotangent, error, of_dense


def given_to_loss(output: Bounded, arithmetic: str, loss_in: str) -> tuple[Bounded, str]:
    """What a loss is computed from, and in which arithmetic: Keras casts an output to it first."""
    if not loss_in or loss_in == arithmetic:
        return output, arithmetic
    a = formats.arithmetic(loss_in)
    value, error = output
    return (value, error + a.u_stored * (np.abs(value) + error) + a.min_normal), loss_in


def _zeroed(zero: Array, cotangent: Array, error: Array | None) -> tuple[Array, Array | None]:
    return np.where(zero, 0.0, cotangent), None if error is None else np.where(zero, 0.0, error)


def dense_layer(claim: Experiment, arithmetic: str) -> dict[str, Any]:
    """The Dense layer as the running bounds take it."""
    assert claim.dense is not None and claim.weights is not None
    options = {"activation": claim.dense.function, "arithmetic": arithmetic}
    given = claim.weights.get(claim.dense.name)
    if given is None:
        kernel, bias = dense_that_reaches(claim)
        return {"kernel": kernel, "bias": bias, **options}
    values = {name: g.value for name, g in given.items()}
    return {**values, "errors": {name: g.error for name, g in given.items()}, **options}


def dense_that_reaches(claim: Experiment) -> Bounded:
    """Dense weights (H,O), (O,) of least norm with which the printed predictions come out."""
    assert claim.x is not None and claim.weights is not None
    weights: dict[str, Any] = {n: g.value for n, g in claim.weights[claim.rnn.name].items()}
    states = over_time.forward(claim.x.value, **weights, **claim.recurrence)[0]  # (B,T,H)
    last = states[:, -1]
    augmented = np.concatenate([last, np.ones((len(last), 1))], axis=1)  # (B,H+1)
    predictions = claim.printed["predictions"].value.reshape(len(last), -1)  # (B,O)
    solution = np.linalg.lstsq(augmented, predictions, rcond=None)[0]
    return solution[:-1], solution[-1]


def shown_as_zero(claim: Experiment) -> Array | None:
    """(B,T,1) True where Keras shows a zero instead of the state, None without a mask."""
    mask = claim.processed_mask
    if mask is None:
        return None
    return stack.shown_as_zero(mask, claim.rnn.option("zero_output_for_mask"))


def at_the_end(last: Array, timesteps: int) -> Array:
    """(B,T,H), zero but for the last step."""
    whole = np.zeros((len(last), timesteps, last.shape[-1]))
    whole[:, -1] = last
    return whole


def regularization(
    claim: Experiment, outputs: Mapping[str, Bounded], arithmetic: str
) -> Bounded:  # ()
    """Σ over the layers of l1·Σ|w| + l2·Σw², and of outputs the same divided by the batch."""
    terms, off = [np.zeros(0)], [np.zeros(0)]
    for layer in claim.layers:
        weights = (claim.weights or {}).get(layer.name, {})
        for name in (*weights, "activity"):
            part = name.rpartition(".")[2].removesuffix("_kernel")
            given = getattr(layer.inner, f"{part}_regularizer", None)
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
    a, n = formats.arithmetic(arithmetic), each.size + 6
    rounded = (formats.gamma(n, a.u_stored) + formats.gamma(n, 2.0**-53)) * (each + error)
    bound = (rounded + error).sum() * (1 + 2.0**-40) + n * a.min_normal
    return np.asarray(each.sum()), np.asarray(bound)


def _weighted_sum(cotangent: Array, output: Array, error: Array, arithmetic: str) -> Bounded:
    """L = Σ c·o: N products of numbers that are rounded first, summed in any order."""
    terms = np.abs(cotangent) * (np.abs(output) + error)
    a, n = formats.arithmetic(arithmetic), cotangent.size + 3
    rounded = (formats.gamma(n, a.u_stored) + formats.gamma(n, 2.0**-53)) * terms.sum()
    brought = (np.abs(cotangent) * error).sum() * (1 + 2.0**-40)
    bound = brought + rounded + 2 * n * a.min_normal
    return np.asarray((cotangent * output).sum()), np.asarray(bound)
