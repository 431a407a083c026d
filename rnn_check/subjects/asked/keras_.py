"""How does Keras obey?

Keras 3 on each of its backends, and Keras 2. What needs a decision about its versions stays here
and in `backends` and `parts`.
"""

from __future__ import annotations

import functools
import platform
from collections.abc import Sequence
from typing import Any, Callable

import numpy as np

from .backends import Backend, Compute, default_backend, dtype_name, open_backend
from .described import described
from .inspected import inspected
from .machine import ENVIRONMENT, SETTINGS, cpu_model, packages
from .models import Inputs, Models, Stack, arguments, inputs_of
from .named import (
    refusals_of_wrong,
)
from .own import lacking, load_class
from .parts import (
    STATES,
    Layers,
    Tensor,
    Tensors,
    as_described,
    counts,
    first,
    flat,
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
from .session import Answer, Descriptions, Made, Maybe, Unsupported
from .wire import Array, encode

# what of a run is the last of a variant of the layer, and how that is made
VARIANTS = {"states": {"return_sequences": True}, "last_state": {"return_state": True}}


class Keras(Models):
    """Keras on one backend."""

    framework = "keras"

    def __init__(self, backend: Backend) -> None:
        self.backend = backend

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
        self.replace = how.get("replace") or {}
        super().begin({**how, "replace": None})
        self.backend.tidy()
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
        copy: str = "",
    ) -> Stack:
        specs = self.described(layers)
        given = {name: dict(table) for name, table in (weights or {}).items()}
        if like is not None:
            assert isinstance(like, Stack)
            given.update((r.name, weights_of(r)) for r in like.layers[: len(specs)])
        for name, table in (below or {}).items():
            for path, rows in table.items():
                above = given[name][path]
                given[name][path] = np.concatenate([above, rows.astype(above.dtype)])
        if model is not None:
            made = Stack(specs, [self.buildable(spec) for spec in specs], input_shape)
            made.inputs = inputs_of(**model)
            self.model(made, made.inputs)  # which builds them
        else:
            of = [given.get(spec["name"], {}) for spec in specs]
            pairs = zip(specs, of)
            made = Stack(
                specs,
                [self.layer(s) if drawn else self.to_be_given(s, w) for s, w in pairs],
                input_shape,
            )
            self.build(made.layers, made.shape)
        for layer in made.layers:
            set_weights(layer, given.pop(layer.name, {}))
        if given:
            names = [layer.name for layer in made.layers]
            raise ValueError(f"weights for {sorted(given)}, but the layers are {names}")
        return made

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

    def weights(self, of: Stack, after: str = "") -> Answer:
        return {
            "weights": {layer.name: read_weights(layer) for layer in of.layers},
            "trainable": {r.name: [path for path, _ in trainable_weights(r)] for r in of.layers},
        }

    def config(self, layers: Descriptions) -> Answer:
        made = [self.layer(spec) for spec in self.described(layers)]
        optimizers = {n: getattr(self.backend.keras.optimizers, n)() for n in ("Adam", "SGD")}
        return {
            "layers": {layer.name: as_described(layer.get_config()) for layer in made},
            "optimizers": {name: as_described(o.get_config()) for name, o in optimizers.items()},
        }

    def offers(self, kind: str) -> Answer:
        return {"lacks": lacking(self.backend, load_class(self.replace[kind]), kind)}

    # running

    def describe(self, where: str, only: str = "", x: Maybe = None) -> Answer:
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

    def compute(
        self,
        of: Stack,
        layers: Layers,
        training: bool | None = None,
        last: bool = False,
        loss: Callable[[Tensor, Tensor], Tensor] | None = None,
    ) -> Compute:
        """The layers as a function. `last`: a sequence is returned where the last is wanted."""
        more = {} if training is None else {"training": training}

        def run(tensors: Tensors) -> Tensors:
            results: Tensors = {}
            value = tensors["x"]
            for index, layer in enumerate(layers):
                if index != of.recurrent:
                    value = own_output(layer, layer(value, **start_of(layer.name, tensors)))
                    continue
                value = layer(value, **state_and_mask(tensors), **more)
                if layer.return_state:
                    results["last_state"] = value[1] if len(value) == 2 else list(value[1:])
                    value = own_output(layer, value)
                if layer.return_sequences:
                    results["states"] = value
                if last:
                    value = value[:, -1]
            results["output"] = value
            if loss is not None:
                results["loss"] = loss(value, tensors["loss"])
            return results

        return run

    def run(
        self,
        of: Stack,
        keep: Sequence[str] = ("output",),
        through: str = "layers",
        x: Maybe = None,
        initial_state: Any = None,
        mask: Maybe = None,
        training: bool | None = None,
        loss: str | None = None,
        target: Maybe = None,
        after: str = "",
    ) -> Answer:
        self.can_compute()
        inputs = inputs_of(x, initial_state, mask)
        if through == "layers":
            return {name: self.called(of, name, inputs, training, after) for name in keep}
        if not after:
            reset(of.layers)
        if through == "cell":
            found = self.cell(of, inputs)
        elif {"layers", "masks", "beside"} & set(keep):
            found = self.every_layer(of, inputs)
        elif {"losses", "activities"} & set(keep):
            found = self.losses(of, inputs)
        elif through == "call":
            model = self.model(of, inputs)
            found = {"output": self.encode(self.call(of, model, inputs))}
        else:
            model = self.compiled_model(of, inputs, loss)
            arrays, batch = self.arrays(of, inputs), len(inputs["x"])
            if through == "predict":
                found = {"output": encode(model.predict(arrays, batch_size=batch, verbose=0))}
            elif through == "evaluate":
                wanted = self.target(model, target)
                value = model.evaluate(arrays, wanted, batch_size=batch, verbose=0)
                found = {"loss": encode(np.asarray(float(value)))}
            else:
                raise ValueError(f"unknown way {through!r} to run")
        return {name: self.left(of) if name == "left" else found[name] for name in keep}

    def called(
        self, of: Stack, result: str, inputs: Inputs, training: bool | None, after: str
    ) -> Any:
        """A result of the layers as they stand, or of ones that differ in what is returned."""
        changes = VARIANTS.get(result, {})
        layer = of.layers[of.recurrent]
        if changes and hasattr(layer, "merge_mode"):
            raise ValueError(f"{layer.name} has no sequence of states that is its own")
        as_it_is = {name: getattr(layer, name) for name in changes}
        if as_it_is == changes:
            key = (*map(id, inputs.values()), training, after)
            if key not in of.ran:
                of.ran[key] = self.once(of, of.layers, inputs, training, after)
            return self.encode(of.ran[key][result])
        try:
            for name, value in changes.items():
                setattr(layer, name, value)
            layers = of.layers[: of.recurrent + 1]
            return self.encode(self.once(of, layers, inputs, training, after)[result])
        finally:
            for name, value in as_it_is.items():
                setattr(layer, name, value)

    def once(
        self, of: Stack, layers: Layers, inputs: Inputs, training: bool | None, after: str
    ) -> Tensors:
        if not after:
            reset(layers)
        compute, given = self.compute(of, layers, training), self.tensors(of, inputs)
        found: Tensors = self.backend.run(compute, layers, given, self.mode)
        return found

    def cell(self, of: Stack, inputs: Inputs) -> Answer:
        recurrent = of.layers[of.recurrent]

        def call(tensors: Tensors) -> list[list[Tensor]]:
            states = [tensors[name] for name in STATES if name in tensors]
            steps = []
            for step in range(inputs["x"].shape[1]):
                output, states = recurrent.cell(tensors["x"][:, step], states)
                states = flat(states)
                steps.append([output, *states])
            return steps

        found = self.backend.run(call, [recurrent], self.tensors(of, inputs), self.mode)
        output, *states = (
            encode(np.stack([self.backend.array(each) for each in steps], axis=1))
            for steps in zip(*found)
        )
        return {"output": output, "states": states[0] if len(states) == 1 else states}

    def run_shapes(self, of: Stack, each: Sequence[dict[str, Array]]) -> Answer:
        self.can_compute()
        inputs = [inputs_of(**given) for given in each]
        model = self.model(of, inputs[0], dynamic=True)
        found = self.backend.run_each(
            lambda tensors: model(arguments(tensors)),
            [model],
            [self.tensors(of, given) for given in inputs],
            self.mode,
        )
        return {"outputs": [self.encode(output) for output in found]}

    def reset(self, of: Stack, after: str = "") -> Answer:
        reset(of.layers)
        return {"left": self.left(of)}

    def gradients(
        self,
        of: Stack,
        loss: dict[str, Any],
        wrt: Sequence[str],
        keep: Sequence[str] = (),
        last: bool = False,
        starts: dict[str, Array] | None = None,
        x: Maybe = None,
        initial_state: Any = None,
        mask: Maybe = None,
    ) -> Answer:
        self.can_compute()
        if not self.backend.differentiates:
            raise Unsupported(f"the {self.backend.name} backend has no gradients")
        inputs = inputs_of(x, initial_state, mask)
        wanted = {*wrt, *(STATES if "initial_state" in wrt else ())}
        of_inputs = [n for n, array in inputs.items() if n in wanted and is_floating(n, array)]
        tensors = self.tensors(of, inputs)
        later: dict[str, list[str]] = {}
        for layer, start in (starts or {}).items():
            for i, state in enumerate(start if start.ndim == 3 else start[None]):
                name = f"start {i} of {layer}"
                tensors[name] = self.backend.cast(self.backend.tensor(state), of.compute_dtype)
                later.setdefault(layer, []).append(name)
                of_inputs.append(name)
        tensors["loss"] = self.backend.tensor(
            loss["value" if loss["kind"] == "cotangent" else "target"]
        )
        reset(of.layers)
        compute = self.compute(
            of, of.layers, last=last, loss=functools.partial(self.loss, loss["kind"])
        )
        results, by_weights, by_inputs = self.backend.differentiate(
            compute, of.layers, tensors, of_inputs, self.mode
        )
        found = iter(by_weights)
        encoded = {name: self.encode(value) for name, value in zip(of_inputs, by_inputs)}
        of_starts = {layer: [encoded.pop(name) for name in names] for layer, names in later.items()}
        return {
            "loss": self.encode(results["loss"]),
            "weights": {
                layer.name: {p: self.encode(next(found)) for p, _ in trainable_weights(layer)}
                for layer in of.layers
            },
            **encoded,
            **({"starts": of_starts} if later else {}),
            **{name: self.encode(results[name]) for name in keep if name in results},
        }

    def loss(self, kind: str, output: Tensor, given: Tensor) -> Tensor:
        sizes = tuple(given.shape), tuple(output.shape)  # inside a tf.function some may be unknown
        fit = all(None in pair or pair[0] == pair[1] for pair in zip(*sizes))
        if len(sizes[0]) != len(sizes[1]) or not fit:
            raise ValueError(f"the loss's array has shape {sizes[0]}, the output {sizes[1]}")
        if kind == "cotangent":
            return self.backend.sum(self.backend.cast(given, output.dtype) * output)
        losses = self.backend.keras.losses
        if kind == "mse":
            return losses.MeanSquaredError()(given, output)
        if kind == "categorical_crossentropy":
            return losses.CategoricalCrossentropy()(given, output)
        raise ValueError(f"unknown loss {kind!r}")

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


def start_of(layer: str, tensors: Tensors) -> Tensors:
    """What a recurrent layer after the first is called with beside x."""
    each = [tensors[n] for n in tensors if n.startswith("start ") and n.endswith(f" of {layer}")]
    return {"initial_state": each if len(each) > 1 else each[0]} if each else {}
