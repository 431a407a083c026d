"""How were the sums of gates made, as the errors of what is made of them show it?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from rnn_check.certificates.gated_layer import GatedLayer
from rnn_check.certificates.precision import Sample, sampled, typical
from rnn_check.certificates.seen import Seen
from rnn_check.certificates.sums import Operands, Sum, Through
from rnn_check.numbers import activations
from rnn_check.numbers.bounded import Bounded, exactly
from rnn_check.numbers.formats import Array, gamma
from rnn_check.numbers.spread import activation_error
from rnn_check.recurrences.kinds import GRU, GRU_BEFORE, LSTM, Recurrence


class Value:
    """A number of which the value is all that is asked."""

    def __init__(self, value: Array) -> None:
        self.value = value

    def __add__(self, other: Value) -> Value:
        return Value(self.value + other.value)

    def __mul__(self, other: Value) -> Value:
        return Value(self.value * other.value)


class Values:
    """A reading of a step: values, and the sums of which is asked how they were made."""

    def __init__(self, layer: GatedLayer, observed: dict[str, Array]) -> None:
        self.layer, self.observed, self.sums = layer, observed, list[Sum]()
        self.expected: dict[str, Value] = {}  # of what was observed
        self.names = layer.name, layer.gate

    def act(self, z: Value, _: str) -> Value:
        return Value(activations.activation(self.names[0]).function(z.value))

    def gate(self, z: Value, _: str) -> Value:
        return Value(activations.activation(self.names[1]).function(z.value))

    def affine(self, *products: tuple[Value, Bounded], bias: Bounded | None = None) -> Value:
        self.sums.append(self.layer.sums([(rows.value, m) for rows, m in products], bias))
        return Value(self.sums[-1].value)

    def split(self, a: Value, parts: int) -> list[Value]:
        return [Value(part) for part in np.split(a.value, parts, axis=-1)]

    def seen(self, name: str, a: Value, b: Value) -> Value:
        self.expected[name] = a + b
        return Value(self.observed[name])

    def blend(self, z: Value, h: Value, c: Value, _: str = "h") -> Value:
        return Value(z.value * h.value + (1 - z.value) * c.value)


class _Part(NamedTuple):
    """A gate's sums, and how their errors show in what is seen."""

    gate: str
    sums: Sum  # of the gate's columns alone, or of those of the sample
    through: Through
    names: tuple[tuple[str, str], ...]


def _columns(layer: GatedLayer, s: Sum, gate: int, rows: Any, units: Any) -> Sum:
    H = layer.h.shape[2]
    return s.at(_index(rows, len(s.value)), gate * H + _index(units, H))


def _index(which: Array | slice, size: int) -> Array:
    return np.arange(size)[which]


def are_asked(r: Recurrence) -> bool:
    """Whether it is known how the errors of this recurrence's sums show in its states."""
    return r in (LSTM, GRU, GRU_BEFORE)


def samples_of_gates(
    layer: GatedLayer, samples: slice, steps: slice, observed: dict[str, Array],
    before: tuple[Bounded, ...], n: Seen | Values, step: Any,
) -> dict[str, Sample]:  # fmt: skip
    """Of each state, the errors as seen from the sums of its gates, if they are asked."""
    act, gate = (activations.activation(name) for name in (layer.name, layer.gate))
    rows, units = layer.sampled(samples, steps)
    if (
        act.derivative is None
        or gate.derivative is None
        or not len(_index(rows, len(step.h.value)))
    ):
        return {}

    def at(b: Bounded | Value) -> Array:
        return np.asarray(b.value[rows][:, units])

    args = list(map(at, step.s))
    counted = layer.counted(samples, steps)
    counted = True if counted is True else counted[rows]
    a, result = layer.a, {}

    def own(name: str, z: Array, h: Array) -> Array:
        return activation_error(name, z, h, a)

    def round_off(k: int, *most: Array) -> Any:
        """Of products as large as these, which may be flushed."""
        return gamma(k, a.u_stored) * sum(map(np.abs, most)) + 8 * a.min_normal

    if layer.recurrence is LSTM:
        i, f, g, o = (at(getattr(step, name)) for name in "ifgo")
        c_before, c = before[0].value[rows][:, units], observed["c"][rows][:, units]
        t = act.function(c)
        slopes = [gate.derivative(args[0], i), gate.derivative(args[1], f),
                  act.derivative(args[2], g), gate.derivative(args[3], o)]  # fmt: skip
        names = (("x", "kernel"), ("states", "recurrent_kernel"))
        weights = [g * slopes[0], c_before * slopes[1], i * slopes[2], t * slopes[3]]
        parts = [
            _Part(layer.recurrence.gates[k], _columns(layer, n.sums[0], k, rows, units),
                  Through(weights[k]), names) for k in range(4)
        ]  # fmt: skip
        noise = {
            "c": own(layer.gate, args[0], i) * np.abs(g) + own(layer.gate, args[1], f)
            * np.abs(c_before) + own(layer.name, args[2], g) * np.abs(i)
            + round_off(2, f * c_before, i * g),
            "h": own(layer.gate, args[3], o) * np.abs(t) + own(layer.name, c, t) * np.abs(o)
            + round_off(1, o * t),
        }  # fmt: skip
        of = {"c": parts[:3], "h": parts[3:]}
        expected = {"c": n.expected["c"], "h": step.h}
    else:
        z, r, c, h, inner = (
            at(part)
            for part in (
                step.z, step.r, step.c, exactly(layer.before(samples, steps), a), step.inner,
            )
        )  # fmt: skip
        slopes = [gate.derivative(args[0], z), gate.derivative(args[1], r),
                  act.derivative(args[2], c)]  # fmt: skip
        of_c = (1 - z) * slopes[2]
        both = (("x", "kernel"), ("states", "recurrent_kernel"), ("", ""))
        names_of = layer.recurrence.gates
        parts = [
            _Part(names_of[0], _columns(layer, n.sums[0], 0, rows, units),
                  Through((h - c) * slopes[0]), both)
        ]  # fmt: skip
        rows_, units_ = _index(rows, len(step.h.value)), _index(units, layer.h.shape[2])
        if layer.recurrence is GRU:
            parts += [
                _Part(names_of[1], _columns(layer, n.sums[0], 1, rows, units),
                      Through(of_c * inner * slopes[1]), both),
                _Part(names_of[2], n.sums[2].at(rows_, units_), Through(of_c), both[:1]),
                _Part(names_of[2], n.sums[1].at(rows_, units_), Through(of_c * r), both[1:2]),
            ]  # fmt: skip
            product = r * inner
        else:
            every = slice(None)
            full_s, full_r = step.s[1].value[rows], step.r.value[rows]
            through = Through(
                of_c, layer.before(samples, steps)[rows] * gate.derivative(full_s, full_r),
                layer.weights.recurrent_candidate.value[:, units],
            )  # fmt: skip
            joined = (("x", "kernel"), ("reset states", "recurrent_kernel"))
            parts += [
                _Part(names_of[1], _columns(layer, n.sums[0], 1, rows, every), through, both[:2]),
                _Part(names_of[2], n.sums[1].at(rows_, units_), Through(of_c), joined),
            ]
            product = 0.0 * h
        noise = {
            "h": own(layer.gate, args[0], z) * np.abs(h - c)
            + own(layer.name, args[2], c) * np.abs(1 - z) + round_off(2, z * h, (1 - z) * c, c)
            + (round_off(2, product) + own(layer.gate, args[1], r) * np.abs(inner)) * np.abs(of_c)
        }  # fmt: skip
        of, expected = {"h": parts}, {"h": step.h}
    for name, some in of.items():
        e = observed[name][rows][:, units] - at(expected[name])
        result[name] = _mixed(a, some, e, noise[name], counted)
    return result


def _mixed(a: Any, parts: Sequence[_Part], e: Array, noise: Array, counted: Any) -> Sample:
    """The errors e (R,C) of what several sums make together."""
    squares, possible, lost = np.zeros_like(e), np.zeros_like(e), np.zeros_like(e)
    for part in parts:
        of_sum = part.sums.squares
        squares += part.through.squares(of_sum)
        possible += part.through.squares(typical(part.sums, np.sqrt(of_sum)) * of_sum)
        lost += part.through.sizes(part.sums.lost + 0 * part.sums.value)
    m = np.sqrt(squares)
    counts = (noise <= 2**5 * a.u * m) & (lost <= a.u * m) & counted & (possible > 0)
    inexact = np.zeros(e.shape, bool)
    for part in parts:
        inexact |= part.through.sizes((part.sums.error > 0).astype(np.float64)) > 0
    return sampled(e, m, possible / squares, counts & inexact, lambda: _operands(parts))


def _operands(parts: Sequence[_Part]) -> Operands:
    """Even when the rows' place in memory will hold others."""
    kept = [
        (part.gate, part.names, part.sums.rows.copy(), part.sums.factor, part.through)
        for part in parts
    ]

    def operands() -> Iterator[tuple[str, str, Array, Array, Through | None]]:
        for gate, names, rows, factor, through in kept:
            pairs = zip(names, factor.starts, factor.ends, strict=False)
            for (left, right), i, j in pairs:
                rows_of, matrix_of = (f"{n} of gate {gate}" if n else "" for n in (left, right))
                yield rows_of, matrix_of, rows[:, i:j], factor.matrix[i:j], through

    return operands
