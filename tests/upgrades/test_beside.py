"""Is a comparison asked compiled and in other precisions too, and is it said how?"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from rnn_check.asking.request import Setting
from rnn_check.asking.run import Run, Target
from rnn_check.claims.claim import Claim
from rnn_check.reports.change import explained
from rnn_check.subjects.identity import known
from rnn_check.upgrades import beside
from rnn_check.upgrades import changes as compare
from rnn_check.upgrades.changes import Compared, Side
from rnn_check.upgrades.document import document
from rnn_check.verdicts.judge import AGREE, DIFFER, Judged, Verdict
from tests.support import bundled, puppet
from tests.support.bundled import load_all

WHO = {
    **{"keras": "3.15.1", "backend": "tensorflow", "python": "3.11.7", "numpy": "2.4.6"},
    **{"device": "CPU", "dtype": "float32"},
}


@pytest.fixture
def claims(tmp_path: Path) -> list[Claim]:
    return list(load_all([puppet.claims(tmp_path / "claims", "a", "b")]))


def compared(claims: list[Claim], way: str, *verdicts: str) -> Compared:
    sides = []
    for number, verdict in enumerate(verdicts):
        who = known({**WHO, "backend_version": f"2.{number}.0"}).asked()
        told = [Verdict(c.name, "f", "output", verdict, None, "w", "d", "why") for c in claims]
        options = ("--dtype", way) if way else ()
        sides.append(Side(f"tensorflow==2.{number}", Judged(who, told), options=options))
    return compare.compare(claims, sides, way=way)


def test_what_got_worse_in_one_way_alone_is_worse_and_says_how_to_ask_again(
    claims: list[Claim],
) -> None:
    found = compare.joined(
        [
            compared(claims, "", AGREE, AGREE, AGREE),
            compared(claims[:1], "mixed_float16", AGREE, AGREE, DIFFER),
        ]
    )
    assert found.exit_code() == 1
    assert found.claims == 3
    (row,) = found.changed
    assert row.name == "a (mixed_float16)"
    again = " --dtype mixed_float16 -k a"
    assert explained(found, row)[-1].endswith(again), explained(found, row)
    assert [len(step.changed) for step in found.steps] == [0, 1]
    told = {(each["claim"], each["way"]) for each in document(found)["rows"]}
    assert told == {("a", None), ("b", None), ("a", "mixed_float16")}


def test_what_is_named_is_bundled() -> None:
    every = list(bundled.everywhere())
    for way, names in beside.FEW.items():
        assert len(beside.few(every, way)) == len(names) == len(set(names))


def test_ways_are_those_that_a_backend_has() -> None:
    assert beside.settings("tensorflow")[beside.COMPILED] == Setting("function")
    assert beside.settings("jax")[beside.COMPILED] == Setting("xla")
    assert beside.settings("torch").keys() == {*beside.OTHER_DTYPES}
    assert not beside.settings("torch.nn")
    for way, setting in beside.settings("jax").items():
        told = ("--mode", "xla") if way == beside.COMPILED else ("--dtype", way)
        assert beside.options(setting) == told


def test_a_setting_is_asked_fewer_claims(
    claims: list[Claim], monkeypatch: pytest.MonkeyPatch
) -> None:
    puppet.play(monkeypatch)
    narrow = dataclasses.replace(Setting(), dtype="mixed_float16")
    with Run([Target("jax", (Setting(), narrow))]) as run:
        asked = [(a.subject, a.claim.name) for a in run.ask(claims, {narrow: claims[1:]})]
    assert asked == [(0, "a"), (0, "b"), (1, "b")]
