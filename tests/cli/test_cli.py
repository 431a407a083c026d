"""Does the command do what its help says, and refuse what it cannot do with one clear message?"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from rnn_check.claims import build, files
from rnn_check.claims.claim import Claim
from rnn_check.claims.files import bundled
from rnn_check.cli.commands import main
from rnn_check.cli.options import DTYPES_ARE
from tests.support import puppet
from tests.support.command import run
from tests.support.sampling import long, thinned

HAND_SET = bundled() / "article" / "hand_set_weights.toml"
FRAMEWORKS = {"keras", "tensorflow", "jax", "torch", "openvino"}


def command(*arguments: object) -> subprocess.CompletedProcess[str]:
    """The real command, in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "rnn_check", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["absent.toml"], "absent.toml: no such file or folder"),
        (["verify", "absent.toml"], "absent.toml: no such file or folder"),
        (["--backend", "tensorflaw"], "tensorflow"),
        (["--mode", "fast"], "--mode"),
        (["--timeout", "0"], "--timeout"),
        (["--layer", "absent.py:Layer"], "--layer: no such file: absent.py"),
        (["--layer", "Layer"], "--layer: expected FILE.py:CLASS"),
        ([str(HAND_SET), "-k", "no such claim"], "-k: no claim matches 'no such claim'"),
        (["--list", "--json"], "--json and --list do not go together"),
        (["-v", "-q"], "-v and -q do not go together"),
        (["-q", "--json"], "-q and --json do not go together"),
        (["-v", "--list"], "-v and --list do not go together"),
        (["judge", "a.npz", "-q", "--json"], "-q and --json do not go together"),
        (["--frobnicate"], "--frobnicate"),
        (["schema", "extra"], "extra"),
    ],
)
def test_wrong_usage_is_one_message_and_exit_2(arguments: list[str], message: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stdout == ""
    assert "Traceback" not in result.output


def test_one_bad_file_does_not_keep_the_others_from_being_read(tmp_path: Path) -> None:
    text = HAND_SET.read_text(encoding="utf-8")
    (tmp_path / "good.toml").write_text(text, encoding="utf-8")
    (tmp_path / "bad.toml").write_text(text.replace("units", "unitz"), encoding="utf-8")
    (tmp_path / "empty.toml").mkdir()
    result = run("--list", tmp_path)
    assert result.exit_code == 2
    assert "hand-set" in result.stdout.lower()
    one, other = result.stderr.splitlines()
    assert one.startswith("Error: ") and "bad.toml: layer.unitz: unknown key" in one
    assert "empty.toml: " in other
    (tmp_path / "good.toml").unlink()
    result = run("--list", tmp_path)
    assert (result.exit_code, result.stdout) == (2, "")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="a system without pipes that have names")
def test_a_pipe_or_a_device_among_the_claims_is_not_waited_for(tmp_path: Path) -> None:
    (tmp_path / "good.toml").write_bytes(HAND_SET.read_bytes())
    os.mkfifo(tmp_path / "pipe.toml")
    (tmp_path / "zero.toml").symlink_to("/dev/zero")
    (tmp_path / "large.toml").write_bytes(b"#" * (2**18 + 1))
    result = run("--list", tmp_path)
    assert result.exit_code == 2
    assert "hand-set" in result.stdout.lower()
    assert "pipe.toml: is not a regular file" in result.stderr
    assert "zero.toml: is a link that leads out of its folder" in result.stderr
    assert "large.toml: is larger than 262,144 bytes" in result.stderr


def test_a_fault_of_ours_costs_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("one", "two"):
        (tmp_path / f"{name}.toml").write_bytes(HAND_SET.read_bytes())
    whole = build.Builder.claim

    def faulty(self: build.Builder) -> Claim:
        return whole(self) if self.name == "two" else 1 / 0  # type: ignore[return-value]

    monkeypatch.setattr(build.Builder, "claim", faulty)
    claims, refused = files.load_what_loads([tmp_path])
    assert [each.name for each in claims] == ["two"]
    assert "a fault of rnn_check's own: ZeroDivisionError" in str(refused[0])
    with pytest.raises(ZeroDivisionError):
        files.read_each(tmp_path / "one.toml")


def test_a_bad_claim_is_refused_and_the_others_are_judged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    puppet.play(monkeypatch)
    good, bad = tmp_path / "a_good.toml", tmp_path / "b_bad.toml"
    bad.write_text(HAND_SET.read_text().replace("units", "unist"))
    result = run(tmp_path)
    assert (result.exit_code, result.stdout) == (2, "")  # nothing was left to run
    assert str(bad) in result.stderr
    assert "layer.unist" in result.stderr
    assert "did you mean `units`" in result.stderr
    good.write_text(puppet.CLAIM.format(name="good"))
    result = run(tmp_path)
    assert result.exit_code == 2
    assert "layer.unist" in result.stderr
    assert "a_good" in result.stdout
    assert "agree" in result.stdout


def test_the_help_of_an_option_is_no_essay() -> None:
    """Of each not more than three lines of a page, a list of what it may be aside; the documents
    have room for the rest."""
    for name, of in {"": main, **main.commands}.items():
        for option in of.params:
            text = getattr(option, "help", None) or ""
            assert len(text.replace(DTYPES_ARE, "")) < 240, (name, option.name)


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    result = run(tmp_path)
    assert result.exit_code == 2
    assert "holds no claim files" in result.stderr


@thinned(4)
@pytest.mark.parametrize("arguments", [["--help"], ["--list"], ["verify", "--help"], ["schema"]])
def test_asking_nobody_imports_no_framework(arguments: list[str]) -> None:
    code = (
        "import sys; from rnn_check.cli import main; main(sys.argv[1:], standalone_mode=False);"
        f"found = {FRAMEWORKS!r} & set(sys.modules); sys.exit(str(found) if found else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout


@pytest.mark.parametrize("command", [None, *main.commands])
def test_help_fits_a_terminal_of_80_columns(command: str | None) -> None:
    said = run(*([command] if command else []), "--help").stdout
    assert not [line for line in said.splitlines() if len(line) > 80]


def test_the_check_for_frameworks_can_fail() -> None:
    code = (
        f"import sys; sys.modules['keras'] = sys; sys.exit(bool({FRAMEWORKS!r} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 1


@thinned(2)
@pytest.mark.parametrize("options", [False, True])
def test_list_names_every_bundled_claim(options: bool) -> None:
    result = run("--list", *["--options"] * options)
    assert result.exit_code == 0
    for name, _ in files.find([bundled()]):
        assert (name in result.stdout) is (options or not name.startswith("options/"))


def test_schema_is_json() -> None:
    result = run("schema")
    assert result.exit_code == 0
    assert json.loads(result.stdout)["title"] == "rnn_check claim"


@long  # a framework is started: what it says by itself is what must not be seen
def test_json_is_one_document_with_the_agreed_keys() -> None:
    done = command(HAND_SET, "--json")
    assert done.returncode == 0, done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    assert document.keys() == {"schema", "subjects", "verdicts", "summary"}
    (subject,), (summary,) = document["subjects"], document["summary"]
    assert {"agree", "differ", "error", "not_run"} <= summary.keys()
    keys = {"claim", "file", "what", "verdict", "ratio", "source", "detail"}
    assert all(keys <= verdict.keys() for verdict in document["verdicts"])
    assert {v["claim"] for v in document["verdicts"]} == {"article/hand_set_weights"}
    assert summary["agree"] == len(document["verdicts"])
    assert {
        "keras",
        "backend",
        "backend_version",
        "python",
        "numpy",
        "device",
        "dtype",
    } <= subject.keys()
    assert done.stderr == ""  # none of the framework's chatter


def test_a_wrong_number_is_explained_and_exits_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    puppet.play(monkeypatch)
    wrong = tmp_path / "wrong.toml"
    wrong.write_text(puppet.CLAIM.format(name="wrong").replace("0.62533695", "0.65533695"))
    done = run(wrong, "-k", "output")
    assert done.exit_code == 1, done.stderr
    assert "the claim's own number does not hold" in done.stdout
    assert "output at sample 0, timestep 1, unit 1: claimed 0.65533695, that is" in done.stdout
    assert "true 0.625336915; 0.03 beyond where 7.7e-07 is allowed" in done.stdout
    assert f"rnn-check {wrong} -k wrong" in done.stdout
    assert "1 differ" in done.stdout.splitlines()[-1]


def test_a_backend_that_is_not_installed_is_exit_2() -> None:
    missing = next((b for b in ("openvino", "torch", "jax") if not _installed(b)), None)
    if missing is None:
        pytest.skip("every backend is installed here")
    done = command(HAND_SET, "--backend", missing)
    assert done.returncode == 2
    assert f"rnn_check[{missing}]" in done.stderr
    assert done.stdout == ""


def _installed(package: str) -> bool:
    from importlib.util import find_spec

    return find_spec(package) is not None


def test_nothing_compared_is_not_green(monkeypatch: pytest.MonkeyPatch) -> None:
    puppet.play(monkeypatch)
    done = run(bundled() / "article" / "training_2_3.toml", "-k", "trained_weights")
    assert done.exit_code == 3
    assert "nothing was compared" in done.stderr
