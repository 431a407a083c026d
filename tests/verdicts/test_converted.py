"""Is a layer known again after its weights were converted, and each mistake named?"""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import numpy as np
import pytest

from rnn_check.asking.ported import Way
from rnn_check.subjects.asked.layouts import KERAS, ONNX, TORCH, moved
from rnn_check.verdicts.converted import ORDERS, Part, compared, options

F, H = 3, 2
RNG = np.random.default_rng(11)
PAIRS = [("torch", "keras"), ("keras", "torch"), ("onnx", "keras"), ("keras", "onnx"),
         ("torch", "onnx")]  # fmt: skip
KINDS = ("SimpleRNN", "LSTM", "GRU")


def way(kind: str, *, two: bool, features: int = F, **spec: Any) -> Way:
    """Of random weights; two: with a bias for each product, as others than Keras have."""
    wide = H * len(KERAS[kind])
    shape = (2, wide) if kind == "GRU" else (wide,)
    arrays = [RNG.normal(size=s).astype(np.float32) for s in ((features, wide), (H, wide), shape)]
    other = RNG.normal(size=wide).astype(np.float32) if two and kind != "GRU" else None
    return Way("", {"kind": kind, **spec}, *arrays, other)


def in_keras(given: Way) -> Way:
    """The same layer with the one bias that Keras has."""
    if given.recurrent_bias is None or given.bias is None:
        return given
    return dataclasses.replace(given, bias=given.bias + given.recurrent_bias, recurrent_bias=None)


def pair(kind: str, frameworks: tuple[str, str]) -> tuple[Way, Way]:
    before = way(kind, two=frameworks[0] != "keras")
    if frameworks[1] == "keras":
        return before, in_keras(before)
    if frameworks[0] == "keras" and kind != "GRU":
        assert before.bias is not None
        return before, dataclasses.replace(before, recurrent_bias=np.zeros_like(before.bias))
    return before, before


def causes(parts: list[Part]) -> dict[str, tuple[str, ...]]:
    """Of those that differ."""
    return {part.name: part.causes for part in parts if not part.ok}


@pytest.mark.parametrize("frameworks", PAIRS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_right_conversion_is_the_same(kind: str, frameworks: tuple[str, str]) -> None:
    before, after = pair(kind, frameworks)
    parts = compared(before, after, frameworks)
    assert all(part.ok for part in parts) and options(before, after) == []
    assert sum(part.size for part in parts[:2]) == before.kernel.size + before.recurrent_kernel.size


@pytest.mark.thinned(3)
@pytest.mark.parametrize("frameworks", PAIRS)
@pytest.mark.parametrize("kind", KINDS)
def test_one_number_that_is_one_bit_off_is_seen_and_nothing_explains_it(
    kind: str, frameworks: tuple[str, str]
) -> None:
    before, after = pair(kind, frameworks)
    assert after.bias is not None
    for name, array in after.weights.items():
        for at in np.ndindex(array.shape):
            wrong = array.copy()
            # beside a bias that Keras's one is the rounded sum of, less is not seen, nor should be
            seen = after.bias[at] if name == "recurrent_bias" else np.float32(0)
            wrong[at] += np.spacing(max(abs(wrong[at]), abs(seen)))
            changed = dataclasses.replace(after, **{name: wrong})
            (found,) = [p for p in compared(before, changed, frameworks) if not p.ok]
            assert found.differ == 1 and not found.causes


@pytest.mark.parametrize("frameworks", PAIRS)
@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_every_order_of_the_gates_is_named_as_it_stands_there(
    kind: str, frameworks: tuple[str, str]
) -> None:
    before, right = pair(kind, frameworks)
    own, keras = ORDERS[frameworks[1]][kind], KERAS[kind]
    for order in map("".join, itertools.permutations(own)):
        if order == own:
            continue
        # who has the gates in `order` where they are read as `own`
        held = "".join(order[own.index(gate)] for gate in keras)
        wrong = {n: moved(a, keras, held) for n, a in right.weights.items()}
        found = causes(compared(before, dataclasses.replace(right, **wrong), frameworks))
        words = f"its gates stand as {' '.join(order)} where {' '.join(own)} belongs"
        assert {"kernel", "recurrent_kernel"} <= found.keys()
        for told in found.values():
            assert [each.partition(":")[0] for each in told] == [words]
            assert ("they were not reordered" in told[0]) == (ORDERS[frameworks[0]][kind] == order)


def test_what_people_forget_has_its_name() -> None:
    before = way("GRU", two=True)
    wrong = {n: moved(a, KERAS["GRU"], TORCH["GRU"]) for n, a in before.weights.items()}
    after = dataclasses.replace(before, **wrong)
    assert set(itertools.chain(*causes(compared(before, after, ("torch", "keras"))).values())) == {
        "its gates stand as r z h where z r h belongs: they were not reordered, and are in torch's "
        "order"
    }
    before = way("LSTM", two=True)
    right = in_keras(before)
    wrong = {n: moved(a, KERAS["LSTM"], ONNX["LSTM"]) for n, a in right.weights.items()}
    after = dataclasses.replace(right, **wrong)
    for told in causes(compared(before, after, ("onnx", "keras"))).values():
        assert told == (
            "its gates stand as i o f c where i f c o belongs: they were not reordered, and are in "
            "ONNX's order",
        )


def _blocks_turned(array: Any) -> Any:
    return np.concatenate([b.T for b in np.split(array, array.shape[1] // H, axis=1)], axis=1)


def _reshaped(array: Any, kind: str, frameworks: tuple[str, str]) -> Any:
    """By hand: the bytes of the one framework's array, in the shape of the other's."""
    keras = KERAS[kind]
    if frameworks[1] == "keras":  # weight_hh (GH,H) read as recurrent_kernel (H,GH)
        return moved(array, keras, ORDERS[frameworks[0]][kind]).T.copy().reshape(array.shape)
    stored = array.copy().reshape(array.shape[::-1])
    return moved(stored.T, ORDERS[frameworks[1]][kind], keras)


@pytest.mark.parametrize("frameworks", PAIRS[:4])
@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_a_kernel_that_was_not_transposed_is_named(kind: str, frameworks: tuple[str, str]) -> None:
    before, right = pair(kind, frameworks)
    after = dataclasses.replace(right, recurrent_kernel=_blocks_turned(right.recurrent_kernel))
    found = causes(compared(before, after, frameworks))
    assert found == {"recurrent_kernel": ("each gate's matrix was not transposed",)}
    wrong = {
        name: _reshaped(getattr(right, name), kind, frameworks)
        for name in ("kernel", "recurrent_kernel")
    }
    found = causes(compared(before, dataclasses.replace(right, **wrong), frameworks))
    assert found == dict.fromkeys(wrong, ("it was reshaped in place of being transposed",))


def test_two_mistakes_in_one_array_are_both_named() -> None:
    before, right = pair("GRU", ("torch", "keras"))
    turned = _blocks_turned(moved(right.recurrent_kernel, KERAS["GRU"], TORCH["GRU"]))
    after = dataclasses.replace(right, recurrent_kernel=turned)
    (told,) = causes(compared(before, after, ("torch", "keras")))["recurrent_kernel"]
    assert told.startswith("each gate's matrix was not transposed, and its gates stand as r z h")


def test_kernels_that_are_exchanged_are_named() -> None:
    before = way("LSTM", two=False, features=H)
    after = dataclasses.replace(
        before, kernel=before.recurrent_kernel, recurrent_kernel=before.kernel
    )
    found = causes(compared(before, after, ("keras", "keras")))
    assert found == {"kernel": ("it is the recurrent_kernel",),
                     "recurrent_kernel": ("it is the kernel",)}  # fmt: skip


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (lambda w, r: w, "it is bias_ih alone"),
        (lambda w, r: r, "it is bias_hh alone"),
        (lambda w, r: 0 * w, "it is zero"),
        (lambda w, r: 2 * (w + r), "it is added twice"),
        (lambda w, r: (w + r) + np.float32([0, 0, 1, 1, 0, 0, 0, 0]),
         "1 was added to the forget gate's bias"),
        (lambda w, r: w - r, None),
    ],
)  # fmt: skip
def test_a_single_bias_that_is_not_the_sum_of_both_is_named(made: Any, words: str | None) -> None:
    before = way("LSTM", two=True)
    right = in_keras(before)
    after = dataclasses.replace(right, bias=made(before.bias, before.recurrent_bias))
    found = causes(compared(before, after, ("torch", "keras")))
    assert found == {"bias": () if words is None else (words,)}


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (lambda w, r: (r, w), "the two biases are exchanged"),
        (lambda w, r: (w, w), "both hold the same bias"),
        (lambda w, r: (w, 0 * r), "it is zero"),
        (lambda w, r: (w + r, 0 * r), "both biases are in it"),
    ],
)
def test_two_biases_of_a_gru_that_are_others_are_named(made: Any, words: str) -> None:
    before = way("GRU", two=True)
    assert before.bias is not None
    after = dataclasses.replace(before, bias=np.stack(made(*before.bias)))
    found = causes(compared(before, after, ("torch", "keras")))
    assert words in itertools.chain(*found.values())


def test_biases_whose_sums_are_the_same_are_the_same_where_sums_are_all_that_counts() -> None:
    before = way("GRU", two=True)
    assert before.bias is not None
    w, r = np.round(before.bias * 8) / 8  # whose sums are exact
    before = dataclasses.replace(before, bias=np.stack([w, r]).astype(np.float32))
    gates = np.arange(w.size) // H
    moved_over = np.stack([np.where(gates < 2, w + r, w), np.where(gates < 2, 0, r)])
    after = dataclasses.replace(before, bias=moved_over.astype(np.float32))
    (found,) = [p for p in compared(before, after, ("torch", "keras")) if p.note]
    assert found.ok and found.note == "the sums, which are all that counts"
    all_over = dataclasses.replace(before, bias=np.stack([w + r, 0 * r]).astype(np.float32))
    assert causes(compared(before, all_over, ("torch", "keras")))


def test_one_bias_is_the_rounded_sum_of_two_from_either_side() -> None:
    two = way("LSTM", two=True)
    one = in_keras(two)
    assert one.bias is not None and two.bias is not None and two.recurrent_bias is not None
    assert (one.bias.astype(float) != two.bias.astype(float) + two.recurrent_bias).any()
    (found,) = [p for p in compared(one, two, ("keras", "torch")) if p.note]
    assert found.ok and found.name == "bias_ih + bias_hh"
    other = np.nextafter(one.bias, np.float32(9))
    assert causes(compared(dataclasses.replace(one, bias=other), two, ("keras", "torch")))


@pytest.mark.parametrize("narrow", ["float16", "bfloat16"])
def test_weights_that_were_rounded_on_the_way_are_named(narrow: str) -> None:
    import ml_dtypes

    before, right = pair("LSTM", ("keras", "torch"))
    dtype = np.dtype(narrow) if narrow == "float16" else np.dtype(ml_dtypes.bfloat16)
    wrong = right.kernel.astype(dtype).astype(np.float32)
    after = dataclasses.replace(right, kernel=wrong)
    found = causes(compared(before, after, ("keras", "torch")))
    assert found == {"kernel": (f"it was rounded to {narrow}",)}
    kept = dataclasses.replace(right, kernel=right.kernel.astype(np.float16))
    parts = compared(before, kept, ("keras", "torch"))
    assert parts[0].ok and parts[0].note == "rounded to float16"


def test_layers_that_are_not_of_one_kind_say_in_what() -> None:
    before, after = way("GRU", two=True), way("GRU", two=True, reset_after=False)
    assert options(before, after) == ["reset_after: True became False"]
    assert options(way("LSTM", two=True), before) == ["kind: LSTM became GRU"]
    tanh = way("SimpleRNN", two=False, activation="tanh")
    relu = way("SimpleRNN", two=False, activation="relu")
    assert options(tanh, relu) == ["activation: tanh became relu"]
    assert options(way("SimpleRNN", two=True), relu) == []  # a state dict does not say


def test_no_bias_is_a_bias_of_zeros() -> None:
    before = way("LSTM", two=False)
    none = dataclasses.replace(before, bias=None)
    zero = dataclasses.replace(before, bias=np.zeros(8, np.float32))
    for one, other in ((none, zero), (zero, none), (none, none)):
        assert causes(compared(one, other, ("keras", "keras"))) == {}
    assert causes(compared(before, none, ("keras", "keras"))) == {"bias": ("it is zero",)}
