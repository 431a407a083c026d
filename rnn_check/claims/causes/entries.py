"""Which one number of a claim's arrays, and what should it be?

Each entry is tried with its sign changed, as 0, and as what the claim's numbers make of it: the
secant method, over the numbers that are claimed. What is found is told with as few digits as agree.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from rnn_check.claims.causes.experiments import Cause
from rnn_check.claims.claim import Claim
from rnn_check.claims.layers import Carrying
from rnn_check.claims.written import Array, Given

MOST_ROUNDS = 8  # of the secant method
MOST_DIGITS = 9  # after the point, of what an entry should be
MOST_FITTED = 16  # units whose bias is fitted

# the numbers that a claim makes true beside those that it claims, one after the other, each divided
# by how far off it may be; and whether all of them agree
Look = Callable[[Cause], tuple[Array, bool] | None]
At = Callable[[float], tuple[Array, bool] | None]  # the same of one entry


@dataclass(frozen=True)
class Family:
    """One array of a claim, of which single entries are changed."""

    name: str  # "recurrent_kernel", "x"
    given: Given
    with_: Callable[[Given], Claim]
    turned: bool = False  # whether the author's matrix is the transposed one

    def at(self, index: tuple[int, ...], value: float) -> Claim:
        """The claim with one entry changed, which is exactly that."""
        changed = self.given.each(np.copy)
        for part in (changed.value, changed.lo, changed.hi):
            part[index] = value
        changed.error[index] = 0.0 if self.given.error[index] == 0 else abs(value) * 2.0**-53
        return self.with_(changed)

    def told(self, index: tuple[int, ...]) -> str:
        order = index[::-1] if self.turned else index
        return self.name + "".join(f"[{i}]" for i in order)


def families(claim: Claim) -> list[Family]:
    """Weights layer by layer, then the input and the initial state."""
    assert claim.weights is not None and claim.x is not None
    found = []
    turned = claim.gates.layout == "W·x"
    for layer, table in claim.weights.items():
        first = next(each for each in claim.layers if isinstance(each, Carrying))
        for path, given in table.items():

            def with_(array: Given, layer: str = layer, path: str = path) -> Claim:
                assert claim.weights is not None
                own = {**claim.weights[layer], path: array}
                return dataclasses.replace(claim, weights={**claim.weights, layer: own})

            name = path if layer == first.name else f"{layer}.{path}"
            found.append(Family(name, given, with_, turned and path.endswith("kernel")))
    found.append(Family("x", claim.x, lambda a: dataclasses.replace(claim, x=a)))
    if claim.initial_state is not None:
        start = claim.initial_state
        found.append(
            Family("initial_state", start, lambda a: dataclasses.replace(claim, initial_state=a))
        )
    return found


def entries(claim: Claim) -> int:
    return sum(family.given.value.size for family in families(claim))


def causes(claim: Claim, look: Look, honest: Array) -> Iterator[Cause]:
    """Of single entries, those with which all that is claimed agrees.

    honest: what `look` says of the claim itself.
    """
    for family in families(claim):
        for index in np.ndindex(family.given.shape):
            found = _entry(family, index, look, honest)
            if found is not None:
                yield found


def _entry(family: Family, index: tuple[int, ...], look: Look, honest: Array) -> Cause | None:
    old = float(family.given.value[index])

    def cause(value: float, fitted: int) -> Cause:
        words = f"{family.told(index)} is {value:.10g} in place of {old:.7g}"
        choices = _choices(family.given, index, value) if fitted else math.inf
        return Cause(words, family.at(index, value), fitted=fitted, choices=choices)

    for value in dict.fromkeys((-old, 0.0)):
        if value != old:
            found = look(made := cause(value, 0))
            if found is not None and found[1]:
                return made
    fitted = _fitted(lambda value: look(cause(value, 1)), old, honest)
    return None if fitted is None else cause(fitted, 1)


def _choices(given: Given, index: tuple[int, ...], value: float) -> float:
    """log2 of how many numbers of as many digits are no farther from what was written."""
    unit = 2 * float(given.half_unit[index]) or grain(given.value)
    steps = (value - float(given.value[index])) / unit
    if not abs(steps - round(steps)) <= 2.0**-20 * abs(steps):
        return math.inf
    return math.log2(1 + 2 * abs(steps))


def grain(numbers: Array) -> float:
    """The largest power of two, 1 at most, of which all are multiples."""
    finite = numbers[np.isfinite(numbers)]
    for places in range(_PLACES):
        if (np.ldexp(finite, places) % 1 == 0).all():
            return float(2.0**-places)
    return float(2.0**-_PLACES)


_PLACES = 53


def _fitted(at: At, old: float, honest: Array) -> float | None:
    """The number at which all agree, with the fewest digits; None if none is found."""
    before, off = old, honest
    value = old + (2.0**-6 if old == 0 else abs(old) * 2.0**-6)
    least = math.inf
    for _ in range(MOST_ROUNDS):
        found = at(value)
        if found is None:
            return None
        now = found[0]
        if _is_near(now) and (short := _shortest(at, value)) is not None:
            return short
        slope, rest = (now - off) / (value - before), float(now @ now)
        size = float(slope @ slope)
        if size == 0 or not np.isfinite(size) or rest > _SLOW * least:
            return None
        least = rest if before != old else math.inf
        step = float(slope @ now) / size
        if value - step == value:
            return None
        before, off, value = value, now, value - step
    return None


_SLOW = 0.5  # what is left of the squares after a round, at most, where there is a number to find
_NEAR = 4  # times as far off as they may be: where a number of fewer digits may be right


def _is_near(off: Array) -> bool:
    return bool((np.abs(off) <= _NEAR).all())


def _shortest(at: At, value: float) -> float | None:
    """The first that agrees of those with fewer digits, and it itself; None if none does."""
    rounded = (round(value, digits) + 0.0 for digits in range(MOST_DIGITS))
    for short in dict.fromkeys([*rounded, value]):
        found = at(short)
        if found is not None and found[1]:
            return short
    return None


def biases(claim: Claim, look: Look, honest: Array) -> Iterator[Cause]:
    """A bias that is off by a constant in each unit: Gauss's and Newton's method."""
    for family in families(claim):
        path = family.name.rpartition(".")[2]
        given = family.given
        if path != "bias" or not 1 < given.value.size <= MOST_FITTED:
            continue
        found = _together(family, look, honest)
        if found is not None:
            yield found


def _together(family: Family, look: Look, honest: Array) -> Cause | None:
    old, shape = family.given.value.ravel(), family.given.shape

    def cause(value: Array) -> Cause:
        zero = np.zeros(shape)
        whole = value.reshape(shape)
        claim = family.with_(Given(whole, zero + family.given.error, whole, whole))
        moved = ", ".join(f"{each:.4g}" for each in value - old)
        words = f"{family.name} is off by a constant: [{moved}] more"
        if len({f"{each:.4g}" for each in value - old}) == 1:
            words = f"{family.name} is off by {value[0] - old[0]:.4g} in every unit"
        return Cause(words, claim, fitted=len(value))

    def agrees(value: Array) -> bool:
        found = look(cause(value))
        return found is not None and found[1]

    now, off, least = old.copy(), honest, math.inf
    for _ in range(MOST_ROUNDS):
        columns = []
        for j in range(len(now)):
            moved = now.copy()
            moved[j] += 2.0**-10
            found = look(cause(moved))
            if found is None:
                return None
            columns.append((found[0] - off) * 2.0**10)
        now = now + np.linalg.lstsq(np.stack(columns, axis=1), -off, rcond=None)[0]
        found = look(cause(now))
        if found is None or not np.isfinite(now).all():
            return None
        off, rest = found[0], float(found[0] @ found[0])
        if _is_near(off):
            rounded = (old + np.round(now - old, digits) for digits in range(MOST_DIGITS))
            for short in (*rounded, now):
                if agrees(short):
                    return cause(short)
        if rest > _SLOW * least:
            return None
        least = rest
    return None
