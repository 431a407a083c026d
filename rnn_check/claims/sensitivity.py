"""Could a claim fail?  Which faults, planted into the reference, change none of its numbers?

A fault is planted into the weights, the input or the activation of a recurrence, and its states are
computed once more in float64. Where no state that the claim speaks of is another number in
float32, nobody who asks the claim sees the fault. (Where one is, it may still be within rounding:
what is seen of a framework, its certificate says.)

Sizes: B samples, T timesteps, F features, H units of G gates.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from rnn_check.claims.causes.recurrences import MISTAKES, Ran, ran
from rnn_check.claims.claim import Claim
from rnn_check.claims.expectations.expectation import Expectation
from rnn_check.claims.layers import Carrying
from rnn_check.claims.written import Array

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
            run, name = ran(claim, layer, index), layer.name
            name += f".{layer.recurrences[index][0]}".rstrip(".")
            honest = run.states()
            before = honest[:, :-1].any() or any(start.value.any() for start in run.starts)
            for what, changed, alike in _faults(run):
                if changed is None:
                    yield Fault(name, what, f"changes nothing: {alike}")
                elif _shows(honest, changed, seen):
                    yield Fault(name, what)
                elif "recurrent_kernel" in what and not before:
                    yield Fault(name, what, "changes nothing: no step has a state before it")
                else:
                    yield Fault(name, what, "changes no number that is claimed")


def _shows(honest: Array, changed: Ran, seen: Array) -> bool:
    timesteps = honest.shape[1]
    if timesteps > _SOON and seen[:, :_SOON].any():
        soon = changed.states(_SOON)
        if _other(honest[:, :_SOON], soon, seen[:, :_SOON]):
            return True
    return _other(honest, changed.states(), seen)


def _other(honest: Array, changed: Array, seen: Array) -> bool:
    same = (honest == changed) | (np.isnan(honest) & np.isnan(changed))
    return bool((~same & seen).any())


def _faults(run: Ran) -> Iterator[tuple[str, Ran | None, str]]:
    """(what, the recurrence with that fault or None if it is as it was, why it is)."""
    for mistake in MISTAKES:
        for words, changed in mistake.change(run) if mistake.planted else ():
            yield _short(words), None if changed.is_as(run) else changed, mistake.alike


def _short(words: str) -> str:
    """ "bias is dropped": "bias dropped"."""
    return re.sub(r" (is|are) ", " ", words, count=1)


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
