"""What was done to numbers, in order, so that their gradients go back over it?

Of whatever numbers can be multiplied and added: `reading.Tape` records bounded ones, `draws.Draws`
many plain ones at once. What is theirs alone (products of matrices, activations) they add to it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

import numpy as np

from rnn_check.numbers.formats import Array

T = TypeVar("T")


class Node(Generic[T]):
    """A number on a tape, and what of the loss's gradient has reached it."""

    def __init__(
        self, tape: Taped[T], b: T, back: Callable[[T], None] | None = None, asked: bool = True
    ) -> None:
        self.tape, self.b, self.back, self.asked = tape, b, back, asked
        self.gradient: T | None = None
        self.counts: Any = True  # where it is used at all

    def __mul__(self, other: Node[T]) -> Node[T]:
        a: Any = self.b
        b: Any = other.b

        def back(g: Any) -> None:
            self.receive(g * b)
            other.receive(g * a)

        return self.tape.node(a * b, back)

    def __add__(self, other: Node[T]) -> Node[T]:
        def back(g: T) -> None:
            self.receive(g)
            other.receive(g)

        a: Any = self.b
        return self.tape.node(a + other.b, back)

    def __sub__(self, other: Node[T]) -> Node[T]:
        def back(g: Any) -> None:
            self.receive(g)
            other.receive(-g)

        a: Any = self.b
        return self.tape.node(a - other.b, back)

    def __rsub__(self, one: float) -> Node[T]:
        b: Any = self.b
        return self.tape.node(one - b, lambda g: self.receive(-g))  # type: ignore[operator]

    def off_by(self, more: Array | float) -> Node[T]:
        """See Bounded; its gradient is this one's."""
        b: Any = self.b
        rounds = isinstance(more, np.ndarray) or more
        return self.tape.node(b.off_by(more), self.receive) if rounds else self

    def receive(self, g: T) -> None:
        """Add to the gradient."""
        if self.asked:
            self.gradient = g if self.gradient is None else self.tape.added(self.gradient, g)


class Taped(Generic[T]):
    """The numbers that were made, the last one last."""

    def __init__(self) -> None:
        self._order: list[Node[T]] = []

    def added(self, p: T, q: T) -> T:
        """Of two parts of a gradient their sum."""
        raise NotImplementedError

    def blended(self, z: T, h: T, c: T) -> T:
        raise NotImplementedError

    def through_blend(self, g: Any, z: Any, h: Any, c: Any) -> tuple[Any, Any]:
        """What g, the gradient of a blend, is to z and to c."""
        return g * (h - c), g * (1.0 - z)

    def node(self, b: T, back: Callable[[T], None] | None = None) -> Node[T]:
        node = Node(self, b, back)
        self._order.append(node)
        return node

    def leaf(self, b: T) -> Node[T]:
        return Node(self, b)

    def constant(self, b: T) -> Node[T]:
        """What no gradient is asked of."""
        return Node(self, b, asked=False)

    def seen(self, name: str, a: Node[T], b: Node[T]) -> Node[T]:
        return a + b

    def blend(self, z: Node[T], h: Node[T], c: Node[T], name: str = "h") -> Node[T]:
        def back(g: Any) -> None:
            by: tuple[Any, Any, Any] = z.b, h.b, c.b
            of_z, of_c = self.through_blend(g, *by)
            z.receive(of_z)
            h.receive(g * by[0])
            c.receive(of_c)

        return self.node(self.blended(z.b, h.b, c.b), back)

    def backward(self) -> None:
        """From the last operation to the first; cotangents have been `receive`d before."""
        for node in reversed(self._order):
            if node.back is not None and node.gradient is not None:
                node.back(node.gradient)
