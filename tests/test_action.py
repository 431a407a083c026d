"""Does the GitHub Action judge, write its summary, and keep one comment on a pull request?"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "tools" / "action.sh"
GH = """#!/usr/bin/env bash
printf '%s\\n' "$*" >> "$GH_LOG"
case "$*" in
    *--paginate*) printf '%s' "$GH_BEFORE" ;;
    *) cat > "$GH_LOG.body"; exit "${GH_CODE:-0}" ;;
esac
"""
RNN_CHECK = """#!/usr/bin/env bash
printf '%s\\n' "$@" > "$GH_LOG.arguments"
printf '%b' "$SAID"
exit "$CODE"
"""


def act(folder: Path, **environment: str) -> tuple[int, str, str]:
    """The exit code, the summary and what was printed of the action with these answers."""
    for name, text in (("gh", GH), ("rnn-check", RNN_CHECK)):
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    done = subprocess.run(
        ["bash", str(SCRIPT)],
        env={
            **os.environ,
            "PATH": f"{folder}:{os.environ['PATH']}",
            "GITHUB_STEP_SUMMARY": str(folder / "summary"),
            "GITHUB_REPOSITORY": "one/two",
            "GH_LOG": str(folder / "log"),
            "GH_BEFORE": "",
            "CLAIMS": "",
            "ARGUMENTS": "",
            "PULL_REQUEST": "",
            "SAID": "**Everything agrees.**\\n",
            "CODE": "0",
            **environment,
        },
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, (folder / "summary").read_text(), done.stdout + done.stderr


@pytest.mark.parametrize("code", [0, 1, 3])
def test_it_ends_as_rnn_check_ends(tmp_path: Path, code: int) -> None:
    given = "a folder/one.claim.toml\n\ntwo\n"
    assert act(tmp_path, CODE=str(code), CLAIMS=given, ARGUMENTS="--backend jax") == (
        code,
        "**Everything agrees.**\n",
        "",
    )
    asked = (tmp_path / "log.arguments").read_text().splitlines()
    assert asked == [
        *("verify", "--markdown", "--backend", "jax", "--"),
        *("a folder/one.claim.toml", "two"),
    ]
    assert not (tmp_path / "log").exists(), "commented without a pull request"


def test_it_comments_and_the_next_time_in_the_same_comment(tmp_path: Path) -> None:
    act(tmp_path, PULL_REQUEST="7")
    first, second = (tmp_path / "log").read_text().splitlines()
    assert "repos/one/two/issues/7/comments" in first and "--method POST" in second
    body = (tmp_path / "log.body").read_text()
    assert body == "<!-- rnn_check -->\n**Everything agrees.**\n"
    act(tmp_path, PULL_REQUEST="7", GH_BEFORE="123\n456\n")
    assert "--method PATCH repos/one/two/issues/comments/123 " in (tmp_path / "log").read_text()


def test_a_comment_too_long_for_github_ends_before_the_details(tmp_path: Path) -> None:
    said = "**Two differ.**\\n" + "<details open>\\n" + "é" * 65_000 + "\\n</details>\\n"
    code, summary, _ = act(tmp_path, PULL_REQUEST="7", CODE="1", SAID=said)
    assert code == 1 and len(summary) > 65_000
    assert (tmp_path / "log.body").read_text() == (
        "<!-- rnn_check -->\n**Two differ.**\n"
        "The rest is too long for a comment: see the summary of the run.\n"
    )


def test_bad_input_and_no_permission_are_said(tmp_path: Path) -> None:
    code, summary, printed = act(tmp_path, PULL_REQUEST="7", CODE="2", SAID="", GH_CODE="1")
    assert code == 2 and "could not judge (exit code 2)" in summary
    assert "::warning::rnn_check could not comment" in printed
