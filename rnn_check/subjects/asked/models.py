"""What does a keras.Model say when it is called?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Callable, TypeVar

import numpy as np

from .backends import Compute
from .making import Making
from .named import is_recurrent
from .own import load_class
from .parts import (
    STATES,
    Layers,
    Tensor,
    Tensors,
    first,
    flat,
    is_floating,
    own_output,
    state_and_mask,
    states_beside,
    states_of,
)
from .session import Answer, Descriptions, Made, Maybe, Unsupported
from .wire import Array, encode

Inputs = dict[str, Array]
T = TypeVar("T")


class Stack(Made):
    """Layers one after the other, as they were described.

    shape: of their input. inputs: what they were made for as a model. models: keras.Models of them,
    by their inputs; compiled: how each is. loaded: whether they are as a file or a copy has them.
    ran: what a run of them said, by its inputs. prepared: what is computed with them, traced and
    compiled. whole: a function of x that is called in their place.
    """

    def __init__(self, specs: Descriptions, layers: Layers, shape: Sequence[int | None]) -> None:
        self.specs = specs
        self.layers = layers
        self.shape = tuple(shape)
        self.inputs: Inputs = {}
        self.models: dict[Any, Any] = {}
        self.compiled: dict[Any, Any] = {}
        self.loaded = False
        self.whole: Any = None
        self.ran: dict[Any, Tensors] = {}
        self.prepared: dict[Any, Any] = {}
        self.told: Answer = {}

    @property
    def first_recurrent(self) -> int | None:
        """Which of the layers is the first that is recurrent."""
        found = (i for i, spec in enumerate(self.specs) if is_recurrent(spec["kind"]))
        return next(found, None)

    @property
    def recurrent(self) -> int:
        if self.first_recurrent is None:
            raise ValueError("none of the layers is recurrent")
        return self.first_recurrent

    @property
    def optimizer(self) -> Any:
        """What trained it, or would."""
        models = [self.whole] if self.whole is not None else self.models.values()
        found = [getattr(model, "optimizer", None) for model in models]
        return next((each for each in found if each is not None), None)

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

    def side_by_side(self, output: Any) -> Any:
        """What one output is told as that comes apart, in the last axis."""
        if not isinstance(output, list):
            return output
        if all(isinstance(each, np.ndarray) for each in output):
            return np.concatenate(output, axis=-1)
        return self.backend.joined(output, axis=-1)

    def compiling(self, batches: int = 1) -> dict[str, bool]:
        """What compile is told of this mode, for so many batches.

        In "eager" a few are run so where that is faster than to trace what takes them; of more
        nothing is said, and Keras does as it does by default.
        """
        if self.mode == "eager":
            return {"run_eagerly": True} if batches <= self.backend.most_eager else {}
        return {"jit_compile": self.mode == "xla"}

    def symbolic(
        self, of: Stack, inputs: Inputs, dynamic: bool = False
    ) -> tuple[Layers, Layers, Layers, list[Layers]]:
        """The layers called as the functional API has it: inputs, each layer's output and mask, and
        the states beside each output.

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
                batch_size=of.shape[0] if stateful else None,
                dtype=self.input_dtype(of, name, inputs[name]),
            )
        value = given["x"]
        outputs, masks, states = [], [], []
        for index, layer in enumerate(of.layers):
            more = state_and_mask(given) if index == of.first_recurrent else {}
            returned = layer(value, **more)
            value = own_output(layer, returned)
            outputs.append(value)
            states.append(states_beside(layer, returned))
            masks.append(getattr(first(value), "_keras_mask", None))
        return list(given.values()), outputs, masks, states

    def model(self, of: Stack, inputs: Inputs, dynamic: bool = False) -> Any:
        key = model_key(inputs, dynamic)
        if key not in of.models:
            given, outputs, _, _ = self.symbolic(of, inputs, dynamic)
            of.models[key] = self.model_class("Model")(given, outputs[-1])
        return of.models[key]

    def model_class(self, kind: str) -> Any:
        """Keras's, or what replaces it."""
        there = self.replace.get(kind)
        return getattr(self.backend.keras, kind) if there is None else load_class(there)

    def compiled_model(
        self,
        of: Stack,
        inputs: Inputs,
        loss: str | None,
        optimizer: dict[str, Any] | None = None,
        metrics: Sequence[str] = (),
        scaled: bool = False,
        weighted: bool = False,
        batches: int = 1,
    ) -> Any:
        """The model, compiled once for each of these. If it is to be compiled for none, it may be
        compiled for any: Keras traces anew what is compiled anew.

        scaled: its loss, as Keras scales that of a model whose own policy is mixed_float16.
        weighted: with the same metrics once more, which samples weigh in.
        """
        model = self.model(of, inputs)
        compiling = self.compiling(batches)
        how = (loss, scaled, weighted, compiling, *metrics, *sorted((optimizer or {}).items()))
        key = model_key(inputs)
        any_will_do = loss is None and not of.loaded and key in of.compiled
        if of.compiled.get(key) != how and not any_will_do:
            more = {} if optimizer is None else {"optimizer": self.optimizer(**optimizer)}
            if scaled:
                more["optimizer"] = self.scaling(more["optimizer"])
            wanted = {} if loss is None else {"loss": self.loss_to_compile(loss)}
            for key_of in ("metrics", "weighted_metrics")[: 1 + weighted] if metrics else ():
                more[key_of] = self.metrics_to_compile(metrics)
            model.compile(**wanted, **more, **compiling)
            of.compiled[key] = how
        return model

    def scaling(self, optimizer: Any) -> Any:
        """What scales the loss before this optimizer sees its gradient."""
        return self.backend.keras.mixed_precision.LossScaleOptimizer(optimizer)

    def loss_to_compile(self, kind: str) -> Any:
        """By its name, or of the class that replaces it."""
        there = self.replace.get(kind)
        return kind if there is None else load_class(there)()

    def metrics_to_compile(self, names: Sequence[str]) -> list[Any]:
        """By their names, or of the classes that replace them."""
        there = ((name, self.replace.get(name)) for name in names)
        return [name if cls is None else load_class(cls)(name=name) for name, cls in there]

    def passed_dtype(self, of: Stack) -> str:
        """What a user passes to a model: floatx, unless the layers compute in more than that."""
        wide = str(of.compute_dtype) == "float64"
        return "float64" if wide else str(self.backend.keras.backend.floatx())

    def input_dtype(self, of: Stack, name: str, array: Array) -> str | None:
        if is_of_its_own(array):
            return str(array.dtype.name)
        return of.compute_dtype if name in STATES else self.passed_dtype(of)

    def arrays(self, of: Stack, inputs: Inputs) -> Any:
        """The inputs as arrays, for fit, evaluate and predict."""
        return arguments(self.passed(of, inputs))

    def passed(self, of: Stack, inputs: Inputs) -> Inputs:
        """The inputs as a user passes them."""
        return cast(inputs, np.dtype(self.passed_dtype(of)))

    def target(self, model: Any, given: Maybe) -> Array:
        floatx = self.backend.keras.backend.floatx()
        return np.zeros(model.output_shape, floatx) if given is None else given.astype(floatx)

    def call(self, of: Stack, model: Any, inputs: Inputs) -> Any:
        """What the model says when it is called, compiled as the mode says."""
        return self.again(
            of,
            ("call", model_key(inputs)),
            lambda: self.backend.prepared(
                lambda tensors: self.side_by_side(model(arguments(tensors))), [model], self.mode
            ),
        )(self.tensors(of, inputs))

    def again(self, of: Stack, key: Any, make: Callable[[], T]) -> T:
        """What is made of the layers, once. key: all that it depends on but the layers and how the
        request is asked, which is the same for all that the layers are asked."""
        if key not in of.prepared:
            of.prepared[key] = make()
        found: T = of.prepared[key]
        return found

    def every_layer(self, of: Stack, inputs: Inputs) -> Answer:
        """The masks are those that Keras has attached."""
        key = "every layer", model_key(inputs)
        outputs, masks, states, run = self.again(of, key, lambda: self.showing(of, inputs))
        found = iter(run(self.tensors(of, inputs)))

        def next_like(symbol: Any) -> Any:
            if isinstance(symbol, list):
                return [next(found) for _ in symbol]
            return None if symbol is None else next(found)

        layers = [self.encode(self.side_by_side(next_like(symbol))) for symbol in outputs]
        beside = [self.encode(next_like(symbol)) for symbol in states]
        said = [None if symbol is None else self.encode(next_like(symbol)) for symbol in masks]
        return {"layers": layers, "beside": beside, "masks": said}

    def showing(self, of: Stack, inputs: Inputs) -> tuple[Layers, Layers, Layers, Compute]:
        """The symbols of each layer's output, of its mask, of the last one's states, and what
        computes them all."""
        keras = self.backend.keras
        given, outputs, masks, beside = self.symbolic(of, inputs)
        states = beside[-1]
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

        return outputs, masks, states, self.backend.prepared(call, [model], self.mode)

    def losses(self, of: Stack, inputs: Inputs) -> Answer:
        given, outputs, _, beside = self.symbolic(of, inputs)
        shown = [
            (spec["name"], [first(output), *states])
            for spec, output, states in zip(of.specs, outputs, beside)
            if "activity_regularizer" in spec.get("layer", spec)
        ]
        every = [tensor for _, tensors in shown for tensor in tensors]
        model = self.backend.keras.Model(given, [*every, first(outputs[-1])])

        def call(tensors: Tensors) -> tuple[list[Tensor], list[Tensor]]:
            found = model(arguments(tensors))
            return list(model.losses), flat(found)

        each, found = self.backend.run(call, [model], self.tensors(of, inputs), self.mode)
        arrays, activities, tensors = [self.backend.array(loss) for loss in each], {}, iter(found)
        for name, symbols in shown:
            own = [self.encode(next(tensors)) for _ in symbols]
            activities[name] = own if len(own) > 1 else own[0]
        return {
            "losses": {
                "sum": encode(np.sum(arrays, axis=0)),
                "each": [encode(a) for a in arrays],
            },
            "activities": activities,
        }


def cast(inputs: Inputs, dtype: Any) -> Inputs:
    return {n: a if is_of_its_own(a) else a.astype(dtype) for n, a in inputs.items()}


def is_of_its_own(array: Array) -> bool:
    """Whether it is passed in the dtype that it has: what is float64 is any numbers."""
    return array.dtype != np.float64


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
    """A model casts what it is given to the dtype that it was made for."""

    def of_input(array: Array) -> Any:
        return array.shape, str(array.dtype.name) if is_of_its_own(array) else ""

    return (*((name, of_input(inputs[name])) for name in in_order(inputs)), dynamic)
