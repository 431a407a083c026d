"""Which packages stand in a subject's environment, and where is it?

    wanted = parse("keras==3.12.0,jax==0.7.2@jax")      # what somebody typed
    environment = resolve(wanted, find_python("3.11"))  # which version of everything that means
    interpreter = environment.make()                    # made at the first call, found at the next

uv resolves and installs; without it a plain venv and its pip do. Environments stand in a cache
folder of the user, one for each set of resolved packages and Python. Each is made beside its place
and moved there whole, so that what is interrupted leaves nothing half-made. rnn_check is not
installed in them: `subject.py` runs there as a script.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.util
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import platformdirs
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from rnn_check.observe import BACKENDS, LAST_LINES, SubjectError
from rnn_check.written import nearest

KERAS = ("keras", "keras-nightly")
# packages that are a backend, and whether they bring their own Keras
PROVIDES = {
    "tensorflow": "tensorflow",
    "tensorflow-cpu": "tensorflow",
    "tf-nightly": "tensorflow",
    "tf-nightly-cpu": "tensorflow",
    "jax": "jax",
    "torch": "torch",
    "openvino": "openvino",
}
# what Keras imports on a backend, whether it says so or not: on numpy it needs jax, too, and Keras
# 3.2 and 3.3 need packaging, which TensorFlow brings
NEEDS = {
    "tensorflow": ("tensorflow",),
    "jax": ("jax[cpu]", "packaging"),
    "torch": ("torch", "packaging"),
    "openvino": ("openvino", "scipy", "packaging"),
    "numpy": ("jax[cpu]", "scipy", "packaging"),
}
RELEASE, NOW = "release", "now"
RESOLVED_FOR = timedelta(days=1)  # how long "the newest" is taken for the newest
STEP, STEPS = timedelta(days=30), 12  # how long after a release its companions are waited for


class WordError(ValueError):
    """A word that names no subject; the message stands alone."""


class Unmade(SubjectError):
    """An environment that cannot be made. `stderr`: the installer's last lines."""


# --- what somebody typed --------------------------------------------------------------------------


@dataclass(frozen=True)
class Wanted:
    """A subject as it was typed: requirements, those that follow from them, and the backend."""

    text: str
    named: tuple[str, ...]
    requirements: tuple[str, ...]
    backend: str


def parse(text: str) -> Wanted:
    """`tensorflow==2.13.1`, or `keras==3.12.0,jax==0.7.2@jax`: requirements, then the backend.

    Without a backend it is the one that a package named is, or tensorflow, as Keras has it. What
    the backend needs is added. Raises WordError.
    """
    listed, at, backend = text.partition("@")
    named: dict[str, str] = {}
    for part in _split(listed):
        try:
            requirement = Requirement(part.strip())
        except InvalidRequirement:
            hint = ", with two equal signs" if re.search(r"[^=<>!~]=[^=]", part) else ""
            raise WordError(
                f"{text!r}: {part.strip()!r} is no requirement; expected one such as "
                f"tensorflow==2.13.1{hint}"
            ) from None
        name = canonicalize_name(requirement.name)
        if name in named:
            raise WordError(f"{text!r}: names {name} twice; write {name}>=3,<3.2 as one")
        if name == "jax" and not requirement.extras:  # before 0.4.36 it brought nothing to run on
            requirement.extras = {"cpu"}
        named[name] = str(requirement)
    backends = list(dict.fromkeys(PROVIDES[name] for name in named if name in PROVIDES))
    if at and backend not in BACKENDS:
        raise WordError(f"{text!r}: unknown backend {backend!r}{nearest(backend, BACKENDS)}")
    if not at and len(backends) > 1:
        raise WordError(
            f"{text!r}: on which backend? Add one of " + ", ".join(f"@{name}" for name in backends)
        )
    if not backends and not set(KERAS) & named.keys():
        known = (*KERAS, *PROVIDES)
        (*_, first) = (nearest(name, known) for name in named)
        raise WordError(f"{text!r}: brings no Keras{first}")
    backend = backend or (backends[0] if backends else "tensorflow")
    added = [need for need in NEEDS[backend] if need.partition("[")[0] not in named]
    if "tensorflow" in backends:  # whichever of its packages
        added = [name for name in added if name != "tensorflow"]
    if not set(KERAS) & named.keys() and backends != ["tensorflow"]:
        added.append("keras")
    return Wanted(text, tuple(named), (*named.values(), *added), backend)


def _split(listed: str) -> list[str]:
    """At the commas between requirements, not at those inside one: keras>=3,<3.2,jax."""
    parts: list[str] = []
    for part in listed.split(","):
        if parts and re.match(r"\s*[=<>!~]", part):
            parts[-1] += "," + part
        else:
            parts.append(part)
    return parts


# --- what it means --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Python:
    """An interpreter, and what of it decides which packages fit."""

    path: str
    version: str

    @property
    def platform(self) -> str:
        return f"{self.version} {platform.system()} {platform.machine()}"


@dataclass(frozen=True)
class Package:
    name: str
    version: str
    published: datetime | None = None


@dataclass(frozen=True)
class Environment:
    """Resolved packages for one Python. as_of: the day on which they were the newest, or "now"."""

    wanted: Wanted
    python: Python
    packages: tuple[Package, ...]
    as_of: str

    @property
    def pins(self) -> list[str]:
        return sorted(f"{package.name}=={package.version}" for package in self.packages)

    @property
    def key(self) -> str:
        return _digest(self.python.platform, *self.pins)

    @property
    def folder(self) -> Path:
        return environments() / self.key

    def make(self, tell: Callable[[str], None] = lambda stage: None) -> str:
        """Its interpreter; it is installed if it is not there. Raises Unmade."""
        if not (self.folder / _MARK).is_file():
            tell("installing")
            _clear_away()
            self._install()
        return str(_interpreter(self.folder))

    def _install(self) -> None:
        partial = environments() / f"{_PARTIAL}{os.getpid()}-{self.key}"
        about = {
            "requirements": list(self.wanted.requirements),
            "python": self.python.version,
            "packages": self.pins,
            "made": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        try:
            environments().mkdir(parents=True, exist_ok=True)
            installer().install(partial, self.python, self.pins)
            (partial / _MARK).write_text(json.dumps(about, indent=1), encoding="utf-8")
            shutil.rmtree(self.folder, ignore_errors=True)  # without its mark it is not whole
            with contextlib.suppress(OSError):  # somebody else was faster
                partial.rename(self.folder)
        except OSError as error:
            raise Unmade(f"its environment cannot be made: {_words(error)}") from None
        except _Failed as failure:
            raise Unmade("its environment cannot be made", str(failure)) from None
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def resolve(
    wanted: Wanted, python: Python, as_of: str | date = RELEASE, *, refresh: bool = False
) -> Environment:
    """Which version of everything is meant.

    as_of: "now" takes the newest of what the requirements leave open; a date, what was the newest
    on that day; "release", what was the newest when the last of the packages named came out, or in
    the first month after it in which they can be installed together (Keras 3.0 needed a TensorFlow
    that was still to come). What was resolved is believed for a day, and longer if there is no
    network. Raises Unmade.
    """
    asked = _digest(python.platform, str(as_of), *wanted.requirements)
    file = cache() / "resolutions" / f"{asked}.json"
    if not refresh and (known := _remembered(file, wanted, python, RESOLVED_FOR)):
        return known
    try:
        found = _resolve(wanted, python, as_of)
    except _Failed as failure:
        if known := _remembered(file, wanted, python, timedelta.max):
            return known
        raise Unmade("its requirements cannot be resolved", str(failure)) from None
    environment = Environment(wanted, python, *found)
    document = {
        "made": datetime.now(UTC).isoformat(),
        "as_of": environment.as_of,
        "packages": [[package.name, package.version] for package in environment.packages],
    }
    with contextlib.suppress(OSError):  # it only saves time
        file.parent.mkdir(parents=True, exist_ok=True)
        beside = file.with_suffix(f".{os.getpid()}")
        beside.write_text(json.dumps(document), encoding="utf-8")
        beside.replace(file)
    return environment


def _resolve(wanted: Wanted, python: Python, as_of: str | date) -> tuple[tuple[Package, ...], str]:
    lock = functools.partial(installer().lock, wanted.requirements, python)
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
        with contextlib.suppress(_Failed):
            return lock(_end_of(day)), day.isoformat()
        day += STEP
    return newest, NOW


def _end_of(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(days=1)


def _remembered(file: Path, wanted: Wanted, python: Python, most: timedelta) -> Environment | None:
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
        age = datetime.now(UTC) - datetime.fromisoformat(document["made"])
        packages = tuple(Package(name, version) for name, version in document["packages"])
        if age <= most:
            return Environment(wanted, python, packages, document["as_of"])
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return None


def newest(requirement: str, python: Python) -> str | None:
    """The newest version of a package that a requirement allows; None if there is none.

    Raises Unmade if the installer fails for another reason.
    """
    try:
        (found,) = installer().lock((requirement,), python, None, alone=True)
    except _Failed as failure:
        said = str(failure).lower()
        if any(words in said for words in ("no version", "no matching", "incompatible")):
            return None
        raise Unmade(f"{requirement}: versions cannot be listed", str(failure)) from None
    return found.version


# --- the installers -------------------------------------------------------------------------------


class _Failed(Exception):
    """What an installer said last."""


def _ran(*command: str, said: str = "") -> str:
    """What the command prints. Raises _Failed if it fails."""
    try:
        done = subprocess.run(
            command, input=said, capture_output=True, encoding="utf-8", errors="replace",
            process_group=0,  # Ctrl-C is for the host
        )  # fmt: skip
    except OSError as error:
        raise _Failed(_words(error)) from None
    if done.returncode:
        lines = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        raise _Failed("\n".join(lines[-LAST_LINES:]))
    return done.stdout


@dataclass(frozen=True)
class _Uv:
    path: str

    def lock(
        self,
        requirements: Sequence[str],
        python: Python,
        before: datetime | None,
        alone: bool = False,
    ) -> tuple[Package, ...]:
        options = ["--no-deps"] if alone else []
        # a release candidate is no answer, unless one is named
        early = any(_names_early(requirement) for requirement in requirements)
        options += ["--prerelease", "if-necessary-or-explicit" if early else "disallow"]
        if before is not None:
            options += ["--exclude-newer", before.strftime("%Y-%m-%dT%H:%M:%SZ")]
        text = _ran(
            *(self.path, "pip", "compile", "-", "--quiet", "--no-header"),
            *("--python", python.path, "--format", "pylock.toml", *options),
            said="\n".join(requirements),
        )
        packages = [
            Package(
                canonicalize_name(each["name"]),
                each["version"],
                min((w["upload-time"] for w in each["wheels"] if "upload-time" in w), default=None)
                if each.get("wheels")
                else None,
            )
            for each in tomllib.loads(text).get("packages", ())
        ]
        return _without_shadow(packages)

    def install(self, folder: Path, python: Python, pins: Sequence[str]) -> None:
        common = ("--quiet", "--python")
        _ran(self.path, "venv", "--relocatable", *common, python.path, str(folder))
        _ran(self.path, "pip", "install", "--no-deps", *common, str(_interpreter(folder)), *pins)

    def python(self, version: str) -> str:
        try:
            return _ran(self.path, "python", "find", "--no-project", version).strip()
        except _Failed:
            _ran(self.path, "python", "install", "--quiet", version)
            return _ran(self.path, "python", "find", "--no-project", version).strip()


@dataclass(frozen=True)
class _Pip:
    """Python's own venv and pip: slower, and without the dates of releases."""

    def lock(
        self,
        requirements: Sequence[str],
        python: Python,
        before: datetime | None,
        alone: bool = False,
    ) -> tuple[Package, ...]:
        options = ["--no-deps"] if alone else []
        if before is not None:
            options += ["--uploaded-prior-to", before.isoformat()]
        text = _ran(
            *(python.path, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"),
            *("--dry-run", "--ignore-installed", "--report", "-", *options, *requirements),
        )
        found = [each["metadata"] for each in json.loads(text)["install"]]
        return _without_shadow(
            [Package(canonicalize_name(each["name"]), each["version"]) for each in found]
        )

    def install(self, folder: Path, python: Python, pins: Sequence[str]) -> None:
        _ran(python.path, "-m", "venv", str(folder))
        _ran(
            *(str(_interpreter(folder)), "-m", "pip", "install", "--quiet", "--no-deps"),
            *("--disable-pip-version-check", *pins),
        )

    def python(self, version: str) -> str:
        raise _Failed(f"no python{version} on the PATH")


def _names_early(requirement: str) -> bool:
    """Whether it asks for a version that is no release: a nightly build, a release candidate."""
    asked = Requirement(requirement)
    return "nightly" in asked.name or bool(asked.specifier.prereleases)


def _without_shadow(packages: Sequence[Package]) -> tuple[Package, ...]:
    """keras-nightly and keras are one folder: who wants the first must not get the second."""
    shadowed = "keras" if any(p.name == "keras-nightly" for p in packages) else ""
    return tuple(package for package in packages if package.name != shadowed)


@functools.cache
def installer() -> _Uv | _Pip:
    """uv, which is installed with rnn_check or stands on the PATH; else pip."""
    if importlib.util.find_spec("uv") is not None:
        from uv import find_uv_bin

        with contextlib.suppress(FileNotFoundError):
            return _Uv(os.fspath(find_uv_bin()))
    path = shutil.which("uv")
    return _Pip() if path is None else _Uv(path)


# --- interpreters ---------------------------------------------------------------------------------


def find_python(wanted: str | None = None) -> Python:
    """This Python; or one of a version (3.10), or at a path. Raises WordError if there is none."""
    if wanted is None:
        return Python(sys.executable, platform.python_version())
    if not re.fullmatch(r"\d+\.\d+(\.\d+)?", wanted):
        found = _asked_for_version(wanted)
        if found is None:
            raise WordError(f"{wanted!r} is neither a version such as 3.10 nor a Python to be run")
        return Python(wanted, found)
    for path in _candidates(wanted):
        found = _asked_for_version(path)
        if found is not None and (found + ".").startswith(wanted + "."):
            return Python(path, found)
    try:
        path = installer().python(wanted)
        return Python(path, _asked_for_version(path) or wanted)
    except _Failed as failure:
        reason = (str(failure).splitlines() or [""])[0].removeprefix("error: ")
        raise WordError(f"Python {wanted} is not available here: {reason}") from None


def _candidates(version: str) -> Iterator[str]:
    """Where a Python of that version may be: this one, on the PATH, among pyenv's."""
    yield sys.executable
    name = f"python{'.'.join(version.split('.')[:2])}"
    for folder in os.get_exec_path():
        if path := shutil.which(name, path=folder):
            yield path
    root = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    yield from map(str, sorted(root.glob(f"versions/{version}*/bin/python"), reverse=True))


def _asked_for_version(path: str) -> str | None:
    with contextlib.suppress(_Failed):
        return _ran(path, "-I", "-c", "import platform; print(platform.python_version())").strip()
    return None


# --- the cache ------------------------------------------------------------------------------------

_MARK = "rnn_check.json"  # written last: an environment that has it is whole
_PARTIAL = ".partial-"


def cache() -> Path:
    """The user's cache folder of rnn_check."""
    return platformdirs.user_cache_path("rnn_check", appauthor=False)


def environments() -> Path:
    return cache() / "environments"


@dataclass(frozen=True)
class Cached:
    """An environment in the cache."""

    key: str
    about: dict[str, Any]
    size: int  # bytes; files shared with the installer's own cache count


def cached() -> list[Cached]:
    """The environments in the cache, the latest first."""
    found = []
    for mark in environments().glob(f"*/{_MARK}"):
        with contextlib.suppress(OSError, ValueError):
            about = json.loads(mark.read_text(encoding="utf-8"))
            found.append(Cached(mark.parent.name, about, _size(mark.parent)))
    return sorted(found, key=lambda each: str(each.about.get("made")), reverse=True)


def clear() -> int:
    """Remove every environment, resolution and answer from the cache; how many bytes there were.

    Raises OSError if something cannot be removed.
    """
    freed = 0
    for name in ("environments", "resolutions", "answers"):
        folder = cache() / name
        if folder.is_dir():
            freed += _size(folder)
            shutil.rmtree(folder)
    return freed


def _size(folder: Path) -> int:
    return sum(
        os.lstat(os.path.join(root, name)).st_size
        for root, _, files in os.walk(folder)
        for name in files
    )


def _clear_away() -> None:
    """What processes that were killed left half-made."""
    for partial in environments().glob(f"{_PARTIAL}*"):
        maker = int(partial.name.removeprefix(_PARTIAL).partition("-")[0])
        try:
            os.kill(maker, 0)
        except ProcessLookupError:
            shutil.rmtree(partial, ignore_errors=True)
        except OSError:  # it lives, as somebody else's
            continue


def _interpreter(folder: Path) -> Path:
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def _digest(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:20]


def _words(error: OSError) -> str:
    return error.strerror or str(error)
