"""Is every change seen, is none seen that is not there, and is it said in plain words?"""

from __future__ import annotations

import dataclasses
import json
import re
from io import StringIO
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from rich.cells import cell_len
from rich.console import Console

from rnn_check.asking import request
from rnn_check.certificates.comparison import Comparison, equal
from rnn_check.claims import files, truth
from rnn_check.claims.claim import Claim
from rnn_check.claims.expectations import expectation
from rnn_check.reports import bisection as reports_bisection
from rnn_check.reports import change as reports_change
from rnn_check.reports import changes as reports_changes
from rnn_check.reports import markdown
from rnn_check.reports.terminal import console as terminal_console
from rnn_check.reports.terminal import line as as_line
from rnn_check.subjects.identity import known, not_started
from rnn_check.upgrades import bisection, document
from rnn_check.upgrades import changes as compare
from rnn_check.upgrades import sentence as upgrades_sentence
from rnn_check.upgrades.changes import BETTER, BEYOND, DRIFT, OTHER, SAID, WORSE, Compared, Side
from rnn_check.upgrades.sentence import sentence
from rnn_check.verdicts import judge
from rnn_check.verdicts.judge import AGREE, DIFFER, ERROR, NOT_RUN, Judged, Verdict
from tests.support import bundled, puppet
from tests.support.bundled import load_all

VERSIONS = ("2.18.0", "2.19.0", "2.20.0")
STATES = np.array([[[0.5, -0.25], [0.125, 1.0], [0.75, -2.0]]])  # (B,T,H)
BOUND = np.full(STATES.shape, 2.0**-20)


@pytest.fixture
def claims(tmp_path: Path) -> list[Claim]:
    return list(load_all([puppet.claims(tmp_path / "claims", "a", "b")]))


def numbers(got: Any, bound: Any = BOUND, who: str = "subject") -> Comparison:
    got = np.asarray(got, np.float64)
    names = ("sample", "timestep", "unit")
    places = tuple(np.indices(got.shape))
    error = np.abs(got - STATES)
    return Comparison(
        who, "output", got, STATES, error, bound, names, places, unbounded="nothing is known"
    )


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
    who = (not_started("") if failure else known(subject)).asked()
    return Side(f"tensorflow=={version}", Judged(who, verdicts), failure)


def compared(claims: list[Claim], *of: Verdict | list[Verdict]) -> Compared:
    sides = [side(i, *(v if isinstance(v, list) else [v])) for i, v in enumerate(of)]
    return compare.compare(claims, sides)


# -- numbers ---------------------------------------------------------------------------------------


def test_the_same_bits_are_no_change(claims: list[Claim]) -> None:
    found = compared(claims, *[verdict(AGREE, numbers(STATES))] * 2)
    assert found.changed == []
    assert sentence(found) == "Nothing differs, not a bit, in 1 claim."
    assert found.exit_code("drift") == 0


@pytest.mark.parametrize("by", [1.0, -1.0])
@pytest.mark.parametrize("ulps", [1, 3])
def test_the_last_bits_are_counted_and_placed(claims: list[Claim], ulps: int, by: float) -> None:
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


def test_a_drift_is_held_against_what_rounding_may_do_to_both(claims: list[Claim]) -> None:
    bounds = np.full(STATES.shape, 2.0**-22), np.full(STATES.shape, 2.0**-21)
    moved = numbers(nudged(3), bounds[1])
    found = compared(claims, verdict(AGREE, numbers(STATES, bounds[0])), verdict(AGREE, moved))
    change = found.changed[0].changes[1]
    assert change is not None
    assert change.share == 3 * 2.0**-23 / (2.0**-22 + 2.0**-21)


def test_what_is_certified_step_by_step_is_held_against_all_its_steps(
    claims: list[Claim],
) -> None:
    c = claims[0]
    before, after = (
        dataclasses.replace(numbers(s, who="step"), what="states") for s in (STATES, nudged(1))
    )
    found = compare.compare([c], [side(0, verdict(AGREE, before)), side(1, verdict(AGREE, after))])
    change = found.changed[0].changes[1]
    assert change is not None
    reach = truth.Truth(c, "float32").states().error
    assert change.share == 2.0**-23 / (2 * reach[0, 1, 1])


def test_a_zero_that_loses_its_sign_is_no_change_and_is_not_called_the_same_bits(
    claims: list[Claim],
) -> None:
    zero, minus = STATES.copy(), STATES.copy()
    zero[0, 0, 0], minus[0, 0, 0] = 0.0, -0.0
    found = compared(claims, verdict(AGREE, numbers(zero)), verdict(AGREE, numbers(minus)))
    assert found.changed == []
    assert sentence(found) == "Nothing differs, but the signs of zeros, in 1 claim."
    assert found.exit_code("drift") == 0
    (row, *_) = found.rows
    assert reports_change.cell(row.verdicts[1], row.changes[1]) == "✓ ±0"
    assert upgrades_sentence.effects(found, 1) == "the same but for the signs of zeros"


def test_a_nan_is_the_same_as_another(claims: list[Claim]) -> None:
    one, other = STATES.copy(), STATES.copy()
    one[0, 0, 0], other[0, 0, 0] = np.nan, -np.float64(np.nan)
    found = compared(claims, *(verdict(DIFFER, numbers(each)) for each in (one, other)))
    assert found.changed == []
    assert found.rows[0].ulp == 0


# the largest distance over what is allowed, and what is then said of the same verdicts
FAR = {
    "within both bounds": (3 * 2.0**-23, 2.0**-22, DRIFT, "1 of 1 claims changed in the last bits"),
    "beyond both bounds": (
        *(3 * 2.0**-23, 2.0**-26, BEYOND),
        "1 answer moved further than rounding may explain (up to 12 times as far); no other bit",
    ),
    "where nothing is allowed": (
        *(3 * 2.0**-23, 0.0, BEYOND),
        "1 answer moved further than rounding may explain (some where nothing may move)",
    ),
    "where no bound is known": (
        *(3 * 2.0**-23, np.inf, DRIFT),
        "Nothing differs; 1 of 1 claims changed, at most 3 ulps, where no bound is known.",
    ),
}


@pytest.mark.parametrize("kind", [AGREE, DIFFER])
@pytest.mark.parametrize("how", FAR)
def test_what_rounding_may_not_explain_is_never_the_last_bits(
    claims: list[Claim], how: str, kind: str
) -> None:
    _, bound, change, said = FAR[how]
    bounds = np.full(STATES.shape, bound)
    both = [verdict(kind, numbers(s, bounds)) for s in (STATES, nudged(3))]
    found = compared(claims, *both)
    (row,) = found.changed
    assert row.gravest == change
    assert said in sentence(found)
    assert ("last bits" in sentence(found)) == (how == "within both bounds")
    assert ("last bits" in upgrades_sentence.effects(found, 1)) == (how == "within both bounds")
    (as_json, *_) = document.document(found)["rows"]
    assert as_json["explained"][1] is {DRIFT: True, BEYOND: False}[change] or bound == np.inf
    assert (found.exit_code(), found.exit_code("drift")) == (0, 1)


def test_claims_with_a_bound_and_without_are_told_apart(
    claims: list[Claim], tmp_path: Path
) -> None:
    """Two that are alike but for their names: their arrays are not asked whether they are equal."""
    wide, none = np.full(STATES.shape, 2.0**-22), np.full(STATES.shape, np.inf)

    def both(states: Any) -> list[Verdict]:
        told = (("a", wide), ("b", none))
        return [verdict(AGREE, numbers(states, bound), claim=name) for name, bound in told]

    alike = dataclasses.replace(claims_of(tmp_path / "again")[0], name="b")
    found = compared([claims[0], alike], both(STATES), both(nudged(3)))
    assert "1 of 2 claims changed in the last bits" in sentence(found)
    assert "1 of 2 claims changed, at most 3 ulps, where no bound is known" in sentence(found)


def test_what_is_held_against_something_that_moved_is_not_beyond(
    claims: list[Claim],
) -> None:
    """A layer that was saved gives, bit for bit, what it gave before: no bound of the numbers."""
    none = np.zeros(STATES.shape)
    both = [
        dataclasses.replace(numbers(s, none), what="the same", expected=s, error=none)
        for s in (STATES, nudged(3))
    ]
    found = compared(claims, *(verdict(AGREE, each) for each in both))
    assert [row.gravest for row in found.changed] == [DRIFT]
    assert "where no bound is known" in sentence(found)


def test_a_stack_that_was_saved_is_held_against_what_rounding_may_do() -> None:
    """Two that give what they gave before may both have lost a mask."""
    c = next(c for c in bundled.everywhere() if c.name == "options/saving/masking[of=keras]")
    value, bound = truth.Truth(c, "float32").output
    none = np.zeros(value.shape)
    places = tuple(np.indices(value.shape))
    names = ("sample", "timestep", "unit")[: value.ndim]
    both = [
        Comparison("subject", "output", got, got, none, none, names, places)
        for got in (value, value + 0.25)
    ]
    (e,) = (e for e in c.expectations if e.what == "round_trip")
    verdicts = [
        dataclasses.replace(verdict(AGREE, each, what=e.name), claim=c.name) for each in both
    ]
    found = compared([c], *verdicts)
    assert [row.gravest for row in found.changed] == [BEYOND]
    change = found.changed[0].changes[1]
    assert change is not None
    assert change.share is not None
    assert change.share > 0.25 / (2 * bound.max())


def test_zeros_shown_for_masked_steps_do_not_bound_the_states_that_are_carried() -> None:
    """The certificate sees the states as they are carried: there a last bit is a last bit."""
    name = "published/keras_masked_sequence_zeros"
    c = next(c for c in bundled.everywhere() if c.name == name)
    carried = truth.Truth(c, "float32").passes[0].courses[0].states["h"].value.astype(np.float32)
    places = tuple(np.indices(carried.shape))
    both = [
        Comparison(
            *("step", "states", got, got + 0.0, np.zeros(got.shape), np.zeros(got.shape)),
            *(("sample", "timestep", "unit"), places),
        )
        for got in (
            carried.astype(np.float64),
            np.nextafter(carried, np.float32(9)).astype(np.float64),
        )
    ]
    e = c.expectations[0]
    verdicts = [
        dataclasses.replace(verdict(AGREE, each, what=e.name), claim=c.name) for each in both
    ]
    found = compared([c], *verdicts)
    assert [row.gravest for row in found.changed] == [DRIFT]
    assert "last bits" in sentence(found)


def test_how_a_gradient_comes_about_is_not_compared(claims: list[Claim]) -> None:
    both = [dataclasses.replace(numbers(s, who="step"), what="delta") for s in (STATES, nudged(3))]
    assert compared(claims, *(verdict(AGREE, each) for each in both)).changed == []


def test_policies_have_their_bounds_each(claims: list[Claim]) -> None:
    """Certified step by step: what float16 may be off by is allowed to the one, not to both."""
    pair = [dataclasses.replace(numbers(s, who="step"), what="states") for s in (STATES, nudged(1))]
    sides = [side(i, verdict(AGREE, each)) for i, each in enumerate(pair)]
    subject = msgspec.structs.replace(sides[1].subject, dtype="float16")
    sides[1] = dataclasses.replace(sides[1], judged=Judged(subject, sides[1].judged.verdicts))
    change = compare.compare([claims[0]], sides).rows[0].changes[1]
    assert change is not None
    reach = sum(truth.Truth(claims[0], a).states().error for a in ("float32", "float16"))
    assert change.share == 2.0**-23 / reach[0, 1, 1]


def test_a_number_that_is_none_any_more_is_without_end(claims: list[Claim]) -> None:
    nan = STATES.copy()
    nan[0, 2, 0] = np.nan
    found = compared(claims, verdict(AGREE, numbers(STATES)), verdict(AGREE, numbers(nan)))
    assert found.changed[0].ulp == np.inf
    assert document.document(found)["rows"][0]["drift_ulp"] is None
    json.dumps(document.document(found), allow_nan=False)
    assert "∞" in reports_change.cell(found.rows[0].verdicts[1], found.rows[0].changes[1])
    same = compared(claims, *[verdict(AGREE, numbers(nan))] * 2)
    assert same.changed == []


def test_the_authors_own_number_is_not_compared(claims: list[Claim]) -> None:
    own = [verdict(AGREE, numbers(s, who="claim")) for s in (STATES, nudged(2))]
    found = compared(claims, *own)
    assert found.changed == []
    assert found.rows[0].ulp is None


@pytest.mark.parametrize("what", ["dropout of input", "orthogonal of kernel"])
def test_what_is_drawn_at_random_is_not_compared(tmp_path: Path, what: str) -> None:
    c = next(c for c in bundled.everywhere() if c.name == "article/summary_2_1")
    assert c.weights is None
    kind, _, of = what.split()
    e = expectation.KINDS[kind](of=of, value=True, from_="")  # type: ignore[call-arg]
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
    e = expectation.KINDS["reproducible"](of="kernel", value=True, from_="")  # type: ignore[call-arg]
    c = dataclasses.replace(c, expectations=(e,))
    for kind, changes in ((AGREE, [DRIFT]), (DIFFER, [])):
        both = [verdict(kind, numbers(s), what=e.name) for s in (STATES, nudged(2))]
        assert [row.gravest for row in compared([c], *both).changed] == changes


def claims_of(folder: Path) -> list[Claim]:
    folder.mkdir(exist_ok=True)
    return list(load_all([puppet.claims(folder / "claims", "a")]))


# -- verdicts and words ----------------------------------------------------------------------------

KINDS = {
    (AGREE, DIFFER): WORSE,
    (AGREE, ERROR): WORSE,
    (NOT_RUN, DIFFER): OTHER,
    (DIFFER, ERROR): OTHER,
    (ERROR, DIFFER): OTHER,
    (DIFFER, AGREE): BETTER,
    (ERROR, AGREE): BETTER,
    (ERROR, NOT_RUN): OTHER,
    (AGREE, NOT_RUN): OTHER,
    (NOT_RUN, AGREE): OTHER,
    (DIFFER, DIFFER): "",
    (ERROR, ERROR): "",
}


@pytest.mark.parametrize(("before", "after"), KINDS)
def test_a_verdict_that_changes(claims: list[Claim], before: str, after: str) -> None:
    found = compared(claims, verdict(before), verdict(after))
    kind = KINDS[before, after]
    assert found.rows[0].gravest == kind
    assert found.exit_code() == (1 if kind == WORSE else 0)
    assert found.exit_code("never") == 0


def test_words_are_compared_as_they_stand(claims: list[Claim]) -> None:
    said = [verdict(AGREE, equal("subject", "activation", w, w)) for w in ("tanh", "linear")]
    (row,) = compared(claims, *said).changed
    assert row.gravest == SAID
    assert row.where == "activation: tanh → linear"
    assert compared(claims, said[0], said[0]).changed == []


def test_another_exception_is_another_answer(claims: list[Claim]) -> None:
    details = ("output: ValueError: a\nTrace", "output: TypeError: b\nTrace")
    raised = [verdict(ERROR, detail=detail) for detail in details]
    (row,) = compared(claims, *raised).changed
    assert row.where == "ValueError → TypeError"
    again = dataclasses.replace(raised[0], detail="output: ValueError: at 0x7f\nOther trace")
    assert compared(claims, raised[0], again).changed == []


def test_another_shape_is_another_answer(claims: list[Claim]) -> None:
    whole = numbers(STATES)
    cut = {name: getattr(whole, name)[:, :2] for name in ("got", "expected", "error", "bound")}
    short = dataclasses.replace(whole, **cut)
    (row,) = compared(claims, verdict(AGREE, numbers(STATES)), verdict(AGREE, short)).changed
    assert row.where == "shape of output: (1, 3, 2) → (1, 2, 2)"


WRAPPED = """output: ValueError: Exception encountered when calling SimpleRNN.call().

\x1b[1mDimensions must be equal, but are 3 and 2.\x1b[0m

Arguments received by SimpleRNN.call():
  • sequence=tf.Tensor(shape=(1, 3, 2), dtype=float32)
Traceback (most recent call last):
"""
TELLING = {
    WRAPPED: "output: ValueError: Dimensions must be equal, but are 3 and 2.",
    WRAPPED.replace("SimpleRNN.call()", 'layer "simple_rnn" (type SimpleRNN)', 1): (
        "output: ValueError: Dimensions must be equal, but are 3 and 2."
    ),
    "output: TypeError: no\nTraceback": "output: TypeError: no",
    "ValueError: Exception encountered when calling A.call().\nTraceback": (
        "ValueError: Exception encountered when calling A.call()."
    ),
    "": "",
}


@pytest.mark.parametrize("detail", TELLING)
def test_the_exception_that_keras_wraps_is_what_is_told(detail: str) -> None:
    assert reports_change.telling(detail) == TELLING[detail]


def test_rows_in_json_have_the_detail(claims: list[Claim]) -> None:
    raised = verdict(ERROR, detail=WRAPPED)
    (row, *_) = document.document(compared(claims, verdict(AGREE), raised))["rows"]
    assert row["details"] == ["why", WRAPPED]


def test_many_changes_of_one_cause_are_told_together(claims: list[Claim]) -> None:
    """A dtype policy that no layer can be built in breaks every claim in one way."""
    names = [f"claim_{i}" for i in range(40)]
    many = [dataclasses.replace(claims[0], name=name) for name in names]
    asks = ("output", "states", "initial_weights")

    def said(i: int) -> str:
        what = "Normalization" if i == 7 else "Qr"
        return f"{asks[i % 3]}: NotImplementedError: {what} of shape ({i}, {i}) 'layer_{i}'\nTrace"

    sides = [
        side(0, *(dataclasses.replace(verdict(AGREE), claim=name) for name in names)),
        side(
            1,
            *(
                dataclasses.replace(verdict(ERROR, detail=said(i)), claim=name)
                for i, name in enumerate(names)
            ),
        ),
    ]
    found = compare.compare(many, sides)
    groups = reports_change.alike(found.changed)
    assert sorted(map(len, groups)) == [1, 39]
    console = Console(file=StringIO(), width=100)
    reports_changes.terminal(found, console)
    assert isinstance(console.file, StringIO)
    shown = console.file.getvalue()
    assert shown.count("  rerun ") == 2
    assert "and 31 more like claim_0 · output (--all shows them)" in shown
    assert "claim_7 · output" in shown
    assert len(shown.splitlines()) < 60
    console = Console(file=StringIO(), width=100)
    reports_changes.terminal(found, console, everything=True)
    assert isinstance(console.file, StringIO)
    assert all(name in console.file.getvalue() for name in names)


LONG = "options/bidirectional_go_backwards[concat-return_sequences-stateful]"
NAMES = ("a", LONG, "循环/一个很长的名字", "two\nlines\x1b[2J")


@pytest.mark.parametrize("width", [40, 60, 80, 120])
@pytest.mark.parametrize("subjects", [2, 3, 8])
def test_in_the_terminal_names_are_whole_and_numbers_stand_over_columns(
    claims: list[Claim], width: int, subjects: int
) -> None:
    named = [dataclasses.replace(claims[0], name=name) for name in NAMES]
    of_each = [
        [dataclasses.replace(verdict(kind, what="weights_read_back"), claim=name) for name in NAMES]
        for kind in [AGREE, ERROR, DIFFER, ERROR, ERROR, ERROR, DIFFER, ERROR][:subjects]
    ]
    sides = [
        dataclasses.replace(side(min(i, 2), *of), word=f"keras==3.{i}.0")
        for i, of in enumerate(of_each)
    ]
    out = StringIO()
    reports_changes.terminal(compare.compare(named, sides), terminal_console(out, width))
    shown = out.getvalue()
    lines = shown[shown.index("Verdicts that got worse\n") :].split("\n\n")[0].splitlines()[1:]
    assert all(line == line.rstrip() for line in lines)
    labels = [label for n in NAMES for label in (as_line(n), "  weights_read_back")]
    columns: set[tuple[int, ...]] = set()
    alone, widest = list[int](), 0
    for label in labels:
        line = lines.pop(0)
        assert line.startswith(label)
        rest = line.removeprefix(label)
        if not rest:  # the columns stand below
            alone.append(cell_len(label))
            label, rest = "", lines.pop(0)
        assert rest.startswith("  ")
        assert len(rest.split()) == subjects
        assert cell_len(label + rest) <= max(width, 8 * 7 + 2)
        columns.add(tuple(cell_len(label) + found.start() for found in re.finditer(r"\S+", rest)))
        widest = max(widest, cell_len(rest.lstrip()))
    assert lines == []
    assert len(columns) == 1
    assert all(label + 2 + widest > width for label in alone)  # what could stand beside, does


def test_what_was_seen_of_each_version_stands_in_one_column(claims: list[Claim]) -> None:
    words = [f"keras==3.{i}.0,tensorflow-cpu==2.16.1@jax" for i in (1, 10, 11)]
    same = compared(claims, verdict(AGREE), verdict(AGREE))
    out = StringIO()
    found = bisection.search(words, lambda before, after: same)
    reports_bisection.terminal(found, terminal_console(out, 60))
    lines = out.getvalue().splitlines()[:3]
    seen = ("same", "not asked", "same")
    starts = {line.index(what) for line, what in zip(lines, seen, strict=True)}
    assert starts == {2 + max(map(len, words)) + 2}


# -- in a sentence ---------------------------------------------------------------------------------


def test_the_sentence_says_what_how_much_and_where_first(claims: list[Claim]) -> None:
    same, other = verdict(AGREE, numbers(STATES)), verdict(AGREE, numbers(nudged(3)))
    found = compared(claims, same, same, other)
    assert sentence(found) == (
        "Nothing differs; 1 of 1 claims changed in the last bits, at most 3 ulps, first in "
        "TensorFlow 2.20.0 with Keras 3.15.1."
    )
    weights = verdict(AGREE, what="weights_read_back")
    bad = dataclasses.replace(weights, verdict=DIFFER)
    found = compared(claims, [same, weights], [other, bad], [same, bad])
    assert sentence(found) == (
        "1 verdict got worse, first in TensorFlow 2.19.0 with Keras 3.15.1; 1 of 1 claims changed "
        "in the last bits, at most 3 ulps, first in TensorFlow 2.19.0 with Keras 3.15.1."
    )


def test_subjects_that_would_be_called_alike_are_called_as_they_were_typed(
    claims: list[Claim],
) -> None:
    one = side(0, verdict(AGREE))
    found = compare.compare(claims, [one, dataclasses.replace(one, word="box.npz")])
    assert found.names() == ["tensorflow==2.18.0", "box.npz"]


def test_a_subject_that_could_not_be_asked_is_said_and_is_exit_3(
    claims: list[Claim],
) -> None:
    lost = side(1, failure="no such version\nat all")
    for sides in ([side(0, verdict(AGREE)), lost], [lost, side(0, verdict(AGREE))]):
        found = compare.compare(claims, sides)
        assert sentence(found) == "tensorflow==2.19.0 could not be asked."
        assert [found.exit_code(f) for f in ("differ", "drift", "never")] == [3, 3, 3]
    found = compare.compare(claims, [side(0, verdict(AGREE)), lost, side(2, verdict(DIFFER))])
    assert found.exit_code() == 1
    assert sentence(found).startswith("tensorflow==2.19.0 could not be asked. 1 verdict got worse")


def test_nothing_compared_is_not_green(claims: list[Claim]) -> None:
    found = compared(claims, verdict(NOT_RUN), verdict(NOT_RUN))
    assert sentence(found) == "Nothing was compared."
    assert found.exit_code() == 3


def test_no_claim_in_common_is_nothing_compared(claims: list[Claim]) -> None:
    """Each was asked another; "the same, bit for bit" would be said of nothing."""
    other = dataclasses.replace(verdict(AGREE), claim="b")
    found = compared(claims, verdict(AGREE, numbers(STATES)), other)
    assert sentence(found) == "Nothing was compared."
    assert upgrades_sentence.effects(found, 1) == "nothing was compared"
    assert "same" not in markdown.markdown(found)
    assert found.exit_code() == 3
    found = compared(claims, verdict(AGREE), other, verdict(AGREE))
    assert sentence(found).startswith("Nothing of tensorflow==2.19.0 was compared. Nothing differs")
    assert found.exit_code() == 3


def test_what_was_not_asked_is_no_change(claims: list[Claim]) -> None:
    asked = dataclasses.replace(verdict(DIFFER, numbers(nudged(3))), claim="b")
    found = compared(claims, verdict(AGREE), [verdict(AGREE), asked])
    assert found.changed == []
    assert sentence(found) == "Nothing differs, not a bit, in 1 claim."


def test_what_is_known_to_be_worse_is_counted_apart(claims: list[Claim]) -> None:
    known = verdict(DIFFER, deviation="it always did")
    found = compared(claims, verdict(AGREE), known)
    assert sentence(found) == ("1 verdict got worse as is known; no other bit changed in 1 claim.")
    assert upgrades_sentence.effects(found, 1) == "1 worse (1 known)"
    assert found.exit_code() == 1
    weights = verdict(AGREE, what="weights_read_back")
    bad = dataclasses.replace(weights, verdict=DIFFER)
    found = compared(claims, [verdict(AGREE), weights], [known, bad])
    assert sentence(found).startswith("1 verdict got worse; 1 verdict got worse as is known;")


# -- for a pull request ----------------------------------------------------------------------------


def test_markdown_holds_the_counts_and_every_change(claims: list[Claim]) -> None:
    good, bad = verdict(AGREE, numbers(STATES)), verdict(DIFFER, numbers(nudged(1)))
    text = markdown.markdown(compared(claims, good, bad))
    assert text.startswith("**1 verdict got worse; no other bit changed in 1 claim.**")
    assert "| a · output | ✓ | ✗ 1 |" in text
    assert "<details open>" in text


HOSTILE = {
    "a | <b> `c`\n# d": "a \\| &lt;b&gt; \\`c\\` \\#<!-- --> d",
    "a\r\r~~~\rb": "a \\~\\~\\~ b",
    "@octocat": "@<!-- -->octocat",
    "https://evil.example/": "https://<!-- -->evil.example/",
    "WWW.evil.example": "WWW.<!-- -->evil.example",
    "[x](javascript:y)": "\\[x\\](javascript:y)",
    "![x](y)": "!\\[x\\](y)",
    "a\u2028b\u202ec": "a b c",
    "&lt;b&gt;": "&amp;lt;b&amp;gt;",
    "</details>": "&lt;/details&gt;",
    "see #12": "see \\#<!-- -->12",
    "a\\| b": "a\\\\\\| b",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_markdown_cannot_be_broken_by_a_claims_name(claims: list[Claim], name: str) -> None:
    renamed = [dataclasses.replace(c, name=name) for c in claims[:1]]
    both = [
        dataclasses.replace(verdict(kind, numbers(STATES)), claim=name) for kind in (AGREE, DIFFER)
    ]
    text = markdown.markdown(compared(renamed, *both))
    assert f"| {HOSTILE[name]} · output | ✓ | ✗ = |" in text.split("\n")
    assert not re.search(r"[\r\x00-\x09\u2028\u202e]", text)


def test_markdown_cannot_be_broken_by_a_subject(claims: list[Claim]) -> None:
    hostile = dataclasses.replace(
        side(1, failure="~~~\r@octocat"), word="\r~~~", notes=("\r~~~ @octocat",)
    )
    text = markdown.markdown(compare.compare(claims, [side(0, verdict(AGREE)), hostile]))
    assert "\r" not in text
    assert not re.search(r"(?<!\\)~|@(?!<!-- -->)", text)


def test_markdown_without_a_baseline_says_so(claims: list[Claim]) -> None:
    sides = [side(0, failure="no such version"), side(1, verdict(AGREE)), side(2, verdict(DIFFER))]
    text = markdown.markdown(compare.compare(claims, sides))
    assert "| 1 | no such version | could not be asked |" in text
    assert text.count("| the baseline could not be asked |") == 2
    assert "| tensorflow==2.18.0 | TensorFlow 2.19.0 with Keras 3.15.1 | could not be ask" in text
    assert "2.20.0 with Keras 3.15.1 | worse: a |" in text


def test_markdown_of_several_says_what_each_changed_since_the_one_before(
    claims: list[Claim],
) -> None:
    good, bad = verdict(AGREE, numbers(STATES)), verdict(DIFFER, numbers(nudged(1)))
    lines = markdown.markdown(compared(claims, good, bad, bad)).splitlines()
    names = [f"TensorFlow {version} with Keras 3.15.1" for version in VERSIONS]
    assert f"| {names[0]} | {names[1]} | worse: a | the same |" in lines
    assert f"| {names[1]} | {names[2]} |  | the same |" in lines
    lines = markdown.markdown(compared(claims, good, good, verdict(AGREE, numbers(nudged(2)))))
    assert f"| {names[0]} | {names[1]} |  | the same |" in lines
    assert f"| {names[1]} | {names[2]} |  | 1, at most 2 ulps |" in lines


LEADING = bundled.in_file(files.bundled() / "options" / "masks" / "leading.toml")


@pytest.mark.parametrize("claim", LEADING, ids=lambda claim: claim.name.rpartition("[")[2])
def test_another_of_two_ways_that_are_both_allowed_is_another_answer(claim: Claim) -> None:
    """Where masked steps lead a subject may show zeros or the initial state, but all the time."""
    assert claim.initial_state is not None
    start = np.asarray(claim.initial_state.value, np.float32).reshape(-1, 2, 1)[0]
    shows = {"a zero": np.zeros((2, 1), np.float32), "the initial state": start[[0, 0]]}
    ways = ("called", "as a model", "predicted", "unrolled")
    judged = {
        which: judge.judge(claim, request.Answer({"leading": dict.fromkeys(ways, shown)}))
        for which, shown in shows.items()
    }
    assert {v.verdict for verdicts in judged.values() for v in verdicts} == {AGREE}

    def found(*which: str) -> Compared:
        sides = [side(i, *judged[each]) for i, each in enumerate(which)]
        return compare.compare([claim], sides)

    (row,) = found("a zero", "the initial state").changed
    change = row.changes[1]
    assert change is not None
    assert "a zero → the initial state" in change.said
    assert change.kind in (SAID, BEYOND)
    for which in shows:
        assert found(which, which).changed == []
