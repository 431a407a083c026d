"""How much of what a process may have do its answers leave behind?

A framework keeps what it compiled, for as long as its process lives, and that is not only memory:
a program that XLA made is mapped in some 15 pieces, and Linux allows a process 65,530 of these by
default. The one after them ends it by SIGSEGV, at a claim that has no part in it.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

import psutil

PROC = Path("/proc")


def used(pid: int, memory: int | None = None) -> float:
    """The share that a process has of the mappings or of the bytes it may have, the larger one.

    memory: these bytes. 0 where nothing can be read of it.
    """
    bytes_of_all = 0.0
    if memory is not None:
        with contextlib.suppress(psutil.Error):
            bytes_of_all = psutil.Process(pid).memory_info().rss / memory
    return max(bytes_of_all, _mapped(pid))


def _mapped(pid: int) -> float:
    """The share that a process has of all the mappings that Linux allows it."""
    try:
        most = int((PROC / "sys" / "vm" / "max_map_count").read_text(encoding="ascii"))
        with (PROC / str(pid) / "maps").open("rb") as file:
            return sum(1 for _ in file) / most
    except OSError:  # it has ended, or this is not Linux
        return 0.0


def is_worn(at_first: float, now: float) -> bool:
    """Whether half of what was free when it started is gone."""
    return at_first < 1 and now > (1 + at_first) / 2
