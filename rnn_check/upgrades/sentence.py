"""What changed, in plain words?"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from rnn_check.upgrades.changes import (
    BETTER,
    BEYOND,
    DRIFT,
    OTHER,
    SAID,
    WORSE,
    Change,
    Compared,
    Row,
)


def sentence(compared: Compared) -> str:
    """What changed, in plain words."""
    return " ".join(_sentences(compared))


def _sentences(compared: Compared) -> Iterator[str]:
    baseline, *others = compared.sides
    for side in compared.sides:
        if side.failure:
            yield f"{side.word} could not be asked."
    if baseline.failure or all(side.failure for side in others):
        return
    if not compared.claims:
        yield "Nothing was compared."
        return
    for side in compared.uncompared:
        yield f"Nothing of {side.word} was compared."
    worse = compared.of_kind(WORSE)
    told = []
    for rows, kinds, word, verb in (
        ([row for row in worse if not row.is_known], (WORSE,), "verdict", "got worse"),
        (compared.of_kind(BEYOND), (BEYOND,), "answer", _moved(compared)),
        ([row for row in worse if row.is_known], (WORSE,), "verdict", "got worse as is known"),
        (compared.of_kind(BETTER), (BETTER,), "verdict", "got better"),
        (compared.of_kind(OTHER, SAID), (OTHER, SAID), "answer", "changed otherwise"),
    ):
        if rows:
            told.append(f"{_many(len(rows), word)} {verb}{_first(compared, rows, kinds)}")
    differs = bool(told)
    drifted = compared.of_kind(DRIFT)
    bounded: list[Row] = []
    unbounded: list[Row] = []
    for row in drifted:
        (unbounded if any(c.unbounded for c in _of_kind(row, DRIFT)) else bounded).append(row)
    for rows, how, end in (
        (bounded, "changed in the last bits", ""),
        (unbounded, "changed", ", where no bound is known"),
    ):
        if rows:
            most = max(c.ulp or 0.0 for row in rows for c in _of_kind(row, DRIFT))
            names = {row.name for row in rows}
            told.append(
                f"{len(names):,} of {compared.claims:,} claims {how}, at most {ulps(most)}{end}"
                f"{_first(compared, rows, (DRIFT,))}"
            )
    signs = any(c.signs for row in compared.rows for c in row.changes if c is not None)
    many = _many(compared.claims, "claim")
    if not told:
        yield f"Nothing differs, {'but the signs of zeros' if signs else 'not a bit'}, in {many}."
        return
    if not differs:
        told.insert(0, "Nothing differs")
    if not drifted:
        told.append(f"no other {'number' if signs else 'bit'} changed in {many}")
    yield "; ".join(told) + "."


def _moved(compared: Compared) -> str:
    shares = [c.share or 0.0 for r in compared.rows for c in _of_kind(r, BEYOND)]
    most = max(shares, default=0.0)
    some = "some " * math.isinf(most)
    return f"moved further than rounding may explain ({some}{times(most)})"


def times(share: float) -> str:
    """How far beyond what rounding may explain, in words."""
    return "where nothing may move" if math.isinf(share) else f"up to {share:,.2g} times as far"


def _of_kind(row: Row, kind: str) -> list[Change]:
    return [change for change in row.changes if change is not None and change.kind == kind]


def _first(compared: Compared, rows: Sequence[Row], kinds: Sequence[str]) -> str:
    """ ", first in TensorFlow 2.20", if there are several subjects to be the first of."""
    side = compared.first(rows, kinds)
    if side is None or len(compared.sides) < 3:
        return ""
    return f", first in {compared.names()[compared.sides.index(side)]}"


def _many(number: int, word: str) -> str:
    return f"{number:,} {word}" + "s" * (number != 1)


def ulps(number: float) -> str:
    """ "3 ulps"; "1 ulp"; "1.2e+05 ulps"; without an end where one of two numbers is none."""
    if math.isinf(number):
        return "∞ ulps"
    shown = f"{number:,.0f}" if number < 1e5 else f"{number:.1e}"
    return f"{shown} ulp" + "s" * (number != 1)


def each_effect(compared: Compared, index: int) -> list[str]:
    """How one subject differs from the baseline, then "since 2: ..." from the one before it."""
    failed = [bool(side.failure) for side in compared.sides]
    if failed[index] or not index:
        return []
    found = [] if failed[0] else [effects(compared, index)]
    if index > 1 and not failed[index - 1]:
        found.append(f"since {index}: {effects(compared.steps[index - 1], 1)}")
    return found


def effects(compared: Compared, index: int) -> str:
    """How one subject differs from the baseline: "2 worse · 14 changed in the last bits, ..."."""
    counts = [row.kinds[index] for row in compared.rows]
    known = sum(c.is_known for row in compared.rows if (c := row.changes[index]))
    words = {
        WORSE: "worse", BEYOND: "moved beyond rounding", BETTER: "better",
        OTHER: "other verdict", SAID: "other answer",
    }  # fmt: skip
    parts = []
    for kind, word in words.items():
        if many := counts.count(kind):
            part = f"{many} {word}" + "s" * (many > 1 and word.startswith("other"))
            if kind == WORSE and known:
                part += f" ({known} known)"
            parts.append(part)
    drifts = [c for row in compared.rows if (c := row.changes[index]) and c.kind == DRIFT]
    within = [change for change in drifts if not change.unbounded]
    if within:
        most = max(change.ulp or 0.0 for change in within)
        drifted = f"{len(within)} changed in the last bits, at most {ulps(most)}"
        share = max(change.share or 0.0 for change in within)
        parts.append(f"{drifted}, {share:.2g} of what rounding may explain")
    if unbounded := [change for change in drifts if change.unbounded]:
        most = max(change.ulp or 0.0 for change in unbounded)
        parts.append(f"{len(unbounded)} changed, at most {ulps(most)}, where no bound is known")
    if not parts and compared.sides[index] in compared.uncompared:
        return "nothing was compared"
    signs = any(c.signs for row in compared.rows if (c := row.changes[index]))
    same = "the same but for the signs of zeros" if signs else "the same, bit for bit"
    return " · ".join(parts) or same
