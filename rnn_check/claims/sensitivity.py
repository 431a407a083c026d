"""Could a claim fail?  Which faults, planted into the reference, change none of its numbers?

A fault is planted into the weights, the input or the activation of a recurrence, and its states are
computed once more in float64. Where no state that the claim speaks of is another number in
float32, nobody who asks the claim sees the fault. (Where one is, it may still be within rounding:
what is seen of a framework, its certificate says.)

Sizes: B samples, T timesteps, F features, H units of G gates.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from rnn_check.claims import gates, stack
from rnn_check.claims.claim import Claim
from rnn_check.claims.expectations.expectation import Expectation
from rnn_check.claims.layers import Carrying
from rnn_check.claims.layers.cells import Gated, Recurrence
from rnn_check.claims.written import Array
from rnn_check.recurrences import gated, over_time

# of what is asked of a subject, what no state goes into
_WITHOUT_STATES = frozenset(
    {"weights", "summary", "config", "initial_weights", "initialized", "raises", "shrunk"}
)
_SOON = 64  # timesteps in which most faults show


@dataclass(frozen=True)
class Fault:
    """One that was planted. why: why nobody sees it; empty if it is seen."""

    layer: str
    what: str
    why: str = ""


@dataclass(frozen=True)
class _Run:
    """One recurrence as it is run, in the order in which it takes the steps.

    x (B,T,F), kernel (F,GH), starts (B,H) each.
    """

    part: Recurrence
    x: Array
    kernel: Array
    recurrent_kernel: Array
    bias: Array | None
    starts: tuple[Array, ...]
    mask: Array | None
    activation: str

    def states(self, timesteps: int | None = None) -> Array:
        """(B,T,H) in float32; the first of them, or all."""
        x, mask = self.x, self.mask
        if timesteps is not None:
            x, mask = x[:, :timesteps], None if mask is None else mask[:, :timesteps]
        given: tuple[Any, ...] = (x, self.kernel, self.recurrent_kernel, self.bias)
        how: dict[str, Any] = {"activation": self.activation, "mask": mask}
        with np.errstate(all="ignore"):
            if isinstance(self.part, Gated):
                how["recurrent_activation"] = self.part.gate_function
                how["initial_state"] = self.starts or None
                found = gated.forward(self.part.recurrence, *given, **how).states["h"]
            else:
                how["initial_state"] = self.starts[0] if self.starts else None
                found = over_time.forward(*given, **how)[0]
            return found.astype(np.float32)


def planted(claim: Claim) -> Iterator[Fault]:
    """Every fault that can be planted into the claim; none if it has no numbers to run."""
    if claim.x is None or claim.weights is None:
        return
    for layer in claim.layers:
        for index, _ in enumerate(layer.recurrences if isinstance(layer, Carrying) else ()):
            assert isinstance(layer, Carrying)
            seen = _seen(claim, layer, index)
            if seen is None:
                continue
            run, name = _run(claim, layer, index), layer.name
            name += f".{layer.recurrences[index][0]}".rstrip(".")
            honest = run.states()
            before = honest[:, :-1].any() or any(start.any() for start in run.starts)
            for what, changed, alike in _faults(run):
                if changed is None:
                    yield Fault(name, what, f"changes nothing: {alike}")
                elif _shows(honest, changed, seen):
                    yield Fault(name, what)
                elif "recurrent_kernel" in what and not before:
                    yield Fault(name, what, "changes nothing: no step has a state before it")
                else:
                    yield Fault(name, what, "changes no number that is claimed")


def _shows(honest: Array, changed: _Run, seen: Array) -> bool:
    timesteps = honest.shape[1]
    if timesteps > _SOON and seen[:, :_SOON].any():
        soon = changed.states(_SOON)
        if _other(honest[:, :_SOON], soon, seen[:, :_SOON]):
            return True
    return _other(honest, changed.states(), seen)


def _other(honest: Array, changed: Array, seen: Array) -> bool:
    same = (honest == changed) | (np.isnan(honest) & np.isnan(changed))
    return bool((~same & seen).any())


def _faults(run: _Run) -> Iterator[tuple[str, _Run | None, str]]:
    """(what, the recurrence with that fault or None if it is as it was, why it is)."""
    H, F = len(run.recurrent_kernel), len(run.kernel)
    W, U, b, G = run.kernel, run.recurrent_kernel, run.bias, run.part.gates

    def turned(array: Array) -> Array:
        return np.concatenate([part.T for part in np.split(array, G, axis=-1)], axis=-1)

    def with_(what: str, alike: str, **arrays: Array) -> tuple[str, _Run | None, str]:
        as_before = all(
            np.array_equal(array, getattr(run, name), equal_nan=True)
            for name, array in arrays.items()
        )
        changed = None if as_before else dataclasses.replace(run, **arrays)  # type: ignore[arg-type]
        return what, changed, alike

    yield with_("kernel dropped", "it is zero", kernel=0 * W)
    yield with_("recurrent_kernel dropped", "it is zero", recurrent_kernel=0 * U)
    if H > 1:
        yield with_("recurrent_kernel transposed", "it is symmetric", recurrent_kernel=turned(U))
        rolled = np.roll(U, 1, axis=0)
        yield with_("rows of recurrent_kernel permuted", "they are alike", recurrent_kernel=rolled)
    if F > 1:
        yield with_("features permuted", "their weights are alike", kernel=np.roll(W, 1, axis=0))
    if F == H:
        if H > 1:
            yield with_("kernel transposed", "it is symmetric", kernel=turned(W))
        yield with_("kernel and recurrent_kernel exchanged", "they are equal",
                    kernel=U, recurrent_kernel=W)  # fmt: skip
    if b is not None:
        yield with_("bias dropped", "it is zero", bias=0 * b)
        yield with_("bias doubled", "it is zero", bias=2 * b)
    if run.x.shape[1] > 1:
        reversed_ = {"x": run.x[:, ::-1]}
        if run.mask is not None:
            reversed_["mask"] = run.mask[:, ::-1]
        yield with_("time reversed", "x reads the same in reverse", **reversed_)
    if run.starts:
        zero = tuple(0 * start for start in run.starts)
        given = any(start.any() for start in run.starts)
        ignored = dataclasses.replace(run, starts=zero) if given else None
        yield "initial state ignored", ignored, "it is zero"
    if run.mask is not None:
        counts = np.ones_like(run.mask)
        yield with_("mask ignored", "it skips no step", mask=counts)
    other = "tanh" if run.activation == "linear" else "linear"
    yield f"activation {other}", dataclasses.replace(run, activation=other), ""
    yield from _gates_exchanged(run)


def _gates_exchanged(run: _Run) -> Iterator[tuple[str, _Run | None, str]]:
    order, H = gates.ORDER[run.part.family], run.part.units
    pairs = {"LSTM": [("i", "f"), ("i", "o"), ("f", "o")], "GRU": [("z", "r")]}
    for one, other in pairs.get(run.part.family, []):
        columns = np.arange(len(order) * H).reshape(-1, H)
        at = [order.index(one), order.index(other)]
        columns[at] = columns[at[::-1]]
        taken = columns.ravel()
        arrays = {"kernel": run.kernel, "recurrent_kernel": run.recurrent_kernel}
        arrays |= {} if run.bias is None else {"bias": run.bias}
        moved: dict[str, Any] = {name: array[..., taken] for name, array in arrays.items()}
        alike = all(np.array_equal(moved[name], array) for name, array in arrays.items())
        changed = None if alike else dataclasses.replace(run, **moved)
        yield f"gates {one} and {other} exchanged", changed, "their weights are alike"


def _run(claim: Claim, layer: Carrying, index: int) -> _Run:
    """One recurrence of a layer as the claim runs it."""
    assert claim.weights is not None
    prefix, part = layer.recurrences[index]
    fed = stack.fed(claim, layer, index)
    own = {name: given.value for name, given in claim.weights[layer.name].items()}
    return _Run(
        part=part,
        x=fed.x,
        kernel=own[f"{prefix}kernel"],
        recurrent_kernel=own[f"{prefix}recurrent_kernel"],
        bias=own.get(f"{prefix}bias"),
        starts=fed.starts,
        mask=fed.mask,
        activation=part.function,
    )


def _seen(claim: Claim, layer: Carrying, index: int) -> Array | None:
    """(B,T,H) True where the claim speaks of a state of it, or of what follows from that one.

    None if it speaks of none.
    """
    assert claim.x is not None
    shape = (*claim.x.shape[:2], layer.recurrences[index][1].units)
    seen = np.zeros(shape, bool)
    for e in claim.expectations:
        if e.asked(claim) - _WITHOUT_STATES:
            part, chosen = _spoken_of(claim, layer, index, e)
            whole = seen[:, -1] if part == "last" else seen  # a view
            if chosen is None:
                whole[:] = True
            else:
                places = chosen.select(np.arange(whole.size).reshape(whole.shape))
                whole[np.unravel_index(places, whole.shape)] = True
    return seen if seen.any() else None


def _spoken_of(
    claim: Claim, layer: Carrying, index: int, e: Expectation
) -> tuple[str, Expectation | None]:
    """Of which steps an expectation speaks, and the expectation if it chooses among their units."""
    last = layer is claim.layers[-1]
    if e.what == "output":
        part = "all" if layer.returns_sequences else "last"
        return part, e if last and layer.shows_states_of(index) else None
    if e.what in ("states", "last_state"):
        other, of, word = claim.recurrence_of(e.of)
        if (other, of) == (layer, index) and not word:
            return "last" if e.what == "last_state" else "all", e
    return "all", None
