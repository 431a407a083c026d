"""Which values of the axes does a case have?"""

from __future__ import annotations

from collections.abc import Iterator

from rnn_check.subjects.asked.named import FAMILIES, layer_of
from rnn_check.sweep.space import AXES, FAMILY, Case, Document, Space, what_is_done

SEEN = tuple(axis for axis in AXES if axis != "scale")  # which is drawn for each array anew


def of_family(case: Case, space: Space) -> dict[str, frozenset[str]]:
    """By axis, the values that the cases of its family have in common; a stack has several."""
    return of(Case(case.seed, case.index // FAMILY * FAMILY).document(space))


def of(document: Document) -> dict[str, frozenset[str]]:
    """The same of what was drawn."""
    layers = document["layers"]
    recurrent = [layer for layer in layers if layer["kind"] in AXES["layer"]]
    front = layers[0]["kind"]
    if front not in AXES["front"]:
        front = "mask" if "mask" in document["input"] else "none"
    return {
        "layer": frozenset(layer["kind"] for layer in recurrent),
        "front": frozenset({front}),
        "depth": frozenset({str(len(recurrent))}),
        "activation": frozenset(name for layer in recurrent for name in _activations(layer)),
        "do": frozenset({what_is_done(document)}),
    }


def _activations(layer: Document) -> Iterator[str]:
    part = layer.get("cell") or layer.get("layer") or layer
    yield part.get("activation", "tanh")
    if "recurrent_activation" in FAMILIES[layer_of(part["kind"])].options:
        yield part.get("recurrent_activation", "sigmoid")
