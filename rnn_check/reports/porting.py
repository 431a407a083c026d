"""What does the reader see of a layer that was taken to another framework?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from rnn_check.asking.ported import Kept
from rnn_check.certificates.result import Certificate
from rnn_check.verdicts.porting import Direction, Part


def lines(layers: Sequence[Kept], directions: Sequence[Direction]) -> Iterator[str]:
    """The report, for a terminal."""
    for layer in layers:
        way = layer.ways[0]
        twice = " in both directions" * (len(layer.ways) > 1)
        yield layer.place.text
        yield f"  {way.kind}{twice}, {way.features} features, {way.units} units, {layer.dtype}"
        yield f"  {layer.who}"
    for each in directions:
        yield ""
        if each.name:
            yield f"{each.name}:"
        yield from (f"  {option}" for option in each.options)
        for part in each.parts:
            yield f"  {part.name:<16}  {said_of(part)}"
            causes = [f"explained: {cause}" for cause in part.causes]
            if not part.ok:
                yield from (f"  {'':<16}  {words}" for words in causes or [_UNEXPLAINED])
        for layer, run in zip(layers, each.runs, strict=False):
            yield f"  {layer.who.split()[0]:<16}  {_certified(run.certificate)}"
        if each.apart is not None:
            far = each.apart
            yield (
                f"  {'both':<16}  {far.most:.3g} apart at worst; their bounds add up to "
                f"{far.bounds:.3g}"
            )
            if far.truths > 0:
                yield f"  {'':<16}  and the rounded bias moves them by {far.truths:.3g}"
    yield ""
    yield from sentence(directions).split("\n")


_UNEXPLAINED = "no mistake in converting that is known here explains it"


def said_of(part: Part) -> str:
    if part.ok:
        note = f": {part.note}" if part.note else ""
        return f"the same, all {part.size:,} numbers{note}"
    return f"differs in {part.differ:,} of {part.size:,} numbers, by up to {part.worst:.3g}"


def sentence(directions: Sequence[Direction]) -> str:
    """What came of it; in a line of its own why, if it is not the same."""
    if all(each.ok for each in directions):
        if any(each.parts for each in directions):
            proved = all(run.certificate.ok for each in directions for run in each.runs)
            return "The same layer" + ", and both compute it." * proved + "." * (not proved)
        return "It is computed as its weights say."
    if any(each.options or not all(part.ok for part in each.parts) for each in directions):
        return "\n".join(["Not the same layer.", *why(directions)])
    return "The same weights, but a framework computes something else."


def why(directions: Sequence[Direction]) -> Iterator[str]:
    """What explains all that differs; or that nothing does."""
    for option in dict.fromkeys(option for each in directions for option in each.options):
        yield f"{option[:1].upper()}{option[1:]}."
    parts = [part for each in directions for part in each.parts if not part.ok]
    found: dict[str, dict[str, None]] = {}
    for part in parts:
        if part.causes:
            shared = [c for c in part.causes if all(c in other.causes for other in parts)]
            found.setdefault((shared or part.causes)[0], {})[part.name] = None
    for cause, names in found.items():
        yield f"Of {_and(list(names))}: {cause}."
    rest = list(dict.fromkeys(part.name for part in parts if not part.causes))
    whole = {name for each in directions for name in (p.name for p in each.parts)}
    if rest and set(rest) == whole and all(part.differ == part.size for part in parts):
        yield "Every weight is another: these seem to be two layers, none made of the other."
    elif rest:
        yield f"Of {_and(rest)} {_UNEXPLAINED}."


def _and(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


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
        "sentence": sentence(directions).replace("\n", " "),
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
