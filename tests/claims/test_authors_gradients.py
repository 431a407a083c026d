"""Are gradients read as their author prints them: of his matrices, in his order, with his signs?

Authors with programs of their own, whose gradients are complex steps in their own parameters.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from rnn_check.asking import request
from rnn_check.claims import files
from rnn_check.claims.expectations import trained
from rnn_check.claims.expectations.case import Case
from rnn_check.claims.truth import Truth
from rnn_check.numbers.formats import Array
from rnn_check.refusal import ClaimError

F, H, T = 3, 2, 3
Parameters = dict[str, Array]


def sigma(a: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-a)))


def joined_lstm(p: Parameters, x: Array) -> Iterator[Array]:
    """One matrix from the left on [h, x], gates i f o g, a bias as a column; 1 is added to f's."""
    h, c = (state[:, None] for state in p["start"])
    for x_t in x:
        a = p["kernel"] @ np.concatenate([h, x_t[:, None]]) + p["bias"]
        i, f, o, g = np.split(a, 4)
        c = sigma(f + 1) * c + sigma(i) * np.tanh(g)
        h = sigma(o) * np.tanh(c)
        yield h[:, 0]


def lstm_apart(p: Parameters, x: Array) -> Iterator[Array]:
    """Gates apart, with two biases, the cell state kept first."""
    c, h = p["start"]
    for x_t in x:
        a = {
            g: x_t @ p[f"{g}.kernel"] + p[f"{g}.bias"] + h @ p[f"{g}.recurrent_kernel"]
            + p[f"{g}.recurrent_bias"]
            for g in "ifgo"
        }  # fmt: skip
        c = sigma(a["f"]) * c + sigma(a["i"]) * np.tanh(a["g"])
        h = sigma(a["o"]) * np.tanh(c)
        yield h


def gru_before(p: Parameters, x: Array) -> Iterator[Array]:
    """r and u together, u weighing the candidate c, which is reset before."""
    (h,) = p["start"]
    for x_t in x:
        gates = x_t @ p["ru.kernel"] + h @ p["ru.recurrent_kernel"] + p["ru.bias"]
        r, u = np.split(sigma(gates), 2)
        c = np.tanh(x_t @ p["c.kernel"] + (r * h) @ p["c.recurrent_kernel"] + p["c.bias"])
        h = (1 - u) * h + u * c
        yield h


def gru_after(p: Parameters, x: Array) -> Iterator[Array]:
    """As PyTorch: r z n from the left, two biases, of which one stands under the reset."""
    (h,) = p["start"]
    for x_t in x:
        of_x = p["kernel"] @ x_t + p["bias"]
        of_h = p["recurrent_kernel"] @ h + p["recurrent_bias"]
        r, z, n = np.split(of_x, 3)
        q, w, m = np.split(of_h, 3)
        r, z = sigma(r + q), sigma(z + w)
        n = np.tanh(n + r * m)
        h = (1 - z) * n + z * h
        yield h


ALL: dict[str, tuple[Callable[..., Iterator[Array]], str, str, dict[str, tuple[int, ...]]]] = {
    "LSTM, joined": (
        joined_lstm, 'kind = "LSTM"',
        'layout = "W·x", joined = "[h, x]", gates = "i f o g", forget_bias = 1',
        {"kernel": (4 * H, H + F), "bias": (4 * H, 1), "start": (2, H)},
    ),
    "LSTM, apart": (
        lstm_apart, 'kind = "LSTM"', 'states = "[c, h]"',
        {
            **{f"{g}.kernel": (F, H) for g in "ifgo"},
            **{f"{g}.recurrent_kernel": (H, H) for g in "ifgo"},
            **{f"{g}.{b}bias": (H,) for g in "ifgo" for b in ("", "recurrent_")},
            "start": (2, H),
        },
    ),
    "GRU, reset before": (
        gru_before, 'kind = "GRU", reset_after = false', 'z_weighs = "candidate"',
        {
            "ru.kernel": (F, 2 * H), "ru.recurrent_kernel": (H, 2 * H), "ru.bias": (2 * H,),
            "c.kernel": (F, H), "c.recurrent_kernel": (H, H), "c.bias": (H,), "start": (1, H),
        },
    ),
    "GRU, reset after": (
        gru_after, 'kind = "GRU"', 'layout = "W·x", gates = "r z n"',
        {
            "kernel": (3 * H, F), "recurrent_kernel": (3 * H, H), "bias": (3 * H,),
            "recurrent_bias": (3 * H,), "start": (1, H),
        },
    ),
}  # fmt: skip


def drawn(shapes: dict[str, tuple[int, ...]]) -> tuple[Parameters, Array, Array]:
    """Numbers of two digits, and the cotangents of what comes out."""
    rng = np.random.default_rng(3)
    parameters = {name: rng.uniform(-1, 1, shape).round(2) for name, shape in shapes.items()}
    return parameters, rng.uniform(-1, 1, (T, F)).round(2), rng.integers(-3, 4, (T, H)) + 0.5


def gradient(run: Any, p: Parameters, x: Array, cotangents: Array, name: str) -> Array:
    """dL/dp[name], by complex steps."""
    found = np.zeros(p[name].shape)
    for at in np.ndindex(found.shape):
        moved = {**p, name: p[name].astype(complex)}
        moved[name][at] += 1e-200j
        states = np.stack(list(run(moved, x)))
        found[at] = (states * cotangents).sum().imag / 1e-200
    return found


def listed(array: Array, digits: int = 2) -> str:
    if array.ndim:
        return f"[{', '.join(listed(each, digits) for each in array)}]"
    return f"{float(array):.{digits}f}"


def claim_of(name: str, of: dict[str, str]) -> tuple[str, dict[str, Array]]:
    """The claim in which an author prints gradients, and these.

    of: what each is called in the claim.
    """
    run, layer, reading, its = ALL[name]
    p, x, cotangents = drawn(its)
    tables = "\n".join(f"{path} = {listed(p[path])}" for path in p if path != "start")
    start = p["start"] if len(p["start"]) == 1 else p["start"][:, None]
    text = f"""\
schema = 1
title = "{name}"
source = {{ document = "a test" }}
layer = {{ {layer}, units = {H}, return_sequences = true }}
reading = {{ computed_in = "float64", {reading} }}
input = {{ x = {listed(x[None])}, initial_state = {listed(start)} }}
loss = {{ cotangent = {listed(cotangents[None])} }}
[weights]
{tables}
"""
    found = {path: gradient(run, p, x, cotangents, path) for path in of}
    if "start" in found and len(p["start"]) > 1:
        found["start"] = found["start"][:, None]
    for path, array in found.items():
        text += f"""
[[expect]]
what = "gradient"
of = "{of[path]}"
value = {listed(array, 12)}
from = "the author's program"
"""
    return text, found


@pytest.mark.parametrize("name", ALL)
def test_gradients_are_those_of_the_author_s_own_parameters(name: str) -> None:
    of = {path: "initial_state" if path == "start" else path for path in ALL[name][3]}
    text, found = claim_of(name, of)
    c = files.loads(text)
    assert request.asks(c) == ["gradients", "probe", "weights"]
    for e, array in zip(c.expectations, found.values(), strict=True):
        assert not e.not_run
        word = next(e.judge(Case(c, {}, "float32")))
        assert word.ok, word.blame()
        if np.abs(array).max() > 1e-6:
            wrong = files.loads(text.replace(listed(array, 12), listed(-array, 12)))
            (other,) = (x for x in wrong.expectations if x.of == e.of)
            assert not next(other.judge(Case(wrong, {}, "float32"))).ok


def test_a_part_of_it_is_found_in_the_author_s_matrix() -> None:
    text, found = claim_of("LSTM, joined", {"kernel": "kernel"})
    wanted = found["kernel"]
    start = text.index("[[expect]]")
    for at, part in (
        ("{ row = 5, column = [0, -1] }", wanted[5, [0, -1]]),
        ("{ column = 2 }", wanted[:, 2]),
    ):
        told = f'[[expect]]\nwhat = "gradient"\nof = "kernel"\nat = {at}\nfrom = "the author"\n'
        c = files.loads(f"{text[:start]}{told}value = {listed(part, 12)}\n")
        word = next(c.expectations[0].judge(Case(c, {}, "float32")))
        assert word.ok, word.blame()
        wrong = files.loads(f"{text[:start]}{told}value = {listed(part[::-1], 12)}\n")
        assert not next(wrong.expectations[0].judge(Case(wrong, {}, "float32"))).ok


def test_gates_that_are_joined_may_be_printed_apart() -> None:
    """And be told of the layer by its name."""
    text, found = claim_of("LSTM, joined", {"kernel": "kernel"})
    start = text.index("[[expect]]")
    for of, part in (
        ("o.kernel", found["kernel"][4:6]), ("lstm.gi.kernel", found["kernel"][[6, 7, 0, 1]])
    ):  # fmt: skip
        told = f'[[expect]]\nwhat = "gradient"\nof = "{of}"\nfrom = "the author"\n'
        c = files.loads(f"{text[:start]}{told}value = {listed(part, 12)}\n")
        word = next(c.expectations[0].judge(Case(c, {}, "float32")))
        assert word.ok, word.blame()


@pytest.mark.parametrize(
    ("name", "of", "said"),
    [
        ("LSTM, joined", "recurrent_kernel", 'with joined = "[h, x]", kernel holds it'),
        ("LSTM, joined", "f.recurrent_kernel", 'with joined = "[h, x]", f.kernel holds it'),
        (
            "LSTM, joined", "recurrent_bias",
            "the author has one bias: [weights] gives no recurrent_bias",
        ),
        ("GRU, reset before", "z.kernels", "unknown 'z.kernels'; did you mean `z.kernel`?"),
        ("LSTM, apart", "y.kernel", "unknown 'y.kernel'; did you mean `o.kernel`?"),
    ],
)  # fmt: skip
def test_a_gradient_of_what_the_author_has_not_is_refused(name: str, of: str, said: str) -> None:
    text, _ = claim_of(name, {})
    text += f'[[expect]]\nwhat = "gradient"\nof = "{of}"\nvalue = 0\nfrom = "nobody"\n'
    with pytest.raises(ClaimError) as raised:
        files.loads(text)
    assert (raised.value.key, raised.value.problem) == ("expect[0].of", said)


def test_a_gradient_of_another_shape_is_refused() -> None:
    text, _ = claim_of("LSTM, joined", {})
    text += '[[expect]]\nwhat = "gradient"\nof = "f.bias"\nvalue = [1, 2, 3]\nfrom = "nobody"\n'
    with pytest.raises(ClaimError, match=r"expected shape \(2,\), got \(3,\)"):
        files.loads(text)


@pytest.mark.parametrize("name", ALL)
def test_what_a_framework_returns_is_seen_as_the_author_sees_it(name: str) -> None:
    """In Keras's arrays: each number of them belongs to one of the author's."""
    of = {path: "initial_state" if path == "start" else path for path in ALL[name][3]}
    text, _ = claim_of(name, of)
    c = files.loads(text)
    truth = Truth(c, "float32")
    every = {n: truth.gradient(n) for n in ("kernel", "recurrent_kernel", "bias", "initial_state")}
    arrays = {n: value.astype(np.float32) for n, (value, _) in every.items()}

    def red(said: dict[str, Array]) -> list[str]:
        case = Case(c, {"gradients": said}, "float32")
        both = {e.of: list(itertools.islice(e.judge(case), 2)) for e in c.expectations}
        assert all(word.ok for word, _ in both.values())
        return [of for of, (_, seen) in both.items() if not seen.ok]

    assert red(arrays) == []
    for n, (value, bound) in every.items():
        for at in list(np.ndindex(value.shape))[::7]:
            wrong = arrays[n].copy()
            wrong[at] += 3 * bound[at] + np.spacing(wrong[at])
            assert red({**arrays, n: wrong}), (n, at)
    assert red({**arrays, "kernel": arrays["kernel"][:-1]})


def test_gradients_of_two_directions_are_told_by_their_names() -> None:
    text, _ = claim_of("GRU, reset before", {"ru.kernel": "ru.kernel"})
    start, end = text.index("layer ="), text.index("reading =")
    both = (
        'layer = { kind = "Bidirectional", merge_mode = "sum", layer = { kind = "GRU", units = 2, '
        "reset_after = false, return_sequences = true } }\n"
    )
    own = text[text.index("[weights]\n") + 10 : text.index("[[expect]]")]
    zeros = re.sub(r"-?\d\.\d+", "0.0", own)
    tables = "".join(
        f"{side}.{line}\n"
        for side, lines in (("forward", own), ("backward", zeros))
        for line in lines.strip().splitlines()
    )
    told = text[:start] + both + text[end:].replace(own, tables)
    starts = re.search(r"initial_state = (\[\[.*?\]\])", told)
    assert starts is not None
    told = told.replace(starts[1], f"[{starts[1]}, [[0, 0]]]")
    told = told.replace('of = "ru.kernel"', 'of = "forward.ru.kernel"')
    c = files.loads(told)
    word = next(c.expectations[0].judge(Case(c, {}, "float32")))
    assert word.ok, word.blame()
    c = files.loads(told.replace('of = "forward.ru', 'of = "bidirectional.backward.ru'))
    assert not next(c.expectations[0].judge(Case(c, {}, "float32"))).ok


# --- trained ----------------------------------------------------------------------------------


def trained_claim(name: str, rate: float = 0.5) -> tuple[str, dict[str, Array]]:
    """The claim in which an author prints his weights after one update of SGD, and these."""
    run, layer, reading, its = ALL[name]
    p, x, cotangents = drawn(its)
    p["start"] = np.zeros(p["start"].shape)
    wanted = {path: p[path] for path in p if path != "start"}
    last = np.stack(list(run(p, x)))[-1]
    of_loss = np.zeros((T, H))
    of_loss[-1] = 2 / H * (last - cotangents[-1])  # of the mean of squares
    tables = "\n".join(f"{path} = {listed(array)}" for path, array in wanted.items())
    text = f"""\
schema = 1
title = "{name}"
source = {{ document = "a test" }}
layer = {{ {layer}, units = {H} }}
reading = {{ computed_in = "float64", {reading} }}
input = {{ x = {listed(x[None])} }}
loss = {{ kind = "mse", target = {listed(cotangents[-1:])} }}
training = {{ optimizer = "SGD", learning_rate = {rate}, epochs = 1 }}
[weights]
{tables}
"""
    found = {path: w - rate * gradient(run, p, x, of_loss, path) for path, w in wanted.items()}
    for path, array in found.items():
        text += f"""
[[expect]]
what = "trained_weights"
of = "{path}"
value = {listed(array, 12)}
from = "the author's program"
"""
    return text, found


@pytest.mark.parametrize("name", ["LSTM, joined", "GRU, reset before", "GRU, reset after"])
def test_weights_are_trained_in_their_author_s_layout(name: str) -> None:
    text, found = trained_claim(name)
    c = files.loads(text)
    for e, array in zip(c.expectations, found.values(), strict=True):
        assert not e.not_run
        case = Case(c, {}, "float32")
        word = next(e.judge(case))
        assert word.ok, word.blame()
        off = array.copy()
        off.ravel()[-1] += 1e-9
        wrong = files.loads(text.replace(listed(array, 12), listed(off, 12)))
        (other,) = (x for x in wrong.expectations if x.of == e.of)
        assert not next(other.judge(Case(wrong, {}, "float32"))).ok


@pytest.mark.parametrize("name", ["LSTM, joined", "GRU, reset before"])
def test_weights_that_a_framework_trains_are_seen_as_the_author_sees_them(name: str) -> None:
    text, _ = trained_claim(name)
    c = files.loads(text)
    layer = c.names[0]
    ends = trained.ended(Case(c, {}, "float32"), "float32").weights
    arrays = {path: value.astype(np.float32) for path, (value, _) in ends.items()}
    case = Case(c, {"trained": {"weights": {layer: arrays}}}, "float32")
    assert all(word.ok for e in c.expectations for word in e.judge(case))
    for path, (value, bound) in ends.items():
        wrong = arrays[path].copy()
        wrong.ravel()[0] += 4 * bound.ravel()[0] + np.spacing(value.astype(np.float32)).max()
        case = Case(c, {"trained": {"weights": {layer: {**arrays, path: wrong}}}}, "float32")
        assert not all(word.ok for e in c.expectations for word in e.judge(case)), path


def test_biases_that_learn_otherwise_than_keras_s_are_not_judged() -> None:
    text, _ = trained_claim("LSTM, apart")
    said = "two biases that are added, which learn twice, is not derived"
    assert all(said in e.not_run for e in files.loads(text).expectations)
    text, _ = trained_claim("GRU, reset before")
    one = files.loads(text.replace("reset_after = false", "reset_after = true"))
    said = "a GRU that has one bias, where Keras trains two, is not derived"
    assert all(said in e.not_run for e in one.expectations)
