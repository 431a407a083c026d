"""In which version did it change?"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rnn_check.cli.chosen import chosen_claims, known_deviations
from rnn_check.cli.commands import NotAsked, main
from rnn_check.cli.comparing import CLAIMS, HOW, Typed, compared, repeated
from rnn_check.cli.options import JSON
from rnn_check.reports.terminal import console, say

if TYPE_CHECKING:
    from rnn_check.upgrades.changes import Compared


@main.command()
@click.argument("claim")
@click.option(
    "--from", "first", required=True, metavar="VERSION|SUBJECT", help="Where it was as before."
)
@click.option(
    "--to", "last", required=True, metavar="VERSION|SUBJECT", help="Where it has changed."
)
@HOW
@CLAIMS
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
    typed: Typed,
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
    from rnn_check.reports import bisection as reports_bisection
    from rnn_check.subjects.environments import Unmade
    from rnn_check.upgrades import bisection
    from rnn_check.upgrades.subjects import read
    from rnn_check.verdicts.gathered import Verdicts

    typed.one_way("a version")
    how = typed.how()
    claims = chosen_claims(paths, claim, True)
    try:
        words = bisection.Versions.between(first, last).words(how.python)
    except Unmade as error:
        raise NotAsked(str(error)) from None

    def asked(before: str, after: str) -> Compared:
        say(f"asking {before} and {after}")
        verdicts = Verdicts(claims, known_deviations(None, False))
        again = repeated("--claims", paths)
        return compared(read((before, after)), claims, verdicts, how, again, typed.scheduler)

    found = bisection.search(words, asked, on)
    if as_json:
        from rnn_check.reports.documents import as_document

        click.echo(as_document(found.document()))
    else:
        reports_bisection.terminal(found, console())
    sys.exit(found.exit_code)
