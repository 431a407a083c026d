"""Who is asked, side by side, and does one's fault stop another?

A process is one backend, which serves every setting that is asked of it: its import is paid once.
Processes run side by side, each in the hands of one thread; what comes of asking is handed on as it
comes. Whatever a process does is an error of the claim that it was asked, and the next claim is
asked of a fresh one. A process that cannot be started is not tried again.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.util import find_spec
from queue import SimpleQueue
from types import TracebackType

from rnn_check import judge, observe
from rnn_check.claim import Claim
from rnn_check.judge import Answer, Setting
from rnn_check.record import Observations
from rnn_check.subject import BACKENDS

SIDE_BY_SIDE = 2


@dataclass(frozen=True)
class Target:
    """One process: a backend, in some environment, and how it is asked: one subject a setting."""

    backend: str
    settings: tuple[Setting, ...] = (Setting(),)
    python: str = sys.executable


def installed(backend: str) -> bool:
    """Whether it looks installed here. Imports nothing."""
    return all(find_spec(package) is not None for package in ("keras", backend))


def modes(backend: str) -> tuple[str, ...]:
    """The modes that a backend has, eager first."""
    return BACKENDS[backend].modes


@dataclass(frozen=True)
class Asked:
    """One answer: of which subject (its place in `Run.subjects`), to which claim, asked how."""

    subject: int
    claim: Claim
    answer: Answer
    setting: Setting


class Run:
    """Subjects that are asked the same claims.

    The first processes start at once, so that the claims can be read while they import.

        with Run([Target("tensorflow"), Target("jax")]) as run:
            for asked in run.ask(claims):
                ...
        run.subjects  # what each said; claims that were not reached are missing
    """

    def __init__(
        self,
        targets: Sequence[Target],
        *,
        timeout: float = observe.TIMEOUT,
        side_by_side: int = SIDE_BY_SIDE,
    ) -> None:
        self.subjects = [Observations(setting) for t in targets for setting in t.settings]
        self.missing: dict[int, str] = {}  # targets that are not installed after all, and why
        self.not_started: dict[int, str] = {}  # targets that could not be started, and why
        self.failures: dict[int, str] = {}  # both, and those that could not be started again
        self.targets = list(targets)
        self._timeout = timeout
        self._side_by_side = side_by_side
        self._stopped = False
        self._pool: ThreadPoolExecutor | None = None
        self._processes: dict[int, observe.Subject] = {}
        for number, target in enumerate(self.targets[:side_by_side]):
            with contextlib.suppress(observe.SubjectError):  # said when it is asked
                self._processes[number] = self._open(target)

    def __enter__(self) -> Run:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End whatever is still being asked, and its processes."""
        self._stopped = True
        for process in list(self._processes.values()):
            process.kill()
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
        for process in self._processes.values():
            process.close()

    def ask(self, claims: Sequence[Claim]) -> Iterator[Asked]:
        """Ask every subject every claim; the answers as they come, a subject's in order."""
        answers: SimpleQueue[Asked | BaseException | None] = SimpleQueue()
        self._pool = ThreadPoolExecutor(self._side_by_side)
        for number in range(len(self.targets)):
            self._pool.submit(self._serve, number, claims, answers)
        waiting = len(self.targets)
        while waiting:
            answer = answers.get()
            if isinstance(answer, BaseException):
                raise answer
            if answer is None:
                waiting -= 1
                continue
            self.subjects[answer.subject].answers[answer.claim.name] = answer.answer
            yield answer

    def _open(self, target: Target) -> observe.Subject:
        return observe.Subject(target.backend, python=target.python, timeout=self._timeout)

    def _serve(
        self,
        number: int,
        claims: Sequence[Claim],
        answers: SimpleQueue[Asked | BaseException | None],
    ) -> None:
        """The thread of one process."""
        try:
            for answer in self._answers(number, claims):
                if self._stopped:
                    return
                answers.put(answer)
            answers.put(None)
        except BaseException as error:  # a fault of ours, which who listens has to hear
            answers.put(error)

    def _answers(self, number: int, claims: Sequence[Claim]) -> Iterator[Asked]:
        target = self.targets[number]
        first = sum(len(each.settings) for each in self.targets[:number])
        try:
            self._started(number)
            for index, setting in enumerate(target.settings, first):
                for claim in claims:
                    yield Asked(index, claim, self._answer(number, claim, setting), setting)
        finally:
            if number in self._processes:
                self._processes[number].close()

    def _started(self, number: int) -> None:
        """Wait for the process to say who it is, or why it cannot be started."""
        target = self.targets[number]
        identity = {"backend": target.backend}
        try:
            process = self._processes.get(number) or self._open(target)
            self._processes[number] = process
            if self._stopped:  # after the processes to end were counted
                process.kill()
            identity = process.identity
        except observe.NotInstalled as error:
            self.missing[number] = self.failures[number] = str(error)
        except observe.SubjectError as error:
            self.not_started[number] = self.failures[number] = str(error)
        first = sum(len(each.settings) for each in self.targets[:number])
        for subject in self.subjects[first : first + len(target.settings)]:
            subject.identity = identity

    def _answer(self, number: int, claim: Claim, setting: Setting) -> Answer:
        if (answer := judge.unasked(claim, setting)) is not None:
            return answer
        if number not in self.failures:
            try:
                self._processes[number].identity  # noqa: B018  of a fresh one if the last has ended
            except observe.SubjectError as error:
                self.failures[number] = str(error)
        if number in self.failures:
            return Answer(error=self.failures[number])
        return judge.ask(claim, self._processes[number], setting)
