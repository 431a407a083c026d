"""Is each update of a real `model.fit` certified, and each planted fault not?

The faults are optimizers with one mistake each, run by Keras itself.
"""

from __future__ import annotations

import re
from typing import Any

import mpmath
import numpy as np
import pytest

from rnn_check.asking import plans
from rnn_check.asking import request as asking_request
from rnn_check.certificates import outcomes
from rnn_check.certificates import updates as certificates_updates
from rnn_check.claims.claim import Claim
from rnn_check.claims.expectations import training
from rnn_check.subjects.ask import Subject
from rnn_check.verdicts import judge
from rnn_check.verdicts.judge import AGREE, DIFFER, NOT_RUN
from tests.support import planted
from tests.support.sampling import long, sampled
from tests.support.trainings import ARTICLE, U32, short


def ask(subject: Subject, c: Claim, mode: str = "eager", **replace: str) -> dict[str, Any]:
    """What the subject recorded; skipped where a backend's training is not recorded."""
    request = asking_request.request(c, ["training"], asking_request.Setting(mode)) | (
        {"replace": replace} if replace else {}
    )
    observed = plans.ask(subject, request)[1]
    if "unsupported" in observed["training"]:
        pytest.skip(observed["training"]["unsupported"])
    return observed


@pytest.mark.parametrize("mode", sampled(["eager", "function", "xla"], 3))
def test_keras_is_certified_however_it_compiles(subject: Subject, mode: str) -> None:
    c = short(12)
    observed = ask(subject, c, mode)
    (verdict,) = judge.judge(c, asking_request.Answer(observed))
    assert verdict.verdict == AGREE, verdict.detail
    assert "each of 12 updates follows" in verdict.detail
    assert observed["training"]["jit_compile"] == (mode == "xla") or mode == "eager"


def test_the_recording_begins_before_the_first_update(subject: Subject) -> None:
    recorded = ask(subject, short(2))["training"]
    assert recorded["iterations"].tolist() == [0, 1, 2]
    assert recorded["loss"].shape == (2,)
    assert ARTICLE.weights is not None
    for layer, table in ARTICLE.weights.items():
        for name, given in table.items():
            first = recorded["weights"][layer][name][0]
            assert first.tobytes() == given.value.astype(np.float32).tobytes()
            assert not recorded["m"][layer][name][0].any()
            assert not recorded["v"][layer][name][0].any()
    assert recorded["optimizer"] == {
        "learning_rate": float(np.float32(0.01)), "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-7,
    }  # fmt: skip


# The update at which each must be found: at once, unless it needs a state to differ (what is not
# carried; what is skipped). An alpha 1e-4 too large hides behind the cancellation of 1 - beta_2^t
# at first, by how much depends on the backend's power.
FOUND_AT = {fault: {1} for fault in planted.OPTIMIZERS} | {
    "m not carried between steps": {2},
    "v not carried between steps": {2},
    "one update skipped": {5},
    "learning rate off by 1e-4": set(range(1, 11)),
}


def test_an_optimizer_in_other_words_is_certified(subject: Subject) -> None:
    """The twin: what is found below are the faults, not the subclass."""
    c = short(10)
    observed = ask(subject, c, Adam=planted.OPTIMIZERS[planted.NONE])
    (verdict,) = judge.judge(c, asking_request.Answer(observed))
    assert verdict.verdict == AGREE, verdict.detail


@pytest.mark.parametrize("fault", sampled(sorted(planted.OPTIMIZERS.keys() - {planted.NONE}), 5))
def test_a_fault_of_the_optimizer_is_found(subject: Subject, fault: str) -> None:
    c = short(10)
    observed = ask(subject, c, Adam=planted.OPTIMIZERS[fault])
    (verdict,) = judge.judge(c, asking_request.Answer(observed))
    assert verdict.verdict == DIFFER
    assert verdict.is_red
    update = re.search(r"\w+ at update (\d+), of ", verdict.detail)
    assert update is not None, verdict.detail
    assert int(update[1]) in FOUND_AT[fault], verdict.detail


@pytest.mark.parametrize("fault", ["gradient cut between timesteps", "recurrent kernel transposed"])
def test_a_fault_of_the_layer_is_found_in_its_training(subject: Subject, fault: str) -> None:
    c = short(1)
    (verdict,) = judge.judge(
        c, asking_request.Answer(ask(subject, c, SimpleRNN=planted.LAYERS[fault]))
    )
    assert verdict.verdict == DIFFER
    assert "at update 1, of " in verdict.detail


def test_a_training_cut_short_does_not_pass_for_the_whole(subject: Subject) -> None:
    (verdict,) = judge.judge(short(3), asking_request.Answer(ask(subject, short(2))))
    assert verdict.verdict == DIFFER
    assert "updates: the framework's 2, true 3" in verdict.detail


def test_the_power_is_within_its_allowance() -> None:
    """Float32 beta^t by the backend, against mpmath: _POW is in units of u, relative."""
    import keras

    t = np.arange(1, 2001)
    for beta in (0.9, 0.999):
        rounded = np.float32(beta)
        power = keras.ops.power(keras.ops.convert_to_tensor(rounded), t.astype(np.float32))
        got = np.asarray(keras.ops.convert_to_numpy(power)).astype(float)
        exact = [mpmath.mpf(float(rounded)) ** int(n) for n in t]
        normal = got >= np.finfo(np.float32).tiny
        off = [abs(g / e - 1) for g, e in zip(got, exact, strict=True)]
        assert max(np.array(off, float)[normal]) <= certificates_updates._POW * U32


@long
def test_every_update_of_the_article_is_certified(
    monkeypatch: pytest.MonkeyPatch, subject: Subject
) -> None:
    """All 2,000, and the claim as `rnn-check --slow` judges it."""
    drawn = training.draw(ARTICLE)  # once for both
    monkeypatch.setattr(outcomes, "outcomes", lambda *_, **__: drawn)
    updates, *outcome = judge.judge(
        ARTICLE, asking_request.ask(ARTICLE, subject, asking_request.Setting(slow=True))
    )
    assert {v.verdict for v in outcome} == {AGREE}
    if updates.verdict == NOT_RUN:
        pytest.skip(updates.detail)
    assert updates.verdict == AGREE, updates.detail
    assert "each of 2,000 updates follows" in updates.detail
    assert updates.ratio is not None
    assert updates.ratio <= 1


def test_the_claim_is_judged_only_when_slow_ones_are(subject: Subject) -> None:
    verdicts = judge.judge(ARTICLE, asking_request.ask(ARTICLE, subject, asking_request.Setting()))
    assert {v.verdict for v in verdicts} == {NOT_RUN}
