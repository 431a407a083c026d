"""How is an array read that numpy.save wrote, evaluating nothing and making nothing first?"""

from __future__ import annotations

import re
from typing import IO, Literal

_HEADER = re.compile(
    rb"\{'descr': '([^']*)', 'fortran_order': (True|False), "
    rb"'shape': \(((?:\d{1,18}, ?)*\d{0,18})\), \} *\n"
)


class Unreadable(ValueError):
    """No array of numbers; the message says why."""


def header(file: IO[bytes]) -> tuple[str, Literal["C", "F"], tuple[int, ...]]:
    """dtype as NumPy describes it, order and shape of the array that follows.

    NumPy's own reader evaluates it, and makes what it says before it looks how much is there.
    Raises Unreadable.
    """
    start = file.read(8)
    wide = 4 if start[6:7] in (b"\2", b"\3") else 2
    size = int.from_bytes(file.read(wide), "little")
    if start[:6] != b"\x93NUMPY" or size > 10_000:
        raise Unreadable("cannot be read: it is no array")
    found = _HEADER.fullmatch(file.read(size))
    if found is None:
        raise Unreadable("holds no array of numbers")
    shape = tuple(int(n) for n in re.findall(rb"\d+", found[3]))
    return found[1].decode("latin-1"), "F" if found[2] == b"True" else "C", shape
