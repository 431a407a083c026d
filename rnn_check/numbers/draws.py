"""What comes of a step at many sets of weights at once, and what is its gradient?

One more reading of a definition (see `reading`), of float64 without bounds, over a tape (see
`taped`). The draw is the last axis of every array, and 1 of what all draws share: products of small
matrices are then a few operations on long rows.

    kernel (F,H,D)   bias (H,D), or (n,H,D) of several that are added   states (B,H,D)
"""

from __future__ import annotations

import numpy as np

from rnn_check.numbers import taped
from rnn_check.numbers.activations import Activation, activation
from rnn_check.numbers.formats import Array

Node = taped.Node[Array]


class Draws(taped.Taped[Array]):
    """The reading. Raises ValueError for activations that are not elementwise."""

    def __init__(self, act: str | None = "tanh", gate: str | None = "sigmoid") -> None:
        self._act, self._gate = elementwise(act), elementwise(gate)
        super().__init__()

    def added(self, p: Array, q: Array) -> Array:
        return p + q

    def blended(self, z: Array, h: Array, c: Array) -> Array:
        return np.asarray(z * h + (1 - z) * c)

    def affine(self, *products: tuple[Node, Node], bias: Node | None = None) -> Node:
        z = sum(_dot(a.b, w.b) for a, w in products)
        several = bias is not None and bias.b.ndim > 2
        if bias is not None:
            z = z + (bias.b.sum(0) if several else bias.b)

        def back(g: Array) -> None:
            for a, w in products:
                if a.asked:
                    a.receive(_dot(g, _turned(w.b)))
                w.receive(_dot(_turned(a.b), g))
            if bias is not None:
                own = g.sum(axis=0)
                bias.receive(np.broadcast_to(own, bias.b.shape) if several else own)

        return self.node(np.asarray(z), back)

    def act(self, z: Node, name: str = "") -> Node:
        return self.activated(self._act, z)

    def gate(self, z: Node, name: str = "") -> Node:
        return self.activated(self._gate, z)

    def activated(self, by: Activation, z: Node) -> Node:
        h = np.asarray(by.function(z.b))
        return self.node(h, lambda g: z.receive(by.vjp(g, z.b, h)))

    def split(self, a: Node, parts: int) -> list[Node]:
        width = a.b.shape[1] // parts

        def piece(of: slice) -> Node:
            def back(g: Array) -> None:
                whole = np.zeros(a.b.shape)
                whole[:, of] = g
                a.receive(whole)

            return self.node(a.b[:, of], back)

        return [piece(slice(at * width, (at + 1) * width)) for at in range(parts)]


def elementwise(name: str | None) -> Activation:
    found = activation(name)
    if found.derivative is None:
        raise ValueError(f"draws are computed for elementwise activations only, not {found.name}")
    return found


def _dot(A: Array, B: Array) -> Array:
    """(I,K,D)·(K,J,D) -> (I,J,D), draw by draw; either D may be 1."""
    return np.asarray(np.einsum("ikd,kjd->ijd", A, B))


def _turned(A: Array) -> Array:
    return A.swapaxes(0, 1)
