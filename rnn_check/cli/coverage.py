"""What is covered by records?"""

from __future__ import annotations

from pathlib import Path

import click

from rnn_check.cli.commands import main
from rnn_check.cli.judge import judged_records
from rnn_check.cli.options import FORCE, KNOWN, check_free, write


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
    if output is not None:
        check_free("-o", output, force)
    from rnn_check.reports.coverage import table

    text = table(*judged_records(files, None, known))
    if output is None:
        click.echo(text, nl=False)
    else:
        write("-o", output, text)
