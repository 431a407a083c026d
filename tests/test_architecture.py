"""Do imports go one way: from a folder to those above it, and between modules in no circle?"""

from __future__ import annotations

import ast
import functools
import graphlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import rnn_check
from tests.support.lazily import Lazily
from tests.support.workers import SPREAD, TOGETHER, group

ROOT = Path(rnn_check.__file__).parent
TESTS = Path(__file__).parent
# a folder imports only those that stand before it
ORDER = (
    "refusal", "numbers", "recurrences", "certificates", "subjects", "claims", "asking",
    "verdicts", "models", "upgrades", "sweep", "reports", "cli", "plugin",
)  # fmt: skip
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(ROOT.rglob("*.py"))
    if path.parent != ROOT or path.stem in ORDER
}


@functools.cache
def parsed(text: str) -> ast.Module:
    return ast.parse(text)


@functools.cache
def imported(module: str, text: str) -> tuple[str, ...]:
    return tuple(_imported(module, text))


def _imported(module: str, text: str) -> Iterator[str]:
    """What of rnn_check a module imports, functions' own imports included: "numbers.formats"."""
    is_package = module in MODULES and MODULES[module].stem == "__init__"
    above = [*module.split("."), "__init__"] if is_package else module.split(".")
    for node in ast.walk(parsed(text)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.startswith("rnn_check."):
                    yield alias.name.removeprefix("rnn_check.")
        elif isinstance(node, ast.ImportFrom):
            inside = node.module or ""
            if node.level:
                inside = ".".join([*above[: -node.level], *filter(None, [inside])])
            elif inside.partition(".")[0] == "rnn_check":
                inside = inside.removeprefix("rnn_check").removeprefix(".")
            else:
                continue
            for alias in node.names:
                name = f"{inside}.{alias.name}".removeprefix(".")
                yield name if name in MODULES else inside


def folder(module: str) -> str:
    return module.partition(".")[0]


def against_the_order(module: str, text: str) -> list[str]:
    own = ORDER.index(folder(module))
    return [name for name in imported(module, text) if ORDER.index(folder(name)) > own]


def test_a_module_imports_only_from_its_own_folder_and_those_above() -> None:
    found = {m: against_the_order(m, p.read_text(encoding="utf-8")) for m, p in MODULES.items()}
    assert {module: wrong for module, wrong in found.items() if wrong} == {}


def test_an_import_the_other_way_is_seen() -> None:
    for text in (
        "from rnn_check.claims.claim import Claim",
        "def f():\n    from rnn_check.verdicts import judge",
        "import rnn_check.cli.commands",
    ):
        assert against_the_order("numbers.formats", text)


def test_relative_imports_are_followed() -> None:
    module = "subjects.asked.torch_"
    for text, name in (
        ("from .wire import encode", "subjects.asked.wire"),
        ("from . import wire", "subjects.asked.wire"),
        ("from ..plan import step", "subjects.plan"),
        ("from ...claims import claim", "claims.claim"),
    ):
        assert imported(module, text) == (name,), text
    assert against_the_order(module, "from ...claims import claim")
    assert imported("subjects.asked", "from .wire import encode") == ("subjects.asked.wire",)


def test_what_is_asked_imports_nothing_of_the_host() -> None:
    """It runs as a script where rnn_check is not installed."""
    for module, path in MODULES.items():
        if module.startswith("subjects.asked"):
            found = set(imported(module, path.read_text(encoding="utf-8")))
            assert all(name.startswith("subjects.asked.") for name in found), module


def test_no_modules_import_each_other() -> None:
    graph = {m: {n for n in imported(m, p.read_text(encoding="utf-8")) if n != m}
             for m, p in MODULES.items()}  # fmt: skip
    list(graphlib.TopologicalSorter(graph).static_order())  # CycleError names the circle


def test_every_folder_is_in_the_order() -> None:
    there = {path.name for path in ROOT.iterdir() if path.is_dir() and any(path.glob("*.py"))}
    assert there | {"refusal"} == set(ORDER)


def test_every_module_says_what_it_is_about() -> None:
    for module, path in MODULES.items():
        assert ast.get_docstring(parsed(path.read_text(encoding="utf-8"))), module


def test_every_name_that_the_package_offers_is_there() -> None:
    for name in rnn_check.__all__:
        assert getattr(rnn_check, name).__name__ == name
    with pytest.raises(AttributeError, match="'certifies'"):
        getattr(rnn_check, "certifies")  # noqa: B009


FRAMEWORKS = {
    "keras",
    "tensorflow",
    "jax",
    "torch",
    "openvino",
    "onnx",
    "onnxruntime",
    "flax",
    "equinox",
}
# what the subject imports, and support/planted.py reads
PLANTED = {
    "eagerly", "faults", "input_faults", "penalty_faults", "reporting_faults", "saving_faults",
    "scaling_faults", "stateful_faults", "training_faults", "updating_faults", "weighing_faults",
    "accumulating_faults", "activity_faults", "bidirectional_penalty_faults", "unbegun_faults",
    "constructor_faults", "direction_faults",
}  # fmt: skip


def imported_at_once(text: str) -> set[str]:
    """The packages and names that a module imports when it is imported; its functions' are not."""
    found, todo = set(), [*parsed(text).body]
    while todo:
        node = todo.pop()
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {(node.module or "").partition(".")[0], *(a.name for a in node.names)}
        if not isinstance(node, ast.FunctionDef | ast.Lambda):
            todo += ast.iter_child_nodes(node)
    return found


def test_to_collect_tests_imports_no_framework() -> None:
    """Four seconds in each of the processes that run them."""
    files = [*TESTS.rglob("*.py"), *(TESTS.parent / "tools").glob("*.py"), *MODULES.values()]
    for file in files:
        text = file.read_text(encoding="utf-8")
        assert file.stem in PLANTED or not imported_at_once(text) & (FRAMEWORKS | PLANTED), file
    assert imported_at_once("try:\n    import jax.numpy\nexcept ImportError: pass") == {"jax"}
    assert not imported_at_once("def f():\n    import keras")


def test_who_looks_at_what_is_imported_lazily_does_not_import_it() -> None:
    """As pytest does, of whatever stands in a module that it collects."""
    framework = Lazily("no_such_framework")
    assert not hasattr(framework, "_mock_name") and not hasattr(framework, "__wrapped__")
    with pytest.raises(ModuleNotFoundError):
        _ = framework.layers


def test_who_asks_the_common_subject_is_of_one_worker() -> None:
    for file in TESTS.rglob("test_*.py"):
        name = file.relative_to(TESTS.parent).as_posix()
        nodeid = f"{name}::test"
        if re.search(r"\bdef test_\w+\([^)]*\bsubject: ", file.read_text(encoding="utf-8")):
            assert group(nodeid, everything=True) == name
        in_keras = file.is_relative_to(TESTS / "keras")
        assert (group(nodeid, everything=False) == "framework") == in_keras
    for name in (*SPREAD, *TOGETHER):
        assert (TESTS.parent / name).is_file()


def test_tests_stand_in_folders_of_the_same_names() -> None:
    """But for what tests Keras, and what tests share; what stands above the folders is of all."""
    folders = {path.parent.name for path in TESTS.glob("*/**/*.py")}
    assert folders <= {*ORDER, "keras", "support"}
    assert not list(TESTS.glob("support/test_*.py"))
