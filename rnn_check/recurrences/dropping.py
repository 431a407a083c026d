"""What does a step make of inputs and states of which each gate drops others?

A gate reads what its own mask leaves of the input, and of the output before. What is carried on is
left as it is. So products are of each gate apart; what else a step does is not touched.

    N sets of weights, B samples, F features, H units, G gates
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from rnn_check.numbers.bounded import Bounded, joined
from rnn_check.numbers.formats import Array
from rnn_check.numbers.reading import Node, Tape


class Dropped(NamedTuple):
    """What each gate multiplies inputs and states by at all steps: 0 or a power of two, 1 or more.

    g is how many gates have masks of their own: all, or 1 for all together.
    """

    of_input: Array  # (N,g,B,F)
    of_state: Array  # (N,g,B,H)

    def part(self, rows: slice) -> Dropped:
        return Dropped(self.of_input[rows], self.of_state[rows])


class _Apart(NamedTuple):
    """The columns of a kernel gate by gate, and what each gate's inputs are multiplied by."""

    gates: list[Node]  # (N,R,H)
    masks: list[Array]  # (N,B,R)


class Dropping:
    """The reading of a tape (see `numbers.reading`) in which products with weights drop.

    fields: the weights of a recurrence by the names of its own fields, (N,R,kH) each.
    """

    def __init__(self, tape: Tape, dropped: Dropped, fields: Mapping[str, Bounded | None]) -> None:
        self.tape, self._dropped = tape, dropped
        of_states = next(w for name, w in fields.items() if w is not None and "recurrent" in name)
        self._units = of_states.value.shape[-2]
        widths = [w.value.shape[-1] for n, w in fields.items() if w is not None and _is_kernel(n)]
        self._gates = sum(widths) // self._units // 2  # of inputs, and of states
        self._pieces: dict[str, list[Node]] = {}
        self.fields = {name: self._field(name, w) for name, w in fields.items()}

    def _field(self, name: str, w: Bounded | None) -> Any:
        if w is None:
            return None
        H = self._units
        parts = [
            self.tape.leaf(w.each(lambda part: part[..., at : at + H]))  # noqa: B023
            for at in range(0, w.value.shape[-1], H)
        ]
        self._pieces[name] = parts
        if not _is_kernel(name):
            return parts
        first = self._gates - len(parts) if "candidate" in name else 0
        masks = self._dropped.of_state if "recurrent" in name else self._dropped.of_input
        own = [masks[:, (first + gate) % masks.shape[1]] for gate in range(len(parts))]
        return _Apart(parts, own)

    def gradient(self, name: str) -> Bounded:
        """dL/d of a field, its gates side by side."""
        return joined([self.tape.gradient(node) for node in self._pieces[name]], axis=-1)

    def affine(self, *products: tuple[Node, _Apart], bias: list[Node] | None = None) -> Any:
        found = []
        for gate in range(len(products[0][1].gates)):
            own = [(self.tape.scaled(a, w.masks[gate]), w.gates[gate]) for a, w in products]
            found.append(self.tape.affine(*own, bias=None if bias is None else bias[gate]))
        return found if len(found) > 1 else found[0]

    def split(self, each: list[Node], parts: int) -> list[Node]:
        assert len(each) == parts
        return each

    def __getattr__(self, name: str) -> Any:
        return getattr(self.tape, name)


def _is_kernel(name: str) -> bool:
    return "bias" not in name
