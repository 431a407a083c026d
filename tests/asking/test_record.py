"""Is a record what was said, bit for bit, and is one that is not whole refused?"""

from __future__ import annotations

import io
import json
import os
import re
import struct
import subprocess
import sys
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rnn_check.asking import memory as asking_memory
from rnn_check.asking import observations, request
from rnn_check.asking import records as record
from rnn_check.asking.observations import Observations
from rnn_check.asking.records import RecordError
from rnn_check.asking.request import Answer, Setting
from rnn_check.claims import files
from rnn_check.subjects import ask as observe
from rnn_check.subjects import policy
from rnn_check.subjects.identity import known, not_started
from tests.subjects.test_observe import DTYPES, FRAMEWORKS, SPECIAL
from tests.support import bundled, puppet
from tests.support.command import run
from tests.support.sampling import sampled
from tools import fuzz_records

BOTH = ("--backend", "tensorflow", "--backend", "jax")


IDENTITY: dict[str, Any] = {
    **{"keras": "3.15.1", "backend": "jax", "backend_version": "0.10.2", "python": "3.11.7"},
    **{"numpy": "2.4.6", "device": "CPU", "dtype": "float32", "cpu": "A CPU", "threads": 2},
    **{"settings": {"XLA_FLAGS": "--fast"}, "packages": {"jax": "0.10.2"}, "modes": ["eager"]},
}


def answer(**said: Any) -> Answer:
    return Answer(observe.decode(said), said=said)


def write(path: Path, **answers: Answer) -> Path:
    digests = {name: observations.Digests("a", "b") for name in answers}
    record.write(
        path, [Observations(Setting("xla", slow=True), known(IDENTITY), dict(answers), digests)]
    )
    return path


# -- bit for bit -----------------------------------------------------------------------------------


def test_every_reply_comes_back_as_it_was_said(tmp_path: Path) -> None:
    with np.errstate(over="ignore"):
        arrays = {dtype: observe.encode(np.array(SPECIAL).astype(dtype)) for dtype in FLOATS}
    arrays |= {dtype: observe.encode(np.zeros((2, 0, 3), dtype)) for dtype in DTYPES}
    arrays["scalar"] = observe.encode(np.float32(-0.0))
    bits = observe.encode(np.arange(1 << 16, dtype=np.uint16))
    arrays["bfloat16"] = {**bits, "dtype": "bfloat16"}
    said = {**arrays, "nested": {"list": [arrays["scalar"], 1, None], "text": "é\n"}, "nan": np.nan}
    whole = answer(**said)
    answers = {"a/b": whole, "c": Answer(error="no\nTrace"), "d": Answer(skip="slow")}
    answers["e"] = Answer({})
    path = write(tmp_path / "record", **answers)
    (read,) = record.read(path).subjects
    assert read.setting == Setting("xla", slow=True)
    assert read.identity == known(IDENTITY)
    assert repr(read.answers["a/b"].said) == repr(whole.said)
    for name in arrays:
        got, expected = (each.observed[name] for each in (read.answers["a/b"], whole))  # type: ignore[index]
        assert got.dtype == expected.dtype
        assert got.tobytes() == expected.tobytes()
    for name in "cde":
        assert read.answers[name] == answers[name]


@pytest.mark.parametrize("dtype", policy.NAMES)
def test_a_record_of_every_policy_is_read(dtype: str, tmp_path: Path) -> None:
    record.write(tmp_path / "a.npz", [Observations(Setting(dtype=dtype), known(IDENTITY))])
    (read,) = record.read(tmp_path / "a.npz").subjects
    assert read.setting.dtype == dtype


FLOATS = ("float16", "float32", "float64")


def test_the_arrays_are_numpys_and_named(tmp_path: Path) -> None:
    path = write(tmp_path / "record.npz", **{"a/b": answer(output=observe.encode(np.arange(3.0)))})
    with np.load(path, allow_pickle=False) as archive:
        assert archive["0/a/b/output"].tolist() == [0, 1, 2]
        assert json.loads(archive["document"].tobytes())["schema"] == 1


# -- what is not whole -----------------------------------------------------------------------------


def saved(**arrays: Any) -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    return file.getvalue()


def edited(path: Path, old: bytes, new: bytes) -> bytes:
    """The record with its document changed and everything else as it was."""
    with np.load(path) as archive:
        arrays = dict(archive)
    text = arrays["document"].tobytes().replace(old, new)
    return saved(**{**arrays, "document": np.frombuffer(text, np.uint8)})


def other_bits(path: Path) -> bytes:
    with np.load(path) as archive:
        arrays = dict(archive)
    arrays["0/a/output"][1] = np.nextafter(arrays["0/a/output"][1], 2)
    return saved(**arrays)


SPOILT = {
    "cut short": (lambda path: path.read_bytes()[:-100], "cut short"),
    "cut in half": (lambda path: path.read_bytes()[: path.stat().st_size // 2], "cut short"),
    "empty": (lambda path: b"", "not a record"),
    "text": (lambda path: b"schema = 1\n", "not a record"),
    "one bit": (
        lambda path: bytes([*(b := bytearray(path.read_bytes()))[:400], b[400] ^ 1, *b[401:]]),
        "edited",
    ),
    "another archive": (lambda path: saved(x=np.zeros(3)), "not a record"),
    "edited text": (lambda path: edited(path, b"jax", b"JAX"), "its digest differs"),
    "edited number": (other_bits, "its digest differs"),
    "pickled": (lambda path: saved(x=np.array([{}], object)), "cut short or edited"),
}


@pytest.mark.parametrize("how", SPOILT)
def test_what_is_no_whole_record_is_refused(how: str, tmp_path: Path) -> None:
    path = write(tmp_path / "record.npz", a=answer(output=observe.encode(np.arange(300.0))))
    record.read(path)
    spoil, words = SPOILT[how]
    path.write_bytes(spoil(path))
    with pytest.raises(RecordError, match=words):
        record.read(path)
    result = run("judge", path)
    assert result.exit_code == 2
    assert str(path) in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert result.stdout == ""


def test_what_is_no_regular_file_is_refused_at_once(tmp_path: Path) -> None:
    """A FIFO is not waited for, and a device has no end."""
    os.mkfifo(tmp_path / "fifo.npz")
    (tmp_path / "zero.npz").symlink_to("/dev/zero")
    (tmp_path / "loop.npz").symlink_to("loop.npz")
    for name, words in (
        ("fifo", "no regular file"), ("zero", "no regular file"), ("loop", "cannot be read"),
        ("absent", "No such file"), ("x" * 300, "File name too long"),
    ):  # fmt: skip
        with pytest.raises(RecordError, match=words):
            record.read(tmp_path / f"{name}.npz")
    with pytest.raises(RecordError, match="cannot be read: Is a directory"):
        record.read(tmp_path)


def zipped(members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


def npy(header: str, content: bytes = b"") -> bytes:
    text = header.encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + content


HEADER = "{'descr': '%s', 'fortran_order': False, 'shape': (%s), }\n"
BOMBS: dict[str, Callable[[], bytes]] = {
    "much of nothing": lambda: zipped(
        {f"{i}.npy": npy(HEADER % ("|u1", f"{1 << 24},"), bytes(1 << 24)) for i in range(17)}
    ),
    "a shape of much": lambda: zipped({"x.npy": npy(HEADER % ("<f8", "9" * 12 + ","))}),
    "a shape of more": lambda: zipped({"x.npy": npy(HEADER % ("<f8", "9" * 30 + ","))}),
    "digits without end": lambda: zipped({"x.npy": npy(HEADER % ("<f8", "1" * 900 + "x"))}),
    "a negative shape": lambda: zipped({"x.npy": npy(HEADER % ("<f8", "-1,"))}),
    "objects": lambda: zipped({"x.npy": npy(HEADER % ("|O", "1,"), b"x" * 8)}),
    "deep": lambda: zipped({"x.npy": npy("(" * 9000)}),
    "no array": lambda: zipped({"x.npy": b""}),
    "another compression": lambda: zipped(
        {"x.npy": npy(HEADER % ("<f8", ""), bytes(8))}, zipfile.ZIP_LZMA
    ),
    "a long document": lambda: zipped({"document.npy": bytes(record.LARGEST_DOCUMENT + 1)}),
}


@pytest.mark.thinned(4)
@pytest.mark.parametrize("bomb", sampled(BOMBS, 3))
def test_what_would_take_all_memory_is_refused_before_it_does(bomb: str, tmp_path: Path) -> None:
    path = tmp_path / "record.npz"
    path.write_bytes(BOMBS[bomb]())
    tracemalloc.start()  # a process's own peak would begin with that of the one that started it
    try:
        with pytest.raises(RecordError) as raised:
            record.read(path)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 1 << 24
    assert str(raised.value).startswith(str(path))
    assert len(str(raised.value)) < 500 + len(str(path))


def document_of(path: Path) -> dict[str, Any]:
    with np.load(path) as archive:
        found: dict[str, Any] = json.loads(archive["document"].tobytes())
    return found


def rewritten(path: Path, text: bytes) -> None:
    """With another document, and the digest that belongs to it."""
    with np.load(path) as archive:
        arrays = dict(archive)
    arrays["document"] = np.frombuffer(text, np.uint8)
    arrays["digest"] = np.frombuffer(record._digest(arrays), np.uint8)
    path.write_bytes(saved(**arrays))


IDENTITIES: dict[str, Any] = {
    "nothing": {},
    **{f"no {key}": {k: v for k, v in IDENTITY.items() if k != key} for key in
       ("backend", "python", "numpy", "device", "dtype", "backend_version")},
    "no settings": {**IDENTITY, "settings": None},
    "packages": {**IDENTITY, "packages": "x"},
    "a number": {**IDENTITY, "keras": 3.15},
    "a list": [],
}  # fmt: skip


@pytest.mark.parametrize("what", IDENTITIES)
def test_an_identity_that_is_none_is_refused(what: str, tmp_path: Path) -> None:
    path = write(tmp_path / "record.npz", a=Answer({}))
    document = document_of(path)
    document["subjects"][0]["identity"] = IDENTITIES[what]
    rewritten(path, json.dumps(document).encode())
    with pytest.raises(RecordError, match=r"not a record of .*(identity|missing|Expected)"):
        record.read(path)
    assert run("judge", path).exit_code == 2


def test_what_else_an_identity_says_is_nobodys_business(tmp_path: Path) -> None:
    path = write(tmp_path / "record.npz", a=Answer({}))
    document = document_of(path)
    document["subjects"][0]["identity"]["later"] = {"of": ["another", "version"]}
    rewritten(path, json.dumps(document).encode())
    assert record.read(path).subjects[0].identity == known(IDENTITY)


@pytest.mark.parametrize(
    "text",
    [
        b'{"schema":' + b"[" * 100_000,
        b'{"schema": 1, "rnn_check": "\\ud800"}',
        b'{"schema": true}',
        b'{"schema": ' + b"9" * 5000 + b"}",
        b"[]",
        b"7",
        b"\xff",
        b"",
    ],
    ids=range(8),
)
def test_a_document_that_is_none_is_refused(text: bytes, tmp_path: Path) -> None:
    path = write(tmp_path / "record.npz", a=Answer({}))
    rewritten(path, text)
    with pytest.raises(RecordError) as raised:
        record.read(path)
    assert len(str(raised.value)) < 500


@pytest.mark.parametrize(("key", "value"), [("mode", "fast"), ("dtype", None), ("slow", 1)])
def test_a_setting_that_there_is_not_is_refused(key: str, value: Any, tmp_path: Path) -> None:
    path = write(tmp_path / "record.npz", a=Answer({}))
    document = document_of(path)
    document["subjects"][0]["setting"][key] = value
    rewritten(path, json.dumps(document).encode())
    with pytest.raises(RecordError, match=f"setting.{key}"):
        record.read(path)


@pytest.mark.parametrize("cases", sampled([60, 300], 2))
def test_whatever_is_wrong_with_a_record_is_one_error(
    cases: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command does 50,000 of them."""
    found = fuzz_records.run(cases, 0, files.bundled() / "article")
    assert found.keys() == {"refused", "used"}, capsys.readouterr().out


def test_the_fuzzer_sees_another_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record, "RecordError", type("RecordError", (Exception,), {}))
    found = fuzz_records.run(20, 0, files.bundled() / "article")
    assert found["RecordError"]


@pytest.mark.parametrize("how", [*SPOILT, "encrypted", "a folder"])
def test_a_remembered_answer_that_is_damaged_is_asked_again(how: str, tmp_path: Path) -> None:
    memory = asking_memory.Memory(tmp_path)
    (one,) = record.read(write(tmp_path / "x", a=Answer({}))).subjects
    said = asking_memory.Recalled(Setting("xla"), known(IDENTITY), one.answers, {"a": "question"})
    memory.keep("environment", "jax", said)
    assert memory.recall("environment", "jax", Setting("xla")).asked == {"a": "question"}
    path = memory._path("environment", "jax", Setting("xla"))
    if how == "encrypted":
        data = bytearray(path.read_bytes())
        data[data.index(b"PK\x01\x02") + 8] |= 1
        path.write_bytes(data)
    elif how == "a folder":
        path.unlink()
        path.mkdir()
    elif how not in ("one bit", "edited text", "edited number"):
        spoil, _ = SPOILT[how]
        path.write_bytes(spoil(path))
    else:
        path.write_bytes(path.read_bytes()[::-1])
    assert memory.recall("environment", "jax", Setting("xla")).answers == {}


def test_what_is_asked_of_several_environments_is_planned_once_in_each_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[object] = []

    def planned(e: Any) -> Any:
        made.append(e["mode"])
        return plan(e)

    plan = asking_memory.plans.planned
    monkeypatch.setattr(asking_memory.plans, "planned", planned)
    memory = asking_memory.Memory(tmp_path)
    (claim,) = bundled.load_all([puppet.claims(tmp_path / "claims", "a")])
    for environment in ("one", "other"):
        for setting in (Setting("eager"), Setting("xla")):
            said = memory.recall(environment, "jax", setting)
            said.keep(claim, Answer({}))
            assert said.answer(claim) == Answer({})
    assert made == ["eager", "xla"]


def test_a_later_schema_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record, "SCHEMA", 2)
    path = write(tmp_path / "record.npz", a=Answer({}))
    monkeypatch.undo()
    with pytest.raises(RecordError, match="reads schema 1, the record says 2"):
        record.read(path)


def test_a_record_is_written_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "record.npz", a=Answer({}))
    before = path.read_bytes()

    def full(file: Any, **_: Any) -> None:
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez_compressed", full)
    with pytest.raises(RecordError, match="cannot be written: No space left on device"):
        write(path, a=Answer({}))
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["record.npz"]


def test_nothing_is_overwritten_unless_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    puppet.play(monkeypatch)
    folder = puppet.claims(tmp_path / "claims", "a")
    path = tmp_path / "record.npz"
    path.write_text("precious")
    result = run("observe", folder, "-o", path)
    assert result.exit_code == 2
    assert "--force" in result.stderr
    assert path.read_text() == "precious"
    assert run("observe", folder, "-o", path, "--force").exit_code == 0
    assert zipfile.is_zipfile(path)
    result = run("observe", folder, "-o", tmp_path / "absent" / "record.npz")
    assert result.exit_code == 2


# -- where it cannot be written --------------------------------------------------------------------


def test_an_output_that_cannot_be_written_is_known_before_anybody_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PUPPET_ASKED", str(tmp_path / "asked"))
    puppet.play(monkeypatch)
    folder = puppet.claims(tmp_path / "claims", "a")
    os.mkfifo(tmp_path / "fifo.npz")
    for output, words in (
        (Path("/proc/record.npz"), "/proc/record.npz: cannot be written: "),
        (tmp_path / ("x" * 300), "cannot be written: File name too long"),
        (tmp_path / "fifo.npz", "is no regular file"),
        (Path("/dev/null"), "is no regular file"),
    ):
        result = run("observe", folder, "--backend", "jax", "-o", output, "--force")
        assert result.exit_code == 2
        assert words in result.stderr
        assert "Traceback" not in result.output
    assert not (tmp_path / "asked").exists()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["claims", "fifo.npz"]


def test_what_was_said_is_not_lost_to_a_disk_that_is_full_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    puppet.play(monkeypatch)
    folder, path = puppet.claims(tmp_path / "claims", "a"), tmp_path / "full" / "record.npz"
    path.parent.mkdir()
    save = np.savez_compressed

    def full(file: Any, **arrays: Any) -> None:
        if str(path.parent) in file.name:
            raise OSError(28, "No space left on device")
        save(file, **arrays)

    monkeypatch.setattr(np, "savez_compressed", full)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    result = run("observe", folder, "--backend", "jax", "-o", path)
    assert result.exit_code == 2
    (refuge,) = re.findall(
        r"cannot be written: No space left on device; it stands in (\S+)", result.stderr
    )
    assert run("judge", refuge, folder).exit_code == 0
    assert not list(path.parent.iterdir())


def test_a_link_to_a_record_stays_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    puppet.play(monkeypatch)
    folder, link = puppet.claims(tmp_path / "claims", "a"), tmp_path / "link.npz"
    link.symlink_to(tmp_path / "record.npz")
    (tmp_path / "record.npz").write_text("old")
    assert run("observe", folder, "--backend", "jax", "-o", link, "--force").exit_code == 0
    assert link.is_symlink()
    assert zipfile.is_zipfile(tmp_path / "record.npz")


def test_a_table_is_not_overwritten_unless_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, folder = recorded(tmp_path, monkeypatch)
    table = tmp_path / "table.md"
    table.write_text("precious")
    result = run("coverage", path, folder, "-o", table)
    assert result.exit_code == 2
    assert "--force" in result.stderr
    assert table.read_text() == "precious"
    assert run("coverage", path, folder, "-o", table, "--force").exit_code == 0
    assert table.read_text().startswith("# What is covered")


# -- judged elsewhere ------------------------------------------------------------------------------


def test_a_record_is_judged_as_its_subjects_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fates = {"a": "wrong", "b": "raise", "c": "unsupported"}
    puppet.play(monkeypatch, jax=fates)
    folder = puppet.claims(tmp_path / "claims", *"abcd")
    path = tmp_path / "record.npz"
    at_once = run("verify", folder, *BOTH, "--json")
    assert run("observe", folder, *BOTH, "-o", path).exit_code == 3
    judged = run("judge", path, folder, "--json")
    assert at_once.exit_code == judged.exit_code == 1
    documents = [json.loads(done.stdout) for done in (at_once, judged)]
    for document in documents:
        for subject in document["subjects"]:
            del subject["platform"]  # where puppets say which process they are
    assert documents[0] == documents[1]
    assert {row["verdict"] for row in documents[0]["verdicts"]} == {
        *("agree", "differ", "error", "not_run")
    }


def test_one_subjects_record_has_one_subjects_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    puppet.play(monkeypatch)
    folder, path = puppet.claims(tmp_path / "claims", "a"), tmp_path / "record.npz"
    run("observe", folder, "--backend", "jax", "-o", path)
    document = json.loads(run("judge", path, folder, "--json").stdout)
    assert [s["backend"] for s in document["subjects"]] == ["jax"]
    assert run("judge", path, folder).stdout.startswith("keras 3.15.1 · jax 1.2.3 · eager")


def test_judging_a_record_imports_and_starts_no_framework(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    puppet.play(monkeypatch)
    folder, path = puppet.claims(tmp_path / "claims", "a"), tmp_path / "record.npz"
    run("observe", folder, "--backend", "jax", "-o", path)
    code = (
        "import subprocess, sys; subprocess.Popen = None\n"
        "from rnn_check.cli import main\n"
        "try: main(sys.argv[1:])\n"
        f"finally: print({FRAMEWORKS!r} & sys.modules.keys() if 0 else "
        f"sorted(set({FRAMEWORKS!r}) & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "judge", str(path), str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.strip() == "[]"
    assert "2 agree" in done.stdout


def recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *options: str) -> tuple[Path, Path]:
    puppet.play(monkeypatch)
    folder, path = puppet.claims(tmp_path / "claims", "a", "b"), tmp_path / "record.npz"
    assert run("observe", folder, "--backend", "jax", "-o", path, *options).exit_code == 0
    return path, folder


def rows(*arguments: object) -> dict[tuple[str, str], dict[str, Any]]:
    document = json.loads(run("judge", *arguments, "--json").stdout)
    return {(row["claim"], row["what"]): row for row in document["verdicts"]}


def test_a_claim_that_asks_something_else_is_not_judged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, folder = recorded(tmp_path, monkeypatch)
    file = folder / "a.toml"
    file.write_text(file.read_text().replace("[[[1], [-2]", "[[[1], [-3]"))
    found = rows(path, folder)
    assert found["a", "output"]["verdict"] == "not_run"
    assert "asks something else now" in found["a", "output"]["detail"]
    assert found["b", "output"]["verdict"] == "agree"


def test_a_claim_that_expects_something_else_is_judged_by_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, folder = recorded(tmp_path, monkeypatch)
    file = folder / "a.toml"
    file.write_text(file.read_text().replace("0.5370496", "0.5370796"))
    assert rows(path, folder)["a", "output"]["verdict"] == "differ"


def test_what_is_not_in_the_record_is_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, folder = recorded(tmp_path, monkeypatch, "-k", "weights_read_back")
    puppet.claims(folder, "c")
    found = rows(path, folder)
    assert found["a", "weights_read_back"]["verdict"] == "agree"
    assert found["a", "output"]["verdict"] == "not_run"
    assert "not observed: output" in found["a", "output"]["detail"]
    assert found["c", "output"]["detail"] == observations.NOT_RECORDED


def test_what_only_the_record_knows_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, folder = recorded(tmp_path, monkeypatch)
    (folder / "b.toml").unlink()
    assert "also holds b, which no claim given" in run("judge", path, folder).stderr
    assert run("judge", folder).exit_code == 2


def test_two_claims_of_one_name_cannot_be_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    puppet.play(monkeypatch)
    one, other = (puppet.claims(tmp_path / name, "a") for name in ("one", "other"))
    result = run("observe", one, other, "--backend", "jax", "-o", tmp_path / "record.npz")
    assert result.exit_code == 2
    assert "is called like one of" in result.stderr
    assert not (tmp_path / "record.npz").exists()


def test_the_digest_is_of_what_the_claim_points_to_as_well(tmp_path: Path) -> None:
    source = files.bundled() / "published"
    for name in ("dlai_cell.toml", "dlai_cell.npz"):
        (tmp_path / name).write_bytes((source / name).read_bytes())
    first = observations.digests([files.load(tmp_path / "dlai_cell.toml")])["dlai_cell"]
    with np.load(tmp_path / "dlai_cell.npz") as archive:
        arrays = {name: archive[name] + 1 for name in archive.files}
    np.savez(tmp_path / "dlai_cell.npz", **arrays)
    (tmp_path / "dlai_cell.toml").touch()
    second = observations.digests([files.load(tmp_path / "dlai_cell.toml")])["dlai_cell"]
    assert first.file != second.file
    assert first.question != second.question


@pytest.mark.parametrize("name", ["/dev/zero", "../secret.npz", "link.npz", "pipe"])
def test_a_digest_reads_what_the_claim_was_read_from_and_nothing_else(
    name: str, tmp_path: Path
) -> None:
    """A key may be called npz where nobody reads an array."""
    (tmp_path / "secret.npz").write_bytes(b"before")
    folder = tmp_path / "claims"
    folder.mkdir()
    (folder / "link.npz").symlink_to("../secret.npz")
    os.mkfifo(folder / "pipe")
    (folder / "a.toml").write_text(f'[wrong]\nlayer = {{ npz = "{name}" }}\n')
    first = observations._file_digest(folder / "a.toml")
    (tmp_path / "secret.npz").write_bytes(b"after")
    observations._digest_of.cache_clear()
    assert first == observations._file_digest(folder / "a.toml") != ""


def test_an_output_in_another_dtype_than_the_policys_is_said() -> None:
    said = {"output": observe.encode(np.zeros(1, np.float32))}
    for dtype, words in (("float32", ""), ("float64", "float32"), ("mixed_float16", "float32")):
        one = Observations(Setting(dtype=dtype), not_started("torch"), {"a": Answer({}, said=said)})
        assert one.subject.output_dtype == words


def test_every_bundled_claim_can_be_recorded() -> None:
    claims = list(bundled.everywhere())
    digests = observations.digests(claims)
    assert len(digests) == len(claims)
    assert all(len(d.file) == len(d.question) == 64 for d in digests.values())
    assert all(
        request.unasked(c, Setting(slow=True)) is None or not request.asks(c) for c in claims
    )
