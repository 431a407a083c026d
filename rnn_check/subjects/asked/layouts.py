"""How do other frameworks lay out the weights of a recurrent layer?

Keras has kernel (F,GH), recurrent_kernel (H,GH) and bias (GH,), of a GRU with reset_after (2,GH): G
gates side by side. Others mostly have matrices that multiply from the left, W (GH,F) and R (GH,H),
the gates one below the other in an order of their own, and a bias for each of the two products.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from .wire import Array

# the gates of each kind in the letters of Keras: c is LSTM's candidate, h that of the others
KERAS = {"SimpleRNN": "h", "LSTM": "ifco", "GRU": "zrh"}
TORCH = {"SimpleRNN": "h", "LSTM": "ifco", "GRU": "rzh"}
ONNX = {"SimpleRNN": "h", "LSTM": "iofc", "GRU": "zrh"}
PATHS = ("kernel", "recurrent_kernel", "bias")
RECURRENT_BIAS = "recurrent_bias"  # that others add to h·U, where Keras has one bias in all
SUFFIXES = ("", "_reverse")  # of torch's parameters of both directions


class Turned(NamedTuple):
    """W (GH,F), R (GH,H), and the bias of each product (GH,), both None without any."""

    w: Any
    r: Any
    w_bias: Any
    r_bias: Any


def moved(array: Array, have: str, want: str) -> Array:
    """Gates that stand side by side in the last axis, in another order."""
    parts = np.split(array, len(have), axis=-1)
    return np.concatenate([parts[have.index(gate)] for gate in want], axis=-1)


def turned(own: dict[str, Array], have: str, want: str) -> Turned:
    """Keras's arrays as others have them; a single bias is that of x, the other is zero, but for a
    "recurrent_bias" (GH,), which stands among them though Keras has none."""
    kernel, recurrent_kernel = (moved(own[path], have, want).T for path in PATHS[:2])
    if "bias" not in own:
        return Turned(kernel, recurrent_kernel, None, None)
    bias = moved(own["bias"], have, want)
    other = own.get(RECURRENT_BIAS)
    zeros = np.zeros_like(bias) if other is None else moved(other, have, want)
    w_bias, r_bias = bias if bias.ndim == 2 else (bias, zeros)
    return Turned(kernel, recurrent_kernel, w_bias, r_bias)


def as_keras(theirs: Turned, have: str, want: str, two_biases: bool) -> dict[str, Array]:
    """The way back. Of a layer with a single bias, it is the one that is added to x·W."""
    arrays = [theirs.w.T, theirs.r.T]
    if theirs.w_bias is not None:
        two = np.stack([theirs.w_bias, theirs.r_bias]) if two_biases else theirs.w_bias
        arrays.append(two)
    return {path: moved(array, have, want) for path, array in zip(PATHS, arrays)}


def with_both_biases(theirs: Turned, have: str, want: str, two: bool) -> dict[str, Array]:
    """The way back, and nothing lost: of a layer with a single bias in Keras the second one is its
    "recurrent_bias"."""
    own = as_keras(theirs, have, want, two)
    if theirs.r_bias is not None and not two:
        own[RECURRENT_BIAS] = moved(theirs.r_bias, have, want)
    return own


def torch_names(layer: int = 0, reverse: bool = False) -> tuple[str, ...]:
    """What torch calls them, in the order of `Turned`."""
    end = f"_l{layer}{SUFFIXES[reverse]}"
    return tuple(f"{each}{end}" for each in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))


def units_of(spec: dict[str, Any]) -> int:
    """How wide the output of a layer is."""
    inner = spec.get("layer")
    return int(spec["units"]) if inner is None else 2 * int(inner["units"])


def ways(spec: dict[str, Any]) -> Sequence[tuple[str, dict[str, Any]]]:
    """The directions of a layer: how the paths of their weights begin, and what each is."""
    inner = spec.get("layer")
    if inner is None:
        return (("", spec),)
    return (("forward.", inner), ("backward.", inner))


def has_two_biases(spec: dict[str, Any]) -> bool:
    return bool(spec["kind"] == "GRU" and spec.get("reset_after", True))
