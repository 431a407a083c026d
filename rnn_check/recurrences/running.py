"""How far may the numbers of a whole sequence be off, when only its end is seen?

A running error analysis (Higham, section 3.3), for vectors: errors grow from step to step. The
recurrence read as bounded numbers is the running bound, and over a tape the gradients with theirs.
Shapes as in `kinds`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from rnn_check.numbers import formats
from rnn_check.numbers.bounded import Bounded, _given
from rnn_check.numbers.formats import Arithmetic, Array, Bound
from rnn_check.numbers.reading import Bounds, Node, Tape
from rnn_check.recurrences.gated import steps
from rnn_check.recurrences.kinds import LSTM, Recurrence, read
from rnn_check.recurrences.over_time import Gradients


class ByHand(NamedTuple):
    """Half units of the last digit to which somebody who computes by hand rounds what is carried.

    (B,T,H) each, or a number, in processing order; absent where nothing is rounded.
    states: by name, before anything further is made of them, c of an LSTM in the same step. gates:
    by name, before they are multiplied. arguments: of gates by name, of act "" where there are no
    gates, before an activation is taken of them.
    """

    states: Mapping[str, Array | float] = {}
    gates: Mapping[str, Array | float] = {}
    arguments: Mapping[str, Array | float] = {}


NOT_BY_HAND = ByHand()


class Running(NamedTuple):
    """Bounded numbers in processing order: of each a value and a bound (B,T,H).

    gates: none where there are none. arguments: of the gates by name, of act "" where there are
    none, what the activation is taken of. carried: the states as the next step takes them: rounded
    by hand, if at all.
    """

    states: dict[str, tuple[Array, Bound]]
    gates: dict[str, tuple[Array, Bound]]
    arguments: dict[str, tuple[Array, Bound]]
    carried: dict[str, tuple[Array, Bound]]


class _Paper:
    """Where a computation by hand is: what it rounds at a step, and what it had before."""

    def __init__(self, r: Recurrence, by_hand: ByHand) -> None:
        self.t, self.states = 0, [by_hand.states.get(name, 0.0) for name in r.states]
        fields = dict(zip(r.gates, r.fields, strict=True))
        self._after = {fields[name]: part for name, part in by_hand.gates.items()}
        self._before = {fields[name]: part for name, part in by_hand.arguments.items()}
        if r is LSTM and "c" in by_hand.states:
            self._before["h"] = by_hand.states["c"]
        # act' may be made of a number that was rounded: of a gate, or of a state that act makes
        states = {name: part for name, part in by_hand.states.items() if name in r.fields}
        self._slope = self._after | states
        self.made: dict[str, list[Bounded]] = {}

    def before(self, name: str) -> Array | float:
        """To what the argument of that name is rounded."""
        return self._at(self._before.get(name, 0.0))

    def after(self, name: str) -> Array | float:
        return self._at(self._after.get(name, 0.0))

    def slope(self, name: str) -> Array | float:
        """To what that is rounded which act' is made of."""
        return self._at(self._slope.get(name, 0.0))

    def turned(self, states: Sequence[Any]) -> tuple[Any, ...]:
        """The states as they stand on the paper, and on to the next step."""
        found = self.on_paper(states)
        self.t += 1
        return found

    def on_paper(self, states: Sequence[Any]) -> tuple[Any, ...]:
        return tuple(s.off_by(self._at(e)) for s, e in zip(states, self.states, strict=True))

    def _at(self, rounded: Array | float) -> Array | float:
        return rounded[:, self.t] if isinstance(rounded, np.ndarray) else rounded


class _OnPaper(Bounds):
    """Bounded numbers that are rounded where somebody who computes by hand rounds them."""

    def __init__(self, a: Any, act: str | None, gate: str | None, paper: _Paper) -> None:
        super().__init__(a, act, gate)
        self.paper = paper

    def named(self, function: str, z: Bounded, name: str) -> Bounded:
        found = self._activated(function, z.off_by(self.paper.before(name)))
        self.paper.made.setdefault(name, []).append(found)
        return found.off_by(self.paper.after(name))


class _TapedOnPaper(Tape):
    """The same over a tape."""

    def __init__(self, a: Any, act: str | None, gate: str | None, paper: _Paper) -> None:
        super().__init__(a, act, gate)
        self.paper = paper

    def named(self, function: str, z: Node, name: str) -> Node:
        z = z.off_by(self.paper.before(name))
        found = self._activated(function, z, self.paper.slope(name))
        return found.off_by(self.paper.after(name))


_INPUTS = ("x", "kernel", "recurrent_kernel", "bias", "initial_state")


class _Known(NamedTuple):
    x: list[Bounded]
    weights: tuple[Bounded, Bounded, Bounded | None]
    start: list[Bounded]
    skip: Array | None


def _bounded(
    r: Recurrence, arrays: Sequence[Any], options: dict[str, Any], a: Arithmetic,
    errors: Mapping[str, Any] | None, round_inputs: bool,
) -> _Known:  # fmt: skip
    """The inputs as bounded numbers: rounded to the arithmetic, or off by their errors."""
    errors = errors or {}
    if unknown := [name for name in errors if name not in _INPUTS]:
        raise ValueError(f"errors of {unknown[0]!r}: known are {', '.join(_INPUTS)}")
    wide: list[Any] = [None if v is None else np.asarray(v, np.float64) for v in arrays]
    x, W, U, b, start, skip = read(r, *wide, **options)

    def known(value: Array, error: Any) -> Bounded:
        return _given(value, error, a, round_inputs)

    off = np.broadcast_to(np.asarray(errors.get("x", 0.0), np.float64), x.swapaxes(0, 1).shape)
    off = (off[:, ::-1] if options["go_backwards"] else off).swapaxes(0, 1)
    of_start = errors.get("initial_state", (0.0,) * len(start))
    return _Known(
        [known(x_t, off_t) for x_t, off_t in zip(x, off, strict=True)],
        (
            known(W, errors.get("kernel", 0.0)),
            known(U, errors.get("recurrent_kernel", 0.0)),
            None if b is None else known(b, errors.get("bias", 0.0)),
        ),
        [known(s, e) for s, e in zip(start, of_start, strict=True)],
        skip,
    )


def _arranged(r: Recurrence, weights: Sequence[Bounded | None], a: Arithmetic) -> Any:
    value, error, size = (
        r.arranged(*(None if b is None else getattr(b, which) for b in weights))
        for which in ("value", "error", "size")
    )
    parts = zip(value, error, size, strict=True)
    return type(value)(*(None if v is None else Bounded(v, e, a, s) for v, e, s in parts))


def running_bound(
    r: Recurrence,
    x: Any,
    kernel: Any,
    recurrent_kernel: Any,
    bias: Any = None,
    *,
    activation: str | None = "tanh",
    recurrent_activation: str | None = "sigmoid",
    initial_state: Sequence[Any] | None = None,
    mask: Any = None,
    go_backwards: bool = False,
    arithmetic: Any = "float32",
    errors: Mapping[str, Any] | None = None,
    round_inputs: bool = True,
    by_hand: ByHand = NOT_BY_HAND,
) -> Running:
    """The numbers of forward in float64, and how far another's computation may be off.

    Arguments as forward; and arithmetic, what the other computes in; errors, how far the true
    inputs may be from those given (keys x, kernel, recurrent_kernel, bias, and initial_state with
    one for each state); round_inputs, whether what the arithmetic cannot hold is rounded to it
    first; by_hand, to what is rounded by hand. Errors grow from step to step: no certificate, but
    all there is for those who see the end only. Raises ValueError as forward, and for unknown
    arithmetics and keys of errors.
    """
    a = formats.arithmetic(arithmetic)
    options = {"initial_state": initial_state, "mask": mask, "go_backwards": go_backwards}
    with np.errstate(all="ignore"):
        known = _bounded(r, (x, kernel, recurrent_kernel, bias), options, a, errors, round_inputs)
        paper = _Paper(r, by_hand)
        n = _OnPaper(a, activation, recurrent_activation, paper)
        w = _arranged(r, known.weights, a)
        arguments, shown, carried = [], [], []
        for step, states in steps(n, r, w, known.x, known.start, known.skip, paper.turned):
            arguments.append(step.s)
            shown.append(states)
            carried.append(paper.on_paper(states))
    fields = dict(zip(r.gates, r.fields, strict=True)) if r.has_gates else {}
    return Running(
        {name: _sequence([s[i] for s in shown]) for i, name in enumerate(r.states)},
        {name: _sequence(paper.made[field]) for name, field in fields.items()},
        {name: _sequence([s[i] for s in arguments]) for i, name in enumerate(r.gates)},
        {name: _sequence([s[i] for s in carried]) for i, name in enumerate(r.states)},
    )


def _sequence(parts: Sequence[Bounded]) -> tuple[Array, Bound]:
    return np.stack([p.value for p in parts], 1), np.stack([p.error for p in parts], 1)


def running_gradients(
    r: Recurrence,
    x: Any,
    kernel: Any,
    recurrent_kernel: Any,
    bias: Any = None,
    *,
    cotangents: Mapping[str, Any],
    cotangent_errors: Mapping[str, Any] | None = None,
    activation: str | None = "tanh",
    recurrent_activation: str | None = "sigmoid",
    initial_state: Sequence[Any] | None = None,
    mask: Any = None,
    go_backwards: bool = False,
    arithmetic: Any = "float32",
    errors: Mapping[str, Any] | None = None,
    round_inputs: bool = True,
    by_hand: ByHand = NOT_BY_HAND,
) -> tuple[Gradients, Gradients]:
    """The gradients of backward in float64, and how far another's may be off.

    cotangents as backward takes them, known to within cotangent_errors, and rounded to the
    arithmetic if exactly known and round_inputs; the rest as running_bound. The forward pass is
    read over a tape, and gone back over, every gradient with the error of all it was made of.
    """
    a = formats.arithmetic(arithmetic)
    options = {"initial_state": initial_state, "mask": mask, "go_backwards": go_backwards}
    off = dict(cotangent_errors or {})
    with np.errstate(all="ignore"):
        arrays = (x, kernel, recurrent_kernel, bias)
        known = _bounded(r, arrays, options, a, errors, round_inputs)
        H = len(known.weights[1].value)
        if bias is None:  # what one of zeros would receive
            zeros = Bounded(np.zeros(r.bias_shape(H)), np.zeros(r.bias_shape(H)), a)
            known = known._replace(weights=(*known.weights[:2], zeros))
        paper = _Paper(r, by_hand)
        tape = _TapedOnPaper(a, activation, recurrent_activation, paper)
        w = _arranged(r, known.weights, a)
        w = type(w)(*(None if b is None else tape.leaf(b) for b in w))
        start, inputs = [tape.leaf(b) for b in known.start], [tape.leaf(b) for b in known.x]
        deltas = []
        taped = steps(tape, r, w, inputs, start, known.skip, paper.turned)
        for t, (step, states) in enumerate(taped):
            deltas.append(step.s)
            for name, state in zip(r.states, states, strict=True):
                if name in cotangents:
                    c = np.asarray(cotangents[name], np.float64)[:, t]
                    e = off.get(name)
                    e = 0.0 if e is None else np.asarray(e)[:, t]
                    state.receive(_given(c, e, a, round_inputs and off.get(name) is None))
        tape.backward()
        of_weights = type(w)(*(None if node is None else tape.gradient(node) for node in w))
    zero = Bounded(np.zeros(()), np.zeros(()), a)

    def part(which: str) -> Gradients:
        def get(b: Bounded | None, shape: tuple[int, ...]) -> Array:
            return np.broadcast_to(getattr(b or zero, which), shape)

        B = known.start[0].value.shape[0]
        dx = np.stack([get(v.gradient, v.b.value.shape) for v in inputs], 1)
        W, U, b = r.joined(type(w)(*(None if g is None else getattr(g, which) for g in of_weights)))
        return Gradients(
            x=dx[:, ::-1] if go_backwards else dx,
            kernel=W,
            recurrent_kernel=U,
            bias=b,
            initial_state=tuple(get(s.gradient, (B, H)) for s in start),
            delta=np.stack(
                [np.concatenate([get(z.gradient, (B, H)) for z in of], -1) for of in deltas], 1
            ),
        )

    return part("value"), part("error")
