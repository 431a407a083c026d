"""How would one compute it on paper?  Each product and sum of a step, and each count.

The numbers are those of the reference (`truth`), in float64. Sizes: T timesteps, F features, H
units.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from rnn_check.claims import stack
from rnn_check.claims.claim import Claim
from rnn_check.claims.layers import Dense, Embedding, Layer
from rnn_check.claims.layers.cells import Gated, Recurrence
from rnn_check.claims.layers.layer import Part
from rnn_check.claims.truth import Truth
from rnn_check.claims.written import Array, Given
from rnn_check.numbers.bounded import Bounded
from rnn_check.refusal import Refused, nearest

MOST_TERMS = 8  # of a sum, of which the others are counted
_SKIPPED = "as it was before, for the mask skips this step"
_OF_ALL = ("softmax", "log_softmax", "sparsemax")  # of which a unit's is that of all units


class NotOnPaper(Refused):
    """What cannot be shown."""


@dataclass(frozen=True)
class Line:
    """name = the terms, added up = value; beside what others say of it, by who says it."""

    name: str
    terms: tuple[str, ...]
    value: float
    beside: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Unit:
    """What one unit computes at one step of one sample."""

    unit: int
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class Count:
    """The parameters of a layer: a formula, the same filled in, what it comes to."""

    layer: str
    formula: str
    filled: str
    value: int


def number(value: float, *, inside: bool = True) -> str:
    """With nine digits; in brackets if it is negative and stands inside a sum or product."""
    text = str(int(value)) if value == np.rint(value) and abs(value) < 1e15 else f"{value:.9g}"
    return f"({text})" if inside and text.startswith("-") else text


def _product(name: str, a: Array, b: Array) -> Line:
    terms = [f"{number(p)}·{number(q)}" for p, q in zip(a.tolist(), b.tolist(), strict=True)]
    if len(terms) > MOST_TERMS:
        terms = [*terms[: MOST_TERMS - 2], f"… ({len(terms) - MOST_TERMS + 1} more)", terms[-1]]
    return Line(name, tuple(terms), float(a @ b))


def _given(name: str, value: float) -> Line:
    return Line(name, (), value)


def _sum(name: str, parts: Sequence[Line], value: float) -> Line:
    return Line(name, tuple(number(part.value) for part in parts), value)


def _function(name: str, function: str, of: str, z: float, value: float) -> Line:
    inside = of if function in _OF_ALL else number(z, inside=False)
    return Line(name, (f"{function}({inside})",), value)


class Paper:
    """One recurrence of a claim, step by step.

    of: which, as a claim names it ("second", "both.backward"); by default the first. Raises
    NotOnPaper for one that there is not, and for a claim that gives no numbers to compute with.
    """

    def __init__(self, claim: Claim, of: str = "") -> None:
        if claim.x is None or claim.weights is None:
            raise NotOnPaper(f"{claim.name}: it gives no input and weights to compute with")
        if of not in claim.recurrences:
            known = [name for name in claim.recurrences if name]
            raise NotOnPaper(f"--of: no recurrent layer is called {of!r}{nearest(of, known)}")
        self.claim = claim
        self.layer, self.index = claim.recurrences[of]
        self.prefix, self.part = self.layer.recurrences[self.index]
        letters = self.part.letters
        if isinstance(self.part, Gated) and letters.recurrence not in _STATES:
            raise NotOnPaper(f"{claim.name}: how {letters.kind} is computed on paper is not known")
        self.at = claim.layers.index(self.layer)
        passes = Truth(claim, "real").passes
        self._course = passes[self.at].courses[self.index]
        self._fed = stack.fed(claim, self.layer, self.index)
        self.backwards = self._fed.reversed

    @property
    def name(self) -> str:
        return f"{self.layer.name}.{self.prefix}".rstrip(".")

    @property
    def carried(self) -> tuple[str, ...]:
        """The states, by their letters."""
        return tuple(self._course.states)

    @property
    def timesteps(self) -> int:
        return int(self._fed.x.shape[1])

    @property
    def samples(self) -> int:
        return len(self._fed.x)

    @property
    def definition(self) -> tuple[str, ...]:
        """What it computes, in the letters of the lines."""
        act = self.part.function
        if not isinstance(self.part, Gated):
            return ("z = x·W + h·U + b", f"h = {act}(z)")
        letters = self.part.letters
        gates_of = [
            f"{gate} = {self.part.gate_function}(x·W_{gate} + h·U_{gate} + b_{gate})"
            for gate in letters.order.replace(letters.candidate, "")
        ]
        return (*gates_of, *_STATES[letters.recurrence].told(self.part))

    @cached_property
    def shown(self) -> bool:
        """Whether the layer shows its states, so that a framework's can stand beside them."""
        return self.layer.shows_states_of(self.index)

    def x(self, sample: int, t: int) -> Array:  # (F,)
        found: Array = self._fed.x[sample, t]
        return found

    def before(self, name: str, sample: int, t: int) -> Array:
        """(H,) the state before that step."""
        states = self._course.states[name].value
        if t:
            last: Array = states[sample, t - 1]
            return last
        if not self._fed.starts:
            return np.zeros(states.shape[-1])
        first: Array = self._fed.starts[self.carried.index(name)][sample]
        return first

    def is_masked(self, sample: int, t: int) -> bool:
        mask = self._fed.mask
        return mask is not None and not mask[sample, t]

    @cached_property
    def claimed(self) -> dict[str, Array]:
        """What the claim says of "h", "c" and "z": (B,T,H), NaN where it says nothing."""
        found: dict[str, Array] = {}
        shape = self._course.states["h"].value.shape
        for e in self.claim.expectations:
            if not isinstance(e.value, Given) or e.on == "printed":
                continue
            name, last = "", e.what == "last_state"
            if e.what == "output" and self.at == len(self.claim.layers) - 1 and self.shown:
                name, last = "h", not self.layer.returns_sequences
            elif e.what in ("states", "last_state", "preactivation"):
                layer, index, word = self.claim.recurrence_of(e.of)
                if (layer, index) == (self.layer, self.index):
                    name = "z" if e.what == "preactivation" and not word else word or "h"
            if name not in ("h", "c", "z"):
                continue
            whole = found.setdefault(name, np.full(shape, np.nan))
            part = whole[:, -1] if last else whole  # a view
            places = e.select(np.arange(part.size).reshape(part.shape))
            part[np.unravel_index(places, part.shape)] = e.value.value
        return found

    def step(
        self, sample: int, t: int, units: Sequence[int], said: Array | None = None
    ) -> Iterator[Unit]:
        """What these units compute. said: (B,T,H) the framework's states, if they are known."""
        for unit in units:
            lines = list(self._lines(sample, t, unit))
            for i, line in enumerate(lines):
                beside = {}
                if line.name == "h" and said is not None:
                    beside["the framework"] = float(said[sample, t, unit])
                claimed = self.claimed.get(line.name)
                if claimed is not None and not np.isnan(claimed[sample, t, unit]):
                    beside["claimed"] = float(claimed[sample, t, unit])
                lines[i] = Line(line.name, line.terms, line.value, beside)
            yield Unit(unit, tuple(lines))

    def _lines(self, sample: int, t: int, j: int) -> Iterator[Line]:
        course, part = self._course, self.part

        def at(table: Mapping[str, Bounded], name: str) -> float:
            return self._at(table, name, sample, t, j)

        h = self.before("h", sample, t)
        if self.is_masked(sample, t):
            for name in course.states:
                yield Line(name, (_SKIPPED,), at(course.states, name))
            return
        x = self.x(sample, t)
        if not isinstance(part, Gated):
            yield from (sums := list(self._affine(x, h, "", j)))
            z = at(course.arguments, "")
            yield _sum("z", sums, z)
            yield _function("h", part.function, "z", z, at(course.states, "h"))
            return
        letters = part.letters
        for gate in letters.order:
            if gate == letters.candidate and letters.reset:
                continue
            yield from (sums := list(self._affine(x, h, gate, j)))
            z = at(course.arguments, gate)
            yield _sum(f"z_{gate}", sums, z)
            function = part.function if gate == letters.candidate else part.gate_function
            name = "g" if gate == letters.candidate else gate
            yield _function(name, function, f"z_{gate}", z, at(course.gates, gate))
        yield from _STATES[letters.recurrence].lines(self, sample, t, j)

    def _at(self, table: Mapping[str, Bounded], name: str, sample: int, t: int, j: int) -> float:
        """Of that name what stands there, as a number."""
        return float(table[name].value[sample, t, j])

    def cell_state(self, sample: int, t: int, j: int) -> Iterator[Line]:
        """Of an LSTM: its states, of its gates."""
        gates_of, states = self._course.gates, self._course.states
        i, f, g, o = (self._at(gates_of, gate, sample, t, j) for gate in "ifco")
        c, h = (self._at(states, name, sample, t, j) for name in "ch")
        before = float(self.before("c", sample, t)[j])
        yield Line("c", (f"{number(f)}·{number(before)}", f"{number(i)}·{number(g)}"), c)
        act = self.part.function
        yield Line("h", (f"{number(o)}·{act}({number(c, inside=False)})",), h)

    def blended(self, sample: int, t: int, j: int) -> Iterator[Line]:
        """Of a GRU: its candidate and its state, of its gates."""
        before, gates_of = self.before("h", sample, t), self._course.gates
        yield from self._candidate(self.x(sample, t), before, sample, t, j)
        z, g = (self._at(gates_of, gate, sample, t, j) for gate in "zh")
        terms = (f"{number(z)}·{number(float(before[j]))}", f"{number(1 - z)}·{number(g)}")
        yield Line("h", terms, self._at(self._course.states, "h", sample, t, j))

    def _candidate(self, x: Array, h: Array, sample: int, t: int, j: int) -> Iterator[Line]:
        """Whose reset gate comes after the product or before it."""
        assert isinstance(self.part, Gated)
        gates_of, arguments = self._course.gates, self._course.arguments
        r = gates_of["r"].value[sample, t]
        kernel, recurrent, biases = self._of_gate("h")
        of_x = _product("x·W_h", x, kernel[:, j])
        yield of_x
        bias = [_given(f"b{mark}_h", float(b[j])) for mark, b in biases]
        if self.part.option("reset_after"):
            of_h = _product("h·U_h", h, recurrent[:, j])
            yield of_h
            yield from bias
            inner = of_h.value + sum(each.value for each in bias[1:])
            q = _sum("q", [of_h, *bias[1:]], inner)
            yield q
            of_r = f"{number(float(r[j]))}·{number(inner)}"
            terms = (*(number(s.value) for s in (of_x, *bias[:1])), of_r)
        else:
            of_h = _product("(r·h)·U_h", r * h, recurrent[:, j])
            yield of_h
            yield from bias
            terms = tuple(number(s.value) for s in (of_x, *bias, of_h))
        z = float(arguments["h"].value[sample, t, j])
        yield Line("z_h", terms, z)
        yield _function("g", self.part.function, "z_h", z, float(gates_of["h"].value[sample, t, j]))

    def _affine(self, x: Array, h: Array, gate: str, j: int) -> Iterator[Line]:
        kernel, recurrent, biases = self._of_gate(gate)
        of = f"_{gate}" if gate else ""
        yield _product(f"x·W{of}", x, kernel[:, j])
        yield _product(f"h·U{of}", h, recurrent[:, j])
        for mark, bias in biases:
            yield _given(f"b{mark}{of}", float(bias[j]))

    def _of_gate(self, gate: str) -> tuple[Array, Array, list[tuple[str, Array]]]:
        """W (F,H), U (H,H) and each bias (H,) with its mark, of one gate."""
        assert self.claim.weights is not None
        own = {n: g.value for n, g in self.claim.weights[self.layer.name].items()}
        H, at = self.part.units, self.part.letters.order.index(gate) if gate else 0
        columns = slice(at * H, (at + 1) * H)
        bias = own.get(f"{self.prefix}bias")
        rows: Any = [] if bias is None else bias.reshape(-1, bias.shape[-1])[:, columns]
        return (
            own[f"{self.prefix}kernel"][:, columns],
            own[f"{self.prefix}recurrent_kernel"][:, columns],
            list(zip(("", "'"), rows, strict=False)),
        )


class _Written(NamedTuple):
    """What becomes of the gates of a recurrence, in letters, and in numbers at one step."""

    told: Callable[[Recurrence], tuple[str, ...]]
    lines: Callable[[Paper, int, int, int], Iterator[Line]]


def _of_cell_state(part: Recurrence) -> tuple[str, ...]:
    act = part.function
    return (f"g = {act}(x·W_c + h·U_c + b_c)", "c = f·c + i·g", f"h = o·{act}(c)")


def _of_blend(part: Recurrence) -> tuple[str, ...]:
    inner = "r·(h·U_h + b'_h)" if part.option("reset_after") else "(r·h)·U_h"
    return (f"g = {part.function}(x·W_h + b_h + {inner})", "h = z·h + (1 - z)·g")


_STATES = {
    "lstm": _Written(_of_cell_state, Paper.cell_state),
    "gru": _Written(_of_blend, Paper.blended),
}


def counts(claim: Claim) -> Iterator[Count]:
    """Of each layer that has parameters, in their order; nothing of a claim without an input."""
    if claim.input_shape is None:
        return
    for layer in claim.layers:
        features = claim.features_of(layer)
        for prefix, part, fan_in in layer.parts(features):
            name = f"{layer.name}.{prefix}".rstrip(".")
            if (found := _count(name, part, fan_in)) is not None:
                yield found


def _count(name: str, part: Part | Layer, features: int) -> Count | None:
    if isinstance(part, Embedding):
        sizes = part.input_dim, part.output_dim
        return Count(name, "input_dim·output_dim", "{}·{}".format(*sizes), sizes[0] * sizes[1])
    biases = int(part.option("use_bias")) if isinstance(part, Recurrence | Dense) else 0
    if isinstance(part, Dense):
        one = " + 1" * biases
        value = part.units * (features + biases)
        filled = f"{part.units}·({features}{one})"
        return Count(name, f"units·(features{one})", filled, value)
    if not isinstance(part, Recurrence):
        return None
    biases *= len(part.bias_shape)  # of which several stand in rows
    more, times = f" + {biases}" * bool(biases), f"{part.gates}·" * (part.gates > 1)
    return Count(
        name,
        f"{times}units·(units + features{more})",
        f"{times}{part.units}·({part.units} + {features}{more})",
        part.gates * part.units * (part.units + features + biases),
    )
