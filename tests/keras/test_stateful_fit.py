"""Is each update of a stateful layer certified, by whatever trainer, and no fault of its state?"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rnn_check.asking import plans
from rnn_check.asking import request as asking_request
from rnn_check.claims import files
from rnn_check.claims.claim import Claim
from rnn_check.subjects.ask import Subject
from rnn_check.verdicts import judge
from rnn_check.verdicts.judge import AGREE, DIFFER
from tests.support import planted
from tests.support.sampling import long

pytestmark = pytest.mark.thinned(5)

CLAIM = files.load(files.bundled() / "options" / "stateful" / "fit.toml")


def named(file: str) -> dict[str, Claim]:
    each = files.load_each(files.bundled() / "options" / "stateful" / file)
    return {c.name.rpartition("[")[2].rstrip("]"): c for c in each}


MASKED, DROPPED = named("fit_masked.toml"), named("fit_dropped.toml")
FAULTS = planted.found(planted.FOLDER / "stateful_faults.py", "keras.layers.SimpleRNN")


NEVER_RESET = "state carried on although it was reset"  # which shows where it is reset


def observed(subject: Subject, c: Claim, fault: str) -> asking_request.Answer:
    if subject.backend == "jax":
        pytest.skip("a known deviation")
    asked = sorted({question for e in c.expectations for question in e.asked(c)})
    request = asking_request.request(c, asked, asking_request.Setting())
    replace = {**planted.EAGERLY, "SimpleRNN": FAULTS.get(fault, fault)}
    found = plans.ask(subject, {**request, "replace": replace})[1]
    if "unsupported" in found["training"]:
        pytest.skip(found["training"]["unsupported"])
    return asking_request.Answer(found)


def judged(subject: Subject, fault: str) -> judge.Verdict:
    (verdict,) = judge.judge(CLAIM, observed(subject, CLAIM, fault))
    return verdict


def test_a_state_in_other_words_is_certified(subject: Subject) -> None:
    verdict = judged(subject, planted.NONE)
    assert verdict.verdict == AGREE, verdict.detail
    assert "each of 4 updates follows" in verdict.detail


def test_a_gradient_that_overflows_is_no_fault_of_the_state(
    subject: Subject, tmp_path: Path
) -> None:
    # the learning rate is 0, and 0·inf is NaN: of every weight, and of each state after it
    (tmp_path / "steep.toml").write_text("""
schema = 1
title = "A gradient that overflows"
layer = { kind = "SimpleRNN", units = 1 }
input = { x = [[[0], [0], [0], [0], [0.5]]] }
weights = { kernel = [[1]], recurrent_kernel = [[1e20]], bias = [0] }
source = { document = "a test", section = "steep" }

[[expect]]
what = "stateful"
of = "fit"
value = true
from = "what the option says"
""")
    c = files.load(tmp_path / "steep.toml")
    answer = asking_request.ask(c, subject, asking_request.Setting())
    assert answer.observed is not None
    left = answer.observed["stateful"]["weights"]["simple_rnn"]
    assert np.isnan(left["recurrent_kernel"]).any()
    (verdict,) = judge.judge(c, answer)
    assert verdict.verdict != DIFFER, verdict.detail


@pytest.mark.parametrize("fault", [f for f in FAULTS if f not in (planted.NONE, NEVER_RESET)])
def test_a_fault_of_what_is_carried_is_found(subject: Subject, fault: str) -> None:
    verdict = judged(subject, fault)
    assert verdict.verdict == DIFFER, verdict.detail


@long
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", ["carried", "reset"])
def test_a_fault_of_what_is_carried_through_a_mask_is_found(
    subject: Subject, name: str, fault: str
) -> None:
    verdicts = judge.judge(MASKED[name], observed(subject, MASKED[name], fault))
    is_right = fault == planted.NONE or (fault == NEVER_RESET and name == "carried")
    assert [v.verdict for v in verdicts] == [AGREE if is_right else DIFFER] * 2


@long
def test_a_state_that_an_epoch_resets_is_told_from_one_that_it_carries_on(
    subject: Subject,
) -> None:
    """Either way round: what one of them does is what the other must not do."""
    for name, other in (("carried", "reset"), ("reset", "carried")):
        answer = observed(subject, MASKED[name], planted.NONE)
        for c, wanted in ((MASKED[name], AGREE), (MASKED[other], DIFFER)):
            assert [v.verdict for v in judge.judge(c, answer)] == [wanted] * 2


@long
@pytest.mark.parametrize("fault", [f for f in FAULTS if f != NEVER_RESET])
@pytest.mark.parametrize("name", ["inputs", "states"])
def test_no_masks_explain_a_fault_of_what_is_carried(
    subject: Subject, name: str, fault: str
) -> None:
    (verdict,) = judge.judge(DROPPED[name], observed(subject, DROPPED[name], fault))
    assert verdict.verdict == (AGREE if fault == planted.NONE else DIFFER), verdict.detail


@long
def test_no_masks_explain_that_what_is_carried_is_dropped(subject: Subject) -> None:
    if subject.backend != "tensorflow":
        pytest.skip("what is planted here is of TensorFlow")
    fault = "recurrent dropout applied to the carried state"
    answer = observed(subject, DROPPED["states"], planted.LAYERS[fault].removeprefix("SimpleRNN="))
    (verdict,) = judge.judge(DROPPED["states"], answer)
    assert verdict.verdict == DIFFER, verdict.detail


def test_only_what_is_stateful_can_be_reset() -> None:
    text = (files.bundled() / "options" / "dropout" / "updates.toml").read_text(encoding="utf-8")
    with pytest.raises(files.ClaimError, match="reset_states: of a stateful layer only"):
        files.loads(text.replace("epochs ", "reset_states = true\nepochs "))


def test_batches_that_leave_one_smaller_are_refused() -> None:
    text = (files.bundled() / "options" / "stateful" / "fit.toml").read_text(encoding="utf-8")
    with pytest.raises(files.ClaimError, match="divides the samples"):
        files.loads(text.replace("batch_size    = 2", "batch_size    = 3"))
