"""What does each layer of a stack make of what the one before hands on?

Layer by layer: a value, how far an arithmetic may be from it, and the mask that travels with it.
A mask belongs to the steps of what it travels with: a layer that returns its sequence reversed
hands the mask on reversed.

Sizes: B samples, T timesteps, F features, H units. Weights go by path, as `Part.weight_shapes`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rnn_check.certificates import public
from rnn_check.certificates.comparison import Comparison, equal, no_bound, step
from rnn_check.claims.experiment import Experiment
from rnn_check.claims.layers import (
    RNN,
    AnyLayer,
    Bidirectional,
    Dense,
    Embedding,
    Masking,
    Recurrence,
    SimpleRNN,
    TimeDistributed,
)
from rnn_check.claims.written import Array
from rnn_check.numbers import formats
from rnn_check.recurrences import dense as recurrences_dense
from rnn_check.recurrences import running

Bounded = tuple[Array, Array]  # a value and its bound, of one shape
Weights = Mapping[str, Bounded]


@dataclass(frozen=True)
class Signal:
    """What one layer hands to the next."""

    value: Array  # (B,T,F), (B,F), or (B,T) of indices
    error: Array  # of the same shape
    mask: Array | None = None  # (B,T)

    @classmethod
    def exactly(cls, value: Array, mask: Array | None = None) -> Signal:
        wide = np.asarray(value).astype(np.float64)
        return cls(wide, np.zeros_like(wide), mask)


def through(
    layer: AnyLayer,
    weights: Weights,
    given: Signal,
    arithmetic: str,
    starts: Sequence[Bounded] = (),
    by_hand: Array | None = None,
) -> Signal:
    """What the layer makes of it, in float64, and how far the arithmetic may be from that.

    starts: the initial state of each of its parts (see `Part.parts`); zeros if there is none.
    by_hand: to what its output is rounded by hand, half units in the output's shape.
    """
    if isinstance(layer, Masking):
        mask = (given.value != float(layer.mask_value)).any(axis=-1)
        shown = mask[..., None]
        return Signal(given.value * shown, given.error * shown, mask)
    if isinstance(layer, Embedding):
        rows = given.value.astype(np.int64)
        value, error = (part[rows] for part in weights["embeddings"])
        error = error + _rounded(value, arithmetic)
        return Signal(value, error, given.value != 0 if layer.option("mask_zero") else None)
    if isinstance(layer, Dense | TimeDistributed):
        dense = layer.layer if isinstance(layer, TimeDistributed) else layer
        values: dict[str, Any] = {name: value for name, (value, _) in weights.items()}
        errors = {name: error for name, (_, error) in weights.items()}
        value, error = recurrences_dense.running_dense(
            given.value, given.error, **values, errors=errors,
            activation=dense.function, arithmetic=arithmetic,
        )  # fmt: skip
        return Signal(value, error, given.mask)
    assert isinstance(
        layer, SimpleRNN | RNN | Bidirectional
    )  # claims say nothing of the numbers of other recurrences
    states = carried_states(layer, weights, given, arithmetic, starts, by_hand)
    if isinstance(layer, Bidirectional):
        return _both_ways(layer, states, given.mask, arithmetic)
    mask = None if given.mask is None else _in_order(layer, given.mask)
    return _returned(layer, states[-1], mask)


def carried_states(
    layer: SimpleRNN | RNN | Bidirectional,
    weights: Weights,
    given: Signal,
    arithmetic: str,
    starts: Sequence[Bounded] = (),
    by_hand: Array | None = None,
) -> list[Bounded]:
    """The states of each of its parts as they are carried, in processing order: (B,T,H) each."""
    value, error, mask = given.value, given.error, given.mask
    backwards = layer.option("go_backwards")
    carried = []
    for index, (prefix, part, _) in enumerate(layer.parts(given.value.shape[-1])):
        assert isinstance(part, Recurrence)
        start = starts[index] if starts else None
        hand = running.ByHand(_states_by_hand(layer, index, by_hand))
        ran = _run(part, prefix, weights, value, error, mask, backwards, arithmetic, start, hand)
        carried.append((ran.states, ran.bound))
        if isinstance(layer, Bidirectional):  # the second part is the mirror image of the first
            backwards = True
            continue
        value, error = carried[-1]
        if backwards and mask is not None:  # the next cell runs on in the order of this one
            mask = mask[:, ::-1]
        backwards = False
    return carried


def _states_by_hand(
    layer: SimpleRNN | RNN | Bidirectional, index: int, output: Array | None
) -> Array | float:
    """What of the output's half units belongs to the states of its part: (B,T,H), or nothing.

    The last state is carried no further, and of merged ones neither is printed.
    """
    if output is None or not layer.returns_sequences:
        return 0.0
    if isinstance(layer, Bidirectional):
        units = layer.layer.units
        if layer.merge_mode != "concat":
            return 0.0
        return output[:, ::-1, units:] if index else output[..., :units]
    return output if isinstance(layer, SimpleRNN) or index == len(layer.cells) - 1 else 0.0


def ends(
    layer: SimpleRNN | RNN | Bidirectional,
    weights: Weights,
    given: Signal,
    arithmetic: str,
    starts: Sequence[Bounded] = (),
) -> dict[str, Bounded]:
    """The state that each of its parts ends with, (B,H), by what to call it: "forward state"."""
    carried = carried_states(layer, weights, given, arithmetic, starts)
    names = [prefix.replace(".", " ") + "state" for prefix, _, _ in layer.parts(1)]
    return {n: (v[:, -1], e[:, -1]) for n, (v, e) in zip(names, carried, strict=True)}


def _run(
    part: Recurrence,
    prefix: str,
    weights: Weights,
    value: Array,
    error: Array,
    mask: Array | None,
    backwards: bool,
    arithmetic: str,
    initial_state: Bounded | None,
    by_hand: running.ByHand,
) -> running.Running:
    own: dict[str, Any] = {
        n.removeprefix(prefix): w for n, w in weights.items() if n.startswith(prefix)
    }
    if initial_state is not None:
        own["initial_state"] = initial_state
    values: dict[str, Any] = {name: v for name, (v, _) in own.items()}
    return running.running_bound(
        value,
        **values,
        activation=part.function,
        mask=mask,
        go_backwards=backwards,
        arithmetic=arithmetic,
        errors={"x": error, **{name: e for name, (_, e) in own.items()}},
        by_hand=by_hand,
    )


def _in_order(layer: SimpleRNN | RNN, mask: Array) -> Array:
    """In the order in which the layer takes the steps."""
    return mask[:, ::-1] if layer.option("go_backwards") else mask


def _returned(
    layer: SimpleRNN | RNN, states: Bounded, mask: Array | None, zeros: bool = False
) -> Signal:
    """What Keras shows of the states; the mask (B,T) in processing order."""
    value, error = states
    if mask is not None:
        zero = shown_as_zero(mask, zeros or layer.option("zero_output_for_mask"))
        value, error = np.where(zero, 0.0, value), np.where(zero, 0.0, error)
    if not layer.returns_sequences:
        return Signal(value[:, -1], error[:, -1])
    return Signal(value, error, mask)


def shown_as_zero(mask: Array, zero_output_for_mask: bool) -> Array:
    """(B,T,1) True where Keras shows a zero instead of the state; mask (B,T) in processing order.

    Before the first step that counts there is no output to repeat; elsewhere a skipped step is
    zero if `zero_output_for_mask` says so.
    """
    zero = ~np.logical_or.accumulate(mask, axis=1)
    if zero_output_for_mask:
        zero = zero | ~mask
    shown: Array = zero[:, :, None]
    return shown


def _both_ways(
    layer: Bidirectional, states: Sequence[Bounded], mask: Array | None, arithmetic: str
) -> Signal:
    """The merged outputs: one more rounding of a sum or a product, none of a concatenation.

    A sequence has zeros at the steps that are skipped, whatever zero_output_for_mask is: so Keras
    says of Bidirectional.
    """
    sides = []
    for carried, backwards in zip(states, (False, True), strict=True):
        own_mask = mask[:, ::-1] if mask is not None and backwards else mask
        shown = _returned(layer.layer, carried, own_mask, zeros=layer.returns_sequences)
        value, error = shown.value, shown.error
        if backwards and layer.returns_sequences:
            value, error = value[:, ::-1], error[:, ::-1]
        sides.append((value, error))
    (a, da), (b, db) = sides
    if layer.merge_mode == "concat":
        value, error = np.concatenate([a, b], axis=-1), np.concatenate([da, db], axis=-1)
    elif layer.merge_mode == "mul":
        value, error = a * b, da * np.abs(b) + db * np.abs(a) + da * db
        error = error + _rounded(value, arithmetic, error)
    else:
        value, error = a + b, da + db
        error = error + _rounded(value, arithmetic, error)
        if layer.merge_mode == "ave":  # halving is exact
            value, error = value / 2, error / 2
    return Signal(value, error, mask if layer.returns_sequences else None)


def _rounded(value: Array, arithmetic: str, error: Array | float = 0.0) -> Array:
    """How far one rounding may move a number that is off by `error`; float64's is of the same size.

    Nothing where the arithmetic holds the value, and it is not off.
    """
    a = formats.arithmetic(arithmetic)
    most = np.abs(value) + error
    moved = (a.u_stored + 2.0**-52) * most + a.min_normal
    if not a.u_stored:
        return np.zeros_like(value)
    digits = np.ldexp(np.frexp(value)[0], round(-math.log2(a.u_stored)))
    normal = (value == 0) | (np.abs(value) >= a.min_normal)
    held = (np.asarray(error) == 0) & (digits == np.rint(digits)) & normal
    return np.asarray(np.where(held, 0.0, moved))


# -- a claim's stack -------------------------------------------------------------------------------


def run(claim: Experiment, arithmetic: str, by_hand: Array | None = None) -> list[Signal]:
    """What each layer of the claim's stack hands on; by_hand: see `through`, of the last layer."""
    assert claim.x is not None
    weights = claim.weights or {}
    signal = Signal(claim.x.value, claim.x.error, claim.mask)
    start = starts(claim)
    handed = []
    for layer in claim.layers:
        given = {name: (g.value, g.error) for name, g in weights.get(layer.name, {}).items()}
        last = layer is claim.layers[-1]
        signal = through(layer, given, signal, arithmetic, start, by_hand if last else None)
        if isinstance(layer, SimpleRNN | RNN | Bidirectional):
            start = []
        handed.append(signal)
    return handed


def starts(claim: Experiment) -> list[Bounded]:
    """The initial state of each part of the first recurrent layer, if the claim gives any."""
    given = claim.initial_state
    if given is None:
        return []
    if given.value.ndim == 2:
        return [(given.value, given.error)]
    return list(zip(given.value, given.error, strict=True))


def steps(
    claim: Experiment,
    weights: Mapping[str, Mapping[str, Array]],
    outputs: Sequence[Array],
    states: Sequence[Array],
    dtype: str,
) -> Iterator[Comparison]:
    """Each layer against what was observed of the one before.

    outputs: each layer's, as observed; states: what the last layer returned beside its output.
    A SimpleRNN that shows its states is certified step by step; of other layers the whole output is
    bounded, from the observed input.
    """
    assert claim.x is not None
    arithmetic = dtype.removeprefix("mixed_")
    before: Array = claim.x.value
    masks = [claim.mask, *(signal.mask for signal in run(claim, arithmetic))]
    start = starts(claim)
    for layer, output, mask in zip(claim.layers, outputs, masks, strict=False):
        own = weights.get(layer.name, {})
        if isinstance(layer, SimpleRNN) and layer.returns_sequences:
            shown = output
            if mask is not None and layer.option("zero_output_for_mask"):
                yield zeros(output, _in_order(layer, mask))
                shown = carried(output, _in_order(layer, mask))
            found = public.certify(
                shown, x=before, **_by_argument(own), activation=layer.function, mask=mask,
                initial_state=start[0][0] if start else None,
                go_backwards=layer.option("go_backwards"), dtype=dtype,
            )  # fmt: skip
            yield step(f"states of {layer.name}", found, _axes(output))
        else:
            told = through(layer, exactly(own), Signal.exactly(before, mask), arithmetic, start)
            yield bounded(f"output of {layer.name}", output, (told.value, told.error))
        if layer.returns_state:
            assert isinstance(layer, SimpleRNN | RNN | Bidirectional)
            left = ends(layer, exactly(own), Signal.exactly(before, mask), arithmetic, start)
            for (name, state), got in zip(left.items(), states, strict=True):
                yield bounded(f"{name} of {layer.name}", got, state)
        if isinstance(layer, SimpleRNN | RNN | Bidirectional):
            start = []
        before = output


def exactly(weights: Mapping[str, Array]) -> dict[str, Bounded]:
    """Weights as a subject reads them back: numbers that are exactly known."""
    return {name: (np.asarray(w, np.float64), np.zeros(w.shape)) for name, w in weights.items()}


def bounded(what: str, got: Array, expected: Bounded, who: str = "step") -> Comparison:
    """An observed array against a value and its bound."""
    wide, (value, bound) = got.astype(np.float64), expected
    if wide.shape != value.shape:
        return equal("subject", f"shape of {what}", str(wide.shape), str(value.shape))
    with np.errstate(invalid="ignore"):
        error = np.abs(wide - value)
    return Comparison(
        who, what, wide, value, error, bound, _axes(got), tuple(np.indices(got.shape)),
        unbounded=no_bound("this arithmetic"),
    )  # fmt: skip


def zeros(states: Array, mask: Array) -> Comparison:
    """Zeros at the steps that the mask (B,T) skips, in processing order: zero_output_for_mask."""
    wide = np.where(mask[:, :, None], 0.0, states.astype(np.float64))
    nothing = np.zeros_like(wide)
    places: tuple[Array, ...] = tuple(np.indices(wide.shape))
    what = "steps that the mask skips"
    return Comparison("subject", what, wide, nothing, np.abs(wide), nothing, _axes(wide), places)


def carried(states: Array, mask: Array) -> Array:
    """The states as they were carried, where zeros are shown instead; mask in processing order."""
    last = np.maximum.accumulate(np.where(mask, np.arange(mask.shape[1]), 0), axis=1)
    return np.take_along_axis(states, last[:, :, None], axis=1)


def _by_argument(weights: Mapping[str, Array]) -> dict[str, Any]:
    return {"bias": None, **weights}


def _axes(array: Array) -> tuple[str, ...]:
    return ("sample", "timestep", "unit") if array.ndim == 3 else ("sample", "unit")[: array.ndim]
