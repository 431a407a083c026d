"""Do the claim files hold what their sources say, and can their own numbers be derived again?"""

from __future__ import annotations

import ast
import importlib.util
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from copy import deepcopy
from decimal import Decimal
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from rnn_check.claims import files
from tests.support import bundled
from tests.support.sampling import thinned

FIXTURES = Path(__file__).parents[2] / "fixtures"
FILES = dict(files.find([FIXTURES]))
DERIVED = {name: file for name, file in FILES.items() if name.startswith("derived/")}
FAULTS = {
    "recurrent kernel transposed",
    "bias dropped",
    "time reversed",
    "activation wrong",
    "units permuted",
    "one weight off by 1e-5",
    "gradient cut between timesteps",
    "cotangent ignored",
}


def document(file: Path) -> dict[str, Any]:
    return tomllib.loads(file.read_text(encoding="utf-8"), parse_float=Decimal)


def script(file: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[file.stem] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


# -- every file ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FILES)
def test_loads(name: str) -> None:
    assert all(each.expectations for each in bundled.in_file(FILES[name]))


@pytest.mark.parametrize(
    ("folder", "faults"),
    [
        (
            "derived",
            FAULTS
            | {"hard_sigmoid of Keras 2"}
            # of gates, what no certified claim shows
            | {"go_backwards ignored", "returned states in the other order"},
        ),
        # the article prints no gradients: its own numbers cannot show a wrong one
        ("article", FAULTS - {"gradient cut between timesteps", "cotangent ignored"}),
    ],
)
def test_every_fault_is_caught_by_a_claim(folder: str, faults: set[str]) -> None:
    named = [document(f).get("catches", []) for n, f in FILES.items() if n.startswith(folder)]
    assert set().union(*named) == faults


# -- every number of the article -------------------------------------------------------------------
# Section, where a claim file holds it, and the digits as the article prints them.

BATCH = "[[1,2],[2,3],[3,4]], [[5,6],[6,7],[7,8]], [[9,10],[10,11],[11,12]]"

ARTICLE = [
    ("2.1", "simple_rnn.units", "3"),
    ("2.1", "dense.units", "1"),
    ("2.1", "input.shape", "(3, 2)"),
    ("2.1", "output_shape of simple_rnn", "(None, 3)"),
    ("2.1", "parameters of simple_rnn", "18"),
    ("2.1", "output_shape of dense", "(None, 1)"),
    ("2.1", "parameters of dense", "4"),
    ("2.1", "parameters", "22"),
    ("2.1", "trainable", "22"),
    ("2.1", "non_trainable", "0"),
    ("2.2", "simple_rnn.units", "3"),
    ("2.2", "input.x", BATCH),
    (
        "2.2",
        "printed.recurrent_kernel",
        """[[ 0.06973135  0.40464386  0.9118119 ]
            [ 0.6186313  -0.7345941   0.27868783]
            [ 0.7825809   0.5446422  -0.3015495 ]]""",
    ),
    (
        "2.2",
        "printed.kernel",
        """[[-0.48868906  0.52718353 -0.08321357]
            [-1.0569452  -0.9872779   0.72809434]]""",
    ),
    ("2.2", "printed.bias", "[0. 0. 0.]"),
    ("2.2", "weights.kernel", "[[1, 0, 2], [2, 1, 3]]"),
    ("2.2", "weights.recurrent_kernel", "[[1, 2, 1], [1, 0, 1], [0, 1, 0]]"),
    ("2.2", "weights.bias", "[0, 0, 1]"),
    ("2.2", "input.x", "[[[1, 3], [1, 1], [2, 3]]]"),
    ("2.2", "input_shape", "(1, 3, 2)"),
    ("2.2", "output", "[[[ 7.  3. 12.] [13. 27. 16.] [48. 45. 54.]]]"),
    ("2.2", "output_shape", "(1, 3, 3)"),
    ("2.2", "output_dtype", "float32"),
    ("2.3", "input.x", BATCH),
    ("2.3", "input_shape", "(3, 3, 2)"),
    ("2.3", "loss.target", "[[10],[20],[30]]"),
    ("2.3", "simpleRNN.units", "4"),
    ("2.3", "output.units", "1"),
    ("2.3", "input.shape", "(3, 2)"),
    ("2.3", "training.learning_rate", "0.01"),
    ("2.3", "training.epochs", "2000"),
    ("2.3", "output_shape of simpleRNN", "(None, 4)"),
    ("2.3", "parameters of simpleRNN", "28"),
    ("2.3", "output_shape of output", "(None, 1)"),
    ("2.3", "parameters of output", "5"),
    ("2.3", "parameters", "33"),
    ("2.3", "trainable", "33"),
    ("2.3", "non_trainable", "0"),
    (
        "2.3",
        "printed.kernel",
        """[[-0.00466371,  0.53100157,  0.5298798 ,  0.05514288],
            [-0.08896947,  0.43185067,  0.7861788 , -0.80616236]]""",
    ),
    (
        "2.3",
        "printed.recurrent_kernel",
        """[[-0.10712242, -0.03620092, -0.02182053, -0.9933471 ],
            [-0.6549012 , -0.02620655,  0.7532524 ,  0.05503315],
            [-0.01986913,  0.9989996 ,  0.02001702, -0.03470401],
            [-0.74781984,  0.00159313, -0.657065  ,  0.09502006]]""",
    ),
    ("2.3", "printed.bias", "[0., 0., 0., 0.]"),
    ("2.3", "loss at epoch 1999", "0.0071"),
    ("2.3", "loss at epoch 2000", "0.0070"),
    ("2.3", "loss_of_predictions", "0.0070"),
    ("2.3", "weight_shape of kernel", "(2, 4)"),
    ("2.3", "weight_shape of recurrent_kernel", "(4, 4)"),
    ("2.3", "weight_shape of bias", "(4,)"),
    (
        "2.3",
        "weights.simpleRNN.kernel",
        """[[ 0.27645147  0.6025058   1.6083356  -0.38382724]
            [ 0.11586202  0.32901326  1.4760928  -1.2268958 ]]""",
    ),
    (
        "2.3",
        "weights.simpleRNN.recurrent_kernel",
        """[[-0.99628973 -2.444563    1.7412992  -1.5265529 ]
            [ 0.80340594  0.9488743   2.44552    -0.7439341 ]
            [-0.1827681  -1.3091801   1.547736   -0.6644555 ]
            [-0.5724374   2.3090494  -2.1779017   0.35992467]]""",
    ),
    (
        "2.3",
        "weights.simpleRNN.bias",
        "[-0.40184066 -1.2391611   0.33460653 -0.29144585]",
    ),
    ("2.3", "printed.predictions", "[10.000422 19.999924 29.85534 ]"),
]


def digits(written: Any) -> str:
    """Numbers as printed, brackets and blanks aside: 0.0070 stays 0.0070, NumPy's `7.` is 7."""
    if isinstance(written, list):
        return " ".join(map(digits, written))
    text = str(written)
    if re.search(r"[a-zA-Z]", text):
        return text  # "(None, 3)", "float32"
    return " ".join(n.removesuffix(".") for n in re.findall(r"-?\d+\.?\d*", text))


def places(document: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """(where, digits) of everything that a claim file says in numbers."""

    def walk(table: dict[str, Any], path: str) -> Iterator[tuple[str, str]]:
        for key, node in table.items():
            if isinstance(node, dict):
                yield from walk(node, f"{path}.{key}")
            else:
                yield f"{path}.{key}", digits(node)

    for layer in document.get("layers", [document.get("layer")]):
        yield f"{layer.get('name', 'simple_rnn')}.units", digits(layer["units"])
    for name in ("input", "weights", "printed", "loss", "training"):
        yield from walk(document.get(name, {}), name)
    for expect in document["expect"]:
        where = expect["what"] + (f" of {expect['of']}" if "of" in expect else "")
        where += "".join(f" at {axis} {i}" for axis, i in expect.get("at", {}).items())
        yield where, digits(expect.get("value", ""))


def in_no_claim(documents: list[dict[str, Any]]) -> list[str]:
    """The article's numbers that none of the claim files holds, each named."""
    held = {(d["source"]["section"], *place) for d in documents for place in places(d)}
    return [
        f"section {section}, {where}: {digits(text)}"
        for section, where, text in ARTICLE
        if (section, where, digits(text)) not in held
    ]


@pytest.fixture
def article() -> dict[str, dict[str, Any]]:
    return {n: deepcopy(document(f)) for n, f in FILES.items() if n.startswith("article/")}


def test_every_number_of_the_article_is_in_a_claim(article: dict[str, dict[str, Any]]) -> None:
    assert in_no_claim([*article.values()]) == []


def test_a_number_in_no_claim_is_named(article: dict[str, dict[str, Any]]) -> None:
    article["article/summary_2_1"]["expect"].pop(1)
    assert in_no_claim([*article.values()]) == ["section 2.1, parameters of simple_rnn: 18"]


def test_a_dropped_zero_is_another_number(article: dict[str, dict[str, Any]]) -> None:
    for expect in article["article/training_2_3"]["expect"]:
        if expect["what"] == "loss_of_predictions":
            expect["value"] = Decimal("0.007")
    assert in_no_claim([*article.values()]) == ["section 2.3, loss_of_predictions: 0.0070"]


def test_the_right_numbers_in_the_wrong_order_are_named(article: dict[str, Any]) -> None:
    article["article/hand_set_weights"]["weights"]["kernel"].reverse()
    assert in_no_claim([*article.values()]) == ["section 2.2, weights.kernel: 1 0 2 2 1 3"]


def test_a_number_of_another_section_does_not_count(article: dict[str, dict[str, Any]]) -> None:
    article["article/summary_2_3"]["source"]["section"] = "2.1"
    assert "section 2.3, parameters: 33" in in_no_claim([*article.values()])


# -- derived claims --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def derive() -> ModuleType:
    return script(FIXTURES / "derived" / "derive.py")


def values(expects: list[dict[str, Any]]) -> dict[tuple[str, str, Any], str]:
    return {
        (e["what"], e.get("of", ""), e.get("at", {}).get("epoch")): digits(e["value"])
        for e in expects
        if e["value"] is not True
    }


@thinned(12)
@pytest.mark.parametrize("name", DERIVED)
def test_the_derivation_gives_the_claimed_digits(name: str, derive: ModuleType) -> None:
    derived = tomllib.loads(derive.derive(DERIVED[name]), parse_float=Decimal)
    assert values(derived.get("expect", [])) == values(document(DERIVED[name])["expect"])


def test_the_derivation_runs_as_its_docstring_says(derive: ModuleType) -> None:
    folder = FIXTURES / "derived"
    command = re.search(r"python (derive\.py \S+)", derive.__doc__ or "")
    assert command is not None
    run = subprocess.run(
        [sys.executable, *command[1].split()], cwd=folder, capture_output=True, text=True
    )
    assert (run.returncode, run.stderr) == (0, "")
    claimed = document(folder / command[1].split()[1])["expect"]
    assert values(tomllib.loads(run.stdout, parse_float=Decimal)["expect"]) == values(claimed)


def imported(source: str) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            names.add((node.module or "").partition(".")[0])
    return names


@pytest.mark.parametrize("file", sorted(FIXTURES.rglob("*.py")), ids=lambda file: file.stem)
def test_no_script_shares_code_with_what_it_checks(file: Path) -> None:
    assert "rnn_check" not in imported(file.read_text(encoding="utf-8"))


def test_derivations_use_no_matrix_product_of_numpy() -> None:
    source = (FIXTURES / "derived" / "derive.py").read_text(encoding="utf-8")
    assert "numpy" not in imported(source)


def test_an_import_of_rnn_check_is_seen() -> None:
    assert "rnn_check" in imported(
        "def f():\n    from rnn_check.recurrences.over_time import forward"
    )


@pytest.mark.parametrize("name", ["dlai_cell.npz", "dlai_sequence.npz"])
def test_the_course_seed_gives_the_stored_arrays(name: str) -> None:
    drawn = script(FIXTURES / "published" / "dlai_arrays.py").ARRAYS[name]
    with np.load(FIXTURES / "published" / name, allow_pickle=False) as stored:
        assert set(stored) == set(drawn)
        for key in stored:
            assert stored[key].tobytes() == np.ascontiguousarray(drawn[key]).tobytes(), key
