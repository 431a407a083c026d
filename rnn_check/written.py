"""What did the author write?  Numbers of a claim file, with what their digits claim.

Nested lists of integers and decimals, hex floats, recipes (`{linspace = [-0.4, 0.7], shape =
[3, 10]}`) and arrays in an `.npz` beside the file (never unpickled) all become a `Given`.  A
recipe's numbers are the float64 that NumPy's function of that name makes.
"""

from __future__ import annotations

import difflib
import math
import re
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from rnn_check import rounding

Array = npt.NDArray[Any]
Reading = Literal["exact", "float32", "rounded"]
Integers = Literal["exact", "rounded"]


class ClaimError(Exception):
    """A claim file or a path to one that cannot be used; the message stands alone."""

    def __init__(self, file: Path | str, key: str, problem: str) -> None:
        self.file, self.key, self.problem = str(file), key, problem
        super().__init__(f"{file}: {key}: {problem}" if key else f"{file}: {problem}")


def nearest(word: str, known: Iterable[str]) -> str:
    """The end of a complaint about an unknown word: the nearest known one, or all of them."""
    known = sorted(known)
    close = difflib.get_close_matches(word, known, 1, 0.5)
    return f"; did you mean `{close[0]}`?" if close else f"; known: {', '.join(known)}"


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

    def transposed(self) -> Given:
        return Given(self.value.T, self.error.T, self.lo.T, self.hi.T)

    def plus(self, other: Given) -> Given:
        return Given(
            self.value + other.value,
            self.error + other.error,
            self.lo + other.lo,
            self.hi + other.hi,
        )


_RECIPES: dict[str, set[str]] = {
    "linspace": {"linspace", "shape"},
    "arange": {"arange", "shape"},
    "full": {"full", "shape"},
    "identity": {"identity", "times"},
    "npz": {"npz", "key"},
}


@dataclass(frozen=True)
class Reader:
    """Reads arrays of one file; every complaint names the file and the key.

    integers: whether a number without a point stands for itself, or for all that round to it.
    """

    file: Path
    integers: Integers = "exact"

    def fail(self, key: str, problem: str) -> ClaimError:
        return ClaimError(self.file, key, problem)

    def given(
        self, node: Any, key: str, reading: Reading = "exact", *, finite: bool = True
    ) -> Given:
        """The array written at `key`, read as exact, as float32 or as rounded when printed.

        finite: whether nan and inf are refused.
        """
        written = self._written(node, key, finite)
        value = written.astype(np.float64)
        lo, hi = value.copy(), value.copy()
        intervals: dict[str, tuple[float, float]] = {}  # of each number as it is written
        for at, v in np.ndenumerate(written):
            # a float is a hex float, a recipe's, or not finite: exact as it stands
            digits = isinstance(v, Decimal) or (self.integers == "rounded" and isinstance(v, int))
            if digits and (text := str(v)) not in intervals:
                try:
                    intervals[text] = _interval(Decimal(v))
                except ValueError as problem:
                    raise self.fail(key, str(problem)) from None
            if digits:
                lo[at], hi[at] = intervals[text]
        if reading == "float32":
            # the shortest digits that name a float32 stand for that float32, exactly
            value = value.astype(np.float32).astype(np.float64)
            error = np.zeros_like(value)
        elif reading == "rounded":
            error = (hi - lo) / 2
        else:
            exact = np.array([_is_float64(v) for v in written.ravel().tolist()], bool)
            error = np.where(exact.reshape(value.shape), 0.0, abs(value) * 2.0**-53)
        return Given(value, error, lo, hi)

    def booleans(self, node: Any, key: str) -> Array:
        written = self._nested(node, key, (bool,), "true or false")
        return written.astype(bool)

    def _written(self, node: Any, key: str, finite: bool = True) -> npt.NDArray[np.object_]:
        if isinstance(node, dict):
            return self._recipe(node, key)
        written = self._nested(node, key, (int, Decimal, str), "a number")
        flat = [self._number(v, key, finite) for v in written.ravel().tolist()]
        out = np.empty(len(flat), object)
        out[:] = flat
        return out.reshape(written.shape)

    def _number(self, v: Any, key: str, finite: bool = True) -> Any:
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
            raise self.fail(key, f"a number of {len(str(v))} characters does not fit a float64")
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
                    raise self.fail(
                        at, f"ragged array: {len(part)} entries where its neighbours have {rest[0]}"
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

    def _recipe(self, node: dict[str, Any], key: str) -> npt.NDArray[np.object_]:
        kind = next((k for k in _RECIPES if k in node), None)
        if kind is None:
            raise self.fail(key, f"unknown recipe {sorted(node)}; known: {', '.join(_RECIPES)}")
        wanted = _RECIPES[kind]
        for k in node:
            if k not in wanted:
                raise self.fail(f"{key}.{k}", f"unknown key in a {kind} recipe{nearest(k, wanted)}")
        for k in wanted:
            if k not in node:
                raise self.fail(key, f"a {kind} recipe needs the key `{k}`")
        if kind == "npz":
            return self._npz(node["npz"], node["key"], key)
        if kind == "identity":
            n = self._size(node["identity"], f"{key}.identity")
            times = float(self._number(node["times"], f"{key}.times"))
            return (times * np.eye(n)).astype(object)
        shape = node["shape"]
        if not isinstance(shape, list) or not shape:
            raise self.fail(f"{key}.shape", "expected a list of sizes, e.g. [2, 3]")
        sizes = tuple(self._size(n, f"{key}.shape") for n in shape)
        count = math.prod(sizes)
        if count > 10**7:
            raise self.fail(f"{key}.shape", f"{count} numbers are too many; at most 10,000,000")
        values: Iterable[Any]
        if kind == "linspace":
            ends = node["linspace"]
            if not isinstance(ends, list) or len(ends) != 2:
                raise self.fail(f"{key}.linspace", "expected [start, stop]")
            start, stop = (float(self._number(e, f"{key}.linspace")) for e in ends)
            values = np.linspace(start, stop, count).tolist()
        elif kind == "arange":
            n = self._size(node["arange"], f"{key}.arange")
            if n != count:
                raise self.fail(f"{key}.arange", f"{n} numbers do not fill the shape {list(sizes)}")
            values = map(float, range(n))
        else:  # one number, written once
            values = [self._number(node["full"], f"{key}.full")] * count
        flat = np.empty(count, object)
        flat[:] = list(values)
        return flat.reshape(sizes)

    def _size(self, n: Any, key: str) -> int:
        if not isinstance(n, int) or isinstance(n, bool) or n < 1:
            raise self.fail(key, f"expected a positive integer, got {n!r}")
        return n

    def _npz(self, name: Any, entry: Any, key: str) -> npt.NDArray[np.object_]:
        if not isinstance(name, str) or Path(name).name != name:
            raise self.fail(
                f"{key}.npz", f"expected the name of a file beside this one, got {name!r}"
            )
        path = self.file.parent / name
        if not path.is_file():
            raise self.fail(f"{key}.npz", f"there is no file {name} beside the claim")
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
                if entry not in archive.files:
                    raise self.fail(
                        f"{key}.key", f"{name} holds no {entry!r}, only {', '.join(archive.files)}"
                    )
                array = archive[entry]
        except (ValueError, OSError, zipfile.BadZipFile, KeyError) as error:
            raise self.fail(f"{key}.npz", f"{name} cannot be read: {error}") from None
        if array.dtype.kind not in "fiu":
            raise self.fail(f"{key}.key", f"{entry} in {name} holds {array.dtype}, not numbers")
        if not np.isfinite(array).all():
            raise self.fail(f"{key}.key", f"{entry} in {name} holds numbers that are not finite")
        floats: npt.NDArray[np.object_] = array.astype(np.float64).astype(object)
        return floats


def _interval(number: Decimal) -> tuple[float, float]:
    low, high, _ = rounding.printed_interval(number)
    return low.item(), high.item()


def _is_float64(v: Any) -> bool:
    """Whether the number written is a float64 (0.5 is, 0.1 is not)."""
    return isinstance(v, float) or Decimal(float(v)) == v
