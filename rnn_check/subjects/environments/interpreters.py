"""Which Python is meant?"""

from __future__ import annotations

import contextlib
import os
import platform
import re
import sys
from dataclasses import dataclass
from pathlib import Path

from rnn_check.subjects.environments.programs import Failed, ran
from rnn_check.subjects.environments.requirement import WordError
from rnn_check.subjects.environments.uv import Unmade, installer


@dataclass(frozen=True)
class Python:
    """An interpreter, and what of it decides which packages fit."""

    path: str
    version: str

    @property
    def platform(self) -> str:
        return f"{self.version} {platform.system()} {platform.machine()}"


def find_python(wanted: str | None = None) -> Python:
    """This Python; or one of a version (3.10), or at a path. Raises WordError if there is none."""
    if wanted is None:
        return Python(sys.executable, platform.python_version())
    if not re.fullmatch(r"\d+\.\d+(\.\d+)?", wanted):
        found = _asked_for_version(wanted)
        if found is None:
            raise WordError(f"{wanted!r} is neither a version such as 3.10 nor a Python to be run")
        return Python(wanted, found)
    # uv looks everywhere else; of pyenv's it sees what stands on the PATH, and may fail of it
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    theirs = sorted(pyenv.glob(f"versions/{wanted}*/bin/python"), reverse=True)
    for path in (sys.executable, *map(str, theirs)):
        found = _asked_for_version(path)
        if found is not None and (found + ".").startswith(wanted + "."):
            return Python(path, found)
    try:
        path = installer().python(wanted)
        return Python(path, _asked_for_version(path) or wanted)
    except Failed as failure:
        reason = (str(failure).splitlines() or [""])[0].removeprefix("error: ")
        raise WordError(f"Python {wanted} is not available here: {reason}") from None
    except Unmade as error:
        raise WordError(f"Python {wanted} is not available here: {error.message}") from None


def _asked_for_version(path: str) -> str | None:
    with contextlib.suppress(Failed):
        return ran(path, "-I", "-c", "import platform; print(platform.python_version())").strip()
    return None
