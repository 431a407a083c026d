"""Is what overflows, and what NaN and infinities make on their way, never called wrong?

Honest executions are those of the references in float32, of numbers up to 10^37 and of zeros, which
an infinity may meet.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pytest

from rnn_check import certify, certify_gradients
from rnn_check.numbers.activations import ACTIVATIONS
from rnn_check.numbers.bounded import Bounded
from rnn_check.numbers.formats import Array
from rnn_check.recurrences import gated, over_time
from rnn_check.recurrences.kinds import GRU, GRU_BEFORE, LSTM, SIMPLE, Recurrence
from rnn_check.recurrences.running import Running
from tests.support.sampling import sampled

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")

NAMES = sorted(ACTIVATIONS)
EXPONENTS = (0, 0, 0, 1, 8, 15, 19, 25, 30, 37)


class Extreme:
    """A layer some of whose arrays are so large that what is made of them overflows."""

    def __init__(self, r: Recurrence, seed: int) -> None:
        self.rng, self.r = np.random.default_rng(seed), r
        B, T, F, H = (int(n) for n in self.rng.integers(1, [4, 5, 4, 5]))
        G, names = len(r.gates), self.rng.choice(NAMES, 2)
        self.start = tuple(self.drawn(B, H) for _ in r.states)
        skips = self.rng.random((B, T)) < 0.8
        self.given: dict[str, Any] = {
            "x": self.drawn(B, T, F), "kernel": self.drawn(F, G * H),
            "recurrent_kernel": self.drawn(H, G * H), "bias": self.drawn(*r.bias_shape(H)),
            "activation": str(names[0]), "mask": skips if self.rng.random() < 0.3 else None,
        }  # fmt: skip
        if r.has_gates:
            self.given["recurrent_activation"] = str(names[1])
        self.cotangent = self.rng.normal(size=(B, T, H)).astype(np.float32)

    def drawn(self, *shape: int) -> Array:
        values = self.rng.normal(size=shape)
        if self.rng.random() < 1 / 4:
            values = np.round(values * 2) / 2
        return (values * 10.0 ** self.rng.choice(EXPONENTS)).astype(np.float32)

    @property
    def asked(self) -> dict[str, Any]:
        start = self.start if self.r is LSTM else self.start[0]
        kind = {"recurrence": self.r.name, "reset_after": self.r is not GRU_BEFORE}
        return {**self.given, "initial_state": start, **kind}

    def run(self) -> tuple[Mapping[str, Array], Mapping[str, Array]]:
        """The states, and the gradients, of an honest execution."""
        if self.r is SIMPLE:
            h, cache = over_time.forward(**self.given, initial_state=self.start[0])
            found = over_time.backward(self.cotangent, cache)._asdict()
            return {"h": h}, found | {"delta": over_time.backward(self.cotangent, cache).delta}
        run = gated.forward(self.r, **self.given, initial_state=self.start)
        found = gated.backward({"h": self.cotangent}, run)._asdict()
        starts = zip(("initial_state", "initial_cell_state"), found["initial_state"], strict=False)
        return run.states, found | dict(starts)


def within(observed: Array, b: Bounded) -> bool:
    alike = (observed == b.value) | (np.isnan(observed) & np.isnan(b.value))
    off = np.where(alike, 0.0, np.nan_to_num(np.abs(observed - b.value), nan=np.inf))
    return bool(((off <= b.error) | np.isinf(b.error)).all())


def alarms(layer: Extreme) -> Iterator[str]:
    states, gradients = layer.run()
    seen = [{}, {"cell_states": states["c"]}] if layer.r is LSTM else [{}]
    for cells in seen:
        results = {"states": certify(states["h"], **layer.asked, **cells)}
        results |= certify_gradients(
            gradients, cotangent=layer.cotangent, states=states["h"], **layer.asked, **cells
        )
        for name, found in results.items():
            if found.ok is False:
                yield f"{name}: {found.reason}"
            if not (found.bound >= 0).all():
                yield f"{name}: a bound is none"
    running = Running(layer.r, **layer.given, initial_state=layer.start)
    for name, state in states.items():
        if not within(state, running.states[name]):
            yield f"{name} is beyond the running bound"
        if not (running.states[name].error >= 0).all():
            yield f"the running bound of {name} is none"


EACH = {"simple": SIMPLE, "lstm": LSTM, "gru": GRU, "gru, reset before": GRU_BEFORE}


@pytest.mark.parametrize("seed", sampled(range(40), 8))
@pytest.mark.parametrize("name", EACH)
def test_what_is_too_large_is_no_alarm(name: str, seed: int) -> None:
    for each in range(8 * seed, 8 * seed + 8):
        assert list(alarms(Extreme(EACH[name], each))) == [], each
