"""Does Keras do what its options say, and would a claim about them see it if it did not?

Of every file in fixtures/options the first claim is asked, and judged as it was answered; then
every array in the answer is changed in one element, and each change has to turn the claim red.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rnn_check.asking import request
from rnn_check.subjects.ask import Subject
from rnn_check.verdicts import judge
from rnn_check.verdicts.judge import AGREE, DIFFER, NOT_RUN
from tests.support import bundled
from tests.support.sampling import sampled
from tests.support.spoilt import Beside, changed

OPTIONS = Path(__file__).parents[2] / "fixtures" / "options"
CLAIMS = {
    file.relative_to(OPTIONS).with_suffix("").as_posix(): bundled.in_file(file)[0]
    for file in sorted(OPTIONS.rglob("*.toml"))
}
CONFIGURED = [
    name for name, c in CLAIMS.items() if {e.what for e in c.expectations} <= {"config", "default"}
]
SMALLER = "stateful/smaller_batch"
UNMADE = ("bidirectional/backward_dense",)  # Keras cannot, as is known of it
REFUSED = [name for name, c in CLAIMS.items() if c.wrong or name.startswith(SMALLER)]
# told beside what is judged: from what it follows, and what is judged by a claim about numbers
ASIDE = {"weights", "before", "each", "gradients", "loss", "initial_weights"}
JUDGED = {
    ("evaluate",),
    ("resumed",),
    ("seeded",),
    ("file",),
}  # whose weights and losses are judged
ALSO_ASIDE = {
    ("composed_gradients", "x"),  # of an Embedding's indices there is none
    ("probe", "output"),  # the states once more
    ("fit_once", "after", "dense", "kernel"),  # it may be trained, and is not constrained
    ("fit_once", "after", "dense", "bias"),
    ("fit_once", "after", "simple_rnn", "bias"),
    ("fit_once", "after", "bidirectional", "forward.bias"),
    ("fit_once", "after", "bidirectional", "backward.bias"),
    ("sequences", "first", "states"),  # of which the last one alone is claimed
    # only that it is another one is claimed: see test_dropout_that_repeats_itself_is_seen
    ("dropout", "next", "input"),
    ("dropout", "next", "recurrent"),
    ("dropped_steps", "next", "shown"),
}


def arrays(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where in an answer there are arrays that the verdict should rest on."""
    behind = path[:1] == ("probe",) and "." in str(path[-1])  # layers of which `gradients` tells
    if isinstance(node, np.ndarray) and not behind and not {path, path[:3]} & ALSO_ASIDE:
        yield path
    if isinstance(node, dict | list):
        for key, value in node.items() if isinstance(node, dict) else enumerate(node):
            if key not in ASIDE or path[:1] in JUDGED:
                yield from arrays(value, (*path, key))


def one_element(array: Any) -> Any:
    """Made another: -1 - |it|, or the other truth value."""
    array = np.array(array)
    at = np.unravel_index(array.size // 2, array.shape)
    array[at] = ~array[at] if array.dtype == bool else -1 - abs(array[at])
    return array


@pytest.mark.parametrize("name", sampled(CLAIMS, 22))
def test_a_claim_about_an_option_can_fail(name: str, subject: Subject) -> None:
    c = CLAIMS[name]
    answer = request.ask(c, subject, request.Setting())
    assert not answer.error or name in UNMADE
    honest = [v.verdict for v in judge.judge(c, answer)]
    if set(honest) != {AGREE}:
        pytest.skip("known to deviate here: see the known deviations")
    seen, beside = 0, Beside(c)
    says_mask = any(e.what == "mask" for e in c.expectations)
    new = [("initial_weights", c.names[0], "bias")]
    aside = new if "forget_bias" in {e.what for e in c.expectations} else []
    for path in [*arrays(answer.observed), *aside]:
        if path[:2] == ("outputs", "masks") and not says_mask:
            continue
        other = changed(answer.observed, path, one_element)
        concerned = [e for e in c.expectations if path[0] in e.asked(c)]
        red = any(beside.verdict(e, other).verdict == DIFFER for e in concerned)
        assert red, f"{name}: {path} was changed and nobody saw it"
        seen += 1
    assert seen or name in CONFIGURED + REFUSED


def settings(node: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Where in configurations there is something."""
    if not isinstance(node, dict):
        yield path
        return
    for name, part in node.items():
        yield from settings(part, (*path, name))


@pytest.mark.parametrize("name", CONFIGURED)
def test_a_configuration_that_is_changed_is_seen(name: str, subject: Subject) -> None:
    c = CLAIMS[name]
    answer = request.ask(c, subject, request.Setting())
    assert answer.observed is not None
    told = answer.observed["config"]
    if {v.verdict for v in judge.judge(c, answer)} != {AGREE}:
        pytest.skip("known to deviate here: see the known deviations")
    red: set[str] = set()
    for path in settings(told):
        config = changed(told, path, lambda _: ["changed"])
        verdicts = judge.judge(c, request.Answer({"config": config}))
        red |= {v.what for v in verdicts if v.verdict == DIFFER}
    assert red == {e.name for e in c.expectations}


@pytest.mark.parametrize("name", ["configuration/defaults_simple_rnn", "configuration/configured"])
def test_a_configuration_is_asked_for_as_it_is_in_every_policy(name: str, subject: Subject) -> None:
    """No initializer is put there because half precision cannot draw what is."""
    for dtype in ("float16", "bfloat16", "float64"):
        answer = request.ask(CLAIMS[name], subject, request.Setting(dtype=dtype))
        verdicts = judge.judge(CLAIMS[name], answer, dtype=dtype)
        assert {v.verdict for v in verdicts} == {AGREE}


def test_a_default_that_there_is_not_is_not_supported(subject: Subject) -> None:
    c = CLAIMS["configuration/defaults_lstm"]
    answer = request.ask(c, subject, request.Setting())
    assert answer.observed is not None
    told = copy.deepcopy(answer.observed["config"])
    del told["layers"]["lstm"]["seed"]
    verdicts = judge.judge(c, request.Answer({"config": told}))
    (missing,) = [v for v in verdicts if v.verdict != AGREE]
    assert (missing.what, missing.verdict, missing.unsupported) == (
        "default of seed",
        NOT_RUN,
        True,
    )
    assert missing.detail == "its configuration has no seed"


def test_an_option_that_a_configuration_forgets_differs() -> None:
    c = CLAIMS["configuration/seed"]
    (verdict,) = judge.judge(
        c, request.Answer({"config": {"layers": {"lstm": {}}, "optimizers": {}}})
    )
    assert verdict.verdict == DIFFER
    assert "the framework's nothing, claimed 7" in verdict.detail


def test_dropout_that_repeats_itself_is_seen(subject: Subject) -> None:
    c = CLAIMS["dropout/simple_rnn"]
    answer = request.ask(c, subject, request.Setting())
    assert answer.observed is not None
    told = answer.observed["dropout"]
    repeated = request.Answer({"dropout": {**told, "next": {n: told[n] for n in told["next"]}}})
    assert [v.verdict for v in judge.judge(c, repeated)] == [DIFFER, DIFFER]


NOT_A_VALUE_ERROR = {"raised": ["KeyError", "Exception"], "message": "", "at": "call"}


@pytest.mark.parametrize("name", REFUSED)
def test_an_exception_that_is_not_raised_is_seen(name: str) -> None:
    c = CLAIMS[name]
    for told in ({"returned": [3, 5, 3]}, NOT_A_VALUE_ERROR):
        told = {**told, "control": {"returned": [3, 5, 3]}}
        observed = {"raises": told, "shrunk": told}
        verdicts = [v.verdict for v in judge.judge(c, request.Answer(observed))]
        wanted = c.expectations[0].value == "Exception" and "raised" in told
        assert verdicts == [AGREE if wanted and c.expectations[0].of == "call" else DIFFER]


@pytest.mark.parametrize("name", REFUSED)
def test_what_raises_whatever_it_is_given_is_no_refusal(name: str) -> None:
    """Keras 3.14.1 on openvino: with default weights, every call of a layer raised."""
    c = CLAIMS[name]
    (e,) = c.expectations
    at = e.of if e.of in ("construct", "build") else "call"
    raised = {"raised": [e.value, "Exception"], "message": "no", "at": at}
    for control, kind in (({"returned": [3, 5, 3]}, AGREE), (raised, DIFFER)):
        told = {**raised, "control": control}
        (found,) = judge.judge(c, request.Answer({"raises": told, "shrunk": told}))
        assert found.verdict == kind
    assert "the same call with right arguments" in found.detail
    (old,) = judge.judge(c, request.Answer({"raises": raised, "shrunk": raised}))
    assert old.verdict == NOT_RUN


def test_a_loss_that_counts_the_batch_is_seen(subject: Subject) -> None:
    """As Keras 3.0.0 to 3.13.2 did."""
    c = CLAIMS["gates/lstm"]
    answer = request.ask(c, subject, request.Setting())
    assert c.x is not None
    losses = answer.observed["losses"] if answer.observed else {}
    told = {**losses, "losses": len(c.x.value) * losses["losses"]}
    verdicts = judge.judge(c, request.Answer({**(answer.observed or {}), "losses": told}))
    assert {v.what for v in verdicts if v.verdict == DIFFER} == {"activity_loss"}


def test_weights_that_are_not_drawn_are_not_reproduced() -> None:
    c = CLAIMS["configuration/seeded_initializers"]
    ones = {"kernel": np.ones((3, 4)), "recurrent_kernel": np.eye(4), "bias": np.zeros(4)}
    observed = {"initialized": {"first": {"simple_rnn": ones}, "second": {"simple_rnn": ones}}}
    for verdict in judge.judge(c, request.Answer(observed)):
        assert verdict.verdict == DIFFER
        assert "drawn at random" in verdict.detail
