"""Which command is meant, and how does it end?

Everything heavy is imported inside the commands, so that `--help` costs nothing.
Reports go to stdout, progress and warnings to stderr.  Exit codes: 0 all agree, 1 something
differs, 2 bad input or usage (nothing was run, but of claim files those that can be read), 3 a
subject could not be asked, 130 interrupted (129 by SIGHUP, 143 by SIGTERM), 141 who read stdout has
gone.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from rnn_check.refusal import Refused, closest, meant
from rnn_check.reports import terminal
from rnn_check.reports.terminal import plain, say


class BadInput(click.ClickException):
    exit_code = 2

    def format_message(self) -> str:
        return plain(self.message)


class NotAsked(BadInput):
    """A subject could not be asked."""

    exit_code = 3


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
            except Refused as refusal:
                raise BadInput(str(refusal)) from None
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
    for word in words:
        command = closest(word, commands, 0.7)
        if command is not None and not Path(word).exists():
            hint = meant(f"rnn-check {command}")
            raise BadInput(f"{word}: no such file or folder, and no command{hint}")


@click.group(
    cls=_DefaultToVerify,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(package_name="rnn_check", prog_name="rnn-check")
def main() -> None:
    """Prove, number by number, that a recurrent layer computes the recurrence it claims.

    Without a command: `rnn-check verify`, whose options are shown by `rnn-check verify --help`.
    """
