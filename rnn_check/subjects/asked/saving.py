"""What becomes of a keras.Model that is saved and loaded, copied, exported, or carried away?"""

from __future__ import annotations

import copy
import importlib
import importlib.util
import io
import os
import pickle
import shutil
import tempfile
import zipfile
from typing import Any, Callable

import numpy as np

from .models import Inputs, Models, Stack, cast, in_order, inputs_of, model_key
from .own import load_class
from .parts import configuration, flat
from .session import Answer, Maybe, Unsupported
from .wire import Array, encode

# what a backend makes a SavedModel with, beside what it computes with
EXPORTS_WITH = {"tensorflow": (), "jax": ("tensorflow",), "torch": ("tensorflow", "torch_xla")}
RENAMED = ("weights",)  # the ways that load into layers made anew, with names of their own


class Saving(Models):
    """The verbs that write a model down and read it again."""

    def reload(self, of: Stack, how: str, after: str = "") -> Stack:
        if not of.inputs:
            raise ValueError("what is saved and loaded has to be made as a model of its inputs")
        model = self.model(of, of.inputs)
        again = Stack(of.specs, of.layers, of.shape)
        again.inputs = of.inputs
        ways: dict[str, Callable[[Stack, Stack, Any, str], Any]] = {
            "config": self.by_config, "config_twice": self.by_config_twice,
            "clone": self.by_clone, "weights": self.by_weights,
            "keras": self.by_file, "h5": self.by_file,
            "pickle": lambda _, __, model, ___: pickle.loads(pickle.dumps(model)),
            "deepcopy": lambda _, __, model, ___: copy.deepcopy(model),
        }  # fmt: skip
        if how not in ways:
            raise ValueError(f"unknown way {how!r} of a round trip")
        custom = {cls.__name__: cls for cls in map(load_class, self.replace.values())}
        knowing = self.backend.keras.utils.custom_object_scope(custom)
        with tempfile.TemporaryDirectory() as folder, knowing:
            loaded = ways[how](of, again, model, os.path.join(folder, f"model.{how}"))
        # an InputLayer's default name is counted
        again.layers = [r for r in loaded.layers if type(r).__name__ != "InputLayer"]
        key = model_key(of.inputs)
        again.models[key] = loaded
        again.loaded = True
        if key in of.compiled and getattr(loaded, "optimizer", None) is not None:
            again.compiled[key] = of.compiled[key]
            loaded.run_eagerly = model.run_eagerly  # which no HDF5 file says
        configs = [
            [configuration(r.get_config(), named=how not in RENAMED) for r in each.layers]
            for each in (of, again)
        ]
        weights = [[encode(weight) for weight in each.get_weights()] for each in (model, loaded)]
        again.told = {
            "same_config": configs[0] == configs[1],
            "same_weights": weights[0] == weights[1],
        }
        return again

    def by_config(self, of: Stack, again: Stack, model: Any, path: str) -> Any:
        again.layers = [type(layer).from_config(layer.get_config()) for layer in of.layers]
        return self.with_weights(again, model)

    def by_config_twice(self, of: Stack, again: Stack, model: Any, path: str) -> Any:
        """A configuration is used once, and once more."""
        configs = [layer.get_config() for layer in of.layers]
        for layer, config in zip(of.layers, configs):
            type(layer).from_config(config)
        again.layers = [type(r).from_config(config) for r, config in zip(of.layers, configs)]
        return self.with_weights(again, model)

    def with_weights(self, again: Stack, model: Any) -> Any:
        loaded = self.model(again, again.inputs)
        loaded.set_weights(model.get_weights())
        return loaded

    def by_clone(self, of: Stack, again: Stack, model: Any, path: str) -> Any:
        loaded = self.backend.keras.models.clone_model(model)
        loaded.set_weights(model.get_weights())
        return loaded

    def by_weights(self, of: Stack, again: Stack, model: Any, path: str) -> Any:
        again.layers = [self.buildable(spec) for spec in of.specs]
        loaded = self.model(again, of.inputs)
        loaded.load_weights(written(model, path))
        return loaded

    def by_file(self, of: Stack, again: Stack, model: Any, path: str) -> Any:
        return self.backend.keras.models.load_model(written(model, path))

    def save(self, of: Stack, how: str, after: str = "") -> Answer:
        model = self.model(of, of.inputs)
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, f"model.{how}")
            if how == "export":
                self.exported(model, path)
                path = shutil.make_archive(path, "zip", path)
            else:
                path = written(model, path)
            return {"file": encode(np.fromfile(path, np.uint8))}

    def serve(
        self, data: Array, x: Maybe = None, initial_state: Any = None, mask: Maybe = None
    ) -> Answer:
        if importlib.util.find_spec("tensorflow") is None:
            raise Unsupported("tensorflow, which reads a SavedModel, is not installed")
        tensorflow = importlib.import_module("tensorflow")
        with tempfile.TemporaryDirectory() as folder:
            zipfile.ZipFile(io.BytesIO(data.tobytes())).extractall(folder)
            served = tensorflow.saved_model.load(folder)
        wide = self.dtype == "float64"
        dtype = np.dtype("float64" if wide else self.backend.keras.backend.floatx())
        return self.served(tensorflow, served, cast(inputs_of(x, initial_state, mask), dtype))

    def export(
        self, of: Stack, x: Maybe = None, initial_state: Any = None, mask: Maybe = None
    ) -> Answer:
        inputs: Inputs = inputs_of(x, initial_state, mask)
        with tempfile.TemporaryDirectory() as folder:
            self.exported(self.model(of, inputs), folder)
            tensorflow = importlib.import_module("tensorflow")
            served = tensorflow.saved_model.load(folder)
        return self.served(tensorflow, served, self.passed(of, inputs))

    def exported(self, model: Any, folder: str) -> None:
        """Write it there as a SavedModel."""
        if not hasattr(model, "export"):
            raise Unsupported(f"a model of Keras {self.backend.keras_version} has no export")
        if self.backend.name not in EXPORTS_WITH:
            raise Unsupported(f"Keras on {self.backend.name} writes no SavedModel")
        for name in EXPORTS_WITH[self.backend.name]:
            if importlib.util.find_spec(name) is None:
                raise Unsupported(f"{name}, which a SavedModel is made with, is not installed")
        model.export(folder)

    def served(self, tensorflow: Any, served: Any, inputs: Inputs) -> Answer:
        given = {n: tensorflow.constant(array) for n, array in inputs.items()}
        each = [given[name] for name in in_order(given)]
        try:
            found = served.serve(each)
        except TypeError:  # of Keras 2, and of 3.0, one input alone is in no list
            found = served.serve(*each)
        return {"output": encode(np.concatenate([e.numpy() for e in flat(found)], axis=-1))}


def written(model: Any, path: str) -> str:
    """Where it is written: weights alone, if the path says so, or the whole model."""
    if not path.endswith(".weights"):
        model.save(path)
        return path
    model.save_weights(f"{path}.h5")
    return f"{path}.h5"
