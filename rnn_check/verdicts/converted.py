"""Are the weights of two layers the same, after conversion; if not, what went wrong with it?

Every number is compared bit for bit. Where some differ, the mistakes that people make are made on
purpose, one part at a time: gates that keep another order, what is not transposed, the other bias.
A mistake is named only if it explains every number of that part.

G gates stand side by side, in the order of Keras: what is held as gate g is looked for among all
gates, so that any order is found. Sizes: F features, H units.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from rnn_check.asking.ported import Way
from rnn_check.claims.layers.recurrent import LETTERS
from rnn_check.claims.written import Array
from rnn_check.numbers import formats
from rnn_check.subjects.asked.layouts import KERAS, ONNX, TORCH, moved
from rnn_check.subjects.asked.named import FAMILIES

ORDERS = {"keras": KERAS, "torch": TORCH, "onnx": ONNX}
NARROW = ("float16", "bfloat16", "float32")
OPTIONS = ("kind", "units", "features", "activation", "recurrent_activation", "reset_after")


@dataclass(frozen=True)
class Part:
    """One of the weights. differ: how many of its numbers do; worst: by how much at most.

    note: what was converted, of one that is the same. causes: what explains all that differs.
    """

    name: str
    size: int
    differ: int = 0
    worst: float = 0.0
    note: str = ""
    causes: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        return self.differ == 0


@dataclass(frozen=True)
class _Mistake:
    """What a part would be if one had been made. words: what it is; "" of none."""

    words: str
    value: Array


def options(before: Way, after: Way) -> list[str]:
    """What the layers are not the same in, beside their weights."""
    found = []
    for name in OPTIONS:
        its = FAMILIES[before.kind].options
        if name in ("recurrent_activation", "reset_after") and name not in its:
            continue
        if name == "activation" and not (name in before.spec and name in after.spec):
            continue  # which a file of weights alone does not say
        sides = [
            getattr(each, name) if name in ("kind", "units", "features") else each.option(name)
            for each in (before, after)
        ]
        if sides[0] != sides[1]:
            found.append(f"{name}: {sides[0]} became {sides[1]}")
    return found


def compared(before: Way, after: Way, frameworks: tuple[str, str]) -> list[Part]:
    """Each of the weights that `after` should have, of those of a layer of that kind and size."""
    return [*_matrices(before, after, frameworks), *_biases(before, after, frameworks)]


def _matrices(before: Way, after: Way, frameworks: tuple[str, str]) -> Iterator[Part]:
    own = {"kernel": before.kernel, "recurrent_kernel": before.recurrent_kernel}
    for name, right in own.items():
        got: Array = getattr(after, name)
        mistakes = [_Mistake("", right)]
        if len(right) == before.units:
            mistakes.append(
                _Mistake("each gate's matrix was not transposed", _blocks_turned(right))
            )
            other = before.kernel if name == "recurrent_kernel" else before.recurrent_kernel
            which = "kernel" if name == "recurrent_kernel" else "recurrent_kernel"
            mistakes.append(_Mistake(f"it is the {which}", other))
        reshaped = _reshaped(right, before.kind, frameworks)
        mistakes.append(_Mistake("it was reshaped in place of being transposed", reshaped))
        yield _part(name, right, got, mistakes, after.kind, frameworks)


def _biases(before: Way, after: Way, frameworks: tuple[str, str]) -> Iterator[Part]:
    kind, width = before.kind, before.recurrent_kernel.shape[1]
    w, r = _two(before, width)
    with np.errstate(over="ignore"):
        both = np.add(w, r, dtype=np.result_type(w, r))
    named = _names(before, frameworks[0])
    zeros = np.zeros_like(w)
    only = [_Mistake("it is zero", zeros), _Mistake("it is added twice", both + both)]
    letters = LETTERS[kind]
    if letters.forget:
        forget = letters.columns(letters.forget, before.units) > 0
        more = np.where(forget, both + both.dtype.type(1), both)
        only.append(_Mistake("1 was added to the forget gate's bias", more))
    if has_two(before) and not has_two(after):
        only += [_Mistake(f"it is {name} alone", a) for name, a in zip(named, (w, r), strict=True)]
    if not has_two(after):
        got = zeros if after.bias is None else after.bias
        note = f"{named[0]} + {named[1]}" if has_two(before) and after.bias is not None else ""
        yield _part("bias", both, got, [_Mistake("", both), *only], kind, frameworks, note)
        return
    names = _names(after, frameworks[1])
    got_w, got_r = _two(after, width)
    if not has_two(before):
        w, r = both, zeros
    alike = np.array_equal(w, got_w) and np.array_equal(r, got_r)
    if not alike and _same_sums(before, after, (w, r), (got_w, got_r)):
        yield Part(f"{names[0]} + {names[1]}", w.size, note="the sums, which are all that counts")
        return
    twice = [_Mistake("both hold the same bias", w), _Mistake("both biases are in it", both)]
    for name, right, other, got in ((names[0], w, r, got_w), (names[1], r, w, got_r)):
        mistakes = [_Mistake("", right), _Mistake("the two biases are exchanged", other), *twice]
        yield _part(name, right, got, [*mistakes, *only], kind, frameworks)


def has_two(way: Way) -> bool:
    """Whether it has a bias for each of the two products."""
    return way.recurrent_bias is not None or (way.bias is not None and way.bias.ndim == 2)


def _two(way: Way, width: int) -> tuple[Array, Array]:
    if way.bias is None:
        zeros = np.zeros(width, way.kernel.dtype)
        return zeros, zeros
    if way.bias.ndim == 2:
        return way.bias[0], way.bias[1]
    other = way.recurrent_bias
    return way.bias, np.zeros_like(way.bias) if other is None else other


def _names(way: Way, framework: str) -> tuple[str, str]:
    if framework == "torch":
        return "bias_ih", "bias_hh"
    if framework == "onnx":
        return "B's first half", "B's second half"
    return ("bias[0]", "bias[1]") if has_two(way) else ("bias", "no bias")


def _same_sums(
    before: Way, after: Way, right: tuple[Array, Array], got: tuple[Array, Array]
) -> bool:
    """Whether both layers add up the same: of a candidate that is reset after the product each bias
    counts by itself, of everything else their sum; rounded, if `before` has but that."""
    apart, letters = np.zeros(right[0].size, bool), LETTERS[before.kind]
    if letters.reset and after.option("reset_after"):
        apart = letters.columns(letters.candidate, before.units) > 0
    sums = [_exact_sum(*pair) for pair in (right, got)]
    each = (right[0] == got[0]) & (right[1] == got[1])
    same = (sums[0][0] == sums[1][0]) & (sums[0][1] == sums[1][1])
    if not has_two(before):
        same |= right[0] == (got[0] + got[1]).astype(right[0].dtype)
    return bool(np.where(apart, each, same).all())


def _exact_sum(a: Array, b: Array) -> tuple[Array, Array]:
    """The rounded sum and what it is off by: together they are the sum (Knuth's two-sum)."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    total = a + b
    of_b = total - a
    return total, (a - (total - of_b)) + (b - of_b)


# --- what explains it -----------------------------------------------------------------------------


def _part(
    name: str,
    right: Array,
    got: Array,
    mistakes: Sequence[_Mistake],
    kind: str,
    frameworks: tuple[str, str],
    note: str = "",
) -> Part:
    as_held = right.astype(got.dtype)
    narrowed = bool((as_held.astype(right.dtype) != right).any())
    notes = [note] if note else []
    notes += [f"rounded to {got.dtype.name}"] if narrowed else []
    unequal = ~_same(as_held, got)
    if not unequal.any():
        return Part(name, right.size, note=", ".join(notes))
    with np.errstate(invalid="ignore", over="ignore"):
        worst = float(np.abs(np.subtract(as_held, got, dtype=np.float64)).max())
    causes = tuple(dict.fromkeys(_causes(mistakes, got, kind, frameworks)))
    return Part(name, right.size, int(unequal.sum()), worst, causes=causes)


def _same(one: Array, other: Array) -> Array:
    """Every bit of it, but that a NaN is any other, and −0 is 0."""
    return np.asarray((one == other) | (np.isnan(one) & np.isnan(other)))


def _causes(
    mistakes: Sequence[_Mistake], got: Array, kind: str, frameworks: tuple[str, str]
) -> Iterator[str]:
    gates = KERAS[kind]
    found = []
    for narrow in ("", *NARROW):
        for mistake in mistakes:
            value = _narrowed(mistake.value, narrow).astype(got.dtype)
            if value.shape != got.shape:
                continue
            held = _held(value, got, len(gates))
            if held is None:
                continue
            told = [mistake.words] if mistake.words else []
            if held != tuple(range(len(gates))):
                told.append(_order(held, kind, frameworks))
            told += [f"it was rounded to {narrow}"] if narrow else []
            if told:
                found.append((len(told), ", and ".join(told)))
        if found:  # what is coarser explains no more
            break
    fewest = min((number for number, _ in found), default=0)
    yield from (words for number, words in found if number == fewest)


def _narrowed(value: Array, narrow: str) -> Array:
    if not narrow:
        return value
    return formats.rounded(np.asarray(value, np.float64), formats.arithmetic(narrow))


def _held(value: Array, got: Array, gates: int) -> tuple[int, ...] | None:
    """Which gate of `value` stands where each gate of `got` is, each once; None: none does."""
    have, want = np.split(value, gates, axis=-1), np.split(got, gates, axis=-1)
    may = [[i for i, h in enumerate(have) if _same(h, w).all()] for w in want]
    if all(g in each for g, each in enumerate(may)):
        return tuple(range(gates))

    def chosen(before: tuple[int, ...]) -> tuple[int, ...] | None:
        if len(before) == gates:
            return before
        for each in may[len(before)]:
            if each not in before and (whole := chosen((*before, each))) is not None:
                return whole
        return None

    return chosen(())


def _order(held: tuple[int, ...], kind: str, frameworks: tuple[str, str]) -> str:
    """In the order in which the second framework has its gates, in Keras's letters."""
    keras, own = KERAS[kind], ORDERS[frameworks[1]][kind]
    there = "".join(keras[held[keras.index(gate)]] for gate in own)
    words = f"its gates stand as {' '.join(there)} where {' '.join(own)} belongs"
    kept = [f for f in dict.fromkeys((frameworks[0], *ORDERS)) if ORDERS[f][kind] == there]
    if kept and kept[0] == frameworks[0]:
        return f"{words}: they were not reordered, and are in {_possessive(kept[0])} order"
    return f"{words}" + (f": {_possessive(kept[0])} order" if kept else "")


def _possessive(framework: str) -> str:
    return {"keras": "Keras's", "torch": "torch's", "onnx": "ONNX's"}[framework]


def _blocks_turned(matrix: Array) -> Array:
    """(H,GH), each (H,H) of it transposed."""
    gates = matrix.shape[1] // len(matrix)
    return np.concatenate([block.T for block in np.split(matrix, gates, axis=1)], axis=1)


def _reshaped(matrix: Array, kind: str, frameworks: tuple[str, str]) -> Array:
    """What it is if the array of the one framework was given the shape of the other's."""
    keras = KERAS[kind]
    stands = [each == "keras" for each in frameworks]  # side by side, not one below the other
    if stands[0] == stands[1]:
        return matrix
    first, second = (ORDERS[each][kind] for each in frameworks)
    if stands[1]:
        theirs = np.ascontiguousarray(moved(matrix, keras, first).T)
        return theirs.reshape(matrix.shape)
    ours = np.ascontiguousarray(matrix).reshape(matrix.shape[::-1])
    return moved(ours.T, second, keras)
