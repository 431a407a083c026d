"""What does the framework say?

The only module that imports a framework. It is a script as well, and the script is how it is used:

    python subject.py --backend tensorflow

It runs inside environments as old as TensorFlow 2.12's, so it needs the standard library, NumPy
and the framework alone, and keeps to Python 3.9. One process is one subject, because Keras fixes
its backend when it is imported.

The pipe: one JSON document a line, both ways. The first line out is {"hello": IDENTITY}; after it
every line in is a request and every line out its reply, {"id", "observed"} or, if the framework
raised, {"id", "error", "traceback"}. Whatever a framework prints goes to stderr, because file
descriptor 1 points there.

Sizes: B samples, T timesteps, F features, H units, O units of the output layer.
Arrays: x (B,T,F), kernel (F,H), recurrent_kernel (H,H), bias (H,), states (B,T,H), mask (B,T).

A request holds
    layers         [{"kind": "SimpleRNN", "name": ..., Keras's own keys}, {"kind": "Dense", ...}]
    ask            which of the questions below
    x, initial_state, mask, weights {layer name: {weight name: array}}, input_shape [T, F]
    mode           "eager", "function" (tf.function) or "xla" (tf.function's jit_compile, jax.jit)
    dtype          a Keras dtype policy, given to every layer
    loss           {"kind": "cotangent", "value": array like the output}: the sum of their product,
                   or {"kind": "mse" | "categorical_crossentropy", "target": array}: Keras's own
    of             whose gradients (by default all that there are)
    training       {"learning_rate", "epochs"}: of Adam and of fit
    replace        {"SimpleRNN": "FILE.py:CLASS"}: a class that stands in for Keras's (also "Adam")

The questions:
    summary          names, output shapes and parameter counts, of a real keras.Sequential
    initial_weights  the weights as the framework made them
    weights          the weights read back after they were set
    output           of the whole model (B,T,H), (B,H), (B,T,O) or (B,O)
    states           the recurrent layer's own sequence (B,T,H), as return_sequences=True gives it
    last_state       the state that return_state=True gives (B,H)
    gradients        of the loss, by the framework's own differentiation of the model as it stands:
                     x, kernel, recurrent_kernel, bias, initial_state, dense.kernel, dense.bias;
                     and the loss itself
    probe            the same, together with output, states and delta = dL/dz, all from one run of a
                     layer with H more features: zero in x, the identity in the kernel. The forward
                     pass means the same, and the input gradient in those columns is delta
                     (B,T,H, in the order in which the steps were taken)
    training         compile(loss, Adam) and fit, watched: weights, Adam's m and v and iterations
                     before the first update and after each (N+1,...), each epoch's loss (N,), and
                     the optimizer's constants. Mode "eager" leaves to compile what it does when it
                     is told nothing; "function" and "xla" decide its jit_compile
A question that this backend or mode cannot answer is answered {"unsupported": reason}.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import functools
import gc
import importlib
import importlib.util
import json
import os
import platform
import re
import sys
import traceback
from typing import Any, Callable

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Tensor = Any  # whatever the framework computes with
Tensors = dict[str, Any]
Layers = list[Any]
Compute = Callable[[Callable[..., Any], Tensors], Tensors]  # (how to call a layer, inputs)
Gradients = tuple[Tensors, list[Tensor], list[Tensor]]  # results, of weights, of inputs

DTYPES = (
    *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    *("bfloat16", "float16", "float32", "float64"),
)
SETTINGS = re.compile(  # environment variables of what computes the numbers
    r"(TF|XLA|JAX|TORCH|PYTORCH|ATEN|CUBLAS|CUDNN|NVIDIA|ONEDNN|DNNL|MKL|OMP|OPENBLAS|OPENVINO|OV)_"
    r"(?!CPP_)"  # TensorFlow's logging
)


# -- arrays on the pipe ----------------------------------------------------------------------------


def encode(array: npt.ArrayLike) -> dict[str, Any]:
    """An array, bit for bit, as {"dtype", "shape", "data": base64 of little-endian C order}."""
    values = np.asarray(array, order="C")
    name = values.dtype.name
    raw = values.view(np.uint16) if name == "bfloat16" else values
    data = raw.astype(raw.dtype.newbyteorder("<"), copy=False).tobytes()
    return {
        "dtype": name,
        "shape": list(values.shape),
        "data": base64.b64encode(data).decode("ascii"),
    }


def decode(encoded: dict[str, Any]) -> Array:
    """The array again. NumPy has no bfloat16, so one arrives as float32, which holds it exactly.

    Raises ValueError if dtype, shape and data do not belong together.
    """
    name, shape = encoded["dtype"], encoded["shape"]
    if name not in DTYPES:
        raise ValueError(f"an array of unknown dtype {name!r}")
    stored = np.dtype("uint16" if name == "bfloat16" else name)
    raw = np.frombuffer(base64.b64decode(encoded["data"], validate=True), stored.newbyteorder("<"))
    values = raw.astype(stored)
    if name == "bfloat16":
        values = (values.astype(np.uint32) << 16).view(np.float32)
    return values.reshape(shape)


# -- one backend -----------------------------------------------------------------------------------


class Backend:
    """Keras on one backend: how it makes tensors, calls layers, compiles and differentiates."""

    modes: tuple[str, ...] = ("eager",)
    differentiates = False

    def __init__(self, keras: Any, name: str) -> None:
        self.keras = keras
        self.name = name
        self.package = importlib.import_module(name)
        self.version = str(self.package.__version__)
        self.floatx = keras.backend.floatx()

    def tensor(self, array: Array) -> Tensor:
        return self.keras.ops.convert_to_tensor(array)

    def cast(self, tensor: Tensor, dtype: Any) -> Tensor:
        return self.keras.ops.cast(tensor, dtype)

    def sum(self, tensor: Tensor) -> Tensor:
        return self.keras.ops.sum(tensor)

    def array(self, tensor: Tensor) -> Array:
        return np.asarray(self.keras.ops.convert_to_numpy(tensor))

    def device(self, tensor: Tensor) -> str:
        return "CPU"

    def threads(self) -> int:
        return available_cores()

    def settings(self) -> dict[str, str]:
        """Switches that change numbers and are no environment variables."""
        return {}

    def set_precision(self, policy: str | None) -> None:
        """floatx, which what is no layer computes in: Keras's losses."""
        known = {None: self.floatx, "float64": "float64"}
        self.keras.backend.set_floatx(known.get(policy, "float32"))

    def run(self, compute: Compute, layers: Layers, tensors: Tensors, mode: str) -> Tensors:
        """compute(call, tensors), compiled as `mode` says."""
        return compute(plain_call, tensors)

    def differentiate(
        self, compute: Compute, layers: Layers, tensors: Tensors, inputs: list[str], mode: str
    ) -> Gradients:
        """The same, then d results["loss"] / d each trainable weight, and / d each named input.

        An input that the loss does not depend on has gradient zero, on every backend.
        """
        raise NotImplementedError


class TensorFlow(Backend):
    """Also Keras 2, which runs on nothing else and has no keras.ops."""

    modes = ("eager", "function", "xla")
    differentiates = True

    def tensor(self, array: Array) -> Tensor:
        return self.package.convert_to_tensor(array)

    def cast(self, tensor: Tensor, dtype: Any) -> Tensor:
        return self.package.cast(tensor, dtype)

    def sum(self, tensor: Tensor) -> Tensor:
        return self.package.reduce_sum(tensor)

    def array(self, tensor: Tensor) -> Array:
        return np.asarray(tensor.numpy())

    def device(self, tensor: Tensor) -> str:
        kind, index = str(tensor.device).rsplit("/device:", 1)[-1].split(":")
        if kind == "CPU":
            return kind
        gpu = self.package.config.list_physical_devices(kind)[int(index)]
        details = self.package.config.experimental.get_device_details(gpu)
        return f"{kind}:{index} {details.get('device_name', '')}".strip()

    def threads(self) -> int:
        return self.package.config.threading.get_intra_op_parallelism_threads() or available_cores()

    def settings(self) -> dict[str, str]:
        if not self.package.config.list_physical_devices("GPU"):
            return {}
        allowed = self.package.config.experimental.tensor_float_32_execution_enabled()
        return {"tensor_float_32": str(allowed)}

    def compiled(self, function: Callable[..., Any], mode: str) -> Callable[..., Any]:
        if mode == "eager":
            return function
        compiled: Callable[..., Any] = self.package.function(function, jit_compile=mode == "xla")
        return compiled

    def run(self, compute: Compute, layers: Layers, tensors: Tensors, mode: str) -> Tensors:
        # The tensors are arguments: a constant inside the graph would be folded at compile time.
        results: Tensors = self.compiled(functools.partial(compute, plain_call), mode)(tensors)
        return results

    def differentiate(
        self, compute: Compute, layers: Layers, tensors: Tensors, inputs: list[str], mode: str
    ) -> Gradients:
        weights = [weight for layer in layers for weight in layer.trainable_weights]

        def run(tensors: Tensors) -> Any:
            watched = [tensors[name] for name in inputs]
            with self.package.GradientTape() as tape:
                tape.watch(watched)
                results = compute(plain_call, tensors)
            gradients = tape.gradient(
                results["loss"], [weights, watched], unconnected_gradients="zero"
            )
            return results, gradients

        results, (of_weights, of_inputs) = self.compiled(run, mode)(tensors)
        return results, of_weights, of_inputs


class Jax(Backend):
    modes = ("eager", "xla")
    differentiates = True

    def device(self, tensor: Tensor) -> str:
        device = next(iter(tensor.devices()))
        if device.platform == "cpu":
            return "CPU"
        return f"{device.platform.upper()}:{device.id} {device.device_kind}"

    def settings(self) -> dict[str, str]:
        precision = self.package.config.jax_default_matmul_precision
        return {} if precision is None else {"default_matmul_precision": str(precision)}

    def set_precision(self, policy: str | None) -> None:
        super().set_precision(policy)
        self.package.config.update("jax_enable_x64", policy == "float64")

    def stateless(self, compute: Compute, layers: Layers) -> Callable[[Any, Tensors], Tensors]:
        """compute with the weights as an argument, which is how jax differentiates and compiles."""

        def run(weights: Any, tensors: Tensors) -> Tensors:
            def call(layer: Any, *args: Any, **kwargs: Any) -> Any:
                trainable, other = weights[layers.index(layer)]
                outputs, _ = layer.stateless_call(trainable, other, *args, **kwargs)
                return outputs

            return compute(call, tensors)

        return run

    def weights(self, layers: Layers) -> Any:
        return [
            (
                [weight.value for weight in layer.trainable_variables],
                [weight.value for weight in layer.non_trainable_variables],
            )
            for layer in layers
        ]

    def run(self, compute: Compute, layers: Layers, tensors: Tensors, mode: str) -> Tensors:
        if mode == "eager":
            return compute(plain_call, tensors)
        run = self.package.jit(self.stateless(compute, layers))
        results: Tensors = run(self.weights(layers), tensors)
        return results

    def differentiate(
        self, compute: Compute, layers: Layers, tensors: Tensors, inputs: list[str], mode: str
    ) -> Gradients:
        stateless = self.stateless(compute, layers)

        def loss(
            trainable: Any, watched: list[Tensor], others: Any, tensors: Tensors
        ) -> tuple[Tensor, Tensors]:
            given = {**tensors, **dict(zip(inputs, watched))}
            results = stateless(list(zip(trainable, others)), given)
            return results["loss"], results

        trainable, others = zip(*self.weights(layers))
        gradient = self.package.grad(loss, argnums=(0, 1), has_aux=True)
        if mode == "xla":
            gradient = self.package.jit(gradient)
        watched = [tensors[name] for name in inputs]
        (of_weights, of_inputs), results = gradient(list(trainable), watched, list(others), tensors)
        return results, [each for layer in of_weights for each in layer], of_inputs


class Torch(Backend):
    differentiates = True

    def device(self, tensor: Tensor) -> str:
        if tensor.device.type == "cpu":
            return "CPU"
        name = self.package.cuda.get_device_name(tensor.device)
        return f"{str(tensor.device).upper()} {name}"

    def threads(self) -> int:
        return int(self.package.get_num_threads())

    def settings(self) -> dict[str, str]:
        return {"float32_matmul_precision": self.package.get_float32_matmul_precision()}

    def differentiate(
        self, compute: Compute, layers: Layers, tensors: Tensors, inputs: list[str], mode: str
    ) -> Gradients:
        watched = [tensors[name].clone().requires_grad_() for name in inputs]
        weights = [weight.value for layer in layers for weight in layer.trainable_weights]
        results = compute(plain_call, {**tensors, **dict(zip(inputs, watched))})
        gradients = self.package.autograd.grad(
            results["loss"], weights + watched, materialize_grads=True, allow_unused=True
        )
        return results, list(gradients[: len(weights)]), list(gradients[len(weights) :])


BACKENDS: dict[str, type[Backend]] = {
    "tensorflow": TensorFlow,
    "jax": Jax,
    "torch": Torch,
    "openvino": Backend,
    "numpy": Backend,
}


def plain_call(layer: Any, *args: Any, **kwargs: Any) -> Any:
    return layer(*args, **kwargs)


def dtype_name(tensor: Tensor) -> str:
    """ "float32", whether the framework says that, <dtype: 'float32'> or torch.float32."""
    return str(getattr(tensor.dtype, "name", tensor.dtype)).rsplit(".", 1)[-1]


# -- one request -----------------------------------------------------------------------------------


class Experiment:
    """Layers with their weights, their input and a loss, as one request describes them."""

    def __init__(self, backend: Backend, request: dict[str, Any]) -> None:
        self.backend = backend
        self.request = request
        self.mode = request.get("mode", "eager")
        self.dtype = request.get("dtype")
        self.specs = request["layers"]
        self.inputs: dict[str, Array] = {
            name: decode(request[name])
            for name in ("x", "initial_state", "mask")
            if request.get(name) is not None
        }
        loss = request.get("loss")
        if loss is not None:
            self.inputs["loss"] = decode(loss["value" if loss["kind"] == "cotangent" else "target"])

    # layers

    def make(self, spec: dict[str, Any], **changes: Any) -> Any:
        """The layer of this description, not yet built."""
        config = dict(spec, **changes)
        kind = config.pop("kind")
        config.setdefault("name", default_name(kind))
        if self.dtype is not None:
            config["dtype"] = self.dtype
        replacement = (self.request.get("replace") or {}).get(kind)
        if replacement is not None:
            return load_class(replacement)(**config)
        return getattr(self.backend.keras.layers, kind)(**config)

    @functools.cached_property
    def input_shape(self) -> tuple[int | None, ...]:
        if "x" in self.inputs:
            return self.inputs["x"].shape
        return (None, *self.request["input_shape"])

    @functools.cached_property
    def fresh_layers(self) -> Layers:
        """The layers, built, with the weights that the framework gave them."""
        layers = [self.make(spec) for spec in self.specs]
        shape: Any = self.input_shape
        for index, layer in enumerate(layers):
            if index:
                before = layers[index - 1]
                shape = before.compute_output_shape(shape)
                shape = shape[0] if getattr(before, "return_state", False) else shape
            layer.build(shape)
        return layers

    @functools.cached_property
    def layers(self) -> Layers:
        """The layers with the weights that the request gives."""
        given = dict(self.request.get("weights") or {})
        if "initial_weights" in self.request["ask"]:
            self.initial_weights  # noqa: B018  read before they are overwritten
        for layer in self.fresh_layers:
            set_weights(layer, {k: decode(v) for k, v in given.pop(layer.name, {}).items()})
        if given:
            names = [layer.name for layer in self.fresh_layers]
            raise ValueError(f"weights for {sorted(given)}, but the layers are {names}")
        return self.fresh_layers

    @functools.cached_property
    def initial_weights(self) -> dict[str, Any]:
        return {layer.name: read_weights(layer) for layer in self.fresh_layers}

    @functools.cached_property
    def recurrent(self) -> int:
        """Which of the layers is the recurrent one."""
        for index, layer in enumerate(self.fresh_layers):
            if hasattr(layer, "return_sequences"):
                return index
        raise ValueError("none of the layers is recurrent")

    def with_recurrent(self, weights: dict[str, Array], **changes: Any) -> Layers:
        """The same layers, but the recurrent one made anew with these changes and weights."""
        layer = self.make(self.specs[self.recurrent], **changes)
        layer.build((*self.input_shape[:2], len(weights["kernel"])))  # (B,T,F)
        set_weights(layer, weights)
        layers = list(self.layers)
        layers[self.recurrent] = layer
        return layers

    # the model, as a function of tensors

    def tensors(self, **changes: Array) -> Tensors:
        """The inputs as tensors; floating-point ones in the layer's compute dtype.

        Keras casts them so itself (Keras 2 all but the state). Done before differentiation, it
        leaves a gradient in the precision in which it was computed.
        """
        if "x" not in self.inputs:
            raise ValueError("this needs an input x")
        dtype = self.layers[self.recurrent].compute_dtype
        tensors = {}
        for name, array in {**self.inputs, **changes}.items():
            tensor = self.backend.tensor(array)
            cast = is_floating(name, array)
            tensors[name] = self.backend.cast(tensor, dtype) if cast else tensor
        return tensors

    def compute(self, layers: Layers, last_only: bool = False, loss: bool = False) -> Compute:
        """The model as a function. `last_only`: a sequence is returned where the last is wanted."""

        def run(call: Callable[..., Any], tensors: Tensors) -> Tensors:
            results: Tensors = {}
            value = tensors["x"]
            for index, layer in enumerate(layers):
                if index != self.recurrent:
                    value = call(layer, value)
                    continue
                given = {k: tensors[k] for k in ("initial_state", "mask") if k in tensors}
                value = call(layer, value, **given)
                if layer.return_state:
                    value, results["last_state"] = value
                if layer.return_sequences:
                    results["states"] = value
                if last_only:
                    value = value[:, -1]
            results["output"] = value
            if loss:
                results["loss"] = self.loss(value, tensors["loss"])
            return results

        return run

    def loss(self, output: Tensor, given: Tensor) -> Tensor:
        kind = self.request["loss"]["kind"]
        if tuple(given.shape) != tuple(output.shape):
            raise ValueError(
                f"the loss's array has shape {tuple(given.shape)}, the output {tuple(output.shape)}"
            )
        if kind == "cotangent":
            return self.backend.sum(self.backend.cast(given, output.dtype) * output)
        losses = self.backend.keras.losses
        if kind == "mse":
            return losses.MeanSquaredError()(given, output)
        if kind == "categorical_crossentropy":
            return losses.CategoricalCrossentropy()(given, output)
        raise ValueError(f"unknown loss {kind!r}")

    def run(self, layers: Layers) -> Tensors:
        reset(layers)
        return self.backend.run(self.compute(layers), layers, self.tensors(), self.mode)

    @functools.cached_property
    def plain(self) -> Tensors:
        """The model as it stands, run once."""
        return self.run(self.layers)

    # the questions

    def ask_summary(self) -> dict[str, Any]:
        keras = self.backend.keras
        layers = [self.make(spec) for spec in self.specs]
        batch = self.input_shape[0] if any(getattr(r, "stateful", False) for r in layers) else None
        given = keras.Input(shape=self.input_shape[1:], batch_size=batch)
        if any(getattr(layer, "return_state", False) for layer in layers):
            value = given  # a Sequential takes no layer with two outputs
            for layer in layers:
                value = first(layer(value))
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
                for spec, layer in zip(self.specs, layers)
            ],
            **counts(model),
        }

    def ask_initial_weights(self) -> dict[str, Any]:
        return self.initial_weights

    def ask_weights(self) -> dict[str, Any]:
        return {layer.name: read_weights(layer) for layer in self.layers}

    def ask_output(self) -> dict[str, Any]:
        return self.encode(self.plain["output"])

    def ask_states(self) -> dict[str, Any]:
        return self.encode(self.variant("states", return_sequences=True))

    def ask_last_state(self) -> dict[str, Any]:
        return self.encode(self.variant("last_state", return_state=True))

    def variant(self, result: str, **changes: Any) -> Tensor:
        """A result of the model as it stands, or of one that differs in what is returned."""
        recurrent = self.layers[self.recurrent]
        asked_for = {name: getattr(recurrent, name) for name in changes}
        if asked_for == changes:
            return self.plain[result]
        try:
            for name, value in changes.items():
                setattr(recurrent, name, value)
            return self.run(self.layers[: self.recurrent + 1])[result]
        finally:
            for name, value in asked_for.items():
                setattr(recurrent, name, value)

    def ask_gradients(self) -> dict[str, Any]:
        wanted = self.request.get("of")
        inputs = [name for name, array in self.inputs.items() if is_floating(name, array)]
        found = self.differentiate(self.layers, self.tensors(), inputs)
        if "initial_state" not in inputs and (wanted is None or "initial_state" in wanted):
            # None was given, so the run above was plain; its gradient needs one that is.
            zeros = self.tensors(initial_state=self.zero_state())
            again = self.differentiate(self.layers, zeros, ["initial_state"])
            found["initial_state"] = again["initial_state"]
        return {
            name: self.encode(value)
            for name, value in found.items()
            if name not in ("output", "states", "last_state")
            and (wanted is None or name in wanted or name == "loss")
        }

    def ask_probe(self) -> dict[str, Any]:
        if self.recurrent:
            raise ValueError("the probe needs a model that begins with its recurrent layer")
        recurrent = self.layers[0]
        weights = weights_of(recurrent)
        kernel = weights["kernel"]  # (F,H)
        features, units = kernel.shape
        identity = np.eye(units, dtype=kernel.dtype)  # (H,H)
        weights["kernel"] = np.concatenate([kernel, identity])  # (F+H,H)
        layers = self.with_recurrent(weights, return_sequences=True, return_state=False)

        x = self.inputs["x"]  # (B,T,F)
        zeros = np.zeros((*x.shape[:2], units), x.dtype)
        given = {"x": np.concatenate([x, zeros], axis=-1)}  # (B,T,F+H)
        given["initial_state"] = self.inputs.get("initial_state", self.zero_state())
        found = self.differentiate(
            layers,
            self.tensors(**given),
            ["x", "initial_state"],
            last_only=not recurrent.return_sequences,
        )
        delta = found["x"][:, :, features:]
        answer = {name: self.encode(value) for name, value in found.items()}
        answer["x"] = self.encode(found["x"][:, :, :features])
        answer["kernel"] = self.encode(found["kernel"][:features])
        order = slice(None, None, -1 if recurrent.go_backwards else 1)  # into processing order
        answer["delta"] = encode(self.backend.array(delta)[:, order])
        return answer

    def ask_training(self) -> dict[str, Any]:
        """One batch, one update an epoch.

        The data is a tf.data.Dataset of that batch, repeated, with steps_per_epoch=1: fit trains on
        the same numbers as with arrays, but need not build a pipeline for every epoch (which is
        four fifths of its time).
        """
        if self.backend.name != "tensorflow":
            return {"unsupported": f"training is not recorded on the {self.backend.name} backend"}
        if self.dtype not in (None, "float32", "float64"):
            return {"unsupported": f"training in {self.dtype} scales its loss: not recorded"}
        if {"initial_state", "mask"} & self.inputs.keys():
            raise ValueError("training is recorded without initial_state and mask")
        keras, asked = self.backend.keras, self.request["training"]
        layers = [self.make(spec) for spec in self.specs]
        model = keras.Sequential([keras.Input(self.input_shape[1:]), *layers])
        for layer in layers:
            given = (self.request.get("weights") or {}).get(layer.name, {})
            set_weights(layer, {name: decode(array) for name, array in given.items()})
        replacement = (self.request.get("replace") or {}).get("Adam")
        adam = keras.optimizers.Adam if replacement is None else load_class(replacement)
        optimizer = adam(learning_rate=asked["learning_rate"])
        optimizer.build(model.trainable_variables)  # so that there is something before the first
        how = {"function": {"jit_compile": False}, "xla": {"jit_compile": True}}.get(self.mode, {})
        model.compile(loss=self.request["loss"]["kind"], optimizer=optimizer, **how)

        recorder = training_recorder(self.backend, layers, optimizer)
        dtype = np.dtype(self.dtype or self.backend.floatx)
        batch = tuple(self.inputs[name].astype(dtype) for name in ("x", "loss"))
        data = self.backend.package.data.Dataset.from_tensors(batch).repeat()
        history = model.fit(
            data,
            epochs=asked["epochs"],
            steps_per_epoch=1,
            shuffle=False,
            verbose=0,
            callbacks=[recorder],
        )
        constants = {n: float(getattr(optimizer, n)) for n in ("beta_1", "beta_2", "epsilon")}
        constants["learning_rate"] = float(self.backend.array(optimizer.learning_rate))
        return {
            **recorder.recorded(),
            "loss": encode(np.asarray(history.history["loss"])),
            "optimizer": constants,
            "jit_compile": bool(getattr(model, "jit_compile", False)),
        }

    def zero_state(self) -> Array:
        return np.zeros((len(self.inputs["x"]), self.layers[self.recurrent].units))  # (B,H)

    def differentiate(
        self,
        layers: Layers,
        tensors: Tensors,
        inputs: list[str],
        last_only: bool = False,
    ) -> Tensors:
        """Results and gradients by name."""
        if "loss" not in self.inputs:
            raise ValueError("a gradient needs a loss")
        reset(layers)
        compute = self.compute(layers, last_only, loss=True)
        results, of_weights, of_inputs = self.backend.differentiate(
            compute, layers, tensors, inputs, self.mode
        )
        names = [
            ("" if index == self.recurrent else f"{self.specs[index]['kind'].lower()}.")
            + weight_name(weight)
            for index, layer in enumerate(layers)
            for weight in layer.trainable_weights
        ]
        return {**results, **dict(zip(names, of_weights)), **dict(zip(inputs, of_inputs))}

    def encode(self, tensor: Tensor) -> dict[str, Any]:
        return encode(self.backend.array(tensor))

    def answer(self, question: str) -> Any:
        ask = getattr(self, f"ask_{question}", None)
        if ask is None:
            raise ValueError(f"unknown question {question!r}")
        computes = question not in ("summary", "initial_weights", "weights")
        if computes and self.mode not in self.backend.modes:
            return {"unsupported": f"the {self.backend.name} backend has no mode {self.mode!r}"}
        if question in ("gradients", "probe") and not self.backend.differentiates:
            return {"unsupported": f"the {self.backend.name} backend has no gradients"}
        try:
            return ask()
        except NotImplementedError as error:
            if self.request.get("replace"):
                raise  # not Keras's word
            return {"unsupported": f"NotImplementedError: {error}"}


def is_floating(name: str, array: Array) -> bool:
    """Whether it is an input of the layer's that has a gradient."""
    return name in ("x", "initial_state") and array.dtype.kind == "f"


def default_name(kind: str) -> str:
    """Keras's own: SimpleRNN -> simple_rnn."""
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", kind).lower()


@functools.cache
def load_class(where: str) -> Any:
    """CLASS of "FILE.py:CLASS"."""
    path, _, name = where.rpartition(":")
    return getattr(load_module(os.path.abspath(path)), name)


@functools.cache
def load_module(path: str) -> Any:
    name = "_" + os.path.basename(path)[: -len(".py")]  # theirs may be called like a module of ours
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ValueError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    sys.path.append(os.path.dirname(path))  # what stands beside it may be imported by it
    spec.loader.exec_module(module)
    return module


def training_recorder(backend: Backend, layers: Layers, optimizer: Any) -> Any:
    """A callback that reads weights and optimizer before the first update and after each."""
    named = [(layer.name, weight) for layer in layers for weight in layer.trainable_weights]
    groups = {
        "weights": [weight for _, weight in named],
        "m": optimizer._momentums,
        "v": optimizer._velocities,
    }
    read: dict[str, list[list[Array]]] = {name: [] for name in groups}
    counted: list[Array] = []

    class Recorder(backend.keras.callbacks.Callback):  # type: ignore[misc, name-defined]
        def on_train_begin(self, logs: Any = None) -> None:
            for name, variables in groups.items():
                read[name].append([backend.array(variable) for variable in variables])
            counted.append(backend.array(optimizer.iterations))

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            self.on_train_begin()

        def recorded(self) -> dict[str, Any]:
            answer: dict[str, Any] = {"iterations": encode(np.stack(counted))}
            for name, states in read.items():
                tables: dict[str, Any] = {}
                for (layer, weight), steps in zip(named, zip(*states)):
                    tables.setdefault(layer, {})[weight_name(weight)] = encode(np.stack(steps))
                answer[name] = tables
            return answer

    return Recorder()


def weight_name(weight: Any) -> str:
    """kernel, whether Keras calls it that or simple_rnn/simple_rnn_cell/kernel:0."""
    return str(weight.name).rsplit("/", 1)[-1].split(":")[0]


def weights_of(layer: Any) -> dict[str, Array]:
    return dict(zip(map(weight_name, layer.weights), layer.get_weights()))


def read_weights(layer: Any) -> dict[str, Any]:
    return {name: encode(array) for name, array in weights_of(layer).items()}


def set_weights(layer: Any, given: dict[str, Array]) -> None:
    """As a user sets them, layer.set_weights([...]); those not given stay as they are."""
    weights = weights_of(layer)
    for name, array in given.items():
        if name not in weights:
            raise ValueError(f"{layer.name} has no weight {name!r}, only {list(weights)}")
        if array.shape != weights[name].shape:
            raise ValueError(
                f"{name} of {layer.name} has shape {weights[name].shape}, not {array.shape}"
            )
    if given:
        layer.set_weights([given.get(name, array) for name, array in weights.items()])


def reset(layers: Layers) -> None:
    """A stateful layer starts every run afresh."""
    for layer in layers:
        if getattr(layer, "stateful", False):
            (getattr(layer, "reset_state", None) or layer.reset_states)()


def first(outputs: Any) -> Any:
    """The output of a layer that may return its state beside it."""
    return outputs[0] if isinstance(outputs, (list, tuple)) else outputs


def counts(layer: Any) -> dict[str, int]:
    def size(weights: Any) -> int:
        return sum(int(np.prod(weight.shape)) for weight in weights)

    return {
        "parameters": int(layer.count_params()),
        "trainable": size(layer.trainable_weights),
        "non_trainable": size(layer.non_trainable_weights),
    }


# -- the subject's identity ------------------------------------------------------------------------


def available_cores() -> int:
    with contextlib.suppress(AttributeError):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cpu_model() -> str:
    with contextlib.suppress(OSError), open("/proc/cpuinfo", encoding="utf-8") as file:
        for line in file:
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def identity(backend: Backend) -> dict[str, Any]:
    """Who is asked. Device and dtype are read from the output of a small SimpleRNN."""
    keras = backend.keras
    output = keras.layers.SimpleRNN(1)(backend.tensor(np.zeros((1, 1, 1), np.float32)))
    settings = {name: value for name, value in os.environ.items() if SETTINGS.match(name)}
    settings.update(backend.settings())
    if backend.floatx != "float32":
        settings["floatx"] = backend.floatx
    return {
        "framework": "keras",
        "keras": keras.__version__,
        "backend": backend.name,
        "backend_version": backend.version,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "device": backend.device(output),
        "dtype": dtype_name(output),
        "modes": list(backend.modes),
        "gradients": backend.differentiates,
        "cpu": cpu_model(),
        "threads": backend.threads(),
        "platform": platform.platform(),
        "settings": settings,
    }


# -- the pipe --------------------------------------------------------------------------------------


def default_backend() -> str:
    """What Keras itself takes: the environment, else its configuration file, else TensorFlow."""
    if os.environ.get("KERAS_BACKEND"):
        return os.environ["KERAS_BACKEND"]
    home = os.environ.get("KERAS_HOME") or os.path.join(os.path.expanduser("~"), ".keras")
    try:
        with open(os.path.join(home, "keras.json"), encoding="utf-8") as file:
            return str(json.load(file).get("backend", "tensorflow"))
    except (OSError, ValueError, AttributeError):  # none, or not what Keras writes
        return "tensorflow"


def open_backend(name: str) -> Backend:
    """Import Keras on this backend. Raises ModuleNotFoundError if something is not installed."""
    if importlib.util.find_spec(name) is None:  # known before Keras has been imported in vain
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)
    os.environ["KERAS_BACKEND"] = name
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    gc.disable()  # an import allocates a great deal and frees nothing: a tenth of its time
    keras = importlib.import_module("keras")
    backend = BACKENDS[name](keras, name)
    gc.enable()
    gc.freeze()
    if keras.backend.backend() != name:
        raise RuntimeError(f"Keras {keras.__version__} runs on {keras.backend.backend()} only")
    return backend


def reply_to(backend: Backend, line: str) -> dict[str, Any]:
    number = None
    try:
        request = json.loads(line)
        number = request.get("id")
        backend.set_precision(request.get("dtype"))
        experiment = Experiment(backend, request)
        return {"id": number, "observed": {q: experiment.answer(q) for q in request["ask"]}}
    except Exception as error:  # whatever a framework raises is an observation
        return {"id": number, **description(error)}


def description(error: Exception) -> dict[str, str]:
    message = "".join(traceback.format_exception_only(type(error), error)).strip()
    return {"error": message, "traceback": traceback.format_exc()}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--backend", choices=list(BACKENDS), default=default_backend())
    name = parser.parse_args().backend
    # This file's folder holds other modules, whose names are not the framework's business.
    here = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [folder for folder in sys.path if os.path.abspath(folder) != here]

    # From here on nothing that is printed, by whomever, can reach the pipe.
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    requests = os.fdopen(os.dup(0), encoding="utf-8")
    os.dup2(2, 1)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)

    def say(document: dict[str, Any]) -> None:
        replies.write(json.dumps(document) + "\n")
        replies.flush()

    try:
        backend = open_backend(name)
        say({"hello": identity(backend)})
    except ModuleNotFoundError as error:
        say({**description(error), "missing": error.name})
        return
    except Exception as error:
        say(description(error))
        return
    for line in requests:
        say(reply_to(backend, line))
    sys.stderr.flush()
    os._exit(0)  # a framework's own goodbye takes half a second and can crash


if __name__ == "__main__":
    main()
