"""What is the least model that is wrong in the same way?

One thing after another is taken away from a document (layers, options, steps, samples, units,
numbers), and what is left is kept if it fails as before. Every change leaves fewer or simpler
parts, so it ends; and it ends early after so many questions.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from rnn_check.refusal import ClaimError
from rnn_check.subjects.asked.named import family_of, layer_of
from rnn_check.sweep.space import Array, Document, shapes_of

MOST = 300  # questions
FEW = 4  # samples that are tried one by one
_KEPT = ("kind", "name", "units", "layer", "cell", "input_dim", "output_dim")
_ADDED = ("bias", "initial_state", "target")  # numbers that multiply nothing


def shrunk(document: Document, fails: Callable[[Document], bool], most: int = MOST) -> Document:
    """The least document found that still fails. fails: raises ClaimError for what is no claim."""
    asked = 0
    changed = True
    while changed:
        changed = False
        for smaller in _smaller(document):
            if asked >= most:
                return document
            try:
                is_same = fails(smaller)
            except ClaimError:  # before anybody was asked
                continue
            asked += 1
            if is_same:
                document, changed = smaller, True
                break
    return document


def _smaller(document: Document) -> Iterator[Document]:
    """Documents with one thing less, those that lack most first."""
    for change in (_fewer_expectations, _fewer_layers, _less_around, _unwrapped, _fewer_options,
                   _smaller_shapes, _simpler_numbers):  # fmt: skip
        yield from change(document)


def _fewer_expectations(document: Document) -> Iterator[Document]:
    if len(document["expect"]) > 1:
        for kept in document["expect"]:
            yield document | {"expect": [kept]}


def _fewer_layers(document: Document) -> Iterator[Document]:
    """Without the last ones, and without the first one in front of the others."""
    layers = document["layers"]
    for n in range(1, len(layers)):
        yield _with_layers(document, layers[:n])
    for n in range(1, len(layers)):
        yield _with_layers(document, layers[n:])


def _with_layers(document: Document, layers: list[Document]) -> Document:
    """These layers, whose weights are cut or repeated to what is in front of them now."""
    new = copy.deepcopy(document)
    new["layers"] = layers
    x = np.asarray(document["input"]["x"])
    if x.ndim == 2 and layers[0]["kind"] != "Embedding":  # the indices that one took
        x = x[..., None].astype(np.float32)
        new["input"]["x"] = x
    shapes, output = shapes_of(layers, x.shape[1:])
    new["weights"] = {
        layer: {path: _resized(document["weights"][layer][path], s) for path, s in own.items()}
        for layer, own in shapes.items()
    }
    for key in ("cotangent", "target"):
        if key in new.get("loss", {}):
            new["loss"][key] = _resized(new["loss"][key], (len(x), *output))
    return new


def _less_around(document: Document) -> Iterator[Document]:
    if "loss" in document:
        yield {key: each for key, each in document.items() if key != "loss"}
    for name in ("initial_state", "mask"):
        if name in document["input"]:
            rest = {key: each for key, each in document["input"].items() if key != name}
            yield document | {"input": rest}


def _unwrapped(document: Document) -> Iterator[Document]:
    """A layer in place of a Bidirectional one or of an RNN over its cell."""
    for at, layer in enumerate(document["layers"]):
        if layer["kind"] == "RNN" and family_of(layer["cell"]["kind"]) is not None:
            rest = {k: v for k, v in layer.items() if k not in ("kind", "cell")}
            instead = layer["cell"] | rest | {"kind": layer_of(layer["cell"]["kind"])}
            yield _replaced(document, at, instead, document["weights"][layer["name"]])
        if layer["kind"] == "Bidirectional":
            given = document["weights"][layer["name"]]
            own = {p[len("forward.") :]: w for p, w in given.items() if p.startswith("forward.")}
            yield _replaced(document, at, layer["layer"] | {"name": layer["name"]}, own)


def _replaced(document: Document, at: int, layer: Document, weights: Document) -> Document:
    layers = [*document["layers"][:at], layer, *document["layers"][at + 1 :]]
    whole = document | {"weights": document["weights"] | {layer["name"]: weights}}
    return _with_layers(whole, layers)


def _fewer_options(document: Document) -> Iterator[Document]:
    for at, layer in enumerate(document["layers"]):
        for inner in ("", "layer", "cell"):
            part = layer.get(inner, {}) if inner else layer
            for option in part:
                if option in _KEPT:
                    continue
                less = {key: each for key, each in part.items() if key != option}
                if option == "use_bias":  # a bias of zeros in its place
                    continue
                new = copy.deepcopy(document)
                new["layers"][at] = layer | {inner: less} if inner else less
                if option in ("return_sequences", "merge_mode", "reset_after"):
                    with_it = _with_layers(document | {"layers": new["layers"]}, new["layers"])
                    yield with_it
                else:
                    yield new


def _smaller_shapes(document: Document) -> Iterator[Document]:
    """Fewer samples, steps, features and units."""
    x = np.asarray(document["input"]["x"])
    B, T = x.shape[:2]
    if 1 < B <= FEW:
        for b in range(B):
            yield _indexed(document, 0, [b])
    if B > 2:
        for kept in (range(B // 2), range(B // 2, B), range(1, B), range(B - 1)):
            yield _indexed(document, 0, list(kept))
    if T > 1:
        for kept in (range(T // 2), range(T // 2, T), range(1, T), range(T - 1)):
            yield _indexed(document, 1, list(kept))
    if x.ndim == 3 and x.shape[2] > 1:
        new = copy.deepcopy(document)
        new["input"]["x"] = x[..., :1]
        yield _with_layers(new, new["layers"])
    for at, layer in enumerate(document["layers"]):
        for inner in ("", "layer", "cell"):
            part = layer.get(inner, {}) if inner else layer
            if part.get("units", 1) > 1:
                new = copy.deepcopy(document)
                (new["layers"][at][inner] if inner else new["layers"][at])["units"] = 1
                state = new["input"].get("initial_state")
                if state is not None:
                    new["input"]["initial_state"] = np.asarray(state)[..., :1]
                yield _with_layers(new, new["layers"])


def _indexed(document: Document, axis: int, kept: list[int]) -> Document:
    """Of samples (axis 0) or timesteps (axis 1) only these."""
    new = copy.deepcopy(document)
    for name in ("x", "mask"):
        if name in new["input"]:
            new["input"][name] = np.asarray(new["input"][name]).take(kept, axis)
    state = new["input"].get("initial_state")
    if state is not None and axis == 0:
        new["input"]["initial_state"] = np.asarray(state).take(kept, np.ndim(state) - 2)
    for key in ("cotangent", "target"):
        if key in new.get("loss", {}) and axis == 0:
            new["loss"][key] = np.asarray(new["loss"][key]).take(kept, 0)
    return new if axis == 0 else _with_layers(new, new["layers"])


def _simpler_numbers(document: Document) -> Iterator[Document]:
    """Ones, small integers, eighths, fewer that are not 0 in place of what was drawn, an array at a
    time. Of nothing but zeros a model computes zeros, whatever is wrong with it: what multiplies
    keeps a number that is none."""
    for way in _arrays(document):
        old = _at(document, way)
        if old.dtype.kind != "f":
            continue
        only_adds = way[-1].rpartition(".")[2] in _ADDED
        for simpler in _simpler(old):
            if (simpler.any() or only_adds) and _simplicity(simpler) < _simplicity(old):
                new = copy.deepcopy(document)
                _at(new, way[:-1])[way[-1]] = simpler
                yield new


def _simpler(old: Array) -> Iterator[Array]:
    yield from (np.zeros_like(old), np.ones_like(old), np.rint(old), np.rint(8 * old) / 8)
    parts = 2
    while parts < 2 * old.size:
        for left_out in np.array_split(np.arange(old.size), min(parts, old.size)):
            fewer = old.copy()
            fewer.flat[left_out] = 0
            yield fewer
        parts *= 2


def _simplicity(array: Array) -> tuple[int, ...]:
    if not array.any():
        return (0,)
    if (array == 1).all():
        return (1,)
    whole = array == np.rint(array)
    eighths = 8 * array == np.rint(8 * array)
    return (2, int((~eighths).sum()), int((~whole).sum()), int((array != 0).sum()))


def _arrays(document: Document) -> Iterator[tuple[str, ...]]:
    for layer, table in document["weights"].items():
        yield from (("weights", layer, path) for path in table)
    yield from (("input", name) for name in document["input"] if name != "mask")
    if "loss" in document:
        yield from (("loss", name) for name in document["loss"] if name != "kind")


def _at(document: Document, way: tuple[str, ...]) -> Any:
    node: Any = document
    for key in way:
        node = node[key]
    return node


def _resized(array: Array, shape: tuple[int, ...]) -> Array:
    """Its first numbers along each axis, over again where there are too few."""
    array = np.asarray(array)
    if array.ndim != len(shape):
        array = np.resize(array, shape)
    for axis, size in enumerate(shape):
        array = np.take(array, np.arange(size) % array.shape[axis], axis)
    return array
