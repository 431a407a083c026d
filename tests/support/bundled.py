"""The bundled claims, each file read once by a process that tests."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path

from rnn_check.claims import claim
from rnn_check.claims.claim import Claim


@functools.cache
def in_file(file: Path) -> tuple[Claim, ...]:
    return tuple(claim.load_each(file))


def everywhere() -> Iterator[Claim]:
    for _, file in claim.find([claim.bundled()]):
        yield from in_file(file)
