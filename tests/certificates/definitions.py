"""Recurrences of which rnn_check knows nothing but their definition, and honest executions of any.

MGU      the minimal gated unit (Zhou et al. 2016): one gate forgets and resets, one state
COUPLED  an LSTM whose input gate is 1 - f (Greff et al. 2017): two states
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from rnn_check.numbers import activations
from rnn_check.numbers.activations import Activation
from rnn_check.numbers.formats import Array
from rnn_check.recurrences import gated
from rnn_check.recurrences.kinds import Recurrence, read
from tests.certificates.test_certify_gated import Executed
from tests.support.layers import ACTIVATIONS, random_layer
from tests.support.minimal_gated import DEFINITION as MGU
from tools import adversary

# -- an LSTM whose input gate is 1 - f -------------------------------------------------------------


class CoupledWeights(NamedTuple):
    kernel: Any  # (F,3H)
    recurrent_kernel: Any  # (H,3H)
    bias: Any  # (3H,)


class CoupledStep(NamedTuple):
    h: Any
    c: Any
    f: Any
    g: Any
    o: Any
    s: Any


def coupled_step(n: Any, w: CoupledWeights, x: Any, h: Any, c: Any) -> CoupledStep:
    """f, o = gate(…), g = act(…), c' = f∘c + (1 - f)∘g, h' = o∘act(c')."""
    s = n.split(n.affine((x, w.kernel), (h, w.recurrent_kernel), bias=w.bias), 3)
    f, g, o = n.gate(s[0], "f"), n.act(s[1], "g"), n.gate(s[2], "o")
    c = n.blend(f, c, g, "c")
    return CoupledStep(o * n.act(c, "h"), c, f, g, o, s)


def coupled_step_back(
    act: Activation, gate: Activation, w: CoupledWeights, before: tuple[Array, Array],
    s: CoupledStep, dh: Array, dc: Array,
) -> tuple[Array, Array, tuple[Array, Array]]:  # fmt: skip
    h, c = before
    t = act.function(s.c)
    dc = dc + act.vjp(dh * s.o, s.c, t)
    each = (
        gate.vjp(dc * (c - s.g), s.s[0], s.f),
        act.vjp(dc * (1 - s.f), s.s[1], s.g),
        gate.vjp(dh * t, s.s[2], s.o),
    )
    delta = np.concatenate(each, axis=-1)
    return delta, h.T @ delta, (delta @ w.recurrent_kernel.T, dc * s.f)


COUPLED = Recurrence(
    "coupled", ("f", "c", "o"), ("f", "g", "o"), ("h", "c"), 1,
    CoupledWeights, tuple, coupled_step, coupled_step_back,
)  # fmt: skip
DEFINITIONS = {"mgu": MGU, "coupled": COUPLED}

# -- honest layers of any --------------------------------------------------------------------------


@dataclass(frozen=True)
class Layer:
    """One layer, what goes in, and the cotangents of what comes out."""

    r: Recurrence
    given: dict[str, Any]  # x, kernel, recurrent_kernel, bias, mask, go_backwards
    names: tuple[str, str]  # the activation, and that of the gates
    start: tuple[Array, ...] | None
    cotangents: dict[str, Array]  # of each state, in processing order

    @property
    def asked(self) -> dict[str, Any]:
        start = self.start
        if start is not None and len(start) == 1:
            (start,) = start
        names = {"activation": self.names[0], "recurrent_activation": self.names[1]}
        return {**self.given, **names, "initial_state": start, "recurrence": self.r}

    @property
    def how(self) -> dict[str, Any]:
        """As `gated.forward` takes it."""
        names = {"activation": self.names[0], "recurrent_activation": self.names[1]}
        return {**self.given, **names, "initial_state": self.start}

    def run(self, **changed: Any) -> gated.Run:
        return gated.forward(self.r, **self.how | changed)


def second(of_states: dict[str, Array], as_: str) -> dict[str, Array]:
    """Of the second state, if there is one, as an argument."""
    return {as_: of_states["c"]} if "c" in of_states else {}


def gradients(cotangents: dict[str, Array], run: gated.Run) -> dict[str, Array]:
    """As `certify_gradients` takes them."""
    found = gated.backward(cotangents, run)._asdict()
    starts = found.pop("initial_state")
    return found | dict(zip(("initial_state", "initial_cell_state"), starts, strict=False))


def drawn(
    r: Recurrence, seed: int, dtype: Any = np.float32, *, usual: bool = False, most: int = 10
) -> Layer:
    """Layer number `seed`: shapes, masks and scales of `random_layer`, with gates.

    usual: tanh and sigmoid, else whatever activations.
    """
    rng, G = np.random.default_rng([seed, 2]), len(r.gates)
    plain = rng.uniform(size=2) < 0.4
    names = [d if usual or p else str(rng.choice(ACTIVATIONS))
             for p, d in zip(plain, ("tanh", "sigmoid"), strict=True)]  # fmt: skip
    simple = random_layer(seed, dtype, activation=names[0], most=most)

    def wide(like: Array | None) -> Array | None:
        """As many of the same scale as there are gates, side by side."""
        if like is None:
            return None
        shape = (*like.shape[:-1], like.shape[-1] * G)
        numbers = rng.choice(like.reshape(-1), size=shape) * rng.choice([-1.0, 1.0], size=shape)
        return (numbers * rng.choice([0.5, 1.0], size=shape)).astype(dtype)

    start = simple.initial_state
    c = simple.cotangent
    return Layer(
        r=r,
        given={
            "x": simple.x,
            "kernel": wide(simple.kernel),
            "recurrent_kernel": wide(simple.recurrent_kernel),
            "bias": wide(simple.bias),
            "mask": simple.mask,
            "go_backwards": simple.go_backwards,
        },
        names=(names[0], names[1]),
        start=None if start is None else tuple(start[::s] for s in (1, -1)[: len(r.states)]),
        cotangents={name: c[::s].copy() for name, s in zip(r.states, (1, -1), strict=False)},
    )


# -- executions in any arithmetic, operation by operation ------------------------------------------


class Reading(Executed):
    """A step whose every result is kept in some format, with masks."""

    def where(self, keep: Array, new: Any, old: Any) -> adversary.Number:
        return adversary.Number(self, np.where(keep, new.value, old.value))


def kept_by(keep: Callable[[Array], Array]) -> type[np.ndarray[Any, Any]]:
    """Arrays of float32 of which every operation keeps what it makes in some format."""

    class Kept(np.ndarray[Any, Any]):
        def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
            plain = [np.asarray(each) if isinstance(each, np.ndarray) else each for each in inputs]
            options.pop("out", None)
            found = getattr(ufunc, method)(*plain, **options)
            if not isinstance(found, np.ndarray | np.floating) or found.dtype.kind != "f":
                return found
            return np.asarray(keep(np.asarray(found)), np.float32).view(Kept)

    return Kept


def in_format(layer: Layer, keep: Callable[[Array], Array]) -> Layer:
    """The same, its initial states and cotangents numbers of that format."""

    def held(array: Array) -> Array:
        return np.asarray(keep(array), np.float32)

    start = None if layer.start is None else tuple(map(held, layer.start))
    cotangents = {name: held(c) for name, c in layer.cotangents.items()}
    return dataclasses.replace(layer, start=start, cotangents=cotangents)


def executed(
    layer: Layer, keep: Callable[[Array], Array], dot: Any, fused: bool
) -> tuple[dict[str, Array], dict[str, Array]]:
    """The states and the gradients of an honest execution that keeps every result so."""
    r = layer.r
    n = Reading(keep, dot, fused, layer.names)
    kind = kept_by(keep)

    def held(array: Any) -> Array:
        return np.asarray(keep(np.asarray(array)), np.float32)

    names = ("x", "kernel", "recurrent_kernel", "bias")
    how = {name: None if p is None else held(p) for name, p in layer.how.items() if name in names}
    given = read(r, **layer.how | how)
    W, U, b = (None if p is None else p.astype(np.float64) for p in given[1:4])
    numbers = (
        [adversary.Number(n, p.astype(np.float64)) for p in ps] for ps in (given.x, given.start)
    )
    x, first = numbers

    def kept(part: Any) -> Any:
        if isinstance(part, list):
            return [kept(each) for each in part]
        return part.value.astype(np.float32).view(kind)

    made, states = [], []
    for one, after in gated.steps(n, r, r.arranged(W, U, b), x, first, given.skip):
        made.append(type(one)(*map(kept, one)))
        states.append([kept(state) for state in after])
    shown = {
        name: np.stack([s[k] for s in states], 1).view(kind) for k, name in enumerate(r.states)
    }
    act, gate = (activations.activation(name) for name in layer.names)
    arrays = tuple(None if p is None else p.view(kind) for p in given[1:4])
    run = gated.Run(
        r, shown, {}, act, gate, given.go_backwards, given.x.view(kind), arrays,  # type: ignore[arg-type]
        tuple(s.view(kind) for s in given.start), made, given.skip,
    )  # fmt: skip
    found = gradients({name: c.view(kind) for name, c in layer.cotangents.items()}, run)
    return (
        {name: np.asarray(array) for name, array in shown.items()},
        {name: held(array) for name, array in found.items()},
    )


def alarms(found: dict[str, Any]) -> Iterator[str]:
    for name, certificate in found.items():
        if certificate.ok is False:
            yield f"{name}: {certificate.reason}"
