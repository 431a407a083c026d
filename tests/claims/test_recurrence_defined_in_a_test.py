"""Is a recurrence what its five places say?  One is defined for this, and nothing else knows of it.

It is that of `tests.support.minimal_gated`, alone, over its cell and in both directions: loaded,
planned, asked of a session that computes by the definition, judged and spoilt. What is printed is
computed by the equations that stand there, and gradients by differences of these.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rnn_check.asking import plans, request
from rnn_check.asking.request import Answer, Setting
from rnn_check.claims import files, paper, schema
from rnn_check.claims.causes.recurrences import MISTAKES, ran
from rnn_check.claims.claim import Claim
from rnn_check.refusal import ClaimError
from rnn_check.reports import terminal, verdicts
from rnn_check.subjects.asked import named
from rnn_check.subjects.identity import not_started
from rnn_check.verdicts import judge
from rnn_check.verdicts.judge import AGREE, DIFFER, NOT_RUN, Judged, Verdict
from tests.support import minimal_gated
from tests.support.defined_session import Defined
from tests.support.puppet import InThisProcess
from tests.support.sampling import long
from tests.support.spoilt import Beside, spoilt

Array = np.typing.NDArray[Any]


@pytest.fixture(autouse=True)
def mgu() -> Iterator[None]:
    """It is known, only while a test runs."""
    with minimal_gated.entered():
        yield
    assert "MGU" not in {**named.FAMILIES, **named.LAYERS, **schema.json_schema()["$defs"]}


# --- a claim of it --------------------------------------------------------------------------------

B, T, F, H = 2, 3, 2, 2
RNG = np.random.default_rng(12)
X, START, COTANGENTS = (
    RNG.integers(-8, 9, shape) / 8 for shape in ((B, T, F), (B, H), (B, T, 2 * H))
)
EACH = {
    side: {gate: {name: RNG.integers(-8, 9, shape) / 8 for name, shape in (
        ("kernel", (F, H)), ("recurrent_kernel", (H, H)), ("bias", (H,)))} for gate in "fc"}
    for side in ("forward", "backward")
}  # fmt: skip


def textbook(x: Array, h: Array, w: dict[str, dict[str, Array]]) -> dict[str, Array]:
    """{"h", "f", "c", "z_f", "z_c": (B,T,H)}, gate by gate in float64."""
    found: dict[str, list[Array]] = {name: [] for name in ("h", "f", "c", "z_f", "z_c")}
    for t in range(x.shape[1]):
        z_f = x[:, t] @ w["f"]["kernel"] + h @ w["f"]["recurrent_kernel"] + w["f"]["bias"]
        f = 1 / (1 + np.exp(-z_f))
        z_c = x[:, t] @ w["c"]["kernel"] + (f * h) @ w["c"]["recurrent_kernel"] + w["c"]["bias"]
        c = np.tanh(z_c)
        h = (1 - f) * h + f * c
        for name, number in (("h", h), ("f", f), ("c", c), ("z_f", z_f), ("z_c", z_c)):
            found[name].append(number)
    return {name: np.stack(each, axis=1) for name, each in found.items()}


def shown(form: str, x: Array, start: Array | None, each: Any) -> Array:
    """What a layer of that form puts out."""
    h = np.zeros((B, H)) if start is None else start
    one = textbook(x, h, each["forward"])["h"]
    if form == "alone":
        return one[:, -1]
    if form == "over its cell":
        return one
    other = textbook(x[:, ::-1], np.zeros((B, H)), each["backward"])["h"][:, ::-1]
    return np.concatenate([one, other], axis=-1)


def cotangent(form: str) -> Array:
    """Of what it shows."""
    of_output = COTANGENTS[:, -1] if form == "alone" else COTANGENTS
    return of_output[..., : 2 * H if form == "both ways" else H]


def slope(form: str, array: Array, start: Array | None) -> Array:
    """dL/d of an array of EACH, of X or of START, by differences."""
    found, eps = np.zeros(array.shape), 2.0**-16
    for at in np.ndindex(*array.shape):
        ends = []
        for sign in (1, -1):
            array[at] += sign * eps
            output = shown(form, X, start, EACH)
            ends.append((output * cotangent(form)).sum())
            array[at] -= sign * eps
        found[at] = (ends[0] - ends[1]) / (2 * eps)
    return found


def digits(array: Array) -> str:
    """As printed."""
    return str(np.vectorize(lambda v: f"{v:.6f}")(array).tolist()).replace("'", "")


LAYER = {
    "alone": 'layer = {kind = "MGU", name = "cell", units = 2, return_state = true}',
    "over its cell": 'layer = {kind = "RNN", name = "cell", cell = {kind = "MGUCell", units = 2}, '
    "return_sequences = true, return_state = true}",
    "both ways": 'layer = {kind = "Bidirectional", name = "cell", '
    'layer = {kind = "MGU", units = 2, return_sequences = true, return_state = true}}',
}


def tables(form: str) -> Iterator[str]:
    for side, gates in EACH.items():
        for gate, arrays in gates.items():
            if form == "both ways" or side == "forward":
                yield f"[weights.{side}.{gate}]" if form == "both ways" else f"[weights.{gate}]"
                yield from (f"{name} = {array.tolist()}" for name, array in arrays.items())


@cache
def expected(form: str) -> tuple[tuple[str, str, str], ...]:
    """(what, of, value) of all that is claimed."""
    return tuple(_expected(form))


def _expected(form: str) -> Iterator[tuple[str, str, str]]:
    start = None if form == "both ways" else START
    size = 2 * H * (H + F + 1) * (2 if form == "both ways" else 1)
    yield "parameters", "", str(size)
    yield "weights_read_back", "", "true"
    yield "output", "", digits(shown(form, X, start, EACH))
    zero = np.zeros((B, H))
    one = textbook(X, zero if start is None else start, EACH["forward"])
    way = "forward." if form == "both ways" else ""
    for what, of, key in (
        ("gate", "f", "f"), ("gate", "u", "f"), ("candidate", "", "c"),
        ("preactivation", "f", "z_f"), ("preactivation", "c", "z_c"),
    ):  # fmt: skip
        yield what, f"{way}{of}".rstrip("."), digits(one[key])
    yield "certified", "", "true"
    yield "states", way.rstrip("."), digits(one["h"])
    yield "last_state", way.rstrip("."), digits(one["h"][:, -1])
    if start is not None:
        yield "gradient", "initial_state", digits(slope(form, START, start))
    yield "gradient", "x", digits(slope(form, X, start))
    for gate, arrays in EACH["forward"].items():
        for name, array in arrays.items():
            yield "gradient", f"{way}{gate}.{name}", digits(slope(form, array, start))


def written(folder: Path, form: str, expectations: Any = None, layer: str = "") -> Path:
    start = "" if form == "both ways" else f"initial_state = {START.tolist()}"
    lines = [
        "schema = 1", 'title = "a minimal gated unit"', 'source = {document = "a test"}',
        'reading = {computed_in = "real"}', layer or LAYER[form], *tables(form),
        "[input]", f"x = {X.tolist()}", start, "[loss]", 'kind = "cotangent"',
        f"cotangent = {cotangent(form).tolist()}",
    ]  # fmt: skip
    for what, of, value in expected(form) if expectations is None else expectations:
        lines += ["[[expect]]", f'what = "{what}"', 'from = "the textbook"', f"value = {value}"]
        lines += [f'of = "{of}"'] if of else []
    file = folder / "claim.toml"
    file.write_text("\n".join(lines))
    return file


def answered(claim: Claim, session: Defined | None = None) -> Answer:
    subject: Any = InThisProcess(session or Defined())
    return request.ask(claim, subject, Setting())


def verdicts_of(found: list[Verdict]) -> dict[str, str]:
    return {v.what: v.detail for v in found if v.verdict != AGREE}


@pytest.mark.parametrize("form", LAYER)
def test_it_is_loaded_asked_judged_and_reported(form: str, tmp_path: Path) -> None:
    assert {"MGU", "MGUCell"} <= schema.json_schema()["$defs"].keys()
    claim = files.load(written(tmp_path, form))
    asked, message = plans.planned(request.request(claim, request.asks(claim), Setting()))
    assert {"outputs", "summary", "weights"} <= asked.keys() and message.names
    answer = answered(claim)
    found = judge.judge(claim, answer)
    assert verdicts_of(found) == {}, answer.error
    assert len(found) == len(expected(form))
    out = io.StringIO()
    judged = [Judged(not_started("a definition").asked(), found)]
    verdicts.terminal(judged, terminal.console(out, 100), amount=verdicts.Amount.ALL)
    assert "gate of forward.u" in out.getvalue() or "gate of u" in out.getvalue()


@pytest.mark.parametrize("form", [pytest.param("alone", marks=long), "over its cell", "both ways"])
def test_its_spoilt_answers_turn_it_red(form: str, tmp_path: Path) -> None:
    claim = files.load(written(tmp_path, form))
    observed, beside, tried = answered(claim).observed or {}, Beside(claim), set[str]()
    for e in claim.expectations:
        same = [
            each for each in claim.expectations if each.what == e.what
        ]  # of other gates as well
        for way in e.spoils(claim):
            for where, other in spoilt(observed, way):
                found = {beside.verdict(each, other).verdict for each in same}
                assert DIFFER in found, (e.name, where)
                tried.add(e.what)
    own = {"last_state", "gradient"} | ({"states"} if form != "both ways" else set())
    assert tried == {"parameters", "weights_read_back", "output", "certified", *own}


@pytest.mark.parametrize("form", LAYER)
def test_what_is_off_by_little_and_what_is_printed_wrong_is_seen(form: str, tmp_path: Path) -> None:
    claim = files.load(written(tmp_path, form))
    off = judge.judge(claim, answered(claim, Defined(lambda shown: shown + np.float32(1e-5))))
    assert {v.what: v.verdict for v in off}["output"] == DIFFER
    start = None if form == "both ways" else START
    wrong = [
        ("parameters", "", "99"),
        ("output", "", digits(shown(form, X, start, EACH) + 1e-5)),
        ("gate", "forward.f" if form == "both ways" else "f", digits(np.full((B, T, H), 0.5))),
    ]
    other = files.load(written(tmp_path, form, wrong))
    assert [v.verdict for v in judge.judge(other, answered(other))] == [DIFFER] * 3


def test_gates_may_stand_in_one_matrix_in_the_order_of_their_author(tmp_path: Path) -> None:
    file = written(tmp_path, "alone")
    one = {name: np.concatenate([EACH["forward"][g][name] for g in "cf"], axis=-1)
           for name in ("kernel", "recurrent_kernel", "bias")}  # fmt: skip
    text, apart = file.read_text(), "\n".join(tables("alone"))
    whole = "\n".join(["[weights]", *(f"{name} = {a.tolist()}" for name, a in one.items())])
    assert apart in text
    text = text.replace(apart, whole)
    file.write_text(text.replace("reading = {", 'reading = {gates = "c u", '))
    claim = files.load(file)
    assert verdicts_of(judge.judge(claim, answered(claim))) == {}
    file.write_text(text.replace("reading = {", 'reading = {gates = "c z", '))
    with pytest.raises(ClaimError, match="'c z' is no order of the gates of MGU; name each once"):
        files.load(file)


@pytest.mark.parametrize(
    ("key", "why"),
    [
        ("forget_bias = 1", "no layer whose forget gate has a bias"),
        ('z_weighs = "candidate"', "no layer with an update gate"),
        ('states = "[c, h]"', "only an LSTM has two states"),
    ],
)
def test_what_it_has_not_cannot_be_said_of_it(key: str, why: str, tmp_path: Path) -> None:
    file = written(tmp_path, "alone")
    file.write_text(file.read_text().replace("reading = {", f"reading = {{{key}, "))
    with pytest.raises(ClaimError, match=why):
        files.load(file)


def test_what_it_does_not_take_is_refused(tmp_path: Path) -> None:
    layer = 'layer = {kind = "MGU", name = "cell", units = 2, reset_after = true}'
    with pytest.raises(ClaimError, match="unknown key"):
        files.load(written(tmp_path, "alone", layer=layer))


def test_what_is_not_derived_of_it_is_not_run_and_says_so(tmp_path: Path) -> None:
    layer = 'layer = {kind = "MGU", name = "cell", units = 2, dropout = 0.5}'
    claim = files.load(written(tmp_path, "alone", [("dropout", "input", "true")], layer))
    (found,) = judge.judge(claim, answered(claim))
    assert found.verdict == NOT_RUN
    assert "what dropout drops for each gate of MGU is not derived" in found.detail
    with pytest.raises(paper.NotOnPaper, match="how MGU is computed on paper is not known"):
        paper.Paper(claim)
    with pytest.raises(ClaimError, match="forget_bias needs an LSTM with a bias"):
        files.load(written(tmp_path, "alone", [("forget_bias", "", "true")]))


def test_its_parameters_are_counted_on_paper(tmp_path: Path) -> None:
    (count,) = paper.counts(files.load(written(tmp_path, "alone")))
    assert (count.formula, count.value) == ("2·units·(units + features + 1)", 20)


def test_mistakes_with_it_change_what_it_computes(tmp_path: Path) -> None:
    claim = files.load(written(tmp_path, "alone"))
    honest = ran(claim, claim.layers[0], 0)  # type: ignore[arg-type]
    right = honest.states()
    np.testing.assert_allclose(right, textbook(X, START, EACH["forward"])["h"], atol=1e-6)
    words = {word: run.states() for each in MISTAKES for word, run in each.change(honest)}
    assert "gates f and h are exchanged" in words and "bias is dropped" in words
    assert not any("forget" in word or "reset" in word or "1 - z" in word for word in words)
    assert all((states != right).any() for states in words.values())
