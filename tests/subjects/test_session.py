"""Can somebody else write a session, and does it serve in the oldest Python that is asked?"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rnn_check.asking import plans
from rnn_check.recurrences import over_time
from rnn_check.subjects import environments
from rnn_check.subjects.ask import Subject
from rnn_check.subjects.asked import machine
from tests.support import numpy_session

ASKED = Path(machine.__file__).parent
KERNEL, RECURRENT, BIAS = np.array([[2.0, -1.0]]), np.array([[1.0, -1.0], [2.0, 0.0]]), np.ones(2)
X = np.array([[[1.0], [-2.0], [3.0]]])
EXPERIMENT: dict[str, Any] = {
    "layers": [{"kind": "SimpleRNN", "name": "rnn", "units": 2, "activation": "relu"}],
    "weights": {"rnn": {"kernel": KERNEL, "recurrent_kernel": RECURRENT, "bias": BIAS}},
    "x": X,
    "ask": ["states", "summary"],
}


def asked_by(python: str) -> tuple[str, dict[str, Any]]:
    """Which Python answered, and what."""
    script = [python, "-I", numpy_session.__file__, str(ASKED)]
    with Subject("numpy", command=script) as subject:
        version = subject.identity.python
        return version, plans.ask(subject, EXPERIMENT)[1]


def is_right(found: dict[str, Any]) -> bool:
    states, _ = over_time.forward(X, KERNEL, RECURRENT, BIAS, activation="relu")
    lacks = {"unsupported": "numpy alone has no summary"}
    return np.array_equal(found["states"], states) and found["summary"] == lacks


def test_a_session_of_two_verbs_is_asked_like_any_other() -> None:
    assert is_right(asked_by(sys.executable)[1])


@pytest.mark.upgrades
def test_it_serves_in_python_3_9_with_numpy_alone() -> None:
    try:
        old = environments.find_python("3.9")
    except environments.WordError as error:
        pytest.skip(str(error))
    wanted = environments.Wanted("numpy", ("numpy",), ("numpy",), "numpy")
    version, found = asked_by(environments.resolve(wanted, old).make())
    assert version.startswith("3.9.")
    assert is_right(found)
