"""The command as a user gives it, in this process."""

from __future__ import annotations

from click.testing import CliRunner, Result

from rnn_check.cli.commands import main


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(a) for a in arguments])
