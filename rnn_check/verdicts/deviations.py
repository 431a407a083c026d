"""What is known to be wrong, of which subjects, and how is it written down?

Known deviations are data: a TOML file of entries, each of which says which subjects (version
ranges, backend, mode, dtype policy) do what with which layers, how it is seen, why, and which
script shows it. They are recognised by what was done, not by the names of claims, so that they hold
for anybody's. What is known to be wrong with a *claim* stands in the claim (`known_to_differ`).
"""

from __future__ import annotations

import functools
import re
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, ClassVar, Literal

import msgspec
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import InvalidVersion, Version

from rnn_check.asking.request import Setting
from rnn_check.claims import files
from rnn_check.claims.claim import Claim
from rnn_check.claims.conversion import explained
from rnn_check.claims.expectations.configuration import Configured
from rnn_check.claims.expectations.expectation import KINDS as WHATS
from rnn_check.claims.expectations.expectation import Expectation
from rnn_check.refusal import ClaimError, nearest
from rnn_check.subjects import policy
from rnn_check.subjects.asked.backends import BACKENDS
from rnn_check.subjects.asked.named import FRAMEWORKS
from rnn_check.subjects.identity import Identity
from rnn_check.verdicts import done as experiment
from rnn_check.verdicts.done import KINDS, OPTIONS, MaskForm, MaskFrom, Numbers, Trained, Wrong

Words = str | list[str]
Seen = Literal["differ", "error", "not_run"]


class Deviation(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """One entry: which subjects show what where, and why.  What is left out may be anything.

    What was done. layer: the kind of a layer, or of what is inside one. where: its options, as
    `done.OPTIONS` names them. then: the kind of a layer that comes after it. mask, mask_from,
    initial_state: what reaches that layer. numbers: what its numbers meet. wrong: what is wrong on
    purpose. training: what the training does. expects: what is expected, by kind ("certified") or
    with its `of` ("stateful of predict"), each of which has to show it; without it, at least one
    expectation of each claim has to.

    By whom. framework: Keras if it is left out. backend, mode, dtype: names. keras,
    backend_version, numpy, python: version specifiers (">=3.0,<3.16").

    What is seen. seen: the verdict. says: what its detail has to hold; of several, one. sometimes:
    whether it shows depends on more than is said here, so that a claim may agree; on some
    processors, so that all may. rounds_like: an arithmetic coarser than the layers' own, in which
    the same numbers agree, but for a last bit. reproducer: a script beside the file.
    """

    refused: ClassVar[dict[str, str]] = dict.fromkeys(
        ("claim", "what"),
        "unknown key; an entry says what was done (layer, where, mask, ...) and what it `expects`",
    )

    seen: Seen
    says: Words
    why: str
    reproducer: str
    layer: Words = []
    where: dict[str, Any] = {}
    then: Words = []
    mask: MaskForm | None = None
    mask_from: MaskFrom | None = None
    initial_state: bool | None = None
    numbers: Numbers | None = None
    wrong: Wrong | None = None
    training: Trained | None = None
    expects: Words = []
    keras: str = ""
    backend_version: str = ""
    numpy: str = ""
    python: str = ""
    framework: Words = "keras"
    backend: Words = []
    mode: Words = []
    dtype: Words = []
    link: str = ""
    sometimes: bool | Literal["on some processors"] = False
    rounds_like: Literal["float32", "float16", "bfloat16"] | None = None

    def is_of(self, subject: Identity, setting: Setting) -> bool:
        """Whether it speaks of this subject, and never of a layer of the user's own."""
        if setting.layer is not None or subject.framework not in _words(self.framework):
            return False
        named = {"backend": subject.backend, "mode": setting.mode, "dtype": setting.dtype}
        return all(
            not (words := _words(getattr(self, key))) or named[key] in words for key in _NAMES
        ) and all(
            _within(getattr(subject, package), getattr(self, package)) for package in _VERSIONS
        )

    def is_about(self, claim: Claim, dtype: str) -> list[bool]:
        """Of each expectation, whether it speaks of what was done there, in the policy `dtype`."""
        if self.wrong is not None and self.wrong not in experiment.wrongs(claim):
            return [False] * len(claim.expectations)
        if self.training is not None and self.training not in experiment.trains(claim):
            return [False] * len(claim.expectations)
        expected = [self._expects(e) for e in claim.expectations]
        if not any(expected):
            return expected
        computed_in = policy.Policy(dtype).computed_in
        found = [p for p in experiment.places(claim) if self._is_done(claim, p, computed_in)]
        if self.seen == "error":  # an exception ends whatever was asked of the same layers
            return [is_expected and bool(found) for is_expected in expected]
        return [
            is_expected and any(place.bears_on(e, claim.layers) for place in found)
            for e, is_expected in zip(claim.expectations, expected, strict=True)
        ]

    def _is_done(self, claim: Claim, place: experiment.Place, dtype: str) -> bool:
        return (
            place.is_made(_words(self.layer), self.where)
            and (not self.then or any(k in _words(self.then) for k in _kinds_after(claim, place)))
            and (self.mask is None or place.is_masked(self.mask))
            and (self.mask_from is None or self.mask_from == _mask_from(place))
            and self.initial_state in (None, place.initial_state)
            and (self.numbers is None or experiment.meets(claim, place, self.numbers, dtype))
        )

    def _expects(self, e: Expectation) -> bool:
        of = e.of.rpartition(".")[2] if isinstance(e, Configured) else e.of
        words = _words(self.expects)
        if e.on == "printed":  # nobody is asked
            return False
        return not words or e.what in words or f"{e.what} of {of}" in words

    def says_so(self, text: str) -> bool:
        return any(words in text for words in _words(self.says))


_VERSIONS = ("keras", "backend_version", "numpy", "python")
_NAMES = ("backend", "mode", "dtype")


def _kinds_after(claim: Claim, place: experiment.Place) -> list[str]:
    return [type(layer).__name__ for layer in claim.layers[place.index + 1 :]]


def _mask_from(place: experiment.Place) -> str:
    return "" if place.mask is None else "layer" if place.made else "call"


# --- the file -------------------------------------------------------------------------------------


class _File(msgspec.Struct, forbid_unknown_fields=True):
    schema: Literal[2]
    deviation: list[Deviation] = []


MOST_BYTES = 1_000_000


def bundled() -> Path:
    """The file of the deviations that come with rnn_check."""
    return files.known() / "deviations.toml"


def load(file: Path) -> list[Deviation]:
    """The entries of a file; ClaimError if anything is wrong with it."""
    return loads(files.text_of(file, MOST_BYTES), file)


def loads(text: str, file: Path) -> list[Deviation]:
    """The entries written in `text`; `file` is where it stands, with its reproducers beside it."""
    try:
        document = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise ClaimError(file, "", f"not TOML: {error}") from None
    if key := _too_large(document):
        raise ClaimError(file, key, "a number of more than 64 bits")
    try:
        entries = msgspec.convert(document, _File).deviation
    except msgspec.ValidationError as error:
        raise explained(str(error), document, file, _File) from None
    for i, entry in enumerate(entries):
        for key, problem in _problems(entry, file):
            raise ClaimError(file, f"deviation[{i}].{key}", problem)
    return entries


def _too_large(node: Any, path: str = "") -> str:
    """The key of an integer that Python would not even print; empty if there is none."""
    if isinstance(node, int):
        return path if abs(node) >= 2**63 else ""
    children: Iterable[tuple[str, Any]] = ()
    if isinstance(node, dict):
        children = ((f"{path}.{key}".lstrip("."), value) for key, value in node.items())
    if isinstance(node, list):
        children = ((f"{path}[{i}]", value) for i, value in enumerate(node))
    return next(filter(None, (_too_large(value, key) for key, value in children)), "")


_KNOWN: dict[str, Iterable[str]] = {
    "layer": KINDS,
    "then": KINDS,
    "framework": FRAMEWORKS,
    "backend": BACKENDS,
    "mode": sorted({mode for backend in BACKENDS.values() for mode in backend.modes}),
    "dtype": policy.NAMES,
}


def _problems(entry: Deviation, file: Path) -> Iterator[tuple[str, str]]:
    """What the types alone do not see."""
    for key in ("why", "says"):
        words = _words(getattr(entry, key))
        if not words or not all(word.strip() for word in words):
            yield key, "must not be empty"
    for key, known in _KNOWN.items():
        for word in _words(getattr(entry, key)):
            if word not in known:
                yield key, f"unknown {key} {word!r}{nearest(word, known)}"
    kinds = WHATS
    for word in _words(entry.expects):
        if word.partition(" of ")[0] not in kinds:
            yield "expects", f"unknown expectation {word!r}{nearest(word, kinds)}"
    for name, wanted in entry.where.items():
        if name not in OPTIONS:
            yield f"where.{name}", f"unknown option{nearest(name, OPTIONS)}"
        for value in wanted if isinstance(wanted, list) else [wanted]:
            if not isinstance(value, bool | int | float | str):
                yield f"where.{name}", "expected true, false, a number, a name, or a list of these"
    for key in _VERSIONS:
        try:
            SpecifierSet(getattr(entry, key))
        except InvalidSpecifier:
            yield key, f'expected versions, ">=3.0,<3.16", got {getattr(entry, key)!r}'
    if not re.fullmatch(r"[\w-]{1,100}\.py", entry.reproducer):
        yield "reproducer", f'expected the name of a script, "shows.py", got {entry.reproducer!r}'
    elif not (file.parent / entry.reproducer).is_file():
        yield "reproducer", f"no such file: {file.parent / entry.reproducer}"


def _words(words: Words) -> list[str]:
    return [words] if isinstance(words, str) else words


@functools.lru_cache(1024)
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
