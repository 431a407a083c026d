"""Has a process come to where a test waits for it?"""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Callable
from typing import Any

import psutil
import pytest


def is_gone(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def wait_for(condition: Callable[[], Any], host: subprocess.Popen[Any] | None = None) -> Any:
    """What the condition gives once it is true; a file that is not there yet is none.

    It fails after a minute, or if the process that was to bring it about has ended.
    """
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with contextlib.suppress(FileNotFoundError):
            if found := condition():
                return found
        assert host is None or host.poll() is None, host.communicate()
        time.sleep(0.02)
    return pytest.fail("it never came")
