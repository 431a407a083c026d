"""Is a training of samples that weigh and of masked steps certified, and no fault of it?"""

from __future__ import annotations

import pytest

from rnn_check.asking import request as asking_request
from rnn_check.subjects.ask import Subject
from rnn_check.verdicts import judge
from rnn_check.verdicts.judge import AGREE, DIFFER
from tests.keras.test_training import ask, derived
from tests.support import planted
from tests.support.sampling import sampled

FILE = planted.FOLDER / "weighing_faults.py"
LOSSES = planted.found(FILE, "keras.losses.MeanSquaredError")
# what samples that have one target each cannot show
OF_STEPS = {
    "mask of the loss ignored",
    "mask of the loss one step late",
    "divided by all steps, skipped or not",
}


def judged(subject: Subject, name: str, **replace: str) -> judge.Verdict:
    c = derived(name)
    (verdict,) = judge.judge(c, asking_request.Answer(ask(subject, c, **replace)))
    return verdict


@pytest.mark.thinned(2)
@pytest.mark.parametrize("fault", sampled(sorted(LOSSES), 24))
@pytest.mark.parametrize("name", ["trained_weighted", "trained_samples"])
def test_a_fault_of_weights_or_masks_is_found(subject: Subject, name: str, fault: str) -> None:
    verdict = judged(subject, name, mse=LOSSES[fault])
    unseen = fault == planted.NONE or (name == "trained_samples" and fault in OF_STEPS)
    assert verdict.verdict == (AGREE if unseen else DIFFER), verdict.detail


@pytest.mark.thinned(2)
@pytest.mark.parametrize("name", ["trained_weighted", "trained_samples"])
def test_a_fault_of_what_makes_a_mask_is_found(subject: Subject, name: str) -> None:
    verdict = judged(subject, name, Masking=f"{FILE}:Masking")
    assert verdict.verdict == DIFFER, verdict.detail


def test_a_row_in_place_of_another_is_found(subject: Subject) -> None:
    verdict = judged(subject, "trained_classes", Embedding=f"{FILE}:Embedding")
    assert verdict.verdict == DIFFER, verdict.detail
    assert "at update 1, of " in verdict.detail
