"""Is what is wrong found, made small, and shown to somebody who has no rnn_check?"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from rnn_check.asking.run import installed
from rnn_check.claims.files import load
from rnn_check.claims.layers import SimpleRNN
from rnn_check.sweep import findings
from rnn_check.verdicts.judge import AGREE, DIFFER, ERROR
from tests.support.command import run
from tests.sweep.test_cluster import outcome

FAULTY = """
import keras


class Cell(keras.layers.SimpleRNNCell):
    def call(self, sequence, states, training=False):
        state = super().call(sequence, states, training=training)[0] * 1.01
        return state, [state]


class Faulty(keras.layers.SimpleRNN):
    def __init__(self, units, **options):
        super().__init__(units, **options)
        self.cell = Cell(**self.cell.get_config())
"""


def test_what_is_wrong_alike_is_one_group_and_what_is_known_is_none() -> None:
    wrong = [
        outcome(0, DIFFER, place="states of a"),
        outcome(1, DIFFER, place="states of b"),
        outcome(2, DIFFER, place="gradient of a.forward.kernel"),
        outcome(3, DIFFER, place="gradient of c.forward.kernel"),
        outcome(4, DIFFER, place="states of a", known="why"),
        outcome(5, ERROR, place="shape (3, 4)"),
        outcome(6, ERROR, place="shape (1, 2)"),
        outcome(7, DIFFER, place="states of a", subject="b"),
        outcome(8, AGREE),
    ]
    found = [[each.index for each in group] for group in findings.groups(wrong).values()]
    assert sorted(found) == [[0, 1], [2, 3], [5, 6], [7]]


@pytest.mark.skipif(not installed("numpy"), reason="Keras on NumPy is not installed")
@pytest.mark.long
def test_a_faulty_layer_is_found_and_its_least_model_says_so(tmp_path: Path) -> None:
    (tmp_path / "faulty.py").write_text(FAULTY)
    asked = ["--backend", "numpy", "--layer", f"{tmp_path}/faulty.py:Faulty"]
    space = [
        "--space",
        "front=none",
        "--space",
        "layer=SimpleRNN,LSTM",
        "--space",
        "do=certified,weights_read_back",
    ]
    swept = run("sweep", *asked, *space, "--cases", 48, "--workers", 1, "-o", tmp_path / "sweep")
    assert swept.exit_code == 1, swept.output
    files = sorted((tmp_path / "sweep" / "findings").glob("*.claim.toml"))
    assert files and all(f"found: {file}" in swept.output for file in files)
    for file in files:
        claim = load(file)
        (layer,) = claim.layers
        assert isinstance(layer, SimpleRNN) and layer.units == 1
        assert claim.x is not None and claim.x.shape == (1, 1, 1)
        assert run(file, *asked).exit_code == 1  # it shows what was found
        assert run(file, "--backend", "numpy").exit_code == 0  # of that layer alone
    scripts = sorted((tmp_path / "sweep" / "findings").glob("*.py"))
    assert scripts  # of what layers put out
    for script in scripts:
        done = subprocess.run(
            [sys.executable, script],
            env={**os.environ, "KERAS_BACKEND": "numpy"},
            capture_output=True,
            text=True,
            check=True,
        )
        assert " [[" in done.stdout and done.stdout.count("should be") == 1
