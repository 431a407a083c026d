"""What should the numbers of a recurrence be over a whole sequence, whatever gates it has?

One loop for all: forward and back-propagation through time in NumPy, with masks, in either
direction, from any start. What differs is in a `Recurrence`; shapes as in `kinds`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Unpack

import numpy as np

from rnn_check.numbers import activations
from rnn_check.numbers.activations import Activation
from rnn_check.numbers.formats import Array
from rnn_check.numbers.reading import Numbers
from rnn_check.recurrences.kinds import How, Recurrence, read
from rnn_check.recurrences.over_time import Gradients


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


def steps(
    n: Any, r: Recurrence, w: Any, x: Sequence[Any], start: Sequence[Any], skip: Array | None,
    turned: Callable[..., Any] = tuple,
) -> Iterator[tuple[Any, tuple[Any, ...]]]:  # fmt: skip
    """Each step as if it counted, and the states after it, in any reading n.

    turned: what becomes of the states on their way to the next step.
    """
    states = tuple(start)
    for t, x_t in enumerate(x):
        if t:
            states = turned(states)
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
    **how: Unpack[How],
) -> Run:
    """The states and gates over a sequence, of what `read` takes.

    Raises ValueError for unknown activations and shapes that do not fit.
    """
    given = read(r, x, kernel, recurrent_kernel, bias, **how)
    n = Numbers(*given.functions)
    w = r.arranged(given.kernel, given.recurrent_kernel, given.bias)
    (T, B, _), H = given.x.shape, len(given.recurrent_kernel)
    shown = {name: np.empty((B, T, H), given.x.dtype) for name in r.states}
    fields = dict(zip(r.gates, r.fields, strict=True)) if r.has_gates else {}
    gates = {name: np.empty((B, T, H), given.x.dtype) for name in fields}
    made = []
    for t, (step, states) in enumerate(steps(n, r, w, list(given.x), given.start, given.skip)):
        made.append(step)
        for name, state in zip(r.states, states, strict=True):
            shown[name][:, t] = state
        for name, field in fields.items():
            gates[name][:, t] = getattr(step, field)
    act, gate = map(activations.activation, given.functions)
    return Run(
        r, shown, gates, act, gate, given.go_backwards, given.x, given[1:4],
        given.start, made, given.skip,
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
        step, through = run.steps[t], g
        if run.skip is not None:  # of what a skipped step computed nothing comes, NaN or not
            step, before, through = (_but(run.skip[t], part) for part in (step, before, g))
        now, dU_t, later = r.step_back(
            run.activation, run.recurrent_activation, w, before, step, *through
        )
        if run.skip is not None:
            now = np.where(run.skip[t], 0, now)
            pairs = zip(g, later, strict=True)
            later = tuple(np.where(run.skip[t], passed, rest) for passed, rest in pairs)
        delta[t] = now
        dU += dU_t
        # what a bias beside h·U would receive: the same step, of one more unit that is always 1
        recurrent += of_recurrent_bias(r, now, step)
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


def _but(skip: Array, arrays: Any) -> Any:
    """The arrays (B,...), zeros in the samples that are skipped (B,1), and so on within tuples."""
    if not isinstance(arrays, list | tuple):
        return np.where(skip, np.zeros((), arrays.dtype), arrays)
    parts = [_but(skip, part) for part in arrays]
    return type(arrays)(*parts) if hasattr(arrays, "_fields") else parts


def of_recurrent_bias(r: Recurrence, delta: Array, step: Any) -> Array:
    """dL/d(a bias beside h·U) of one step (GH,), of its δ (B,GH)."""
    return np.asarray((delta if r.beside is None else r.beside(delta, step)).sum(0))
