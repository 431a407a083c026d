"""Is no fault of two directions taken for what Bidirectional should do?"""

from __future__ import annotations

import pytest

from rnn_check.asking import plans, request
from rnn_check.claims import files
from rnn_check.claims.claim import Claim
from rnn_check.subjects.ask import Subject
from rnn_check.verdicts import judge
from rnn_check.verdicts.judge import AGREE, DIFFER, ERROR
from tests.support import planted

pytestmark = pytest.mark.thinned(5)

FOLDER = files.bundled() / "options" / "bidirectional"
CLAIM, MASKED = files.load_each(FOLDER / "backward_layer.toml")
APART = next(
    c for c in files.load_each(FOLDER / "apart_lstm.toml") if c.layers[-1].returns_sequences
)
FOUND = planted.found(planted.FOLDER / "direction_faults.py", "keras.layers.Bidirectional")
OF_TWO = "of two arrays: "
FAULTS = {name: where for name, where in FOUND.items() if not name.startswith(OF_TWO)}
FAULTS_OF_TWO = {n.removeprefix(OF_TWO): w for n, w in FOUND.items() if n not in FAULTS}
CONSTRUCTED = files.load_each(files.bundled() / "options" / "models" / "constructed.toml")
OF_WEIGHTS = planted.found(planted.FOLDER / "constructor_faults.py", "keras.layers.Bidirectional")


def judged(subject: Subject, claim: Claim, fault: str) -> judge.Verdict:
    told = request.request(claim, request.asks(claim), request.Setting())
    told["replace"] = {"Bidirectional": fault}
    (verdict,) = judge.judge(claim, request.Answer(plans.ask(subject, told)[1]))
    return verdict


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_of_a_direction_of_its_own_is_found(subject: Subject, fault: str) -> None:
    verdict = judged(subject, CLAIM, FAULTS[fault])
    assert verdict.verdict == (AGREE if fault == planted.NONE else DIFFER), verdict.detail


@pytest.mark.parametrize("fault", OF_WEIGHTS)
@pytest.mark.parametrize("claim", CONSTRUCTED, ids=lambda claim: claim.name.rpartition("[")[2])
def test_weights_given_to_a_constructor_have_to_be_taken(
    subject: Subject, claim: Claim, fault: str
) -> None:
    verdict = judged(subject, claim, OF_WEIGHTS[fault])
    assert verdict.verdict == (AGREE if fault == planted.NONE else DIFFER), verdict.detail


@pytest.mark.parametrize("fault", FAULTS_OF_TWO)
def test_a_fault_of_two_arrays_that_are_not_merged_is_found(subject: Subject, fault: str) -> None:
    verdict = judged(subject, APART, FAULTS_OF_TWO[fault])
    wanted = {planted.NONE: AGREE, "one array": ERROR}.get(fault, DIFFER)
    assert verdict.verdict == wanted, verdict.detail
