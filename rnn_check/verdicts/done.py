"""What was done?  The features of a claim's experiment by which known deviations are recognised.

A layer, its options as Keras has them (its default where the claim leaves one out), the mask and
the initial state that reach it, what is wrong with an argument on purpose, and where the numbers of
a bug have to meet: a masked step that overflows, a pre-activation that is 0.

Sizes: B batch, T timesteps, F features, H units.
"""

from __future__ import annotations

import functools
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal

import msgspec
import numpy as np

from rnn_check.claims import stack
from rnn_check.claims.claim import Claim
from rnn_check.claims.expectations import trained
from rnn_check.claims.expectations.expectation import Expectation
from rnn_check.claims.layers import (
    RNN,
    AnyLayer,
    Bidirectional,
    Cell,
    Embedding,
    Gated,
    Masking,
)
from rnn_check.claims.layers.recurrent import Carrying
from rnn_check.claims.layers.signal import Pass
from rnn_check.claims.written import Array
from rnn_check.numbers import activations, formats
from rnn_check.recurrences.optimizers import SGD, Optimizer
from rnn_check.recurrences.schedules import Schedule

MaskForm = Literal[
    "none",
    "given",
    "skips a step",
    "skips a step after one that counts",
    "skips the last step after one that counts",
    "differs when reversed",
]
MaskFrom = Literal["call", "layer"]
Wrong = Literal[
    "mask of fewer timesteps",
    "mask of more timesteps",
    "mask of another batch",
    "state without a batch",
    "state of another batch",
    "dropout above 1",
]
Numbers = Literal["a preactivation is 0", "a state overflows", "a masked step overflows"]

Trained = Literal[
    "averages what is constrained",
    "weighs whole sequences",
    "adds up several gradients of a row, not linearly",
    "accumulates gradients",
    "holds a number that float32 rounds",
]

KINDS = {kind.__name__: kind for kind in (*typing.get_args(AnyLayer), *typing.get_args(Cell))}
# what a description may ask of a layer: Keras's options, how many cells stand in its list, and what
# its two directions differ in
OPTIONS = {name for kind in KINDS.values() for name in kind.__struct_fields__}
OPTIONS = (OPTIONS - {"name", "layer", "backward_layer", "cell"}) | {"cells", "directions"}
_DRAWN = {"kernel_initializer": "GlorotUniform", "recurrent_initializer": "Orthogonal"}
_DRAWN |= {"bias_initializer": "Zeros"}


@dataclass(frozen=True)
class Place:
    """One of a claim's layers, what it is made of, and what reaches it.

    mask: (B,T) as it reaches the layer, in the order of its input; made: whether Masking or
    Embedding made it. initial_state: whether it is given one.
    """

    index: int
    layer: AnyLayer
    mask: Array | None
    made: bool
    initial_state: bool

    @property
    def chains(self) -> list[list[Any]]:
        """The layer with what is inside: [the layer, the one that it wraps or a cell], each."""
        layer = self.layer
        if isinstance(layer, RNN):
            return [[layer, cell] for cell in layer.cells]
        if isinstance(layer, Bidirectional):
            one, other = layer.directions
            return [[layer, one]] if other is one else [[layer, one], [layer, other]]
        return [[layer, layer.inner]] if layer.inner is not layer else [[layer]]

    def is_made(self, kinds: list[str], where: dict[str, Any]) -> bool:
        """Whether it is, or holds, a layer of one of these kinds with these options."""
        for chain in self.chains:
            of_kind = not kinds or any(type(part).__name__ in kinds for part in chain)
            if of_kind and all(_has(chain, name, wanted) for name, wanted in where.items()):
                return True
        return False

    def is_masked(self, form: MaskForm) -> bool:
        """Whether its mask is of this form in the order in which the steps are read; of a
        Bidirectional layer, in one of its two."""
        if self.mask is None or form == "none":
            return (self.mask is None) == (form == "none")
        if form == "given":
            return True
        mask = self.mask
        if not isinstance(self.layer, Bidirectional):
            return _is_of(mask[:, ::-1] if self.layer.option("go_backwards") else mask, form)
        return _is_of(mask, form) or _is_of(mask[:, ::-1], form)

    def bears_on(self, e: Expectation, layers: tuple[AnyLayer, ...]) -> bool:
        """Whether what goes wrong in this layer shows in what is expected.

        What is said of one layer depends on those up to it, its configuration on itself alone.
        """
        names = [layer.name for layer in layers]
        if e.what in ("config", "default"):
            where = e.of.rpartition(".")[0] if len(names) > 1 else names[0]
            return where == names[self.index]
        return e.of not in names or self.index <= names.index(e.of)


def places(claim: Claim) -> Iterator[Place]:
    """The claim's layers with the mask and the state that reach each."""
    mask, made, state, called = None, False, claim.initial_state is not None, claim.mask
    values = None if claim.x is None else claim.x.value
    for index, layer in enumerate(claim.layers):
        recurrent = layer.is_recurrent
        if recurrent and called is not None:
            mask, made, called = called, False, None
        yield Place(index, layer, mask, made, recurrent and state)
        if isinstance(layer, Masking) and values is not None and values.ndim == 3:
            mask, made = (values != float(layer.mask_value)).any(axis=-1), True
        if isinstance(layer, Embedding) and layer.option("mask_zero") and values is not None:
            mask, made = values != 0, True
        if recurrent:
            state = False
            if not layer.returns_sequences:
                mask = None
            elif mask is not None and layer.option("go_backwards"):
                mask = mask[:, ::-1]
            made = mask is not None  # it is handed on with the sequence
        values = values if isinstance(layer, Masking) else None


def wrongs(claim: Claim) -> set[str]:
    """What is wrong on purpose with the claim's call, in the words of `Wrong`."""
    wrong = claim.wrong
    if wrong is None:
        return set()
    if claim.x is not None:
        samples, timesteps = claim.x.shape[:2]
    else:
        samples, timesteps = None, (claim.input_shape or (1,))[0]
    if wrong.x_shape is not None and len(wrong.x_shape) > 1:
        samples, timesteps = wrong.x_shape[:2]
    samples = 1 if samples is None else samples
    found: dict[str, bool] = {}
    if wrong.mask_shape is not None and len(wrong.mask_shape) == 2:
        batch, steps = wrong.mask_shape
        found["mask of fewer timesteps"] = steps < timesteps
        found["mask of more timesteps"] = steps > timesteps
        found["mask of another batch"] = batch != samples
    state = wrong.initial_state_shape
    if state is not None:
        found["state without a batch"] = len(state) == 1
        found["state of another batch"] = len(state) == 2 and state[0] != samples
    rate = wrong.layer.get("dropout")
    found["dropout above 1"] = isinstance(rate, int | float | Decimal) and rate > 1
    return {words for words, holds in found.items() if holds}


def trains(claim: Claim) -> set[str]:
    """What a training does that some do wrong, in the words of `Trained`."""
    training, weight, x = claim.training, claim.sample_weight, claim.x
    if training is None or x is None or claim.loss is None:
        return set()
    optimizer, layers = training.optimizer, claim.layers
    constrained = any(any(trained.of_layer(layer, "constraint")) for layer in layers)
    bends = training.kind != "SGD" or any(
        getattr(optimizer, clip) is not None
        for clip in ("clipnorm", "clipvalue", "global_clipnorm")
    )
    size = training.batch_size or len(x.value)
    batches = [x.value[at : at + size] for at in range(0, len(x.value), size)]
    twice = any(len(np.unique(batch)) < batch.size for batch in batches)
    of_sequences = weight is not None and weight.value.ndim < claim.loss.value.value.ndim - 1
    found = {
        "averages what is constrained": optimizer.use_ema and constrained,
        "weighs whole sequences": of_sequences,
        "adds up several gradients of a row, not linearly": isinstance(layers[0], Embedding)
        and bends
        and twice,
        "accumulates gradients": bool(optimizer.gradient_accumulation_steps),
        "holds a number that float32 rounds": any(
            float(np.float32(number)) != number for number in _cast(optimizer)
        ),
    }
    return {words for words, holds in found.items() if holds}


def _cast(optimizer: Optimizer) -> Iterator[float]:
    """The numbers of an optimizer and its schedule that Keras casts to the dtype of a weight."""
    rate = optimizer.learning_rate
    of = {
        optimizer: ("beta_1", "beta_2", "weight_decay")
        + ("momentum",) * isinstance(optimizer, SGD),
        rate: ("decay_rate", "alpha", "warmup_target") if isinstance(rate, Schedule) else (),
    }
    for owner, names in of.items():
        yield from (n for name in names if (n := getattr(owner, name, None)) is not None)


def meets(claim: Claim, place: Place, numbers: Numbers, dtype: str) -> bool:
    """Whether the numbers that reach the layer are such, in the arithmetic `dtype`: what its
    activation is taken of, of a layer with gates that of the candidate, or what it gives."""
    layer = place.layer
    if claim.x is None or claim.weights is None or not isinstance(layer, Carrying):
        return False
    with np.errstate(all="ignore"):
        courses = _passes(_Same(claim), place.index + 1)[-1].courses
        for index, (_, part) in enumerate(layer.recurrences):
            name = part.letters.candidate if isinstance(part, Gated) else ""
            z = courses[index].arguments[name].value  # (B,T,H) in processing order
            if numbers == "a preactivation is 0":
                if (z == 0).any():
                    return True
                continue
            made = activations.activation(part.function).function(z)
            beyond = ~(np.abs(made) <= formats.arithmetic(dtype).max)
            counts = np.ones(z.shape[:2], bool) if place.mask is None else place.mask
            if index == layer.backward_part or layer.option("go_backwards"):
                counts = counts[:, ::-1]
            wanted = ~counts if numbers == "a masked step overflows" else counts
            if (beyond & wanted[..., None]).any():
                return True
    return False


class _Same:
    """A claim, equal to itself alone."""

    def __init__(self, claim: Claim) -> None:
        self.claim = claim

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self.claim is other.claim

    def __hash__(self) -> int:
        return id(self.claim)


@functools.lru_cache(4)  # all entries of a file are asked of one claim, then of the next
def _passes(same: _Same, layers: int) -> list[Pass]:
    return stack.passes(same.claim, "exact", layers=layers)


def _has(chain: list[Any], name: str, wanted: Any) -> bool:
    """Whether the option is so in the chain. `true` and `false` of an option that is no flag: that
    it is given or not; a list: one of them."""
    if isinstance(wanted, list):
        return any(_has(chain, name, each) for each in wanted)
    for part in chain:
        found = _option(part, name)
        if found is msgspec.UNSET:
            continue
        if isinstance(wanted, bool) and not isinstance(found, bool):
            default = _DRAWN.get(name)
            return (found is not None and found != default) is wanted
        if isinstance(wanted, str) and isinstance(found, str):
            return _plain(found) == _plain(wanted)
        return bool(found == wanted)
    return False


def _option(part: Any, name: str) -> Any:
    """An option's value, Keras's default where it is left out: None where that is nothing; UNSET of
    a part that has no such option."""
    if name == "cells":
        if not isinstance(part, RNN):
            return msgspec.UNSET
        return len(part.cells) if isinstance(part.cell, list) else None
    if name == "directions":
        return _apart(part) if isinstance(part, Bidirectional) else msgspec.UNSET
    if name not in part.__struct_fields__:
        return msgspec.UNSET
    if name == "activation":
        return part.function
    if name in _FLAGS:
        return part.option(name)
    given = getattr(part, name)
    if given is msgspec.UNSET:
        return _DRAWN.get(name)
    if isinstance(given, dict):
        return str(given.get("kind"))
    if name.endswith("dropout"):
        return float(given) or None
    return given


def _apart(layer: Bidirectional) -> str | None:
    """What the two directions differ in that shows in the shape of what they return."""
    if layer.takes_start:
        return None
    one, other = layer.directions
    return "units" if one.units != other.units else "states"


_FLAGS = {
    *("use_bias", "return_sequences", "return_state", "go_backwards", "stateful", "unroll"),
    *("zero_output_for_mask", "trainable", "reset_after", "mask_zero", "unit_forget_bias"),
}


def _plain(word: str) -> str:
    """ "GlorotUniform" and "glorot_uniform" are one."""
    return word.replace("_", "").lower().removesuffix("initializer")


def _is_of(mask: Array, form: MaskForm) -> bool:
    """mask (B,T) in processing order, True where a step counts."""
    counted = np.logical_or.accumulate(mask, axis=1)  # a step that counts has come
    holds = {
        "skips a step": ~mask,
        "skips a step after one that counts": ~mask & counted,
        "skips the last step after one that counts": (~mask & counted)[:, -1:],
        "differs when reversed": mask != mask[:, ::-1],
    }
    return bool(holds[form].any())
