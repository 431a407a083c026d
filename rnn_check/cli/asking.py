"""How are subjects asked, so that somebody sees it, may interrupt it, and keeps what was said?"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from rnn_check.cli.commands import BadInput
from rnn_check.cli.subjects import Subjects
from rnn_check.reports import progress
from rnn_check.reports.terminal import Interrupted, say

if TYPE_CHECKING:
    from rnn_check.asking.run import Asked, Run
    from rnn_check.claims.claim import Claim


class Asking:
    """A run, and what is shown of it while it lasts. several: whether there are more subjects."""

    def __init__(self, how: Subjects, run: Run, shown: progress.Shown) -> None:
        self.run, self._how, self._shown = run, how, shown
        self.several = len(run.targets) > 1

    def collect(self, claims: Sequence[Claim], take: Callable[[Asked], None]) -> Interrupted | None:
        """Take every answer as it comes, until all are there or somebody interrupts.

        A backend that is not installed after all is bad input, unless `all` were asked.
        """
        from rnn_check.asking.run import Asked

        self._shown.expect(len(claims))
        taken = set()
        try:
            for asked in self.run.ask(claims):
                if self.run.missing and not self._how.are_all:
                    raise BadInput("\n".join(self.run.missing.values()))
                self._shown.answered(asked.subject)
                take(asked)
                taken.add((asked.subject, asked.claim.name))
        except Interrupted as interrupted:
            self.run.stop()
            for claim in claims:
                for number, subject in enumerate(self.run.subjects):
                    if claim.name in subject.answers and (number, claim.name) not in taken:
                        answer = subject.answers[claim.name]
                        take(Asked(number, claim, answer, subject.setting))
            return interrupted
        return None

    def reached(self) -> list[int]:
        """The subjects that there are. If none could be started, nothing was asked: exit 3."""
        run = self.run
        for reason in run.missing.values():
            say(reason)
        if len(run.missing) + len(run.not_started) == len(run.targets):
            for reason in run.not_started.values():
                say(reason)
            sys.exit(3)
        of = [number for number, target in enumerate(run.targets) for _ in target.settings]
        return [i for i, number in enumerate(of) if number not in run.missing]


@contextlib.contextmanager
def asking(how: Subjects, *, quiet: bool = False) -> Iterator[Asking]:
    """The frameworks are imported in their own processes from here on."""
    targets = how.targets()
    from rnn_check.asking.run import Run

    names = [target.backend for target in targets]
    each = [(i, f"{t.backend} {s.mode}") for i, t in enumerate(targets) for s in t.settings]
    with (
        progress.shown(names, each, quiet=quiet) as shown,
        Run(targets, timeout=how.timeout, most_memory=how.memory, tell=shown.stage) as run,
    ):
        yield Asking(how, run, shown)
