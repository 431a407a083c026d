"""How is a subject asked that runs on a machine of a cluster?

Its process runs on a worker (an actor of Dask's), which makes the environment that it needs once,
and is written to and read from here as if it stood beside us. A subject stays on its worker, so
that what differs between two subjects' claims is not a machine. If the worker dies, the question
is asked again of a process on another.
"""

from __future__ import annotations

import contextlib
import functools
import secrets
import sys
import weakref
from collections.abc import Callable

import distributed

from rnn_check.asking.cluster import workers_of
from rnn_check.asking.run import Target
from rnn_check.subjects.ask import command_of
from rnn_check.subjects.process import Ended, Lost, Process

_TRAVELS = 60.0  # seconds more than an answer may take, for its way here
_THERE: weakref.WeakValueDictionary[str, _There] = weakref.WeakValueDictionary()


class _There:
    """On a worker: the process, and what it needs as long as it lives. name: see `_kill`."""

    def __init__(self, name: str, target: Target, memory: int | None) -> None:
        holding = contextlib.ExitStack()
        # nobody may be left to close it: whoever asked was killed, or this worker is told to go
        self.close = weakref.finalize(self, holding.close)
        try:
            python = sys.executable
            if target.environment is not None:
                tell = functools.partial(distributed.get_worker().log_event, name)
                python = holding.enter_context(target.environment.held(tell))
            words = command_of(target.backend, target.framework, python)
            self.process = Process(words, memory)
        except BaseException:
            holding.close()
            raise
        holding.callback(self.process.close)
        _THERE[name] = self

    def exchange(self, line: bytes, seconds: float) -> tuple[bytes, bool]:
        """The answer, and whether the process is worn."""
        answer = self.process.exchange(line, seconds)
        return answer, self.process.is_worn

    def last_words(self) -> str:
        self.close()
        return self.process.last_words()


def _kill(name: str) -> None:
    """At once, whatever its thread is waiting for."""
    if (there := _THERE.get(name)) is not None:
        there.process.kill()


class Elsewhere:
    """A process on a worker, as `Process` is one here. Raises Lost if no worker can hold it."""

    def __init__(
        self,
        client: distributed.Client,
        target: Target,
        memory: int | None,
        tell: Callable[[str], None],
    ) -> None:
        self._client = client
        self._name = f"rnn_check-{secrets.token_hex(8)}"
        self._said, self._worn = "", False
        client.subscribe_topic(self._name, lambda event: tell(event[1]))
        try:
            made = client.submit(_There, self._name, target, memory, actor=True, pure=False)
            self._actor = made.result()
        except distributed.scheduler.KilledWorker as error:
            raise Lost(f"has no worker: {error}") from None
        finally:
            client.unsubscribe_topic(self._name)

    def exchange(self, line: bytes, seconds: float) -> bytes:
        """Write a line, read one. Raises Ended if none comes, Lost if the worker is gone."""
        asked = self._actor.exchange(line, seconds)
        try:
            answer, self._worn = asked.result(timeout=seconds + _TRAVELS)
        except Ended:
            with contextlib.suppress(Exception):  # it may be gone by now
                self._said = self._actor.last_words().result(timeout=_TRAVELS)
            raise
        except Exception as error:  # of many kinds, by where the connection was
            raise Lost(f"was lost with its worker: {error}") from None
        return bytes(answer)

    @property
    def is_worn(self) -> bool:
        return self._worn

    def kill(self) -> None:
        """End it. May be called from any thread."""
        with contextlib.suppress(Exception):  # a cluster that is gone has ended it
            self._client.run(_kill, self._name, on_error="ignore")

    def close(self) -> None:
        """End it; nothing is left of it on the worker."""
        self.kill()
        self._actor = None

    def last_words(self) -> str:
        return self._said


class Cluster:
    """Where a `Run` asks: see there."""

    def __init__(self, client: distributed.Client) -> None:
        self._client = client

    @property
    def side_by_side(self) -> int:
        """Processes: one a worker, which does one thing at a time."""
        return workers_of(self._client)

    def start(self, target: Target, memory: int | None, tell: Callable[[str], None]) -> Elsewhere:
        return Elsewhere(self._client, target, memory, tell)
