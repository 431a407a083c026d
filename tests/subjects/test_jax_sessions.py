"""Do flax and equinox pass `sessions_of_cells.py`, in a process that has loaded nothing else?

Sessions in this process find faults that are planted there. JAX is not always survived by a process
that has other frameworks in it, as a worker of a long run has.
"""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

FILE = Path(__file__).with_name("sessions_of_cells.py")


@pytest.mark.long
@pytest.mark.parametrize("framework", ["flax", "equinox"])
def test_its_sessions_pass(framework: str) -> None:
    if not find_spec(framework):
        pytest.skip(f"{framework} is not installed")
    asked = ["-n", "0", "--all", "-k", framework, "-p", "no:cacheprovider"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *asked, str(FILE)],
        cwd=FILE.parents[2], capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
