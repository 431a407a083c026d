"""How does Keras on one backend make tensors, call layers, compile and differentiate?"""

from __future__ import annotations

import contextlib
import gc
import importlib
import importlib.util
import json
import os
from typing import Any, Callable

import numpy as np

from .machine import available_cores, cache_folder
from .parts import Layers, Tensor, Tensors, variables_of
from .wire import Array

Compute = Callable[[Tensors], Any]  # the model as a function of its inputs
Gradients = tuple[Tensors, list[Tensor], list[Tensor]]  # results, of weights, of inputs
Differentiate = Callable[[Tensors], Gradients]


class Backend:
    """Keras on one backend: how it makes tensors, calls layers, compiles and differentiates."""

    modes: tuple[str, ...] = ("eager",)
    differentiates = False
    most_eager = 0  # batches that a keras.Model takes eagerly faster than it is traced for them

    def __init__(self, keras: Any, name: str) -> None:
        self.keras = keras
        self.name = name
        self.keras_version = str(importlib.import_module("keras").__version__)
        self.package = importlib.import_module(name)
        self.version = str(self.package.__version__)
        self.floatx = keras.backend.floatx()

    def tensor(self, array: Array) -> Tensor:
        return self.keras.ops.convert_to_tensor(array)

    def cast(self, tensor: Tensor, dtype: Any) -> Tensor:
        return self.keras.ops.cast(tensor, dtype)

    def sum(self, tensor: Tensor) -> Tensor:
        return self.keras.ops.sum(tensor)

    def joined(self, tensors: list[Tensor], axis: int) -> Tensor:
        return self.keras.ops.concatenate(tensors, axis=axis)

    def array(self, tensor: Tensor) -> Array:
        return np.asarray(self.keras.ops.convert_to_numpy(tensor))

    def device(self, tensor: Tensor) -> str:
        return "CPU"

    def threads(self) -> int:
        return available_cores()

    def settings(self) -> dict[str, str]:
        """Switches that change numbers and are no environment variables."""
        return {}

    def set_precision(self, policy: str | None, floatx: str | None) -> None:
        """floatx, which what is no layer computes in: Keras's losses."""
        wanted = floatx or (self.floatx if policy is None else "float32")
        if wanted != self.keras.backend.floatx():
            self.keras.backend.set_floatx(wanted)
            # of what is given no policy; once it has been asked for, floatx does not change it
            self.keras.mixed_precision.set_global_policy(wanted)

    def run(self, compute: Compute, layers: Layers, tensors: Tensors, mode: str) -> Any:
        """compute(tensors), compiled as `mode` says."""
        return self.prepared(compute, layers, mode)(tensors)

    def prepared(self, compute: Compute, layers: Layers, mode: str) -> Compute:
        """The same, to be called again: not traced anew, it sees what the weights are by then."""
        return compute

    def run_each(
        self, compute: Compute, layers: Layers, each: list[Tensors], mode: str
    ) -> list[Any]:
        """The same for inputs of several shapes, compiled once where the backend can."""
        return [self.run(compute, layers, tensors, mode) for tensors in each]

    def differentiate(
        self, compute: Compute, layers: Layers, tensors: Tensors, inputs: list[str], mode: str
    ) -> Gradients:
        """The same, then d results["loss"] / d each trainable weight, and / d each named input.

        An input that the loss does not depend on has gradient zero, on every backend.
        """
        return self.differentiating(compute, layers, inputs, mode)(tensors)

    def differentiating(
        self, compute: Compute, layers: Layers, inputs: list[str], mode: str
    ) -> Differentiate:
        """The same, to be called again."""
        raise NotImplementedError


class TensorFlow(Backend):
    """Also Keras 2, which runs on nothing else and has no keras.ops."""

    modes = ("eager", "function", "xla")
    differentiates = True
    most_eager = 8  # of 10 ms each, where a trace of training takes 300 to 500

    def tensor(self, array: Array) -> Tensor:
        return self.package.convert_to_tensor(array)

    def cast(self, tensor: Tensor, dtype: Any) -> Tensor:
        return self.package.cast(tensor, dtype)

    def sum(self, tensor: Tensor) -> Tensor:
        return self.package.reduce_sum(tensor)

    def joined(self, tensors: list[Tensor], axis: int) -> Tensor:
        return self.package.concat(tensors, axis=axis)

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

    def compiled(
        self, function: Callable[..., Any], mode: str, **options: Any
    ) -> Callable[..., Any]:
        if mode == "eager":
            return function
        compiled: Callable[..., Any] = self.package.function(
            function, jit_compile=mode == "xla", **options
        )
        return compiled

    def prepared(self, compute: Compute, layers: Layers, mode: str) -> Compute:
        # The tensors are arguments: a constant inside the graph would be folded at compile time.
        return self.compiled(compute, mode)

    def run_each(
        self, compute: Compute, layers: Layers, each: list[Tensors], mode: str
    ) -> list[Any]:
        signature = {}
        for name, tensor in each[0].items():
            sizes = zip(*(tensors[name].shape for tensors in each))
            shape = [size[0] if len(set(size)) == 1 else None for size in sizes]
            signature[name] = self.package.TensorSpec(shape, tensor.dtype)
        run = self.compiled(compute, mode, input_signature=[signature])
        return [run(tensors) for tensors in each]

    def differentiating(
        self, compute: Compute, layers: Layers, inputs: list[str], mode: str
    ) -> Differentiate:
        weights = [weight for layer in layers for weight in layer.trainable_weights]

        def run(tensors: Tensors) -> Any:
            watched = [tensors[name] for name in inputs]
            with self.package.GradientTape() as tape:
                tape.watch(watched)
                results = compute(tensors)
            gradients = tape.gradient(
                results["loss"], [weights, watched], unconnected_gradients="zero"
            )
            # of an embedding it is a sum over rows that is not yet taken
            dense = self.package.convert_to_tensor
            return results, [[dense(gradient) for gradient in part] for part in gradients]

        compiled = self.compiled(run, mode)

        def both(tensors: Tensors) -> Gradients:
            results, (of_weights, of_inputs) = compiled(tensors)
            return results, of_weights, of_inputs

        return both


class Jax(Backend):
    modes = ("eager", "xla")
    differentiates = True

    def __init__(self, keras: Any, name: str) -> None:
        super().__init__(keras, name)
        if getattr(self.package.config, "jax_compilation_cache_dir", None) is None:
            # Almost all of an answer's time is XLA's compilation, eager or not; a disk remembers.
            for option, value in (
                ("jax_compilation_cache_dir", cache_folder("jax")),
                ("jax_persistent_cache_min_compile_time_secs", 0),
                ("jax_persistent_cache_min_entry_size_bytes", -1),
            ):
                with contextlib.suppress(AttributeError):  # jax 0.4.23 does not have them all
                    self.package.config.update(option, value)

    def device(self, tensor: Tensor) -> str:
        device = next(iter(tensor.devices()))
        if device.platform == "cpu":
            return "CPU"
        return f"{device.platform.upper()}:{device.id} {device.device_kind}"

    def settings(self) -> dict[str, str]:
        precision = self.package.config.jax_default_matmul_precision
        return {} if precision is None else {"default_matmul_precision": str(precision)}

    def set_precision(self, policy: str | None, floatx: str | None) -> None:
        super().set_precision(policy, floatx)
        self.package.config.update("jax_enable_x64", "float64" in (policy, floatx))

    def stateless(self, compute: Compute, variables: list[Any]) -> Callable[..., Any]:
        """compute with the variables as an argument, which is how jax differentiates and compiles.

        It returns what they are afterwards as well: states and seeds change.
        """

        def run(values: list[Tensor], tensors: Tensors) -> tuple[Any, list[Tensor]]:
            scope = self.keras.StatelessScope(zip(variables, values), collect_losses=True)
            with scope:
                results = compute(tensors)
            return results, [scope.get_current_value(variable) for variable in variables]

        return run

    def prepared(self, compute: Compute, layers: Layers, mode: str) -> Compute:
        if mode == "eager":
            return compute
        variables = variables_of(layers)
        run = self.package.jit(self.stateless(compute, variables))

        def compiled(tensors: Tensors) -> Any:
            results, values = run([variable.value for variable in variables], tensors)
            for variable, value in zip(variables, values):
                variable.assign(value)
            return results

        return compiled

    def differentiating(
        self, compute: Compute, layers: Layers, inputs: list[str], mode: str
    ) -> Differentiate:
        weights = [weight for layer in layers for weight in layer.trainable_weights]
        trained = set(map(id, weights))
        others = [variable for variable in variables_of(layers) if id(variable) not in trained]
        stateless = self.stateless(compute, weights + others)

        def loss(
            of_weights: list[Tensor], of_inputs: list[Tensor], of_others: list[Tensor],
            tensors: Tensors,
        ) -> tuple[Tensor, Tensors]:  # fmt: skip
            results, _ = stateless(
                of_weights + of_others, {**tensors, **dict(zip(inputs, of_inputs))}
            )
            return results["loss"], results

        gradient = self.package.grad(loss, argnums=(0, 1), has_aux=True)
        if mode == "xla":
            gradient = self.package.jit(gradient)

        def both(tensors: Tensors) -> Gradients:
            (of_weights, of_inputs), results = gradient(
                [weight.value for weight in weights],
                [tensors[name] for name in inputs],
                [variable.value for variable in others],
                tensors,
            )
            return results, of_weights, of_inputs

        return both


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

    def differentiating(
        self, compute: Compute, layers: Layers, inputs: list[str], mode: str
    ) -> Differentiate:
        def both(tensors: Tensors) -> Gradients:
            watched = [tensors[name].clone().requires_grad_() for name in inputs]
            weights = [weight.value for layer in layers for weight in layer.trainable_weights]
            results = compute({**tensors, **dict(zip(inputs, watched))})
            gradients = self.package.autograd.grad(
                results["loss"], weights + watched, materialize_grads=True, allow_unused=True
            )
            return results, list(gradients[: len(weights)]), list(gradients[len(weights) :])

        return both


BACKENDS: dict[str, type[Backend]] = {
    "tensorflow": TensorFlow,
    "jax": Jax,
    "torch": Torch,
    "openvino": Backend,
    "numpy": Backend,
}


def dtype_name(tensor: Tensor) -> str:
    """ "float32", whether the framework says that, <dtype: 'float32'> or torch.float32."""
    return str(getattr(tensor.dtype, "name", tensor.dtype)).rsplit(".", 1)[-1]


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
    if not hasattr(keras, "ops"):  # of Keras 2 the package itself shows users retired optimizers
        keras = importlib.import_module("tensorflow").keras
    backend = BACKENDS[name](keras, name)
    gc.enable()
    gc.freeze()
    if keras.backend.backend() != name:
        raise RuntimeError(f"Keras {backend.keras_version} runs on {keras.backend.backend()} only")
    return backend
