"""What comes of a step at many sets of weights at once, and what is its gradient?

One more reading of a definition (see `reading`), of float64 without bounds, remembered as `Tape`
does. The draw is the last axis of every array, and 1 of what all draws share: products of small
matrices are then a few operations on long rows.

    kernel (F,H,D)   bias (H,D), or (n,H,D) of several that are added   states (B,H,D)
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from rnn_check.numbers.activations import Activation, activation
from rnn_check.numbers.formats import Array


class Node:
    """An array, and what of the loss's gradient has reached it."""

    def __init__(
        self,
        tape: Draws,
        value: Array,
        back: Callable[[Array], None] | None = None,
        asked: bool = True,
    ) -> None:
        self.tape, self.value, self.back, self.asked = tape, value, back, asked
        self.gradient: Array | None = None

    def __mul__(self, other: Node) -> Node:
        def back(g: Array) -> None:
            self.receive(g * other.value)
            other.receive(g * self.value)

        return self.tape.node(self.value * other.value, back)

    def __add__(self, other: Node) -> Node:
        def back(g: Array) -> None:
            self.receive(g)
            other.receive(g)

        return self.tape.node(self.value + other.value, back)

    def receive(self, g: Array) -> None:
        if self.asked:
            self.gradient = g if self.gradient is None else self.gradient + g


class Draws:
    """The reading. Raises ValueError for activations that are not elementwise."""

    def __init__(self, act: str | None = "tanh", gate: str | None = "sigmoid") -> None:
        self._act, self._gate = elementwise(act), elementwise(gate)
        self._order: list[Node] = []

    def node(self, value: Array, back: Callable[[Array], None] | None = None) -> Node:
        node = Node(self, value, back)
        self._order.append(node)
        return node

    def leaf(self, value: Array) -> Node:
        return Node(self, value)

    def constant(self, value: Array) -> Node:
        """What no gradient is asked of."""
        return Node(self, value, asked=False)

    def affine(self, *products: tuple[Node, Node], bias: Node | None = None) -> Node:
        z = sum(_dot(a.value, w.value) for a, w in products)
        several = bias is not None and bias.value.ndim > 2
        if bias is not None:
            z = z + (bias.value.sum(0) if several else bias.value)

        def back(g: Array) -> None:
            for a, w in products:
                if a.asked:
                    a.receive(_dot(g, _turned(w.value)))
                w.receive(_dot(_turned(a.value), g))
            if bias is not None:
                own = g.sum(axis=0)
                bias.receive(np.broadcast_to(own, bias.value.shape) if several else own)

        return self.node(np.asarray(z), back)

    def act(self, z: Node, name: str = "") -> Node:
        return self.activated(self._act, z)

    def gate(self, z: Node, name: str = "") -> Node:
        return self.activated(self._gate, z)

    def activated(self, by: Activation, z: Node) -> Node:
        h = np.asarray(by.function(z.value))
        return self.node(h, lambda g: z.receive(by.vjp(g, z.value, h)))

    def split(self, a: Node, parts: int) -> list[Node]:
        width = a.value.shape[1] // parts

        def piece(of: slice) -> Node:
            def back(g: Array) -> None:
                whole = np.zeros(a.value.shape)
                whole[:, of] = g
                a.receive(whole)

            return self.node(a.value[:, of], back)

        return [piece(slice(at * width, (at + 1) * width)) for at in range(parts)]

    def blend(self, z: Node, h: Node, c: Node) -> Node:
        def back(g: Array) -> None:
            z.receive(g * (h.value - c.value))
            h.receive(g * z.value)
            c.receive(g * (1 - z.value))

        return self.node(z.value * h.value + (1 - z.value) * c.value, back)

    def seen(self, name: str, a: Node, b: Node) -> Node:
        return a + b

    def backward(self) -> None:
        """From the last operation to the first; cotangents have been `receive`d before."""
        for node in reversed(self._order):
            if node.back is not None and node.gradient is not None:
                node.back(node.gradient)


def elementwise(name: str | None) -> Activation:
    found = activation(name)
    if found.derivative is None:
        raise ValueError(f"draws are computed for elementwise activations only, not {found.name}")
    return found


def _dot(A: Array, B: Array) -> Array:
    """(I,K,D)·(K,J,D) -> (I,J,D), draw by draw; either D may be 1."""
    total: Array = A[:, 0, None] * B[0]
    for k in range(1, len(B)):
        total = total + A[:, k, None] * B[k]
    return total


def _turned(A: Array) -> Array:
    return A.swapaxes(0, 1)
