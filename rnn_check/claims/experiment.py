"""What has to be run?  Layers, weights, input and loss, and nothing of what is expected.

Everything is validated, arrays stand in Keras's layout.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rnn_check.claims.gates import GateReading
from rnn_check.claims.layers import (
    AnyLayer,
    Carrying,
    Dense,
    Embedding,
    Recurrent,
    SimpleRNN,
)
from rnn_check.claims.layers.cells import Recurrence
from rnn_check.claims.layers.signal import ByHand
from rnn_check.claims.optimizers import AnyTraining
from rnn_check.claims.tables import WrongTable
from rnn_check.claims.views import View, view
from rnn_check.claims.written import Array, Given
from rnn_check.refusal import nearest

AS_KERAS = GateReading()


@dataclass(frozen=True)
class Loss:
    kind: str
    value: Given  # the cotangent or the target
    times: float = 1.0  # the author's own loss is so many times Keras's


@dataclass(frozen=True, kw_only=True)
class Experiment:
    layers: tuple[AnyLayer, ...]
    weights: Mapping[str, Mapping[str, Given]] | None = None
    x: Given | None = None
    initial_state: Given | None = None
    mask: Array | None = None
    input_shape: tuple[int, ...] | None = None  # (T, F); (T,) of an Embedding's indices
    input_dtype: str | None = None
    loss: Loss | None = None
    cell_cotangent: Given | None = None  # dL/dc of the last step (B,H), where L is of no output
    printed: Mapping[str, Given] = dataclasses.field(default_factory=dict)
    training: AnyTraining | None = None
    sample_weight: Given | None = None  # (B,) or (B,T), of its loss
    wrong: WrongTable | None = None
    gates: GateReading = AS_KERAS  # as the author has them
    # of biases that are a sum of two, the second, by layer and path of the sum
    second_biases: Mapping[str, Mapping[str, Given]] = dataclasses.field(default_factory=dict)
    # the shapes of weights as their author wrote them, by layer and path: "forward.f.kernel"
    written: Mapping[str, Mapping[str, tuple[int, ...]]] = dataclasses.field(default_factory=dict)

    @property
    def is_stateful(self) -> bool:
        """Whether any layer goes on from batch to batch."""
        return any(layer.inner.option("stateful") for layer in self.layers)

    @property
    def puts_out_two(self) -> bool:
        """Whether two arrays come out at the end."""
        return self.layers[-1].puts_out_two

    @property
    def is_stack(self) -> bool:
        """Whether it is anything but a SimpleRNN, or a SimpleRNN and then a Dense layer."""
        return [type(layer) for layer in self.layers] not in ([SimpleRNN], [SimpleRNN, Dense])

    @property
    def is_plain(self) -> bool:
        """Whether it is one recurrent layer, before a Dense layer or not."""
        return self.begins_recurrent and [type(each) for each in self.layers[1:]] in ([], [Dense])

    @property
    def begins_recurrent(self) -> bool:
        """Whether the states of its first layer can be seen, and a probe put before it."""
        return isinstance(self.layers[0], Recurrent)

    @property
    def recurrences(self) -> dict[str, tuple[Carrying, int]]:
        """Each recurrence by what a claim may call it: (layer, which of its parts).

        "second", "bidirectional.forward"; of the first recurrent layer without its name as well.
        """
        layers = [layer for layer in self.layers if isinstance(layer, Carrying)]
        found: dict[str, tuple[Carrying, int]] = {}
        for layer in layers:
            for index, (prefix, _) in enumerate(layer.recurrences):
                if layer is layers[0]:
                    found[prefix.rstrip(".")] = (layer, index)
                found[f"{layer.name}.{prefix}".rstrip(".")] = (layer, index)
        return found

    def recurrence_of(self, of: str) -> tuple[Carrying, int, str]:
        """(layer, part, what of it) of "second.c": a recurrence's name and a word, or either."""
        if of in self.recurrences:
            return *self.recurrences[of], ""
        path, _, word = of.rpartition(".")
        return *self.recurrences[path], word

    @property
    def gradients(self) -> dict[str, tuple[AnyLayer, str]]:
        """What gradients may be asked of, by what a claim may call it: (layer, path of a weight).

        "second.kernel"; of the first recurrent layer without its name as well.
        """
        first = next(layer for layer in self.layers if isinstance(layer, Carrying))
        features, found = (self.input_shape or (1,))[-1], dict[str, tuple[AnyLayer, str]]()
        if self.x_has_gradient:
            found["x"] = (self.layers[0], "x")
        found |= {path: (first, path) for path in first.weight_shapes(features)}
        if first.takes_start:
            found["initial_state"] = (first, "initial_state")
        dense = [layer for layer in self.layers if isinstance(layer, Dense)]
        if len(dense) == 1:
            found |= {f"dense.{path}": (dense[0], path) for path in dense[0].weight_shapes(1)}
        for layer in self.layers:
            own = layer.weight_shapes(features)
            found |= {f"{layer.name}.{path}": (layer, path) for path in own}
            if isinstance(layer, Carrying) and layer.takes_start:
                found[f"{layer.name}.initial_state"] = (layer, "initial_state")
        return found

    @property
    def x_has_gradient(self) -> bool:
        """Not of indices, nor where it is passed as integers or flags."""
        fractions = (self.input_dtype or "float").startswith("float")
        return fractions and not isinstance(self.layers[0], Embedding)

    @property
    def weights_known(self) -> list[str]:
        """What weights may be called, as Keras has them; `view` knows more of an author's."""
        found = self.gradients.items()
        return [name for name, (_, path) in found if path not in ("x", "initial_state")]

    def gradient_of(self, of: str) -> str:
        """What a subject calls it: without its layer's name, if that is the first recurrent one."""
        layer, path = self.gradients[of]
        return path if self.gradients.get(path) == (layer, path) else f"{layer.name}.{path}"

    @property
    def names(self) -> list[str]:
        return [layer.name for layer in self.layers]

    @property
    def rnn(self) -> Recurrent:
        layer = self.layers[0]
        assert isinstance(layer, Recurrent)
        return layer

    @property
    def dense(self) -> Dense | None:
        layer = self.layers[1] if len(self.layers) > 1 else None
        assert layer is None or isinstance(layer, Dense)
        return layer

    @property
    def processed_mask(self) -> Array | None:
        """The mask (B,T) in the order in which the steps are processed."""
        if self.mask is None or not self.rnn.option("go_backwards"):
            return self.mask
        return self.mask[:, ::-1]

    @property
    def recurrence(self) -> dict[str, Any]:
        """The recurrence and its options, as `over_time.forward` and `certify` take them."""
        return {
            **self.rnn.definition,
            "mask": self.mask,
            "go_backwards": self.rnn.option("go_backwards"),
        }

    def shape_after(self, index: int, shape: tuple[int, ...]) -> tuple[int, ...]:
        """What comes out of the layer of that number, without the batch."""
        for layer in self.layers[: index + 1]:
            shape = layer.shape_after(shape)
        return shape

    @property
    def output_shape(self) -> tuple[int, ...]:
        """With the batch."""
        assert self.x is not None
        return (self.x.shape[0], *self.shape_after(len(self.layers) - 1, self.x.shape[1:]))

    def features_of(self, layer: AnyLayer) -> int:
        """The size of the last axis of what goes into the layer."""
        assert self.input_shape is not None
        features = self.input_shape[-1]
        for before in self.layers[: self.layers.index(layer)]:
            features = before.features_after(features)
        return features

    def _features_of(self, layer: AnyLayer) -> int:
        """The same, or 1 of a claim that gives no input: what names there are does not depend."""
        return self.features_of(layer) if self.input_shape is not None else 1

    def view(self, of: str) -> View:
        """The weight that the author calls so, as a view of Keras's arrays by layer and path.

        of: "f.kernel" of the first recurrent layer, "second.forward.kernel" of another. Raises
        ValueError, which says why, for what the author cannot mean.
        """
        if of in self.weights_known and not isinstance(self.gradients[of][0], Carrying):
            layer, path = self.gradients[of]
            shape = layer.weight_shapes(self._features_of(layer))[path]
            turned = self.gates.layout == "W·x" and path.endswith("kernel")
            return View.whole(path, shape, turned).under(f"{layer.name}.")
        carrying = [each for each in self.layers if isinstance(each, Carrying)]
        named = next((each for each in carrying if of.startswith(f"{each.name}.")), None)
        layer = named or carrying[0]
        path = of.removeprefix(f"{layer.name}.") if named else of
        written, features = self.written.get(layer.name, {}), self._features_of(layer)
        parts = {prefix: (part, fan_in) for prefix, part, fan_in in layer.parts(features)}
        prefix = next((each for each in parts if path.startswith(each)), None)
        if prefix is None:
            raise ValueError(f"unknown {of!r}{nearest(of, self.weights_known)}")
        part, fan_in = parts[prefix]
        assert isinstance(part, Recurrence)
        own = {n.removeprefix(prefix): s for n, s in written.items() if n.startswith(prefix)}
        try:
            found = view(
                path.removeprefix(prefix), part.own_shapes(fan_in), own, self.gates, part.letters,
                part.units,
            )  # fmt: skip
        except LookupError as problem:
            known = {*self.weights_known, *(prefix + name for name in problem.args[0])}
            raise ValueError(f"unknown {of!r}{nearest(of, known)}") from None
        return found.under(f"{layer.name}.{prefix}")

    def rounded_by_hand(self) -> Mapping[str, ByHand]:
        """Of each layer, half a unit of the last digit to which somebody who computes by hand
        rounds what is carried on."""
        return {}
