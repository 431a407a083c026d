"""Which single change of all that is run may explain that numbers differ?

Each is a whole claim once more, with one thing changed in it, and what is true of that one.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from rnn_check.claims.causes import backwards, gradients, recurrences, shown
from rnn_check.claims.causes.recurrences import MISTAKES, Mistake, Ran
from rnn_check.claims.causes.shown import Derive
from rnn_check.claims.claim import Claim
from rnn_check.claims.expectations.expectation import Expectation
from rnn_check.claims.experiment import Experiment
from rnn_check.claims.layers import RNN, Bidirectional, Carrying, Dense
from rnn_check.claims.truth import Truth
from rnn_check.claims.written import Array, Given


@dataclass(frozen=True)
class Cause:
    """What is so, if it is the cause: "recurrent_kernel is transposed".

    claim: with that changed. derive: what is true of it. reorders: whether states stand elsewhere
    than they were carried. widens: whether it changes nothing but how
    digits are read, so that no number has to move. fitted: how many numbers of it were found by
    making the claim's agree. choices: log2 of how many values that number could have had, if it is
    written with as many digits as before.
    """

    words: str
    claim: Claim
    derive: Derive = Truth
    reorders: bool = False
    widens: bool = False
    fitted: int = 0
    choices: float = math.inf


Entry = Callable[[Claim], Iterator[Cause]]


def causes(claim: Claim) -> Iterator[Cause]:
    """All of them that apply to the claim, but for those of a single entry."""
    if claim.x is None or claim.weights is None:
        return
    for entry in TABLE:
        yield from entry(claim)


# --- of a recurrence ------------------------------------------------------------------------------


def _of_recurrences(claim: Claim) -> Iterator[Cause]:
    places = [
        (layer, index)
        for layer in claim.layers
        if isinstance(layer, Carrying)
        for index in range(len(layer.recurrences))
    ]
    runs = {(layer.name, i): recurrences.ran(claim, layer, i) for layer, i in places}
    for mistake in MISTAKES:
        for layer, index in places:
            run = runs[layer.name, index]
            for words, changed in mistake.change(run):
                if not changed.is_as(run) and (found := put(claim, layer, index, run, changed)):
                    told = words + _whose(claim, layer, index, len(places))
                    of = gradients.of_given(found, layer, index, mistake, words, run)
                    if of is not None:
                        yield Cause(told, found, of.derive)
                    yield Cause(told, found)
        if len(places) > 1:
            yield from _of_all(claim, mistake, len(places))


def _whose(claim: Claim, layer: Carrying, index: int, places: int) -> str:
    if places == 1:
        return ""
    prefix = layer.recurrences[index][0]
    return f" in {layer.name}.{prefix}".rstrip(".")


def _of_all(claim: Claim, mistake: Mistake, places: int) -> Iterator[Cause]:
    """The same mistake in every recurrence at once."""
    changed: dict[str, Claim] = {}
    made: dict[str, int] = {}
    for at, layer in enumerate(claim.layers):
        for index in range(len(layer.recurrences)) if isinstance(layer, Carrying) else ():
            assert isinstance(layer, Carrying)
            run = recurrences.ran(claim, layer, index)
            for words, one in mistake.change(run):
                before = changed.get(words, claim)
                now = before.layers[at]
                assert isinstance(now, Carrying)
                after = put(before, now, index, run, one)
                if after is not None and not one.is_as(run):
                    changed[words], made[words] = after, made.get(words, 0) + 1
    for words, found in changed.items():
        if made[words] == places:
            yield Cause(f"{words}, in every recurrence", found)


def put(claim: Claim, layer: Carrying, index: int, run: Ran, changed: Ran) -> Claim | None:
    """The claim with one recurrence changed; None if no claim has that one alone."""
    assert claim.weights is not None
    prefix = layer.recurrences[index][0]
    own = dict(claim.weights[layer.name])
    for name in ("kernel", "recurrent_kernel", "bias"):
        array = getattr(changed, name)
        if array is not None and array is not getattr(run, name):
            own[prefix + name] = array
    new: dict[str, Any] = {"weights": {**claim.weights, layer.name: own}}
    if changed.part != run.part:
        other = _with_part(layer, index, changed.part)
        if other is None:
            return None
        at = claim.layers.index(layer)
        new["layers"] = (*claim.layers[:at], other, *claim.layers[at + 1 :])
    if changed.starts is not run.starts:
        if claim.initial_state is None:
            return None
        new["initial_state"] = _starts(claim.initial_state, layer, index, changed.starts)
    if changed.x is not run.x or changed.mask is not run.mask:
        alone = layer is claim.layers[0] and len(layer.recurrences) == 1
        if not alone or (claim.mask is None) != (changed.mask is None):
            return None
        backwards = layer.option("go_backwards")
        turned: Callable[[Array], Array] = (lambda a: a[:, ::-1]) if backwards else (lambda a: a)
        assert claim.x is not None
        if changed.x is not run.x:
            new["x"] = changed.x.each(turned)
        new["mask"] = None if changed.mask is None else turned(changed.mask)
    return dataclasses.replace(claim, **new)


def _with_part(layer: Carrying, index: int, part: Any) -> Any:
    """The layer with another recurrence in it; of two directions both have it."""
    if isinstance(layer, Bidirectional):
        return msgspec.structs.replace(layer, layer=part) if index == 0 else None
    if isinstance(layer, RNN):
        if not isinstance(layer.cell, list):
            return msgspec.structs.replace(layer, cell=part)
        cells = [*layer.cell[:index], part, *layer.cell[index + 1 :]]
        return msgspec.structs.replace(layer, cell=cells)
    return part


def _starts(given: Given, layer: Carrying, index: int, starts: tuple[Given, ...]) -> Given:
    if given.value.ndim == 2:
        return starts[0]
    at = sum(len(part.states) for _, part in layer.recurrences[:index])
    every = [given.each(lambda a, i=i: a[i]) for i in range(len(given.value))]  # type: ignore[misc]
    every[at : at + len(starts)] = starts
    return Given.stacked(every)


# --- of layers ------------------------------------------------------------------------------------


def _directions(claim: Claim) -> Iterator[Cause]:
    assert claim.weights is not None
    for layer in claim.layers:
        if isinstance(layer, Bidirectional):
            own = claim.weights[layer.name]
            other = {"forward": "backward", "backward": "forward"}
            exchanged = {}
            for path, array in own.items():
                side, _, name = path.partition(".")
                exchanged[f"{other[side]}.{name}"] = array
            yield Cause(
                f"the directions of {layer.name} are exchanged",
                dataclasses.replace(claim, weights={**claim.weights, layer.name: exchanged}),
            )
            given, first = (
                claim.initial_state,
                next(each for each in claim.layers if isinstance(each, Carrying)),
            )
            if given is not None and layer is first:
                half = len(given.value) // 2
                turned = given.each(lambda a, half=half: np.concatenate([a[half:], a[:half]]))  # type: ignore[misc]
                words = "each direction starts from the initial state of the other"
                yield Cause(words, dataclasses.replace(claim, initial_state=turned))


def _masked(claim: Claim) -> Iterator[Cause]:
    """What is shown of a step that the mask skips."""
    for at, layer in enumerate(claim.layers):
        inner = layer.inner
        if not isinstance(layer, Carrying) or isinstance(layer, Bidirectional):
            continue
        if not hasattr(inner, "zero_output_for_mask") or not layer.returns_sequences:
            continue
        zeroed = layer.option("zero_output_for_mask")
        other = msgspec.structs.replace(layer, zero_output_for_mask=not zeroed)
        what = "repeat the state before them" if zeroed else "show zeros"
        layers = (*claim.layers[:at], other, *claim.layers[at + 1 :])
        words = f"steps that the mask skips {what}"
        yield Cause(words, dataclasses.replace(claim, layers=layers))


def _dense(claim: Claim) -> Iterator[Cause]:
    assert claim.weights is not None
    for at, layer in enumerate(claim.layers):
        if not isinstance(layer, Dense) or layer.name not in claim.weights:
            continue
        own, name = claim.weights[layer.name], layer.name
        changes: dict[str, dict[str, Given]] = {}
        if layer.units == len(own["kernel"].value) > 1:
            changes[f"{name}.kernel is transposed"] = {"kernel": own["kernel"].transposed()}
        if "bias" in own:
            changes[f"{name}.bias is dropped"] = {"bias": own["bias"].times(0)}
            changes[f"{name}.bias is doubled"] = {"bias": own["bias"].times(2)}
        for words, arrays in changes.items():
            weights = {**claim.weights, name: {**own, **arrays}}
            yield Cause(words, dataclasses.replace(claim, weights=weights))
        for other in ("linear", "softmax", "sigmoid", "relu", "tanh"):
            if other != layer.function:
                changed = msgspec.structs.replace(layer, activation=other)
                layers = (*claim.layers[:at], changed, *claim.layers[at + 1 :])
                words = f"the activation of {name} is {other}"
                yield Cause(words, dataclasses.replace(claim, layers=layers))


# --- of the input ---------------------------------------------------------------------------------


def _axes_exchanged(claim: Claim) -> Iterator[Cause]:
    """Batch for time, and time for features."""
    x = claim.x
    assert x is not None
    if x.value.ndim != 3 or claim.initial_state is not None or claim.mask is not None:
        return
    B, T, F = x.shape
    if T == F > 1:
        turned = x.each(lambda a: a.swapaxes(1, 2))
        yield Cause(
            "timesteps and features of x are exchanged", dataclasses.replace(claim, x=turned)
        )
    if max(B, T) < 2 or not all(layer.returns_sequences for layer in claim.layers):
        return

    def swap(a: Array) -> Array:
        return a.swapaxes(0, 1)

    loss = claim.loss
    if loss is not None:
        loss = dataclasses.replace(loss, value=loss.value.each(swap))
    exchanged = dataclasses.replace(claim, x=x.each(swap), loss=loss)

    def derive(claim: Experiment, computed_in: str, loss_in: str) -> Truth:
        """Nothing is rounded by hand: what is printed has the axes of the claim as it was."""
        assert isinstance(claim, Claim)
        plain = dataclasses.replace(claim, expectations=())
        return shown.each(swap).derive(plain, computed_in, loss_in)

    words = "batch and time of x are exchanged"
    if T == 1:
        words += ": its rows are the timesteps of one sample, each follows from the one before"
    if B == 1:
        words += ": each timestep is a sample of its own"
    yield Cause(words, exchanged, derive, reorders=True)


def _all_reversed(claim: Claim) -> Iterator[Cause]:
    """Inputs of what is not one recurrence alone, which are put back there."""
    x, first = claim.x, claim.layers[0]
    assert x is not None
    alone = isinstance(first, Carrying) and len(first.recurrences) == 1
    if x.shape[1] > 1 and not alone:
        mask = None if claim.mask is None else claim.mask[:, ::-1]
        reversed_ = x.each(lambda a: a[:, ::-1])
        yield Cause("time is reversed", dataclasses.replace(claim, x=reversed_, mask=mask))


# --- how numbers are read -------------------------------------------------------------------------


def _readings(claim: Claim) -> Iterator[Cause]:
    """Weights or inputs as rounded, or as the float32 that are next to them."""
    assert claim.x is not None and claim.weights is not None
    for words, read, widens in (
        ("are read as rounded when they were printed", _as_rounded, True),
        ("are read as float32", _as_float32, False),
    ):
        of_weights = {
            layer: {name: read(array) for name, array in table.items()}
            for layer, table in claim.weights.items()
        }
        weights = dataclasses.replace(claim, weights=of_weights)
        yield Cause(f"the weights {words}", weights, widens=widens)
        x = dataclasses.replace(claim, x=read(claim.x))
        yield Cause(f"the input {words}".replace("input are", "input is"), x, widens=widens)


def _as_rounded(given: Given) -> Given:
    return dataclasses.replace(given, error=np.maximum(given.error, given.half_unit))


def _as_float32(given: Given) -> Given:
    with np.errstate(over="ignore"):
        value = given.value.astype(np.float32).astype(np.float64)
    return dataclasses.replace(given, value=value, error=np.zeros_like(value))


def cut(claim: Claim) -> Cause:
    """The numbers that are claimed read as cut off: 0.71 is anything from 0.71 to 0.72."""

    def read(given: Given) -> Given:
        unit = 2 * given.half_unit
        away = np.where(given.value < 0, -unit, unit)
        lo = np.where(given.value == 0, -unit, np.minimum(given.value, given.value + away))
        hi = np.maximum(given.value, given.value + away)
        return dataclasses.replace(given, lo=lo, hi=hi)

    return Cause("digits are cut off, not rounded", _reading(claim, read), widens=True)


def within_a_unit(claim: Claim) -> Claim:
    """The same read as off by one unit of their last digit, to either side."""

    def read(given: Given) -> Given:
        unit = 2 * given.half_unit
        return dataclasses.replace(given, lo=given.value - unit, hi=given.value + unit)

    return _reading(claim, read)


def _reading(claim: Claim, read: Callable[[Given], Given]) -> Claim:
    def of(e: Expectation) -> Expectation:
        if not isinstance(e.value, Given) or e.computed_in == "exact":
            return e
        return msgspec.structs.replace(e, value=read(e.value))

    return dataclasses.replace(claim, expectations=tuple(map(of, claim.expectations)))


# --- what is shown --------------------------------------------------------------------------------


def _shown(claim: Claim) -> Iterator[Cause]:
    for family in (shown.rows, shown.losses, backwards.gradients):
        for words, made in family(claim):
            yield Cause(words, claim, made.derive, reorders=made.sequence is not None)
    for words, made in shown.clipped(claim):
        yield Cause(words, claim, made.derive, reorders=True, fitted=1)


TABLE: tuple[Entry, ...] = (
    _of_recurrences, _directions, _masked, _dense, _axes_exchanged, _all_reversed, _readings,
    _shown,
)  # fmt: skip
