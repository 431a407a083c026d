"""What is a recurrence, which are there, and what do they take?

One definition each: of it the reference, the running bounds and the certificates are made.

    B batch, T timesteps, F features, H units, G gates; G is 1 of what has none
    x (B,T,F)   kernel (F,GH)   recurrent_kernel (H,GH)   bias (GH,), or (biases,GH) if several
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, TypedDict

import numpy as np

from rnn_check.numbers.arrays import check, of_one_dtype
from rnn_check.numbers.formats import Array
from rnn_check.numbers.reading import Numbers
from rnn_check.recurrences import gru, lstm, simple


def _unknown(*_: Any) -> Any:
    raise ValueError("this recurrence has no step_back, of which its gradients would be computed")


@dataclass(frozen=True, eq=False)
class Recurrence:
    """What a recurrence is: its gates, its states, one step and the way back.

    Certificates take nothing else of one, but for those that have sharper mathematics of their own.

    gates   in the order of their columns, each with the name it has in Keras; "" if there are none
    fields  what a gate is called in what `step` returns; a state, if there are none
    states  what is carried from step to step, the output, h, first; `step` returns them so
    biases  how many there are: if more than one, they are the rows of Keras's bias
    step    in any reading (see `numbers.reading`), of the weights as `arranged`, x_t and the states
            before it. It returns a NamedTuple: the states, and s, the arguments of the gates
    step_back: what the reference's gradients are computed of; certificates do without
    beside  of two biases: δ as the one beside h·U receives it, of δ and the step
    reset_before: the same with the reset before the product, where there is one
    """

    name: str
    gates: tuple[str, ...]
    fields: tuple[str, ...]
    states: tuple[str, ...]
    biases: int
    arranged: Callable[[Any, Any, Any], Any]  # Keras's arrays, as `step` takes them
    joined: Callable[[Any], tuple[Any, ...]]  # and back
    step: Callable[..., Any]
    step_back: Callable[..., Any] = _unknown
    beside: Callable[[Any, Any], Any] | None = None
    reset_before: Recurrence | None = None

    def __post_init__(self) -> None:
        if self.states[:1] != ("h",):
            raise ValueError(
                f"states of {self.name!r} are {self.states}, but should begin with 'h'"
            )

    @property
    def has_gates(self) -> bool:
        return self.fields[0] not in self.states

    def bias_shape(self, H: int) -> tuple[int, ...]:
        width = len(self.gates) * H
        return (width,) if self.biases == 1 else (self.biases, width)

    @cached_property
    def _noted(self) -> tuple[frozenset[str], dict[str, str]]:
        n, one, G = _Noted(), np.ones((1, 1)), len(self.gates)
        w = self.arranged(np.ones((1, G)), np.ones((1, G)), np.ones(self.bias_shape(1)))
        states = self.step(n, w, one, *(one for _ in self.states))[: len(self.states)]
        named = dict(zip(self.states, states, strict=True))
        of = {name: state for name, z in n.taken for state, made in named.items() if z is made}
        for name, made in n.sums:
            if name in named and made is not named[name]:
                raise ValueError(
                    f"what n.blend or n.seen calls {name!r} in the step of {self.name!r} is not "
                    f"the state {name!r} that it returns; name the state that it is, or give it "
                    "another name if it is none"
                )
        return frozenset(name for name, _ in n.sums if name in named), of

    @property
    def sums(self) -> frozenset[str]:
        """Which states a step makes as the sum of two products."""
        return self._noted[0]

    @property
    def taken_of(self) -> dict[str, str]:
        """Of which state what an activation makes is taken, by the name that the step gives it."""
        return self._noted[1]


class _Noted(Numbers):
    """A reading that notes what becomes of states."""

    def __init__(self) -> None:
        super().__init__()
        self.sums: list[tuple[str, Array]] = []
        self.taken: list[tuple[str, Array]] = []

    def act(self, z: Array, name: str = "") -> Array:
        self.taken.append((name, z))
        return super().act(z, name)

    def gate(self, z: Array, name: str = "") -> Array:
        self.taken.append((name, z))
        return super().gate(z, name)

    def blend(self, z: Array, h: Array, c: Array, name: str = "h") -> Array:
        self.sums.append((name, super().blend(z, h, c, name)))
        return self.sums[-1][1]

    def seen(self, name: str, a: Array, b: Array) -> Array:
        self.sums.append((name, super().seen(name, a, b)))
        return self.sums[-1][1]


SIMPLE = Recurrence(
    "simple", ("",), ("h",), ("h",), 1,
    simple.Weights, tuple, simple.step, simple.step_back,
)  # fmt: skip
LSTM = Recurrence(
    "lstm", ("i", "f", "c", "o"), ("i", "f", "g", "o"), ("h", "c"), 1,
    lstm.Weights, tuple, lstm.step, lstm.step_back,
)  # fmt: skip
GRU_BEFORE = Recurrence(
    "gru", ("z", "r", "h"), ("z", "r", "c"), ("h",), 1,
    gru.arranged_before, gru.joined, gru.step_before, gru.step_back_before,
)  # fmt: skip
GRU = Recurrence(
    "gru", ("z", "r", "h"), ("z", "r", "c"), ("h",), 2,
    gru.arranged, gru.joined, gru.step, gru.step_back, gru.beside, GRU_BEFORE,
)  # fmt: skip
KINDS = {r.name: r for r in (SIMPLE, GRU, LSTM)}


def is_listed(r: Recurrence) -> bool:
    """Whether it is one of KINDS, and not a definition of somebody's own."""
    return any(r in (listed, listed.reset_before) for listed in KINDS.values())


def recurrence(name: str | Recurrence, reset_after: bool = True) -> Recurrence:
    """The recurrence of this name, or itself. Raises ValueError for any other."""
    if isinstance(name, Recurrence):
        return name
    found = KINDS.get(name) if isinstance(name, str) else None
    if found is None:
        *others, last = map(repr, KINDS)
        raise ValueError(f"recurrence is {name!r}, but should be {', '.join(others)} or {last}")
    return found if reset_after or found.reset_before is None else found.reset_before


class Given(NamedTuple):
    """The arguments of a pass as arrays of one dtype, checked, in processing order."""

    x: Array  # (T,B,F)
    kernel: Array  # (F,GH)
    recurrent_kernel: Array  # (H,GH)
    bias: Array | None  # (GH,) or (biases,GH)
    start: tuple[Array, ...]  # (B,H) of each state
    skip: Array | None  # (T,B,1) True where the mask says the step does not count
    functions: tuple[str | None, str | None]  # the activation, and that of the gates
    go_backwards: bool


class How(TypedDict, total=False):
    """What a pass takes beside x and weights, as `read` does."""

    activation: str | None
    recurrent_activation: str | None
    initial_state: Sequence[Any] | None
    mask: Any
    go_backwards: bool


def read(
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
) -> Given:
    """What a pass takes, in np.result_type of the numbers given.

    x (B,T,F), kernel (F,GH), recurrent_kernel (H,GH), bias (GH,) or (biases,GH), initial_state an
    array (B,H) for each state (zeros if not given), mask (B,T) in input order, True where a step
    counts; all states are copied where not. With go_backwards, x and mask are reversed first.
    Raises ValueError for shapes that do not fit.
    """
    start = (None,) * len(r.states) if initial_state is None else tuple(initial_state)
    if len(start) != len(r.states):
        raise ValueError(
            f"initial_state holds {len(start)} arrays, but should hold {len(r.states)}: one of "
            f"each state, {', '.join(r.states)}"
        )
    x, W, U, b, *given = of_one_dtype(x, kernel, recurrent_kernel, bias, *start)
    check("x", x, ("batch", "timesteps", "features"))
    check("recurrent_kernel", U, ("units", "units" if r is SIMPLE else "gates of units"))
    (B, T, F), H, G = x.shape, len(U), len(r.gates)
    gates = "units" if r is SIMPLE else f"{G} gates of as many units"
    check("recurrent_kernel", U, (H, G * H), "square, " * (r is SIMPLE) + f"units by {gates}")
    check("kernel", W, (F, G * H), f"features of x by {gates} of recurrent_kernel")
    if b is not None:
        check("bias", b, r.bias_shape(H), f"the {gates} of recurrent_kernel")
    for i, array in enumerate(given):
        if array is not None:
            name = "initial_state" if r is SIMPLE else f"initial_state[{i}]"
            check(name, array, (B, H), "batch of x by units")
    states = tuple(np.zeros((B, H), x.dtype) if array is None else array for array in given)
    skip = None
    if mask is not None:
        mask = np.asarray(mask, bool)
        check("mask", mask, (B, T), "batch and timesteps of x")
        skip = ~(mask[:, ::-1] if go_backwards else mask).T[:, :, None]
    # time-major: each step is one block
    x = np.ascontiguousarray((x[:, ::-1] if go_backwards else x).swapaxes(0, 1))
    return Given(x, W, U, b, states, skip, (activation, recurrent_activation), go_backwards)
