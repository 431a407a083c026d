"""Is a case the same anywhere, a claim, and of what the space allows?"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from rnn_check.claims import toml
from rnn_check.refusal import Refused
from rnn_check.sweep.space import (
    AXES,
    BATCH,
    FAMILY,
    Case,
    Document,
    Space,
    read,
    together,
    what_is_done,
)

SPACE = Space()


def structure(document: Document) -> str:
    return repr([document["layers"], [each["what"] for each in document["expect"]]])


def text(document: Document) -> str:
    return toml.document(document)


@pytest.mark.thinned(2)
@pytest.mark.parametrize("seed", [1, 2])
def test_every_case_is_a_claim(seed: int) -> None:
    drawn = set()
    for index in range(0, 200 * FAMILY, FAMILY):
        claim = Case(seed, index).claim(SPACE)
        drawn |= {e.what + f" of {e.of}" * bool(e.of) for e in claim.expectations}
    missing = {do for do in AXES["do"] if do not in drawn and do != "gradients"}
    assert missing == {"reproducible"} and "reproducible of kernel" in drawn


def test_a_case_is_the_same_wherever_it_is_drawn() -> None:
    assert text(Case(3, 40).document(SPACE)) == text(Case(3, 40).document(Space()))
    assert text(Case(3, 40).document(SPACE)) != text(Case(4, 40).document(SPACE))


def test_a_family_has_one_structure_and_many_numbers() -> None:
    family = [Case(1, index).document(SPACE) for index in range(FAMILY)]
    assert len({structure(each) for each in family}) == 1
    assert len({text(each | {"title": ""}) for each in family}) > FAMILY // 2
    assert structure(Case(1, FAMILY).document(SPACE)) != structure(family[0])


@pytest.mark.parametrize("do", AXES["do"])
def test_cases_of_one_batch_are_samples_of_one_model(do: str) -> None:
    space = Space.within([f"do={do}", "front=mask,Masking,Embedding", "layer=LSTM,GRU"])
    cases = [Case(1, FAMILY + index) for index in range(2 * BATCH)]
    documents = [case.document(space) for case in cases]
    assert {what_is_done(each) for each in documents} == {do}
    weights = [text({"weights": each["weights"]}) for each in documents]
    whole = together(cases[:BATCH], space)
    if whole is None:  # masks are drawn and tried for each
        assert do == "one_update" or do.startswith("dropout")
        assert len({*weights}) == len(weights)
        return
    assert len({*weights[:BATCH]}) == 1 and len({*weights}) == 2
    of = read(whole, "together")
    alone = [read(each, "alone") for each in documents[:BATCH]]
    assert of.layers == alone[0].layers and of.expectations == alone[0].expectations
    parts = [each.x.value for each in alone if each.x is not None]
    assert of.x is not None and np.array_equal(of.x.value, np.concatenate(parts))
    for name, axis in (("mask", 0), ("initial_state", -2)):
        arrays = [each["input"].get(name) for each in documents[:BATCH]]
        if arrays[0] is not None:
            assert np.array_equal(whole["input"][name], np.concatenate(arrays, axis)), name


def test_one_case_alone_is_not_asked_together() -> None:
    assert together([Case(1, 0)], Space.within(["do=certified"])) is None


def test_arrays_are_read_bit_for_bit() -> None:
    for index in range(0, 20 * FAMILY, FAMILY):
        document = Case(5, index).document(SPACE)
        claim = read(document, "case")
        assert claim.weights is not None and claim.x is not None
        for layer, table in document["weights"].items():
            for path, array in table.items():
                got = claim.weights[layer][path].value
                assert np.array_equal(got, np.float64(array)), (layer, path)
        assert np.array_equal(claim.x.value, np.float64(document["input"]["x"]))


def test_a_space_is_restricted_by_words() -> None:
    space = Space.within(["layer=LSTM", "depth=1", "front=none", "do=certified"])
    for index in range(0, 20 * FAMILY, FAMILY):
        layers = Case(1, index).document(space)["layers"]
        assert [each["kind"] for each in layers if each["kind"] != "Dense"] == ["LSTM"]


def test_what_is_huge_is_drawn_only_where_it_is_asked_for() -> None:
    def numbers(space: Space) -> np.ndarray[Any, Any]:
        documents = [Case(1, index).document(space) for index in range(0, 20 * FAMILY, FAMILY)]
        arrays = [a for each in documents for of in each["weights"].values() for a in of.values()]
        return np.abs(np.concatenate([np.ravel(array) for array in arrays]))

    assert numbers(SPACE).max() < 1e4
    huge = numbers(Space.within(["scale=huge"]))
    assert huge.max() > 1e30 and (huge[huge > 0] < np.finfo(np.float32).tiny).any()
    assert np.isfinite(huge).all()


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("scale=hug", "mixed, huge; did you mean `huge`"),
        ("layers=LSTM", "'layers=LSTM': expected AXIS=VALUE"),
        ("layer", "'layer': expected AXIS=VALUE"),
        ("layer=LSTN", "'LSTN' is none of layer's values"),
    ],
)
def test_what_a_space_has_not_is_refused(word: str, says: str) -> None:
    with pytest.raises(Refused, match=says):
        Space.within([word])
