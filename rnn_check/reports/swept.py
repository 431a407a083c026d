"""What came of a sweep, while it lasts and at its end?"""

from __future__ import annotations

import contextlib
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from rnn_check.reports.cells import STYLE, as_text
from rnn_check.reports.explaining import near_path
from rnn_check.reports.outcome import how_many
from rnn_check.reports.terminal import is_watched, line
from rnn_check.sweep.work import Outcome
from rnn_check.verdicts.judge import AGREE, DIFFER, ERROR, NOT_RUN


class Shown:
    """Counts while it lasts: of the cases a second, and of what was found."""

    def __init__(self, bar: Progress, total: int | None) -> None:
        self._bar, self._task = bar, bar.add_task("", total=total, found=0, rate="")
        self._begun, self._many, self._found = time.monotonic(), 0, 0

    def add(self, outcomes: Sequence[Outcome]) -> None:
        self._many += len(outcomes)
        self._found += sum(each.is_found for each in outcomes)
        rate = self._many / max(1e-9, time.monotonic() - self._begun)
        self._bar.update(
            self._task, completed=self._many, found=self._found, rate=f"{rate:.3g} cases/s"
        )


@contextlib.contextmanager
def progress(total: int | None) -> Iterator[Shown]:
    """A bar on a terminal's stderr, and nothing anywhere else."""
    bar = Progress(
        BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"),
        TextColumn("{task.fields[found]} found"), TimeRemainingColumn(),
        console=Console(stderr=True), transient=True, disable=not is_watched(sys.stderr),
    )  # fmt: skip
    with bar:
        yield Shown(bar, total)


def terminal(everything: Sequence[Outcome], found: Sequence[Path], console: Console) -> None:
    """The counts of each subject, and each finding in a line."""
    table = Table(box=None, pad_edge=False, header_style="bold dim", padding=(0, 2, 0, 0))
    table.add_column("subject", overflow="fold")
    for head in (AGREE, "known", DIFFER, ERROR, NOT_RUN, "error/bound", "bits"):
        table.add_column(head, justify="right")
    for subject in dict.fromkeys(each.subject for each in everything):
        of = [each for each in everything if each.subject == subject]
        counts = Counter("known" if each.known else each.verdict for each in of)
        sound = [each for each in of if each.verdict == AGREE]
        ratio = max((each.ratio for each in sound if each.ratio is not None), default=None)
        bits = min((each.bits for each in sound if each.bits is not None), default=None)
        table.add_row(
            Text(line(subject)),
            *(Text(f"{counts[kind]:,}", STYLE.get(kind, "") if counts[kind] else "dim")
              for kind in (AGREE, "known", DIFFER, ERROR, NOT_RUN)),
            "" if ratio is None else f"{ratio:.2f}",
            "" if bits is None else f"{bits:.1f}",
        )  # fmt: skip
    console.print(table)
    seconds = sum(each.seconds for each in everything)
    console.print()
    if everything:
        rate = len(everything) / seconds if seconds else 0.0
        words = f"{how_many(len(everything), 'outcome')}, {rate:.3g} a second and worker"
        console.print(as_text(words, style="dim"))
    for why, many in Counter(each.known for each in everything if each.known).most_common():
        console.print(as_text(f"known, {many:,}: {line(why)}", style="yellow"), soft_wrap=True)
    for file in found:
        console.print(as_text(f"found: {near_path(str(file))}", style="red"), soft_wrap=True)
    wrong = sum(each.is_found for each in everything)
    said = f"{how_many(wrong, 'case')} wrong" if wrong else "Nothing was found"
    console.print(as_text(f"{said}.", style="bold"))
