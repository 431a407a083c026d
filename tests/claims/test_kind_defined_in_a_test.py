"""Is a kind of expectation one class?  One is defined here, and nothing else knows of it.

It is loaded from TOML, published in the schema, planned, asked of a subject, judged, spoilt,
reported and compared.
"""

from __future__ import annotations

import copy
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import jsonschema
import numpy as np
import pytest

from rnn_check.asking import plans, request
from rnn_check.asking.questions import runs
from rnn_check.asking.request import Answer, Setting
from rnn_check.certificates.comparison import Comparison
from rnn_check.claims import files, schema
from rnn_check.claims.claim import Claim
from rnn_check.claims.expectations.case import Case
from rnn_check.claims.expectations.expectation import (
    KINDS,
    WEIGHTS,
    Expectation,
    Holds,
    X,
    snake,
)
from rnn_check.claims.expectations.expectation import Path as Way
from rnn_check.claims.experiment import Experiment
from rnn_check.refusal import ClaimError
from rnn_check.reports import changes, documents, page, terminal, verdicts
from rnn_check.subjects.identity import not_started
from rnn_check.subjects.plan import step
from rnn_check.upgrades import changes as compare
from rnn_check.verdicts import judge
from rnn_check.verdicts.judge import AGREE, DIFFER, ERROR, FAULT, Judged
from tests.support import puppet


@pytest.fixture
def kind() -> Iterator[type[Expectation]]:
    """Every state lies on one side of 1: what a tanh may give. Only while a test runs."""

    class WithinOne(Holds, frozen=True, kw_only=True):
        """Holds: no state is beyond 1."""

        of: Literal["above", "below"]

        layers = "plain"
        needs = (X, WEIGHTS)

        def asks(self, run: Experiment) -> set[str]:
            return {"states"}

        def spoils(self, run: Experiment) -> list[Way]:
            return [("states",)]

        def judge(self, case: Case) -> Iterator[Comparison]:
            sign = 1 if self.of == "above" else -1
            states = case.said["states"].array.astype(np.float64)
            one = np.full_like(states, float(sign))
            error = np.maximum(sign * states - 1, 0.0)
            yield Comparison("subject", "states within one", states, one, error, 0 * error)

    yield WithinOne
    del KINDS["within_one"]


def written(folder: Path, of: str = "above", more: str = "") -> Path:
    (file,) = puppet.claims(folder, "bounded").glob("*.toml")
    text = file.read_text()
    table = f'[[expect]]\nwhat = "within_one"\nof = "{of}"\nvalue = true\nfrom = "a test"\n{more}\n'
    file.write_text(text + table)
    return file


def answered(c: Claim) -> Answer:
    return request.ask(c, puppet.InThisProcess(), Setting())  # type: ignore[arg-type]


def test_it_is_loaded_published_asked_judged_and_reported(
    kind: type[Expectation], tmp_path: Path
) -> None:
    c = files.load(written(tmp_path / "claims"))
    e = c.expectations[-1]
    assert (e.what, e.of, e.name) == ("within_one", "above", "within_one of above")
    published = schema.json_schema()
    assert published["$defs"]["WithinOne"]["properties"]["of"] == {"enum": ["above", "below"]}
    jsonschema.Draft202012Validator.check_schema(published)
    assert request.asks(c) == ["output", "states", "weights"]
    found = judge.judge(c, answered(c))
    assert [v.verdict for v in found] == [AGREE] * 3
    judged = [Judged(not_started("puppet").asked(), found)]
    out = io.StringIO()
    verdicts.terminal(judged, terminal.console(out, 100), amount=verdicts.Amount.ALL)
    assert "within_one of above" in out.getvalue()
    document = json.loads(documents.as_json(judged))
    assert document["verdicts"][-1]["what"] == "within_one of above"


def test_it_is_compared(kind: type[Expectation], tmp_path: Path) -> None:
    c = files.load(written(tmp_path / "claims"))
    right = answered(c)
    assert right.observed is not None
    other = {**right.observed, "states": right.observed["states"] + np.float32(2)}
    sides = [
        compare.Side(f"side {i}", Judged(not_started("puppet").asked(), judge.judge(c, a)), "")
        for i, a in enumerate((right, Answer(other)))
    ]
    compared = compare.compare([c], sides)
    out = io.StringIO()
    changes.terminal(compared, terminal.console(out, 100), True)
    assert "within_one" in out.getvalue()
    assert "within_one" in page.html(compared)


def test_its_spoilt_answers_turn_it_red(kind: type[Expectation], tmp_path: Path) -> None:
    c = files.load(written(tmp_path / "claims"))
    answer = answered(c)
    (way,) = c.expectations[-1].spoils(c)
    observed = dict(copy.deepcopy(answer.observed or {}))
    observed[way[0]][0, 1, 0] += 3
    assert judge.judge(c, Answer(observed))[-1].verdict == DIFFER


def test_what_it_does_not_take_is_refused(kind: type[Expectation], tmp_path: Path) -> None:
    with pytest.raises(ClaimError, match=r"within_one takes no `at`; it takes .*of, value"):
        files.load(written(tmp_path / "a", more="at = {unit = 0}"))
    with pytest.raises(ClaimError, match="unknown 'abov'; did you mean `above`"):
        files.load(written(tmp_path / "b", of="abov"))


def test_what_was_answered_wrongly_is_the_subjects_and_what_breaks_is_ours(
    kind: type[Expectation], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    c = files.load(written(tmp_path / "claims"))
    observed = dict(answered(c).observed or {})
    odd = judge.judge(c, Answer({**observed, "states": "a word"}))[-1]
    assert (odd.verdict, FAULT in odd.detail) == (ERROR, False)
    assert odd.detail.endswith("states: expected an array, got 'a word'")
    monkeypatch.setattr(kind, "judge", lambda self, case: iter([case.no_such_thing]))
    ours = judge.judge(c, Answer(observed))[-1]
    assert (ours.verdict, FAULT in ours.detail) == (ERROR, True)


@pytest.mark.parametrize("forgotten", ["layers", "needs", "asks", "judge", "spoils", "reads"])
def test_a_kind_that_forgets_something_cannot_be_made(forgotten: str) -> None:
    said: dict[str, Any] = {
        "__doc__": "Holds: something.", "layers": "any", "needs": (),
        "asks": lambda self, run: set(), "judge": lambda self, case: iter(()),
        "spoils": lambda self, run: [], "reads": lambda self, reading: {},
        "__module__": __name__,
    }  # fmt: skip
    del said[forgotten]
    with pytest.raises(TypeError, match=f"Forgetful does not say: {forgotten}"):
        type(Expectation)("Forgetful", (Expectation,), said)
    assert "forgetful" not in KINDS


@pytest.fixture
def with_its_own_question() -> Iterator[type[Expectation]]:
    """One that is about two runs, which no question of this project asks so."""

    @plans.question
    def run_twice(e: plans.Experiment) -> plans.Plan:
        runs = {
            which: step("run", of=e.made, x=scale * e["x"])
            for which, scale in (("as it is", 1.0), ("twice", 2.0))
        }
        return plans.Plan(runs, lambda said: {which: said[which]["output"] for which in runs})

    class Odd(Holds, frozen=True, kw_only=True):
        """Holds: of twice the input another output comes."""

        layers = "plain"
        needs = (X, WEIGHTS)

        def asks(self, run: Experiment) -> set[str]:
            return {"run_twice"}

        def spoils(self, run: Experiment) -> list[Way]:
            return []

        def judge(self, case: Case) -> Iterator[Comparison]:
            same, other = (case.said["run_twice"][n].array for n in ("as it is", "twice"))
            apart = (same != other).astype(np.float64)
            yield Comparison("subject", "apart", apart, np.ones_like(apart), 1 - apart, 0 * apart)

    yield Odd
    del KINDS["odd"], plans.QUESTIONS["run_twice"]


def test_a_kind_may_bring_its_own_question(
    with_its_own_question: type[Expectation], tmp_path: Path
) -> None:
    (file,) = puppet.claims(tmp_path / "claims", "asked").glob("*.toml")
    table = '[[expect]]\nwhat = "odd"\nvalue = true\nfrom = "a test"\n'
    file.write_text(file.read_text() + table)
    c = files.load(file)
    assert request.asks(c) == ["output", "run_twice", "states", "weights"]
    answer = answered(c)
    found = judge.judge(c, answer)[-1]
    assert found.verdict == AGREE, found.detail
    observed = dict(answer.observed or {})
    observed["run_twice"] = dict.fromkeys(("as it is", "twice"), observed["output"])
    assert judge.judge(c, Answer(observed))[-1].verdict == DIFFER


def test_two_questions_of_one_name_cannot_be_made() -> None:
    def output(e: plans.Experiment) -> plans.Plan:
        return plans.Plan({}, lambda said: None)

    with pytest.raises(TypeError, match="two questions that are called 'output'"):
        plans.question(output)
    assert plans.question(runs.output) is runs.output


def test_two_kinds_of_one_name_cannot_be_made(kind: type[Expectation]) -> None:
    with pytest.raises(TypeError, match="two expectations that are called 'within_one'"):
        type(Expectation)("WithinOne", (kind,), {"__doc__": "x", "__module__": __name__})


def test_every_kind_is_called_as_its_class() -> None:
    for what, each in KINDS.items():
        assert (what, each.__struct_config__.tag) == (snake(each.__name__),) * 2
