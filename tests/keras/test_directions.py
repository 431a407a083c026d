"""Is no fault of a backward layer of its own taken for what Bidirectional should do?"""

from __future__ import annotations

import pytest

from rnn_check.asking import plans, request
from rnn_check.claims import files
from rnn_check.subjects.ask import Subject
from rnn_check.verdicts import judge
from rnn_check.verdicts.judge import AGREE, DIFFER
from tests.support import planted

pytestmark = pytest.mark.thinned(5)

FILE = files.bundled() / "options" / "bidirectional" / "backward_layer.toml"
CLAIM, MASKED = files.load_each(FILE)
FAULTS = planted.found(planted.FOLDER / "direction_faults.py", "keras.layers.Bidirectional")


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_of_a_direction_of_its_own_is_found(subject: Subject, fault: str) -> None:
    asked = sorted(*(e.asked(CLAIM) for e in CLAIM.expectations))
    told = request.request(CLAIM, asked, request.Setting())
    told["replace"] = {"Bidirectional": FAULTS[fault]}
    (verdict,) = judge.judge(CLAIM, request.Answer(plans.ask(subject, told)[1]))
    assert verdict.verdict == (AGREE if fault == planted.NONE else DIFFER), verdict.detail
