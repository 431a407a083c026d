"""Is a recurrence certified of which nothing is known but its definition?

Two that rnn_check does not have, and that no module of it names (see `definitions`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import mpmath
import numpy as np
import pytest

from rnn_check import certify, certify_gradients
from rnn_check.certificates.result import Certificate
from rnn_check.claims.expectations.case import Malformed, Unproved, given
from rnn_check.numbers.formats import Array
from rnn_check.recurrences import gated, kinds, running
from rnn_check.recurrences.kinds import Recurrence
from tests.certificates import definitions
from tests.certificates.definitions import (
    COUPLED,
    DEFINITIONS,
    MGU,
    Layer,
    alarms,
    drawn,
    executed,
    gradients,
    in_format,
    second,
)
from tests.certificates.test_certify_gated import KEPT
from tests.support import minimal_gated
from tests.support.sampling import long, thinned
from tools import adversary

each_definition = pytest.mark.parametrize("r", DEFINITIONS.values(), ids=DEFINITIONS)
B, T, F, H = 4, 8, 3, 5


def layer_of(
    r: Recurrence, seed: int = 0, dtype: Any = np.float32, sizes: Any = (B, T, F, H), scale: Any = 1
) -> Layer:
    """Of numbers as layers have them, with a mask that skips some steps, no first one."""
    (B, T, F, H), rng, G = sizes, np.random.default_rng(seed), len(r.gates)

    def normal(*shape: int, size: float = 1.0) -> Array:
        return (size * rng.normal(size=shape)).astype(dtype)

    given = {
        "x": normal(B, T, F), "kernel": normal(F, G * H, size=scale * F**-0.5),
        "recurrent_kernel": normal(H, G * H, size=scale * H**-0.5), "bias": normal(G * H),
        "mask": (rng.uniform(size=(B, T)) < 0.7) | (np.arange(T) == 0),
    }  # fmt: skip
    start = tuple(normal(B, H) for _ in r.states)
    cotangents = {name: normal(B, T, H) for name in r.states}
    return Layer(r, given, ("tanh", "sigmoid"), start, cotangents)


def forward(layer: Layer, states: dict[str, Array], **changed: Any) -> Certificate:
    return certify(states["h"], **layer.asked | second(states, "cell_states") | changed)


def backward(
    layer: Layer, states: dict[str, Array], observed: dict[str, Array], **changed: Any
) -> dict[str, Certificate]:
    more = second(states, "cell_states") | second(layer.cotangents, "cell_cotangent")
    return certify_gradients(
        observed, cotangent=layer.cotangents["h"], states=states["h"],
        **layer.asked | more | changed,
    )  # fmt: skip


def everything(
    layer: Layer, states: dict[str, Array], observed: dict[str, Array], **changed: Any
) -> dict[str, Certificate]:
    found = backward(layer, states, observed, **changed)
    return {"states": forward(layer, states, **changed)} | found


# -- the definitions themselves --------------------------------------------------------------------


def by_hand(r: Recurrence, layer: Layer) -> list[list[Any]]:
    """The last states of the first sample, in mpmath: no matrix, no library."""
    W, U, b = (layer.given[n] for n in ("kernel", "recurrent_kernel", "bias"))

    def gate(z: Any) -> Any:
        return 1 / (1 + mpmath.exp(-z))

    def argument(t: int, h: list[Any], column: int) -> Any:
        x = layer.given["x"][0, t]
        of_x = sum(mpmath.mpf(x[k]) * W[k, column] for k in range(F))
        return of_x + sum(h[k] * U[k, column] for k in range(H)) + b[column]

    assert layer.start is not None
    h, *c = ([mpmath.mpf(v) for v in s[0]] for s in layer.start)
    for t in np.flatnonzero(layer.given["mask"][0]):
        if r is MGU:
            f = [gate(argument(t, h, j)) for j in range(H)]
            reset = [f[j] * h[j] for j in range(H)]
            new = [mpmath.tanh(argument(t, reset, H + j)) for j in range(H)]
            h = [f[j] * new[j] + (1 - f[j]) * h[j] for j in range(H)]
            continue
        f, g, o = ([argument(t, h, n * H + j) for j in range(H)] for n in range(3))
        f = [gate(v) for v in f]
        c = [[f[j] * c[0][j] + (1 - f[j]) * mpmath.tanh(g[j]) for j in range(H)]]
        h = [gate(o[j]) * mpmath.tanh(c[0][j]) for j in range(H)]
    return [h, *c]


@each_definition
def test_the_definition_is_its_equations_in_fifty_digits(r: Recurrence) -> None:
    layer = layer_of(r, dtype=np.float64)
    found, bounds = layer.run(), running.Running(r, **layer.how, arithmetic="float64").states
    with mpmath.workdps(50):
        wanted = dict(zip(r.states, by_hand(r, layer), strict=True))
    for name, values in wanted.items():
        off = np.abs(found.states[name][0, -1] - np.array([float(v) for v in values]))
        assert (off <= 2 * bounds[name].error[0, -1]).all()


@each_definition
def test_the_way_back_is_that_of_complex_steps(r: Recurrence) -> None:
    layer = layer_of(r, 1, np.float64)
    found = gated.backward(layer.cotangents, layer.run())
    _, bound = running.Running(r, **layer.how, arithmetic="float64").gradients(layer.cotangents)
    for name in ("x", "kernel", "recurrent_kernel", "bias"):
        array = layer.given[name]
        for at in list(np.ndindex(array.shape))[::7]:
            moved = array.astype(np.clongdouble)
            moved[at] += 1e-30j
            states = layer.run(**{name: moved}).states
            wanted = sum((states[n] * c).sum() for n, c in layer.cotangents.items()).imag / 1e-30
            assert abs(getattr(found, name)[at] - wanted) <= 2 * getattr(bound, name)[at]


@each_definition
def test_an_honest_execution_is_within_the_running_bounds(r: Recurrence) -> None:
    layer = layer_of(r, 2)
    run, bounds = layer.run(), running.Running(r, **layer.how)
    for name, (value, error) in bounds.states.items():
        assert (np.abs(run.states[name] - value) <= error).all()
    value, error = (g._asdict() for g in bounds.gradients(layer.cotangents))
    for name, got in gated.backward(layer.cotangents, run)._asdict().items():
        for parts in zip(*map(np.atleast_1d, (got, value[name], error[name])), strict=True):
            assert (np.abs(parts[0] - parts[1]) <= parts[2]).all(), name


def test_what_a_step_does_with_its_states_is_read_off_it() -> None:
    assert (MGU.sums, MGU.taken_of) == ({"h"}, {})
    assert (COUPLED.sums, COUPLED.taken_of) == ({"c"}, {"h": "c"})
    assert (kinds.GRU.sums, kinds.LSTM.sums, kinds.SIMPLE.sums) == ({"h"}, {"c"}, set())
    assert kinds.LSTM.taken_of == {"h": "c"}


def test_a_state_goes_by_its_name() -> None:
    """What is blended is h where no name says which, and would be taken for it."""

    def deeper(n: Any, w: Any, x: Any, h: Any, name: str) -> Any:
        inner = n.blend(n.gate(n.affine((x, w.gate)), "f"), h, h, name)
        return definitions.MGU.step(n, w, x, inner)

    layer = layer_of(COUPLED)
    other = dataclasses.replace(layer, r=dataclasses.replace(COUPLED, step=unnamed))
    with pytest.raises(ValueError, match="calls 'h' in the step of 'coupled' is not the state"):
        forward(other, layer.run().states)
    with pytest.raises(ValueError, match="calls 'h' in the step of 'coupled' is not the state"):
        backward(other, layer.run().states, {"x": layer.given["x"]})
    each = (partial(deeper, name=name) for name in ("h", "inner"))
    same, other = (dataclasses.replace(layer_of(MGU), r=dataclasses.replace(MGU, step=step))
                   for step in each)  # fmt: skip
    with pytest.raises(ValueError, match="calls 'h' in the step of 'mgu' is not the state"):
        forward(same, same.run().states)
    assert forward(other, other.run().states).ok


# -- honest ----------------------------------------------------------------------------------------


@each_definition
def test_an_honest_layer_is_proved(r: Recurrence) -> None:
    for seed in range(4):
        layer = layer_of(r, seed)
        run = layer.run()
        found = everything(layer, run.states, gradients(layer.cotangents, run))
        assert all(c.ok for c in found.values()), list(alarms(found))
        assert "how its sums were made is not asked" in found["states"].reason
        assert "not each adjoint of the one after it" in found["kernel"].reason
        assert len(found) == 6 + len(r.states)


@np.errstate(all="ignore")
@thinned(59)
@each_definition
@pytest.mark.parametrize("first", range(0, 600, 20))
def test_no_random_layer_is_called_wrong(r: Recurrence, first: int) -> None:
    """From subnormal to saturating, whatever activations, masks, directions and starts."""
    proved = 0
    for seed in range(first, first + 20):
        layer = drawn(r, seed, (np.float32, np.float32, np.float64)[seed % 3])
        run = layer.run()
        found = everything(layer, run.states, gradients(layer.cotangents, run))
        assert list(alarms(found)) == [], (seed, layer.names)
        proved += all(c.ok for c in found.values())
    assert proved >= 8


@np.errstate(all="ignore")
@thinned(13)
@each_definition
@pytest.mark.parametrize("first", range(0, 40, 10))
@pytest.mark.parametrize("dtype", KEPT)
def test_nor_in_another_arithmetic(r: Recurrence, first: int, dtype: str) -> None:
    """float16 and bfloat16, as layers or as policies; and float32 where subnormals are zero."""
    keep, dot = KEPT[dtype]
    for seed in range(first, first + 10):
        layer = drawn(r, seed, np.float16 if "float16" in dtype else np.float32)
        layer = layer if dtype == "float32" else in_format(layer, keep)
        states, observed = executed(layer, keep, dot, fused=seed % 2 == 0)
        found = everything(layer, states, observed, dtype=dtype)
        assert list(alarms(found)) == [], (seed, layer.names)


@thinned(5)
@each_definition
@pytest.mark.parametrize("execution", list(adversary.executions())[::9], ids=str)
def test_nor_by_any_order_of_summation_or_rounding(
    r: Recurrence, execution: adversary.Execution
) -> None:
    layer = dataclasses.replace(layer_of(r, 3), start=None)
    layer.given["mask"] = None
    n = adversary.Legal(execution, layer.names)
    states = dict(zip(r.states, n.states(r, layer.given), strict=True))
    found = forward(layer, states, dtype="float32")
    assert found.ok, found.reason


def handed_on(layer: Layer) -> tuple[dict[str, Array], gated.Run]:
    """The states that a layer without a mask shows, and its run over those that it hands on.

    A state that is a sum is another there: it is added up with fused multiply-add.
    """
    r, shown, carried, made = layer.r, [], [], []
    assert layer.start is not None
    states = layer.start
    for t in range(layer.given["x"].shape[1]):
        x = layer.given["x"][:, t : t + 1]
        (s,) = layer.run(x=x, mask=None, initial_state=states).steps
        shown.append(tuple(s[: len(states)]))
        old, new = (states[0], s.c) if r is MGU else (s.g, states[1])
        fused = s.f.astype(np.float64) * new + (1 - s.f) * old
        states = (*s[: len(states) - 1], fused.astype(np.float32))
        carried.append(states)
        made.append(s)

    def named(parts: list[tuple[Array, ...]]) -> dict[str, Array]:
        each = zip(*parts, strict=True)
        return {name: np.stack(part, 1) for name, part in zip(r.states, each, strict=True)}

    run = dataclasses.replace(layer.run(mask=None), states=named(carried), steps=made)
    return named(shown), run


@each_definition
def test_a_state_that_is_made_twice_is_no_alarm(r: Recurrence) -> None:
    layer = layer_of(r, 1, sizes=(512, 12, 1, 2))
    layer.given["mask"] = None
    shown, run = handed_on(layer)
    (name,) = r.sums
    off = np.abs(shown[name] - run.states[name]) / np.abs(shown[name])
    assert off.max() > 30 * 2.0**-24
    found = everything(layer, shown, gradients(layer.cotangents, run))
    assert all(c.ok for c in found.values()), list(alarms(found))


# -- masks -----------------------------------------------------------------------------------------


def of_first_steps_masked(r: Recurrence, zeroed: bool) -> tuple[Layer, dict[str, Array]]:
    layer = layer_of(r, 5)
    layer.given["mask"][:, :2] = False
    layer.given["mask"][0] = False  # nothing counts
    states = dict(layer.run().states)
    if zeroed:
        states["h"] = np.where(layer.given["mask"][:, :, None], states["h"], 0)
    return layer, states


@each_definition
@pytest.mark.parametrize("shows", ["copies", "zeros first", "zeros"])
def test_gradients_before_a_first_step_that_counts(r: Recurrence, shows: str) -> None:
    """Copies hand their cotangents on to the initial state; zeros do not."""
    layer, states = of_first_steps_masked(r, shows == "zeros")
    mask = layer.given["mask"]
    first = np.cumsum(mask, axis=1) == 0
    if shows == "zeros first":
        states["h"] = np.where(first[:, :, None], 0, states["h"])
    counts = {"copies": mask | True, "zeros first": ~first, "zeros": mask}[shows]
    cotangents = dict(layer.cotangents)
    cotangents["h"] = np.where(counts[:, :, None], cotangents["h"], 0)
    zeroed = {"zero_output_for_mask": shows == "zeros"}
    run = layer.run()
    found = everything(layer, states, gradients(cotangents, run), **zeroed)
    assert all(c.ok for c in found.values()), list(alarms(found))
    other = {"copies": ~first, "zeros first": mask | True, "zeros": ~first}[shows]
    cotangents["h"] = np.where(other[:, :, None], layer.cotangents["h"], 0)
    others = gradients(cotangents, run)
    assert backward(layer, states, others, **zeroed)["initial_state"].ok is False


@each_definition
def test_a_state_that_the_mask_does_not_copy_is_found(r: Recurrence) -> None:
    layer = layer_of(r)
    run = layer.run()
    for name in r.states:
        states = {n: array.copy() for n, array in run.states.items()}
        b, t = np.argwhere(~layer.given["mask"])[-1]
        states[name][b, t] = run.steps[t][r.states.index(name)][b]
        assert forward(layer, states).ok is False


# -- faults ----------------------------------------------------------------------------------------


@each_definition
def test_gates_that_are_exchanged_are_found(r: Recurrence) -> None:
    layer, G = layer_of(r), len(r.gates)
    for one in range(G):
        for other in range(one):
            order = list(range(G))
            order[one], order[other] = other, one
            swapped = {
                name: np.concatenate([np.split(layer.given[name], G, -1)[k] for k in order], -1)
                for name in ("kernel", "recurrent_kernel", "bias")
            }
            run = layer.run(**swapped)
            found = everything(layer, run.states, gradients(layer.cotangents, run))
            assert [n for n, c in found.items() if c.ok is not False] == []


@each_definition
@pytest.mark.parametrize("name", ["kernel", "recurrent_kernel", "bias"])
def test_weights_that_are_off_are_found(r: Recurrence, name: str) -> None:
    layer = layer_of(r)
    run = layer.run(**{name: layer.given[name] * np.float32(1 + 1e-4)})
    assert forward(layer, run.states).ok is False
    one = layer.given[name].copy()
    one.reshape(-1)[one.size // 2] *= np.float32(1.01)
    assert forward(layer, layer.run(**{name: one}).states).ok is False


def reset_after(n: Any, w: Any, x: Any, h: Any) -> Any:
    """The minimal gated unit, if its reset came after the product."""
    s_f = n.affine((x, w.gate), (h, w.recurrent_gate), bias=w.gate_bias)
    f = n.gate(s_f, "f")
    q = n.affine((h, w.recurrent_candidate))
    s_c = n.affine((x, w.candidate), bias=w.candidate_bias) + f * q
    c = n.act(s_c, "c")
    return minimal_gated.Step(n.blend(f, c, h), f, c, [s_f, s_c], q)


def of_cell(blend: Callable[..., Any]) -> Callable[..., Any]:
    """The coupled LSTM, if its cell state were made so, of f, c and g."""

    def step(n: Any, w: Any, x: Any, h: Any, c: Any) -> Any:
        s = n.split(n.affine((x, w.kernel), (h, w.recurrent_kernel), bias=w.bias), 3)
        f, g, o = n.gate(s[0], "f"), n.act(s[1], "g"), n.gate(s[2], "o")
        c = blend(n, f, c, g)
        return definitions.CoupledStep(o * n.act(c, "h"), c, f, g, o, s)

    return step


uncoupled = of_cell(lambda n, f, c, g: n.blend(f, g, c, "c"))  # f weighs the candidate
unnamed = of_cell(lambda n, f, c, g: n.blend(f, c, g))


@pytest.mark.parametrize(("r", "step"), [(MGU, reset_after), (COUPLED, uncoupled)])
def test_another_step_is_found(r: Recurrence, step: Callable[..., Any]) -> None:
    layer = layer_of(r)
    other = dataclasses.replace(r, step=step)
    states = dataclasses.replace(layer, r=other).run().states
    assert forward(layer, states).ok is False
    assert forward(dataclasses.replace(layer, r=other), states).ok is True


@each_definition
def test_a_single_state_that_is_off_is_found_where_it_is(r: Recurrence) -> None:
    layer = layer_of(r)
    layer.given["mask"] = None
    run = layer.run()
    for name in r.states:
        states = {n: array.copy() for n, array in run.states.items()}
        states[name][1, 4, 3] += np.float32(1e-4)
        found = forward(layer, states)
        assert found.ok is False
        assert found.first[-3:] == (1, 4, 3)


def cut(r: Recurrence, at: str) -> Recurrence:
    """The same recurrence, its gradient cut somewhere."""

    def back(act: Any, gate: Any, w: Any, before: Any, s: Any, *g: Array) -> Any:
        if at == "the cell":
            g = (g[0], 0 * g[1])
        delta, dU, later = r.step_back(act, gate, w, before, s, *g)
        if at in r.gates:
            H, k = g[0].shape[-1], r.gates.index(at)
            own = slice(k * H, (k + 1) * H)
            delta, dU = delta.copy(), dU.copy()
            delta[:, own] = dU[:, own] = 0
        if at == "h":
            later = (0 * later[0], *later[1:])
        if at == "c":
            later = (later[0], 0 * later[1])
        if at == "dU":
            dU = np.asarray(before[0].T @ delta)
        if at == "the reset":
            (dh,), (h,) = g, before
            d_f = gate.vjp(dh * (s.c - h), s.s[0], s.f)
            H = d_f.shape[-1]
            dU = np.concatenate([h.T @ d_f, dU[:, H:]], axis=-1)
            delta = np.concatenate([d_f, delta[:, H:]], axis=-1)
        return delta, dU, later

    return dataclasses.replace(r, step_back=back)


def cuts() -> Iterator[Any]:
    for r in DEFINITIONS.values():
        places = [*r.gates, *r.states, *(("the reset", "dU") if r is MGU else ("the cell",))]
        for at in dict.fromkeys(places):
            yield pytest.param(r, at, id=f"{r.name}-{at}")


@pytest.mark.parametrize(("r", "at"), list(cuts()))
@pytest.mark.parametrize("masked", [pytest.param(False, marks=long), True])
def test_a_gradient_that_is_cut_is_found(r: Recurrence, at: str, masked: bool) -> None:
    layer = layer_of(r, 4)
    if not masked:
        layer.given["mask"] = None
    run = layer.run()
    wrong = gradients(layer.cotangents, dataclasses.replace(run, recurrence=cut(r, at)))
    found = backward(layer, run.states, wrong)
    assert any(c.ok is False for c in found.values())
    without = {name: array for name, array in wrong.items() if name != "delta"}
    assert any(c.ok is False for c in backward(layer, run.states, without).values())


@each_definition
def test_each_gradient_that_is_off_is_found_alone(r: Recurrence) -> None:
    layer = layer_of(r, 4, sizes=(1, 3, F, H))
    run = layer.run()
    right = gradients(layer.cotangents, run)
    for name, array in right.items():
        off = array.copy()
        off.reshape(-1)[np.argmax(np.abs(off))] *= np.float32(1.01)
        for wrong in (0 * array, off):
            found = backward(layer, run.states, right | {name: wrong})
            assert [n for n, c in found.items() if c.ok is False] == [name]


@each_definition
def test_a_gradient_that_the_mask_does_not_stop_is_found(r: Recurrence) -> None:
    layer = layer_of(r, 4)
    run = layer.run()
    found = backward(layer, run.states, gradients(layer.cotangents, layer.run(mask=None)))
    assert [name for name, c in found.items() if c.ok is not False] == []
    # δ of a skipped step is 0
    wrong = gradients(layer.cotangents, run)
    wrong["delta"][~layer.given["mask"]] = np.float32(1e-30)
    assert backward(layer, run.states, wrong)["delta"].ok is False


# -- as any other is asked -------------------------------------------------------------------------


@each_definition
def test_printed_numbers_are_judged_by_their_digits(r: Recurrence) -> None:
    layer = layer_of(r, 6)
    layer.given["mask"] = None
    run = layer.run()
    printed = {name: np.round(array, 5) for name, array in run.states.items()}
    observed = {n: np.round(g, 4) for n, g in gradients(layer.cotangents, run).items()}
    digits = {"states": 5, **({"cell_states": 5} if r is COUPLED else {})}
    assert forward(layer, printed, reading=digits).ok
    found = backward(layer, printed, observed, reading=digits | {"observed": 4})
    assert all(c.ok for c in found.values()), list(alarms(found))
    printed["h"][1, 3, 2] += np.float32(1e-3)
    assert forward(layer, printed, reading=digits).ok is False
    if r is COUPLED:  # what c is goes on from step to step
        h = np.round(run.states["h"], 5)
        assert certify(h, **layer.asked, reading={"states": 5}).ok


@each_definition
def test_its_arrays_may_stand_time_major(r: Recurrence) -> None:
    layer = layer_of(r)
    run = layer.run()
    turned = {name: layer.given[name].swapaxes(0, 1) for name in ("x", "mask")}
    more = {name: c.swapaxes(0, 1) for name, c in second(run.states, "cell_states").items()}
    h = run.states["h"].swapaxes(0, 1)
    found = certify(h, **layer.asked | turned | more, layout="time_major")
    assert found.ok
    assert found.ratio == forward(layer, run.states).ratio


def test_it_is_known_by_its_name_where_it_is_one_of_the_kinds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    layer = layer_of(MGU)
    run = layer.run()
    monkeypatch.setitem(kinds.KINDS, "mgu", MGU)
    assert forward(layer, run.states, recurrence="mgu").ok
    found = forward(layer, {"h": run.states["h"] * np.float32(1.01)}, recurrence="mgu")
    assert found.ok is False
    assert found.causes == ()  # which no claim may name
    with pytest.raises(ValueError, match="should be 'simple', 'gru', 'lstm' or 'mgu'"):
        forward(layer, run.states, recurrence="mgru")


def test_another_one_of_a_name_that_is_known_is_not_taken_for_it() -> None:
    layer = dataclasses.replace(layer_of(MGU), r=dataclasses.replace(MGU, name="gru"))
    run = layer.run()
    assert forward(layer, run.states).ok
    found = forward(layer, {"h": run.states["h"] * np.float32(1.01)})
    assert found.ok is False
    assert found.causes == ()
    with pytest.raises(ValueError, match="recurrence is your own 'gru'"):
        forward(layer, run.states, layout="onnx")


@np.errstate(all="ignore")
@each_definition
def test_what_overflows_is_no_alarm_and_nan_makes_nan(r: Recurrence) -> None:
    layer = layer_of(r, 3)
    layer.given["mask"] = None
    for activation in ("relu", "linear"):
        layer = dataclasses.replace(layer, names=(activation, "linear"))
        run = layer.run(kernel=layer.given["kernel"] * np.float32(1e10))
        layer.given["kernel"] = run.arrays[0]
        assert not np.isfinite(run.states["h"]).all()
        found = everything(layer, run.states, gradients(layer.cotangents, run))
        assert list(alarms(found)) == []
    layer = layer_of(r, 3)
    layer.given["x"][1, 3, 0] = np.nan
    run = layer.run()
    found = everything(layer, run.states, gradients(layer.cotangents, run))
    assert list(alarms(found)) == []
    states = {name: np.nan_to_num(array) for name, array in run.states.items()}
    assert forward(layer, states).ok is False


def test_of_a_claim_a_hidden_state_is_no_fault_of_the_subject() -> None:
    layer = layer_of(COUPLED)
    run = layer.run()
    with pytest.raises(Unproved, match="cell_states should be given, c after every step"):
        given(certify, run.states["h"], **layer.asked)
    asked = {**layer.asked, "cotangent": layer.cotangents["h"], "states": run.states["h"]}
    with pytest.raises(Unproved, match="cell_states should be given, c after every step"):
        given(certify_gradients, {"x": layer.given["x"]}, **asked)
    with pytest.raises(Malformed):
        given(certify, run.states["h"][:, 1:], **layer.asked)


def test_what_does_not_fit_is_refused() -> None:
    mgu, coupled = layer_of(MGU), layer_of(COUPLED)
    for layer, changed, words in (
        (mgu, {"recurrence": "mgu"}, "recurrence is 'mgu', but should be 'simple'"),
        (mgu, {"recurrence": [MGU]}, "recurrence is "),
        (mgu, {"cell_states": mgu.cotangents["h"]}, "'mgu' has none"),
        (mgu, {"kernel": mgu.given["kernel"][:, :-1]}, "2 gates of H units"),
        (mgu, {"layout": "torch"}, "layout='torch' is of simple, lstm, gru, and .* 'mgu'"),
        (mgu, {"layout": "onnx"}, "layout='onnx' is of simple, lstm, gru, and .* 'mgu'"),
        (coupled, {"cell_states": None}, "cell_states should be given, c after every step"),
        (coupled, {"cell_states": coupled.cotangents["c"][:, -1]}, "after every step"),
        (coupled, {"initial_state": coupled.cotangents["c"][:, 0]}, "two arrays .*, of h and of c"),
        (
            coupled,
            {"recurrence": dataclasses.replace(COUPLED, states=("h", "c", "m"))},
            "more states than two",
        ),
    ):
        run = layer.run()
        observed = gradients(layer.cotangents, run)
        with pytest.raises(ValueError, match=words):
            forward(layer, run.states, **changed)
        with pytest.raises(ValueError, match=words):
            backward(layer, run.states, observed, **changed)
    states = mgu.run().states
    with pytest.raises(ValueError, match="'mgu' has none"):
        backward(mgu, states, {}, cell_cotangent=states["h"])
    with pytest.raises(ValueError, match="should begin with 'h'"):
        dataclasses.replace(COUPLED, states=("c", "h"))
