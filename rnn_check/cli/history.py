"""Which features differ at which version?"""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path

import click

from rnn_check.cli.chosen import chosen_claims, covered, known_deviations
from rnn_check.cli.commands import BadInput, main
from rnn_check.cli.comparing import CLAIMS, HOW, Typed, judged
from rnn_check.cli.options import FORCE, KNOWN, PATTERN, check_free, write


@main.command()
@click.argument("subjects", nargs=-1, required=True, metavar="SUBJECT...")
@HOW
@PATTERN
@CLAIMS
@click.option(
    "--options",
    is_flag=True,
    help="Judge what the options of Keras's layers do in every combination.  [default: so few of "
    "these that each value occurs]",
)
@KNOWN
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write the table to FILE, in Markdown.  [default: to stdout]",
)
@click.option(
    "--html",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write a page to FILE as well, which says below the table what differs, and why.",
)
@FORCE
def history(
    subjects: tuple[str, ...],
    typed: Typed,
    pattern: str | None,
    paths: tuple[Path, ...],
    options: bool,
    known: Path | None,
    output: Path | None,
    html: Path | None,
    force: bool,
) -> None:
    """Tabulate which features differ at which version, on which backends.

    A subject is as in `compare`, where docs/upgrades.md says more: keras==3.12.*@jax. Each is
    judged by itself, none is held against another: a row is what a file of claims is about, a
    column a version of Keras, and a cell names the backends on which a claim of it differs.

    Exit codes: 0 all were asked, whatever differs, 2 bad input or usage, 3 a subject could not be
    asked.
    """
    for option, file in (("-o", output), ("--html", html)):
        if file is not None:
            check_free(option, file, force)
    if force and output is None and html is None:
        raise BadInput("--force is of -o and --html, neither of which is given")
    if output is not None and html is not None and output.resolve() == html.resolve():
        raise BadInput(f"--html: {html} is where -o writes the table; give another file")
    from rnn_check.reports import history as reports_history
    from rnn_check.upgrades import history as upgrades_history
    from rnn_check.upgrades.subjects import read
    from rnn_check.verdicts.gathered import Verdicts

    words = read(subjects)
    few = not paths and pattern is None
    how = typed.how(words, few)
    claims = chosen_claims(paths, pattern, True)
    if few and not options:
        claims = covered(claims)
    verdicts = Verdicts(claims, known_deviations(known, False))
    said = judged(words, claims, verdicts, how, typed.scheduler)
    found = upgrades_history.of({way: sides for way, (_, sides) in said.items()})
    today = datetime.now(UTC).astimezone().date()
    if html is not None:
        from rnn_check.reports import history_page

        write("--html", html, history_page.html(found, today))
    text = reports_history.markdown(found, today)
    if output is None:
        click.echo(text, nl=False)
    else:
        write("-o", output, text)
    sys.exit(found.exit_code)
