"""Is nothing called wrong where more masks explain an epoch than are tried?"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from rnn_check.certificates import drawn
from rnn_check.numbers.formats import arithmetic


@pytest.mark.parametrize(
    ("most", "off", "is_said"), [(3, 1.0, False), (3, 0.0, True), (4, 1.0, True)]
)
def test_more_ways_than_are_tried_are_judged_only_if_one_of_them_explains_the_loss(
    most: int, off: float, is_said: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = {
        name: SimpleNamespace(value=np.array([[loss]])) for name, loss in (("a", 1), ("b", 2))
    }
    two: Any = [SimpleNamespace(dropped=name, loss=loss) for name, loss in losses.items()]
    monkeypatch.setattr(drawn, "MOST", most)
    monkeypatch.setattr(drawn, "_explaining", lambda *_: two)
    monkeypatch.setattr(drawn, "_from_reported", lambda *_: off)
    network: Any = SimpleNamespace(batches=[slice(0, 1), slice(1, 2)], stateful=False)
    rates, optimizer, a = drawn.Rates(0.5, 0.0), None, arithmetic("float32")
    found = drawn.explained(
        network,
        rates,
        optimizer,
        {"kernel": np.zeros(3)},
        {},
        np.zeros(1),
        a,  # type: ignore[arg-type]
    )
    assert (found is not None) is is_said
