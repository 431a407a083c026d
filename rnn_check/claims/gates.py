"""What do authors call the gates of a layer, and how do they say so?

Keras sets the gates side by side, LSTM's as i f c o (c: the candidate), GRU's as z r h (h: the
candidate), with kernel (F,nH), recurrent_kernel (H,nH) and bias (nH,), (2,nH) of a GRU with
reset_after. Authors write gates apart or several in one matrix, in any order, from the left or from
the right, on x and h or on both joined, with one bias or two, with a number that their program adds
to the forget gate's bias, and with an update gate that weighs the old state or the candidate. All
of it is said in `[reading]` and in the names of the tables of `[weights]`; no number is rewritten.

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
from decimal import Decimal
from typing import Literal

import msgspec

from rnn_check.refusal import ClaimError

Kind = Literal["SimpleRNN", "LSTM", "GRU"]
Fail = Callable[[str, str], ClaimError]  # (key, what is wrong and what would be right)

# the gates in Keras's order, and what authors call them; SimpleRNN has a candidate and no gates
ORDER: dict[Kind, str] = {"SimpleRNN": "h", "LSTM": "ifco", "GRU": "zrh"}
LETTERS: dict[Kind, dict[str, str]] = {
    "SimpleRNN": {},
    "LSTM": {"i": "i", "f": "f", "o": "o", "c": "c", "g": "c", "j": "c", "a": "c"},
    "GRU": {"z": "z", "u": "z", "r": "r", "h": "h", "n": "h", "c": "h", "g": "h"},
}
CANDIDATE: dict[Kind, str] = {"SimpleRNN": "h", "LSTM": "c", "GRU": "h"}
# of which σ(-a) = 1 - σ(a), so that 1 - z is a gate too, whose weights are -1 times those of z
MIRRORED = frozenset({"sigmoid", "hard_sigmoid"})
MOST_BIAS = 10**6  # that a program adds
PARTS = ("kernel", "recurrent_kernel", "bias", "recurrent_bias")
_EXAMPLES: dict[Kind, str] = {"LSTM": "i f o g", "GRU": "r u c"}


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


def check(reading: GateReading, activations: Mapping[Kind, set[str]], fail: Fail) -> None:
    """Raises ClaimError for a key of `[reading]` that nothing in the claim would obey.

    activations: of each kind of recurrent layer in the claim, the recurrent activations.
    """
    gated = [kind for kind in activations if LETTERS[kind]]
    if reading.joined is not None and not activations:
        raise fail("reading.joined", "the claim has no recurrent layer; leave it out")
    if reading.gates is not None:
        if not gated:
            raise fail("reading.gates", "the claim has neither LSTM nor GRU; leave it out")
        if len(gated) > 1 or order_of(reading.gates, gated[0]) is None:
            raise fail("reading.gates", wrong_order(reading.gates, gated))
    if reading.forget_bias is not None:
        if "LSTM" not in activations:
            raise fail("reading.forget_bias", "only an LSTM has a forget gate; leave it out")
        added = Decimal(reading.forget_bias)
        if not added.is_finite() or abs(added) > MOST_BIAS:
            raise fail("reading.forget_bias", f"expected a number of at most {MOST_BIAS:,}")
    if reading.states == "[c, h]" and "LSTM" not in activations:
        raise fail("reading.states", "only an LSTM has two states; leave it out")
    if reading.z_weighs == "candidate":
        if "GRU" not in activations:
            raise fail("reading.z_weighs", "only a GRU has an update gate; leave it out")
        if others := activations["GRU"] - MIRRORED:
            raise fail(
                "reading.z_weighs",
                f"with the recurrent_activation {min(others)}, 1 - z is no gate of any weights; "
                f"that can be said of {' and '.join(sorted(MIRRORED))} only",
            )


def gate_of(kind: Kind, letter: str, reading: GateReading) -> tuple[str, bool]:
    """The gate of Keras that an author means, and whether the author's is 1 minus that one.

    Raises KeyError for a letter that names no gate of that kind.
    """
    gate = LETTERS[kind][letter]
    return gate, gate == "z" and reading.z_weighs == "candidate"


def letters_of(name: str, kind: Kind) -> tuple[str, ...] | None:
    """Keras's letters for the author's, if each names another gate."""
    gates = tuple(LETTERS[kind].get(letter, "") for letter in name)
    return gates if gates and "" not in gates and len({*gates}) == len(gates) else None


def order_of(text: str, kind: Kind) -> tuple[str, ...] | None:
    """The same of an order of all gates: "i f o g", or "ifog"."""
    gates = letters_of("".join(text.split(" ")), kind)
    return gates if gates and len(gates) == len(ORDER[kind]) else None


def order_of_all(reading: GateReading, kind: Kind) -> tuple[str, ...] | None:
    return tuple(ORDER[kind]) if reading.gates is None else order_of(reading.gates, kind)


def no_gates(kind: Kind) -> str:
    return (
        f"names no gates of {kind}; a table has the letters of its gates, each once: "
        f"{', '.join(ORDER[kind])}, or the author's own ({_own_letters(kind)})"
    )


def wrong_order(text: str, kinds: list[Kind]) -> str:
    if len(kinds) > 1:
        return (
            "the claim has LSTM and GRU, whose gates are not the same; name the tables of "
            "[weights] by the letters of their gates in place of it"
        )
    (kind,) = kinds
    return (
        f"{text!r} is no order of the gates of {kind}; name each once, as in "
        f"{_EXAMPLES[kind]!r}: {', '.join(ORDER[kind])}, or {_own_letters(kind)}"
    )


def _own_letters(kind: Kind) -> str:
    others: dict[str, list[str]] = {}
    for letter, gate in LETTERS[kind].items():
        if letter != gate:
            others.setdefault(gate, []).append(letter)
    return "; ".join(f"{' '.join(letters)} for {gate}" for gate, letters in others.items())
