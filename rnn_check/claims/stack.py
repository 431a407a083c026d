"""What does each layer of a stack make of what the one before hands on?

Layer by layer: a value, how far an arithmetic may be from it, and the mask that travels with it.

Sizes: B samples, T timesteps, F features, H units. Weights go by path, as `Part.weight_shapes`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from rnn_check.certificates.comparison import Comparison
from rnn_check.claims.experiment import Experiment
from rnn_check.claims.layers.signal import (
    Bounded,
    Signal,
    bounded,
    carried,
    exactly,
    shown_as_zero,
    zeros,
)
from rnn_check.claims.written import Array

__all__ = [
    "Bounded", "Signal", "bounded", "carried", "exactly", "run", "shown_as_zero", "starts", "steps",
    "zeros",
]  # fmt: skip


def run(claim: Experiment, arithmetic: str, by_hand: Array | None = None) -> list[Signal]:
    """What each layer of the claim's stack hands on.

    by_hand: see `Layer.through`, of the last layer.
    """
    assert claim.x is not None
    weights = claim.weights or {}
    signal = Signal(claim.x.value, claim.x.error, claim.mask)
    start = starts(claim)
    handed = []
    for layer in claim.layers:
        given = {name: (g.value, g.error) for name, g in weights.get(layer.name, {}).items()}
        last = layer is claim.layers[-1]
        signal = layer.through(given, signal, arithmetic, start, by_hand if last else None)
        if layer.is_recurrent:
            start = []
        handed.append(signal)
    return handed


def starts(claim: Experiment) -> list[Bounded]:
    """The initial value of each state of the first recurrent layer, if the claim gives any."""
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
    A recurrent layer that shows its states is certified step by step; of other layers the whole
    output is bounded, from the observed input.
    """
    assert claim.x is not None
    before: Array = claim.x.value
    masks = [claim.mask, *(signal.mask for signal in run(claim, dtype.removeprefix("mixed_")))]
    start = starts(claim)
    for layer, output, mask in zip(claim.layers, outputs, masks, strict=False):
        own = dict(weights.get(layer.name, {}))
        given = Signal.exactly(before, mask)
        yield from layer.compared(own, given, output, dtype, start, states)
        if layer.is_recurrent:
            start = []
        before = output
