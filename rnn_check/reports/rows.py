"""What became of each expectation?"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby

from rich.console import Console
from rich.table import Table
from rich.text import Text

from rnn_check.reports.cells import (
    NARROW,
    WIDE,
    as_text,
    ratio_of,
    remarks_of,
    short_ratio,
    style_of,
)
from rnn_check.reports.explaining import place_of
from rnn_check.reports.outcome import verdicts_of
from rnn_check.reports.terminal import line
from rnn_check.verdicts.judge import AGREE, ERROR, NOT_RUN, Judged, Verdict


def rows(verdicts: Sequence[Verdict], titles: Mapping[str, str], console: Console) -> None:
    """Every verdict, a table a claim."""
    console.print(as_text(_LEGEND, style="dim"))
    console.print()
    console.print(_table((), console.width))
    for name, group in groupby(verdicts, key=lambda v: v.claim):
        own = list(group)
        heading = Text(line(name), style="bold")
        heading.append(f"  {line(titles.get(name, ''))}", style="not bold")
        heading.append(f"  [{line(own[0].document)}]", style="not bold dim")
        console.print(heading, soft_wrap=True)
        console.print(_table(own, console.width))


_LEGEND = (
    "error/bound: how far it is off, as a share of what is allowed (more than 1 differs; "
    "∞: nothing is). bits: the effective precision that the error shows (float32 has 24)."
)


def _table(verdicts: Iterable[Verdict], width: int) -> Table:
    """One claim's verdicts, or the headings over them all if there are none.

    Widths are fixed so that the tables of all claims line up; names are folded, never cut.
    """
    table = Table(box=None, pad_edge=False, show_header=False, expand=True)
    table.add_column(width=1)
    table.add_column(ratio=5, overflow="fold")
    if width >= WIDE:
        table.add_column(ratio=7, overflow="fold")
    table.add_column(width=14)
    table.add_column(width=11, justify="right")
    if width >= NARROW:
        table.add_column(width=9, justify="right")

    def row(what: Text, word: Text, verdict: Text, ratio: Text | str, bits: Text | str) -> None:
        words = [word] if width >= WIDE else []
        table.add_row("", what, *words, verdict, ratio, *([bits] if width >= NARROW else []))

    verdicts = list(verdicts)
    if not verdicts:
        heads = ("what", "on whose word", "verdict", "error/bound", "bits")
        row(*(Text(head, style="bold dim") for head in heads))
    for v in verdicts:
        remarks = line(remarks_of(v))
        row(
            Text(line(v.what) + (remarks if width < WIDE else "")),
            Text(line(v.word) + remarks, style="dim"),
            Text(v.verdict + " (known)" * v.is_known, style_of(v)),
            ratio_of(v),
            "" if v.bits is None else f"{v.bits:.1f} bits",
        )
    return table


def rows_side_by_side(judged: Sequence[Judged], console: Console) -> None:
    """One table a claim: its expectations down, the subjects across, as many as there is room for.

    Those that there is none for stand below, under their own numbers.
    """
    legend = "✓ agree  ✗ differ  error  – not run  ( ) known; beside it error/bound"
    if any(v.verdict == AGREE and v.is_red for v in verdicts_of(judged)):
        legend += "; ✓ gone: known, but agrees now"
    console.print(as_text(legend, style="dim"))
    console.print()
    fit = max(1, (console.width - _NAME) // (_CELL + 1))
    for start in range(0, len(judged), fit):
        if start:
            console.print()
        _print_some_side_by_side(judged[start : start + fit], start, console)


def _print_some_side_by_side(judged: Sequence[Judged], start: int, console: Console) -> None:
    places = {place_of(v): None for j in judged for v in j.verdicts}
    found = [{place_of(v): v for v in j.verdicts} for j in judged]
    for claim, group in groupby(places, key=lambda place: place[0]):
        table = Table(
            box=None, pad_edge=False, show_header=False, expand=True, padding=(0, 0, 0, 1)
        )
        table.add_column(ratio=1, overflow="fold")
        for _ in judged:
            table.add_column(width=_CELL, no_wrap=True)
        numbers = [Text(str(start + i + 1), style="dim") for i in range(len(judged))]
        table.add_row(Text(line(claim), style="bold"), *numbers)
        for place in group:
            cells = (_cell(verdicts.get(place)) for verdicts in found)
            table.add_row(Text(f"  {line(place[1])}"), *cells)
        console.print(table)


_NAME = 24  # columns that what is judged has at least
_CELL = 8  # "(✗ 1e38)"


def _cell(v: Verdict | None) -> Text:
    if v is None:
        return Text("")
    if v.verdict == NOT_RUN:
        text = "–"
    elif v.verdict == ERROR:
        text = "error"
    elif v.verdict == AGREE and v.is_red:
        text = "✓ gone"
    else:
        text = f"{'✓' if v.verdict == AGREE else '✗'} {short_ratio(v)}".rstrip()
    return as_text(f"({text})" if v.is_known else text, style_of(v))
