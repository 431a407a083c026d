"""What does a layer do beyond its numbers: across calls, through files, in training?

Each function takes a claim and what was observed, and yields the comparisons that decide.
Most are of bits: a layer that was saved and loaded runs the same code on the same numbers.

Sizes: B samples, T timesteps, F features, H units.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from msgspec import UnsetType, structs

from rnn_check.asking.request import LEARNING_RATE
from rnn_check.certificates import public
from rnn_check.certificates.comparison import Comparison, bits, equal, step
from rnn_check.claims import stack, truth
from rnn_check.claims.claim import (
    DERIVED,
    RNN,
    Bidirectional,
    Claim,
    SimpleRNN,
    activation_of,
    is_trainable,
    option,
)
from rnn_check.claims.written import Array
from rnn_check.numbers import formats
from rnn_check.recurrences import losses, running

Observed = Mapping[str, Any]
# that an honest generator falls outside the bound on its rate has at most this probability
CHANCE = 2.0**-40


def stateful(claim: Claim, observed: Observed, dtype: str) -> Iterator[Comparison]:
    """The second run starts where the first ended; after a reset everything is as at first.

    Where the claim gives an initial state, every run is given it, and starts there. Ways that
    return no sequence (fit, evaluate) show the layer's state alone: it is held against the running
    bound of the whole run.
    """
    told = observed["stateful"]
    if claim.is_stack:
        yield from _stateful_parts(claim, observed, dtype)
        return
    first, second, third, reset = told["states"]  # (B,H) each
    weights = observed["weights"][claim.rnn.name]
    zeros = np.zeros_like(first)
    yield _same("the state after a reset", reset, zeros)
    starts = (zeros, first, zeros)
    if claim.initial_state is not None:
        starts = (claim.initial_state.value,) * 3
    for name, start, runs, end in zip(
        ("first", "second", "third"), starts, told["runs"], (first, second, third), strict=True
    ):
        if runs is not None:
            yield from _sequence(claim, weights, f"states of the {name} run", runs, start, dtype)
            yield _same(f"the state after the {name} run", end, _last(claim, runs, start))
            continue
        given = stack.exactly(weights)
        assert claim.x is not None
        exact = stack.Signal.exactly(claim.x.value, claim.mask)
        started = (start.astype(np.float64), np.zeros(start.shape))
        arithmetic = dtype.removeprefix("mixed_")
        (last,) = stack.ends(claim.rnn, given, exact, arithmetic, [started]).values()
        yield stack.bounded(f"the state after the {name} run", end, last, "subject")
    if told["runs"][0] is not None:
        yield _same("the run after a reset", told["runs"][2], told["runs"][0])


def _stateful_parts(claim: Claim, observed: Observed, dtype: str) -> Iterator[Comparison]:
    """The same of a layer with several states, each against the running bound of the whole run."""
    told = observed["stateful"]
    *ends, reset = [s if isinstance(s, list) else [s] for s in told["states"]]  # (B,H) each
    arithmetic = dtype.removeprefix("mixed_")
    assert claim.x is not None
    signal = stack.Signal.exactly(claim.x.value, claim.mask)
    at = next(i for i, layer in enumerate(claim.layers) if isinstance(layer, DERIVED))
    for before in claim.layers[:at]:
        own = stack.exactly(observed["weights"].get(before.name, {}))
        signal = stack.through(before, own, signal, arithmetic)
    layer = claim.layers[at]
    assert isinstance(layer, DERIVED)
    weights = stack.exactly(observed["weights"][layer.name])
    for state in reset:
        yield _same("the state after a reset", state, np.zeros_like(state))
    zeros = [np.zeros_like(s) for s in reset]
    starts = (zeros, ends[0], zeros)
    if claim.initial_state is not None:
        starts = ([value for value, _ in stack.starts(claim)],) * 3
    for name, start, shown, left in zip(
        ("first", "second", "third"), starts, told["runs"], ends, strict=True
    ):
        given = [(s.astype(np.float64), np.zeros(s.shape)) for s in start]
        wanted = stack.ends(layer, weights, signal, arithmetic, given)
        for (part, state), got in zip(wanted.items(), left, strict=True):
            yield stack.bounded(f"the {part} after the {name} run", got, state, "subject")
        if shown is not None:
            ran = stack.through(sequential(layer), weights, signal, arithmetic, given)
            what = f"output of the {name} run"
            yield stack.bounded(what, shown, (ran.value, ran.error), "subject")
    if told["runs"][0] is not None:
        yield _same("the run after a reset", told["runs"][2], told["runs"][0])


def sequential(layer: SimpleRNN | RNN | Bidirectional) -> SimpleRNN | RNN | Bidirectional:
    """The layer, returning sequences."""
    if isinstance(layer, Bidirectional):
        return structs.replace(layer, layer=structs.replace(layer.layer, return_sequences=True))
    return structs.replace(layer, return_sequences=True)


def _sequence(
    claim: Claim, weights: Mapping[str, Array], what: str, states: Array, start: Array, dtype: str
) -> Iterator[Comparison]:
    assert claim.x is not None
    mask = claim.processed_mask
    if mask is not None and option(claim.rnn, "zero_output_for_mask"):
        states = stack.carried(states, mask)
    given: dict[str, Any] = {**weights, **claim.recurrence, "initial_state": start}
    found = public.certify(states, x=claim.x.value, dtype=dtype, **given)
    yield step(what, found, ("sample", "timestep", "unit"))


def _last(claim: Claim, states: Array, start: Array) -> Array:
    """The state that is left after a run: of the last step that counted, or the one before it."""
    mask = claim.processed_mask
    if mask is None:
        return states[:, -1]
    last = mask.shape[1] - 1 - np.argmax(mask[:, ::-1], axis=1)
    ran = np.asarray(mask.any(axis=1, keepdims=True))
    return np.where(ran, states[np.arange(len(states)), last], start)


def round_trip(claim: Claim, observed: Observed, dtype: str) -> Iterator[Comparison]:
    told = observed["round_trip"]
    yield equal("subject", "same configuration", _yes(told["same_config"]), "yes")
    yield equal("subject", "same weights", _yes(told["same_weights"]), "yes")
    yield _same("output", told["after"], told["before"])


def dropout(claim: Claim, of: str, observed: Observed, dtype: str) -> Iterator[Comparison]:
    """What a layer with an identity for a kernel shows of its dropout mask, at each timestep.

    of "input": h_t = mask/(1-p).  of "recurrent": x is one at the first step and zero after it, and
    h_t = (mask/(1-p))^t, counted from 0.  By Hoeffding (JASA 58, 1963) the share of zeros among N
    independent draws is off by more than sqrt(log(2/CHANCE)/(2N)) with probability CHANCE at most.
    """
    told = observed["dropout"]
    name = "dropout" if of == "input" else "recurrent_dropout"
    rate = float(getattr(claim.layers[0], name))
    u = formats.arithmetic(dtype.removeprefix("mixed_")).u_stored
    shown = told[of].astype(np.float64)  # (B,T,n)
    still = told["inference"][of].astype(np.float64)
    yield _same("output in inference", still, np.ones_like(still))
    mask = shown[:, 0] if of == "input" else shown[:, 1]  # (B,n) scaled
    powers = np.arange(shown.shape[1]) if of == "recurrent" else np.ones(shown.shape[1])
    kept = mask != 0
    scale = 1 / (1 - rate)
    expected = np.where(kept[:, None], scale ** powers[:, None], (powers == 0)[:, None])
    bound = formats.gamma(3, u) * np.abs(powers)[:, None] * expected
    axes = ("sample", "timestep", "unit")
    yield Comparison(
        "subject", f"{name}: one mask for all timesteps, scaled by 1/(1 - {rate:g})", shown,
        expected, np.abs(shown - expected), bound, axes, tuple(np.indices(shown.shape)),
    )  # fmt: skip
    draws = kept.size
    dropped = np.asarray(1 - kept.mean())
    allowed = np.asarray(math.sqrt(math.log(2 / CHANCE) / (2 * draws)))
    off = np.abs(dropped - rate)
    yield Comparison(
        "subject", f"share of zeros among {draws:,}", dropped, np.asarray(rate), off, allowed
    )
    alike = bool((kept == kept[:1]).all())
    yield equal("subject", "a mask of its own for every sample", _yes(not alike), "yes")
    # that as many draws are the same by chance is less likely than CHANCE
    later = told["next"][of].astype(np.float64)
    yield equal(
        "subject", "another mask at the next call", _yes(bool((later != shown).any())), "yes"
    )
    if told["again"] is not None:
        yield _same("output with the same seed", told["again"][of], told[of])


def loss_of_evaluate(
    claim: Claim, observed: Observed, dtype: str, loss_in: str
) -> Iterator[Comparison]:
    """mse over the steps that the mask keeps, from the output that the subject itself predicted.

    See `truth.loss_of_kept`; Keras then averages it over batches, and reports it in float32.
    """
    told = observed["evaluate"]
    assert claim.loss is not None
    mask = stack.run(claim, "float32")[-1].mask
    target, output = claim.loss.value.value, told["output"].astype(np.float64)
    given, arithmetic = truth.given_to_loss(
        (output, np.zeros_like(output)), dtype.removeprefix("mixed_"), loss_in
    )
    loss, bound = truth.loss_of_kept("mse", target, *given, mask, arithmetic)
    u = max(formats.arithmetic(arithmetic).u_stored, 2.0**-24)  # reported in float32
    reported = formats.gamma(6, u) * (loss + bound)
    wanted = np.asarray(loss), np.asarray(bound + reported)
    yield stack.bounded("loss of evaluate", np.asarray(told["loss"]), wanted, "own")


def frozen(claim: Claim, observed: Observed, dtype: str) -> Iterator[Comparison]:
    """A step of fit changes what is trainable and nothing else."""
    told = observed["fit_once"]
    changed = 0
    for layer in claim.layers:
        trainable = told["trainable"].get(layer.name, [])
        for name, before in told["before"].get(layer.name, {}).items():
            after = told["after"][layer.name][name]
            if is_trainable(layer):
                yield equal("subject", f"{layer.name}.{name} is trainable", name in trainable, True)
                changed += int((bits(before) != bits(after)).any())
            else:
                yield equal(
                    "subject", f"{layer.name}.{name} is trainable", name in trainable, False
                )
                yield _same(f"{layer.name}.{name} after fit", after, before)
    yield equal("subject", "something was trained", _yes(changed > 0), "yes")


def constrained(claim: Claim, observed: Observed, dtype: str) -> Iterator[Comparison]:
    """After a step of fit the weights are changed, and as their constraints want them."""
    told = observed["fit_once"]
    u = formats.arithmetic(dtype.removeprefix("mixed_")).u_stored
    for layer in claim.layers:
        for name, after in told["after"].get(layer.name, {}).items():
            weight = name.rpartition(".")[2].removesuffix("_kernel")
            inner = layer.layer if isinstance(layer, Bidirectional) else layer
            given = getattr(inner, f"{weight}_constraint", None)
            if not isinstance(given, dict | str):
                continue
            before = told["before"][layer.name][name]
            moved = bool((bits(before) != bits(after)).any())
            what = f"{layer.name}.{name}"
            yield equal("subject", f"{what} was trained", _yes(moved), "yes")
            kind = given if isinstance(given, str) else given["kind"]
            limits = given if isinstance(given, dict) else {}
            yield _CONSTRAINTS[kind](f"{what} is {kind}", after.astype(np.float64), limits, u)


def _non_negative(what: str, weight: Array, limits: Mapping[str, Any], u: float) -> Comparison:
    below = np.maximum(-weight, 0.0)
    return Comparison("subject", what, weight, np.abs(weight), below, np.zeros_like(below))


def _max_norm(what: str, weight: Array, limits: Mapping[str, Any], u: float) -> Comparison:
    """Columns are scaled to this norm at most; a norm, a quotient and a product are rounded."""
    most = float(limits.get("max_value", 2))
    norm = np.sqrt(np.square(weight).sum(axis=0))
    bound = np.full_like(norm, formats.gamma(len(weight) + 6, u) * most)
    above = np.maximum(norm - most, 0.0)
    return Comparison("subject", what, norm, np.full_like(norm, most), above, bound)


_CONSTRAINTS: dict[str, Callable[[str, Array, Mapping[str, Any], float], Comparison]] = {
    "NonNeg": _non_negative,
    "MaxNorm": _max_norm,
}


def any_shape(claim: Claim, observed: Observed, dtype: str) -> Iterator[Comparison]:
    """One model for every batch and length: all of x, one sample, one step, half the steps."""
    assert claim.x is not None
    x = claim.x.value
    half = x.shape[1] // 2 + 1
    cuts = {"x": x, "x[:1]": x[:1], "x[:, :1]": x[:, :1], f"x[:, :{half}]": x[:, :half]}
    arithmetic = dtype.removeprefix("mixed_")
    for (what, part), got in zip(cuts.items(), observed["dynamic"]["outputs"], strict=True):
        signal = stack.Signal.exactly(part)
        for layer in claim.layers:
            own = stack.exactly(observed["weights"].get(layer.name, {}))
            signal = stack.through(layer, own, signal, arithmetic)
        yield stack.bounded(f"output of {what}", got, (signal.value, signal.error), "subject")


def cell(claim: Claim, observed: Observed, dtype: str) -> Iterator[Comparison]:
    """A cell called by itself, step by step, each from the state that it returned before.

    Its output is its state, bit for bit, and each follows from the one before.
    """
    told = observed["cell"]
    layer = claim.layers[0]
    assert isinstance(layer, RNN) and claim.x is not None and claim.initial_state is not None
    weights: dict[str, Any] = {"bias": None, **observed["weights"][layer.name]}
    found = public.certify(
        told["outputs"], x=claim.x.value, **weights, activation=activation_of(layer.cells[0]),
        initial_state=claim.initial_state.value, dtype=dtype.removeprefix("mixed_"),
    )  # fmt: skip
    yield step("outputs of the cell", found, ("sample", "timestep", "unit"))
    yield _same("the state beside the output", told["states"], told["outputs"])


def one_update(claim: Claim, observed: Observed, dtype: str, loss_in: str) -> Iterator[Comparison]:
    """One step of SGD in fit: its loss and its gradients belong to one and the same dropout mask.

    What mask was drawn cannot be seen from outside, but for one sample there are few: all of them
    are tried, and the one that explains the numbers best is held against them. A mask (H,) on the
    state scales the rows of the recurrent kernel, one (F,) on the input its features, the same at
    all timesteps. Afterwards, in inference, nothing is dropped.
    """
    told, layer = observed["one_update"], claim.rnn
    before, after = (told[when][layer.name] for when in ("before", "after"))
    arithmetic = dtype.removeprefix("mixed_")
    tried: list[tuple[float, int, list[Comparison]]] = []
    for mask in _masks(layer, claim.x.shape[-1] if claim.x else 0):
        explained = list(_explained(claim, told["loss"], before, after, mask, arithmetic, loss_in))
        tried.append((max(c.ratio for c in explained), len(tried), explained))
    yield from min(tried)[2]
    moved = any((bits(before[name]) != bits(after[name])).any() for name in before)
    yield equal("subject", "something was trained", _yes(moved), "yes")
    assert claim.x is not None
    signal = stack.Signal.exactly(claim.x.value, claim.mask)
    shown = stack.through(layer, stack.exactly(after), signal, arithmetic)
    bounds = (shown.value, shown.error)
    yield stack.bounded("output in inference afterwards", told["output"], bounds, "subject")


def _masks(layer: SimpleRNN, features: int) -> Iterator[tuple[Array, Array]]:
    """Every pair of masks, (F,) and (H,), that dropout can draw for one sample, scaled."""
    choices = []
    for rate, size in ((layer.dropout, features), (layer.recurrent_dropout, layer.units)):
        p = 0.0 if isinstance(rate, UnsetType) else float(rate)
        values = (0.0, 1 / (1 - p)) if p else (1.0,)
        choices.append([np.array(drawn) for drawn in itertools.product(values, repeat=size)])
    yield from itertools.product(*choices)


def _explained(
    claim: Claim,
    loss: Array,
    before: Mapping[str, Array],
    after: Mapping[str, Array],
    masks: tuple[Array, Array],
    arithmetic: str,
    loss_in: str,
) -> Iterator[Comparison]:
    """Loss and weights after the step, if these masks (F,) and (H,) were drawn.

    Their scales are powers of two, so that applying them rounds nothing.
    """
    assert claim.x is not None and claim.loss is not None
    on_input, on_state = masks
    wide: dict[str, Any] = {name: weight.astype(np.float64) for name, weight in before.items()}
    run: dict[str, Any] = {
        **wide, **claim.recurrence, "arithmetic": arithmetic, "x": claim.x.value * on_input,
        "recurrent_kernel": on_state[:, None] * wide["recurrent_kernel"],
    }  # fmt: skip
    ran = running.running_bound(**run)
    target, sequence = claim.loss.value.value, option(claim.rnn, "return_sequences")
    shown = (ran.states, ran.bound) if sequence else (ran.states[:, -1], ran.bound[:, -1])
    shown, coarser = truth.given_to_loss(shown, arithmetic, loss_in)
    told = "mse", target, *shown
    value, bound = losses.running_loss(*told, arithmetic=coarser)
    wanted = np.asarray(value), np.asarray(bound + 2.0**-24 * abs(value))  # reported in float32
    yield stack.bounded("loss of the step", np.asarray(loss), wanted, "own")
    cotangent, error = (
        part if sequence else truth.at_the_end(part, ran.states.shape[1])
        for part in losses.running_loss_gradient(*told, arithmetic=coarser)
    )
    gradients, errors = running.running_gradients(**run, cotangent=cotangent, cotangent_error=error)
    u = formats.arithmetic(arithmetic).u_stored
    for name, weight in wide.items():
        scale = on_state[:, None] if name == "recurrent_kernel" else 1.0
        moved, off = (
            LEARNING_RATE * scale * getattr(each, name) for each in (gradients, errors)
        )  # fmt: skip
        new = weight - moved
        allowed = off + (formats.gamma(2, u) + 2.0**-52) * (np.abs(weight) + np.abs(moved) + off)
        yield stack.bounded(f"{name} after the step", after[name], (new, allowed))


def raises(wanted: str, at: str, told: Observed) -> Iterator[Comparison]:
    """The exception, by its own name or one that it inherits from; at: where it was raised.

    It says something only where the same call with right arguments (`control`) raises nothing.
    """
    control = told["control"]
    if "raised" in control:
        got = f"{control['raised'][0]} at {control['at']}: {control['message']}"
        yield equal("subject", "the same call with right arguments", got, "no exception")
    if "raised" not in told:
        shape = tuple(told["returned"])
        yield equal("subject", "raises", f"nothing (it returned {shape})", wanted, "claimed")
        return
    names = told["raised"]
    yield equal("subject", "raises", wanted if wanted in names else names[0], wanted, "claimed")
    if at and at != "smaller batch":
        yield equal("subject", "raised at", told["at"], at, "claimed")


def _yes(holds: bool) -> str:
    return "yes" if holds else "no"


def _same(what: str, got: Array, expected: Array) -> Comparison:
    """Bits: nothing is allowed."""
    if got.shape != expected.shape:
        return equal("subject", f"shape of {what}", str(got.shape), str(expected.shape))
    error = np.where(bits(got) == bits(expected.astype(got.dtype)), 0.0, np.inf)
    wide = got.astype(np.float64)
    places: tuple[Array, ...] = tuple(np.indices(got.shape))
    axes = ("sample", "timestep", "unit") if got.ndim == 3 else ("row", "column")[: got.ndim]
    return Comparison(
        "subject",
        what,
        wide,
        expected.astype(np.float64),
        error,
        np.zeros_like(error),
        axes,
        places,
    )
