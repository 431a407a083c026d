"""The command line: `rnn-check` (the same as `rnn-check verify`), `rnn-check schema`.

Everything heavy is imported inside the commands, so that `--help` costs nothing.
Reports go to stdout, progress and warnings to stderr.  Exit codes: 0 all agree, 1 something
differs, 2 bad input or usage (nothing was run), 3 a subject could not be asked.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rnn_check.claim import Claim
    from rnn_check.judge import Setting
    from rnn_check.observe import Subject

BACKENDS = ("tensorflow", "jax", "torch", "openvino", "numpy")
MODES = ("eager", "function", "xla")
DTYPES = ("float32", "float64", "float16", "bfloat16", "mixed_float16", "mixed_bfloat16")


class _DefaultToVerify(click.Group):
    """`rnn-check X` means `rnn-check verify X`, unless X is a command or --help or --version."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        own = {"--help", "-h", "--version", *self.commands}
        if not args or args[0] not in own:
            args = ["verify", *args]
        return super().parse_args(ctx, args)

    def get_help(self, ctx: click.Context) -> str:
        """The group's help is that of `verify`, which is what people come for, and the rest."""
        return super().get_help(ctx)


@click.group(
    cls=_DefaultToVerify,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(package_name="rnn_check", prog_name="rnn-check")
def main() -> None:
    """Prove, number by number, that a recurrent layer computes the recurrence it claims.

    Without a command: `rnn-check verify`, whose options are shown by `rnn-check verify --help`.
    """


@main.command()
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "--backend",
    metavar="|".join(BACKENDS),
    help="The Keras backend to ask.  [default: what Keras itself would take]",
)
@click.option(
    "--mode",
    type=click.Choice(MODES),
    default="eager",
    show_default=True,
    help="How the layer is run: eager, compiled as a graph (tf.function), or by XLA.",
)
@click.option(
    "--dtype",
    type=click.Choice(DTYPES),
    default="float32",
    show_default=True,
    help="The dtype policy of every layer.",
)
@click.option(
    "--layer",
    metavar="FILE.py:CLASS",
    help="Judge this class in place of keras.layers.SimpleRNN.",
)
@click.option(
    "-k", "pattern", metavar="PATTERN", help="Only what contains PATTERN (or is so named)."
)
@click.option("--slow", is_flag=True, help="Judge the slow claims as well (minutes).")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=300.0,
    show_default=True,
    metavar="SECONDS",
    help="How long one claim may take.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
@click.option("--list", "only_list", is_flag=True, help="Show the claims and ask nobody.")
def verify(
    paths: tuple[Path, ...],
    backend: str | None,
    mode: str,
    dtype: str,
    layer: str | None,
    pattern: str | None,
    slow: bool,
    timeout: float,
    as_json: bool,
    only_list: bool,
) -> None:
    """Judge the bundled claims, or those in the files and folders PATHS, against your Keras.

    Exit codes: 0 all agree, 1 something differs, 2 bad input or usage, 3 Keras could not be asked.
    """
    if backend is not None and backend not in BACKENDS:
        raise _BadInput(f"--backend: unknown backend {backend!r}{_nearest(backend, BACKENDS)}")
    if layer is not None:
        layer = _layer(layer)
    if only_list:
        if as_json:
            raise _BadInput("--list and --json do not go together")
        from rnn_check import report

        report.listing(_claims(paths, pattern), _console())
        return
    rerun = [str(p) for p in paths]
    for flag, value in (("--backend", backend), ("--layer", layer)):
        rerun += [flag, value] if value else []
    rerun += ["--mode", mode] if mode != "eager" else []
    rerun += ["--dtype", dtype] if dtype != "float32" else []
    rerun += ["--slow"] if slow else []

    from rnn_check import observe

    try:
        # the framework is imported in its own process while the claims are read in this one
        with observe.Subject(backend, timeout=timeout) as subject:
            from rnn_check.judge import Setting

            claims = _claims(paths, pattern)
            sys.exit(_verify(claims, subject, Setting(mode, dtype, layer, slow), as_json, rerun))
    except observe.NotInstalled as error:
        raise _BadInput(str(error)) from None
    except observe.SubjectError as error:
        click.echo(f"rnn-check: {error}", err=True)
        sys.exit(3)


def _verify(
    claims: list[Claim],
    subject: Subject,
    setting: Setting,
    as_json: bool,
    rerun: list[str],
) -> int:
    from concurrent.futures import ThreadPoolExecutor

    from rnn_check import judge, report

    identity: dict[str, Any] = {
        **subject.identity,
        "mode": setting.mode,
        "dtype": setting.dtype,
        "layer": setting.layer or "keras.layers.SimpleRNN",
    }
    verdicts: list[judge.Verdict] = []
    with ThreadPoolExecutor(1) as pool:  # one claim is judged while the next is asked
        answers = pool.map(lambda claim: judge.ask(claim, subject, setting), claims)
        for claim, answer in zip(claims, answers, strict=True):
            verdicts += judge.judge(claim, answer, dtype=setting.dtype)
    if as_json:
        click.echo(report.as_json(identity, verdicts))
    else:
        titles = {claim.name: claim.title for claim in claims}
        report.terminal(identity, verdicts, titles, _console(), rerun)
    code = report.exit_code(verdicts)
    if code == 3 and not report.summary(verdicts)["error"]:
        click.echo("rnn-check: nothing was compared", err=True)
    return code


@main.command()
def schema() -> None:
    """Print the JSON Schema of claim files, for editors."""
    import json

    from rnn_check.claim import json_schema

    click.echo(json.dumps(json_schema(), indent=2, ensure_ascii=False))


def _claims(paths: tuple[Path, ...], pattern: str | None) -> list[Claim]:
    import dataclasses

    from rnn_check.claim import load_all
    from rnn_check.written import ClaimError

    try:
        claims = list(load_all(paths))
    except ClaimError as error:
        raise _BadInput(str(error)) from None
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
        raise _BadInput(f"-k: no claim matches {pattern!r}; `rnn-check --list` shows them")
    return chosen


def _layer(spec: str) -> str:
    file, colon, name = spec.rpartition(":")
    if not colon or not name.isidentifier():
        raise _BadInput(f"--layer: expected FILE.py:CLASS, got {spec!r}")
    if not Path(file).is_file():
        raise _BadInput(f"--layer: no such file: {file}")
    return f"{Path(file).resolve()}:{name}"


def _nearest(word: str, known: tuple[str, ...]) -> str:
    import difflib

    close = difflib.get_close_matches(word, known, 1)
    return f"; did you mean {close[0]}?" if close else f"; known: {', '.join(known)}"


class _BadInput(click.ClickException):
    exit_code = 2


def _console() -> Any:
    from rich.console import Console

    # a pipe has no width; 80 columns would fold every line of the table
    return Console() if sys.stdout.isatty() else Console(width=120)
