"""Which packages stand in a subject's environment, and where is it?

    wanted = parse("keras==3.12.0,jax==0.7.2@jax")      # what somebody typed
    environment = resolve(wanted, find_python("3.11"))  # which files of everything that means
    with environment.held() as interpreter:             # made at the first call, found at the next
        ...                                             # and not removed as long as this lasts

uv resolves and installs. Where packages come from is what its environment variables say (an index,
a folder, a configuration that UV_CONFIG_FILE names), never a uv.toml or pyproject.toml that happens
to lie in this folder or the user's. Environments stand in a cache folder of the user, one for each
set of files (by their hashes), source and Python. Each is made beside its place and moved there
whole, by one process and thread at a time; one that is damaged is made anew. rnn_check is not
installed in them: the folder `asked` runs there as a script.
"""

from __future__ import annotations

import contextlib
import csv
import functools
import glob
import hashlib
import importlib.util
import os
import platform
import re
import secrets
import shutil
import signal
import subprocess
import sys
import threading
import time
import tomllib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import filelock
import msgspec
import platformdirs
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion

from rnn_check.refusal import Refused, nearest
from rnn_check.subjects.ask import BACKENDS, SubjectError
from rnn_check.subjects.asked.machine import cache_folder
from rnn_check.subjects.process import LAST_LINES
from rnn_check.subjects.whole import written_whole

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
_LOOK = 0.5  # seconds from one look at what is waited for to the next
RESOLVED_FOR = timedelta(days=1)  # how long "the newest" is taken for the newest
STEP, STEPS = timedelta(days=30), 12  # how long after a release its companions are waited for


class WordError(Refused):
    """A word that names no subject."""


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
    """hashes: of the files that it may be installed from, "sha256:…"; none if nobody tells."""

    name: str
    version: str
    published: datetime | None = None
    hashes: tuple[str, ...] = ()

    @property
    def pin(self) -> str:
        return f"{self.name}=={self.version}"


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
        return _digest(self.python.platform, self.source, *self.requirements)

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
                with _locked(self.key, tell):
                    if _damage(self.folder, self.pins):
                        self._wait_until_free(tell)
                        tell("installing")
                        _clear_away()
                        self._install()
                    holding.enter_context(_using(self.key))
            except (OSError, NotImplementedError) as error:  # no file can be locked there
                if _damage(self.folder, self.pins):  # and where it is whole, nobody can remove it
                    raise Unmade(f"its environment cannot be made: {_words(error)}") from None
            except _Failed as failure:
                raise Unmade("its environment cannot be made", str(failure)) from None
            with contextlib.suppress(OSError):  # only `cache` wants to know
                os.utime(self.folder / _MARK)
            yield str(_interpreter(self.folder))

    def _wait_until_free(self, tell: Callable[[str], None]) -> None:
        """Only for whoever holds the lock, so that nobody comes to use it meanwhile."""
        while _is_used(self.key):
            tell("waiting for another run, which uses it, to make it anew")
            _installers.check()
            time.sleep(_LOOK)

    def _install(self) -> None:
        """Beside its place, then there as a whole. Only for whoever holds the lock."""
        partial, damaged = _beside(self.key), _beside(self.key)
        try:
            environments().mkdir(parents=True, exist_ok=True)
            installer().install(partial, self.python, self.requirements)
            about = About(
                requirements=list(self.wanted.requirements),
                python=self.python.version,
                packages=self.pins,
                made=datetime.now(UTC).isoformat(timespec="seconds"),
                absent=_absent(partial, self.pins),
            )
            mark = msgspec.json.format(msgspec.json.encode(about), indent=1)
            (partial / _MARK).write_text(mark.decode(), encoding="utf-8")
            with contextlib.suppress(FileNotFoundError):
                self.folder.rename(damaged)
            partial.rename(self.folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
            shutil.rmtree(damaged, ignore_errors=True)


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
    asked = _digest(python.platform, str(as_of), of, *wanted.requirements)
    file = cache() / "resolutions" / f"{asked}.json"
    known = _remembered(file, wanted)
    if known is not None and not refresh and timedelta() <= known.age <= RESOLVED_FOR:
        return Environment(wanted, python, known.found, known.as_of, of)
    try:
        environment = Environment(wanted, python, *_resolve(wanted, python, as_of), of)
    except _Failed as failure:
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


def source() -> str:
    """Where packages come from, and how they are chosen: whatever the environment tells uv.

    Digested: an index's address may hold a password.
    """
    values = {name: os.environ[name] for name in told()}
    with contextlib.suppress(OSError):
        values["UV_CONFIG_FILE"] = Path(values.get("UV_CONFIG_FILE", "")).read_text(
            errors="replace"
        )
    return _digest(*(f"{name}={value}" for name, value in values.items())) if values else ""


def told() -> list[str]:
    """The environment variables that tell uv where packages come from, or which to take."""
    return sorted(n for n in os.environ if n.startswith("UV_") and not _ONLY_HOW.fullmatch(n))


# what changes how things are fetched and shown, and nothing about what comes
_ONLY_HOW = re.compile(
    r"UV_(CACHE_DIR|NO_CACHE|OFFLINE|NATIVE_TLS|SYSTEM_CERTS|INSECURE_HOST|HTTP_\w+|REQUEST_\w+"
    r"|CONCURRENT_\w+|LINK_MODE|COMPILE_BYTECODE|PYTHON_\w+|MANAGED_PYTHON|NO_MANAGED_PYTHON"
    r"|NO_PROGRESS|KEYRING_PROVIDER|INDEX_\w+_(USERNAME|PASSWORD)|TOOL_\w+|LOG_CONTEXT"
    r"|LOCK_TIMEOUT|RUN_RECURSION_DEPTH|PROJECT\w*|ENV_FILE|NO_ENV_FILE|WORKING_DIR\w*"
    r"|NO_CONFIG|NO_WRAP|STACK_SIZE|CREDENTIALS_DIR)"
)


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


class _Installers:
    """The installers that run, so that an interrupted host can end them and what they started."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[str]] = set()
        self._stopped = False

    def run(self, command: Sequence[str], said: str) -> tuple[int, str, str]:
        """Exit code, stdout and stderr. Raises OSError if it cannot be started."""
        with self._lock:
            self.check()
            process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                encoding="utf-8", errors="replace",
                process_group=0,  # Ctrl-C is for the host
            )  # fmt: skip
            self._running.add(process)
        try:
            out, err = process.communicate(said)
        except BaseException:
            _kill(process)
            process.communicate()
            raise
        finally:
            with self._lock:
                self._running.remove(process)
        return process.returncode, out, err

    def check(self) -> None:
        """Raises _Failed if nothing is to be started any more."""
        if self._stopped:
            raise _Failed("interrupted")

    def start(self) -> None:
        self._stopped = False

    def stop(self) -> int:
        """End all, from another thread than those that wait for them; how many there were."""
        with self._lock:
            self._stopped = True
            for process in self._running:
                _kill(process)
            return len(self._running)


def _kill(process: subprocess.Popen[str]) -> None:
    """It and whatever it started, which is in its group."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


_installers = _Installers()


@contextlib.contextmanager
def interruptible(tell: Callable[[int], None] = lambda many: None) -> Iterator[None]:
    """Where threads resolve and install: Ctrl-C in here ends what they wait for at once.

    tell: is told how many installers were ended, if any were.
    """
    _installers.start()
    try:
        yield
    except BaseException:
        if many := _installers.stop():
            tell(many)
        raise


def _ran(*command: str, said: str = "") -> str:
    """What the command prints. Raises _Failed if it fails."""
    try:
        code, out, err = _installers.run(command, said)
    except OSError as error:
        raise _Failed(_words(error)) from None
    if code:
        lines = [line for line in (err or out).splitlines() if line.strip()]
        raise _Failed("\n".join(lines[-LAST_LINES:]) or f"{command[0]} ended with {code}")
    return out


@dataclass(frozen=True)
class _Uv:
    path: str

    def _ran(self, *arguments: str, said: str = "") -> str:
        return _ran(self.path, "--no-config", *arguments, said=said)

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
        text = self._ran(
            *("pip", "compile", "-", "--quiet", "--no-header"),
            *("--python", python.path, "--format", "pylock.toml", *options),
            said="\n".join(requirements),
        )
        return _without_shadow(list(map(_package, tomllib.loads(text).get("packages", ()))))

    def install(self, folder: Path, python: Python, requirements: Sequence[str]) -> None:
        common = ("--quiet", "--python")
        self._ran("venv", "--relocatable", *common, python.path, str(folder))
        options = ["--no-deps"]
        if all("--hash=" in requirement for requirement in requirements):
            options.append("--require-hashes")
        self._ran(
            *("pip", "install", *common, str(_interpreter(folder)), *options, "-r", "-"),
            said="\n".join(requirements),
        )

    def python(self, version: str) -> str:
        find = ("python", "find", "--no-project", version)
        try:
            return self._ran(*find).strip()
        except _Failed:
            self._ran("python", "install", "--quiet", version)
            return self._ran(*find).strip()


def _package(locked: dict[str, Any]) -> Package:
    """Of an entry of a pylock.toml."""
    wheels = locked.get("wheels") or []
    sources = [locked[kind] for kind in ("sdist", "archive") if kind in locked]
    return Package(
        canonicalize_name(locked["name"]),
        locked["version"],
        min((wheel["upload-time"] for wheel in wheels if "upload-time" in wheel), default=None),
        tuple(
            sorted(
                f"{kind}:{digest}"
                for file in (*wheels, *sources)
                for kind, digest in file.get("hashes", {}).items()
            )
        ),
    )


def _names_early(requirement: str) -> bool:
    """Whether it asks for a version that is no release: a nightly build, a release candidate."""
    asked = Requirement(requirement)
    return "nightly" in asked.name or bool(asked.specifier.prereleases)


def _without_shadow(packages: Sequence[Package]) -> tuple[Package, ...]:
    """keras-nightly and keras are one folder: who wants the first must not get the second."""
    shadowed = "keras" if any(p.name == "keras-nightly" for p in packages) else ""
    return tuple(package for package in packages if package.name != shadowed)


@functools.cache
def installer() -> _Uv:
    """uv, which is installed with rnn_check or stands on the PATH. Raises Unmade."""
    if importlib.util.find_spec("uv") is not None:
        from uv import find_uv_bin

        with contextlib.suppress(FileNotFoundError):
            return _Uv(os.fspath(find_uv_bin()))
    path = shutil.which("uv")
    if path is None:
        raise Unmade("uv, which makes environments, is not installed: python -m pip install uv")
    return _Uv(path)


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
    except Unmade as error:
        raise WordError(f"Python {wanted} is not available here: {error.message}") from None


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

_MARK = "rnn_check.json"  # written last: an environment that has it was whole
_PARTIAL = ".partial-"  # then the key, then what is random


class About(msgspec.Struct):
    """What an environment is; its mark says so.

    absent: what its packages list and did not bring.
    """

    requirements: list[str]
    python: str
    packages: list[str]
    made: str
    absent: list[str] = []


def cache() -> Path:
    """The user's cache folder of rnn_check."""
    return platformdirs.user_cache_path("rnn_check", appauthor=False)


def environments() -> Path:
    return cache() / "environments"


def _about(folder: Path) -> About | None:
    with contextlib.suppress(OSError, ValueError):
        return msgspec.json.decode((folder / _MARK).read_bytes(), type=About)
    return None


def _damage(folder: Path, pins: Sequence[str]) -> str:
    """What is wrong with an environment; "" if it is whole. It may not be there at all.

    Python may have been moved, files may be lost where a cache was restored: all are looked for,
    none is read.
    """
    about = _about(folder)
    if about is None:
        return "it was not finished"
    if about.packages != list(pins):
        return "it holds other packages"
    if not os.access(_interpreter(folder), os.X_OK):  # the end of a link
        return "its Python is gone"
    gone = set(_absent(folder, pins)) - set(about.absent)
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


@contextlib.contextmanager
def _locked(key: str, tell: Callable[[str], None] = lambda stage: None) -> Iterator[None]:
    """Only one thread of one process at a time is in here with that key.

    Raises OSError or NotImplementedError if there can be no lock, _Failed if it is interrupted.
    """
    lock = _lock(key)
    while True:
        try:
            lock.acquire(timeout=_LOOK)
            break
        except filelock.Timeout:
            tell("waiting for another run, which installs it")
            _installers.check()
    try:
        yield
    finally:
        lock.release()


def _lock(name: str) -> filelock.BaseFileLock:
    (cache() / "locks").mkdir(parents=True, exist_ok=True)
    return filelock.FileLock(cache() / "locks" / f"{name}.lock")


@contextlib.contextmanager
def _locked_at_once(key: str) -> Iterator[bool]:
    """Whether nobody else is in there."""
    lock = _lock(key)
    try:
        lock.acquire(blocking=False)
    except filelock.Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


@contextlib.contextmanager
def _using(key: str) -> Iterator[None]:
    """In here the environment of that key is in use: each user locks a file of its own.

    To be entered only by whoever holds the lock of the key, under which others look. What a process
    locked is free when it has ended, however that was.
    """
    lock = _lock(f"{key}.{secrets.token_hex(4)}")
    lock.acquire(blocking=False)
    try:
        yield
    finally:
        lock.release()
        with contextlib.suppress(OSError):
            os.unlink(lock.lock_file)


def _is_used(key: str) -> bool:
    """Whether somebody is using it, for whoever holds the lock of the key."""
    for file in (cache() / "locks").glob(f"{glob.escape(key)}.*.lock"):
        lock = filelock.FileLock(file)
        try:
            lock.acquire(blocking=False)
        except filelock.Timeout:
            return True
        lock.release()
        with contextlib.suppress(OSError):  # whoever it was, was killed
            os.unlink(file)
    return False


def _beside(key: str) -> Path:
    return environments() / f"{_PARTIAL}{key}-{secrets.token_hex(4)}"


def _clear_away() -> None:
    """What processes that were killed left half-made: nobody holds its lock."""
    for partial in environments().glob(f"{_PARTIAL}*"):
        made = re.fullmatch(rf"{re.escape(_PARTIAL)}([0-9a-f]{{20}})-[0-9a-f]+", partial.name)
        if made is None:  # somebody else's
            continue
        with contextlib.suppress(OSError), _locked_at_once(made[1]) as free:
            if free:
                shutil.rmtree(partial, ignore_errors=True)


@dataclass(frozen=True)
class Cached:
    """An environment in the cache.

    about: None if it is not whole. used: when it was used last. size: in bytes; files shared with
    uv's own cache count.
    """

    key: str
    about: About | None
    used: datetime
    size: int


def cached() -> list[Cached]:
    """The environments in the cache, the last used first. Files that are none are left out."""
    found = []
    for folder in environments().glob("*"):
        with contextlib.suppress(OSError):
            if not folder.is_dir():
                continue
            mark = folder / _MARK
            used = (mark if mark.exists() else folder).stat().st_mtime
            about = None if folder.name.startswith(_PARTIAL) else _about(folder)
            found.append(
                Cached(folder.name, about, datetime.fromtimestamp(used, UTC), _size(folder))
            )
    return sorted(found, key=lambda each: (each.used, each.key), reverse=True)


class Unremoved(Refused):
    """What cannot be removed from the cache."""


def keyed(found: Sequence[Cached], keys: Iterable[str]) -> list[Cached]:
    """Those that the keys, or their first characters, name. Raises WordError."""
    chosen = []
    for key in keys:
        meant = [each for each in found if key and each.key.startswith(key)]
        if len(meant) != 1:
            which = f"{len(meant)} environments have" if meant else "no environment has"
            raise WordError(f"{which} a key that starts with {key!r}; `cache list` shows them")
        chosen += meant
    return list({each.key: each for each in chosen}.values())


def unused(
    found: Sequence[Cached], older_than: timedelta | None = None, size: int | None = None
) -> list[Cached]:
    """Those not used for so long; and all but the last used that together are no larger.

    What is in use counts among the last used.
    """
    now = datetime.now(UTC)
    chosen, kept = [], 0
    used = {each.key: _is_taken(each.key) for each in found}
    for each in sorted(found, key=lambda each: (used[each.key], each.used), reverse=True):
        old = older_than is not None and now - each.used > older_than
        goes = old or (size is not None and kept + each.size > size)
        if goes:
            chosen.append(each)
        if used[each.key] or not goes:
            kept += each.size
    return chosen


def _is_taken(name: str) -> bool:
    """Whether a run uses or installs it now; where no file can be locked, nobody knows."""
    with contextlib.suppress(OSError, NotImplementedError), _locked_at_once(_key(name)) as free:
        return not free or _is_used(name)
    return False


def _key(name: str) -> str:
    """Of a folder in the cache, also of one that is half-made."""
    return name.removeprefix(_PARTIAL)[:20]


@dataclass
class Cleared:
    """freed: bytes that there were. left: what another run needs, and how; words of a line."""

    freed: int = 0
    left: list[str] = field(default_factory=list)


def remove(chosen: Iterable[Cached]) -> Cleared:
    """Remove these environments, but those that a run installs or uses. Raises Unremoved."""
    cleared = Cleared()
    for each in chosen:
        with _unremoved(environments() / each.key), _locked_at_once(_key(each.key)) as free:
            if not free:
                cleared.left.append(f"{each.key} is being installed by another run")
            elif _is_used(each.key):
                cleared.left.append(f"{each.key} is in use by another run")
            else:
                (environments() / each.key / _MARK).unlink(missing_ok=True)  # now it is not whole
                shutil.rmtree(environments() / each.key)
                cleared.freed += each.size
    return cleared


def forget(older_than: timedelta) -> int:
    """Remove resolutions and answers that are older; how many bytes there were."""
    freed, now = 0, datetime.now(UTC).timestamp()
    for name in ("resolutions", "answers"):
        for file in (cache() / name).glob("*"):
            with _unremoved(file):
                about = file.lstat()
                if now - about.st_mtime > older_than.total_seconds():
                    file.unlink()
                    freed += about.st_size
    return freed


def clear() -> Cleared:
    """Remove everything: environments, resolutions, answers, what jax compiled.

    But what another run installs or uses. Raises Unremoved. Locks stay: somebody may wait for one.
    """
    cleared = remove(cached())
    compiled = Path(cache_folder("jax")).parent
    for folder in (cache() / "resolutions", cache() / "answers", compiled):
        if folder.is_dir():
            size = _size(folder)
            with _unremoved(folder):
                shutil.rmtree(folder)
                cleared.freed += size
    for file in environments().glob("*"):  # strays; a folder may have come to be installed in
        if not file.is_dir():
            with _unremoved(file):
                size = file.lstat().st_size
                file.unlink()
                cleared.freed += size
    with contextlib.suppress(OSError):  # that is not empty, or not there
        environments().rmdir()
    return cleared


@contextlib.contextmanager
def _unremoved(path: Path) -> Iterator[None]:
    """An error in here says which entry of the cache it is about: rmtree names a mere part."""
    try:
        yield
    except FileNotFoundError:  # somebody else removed it
        return
    except (OSError, NotImplementedError) as error:
        file = getattr(error, "filename", None)
        part = f" ({file})" if file else ""
        raise Unremoved(f"{path} cannot be removed: {_words(error)}{part}") from None


def _size(folder: Path) -> int:
    size = 0
    for root, _, files in os.walk(folder):
        for name in files:
            with contextlib.suppress(OSError):  # removed meanwhile
                size += os.lstat(os.path.join(root, name)).st_size
    return size


def _interpreter(folder: Path) -> Path:
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def _digest(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode(errors="surrogateescape")).hexdigest()[:20]


def _words(error: OSError | NotImplementedError) -> str:
    return getattr(error, "strerror", None) or str(error)
