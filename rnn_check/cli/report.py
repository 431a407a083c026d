"""How much is printed of verdicts, and with which exit code does it end?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from rnn_check.cli.commands import BadInput
from rnn_check.cli.options import JSON, MARKDOWN, as_one
from rnn_check.reports.terminal import console, say

if TYPE_CHECKING:
    from rnn_check.claims.claim import Claim
    from rnn_check.verdicts.judge import Judged


@dataclass(frozen=True)
class Printed:
    """The options, as they were typed."""

    verbose: bool
    quiet: bool
    as_json: bool
    as_markdown: bool

    def check(self, only_list: bool = False) -> None:
        named = {
            **{"-v": self.verbose, "-q": self.quiet},
            **{"--json": self.as_json, "--markdown": self.as_markdown, "--list": only_list},
        }
        given = [option for option, is_given in named.items() if is_given]
        if len(given) > 1:
            raise BadInput(f"{given[0]} and {given[1]} do not go together")

    def report(
        self, judged: Sequence[Judged], claims: Sequence[Claim], *, interrupted: bool = False
    ) -> int:
        """Print it; the exit code."""
        from rnn_check.reports import documents, markdown_verdicts, outcome, verdicts
        from rnn_check.reports.verdicts import Amount

        if self.as_json:
            click.echo(documents.as_json(judged))
        elif self.as_markdown:
            click.echo(markdown_verdicts.markdown(judged, interrupted=interrupted), nl=False)
        else:
            titles = {claim.name: claim.title for claim in claims}
            amount = Amount.ALL if self.verbose else Amount.WRONG if self.quiet else Amount.SHORT
            verdicts.terminal(judged, console(), titles, amount, interrupted=interrupted)
        everything = [v for j in judged for v in j.verdicts]
        code = outcome.exit_code(everything)
        if code == 3 and not outcome.summary(everything)["error"]:
            say("nothing was compared")
        return code


PRINTED = as_one(
    "printed",
    Printed,
    click.option(
        "-v", "--verbose", is_flag=True, help="Show every verdict, and explain what is known."
    ),
    click.option("-q", "--quiet", is_flag=True, help="Show only what is wrong, and the count."),
    JSON,
    MARKDOWN,
)
