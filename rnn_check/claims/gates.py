"""How did the author write the weights of gates?  They become Keras's arrays.

Keras sets the gates side by side, LSTM's as i f c o (c: the candidate), GRU's as z r h (h: the
candidate), with kernel (F,nH), recurrent_kernel (H,nH) and bias (nH,), (2,nH) of a GRU with
reset_after. Authors write gates apart or several in one matrix, in any order, from the left or from
the right, on x and h or on both joined, with one bias or two, with a number that their program adds
to the forget gate's bias, and with an update gate that weighs the old state or the candidate. All
of it is said in `[reading]` and in the names of the tables of `[weights]`; no number is rewritten.

    [reading]
    joined = "[h, x]"

    [weights]
    f = { kernel = …, bias = … }          # one gate; or [weights.f]
    ru = { kernel = …, bias = … }         # several, side by side in that order
    kernel = …                            # all of them, in the order of `gates`

`weights` makes Keras's arrays of what the author wrote, `view` finds the author's arrays in Keras's
(gradients, say). Sizes: F features, H units, n gates.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise
from typing import Any, Literal

import msgspec
import numpy as np

from rnn_check.claims.written import Array, Given, Reader, Reading
from rnn_check.refusal import ClaimError, nearest

Kind = Literal["SimpleRNN", "LSTM", "GRU"]
Fail = Callable[[str, str], ClaimError]  # (key, what is wrong and what would be right)

# the gates in Keras's order, and what authors call them; SimpleRNN has a candidate and no gates
ORDER: dict[Kind, str] = {"SimpleRNN": "h", "LSTM": "ifco", "GRU": "zrh"}
LETTERS: dict[Kind, dict[str, str]] = {
    "SimpleRNN": {},
    "LSTM": {"i": "i", "f": "f", "o": "o", "c": "c", "g": "c", "j": "c", "a": "c"},
    "GRU": {"z": "z", "u": "z", "r": "r", "h": "h", "n": "h", "c": "h", "g": "h"},
}
CANDIDATE: dict[Kind, str] = {"SimpleRNN": "h", "LSTM": "c", "GRU": "h"}
# of which σ(-a) = 1 - σ(a), so that 1 - z is a gate too, whose weights are -1 times those of z
MIRRORED = frozenset({"sigmoid", "hard_sigmoid"})
MOST_BIAS = 10**6  # that a program adds
PARTS = ("kernel", "recurrent_kernel", "bias", "recurrent_bias")
_EXAMPLES: dict[Kind, str] = {"LSTM": "i f o g", "GRU": "r u c"}


class GateReading(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """The part of `[reading]` that speaks of weights with gates.

    layout: from which side the author's matrices multiply.
    gates: their order in matrices that hold all of them ("i f o g"); Keras's if it is left out.
    joined: a kernel holds the weights of x and of h, which multiply both in that order.
    forget_bias: a number that the author's program adds to the bias of LSTM's forget gate.
    z_weighs: what the update gate of a GRU weighs: h = z·h + (1 - z)·c, or (1 - z)·h + z·c.
    states: in which order an LSTM's are where they stand side by side.
    """

    layout: Literal["x·W", "W·x"] = "x·W"
    gates: str | None = None
    joined: Literal["[h, x]", "[x, h]"] | None = None
    forget_bias: Decimal | int | None = None
    z_weighs: Literal["state", "candidate"] = "state"
    states: Literal["[h, c]", "[c, h]"] = "[h, c]"

    @property
    def is_in_order(self) -> bool:
        """Whether arrays of all gates are Keras's."""
        plain = self.gates is None and self.joined is None and self.z_weighs == "state"
        return plain and self.states == "[h, c]" and self.layout == "x·W"

    def of_states(self, view: View, parts: int) -> View:
        """A view of all states (S,B,H), or of one (B,H), in the author's order.

        parts: of the layer, which have as many states each.
        """
        if self.states == "[h, c]" or view.index.ndim < 3:
            return view
        index = view.index.reshape(parts, -1, *view.shape[1:])[:, ::-1].reshape(view.shape)
        return View(view.sources, index, view.mirrored)


Table = Mapping[str, Given | Mapping[str, Given]]


def check(reading: GateReading, activations: Mapping[Kind, set[str]], fail: Fail) -> None:
    """Raises ClaimError for a key of `[reading]` that nothing in the claim would obey.

    activations: of each kind of recurrent layer in the claim, the recurrent activations.
    """
    gated = [kind for kind in activations if LETTERS[kind]]
    if reading.joined is not None and not activations:
        raise fail("reading.joined", "the claim has no recurrent layer; leave it out")
    if reading.gates is not None:
        if not gated:
            raise fail("reading.gates", "the claim has neither LSTM nor GRU; leave it out")
        if len(gated) > 1 or _order(reading.gates, gated[0]) is None:
            raise fail("reading.gates", _wrong_order(reading.gates, gated))
    if reading.forget_bias is not None:
        if "LSTM" not in activations:
            raise fail("reading.forget_bias", "only an LSTM has a forget gate; leave it out")
        added = Decimal(reading.forget_bias)
        if not added.is_finite() or abs(added) > MOST_BIAS:
            raise fail("reading.forget_bias", f"expected a number of at most {MOST_BIAS:,}")
    if reading.states == "[c, h]" and "LSTM" not in activations:
        raise fail("reading.states", "only an LSTM has two states; leave it out")
    if reading.z_weighs == "candidate":
        if "GRU" not in activations:
            raise fail("reading.z_weighs", "only a GRU has an update gate; leave it out")
        if others := activations["GRU"] - MIRRORED:
            raise fail(
                "reading.z_weighs",
                f"with the recurrent_activation {min(others)}, 1 - z is no gate of any weights; "
                f"that can be said of {' and '.join(sorted(MIRRORED))} only",
            )


def given(
    table: Mapping[str, Any], reader: Reader, kind: Kind, how: Reading = "exact", key: str = ""
) -> dict[str, Given | dict[str, Given]]:
    """The arrays of a table of weights, gates apart or side by side.

    Raises ClaimError for an unknown key and for what is no array.
    """
    letters = LETTERS[kind]
    out: dict[str, Given | dict[str, Given]] = {}
    for name, node in table.items():
        path = f"{key}.{name}" if key else name
        own = node if isinstance(node, dict) and node.keys() & {*PARTS} else None
        if name in PARTS:
            out[name] = reader.given(node, path, how)
        elif letters and own is not None and _letters(name, kind) is None:
            raise reader.fail(path, _no_gates(kind))
        elif not set(name) <= letters.keys():
            known = {*PARTS, *(ORDER[kind] if letters else "")}
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
    kind: Kind,
    units: int,
    features: int | None,
    *,
    fail: Fail,
    key: str = "weights",
    use_bias: bool = True,
    reset_after: bool = True,
) -> dict[str, Given]:
    """Keras's kernel (F,nH), recurrent_kernel (H,nH) and bias, of what the author wrote.

    table: kernel, recurrent_kernel, bias, recurrent_bias of all gates, or in tables whose names are
    the letters of theirs. features: if None, the kernels say how many. bias is (nH,), (2,nH) of a
    GRU with reset_after, absent without use_bias. Half-units and errors go along.
    Raises ClaimError for a gate that is missing or given twice, and for a wrong shape.
    """
    groups = list(_groups(table, reading, kind, fail, key))
    columns: dict[str, dict[str, Given]] = {part: {} for part in PARTS}
    two = kind == "GRU" and reset_after
    for group in groups:
        for part, array in group.arrays(reading, units, features, use_bias, two, fail):
            for gate, its in zip(group.gates, _split(array, len(group.gates)), strict=True):
                if gate in columns[part]:
                    raise fail(group.at(part), f"the gate {gate} has a {part} elsewhere too")
                columns[part][gate] = its
    for part in PARTS[:3] if use_bias else PARTS[:2]:
        _complete(columns[part], part, kind, groups, fail, key)
    second = columns["recurrent_bias"]
    if second:
        _complete(second, "recurrent_bias", kind, groups, fail, key)
    _of_one_size(columns["kernel"], groups, fail)
    out = {
        part: _beside([columns[part][gate] for gate in ORDER[kind]])
        for part in (PARTS[:3] if use_bias else PARTS[:2])
    }
    if use_bias:
        zero = _exactly(np.zeros(units))
        other = _beside([second.get(gate, zero) for gate in ORDER[kind]])
        if two:
            out["bias"] = stacked([out["bias"], other])
        elif second:
            out["bias"] = out["bias"].plus(other)
    if kind == "LSTM" and reading.forget_bias is not None:
        if not use_bias:
            raise fail("reading.forget_bias", "with use_bias = false there is no bias to add it to")
        added = np.zeros(4 * units)
        added[units : 2 * units] = float(reading.forget_bias)
        exact = float(reading.forget_bias) == Decimal(reading.forget_bias)
        off = np.zeros_like(added) if exact else np.abs(added) * 2.0**-53
        out["bias"] = out["bias"].plus(Given(added, off, added, added))
    if kind == "GRU" and reading.z_weighs == "candidate":
        out = {part: _mirrored(array, units) for part, array in out.items()}
    return out


@dataclass(frozen=True)
class View:
    """An array as its author has it: where its numbers stand in Keras's arrays.

    sources: which of those. index: of each number, where it stands in them, one array after the
    other. mirrored: whether it is -1 times that one. added: what the author's program adds to it.
    """

    sources: tuple[str, ...]
    index: Array
    mirrored: Array
    added: Array | float = 0.0

    @classmethod
    def whole(cls, name: str, shape: tuple[int, ...], turned: bool) -> View:
        """Of one array, as it is or transposed."""
        index = np.arange(math.prod(shape)).reshape(shape)
        index = index.T if turned else index
        return cls((name,), index, np.zeros(index.shape, bool))

    def under(self, prefix: str) -> View:
        """The same, where Keras's arrays have longer paths."""
        sources = tuple(prefix + name for name in self.sources)
        return View(sources, self.index, self.mirrored, self.added)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.index.shape

    def __call__(self, arrays: Mapping[str, Array]) -> Array:
        """Of whatever is linear in the weights: gradients, and changes by an update."""
        found = self._taken(arrays)
        return np.where(self.mirrored, -found, found)

    def bounds(self, arrays: Mapping[str, Array]) -> Array:
        """Of how far each of them may be off."""
        return self._taken(arrays)

    def _taken(self, arrays: Mapping[str, Array]) -> Array:
        flat = np.concatenate([np.ravel(arrays[name]) for name in self.sources])
        return np.asarray(flat[self.index])


def view(
    path: str,
    shapes: Mapping[str, tuple[int, ...]],
    written: Mapping[str, tuple[int, ...]],
    reading: GateReading,
    kind: Kind,
    units: int,
) -> View:
    """What the author calls `path` ("kernel", "f.kernel", "ru.bias"), as a view of Keras's arrays.

    shapes: of those. written: of the arrays in the author's table of weights, whose shape (a bias
    may be a column, or two rows) is also that of a gradient. Of two biases that are added, either
    has the gradient of the sum. Raises LookupError, with what could be, for what is no path, and
    ValueError, which says why, for what the author cannot mean.
    """
    group, dot, part = path.rpartition(".")
    order = _letters(group, kind) if dot else _order_of_all(reading, kind)
    if part not in PARTS or order is None:
        raise LookupError(_paths(shapes, written, kind))
    if part == "recurrent_kernel" and reading.joined is not None:
        whole = path.removesuffix(part) + "kernel"
        raise ValueError(f'with joined = "{reading.joined}", {whole} holds it')
    if part.endswith("bias") and "bias" not in shapes:
        raise ValueError("the layer has use_bias = false")
    second = [name for name in written if name.endswith("recurrent_bias")]
    two_rows = len(shapes.get("bias", ())) == 2
    if part == "recurrent_bias" and not (second or two_rows):
        raise ValueError("the author has one bias: [weights] gives no recurrent_bias")
    both = part == "kernel" and reading.joined is not None
    sources = ("kernel", "recurrent_kernel") if both else (part.replace("recurrent_bias", "bias"),)
    sizes = [math.prod(shapes[name]) for name in sources]
    every = np.split(np.arange(sum(sizes)), np.cumsum(sizes)[:-1])
    own = {n: index.reshape(shapes[n]) for n, index in zip(sources, every, strict=True)}
    if both:
        in_order = sources if reading.joined == "[x, h]" else sources[::-1]
        found = np.concatenate([own[name] for name in in_order])
    else:
        found = own[sources[0]]
    if two_rows and part.endswith("bias"):
        as_keras = not (second or group) and path not in written
        if not as_keras and written.get(path) != (2, len(order) * units):
            found = found[int(part == "recurrent_bias")]
    gates = dict(zip(ORDER[kind], np.split(found, len(ORDER[kind]), axis=-1), strict=True))
    found = np.concatenate([gates[gate] for gate in order], axis=-1)
    is_update = np.array([gate == "z" for gate in order]).repeat(units)
    mirrored = np.broadcast_to(is_update & (reading.z_weighs == "candidate"), found.shape)
    if reading.layout == "W·x" and part.endswith("kernel"):
        found, mirrored = found.T, mirrored.T
    shape = written.get(path, found.shape)
    added: Array | float = 0.0
    if part == "bias" and reading.forget_bias is not None and kind == "LSTM":
        is_forget = np.array([gate == "f" for gate in order]).repeat(units)
        added = (is_forget * float(reading.forget_bias)).reshape(shape)
    return View(sources, found.reshape(shape), mirrored.reshape(shape), added)


def _order_of_all(reading: GateReading, kind: Kind) -> tuple[str, ...] | None:
    return tuple(ORDER[kind]) if reading.gates is None else _order(reading.gates, kind)


def _paths(shapes: Iterable[str], written: Iterable[str], kind: Kind) -> set[str]:
    """What can be named: what is written, all gates together, and each."""
    groups = ["", *(f"{gate}." for gate in ORDER[kind] if LETTERS[kind])]
    return {*written, *(group + part for group in groups for part in shapes)}


def gate_of(kind: Kind, letter: str, reading: GateReading) -> tuple[str, bool]:
    """The gate of Keras that an author means, and whether the author's is 1 minus that one.

    Raises KeyError for a letter that names no gate of that kind.
    """
    gate = LETTERS[kind][letter]
    return gate, gate == "z" and reading.z_weighs == "candidate"


# --- what stands where ----------------------------------------------------------------------------


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
                    yield "bias", each(array, lambda a: a[0])
                    yield "recurrent_bias", each(array, lambda a: a[1])
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
        return each(array, lambda a: a.reshape(width))

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
            array = each(array, lambda a: a.reshape(1, 1))
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
        first, last = each(array, lambda a: a[:cut]), each(array, lambda a: a[cut:])
        state, of_x = (first, last) if reading.joined == "[h, x]" else (last, first)
        yield "kernel", of_x
        yield "recurrent_kernel", state


def _groups(
    table: Table, reading: GateReading, kind: Kind, fail: Fail, key: str
) -> Iterator[_Group]:
    whole = {name: a for name, a in table.items() if isinstance(a, Given)}
    if whole:
        order = _order_of_all(reading, kind)
        if order is None:
            raise fail("reading.gates", _wrong_order(str(reading.gates), [kind]))
        yield _Group(order, whole, key)
    elif reading.gates is not None:
        raise fail("reading.gates", "no matrix holds all gates: they are given apart; leave it out")
    for name, arrays in table.items():
        if isinstance(arrays, Given):
            continue
        letters = _letters(name, kind)
        assert letters is not None  # as `given` has read it
        yield _Group(letters, arrays, f"{key}.{name}")


def _letters(name: str, kind: Kind) -> tuple[str, ...] | None:
    """Keras's letters for the author's, if each names another gate."""
    gates = tuple(LETTERS[kind].get(letter, "") for letter in name)
    return gates if gates and "" not in gates and len({*gates}) == len(gates) else None


def _order(text: str, kind: Kind) -> tuple[str, ...] | None:
    """The same of an order of all gates: "i f o g", or "ifog"."""
    gates = _letters("".join(text.split(" ")), kind)
    return gates if gates and len(gates) == len(ORDER[kind]) else None


def _no_gates(kind: Kind) -> str:
    return (
        f"names no gates of {kind}; a table has the letters of its gates, each once: "
        f"{', '.join(ORDER[kind])}, or the author's own ({_own_letters(kind)})"
    )


def _wrong_order(text: str, kinds: list[Kind]) -> str:
    if len(kinds) > 1:
        return (
            "the claim has LSTM and GRU, whose gates are not the same; name the tables of "
            "[weights] by the letters of their gates in place of it"
        )
    (kind,) = kinds
    return (
        f"{text!r} is no order of the gates of {kind}; name each once, as in "
        f"{_EXAMPLES[kind]!r}: {', '.join(ORDER[kind])}, or {_own_letters(kind)}"
    )


def _own_letters(kind: Kind) -> str:
    others: dict[str, list[str]] = {}
    for letter, gate in LETTERS[kind].items():
        if letter != gate:
            others.setdefault(gate, []).append(letter)
    return "; ".join(f"{' '.join(letters)} for {gate}" for gate, letters in others.items())


def _complete(
    found: Mapping[str, Given], part: str, kind: Kind, groups: list[_Group], fail: Fail, key: str
) -> None:
    missing = [gate for gate in ORDER[kind] if gate not in found]
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


# --- arrays with their digits ---------------------------------------------------------------------


def each(given: Given, change: Callable[[Array], Array]) -> Given:
    """The same change of shape to all that is known of it."""
    return Given(*(change(a) for a in (given.value, given.error, given.lo, given.hi)))


def _split(given: Given, parts: int) -> list[Given]:
    each = (np.split(a, parts, axis=-1) for a in (given.value, given.error, given.lo, given.hi))
    return [Given(*arrays) for arrays in zip(*each, strict=True)]


def _together(parts: list[Given], join: Callable[[list[Array]], Array]) -> Given:
    names = ("value", "error", "lo", "hi")
    return Given(*(join([getattr(part, name) for part in parts]) for name in names))


def _beside(parts: list[Given]) -> Given:
    return _together(parts, lambda arrays: np.concatenate(arrays, axis=-1))


def stacked(parts: list[Given]) -> Given:
    """Arrays of one shape, one after the other."""
    return _together(parts, np.stack)


def _exactly(value: Array) -> Given:
    return Given(value, np.zeros_like(value), value, value)


def _mirrored(given: Given, units: int) -> Given:
    """The first gate's columns times -1: the weights of 1 - z."""
    sign = np.ones(given.shape[-1])
    sign[:units] = -1
    lo, hi = given.lo * sign, given.hi * sign
    return Given(given.value * sign, given.error, np.minimum(lo, hi), np.maximum(lo, hi))
