"""In which version did it change?

Between two versions of one package, of which the first is as before and the last is not, half of
what is left is ruled out by each question. It supposes that what changed did so once; if it went
back and forth, one of the changes is found. Versions that cannot be asked are left out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from rnn_check.subjects import environments as environment
from rnn_check.subjects.environments import Python, WordError
from rnn_check.upgrades import sentence as upgrades_sentence
from rnn_check.upgrades.changes import BETTER, KINDS, OTHER, WORSE, Compared
from rnn_check.upgrades.document import SCHEMA
from rnn_check.upgrades.sentence import sentence

VERDICT, BITS = "verdict", "bits"
_KINDS = {VERDICT: {WORSE, BETTER, OTHER}, BITS: {*KINDS}}
SAME, NOT_ASKED = "same", "not asked"


@dataclass(frozen=True)
class Versions:
    """The versions of one package, from one to another; the rest of the subject stays.

    template: the subject, with {} where the version goes.
    """

    package: str
    first: str
    last: str
    template: str

    @classmethod
    def between(cls, first: str, last: str) -> Versions:
        """Of two subjects that differ in one version; a mere version is TensorFlow's.

        Raises WordError.
        """
        words = [f"tensorflow=={w}" if re.match(r"\d", w) else w for w in (first, last)]
        named = []
        for word in words:
            wanted = environment.parse(word)
            requirements = [Requirement(r) for r in wanted.requirements[: len(wanted.named)]]
            named.append({canonicalize_name(r.name): str(r.specifier) for r in requirements})
        backends = [word.partition("@")[2] for word in words]
        differing = [n for n in named[0] if named[0][n] != named[1].get(n)]
        if named[0].keys() != named[1].keys() or len(differing) != 1 or len(set(backends)) != 1:
            raise WordError(
                f"{first!r} and {last!r}: expected subjects that differ in the version of one "
                "package, such as keras==3.0.0@numpy and keras==3.5.0@numpy"
            )
        (package,) = differing
        ends = []
        for each, word in zip(named, (first, last), strict=True):
            pinned = re.fullmatch(r"==([\w.]+?)(\.\*)?", each[package])
            if pinned is None:
                raise WordError(f"{word!r}: expected one version of {package}, {package}==3.5.0")
            ends.append(pinned[1])
        rest = [f"{name}{specifier}" for name, specifier in named[0].items() if name != package]
        at = f"@{backends[0]}" if backends[0] else ""
        template = ",".join([package + "=={}", *rest]) + at
        return cls(package, ends[0], ends[1], template)

    def words(self, python: Python) -> list[str]:
        """A subject for each version that there is for this Python, the oldest first.

        Raises WordError if there are fewer than two, Unmade if they cannot be listed.
        """
        versions: list[str] = []
        wanted = f"=={self.last}.*"  # 2.21 is also 2.21.1
        while (found := environment.newest(self.package + wanted, python)) is not None:
            versions.append(found)
            wanted = f"<{found},>={self.first}"
        if len(versions) < 2:
            raise WordError(
                f"there are no two versions of {self.package} from {self.first} to {self.last} "
                f"for Python {python.version}"
            )
        return [self.template.format(version) for version in reversed(versions)]


@dataclass(frozen=True)
class Found:
    """What came of searching.

    on: what had to change. tried: each subject and what was seen of it, in the order of versions.
    before, after: the last that is as the first, and the first that is not; none if the ends are
    the same, or one cannot be asked. compared: these two, or else the two ends.
    """

    on: str
    tried: dict[str, str]
    compared: Compared
    before: str | None = None
    after: str | None = None
    versions: list[str] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        if any(side.failure for side in self.compared.sides) or not self.compared.claims:
            return 3
        return 0 if self.after is not None else 1

    @property
    def sentence(self) -> str:
        first, last = self.versions[0], self.versions[-1]
        failed = [side.word for side in self.compared.sides if side.failure]
        if failed:
            return f"{failed[0]} could not be asked."
        if not self.compared.claims:
            verdicts = [v for side in self.compared.sides for v in side.judged.verdicts]
            why = dict.fromkeys(v.detail for v in verdicts)
            return f"Nothing was compared between {first} and {last}: {'; '.join(why)}"
        if self.after is None:
            what = "verdict" if self.on == VERDICT else "bit"
            return f"No {what} differs between {first} and {last}."
        what = "The verdict" if self.on == VERDICT else "What is said, to the last bit,"
        return f"{what} changed from {self.before} to {self.after}."

    def document(self) -> dict[str, Any]:
        return {
            "schema": SCHEMA,
            "on": self.on,
            "before": self.before,
            "after": self.after,
            "versions": [
                {"subject": word, "seen": self.tried.get(word, NOT_ASKED)} for word in self.versions
            ],
            "summary": {"sentence": self.sentence, "what": sentence(self.compared)},
        }


def search(
    words: Sequence[str], asked: Callable[[str, str], Compared], on: str | None = None
) -> Found:
    """Which of the words is the first that differs from the first word.

    asked: compares two of them. on: "verdict" or "bits"; without it the verdict if that differs
    between the ends, else bits.
    """
    words = list(words)
    versions = list(words)
    ends = asked(words[0], words[-1])
    if on is None:
        on = VERDICT if ends.of_kind(*_KINDS[VERDICT]) else BITS
    tried = {words[0]: SAME, words[-1]: _seen(ends, on)}
    if tried[words[-1]] in (SAME, NOT_ASKED):
        return Found(on, tried, ends, versions=versions)
    low, high = 0, len(words) - 1
    while high - low > 1:
        middle = (low + high) // 2
        seen = tried[words[middle]] = _seen(asked(words[0], words[middle]), on)
        if seen == NOT_ASKED:
            del words[middle]
            high -= 1
        elif seen == SAME:
            low = middle
        else:
            high = middle
    before, after = words[low], words[high]
    return Found(on, tried, asked(before, after), before, after, versions)


def _seen(compared: Compared, on: str) -> str:
    """What the second subject shows against the first."""
    if any(side.failure for side in compared.sides) or compared.uncompared:
        return NOT_ASKED
    if not compared.of_kind(*_KINDS[on]):
        return SAME
    return upgrades_sentence.effects(compared, 1)
