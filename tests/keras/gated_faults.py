"""Which mistakes do LSTM and GRU layers make?  Each as a subclass of the real Keras layer or cell.

They stand in for it through the public path, `rnn-check --layer LSTM=tests/keras/gated_faults.py:
CLASS`.  The cell's formula is written in parts, and so is the loop around it, with masks; a fault
replaces one of them.  Without a fault that computes what Keras computes (the twins in the tests).
A class's docstring is the fault's name.  TensorFlow only; Keras is imported when the first class is
made, so that the names of the faults are known without it.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable
from typing import Any

import numpy as np


class _Later:
    """A framework, imported when it is first used."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        return getattr(importlib.import_module(self._name), attribute)


keras: Any = _Later("keras")
tf: Any = _Later("tensorflow")
Tensor = Any


class _Cell:
    """What both cells have in common: sums, and the places where a fault may be."""

    kind = ""
    names: tuple[str, ...] = ()
    units: int
    kernel: Any
    recurrent_kernel: Any
    bias: Any
    activation: Any
    recurrent_activation: Any

    def call(self, inputs: Tensor, states: Any, training: bool = False) -> tuple[Tensor, Any]:
        nested = isinstance(states, list | tuple)
        given = list(states) if nested else [states]
        parts = (self.kernel, self.recurrent_kernel, self.bias)
        w = [None if part is None else tf.convert_to_tensor(part) for part in parts]
        masks = self.get_dropout_mask(inputs), self.get_recurrent_dropout_mask(given[0])
        new = self.step([*w, *(masks if training else (None, None))], inputs, given)
        return new[0], new if nested else new[0]

    def step(self, w: Any, x: Tensor, states: list[Tensor]) -> list[Tensor]:
        """w: kernel, recurrent kernel, bias, and dropout masks of x and h: one, a list, or None."""
        raise NotImplementedError

    def dropped(self, masks: Any, name: str, array: Tensor) -> Tensor:
        if masks is None:
            return array
        return array * (masks[self.names.index(name)] if isinstance(masks, list) else masks)

    def candidate(self, z: Tensor) -> Tensor:
        return self.activation(z)

    def gate(self, name: str, z: Tensor) -> Tensor:
        return self.recurrent_activation(z)

    def columns(self, array: Tensor, name: str) -> Tensor:
        return tf.split(array, len(self.names), axis=-1)[self.names.index(name)]

    def x_of(self, name: str, x: Tensor) -> Tensor:
        return x

    def h_of(self, name: str, h: Tensor) -> Tensor:
        return h

    def W_of(self, name: str, W: Tensor) -> Tensor:
        return W

    def U_of(self, name: str, U: Tensor) -> Tensor:
        return U

    def b_of(self, name: str, b: Tensor) -> Tensor:
        return b

    def products(self, w: Any, name: str, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        W, U, _, on_x, on_h = w
        x, h = self.dropped(on_x, name, x), self.dropped(on_h, name, h)
        left = tf.matmul(self.x_of(name, x), self.W_of(name, self.columns(W, name)))
        return left, tf.matmul(self.h_of(name, h), self.U_of(name, self.columns(U, name)))


class LSTM(_Cell):
    """The formula of an LSTM."""

    kind, names = "LSTM", ("i", "f", "c", "o")

    def sum(self, w: Any, name: str, x: Tensor, h: Tensor) -> Tensor:
        left, right = self.products(w, name, x, h)
        return left + right if w[2] is None else left + right + self.b_of(
            name, self.columns(w[2], name))  # fmt: skip

    def sums(self, w: Any, x: Tensor, h: Tensor, c: Tensor) -> list[Tensor]:
        return [self.sum(w, name, x, h) for name in self.names]

    def joined(self, i: Tensor, f: Tensor, g: Tensor, c: Tensor, h: Tensor) -> Tensor:
        return f * c + i * g

    def output(self, o: Tensor, new: Tensor, old: Tensor) -> Tensor:
        return o * self.activation(new)

    def step(self, w: Any, x: Tensor, states: list[Tensor]) -> list[Tensor]:
        h, c = states
        z = self.sums(w, x, h, c)
        i, f, o = (self.gate(n, z[k]) for k, n in ((0, "i"), (1, "f"), (3, "o")))
        new = self.joined(i, f, self.candidate(z[2]), c, h)
        return [self.output(o, new, c), new]


class GRU(_Cell):
    """The formula of a GRU."""

    kind, names = "GRU", ("z", "r", "h")
    reset_after: bool

    def parts(self, w: Any, name: str, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        left, right = self.products(w, name, x, h)
        if w[2] is None:
            return left, right
        b = self.b_of(name, self.columns(w[2], name))
        if not self.reset_after:
            return left + b, right
        return left + b[0], right + self.second(name, b[1])

    def second(self, name: str, b: Tensor) -> Tensor:
        return b

    def inner(self, w: Any, x: Tensor, h: Tensor, r: Tensor) -> Tensor:
        if not self.reset_after:
            return sum(self.parts(w, "h", x, r * h))
        left, right = self.parts(w, "h", x, h)
        return left + self.reset(r, right)

    def reset(self, r: Tensor, right: Tensor) -> Tensor:
        return r * right

    def joined(self, z: Tensor, h: Tensor, c: Tensor) -> Tensor:
        return z * h + (1 - z) * c

    def step(self, w: Any, x: Tensor, states: list[Tensor]) -> list[Tensor]:
        (h,) = states
        z, r = (self.gate(n, sum(self.parts(w, n, x, h))) for n in ("z", "r"))
        return [self.joined(z, h, self.candidate(self.inner(w, x, h, r)))]


class _Loop:
    """Keras's loop over time and its mask semantics, in parts that a fault can replace."""

    cell: Any
    go_backwards: bool
    zero_output_for_mask: bool

    def inner_loop(
        self, sequences: Tensor, initial_state: Any, mask: Any, training: bool = False
    ) -> tuple[Tensor, Tensor, list[Tensor]]:
        x = tf.convert_to_tensor(sequences)
        given = initial_state if isinstance(initial_state, list | tuple) else [initial_state]
        states = self.begin([tf.convert_to_tensor(s) for s in given])
        mask = mask[0] if isinstance(mask, list | tuple) else mask
        keep = None if mask is None else tf.cast(tf.convert_to_tensor(mask), tf.bool)
        shown: list[Tensor] = []
        for t in self.order(x.shape[1]):
            _, new = self.cell(x[:, t], self.before(states))
            output = new[0]
            if keep is not None:
                counts = keep[:, t, None]
                zero = self.zero_output_for_mask or not shown
                output = tf.where(counts, output, tf.zeros_like(output) if zero else shown[-1])
                new = self.carried(counts, list(new), states)
            states = list(new)
            shown.append(output)
        return shown[-1], tf.stack(shown, axis=1), self.end(states)

    def order(self, steps: int) -> list[int]:
        return list(range(steps))[:: -1 if self.go_backwards else 1]

    def begin(self, start: list[Tensor]) -> list[Tensor]:
        return start

    def before(self, states: list[Tensor]) -> list[Tensor]:
        return states

    def carried(self, keep: Tensor, new: list[Tensor], old: list[Tensor]) -> list[Tensor]:
        return [tf.where(keep, n, o) for n, o in zip(new, old, strict=True)]

    def end(self, states: list[Tensor]) -> list[Tensor]:
        return states


# -- the classes -----------------------------------------------------------------------------------


class Fault:
    """One mistake: what it replaces of the cell's parts, and of the loop's."""

    def __init__(self, base: type[_Cell], name: str, /, **methods: Any) -> None:
        self.base, self.name = base, name
        self.loop = {n: m for n, m in methods.items() if n in vars(_Loop)}
        self.cell = {n: m for n, m in methods.items() if n not in self.loop}

    @property
    def slug(self) -> str:
        """The name of its class; that of its cell ends in Cell."""
        words = re.sub(r"\W+", "_", self.name)
        return f"{self.base.kind}_{words}"

    def of_cell(self) -> Any:
        real = getattr(keras.layers, self.base.kind + "Cell")
        return type(self.slug + "Cell", (self.base, real), {**self.cell, "__doc__": self.name})

    def of_layer(self) -> Any:
        """The real layer, its cell given another class, and another loop around it."""
        cell_class, real = self.of_cell(), getattr(keras.layers, self.base.kind)

        def __init__(layer: Any, units: int, **config: Any) -> None:
            real.__init__(layer, units, **config)
            layer.cell.__class__ = cell_class

        own = {**self.loop, "__init__": __init__, "__doc__": self.name}
        return type(self.slug, (_Loop, real), own)


def __getattr__(name: str) -> Any:
    """The class of a fault, made when it is asked for."""
    for faults in FAULTS.values():
        for each in faults.values():
            if name in (each.slug, each.slug + "Cell"):
                made = each.of_layer() if name == each.slug else each.of_cell()
                globals()[name] = made
                return made
    raise AttributeError(name)


# -- faults ----------------------------------------------------------------------------------------


def only(gate: str, change: Callable[[Tensor], Tensor]) -> Callable[..., Tensor]:
    return lambda self, name, array: change(array) if name == gate else array


def swapped(a: str, b: str) -> Callable[..., Tensor]:
    """The columns of two gates changed for one another."""
    other = {a: b, b: a}
    return lambda self, array, name: _Cell.columns(self, array, other.get(name, name))


def off(array: Tensor) -> Tensor:
    return array * np.float32(1 + 1e-5)


def far_off(array: Tensor) -> Tensor:
    return array * np.float32(1 + 1e-4)


def transposed(array: Tensor) -> Tensor:
    return tf.transpose(array)


def hard(self: Any, name: str, z: Tensor) -> Tensor:
    return keras.ops.hard_sigmoid(z)


def cut(array: Tensor) -> Tensor:
    return tf.stop_gradient(array)


def changed_back(change: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """The identity, whose gradient is changed."""
    return lambda array: tf.custom_gradient(lambda a: (tf.identity(a), change))(array)


gradient_off = changed_back(lambda g: g * np.float32(1 + 1e-4))
gradient_clipped = changed_back(lambda g: tf.clip_by_value(g, -0.5, 0.5))


def straight_through(array: Tensor, changed: Tensor) -> Tensor:
    """The changed value forward, the identity backward."""
    return array + tf.stop_gradient(changed - array)


def to_bits(array: Tensor, bits: int) -> Tensor:
    """Rounded to that many bits of precision, to nearest, by Veltkamp's splitting."""
    big = array * float(2 ** (24 - bits) + 1)
    return straight_through(array, big - (big - array))


def old_if_masked(which: int) -> Callable[..., list[Tensor]]:
    """One of the states is not carried over masked steps."""

    def carried(self: Any, keep: Tensor, new: list[Tensor], old: list[Tensor]) -> list[Tensor]:
        right = _Loop.carried(self, keep, new, old)
        return [*right[:which], new[which], *right[which + 1 :]]

    return carried


def of_both(base: type[_Cell]) -> list[Fault]:
    names = base.names
    pairs = [(a, b) for k, a in enumerate(names) for b in names[k + 1 :]]
    found = [Fault(base, f"gates {a} and {b} swapped", columns=swapped(a, b)) for a, b in pairs]
    for n in names:
        found += [
            Fault(base, f"kernel of gate {n} off by 1e-5", W_of=only(n, off)),
            Fault(base, f"recurrent kernel of gate {n} off by 1e-4", U_of=only(n, far_off)),
            Fault(base, f"recurrent kernel of gate {n} transposed", U_of=only(n, transposed)),
            Fault(base, f"bias of gate {n} dropped", b_of=only(n, lambda b: 0 * b)),
            Fault(base, f"product x·W of gate {n} in TF32",
                  W_of=only(n, lambda a: to_bits(a, 11)), x_of=only(n, lambda a: to_bits(a, 11))),
            Fault(base, f"product h·U of gate {n} in TF32",
                  U_of=only(n, lambda a: to_bits(a, 11)), h_of=only(n, lambda a: to_bits(a, 11))),
            Fault(base, f"product x·W of gate {n} in bfloat16",
                  W_of=only(n, lambda a: to_bits(a, 8)), x_of=only(n, lambda a: to_bits(a, 8))),
            Fault(base, f"gradient cut between h and gate {n}", h_of=only(n, cut)),
            Fault(base, f"kernel gradient of gate {n} off by 1e-4", W_of=only(n, gradient_off)),
        ]  # fmt: skip
    return [
        *found,
        Fault(base, "recurrent activation hard for soft", gate=hard),
        Fault(base, "activation of the candidate linear", candidate=lambda self, z: z),
        Fault(base, "activation of the candidate approximated to 1e-5",
              candidate=lambda self, z: self.activation(z) * np.float32(1 + 1e-5)),
        Fault(base, "h not carried by a mask", carried=old_if_masked(0)),
        Fault(base, "gradient cut by a mask", carried=lambda self, keep, new, old: [
            tf.where(keep, n, cut(o)) for n, o in zip(new, old, strict=True)]),
        Fault(base, "initial state ignored",
              begin=lambda self, start: [0 * start[0], *start[1:]]),
        Fault(base, "gradient cut between steps", before=lambda self, s: [cut(part) for part in s]),
        Fault(base, "gradient cut at h", before=lambda self, s: [cut(s[0]), *s[1:]]),
        Fault(base, "gradient of h clipped",
              before=lambda self, s: [gradient_clipped(s[0]), *s[1:]]),
        Fault(base, "state stored in float16", step=lambda self, w, x, s: [
            straight_through(part, tf.cast(tf.cast(part, tf.float16), tf.float32))
            for part in base.step(self, w, x, s)]),
        Fault(base, "state stored in bfloat16", step=lambda self, w, x, s: [
            to_bits(part, 8) for part in base.step(self, w, x, s)]),
        Fault(base, "go_backwards ignored", order=lambda self, steps: list(range(steps))),
        Fault(base, "time reversed", order=lambda self, steps: _Loop.order(self, steps)[::-1]),
        Fault(base, "first step skipped",
              order=lambda self, steps: (lambda o: [o[min(1, steps - 1)], *o[1:]])(
                  _Loop.order(self, steps))),
    ]  # fmt: skip


def lstm_faults() -> list[Fault]:
    def with_peephole(gate: int, of: Callable[[Any, Tensor, Tensor], Tensor]) -> Any:
        def sums(self: Any, w: Any, x: Tensor, h: Tensor, c: Tensor) -> list[Tensor]:
            z = LSTM.sums(self, w, x, h, c)
            return [*z[:gate], z[gate] + 0.01 * of(self, h, c), *z[gate + 1 :]]

        return sums

    def cut_gate(n: str) -> Any:
        return lambda self, name, z: cut(LSTM.gate(self, name, z)) if name == n else LSTM.gate(
            self, name, z)  # fmt: skip

    return [
        Fault(LSTM, "forget bias missing", b_of=only("f", lambda b: b - 1)),
        Fault(LSTM, "forget bias doubled", b_of=only("f", lambda b: b + 1)),
        Fault(LSTM, "peephole of c in gate i", sums=with_peephole(0, lambda self, h, c: c)),
        Fault(LSTM, "peephole of h in gate f", sums=with_peephole(1, lambda self, h, c: h)),
        Fault(LSTM, "peephole of the old c in gate o", sums=with_peephole(3, lambda self, h, c: c)),
        Fault(LSTM, "input gate coupled as 1 - f",
              joined=lambda self, i, f, g, c, h: f * c + (1 - f) * g),
        Fault(LSTM, "h for c", joined=lambda self, i, f, g, c, h: f * h + i * g),
        Fault(LSTM, "c leaks by 1e-5",
              joined=lambda self, i, f, g, c, h: (f * c + i * g) * np.float32(1 - 1e-5)),
        Fault(LSTM, "c clipped to 1",
              joined=lambda self, i, f, g, c, h: tf.clip_by_value(f * c + i * g, -1, 1)),
        Fault(LSTM, "c not carried from step to step", joined=lambda self, i, f, g, c, h: i * g),
        Fault(LSTM, "c not carried by a mask", carried=old_if_masked(1)),
        Fault(LSTM, "states in the other order", begin=lambda self, start: start[::-1],
              end=lambda self, states: states[::-1]),
        Fault(LSTM, "initial states in the other order", begin=lambda self, start: start[::-1]),
        Fault(LSTM, "returned states in the other order", end=lambda self, states: states[::-1]),
        Fault(LSTM, "initial cell state ignored",
              begin=lambda self, start: [start[0], 0 * start[1]]),
        Fault(LSTM, "output without an activation", output=lambda self, o, new, old: o * new),
        Fault(LSTM, "output of the c before",
              output=lambda self, o, new, old: o * self.activation(old)),
        Fault(LSTM, "output gate after the activation",
              output=lambda self, o, new, old: self.activation(o * new)),
        Fault(LSTM, "recurrent dropout applied to the carried state", step=lambda self, w, x, s:
              LSTM.step(self, w, x, [s[0], self.dropped(w[4], "f", s[1])])),
        Fault(LSTM, "gradient cut at c", before=lambda self, s: [s[0], cut(s[1])]),
        Fault(LSTM, "gradient of c off by 1e-4", before=lambda self, s: [s[0], gradient_off(s[1])]),
        Fault(LSTM, "gradient cut at the output's c",
              output=lambda self, o, new, old: o * self.activation(cut(new))),
        *(Fault(LSTM, f"gradient cut at gate {n}", gate=cut_gate(n)) for n in "ifo"),
        Fault(LSTM, "gradient cut at gate c", candidate=lambda self, z: cut(self.activation(z))),
        *of_both(LSTM),
    ]  # fmt: skip


def gru_faults() -> list[Fault]:
    def cut_gate(n: str) -> Any:
        return lambda self, name, z: cut(GRU.gate(self, name, z)) if name == n else GRU.gate(
            self, name, z)  # fmt: skip

    def before(self: Any, w: Any, x: Tensor, h: Tensor, r: Tensor) -> Tensor:
        return sum(self.parts(w, "h", x, r * h)) if self.reset_after else GRU.inner(
            self, w, x, h, r)  # fmt: skip

    def after(self: Any, w: Any, x: Tensor, h: Tensor, r: Tensor) -> Tensor:
        left, right = self.parts(w, "h", x, h)
        return left + r * right

    def outside(self: Any, w: Any, x: Tensor, h: Tensor, r: Tensor) -> Tensor:
        if not self.reset_after or w[2] is None:
            return GRU.inner(self, w, x, h, r)
        left, right = self.parts(w, "h", x, h)
        b = self.columns(w[2], "h")[1]
        return left + r * (right - b) + b

    def without(self: Any, w: Any, x: Tensor, h: Tensor, r: Tensor) -> Tensor:
        return sum(self.parts(w, "h", x, h))

    return [
        Fault(GRU, "reset before the product for after", inner=before),
        Fault(GRU, "reset after the product for before", inner=after),
        Fault(GRU, "reset gate ignored", inner=without),
        Fault(GRU, "second bias dropped", second=lambda self, name, b: 0 * b),
        Fault(GRU, "second bias of the candidate dropped",
              second=lambda self, name, b: 0 * b if name == "h" else b),
        Fault(GRU, "second bias added outside the reset", inner=outside),
        Fault(GRU, "z for 1 - z", joined=lambda self, z, h, c: (1 - z) * h + z * c),
        Fault(GRU, "h leaks by 1e-5",
              joined=lambda self, z, h, c: z * h * np.float32(1 - 1e-5) + (1 - z) * c),
        Fault(GRU, "z clipped to 0.9",
              joined=lambda self, z, h, c: GRU.joined(self, tf.minimum(z, 0.9), h, c)),
        # as Keras 3.2.0 to 3.7.0 did
        Fault(GRU, "recurrent dropout applied to the carried state", step=lambda self, w, x, s:
              GRU.step(self, [*w[:4], None], x, [self.dropped(w[4], "z", s[0])])),
        Fault(GRU, "gradient cut at h beside z", joined=lambda self, z, h, c: z * cut(h)
              + (1 - z) * c),
        Fault(GRU, "gradient cut at the reset product",
              reset=lambda self, r, right: r * cut(right)),
        *(Fault(GRU, f"gradient cut at gate {n}", gate=cut_gate(n)) for n in "zr"),
        Fault(GRU, "gradient cut at gate h", candidate=lambda self, z: cut(self.activation(z))),
        *of_both(GRU),
        Fault(GRU, "gradient cut at the reset gate", reset=lambda self, r, right: cut(r) * right),
    ]  # fmt: skip


TWINS = {base.kind: Fault(base, "none") for base in (LSTM, GRU)}
FAULTS: dict[str, dict[str, Fault]] = {
    kind: {each.name: each for each in (TWINS[kind], *faults)}
    for kind, faults in (("LSTM", lstm_faults()), ("GRU", gru_faults()))
}
