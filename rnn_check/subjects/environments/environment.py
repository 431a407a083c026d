"""How is an environment made once, and kept as long as anybody uses it?

Environments stand in a cache folder of the user, one for each set of files (by their hashes),
source and Python. Each is made beside its place and moved there whole, by one process and thread at
a time; one that is damaged is made anew. rnn_check is not installed in them: the folder `asked`
runs there as a script.
"""

from __future__ import annotations

import contextlib
import csv
import os
import re
import secrets
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from packaging.utils import canonicalize_name

from rnn_check.subjects.environments.interpreters import Python
from rnn_check.subjects.environments.locks import (
    LOOK,
    at_once,
    environments,
    is_used,
    locked,
    using,
)
from rnn_check.subjects.environments.programs import INSTALLERS, Failed, words
from rnn_check.subjects.environments.requirement import KERAS, PROVIDES, Wanted
from rnn_check.subjects.environments.uv import (
    Package,
    Unmade,
    digest,
    installer,
    interpreter,
)


@dataclass(frozen=True)
class Environment:
    """Resolved packages for one Python.

    as_of: the day on which they were the newest, or "now". source: where they come from (see
    `source`). stale: why what was resolved before had to do, for the reader; "" if it had not.
    """

    wanted: Wanted
    python: Python
    packages: tuple[Package, ...]
    as_of: str
    source: str = ""
    stale: str = ""

    @property
    def pins(self) -> list[str]:
        return sorted(package.pin for package in self.packages)

    @property
    def requirements(self) -> list[str]:
        """As uv installs them: each pinned to a version and, if they are known, to its files."""
        ordered = sorted(self.packages, key=lambda package: package.pin)
        return [" ".join([p.pin, *(f"--hash={each}" for each in p.hashes)]) for p in ordered]

    @property
    def told(self) -> str:
        """The packages that matter, for a message."""
        named = (each for each in self.packages if each.name in (*KERAS, *PROVIDES))
        return ", ".join(f"{each.name} {each.version}" for each in named)

    @property
    def key(self) -> str:
        return digest(self.python.platform, self.source, *self.requirements)

    @property
    def folder(self) -> Path:
        return environments() / self.key

    @contextlib.contextmanager
    def held(self, tell: Callable[[str], None] = lambda stage: None) -> Iterator[str]:
        """Its interpreter; it is installed if it is not there, or not whole. Raises Unmade.

        As long as anybody holds it, in any process, it is neither removed nor made anew.
        """
        with contextlib.ExitStack() as holding:
            try:
                with locked(self.key, tell):
                    if _damage(self.folder, self.pins):
                        self._wait_until_free(tell)
                        tell("installing")
                        _clear_away()
                        self._install()
                    holding.enter_context(using(self.key))
            except (OSError, NotImplementedError) as error:  # no file can be locked there
                if _damage(self.folder, self.pins):  # and where it is whole, nobody can remove it
                    raise Unmade(f"its environment cannot be made: {words(error)}") from None
            except Failed as failure:
                raise Unmade("its environment cannot be made", str(failure)) from None
            with contextlib.suppress(OSError):  # only `cache` wants to know
                os.utime(self.folder / MARK)
            yield str(interpreter(self.folder))

    def _wait_until_free(self, tell: Callable[[str], None]) -> None:
        """Only for whoever holds the lock, so that nobody comes to use it meanwhile."""
        while is_used(self.key):
            tell("waiting for another run, which uses it, to make it anew")
            INSTALLERS.check()
            time.sleep(LOOK)

    def _install(self) -> None:
        """Beside its place, then there as a whole. Only for whoever holds the lock."""
        partial, damaged = _beside(self.key), _beside(self.key)
        try:
            environments().mkdir(parents=True, exist_ok=True)
            installer().install(partial, self.python.path, self.requirements)
            about = About(
                requirements=list(self.wanted.requirements),
                python=self.python.version,
                packages=self.pins,
                made=datetime.now(UTC).isoformat(timespec="seconds"),
                absent=_absent(partial, self.pins),
            )
            mark = msgspec.json.format(msgspec.json.encode(about), indent=1)
            (partial / MARK).write_text(mark.decode(), encoding="utf-8")
            with contextlib.suppress(FileNotFoundError):
                self.folder.rename(damaged)
            partial.rename(self.folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
            shutil.rmtree(damaged, ignore_errors=True)


MARK = "rnn_check.json"  # written last: an environment that has it was whole
PARTIAL = ".partial-"  # then the key, then what is random


class About(msgspec.Struct):
    """What an environment is; its mark says so.

    absent: what its packages list and did not bring.
    """

    requirements: list[str]
    python: str
    packages: list[str]
    made: str
    absent: list[str] = []


def about(folder: Path) -> About | None:
    with contextlib.suppress(OSError, ValueError):
        return msgspec.json.decode((folder / MARK).read_bytes(), type=About)
    return None


def _damage(folder: Path, pins: Sequence[str]) -> str:
    """What is wrong with an environment; "" if it is whole. It may not be there at all.

    Python may have been moved, files may be lost where a cache was restored: all are looked for,
    none is read.
    """
    found = about(folder)
    if found is None:
        return "it was not finished"
    if found.packages != list(pins):
        return "it holds other packages"
    if not os.access(interpreter(folder), os.X_OK):  # the end of a link
        return "its Python is gone"
    gone = set(_absent(folder, pins)) - set(found.absent)
    return f"{min(gone)} is gone" if gone else ""


def _absent(folder: Path, pins: Sequence[str]) -> list[str]:
    """Packages without metadata, and files that a package lists and that are not there."""
    where = next(
        (
            path
            for path in (*folder.glob("lib/python*/site-packages"), folder / "Lib/site-packages")
        ),
        folder,
    )
    infos = {
        canonicalize_name(info.name.partition("-")[0]): info for info in where.glob("*.dist-info")
    }
    absent = []
    there: dict[str, frozenset[str]] = {}  # what each folder holds
    for pin in pins:
        info = infos.get(canonicalize_name(pin.partition("==")[0]))
        try:
            if info is None:
                raise FileNotFoundError
            with (info / "RECORD").open(encoding="utf-8", newline="") as file:
                listed = [row[0] for row in csv.reader(file) if row]
        except (OSError, ValueError, csv.Error):
            absent.append(pin)
            continue
        for path in listed:
            parent, _, name = path.rpartition("/")
            if parent not in there:
                try:
                    there[parent] = frozenset(os.listdir(where / parent))
                except OSError:
                    there[parent] = frozenset()
            if name not in there[parent]:
                absent.append(path)
    return sorted(absent)


def _beside(key: str) -> Path:
    return environments() / f"{PARTIAL}{key}-{secrets.token_hex(4)}"


def _clear_away() -> None:
    """What processes that were killed left half-made: nobody holds its lock."""
    for partial in environments().glob(f"{PARTIAL}*"):
        made = re.fullmatch(rf"{re.escape(PARTIAL)}([0-9a-f]{{20}})-[0-9a-f]+", partial.name)
        if made is None:  # somebody else's
            continue
        with contextlib.suppress(OSError), at_once(made[1]) as free:
            if free:
                shutil.rmtree(partial, ignore_errors=True)
