"""A recurrence that nothing of this project knows: the minimal gated unit (Zhou et al. 2016).

What it is stands here in the order of the five files that a recurrence touches.

    f_t = gate(x_t·W_f + h_{t-1}·U_f + b_f)    h_t = (1 - f_t)∘h_{t-1} + f_t∘c_t
    c_t = act(x_t·W_c + (f_t∘h_{t-1})·U_c + b_c)
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, NamedTuple

import msgspec
import numpy as np
import pytest

from rnn_check.claims import schema
from rnn_check.claims.gates import Letters
from rnn_check.claims.layers import (
    RNN,
    Bidirectional,
    Dense,
    Embedding,
    Gated,
    Masking,
    Recurrent,
    TimeDistributed,
)
from rnn_check.claims.layers.cells import Cell
from rnn_check.claims.layers.recurrent import AnyRecurrent
from rnn_check.claims.tables import Name
from rnn_check.numbers.activations import Activation
from rnn_check.recurrences import kinds
from rnn_check.subjects.asked import named

Array = np.typing.NDArray[Any]

# --- 1: the equations, as a module of rnn_check/recurrences has them ------------------------------


class Weights(NamedTuple):
    gate: Any  # (F,H)
    recurrent_gate: Any  # (H,H)
    gate_bias: Any  # (H,)
    candidate: Any
    recurrent_candidate: Any
    candidate_bias: Any


class Step(NamedTuple):
    """All of one step, (B,H) each; s the arguments of f and c; reset is f∘h."""

    h: Any
    f: Any
    c: Any
    s: Any
    reset: Any


def arranged(kernel: Any, recurrent_kernel: Any, bias: Any) -> Weights:
    H = recurrent_kernel.shape[-2]
    parts = (..., slice(0, H)), (..., slice(H, None))
    each = [(kernel[at], recurrent_kernel[at], None if bias is None else bias[at]) for at in parts]
    return Weights(*each[0], *each[1])


def joined(w: Weights) -> tuple[Any, Any, Any]:
    pairs = list(zip(w[:3], w[3:], strict=True))
    return tuple(None if a is None else np.concatenate([a, c], axis=-1) for a, c in pairs)  # type: ignore[return-value]


def one_step(n: Any, w: Weights, x: Any, h: Any) -> Step:
    s_f = n.affine((x, w.gate), (h, w.recurrent_gate), bias=w.gate_bias)
    f = n.gate(s_f, "f")
    reset = f * h
    s_c = n.affine((x, w.candidate), (reset, w.recurrent_candidate), bias=w.candidate_bias)
    c = n.act(s_c, "c")
    return Step(n.blend(f, c, h), f, c, [s_f, s_c], reset)


def step_back(
    act: Activation, gate: Activation, w: Weights, before: tuple[Array], s: Step, dh: Array
) -> tuple[Array, Array, tuple[Array]]:
    (h,) = before
    d_c = act.vjp(dh * s.f, s.s[1], s.c)
    through = d_c @ w.recurrent_candidate.T
    d_f = gate.vjp(dh * (s.c - h) + through * h, s.s[0], s.f)
    dU = np.concatenate([h.T @ d_f, s.reset.T @ d_c], axis=-1)
    later = dh * (1 - s.f) + d_f @ w.recurrent_gate.T + through * s.f
    return np.concatenate([d_f, d_c], axis=-1), dU, (later,)


# --- 2: its entry in rnn_check/recurrences/kinds.py -----------------------------------------------

DEFINITION = kinds.Recurrence(
    "mgu", ("f", "h"), ("f", "c"), ("h",), 1, arranged, joined, one_step, step_back
)

# --- 3: its family and its cell in rnn_check/claims/layers/cells.py -------------------------------


class MinimalGated(Gated, frozen=True):
    """A minimal gated unit: gates f, h."""

    letters: ClassVar[Letters] = Letters(
        "MGU", {"f": "f", "u": "f", "h": "h", "c": "h"}, example="u c", reset="f"
    )

    @property
    def reach(self) -> tuple[float, float]:
        return -np.inf, np.inf


class MGUCell(MinimalGated, frozen=True, tag_field="kind", tag="MGUCell"):
    """What MGU does at one step."""

    recurrent_activation: str | msgspec.UnsetType = msgspec.UNSET


# --- 4: its layer in rnn_check/claims/layers/recurrent.py -----------------------------------------


class MGU(MinimalGated, Recurrent, frozen=True, tag_field="kind", tag="MGU"):
    """A layer of that name."""

    name: Name = "mgu"
    recurrent_activation: str | msgspec.UnsetType = msgspec.UNSET


# --- 5: what a description may name, in rnn_check/subjects/asked/named.py -------------------------

FAMILY = named.Family("mgu", gates=2, options={"recurrent_activation": "sigmoid"})

# --- what follows from one more member of the unions `AnyRecurrent` and `Cell` --------------------


class OverIt(RNN, frozen=True, kw_only=True, tag_field="kind", tag="RNN"):
    """RNN."""

    cell: Cell | MGUCell | list[Cell | MGUCell]  # type: ignore[assignment]


class BothWays(Bidirectional, frozen=True, kw_only=True, tag_field="kind", tag="Bidirectional"):
    """Bidirectional."""

    layer: AnyRecurrent | MGU  # type: ignore[assignment]
    backward_layer: AnyRecurrent | MGU | msgspec.UnsetType = msgspec.UNSET  # type: ignore[assignment]


Layers = AnyRecurrent | MGU | OverIt | BothWays | TimeDistributed | Dense | Masking | Embedding


class WithIt(schema.ClaimFile, frozen=True, kw_only=True):
    """The document as written."""

    layer: Layers | None = None  # type: ignore[assignment]
    layers: list[Layers] | None = None  # type: ignore[assignment]


@contextmanager
def entered() -> Iterator[None]:
    """It is known meanwhile."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(kinds.KINDS, "mgu", DEFINITION)
        patch.setitem(named.FAMILIES, "MGU", FAMILY)
        patch.setitem(named.LAYERS, "MGU", named.keys_of_layer(FAMILY))
        patch.setitem(named.CELLS, "MGUCell", named.keys_of_cell(FAMILY))
        patch.setattr(schema, "ClaimFile", WithIt)
        schema._document.cache_clear()
        yield
    schema._document.cache_clear()
