"""Is every change seen, is none seen that is not there, and is it said in plain words?"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rnn_check import claim, compare, compare_report, truth
from rnn_check.compare import BETTER, DRIFT, OTHER, SAID, WORSE, Compared, Side
from rnn_check.comparison import Comparison, equal
from rnn_check.judge import AGREE, DIFFER, ERROR, NOT_RUN, Verdict
from rnn_check.report import Judged
from tests import puppet

VERSIONS = ("2.18.0", "2.19.0", "2.20.0")
STATES = np.array([[[0.5, -0.25], [0.125, 1.0], [0.75, -2.0]]])  # (B,T,H)
BOUND = np.full(STATES.shape, 2.0**-20)


@pytest.fixture
def claims(tmp_path: Path) -> list[claim.Claim]:
    return list(claim.load_all([puppet.claims(tmp_path / "claims", "a", "b")]))


def numbers(got: Any, bound: Any = BOUND, who: str = "subject") -> Comparison:
    got = np.asarray(got, np.float64)
    names = ("sample", "timestep", "unit")
    places = tuple(np.indices(got.shape))
    return Comparison(who, "output", got, STATES, np.abs(got - STATES), bound, names, places)


def nudged(ulps: int, at: tuple[int, int, int] = (0, 1, 1), by: float = 1.0) -> Any:
    states = STATES.astype(np.float32)
    for _ in range(ulps):
        states[at] = np.nextafter(states[at], np.float32(by * np.inf))
    return states


def verdict(kind: str, *comparisons: Comparison, what: str = "output", **more: Any) -> Verdict:
    v = Verdict("a", "file", what, kind, None, "word", "document", "why", comparisons=comparisons)
    return dataclasses.replace(v, **more)


def side(number: int, *verdicts: Verdict, failure: str = "") -> Side:
    version = VERSIONS[number]
    subject = {
        **{"keras": "3.15.1", "backend": "tensorflow", "backend_version": version},
        **{"python": "3.11.7", "numpy": "2.4.6", "device": "CPU", "dtype": "float32"},
    }
    return Side(f"tensorflow=={version}", Judged({} if failure else subject, verdicts), failure)


def compared(claims: list[claim.Claim], *of: Verdict | list[Verdict]) -> Compared:
    sides = [side(i, *(v if isinstance(v, list) else [v])) for i, v in enumerate(of)]
    return compare.compare(claims, sides)


# -- numbers ---------------------------------------------------------------------------------------


def test_the_same_bits_are_no_change(claims: list[claim.Claim]) -> None:
    found = compared(claims, *[verdict(AGREE, numbers(STATES))] * 2)
    assert found.changed == []
    assert found.sentence == "Nothing differs, not a bit, in 1 claim."
    assert found.exit_code("drift") == 0


@pytest.mark.parametrize("by", [1.0, -1.0])
@pytest.mark.parametrize("ulps", [1, 3])
def test_the_last_bits_are_counted_and_placed(
    claims: list[claim.Claim], ulps: int, by: float
) -> None:
    found = compared(
        claims, verdict(AGREE, numbers(STATES)), verdict(AGREE, numbers(nudged(ulps, by=by)))
    )
    (row,) = found.changed
    change = row.changes[1]
    assert change is not None
    assert change.kind == DRIFT
    assert row.ulp == (ulps if by > 0 else ulps / 2)  # below 1.0 the numbers lie twice as close
    assert row.where == "output at sample 0, timestep 1, unit 1"
    assert change.timestep == 1
    assert np.sign(change.pairs[0].ulps[0, 1, 1]) == by
    assert np.count_nonzero(change.pairs[0].ulps) == 1
    assert (found.exit_code(), found.exit_code("drift"), found.exit_code("never")) == (0, 1, 0)


def test_a_drift_is_held_against_what_rounding_may_do_to_both(claims: list[claim.Claim]) -> None:
    bounds = np.full(STATES.shape, 2.0**-22), np.full(STATES.shape, 2.0**-21)
    moved = numbers(nudged(3), bounds[1])
    found = compared(claims, verdict(AGREE, numbers(STATES, bounds[0])), verdict(AGREE, moved))
    change = found.changed[0].changes[1]
    assert change is not None
    assert change.share == 3 * 2.0**-23 / (2.0**-22 + 2.0**-21)


def test_what_is_certified_step_by_step_is_held_against_all_its_steps(
    claims: list[claim.Claim],
) -> None:
    c = claims[0]
    before, after = (
        dataclasses.replace(numbers(s, who="step"), what="states") for s in (STATES, nudged(1))
    )
    found = compare.compare([c], [side(0, verdict(AGREE, before)), side(1, verdict(AGREE, after))])
    change = found.changed[0].changes[1]
    assert change is not None
    reach = truth.Truth(c, "float32")["states"][1]
    assert change.share == 2.0**-23 / (2 * reach[0, 1, 1])


def test_a_zero_that_loses_its_sign_is_a_change(claims: list[claim.Claim]) -> None:
    zero, minus = STATES.copy(), STATES.copy()
    zero[0, 0, 0], minus[0, 0, 0] = 0.0, -0.0
    found = compared(claims, verdict(AGREE, numbers(zero)), verdict(AGREE, numbers(minus)))
    (row,) = found.changed
    assert row.gravest == DRIFT
    assert row.ulp == 0
    assert compare_report.cell(row.verdicts[1], row.changes[1]) == "✓ ±0"


def test_a_number_that_is_none_any_more_is_without_end(claims: list[claim.Claim]) -> None:
    nan = STATES.copy()
    nan[0, 2, 0] = np.nan
    found = compared(claims, verdict(AGREE, numbers(STATES)), verdict(AGREE, numbers(nan)))
    assert found.changed[0].ulp == np.inf
    assert compare.document(found)["rows"][0]["drift_ulp"] is None
    json.dumps(compare.document(found), allow_nan=False)
    assert "∞" in compare_report.cell(found.rows[0].verdicts[1], found.rows[0].changes[1])
    same = compared(claims, *[verdict(AGREE, numbers(nan))] * 2)
    assert same.changed == []


def test_the_authors_own_number_is_not_compared(claims: list[claim.Claim]) -> None:
    own = [verdict(AGREE, numbers(s, who="claim")) for s in (STATES, nudged(2))]
    found = compared(claims, *own)
    assert found.changed == []
    assert found.rows[0].ulp is None


@pytest.mark.parametrize("what", ["dropout of input", "orthogonal of kernel"])
def test_what_is_drawn_at_random_is_not_compared(tmp_path: Path, what: str) -> None:
    c = next(c for c in claim.load_all() if c.name == "article/summary_2_1")
    assert c.weights is None
    e = dataclasses.replace(c.expectations[0], what=what.split()[0], of=what.split()[-1])
    c = dataclasses.replace(c, expectations=(e,))
    both = [
        dataclasses.replace(verdict(AGREE, numbers(s), what=what), claim=c.name)
        for s in (STATES, nudged(2))
    ]
    assert compared([c], *both).changed == []
    weighted = dataclasses.replace(claims_of(tmp_path)[0], expectations=(e,))
    both = [dataclasses.replace(v, claim="a") for v in both]
    assert len(compared([weighted], *both).changed) == (0 if "dropout" in what else 1)


def test_what_a_seed_gives_is_compared_unless_the_seed_is_ignored(tmp_path: Path) -> None:
    c = claims_of(tmp_path)[0]
    e = dataclasses.replace(c.expectations[0], what="reproducible", of="kernel")
    c = dataclasses.replace(c, expectations=(e,))
    for kind, changes in ((AGREE, [DRIFT]), (DIFFER, [])):
        both = [verdict(kind, numbers(s), what=e.name) for s in (STATES, nudged(2))]
        assert [row.gravest for row in compared([c], *both).changed] == changes


def claims_of(folder: Path) -> list[claim.Claim]:
    return list(claim.load_all([puppet.claims(folder / "claims", "a")]))


# -- verdicts and words ----------------------------------------------------------------------------

KINDS = {
    (AGREE, DIFFER): WORSE,
    (AGREE, ERROR): WORSE,
    (NOT_RUN, DIFFER): WORSE,
    (DIFFER, ERROR): WORSE,
    (DIFFER, AGREE): BETTER,
    (ERROR, NOT_RUN): BETTER,
    (AGREE, NOT_RUN): OTHER,
    (NOT_RUN, AGREE): OTHER,
    (DIFFER, DIFFER): "",
    (ERROR, ERROR): "",
}


@pytest.mark.parametrize(("before", "after"), KINDS)
def test_a_verdict_that_changes(claims: list[claim.Claim], before: str, after: str) -> None:
    found = compared(claims, verdict(before), verdict(after))
    kind = KINDS[before, after]
    assert found.rows[0].gravest == kind
    assert found.exit_code() == (1 if kind == WORSE else 0)
    assert found.exit_code("never") == 0


def test_words_are_compared_as_they_stand(claims: list[claim.Claim]) -> None:
    said = [verdict(AGREE, equal("subject", "activation", w, w)) for w in ("tanh", "linear")]
    (row,) = compared(claims, *said).changed
    assert row.gravest == SAID
    assert row.where == "activation: tanh → linear"
    assert compared(claims, said[0], said[0]).changed == []


def test_another_exception_is_another_answer(claims: list[claim.Claim]) -> None:
    details = ("output: ValueError: a\nTrace", "output: TypeError: b\nTrace")
    raised = [verdict(ERROR, detail=detail) for detail in details]
    (row,) = compared(claims, *raised).changed
    assert row.where == "ValueError → TypeError"
    again = dataclasses.replace(raised[0], detail="output: ValueError: at 0x7f\nOther trace")
    assert compared(claims, raised[0], again).changed == []


def test_another_shape_is_another_answer(claims: list[claim.Claim]) -> None:
    whole = numbers(STATES)
    cut = {name: getattr(whole, name)[:, :2] for name in ("got", "expected", "error", "bound")}
    short = dataclasses.replace(whole, **cut)
    (row,) = compared(claims, verdict(AGREE, numbers(STATES)), verdict(AGREE, short)).changed
    assert row.where == "shape of output: (1, 3, 2) → (1, 2, 2)"


# -- in a sentence ---------------------------------------------------------------------------------


def test_the_sentence_says_what_how_much_and_where_first(claims: list[claim.Claim]) -> None:
    same, other = verdict(AGREE, numbers(STATES)), verdict(AGREE, numbers(nudged(3)))
    found = compared(claims, same, same, other)
    assert found.sentence == (
        "Nothing differs; 1 of 1 claims changed in the last bits, at most 3 ulps, first in "
        "TensorFlow 2.20.0 with Keras 3.15.1."
    )
    weights = verdict(AGREE, what="weights_read_back")
    bad = dataclasses.replace(weights, verdict=DIFFER)
    found = compared(claims, [same, weights], [other, bad], [same, bad])
    assert found.sentence == (
        "1 verdict got worse, first in TensorFlow 2.19.0 with Keras 3.15.1; 1 of 1 claims changed "
        "in the last bits, at most 3 ulps, first in TensorFlow 2.19.0 with Keras 3.15.1."
    )


def test_subjects_that_would_be_called_alike_are_called_as_they_were_typed(
    claims: list[claim.Claim],
) -> None:
    one = side(0, verdict(AGREE))
    found = compare.compare(claims, [one, dataclasses.replace(one, word="box.npz")])
    assert found.names() == ["tensorflow==2.18.0", "box.npz"]


def test_a_subject_that_could_not_be_asked_is_said_and_is_exit_3(
    claims: list[claim.Claim],
) -> None:
    lost = side(1, failure="no such version\nat all")
    for sides in ([side(0, verdict(AGREE)), lost], [lost, side(0, verdict(AGREE))]):
        found = compare.compare(claims, sides)
        assert found.sentence == "tensorflow==2.19.0 could not be asked."
        assert [found.exit_code(f) for f in ("differ", "drift", "never")] == [3, 3, 3]
    found = compare.compare(claims, [side(0, verdict(AGREE)), lost, side(2, verdict(DIFFER))])
    assert found.exit_code() == 1
    assert found.sentence.startswith("tensorflow==2.19.0 could not be asked. 1 verdict got worse")


def test_nothing_compared_is_not_green(claims: list[claim.Claim]) -> None:
    found = compared(claims, verdict(NOT_RUN), verdict(NOT_RUN))
    assert found.sentence == "Nothing was compared."
    assert found.exit_code() == 3


# -- for a pull request ----------------------------------------------------------------------------


def test_markdown_holds_the_counts_and_every_change(claims: list[claim.Claim]) -> None:
    good, bad = verdict(AGREE, numbers(STATES)), verdict(DIFFER, numbers(nudged(1)))
    text = compare_report.markdown(compared(claims, good, bad))
    assert text.startswith("**1 verdict got worse; no other bit changed in 1 claim.**")
    assert "| a · output | ✓ | ✗ 1 |" in text
    assert "<details open>" in text


def test_markdown_cannot_be_broken_by_a_claims_name(claims: list[claim.Claim]) -> None:
    hostile = "a | <b> `c`\n# d"
    renamed = [dataclasses.replace(c, name=hostile) for c in claims[:1]]
    both = [
        dataclasses.replace(verdict(kind, numbers(STATES)), claim=hostile)
        for kind in (AGREE, DIFFER)
    ]
    (line,) = [
        line
        for line in compare_report.markdown(compared(renamed, *both)).splitlines()
        if "output" in line
    ]
    assert line == "| a \\| &lt;b> \\`c\\` \\# d · output | ✓ | ✗ = |"


def test_markdown_without_a_baseline_says_so(claims: list[claim.Claim]) -> None:
    sides = [side(0, failure="no such version"), side(1, verdict(AGREE)), side(2, verdict(DIFFER))]
    text = compare_report.markdown(compare.compare(claims, sides))
    assert "| 1 | no such version | could not be asked |" in text
    assert text.count("| the baseline could not be asked |") == 2
    assert "| tensorflow==2.18.0 | TensorFlow 2.19.0 with Keras 3.15.1 | could not be ask" in text
    assert "2.20.0 with Keras 3.15.1 | worse: a |" in text


def test_markdown_of_several_says_what_each_changed_since_the_one_before(
    claims: list[claim.Claim],
) -> None:
    good, bad = verdict(AGREE, numbers(STATES)), verdict(DIFFER, numbers(nudged(1)))
    lines = compare_report.markdown(compared(claims, good, bad, bad)).splitlines()
    names = [f"TensorFlow {version} with Keras 3.15.1" for version in VERSIONS]
    assert f"| {names[0]} | {names[1]} | worse: a | the same |" in lines
    assert f"| {names[1]} | {names[2]} |  | the same |" in lines
    lines = compare_report.markdown(
        compared(claims, good, good, verdict(AGREE, numbers(nudged(2))))
    )
    assert f"| {names[0]} | {names[1]} |  | the same |" in lines
    assert f"| {names[1]} | {names[2]} |  | 1, at most 2 ulps |" in lines
