"""How is one definition of a step read: as numbers, as bounded numbers, or over a tape?

A recurrence is written once, with + - * and the six operations of a reading `n`:

    n.affine((x, W), (h, U), bias=b)      x·W + h·U + b, or + Σ b of several biases (n,H)
    n.act(z), n.gate(z, "f")              the activation, the recurrent activation; a name may say
                                          what is made of z
    n.split(a, 3)                         three gates side by side
    n.blend(z, h, c, "c")                 z·h + (1 - z)·c, in whatever form a framework writes that
    n.seen("c", a, b)                     a + b

The last two make a state, the output h where no name says which, that a compiler may make twice;
where it is known what was observed of one, that is what the rest of the step is made of. What is no
state has a name that is none of theirs.

`Numbers` reads it as arrays: the reference. `Bounds` reads it as bounded numbers: along a sequence
they are the running bound, and from the states that were observed the certificate of one step.
`Tape` remembers what `Bounds` did, and goes back over it: gradients, with their bounds.

Bounded is a value of the reference in float64 and how far the subject's may be from it. With
fl(a∘b) = (a∘b)(1+ε) + η' in the subject's arithmetic, |ε| <= u, |η'| <= η (its smallest normal
number: results may be flushed), and the same in float64 for the reference's own value,

    |fl(âb̂) - fl(ab)| <= dA(|B| + dB) + |A|dB + (u + u64)(|A| + dA)(|B| + dB) + 2η

and nothing of the last two where both are known exactly and the result needs no rounding.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from rnn_check.numbers import taped
from rnn_check.numbers.activated import _evaluated, vjp_bound
from rnn_check.numbers.activations import activation
from rnn_check.numbers.bounded import Bounded, _but_nan, _held, _sum_error, exactly, joined
from rnn_check.numbers.formats import FLOAT64, Array, _upper, arithmetic, gamma


class Numbers:
    """Arrays of one floating-point dtype: the reference itself."""

    def __init__(self, act: str | None = "tanh", gate: str | None = "sigmoid") -> None:
        self._act, self._gate = activation(act), activation(gate)

    def affine(self, *products: tuple[Array, Array], bias: Array | None = None) -> Array:
        z = sum(a @ b for a, b in products)
        return np.asarray(z if bias is None else z + (bias.sum(0) if bias.ndim > 1 else bias))

    def act(self, z: Array, name: str = "") -> Array:
        return np.asarray(self._act.function(z))

    def gate(self, z: Array, name: str = "") -> Array:
        return np.asarray(self._gate.function(z))

    def split(self, a: Array, parts: int) -> list[Array]:
        return np.split(a, parts, axis=-1)

    def blend(self, z: Array, h: Array, c: Array, name: str = "h") -> Array:
        return np.asarray(z * h + (1 - z) * c)

    def where(self, keep: Array, new: Array, old: Array) -> Array:
        return np.where(keep, new, old)

    def seen(self, name: str, a: Array, b: Array) -> Array:
        return np.asarray(a + b)


class Bounds:
    """Bounded numbers. `dtype`: what the subject computes in."""

    def __init__(self, dtype: Any, act: str | None = "tanh", gate: str | None = "sigmoid") -> None:
        self.a = arithmetic(dtype)
        self.names = activation(act).name, activation(gate).name

    def exactly(self, value: Array) -> Bounded:
        return exactly(value, self.a)

    def affine(
        self,
        *products: tuple[Bounded, Bounded],
        bias: Bounded | None = None,
        k: int | None = None,
        stored: int | None = None,
    ) -> Bounded:
        """k: the roundings on the longest way; stored: how many are of results that are stored, by
        default of each product, and each bias."""
        addends = [] if bias is None else [bias]
        if bias is not None and bias.value.ndim > 1:
            rows = (
                np.split(part, part.shape[-2], -2) for part in (bias.value, bias.error, bias.size)
            )
            addends = [Bounded(v, e, bias.a, s) for v, e, s in zip(*rows, strict=True)]
        results = len(products) + len(addends)
        value = sum(a.value @ b.value for a, b in products)
        for addend in addends:
            value = value + addend.value
        if k is None:
            k = sum(b.value.shape[-2] for _, b in products) + results - 1
        error = _sum_error(
            self.a,
            [(a.known, b.known) for a, b in products],
            [c.known for c in addends],
            k=k,
            stored=stored or results,
        )
        return Bounded(np.asarray(value), np.broadcast_to(error, np.shape(value)), self.a)

    def act(self, z: Bounded, name: str = "") -> Bounded:
        return self.named(self.names[0], z, name)

    def gate(self, z: Bounded, name: str = "") -> Bounded:
        return self.named(self.names[1], z, name)

    def named(self, function: str, z: Bounded, name: str) -> Bounded:
        """What is made of z, by the name that the step gives it."""
        return self._activated(function, z)

    def _activated(self, name: str, z: Bounded) -> Bounded:
        act = activation(name)
        h = np.asarray(act.function(z.value))
        error = _evaluated(name, z.value, h, z.error, self.a)
        error = error if act.chooses else _but_nan(error, z.is_nan)
        return Bounded(h, error, self.a, factor=z.most if act.of_z else None)

    def split(self, a: Bounded, parts: int) -> list[Bounded]:
        wide = a.value.shape[-1] // parts
        return [a.each(lambda part: part[..., i : i + wide]) for i in range(0, wide * parts, wide)]  # noqa: B023

    def blend(self, z: Bounded, h: Bounded, c: Bounded, name: str = "h") -> Bounded:
        """Off by (h - c)δz and not by |h| + |c|: z enters both terms.

        Frameworks write z·h + (1 - z)·c or c + z·(h - c), each of four roundings at most on sums of
        no more than z|h| + (1 + z)|c|: γ_4 covers both. z outside [0, 1] (a linear gate) is covered
        with its absolute value.
        """
        p, q, r = z.known, h.known, c.known
        value = p.value * q.value + (1 - p.value) * r.value
        rest = np.abs(1 - p.value) + p.error
        most = p.most * (q.most + r.most)
        most = most + rest * r.most + r.most
        error = p.error * (np.abs(q.value - r.value) + q.error + r.error)
        error = error + p.size * q.error + np.abs(1 - p.value) * r.error
        u = self.a.u_stored
        rounding = (gamma(4, u) + gamma(5, FLOAT64.u)) * most + 6 * self.a.min_normal
        error = error + rounding
        chosen = (p.error == 0) & ((p.value == 0) | (p.value == 1))
        if chosen.any():
            kept = np.where(p.value == 1, q.error, r.error)
            exact = chosen & _held(q.value, self.a) & _held(r.value, self.a)
            error = np.where(exact & (kept == 0), 0.0, error)
        first = np.maximum(most, z.reached * (h.reached + c.reached) + c.reached)
        error = _upper(np.where(first > self.a.max, np.inf, error))
        return Bounded(value, _but_nan(error, z.is_nan, h.is_nan, c.is_nan), self.a)

    def where(self, keep: Array, new: Bounded, old: Bounded) -> Bounded:
        pairs = ((new.value, old.value), (new.error, old.error), (new.size, old.size))
        value, error, size = (np.where(keep, *pair) for pair in pairs)
        return Bounded(value, error, self.a, size)

    def seen(self, name: str, a: Bounded, b: Bounded) -> Bounded:
        return a + b


Node = taped.Node[Bounded]


class Tape(taped.Taped[Bounded]):
    """What `Bounds` did, remembered. The gradients of weights are sums over all steps.

    All may have a leading axis, of several sets of weights: kernels (N,F,H), biases (N,1,H).
    stored: how many results make what a product hands back: each gate's part may be one.
    """

    def __init__(
        self, dtype: Any, act: str | None = "tanh", gate: str | None = "sigmoid", stored: int = 1
    ) -> None:
        super().__init__()
        self.stored = stored
        self.n = Bounds(dtype, act, gate)
        self.a = self.n.a
        self._products: dict[int, list[tuple[Bounded, Bounded]]] = {}
        self._biases: set[int] = set()

    def added(self, p: Bounded, q: Bounded) -> Bounded:
        """Frameworks may add up in another order, so sizes add up too, and each addend may be
        rounded thrice: a state has four, of its uses in a step (a GRU's three) and its cotangent.
        To add an exact zero rounds nothing."""
        error = _sum_error(self.a, (), (p.known, q.known), k=3, stored=3)
        error = np.where(_nothing(p), q.error, np.where(_nothing(q), p.error, error))
        return Bounded(p.value + q.value, error, self.a, p.size + q.size)

    def blended(self, z: Bounded, h: Bounded, c: Bounded) -> Bounded:
        return self.n.blend(z, h, c)

    def through_blend(
        self, g: Bounded, z: Bounded, h: Bounded, c: Bounded
    ) -> tuple[Bounded, Bounded]:
        """Frameworks multiply first, too: g·h - g·c, whose products are rounded where h - c is not,
        and g - g·z. Where z or c is used elsewhere as well, what comes from there may be added to
        one of the two before the other is: both count as addends."""
        both, one = h.size + c.size, 1.0 + z.size
        of_z = np.where((h.value == 0) | (c.value == 0), 0.0, both)
        of_c = np.where((z.value == 0) | (z.value == 1), 0.0, z.size)
        u = gamma(1, self.a.u_stored)

        def through(b: Bounded, rounded: Array, addends: Array) -> Bounded:
            b = b.off_by(np.where((b.error == 0) & ~np.isnan(rounded), u * rounded, 0.0))
            made = g * b
            return Bounded(made.value, made.error, self.a, np.maximum(made.size, g.size * addends))

        return through(h - c, of_z, both), through(1.0 - z, of_c, one)

    def affine(self, *products: tuple[Node, Node], bias: Node | None = None) -> Node:
        b = self.n.affine(*((A.b, W.b) for A, W in products), bias=None if bias is None else bias.b)

        def back(d: Bounded) -> None:
            for A, W in products:
                self._products.setdefault(id(W), []).append((A.b, d))
                if not A.asked:
                    continue
                g = self.n.affine((d, W.b.T), k=W.b.value.shape[-1] + 1, stored=self.stored)
                zeros = _nothing(d).all(axis=-1, keepdims=True)  # of these rows all products are 0
                A.receive(Bounded(g.value, np.where(zeros, 0.0, g.error), self.a))
            if bias is not None:
                ones = self.n.exactly(np.ones((d.value.shape[-2], 1)))
                self._products.setdefault(id(bias), []).append((ones, d))
                self._biases.add(id(bias))

        return self.node(b, back)

    def act(self, z: Node, name: str = "") -> Node:
        return self.named(self.n.names[0], z, name)

    def gate(self, z: Node, name: str = "") -> Node:
        return self.named(self.n.names[1], z, name)

    def named(self, function: str, z: Node, name: str) -> Node:
        return self._activated(function, z)

    def activated(self, name: str | None, z: Node) -> Node:
        """Another activation, by its name."""
        return self._activated(activation(name).name, z)

    def _activated(self, name: str, z: Node, rounded: Array | float = 0.0) -> Node:
        """rounded: by how much h is rounded by hand before act' is made of it."""
        h = self.n._activated(name, z.b)

        def back(g: Bounded) -> None:
            parts = vjp_bound(
                name, g.value, g.error, z.b.value, h.value, z.b.error, self.a, rounded
            )
            value, error = (np.where(node.counts, part, 0.0) for part in parts)
            z.receive(Bounded(value, error, self.a))

        node = self.node(h, back)
        return node

    def split(self, a: Node, parts: int) -> list[Node]:
        """The gradients of the parts come together when the first of them is reached."""
        pieces = [self.node(b) for b in self.n.split(a.b, parts)]

        def back(_: Bounded) -> None:
            nothing = [self.n.exactly(np.zeros_like(p.b.value)) for p in pieces]
            each = [p.gradient or zero for p, zero in zip(pieces, nothing, strict=True)]
            joined = (
                np.concatenate([getattr(g, part) for g in each], axis=-1)
                for part in ("value", "error", "size")
            )
            value, error, size = joined
            a.receive(Bounded(value, error, self.a, size))

        pieces[0].back = back
        pieces[0].gradient = self.n.exactly(np.zeros_like(pieces[0].b.value))
        return pieces

    def where(self, keep: Array, new: Node, old: Node) -> Node:
        new.counts = keep

        def back(g: Bounded) -> None:
            for node, chosen in ((new, keep), (old, ~keep)):
                zero = [np.where(chosen, part, 0.0) for part in (g.value, g.error, g.size)]
                node.receive(Bounded(zero[0], zero[1], self.a, zero[2]))

        return self.node(self.n.where(keep, new.b, old.b), back)

    def scaled(self, a: Node, by: Array) -> Node:
        """a times 0 or a power of two that is 1 or more, which rounds nothing."""

        def times(b: Bounded) -> Bounded:
            b = b.known
            parts = (np.where(by > 0, by * part, 0.0) for part in (b.value, b.error, b.size))
            value, error, size = parts
            unknown = ~np.isfinite(b.error) | (size + error > self.a.max)
            return Bounded(value, np.where(unknown, np.inf, error), self.a, size)

        return self.node(times(a.b), lambda g: a.receive(times(g)))

    def reached(self, weight: Node) -> Bounded:
        """The gradient of its products, (…,R,H), those of the first use first: δ of a kernel."""
        return joined([d for _, d in reversed(self._products[id(weight)])], -2)

    def gradient(self, weight: Node) -> Bounded:
        """dL/d(weight), summed over the batch and then step by step; a bias has one row."""
        pairs = self._products.get(id(weight), [])
        if not pairs:
            return self.n.exactly(np.zeros_like(weight.b.value))
        A, d = (joined([pair[i] for pair in pairs], -2) for i in (0, 1))
        rows = d.value.shape[-2]
        is_bias = id(weight) in self._biases
        # biases are not summed by a matrix product, so nothing wider is promised
        stored = rows + 1 if is_bias else len(pairs) + 1
        error = _sum_error(self.a, ((A.known.T, d.known),), k=rows + 1, stored=stored)
        value = A.T.value @ d.value
        found = Bounded(value, error, self.a)
        shape = weight.b.value.shape
        if not is_bias:
            return found
        return found.each(lambda part: np.broadcast_to(part if shape[1:] else part[0], shape))


def _nothing(b: Bounded) -> Array:
    """Where it is exactly 0, as a sum of no terms is."""
    return np.asarray((b.size == 0) & (b.error == 0))
