"""Does an honest training never fail, whatever the scale of its numbers?

    python -m tools.extreme_trainings              # 2,592 trainings, a minute or two
    python -m tools.extreme_trainings --every 71   # 37 of them, as the test run does
    python -m tools.extreme_trainings --all --every 71   # of each recurrence by each optimizer

Small networks with one of nine activations, inputs from 1e-20 to 100, targets from 1e-30 to 1e12,
trained by three forms of Adam whose every operation is rounded: to nearest, with subnormals
flushed to zero, always up, or either way. What overflows is no training, and is left out. Inputs of
100 saturate tanh and sigmoid: gradients below their own rounding, which are not proved.

With --all the same cases for SimpleRNN, LSTM and GRU with either reset, of all samples and of
batches of two, by each optimizer of `tests.support.trainings`.
"""

from __future__ import annotations

import argparse
import itertools
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from rnn_check.recurrences import kinds
from rnn_check.recurrences.network import Network
from tests.support.trainings import (
    FORMS,
    OPTIMIZERS,
    Execution,
    always,
    certified,
    either_way,
    initial,
    to_float32,
)

ACTIVATIONS = (
    "tanh", "relu", "sigmoid", "hard_tanh", "linear", "softsign", "elu", "hard_sigmoid", "gelu"
)  # fmt: skip
TARGETS = (1e-30, 1e-15, 1e-5, 1.0, 1e5, 1e12)
INPUTS = (1e-20, 1e-3, 1.0, 100.0)


RECURRENCES = {
    "SimpleRNN": kinds.SIMPLE,
    "LSTM": kinds.LSTM,
    "GRU": kinds.GRU,
    "GRU, reset before": kinds.GRU_BEFORE,
}


def flushed(value: Any) -> Any:
    rounded = to_float32(value)
    return np.where(np.abs(rounded) < 2.0**-126, 0.0, rounded)


ROUNDINGS = {
    "to nearest": to_float32,
    "subnormals flushed": flushed,
    "always up": always(1),
    "either way": either_way(5),
}


@dataclass
class Tally:
    trainings: int = 0  # that did not overflow
    proved: int = 0
    ratio: float = 0.0  # the largest
    alarms: list[str] = field(default_factory=list)


def run(
    every: int = 1,
    recurrence: str = "SimpleRNN",
    optimizer: str = "Adam",
    batch_size: int | None = None,
    tally: Tally | None = None,
) -> Tally:
    """Every so many of the 2,592, counted beside those of the tally."""
    tally = tally or Tally()
    by = OPTIMIZERS[optimizer]
    cases = itertools.product(ACTIVATIONS, TARGETS, INPUTS, ROUNDINGS, FORMS)
    for seed, (act, target, size, rounding, form) in enumerate(cases):
        if seed % every:
            continue
        rng = np.random.default_rng(seed)
        net = Network(
            x=to_float32(size * rng.normal(size=(3, 4, 2))),
            target=to_float32(target * rng.normal(size=(3, 2))),
            activation=act,
            recurrence=RECURRENCES[recurrence],
            recurrent_activation=("sigmoid", "hard_sigmoid")[seed % 2],
            batch_size=batch_size,
        )
        with np.errstate(all="ignore"):
            execution = Execution(net, ROUNDINGS[rounding], form, optimizer=by)
            ran = execution.run(initial(net, True), 6 if batch_size is None else 3)
        parts = [a for part in (ran["weights"], *ran["states"].values()) for a in part.values()]
        if not all(np.isfinite(a).all() for a in (*parts, ran["loss"])):
            continue
        found = certified(ran, net, optimizer=by)
        tally.trainings += 1
        tally.proved += found.ok is True
        tally.ratio = max(tally.ratio, found.ratio)
        if found.ok is False:
            tally.alarms.append(
                f"{recurrence}, {optimizer}, {act}, target {target:g}, x {size:g}, {rounding}, "
                f"{form}: {found.reason}"
            )
    return tally


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--every", type=int, default=1, help="ask one of so many (default: all)")
    parser.add_argument("--all", action="store_true", help="each recurrence by each optimizer")
    asked = parser.parse_args()
    tally = Tally()
    if not asked.all:
        run(asked.every, tally=tally)
    for recurrence, optimizer in itertools.product(RECURRENCES, OPTIMIZERS) if asked.all else ():
        for batch_size in (None, 2):
            run(asked.every, recurrence, optimizer, batch_size, tally)
    for alarm in tally.alarms:
        print(f"FALSE ALARM: {alarm}")
    print(
        f"{tally.trainings:,} trainings, {tally.proved:,} proved, "
        f"{len(tally.alarms)} false alarms; largest residual/bound {tally.ratio:.2f}"
    )
    raise SystemExit(bool(tally.alarms))


if __name__ == "__main__":
    main()
