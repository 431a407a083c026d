"""Which features differ, at which version, on which backends, and asked how?

A feature is what a file of claims is about; files that say the same of SimpleRNN, LSTM and GRU are
one. It differs on a subject where a verdict on any claim of it blames the subject, known or not.
Nothing is held against a baseline here, as it is in `changes`: each subject is judged by itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from rnn_check.asking.run import BESIDE_KERAS
from rnn_check.claims.variants import like
from rnn_check.upgrades.changes import Side
from rnn_check.verdicts.judge import DIFFER, ERROR, NOT_RUN, Verdict

# what stands for a backend in a cell
LETTERS = {
    **{"tensorflow": "T", "jax": "J", "torch": "P", "numpy": "N", "openvino": "O"},
    **{"torch.nn": "t", "onnx": "x", "onnxruntime": "r", "flax": "f", "equinox": "e"},
}


@dataclass(frozen=True)
class Place:
    """Where one subject stands: in which column, by which letter."""

    side: Side
    column: str
    letter: str


@dataclass(frozen=True)
class Wrong:
    """A verdict that blames a subject. way: how it was asked, "" as everything was."""

    place: Place
    way: str
    verdict: Verdict


@dataclass(frozen=True)
class Feature:
    """What was found of one feature. asked: where a verdict was given on any claim of it."""

    name: str
    asked: Mapping[str, frozenset[str]]
    wrong: Sequence[Wrong]

    @cached_property
    def marks(self) -> dict[tuple[str, str], tuple[str, ...]]:
        """By column and letter: in which ways alone it differs; ("",) if as all was asked."""
        found: dict[tuple[str, str], list[str]] = {}
        for each in self.wrong:
            ways = found.setdefault((each.place.column, each.place.letter), [])
            ways += [each.way] * (each.way not in ways)
        return {at: ("",) if "" in ways else tuple(ways) for at, ways in found.items()}


@dataclass(frozen=True)
class History:
    """places: the subjects that could be asked; failed: those that could not.

    ways: in which other ways some claims were asked.
    """

    places: Sequence[Place]
    failed: Sequence[Side]
    features: Sequence[Feature]
    ways: Sequence[str]
    claims: int

    @cached_property
    def columns(self) -> list[str]:
        return list(dict.fromkeys(place.column for place in self.places))

    def letters(self, column: str) -> str:
        """Who was asked there."""
        return "".join(place.letter for place in self.places if place.column == column)

    @cached_property
    def differing(self) -> list[list[Feature]]:
        """Those that ever differed; alike ones of one folder together. First what differs last."""
        last = {column: i for i, column in enumerate(self.columns)}
        alike: dict[object, list[Feature]] = {}
        for feature in self.features:
            if feature.wrong:
                folder = feature.name.rpartition("/")[0]
                key = folder, (*sorted(feature.marks.items()),), (*self.unasked(feature),)
                alike.setdefault(key, []).append(feature)

        def order(group: Sequence[Feature]) -> tuple[int, int, str]:
            at = [last[column] for column, _ in group[0].marks]
            return -max(at), min(at), group[0].name

        return sorted(alike.values(), key=order)

    @cached_property
    def alone(self) -> list[str]:
        """The ways in which alone something differs."""
        marked = {way for f in self.features for ways in f.marks.values() for way in ways}
        return [way for way in self.ways if way in marked]

    @property
    def same(self) -> list[Feature]:
        """Those that differ nowhere, and were asked somewhere."""
        return [each for each in self.features if not each.wrong and each.asked]

    @property
    def nowhere(self) -> list[Feature]:
        """Those that nobody could be asked."""
        return [each for each in self.features if not each.asked]

    def unasked(self, feature: Feature) -> list[str]:
        """The columns in which no subject says anything of it."""
        return [column for column in self.columns if not feature.asked.get(column)]

    @property
    def exit_code(self) -> int:
        return 3 if self.failed or not any(f.asked for f in self.features) else 0


def of(parts: Mapping[str, Sequence[Side]]) -> History:
    """What subjects say, asked in these ways, "" first, the same subjects in each."""
    first = parts[""]
    places = {i: place for i, place in enumerate(_places(first)) if place is not None}
    asked: dict[str, dict[str, set[str]]] = {}
    wrong: dict[str, list[Wrong]] = {}
    claims = set()
    for way, sides in parts.items():
        for i, side in enumerate(sides):
            if i not in places:
                continue
            for v in side.judged.verdicts:
                claims.add(v.claim)
                feature = feature_of(v.claim)
                at = asked.setdefault(feature, {})
                if v.verdict != NOT_RUN:
                    at.setdefault(places[i].column, set()).add(places[i].letter)
                if _blames(v):
                    wrong.setdefault(feature, []).append(Wrong(places[i], way, v))
    features = [
        Feature(name, {c: frozenset(letters) for c, letters in at.items()}, wrong.get(name, ()))
        for name, at in asked.items()
    ]
    ways = [way for way in parts if way]
    failed = [side for i, side in enumerate(first) if i not in places]
    return History(list(places.values()), failed, features, ways, len(claims))


def feature_of(claim: str) -> str:
    """Whose claim it is, by its name: "options/gates/*" is of files that are called as layers."""
    file, shared = claim.partition("[")[0], like(claim)
    return f"{shared}/*" if file[len(shared) :].startswith("/") else shared


def _blames(v: Verdict) -> bool:
    """Whether the subject is wrong, and not a number of the claim's that is known to be."""
    of_the_claim = v.is_known and not v.deviation
    return v.verdict in (DIFFER, ERROR) and not of_the_claim


def _places(sides: Sequence[Side]) -> Iterator[Place | None]:
    """None of who could not be asked. Of one version on one backend each has its own column."""
    taken: set[tuple[str, str]] = set()
    for side in sides:
        who = side.subject
        if side.failure or who.did_not_start:
            yield None
            continue
        name = who.backend if who.is_keras else _NAMES.get(who.framework, who.framework)
        version = who.keras if who.is_keras else who.backend_version
        columns = version, f"{version}, {name} {who.backend_version}", side.word
        column = next(each for each in columns if (each, name) not in taken)
        taken.add((column, name))
        yield Place(side, column, LETTERS.get(name, f"[{name}]"))


_NAMES = {framework: name for name, framework in BESIDE_KERAS.items()}


def spans(columns: Sequence[str], found: Iterable[str]) -> str:
    """Columns in few words: "3.0.5 to 3.3.3, 3.6.0"."""
    wanted = {*found}
    parts: list[list[str]] = []
    before = False
    for column in columns:
        if column in wanted:
            if before:
                parts[-1].append(column)
            else:
                parts.append([column])
        before = column in wanted
    return ", ".join(p[0] if len(p) == 1 else f"{p[0]} to {p[-1]}" for p in parts)
