"""What is a recurrent layer in somebody's file, whoever wrote it, and what does it give?

Each direction of a layer is a layer of its own here, with its weights as Keras has them. Where
others have a second bias that Keras has not, it is `recurrent_bias`.

Sizes: B samples, T timesteps, F features, H units, G gates.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rnn_check.claims.written import Array
from rnn_check.refusal import Refused, one_of
from rnn_check.subjects.ask import Subject, decode
from rnn_check.subjects.asked.layouts import KERAS, ways
from rnn_check.subjects.asked.loading import no_model
from rnn_check.subjects.plan import Message, Step, step

ENDS = {
    **{"pt": "torch", "pth": "torch", "safetensors": "torch", "onnx": "onnx"},
    **{"keras": "keras", "h5": "keras", "hdf5": "keras"},
}
FORM = "FILE:LAYER, with FILE one of " + ", ".join(f".{end}" for end in ENDS)
_PLACE = re.compile(rf"(.*?\.(?:{'|'.join(ENDS)}))(?::(.*))?", re.DOTALL)


class Unportable(Refused):
    """What is no layer that can be compared."""


@dataclass(frozen=True)
class Place:
    """Where a layer is kept. layer: its name there; "" is the only one."""

    text: str
    file: Path
    layer: str
    framework: str


def place(text: str) -> Place:
    """FILE:LAYER, or FILE if it has but one layer. Raises Unportable."""
    match = _PLACE.fullmatch(text)
    if match is None:
        raise Unportable(f"{text}: expected {FORM}")
    file = Path(match[1])
    if not file.is_file():
        raise Unportable(f"{file}: {'a folder' if file.is_dir() else 'no such file'}")
    if why := no_model(str(file)):
        raise Unportable(f"{file}: {why}")
    return Place(text, file, match[2] or "", ENDS[file.suffix[1:]])


@dataclass(frozen=True)
class Way:
    """One direction. name: "", "forward" or "backward". spec: its description, which names no
    activation where the file does not say which it is.

    kernel (F,GH), recurrent_kernel (H,GH), bias (GH,), or (2,GH) of a GRU with reset_after;
    recurrent_bias (GH,). Biases are None where there are none.
    """

    name: str
    spec: Mapping[str, Any]
    kernel: Array
    recurrent_kernel: Array
    bias: Array | None = None
    recurrent_bias: Array | None = None

    @property
    def kind(self) -> str:
        return str(self.spec["kind"])

    @property
    def features(self) -> int:
        return len(self.kernel)

    @property
    def units(self) -> int:
        return len(self.recurrent_kernel)

    def option(self, name: str) -> Any:
        usual = {"activation": "tanh", "recurrent_activation": "sigmoid"}
        return self.spec.get(name, usual.get(name, name == "reset_after"))

    @property
    def weights(self) -> dict[str, Array]:
        names = ("kernel", "recurrent_kernel", "bias", "recurrent_bias")
        return {n: a for n in names if (a := getattr(self, n)) is not None}


@dataclass(frozen=True)
class Kept:
    """A layer as its file has it. who: the framework, and its version. dtype: of its weights."""

    place: Place
    who: str
    ways: tuple[Way, ...]
    dtype: str


def kept(where: Place, subject: Subject) -> Kept:
    """The layer that stands there. Raises Unportable, and SubjectError if it cannot be asked."""
    said = _answer(subject, where, step("describe", where=str(where.file), only=where.layer))
    named = [each for each in said["layers"] if _recurrent(each) is not None]
    if len(named) != 1:
        names = ", ".join(str(each.get("name")) for each in named)
        several = f"it has several layers: {names}; name one" if named else "it has none"
        raise Unportable(f"{where.text}: expected one {one_of(KERAS)}; {several}")
    (layer,) = named
    weights = decode(said["weights"][layer["name"]])
    found = []
    for prefix, inner in ways(layer):
        own = {p[len(prefix) :]: a for p, a in weights.items() if p.startswith(prefix)}
        backwards = bool(inner.get("go_backwards")) or prefix == "backward."
        options = ("kind", "activation", "recurrent_activation", "reset_after")
        spec = {key: inner[key] for key in options if key in inner}
        if where.framework != "torch" or inner["kind"] != "SimpleRNN":  # which does not say it
            spec.setdefault("activation", "tanh")
        found.append(Way(prefix[:-1], {**spec, "go_backwards": backwards}, **own))
    who = subject.identity
    version = f"{who.backend} {who.backend_version}"
    told = f"keras {who.keras} on {version}" if who.is_keras else version
    return Kept(where, told, tuple(found), str(found[0].kernel.dtype.name))


def states(layer: Kept, way: Way, activation: str, x: Array, dtype: str, subject: Subject) -> Array:
    """What the framework gives for it with these weights: (B,T,H), in processing order.

    Raises Unportable, and SubjectError if it cannot be asked.
    """
    spec = {**way.spec, "name": "layer", "units": way.units, "return_sequences": True}
    spec["activation"] = activation
    spec |= {} if way.bias is not None else {"use_bias": False}
    made = step("make", layers=[spec], input_shape=list(x.shape), weights={"layer": way.weights})
    run = step("run", of=made, keep=["states"], x=x)
    return np.asarray(decode(_answer(subject, layer.place, run, dtype)["states"]))


def _recurrent(layer: Mapping[str, Any]) -> str | None:
    if layer["kind"] == "Bidirectional" and "backward_layer" in layer:
        raise Unportable(f"the two directions of {layer.get('name')} differ: port them one by one")
    inner = layer.get("layer", layer) if layer["kind"] == "Bidirectional" else layer
    return inner["kind"] if inner.get("kind") in KERAS else None


def _answer(subject: Subject, where: Place, asked: Step, dtype: str = "float32") -> Any:
    message = Message([asked], {"dtype": dtype})
    said = subject.follow(message, ["a layer"])[message.names[asked.digest]]
    for why in ("refused", "unsupported", "error"):
        if why in said:
            raise Unportable(f"{where.text}: {said[why]}")
    return said


def generated(features: int, samples: int, timesteps: int, seed: int) -> Array:
    """An input (B,T,F) of multiples of 1/8, which every arithmetic holds."""
    rng = np.random.default_rng(seed)
    return rng.integers(-12, 13, (samples, timesteps, features)) / 8


def pairs(before: Kept, after: Kept) -> Iterator[tuple[Way, Way]]:
    """The directions that belong together. Raises Unportable if they cannot."""
    if len(before.ways) != len(after.ways):
        told = [f"{each.place.text} has {len(each.ways)}" for each in (before, after)]
        raise Unportable(f"{' direction(s), '.join(told)}: they cannot be the same layer")
    yield from zip(before.ways, after.ways, strict=True)
