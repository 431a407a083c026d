"""Do workers lose nothing, and is what they find made small? In a process of its own: see
test_clusters."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from rnn_check.asking import cluster
from rnn_check.asking.request import Setting
from rnn_check.asking.run import Target
from rnn_check.claims.files import load
from rnn_check.claims.layers import SimpleRNN
from rnn_check.sweep import shared
from rnn_check.sweep.space import Space
from rnn_check.sweep.work import Outcome, Sought
from rnn_check.verdicts.judge import ERROR
from tests.support.clusters import cluster_in
from tests.support.command import run

SPACE = Space.within(["do=certified", "layer=SimpleRNN,LSTM,GRU"])
NUMPY = Sought("numpy eager float32", Target.named("numpy", Setting()), Setting())
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


def test_a_worker_killed_in_the_middle_loses_nothing() -> None:
    found: list[Outcome] = []
    with cluster.client(None, 2) as client:
        pids = client.run(os.getpid)
        for outcomes in shared.asked(client, SPACE, shared.pieces([NUMPY], 1, 96, set())):
            if not found:
                os.kill(next(iter(pids.values())), signal.SIGKILL)
            found += outcomes
    assert sorted(each.index for each in found) == list(range(96))
    assert not any(each.is_found for each in found)


def test_ctrl_c_in_the_terminal_ends_no_worker() -> None:
    """The sweep alone decides: what is in hand is finished and kept."""
    found: list[Outcome] = []
    with cluster.client(None, 1) as client:
        before = client.run(os.getpid)
        for outcomes in shared.asked(client, SPACE, shared.pieces([NUMPY], 1, 48, set())):
            if not found:
                os.kill(next(iter(before.values())), signal.SIGINT)
            found += outcomes
        assert client.run(os.getpid) == before
    assert sorted(each.index for each in found) == list(range(48))


def test_a_case_that_ends_its_workers_is_an_error_and_the_others_are_judged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "deadly.py").write_text(
        "import os\n"
        "from rnn_check.sweep import shared\n"
        "judged = shared.outcomes\n"
        "def outcomes(piece, space):\n"
        "    if any(case.index == 5 for case in piece.cases):\n"
        "        os._exit(1)\n"
        "    return judged(piece, space)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *sys.path]))
    import deadly

    monkeypatch.setattr(shared, "outcomes", deadly.outcomes)
    with cluster.client(None, 1) as client:
        todo = shared.pieces([NUMPY], 1, 8, set())
        found = [each for some in shared.asked(client, SPACE, todo) for each in some]
    assert sorted(each.index for each in found) == list(range(8))
    assert [each.index for each in found if each.verdict == ERROR] == [5]
    assert next(each for each in found if each.index == 5).place == "its worker died"


def test_a_scheduler_elsewhere_is_asked_and_a_sweep_goes_on(tmp_path: Path) -> None:
    with cluster_in(tmp_path) as (file, _):
        asked = ["sweep", "--backend", "numpy", "--space", "do=certified", "-o", tmp_path / "sweep"]
        asked += ["--scheduler", file]
        for cases in (16, 32):
            result = run(*asked, "--cases", cases)
            assert result.exit_code == 0, result.output
            assert f"{cases} outcomes" in result.output
        assert "holds 16 outcomes; it goes on from there" in result.output


def test_a_faulty_layer_is_found_and_its_least_model_says_so(tmp_path: Path) -> None:
    (tmp_path / "faulty.py").write_text(FAULTY)
    asked = ["--backend", "numpy", "--layer", f"{tmp_path}/faulty.py:Faulty"]
    space = ["--space", "front=none", "--space", "layer=SimpleRNN", "--space", "do=certified"]
    swept = run("sweep", *asked, *space, "--cases", 32, "--workers", 1, "-o", tmp_path / "sweep",
                "--html", tmp_path / "page.html")  # fmt: skip
    assert swept.exit_code == 1, swept.output
    shown = (tmp_path / "page.html").read_text()
    files = sorted((tmp_path / "sweep" / "findings").glob("*.claim.toml"))
    assert files and all(f"found: {file}" in swept.output for file in files)
    for file in files:
        claim = load(file)
        assert f"{file.name}</summary>" in shown
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
