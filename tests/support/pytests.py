"""pytest inside a test, with the plugin and a puppet for every backend."""

from __future__ import annotations

import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from rnn_check import plugin
from tests.support import puppet

# where it is installed with its entry point, pytest loads the plugin by itself
_LOADED = bool(entry_points(group="pytest11", name="rnn_check"))
_LOAD = [] if _LOADED else ["-p", "rnn_check.plugin"]
_OTHERS = ["-p", "no:hypothesispytest", "-p", "no:benchmark", "-p", "no:cacheprovider"]

# for a conftest.py, as processes of xdist and of their own need the puppet too
PUPPET = """
import json, os, sys
import pytest
sys.path.insert(0, {root!r})
from tests.support import puppet
puppet.play(pytest.MonkeyPatch(), **json.loads(os.environ.get("PUPPET", "{{}}")))
"""


class Pytests:
    """A folder of claims, in which pytest is run."""

    def __init__(self, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
        self.pytester, self.monkeypatch = pytester, monkeypatch
        self.folder = pytester.path
        monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
        puppet.play(monkeypatch)

    def play(self, *, causes: bool = False, **fates: dict[str, str]) -> None:
        puppet.play(self.monkeypatch, causes=causes, **fates)

    def claim(self, name: str, *replaced: tuple[str, str], suffix: str = ".claim.toml") -> Path:
        """A claim on a layer of that name, which agrees but for what is replaced in its text."""
        text = puppet.CLAIM.format(name=name)
        for old, new in replaced:
            assert old in text
            text = text.replace(old, new)
        file = self.folder / f"{name}{suffix}"
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
        return file

    def test(self, text: str) -> None:
        self.pytester.makepyfile(text)

    def run(self, *arguments: object, cache: bool = False) -> pytest.RunResult:
        """In this process."""
        others = [*_OTHERS[: -2 if cache else None], "-p", "no:xdist"]
        # rnn_check was imported before this pytest could look at its asserts
        others += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]
        plugins = [] if _LOADED else [plugin]
        return self.pytester.runpytest_inprocess(*others, *map(str, arguments), plugins=plugins)

    def run_apart(self, *arguments: object) -> pytest.RunResult:
        """In a process of its own, and in those that it starts."""
        root = str(Path(__file__).parents[2])
        (self.folder / "conftest.py").write_text(PUPPET.format(root=root))
        return self.pytester.runpytest_subprocess(*_LOAD, *_OTHERS, *map(str, arguments))

    def run_alone(self, *arguments: object, environment: str = "") -> pytest.RunResult:
        """With this plugin, no other, and no puppet. environment: a folder to import from first."""
        root = str(Path(__file__).parents[2])
        self.monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
        self.monkeypatch.setenv("PYTHONPATH", ":".join(filter(None, [environment, root])))
        return self.pytester.run(sys.executable, "-m", "pytest", *map(str, arguments))


RIGHT, WRONG = "0.62533695", "0.65533695"
OFF = (RIGHT, WRONG)  # what makes a claim's own number wrong
