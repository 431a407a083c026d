"""Is a claim file whole, and could it fail?"""

from __future__ import annotations

import sys
from pathlib import Path

import click

from rnn_check.cli.commands import BadInput, main
from rnn_check.reports.terminal import plain


@main.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--strict", is_flag=True, help="Exit with 1 if any fault goes unnoticed.")
@click.option("-q", "--quiet", is_flag=True, help="Show only what is refused or cannot fail.")
def lint(paths: tuple[Path, ...], strict: bool, quiet: bool) -> None:
    """Check claim files without a framework: format, shapes, sources, and whether they can fail.

    Faults are planted into the reference (a kernel transposed, a bias dropped, time reversed).
    Those that change none of a file's numbers are listed: nobody would see them.

    Exit codes: 0 all is well, 1 a file notices none of its faults (with --strict: misses any), 2 a
    file is refused.
    """
    from rnn_check.claims.files import find, load_each
    from rnn_check.claims.sensitivity import Fault, planted
    from rnn_check.refusal import ClaimError

    files = claims = faults = missed = 0
    refused, blind = [], []
    for name, file in find(paths):
        files += 1
        try:
            found = load_each(file, name)
        except ClaimError as error:
            refused.append(error)
            continue
        claims += len(found)
        # of the claims that one file makes it is enough if one notices
        of_file: dict[tuple[str, str], Fault] = {}
        for claim in found:
            for fault in planted(claim):
                key = (fault.layer, fault.what)
                if key not in of_file or not fault.why:
                    of_file[key] = fault
        unnoticed = [fault for fault in of_file.values() if fault.why]
        faults += len(of_file)
        missed += len(unnoticed)
        cannot_fail = bool(of_file) and len(unnoticed) == len(of_file)
        if cannot_fail:
            blind.append(file)
        if unnoticed and (cannot_fail or not quiet):
            click.echo(plain(f"{_near(file)}{': notices no fault' * cannot_fail}"))
            for fault in unnoticed:
                click.echo(plain(f"  {fault.layer}: {fault.what}: {fault.why}"))
    if not quiet:
        from rnn_check.reports.outcome import how_many

        read = f"{how_many(files, 'file')}, {how_many(claims, 'claim')}"
        click.echo(f"{read}: {how_many(faults, 'fault')} planted, {missed:,} unnoticed")
    if refused:
        raise BadInput("\n".join(map(str, refused)))
    sys.exit(1 if blind or (strict and missed) else 0)


def _near(file: Path) -> str:
    from rnn_check.reports.explaining import near_path

    return near_path(str(file))
