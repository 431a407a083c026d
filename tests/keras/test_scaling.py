"""Is a step in mixed_float16 certified, whose loss is scaled, and no fault of it?"""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from rnn_check.asking import plans
from rnn_check.asking import request as asking_request
from rnn_check.claims import files
from rnn_check.claims.claim import Claim
from rnn_check.subjects.ask import Subject
from rnn_check.verdicts import judge
from rnn_check.verdicts.judge import AGREE, DIFFER, ERROR, NOT_RUN
from tests.support import planted
from tests.support.sampling import sampled

FAULTS = planted.found(planted.FOLDER / "scaling_faults.py", "keras.optimizers.SGD")
FILE = files.bundled() / "options" / "training" / "one_update.toml"
CLAIM = files.load(FILE)
FIT = files.bundled() / "options" / "training" / "fit_mixed.toml"
UPDATES = dataclasses.replace(files.load(FIT), expectations=files.load(FIT).expectations[:1])
MIXED = asking_request.Setting(dtype="mixed_float16")


def asked(
    subject: Subject, c: Claim, fault: str = planted.NONE, question: str = "one_update"
) -> asking_request.Answer:
    request = asking_request.request(c, [question], MIXED)
    observed = plans.ask(
        subject, {**request, "replace": {**planted.EAGERLY, "SGD": FAULTS[fault]}}
    )[1]
    if "unsupported" in observed[question]:
        pytest.skip(observed[question]["unsupported"])
    return asking_request.Answer(observed)


def judged(c: Claim, answer: asking_request.Answer) -> judge.Verdict:
    (verdict,) = judge.judge(c, answer, dtype="mixed_float16")
    return verdict


def test_a_step_of_a_loss_that_is_scaled_is_certified(subject: Subject) -> None:
    answer = asked(subject, CLAIM)
    assert answer.observed is not None
    assert answer.observed["one_update"]["scale"] == 2.0**15
    verdict = judged(CLAIM, answer)
    assert verdict.verdict == AGREE, verdict.detail


@pytest.mark.thinned(3)
@pytest.mark.parametrize("fault", [f for f in FAULTS if f != planted.NONE])
def test_a_fault_of_the_scale_is_found(subject: Subject, fault: str) -> None:
    verdict = judged(CLAIM, asked(subject, CLAIM, fault))
    assert verdict.verdict == DIFFER, verdict.detail


def test_a_step_that_is_left_out_where_a_gradient_overflows_is_not_called_wrong(
    subject: Subject,
) -> None:
    """Of a target of 40 the gradient is about -40, which times 2^15 no float16 holds."""
    text = FILE.read_text(encoding="utf-8").replace("[[0.25, -0.125]]", "[[40, 40]]")
    c = files.loads(text)
    verdict = judged(c, asked(subject, c))
    assert verdict.verdict == NOT_RUN
    assert "may overflow" in verdict.detail


@pytest.mark.thinned(5)
@pytest.mark.parametrize("scale", [0.0, -2.0, 3.0, np.inf, np.nan])
def test_a_scale_that_is_none_is_refused(subject: Subject, scale: float) -> None:
    answer = asked(subject, CLAIM)
    assert answer.observed is not None
    told = {**answer.observed["one_update"], "scale": np.asarray(scale)}
    verdict = judged(CLAIM, asking_request.Answer({"one_update": told}))
    assert verdict.verdict == ERROR
    assert "expected a power of two" in verdict.detail


def test_each_update_of_a_loss_that_is_scaled_is_certified(subject: Subject) -> None:
    verdict = judged(UPDATES, asked(subject, UPDATES, question="training"))
    assert verdict.verdict == AGREE, verdict.detail
    assert "each of 4 updates follows" in verdict.detail


@pytest.mark.parametrize("fault", sampled([f for f in FAULTS if f != planted.NONE], 2))
def test_a_fault_of_the_scale_is_found_in_a_whole_fit(subject: Subject, fault: str) -> None:
    verdict = judged(UPDATES, asked(subject, UPDATES, fault, question="training"))
    assert verdict.verdict == DIFFER, verdict.detail


def test_a_fit_of_which_a_step_is_left_out_is_not_called_wrong(subject: Subject) -> None:
    assert UPDATES.loss is not None
    far = dataclasses.replace(UPDATES.loss.value, value=UPDATES.loss.value.value - 40)
    loss = dataclasses.replace(UPDATES.loss, value=far)
    c = dataclasses.replace(UPDATES, loss=loss)
    verdict = judged(c, asked(subject, c, question="training"))
    assert verdict.verdict == NOT_RUN
    assert "step 1 was left out" in verdict.detail
