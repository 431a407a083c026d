"""Are arrays read from anywhere, and what is none refused in words?"""

from typing import Any

import ml_dtypes
import numpy as np
import pytest

from rnn_check.certificates.dense import certify_dense
from rnn_check.certificates.public import certify, certify_gradients, certify_projected
from rnn_check.numbers import arrays
from rnn_check.numbers.formats import Array
from tests.certificates.test_certificate import plain, run
from tests.support.layers import Layer

LAYER = plain(3, 7, 4, 5)
STATES, GRADIENTS = run(LAYER)
WEIGHTS = ("x", "kernel", "recurrent_kernel", "bias")


def arguments(make: Any, layer: Layer = LAYER) -> dict[str, Any]:
    return layer.arguments | {name: make(getattr(layer, name)) for name in WEIGHTS}


@pytest.mark.parametrize(
    ("dtype", "words"),
    [
        ("fp32", "unknown arithmetic 'fp32'"),
        (np.int32, "unknown arithmetic 'int32'"),
        (object(), "should be a dtype or its name"),
        (3.5, "dtype is 3.5"),
    ],
)
def test_what_is_no_dtype_is_refused(dtype: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        certify(STATES, **LAYER.arguments, dtype=dtype)


def test_states_without_an_arithmetic_ask_for_one() -> None:
    for states in (np.zeros((3, 7, 5), int), STATES.astype(np.longdouble)):
        with pytest.raises(ValueError, match="no dtype is given"):
            certify(states, **LAYER.arguments)
        certify(states, **LAYER.arguments, dtype="float32")


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (LAYER.x + 0j, "x has dtype complex64"),
        (LAYER.x.astype(object), "x has dtype object"),
        (LAYER.x.astype(str), "x has dtype <U"),
        ([[[1.0], [2.0, 3.0]]], "x cannot be read as an array of numbers: setting an array"),
        (np.ma.array(LAYER.x), "x is a masked array.*mask="),
        (list(np.ma.array(LAYER.x)), "x is a masked array"),
        (None, "x has dtype object"),
        ({"x": 1}, "x has dtype object"),
    ],
)
def test_what_is_no_array_of_numbers_is_refused(array: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        certify(STATES, **LAYER.arguments | {"x": array})


# What was computed in less than it shows ----------------------------------------------------------


def as_lists(array: Array) -> Any:
    return array.tolist()


def in_float64(array: Array) -> Array:
    return array.astype(np.float64)


@pytest.mark.parametrize("make", [as_lists, in_float64])
def test_a_refusal_of_float32_numbers_in_float64_says_so(make: Any) -> None:
    advice = 'every number here is a float32: if it was computed so, pass dtype="float32"'
    for found in (
        certify(make(STATES), **arguments(make)),
        certify_projected(make(STATES), **arguments(make)),
    ):
        assert not found.ok and advice in found.reason
    gradients = certify_gradients(
        {"delta": make(GRADIENTS["delta"]), "kernel": make(GRADIENTS["kernel"])},
        cotangent=make(LAYER.cotangent), states=make(STATES), **arguments(make),
    )  # fmt: skip
    assert advice in gradients["delta"].reason
    # what is said, holds; and what is told is not advised
    assert certify(make(STATES), **arguments(make), dtype="float32").ok
    assert "every number" not in certify(make(STATES), **arguments(make), dtype="float64").reason
    wide = plain(3, 7, 4, 5, np.float64)
    wrong = run(wide)[0].copy()
    wrong[1, 2, 3] += 0.5
    assert "every number" not in certify(wrong, **wide.arguments).reason


def test_the_narrowest_arithmetic_is_advised_and_small_integers_are_not() -> None:
    values = np.random.default_rng(0).normal(size=5000)
    for name in ("bfloat16", "float16", "float32"):
        narrow = values.astype(name if name != "bfloat16" else ml_dtypes.bfloat16)
        assert arrays.narrower(narrow.astype(np.float64)) == name
        assert arrays.narrower(narrow) is None
    late = values.astype(np.float32).astype(np.float64)
    late[4999] = values[4999]
    for none in (values, late, values.round(), np.zeros(3), np.full(3, np.nan)):
        assert arrays.narrower(none) is None


# Nothing ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(0, 7, 4, 5), (3, 0, 4, 5), (3, 7, 4, 0), (0, 0, 0, 0)])
@pytest.mark.parametrize("with_mask", [False, True])
def test_nothing_is_neither_right_nor_wrong(size: Any, with_mask: bool) -> None:
    B, T, F, H = size
    f = np.float32
    operands: dict[str, Any] = {
        "x": np.ones((B, T, F), f), "kernel": np.ones((F, H), f), "bias": np.ones(H, f),
        "recurrent_kernel": np.ones((H, H), f),
        "mask": np.ones((B, T), bool) if with_mask else None,
    }  # fmt: skip
    states = np.ones((B, T, H), f)
    shapes = {"delta": (B, T, H), "x": (B, T, F), "kernel": (F, H), "recurrent_kernel": (H, H),
              "bias": (H,), "initial_state": (B, H)}  # fmt: skip
    gradients = certify_gradients(
        {name: np.ones(shape, f) for name, shape in shapes.items()},
        cotangent=states, states=states, **operands,
    )  # fmt: skip
    for found in (
        certify(states, **operands),
        certify_projected(states, **operands),
        *gradients.values(),
    ):
        assert found.ok is None and found.judged == 0 and "nothing to judge" in found.reason


def test_a_layer_without_features_is_judged_by_its_states() -> None:
    layer = plain(3, 7, 0, 5)
    states, gradients = run(layer)
    wrong = states.copy()
    wrong[1, 2, 3] += 0.5
    for judge in (certify, certify_projected):
        assert judge(states, **layer.arguments).ok
        assert judge(wrong, **layer.arguments).ok is False
    found = certify_gradients(gradients, cotangent=layer.cotangent, states=states,
                              **layer.arguments)  # fmt: skip
    assert {name: f.ok for name, f in found.items()} == {
        "delta": True, "x": None, "kernel": None, "recurrent_kernel": True, "bias": True,
        "initial_state": True,
    }  # fmt: skip


def test_output_layers_of_nothing_are_not_judged() -> None:
    f = np.float32
    zero, two = np.zeros((3, 0), f), np.zeros((3, 2), f)
    assert certify_dense(two, h=zero, kernel=np.zeros((0, 2), f)).ok  # act(0)
    assert not certify_dense(two + 1, h=zero, kernel=np.zeros((0, 2), f)).ok
    assert certify_dense(two[:0], h=np.zeros((0, 4), f), kernel=np.zeros((4, 2), f)).ok is None
    assert certify_dense(zero, h=two, kernel=np.zeros((2, 0), f)).ok is None
