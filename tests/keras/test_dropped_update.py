"""Does one dropout mask explain an update of gates, and none that of a layer with a fault?"""

from __future__ import annotations

import pytest

from rnn_check.asking import plans
from rnn_check.asking import request as asking_request
from rnn_check.claims import files
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
    observed = plans.ask(subject, {**request, "replace": {kind: layer}})[1]
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
