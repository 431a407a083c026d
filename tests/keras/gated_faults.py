"""Which mistakes do LSTM and GRU layers make?  Each as a change of the real Keras cell.

A cell's formula is written in parts, `LSTM` and `GRU`, that a fault replaces; a loop in TensorFlow
runs it, with masks, from any start.  Without a fault that computes what Keras computes (the twin in
the tests).  What comes out is asked by `certify` and `certify_gradients`: with the cell states of
an LSTM seen, and without.  A fault's name is the first line of its docstring.  TensorFlow only.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from rnn_check import Certificate, certify, certify_gradients
from tests.support.lazily import Lazily

keras: Any = Lazily("keras")
tf: Any = Lazily("tensorflow")
Tensor = Any
B, T, F, H = 4, 12, 5, 8


class Drawn:
    """Weights, input, mask, start and cotangent of one layer, float32; always the same."""

    def __init__(self, gates: int, biases: int) -> None:
        rng = np.random.default_rng(7)

        def normal(*shape: int, size: float = 1.0) -> Any:
            return (size * rng.normal(size=shape)).astype(np.float32)

        self.kernel = normal(F, gates * H, size=F**-0.5)
        self.recurrent_kernel = normal(H, gates * H, size=H**-0.5)
        self.bias = normal(*((gates * H,) if biases == 1 else (biases, gates * H)), size=0.5)
        self.x, self.cotangent = normal(B, T, F), normal(B, T, H)
        self.start = normal(B, H, size=0.5), normal(B, H, size=0.5)
        self.mask = rng.uniform(size=(B, T)) < 0.7
        self.mask[:, 0] = True


class _Cell:
    """What both have in common: sums, and the places where a fault may be."""

    gates = 4
    names: tuple[str, ...] = ("i", "f", "c", "o")
    reset_after = True

    def __init__(self, drawn: Drawn) -> None:
        self.drawn = drawn

    def activation(self, z: Tensor) -> Tensor:
        return tf.tanh(z)

    def candidate(self, z: Tensor) -> Tensor:
        return self.activation(z)

    def gate(self, name: str, z: Tensor) -> Tensor:
        return tf.sigmoid(z)

    def columns(self, array: Tensor, name: str) -> Tensor:
        at = self.names.index(name)
        return array[..., at * H : (at + 1) * H]

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

    def carried(self, keep: Tensor, new: list[Tensor], old: list[Tensor]) -> list[Tensor]:
        return [tf.where(keep, n, o) for n, o in zip(new, old, strict=True)]

    def begin(self, start: list[Tensor]) -> list[Tensor]:
        return start

    def before(self, states: list[Tensor]) -> list[Tensor]:
        return states


class LSTM(_Cell):
    def sum(self, w: Any, name: str, x: Tensor, h: Tensor) -> Tensor:
        W, U, b = w
        z = tf.matmul(self.x_of(name, x), self.W_of(name, self.columns(W, name)))
        z += tf.matmul(self.h_of(name, h), self.U_of(name, self.columns(U, name)))
        return z + self.b_of(name, self.columns(b, name))

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
    gates, names = 3, ("z", "r", "h")

    def parts(self, w: Any, name: str, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        W, U, b = w
        left = tf.matmul(self.x_of(name, x), self.W_of(name, self.columns(W, name)))
        right = tf.matmul(self.h_of(name, h), self.U_of(name, self.columns(U, name)))
        b = self.b_of(name, self.columns(b, name))
        return left + b[0], right + self.second(name, b[1])

    def second(self, name: str, b: Tensor) -> Tensor:
        return b

    def inner(self, w: Any, x: Tensor, h: Tensor, r: Tensor) -> Tensor:
        left, right = self.parts(w, "h", x, h)
        return left + r * right

    def joined(self, z: Tensor, h: Tensor, c: Tensor) -> Tensor:
        return z * h + (1 - z) * c

    def step(self, w: Any, x: Tensor, states: list[Tensor]) -> list[Tensor]:
        (h,) = states
        z, r = (self.gate(n, sum(self.parts(w, n, x, h))) for n in ("z", "r"))
        return [self.joined(z, h, self.candidate(self.inner(w, x, h, r)))]


class GRUBefore(GRU):
    """The reset before the product, one bias."""

    reset_after = False

    def parts(self, w: Any, name: str, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        W, U, b = w
        left = tf.matmul(self.x_of(name, x), self.W_of(name, self.columns(W, name)))
        right = tf.matmul(self.h_of(name, h), self.U_of(name, self.columns(U, name)))
        return left + self.b_of(name, self.columns(b, name)), right

    def inner(self, w: Any, x: Tensor, h: Tensor, r: Tensor) -> Tensor:
        return sum(self.parts(w, "h", x, r * h))


def forward(cell: _Cell, w: Any, x: Tensor, start: list[Tensor], mask: Tensor) -> list[Tensor]:
    """Each state (B,T,H)."""
    states, shown = cell.begin(start), []
    for t in range(T):
        new = cell.step(w, x[:, t], cell.before(states))
        states = cell.carried(mask[:, t, None], new, states)
        shown.append(states)
    return [tf.stack([s[k] for s in shown], axis=1) for k in range(len(states))]


def certificates(make: Callable[[Drawn], _Cell], is_lstm: bool) -> dict[str, Certificate]:
    """All that is asked of a cell, by what it is asked of."""
    reset_after = getattr(make, "reset_after", True)
    drawn = Drawn(4 if is_lstm else 3, 1 if is_lstm or not reset_after else 2)
    cell = make(drawn)
    W = drawn.kernel
    probe = np.concatenate([W, np.eye(W.shape[1], dtype=np.float32)])
    x = np.concatenate([drawn.x, np.zeros((B, T, W.shape[1]), np.float32)], axis=-1)
    arrays = [tf.convert_to_tensor(a) for a in (probe, drawn.recurrent_kernel, drawn.bias, x)]
    start = [tf.convert_to_tensor(s) for s in drawn.start[: 1 + is_lstm]]
    with tf.GradientTape() as tape:
        tape.watch([*arrays, *start])
        states = forward(cell, arrays[:3], arrays[3], start, tf.convert_to_tensor(drawn.mask))
        loss = tf.reduce_sum(states[0] * drawn.cotangent)
    found = tape.gradient(loss, [*arrays, *start], unconnected_gradients="zero")
    dW, dU, db, dx, *d_start = (g.numpy() for g in found)
    shown = [s.numpy() for s in states]
    given = {
        "x": drawn.x, "kernel": W, "recurrent_kernel": drawn.recurrent_kernel, "bias": drawn.bias,
        "mask": drawn.mask, "recurrence": "lstm" if is_lstm else "gru", "reset_after": reset_after,
        "initial_state": drawn.start if is_lstm else drawn.start[0],
    }  # fmt: skip
    observed = {
        "delta": dx[:, :, F:], "x": dx[:, :, :F], "kernel": dW[:F], "recurrent_kernel": dU,
        "bias": db, "initial_state": d_start[0],
    }  # fmt: skip
    result = {"states": certify(shown[0], **given)}
    ways: dict[str, dict[str, Any]] = {"": {}}
    if is_lstm:
        observed["initial_cell_state"] = d_start[1]
        seen = {"cell_states": shown[1]}
        result["states and cell states"] = certify(shown[0], **given, **seen)
        ways[", cell states seen"] = seen
    for how, more in ways.items():
        gradients = certify_gradients(
            observed, cotangent=drawn.cotangent, states=shown[0], **given, **more
        )
        result |= {f"gradient of {name}{how}": c for name, c in gradients.items()}
    return result


# -- faults ----------------------------------------------------------------------------------------

Fault = tuple[str, Callable[[Drawn], _Cell]]


def fault(base: type, name: str, **methods: Any) -> Fault:
    return name, type("Faulty", (base,), {"__doc__": name, **methods})


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
        right = _Cell.carried(self, keep, new, old)
        return [*right[:which], new[which], *right[which + 1 :]]

    return carried


def of_both(base: type) -> list[Fault]:
    names: tuple[str, ...] = base.names  # type: ignore[attr-defined]
    pairs = [(a, b) for k, a in enumerate(names) for b in names[k + 1 :]]
    found = [fault(base, f"gates {a} and {b} swapped", columns=swapped(a, b)) for a, b in pairs]
    for n in names:
        found += [
            fault(base, f"kernel of gate {n} off by 1e-5", W_of=only(n, off)),
            fault(base, f"recurrent kernel of gate {n} off by 1e-4", U_of=only(n, far_off)),
            fault(base, f"recurrent kernel of gate {n} transposed", U_of=only(n, transposed)),
            fault(base, f"bias of gate {n} dropped", b_of=only(n, lambda b: 0 * b)),
            fault(base, f"product x·W of gate {n} in TF32",
                  W_of=only(n, lambda a: to_bits(a, 11)), x_of=only(n, lambda a: to_bits(a, 11))),
            fault(base, f"product h·U of gate {n} in TF32",
                  U_of=only(n, lambda a: to_bits(a, 11)), h_of=only(n, lambda a: to_bits(a, 11))),
            fault(base, f"product x·W of gate {n} in bfloat16",
                  W_of=only(n, lambda a: to_bits(a, 8)), x_of=only(n, lambda a: to_bits(a, 8))),
            fault(base, f"gradient cut between h and gate {n}", h_of=only(n, cut)),
            fault(base, f"kernel gradient of gate {n} off by 1e-4", W_of=only(n, gradient_off)),
        ]  # fmt: skip
    return [
        *found,
        fault(base, "recurrent activation hard for soft", gate=hard),
        fault(base, "activation of the candidate linear", candidate=lambda self, z: z),
        fault(base, "activation of the candidate approximated to 1e-5",
              candidate=lambda self, z: tf.tanh(z) * np.float32(1 + 1e-5)),
        fault(base, "h not carried by a mask", carried=old_if_masked(0)),
        fault(base, "mask ignored", carried=lambda self, keep, new, old: new),
        fault(base, "initial state ignored",
              begin=lambda self, start: [0 * start[0], *start[1:]]),
        fault(base, "gradient cut between steps", before=lambda self, s: [cut(part) for part in s]),
        fault(base, "gradient cut at h", before=lambda self, s: [cut(s[0]), *s[1:]]),
        fault(base, "gradient of h clipped",
              before=lambda self, s: [gradient_clipped(s[0]), *s[1:]]),
        fault(base, "state stored in float16", step=lambda self, w, x, s: [
            straight_through(part, tf.cast(tf.cast(part, tf.float16), tf.float32))
            for part in base.step(self, w, x, s)]),  # type: ignore[attr-defined]
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
        fault(LSTM, "forget bias missing", b_of=only("f", lambda b: b - 1)),
        fault(LSTM, "forget bias doubled", b_of=only("f", lambda b: b + 1)),
        fault(LSTM, "peephole of c in gate i", sums=with_peephole(0, lambda self, h, c: c)),
        fault(LSTM, "peephole of h in gate f", sums=with_peephole(1, lambda self, h, c: h)),
        fault(LSTM, "peephole of the old c in gate o", sums=with_peephole(3, lambda self, h, c: c)),
        fault(LSTM, "input gate coupled as 1 - f",
              joined=lambda self, i, f, g, c, h: f * c + (1 - f) * g),
        fault(LSTM, "h for c", joined=lambda self, i, f, g, c, h: f * h + i * g),
        fault(LSTM, "c leaks by 1e-5",
              joined=lambda self, i, f, g, c, h: (f * c + i * g) * np.float32(1 - 1e-5)),
        fault(LSTM, "c clipped to 1",
              joined=lambda self, i, f, g, c, h: tf.clip_by_value(f * c + i * g, -1, 1)),
        fault(LSTM, "c not carried from step to step", joined=lambda self, i, f, g, c, h: i * g),
        fault(LSTM, "c not carried by a mask", carried=old_if_masked(1)),
        fault(LSTM, "initial cell state ignored",
              begin=lambda self, start: [start[0], 0 * start[1]]),
        fault(LSTM, "output without an activation", output=lambda self, o, new, old: o * new),
        fault(LSTM, "output of the c before", output=lambda self, o, new, old: o * tf.tanh(old)),
        fault(LSTM, "output gate after the activation",
              output=lambda self, o, new, old: tf.tanh(o * new)),
        fault(LSTM, "gradient cut at c", before=lambda self, s: [s[0], cut(s[1])]),
        fault(LSTM, "gradient of c off by 1e-4", before=lambda self, s: [s[0], gradient_off(s[1])]),
        fault(LSTM, "gradient cut at the output's c",
              output=lambda self, o, new, old: o * tf.tanh(cut(new))),
        *(fault(LSTM, f"gradient cut at gate {n}", gate=cut_gate(n)) for n in "ifo"),
        fault(LSTM, "gradient cut at gate c", candidate=lambda self, z: cut(tf.tanh(z))),
        *of_both(LSTM),
    ]  # fmt: skip


def gru_faults() -> list[Fault]:
    def cut_gate(n: str) -> Any:
        return lambda self, name, z: cut(GRU.gate(self, name, z)) if name == n else GRU.gate(
            self, name, z)  # fmt: skip

    def reset_before(self: Any, w: Any, x: Tensor, h: Tensor, r: Tensor) -> Tensor:
        return sum(self.parts(w, "h", x, r * h))

    def outside(self: Any, w: Any, x: Tensor, h: Tensor, r: Tensor) -> Tensor:
        left, right = self.parts(w, "h", x, h)
        b = self.columns(w[2], "h")[1]
        return left + r * (right - b) + b

    def without(self: Any, w: Any, x: Tensor, h: Tensor, r: Tensor) -> Tensor:
        return sum(self.parts(w, "h", x, h))

    def reset_cut(self: Any, w: Any, x: Tensor, h: Tensor, r: Tensor) -> Tensor:
        left, right = self.parts(w, "h", x, h)
        return left + r * cut(right)

    def after(self: Any, w: Any, x: Tensor, h: Tensor, r: Tensor) -> Tensor:
        left, right = self.parts(w, "h", x, h)
        return left + r * right

    return [
        fault(GRU, "reset before the product for after", inner=reset_before),
        fault(GRU, "reset after the product for before", **_of_before(inner=after)),
        fault(GRU, "reset gate ignored", inner=without),
        fault(GRU, "second bias dropped", second=lambda self, name, b: 0 * b),
        fault(GRU, "second bias of the candidate dropped",
              second=lambda self, name, b: 0 * b if name == "h" else b),
        fault(GRU, "second bias added outside the reset", inner=outside),
        fault(GRU, "z for 1 - z", joined=lambda self, z, h, c: (1 - z) * h + z * c),
        fault(GRU, "h leaks by 1e-5",
              joined=lambda self, z, h, c: z * h * np.float32(1 - 1e-5) + (1 - z) * c),
        fault(GRU, "z clipped to 0.9",
              joined=lambda self, z, h, c: GRU.joined(self, tf.minimum(z, 0.9), h, c)),
        fault(GRU, "gradient cut at h beside z", joined=lambda self, z, h, c: z * cut(h)
              + (1 - z) * c),
        fault(GRU, "gradient cut at the reset product", inner=reset_cut),
        *(fault(GRU, f"gradient cut at gate {n}", gate=cut_gate(n)) for n in "zr"),
        fault(GRU, "gradient cut at gate h", candidate=lambda self, z: cut(tf.tanh(z))),
        *of_both(GRU),
        *((f"{name} (reset before)", make) for name, make in of_both(GRUBefore)),
    ]  # fmt: skip


def _of_before(**methods: Any) -> dict[str, Any]:
    """Methods of a GRU that resets before the product."""
    return {"reset_after": False, "parts": GRUBefore.parts, **methods}


TWINS: dict[str, Callable[[Drawn], _Cell]] = {
    "lstm": LSTM, "gru": GRU, "gru, reset before": GRUBefore,
}  # fmt: skip
FAULTS: dict[str, dict[str, Callable[[Drawn], _Cell]]] = {
    "lstm": dict(lstm_faults()), "gru": dict(gru_faults()),
}  # fmt: skip


@cache
def red(recurrence: str, name: str) -> dict[str, float]:
    """The certificates that refuse this fault, each with its ratio."""
    make = TWINS[recurrence] if not name else FAULTS[recurrence][name]
    asked = certificates(make, recurrence == "lstm")
    return {what: c.ratio for what, c in asked.items() if c.ok is False}
