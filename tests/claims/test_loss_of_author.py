"""Is the loss the author's own: a sum, a mean of the targets that there are, times a factor?"""

from __future__ import annotations

import numpy as np
import pytest

from rnn_check.claims import files
from rnn_check.claims.claim import Claim
from rnn_check.claims.expectations.case import Case
from rnn_check.claims.expectations.numbers import Numbers
from rnn_check.claims.truth import Truth
from rnn_check.refusal import ClaimError
from rnn_check.verdicts import diagnosis

TARGET = "[[[1, 0], [0, 1]], [[0, 0], [0.5, 0.5]]]"
TEXT = """
schema = 1
title = "t"
source = { document = "a test" }
reading = { computed_in = "COMPUTED" }
layers = [
    { kind = "SimpleRNN", units = 2, return_sequences = true },
    { kind = "Dense", units = 2, activation = "softmax" },
]
[weights]
simple_rnn.kernel = [[0.5, -0.25]]
simple_rnn.recurrent_kernel = [[0.25, 0.5], [-0.5, 0.75]]
simple_rnn.bias = [0, 0.25]
dense = { kernel = [[0.5, -0.25], [1, 0.5]], bias = [0, 0.5] }
[input]
x = [[[1], [2]], [[-1], [0.5]]]
[loss]
kind = "KIND"
target = TARGET
MORE
[[expect]]
what = "loss"
from = "a test"
value = LOSS
[[expect]]
what = "gradient"
of = "bias"
from = "a test"
value = [0.0, 0.0]
"""


def claim(kind: str, more: str = "", loss: str = "0.0", computed: str = "real") -> Claim:
    text = TEXT.replace("KIND", kind).replace("TARGET", TARGET).replace("MORE", more)
    return files.loads(text.replace("LOSS", loss).replace("COMPUTED", computed))


def terms(kind: str) -> np.ndarray:
    """Of each number of the output, or of each row."""
    output = Truth(claim(kind), "real").output.value
    target = np.array([[[1, 0], [0, 1]], [[0, 0], [0.5, 0.5]]])
    if kind == "mse":
        return np.asarray((output - target) ** 2)
    return np.asarray(-(target * np.log(output)).sum(-1))


@pytest.mark.parametrize(
    ("kind", "more", "made"),
    [
        ("mse", "", lambda terms: terms.mean()),
        ("mse", 'reduction = "sum"', lambda terms: terms.sum()),
        ("mse", "factor = 0.5", lambda terms: terms.mean() / 2),
        ("mse", 'reduction = "sum"\nfactor = 0.5', lambda terms: terms.sum() / 2),
        ("categorical_crossentropy", 'reduction = "sum"', lambda terms: terms.sum()),
        ("categorical_crossentropy", 'reduction = "mean of targets"', lambda a: a.sum() / 3),
        ("categorical_crossentropy", "factor = -1", lambda terms: -terms.mean()),
    ],
)  # fmt: skip
def test_a_loss_and_its_gradient_are_as_the_author_takes_them(
    kind: str, more: str, made: object
) -> None:
    assert callable(made)
    loss, right = float(made(terms(kind))), claim(kind)
    found = claim(kind, more, f"{loss:.10f}")
    factor = loss / float(terms(kind).mean())
    of_loss, of_bias = found.expectations
    assert isinstance(of_loss, Numbers) and isinstance(of_bias, Numbers)
    compared = of_loss.author(Case(found, {}, "float32"))
    assert compared.ok and 0 < compared.bound < 2.0**-40
    other = claim(kind, more, f"{loss * 1.0001:.10f}")
    wrong = other.expectations[0]
    assert isinstance(wrong, Numbers) and not wrong.author(Case(other, {}, "float32")).ok
    gradient = Truth(right, "real").gradient("bias").value * factor
    compared = of_bias.author(Case(found, {}, "float32"))
    assert (np.abs(compared.expected - gradient) <= 2.0**-48).all()
    # a framework is asked for the mean, and held against that
    assert found.loss is not None and right.loss is not None
    assert [*Truth(found, "float32").loss] == [*Truth(right, "float32").loss]


def test_in_float32_the_factor_is_a_rounding_more() -> None:
    plain, factored = (claim("mse", more, computed="float32") for more in ("", "factor = 0.3"))
    bounds = []
    for each in (plain, factored):
        e = each.expectations[0]
        assert isinstance(e, Numbers)
        bounds.append(float(e.author(Case(each, {}, "float32")).bound))
    loss = float(Truth(plain, "float32").loss.value)
    assert bounds[1] - 0.3 * bounds[0] >= 0.3 * loss * 2.0**-24


def test_the_mean_in_place_of_the_sum_that_is_claimed_is_named() -> None:
    loss = float(terms("mse").mean())
    found, _ = diagnosis.of_claim(claim("mse", 'reduction = "sum"', f"{loss:.10f}"))
    assert "the loss is a mean" in found


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("MORE", "factor = 0", "loss.factor: expected a number that is not 0"),
        ("MORE", 'reduction = "mean of targets"', "of categorical_crossentropy only"),
        ("MORE", 'reduction = "some"', "loss.reduction"),
        ('kind = "KIND"\ntarget = TARGET\nMORE', "cotangent = TARGET\nfactor = 2",
         "loss.factor: of a loss of Keras's only"),
        ("x =", "mask = [[true, false], [true, true]]\nx =", "loss.reduction: not beside a mask"),
        ("[loss]", '[training]\noptimizer = "SGD"\nlearning_rate = 0.1\nepochs = 1\n[loss]',
         "loss.reduction: not beside [training]"),
    ],
)  # fmt: skip
def test_what_no_loss_is_taken_as_is_refused(old: str, new: str, problem: str) -> None:
    text = TEXT.replace(old, new).replace("MORE", 'reduction = "sum"')
    text = text.replace("KIND", "mse").replace("TARGET", TARGET).replace("LOSS", "0.0")
    with pytest.raises(ClaimError) as refused:
        files.loads(text.replace("COMPUTED", "real"))
    assert problem in str(refused.value)


def test_a_target_of_zeros_alone_has_no_mean() -> None:
    text = TEXT.replace("TARGET", "{ full = 0, shape = [2, 2, 2] }").replace("LOSS", "0.0")
    text = text.replace("KIND", "categorical_crossentropy").replace("COMPUTED", "real")
    with pytest.raises(ClaimError, match="every row of the target is zero"):
        files.loads(text.replace("MORE", 'reduction = "mean of targets"'))
