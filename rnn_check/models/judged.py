"""What is said of each recurrent layer of a model?"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from rnn_check.certificates.comparison import Comparison
from rnn_check.certificates.result import Certificate
from rnn_check.claims.written import Array
from rnn_check.models import backward, forward
from rnn_check.models.excused import Excuses, Found
from rnn_check.models.places import Answer, Layer, together
from rnn_check.subjects.asked.named import layer_computing
from rnn_check.verdicts.judge import AGREE, DIFFER, NOT_RUN

UNPROVED = "not proved"
KNOWN = "known"  # it differs, as is known of whoever computed it
_WORST = (DIFFER, UNPROVED, KNOWN, NOT_RUN, AGREE)  # of several verdicts the first of these
GRADIENTS, OUTPUTS = "gradients", "outputs"


@dataclass(frozen=True)
class Part:
    """The outputs of a recurrence, or its gradients, and what was found of each array.

    silent: why nothing was. without: what the model gave itself, where it is not bit for bit what
    was certified with the probe. same: how many of its gradients are. known: why it was to be
    expected that it differs.
    """

    name: str
    found: Mapping[str, Certificate] = field(default_factory=dict)
    silent: str = ""
    without: Mapping[str, Comparison] = field(default_factory=dict)
    same: int = 0
    known: str = ""

    @property
    def verdict(self) -> str:
        if self.silent:
            return NOT_RUN
        if self.known:
            return KNOWN
        said = {True: AGREE, False: DIFFER, None: UNPROVED}
        verdicts = [said[c.ok] for c in self.found.values()]
        verdicts += [AGREE if c.ok else DIFFER for c in self.without.values()]
        return next(each for each in _WORST if each in verdicts)

    @property
    def ratio(self) -> float | None:
        ratios = [each.ratio for each in self.found.values()]
        ratios += [each.ratio for each in self.without.values()]
        return max(ratios, default=None)

    @property
    def bits(self) -> float | None:
        """The fewest that were seen."""
        return min((c.bits for c in self.found.values() if c.bits is not None), default=None)

    @property
    def judged(self) -> float | None:
        """The share of numbers whose bound can be exceeded, of all arrays together."""
        sizes = [c._given.size for c in self.found.values()]
        if not sum(sizes):
            return None
        parts = zip(self.found.values(), sizes, strict=True)
        return sum(c.judged * n for c, n in parts) / sum(sizes)

    @property
    def blind(self) -> float:
        return max((c.blind for c in self.found.values()), default=0.0)

    def wrong(self) -> Iterator[tuple[str, str]]:
        """What of it is wrong or not proved, and the sentence."""
        if self.silent:
            yield "", self.silent
        for name, each in self.found.items():
            if each.ok is not True:
                yield name, each.reason
        for name, other in self.without.items():
            if not other.ok:
                at = other.first
                yield (
                    f"{name}, without the probe",
                    f"at {at}: got {other.got[at]:.9g}, expected {other.expected[at]:.9g}, off by "
                    f"{other.error[at]:.3g} where {other.bound[at]:.3g} is allowed",
                )


@dataclass(frozen=True)
class Row:
    """One recurrence of a model. what: "LSTM 3→4"; sizes: (B,T) of what it was run on.

    output: what it shows of its steps (B,T,H); weights: a digest of its weights; refused: why it is
    not certified, if it is not.
    """

    path: str
    what: str
    sizes: tuple[int, int] | None = None
    refused: str = ""
    parts: tuple[Part, ...] = ()
    output: Array | None = None
    weights: str = ""

    @property
    def verdict(self) -> str:
        if self.refused:
            return NOT_RUN
        verdicts = [part.verdict for part in self.parts]
        if set(verdicts) <= {AGREE, NOT_RUN} and AGREE in verdicts:
            return AGREE
        return next(each for each in _WORST if each in verdicts)

    @property
    def outputs(self) -> Part | None:
        return next((part for part in self.parts if part.name == OUTPUTS), None)


@dataclass(frozen=True)
class Model:
    """What was found of a model. silent: why no gradients were certified, of none of the layers."""

    where: str
    rows: list[Row]
    outputs: list[Array]
    silent: str = ""

    @property
    def verdict(self) -> str:
        verdicts = {row.verdict for row in self.rows}
        for worst in (DIFFER, UNPROVED, KNOWN, AGREE):
            if worst in verdicts:
                return worst
        return NOT_RUN


def judged(where: str, said: Answer, excuses: Excuses | None = None) -> Model:
    """Every recurrence that was seen, of what the verb `inspect` answers, arrays decoded.

    excuses: what is known of the subject; without, nothing is.
    """
    gradients = said.get("gradients", {})
    silent = next((str(gradients[w]) for w in ("unsupported", "error") if w in gradients), "")
    rows: list[Row] = []
    for index, told in enumerate(said["layers"]):
        layer = Layer.of(told)
        calls = [call for call in said["calls"] if call["layer"] == index]
        if layer.refused or not calls:
            why = layer.refused or "it was not called while the model was run"
            if not layer.refused and told["is_direction"]:
                why += ": as one with the other direction, a kernel may show neither"
            rows.append(Row(layer.path, layer.kind, refused=why))
            continue
        back = None
        if not silent:
            each = zip(said["calls"], gradients["calls"], strict=True)
            took = [g for call, g in each if call["layer"] == index]
            back = took, gradients["probed"][f"{index}"], gradients["weights"][f"{index}"]
        rows += _of_layer(where, layer, calls, back, silent, excuses)
    return Model(where, rows, said["outputs"], silent)


def _of_layer(
    where: str, layer: Layer, calls: Sequence[Answer], back: tuple[Any, Answer, Any] | None,
    silent: str, excuses: Excuses | None,
) -> Iterator[Row]:  # fmt: skip
    whats = [f"{layer_computing(c.what['recurrence'])} {c.below}→{c.units}" for c in layer.cells]
    several = len(layer.cells) > 1
    paths = [layer.path + f"/cell_{i}" * several for i in range(len(layer.cells))]
    alike = list(together(calls))
    for number, call in enumerate(alike):
        sizes = call["x"].shape[:2]
        refused, parts = "", list[tuple[Part, Part]]()
        try:
            parts = list(
                zip(_outputs(layer, call), _gradients(layer, alike, back, silent), strict=True)
            )
        except ValueError as error:  # an activation, or a dtype, that no certificate knows
            refused = str(error)
        shown = [] if refused else forward.steps_of(layer, call)
        if excuses is not None and any(DIFFER in (a.verdict, b.verdict) for a, b in parts):
            parts = _excused(where, layer, call, alike, back, silent, parts, shown, excuses)
        for i, (path, what) in enumerate(zip(paths, whats, strict=True)):
            name = path + f" (call {number + 1})" * (len(alike) > 1)
            if refused:
                yield Row(name, what, sizes, refused)
                continue
            weights = _digest(layer.cells[i].weights)
            yield Row(name, what, sizes, parts=parts[i], output=shown[i], weights=weights)


def _outputs(layer: Layer, call: Answer) -> list[Part]:
    """Of each cell. Raises ValueError for what no certificate reads."""
    return [Part(OUTPUTS, found) for found in forward.certified(layer, call)]


def _gradients(
    layer: Layer, alike: Sequence[Answer], back: tuple[Any, Answer, Any] | None, silent: str
) -> list[Part]:
    """Of each cell."""
    if back is None:
        return [Part(GRADIENTS, silent=silent)] * len(layer.cells)
    calls, probed, weights = back
    call = next(iter(together(calls)))
    why = backward.unprobed(layer, call, probed)
    if why or len(alike) > 1:
        return [Part(GRADIENTS, silent=why or "it is called in several ways")] * len(layer.cells)
    try:
        found = backward.Back(layer, call, probed, weights)
        of = found.certified()
        without: list[dict[str, Comparison]] = [{} for _ in layer.cells]
        same = [0] * len(layer.cells)
        for index, name, comparison in found.without_probe():
            if comparison is None:
                same[index] += 1
            else:
                without[index][name] = comparison
    except ValueError as error:
        return [Part(GRADIENTS, silent=str(error))] * len(layer.cells)
    return [
        Part(GRADIENTS, of[i], without=without[i], same=same[i]) for i in range(len(layer.cells))
    ]


def _excused(
    where: str, layer: Layer, call: Answer, alike: Sequence[Answer],
    back: tuple[Any, Answer, Any] | None, silent: str, parts: Sequence[tuple[Part, Part]],
    shown: Sequence[Array], excuses: Excuses,
) -> list[tuple[Part, Part]]:  # fmt: skip
    """The parts of each cell, those that differ as is known saying so."""

    def found(outputs: Iterable[Part], gradients: Iterable[Part]) -> list[Found]:
        return [
            *(Found(o.found, o.without, h) for o, h in zip(outputs, shown, strict=True)),
            *(Found(g.found, g.without) for g in gradients),
        ]

    def again(arithmetic: str) -> list[Found]:
        other = replace(layer, dtype=arithmetic)
        return found(_outputs(other, call), _gradients(other, alike, back, silent))

    own = found((o for o, _ in parts), (g for _, g in parts))
    why = excuses.of(where, layer, call, own, again)

    def marked(part: Part) -> Part:
        return replace(part, known=why) if part.verdict == DIFFER else part

    return [(marked(o), marked(g)) for o, g in parts]


def _digest(weights: Mapping[str, Array]) -> str:
    digest = hashlib.sha256()
    for name, array in sorted(weights.items()):
        digest.update(f"{name} {array.dtype} {array.shape}".encode() + array.tobytes())
    return digest.hexdigest()


def size_of_change(one: Array, other: Array) -> float:
    """The largest; infinite where one is no number, or the shapes differ."""
    if one.shape != other.shape:
        return float("inf")
    wide, far = one.astype(np.float64), other.astype(np.float64)
    with np.errstate(invalid="ignore"):
        change = np.where((wide == far) | (np.isnan(wide) & np.isnan(far)), 0, np.abs(wide - far))
    return float(np.where(np.isnan(change), np.inf, change).max(initial=0.0))
