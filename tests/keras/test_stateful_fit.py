"""Is each update of a stateful layer certified, by whatever trainer, and no fault of its state?"""

from __future__ import annotations

import pytest

from rnn_check.asking import plans
from rnn_check.asking import request as asking_request
from rnn_check.claims import files
from rnn_check.subjects.ask import Subject
from rnn_check.verdicts import judge
from rnn_check.verdicts.judge import AGREE, DIFFER
from tests.support import planted

pytestmark = pytest.mark.thinned(5)

CLAIM = files.load(files.bundled() / "options" / "stateful" / "fit.toml")
FAULTS = planted.found(planted.FOLDER / "stateful_faults.py", "keras.layers.SimpleRNN")


def judged(subject: Subject, fault: str) -> judge.Verdict:
    if subject.backend == "jax":
        pytest.skip("a known deviation")
    request = asking_request.request(CLAIM, ["training"], asking_request.Setting())
    observed = plans.ask(
        subject, {**request, "replace": {**planted.EAGERLY, "SimpleRNN": FAULTS[fault]}}
    )[1]
    if "unsupported" in observed["training"]:
        pytest.skip(observed["training"]["unsupported"])
    (verdict,) = judge.judge(CLAIM, asking_request.Answer(observed))
    return verdict


def test_a_state_in_other_words_is_certified(subject: Subject) -> None:
    verdict = judged(subject, planted.NONE)
    assert verdict.verdict == AGREE, verdict.detail
    assert "each of 4 updates follows" in verdict.detail


@pytest.mark.parametrize("fault", [f for f in FAULTS if f != planted.NONE])
def test_a_fault_of_what_is_carried_is_found(subject: Subject, fault: str) -> None:
    verdict = judged(subject, fault)
    assert verdict.verdict == DIFFER, verdict.detail


def test_batches_that_leave_one_smaller_are_refused() -> None:
    text = (files.bundled() / "options" / "stateful" / "fit.toml").read_text(encoding="utf-8")
    with pytest.raises(files.ClaimError, match="divides the samples"):
        files.loads(text.replace("batch_size    = 2", "batch_size    = 3"))
