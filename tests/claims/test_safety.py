"""Can a claim, whoever wrote it, do anything but claim?

Of the classes that Keras has, those that the tables of `subject` hold can be named and no other,
wherever a class can be named: by the loader, and by the subject, which is asked by whoever can
write to its pipe.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import tomli_w

from rnn_check.asking import plans
from rnn_check.claims import files
from rnn_check.numbers import activations
from rnn_check.refusal import ClaimError
from rnn_check.subjects.asked import keras_
from rnn_check.subjects.asked import named as script
from rnn_check.verdicts.done import KINDS
from tests.support.sampling import sampled

MODULES = ("layers", "initializers", "regularizers", "constraints", "activations")
LOADS = {"Lambda", "TFSMLayer", "StringLookup", "IntegerLookup", "TextVectorization", "JaxLayer"}
LOADS |= {"FlaxLayer", "TorchModuleWrapper", "deserialize", "get", "serialize", "Layer", "Wrapper"}


def exported() -> list[str]:
    """What the modules of the Keras that is installed offer, read without importing it."""
    spec = find_spec("keras")
    assert spec is not None and spec.submodule_search_locations
    root = Path(next(iter(spec.submodule_search_locations)))
    names: set[str] = set()
    for module in MODULES:
        for file in (root / module / "__init__.py", root / "api" / module / "__init__.py"):
            tree = ast.parse(file.read_text(encoding="utf-8") if file.is_file() else "")
            imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
            names |= {alias.asname or alias.name for node in imports for alias in node.names}
    return sorted(names | LOADS)


NAMES = exported()
RNN = {"kind": "SimpleRNN", "units": 2}
FAMILIES = ("initializer", "regularizer", "constraint")


def layers_that_name(name: str) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """(place, layers) for every place of a description that a name can stand in."""
    bare = {"kind": name}
    sized = {"kind": name, "units": 2}
    loaded = {"kind": name, "filepath": "claims/model"}
    for kind in (bare, sized, loaded):
        yield "layer", [kind]
        yield "layer", [RNN, kind]
        yield "cell", [{"kind": "RNN", "cell": kind}]
        yield "cell", [{"kind": "RNN", "cell": [{"kind": "SimpleRNNCell", "units": 2}, kind]}]
        yield "Bidirectional", [{"kind": "Bidirectional", "layer": kind}]
        other = {**kind, "go_backwards": True}
        yield "backward", [{"kind": "Bidirectional", "layer": RNN, "backward_layer": other}]
        yield "TimeDistributed", [RNN, {"kind": "TimeDistributed", "layer": kind}]
        for family in FAMILIES:
            yield family, [{**RNN, f"kernel_{family}": kind}]
            yield family, [{"kind": "LSTM", "units": 2, f"recurrent_{family}": kind}]
    for family in FAMILIES:
        yield f"{family} as a word", [{**RNN, f"bias_{family}": name}]
    yield "callable", [{**RNN, "activation": f"callable {name}"}]


ALLOWED = {
    "layer": set(script.LAYERS),
    "cell": set(script.CELLS),
    "Bidirectional": set(script.WRAPPED["Bidirectional"]),
    "backward": set(script.WRAPPED["Bidirectional"]),
    "TimeDistributed": {"Dense"},
    **{family: set(script.KINDS[family]) for family in FAMILIES},
    **{f"{family} as a word": set(script.KINDS[family]) for family in FAMILIES},
    "callable": set(script.ACTIVATIONS),
}
ALLOWED["initializer as a word"] |= set(
    map(script.default_name, script.KINDS["initializer"])
)  # glorot_uniform


def claimed(layers: list[dict[str, Any]], **more: Any) -> str:
    """A claim about these layers."""
    expect = {"what": "parameters", "value": 1, "from": "nobody"}
    document = {
        "schema": 1,
        "title": "t",
        "source": {"document": "d"},
        "layers": layers,
        "input": {"shape": [2, 2]},
        "expect": [expect],
        **more,
    }
    return tomli_w.dumps(document)


def is_refused_by_the_loader(layers: list[dict[str, Any]], **more: Any) -> bool:
    try:
        files.loads(claimed(layers, **more))
    except ClaimError:
        return True
    return False


class Nothing:
    """A backend that must not be asked for anything."""

    keras_version = "0"

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"the framework was asked for {name}")


def is_refused_by_the_subject(layers: list[dict[str, Any]], **more: Any) -> bool:
    try:
        keras_.Keras(Nothing()).described(layers)  # type: ignore[arg-type]
    except ValueError:
        return True
    except AssertionError:  # it was about to look whether this Keras has it
        pass
    try:
        plans.planned(
            {"layers": layers, "input_shape": [2, 2], "ask": ["raises"], "wrong": more["wrong"]}
        )
    except (KeyError, ValueError) as error:
        return not isinstance(error, KeyError)
    return False


def test_keras_offers_what_loads_programs_and_vocabularies() -> None:
    assert set(NAMES) >= LOADS | {"SimpleRNN", "L2", "NonNeg", "Zeros", "tanh"}
    assert len(NAMES) > 200


@pytest.mark.parametrize("first", sampled(range(4), 4))
def test_only_what_the_tables_hold_can_be_named(first: int) -> None:
    for name in NAMES[first::4]:
        for place, layers in layers_that_name(name):
            if name in ALLOWED[place]:
                continue
            assert is_refused_by_the_subject(layers), (place, layers)
            assert is_refused_by_the_loader(layers), (place, layers)


def test_nothing_that_the_tables_hold_loads_anything() -> None:
    for place, names in ALLOWED.items():
        assert not names & LOADS, place


@pytest.mark.thinned(5)
@pytest.mark.parametrize("name", NAMES)
def test_a_layer_is_misused_with_scalars_only(name: str) -> None:
    """And cannot be made another layer."""
    kind = {"kind": name}
    for wrong in (kind, {"cell": kind}, {"layer": kind}, {"backward_layer": kind}, {"x": kind},
                  {"kernel_initializer": kind}, {"kernel_regularizer": kind}, {"x": [name]},
                  {"cell": name}, {"layer": name}, {"activation": f"callable {name}"}):  # fmt: skip
        assert is_refused_by_the_loader([RNN], wrong={"layer": wrong}), wrong
        assert is_refused_by_the_subject([RNN], wrong={"layer": wrong}), wrong


@pytest.mark.parametrize("name", sorted(LOADS))
def test_the_subject_looks_up_nothing_else_even_if_nobody_checked(name: str) -> None:
    experiment = keras_.Keras(Nothing())  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="unknown kind"):
        experiment.class_of(name)
    experiment.backend.keras = Nothing()
    with pytest.raises(ValueError, match="unknown initializer"):
        experiment.argument("kernel_initializer", {"kind": name})


@pytest.mark.parametrize(
    "argument",
    [[1], {"kind": "Zeros"}, "/etc/passwd", "a.b", "a b", "", float("nan"), float("inf"), 2**40],
    ids=str,
)
def test_arguments_are_scalars(argument: Any) -> None:
    for options in (
        {"seed": argument},
        {"dropout": argument},
        {"kernel_initializer": {"kind": "Constant", "value": argument}},
        {"kernel_regularizer": {"kind": "L2", "l2": argument}},
        {"kernel_constraint": {"kind": "MaxNorm", "max_value": argument}},
    ):
        layers = [{**RNN, **options}]
        assert is_refused_by_the_subject(layers), layers
        assert is_refused_by_the_loader(layers), layers


def test_the_schema_and_the_table_hold_the_same_options() -> None:
    """`subject` has no msgspec and the loader does not look up: each has its own list."""
    for kind, options in {**script.LAYERS, **script.CELLS}.items():
        fields = set(KINDS[kind].__struct_fields__)
        extra = {"stateful"} if kind == "RNN" else set()  # made so by the question `stateful`
        assert fields - {"name"} == set(options) - extra, kind
    assert set(script.ACTIVATIONS) == set(activations.ACTIVATIONS)
