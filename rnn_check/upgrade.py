"""How does a user ask what an upgrade changed?  `rnn-check compare`, `bisect` and `cache`."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rnn_check.cli import (
    BACKENDS,
    JSON,
    KNOWN,
    MODES,
    PATTERN,
    SLOW,
    TIMEOUT,
    BadInput,
    Verdicts,
    chosen_claims,
    console,
    known_deviations,
    main,
    nearest,
    options_of,
)
from rnn_check.policy import NAMES

if TYPE_CHECKING:
    from rnn_check.claim import Claim
    from rnn_check.compare import Compared, Side
    from rnn_check.environment import Python
    from rnn_check.judge import Setting
    from rnn_check.record import Observations
    from rnn_check.run import Target

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
    click.option("--mode", type=click.Choice(MODES), default="eager", show_default=True),
    click.option("--dtype", type=click.Choice(NAMES), default="float32", show_default=True),
    SLOW,
    TIMEOUT,
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
    default=True,
    show_default=True,
    help="Judge also what the options of Keras's layers do.",
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
@click.option("--all", "everything", is_flag=True, help="Show also what did not change.")
@click.option(
    "--fail-on",
    type=click.Choice(("differ", "drift", "never")),
    default="differ",
    show_default=True,
    help="Exit with 1 if a verdict is worse than the baseline's; if anything changed, bits "
    "included; or never.",
)
def compare(
    subjects: tuple[str, ...],
    python: str | None,
    as_of: str,
    mode: str,
    dtype: str,
    slow: bool,
    timeout: float,
    refresh: bool,
    pattern: str | None,
    paths: tuple[Path, ...],
    options: bool,
    known: Path | None,
    as_json: bool,
    as_markdown: bool,
    html: Path | None,
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
    if html is not None and (html.is_dir() or not html.absolute().parent.is_dir()):
        raise BadInput(f"--html: {html} cannot be a file: name one in a folder that is there")
    if len(subjects) < 2:
        raise BadInput("one subject cannot be compared; name two or more, the baseline first")
    from rnn_check.judge import Setting

    how = _How(python, as_of, Setting(mode, dtype, None, slow), timeout, refresh)
    claims = chosen_claims(paths, pattern, options)
    whole = options and not (paths or pattern)
    verdicts = Verdicts(claims, known_deviations(known, whole))
    compared = _compared(_prepared(subjects, how), claims, verdicts, how)
    from rnn_check import compare_report
    from rnn_check.compare import document

    if html is not None:
        from rnn_check import page

        try:
            html.write_text(page.html(compared), encoding="utf-8")
        except OSError as error:
            raise BadInput(f"--html: {html} cannot be written: {error.strerror}") from None
    if as_json:
        from rnn_check.report import as_document

        click.echo(as_document(document(compared)))
    elif as_markdown:
        click.echo(compare_report.markdown(compared), nl=False)
    else:
        compare_report.terminal(compared, console(), everything)
    sys.exit(compared.exit_code(fail_on))


# --- the subjects ---------------------------------------------------------------------------------


class _How:
    """What holds for all subjects of a comparison."""

    def __init__(
        self, python: str | None, as_of: str, setting: Setting, timeout: float, refresh: bool
    ) -> None:
        from rnn_check import environment

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
        self.refresh = refresh


class _Prepared:
    """A word, and what it turned out to be: a target, what a record holds, or a failure."""

    def __init__(
        self,
        word: str,
        target: Target | None = None,
        observed: Observations | None = None,
        failure: str = "",
    ) -> None:
        self.word = word
        self.target = target
        self.observed = observed
        self.failure = failure


def _prepared(words: Sequence[str], how: _How) -> list[_Prepared]:
    """Every word resolved, before anything is installed or asked."""
    from concurrent.futures import ThreadPoolExecutor

    from rnn_check import environment

    for i, word in enumerate(words):
        if word in words[:i]:
            raise BadInput(f"{word}: named twice; a subject does not differ from itself")
    parsed = [_parsed(word, how) for word in words]
    environment.installer()  # found once, before threads look for it
    with ThreadPoolExecutor(8) as pool:
        prepared = [each for many in pool.map(lambda make: make(), parsed) for each in many]
    seen: dict[tuple[str, str], str] = {}
    for each in prepared:
        if each.target is not None and each.target.environment is not None:
            key = (each.target.environment.key, each.target.backend)
            if key in seen:
                raise BadInput(f"{each.word} and {seen[key]} are the same: {_main(each.target)}")
            seen[key] = each.word
    return prepared


def _parsed(word: str, how: _How) -> Callable[[], list[_Prepared]]:
    """What there is to do to resolve the word. Whatever is wrong with the word itself is raised."""
    from rnn_check import environment, record, run
    from rnn_check.subject import default_backend

    if Path(word).is_file() or word.endswith(".npz"):
        try:
            said = record.read(Path(word))
        except record.RecordError as error:
            raise BadInput(str(error)) from None
        if not said.complete:
            click.echo(f"rnn-check: {word} was interrupted: not all was asked", err=True)
        many = len(said.subjects) > 1
        named = [(f"{word}#{n}" if many else word, s) for n, s in enumerate(said.subjects, 1)]
        return lambda: [_Prepared(name, observed=each) for name, each in named]
    name, at, backend = word.partition("@")
    if name == "current":
        backend = backend if at else default_backend()
        if backend not in BACKENDS:
            raise BadInput(f"{word}: unknown backend {backend!r}{nearest(backend, BACKENDS)}")
        if not run.installed(backend):
            raise BadInput(f"{word}: the backend {backend} is not installed here")
        return lambda: [_Prepared(word, run.Target(backend, (how.setting,)))]
    try:
        wanted = environment.parse(word)
    except environment.WordError as error:
        more = ""
        if "/" in word or ("." in word and "=" not in word):
            more = f"; and there is no file {word}"
        raise BadInput(f"{error}{more}") from None

    def resolve() -> list[_Prepared]:
        try:
            made = environment.resolve(wanted, how.python, how.as_of, refresh=how.refresh)
        except environment.Unmade as error:
            return [_Prepared(word, failure=str(error))]
        return [_Prepared(word, run.Target(made.wanted.backend, (how.setting,), environment=made))]

    return resolve


def _main(target: Target) -> str:
    """The packages that matter, for a message."""
    from rnn_check.environment import KERAS, PROVIDES

    assert target.environment is not None
    named = (p for p in target.environment.packages if p.name in (*KERAS, *PROVIDES))
    return ", ".join(f"{p.name} {p.version}" for p in named) + f" on {target.backend}"


def _compared(
    prepared: Sequence[_Prepared], claims: Sequence[Claim], verdicts: Verdicts, how: _How
) -> Compared:
    """Ask whoever is to be asked, and hold all against the first."""
    from rnn_check import compare, environment, record
    from rnn_check.report import Judged
    from rnn_check.run import Asked, Run
    from rnn_check.subject import available_cores

    targets = [each.target for each in prepared if each.target is not None]
    of_target = [i for i, each in enumerate(prepared) if each.target is not None]
    memory = record.Memory(environment.cache() / "answers", how.refresh)
    with (
        _progress([prepared[i].word for i in of_target], len(claims)) as show,
        Run(
            targets,
            timeout=how.timeout,
            side_by_side=max(1, available_cores()),
            memory=memory,
            tell=show.stage,
        ) as run,
    ):
        for i, each in enumerate(prepared):
            if each.observed is not None:
                for claim in claims:
                    answer = each.observed.answer(claim)
                    verdicts.add(Asked(i, claim, answer, each.observed.setting))
        for asked in run.ask(claims) if targets else ():
            show.answered(asked.subject)
            at = of_target[asked.subject]
            verdicts.add(Asked(at, asked.claim, asked.answer, asked.setting))
    sides: list[Side] = []
    for i, each in enumerate(prepared):
        if each.target is None and each.observed is None:
            name = {"backend": "", "mode": how.setting.mode, "dtype": how.setting.dtype}
            sides.append(compare.Side(each.word, Judged(name, []), each.failure))
            continue
        observed = each.observed
        failure = ""
        if observed is None:
            number = of_target.index(i)
            observed = run.subjects[number]
            failure = {**run.missing, **run.not_started}.get(number, "")
        sides.append(compare.Side(each.word, verdicts.judged(i, observed, ()), failure))
    return compare.compare(claims, sides)


class _Silent:
    """No progress is shown: nobody is watching."""

    def stage(self, number: int, stage: str) -> None: ...

    def answered(self, number: int) -> None: ...


@contextlib.contextmanager
def _progress(words: Sequence[str], claims: int) -> Iterator[Any]:
    """What is being installed, imported and asked, on a terminal."""
    if not sys.stderr.isatty():
        yield _Silent()
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = [TextColumn("{task.description}"), TextColumn("[dim]{task.fields[stage]}")]
    with Progress(
        *columns, BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
        console=Console(stderr=True), transient=True,
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
def bisect(
    claim: str,
    first: str,
    last: str,
    python: str | None,
    as_of: str,
    mode: str,
    dtype: str,
    slow: bool,
    timeout: float,
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
    from rnn_check import bisection, environment
    from rnn_check.judge import Setting

    how = _How(python, as_of, Setting(mode, dtype, None, slow), timeout, refresh)
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
        return _compared(_prepared((before, after), how), claims, verdicts, how)

    found = bisection.search(words, asked, on)
    if as_json:
        from rnn_check.report import as_document

        click.echo(as_document(found.document()))
    else:
        bisection.terminal(found, console())
    sys.exit(found.exit_code)


class _NotAsked(click.ClickException):
    exit_code = 3


# --- the cache ------------------------------------------------------------------------------------


@main.group()
def cache() -> None:
    """List or clear the environments that `compare` made."""


@cache.command("list")
def list_() -> None:
    """The environments in the cache, the latest first."""
    from rich.filesize import decimal
    from rich.table import Table
    from rich.text import Text

    from rnn_check import environment

    found = environment.cached()
    click.echo(f"{environment.environments()}")
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("key", "made", "size", "Python", "made for"):
        table.add_column(column, overflow="fold", justify="right" if column == "size" else "left")
    for each in found:
        about = each.about
        cells = (each.key[:8], str(about["made"])[:16], decimal(each.size), about["python"])
        table.add_row(*cells, Text(", ".join(about["requirements"])))  # jax[cpu] is no markup
    if found:
        console().print(table)
    total = decimal(sum(each.size for each in found))
    many = f"{len(found)} environment" + "s" * (len(found) != 1)
    click.echo(f"{many}, {total} (what the installer's cache shares counted in)")


@cache.command()
def clear() -> None:
    """Remove every environment and every remembered answer."""
    from rich.filesize import decimal

    from rnn_check import environment

    try:
        freed = environment.clear()
    except OSError as error:
        raise BadInput(f"{error.filename} cannot be removed: {error.strerror}") from None
    click.echo(f"removed {decimal(freed)} from {environment.cache()}")
