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
from rnn_check.claims.layers.signal import Bounded, Cotangent, Signal
from rnn_check.claims.written import Array
from rnn_check.numbers import bounded, formats
from rnn_check.recurrences import losses, penalties
from rnn_check.recurrences.rounding import added


def cotangent_of(
    claim: Experiment, states: Array, output: Array, arithmetic: str, loss_in: str = ""
) -> Cotangent:
    """dL/dh (B,T,H) and its error, from the states (B,T,H) and output that a subject computed.

    Before the first step that counts a subject may show zeros or the initial state: which of them
    the cotangents there belong to, `certify_gradients` reads from the states.
    """
    first, mask = claim.rnn, claim.processed_mask
    hidden = states if first.returns_sequences else states[:, -1]
    handed = Signal.exactly(hidden, mask if first.returns_sequences else None)
    rest = stack.passes(claim, arithmetic, after=handed)
    shown = Signal.exactly(output, (rest[-1].out if rest else handed).mask)
    cotangent = of_output(claim, shown, arithmetic, loss_in)
    if rest:
        cotangent = stack.back(claim, rest, cotangent)[claim.layers[1].name].x
    counts = mask if first.option("zero_output_for_mask") else None
    return first.shown_from(cotangent, counts, states.shape[1], zeros=True)


def of_output(claim: Experiment, output: Signal, arithmetic: str, loss_in: str = "") -> Cotangent:
    """dL/d of the output that was handed to the loss."""
    loss = claim.loss
    assert loss is not None
    if loss.kind == "cotangent":
        return loss.value.value, None
    clipped = None if from_logits(claim) else True
    to_loss, coarser = given_to_loss(output.bounded, arithmetic, loss_in)
    return _loss_gradient_of_kept(
        loss.kind, loss.value.value, *to_loss, output.mask, coarser, clipped
    )


def from_logits(claim: Experiment) -> bool:
    """Whether a framework may know the logits behind the output: those of a softmax."""
    last = claim.layers[-1]
    last = last.layer if isinstance(last, TimeDistributed) else last
    return getattr(last, "activation", None) in ("softmax", "callable softmax")


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
        return losses.running_loss(kind, target, prediction, error, **how)
    if not mask.any():
        return 0.0, 0.0
    loss, bound = losses.running_loss(kind, target[mask], prediction[mask], error[mask], **how)
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
        return losses.running_loss_gradient(kind, target, prediction, error, **how)
    gradient, bound = np.zeros_like(prediction), np.zeros_like(prediction)
    if mask.any():
        kept = (target[mask], prediction[mask], error[mask])
        found, off = losses.running_loss_gradient(kind, *kept, **how)
        more = formats.gamma(_MASKING, formats.arithmetic(arithmetic).u_stored)
        gradient[mask], bound[mask] = found, off + more * (np.abs(found) + off)
    return gradient, bound


def given_to_loss(output: Bounded, arithmetic: str, loss_in: str) -> tuple[Bounded, str]:
    """What a loss is computed from, and in which arithmetic: Keras casts an output to it first."""
    if not loss_in or loss_in == arithmetic:
        return output, arithmetic
    a = formats.arithmetic(loss_in)
    value, error = output
    return (value, error + a.u_stored * (np.abs(value) + error) + a.min_normal), loss_in


def regularization(claim: Experiment, returned: stack.Returned, arithmetic: str) -> Bounded:  # ()
    """Σ over the layers of l1·Σ|w| + l2·Σw², and the same, divided by the batch, of all that those
    return which have an activity_regularizer."""
    a = formats.arithmetic(arithmetic)
    terms = []
    with np.errstate(all="ignore"):
        for layer in claim.layers:
            for path, w in (claim.weights or {}).get(layer.name, {}).items():
                part = path.rpartition(".")[2].removesuffix("_kernel")
                given = described(getattr(layer.holder(path), f"{part}_regularizer", None))
                if given is not None:
                    one = bounded._given(w.value[None], w.error[None], a, True)
                    terms.append(penalties.regularizer(**given).loss(one))
            given = described(getattr(layer.inner, "activity_regularizer", None))
            if given is not None:
                for value, error in returned[layer.name]:
                    one = bounded.operand(value[None], error[None], a)
                    terms.append(penalties.regularizer(**given).loss(one, len(value)))
        total = bounded.exactly(np.zeros((1, 1)), a)
        for term in terms:
            total = added(total, term, len(terms))
    return total.value[0, 0], total.error[0, 0]


def penalized(
    claim: Experiment, loss: Bounded, returned: stack.Returned, arithmetic: str
) -> Bounded:
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
    (value, bound), (more, off) = loss, regularization(claim, returned, arithmetic)
    a, most = formats.arithmetic(arithmetic), np.abs(value) + bound + more + off
    u, roundings = max(a.u_stored, 2.0**-24) + 2.0**-53, len(claim.x.value) + 8
    return value + more, (bound + off + formats.gamma(roundings, u) * most) * formats.UP


def weighted_sum(cotangent: Array, output: Array, error: Array, arithmetic: str) -> Bounded:
    """L = Σ c·o: N products of numbers that are rounded first, summed in any order."""
    terms = np.abs(cotangent) * (np.abs(output) + error)
    a, n = formats.arithmetic(arithmetic), cotangent.size + 3
    rounded = (formats.gamma(n, a.u_stored) + formats.gamma(n, 2.0**-53)) * terms.sum()
    brought = (np.abs(cotangent) * error).sum() * formats.UP
    bound = brought + rounded + 2 * n * a.min_normal
    return np.asarray((cotangent * output).sum()), np.asarray(bound)
