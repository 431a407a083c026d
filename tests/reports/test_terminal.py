"""Does nothing but text reach the terminal, and is a terminal of any kind good enough?"""

from __future__ import annotations

import io
import json
import os
import pty
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.table import Table

from rnn_check.claims import files
from rnn_check.reports import documents, terminal, verdicts
from rnn_check.verdicts import judge
from tests.reports.test_report import SUBJECT, verdict
from tests.support import puppet
from tests.support.command import run
from tests.support.sampling import sampled, thinned

LIST = ["--list", str(files.bundled() / "article")]
HOSTILE = {
    "clears the screen": "\x1b[2J",
    "sets the title": "\x1b]0;pwned\x07",
    "links": "\x1b]8;;http://evil\x1b\\",
    "one byte": "\x9b31m",
    "goes back": "\r\b\x7f",
    "is turned around": "\u202egnorw\u2066",
    "is not seen": "\u200b\ufeff\u2060",
    "half a character": "\udcff",
}


def command(*arguments: object, env: Mapping[str, str] | None = None, **how: Any) -> Any:
    return subprocess.run(
        [sys.executable, "-m", "rnn_check", *map(str, arguments)],
        env={**os.environ, **(env or {})},
        stderr=subprocess.PIPE,
        check=False,
        **how,
    )


# -- what is no text -------------------------------------------------------------------------------


@pytest.mark.parametrize("what", HOSTILE)
def test_what_is_no_text_is_quoted(what: str) -> None:
    shown = terminal.plain(f"a{HOSTILE[what]}b")
    assert shown.isprintable()
    assert shown.startswith("a\\")
    assert terminal.plain(shown) == shown


def test_text_stays_as_it_is() -> None:
    for text in ("边写代码边学习之RNN", "x·W\n\tδ = é ✓ 😀", "\\x1b", ""):
        assert terminal.plain(text) == text
    assert terminal.line("a\nb\tc") == "a\\nb c"


@given(st.text())
def test_a_json_document_says_the_same_when_it_is_quoted(text: str) -> None:
    document = documents.as_document({text: [text]})
    assert terminal.plain(document) == document
    assert json.loads(document) == {text: [text]}


def test_a_name_that_is_no_unicode_can_be_told_in_json() -> None:
    assert json.loads(documents.as_document({"file": "a\udcff"})) == {"file": "a\\udcff"}


def hostile_verdict(text: str) -> Any:
    return verdict("differ", claim=f"c{text}", what=f"w{text}", word=text, document=text,
                   detail=text + "\nmore", file=text)  # fmt: skip


@pytest.mark.parametrize("what", HOSTILE)
def test_a_report_is_text_whatever_a_claim_and_a_record_say(what: str) -> None:
    text = HOSTILE[what]
    subject = msgspec.structs.replace(SUBJECT, device=text, cpu=text, settings={text: text})
    rows = [hostile_verdict(text), verdict("not_run", claim=text, detail=text)]
    out = io.StringIO()
    console = terminal.console(out)
    judged = judge.Judged(subject, rows, ["judge", text])
    for amount in verdicts.Amount:
        verdicts.terminal([judged], console, {f"c{text}": text}, amount)
        verdicts.terminal([judged] * 2, console, {f"c{text}": text}, amount)
    shown = out.getvalue()
    assert terminal.plain(shown) == shown
    assert terminal.plain(text) in shown


def test_the_console_quotes_what_nobody_else_has() -> None:
    from rich.text import Text

    out = io.StringIO()
    terminal.console(out).print(Text("a\x1b[2Jb", style="bold"))
    assert out.getvalue() == "a\\x1b[2Jb\n"


def test_a_label_of_two_lines_is_one_row() -> None:
    out = io.StringIO()
    judged = judge.Judged(SUBJECT, [verdict("agree", what="a\nb")])
    verdicts.terminal([judged], terminal.console(out), amount=verdicts.Amount.ALL)
    assert "a\\nb" in out.getvalue()


def test_a_hostile_file_is_refused_in_text(tmp_path: Path) -> None:
    file = tmp_path / "a\x1b[2J.toml"
    file.write_text('"\\u001b[31mkey" = 1')
    for arguments in ([file], ["--list", file], [f"{file}.absent"], ["judge", f"{file}.npz"]):
        result = run(*arguments)
        assert result.exit_code == 2
        assert "\\x1b" in result.stderr
        assert "\x1b" not in result.output


def test_a_long_explanation_is_cut() -> None:
    out = io.StringIO()
    judged = judge.Judged(SUBJECT, [verdict("error", detail="E" * 10**6)])
    verdicts.terminal([judged], terminal.console(out))
    assert "characters more)" in out.getvalue()
    assert len(out.getvalue()) < 20_000


# -- any terminal ----------------------------------------------------------------------------------


@thinned(8)
@pytest.mark.parametrize("encoding", sampled(["cp1252", "ascii", "utf-8", "latin-1", "cp437"], 2))
def test_any_encoding_will_do(encoding: str) -> None:
    done = command(*LIST, env={"PYTHONIOENCODING": encoding}, stdout=subprocess.PIPE)
    assert done.returncode == 0, done.stderr
    shown = done.stdout.decode(encoding)
    assert "边写代码" in shown or "\\u8fb9\\u5199" in shown.replace("\n", "")


def test_a_file_name_that_is_no_unicode_is_no_error(tmp_path: Path) -> None:
    folder = puppet.claims(tmp_path / "claims", "a")
    os.rename(folder / "a.toml", os.fsencode(folder) + b"/\xff.toml")
    for words in (["--list", folder], [folder, "--json", "--backend", "no"]):
        done = command(*words, stdout=subprocess.PIPE)
        assert b"Traceback" not in done.stderr
    assert b"\\udcff" in command("--list", folder, stdout=subprocess.PIPE).stdout


def test_a_full_disk_is_said() -> None:
    with open("/dev/full", "w") as full:
        done = command(*LIST, stdout=full)
    assert done.returncode == 2
    assert done.stderr == b"rnn-check: stdout cannot be written to: No space left on device\n"


@thinned(4)
@pytest.mark.parametrize("arguments", [LIST, ["schema"], ["--help"], ["verify", "--help"]])
def test_a_reader_that_has_gone_is_not_a_difference(arguments: list[str]) -> None:
    here, there = os.pipe()
    os.close(here)
    with os.fdopen(there, "w") as gone:
        done = command(*arguments, stdout=gone)
    assert (done.returncode, done.stderr) == (141, b"")


def test_an_output_that_was_closed_before_is_no_error() -> None:
    done = command(*LIST, preexec_fn=lambda: os.close(1))
    assert (done.returncode, done.stderr) == (0, b"")


def test_another_os_error_is_not_taken_for_it() -> None:
    with pytest.raises(FileNotFoundError), terminal.writing():
        open("/no_such_file")  # noqa: SIM115


def test_a_terminal_shows_what_is_going_on(tmp_path: Path) -> None:
    script = (
        "import sys\nfrom pytest import MonkeyPatch\nfrom rnn_check.cli import main\n"
        "from tests.support import puppet\nwith MonkeyPatch.context() as patch:\n"
        "    puppet.play(patch, processes=True)\n    main(sys.argv[1:])\n"
    )
    folder = puppet.claims(tmp_path / "claims", "a")
    ours, theirs = pty.openpty()
    done = subprocess.run(
        [sys.executable, "-c", script, str(folder), "--backend", "jax"],
        stdout=subprocess.DEVNULL, stderr=theirs, check=False, cwd=Path(__file__).parents[2],
        env={**os.environ, "TERM": "xterm", "COLUMNS": "100"},
    )  # fmt: skip
    os.close(theirs)
    seen = os.read(ours, 1 << 16).decode()
    os.close(ours)
    assert done.returncode == 0
    assert "jax eager" in seen
    assert "importing" in seen


# -- words -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "meant"), [("verfy", "verify"), ("obserev", "observe"), ("compar", "compare")]
)
def test_a_command_that_is_misspelt_is_suggested(word: str, meant: str) -> None:
    result = run(word)
    assert result.exit_code == 2
    assert f"did you mean `rnn-check {meant}`?" in result.stderr


def test_a_folder_that_is_called_nearly_like_a_command_is_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    puppet.claims(tmp_path / "verfy", "a")
    assert run("verfy", "--list").exit_code == 0


def test_in_a_file_no_line_ends_in_the_blanks_that_fill_up_a_table() -> None:
    out, table = io.StringIO(), Table(box=None)
    for name in ("a", "b"):
        table.add_column(name, width=20)
    table.add_row("x", "y")
    terminal.console(out).print(table)
    assert [line.split() for line in out.getvalue().splitlines()] == [["a", "b"], ["x", "y"]]
    assert all(line == line.rstrip() for line in out.getvalue().splitlines())
