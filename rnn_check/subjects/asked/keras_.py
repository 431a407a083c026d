"""How does Keras obey?

Keras 3 on each of its backends, and Keras 2. What needs a decision about its versions stays here,
in `backends` and in `parts`.
"""

from __future__ import annotations

import functools
import platform
from collections.abc import Sequence
from typing import Any, Callable

import numpy as np

from . import shelf
from .backends import Backend, default_backend, dtype_name, open_backend
from .composing import Composing
from .described import described
from .fitting import Fitting, told_of_states
from .inspected import inspected
from .machine import ENVIRONMENT, SETTINGS, cpu_model, packages
from .models import Inputs, Stack, inputs_of
from .named import refusals_of_wrong
from .own import lacking, load_class
from .parts import (
    Layers,
    Tensors,
    as_described,
    counts,
    first,
    has_more_outputs,
    is_floating,
    own_output,
    read_weights,
    reset,
    set_weights,
    state_and_mask,
    trainable_weights,
    weights_of,
)
from .reading import Reading
from .running import Running
from .saving import Saving
from .session import Answer, Descriptions, Made, Maybe
from .weight_files import described_in, layers_in
from .wire import Array


class Keras(Running, Fitting, Saving, Composing, Reading):
    """Keras on one backend."""

    framework = "keras"

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.shelf = shelf.Shelf()

    def identity(self) -> Answer:
        """Device and dtype are read from the output of a small SimpleRNN."""
        backend = self.backend
        keras = backend.keras
        output = keras.layers.SimpleRNN(1)(backend.tensor(np.zeros((1, 1, 1), np.float32)))
        settings = {name: value for name, value in ENVIRONMENT.items() if SETTINGS.match(name)}
        settings.update(backend.settings())
        if backend.floatx != "float32":
            settings["floatx"] = backend.floatx
        return {
            "framework": "keras",
            "keras": backend.keras_version,
            "backend": backend.name,
            "backend_version": backend.version,
            "python": platform.python_version(),
            "numpy": np.__version__,
            "packages": packages(),
            "device": backend.device(output),
            "dtype": dtype_name(output),
            "modes": list(backend.modes),
            "gradients": backend.differentiates,
            "cpu": cpu_model(),
            "threads": backend.threads(),
            "platform": platform.platform(),
            "settings": settings,
        }

    def begin(self, how: Answer) -> None:
        self.shelf.put_back()
        self.how, self.seeded = how, False
        self.replace = how.get("replace") or {}
        super().begin({**how, "replace": None})
        self.backend.set_precision(self.dtype, how.get("floatx"))

    def whose(self, error: Exception) -> Answer:
        # of a layer of the user's it is not Keras's word
        if isinstance(error, NotImplementedError) and not self.replace:
            return {"unsupported": f"NotImplementedError: {error}"}
        return super().whose(error)

    def make(
        self,
        layers: Descriptions,
        input_shape: Sequence[int | None],
        weights: dict[str, dict[str, Array]] | None = None,
        like: Made | None = None,
        below: dict[str, dict[str, Array]] | None = None,
        drawn: bool = False,
        model: dict[str, Array] | None = None,
        seed: int | None = None,
        copy: str = "",
    ) -> Stack:
        specs = self.described(layers)
        if seed is not None:
            self.seeded = True  # and what is made from here on draws its numbers
            self.backend.keras.utils.set_random_seed(seed)
        given = {name: dict(table) for name, table in (weights or {}).items()}
        if like is not None:
            assert isinstance(like, Stack)
            given.update((r.name, weights_of(r)) for r in like.layers[: len(specs)])
        for name, table in (below or {}).items():
            for path, rows in table.items():
                above = given[name][path]
                given[name][path] = np.concatenate([above, rows.astype(above.dtype)])
        inputs = None if model is None else inputs_of(**model)
        kept = not (drawn or self.seeded or self.replace) and shelf.hold_weights_only(specs)
        key = shelf.key(specs, input_shape, inputs, self.how) if kept else ""
        made = self.shelf.take(key, given) if kept else None
        if made is None:
            made = self.made(specs, input_shape, given, inputs, drawn)
            if kept:
                self.shelf.lend(key, made)
        if inputs is not None:
            made.inputs = inputs
        for layer in made.layers:
            set_weights(layer, given.pop(layer.name, {}))
        if given:
            made.spoilt = True
            names = [layer.name for layer in made.layers]
            raise ValueError(f"weights for {sorted(given)}, but the layers are {names}")
        return made

    def made(
        self,
        specs: Descriptions,
        shape: Sequence[int | None],
        given: dict[str, dict[str, Array]],
        inputs: Inputs | None,
        drawn: bool,
    ) -> Stack:
        """The layers anew, their weights as they are drawn where it matters."""
        if inputs is not None:
            made = Stack(specs, [self.buildable(spec) for spec in specs], shape)
            self.model(made, inputs)  # which builds them
            return made
        pairs = [(spec, given.get(spec["name"], {})) for spec in specs]
        layers = [self.layer(s) if drawn else self.to_be_given(s, w) for s, w in pairs]
        made = Stack(specs, layers, shape)
        self.build(made.layers, made.shape)
        return made

    def looks(self, verb: str, asked: Answer) -> bool:
        return shelf.looks(verb, asked)

    def summary(self, of: Stack) -> Answer:
        keras = self.backend.keras
        layers = [self.buildable(spec) for spec in of.specs]
        batch = of.shape[0] if any(getattr(r, "stateful", False) for r in layers) else None
        given = keras.Input(shape=of.shape[1:], batch_size=batch)
        if any(map(has_more_outputs, layers)):
            value = given  # a Sequential takes no layer with two outputs
            for layer in layers:
                value = own_output(layer, layer(value))
            model = keras.Model(given, value)
        else:
            model = keras.Sequential([given, *layers])
        return {
            "layers": [
                {
                    "name": layer.name,
                    "kind": spec["kind"],
                    "output_shape": list(first(layer.output).shape),
                    **counts(layer),
                }
                for spec, layer in zip(of.specs, layers)
            ],
            **counts(model),
        }

    def weights(self, of: Stack, after: str = "", optimizer: str = "") -> Answer:
        found: Answer = {
            "weights": {layer.name: read_weights(layer) for layer in of.layers},
            "trainable": {r.name: [path for path, _ in trainable_weights(r)] for r in of.layers},
        }
        if optimizer:
            found["optimizer"] = told_of_states(self.backend, of.layers, of.optimizer, optimizer)
        return found

    def config(self, layers: Descriptions) -> Answer:
        made = [self.layer(spec) for spec in self.described(layers)]
        optimizers = {n: getattr(self.backend.keras.optimizers, n)() for n in ("Adam", "SGD")}
        return {
            "layers": {layer.name: as_described(layer.get_config()) for layer in made},
            "optimizers": {name: as_described(o.get_config()) for name, o in optimizers.items()},
        }

    def offers(self, kind: str) -> Answer:
        return {"lacks": lacking(self.backend, load_class(self.replace[kind]), kind)}

    def describe(self, where: str, only: str = "", x: Maybe = None) -> Answer:
        if where.endswith(".weights.h5"):
            return described_in(lambda: layers_in(where), only)
        return described(self.backend, where, only, x)

    def inspect(
        self,
        where: str,
        own: dict[str, str] | None = None,
        inputs: list[tuple[str, Array]] | None = None,
        cotangent: int = 1,
    ) -> Answer:
        self.can_compute()
        how = (self.mode, self.dtype)
        return inspected(self.backend, *how, where, own or {}, inputs, cotangent)

    def reset(self, of: Stack, after: str = "") -> Answer:
        reset(of.layers)
        return {"left": self.left(of)}

    def attempt(
        self,
        of: Stack | None = None,
        layers: Descriptions | None = None,
        input_shape: Sequence[int | None] = (),
        keys: dict[str, Any] | None = None,
        x: Maybe = None,
        initial_state: Any = None,
        mask: Maybe = None,
    ) -> Answer:
        self.can_compute()
        inputs = inputs_of(x, initial_state, mask)
        made: Layers = [] if of is None else of.layers
        steps: dict[str, Callable[[], Any]] = {"call": lambda: self.output_shape(made, inputs)}
        if of is None:
            refused = list(refusals_of_wrong({"layer": keys or {}}))
            if refused:
                raise ValueError("{}: {}".format(*refused[0]).lstrip(".: "))
            *before, last = self.described(layers or [])

            def construct() -> None:
                made.extend(self.buildable(spec) for spec in before)
                made.append(self.buildable(last, **(keys or {})))

            build = functools.partial(self.build, made, tuple(input_shape))
            steps = {"construct": construct, "build": build, **steps}
        return raised_by(steps)

    def output_shape(self, layers: Layers, inputs: dict[str, Any]) -> list[int]:
        """Of layers that end with a recurrent one, when they are called with these inputs."""

        def tensor(name: str, array: Any) -> Any:
            if isinstance(array, list):
                return [tensor(name, each) for each in array]
            made = self.backend.tensor(array)
            cast = is_floating(name, array)
            return self.backend.cast(made, layers[-1].compute_dtype) if cast else made

        def call(tensors: Tensors) -> Any:
            value = tensors["x"]
            for layer in layers:
                more = state_and_mask(tensors) if layer is layers[-1] else {}
                value = first(own_output(layer, layer(value, **more)))
            return value

        given = {name: tensor(name, array) for name, array in inputs.items()}
        return list(self.backend.array(self.backend.run(call, layers, given, self.mode)).shape)


def open_session(backend: str | None) -> Keras:
    """Raises ModuleNotFoundError if something is not installed."""
    return Keras(open_backend(backend or default_backend()))


def raised_by(steps: dict[str, Callable[[], Any]]) -> Answer:
    """Which of the steps raises what, or what the last one returns."""
    returned = None
    for name, step in steps.items():
        try:
            returned = step()
        except Exception as error:  # what is asked for
            names = [cls.__name__ for cls in type(error).__mro__ if cls is not object]
            return {"raised": names, "message": str(error)[:300], "at": name}
    return {"returned": returned}
