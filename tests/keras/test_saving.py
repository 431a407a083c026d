"""Is what goes wrong around a layer seen: in files, copies, other models, seeds?

The faults are classes with one mistake each, asked in place of Keras's.
"""

from __future__ import annotations

import pytest

from rnn_check.asking import plans
from rnn_check.asking import request as asking_request
from rnn_check.claims import files
from rnn_check.claims.claim import Claim
from rnn_check.subjects.ask import Subject
from rnn_check.verdicts import judge
from rnn_check.verdicts.judge import AGREE, DIFFER, NOT_RUN
from tests.support import planted

FAULTS = planted.found(
    planted.FOLDER / "saving_faults.py",
    *("keras.layers.SimpleRNN", "keras.optimizers.SGD", "keras.optimizers.Adam"),
)
# in place of which class, and what turns red
PLANTED = {
    "the bias is not saved": ("SimpleRNN", "round_trip", "keras"),
    "a layer that is called again computes something else": ("SimpleRNN", "composed", "twice"),
    "of every other call no gradient reaches the kernel": (*("SimpleRNN", "composed", "twice"),),
    "the kernel is drawn of no seed": ("SimpleRNN", "seeded", "weights"),
    "what is dropped is drawn of no seed": ("SimpleRNN", "seeded", "dropout"),
    "inside a graph it computes something else": ("SimpleRNN", "exported", ""),
    "the optimizer's momentum is not saved": ("SGD", "resumed", "keras"),
    "the optimizer's iterations are not saved": ("Adam", "resumed", "keras"),
}
TEXT = """
schema = 1
title  = "what is around a layer"

[source]
document = "a test"

[layer]
kind  = "SimpleRNN"
units = 2
{options}
[weights]
kernel           = [[0.5, -0.75], [-0.375, 0.625]]
recurrent_kernel = [[0.25, -0.5], [0.625, 0.125]]
bias             = [0.125, -0.25]

[input]
x = [[[0.5, -1.0], [1.25, 0.75], [-0.5, 0.25]], [[-1.0, 0.5], [0.25, -2.0], [1.5, 1.0]]]

[loss]
kind   = "mse"
target = [[1.0, -0.5], [0.25, 0.75]]

[training]
optimizer     = "{optimizer}"
learning_rate = 0.125
epochs        = 2
{momentum}
[[expect]]
what  = "{what}"
value = true
from  = "Keras"
{of}
"""


def around(kind: str, what: str, of: str) -> Claim:
    return files.loads(
        TEXT.format(
            what=what,
            of=f'of = "{of}"' if of else "",
            optimizer="SGD" if kind == "SimpleRNN" else kind,
            momentum="momentum = 0.75" if kind != "Adam" else "",
            options="dropout = 0.5" if of == "dropout" else "",
        )
    )


def verdict(c: Claim, subject: Subject, **replace: str) -> judge.Verdict:
    request = asking_request.request(c, asking_request.asks(c), asking_request.Setting())
    if replace:
        request["replace"] = replace
    (found,) = judge.judge(c, asking_request.Answer(plans.ask(subject, request)[1]))
    if found.verdict == NOT_RUN:
        pytest.skip(found.detail)
    return found


@pytest.mark.parametrize("fault", PLANTED)
def test_a_fault_around_a_layer_turns_its_claim_red(fault: str, subject: Subject) -> None:
    kind, what, of = PLANTED[fault]
    c = around(kind, what, of)
    found = verdict(c, subject, **{kind: FAULTS[fault]})
    assert found.verdict == DIFFER, found.detail
    found = verdict(c, subject)
    assert found.verdict == AGREE, found.detail


def test_every_fault_around_a_layer_is_planted() -> None:
    assert FAULTS.keys() == PLANTED.keys()
