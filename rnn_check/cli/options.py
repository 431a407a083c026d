"""Which options do several commands share?

Everything heavy is imported inside the commands and their callbacks, so that `--help` costs
nothing.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

import click

from rnn_check.cli.commands import BadInput
from rnn_check.reports.terminal import plain
from rnn_check.subjects.policy import NAMES

BACKENDS = ("tensorflow", "jax", "torch", "openvino", "numpy")
MODES = ("eager", "function", "xla")
DTYPES_ARE = f"DTYPE is one of {', '.join(NAMES)}."  # as a metavar they do not fit on a line
_Command = TypeVar("_Command", bound=Callable[..., None])


def options_of(*options: Callable[[Any], Any]) -> Callable[[_Command], _Command]:
    """Options that several commands share, in this order."""

    def add(command: _Command) -> _Command:
        for option in reversed(options):
            command = option(command)
        return command

    return add


def as_one(
    name: str, kind: type[Any], *options: Callable[[Any], Any]
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """The same, as one argument of that name: a dataclass with fields called as the options are."""

    def add(command: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(command)
        def called(**given: Any) -> None:
            own = {each.name: given.pop(each.name) for each in fields(kind)}
            command(**given, **{name: kind(**own)})

        return options_of(*options)(called)

    return add


PATTERN = click.option(
    "-k", "pattern", metavar="PATTERN", help="Only what contains PATTERN (or is so named)."
)
SLOW = click.option("--slow", is_flag=True, help="Judge the slow claims as well (minutes).")
TIMEOUT = click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=300.0,
    show_default=True,
    metavar="SECONDS",
    help="How long one claim may take. The start of a framework may take 600 seconds, or as long "
    "as this if that is longer.",
)


class _Memory(click.ParamType[int]):
    name = "amount"

    def convert(self, value: Any, param: Any, ctx: Any) -> int:
        if isinstance(value, int):
            return value
        from rnn_check.subjects.process import amount

        try:
            return amount(value)
        except ValueError as error:
            self.fail(f"{error}, got {plain(value)!r}", param, ctx)


MEMORY = click.option(
    "--memory",
    type=_Memory(),
    default="50%",
    show_default=True,
    metavar="AMOUNT",
    help="The most memory that each backend's process may take, with all that it starts: 8G, or a "
    "share of this machine's. A claim that takes more is an error.",
)
SCHEDULER = click.option(
    "--scheduler", metavar="ADDRESS|FILE",
    help="Ask on a Dask cluster that is there, in place of processes here: tcp://host:8786, or its "
    "scheduler file.",
)  # fmt: skip
KNOWN = click.option(
    "--known",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Take the known deviations from FILE, not those that come with rnn_check. What FILE calls "
    "known has to show in every claim that does the same: see docs/deviations.md.",
)
FORCE = click.option("--force", is_flag=True, help="Overwrite FILE if it is there.")
JSON = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON document and nothing else."
)
MARKDOWN = click.option(
    "--markdown", "as_markdown", is_flag=True, help="Print Markdown, for a pull request."
)


def needs_a_cluster() -> None:
    """Refuse what is done on workers, if what they need is not installed here."""
    try:
        import distributed  # noqa: F401
        import pyarrow  # noqa: F401
    except ImportError as error:
        command = 'python -m pip install "rnn_check[sweep]"'
        raise BadInput(f"{error.name} is not installed; {command} brings it") from None


def check_free(option: str, file: Path, force: bool) -> None:
    """Whether a file may be written there, known before anything is done for it."""
    try:
        if file.exists() and not force:
            raise BadInput(f"{option}: {file} is there already; --force overwrites it")
        if file.is_dir() or not file.absolute().parent.is_dir():
            raise BadInput(f"{option}: {file} cannot be a file: name one in a folder that is there")
    except OSError as error:
        raise BadInput(f"{option}: {file} cannot be written: {error.strerror}") from None
    if not os.access(file if file.exists() else file.absolute().parent, os.W_OK):
        raise BadInput(f"{option}: {file} cannot be written: no permission")


def write(option: str, file: Path, text: str) -> None:
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise BadInput(f"{option}: {file} cannot be written: {error.strerror}") from None
