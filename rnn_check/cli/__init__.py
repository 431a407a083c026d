"""How does a user ask?  `main` is the command `rnn-check`, one file a command."""

from rnn_check.cli import (  # noqa: F401  whose commands belong to `main`
    bisect,
    cache,
    compare,
    coverage,
    explain,
    history,
    judge,
    lint,
    model,
    new,
    observe,
    port,
    schema,
    sweep,
    verify,
)
from rnn_check.cli.commands import main

__all__ = ["main"]
