"""Who does pieces of work side by side: processes here, or the machines of a cluster?

A function and what it is given travel to workers (Dask); the results come as they are ready. What
a worker had in hand when it died is done again by another.
"""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import dask
import distributed
import msgspec

from rnn_check.refusal import Refused

_IN_HAND = 3  # pieces a worker, so that none waits for the next
_OF_WORKERS_THAT_DIE = {
    "distributed.scheduler.allowed-failures": 2,  # before what they did is taken apart
    "distributed.deploy.lost-worker-timeout": "1h",  # each is started again, which takes seconds
}
P = TypeVar("P")
R = TypeVar("R")


class _LeaveCtrlCToTheHost(distributed.WorkerPlugin):  # type: ignore[misc]
    """A terminal sends SIGINT to the workers too; they have to finish what is in hand.

    A handler and not SIG_IGN, which the processes that they start would inherit.
    """

    def setup(self, worker: distributed.Worker) -> None:
        signal.signal(signal.SIGINT, lambda number, frame: None)


@contextlib.contextmanager
def client(scheduler: str | None, workers: int) -> Iterator[distributed.Client]:
    """Of the scheduler at this address, or in this file; else of processes on this machine."""
    if scheduler is None:
        with (
            dask.config.set(_OF_WORKERS_THAT_DIE),
            distributed.LocalCluster(
                n_workers=workers, threads_per_worker=1, processes=True, dashboard_address=":0",
                silence_logs="CRITICAL",
            ) as cluster,
            distributed.Client(cluster) as local,
        ):  # fmt: skip
            local.register_plugin(_LeaveCtrlCToTheHost())
            yield local
        return
    try:
        remote = distributed.Client(_address(scheduler), timeout=30)
    except (OSError, ValueError) as error:
        raise Refused(f"--scheduler: {scheduler}: nobody answers there: {error}") from None
    with remote:
        yield remote


class _SchedulerFile(msgspec.Struct):
    """What is read of the file that `dask scheduler --scheduler-file` writes."""

    address: str


def _address(scheduler: str) -> str:
    if "://" in scheduler:
        return scheduler
    try:
        return msgspec.json.decode(Path(scheduler).read_bytes(), type=_SchedulerFile).address
    except OSError as error:
        problem = f"{error.strerror}, and it is no address such as tcp://host:8786"
    except msgspec.DecodeError as error:
        problem = f"it is no file that dask scheduler wrote: {error}"
    raise Refused(f"--scheduler: {scheduler}: {problem}")


def workers_of(client: distributed.Client) -> int:
    """How many there are now, and one where the first is still to come."""
    return max(1, len(client.nthreads()))


def _whole(piece: Any) -> Sequence[Any]:
    return ()


def _raised(piece: Any, error: BaseException) -> Any:
    raise error


def each(
    client: distributed.Client,
    do: Callable[[P], R],
    todo: Iterable[P],
    *,
    until: float | None = None,
    ended: Callable[[], bool] = lambda: False,
    parts: Callable[[P], Sequence[P]] = _whole,
    lost: Callable[[P, BaseException], R] = _raised,
) -> Iterator[R]:
    """What `do` makes of each piece, as it comes.

    until: when (`time.monotonic`) no more is begun. A piece of which several workers died is asked
    again in its parts; of one that has none, `lost` says what it is. What `do` raises is raised.
    """
    left = iter(todo)

    def more() -> Iterator[P]:
        while not ended() and (until is None or time.monotonic() < until):
            piece = next(left, None)
            if piece is None:
                return
            yield piece

    waiting: distributed.as_completed = distributed.as_completed()
    of: dict[str, P] = {}

    def begin(piece: P) -> None:
        future = client.submit(do, piece, pure=False)
        of[future.key] = piece
        waiting.add(future)

    def fill() -> None:
        while len(of) < _IN_HAND * workers_of(client) and (piece := next(more(), None)) is not None:
            begin(piece)

    fill()
    for future in waiting:
        piece = of.pop(future.key)
        if future.status == "finished":
            yield future.result()
        elif future.status != "error":  # its worker died with it
            begin(piece)
        elif not isinstance(error := future.exception(), distributed.scheduler.KilledWorker):
            raise error  # a fault of ours
        elif smaller := parts(piece):
            for part in smaller:
                begin(part)
        else:
            yield lost(piece, error)
        fill()
