"""Is no fault of two directions taken for what Bidirectional should do?"""

from __future__ import annotations

import pytest

from rnn_check.asking import plans, request
from rnn_check.claims import files
from rnn_check.claims.claim import Claim
from rnn_check.subjects.ask import Subject
from rnn_check.verdicts import judge
from rnn_check.verdicts.judge import AGREE, DIFFER, ERROR, Verdict
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


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_of_a_direction_of_its_own_is_found(subject: Subject, fault: str) -> None:
    verdict = judged(CLAIM, subject, FAULTS[fault])
    assert verdict.verdict == (AGREE if fault == planted.NONE else DIFFER), verdict.detail


@pytest.mark.parametrize("fault", FAULTS_OF_TWO)
def test_a_fault_of_two_arrays_that_are_not_merged_is_found(subject: Subject, fault: str) -> None:
    verdict = judged(APART, subject, FAULTS_OF_TWO[fault])
    wanted = {planted.NONE: AGREE, "one array": ERROR}.get(fault, DIFFER)
    assert verdict.verdict == wanted, verdict.detail


def judged(claim: Claim, subject: Subject, fault: str) -> Verdict:
    asked = sorted(*(e.asked(claim) for e in claim.expectations))
    told = request.request(claim, asked, request.Setting())
    told["replace"] = {"Bidirectional": fault}
    (verdict,) = judge.judge(claim, request.Answer(plans.ask(subject, told)[1]))
    return verdict
