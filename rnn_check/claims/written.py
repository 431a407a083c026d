"""What did the author write?  Numbers of a claim file, with what their digits claim.

Nested lists of integers and decimals, hex floats, recipes (`{linspace = [-0.4, 0.7], shape =
[3, 10]}`, see `recipes`), lists of these, and arrays in an `.npz` beside the file (never unpickled)
all become a `Given`.

A file is read only if it is a regular one, and never more of it than its kind may hold; how many
numbers a recipe or an array makes is counted before they are made.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from rnn_check.claims import recipes
from rnn_check.claims.beside import MOST_ARCHIVE, PLAIN_NAME, Archive, beside
from rnn_check.numbers import printed
from rnn_check.numbers.bounded import Bounded
from rnn_check.numbers.formats import Arithmetic
from rnn_check.refusal import ClaimError, nearest

Array = npt.NDArray[Any]
Reading = Literal["exact", "float32", "rounded"]
Integers = Literal["exact", "rounded"]

# what a file may hold (docs/claims.md)
MOST_NUMBERS = 2_000_000  # that recipes and .npz files make, in all the claims of a file together
FLOAT32_MAX = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class Given:
    """An array as its author wrote it.

    value: float64, the nearest to what was written (or the float32 that it stands for).
    error: float64, same shape: how far the author's own number may be from `value`.
    lo, hi: float64: the interval that the printed digits claim.
    """

    value: Array
    error: Array
    lo: Array
    hi: Array

    @property
    def shape(self) -> tuple[int, ...]:
        return self.value.shape

    @property
    def half_unit(self) -> Array:
        """Half a unit of the last printed digit; 0 where the number is exact as it stands."""
        with np.errstate(invalid="ignore"):  # inf - inf
            half = np.maximum(self.value - self.lo, self.hi - self.value)
        return np.where(self.lo < self.hi, half, 0.0)

    def bounded(self, a: Arithmetic) -> Bounded:
        """As it is known before it is rounded to an arithmetic."""
        return Bounded(self.value, self.error, a)

    @classmethod
    def exactly(cls, value: Array) -> Given:
        return cls(value, np.zeros_like(value), value, value)

    @classmethod
    def stacked(cls, each: Sequence[Given]) -> Given:
        """Arrays of one shape, one after the other."""
        return cls(*(np.stack(parts) for parts in zip(*(g._parts for g in each), strict=True)))

    @classmethod
    def beside(cls, each: Sequence[Given]) -> Given:
        """Joined at the last axis."""
        parts = zip(*(g._parts for g in each), strict=True)
        return cls(*(np.concatenate(part, axis=-1) for part in parts))

    def split(self, parts: int) -> list[Given]:
        """Cut at the last axis, so that `beside` joins them."""
        each = (np.split(a, parts, axis=-1) for a in self._parts)
        return [Given(*arrays) for arrays in zip(*each, strict=True)]

    def each(self, change: Callable[[Array], Array]) -> Given:
        """The same change of shape to all that is known of it."""
        return Given(*map(change, self._parts))

    @property
    def _parts(self) -> tuple[Array, Array, Array, Array]:
        return self.value, self.error, self.lo, self.hi

    def transposed(self) -> Given:
        return self.each(np.transpose)

    def times(self, factor: Array | float) -> Given:
        """Each number times one that is exactly known, of a size that rounds nothing: 0, 2, -1."""
        lo, hi = self.lo * factor, self.hi * factor
        error = self.error * np.abs(factor)
        return Given(self.value * factor, error, np.minimum(lo, hi), np.maximum(lo, hi))

    def plus(self, other: Given) -> Given:
        value = self.value + other.value
        part = value - self.value  # the rounding error of the sum: Knuth's two-sum
        lost = (self.value - (value - part)) + (other.value - part)
        return Given(
            value,
            self.error + other.error + np.abs(lost),
            self.lo + other.lo,
            self.hi + other.hi,
        )


@dataclass(frozen=True)
class Reader:
    """Reads arrays of one file; every complaint names the file and the key.

    integers: whether a number without a point stands for itself, or for all that round to it.
    made: how many numbers recipes and .npz files have made so far.  archives: those files.
    """

    file: Path
    integers: Integers = "exact"
    made: list[int] = field(default_factory=lambda: [0], repr=False, compare=False)
    archives: dict[str, Archive] = field(default_factory=dict, repr=False, compare=False)

    def fail(self, key: str, problem: str) -> ClaimError:
        return ClaimError(self.file, key, problem)

    def given(
        self, node: Any, key: str, reading: Reading = "exact", *, finite: bool = True
    ) -> Given:
        """The array written at `key`, read as exact, as float32 or as rounded when printed.

        finite: whether nan and inf are refused.
        """
        if recipes.holds_a_recipe(node):
            return self._stacked(node, key, reading, finite)
        written = self._written(node, key, finite)
        if isinstance(node, dict) and "full" in node:  # one number, written once
            one = self.given(node["full"], f"{key}.full", reading, finite=finite)
            return one.each(lambda part: np.full(written.shape, part))
        value = written.astype(np.float64)
        if reading == "float32" and (np.abs(value[np.isfinite(value)]) > FLOAT32_MAX).any():
            raise self.fail(key, "a number does not fit a float32, as which it is to be read")
        if written.dtype == np.float64:  # a recipe's: exact as they stand
            value = value.astype(np.float32 if reading == "float32" else np.float64)
            value = value.astype(np.float64)
            return Given.exactly(value)
        lo, hi = value.copy(), value.copy()
        for at, v in np.ndenumerate(written):
            # a float is a hex float, a recipe's, or not finite: exact as it stands
            digits = isinstance(v, Decimal) or (self.integers == "rounded" and isinstance(v, int))
            if digits:
                try:
                    lo[at], hi[at] = _interval(str(v))
                except ValueError as problem:
                    raise self.fail(key, str(problem)) from None
        if reading == "float32":
            # the shortest digits that name a float32 stand for that float32, exactly
            value = value.astype(np.float32).astype(np.float64)
            error = np.zeros_like(value)
        elif reading == "rounded":
            with np.errstate(invalid="ignore"):  # inf - inf: no digits, so nothing is rounded
                error = np.where(np.isfinite(value), (hi - lo) / 2, 0.0)
        else:
            exact = np.array([_is_float64(v) for v in written.ravel().tolist()], bool)
            error = np.where(exact.reshape(value.shape), 0.0, abs(value) * 2.0**-53)
        return Given(value, error, lo, hi)

    def _stacked(self, nodes: list[Any], key: str, reading: Reading, finite: bool) -> Given:
        """A list in which recipes stand: its parts, one after the other."""
        each = [
            self.given(part, f"{key}[{i}]", reading, finite=finite) for i, part in enumerate(nodes)
        ]
        for i, part in enumerate(each):
            if part.shape != each[0].shape:
                raise self.fail(f"{key}[{i}]", f"expected shape {each[0].shape}, got {part.shape}")
        return Given.stacked(each)

    def booleans(self, node: Any, key: str) -> Array:
        written = self._nested(node, key, (bool,), "true or false")
        return written.astype(bool)

    def _written(self, node: Any, key: str, finite: bool = True) -> npt.NDArray[Any]:
        """What is written at `key`: objects as they are written, or a recipe's float64."""
        if isinstance(node, dict):
            return recipes.made(node, key, self)
        written = self._nested(node, key, (int, Decimal, str), "a number")
        flat = [self._number(v, key, finite) for v in written.ravel().tolist()]
        out = np.empty(len(flat), object)
        out[:] = flat
        return out.reshape(written.shape)

    def number(self, v: Any, key: str) -> float:
        """A finite number that stands alone; the float64 nearest to it."""
        return float(self._number(v, key))

    def _number(self, v: Any, key: str, finite: bool = True) -> Any:
        if isinstance(v, bool) or not isinstance(v, int | Decimal | str):
            raise self.fail(key, f"expected a number, got {type(v).__name__} {v!r}")
        if isinstance(v, str):
            if not re.fullmatch(r"[+-]?0[xX][0-9a-fA-F]*\.?[0-9a-fA-F]*[pP][+-]?\d+", v):
                raise self.fail(
                    key, f"{v!r} is no number; a string must be a hex float, '0x1.8p+0'"
                )
            try:
                return float.fromhex(v)
            except (OverflowError, ValueError):
                raise self.fail(key, f"{v!r} does not fit a float64") from None
        if isinstance(v, Decimal) and not v.is_finite():
            if not finite:
                return float(v)
            raise self.fail(key, f"{v} is not finite; write a finite number")
        try:
            fits = math.isfinite(float(v))
        except OverflowError:
            fits = False
        if not fits:
            size = v.adjusted() if isinstance(v, Decimal) else int(v.bit_length() * math.log10(2))
            raise self.fail(key, f"a number of about 1e{size} does not fit a float64")
        return v

    def _nested(
        self, node: Any, key: str, kinds: tuple[type, ...], wanted: str
    ) -> npt.NDArray[np.object_]:
        shape = self._shape(node, key)
        flat: list[Any] = []

        def walk(part: Any, at: str, rest: tuple[int, ...]) -> None:
            if isinstance(part, list) != bool(rest):
                raise self.fail(at, f"ragged array: expected {'a list' if rest else wanted} here")
            if rest:
                if len(part) != rest[0]:
                    first: Any = node  # the neighbour that all are held against
                    for _ in shape[: len(shape) - len(rest)]:
                        first = first[0]
                    comma = _decimal_comma(*sorted((part, first), key=len))
                    raise self.fail(
                        at,
                        f"ragged array: {len(part)} entries where its neighbours have {rest[0]}"
                        f"{comma}",
                    )
                for i, p in enumerate(part):
                    walk(p, f"{at}[{i}]", rest[1:])
            elif not isinstance(part, kinds) or (isinstance(part, bool) and bool not in kinds):
                raise self.fail(at, f"expected {wanted}, got {type(part).__name__} {part!r}")
            else:
                flat.append(part)

        walk(node, key, shape)
        out = np.empty(len(flat), object)
        out[:] = flat
        return out.reshape(shape)

    def _shape(self, node: Any, key: str) -> tuple[int, ...]:
        shape = []
        while isinstance(node, list):
            if not node:
                raise self.fail(key, "empty list; write at least one number")
            shape.append(len(node))
            node = node[0]
        return tuple(shape)

    def count(self, numbers: int, key: str) -> None:
        """Before they are made."""
        self.made[0] += numbers
        if self.made[0] > MOST_NUMBERS:
            more = f"{numbers:,} numbers" if numbers < 10**18 else "far more numbers"
            others = f" beside {self.made[0] - numbers:,} others" if self.made[0] > numbers else ""
            raise self.fail(
                key, f"{more}{others} are too many; the recipes and npz files of a claim file make "
                f"{MOST_NUMBERS:,} at most, counted anew in each claim that [vary] makes",
            )  # fmt: skip

    def from_npz(self, name: Any, entry: Any, key: str) -> npt.NDArray[np.float64]:
        if not isinstance(name, str) or not PLAIN_NAME.fullmatch(name):
            raise self.fail(
                f"{key}.npz", f"expected the name of a file beside this one, got {name!r}"
            )
        if not isinstance(entry, str):
            raise self.fail(f"{key}.key", f"expected the name of an array in {name}, got {entry!r}")
        try:
            archive = self.archives.get(name) or self._archive(name)
        except (OSError, ValueError) as error:
            said = error.strerror if isinstance(error, OSError) else str(error)
            absent = isinstance(error, FileNotFoundError)
            problem = f"there is no file {name} beside the claim" if absent else f"{name} {said}"
            raise self.fail(f"{key}.npz", problem) from None
        if entry not in archive.arrays:
            known = nearest(entry, archive.arrays)
            raise self.fail(f"{key}.key", f"{name} holds no {entry!r}{known}")
        try:
            made = archive.array(entry, lambda count: self.count(count, f"{key}.key"))
        except ValueError as error:
            raise self.fail(f"{key}.key", f"{entry} in {name} {error}") from None
        return made

    def _archive(self, name: str) -> Archive:
        room = MOST_ARCHIVE - sum(each.size for each in self.archives.values())
        self.archives[name] = found = Archive(beside(self.file, name, room))
        return found


def _decimal_comma(shorter: list[Any], longer: list[Any]) -> str:
    """A hint, where 0,5 may have been meant as one number: it is read as two."""
    whole = all(isinstance(v, int) and not isinstance(v, bool) for v in longer)
    if len(longer) == len(shorter) + 1 and whole:
        return "; a decimal comma? 0,5 is two numbers, 0.5 is one"
    return ""


@functools.lru_cache(1 << 14)  # variants of a claim print the same numbers
def _interval(number: str) -> tuple[float, float]:
    low, high, _ = printed.printed_interval(Decimal(number))
    return low.item(), high.item()


def _is_float64(v: Any) -> bool:
    """Whether the number written is a float64 (0.5 is, 0.1 is not)."""
    return isinstance(v, float) or Decimal(float(v)) == v
