"""Which subjects does somebody mean, and what does each say of the claims?

A word is packages, this environment, or a record. All of them are resolved before anything is
installed or asked.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

from rnn_check.asking import memory as asking_memory
from rnn_check.asking import observations, records, run
from rnn_check.asking.observations import Observations
from rnn_check.asking.records import Record
from rnn_check.asking.request import Setting
from rnn_check.asking.run import Asked, Place, Run, Target
from rnn_check.claims.claim import Claim
from rnn_check.refusal import nearest
from rnn_check.subjects import environments
from rnn_check.subjects.asked.backends import default_backend
from rnn_check.subjects.asked.machine import available_cores
from rnn_check.subjects.environments import NEEDS, Python, Wanted, WordError
from rnn_check.subjects.identity import not_started
from rnn_check.upgrades import beside
from rnn_check.upgrades.changes import Side
from rnn_check.verdicts.gathered import Verdicts
from rnn_check.verdicts.judge import Judged


@dataclass(frozen=True)
class Word:
    """A subject as it was typed: a record, packages, or this environment.

    notes: what has to be known of it.
    """

    text: str
    backend: str
    observed: Observations | None = None
    wanted: Wanted | None = None
    notes: tuple[str, ...] = ()


def read(texts: Sequence[str]) -> list[Word]:
    """What each word is; a record of several subjects is several.

    Raises WordError if one is nothing, RecordError.
    """
    words = [word for text in texts for word in _read(text)]
    for i, word in enumerate(words):
        if word.text in [each.text for each in words[:i]]:
            raise WordError(f"{word.text}: named twice; a subject does not differ from itself")
    return words


def _read(text: str) -> list[Word]:
    file, number = _file(text)
    if file is not None:
        return _recorded(text, file, records.read(file), number)
    name, at, backend = text.partition("@")
    if name == "current":
        backend = backend if at else default_backend()
        if backend not in NEEDS:
            raise WordError(f"{text}: unknown backend {backend!r}{nearest(backend, NEEDS)}")
        if not run.installed(backend):
            raise WordError(f"{text}: the backend {backend} is not installed here")
        return [Word(text, backend)]
    try:
        wanted = environments.parse(text)
    except WordError as error:
        if "/" in text or ("." in text and "=" not in text):
            raise WordError(f"{error}; and there is no file {text}") from None
        raise
    return [Word(text, wanted.backend, wanted=wanted)]


def _file(text: str) -> tuple[Path | None, int]:
    """The file that a word names, if it names one, and which of its subjects (0: all)."""
    if Path(text).is_file() or text.endswith(".npz"):
        return Path(text), 0
    file, _, number = text.rpartition("#")
    if re.fullmatch(r"[1-9]\d{0,5}", number) and (Path(file).is_file() or file.endswith(".npz")):
        return Path(file), int(number)
    return None, 0


def _recorded(text: str, file: Path, said: Record, number: int) -> list[Word]:
    many = len(said.subjects)
    if not 0 <= number <= many:
        raise WordError(f"{text}: {file} holds {many} subject" + "s" * (many != 1))
    notes = () if said.complete else ("it was interrupted: not all was asked",)
    return [
        Word(f"{file}#{n}" if many > 1 else text, s.identity.backend, s, notes=notes)
        for n, s in enumerate(said.subjects, 1)
        if number in (0, n)
    ]


@dataclass(frozen=True)
class How:
    """What holds for all subjects of a comparison.

    asking, making: the options, as they were typed, with which they are asked, and environments
    are made, again. beside: whether a few claims are asked in other ways as well; others: in which
    ways all are. stopped: is told how many installations were ended, if any were.
    """

    python: Python
    as_of: str | date
    setting: Setting
    timeout: float
    memory: int
    refresh: bool
    stopped: Callable[[int], None]
    asking: tuple[str, ...] = ()
    making: tuple[str, ...] = ()
    beside: bool = False
    others: Mapping[str, Setting] = field(default_factory=dict)

    def ways(self, backend: str) -> dict[str, Setting]:
        """How a backend is asked, as it was said first."""
        has = run.modes(backend)
        others = {way: setting for way, setting in self.others.items() if setting.mode in has}
        return {"": self.setting, **others, **(beside.settings(backend) if self.beside else {})}


@dataclass(frozen=True)
class Prepared:
    """A word, and what it turned out to be: a target, what a record holds, or a failure.

    ways: how the target is asked, in the order of its settings.
    """

    word: Word
    target: Target | None = None
    failure: str = ""
    notes: tuple[str, ...] = ()
    ways: tuple[str, ...] = ()


def prepared(words: Sequence[Word], how: How) -> list[Prepared]:
    """Every word resolved. Raises WordError if two are the same, Unmade without an installer."""
    if any(word.wanted for word in words):
        environments.installer()  # found once, before threads look for it
    with ThreadPoolExecutor(8) as pool, environments.interruptible(how.stopped):
        found = list(pool.map(lambda word: _resolved(word, how), words))
    seen: dict[tuple[str, str], str] = {}
    for each in found:
        if each.target is not None and (made := each.target.environment) is not None:
            other = seen.setdefault((made.key, each.target.name), each.word.text)
            if other != each.word.text:
                said = f"{made.told} on {each.target.name}"
                raise WordError(f"{each.word.text} and {other} are the same: {said}")
    return found


def _resolved(word: Word, how: How) -> Prepared:
    ways = how.ways(word.backend)
    if word.wanted is None:
        target = None if word.observed else Target.named(word.backend, *ways.values())
        return Prepared(word, target, notes=word.notes, ways=tuple(ways))
    try:
        made = environments.resolve(word.wanted, how.python, how.as_of, refresh=how.refresh)
    except environments.Unmade as error:
        return Prepared(word, failure=str(error), notes=word.notes)
    notes = [*word.notes, *filter(None, [made.stale])]
    if told := environments.told():
        notes.append(f"its packages come from where {', '.join(told)} says")
    target = Target.named(made.wanted.backend, *ways.values(), environment=made)
    return Prepared(word, target, notes=tuple(notes), ways=tuple(ways))


def run_of(
    subjects: Sequence[Prepared],
    how: How,
    tell: Callable[[int, str], None],
    elsewhere: Place | None = None,
) -> Run:
    """Whoever is to be asked, in their order. What was said is remembered of this machine alone."""
    kept = asking_memory.Memory(environments.cache() / "answers", how.refresh)
    return Run(
        [each.target for each in subjects if each.target is not None],
        timeout=how.timeout,
        most_memory=how.memory,
        side_by_side=max(1, available_cores()),
        memory=kept if elsewhere is None else None,
        elsewhere=elsewhere,
        tell=tell,
    )


def held(
    index: int, observed: Observations, claims: Sequence[Claim], verdicts: Verdicts
) -> tuple[str, ...]:
    """Judge what a record holds; what it does not is said once, and has no verdict."""
    lacking: dict[str, list[str]] = {observations.NOT_RECORDED: [], observations.CHANGED: []}
    for claim in claims:
        answer = observed.answer(claim)
        if answer.skip in lacking:
            lacking[answer.skip].append(claim.name)
        else:
            verdicts.add(Asked(index, claim, answer, observed.setting))
    notes = []
    for reason, names in lacking.items():
        if names:
            what = f"{len(names):,} of {len(claims):,} claims are not compared, {reason}"
            notes.append(f"{what}: {_some(names)}")
    others = sorted(observed.answers.keys() - {claim.name for claim in claims})
    if others and not lacking[observations.NOT_RECORDED]:
        return tuple(notes)  # a choice was made of what it holds
    if others:
        notes.append(f"it also holds {len(others):,} that no claim here is called: {_some(others)}")
    return tuple(notes)


def _some(names: Sequence[str], most: int = 3) -> str:
    more = len(names) - most
    return ", ".join(names[:most]) + f" and {more:,} more" * (more > 0)


def places(subjects: Sequence[Prepared]) -> list[tuple[int, str]]:
    """Of each subject of the run: which of these it is, and in which way it is asked."""
    return [(i, way) for i, each in enumerate(subjects) if each.target for way in each.ways]


def sides(
    subjects: Sequence[Prepared], ran: Run, how: How, verdicts: Verdicts, notes: Mapping[int, Any],
    way: str = "",
) -> Iterator[Side]:  # fmt: skip
    """What came of asking all of them in that way; notes: on what records hold."""
    numbers, first = iter(range(len(ran.targets))), ""  # the processor of the baseline
    of_run = {place: ran.subjects[k] for k, place in enumerate(places(subjects))}
    for i, each in enumerate(subjects):
        word, failure, observed = each.word, each.failure, each.word.observed
        setting = how.ways(word.backend).get(way, how.setting)
        if each.target is not None:
            observed = of_run.get((i, way))
            failure = {**ran.missing, **ran.not_started}.get(next(numbers), "")
        if observed is None:
            judged = Judged(not_started("").asked(setting.mode, setting.dtype), [])
        else:
            judged = verdicts.judged(i, observed, causes=False)  # which no report of changes shows
        asking = beside.options(setting) if way else how.asking
        options = () if word.observed else asking + how.making * bool(word.wanted)
        own = [*each.notes, *notes.get(i, ())]
        if observed is not None and (cpu := observed.identity.cpu):
            first = first or cpu
            own += [f"asked on {cpu}, not on {first}: bits may differ for that"] * (cpu != first)
        yield Side(word.text, judged, failure, tuple(own), options)
