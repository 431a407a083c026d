"""Is the penalty of what layers put out told from another, in what is reported and in updates?"""

from __future__ import annotations

import dataclasses

import pytest

from rnn_check.asking import plans
from rnn_check.asking import request as asking_request
from rnn_check.claims import files
from rnn_check.subjects.ask import Subject
from rnn_check.verdicts import judge
from rnn_check.verdicts.judge import AGREE, DIFFER
from tests.support import planted
from tests.support.sampling import sampled

FILE = planted.FOLDER / "activity_faults.py"
FAULTS = planted.found(FILE, "keras.layers.Dense")
OPTIONS = files.bundled() / "options" / "training"
CLAIMS = {c.name: c for c in files.load_each(OPTIONS / "penalized_sequences.toml")}
GRU = CLAIMS["options/training/penalized_sequences[gru][of=evaluate]"]
LSTM = CLAIMS["options/training/penalized_sequences[lstm][of=evaluate]"]
STATES = planted.found(FILE, "keras.layers.LSTM")
CALLS = {c.name: c for c in files.load_each(OPTIONS / "penalized_calls.toml")}
UNBEGUN = planted.found(planted.FOLDER / "unbegun_faults.py", "keras.layers.GRU")
(STATEFUL, _) = files.load_each(OPTIONS.parent / "stateful" / "penalized.toml")
DIRECTIONS = planted.found(
    planted.FOLDER / "bidirectional_penalty_faults.py", "keras.layers.Bidirectional"
)


def judged(subject: Subject, claim: files.Claim, **replace: str) -> dict[str, judge.Verdict]:
    request = asking_request.request(claim, asking_request.asks(claim), asking_request.Setting())
    observed = plans.ask(subject, request | {"replace": {**planted.EAGERLY, **replace}})[1]
    if why := next(
        (found["unsupported"] for found in observed.values() if "unsupported" in found), ""
    ):
        pytest.skip(why)
    return {v.what: v for v in judge.judge(claim, asking_request.Answer(observed))}


@pytest.mark.thinned(9)
@pytest.mark.parametrize("fault", sampled(sorted(FAULTS), 9))
def test_a_fault_of_what_is_penalized_is_found(subject: Subject, fault: str) -> None:
    verdicts = judged(subject, GRU, Dense=FAULTS[fault])
    seen = fault != planted.NONE
    assert verdicts["updates"].verdict == (DIFFER if seen else AGREE), verdicts["updates"].detail
    reported = seen and fault != "reported, and not trained on"
    found = verdicts["reported of evaluate"]
    assert found.verdict == (DIFFER if reported else AGREE), found.detail


@pytest.mark.long
@pytest.mark.parametrize("fault", sorted(STATES))
def test_states_that_are_returned_are_penalized_too(subject: Subject, fault: str) -> None:
    verdicts = judged(subject, LSTM, LSTM=STATES[fault])
    assert {v.verdict for v in verdicts.values()} == {DIFFER}


@pytest.mark.thinned(2)
@pytest.mark.parametrize("fault", sorted(UNBEGUN))
def test_before_the_first_step_a_stateful_layer_shows_zeros_or_states(
    subject: Subject, fault: str
) -> None:
    found = judged(subject, STATEFUL, GRU=UNBEGUN[fault])
    if subject.backend not in ("tensorflow", "torch"):
        pytest.skip("which does not carry a state through evaluate, or does not evaluate it")
    seen = AGREE if fault.startswith(planted.NONE) else DIFFER
    assert {v.verdict for v in found.values()} == {seen}, found


@pytest.mark.thinned(5)
@pytest.mark.parametrize("of", ["bidirectional", "bidirectional_states"])
@pytest.mark.parametrize("fault", sorted(DIRECTIONS))
def test_a_fault_of_what_two_directions_add_is_found(subject: Subject, fault: str, of: str) -> None:
    claim = CALLS[f"options/training/penalized_calls[{of}]"]
    own = tuple(e for e in claim.expectations if e.what == "activity_loss")
    found = judged(
        subject, dataclasses.replace(claim, expectations=own), Bidirectional=DIRECTIONS[fault]
    )
    seen = DIFFER if fault != planted.NONE else AGREE
    assert found["activity_loss"].verdict == seen, found["activity_loss"].detail
