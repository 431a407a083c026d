"""Is what is known excused, in anybody's claims, what is gone red, and a wrong file refused?"""

from __future__ import annotations

import dataclasses
import io
import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from rnn_check.asking import request as asking_request
from rnn_check.asking.observations import Observations
from rnn_check.asking.request import Setting
from rnn_check.asking.run import Asked
from rnn_check.certificates.comparison import Comparison, equal
from rnn_check.claims import files
from rnn_check.claims.claim import Claim
from rnn_check.claims.expectations.carried import reading, writing
from rnn_check.claims.expectations.expectation import KINDS
from rnn_check.recurrences import over_time
from rnn_check.refusal import ClaimError
from rnn_check.reports import outcome, terminal
from rnn_check.reports import verdicts as reports_verdicts
from rnn_check.subjects import policy
from rnn_check.subjects.identity import Identity, not_started
from rnn_check.verdicts import deviations, judge
from rnn_check.verdicts import done as experiment
from rnn_check.verdicts.deviations import Deviation
from rnn_check.verdicts.gathered import Verdicts
from rnn_check.verdicts.judge import AGREE, DIFFER, ERROR, NOT_RUN, Verdict
from rnn_check.verdicts.known import Known
from tests.support import bundled, puppet
from tests.support.command import run
from tests.support.sampling import thinned
from tools import fuzz_deviations
from tools.measure_activations import DEVIATIONS

SUBJECT = Identity(
    keras="3.15.1", backend="torch", backend_version="2.13.0+cpu", numpy="2.4.6", python="3.11.7"
)
ENTRY = """
schema = 2
[[deviation]]
where = {{ unroll = {unroll} }}
expects = "output"
backend = "jax"
seen = "{seen}"
says = "output"
why = "it adds a thousandth"
link = "https://example.org/1"
reproducer = "shows.py"
"""
LAYER = """
schema = 1
title = "mine"
source = {{document = "a test"}}
{layer}
[weights]
kernel = [[0.5, -0.25], [0.25, 1.0]]
recurrent_kernel = [[0.3, 0.1], [-0.2, 0.4]]
bias = [0.0, 0.0]
[input]
x = {x}
{input}
[loss]
cotangent = {cotangent}
[[expect]]
what = "certified"
value = true
from = "a test"
"""


def mine(input: str = "", **options: Any) -> Claim:
    """Somebody's own claim about a SimpleRNN that returns its sequence, of two samples."""
    given = {"kind": "SimpleRNN", "units": 2, "return_sequences": True, **options}
    layer = "\n".join(["[layer]", *(f"{k} = {json.dumps(v)}" for k, v in given.items())])
    x = [[[0.5, -1], [1.25, 0.75], [2, 1]], [[-1, 0.5], [0.25, -2], [1, 1]]]
    cotangent = np.ones((2, 3, 2) if given["return_sequences"] else (2, 2)).tolist()
    return files.loads(
        LAYER.format(layer=layer, x=x, input=input, cotangent=cotangent), "mine.toml"
    )


LAST_PADDED = "mask = [[true, true, true], [true, true, false]]"
FIRST_PADDED = "mask = [[true, true, true], [false, true, true]]"


def verdict(what: str, kind: str, detail: str = "why") -> Verdict:
    return Verdict("a", "file", what, kind, None, "word", "document", detail)


def expecting(*what: str) -> Claim:
    """A claim with these expectations."""
    kinds = [KINDS[name] for name in what]
    required = [{f.name: "" for f in msgspec.structs.fields(k) if f.required} for k in kinds]
    each = [kind(**keys) for kind, keys in zip(kinds, required, strict=True)]
    return dataclasses.replace(mine(), expectations=tuple(each))


def entry(**changes: Any) -> Deviation:
    given = {"seen": "differ", "says": "why", "why": "it is known", "reproducer": "a.py", **changes}
    return Deviation(**given)


def marked(
    c: Claim, verdicts: list[Verdict], *entries: Deviation, own: bool = True, **setting: Any
) -> list[Verdict]:
    known = Known(entries, own=own)
    return known.mark([(c, verdicts)], SUBJECT, Setting(**setting), lambda c, arithmetic: verdicts)


def test_what_is_seen_is_excused_and_nothing_else() -> None:
    verdicts = [verdict("output", DIFFER), verdict("states", DIFFER)]
    found = marked(expecting("output", "states"), verdicts, entry(expects="output"))
    assert [v.is_red for v in found] == [False, True]
    assert found[0].deviation == "it is known"
    assert outcome.exit_code(found[:1]) == 0


def test_a_reason_that_does_not_fit_what_is_seen_excuses_nothing() -> None:
    """A dropout rate of 1.5 that raises is not one that is silently made 1."""
    other = [verdict("output", DIFFER, "raised at: got call, expected construct")]
    (found,) = marked(expecting("output"), other, entry(says="returned"))
    assert found.is_red
    (found,) = marked(expecting("output"), other, entry(says=["returned", "raised at"]))
    assert found.is_known


def test_where_both_the_claim_and_the_subject_are_wrong_both_have_to_be_known() -> None:
    comparisons = tuple(equal(who, "output", 1, 2) for who in ("claim", "subject"))
    wrong = dataclasses.replace(
        verdict("output", DIFFER), known="misprinted", comparisons=comparisons
    )
    assert wrong.is_red
    (found,) = marked(expecting("output"), [wrong], entry())
    assert found.is_known
    assert not found.is_red


def test_an_error_is_excused_by_an_entry_that_says_error() -> None:
    c, crashed = expecting("output"), [verdict("output", ERROR, "raised ValueError: no")]
    assert outcome.exit_code(marked(c, crashed, entry(seen="error", says="ValueError"))) == 0
    assert outcome.exit_code(marked(c, crashed, entry(seen="differ", says="ValueError"))) == 3
    assert outcome.exit_code(marked(c, crashed, entry(seen="error", says="SIGSEGV"))) == 3


def test_what_agrees_now_is_red() -> None:
    c, verdicts = (
        expecting("output", "states"),
        [verdict("output", AGREE), verdict("states", AGREE)],
    )
    found = marked(c, verdicts, entry(expects=["output", "states"]))
    assert [v.is_red for v in found] == [True, True]
    assert outcome.exit_code(found) == 1
    out = io.StringIO()
    reports_verdicts.terminal(
        [judge.Judged(not_started("jax").asked(), found)], terminal.console(out)
    )
    assert "update the known deviations" in out.getvalue()


def test_an_entry_of_a_claim_as_a_whole_needs_one_that_shows_it() -> None:
    c = expecting("output", "states")
    one = [verdict("output", DIFFER), verdict("states", AGREE)]
    assert outcome.exit_code(marked(c, one, entry())) == 0
    none = [verdict("output", AGREE), verdict("states", AGREE)]
    assert [v.is_red for v in marked(c, none, entry())] == [True, False]


def test_the_bundled_file_is_strict_towards_the_bundled_claims_alone() -> None:
    c, agrees = expecting("output"), [verdict("output", AGREE)]
    assert not marked(c, agrees, entry(), own=False)[0].is_red
    bundled = dataclasses.replace(c, file=files.bundled() / "options" / "masks" / "simple_rnn.toml")
    assert marked(bundled, agrees, entry(), own=False)[0].is_red


def test_what_shows_sometimes_has_to_show_somewhere_when_everything_is_judged() -> None:
    c, agrees, differs = (
        expecting("output"),
        [verdict("output", AGREE)],
        [verdict("output", DIFFER)],
    )
    for whole, judged, red in (
        (False, [(c, agrees)], [False]),
        (True, [(c, agrees), (c, differs)], [False, False]),
        (True, [(c, agrees), (c, agrees)], [True, False]),
    ):
        known = Known([entry(sometimes=True)], own=True, whole=whole)
        found = known.mark(judged, SUBJECT, Setting(), lambda c, arithmetic: [])
        assert [v.is_red for v in found] == red
    known = Known([entry(sometimes="on some processors")], own=True, whole=True)
    found = known.mark([(c, agrees), (c, agrees)], SUBJECT, Setting(), lambda c, arithmetic: [])
    assert not any(v.is_red for v in found)  # this one may be another
    (shown,) = known.mark([(c, differs)], SUBJECT, Setting(), lambda c, arithmetic: [])
    assert shown.deviation and not shown.is_red


def test_what_was_not_run_is_neither_excused_nor_gone() -> None:
    c, verdicts = expecting("output"), [verdict("output", NOT_RUN)]
    assert marked(c, verdicts, entry()) == verdicts
    (known,) = marked(c, verdicts, entry(seen="not_run"))
    assert known.deviation
    assert not known.is_red


def compared(*ratios: float) -> list[Verdict]:
    parts = tuple(
        Comparison("step", name, np.ones(1), np.ones(1), np.full(1, ratio), np.ones(1))
        for name, ratio in zip(("states", "output"), ratios, strict=False)
    )
    return [
        dataclasses.replace(
            verdict("certified", AGREE if max(ratios) <= 1 else DIFFER, "states, why"),
            comparisons=parts,
        )
    ]


def test_coarser_rounding_excuses_what_agrees_in_that_arithmetic_and_no_more() -> None:
    rounds = entry(rounds_like="float32", says=["states", "output"])
    for again, known in (
        (compared(0.5, 0.5), True),
        (compared(0.5, 2.0), False),  # the output does not even follow in float32
        (compared(2.0, 2.0), False),
    ):
        marks = Known([rounds]).mark(
            [(mine(), compared(1e6, 1e6))], SUBJECT, Setting(), lambda c, arithmetic, a=again: a
        )
        assert marks[0].is_known is known
    # what rounding does not explain, another entry may
    for says, known in (("output", True), ("states", False)):
        marks = Known([rounds, entry(says=says)]).mark(
            [(mine(), compared(1e6, 1e9))],
            SUBJECT,
            Setting(),
            lambda c, arithmetic: compared(0.5, 2.0),
        )
        assert marks[0].is_known is known


def test_another_deviation_may_meet_coarser_rounding_in_one_array() -> None:
    """Three numbers that are rounded, one of which is infinite for another reason."""

    def seen(*errors: float, bound: float = 1.0) -> list[Verdict]:
        error = np.array(errors)
        parts = np.where(np.isinf(error), np.inf, 1.0), np.ones(3), error, np.full(3, bound)
        states = Comparison("step", "states", *parts)
        return [dataclasses.replace(verdict("certified", DIFFER), comparisons=(states,))]

    rounds = entry(rounds_like="float32", says="states")
    other = entry(says="framework's inf", why="it overflows")
    for again, entries, known in (
        (seen(0.5, 0.5, np.inf), (rounds, other), True),
        (seen(0.5, 0.5, np.inf), (rounds,), False),
        (seen(0.5, 2.0, 0.5), (rounds, other), False),  # what is left is not infinite
        (seen(9.0, 9.0, np.inf), (rounds, other), False),  # nothing is explained
    ):
        marks = Known(entries).mark(
            [(mine(), seen(9.0, 9.0, np.inf))], SUBJECT, Setting(), lambda c, _, a=again: a
        )
        assert marks[0].is_known is known


def test_numbers_of_which_the_coarser_arithmetic_proves_too_little_may_be_rounded() -> None:
    rounds = entry(rounds_like="float32", says=["states", "output"])
    wide = compared(0.5, 0.5)[0]
    unproved = [dataclasses.replace(wide, verdict=NOT_RUN)]
    silent = [
        dataclasses.replace(
            wide,
            comparisons=tuple(
                dataclasses.replace(c, bound=np.full_like(c.bound, np.inf), unbounded="too large")
                for c in wide.comparisons
            ),
        )
    ]
    for again, known in ((unproved, True), (silent, False)):
        marks = Known([rounds]).mark(
            [(mine(), compared(1e6, 1e6))], SUBJECT, Setting(), lambda c, _, a=again: a
        )
        assert marks[0].is_known is known


def test_an_answer_that_is_in_no_record_is_judged_again_in_coarser_arithmetic() -> None:
    """As `verify` and `compare` ask: there is no digest of what was asked."""
    c = dataclasses.replace(mine(), loss=None)
    assert c.x is not None
    assert c.weights is not None
    weights = {name: given.value for name, given in c.weights[c.rnn.name].items()}
    states = over_time.forward(c.x.value, **weights, **c.recurrence)[0]
    rounded = states * (1 + 3 * 2.0**-24)  # more than a last bit
    setting = Setting(dtype="float64")
    for output, is_known in ((rounded, True), (rounded + 1e-3, False)):
        observed = {"output": output, "states": output}
        observed |= {"weights": {c.rnn.name: weights}}
        verdicts = Verdicts([c], Known([entry(rounds_like="float32", says=["states", "output"])]))
        verdicts.add(Asked(0, c, asking_request.Answer(observed), setting))
        (found,) = verdicts.judged(0, Observations(setting, SUBJECT), ()).verdicts
        assert found.verdict == DIFFER
        assert found.is_known is is_known


# -- by whom ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "speaks"),
    [
        ({}, True),
        ({"keras": ">=3.0"}, True),
        ({"keras": ">=3.0,<3.15"}, False),
        ({"backend_version": "==2.13.0"}, True),
        ({"backend_version": ">2.13"}, False),
        ({"numpy": "<2"}, False),
        ({"python": ">=3.11"}, True),
        ({"backend": "torch"}, True),
        ({"backend": ["jax", "torch"]}, True),
        ({"backend": "jax"}, False),
        ({"mode": ["eager", "xla"]}, True),
        ({"mode": "xla"}, False),
        ({"dtype": "float32"}, True),
        ({"dtype": ["float16", "mixed_float16"]}, False),
    ],
    ids=str,
)
def test_which_subjects_an_entry_speaks_of(changes: dict[str, Any], speaks: bool) -> None:
    (found,) = marked(expecting("output"), [verdict("output", DIFFER)], entry(**changes))
    assert found.is_known is speaks


@pytest.mark.parametrize(
    ("version", "specifier", "within"),
    [
        ("2026.4.1-22982-e213a147257-releases/2026/4", ">=2026.4", True),
        ("3.16.0.dev2026", ">=3.15", True),
        ("nightly", ">=1", False),
        ("", ">=1", False),
        ("", "", True),
    ],
)
def test_versions_as_packages_say_them(version: str, specifier: str, within: bool) -> None:
    assert deviations._within(version, specifier) is within


def test_a_layer_of_the_users_own_is_not_excused() -> None:
    (found,) = marked(
        expecting("output"), [verdict("output", DIFFER)], entry(), layer="my.py:Layer"
    )
    assert found.is_red


# -- what was done ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("done", "changes", "holds"),
    [
        (mine(), {"layer": "SimpleRNN"}, True),
        (mine(), {"layer": ["LSTM", "GRU"]}, False),
        (mine(unroll=True), {"where": {"unroll": True}}, True),
        (mine(), {"where": {"unroll": False, "use_bias": True, "activation": "tanh"}}, True),
        (mine(), {"where": {"unroll": True}}, False),
        (mine(activation="relu"), {"where": {"activation": ["tanh", "relu"]}}, True),
        (mine(activation="callable relu"), {"where": {"activation": "relu"}}, True),
        (mine(seed=0), {"where": {"seed": True}}, True),
        (mine(), {"where": {"seed": True}}, False),
        (mine(dropout=0), {"where": {"dropout": True}}, False),
        (mine(), {"where": {"recurrent_initializer": "orthogonal"}}, True),
        (mine(recurrent_initializer="zeros"), {"where": {"recurrent_initializer": True}}, True),
        (mine(), {"where": {"recurrent_initializer": True}}, False),
        (mine(), {"where": {"units": 2, "activity_regularizer": False}}, True),
        (mine(), {"where": {"cells": True}}, False),
        (mine(), {"mask": "none", "initial_state": False}, True),
        (mine(), {"mask": "given"}, False),
        (mine(LAST_PADDED), {"mask": "given", "mask_from": "call"}, True),
        (mine(LAST_PADDED), {"mask_from": "layer"}, False),
        (mine(LAST_PADDED), {"mask": "skips the last step after one that counts"}, True),
        (mine(FIRST_PADDED), {"mask": "skips the last step after one that counts"}, False),
        (mine(FIRST_PADDED), {"mask": "skips a step after one that counts"}, False),
        (mine(FIRST_PADDED), {"mask": "skips a step"}, True),
        (mine(FIRST_PADDED, go_backwards=True),
         {"mask": "skips the last step after one that counts"}, True),
        (mine(FIRST_PADDED), {"mask": "differs when reversed"}, True),
        (mine("mask = [[true, false, true], [true, true, true]]"),
         {"mask": "differs when reversed"}, False),
        (mine("initial_state = [[0.5, 1], [0, 0]]"), {"initial_state": True}, True),
        (mine(), {"numbers": "a preactivation is 0"}, True),  # 0.5*0.5 - 1*0.25
        (mine("initial_state = [[0.5, 1], [0, 0]]"), {"numbers": "a preactivation is 0"}, False),
        (mine(LAST_PADDED), {"numbers": "a masked step overflows"}, False),
        (mine(LAST_PADDED), {"numbers": "a state overflows"}, False),
    ],
)  # fmt: skip
def test_what_was_done_is_recognised(done: Claim, changes: dict[str, Any], holds: bool) -> None:
    assert entry(**changes).is_about(done, "float32") == [holds]


BEHIND = """
schema = 1
title = "z is 0, or far from it, behind another layer"
source = {document = "a test"}
[[layers]]
kind = "Embedding"
name = "rows"
input_dim = 2
output_dim = 1
mask_zero = true
[[layers]]
kind = "%s"
name = "a"
units = 1
%s
[weights.rows]
embeddings = [[%s], [1]]
[weights.a]
%s
[input]
x = [[1, 0]]
[[expect]]
what = "certified"
value = true
from = "the recurrence itself"
"""
OF_A_GRU = """kernel = [[1, 1, %s]]
recurrent_kernel = [[0, 0, 0]]
bias = [[0, 0, 0], [0, 0, 0]]"""
OF_A_SIMPLE = """kernel = [[%s]]
recurrent_kernel = [[0]]
bias = [0]"""


@pytest.mark.parametrize(
    ("kind", "weights"), [("SimpleRNN", OF_A_SIMPLE), ("GRU", OF_A_GRU)], ids=["simple", "gru"]
)
@pytest.mark.parametrize(
    ("padding", "weight", "holds"),
    [
        (1, 1, set()),
        (0, 1, {"a preactivation is 0"}),
        (1, 200, {"a masked step overflows", "a state overflows"}),
        (200, 1, {"a masked step overflows"}),
    ],
)
def test_numbers_are_recognised_behind_another_layer(
    kind: str, weights: str, padding: int, weight: int, holds: set[str]
) -> None:
    text = BEHIND % (kind, 'activation = "exponential"', padding, weights % weight)
    done = files.loads(text, "c.claim.toml", "c")
    words = ("a preactivation is 0", "a masked step overflows", "a state overflows")
    assert {each for each in words if entry(numbers=each).is_about(done, "float32")[0]} == holds


def test_a_step_that_overflows_does_so_in_an_arithmetic() -> None:
    """exp(100) is infinite in float32 and not in float64."""
    text = LAST_PADDED + "\ninitial_state = [[0, 0], [0, 0]]"
    done = mine(text, activation="exponential")
    assert done.x is not None
    x = done.x.value.copy()
    x[1, 2] = 200, 0
    done = dataclasses.replace(done, x=dataclasses.replace(done.x, value=x))
    in_policies = ("float32", "float64", "mixed_float16")
    wanted = entry(numbers="a masked step overflows")
    told = {name: wanted.is_about(done, name) for name in in_policies}
    assert told == {"float32": [True], "float64": [False], "mixed_float16": [True]}
    wanted = entry(numbers="a state overflows")  # of a step that counts
    assert not any(wanted.is_about(done, name) != [False] for name in in_policies)
    counted = dataclasses.replace(done, mask=None)
    told = {name: wanted.is_about(counted, name) for name in in_policies}
    assert told == {"float32": [True], "float64": [False], "mixed_float16": [True]}


BELOW_AND_ABOVE = files.load(files.bundled() / "options" / "masks" / "masking_backwards.toml")


def test_what_is_said_of_one_layer_depends_on_those_up_to_it() -> None:
    names = [e.name for e in BELOW_AND_ABOVE.expectations]
    assert names == ["certified", "mask of below"]
    made = {"mask": "skips a step", "mask_from": "layer"}
    for layer, where, about in (
        ("SimpleRNN", {"go_backwards": True}, [True, True]),
        ("SimpleRNN", {"go_backwards": False}, [True, False]),
        ("Masking", {}, [False, False]),
    ):
        found = entry(layer=layer, where=where, **made).is_about(BELOW_AND_ABOVE, "float32")
        assert found == about
    followed = entry(where={"go_backwards": True}, then="SimpleRNN")
    assert followed.is_about(BELOW_AND_ABOVE, "float32") == [True, True]
    assert entry(where={"units": 2}, then="SimpleRNN").is_about(BELOW_AND_ABOVE, "float32") == [
        False,
        False,
    ]


def test_a_users_own_claim_of_a_known_deviation_is_excused() -> None:
    """The same thing done under other names and with other numbers."""
    entries = deviations.load(deviations.bundled())
    done = mine(LAST_PADDED, unroll=True, zero_output_for_mask=True)
    assert done.name == "mine"
    seen = [verdict("certified", DIFFER, "steps that the mask skips: got 0.5, expected 0")]
    subject = msgspec.structs.replace(SUBJECT, backend="jax")
    for c, known in ((done, True), (mine(LAST_PADDED, zero_output_for_mask=True), False)):
        (found,) = Known(entries).mark([(c, seen)], subject, Setting(), lambda c, a: seen)
        assert found.is_known is known


def test_an_entry_speaks_of_keras_or_of_the_framework_that_it_names() -> None:
    onnx = Identity(framework="onnx", backend="onnx", backend_version="1.23.2")
    for which, of_keras, of_onnx in (
        ({}, True, False),
        ({"framework": "onnx"}, False, True),
        ({"framework": "onnx", "backend_version": ">=1.24"}, False, False),
        ({"framework": ["keras", "onnx"]}, True, True),
        ({"framework": "onnx", "backend": "torch"}, False, False),
    ):
        found = [entry(**which).is_of(subject, Setting()) for subject in (SUBJECT, onnx)]
        assert found == [of_keras, of_onnx], which


@pytest.mark.long
def test_every_bundled_entry_speaks_of_a_bundled_claim() -> None:
    left = [
        (each, dtype)
        for each in deviations.load(deviations.bundled())
        for dtype in ([each.dtype] if isinstance(each.dtype, str) else each.dtype or ["float32"])
    ]
    said = {"file": np.zeros(1, np.uint8), "weights": {}, "optimizer": {}}
    for c in bundled.everywhere():
        wanted = writing(c)  # what `compare` makes of it, if it is about a file
        asked = [c] if wanted is None else [c, reading(wanted, said, promised=True)]
        left = [
            (each, dtype)
            for each, dtype in left
            if not any(any(each.is_about(one, dtype)) for one in asked)
        ]
    assert not left


def test_every_bundled_entry_says_what_is_seen_and_shows_it() -> None:
    file = deviations.bundled()
    scripts = {path.name for path in file.parent.glob("*.py")}
    entries = deviations.load(file)
    # what no claim shows, but is known of an activation, stands in docs/activations.md
    of_activations = {known.reproducer for known in DEVIATIONS}
    assert {each.reproducer for each in entries} | of_activations == scripts
    assert all(each.says for each in entries)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("wrong/mask_timesteps", {"mask of fewer timesteps"}),
        ("wrong/mask_batch", {"mask of another batch"}),
        ("wrong/state_rank", {"state without a batch"}),
        ("wrong/state_batch", {"state of another batch"}),
        ("wrong/dropout", {"dropout above 1"}),
        ("wrong/keyword", set()),
        ("gates/lstm", set()),
    ],
)
def test_what_is_wrong_on_purpose_has_a_name(name: str, words: set[str]) -> None:
    c = bundled.in_file(files.bundled() / "options" / f"{name}.toml")[0]
    assert experiment.wrongs(c) == words


# -- the file --------------------------------------------------------------------------------------


@thinned(4)
@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("seen =", "sene =", r"deviation\[0\].sene: unknown key; did you mean `seen`\?"),
        ("seen =", 'claim = "a"\nseen =', r"claim: unknown key; an entry says what was done"),
        ("schema = 2", "shema = 2", "shema: unknown key; did you mean `schema`?"),
        ("schema = 2", "schema = 1", "schema: this version reads schema 2, the file says 1"),
        ("why =", "# why =", r"deviation\[0\].why: required key is missing"),
        ("says =", "# says =", r"deviation\[0\].says: required key is missing"),
        ("reproducer =", "# says =", r"deviation\[0\].reproducer: required key is missing"),
        ("it adds a thousandth", " ", r"deviation\[0\].why: must not be empty"),
        ('says = "output"', "says = []", r"deviation\[0\].says: must not be empty"),
        ('seen = "differ"', 'seen = "differs"', r"seen: unknown seen 'differs'; did you mean"),
        ('backend = "jax"', 'backend = "jaxx"', r"backend: unknown backend 'jaxx'; did you mean"),
        ('backend = "jax"', "backend = 7", r"deviation\[0\].backend: expected"),
        ('backend = "jax"', 'mode = "XLA"', r"mode: unknown mode 'XLA'"),
        ('backend = "jax"', 'dtype = "float46"', r"dtype: unknown dtype 'float46'; did you mean"),
        ('backend = "jax"', 'framework = "onx"', r"framework: unknown framework 'onx'; did you"),
        ('backend = "jax"', 'keras = "3.x"', r"keras: expected versions, .* got '3.x'"),
        ('backend = "jax"', 'layer = "SimpleRN"', r"layer: unknown layer 'SimpleRN'; did you"),
        ('backend = "jax"', 'mask = "skips"', r"mask: unknown mask 'skips'"),
        ('expects = "output"', 'expects = "ouput"', r"expects: unknown expectation 'ouput'; did"),
        ("{ unroll = true }", "{ unrol = true }", r"where.unrol: unknown option; did you mean"),
        ("{ unroll = true }", "{ unroll = {} }", r"where.unroll: expected true, false, a number"),
        ("shows.py", "no.py", r"reproducer: no such file: .*no.py"),
        ("shows.py", "../shows.py", r"reproducer: expected the name of a script"),
        ("shows.py", "s" * 300 + ".py", r"reproducer: expected the name of a script"),
        ("schema = 2", "schema", "not TOML"),
        ("schema = 2", "schema = 0x" + "f" * 5000, "schema: a number of more than 64 bits"),
        ("schema = 2", "schema = " + "9" * 5000, "not TOML"),
    ],
    ids=lambda text: text[:24],
)
def test_a_file_that_is_wrong_says_where(
    old: str, new: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    puppet.play(monkeypatch)
    (tmp_path / "shows.py").touch()
    file = tmp_path / "known.toml"
    text = ENTRY.format(unroll="true", seen="differ")
    assert old in text
    file.write_text(text.replace(old, new))
    with pytest.raises(ClaimError, match=message):
        deviations.load(file)
    folder = puppet.claims(tmp_path / "claims", "a")
    result = run("--known", file, folder, "--backend", "numpy")
    assert result.exit_code == 2
    assert str(file) in result.stderr


def test_what_is_no_file_or_too_large_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ClaimError, match="No such file or directory"):
        deviations.load(tmp_path / "no.toml")
    with pytest.raises(ClaimError, match="Is a directory"):
        deviations.load(tmp_path)
    large = tmp_path / "large.toml"
    large.write_bytes(b"#" * (deviations.MOST_BYTES + 1))
    with pytest.raises(ClaimError, match="is larger than"):
        deviations.load(large)


def test_whatever_is_wrong_with_a_file_is_its_one_error(tmp_path: Path) -> None:
    counted = fuzz_deviations.fuzz(400, 1, tmp_path)
    assert counted["loaded"] > 20
    assert counted["refused"] > 100


# -- in the command --------------------------------------------------------------------------------


def test_a_known_deviation_in_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    puppet.play(monkeypatch, jax={"a": "wrong"})
    folder = puppet.claims(tmp_path / "claims", "a", "b")
    file = folder / "a.toml"
    file.write_text(file.read_text().replace("units = 2", "units = 2, unroll = true"))
    known = tmp_path / "known.toml"
    (tmp_path / "shows.py").touch()
    known.write_text(ENTRY.format(unroll="true", seen="differ"))
    words = (folder, "--backend", "jax", "--backend", "torch", "--mode", "eager")
    assert run(*words).exit_code == 1
    result = run(*words, "--known", known)
    assert result.exit_code == 0, result.output
    assert "  a · output [1]: it adds a thousandth (https://example.org/1)\n" in result.stdout
    everything = run(*words, "--known", known, "-v").stdout
    assert "differ (known)  a · output  [1]" in everything
    assert "known: it adds a thousandth (https://example.org/1)" in everything
    rows = json.loads(run(*words, "--known", known, "--json").stdout)["verdicts"]
    assert [row["known"] for row in rows if row["verdict"] == "differ"] == [
        "it adds a thousandth (https://example.org/1)"
    ]
    one = run(folder, "--backend", "jax", "--known", known)
    assert one.exit_code == 0
    assert "3 agree · 1 differ (1 known) · 0 error" in one.stdout
    known.write_text(ENTRY.format(unroll="false", seen="differ"))
    gone = run(*words, "--known", known)
    assert gone.exit_code == 1
    assert "1 gone" in gone.stdout
    assert "agrees now; update the known deviations" in gone.stdout


# -- dtype policies --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "asked", "loss_in"),
    [
        ("float32", {"dtype": "float32"}, "float32"),
        ("float64", {"dtype": "float64"}, "float32"),
        ("floatx_float64", {"dtype": "float64", "floatx": "float64"}, "float64"),
        ("mixed_float16", {"dtype": "mixed_float16"}, "float16"),
    ],
)
def test_what_a_policy_asks_for(name: str, asked: dict[str, str], loss_in: str) -> None:
    request = asking_request.request(mine(), asking_request.asks(mine()), Setting(dtype=name))
    assert {key: request[key] for key in ("dtype", "floatx") if key in request} == asked
    assert policy.Policy(name).loss_in == loss_in
