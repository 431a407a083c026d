"""How is a change said, and what has one cause?"""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Iterable, Iterator

from rnn_check.reports.subject import header
from rnn_check.subjects.process import cut
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
    Side,
)
from rnn_check.upgrades.sentence import times, ulps
from rnn_check.verdicts.judge import AGREE, DIFFER, ERROR, NOT_RUN, Verdict

_MARK = {AGREE: "✓", DIFFER: "✗", ERROR: "error", NOT_RUN: "–"}
_HEADING = {  # of a kind of change, and whether it is known
    (WORSE, False): "Verdicts that got worse",
    (BEYOND, False): "Numbers that moved further than rounding may explain",
    (WORSE, True): "Verdicts that got worse as is known",
    (BETTER, False): "Verdicts that got better",
    (OTHER, False): "Verdicts that changed otherwise",
    (SAID, False): "Answers that changed, their verdicts not",
    (DRIFT, False): "Numbers that changed within what rounding may explain, as far as is known",
}
LEGEND = (
    "✓ agree  ✗ differ  – not run, in brackets: known; = the same numbers as the baseline, else "
    "the largest distance in ulps, ≠ another answer"
)


def groups(rows: Iterable[Row]) -> Iterator[tuple[str, list[Row]]]:
    """The rows by their gravest change, each group under its heading.

    What is known to be worse stands below what is not.
    """
    rows = list(rows)
    for (kind, known), heading in _HEADING.items():
        if found := [r for r in rows if r.gravest == kind and is_known(r) == known]:
            yield heading, found


def is_known(row: Row) -> bool:
    return row.gravest == WORSE and row.is_known


def cell(verdict: Verdict | None, change: Change | None) -> str:
    """One subject's verdict and how far it is from the baseline: "✓ =", "✗ 1.2e+05", "error"."""
    if verdict is None:
        return ""
    mark = f"({_MARK[verdict.verdict]})" if verdict.is_known else _MARK[verdict.verdict]
    if change is None:
        return mark
    if change.said:
        return f"{mark} ≠"
    if not change.pairs:
        return mark
    return f"{mark} {distance(change)}"


def distance(change: Change) -> str:
    """In few characters: "=", "3", "1e5", "∞", "±0" where the sign of a zero is all."""
    if not change.drifted:
        return "±0" if change.signs else "="
    number = change.ulp or 0.0
    if math.isinf(number):
        return "∞"
    if number < 1:
        return "<1"
    return f"{number:.0f}" if number < 9999.5 else f"{number:.0e}".replace("e+0", "e")


def packages(side: Side) -> str:
    """What was asked, on one line."""
    return side.failure.partition("\n")[0] if side.failure else header(side.subject)


ALIKE = 8  # rows of one cause that are shown one by one


def alike(rows: Iterable[Row]) -> list[list[Row]]:
    """The rows grouped by their cause: the same answers, but for names and numbers in them."""
    found: dict[object, list[Row]] = {}
    for row in rows:
        cause = tuple(None if v is None else _cause(v) for v in row.verdicts)
        found.setdefault((row.gravest, tuple(row.kinds), cause), []).append(row)
    return list(found.values())


def _cause(v: Verdict) -> object:
    if v.deviation or v.verdict == AGREE:
        return v.verdict, v.deviation
    if v.verdict == ERROR:
        said = telling(v.detail)
        asked, colon, rest = said.partition(": ")
        said = rest if colon and asked.isidentifier() and not asked.endswith("Error") else said
        said = re.sub(r"'[^']*'|\"[^\"]*\"|\([\d, ]*\)|\d+", "#", said)
        return v.verdict, said
    return v.verdict, v.detail


def explained(compared: Compared, row: Row, *others: Row) -> list[str]:
    """A change that stands alone: where it came, what was said before and after, how to ask again.

    Subjects that say the same are named together; others: rows of the same cause.
    """
    names = compared.names()
    lines = [f"{row.name} · {row.what}"]
    if others:
        named = [f"{each.name} · {each.what}" for each in others[: ALIKE - 1]]
        more = len(others) - len(named)
        lines.append(f"  also      {', '.join(named)}" + f" and {more:,} more" * bool(more))
    source = next((v.source for v in row.verdicts if v), "")
    lines.append(f"  source    {source}")
    if row.claim.source.url:
        lines.append(f"  see       {row.claim.source.url}")
    said: dict[str, list[int]] = {}
    for i, (v, change) in enumerate(zip(row.verdicts, row.changes, strict=True)):
        if v is not None:
            said.setdefault(_answer(v) + _moved(change), []).append(i)
    for answer, indices in said.items():
        who = ", ".join(names[i] for i in indices)
        lines += [f"  {who}", "    " + answer.replace("\n", "\n      ")]
    lines.append("  rerun     " + shlex.join(compared.rerun(row)))
    return lines


def _answer(v: Verdict) -> str:
    detail = cut(telling(v.detail), _LONGEST)
    return f"{v.verdict}{' (known)' * v.is_known}: {detail}" if detail else v.verdict


_LONGEST = 200  # characters: what cannot be loaded is quoted whole


def _moved(change: Change | None) -> str:
    """Where and how far it moved, if rounding does not explain that; what is said otherwise."""
    if change is None or change.kind not in (BEYOND, SAID):
        return ""
    lines = [change.said] if change.said else []
    if change.kind == BEYOND:
        lines.append(
            f"{change.where} moved by {ulps(change.ulp or 0.0)}, further than rounding may explain "
            f"({times(change.share or 0.0)})"
        )
    return "".join(f"\n{line}" for line in lines)


def telling(detail: str) -> str:
    """The line of a verdict's detail that says most.

    Keras wraps what a layer raises: "Exception encountered when calling X.call()." says nothing,
    what it wraps stands below it.
    """
    first, *rest = re.sub(r"\x1b\[[0-9;]*m", "", detail).splitlines() or [""]
    if "Exception encountered when calling" in first:
        inner = next((line.strip() for line in rest if line.strip()), "")
        if inner and not inner.startswith(("Traceback", "Arguments received", "Call arguments")):
            kind, colon, _ = first.partition(": Exception encountered")
            return f"{kind}: {inner}" if colon else inner
    return first
