"""What other models can be made of the same layers?"""

from __future__ import annotations

from typing import Any, Callable

from .models import Models, Stack
from .parts import Layers, own_output, set_weights, weights_of
from .session import Made

TAKES_WEIGHTS = ("Bidirectional", "Embedding")  # in its constructor, in every Keras


class Composing(Models):
    """The verb that puts layers together in another way."""

    def compose(self, of: Made, how: str) -> Stack:
        assert isinstance(of, Stack)
        again = Stack(of.specs, of.layers, of.shape)
        ways: dict[str, Callable[[Stack], Any]] = {
            "sequential": self.sequential, "nested": self.nested, "subclassed": self.subclassed,
            "twice": self.twice, "constructed": self.constructed,
        }  # fmt: skip
        if how not in ways:
            raise ValueError(f"unknown way {how!r} to put layers together")
        again.whole = ways[how](again)
        return again

    def given(self, of: Stack) -> Any:
        """A symbol for its input."""
        sizes = of.shape[1:]
        dtype = "int32" if of.specs[0]["kind"] == "Embedding" else self.passed_dtype(of)
        return self.backend.keras.Input(shape=sizes, batch_size=of.shape[0], dtype=dtype)

    def sequential(self, of: Stack) -> Any:
        return self.backend.keras.Sequential([self.given(of), *of.layers])

    def nested(self, of: Stack) -> Any:
        """The first half is a model, which is a layer of a model."""
        keras, half = self.backend.keras, (len(of.layers) + 1) // 2
        given = self.given(of)
        inner = keras.Model(given, one_after_the_other(of.layers[:half], given))
        outside = self.given(of)
        return keras.Model(outside, one_after_the_other([inner, *of.layers[half:]], outside))

    def subclassed(self, of: Stack) -> Any:
        layers = of.layers

        class Subclassed(self.backend.keras.Model):  # type: ignore[misc, name-defined]
            def __init__(self) -> None:
                super().__init__()
                self.own = layers

            def call(self, x: Any) -> Any:
                return one_after_the_other(self.own, x)

        return Subclassed()

    def twice(self, of: Stack) -> Any:
        """The same layers for the first half of the samples and, once more, for the others."""
        half = (of.shape[0] or 0) // 2

        def run(x: Any) -> Any:
            halves = [one_after_the_other(of.layers, part) for part in (x[:half], x[half:])]
            joined = [self.side_by_side(each) for each in halves]
            return self.backend.joined(joined, axis=0)

        return run

    def constructed(self, of: Stack) -> Any:
        """Layers made anew, their weights given to the constructor where that takes them."""
        layers = []
        for spec, layer in zip(of.specs, of.layers):
            takes = spec["kind"] in TAKES_WEIGHTS
            layers.append(self.layer(spec, **({"weights": layer.get_weights()} if takes else {})))
        self.build(layers, of.shape)
        for spec, layer, new in zip(of.specs, of.layers, layers):
            if spec["kind"] not in TAKES_WEIGHTS:
                set_weights(new, weights_of(layer))
        of.layers = layers
        return None


def one_after_the_other(layers: Layers, x: Any) -> Any:
    for layer in layers:
        x = own_output(layer, layer(x))
    return x
