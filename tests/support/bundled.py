"""The bundled claims, each file read once by a process that tests."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from pathlib import Path

from rnn_check.claims import files
from rnn_check.claims.claim import Claim


@functools.cache
def in_file(file: Path) -> tuple[Claim, ...]:
    return tuple(files.load_each(file))


def everywhere() -> Iterator[Claim]:
    for _, file in files.find([files.bundled()]):
        yield from in_file(file)


def load_all(paths: Iterable[Path | str] = ()) -> Iterator[Claim]:
    """Every claim in the files and folders named; the bundled ones if none is."""
    for name, file in files.find(list(paths) or [files.bundled()]):
        yield from files.load_each(file, name)
