"""Is an LSTM or a GRU proved right when it is, and wrong when it is not?

Honest executions are those of the references in float32; those of real layers are judged in
tests/keras.
"""

from __future__ import annotations

import dataclasses
from itertools import product
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from rnn_check import certify, certify_gradients
from rnn_check.certificates import observer
from rnn_check.certificates.operands import FORMATS, narrowed
from rnn_check.certificates.result import Certificate
from rnn_check.numbers.activations import ACTIVATIONS
from rnn_check.numbers.formats import Array
from rnn_check.recurrences import gated
from rnn_check.recurrences.kinds import GRU, GRU_BEFORE, LSTM, Recurrence
from rnn_check.recurrences.running import Running
from tests.certificates.test_certificate import blas, flushed, flushing
from tests.support.sampling import sampled, thinned
from tools import adversary

pytestmark = pytest.mark.thinned(3)

ALL = {"lstm": LSTM, "gru": GRU, "gru, reset before": GRU_BEFORE}
each_recurrence = pytest.mark.parametrize("r", ALL.values(), ids=ALL)
B, T, F, H = 4, 15, 5, 6


class Layer:
    """An honest layer, its states and its gradients, in some dtype."""

    def __init__(
        self,
        r: Recurrence,
        sizes: tuple[int, int, int, int] = (B, T, F, H),
        *,
        seed: int = 0,
        scale: float = 1.0,
        dtype: Any = np.float32,
        **options: Any,
    ) -> None:
        (B, T, F, H), rng, G = sizes, np.random.default_rng(seed), len(r.gates)

        def normal(*shape: int, size: float = 1.0) -> Array:
            return (size * rng.normal(size=shape)).astype(dtype)

        self.r, self.options = r, options
        self.x, self.start = normal(B, T, F), tuple(normal(B, H) for _ in r.states)
        self.weights = {
            "kernel": normal(F, G * H, size=scale * F**-0.5),
            "recurrent_kernel": normal(H, G * H, size=scale * H**-0.5),
            "bias": normal(*r.bias_shape(H), size=scale / 2),
        }
        self.cotangent = normal(B, T, H)

    def run(self, **changed: Any) -> gated.Run:
        given = {"x": self.x, **self.weights, "initial_state": self.start, **self.options}
        return gated.forward(self.r, **given | changed)

    @property
    def asked(self) -> dict[str, Any]:
        return {
            "x": self.x, **self.weights, **self.options, "recurrence": self.r.name,
            "reset_after": self.r is not GRU_BEFORE,
            "initial_state": self.start if self.r is LSTM else self.start[0],
        }  # fmt: skip

    def seen(self, run: gated.Run) -> dict[str, Any]:
        return {"cell_states": run.states["c"]} if self.r is LSTM else {}

    def gradients(self, run: gated.Run, **cell: Any) -> dict[str, Array]:
        g = gated.backward({"h": self.cotangent, **cell}, run)
        found = {name: getattr(g, name) for name in gated.Gradients._fields}
        starts = found.pop("initial_state")
        named = zip(("initial_state", "initial_cell_state"), starts, strict=False)
        return found | dict(named)


def mask(sizes: tuple[int, int] = (B, T)) -> Array:
    return np.random.default_rng(3).uniform(size=sizes) < 0.7


# -- honest ----------------------------------------------------------------------------------------


@thinned(5)
@each_recurrence
@pytest.mark.parametrize("scale", [0.01, 1.0, 4.0])
@pytest.mark.parametrize("go_backwards", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_an_honest_layer_is_proved(
    r: Recurrence, scale: float, go_backwards: bool, masked: bool
) -> None:
    options = {"go_backwards": go_backwards, "mask": mask() if masked else None}
    layer = Layer(r, scale=scale, **options)
    run = layer.run()
    for seen in ({}, layer.seen(run)):
        found = certify(run.states["h"], **layer.asked, **seen)
        assert found.ok is not False, found.reason
        assert found.ok or scale == 4.0
        results = certify_gradients(
            layer.gradients(run), cotangent=layer.cotangent, states=run.states["h"],
            **layer.asked, **seen,
        )  # fmt: skip
        for name, gradient in results.items():
            assert gradient.ok is not False, (name, gradient.reason)
            assert gradient.ok or scale == 4.0, (name, gradient.reason)


@thinned(20)
@np.errstate(over="ignore", invalid="ignore")
@each_recurrence
@pytest.mark.parametrize("activation", ["linear", "relu", "hard_tanh", "softsign", "softmax"])
@pytest.mark.parametrize("gate", ["hard_sigmoid", "linear", "tanh", "softmax"])
def test_other_activations_are_no_alarm(r: Recurrence, activation: str, gate: str) -> None:
    options = {"activation": activation, "recurrent_activation": gate}
    layer = Layer(r, scale=0.5, **options)
    run = layer.run()
    for seen in ({}, layer.seen(run)):
        assert certify(run.states["h"], **layer.asked, **seen).ok is not False
        results = certify_gradients(
            layer.gradients(run), cotangent=layer.cotangent, states=run.states["h"],
            **layer.asked, **seen,
        )  # fmt: skip
        assert [name for name, result in results.items() if result.ok is False] == []


@each_recurrence
def test_float64_is_proved_to_its_own_digits(r: Recurrence) -> None:
    layer = Layer(r, dtype=np.float64)
    run = layer.run()
    found = certify(run.states["h"], **layer.asked, **layer.seen(run))
    assert found.ok
    assert not certify(run.states["h"] * (1 + 1e-12), **layer.asked).ok


@each_recurrence
def test_sixteen_bits_are_asked_as_such(r: Recurrence) -> None:
    layer = Layer(r, dtype=np.float16)
    run = layer.run()
    assert run.states["h"].dtype == np.float16
    assert certify(run.states["h"], **layer.asked, **layer.seen(run)).ok is True
    assert certify(run.states["h"].astype(np.float32), **layer.asked, dtype="float32").ok is False


@pytest.mark.long
@each_recurrence
def test_blocks_are_the_whole(r: Recurrence, monkeypatch: pytest.MonkeyPatch) -> None:
    """In blocks of a few steps: the same expected numbers, verdict, and faults that are found.

    Sums of other blocks are rounded otherwise, as float64 rounds them; and what is hidden is known
    by the middle of an interval, which moves with its ends, by no more than the bound is another.
    """
    layer = Layer(r, mask=mask())
    run = layer.run()
    ways = ({}, layer.seen(run)) if r is LSTM else ({},)
    faulty = run.states["h"].copy()
    bound = certify(faulty, **layer.asked).bound
    faulty[np.unravel_index(np.nanargmax(bound), bound.shape)] += 3 * np.nanmax(bound)

    def all_of(seen: dict[str, Any], dtype: str) -> list[tuple[Array, Array, bool | None]]:
        how = {**layer.asked, **seen, "dtype": dtype}
        found = [certify(states, **how) for states in (run.states["h"], faulty)]
        gradients = layer.gradients(run)
        how |= {"cotangent": layer.cotangent, "states": run.states["h"]}
        found += certify_gradients(gradients, **how).values()
        return [(c.expected, c.bound, c.ok) for c in found]

    whole = [one for seen in ways for one in all_of(seen, "float32")]
    wide = [one for seen in ways for one in all_of(seen, "float64")]
    monkeypatch.setattr("rnn_check.certificates.layer._BLOCK", 150)
    small = [one for seen in ways for one in all_of(seen, "float32")]
    assert {ok for _, _, ok in whole} == {True, False}
    for (expected, bound, ok), (_, own, _), (other, other_bound, other_ok) in zip(
        whole, wide, small, strict=True
    ):
        assert (np.abs(other - expected) <= own + np.abs(other_bound - bound)).all()
        assert other_ok == ok


def made_twice(layer: Layer) -> tuple[Array, Array]:
    """h and c of an LSTM, of which h is made of a c that was added up with fused multiply-add."""
    W, U, b = layer.weights.values()
    h, c = layer.start
    shown = []
    for t in range(layer.x.shape[1]):
        z = np.split(layer.x[:, t] @ W + h @ U + b, 4, axis=-1)
        i, f, o = (1 / (1 + np.exp(-z[k])) for k in (0, 1, 3))
        product = i * np.tanh(z[2])
        fused = (f.astype(np.float64) * c + product).astype(np.float32)
        c = f * c + product
        h = o * np.tanh(fused)
        shown.append((h, c))
    return np.stack([h for h, _ in shown], 1), np.stack([c for _, c in shown], 1)


def test_a_cell_state_that_is_made_twice_is_no_alarm(monkeypatch: pytest.MonkeyPatch) -> None:
    """As XLA does it. Where terms cancel, the two differ by more than tanh and o round."""
    layer = Layer(LSTM, (256, 20, 1, 16), scale=0.02)
    layer.start = tuple(s * np.float32(1e-3) for s in layer.start)
    h, c = made_twice(layer)
    for seen in ({}, {"cell_states": c}, {"cell_states": c[:, -1]}):
        found = certify(h, **layer.asked, **seen)
        assert found.ok, found.reason


def handed_on(layer: Layer) -> tuple[Array, gated.Run]:
    """The states that a GRU shows, and its run over those that it hands on.

    These are added up with fused multiply-add.
    """
    T = layer.x.shape[1]
    h, shown, carried, steps = layer.start[0], [], [], []
    for t in range(T):
        run = layer.run(x=layer.x[:, t : t + 1], initial_state=(h,))
        (step,) = run.steps
        fused = step.z.astype(np.float64) * h + (1 - step.z) * step.c
        shown.append(step.h)
        h = fused.astype(np.float32)
        carried.append(h)
        steps.append(step)
    states = {"h": np.stack(carried, 1)}
    run = dataclasses.replace(layer.run(), states=states, steps=steps)
    return np.stack(shown, 1), run


@pytest.mark.parametrize("r", [GRU, GRU_BEFORE], ids=["after", "before"])
def test_a_state_that_is_made_twice_is_no_alarm(r: Recurrence) -> None:
    """As XLA does it beside a mask: a GRU hands on another state than it shows.

    Where z·h cancels (1 - z)·c, that is no small difference of h, nor of δ_r = δ_c·U_cᵀ∘h∘gate'.
    """
    layer = Layer(r, (512, 12, 1, 2))
    shown, run = handed_on(layer)
    off = np.abs(shown - run.states["h"]) / np.abs(shown)
    assert off.max() > 100 * 2.0**-24
    asked = layer.asked
    found = certify(shown, **asked)
    assert found.ok, found.reason
    results = certify_gradients(
        layer.gradients(run), cotangent=layer.cotangent, states=shown, **asked
    )
    assert [(name, c.reason) for name, c in results.items() if c.ok is not True] == []


@pytest.mark.parametrize("r", [GRU, GRU_BEFORE], ids=["after", "before"])
def test_what_is_made_of_a_state_that_is_made_twice_is_no_alarm(r: Recurrence) -> None:
    """h alone reaches the next step, and U is large: the candidate is off by what h is."""
    layer = Layer(r, (20000, 2, 1, 1))
    layer.x[:, 1] = 0
    layer.weights["bias"][:] = 0
    layer.weights["recurrent_kernel"][:] = np.float32([[0.5, 0.5, 3.7]])
    shown, _ = handed_on(layer)
    found = certify(shown, **layer.asked)
    assert found.ok, found.reason


# -- wrong -----------------------------------------------------------------------------------------


@thinned(2)
@each_recurrence
@pytest.mark.parametrize("name", ["kernel", "recurrent_kernel", "bias"])
def test_one_weight_that_is_off_is_found(r: Recurrence, name: str) -> None:
    layer = Layer(r)
    wrong = layer.weights[name].copy()
    wrong.flat[np.argmax(np.abs(wrong))] *= np.float32(1 + 1e-3)
    run = layer.run(**{name: wrong})
    for seen in ({}, layer.seen(run)):
        found = certify(run.states["h"], **layer.asked, **seen)
        assert found.ok is False
        assert found.ratio > 1


@each_recurrence
def test_a_single_state_that_is_off_is_found_where_it_is(r: Recurrence) -> None:
    layer = Layer(r)
    run = layer.run()
    h = run.states["h"].copy()
    h[2, 7, 3] *= np.float32(1 + 1e-4)
    found = certify(h, **layer.asked)
    assert found.ok is False
    assert found.where[1] in (7, 8)


def test_a_cell_state_that_is_off_is_found_where_it_is() -> None:
    layer = Layer(LSTM)
    run = layer.run()
    c = run.states["c"].copy()
    c[2, 7, 3] *= np.float32(1 + 1e-4)
    found = certify(run.states["h"], **layer.asked, cell_states=c)
    assert found.ok is False
    assert found.where in [(1, 2, 7, 3), (1, 2, 8, 3), (0, 2, 7, 3)]  # itself, or what it makes
    assert found.observed.shape == (2, B, T, H)


def test_the_last_cell_state_alone_is_held_against_the_interval() -> None:
    layer = Layer(LSTM)
    run = layer.run()
    last = run.states["c"][:, -1]
    assert certify(run.states["h"], **layer.asked, cell_states=last).ok
    wrong = last.copy()
    wrong[1, 2] *= np.float32(1 + 1e-4)
    found = certify(run.states["h"], **layer.asked, cell_states=wrong)
    assert found.ok is False
    assert found.where == (1, 1, T - 1, 2)


def test_the_last_cell_state_after_masked_steps_is_a_copy() -> None:
    there = mask()
    there[:, -4:] = False
    layer = Layer(LSTM, mask=there)
    run = layer.run()
    assert certify(run.states["h"], **layer.asked, cell_states=run.states["c"][:, -1]).ok
    assert certify(run.states["h"], **layer.asked, cell_states=run.states["c"]).ok
    off = run.states["c"].copy()
    off[0, -1, 0] = np.nextafter(off[0, -1, 0], np.float32(9))
    assert certify(run.states["h"], **layer.asked, cell_states=off).ok is False


@pytest.mark.parametrize("scale", [0.3, 1.0, 6.0])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("rounds", [1, observer._ROUNDS])
def test_hidden_steps_that_are_made_at_once_are_those_of_one_after_the_other(
    scale: float, masked: bool, rounds: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bit for bit, also where they are wrong, saturated, or no numbers."""
    layer = Layer(LSTM, (2, 40, 3, 4), scale=scale)
    states = layer.run().states["h"].copy()
    states[0, 20, 1] += np.float32(1e-3)
    states[1, 30, 2] = np.nan
    asked = dict(layer.asked)
    if masked:
        asked["mask"] = np.random.default_rng(0).uniform(size=states.shape[:2]) < 0.7

    def certified(many: int) -> Certificate:
        monkeypatch.setattr(observer, "_MANY", many)
        found = certify(states, **asked)
        assert found.bound.shape == states.shape  # made with as many at once
        return found

    monkeypatch.setattr(observer, "_ROUNDS", rounds)
    together, one_by_one = certified(2), certified(10**9)
    assert together.reason == one_by_one.reason and together.blind == one_by_one.blind
    for name in ("expected", "bound"):
        parts = (getattr(found, name) for found in (together, one_by_one))
        assert np.array_equal(*parts, equal_nan=True)


def test_a_hidden_cell_state_that_jumps_is_found() -> None:
    """h alone: c is another from one step on, and h is made of that."""
    layer = Layer(LSTM)
    run = layer.run()
    c = run.states["c"][:, 6].copy()
    c[0, 0] *= np.float32(1 + 1e-3)
    rest = layer.run(x=layer.x[:, 7:], initial_state=(run.states["h"][:, 6], c))
    h = np.concatenate([run.states["h"][:, :7], rest.states["h"]], axis=1)
    found = certify(h, **layer.asked)
    assert found.ok is False
    assert found.where == (0, 7, 0)


def test_a_saturated_cell_state_is_not_called_proved() -> None:
    """Forget and input gates of 1, an output gate of 1: c grows, tanh of it is 1, and h says
    nothing."""
    layer = Layer(LSTM, scale=0.0)
    layer.weights["bias"] = np.repeat(np.float32([30, 30, 30, 30]), H)
    layer.start = tuple(np.full_like(s, 50) for s in layer.start)
    run = layer.run()
    found = certify(run.states["h"], **layer.asked)
    assert found.ok is not False
    assert found.blind <= 1
    seen = certify(run.states["h"], **layer.asked, cell_states=run.states["c"])
    assert seen.ok is True


@thinned(10)
@each_recurrence
@pytest.mark.parametrize("gate", [0, 1, 2])
@pytest.mark.parametrize("name", ["kernel", "recurrent_kernel"])
def test_one_gates_operand_in_tf32_is_named(r: Recurrence, gate: int, name: str) -> None:
    """In a wide layer every element is within its bound, and the errors tell."""
    layer = Layer(r, (8, 6, 300, 300), scale=1.0)
    (tf32,) = (f for f in FORMATS if f.name == "TF32")
    W = layer.weights[name].copy()
    columns = slice(gate * 300, (gate + 1) * 300)
    W[:, columns] = narrowed(W[:, columns].astype(np.float64), tf32, "rounded")
    run = layer.run(**{name: W})
    found = certify(run.states["h"], **layer.asked, **layer.seen(run))
    assert found.ok is False
    if found.ratio <= 1:
        assert f"{name} of gate {r.gates[gate]} rounded to TF32" in found.reason
    honest = layer.run()
    assert certify(honest.states["h"], **layer.asked, **layer.seen(honest)).consistent_with in (
        "float32",
    )


def test_what_cannot_be_told_from_h_alone_is_said() -> None:
    layer = Layer(LSTM)
    assert (
        "is not seen where cell_states are not"
        in certify(layer.run().states["h"], **layer.asked).reason
    )


# -- NaN and infinity ------------------------------------------------------------------------------


@each_recurrence
def test_a_nan_makes_nan_and_nothing_else_does(r: Recurrence) -> None:
    layer = Layer(r)
    layer.x[1, 4, 2] = np.nan
    run = layer.run()
    h = run.states["h"]
    assert np.isnan(h[1, 4:]).all()
    assert not np.isnan(h[0]).any()
    for seen in ({}, layer.seen(run)):
        assert certify(h, **layer.asked, **seen).ok is not False
        swallowed = h.copy()
        swallowed[1, 4, 0] = 0.5
        assert certify(swallowed, **layer.asked, **seen).ok is False
        made = h.copy()
        made[0, 4, 0] = np.nan
        assert certify(made, **layer.asked, **seen).ok is False


def test_a_hidden_cell_state_that_overflows_may_be_nan() -> None:
    """relu6 of it is between 0 and 6, or NaN."""
    layer = Layer(
        LSTM, activation="relu6", recurrent_activation="relu", scale=0.0,
        seed=1,
    )  # fmt: skip
    layer.weights["bias"] = np.repeat(np.float32([1e30, 1e30, 1, 1]), H)
    layer.start = tuple(np.full_like(s, -1e30) for s in layer.start)
    with np.errstate(all="ignore"):
        h = layer.run().states["h"]
    h[:, 3:] = np.nan
    assert certify(h, **layer.asked).ok is not False


# -- gradients -------------------------------------------------------------------------------------


@thinned(8)
@each_recurrence
@pytest.mark.parametrize("masked", [False, True])
def test_each_gradient_that_is_off_is_found(r: Recurrence, masked: bool) -> None:
    layer = Layer(r, mask=mask() if masked else None)
    run = layer.run()
    right = layer.gradients(run)
    for seen in ({}, layer.seen(run)):
        for name in right:
            wrong = right | {name: right[name].copy()}
            at = np.argmax(np.abs(wrong[name]))
            wrong[name].flat[at] *= np.float32(1 + 2e-3)
            found = certify_gradients(
                wrong, cotangent=layer.cotangent, states=run.states["h"], **layer.asked, **seen
            )
            assert found[name].ok is False, name


@each_recurrence
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_products_of_gates_that_are_stored_one_by_one_are_no_alarm(
    r: Recurrence, dtype: Any
) -> None:
    """As Keras's implementation 1 takes them: dx is their sum, each rounded."""
    for seed in range(4):
        layer = Layer(r, (64, 5, F, H), dtype=dtype, seed=seed)
        run = layer.run()
        told = layer.gradients(run)
        gates, rows = len(r.gates), layer.weights["kernel"]
        parts = zip(
            np.split(told["delta"], gates, axis=-1), np.split(rows, gates, axis=-1), strict=True
        )
        each = [(d.astype(float) @ w.T.astype(float)).astype(dtype) for d, w in parts]
        told["x"] = np.asarray(sum(each[1:], each[0]))
        asked = {"cotangent": layer.cotangent, "states": run.states["h"]}
        found = certify_gradients(told, **asked, **layer.asked, **layer.seen(run))
        assert found["x"].ok is not False
        told["x"].flat[np.argmax(np.abs(told["x"]))] *= 1 + 16 * np.finfo(dtype).eps
        found = certify_gradients(told, **asked, **layer.asked, **layer.seen(run))
        assert found["x"].ok is False


@each_recurrence
def test_the_arrays_of_a_gradient_s_certificate_are_those_that_were_judged(r: Recurrence) -> None:
    """They are made when they are asked for, by going back over the sequence once more."""
    layer = Layer(r, mask=mask())
    run = layer.run()
    found = certify_gradients(
        layer.gradients(run), cotangent=layer.cotangent, states=run.states["h"],
        **layer.asked, **layer.seen(run),
    )  # fmt: skip
    for gradient in found.values():
        inexact = gradient.residual > 0
        ratios = gradient.residual[inexact] / gradient.bound[inexact]
        assert gradient.ratio == ratios.max(initial=0.0) > 0


@each_recurrence
@pytest.mark.parametrize("masked", [False, True])
def test_a_gradient_whose_sums_are_not_asked_says_so(r: Recurrence, masked: bool) -> None:
    layer = Layer(r, mask=mask() if masked else None)
    run = layer.run()
    for seen in ({}, layer.seen(run)):
        found = certify_gradients(
            layer.gradients(run), cotangent=layer.cotangent, states=run.states["h"],
            **layer.asked, **seen,
        )  # fmt: skip
        asked = bool(seen) and not masked
        silent = {name for name, c in found.items() if "sums were made is not asked" in c.reason}
        assert silent == {"initial_state", *([] if asked else ["delta"])}
        assert all(found[name].bits is None for name in silent)
        assert found["x"].bits is not None


def test_a_cotangent_of_the_cell_states_is_taken() -> None:
    layer = Layer(LSTM, mask=mask())
    run = layer.run()
    more = np.random.default_rng(5).normal(size=(B, T, H)).astype(np.float32)
    observed = layer.gradients(run, c=more)
    for seen in ({}, layer.seen(run)):
        given = {"cotangent": layer.cotangent, "states": run.states["h"], **layer.asked, **seen}
        right = certify_gradients(observed, **given, cell_cotangent=more)
        assert all(c.ok for c in right.values())
        assert certify_gradients(observed, **given)["delta"].ok is False


@pytest.mark.parametrize("r", [GRU, GRU_BEFORE], ids=["after", "before"])
def test_adjoints_that_are_made_twice_are_no_alarm(r: Recurrence) -> None:
    """As XLA does it: those that meet U have another 1 - c² than those that meet W."""
    layer = Layer(r, (1, 1, 5, 24), scale=3.0)
    run = layer.run()
    tanh = run.activation
    other = dataclasses.replace(
        tanh, vjp=lambda g, z, h: g * (1 - h * h), derivative=lambda z, h: 1 - h * h
    )
    observed = layer.gradients(run)
    again = layer.gradients(dataclasses.replace(run, activation=other))
    off = np.abs(observed["delta"] - again["delta"]) / np.abs(observed["delta"])
    assert off.max() > 100 * 2.0**-24
    observed["recurrent_kernel"] = again["recurrent_kernel"]
    if r is GRU:
        observed["bias"][1] = again["bias"][1]
    results = certify_gradients(
        observed, cotangent=layer.cotangent, states=run.states["h"], **layer.asked
    )
    assert [(name, c.reason) for name, c in results.items() if c.ok is False] == []


# -- other arithmetics, operation by operation -----------------------------------------------------


class Flushed(np.ndarray[Any, Any]):
    """Arrays of which every operation reads subnormals as zero, and writes none."""

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        plain = [flushed(np.asarray(each)) if np.ndim(each) else each for each in inputs]
        if ufunc is np.matmul:
            return flushing(*plain).view(Flushed)
        found = getattr(ufunc, method)(*plain, **options)
        return flushed(found).view(Flushed) if found.dtype.kind == "f" else found


class Executed(adversary.Legal):
    """A step whose every result is kept in some format; sums of products by `dot` in float32."""

    def __init__(self, keep: Any, dot: Any, fused: bool, names: tuple[str, str]) -> None:
        join = adversary.JOINS[2]
        super().__init__(adversary.Execution("first to last", "to nearest", fused, join), names)
        self.keep, self.dot = keep, dot

    def rounded(self, v: Array) -> Array:
        return np.asarray(self.keep(v), np.float64)

    def affine(
        self, *products: tuple[adversary.Number, Array], bias: Array | None = None
    ) -> adversary.Number:
        addends = [
            self.dot(rows.value.astype(np.float32), m.astype(np.float32)) for rows, m in products
        ]
        total = 0.0
        for each in [*addends, *([] if bias is None else np.atleast_2d(bias))]:
            total = self.rounded(total + self.rounded(np.asarray(each, np.float64)))
        return adversary.Number(self, np.asarray(total))


def in_float32_without_subnormals(v: Array) -> Array:
    return flushed(v.astype(np.float32))


KEPT = {
    "float16": (lambda v: v.astype(np.float16), blas),
    "bfloat16": (lambda v: v.astype(ml_dtypes.bfloat16), blas),
    "mixed_float16": (lambda v: v.astype(np.float16), blas),
    "mixed_bfloat16": (lambda v: v.astype(ml_dtypes.bfloat16), blas),
    "float32": (in_float32_without_subnormals, flushing),
}
MIXED = [
    ("tanh", "sigmoid"),
    ("relu", "hard_sigmoid"),
    ("softsign", "tanh"),
    ("linear", "hard_sigmoid"),
]


@each_recurrence
@pytest.mark.parametrize("how", sampled(product(KEPT, MIXED, (False, True)), 9), ids=str)
def test_a_step_in_another_arithmetic_is_no_alarm(
    r: Recurrence, how: tuple[str, tuple[str, str], bool]
) -> None:
    """float16 and bfloat16, as layers or as policies; and float32 where subnormals are zero."""
    dtype, names, fused = how
    keep, dot = KEPT[dtype]
    for scale in (1.0, 1e-19) if dtype == "float32" else (0.5,):
        layer = Layer(r, scale=0.5, activation=names[0], recurrent_activation=names[1])
        given = {"x": layer.x, **layer.weights}
        given = {n: (part * scale).astype(np.float32) for n, part in given.items()}
        n = Executed(keep, dot, fused, names)
        held = {name: n.rounded(part.astype(np.float64)) for name, part in given.items()}
        h, *c = n.states(r, held)
        asked = {**layer.asked, **given, "initial_state": None, "dtype": dtype}
        for seen in ({}, *({"cell_states": each} for each in c)):
            found = certify(h, **asked, **seen)
            assert found.ok is not False, found.reason
            if scale == 1.0 and names == MIXED[0]:
                assert found.ok, found.reason
        assert certify(h * 1.25 + 1, **asked).ok is False


@each_recurrence
@pytest.mark.parametrize("scale", [1.0, 1e-19])
def test_gradients_whose_subnormals_are_zero_are_no_alarm(r: Recurrence, scale: float) -> None:
    """Forward and back, every product and sum flushed; the cotangent so that δ are subnormal."""
    layer = Layer(r, scale=0.5)
    x, cotangent = layer.x * np.float32(scale), layer.cotangent * np.float32(scale**2)
    n = Executed(*KEPT["float32"], False, ("tanh", "sigmoid"))
    arrays = [layer.weights[name] for name in ("kernel", "recurrent_kernel", "bias")]
    w = r.arranged(*(part.astype(np.float64) for part in arrays))

    def flushes(part: Any) -> Any:
        return part.value.astype(np.float32).view(Flushed)

    zeros = np.zeros((B, H))
    now, steps, before = [adversary.Number(n, zeros) for _ in r.states], [], []
    for t in range(T):
        before.append([flushes(state) for state in now])
        step = r.step(n, w, adversary.Number(n, x[:, t].astype(np.float64)), *now)
        now = list(step[: len(now)])
        each = ([flushes(s) for s in p] if isinstance(p, list) else flushes(p) for p in step)
        steps.append(type(step)(*each))
    shown = [np.stack([np.asarray(s[k]) for s in steps], axis=1) for k in range(len(now))]

    act, gate = (ACTIVATIONS[name] for name in ("tanh", "sigmoid"))
    weights = r.arranged(*(part.view(Flushed) for part in arrays))
    later = [np.zeros((B, H), np.float32).view(Flushed) for _ in now]
    delta, dx = np.zeros((B, T, len(r.gates) * H), np.float32), np.zeros_like(x)
    dW, dU = (np.zeros_like(part).view(Flushed) for part in arrays[:2])
    for t in reversed(range(T)):
        later[0] = later[0] + cotangent[:, t].view(Flushed)
        d, own, later = r.step_back(act, gate, weights, tuple(before[t]), steps[t], *later)
        later = [part.view(Flushed) for part in later]
        delta[:, t], d = d, d.view(Flushed)
        dx[:, t] = d @ arrays[0].T.copy().view(Flushed)
        dW, dU = dW + x[:, t].T.copy().view(Flushed) @ d, dU + own
    observed = {
        "delta": delta, "x": dx, "kernel": np.asarray(dW), "recurrent_kernel": np.asarray(dU),
        "initial_state": np.asarray(later[0]),
    }  # fmt: skip
    assert (delta[:, 1:] == 0).any() == (scale < 1)  # what was flushed
    asked = {**layer.asked, "x": x, "initial_state": None}
    for seen in ({}, *({"cell_states": c} for c in shown[1:])):
        assert certify(shown[0], **asked, **seen).ok is not False
        results = certify_gradients(observed, cotangent=cotangent, states=shown[0], **asked, **seen)
        assert [(name, c.reason) for name, c in results.items() if c.ok is False] == []


# -- what does not fit -----------------------------------------------------------------------------


def test_what_does_not_fit_is_refused() -> None:
    layer = Layer(LSTM)
    h = layer.run().states["h"]
    for changed, words in (
        ({"recurrence": "mgu"}, "recurrence is 'mgu'"),
        ({"recurrence": "gru"}, "kernel has shape"),
        ({"recurrence": "simple"}, "kernel has shape"),
        ({"initial_state": layer.start[0]}, "should hold two arrays"),
        ({"cell_states": h[:, :, :-1]}, "cell_states has shape"),
        ({"recurrent_activation": "sigmod"}, "did you mean `sigmoid`"),
    ):
        with pytest.raises(ValueError, match=words):
            certify(h, **layer.asked | changed)
    gru = Layer(GRU)
    with pytest.raises(ValueError, match="cell_states are a second state, and 'gru' has none"):
        certify(gru.run().states["h"], **gru.asked, cell_states=h)


@pytest.mark.parametrize(("size", "said"), [(1e20, None), (1e15, False)])
def test_a_nan_proves_nothing_where_a_product_may_overflow_on_its_way(
    size: float, said: bool | None
) -> None:
    """c = i·gelu(s) at s far below 0: i·s overflows first in a graph that multiplies them first."""
    kernel = np.array([[size, 1, -size, 1]], np.float32)  # i, f, c, o
    nan = np.full((1, 1, 1), np.nan, np.float32)
    found = certify(
        nan, x=np.ones((1, 1, 1), np.float32), kernel=kernel, cell_states=nan[:, 0],
        recurrent_kernel=np.zeros((1, 4), np.float32), recurrence="lstm", activation="gelu",
        recurrent_activation="linear",
    )  # fmt: skip
    assert found.ok is said


@pytest.mark.parametrize("hidden", [True, False])
@pytest.mark.parametrize(("size", "said"), [(1e20, None), (1e15, False)])
def test_nor_where_a_cell_state_may_meet_its_gate_s_argument_first(
    size: float, said: bool | None, hidden: bool
) -> None:
    """f·c of f = silu(s), that is 0 far below 0: c·s overflows first."""
    kernel = np.array([[1, -1e20, 1, 1]], np.float32)  # i, f, c, o
    nan = np.full((1, 1, 1), np.nan, np.float32)
    found = certify(
        nan, x=np.ones((1, 1, 1), np.float32), kernel=kernel,
        recurrent_kernel=np.zeros((1, 4), np.float32), recurrence="lstm",
        recurrent_activation="silu", cell_states=None if hidden else nan,
        initial_state=(np.zeros((1, 1)), np.full((1, 1), size)),
    )  # fmt: skip
    assert found.ok is said


@pytest.mark.parametrize(("size", "said"), [(1e20, None), (1e15, False)])
@pytest.mark.parametrize("activation", ["relu6", "hard_sigmoid", "tanh", "softmax"])
def test_nor_where_a_weight_of_0_meets_what_overflows(
    activation: str, size: float, said: bool | None
) -> None:
    """(r∘h)·U where r∘h overflows and U is 0: inf·0, whatever values the activation has."""
    kernel = np.zeros((1, 6), np.float32)
    recurrent_kernel = np.zeros((2, 6), np.float32)
    recurrent_kernel[0, 2] = 1  # r of the first unit is its state
    start, nan = np.array([[size, 0]], np.float32), np.full((1, 1, 2), np.nan, np.float32)
    asked: dict[str, Any] = {
        "x": np.zeros((1, 1, 1), np.float32), "kernel": kernel, "initial_state": start,
        "recurrent_kernel": recurrent_kernel, "activation": activation,
        "recurrent_activation": "linear",
    }  # fmt: skip
    assert certify(nan, **asked, recurrence="gru", reset_after=False).ok is said
    whole = Running(GRU_BEFORE, **asked | {"initial_state": (start,)}).states["h"]
    assert np.isinf(whole.error).all() == (said is None)


@pytest.mark.parametrize(("size", "said"), [(1e20, None), (1e15, False)])
def test_nor_where_an_adjoint_may_meet_its_gate_s_argument_first(
    size: float, said: bool | None
) -> None:
    """The same on the way back, dc·f, of a cotangent of c at the second of two steps."""
    kernel = np.array([[1, -1e20, 1, 1]], np.float32)  # i, f, c, o
    zero, nan = np.zeros((1, 2, 1), np.float32), np.full((1, 2, 4), np.nan, np.float32)
    x = np.ones((1, 2, 1), np.float32)
    asked: dict[str, Any] = {
        "x": x, "kernel": kernel, "recurrent_kernel": np.zeros((1, 4), np.float32),
    }  # fmt: skip
    run = gated.forward(LSTM, **asked, recurrent_activation="silu")
    cell = zero.copy()
    cell[0, 1] = size
    delta = gated.backward({"h": zero, "c": cell}, run).delta
    observed = np.concatenate([nan[:, :1], delta[:, 1:]], axis=1)
    found = certify_gradients(
        {"delta": observed}, cotangent=zero, cell_cotangent=cell, states=run.states["h"], **asked,
        cell_states=run.states["c"], recurrence="lstm", recurrent_activation="silu",
    )["delta"]  # fmt: skip
    assert found.ok is said, found.reason
