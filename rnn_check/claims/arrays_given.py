"""Which arrays does a document give, and do they fit its layers?

Sizes: B batch, H units of the recurrent layer, S of its states.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np

from rnn_check.claims import gates, weights_given
from rnn_check.claims.experiment import Experiment, Loss
from rnn_check.claims.layers import (
    AnyLayer,
    Carrying,
    Dense,
    Embedding,
    Layer,
    Masking,
    Recurrent,
)
from rnn_check.claims.layers.cells import Recurrence
from rnn_check.claims.schema import ClaimFile
from rnn_check.claims.tables import LossTable
from rnn_check.claims.written import Array, Given, Reader
from rnn_check.refusal import ClaimError, any_of, nearest
from rnn_check.subjects.asked.named import FAMILIES


@dataclass
class Arrays:
    """What the tables of numbers give. Raises ClaimError for what does not fit the layers.

    written: the shapes of the weights as their author wrote them, of each layer by path. second:
    of biases that are a sum of two, the second.
    """

    read: Reader
    doc: ClaimFile
    layers: tuple[AnyLayer, ...]
    written: dict[str, dict[str, tuple[int, ...]]]
    second: dict[str, dict[str, Given]] = field(default_factory=dict)

    def fail(self, key: str, problem: str) -> ClaimError:
        return self.read.fail(key, problem)

    def input(
        self,
    ) -> tuple[Given | None, Given | None, Array | None, tuple[int, ...] | None]:
        table, layers = self.doc.input, self.layers
        if table is None:
            return None, None, None, None
        reading = self.doc.reading.input
        if (table.x is None) == (table.shape is None):
            raise self.fail("input", "give either x, or shape = [timesteps, features]")
        if table.shape is not None:
            wanted = "[timesteps]" if isinstance(layers[0], Embedding) else "[timesteps, features]"
            if len(table.shape) != wanted.count(",") + 1:
                raise self.fail("input.shape", f"expected {wanted}, got {table.shape}")
            for key in ("initial_state", "mask"):
                if getattr(table, key) is not None:
                    raise self.fail(f"input.{key}", "needs x, not only a shape")
            return None, None, None, tuple(table.shape)
        x = self.read.given(table.x, "input.x", reading, finite=False)
        axes: tuple[str, ...] = ("batch", "timesteps", "features")
        if isinstance(layers[0], Embedding):
            axes = axes[:2]
            indices = x.value
            if not ((indices == np.rint(indices)) & (indices >= 0)).all():
                raise self.fail("input.x", "expected indices of the embedding: 0, 1, 2, ...")
            if indices.max() >= layers[0].input_dim:
                raise self.fail("input.x", f"an index is not below {layers[0].input_dim}")
        if len(x.shape) != len(axes):
            raise self.fail("input.x", f"expected ({', '.join(axes)}), got {x.shape}")
        batch, timesteps = x.shape[:2]
        state = mask = None
        if table.initial_state is not None:
            first = next(layer for layer in layers if not isinstance(layer, Masking))
            if not (isinstance(first, Carrying) and first.takes_start):
                raise self.fail(
                    "input.initial_state",
                    f"only of a {', '.join(FAMILIES)}, a Bidirectional layer whose directions have "
                    "as many states, or an RNN over one cell that is the first layer, or comes "
                    "after Masking",
                )
            state = self._start(table.initial_state, first, batch)
        if table.mask is not None:
            if isinstance(layers[0], Masking | Embedding):
                raise self.fail("input.mask", f"{layers[0].name} makes the mask; leave it out")
            mask = self.read.booleans(table.mask, "input.mask")
            self._shaped(mask.shape, (batch, timesteps), "input.mask")
        return x, state, mask, x.shape[1:]

    def _start(self, node: Any, layer: Carrying, batch: int) -> Given:
        """(B,H), or of several states (S,B,H) as Keras orders them.

        Of several parts that have several states each they may be written part by part.
        """
        key = "input.initial_state"
        state = self.read.given(node, key, self.doc.reading.input)
        each = [len(part.states) for _, part in layer.recurrences]
        one = (batch, layer.state_sizes[0])
        nested = (len(each), each[0], *one)
        shape = (sum(each), *one) if sum(each) > 1 else one
        if min(nested[:2]) > 1 and state.shape == nested:
            state = state.each(lambda a: a.reshape(shape))
        self._shaped(state.shape, shape, key)
        if self.doc.reading.states == "[c, h]":
            state = state.each(lambda a: a.reshape(nested)[:, ::-1].reshape(shape))
        return state

    def _shaped(self, got: tuple[int, ...], wanted: tuple[int, ...], key: str) -> None:
        if got != wanted:
            raise self.fail(key, f"expected shape {wanted}, got {got}")

    def weights(self, features: int | None) -> dict[str, dict[str, Given]] | None:
        tables, layers = self.doc.weights, self.layers
        if tables is None:
            return None
        if self.doc.layer is not None:
            return {layers[0].name: self._layer_weights(layers[0], tables, "weights", features)}
        several = ", ".join(f"[weights.{n.name}]" for n in layers if not isinstance(n, Masking))
        for name in tables:
            if not isinstance(tables[name], dict) and name not in {n.name for n in layers}:
                raise self.fail(f"weights.{name}", f"of which of the [[layers]]? Give {several}")
            if name not in (names := [layer.name for layer in layers]):
                raise self.fail(f"weights.{name}", f"no layer has that name{nearest(name, names)}")
        weights = {}
        wanted = {e.what for e in self.doc.expect if not e.not_run}
        reachable = "predictions_reachable" in wanted
        for layer in layers:
            key = f"weights.{layer.name}"
            table = tables.get(layer.name)
            if table is None and (
                isinstance(layer, Masking) or (reachable and isinstance(layer, Dense))
            ):
                continue  # that claim asks whether such weights exist
            if not isinstance(table, dict):
                raise self.fail(key, f"expected a table of that layer's weights; give {several}")
            weights[layer.name] = self._layer_weights(layer, table, key, features)
            if features is not None:
                features = layer.features_after(features)
        return weights

    def _layer_weights(
        self, layer: Layer, table: dict[str, Any], key: str, features: int | None
    ) -> dict[str, Given]:
        if isinstance(layer, Carrying):
            return self._of_parts(layer, table, key, features)
        shapes = layer.weight_shapes(-1 if features is None else features)
        return self._arrays(
            table,
            {n: tuple(None if size < 0 else size for size in s) for n, s in shapes.items()},
            key,
        )

    def _of_parts(
        self, layer: Carrying, table: dict[str, Any], key: str, features: int | None
    ) -> dict[str, Given]:
        """Of each of its parts, whose author may have written gates and biases in other ways."""
        parts = layer.parts(-1 if features is None else features)
        names = [prefix.removesuffix(".") for prefix, _, _ in parts]
        arrays: dict[str, Given] = {}
        for name in table if names != [""] else ():
            if name not in names:
                raise self.fail(f"{key}.{name}", f"unknown key{nearest(name, names)}")
        for name, (prefix, part, fan_in) in zip(names, parts, strict=True):
            assert isinstance(part, Recurrence)
            own, at = (table.get(name), f"{key}.{name}") if name else (table, key)
            if not isinstance(own, dict):
                raise self.fail(at, f"expected a table of its {', '.join(gates.PARTS[:3])}")
            given = weights_given.given(own, self.read, part.letters, self.doc.reading.weights, at)
            told = given, self.doc.reading, part.letters, part.units, None if fan_in < 0 else fan_in
            how: dict[str, Any] = {
                "fail": self.fail, "key": at, "use_bias": part.option("use_bias"),
                "biases": part.recurrence.biases,
            }  # fmt: skip
            found = weights_given.weights(*told, **how)
            if (second := weights_given.second_bias(*told, **how)) is not None:
                self.second.setdefault(layer.name, {})[f"{prefix}bias"] = second
            arrays |= {prefix + part_of: array for part_of, array in found.items()}
            written = self.written.setdefault(layer.name, {})
            written |= {prefix + path: shape for path, shape in weights_given.shapes(given).items()}
        return arrays

    def _arrays(
        self, table: dict[str, Any], wanted: dict[str, tuple[int | None, ...]], key: str
    ) -> dict[str, Given]:
        for k in table:
            if k not in wanted:
                raise self.fail(f"{key}.{k}", f"unknown key{nearest(k, wanted)}")
        arrays = {}
        for k, shape in wanted.items():
            if k not in table:
                raise self.fail(f"{key}.{k}", "required key is missing")
            array = self.read.given(table[k], f"{key}.{k}", self.doc.reading.weights)
            array = self._turned(array, k)
            got = array.shape
            if len(got) != len(shape) or any(
                w not in (None, g) for g, w in zip(got, shape, strict=False)
            ):
                layout = " (after W·x is turned into x·W)" * self._is_turned(k)
                sizes = tuple("features" if w is None else w for w in shape)
                raise self.fail(f"{key}.{k}", f"expected shape {sizes}, got {got}{layout}")
            arrays[k] = array
        return arrays

    def _is_turned(self, name: str) -> bool:
        """Whether the author's layout of a weight, or of its gradient, is not Keras's."""
        return self.doc.reading.layout == "W·x" and name.endswith("kernel")

    def _turned(self, array: Given, name: str) -> Given:
        both = self._is_turned(name) and len(array.shape) == 2
        return array.transposed() if both else array

    def printed(self, features: int | None) -> dict[str, Given]:
        if self.doc.printed is None:
            return {}
        table = msgspec.structs.asdict(self.doc.printed)
        arrays = {
            k: self._turned(self.read.given(v, f"printed.{k}", "rounded"), k)
            for k, v in table.items()
            if v is not None
        }
        if self.doc.reading.joined is not None and "kernel" in arrays:
            joined = self.doc.reading.joined
            problem = f'with joined = "{joined}" it holds two; [printed] has the kernel of x alone'
            raise self.fail("printed.kernel", problem)
        rnn = self.layers[0]
        for k in [k for k in arrays if k != "predictions"]:
            if not isinstance(rnn, Recurrent):
                problem = f"only beside {any_of(FAMILIES)} that comes first"
                raise self.fail(f"printed.{k}", problem)
            if k == "kernel" and features is None:
                raise self.fail("input", "required: how many features the printed kernel has")
            shapes = rnn.own_shapes(features or 0)
            if k not in shapes:
                raise self.fail(f"printed.{k}", f"{rnn.name} has none")
            self._shaped(arrays[k].shape, shapes[k], f"printed.{k}")
        return arrays

    def cell_cotangent(self, x: Given | None) -> Given:
        table, layers = self.doc.loss, self.layers
        assert table is not None
        (first, *rest) = layers
        if rest or not isinstance(first, Recurrent) or "c" not in first.letters.states:
            having = any_of(kind for kind, family in FAMILIES.items() if family.states > 1)
            raise self.fail("loss.of", f"only {having} alone has a last cell state; leave it out")
        if table.kind != "cotangent" or table.target is not None or table.cotangent is None:
            raise self.fail("loss", 'of = "c" takes a cotangent, and nothing else')
        value = self.read.given(table.cotangent, "loss.cotangent")
        if x is not None:
            self._shaped(value.shape, (x.shape[0], first.units), "loss.cotangent")
        return value

    def loss(self, x: Given | None) -> Loss | None:
        table = self.doc.loss
        if table is None:
            return None
        name = "cotangent" if table.kind == "cotangent" else "target"
        other = "target" if name == "cotangent" else "cotangent"
        if getattr(table, name) is None:
            raise self.fail(f"loss.{name}", f"required for the loss {table.kind!r}")
        if getattr(table, other) is not None:
            raise self.fail(f"loss.{other}", f"not used by the loss {table.kind!r}; leave it out")
        value = self.read.given(getattr(table, name), f"loss.{name}")
        if x is not None:
            self._shaped(
                value.shape, Experiment(layers=self.layers, x=x).output_shape, f"loss.{name}"
            )
        return Loss(table.kind, value, self._times(table, value.value))

    def sample_weight(self, x: Given | None, loss: Loss | None) -> Given | None:
        """(B,), or (B,T) where each timestep has a target; class_weight as what it comes to."""
        training, key = self.doc.training, "training.sample_weight"
        if training is None or x is None or not training.is_weighted:
            return None
        if loss is None or loss.kind != "mse":
            raise self.fail("loss", "what is weighted is an mse against a target; give both")
        target = loss.value.value
        if training.class_weight is not None:
            key = "training.class_weight"
            if target.ndim != 2:
                raise self.fail(key, "expected one target of each sample, got one of each timestep")
            each = self.read.given([*training.class_weight.values(), 1], key)
            at = {int(name): i for i, name in enumerate(training.class_weight)}
            classes = target.argmax(axis=-1) if target.shape[1] > 1 else np.round(target[:, 0])
            index = np.array([at.get(int(c), -1) for c in classes])
            return each.each(lambda part: part[index])
        given = self.read.given(training.sample_weight, key)
        if given.shape not in (shapes := [target.shape[:1], target.shape[:-1]]):
            wanted = " or ".join(map(str, dict.fromkeys(shapes)))
            raise self.fail(key, f"expected shape {wanted}, got {given.shape}")
        if (given.value < 0).any():
            raise self.fail(key, "expected numbers of 0 or more")
        return given

    def _times(self, table: LossTable, target: Array) -> float:
        """How many times Keras's mean the author's loss is."""
        plain = table.reduction == "mean" and table.factor is msgspec.UNSET
        key = "loss.factor" if table.reduction == "mean" else "loss.reduction"
        if plain:
            return 1.0
        if table.kind == "cotangent":
            raise self.fail(key, "of a loss of Keras's only; a cotangent is the sum that it says")
        if self.doc.training is not None:
            raise self.fail(key, "not beside [training], which is of Keras's mean; leave it out")
        made = any(isinstance(layer, Masking | Embedding) for layer in self.layers)
        if table.reduction != "mean" and (made or (self.doc.input and self.doc.input.mask)):
            raise self.fail(key, "not beside a mask: Keras's mean is of what that keeps")
        rows = target.reshape(-1, target.shape[-1])
        terms = target.size if table.kind == "mse" else len(rows)
        times = float(terms) if table.reduction == "sum" else 1.0
        if table.reduction == "mean of targets":
            if table.kind == "mse":
                raise self.fail(key, "of categorical_crossentropy only: rows of zeros do not count")
            there = int(rows.any(axis=-1).sum())
            if not there:
                raise self.fail(key, "every row of the target is zero")
            times = terms / there
        if table.factor is not msgspec.UNSET:
            factor = self.read.number(table.factor, "loss.factor")
            if factor == 0:
                raise self.fail("loss.factor", "expected a number that is not 0")
            times *= factor
        return times
