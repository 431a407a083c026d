"""Which recurrent layers stand in a file of torch's weights?

A state dict (.pt, .pth) or a .safetensors file holds names and arrays and runs nothing: what else a
.pt file holds is refused. It does not say which activation a torch.nn.RNN takes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from .described import Refused
from .layouts import KERAS, TORCH, Turned, with_both_biases
from .weight_files import Found
from .wire import Array

ENDS = (".pt", ".pth", ".safetensors")
_WEIGHT = re.compile(r"(|.*\.)weight_ih(?:_l(\d+)(_reverse)?)?")
_KINDS = {1: "SimpleRNN", 3: "GRU", 4: "LSTM"}  # by how many gates there are
_NESTED = ("state_dict", "model_state_dict", "model", "module")  # where training scripts put it
_SAFE = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}


def layers_in(torch: Any, where: str) -> Found:
    """A module PREFIX of one layer is called so, of several PREFIX.l0, PREFIX.l1, ..."""
    state = safetensors(where) if where.endswith(".safetensors") else state_dict(torch, where)
    found: dict[tuple[str, str], dict[bool, str]] = {}
    for name in state:
        if match := _WEIGHT.fullmatch(name):
            prefix, layer, reverse = match.groups()
            found.setdefault((prefix, layer or "0"), {})[reverse is not None] = name
    many = {prefix for prefix, layer in found if layer != "0"}
    told = {}
    for (prefix, layer), ways in found.items():
        name = f"{prefix}l{layer}" if prefix in many or not prefix else prefix[:-1]
        told[name] = _described(name, state, [ways[way] for way in sorted(ways)])
    return told


def _described(name: str, state: Mapping[str, Array], ways: list[str]) -> dict[str, Any]:
    weights: dict[str, Array] = {}
    for prefix, weight in zip(("forward.", "backward.") if len(ways) > 1 else ("",), ways):
        start, end = weight.split("weight_ih")[0], weight.split("weight_ih")[-1]
        if f"{start}weight_hr{end}" in state:
            raise Refused(f"{name} projects its state (proj_size), which no layer of Keras does")
        w, r = state[weight], state.get(f"{start}weight_hh{end}", state[weight][:0])
        biases = [state.get(f"{start}{part}{end}") for part in ("bias_ih", "bias_hh")]
        shapes_fit = w.ndim == r.ndim == 2 and len(w) == len(r) and r.size
        kind = _KINDS.get(len(r) / r.shape[1]) if shapes_fit else None
        if kind is None or len({None if b is None else b.shape for b in biases}) > 1:
            raise Refused(f"{name} has no weight_ih and weight_hh of an RNN, LSTM or GRU")
        theirs = Turned(w, r, *biases)
        own = with_both_biases(theirs, TORCH[kind], KERAS[kind], kind == "GRU")
        weights.update((prefix + path, array) for path, array in own.items())
    layer: dict[str, Any] = {"kind": kind, "units": int(r.shape[1])}
    layer.update({} if biases[0] is not None else {"use_bias": False})
    if len(ways) > 1:
        layer = {"kind": "Bidirectional", "layer": layer}
    return {"layer": {**layer, "name": "layer"}, "weights": weights, "dtype": w.dtype.name}


def state_dict(torch: Any, where: str) -> dict[str, Array]:
    try:
        held = torch.load(where, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise
    except Exception as error:  # whatever unpickling raises
        words = f"{type(error).__name__}: {error}".splitlines()[0][:200]
        why = "it is no file of weights alone, which torch.load(weights_only=True) takes"
        raise Refused(f"{why}: {words}") from None
    for key in _NESTED:
        if isinstance(held, Mapping) and isinstance(held.get(key), Mapping):
            held = held[key]
    if not isinstance(held, Mapping):
        raise Refused(f"it holds a {type(held).__name__}, no state dict")
    found = {}
    for name, tensor in held.items():
        if isinstance(tensor, torch.Tensor) and tensor.is_floating_point():
            narrow = tensor.dtype == torch.bfloat16
            found[str(name)] = (tensor.float() if narrow else tensor).detach().numpy()
    return found


def safetensors(where: str) -> dict[str, Array]:
    """Its floating-point arrays; bfloat16 as float32, exactly."""
    with open(where, "rb") as file:
        content = file.read()
    try:
        size = int.from_bytes(content[:8], "little")
        if len(content) < 8 + size:
            raise ValueError("it ends within its header")
        header = json.loads(content[8 : 8 + size])
        data = memoryview(content)[8 + size :]
        found = {}
        for name, held in header.items():
            dtype = _SAFE.get(held["dtype"], "") if name != "__metadata__" else ""
            if not dtype:
                continue
            start, end = held["data_offsets"]
            stored = "uint16" if dtype == "bfloat16" else dtype
            values = np.frombuffer(data[start:end], np.dtype(stored).newbyteorder("<"))
            if dtype == "bfloat16":
                values = (values.astype(np.uint32) << 16).view(np.float32)
            found[name] = values.astype(values.dtype.newbyteorder("=")).reshape(held["shape"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Refused(f"it is no .safetensors file: {error}") from None
    return found
