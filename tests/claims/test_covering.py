"""Which of the claims that one file makes does a comparison ask?"""

from __future__ import annotations

import itertools

import pytest

from rnn_check.claims.files import load_what_loads
from rnn_check.claims.variants import covering, like
from rnn_check.cli.chosen import covered
from rnn_check.upgrades import beside

KINDS, FLAGS, MODES = ("GRU", "LSTM", "SimpleRNN"), ("false", "true"), ("a, b", "c=d", "[e]")
WHOLE = [
    f"x[kind={kind}, unroll={flag}, mode={mode}]"
    for kind, flag, mode in itertools.product(KINDS, FLAGS, MODES)
]


def test_each_value_occurs_and_no_more_are_asked_than_the_longest_list_has() -> None:
    found = covering(WHOLE)
    assert len(found) == 3
    for value in (*KINDS, *FLAGS, *MODES):
        assert any(f"={value}," in name or f"={value}]" in name for name in found)
    assert found == [name for name in WHOLE if name in found]  # in their order
    assert len({name.split("mode=")[1] for name in found}) == 3


def test_what_does_not_vary_is_asked() -> None:
    assert covering(["x"]) == ["x"]


def test_files_that_say_the_same_of_different_layers_share_what_varies() -> None:
    files = ("a/b", "a/b_lstm", "a/b_gru")
    names = [f"{file}[mask={mask}]" for file in files for mask in ("none", "holes")]
    found = covering(names)
    assert len(found) == 3
    assert {name.partition("[")[0] for name in found} == {*files}
    assert {name.partition("[")[2] for name in found} == {"mask=none]", "mask=holes]"}


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        *(("options/masks/zeros_lstm[mask=holes]", "options/masks/zeros"), ("a/gru", "a")),
        *(("a/simple_rnn", "a"), ("a/gru_masked[x=_lstm]", "a/gru_masked"), ("a/b", "a/b")),
    ],
)
def test_files_are_alike_that_differ_in_the_layer_that_they_are_called_after(
    name: str, stem: str
) -> None:
    assert like(name) == stem


@pytest.mark.parametrize("removed", range(0, len(WHOLE), 5))
def test_where_a_combination_is_missing_each_value_occurs_all_the_same(removed: int) -> None:
    names = WHOLE[:removed] + WHOLE[removed + 1 :]
    found = "".join(covering(names))
    assert all(value in found for value in (*KINDS, *FLAGS, *MODES))


def test_a_comparison_asks_all_but_combinations_of_options() -> None:
    claims, _ = load_what_loads(())
    found = covered(claims)
    left_out = {c.name for c in claims} - {c.name for c in found}
    assert left_out
    assert all(name.startswith("options/") and "[" in name for name in left_out)
    assert {c.file for c in found} == {c.file for c in claims}
    for way in beside.WAYS:
        assert beside.few(found, way) == beside.few(claims, way)
