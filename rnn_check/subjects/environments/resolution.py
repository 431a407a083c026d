"""Which version of everything is meant, on a day?"""

from __future__ import annotations

import contextlib
import functools
import re
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Annotated

import msgspec
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion

from rnn_check.subjects.environments.environment import Environment
from rnn_check.subjects.environments.interpreters import Python
from rnn_check.subjects.environments.locks import cache
from rnn_check.subjects.environments.programs import Failed
from rnn_check.subjects.environments.requirement import Wanted
from rnn_check.subjects.environments.uv import Package, Unmade, digest, installer, source
from rnn_check.subjects.whole import written_whole

RELEASE, NOW = "release", "now"


RESOLVED_FOR = timedelta(days=1)  # how long "the newest" is taken for the newest
STEP, STEPS = timedelta(days=30), 12  # how long after a release its companions are waited for


def resolve(
    wanted: Wanted, python: Python, as_of: str | date = RELEASE, *, refresh: bool = False
) -> Environment:
    """Which version of everything is meant.

    as_of: "now" takes the newest of what the requirements leave open; a date, what was the newest
    on that day; "release", what was the newest when the last of the packages named came out, or in
    the first month after it in which they can be installed together (Keras 3.0 needed a TensorFlow
    that was still to come). What was resolved is believed for a day; if it cannot be resolved anew
    it has to do for longer, which the environment says (`stale`). Raises Unmade.
    """
    of = source()
    asked = digest(python.platform, str(as_of), of, *wanted.requirements)
    file = cache() / "resolutions" / f"{asked}.json"
    known = _remembered(file, wanted)
    if known is not None and not refresh and timedelta() <= known.age <= RESOLVED_FOR:
        return Environment(wanted, python, known.found, known.as_of, of)
    try:
        environment = Environment(wanted, python, *_resolve(wanted, python, as_of), of)
    except Failed as failure:
        if known is not None:
            why = (str(failure).splitlines() or ["no answer"])[-1].strip().removeprefix("error: ")
            stale = (
                f"resolved on {known.made.date().isoformat()}, as it cannot be looked up again "
                f"now ({why})"
            )
            return Environment(wanted, python, known.found, known.as_of, of, stale)
        raise Unmade("its requirements cannot be resolved", str(failure)) from None
    packages = [(p.name, p.version, list(p.hashes)) for p in environment.packages]
    resolution = _Resolution(datetime.now(UTC), environment.as_of, packages)
    with contextlib.suppress(OSError):  # it only saves time
        file.parent.mkdir(parents=True, exist_ok=True)
        with written_whole(file) as new:
            new.write_bytes(msgspec.json.encode(resolution))
    return environment


def _resolve(wanted: Wanted, python: Python, as_of: str | date) -> tuple[tuple[Package, ...], str]:
    lock = functools.partial(installer().lock, wanted.requirements, python.path)
    if isinstance(as_of, date):
        return lock(_end_of(as_of)), as_of.isoformat()
    newest = lock(None)
    published = [p.published for p in newest if p.name in wanted.named and p.published]
    if as_of == NOW or not published:
        return newest, NOW
    day = max(published).date()
    for _ in range(STEPS):
        if day >= datetime.now(UTC).date():
            break
        with contextlib.suppress(Failed):
            return lock(_end_of(day)), day.isoformat()
        day += STEP
    return newest, NOW


def _end_of(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(days=1)


class _Resolution(msgspec.Struct, forbid_unknown_fields=True):
    """What was resolved, as a file remembers it: names, versions, hashes."""

    made: Annotated[datetime, msgspec.Meta(tz=True)]
    as_of: str
    packages: list[tuple[str, str, list[str]]]

    @property
    def age(self) -> timedelta:
        return datetime.now(UTC) - self.made

    @property
    def found(self) -> tuple[Package, ...]:
        return tuple(
            Package(n, version, None, tuple(hashes)) for n, version, hashes in self.packages
        )


def _remembered(file: Path, wanted: Wanted) -> _Resolution | None:
    """What was resolved before; None of a file that does not hold what is wanted."""
    try:
        resolution = msgspec.json.decode(file.read_bytes(), type=_Resolution)
        version_of: dict[str, str] = {name: version for name, version, _ in resolution.packages}
        for each in map(Requirement, wanted.requirements):
            name: str = canonicalize_name(each.name)
            if name == "keras" and "keras-nightly" in version_of:  # which shadows it
                continue
            if not each.specifier.contains(version_of[name], prereleases=True):
                return None
        for name, version, hashes in resolution.packages:
            if any(not _HASH.fullmatch(each) for each in hashes):
                return None
            Requirement(f"{name}=={version}")
    except (OSError, ValueError, KeyError, InvalidRequirement, InvalidVersion):
        return None
    return resolution


_HASH = re.compile(r"\w+:[0-9a-f]+")


def newest(requirement: str, python: Python) -> str | None:
    """The newest version of a package that a requirement allows; None if there is none.

    Raises Unmade if the installer fails for another reason.
    """
    try:
        (found,) = installer().lock((requirement,), python.path, None, alone=True)
    except Failed as failure:
        said = str(failure).lower()
        if any(words in said for words in ("no version", "no matching", "incompatible")):
            return None
        raise Unmade(f"{requirement}: versions cannot be listed", str(failure)) from None
    return found.version
