"""Does each recurrent layer of a user's own model compute its recurrence, where it stands?"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from rnn_check.cli.chosen import known_deviations
from rnn_check.cli.commands import BadInput, NotAsked, main
from rnn_check.cli.new import check_place
from rnn_check.cli.options import (
    BACKENDS,
    DTYPES_ARE,
    FORCE,
    JSON,
    MEMORY,
    MODES,
    TIMEOUT,
    check_free,
    options_of,
)
from rnn_check.reports.terminal import console, say
from rnn_check.subjects.asked.named import FAMILIES, cell_of
from rnn_check.subjects.policy import NAMES

if TYPE_CHECKING:
    from rnn_check.models.asking import Question
    from rnn_check.models.recorded import Said
    from rnn_check.subjects.ask import Subject
    from rnn_check.verdicts.known import Known

RUN_ON = options_of(
    click.option(
        "--input",
        "given",
        type=click.Path(path_type=Path),
        metavar="X.npy|X.npz",
        help="What it is run on, samples along the first axis; several inputs by their names in an "
        ".npz.  [default: generated]",
    ),
    click.option(
        "--samples", type=click.IntRange(1, 10_000), help="Of a generated input.  [default: 4]"
    ),
    click.option(
        "--timesteps",
        type=click.IntRange(1, 10_000),
        help="Of a generated input, where any number will do.  [default: 10]",
    ),
    click.option("--seed", type=click.IntRange(min=0), help="Of a generated input.  [default: 1]"),
    click.option(
        "--layer",
        "own",
        multiple=True,
        metavar="[KIND=]FILE.py:CLASS",
        help="This class of yours computes what keras.layers.KIND does (by default SimpleRNN; a "
        f"cell: {', '.join(map(cell_of, FAMILIES))}), and is judged as that; may be repeated.",
    ),
)


@main.command()
@click.argument("what", metavar="FILE.keras|FILE.h5|FILE.py:NAME|MODULE:NAME|RECORD.npz")
@RUN_ON
@click.option(
    "--backend", type=click.Choice(BACKENDS), help="Keras's.  [default: what Keras would take]"
)
@click.option("--mode", type=click.Choice(MODES), default="eager", show_default=True)
@click.option(
    "--dtype",
    type=click.Choice(NAMES),
    metavar="DTYPE",
    help=f"Make it anew with this dtype policy of every layer. {DTYPES_ARE}  [default: as it is]",
)
@click.option(
    "--record",
    type=click.Path(path_type=Path),
    metavar="FILE.npz",
    help="Write down what was said, to be judged again, elsewhere, or by `compare`.",
)
@FORCE
@click.option(
    "--known",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Take the known deviations from FILE, not those that come with rnn_check.",
)
@JSON
@click.option("-v", "--verbose", is_flag=True, help="Show each array of each layer as well.")
@TIMEOUT
@MEMORY
def model(
    what: str,
    given: Path | None,
    samples: int | None,
    timesteps: int | None,
    seed: int | None,
    own: tuple[str, ...],
    backend: str | None,
    mode: str,
    dtype: str | None,
    record: Path | None,
    force: bool,
    known: Path | None,
    as_json: bool,
    verbose: bool,
    timeout: float,
    memory: int,
) -> None:
    """Certify every recurrent layer of a model of yours, where it stands in it.

    The model is run as it is, and each layer's own input, mask, initial states and outputs are
    taken down: each step has to follow from the one before, each gradient (of the sum of all
    outputs, times numbers that are drawn) from its adjoints. Its module or file is imported, so it
    runs.

    Exit codes: 0 all that is certified agrees, or differs as is known of this Keras, 1 something
    differs, 2 bad input or usage, 3 Keras could not be asked, something is not proved, or no layer
    could be certified.
    """
    if force and record is None:
        raise BadInput("--force is of --record, which is not given")
    if record is not None:
        if record.suffix != ".npz":
            raise BadInput(f"--record: {record}: a record's name ends in .npz")
        check_free("--record", record, force)
    from rnn_check.models import recorded

    excusing = known_deviations(known, whole=False)
    if what.endswith(".npz"):
        _check_only_record()
        found = recorded.read(Path(what))
        codes = [_shown(each, "as the record says", excusing, as_json, verbose) for each in found]
        sys.exit(max(codes, key=(0, 3, 1).index))
    question = question_of(what, mode, dtype, own)
    if given is not None:
        for option, value in (("samples", samples), ("timesteps", timesteps), ("seed", seed)):
            if value is not None:
                raise BadInput(f"--{option} is of a generated input, and --input gives one")
    from rnn_check.subjects.ask import NotInstalled, Subject, SubjectError
    from rnn_check.subjects.asked import backends

    chosen = backend or backends.default_backend()
    modes = {name: each.modes for name, each in backends.BACKENDS.items()}
    if mode not in modes.get(chosen, (mode,)):
        having = ", ".join(name for name in BACKENDS if mode in modes[name])
        raise BadInput(f"--mode: {chosen} has no mode {mode!r}, only {having}")
    if not as_json:
        say("Keras is imported")
    try:
        with Subject(chosen, timeout=timeout, memory=memory) as subject:
            ran_on, words = ran_on_of(question, subject, given, samples, timesteps, seed)
            answer = question.ask(subject, ran_on)
            said = recorded.Said(question, subject.identity, answer, ran_on)
        if record is not None:
            recorded.write(record, [said])
        code = _shown(said, words, excusing, as_json, verbose)
    except NotInstalled as error:
        raise BadInput(str(error)) from None
    except SubjectError as error:
        raise NotAsked(str(error)) from None
    sys.exit(code)


def question_of(what: str, mode: str, dtype: str | None, own: Sequence[str]) -> Question:
    """What is asked of the model; BadInput for what can be seen to be wrong without running it."""
    from rnn_check.models.asking import Question
    from rnn_check.subjects.own_layer import LayerError, checked, place

    check_place(what)
    known: dict[str, str] = {}
    for spec in own:
        try:
            kind, where = place(checked(spec))
        except LayerError as error:
            raise BadInput(f"--layer: {error}") from None
        if where in known:
            raise BadInput(f"--layer: {where} is given twice")
        known[where] = kind
    return Question(_absolute(what), mode, dtype, known)


def _absolute(what: str) -> str:
    """The same for a process that runs elsewhere."""
    if Path(what).is_file():
        return str(Path(what).resolve())
    place, _, name = what.rpartition(":")
    return f"{Path(place).resolve()}:{name}" if place.endswith(".py") else what


def ran_on_of(
    question: Question,
    subject: Subject,
    given: Path | None,
    samples: int | None,
    timesteps: int | None,
    seed: int | None,
) -> tuple[dict[str, Any], str]:
    """What the model is to be run on, and that in words."""
    from rnn_check.models import inputs

    taken = question.ask(subject)["inputs"]
    if given is not None:
        ran_on, words = inputs.read(given, taken), f"run on {given}"
    else:
        n, t = samples or inputs.SAMPLES, timesteps or inputs.TIMESTEPS
        seed = inputs.SEED if seed is None else seed
        ran_on = inputs.generated(question.where, taken, n, t, seed)
        words = f"run on generated input (seed {seed})"
    shapes = ", ".join(f"{n} {'×'.join(map(str, a.shape))}" for n, a in ran_on.items())
    return ran_on, f"{words}: {shapes}"


def _shown(said: Said, ran_on: str, known: Known, as_json: bool, everything: bool) -> int:
    """Print it; the exit code."""
    from rnn_check.models.judged import KNOWN, UNPROVED
    from rnn_check.reports import models
    from rnn_check.verdicts.judge import AGREE, DIFFER

    found = said.judged(known)
    if as_json:
        click.echo(models.document(found, said.who, ran_on))
    else:
        models.terminal(found, said.who, ran_on, console(), everything)
    codes: dict[Any, int] = {AGREE: 0, KNOWN: 0, DIFFER: 1, UNPROVED: 3}
    return codes.get(found.verdict, 3)


def _check_only_record() -> None:
    context = click.get_current_context()
    for option in context.command.params:
        name = str(option.name)
        given = context.get_parameter_source(name) != ParameterSource.DEFAULT
        if given and name not in ("what", "known", "as_json", "verbose"):
            raise BadInput(
                f"{option.opts[0]} changes nothing of a record, of which all was asked already"
            )
