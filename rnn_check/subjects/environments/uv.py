"""What does uv resolve and install, and from where?

Where packages come from is what its environment variables say (an index, a folder, a configuration
that UV_CONFIG_FILE names), never a uv.toml or pyproject.toml that happens to lie in this folder or
the user's.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.util
import os
import re
import shutil
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from rnn_check.subjects.ask import SubjectError
from rnn_check.subjects.environments.programs import Failed, ran


class Unmade(SubjectError):
    """An environment that cannot be made. `stderr`: the installer's last lines."""


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
class Uv:
    path: str

    def _ran(self, *arguments: str, said: str = "") -> str:
        return ran(self.path, "--no-config", *arguments, said=said)

    def lock(
        self,
        requirements: Sequence[str],
        python: str,
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
            *("--python", python, "--format", "pylock.toml", *options),
            said="\n".join(requirements),
        )
        return _without_shadow(list(map(_package, tomllib.loads(text).get("packages", ()))))

    def install(self, folder: Path, python: str, requirements: Sequence[str]) -> None:
        common = ("--quiet", "--python")
        self._ran("venv", "--relocatable", *common, python, str(folder))
        options = ["--no-deps"]
        if all("--hash=" in requirement for requirement in requirements):
            options.append("--require-hashes")
        self._ran(
            *("pip", "install", *common, str(interpreter(folder)), *options, "-r", "-"),
            said="\n".join(requirements),
        )

    def python(self, version: str) -> str:
        find = ("python", "find", "--no-project", version)
        try:
            return self._ran(*find).strip()
        except Failed:
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
def installer() -> Uv:
    """uv, which is installed with rnn_check or stands on the PATH. Raises Unmade."""
    if importlib.util.find_spec("uv") is not None:
        from uv import find_uv_bin

        with contextlib.suppress(FileNotFoundError):
            return Uv(os.fspath(find_uv_bin()))
    path = shutil.which("uv")
    if path is None:
        raise Unmade("uv, which makes environments, is not installed: python -m pip install uv")
    return Uv(path)


def source() -> str:
    """Where packages come from, and how they are chosen: whatever the environment tells uv.

    Digested: an index's address may hold a password.
    """
    values = {name: os.environ[name] for name in told()}
    with contextlib.suppress(OSError):
        values["UV_CONFIG_FILE"] = Path(values.get("UV_CONFIG_FILE", "")).read_text(
            errors="replace"
        )
    return digest(*(f"{name}={value}" for name, value in values.items())) if values else ""


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


def interpreter(folder: Path) -> Path:
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def digest(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode(errors="surrogateescape")).hexdigest()[:20]
