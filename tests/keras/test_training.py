"""Is each update of a real `model.fit` certified, and each planted fault not?

The faults are optimizers with one mistake each, run by Keras itself.
"""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import mpmath
import numpy as np
import pytest

from rnn_check.asking import plans
from rnn_check.asking import request as asking_request
from rnn_check.certificates import outcomes
from rnn_check.claims import files
from rnn_check.claims.claim import Claim
from rnn_check.claims.expectations import training
from rnn_check.recurrences import optimizers
from rnn_check.subjects.ask import Subject
from rnn_check.verdicts import judge
from rnn_check.verdicts.judge import AGREE, DIFFER, NOT_RUN
from tests.support import planted
from tests.support.sampling import long, sampled, thinned
from tests.support.trainings import ARTICLE, U32, gated, planted_in, short


def ask(subject: Subject, c: Claim, mode: str = "eager", **replace: str) -> dict[str, Any]:
    """What the subject recorded; skipped where a backend's training is not recorded.

    replace: which need not be compiled to be seen.
    """
    request = asking_request.request(c, ["training"], asking_request.Setting(mode)) | (
        {"replace": {**planted.EAGERLY, **replace}} if replace else {}
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
        "amsgrad": False, "use_ema": False, "ema_momentum": 0.99,
    }  # fmt: skip


# The update at which each must be found: at once, unless it needs a state to differ (what is not
# carried; what is skipped). An alpha 1e-4 too large hides behind the cancellation of 1 - beta_2^t
# at first, by how much depends on the backend's power.
# Of AdamW two batches make an update, and the norm of only the first is clipped.
FOUND_AT = {fault: {1} for faults in planted.OPTIMIZERS.values() for fault in faults}
FOUND_AT |= {fault: {2} for fault in planted.OPTIMIZERS["AdamW"]}
FOUND_AT |= {
    "m not carried between steps": {2},
    "v not carried between steps": {2},
    "one update skipped": {5},
    "learning rate off by 1e-4": set(range(1, 11)),
    "momentum of the other sign": {2},
    "velocity reset each epoch": {3},
    "momentum off by 1e-4": {2},
    "gradient of the smaller batch weighted by its size": {2},
    "last batch of each epoch dropped": {2},
    "squares reset each epoch": {3},
    "momentum subtracted": {2},
    "momentum forgotten": {2},
    "smaller batch dropped": {2},
    "decay of batches that only accumulate": {1},
    "gradient of the last batch alone": {1},
    "small norms stretched to the limit": {4},
    "sum of the accumulated gradients": {4},
    "momentum weighs the new weights": {2},
    "momentum of averages off by 1e-4": {2},
    "averages are the last weights": {2},
    "weights overwritten one update early": {2},
    "weights never overwritten": {3},
    "no stairs": {2},
    "stairs one update early": {3},
}


@thinned(6)
@pytest.mark.parametrize("by", planted.OPTIMIZERS)
def test_an_optimizer_in_other_words_is_certified(subject: Subject, by: str) -> None:
    """The twin: what is found below are the faults, not the subclass."""
    c = planted_in(by)
    observed = ask(subject, c, **planted.replaced(by, planted.NONE))
    (verdict,) = judge.judge(c, asking_request.Answer(observed))
    assert verdict.verdict == AGREE, verdict.detail


@thinned(16)
@pytest.mark.parametrize("mode", ["function", "xla"])
@pytest.mark.parametrize("by", planted.OPTIMIZERS)
def test_keras_is_certified_by_any_optimizer(subject: Subject, by: str, mode: str) -> None:
    c = planted_in(by)
    (verdict,) = judge.judge(c, asking_request.Answer(ask(subject, c, mode)))
    assert verdict.verdict == AGREE, verdict.detail


PLANTED = [(by, fault) for by, faults in planted.OPTIMIZERS.items() for fault in sorted(faults)]


@pytest.mark.thinned(2)
@pytest.mark.parametrize("planted_fault", sampled([p for p in PLANTED if p[1] != planted.NONE], 64))
def test_a_fault_of_the_optimizer_is_found(
    subject: Subject, planted_fault: tuple[str, str]
) -> None:
    by, fault = planted_fault
    c = planted_in(by)
    observed = ask(subject, c, **planted.replaced(by, fault))
    (verdict,) = judge.judge(c, asking_request.Answer(observed))
    assert verdict.verdict == DIFFER
    assert verdict.is_red
    if fault == "averages not handed over at the end":
        assert "when fit returns" in verdict.detail
        return
    update = re.search(r"\w+ at update (\d+), of ", verdict.detail)
    assert update is not None, verdict.detail
    assert int(update[1]) in FOUND_AT[fault], verdict.detail


@pytest.mark.thinned(2)
@pytest.mark.parametrize("fault", ["gradient cut between timesteps", "recurrent kernel transposed"])
def test_a_fault_of_the_layer_is_found_in_its_training(subject: Subject, fault: str) -> None:
    if subject.backend != "tensorflow":
        pytest.skip("these faults are written in TensorFlow")
    c = short(1)
    (verdict,) = judge.judge(
        c, asking_request.Answer(ask(subject, c, SimpleRNN=planted.LAYERS[fault]))
    )
    assert verdict.verdict == DIFFER
    assert "at update 1, of " in verdict.detail


def derived(name: str) -> Claim:
    """Of a bundled claim that the updates follow, and no numbers."""
    c = files.load(files.bundled() / "derived" / f"{name}.toml")
    return dataclasses.replace(c, expectations=c.expectations[:1])


PENALTIES = planted.found(planted.FOLDER / "penalty_faults.py", "keras.layers.Dense")


@pytest.mark.parametrize("fault", sampled(sorted(PENALTIES), 18))
def test_a_fault_of_penalties_and_constraints_is_found(subject: Subject, fault: str) -> None:
    c = derived("trained_constrained")
    observed = ask(subject, c, Dense=PENALTIES[fault])
    (verdict,) = judge.judge(c, asking_request.Answer(observed))
    assert verdict.verdict == (AGREE if fault == planted.NONE else DIFFER), verdict.detail
    if fault != planted.NONE:
        assert "at update 1, of " in verdict.detail


@pytest.mark.long
def test_what_is_frozen_is_not_trained(subject: Subject) -> None:
    c = derived("trained_frozen")
    (right,) = judge.judge(c, asking_request.Answer(ask(subject, c)))
    assert right.verdict == AGREE, right.detail
    wrong = f"{planted.FOLDER / 'penalty_faults.py'}:LSTM"
    (verdict,) = judge.judge(c, asking_request.Answer(ask(subject, c, LSTM=wrong)))
    assert verdict.verdict == DIFFER
    assert "what is trained: the framework's lstm, dense, true dense" in verdict.detail


@pytest.mark.parametrize("mode", sampled(["function", "xla"], 2))
def test_penalties_and_constraints_are_certified(subject: Subject, mode: str) -> None:
    c = derived("trained_constrained")
    (verdict,) = judge.judge(c, asking_request.Answer(ask(subject, c, mode)))
    assert verdict.verdict == AGREE, verdict.detail


# What the article's data cannot show: they have no mask, no start and no dropout, and are not read
# backwards;
# no c leaves [-1, 1], no z passes 0.9, and GRU resets after its product as it stands; 1e-5 of one
# weight is less than what rounds.
UNSEEN = {
    "LSTM": {
        "c clipped to 1", "c not carried by a mask", "states in the other order",
        "initial states in the other order", "returned states in the other order",
        "initial cell state ignored", "kernel of gate f off by 1e-5",
        "kernel of gate c off by 1e-5", "kernel of gate o off by 1e-5",
        "activation of the candidate approximated to 1e-5", "h not carried by a mask",
        "gradient cut by a mask", "initial state ignored", "go_backwards ignored",
        "recurrent dropout applied to the carried state",
    },
    "GRU": {
        "reset after the product for before", "z clipped to 0.9", "kernel of gate z off by 1e-5",
        "kernel of gate r off by 1e-5", "recurrent kernel of gate r off by 1e-4",
        "kernel gradient of gate r off by 1e-4", "kernel of gate h off by 1e-5",
        "kernel gradient of gate h off by 1e-4", "h not carried by a mask",
        "gradient cut by a mask", "initial state ignored", "go_backwards ignored",
        "recurrent dropout applied to the carried state",
    },
}  # fmt: skip
GATED = [(kind, fault) for kind, faults in planted.GATED.items() for fault in faults]


def with_fault(subject: Subject, kind: str, fault: str) -> judge.Verdict:
    """The first three updates of the article's training with gates that have a fault."""
    if subject.backend != "tensorflow":
        pytest.skip("these faults are written in TensorFlow")
    c = short(3, gated(kind))
    layer = planted.GATED[kind][fault].removeprefix(f"{kind}=")
    (verdict,) = judge.judge(c, asking_request.Answer(ask(subject, c, **{kind: layer})))
    return verdict


@pytest.mark.thinned(2)
@pytest.mark.parametrize("kind", planted.GATED)
def test_gates_in_other_words_are_certified_in_their_training(subject: Subject, kind: str) -> None:
    assert with_fault(subject, kind, planted.NONE).verdict == AGREE


@pytest.mark.thinned(2)
@pytest.mark.parametrize(
    "kind_and_fault",
    sampled([(k, f) for k, f in GATED if f not in {planted.NONE, *UNSEEN[k]}], 96),
)
def test_a_fault_of_gates_is_found_in_their_training(
    subject: Subject, kind_and_fault: tuple[str, str]
) -> None:
    verdict = with_fault(subject, *kind_and_fault)
    assert verdict.verdict == DIFFER, verdict.detail
    assert re.search(r"\w+ at update [123], of ", verdict.detail), verdict.detail


def test_a_training_cut_short_does_not_pass_for_the_whole(subject: Subject) -> None:
    (verdict,) = judge.judge(short(3), asking_request.Answer(ask(subject, short(2))))
    assert verdict.verdict == DIFFER
    assert "updates: the framework's 2, true 3" in verdict.detail


@pytest.mark.filterwarnings("ignore:__array__ implementation")  # that of torch's tensors
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
        assert max(np.array(off, float)[normal]) <= optimizers._POW * U32


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


@long
@pytest.mark.parametrize("name", ["lstm", "gru"])
def test_every_update_with_gates_in_its_place_is_certified(subject: Subject, name: str) -> None:
    c = short(500, gated(name))
    (verdict,) = judge.judge(c, asking_request.Answer(ask(subject, c)))
    assert verdict.verdict == AGREE, verdict.detail
    assert "each of 500 updates follows" in verdict.detail


SATURATED = """
schema = 1
title  = "SGD far into saturation, printed by one float32 execution"
[source]
document = "one float32 execution"
[[layers]]
kind     = "SimpleRNN"
units    = 1
use_bias = false
[[layers]]
kind     = "Dense"
units    = 1
use_bias = false
[training]
optimizer     = "SGD"
learning_rate = 5
epochs        = 2
[reading]
computed_in = "float32"
[weights.simple_rnn]
kernel           = { full = 1, shape = [4, 1] }
recurrent_kernel = [[1]]
[weights.dense]
kernel = [[1]]
[input]
x = { full = 1, shape = [5, 3, 4] }
[loss]
kind   = "mse"
target = { full = 0, shape = [5, 1] }
[[expect]]
what  = "trained_weights"
of    = "kernel"
value = [[0.8484658], [0.8484658], [0.8484658], [0.8484658]]
from  = "printed"
[[expect]]
what  = "trained_weights"
of    = "recurrent_kernel"
value = [[0.8484799]]
from  = "printed"
[[expect]]
what  = "trained_weights"
of    = "dense.kernel"
value = [[80.967026]]
from  = "printed"
"""


def test_what_saturation_does_to_a_float32_training_is_allowed_in_float32_alone(
    subject: Subject,
) -> None:
    """In exact arithmetic the kernel ends at 0.8484246, 4.1e-5 away: 1 - h² cancels at h = 0.99991,
    and a gradient of 81 and a rate of 5 multiply what is lost."""
    for computed_in, word in (("float32", AGREE), ("float64", DIFFER), ("exact", DIFFER)):
        c = files.loads(SATURATED.replace('"float32"', f'"{computed_in}"'))
        answer = asking_request.ask(c, subject, asking_request.Setting())
        verdicts = judge.judge(c, answer)
        assert {v.verdict for v in verdicts} == {word}, [v.detail for v in verdicts]
        assert len(verdicts) == 3


def test_the_claim_is_judged_only_when_slow_ones_are(subject: Subject) -> None:
    verdicts = judge.judge(ARTICLE, asking_request.ask(ARTICLE, subject, asking_request.Setting()))
    assert {v.verdict for v in verdicts} == {NOT_RUN}
