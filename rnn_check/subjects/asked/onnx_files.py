"""Which nodes RNN, LSTM and GRU stand in an ONNX file?"""

from __future__ import annotations

from typing import Any

from .described import Refused
from .layouts import KERAS, ONNX, Turned, with_both_biases
from .weight_files import Found
from .wire import Array

ENDS = (".onnx",)
_KINDS = {"RNN": "SimpleRNN", "LSTM": "LSTM", "GRU": "GRU"}
_DEFAULTS = {"RNN": ["Tanh"], "LSTM": ["Sigmoid", "Tanh", "Tanh"], "GRU": ["Sigmoid", "Tanh"]}


def layers_in(onnx: Any, where: str, activations: dict[Any, tuple[Any, ...]]) -> Found:
    """A node without a name is called what its first output is.

    activations: ONNX's name, alpha and beta of each of Keras's.
    """
    try:
        graph = onnx.load(where).graph
    except FileNotFoundError:
        raise
    except Exception as error:  # of protobuf, in several classes
        raise Refused(f"it is no ONNX file: {str(error).strip()[:200]}") from None
    held = {each.name: onnx.numpy_helper.to_array(each) for each in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute and node.attribute[0].name == "value":
            held[node.output[0]] = onnx.numpy_helper.to_array(node.attribute[0].t)
    found = {}
    for node in graph.node:
        if node.op_type in _KINDS:
            name = node.name or next(filter(None, node.output), "")
            try:
                found[name] = _described(onnx, node, held, activations)
            except Refused as reason:
                found[name] = {"refused": f"{name}: {reason}"}
    return found


def _described(
    onnx: Any, node: Any, held: dict[str, Array], activations: dict[Any, tuple[Any, ...]]
) -> dict[str, Any]:
    options = {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute}
    ins = [*node.input, *[""] * 8]
    w, r, b = (held.get(name) for name in ins[1:4])
    if w is None or r is None or (ins[3] and b is None):
        raise Refused("its weights are computed, and no arrays of the file")
    if ins[7] and node.op_type == "LSTM":
        raise Refused("it has peepholes (P), which no layer of Keras has")
    for name in ("clip", "input_forget"):
        if options.get(name):
            raise Refused(f"it has {name}, which no layer of Keras has")
    kind, direction = _KINDS[node.op_type], options.get("direction", b"forward").decode()
    layer = {"kind": kind, "units": int(r.shape[-1])}
    layer.update(_activations(node.op_type, options, len(w), activations))
    layer.update({"use_bias": False} if b is None else {})
    after = kind == "GRU" and bool(options.get("linear_before_reset", 0))
    layer.update({"reset_after": False} if kind == "GRU" and not after else {})
    weights: dict[str, Array] = {}
    for i, prefix in enumerate(("forward.", "backward.") if len(w) > 1 else ("",)):
        half = 0 if b is None else b.shape[1] // 2
        biases = (None, None) if b is None else (b[i, :half], b[i, half:])
        theirs = Turned(w[i], r[i], *biases)
        own = with_both_biases(theirs, ONNX[kind], KERAS[kind], after)
        weights.update((prefix + path, array) for path, array in own.items())
    if direction == "bidirectional":
        layer = {"kind": "Bidirectional", "layer": layer}
    elif direction == "reverse":
        layer["go_backwards"] = True
    return {"layer": {**layer, "name": "layer"}, "weights": weights, "dtype": w.dtype.name}


def _activations(
    op: str, options: dict[str, Any], ways: int, activations: dict[Any, tuple[Any, ...]]
) -> dict[str, Any]:
    """In Keras's words, where they are not what a node has anyway."""
    names = [name.decode() for name in options.get("activations", ())] or _DEFAULTS[op] * ways
    alpha, beta = (list(options.get(f"activation_{each}", ())) for each in ("alpha", "beta"))
    told = []
    for name in names:
        known = {k: v for k, v in activations.items() if v[0].lower() == name.lower()}
        keras, needs = next(iter(known.items()), (None, ()))
        given = [values.pop(0) for values, _ in zip((alpha, beta), needs[1:]) if values]
        if not known or any(abs(g - n) > 1e-6 for g, n in zip(given, needs[1:])):
            raise Refused(f"it has the activation {name}{given or ''}, which Keras has not")
        told.append("linear" if keras is None else keras)
    own = told[: len(told) // ways]
    if own * ways != told or (op == "LSTM" and own[1] != own[2]):
        raise Refused(f"it has the activations {', '.join(names)}, which no layer of Keras has")
    found = {"activation": own[-1]}
    found.update({"recurrent_activation": own[0]} if op != "RNN" else {})
    usual = {"activation": "tanh", "recurrent_activation": "sigmoid"}
    return {key: name for key, name in found.items() if usual[key] != name}
