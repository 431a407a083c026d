"""Does a process keep within its limits, and does everything that it started end with it?

A subject's code is the user's: it may fork, hang, flood its stderr or take all the memory there is.
So it runs in a session of its own, which is ended as a whole, whatever the reason: a process that
it forked would otherwise live on. A thread watches its time and its memory, another one keeps the
last of what it writes, and its temporary files stand in a folder that is removed with it.

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
from collections.abc import Iterator, Sequence
from pathlib import Path
from weakref import WeakSet

import psutil

LAST_BYTES = 1 << 16  # of stderr that are kept
LAST_LINES = 20  # of these that are shown
LONGEST_LINE = 400  # characters of each
REPLY = 1 << 28  # bytes of one reply, which is many times what any claim's is
SHARE = "50%"  # of the machine's memory that a subject may take, if nothing else is said
_LOOK = 0.1  # seconds from one look at the clock and the memory to the next

_living: WeakSet[Process] = WeakSet()


class Ended(Exception):
    """A process that gives no answer any more; the message completes "the subject ..."."""


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
        self._lock = threading.Lock()
        self._said = b""
        self._folder = tempfile.mkdtemp(prefix="rnn_check-")
        try:
            self._popen = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env={**os.environ, **dict.fromkeys(("TMPDIR", "TEMP", "TMP"), self._folder)},
                start_new_session=True,  # Ctrl-C is for the host, which ends its processes itself
            )
        except BaseException:
            shutil.rmtree(self._folder, ignore_errors=True)
            raise
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
        return answer

    def kill(self) -> None:
        """End it, and everything that it started. May be called from any thread."""
        with self._lock:
            if self._over.is_set():
                return
            pid = self._popen.pid
            if not hasattr(os, "killpg"):
                self._popen.kill()
                return
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, signal.SIGKILL)
            for member in self._members():  # those that left the group, but not the session
                with contextlib.suppress(ProcessLookupError):
                    os.kill(member, signal.SIGKILL)

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
            deadline = self._deadline
            if deadline is not None and time.monotonic() > deadline:
                self._fate = self._fate or _LATE
                self.kill()
            elif self._memory is not None and self._taken() > self._memory:
                self._fate = self._fate or (
                    f"took more than the {size(self._memory)} of memory that it may (--memory)"
                )
                self.kill()
            elif self._has_ended():  # what it forked may hold its pipes open
                self.kill()

    def _has_ended(self) -> bool:
        """Whether the process itself has. It is not waited for: how it ended is read later."""
        try:
            return bool(psutil.Process(self._popen.pid).status() == psutil.STATUS_ZOMBIE)
        except psutil.NoSuchProcess:
            return True

    def _members(self) -> Iterator[int]:
        """All that run in its session, itself included."""
        if not hasattr(os, "getsid"):
            yield self._popen.pid
            return
        for pid in psutil.pids():
            with contextlib.suppress(OSError):
                if os.getsid(pid) == self._popen.pid:
                    yield pid

    def _taken(self) -> int:
        """Bytes of memory that it and all that it started take together."""
        taken = shared_once = 0
        members = []
        for pid in self._members():
            with contextlib.suppress(psutil.Error):
                members.append(psutil.Process(pid))
                taken += members[-1].memory_info().rss
        assert self._memory is not None
        if len(members) < 2 or taken <= self._memory:
            return taken
        for member in members:  # what forks share was counted for each of them
            with contextlib.suppress(psutil.Error):
                info = member.memory_full_info()
                shared_once += getattr(info, "pss", info.rss)
        return shared_once

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
