"""Does one subject's fault stop another, or the run?

Whole runs of the command over two subjects, which are real processes that really do it.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np
import pytest

from rnn_check.asking import records as record
from rnn_check.asking.observations import Observations
from rnn_check.asking.records import read, write
from rnn_check.asking.request import Setting
from rnn_check.asking.run import TRIES, Asked, Run, Target
from rnn_check.subjects import wear
from rnn_check.subjects.identity import not_started
from tests.support import puppet
from tests.support.bundled import load_all
from tests.support.command import run
from tests.support.processes import is_gone, wait_for
from tests.support.sampling import long, sampled, thinned

BOTH = ("--backend", "tensorflow", "--backend", "jax")


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
    "hang": "gave no answer within 5 s",
    "kill": "SIGKILL (out of memory?)",
    "garbage": "no JSON object: 'Loading ...'",
    "raise": "raised ValueError: no such thing\nTrace",
    "exit": "ended with exit code 3",
}


def patience(fate: str) -> list[str]:
    return ["--timeout", "5"] if fate == "hang" else []


@thinned(6)
@pytest.mark.parametrize(
    "fate", [pytest.param(f, marks=long if f == "hang" else ()) for f in FATES]
)
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


@long
def test_a_subject_that_cannot_be_started_again_is_not_tried_for_every_claim(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PUPPET_DIED", str(tmp_path / "died"))
    monkeypatch.setenv("PUPPET_LOG", str(tmp_path / "log"))
    puppet.play(monkeypatch, jax={"b": "once"})
    names = "abcdefgh"
    folder = puppet.claims(tmp_path / "claims", *names)
    result = run(folder, "--backend", "jax", "--json")
    assert result.exit_code == 3
    rows = json.loads(result.stdout)["verdicts"]
    assert [row["verdict"] for row in rows] == ["agree"] * 2 + ["error"] * (2 * len(names) - 2)
    assert len({row["detail"] for row in rows if row["claim"] > "b"}) == 1
    started = (tmp_path / "log").read_text().splitlines()
    assert len(started) == 1 + TRIES


@pytest.mark.long
def test_a_subject_whose_start_failed_once_is_asked_the_next_claim(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    died = tmp_path / "died"
    monkeypatch.setenv("PUPPET_DIED", str(died))
    monkeypatch.setenv("PUPPET_DIED_TIMES", "1")
    puppet.play(monkeypatch, jax={"b": "once"})
    result = run(puppet.claims(tmp_path / "claims", *"abcd"), "--backend", "jax", "--json")
    rows = json.loads(result.stdout)["verdicts"]
    assert [row["verdict"] for row in rows] == [*["agree"] * 2, *["error"] * 4, *["agree"] * 2]


def test_the_rest_is_asked_of_another_where_one_has_little_room_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PUPPET_LOG", str(tmp_path / "log"))
    monkeypatch.setattr(wear, "is_worn", lambda at_first, now: True)
    puppet.play(monkeypatch, processes=True)
    folder = puppet.claims(tmp_path / "claims", *"abc")
    result = run(folder, "--backend", "jax", "--json")
    assert result.exit_code == 0, result.output
    assert [row["verdict"] for row in json.loads(result.stdout)["verdicts"]] == ["agree"] * 6
    started = (tmp_path / "log").read_text().splitlines()
    assert len(set(started)) == 3


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
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # which `pytest &` in a script ignores
signal.signal(signal.SIGHUP, signal.SIG_DFL)
from pytest import MonkeyPatch
from rnn_check.asking import records as record
from rnn_check.cli import main
from tests.support import puppet
record._EVERY = record._SPARE = 0
with MonkeyPatch.context() as patch:
    puppet.play(patch, jax={"b": "hang"}, tensorflow={"c": "hang"})
    main(sys.argv[1:])
"""
REACHED = {"jax:b", "tensorflow:c"}  # where both of them hang


@contextlib.contextmanager
def hanging(folder: Path, *words: object, script: str = INTERRUPTED) -> Iterator[Any]:
    """The command, in a process that has said that both subjects hang, and that ends no subject."""
    claims = puppet.claims(folder / "claims", "a", "b", "c")
    log, asked = folder / "log", folder / "asked"
    host = subprocess.Popen(
        [sys.executable, "-c", script, *map(str, words), str(claims), *BOTH, "--mode", "eager"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
        env={**os.environ, "PUPPET_LOG": str(log), "PUPPET_ASKED": str(asked)},
    )
    with host:
        wait_for(lambda: set(asked.read_text().split()) >= REACHED)
        yield host
    pids = [int(line.split()[1]) for line in log.read_text().splitlines()]
    wait_for(lambda: all(map(is_gone, pids)))


@thinned(3)
@pytest.mark.parametrize("name", sampled(["SIGINT", "SIGTERM", "SIGHUP"], 2))
def test_who_is_interrupted_reports_what_there_is(name: str, tmp_path: Path) -> None:
    number = getattr(signal, name)
    with hanging(tmp_path, "verify") as host:
        host.send_signal(number)
        out, err = host.communicate(timeout=60)
    assert host.returncode == 128 + number, err
    assert "Traceback" not in err
    assert "interrupted; 3 of 6 answers were judged" in err
    assert "1  tensorflow eager      4 agree · 0 differ · 0 error · 0 not_run" in out
    assert "2  jax eager             2 agree" in out


@pytest.mark.long
@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("name", sampled(["SIGINT", "SIGTERM"], 2))
def test_who_is_interrupted_records_what_there_is(name: str, times: int, tmp_path: Path) -> None:
    """`timeout -s INT` sends it to the process and to its group: twice at once, or nearly."""
    script = INTERRUPTED.replace("record._EVERY", "terminal._TWICE = 600; record._EVERY")
    script = script.replace("import main", "import main\nfrom rnn_check.reports import terminal")
    path = tmp_path / "record.npz"
    with hanging(tmp_path, "observe", "-o", path, script=script) as host:
        for _ in range(times):
            host.send_signal(getattr(signal, name))
        _, err = host.communicate(timeout=60)
    assert host.returncode == 128 + getattr(signal, name), err
    assert "Traceback" not in err
    check_what_was_kept(path, tmp_path / "claims")


def test_an_answer_that_is_just_being_taken_is_not_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A signal comes in between any two steps: here, when the queue has no longer the answer."""

    class Struck(SimpleQueue):  # type: ignore[type-arg]
        def get(self, *_: Any) -> Any:
            taken = super().get()
            if isinstance(taken, Asked) and taken.claim.name == "b":
                signal.raise_signal(signal.SIGTERM)
            return taken

    monkeypatch.setattr("rnn_check.asking.run.SimpleQueue", Struck)
    puppet.play(monkeypatch, jax={"c": "hang"})
    folder, path = puppet.claims(tmp_path / "claims", "a", "b", "c"), tmp_path / "record.npz"
    result = run("observe", folder, "--backend", "jax", "-o", path)
    assert result.exit_code == 143
    assert not read(path).complete
    assert [*read(path).subjects[0].answers] == ["a", "b"]


def test_a_record_that_is_just_being_written_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = np.savez_compressed
    written = []

    def savez(*arguments: Any, **arrays: Any) -> None:
        written.append(arrays)
        if len(written) == 2:  # the first is that of the first answer
            signal.raise_signal(signal.SIGTERM)
        real(*arguments, **arrays)

    monkeypatch.setattr(np, "savez_compressed", savez)
    monkeypatch.setattr(record, "_EVERY", 600)
    puppet.play(monkeypatch)
    folder, path = puppet.claims(tmp_path / "claims", "a", "b", "c"), tmp_path / "record.npz"
    assert run("observe", folder, "--backend", "jax", "-o", path).exit_code == 0
    assert len(written) == 2
    assert read(path).complete
    assert [*read(path).subjects[0].answers] == ["a", "b", "c"]


def check_what_was_kept(path: Path, folder: Path) -> None:
    judged = run("judge", path, folder, "--json")
    found = verdicts(json.loads(judged.stdout))
    assert found["tensorflow", "eager", "b"] == {"agree"}
    assert found["tensorflow", "eager", "c"] == {"not_run"}
    assert found["jax", "eager", "a"] == {"agree"}
    assert found["jax", "eager", "b"] == {"not_run"}
    assert "was interrupted: not all was asked" in judged.stderr


def test_a_killed_observation_leaves_what_was_said(tmp_path: Path) -> None:
    path = tmp_path / "record.npz"

    def is_written() -> bool:
        tensorflow, jax = read(path).subjects if path.exists() else (None, None)
        return bool(tensorflow and jax and "b" in tensorflow.answers and "a" in jax.answers)

    with hanging(tmp_path, "observe", "-o", path) as host:
        wait_for(is_written)
        host.kill()
        host.communicate(timeout=60)
    check_what_was_kept(path, tmp_path / "claims")


def test_who_insists_is_obeyed_at_once(tmp_path: Path) -> None:
    """Whatever the command waits for."""
    patched = (
        "    patch.setattr('rnn_check.asking.run.Run.stop', lambda self: print('s', flush=True) or "
    )
    patched += "time.sleep(600))\n    main("
    script = "import time\n" + INTERRUPTED.replace("    main(", patched)
    script = script.replace("record._EVERY", "terminal._TWICE = 0; record._EVERY")
    script = script.replace("import main", "import main\nfrom rnn_check.reports import terminal")
    with hanging(tmp_path, "verify", script=script) as host:
        host.send_signal(signal.SIGINT)
        assert host.stdout.readline() == "s\n"
        host.send_signal(signal.SIGINT)
        _, err = host.communicate(timeout=60)
    assert host.returncode == 130
    assert "Traceback" not in err


@long
def test_what_was_ignored_stays_ignored(tmp_path: Path) -> None:
    script = INTERRUPTED.replace("signal.SIGHUP, signal.SIG_DFL", "signal.SIGHUP, signal.SIG_IGN")
    with hanging(tmp_path, "verify", script=script) as host:
        host.send_signal(signal.SIGHUP)
        host.send_signal(signal.SIGINT)
        host.communicate(timeout=60)
    assert host.returncode == 130


@long
def test_an_observation_that_was_interrupted_before_a_word_can_be_judged(tmp_path: Path) -> None:
    path = tmp_path / "record.npz"
    write(path, [Observations(Setting(), not_started("jax"))], complete=False)
    result = run("judge", path, puppet.claims(tmp_path / "claims", "a"))
    assert result.exit_code == 3
    assert "holds no answers" in result.stderr
    assert "did not start" in result.stdout
    with Run([Target("jax")]) as running:
        assert running.subjects[0].identity == not_started("jax")
    script = INTERRUPTED.replace('tensorflow={"c"', 'tensorflow={"start"')
    asked = tmp_path / "asked"
    host = subprocess.Popen(
        [sys.executable, "-c", script, "observe", "-o", str(path), "--force", "--backend",
         "tensorflow", str(tmp_path / "claims")],
        stderr=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2],
        env={**os.environ, "PUPPET_LOG": str(asked)},
    )  # fmt: skip
    with host:
        wait_for(lambda: asked.read_text().split())
        host.send_signal(signal.SIGINT)
        _, err = host.communicate(timeout=60)
    assert host.returncode == 130
    assert "Traceback" not in err


def test_ctrl_c_while_the_command_is_being_imported_is_silent() -> None:
    script = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "class Import:\n"
        "  def find_spec(self, name, *_):\n"
        "    if name == 'rnn_check.cli': signal.raise_signal(signal.SIGINT)\n"
        "sys.meta_path.insert(0, Import())\n"
        "from rnn_check.__main__ import start; start()"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)
    assert done.returncode == -signal.SIGINT
    assert done.stderr == b""


# -- what is seen meanwhile ------------------------------------------------------------------------


def test_a_log_shows_what_is_going_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    puppet.play(monkeypatch)
    folder = puppet.claims(tmp_path / "claims", "a")
    result = run(folder, "--backend", "jax")
    assert result.stderr == "rnn-check: jax: importing\nrnn-check: jax: asking\n"
    assert run(folder, "--backend", "jax", "--json").stderr == ""


def test_the_most_memory_is_the_subjects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    puppet.play(monkeypatch, jax={"b": "greed"})
    folder = puppet.claims(tmp_path / "claims", *"abc")
    result = run(folder, "--backend", "jax", "--memory", "300M", "--json")
    assert result.exit_code == 3, result.output
    rows = json.loads(result.stdout)["verdicts"]
    assert [row["verdict"] for row in rows] == [*["agree"] * 2, *["error"] * 2, *["agree"] * 2]
    assert "took more than the 300 MB of memory" in rows[2]["detail"]


# -- the run itself --------------------------------------------------------------------------------


def test_two_processes_are_side_by_side(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of the first two waits for the other to have started."""
    puppet.play(monkeypatch, processes=True)
    folder = puppet.claims(tmp_path / "claims", "a")
    with Run([Target("jax"), Target("torch"), Target("numpy")]) as running:
        pids = [running._processes[i].identity.platform for i in (0, 1)]
        assert len(set(pids)) == 2
        assert len(running._processes) == 2
        asked = list(running.ask(list(load_all([folder]))))
    assert sorted(a.subject for a in asked) == [0, 1, 2]
    assert [s.identity.backend for s in running.subjects] == ["jax", "torch", "numpy"]


def test_a_fault_of_our_own_is_not_taken_for_the_subjects(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    puppet.play(monkeypatch)
    monkeypatch.setattr("rnn_check.asking.request.request", broken)
    folder = puppet.claims(tmp_path / "claims", "a")
    with pytest.raises(ZeroDivisionError), Run([Target("jax")]) as running:
        list(running.ask(list(load_all([folder]))))


def test_another_python_that_is_not_there_is_an_error_of_that_subject(tmp_path: Path) -> None:
    folder = puppet.claims(tmp_path / "claims", "a")
    with Run([Target("jax", python="/no_such_python")]) as running:
        (asked,) = running.ask(list(load_all([folder])))
    assert "cannot be started" in asked.answer.error
