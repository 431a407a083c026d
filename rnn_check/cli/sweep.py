"""Do random models compute what they should?"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rnn_check.cli.commands import BadInput, main
from rnn_check.cli.comparing import stopped
from rnn_check.cli.options import MEMORY, SCHEDULER, TIMEOUT, check_free, needs_a_cluster, write
from rnn_check.cli.subjects import BACKEND, DTYPE, LAYER, MODE, Subjects
from rnn_check.reports.terminal import Interrupted, console, interruptions, say

if TYPE_CHECKING:
    from rnn_check.asking.request import Setting
    from rnn_check.sweep.work import Sought


def _budget(context: click.Context, option: click.Parameter, value: str | None) -> float | None:
    if value is None:
        return None
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", value)
    if not found or not float(found[1]):
        raise BadInput(f"--budget: expected a time such as 90s, 10m or 2h, got {value!r}")
    return float(found[1]) * {"s": 1, "m": 60, "h": 3600}[found[2]]


@main.command()
@click.argument("subjects", nargs=-1, metavar="[SUBJECT]...")
@click.option("--cases", type=click.IntRange(min=1), metavar="N", help="The first N of the seed.")
@click.option("--budget", callback=_budget, metavar="TIME", help="As many as fit in 10m, or 2h.")
@click.option("--seed", type=click.IntRange(0, 2**31), default=1, show_default=True)
@click.option(
    "--space", "words", multiple=True, metavar="AXIS=VALUE,...",
    help="Draw only such models: layer=LSTM,GRU or do=certified; may be repeated.",
)  # fmt: skip
@BACKEND
@MODE
@DTYPE
@LAYER
@click.option(
    "--workers", type=click.IntRange(min=1), metavar="N",
    help="Processes on this machine.  [default: one a core]",
)  # fmt: skip
@SCHEDULER
@TIMEOUT
@MEMORY
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), metavar="FOLDER", required=True,
    help="Where results and findings are kept; the same command goes on with what is there.",
)  # fmt: skip
@click.option(
    "--html", type=click.Path(path_type=Path), metavar="FILE",
    help="Write a page to FILE as well, of all that the folder holds then.",
)  # fmt: skip
@click.option("--force", is_flag=True, help="Overwrite the page if it is there already.")
def sweep(
    subjects: tuple[str, ...],
    cases: int | None,
    budget: float | None,
    seed: int,
    words: tuple[str, ...],
    backends: tuple[str, ...],
    modes: tuple[str, ...],
    dtypes: tuple[str, ...],
    layer: str | None,
    workers: int | None,
    scheduler: str | None,
    timeout: float,
    memory: int,
    output: Path,
    html: Path | None,
    force: bool,
) -> None:
    """Draw random models, ask every SUBJECT, and shrink what is wrong to a claim file.

    A SUBJECT is a word of `compare`, in an environment of its own: tensorflow==2.16.2,
    keras==3.12.0@jax. Without one, the Keras that is installed is asked. Every case is judged by
    what can be proved of it, so nothing is compared with anything. Known deviations are recognised.

    Exit codes: 0 nothing was found, 1 something was, 2 bad input or usage, 3 nobody could be asked.
    """
    needs_a_cluster()
    if (cases is None) == (budget is None):
        raise BadInput("give either --cases N or --budget TIME")
    if scheduler is not None and workers is not None:
        raise BadInput("--workers does not go with --scheduler, which has its own")
    if html is not None:
        check_free("--html", html, force)
    elif force:
        raise BadInput("--force is of --html, which is not given")
    from rnn_check.asking import cluster
    from rnn_check.reports import swept
    from rnn_check.subjects.asked.machine import available_cores
    from rnn_check.sweep import shared
    from rnn_check.sweep.results import About, Results
    from rnn_check.sweep.space import Space

    space = Space.within(words)
    if subjects and (backends or layer):
        option = "--layer" if layer else "--backend"
        raise BadInput(f"{option} is of the Keras installed here, and does not go with a SUBJECT")
    how = Subjects("keras", backends, modes, dtypes, layer, None, False, False, timeout, memory)
    sought = _elsewhere(subjects, how) if subjects else _here(how)
    about = About.of(seed, space)
    results = Results(output, about)
    done = results.done()
    if done:
        say(f"{output} holds {len(done):,} outcomes; it goes on from there")
    todo = shared.pieces(sought, seed, cases, done)
    until = None if budget is None else time.monotonic() + budget
    interrupted: list[Interrupted] = []
    with cluster.client(scheduler, workers or available_cores()) as client:
        say(f"the workers are shown at {client.dashboard_link}")
        total = None if cases is None else cases * len(sought) - len(done)
        with swept.progress(total) as shown, interruptions(interrupted.append):
            for outcomes in shared.asked(client, space, todo, until, lambda: bool(interrupted)):
                results.add(outcomes)
                shown.add(outcomes)
        everything = list(results.outcomes())
        found = (
            [] if interrupted else _findings(client, everything, space, sought, results.findings)
        )
    if html is not None:
        from rnn_check.reports import swept_page

        page = swept_page.html(about, everything, list(results.written()), bool(interrupted))
        write("--html", html, page)
    swept.terminal(everything, found, console())
    if interrupted:
        say("interrupted; the same command goes on")
        sys.exit(interrupted[0].exit_code)
    if not everything or all(not each.packages for each in everything):
        sys.exit(3)
    sys.exit(1 if any(each.is_found for each in everything) else 0)


def _here(how: Subjects) -> list[Sought]:
    """Every backend asked, in every mode that it has, and dtype."""
    from rnn_check.sweep.work import Sought

    return [
        Sought(_name(target.backend, s), target, s, how.timeout, how.memory)
        for target in how.targets()
        for s in target.settings
    ]


def _elsewhere(words: Sequence[str], how: Subjects) -> list[Sought]:
    """The same of packages, each in an environment of its own."""
    from rnn_check.asking import run
    from rnn_check.asking.request import Setting
    from rnn_check.subjects import environments
    from rnn_check.sweep.work import Sought
    from rnn_check.upgrades import subjects as upgrades

    try:
        read = upgrades.read(words)
        if recorded := [word.text for word in read if word.observed is not None]:
            raise BadInput(f"{recorded[0]}: a record cannot be asked anything more")
        python = environments.find_python(None)
        asked = upgrades.How(python, "release", Setting(), how.timeout, how.memory, False, stopped)
        prepared = upgrades.prepared(read, asked)
    except (environments.WordError, environments.Unmade) as error:
        raise BadInput(str(error)) from None
    found = []
    for each in prepared:
        if each.target is None:
            raise BadInput(f"{each.word.text}: {each.failure}")
        has = run.modes(each.target.name)
        modes = [mode for mode in dict.fromkeys(how.modes or ("eager",)) if mode in has]
        if not modes:
            raise BadInput(f"{each.word.text}: --mode: only {', '.join(has)}")
        settings = [Setting(mode, dtype) for mode in modes for dtype in dict.fromkeys(how.dtypes)]
        found += [
            Sought(_name(each.word.text, s), each.target, s, how.timeout, how.memory)
            for s in settings
        ]
    return found


def _name(of: str, setting: Setting) -> str:
    own = f" {setting.layer}" if setting.layer else ""
    return f"{of} {setting.mode} {setting.dtype}{own}"


def _findings(
    client: Any, everything: Sequence[Any], space: Any, sought: Sequence[Sought], folder: Path
) -> list[Path]:
    """What is wrong, shrunk by the workers and written down."""
    from rnn_check.sweep import findings

    of = {each.name: each for each in sought}
    groups = [g for g in findings.groups(everything).values() if g[0].subject in of]
    if not groups:
        return []
    say(f"{len(groups)} kinds of failure are made small")
    todo = [client.submit(findings.finding, g, space, of[g[0].subject], pure=False) for g in groups]
    packages = {each.subject: each.packages for each in everything if each.packages}
    return [findings.write(found, folder, packages) for found in findings.once(client.gather(todo))]
