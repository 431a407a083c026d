"""What should the numbers of a recurrence be over a whole sequence, and how far may they be off?

One loop for all: forward and back-propagation through time in NumPy, with masks, in either
direction, from any start; the same read as bounded numbers is the running bound, and over a tape
the gradients with theirs. What differs is in a `Recurrence`.

    B batch, T timesteps, F features, H units, G gates
    x (B,T,F)   kernel (F,GH)   recurrent_kernel (H,GH)   bias (GH,), or (biases,GH) if several
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from rnn_check.numbers import activations, formats
from rnn_check.numbers.activations import Activation
from rnn_check.numbers.arrays import check
from rnn_check.numbers.bounded import Bounded, _given
from rnn_check.numbers.formats import Arithmetic, Array, Bound
from rnn_check.numbers.reading import Bounds, Node, Numbers, Tape
from rnn_check.recurrences import gru, lstm
from rnn_check.recurrences.over_time import _arrays


@dataclass(frozen=True)
class Recurrence:
    """What a recurrence is: its gates, its states, one step and the way back.

    gates   in the order of their columns, each with the name it has in Keras
    fields  what a gate is called in what `step` returns
    states  what is carried from step to step, the output first
    biases  how many there are: if more than one, they are the rows of Keras's bias
    """

    name: str
    gates: tuple[str, ...]
    fields: tuple[str, ...]
    states: tuple[str, ...]
    biases: int
    arranged: Callable[[Any, Any, Any], Any]
    joined: Callable[[Any], tuple[Any, Any, Any]]
    step: Callable[..., Any]
    step_back: Callable[..., Any]

    def bias_shape(self, H: int) -> tuple[int, ...]:
        width = len(self.gates) * H
        return (width,) if self.biases == 1 else (self.biases, width)


LSTM = Recurrence(
    "lstm", ("i", "f", "c", "o"), ("i", "f", "g", "o"), ("h", "c"), 1,
    lstm.arranged, lstm.joined, lstm.step, lstm.step_back,
)  # fmt: skip
GRU = Recurrence(
    "gru",
    ("z", "r", "h"),
    ("z", "r", "c"),
    ("h",),
    2,
    gru.arranged,
    gru.joined,
    gru.step,
    gru.step_back,
)
GRU_BEFORE = Recurrence(
    "gru", ("z", "r", "h"), ("z", "r", "c"), ("h",), 1,
    gru.arranged, gru.joined, gru.step_before, gru.step_back_before,
)  # fmt: skip


def recurrence(name: str, reset_after: bool = True) -> Recurrence:
    """The gated recurrence of this name. Raises ValueError for any other."""
    known = {"lstm": LSTM, "gru": GRU if reset_after else GRU_BEFORE}
    if name not in known:
        raise ValueError(f"recurrence is {name!r}, but should be 'simple', 'gru' or 'lstm'")
    return known[name]


@dataclass(frozen=True)
class Run:
    """What a forward pass leaves: numbers in processing order, and what backward needs.

    states, gates: of each name (B,T,H), as Keras calls them: the gates i, f, c, o of an LSTM, of
    which c is the candidate; its states h and c.
    """

    recurrence: Recurrence
    states: dict[str, Array]
    gates: dict[str, Array]
    activation: Activation
    recurrent_activation: Activation
    go_backwards: bool
    x: Array  # (T,B,F) in processing order
    arrays: tuple[Array, Array, Array | None]  # kernel, recurrent_kernel, bias
    start: tuple[Array, ...]
    steps: list[Any]  # as the recurrence's step returns them, masked steps as if they counted
    skip: Array | None  # (T,B,1)


class Gradients(NamedTuple):
    """dL/d of each argument of forward, and δ."""

    x: Array  # (B,T,F) in input order
    kernel: Array  # (F,GH)
    recurrent_kernel: Array  # (H,GH)
    bias: Array  # (GH,) or (biases,GH), also without a bias
    initial_state: tuple[Array, ...]  # (B,H) of each state
    delta: Array  # (B,T,GH) of the gates' arguments, in processing order


class _Input(NamedTuple):
    """The arguments of forward as arrays of one dtype, checked, in processing order."""

    x: Array  # (T,B,F)
    kernel: Array
    recurrent_kernel: Array
    bias: Array | None
    start: tuple[Array, ...]
    skip: Array | None  # (T,B,1)


def _read(
    r: Recurrence, x: Any, kernel: Any, recurrent_kernel: Any, bias: Any, initial_state: Any,
    mask: Any, go_backwards: bool,
) -> _Input:  # fmt: skip
    start = (None,) * len(r.states) if initial_state is None else tuple(initial_state)
    if len(start) != len(r.states):
        raise ValueError(
            f"initial_state holds {len(start)} arrays, but should hold {len(r.states)}: one of "
            f"each state, {', '.join(r.states)}"
        )
    x, W, U, b, *start = _arrays(x, kernel, recurrent_kernel, bias, *start)  # type: ignore[assignment]
    check("x", x, ("batch", "timesteps", "features"))
    B, T, F = x.shape
    H, G = len(U), len(r.gates)
    check("recurrent_kernel", U, (H, G * H), f"units by {G} gates of as many units")
    check("kernel", W, (F, G * H), f"features of x by {G} gates of the recurrent_kernel's units")
    if b is not None:
        check("bias", b, r.bias_shape(H), "the columns of kernel")
    for i, array in enumerate(start):
        if array is not None:
            check(f"initial_state[{i}]", array, (B, H), "batch of x by units")
    states = tuple(np.zeros((B, H), x.dtype) if array is None else array for array in start)
    skip = None
    if mask is not None:
        mask = np.asarray(mask, bool)
        check("mask", mask, (B, T), "batch and timesteps of x")
        skip = ~(mask[:, ::-1] if go_backwards else mask).T[:, :, None]
    return _Input((x[:, ::-1] if go_backwards else x).swapaxes(0, 1), W, U, b, states, skip)


def _steps(
    n: Any, r: Recurrence, w: Any, x: Sequence[Any], start: Sequence[Any], skip: Array | None,
    paper: _Paper | None = None,
) -> Iterator[tuple[Any, tuple[Any, ...]]]:  # fmt: skip
    """Each step as if it counted, and the states after it, in any reading n."""
    states = tuple(start)
    for t, x_t in enumerate(x):
        if paper is not None and t:
            states = paper.turned(states)
        step = r.step(n, w, x_t, *states)
        after = step[: len(states)]
        if skip is not None:
            pairs = zip(after, states, strict=True)
            after = tuple(n.where(~skip[t], new, old) for new, old in pairs)
        states = tuple(after)
        yield step, states


def forward(
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
) -> Run:
    """The states and gates over a sequence, in np.result_type of the numbers given.

    x (B,T,F), kernel (F,GH), recurrent_kernel (H,GH), bias (GH,) or (biases,GH), initial_state an
    array (B,H) for each state (zeros if not given), mask (B,T) in input order, True where a step
    counts; all states are copied where not. With go_backwards, x and mask are reversed first.
    Raises ValueError for unknown activations and shapes that do not fit.
    """
    given = _read(r, x, kernel, recurrent_kernel, bias, initial_state, mask, go_backwards)
    n = Numbers(activation, recurrent_activation)
    w = r.arranged(given.kernel, given.recurrent_kernel, given.bias)
    (T, B, _), H = given.x.shape, len(given.recurrent_kernel)
    shown = {name: np.empty((B, T, H), given.x.dtype) for name in r.states}
    gates = {name: np.empty((B, T, H), given.x.dtype) for name in r.gates}
    steps = []
    for t, (step, states) in enumerate(_steps(n, r, w, list(given.x), given.start, given.skip)):
        steps.append(step)
        for name, state in zip(r.states, states, strict=True):
            shown[name][:, t] = state
        for name, field in zip(r.gates, r.fields, strict=True):
            gates[name][:, t] = getattr(step, field)
    return Run(
        r, shown, gates, activations.activation(activation),
        activations.activation(recurrent_activation), go_backwards, given.x, given[1:4],
        given.start, steps, given.skip,
    )  # fmt: skip


def backward(cotangents: Mapping[str, Array], run: Run) -> Gradients:
    """Back-propagation through time, without truncation.

    cotangents: of some states, by name, (B,T,H) in processing order: dL/d of the state that a step
    leaves, as far as it does not come through later steps. δ is 0 where the mask skips a step, and
    what reaches its states goes on to those before.
    """
    r, (W, U, b) = run.recurrence, run.arrays
    w, (T, B), H = r.arranged(W, U, b), run.x.shape[:2], len(U)
    dtype = np.result_type(*cotangents.values(), run.x)
    delta = np.zeros((T, B, len(r.gates) * H), dtype)
    dU, later = np.zeros(U.shape, dtype), tuple(np.zeros((B, H), dtype) for _ in r.states)
    recurrent = np.zeros(U.shape[1], dtype)
    for t in reversed(range(T)):
        before = run.start if not t else tuple(run.states[name][:, t - 1] for name in r.states)
        g = tuple(
            rest + cotangents[name][:, t] if name in cotangents else rest
            for name, rest in zip(r.states, later, strict=True)
        )
        keep = 1.0 if run.skip is None else np.where(run.skip[t], 0.0, 1.0)
        now, dU_t, later = r.step_back(
            run.activation, run.recurrent_activation, w, before, run.steps[t],
            *(part * keep for part in g),
        )  # fmt: skip
        if run.skip is not None:
            now = np.where(run.skip[t], 0, now)
            pairs = zip(g, later, strict=True)
            later = tuple(np.where(run.skip[t], passed, rest) for passed, rest in pairs)
        delta[t] = now
        dU += dU_t
        # what a bias beside h·U would receive: the same step, of one more unit that is always 1
        recurrent += _of_recurrent_bias(r, now, run.steps[t])
    dx = (delta @ W.T).swapaxes(0, 1)
    db = delta.sum((0, 1))
    return Gradients(
        x=dx[:, ::-1] if run.go_backwards else dx,
        kernel=np.einsum("tbf,tbh->fh", run.x, delta),
        recurrent_kernel=dU,
        bias=db if r.biases == 1 else np.stack([db, recurrent]),
        initial_state=later,
        delta=delta.swapaxes(0, 1),
    )


def _of_recurrent_bias(r: Recurrence, delta: Array, step: Any) -> Array:
    if r.biases == 1:
        return np.asarray(delta.sum(0))
    H = step.h.shape[-1]
    return np.concatenate([delta[:, : 2 * H].sum(0), (delta[:, 2 * H :] * step.r).sum(0)])


# -- how far they may be off -----------------------------------------------------------------------


class Running(NamedTuple):
    """Bounded numbers in processing order: of each a value and a bound (B,T,H).

    arguments: of the gates, what the activation is taken of. carried: the states as the next step
    takes them: rounded by hand, if at all.
    """

    states: dict[str, tuple[Array, Bound]]
    gates: dict[str, tuple[Array, Bound]]
    arguments: dict[str, tuple[Array, Bound]]
    carried: dict[str, tuple[Array, Bound]]


class ByHand(NamedTuple):
    """Half units of the last digit to which somebody who computes by hand rounds what is carried.

    (B,T,H) each, in processing order, by names as in `Running`; absent where nothing is rounded.
    states: before anything further is made of them, c of an LSTM in the same step. gates: before
    they are multiplied. arguments: before an activation is taken of them.
    """

    states: Mapping[str, Array] = {}
    gates: Mapping[str, Array] = {}
    arguments: Mapping[str, Array] = {}

    @property
    def rounds(self) -> bool:
        return any(part.any() for each in self for part in each.values())


_NOT_BY_HAND = ByHand()


class _Paper:
    """Where a computation by hand is: what it rounds at a step, and what it had before."""

    def __init__(self, r: Recurrence, by_hand: ByHand) -> None:
        self.t, self.states = 0, [by_hand.states.get(name, 0.0) for name in r.states]
        fields = dict(zip(r.gates, r.fields, strict=True))
        self._after = {fields[name]: part for name, part in by_hand.gates.items()}
        self._before = {fields[name]: part for name, part in by_hand.arguments.items()}
        if r is LSTM and "c" in by_hand.states:
            self._before["h"] = by_hand.states["c"]
        self.made: dict[str, list[Bounded]] = {}

    def before(self, name: str) -> Array | float:
        """To what the argument of that name is rounded."""
        return self._at(self._before.get(name, 0.0))

    def after(self, name: str) -> Array | float:
        return self._at(self._after.get(name, 0.0))

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

    def act(self, z: Bounded, name: str = "") -> Bounded:
        return self._on(self.names[0], z, name)

    def gate(self, z: Bounded, name: str = "") -> Bounded:
        return self._on(self.names[1], z, name)

    def _on(self, function: str, z: Bounded, name: str) -> Bounded:
        found = self._activated(function, z.off_by(self.paper.before(name)))
        self.paper.made.setdefault(name, []).append(found)
        return found.off_by(self.paper.after(name))


class _TapedOnPaper(Tape):
    """The same over a tape; act' may be made of a number that was rounded."""

    def __init__(self, a: Any, act: str | None, gate: str | None, paper: _Paper) -> None:
        super().__init__(a, act, gate)
        self.paper = paper

    def act(self, z: Node, name: str = "") -> Node:
        return self._on(self.n.names[0], z, name)

    def gate(self, z: Node, name: str = "") -> Node:
        return self._on(self.n.names[1], z, name)

    def _on(self, function: str, z: Node, name: str) -> Node:
        rounded = self.paper.after(name)
        found = self._activated(function, z.off_by(self.paper.before(name)), rounded)
        return found.off_by(rounded)


_INPUTS = ("x", "kernel", "recurrent_kernel", "bias")


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
    errors = dict(errors or {})
    if unknown := [name for name in errors if name not in (*_INPUTS, "initial_state")]:
        raise ValueError(
            f"errors of {unknown[0]!r}: known are {', '.join((*_INPUTS, 'initial_state'))}"
        )
    wide: list[Any] = [None if v is None else np.asarray(v, np.float64) for v in arrays]
    given = _read(r, wide[0], wide[1], wide[2], wide[3], **options)

    def known(value: Any, error: Any = 0.0) -> Bounded:
        return _given(value, error, a, round_inputs)

    error = np.broadcast_to(np.asarray(errors.get("x", 0.0), np.float64), np.shape(wide[0]))
    error = (error[:, ::-1] if options["go_backwards"] else error).swapaxes(0, 1)
    of_start = errors.get("initial_state", (0.0,) * len(r.states))
    bias = None if given.bias is None else known(given.bias, errors.get("bias", 0.0))
    return _Known(
        [known(x_t, e_t) for x_t, e_t in zip(given.x, error, strict=True)],
        (
            known(given.kernel, errors.get("kernel", 0.0)),
            known(given.recurrent_kernel, errors.get("recurrent_kernel", 0.0)),
            bias,
        ),
        [known(s, e) for s, e in zip(given.start, of_start, strict=True)],
        given.skip,
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
    by_hand: ByHand = _NOT_BY_HAND,
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
        for step, states in _steps(n, r, w, known.x, known.start, known.skip, paper):
            arguments.append(step.s)
            shown.append(states)
            carried.append(paper.on_paper(states))
    return Running(
        {name: _sequence([s[i] for s in shown]) for i, name in enumerate(r.states)},
        {name: _sequence(paper.made[field]) for name, field in zip(r.gates, r.fields, strict=True)},
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
    by_hand: ByHand = _NOT_BY_HAND,
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
        paper = _Paper(r, by_hand) if by_hand.rounds else None
        tape = Tape(a, activation, recurrent_activation)
        if paper is not None:
            tape = _TapedOnPaper(a, activation, recurrent_activation, paper)
        w = _arranged(r, known.weights, a)
        w = type(w)(*(None if b is None else tape.leaf(b) for b in w))
        start, inputs = [tape.leaf(b) for b in known.start], [tape.leaf(b) for b in known.x]
        deltas = []
        for t, (step, states) in enumerate(_steps(tape, r, w, inputs, start, known.skip, paper)):
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
