"""Does what was claimed hold, and does a framework compute it?"""

from __future__ import annotations

import sys
from pathlib import Path

import click

from rnn_check.cli.asking import asking
from rnn_check.cli.chosen import chosen_claims, known_deviations
from rnn_check.cli.commands import main
from rnn_check.cli.options import KNOWN
from rnn_check.cli.report import PRINTED, Printed
from rnn_check.cli.subjects import ASKED, Subjects
from rnn_check.reports.terminal import console, interruptions, say


@main.command()
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path))
@ASKED
@KNOWN
@PRINTED
@click.option("--list", "only_list", is_flag=True, help="Show the claims and ask nobody.")
def verify(
    paths: tuple[Path, ...], how: Subjects, known: Path | None, printed: Printed, only_list: bool
) -> None:
    """Judge the bundled claims, or those in the files and folders PATHS, against your Keras.

    Several subjects (backends, modes, dtypes) are judged side by side, each backend in a process
    of its own.

    Exit codes: 0 all agree, 1 something differs, 2 bad input or usage, 3 Keras could not be asked.
    """
    printed.check(only_list)
    if only_list:
        from rnn_check.reports.listing import listing

        listing(chosen_claims(paths, how.pattern, how.options), console())
        return
    # the frameworks are imported in their own processes while the claims are read in this one
    with asking(how, quiet=printed.as_json) as asked:
        from rnn_check.verdicts.gathered import Verdicts

        options = how.options or asked.several
        claims = chosen_claims(paths, how.pattern, options)
        verdicts = Verdicts(claims, known_deviations(known, options and not (paths or how.pattern)))
        with interruptions(asked.run.interrupt):
            interrupted = asked.collect(claims, verdicts.add)
        if interrupted and not verdicts.of:
            raise interrupted
        words = [str(p) for p in paths] + (["--known", str(known)] if known else [])
        said = asked.run.subjects
        judged = [
            verdicts.judged(i, said[i], [*words, *how.rerun(said[i])]) for i in asked.reached()
        ]
    code = printed.report(judged, claims, interrupted=interrupted is not None)
    if interrupted:
        say(f"interrupted; {len(verdicts.of)} of {len(claims) * len(said)} answers were judged")
        code = interrupted.exit_code
    sys.exit(code)
