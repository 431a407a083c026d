"""Is a subject on a cluster asked as one here is, whatever becomes of its worker? In a process of
its own: see test_clusters."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from rnn_check.asking import cluster
from rnn_check.asking.elsewhere import Cluster
from rnn_check.asking.run import Asked, Run, Target
from rnn_check.claims.files import bundled
from rnn_check.subjects import ask
from tests.support.bundled import load_all
from tests.support.clusters import cluster_in
from tests.support.command import run
from tools import measure_activations, no_false_alarm


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, int]]:
    with cluster_in(tmp_path_factory.mktemp("cluster")) as started:
        yield started


def asked_of(pid: int) -> list[psutil.Process]:
    """The subjects of that worker which live."""
    folder = str(Path(ask.__file__).parent / "asked")
    found = []
    for each in psutil.Process(pid).children(recursive=True):
        with contextlib.suppress(psutil.Error):  # ended meanwhile
            if folder in each.cmdline():
                found.append(each)
    return found


def test_a_worker_killed_in_the_middle_loses_no_answer() -> None:
    claims = [*load_all([bundled() / "certified"])][:12]
    found: list[Asked] = []
    with cluster.client(None, 1) as client:
        (pid,) = client.run(os.getpid).values()
        with Run([Target("numpy")], elsewhere=Cluster(client)) as asking:
            for asked in asking.ask(claims):
                if not found:
                    os.kill(pid, signal.SIGKILL)
                found.append(asked)
        assert pid not in client.run(os.getpid).values()
    assert [asked.claim for asked in found] == claims
    assert not any(asked.answer.error for asked in found)
    assert asking.subjects[0].identity.backend == "numpy" and not asking.failures


def test_what_a_cluster_compares_is_what_this_machine_compares(elsewhere: tuple[Path, int]) -> None:
    words = ["compare", "current@numpy", "current@onnx", "-k", "certified/tanh", "--json"]

    def told(*more: object) -> dict[str, Any]:
        result = run(*words, *more)
        assert result.exit_code == 0, result.output
        found: dict[str, Any] = json.loads(result.stdout)
        return found

    file, pid = elsewhere
    assert told("--scheduler", file) == told()
    assert not asked_of(pid)


def test_tools_share_their_work_and_count_the_same(
    elsewhere: tuple[Path, int], tmp_path: Path
) -> None:
    """Of a second scheduler's workers, which run where the tools stand."""
    tallies, measured = [], []
    with cluster.client(str(elsewhere[0]), 0) as client:
        for shared in (client, None):
            tallies.append(no_false_alarm.run(2, 1, 31, ("eager",), client=shared))
    for number, more in enumerate(([], ["--workers", "1"])):
        words = ["--backend", "numpy", "--dtype", "float16", "--activation", "tanh"]
        words += ["--results", str(tmp_path / f"{number}.jsonl"), *more]
        subprocess.run([*measure_activations.COMMAND, *words], check=True)
        measured.append(measure_activations.read(tmp_path / f"{number}.jsonl"))
    assert tallies[0] == tallies[1] and tallies[0].certificates > 0
    assert measured[0] == measured[1] and len(measured[0]) == 1


def test_nothing_runs_on_when_nobody_asks_any_more(elsewhere: tuple[Path, int]) -> None:
    file, pid = elsewhere
    with cluster.client(str(file), 0) as client:
        stages: list[str] = []
        process = Cluster(client).start(Target("numpy"), None, stages.append)
        assert b'"hello"' in process.exchange(b"", 300)
        assert len(asked_of(pid)) == 1
    while asked_of(pid):  # whoever waits for this process ends it after a while
        time.sleep(0.05)
