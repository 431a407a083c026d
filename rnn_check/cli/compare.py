"""What did an upgrade change?"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rnn_check.cli.chosen import chosen_claims, covered, known_deviations
from rnn_check.cli.commands import BadInput, main
from rnn_check.cli.comparing import CLAIMS, HOW, Typed, compared, is_given, repeated
from rnn_check.cli.options import JSON, KNOWN, MARKDOWN, PATTERN, check_free, write
from rnn_check.reports.terminal import console

if TYPE_CHECKING:
    from rnn_check.claims.claim import Claim
    from rnn_check.upgrades.models import Compared as Changed
    from rnn_check.upgrades.subjects import How, Word
    from rnn_check.verdicts.known import Known


@main.command()
@click.argument("subjects", nargs=-1, required=True, metavar="BASELINE SUBJECT...")
@HOW
@PATTERN
@CLAIMS
@click.option(
    "--options/--no-options",
    default=None,
    help="Judge also what the options of Keras's layers do, in every combination.  [default: so "
    "few of these that each value occurs; of records, what they hold]",
)
@KNOWN
@JSON
@MARKDOWN
@click.option(
    "--html",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write a page to FILE as well: one file, to be read without network or script.",
)
@click.option("--force", is_flag=True, help="Overwrite the page if it is there already.")
@click.option(
    "--model",
    metavar="FILE.keras|FILE.h5|FILE.py:NAME|MODULE:NAME",
    help="Show what changed in this model of yours, layer by layer, in place of claims. Records "
    "are those of `rnn-check model --record`.",
)
@click.option(
    "--input",
    "given",
    type=click.Path(path_type=Path),
    metavar="X.npy|X.npz",
    help="What --model is run on.  [default: generated, or what a record was run on]",
)
@click.option(
    "--layer",
    "own",
    multiple=True,
    metavar="[KIND=]FILE.py:CLASS",
    help="Of --model: this class of yours computes what keras.layers.KIND does; may be repeated.",
)
@click.option("--all", "everything", is_flag=True, help="Show also what did not change.")
@click.option(
    "--fail-on",
    type=click.Choice(("differ", "drift", "never")),
    default="differ",
    show_default=True,
    help="Exit with 1 if a verdict is worse than the baseline's; if anything changed, bits "
    "included; or never.",
)
def compare(
    subjects: tuple[str, ...],
    typed: Typed,
    pattern: str | None,
    paths: tuple[Path, ...],
    options: bool | None,
    known: Path | None,
    as_json: bool,
    as_markdown: bool,
    html: Path | None,
    force: bool,
    model: str | None,
    given: Path | None,
    own: tuple[str, ...],
    everything: bool,
    fail_on: str,
) -> None:
    """Show what changed from one subject to others, claim by claim.

    A subject is requirements and a backend (tensorflow==2.13.1, or keras==3.12.0,jax==0.7.2@jax);
    `current`, which is this environment (current@jax); or a record (see `observe`). Requirements
    get an environment of their own, which is kept in a cache.

    Exit codes: 0 nothing got worse, 1 something did (see --fail-on), 2 bad input or usage,
    3 a subject could not be asked.
    """
    if as_json and as_markdown:
        raise BadInput("--json and --markdown do not go together")
    if html is not None:
        check_free("--html", html, force)
    elif force:
        raise BadInput("--force is of --html, which is not given")
    from rnn_check.reports import changes
    from rnn_check.reports import markdown as reports_markdown
    from rnn_check.upgrades.carried import few
    from rnn_check.upgrades.document import document
    from rnn_check.upgrades.subjects import read
    from rnn_check.verdicts.gathered import Verdicts

    words = read(subjects)
    if len(words) < 2:
        raise BadInput("one subject cannot be compared; name two or more, the baseline first")
    how = typed.how(words, not paths and pattern is None)
    if model is not None:
        found_in, code = _of_model(
            words, how, typed, model, given, own, known_deviations(known, False), fail_on
        )
        _print_model(found_in, as_json, as_markdown, html, everything)
        sys.exit(code)
    for option, value in (("--input", given), ("--layer", own)):
        if value:
            raise BadInput(f"{option} is of --model, which is not given")
    claims = _claims(words, paths, pattern, options)
    whole = options is True and not (paths or pattern or any(w.observed for w in words))
    verdicts = Verdicts(claims, known_deviations(known, whole))
    judged = [*repeated("--claims", paths), *repeated("--known", [known] if known else [])]
    said = paths or pattern is not None or options is not None
    carry = claims if said else few(claims)
    found = compared(words, claims, verdicts, how, judged, typed.scheduler, carry)
    if html is not None:
        from rnn_check.reports import page

        write("--html", html, page.html(found))
    if as_json:
        from rnn_check.reports.documents import as_document

        click.echo(as_document(document(found)))
    elif as_markdown:
        click.echo(reports_markdown.markdown(found), nl=False)
    else:
        changes.terminal(found, console(), everything)
    sys.exit(found.exit_code(fail_on))


_OF_CLAIMS = ("pattern", "paths", "options", "slow", "scheduler")


def _of_model(
    words: Sequence[Word],
    how: How,
    typed: Typed,
    model: str,
    given: Path | None,
    own: Sequence[str],
    known: Known,
    fail_on: str,
) -> tuple[Changed, int]:
    """What changed in it; the exit code. known: what is known of the subjects."""
    from rnn_check.cli.compare_model import compared as compared_model

    context = click.get_current_context()
    for option in context.command.params:
        if option.name in _OF_CLAIMS and is_given(option.name):
            raise BadInput(f"{option.opts[-1]} is of claims, and does not go with --model")
    typed.one_way("a model")
    dtype = typed.dtype[0] if is_given("dtype") else None
    found = compared_model(words, how, model, given, own, dtype, known)
    return found, found.exit_code(fail_on)


def _print_model(
    found: Changed, as_json: bool, as_markdown: bool, html: Path | None, everything: bool
) -> None:
    if html is not None:
        from rnn_check.reports import model_page

        write("--html", html, model_page.html(found))
    if as_markdown:
        from rnn_check.reports import model_markdown

        click.echo(model_markdown.markdown(found), nl=False)
        return
    from rnn_check.reports import model_changes

    if as_json:
        click.echo(model_changes.document(found))
    else:
        model_changes.terminal(found, console(), everything)


def _claims(
    words: Sequence[Word], paths: tuple[Path, ...], pattern: str | None, options: bool | None
) -> list[Claim]:
    """Those that are asked for; if none are, what the records hold, and without records few of
    each kind."""
    records = [word for word in words if word.observed]
    held = {name for word in records if word.observed for name in word.observed.answers}
    if not records and not paths and pattern is None and options is None:
        return covered(chosen_claims(paths, pattern, options=True))
    if not records or paths or pattern is not None or options is not None:
        return chosen_claims(paths, pattern, options is not False)
    claims = chosen_claims((), None, any(name.startswith("options/") for name in held))
    if found := [claim for claim in claims if claim.name in held]:
        return found
    names = ", ".join(sorted(held)[:3])
    raise BadInput(
        f"{records[0].text} holds none of the bundled claims ({names or 'no claim at all'}); "
        "--claims PATH judges those that it was asked"
    )
