"""Do real workers pass `workers.py`, in a process of their own?

A worker of a parallel test run is no place for them: Dask does not get its processes up there.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from rnn_check.asking.run import installed

FILE = Path(__file__).with_name("workers.py")


@pytest.mark.skipif(not installed("numpy"), reason="Keras on NumPy is not installed")
@pytest.mark.long
def test_workers_lose_nothing_and_what_they_find_is_small() -> None:
    asked = ["-n", "0", "-p", "no:cacheprovider", "--tb=short", "--show-capture=no"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *asked, str(FILE)],
        cwd=FILE.parents[2],
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
