"""Which recurrent layers stand in a user's model, and what is each of them?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from .named import ACTIVATIONS, FAMILIES, Family, cell_of, layer_of
from .parts import as_described, named_weights, weight_name

CELLS = tuple(map(cell_of, FAMILIES))
LAYERS = ("RNN", *FAMILIES)
_ACTIVATIONS = ("activation", "recurrent_activation")


@dataclass
class Place:
    """A layer where it stands.

    path: the names of what it is in, and its own. is_direction: of a Bidirectional layer. cells:
    what each of its cells computes, as `told` says it. refused: why it is not certified; empty if
    it can be.
    """

    path: str
    layer: Any
    kind: str
    is_direction: bool = False
    cells: list[dict[str, Any]] = field(default_factory=list)
    refused: str = ""

    @property
    def is_stack(self) -> bool:
        return hasattr(getattr(self.layer, "cell", None), "cells")

    @property
    def parts(self) -> list[Any]:
        """Its cells."""
        cell = self.layer.cell
        return list(getattr(cell, "cells", [cell]))


def places(keras: Any, whole: Any, own: Mapping[Any, str]) -> list[Place]:
    """All that recur in a layer or model, in the order in which it holds them.

    own: classes of the user's, each with the class of Keras's that it computes the same as.
    """
    found = []
    for path, layer, is_direction in _within(keras, whole):
        place = Place(path, layer, type(layer).__name__, is_direction)
        try:
            place.refused = _read(keras, place, own)
        except Exception as error:  # of a user's own class anything may be raised
            place.refused = f"it cannot be read: {type(error).__name__}: {error}"
        found.append(place)
    return found


def _within(keras: Any, whole: Any) -> Iterator[tuple[str, Any, bool]]:
    """(path, layer, whether it is a direction of a Bidirectional layer)."""
    seen: set[int] = set()

    def walk(layer: Any, path: str, of: Any) -> Iterator[tuple[str, Any, bool]]:
        if id(layer) in seen:
            return
        seen.add(id(layer))
        inner = layer._flatten_layers(include_self=False, recursive=False)
        if isinstance(layer, keras.layers.RNN) or (not inner and _recurs(layer)):
            ways = [getattr(of, f"{way}_layer", None) for way in ("forward", "backward")]
            yield path, layer, any(way is layer for way in ways)
            return
        for each in inner:
            name = each.name if layer is whole else f"{path}/{each.name}"
            yield from walk(each, name, layer)

    yield from walk(whole, whole.name, None)


def _recurs(layer: Any) -> bool:
    """Whether a layer that is no RNN has weights that look as if it were one."""
    return any("recurrent" in weight_name(weight) for weight in layer.weights)


def _read(keras: Any, place: Place, own: Mapping[Any, str]) -> str:
    """What its cells compute goes into the place; why it is not certified, if it is not."""
    layer = place.layer
    if not isinstance(layer, keras.layers.RNN):
        if kind_of(keras, layer, CELLS, own):
            return "a cell outside of an RNN layer, whose steps are not seen"
        return _unknown(place.kind, "", LAYERS[1:])
    whole = kind_of(keras, layer, LAYERS, own)
    if not whole:
        return _unknown(place.kind, "", LAYERS[1:])
    if not layer.built:
        return "not built, so it has no weights"
    if getattr(layer, "time_major", False):
        return "time_major=True, which no certificate reads"
    weights = dict(named_weights(layer))
    for index, cell in enumerate(place.parts):
        kind = kind_of(keras, cell, CELLS, own)
        if not kind and type(layer) in own:  # whatever its cell is, it says what it computes
            kind = cell_of(layer_of(own[type(layer)]))
        if not kind:
            return _unknown(type(cell).__name__, "cell ", CELLS)
        prefix = f"cell_{index}." if place.is_stack else ""
        names = {p[len(prefix) :] for p in weights if p.startswith(prefix)}
        if lacking := {"kernel", "recurrent_kernel"} - names:
            return f"its cell has no weight called {sorted(lacking)[0]}"
        if extra := names - {"kernel", "recurrent_kernel", "bias"}:
            return f"its cell has a weight {sorted(extra)[0]}, which a {kind} has not"
        family = FAMILIES[layer_of(kind)]
        if absent := [name for name in ("units", *_activations(family)) if not hasattr(cell, name)]:
            return (
                f"its cell has no attribute {absent[0]}, by which a {kind} says what it computes: "
                "see docs/own_layer.md"
            )
        place.cells.append({"prefix": prefix, **told(keras, cell, family)})
    if getattr(layer.cell, "reverse_state_order", False):
        return "reverse_state_order=True, which no certificate reads"
    strange = [each[name] for each in place.cells for name in _ACTIVATIONS
               if each.get(name, "tanh") not in ACTIVATIONS]  # fmt: skip
    return f"its activation is {strange[0]}, which has no formula here" if strange else ""


def kind_of(keras: Any, layer: Any, kinds: Any, own: Mapping[Any, str]) -> str:
    """Which of Keras's classes of these names it is, or was said to compute the same as; or ""."""
    cls = type(layer)
    if own.get(cls) in kinds:
        return own[cls]
    is_keras = any(getattr(keras.layers, kind, None) is cls for kind in kinds)
    # a call that somebody put there is nobody's word but theirs
    return str(cls.__name__) if is_keras else ""


def _unknown(kind: str, what: str, kinds: Any) -> str:
    return (
        f"{kind} is a {what or 'layer '}of no known definition; if it computes what one of "
        f"Keras's does, say which: --layer KIND=FILE.py:{kind}, with KIND of {', '.join(kinds)}"
    )


def _activations(family: Family) -> tuple[str, ...]:
    return tuple(n for n in _ACTIVATIONS if n == "activation" or n in family.options)


def told(keras: Any, cell: Any, family: Family) -> dict[str, Any]:
    """What a cell computes, as `certify` takes it, and its size."""
    said = {"recurrence": family.recurrence, "units": int(cell.units)}
    for name in _activations(family):
        said[name] = activation(keras, getattr(cell, name))
    if "reset_after" in family.options:
        said["reset_after"] = bool(getattr(cell, "reset_after", True))
    return said


def activation(keras: Any, function: Any) -> str:
    """Its name, if it is Keras's own; otherwise what it looks like."""
    if function is None:
        return "linear"
    name = as_described(keras.activations.serialize(function))
    name = name if isinstance(name, str) else getattr(function, "__name__", type(function).__name__)
    try:
        known = keras.activations.get(name) is function
    except ValueError:
        known = False
    return name if known else f"a function of its own ({name})"
