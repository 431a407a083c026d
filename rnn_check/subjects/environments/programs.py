"""How is a program run, so that Ctrl-C ends it and what it started?"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence

from rnn_check.subjects.process import LAST_LINES


class Failed(Exception):
    """What an installer said last."""


class Installers:
    """The installers that run, so that an interrupted host can end them and what they started."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[str]] = set()
        self._stopped = False

    def run(self, command: Sequence[str], said: str) -> tuple[int, str, str]:
        """Exit code, stdout and stderr. Raises OSError if it cannot be started."""
        with self._lock:
            self.check()
            process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                encoding="utf-8", errors="replace",
                process_group=0,  # Ctrl-C is for the host
            )  # fmt: skip
            self._running.add(process)
        try:
            out, err = process.communicate(said)
        except BaseException:
            _kill(process)
            process.communicate()
            raise
        finally:
            with self._lock:
                self._running.remove(process)
        return process.returncode, out, err

    def check(self) -> None:
        """Raises Failed if nothing is to be started any more."""
        if self._stopped:
            raise Failed("interrupted")

    def start(self) -> None:
        self._stopped = False

    def stop(self) -> int:
        """End all, from another thread than those that wait for them; how many there were."""
        with self._lock:
            self._stopped = True
            for process in self._running:
                _kill(process)
            return len(self._running)


def _kill(process: subprocess.Popen[str]) -> None:
    """It and whatever it started, which is in its group."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


INSTALLERS = Installers()


@contextlib.contextmanager
def interruptible(tell: Callable[[int], None] = lambda many: None) -> Iterator[None]:
    """Where threads resolve and install: Ctrl-C in here ends what they wait for at once.

    tell: is told how many installers were ended, if any were.
    """
    INSTALLERS.start()
    try:
        yield
    except BaseException:
        if many := INSTALLERS.stop():
            tell(many)
        raise


def ran(*command: str, said: str = "") -> str:
    """What the command prints. Raises Failed if it fails."""
    try:
        code, out, err = INSTALLERS.run(command, said)
    except OSError as error:
        raise Failed(words(error)) from None
    if code:
        lines = [line for line in (err or out).splitlines() if line.strip()]
        raise Failed("\n".join(lines[-LAST_LINES:]) or f"{command[0]} ended with {code}")
    return out


def words(error: OSError | NotImplementedError) -> str:
    return getattr(error, "strerror", None) or str(error)
