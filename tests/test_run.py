"""Does one subject's fault stop another, or the run?

Whole runs of the command over two subjects, which are real processes that really do it.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from rnn_check import claim
from rnn_check.cli import main
from rnn_check.run import Run, Target
from tests import puppet

BOTH = ("--backend", "tensorflow", "--backend", "jax")


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(a) for a in arguments])


def verdicts(document: dict[str, Any]) -> dict[tuple[str, str, str], set[str]]:
    """(backend, mode, claim) → its verdicts."""
    found: dict[tuple[str, str, str], set[str]] = {}
    for row in document["verdicts"]:
        subject = document["subjects"][row["subject"]]
        key = (subject["backend"], subject["mode"], row["claim"])
        found.setdefault(key, set()).add(row["verdict"])
    return found


FATES = {
    "segfault": "was ended by SIGSEGV",
    "hang": "gave no answer within 15 s",
    "kill": "SIGKILL (out of memory?)",
    "garbage": "no JSON object: 'Loading ...'",
    "raise": "raised ValueError: no such thing\nTrace",
    "exit": "ended with exit code 3",
}


def patience(fate: str) -> list[str]:
    return ["--timeout", "15"] if fate == "hang" else []


@pytest.mark.parametrize("fate", FATES)
def test_a_fault_is_an_error_of_one_claim_of_one_subject(
    fate: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    puppet.play(monkeypatch, jax={"b_unlucky": fate})
    folder = puppet.claims(tmp_path / "claims", "a_before", "b_unlucky", "c_after")
    result = run(folder, *BOTH, "--mode", "eager", *patience(fate), "--json")
    assert result.exit_code == 3, result.stderr
    document = json.loads(result.stdout)
    found = verdicts(document)
    assert found.pop(("jax", "eager", "b_unlucky")) == {"error"}
    assert set().union(*found.values()) == {"agree"}
    assert len(found) == 5
    (detail,) = {row["detail"] for row in document["verdicts"] if row["verdict"] == "error"}
    assert FATES[fate] in detail
    assert "subject jax" in detail


def test_what_has_the_wrong_shape_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    puppet.play(monkeypatch, jax={"a_short": "shape"})
    folder = puppet.claims(tmp_path / "claims", "a_short", "b_after")
    result = run(folder, *BOTH, "--mode", "eager", "--json")
    assert result.exit_code in (1, 3), result.output
    found = verdicts(json.loads(result.stdout))
    assert found["jax", "eager", "b_after"] == {"agree"}
    assert found["jax", "eager", "a_short"] & {"differ", "error"}


def test_a_subject_that_cannot_be_started_is_an_error_of_its_own_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PUPPET_LOG", str(tmp_path / "log"))
    puppet.play(monkeypatch, jax={"start": "exit"})
    folder = puppet.claims(tmp_path / "claims", "a", "b", "c")
    result = run(folder, *BOTH)
    assert result.exit_code == 3
    assert result.stdout.count("my last words") == 1
    assert "jax · eager · did not start" in result.stdout
    assert "1  tensorflow eager      6 agree · 0 differ · 0 error" in result.stdout
    assert [line.split()[0] for line in (tmp_path / "log").read_text().splitlines()].count(
        "jax"
    ) == 1


def test_a_subject_that_cannot_be_started_again_is_not_tried_for_every_claim(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PUPPET_DIED", str(tmp_path / "died"))
    puppet.play(monkeypatch, jax={"b": "once"})
    folder = puppet.claims(tmp_path / "claims", *"abcd")
    result = run(folder, "--backend", "jax", "--json")
    assert result.exit_code == 3
    rows = json.loads(result.stdout)["verdicts"]
    assert [row["verdict"] for row in rows] == ["agree"] * 2 + ["error"] * 6
    assert len({row["detail"] for row in rows if row["claim"] in "cd"}) == 1


def test_nobody_that_can_be_started_is_exit_3(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    puppet.play(monkeypatch, jax={"start": "exit"}, tensorflow={"start": "exit"})
    result = run(puppet.claims(tmp_path / "claims", "a"), *BOTH)
    assert result.exit_code == 3
    assert result.stdout == ""
    assert result.stderr.count("my last words") == 2


def test_a_crash_at_the_end_starts_nothing_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PUPPET_LOG", str(tmp_path / "log"))
    puppet.play(monkeypatch, jax={"b": "exit"})
    run(puppet.claims(tmp_path / "claims", "a", "b"), "--backend", "jax")
    assert len((tmp_path / "log").read_text().splitlines()) == 1


# -- who is asked ----------------------------------------------------------------------------------


def subjects(*arguments: object) -> list[tuple[str, str, str]]:
    result = run(*arguments, "--json")
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    found = document["subjects"] if "subjects" in document else [document["subject"]]
    return [(s["backend"], s["mode"], s["dtype"]) for s in found]


def test_one_backend_is_asked_eagerly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    puppet.play(monkeypatch)
    folder = puppet.claims(tmp_path / "claims", "a")
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    assert subjects(folder) == [("jax", "eager", "float32")]
    assert subjects(folder, "--backend", "numpy") == [("numpy", "eager", "float32")]
    assert subjects(folder, "--mode", "xla", "--mode", "eager") == [
        ("jax", "xla", "float32"),
        ("jax", "eager", "float32"),
    ]


def test_all_are_asked_eagerly_and_compiled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    puppet.play(monkeypatch)
    folder = puppet.claims(tmp_path / "claims", "a")
    assert subjects(folder, "--backend", "all") == [
        ("tensorflow", "eager", "float32"),
        ("tensorflow", "function", "float32"),
        ("jax", "eager", "float32"),
        ("jax", "xla", "float32"),
        ("torch", "eager", "float32"),
        ("openvino", "eager", "float32"),
        ("numpy", "eager", "float32"),
    ]


def test_a_mode_is_asked_of_those_that_have_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    puppet.play(monkeypatch)
    folder = puppet.claims(tmp_path / "claims", "a")
    assert subjects(folder, "--backend", "all", "--mode", "xla") == [
        ("tensorflow", "xla", "float32"),
        ("jax", "xla", "float32"),
    ]
    for backends in (("torch",), ("torch", "numpy")):
        words = [word for backend in backends for word in ("--backend", backend)]
        result = run(folder, *words, "--mode", "xla")
        assert result.exit_code == 2
        assert f"{', '.join(backends)} ha" in result.stderr
        assert "no mode 'xla', only tensorflow, jax" in result.stderr


def test_one_process_serves_all_modes_of_its_backend(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PUPPET_LOG", str(tmp_path / "log"))
    puppet.play(monkeypatch)
    subjects(puppet.claims(tmp_path / "claims", "a", "b"), "--backend", "all")
    started = [line.split()[0] for line in (tmp_path / "log").read_text().splitlines()]
    assert sorted(started) == ["jax", "numpy", "openvino", "tensorflow", "torch"]


def test_what_is_not_installed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    puppet.play(monkeypatch, torch={"absent": ""}, numpy={"missing": "jax"})
    folder = puppet.claims(tmp_path / "claims", "a")
    result = run(folder, "--backend", "all", "--json")
    assert result.exit_code == 0, result.output
    backends = [s["backend"] for s in json.loads(result.stdout)["subjects"]]
    assert backends == ["tensorflow", "tensorflow", "jax", "jax", "openvino"]
    assert "not installed: torch" in result.stderr
    assert "the backend numpy is not installed (no jax)" in result.stderr
    for words in (["--backend", "numpy"], ["--backend", "tensorflow", "--backend", "numpy"]):
        result = run(folder, *words)
        assert result.exit_code == 2
        assert "the backend numpy is not installed (no jax)" in result.stderr
        assert result.stdout == ""


# -- Ctrl-C ----------------------------------------------------------------------------------------

INTERRUPTED = """
import sys
from pytest import MonkeyPatch
from rnn_check.cli import main
from tests import puppet
with MonkeyPatch.context() as patch:
    puppet.play(patch, jax={"b": "hang"}, tensorflow={"c": "hang"})
    main(sys.argv[1:])
"""


@pytest.mark.parametrize("command", ["verify", "observe"])
def test_ctrl_c_ends_the_children_and_keeps_what_was_recorded(command: str, tmp_path: Path) -> None:
    folder = puppet.claims(tmp_path / "claims", "a", "b", "c")
    log, record = tmp_path / "log", tmp_path / "record.npz"
    words = [command, str(folder), *BOTH, "--mode", "eager"]
    words += ["-o", str(record)] if command == "observe" else []
    host = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[1],
        env={**os.environ, "PUPPET_LOG": str(log), "PUPPET_ASKED": str(tmp_path / "asked")},
    )
    wait_for(lambda: set((tmp_path / "asked").read_text().split()) >= {"jax:b", "tensorflow:c"})
    host.send_signal(signal.SIGINT)
    _, err = host.communicate(timeout=60)
    assert host.returncode == 130, err
    assert "Traceback" not in err
    assert "interrupted" in err
    for line in log.read_text().splitlines():
        with pytest.raises(ProcessLookupError):
            os.kill(int(line.split()[1]), 0)
    if command == "verify":
        return
    judged = run("judge", record, folder, "--json")
    found = verdicts(json.loads(judged.stdout))
    assert found["tensorflow", "eager", "b"] == {"agree"}
    assert found["tensorflow", "eager", "c"] == {"not_run"}
    assert found["jax", "eager", "a"] == {"agree"}
    assert found["jax", "eager", "b"] == {"not_run"}
    assert "was interrupted: not all was asked" in judged.stderr


def wait_for(condition: Any) -> None:
    for _ in range(1000):
        try:
            if condition():
                return
        except FileNotFoundError:
            pass
        time.sleep(0.05)
    pytest.fail("it never came")


# -- the run itself --------------------------------------------------------------------------------


def test_two_processes_are_side_by_side(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of the first two waits for the other to have started."""
    puppet.play(monkeypatch)
    folder = puppet.claims(tmp_path / "claims", "a")
    with Run([Target("jax"), Target("torch"), Target("numpy")]) as running:
        pids = [running._processes[i].identity["pid"] for i in (0, 1)]
        assert len(set(pids)) == 2
        assert len(running._processes) == 2
        asked = list(running.ask(list(claim.load_all([folder]))))
    assert sorted(a.subject for a in asked) == [0, 1, 2]
    assert [s.identity["backend"] for s in running.subjects] == ["jax", "torch", "numpy"]


def test_a_fault_of_our_own_is_not_taken_for_the_subjects(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    puppet.play(monkeypatch)
    monkeypatch.setattr("rnn_check.judge.request", broken)
    folder = puppet.claims(tmp_path / "claims", "a")
    with pytest.raises(ZeroDivisionError), Run([Target("jax")]) as running:
        list(running.ask(list(claim.load_all([folder]))))


def test_another_python_that_is_not_there_is_an_error_of_that_subject(tmp_path: Path) -> None:
    folder = puppet.claims(tmp_path / "claims", "a")
    with Run([Target("jax", python="/no_such_python")]) as running:
        (asked,) = running.ask(list(claim.load_all([folder])))
    assert "cannot be started" in asked.answer.error
