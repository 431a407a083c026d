"""Do real workers pass `elsewhere.py` and `sweep/workers.py`, each in a process of its own?

A worker of a parallel test run is no place for them: Dask does not get its processes up there.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from rnn_check.asking.run import installed

TESTS = Path(__file__).parents[1]


@pytest.mark.skipif(not installed("numpy"), reason="Keras on NumPy is not installed")
@pytest.mark.long
@pytest.mark.parametrize("file", ["asking/elsewhere.py", "sweep/workers.py"])
def test_workers_lose_nothing(file: str) -> None:
    asked = ["-n", "0", "-p", "no:cacheprovider", "--tb=short", "--show-capture=no"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *asked, str(TESTS / file)],
        cwd=TESTS.parent,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
