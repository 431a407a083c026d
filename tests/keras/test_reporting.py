"""Is what fit, evaluate and predict report certified, and no fault of it?"""

from __future__ import annotations

import dataclasses

import pytest

from rnn_check.asking import plans
from rnn_check.asking import request as asking_request
from rnn_check.claims import files
from rnn_check.claims.claim import Claim
from rnn_check.subjects.ask import Subject
from rnn_check.verdicts import judge
from rnn_check.verdicts.judge import AGREE, DIFFER
from tests.support import planted
from tests.support.sampling import sampled

pytestmark = pytest.mark.thinned(5)

FAULTS = planted.found(planted.FOLDER / "reporting_faults.py", "keras.Model")
OPTIONS = files.bundled() / "options"


def claims(name: str) -> dict[str, Claim]:
    """By what is asked."""
    return {c.expectations[0].of: c for c in files.load_each(OPTIONS / "training" / f"{name}.toml")}


def stateful() -> dict[str, Claim]:
    """The same of batches that go on, each asked alone."""
    c = files.load_each(OPTIONS / "stateful" / "batches_lstm.toml")[0]
    return {
        f"stateful {each.of}": dataclasses.replace(c, expectations=(each,))
        for each in c.expectations
    }


PENALIZED = {f"penalized {of}": c for of, c in claims("reported_penalized").items()}
CLAIMS = {**claims("reported"), **claims("predicted_lstm"), **stateful(), **PENALIZED}


def judged(subject: Subject, of: str, fault: str | None = None) -> judge.Verdict:
    """fault: of a model that is not compiled; by default it is Keras's, compiled."""
    c = CLAIMS[of]
    request = asking_request.request(c, asking_request.asks(c), asking_request.Setting())
    if fault:
        request["replace"] = {"Model": FAULTS[fault]}
    observed = plans.ask(subject, request)[1]
    (found,) = observed.values()
    if "unsupported" in found:
        pytest.skip(found["unsupported"])
    (verdict,) = judge.judge(c, asking_request.Answer(observed))
    return verdict


def is_known(subject: Subject, of: str) -> bool:
    """Whether the subject reports something else itself (fixtures/known/deviations.toml)."""
    masked = {"fit", "train_on_batch"}
    return (
        subject.backend == "openvino"
        or (subject.backend == "torch" and of in ("evaluate", "fit"))
        or (subject.backend == "jax" and (of in masked or of.startswith("stateful")))
        or (subject.backend == "numpy" and of.endswith("test_on_batch"))
    )


@pytest.mark.thinned(10)
@pytest.mark.parametrize("of", CLAIMS)
def test_a_model_without_a_fault_is_certified(subject: Subject, of: str) -> None:
    if is_known(subject, of):
        pytest.skip("a known deviation")
    for fault in (None, planted.NONE):
        verdict = judged(subject, of, fault)
        assert verdict.verdict == AGREE, verdict.detail


@pytest.mark.parametrize("fault", sampled(sorted(f for f in FAULTS if f != planted.NONE), 24))
def test_a_fault_of_what_is_reported_is_found(subject: Subject, fault: str) -> None:
    of = fault.partition(":")[0]
    verdict = judged(subject, of, fault)
    assert verdict.verdict == DIFFER, verdict.detail
