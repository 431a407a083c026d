"""What does the reader see while subjects are asked?  A bar for each, or lines in a log."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeVar

from rnn_check.reports.terminal import console, is_watched, say

if TYPE_CHECKING:
    from rich.progress import Progress

T = TypeVar("T")


class Shown:
    """What each process is doing, and how many answers each subject gave.

    names: of the processes. subjects: of each the number of its process and a name. bars: None
    where nobody sees them, but somebody may wait at a log: a line for each stage of a process,
    unless that is to be quiet.
    """

    def __init__(
        self,
        names: Sequence[str],
        subjects: Sequence[tuple[int, str]],
        bars: Progress | None,
        quiet: bool = False,
    ) -> None:
        self._names, self._bars, self._quiet = names, bars, quiet
        self._stages: dict[int, str] = {}
        self._tasks = [
            (number, bars.add_task(name, total=None, start=False, stage="waiting"))
            for number, name in subjects
            if bars is not None
        ]

    def expect(self, answers: int) -> None:
        """So many of each subject."""
        for _, task in self._tasks:
            assert self._bars is not None
            self._bars.update(task, total=answers)

    def stage(self, number: int, stage: str) -> None:
        if self._stages.get(number) == stage:  # who waits says so again and again
            return
        self._stages[number] = stage
        if self._bars is None and not self._quiet:
            say(f"{self._names[number]}: {stage}")
        for of, task in self._tasks:
            if self._bars is not None and of == number:
                self._bars.start_task(task)
                self._bars.update(task, stage=stage)

    def answered(self, subject: int) -> None:
        if self._bars is not None:
            self._bars.advance(self._tasks[subject][1])


@contextlib.contextmanager
def shown(
    names: Sequence[str], subjects: Sequence[tuple[int, str]], *, quiet: bool = False
) -> Iterator[Shown]:
    if not is_watched(sys.stderr):
        yield Shown(names, subjects, None, quiet)
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (  # jax[cuda12] is no markup
        TextColumn("{task.description}", markup=False),
        TextColumn("{task.fields[stage]}", style="dim", markup=False),
        *(BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()),
    )
    with Progress(*columns, console=console(sys.stderr), transient=True) as bars:
        yield Shown(names, subjects, bars)


def watched(each: Sequence[T], words: str) -> Iterable[T]:
    """All of them, with a bar on a terminal."""
    if not is_watched(sys.stderr):
        return each
    from rich.markup import escape
    from rich.progress import track

    return track(each, escape(words), console=console(sys.stderr), transient=True)
