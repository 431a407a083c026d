"""Who is asked, side by side, and does one's fault stop another?

A process is one backend, which serves every setting that is asked of it: its import is paid once.
Processes run side by side, each in the hands of one thread; what comes of asking is handed on as it
comes. Whatever a process does is an error of the claim that it was asked, and the next claim is
asked of a fresh one. A process that cannot be started is not tried again; one that ended, and then
cannot be started, is tried for the next claim, but not for ever.

A process may run in an environment of its own, which its thread makes first. Such an environment
does not change any more, so what it said can be remembered: a claim that it was asked before, in
the very same words, is not asked again.
"""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.util import find_spec
from queue import SimpleQueue
from types import MappingProxyType, TracebackType
from typing import Any, Protocol

from rnn_check.asking import request
from rnn_check.asking.memory import Memory, Recalled
from rnn_check.asking.observations import Observations
from rnn_check.asking.request import Answer, Setting
from rnn_check.claims.claim import Claim
from rnn_check.subjects import ask as observe
from rnn_check.subjects import plan
from rnn_check.subjects.asked.backends import BACKENDS
from rnn_check.subjects.environments import Environment
from rnn_check.subjects.identity import Identity, not_started
from rnn_check.subjects.own_layer import place
from rnn_check.subjects.process import Asked as Process

SIDE_BY_SIDE = 2
_NONE: Mapping[Setting, Sequence[Claim]] = MappingProxyType({})
# frameworks that are not Keras, as they are named where backends are
BESIDE_KERAS = {
    **{"torch.nn": "torch", "onnx": "onnx", "onnxruntime": "onnxruntime"},
    **{"flax": "flax", "equinox": "equinox"},
}
TRIES = 3  # starts that fail one after the other before a subject is given up


@dataclass(frozen=True)
class Target:
    """One process: a backend, and how it is asked: one subject a setting.

    python: the interpreter; environment: what has to be made first and has its own. framework: one
    that is not Keras is its own backend.
    """

    backend: str
    settings: tuple[Setting, ...] = (Setting(),)
    python: str = sys.executable
    environment: Environment | None = None
    framework: str = "keras"

    @classmethod
    def named(cls, name: str, *settings: Setting, environment: Environment | None = None) -> Target:
        """Of a backend of Keras's, or of another framework."""
        framework = BESIDE_KERAS.get(name, "keras")
        backend = BESIDE_KERAS.get(name, name)
        return cls(backend, settings, environment=environment, framework=framework)

    @property
    def name(self) -> str:
        names = {framework: name for name, framework in BESIDE_KERAS.items()}
        return names.get(self.framework, self.backend)


def installed(name: str) -> bool:
    """Whether a backend, or another framework, looks installed here. Imports nothing."""
    packages = (BESIDE_KERAS[name],) if name in BESIDE_KERAS else ("keras", name)
    return all(find_spec(package) is not None for package in packages)


def modes(backend: str) -> tuple[str, ...]:
    """The modes that a backend has, eager first."""
    return BACKENDS[backend].modes if backend in BACKENDS else ("eager",)


class Place(Protocol):
    """Where processes are that are not here. side_by_side: of how many it has room."""

    @property
    def side_by_side(self) -> int: ...

    def start(self, target: Target, memory: int | None, tell: Callable[[str], None]) -> Process:
        """A process, in the environment that it needs. Raises SubjectError, process.Lost."""


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

    timeout: seconds for one answer; most_memory: bytes that a process may take with all it starts.
    elsewhere: where processes are that are not here, as many side by side as there is room for.
    tell: is told what a target is doing ("installing", "importing", "asking"), by its thread.
    """

    def __init__(
        self,
        targets: Sequence[Target],
        *,
        timeout: float = observe.TIMEOUT,
        most_memory: int | None = None,
        side_by_side: int = SIDE_BY_SIDE,
        memory: Memory | None = None,
        elsewhere: Place | None = None,
        tell: Callable[[int, str], None] = lambda target, stage: None,
    ) -> None:
        self.subjects = [
            Observations(setting, not_started(t.backend)) for t in targets for setting in t.settings
        ]
        self.missing: dict[int, str] = {}  # targets that are not installed after all, and why
        self.not_started: dict[int, str] = {}  # targets that could not be started, and why
        self.failures: dict[int, str] = {}  # both, and those that could not be started again
        self.targets = list(targets)
        self._timeout = timeout
        self._most_memory = most_memory
        self._failed_starts = dict.fromkeys(range(len(self.targets)), 0)  # one after the other
        self._elsewhere = elsewhere
        self._side_by_side = side_by_side if elsewhere is None else elsewhere.side_by_side
        self._memory = memory
        self.tell = tell
        self._stopped = False
        self._wish: BaseException | None = None
        self._said: SimpleQueue[Asked | BaseException | None] = SimpleQueue()
        self._pool: ThreadPoolExecutor | None = None
        self._processes: dict[int, observe.Subject] = {}
        self._holding = contextlib.ExitStack()  # of the environments whose processes stay
        self._reached: set[int] = set()  # the targets that it has asked
        for number, target in enumerate(self.targets[:side_by_side]):
            if target.environment is not None or elsewhere is not None:
                continue  # it may have to be made, and may not have to be asked
            with contextlib.suppress(observe.SubjectError):  # said when it is asked
                self._processes[number] = self._open(target, number, target.python)

    def __enter__(self) -> Run:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """End whatever is still being asked, and its processes. What was said stays."""
        self._stopped = True
        for process in list(self._processes.values()):
            process.kill()
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
        for process in self._processes.values():
            process.close()
        self._holding.close()
        while not self._said.empty():  # what was said before that, and nobody has come to
            if isinstance(answer := self._said.get(), Asked):
                self._kept(answer)

    def interrupt(self, wish: BaseException) -> None:
        """Have `ask` raise it instead of the next answer. A signal handler may call this."""
        self._wish = wish
        self._said.put(wish)  # for who waits there

    def ask(
        self, claims: Sequence[Claim], fewer: Mapping[Setting, Sequence[Claim]] = _NONE
    ) -> Iterator[Asked]:
        """Ask every subject every claim; the answers as they come, a subject's in order.

        fewer: in some settings these are asked alone.
        """
        yield from self.ask_each(lambda _, setting: fewer.get(setting, claims))

    def ask_each(self, claims: Callable[[int, Setting], Sequence[Claim]]) -> Iterator[Asked]:
        """The same; claims: what each target is asked in a setting.

        May be called again. Where all targets have room side by side, their processes stay.
        """
        self._pool = self._pool or ThreadPoolExecutor(self._side_by_side)
        for number in range(len(self.targets)):
            self._pool.submit(self._serve, number, functools.partial(claims, number))
        waiting = len(self.targets)
        while waiting:
            if self._wish is not None:
                raise self._wish
            answer = self._said.get()
            if isinstance(answer, BaseException):
                raise answer
            if answer is None:
                waiting -= 1
                continue
            yield self._kept(answer)

    def answer(self, number: int, claim: Claim, setting: Setting) -> Answer:
        """Ask one target one claim, here and now; its process stays for the next one."""
        if number not in self._reached:
            self._reached.add(number)
            self._started(number, self._holding)
        return self._answer(number, claim, setting)

    def _kept(self, asked: Asked) -> Asked:
        self.subjects[asked.subject].answers[asked.claim.name] = asked.answer
        return asked

    def _open(self, target: Target, number: int, python: str) -> observe.Subject:
        self.tell(number, "importing")
        other: dict[str, Any] = (
            {} if target.framework == "keras" else {"framework": target.framework}
        )
        if (there := self._elsewhere) is not None:
            memory, tell = self._most_memory, lambda stage: self.tell(number, stage)
            other["begin"] = lambda: there.start(target, memory, tell)
        return observe.Subject(
            target.backend,
            python=python,
            timeout=self._timeout,
            memory=self._most_memory,
            **other,
        )

    def _serve(self, number: int, claims: Callable[[Setting], Sequence[Claim]]) -> None:
        """The thread of one process."""
        try:
            for answer in self._answers(number, claims):
                if self._stopped and answer.answer.fault:
                    return
                self._said.put(answer)
            self._said.put(None)
        except BaseException as error:  # a fault of ours, which who listens has to hear
            self._said.put(error)

    def _answers(
        self, number: int, claims: Callable[[Setting], Sequence[Claim]]
    ) -> Iterator[Asked]:
        target = self.targets[number]
        if not any(claims(setting) for setting in target.settings):
            return
        first = sum(len(each.settings) for each in self.targets[:number])
        stays = len(self.targets) <= self._side_by_side
        # of the environment, which nobody may remove until then
        holding = self._holding if stays else contextlib.ExitStack()
        try:
            known = [self._recalled(target, setting) for setting in target.settings]
            if any(self._unknown(each, claims(each.setting)) for each in known):
                self._started(number, holding)
            else:
                self._as_remembered(first, known)
            for index, each in enumerate(known, first):
                for claim in claims(each.setting):
                    answer = each.answer(claim)
                    if answer is None:
                        answer = self._answer(number, claim, each.setting)
                        if self._memory is not None:
                            each.keep(claim, answer)
                    yield Asked(index, claim, answer, each.setting)
                if claims(each.setting):
                    self._remember(number, each, self.subjects[index].identity)
        finally:
            if not stays:
                if number in self._processes:
                    self._processes.pop(number).close()
                holding.close()

    # what was said before

    def _recalled(self, target: Target, setting: Setting) -> Recalled:
        if self._memory is None or target.environment is None:
            return Recalled(setting)
        return self._memory.recall(target.environment.key, target.name, setting)

    def _unknown(self, known: Recalled, claims: Sequence[Claim]) -> bool:
        return known.identity is None or any(known.answer(claim) is None for claim in claims)

    def _as_remembered(self, first: int, known: Sequence[Recalled]) -> None:
        for subject, each in zip(self.subjects[first:], known, strict=False):
            assert each.identity is not None
            subject.identity = each.identity

    def _remember(self, number: int, said: Recalled, identity: Identity) -> None:
        target = self.targets[number]
        if self._memory is None or target.environment is None or number in self.failures:
            return
        said.identity = identity
        self._memory.keep(target.environment.key, target.name, said)

    # the process

    def _started(self, number: int, holding: contextlib.ExitStack) -> None:
        """Wait for the process to say who it is, or why it cannot be started.

        holding: takes what has to last as long as the process.
        """
        target = self.targets[number]
        identity = not_started(target.backend)
        try:
            process = self._processes.get(number)
            if process is None:
                python = target.python
                if target.environment is not None and self._elsewhere is None:
                    made = target.environment.held(lambda stage: self.tell(number, stage))
                    python = holding.enter_context(made)
                process = self._processes[number] = self._open(target, number, python)
            if self._stopped:  # after the processes to end were counted
                process.kill()
            identity = process.identity
            _check_layers(process, target)
            self.tell(number, "asking")
        except observe.NotInstalled as error:
            self.missing[number] = self.failures[number] = str(error)
        except observe.SubjectError as error:
            if not self._stopped:  # by us
                self.not_started[number] = self.failures[number] = str(error)
        first = sum(len(each.settings) for each in self.targets[:number])
        for subject in self.subjects[first : first + len(target.settings)]:
            subject.identity = identity

    def _answer(self, number: int, claim: Claim, setting: Setting) -> Answer:
        if (answer := request.unasked(claim, setting)) is not None:
            return answer
        if number in self.failures:
            return Answer(error=self.failures[number], fault=True)
        try:
            self._processes[number].identity  # noqa: B018  of a fresh one if the last has ended
        except observe.SubjectError as error:
            self._failed_starts[number] += 1
            if self._failed_starts[number] >= TRIES:
                self.failures[number] = str(error)
            return Answer(error=str(error), fault=True)
        self._failed_starts[number] = 0
        return request.ask(claim, self._processes[number], setting)


def _check_layers(process: observe.Subject, target: Target) -> None:
    """Raises SubjectError if an own layer cannot be asked, with all that it lacks."""
    for layer in {setting.layer for setting in target.settings if setting.layer}:
        kind, where = place(layer)
        step = plan.step("offers", kind=kind)
        message = plan.Message([step], {"replace": {kind: where}})
        offers = process.follow(message, ["offers"])[message.names[step.digest]]
        if "error" in offers:
            words = f"{where} cannot be imported: {offers['error']}"
            raise observe.SubjectError(words, str(offers.get("traceback", "")))
        if offers["lacks"]:
            lacks = "".join(f"\n  - {each}" for each in offers["lacks"])
            raise observe.SubjectError(
                f"{where} cannot stand in for {kind} (docs/own_layer.md shows one that can):{lacks}"
            )
