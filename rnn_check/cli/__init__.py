"""How does a user ask?  `main` is the command `rnn-check`, with one file a group of commands."""

from rnn_check.cli import compare  # noqa: F401  whose commands belong to `main`
from rnn_check.cli.commands import main

__all__ = ["main"]
