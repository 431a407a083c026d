"""Does a subject that runs refuse whatever is not in the tables?"""

from __future__ import annotations

import re

import numpy as np
import pytest

from rnn_check.subjects import environments as environment
from rnn_check.subjects.ask import Subject
from rnn_check.subjects.asked import named as script
from rnn_check.subjects.plan import Message, step
from tests.claims.test_safety import NAMES, RNN


def test_the_running_subject_refuses_as_well(subject: Subject) -> None:
    load = {"kind": "TFSMLayer", "filepath": "model"}
    for request in (
        {"layers": [load]},
        {"layers": [{"kind": "RNN", "cell": load}]},
        {"layers": [RNN], "keys": {"cell": load}},
    ):
        made = step("attempt", input_shape=[None, 2, 2], x=np.zeros((1, 2, 2)), **request)
        (answer,) = subject.follow(Message([made], {})).values()
        assert re.search(r"unknown kind 'TFSMLayer'|not what a layer can", answer["error"])


@pytest.mark.upgrades
def test_the_oldest_keras_is_not_asked_to_load_anything() -> None:
    """Keras 2.12 would run what a Lambda holds."""
    wanted = environment.parse("tensorflow==2.12.0")
    made = environment.resolve(wanted, environment.find_python("3.10"))
    with made.held() as python, Subject("tensorflow", python=python, timeout=300) as old:
        for name in sorted(set(NAMES) - set(script.CELLS)):
            layers = [{"kind": "RNN", "cell": {"kind": name, "function": "f"}}]
            made = step("attempt", layers=layers, input_shape=[None, 2, 2], x=np.zeros((1, 2, 2)))
            (answer,) = old.follow(Message([made], {})).values()
            assert "unknown kind" in answer["error"]
