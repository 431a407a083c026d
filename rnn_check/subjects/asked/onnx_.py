"""How do the RNN, LSTM and GRU nodes of ONNX obey, in the reference evaluator and in ONNX Runtime?

Each layer is a model of one node: W (D,GH,F) and R (D,GH,H) multiply from the left, the gates stand
in ONNX's own order, B (D,2GH) holds a bias for each product. SimpleRNN is RNN, go_backwards the
direction "reverse", Bidirectional "bidirectional", reset_after linear_before_reset, and a mask that
skips nothing but the end sequence_lens. x is time-major. Neither evaluator has gradients.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from . import onnx_files
from .layouts import KERAS, ONNX, Turned, as_keras, has_two_biases, turned, ways
from .machine import available_cores
from .stacked import BOTH, RECURRENT, Stacked
from .weight_files import Found
from .wire import Array

OPSET, IR = 14, 8  # which every ONNX Runtime since 1.12 reads; later ones add narrow dtypes
CLASSES = {"SimpleRNN": "RNN", "LSTM": "LSTM", "GRU": "GRU"}
# Keras's activations as nodes have them, with alpha and beta
ACTIVATIONS: dict[Any, tuple[Any, ...]] = {
    "tanh": ("Tanh",),
    "sigmoid": ("Sigmoid",),
    "relu": ("Relu",),
    "linear": ("Affine", 1.0, 0.0),
    None: ("Affine", 1.0, 0.0),
    "softsign": ("Softsign",),
    "softplus": ("Softplus",),
    "elu": ("Elu", 1.0),
    "leaky_relu": ("LeakyRelu", 0.2),
}
OF_DENSE = {"tanh": "Tanh", "relu": "Relu", "sigmoid": "Sigmoid", "softmax": "Softmax"}
GATED = {
    **RECURRENT,
    "activation": tuple(ACTIVATIONS),
    "recurrent_activation": tuple(ACTIVATIONS),
}


class Node:
    """A layer: its weights as the node names them, and evaluators by what it is given."""

    def __init__(self, arrays: dict[str, Array]) -> None:
        self.arrays = arrays
        self.evaluators: dict[tuple[str, ...], Any] = {}


class Onnx(Stacked):
    """onnx.reference.ReferenceEvaluator."""

    framework = "onnx"
    takes = {  # noqa: RUF012  never changed
        "SimpleRNN": {**RECURRENT, "activation": tuple(ACTIVATIONS)},
        "LSTM": GATED,
        "GRU": {**GATED, "reset_after": BOTH},
        "Bidirectional": {"merge_mode": ("concat",)},
        "Dense": {"activation": ("linear", None, *OF_DENSE), "use_bias": BOTH},
    }
    draws = False
    differentiates = False

    def __init__(self, onnx: Any) -> None:
        self.onnx = onnx

    def version(self) -> str:
        return str(self.onnx.__version__)

    def threads(self) -> int:
        return available_cores()

    # layers and their weights

    def module(self, spec: dict[str, Any], size: int) -> Node:
        """With weights that are zero."""
        inner = spec.get("layer", spec)
        has_bias = inner.get("use_bias", True)
        if spec["kind"] == "Dense":
            shapes: dict[str, tuple[int, ...]] = {"kernel": (size, spec["units"])}
            shapes.update({"bias": (spec["units"],)} if has_bias else {})
        else:
            many, units = len(ways(spec)), inner["units"]
            rows = units * len(ONNX[inner["kind"]])
            shapes = {"W": (many, rows, size), "R": (many, rows, units)}
            shapes.update({"B": (many, 2 * rows)} if has_bias else {})
        return Node({name: np.zeros(shape, self.dtype) for name, shape in shapes.items()})

    def read(self, module: Node, spec: dict[str, Any]) -> dict[str, Array]:
        if spec["kind"] == "Dense":
            return dict(module.arrays)
        own: dict[str, Array] = {}
        for i, (prefix, inner) in enumerate(ways(spec)):
            w, r, both = (module.arrays.get(name) for name in "WRB")
            assert w is not None and r is not None
            biases = (None, None) if both is None else np.split(both[i], 2)
            kind = inner["kind"]
            theirs = Turned(w[i], r[i], *biases)
            paths = as_keras(theirs, ONNX[kind], KERAS[kind], has_two_biases(inner))
            own.update((prefix + path, array) for path, array in paths.items())
        return own

    def write(self, module: Node, spec: dict[str, Any], own: dict[str, Array]) -> None:
        if spec["kind"] == "Dense":
            module.arrays = {name: self.tensor(array) for name, array in own.items()}
            return
        each = []
        for prefix, inner in ways(spec):
            kind = inner["kind"]
            parts = {p[len(prefix) :]: a for p, a in own.items() if p.startswith(prefix)}
            each.append(turned(parts, KERAS[kind], ONNX[kind]))
        module.arrays = {
            "W": self.tensor(np.stack([theirs.w for theirs in each])),
            "R": self.tensor(np.stack([theirs.r for theirs in each])),
        }
        if each[0].w_bias is not None:
            biases = [np.concatenate([theirs.w_bias, theirs.r_bias]) for theirs in each]
            module.arrays["B"] = self.tensor(np.stack(biases))

    def layers_in(self, where: str) -> Found:
        return onnx_files.layers_in(self.onnx, where, ACTIVATIONS)

    # running

    def joined(self, parts: Sequence[Array]) -> Array:
        return np.concatenate(parts, axis=-1)

    def dense(self, module: Node, spec: dict[str, Any], x: Array) -> Array:
        if () not in module.evaluators:
            make, names = self.onnx.helper.make_node, ["z", "a", "y"]
            nodes = [make("MatMul", ["X", "kernel"], [names.pop(0)])]
            if "bias" in module.arrays:
                nodes.append(make("Add", ["z", "bias"], [names.pop(0)]))
            if (name := spec.get("activation")) not in (None, "linear"):
                nodes.append(make(OF_DENSE[name], [nodes[-1].output[0]], [names.pop()]))
            ends = [nodes[-1].output[0]]
            module.evaluators[()] = self.evaluator(self.model(nodes, module.arrays, {"X": x}, ends))
        (output,) = self.evaluated(module.evaluators[()], {"X": x})
        return output

    def recur(
        self,
        module: Node,
        spec: dict[str, Any],
        x: Array,
        starts: Sequence[Array],
        lengths: Sequence[int] | None,
    ) -> tuple[Array, list[Array]]:
        inner = spec.get("layer", spec)
        many = 2 if inner["kind"] == "LSTM" else 1  # states of each direction
        given = {"X": np.ascontiguousarray(x.swapaxes(0, 1))}
        if lengths is not None:
            given["sequence_lens"] = np.asarray(lengths, np.int32)
        for name, i in zip(("initial_h", "initial_c"), range(many if starts else 0)):
            given[name] = np.stack(list(starts[i::many]))
        key = tuple(given)
        if key not in module.evaluators:
            module.evaluators[key] = self.evaluator(self.one_node(module, spec, given))
        sequence, *ends = self.evaluated(module.evaluators[key], given)
        if inner.get("go_backwards"):  # read backwards, and returned in the order of x
            sequence = sequence[::-1]
        steps, directions, samples, units = sequence.shape
        output = sequence.transpose(2, 0, 1, 3).reshape(samples, steps, directions * units)
        return output, [state[i] for i in range(directions) for state in ends]

    def one_node(self, module: Node, spec: dict[str, Any], given: dict[str, Array]) -> Any:
        inner = spec.get("layer", spec)
        kind = inner["kind"]
        of_gates = [] if kind == "SimpleRNN" else [inner.get("recurrent_activation", "sigmoid")]
        named = [*of_gates, *[inner.get("activation", "tanh")] * (2 if kind == "LSTM" else 1)]
        functions = [ACTIVATIONS[name] for name in named] * len(ways(spec))
        options: dict[str, Any] = {
            "hidden_size": inner["units"],
            "direction": "reverse" if inner.get("go_backwards") else "forward",
            "activations": [name for name, *_ in functions],
        }
        if inner is not spec:
            options["direction"] = "bidirectional"
        for place, name in ((1, "activation_alpha"), (2, "activation_beta")):
            if values := [each[place] for each in functions if len(each) > place]:
                options[name] = values
        if kind == "GRU":
            options["linear_before_reset"] = int(inner.get("reset_after", True))
        names = ["X", "W", "R", "B", "sequence_lens", "initial_h", "initial_c"]
        there = {*given, *module.arrays}
        ins = [name if name in there else "" for name in names[: 7 if kind == "LSTM" else 6]]
        while not ins[-1]:
            ins.pop()
        outs = ["Y", "Y_h", "Y_c"][: 3 if kind == "LSTM" else 2]
        node = self.onnx.helper.make_node(CLASSES[kind], ins, outs, **options)
        return self.model([node], module.arrays, given, outs)

    def model(
        self, nodes: list[Any], weights: dict[str, Array], given: dict[str, Array], ends: list[str]
    ) -> Any:
        """For inputs of any sizes."""
        helper = self.onnx.helper
        of_numpy = helper.np_dtype_to_tensor_dtype
        real = of_numpy(np.dtype(self.dtype))
        graph = helper.make_graph(
            nodes,
            "layer",
            [
                helper.make_tensor_value_info(n, of_numpy(a.dtype), [None] * a.ndim)
                for n, a in given.items()
            ],
            [helper.make_tensor_value_info(n, real, None) for n in ends],
            [self.onnx.numpy_helper.from_array(a, n) for n, a in weights.items()],
        )
        opsets = [helper.make_opsetid("", OPSET)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=IR)

    def evaluator(self, model: Any) -> Any:
        return importlib.import_module("onnx.reference").ReferenceEvaluator(model)

    def evaluated(self, evaluator: Any, given: dict[str, Array]) -> list[Array]:
        with np.errstate(all="ignore"):  # what overflows is seen in the numbers
            return list(evaluator.run(None, given))


class OnnxRuntime(Onnx):
    """onnxruntime.InferenceSession on the CPU."""

    framework = "onnxruntime"
    dtypes = ("float32",)  # its nodes have no other arithmetic

    def __init__(self, onnx: Any, runtime: Any) -> None:
        super().__init__(onnx)
        self.runtime = runtime

    def version(self) -> str:
        return str(self.runtime.__version__)

    def settings(self) -> dict[str, str]:
        return {"onnx": str(self.onnx.__version__)}

    def evaluator(self, model: Any) -> Any:
        return self.runtime.InferenceSession(
            model.SerializeToString(), providers=["CPUExecutionProvider"]
        )


def open_session(backend: str | None) -> Onnx:
    """backend: "onnx" or "onnxruntime". Raises ModuleNotFoundError if one is not installed."""
    onnx = importlib.import_module("onnx")
    if backend == "onnxruntime":
        return OnnxRuntime(onnx, importlib.import_module("onnxruntime"))
    return Onnx(onnx)
