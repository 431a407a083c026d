"""A cluster that is there: a scheduler and a worker, each a process of its own."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def cluster_in(folder: Path) -> Iterator[tuple[Path, int]]:
    """The scheduler's file, and the worker's process id."""
    file = folder / "scheduler.json"
    started = []

    def start(what: str, *words: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", f"distributed.cli.dask_{what}", "--no-dashboard", *words]
        nothing = subprocess.DEVNULL
        started.append(subprocess.Popen(command, stdout=nothing, stderr=nothing))
        return started[-1]

    try:
        scheduler = start(
            "scheduler", "--host", "127.0.0.1", "--port", "0", "--scheduler-file", str(file)
        )
        while not file.exists():
            assert scheduler.poll() is None
            time.sleep(0.05)
        worker = start("worker", "--scheduler-file", str(file), "--nthreads", "1", "--no-nanny")
        yield file, worker.pid
    finally:
        for process in reversed(started):
            process.terminate()
            process.wait()
