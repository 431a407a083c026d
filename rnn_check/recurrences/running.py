"""How far may the numbers of a whole sequence be off, when only its end is seen?

A running error analysis (Higham, section 3.3), for vectors: errors grow from step to step. The
recurrence read as bounded numbers is the running bound, and over a tape the gradients with theirs.
Shapes as in `kinds`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Unpack

import numpy as np

from rnn_check.numbers import formats
from rnn_check.numbers.bounded import Bounded, _given, exactly, stacked
from rnn_check.numbers.formats import Arithmetic, Array
from rnn_check.numbers.reading import Bounds, Node, Tape
from rnn_check.recurrences.gated import steps
from rnn_check.recurrences.kinds import How, Recurrence, read
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


class _Paper:
    """Where a computation by hand is: what it rounds at a step, and what it had before."""

    def __init__(self, r: Recurrence, by_hand: ByHand) -> None:
        self.t, self.states = 0, [by_hand.states.get(name, 0.0) for name in r.states]
        fields = dict(zip(r.gates, r.fields, strict=True))
        self._after = {fields[name]: part for name, part in by_hand.gates.items()}
        self._before = {fields[name]: part for name, part in by_hand.arguments.items()}
        taken = {name: state for name, state in r.taken_of.items() if state in by_hand.states}
        self._before |= {name: by_hand.states[state] for name, state in taken.items()}
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


def _arranged(r: Recurrence, weights: Sequence[Bounded | None], a: Arithmetic) -> Any:
    value, error, size = (
        r.arranged(*(None if b is None else getattr(b, which) for b in weights))
        for which in ("value", "error", "size")
    )
    parts = zip(value, error, size, strict=True)
    return type(value)(*(None if v is None else Bounded(v, e, a, s) for v, e, s in parts))


class Running:
    """The numbers of forward in float64, and how far another's computation may be off.

    Arguments as forward; and arithmetic, what the other computes in; errors, how far the true
    inputs may be from those given (keys x, kernel, recurrent_kernel, bias, and initial_state with
    one for each state); round_inputs, whether what the arithmetic cannot hold is rounded to it
    first; by_hand, to what is rounded by hand. Errors grow from step to step: no certificate, but
    all there is for those who see the end only.

    states, gates, arguments and carried hold bounded numbers (B,T,H), by name and in processing
    order. gates: none where there are none. arguments: of the gates, of act "" where there are
    none, what the activation is taken of. carried: the states as the next step takes them: rounded
    by hand, if at all.

    Raises ValueError as forward, and for unknown arithmetics and keys of errors.
    """

    def __init__(
        self,
        r: Recurrence,
        x: Any,
        kernel: Any,
        recurrent_kernel: Any,
        bias: Any = None,
        *,
        arithmetic: Any = "float32",
        errors: Mapping[str, Any] | None = None,
        round_inputs: bool = True,
        by_hand: ByHand = NOT_BY_HAND,
        **how: Unpack[How],
    ) -> None:
        errors = errors or {}
        if unknown := [name for name in errors if name not in _INPUTS]:
            raise ValueError(f"errors of {unknown[0]!r}: known are {', '.join(_INPUTS)}")
        self.r, self.by_hand, self.round_inputs = r, by_hand, round_inputs
        self.a = a = formats.arithmetic(arithmetic)
        arrays = (x, kernel, recurrent_kernel, bias)
        wide: list[Any] = [None if v is None else np.asarray(v, np.float64) for v in arrays]
        given = read(r, *wide, **how)
        self.names, self.go_backwards = given.functions, given.go_backwards
        off = np.broadcast_to(np.asarray(errors.get("x", 0.0), np.float64), np.shape(x))
        off = (off[:, ::-1] if given.go_backwards else off).swapaxes(0, 1)
        of_start = errors.get("initial_state", (0.0,) * len(r.states))
        with np.errstate(all="ignore"):
            self.x = [self._known(*pair) for pair in zip(given.x, off, strict=True)]
            self.start = [self._known(*pair) for pair in zip(given.start, of_start, strict=True)]
            self.weights = [
                None if part is None else self._known(part, errors.get(name, 0.0))
                for name, part in zip(_INPUTS[1:4], given[1:4], strict=True)
            ]
            self.skip, paper = given.skip, _Paper(r, by_hand)
            n, w = _OnPaper(a, *self.names, paper), _arranged(r, self.weights, a)
            arguments, shown, carried = [], [], []
            for step, states in steps(n, r, w, self.x, self.start, self.skip, paper.turned):
                arguments.append(step.s)
                shown.append(states)
                carried.append(paper.on_paper(states))
        self.states, self.carried = (
            {name: stacked([s[i] for s in part], 1) for i, name in enumerate(r.states)}
            for part in (shown, carried)
        )
        self.arguments = {n: stacked([s[i] for s in arguments], 1) for i, n in enumerate(r.gates)}
        fields = dict(zip(r.gates, r.fields, strict=True)) if r.has_gates else {}
        self.gates = {name: stacked(paper.made[field], 1) for name, field in fields.items()}

    def _known(self, value: Array, error: Any) -> Bounded:
        """As the subject receives it: rounded to the arithmetic, or off by its error."""
        return _given(value, error, self.a, self.round_inputs)

    def gradients(
        self, cotangents: Mapping[str, Any], errors: Mapping[str, Any] | None = None
    ) -> tuple[Gradients, Gradients]:
        """Those of backward in float64, and how far another's may be off.

        cotangents as backward takes them, known to within their errors, and rounded to the
        arithmetic if exactly known and round_inputs. The forward pass is read over a tape, and gone
        back over, every gradient with the error of all it was made of.
        """
        r, a, off = self.r, self.a, dict(errors or {})
        weights = self.weights
        if weights[2] is None:  # what one of zeros would receive
            nothing = np.zeros(r.bias_shape(self.start[0].value.shape[1]))
            weights = [*weights[:2], exactly(nothing, a)]
        with np.errstate(all="ignore"):
            paper = _Paper(r, self.by_hand)
            tape = _TapedOnPaper(a, *self.names, paper)
            w = _arranged(r, weights, a)
            w = type(w)(*(None if b is None else tape.leaf(b) for b in w))
            start, inputs = [tape.leaf(b) for b in self.start], [tape.leaf(b) for b in self.x]
            deltas = []
            taped = steps(tape, r, w, inputs, start, self.skip, paper.turned)
            for t, (step, states) in enumerate(taped):
                deltas.append(step.s)
                for name, state in zip(r.states, states, strict=True):
                    if name in cotangents:
                        c, e = np.asarray(cotangents[name], np.float64)[:, t], off.get(name)
                        if e is None:
                            state.receive(self._known(c, 0.0))
                        else:
                            state.receive(_given(c, np.asarray(e)[:, t], a, False))
            tape.backward()
            of_weights = type(w)(*(None if node is None else tape.gradient(node) for node in w))

        def part(which: str) -> Gradients:
            def get(node: Node) -> Array:
                nothing = np.zeros(node.b.value.shape)
                return nothing if node.gradient is None else getattr(node.gradient, which)

            dx = np.stack([get(node) for node in inputs], 1)
            of = (None if g is None else getattr(g, which) for g in of_weights)
            W, U, b = r.joined(type(w)(*of))
            return Gradients(
                x=dx[:, ::-1] if self.go_backwards else dx,
                kernel=W,
                recurrent_kernel=U,
                bias=b,
                initial_state=tuple(map(get, start)),
                delta=np.stack([np.concatenate(list(map(get, s)), -1) for s in deltas], 1),
            )

        return part("value"), part("error")
