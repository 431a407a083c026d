"""Is it known that this subject gets this wrong?

Known deviations are data: a TOML file of entries, each of which says which subjects (version
ranges, backend, mode, dtype policy) do what with which layers, how it is seen, why, and which
script shows it. They are recognised by what was done, not by the names of claims, so that they hold
for anybody's. What is known to be wrong with a *claim* stands in the claim (`known_to_differ`).

They are strict: an entry whose reason does not fit what is seen excuses nothing, and one whose
subject no longer shows it turns the run red (`Known.mark`).
"""

from __future__ import annotations

import dataclasses
import functools
import re
import tomllib
import typing
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import InvalidVersion, Version

from rnn_check.asking.request import Setting
from rnn_check.certificates.comparison import Comparison
from rnn_check.claims import files
from rnn_check.claims.claim import Claim
from rnn_check.claims.expectations.configuration import Configured
from rnn_check.claims.expectations.expectation import KINDS as WHATS
from rnn_check.claims.expectations.expectation import Expectation
from rnn_check.numbers import formats
from rnn_check.refusal import ClaimError, nearest
from rnn_check.subjects import policy
from rnn_check.subjects.asked.backends import BACKENDS
from rnn_check.subjects.identity import Identity
from rnn_check.verdicts import done as experiment
from rnn_check.verdicts.done import KINDS, OPTIONS, MaskForm, MaskFrom, Numbers, Wrong
from rnn_check.verdicts.judge import AGREE, Verdict

Words = str | list[str]
Seen = Literal["differ", "error", "not_run"]


class Deviation(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """One entry: which subjects show what where, and why.  What is left out may be anything.

    What was done. layer: the kind of a layer, or of what is inside one. where: its options, as
    `done.OPTIONS` names them. then: the kind of a layer that comes after it. mask, mask_from,
    initial_state: what reaches that layer. numbers: what its numbers meet. wrong: what is wrong on
    purpose. expects: what is expected, by kind ("certified") or with its `of` ("stateful of
    predict"), each of which has to show it; without it, at least one expectation of each claim has
    to.

    By whom. backend, mode, dtype: names. keras, backend_version, numpy, python: version specifiers
    (">=3.0,<3.16").

    What is seen. seen: the verdict. says: what its detail has to hold; of several, one. sometimes:
    whether it shows depends on more than is said here, so that a claim may agree. rounds_like: an
    arithmetic coarser than the layers' own, in which the same numbers agree, but for a last bit.
    reproducer: a script beside the file.
    """

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
    expects: Words = []
    keras: str = ""
    backend_version: str = ""
    numpy: str = ""
    python: str = ""
    backend: Words = []
    mode: Words = []
    dtype: Words = []
    link: str = ""
    sometimes: bool = False
    rounds_like: Literal["float32", "float16", "bfloat16"] | None = None

    def is_of(self, subject: Identity, setting: Setting) -> bool:
        """Whether it speaks of this subject: of Keras, and never of a layer of the user's own."""
        if setting.layer is not None or not subject.is_keras:
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
        computed_in = policy.Policy(dtype).computed_in
        found = [p for p in experiment.places(claim) if self._is_done(claim, p, computed_in)]
        if self.seen == "error":  # an exception ends whatever was asked of the same layers
            return [self._expects(e) and bool(found) for e in claim.expectations]
        return [
            self._expects(e) and any(place.bears_on(e, claim.layers) for place in found)
            for e in claim.expectations
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


@dataclass(frozen=True)
class Known:
    """The entries of a file, and how strictly they are held against claims that agree.

    own: whether the file is the user's own, and answers for every claim that is judged with it. The
    bundled file answers for the bundled claims, on which its entries have been seen; on anybody's
    else, where what it speaks of may not come to light, a claim that agrees simply agrees.
    whole: whether all the claims are judged that the file answers for, so that an entry that shows
    only `sometimes` has to show somewhere.
    """

    entries: Sequence[Deviation]
    own: bool = False
    whole: bool = False

    def mark(
        self,
        judged: Iterable[tuple[Claim, Sequence[Verdict]]],
        subject: Identity,
        setting: Setting,
        again: Callable[[Claim, str], Sequence[Verdict]],
    ) -> list[Verdict]:
        """The verdicts on one subject, those with a known deviation saying so.

        judged: claims, each with the verdicts on its expectations, in their order. again: judges a
        claim once more, as if it had been asked in another arithmetic. What is seen as an entry
        says is excused. Where an entry's subject does not show it any more, the verdicts that agree
        instead carry it too, which makes them red.
        """
        entries = [entry for entry in self.entries if entry.is_of(subject, setting)]
        marked: list[Verdict] = []
        agreeing: dict[int, int] = {}  # an entry that sometimes shows: the first that agrees
        showing: set[int] = set()
        for claim, verdicts in judged:
            reasons = [""] * len(verdicts)
            strict = self.own or claim.file.resolve().is_relative_to(files.bundled())
            about_what = [entry.is_about(claim, setting.dtype) for entry in entries]
            seen = [
                _Seen(
                    verdict,
                    [e for e, is_about in zip(entries, about_what, strict=True) if is_about[i]],
                    functools.partial(_once_more, again, claim, i),
                )
                for i, verdict in enumerate(verdicts)
            ]
            for number, entry in enumerate(entries):
                about = [i for i, is_about in enumerate(about_what[number]) if is_about]
                shown = [i for i in about if seen[i].is_as(entry)]
                gone = [i for i in about if verdicts[i].verdict == AGREE] if strict else []
                if shown:
                    showing.add(number)
                if entry.sometimes:
                    if gone:
                        agreeing.setdefault(number, len(marked) + gone[0])
                    gone = []
                elif not entry.expects:  # of the claim as a whole: one that shows it is enough
                    gone = [] if shown else gone[:1]
                for i in (*shown, *gone):
                    reasons[i] = reasons[i] or _reason(entry)
            marked += map(_known, verdicts, reasons)
        if self.whole:
            for number, at in agreeing.items():
                if number not in showing:
                    marked[at] = _known(marked[at], _reason(entries[number]))
        return marked


def _once_more(
    again: Callable[[Claim, str], Sequence[Verdict]], claim: Claim, index: int, arithmetic: str
) -> Verdict:
    return again(claim, arithmetic)[index]


class _Seen:
    """What is seen in one verdict, beside the entries that are about it.

    Two deviations may meet in it: what coarser rounding explains is set aside before anything else
    is asked to explain the rest.
    """

    def __init__(
        self, verdict: Verdict, entries: Iterable[Deviation], again: Callable[[str], Verdict]
    ) -> None:
        self.verdict = verdict.verdict
        self.rounded: set[int] = set()  # ids of the entries that explain something
        rest = [c for c in verdict.comparisons if not c.ok]
        self.is_all_rounded = bool(rest)
        for entry in entries if rest else ():
            if entry.rounds_like is not None and entry.seen == verdict.verdict:
                coarser = {c.what: c for c in again(entry.rounds_like).comparisons}
                left = []
                for c in rest:
                    other = coarser.get(c.what)
                    if not entry.says_so(c.blame()):
                        left.append(c)
                    elif other is not None and _is_part(other, c):
                        self.rounded.add(id(entry))
                        left += [] if other.ok else [other]
                    elif _is_last_bit(c, entry.rounds_like):
                        self.rounded.add(id(entry))
                    else:
                        left.append(c)
                rest = left
        self.is_all_rounded &= not rest
        self.detail = rest[0].blame() if rest and self.rounded else verdict.detail

    def is_as(self, entry: Deviation) -> bool:
        if entry.seen != self.verdict:
            return False
        if entry.rounds_like is not None:
            return self.is_all_rounded and id(entry) in self.rounded
        return entry.says_so(self.detail)


def _is_part(coarser: Comparison, fine: Comparison) -> bool:
    """Whether coarser rounding explains a comparison, or all of it but for some of its elements.

    What the coarser arithmetic has no bounds for at all explains nothing.
    """
    if coarser.ok:
        return not coarser.says_nothing
    if coarser.reason or coarser.ratios.shape != fine.ratios.shape:
        return False
    left, seen = coarser.ratios > 1, fine.ratios > 1
    return bool((left <= seen).all() and (left < seen).any())


def _is_last_bit(comparison: Comparison, arithmetic: str) -> bool:
    """Whether one rounding more, in that arithmetic, is as far as it is off: what is passed on
    unchanged is rounded where it is cast."""
    if comparison.reason or comparison.got.dtype.kind != "f":
        return False
    ulp = 2 * formats.arithmetic(arithmetic).u_stored * np.abs(comparison.expected)
    return bool((comparison.error <= ulp).all())


def _known(verdict: Verdict, reason: str) -> Verdict:
    return dataclasses.replace(verdict, deviation=reason) if reason else verdict


def _reason(entry: Deviation) -> str:
    return entry.why + (f" ({entry.link})" if entry.link else "")


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
    try:
        if not file.is_file():
            there = "it is no regular file" if file.exists() else "there is no such file"
            raise ClaimError(file, "", f"cannot be read: {there}")
        if file.stat().st_size > MOST_BYTES:
            raise ClaimError(file, "", f"too large: more than {MOST_BYTES:,} bytes")
        text = file.read_bytes().decode()
    except UnicodeDecodeError as error:
        raise ClaimError(file, "", f"not UTF-8 text (byte {error.start})") from None
    except OSError as error:
        raise ClaimError(file, "", f"cannot be read: {error.strerror}") from None
    return loads(text, file)


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
        raise _explain(str(error), document, file) from None
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


_CHOICES: dict[str, tuple[str, ...]] = {
    "seen": typing.get_args(Seen),
    "mask": typing.get_args(MaskForm),
    "mask_from": typing.get_args(MaskFrom),
    "numbers": typing.get_args(Numbers),
    "wrong": typing.get_args(Wrong),
}


def _explain(message: str, document: Any, file: Path) -> ClaimError:
    problem, _, where = message.partition(" - at ")
    path = where.strip("`").removeprefix("$").removeprefix(".")
    inside = re.match(r"deviation\[(\d+)\]\.?", path)
    if unknown := re.fullmatch(r"Object contains unknown field `(.*)`", problem, re.DOTALL):
        known = (Deviation if inside else _File).__struct_fields__
        key = f"{path}.{unknown[1]}".lstrip(".")
        if unknown[1] in ("claim", "what"):
            hint = "; an entry says what was done (layer, where, mask, ...) and what it `expects`"
            return ClaimError(file, key, f"unknown key{hint}")
        return ClaimError(file, key, f"unknown key{nearest(unknown[1], known)}")
    if missing := re.fullmatch(r"Object missing required field `(.*)`", problem):
        return ClaimError(file, f"{path}.{missing[1]}".lstrip("."), "required key is missing")
    if path == "schema":
        said = document.get("schema")
        return ClaimError(file, path, f"this version reads schema 2, the file says {said!r}")
    if inside and (key := path[inside.end() :]) in _CHOICES:
        said = document["deviation"][int(inside[1])][key]
        if isinstance(said, str):
            return ClaimError(file, path, f"unknown {key} {said!r}{nearest(said, _CHOICES[key])}")
    return ClaimError(file, path, problem[:1].lower() + problem[1:].replace("`", ""))


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
