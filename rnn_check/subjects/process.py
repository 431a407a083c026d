"""Does a process keep within its limits, and does everything that it started end with it?

A subject's code is the user's: it may fork, hang, flood its stderr or take all the memory there is.
So it runs in a session of its own, which is ended as a whole, whatever the reason, together with
what left that session (see `_Family`): a process that it forked would otherwise live on. A thread
watches its time and its memory, another one keeps the last of what it writes, and its temporary
files stand in a folder that is removed with it.

If the host is killed it can do none of that; see `asked.wire.end_with_the_host`.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol
from weakref import WeakSet

import psutil

from rnn_check.subjects import wear
from rnn_check.subjects.asked.wire import MARK

LAST_BYTES = 1 << 16  # of stderr that are kept
LAST_LINES = 20  # of these that are shown
LONGEST_LINE = 400  # characters of each
REPLY = 1 << 28  # bytes of one reply, which is many times what any claim's is
_LOOK = 0.1  # seconds from one look at the clock and the memory to the next
_PASSES = 100  # over what is to be ended, each of which may find what was forked meanwhile

_living: WeakSet[Process] = WeakSet()


class Ended(Exception):
    """A process that gives no answer any more; the message completes "the subject ..."."""


class Lost(Ended):
    """One that went with the machine it was on; another one may be asked the same."""


class Asked(Protocol):
    """What a subject needs of a process, wherever it is; `Process` says what each of these does."""

    def exchange(self, line: bytes, seconds: float) -> bytes: ...

    @property
    def is_worn(self) -> bool: ...

    def kill(self) -> None: ...

    def close(self) -> None: ...

    def last_words(self) -> str: ...


class Process:
    """A process that is asked a line and answers a line.

    memory: bytes that it may take together with everything that it started.

    Raises OSError if it cannot be started.
    """

    def __init__(self, command: Sequence[str], memory: int | None = None) -> None:
        self._memory = memory
        self._fate = ""  # why it had to be ended
        self._deadline: float | None = None
        self._over = threading.Event()
        self._lock = threading.RLock()  # a signal's handler may come upon its own thread in here
        self._said = b""
        self._at_first: float | None = None  # what it had used up after its first answer
        self._folder = tempfile.mkdtemp(prefix="rnn_check-")
        own = {**dict.fromkeys(("TMPDIR", "TEMP", "TMP"), self._folder), MARK: self._folder}
        try:
            self._popen = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env={**os.environ, **own},
                start_new_session=True,  # Ctrl-C is for the host, which ends its processes itself
            )
        except BaseException:
            shutil.rmtree(self._folder, ignore_errors=True)
            raise
        self._family = _Family(self._popen.pid, self._folder)
        _living.add(self)
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()
        threading.Thread(target=self._watch, daemon=True).start()

    def exchange(self, line: bytes, seconds: float) -> bytes:
        """Write a line, read one. Raises Ended if none comes, in time and within the limits."""
        assert self._popen.stdin is not None
        assert self._popen.stdout is not None
        self._deadline = time.monotonic() + seconds
        try:
            self._popen.stdin.write(line)
            self._popen.stdin.flush()
            answer = self._popen.stdout.readline(REPLY + 1)
        except BrokenPipeError:
            answer = b""
        finally:
            self._deadline = None
        if self._fate == _LATE:
            raise Ended(f"gave no answer within {seconds:g} s")
        if self._fate:
            raise Ended(self._fate)
        if len(answer) > REPLY:
            raise Ended(f"said more than {size(REPLY)} at once")
        if not answer:
            raise Ended(self._end())
        if self._at_first is None:
            self._at_first = wear.used(self._popen.pid, self._memory)
        return answer

    @property
    def is_worn(self) -> bool:
        """Whether its answers left so much behind that the next are better asked of another."""
        now = wear.used(self._popen.pid, self._memory)
        return self._at_first is not None and wear.is_worn(self._at_first, now)

    def kill(self) -> None:
        """End it, and everything that it started. May be called from any thread."""
        with self._lock:
            if self._over.is_set():
                return
            if hasattr(os, "killpg"):
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(self._popen.pid, signal.SIGKILL)
            else:
                self._popen.kill()
            self._family.end()

    def close(self) -> None:
        """End it, if it lives, and leave nothing behind."""
        self.kill()
        with self._lock:
            self._over.set()
        self._popen.wait()
        for stream in (self._popen.stdin, self._popen.stdout):
            assert stream is not None
            with contextlib.suppress(BrokenPipeError):  # a request that it did not live to read
                stream.close()
        self._listener.join(timeout=1)
        shutil.rmtree(self._folder, ignore_errors=True)
        _living.discard(self)

    def last_words(self) -> str:
        """The last lines that it wrote to stderr, after it was closed or before."""
        return last_lines(self._said.decode("utf-8", "replace"))

    # threads

    def _listen(self) -> None:
        assert self._popen.stderr is not None
        with self._popen.stderr as stream:
            while chunk := os.read(stream.fileno(), LAST_BYTES):
                self._said = (self._said + chunk)[-LAST_BYTES:]

    def _watch(self) -> None:
        while not self._over.wait(_LOOK):
            members = self._family.members()  # of each while its parent lives, which knows it
            deadline = self._deadline
            if deadline is not None and time.monotonic() > deadline:
                self._fate = self._fate or _LATE
            elif self._memory is not None and _taken(members, self._memory) > self._memory:
                self._fate = self._fate or (
                    f"took more than the {size(self._memory)} of memory that it may (--memory)"
                )
            elif not self._has_ended():  # what it forked may hold its pipes open
                continue
            self.kill()
            return

    def _has_ended(self) -> bool:
        """Whether the process itself has. It is not waited for: how it ended is read later."""
        try:
            return bool(psutil.Process(self._popen.pid).status() == psutil.STATUS_ZOMBIE)
        except psutil.NoSuchProcess:
            return True

    def _end(self) -> str:
        """How it ended, if it has."""
        try:
            code = self._popen.wait(timeout=2)
        except subprocess.TimeoutExpired:
            return "closed its pipe"
        if code >= 0:
            return f"ended with exit code {code}"
        if -code not in set(signal.Signals):
            return f"was ended by signal {-code}"
        name = signal.Signals(-code).name
        return f"was ended by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")


_LATE = "late"


class _Family:
    """A process and all that it started, also what left its session.

    A process belongs to it that is in the session of the first one, has the mark in the environment
    that it was started with (a fork has its parent's), or was seen while a member was its parent.
    So one escapes that leaves the session, throws its environment away and is given up by whoever
    started it, all between two looks.

    May be asked by any thread.
    """

    def __init__(self, first: int, mark: str) -> None:
        self._first = first
        self._mark = mark
        self._lock = threading.RLock()
        self._members: dict[int, psutil.Process] = {}
        self._strangers: set[int] = set()

    def members(self, *, afresh: bool = False) -> list[psutil.Process]:
        """All of them. afresh: look again at who was a stranger, and may be another by now."""
        with self._lock:
            pids = psutil.pids()
            if afresh:
                self._strangers.clear()
            self._strangers &= set(pids)
            self._members = {pid: each for pid, each in self._members.items() if each.is_running()}
            new = [pid for pid in pids if pid not in self._strangers and pid not in self._members]
            while found := {pid: each for pid in new if (each := self._member(pid)) is not None}:
                self._members |= found  # whose children may stand before them
                new = [pid for pid in new if pid not in found]
            self._strangers.update(new)
            return list(self._members.values())

    def _member(self, pid: int) -> psutil.Process | None:
        with contextlib.suppress(psutil.Error, OSError):
            each = psutil.Process(pid)
            if hasattr(os, "getsid") and os.getsid(pid) == self._first:
                return each
            if pid == self._first or each.ppid() in self._members:
                return each
            if each.environ().get(MARK) == self._mark:
                return each
        return None

    def end(self) -> None:
        """Kill all, until there is none that was not killed already."""
        ended: set[psutil.Process] = set()
        for _ in range(_PASSES):
            left = set(self.members(afresh=True)) - ended
            if not left:
                return
            for each in left:
                with contextlib.suppress(psutil.Error):
                    each.kill()
            ended |= left


def _taken(members: Sequence[psutil.Process], most: int) -> int:
    """Bytes of memory that they take together; what they share is counted once, if it matters."""
    taken = shared_once = 0
    for each in members:
        with contextlib.suppress(psutil.Error):
            taken += each.memory_info().rss
    if len(members) < 2 or taken <= most:
        return taken
    for each in members:  # what forks share was counted for each of them
        with contextlib.suppress(psutil.Error):
            info = each.memory_full_info()
            shared_once += getattr(info, "pss", info.rss)
    return shared_once


def kill_all() -> None:
    """End every process that lives, for a host that ends at once."""
    for process in list(_living):
        process.kill()


# --- words ----------------------------------------------------------------------------------------


def last_lines(text: str) -> str:
    """The last lines of it, long ones cut."""
    return "\n".join(cut(line, LONGEST_LINE) for line in text.splitlines()[-LAST_LINES:])


def cut(text: str, most: int) -> str:
    """Its beginning, and how much more there is."""
    return text if len(text) <= most else f"{text[:most]} … ({len(text) - most:,} characters more)"


# --- memory ---------------------------------------------------------------------------------------

_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


def amount(text: str) -> int:
    """The bytes that "8G", "512M" or "50%" (of this machine's) are. Raises ValueError."""
    found = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?)\s*(?:([KMGT]?)i?B?|(%))", text, re.IGNORECASE)
    if found is None:
        raise ValueError("expected an amount such as 8G or 512M, or a share such as 50%")
    number, unit, share = float(found[1]), found[2], found[3]
    if share and number > 100:
        raise ValueError("a machine has no more than 100%")
    of = machine_memory() / 100 if share else _UNITS[unit.upper()]
    if number * of < 1:
        raise ValueError("nothing runs in no memory")
    return int(number * of)


def size(number: int) -> str:
    """In words: "11.5 GB"."""
    for unit in "TGMK":
        if number >= _UNITS[unit]:
            return f"{number / _UNITS[unit]:.3g} {unit}B"
    return f"{number} bytes"


def machine_memory() -> int:
    """Bytes of memory that this process may use: the machine's, or its container's."""
    limits = [int(psutil.virtual_memory().total)]
    root = Path("/sys/fs/cgroup")
    files = [root / "memory" / "memory.limit_in_bytes"]
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines():
            group = root / line.rpartition(":")[2].lstrip("/")
            files += [folder / "memory.max" for folder in (group, *group.parents)]
    for file in files:
        with contextlib.suppress(OSError, ValueError):  # "max": no limit
            limits.append(int(file.read_text(encoding="utf-8")))
    return min(limits)
