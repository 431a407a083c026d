"""Is it known that this subject gets this wrong?

Known deviations are data: a TOML file of entries, each of which names subjects (version ranges,
backend, mode, dtype policy), claims, what is seen there, why, and where it was reported. They are
strict: an entry whose subject no longer shows it turns the run red, and one that speaks of no claim
is an error. What is known to be wrong with a *claim* stands in the claim (`known_to_differ`).
"""

from __future__ import annotations

import dataclasses
import difflib
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from itertools import groupby
from pathlib import Path
from typing import Any, Literal

import msgspec
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import InvalidVersion, Version

from rnn_check.claim import Claim
from rnn_check.judge import AGREE, Setting, Verdict
from rnn_check.written import ClaimError, nearest

Words = str | list[str]


class Deviation(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """One entry: which subjects show what on which claims, and why.

    claim: names, or patterns (`options/mask*`), of claims. what: the same of their expectations,
    each of which has to show it; without it, at least one expectation of each claim has to.
    keras, backend_version, numpy, python: version specifiers (">=3.0,<3.16"). backend, mode, dtype:
    names; those left out, any. says: what the verdict's detail has to hold. reproducer: a script
    beside the file.
    """

    claim: Words
    seen: Literal["differ", "error", "not_run"]
    why: str
    what: Words = "*"
    says: str = ""
    keras: str = ""
    backend_version: str = ""
    numpy: str = ""
    python: str = ""
    backend: Words = "*"
    mode: Words = "*"
    dtype: Words = "*"
    link: str = ""
    reproducer: str = ""

    def is_of(self, subject: Mapping[str, Any], setting: Setting) -> bool:
        """Whether it speaks of this subject. Of a layer of the user's own it never does."""
        versions = all(
            _within(str(subject.get(package, "")), getattr(self, package)) for package in _VERSIONS
        )
        named = {**subject, "mode": setting.mode, "dtype": setting.dtype}
        return (
            setting.layer is None
            and versions
            and all(_matches(str(named.get(k, "")), getattr(self, k)) for k in _NAMES)
        )

    def is_about(self, claim: str) -> bool:
        return _matches(claim, self.claim)


_VERSIONS = ("keras", "backend_version", "numpy", "python")
_NAMES = ("backend", "mode", "dtype")


class _File(msgspec.Struct, forbid_unknown_fields=True):
    schema: Literal[1]
    deviation: list[Deviation] = []


def bundled() -> Path:
    """The file of the deviations that come with rnn_check."""
    package = Path(__file__).resolve().parent
    inside = package / "known"
    return (inside if inside.is_dir() else package.parent / "known") / "deviations.toml"


def load(file: Path) -> list[Deviation]:
    """The entries of a file; ClaimError if anything is wrong with it."""
    try:
        document = tomllib.loads(file.read_bytes().decode())
    except UnicodeDecodeError as error:
        raise ClaimError(file, "", f"not UTF-8 text (byte {error.start})") from None
    except OSError as error:
        raise ClaimError(file, "", f"cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise ClaimError(file, "", f"not TOML: {error}") from None
    try:
        entries = msgspec.convert(document, _File).deviation
    except msgspec.ValidationError as error:
        raise _explain(str(error), document, file) from None
    for i, entry in enumerate(entries):
        for key, problem in _problems(entry, file):
            raise ClaimError(file, f"deviation[{i}].{key}", problem)
    return entries


def _problems(entry: Deviation, file: Path) -> Iterable[tuple[str, str]]:
    """What the types alone do not see."""
    if not entry.why.strip():
        yield "why", "must not be empty"
    for key in ("claim", "what", *_NAMES):
        if not all(_words(getattr(entry, key))) or not _words(getattr(entry, key)):
            yield key, "must not be empty"
    for key in _VERSIONS:
        try:
            SpecifierSet(getattr(entry, key))
        except InvalidSpecifier:
            yield key, f'expected versions, ">=3.0,<3.16", got {getattr(entry, key)!r}'
    from rnn_check.subject import BACKENDS

    modes = {mode for backend in BACKENDS.values() for mode in backend.modes}
    for key, known in (("backend", set(BACKENDS)), ("mode", modes)):
        for word in _words(getattr(entry, key)):
            if word != "*" and word not in known:
                yield key, f"unknown {key} {word!r}{nearest(word, known)}"
    if entry.reproducer and not (file.parent / entry.reproducer).is_file():
        yield "reproducer", f"no such file: {file.parent / entry.reproducer}"


def _explain(message: str, document: Any, file: Path) -> ClaimError:
    problem, _, where = message.partition(" - at ")
    path = where.strip("`").removeprefix("$").removeprefix(".")
    inside = path.startswith("deviation[")
    if unknown := re.fullmatch(r"Object contains unknown field `(.*)`", problem):
        known = (Deviation if inside else _File).__struct_fields__
        key = f"{path}.{unknown[1]}".lstrip(".")
        return ClaimError(file, key, f"unknown key{nearest(unknown[1], known)}")
    if missing := re.fullmatch(r"Object missing required field `(.*)`", problem):
        return ClaimError(file, f"{path}.{missing[1]}".lstrip("."), "required key is missing")
    if path == "schema":
        said = document.get("schema")
        return ClaimError(file, path, f"this version reads schema 1, the file says {said!r}")
    if seen := re.fullmatch(r"deviation\[(\d+)\]\.seen", path):
        said = document["deviation"][int(seen[1])]["seen"]
        known = ("differ", "error", "not_run")
        return ClaimError(file, path, f"unknown verdict {said!r}{nearest(str(said), known)}")
    return ClaimError(file, path, problem[:1].lower() + problem[1:].replace("`", ""))


def check(entries: Iterable[Deviation], claims: Iterable[Claim], file: Path) -> None:
    """ClaimError if an entry speaks of a claim, or of an expectation, that is not among these."""
    claims = list(claims)
    for i, entry in enumerate(entries):
        for pattern in _words(entry.claim):
            about = [claim for claim in claims if _matches(claim.name, pattern)]
            if not about:
                close = difflib.get_close_matches(pattern, [c.name for c in claims], 1)
                hint = f"; did you mean `{close[0]}`?" if close else ""
                raise ClaimError(
                    file, f"deviation[{i}].claim", f"no claim is called {pattern!r}{hint}"
                )
            names = [e.name for claim in about for e in claim.expectations]
            for what in _words(entry.what):
                if not any(_matches(name, what) for name in names):
                    raise ClaimError(
                        file,
                        f"deviation[{i}].what",
                        f"{pattern} expects nothing called {what!r}{nearest(what, set(names))}",
                    )


def mark(
    verdicts: Sequence[Verdict],
    entries: Iterable[Deviation],
    subject: Mapping[str, Any],
    setting: Setting,
) -> list[Verdict]:
    """The verdicts on one subject, those with a known deviation saying so (`Verdict.deviation`).

    What is seen as an entry says is excused. Where an entry's subject does not show it any more,
    the verdicts that agree instead carry it too, which makes them red.
    """
    own = [entry for entry in entries if entry.is_of(subject, setting)]
    marked: list[Verdict] = []
    for claim, group in groupby(verdicts, key=lambda v: v.claim):
        rows = list(group)
        for entry in own:
            if entry.is_about(claim):
                rows = _mark_claim(rows, entry)
        marked += rows
    return marked


def _mark_claim(rows: list[Verdict], entry: Deviation) -> list[Verdict]:
    meant = [i for i, v in enumerate(rows) if _matches(v.what, entry.what)]
    shown = [i for i in meant if rows[i].verdict == entry.seen and entry.says in rows[i].detail]
    gone = [i for i in meant if rows[i].verdict == AGREE]
    if entry.what == "*":  # of the claim as a whole: one that shows it is enough
        gone = [] if shown else gone[:1]
    why = entry.why + (f" ({entry.link})" if entry.link else "")
    return [
        dataclasses.replace(v, deviation=v.deviation or why) if i in (*shown, *gone) else v
        for i, v in enumerate(rows)
    ]


def _words(words: Words) -> list[str]:
    return [words] if isinstance(words, str) else words


def _matches(name: str, patterns: Words) -> bool:
    """A name as it stands is a pattern too, whatever signs it holds."""
    return any(name == pattern or fnmatchcase(name, pattern) for pattern in _words(patterns))


def _within(version: str, specifier: str) -> bool:
    """Whether the version is in the range; OpenVINO's "2025.3.0-19807-…" counts as its release."""
    if not specifier:
        return True
    try:
        parsed = Version(version)
    except InvalidVersion:
        release = re.match(r"\d+(\.\d+)*", version)
        if release is None:
            return False
        parsed = Version(release[0])
    return SpecifierSet(specifier).contains(parsed, prereleases=True)
