"""What should a claim's loss be, and its gradient where it was handed the output?

Of the steps that a mask keeps, clipped or not, computed in the arithmetic that Keras's losses take;
each with how far another's may be off. Sizes: B batch, T timesteps, H units.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from rnn_check.claims import stack
from rnn_check.claims.experiment import Experiment
from rnn_check.claims.layers import TimeDistributed
from rnn_check.claims.layers.layer import described
from rnn_check.claims.layers.signal import Signal
from rnn_check.claims.written import Array
from rnn_check.numbers import formats
from rnn_check.numbers.bounded import Bounded, _given, exactly, operand
from rnn_check.numbers.formats import Arithmetic
from rnn_check.recurrences import losses, penalties
from rnn_check.recurrences.rounding import added


def cotangent_of(
    claim: Experiment, states: Array, output: Array, arithmetic: str, loss_in: str = ""
) -> Bounded:
    """dL/dh (B,T,H) and its error, from the states (B,T,H) and output that a subject computed.

    Before the first step that counts a subject may show zeros or the initial state: which of them
    the cotangents there belong to, `certify_gradients` reads from the states.
    """
    first, mask, a = claim.rnn, claim.processed_mask, formats.arithmetic(arithmetic)
    hidden = states if first.returns_sequences else states[:, -1]
    handed = Signal.exactly(hidden, a, mask if first.returns_sequences else None)
    rest = stack.passes(claim, arithmetic, after=handed)
    shown = Signal.exactly(output, a, (rest[-1].out if rest else handed).mask)
    cotangent = of_output(claim, shown, loss_in)
    if rest:
        cotangent = stack.back(claim, rest, cotangent)[claim.layers[1].name].x
    counts = mask if first.option("zero_output_for_mask") else None
    return first.shown_from(cotangent, counts, states.shape[1], zeros=True)


def of_output(claim: Experiment, output: Signal, loss_in: str = "") -> Bounded:
    """dL/d of the output that was handed to the loss."""
    loss, a = claim.loss, output.number.a
    assert loss is not None
    if loss.kind == "cotangent":
        return _given(loss.value.value, 0.0, a, rounded=True)
    clipped = None if from_logits(claim) else True
    to_loss = given_to_loss(output.number, loss_in)
    found = _loss_gradient_of_kept(loss.kind, loss.value.value, to_loss, output.mask, clipped)
    return Bounded(found.value, found.error, a)


def from_logits(claim: Experiment) -> bool:
    """Whether a framework may know the logits behind the output: those of a softmax."""
    last = claim.layers[-1]
    last = last.layer if isinstance(last, TimeDistributed) else last
    return getattr(last, "activation", None) in ("softmax", "callable softmax")


def loss_of_kept(
    kind: str,
    target: Array,
    prediction: Bounded,
    mask: Array | None,
    clipped: bool | None = None,
) -> Bounded:  # ()
    """A loss over the steps that a mask (B,T) keeps.

    Where none is kept there is nothing to average, and it is 0.
    """
    a = prediction.a
    if mask is not None:
        if not mask.any():
            return exactly(np.zeros(()), a)
        target, prediction = target[mask], prediction.each(lambda part: part[mask])
    value, bound = losses.running_loss(kind, target, *prediction, arithmetic=a, clipped=clipped)
    found = Bounded(np.asarray(value), np.asarray(bound), a)
    return found if mask is None else found.off_by(_of_masking(a) * found.most)


def _loss_gradient_of_kept(
    kind: str, target: Array, prediction: Bounded, mask: Array | None, clipped: bool | None
) -> Bounded:
    """The same of its gradient, which is 0 at the steps that are not kept."""
    a = prediction.a
    how: dict[str, Any] = {"arithmetic": a, "clipped": clipped}
    if mask is None:
        return Bounded(*losses.running_loss_gradient(kind, target, *prediction, **how), a)
    gradient = exactly(np.zeros_like(prediction.value), a)
    if mask.any():
        kept = (part[mask] for part in prediction)
        found = Bounded(*losses.running_loss_gradient(kind, target[mask], *kept, **how), a)
        found = found.off_by(_of_masking(a) * found.most)
        gradient.value[mask], gradient.error[mask] = found
    return gradient


def _of_masking(a: Arithmetic) -> float:
    """Six roundings: Keras multiplies by mask·T/V (V of T steps kept) and divides by T."""
    return formats.gamma(6, a.u_stored)


def given_to_loss(output: Bounded, loss_in: str) -> Bounded:
    """What a loss is computed from: Keras casts an output to the loss's own arithmetic first."""
    a = formats.arithmetic(loss_in) if loss_in else output.a
    if a == output.a:
        return output
    cast = output.off_by(a.u_stored * output.most + a.min_normal)
    return Bounded(cast.value, cast.error, a)


def regularization(claim: Experiment, returned: stack.Returned, a: Arithmetic) -> Bounded:  # ()
    """Σ over the layers of l1·Σ|w| + l2·Σw², and the same, divided by the batch, of all that those
    return which have an activity_regularizer."""
    terms = []
    with np.errstate(all="ignore"):
        for layer in claim.layers:
            for path, w in (claim.weights or {}).get(layer.name, {}).items():
                part = path.rpartition(".")[2].removesuffix("_kernel")
                given = described(getattr(layer.holder(path), f"{part}_regularizer", None))
                if given is not None:
                    one = _given(w.value[None], w.error[None], a, True)
                    terms.append(penalties.regularizer(**given).loss(one))
            given = described(getattr(layer.inner, "activity_regularizer", None))
            if given is not None:
                for value, error in returned[layer.name]:
                    one = operand(value[None], error[None], a)
                    terms.append(penalties.regularizer(**given).loss(one, len(value)))
        total = exactly(np.zeros((1, 1)), a)
        for term in terms:
            total = added(total, term, len(terms))
    return total.at(0).at(0)


def penalized(claim: Experiment, loss: Bounded, returned: stack.Returned, a: Arithmetic) -> Bounded:
    """A loss over batches with what is added to that of each: of weights the same, whatever its
    size, and of outputs, of each sample its own.

    Their mean, over batches of one sample at least, is taken in float32.
    """
    parts = (
        getattr(holder, f"{part}_regularizer", None)
        for layer in claim.layers
        for _, holder, _ in layer.parts(1)
        for part in ("kernel", "recurrent", "bias", "activity")
    )
    if claim.x is None or all(described(each) is None for each in parts):
        return loss
    more = regularization(claim, returned, a)
    u, roundings = max(a.u_stored, 2.0**-24) + 2.0**-53, len(claim.x.value) + 8
    off = loss.error + more.error + formats.gamma(roundings, u) * (loss.most + more.most)
    return Bounded(loss.value + more.value, off * formats.UP, loss.a)


def weighted_sum(cotangent: Array, output: Bounded) -> Bounded:
    """L = Σ c·o: N products of numbers that are rounded first, summed in any order."""
    terms, a, n = np.abs(cotangent) * output.most, output.a, cotangent.size + 3
    rounded = (formats.gamma(n, a.u_stored) + formats.gamma(n, 2.0**-53)) * terms.sum()
    brought = (np.abs(cotangent) * output.error).sum() * formats.UP
    bound = brought + rounded + 2 * n * a.min_normal
    return Bounded(np.asarray((cotangent * output.value).sum()), np.asarray(bound), a)
