"""Are flags and integers taken for the numbers that they are, and is a fault of it found?"""

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

FAULTS = planted.found(planted.FOLDER / "input_faults.py", "keras.layers.SimpleRNN")
CLAIMS = {
    str(c.input_dtype): c
    for c in files.load_each(files.bundled() / "options" / "numbers" / "flags.toml")
}


def judged(subject: Subject, c: Claim, fault: str) -> judge.Verdict:
    """Of each step."""
    c = dataclasses.replace(c, expectations=c.expectations[:1])
    request = asking_request.request(c, asking_request.asks(c), asking_request.Setting())
    observed = plans.ask(subject, {**request, "replace": {"SimpleRNN": FAULTS[fault]}})[1]
    (verdict,) = judge.judge(c, asking_request.Answer(observed))
    return verdict


@pytest.mark.parametrize("dtype", CLAIMS)
def test_flags_and_integers_are_the_numbers_that_they_are(subject: Subject, dtype: str) -> None:
    verdict = judged(subject, CLAIMS[dtype], planted.NONE)
    assert verdict.verdict == AGREE, verdict.detail


@pytest.mark.parametrize("dtype", CLAIMS)
@pytest.mark.parametrize("fault", [f for f in FAULTS if f != planted.NONE])
def test_what_is_read_otherwise_is_found(subject: Subject, fault: str, dtype: str) -> None:
    verdict = judged(subject, CLAIMS[dtype], fault)
    assert verdict.verdict == DIFFER, verdict.detail


INDICES = {
    str(c.input_dtype): c
    for c in files.load_each(files.bundled() / "options" / "numbers" / "indices.toml")
}
ROWS = planted.found(planted.FOLDER / "input_faults.py", "keras.layers.Embedding")


@pytest.mark.thinned(6)
@pytest.mark.parametrize("dtype", INDICES)
@pytest.mark.parametrize("fault", ROWS)
def test_rows_that_are_looked_up_otherwise_are_found(
    subject: Subject, fault: str, dtype: str
) -> None:
    c = INDICES[dtype]
    request = asking_request.request(c, asking_request.asks(c), asking_request.Setting())
    replace = {**planted.EAGERLY, "Embedding": ROWS[fault]}
    observed = plans.ask(subject, {**request, "replace": replace})[1]
    verdicts = judge.judge(c, asking_request.Answer(observed))
    found = {v.what for v in verdicts if v.verdict == DIFFER}
    if fault == planted.NONE:
        assert not found
    elif fault == "half of the gradient of the table lost":
        asked = {v.what for v in verdicts if v.verdict in (AGREE, DIFFER)}
        assert found == {"certified", "updates"} & asked or not subject.identity.gradients
    else:
        assert found


@pytest.mark.thinned(4)
@pytest.mark.parametrize("kind", ["Masking", ""])
@pytest.mark.parametrize("dtype", ["bool", "int8", "int32", "float16"])
def test_of_whole_numbers_each_step_and_each_gradient_is_certified(
    subject: Subject, dtype: str, kind: str
) -> None:
    """There is no gradient of them themselves, and Masking hands them on as they are."""
    text = (files.bundled() / "options" / "numbers" / "flags.toml").read_text(encoding="utf-8")
    loss = "[loss]\ncotangent = { linspace = [-1, 1], shape = [SHAPE] }\n"
    c = files.loads(text)
    assert c.x is not None
    shape = ", ".join(map(str, (*c.x.shape[:2], c.layers[0].inner.units)))
    text = text[: text.index("[[expect]]")] + loss.replace("SHAPE", shape)
    text += '[[expect]]\nwhat = "certified"\nvalue = true\nfrom = "a test"\n'
    text = text.replace('["bool", "int32", "int64"]', f'["{dtype}"]')
    if kind:
        text = text.replace("[layer]", '[[layers]]\nkind = "Masking"\n\n[[layers]]')
        text = text.replace("[weights]", "[weights.simple_rnn]")
    c = files.loads(text)
    assert c.input_dtype == dtype
    request = asking_request.request(c, asking_request.asks(c), asking_request.Setting())
    (verdict,) = judge.judge(c, asking_request.Answer(plans.ask(subject, request)[1]))
    assert verdict.verdict == AGREE, verdict.detail
