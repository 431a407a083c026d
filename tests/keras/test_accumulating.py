"""Are gradients that are accumulated in mixed precision certified, and no fault of it?"""

from __future__ import annotations

import dataclasses

import pytest

from rnn_check.asking import plans
from rnn_check.asking import request as asking_request
from rnn_check.claims import files
from rnn_check.subjects.ask import Subject
from rnn_check.verdicts import judge
from rnn_check.verdicts.judge import AGREE, DIFFER
from tests.support import bundled, planted

FAULTS = planted.found(planted.FOLDER / "accumulating_faults.py", "keras.optimizers.SGD")
FILE = files.bundled() / "options" / "training" / "fit_accumulated.toml"
(WHOLE, _) = bundled.in_file(FILE)
CLAIM = dataclasses.replace(WHOLE, expectations=WHOLE.expectations[:1])
ACCUMULATED = [fault for fault in FAULTS if fault != planted.NONE]
DTYPES = ("mixed_float16", "mixed_bfloat16")


def judged(subject: Subject, dtype: str, fault: str) -> judge.Verdict:
    request = asking_request.request(CLAIM, ["training"], asking_request.Setting(dtype=dtype))
    replace = {**planted.EAGERLY, "SGD": FAULTS[fault]}
    observed = plans.ask(subject, {**request, "replace": replace})[1]
    if "unsupported" in observed["training"]:
        pytest.skip(observed["training"]["unsupported"])
    (found,) = judge.judge(CLAIM, asking_request.Answer(observed), dtype=dtype)
    return found


@pytest.mark.parametrize("dtype", DTYPES)
def test_what_is_accumulated_in_mixed_precision_is_certified(subject: Subject, dtype: str) -> None:
    found = judged(subject, dtype, planted.NONE)
    assert found.verdict == AGREE, found.detail
    assert "each of 8 updates follows" in found.detail


@pytest.mark.thinned(4)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("fault", ACCUMULATED)
def test_a_fault_of_accumulation_is_found(subject: Subject, fault: str, dtype: str) -> None:
    found = judged(subject, dtype, fault)
    assert found.verdict == DIFFER, found.detail
