"""Is what is reported of outputs what fractions say, and is it honest about rounding?"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from rnn_check.recurrences.reported import reported

Array = npt.NDArray[Any]
BATCHES = [slice(0, 2), slice(2, 4), slice(4, 5)]


def drawn(seed: int, outputs: int, timesteps: int | None) -> dict[str, Any]:
    """Numbers in eighths, so that float64 adds them up exactly."""
    rng = np.random.default_rng(seed)
    sizes = (5,) if timesteps is None else (5, timesteps)
    mask = None if timesteps is None else rng.integers(0, 2, sizes).astype(bool)
    return {
        "target": rng.integers(0, 2, (*sizes, outputs)).astype(float),
        "output": rng.integers(-8, 17, (*sizes, outputs)) / 8 + 1 / 16,
        "mask": mask,
        "weight": rng.integers(0, 9, sizes if seed % 2 else (5,)) / 4 if seed % 3 else None,
    }


def rows(given: dict[str, Any], samples: range) -> list[tuple[Any, ...]]:
    """(target, output, weight) of each sample, or of each step that counts."""
    found = []
    for s in samples:
        t, o = given["target"][s], given["output"][s]
        weight = 1.0 if given["weight"] is None else given["weight"][s]
        if t.ndim == 1:
            found.append((t, o, weight))
            continue
        for i in range(len(t)):
            if given["mask"][s, i]:
                found.append((t[i], o[i], weight[i] if np.ndim(weight) else weight))
    return found


def mean(values: list[Fraction]) -> Fraction:
    return sum(values, Fraction(0)) / max(1, len(values))


def squares(row: tuple[Any, ...]) -> Fraction:
    t, o, _ = row
    return mean([(Fraction(b) - Fraction(a)) ** 2 for a, b in zip(t, o, strict=True)])


def by_fractions(given: dict[str, Any]) -> dict[str, Fraction]:
    every, loss = rows(given, range(5)), Fraction(0)
    for batch in BATCHES:
        own = rows(given, range(batch.start, batch.stop))
        weighed = [squares(row) * Fraction(float(row[2])) for row in own]
        loss += mean(weighed) * (batch.stop - batch.start) / 5
    sizes = [
        mean([abs(Fraction(b) - Fraction(a)) for a, b in zip(t, o, strict=True)])
        for t, o, _ in every
    ]
    right = [
        Fraction(int((o[0] > 0.5) == t[0] if len(t) == 1 else o.argmax() == t.argmax()))
        for t, o, _ in every
    ]
    found = {"mse": [squares(row) for row in every], "mae": sizes, "accuracy": right}
    means = {name: mean(each) for name, each in found.items()}
    if given["weight"] is not None:
        weights = [Fraction(float(weight)) for _, _, weight in every]
        for name, each in found.items():
            total = sum((w * v for w, v in zip(weights, each, strict=True)), Fraction(0))
            means[f"weighted_{name}"] = total / (sum(weights) or 1)
    return {"loss": loss, **means}


@pytest.mark.parametrize("timesteps", [None, 3])
@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("seed", range(6))
def test_it_is_what_fractions_say(seed: int, outputs: int, timesteps: int | None) -> None:
    given = drawn(seed, outputs, timesteps)
    if outputs > 1:  # no two are alike
        given["output"] = given["output"] + np.arange(outputs) / 32
    found = reported(
        given["target"], given["output"], np.zeros_like(given["output"]), mask=given["mask"],
        weight=given["weight"], batches=BATCHES, computed_in="float32",
    )  # fmt: skip
    for name, wanted in by_fractions(given).items():
        value, bound = found[name]
        off = abs(Fraction(float(value)) - wanted)
        assert off <= Fraction(float(bound)), name
        most = max(1, float(wanted))
        assert bound <= 2.0**-24 * most * 200, name  # it says something


@pytest.mark.parametrize(
    ("target", "output"),
    [([[1], [0]], [[0.7], [0.1]]), ([[1, 0, 0], [0, 0, 1]], [[0.5, 0.1, 0.1], [0, 0.1, 0.9]])],
)
def test_what_rounding_may_turn_is_in_doubt_and_nothing_else(target: Any, output: Any) -> None:
    """The first may turn where each number may be off by 0.25; the second is right."""
    t, o = np.array(target, float), np.array(output, float)
    for error, wanted, doubt in ((0.1, 1.0, 0.0), (0.25, 0.75, 0.25)):
        value, bound = reported(
            t, o, np.full_like(o, error), mask=None, weight=None, batches=[],
            computed_in="float32",
        )["accuracy"]  # fmt: skip
        assert value == wanted
        assert doubt <= bound <= doubt + 1e-5


@pytest.mark.parametrize("seed", range(8))
def test_float32_stays_within_its_bounds(seed: int) -> None:
    """Sums from the left, everything rounded at once, of outputs that are off as they may be."""
    rng = np.random.default_rng(seed)
    target, output = rng.normal(size=(2, 40, 3)).astype(np.float32)
    error = np.abs(output) * 1e-4
    seen = (output + error * rng.choice([-1, 1], error.shape)).astype(np.float32)
    found = reported(
        target.astype(float), output.astype(float), error.astype(float) * (1 + 1e-3), mask=None,
        weight=None, batches=[slice(0, 40)], computed_in="float32",
    )  # fmt: skip
    off = seen - target
    got = {"loss": off * off, "mse": off * off, "mae": np.abs(off)}
    for name, each in got.items():
        total = np.float32(0)
        for value in each.ravel():
            total = np.float32(total + value)
        value, bound = found[name]
        assert abs(float(total / np.float32(each.size)) - value) <= bound


def test_what_overflows_has_no_bound() -> None:
    target, output = np.zeros((2, 1)), np.array([[1e30], [1.0]])
    found = reported(
        target, output, np.zeros_like(output), mask=None, weight=None, batches=[slice(0, 2)],
        computed_in="float32",
    )  # fmt: skip
    assert found["loss"].error == np.inf
    assert found["mae"].error < np.inf
