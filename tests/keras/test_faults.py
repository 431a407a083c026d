"""Is every fault that a claim says it catches really caught?

Each fault is a subclass of the real Keras layer (faults.py, gated_faults.py), asked through the
public path: `rnn-check --layer tests/keras/faults.py:CLASS`.  Planting it must turn the claim red.
"""

from __future__ import annotations

import dataclasses
import re

import pytest
from click.testing import CliRunner

from rnn_check.asking import request
from rnn_check.claims.claim import Claim
from rnn_check.claims.expectations.arrays import Gradient
from rnn_check.claims.truth import Truth
from rnn_check.claims.written import Given
from rnn_check.cli.commands import main
from rnn_check.subjects import ask as observe
from rnn_check.verdicts import diagnosis, judge
from tests.keras import gated_faults
from tests.support import bundled, planted
from tests.support.sampling import first_of_each, long, thinned
from tools import fault_table

CLAIMS = {c.name: c for c in bundled.everywhere()}
NAMED = [
    (c, fault, pytest.param(c, fault, id=f"{c.name}-{fault}".replace(" ", "_")))
    for c in sorted(CLAIMS.values(), key=lambda c: c.name == "certified/one_in_a_thousand")  # slow
    for fault in c.catches
    if c.name != "derived/long_sequence"  # its gradients take 20 s a fault
]
OF_SIMPLE_RNN = [(fault, case) for c, fault, case in NAMED if planted.of(c) is planted.LAYERS]
OF_GATES = [case for c, _, case in NAMED if planted.of(c) is not planted.LAYERS]
CASES = [
    *first_of_each(OF_SIMPLE_RNN, every=3),
    *(
        pytest.param(*case.values, id=case.id, marks=long) if i % 60 else case
        for i, case in enumerate(OF_GATES)
    ),
]
NAMED_BY_THE_PROJECT = (
    "recurrent kernel transposed",
    "bias dropped",
    "time reversed",
    "activation wrong",
    "units permuted",
    "one weight off by 1e-5",
    "gradient cut between timesteps",
    "cotangent ignored",
)


@pytest.mark.thinned(2)
@pytest.mark.parametrize(("planted_in", "fault"), CASES)
def test_a_planted_fault_turns_the_claim_red(
    planted_in: Claim, fault: str, subject: observe.Subject
) -> None:
    how = request.Setting(layer=planted.of(planted_in)[fault], slow=True)
    # one after the other, until one sees it: what proves a whole pass first
    asked = sorted(planted_in.expectations, key=lambda e: e.what != "certified")
    for each in asked:
        alone = dataclasses.replace(planted_in, expectations=(each,))
        (verdict,) = judge.judge(alone, request.ask(alone, subject, how))
        assert verdict.verdict != judge.ERROR
        if verdict.is_red:
            return
    pytest.fail(f"{fault} escaped")


MIDDLE = CLAIMS["certified/middle_of_a_stack"]


@thinned(5)
@pytest.mark.parametrize("fault", MIDDLE.catches)
def test_a_fault_of_a_middle_layer_is_caught_by_its_gradients(
    fault: str, subject: observe.Subject
) -> None:
    how = request.Setting(layer=planted.LAYERS[fault])
    (verdict,) = judge.judge(MIDDLE, request.ask(MIDDLE, subject, how))
    assert verdict.verdict == judge.DIFFER
    assert re.search("gradient of |delta", verdict.detail)  # of what comes before it as well


def test_a_cut_to_the_initial_state_of_a_middle_layer_is_caught(subject: observe.Subject) -> None:
    of = "simple_rnn.initial_state"
    value, error = Truth(MIDDLE, "real").gradient(of)
    e = Gradient(of=of, value=Given(value, error, value, value), computed_in="real", from_="a test")
    c = dataclasses.replace(MIDDLE, expectations=(e,))
    (asked,) = {*e.gradients(c)}
    assert (asked, e.spoils(c)) == (of, [("gradients", of)])
    for fault, wanted in (
        (planted.NONE, judge.AGREE),
        ("gradient cut to the initial state", judge.DIFFER),
    ):
        how = request.Setting(layer=planted.LAYERS[fault])
        (verdict,) = judge.judge(c, request.ask(c, subject, how))
        assert verdict.verdict == wanted, verdict.detail


def test_a_layer_that_is_right_with_the_probe_alone_is_not_certified(
    subject: observe.Subject,
) -> None:
    c = CLAIMS["certified/tanh_sequence"]
    at = [e.what for e in c.expectations].index("certified")
    fault = "recurrent gradient off by 1e-3 without a probe"
    how = request.Setting(layer=planted.LAYERS[fault])
    answer = request.ask(c, subject, how)
    verdict = judge.judge(c, answer)[at]
    assert verdict.verdict == judge.DIFFER
    assert "gradient of recurrent_kernel without the probe" in verdict.detail

    assert answer.observed is not None
    older = {what: said for what, said in answer.observed.items() if what != "gradients"}
    verdict = judge.judge(c, request.Answer(older))[at]
    assert verdict.verdict == judge.AGREE
    assert "recurrent_kernel" in verdict.detail
    assert "only as a model with a probe shows them" in verdict.detail


@thinned(18)
@pytest.mark.parametrize("planted_in", [c for c in CLAIMS.values() if c.catches and not c.slow])
def test_the_layer_without_a_fault_is_green(planted_in: Claim, subject: observe.Subject) -> None:
    """The twin: what turns a claim red above is the fault, not the subclass."""
    how = request.Setting(layer=planted.of(planted_in)[planted.NONE])
    verdicts = judge.judge(planted_in, request.ask(planted_in, subject, how))
    assert [v for v in verdicts if v.is_red or v.verdict == judge.ERROR] == []


@pytest.mark.parametrize("fault", NAMED_BY_THE_PROJECT)
def test_every_fault_is_caught_by_some_claim(fault: str) -> None:
    assert any(fault in c.catches for c in CLAIMS.values())


def test_claims_name_faults_that_exist() -> None:
    for c in CLAIMS.values():
        assert set(c.catches) <= planted.of(c).keys(), c.name


@pytest.mark.parametrize("kind", planted.GATED)
def test_each_fault_of_gates_is_named_by_a_claim(kind: str) -> None:
    """None escapes; and each of them is a layer and a cell of its own name."""
    faults = gated_faults.FAULTS[kind]
    named = {f for c in CLAIMS.values() if planted.of(c) is planted.GATED[kind] for f in c.catches}
    assert named == faults.keys() - {planted.NONE}
    assert len(named) >= 25
    assert len({each.slug for each in faults.values()}) == len(faults)


@pytest.mark.parametrize("kind", planted.GATED)
def test_faults_of_gates_are_subclasses_of_the_real_layer_and_cell(kind: str) -> None:
    import keras

    for each in gated_faults.FAULTS[kind].values():
        for name in (kind, f"{kind}Cell"):
            made = getattr(gated_faults, each.slug + name[len(kind) :])
            assert issubclass(made, getattr(keras.layers, name)), each.name


@long
@pytest.mark.parametrize(
    ("layer", "claims", "status"),
    [
        ("LSTM={file}:LSTM_h_for_c", "derived/lstm", 1),
        ("GRUCell={file}:GRU_noneCell", "options/cells/gru", 0),
    ],
)
def test_the_command_line_plants_them(
    layer: str, claims: str, status: int, subject: observe.Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:  # it is asked, and goes on
        patch.setattr(observe, "Subject", lambda *_, **__: subject)
        patch.setattr(diagnosis, "MOST_STEPS", 0)  # and no cause is looked for
        for ends in ("kill", "close"):
            patch.setattr(subject, ends, lambda: None)
        asked = ["--layer", layer.format(file=gated_faults.__file__), "--options", "-k", claims]
        result = CliRunner().invoke(main, asked)
    assert result.exit_code == status, result.output


def test_every_fault_that_is_defined_is_planted() -> None:
    """Those that are read are those that are there once the files are imported."""
    from tests.keras import faults, training_faults, updating_faults

    pairs = [(faults, faults.FAULTS, planted.LAYERS)]
    pairs += [
        (there, each, planted.OPTIMIZERS[by])
        for there in (training_faults, updating_faults)
        for by, each in there.FAULTS.items()
    ]
    for there, defined, read in pairs:
        assert {f: f"{there.__file__}:{c.__name__}" for f, c in defined.items()} == read


def test_the_table_lists_every_fault() -> None:
    """docs/faults.md, whose command fails if one of them escapes."""
    text = fault_table.FILE.read_text(encoding="utf-8")
    tables = [re.findall(r"^\| (.*?) \| [1-9]", part, re.M) for part in text.split("\n## ")[1:]]
    optimizers = map(list, planted.OPTIMIZERS.values())
    wanted = ([*planted.LAYERS], *map(list, planted.GATED.values()), *optimizers)
    assert tables == [[f for f in all_ if f not in fault_table.TWINS] for all_ in wanted]
