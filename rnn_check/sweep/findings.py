"""What was found, each thing once, as small as it gets?

Outcomes that are wrong are grouped by what is wrong and of whom; of each group one is shrunk, and
written as a claim file and as a script that needs no rnn_check.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from rnn_check.claims import toml
from rnn_check.sweep import script, work
from rnn_check.sweep.shrink import shrunk
from rnn_check.sweep.space import BATCH, Case, Document, Space, read, together
from rnn_check.sweep.work import Outcome, Sought

Key = tuple[str, str, str, str]
_NAMES = re.compile(r" of (?:[abc]|dense|front)(?=$|[\s,:])|\b(?:[abc]|dense|front)\.")
_NUMBERS = re.compile(r"\d+")


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong. document: the least claim that shows it; many: of how many cases."""

    first: Outcome
    many: int
    document: Document
    detail: str

    @property
    def name(self) -> str:
        """Of its files."""
        kinds = "-".join(layer["kind"] for layer in self.document["layers"])
        what = self.document["expect"][0]["what"]
        words = " ".join(self.first.subject.split()[:3])  # not the file of a layer
        name = f"{words}-{kinds}-{what}-{self.first.index}"
        return re.sub(r"[^a-z0-9.]+", "-", name.lower())


def groups(outcomes: Iterable[Outcome]) -> dict[Key, list[Outcome]]:
    """What is wrong in one way on one subject, the most frequent first."""
    found: dict[Key, list[Outcome]] = {}
    for each in outcomes:
        if each.is_found:
            found.setdefault(key(each.subject, each.verdict, each.what, each.place), []).append(
                each
            )
    return dict(sorted(found.items(), key=lambda item: -len(item[1])))


def key(subject: str, verdict: str, what: str, place: str) -> Key:
    """The same for cases that differ in the names of their layers, and in numbers, alone."""
    return subject, verdict, what, _NUMBERS.sub("#", _NAMES.sub("", place))


def finding(group: list[Outcome], space: Space, of: Sought) -> Finding:
    """The least model of those that are wrong in this way."""
    first = min(group, key=lambda each: each.index)
    case = Case(first.seed, first.index)
    wanted = key(first.subject, first.verdict, first.what, first.place)
    details: dict[int, str] = {}

    def fails(document: Document) -> bool:
        claim = read(document, case.name)
        for v in work.verdicts_of(claim, of):
            same = key(of.name, v.verdict, v.what, work.place(v)) == wanted
            if same and not v.is_known:
                details[id(document)] = v.detail
                return True
        return False

    whole = case.document(space)
    if not fails(whole):  # it takes the samples of others beside its own
        batch = range(case.batch * BATCH, (case.batch + 1) * BATCH)
        whole = together([Case(case.seed, index) for index in batch], space) or whole
    least = shrunk(whole, fails)
    return Finding(first, len(group), least, details.get(id(least), first.detail))


def once(found: Iterable[Finding]) -> list[Finding]:
    """Those whose least models are of one structure are one."""
    kept: dict[tuple[str, str], Finding] = {}
    for each in found:
        layers = [
            {k: v for k, v in layer.items() if k != "name"} for layer in each.document["layers"]
        ]
        structure = f"{layers} {[e['what'] for e in each.document['expect']]}"
        kept.setdefault((each.first.subject, structure), each)
    return list(kept.values())


def write(found: Finding, folder: Path, of: Mapping[str, str]) -> Path:
    """Its claim file, and the script beside it where one can be written. of: names' packages."""
    folder.mkdir(parents=True, exist_ok=True)
    who = of.get(found.first.subject, found.first.subject)
    document = found.document | {
        "title": f"{found.first.what}: found by a sweep, {who}",
        "notes": f"{found.detail.splitlines()[0]} Case {found.first.index} of seed "
        f"{found.first.seed}; {found.many} like it.",
    }
    file = folder / f"{found.name}.claim.toml"
    file.write_text(toml.document(document), encoding="utf-8")
    if script.shows(found.detail):
        text = script.script(read(document, found.name), who, found.detail)
        file.with_name(f"{found.name}.py").write_text(text, encoding="utf-8")

    return file
