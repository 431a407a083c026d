"""Does everything that a subject started end with it, and does it keep within its limits?

The subjects here are small scripts in real processes that really do it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from rnn_check.subjects import process, wear
from rnn_check.subjects.ask import Subject, SubjectError
from rnn_check.subjects.asked import wire as subject
from tests.subjects.test_observe import ask, puppet
from tests.support.processes import is_gone, wait_for
from tests.support.sampling import thinned

MB = 1 << 20


def told(folder: Path, *names: str) -> list[int]:
    """The process ids that were written into these files, once they all are."""
    files = [folder / name for name in names]
    wait_for(lambda: all(file.exists() and file.read_text().endswith(".") for file in files))
    return [int(file.read_text()[:-1]) for file in files]


# What a layer may leave behind: each writes its process id and lives on.
TELL = "open({file!r}, 'w').write(str(os.getpid()) + '.'); time.sleep(600); os._exit(0)"
LEAVES = {
    "a fork": "import os, time\nif os.fork() == 0: {tell}",
    "a fork of a fork": (
        "import os, time\nif os.fork() == 0:\n  if os.fork() == 0: {tell}\n  os._exit(0)"
    ),
    "a fork in a group of its own": "import os, time\nif os.fork() == 0: os.setpgid(0, 0); {tell}",
    "a program": (
        "import subprocess, sys\n"
        "subprocess.Popen([sys.executable, '-c', {script!r}])"
    ),
    "a fork in a session of its own": "import os, time\nif os.fork() == 0: os.setsid(); {tell}",
    "a daemon, which nobody is the parent of": (
        "import os, time\nif os.fork() == 0:\n"
        "  os.setsid()\n  if os.fork() == 0: {tell}\n  os._exit(0)"
    ),
    "a program in a session of its own": (
        "import subprocess, sys\n"
        "subprocess.Popen([sys.executable, '-c', {script!r}], start_new_session=True)"
    ),
    "a program that knows nothing of us": (
        "import subprocess, sys\n"
        "subprocess.Popen([sys.executable, '-c', {script!r}], start_new_session=True, env={{}})"
    ),
}  # fmt: skip


def leaves(what: str, file: Path) -> str:
    tell = TELL.format(file=str(file))
    return LEAVES[what].format(tell=tell, script=f"import os, time; {tell}")


@thinned(8)
@pytest.mark.parametrize("what", LEAVES)
@pytest.mark.parametrize("then", ["closed", "exits", "hangs", "killed from another thread"])
def test_what_a_subject_started_ends_with_it(what: str, then: str, tmp_path: Path) -> None:
    do = leaves(what, tmp_path / "pid")
    with puppet() as asked:
        ask(asked, {"do": do})
        (started,) = told(tmp_path, "pid")
        assert not is_gone(started)
        if what == "a program that knows nothing of us":  # but had a parent when it was seen
            listed = asked._process
            assert listed is not None
            wait_for(lambda: started in listed._family._members)
        if then == "exits":  # its fork holds the pipes open, and nobody waits for that
            with pytest.raises(SubjectError, match="ended with exit code 3"):
                ask(asked, {"do": "os._exit(3)"})
        elif then == "hangs":
            asked.timeout = 0.5
            with pytest.raises(SubjectError, match=r"gave no answer within 0\.5 s"):
                ask(asked, {"do": "time.sleep(600)"})
        elif then == "killed from another thread":
            asked.kill()
    wait_for(lambda: is_gone(started))


def test_its_temporary_files_are_removed(tmp_path: Path) -> None:
    file = tmp_path / "folder"
    do = (
        "import tempfile, pathlib; left = tempfile.NamedTemporaryFile(delete=False);"
        f"pathlib.Path({str(file)!r}).write_text(left.name)"
    )
    with puppet() as asked:
        ask(asked, {"do": do})
        left = Path(file.read_text())
        assert left.exists()
        assert left.parent.name.startswith("rnn_check-")
    assert not left.parent.exists()
    with pytest.raises(SubjectError, match="cannot be started"):
        Subject("tensorflow", python="/no_such_python")


def test_that_there_is_no_place_for_temporary_files_is_an_error_of_the_subject(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(**_: Any) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tempfile.mkdtemp", full)
    with pytest.raises(SubjectError, match=r"cannot be started: .*No space left"):
        puppet()


# -- the host is killed ----------------------------------------------------------------------------

ASKED = str(Path(subject.__file__).parent)  # the folder is the script
HOST = """
import sys, time
from rnn_check.subjects.ask import Subject
asked = Subject("jax", command=[sys.executable, {subject!r}])
print("started", flush=True)
time.sleep(600)
"""
STUCK = {
    "busy": "while True: pass",
    "stopped": "os.kill(os.getpid(), signal.SIGSTOP)",
    "in a call that never returns": "ctypes.PyDLL(None).sleep(600)",  # it holds the interpreter
    "gone": "os.kill(os.getpid(), signal.SIGKILL)",
}


@contextlib.contextmanager
def hosting(folder: Path, what: str, then: str) -> Iterator[tuple[Any, list[int]]]:
    """A host of the real script, whose import of Keras leaves something behind and is stuck.

    With the process ids of the subject and of what it left.
    """
    (folder / "jax.py").touch()
    left = folder / "left"
    (folder / "temporary").mkdir()
    (folder / "keras.py").write_text(
        f"import ctypes, os, signal, time\n{leaves(what, left)}\n"
        f"while not (os.path.exists({str(left)!r}) and open({str(left)!r}).read()):\n"
        "  time.sleep(0.01)\n"
        f"with open({str(folder / 'stuck')!r}, 'w') as file: file.write(str(os.getpid()) + '.')\n"
        f"{then}\n"
    )
    root = str(Path(__file__).parents[2])
    host = subprocess.Popen(
        [sys.executable, "-c", HOST.format(subject=ASKED)],
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(folder), root]),
            "TMPDIR": str(folder / "temporary"),
        },
        stdout=subprocess.PIPE,
    )
    try:
        yield host, told(folder, "stuck", "left")
        host.wait(60)
    finally:
        host.kill()
        host.communicate()


@thinned(10)
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("stuck", STUCK)
def test_a_subject_does_not_outlive_its_host(
    stuck: str, end: signal.Signals, tmp_path: Path
) -> None:
    with hosting(tmp_path, "a fork", STUCK[stuck]) as (host, pids):
        host.send_signal(end)
    assert host.returncode == -end
    wait_for(lambda: all(map(is_gone, pids)))
    if stuck != "gone":  # of which the host itself may have been clearing away
        wait_for(lambda: not os.listdir(tmp_path / "temporary"))


@thinned(3)
@pytest.mark.parametrize("what", [w for w in LEAVES if "nothing of us" not in w and w != "a fork"])
def test_nothing_that_a_subject_started_outlives_its_host(what: str, tmp_path: Path) -> None:
    with hosting(tmp_path, what, STUCK["stopped"]) as (host, pids):
        host.kill()
    wait_for(lambda: all(map(is_gone, pids)))


def test_no_guardian_is_left_when_a_subject_was_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "jax.py").touch()
    (tmp_path / "keras.py").write_text("import time; time.sleep(600)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with Subject("jax", command=[sys.executable, ASKED]) as asked:
        assert asked._process is not None
        folder = asked._process._folder

        def alive() -> list[int]:
            found = []
            for each in psutil.process_iter():
                try:
                    ours = each.environ().get("TMPDIR") == folder and not is_gone(each.pid)
                except psutil.Error:
                    continue
                found += [each.pid] if ours else []
            return found

        wait_for(lambda: len(alive()) == 2)  # it and its guardian
    wait_for(lambda: not alive())


# -- limits ----------------------------------------------------------------------------------------

TAKES = {
    "itself": "request['x'] = None; taken = bytearray(b'y') * (400 << 20); time.sleep(600)",
    "what it starts": (
        "import subprocess; subprocess.run([sys.executable, '-c',"
        " 'import time; taken = bytearray(b\"y\") * (400 << 20); time.sleep(600)'])"
    ),
    "what left its session": (
        "os.fork() or os.setsid(); taken = bytearray(b'y') * (150 << 20); time.sleep(600)"
    ),
}


@pytest.mark.thinned(3)
@pytest.mark.parametrize("who", TAKES)
def test_a_subject_that_takes_too_much_memory_is_ended(who: str) -> None:
    with puppet(memory=200 * MB) as asked:
        with pytest.raises(SubjectError) as raised:
            ask(asked, {"do": TAKES[who], "ask": ["output"]})
        assert "took more than the 200 MB of memory that it may (--memory)" in str(raised.value)
        assert "asked for output" in str(raised.value)
        assert ask(asked, {"x": 1}) == {"x": 1}


def test_what_forks_share_is_counted_once() -> None:
    forks = "for _ in range(3):\n  if os.fork() == 0: time.sleep(600)"
    do = f"taken = bytearray(b'y') * (150 << 20)\n{forks}"
    with puppet(memory=400 * MB) as asked:
        ask(asked, {"do": do})
        assert ask(asked, {"do": "time.sleep(0.5)", "x": 1}) == {"x": 1}  # several looks


@pytest.mark.parametrize(("then", "same"), [("", False), ("del kept", True)])
def test_who_keeps_half_of_the_memory_is_asked_nothing_more(then: str, same: bool) -> None:
    with puppet(memory=200 * MB) as asked:
        first = asked.hello["pid"]
        assert ask(asked, {"do": f"kept = bytearray(b'y') * (120 << 20)\n{then}", "x": 1}) == {
            "x": 1
        }
        assert ask(asked, {"x": 2}) == {"x": 2}
        assert (asked.hello["pid"] == first) is same


@pytest.mark.parametrize(("mapped", "same"), [(4, True), (6, True), (7, False)])
def test_who_has_half_of_the_mappings_that_were_free_is_asked_nothing_more(
    mapped: int, same: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """XLA's programs stay mapped: TensorFlow's process was ended by SIGSEGV at the 898th claim."""
    monkeypatch.setattr(wear, "PROC", tmp_path)
    (tmp_path / "sys" / "vm").mkdir(parents=True)
    (tmp_path / "sys" / "vm" / "max_map_count").write_text("10\n")

    def map_pieces(pid: int, count: int) -> None:
        (tmp_path / str(pid)).mkdir(exist_ok=True)
        lines = "00400000-00401000 r--p 00000000 fe:00 1 /bin/a\n" * count
        (tmp_path / str(pid) / "maps").write_text(lines)

    with puppet() as asked:
        assert asked._process is not None
        first = asked._process._popen.pid
        map_pieces(first, 2)
        assert asked.hello["pid"] == first
        map_pieces(first, mapped)
        assert ask(asked, {"x": 1}) == {"x": 1}
        assert ask(asked, {"x": 2}) == {"x": 2}
        assert (asked.hello["pid"] == first) is same


def test_who_starts_with_little_room_is_not_started_for_every_question() -> None:
    assert not wear.is_worn(at_first=0.6, now=0.7)
    assert wear.is_worn(at_first=0.6, now=0.9)
    assert not wear.is_worn(at_first=1.0, now=1.0)


def test_only_the_last_of_what_it_writes_is_kept() -> None:
    talk = "os.write(2, b'y' * 1_000_000)\n" * 50 + "os.write(2, b'\\nmy last words'); os._exit(3)"
    with puppet() as asked:
        listening = asked._process
        assert listening is not None
        with pytest.raises(SubjectError) as raised:
            ask(asked, {"do": talk})
    assert len(listening._said) <= process.LAST_BYTES
    assert raised.value.stderr.endswith("characters more)\nmy last words")
    assert len(raised.value.stderr) < 1000


def test_a_reply_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "REPLY", 10 * MB)
    with puppet() as asked:
        with pytest.raises(SubjectError, match="said more than 10 MB at once"):
            ask(asked, {"do": "while True: sys.stdout.write('y' * 100_000)"})
        assert ask(asked, {"x": 1}) == {"x": 1}


@pytest.mark.parametrize(
    ("text", "expected"),
    [("1", 1), ("2K", 2048), ("1.5m", 3 << 19), ("8G", 2**33), ("8GiB", 2**33), ("1 TB", 2**40)],
)  # fmt: skip
def test_an_amount_of_memory(text: str, expected: int) -> None:
    assert process.amount(text) == expected


def test_a_share_is_of_this_machine() -> None:
    total = process.machine_memory()
    assert 0 < total <= psutil.virtual_memory().total
    assert process.amount("50%") == total // 2
    assert process.amount("100%") == total


@pytest.mark.parametrize("text", ["", "0", "-1G", "8Q", "G", "101%", "nan", "1e9", "8G8", "9" * 99])
def test_what_is_no_amount_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"amount|100%|no memory"):
        process.amount(text)


def test_a_host_that_ends_at_once_ends_its_subjects(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "_living", set())  # and leave those of other tests alone
    with puppet() as asked:
        pid = asked.hello["pid"]
        process.kill_all()
        wait_for(lambda: is_gone(pid))
