"""What does a new claim look like: an example, or what a layer or model computes now?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from rnn_check.cli.commands import BadInput, NotAsked, main
from rnn_check.cli.options import BACKENDS, FORCE, check_free, write
from rnn_check.reports.terminal import plain, say
from rnn_check.subjects.asked.loading import no_model


@main.command()
@click.argument("what", required=False, metavar="[FILE.keras|FILE.h5|FILE.py:NAME|MODULE:NAME]")
@click.option("--from-example", is_flag=True, help="A claim with comments, which holds as it is.")
@click.option("--only", default="", metavar="NAME", help="This layer of the model alone.")
@click.option(
    "--input",
    "given",
    type=click.Path(path_type=Path),
    metavar="X.npy",
    help="What it is run on, (batch, timesteps, features).  [default: generated]",
)
@click.option(
    "--timesteps",
    type=click.IntRange(1, 1000),
    default=4,
    show_default=True,
    help="Of a generated input, where any number will do.",
)
@click.option("--backend", type=click.Choice(BACKENDS), help="Keras's, which is asked.")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), metavar="FILE.toml",
    help="Write it there, and large arrays beside it.  [default: standard output]",
)  # fmt: skip
@FORCE
def new(
    what: str | None,
    from_example: bool,
    only: str,
    given: Path | None,
    timesteps: int,
    backend: str | None,
    output: Path | None,
    force: bool,
) -> None:
    """Write a claim file: an example, or a layer or model of yours as it is now.

    NAME is a layer, a model, or a function that makes one; its module is imported, so it runs. The
    claim has its weights bit for bit, what it gives for an input, and that each of its steps
    follows from the one before: ready to edit.

    Exit codes: 0 written, 2 bad input or usage, 3 Keras could not be asked.
    """
    if (what is None) == (not from_example):
        raise BadInput("give either a layer or model of yours, or --from-example")
    if output is not None:
        if output.suffix != ".toml":
            raise BadInput(f"-o: {output}: a claim file's name ends in .toml")
        check_free("-o", output, force)
    if what is None:
        for option, is_given in (("--only", only), ("--input", given), ("--backend", backend)):
            if is_given:
                raise BadInput(f"{option} does not go with --from-example")
        text = (Path(__file__).parents[1] / "claims" / "example.claim.toml").read_text(
            encoding="utf-8"
        )
    else:
        text = _of(what, only, given, timesteps, backend, output, force)
    if output is None:
        click.echo(text, nl=False)
    else:
        write("-o", output, text)


def _of(
    what: str,
    only: str,
    given: Path | None,
    timesteps: int,
    backend: str | None,
    output: Path | None,
    force: bool,
) -> str:
    check_place(what)
    x = None if given is None else _array(given)
    import numpy as np

    from rnn_check.asking import live
    from rnn_check.subjects.ask import NotInstalled, Subject, SubjectError
    from rnn_check.subjects.process import amount

    say("Keras is imported")
    try:
        with Subject(backend, memory=amount("50%")) as subject:
            found = live.described(what, subject, only, x, timesteps)
    except NotInstalled as error:
        raise BadInput(str(error)) from None
    except SubjectError as error:
        raise NotAsked(str(error)) from None
    text = found.claim()
    if live.fits(text):
        return live.checked(found, text, output or Path("claim.toml"))
    if output is None:
        raise BadInput(f"{what}: its arrays are too large for one file; -o puts them beside it")
    arrays: dict[str, Any] = {}
    beside = output.with_suffix(".npz")
    check_free("-o", beside, force)
    text = found.claim(arrays, beside.name)
    np.savez(beside, **arrays)
    return live.checked(found, text, output)


def check_place(what: str) -> None:
    """What can be seen of it without running anything."""
    if what.endswith((".keras", ".h5", ".hdf5")):
        place, name = what, "whole"
    else:
        place, colon, name = what.rpartition(":")
        if not colon or not all(part.isidentifier() for part in name.split(".")):
            problem = "expected FILE.keras, FILE.h5, FILE.py:NAME or MODULE:NAME"
            raise BadInput(f"{what}: {problem}")
        if not place.endswith(".py"):
            return
    if not Path(place).is_file():
        raise BadInput(f"{place}: {'a folder' if Path(place).is_dir() else 'no such file'}")
    if why := no_model(place):
        raise BadInput(f"{place}: {why}")


def _array(file: Path) -> Any:
    import numpy as np

    try:
        x = np.load(file, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise BadInput(f"--input: {file}: no array of numpy.save: {plain(str(error))}") from None
    if not isinstance(x, np.ndarray) or x.dtype.kind not in "fiu":
        raise BadInput(f"--input: {file}: expected one array of numbers")
    return x
