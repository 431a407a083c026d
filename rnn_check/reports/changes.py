"""What does the reader see of what changed, in a terminal?"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from rich.console import Console
from rich.text import Text

from rnn_check.reports.change import ALIKE, LEGEND, alike, cell, explained, groups, packages
from rnn_check.reports.terminal import line as as_line
from rnn_check.upgrades.changes import BETTER, BEYOND, DRIFT, OTHER, SAID, WORSE, Compared, Row
from rnn_check.upgrades.sentence import each_effect, sentence

_STYLE = {
    WORSE: "bold red",
    BEYOND: "bold red",
    BETTER: "bold green",
    OTHER: "magenta",
    SAID: "magenta",
    DRIFT: "cyan",
}


def terminal(compared: Compared, console: Console, everything: bool = False) -> None:
    """Who was asked, what changed in a sentence, then each change."""
    for number, side in enumerate(compared.sides, 1):
        console.print(Text(f"{number}  {side.word}", style="bold"), soft_wrap=True)
        console.print(Text(f"   {packages(side)}", style="dim"), soft_wrap=True)
        for note in side.notes:
            console.print(Text(f"   {note}", style="yellow"), soft_wrap=True)
        for effect in each_effect(compared, number - 1):
            console.print(Text(f"   {effect}"), soft_wrap=True)
    console.print()
    console.print(Text(sentence(compared), style="bold"), soft_wrap=True)
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
            text = f"and {more:,} more like {row.name} · {row.what} (--all shows them)"
            console.print(Text(text, style="dim"), soft_wrap=True)
    for _, rows in groups(compared.changed):
        if rows[0].gravest == DRIFT:
            continue
        for same in alike(rows):
            console.print()
            console.print(Text("\n".join(explained(compared, *same))), soft_wrap=True)


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
    for claim, group in groupby(rows, key=lambda row: row.name):
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
