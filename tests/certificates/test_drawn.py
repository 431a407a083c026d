"""Is nothing called wrong where more masks explain an epoch than are tried?"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from rnn_check.certificates import drawn
from rnn_check.numbers.formats import arithmetic


def ways(**worst: float) -> Any:
    """Masks that explain an update, each with how far it is from it."""
    return [
        SimpleNamespace(dropped=name, worst=far, loss=SimpleNamespace(value=np.array([[loss]])))
        for loss, (name, far) in enumerate(worst.items())
    ]


def recorded(network: Any, updates: int) -> drawn.Recorded:
    none: Any = None
    weights = {"kernel": np.zeros(updates + 1)}
    return drawn.Recorded(network, drawn.Rates(0.5, 0.0), none, weights, {}, arithmetic("float32"))


@pytest.mark.parametrize(
    ("most", "off", "is_said"), [(3, 1.0, False), (3, 0.0, True), (4, 1.0, True)]
)
def test_more_ways_than_are_tried_are_judged_only_if_one_of_them_explains_the_loss(
    most: int, off: float, is_said: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    two = ways(a=0.5, b=0.5)
    monkeypatch.setattr(drawn, "MOST", most)
    monkeypatch.setattr(drawn, "_explaining", lambda *_: two)
    monkeypatch.setattr(drawn, "_from_reported", lambda *_: off)
    network: Any = SimpleNamespace(batches=[slice(0, 1), slice(1, 2)], stateful=False)
    assert (drawn.explained(recorded(network, 2), np.zeros(1)) is not None) is is_said


@pytest.mark.parametrize("stateful", [False, True])
@pytest.mark.parametrize("worst", [{"a": 0.99, "b": 0.01}, {"b": 0.01, "a": 0.99}])
def test_of_masks_that_explain_all_alike_those_are_taken_that_are_nearest(
    worst: dict[str, float], stateful: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What barely keeps a bound may not keep the one that the update is judged by."""
    monkeypatch.setattr(drawn, "_explaining", lambda *_: ways(**worst))
    monkeypatch.setattr(drawn, "_from_reported", lambda *_: 0.0)
    monkeypatch.setattr(drawn.training, "ends", lambda *_: None)
    network: Any = SimpleNamespace(
        batches=[slice(0, 1), slice(1, 2)], stateful=stateful, begins_anew=lambda _: False
    )
    assert drawn.explained(recorded(network, 4), np.zeros(2)) == ["b"] * 4
