"""Is a legal execution ever called wrong, however unlucky its order and its rounding?

    python -m tools.adversary                         # 7,560 executions, half an hour
    python -m tools.adversary --recurrence lstm       # 5,040, their cell states seen or not
    python -m tools.adversary --recurrence gru        # 10,080, the reset after or before

Layers whose every operation is simulated in float64 and rounded as the model of float32 allows:
off by a factor 1 + ε, |ε| <= 2^-24. Sums in five orders, with and without fused multiply-add,
joined in three ways; rounded to nearest, away from zero, towards it, or all by exactly 2^-24 to one
side, which no float32 does but the model permits. Data of both signs, of one sign, and such that
cancel. With gates every product and sum of the step is rounded so as well, a product that is added
with or without a rounding of its own, and a GRU's z·h + (1 - z)·c written in either form.

Exits with 1 if a certificate is False.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from rnn_check import certify
from rnn_check.certificates.result import Certificate
from rnn_check.numbers import activations
from rnn_check.recurrences.kinds import GRU, GRU_BEFORE, LSTM, Recurrence

Array = np.typing.NDArray[Any]
Rounding = Callable[[Array, Array], Array]  # what is to be rounded, the direction ±1 to go
U = 2.0**-24

SIZES = (  # F, H, B, T
    (1, 1, 8, 30), (3, 3, 6, 20), (8, 8, 6, 10), (16, 16, 4, 10), (32, 32, 4, 6), (64, 64, 2, 5),
    (128, 128, 2, 3),
)  # fmt: skip
DATA = ("normal", "positive", "cancelling")
ACTIVATIONS = ("linear", "tanh", "relu")
GATED = {"lstm": (LSTM,), "gru": (GRU, GRU_BEFORE)}
ACTIVATIONS_OF_GATED = (("tanh", "sigmoid"), ("linear", "hard_sigmoid"))  # act, gate
ORDERS = ("first to last", "last to first", "largest first", "pairs", "eight lanes")
JOINS = ("one sum", "x·W + b + h·U", "x·W + h·U + b")


def nearest(v: Array, direction: Array) -> Array:
    return v.astype(np.float32).astype(np.float64)


def to_a_neighbour(v: Array, direction: Array) -> Array:
    """The neighbour on that side where it is no farther than u|v|; else the nearest."""
    near = v.astype(np.float32)
    side = np.where(direction > 0, np.inf, -np.inf).astype(np.float32)
    other = np.nextafter(near, side).astype(np.float64)
    there = np.where(direction > 0, near >= v, near <= v)
    return np.where((np.abs(other - v) <= U * np.abs(v)) & ~there, other, near.astype(np.float64))


def to_one_side(v: Array, direction: Array) -> Array:
    return v + direction * U * np.abs(v)


ROUNDINGS: dict[str, Rounding] = {
    "to nearest": nearest,
    "away": to_a_neighbour,
    "towards": lambda v, direction: to_a_neighbour(v, -direction),
    "all by 2^-24": to_one_side,
}


class Execution(NamedTuple):
    order: str
    rounding: str
    fused: bool
    join: str

    def sum(self, terms: Array, direction: Array) -> Array:
        """Of exact products (K,R,H)."""

        def rounded(v: Array) -> Array:
            return ROUNDINGS[self.rounding](v, direction)

        def add(total: Array, term: Array) -> Array:
            return rounded(total + (term if self.fused else rounded(term)))

        if self.order == "pairs":
            level = rounded(terms)
            while len(level) > 1:
                if len(level) % 2:
                    level = np.concatenate([level, np.zeros_like(level[:1])])
                level = rounded(level[0::2] + level[1::2])
            return level[0]
        if self.order == "largest first":
            terms = np.take_along_axis(terms, np.argsort(-np.abs(terms), axis=0), axis=0)
        if self.order == "last to first":
            terms = terms[::-1]
        lanes = 8 if self.order == "eight lanes" else 1
        totals = [rounded(term) for term in terms[:lanes]]
        for i, term in enumerate(terms[lanes:]):
            totals[i % lanes] = add(totals[i % lanes], term)
        total = totals[0]
        for other in totals[1:]:
            total = rounded(total + other)
        return total

    def states(self, x: Array, W: Array, U: Array, b: Array, activation: str) -> Array:
        W, U, b = (part.astype(np.float64) for part in (W, U, b))
        h, found = np.zeros((len(x), len(U))), []
        for t in range(x.shape[1]):
            of_x = x[:, t].T[:, :, None].astype(np.float64) * W[:, None, :]
            of_h = h.T[:, :, None] * U[:, None, :]
            z = of_x.sum(0) + of_h.sum(0) + b
            direction = np.where(z < 0, -1.0, 1.0)

            def rounded(v: Array, direction: Array = direction) -> Array:
                return ROUNDINGS[self.rounding](v, direction)

            if self.join == "one sum":
                bias = np.broadcast_to(b, z.shape)[None]
                z = self.sum(np.concatenate([bias, of_x, of_h]), direction)
            else:
                of_x, of_h = self.sum(of_x, direction), self.sum(of_h, direction)
                pair = (b, of_h) if self.join == "x·W + b + h·U" else (of_h, b)
                z = rounded(rounded(of_x + pair[0]) + pair[1])
            if activation == "relu":
                z = np.maximum(z, 0)
            if activation == "tanh":
                z = np.tanh(z)
                z = nearest(z, direction) if self.rounding == "all by 2^-24" else rounded(z)
            h = z
            found.append(h)
        return np.stack(found, axis=1)


class Number:
    """What a legal execution computed: with + - * as it rounds them."""

    def __init__(self, reading: Legal, value: Array, exact: Array | None = None) -> None:
        self.reading, self.value = reading, value
        self.exact = exact  # of a product, before it was rounded

    def __mul__(self, other: Number) -> Number:
        exact = self.value * other.value
        return Number(self.reading, self.reading.rounded(exact), exact)

    def __add__(self, other: Number) -> Number:
        left, right = self.value, other.value
        if self.reading.execution.fused:  # one of the two
            if self.exact is not None:
                left = self.exact
            elif other.exact is not None:
                right = other.exact
        return Number(self.reading, self.reading.rounded(left + right))

    def __sub__(self, other: Number) -> Number:
        return Number(self.reading, self.reading.rounded(self.value - other.value))


class Legal:
    """A step of a gated recurrence, read as one legal execution (see `numbers.reading`)."""

    def __init__(self, execution: Execution, names: tuple[str, str]) -> None:
        self.execution, self.names = execution, names

    def rounded(self, v: Array) -> Array:
        return ROUNDINGS[self.execution.rounding](v, np.where(v < 0, -1.0, 1.0))

    def affine(self, *products: tuple[Number, Array], bias: Array | None = None) -> Number:
        terms = [rows.value.T[:, :, None] * matrix[:, None, :] for rows, matrix in products]
        biases = [] if bias is None else list(np.atleast_2d(bias))
        z = sum(part.sum(0) for part in terms) + sum(biases)
        direction = np.where(z < 0, -1.0, 1.0)
        if self.execution.join == "one sum":
            wide = [np.broadcast_to(b, z.shape)[None] for b in biases]
            return Number(self, self.execution.sum(np.concatenate([*wide, *terms]), direction))
        addends = [self.execution.sum(part, direction) for part in terms]
        at = 1 if self.execution.join == "x·W + b + h·U" else len(addends)
        total, *others = [*addends[:at], *biases, *addends[at:]]
        for other in others:
            total = ROUNDINGS[self.execution.rounding](total + other, direction)
        return Number(self, total)

    def _activated(self, name: str, z: Number) -> Number:
        h = np.asarray(activations.activation(name).function(z.value))
        if not activations.activation(name).c:
            return Number(self, h)
        one_side = self.execution.rounding == "all by 2^-24"
        return Number(self, nearest(h, h) if one_side else self.rounded(h))

    def act(self, z: Number, name: str = "") -> Number:
        return self._activated(self.names[0], z)

    def gate(self, z: Number, name: str = "") -> Number:
        return self._activated(self.names[1], z)

    def split(self, a: Number, parts: int) -> list[Number]:
        return [Number(self, part) for part in np.split(a.value, parts, axis=-1)]

    def blend(self, z: Number, h: Number, c: Number, _: str = "h") -> Number:
        if self.execution.join == "x·W + h·U + b":
            return z * (h - c) + c
        return z * h + (Number(self, np.ones_like(z.value)) - z) * c

    def seen(self, name: str, a: Number, b: Number) -> Number:
        return a + b

    def states(self, r: Recurrence, data: dict[str, Any]) -> list[Array]:
        """(B,T,H) of each state."""
        parts = (data[n].astype(np.float64) for n in ("kernel", "recurrent_kernel", "bias"))
        w, x = r.arranged(*parts), data["x"].astype(np.float64)
        zeros = np.zeros((len(x), len(data["recurrent_kernel"])))
        now, found = [Number(self, zeros) for _ in r.states], []
        for t in range(x.shape[1]):
            now = list(r.step(self, w, Number(self, x[:, t]), *now)[: len(now)])
            found.append([state.value for state in now])
        return [np.stack(each, axis=1) for each in zip(*found, strict=True)]


def executions() -> Iterator[Execution]:
    for order, rounding, fused, join in itertools.product(
        ORDERS, ROUNDINGS, (False, True), JOINS
    ):  # fmt: skip
        yield Execution(order, rounding, fused, join)


def draw(
    kind: str, F: int, H: int, B: int, T: int, seed: int = 0, gates: int = 1
) -> dict[str, Any]:
    """x, kernel, recurrent_kernel and bias, in float32."""
    rng, G = np.random.default_rng([seed, F, H, DATA.index(kind)]), gates * H
    x, W, U = rng.normal(size=(B, T, F)), rng.normal(size=(F, G)), rng.normal(size=(H, G))
    if kind == "normal":
        W, U = W / F**0.5, U / H**0.5
    elif kind == "positive":
        x, W, U = (rng.uniform(0, 1, part.shape) for part in (x, W, U))
        W, U = W / F, U / H / 2
    else:  # every feature nearly the opposite of the one before it, with the same weight
        x[..., 1::2] = -x[..., : F // 2 * 2 : 2] * (1 + 1e-3 * rng.normal(size=(B, T, F // 2)))
        W, U = np.repeat(rng.normal(size=((F + 1) // 2, G)), 2, axis=0)[:F] * 30, U / H**0.5
    parts = {"x": x, "kernel": W, "recurrent_kernel": U, "bias": 0.1 * rng.normal(size=G)}
    return {name: part.astype(np.float32) for name, part in parts.items()}


def certified(execution: Execution, data: dict[str, Any], activation: str) -> Certificate | None:
    """None if the execution overflows."""
    with np.errstate(all="ignore"):
        states = execution.states(
            data["x"], data["kernel"], data["recurrent_kernel"], data["bias"], activation
        )
    if not np.isfinite(states).all():
        return None
    return certify(states, **data, activation=activation, dtype="float32")


def certified_with_gates(
    execution: Execution, r: Recurrence, data: dict[str, Any], names: tuple[str, str]
) -> list[Certificate]:
    """Of an LSTM twice: its cell states seen, and not; nothing if the execution overflows."""
    with np.errstate(all="ignore"):
        h, *c = Legal(execution, names).states(r, data)
    if not np.isfinite(h).all():
        return []
    given = dict(data, activation=names[0], recurrent_activation=names[1], dtype="float32")
    given |= {"recurrence": r.name, "reset_after": r is not GRU_BEFORE}
    seen: list[dict[str, Any]] = [{}, *({"cell_states": each} for each in c)]
    return [certify(h, **given, **each) for each in seen]


def with_gates(r: Recurrence, kind: str, size: tuple[int, int, int, int], seed: int) -> Any:
    data = draw(kind, *size, seed=seed, gates=len(r.gates))
    if r.biases > 1:
        data["bias"] = np.stack([data["bias"], data["bias"][::-1] / 2])
    return data


Case = tuple[str, Callable[[Execution], list[Certificate]]]


def cases(recurrence: str, seed: int) -> Iterator[Case]:
    """What is executed, in words, and how one execution of it is certified."""
    for size, kind in itertools.product(SIZES, DATA):
        for r in GATED.get(recurrence, ()):
            data = with_gates(r, kind, size, seed)
            for names in ACTIVATIONS_OF_GATED:
                reset = ", the reset before" if r is GRU_BEFORE else ""
                words = f"F,H,B,T {size} {kind} {names[0]}, {names[1]}{reset}"
                yield words, lambda e: certified_with_gates(e, r, data, names)  # noqa: B023
        for activation in ACTIVATIONS if recurrence == "simple" else ():
            data = draw(kind, *size, seed=seed)

            def simple(execution: Execution) -> list[Certificate]:
                found = certified(execution, data, activation)  # noqa: B023
                return [] if found is None else [found]

            yield f"F,H,B,T {size} {kind} {activation}", simple


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--recurrence", choices=("simple", *GATED), default="simple")
    parser.add_argument("--every", type=int, default=1, help="only each so many-th execution")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    alarms, number, made, unproved, largest = 0, 0, 0, 0, 0.0
    for words, certificates in cases(given.recurrence, given.seed):
        fewest = np.inf
        for execution in itertools.islice(executions(), 0, None, given.every):
            found = certificates(execution)
            number += bool(found)
            for each in found:
                made += 1
                unproved += each.ok is None
                largest, fewest = max(largest, each.ratio), min(fewest, each.bits or np.inf)
                if each.ok is False:
                    alarms += 1
                    print(f"ALARM {words} {execution}: {each.reason}")
        print(f"{words}: fewest bits {fewest:.1f}", flush=True)
    print(
        f"{number} executions, {made} certificates, {alarms} alarms, {unproved} not proved; "
        f"largest ratio {largest:.3f}"
    )
    return bool(alarms)


if __name__ == "__main__":
    raise SystemExit(main())
