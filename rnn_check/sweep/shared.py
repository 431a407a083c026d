"""How do workers share the cases, and what becomes of those of one that dies?"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import distributed

from rnn_check.asking import cluster
from rnn_check.sweep import work
from rnn_check.sweep.space import FAMILY, Case, Space
from rnn_check.sweep.work import Outcome, Sought
from rnn_check.verdicts.judge import ERROR


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
    do = functools.partial(outcomes, space=space)
    yield from cluster.each(
        client, do, todo, until=until, ended=ended, parts=_cases, lost=lambda p, e: [_lost(p, e)]
    )


def outcomes(piece: Piece, space: Space) -> list[Outcome]:
    """Of a worker."""
    return work.outcomes(piece.cases, space, piece.of)


def _cases(piece: Piece) -> list[Piece]:
    many = len(piece.cases) > 1
    return [Piece(piece.of, (case,)) for case in piece.cases] if many else []


def _lost(piece: Piece, error: BaseException) -> Outcome:
    (case,) = piece.cases
    return Outcome(
        seed=case.seed, index=case.index, subject=piece.of.name, packages="", verdict=ERROR,
        what="", place="its worker died", detail=str(error), known="", ratio=None, bits=None,
        seconds=0.0,
    )  # fmt: skip
