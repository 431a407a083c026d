"""Which claims are there, and what does each assert?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from itertools import groupby

from rich.console import Console
from rich.table import Table
from rich.text import Text

from rnn_check.claims.claim import Claim
from rnn_check.reports.cells import WIDE
from rnn_check.reports.terminal import line


def listing(claims: Iterable[Claim], console: Console) -> None:
    """The claims and what each asserts, without asking anybody."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    columns = ["claim", "asserts", "title", "on whose word"]
    columns = columns if console.width >= WIDE else columns[:-1]
    for column in columns:
        table.add_column(column, overflow="fold", no_wrap=column == "claim" and len(columns) > 3)
    for name, group in groupby(claims, key=lambda c: c.name.partition("[")[0]):
        c, *others = group
        kinds = Counter(e.what for e in c.expectations)
        asserts = ", ".join(what if n == 1 else f"{what} ×{n}" for what, n in kinds.items())
        many = f" ×{len(others) + 1}" if others else ""  # of a file that varies
        cells = [name + many, asserts, c.title, c.source.document]
        table.add_row(*(Text(line(cell)) for cell in cells[: len(columns)]))
    console.print(table)
