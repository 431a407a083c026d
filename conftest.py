"""Which subject do the tests ask?  `pytest --backend jax`; default: what Keras would take."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

from rnn_check.reports import subject as reports_subject
from rnn_check.subjects import ask as observe

BACKENDS = ("tensorflow", "jax", "torch", "openvino", "numpy")
KERAS = Path(__file__).parent / "tests" / "keras"
_observed: list[str] = []


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--backend", choices=BACKENDS, help="the Keras backend that the tests ask")
    parser.addoption(
        "--all",
        action="store_true",
        help="also the long tests: every backend, every random layer, every fault of every claim",
    )
    parser.addoption(
        "--upgrades",
        action="store_true",
        help="also make environments of old releases, and ask them",
    )


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:  # one process that answers, and one worker that imports a framework
        if "subject" in getattr(item, "fixturenames", ()) or item.path.is_relative_to(KERAS):
            item.add_marker(pytest.mark.xdist_group("framework"))
    if not config.getoption("--all"):
        left_out = [item for item in items if item.get_closest_marker("long")]
        if left_out:
            config.hook.pytest_deselected(items=left_out)
            items[:] = [item for item in items if not item.get_closest_marker("long")]
    if not config.getoption("--upgrades"):
        skip = pytest.mark.skip(reason="makes environments of old releases; --upgrades does it")
        for item in items:
            if item.get_closest_marker("upgrades"):
                item.add_marker(skip)


def pytest_configure(config: pytest.Config) -> None:
    backend = config.getoption("--backend")
    if backend:
        os.environ["KERAS_BACKEND"] = backend  # Keras reads it once, when it is first imported
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.pop("COLUMNS", None)  # the width of a report is the test's to choose


def pytest_report_header(config: pytest.Config) -> list[str]:
    backend = observe.default_backend()
    parts = [f"{name} {_version(name)}" for name in ("keras", backend)]
    parts += [f"Python {platform.python_version()}", f"NumPy {_version('numpy')}"]
    asked = "all" if config.getoption("--all") else "all but the long ones, which --all adds"
    return ["subject: " + " · ".join(parts), f"tests: {asked}"]


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


@pytest.fixture(scope="session")
def subject(request: pytest.FixtureRequest) -> Iterator[observe.Subject]:
    """One framework process for the whole session: its import is paid once."""
    with observe.Subject(request.config.getoption("--backend"), timeout=300) as process:
        _observed.append(reports_subject.header(process.identity.asked()))
        yield process


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for line in _observed:
        terminalreporter.write_line(f"subject, as observed: {line}")
