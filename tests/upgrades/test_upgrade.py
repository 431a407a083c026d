"""Does `compare` show what changed, `bisect` where, and does neither ask twice?

Whole runs of the command. The environments are this one and the subjects are puppets (real
processes), so that nothing has to be fetched; tests/keras/test_regressions.py asks real ones.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import pty
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from packaging.requirements import Requirement
from packaging.version import Version

from rnn_check.claims import files
from rnn_check.subjects import environments as environment
from rnn_check.subjects.environments import Environment, Package, Python, Unmade, Wanted, programs
from rnn_check.upgrades import bisection
from tests.support import puppet
from tests.support.command import run as command
from tests.support.processes import wait_for
from tests.support.sampling import sampled

HERE = environment.find_python()
TF, JAX, TORCH = "keras==3.1.0@tensorflow", "keras==3.2.0@jax", "keras==3.3.0@torch"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the test's own; every environment is this one, and 9.9 cannot be resolved."""
    monkeypatch.setattr("platformdirs.user_cache_path", lambda *_, **__: tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(environment, "resolve", resolve)
    monkeypatch.setattr(Environment, "held", held)
    for name in environment.told():
        monkeypatch.delenv(name)
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


@contextlib.contextmanager
def held(self: Environment, tell: Callable[[str], None] = lambda stage: None) -> Iterator[str]:
    if "8.8" in self.wanted.text:
        raise Unmade("its environment cannot be made", "the disk is full")
    tell("installing")
    yield sys.executable


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
    assert f"rerun     rnn-check compare {TF} {JAX} --claims {cache / 'claims'} -k b\n" in shown
    assert "\na  " not in shown
    assert "\na  " in compare(cache, TF, JAX, "--all").stdout


def test_markdown_is_all_that_is_printed(cache: Path) -> None:
    result = compare(cache, TF, JAX, "--markdown")
    assert result.stdout.startswith("**Nothing differs, not a bit, in 2 claims.**\n")
    assert compare(cache, TF, JAX, "--markdown").output == result.stdout  # as is remembered


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


def record(folder: Path, *backends: str, names: tuple[str, ...] = ("a", "b"), **how: str) -> Path:
    """What puppets of these backends said to some of the claims."""
    claims = puppet.claims(folder / f"of_{''.join(names)}", *names)
    options = [word for backend in backends for word in ("--backend", backend)]
    options += [word for name, value in how.items() for word in (f"--{name}", value)]
    box = folder / f"{''.join(backends)}_{''.join(names)}.npz"
    done = command("observe", claims, "-o", box, "--mode", "eager", *options)
    assert done.exit_code == 0, done.output
    return box


def test_another_processor_than_the_first_ones_is_said(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    box = record(cache, "jax")

    def notes() -> list[list[str]]:
        document = json.loads(compare(cache, box, "current@jax", "--json").stdout)
        return [subject["notes"] for subject in document["subjects"]]

    said = "asked on Another CPU, not on A CPU: bits may differ for that"
    assert not any(said in each for each in notes())
    monkeypatch.setenv("PUPPET_CPU", "Another CPU")
    assert [said in each for each in notes()] == [False, True]


def test_what_a_record_does_not_hold_is_said_once_and_not_compared(cache: Path) -> None:
    box = record(cache, "jax", names=("a",))
    result = compare(cache, box, "current@jax", "--json")
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert document["summary"]["sentence"] == "Nothing differs, not a bit, in 1 claim."
    (note,) = document["subjects"][0]["notes"]
    assert note == "1 of 2 claims are not compared, not in the record: b"
    assert {row["claim"]: row["verdicts"] for row in document["rows"]} == {
        "a": ["agree", "agree"],
        "b": [None, "agree"],
    }
    shown = compare(cache, box, "current@jax").stdout
    assert shown.count("not in the record") == 1
    assert note in compare(cache, box, "current@jax", "--markdown").stdout


def test_by_default_what_the_records_hold_is_judged(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`observe` asks nothing of the options by default, so `compare` asks nothing either."""
    for name, folder in (("a", "derived"), ("b", "options")):
        (cache / "bundled").mkdir(exist_ok=True)
        puppet.claims(cache / "bundled" / folder, name)
    known = files.known()
    monkeypatch.setattr(files, "known", lambda: known)
    monkeypatch.setattr(files, "bundled", lambda: cache / "bundled")
    for options, held in (((), {"derived/a"}), (("--options",), {"derived/a", "options/b"})):
        box = cache / f"{len(held)}.npz"
        assert command("observe", "--backend", "jax", "-o", box, *options).exit_code == 0
        result = command("compare", box, "current@jax", "--json")
        assert result.exit_code == 0, result.output
        document = json.loads(result.stdout)
        assert {row["claim"] for row in document["rows"]} == held
        assert document["subjects"][0]["notes"] == []


def test_records_with_no_claim_in_common_are_not_compared(cache: Path) -> None:
    one, other = record(cache, "jax", names=("a",)), record(cache, "jax", names=("b",))
    result = compare(cache, one, other)
    assert result.exit_code == 3
    assert "Nothing was compared." in result.stdout
    assert "the same" not in result.stdout


def test_a_record_of_claims_that_are_not_bundled_says_how_to_judge_them(cache: Path) -> None:
    result = command("compare", record(cache, "jax", names=("a",)), "current@jax")
    assert result.exit_code == 2
    assert "holds none of the bundled claims (a); --claims PATH judges those" in result.stderr


def test_one_subject_of_a_record_can_be_named(cache: Path) -> None:
    box = record(cache, "jax", "torch")
    document = json.loads(compare(cache, f"{box}#2", f"{box}#1", "--json").stdout)
    assert [(s["word"], s["backend"]) for s in document["subjects"]] == [
        (f"{box}#2", "torch"),
        (f"{box}#1", "jax"),
    ]
    result = compare(cache, f"{box}#3", f"{box}#1")
    assert (result.exit_code, result.stdout) == (2, "")
    assert f"{box}#3: {box} holds 2 subjects" in result.stderr


def test_what_is_asked_beside_records_is_asked_as_they_were(cache: Path) -> None:
    box = record(cache, "jax", dtype="float64")
    document = json.loads(compare(cache, box, "current@jax", "--json").stdout)
    assert [s["dtype"] for s in document["subjects"]] == ["float64", "float64"]
    given = compare(cache, box, "current@jax", "--dtype", "float16", "--json")
    assert [s["dtype"] for s in json.loads(given.stdout)["subjects"]] == ["float64", "float16"]


def test_every_claim_is_asked_in_each_way_that_is_named(cache: Path) -> None:
    modes = ("--mode", "eager", "--mode", "function", "--mode", "xla")
    dtypes = ("--dtype", "float64", "--dtype", "float32")
    rows = json.loads(compare(cache, TF, JAX, *modes, *dtypes, "--json").stdout)["rows"]
    both, alone = ["agree", "agree"], ["agree", None]  # jax has no function
    assert {(row["claim"], row["way"]): row["verdicts"] for row in rows} == {
        (claim, way): alone if way and "function" in way else both
        for claim in ("a", "b")
        for way in (None, "function", "xla", "float32", "function float32", "xla float32")
    }
    box = record(cache, "jax")
    refused = compare(cache, box, "current@jax", "--dtype", "float32", "--dtype", "float64")
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert "--dtype: a record was asked in one way" in refused.stderr


@pytest.mark.parametrize(
    "words",
    [("compare", TF, JAX, "--model", "m.keras"), ("bisect", "a", "--from", TF, "--to", TF)],
    ids=["model", "bisect"],
)
def test_what_is_asked_in_one_way_refuses_several(cache: Path, words: tuple[str, ...]) -> None:
    refused = command(*words, "--dtype", "float32", "--dtype", "float64")
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert refused.stderr.startswith("Error: --dtype: a ")
    assert "is asked in one way; give one" in refused.stderr


CHANGE_NOTHING = {
    ("--mode", "xla"): "records",
    ("--dtype", "float64"): "records",
    ("--slow",): "records",
    ("--timeout", "5"): "records",
    ("--scheduler", "tcp://localhost:8786"): "records",
    ("--python", "3.11"): "here",
    ("--as-of", "now"): "here",
    ("--refresh",): "here",
}


@pytest.mark.parametrize("options", sampled(CHANGE_NOTHING, 3))
def test_an_option_that_would_change_nothing_is_refused(
    cache: Path, options: tuple[str, ...]
) -> None:
    box, other = record(cache, "jax"), record(cache, "torch")
    words = (box, other) if CHANGE_NOTHING[options] == "records" else (box, "current@jax")
    result = compare(cache, *words, *options)
    assert (result.exit_code, result.stdout) == (2, "")
    assert f"{options[0]} changes nothing of these subjects: " in result.stderr


def test_a_page_is_not_overwritten_unless_that_is_asked_for(cache: Path) -> None:
    page = cache / "page.html"
    page.write_text("mine")
    result = compare(cache, TF, JAX, "--html", page)
    assert (result.exit_code, result.stdout) == (2, "")
    assert f"--html: {page} is there already; --force overwrites it" in result.stderr
    assert (page.read_text(), asked(cache)) == ("mine", [])
    assert compare(cache, TF, JAX, "--html", page, "--force").exit_code == 0
    assert page.read_text().startswith("<!doctype html>")
    assert compare(cache, TF, JAX, "--force").exit_code == 2


def reruns(shown: str) -> list[list[str]]:
    return [
        shlex.split(line.split("rerun", 1)[1])[1:]
        for line in shown.splitlines()
        if line.startswith("  rerun ")
    ]


@pytest.mark.long
def test_the_line_that_reruns_does(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a name holds, and with whatever options."""
    puppet.play(monkeypatch, jax={"it_s_b": "wrong"}, torch={"it_s_b": "wrong"})
    claims = puppet.claims(cache / "my claims", "it's b", "a")
    known = cache / "known.toml"
    known.write_text("schema = 2\n")
    options = [
        *("--mode", "xla", "--dtype", "float64", "--slow", "--timeout", "50"),
        *("--python", "3.11", "--as-of", "2025-01-31"),
    ]
    always = ["--claims", str(claims), "--known", str(known)]
    shown = command("compare", TF, JAX, *always, *options).stdout
    (again,) = reruns(shown)
    assert again == ["compare", TF, JAX, *always, *options, "-k", "it's b"]
    repeated = command(*again)
    assert "float64" in repeated.stdout
    assert reruns(repeated.stdout) == [again]
    # of several records, of which one is meant
    box = record(cache, "tensorflow", "torch", names=("it's b",))
    shown = command("compare", box, *always)
    assert shown.exit_code == 1, shown.output
    (again,) = reruns(shown.stdout)
    assert again == ["compare", f"{box}#1", f"{box}#2", *always, "-k", "it's b"]
    assert command(*again).exit_code == 1


def test_what_had_to_be_taken_from_an_earlier_day_is_said(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stale(*arguments: Any, **options: Any) -> Environment:
        why = "resolved on 2026-01-05, as it cannot be looked up again now (no network)"
        return dataclasses.replace(resolve(*arguments, **options), stale=why)

    monkeypatch.setattr(environment, "resolve", stale)
    monkeypatch.setenv("UV_DEFAULT_INDEX", "https://user:secret@example.org/simple")
    for form in ((), ("--markdown",), ("--json",)):
        shown = compare(cache, TF, JAX, *form).stdout
        assert "resolved on 2026-01-05" in shown
        assert "its packages come from where UV" in shown
        assert "secret" not in shown


def test_ctrl_c_while_an_environment_is_made_says_what_was_stopped(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The installer, which another thread waits for, does not outlive the host."""
    main_thread = threading.get_ident()

    @contextlib.contextmanager
    def hangs(self: Environment, tell: Callable[[str], None]) -> Iterator[str]:
        threading.Timer(0.3, signal.pthread_kill, (main_thread, signal.SIGINT)).start()
        try:
            programs.ran("sleep", "600")
        except programs.Failed as failure:
            raise Unmade("its environment cannot be made", str(failure)) from None
        yield sys.executable

    monkeypatch.setattr(Environment, "held", hangs)
    result = compare(cache, TF, "current@jax")
    assert (result.exit_code, result.stdout) == (130, "")
    assert "1 installation was stopped; nothing half-made is left" in result.stderr
    assert "interrupted" in result.stderr


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
    (TF, "current@jaxx"): "unknown backend 'jaxx'; did you mean `jax`?",
    (TF, "no_such.npz"): "no_such.npz: cannot be read: No such file",
    (TF, "./box"): "and there is no file ./box",
    (TF, JAX, "--as-of", "May"): "--as-of: expected a date",
    (TF, JAX, "--python", "3.1"): "--python: Python 3.1 is not available",
    (TF, JAX, "--html", "/no/such/page.html"): "--html: /no/such/page.html cannot be a file",
    (TF, JAX, "--json", "--markdown"): "do not go together",
    ("current@numpy", TORCH, "--mode", "eager", "--mode", "xla"): "--mode xla: none of these",
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


@pytest.mark.parametrize(
    "other", sampled([("--refresh",), ("--mode", "xla"), ("--dtype", "float64")], 3)
)
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
from rnn_check.subjects import environments as environment
from rnn_check.cli import main
from rnn_check.subjects.environments import Environment
from tests.support import puppet
from tests.upgrades import test_upgrade
with MonkeyPatch.context() as patch:
    cache = Path(sys.argv.pop(1))
    patch.setattr("platformdirs.user_cache_path", lambda *_, **__: cache)
    patch.setattr(environment, "resolve", test_upgrade.resolve)
    patch.setattr(Environment, "held", test_upgrade.held)
    puppet.play(patch, torch={"b": "hang"})
    main(sys.argv[1:])
"""


def test_after_ctrl_c_the_next_run_goes_on_from_there(cache: Path) -> None:
    claims = puppet.claims(cache / "claims", "a", "b")
    words = ["compare", TF, TORCH, "--claims", str(claims)]
    host = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED, str(cache), *words],
        cwd=Path(__file__).parents[2], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    wait_for(
        lambda: {"torch:b", "tensorflow:b"} <= {*asked(cache)} and [*cache.glob("answers/*.npz")],
        host,
    )
    host.send_signal(signal.SIGINT)
    out, err = host.communicate(timeout=30)
    assert (host.returncode, out) == (130, "")
    assert "interrupted" in err
    assert compare(cache, TF, TORCH).exit_code == 0
    assert asked(cache).count("tensorflow:a") == 1


IN_USE = """
import sys
from pathlib import Path
from pytest import MonkeyPatch
from rnn_check.subjects import environments as environment
from rnn_check.cli import main
from tests.support import puppet
from tests.upgrades import test_upgrade

def install(self, folder, python, requirements):
    (folder / "bin").mkdir(parents=True)
    (folder / "bin/python").symlink_to(sys.executable)

with MonkeyPatch.context() as patch:
    cache = Path(sys.argv.pop(1))
    patch.setattr("platformdirs.user_cache_path", lambda *_, **__: cache)
    patch.setattr(environment, "resolve", test_upgrade.resolve)
    patch.setattr("rnn_check.subjects.environments.uv.Uv.install", install)
    puppet.play(patch, torch={"b": "hang"}, jax={"start": "exit"})
    main(sys.argv[1:])
"""


@pytest.mark.thinned(2)
@pytest.mark.parametrize("end", sampled([signal.SIGINT, signal.SIGKILL], 2))
def test_what_a_comparison_uses_is_not_cleared_until_it_has_ended(
    cache: Path, end: signal.Signals
) -> None:
    """Nor longer than its subject runs; the environment is real, but for what is installed."""
    claims = puppet.claims(cache / "claims", "a", "b")
    words = ["compare", TF, JAX, TORCH, "--claims", str(claims)]
    host = subprocess.Popen(
        [sys.executable, "-c", IN_USE, str(cache), *words],
        cwd=Path(__file__).parents[2], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    keys = [resolve(environment.parse(word), HERE, "release").key for word in (TF, JAX, TORCH)]
    locks = cache / "locks"
    wait_for(lambda: "torch:b" in asked(cache) and len([*locks.glob("*.*.lock")]) <= 1, host)
    for _ in range(2):
        cleared = command("cache", "clear", "--older-than", "0h")
        assert (cleared.exit_code, cleared.stderr) == (
            0,
            f"rnn-check: {keys[2]} is in use by another run; it stays\n",
        )
        assert {each.name for each in (cache / "environments").iterdir()} == {keys[2]}
    host.send_signal(end)
    host.communicate(timeout=30)
    assert command("cache", "clear", keys[2]).exit_code == 0
    assert list((cache / "environments").iterdir()) == []


def test_a_log_has_a_line_for_each_stage_of_a_subject(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    puppet.play(monkeypatch, tensorflow={"a": "exit"})  # and is started again, which is no stage
    said = compare(cache, TF, JAX, "--json").stderr.splitlines()
    stages = ("installing", "importing", "asking")
    for word in (TF, JAX):
        of_word = [line for line in said if word in line]
        assert of_word == [f"rnn-check: {word}: {stage}" for stage in stages]
    assert len(said) == 6


def test_who_waits_for_long_says_so_once(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    @contextlib.contextmanager
    def waits(self: Environment, tell: Callable[[str], None]) -> Iterator[str]:
        for _ in range(3):
            tell("waiting for another run")
        yield sys.executable

    monkeypatch.setattr(Environment, "held", waits)
    said = compare(cache, "keras==3.2.0,jax[cuda12]==1@jax", "current@jax").stderr
    assert said.count("rnn-check: keras==3.2.0,jax[cuda12]==1@jax: waiting for another run\n") == 1
    assert said.count("waiting") == 1


def test_a_terminal_sees_what_is_being_done(cache: Path, tmp_path: Path) -> None:
    """Under a pseudo-terminal stderr shows each subject; stdout is the report alone."""
    claims = puppet.claims(cache / "claims", "a")
    extra = "keras==3.2.0,jax[cuda12]==0.7@jax"  # what stands in brackets is no markup
    host, terminal = pty.openpty()
    code = INTERRUPTED.replace('torch={"b": "hang"}', "")
    done = subprocess.Popen(
        [sys.executable, "-c", code, str(cache), "compare", TF, extra, "--claims", str(claims)],
        cwd=Path(__file__).parents[2], stdout=subprocess.PIPE, stderr=terminal,
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
    assert extra.encode() in said
    assert b"importing" in said or b"asking" in said


# -- when did it change? ---------------------------------------------------------------------------

VERSIONS = ["3.0.0", "3.0.1", "3.1.0", "3.1.1", "3.2.0", "3.3.0", "3.4.0"]


@pytest.fixture
def history(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """From `wrong_from` on, versions are answered for by a puppet that computes something else."""

    def listed(requirement: str, python: Python) -> str | None:
        allowed = Requirement(requirement).specifier
        return next((v for v in reversed(VERSIONS) if allowed.contains(v)), None)

    def play(
        wrong_from: str = "9", absent: str = "", fate: str = "wrong", wrong_by: str = "torch"
    ) -> None:
        puppet.play(monkeypatch, **{wrong_by: {"b": fate}})

        def resolved(wanted: Wanted, *rest: Any, **more: Any) -> Environment:
            version = wanted.requirements[0].partition("==")[2]
            if version == absent:
                raise Unmade("its requirements cannot be resolved", "it is gone")
            is_wrong = Version(version) >= Version(wrong_from)
            backend = wrong_by if is_wrong else wanted.backend
            return resolve(dataclasses.replace(wanted, backend=backend), *rest, **more)

        monkeypatch.setattr(environment, "resolve", resolved)

    monkeypatch.setattr(environment, "newest", listed)
    return play


def bisect(folder: Path, *arguments: str, of: str = "keras=={}@jax") -> Result:
    ends = ("--from", of.format("3.0"), "--to", of.format("3.4"))
    claims = puppet.claims(folder / "claims", "a", "b")
    return command("bisect", "b", *ends, "--claims", claims, *arguments)


@pytest.mark.thinned(3)
@pytest.mark.parametrize("number", sampled(range(1, len(VERSIONS)), 9))
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


@pytest.mark.long
def test_the_version_of_torch_nn_is_found(cache: Path, history: Callable[..., None]) -> None:
    history("3.2.0", wrong_by="jax")
    result = bisect(cache, "--json", of="torch=={}@torch.nn")
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    words = [f"torch=={version}@torch.nn" for version in VERSIONS]
    assert [v["subject"] for v in document["versions"]] == words
    assert (document["before"], document["after"]) == (words[3], words[4])
    shown = bisect(cache, of="torch=={}@torch.nn")
    assert f"The verdict changed from {words[3]} to {words[4]}." in shown.stdout


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


def test_what_is_not_run_at_either_end_is_no_sameness(
    cache: Path, history: Callable[..., None]
) -> None:
    history()
    (claim,) = puppet.claims(cache / "slow", "b").iterdir()
    claim.write_text("slow = true\n" + claim.read_text())
    ends = ("--from", "torch==3.0@torch.nn", "--to", "torch==3.4@torch.nn")
    result = command("bisect", "b", *ends, "--claims", claim)
    assert result.exit_code == 3
    nothing = "Nothing was compared between torch==3.0.0@torch.nn and torch==3.4.0@torch.nn: slow"
    assert nothing in result.stdout
    assert command("bisect", "b", *ends, "--claims", claim, "--slow").exit_code == 1


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
    cache: Path, history: Callable[..., None], first: str, last: str, message: str
) -> None:
    history()
    claims = puppet.claims(cache / "claims", "a")
    result = command("bisect", "a", "--from", first, "--to", last, "--claims", claims)
    assert result.exit_code == 2
    assert message in result.stderr


def test_a_version_alone_is_of_tensorflow() -> None:
    found = bisection.Versions.between("2.12", "2.21.0")
    assert found == bisection.Versions("tensorflow", "2.12", "2.21.0", "tensorflow=={}")
    held = bisection.Versions.between("keras==3.0.0,jax==0.4.30", "keras==3.2.*,jax==0.4.30")
    assert held == bisection.Versions("keras", "3.0.0", "3.2", "keras=={},jax==0.4.30")
