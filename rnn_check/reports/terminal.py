"""What reaches the terminal, and what comes from it?

Claims, records and file names are other people's text: an escape sequence in them would clear the
screen or write elsewhere on it, so here it becomes what it looks like when it is quoted. Signals
end a command in order. Nothing heavy is imported: `--help` passes through here too.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from types import FrameType
from typing import TYPE_CHECKING, Any, TextIO

import click

if TYPE_CHECKING:
    from rich.console import Console

_HIDDEN = re.compile(  # all that moves the cursor, turns the text around or is not seen
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff"
    "\ud800-\udfff\ufff9-\ufffb\U000e0000-\U000e0fff]"
)

_FILLED_UP = re.compile(r" +$", re.MULTILINE)


def plain(text: str) -> str:
    """The text with everything that is no text in it quoted; newlines and tabs stay."""
    return _HIDDEN.sub(lambda found: ascii(found[0])[1:-1], text)


def line(text: str) -> str:
    """The same on one line, for a cell of a table."""
    return plain(text).replace("\n", "\\n").replace("\t", " ")


def as_json(text: str) -> str:
    """A JSON document with the same quoted in its strings, where alone they can stand."""

    def quoted(found: re.Match[str]) -> str:
        units = found[0].encode("utf-16-be", "surrogatepass")
        return "".join(f"\\u{units[i : i + 2].hex()}" for i in range(0, len(units), 2))

    return _HIDDEN.sub(quoted, text)


def say(message: str) -> None:
    """A line to stderr, for who is watching."""
    click.echo(f"rnn-check: {plain(message)}", err=True)


def is_watched(stream: TextIO | None) -> bool:
    """Whether it is a terminal; one that was closed before we came is none."""
    return stream is not None and stream.isatty()


def console(file: TextIO | None = None, width: int | None = None) -> Console:
    """Where reports are printed. Whatever is printed there is plain."""
    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.segment import Segment

    class Plain(Console):
        def render(
            self, renderable: RenderableType, options: ConsoleOptions | None = None
        ) -> Iterable[Segment]:
            for segment in super().render(renderable, options):
                text, style, control = segment
                yield segment if control else Segment(plain(text), style)

        def print(self, *objects: Any, **how: Any) -> None:
            """Into a file no line ends in the blanks that fill up a table."""
            if self.is_terminal:
                super().print(*objects, **how)
                return
            with self.capture() as captured:
                super().print(*objects, **how)
            self.file.write(_FILLED_UP.sub("", captured.get()))
            self.file.flush()

        def on_broken_pipe(self) -> None:
            raise

    # a pipe has no width unless it is told; 80 columns would fold every line of the table
    told = os.environ.get("COLUMNS", "").isdecimal()
    if width is None and not told and not is_watched(file or sys.stdout):
        width = 120
    return Plain(file=file, width=width)


# --- when it goes wrong ---------------------------------------------------------------------------


def any_encoding() -> None:
    """What the terminal cannot show is shown as \\u2713, not an error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


@contextlib.contextmanager
def writing() -> Iterator[None]:
    """An stdout that takes no more ends the command with a word and an exit code of its own.

    141, as a shell has it, if who read it has gone (`| head`); 2 if it cannot be written to.
    """
    try:
        try:
            yield
        finally:
            if sys.stdout is not None:
                sys.stdout.flush()
    except OSError as error:
        # what is opened by name is told by its name, where it is opened
        if error.filename is not None or error.errno not in _NO_OUTPUT:
            raise
        with contextlib.suppress(OSError):  # so that Python's own last flush finds somewhere to go
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if error.errno == errno.EPIPE:
            sys.exit(141)
        with contextlib.suppress(OSError):
            say(f"stdout cannot be written to: {error.strerror}")
        sys.exit(2)


_NO_OUTPUT = (errno.EPIPE, errno.ENOSPC, errno.EIO, errno.EBADF, errno.EDQUOT, errno.EFBIG)


class Interrupted(KeyboardInterrupt):
    """Ctrl-C, or a signal that asks to end."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.exit_code = 128 + number


_takers: list[Callable[[Interrupted], None]] = []  # the last is told instead of the main thread
_TWICE = 1.0  # seconds in which one wish to end may come twice: `timeout` tells child and group


@contextlib.contextmanager
def signals() -> Iterator[None]:
    """Ctrl-C, SIGTERM and SIGHUP raise Interrupted, once. Who insists is obeyed at once.

    What was ignored (by nohup, or in the background) stays so.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    first: list[float] = []

    def end(number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if not first:
            first.append(now)
            if not _takers:
                raise Interrupted(number)
            _takers[-1](Interrupted(number))
            return
        if now - first[0] > _TWICE:
            if (process := sys.modules.get("rnn_check.subjects.process")) is not None:
                process.kill_all()
            os._exit(128 + number)

    before: dict[int, Any] = {}
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            before[number] = signal.signal(number, end)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def interruptions(take: Callable[[Interrupted], None]) -> Iterator[None]:
    """In here the first wish to end is handed to `take`, which says when it is raised.

    Raised wherever the main thread happens to be, it would lose what was just taken from a queue,
    tear a file that is being written, or be swallowed where Python ignores errors (`__del__`).
    take: is called between any two steps of the main thread, so it may wait for no lock.
    """
    _takers.append(take)
    try:
        yield
    finally:
        _takers.remove(take)
