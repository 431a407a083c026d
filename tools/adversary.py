"""Is a legal execution ever called wrong, however unlucky its order and its rounding?

    python -m tools.adversary             # 7,560 executions, half an hour

Layers whose every operation is simulated in float64 and rounded as the model of float32 allows:
off by a factor 1 + ε, |ε| <= 2^-24. Sums in five orders, with and without fused multiply-add,
joined in three ways; rounded to nearest, away from zero, towards it, or all by exactly 2^-24 to one
side, which no float32 does but the model permits. Data of both signs, of one sign, and such that
cancel.

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

Array = np.typing.NDArray[Any]
Rounding = Callable[[Array, Array], Array]  # what is to be rounded, the direction ±1 to go
U = 2.0**-24

SIZES = (  # F, H, B, T
    (1, 1, 8, 30), (3, 3, 6, 20), (8, 8, 6, 10), (16, 16, 4, 10), (32, 32, 4, 6), (64, 64, 2, 5),
    (128, 128, 2, 3),
)  # fmt: skip
DATA = ("normal", "positive", "cancelling")
ACTIVATIONS = ("linear", "tanh", "relu")
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


def executions() -> Iterator[Execution]:
    for order, rounding, fused, join in itertools.product(
        ORDERS, ROUNDINGS, (False, True), JOINS
    ):  # fmt: skip
        yield Execution(order, rounding, fused, join)


def draw(kind: str, F: int, H: int, B: int, T: int, seed: int = 0) -> dict[str, Any]:
    """x, kernel, recurrent_kernel and bias, in float32."""
    rng = np.random.default_rng([seed, F, H, DATA.index(kind)])
    x, W, U = rng.normal(size=(B, T, F)), rng.normal(size=(F, H)), rng.normal(size=(H, H))
    if kind == "normal":
        W, U = W / F**0.5, U / H**0.5
    elif kind == "positive":
        x, W, U = (rng.uniform(0, 1, part.shape) for part in (x, W, U))
        W, U = W / F, U / H / 2
    else:  # every feature nearly the opposite of the one before it, with the same weight
        x[..., 1::2] = -x[..., : F // 2 * 2 : 2] * (1 + 1e-3 * rng.normal(size=(B, T, F // 2)))
        W, U = np.repeat(rng.normal(size=((F + 1) // 2, H)), 2, axis=0)[:F] * 30, U / H**0.5
    parts = {"x": x, "kernel": W, "recurrent_kernel": U, "bias": 0.1 * rng.normal(size=H)}
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


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    alarms, number, unproved, largest = 0, 0, 0, 0.0
    for size in SIZES:
        for kind, activation in itertools.product(DATA, ACTIVATIONS):
            data, fewest = draw(kind, *size, seed=given.seed), np.inf
            for execution in executions():
                found = certified(execution, data, activation)
                if found is None:
                    continue
                number += 1
                unproved += found.ok is None
                largest, fewest = max(largest, found.ratio), min(fewest, found.bits or np.inf)
                if found.ok is False:
                    alarms += 1
                    print(f"ALARM {size} {kind} {activation} {execution}: {found.reason}")
            print(f"F,H,B,T {size} {kind} {activation}: fewest bits {fewest:.1f}", flush=True)
    print(
        f"{number} executions, {alarms} alarms, {unproved} not proved; largest ratio {largest:.3f}"
    )
    return bool(alarms)


if __name__ == "__main__":
    raise SystemExit(main())
