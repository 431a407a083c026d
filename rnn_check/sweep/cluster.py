"""How do many workers share the cases, and what becomes of those of one that dies?"""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dask
import distributed
import msgspec

from rnn_check.refusal import Refused
from rnn_check.sweep import work
from rnn_check.sweep.space import FAMILY, Case, Space
from rnn_check.sweep.work import Outcome, Sought
from rnn_check.verdicts.judge import ERROR

_IN_HAND = 3  # tasks a worker, so that none waits for the next
_OF_WORKERS_THAT_DIE = {
    "distributed.scheduler.allowed-failures": 2,  # before what they did is taken apart
    "distributed.deploy.lost-worker-timeout": "1h",  # each is started again, which takes seconds
}


class _LeaveCtrlCToTheSweep(distributed.WorkerPlugin):  # type: ignore[misc]
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
            local.register_plugin(_LeaveCtrlCToTheSweep())
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


@dataclass(frozen=True)
class Piece:
    """Cases of one family for one subject."""

    of: Sought
    cases: tuple[Case, ...]


def pieces(
    subjects: Sequence[Sought], seed: int, count: int | None, done: set[tuple[str, int]]
) -> Iterator[Piece]:
    """What is to be asked, family by family, of every subject; without end if there is no count."""
    family = 0
    while count is None or family * FAMILY < count:
        indices = range(family * FAMILY, min((family + 1) * FAMILY, count or (family + 1) * FAMILY))
        for of in subjects:
            cases = tuple(Case(seed, i) for i in indices if (of.name, i) not in done)
            if cases:
                yield Piece(of, cases)
        family += 1


def asked(
    client: distributed.Client,
    space: Space,
    todo: Iterator[Piece],
    until: float | None = None,
    ended: Callable[[], bool] = lambda: False,
) -> Iterator[list[Outcome]]:
    """The outcomes, piece by piece as they come. until: when (`time.monotonic`) no more is begun.

    A piece whose worker died is asked again elsewhere, and if that dies too, case by case; a case
    that ends three workers more is an error of its subject.
    """
    waiting: distributed.as_completed = distributed.as_completed()
    of: dict[str, Piece] = {}

    def begin(piece: Piece) -> None:
        future = client.submit(work.outcomes, piece.cases, space, piece.of, pure=False)
        of[future.key] = piece
        waiting.add(future)

    def fill() -> None:
        while len(of) < _IN_HAND * max(1, len(client.scheduler_info()["workers"])):
            if ended() or (until is not None and time.monotonic() >= until):
                return
            piece = next(todo, None)
            if piece is None:
                return
            begin(piece)

    fill()
    for future in waiting:
        piece = of.pop(future.key)
        if future.status == "finished":
            yield future.result()
        elif future.status != "error":  # its worker died with it
            begin(piece)
        elif len(piece.cases) > 1:
            for case in piece.cases:
                begin(Piece(piece.of, (case,)))
        else:
            yield [_lost(piece, future.exception())]
        fill()


def _lost(piece: Piece, error: Any) -> Outcome:
    (case,) = piece.cases
    if not isinstance(error, distributed.scheduler.KilledWorker):
        raise error  # a fault of ours
    return Outcome(
        seed=case.seed, index=case.index, subject=piece.of.name, packages="", verdict=ERROR,
        what="", place="its worker died", detail=str(error), known="", ratio=None, bits=None,
        seconds=0.0,
    )  # fmt: skip
