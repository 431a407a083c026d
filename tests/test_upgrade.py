"""Does `compare` show what changed, `bisect` where, and does neither ask twice?

Whole runs of the command. The environments are this one and the subjects are puppets (real
processes), so that nothing has to be fetched; tests/test_regressions.py asks real ones.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from packaging.requirements import Requirement
from packaging.version import Version

from rnn_check import bisection, environment
from rnn_check.cli import main
from rnn_check.environment import Environment, Package, Python, Unmade, Wanted
from tests import puppet

HERE = environment.find_python()
TF, JAX, TORCH = "keras==3.1.0@tensorflow", "keras==3.2.0@jax", "keras==3.3.0@torch"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the test's own; every environment is this one, and 9.9 cannot be resolved."""
    monkeypatch.setattr(environment.platformdirs, "user_cache_path", lambda *_, **__: tmp_path)
    monkeypatch.setattr(environment, "resolve", resolve)
    monkeypatch.setattr(Environment, "make", make)
    monkeypatch.setenv("PUPPET_ASKED", str(tmp_path / "asked"))
    puppet.play(monkeypatch)
    return tmp_path


def resolve(
    wanted: Wanted, python: Python, as_of: str | date, *, refresh: bool = False
) -> Environment:
    if "9.9" in wanted.text:
        raise Unmade("its requirements cannot be resolved", "no version 9.9")
    packages = tuple(Package(*each.split("==")) for each in wanted.requirements if "==" in each)
    return Environment(wanted, python, packages, str(as_of))


def make(self: Environment, tell: Callable[[str], None] = lambda stage: None) -> str:
    if "8.8" in self.wanted.text:
        raise Unmade("its environment cannot be made", "the disk is full")
    return sys.executable


def command(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(a) for a in arguments])


def compare(folder: Path, *arguments: object) -> Result:
    claims = puppet.claims(folder / "claims", "a", "b")
    return command("compare", *arguments, "--claims", claims)


def asked(folder: Path) -> list[str]:
    file = folder / "asked"
    return sorted(file.read_text().split()) if file.exists() else []


# -- what changed ----------------------------------------------------------------------------------


def test_nothing_changed(cache: Path) -> None:
    result = compare(cache, TF, JAX)
    assert result.exit_code == 0, result.output
    assert "Nothing differs, not a bit, in 2 claims." in result.stdout
    assert f"1  {TF}\n   keras 3.15.1 · tensorflow 1.2.3" in result.stdout
    assert "the same, bit for bit" in result.stdout


def test_a_verdict_that_got_worse(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    puppet.play(monkeypatch, jax={"b": "wrong"})
    result = compare(cache, TF, JAX, "--json")
    assert result.exit_code == 1
    document = json.loads(result.stdout)
    assert set(document) == {"schema", "subjects", "rows", "summary"}
    assert [s["word"] for s in document["subjects"]] == [TF, JAX]
    rows = {(row["claim"], row["what"]): row for row in document["rows"]}
    assert len(rows) == 4
    row = rows["b", "output"]
    assert row["verdicts"] == ["agree", "differ"]
    assert row["changes"] == ["", "worse"]
    assert row["ratios"][0] < 1 < row["ratios"][1]
    assert row["drift_ulp"] == row["drifts_ulp"][1] > 1000
    assert row["where"] == "output at sample 0, timestep 1, unit 0"
    assert row["first_timestep"] == 1
    assert row["shares"][1] > 1
    assert {rows["a", what]["drift_ulp"] for what in ("output", "weights_read_back")} == {0}
    assert document["summary"]["worse"] == 1
    assert document["summary"]["sentence"].startswith("1 verdict got worse")
    assert compare(cache, TF, JAX, "--fail-on", "never").exit_code == 0
    assert compare(cache, JAX, TF).exit_code == 0  # it got better


def test_the_terminal_explains_what_got_worse(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    puppet.play(monkeypatch, jax={"b": "wrong"})
    shown = compare(cache, TF, JAX).stdout
    assert "Verdicts that got worse" in shown
    assert "the subject computes something else: output at sample 0, timestep 1, unit 0" in shown
    assert f"rerun     rnn-check compare {TF} {JAX} -k b" in shown
    assert "\na  " not in shown
    assert "\na  " in compare(cache, TF, JAX, "--all").stdout


def test_markdown_is_all_that_is_printed(cache: Path) -> None:
    result = compare(cache, TF, JAX, "--markdown")
    assert result.stdout.startswith("**Nothing differs, not a bit, in 2 claims.**\n")
    assert result.stderr == ""


def test_a_record_and_this_environment_are_subjects(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    claims = puppet.claims(cache / "claims", "a", "b")
    box = cache / "box.npz"
    both = ("--backend", "jax", "--backend", "torch", "--mode", "eager")
    assert command("observe", claims, *both, "-o", box).exit_code == 0
    puppet.play(monkeypatch, tensorflow={"a": "wrong"})
    result = compare(cache, box, "current@tensorflow", TF, "--json")
    assert result.exit_code == 1, result.output
    document = json.loads(result.stdout)
    words = [s["word"] for s in document["subjects"]]
    assert words == [f"{box}#1", f"{box}#2", "current@tensorflow", TF]
    rows = {(row["claim"], row["what"]): row["changes"] for row in document["rows"]}
    assert rows["a", "output"] == ["", "", "worse", "worse"]
    assert rows["b", "output"] == ["", "", "", ""]


# -- what cannot be asked --------------------------------------------------------------------------


@pytest.mark.parametrize("word", ["keras==9.9@jax", "keras==8.8@jax"])
def test_what_cannot_be_made_is_an_error_of_that_subject(cache: Path, word: str) -> None:
    result = compare(cache, TF, word, TORCH)
    assert result.exit_code == 3
    assert f"{word} could not be asked." in result.stdout
    last = {"keras==9.9@jax": "no version 9.9", "keras==8.8@jax": "the disk is full"}[word]
    assert result.stdout.count(last) == 1
    document = json.loads(compare(cache, TF, word, TORCH, "--json").stdout)
    assert last in document["subjects"][1]["failure"]
    assert {row["verdicts"][2] for row in document["rows"]} == {"agree"}
    assert {row["changes"][1] for row in document["rows"]} == {""}


def test_a_subject_that_does_not_start_is_an_error_of_its_own(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    puppet.play(monkeypatch, jax={"start": "exit"})
    result = compare(cache, TF, JAX)
    assert result.exit_code == 3
    assert result.stdout.count("my last words") == 1
    assert f"{JAX} could not be asked." in result.stdout


BAD = {
    (TF,): "two or more",
    (TF, TF): "named twice",
    (TF, "keras==3.1.0"): "are the same: keras 3.1.0 on tensorflow",
    (TF, "tensorfow==2"): "did you mean `tensorflow`?",
    (TF, "keras==3@jaxx"): "unknown backend 'jaxx'",
    (TF, "current@jaxx"): "unknown backend 'jaxx'; did you mean jax?",
    (TF, "no_such.npz"): "no_such.npz: cannot be read: No such file",
    (TF, "./box"): "and there is no file ./box",
    (TF, JAX, "--as-of", "May"): "--as-of: expected a date",
    (TF, JAX, "--python", "3.1"): "--python: Python 3.1 is not available",
    (TF, JAX, "--html", "/no/such/page.html"): "--html: /no/such/page.html cannot be a file",
    (TF, JAX, "--json", "--markdown"): "do not go together",
}


@pytest.mark.parametrize("arguments", BAD)
def test_bad_input_is_one_message_and_nothing_is_run(
    cache: Path, arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UV_PYTHON_DOWNLOADS", "never")
    result = compare(cache, *arguments)
    assert result.exit_code == 2
    assert BAD[arguments] in result.stderr
    assert result.stderr.startswith("Error: ")
    assert result.stdout == ""
    assert asked(cache) == []


def test_a_claim_that_is_none_is_bad_input(cache: Path) -> None:
    assert compare(cache, TF, JAX, "-k", "nothing").exit_code == 2


# -- nothing is asked twice ------------------------------------------------------------------------


def test_what_an_environment_said_is_remembered(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = compare(cache, TF, JAX, "--json")
    assert asked(cache) == ["jax:a", "jax:b", "tensorflow:a", "tensorflow:b"]
    monkeypatch.setenv("PUPPET_LOG", str(cache / "started"))
    again = compare(cache, TF, JAX, "--json")
    assert again.stdout == first.stdout
    assert len(asked(cache)) == 4
    assert not (cache / "started").exists()
    puppet.claims(cache / "claims", "c")
    compare(cache, TF, JAX, TORCH)
    everybody = {
        f"{backend}:{name}" for backend in ("tensorflow", "jax", "torch") for name in "abc"
    }
    assert asked(cache) == sorted(everybody)  # each was asked what is new, and nothing twice


@pytest.mark.parametrize("other", [("--refresh",), ("--mode", "xla"), ("--dtype", "float64")])
def test_another_question_is_asked(cache: Path, other: tuple[str, ...]) -> None:
    compare(cache, TF, JAX)
    compare(cache, TF, JAX, *other)
    assert len(asked(cache)) == 8


def test_another_setting_of_the_machine_is_another_subject(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compare(cache, TF, JAX)
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", "0")
    compare(cache, TF, JAX)
    assert len(asked(cache)) == 8


def test_this_environment_is_asked_anew(cache: Path) -> None:
    for _ in range(2):
        compare(cache, TF, "current@jax")
    assert asked(cache) == ["jax:a", "jax:a", "jax:b", "jax:b", "tensorflow:a", "tensorflow:b"]


def test_a_fault_is_not_remembered(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    puppet.play(monkeypatch, jax={"b": "exit"})
    assert compare(cache, TF, JAX).exit_code == 1
    puppet.play(monkeypatch)
    assert compare(cache, TF, JAX).exit_code == 0
    assert asked(cache).count("jax:b") == 2
    assert asked(cache).count("jax:a") == 1


def test_a_memory_that_is_damaged_is_asked_anew(cache: Path) -> None:
    compare(cache, TF, JAX)
    for file in (cache / "answers").iterdir():
        file.write_bytes(file.read_bytes()[:100])
    assert compare(cache, TF, JAX).exit_code == 0
    assert len(asked(cache)) == 8


INTERRUPTED = """
import sys
from pathlib import Path
from pytest import MonkeyPatch
from rnn_check import environment
from rnn_check.cli import main
from rnn_check.environment import Environment
from tests import puppet, test_upgrade
with MonkeyPatch.context() as patch:
    cache = Path(sys.argv.pop(1))
    patch.setattr(environment.platformdirs, "user_cache_path", lambda *_, **__: cache)
    patch.setattr(environment, "resolve", test_upgrade.resolve)
    patch.setattr(Environment, "make", test_upgrade.make)
    puppet.play(patch, torch={"b": "hang"})
    main(sys.argv[1:])
"""


def test_after_ctrl_c_the_next_run_goes_on_from_there(cache: Path) -> None:
    claims = puppet.claims(cache / "claims", "a", "b")
    words = ["compare", TF, TORCH, "--claims", str(claims)]
    host = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED, str(cache), *words],
        cwd=Path(__file__).parents[1], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while not {"torch:b", "tensorflow:b"} <= set(asked(cache)) or not list(
        cache.glob("answers/*.npz")
    ):
        assert time.monotonic() < deadline
        assert host.poll() is None, host.communicate()
        time.sleep(0.05)
    host.send_signal(signal.SIGINT)
    out, err = host.communicate(timeout=30)
    assert (host.returncode, out) == (130, "")
    assert "interrupted" in err
    assert compare(cache, TF, TORCH).exit_code == 0
    assert asked(cache).count("tensorflow:a") == 1


def test_a_terminal_sees_what_is_being_done(cache: Path, tmp_path: Path) -> None:
    """Under a pseudo-terminal stderr shows each subject; stdout is the report alone."""
    claims = puppet.claims(cache / "claims", "a")
    host, terminal = pty.openpty()
    code = INTERRUPTED.replace('torch={"b": "hang"}', "")
    done = subprocess.Popen(
        [sys.executable, "-c", code, str(cache), "compare", TF, JAX, "--claims", str(claims)],
        cwd=Path(__file__).parents[1], stdout=subprocess.PIPE, stderr=terminal,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "120"},
    )  # fmt: skip
    os.close(terminal)
    said = b""
    with contextlib.suppress(OSError):  # the other end is closed
        while chunk := os.read(host, 4096):
            said += chunk
    os.close(host)
    assert b"Nothing differs" in done.communicate()[0]
    assert done.returncode == 0
    assert TF.encode() in said
    assert b"importing" in said or b"asking" in said


# -- when did it change? ---------------------------------------------------------------------------

VERSIONS = ["3.0.0", "3.0.1", "3.1.0", "3.1.1", "3.2.0", "3.3.0", "3.4.0"]


@pytest.fixture
def history(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """From `wrong_from` on, versions are answered for by a puppet that computes something else."""

    def listed(requirement: str, python: Python) -> str | None:
        allowed = Requirement(requirement).specifier
        return next((v for v in reversed(VERSIONS) if allowed.contains(v)), None)

    def play(wrong_from: str = "9", absent: str = "", fate: str = "wrong") -> None:
        puppet.play(monkeypatch, torch={"b": fate})

        def resolved(wanted: Wanted, *rest: Any, **more: Any) -> Environment:
            version = wanted.requirements[0].partition("==")[2]
            if version == absent:
                raise Unmade("its requirements cannot be resolved", "it is gone")
            backend = "torch" if Version(version) >= Version(wrong_from) else "jax"
            return resolve(dataclasses.replace(wanted, backend=backend), *rest, **more)

        monkeypatch.setattr(environment, "resolve", resolved)

    monkeypatch.setattr(environment, "newest", listed)
    return play


def bisect(folder: Path, *arguments: str, first: str = "3.0", last: str = "3.4") -> Result:
    ends = ("--from", f"keras=={first}@jax", "--to", f"keras=={last}@jax")
    claims = puppet.claims(folder / "claims", "a", "b")
    return command("bisect", "b", *ends, "--claims", claims, *arguments)


@pytest.mark.parametrize("number", range(1, len(VERSIONS)))
def test_the_version_is_found(cache: Path, history: Callable[..., None], number: int) -> None:
    history(VERSIONS[number])
    result = bisect(cache, "--json")
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    before, after = (f"keras=={VERSIONS[i]}@jax" for i in (number - 1, number))
    assert (document["before"], document["after"]) == (before, after)
    assert [v["subject"] for v in document["versions"]] == [f"keras=={v}@jax" for v in VERSIONS]
    seen = [v["seen"] for v in document["versions"]]
    assert seen[number].startswith("1 worse")
    assert seen[number - 1] == "same"
    assert seen.count("not asked") >= 2
    assert document["on"] == "verdict"
    assert document["summary"]["sentence"] == f"The verdict changed from {before} to {after}."


def test_a_version_that_cannot_be_asked_is_left_out(
    cache: Path, history: Callable[..., None]
) -> None:
    history("3.1.1", absent="3.1.1")
    document = json.loads(bisect(cache, "--json").stdout)
    assert (document["before"], document["after"]) == ("keras==3.1.0@jax", "keras==3.2.0@jax")


def test_an_end_that_cannot_be_asked_is_exit_3(cache: Path, history: Callable[..., None]) -> None:
    history("3.1.1", absent="3.4.0")
    result = bisect(cache)
    assert result.exit_code == 3
    assert "keras==3.4.0@jax could not be asked." in result.stdout
    assert "it is gone" in result.stdout


def test_what_did_not_change_is_exit_1(cache: Path, history: Callable[..., None]) -> None:
    history()
    result = bisect(cache)
    assert result.exit_code == 1
    assert "No bit differs between keras==3.0.0@jax and keras==3.4.0@jax." in result.stdout


def test_bits_are_searched_where_no_verdict_changes(
    cache: Path, history: Callable[..., None]
) -> None:
    history("3.1.1", fate="drift")
    result = bisect(cache)
    assert result.exit_code == 0, result.output
    assert "What is said, to the last bit, changed from keras==3.1.0@jax" in result.stdout
    assert bisect(cache, "--on", "verdict").exit_code == 1


@pytest.mark.parametrize(
    ("first", "last", "message"),
    [
        ("keras==3.0@jax", "keras==3.1@numpy", "expected subjects that differ in the version"),
        ("keras==3.0@jax", "keras==3.0@jax", "expected subjects that differ in the version"),
        ("keras==3.0,jax==1", "keras==3.1,jax==2", "expected subjects that differ in the version"),
        ("keras>=3.0@jax", "keras==3.1@jax", "'keras>=3.0@jax': expected one version of keras"),
        ("3.0", "kears==3.1", "did you mean `keras`?"),
        ("keras==3.4@jax", "keras==3.0@jax", "no two versions of keras from 3.4 to 3.0"),
    ],
)
def test_ends_that_are_none_are_bad_input(
    history: Callable[..., None], first: str, last: str, message: str
) -> None:
    history()
    result = command("bisect", "derived/tanh_layer", "--from", first, "--to", last)
    assert result.exit_code == 2
    assert message in result.stderr


def test_a_version_alone_is_of_tensorflow() -> None:
    found = bisection.Versions.between("2.12", "2.21.0")
    assert found == bisection.Versions("tensorflow", "2.12", "2.21.0", "tensorflow=={}")
    held = bisection.Versions.between("keras==3.0.0,jax==0.4.30", "keras==3.2.*,jax==0.4.30")
    assert held == bisection.Versions("keras", "3.0.0", "3.2", "keras=={},jax==0.4.30")
