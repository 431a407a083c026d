"""Is what is wrong with a layer of a model known of whoever computed it?

A layer that differs is written as the claim that it would be: the layer with its options, what it
was given, and "each step follows from the one before". Of that the known deviations are asked, as
of anybody's claim, so that they are recognised by what was done.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from rnn_check.asking.request import Setting
from rnn_check.certificates.comparison import Comparison, step
from rnn_check.certificates.result import Certificate
from rnn_check.claims.claim import Claim
from rnn_check.claims.expectations.certified import Certified
from rnn_check.claims.expectations.expectation import axes
from rnn_check.claims.layers import AnyLayer, SimpleRNN
from rnn_check.claims.layers.signal import zeros
from rnn_check.claims.tables import Source
from rnn_check.claims.written import Array, Given
from rnn_check.models.places import Answer, Layer, Taken, numbered
from rnn_check.subjects import policy
from rnn_check.subjects.identity import Identity
from rnn_check.verdicts.judge import AGREE, DIFFER, Verdict
from rnn_check.verdicts.known import Known


@dataclass(frozen=True)
class Found:
    """What was found of one recurrence: of its outputs, or of its gradients.

    shown: its steps (B,T,H), of its outputs. without: what the model gave without a probe.
    """

    certificates: Mapping[str, Certificate]
    without: Mapping[str, Comparison]
    shown: Array | None = None


Again = Callable[[str], Sequence[Found]]  # the same, certified in another arithmetic


@dataclass(frozen=True)
class Excuses:
    """What is known of a subject that was asked so."""

    known: Known
    identity: Identity
    mode: str
    dtype: str | None

    def of(
        self, where: str, layer: Layer, call: Answer, found: Sequence[Found], again: Again
    ) -> str:
        """Why it was to be expected of the layer; "" if it was not.

        found: of all of the layer's cells, outputs first, as a claim's verdict holds them: what
        comes of a wrong cell is in the gradients of the others. call: what the layer was given.
        """
        dtype = self.dtype or layer.dtype
        claim = _claim(where, layer, call)
        if claim is None or dtype not in policy.NAMES:
            return ""
        (verdict,) = self.known.mark(
            [(claim, [_verdict(claim, layer, call, found)])], self.identity,
            Setting(self.mode, dtype),
            lambda _, arithmetic: [_verdict(claim, layer, call, again(arithmetic))],
        )  # fmt: skip
        return verdict.deviation if verdict.is_known else ""


def _claim(where: str, layer: Layer, call: Answer) -> Claim | None:
    """The layer as a claim has it; None if none has."""
    if layer.options is None:
        return None
    try:
        told: AnyLayer = msgspec.json.decode(msgspec.json.encode(layer.options), type=AnyLayer)
    except msgspec.ValidationError:  # an option that no claim can give
        return None
    taken = Taken.of(layer, call)
    given = {
        cell.prefix + name: Given.exactly(array.astype(np.float64))
        for cell in layer.cells
        for name, array in cell.weights.items()
    }
    start = None
    if numbered(call, "start ") and len(layer.cells) == 1 and not layer.stateful:
        states = [each.astype(np.float64) for each in taken.start]
        start = Given.exactly(states[0] if len(states) == 1 else np.stack(states))
    mask = call.get("mask")
    return Claim(
        layers=(told,),
        weights={told.name: given},
        x=Given.exactly(call["x"].astype(np.float64)),
        input_shape=call["x"].shape[1:],
        initial_state=start,
        mask=None if mask is None else mask.astype(bool),
        name=layer.path,
        file=Path(where),
        title="",
        source=Source(document=where),
        expectations=(Certified(value=True, from_="the recurrence itself"),),
    )


def _verdict(claim: Claim, layer: Layer, call: Answer, found: Sequence[Found]) -> Verdict:
    cells = len(layer.cells)
    comparisons = tuple(
        c
        for i, each in enumerate(found)
        for c in _comparisons(claim, layer, call, each, f".cell_{i % cells}" * (cells > 1))
    )
    wrong = [each for each in comparisons if not each.ok]
    return Verdict(
        claim=claim.name, file=str(claim.file), what="certified",
        verdict=DIFFER if wrong else AGREE, ratio=None, word="", document="",
        detail=wrong[0].blame() if wrong else "", comparisons=comparisons,
    )  # fmt: skip


def _comparisons(
    claim: Claim, layer: Layer, call: Answer, found: Found, cell: str
) -> Iterator[Comparison]:
    """In the words of claims, each its own. cell: which of several, ".cell_0"."""
    of = "" if isinstance(claim.layers[0], SimpleRNN) else f" of {claim.layers[0].name}{cell}"
    is_back = found.shown is None
    mask = Taken.of(layer, call).mask
    if found.shown is not None and layer.zeroed and mask is not None:
        skipped = zeros(found.shown, mask)
        yield dataclasses.replace(skipped, what=f"{skipped.what}{cell}")
    names = {
        "steps": f"states with the probe{of}" if is_back else f"states{of}",
        "its output": f"output{of}",
        "the state that it returns": f"state{of}",
        "delta": f"delta{cell}",
    }
    for name, each in found.certificates.items():
        is_gradient = is_back and name != "steps"
        kind = axes("gradient", name, each.residual.ndim) if is_gradient else axes("states", "", 3)
        yield step(names.get(name, f"gradient of {name}{cell}"), each, kind)
    for name, other in found.without.items():
        yield dataclasses.replace(other, what=f"gradient of {name}{cell} without the probe")
