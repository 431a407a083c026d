"""How is a subject asked, and what if it crashes?

A framework lives in a process of its own (`subject.py`), which is asked over a pipe. It may raise,
crash, hang, be killed or print garbage; here each of these becomes one SubjectError with the last
lines that the process wrote, and the host lives on.

    with Subject("tensorflow") as subject:
        print(subject.identity["backend_version"])
        output = subject.ask({"layers": [...], "x": x, "ask": ["output"]})["output"]
"""

from __future__ import annotations

import contextlib
import difflib
import json
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from rnn_check import subject as _subject
from rnn_check.subject import default_backend, encode

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

BACKENDS = tuple(_subject.BACKENDS)
TIMEOUT = 300.0  # seconds for one answer, the import of the framework included
LAST_LINES = 20


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


def decode(observed: Any) -> Any:
    """An observation with every encoded array in it as NumPy's (bfloat16 as float32, exactly).

    Raises ValueError if an array's dtype, shape and data do not belong together.
    """
    if isinstance(observed, dict):
        if observed.keys() == {"dtype", "shape", "data"}:
            return _subject.decode(observed)
        return {key: decode(value) for key, value in observed.items()}
    if isinstance(observed, list):
        return [decode(value) for value in observed]
    return observed


class Subject:
    """One framework on one backend, in a process of its own.

    The process starts at once and is waited for only when it is asked, so that a host can read its
    claims while the framework is being imported. A process that has ended is started anew by the
    next question. `python`: another environment's interpreter. `command`: another script.
    """

    def __init__(
        self,
        backend: str | None = None,
        *,
        python: str = sys.executable,
        timeout: float = TIMEOUT,
        command: Sequence[str] | None = None,
    ) -> None:
        self.backend = backend or default_backend()
        if self.backend not in BACKENDS:
            near = difflib.get_close_matches(self.backend, BACKENDS, n=1)
            hint = f"; did you mean {near[0]}?" if near else f"; known: {', '.join(BACKENDS)}"
            raise NotInstalled(f"unknown backend {self.backend!r}{hint}")
        # another environment is not to see what this one's variables and user folders hold
        self._is_here = python == sys.executable
        isolated = [] if self._is_here else ["-I"]
        script = [python, *isolated, str(Path(_subject.__file__).resolve())]
        self.timeout = timeout
        self._command = [*(command or script), "--backend", self.backend]
        self._asked = 0
        self._killed = False
        self._identity: dict[str, Any] | None = None
        self._process: subprocess.Popen[str] | None = None
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
    def identity(self) -> dict[str, Any]:
        """Who is asked, in the subject's own words. Raises SubjectError if it did not start."""
        if self._process is None:
            self._start()
        if self._identity is None:
            self._identity = self._hello()
        return self._identity

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """What was observed, question by question, arrays as NumPy's (see `decode`).

        Arrays in the request may be NumPy's. Raises Raised if the framework raised, and otherwise
        SubjectError if there is no answer.
        """
        return self.asked(request)[1]

    def asked(self, request: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """What was observed in the subject's own words, arrays still encoded, and as `ask` has it.

        Raises as `ask` does, also if a question was not answered.
        """
        reply = self.reply(request)
        if "error" in reply:
            raise Raised(f"{self._name} raised {reply['error']}", str(reply.get("traceback", "")))
        said = reply["observed"]
        if not isinstance(said, dict) or (unanswered := set(request.get("ask", ())) - said.keys()):
            what = ", ".join(sorted(unanswered)) if isinstance(said, dict) else "anything"
            raise self._failure(f"did not answer {what}: {json.dumps(reply)[:200]}")
        try:
            return said, decode(said)
        except (ValueError, TypeError) as error:
            raise self._failure(f"said what is no array: {error}") from None

    def reply(self, request: dict[str, Any]) -> dict[str, Any]:
        """The subject's own words: {"id", "observed"}, or {"id", "error", "traceback"}.

        Raises SubjectError if there are none.
        """
        self.identity  # noqa: B018  the subject speaks first
        self._asked += 1
        line = json.dumps({**request, "id": self._asked}, default=encode) + "\n"
        reply = self._exchange(line, f"asked for {', '.join(request.get('ask', []))}")
        if reply.get("id") != self._asked or not {"observed", "error"} & reply.keys():
            raise self._failure(f"said what is no reply: {json.dumps(reply)[:200]}")
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
        process, self._process, self._identity = self._process, None, None
        if process is None:
            return
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout):
            assert stream is not None
            with contextlib.suppress(BrokenPipeError):  # a request that it did not live to read
                stream.close()
        self._stderr.close()

    # the process

    @property
    def _name(self) -> str:
        return f"the subject {self.backend}"

    def _start(self) -> None:
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115  closed by close()
        try:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._stderr,
                encoding="utf-8",
                errors="replace",
                process_group=0,  # Ctrl-C is for the host, which ends its subjects itself
            )
        except OSError as error:
            self._stderr.close()
            raise SubjectError(f"{self._name} cannot be started: {error}") from None
        if self._killed:
            self._process.kill()

    def _hello(self) -> dict[str, Any]:
        hello = self._exchange("", "starting")
        if "missing" in hello:
            self.close()
            missing = f"the backend {self.backend} is not installed (no {hello['missing']})"
            if not self._is_here:
                raise NotInstalled(f"{missing} in {self._command[0]}")
            raise NotInstalled(
                f'{missing}; python -m pip install "rnn_check[{self.backend}]" brings it'
            )
        if "error" in hello:
            raise self._failure(f"did not start: {hello['error']}")
        if not isinstance(hello.get("hello"), dict):
            raise self._failure(f"said no hello: {json.dumps(hello)[:200]}")
        identity: dict[str, Any] = hello["hello"]
        return identity

    def _exchange(self, line: str, doing: str) -> dict[str, Any]:
        """Write a line, read one. A timer kills a process that lets us wait for either."""
        process = self._process
        assert process is not None
        assert process.stdin is not None
        assert process.stdout is not None
        expired = threading.Event()

        def expire() -> None:
            expired.set()
            process.kill()

        timer = threading.Timer(self.timeout, expire)
        timer.start()
        try:
            process.stdin.write(line)
            process.stdin.flush()
            answer = process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        finally:
            timer.cancel()
        if expired.is_set():
            raise self._failure(f"gave no answer within {self.timeout:g} s ({doing})")
        if not answer:
            raise self._failure(f"{_end_of(process)} ({doing})")
        try:
            document = json.loads(answer)
        except (ValueError, RecursionError):
            document = None
        if not isinstance(document, dict):
            raise self._failure(f"said what is no JSON object: {answer[:200].rstrip()!r}")
        return document

    def _failure(self, what: str) -> SubjectError:
        """The error to raise, and the end of the process: its next words could not be trusted."""
        self._stderr.seek(0)
        lines = self._stderr.read().decode("utf-8", "replace").splitlines()
        self.close()
        return SubjectError(f"{self._name} {what}", "\n".join(lines[-LAST_LINES:]))


def _end_of(process: subprocess.Popen[str]) -> str:
    try:
        code = process.wait(timeout=2)
    except subprocess.TimeoutExpired:
        return "closed its pipe"
    if code >= 0:
        return f"ended with exit code {code}"
    if -code not in set(signal.Signals):
        return f"was ended by signal {-code}"
    name = signal.Signals(-code).name
    return f"was ended by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")
