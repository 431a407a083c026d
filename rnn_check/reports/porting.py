"""What does the reader see of a layer that was taken to another framework?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from rnn_check.asking.ported import Kept
from rnn_check.certificates.result import Certificate
from rnn_check.verdicts.porting import Direction, Part


def lines(layers: Sequence[Kept], directions: Sequence[Direction]) -> Iterator[str]:
    """The report, for a terminal."""
    wide = max(len(layer.place.text) for layer in layers)
    for layer in layers:
        way = layer.ways[0]
        twice = " in both directions" * (len(layer.ways) > 1)
        sizes = f"{way.kind}{twice}, {way.features} features, {way.units} units, {layer.dtype}"
        yield f"{layer.place.text:<{wide}}  {sizes}  ({layer.who})"
    for each in directions:
        yield ""
        if each.name:
            yield f"{each.name}:"
        yield from (f"  {option}" for option in each.options)
        for part in each.parts:
            yield f"  {part.name:<16}  {said_of(part)}"
            yield from (f"  {'':<16}  explained: {cause}" for cause in part.causes)
        for layer, run in zip(layers, each.runs, strict=False):
            yield f"  {layer.who.split()[0]:<16}  {_certified(run.certificate)}"
        if each.apart is not None:
            far = each.apart
            truths = f", and the rounded bias moves them by {far.truths:.3g}" * (far.truths > 0)
            yield (
                f"  {'both':<16}  {far.most:.3g} apart at worst, where their bounds add up to "
                f"{far.bounds:.3g}{truths}"
            )
    yield ""
    yield sentence(directions)


def said_of(part: Part) -> str:
    if part.ok:
        note = f": {part.note}" if part.note else ""
        return f"the same, all {part.size:,} numbers{note}"
    why = "" if part.causes else "; no mistake that is known here explains it"
    return f"differs in {part.differ:,} of {part.size:,} numbers, by up to {part.worst:.3g}{why}"


def sentence(directions: Sequence[Direction]) -> str:
    if all(each.ok for each in directions):
        if any(each.parts for each in directions):
            proved = all(run.certificate.ok for each in directions for run in each.runs)
            return "The same layer" + ", and both compute it." * proved + "." * (not proved)
        return "It is computed as its weights say."
    if any(each.options or not all(part.ok for part in each.parts) for each in directions):
        return f"Not the same layer{why(directions)}."
    return "The same weights, but a framework computes something else."


def why(directions: Sequence[Direction]) -> str:
    """What explains all that differs, if something does."""
    options = [option for each in directions for option in each.options]
    parts = [part for each in directions for part in each.parts if not part.ok]
    if options or not all(part.causes for part in parts):
        return ": " + "; ".join(options) if options else ""
    shared = [c for c in parts[0].causes if all(c in part.causes for part in parts)]
    if shared:
        return f": {shared[0]}"
    told = dict.fromkeys(f"of {part.name} {part.causes[0]}" for part in parts)
    return ": " + "; ".join(told)


def _certified(certificate: Certificate) -> str:
    if certificate.ok is None:
        return f"not proved: {certificate.reason}"
    if not certificate.ok:
        return f"a step does not follow from the one before: {certificate.reason}"
    return f"every step follows from the one before ({certificate.ratio:.2g} of the bound)"


def document(layers: Sequence[Kept], directions: Sequence[Direction]) -> dict[str, Any]:
    """The same as JSON has it."""
    return {
        "same": all(each.ok for each in directions),
        "sentence": sentence(directions),
        "layers": [
            {"where": each.place.text, "subject": each.who, "dtype": each.dtype}
            for each in layers
        ],
        "directions": [
            {
                "name": each.name,
                "options": list(each.options),
                "weights": [
                    {
                        "name": part.name,
                        "same": part.ok,
                        "size": part.size,
                        "differ": part.differ,
                        "worst": part.worst,
                        "note": part.note,
                        "explained_by": list(part.causes),
                    }
                    for part in each.parts
                ],
                "computed": [
                    {"certified": run.certificate.ok, "ratio": run.certificate.ratio,
                     "reason": run.certificate.reason}
                    for run in each.runs
                ],
                "apart": None if each.apart is None else {
                    "most": each.apart.most, "bounds": each.apart.bounds,
                    "truths": each.apart.truths, "ratio": each.apart.ratio,
                },
            }
            for each in directions
        ],
    }  # fmt: skip
