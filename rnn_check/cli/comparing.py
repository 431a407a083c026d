"""How are subjects made, asked and held against each other: for `compare` and `bisect`?"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from rnn_check.cli.commands import BadInput
from rnn_check.cli.options import (
    DTYPES_ARE,
    MEMORY,
    MODES,
    SCHEDULER,
    SLOW,
    TIMEOUT,
    as_one,
    needs_a_cluster,
)
from rnn_check.reports import progress
from rnn_check.reports.terminal import interruptions, say
from rnn_check.subjects.policy import NAMES

if TYPE_CHECKING:
    from rnn_check.asking.request import Setting
    from rnn_check.asking.run import Place
    from rnn_check.claims.claim import Claim
    from rnn_check.upgrades.changes import Compared, Side
    from rnn_check.upgrades.subjects import How, Word
    from rnn_check.verdicts.gathered import Verdicts

_OF_ENVIRONMENTS = ("python", "as_of", "refresh")
_OF_ASKING = ("mode", "dtype", "slow", "timeout", "memory", "scheduler")


def is_given(name: str) -> bool:
    source = click.get_current_context().get_parameter_source(name)
    return source != ParameterSource.DEFAULT


@dataclass(frozen=True)
class Typed:
    """The options, as they were typed."""

    python: str | None
    as_of: str | date
    mode: tuple[str, ...]
    dtype: tuple[str, ...]
    slow: bool
    timeout: float
    memory: int
    scheduler: str | None
    refresh: bool

    def how(self, words: Sequence[Word] = (), other_ways: bool = False) -> How:
        """What holds for all of these subjects. BadInput if an option changes nothing of them.

        other_ways: whether a few claims are asked in other ways, if nobody says how.
        """
        from rnn_check.asking.request import Setting
        from rnn_check.subjects import environments
        from rnn_check.upgrades.subjects import How

        if words:
            self._check_given(words)
            self._check_modes({word.backend for word in words if not word.observed})
        try:
            python = environments.find_python(self.python)
        except environments.WordError as error:
            raise BadInput(f"--python: {error}") from None
        (setting, *others) = (
            Setting(mode, dtype, None, self.slow)
            for dtype in dict.fromkeys(self.dtype)
            for mode in dict.fromkeys(self.mode)
        )
        beside = [word.observed.setting for word in words if word.observed]
        if beside:
            if others:
                option = "--mode" if len(self.mode) > 1 else "--dtype"
                raise BadInput(f"{option}: a record was asked in one way; give one, or no records")
            setting = self._as_recorded(setting, beside, words)
        asking, making = self._again(setting, bool(beside))
        return How(
            python, self.as_of, setting, self.timeout, self.memory, self.refresh, stopped,
            asking, making, other_ways and not (beside or is_given("mode") or is_given("dtype")),
            {_way(other, setting): other for other in others},
        )  # fmt: skip

    def one_way(self, what: str) -> None:
        """Refuse more ways of asking than one. BadInput."""
        for option, values in (("--mode", self.mode), ("--dtype", self.dtype)):
            if len({*values}) > 1:
                raise BadInput(f"{option}: {what} is asked in one way; give one")

    def _check_given(self, words: Sequence[Word]) -> None:
        for names, anybody, why in (
            (_OF_ASKING, any(not w.observed for w in words), "records were asked already"),
            (_OF_ENVIRONMENTS, any(w.wanted for w in words), "no environment is made for them"),
        ):
            for name in names:
                if is_given(name) and not anybody:
                    option = "--" + name.replace("_", "-")
                    raise BadInput(f"{option} changes nothing of these subjects: {why}")

    def _check_modes(self, backends: set[str]) -> None:
        from rnn_check.asking.run import modes

        for mode in self.mode[1:]:
            if not any(mode in modes(backend) for backend in backends):
                raise BadInput(f"--mode {mode}: none of these subjects is run so")

    def _as_recorded(
        self, setting: Setting, recorded: Sequence[Setting], words: Sequence[Word]
    ) -> Setting:
        """As is said, else as the records were asked, if they agree and all backends can."""
        from rnn_check.asking.run import modes

        asked: dict[str, Any] = {}
        for name in ("mode", "dtype", "slow"):
            values = {getattr(each, name) for each in recorded}
            if len(values) == 1 and not is_given(name):
                asked |= {name: values.pop()}
        backends = {word.backend for word in words if not word.observed}
        if not all(asked.get("mode", "eager") in modes(backend) for backend in backends):
            del asked["mode"]
        return dataclasses.replace(setting, **asked)

    def _again(self, setting: Setting, beside: bool) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """With which options to ask again, and to make environments again.

        beside: whether there are records, whose mode is not the default otherwise.
        """
        asking = [
            word
            for option, value, default in (
                ("--mode", setting.mode, "eager"),
                ("--dtype", setting.dtype, "float32"),
            )
            for word in (option, value)
            if value != default or beside
        ]
        asking += ["--slow"] * setting.slow
        if is_given("timeout"):
            asking += ["--timeout", f"{self.timeout:g}"]
        if is_given("memory"):
            asking += ["--memory", f"{self.memory / 2**30:.6g}G"]
        making = []
        for option, name in (("--python", "python"), ("--as-of", "as_of")):
            if is_given(name):
                making += [option, str(getattr(self, name))]
        return tuple(asking), tuple(making)


def _way(other: Setting, first: Setting) -> str:
    """What tells it from the first."""
    return " ".join(
        getattr(other, name)
        for name in ("mode", "dtype")
        if getattr(other, name) != getattr(first, name)
    )


def _day(context: click.Context, option: click.Parameter, value: str) -> str | date:
    if value in ("release", "now"):
        return value
    try:
        return date.fromisoformat(value)
    except ValueError:
        raise BadInput(
            f"--as-of: expected a date (2024-05-31), release or now, got {value!r}"
        ) from None


HOW = as_one(
    "typed",
    Typed,
    click.option(
        "--python",
        "python",
        metavar="VERSION|PATH",
        help="The Python of the environments, 3.10 for example.  [default: this one]",
    ),
    click.option(
        "--as-of",
        callback=_day,
        metavar="DATE|release|now",
        default="release",
        show_default=True,
        help="What requirements leave open is taken as it was on that day (2024-05-31); when the "
        "last of the packages named came out; or as it is now.",
    ),
    click.option(
        "--mode",
        type=click.Choice(MODES),
        multiple=True,
        default=("eager",),
        help="How the layer is run; may be repeated, and each claim is asked in each way that a "
        "backend has.  [default: eager, or as the records were asked]",
    ),
    click.option(
        "--dtype",
        type=click.Choice(NAMES),
        metavar="DTYPE",
        multiple=True,
        default=("float32",),
        help=f"The dtype policy of every layer; may be repeated, as --mode. {DTYPES_ARE}  "
        "[default: float32, or as the records were asked]",
    ),
    SLOW,
    TIMEOUT,
    MEMORY,
    SCHEDULER,
    click.option(
        "--refresh",
        is_flag=True,
        help="Resolve and ask anew what the cache knows. Environments are kept.",
    ),
)

CLAIMS = click.option(
    "--claims",
    "paths",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="Judge the claims in this file or folder, in place of the bundled ones; may be repeated.",
)


def repeated(option: str, values: Sequence[object]) -> list[str]:
    return [word for value in values for word in (option, str(value))]


def stopped(many: int) -> None:
    what = "1 installation was" if many == 1 else f"{many} installations were"
    say(f"{what} stopped; nothing half-made is left")


@contextlib.contextmanager
def elsewhere(scheduler: str | None) -> Iterator[Place | None]:
    """The cluster of a scheduler; None is this machine."""
    if scheduler is None:
        yield None
        return
    needs_a_cluster()
    from rnn_check.asking.cluster import client
    from rnn_check.asking.elsewhere import Cluster

    with client(scheduler, 0) as there:
        say(f"the workers are shown at {there.dashboard_link}")
        yield Cluster(there)


def compared(
    words: Sequence[Word],
    claims: Sequence[Claim],
    verdicts: Verdicts,
    how: How,
    options: Sequence[str] = (),
    scheduler: str | None = None,
    carry: Sequence[Claim] = (),
) -> Compared:
    """Ask whoever is to be asked, and hold all against the first; options: see `Compared`."""
    from rnn_check.upgrades import changes

    found = judged(words, claims, verdicts, how, scheduler, carry)
    parts = [
        changes.compare(asked, sides, tuple(options), way) for way, (asked, sides) in found.items()
    ]
    return changes.joined(parts) if len(parts) > 1 else parts[0]


def judged(
    words: Sequence[Word],
    claims: Sequence[Claim],
    verdicts: Verdicts,
    how: How,
    scheduler: str | None = None,
    carry: Sequence[Claim] = (),
) -> dict[str, tuple[Sequence[Claim], list[Side]]]:
    """Ask whoever is to be asked, and judge: in each way, "" first, which claims and what came of
    them, a side for each subject.

    scheduler: of the cluster that is asked, if it is not this machine. carry: the claims whose
    files are carried between subjects; what comes of them is a way for each that wrote them.
    """
    from rnn_check.subjects import environments
    from rnn_check.upgrades import beside, changes, subjects
    from rnn_check.upgrades.carried import Carried
    from rnn_check.verdicts.gathered import Verdicts
    from rnn_check.verdicts.known import Known

    try:
        prepared = subjects.prepared(words, how)
    except environments.Unmade as error:
        raise BadInput(str(error)) from None
    places = subjects.places(prepared)
    names = [each.word.text for each in prepared if each.target is not None]
    asked_so = {way for _, way in places}
    ways = [way for way in (*how.others, *beside.WAYS) if way in asked_so]
    few = {way: [*claims] if way in how.others else beside.few(claims, way) for way in ways}
    own = Known(verdicts.known.entries, own=verdicts.known.own, whole=False)
    of_way = {"": verdicts, **{way: Verdicts(few[way], own) for way in ways}}
    fewer = {s: few[w] for each in prepared for w, s in how.ways(each.word.backend).items() if w}
    with (
        elsewhere(scheduler) as there,
        progress.shown(names, list(enumerate(names))) as shown,
        subjects.run_of(prepared, how, shown.stage, there) as run,
        environments.interruptible(stopped),
    ):
        shown.expect(len(claims) + sum(map(len, few.values())))
        notes = {
            i: subjects.held(i, word.observed, claims, verdicts)
            for i, word in enumerate(words)
            if word.observed is not None
        }
        targets = [i for i, each in enumerate(prepared) if each.target is not None]
        able = [None if each.target is None else each.word.text for each in prepared]
        carried = Carried(carry, able, own)

        def first(number: int, setting: Setting) -> Sequence[Claim]:
            told = fewer.get(setting, claims)
            return [*told, *carried.to_write(targets[number])] if setting == how.setting else told

        def then(number: int, setting: Setting) -> list[Claim]:
            asked = number not in run.failures and setting == how.setting
            return carried.to_read(targets[number]) if asked else []

        with interruptions(run.interrupt):
            for asked in run.ask_each(first) if places else ():
                place, way = places[asked.subject]
                if not carried.is_written(place, asked):
                    shown.answered(targets.index(place))
                    of_way[way].add(dataclasses.replace(asked, subject=place))
            for asked in run.ask_each(then) if places else ():
                carried.read(places[asked.subject][0], asked)
    found = {
        way: (few.get(way, claims), list(subjects.sides(prepared, run, how, each, notes, way)))
        for way, each in of_way.items()
    }
    names = changes.names(found[""][1])
    for writer, read, each in carried.verdicts():
        sides = list(subjects.sides(prepared, run, how, each, notes))
        found[f"written by {names[writer]}"] = read, sides
    return found
