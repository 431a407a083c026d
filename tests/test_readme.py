"""Does the README say what is true?"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from rnn_check import claim, environment, upgrade
from rnn_check.cli import main

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
COMMANDS = [
    line.strip().partition("#")[0].split()
    for line in README.splitlines()
    if line.startswith("    rnn-check ")
]


def test_the_claim_shown_is_the_articles() -> None:
    (text,) = re.findall(r"```toml\n(.*?)```", README, re.DOTALL)
    shown = claim.loads(text)
    bundled = claim.load(claim.bundled() / "article" / "hand_set_weights.toml")
    for c in (shown, bundled):
        assert c.x is not None
        assert c.expectations[0].value.value.tolist() == [[[7, 3, 12], [13, 27, 16], [48, 45, 54]]]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_option_shown_exists(command: list[str]) -> None:
    named = [word for word in command[1:2] if word in main.commands] or ["verify"]
    helps = CliRunner().invoke(main, [*named, "--help"]).stdout
    for word in command:
        if word.startswith("-"):
            assert word in helps


def test_the_modules_are_those_of_the_package() -> None:
    listed = set(re.findall(r"`(\w+\.py)`", README[README.index("## Layout") :]))
    there = {path.name for path in (ROOT / "rnn_check").glob("*.py")} - {
        "__init__.py",
        "__main__.py",
    }
    assert listed == there


def test_the_set_up_is_two_commands() -> None:
    commands = re.findall(r"^    (python -m pip install -e .*)$", README, re.MULTILINE)
    assert commands == [
        'python -m pip install -e ".[tensorflow]" && rnn-check',
        'python -m pip install -e ".[test]" && pytest',
    ]


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert (ROOT / target).exists(), target


def test_the_workflow_asks_what_the_command_understands() -> None:
    text = (ROOT / "docs" / "upgrade-check.yml").read_text(encoding="utf-8")
    (run,) = re.findall(r"rnn-check (compare (?:.|\n)*?)\n\s+>>", text)
    words = run.split()
    with upgrade.compare.make_context("compare", words[1:]) as context:
        given = context.params
    assert given["subjects"][0] == "tensorflow==2.20.0"
    for word in given["subjects"]:
        environment.parse(word)
    assert given["html"].name in text[text.index("upload-artifact") :]
