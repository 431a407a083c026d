"""Does each step of a gated recurrence follow from the one before?

A step is read as bounded numbers from the states that were observed (see `numbers.reading`): its
sums of products with the bounds of `sums`, and what the gates make of them with theirs. GRU has one
state, and all of it is seen; of an LSTM whose cell states are seen, c_t is asked from c_{t-1} and
h_{t-1}, and h_t from that c_t.

Frameworks mostly show h alone. Then c is hidden, but not unknown: h_t = o_t∘act(c_t) says between
which numbers c_t lies, and so does c_t = f_t∘c_{t-1} + i_t∘g_t if c_{t-1} is known to lie between
some. An interval observer keeps what both say,

    P_t = f_t·J_{t-1} + i_t·g_t ± rounding        I_t = act⁻¹(ĥ_t/o_t ± rounding)
    J_t = P_t ∩ I_t                               J_0 = [c_0, c_0]

Each P_t says between which numbers ĥ_t has to lie; an empty J_t proves that something else was
computed. f < 1 forgets what was vague. Where act is saturated, I_t says nothing, and J_t grows.

    B batch, T timesteps, F features, H units, G gates        R rows: samples × steps
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from copy import copy
from typing import Any, NamedTuple

import numpy as np

from rnn_check.certificates.result import Certificate, Piece, Reach, _Worst, judge
from rnn_check.certificates.steps import (
    _BLOCK,
    Layer,
    _spread_and_noise,
    copies_of,
    reach_of,
)
from rnn_check.certificates.sums import (
    FLOAT64,
    NOTHING,
    UP,
    Factor,
    Sample,
    Sum,
    Through,
    sampled,
    typical,
)
from rnn_check.numbers import activations
from rnn_check.numbers.arrays import check as _check
from rnn_check.numbers.arrays import numbers
from rnn_check.numbers.arrays import read as _read
from rnn_check.numbers.bounded import Bounded, exactly
from rnn_check.numbers.formats import Array, gamma
from rnn_check.numbers.reading import Bounds
from rnn_check.numbers.spread import activation_error
from rnn_check.recurrences.gated import GRU, LSTM, Recurrence


class Seen(Bounds):
    """Bounded numbers whose operands were observed; sums as `sums.Sum` bounds them.

    observed: of some states by name, what is known to have come of the step (R,H). A compiler may
    make a state once more for what comes next, with or without fused multiply-add, so that it
    differs from the one that is shown: by `differs`, twice the rounding of two products' sum. That
    is c of an LSTM, and h of a GRU.
    """

    def __init__(self, layer: GatedLayer, observed: dict[str, Array]) -> None:
        super().__init__(layer.a, layer.name, layer.gate)
        self.layer, self.observed = layer, observed
        self.expected: dict[str, Bounded] = {}  # of what was observed, what the step makes of it
        self.differs: dict[str, Array] = {}
        self.sums: list[Sum] = []  # one for each call of affine, in order

    def affine(  # type: ignore[override]
        self,
        *products: tuple[Bounded, Bounded],
        bias: Bounded | None = None,
        stored: int | None = None,
    ) -> Bounded:
        factor, several = self.layer.factor([m for _, m in products], bias)
        parts = [rows.value for rows, _ in products]
        if several:
            parts.append(np.ones((len(parts[0]), several)))
        s = Sum(np.concatenate(parts, axis=1) if len(parts) > 1 else parts[0], factor)
        biases = 0 if bias is None else several + 1
        s.bounded(len(products), stored=stored or len(products) + biases)
        error = s.error
        for rows, m in products:
            off = rows.known.error
            if rows.error.any():
                error = error + (off @ np.abs(m.value)) * (1 + 2 * s.gamma)
        if np.isnan(s.value).any():  # whatever the others are off by
            error = np.where((s.error == 0) & _is_nan(products, bias), 0.0, error)
        self.sums.append(s)
        return Bounded(s.value, error * UP, self.a)

    def _activated(self, name: str, z: Bounded) -> Bounded:
        if activations.activation(name).closed is None:
            found = super()._activated(name, z)
            # what may overflow may be NaN, whatever the activation's range
            overflows = (z.error == np.inf) & np.isfinite(found.error)
            error = np.where(overflows, np.inf, found.error) if overflows.any() else found.error
            return Bounded(found.value, error, self.a)
        h = np.asarray(activations.activation(name).function(z.value))
        far, noise = _spread_and_noise(name, z, h, gate=True)
        error = (far + noise) * UP
        if not (np.isfinite(error).all() and np.isfinite(z.error).all()):
            error = np.where(np.isfinite(z.error) & ~np.isnan(error), error, np.inf)
            error = np.where(z.is_nan, 0.0, error)
        return Bounded(h, error, self.a)

    def blend(self, z: Bounded, h: Bounded, c: Bounded) -> Bounded:
        value = super().blend(z, h, c)
        rest = np.abs(1 - z.value) + z.error
        most = z.most * h.most + rest * c.most
        differs = gamma(4, self.a.u_stored) * most + 4 * self.a.min_normal
        self.differs["h"] = np.where(value.error == 0, 0.0, differs)
        return value

    def seen(self, name: str, a: Bounded, b: Bounded) -> Bounded:
        value = a + b
        most = np.abs(a.value) + a.error + np.abs(b.value) + b.error
        differs = gamma(4, self.a.u_stored) * most + 4 * self.a.min_normal
        self.differs[name] = np.where(value.error == 0, 0.0, differs)
        self.expected[name] = value
        if name not in self.observed:
            return value
        return Bounded(self.observed[name], self.differs[name], self.a)


def _is_nan(products: Sequence[tuple[Bounded, Bounded]], bias: Bounded | None) -> Array:
    """Which sums are NaN for sure, because an operand is."""
    found: Array = np.zeros((len(products[0][0].value), products[0][1].value.shape[1]), bool)
    for rows, m in products:
        of_row: Array = np.any(np.isnan(rows.value) & (rows.error == 0), axis=1, keepdims=True)
        found |= of_row
        found |= np.isnan(m.value).any(axis=0)
    if bias is not None:
        found |= np.isnan(bias.value.reshape(-1, found.shape[1])).any(axis=0)
    return found


class GatedLayer(Layer):
    """The operands of every step of a gated recurrence, the states as observed.

    c: the cell states (B,T,H); None: not seen. last_c: the last of them (B,H), if it alone is seen.
    """

    def __init__(
        self,
        recurrence: Recurrence,
        recurrent_activation: str | None,
        cell_states: Any,
        states: Any,
        *,
        initial_state: Any,
        **operands: Any,
    ) -> None:
        self.recurrence = recurrence
        self.gates, self.biases = len(recurrence.gates), recurrence.biases
        self.gate = activations.activation(recurrent_activation).name
        start = [initial_state, None]
        if recurrence is LSTM and initial_state is not None:
            if not isinstance(initial_state, (list, tuple)) or len(initial_state) != 2:
                raise ValueError("initial_state should hold two arrays (B,H), of h and of c")
            start = list(initial_state)
        super().__init__(states, initial_state=start[0], **operands)
        B, T, H = self.h.shape
        self.c: Array | None = None
        self.last_c: Array | None = None
        if cell_states is not None:
            if recurrence is not LSTM:
                raise ValueError("cell_states are an LSTM's, and this is none")
            given = numbers("cell_states", cell_states)
            if given.ndim == 2:
                _check("cell_states", given, (B, H), "the last ones, batch by units of the states")
                self.last_c = given
            else:
                _check("cell_states", given, (B, T, H), "the states', or (B,H): the last alone")
                self.c = given
        self.c0 = (
            np.zeros((B, H)) if start[1] is None else _read("initial_state[1]", start[1], self.a)
        )
        _check("initial_state[1]", self.c0, (B, H), "batch by units of the states")
        self.c0 = self.c0.astype(np.float64)
        whole = (exactly(part, self.a) if part is not None else None
                 for part in (self.W, self.U, self.bias))  # fmt: skip
        arranged = [recurrence.arranged(*(None if b is None else b.value for b in whole))]
        self.weights = type(arranged[0])(
            *(None if part is None else exactly(part, self.a) for part in arranged[0])
        )
        self._factors: dict[tuple[int, ...], tuple[Factor, int]] = {}
        self._differs: Array | None = None

    def factor(self, matrices: Sequence[Bounded], bias: Bounded | None) -> tuple[Factor, int]:
        """The matrices one below the other; how many biases stand below them, as rows.

        All but one of several biases are rows of the matrix, that ones are multiplied with.
        """
        key = (*map(id, matrices), id(bias))
        if key not in self._factors:
            parts = [m.value for m in matrices]
            one, several = None if bias is None else bias.value, 0
            if one is not None and one.ndim > 1:
                parts.append(one[1:])
                one, several = one[0], len(one) - 1
            ends = np.cumsum([len(p) for p in parts])[:-1]
            matrix = np.concatenate(parts) if len(parts) > 1 else parts[0]
            self._factors[key] = Factor(matrix, self.a, *map(int, ends), bias=one), several
        return self._factors[key]

    def blocks(self) -> Iterator[tuple[slice, slice]]:
        """(samples, steps) as of any layer, fewer: there are some 8 arrays of each gate."""
        B, T, H = self.h.shape
        if not self.h.size:
            return
        rows = max(1, _BLOCK // (len(self.W) + H * (1 + 2 * self.gates)))
        steps, samples = min(T, rows), max(1, rows // max(T, 1))
        for i in range(0, B, samples):
            for t in range(0, T, steps):
                yield slice(i, min(i + samples, B)), slice(t, min(t + steps, T))

    @property
    def cell(self) -> GatedLayer:
        """As if the cell states were what it shows; masked steps copy them."""
        assert self.c is not None
        return self.copied(self.c, self.c0)

    def copied(self, states: Array, initial: Array) -> GatedLayer:
        """As if these were the states that it shows."""
        layer = copy(self)
        layer.h, layer.h0, layer.zeroed = states, initial, False
        return layer

    def before(self, samples: slice, steps: slice) -> Array:
        """(R,H) the states before the steps of a block."""
        if self.last is not None:
            found = self.after(samples, self.last[samples, steps])
        elif steps.start:
            found = self.h[samples, steps.start - 1 : steps.stop - 1]
        else:
            found = np.concatenate([self.h0[samples, None], self.h[samples, : steps.stop - 1]], 1)
        return found.reshape(-1, found.shape[2]).astype(np.float64)

    def handed(self, samples: slice, steps: slice) -> Bounded:
        """(R,H) the states that the steps of a block receive, which a GRU may make once more."""
        before = exactly(self.before(samples, steps), self.a)
        if self.recurrence is LSTM:  # no sum: o∘act(c)
            return before
        if self._differs is None:
            self._differs = self._handed_off()
        return before.off_by(self._differs[samples, steps].reshape(before.value.shape))

    def _handed_off(self) -> Array:
        """(B,T,H) by how much they may differ from the states that are shown.

        Of z and c as the states that are shown make them. Two fused and unfused sums differ by no
        more than 3u of their terms; γ_4 covers terms that are a quarter larger.
        """
        found, off = np.zeros(self.h.shape), np.zeros((0, 0))
        for samples, steps in self.blocks():
            h = self.h[samples, steps]
            off = off if steps.start else np.zeros((h.shape[0], h.shape[2]))
            before = exactly(self.before(samples, steps), self.a)
            n, _ = self._stepped(samples, steps, {}, before)
            # a state that is none brings no doubt to those after it
            made = np.where(np.isfinite(h).reshape(before.value.shape), n.differs["h"], 0.0)
            made = np.where(np.isnan(made), 0.0, made)
            left, off = _handed_on(self, samples, steps, made, off)
            found[samples, steps] = left.reshape(h.shape)
        return found

    def step(
        self, samples: slice, steps: slice, observed: dict[str, Array], *before: Bounded
    ) -> tuple[Seen, Any]:
        """One step each of a block, and the reading that made it. before: of further states."""
        return self._stepped(samples, steps, observed, self.handed(samples, steps), *before)

    def _stepped(
        self, samples: slice, steps: slice, observed: dict[str, Array], *before: Bounded
    ) -> tuple[Seen, Any]:
        n = Seen(self, observed)
        x = self.x[samples, steps].reshape(-1, len(self.W)).astype(np.float64)
        return n, self.recurrence.step(n, self.weights, exactly(x, self.a), *before)

    def reach(self) -> Reach:
        """Between which numbers h lies."""
        act = reach_of(self.name)
        if not act.is_limited or activations.activation(self.gate).values != (0, 1):
            return Reach()
        low, high = min(act.low, 0.0), max(act.high, 0.0)
        if self.recurrence is not LSTM:
            low = min(act.low, float(self.h0.min(initial=act.low)))
            high = max(act.high, float(self.h0.max(initial=act.high)))
        return Reach(low, high)


def certified(layer: GatedLayer) -> Certificate:
    """The states of this layer, and its cell states where they were given."""
    seen = layer.h
    if layer.c is not None:
        seen = np.stack([layer.h, layer.c])
    elif layer.last_c is not None:
        dtype = np.result_type(layer.h, layer.last_c)
        others = np.full((layer.h.shape[0], layer.h.shape[1] - 1, layer.h.shape[2]), np.nan, dtype)
        c = np.concatenate([others, layer.last_c[:, None]], axis=1)
        seen = np.stack([layer.h.astype(dtype), c])
    if layer.recurrence is LSTM and layer.c is None:
        observer = Observer(layer)
        note = (
            "; how its sums were made is not seen where cell_states are not, nor c where act is "
            "saturated"
        )
        return judge(layer.a, seen, observer.pieces, layer.reach(), note)
    return judge(layer.a, seen, lambda worst: _pieces(layer), layer.reach())


def _pieces(layer: GatedLayer) -> Iterator[Piece]:
    """All states are seen."""
    shows_c = layer.c is not None
    differs = np.zeros((0, 0))
    for samples, steps in layer.blocks():
        shape = layer.h[samples, steps].shape
        observed = {"h": layer.h[samples, steps].reshape(-1, shape[2]).astype(np.float64)}
        before: tuple[Bounded, ...] = ()
        if shows_c:
            cell = layer.cell
            observed["c"] = cell.h[samples, steps].reshape(-1, shape[2]).astype(np.float64)
            before = (exactly(cell.before(samples, steps), layer.a),)
        n, step = layer.step(samples, steps, observed, *before)
        samples_of = _samples(layer, samples, steps, observed, before, n, step)
        found = {"h": step.h, **n.expected}
        if shows_c:  # the step before may have handed on another c than it shows
            differs = differs if steps.start else np.zeros((shape[0], shape[2]))
            before_c, differs = _handed_on(layer, samples, steps, n.differs["c"], differs)
            c = found["c"]
            more = (np.abs(step.f.value) + step.f.error) * before_c
            found["c"] = Bounded(
                c.value, np.where(np.isnan(c.value), c.error, c.error + more), layer.a
            )
        for i, name in enumerate(layer.recurrence.states):
            view = layer.cell if i else layer
            expected, bound = (
                part.reshape(shape) for part in (found[name].value, found[name].error)
            )
            expected, bound = _masked(view, samples, steps, expected, bound)
            place: tuple[slice, ...] = (samples, steps)
            if shows_c:
                place, expected, bound = (slice(i, i + 1), *place), expected[None], bound[None]
            reach = Reach() if i else None
            yield Piece(place, expected, bound, samples_of.get(name, NOTHING), reach=reach)


def _handed_on(
    layer: GatedLayer, samples: slice, steps: slice, made: Array, first: Array
) -> tuple[Array, Array]:
    """Of what each step made (R,H), what the steps before those of a block left; and the last."""
    shape = layer.h[samples, steps].shape
    each, before = made.reshape(shape), np.empty(shape)
    for t in range(shape[1]):
        before[:, t] = first
        first = each[:, t]
        if layer.mask is not None:
            first = np.where(layer.mask[samples, steps][:, t, None], first, before[:, t])
    return before.reshape(made.shape), first


def _masked(
    layer: GatedLayer, samples: slice, steps: slice, expected: Array, bound: Array
) -> tuple[Array, Array]:
    """Masked steps copy the state before them, bit for bit."""
    if layer.mask is None:
        return expected, bound
    skipped = ~layer.mask[samples, steps]
    observed = layer.h[samples, steps].astype(np.float64)
    copies = copies_of(layer, samples, steps, observed)
    expected = np.where(skipped[:, :, None], copies, expected)
    return expected, np.where(skipped[:, :, None], 0.0, bound)


# How the sums were made --------------------------------------------------------------------------


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


def _samples(
    layer: GatedLayer, samples: slice, steps: slice, observed: dict[str, Array],
    before: tuple[Bounded, ...], n: Seen, step: Any,
) -> dict[str, Sample]:  # fmt: skip
    """Of each state, the errors as seen from the sums of its gates."""
    act, gate = (activations.activation(name) for name in (layer.name, layer.gate))
    rows, units = layer.sampled(samples, steps)
    if (
        act.derivative is None
        or gate.derivative is None
        or not len(_index(rows, len(step.h.value)))
    ):
        return {}

    def at(b: Bounded) -> Array:
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
                of_c, n.layer.before(samples, steps)[rows] * gate.derivative(full_s, full_r),
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
        possible += part.through.squares(typical(part.sums, np.sqrt(of_sum)))
        lost += part.through.sizes(part.sums.lost + 0 * part.sums.value)
    m = np.sqrt(squares)
    counts = (noise <= 2**5 * a.u * m) & (lost <= a.u * m) & counted & (possible > 0)
    inexact = np.zeros(e.shape, bool)
    for part in parts:
        inexact |= part.through.sizes((part.sums.error > 0).astype(np.float64)) > 0
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

    return sampled(e, m, possible / squares, counts & inexact, operands)


# A hidden cell state ------------------------------------------------------------------------------


class Between(NamedTuple):
    """Intervals: what is known of the numbers of an array."""

    low: Array
    high: Array

    @property
    def middle(self) -> Array:
        """0 where nothing is known."""
        middle = self.low / 2 + self.high / 2
        return np.where(np.isfinite(middle), middle, 0.0)

    def bounded(self, a: Any) -> Bounded:
        middle = self.middle
        far = np.maximum(self.high - middle, middle - self.low)
        return Bounded(middle, np.where(np.isnan(far), np.inf, far * UP), a)

    def within(self, other: Between) -> tuple[Between, Array]:
        """What both say, and where they contradict each other; there what this one says."""
        low, high = np.fmax(self.low, other.low), np.fmin(self.high, other.high)
        empty = low > high
        return Between(np.where(empty, self.low, low), np.where(empty, self.high, high)), empty


# The inverses of activations whose own error is relative to |act|, over what they may give
_INVERSES: dict[str, Callable[[Array], Array]] = {
    "linear": lambda t: t,
    "tanh": np.arctanh,
    "softsign": lambda t: t / (1 - np.abs(t)),
    "sigmoid": lambda t: np.log(t) - np.log1p(-t),
    "exponential": np.log,
    "relu": lambda t: np.where(t > 0, t, -np.inf),
    "relu6": lambda t: np.where(t > 0, t, -np.inf),
    "hard_tanh": lambda t: t,
}


def _before_act(name: str, t: Between, a: Any) -> Between:
    """Between which numbers c lies if what act makes of it, with its own error, lies in t.

    act rises, and its error is C·u·|act| and 2η(1 + |c|), where |c| > 2^6 does not matter beside u.
    """
    everything = Between(np.full_like(t.low, -np.inf), np.full_like(t.low, np.inf))
    if name not in _INVERSES:
        return everything
    reach, own = (
        reach_of(name),
        2 * activations.activation(name).c * (a.u_stored + FLOAT64.u) + 2.0**-48,
    )
    least = 2.0**9 * (a.min_normal + FLOAT64.min_normal)
    low = t.low - own * np.abs(t.low) - least
    high = t.high + own * np.abs(t.high) + least
    bottom, top = (0.0, math.inf) if name in ("relu", "exponential") else reach
    inverse = _INVERSES[name]

    def inside(v: Array) -> Array:
        return (v > bottom) & (v < top)

    middle = 0.5 * (max(bottom, -1.0) + min(top, 1.0))
    c = [inverse(np.where(inside(v), v, middle)) for v in (low, high)]
    c = (
        [v + side * 2.0**-46 * (1 + np.abs(v)) for v, side in zip(c, (-1, 1), strict=True)]
        if name != "linear"
        else c
    )
    return Between(np.where(inside(low), c[0], -np.inf), np.where(inside(high), c[1], np.inf))


class Observer:
    """What the states of an LSTM say of its cell states, step by step."""

    def __init__(self, layer: GatedLayer) -> None:
        self.layer = layer

    def told(self, h: Array, o: Bounded) -> Between:
        """I_t: between which numbers c lies, by the state h = o∘act(c) that was observed."""
        layer, a = self.layer, self.layer.a
        u, eta = 2 * (a.u_stored + FLOAT64.u), 4 * a.min_normal
        least, most = np.abs(o.value) - o.error, np.abs(o.value) + o.error
        size = np.abs(h)
        # |act(c)|, of which a product was rounded, and perhaps flushed
        low = np.maximum(size * (1 - u) - eta, 0) / most - eta
        high = (size * (1 + u) + eta) / np.where(least > eta, least, np.nan) + eta
        high = np.where(np.isnan(high), np.inf, high)
        sign = np.sign(h) * np.sign(o.value)
        one_side = (low > 0) & (least > eta)
        t = Between(
            np.where(one_side & (sign > 0), low, -high),
            np.where(one_side & (sign < 0), -low, high),
        )
        found = _before_act(layer.name, t, a)
        unknown = ~np.isfinite(h)
        return Between(np.where(unknown, -np.inf, found.low), np.where(unknown, np.inf, found.high))

    def blocks(self) -> Iterator[tuple[slice, slice, Seen, Any, Between, Between, Array]]:
        """Of each block: its step, P and J (n,m,H), and where J is empty.

        J is of the c that is handed on; that which made h, and that which is shown, may differ.
        """
        layer = self.layer
        a, H = layer.a, layer.h.shape[2]
        self.differs = np.zeros(layer.c0.shape)
        J = Between(layer.c0, layer.c0)
        for samples, steps in layer.blocks():
            if steps.start == 0:
                J = Between(layer.c0[samples], layer.c0[samples])
                self.differs = np.zeros(J.low.shape)
            n, s = layer.step(samples, steps, {}, _nothing(a, samples, steps, H))
            shape = layer.h[samples, steps].shape
            h = layer.h[samples, steps].astype(np.float64)
            f, ig = (b.each(lambda part: part.reshape(shape)) for b in (s.f, s.i * s.g))  # noqa: B023
            told = self.told(h, s.o.each(lambda part: part.reshape(shape)))  # noqa: B023
            if layer.mask is not None:
                counts = layer.mask[samples, steps][:, :, None]
                told = Between(
                    np.where(counts, told.low, -np.inf), np.where(counts, told.high, np.inf)
                )
            P, kept = (
                Between(np.empty(shape), np.empty(shape)),
                Between(np.empty(shape), np.empty(shape)),
            )
            empty = np.zeros(shape, bool)
            for t in range(shape[1]):
                at = (slice(None), t)
                now, off = _next(
                    Bounded(f.value[at], f.error[at], a), J, Bounded(ig.value[at], ig.error[at], a)
                )
                J_next, empty[at] = now.within(Between(told.low[at] - off, told.high[at] + off))
                if layer.mask is not None:
                    keep = layer.mask[samples, steps][:, t, None]
                    J_next = Between(
                        *(np.where(keep, new, old) for new, old in zip(J_next, J, strict=True))
                    )
                    empty[at] &= keep
                    off = np.where(keep, off, self.differs)
                J, self.differs = J_next, off
                for part, value in zip((*P, *kept), (*now, *J), strict=True):
                    part[at] = value
            yield samples, steps, n, s, P, kept, empty

    def pieces(self, worst: _Worst) -> Iterator[Piece]:
        layer = self.layer
        a, T = layer.a, layer.h.shape[1]
        for samples, steps, n, s, P, J, empty in self.blocks():
            shape = J.low.shape
            flat = Between(*(part.reshape(-1, shape[2]) for part in P))
            t = _over(n, flat)
            h = s.o * t
            expected, bound = h.value.reshape(shape), h.error.reshape(shape)
            observed = layer.h[samples, steps].astype(np.float64)
            off = np.abs(observed - expected)
            bound = np.where(empty & (off <= bound), off * (1 - 2.0**-20), bound)
            # all that |h| may be: the gate, times the activation's range
            reach = layer.reach()
            says = np.isfinite(bound)
            if reach.is_limited:
                half = (reach_of(layer.name).high - reach_of(layer.name).low) / 2
                widest = (np.abs(s.o.value) + s.o.error) * half
                says &= (bound < 0.99 * widest.reshape(shape)) | (bound == 0)
            vague = _vague(J)
            expected, bound = _masked(layer, samples, steps, expected, bound)
            if layer.mask is not None:
                says |= ~layer.mask[samples, steps][:, :, None]
                vague &= layer.mask[samples, steps][:, :, None]
            blind = (reach.high - reach.low) / 100 if reach.is_limited else np.abs(expected) / 100
            hidden = int(np.count_nonzero(vague & ~(bound > blind)))
            place: tuple[slice, ...] = (samples, steps)
            last = layer.last_c is not None
            parts = [expected, bound, says]
            if last:
                place, parts = (slice(0, 1), *place), [part[None] for part in parts]
            limits = None if reach.is_limited else Reach()
            yield Piece(
                place, parts[0], parts[1], blind=hidden, reach=limits,
                says=parts[2] if reach.is_limited else None,
            )  # fmt: skip
            if last and steps.stop == T:
                off = self.differs[:, None]
                c = Between(J.low[:, -1:] - off, J.high[:, -1:] + off).bounded(a)
                where = (slice(1, 2), samples, slice(T - 1, T))
                yield Piece(where, c.value[None], c.error[None], reach=Reach())


def _nothing(a: Any, samples: slice, steps: slice, H: int) -> Bounded:
    R = (samples.stop - samples.start) * (steps.stop - steps.start)
    return exactly(np.zeros((R, H)), a)


def _vague(J: Between) -> Array:
    """Where c is not known to a hundredth of it, or of 1."""
    return np.asarray(~(J.high - J.low <= 0.02 * np.fmax(1.0, np.abs(J.middle))))


def _next(f: Bounded, J: Between, ig: Bounded) -> tuple[Between, Array]:
    """P_t from J_{t-1}: f·c + i·g for each c in it, and the roundings of two results.

    Also by how much it may differ if it is made once more.
    """
    a, c = f.a, J.bounded(f.a)
    most = np.abs(c.value) + c.error
    added = np.abs(ig.value) + ig.error
    e = f.error * most + np.abs(f.value) * c.error + ig.error
    product = (np.abs(f.value) + f.error) * most
    e = e + (gamma(2, a.u_stored) + gamma(4, FLOAT64.u)) * (product + added)
    e = e + (4 + 2 * (np.abs(f.value) + f.error)) * a.min_normal
    value, e = f.value * c.value + ig.value, e * UP
    unknown = ~(product + added <= a.max) | ~np.isfinite(value) | np.isnan(e)
    differs = gamma(4, a.u_stored) * (product + added) + 4 * a.min_normal
    P = Between(np.where(unknown, -np.inf, value - e), np.where(unknown, np.inf, value + e))
    return P, np.where(unknown, 0.0, differs)


def _over(n: Seen, c: Between) -> Bounded:
    """act of all numbers in c: where it rises and both ends are finite, midway between them."""
    t = n.act(c.bounded(n.a))
    if n.names[0] not in _INVERSES:
        return t
    low, high = (n.act(exactly(np.where(np.isfinite(end), end, 0.0), n.a)) for end in c)
    middle = (low.value + high.value) / 2
    far = (high.value - low.value) / 2 + np.maximum(low.error, high.error)
    use = np.isfinite(c.low) & np.isfinite(c.high) & (far * UP < t.error)
    return Bounded(np.where(use, middle, t.value), np.where(use, far * UP, t.error), n.a)
