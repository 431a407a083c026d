"""Which models are drawn, with which numbers, and what is done with them?

A case is a claim of which nothing was printed: its numbers are drawn, and what is expected of it
holds of every layer that computes its recurrence. Case (seed, index) of one version of the space is
the same anywhere. Cases come in families of one structure (layers, options, shapes) and many draws
of numbers, so that layers are made, traced and compiled once for all of them; and of a family,
cases next to each other have the same weights, so that they can be asked as samples of one batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np

from rnn_check.claims import toml
from rnn_check.claims.claim import Claim
from rnn_check.claims.files import loads
from rnn_check.claims.layers import AnyLayer
from rnn_check.claims.layers.layer import Shapes
from rnn_check.refusal import Refused, nearest
from rnn_check.subjects.asked.named import FAMILIES, LAYERS, cell_of, layer_of

VERSION = 3  # of what is drawn: another number, other cases
FAMILY = 32  # cases of one structure
BATCH = 8  # of these, cases of the same weights
Array = np.typing.NDArray[Any]
Document = dict[str, Any]

AXES: dict[str, tuple[str, ...]] = {
    "layer": (*FAMILIES, "RNN", "Bidirectional"),
    "front": ("none", "mask", "Masking", "Embedding"),
    "depth": ("1", "2", "3"),
    "activation": (
        *("tanh", "linear", "relu", "sigmoid", "elu", "selu", "softplus", "softsign", "gelu"),
        *("silu", "exponential", "hard_sigmoid", "leaky_relu", "relu6", "mish", "celu"),
    ),
    "scale": ("ordinary", "small", "tiny", "saturating", "dyadic", "mixed"),
    "do": (
        *("certified", "gradients", "weights_read_back", "any_shape", "cell", "reproducible"),
        *("stateful of call", "stateful of predict", "stateful of fit", "stateful of evaluate"),
        *("round_trip of config", "round_trip of weights", "round_trip of keras"),
        *("round_trip of clone", "dropout of input", "dropout of recurrent", "one_update"),
    ),
}
# what is drawn only if it is asked for: others would be other cases
ASKED_FOR: dict[str, tuple[str, ...]] = {"scale": ("huge",)}
_UNUSUAL = 0.3  # the chance of an option that is not the default
_SIZES = {"batch": 4, "timesteps": 7, "features": 5, "units": 6}  # at most
_OF_ONE_LAYER = ("cell", "one_update", "reproducible", "dropout of input", "dropout of recurrent")
_BY_ITSELF = ("one_update", "dropout of input", "dropout of recurrent")  # what is drawn is judged
_EVERY = ("certified", "gradients")  # of what can be done, what costs no model of its own
_OFTEN = 4  # times as often as the others these are done


@dataclass(frozen=True)
class Space:
    """The values that each axis may take."""

    axes: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: AXES)

    @classmethod
    def within(cls, words: Sequence[str]) -> Space:
        """Of restrictions like "layer=LSTM,GRU". Raises Refused for what there is not."""
        axes = dict(AXES)
        for word in words:
            name, equals, values = word.partition("=")
            if not equals or name not in AXES:
                raise Refused(f"{word!r}: expected AXIS=VALUE,..., AXIS one of {', '.join(AXES)}"
                              + nearest(name, AXES))  # fmt: skip
            axes[name], known = tuple(values.split(",")), (*AXES[name], *ASKED_FOR.get(name, ()))
            for value in axes[name]:
                if value not in known:
                    raise Refused(f"{word!r}: {value!r} is none of {name}'s values, "
                                  + ", ".join(known) + nearest(value, known))  # fmt: skip
        return cls(axes)


@dataclass(frozen=True)
class Case:
    """One of the models of a space. Its claim is named by what draws it."""

    seed: int
    index: int

    @property
    def name(self) -> str:
        return f"sweep-{VERSION}-{self.seed}-{self.index}"

    def claim(self, space: Space) -> Claim:
        return read(self.document(space), self.name)

    def document(self, space: Space) -> Document:
        """Of the claim file, its arrays as NumPy's."""
        structure = np.random.default_rng([VERSION, self.seed, self.family])
        numbers = np.random.default_rng([VERSION, self.seed, self.family, self.index])
        weights = np.random.default_rng([VERSION, self.seed, self.family, self.batch, 1])
        return _Drawing(space.axes, structure, numbers, weights).document(self.name)

    @property
    def family(self) -> int:
        return self.index // FAMILY

    @property
    def batch(self) -> int:
        """Those of one have the same weights, unless what is done takes each by itself."""
        return self.index // BATCH


def together(cases: Sequence[Case], space: Space) -> Document | None:
    """Cases of one batch as one: their samples behind each other. None if they cannot be."""
    documents = [case.document(space) for case in cases]
    first = documents[0]
    if len(cases) < 2 or what_is_done(first) in _BY_ITSELF:
        return None
    given = {
        name: np.concatenate([each["input"][name] for each in documents], _AXIS.get(name, 0))
        for name in first["input"]
    }
    whole = first | {"input": given}
    if "loss" in first:
        parts = [each["loss"]["cotangent"] for each in documents]
        whole["loss"] = first["loss"] | {"cotangent": np.concatenate(parts)}
    return whole


_AXIS = {"initial_state": -2}  # of the samples


def what_is_done(document: Document) -> str:
    """What is done, as `do` has it."""
    if len(document["expect"]) == 1:
        return "gradients" if "loss" in document else "certified"
    what, of = (document["expect"][1].get(key) for key in ("what", "of"))
    return f"{what} of {of}" if f"{what} of {of}" in AXES["do"] else str(what)


def read(document: Document, name: str) -> Claim:
    """The claim that a document with NumPy's arrays makes. Raises ClaimError if it makes none."""
    return loads(toml.document(document), f"{name}.claim.toml", name)


def shapes_of(
    layers: Sequence[Document], shape: tuple[int, ...]
) -> tuple[dict[str, Shapes], tuple[int, ...]]:
    """Of the weights, by layer and path, and of the output; shape: of the input, no batch in it."""
    found = {}
    for layer in layers:
        known = msgspec.convert(layer, AnyLayer)
        if own := known.weight_shapes(shape[-1]):
            found[str(layer["name"])] = own
        shape = known.shape_after(shape)
    return found, shape


class _Drawing:
    """structure: decides what a family has in common, weights those of cases that share them,
    numbers what a case has for itself.
    """

    def __init__(
        self,
        axes: Mapping[str, tuple[str, ...]],
        structure: np.random.Generator,
        numbers: np.random.Generator,
        weights: np.random.Generator,
    ) -> None:
        self.axes, self.structure, self.numbers = axes, structure, numbers
        self.weights = weights
        self.sizes = {name: self.upto(most) for name, most in _SIZES.items()}

    def of(self, axis: str) -> str:
        return str(self.structure.choice(self.axes[axis]))

    def what(self) -> str:
        """What is done."""
        each = self.axes["do"]
        often = np.array([_OFTEN if do in _EVERY else 1 for do in each])
        return str(self.structure.choice(each, p=often / often.sum()))

    def chance(self, share: float = _UNUSUAL) -> bool:
        return bool(self.structure.uniform() < share)

    def upto(self, most: int) -> int:
        return int(self.structure.integers(1, most + 1))

    # the layers

    def document(self, name: str) -> Document:
        do, front, depth = self.what(), self.of("front"), int(self.of("depth"))
        if do in _OF_ONE_LAYER:
            front, depth = "none", 1
        if do == "one_update":  # all masks that may have been drawn are tried
            self.sizes |= {"batch": 1, "features": 1, "units": self.upto(3)}
        layers = list(self._front(front))
        for number in range(depth):
            last = number == depth - 1
            layers.append(self._recurrent("abc"[number], last and self.chance(0.5), do))
        if do not in _OF_ONE_LAYER and self.chance(0.2):
            layers.append({"kind": "Dense", "name": "dense", "units": self.upto(3)})
        written: Document = {"schema": 1, "title": f"case {name}"}
        written["source"] = {"document": "rnn_check", "section": f"case {name}"}
        written["layers"] = layers
        T, F = self.sizes["timesteps"], self.sizes["features"]
        shapes, output = shapes_of(layers, (T,) if front == "Embedding" else (T, F))
        of_weights = self.numbers if do in _BY_ITSELF else self.weights
        written["weights"] = self._weights(shapes, of_weights)
        written["input"] = self._input(layers, front, do)
        if do in ("gradients", "one_update"):
            written["loss"] = self._loss(output, do)
        what, _, of = do.partition(" of ")
        of = "kernel" if do == "reproducible" else of
        extra = {"what": what} | ({"of": of} if of else {}) | {"value": True}
        whole = {"what": "certified", "value": True, "from": "the recurrence itself"}
        written["expect"] = [whole]
        if what not in _EVERY:
            written["expect"].append(extra | {"from": "what the option says"})
        return written

    def _front(self, front: str) -> Iterator[Document]:
        if front == "Masking":
            yield {"kind": "Masking", "name": "front"}
        elif front == "Embedding":
            yield {
                "kind": "Embedding", "name": "front", "input_dim": 4,
                "output_dim": self.sizes["features"], "mask_zero": self.chance(0.7),
            }  # fmt: skip

    def _recurrent(self, name: str, ends: bool, do: str) -> Document:
        kind = "RNN" if do == "cell" else self.of("layer")
        if do in _OF_ONE_LAYER[1:] and kind in ("RNN", "Bidirectional"):
            kind = self.of_one([*FAMILIES])
        sequence = {"return_sequences": True} if not ends else {}
        if kind == "Bidirectional":
            inner = self.of_one([*FAMILIES])
            merge = self.of_one(("concat", "sum", "mul", "ave"))
            layer = self._options(inner, do) | sequence
            layer.pop("go_backwards", None)
            return {"kind": kind, "name": name, "layer": layer, "merge_mode": merge}
        if kind == "RNN":
            cell = self.of_one([*map(cell_of, FAMILIES)])
            return {"kind": kind, "name": name, "cell": self._cell(cell)} | sequence
        return self._options(kind, do) | {"name": name} | sequence

    def of_one(self, values: Sequence[str]) -> str:
        return str(self.structure.choice(values))

    def _cell(self, kind: str) -> Document:
        cell: Document = {"kind": kind, "units": self.sizes["units"]}
        if self.chance():
            cell["activation"] = self.of("activation")
        if self.chance():
            cell["use_bias"] = False
        options = FAMILIES[layer_of(kind)].options
        if "recurrent_activation" in options and self.chance():
            cell["recurrent_activation"] = self.of("activation")
        if "reset_after" in options and self.chance():
            cell["reset_after"] = False
        return cell

    def _options(self, kind: str, do: str) -> Document:
        layer = self._cell(kind)
        for option in ("go_backwards", "unroll", "zero_output_for_mask"):
            if self.chance(0.2):
                layer[option] = True
        if "implementation" in LAYERS[kind] and self.chance():
            layer["implementation"] = self.upto(2)
        if do == "reproducible":
            layer["kernel_initializer"] = {"kind": "GlorotUniform", "seed": self.upto(99)}
        if do.startswith("dropout") or do == "one_update":
            rate = float(self.structure.choice([0.25, 0.5, 0.75]))
            which = "recurrent_dropout" if "recurrent" in do else "dropout"
            layer[which] = 0.5 if do == "one_update" else rate
        return layer

    # the numbers

    def _weights(self, shapes: Mapping[str, Shapes], by: np.random.Generator) -> Document:
        return {
            layer: {path: self._numbers(shape, path, by) for path, shape in own.items()}
            for layer, own in shapes.items()
        }

    def _numbers(
        self, shape: tuple[int, ...], path: str = "x", by: np.random.Generator | None = None
    ) -> Array:
        """float32, in the manner of a scale."""
        by = by or self.numbers
        scale = str(by.choice(self.axes["scale"]))
        values = by.normal(size=shape)
        if path.rpartition(".")[2] in ("kernel", "recurrent_kernel"):
            values *= shape[0] ** -0.5
        if scale == "dyadic":
            values = np.round(4 * values) / 4
        elif scale == "mixed":
            values *= 2.0 ** by.integers(-20, 6, size=shape)
        elif scale == "huge":  # or subnormal: what is made of these overflows, or is lost
            exponents = by.integers(-44, 38, size=shape), by.uniform(0, 38), by.uniform(-44, 0)
            values *= 10.0 ** exponents[by.integers(3)]
            most = float(np.finfo(np.float32).max)
            values = np.clip(values, -most, most)
        else:
            values *= {"ordinary": 1.0, "small": 0.01, "tiny": 1e-16, "saturating": 10.0}[scale]
        return np.asarray(values).astype(np.float32)

    def _input(self, layers: Sequence[Document], front: str, do: str) -> Document:
        B, T, F = (self.sizes[name] for name in ("batch", "timesteps", "features"))
        if front == "Embedding":
            return {"x": self.numbers.integers(0, 4, (B, T))}
        given: Document = {"x": self._numbers((B, T, F))}
        masked = self.numbers.uniform(size=(B, T)) < self.numbers.choice([0.1, 0.5, 1.0])
        if front == "Masking":
            given["x"][masked] = 0
        elif front == "mask":
            given["mask"] = ~masked
        first = layers[0]
        if first["kind"] not in ("Bidirectional", "Masking") and (do == "cell" or self.chance()):
            part = first.get("cell", first)
            shape = (B, part["units"])
            starts = FAMILIES[layer_of(part["kind"])].states
            given["initial_state"] = self._numbers((starts, *shape) if starts > 1 else shape)
        return given

    def _loss(self, shape: tuple[int, ...], do: str) -> Document:
        numbers = self.numbers.normal(size=(self.sizes["batch"], *shape)).astype(np.float32)
        if do == "one_update":
            return {"kind": "mse", "target": numbers}
        return {"kind": "cotangent", "cotangent": numbers}
