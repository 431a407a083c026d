"""How does a user ask what an upgrade changed?  `rnn-check compare`, `bisect` and `cache`."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from rnn_check.cli.commands import (
    BACKENDS,
    JSON,
    KNOWN,
    MEMORY,
    MODES,
    PATTERN,
    SLOW,
    TIMEOUT,
    BadInput,
    Verdicts,
    chosen_claims,
    known_deviations,
    main,
    options_of,
)
from rnn_check.refusal import nearest
from rnn_check.reports.terminal import console, interruptions, is_watched, say
from rnn_check.subjects.policy import NAMES

if TYPE_CHECKING:
    from rnn_check.asking.records import Observations, Record
    from rnn_check.asking.request import Setting
    from rnn_check.asking.run import Target
    from rnn_check.claims.claim import Claim
    from rnn_check.subjects.environments import Python, Wanted
    from rnn_check.upgrades.changes import Compared, Side

_ENVIRONMENTS = options_of(
    click.option(
        "--python",
        "python",
        metavar="VERSION|PATH",
        help="The Python of the environments, 3.10 for example.  [default: this one]",
    ),
    click.option(
        "--as-of",
        metavar="DATE|release|now",
        default="release",
        show_default=True,
        help="What requirements leave open is taken as it was on that day (2024-05-31); when the "
        "last of the packages named came out; or as it is now.",
    ),
    click.option(
        "--mode",
        type=click.Choice(MODES),
        default="eager",
        help="How the layer is run.  [default: eager, or as the records were asked]",
    ),
    click.option(
        "--dtype",
        type=click.Choice(NAMES),
        default="float32",
        help="The dtype policy of every layer.  [default: float32, or as the records were asked]",
    ),
    SLOW,
    TIMEOUT,
    MEMORY,
    click.option(
        "--refresh",
        is_flag=True,
        help="Resolve and ask anew what the cache knows. Environments are kept.",
    ),
)

_CLAIMS = click.option(
    "--claims",
    "paths",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="Judge the claims in this file or folder, in place of the bundled ones; may be repeated.",
)


@main.command()
@click.argument("subjects", nargs=-1, required=True, metavar="BASELINE SUBJECT...")
@_ENVIRONMENTS
@PATTERN
@_CLAIMS
@click.option(
    "--options/--no-options",
    default=None,
    help="Judge also what the options of Keras's layers do.  [default: they are, unless there are "
    "records, of which what they hold is judged]",
)
@KNOWN
@JSON
@click.option("--markdown", "as_markdown", is_flag=True, help="Print Markdown, for a pull request.")
@click.option(
    "--html",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write a page to FILE as well: one file, to be read without network or script.",
)
@click.option("--force", is_flag=True, help="Overwrite the page if it is there already.")
@click.option("--all", "everything", is_flag=True, help="Show also what did not change.")
@click.option(
    "--fail-on",
    type=click.Choice(("differ", "drift", "never")),
    default="differ",
    show_default=True,
    help="Exit with 1 if a verdict is worse than the baseline's; if anything changed, bits "
    "included; or never.",
)
@click.pass_context
def compare(
    context: click.Context,
    subjects: tuple[str, ...],
    python: str | None,
    as_of: str,
    mode: str,
    dtype: str,
    slow: bool,
    timeout: float,
    memory: int,
    refresh: bool,
    pattern: str | None,
    paths: tuple[Path, ...],
    options: bool | None,
    known: Path | None,
    as_json: bool,
    as_markdown: bool,
    html: Path | None,
    force: bool,
    everything: bool,
    fail_on: str,
) -> None:
    """Show what changed from one subject to others, claim by claim.

    A subject is requirements and a backend (tensorflow==2.13.1, or keras==3.12.0,jax==0.7.2@jax);
    `current`, which is this environment (current@jax); or a record (see `observe`). Requirements
    get an environment of their own, which is kept in a cache.

    Exit codes: 0 nothing got worse, 1 something did (see --fail-on), 2 bad input or usage,
    3 a subject could not be asked.
    """
    if as_json and as_markdown:
        raise BadInput("--json and --markdown do not go together")
    if html is not None:
        _check_output("--html", html, force)
    elif force:
        raise BadInput("--force is of --html, which is not given")
    words = _words(subjects)
    if len(words) < 2:
        raise BadInput("one subject cannot be compared; name two or more, the baseline first")
    _check_given(context, words)
    how = _How(python, as_of, _setting(context, words, mode, dtype, slow), timeout, memory, refresh)
    how.options_of(context, words)
    claims = _claims(words, paths, pattern, options)
    whole = options is not False and not (paths or pattern or any(w.observed for w in words))
    verdicts = Verdicts(claims, known_deviations(known, whole))
    judged = [*_repeated("--claims", paths), *_repeated("--known", [known] if known else [])]
    compared = _compared(_prepared(words, how), claims, verdicts, how, judged)
    from rnn_check.reports import changes
    from rnn_check.upgrades.changes import document

    if html is not None:
        from rnn_check.reports import page

        try:
            html.write_text(page.html(compared), encoding="utf-8")
        except OSError as error:
            raise BadInput(f"--html: {html} cannot be written: {error.strerror}") from None
    if as_json:
        from rnn_check.reports.verdicts import as_document

        click.echo(as_document(document(compared)))
    elif as_markdown:
        click.echo(changes.markdown(compared), nl=False)
    else:
        changes.terminal(compared, console(), everything)
    sys.exit(compared.exit_code(fail_on))


def _check_output(option: str, file: Path, force: bool) -> None:
    """Whether it can be written, before anything is asked."""
    if file.is_dir() or not file.absolute().parent.is_dir():
        raise BadInput(f"{option}: {file} cannot be a file: name one in a folder that is there")
    if file.exists() and not force:
        raise BadInput(f"{option}: {file} is there already; --force overwrites it")
    if not os.access(file if file.exists() else file.absolute().parent, os.W_OK):
        raise BadInput(f"{option}: {file} cannot be written: no permission")


def _repeated(option: str, values: Sequence[object]) -> list[str]:
    return [word for value in values for word in (option, str(value))]


# --- the subjects ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Word:
    """A subject as it was typed: a record, packages, or this environment.

    notes: what has to be known of it.
    """

    text: str
    backend: str
    observed: Observations | None = None
    wanted: Wanted | None = None
    notes: tuple[str, ...] = ()


def _words(texts: Sequence[str]) -> list[_Word]:
    """What each word is; a record of several subjects is several. BadInput if one is nothing."""
    words = [word for text in texts for word in _read(text)]
    for i, word in enumerate(words):
        if word.text in [each.text for each in words[:i]]:
            raise BadInput(f"{word.text}: named twice; a subject does not differ from itself")
    return words


def _read(text: str) -> list[_Word]:
    from rnn_check.asking import run
    from rnn_check.subjects import environments as environment
    from rnn_check.subjects.asked.backends import default_backend

    file, number = _file(text)
    if file is not None:
        said = _record(file)
        many = len(said.subjects)
        if not 0 <= number <= many:
            raise BadInput(f"{text}: {file} holds {many} subject" + "s" * (many != 1))
        notes = () if said.complete else ("it was interrupted: not all was asked",)
        return [
            _Word(f"{file}#{n}" if many > 1 else text, s.identity.backend, s, notes=notes)
            for n, s in enumerate(said.subjects, 1)
            if number in (0, n)
        ]
    name, at, backend = text.partition("@")
    if "torch.nn" in (name.partition("=")[0], backend):
        raise BadInput(
            f"{text}: environments are made for Keras alone; `rnn-check observe --framework torch "
            "-o FILE.npz` in each environment makes records of torch.nn, which can be compared"
        )
    if name == "current":
        backend = backend if at else default_backend()
        if backend not in BACKENDS:
            raise BadInput(f"{text}: unknown backend {backend!r}{nearest(backend, BACKENDS)}")
        if not run.installed(backend):
            raise BadInput(f"{text}: the backend {backend} is not installed here")
        return [_Word(text, backend)]
    try:
        wanted = environment.parse(text)
    except environment.WordError as error:
        more = ""
        if "/" in text or ("." in text and "=" not in text):
            more = f"; and there is no file {text}"
        raise BadInput(f"{error}{more}") from None
    return [_Word(text, wanted.backend, wanted=wanted)]


def _file(text: str) -> tuple[Path | None, int]:
    """The file that a word names, if it names one, and which of its subjects (0: all)."""
    if Path(text).is_file() or text.endswith(".npz"):
        return Path(text), 0
    file, _, number = text.rpartition("#")
    if re.fullmatch(r"[1-9]\d{0,5}", number) and (Path(file).is_file() or file.endswith(".npz")):
        return Path(file), int(number)
    return None, 0


def _record(file: Path) -> Record:
    from rnn_check.asking import records as record

    try:
        return record.read(file)
    except record.RecordError as error:
        raise BadInput(str(error)) from None


_OF_ENVIRONMENTS = ("python", "as_of", "refresh")
_OF_ASKING = ("mode", "dtype", "slow", "timeout", "memory")


def _given(context: click.Context, name: str) -> bool:
    return context.get_parameter_source(name) != ParameterSource.DEFAULT


def _check_given(context: click.Context, words: Sequence[_Word]) -> None:
    """An option that would change nothing is refused."""
    for names, anybody, why in (
        (_OF_ASKING, any(not w.observed for w in words), "records were asked already"),
        (_OF_ENVIRONMENTS, any(w.wanted for w in words), "no environment is made for them"),
    ):
        for name in names:
            if _given(context, name) and not anybody:
                option = "--" + name.replace("_", "-")
                raise BadInput(f"{option} changes nothing of these subjects: {why}")


def _setting(
    context: click.Context, words: Sequence[_Word], mode: str, dtype: str, slow: bool
) -> Setting:
    """How is asked: as is said, else as the records were, if they agree and all backends can."""
    from rnn_check.asking import run
    from rnn_check.asking.request import Setting

    recorded = [word.observed.setting for word in words if word.observed]
    backends = {word.backend for word in words if not word.observed}
    (modes, dtypes, slows) = ({getattr(s, k) for s in recorded} for k in ("mode", "dtype", "slow"))
    if not _given(context, "mode") and len(modes) == 1:
        (of_records,) = modes
        mode = of_records if all(of_records in run.modes(b) for b in backends) else mode
    if not _given(context, "dtype") and len(dtypes) == 1:
        (dtype,) = dtypes
    if not _given(context, "slow") and len(slows) == 1:
        (slow,) = slows
    return Setting(mode, dtype, None, slow)


def _claims(
    words: Sequence[_Word], paths: tuple[Path, ...], pattern: str | None, options: bool | None
) -> list[Claim]:
    """Those that are asked for; if none are, what the records hold, and without records all."""
    records = [word for word in words if word.observed]
    held = {name for word in records if word.observed for name in word.observed.answers}
    if not records or paths or pattern is not None or options is not None:
        return chosen_claims(paths, pattern, options is not False)
    claims = chosen_claims((), None, any(name.startswith("options/") for name in held))
    if found := [claim for claim in claims if claim.name in held]:
        return found
    names = ", ".join(sorted(held)[:3])
    raise BadInput(
        f"{records[0].text} holds none of the bundled claims ({names or 'no claim at all'}); "
        "--claims PATH judges those that it was asked"
    )


class _How:
    """What holds for all subjects of a comparison.

    asking, making: the options, as they were typed, with which they are asked, and environments
    are made, again.
    """

    def __init__(
        self,
        python: str | None,
        as_of: str,
        setting: Setting,
        timeout: float,
        memory: int,
        refresh: bool,
    ) -> None:
        from rnn_check.subjects import environments as environment

        try:
            self.python: Python = environment.find_python(python)
        except environment.WordError as error:
            raise BadInput(f"--python: {error}") from None
        self.as_of: str | date = as_of
        if as_of not in (environment.RELEASE, environment.NOW):
            try:
                self.as_of = date.fromisoformat(as_of)
            except ValueError:
                raise BadInput(
                    f"--as-of: expected a date (2024-05-31), release or now, got {as_of!r}"
                ) from None
        self.setting = setting
        self.timeout = timeout
        self.memory = memory
        self.refresh = refresh
        self.asking: tuple[str, ...] = ()
        self.making: tuple[str, ...] = ()

    def options_of(self, context: click.Context, words: Sequence[_Word] = ()) -> None:
        """Take down with which options to ask again."""
        beside = any(word.observed for word in words)  # whose mode is not the default otherwise
        asking = [
            word
            for option, value, default in (
                ("--mode", self.setting.mode, "eager"),
                ("--dtype", self.setting.dtype, "float32"),
            )
            for word in (option, value)
            if value != default or beside
        ]
        asking += ["--slow"] * self.setting.slow
        if _given(context, "timeout"):
            asking += ["--timeout", f"{self.timeout:g}"]
        if _given(context, "memory"):
            asking += ["--memory", f"{self.memory / 2**30:.6g}G"]
        making = []
        for option, name in (("--python", "python"), ("--as-of", "as_of")):
            if _given(context, name):
                making += [option, str(context.params[name])]
        self.asking, self.making = tuple(asking), tuple(making)


class _Prepared:
    """A word, and what it turned out to be: a target, what a record holds, or a failure."""

    def __init__(
        self,
        word: _Word,
        how: _How,
        target: Target | None = None,
        failure: str = "",
        notes: tuple[str, ...] = (),
    ) -> None:
        self.word = word.text
        self.observed = word.observed
        self.target = target
        self.failure = failure
        self.notes = (*word.notes, *notes)
        self.options = () if word.observed else how.asking + how.making * bool(word.wanted)


def _prepared(words: Sequence[_Word], how: _How) -> list[_Prepared]:
    """Every word resolved, before anything is installed or asked."""
    from concurrent.futures import ThreadPoolExecutor

    from rnn_check.subjects import environments as environment

    if any(word.wanted for word in words):
        try:
            environment.installer()  # found once, before threads look for it
        except environment.Unmade as error:
            raise BadInput(str(error)) from None
    with ThreadPoolExecutor(8) as pool, environment.interruptible(_stopped):
        prepared = list(pool.map(lambda word: _resolved(word, how), words))
    seen: dict[tuple[str, str], str] = {}
    for each in prepared:
        if each.target is not None and each.target.environment is not None:
            key = (each.target.environment.key, each.target.backend)
            if key in seen:
                raise BadInput(f"{each.word} and {seen[key]} are the same: {_main(each.target)}")
            seen[key] = each.word
    return prepared


def _resolved(word: _Word, how: _How) -> _Prepared:
    from rnn_check.asking import run
    from rnn_check.subjects import environments as environment

    if word.wanted is None:
        target = None if word.observed else run.Target(word.backend, (how.setting,))
        return _Prepared(word, how, target)
    try:
        made = environment.resolve(word.wanted, how.python, how.as_of, refresh=how.refresh)
    except environment.Unmade as error:
        return _Prepared(word, how, failure=str(error))
    target = run.Target(made.wanted.backend, (how.setting,), environment=made)
    notes: tuple[str, ...] = (made.stale,) if made.stale else ()
    if told := environment.told():
        notes += (f"its packages come from where {', '.join(told)} says",)
    return _Prepared(word, how, target, notes=notes)


def _stopped(many: int) -> None:
    what = "1 installation was" if many == 1 else f"{many} installations were"
    click.echo(f"rnn-check: {what} stopped; nothing half-made is left", err=True)


def _main(target: Target) -> str:
    """The packages that matter, for a message."""
    from rnn_check.subjects.environments import KERAS, PROVIDES

    assert target.environment is not None
    named = (p for p in target.environment.packages if p.name in (*KERAS, *PROVIDES))
    return ", ".join(f"{p.name} {p.version}" for p in named) + f" on {target.backend}"


def _compared(
    prepared: Sequence[_Prepared],
    claims: Sequence[Claim],
    verdicts: Verdicts,
    how: _How,
    options: Sequence[str] = (),
) -> Compared:
    """Ask whoever is to be asked, and hold all against the first."""
    from rnn_check.asking import records as record
    from rnn_check.asking.run import Asked, Run
    from rnn_check.subjects import environments as environment
    from rnn_check.subjects.asked.machine import available_cores
    from rnn_check.subjects.identity import not_started
    from rnn_check.upgrades import changes as compare
    from rnn_check.verdicts.judge import Judged

    targets = [each.target for each in prepared if each.target is not None]
    of_target = [i for i, each in enumerate(prepared) if each.target is not None]
    memory = record.Memory(environment.cache() / "answers", how.refresh)
    with (
        _progress([prepared[i].word for i in of_target], len(claims)) as show,
        Run(
            targets,
            timeout=how.timeout,
            most_memory=how.memory,
            side_by_side=max(1, available_cores()),
            memory=memory,
            tell=show.stage,
        ) as run,
        environment.interruptible(_stopped),
    ):
        for i, each in enumerate(prepared):
            if each.observed is not None:
                each.notes += _held(i, each.observed, claims, verdicts)
        with interruptions(run.interrupt):
            for asked in run.ask(claims) if targets else ():
                show.answered(asked.subject)
                at = of_target[asked.subject]
                verdicts.add(Asked(at, asked.claim, asked.answer, asked.setting))
    sides: list[Side] = []
    for i, each in enumerate(prepared):
        if each.target is None and each.observed is None:
            nobody = not_started("").asked(how.setting.mode, how.setting.dtype)
            judged = Judged(nobody, [])
            sides.append(compare.Side(each.word, judged, each.failure, each.notes, each.options))
            continue
        observed = each.observed
        failure = ""
        if observed is None:
            number = of_target.index(i)
            observed = run.subjects[number]
            failure = {**run.missing, **run.not_started}.get(number, "")
        judged = verdicts.judged(i, observed, ())
        sides.append(compare.Side(each.word, judged, failure, each.notes, each.options))
    return compare.compare(claims, sides, tuple(options))


def _held(
    index: int, observed: Observations, claims: Sequence[Claim], verdicts: Verdicts
) -> tuple[str, ...]:
    """Judge what a record holds; what it does not is said once, and has no verdict."""
    from rnn_check.asking import records as record
    from rnn_check.asking.run import Asked

    lacking: dict[str, list[str]] = {record.NOT_RECORDED: [], record.CHANGED: []}
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
    if others and not lacking[record.NOT_RECORDED]:
        return tuple(notes)  # a choice was made of what it holds
    if others:
        notes.append(f"it also holds {len(others):,} that no claim here is called: {_some(others)}")
    return tuple(notes)


def _some(names: Sequence[str], most: int = 3) -> str:
    more = len(names) - most
    return ", ".join(names[:most]) + f" and {more:,} more" * (more > 0)


class _Lines:
    """Nobody sees a bar, but somebody may wait at a log: a line for each stage of a subject."""

    def __init__(self, words: Sequence[str]) -> None:
        self._words = words
        self._stages: dict[int, str] = {}

    def stage(self, number: int, stage: str) -> None:
        if self._stages.get(number) != stage:  # who waits says so again and again
            self._stages[number] = stage
            say(f"{self._words[number]}: {stage}")

    def answered(self, number: int) -> None: ...


@contextlib.contextmanager
def _progress(words: Sequence[str], claims: int) -> Iterator[Any]:
    """What is being installed, imported and asked: a bar on a terminal, else lines."""
    if not is_watched(sys.stderr):
        yield _Lines(words)
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = [  # jax[cuda12] is no markup
        TextColumn("{task.description}", markup=False),
        TextColumn("{task.fields[stage]}", style="dim", markup=False),
    ]
    with Progress(
        *columns, BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
        console=console(sys.stderr), transient=True,
    ) as progress:  # fmt: skip
        tasks = [
            progress.add_task(word, total=claims, stage="waiting", start=False) for word in words
        ]

        class Shown:
            def stage(self, number: int, stage: str) -> None:
                progress.start_task(tasks[number])
                progress.update(tasks[number], stage=stage)

            def answered(self, number: int) -> None:
                progress.advance(tasks[number])

        yield Shown()


# --- when did it change? --------------------------------------------------------------------------


@main.command()
@click.argument("claim")
@click.option(
    "--from", "first", required=True, metavar="VERSION|SUBJECT", help="Where it was as before."
)
@click.option(
    "--to", "last", required=True, metavar="VERSION|SUBJECT", help="Where it has changed."
)
@_ENVIRONMENTS
@_CLAIMS
@click.option(
    "--on",
    type=click.Choice(("verdict", "bits")),
    help="What has to change: a verdict, or any bit or answer.  [default: the verdict, if both "
    "ends differ in it; else bits]",
)
@JSON
@click.pass_context
def bisect(
    context: click.Context,
    claim: str,
    first: str,
    last: str,
    python: str | None,
    as_of: str,
    mode: str,
    dtype: str,
    slow: bool,
    timeout: float,
    memory: int,
    refresh: bool,
    paths: tuple[Path, ...],
    on: str | None,
    as_json: bool,
) -> None:
    """Find the version in which a claim's verdict or bits changed.

    CLAIM is a claim's name, or a part of it, as with -k. --from and --to are versions of
    TensorFlow (2.12), or subjects that differ in the version of one package
    (keras==3.0.0@numpy and keras==3.5.0@numpy).

    Exit codes: 0 found, 1 both ends are the same, 2 bad input or usage, 3 a subject could not be
    asked.
    """
    from rnn_check.asking.request import Setting
    from rnn_check.reports import bisection as reports_bisection
    from rnn_check.subjects import environments as environment
    from rnn_check.upgrades import bisection

    how = _How(python, as_of, Setting(mode, dtype, None, slow), timeout, memory, refresh)
    how.options_of(context)
    claims = chosen_claims(paths, claim, True)
    try:
        versions = bisection.Versions.between(first, last)
        words = versions.words(how.python)
    except environment.WordError as error:
        raise BadInput(str(error)) from None
    except environment.Unmade as error:
        raise _NotAsked(str(error)) from None

    def asked(before: str, after: str) -> Compared:
        click.echo(f"rnn-check: asking {before} and {after}", err=True)
        verdicts = Verdicts(claims, known_deviations(None, False))
        of_claims = _repeated("--claims", paths)
        return _compared(_prepared(_words((before, after)), how), claims, verdicts, how, of_claims)

    found = bisection.search(words, asked, on)
    if as_json:
        from rnn_check.reports.verdicts import as_document

        click.echo(as_document(found.document()))
    else:
        reports_bisection.terminal(found, console())
    sys.exit(found.exit_code)


class _NotAsked(click.ClickException):
    exit_code = 3


# --- the cache ------------------------------------------------------------------------------------


@main.group()
def cache() -> None:
    """List or clear what `compare` keeps: environments, and what they said."""


@cache.command("list")
def list_() -> None:
    """The environments in the cache, the last used first.

    Their keys, as they are shown, are what `cache clear` takes.
    """
    from rich.filesize import decimal
    from rich.table import Table
    from rich.text import Text

    from rnn_check.subjects import environments as environment

    found = environment.cached()
    click.echo(f"{environment.environments()}")
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("key", "used", "size", "Python", "made for"):
        table.add_column(column, overflow="fold", justify="right" if column == "size" else "left")
    for each in found:
        python, made_for = "", "not whole"
        if each.about is not None:
            python, made_for = each.about.python, ", ".join(each.about.requirements)
        shown = (_short(each.key), _ago(each.used), decimal(each.size), python, made_for)
        table.add_row(*map(Text, shown))  # jax[cpu] is no markup
    if found:
        console().print(table)
    total = decimal(sum(each.size for each in found))
    many = f"{len(found)} environment" + "s" * (len(found) != 1)
    click.echo(f"{many}, {total} (what uv's own cache shares counted in)")


def _short(key: str) -> str:
    """As much of a key as tells it from all others."""
    return key[:8] if re.fullmatch("[0-9a-f]{20}", key) else key


def _ago(when: datetime) -> str:
    age = datetime.now(UTC) - when
    if age < timedelta(hours=1):
        return "just now"
    return f"{age // timedelta(hours=1)} h ago" if age.days < 2 else f"{age.days} d ago"


def _age(context: click.Context, option: click.Parameter, value: str | None) -> timedelta | None:
    """30d, 12h, 8w."""
    if value is None:
        return None
    given = re.fullmatch(r"(\d{1,5})([hdw])", value)
    if given is None:
        raise click.BadParameter(f"expected an age such as 30d, 12h or 8w, got {value!r}")
    unit = {"h": "hours", "d": "days", "w": "weeks"}[given[2]]
    return timedelta(**{unit: int(given[1])})


def _bytes(context: click.Context, option: click.Parameter, value: str | None) -> int | None:
    """20GB, 500 MB, 1GiB."""
    if value is None:
        return None
    given = re.fullmatch(r"(\d{1,9}(?:\.\d{1,3})?) ?(?:([kMGT])(i?))?B?", value)
    if given is None:
        raise click.BadParameter(f"expected a size such as 20GB or 500MB, got {value!r}")
    base = 1024 if given[3] else 1000
    return int(float(given[1]) * base ** " kMGT".index(given[2] or " "))


@cache.command()
@click.argument("keys", nargs=-1, metavar="[KEY...]")
@click.option(
    "--older-than",
    callback=_age,
    metavar="AGE",
    help="Remove environments that were not used for AGE (30d, 12h, 8w), and what was resolved and "
    "answered longer ago.",
)
@click.option(
    "--size",
    callback=_bytes,
    metavar="SIZE",
    help="Remove environments, the longest unused first, until they take SIZE (20GB) at most.",
)
def clear(keys: tuple[str, ...], older_than: timedelta | None, size: int | None) -> None:
    """Remove the environments whose KEYS `cache list` shows; without one, everything.

    Everything is environments, what was resolved, what they answered, and what jax compiled. An
    environment that another run uses, or installs, is left, and is named.

    Exit codes: 0 removed (with --older-than or --size also if some of it was left), 2 bad input, or
    something was left or cannot be removed.
    """
    from rich.filesize import decimal

    from rnn_check.subjects import environments as environment

    if keys and (older_than is not None or size is not None):
        raise BadInput("a KEY goes with neither --older-than nor --size")
    try:
        if keys:
            cleared = environment.remove(environment.keyed(environment.cached(), keys))
        elif older_than is None and size is None:
            cleared = environment.clear()
        else:
            found = environment.cached()
            cleared = environment.remove(environment.unused(found, older_than, size))
            cleared.freed += environment.forget(older_than) if older_than is not None else 0
    except (environment.WordError, environment.Unremoved) as error:
        raise BadInput(str(error)) from None
    click.echo(f"removed {decimal(cleared.freed)} from {environment.cache()}")
    left = [f"{each}; it stays" for each in cleared.left]
    if left and older_than is None and size is None:
        raise BadInput("\n".join(left))
    for each in left:
        say(each)
