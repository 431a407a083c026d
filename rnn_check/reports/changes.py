"""What does the reader see of what changed: in the terminal, in a pull request?"""

from __future__ import annotations

import math
import re
import shlex
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

from rich.console import Console
from rich.text import Text

from rnn_check.reports import verdicts
from rnn_check.reports.terminal import line as as_line
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
    effects,
    times,
    ulps,
)
from rnn_check.verdicts.judge import AGREE, DIFFER, ERROR, NOT_RUN, Verdict

_MARK = {AGREE: "✓", DIFFER: "✗", ERROR: "error", NOT_RUN: "–"}
_STYLE = {
    WORSE: "bold red",
    BEYOND: "bold red",
    BETTER: "bold green",
    OTHER: "magenta",
    SAID: "magenta",
    DRIFT: "cyan",
}
_HEADING = {  # of a kind of change, and whether it is known
    (WORSE, False): "Verdicts that got worse",
    (BEYOND, False): "Numbers that moved further than rounding may explain",
    (WORSE, True): "Verdicts that got worse as is known",
    (BETTER, False): "Verdicts that got better",
    (OTHER, False): "Verdicts that changed otherwise",
    (SAID, False): "Answers that changed, their verdicts not",
    (
        DRIFT,
        False,
    ): "Numbers that changed within what rounding may explain, as far as that is known",
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
        if found := [r for r in rows if r.gravest == kind and _is_known(r) == known]:
            yield heading, found


def _is_known(row: Row) -> bool:
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
    return side.failure.partition("\n")[0] if side.failure else verdicts.header(side.subject)


def terminal(compared: Compared, console: Console, everything: bool = False) -> None:
    """Who was asked, what changed in a sentence, then each change."""
    for number, side in enumerate(compared.sides, 1):
        console.print(Text(f"{number}  {side.word}", style="bold"), soft_wrap=True)
        console.print(Text(f"   {packages(side)}", style="dim"), soft_wrap=True)
        for note in side.notes:
            console.print(Text(f"   {note}", style="yellow"), soft_wrap=True)
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
        left_out: list[tuple[Row, int]] = []
        if not everything and rows[0].gravest != DRIFT:
            rows, left_out = _shortened(rows)
        _table(rows, len(compared.sides), console)
        for row, more in left_out:
            text = f"and {more:,} more like {row.claim.name} · {row.what} (--all shows them)"
            console.print(Text(text, style="dim"), soft_wrap=True)
    for _, rows in groups(compared.changed):
        if rows[0].gravest == DRIFT:
            continue
        for same in alike(rows):
            console.print()
            console.print(Text("\n".join(explained(compared, *same))), soft_wrap=True)


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


def _shortened(rows: Sequence[Row]) -> tuple[list[Row], list[tuple[Row, int]]]:
    """At most ALIKE of one cause, and how many there are more like which."""
    kept: set[int] = set()
    left_out = []
    for same in alike(rows):
        kept |= {id(row) for row in same[:ALIKE]}
        if len(same) > ALIKE:
            left_out.append((same[0], len(same) - ALIKE))
    return [row for row in rows if id(row) in kept], left_out


def _table(rows: Sequence[Row], subjects: int, console: Console) -> None:
    """Every claim with its rows below it, and a column for each subject.

    Names are whole: what has no room beside the columns stands on a line of its own above them. If
    the columns alone are wider than the terminal, lines are longer than it.
    """
    lines: list[tuple[Text, list[Text]]] = []
    for claim, group in groupby(rows, key=lambda row: row.claim.name):
        numbers = [Text(str(i + 1), style="dim") for i in range(subjects)]
        lines.append((Text(as_line(claim), style="bold"), numbers))
        for row in group:
            cells = [
                Text(cell(v, c), style=_STYLE.get(kind, ""))
                for v, c, kind in zip(row.verdicts, row.changes, row.kinds, strict=True)
            ]
            lines.append((Text(as_line(f"  {row.what}")), cells))
    columns = zip(*(cells for _, cells in lines), strict=True)
    widths = [max(each.cell_len for each in column) for column in columns]
    room = max(console.width - sum(width + _GAP for width in widths), _GAP)
    beside = max((label.cell_len for label, _ in lines if label.cell_len <= room), default=_GAP)
    for label, cells in lines:
        line = label.copy()
        if label.cell_len > beside:
            console.print(label, soft_wrap=True)
            line = Text()
        end = beside
        for each, width in zip(cells, widths, strict=True):
            if each:
                line.append(" " * (end + _GAP - line.cell_len)).append_text(each)
            end += _GAP + width
        console.print(line, soft_wrap=True)


_GAP = 2  # cells between columns


def explained(compared: Compared, row: Row, *others: Row) -> list[str]:
    """A change that stands alone: where it came, what was said before and after, how to ask again.

    Subjects that say the same are named together; others: rows of the same cause.
    """
    names = compared.names()
    lines = [f"{row.claim.name} · {row.what}"]
    if others:
        named = [f"{each.claim.name} · {each.what}" for each in others[: ALIKE - 1]]
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
    detail = telling(v.detail)
    return f"{v.verdict}{' (known)' * v.is_known}: {detail}" if detail else v.verdict


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


def markdown(compared: Compared) -> str:
    """For a pull request, or the summary of a run in CI."""
    lines = [f"**{_escaped(compared.sentence)}**", ""]
    for side in compared.sides:
        lines += [f"- of {_escaped(side.word)}: {_escaped(note)}" for note in side.notes]
    lines += [""] * any(side.notes for side in compared.sides)
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
        grave = rows[0].gravest in (WORSE, BEYOND) and not _is_known(rows[0])
        lines += ["", f"<details{' open' * grave}>"]
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
        words = {WORSE: "worse", BEYOND: "moved", BETTER: "better", OTHER: "else", SAID: "says"}
        for kind, word in words.items():
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
    """So that what a claim or a subject is called is text: no markup, no end of a cell or a line.

    GitHub makes links of names after an @, of numbers after a # and of bare addresses, wherever
    they stand; a comment, which it takes out, keeps them apart.
    """
    text = re.sub(r"[\x00-\x20\x7f-\x9f\u2028-\u202e\u2066-\u2069]+", " ", text)
    text = re.sub(r"([\\`*_\[\]#|~$])", r"\\\1", text)
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"(@|://|www\.|\\#)", rf"\1{_APART}", text, flags=re.IGNORECASE)


_APART = "<!-- -->"
