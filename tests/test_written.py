"""Are numbers read as their author wrote them?"""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

from rnn_check import claim
from rnn_check.claim import Claim
from rnn_check.written import ClaimError, Reader
from tests.test_claim import GOOD

READER = Reader(Path("claim.toml"))


def test_decimals_keep_their_printed_digits() -> None:
    text = GOOD.replace('computed_in = "exact"', 'computed_in = "float32"')
    narrow = claim.loads(text.replace("[7, 3, 12]", "[7.00, 3, 12]")).expectations[0].value
    wide = claim.loads(text.replace("[7, 3, 12]", "[7.0, 3, 12]")).expectations[0].value
    assert (narrow.hi - narrow.lo)[0, 0, 0] < (wide.hi - wide.lo)[0, 0, 0]


def test_float32_reading_stands_for_the_float32() -> None:
    text = GOOD.replace("[weights]", '[reading]\nweights = "float32"\n[weights]')
    weights = claim.loads(
        text.replace("bias             = [0, 0, 1]", "bias = [0.1, 0, 1]")
    ).weights
    assert weights is not None
    bias = weights["simple_rnn"]["bias"]
    assert bias.value[0] == float(np.float32(0.1))
    assert not bias.error.any()


def test_weights_that_multiply_from_the_left_are_transposed() -> None:
    text = GOOD.replace("[weights]", '[reading]\nlayout = "W·x"\n[weights]')
    text = text.replace("[[1, 0, 2], [2, 1, 3]]", "[[1, 2], [0, 1], [2, 3]]")
    weights = claim.loads(text).weights
    assert weights is not None
    assert weights["simple_rnn"]["kernel"].value.tolist() == [[1, 0, 2], [2, 1, 3]]
    assert weights["simple_rnn"]["recurrent_kernel"].value[0].tolist() == [1, 1, 0]


def test_two_biases_add_up() -> None:
    weights = claim.loads(GOOD.replace("[input]", "recurrent_bias = [1, 2, 3]\n[input]")).weights
    assert weights is not None
    assert weights["simple_rnn"]["bias"].value.tolist() == [1, 2, 4]


def test_arrays_from_an_npz_beside_the_claim(tmp_path: Path) -> None:
    np.savez(tmp_path / "big.npz", x=np.arange(6.0).reshape(1, 3, 2), words=np.array(["a"]))
    pickled = np.empty(1, object)
    pickled[0] = {"evaluated": True}
    np.savez(tmp_path / "pickled.npz", x=pickled)
    (tmp_path / "broken.npz").write_bytes(b"PK\x03\x04 no archive")
    file = tmp_path / "claim.toml"

    def load(recipe: str) -> Claim:
        file.write_text(GOOD.replace("x = [[[1, 3], [1, 1], [2, 3]]]", f"x = {recipe}"))
        return claim.load(file)

    x = load('{npz = "big.npz", key = "x"}').x
    assert x is not None
    assert x.value.tolist() == [[[0, 1], [2, 3], [4, 5]]]
    for recipe, problem in [
        ('{npz = "big.npz", key = "y"}', "holds no 'y'"),
        ('{npz = "big.npz", key = "words"}', "not numbers"),
        ('{npz = "pickled.npz", key = "x"}', "cannot be read"),
        ('{npz = "broken.npz", key = "x"}', "cannot be read"),
    ]:
        with pytest.raises(ClaimError, match=problem):
            load(recipe)


def test_each_reading_says_how_far_the_number_may_be_off() -> None:
    written = [Decimal("0.10"), Decimal("0.5"), 3]
    exact = READER.given(written, "w")
    assert exact.error.tolist() == [0.1 * 2.0**-53, 0, 0]  # 0.1 is no float64
    rounded = READER.given(written, "w", "rounded")
    # half a unit of the last digit, to within the rounding of the interval's ends outward
    assert np.all(np.abs(rounded.error - [0.005, 0.05, 0]) <= np.spacing([0.1, 0.5, 3.0]) * 2)
    single = READER.given(written, "w", "float32")
    assert single.value.tolist() == [float(np.float32(0.1)), 0.5, 3]
    assert not single.error.any()


def test_digits_after_the_point_claim_and_bare_integers_are_exact() -> None:
    """By one rule, zero or not: 0.00 is anything that rounds to it, 0 is 0."""
    written = [Decimal("0.00"), Decimal("0.0000"), Decimal("-0.0"), 0, 25, -1, Decimal("1e-3")]
    given = READER.given(written, "w")
    half = [0.005, 0.00005, 0.05, 0, 0, 0, 0.0005]
    assert given.half_unit.tolist() == pytest.approx(half)
    assert (given.half_unit[3:6] == 0).all()
    assert READER.given(written, "w", "rounded").error.tolist() == pytest.approx(half)


def test_integers_are_rounded_if_the_reading_says_so() -> None:
    """`integers = "rounded"`: 25 is anything from 24.5 to 25.5, in values and rounded weights."""
    text = GOOD.replace('computed_in = "exact"', 'computed_in = "float32"')
    assert not claim.loads(text).expectations[0].value.half_unit.any()
    read = '[reading]\nintegers = "rounded"\nweights = "rounded"\n[weights]'
    rounded = claim.loads(text.replace("[weights]", read))
    assert (rounded.expectations[0].value.half_unit == 0.5).all()
    assert rounded.weights is not None
    assert (rounded.weights["simple_rnn"]["kernel"].error == 0.5).all()
    assert rounded.x is not None and not rounded.x.error.any()  # of which nothing was said
    with pytest.raises(ClaimError, match=r"reading\.integers"):
        claim.loads(text.replace("[weights]", '[reading]\nintegers = "half"\n[weights]'))


def test_one_number_written_once_for_all_has_its_digits() -> None:
    given = READER.given({"full": Decimal("0.50"), "shape": [2, 2]}, "w", "rounded")
    assert given.error.tolist() == [[pytest.approx(0.005)] * 2] * 2


def test_hex_floats_are_exact() -> None:
    given = READER.given(["0x1.99999ap-4", "-0x1p-149"], "w", "rounded")
    assert given.value.tolist() == [float(np.float32(0.1)), -(2.0**-149)]
    assert not given.error.any()
    for wrong in ("0.1", "0x1", "nan", "0x1p99999"):
        with pytest.raises(ClaimError):
            READER.given([wrong], "w")


@pytest.mark.parametrize(
    ("recipe", "values"),
    [
        ({"linspace": [Decimal("-0.1"), Decimal("0.3")], "shape": [3]}, np.linspace(-0.1, 0.3, 3)),
        ({"arange": 4, "shape": [2, 2]}, np.arange(4.0).reshape(2, 2)),
        ({"full": 3, "shape": [1, 2]}, np.full((1, 2), 3.0)),
        ({"identity": 2, "times": Decimal("0.1")}, 0.1 * np.eye(2)),
    ],
)
def test_recipes_are_numpys(recipe: dict[str, object], values: np.ndarray) -> None:
    given = READER.given(recipe, "w", "rounded")
    assert given.value.tolist() == values.tolist()
    assert not given.error.any()  # nobody rounded them to their printed digits
