"""How is a claim computed, as one would do it on paper?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rnn_check.cli.chosen import chosen_claims
from rnn_check.cli.commands import BadInput, NotAsked, main
from rnn_check.cli.options import BACKENDS, PATTERN
from rnn_check.reports.terminal import plain, say

if TYPE_CHECKING:
    from rnn_check.claims.claim import Claim
    from rnn_check.claims.paper import Paper

MOST_STEPS = 4  # that are shown if none is chosen
MOST_UNITS = 8


@main.command()
@click.argument("claim", metavar="FILE|NAME")
@PATTERN
@click.option("--step", type=click.IntRange(min=0), help="This step alone.  [default: the first 4]")
@click.option("--sample", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("--unit", type=click.IntRange(min=0), help="This unit alone.  [default: the first 8]")
@click.option("--of", default="", metavar="LAYER", help="Another recurrent layer than the first.")
@click.option("--by-hand", is_flag=True, help="Ask no framework what it gives.")
@click.option("--backend", type=click.Choice(BACKENDS), help="Keras's, which is asked.")
@click.option("--markdown", is_flag=True, help="Markdown with formulas, for a notebook.")
def explain(
    claim: str,
    pattern: str | None,
    step: int | None,
    sample: int,
    unit: int | None,
    of: str,
    by_hand: bool,
    backend: str | None,
    markdown: bool,
) -> None:
    """Show the calculation of a claim: every product and sum of a step, beside what others say.

    FILE is a claim file; NAME that of a bundled claim. The numbers are those of the definition, in
    float64; beside each state stands what the framework gives, and what is claimed.

    Exit codes: 0 shown, 2 bad input or usage, 3 Keras could not be asked.
    """
    if by_hand and backend:
        raise BadInput("--by-hand and --backend do not go together")
    chosen = _one(claim, pattern)
    from rnn_check.claims.paper import NotOnPaper, Paper, counts
    from rnn_check.reports import paper as reports

    counted = list(counts(chosen))
    try:
        paper = Paper(chosen, of)
    except NotOnPaper:
        if of or not counted or step is not None or unit is not None:
            raise
        paper = None
    lines: list[str] = []
    if paper is not None:
        _check("--sample", sample, paper.samples)
        _check("--step", step, paper.timesteps)
        _check("--unit", unit, paper.part.units)
        said = None if by_hand or not paper.shown else _said(chosen, paper, backend)
        lines += _calculation(paper, chosen, step, sample, unit, said, markdown)
    if counted:
        lines += ["## Parameters" if markdown else "parameters", *[""] * markdown]
        indent = "- " if markdown else "  "
        lines += [indent + line for line in reports.of_counts(counted, markdown)]
    click.echo(plain("\n".join(lines)))


def _calculation(
    paper: Paper,
    claim: Claim,
    step: int | None,
    sample: int,
    unit: int | None,
    said: Any,
    markdown: bool,
) -> list[str]:
    from rnn_check.reports import paper as reports

    units = range(min(paper.part.units, MOST_UNITS)) if unit is None else [unit]
    steps = range(min(paper.timesteps, MOST_STEPS)) if step is None else [step]
    title, shown = reports.heading(paper, claim.name), reports.as_text
    if markdown:
        lines = [f"# {title}", "", *(f"$${reports.formula(d)}$$" for d in paper.definition), ""]
        shown = reports.as_markdown
    else:
        formulas = [reports.folded(f"  {each}") for each in paper.definition]
        lines = [*reports.folded(title), *(line for each in formulas for line in each), ""]
    for t in steps:
        heading = reports.step_heading(paper, sample, t)
        lines += [f"## {heading}", ""] if markdown else reports.folded(heading)
        lines += [*shown(paper.step(sample, t, units, said)), ""]
    for what, there, seen, option in (
        ("steps", paper.timesteps, len(steps), "--step" * (step is None)),
        ("units", paper.part.units, len(units), "--unit" * (unit is None)),
    ):
        if option and there > seen:
            lines += [f"{there - seen:,} more {what}: {option} shows one", ""]
    return lines


def _one(claim: str, pattern: str | None) -> Claim:
    """The claim that is meant: of a file, or bundled."""
    is_file = Path(claim).exists() or claim.endswith(".toml")
    if not is_file and pattern is not None:
        raise BadInput("-k: chooses among the claims of a FILE")
    found = chosen_claims((Path(claim),) if is_file else (), pattern if is_file else claim, True)
    if len(found) > 1:
        names = ", ".join(each.name for each in found[:4]) + ", …" * (len(found) > 4)
        more = "; -k NAME takes one" if is_file else ""
        raise BadInput(f"{claim}: that is {len(found)} claims: {names}{more}")
    return found[0]


def _check(option: str, given: int | None, there: int) -> None:
    if given is not None and given >= there:
        raise BadInput(f"{option}: there are {there:,}, counted from 0; got {given}")


def _said(claim: Claim, paper: Paper, backend: str | None) -> Any:
    """The states (B,T,H) that the framework gives; None if it cannot be told."""
    from rnn_check.asking import plans
    from rnn_check.asking.request import Setting, request
    from rnn_check.subjects import ask
    from rnn_check.subjects.process import amount

    say("Keras is asked")
    question = "states" if claim.begins_recurrent and paper.at == 0 else "sequences"
    try:
        with ask.Subject(backend, memory=amount("50%")) as subject:
            said = plans.ask(subject, request(claim, [question], Setting()))[1][question]
    except ask.NotInstalled as error:
        raise BadInput(f"{error}; --by-hand asks nobody") from None
    except ask.SubjectError as error:
        raise NotAsked(str(error)) from None
    if isinstance(said, dict):
        said = said.get(paper.layer.name, said)
        said = said.get("states", said)
    if isinstance(said, dict):
        say("Keras could not tell: " + str(said.get("unsupported") or said.get("error")))
        return None
    return said
