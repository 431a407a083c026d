"""What do authors call the gates of a layer, and how do they say so?

Keras sets the gates side by side, LSTM's as i f c o (c: the candidate), GRU's as z r h (h: the
candidate), with kernel (F,nH), recurrent_kernel (H,nH) and bias (nH,), or (2,nH) where there are
two. What there is of each recurrence, its family says in `layers.cells`. Authors write gates apart
or several in one matrix, in any order, from the left or from the right, on x and h or on both
joined, with one bias or two, with a number that their program adds to the forget gate's bias, and
with an update gate that weighs the old state or the candidate. All of it is said in `[reading]` and
in the names of the tables of `[weights]`; no number is rewritten.

    [reading]
    joined = "[h, x]"

    [weights]
    f = { kernel = …, bias = … }          # one gate; or [weights.f]
    ru = { kernel = …, bias = … }         # several, side by side in that order
    kernel = …                            # all of them, in the order of `gates`

`weights_given` makes Keras's arrays of what the author wrote, `views` finds the author's arrays in
Keras's (gradients, say).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Literal

import msgspec
import numpy as np

from rnn_check.numbers.formats import Array
from rnn_check.recurrences import kinds
from rnn_check.refusal import ClaimError, any_of
from rnn_check.subjects.asked.named import FAMILIES

Fail = Callable[[str, str], ClaimError]  # (key, what is wrong and what would be right)

# of which σ(-a) = 1 - σ(a), so that 1 - z is a gate too, whose weights are -1 times those of z
MIRRORED = frozenset({"sigmoid", "hard_sigmoid"})
MOST_BIAS = 10**6  # that a program adds
PARTS = ("kernel", "recurrent_kernel", "bias", "recurrent_bias")


@dataclass(frozen=True, eq=False)
class Letters:
    """The gates of a recurrence, as their authors write of them.

    kind: the layer that computes it. authors: what they call each gate, in Keras's letter for it;
    nothing of what has a candidate and no gates. example: an order in which an author may have
    them. forget: the gate that weighs the state before, to whose bias programs add a number.
    update: the one that weighs the state before where 1 minus it weighs the candidate, which may be
    the other way about. reset: the one by which the state is multiplied before or after its product
    with the recurrent kernel. shown: of each group of units that shows what is dropped for a gate
    (`asking.questions.dropout`), which gates are 1 whatever comes in; empty where nobody has
    derived that.
    """

    kind: str
    authors: Mapping[str, str] = field(default_factory=dict)
    candidate: str = "h"
    example: str = ""
    forget: str = ""
    update: str = ""
    reset: str = ""
    shown: Mapping[str, str] = field(default_factory=dict)

    @property
    def recurrence(self) -> str:
        """The name of its definition."""
        return FAMILIES[self.kind].recurrence

    @property
    def order(self) -> str:
        """The gates in Keras's order."""
        return "".join(kinds.recurrence(self.recurrence).gates) or self.candidate

    def columns(self, gate: str, units: int) -> Array:
        """1 in the columns of one gate, 0 in those of the others."""
        return np.repeat([float(each == gate) for each in self.order], units)

    @property
    def states(self) -> tuple[str, ...]:
        return kinds.recurrence(self.recurrence).states


class GateReading(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """The part of `[reading]` that speaks of weights with gates.

    layout: from which side the author's matrices multiply.
    gates: their order in matrices that hold all of them ("i f o g"); Keras's if it is left out.
    joined: a kernel holds the weights of x and of h, which multiply both in that order.
    forget_bias: a number that the author's program adds to the bias of LSTM's forget gate.
    z_weighs: what the update gate of a GRU weighs: h = z·h + (1 - z)·c, or (1 - z)·h + z·c.
    states: in which order an LSTM's are where they stand side by side.
    """

    layout: Literal["x·W", "W·x"] = "x·W"
    gates: str | None = None
    joined: Literal["[h, x]", "[x, h]"] | None = None
    forget_bias: Decimal | int | None = None
    z_weighs: Literal["state", "candidate"] = "state"
    states: Literal["[h, c]", "[c, h]"] = "[h, c]"

    @property
    def is_in_order(self) -> bool:
        """Whether arrays of all gates are Keras's."""
        plain = self.gates is None and self.joined is None and self.z_weighs == "state"
        return plain and self.states == "[h, c]" and self.layout == "x·W"


def check(reading: GateReading, activations: Mapping[Letters, set[str]], fail: Fail) -> None:
    """Raises ClaimError for a key of `[reading]` that nothing in the claim would obey.

    activations: of each kind of recurrent layer in the claim, the recurrent activations.
    """
    gated = [letters for letters in activations if letters.authors]
    if reading.joined is not None and not activations:
        raise fail("reading.joined", "the claim has no recurrent layer; leave it out")
    if reading.gates is not None:
        if not gated:
            raise fail("reading.gates", "the claim has no layer with gates; leave it out")
        if len(gated) > 1 or order_of(reading.gates, gated[0]) is None:
            raise fail("reading.gates", wrong_order(reading.gates, gated))
    if reading.forget_bias is not None:
        if not any(letters.forget for letters in gated):
            problem = "the claim has no layer whose forget gate has a bias; leave it out"
            raise fail("reading.forget_bias", problem)
        added = Decimal(reading.forget_bias)
        if not added.is_finite() or abs(added) > MOST_BIAS:
            raise fail("reading.forget_bias", f"expected a number of at most {MOST_BIAS:,}")
    if reading.states == "[c, h]" and all(len(letters.states) < 2 for letters in activations):
        having = any_of(kind for kind, family in FAMILIES.items() if family.states > 1)
        raise fail("reading.states", f"only {having} has two states; leave it out")
    if reading.z_weighs == "candidate":
        updating = [activations[letters] for letters in gated if letters.update]
        if not updating:
            problem = "the claim has no layer with an update gate; leave it out"
            raise fail("reading.z_weighs", problem)
        if others := set().union(*updating) - MIRRORED:
            raise fail(
                "reading.z_weighs",
                f"with the recurrent_activation {min(others)}, 1 - z is no gate of any weights; "
                f"that can be said of {' and '.join(sorted(MIRRORED))} only",
            )


def gate_of(letters: Letters, letter: str, reading: GateReading) -> tuple[str, bool]:
    """The gate of Keras that an author means, and whether the author's is 1 minus that one.

    Raises KeyError for a letter that names no gate of that kind.
    """
    gate = letters.authors[letter]
    return gate, gate == letters.update and reading.z_weighs == "candidate"


def gates_of(name: str, letters: Letters) -> tuple[str, ...] | None:
    """Keras's letters for the author's, if each names another gate."""
    gates = tuple(letters.authors.get(letter, "") for letter in name)
    return gates if gates and "" not in gates and len({*gates}) == len(gates) else None


def order_of(text: str, letters: Letters) -> tuple[str, ...] | None:
    """The same of an order of all gates: "i f o g", or "ifog"."""
    gates = gates_of("".join(text.split(" ")), letters)
    return gates if gates and len(gates) == len(letters.order) else None


def order_of_all(reading: GateReading, letters: Letters) -> tuple[str, ...] | None:
    return tuple(letters.order) if reading.gates is None else order_of(reading.gates, letters)


def no_gates(letters: Letters) -> str:
    return (
        f"names no gates of {letters.kind}; a table has the letters of its gates, each once: "
        f"{', '.join(letters.order)}, or the author's own ({_own_letters(letters)})"
    )


def wrong_order(text: str, each: list[Letters]) -> str:
    if len(each) > 1:
        return (
            f"the claim has {' and '.join(letters.kind for letters in each)}, whose gates are not "
            "the same; name the tables of [weights] by the letters of their gates in place of it"
        )
    (letters,) = each
    return (
        f"{text!r} is no order of the gates of {letters.kind}; name each once, as in "
        f"{letters.example!r}: {', '.join(letters.order)}, or {_own_letters(letters)}"
    )


def _own_letters(letters: Letters) -> str:
    others: dict[str, list[str]] = {}
    for letter, gate in letters.authors.items():
        if letter != gate:
            others.setdefault(gate, []).append(letter)
    return "; ".join(f"{' '.join(own)} for {gate}" for gate, own in others.items())
