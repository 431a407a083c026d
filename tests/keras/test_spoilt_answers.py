"""Does an answer that is spoilt turn red, wherever its kind of expectation says that it must?

Of every kind one bundled claim is asked, and each value that the kind names is made another.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from rnn_check.asking import request
from rnn_check.claims.claim import Claim
from rnn_check.claims.expectations.expectation import KINDS, Expectation
from rnn_check.subjects.ask import Subject
from rnn_check.verdicts.judge import AGREE, DIFFER, ERROR
from tests.support import bundled
from tests.support.sampling import thinned
from tests.support.spoilt import Beside, spoilt

# whose answers are of something that no value moves out of what is allowed, or of nobody
NONE = {"input", "preactivation", "input_shape", "weight_shape", "output_dtype", "constrained"}
NONE |= {"gate", "candidate"}
NONE |= {"loss_of_predictions", "ordinary_outcome", "initial_weights", "same"}


def asked_for(what: str) -> Iterator[tuple[Claim, Expectation]]:
    """Bundled claims, and an expectation of that kind in each."""
    for c in bundled.everywhere():
        yield from ((c, e) for e in c.expectations if e.what == what and e.asked(c))


@thinned(20)
# a training is minutes of answers: test_training spoils those of shorter ones
@pytest.mark.parametrize("what", sorted(KINDS.keys() - NONE - {"updates"}))
def test_a_spoilt_answer_turns_red(what: str, subject: Subject) -> None:
    for c, e in asked_for(what):
        if c.slow or not e.spoils(c):
            continue
        answer, beside = request.ask(c, subject, request.Setting()), Beside(c)
        if answer.error or beside.verdict(e, answer.observed or {}).verdict != AGREE:
            continue  # known to differ, or not to be there
        places = 0
        for way in e.spoils(c):
            for where, other in spoilt(answer.observed or {}, way):
                assert beside.verdict(e, other).verdict in (DIFFER, ERROR), where
                places += 1
        assert places, "nothing was spoilt"
        return
    pytest.fail("no bundled claim of it agrees")


def test_a_kind_whose_answers_are_not_spoilt_says_so() -> None:
    for what in sorted(NONE):
        assert not any(e.spoils(c) for c, e in asked_for(what)), what
