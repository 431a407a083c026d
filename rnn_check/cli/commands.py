"""The command line: `rnn-check` (the same as `rnn-check verify`), `observe`, `judge`, `coverage`,
`schema`; and what stands in `upgrade`.

Everything heavy is imported inside the commands, so that `--help` costs nothing.
Reports go to stdout, progress and warnings to stderr.  Exit codes: 0 all agree, 1 something
differs, 2 bad input or usage (nothing was run, but of claim files those that can be read), 3 a
subject could not be asked, 130 interrupted (129 by SIGHUP, 143 by SIGTERM), 141 who read stdout has
gone.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from rnn_check.refusal import nearest
from rnn_check.reports import terminal
from rnn_check.reports.terminal import Interrupted, console, plain, say
from rnn_check.subjects.policy import NAMES

if TYPE_CHECKING:
    from rnn_check.asking.records import Observations
    from rnn_check.asking.request import Answer
    from rnn_check.asking.run import Asked, Run, Target
    from rnn_check.claims.claim import Claim
    from rnn_check.reports.verdicts import Amount
    from rnn_check.verdicts.deviations import Known
    from rnn_check.verdicts.judge import Judged, Verdict

BACKENDS = ("tensorflow", "jax", "torch", "openvino", "numpy")
MODES = ("eager", "function", "xla")
COMPILED = {"tensorflow": "function", "jax": "xla"}  # the mode asked beside eager


class _DefaultToVerify(click.Group):
    """`rnn-check X` means `rnn-check verify X`, unless X is a command or --help or --version."""

    def main(self, *arguments: Any, **options: Any) -> Any:
        terminal.any_encoding()
        with terminal.signals():
            return super().main(*arguments, **options)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        own = {"--help", "-h", "--version", *self.commands}
        if not args or args[0] not in own:
            _check_misspelt(args[:1], sorted(self.commands))
            args = ["verify", *args]
        with terminal.writing():  # --help
            return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        refused = ctx.ensure_object(list)  # claim files that are, while the others are judged
        with terminal.writing():
            try:
                result = super().invoke(ctx)
            except KeyboardInterrupt as error:
                say("interrupted")
                sys.exit(getattr(error, "exit_code", 130))
            except SystemExit as end:
                sys.exit(2 if refused and end.code in (None, 0, 1, 3) else end.code)
            if refused:
                sys.exit(2)
            return result


def _check_misspelt(words: Sequence[str], commands: Sequence[str]) -> None:
    """A word that is no file, and nearly a command, was meant as one."""
    import difflib

    for word in words:
        close = difflib.get_close_matches(word, commands, 1, 0.7)
        if close and not Path(word).exists():
            raise BadInput(
                f"{word}: no such file or folder, and no command; did you mean "
                f"`rnn-check {close[0]}`?"
            )


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
    help="How long one claim may take. The start of a framework may take 600 seconds, or as long "
    "as this if that is longer.",
)


class _Memory(click.ParamType[int]):
    name = "amount"

    def convert(self, value: Any, param: Any, ctx: Any) -> int:
        if isinstance(value, int):
            return value
        from rnn_check.subjects.process import amount

        try:
            return amount(value)
        except ValueError as error:
            self.fail(f"{error}, got {plain(value)!r}", param, ctx)


MEMORY = click.option(
    "--memory",
    type=_Memory(),
    default="50%",
    show_default=True,
    metavar="AMOUNT",
    help="The most memory that each backend's process may take, with all that it starts: 8G, or a "
    "share of this machine's. A claim that takes more is an error.",
)
FRAMEWORKS = ("keras", "torch")
_ASKED = options_of(
    click.option(
        "--framework",
        type=click.Choice(FRAMEWORKS),
        default="keras",
        show_default=True,
        help="What to ask. torch: torch.nn.RNN and torch.nn.Linear in place of SimpleRNN and "
        "Dense, eagerly; what they do not have is not run.",
    ),
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
        metavar="[KIND=]FILE.py:CLASS",
        help="Judge this class in place of keras.layers.KIND: SimpleRNN (without KIND), LSTM, GRU, "
        "or the cell of one of them.",
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
    MEMORY,
)
KNOWN = click.option(
    "--known",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Take the known deviations from FILE, not those that come with rnn_check. What FILE calls "
    "known has to show in every claim that does the same: see docs/deviations.md.",
)
FORCE = click.option("--force", is_flag=True, help="Overwrite FILE if it is there.")
JSON = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON document and nothing else."
)
AMOUNT = options_of(
    click.option(
        "-v", "--verbose", is_flag=True, help="Show every verdict, and explain what is known."
    ),
    click.option("-q", "--quiet", is_flag=True, help="Show only what is wrong, and the count."),
)


@main.command()
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path))
@_ASKED
@KNOWN
@AMOUNT
@JSON
@click.option("--list", "only_list", is_flag=True, help="Show the claims and ask nobody.")
def verify(
    paths: tuple[Path, ...],
    framework: str,
    backends: tuple[str, ...],
    modes: tuple[str, ...],
    dtypes: tuple[str, ...],
    layer: str | None,
    pattern: str | None,
    slow: bool,
    options: bool,
    timeout: float,
    memory: int,
    known: Path | None,
    verbose: bool,
    quiet: bool,
    as_json: bool,
    only_list: bool,
) -> None:
    """Judge the bundled claims, or those in the files and folders PATHS, against your Keras.

    Several subjects (backends, modes, dtypes) are judged side by side, each backend in a process
    of its own.

    Exit codes: 0 all agree, 1 something differs, 2 bad input or usage, 3 Keras could not be asked.
    """
    _check_one_of({"-v": verbose, "-q": quiet, "--json": as_json, "--list": only_list})
    if only_list:
        _check_backends(backends)
        from rnn_check.reports import verdicts as reports_verdicts

        reports_verdicts.listing(chosen_claims(paths, pattern, options), console())
        return
    targets = _targets(backends, modes, dtypes, layer, slow, framework)
    options = options or len(targets) > 1
    # the frameworks are imported in their own processes while the claims are read in this one
    with _asking(targets, timeout, memory, quiet=as_json) as run:
        claims = chosen_claims(paths, pattern, options)
        entries = known_deviations(known, options and not (paths or pattern))
        verdicts = Verdicts(claims, entries)
        with terminal.interruptions(run.run.interrupt):
            interrupted = run.collect(claims, verdicts.add, is_all="all" in backends)
        if interrupted and not verdicts.of:
            raise interrupted
        subjects = _reached(run.run)
        words = [str(p) for p in paths] + (["--known", str(known)] if known else [])
        asked = run.run.subjects
        judged = [
            verdicts.judged(i, asked[i], [*words, *_rerun(asked[i], backends)]) for i in subjects
        ]
    how = _how_much(verbose, quiet)
    code = _report(judged, claims, as_json, how, interrupted=interrupted is not None)
    if interrupted:
        say(f"interrupted; {len(verdicts.of)} of {len(claims) * len(asked)} answers were judged")
        code = interrupted.exit_code
    sys.exit(code)


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
@FORCE
def observe(
    paths: tuple[Path, ...],
    framework: str,
    backends: tuple[str, ...],
    modes: tuple[str, ...],
    dtypes: tuple[str, ...],
    layer: str | None,
    pattern: str | None,
    slow: bool,
    options: bool,
    timeout: float,
    memory: int,
    output: Path,
    force: bool,
) -> None:
    """Ask as `verify` does, and write down what was said.

    Judges nothing: `rnn-check judge FILE` does, on any machine. FILE is written as the answers
    come, so that what was said is kept whatever ends the run.

    Exit codes: 0 everything was asked, 2 bad input or usage, 3 something could not be asked.
    """
    _check_free(output, force)
    targets = _targets(backends, modes, dtypes, layer, slow, framework)
    from rnn_check.asking import records as record
    from rnn_check.refusal import ClaimError
    from rnn_check.reports import verdicts as reports_verdicts

    with _asking(targets, timeout, memory) as run:
        subjects = run.run.subjects
        claims = chosen_claims(paths, pattern, options or len(targets) > 1)
        try:
            digests = record.digests(claims)
            writer = record.Writer(output, subjects)
        except (ClaimError, record.RecordError) as error:
            raise BadInput(str(error)) from None
        for each in subjects:
            each.claims = digests
        with terminal.interruptions(run.run.interrupt):  # until the record is written as well
            interrupted = run.collect(claims, lambda _: writer.grown(), is_all="all" in backends)
            subjects = writer.subjects = [subjects[i] for i in _reached(run.run)]
            try:
                writer.close(complete=not interrupted)
            except record.RecordError as error:
                raise BadInput(str(error)) from None
    for number, each in enumerate(subjects, 1):
        answers = each.answers.values()
        errors, skipped = (sum(bool(getattr(a, k)) for a in answers) for k in ("error", "skip"))
        click.echo(f"{number}  {plain(reports_verdicts.header(each.subject))}")
        click.echo(
            f"   {len(answers) - errors - skipped} answered · {errors} error · {skipped} not asked"
        )
    if interrupted:
        say(f"interrupted; {output} holds what was said until then")
        sys.exit(interrupted.exit_code)
    sys.exit(3 if any(a.error for each in subjects for a in each.answers.values()) else 0)


@main.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@PATTERN
@KNOWN
@AMOUNT
@JSON
def judge(
    files: tuple[Path, ...],
    pattern: str | None,
    known: Path | None,
    verbose: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Judge records, without any framework.

    FILES are what `rnn-check observe` wrote.
    Among FILES, folders and what ends in .toml are claims to judge in place of the bundled ones.

    Exit codes: as those of `verify`.
    """
    _check_one_of({"-v": verbose, "-q": quiet, "--json": as_json})
    claims, judged = _judged_records(files, pattern, known)
    sys.exit(_report(judged, claims, as_json, _how_much(verbose, quiet)))


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
@FORCE
def coverage(files: tuple[Path, ...], known: Path | None, output: Path | None, force: bool) -> None:
    """Tabulate what is covered by records.

    A table in Markdown: options down, the records' subjects across.
    Among FILES, folders and what ends in .toml are claims to judge in place of the bundled ones.
    """
    from rnn_check.reports.coverage import table

    if output is not None:
        _check_free(output, force)
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

    from rnn_check.claims.schema import json_schema

    click.echo(json.dumps(json_schema(), indent=2, ensure_ascii=False))


def _check_free(output: Path, force: bool) -> None:
    """Whether a file may be written there, known before anything is done for it."""
    try:
        if output.exists() and not force:
            raise BadInput(f"-o: {output} is there already; --force overwrites it")
        if output.is_dir() or not output.absolute().parent.is_dir():
            raise BadInput(f"-o: {output} cannot be a file: name one in a folder that is there")
    except OSError as error:
        raise BadInput(f"-o: {output} cannot be written: {error.strerror}") from None


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
    framework: str = "keras",
) -> list[Target]:
    """The processes to start, and how each is asked."""
    _check_backends(backends)
    if framework != "keras":
        return [_of_framework(framework, backends, modes, dtypes, layer, slow)]
    layer = None if layer is None else _layer(layer)
    from rnn_check.asking import run
    from rnn_check.asking.request import Setting
    from rnn_check.subjects.asked.backends import default_backend

    chosen = list(dict.fromkeys(backends)) or [default_backend()]
    if "all" in chosen:
        chosen = [backend for backend in BACKENDS if run.installed(backend)]
        if absent := [backend for backend in BACKENDS if backend not in chosen]:
            say(f"not installed: {', '.join(absent)}")
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


def _of_framework(
    framework: str,
    backends: Sequence[str],
    modes: Sequence[str],
    dtypes: Sequence[str],
    layer: str | None,
    slow: bool,
) -> Target:
    """What is not Keras: one process, asked eagerly in the dtypes that it has."""
    from rnn_check.asking import run
    from rnn_check.asking.request import Setting

    for option, given in (("--backend", backends), ("--layer", layer)):
        if given:
            raise BadInput(f"{option}: is Keras's, and does not go with --framework {framework}")
    if others := [mode for mode in modes if mode != "eager"]:
        raise BadInput(f"--mode: --framework {framework} has no mode {others[0]!r}, only eager")
    has = ("float32", "float64", "floatx_float64")
    if others := [dtype for dtype in dtypes if dtype not in has]:
        raise BadInput(
            f"--dtype: --framework {framework} has no {others[0]!r}, only {', '.join(has)}"
        )
    settings = tuple(Setting("eager", dtype, None, slow) for dtype in dict.fromkeys(dtypes))
    return run.Target(framework, settings, framework=framework)


def _rerun(subject: Observations, backends: Sequence[str]) -> list[str]:
    """The options that ask this subject alone."""
    who = subject.identity
    words = ["--backend", who.backend] if backends else []
    words += ["--framework", who.framework] if not who.is_keras else []
    how = subject.setting
    words += ["--layer", how.layer] if how.layer else []
    words += ["--mode", how.mode] if how.mode != "eager" else []
    words += ["--dtype", how.dtype] if how.dtype != "float32" else []
    return words + (["--slow"] if how.slow else [])


@contextlib.contextmanager
def _asking(
    targets: list[Target], timeout: float, memory: int, *, quiet: bool = False
) -> Iterator[_Asking]:
    from rnn_check.asking.run import Run

    watched = terminal.is_watched(sys.stderr)
    stages: dict[int, str] = {}

    def tell(number: int, stage: str) -> None:
        stages[number] = stage
        if not (watched or quiet):  # nobody sees a bar, but somebody may wait at a log
            say(f"{targets[number].backend}: {stage}")

    with Run(targets, timeout=timeout, most_memory=memory, tell=tell) as run:
        yield _Asking(run, stages, watched)


class _Asking:
    """A run, and what is shown of it while it lasts."""

    def __init__(self, run: Run, stages: dict[int, str], watched: bool) -> None:
        self.run = run
        self._stages = stages
        self._watched = watched

    def collect(
        self, claims: Sequence[Claim], take: Callable[[Asked], None], *, is_all: bool
    ) -> Interrupted | None:
        """Take every answer as it comes, until all are there or somebody interrupts.

        A backend that is not installed after all is bad input, unless `all` were asked.
        """
        from rnn_check.asking.run import Asked

        taken = set()
        try:
            for asked in self._shown(claims) if self._watched else self.run.ask(claims):
                if self.run.missing and not is_all:
                    raise BadInput("\n".join(self.run.missing.values()))
                take(asked)
                taken.add((asked.subject, asked.claim.name))
        except Interrupted as interrupted:
            self.run.stop()
            for claim in claims:
                for number, subject in enumerate(self.run.subjects):
                    if claim.name in subject.answers and (number, claim.name) not in taken:
                        answer = subject.answers[claim.name]
                        take(Asked(number, claim, answer, subject.setting))
            return interrupted
        return None

    def _shown(self, claims: Sequence[Claim]) -> Iterator[Asked]:
        """With what each target is doing, and how many answers there are."""
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
        )

        words = (TextColumn("{task.description}"), TextColumn("[dim]{task.fields[stage]}"))
        columns = (*words, BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        of = [(i, target, s) for i, target in enumerate(self.run.targets) for s in target.settings]
        with Progress(*columns, console=console(sys.stderr), transient=True) as progress:
            tasks = [
                progress.add_task(
                    f"{target.backend} {setting.mode}",
                    total=len(claims),
                    stage=self._stages.get(number, "waiting"),
                )
                for number, target, setting in of
            ]

            def tell(number: int, stage: str) -> None:
                for task, (target, _, _) in zip(tasks, of, strict=True):
                    if target == number:
                        progress.update(task, stage=stage)

            self.run.tell = tell
            for asked in self.run.ask(claims):
                progress.advance(tasks[asked.subject])
                yield asked


def _watched(claims: Sequence[Claim], words: str) -> Iterable[Claim]:
    """The claims, with a bar on a terminal."""
    if not terminal.is_watched(sys.stderr):
        return claims
    from rich.markup import escape
    from rich.progress import track

    return track(claims, escape(words), console=console(sys.stderr), transient=True)


def _reached(run: Run) -> list[int]:
    """The subjects that there are. If none could be started, nothing was asked: exit 3."""
    for reason in run.missing.values():
        say(reason)
    if len(run.missing) + len(run.not_started) == len(run.targets):
        for reason in run.not_started.values():
            say(reason)
        sys.exit(3)
    of = [number for number, target in enumerate(run.targets) for _ in target.settings]
    return [i for i, number in enumerate(of) if number not in run.missing]


# --- what is judged -------------------------------------------------------------------------------


class Verdicts:
    """Verdicts as the answers come: one claim is judged while the next is asked."""

    def __init__(self, claims: Sequence[Claim], known: Known) -> None:
        self.claims = claims
        self.known = known
        self.answers: dict[tuple[int, int], Answer] = {}
        self.of: dict[tuple[int, int], list[Verdict]] = {}

    def add(self, asked: Asked) -> None:
        from rnn_check.verdicts.judge import judge

        key = asked.subject, id(asked.claim)
        self.answers[key] = asked.answer
        self.of[key] = judge(asked.claim, asked.answer, dtype=asked.setting.dtype)

    def judged(self, index: int, subject: Observations, rerun: Sequence[str]) -> Judged:
        from rnn_check.verdicts.judge import Judged, judge

        verdicts = [(claim, self.of.get((index, id(claim)), [])) for claim in self.claims]
        given = [(claim, each) for claim, each in verdicts if each]

        def again(claim: Claim, arithmetic: str) -> list[Verdict]:
            return judge(claim, self.answers[index, id(claim)], dtype=arithmetic)

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
    from rnn_check.asking import records as record
    from rnn_check.asking.run import Asked

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
            say(f"{file} was interrupted: not all was asked")
        recorded = {name for subject in each.subjects for name in subject.answers}
        if pattern is None and (others := sorted(recorded - names)):
            more = f" and {len(others) - 3} more" if len(others) > 3 else ""
            say(f"{file} also holds {', '.join(others[:3])}{more}, which no claim given is called")
        if not recorded:
            say(f"{file} holds no answers: whoever was asked had not said a word when it ended")
        for subject in each.subjects:
            name = f"{file.name} {subject.setting.mode}"
            for claim in _watched(claims, f"judging {len(judged) + 1}  {plain(name)}"):
                answer = subject.answer(claim)
                verdicts.add(Asked(len(judged), claim, answer, subject.setting))
            rerun = ["judge", str(file), *map(str, paths), *(["--known", str(known)] * bool(known))]
            judged.append(verdicts.judged(len(judged), subject, rerun))
    return claims, judged


def _check_one_of(options: dict[str, bool]) -> None:
    given = [option for option, is_given in options.items() if is_given]
    if len(given) > 1:
        raise BadInput(f"{given[0]} and {given[1]} do not go together")


def _how_much(verbose: bool, quiet: bool) -> Amount:
    from rnn_check.reports.verdicts import Amount

    return Amount.ALL if verbose else Amount.WRONG if quiet else Amount.SHORT


def _report(
    judged: Sequence[Judged],
    claims: Sequence[Claim],
    as_json: bool,
    how: Amount,
    *,
    interrupted: bool = False,
) -> int:
    from rnn_check.reports import verdicts as reports_verdicts

    everything = [v for j in judged for v in j.verdicts]
    if as_json:
        click.echo(reports_verdicts.as_json(judged))
    else:
        titles = {claim.name: claim.title for claim in claims}
        reports_verdicts.terminal(judged, console(), titles, how, interrupted=interrupted)
    code = reports_verdicts.exit_code(everything)
    if code == 3 and not reports_verdicts.summary(everything)["error"]:
        say("nothing was compared")
    return code


def chosen_claims(paths: tuple[Path, ...], pattern: str | None, options: bool) -> list[Claim]:
    """Those in the paths, or those that are bundled; of these, what options do only if asked.

    A file that is refused is shown at once and stops no other; the exit code is 2 in the end.
    """
    import dataclasses

    from rnn_check.claims.files import bundled, known, load_what_loads
    from rnn_check.refusal import ClaimError

    if not paths and not options and pattern is None:
        folders = sorted(f for f in bundled().iterdir() if f.is_dir() and f != known())
        paths = tuple(f for f in folders if f.name != "options")
    try:
        claims, refused = load_what_loads(paths)
    except ClaimError as error:
        raise BadInput(str(error)) from None
    if refused and not claims:
        raise BadInput("\n".join(map(str, refused)))
    for refusal in refused:
        click.echo(f"Error: {refusal}", err=True)
        click.get_current_context().ensure_object(list).append(refusal)
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
    from rnn_check.refusal import ClaimError
    from rnn_check.verdicts import deviations

    try:
        entries = deviations.load(known or deviations.bundled())
    except ClaimError as error:
        raise BadInput(str(error)) from None
    return deviations.Known(entries, own=known is not None, whole=whole)


def _layer(spec: str) -> str:
    from rnn_check.subjects.own_layer import LayerError, checked

    try:
        return checked(spec)
    except LayerError as error:
        raise BadInput(f"--layer: {error}") from None


class BadInput(click.ClickException):
    exit_code = 2

    def format_message(self) -> str:
        return plain(self.message)
