"""Which subject do the tests ask?  `pytest --backend jax`; default: what Keras would take."""

from __future__ import annotations

import gc
import os
import platform
import signal
from collections import Counter
from collections.abc import Generator, Iterator
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadScopeScheduling

from rnn_check.reports import subject as reports_subject
from rnn_check.subjects import ask as observe
from tests.support.workers import group

pytest_plugins = ["pytester"]
BACKENDS = ("tensorflow", "jax", "torch", "openvino", "numpy")
_observed: list[str] = []
for end in (signal.SIGINT, signal.SIGHUP):  # ignored below `nohup`, and below `&` in a script
    if signal.getsignal(end) is signal.SIG_IGN:
        signal.signal(end, signal.default_int_handler if end == signal.SIGINT else signal.SIG_DFL)
for profile, examples in (("quick", 60), ("all", 300)):
    settings.register_profile(
        profile, deadline=None, max_examples=examples, suppress_health_check=[HealthCheck.too_slow]
    )


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


class Grouped(LoadScopeScheduling):
    """Gives a worker one test after the other, but for those of a group."""

    def _split_scope(self, nodeid: str) -> str:
        return group(nodeid, self.config.getoption("--all"))

    def mark_test_complete(self, node: Any, item_index: int, duration: float = 0) -> None:
        """And forgets what is done, through all of which it would look after each test."""
        super().mark_test_complete(node, item_index, duration)
        given = self.assigned_work[node]
        for scope in [scope for scope, tests in given.items() if all(tests.values())]:
            del given[scope]


@pytest.hookimpl(optionalhook=True)  # with -p no:xdist there is none
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    return Grouped(config, log)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Nothing of what is collected is garbage: it is looked through neither now nor later."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.set_threshold(100_000, 20, 100)  # a twentieth of the time went into looking
        gc.enable()


@pytest.hookimpl(tryfirst=True)  # before -m chooses
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    seen: Counter[str] = Counter()  # of each thinned test, how many of its cases
    for item in items:
        if thinned := item.get_closest_marker("thinned"):
            test = item.nodeid.partition("[")[0]
            if seen[test] % thinned.args[0]:
                item.add_marker("long")
            seen[test] += 1
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
    settings.load_profile("all" if config.getoption("--all") else "quick")
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
