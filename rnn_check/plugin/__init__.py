"""How does pytest judge claims?

This module is loaded wherever rnn_check and pytest are installed, so it imports neither NumPy nor
the rest of rnn_check, and says nothing in a project that has no claims. What judges is imported
with the first claim file that is collected, or the first fixture that is asked for; a framework is
imported in a process of its own, when the first claim is run.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from rnn_check.certificates.result import Certificate
    from rnn_check.plugin.session import Subject

SUFFIX = ".claim.toml"
FOLDERS = "rnn_check_claims"


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("rnn_check", "claims on recurrent layers (rnn_check)")
    for word, metavar, text in (
        ("backend", "BACKEND", "the Keras backend to ask, or `all` (default: what Keras takes)"),
        ("mode", "MODE", "eager, function or xla (default: eager)"),
        ("dtype", "POLICY", "the dtype policy of every layer (default: float32)"),
    ):
        group.addoption(
            f"--rnn-check-{word}",
            action="append",
            default=[],
            metavar=metavar,
            help=f"{text}; may be repeated",
        )
    group.addoption(
        "--rnn-check-slow", action="store_true", help="judge the slow claims as well (minutes)"
    )
    group.addoption(
        "--rnn-check-known",
        metavar="FILE",
        help="take the known deviations from FILE, not those that come with rnn_check",
    )
    parser.addini(
        FOLDERS,
        f"folders in which every .toml is a claim file (elsewhere: those named *{SUFFIX})",
        type="paths",
        default=[],
    )


def pytest_configure(config: pytest.Config) -> None:
    """Whatever is wrong with an option or a folder is said before anything is collected."""
    for folder in config.getini(FOLDERS):
        if not folder.is_dir():
            raise pytest.UsageError(f"{FOLDERS}: no such folder: {folder}")
    asked = ("backend", "mode", "dtype", "slow", "known")
    if any(config.getoption(f"rnn_check_{word}") for word in asked):
        from rnn_check.plugin.session import of

        of(config)


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    if file_path.suffix != ".toml":
        return None
    folders: list[Path] = parent.config.getini(FOLDERS)
    if not file_path.name.endswith(SUFFIX) and not any(map(file_path.is_relative_to, folders)):
        return None
    from rnn_check.plugin.items import collected

    return collected(file_path, parent)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that asks for `keras_subject` is asked of every subject that is."""
    if "keras_subject" in metafunc.fixturenames:
        from rnn_check.plugin.session import of

        subjects = of(metafunc.config).subjects
        if len(subjects) > 1:
            names = [subject.name for subject in subjects]
            metafunc.parametrize(
                "keras_subject", subjects, indirect=True, ids=names, scope="session"
            )


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Who was asked: on the reports, as with xdist nobody is asked in this process."""
    asked: dict[str, None] = {}
    for reports in terminalreporter.stats.values():
        for report in reports:
            properties = dict(getattr(report, "user_properties", ()))
            if "verdict" in properties and "subject" in properties:
                asked[properties["subject"]] = None
    for subject in asked:
        terminalreporter.write_line(f"rnn_check asked {subject}")


def pytest_unconfigure(config: pytest.Config) -> None:
    import sys

    if (session := sys.modules.get("rnn_check.plugin.session")) is not None:
        session.close(config)


@pytest.fixture(scope="session")
def certify() -> Callable[..., Certificate]:
    """`rnn_check.certify`, which fails the test with its explanation if nothing is proved."""
    from rnn_check.plugin.asserting import certify

    return certify


@pytest.fixture(scope="session")
def certify_gradients() -> Callable[..., dict[str, Certificate]]:
    """`rnn_check.certify_gradients`, which fails the test likewise."""
    from rnn_check.plugin.asserting import certify_gradients

    return certify_gradients


@pytest.fixture(scope="session")
def keras_subject(request: pytest.FixtureRequest) -> Subject:
    """The Keras that --rnn-check-backend, -mode and -dtype choose, kept warm: asked for claims."""
    from rnn_check.plugin.session import of

    subject: Subject = getattr(request, "param", None) or of(request.config).subjects[0]
    return subject
