"""The command line: `rnn-check` (the same as `rnn-check verify`), `observe`, `judge`, `coverage`,
`schema`; and what stands in `upgrade`.

Everything heavy is imported inside the commands, so that `--help` costs nothing.
Reports go to stdout, progress and warnings to stderr.  Exit codes: 0 all agree, 1 something
differs, 2 bad input or usage (nothing was run), 3 a subject could not be asked, 130 interrupted.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from rnn_check.policy import NAMES

if TYPE_CHECKING:
    from rnn_check.claim import Claim
    from rnn_check.deviations import Known
    from rnn_check.judge import Verdict
    from rnn_check.record import Observations
    from rnn_check.report import Judged
    from rnn_check.run import Asked, Run, Target

BACKENDS = ("tensorflow", "jax", "torch", "openvino", "numpy")
MODES = ("eager", "function", "xla")
COMPILED = {"tensorflow": "function", "jax": "xla"}  # the mode asked beside eager


class _DefaultToVerify(click.Group):
    """`rnn-check X` means `rnn-check verify X`, unless X is a command or --help or --version."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        own = {"--help", "-h", "--version", *self.commands}
        if not args or args[0] not in own:
            args = ["verify", *args]
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            click.echo("rnn-check: interrupted", err=True)
            sys.exit(130)


@click.group(
    cls=_DefaultToVerify,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(package_name="rnn_check", prog_name="rnn-check")
def main() -> None:
    """Prove, number by number, that a recurrent layer computes the recurrence it claims.

    Without a command: `rnn-check verify`, whose options are shown by `rnn-check verify --help`.
    """


_Command = TypeVar("_Command", bound=Callable[..., None])


def options_of(*options: Callable[[Any], Any]) -> Callable[[_Command], _Command]:
    """Options that several commands share, in this order."""

    def add(command: _Command) -> _Command:
        for option in reversed(options):
            command = option(command)
        return command

    return add


PATTERN = click.option(
    "-k", "pattern", metavar="PATTERN", help="Only what contains PATTERN (or is so named)."
)
SLOW = click.option("--slow", is_flag=True, help="Judge the slow claims as well (minutes).")
TIMEOUT = click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=300.0,
    show_default=True,
    metavar="SECONDS",
    help="How long one claim may take.",
)
_ASKED = options_of(
    click.option(
        "--backend",
        "backends",
        multiple=True,
        metavar="|".join((*BACKENDS, "all")),
        help="The Keras backend to ask; may be repeated. `all`: those that are installed.  "
        "[default: what Keras itself would take]",
    ),
    click.option(
        "--mode",
        "modes",
        multiple=True,
        type=click.Choice(MODES),
        help="How the layer is run: eager, compiled as a graph (tf.function), or by XLA; may be "
        "repeated, and is asked of the backends that have it.  [default: eager; of several "
        "backends also the compiled one: function on tensorflow, xla on jax]",
    ),
    click.option(
        "--dtype",
        "dtypes",
        multiple=True,
        type=click.Choice(NAMES),
        default=["float32"],
        show_default=True,
        help="The dtype policy of every layer; may be repeated. float64: of the layers alone, "
        "while keras.config.floatx() stays float32; floatx_float64: of both.",
    ),
    click.option(
        "--layer",
        metavar="FILE.py:CLASS",
        help="Judge this class in place of keras.layers.SimpleRNN.",
    ),
    PATTERN,
    SLOW,
    click.option(
        "--options",
        is_flag=True,
        help="Judge also what the options of Keras's layers do (a minute or more).  "
        "[default: if several backends are asked]",
    ),
    TIMEOUT,
)
KNOWN = click.option(
    "--known",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Take the known deviations from FILE, not those that come with rnn_check. What FILE calls "
    "known has to show in every claim that does the same: see docs/deviations.md.",
)
JSON = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON document and nothing else."
)


@main.command()
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path))
@_ASKED
@KNOWN
@JSON
@click.option("--list", "only_list", is_flag=True, help="Show the claims and ask nobody.")
def verify(
    paths: tuple[Path, ...],
    backends: tuple[str, ...],
    modes: tuple[str, ...],
    dtypes: tuple[str, ...],
    layer: str | None,
    pattern: str | None,
    slow: bool,
    options: bool,
    timeout: float,
    known: Path | None,
    as_json: bool,
    only_list: bool,
) -> None:
    """Judge the bundled claims, or those in the files and folders PATHS, against your Keras.

    Several subjects (backends, modes, dtypes) are judged side by side, each backend in a process
    of its own.

    Exit codes: 0 all agree, 1 something differs, 2 bad input or usage, 3 Keras could not be asked.
    """
    if only_list:
        if as_json:
            raise BadInput("--list and --json do not go together")
        _check_backends(backends)
        from rnn_check import report

        report.listing(chosen_claims(paths, pattern, options), console())
        return
    targets = _targets(backends, modes, dtypes, layer, slow)
    options = options or len(targets) > 1
    # the frameworks are imported in their own processes while the claims are read in this one
    with _asking(targets, timeout) as run:
        claims = chosen_claims(paths, pattern, options)
        whole = options and not (paths or pattern)
        verdicts = Verdicts(claims, known_deviations(known, whole))
        for asked in _asked(run, claims, is_all="all" in backends):
            verdicts.add(asked)
        subjects = _reached(run)
        words = [str(p) for p in paths] + (["--known", str(known)] if known else [])
        judged = [
            verdicts.judged(i, run.subjects[i], [*words, *_rerun(run.subjects[i], backends)])
            for i in subjects
        ]
    sys.exit(_report(judged, claims, as_json))


@main.command()
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path))
@_ASKED
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    required=True,
    metavar="FILE",
    help="The record to write.",
)
@click.option("--force", is_flag=True, help="Overwrite FILE if it is there.")
def observe(
    paths: tuple[Path, ...],
    backends: tuple[str, ...],
    modes: tuple[str, ...],
    dtypes: tuple[str, ...],
    layer: str | None,
    pattern: str | None,
    slow: bool,
    options: bool,
    timeout: float,
    output: Path,
    force: bool,
) -> None:
    """Ask as `verify` does, and write down what was said.

    Judges nothing: `rnn-check judge FILE` does, on any machine. What was said before Ctrl-C is
    kept.

    Exit codes: 0 everything was asked, 2 bad input or usage, 3 something could not be asked.
    """
    if output.exists() and not force:
        raise BadInput(f"-o: {output} is there already; --force overwrites it")
    if output.is_dir() or not output.absolute().parent.is_dir():
        raise BadInput(f"-o: {output} cannot be a file: name one in a folder that is there")
    targets = _targets(backends, modes, dtypes, layer, slow)
    from rnn_check import record, report
    from rnn_check.written import ClaimError

    with _asking(targets, timeout) as run:
        claims = chosen_claims(paths, pattern, options or len(targets) > 1)
        try:
            digests = record.digests(claims)
        except ClaimError as error:
            raise BadInput(str(error)) from None
        for each in run.subjects:
            each.claims = digests
        interrupted = False
        try:
            for _ in _asked(run, claims, is_all="all" in backends):
                pass
        except KeyboardInterrupt:
            interrupted = True
        subjects = [run.subjects[i] for i in _reached(run)]
        try:
            record.write(output, subjects, complete=not interrupted)
        except record.RecordError as error:
            raise BadInput(str(error)) from None
    for number, each in enumerate(subjects, 1):
        answers = each.answers.values()
        errors, skipped = (sum(bool(getattr(a, k)) for a in answers) for k in ("error", "skip"))
        click.echo(f"{number}  {report.header(each.subject)}")
        click.echo(
            f"   {len(answers) - errors - skipped} answered · {errors} error · {skipped} not asked"
        )
    if interrupted:
        click.echo(f"rnn-check: interrupted; {output} holds what was said until then", err=True)
        sys.exit(130)
    sys.exit(3 if any(a.error for each in subjects for a in each.answers.values()) else 0)


@main.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@PATTERN
@KNOWN
@JSON
def judge(files: tuple[Path, ...], pattern: str | None, known: Path | None, as_json: bool) -> None:
    """Judge records, without any framework.

    FILES are what `rnn-check observe` wrote.
    Among FILES, folders and what ends in .toml are claims to judge in place of the bundled ones.

    Exit codes: as those of `verify`.
    """
    claims, judged = _judged_records(files, pattern, known)
    sys.exit(_report(judged, claims, as_json))


@main.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@KNOWN
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write the table to FILE.  [default: to stdout]",
)
def coverage(files: tuple[Path, ...], known: Path | None, output: Path | None) -> None:
    """Tabulate what is covered by records.

    A table in Markdown: options down, the records' subjects across.
    Among FILES, folders and what ends in .toml are claims to judge in place of the bundled ones.
    """
    from rnn_check.coverage import table

    text = table(*_judged_records(files, None, known))
    if output is None:
        click.echo(text, nl=False)
        return
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise BadInput(f"-o: {output} cannot be written: {error.strerror}") from None


@main.command()
def schema() -> None:
    """Print the JSON Schema of claim files, for editors."""
    import json

    from rnn_check.claim import json_schema

    click.echo(json.dumps(json_schema(), indent=2, ensure_ascii=False))


# --- who is asked ---------------------------------------------------------------------------------


def _check_backends(backends: Sequence[str]) -> None:
    for backend in backends:
        if backend not in (*BACKENDS, "all"):
            raise BadInput(f"--backend: unknown backend {backend!r}{nearest(backend, BACKENDS)}")


def _targets(
    backends: Sequence[str],
    modes: Sequence[str],
    dtypes: Sequence[str],
    layer: str | None,
    slow: bool,
) -> list[Target]:
    """The processes to start, and how each is asked."""
    _check_backends(backends)
    layer = None if layer is None else _layer(layer)
    from rnn_check import run
    from rnn_check.judge import Setting
    from rnn_check.subject import default_backend

    chosen = list(dict.fromkeys(backends)) or [default_backend()]
    if "all" in chosen:
        chosen = [backend for backend in BACKENDS if run.installed(backend)]
        if absent := [backend for backend in BACKENDS if backend not in chosen]:
            click.echo(f"rnn-check: not installed: {', '.join(absent)}", err=True)
        if not chosen:
            raise BadInput("--backend all: no backend is installed")
    targets = []
    for backend in chosen:
        if backend not in BACKENDS:  # Keras's default, from the environment or its configuration
            raise BadInput(f"unknown backend {backend!r}{nearest(backend, BACKENDS)}")
        if modes:
            asked = [mode for mode in dict.fromkeys(modes) if mode in run.modes(backend)]
        else:
            asked = ["eager"]
            if len(chosen) > 1 or "all" in backends:
                asked += [COMPILED[backend]] if backend in COMPILED else []
        if asked:
            settings = (Setting(m, d, layer, slow) for d in dict.fromkeys(dtypes) for m in asked)
            targets.append(run.Target(backend, tuple(settings)))
    for mode in modes:
        if not any(mode in run.modes(backend) for backend in chosen):
            having = [backend for backend in BACKENDS if mode in run.modes(backend)]
            raise BadInput(
                f"--mode: {', '.join(chosen)} {'has' if len(chosen) == 1 else 'have'} no mode "
                f"{mode!r}, only {', '.join(having)}"
            )
    return targets


def _rerun(subject: Observations, backends: Sequence[str]) -> list[str]:
    """The options that ask this subject alone."""
    words = ["--backend", subject.identity["backend"]] if backends else []
    how = subject.setting
    words += ["--layer", how.layer] if how.layer else []
    words += ["--mode", how.mode] if how.mode != "eager" else []
    words += ["--dtype", how.dtype] if how.dtype != "float32" else []
    return words + (["--slow"] if how.slow else [])


@contextlib.contextmanager
def _asking(targets: list[Target], timeout: float) -> Iterator[Run]:
    from rnn_check.run import Run

    with Run(targets, timeout=timeout) as run:
        yield run


def _asked(run: Run, claims: Sequence[Claim], *, is_all: bool) -> Iterator[Asked]:
    """The answers as they come; on a terminal, how many there are.

    A backend that is not installed after all is bad input, unless `all` were asked.
    """
    for asked in _shown(run, claims) if sys.stderr.isatty() else run.ask(claims):
        if run.missing and not is_all:
            raise BadInput("\n".join(run.missing.values()))
        yield asked


def _shown(run: Run, claims: Sequence[Claim]) -> Iterator[Asked]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()]
    console = Console(stderr=True)
    with Progress(*columns, TimeElapsedColumn(), console=console, transient=True) as progress:
        tasks = [
            progress.add_task(f"{target.backend} {setting.mode}", total=len(claims))
            for target in run.targets
            for setting in target.settings
        ]
        for asked in run.ask(claims):
            progress.advance(tasks[asked.subject])
            yield asked


def _reached(run: Run) -> list[int]:
    """The subjects that there are. If none could be started, nothing was asked: exit 3."""
    for reason in run.missing.values():
        click.echo(f"rnn-check: {reason}", err=True)
    if len(run.missing) + len(run.not_started) == len(run.targets):
        for reason in run.not_started.values():
            click.echo(f"rnn-check: {reason}", err=True)
        sys.exit(3)
    of = [number for number, target in enumerate(run.targets) for _ in target.settings]
    return [i for i, number in enumerate(of) if number not in run.missing]


# --- what is judged -------------------------------------------------------------------------------


class Verdicts:
    """Verdicts as the answers come: one claim is judged while the next is asked."""

    def __init__(self, claims: Sequence[Claim], known: Known) -> None:
        self.claims = claims
        self.known = known
        self.of: dict[tuple[int, int], list[Verdict]] = {}

    def add(self, asked: Asked) -> None:
        from rnn_check.judge import judge

        self.of[asked.subject, id(asked.claim)] = judge(
            asked.claim, asked.answer, dtype=asked.setting.dtype
        )

    def judged(self, index: int, subject: Observations, rerun: Sequence[str]) -> Judged:
        from rnn_check.judge import judge
        from rnn_check.report import Judged

        verdicts = [(claim, self.of.get((index, id(claim)), [])) for claim in self.claims]
        given = [(claim, each) for claim, each in verdicts if each]

        def again(claim: Claim, arithmetic: str) -> list[Verdict]:
            return judge(claim, subject.answer(claim), dtype=arithmetic)

        marked = self.known.mark(given, subject.identity, subject.setting, again)
        return Judged(subject.subject, marked, rerun)


def _judged_records(
    files: Sequence[Path], pattern: str | None, known: Path | None
) -> tuple[list[Claim], list[Judged]]:
    """The claims among the files, or those that are bundled, and the records judged by them."""
    paths = tuple(f for f in files if f.is_dir() or f.suffix == ".toml")
    records = [f for f in files if f not in paths]
    if not records:
        raise BadInput("no record among them; `rnn-check observe -o FILE` writes one")
    from rnn_check import record
    from rnn_check.run import Asked

    try:
        read = [(file, record.read(file)) for file in records]
    except record.RecordError as error:
        raise BadInput(str(error)) from None
    held = {name for _, each in read for subject in each.subjects for name in subject.answers}
    options = any(name.startswith("options/") for name in held)
    claims = chosen_claims(paths, pattern, options)
    whole = options and not (paths or pattern)
    verdicts = Verdicts(claims, known_deviations(known, whole))
    judged: list[Judged] = []
    names = {claim.name for claim in claims}
    for file, each in read:
        if not each.complete:
            click.echo(f"rnn-check: {file} was interrupted: not all was asked", err=True)
        recorded = {name for subject in each.subjects for name in subject.answers}
        if pattern is None and (others := sorted(recorded - names)):
            more = f" and {len(others) - 3} more" if len(others) > 3 else ""
            click.echo(
                f"rnn-check: {file} also holds {', '.join(others[:3])}{more}, which no claim "
                "given is called",
                err=True,
            )
        for subject in each.subjects:
            for claim in claims:
                answer = subject.answer(claim)
                verdicts.add(Asked(len(judged), claim, answer, subject.setting))
            rerun = ["judge", str(file), *map(str, paths), *(["--known", str(known)] * bool(known))]
            judged.append(verdicts.judged(len(judged), subject, rerun))
    return claims, judged


def _report(judged: Sequence[Judged], claims: Sequence[Claim], as_json: bool) -> int:
    from rnn_check import report

    everything = [v for j in judged for v in j.verdicts]
    if len(judged) == 1:
        (only,) = judged
        if as_json:
            click.echo(report.as_json(only.subject, only.verdicts))
        else:
            titles = {claim.name: claim.title for claim in claims}
            report.terminal(only.subject, only.verdicts, titles, console(), only.rerun)
    elif as_json:
        click.echo(report.as_json_of_several(judged))
    else:
        report.terminal_of_several(judged, console())
    code = report.exit_code(everything)
    if code == 3 and not report.summary(everything)["error"]:
        click.echo("rnn-check: nothing was compared", err=True)
    return code


def chosen_claims(paths: tuple[Path, ...], pattern: str | None, options: bool) -> list[Claim]:
    """Those in the paths, or those that are bundled; of these, what options do only if asked."""
    import dataclasses

    from rnn_check.claim import bundled, load_all
    from rnn_check.written import ClaimError

    if not paths and not options and pattern is None:
        paths = tuple(f for f in sorted(bundled().iterdir()) if f.is_dir() and f.name != "options")
    try:
        claims = list(load_all(paths))
    except ClaimError as error:
        raise BadInput(str(error)) from None
    if pattern is None:
        return claims
    chosen = [c for c in claims if c.name == pattern]
    if not chosen:
        for c in claims:
            matching = tuple(
                e for e in c.expectations if pattern.lower() in f"{c.name} {e.name}".lower()
            )
            if matching:
                chosen.append(dataclasses.replace(c, expectations=matching))
    if not chosen:
        raise BadInput(f"-k: no claim matches {pattern!r}; `rnn-check --list` shows them")
    return chosen


def known_deviations(known: Path | None, whole: bool) -> Known:
    """The known deviations; whole: whether all the bundled claims are judged."""
    from rnn_check import deviations
    from rnn_check.written import ClaimError

    try:
        entries = deviations.load(known or deviations.bundled())
    except ClaimError as error:
        raise BadInput(str(error)) from None
    return deviations.Known(entries, own=known is not None, whole=whole)


def _layer(spec: str) -> str:
    file, colon, name = spec.rpartition(":")
    if not colon or not name.isidentifier():
        raise BadInput(f"--layer: expected FILE.py:CLASS, got {spec!r}")
    if not Path(file).is_file():
        raise BadInput(f"--layer: no such file: {file}")
    return f"{Path(file).resolve()}:{name}"


def nearest(word: str, known: tuple[str, ...]) -> str:
    import difflib

    close = difflib.get_close_matches(word, known, 1)
    return f"; did you mean {close[0]}?" if close else f"; known: {', '.join(known)}"


class BadInput(click.ClickException):
    exit_code = 2


def console() -> Any:
    from rich.console import Console

    # a pipe has no width; 80 columns would fold every line of the table
    return Console() if sys.stdout.isatty() else Console(width=120)


from rnn_check import upgrade  # noqa: E402, F401  whose commands belong to `main`
