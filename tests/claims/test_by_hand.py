"""Is somebody who computes a step of gates by hand believed, and a slip of the pen not?

Computations in fifty digits, rounded to decimals wherever a number is printed, as on paper.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import mpmath
import pytest

from rnn_check.certificates.comparison import Comparison
from rnn_check.claims import files
from rnn_check.claims.claim import Claim
from rnn_check.claims.expectations.case import Case
from tests.support.sampling import sampled

F, H, T = 2, 2, 3
Row = list[Any]


class Paper:
    """A computation in which some numbers are printed, and gone on with as they are printed."""

    def __init__(self, seed: int, gates: str, candidate: str, of: str) -> None:
        draw = random.Random(seed)
        self.gates, self.candidate, self.draw = gates, candidate, draw
        self.W, self.U = (
            {g: [[self.decimal(2) for _ in range(H)] for _ in range(n)] for g in gates + candidate}
            for n in (F, H)
        )
        self.b = {g: [self.decimal(2) for _ in range(H)] for g in gates + candidate}
        self.x = [[self.decimal(1, 2) for _ in range(F)] for _ in range(T)]
        names = [*gates, candidate, "h", *(f"s_{g}" for g in gates + candidate), *of]
        self.digits = {name: draw.randint(1, 4) for name in names if draw.random() < 0.7}
        self.printed: dict[str, list[list[Decimal]]] = {}

    def decimal(self, digits: int, most: int = 1) -> Decimal:
        one = 10**digits
        return Decimal(self.draw.randint(-most * one, most * one)).scaleb(-digits)

    def down(self, name: str, row: Row) -> Row:
        """What is gone on with: the row, or what is printed of it."""
        if name not in self.digits:
            return row
        one = 10 ** self.digits[name]
        rounded = [Decimal(int(mpmath.nint(v * one))).scaleb(-self.digits[name]) for v in row]
        self.printed.setdefault(name, []).append(rounded)
        return [mpmath.mpf(str(v)) for v in rounded]

    def times(self, row: Row, matrix: list[list[Decimal]]) -> Row:
        columns = zip(*matrix, strict=True)
        return [
            sum((a * mpmath.mpf(str(w)) for a, w in zip(row, column, strict=True)), mpmath.mpf(0))
            for column in columns
        ]

    def argument(self, gate: str, x: Row, h: Row, reset: Row | None = None) -> Row:
        """reset: what of_h is multiplied by."""
        of_x, of_h = self.times(x, self.W[gate]), self.times(h, self.U[gate])
        reset = [mpmath.mpf(1)] * H if reset is None else reset
        rows = zip(of_x, of_h, self.b[gate], reset, strict=True)
        return self.down(f"s_{gate}", [a + r * c + mpmath.mpf(str(b)) for a, c, b, r in rows])

    def gate(self, gate: str, x: Row, h: Row) -> Row:
        return self.down(gate, [1 / (1 + mpmath.exp(-s)) for s in self.argument(gate, x, h)])

    def inputs(self) -> list[Row]:
        return [[mpmath.mpf(str(v)) for v in row] for row in self.x]

    def text(self, kind: str, reading: str = "") -> str:
        """The claim that it makes."""
        tables = "\n".join(
            f"{gate} = {{ kernel = {shown(self.W[gate])}, recurrent_kernel = "
            f"{shown(self.U[gate])}, bias = {shown(self.b[gate])} }}"
            for gate in self.gates + self.candidate
        )
        expected = "\n".join(
            f'[[expect]]\nfrom = "on paper"\n{self.what(name)}\nvalue = {shown([rows])}'
            for name, rows in self.printed.items()
        )
        return f"""\
schema = 1
title = "by hand"
source = {{ document = "a test" }}
layer = {{ kind = "{kind}", units = {H}, return_sequences = true }}
reading = {{ computed_in = "hand"{reading} }}
input = {{ x = {shown([self.x])} }}
[weights]
{tables}
{expected}
"""

    def what(self, name: str) -> str:
        if name.startswith("s_"):
            return f'what = "preactivation"\nof = "{name[2:]}"'
        if name in self.gates:
            return f'what = "gate"\nof = "{name}"'
        if name == self.candidate:
            return 'what = "candidate"'
        return 'what = "states"' + '\nof = "c"' * (name == "c")


def shown(part: Any) -> str:
    """As it stands in TOML: with all digits of each number."""
    if isinstance(part, list):
        return f"[{', '.join(map(shown, part))}]"
    return f"{part:f}"


def lstm(seed: int) -> tuple[Paper, str]:
    paper = Paper(seed, "ifo", "g", "c")
    h = c = [mpmath.mpf(0)] * H
    for x in paper.inputs():
        i, f, o = (paper.gate(g, x, h) for g in "ifo")
        g = paper.down("g", [mpmath.tanh(s) for s in paper.argument("g", x, h)])
        rows = zip(f, c, i, g, strict=True)
        c = paper.down("c", [f * c + i * g for f, c, i, g in rows])
        h = paper.down("h", [o * mpmath.tanh(c) for o, c in zip(o, c, strict=True)])
    return paper, paper.text("LSTM")


def gru(seed: int) -> tuple[Paper, str]:
    """u weighs the candidate; the reset comes after the product."""
    paper = Paper(seed, "ur", "n", "")
    h = [mpmath.mpf(0)] * H
    for x in paper.inputs():
        u, r = (paper.gate(g, x, h) for g in "ur")
        n = paper.down("n", [mpmath.tanh(s) for s in paper.argument("n", x, h, r)])
        h = paper.down("h", [(1 - u) * h + u * n for u, h, n in zip(u, h, n, strict=True)])
    return paper, paper.text("GRU", ', z_weighs = "candidate"')


def words(c: Claim) -> dict[str, Comparison]:
    """What is said of the author's numbers; no framework is asked."""
    found = {}
    for e in c.expectations:
        assert not e.not_run
        found[f"{e.what} {e.of}"] = next(e.judge(Case(c, {}, "float32")))
    assert all(word.who == "claim" for word in found.values())
    return found


@pytest.mark.parametrize("compute", [lstm, gru])
@pytest.mark.parametrize("seed", sampled(range(60), 15))
def test_an_honest_computation_by_hand_agrees(
    compute: Callable[[int], tuple[Paper, str]], seed: int
) -> None:
    with mpmath.workdps(50):
        _, text = compute(seed)
    for name, word in words(files.loads(text)).items():
        assert word.ok, (name, word.blame())


@pytest.mark.parametrize("compute", [lstm, gru])
@pytest.mark.parametrize("seed", sampled(range(60), 15))
def test_a_slip_of_two_units_differs_where_nothing_explains_it(
    compute: Callable[[int], tuple[Paper, str]], seed: int
) -> None:
    """Of each number that is printed one in its turn is off by two units of its last digit.

    The number that is right is half a unit from the truth, and its interval is half a unit wide, so
    that it is a unit away from what it claims; what was rounded before may explain so much.
    """
    with mpmath.workdps(50):
        paper, text = compute(seed)
    found = []
    for index, (name, rows) in enumerate(paper.printed.items()):
        unit = Decimal(1).scaleb(-paper.digits[name])
        t, k = paper.draw.randrange(T), paper.draw.randrange(H)
        slipped = [list(row) for row in rows]
        slipped[t][k] += paper.draw.choice([2, -2]) * unit
        said = paper.what(name) + "\nvalue = "
        wrong = text.replace(said + shown([rows]), said + shown([slipped]))
        assert wrong != text
        c = files.loads(wrong)
        word = next(c.expectations[index].judge(Case(c, {}, "float32")))
        found.append(not word.ok)
        assert found[-1] or word.bound[0, t, k] >= float(unit), (name, word.blame())
    assert any(found)
