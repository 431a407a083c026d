"""What does a framework say, in a file that is judged elsewhere?"""

from __future__ import annotations

import sys
from pathlib import Path

import click

from rnn_check.cli.asking import asking
from rnn_check.cli.chosen import chosen_claims
from rnn_check.cli.commands import main
from rnn_check.cli.options import FORCE, check_free
from rnn_check.cli.subjects import ASKED, Subjects
from rnn_check.reports.terminal import interruptions, plain, say


@main.command()
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path))
@ASKED
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    required=True,
    metavar="FILE",
    help="The record to write.",
)
@FORCE
def observe(paths: tuple[Path, ...], how: Subjects, output: Path, force: bool) -> None:
    """Ask as `verify` does, and write down what was said.

    Judges nothing: `rnn-check judge FILE` does, on any machine. FILE is written as the answers
    come, so that what was said is kept whatever ends the run.

    Exit codes: 0 everything was asked, 2 bad input or usage, 3 something could not be asked.
    """
    check_free("-o", output, force)
    with asking(how) as asked:
        from rnn_check.asking import observations, records
        from rnn_check.reports.subject import header

        subjects = asked.run.subjects
        claims = chosen_claims(paths, how.pattern, how.options or asked.several)
        digests = observations.digests(claims)
        writer = records.Writer(output, subjects)
        for each in subjects:
            each.claims = digests
        with interruptions(asked.run.interrupt):  # until the record is written as well
            interrupted = asked.collect(claims, lambda _: writer.grown())
            subjects = writer.subjects = [subjects[i] for i in asked.reached()]
            writer.close(complete=not interrupted)
    for number, each in enumerate(subjects, 1):
        answers = each.answers.values()
        errors, skipped = (sum(bool(getattr(a, k)) for a in answers) for k in ("error", "skip"))
        click.echo(f"{number}  {plain(header(each.subject))}")
        click.echo(
            f"   {len(answers) - errors - skipped} answered · {errors} error · {skipped} not asked"
        )
    if interrupted:
        say(f"interrupted; {output} holds what was said until then")
        sys.exit(interrupted.exit_code)
    sys.exit(3 if any(a.error for each in subjects for a in each.answers.values()) else 0)
