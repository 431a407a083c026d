"""What came of a sweep, while it lasts and at its end?"""

from __future__ import annotations

import contextlib
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
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


KINDS = (AGREE, "known", DIFFER, ERROR, NOT_RUN)


@dataclass(frozen=True)
class Counted:
    """What came of some cases. ratio, bits: the worst of those that agree; seconds: of a worker."""

    many: int
    of_kind: Mapping[str, int]
    ratio: float | None
    bits: float | None
    seconds: float

    @classmethod
    def of(cls, outcomes: Sequence[Outcome]) -> Counted:
        sound = [each for each in outcomes if each.verdict == AGREE]
        return cls(
            len(outcomes),
            Counter("known" if each.known else each.verdict for each in outcomes),
            max((each.ratio for each in sound if each.ratio is not None), default=None),
            min((each.bits for each in sound if each.bits is not None), default=None),
            sum(each.seconds for each in outcomes),
        )

    def figures(self) -> tuple[str, str]:
        """Ratio and bits, as they are shown."""
        return (
            "" if self.ratio is None else f"{self.ratio:.2f}",
            "" if self.bits is None else f"{self.bits:.1f}",
        )

    @property
    def rate(self) -> float:
        """Cases a second and worker."""
        return self.many / self.seconds if self.seconds else 0.0


def by_subject(everything: Iterable[Outcome]) -> dict[str, list[Outcome]]:
    found: dict[str, list[Outcome]] = {}
    for each in everything:
        found.setdefault(each.subject, []).append(each)
    return found


def known(everything: Iterable[Outcome]) -> list[tuple[str, int]]:
    """Why what differs was to be expected, and how often."""
    return Counter(each.known for each in everything if each.known).most_common()


def sentence(everything: Sequence[Outcome]) -> str:
    wrong = sum(each.is_found for each in everything)
    return f"{how_many(wrong, 'case')} wrong." if wrong else "Nothing was found."


def terminal(everything: Sequence[Outcome], found: Sequence[Path], console: Console) -> None:
    """The counts of each subject, and each finding in a line."""
    table = Table(box=None, pad_edge=False, header_style="bold dim", padding=(0, 2, 0, 0))
    table.add_column("subject", overflow="fold")
    for head in (*KINDS, "error/bound", "bits"):
        table.add_column(head, justify="right")
    for subject, of in by_subject(everything).items():
        counted = Counted.of(of)
        of_kind = counted.of_kind
        table.add_row(
            Text(line(subject)),
            *(Text(f"{of_kind[kind]:,}", STYLE.get(kind, "") if of_kind[kind] else "dim")
              for kind in KINDS),
            *counted.figures(),
        )  # fmt: skip
    console.print(table)
    console.print()
    if everything:
        whole = Counted.of(everything)
        words = f"{how_many(whole.many, 'outcome')}, {whole.rate:.3g} a second and worker"
        console.print(as_text(words, style="dim"))
    for why, many in known(everything):
        console.print(as_text(f"known, {many:,}: {line(why)}", style="yellow"), soft_wrap=True)
    for file in found:
        console.print(as_text(f"found: {near_path(str(file))}", style="red"), soft_wrap=True)
    console.print(as_text(sentence(everything), style="bold"))
