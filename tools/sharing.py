"""Who shares the work of a tool: this process, more of them, or a cluster that is there?

Workers of a cluster run in a checkout (`PYTHONPATH` names it) with what the tool needs.
"""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from rnn_check.refusal import Refused

P = TypeVar("P")
R = TypeVar("R")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Of who shares it."""
    parser.add_argument("--workers", type=int, help="processes on this machine; default: this one")
    parser.add_argument("--scheduler", help="a Dask cluster: tcp://host:8786, or its file")


@contextlib.contextmanager
def client(parser: argparse.ArgumentParser, given: argparse.Namespace) -> Iterator[Any]:
    """Dask's client; None where neither option is given: it is all done here."""
    if given.workers is None and given.scheduler is None:
        yield None
        return
    if given.workers is not None and (given.scheduler is not None or given.workers < 1):
        parser.error("--workers takes a positive number, and does not go with --scheduler")
    from rnn_check.asking import cluster

    with contextlib.ExitStack() as open_:
        try:
            found = open_.enter_context(cluster.client(given.scheduler, given.workers or 1))
        except Refused as error:
            parser.error(str(error))
        yield found


def each(client: Any, do: Callable[[P], R], todo: Iterable[P]) -> Iterator[R]:
    """What `do` makes of each: here, one after the other, or as workers are ready."""
    if client is None:
        yield from map(do, todo)
        return
    from rnn_check.asking import cluster

    yield from cluster.each(client, do, todo)
