"""What does the reader see of what changed: in the terminal, in a pull request?"""

from __future__ import annotations

import math
import shlex
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

from rich.console import Console
from rich.table import Table
from rich.text import Text

from rnn_check import report
from rnn_check.compare import (
    BETTER,
    DRIFT,
    OTHER,
    SAID,
    WORSE,
    Change,
    Compared,
    Row,
    Side,
    ulps,
)
from rnn_check.judge import AGREE, DIFFER, ERROR, NOT_RUN, Verdict

_MARK = {AGREE: "✓", DIFFER: "✗", ERROR: "error", NOT_RUN: "–"}
_STYLE = {WORSE: "bold red", BETTER: "bold green", OTHER: "magenta", SAID: "magenta", DRIFT: "cyan"}
_HEADING = {
    WORSE: "Verdicts that got worse",
    BETTER: "Verdicts that got better",
    OTHER: "Verdicts that changed otherwise",
    SAID: "Answers that changed, their verdicts not",
    DRIFT: "Numbers that changed within what is allowed",
}
LEGEND = (
    "✓ agree  ✗ differ  – not run; = the same bits as the baseline, else the largest distance in "
    "ulps, ≠ another answer"
)


def groups(rows: Iterable[Row]) -> Iterator[tuple[str, list[Row]]]:
    """The rows by their gravest change, each group under its heading."""
    rows = list(rows)
    for kind, heading in _HEADING.items():
        if of_kind := [row for row in rows if row.gravest == kind]:
            yield heading, of_kind


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
        return "="
    number = change.ulp or 0.0
    if math.isinf(number):
        return "∞"
    if number == 0:
        return "±0"
    if number < 1:
        return "<1"
    return f"{number:.0f}" if number < 9999.5 else f"{number:.0e}".replace("e+0", "e")


def effects(compared: Compared, index: int) -> str:
    """How one subject differs from the baseline: "2 worse · 14 changed in the last bits, ..."."""
    counts = [row.kinds[index] for row in compared.rows]
    words = {WORSE: "worse", BETTER: "better", OTHER: "other verdict", SAID: "other answer"}
    parts = []
    for kind, word in words.items():
        if many := counts.count(kind):
            parts.append(f"{many} {word}" + "s" * (many > 1 and " " in word))
    drifts = [c for row in compared.rows if (c := row.changes[index]) and c.kind == DRIFT]
    if drifts:
        most = max(change.ulp or 0.0 for change in drifts)
        shares = [change.share for change in drifts if change.share is not None]
        drifted = f"{len(drifts)} changed in the last bits, at most {ulps(most)}"
        if shares:
            drifted += f", {max(shares):.2g} of what rounding may explain"
        parts.append(drifted)
    return " · ".join(parts) or "the same, bit for bit"


def packages(side: Side) -> str:
    """What was asked, on one line."""
    return side.failure.partition("\n")[0] if side.failure else report.header(side.subject)


def terminal(compared: Compared, console: Console, everything: bool = False) -> None:
    """Who was asked, what changed in a sentence, then each change."""
    for number, side in enumerate(compared.sides, 1):
        console.print(Text(f"{number}  {side.word}", style="bold"), soft_wrap=True)
        console.print(Text(f"   {packages(side)}", style="dim"), soft_wrap=True)
        if number > 1 and not side.failure and not compared.sides[0].failure:
            console.print(Text(f"   {effects(compared, number - 1)}"), soft_wrap=True)
            if number > 2 and not compared.sides[number - 2].failure:
                step = effects(compared.steps[number - 2], 1)
                console.print(Text(f"   since {number - 1}: {step}"), soft_wrap=True)
    console.print()
    console.print(Text(compared.sentence, style="bold"), soft_wrap=True)
    for side in compared.sides:
        if side.failure:
            console.print()
            console.print(Text(f"{side.word}: {side.failure}", style="magenta"), soft_wrap=True)
    shown = list(compared.rows) if everything else compared.changed
    if not shown:
        return
    console.print()
    console.print(Text(LEGEND, style="dim"))
    titled = [("All claims", shown)] if everything else groups(shown)
    for heading, rows in titled:
        console.print()
        console.print(Text(heading, style="bold underline"))
        _table(rows, len(compared.sides), console)
    for kind in (WORSE, BETTER, OTHER, SAID):
        for row in compared.of_kind(kind):
            if row.gravest == kind:
                console.print()
                console.print(Text("\n".join(explained(compared, row))), soft_wrap=True)


def _table(rows: Sequence[Row], subjects: int, console: Console) -> None:
    for claim, group in groupby(rows, key=lambda row: row.claim.name):
        table = Table(
            box=None, pad_edge=False, show_header=False, expand=True, padding=(0, 0, 0, 1)
        )
        table.add_column(ratio=1, overflow="fold")
        for _ in range(subjects):
            table.add_column(width=8, no_wrap=True)
        numbers = [Text(str(i + 1), style="dim") for i in range(subjects)]
        table.add_row(Text(claim, style="bold"), *numbers)
        for row in group:
            cells = [
                Text(cell(v, c), style=_STYLE.get(kind, ""))
                for v, c, kind in zip(row.verdicts, row.changes, row.kinds, strict=True)
            ]
            table.add_row(Text(f"  {row.what}"), *cells)
        console.print(table)


def explained(compared: Compared, row: Row) -> list[str]:
    """A change that stands alone: where it came, what was said before and after, how to ask again.

    Subjects that say the same are named together.
    """
    names = compared.names()
    lines = [f"{row.claim.name} · {row.what}"]
    source = next((v.source for v in row.verdicts if v), "")
    lines.append(f"  source    {source}")
    if row.claim.source.url:
        lines.append(f"  see       {row.claim.source.url}")
    said: dict[str, list[int]] = {}
    for i, v in enumerate(row.verdicts):
        if v is not None:
            said.setdefault(_answer(v), []).append(i)
    for answer, indices in said.items():
        who = ", ".join(names[i] for i in indices)
        lines += [f"  {who}", "    " + answer.replace("\n", "\n      ")]
    last = next(i for i in reversed(range(len(row.kinds))) if row.kinds[i])
    words = [compared.sides[0].word, compared.sides[last].word]
    lines.append(
        "  rerun     " + shlex.join(["rnn-check", "compare", *words, "-k", row.claim.name])
    )
    return lines


def _answer(v: Verdict) -> str:
    detail = v.detail.partition("\n")[0]
    return f"{v.verdict}{' (known)' * v.is_known}: {detail}" if detail else v.verdict


def markdown(compared: Compared) -> str:
    """For a pull request, or the summary of a run in CI."""
    lines = [f"**{_escaped(compared.sentence)}**", ""]
    lines += ["| | asked | against the first |", "|---|---|---|"]
    for number, side in enumerate(compared.sides, 1):
        against = "baseline" if number == 1 else effects(compared, number - 1)
        if side.failure or compared.sides[0].failure:
            against = "could not be asked" if side.failure else "the baseline could not be asked"
        lines.append(f"| {number} | {_escaped(packages(side))} | {_escaped(against)} |")
    if len(compared.sides) > 2:
        lines += ["", *_history(compared)]
    for heading, rows in groups(compared.changed):
        numbers = [str(i + 1) for i in range(len(compared.sides))]
        lines += ["", f"<details{' open' * (rows[0].gravest == WORSE)}>"]
        lines += [f"<summary>{heading} ({len(rows)})</summary>", ""]
        lines.append("| claim | " + " | ".join(numbers) + " |")
        lines.append("|---|" + "---|" * len(numbers))
        for row in rows:
            cells = [cell(*each) for each in zip(row.verdicts, row.changes, strict=True)]
            name = _escaped(f"{row.claim.name} · {row.what}")
            lines.append(f"| {name} | " + " | ".join(cells) + " |")
        lines += ["", "</details>"]
    lines += ["", _escaped(LEGEND)] if compared.changed else []
    return "\n".join(lines) + "\n"


def _history(compared: Compared) -> Iterator[str]:
    """A table of what each subject changed since the one before it, by the files of claims."""
    yield "| from | to | verdicts and answers that changed | last bits |"
    yield "|---|---|---|---|"
    names = compared.names()
    for i, step in enumerate(compared.steps):
        if any(side.failure for side in step.sides):
            yield f"| {_escaped(names[i])} | {_escaped(names[i + 1])} | could not be asked | |"
            continue
        told = []
        for kind, word in ((WORSE, "worse"), (BETTER, "better"), (OTHER, "else"), (SAID, "says")):
            files = Counter(row.claim.name.partition("[")[0] for row in step.of_kind(kind))
            told += [
                f"{word}: {_escaped(name)}" + f" ×{count}" * (count > 1)
                for name, count in files.items()
            ]
        drifted = step.of_kind(DRIFT)
        most = max((row.ulp or 0.0 for row in drifted), default=0.0)
        bits = f"{len(drifted)}, at most {ulps(most)}" if drifted else "the same"
        yield f"| {_escaped(names[i])} | {_escaped(names[i + 1])} | {'; '.join(told)} | {bits} |"


def _escaped(text: str) -> str:
    """So that what a claim is called cannot be markup, or the end of a cell."""
    for sign in "\\`*_[]|#":
        text = text.replace(sign, "\\" + sign)
    return text.replace("<", "&lt;").replace("\n", " ")
