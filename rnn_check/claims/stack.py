"""What does each layer make of what the one before hands on, and of what is handed back to it?

Layer by layer: a value, how far an arithmetic may be from it, and the mask that travels with it.

Sizes: B samples, T timesteps, F features, H units. Weights go by path, as `Part.weight_shapes`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from rnn_check.certificates.comparison import Comparison
from rnn_check.claims.experiment import Experiment
from rnn_check.claims.layers import Carrying, Dense, Layer
from rnn_check.claims.layers.signal import (
    Back,
    ByHand,
    Call,
    Pass,
    Signal,
    Unbegun,
    Weights,
    bounded,
    carried,
    exactly,
    shown_as_zero,
    zeros,
)
from rnn_check.claims.written import Array
from rnn_check.numbers import formats
from rnn_check.numbers.bounded import Bounded, joined
from rnn_check.numbers.formats import Arithmetic

__all__ = [
    "Call", "Signal", "bounded", "carried", "exactly", "fed", "masks", "run",
    "shown_as_zero", "starts", "steps", "zeros",
]  # fmt: skip


def passes(
    claim: Experiment,
    arithmetic: str,
    by_hand: Mapping[str, ByHand] = MappingProxyType({}),
    after: Signal | None = None,
    layers: int | None = None,
) -> list[Pass]:
    """What each layer of the claim makes of what it is given.

    by_hand: by the names of the layers. after: what the first handed on, if the others are wanted.
    layers: how many, if not all are.
    """
    assert claim.x is not None
    a = formats.arithmetic(arithmetic)
    signal, start = Signal(claim.x.bounded(a), claim.mask), starts(claim, a)
    if after is not None:
        signal, start = after, []
    found = []
    for layer in claim.layers[after is not None : layers]:
        own = by_hand.get(layer.name, {})
        found.append(layer.passed(Call(weights_of(claim, layer, a), signal, start, own)))
        signal = found[-1].out.handed_on
        if layer.is_recurrent:
            start = []
    return found


Returned = Mapping[str, Sequence[Bounded]]  # by layers, all that the call of each gives back


def returned(claim: Experiment, passes: Sequence[Pass], arithmetic: str) -> Returned:
    """Of what `passes` found."""
    assert claim.x is not None
    a = formats.arithmetic(arithmetic)
    signal, start = Signal(claim.x.bounded(a), claim.mask), starts(claim, a)
    found = {}
    for layer, each in zip(claim.layers, passes, strict=True):
        call = Call({}, signal, start)
        found[layer.name] = layer.returned(call, each)
        signal, start = each.out.handed_on, [] if layer.is_recurrent else start
    return found


class Shown(NamedTuple):
    """What the last layer hands on, and what each returns: of samples batch by batch."""

    last: Signal
    returned: Returned

    def part(self, samples: slice) -> Shown:
        """Of some of the samples."""
        mask = None if self.last.mask is None else self.last.mask[samples]
        each = {
            layer: [number.at(samples) for number in tensors]
            for layer, tensors in self.returned.items()
        }
        return Shown(Signal(self.last.number.at(samples), mask), each)


def carried_on(
    claim: Experiment, arithmetic: str, batches: Sequence[slice], unbegun: Unbegun = ""
) -> Shown:
    """Of one batch after another, each stateful layer starting where it ended the one before.

    unbegun: see `Call`.
    """
    assert claim.x is not None
    found: list[Signal] = []
    a = formats.arithmetic(arithmetic)
    every: dict[str, list[list[Bounded]]] = {layer.name: [] for layer in claim.layers}
    ended: dict[str, Sequence[Bounded]] = {}
    for batch in batches:
        mask = None if claim.mask is None else claim.mask[batch]
        signal = Signal(claim.x.bounded(a).at(batch), mask)
        given = [start.at(batch) for start in starts(claim, a)]
        for layer in claim.layers:
            start: Sequence[Bounded] = []
            if isinstance(layer, Carrying):
                start, given = given or ended.get(layer.name, []), []
            call = Call(weights_of(claim, layer, a), signal, start, unbegun=unbegun)
            if isinstance(layer, Carrying) and layer.inner.option("stateful"):
                ended[layer.name] = [*layer.ends(call).values()]
            passed = layer.passed(call)
            every[layer.name].append(layer.returned(call, passed))
            out = passed.out
            if start and isinstance(layer, Carrying) and signal.mask is not None:
                number = call.with_unbegun(out.number, not_begun(layer, signal.mask))
                out = dataclasses.replace(out, number=number)
            signal = out.handed_on
        found.append(signal)
    masks = [s.mask for s in found if s.mask is not None]
    whole = {
        name: [joined(tensors) for tensors in zip(*each, strict=True)]
        for name, each in every.items()
    }
    last = Signal(joined([s.number for s in found]), np.concatenate(masks) if masks else None)
    return Shown(last, whole)


def not_begun(layer: Carrying, mask: Array) -> Array:
    """(B,T,1) or (B,1): before the first step that counts, unless zeros are shown there."""
    nothing = shown_as_zero(layer.in_order(mask), False)
    if not layer.returns_sequences:
        return np.asarray(nothing[:, -1])
    zeros = layer.backward_part is not None or layer.inner.option("zero_output_for_mask")
    return np.zeros_like(nothing) if zeros else nothing


def run(claim: Experiment, arithmetic: str) -> list[Signal]:
    """What each layer of the claim hands on."""
    return [each.out for each in passes(claim, arithmetic)]


def masks(claim: Experiment, arithmetic: str) -> list[Array | None]:
    """The mask (B,T) that each layer hands on: as `run` has them, without most of its numbers."""
    making = [index for index, layer in enumerate(claim.layers) if layer.makes_mask]
    upto = making[-1] + 1 if making else 0
    found = [each.out.mask for each in passes(claim, arithmetic, layers=upto)]
    mask = found[-1] if found else claim.mask
    for layer in claim.layers[upto:]:
        mask = layer.mask_after(mask)
        found.append(mask)
    return found


def back(claim: Experiment, passes: Sequence[Pass], cotangent: Bounded) -> dict[str, Back]:
    """dL/d of what each of the last layers was given, of dL/d of what the last puts out."""
    found = {}
    pairs = zip(reversed(claim.layers), reversed(passes), strict=False)
    for layer, each in pairs:
        found[layer.name] = own = each.back(cotangent)
        cotangent = own.x
    return found


def weights_of(claim: Experiment, layer: Layer, a: Arithmetic) -> Weights:
    """As they are given; those of a Dense layer that is left out, as they have to be."""
    given = (claim.weights or {}).get(layer.name)
    if given is None and isinstance(layer, Dense):
        return exactly(dict(zip(("kernel", "bias"), dense_that_reaches(claim), strict=True)), a)
    return {name: weight.bounded(a) for name, weight in (given or {}).items()}


def dense_that_reaches(claim: Experiment) -> tuple[Array, Array]:
    """Dense weights (H,O), (O,) of least norm with which the printed predictions come out."""
    assert claim.x is not None and claim.weights is not None
    alone = dataclasses.replace(claim, layers=claim.layers[:1])
    last = run(alone, "exact")[0].value  # (B,H)
    augmented = np.concatenate([last, np.ones((len(last), 1))], axis=1)  # (B,H+1)
    predictions = claim.printed["predictions"].value.reshape(len(last), -1)  # (B,O)
    solution = np.linalg.lstsq(augmented, predictions, rcond=None)[0]
    return solution[:-1], solution[-1]


def starts(claim: Experiment, a: Arithmetic) -> list[Bounded]:
    """The initial value of each state of the first recurrent layer, if the claim gives any."""
    given = claim.initial_state
    if given is None:
        return []
    whole = given.bounded(a)
    return [whole] if given.value.ndim == 2 else [whole.at(i) for i in range(len(given.value))]


@dataclass(frozen=True)
class Fed:
    """What one recurrence of a layer is given, in the order in which it takes the steps.

    x (B,T,F), mask (B,T), starts (B,H) of each of its states, none if they are zeros.
    """

    x: Array
    mask: Array | None
    starts: tuple[Array, ...]
    reversed: bool


def fed(claim: Experiment, layer: Carrying, index: int) -> Fed:
    """The same of the claim's own numbers; the index is that of `layer.recurrences`."""
    assert claim.x is not None
    at, is_above = claim.layers.index(layer), index > 0 and layer.backward_part is None
    x, mask = claim.x.value, claim.mask
    passed = passes(claim, "exact") if at or is_above else []
    if at:
        x, mask = passed[at - 1].out.value, passed[at - 1].out.mask
    backwards = layer.option("go_backwards") or index == layer.backward_part
    if backwards:
        x, mask = x[:, ::-1], None if mask is None else mask[:, ::-1]
    if is_above:  # a cell takes what that below it gives, step by step
        x = passed[at].courses[index - 1].states["h"].value
    first = next(each for each in claim.layers if isinstance(each, Carrying))
    exact = formats.arithmetic("exact")
    given = [start.value for start in starts(claim, exact)] if layer is first else []
    of = sum(len(part.states) for _, part in layer.recurrences[:index])
    own = given[of : of + len(layer.recurrences[index][1].states)]
    return Fed(x, mask, tuple(own), backwards)


def steps(
    claim: Experiment,
    weights: Mapping[str, Mapping[str, Array]],
    outputs: Sequence[Array],
    states: Sequence[Array],
    dtype: str,
) -> Iterator[Comparison]:
    """Each layer against what was observed of the one before.

    outputs: each layer's, as observed; states: what the last layer returned beside its output.
    A recurrent layer that shows its states is certified step by step; of other layers the whole
    output is bounded, from the observed input.
    """
    assert claim.x is not None
    before: Array = claim.x.value
    arithmetic = dtype.removeprefix("mixed_")
    before_each, a = [claim.mask, *masks(claim, arithmetic)], formats.arithmetic(arithmetic)
    start = starts(claim, a)
    for layer, output, mask in zip(claim.layers, outputs, before_each, strict=False):
        own = dict(weights.get(layer.name, {}))
        call = Call(exactly(own, a), Signal.exactly(before, a, mask), start)
        yield from layer.compared(call, own, output, dtype, states)
        if layer.is_recurrent:
            start = []
        before = output
