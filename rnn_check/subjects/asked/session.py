"""What does the framework say?

The only module that imports a framework. It is a script as well, and the script is how it is used:

    python subject.py --backend tensorflow

It runs inside environments as old as TensorFlow 2.12's, so it needs the standard library, NumPy
and the framework alone, and keeps to Python 3.9. One process is one subject, because Keras fixes
its backend when it is imported.

The pipe: one JSON document a line, both ways. The first line out is {"hello": IDENTITY}; after it
every line in is a request and every line out its reply, {"id", "observed": {question: answer}}. A
question at which the framework raised is answered {"error", "traceback"}, one that this backend or
mode cannot answer {"unsupported": reason}; so is every question about layers that need what this
Keras does not have yet. What breaks before any question (layers that cannot be made or built,
weights that do not fit them) makes the whole reply {"id", "error", "traceback"}.
Whatever a framework prints goes to stderr, because file descriptor 1 points there.

Sizes: B samples, T timesteps, F features, H units, O units of the output layer.
Arrays: x (B,T,F), kernel (F,H), recurrent_kernel (H,H), bias (H,), states (B,T,H), mask (B,T).

A request holds
    layers         [{"kind": class in keras.layers, "name": ..., Keras's own keys}, ...]. Without
                   names they are called as Keras calls them: simple_rnn, simple_rnn_1, dense.
                   "layer" (of Bidirectional, TimeDistributed) and "cell" (of RNN) are such
                   descriptions too, "cell" also a list of them; an initializer, a regularizer or a
                   constraint may be {"kind": its class, its arguments}; the cell "CustomCell" is
                   one that a user wrote, which computes what SimpleRNNCell does; the activation
                   "callable NAME" is a Python function that calls Keras's activation of that name
    ask            which of the questions below
    x, initial_state, mask, input_shape [T, F]
                   x of an integer dtype stays so; of (B,T) it is for an Embedding. initial_state
                   (B,H), of Bidirectional (2,B,H), and mask go to the first recurrent layer
    x_dtype        what x is cast to first
    weights        {layer name: {path: array}}. Paths: "kernel", of a wrapped or cell's weight as
                   well; "forward.kernel" and "backward.kernel" of a Bidirectional layer;
                   "cell_0.kernel", "cell_1.kernel", ... of a list of cells
    mode           "eager", "function" (tf.function) or "xla" (tf.function's jit_compile, jax.jit).
                   compile is told nothing in mode "eager", else what its jit_compile is to be
    dtype          a Keras dtype policy, given to every layer and cell
    floatx         what is no layer computes in (by default float32): "float64" beside that dtype
    loss           {"kind": "cotangent", "value": array like the output}: the sum of their product,
                   or {"kind": "mse" | "categorical_crossentropy", "target": array}: Keras's own
    of             whose gradients (by default all that there are)
    training       {"learning_rate", "epochs"}: of the optimizer and of fit
    replace        {"SimpleRNN": "FILE.py:CLASS"}: a class that stands in for Keras's (also "Adam")
    through, wrong, how   see the questions that take them

Questions about layers that are called one after the other:
    summary          names, output shapes and parameter counts, of a real keras.Sequential
    initial_weights  the weights as the framework made them
    initialized      the same of the layers made twice: {"first", "second"}
    weights          the weights read back after they were set
    output           of the whole model (B,T,H), (B,H), (B,T,O) or (B,O)
    states           the recurrent layer's own sequence (B,T,H), as return_sequences=True gives it
    last_state       the state that return_state=True gives (B,H); of several cells a list
    gradients        of the loss, by the framework's own differentiation of the model as it stands:
                     x, kernel, recurrent_kernel, bias, initial_state, dense.kernel, dense.bias (of
                     other layers NAME.kernel, ...); and the loss itself
    probe            the same, together with output, states and delta = dL/dz, all from one run of a
                     layer with H more features: zero in x, the identity in the kernel. The forward
                     pass means the same, and the input gradient in those columns is delta
                     (B,T,H, in the order in which the steps were taken)
    training         compile(loss, Adam) and fit, watched: weights, Adam's m and v and iterations
                     before the first update and after each (N+1,...), each epoch's loss (N,), and
                     the optimizer's constants
    dropout          masks of the first layer's dropout and recurrent_dropout rates and seed, shown
                     by layers of 64 units and features made for it (linear, no bias, kernel the
                     identity, 64 samples, 4 steps), one for each rate: "input" (B,T,H) is
                     mask·scale at each step; "recurrent" (B,T,H) is (mask·scale)^t at step t = 0 ..
                     3. Each null if its rate is not given. "next": both from the same layers,
                     called once more; "again": both from fresh layers with the same seed, null
                     without one; "inference": both with training=False
    cell             the cell of an RNN over one, called by itself at every step with the states
                     that it returned at the one before, from initial_state: {"outputs", "states"}
                     (B,T,H) each
    shrunk           a stateful layer built for B samples is called with B-1: as "raises" says;
                     "control": with B
    raises           wrong = {"layer": {Keras's keys}, "x_shape", "initial_state_shape",
                     "mask_shape"}, each optional: the first recurrent layer (or the first) is made
                     with those keys, built for the right shape and called with zeros of the wrong
                     ones. {"raised": [class, its bases ...], "message": 300 characters of it, "at":
                     "construct" | "build" | "call"} or {"returned": the output's shape}; and
                     "control": the same of the layer as described, given zeros of right shapes in
                     place of the wrong ones, which should not raise

    offers           of the class that replaces SimpleRNN, what it does not have that the questions
                     above need: {"lacks": [sentences]}
    config           what get_config() says: {"layers": {name: {...}}, "optimizers": {"Adam": {...},
                     "SGD": {...}}}. What Keras serializes (an initializer, a dtype policy) is
                     {"kind": its class, its own arguments}

Questions to a keras.Model of the functional API, whose inputs are x and what is given with it:
    outputs          every layer's own output (without the states beside it, two for a Bidirectional
                     layer that does not merge) and the mask that it carries, or null, as Keras has
                     attached it: {"layers": [...], "masks": [...], "states": [what the last layer
                     returns beside its output, if that is its state]}
    stateful         of the layers up to the first recurrent one, that made stateful and to return
                     sequences, for B samples. It is run on x three times, its state reset before
                     the third, through = "call", "predict", "fit" (SGD with a learning rate of 0)
                     or "evaluate": {"runs": the three sequences, null of fit and evaluate,
                     "states": the layer's state (B,H) after each run, and after the reset}. Where
                     there are several states each of these four is a list
    round_trip       how = "config" (from_config(get_config()) of each layer), "weights" (saved to a
                     .weights.h5, loaded into a model made anew), "keras" (saved to a .keras and
                     loaded) or "clone" (clone_model): {"before", "after": outputs, "same_config":
                     names count, but not those inside wrappers for "weights"; "same_weights"}
    losses           model.losses after a call: {"losses": their sum, "each": [...], "activities":
                     {layer: its output in that call} of those with an activity_regularizer}
    evaluate         compile(loss), predict and evaluate: {"loss": float64, "output"}
    fit_once         compile(SGD(training's learning_rate), "mse") and one step of fit: weights
                     {"before", "after"} by layer and path, {"trainable": {layer: [paths]}}
    one_update       the same step; beside before and after {"loss": as fit reports it, "output": in
                     inference after it}
    dynamic          of a model that knows neither B nor T, in mode "function" compiled once so: the
                     outputs on x, x[:1], x[:, :1] and x[:, :T//2+1]: {"outputs": [...]}
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import functools
import gc
import importlib
import importlib.metadata
import importlib.util
import json
import os
import platform
import re
import select
import shutil
import signal
import sys
import tempfile
import traceback
import warnings
from collections.abc import Iterator
from typing import Any, Callable

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Tensor = Any  # whatever the framework computes with
Tensors = dict[str, Any]
Layers = list[Any]
Compute = Callable[[Tensors], Any]  # the model as a function of its inputs
Gradients = tuple[Tensors, list[Tensor], list[Tensor]]  # results, of weights, of inputs

SHOWS_INITIALIZERS = {"initial_weights", "initialized", "round_trip"}
# questions that need no layers as they are described
MAKES_ITS_OWN = {"raises", "dropout", "initialized", "config", "offers"}
COMPUTES_NOTHING = {"summary", "initial_weights", "initialized", "weights", "config", "offers"}
# what a class that stands in for SimpleRNN is made with, and what is read from it
ARGUMENTS: dict[str, Any] = {
    "units": 2,
    "activation": "tanh",
    "use_bias": True,
    "kernel_initializer": "zeros",
    "recurrent_initializer": "zeros",
    "return_sequences": True,
    "return_state": True,
    "go_backwards": True,
    "stateful": False,
    "unroll": True,
    "name": "own",
    "dtype": "float32",
}
METHODS = (
    *("__call__", "build", "compute_output_shape", "count_params", "get_config"),
    *("get_weights", "set_weights"),
)
ATTRIBUTES = (
    *("compute_dtype", "go_backwards", "name", "return_sequences", "return_state"),
    *("non_trainable_weights", "trainable_weights", "variables", "weights"),
)
STATES = ("initial_state", "backward_state")  # as they are called among the inputs
RECURRENT = ("SimpleRNN", "RNN", "Bidirectional", "GRU", "LSTM")
ENVIRONMENT = dict(os.environ)  # before a framework adds to it
LONGEST = 2_000  # characters of what an exception says
DTYPES = (
    *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    *("bfloat16", "float16", "float32", "float64"),
)
SETTINGS = re.compile(  # environment variables of what computes the numbers
    r"(TF|XLA|JAX|TORCH|PYTORCH|ATEN|CUBLAS|CUDNN|NVIDIA|ONEDNN|DNNL|MKL|OMP|OPENBLAS|OPENVINO|OV)_"
    r"(?!CPP_|CLI_)"  # TensorFlow's logging, and Terraform
)


# -- what may be named -----------------------------------------------------------------------------
# A claim is data, whoever wrote it. These tables are all that a request may name: no class that
# loads a program or a vocabulary or opens a file is among them, and every argument is a scalar.
# Whoever reads claims checks them by `refusals` as well, and says what it says.

_CELL = ("units", "activation", "use_bias")
_RECURRENT = (
    *_CELL,
    *("return_sequences", "return_state", "go_backwards", "stateful", "unroll"),
    *("zero_output_for_mask", "trainable", "dropout", "recurrent_dropout", "seed"),
    *(f"{part}_initializer" for part in ("kernel", "recurrent", "bias")),
    *(f"{part}_regularizer" for part in ("kernel", "recurrent", "bias", "activity")),
    *(f"{part}_constraint" for part in ("kernel", "recurrent", "bias")),
)
CELLS: dict[str, tuple[str, ...]] = {"SimpleRNNCell": _CELL, "CustomCell": _CELL}
LAYERS: dict[str, tuple[str, ...]] = {
    "SimpleRNN": _RECURRENT,
    "LSTM": (*_RECURRENT, "recurrent_activation", "unit_forget_bias"),
    "GRU": (*_RECURRENT, "recurrent_activation", "reset_after"),
    "RNN": (
        *("cell", "return_sequences", "return_state", "go_backwards", "stateful", "unroll"),
        "zero_output_for_mask",
    ),
    "Bidirectional": ("layer", "merge_mode"),
    "TimeDistributed": ("layer",),
    "Dense": (*_CELL, "trainable"),
    "Masking": ("mask_value",),
    "Embedding": ("input_dim", "output_dim", "mask_zero"),
}
WRAPPED = {"Bidirectional": ("SimpleRNN",), "TimeDistributed": ("Dense",)}
# by the ends of the keys that take them: classes and what each takes
KINDS: dict[str, dict[str, tuple[str, ...]]] = {
    "initializer": {
        "Zeros": (),
        "Ones": (),
        "Constant": ("value",),
        "Identity": ("gain",),
        "Orthogonal": ("gain", "seed"),
        "RandomNormal": ("mean", "stddev", "seed"),
        "RandomUniform": ("minval", "maxval", "seed"),
        "TruncatedNormal": ("mean", "stddev", "seed"),
        "VarianceScaling": ("scale", "mode", "distribution", "seed"),
        "GlorotNormal": ("seed",),
        "GlorotUniform": ("seed",),
        "HeNormal": ("seed",),
        "HeUniform": ("seed",),
        "LecunNormal": ("seed",),
        "LecunUniform": ("seed",),
    },
    "regularizer": {"L1": ("l1",), "L2": ("l2",), "L1L2": ("l1", "l2")},
    "constraint": {"NonNeg": (), "MaxNorm": ("max_value", "axis")},
}
ACTIVATIONS = (
    *("linear", "tanh", "relu", "relu6", "leaky_relu", "elu", "selu", "celu", "gelu", "silu"),
    *("softplus", "softsign", "sigmoid", "log_sigmoid", "exponential", "hard_sigmoid"),
    *(
        "swish",
        "hard_silu",
        "hard_swish",
        "hard_tanh",
        "hard_shrink",
        "soft_shrink",
        "tanh_shrink",
        "squareplus",
    ),
    *("sparse_plus", "sparse_sigmoid", "mish", "softmax", "log_softmax", "sparsemax"),
)
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")  # of layers; what Keras is told in words
MOST_SIZE = 4096  # units, features, indices; and what `wrong` may ask for
MOST_ZEROS = 10**6  # in an array of the wrong shape


def refusals(spec: Any, kinds: Any = tuple(LAYERS)) -> Iterator[tuple[str, str]]:
    """(where, what is wrong and what would be right) of all that a description may not say."""
    if not isinstance(spec, dict) or "kind" not in spec:
        yield "", "expected a table {kind = ...}"
        return
    kind = spec["kind"]
    if not isinstance(kind, str) or kind not in kinds:
        yield ".kind", f"unknown kind {kind!r}; known: {', '.join(kinds)}"
        return
    known = {**LAYERS, **CELLS}[kind]
    for key, value in spec.items():
        if key == "name":
            if not isinstance(value, str) or not NAME.fullmatch(value):
                yield ".name", f"expected a letter, then letters, digits and _, got {value!r}"
        elif key == "cell" and key in known:
            several = isinstance(value, list)
            for index, part in enumerate(value if several else [value]):
                at = f".cell[{index}]" if several else ".cell"
                yield from ((at + where, problem) for where, problem in refusals(part, CELLS))
        elif key == "layer" and key in known:
            found = refusals(value, WRAPPED[kind])
            yield from ((f".layer{where}", problem) for where, problem in found)
        elif key not in ("kind", *known):
            yield f".{key}", f"unknown key; known: {', '.join(known)}"
        else:
            yield from ((f".{key}{where}", problem) for where, problem in _of_option(key, value))


def _of_option(key: str, value: Any) -> Iterator[tuple[str, str]]:
    kinds = KINDS.get(key.rsplit("_", 1)[-1])
    if kinds is not None:
        kind = value.get("kind") if isinstance(value, dict) else value
        words = {kind: kind for kind in kinds}
        words.update({default_name(kind): kind for kind in kinds} if "Zeros" in kinds else {})
        if value is None:
            return
        if not isinstance(kind, str) or kind not in (kinds if isinstance(value, dict) else words):
            yield "", f"unknown {kind!r}; known: {', '.join(kinds)}"
            return
        for name, argument in value.items() if isinstance(value, dict) else ():
            if name not in ("kind", *kinds[kind]):
                yield f".{name}", f"unknown key; {kind} takes {', '.join(kinds[kind]) or 'none'}"
            elif why := not_scalar(argument):
                yield f".{name}", why
    elif key.endswith("activation"):
        custom = isinstance(value, str) and value.startswith("callable ")
        if custom and value.split(" ", 1)[1] not in ACTIVATIONS:
            yield "", f"unknown {value!r}; known: {', '.join(ACTIVATIONS)}"
        elif not custom and value is not None and not _is_word(value):
            yield "", f"expected the name of an activation, got {value!r}"
    elif why := not_scalar(value):
        yield "", why


def not_scalar(value: Any) -> str:
    """Why a value is none that Keras may be handed: a number, true or false, a word; else ""."""
    if value is None or isinstance(value, bool) or _is_word(value):
        return ""
    if isinstance(value, str):
        return f"expected a word of letters, digits and _, got {value!r}"
    if isinstance(value, (dict, list, tuple)):
        return "expected a number, true, false or a word"
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return "expected a number that fits a float64, true, false or a word"
    if not -1.7976931348623157e308 <= number <= 1.7976931348623157e308:
        return f"expected a finite number, got {value}"
    if isinstance(value, int) and not -(2**31) <= value < 2**31:
        return f"expected an integer of 32 bits, got {value}"
    return ""


def _is_word(value: Any) -> bool:
    return isinstance(value, str) and NAME.fullmatch(value) is not None


def refusals_of_wrong(wrong: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """The same of what a layer is misused with: any scalar of any name, but no other class."""
    for key, value in (wrong.get("layer") or {}).items():
        if key in ("kind", "name", "cell", "layer", "backward_layer") or not _is_word(key):
            yield f".layer.{key}", "not what a layer can be misused with; name an option of it"
        elif why := not_scalar(value):
            yield f".layer.{key}", why
        elif isinstance(value, int) and not isinstance(value, bool) and abs(value) > MOST_SIZE:
            yield f".layer.{key}", f"expected at most {MOST_SIZE:,}, got {value}"
    for name in ("x_shape", "initial_state_shape", "mask_shape"):
        sizes, zeros = wrong.get(name) or [], 1
        for size in sizes:
            if not isinstance(size, int) or isinstance(size, bool) or size < 0:
                yield f".{name}", f"expected sizes, 0 or more, got {size!r}"
                return
            zeros *= max(size, 1)
        if len(sizes) > 8 or zeros > MOST_ZEROS:
            yield f".{name}", f"expected at most 8 sizes whose product is at most {MOST_ZEROS:,}"


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
        return compute(tensors)

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

    def compiled(
        self, function: Callable[..., Any], mode: str, **options: Any
    ) -> Callable[..., Any]:
        if mode == "eager":
            return function
        compiled: Callable[..., Any] = self.package.function(
            function, jit_compile=mode == "xla", **options
        )
        return compiled

    def run(self, compute: Compute, layers: Layers, tensors: Tensors, mode: str) -> Any:
        # The tensors are arguments: a constant inside the graph would be folded at compile time.
        return self.compiled(compute, mode)(tensors)

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

    def differentiate(
        self, compute: Compute, layers: Layers, tensors: Tensors, inputs: list[str], mode: str
    ) -> Gradients:
        weights = [weight for layer in layers for weight in layer.trainable_weights]

        def run(tensors: Tensors) -> Any:
            watched = [tensors[name] for name in inputs]
            with self.package.GradientTape() as tape:
                tape.watch(watched)
                results = compute(tensors)
            gradients = tape.gradient(
                results["loss"], [weights, watched], unconnected_gradients="zero"
            )
            return results, gradients

        results, (of_weights, of_inputs) = self.compiled(run, mode)(tensors)
        return results, of_weights, of_inputs


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

    def run(self, compute: Compute, layers: Layers, tensors: Tensors, mode: str) -> Any:
        if mode == "eager":
            return compute(tensors)
        variables = variables_of(layers)
        run = self.package.jit(self.stateless(compute, variables))
        results, values = run([variable.value for variable in variables], tensors)
        for variable, value in zip(variables, values):
            variable.assign(value)
        return results

    def differentiate(
        self, compute: Compute, layers: Layers, tensors: Tensors, inputs: list[str], mode: str
    ) -> Gradients:
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
        (of_weights, of_inputs), results = gradient(
            [weight.value for weight in weights],
            [tensors[name] for name in inputs],
            [variable.value for variable in others],
            tensors,
        )
        return results, of_weights, of_inputs


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
        results = compute({**tensors, **dict(zip(inputs, watched))})
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
        wrong = request.get("wrong") or {}
        refused = [*(r for spec in request["layers"] for r in refusals(spec)),
                   *refusals_of_wrong(wrong)]  # fmt: skip
        if refused:
            raise ValueError("{}: {}".format(*refused[0]).lstrip(".: "))
        self.specs = named(request["layers"])
        unknown = [q for q in request["ask"] if not hasattr(self, f"ask_{q}")]
        if unknown:
            raise ValueError(f"unknown question {unknown[0]!r}")
        self.inputs: dict[str, Array] = {
            name: decode(request[name])
            for name in ("x", "initial_state", "mask")
            if request.get(name) is not None
        }
        start = self.inputs.get("initial_state")
        if start is not None and start.ndim == 3:
            self.inputs["initial_state"], self.inputs["backward_state"] = start
        if request.get("x_dtype"):
            self.inputs["x"] = self.inputs["x"].astype(request["x_dtype"])
        loss = request.get("loss")
        if loss is not None:
            self.inputs["loss"] = decode(loss["value" if loss["kind"] == "cotangent" else "target"])

    # layers

    def make(self, spec: dict[str, Any], **changes: Any) -> Any:
        """The layer or cell of this description, not yet built, and what it is made of."""
        config = {key: self.argument(key, value) for key, value in {**spec, **changes}.items()}
        kind = config.pop("kind")
        if self.dtype is not None:
            config["dtype"] = self.dtype
        return self.class_of(kind)(**config)

    def class_of(self, kind: str) -> Any:
        replacement = (self.request.get("replace") or {}).get(kind)
        if replacement is not None:
            return load_class(replacement)
        if kind == "CustomCell":
            return custom_cell(self.backend.keras)
        if kind not in {**LAYERS, **CELLS}:
            raise ValueError(f"unknown kind {kind!r}")
        return getattr(self.backend.keras.layers, kind)

    def argument(self, key: str, value: Any) -> Any:
        """What a key of a description means to Keras."""
        keras = self.backend.keras
        if key == "cell" and isinstance(value, list):
            return [self.argument(key, each) for each in value]
        if isinstance(value, dict) and key in ("cell", "layer"):
            name = {} if key == "cell" else {"name": default_name(value["kind"])}
            return self.make({**name, **value})
        family = key.rsplit("_", 1)[-1]
        if isinstance(value, dict) and family in KINDS:
            if value["kind"] not in KINDS[family]:
                raise ValueError(f"unknown {family} {value['kind']!r}")
            options = {name: given for name, given in value.items() if name != "kind"}
            return getattr(getattr(keras, family + "s"), value["kind"])(**options)
        if key == "activation" and isinstance(value, str) and value.startswith("callable "):
            return custom_activation(keras, value.split()[1])
        return value

    def lacks(self) -> str:
        """What the layers need that this Keras does not have; empty if it has it all."""
        keras, version = self.backend.keras, self.backend.keras_version
        for spec in within(self.specs):
            name = str(spec.get("activation") or "linear").split()[-1]  # also of "callable NAME"
            try:
                keras.activations.get(name)
            except ValueError:
                return f"Keras {version} has no activation {name!r}"
            if "seed" in spec and spec["kind"] in RECURRENT and not hasattr(keras, "ops"):
                return f"{spec['kind']} of Keras {version} takes no seed"
        return ""

    def make_buildable(self, spec: dict[str, Any], **changes: Any) -> Any:
        """The layer for a question that is not about what initializers draw.

        No framework has a QR decomposition in half precision (TensorFlow: in float16 alone), so
        that the default recurrent_initializer cannot be drawn, and the layer not be built.
        """
        config = changed(spec, changes)
        return self.make(undrawn(config) if self.dtype in ("float16", "bfloat16") else config)

    def make_for(self, weights: dict[str, Any], spec: dict[str, Any], **changes: Any) -> Any:
        """The layer, whose weights will be these: their random first values are then not drawn.

        Drawing them, and making them orthogonal, is most of the time that a layer takes.
        """
        config = changed(spec, changes)
        random = config["kind"] == "SimpleRNN" and "SimpleRNN" not in (
            self.request.get("replace") or {}
        )
        if random and not SHOWS_INITIALIZERS & set(self.request["ask"]):
            for name in {"kernel", "recurrent_kernel"} & weights.keys():
                config.setdefault(name.replace("_kernel", "") + "_initializer", "zeros")
        if SHOWS_INITIALIZERS - {"round_trip"} & set(self.request["ask"]):
            return self.make(config)
        return self.make_buildable(config)

    @functools.cached_property
    def input_shape(self) -> tuple[int | None, ...]:
        if "x" in self.inputs:
            return self.inputs["x"].shape
        return (None, *self.request["input_shape"])

    def build(self, layers: Layers) -> Layers:
        """The layers, one after the other, built for the input."""
        shape: Any = self.input_shape
        for layer in layers:
            layer.build(shape)
            if layer is not layers[-1]:
                shape = own_output(layer, layer.compute_output_shape(shape))
        return layers

    @functools.cached_property
    def fresh_layers(self) -> Layers:
        """The layers, built, with the weights that the framework gave them."""
        given = self.request.get("weights") or {}
        return self.build([self.make_for(given.get(s["name"], {}), s) for s in self.specs])

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
    def first_recurrent(self) -> int | None:
        """Which of the layers is the first that is recurrent."""
        found = (i for i, spec in enumerate(self.specs) if spec["kind"] in RECURRENT)
        return next(found, None)

    @property
    def recurrent(self) -> int:
        if self.first_recurrent is None:
            raise ValueError("none of the layers is recurrent")
        return self.first_recurrent

    def again(self, **changes: Any) -> Layers:
        """The same layers with the same weights, but the recurrent one made with these changes."""
        given = [weights_of(layer) for layer in self.layers]
        layers = self.build(
            [
                self.make_for(weights, spec, **(changes if index == self.first_recurrent else {}))
                for index, (weights, spec) in enumerate(zip(given, self.specs))
            ]
        )
        for layer, weights in zip(layers, given):
            set_weights(layer, weights)
        return layers

    def with_recurrent(self, weights: dict[str, Array], **changes: Any) -> Layers:
        """The same layers, but the recurrent one made anew with these changes and weights."""
        layer = self.make_for(weights, self.specs[self.recurrent], **changes)
        layer.build((*self.input_shape[:2], len(weights["kernel"])))  # (B,T,F)
        set_weights(layer, weights)
        layers = list(self.layers)
        layers[self.recurrent] = layer
        return layers

    # the model, as a function of tensors

    @property
    def compute_dtype(self) -> Any:
        return self.layers[-1].compute_dtype

    def tensors(self, **changes: Array) -> Tensors:
        """The inputs as tensors; floating-point ones in the layer's compute dtype.

        Keras casts them so itself (Keras 2 all but the state). Done before differentiation, it
        leaves a gradient in the precision in which it was computed.
        """
        if "x" not in {**self.inputs, **changes}:
            raise ValueError("this needs an input x")
        dtype = self.compute_dtype
        tensors = {}
        for name, array in {**self.inputs, **changes}.items():
            tensor = self.backend.tensor(array)
            cast = is_floating(name, array)
            tensors[name] = self.backend.cast(tensor, dtype) if cast else tensor
        return tensors

    @property
    def passed_dtype(self) -> str:
        """What a user passes to a model: floatx, unless the layers compute in more than that."""
        wide = str(self.compute_dtype) == "float64"
        return "float64" if wide else str(self.backend.keras.backend.floatx())

    def compute(self, layers: Layers, last_only: bool = False, loss: bool = False) -> Compute:
        """The model as a function. `last_only`: a sequence is returned where the last is wanted."""

        def run(tensors: Tensors) -> Tensors:
            results: Tensors = {}
            value = tensors["x"]
            for index, layer in enumerate(layers):
                if index != self.recurrent:
                    value = own_output(layer, layer(value))
                    continue
                value = layer(value, **state_and_mask(tensors))
                if layer.return_state:
                    results["last_state"] = value[1] if len(value) == 2 else list(value[1:])
                    value = own_output(layer, value)
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

    def run(self, layers: Layers) -> Tensors:
        reset(layers)
        results: Tensors = self.backend.run(self.compute(layers), layers, self.tensors(), self.mode)
        return results

    @functools.cached_property
    def plain(self) -> Tensors:
        """The model as it stands, run once."""
        return self.run(self.layers)

    # the questions

    def ask_summary(self) -> dict[str, Any]:
        keras = self.backend.keras
        layers = [self.make_buildable(spec) for spec in self.specs]
        batch = self.input_shape[0] if any(getattr(r, "stateful", False) for r in layers) else None
        given = keras.Input(shape=self.input_shape[1:], batch_size=batch)
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
                for spec, layer in zip(self.specs, layers)
            ],
            **counts(model),
        }

    def ask_initial_weights(self) -> dict[str, Any]:
        return self.initial_weights

    def ask_initialized(self) -> dict[str, Any]:
        models = {n: self.build([self.make(s) for s in self.specs]) for n in ("first", "second")}
        return {n: {r.name: read_weights(r) for r in layers} for n, layers in models.items()}

    def ask_weights(self) -> dict[str, Any]:
        return {layer.name: read_weights(layer) for layer in self.layers}

    def ask_output(self) -> Any:
        return self.encode(self.plain["output"])

    def ask_states(self) -> Any:
        return self.encode(self.variant("states", return_sequences=True))

    def ask_last_state(self) -> Any:
        return self.encode(self.variant("last_state", return_state=True))

    def variant(self, result: str, **changes: Any) -> Tensor:
        """A result of the model as it stands, or of one that differs in what is returned."""
        recurrent = self.layers[self.recurrent]
        if hasattr(recurrent, "merge_mode"):
            raise ValueError(f"{recurrent.name} has no sequence of states that is its own")
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
        if self.dtype == "float64" and self.backend.keras.backend.floatx() != "float64":
            return {"unsupported": "training whose loss is of another dtype is not recorded"}
        if {"initial_state", "mask"} & self.inputs.keys():
            raise ValueError("training is recorded without initial_state and mask")
        keras, asked = self.backend.keras, self.request["training"]
        layers = [self.make_buildable(spec) for spec in self.specs]
        model = keras.Sequential([keras.Input(shape=self.input_shape[1:]), *layers])
        for layer in layers:
            given = (self.request.get("weights") or {}).get(layer.name, {})
            set_weights(layer, {name: decode(array) for name, array in given.items()})
        replacement = (self.request.get("replace") or {}).get("Adam")
        adam = keras.optimizers.Adam if replacement is None else load_class(replacement)
        optimizer = adam(learning_rate=asked["learning_rate"])
        optimizer.build(model.trainable_variables)  # so that there is something before the first
        model.compile(loss=self.request["loss"]["kind"], optimizer=optimizer, **self.jit_compile)

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

    def ask_config(self) -> dict[str, Any]:
        layers = [self.make(spec) for spec in self.specs]
        optimizers = {n: getattr(self.backend.keras.optimizers, n)() for n in ("Adam", "SGD")}
        return {
            "layers": {layer.name: as_described(layer.get_config()) for layer in layers},
            "optimizers": {name: as_described(o.get_config()) for name, o in optimizers.items()},
        }

    def ask_offers(self) -> dict[str, Any]:
        return {"lacks": lacking(self.backend, load_class(self.request["replace"]["SimpleRNN"]))}

    # the questions to a real keras.Model

    @property
    def jit_compile(self) -> dict[str, bool]:
        """What compile is told of this mode; in "eager" nothing."""
        return {"function": {"jit_compile": False}, "xla": {"jit_compile": True}}.get(self.mode, {})

    @property
    def given(self) -> list[str]:
        """The inputs of a model, in order."""
        return [name for name in ("x", *STATES, "mask") if name in self.inputs]

    def symbolic(
        self, layers: Layers, dynamic: bool = False
    ) -> tuple[Layers, Layers, Layers, Layers]:
        """The layers called as the functional API has it: inputs, each layer's output and mask, and
        the states beside the last output.

        `dynamic`: not knowing how many samples and timesteps there will be.
        """
        stateful = any(getattr(layer, "stateful", False) for layer in layers)
        inputs = {}
        for name in self.given:
            shape: list[int | None] = list(self.inputs[name].shape)
            if dynamic and name not in STATES:
                shape[1] = None
            inputs[name] = self.backend.keras.Input(
                shape=tuple(shape[1:]),
                batch_size=shape[0] if stateful else None,
                dtype=self.input_dtype(name),
            )
        value = inputs["x"]
        outputs, masks, states = [], [], []
        for index, layer in enumerate(layers):
            more = state_and_mask(inputs) if index == self.first_recurrent else {}
            returned = layer(value, **more)
            value, states = own_output(layer, returned), states_beside(layer, returned)
            outputs.append(value)
            masks.append(getattr(first(value), "_keras_mask", None))
        return list(inputs.values()), outputs, masks, states

    def model(self, layers: Layers, dynamic: bool = False) -> Any:
        inputs, outputs, _, _ = self.symbolic(layers, dynamic)
        return self.backend.keras.Model(inputs, outputs[-1])

    def input_dtype(self, name: str) -> str | None:
        array = self.inputs[name]
        if array.dtype.kind != "f":
            return str(array.dtype.name)
        return self.compute_dtype if name in STATES else self.passed_dtype

    def arguments(self, inputs: dict[str, Any]) -> Any:
        """As a model takes them."""
        values = [inputs[name] for name in self.given]
        return values if len(values) > 1 else values[0]

    @functools.cached_property
    def arrays(self) -> Any:
        """The inputs as arrays, for fit, evaluate and predict."""
        dtype = np.dtype(self.passed_dtype)
        return self.arguments(
            {n: a.astype(dtype) if a.dtype.kind == "f" else a for n, a in self.inputs.items()}
        )

    def compiled_model(self, layers: Layers, **how: Any) -> Any:
        model = self.model(layers)
        model.compile(**how, **self.jit_compile)
        return model

    def call(self, model: Any) -> Any:
        """What the model says when it is called, compiled as the mode says."""
        return self.backend.run(
            lambda tensors: model(self.arguments(tensors)), [model], self.tensors(), self.mode
        )

    def predict(self, model: Any) -> Any:
        return model.predict(self.arrays, batch_size=self.batch, verbose=0)

    def fit(self, model: Any, target: Array) -> float:
        """The loss that it reports."""
        once = {"batch_size": self.batch, "epochs": 1, "shuffle": False, "verbose": 0}
        return float(model.fit(self.arrays, target, **once).history["loss"][0])

    def evaluate(self, model: Any, target: Array) -> float:
        return float(model.evaluate(self.arrays, target, batch_size=self.batch, verbose=0))

    @property
    def batch(self) -> int:
        return len(self.inputs["x"])

    def target(self) -> Array:
        if "loss" not in self.inputs:
            raise ValueError("this needs a loss")
        return self.inputs["loss"].astype(self.backend.keras.backend.floatx())

    def ask_outputs(self) -> dict[str, Any]:
        keras = self.backend.keras
        inputs, outputs, masks, states = self.symbolic(self.layers)
        carried = [mask for mask in masks if mask is not None]
        shown = flat(outputs) + states
        if hasattr(keras, "ops"):
            model = keras.Model(inputs, shown + carried)
        else:  # Keras 2 has a mask for no output of a model, but attaches it to what has one
            model = keras.Model(inputs, shown)
        first_of = [len(flat(outputs[:index])) for index in range(len(outputs))]

        def call(tensors: Tensors) -> list[Tensor]:
            found = flat(model(self.arguments(tensors)))
            if len(found) == len(shown):
                found += [
                    found[i]._keras_mask for i, mask in zip(first_of, masks) if mask is not None
                ]
            return found

        reset(self.layers)
        found = iter(self.backend.run(call, [model], self.tensors(), self.mode))

        def next_like(symbol: Any) -> Any:
            if isinstance(symbol, list):
                return [next_like(each) for each in symbol]
            return None if symbol is None else self.encode(next(found))

        said = {"layers": outputs, "states": states, "masks": masks}
        return {name: next_like(symbols) for name, symbols in said.items()}

    def ask_stateful(self) -> dict[str, Any]:
        through = self.request.get("through", "call")
        layers = self.again(stateful=True, return_sequences=True, return_state=False)
        layers = layers[: self.recurrent + 1]
        if through == "call":
            model = self.model(layers)
        else:
            still = self.backend.keras.optimizers.SGD(learning_rate=0.0)
            model = self.compiled_model(layers, loss="mse", optimizer=still)
        target = np.zeros(model.output_shape, self.backend.keras.backend.floatx())

        def run() -> Any:
            if through in ("call", "predict"):
                return self.encode(getattr(self, through)(model))
            getattr(self, through)(model, target)
            return None

        def states() -> Any:
            found = [self.encode(variable) for variable in states_of(layers[-1])]
            return found[0] if len(found) == 1 else found

        runs, seen = [], []
        for number in range(3):
            if number == 2:
                reset(layers)
                after_reset = states()
            runs.append(run())
            seen.append(states())
        return {"runs": runs, "states": [*seen, after_reset]}

    def ask_cell(self) -> dict[str, Any]:
        recurrent = self.layers[self.recurrent]

        def call(tensors: Tensors) -> list[list[Tensor]]:
            outputs, kept = [], [tensors["initial_state"]]
            for step in range(self.inputs["x"].shape[1]):
                output, states = recurrent.cell(tensors["x"][:, step], kept[-1:])
                outputs.append(output)
                kept.append(first(states))
            return [outputs, kept[1:]]

        found = self.backend.run(call, [recurrent], self.tensors(), self.mode)
        outputs, states = (
            encode(np.stack([self.backend.array(each) for each in steps], axis=1))
            for steps in found
        )
        return {"outputs": outputs, "states": states}

    def ask_shrunk(self) -> dict[str, Any]:
        def called(inputs: dict[str, Array]) -> dict[str, Any]:
            layers = self.again(stateful=True)[: self.recurrent + 1]
            return attempt({"call": lambda: self.output_shape(layers, inputs)})

        fewer = {name: array[:-1] for name, array in self.inputs.items()}
        return {**called(fewer), "control": called(self.inputs)}

    def ask_raises(self) -> dict[str, Any]:
        wrong = self.request["wrong"]
        shapes = {name: wrong.get(f"{name}_shape") for name in ("x", "initial_state", "mask")}
        given = {name: shape for name, shape in shapes.items() if shape is not None}
        right = {name: shape for name, shape in self.right_shapes().items() if name in given}
        if "initial_state" in given:  # each state is as wrong as the other
            given["initial_state"] = [shapes["initial_state"]] * len(right["initial_state"])
        return {**self.tried(wrong.get("layer") or {}, given), "control": self.tried({}, right)}

    def right_shapes(self) -> dict[str, Any]:
        """Of what a call may be given wrongly; of the state's parts a list."""
        samples, *rest = self.input_shape
        if samples is None:  # as many as there are in what is wrong, so that no more is changed
            samples = next(iter(self.request["wrong"].get("x_shape") or []), 0) or 1
        sizes = [samples, *rest]
        state = [[samples, units] for units in state_sizes(self.specs[self.first_recurrent or 0])]
        return {"x": sizes, "initial_state": state, "mask": sizes[:2]}

    def tried(self, keys: dict[str, Any], shapes: dict[str, Any]) -> dict[str, Any]:
        """What comes of making the layer with these keys, building it for the right shape and
        calling it with zeros of these shapes."""
        last = self.first_recurrent or 0
        layers: Layers = []

        def construct() -> None:
            layers.extend(self.make_buildable(spec) for spec in self.specs[:last])
            layers.append(self.make_buildable(self.specs[last], **keys))

        def call() -> list[int]:
            given: dict[str, Any]
            given = {n: 0 * a if n != "mask" else a for n, a in self.inputs.items() if n != "loss"}
            if "x" not in given:
                given["x"] = np.zeros([size or 1 for size in self.input_shape], np.float32)
            if "x" in shapes:
                given["x"] = np.zeros(shapes["x"], given["x"].dtype)
            if "mask" in shapes:
                given["mask"] = np.zeros(shapes["mask"], bool)
            if "initial_state" in shapes:
                given.pop("backward_state", None)
                states = [np.zeros(shape, np.float32) for shape in shapes["initial_state"]]
                given["initial_state"] = states if len(states) > 1 else states[0]
            return self.output_shape(layers, given)

        return attempt({"construct": construct, "build": lambda: self.build(layers), "call": call})

    def output_shape(self, layers: Layers, inputs: dict[str, Array]) -> list[int]:
        """Of layers that end with a recurrent one, when they are called with these inputs."""

        def tensor(name: str, array: Any) -> Any:
            if isinstance(array, list):
                return [tensor(name, each) for each in array]
            made = self.backend.tensor(array)
            cast = is_floating(name, array)
            return self.backend.cast(made, layers[-1].compute_dtype) if cast else made

        given = {name: tensor(name, a) for name, a in inputs.items() if name != "loss"}

        def call(tensors: Tensors) -> Any:
            value = tensors["x"]
            for layer in layers:
                more = state_and_mask(tensors) if layer is layers[-1] else {}
                value = first(own_output(layer, layer(value, **more)))
            return value

        return list(self.backend.array(self.backend.run(call, layers, given, self.mode)).shape)

    def ask_round_trip(self) -> dict[str, Any]:
        keras, how = self.backend.keras, self.request["how"]
        # which the model builds, as a user's does
        layers = [self.make_buildable(spec) for spec in self.specs]
        model = self.model(layers)
        for layer, built in zip(layers, self.layers):
            set_weights(layer, weights_of(built))
        with tempfile.TemporaryDirectory() as folder:
            if how == "config":
                again = self.model([type(r).from_config(r.get_config()) for r in layers])
                again.set_weights(model.get_weights())
            elif how == "clone":
                again = keras.models.clone_model(model)
                again.set_weights(model.get_weights())
            elif how == "weights":
                again = self.model([self.make_buildable(spec) for spec in self.specs])
                path = os.path.join(folder, "model.weights.h5")
                model.save_weights(path)
                again.load_weights(path)
            elif how == "keras":
                path = os.path.join(folder, "model.keras")
                model.save(path)
                theirs = map(load_class, (self.request.get("replace") or {}).values())
                custom = {cls.__name__: cls for cls in theirs}
                again = keras.models.load_model(path, custom_objects=custom)
            else:
                raise ValueError(f"unknown way {how!r} of a round trip")
        answers = []
        for each in (model, again):
            reset(each.layers)
            answers.append(self.encode(self.call(each)))
        weights = [[encode(weight) for weight in each.get_weights()] for each in (model, again)]
        configs = [
            [
                configuration(layer.get_config(), named=how != "weights")
                for layer in each.layers
                if type(layer).__name__ != "InputLayer"  # its default name is counted
            ]
            for each in (model, again)
        ]
        return {
            "before": answers[0],
            "after": answers[1],
            "same_config": configs[0] == configs[1],
            "same_weights": weights[0] == weights[1],
        }

    def ask_dropout(self) -> dict[str, Any]:
        """The rates and the seed are those of the first layer; all else is made to show the masks.

        Each probe has one of the rates, and the other is 0.
        """
        size, steps = 64, 4
        options = {k: v for k, v in self.specs[0].items() if k in ("seed", "unroll")}
        ones = np.ones((size, steps, size))  # (B,T,F)
        probes = {  # rate: the name of its answer, the recurrent kernel and the input that show it
            "dropout": ("input", np.zeros((size, size)), ones),
            "recurrent_dropout": (
                "recurrent",
                np.eye(size),
                ones * (np.arange(steps) == 0)[:, None],
            ),
        }

        def run(training: bool, calls: int = 1) -> list[dict[str, Any]]:
            answers: list[dict[str, Any]] = [{} for _ in range(calls)]
            for rate, (name, recurrent_kernel, x) in probes.items():
                for answer in answers:
                    answer[name] = None
                if not self.specs[0].get(rate):
                    continue
                weights = {"kernel": np.eye(size), "recurrent_kernel": recurrent_kernel}
                spec = {"kind": "SimpleRNN", "units": size, "activation": "linear",
                        "use_bias": False, "return_sequences": True, **options,
                        rate: self.specs[0][rate]}  # fmt: skip
                layer = self.make_for(weights, spec)
                layer.build(x.shape)
                set_weights(layer, weights)
                call = functools.partial(layer, training=training)
                given = self.backend.cast(self.backend.tensor(x), layer.compute_dtype)
                for answer in answers:
                    answer[name] = self.encode(self.backend.run(call, [layer], given, self.mode))
            return answers

        again = run(training=True)[0] if options.get("seed") is not None else None
        shown, later = run(training=True, calls=2)
        (inference,) = run(training=False)
        return {**shown, "next": later, "again": again, "inference": inference}

    def ask_losses(self) -> dict[str, Any]:
        inputs, outputs, _, _ = self.symbolic(self.layers)
        shown = [
            (spec["name"], first(output))
            for spec, output in zip(self.specs, outputs)
            if "activity_regularizer" in spec
        ]
        model = self.backend.keras.Model(inputs, [*(out for _, out in shown), first(outputs[-1])])
        reset(self.layers)

        def call(tensors: Tensors) -> tuple[list[Tensor], list[Tensor]]:
            found = model(self.arguments(tensors))
            return list(model.losses), flat(found)

        each, found = self.backend.run(call, [model], self.tensors(), self.mode)
        arrays = [self.backend.array(loss) for loss in each]
        return {
            "losses": encode(np.sum(arrays, axis=0)),
            "each": [encode(a) for a in arrays],
            "activities": {name: self.encode(out) for (name, _), out in zip(shown, found)},
        }

    def ask_evaluate(self) -> dict[str, Any]:
        kind = self.request["loss"]["kind"]
        model = self.compiled_model(self.layers, loss=kind)
        reset(self.layers)
        output = self.encode(self.predict(model))
        reset(self.layers)
        loss = self.evaluate(model, self.target())
        return {"loss": encode(np.asarray(loss)), "output": output}

    def ask_fit_once(self) -> dict[str, Any]:
        layers, _, before, _ = self.fitted_once()
        return {
            "before": before,
            "after": {layer.name: read_weights(layer) for layer in layers},
            "trainable": {r.name: [path for path, _ in trainable_weights(r)] for r in layers},
        }

    def ask_one_update(self) -> dict[str, Any]:
        if self.dtype == "mixed_float16":
            return {"unsupported": "training in mixed_float16 scales its loss"}
        layers, model, before, loss = self.fitted_once()
        after = {layer.name: read_weights(layer) for layer in layers}
        output, told = self.encode(self.call(model)), encode(np.asarray(loss))
        return {"before": before, "after": after, "loss": told, "output": output}

    def fitted_once(self) -> tuple[Layers, Any, dict[str, Any], float]:
        """Layers and their model after one step of fit, their weights before it, and its loss."""
        rate = self.request["training"]["learning_rate"]
        layers = self.again()
        optimizer = self.backend.keras.optimizers.SGD(learning_rate=rate)
        model = self.compiled_model(layers, loss="mse", optimizer=optimizer)
        reset(layers)
        before = {layer.name: read_weights(layer) for layer in layers}
        return layers, model, before, self.fit(model, self.target())

    def ask_dynamic(self) -> dict[str, Any]:
        model = self.model(self.layers, dynamic=True)
        steps = self.inputs["x"].shape[1]
        each = []
        for samples, timesteps in ((None, None), (1, None), (None, 1), (None, steps // 2 + 1)):
            cut = {
                name: array[:samples] if name in STATES else array[:samples, :timesteps]
                for name, array in self.inputs.items()
                if name != "loss"
            }
            each.append({name: self.tensors(**cut)[name] for name in cut})
        found = self.backend.run_each(
            lambda tensors: model(self.arguments(tensors)), [model], each, self.mode
        )
        return {"outputs": [self.encode(output) for output in found]}

    def zero_state(self) -> Array:
        layer = self.layers[self.recurrent]
        units = layer.units if hasattr(layer, "units") else layer.cell.units
        return np.zeros((len(self.inputs["x"]), units))  # (B,H)

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
            self.prefix(index) + path
            for index, layer in enumerate(layers)
            for path, _ in trainable_weights(layer)
        ]
        return {**results, **dict(zip(names, of_weights)), **dict(zip(inputs, of_inputs))}

    def prefix(self, index: int) -> str:
        """What comes before the names of a layer's gradients: "", "dense." or "simple_rnn_1."."""
        kind, name = self.specs[index]["kind"], self.specs[index]["name"]
        if index == self.recurrent:
            return ""
        return "dense." if kind == "Dense" else f"{name}."

    def encode(self, tensor: Tensor) -> Any:
        """Encoded; a list of tensors as a list."""
        if isinstance(tensor, (list, tuple)):
            return [self.encode(each) for each in tensor]
        return encode(tensor if isinstance(tensor, np.ndarray) else self.backend.array(tensor))

    def answer(self, question: str) -> Any:
        ask = getattr(self, f"ask_{question}")
        computes = question not in COMPUTES_NOTHING
        if computes and self.mode not in self.backend.modes:
            return {"unsupported": f"the {self.backend.name} backend has no mode {self.mode!r}"}
        if question in ("gradients", "probe") and not self.backend.differentiates:
            return {"unsupported": f"the {self.backend.name} backend has no gradients"}
        try:
            return ask()
        except Exception as error:  # whatever a framework raises is an observation
            # of a layer of the user's it is not Keras's word
            if isinstance(error, NotImplementedError) and not self.request.get("replace"):
                return {"unsupported": f"NotImplementedError: {error}"}
            return description(error)


def is_floating(name: str, array: Array) -> bool:
    """Whether it is an input of the layer's that has a gradient."""
    return name in ("x", *STATES) and array.dtype.kind == "f"


def state_and_mask(inputs: Tensors) -> Tensors:
    """What a recurrent layer is called with beside x."""
    given: Tensors = {n: inputs[n] for n in ("initial_state", "mask") if n in inputs}
    if "backward_state" in inputs:
        given["initial_state"] = [inputs[name] for name in STATES]
    return given


def state_sizes(spec: dict[str, Any]) -> list[int]:
    """How wide each state is of the recurrent layer or cell of this description."""
    inner = spec.get("layer") or spec.get("cell")
    if inner is not None:
        parts = inner if isinstance(inner, list) else [inner]
        twice = 2 if "layer" in spec else 1
        return [size for part in parts for size in state_sizes(part)] * twice
    return [spec["units"]] * (2 if spec["kind"] == "LSTM" else 1)


def default_name(kind: str) -> str:
    """Keras's own: SimpleRNN -> simple_rnn."""
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", kind).lower()


def within(node: Any) -> Iterator[dict[str, Any]]:
    """The descriptions of layers and cells, those inside others included."""
    if isinstance(node, dict) and "kind" in node:
        yield node
    if isinstance(node, (dict, list)):
        for part in node.values() if isinstance(node, dict) else node:
            yield from within(part)


def undrawn(spec: dict[str, Any]) -> dict[str, Any]:
    """The description of a layer or cell whose recurrent kernels are not drawn, if it is free to
    say so; those inside it as well."""
    config = dict(spec)
    if config["kind"] in ("SimpleRNN", "LSTM", "GRU", "SimpleRNNCell"):
        config.setdefault("recurrent_initializer", "zeros")
    for key in ("layer", "cell"):
        inner = config.get(key)
        if isinstance(inner, dict):
            config[key] = undrawn(inner)
        elif isinstance(inner, list):
            config[key] = [undrawn(each) for each in inner]
    return config


def changed(spec: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """The description with these keys; those of a wrapped layer go to the layer that it wraps."""
    inner = spec.get("layer")
    if inner is None:
        return {**spec, **changes}
    own = {k: v for k, v in changes.items() if k in ("merge_mode", "name")}
    inner_changes = {k: v for k, v in changes.items() if k not in own}
    return {**spec, **own, "layer": {**inner, **inner_changes}}


def named(specs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each with a name; default names are counted as Keras counts them: dense, dense_1, ..."""
    counted: dict[str, int] = {}
    answer = []
    for spec in specs:
        name = default_name(spec["kind"])
        if "name" not in spec:
            number = counted.get(name, 0)
            counted[name] = number + 1
            name += f"_{number}" if number else ""
        answer.append({"name": name, **spec})
    return answer


@functools.cache
def custom_activation(keras: Any, name: str) -> Any:
    """A user's own function, which computes Keras's activation; saving and loading know it."""

    def custom(z: Tensor) -> Tensor:
        return getattr(keras.activations, name)(z)

    custom.__name__ = custom.__qualname__ = f"custom_{name}"
    return keras.utils.register_keras_serializable("rnn_check")(custom)


@functools.cache
def custom_cell(keras: Any) -> Any:
    """A user's own cell, which computes SimpleRNNCell's recurrence; saving and loading know it."""
    ops = keras.ops if hasattr(keras, "ops") else importlib.import_module("tensorflow")

    class CustomCell(keras.layers.Layer):  # type: ignore[misc]
        def __init__(
            self, units: int, activation: Any = "tanh", use_bias: bool = True, **options: Any
        ) -> None:
            super().__init__(**options)
            self.units = self.state_size = self.output_size = units
            self.activation, self.use_bias = keras.activations.get(activation), use_bias

        def build(self, input_shape: Any) -> None:
            sizes = {"kernel": input_shape[-1:], "recurrent_kernel": (self.units,), "bias": ()}
            self.parts = {
                name: self.add_weight(name=name, shape=(*size, self.units))
                for name, size in sizes.items()
                if self.use_bias or name != "bias"
            }
            self.built = True

        def call(self, inputs: Tensor, states: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
            z = ops.matmul(inputs, self.parts["kernel"])
            z = z + ops.matmul(states[0], self.parts["recurrent_kernel"])
            if self.use_bias:
                z = z + self.parts["bias"]
            state = self.activation(z)
            return state, [state]

        def get_config(self) -> dict[str, Any]:
            activation = keras.activations.serialize(self.activation)
            own = {"units": self.units, "activation": activation, "use_bias": self.use_bias}
            return {**super().get_config(), **own}

    return keras.utils.register_keras_serializable("rnn_check")(CustomCell)


@functools.cache
def load_class(where: str) -> Any:
    """CLASS of "FILE.py:CLASS"."""
    path, _, name = where.rpartition(":")
    return getattr(load_module(os.path.abspath(path)), name)


def lacking(backend: Backend, cls: Any) -> list[str]:
    """What a class lacks to stand in for SimpleRNN, one sentence each."""
    if not isinstance(cls, type):
        return [f"it is no class but {short(repr(cls))}"]
    name = cls.__name__
    needed = {"units": ARGUMENTS["units"]}
    lacks = []

    def attempted(what: str, step: Callable[[], Any]) -> Any:
        try:
            return step()
        except Exception as error:  # whatever the user's own code raises
            lacks.append(f"{what}: {short(f'{type(error).__name__}: {error}')}")
            return None

    layer = attempted(f"{name}(units=2) cannot be made", lambda: cls(**needed))
    for key, value in ARGUMENTS.items():
        if layer is not None and key not in needed:
            what = f"its constructor does not take {key}={value!r}"
            attempted(what, functools.partial(cls, **needed, **{key: value}))
    for method in METHODS:
        if not callable(getattr(cls, method, None)):
            lacks.append(f"it has no method {method}()")
    if layer is None:
        return lacks
    if hasattr(layer, "build"):
        attempted("build((1, 2, 3)) fails", lambda: layer.build((1, 2, 3)))  # (B,T,F)
    lacks += [f"it has no attribute {each}" for each in ATTRIBUTES if not hasattr(layer, each)]
    if not hasattr(layer, "units") and not hasattr(getattr(layer, "cell", None), "units"):
        lacks.append("it has no attribute units")
    found = {}
    if hasattr(layer, "weights"):
        read = attempted("its weights cannot be read", lambda: dict(named_weights(layer)))
        found = {path: tuple(weight.shape) for path, weight in (read or {}).items()}
        for path, shape in {"kernel": (3, 2), "recurrent_kernel": (2, 2), "bias": (2,)}.items():
            if found.get(path) != shape:
                has = f"only {found}" if path not in found else f"but of shape {found[path]}"
                lacks.append(f"it has no weight {path!r} of shape {shape}, {has}")
    x = backend.tensor(np.zeros((1, 2, 3), np.float32))
    more = {
        "x": {},
        "x, initial_state=h": {"initial_state": np.zeros((1, 2), np.float32)},
        "x, mask=m": {"mask": np.ones((1, 2), bool)},
    }
    for how, given in more.items():
        tensors = {key: backend.tensor(array) for key, array in given.items()}
        output = first(attempted(f"layer({how}) fails", functools.partial(layer, x, **tensors)))
        shape = tuple(getattr(output, "shape", ()))
        if output is not None and shape != (1, 2):
            lacks.append(f"layer({how}) returns shape {shape} for 2 units, not (1, 2)")
    return lacks


def short(text: str) -> str:
    return text if len(text) <= 200 else text[:200] + " …"


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


def named_weights(layer: Any) -> list[tuple[str, Any]]:
    """A layer's weights by their paths: "kernel", "forward.kernel" or "cell_0.kernel"."""
    if hasattr(layer, "forward_layer"):
        parts = {"forward.": layer.forward_layer, "backward.": layer.backward_layer}
    elif hasattr(getattr(layer, "cell", None), "cells"):
        parts = {f"cell_{index}.": cell for index, cell in enumerate(layer.cell.cells)}
    elif hasattr(layer, "cell"):
        parts = {"": layer.cell}
    elif hasattr(layer, "layer"):
        parts = {"": layer.layer}
    else:
        return [(weight_name(weight), weight) for weight in layer.weights]
    return [(p + path, weight) for p, part in parts.items() for path, weight in named_weights(part)]


def trainable_weights(layer: Any) -> list[tuple[str, Any]]:
    """Those that are trained, in Keras's order."""
    paths = {id(weight): path for path, weight in named_weights(layer)}
    return [(paths[id(weight)], weight) for weight in layer.trainable_weights]


def weights_of(layer: Any) -> dict[str, Array]:
    arrays = {id(weight): array for weight, array in zip(layer.weights, layer.get_weights())}
    return {path: arrays[id(weight)] for path, weight in named_weights(layer)}


def read_weights(layer: Any) -> dict[str, Any]:
    return {path: encode(array) for path, array in weights_of(layer).items()}


def set_weights(layer: Any, given: dict[str, Array]) -> None:
    """As a user sets them, layer.set_weights([...]); those not given stay as they are."""
    weights = weights_of(layer)
    for path, array in given.items():
        if path not in weights:
            raise ValueError(f"{layer.name} has no weight {path!r}, only {list(weights)}")
        if array.shape != weights[path].shape:
            raise ValueError(
                f"{path} of {layer.name} has shape {weights[path].shape}, not {array.shape}"
            )
    if given:
        new = {id(weight): given[path] for path, weight in named_weights(layer) if path in given}
        old = zip(layer.weights, layer.get_weights())
        layer.set_weights([new.get(id(weight), array) for weight, array in old])


def variables_of(layers: Layers) -> list[Any]:
    """All that may change when the layers are called, the states of stateful ones included."""
    inner = [part for layer in layers for part in getattr(layer, "layers", [])]
    found = [variable for layer in layers for variable in layer.variables]
    found += [state for layer in [*layers, *inner] for state in states_of(layer)]
    return list({id(variable): variable for variable in found}.values())


def states_of(layer: Any) -> list[Any]:
    """What a stateful layer remembers."""
    parts = [getattr(layer, f"{way}_layer", None) for way in ("forward", "backward")]
    if all(parts):
        return [state for part in parts for state in states_of(part)]
    return flat(layer.states or []) if getattr(layer, "stateful", False) else []


def reset(layers: Layers) -> None:
    """A stateful layer starts every run afresh."""
    for layer in layers:
        if getattr(layer, "stateful", False):
            (getattr(layer, "reset_state", None) or layer.reset_states)()


# -- what a layer returns --------------------------------------------------------------------------


def flat(nested: Any) -> list[Any]:
    """What is in lists and tuples, however deep."""
    if not isinstance(nested, (list, tuple)):
        return [nested]
    return [each for part in nested for each in flat(part)]


def first(outputs: Any) -> Any:
    """The output of a layer that may return its state beside it."""
    return outputs[0] if isinstance(outputs, (list, tuple)) else outputs


def own_output(layer: Any, outputs: Any) -> Any:
    """The output without the states beside it; a list of two where Bidirectional does not merge."""
    if not has_more_outputs(layer):
        return outputs
    return list(outputs[:2]) if getattr(layer, "merge_mode", "concat") is None else outputs[0]


def states_beside(layer: Any, outputs: Any) -> list[Tensor]:
    """What a layer with return_state returns beside its output, in a flat list."""
    if not getattr(layer, "return_state", False):
        return []
    return flat(list(outputs[len(flat(own_output(layer, outputs))) :]))


def has_more_outputs(layer: Any) -> bool:
    return getattr(layer, "return_state", False) or getattr(layer, "merge_mode", "concat") is None


def attempt(steps: dict[str, Callable[[], Any]]) -> dict[str, Any]:
    """Which of the steps raises what, or what the last one returns."""
    returned = None
    for name, step in steps.items():
        try:
            returned = step()
        except Exception as error:  # what is asked for
            names = [cls.__name__ for cls in type(error).__mro__ if cls is not object]
            return {"raised": names, "message": str(error)[:300], "at": name}
    return {"returned": returned}


def configuration(config: Any, named: bool) -> str:
    """A layer's configuration in one comparable form; `named`: with the names in it."""

    def without_names(part: Any) -> Any:
        if isinstance(part, dict):
            return {k: without_names(v) for k, v in part.items() if named or k != "name"}
        return [without_names(each) for each in part] if isinstance(part, (list, tuple)) else part

    return json.dumps(without_names(config), sort_keys=True, default=str)


def as_described(config: Any) -> Any:
    """A configuration as a request would describe it, whichever Keras wrote it down.

    Orthogonal and OrthogonalInitializer are two names of one class.
    """
    if isinstance(config, (list, tuple)):
        return [as_described(part) for part in config]
    if not isinstance(config, dict):
        return config.item() if isinstance(config, np.generic) else config
    if "class_name" not in config:
        return {key: as_described(part) for key, part in config.items()}
    kind, inner = config["class_name"].removesuffix("Initializer"), as_described(config["config"])
    return {"kind": kind, **inner} if isinstance(inner, dict) else inner  # a function's: its name


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


def cache_folder(name: str) -> str:
    """Where this user's compiled programs for this processor are kept."""
    home = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return os.path.join(home, "rnn_check", name, re.sub(r"\W+", "-", cpu_model()))


def cpu_model() -> str:
    with contextlib.suppress(OSError), open("/proc/cpuinfo", encoding="utf-8") as file:
        for line in file:
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def packages() -> dict[str, str]:
    """Every package that is installed, and its version."""
    found = {each.metadata["Name"]: each.version for each in importlib.metadata.distributions()}
    return dict(sorted(found.items(), key=lambda item: str(item[0]).lower()))


def identity(backend: Backend) -> dict[str, Any]:
    """Who is asked. Device and dtype are read from the output of a small SimpleRNN."""
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
    if not hasattr(keras, "ops"):  # of Keras 2 the package itself shows users retired optimizers
        keras = importlib.import_module("tensorflow").keras
    backend = BACKENDS[name](keras, name)
    gc.enable()
    gc.freeze()
    if keras.backend.backend() != name:
        raise RuntimeError(f"Keras {backend.keras_version} runs on {keras.backend.backend()} only")
    return backend


def reply_to(backend: Backend, line: str) -> dict[str, Any]:
    number = None
    try:
        request = json.loads(line)
        number = request.get("id")
        backend.set_precision(request.get("dtype"), request.get("floatx"))
        experiment = Experiment(backend, request)
        if reason := experiment.lacks():
            answers = {question: {"unsupported": reason} for question in request["ask"]}
            return {"id": number, "observed": answers}
        if set(request["ask"]) - MAKES_ITS_OWN:
            experiment.layers  # noqa: B018  what breaks here breaks every question
        return {"id": number, "observed": {q: experiment.answer(q) for q in request["ask"]}}
    except Exception as error:  # whatever a framework raises is an observation
        return {"id": number, **description(error)}


def description(error: Exception) -> dict[str, str]:
    message = "".join(traceback.format_exception_only(type(error), error)).strip()
    if len(message) > LONGEST:  # a layer's message may hold whole arrays
        message = f"{message[:LONGEST]} … ({len(message) - LONGEST:,} characters more)"
    return {"error": message, "traceback": traceback.format_exc()[-10 * LONGEST :]}


def end_with_the_host() -> None:
    """From here on nothing of this process group outlives the host, however that ends.

    A process beside this one waits until nobody holds the other end of the pipe that requests come
    through, and then ends the group and removes its temporary files: also while this process is
    stopped, inside a call that never returns, or gone and survived by what it forked. It is
    nobody's child, since a layer may wait for all of its own. Where there is no fork, the end of
    the requests is the end.
    """
    if not hasattr(os, "fork") or os.getpgrp() != os.getpid():  # a shell's group is not ours to end
        return
    here, there = os.pipe()  # whose other end is held by this process and what it forks
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of forking beside NumPy's threads: it calls nothing of it
        child = os.fork()
        if child == 0:
            guardian = os.fork()
            if guardian:
                os._exit(0)
    if child:
        os.waitpid(child, 0)
        os.close(here)
        return
    group = os.getpgrp()
    os.setpgid(0, 0)  # so that it outlives what it ends
    os.closerange(1, here)
    os.closerange(here + 1, max(there + 1, 256))
    hung_up = select.poll()
    hung_up.register(0, 0)
    hung_up.register(here, 0)
    if 0 in [descriptor for descriptor, _ in hung_up.poll()]:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(group, signal.SIGKILL)
        folder = os.environ.get("TMPDIR", "")
        if os.path.basename(folder).startswith("rnn_check-"):  # which the host made for it
            shutil.rmtree(folder, ignore_errors=True)
    os._exit(0)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--backend", choices=list(BACKENDS), default=default_backend())
    name = parser.parse_args().backend
    end_with_the_host()
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
        missing = {} if error.name is None else {"missing": error.name}
        say({**description(error), **missing})
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
