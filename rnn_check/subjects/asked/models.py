"""What does a keras.Model say: called, trained, saved and loaded?"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from typing import Any

import numpy as np

from .backends import Backend
from .making import Making
from .named import (
    OPTIMIZER,
    OPTIMIZERS,
    RECURRENT,
    SCHEDULES,
)
from .own import load_class
from .parts import (
    STATES,
    Layers,
    Tensor,
    Tensors,
    configuration,
    first,
    flat,
    is_floating,
    own_output,
    reset,
    state_and_mask,
    states_beside,
    states_of,
    weight_name,
)
from .session import Answer, Descriptions, Made, Maybe, Unsupported
from .wire import Array, encode

Inputs = dict[str, Array]
# what holds an optimizer's states, one of each weight that is trained
_ADAM = {"m": "_momentums", "v": "_velocities", "s": "_velocity_hats"}
STATES_OF = {
    "Adam": _ADAM,
    "AdamW": _ADAM,
    "SGD": {"m": "momentums"},
    "RMSprop": {"v": "_velocities", "a": "_average_gradients", "m": "_momentums"},
}
STATES_OF_ANY = {
    "accumulated": "_accumulated_gradients", "average": "_model_variables_moving_average"
}  # fmt: skip


class Stack(Made):
    """Layers one after the other, as they were described.

    shape: of their input. inputs: what they were made for as a model. models: keras.Models of them,
    by their inputs; compiled: how. ran: what a run of them said, by its inputs.
    """

    def __init__(self, specs: Descriptions, layers: Layers, shape: Sequence[int | None]) -> None:
        self.specs = specs
        self.layers = layers
        self.shape = tuple(shape)
        self.inputs: Inputs = {}
        self.models: dict[Any, Any] = {}
        self.compiled: Any = None
        self.ran: dict[Any, Tensors] = {}
        self.told: Answer = {}

    @property
    def first_recurrent(self) -> int | None:
        """Which of the layers is the first that is recurrent."""
        found = (i for i, spec in enumerate(self.specs) if spec["kind"] in RECURRENT)
        return next(found, None)

    @property
    def recurrent(self) -> int:
        if self.first_recurrent is None:
            raise ValueError("none of the layers is recurrent")
        return self.first_recurrent

    @property
    def compute_dtype(self) -> Any:
        return self.layers[-1].compute_dtype


class Models(Making):
    """The verbs that need a keras.Model of the functional API."""

    def can_compute(self) -> None:
        if self.mode not in self.backend.modes:
            raise Unsupported(f"the {self.backend.name} backend has no mode {self.mode!r}")

    def tensors(self, of: Stack, inputs: Inputs) -> Tensors:
        """The inputs as tensors; floating-point ones in the layer's compute dtype.

        Keras casts them so itself (Keras 2 all but the state). Done before differentiation, it
        leaves a gradient in the precision in which it was computed.
        """
        tensors = {}
        for name, array in inputs.items():
            tensor = self.backend.tensor(array)
            cast = is_floating(name, array)
            tensors[name] = self.backend.cast(tensor, of.compute_dtype) if cast else tensor
        return tensors

    def left(self, of: Stack) -> Any:
        found = [self.encode(variable) for variable in states_of(of.layers[-1])]
        return found[0] if len(found) == 1 else found

    def encode(self, tensor: Tensor) -> Any:
        """Encoded; a list of tensors as a list."""
        if isinstance(tensor, (list, tuple)):
            return [self.encode(each) for each in tensor]
        return encode(tensor if isinstance(tensor, np.ndarray) else self.backend.array(tensor))

    @property
    def jit_compile(self) -> dict[str, bool]:
        """What compile is told of this mode; in "eager" nothing."""
        return {"function": {"jit_compile": False}, "xla": {"jit_compile": True}}.get(self.mode, {})

    def symbolic(
        self, of: Stack, inputs: Inputs, dynamic: bool = False
    ) -> tuple[Layers, Layers, Layers, Layers]:
        """The layers called as the functional API has it: inputs, each layer's output and mask, and
        the states beside the last output.

        `dynamic`: not knowing how many samples and timesteps there will be.
        """
        stateful = any(getattr(layer, "stateful", False) for layer in of.layers)
        given = {}
        for name in in_order(inputs):
            shape: list[int | None] = list(inputs[name].shape)
            if dynamic and name not in STATES:
                shape[1] = None
            given[name] = self.backend.keras.Input(
                shape=tuple(shape[1:]),
                batch_size=shape[0] if stateful else None,
                dtype=self.input_dtype(of, name, inputs[name]),
            )
        value = given["x"]
        outputs, masks, states = [], [], []
        for index, layer in enumerate(of.layers):
            more = state_and_mask(given) if index == of.first_recurrent else {}
            returned = layer(value, **more)
            value, states = own_output(layer, returned), states_beside(layer, returned)
            outputs.append(value)
            masks.append(getattr(first(value), "_keras_mask", None))
        return list(given.values()), outputs, masks, states

    def model(self, of: Stack, inputs: Inputs, dynamic: bool = False) -> Any:
        key = model_key(inputs, dynamic)
        if key not in of.models:
            given, outputs, _, _ = self.symbolic(of, inputs, dynamic)
            of.models[key] = self.backend.keras.Model(given, outputs[-1])
        return of.models[key]

    def compiled_model(
        self,
        of: Stack,
        inputs: Inputs,
        loss: str | None,
        optimizer: dict[str, Any] | None = None,
    ) -> Any:
        """The model, compiled once for each of these."""
        model = self.model(of, inputs)
        how = (loss, *sorted((optimizer or {}).items()))
        if of.compiled != how:
            more = {} if optimizer is None else {"optimizer": self.optimizer(**optimizer)}
            wanted = {} if loss is None else {"loss": self.loss_to_compile(loss)}
            model.compile(**wanted, **more, **self.jit_compile)
            of.compiled = how
        return model

    def loss_to_compile(self, kind: str) -> Any:
        """By its name, or of the class that replaces it."""
        there = self.replace.get(kind)
        return kind if there is None else load_class(there)()

    def optimizer(self, kind: str, **options: Any) -> Any:
        if kind not in OPTIMIZERS:
            raise ValueError(f"unknown optimizer {kind!r}")
        for name in options:
            if name not in ("learning_rate", *OPTIMIZERS[kind], *OPTIMIZER):
                raise ValueError(f"{kind} takes no {name!r} here")
        if isinstance(options.get("learning_rate"), dict):
            options["learning_rate"] = self.schedule(**options["learning_rate"])
        there = self.replace.get(kind)
        cls = getattr(self.backend.keras.optimizers, kind) if there is None else load_class(there)
        return cls(**options)

    def schedule(self, kind: str, **options: Any) -> Any:
        if kind not in SCHEDULES:
            raise ValueError(f"unknown schedule {kind!r}")
        for name in options:
            if name not in SCHEDULES[kind]:
                raise ValueError(f"{kind} takes no {name!r} here")
        return getattr(self.backend.keras.optimizers.schedules, kind)(**options)

    def passed_dtype(self, of: Stack) -> str:
        """What a user passes to a model: floatx, unless the layers compute in more than that."""
        wide = str(of.compute_dtype) == "float64"
        return "float64" if wide else str(self.backend.keras.backend.floatx())

    def input_dtype(self, of: Stack, name: str, array: Array) -> str | None:
        if array.dtype.kind != "f":
            return str(array.dtype.name)
        return of.compute_dtype if name in STATES else self.passed_dtype(of)

    def arrays(self, of: Stack, inputs: Inputs) -> Any:
        """The inputs as arrays, for fit, evaluate and predict."""
        dtype = np.dtype(self.passed_dtype(of))
        return arguments(
            {n: a.astype(dtype) if a.dtype.kind == "f" else a for n, a in inputs.items()}
        )

    def target(self, model: Any, given: Maybe) -> Array:
        floatx = self.backend.keras.backend.floatx()
        return np.zeros(model.output_shape, floatx) if given is None else given.astype(floatx)

    def call(self, of: Stack, model: Any, inputs: Inputs) -> Any:
        """What the model says when it is called, compiled as the mode says."""
        return self.backend.run(
            lambda tensors: model(arguments(tensors)), [model], self.tensors(of, inputs), self.mode
        )

    def every_layer(self, of: Stack, inputs: Inputs) -> Answer:
        """The masks are those that Keras has attached."""
        keras = self.backend.keras
        given, outputs, masks, states = self.symbolic(of, inputs)
        carried = [mask for mask in masks if mask is not None]
        shown = flat(outputs) + states
        if hasattr(keras, "ops"):
            model = keras.Model(given, shown + carried)
        else:  # Keras 2 has a mask for no output of a model, but attaches it to what has one
            model = keras.Model(given, shown)
        first_of = [len(flat(outputs[:index])) for index in range(len(outputs))]

        def call(tensors: Tensors) -> list[Tensor]:
            found = flat(model(arguments(tensors)))
            if len(found) == len(shown):
                found += [
                    found[i]._keras_mask for i, mask in zip(first_of, masks) if mask is not None
                ]
            return found

        found = iter(self.backend.run(call, [model], self.tensors(of, inputs), self.mode))

        def next_like(symbol: Any) -> Any:
            if isinstance(symbol, list):
                return [next_like(each) for each in symbol]
            return None if symbol is None else self.encode(next(found))

        said = {"layers": outputs, "beside": states, "masks": masks}
        return {name: next_like(symbols) for name, symbols in said.items()}

    def losses(self, of: Stack, inputs: Inputs) -> Answer:
        given, outputs, _, _ = self.symbolic(of, inputs)
        shown = [
            (spec["name"], first(output))
            for spec, output in zip(of.specs, outputs)
            if "activity_regularizer" in spec
        ]
        model = self.backend.keras.Model(given, [*(out for _, out in shown), first(outputs[-1])])

        def call(tensors: Tensors) -> tuple[list[Tensor], list[Tensor]]:
            found = model(arguments(tensors))
            return list(model.losses), flat(found)

        each, found = self.backend.run(call, [model], self.tensors(of, inputs), self.mode)
        arrays = [self.backend.array(loss) for loss in each]
        return {
            "losses": {
                "sum": encode(np.sum(arrays, axis=0)),
                "each": [encode(a) for a in arrays],
            },
            "activities": {name: self.encode(out) for (name, _), out in zip(shown, found)},
        }

    def reload(self, of: Stack, how: str) -> Stack:
        if not of.inputs:
            raise ValueError("what is saved and loaded has to be made as a model of its inputs")
        keras, model = self.backend.keras, self.model(of, of.inputs)
        again = Stack(of.specs, of.layers, of.shape)
        again.inputs = of.inputs
        with tempfile.TemporaryDirectory() as folder:
            if how == "config":
                again.layers = [type(r).from_config(r.get_config()) for r in of.layers]
                loaded = self.model(again, of.inputs)
                loaded.set_weights(model.get_weights())
            elif how == "clone":
                loaded = keras.models.clone_model(model)
                loaded.set_weights(model.get_weights())
            elif how == "weights":
                again.layers = [self.buildable(spec) for spec in of.specs]
                loaded = self.model(again, of.inputs)
                path = os.path.join(folder, "model.weights.h5")
                model.save_weights(path)
                loaded.load_weights(path)
            elif how == "keras":
                path = os.path.join(folder, "model.keras")
                model.save(path)
                theirs = map(load_class, self.replace.values())
                custom = {cls.__name__: cls for cls in theirs}
                loaded = keras.models.load_model(path, custom_objects=custom)
            else:
                raise ValueError(f"unknown way {how!r} of a round trip")
        # an InputLayer's default name is counted
        again.layers = [r for r in loaded.layers if type(r).__name__ != "InputLayer"]
        again.models[model_key(of.inputs)] = loaded
        configs = [
            [configuration(layer.get_config(), named=how != "weights") for layer in each.layers]
            for each in (of, again)
        ]
        weights = [[encode(weight) for weight in each.get_weights()] for each in (model, loaded)]
        again.told = {
            "same_config": configs[0] == configs[1],
            "same_weights": weights[0] == weights[1],
        }
        return again

    def fit(
        self,
        of: Stack,
        optimizer: dict[str, Any],
        loss: str,
        keep: Sequence[str] = (),
        epochs: int = 1,
        batch_size: int | None = None,
        x: Maybe = None,
        initial_state: Any = None,
        mask: Maybe = None,
        target: Maybe = None,
        after: str = "",
        sample_weight: Maybe = None,
        class_weight: dict[str, float] | None = None,
    ) -> Answer:
        self.can_compute()
        if "loss" in keep and self.dtype == "mixed_float16":
            raise Unsupported("training in mixed_float16 scales its loss")
        inputs = inputs_of(x, initial_state, mask)
        weighs: dict[str, Any] = {}
        if sample_weight is not None:
            weighs["sample_weight"] = sample_weight.astype(self.backend.keras.backend.floatx())
        if class_weight is not None:
            weighs["class_weight"] = {int(name): each for name, each in class_weight.items()}
        if "updates" in keep:
            return self.watched(of, optimizer, loss, epochs, batch_size, inputs, target, weighs)
        model = self.compiled_model(of, inputs, loss, optimizer)
        if not after:
            reset(of.layers)
        size = batch_size or len(inputs["x"])
        how = {"batch_size": size, "epochs": epochs, "shuffle": False, "verbose": 0}
        how.update(weighs)
        history = model.fit(self.arrays(of, inputs), self.target(model, target), **how).history
        found = {"loss": encode(np.asarray(history["loss"])), "left": self.left(of)}
        return {name: found[name] for name in keep}

    def watched(
        self,
        of: Stack,
        optimizer: dict[str, Any],
        loss: str,
        epochs: int,
        batch_size: int | None,
        inputs: Inputs,
        target: Maybe,
        weighs: dict[str, Any],
    ) -> Answer:
        """One batch is to TensorFlow a tf.data.Dataset of it, repeated, with steps_per_epoch=1: fit
        trains on the same numbers as with arrays, but need not build a pipeline for every epoch
        (which is four fifths of its time). Of several batches fit makes its own.
        """
        keras = self.backend.keras
        if not self.backend.differentiates:
            raise Unsupported(f"the {self.backend.name} backend has no gradients")
        if self.dtype not in (None, "float32", "float64"):
            raise Unsupported(f"training in {self.dtype} scales its loss: not recorded")
        if self.dtype == "float64" and keras.backend.floatx() != "float64":
            raise Unsupported("training whose loss is of another dtype is not recorded")
        if inputs.keys() != {"x"} or target is None:
            raise ValueError("training is recorded of x and target, without initial_state and mask")
        model = keras.Sequential([keras.Input(shape=of.shape[1:]), *of.layers])
        kind, made = optimizer["kind"], self.optimizer(**optimizer)
        made.build(model.trainable_variables)  # so that there is something before the first
        model.compile(loss=self.loss_to_compile(loss), optimizer=made, **self.jit_compile)
        states = {**STATES_OF[kind], **STATES_OF_ANY}
        recorder = training_recorder(self.backend, of.layers, made, states)
        dtype = np.dtype(self.dtype or self.backend.floatx)
        batch: Any = inputs["x"].astype(dtype), target.astype(dtype)
        size = min(batch_size or len(target), len(target))
        by: dict[str, Any] = {"batch_size": size}
        if self.backend.name == "tensorflow" and size == len(target) and not weighs:
            data = self.backend.package.data.Dataset.from_tensors(batch).repeat()
            batch, by = (data,), {"steps_per_epoch": 1}
        history = model.fit(
            *batch, epochs=epochs, shuffle=False, verbose=0, callbacks=[recorder], **by, **weighs
        )
        base = {name: getattr(made, name, None) for name in OPTIMIZER}
        constants = {name: told(getattr(made, name)) for name in OPTIMIZERS[kind]}
        constants.update({name: told(v) for name, v in base.items() if v is not None})
        if isinstance(optimizer["learning_rate"], dict):
            given = made.get_config()["learning_rate"]["config"]
            constants.update(told_of_schedule(given, SCHEDULES[optimizer["learning_rate"]["kind"]]))
        else:
            constants["learning_rate"] = float(self.backend.array(made.learning_rate))
        return {
            "loss": encode(np.asarray(history.history["loss"])),
            "updates": {
                **recorder.recorded(),
                "optimizer": constants,
                "jit_compile": bool(getattr(model, "jit_compile", False)),
            },
        }


def inputs_of(x: Maybe = None, initial_state: Any = None, mask: Maybe = None) -> dict[str, Any]:
    """What is given, by name; several states (of LSTM, Bidirectional) apart."""
    if x is None:
        raise ValueError("this needs an input x")
    found: dict[str, Any] = {"x": x}
    if isinstance(initial_state, np.ndarray) and initial_state.ndim == 3:
        found.update(zip(STATES, initial_state))
    elif initial_state is not None:
        found["initial_state"] = initial_state
    if mask is not None:
        found["mask"] = mask
    return found


def in_order(inputs: dict[str, Any]) -> list[str]:
    """The inputs of a model."""
    return [name for name in ("x", *STATES, "mask") if name in inputs]


def arguments(inputs: dict[str, Any]) -> Any:
    """As a model takes them."""
    values = [inputs[name] for name in in_order(inputs)]
    return values if len(values) > 1 else values[0]


def model_key(inputs: Inputs, dynamic: bool = False) -> Any:
    return (*((name, inputs[name].shape) for name in in_order(inputs)), dynamic)


def told(constant: Any) -> bool | float:
    """An optimizer's option."""
    return constant if isinstance(constant, bool) else float(constant)


def told_of_schedule(config: dict[str, Any], options: Sequence[str]) -> dict[str, bool | float]:
    """The numbers of a schedule, those of a list one by one."""
    found = {}
    for name in options:
        value = config.get(name)
        if isinstance(value, (list, tuple)):
            found.update({f"{name}[{i}]": told(each) for i, each in enumerate(value)})
        elif value is not None:
            found[name] = told(value)
    return found


def training_recorder(
    backend: Backend, layers: Layers, optimizer: Any, states: dict[str, str]
) -> Any:
    """A callback that reads weights and optimizer before the first update and after each.

    states: the attributes that hold them, which are empty where there are none.
    """
    named = [(layer.name, weight) for layer in layers for weight in layer.trainable_weights]
    held = {name: getattr(optimizer, attribute, None) for name, attribute in states.items()}
    groups = {"weights": [weight for _, weight in named]}
    groups.update({name: list(variables) for name, variables in held.items() if variables})
    read: dict[str, list[list[Array]]] = {name: [] for name in groups}
    counted: list[Array] = []
    ended: list[Array] = []

    class Recorder(backend.keras.callbacks.Callback):  # type: ignore[misc, name-defined]
        def on_train_begin(self, logs: Any = None) -> None:
            if hasattr(self.model, "jax_state_sync"):  # which keeps them apart while it trains
                self.model.jax_state_sync()
            for name, variables in groups.items():
                read[name].append([backend.array(variable) for variable in variables])
            counted.append(backend.array(optimizer.iterations))

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            self.on_train_begin()

        def on_train_end(self, logs: Any = None) -> None:
            ended.extend(backend.array(variable) for variable in groups["weights"])

        def recorded(self) -> dict[str, Any]:
            answer: dict[str, Any] = {"iterations": encode(np.stack(counted))}
            for name, states in read.items():
                tables: dict[str, Any] = {}
                for (layer, weight), steps in zip(named, zip(*states)):
                    tables.setdefault(layer, {})[weight_name(weight)] = encode(np.stack(steps))
                answer[name] = tables
            last: dict[str, Any] = {}
            for (layer, weight), array in zip(named, ended):
                last.setdefault(layer, {})[weight_name(weight)] = encode(array)
            return {**answer, "ended": last}

    return Recorder()
