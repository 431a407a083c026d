"""Is what fails made as small as it gets, and never something else?"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from rnn_check.refusal import ClaimError
from rnn_check.sweep.shrink import shrunk
from rnn_check.sweep.space import FAMILY, Case, Document, Space, read

SPACE = Space()


def parts(document: Document) -> list[Document]:
    return [each.get("layer", each.get("cell", each)) for each in document["layers"]]


def as_claims(fails: Callable[[Document], bool]) -> Callable[[Document], bool]:
    """Of claims only, as the fuzzer asks."""

    def checked(document: Document) -> bool:
        read(document, "case")
        return fails(document)

    return checked


def first(fails: Callable[[Document], bool], least: Callable[[Document], bool]) -> Document:
    """A case that fails and is not small yet."""
    for index in range(0, 400 * FAMILY, FAMILY):
        document = Case(1, index).document(SPACE)
        if fails(document) and least(document):
            return document
    raise AssertionError("no such case is drawn")


def test_an_option_of_one_layer_is_all_that_is_left() -> None:
    def fails(document: Document) -> bool:
        return any(each.get("unroll") for each in parts(document))

    document = first(fails, lambda d: len(d["layers"]) >= 3 and len(d["weights"]) >= 3)
    small = shrunk(document, as_claims(fails), most=2000)
    (layer,) = small["layers"]
    assert layer.pop("unroll") is True and layer.pop("units") == 1
    assert layer.keys() <= {"kind", "name", "use_bias"}
    assert small["input"].keys() == {"x"} and np.shape(small["input"]["x"]) == (1, 1, 1)
    assert "loss" not in small and len(small["expect"]) == 1
    for path, array in small["weights"][layer["name"]].items():
        assert (array == (0 if path == "bias" else 1)).all()  # of zeros alone nothing could fail
    assert (small["input"]["x"] == 1).all()


def test_two_layers_that_fail_together_stay() -> None:
    def fails(document: Document) -> bool:
        kinds = [each["kind"] for each in document["layers"]]
        return "GRU" in kinds and "LSTM" in kinds[kinds.index("GRU") :]

    document = first(fails, lambda d: len(d["layers"]) >= 3)
    small = shrunk(document, as_claims(fails), most=2000)
    assert [each["kind"] for each in small["layers"]] == ["GRU", "LSTM"]


def test_a_number_that_matters_stays() -> None:
    def fails(document: Document) -> bool:
        arrays = [a for table in document["weights"].values() for a in table.values()]
        return any((np.abs(array) > 3).any() for array in arrays)

    document = first(fails, lambda d: True)
    small = shrunk(document, as_claims(fails), most=2000)
    arrays = [a for table in small["weights"].values() for a in table.values()]
    (large,) = [array for array in arrays if (np.abs(array) > 3).any()]
    assert np.count_nonzero(large) == 1
    assert all((array == np.rint(array)).all() for array in arrays)


def test_it_ends_after_so_many_questions() -> None:
    asked = []

    def fails(document: Document) -> bool:
        asked.append(document)
        return True

    shrunk(Case(1, 0).document(SPACE), fails, most=3)
    assert len(asked) == 3


def test_what_no_claim_can_have_is_passed_over() -> None:
    def fails(document: Document) -> bool:
        read(document, "case")
        if len(document["expect"]) == 1:
            raise ClaimError("case", "expect", "one is too few")
        return True

    document = first(lambda d: len(d["expect"]) == 2, lambda d: True)
    assert len(shrunk(document, fails, most=50)["expect"]) == 2
