"""What do records deserve that were made elsewhere?"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rnn_check.cli.chosen import chosen_claims, known_deviations
from rnn_check.cli.commands import BadInput, main
from rnn_check.cli.options import KNOWN, PATTERN
from rnn_check.cli.report import PRINTED, Printed
from rnn_check.reports.progress import watched
from rnn_check.reports.terminal import plain, say

if TYPE_CHECKING:
    from rnn_check.claims.claim import Claim
    from rnn_check.verdicts.judge import Judged


@main.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@PATTERN
@KNOWN
@PRINTED
def judge(
    files: tuple[Path, ...], pattern: str | None, known: Path | None, printed: Printed
) -> None:
    """Judge records, without any framework.

    FILES are what `rnn-check observe` wrote.
    Among FILES, folders and what ends in .toml are claims to judge in place of the bundled ones.

    Exit codes: as those of `verify`.
    """
    printed.check()
    claims, judged = judged_records(files, pattern, known)
    sys.exit(printed.report(judged, claims))


def judged_records(
    files: Sequence[Path], pattern: str | None, known: Path | None
) -> tuple[list[Claim], list[Judged]]:
    """The claims among the files, or those that are bundled, and the records judged by them."""
    paths = tuple(f for f in files if f.is_dir() or f.suffix == ".toml")
    if not (recorded := [f for f in files if f not in paths]):
        raise BadInput("no record among them; `rnn-check observe -o FILE` writes one")
    from rnn_check.asking import records
    from rnn_check.asking.run import Asked
    from rnn_check.verdicts.gathered import Verdicts

    read = [(file, records.read(file)) for file in recorded]
    held = {name for _, each in read for subject in each.subjects for name in subject.answers}
    options = any(name.startswith("options/") for name in held)
    claims = chosen_claims(paths, pattern, options)
    verdicts = Verdicts(claims, known_deviations(known, options and not (paths or pattern)))
    judged: list[Judged] = []
    names = {claim.name for claim in claims}
    for file, each in read:
        if not each.complete:
            say(f"{file} was interrupted: not all was asked")
        answered = {name for subject in each.subjects for name in subject.answers}
        if pattern is None and (others := sorted(answered - names)):
            more = f" and {len(others) - 3} more" if len(others) > 3 else ""
            say(f"{file} also holds {', '.join(others[:3])}{more}, which no claim given is called")
        if not answered:
            say(f"{file} holds no answers: whoever was asked had not said a word when it ended")
        rerun = ["judge", str(file), *map(str, paths), *(["--known", str(known)] if known else [])]
        for subject in each.subjects:
            name = f"{file.name} {subject.setting.mode}"
            for claim in watched(claims, f"judging {len(judged) + 1}  {plain(name)}"):
                answer = subject.answer(claim)
                verdicts.add(Asked(len(judged), claim, answer, subject.setting))
            judged.append(verdicts.judged(len(judged), subject, rerun))
    return claims, judged
