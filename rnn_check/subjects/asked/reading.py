"""What stands in a file that Keras wrote, and may it be loaded?

A model's configuration names classes, and loading it makes them: it may name those alone that a
claim may name, so that no file can make this process run what its author wants.
"""

from __future__ import annotations

import importlib
import json
import os
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from typing import Any

from .models import Models, Stack
from .named import ACTIVATIONS, CELLS, FILES, KINDS, LAYERS
from .session import Descriptions
from .wire import Array

# what a configuration may name beside layers, and what else Keras calls it
MODELS = ("Sequential", "Functional", "Model", "InputLayer", "StackedRNNCells")
PARTS = ("DTypePolicy", "Policy", "__tuple__", "__keras_tensor__")


class Reading(Models):
    """The verb that reads a file."""

    def read_file(
        self,
        layers: Descriptions,
        input_shape: Sequence[int | None],
        data: Array,
        name: str,
        own: bool = False,
        compiled: bool = False,
    ) -> Stack:
        endings = [ending for ending in FILES if name.endswith(ending)]
        if not endings:
            raise ValueError(f"{name}: expected a file called {', '.join(FILES)}")
        specs = self.described(layers)
        keras, made = self.backend.keras, Stack(specs, [], input_shape)
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, f"model{endings[0]}")
            with open(path, "wb") as file:
                file.write(data.tobytes())
            if endings[0] == ".weights.h5":
                made.layers = [self.buildable(spec) for spec in specs]
                given = keras.Input(shape=made.shape[1:])
                made.whole = keras.Sequential([given, *made.layers])
                made.whole.load_weights(path)
            else:
                for found in () if own else refused(configuration(path)):
                    raise ValueError(f"{name} names {found}, which no claim may name")
                made.whole = keras.models.load_model(path, compile=compiled)
                every = made.whole.layers
                made.layers = [r for r in every if type(r).__name__ != "InputLayer"]
        return made


def configuration(path: str) -> Any:
    """A whole model's, as it stands in its file."""
    if path.endswith(".keras"):
        with zipfile.ZipFile(path) as archive:
            return json.loads(archive.read("config.json"))
    with importlib.import_module("h5py").File(path, "r") as file:
        return json.loads(file.attrs["model_config"])


def refused(node: Any) -> Iterator[str]:
    """The classes and functions in a configuration that are none of a claim's."""
    if isinstance(node, list):
        for each in node:
            yield from refused(each)
    if not isinstance(node, dict):
        return
    if "class_name" in node:
        name: Any = str(node["class_name"]).removesuffix("Initializer")
        known = {*LAYERS, *CELLS, *MODELS, *PARTS}.union(*KINDS.values())
        own = str(node.get("module") or "keras").partition(".")[0]
        if name == "function":
            name, known = node.get("config"), {*ACTIVATIONS}
        if name not in known or own not in ("keras", "builtins"):
            yield f"{own}: {name!r}"
    for each in node.values():
        yield from refused(each)
