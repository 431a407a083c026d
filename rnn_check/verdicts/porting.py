"""Is a layer the same after it was ported, and does each of both frameworks compute it?

A layer's second bias is the weight of one feature more, which is always 1: so it may be added in
any order, and what it is off by is bounded with the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rnn_check.asking.ported import Way
from rnn_check.certificates import public
from rnn_check.certificates.result import Certificate
from rnn_check.claims.written import Array
from rnn_check.recurrences.kinds import recurrence
from rnn_check.recurrences.running import Running
from rnn_check.subjects.asked.named import FAMILIES
from rnn_check.verdicts.converted import Part, compared, options

__all__ = ["Apart", "Computed", "Direction", "Part", "apart", "computed"]


@dataclass(frozen=True)
class Computed:
    """What a framework gave (B,T,H), its certificate, and the truth of all steps with its bound."""

    states: Array
    certificate: Certificate
    truth: Array
    bound: Array


@dataclass(frozen=True)
class Apart:
    """How far two computations are from each other where that is the largest share of what it may
    be: their bounds, and how far the truths of weights that are the same are apart, since a sum of
    biases was rounded."""

    most: float
    bounds: float
    truths: float
    ratio: float


def computed(way: Way, activation: str, x: Array, states: Array, dtype: str) -> Computed:
    """Raises ValueError for shapes that do not fit."""
    kernel, given = way.kernel, x
    if way.recurrent_bias is not None:
        kernel = np.concatenate([kernel, way.recurrent_bias[None]])
        given = np.concatenate([x, np.ones((*x.shape[:2], 1))], axis=-1)
    how: dict[str, Any] = {"activation": activation, "go_backwards": way.option("go_backwards")}
    arrays: dict[str, Any] = {
        "kernel": kernel,
        "recurrent_kernel": way.recurrent_kernel,
        "bias": way.bias,
    }
    of = recurrence(FAMILIES[way.kind].recurrence, way.option("reset_after"))
    own = {"recurrence": of.name, "reset_after": way.option("reset_after")}
    if of.has_gates:
        how["recurrent_activation"] = way.option("recurrent_activation")
    certificate = public.certify(states, x=given, **arrays, **how, **own, dtype=dtype)
    run = Running(of, given, **arrays, **how, arithmetic=dtype)
    truth, bound = run.states["h"]
    return Computed(states, certificate, truth, bound)


def apart(one: Computed, other: Computed, are_same: bool) -> Apart:
    """are_same: whether their weights are, after conversion."""
    off = np.abs(np.subtract(one.states, other.states, dtype=np.float64))
    truths = np.abs(one.truth - other.truth) * are_same
    allowed = one.bound + other.bound + truths
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = np.where(off == 0, 0.0, off / allowed)
    at = np.unravel_index(int(np.argmax(ratios)), ratios.shape)
    return Apart(
        float(off[at]),
        float((one.bound + other.bound)[at]),
        float(truths[at]),
        float(ratios[at]),
    )


@dataclass(frozen=True)
class Direction:
    """One direction of a layer, of two frameworks or of one alone.

    options: in what the two are not the same; parts: their weights; runs: what each gave; apart:
    how far from each other, where the weights are the same.
    """

    name: str
    options: tuple[str, ...]
    parts: tuple[Part, ...]
    runs: tuple[Computed, ...]
    apart: Apart | None

    @property
    def ok(self) -> bool:
        """Whether nothing is known to be wrong."""
        certified = all(run.certificate.ok is not False for run in self.runs)
        same = not self.options and all(part.ok for part in self.parts)
        return certified and same and (self.apart is None or self.apart.ratio <= 1)

    @classmethod
    def of(
        cls, ways: Sequence[Way], frameworks: Sequence[str], runs: Sequence[Computed]
    ) -> Direction:
        """The two, or the one, of these frameworks, and what was computed of each, if it was."""
        if len(ways) == 1:
            return cls(ways[0].name, (), (), tuple(runs), None)
        before, after = ways
        found = options(before, after)
        alike = (before.kind, before.features, before.units) == (
            after.kind, after.features, after.units,
        )  # fmt: skip
        parts = compared(before, after, (frameworks[0], frameworks[1])) if alike else []
        are_same = not found and all(part.ok for part in parts)
        far = apart(runs[0], runs[1], are_same) if len(runs) == 2 and alike else None
        return cls(before.name, tuple(found), tuple(parts), tuple(runs), far)
