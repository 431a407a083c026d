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
