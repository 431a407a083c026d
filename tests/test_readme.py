"""Do the README and the documents say what is true?"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, get_args

import msgspec
import numpy as np
import pytest
import tomli_w
from click.testing import CliRunner

from rnn_check.claims import (
    beside,
    build,
    document,
    files,
    recipes,
    schema,
    tables,
    variants,
    written,
)
from rnn_check.claims.claim import Claim
from rnn_check.claims.expectations import configuration
from rnn_check.claims.expectations.expectation import KINDS
from rnn_check.claims.layers import AnyLayer, Cell
from rnn_check.cli import compare as upgrade
from rnn_check.cli.commands import main
from rnn_check.refusal import ClaimError
from rnn_check.subjects import environments as environment

ROOT = Path(__file__).parents[1]
DOCS = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for path in sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
}
README, WRITING = DOCS["README.md"], DOCS["docs/claims.md"]
COMMANDS = sorted(
    {
        (name, line.strip().partition("  ")[0].removeprefix("$ "))
        for name, text in DOCS.items()
        for line in text.splitlines()
        if line.startswith(("    rnn-check ", "rnn-check "))
    }
)


def fenced(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


# --- the README -----------------------------------------------------------------------------------


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) < 120


def test_the_set_up_is_two_commands_in_both_languages() -> None:
    for text in (README, DOCS["README.zh.md"]):
        commands = re.findall(r"^    (python -m pip install -e .*)$", text, re.MULTILINE)
        assert commands == [
            'python -m pip install -e ".[tensorflow]" && rnn-check',
            'python -m pip install -e ".[test]" && pytest',
        ]


def test_the_lines_of_python_run() -> None:
    (program,) = fenced(README, "python")
    names: dict[str, Any] = {}
    exec(program, names)
    assert names["result"].ok is True
    wrong = program.replace("54]", "55]")
    assert wrong != program
    with pytest.raises(AssertionError, match=r"at \(0, 2, 2\): got 55, expected 54"):
        exec(wrong, {})


def test_the_lines_of_python_about_gates_run() -> None:
    """The first: what needs a framework is in tests/keras."""
    exec(fenced(DOCS["docs/certify.md"], "python")[0], {})


def test_the_lines_of_python_about_a_recurrence_of_one_s_own_run() -> None:
    (program,) = (p for p in fenced(DOCS["docs/certify.md"], "python") if "UGRNN" in p)
    exec(program, {"__name__": "certify"})


# --- all documents --------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "command"), COMMANDS)
def test_every_command_and_option_shown_exists(name: str, command: str) -> None:
    words = re.sub(r"[|>].*", "", command.partition("#")[0]).split()[1:]
    named, group = [], main
    while words and words[0] in getattr(group, "commands", ()):
        group = group.commands[words[0]]  # type: ignore[assignment]
        named.append(words.pop(0))
    helps = CliRunner().invoke(main, [*(named or ["verify"]), "--help"]).stdout
    for word in words:
        if word.startswith("-"):
            assert re.search(rf"{re.escape(word)}\b", helps), f"{name}: {word}"


@pytest.mark.parametrize("name", DOCS)
def test_links_lead_somewhere(name: str) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", DOCS[name]):
        path, _, anchor = target.partition("#")
        if re.match(r"[a-z]+:", path):
            continue
        found = ROOT / name if not path else (ROOT / name).parent / path
        assert found.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", found.read_text(encoding="utf-8"), re.MULTILINE)
            slugs = {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}
            assert anchor in slugs, target


@pytest.mark.parametrize("name", [name for name in DOCS if name != "CHANGELOG.md"])
def test_modules_that_are_run_are_there(name: str) -> None:
    for module in re.findall(r"python -m ((?:tools|tests|rnn_check)[.\w]*)", DOCS[name]):
        path = ROOT / module.replace(".", "/")
        assert path.with_suffix(".py").is_file() or (path / "__main__.py").is_file(), module


def test_files_and_names_that_contributing_tells_are_there() -> None:
    told = re.findall(r"`([^`\n]+)`", DOCS["CONTRIBUTING.md"])
    sources = "".join(
        path.read_text(encoding="utf-8") for path in sorted(ROOT.glob("rnn_check/**/*.py"))
    )
    for word in told:
        if re.fullmatch(
            r"(?:rnn_check|tests|docs|fixtures|tools)/[\w./]*|[\w.]+\.(?:py|toml)", word
        ):
            assert (ROOT / word).exists(), word
        elif re.fullmatch(r"_?[A-Za-z_]+", word):
            assert re.search(rf"\b{word}\b", sources), word


def test_every_reproducer_of_a_deviation_is_told_in_the_findings() -> None:
    file = ROOT / "fixtures" / "known" / "deviations.toml"
    entries = tomllib.loads(file.read_text(encoding="utf-8"))
    for name in {entry["reproducer"] for entry in entries["deviation"]}:
        assert f"](../fixtures/known/{name})" in DOCS["docs/findings.md"], name


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
    # what is checked out there is the reader's own repository
    assert re.findall(r"pip install (.*)", text) == ['"rnn_check @ git+${RNN_CHECK}"']


def test_a_source_distribution_holds_what_its_own_tests_open() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    held = set(project["tool"]["hatch"]["build"]["targets"]["sdist"]["include"])
    opened = {path.name for path in ROOT.glob("*.md")}
    for file in [*ROOT.glob("tests/**/*.py"), *ROOT.glob("tools/*.py"), ROOT / "conftest.py"]:
        text = file.read_text(encoding="utf-8")
        opened |= set(re.findall(r'(?:\bROOT|\.parents\[\d\]) / "([\w.]+)"', text))
        opened |= set(re.findall(r"^from (tools|tests|rnn_check)\b", text, re.MULTILINE))
    # what hatchling puts there unasked
    assert {name for name in opened if (ROOT / name).exists()} - {"pyproject.toml"} <= held
    assert {"docs", "fixtures", "tests", "tools"} <= opened


# --- docs/claims.md -------------------------------------------------------------------------------

EXAMPLES = fenced(WRITING, "toml")


def completed(example: str) -> dict[str, Any]:
    """The file of which an example is a part, as docs/claims.md says it."""
    part, first = (tomllib.loads(text, parse_float=Decimal) for text in (example, EXAMPLES[0]))
    if "schema" in part:
        return part
    if "layers" in part or "kind" in part.get("layer", {}):
        first = {key: first[key] for key in ("schema", "title", "source")}
    return merged(first, part)


def merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """What stands in `above`, and in `below` where it says nothing, key by key."""
    both = {
        key: merged(below[key], value)
        if isinstance(value, dict) and isinstance(below.get(key), dict)
        else value
        for key, value in above.items()
    }
    return below | both


def load(document: dict[str, Any], folder: Path) -> list[Claim]:
    (folder / "written.weights.h5").write_bytes(b"\x89HDF\r\n\x1a\n")
    np.savez(folder / "arrays.npz", kernel=np.arange(6.0).reshape(2, 3))
    return files.loads_each(tomli_w.dumps(document), folder / "claim.toml")


def test_the_first_example_is_the_articles() -> None:
    shown = files.loads(EXAMPLES[0])
    bundled = files.load(files.bundled() / "article" / "hand_set_weights.toml")
    for c in (shown, bundled):
        assert c.x is not None
        assert c.expectations[0].value.value.tolist() == [[[7, 3, 12], [13, 27, 16], [48, 45, 54]]]


@pytest.mark.parametrize("example", EXAMPLES, ids=range(1, len(EXAMPLES) + 1))
def test_every_example_loads_and_asks_for_what_can_be_judged(example: str, tmp_path: Path) -> None:
    for each in load(completed(example), tmp_path):
        for said, e in zip(completed(example)["expect"], each.expectations, strict=True):
            assert e.not_run == said.get("not_run", "")


def test_every_kind_and_every_key_of_the_format_has_an_example() -> None:
    documents = [completed(example) for example in EXAMPLES]
    values = list(nodes(documents))
    keys = {key for node in values if isinstance(node, dict) for key in node}
    assert KINDS.keys() == {e["what"] for d in documents for e in d["expect"]}
    for kind, (needed, optional, _) in recipes.RECIPES.items():
        assert {kind, *needed, *optional} <= keys
    assert fields(msgspec.inspect.type_info(schema.document())) <= keys
    words = {node for node in values if isinstance(node, str)}
    for kind in (tables.ComputedIn, written.Reading, written.Integers):
        assert set(get_args(kind)) <= words | set(re.findall(r"`\"?(\w+)\"?`", WRITING))
    assert {layer.__name__ for layer in get_args(AnyLayer) + get_args(Cell)} <= words


def nodes(part: Any) -> Iterator[Any]:
    yield part
    inside = part.values() if isinstance(part, dict) else part if isinstance(part, list) else ()
    for each in inside:
        yield from nodes(each)


def fields(kind: msgspec.inspect.Type) -> set[str]:
    """The keys of every table of the schema."""
    found: set[str] = set()
    if isinstance(kind, msgspec.inspect.Metadata):
        return fields(kind.type)
    if isinstance(kind, msgspec.inspect.UnionType):
        return found.union(*map(fields, kind.types))
    if isinstance(kind, msgspec.inspect.ListType):
        return fields(kind.item_type)
    if isinstance(kind, msgspec.inspect.StructType):
        found |= {field.encode_name for field in kind.fields}
        return found.union(*(fields(field.type) for field in kind.fields))
    return found


ROWS = {
    what: of.strip()
    for what, of in re.findall(
        r"^\| `(\w+)` \|(.*?)\|", WRITING[WRITING.index("| `what`") :], re.MULTILINE
    )
}


def test_the_table_names_every_kind() -> None:
    assert KINDS.keys() == ROWS.keys() - {"what"}


@pytest.mark.parametrize("what", KINDS)
def test_the_table_names_every_of_a_kind(what: str, tmp_path: Path) -> None:
    """As the loader's own complaint lists them; names of layers and options are told in words."""
    document = completed(
        """
        expect = [{what = "WHAT", of = "?", value = true, from = "this test"}]
        layers = [{kind = "SimpleRNN", name = "rnn", units = 3}, {kind = "Dense", units = 1}]
        """.replace("WHAT", what)
    )
    with pytest.raises(ClaimError) as refused:
        load(document, tmp_path)
    assert refused.value.key == "expect[0].of"
    if "takes no `of`" in refused.value.problem:
        assert not ROWS[what]
        return
    known = set(refused.value.problem.rpartition("known: ")[2].split(", "))
    optimizers = {
        f"{name}.{option}" for name, each in configuration.OPTIMIZERS.items() for option in each
    }
    if what == "default":
        assert optimizers <= known
        for name in optimizers:
            assert f"`{name.partition('.')[2]}`" in WRITING
        assert "option" in ROWS[what]
    elif what == "config":
        assert "option" in ROWS[what]
    elif what == "gate":
        assert "letter" in ROWS[what]
    elif known <= {"rnn", "dense"}:
        assert "layer's name" in ROWS[what]
    elif what in (
        "reproducible", "gradient", "weight_shape", "initial_weights", "trained_weights",
    ):  # fmt: skip
        assert "weight" in ROWS[what]
    else:
        assert known == set(re.findall(r"`([\w. ]+)`", ROWS[what]))


def test_the_limits_are_those_of_the_loader() -> None:
    limits = {
        n.replace(",", "") for n in re.findall(r"\|[^|]*?([\d,]+) \|$", WRITING, re.MULTILINE)
    }
    told = {
        str(value)
        for module in (beside, build, document, variants, written)
        for name, value in vars(module).items()
        if name.startswith("MOST_")
    }
    assert told - {str(beside.MOST_DIRECTORY), str(tables.MOST_SIZE)} <= limits
