"""Does a dropout mask explain an update, and none that of a layer or an optimizer with a fault?"""

from __future__ import annotations

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

OPTIONS = files.bundled() / "options" / "dropout"
FAULTS = {
    "LSTM": ["recurrent dropout applied to the carried state", "bias of gate f dropped"],
    "GRU": ["recurrent dropout applied to the carried state", "second bias dropped"],
}


def judged(subject: Subject, kind: str, fault: str) -> judge.Verdict:
    """Of the claim with both rates."""
    if subject.backend == "torch":
        pytest.skip("what is planted here has no gradient on torch")
    c = files.load_each(OPTIONS / f"one_update_{kind.lower()}.toml")[-1]
    request = asking_request.request(c, ["one_update"], asking_request.Setting())
    layer = planted.GATED[kind][fault].removeprefix(f"{kind}=")
    observed = plans.ask(subject, {**request, "replace": {**planted.EAGERLY, kind: layer}})[1]
    if "unsupported" in observed["one_update"]:
        pytest.skip(observed["one_update"]["unsupported"])
    (verdict,) = judge.judge(c, asking_request.Answer(observed))
    return verdict


@long
@pytest.mark.parametrize("kind", FAULTS)
def test_a_mask_explains_an_update_of_gates_in_other_words(subject: Subject, kind: str) -> None:
    verdict = judged(subject, kind, planted.NONE)
    assert verdict.verdict == AGREE, verdict.detail


@long
@pytest.mark.parametrize(("kind", "fault"), [(kind, f) for kind in FAULTS for f in FAULTS[kind]])
def test_no_mask_explains_an_update_with_a_fault(subject: Subject, kind: str, fault: str) -> None:
    assert judged(subject, kind, fault).verdict == DIFFER


BATCHES = files.load(OPTIONS / "updates.toml")
OF_BATCHES = {
    **{
        f"SimpleRNN: {fault}": {"SimpleRNN": planted.LAYERS[fault].removeprefix("SimpleRNN=")}
        for fault in (
            "recurrent dropout applied to the carried state", "recurrent kernel transposed",
            "bias dropped", "kernel gradient off by 1e-5", "gradient cut between timesteps",
        )
    },
    **{
        f"SGD: {fault}": planted.replaced("SGD", fault)
        for fault in (
            "momentum off by 1e-4", "velocity reset each epoch",
            "gradient of the smaller batch weighted by its size",
        )
    },
}  # fmt: skip


def judged_batches(subject: Subject, c: Claim, replace: dict[str, str]) -> judge.Verdict:
    request = asking_request.request(c, ["training"], asking_request.Setting())
    observed = plans.ask(subject, {**request, "replace": {**planted.EAGERLY, **replace}})[1]
    if "unsupported" in observed["training"]:
        pytest.skip(observed["training"]["unsupported"])
    (verdict,) = judge.judge(c, asking_request.Answer(observed))
    return verdict


@long
def test_masks_explain_each_update_by_a_batch(subject: Subject) -> None:
    verdict = judged_batches(subject, BATCHES, {})
    assert verdict.verdict == AGREE, verdict.detail
    assert "each of 4 updates follows" in verdict.detail


@long
@pytest.mark.parametrize("fault", OF_BATCHES)
def test_no_masks_explain_an_update_by_a_batch_with_a_fault(subject: Subject, fault: str) -> None:
    if subject.backend != "tensorflow" and fault.startswith("SimpleRNN"):
        pytest.skip("what is planted here is of TensorFlow")
    assert judged_batches(subject, BATCHES, OF_BATCHES[fault]).verdict == DIFFER


OF_GATES = {
    c.layers[0].inner.family: c  # type: ignore[attr-defined]
    for c in files.load_each(OPTIONS / "updates_gates.toml")
    if "input" not in c.name
}


@long
@pytest.mark.parametrize("kind", OF_GATES)
@pytest.mark.parametrize("fault", ["", "SGD: momentum off by 1e-4", *FAULTS["LSTM"][:1], "second"])
def test_masks_of_each_gate_explain_an_update_that_has_no_fault(
    subject: Subject, kind: str, fault: str
) -> None:
    fault = FAULTS[kind][1] if fault == "second" else fault
    replace = OF_BATCHES[fault] if fault.startswith("SGD") else {}
    if fault and not replace:
        if subject.backend != "tensorflow":
            pytest.skip("what is planted here is of TensorFlow")
        replace = {kind: planted.GATED[kind][fault].removeprefix(f"{kind}=")}
    verdict = judged_batches(subject, OF_GATES[kind], replace)
    assert verdict.verdict == (DIFFER if fault else AGREE), verdict.detail


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("= 0.5\nrec", "= 0.3\nrec", "rates of 0.5, 0.75 or 0.875 only"),
        ('"SimpleRNN"', '"GRU"', "more than 4,096 masks"),  # each gate has its own
        ("batch_size    = 2", "batch_size    = 3", ""),  # 2^12 masks
        ("x = [", "x = [[[1, 1], [1, 1], [1, 1]], ", "more than 4,096 masks"),
    ],
)
def test_masks_that_are_not_tried_are_said(old: str, new: str, why: str) -> None:
    text = (OPTIONS / "updates.toml").read_text(encoding="utf-8").replace(old, new)
    if new.startswith("x"):
        text = text.replace("target = [", "target = [[0, 0], ").replace(
            "size    = 2", "size    = 4"
        )
    if new == '"GRU"':
        weights = text[text.index("[weights]") : text.index("[input]")]
        given = (
            "kernel = { full = 0, shape = [2, 6] }\nrecurrent_kernel = { full = 0, shape = [2, 6] }"
        )
        text = text.replace(weights, f"[weights]\n{given}\nbias = {{ full = 0, shape = [2, 6] }}\n")
    c = files.loads(text)
    said = c.expectations[0].unjudged(c)
    assert why in said if why else not said
