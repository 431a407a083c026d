"""How is a subject asked, and what if it crashes?

A framework lives in a process of its own (`asked`), which is asked over a pipe. It may raise,
crash, hang, be killed or print garbage; here each of these becomes one SubjectError with the last
lines that the process wrote, and the host lives on.

    with Subject("tensorflow") as subject:
        print(subject.identity.backend_version)
        made = step("make", layers=[...], input_shape=[1, 3, 2])
        said = subject.follow(Message([step("run", of=made, x=x)], how={}), ["output"])
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec

from rnn_check.refusal import nearest
from rnn_check.subjects.asked import backends as _backends
from rnn_check.subjects.asked import wire as _wire
from rnn_check.subjects.asked.backends import default_backend
from rnn_check.subjects.asked.named import FRAMEWORKS
from rnn_check.subjects.asked.wire import encode
from rnn_check.subjects.identity import Identity, known
from rnn_check.subjects.plan import Message
from rnn_check.subjects.process import Asked, Ended, Lost, Process, cut, last_lines

__all__ = [
    "BACKENDS",
    "NotInstalled",
    "Raised",
    "Subject",
    "SubjectError",
    "decode",
    "default_backend",
    "encode",
]

BACKENDS = tuple(_backends.BACKENDS)
TIMEOUT = 300.0  # seconds for one answer
START = 600.0  # seconds for a start, which imports the framework
TRIES = 3  # machines that are lost with a subject, before the question is given up
LONGEST = 2_000  # characters of what an exception says


class SubjectError(Exception):
    """A subject could not be asked. `stderr`: the last lines it wrote."""

    def __init__(self, message: str, stderr: str = "") -> None:
        super().__init__(f"{message}\n{stderr}".rstrip())
        self.message = message
        self.stderr = stderr


class NotInstalled(SubjectError):
    """There is no such subject here: its backend is unknown, or not installed."""


class Raised(SubjectError):
    """The framework raised an exception while it was asked. The subject lives on."""


class LostError(SubjectError):
    """The machine of a subject is gone; another one may be asked the same question."""


def command_of(backend: str, framework: str = "keras", python: str = sys.executable) -> list[str]:
    """What starts the process of a subject with this interpreter."""
    # another environment is not to see what this one's variables and user folders hold
    isolated = [] if python == sys.executable else ["-I"]
    script = [python, *isolated, str(Path(_wire.__file__).resolve().parent)]
    return [*script, *_of(framework, backend)]


def _of(framework: str, backend: str) -> list[str]:
    return ["--framework", framework, "--backend", backend]


def decode(observed: Any) -> Any:
    """An observation with every encoded array in it as NumPy's (bfloat16 as float32, exactly).

    Raises ValueError if an array's dtype, shape and data do not belong together.
    """
    if isinstance(observed, dict):
        if observed.keys() == {"dtype", "shape", "data"}:
            return _wire.decode(observed)
        return {key: decode(value) for key, value in observed.items()}
    if isinstance(observed, list):
        return [decode(value) for value in observed]
    return observed


class Subject:
    """One framework on one backend, in a process of its own.

    The process starts at once and is waited for only when it is asked, so that a host can read its
    claims while the framework is being imported. A process that has ended is started anew by the
    next question, and so is one that was ended because its answers left it little room (see
    `wear`). `framework`: whose session, of `named.FRAMEWORKS`; only Keras has backends. `python`:
    another environment's interpreter. `command`: another script. `begin`: starts another process
    than one here, which `python`, `command` and `memory` are of.
    `timeout`: seconds for one answer; `start_timeout`: for the start, by default 600 or `timeout`,
    whichever is longer. `memory`: bytes that the process may take with all that it starts.
    """

    def __init__(
        self,
        backend: str | None = None,
        *,
        framework: str = "keras",
        python: str = sys.executable,
        timeout: float = TIMEOUT,
        start_timeout: float | None = None,
        memory: int | None = None,
        command: Sequence[str] | None = None,
        begin: Callable[[], Asked] | None = None,
    ) -> None:
        self.framework = framework
        self.backend = framework if framework != "keras" else backend or default_backend()
        known = BACKENDS if framework == "keras" else tuple(FRAMEWORKS)
        if self.backend not in known:
            raise NotInstalled(f"unknown backend {self.backend!r}{nearest(self.backend, known)}")
        if command is None:
            words = command_of(self.backend, framework, python)
        else:
            words = [*command, *_of(framework, self.backend)]
        self._where = "" if python == sys.executable else f" in {python}"
        self._where = " where it was asked" if begin is not None else self._where
        self.timeout = timeout
        self.start_timeout = max(START, timeout) if start_timeout is None else start_timeout
        self.memory = memory
        self._begin = begin or (lambda: Process(words, memory))
        self._asked = 0
        self._killed = False
        self._hello: dict[str, Any] | None = None
        self._process: Asked | None = None
        self._start()

    def __enter__(self) -> Subject:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def hello(self) -> dict[str, Any]:
        """The subject's own words of who it is. Raises SubjectError if it did not start."""
        return self._again(self._heard)

    def _heard(self) -> dict[str, Any]:
        if self._process is None:
            self._start()
        if self._hello is None:
            self._hello = self._said_hello()
        return self._hello

    def _again(self, ask: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """What it answers, if need be on another machine than the one that it was lost with."""
        for _ in range(TRIES - 1):
            with contextlib.suppress(LostError):
                return ask()
        return ask()

    @property
    def identity(self) -> Identity:
        """Who is asked. Raises SubjectError if it did not start, or does not say."""
        try:
            return known(self.hello)
        except msgspec.ValidationError as error:
            raise self._failure(f"does not say who it is: {error}") from None

    def follow(self, message: Message, wanted: Sequence[str] = ()) -> dict[str, Any]:
        """What was answered to each step, by its name, arrays still encoded.

        wanted: what it is all for, in the words of an error. Raises as `said` does.
        """
        said = self.said(message.request, list(message.steps), wanted)
        if strange := [name for name in message.steps if not isinstance(said[name], dict)]:
            raise self._failure(f"said what is no answer to {strange[0]}: {json.dumps(said)[:200]}")
        return said

    def said(
        self, request: dict[str, Any], steps: Sequence[str], wanted: Sequence[str] = ()
    ) -> dict[str, Any]:
        """The answers to these steps of a request.

        Raises as `reply` does, Raised if the framework raised before any step, and SubjectError if
        a step was not answered.
        """
        reply = self.reply(request, wanted)
        self.check(reply)
        said = reply["observed"]
        if not isinstance(said, dict) or (unanswered := set(steps) - said.keys()):
            what = ", ".join(sorted(unanswered)) if isinstance(said, dict) else "anything"
            raise self._failure(f"did not answer {what}: {json.dumps(reply)[:200]}")
        return {name: _with_short_words(answer) for name, answer in said.items()}

    def check(self, answer: dict[str, Any]) -> None:
        """Raises Raised if the answer is that the framework raised."""
        if "error" in answer:
            words = cut(str(answer["error"]), LONGEST)
            raise Raised(f"{self._name} raised {words}", last_lines(str(answer.get("traceback"))))

    def understood(
        self, read: Callable[[], dict[str, Any]]
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """What `read` makes of the subject's answers: arrays still encoded, and as NumPy's.

        Raises SubjectError if they are not what they should be.
        """
        try:
            said = read()
            return said, decode(said)
        except KeyError as error:
            raise self._failure(f"said an answer without {error}") from None
        except (ValueError, TypeError, IndexError, AttributeError, RecursionError) as error:
            raise self._failure(f"said what is no array: {error}") from None

    def reply(self, request: dict[str, Any], wanted: Sequence[str] = ()) -> dict[str, Any]:
        """The subject's own words: {"id", "observed"}, or {"id", "error", "traceback"}.

        Raises SubjectError if there are none.
        """
        return self._again(lambda: self._replied(request, wanted))

    def _replied(self, request: dict[str, Any], wanted: Sequence[str]) -> dict[str, Any]:
        self._heard()  # the subject speaks first
        self._asked += 1
        line = json.dumps({**request, "id": self._asked}, default=encode) + "\n"
        reply = self._exchange(line.encode(), f"asked for {', '.join(wanted)}", self.timeout)
        if reply.get("id") != self._asked or not {"observed", "error"} & reply.keys():
            raise self._failure(f"said what is no reply: {json.dumps(reply)[:200]}")
        if self._process is not None and self._process.is_worn:
            self.close()
        return reply

    def kill(self) -> None:
        """End the process for good, from another thread than the one that asks.

        Whoever waits for its answer gets a SubjectError, and still has to close the subject.
        """
        self._killed = True
        if (process := self._process) is not None:
            process.kill()

    def close(self) -> None:
        """End the process. Nothing of it is needed any more, so it is not asked politely."""
        process, self._process, self._hello = self._process, None, None
        if process is not None:
            process.close()

    # the process

    @property
    def _name(self) -> str:
        return f"the subject {self.backend}"

    def _start(self) -> None:
        try:
            self._process = self._begin()
        except Lost as lost:
            raise LostError(f"{self._name} {lost}") from None
        except OSError as error:
            raise SubjectError(f"{self._name} cannot be started: {error}") from None
        if self._killed:
            self._process.kill()

    def _said_hello(self) -> dict[str, Any]:
        hello = self._exchange(b"", "starting", self.start_timeout)
        if "missing" in hello:
            self.close()
            missing = f"the backend {self.backend} is not installed (no {hello['missing']})"
            if self._where:
                raise NotInstalled(f"{missing}{self._where}")
            raise NotInstalled(
                f'{missing}; python -m pip install "rnn_check[{self.backend}]" brings it'
            )
        if "error" in hello:
            raise self._failure(f"did not start: {cut(str(hello['error']), LONGEST)}")
        if not isinstance(hello.get("hello"), dict):
            raise self._failure(f"said no hello: {json.dumps(hello)[:200]}")
        said: dict[str, Any] = hello["hello"]
        return said

    def _exchange(self, line: bytes, doing: str, seconds: float) -> dict[str, Any]:
        """Write a line, read one."""
        assert self._process is not None
        try:
            answer = self._process.exchange(line, seconds)
        except Lost as lost:
            self.close()
            raise LostError(f"{self._name} {lost} ({doing})") from None
        except Ended as end:
            raise self._failure(f"{end} ({doing})") from None
        try:
            document = json.loads(answer)
            if rb"\ud" in answer.lower():  # half a character, which is no text anywhere else
                text = json.dumps(document, ensure_ascii=False)
                document = json.loads(text.encode("utf-8", "replace"))
        except (ValueError, RecursionError):
            document = None
        if not isinstance(document, dict):
            said = answer[:200].decode("utf-8", "replace").rstrip()
            raise self._failure(f"said what is no JSON object: {said!r}")
        return document

    def _failure(self, what: str) -> SubjectError:
        """The error to raise, and the end of the process: its next words could not be trusted."""
        process = self._process
        self.close()
        return SubjectError(f"{self._name} {what}", "" if process is None else process.last_words())


def _with_short_words(answer: Any) -> Any:
    """An answer that is an exception, its message and traceback cut to what can be read."""
    if not isinstance(answer, dict) or "error" not in answer:
        return answer
    words = {"error": cut(str(answer["error"]), LONGEST)}
    if "traceback" in answer:
        words["traceback"] = last_lines(str(answer["traceback"]))
    return {**answer, **words}
