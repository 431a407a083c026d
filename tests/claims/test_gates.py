"""Are gates read as their author wrote them?  They have to compute what the author computes."""

from __future__ import annotations

import itertools
import re
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
import pytest

from rnn_check.claims import gates, views, weights_given
from rnn_check.claims.gates import GateReading
from rnn_check.claims.layers.recurrent import LETTERS
from rnn_check.claims.written import Given, Reader
from rnn_check.numbers.bounded import Bounded
from rnn_check.numbers.reading import Bounds
from rnn_check.recurrences import gru, lstm
from rnn_check.refusal import ClaimError
from rnn_check.subjects.asked.named import FAMILIES
from tests.support.sampling import thinned

READER = Reader(Path("claim.toml"))
F, H, B = 3, 2, 4
Layout = Literal["x·W", "W·x"]
Joined = Literal["[h, x]", "[x, h]"]
LAYOUTS: tuple[Layout, ...] = ("x·W", "W·x")
JOINED: tuple[Joined | None, ...] = (None, "[h, x]", "[x, h]")


def read(table: dict[str, Any], reading: GateReading, kind: str, **more: Any) -> dict[str, Given]:
    units, features = more.pop("units", H), more.pop("features", F)
    given = weights_given.given(table, READER, LETTERS[kind], key="weights")
    return weights_given.weights(
        given, reading, LETTERS[kind], units, features, fail=READER.fail, **{**usual(kind), **more}
    )


def usual(kind: str) -> dict[str, int]:
    """How many Keras's default has."""
    return {"biases": FAMILIES[kind].biases}


def drawn(*shape: int) -> list[Any]:
    """Numbers as a TOML file has them."""
    rng = np.random.default_rng(sum(shape))
    listed: list[Any] = np.vectorize(lambda v: Decimal(f"{v:.3f}"), otypes=[object])(
        rng.uniform(-1, 1, shape)
    ).tolist()
    return listed


class Author:
    """Somebody with own matrices, gate by gate: computes as the equations in a textbook do."""

    def __init__(self, letters: str, layout: Layout, joined: Joined | None, biases: int) -> None:
        rng = np.random.default_rng(len(letters))
        self.letters, self.layout, self.joined, self.biases = letters, layout, joined, biases
        self.W = {g: rng.uniform(-1, 1, (H, F)).round(3) for g in letters}  # W·x
        self.U = {g: rng.uniform(-1, 1, (H, H)).round(3) for g in letters}
        self.b = {g: rng.uniform(-1, 1, H).round(3) for g in letters}
        self.b2 = {g: rng.uniform(-1, 1, H).round(3) * (biases == 2) for g in letters}

    def of_x(self, gate: str, x: Bounded) -> Bounded:
        return N.affine((x, N.exactly(self.W[gate].T)), bias=N.exactly(self.b[gate]))

    def of_h(self, gate: str, h: Bounded) -> Bounded:
        return N.affine((h, N.exactly(self.U[gate].T)), bias=N.exactly(self.b2[gate]))

    def table(self, groups: str) -> dict[str, Any]:
        """As written: groups "f i", of one gate each or several; or "" for whole matrices."""
        if not groups:
            return self.parts(self.letters)
        return {group: self.parts(group) for group in groups.split()}

    def parts(self, group: str) -> dict[str, Any]:
        W = np.concatenate([self.W[g] for g in group])
        U = np.concatenate([self.U[g] for g in group])
        if self.joined:
            W = np.concatenate([U, W] if self.joined == "[h, x]" else [W, U], axis=1)
        table = {"kernel": W} if self.joined else {"kernel": W, "recurrent_kernel": U}
        if self.layout == "x·W":
            table = {name: a.T for name, a in table.items()}
        table["bias"] = np.concatenate([self.b[g] for g in group])
        if self.biases == 2:
            table["recurrent_bias"] = np.concatenate([self.b2[g] for g in group])
        return {name: written(a) for name, a in table.items()}

    def reading(self, **more: Any) -> GateReading:
        return GateReading(layout=self.layout, joined=self.joined, **more)


def written(a: Any) -> list[Any]:
    listed: list[Any] = np.vectorize(lambda v: Decimal(repr(float(v))), otypes=[object])(a).tolist()
    return listed


N = Bounds("float64")  # both compute in it: each number has the bound of its own arithmetic


def states(n: int) -> list[Bounded]:
    rng = np.random.default_rng(7)
    return [N.exactly(rng.uniform(-1, 1, (B, size))) for size in (F, *[H] * n)]


def known(given: Given) -> Bounded:
    return Bounded(given.value, given.error, N.a)


def assert_the_same(one: Bounded, other: Bounded) -> None:
    """Two of float64 may stand for one number."""
    assert (np.abs(one.value - other.value) <= one.error + other.error).all()
    assert (one.error + other.error < 0.0005).all()  # and for no other weight of three digits


HOW = list(itertools.product(LAYOUTS, JOINED, (1, 2)))


@thinned(5)
@pytest.mark.parametrize(("layout", "joined", "biases"), HOW)
@pytest.mark.parametrize(
    ("letters", "groups"),
    [
        ("ifco", ""),
        ("ifog", ""),
        ("ijfo", ""),
        ("fioc", "f i o c"),
        ("ofia", "fi a o"),
        ("gofi", "gofi"),
    ],
)
def test_an_lstm_that_is_read_computes_what_its_author_computes(
    letters: str, groups: str, layout: Layout, joined: Joined | None, biases: int
) -> None:
    author = Author(letters, layout, joined, biases)
    order = None if groups or letters == "ifco" else " ".join(letters)
    w = read(author.table(groups), author.reading(gates=order), "LSTM")
    x, h, c = states(2)
    a = {g: author.of_x(g, x) + author.of_h(g, h) for g in letters}
    candidate = next(g for g in letters if g in "cgja")
    new_c = N.gate(a["f"]) * c + N.gate(a["i"]) * N.act(a[candidate])
    new_h = N.gate(a["o"]) * N.act(new_c)
    weights = lstm.Weights(*(known(w[name]) for name in ("kernel", "recurrent_kernel", "bias")))
    got = lstm.step(N, weights, x, h, c)
    assert_the_same(got.h, new_h)
    assert_the_same(got.c, new_c)


@thinned(7)
@pytest.mark.parametrize(("layout", "joined", "biases"), HOW)
@pytest.mark.parametrize("z_weighs", ["state", "candidate"])
@pytest.mark.parametrize("reset_after", [True, False])
@pytest.mark.parametrize(
    ("letters", "groups"),
    [("zrh", ""), ("rzn", ""), ("urc", ""), ("zrh", "z r h"), ("ruc", "ru c"), ("hrz", "h zr")],
)
def test_a_gru_that_is_read_computes_what_its_author_computes(
    letters: str,
    groups: str,
    reset_after: bool,
    z_weighs: Literal["state", "candidate"],
    layout: Layout,
    joined: Joined | None,
    biases: int,
) -> None:
    author = Author(letters, layout, joined, biases)
    order = None if groups or letters == "zrh" else " ".join(letters)
    reading = author.reading(gates=order, z_weighs=z_weighs)
    w = read(author.table(groups), reading, "GRU", biases=1 + reset_after)
    x, h = states(1)
    update = next(g for g in letters if g in "zu")
    candidate = next(g for g in letters if g in "hnc")
    z = N.gate(author.of_x(update, x) + author.of_h(update, h))
    r = N.gate(author.of_x("r", x) + author.of_h("r", h))
    of_h = r * author.of_h(candidate, h) if reset_after else author.of_h(candidate, r * h)
    c = N.act(author.of_x(candidate, x) + of_h)
    wanted = z * h + (1 - z) * c if z_weighs == "state" else (1 - z) * h + z * c
    assert w["bias"].shape == ((2, 3 * H) if reset_after else (3 * H,))
    parts = [w[name] for name in ("kernel", "recurrent_kernel", "bias")]
    arranged = gru.arranged if reset_after else gru.arranged_before
    value = arranged(*(part.value for part in parts))
    error = arranged(*(part.error for part in parts))
    given = (None if v is None else Bounded(v, e, N.a) for v, e in zip(value, error, strict=True))
    step = gru.step if reset_after else gru.step_before
    assert_the_same(step(N, gru.Weights(*given), x, h).h, wanted)


@pytest.mark.parametrize(("layout", "joined", "biases"), HOW)
@pytest.mark.parametrize(
    ("kind", "letters", "groups"),
    [("LSTM", "ifog", ""), ("LSTM", "fioc", "fi o c"), ("GRU", "rzn", ""), ("GRU", "ruc", "ru c")],
)
def test_gradients_go_back_to_where_their_author_has_them(
    kind: str, letters: str, groups: str, layout: Layout, joined: Joined | None, biases: int
) -> None:
    """Σ ∂L/∂w·w is the same number in Keras's arrays and in the author's."""
    author = Author(letters, layout, joined, biases)
    order = None if groups else " ".join(letters)
    weighs: Literal["state", "candidate"] = "candidate" if kind == "GRU" else "state"
    reading = author.reading(gates=order, z_weighs=weighs)
    given = weights_given.given(author.table(groups), READER, LETTERS[kind])
    w = weights_given.weights(given, reading, LETTERS[kind], H, F, fail=READER.fail, **usual(kind))
    shapes, there = {name: a.shape for name, a in w.items()}, weights_given.shapes(given)
    rng = np.random.default_rng(1)
    gradient = {name: rng.integers(-9, 9, a.shape) for name, a in w.items()}
    in_keras = sum((gradient[name] * thousandths(a)).sum() for name, a in w.items())
    as_there = 0
    for path, shape in there.items():
        of_it = views.view(path, shapes, there, reading, LETTERS[kind], H)
        array = at_path(given, path)
        assert of_it.shape == shape == array.shape
        as_there += (of_it(gradient) * thousandths(array)).sum()
        sizes = of_it.bounds({name: np.abs(g) for name, g in gradient.items()})
        np.testing.assert_array_equal(sizes, np.abs(of_it(gradient)))
    assert as_there == in_keras


def thousandths(given: Given) -> Any:
    """Authors here write three digits, so that all these are integers."""
    return np.rint(given.value * 1000).astype(int)


def at_path(given: dict[str, Any], path: str) -> Given:
    group, _, part = path.rpartition(".")
    found: Given = (given[group] if group else given)[part]
    return found


BIAS = {"bias": (2, 6)}


def test_the_gradient_of_a_bias_has_the_shape_that_is_written() -> None:
    arrays = {"bias": np.arange(12).reshape(2, 6)}
    plain = GateReading()
    for shape in ((6,), (6, 1), (1, 6)):
        got = views.view("bias", BIAS, {"bias": shape}, plain, LETTERS["GRU"], H)(arrays)
        assert got.shape == shape
        assert got.ravel().tolist() == [0, 1, 2, 3, 4, 5]
    for written in ({"bias": (2, 6)}, {}):
        both = views.view("bias", BIAS, written, plain, LETTERS["GRU"], H)(arrays)
        assert both.tolist() == arrays["bias"].tolist()
    second = views.view("r.recurrent_bias", BIAS, {}, plain, LETTERS["GRU"], H)(arrays)
    assert second.tolist() == [8, 9]
    one = {"z.bias": (2,), "z.recurrent_bias": (2,)}  # beside a second one there is one row
    assert views.view("bias", BIAS, one, plain, LETTERS["GRU"], H)(arrays).tolist() == [
        0,
        1,
        2,
        3,
        4,
        5,
    ]
    number = views.view("f.bias", {"bias": (4,)}, {"f.bias": ()}, plain, LETTERS["LSTM"], 1)
    assert number({"bias": np.arange(4)}).tolist() == 1


def test_gates_that_are_written_together_may_be_asked_for_one_by_one() -> None:
    arrays = {"kernel": np.arange(F * 6).reshape(F, 6), "recurrent_kernel": -np.ones((H, 6), int)}
    shapes = {name: a.shape for name, a in arrays.items()}
    reading = GateReading(gates="r u c", joined="[x, h]", layout="W·x", z_weighs="candidate")
    u = views.view("u.kernel", shapes, {"kernel": (6, F + H)}, reading, LETTERS["GRU"], H)(arrays)
    assert u.tolist() == [[0, -6, -12, 1, 1], [-1, -7, -13, 1, 1]]
    rc = views.view("rc.kernel", shapes, {"kernel": (6, F + H)}, reading, LETTERS["GRU"], H)(arrays)
    assert rc[:, 0].tolist() == [2, 3, 4, 5]
    whole = views.view("kernel", shapes, {"kernel": (6, F + H)}, reading, LETTERS["GRU"], H)(arrays)
    np.testing.assert_array_equal(whole, np.concatenate([rc[:2], u, rc[2:]]))


LSTM_SHAPES = {"kernel": (F, 8), "recurrent_kernel": (H, 8), "bias": (8,)}


@pytest.mark.parametrize(
    ("path", "reading", "said"),
    [
        ("f.recurrent_bias", {}, "the author has one bias: [weights] gives no recurrent_bias"),
        (
            "f.recurrent_kernel", {"joined": "[x, h]"},
            'with joined = "[x, h]", f.kernel holds it',
        ),
    ],
)  # fmt: skip
def test_what_the_author_has_not_is_no_view(path: str, reading: Any, said: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(said)}$"):
        views.view(path, LSTM_SHAPES, {}, GateReading(**reading), LETTERS["LSTM"], H)


@pytest.mark.parametrize("path", ["x.kernel", "ff.kernel", "f.kernels", "h.kernel", ".kernel", ""])
def test_what_is_no_path_is_told_what_is(path: str) -> None:
    with pytest.raises(LookupError) as raised:
        views.view(path, LSTM_SHAPES, {"fi.kernel": (F, 4)}, GateReading(), LETTERS["LSTM"], H)
    each = ("", "i.", "f.", "c.", "o.")
    assert raised.value.args[0] == {"fi.kernel", *(g + part for g in each for part in LSTM_SHAPES)}


def test_without_a_bias_there_is_no_view_of_one() -> None:
    shapes = {name: LSTM_SHAPES[name] for name in ("kernel", "recurrent_kernel")}
    with pytest.raises(ValueError, match=r"^the layer has use_bias = false$"):
        views.view("f.bias", shapes, {}, GateReading(), LETTERS["LSTM"], H)


def test_digits_go_where_their_number_goes() -> None:
    table = {
        "z": {"kernel": [[Decimal("0.10")]], "recurrent_kernel": 1, "bias": Decimal("-0.5")},
        "rn": {"kernel": [[2, Decimal("0.250")]], "recurrent_kernel": [[1, 1]], "bias": [0, 0]},
    }
    reading = GateReading(z_weighs="candidate")
    w = read(table, reading, "GRU", units=1, features=1, biases=1)
    kernel, bias = w["kernel"], w["bias"]
    tenth, quarter, half = (
        READER.given([Decimal(digits)], "w") for digits in ("0.10", "0.250", "-0.5")
    )
    assert kernel.value.tolist() == [[-0.1, 2, 0.25]]
    assert kernel.lo.tolist() == [[-tenth.hi[0], 2, quarter.lo[0]]]
    assert kernel.hi.tolist() == [[-tenth.lo[0], 2, quarter.hi[0]]]
    assert kernel.half_unit.tolist() == [[tenth.half_unit[0], 0, quarter.half_unit[0]]]
    assert kernel.error[0, 0] == 0.1 * 2.0**-53
    assert (bias.lo[0], bias.hi[0]) == (-half.hi[0], -half.lo[0])


def test_what_is_rounded_stays_as_far_off() -> None:
    table = {"kernel": drawn(F, 8), "recurrent_kernel": drawn(H, 8), "bias": drawn(8)}
    given = weights_given.given(table, READER, LETTERS["LSTM"], "rounded")
    reading = GateReading(gates="f i g o")
    w = weights_given.weights(given, reading, LETTERS["LSTM"], H, F, fail=READER.fail)
    there, shapes = weights_given.shapes(given), {name: array.shape for name, array in w.items()}
    errors = {name: array.error for name, array in w.items()}
    for path in there:
        as_written = views.view(path, shapes, there, reading, LETTERS["LSTM"], H).bounds(errors)
        np.testing.assert_array_equal(as_written, at_path(given, path).error)


def test_a_forget_bias_is_added_to_the_forget_gate_alone() -> None:
    table = {"kernel": drawn(F, 8), "recurrent_kernel": drawn(H, 8), "bias": [0] * 8}
    reading = GateReading(gates="i j f o", forget_bias=Decimal("1.5"))
    assert read(table, reading, "LSTM")["bias"].value.tolist() == [0, 0, 1.5, 1.5, 0, 0, 0, 0]


def test_a_forget_bias_that_is_no_float64_is_off_by_its_rounding() -> None:
    table = {"kernel": drawn(F, 8), "recurrent_kernel": drawn(H, 8), "bias": [0] * 8}
    bias = read(table, GateReading(forget_bias=Decimal("0.1")), "LSTM")["bias"]
    assert bias.error.tolist() == [0, 0, 0.1 * 2.0**-53, 0.1 * 2.0**-53, 0, 0, 0, 0]


def test_a_single_bias_of_a_gru_that_resets_after_is_that_of_inputs() -> None:
    table = {"kernel": drawn(F, 6), "recurrent_kernel": drawn(H, 6), "bias": [1, 2, 3, 4, 5, 6]}
    w = read(table, GateReading(), "GRU")
    assert w["bias"].value.tolist() == [[1, 2, 3, 4, 5, 6], [0] * 6]


def test_keras_own_bias_of_two_rows_is_read_as_it_stands() -> None:
    bias = drawn(2, 6)
    table = {"kernel": drawn(F, 6), "recurrent_kernel": drawn(H, 6), "bias": bias}
    w = read(table, GateReading(), "GRU")
    assert w["bias"].value.tolist() == [[float(v) for v in row] for row in bias]


@pytest.mark.parametrize("bias", [drawn(8), [drawn(8)], [[v] for v in drawn(8)]])
def test_a_bias_may_be_a_row_or_a_column(bias: list[Any]) -> None:
    table = {"kernel": drawn(F, 8), "recurrent_kernel": drawn(H, 8), "bias": bias}
    w = read(table, GateReading(), "LSTM")
    assert w["bias"].value.tolist() == [float(v) for v in drawn(8)]


def test_matrices_of_one_number_may_be_numbers() -> None:
    table = {g: {"kernel": i, "recurrent_kernel": 2 * i, "bias": -i} for i, g in enumerate("ifco")}
    w = read(table, GateReading(), "LSTM", units=1, features=1)
    assert w["kernel"].value.tolist() == [[0, 1, 2, 3]]
    assert w["recurrent_kernel"].value.tolist() == [[0, 2, 4, 6]]
    assert w["bias"].value.tolist() == [0, -1, -2, -3]


def test_features_are_those_of_the_kernels_where_nothing_else_says_them() -> None:
    author = Author("ifco", "x·W", "[x, h]", 1)
    w = read(author.table("i f c o"), author.reading(), "LSTM", features=None)
    assert w["kernel"].shape == (F, 4 * H)
    assert w["recurrent_kernel"].shape == (H, 4 * H)


def test_a_simple_rnn_may_be_joined_too() -> None:
    author = Author("h", "W·x", "[h, x]", 2)
    w = read(author.table(""), author.reading(), "SimpleRNN")
    np.testing.assert_array_equal(w["kernel"].value, author.W["h"].T)
    np.testing.assert_array_equal(w["recurrent_kernel"].value, author.U["h"].T)
    np.testing.assert_array_equal(w["bias"].value, author.b["h"] + author.b2["h"])


@pytest.mark.parametrize("name", sorted(gates.MIRRORED))
def test_what_is_called_mirrored_is(name: str) -> None:
    gate = Bounds("float64", gate=name).gate
    z = np.linspace(-8, 8, 97)
    assert_the_same(gate(N.exactly(-z)), 1.0 - gate(N.exactly(z)))


def test_the_letters_of_authors_and_of_keras() -> None:
    plain, other = GateReading(), GateReading(z_weighs="candidate")
    assert gates.gate_of(LETTERS["LSTM"], "g", plain) == ("c", False)
    assert gates.gate_of(LETTERS["GRU"], "u", plain) == ("z", False)
    assert gates.gate_of(LETTERS["GRU"], "u", other) == ("z", True)
    assert gates.gate_of(LETTERS["GRU"], "r", other) == ("r", False)
    with pytest.raises(KeyError):
        gates.gate_of(LETTERS["GRU"], "f", plain)


def of(activations: dict[str, set[str]]) -> dict[gates.Letters, set[str]]:
    return {LETTERS[kind]: own for kind, own in activations.items()}


def lstm_table(**changes: Any) -> dict[str, Any]:
    table = {"kernel": drawn(F, 8), "recurrent_kernel": drawn(H, 8), "bias": drawn(8)}
    return {name: a for name, a in {**table, **changes}.items() if a is not None}


def apart(kind: str = "LSTM", **changes: Any) -> dict[str, Any]:
    each = {"kernel": drawn(F, 2), "recurrent_kernel": drawn(H, 2), "bias": drawn(2)}
    table = {g: dict(each) for g in LETTERS[kind].order}
    return {name: a for name, a in {**table, **changes}.items() if a is not None}


def no_order(text: str) -> str:
    return (
        f"{text!r} is no order of the gates of LSTM; name each once, as in 'i f o g': "
        "i, f, c, o, or g j a for c"
    )


NO_GATES = (
    "names no gates of LSTM; a table has the letters of its gates, each once: i, f, c, o, "
    "or the author's own (g j a for c)"
)
ONE = {"kernel": drawn(F, 2), "recurrent_kernel": drawn(H, 2), "bias": drawn(2)}


@pytest.mark.parametrize(
    ("table", "reading", "more", "key", "said"),
    [
        (
            lstm_table(kernels=drawn(F, 8)), {}, {}, "weights.kernels",
            "unknown key; did you mean `kernel`?; known: bias, c, f, i, kernel, o, "
            "recurrent_bias, recurrent_kernel",
        ),
        (lstm_table(kernel=None), {}, {}, "weights.kernel", "required key is missing"),
        (lstm_table(bias=None), {}, {}, "weights.bias", "required key is missing"),
        ({}, {}, {}, "weights.kernel", "required key is missing"),
        (lstm_table(bias=drawn(6)), {}, {}, "weights.bias", "expected shape (8,), got (6,)"),
        (
            lstm_table(), {}, {"use_bias": False},
            "weights.bias", "the layer has use_bias = false; leave it out",
        ),
        (
            lstm_table(bias=None), {"forget_bias": 1}, {"use_bias": False},
            "reading.forget_bias", "with use_bias = false there is no bias to add it to",
        ),
        (
            lstm_table(kernel=drawn(F, 6)), {}, {},
            "weights.kernel", "expected shape (3, 8), got (3, 6)",
        ),
        (
            lstm_table(kernel=drawn(8, F)), {}, {}, "weights.kernel",
            "expected shape (3, 8), got (8, 3); does it multiply from the left? "
            'say layout = "W·x" in [reading]',
        ),
        (
            lstm_table(kernel=drawn(F + H, 8)), {}, {}, "weights.kernel",
            "expected shape (3, 8), got (5, 8); one matrix on x and h? "
            'say joined = "[h, x]" or "[x, h]" in [reading]',
        ),
        (
            lstm_table(), {"layout": "W·x"}, {}, "weights.kernel",
            "expected shape (3, 8), got (8, 3) (after W·x is turned into x·W)",
        ),
        (
            lstm_table(), {"joined": "[h, x]"}, {},
            "weights.kernel", "expected shape (5, 8), got (3, 8)",
        ),
        (
            lstm_table(kernel=drawn(F + H, 8)), {"joined": "[h, x]"}, {},
            "weights.recurrent_kernel", 'with joined = "[h, x]", kernel holds it',
        ),
        (
            lstm_table(kernel=drawn(H, 8)), {"joined": "[h, x]"}, {"features": None},
            "weights.kernel", "expected shape (features, 8), got (2, 8)",
        ),
        (lstm_table(), {"gates": "i f o"}, {}, "reading.gates", no_order("i f o")),
        (lstm_table(), {"gates": "i f c g"}, {}, "reading.gates", no_order("i f c g")),
        (lstm_table(), {"gates": "z r h"}, {}, "reading.gates", no_order("z r h")),
        (
            apart(), {"gates": "i f o g"}, {}, "reading.gates",
            "no matrix holds all gates: they are given apart; leave it out",
        ),
        (apart(f=None), {}, {}, "weights.f", "missing: the weights of the gates f"),
        (
            apart(f=None, o=None), {}, {},
            "weights.f", "missing: the weights of the gates f, o",
        ),
        (apart(g=ONE), {}, {}, "weights.g.kernel", "the gate c has a kernel elsewhere too"),
        (apart(x=ONE), {}, {}, "weights.x", NO_GATES),
        (apart(zr=ONE), {}, {}, "weights.zr", NO_GATES),
        (apart(ff=ONE), {}, {}, "weights.ff", NO_GATES),
        (
            apart(f=drawn(F, 2)), {}, {},
            "weights.f", "expected a table of its kernel, recurrent_kernel, bias",
        ),
        (
            apart(f={"full": 1, "shape": [2]}), {}, {},
            "weights.f", "expected a table of its kernel, recurrent_kernel, bias",
        ),
        (
            apart(f={**ONE, "kernal": 1}), {}, {}, "weights.f.kernal",
            "unknown key; did you mean `kernel`?; known: bias, kernel, recurrent_bias, "
            "recurrent_kernel",
        ),
        (
            apart(f={"kernel": drawn(F, 2), "bias": drawn(2)}), {}, {},
            "weights.f.recurrent_kernel", "required key is missing",
        ),
        (
            apart(f={**ONE, "recurrent_bias": drawn(2)}), {}, {},
            "weights.i.recurrent_bias", "required key is missing",
        ),
        (
            apart(f={**ONE, "kernel": drawn(F, 3)}), {}, {},
            "weights.f.kernel", "expected shape (3, 2), got (3, 3)",
        ),
        (
            apart(f={**ONE, "kernel": drawn(F + 1, 2)}), {}, {"features": None},
            "weights.f.kernel", "4 features, where the gate i has 3",
        ),
        (
            apart(f={**ONE, "bias": "none"}), {}, {}, "weights.f.bias",
            "'none' is no number; a string must be a hex float, '0x1.8p+0'",
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_its_key(
    table: dict[str, Any], reading: dict[str, Any], more: dict[str, Any], key: str, said: str
) -> None:
    with pytest.raises(ClaimError) as raised:
        read(table, GateReading(**reading), "LSTM", **more)
    assert raised.value.key == key
    assert raised.value.problem == said


def test_a_second_bias_beside_two_rows_is_refused() -> None:
    table = {
        "kernel": drawn(F, 6), "recurrent_kernel": drawn(H, 6),
        "bias": drawn(2, 6), "recurrent_bias": drawn(6),
    }  # fmt: skip
    with pytest.raises(ClaimError, match="bias has two rows and holds it"):
        read(table, GateReading(), "GRU")


@pytest.mark.parametrize(
    ("reading", "activations", "key", "said"),
    [
        (
            {"gates": "i f g o"}, {"SimpleRNN": set()},
            "reading.gates", "the claim has no layer with gates; leave it out",
        ),
        ({"gates": "z r h"}, {"LSTM": {"sigmoid"}}, "reading.gates", no_order("z r h")),
        (
            {"gates": "z r h"}, {"LSTM": set(), "GRU": set()}, "reading.gates",
            "the claim has LSTM and GRU, whose gates are not the same; name the tables of "
            "[weights] by the letters of their gates in place of it",
        ),
        (
            {"joined": "[h, x]"}, {},
            "reading.joined", "the claim has no recurrent layer; leave it out",
        ),
        (
            {"forget_bias": 1}, {"GRU": {"sigmoid"}},
            "reading.forget_bias",
            "the claim has no layer whose forget gate has a bias; leave it out",
        ),
        (
            {"forget_bias": 10**400}, {"LSTM": {"sigmoid"}},
            "reading.forget_bias", "expected a number of at most 1,000,000",
        ),
        (
            {"forget_bias": Decimal("nan")}, {"LSTM": {"sigmoid"}},
            "reading.forget_bias", "expected a number of at most 1,000,000",
        ),
        (
            {"z_weighs": "candidate"}, {"LSTM": {"sigmoid"}},
            "reading.z_weighs", "the claim has no layer with an update gate; leave it out",
        ),
        (
            {"z_weighs": "candidate"}, {"GRU": {"tanh"}}, "reading.z_weighs",
            "with the recurrent_activation tanh, 1 - z is no gate of any weights; that can be "
            "said of hard_sigmoid and sigmoid only",
        ),
    ],
)  # fmt: skip
def test_a_key_that_nothing_would_obey_is_refused(
    reading: dict[str, Any], activations: dict[str, set[str]], key: str, said: str
) -> None:
    with pytest.raises(ClaimError) as raised:
        gates.check(GateReading(**reading), of(activations), READER.fail)
    assert raised.value.key == key
    assert raised.value.problem == said


@pytest.mark.parametrize(
    ("reading", "activations"),
    [
        ({}, {}),
        ({"gates": "i f o g", "joined": "[x, h]", "forget_bias": 1}, {"LSTM": {"sigmoid"}}),
        ({"gates": "r u c", "z_weighs": "candidate"}, {"GRU": {"sigmoid"}, "SimpleRNN": set()}),
        ({"joined": "[h, x]"}, {"SimpleRNN": set()}),
    ],
)  # fmt: skip
def test_what_a_claim_can_obey_is_not_refused(
    reading: dict[str, Any], activations: dict[str, set[str]]
) -> None:
    gates.check(GateReading(**reading), of(activations), READER.fail)


@pytest.mark.parametrize(
    "reading", [{"joined": "h, x"}, {"z_weighs": "c"}, {"layout": "W x"}, {"order": "i f g o"}]
)
def test_the_keys_and_their_words_are_closed(reading: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(reading, GateReading)
