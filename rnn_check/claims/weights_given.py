"""How do the weights that an author wrote become Keras's arrays?

Sizes: F features, H units, n gates.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise
from typing import Any

import msgspec
import numpy as np

from rnn_check.claims.gates import (
    PARTS,
    Fail,
    GateReading,
    Letters,
    gates_of,
    no_gates,
    order_of_all,
    wrong_order,
)
from rnn_check.claims.written import Given, Reader, Reading
from rnn_check.refusal import nearest

Table = Mapping[str, Given | Mapping[str, Given]]


def given(
    table: Mapping[str, Any],
    reader: Reader,
    letters: Letters,
    how: Reading = "exact",
    key: str = "",
) -> dict[str, Given | dict[str, Given]]:
    """The arrays of a table of weights, gates apart or side by side.

    Raises ClaimError for an unknown key and for what is no array.
    """
    out: dict[str, Given | dict[str, Given]] = {}
    for name, node in table.items():
        path = f"{key}.{name}" if key else name
        own = node if isinstance(node, dict) and node.keys() & {*PARTS} else None
        if name in PARTS:
            out[name] = reader.given(node, path, how)
        elif letters.authors and own is not None and gates_of(name, letters) is None:
            raise reader.fail(path, no_gates(letters))
        elif not set(name) <= letters.authors.keys():
            known = {*PARTS, *(letters.order if letters.authors else "")}
            raise reader.fail(path, f"unknown key{nearest(name, known)}")
        elif own is None:
            raise reader.fail(path, f"expected a table of its {', '.join(PARTS[:3])}")
        else:
            for part in own:
                if part not in PARTS:
                    raise reader.fail(f"{path}.{part}", f"unknown key{nearest(part, PARTS)}")
            out[name] = {p: reader.given(a, f"{path}.{p}", how) for p, a in own.items()}
    return out


def shapes(table: Table) -> dict[str, tuple[int, ...]]:
    """Of the arrays in it by path, as they are written: "kernel", "f.kernel"."""
    found: dict[str, tuple[int, ...]] = {}
    for name, node in table.items():
        inner = (
            {name: node} if isinstance(node, Given) else {f"{name}.{p}": a for p, a in node.items()}
        )
        found |= {path: array.shape for path, array in inner.items()}
    return found


def weights(
    table: Table,
    reading: GateReading,
    letters: Letters,
    units: int,
    features: int | None,
    *,
    fail: Fail,
    key: str = "weights",
    use_bias: bool = True,
    biases: int = 1,
) -> dict[str, Given]:
    """Keras's kernel (F,nH), recurrent_kernel (H,nH) and bias, of what the author wrote.

    table: kernel, recurrent_kernel, bias, recurrent_bias of all gates, or in tables whose names are
    the letters of theirs. features: if None, the kernels say how many. bias is (nH,), or (2,nH) of
    two biases; absent without use_bias. Half-units and errors go along.
    Raises ClaimError for a gate that is missing or given twice, and for a wrong shape.
    """
    groups = list(_groups(table, reading, letters, fail, key))
    columns: dict[str, dict[str, Given]] = {part: {} for part in PARTS}
    two = biases > 1
    for group in groups:
        for part, array in group.arrays(reading, units, features, use_bias, two, fail):
            for gate, its in zip(group.gates, array.split(len(group.gates)), strict=True):
                if gate in columns[part]:
                    raise fail(group.at(part), f"the gate {gate} has a {part} elsewhere too")
                columns[part][gate] = its
    for part in PARTS[:3] if use_bias else PARTS[:2]:
        _complete(columns[part], part, letters, groups, fail, key)
    second = columns["recurrent_bias"]
    if second:
        _complete(second, "recurrent_bias", letters, groups, fail, key)
    _of_one_size(columns["kernel"], groups, fail)
    out = {
        part: Given.beside([columns[part][gate] for gate in letters.order])
        for part in (PARTS[:3] if use_bias else PARTS[:2])
    }
    if use_bias:
        zero = Given.exactly(np.zeros(units))
        other = Given.beside([second.get(gate, zero) for gate in letters.order])
        if two:
            out["bias"] = Given.stacked([out["bias"], other])
        elif second:
            out["bias"] = out["bias"].plus(other)
    if letters.forget and reading.forget_bias is not None:
        if not use_bias:
            raise fail("reading.forget_bias", "with use_bias = false there is no bias to add it to")
        added = float(reading.forget_bias) * letters.columns(letters.forget, units)
        exact = float(reading.forget_bias) == Decimal(reading.forget_bias)
        off = np.zeros_like(added) if exact else np.abs(added) * 2.0**-53
        out["bias"] = out["bias"].plus(Given(added, off, added, added))
    if letters.update and reading.z_weighs == "candidate":  # the weights of 1 - z
        sign = 1.0 - 2.0 * letters.columns(letters.update, units)
        out = {part: array.times(sign) for part, array in out.items()}
    return out


@dataclass(frozen=True)
class _Group:
    """Arrays that hold the same gates, side by side in the author's order."""

    gates: tuple[str, ...]  # Keras's letters
    parts: Mapping[str, Given]
    key: str

    def at(self, part: str) -> str:
        return f"{self.key}.{part}"

    def arrays(
        self,
        reading: GateReading,
        units: int,
        features: int | None,
        use_bias: bool,
        two_biases: bool,
        fail: Fail,
    ) -> Iterator[tuple[str, Given]]:
        """(part, array as x·W wants it): a joined kernel as two, a bias of two rows as two."""
        width = len(self.gates) * units
        for part, array in self.parts.items():
            if part.endswith("bias"):
                if not use_bias:
                    raise fail(self.at(part), "the layer has use_bias = false; leave it out")
                if two_biases and part == "bias" and array.shape == (2, width):
                    if "recurrent_bias" in self.parts:
                        raise fail(self.at("recurrent_bias"), "bias has two rows and holds it")
                    yield "bias", array.each(lambda a: a[0])
                    yield "recurrent_bias", array.each(lambda a: a[1])
                    continue
                yield part, self._bias(array, part, width, fail)
            elif part == "recurrent_kernel" and reading.joined is not None:
                raise fail(self.at(part), f'with joined = "{reading.joined}", kernel holds it')
            else:
                yield from self._kernels(array, part, reading, units, features, fail)

    def _bias(self, array: Given, part: str, width: int, fail: Fail) -> Given:
        """Authors write biases as rows, as columns and, of one unit, as numbers."""
        if array.shape not in {(width,), (1, width), (width, 1), *([()] if width == 1 else [])}:
            raise fail(self.at(part), f"expected shape ({width},), got {array.shape}")
        return array.each(lambda a: a.reshape(width))

    def _kernels(
        self,
        array: Given,
        part: str,
        reading: GateReading,
        units: int,
        features: int | None,
        fail: Fail,
    ) -> Iterator[tuple[str, Given]]:
        width = len(self.gates) * units
        if array.shape == ():
            array = array.each(lambda a: a.reshape(1, 1))
        turned = reading.layout == "W·x"
        if turned and len(array.shape) == 2:
            array = array.transposed()
        joined = part == "kernel" and reading.joined is not None
        rows = units if part == "recurrent_kernel" else features
        rows = rows + units if joined and rows is not None else rows
        got = array.shape
        least = units + 1 if joined else 1
        if len(got) != 2 or got[1] != width or got[0] < least or rows not in (None, got[0]):
            wanted = ("features" if rows is None else rows, width)
            after = " (after W·x is turned into x·W)" if turned else ""
            hint = ""
            both = part == "kernel" and not joined and rows is not None
            if both and got == ((rows or 0) + units, width):
                hint = '; one matrix on x and h? say joined = "[h, x]" or "[x, h]" in [reading]'
            elif len(got) == 2 and got[::-1] == wanted and not turned:
                hint = '; does it multiply from the left? say layout = "W·x" in [reading]'
            shape = f"({wanted[0]}, {wanted[1]})"
            raise fail(self.at(part), f"expected shape {shape}, got {got}{after}{hint}")
        if not joined:
            yield part, array
            return
        cut = units if reading.joined == "[h, x]" else got[0] - units
        first, last = array.each(lambda a: a[:cut]), array.each(lambda a: a[cut:])
        state, of_x = (first, last) if reading.joined == "[h, x]" else (last, first)
        yield "kernel", of_x
        yield "recurrent_kernel", state


def _groups(
    table: Table, reading: GateReading, letters: Letters, fail: Fail, key: str
) -> Iterator[_Group]:
    whole = {name: a for name, a in table.items() if isinstance(a, Given)}
    if whole:
        order = order_of_all(reading, letters)
        if order is None:
            raise fail("reading.gates", wrong_order(str(reading.gates), [letters]))
        yield _Group(order, whole, key)
    elif reading.gates is not None:
        raise fail("reading.gates", "no matrix holds all gates: they are given apart; leave it out")
    for name, arrays in table.items():
        if isinstance(arrays, Given):
            continue
        gates = gates_of(name, letters)
        assert gates is not None  # as `given` has read it
        yield _Group(gates, arrays, f"{key}.{name}")


def _complete(
    found: Mapping[str, Given], part: str, letters: Letters, groups: list[_Group], fail: Fail,
    key: str,
) -> None:  # fmt: skip
    missing = [gate for gate in letters.order if gate not in found]
    if not missing:
        return
    for group in groups:
        if missing[0] in group.gates:
            raise fail(group.at(part), "required key is missing")
    if not groups:
        raise fail(f"{key}.{part}", "required key is missing")
    raise fail(f"{key}.{missing[0]}", f"missing: the weights of the gates {', '.join(missing)}")


def _of_one_size(kernels: Mapping[str, Given], groups: list[_Group], fail: Fail) -> None:
    """Where nothing else says how many features there are, the gates have to agree."""
    for (one, a), (other, b) in pairwise(kernels.items()):
        if a.shape[0] != b.shape[0]:
            at = next(group.at("kernel") for group in groups if other in group.gates)
            raise fail(at, f"{b.shape[0]} features, where the gate {one} has {a.shape[0]}")


def second_bias(
    table: Table, reading: GateReading, letters: Letters, units: int, features: int | None,
    **how: Any,
) -> Given | None:  # fmt: skip
    """What of Keras's bias is the author's second one; None if there is one alone, or two rows.

    Arguments as `weights`, which has accepted them.
    """
    without: dict[str, Any] = {}
    for name, node in table.items():
        if isinstance(node, Given):
            without[name] = node.times(0) if name == "bias" else node
        else:
            without[name] = {p: a.times(0) if p == "bias" else a for p, a in node.items()}
    is_second = any(path.endswith("recurrent_bias") for path in shapes(table))
    if not is_second or how.get("biases", 1) > 1:
        return None
    plain = msgspec.structs.replace(reading, forget_bias=None)
    return weights(without, plain, letters, units, features, **how)["bias"]
