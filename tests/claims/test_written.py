"""Are numbers read as their author wrote them?"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from rnn_check.claims import files
from rnn_check.claims.claim import Claim
from rnn_check.claims.written import Array, Reader
from rnn_check.refusal import ClaimError
from tests.claims.test_claim import GOOD

READER = Reader(Path("claim.toml"))


def test_decimals_keep_their_printed_digits() -> None:
    text = GOOD.replace('computed_in = "exact"', 'computed_in = "float32"')
    narrow = files.loads(text.replace("[7, 3, 12]", "[7.00, 3, 12]")).expectations[0].value
    wide = files.loads(text.replace("[7, 3, 12]", "[7.0, 3, 12]")).expectations[0].value
    assert (narrow.hi - narrow.lo)[0, 0, 0] < (wide.hi - wide.lo)[0, 0, 0]


def test_float32_reading_stands_for_the_float32() -> None:
    text = GOOD.replace("[weights]", '[reading]\nweights = "float32"\n[weights]')
    weights = files.loads(
        text.replace("bias             = [0, 0, 1]", "bias = [0.1, 0, 1]")
    ).weights
    assert weights is not None
    bias = weights["simple_rnn"]["bias"]
    assert bias.value[0] == float(np.float32(0.1))
    assert not bias.error.any()


@pytest.mark.parametrize("reading", ["exact", "rounded", "float32"])
def test_what_is_no_number_has_no_digits_to_be_off_by(
    reading: Literal["exact", "rounded", "float32"],
) -> None:
    given = READER.given(
        [Decimal("inf"), Decimal("-inf"), Decimal("nan"), 2], "x", reading, finite=False
    )
    assert given.error.tolist() == [0, 0, 0, 0]


def test_weights_that_multiply_from_the_left_are_transposed() -> None:
    text = GOOD.replace("[weights]", '[reading]\nlayout = "W·x"\n[weights]')
    text = text.replace("[[1, 0, 2], [2, 1, 3]]", "[[1, 2], [0, 1], [2, 3]]")
    weights = files.loads(text).weights
    assert weights is not None
    assert weights["simple_rnn"]["kernel"].value.tolist() == [[1, 0, 2], [2, 1, 3]]
    assert weights["simple_rnn"]["recurrent_kernel"].value[0].tolist() == [1, 1, 0]


def test_two_biases_add_up() -> None:
    weights = files.loads(GOOD.replace("[input]", "recurrent_bias = [1, 2, 3]\n[input]")).weights
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
        return files.load(file)

    x = load('{npz = "big.npz", key = "x"}').x
    assert x is not None
    assert x.value.tolist() == [[[0, 1], [2, 3], [4, 5]]]
    for recipe, problem in [
        ('{npz = "big.npz", key = "y"}', "holds no 'y'"),
        ('{npz = "big.npz", key = "words"}', "not numbers"),
        ('{npz = "pickled.npz", key = "x"}', "Python objects, which are never read"),
        ('{npz = "broken.npz", key = "x"}', "cannot be read"),
    ]:
        with pytest.raises(ClaimError, match=problem):
            load(recipe)


def is_outward(found: Array, half: list[str], written: list[Any]) -> bool:
    """Whether these are half units, but for the rounding outward of the interval's two ends.

    Each end is at most one spacing out, and a difference from it or half of theirs is rounded once.
    """
    for got, exact, number in zip(found.ravel().tolist(), half, written, strict=True):
        end = float(abs(number) + Decimal(exact))
        over = Fraction(got) - Fraction(exact)
        if abs(over) > 2 * np.spacing(end) * bool(Fraction(exact)):
            return False
    return True


def test_each_reading_says_how_far_the_number_may_be_off() -> None:
    written = [Decimal("0.10"), Decimal("0.5"), 3]
    exact = READER.given(written, "w")
    assert exact.error.tolist() == [0.1 * 2.0**-53, 0, 0]  # 0.1 is no float64
    rounded = READER.given(written, "w", "rounded")
    assert is_outward(rounded.error, ["0.005", "0.05", "0"], written)
    single = READER.given(written, "w", "float32")
    assert single.value.tolist() == [float(np.float32(0.1)), 0.5, 3]
    assert not single.error.any()


def test_digits_after_the_point_claim_and_bare_integers_are_exact() -> None:
    """By one rule, zero or not: 0.00 is anything that rounds to it, 0 is 0."""
    written = [Decimal("0.00"), Decimal("0.0000"), Decimal("-0.0"), 0, 25, -1, Decimal("1e-3")]
    given = READER.given(written, "w")
    half = ["0.005", "0.00005", "0.05", "0", "0", "0", "0.0005"]
    assert is_outward(given.half_unit, half, written)
    assert is_outward(READER.given(written, "w", "rounded").error, half, written)


def test_integers_are_rounded_if_the_reading_says_so() -> None:
    """`integers = "rounded"`: 25 is anything from 24.5 to 25.5, in values and rounded weights."""
    text = GOOD.replace('computed_in = "exact"', 'computed_in = "float32"')
    assert not files.loads(text).expectations[0].value.half_unit.any()
    read = '[reading]\nintegers = "rounded"\nweights = "rounded"\n[weights]'
    rounded = files.loads(text.replace("[weights]", read))
    assert (rounded.expectations[0].value.half_unit == 0.5).all()
    assert rounded.weights is not None
    assert (rounded.weights["simple_rnn"]["kernel"].error == 0.5).all()
    assert rounded.x is not None and not rounded.x.error.any()  # of which nothing was said
    with pytest.raises(ClaimError, match=r"reading\.integers"):
        files.loads(text.replace("[weights]", '[reading]\nintegers = "half"\n[weights]'))


def test_one_number_written_once_for_all_has_its_digits() -> None:
    given = READER.given({"full": Decimal("0.50"), "shape": [2, 2]}, "w", "rounded")
    assert given.shape == (2, 2)
    assert is_outward(given.error, ["0.005"] * 4, [Decimal("0.50")] * 4)


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


def _after(made: Any, function: str, *args: Any) -> np.ndarray:
    """What a program draws second, after seven numbers."""
    draw = getattr(made, function)
    if function in ("rand", "randn"):
        draw(7)
        return np.asarray(draw(3, 2), np.float64)
    draw(*args, size=7)
    return np.asarray(draw(*args, size=(3, 2)), np.float64)


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("RandomState.randn", []), ("RandomState.standard_normal", []), ("RandomState.rand", []),
        ("RandomState.random_sample", []), ("RandomState.normal", [1, Decimal("0.5")]),
        ("RandomState.uniform", [-1, 2]), ("RandomState.randint", [0, 5]),
        ("default_rng.standard_normal", []), ("default_rng.random", []),
        ("default_rng.normal", [1, Decimal("0.5")]), ("default_rng.uniform", [-1, 2]),
        ("default_rng.integers", [0, 5]),
    ],
)  # fmt: skip
def test_what_a_program_draws_second_is_drawn_after_the_first(name: str, args: list[Any]) -> None:
    generator, _, function = name.partition(".")
    made = getattr(np.random, generator)(3)
    recipe = {"random": name, "seed": 3, "shape": [3, 2], "after": 7, "times": Decimal("0.1")}
    given = READER.given(recipe | ({"args": args} if args else {}), "w")
    drawn = 0.1 * _after(made, function, *map(float if "int" not in function else int, args))
    assert given.value.tolist() == drawn.tolist()
    assert not given.error.any()


def test_rows_are_one_at_their_index_and_zero_without_any() -> None:
    given = READER.given({"one_hot": [[0, 2], [-1, 1]], "depth": 3}, "w")
    assert given.value.tolist() == [[[1, 0, 0], [0, 0, 1]], [[0, 0, 0], [0, 1, 0]]]


def test_recipes_stand_in_lists_beside_numbers() -> None:
    node = [{"full": 1, "shape": [2]}, [Decimal("0.5"), Decimal("0.25")]]
    given = READER.given([node, [{"arange": 2, "shape": [2]}, [3, 4]]], "w", "rounded")
    assert given.value.tolist() == [[[1, 1], [0.5, 0.25]], [[0, 1], [3, 4]]]
    alone = READER.given(node[1], "w", "rounded")  # half a unit of what was printed
    assert given.half_unit[0, 1].tolist() == alone.half_unit.tolist() and alone.half_unit.all()
    assert not given.half_unit[1].any()


@pytest.mark.parametrize(
    ("recipe", "problem"),
    [
        ({"one_hot": [0, 3], "depth": 3}, "w.one_hot[1]: expected an index from 0 to 2, or -1"),
        ({"one_hot": [0, [1]], "depth": 3}, "w.one_hot[1]: expected shape () as its neighbours"),
        ({"one_hot": [], "depth": 3}, "w.one_hot: empty list"),
        ({"one_hot": [0]}, "w: the recipe `one_hot` needs the key `depth` beside it"),
        ({"one_hot": [True], "depth": 2}, "w.one_hot[0]: expected an index"),
        ({"random": "randn", "seed": 0, "shape": [1]}, "w.random: unknown generator 'randn'"),
        ({"random": "RandomState.randn", "seed": -1, "shape": [1]}, "w.seed: expected an integer"),
        ({"random": "RandomState.randn", "seed": 0, "shape": [1], "args": [0, 1]},
         "w.args: RandomState.randn takes none"),
        ({"random": "default_rng.integers", "seed": 0, "shape": [1]}, "w.args: required"),
        ({"random": "default_rng.integers", "seed": 0, "shape": [1], "args": [2, 2]},
         "w.args: expected integers, the first below the second"),
        ({"random": "default_rng.normal", "seed": 0, "shape": [1], "args": [0, -1]},
         "w.args: a deviation is not negative"),
        ({"random": "default_rng.uniform", "seed": 0, "shape": [1], "args": [1, 0]},
         "w.args: expected low, and a high"),
        ({"random": "RandomState.randn", "seed": 0, "shape": [1], "sede": 0},
         "w.sede: unknown key in a recipe `random`; did you mean `seed`?"),
        ({"random": "RandomState.randn", "seed": 0, "after": 3_000_000, "shape": [1]},
         "w.shape: 3,000,001 numbers are too many"),
        ([{"full": 1, "shape": [2]}, [1]], "w[1]: expected shape (2,), got (1,)"),
    ],
)  # fmt: skip
def test_a_recipe_that_makes_nothing_is_refused(recipe: Any, problem: str) -> None:
    with pytest.raises(ClaimError) as refused:
        Reader(Path("f.toml")).given(recipe, "w")
    assert f"f.toml: {problem}" in str(refused.value)


# --- files that are not what they say -------------------------------------------------------------


def member(header: bytes, data: bytes = b"") -> bytes:
    """An array as numpy.save writes it, but for its header."""
    header += b"\n"
    return b"\x93NUMPY\1\0" + len(header).to_bytes(2, "little") + header + data


def described(descr: str = "'<f8'", order: str = "False", shape: str = "(1, 2, 1)") -> bytes:
    return f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}".encode()


TWO = np.array([1.0, 2.0]).tobytes()


def refusal(folder: Path, write: Callable[[Path], object]) -> str:
    """What is said of a claim whose input is `x` of the file that is written."""
    write(folder / "a.npz")
    with pytest.raises(ClaimError) as caught:
        Reader(folder / "claim.toml").given({"npz": "a.npz", "key": "x"}, "input.x")
    assert len(str(caught.value)) < 1_000 + len(str(folder))
    return caught.value.problem


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (member(b"nothing"), "holds no array of numbers"),
        (member(described("[('a', '<f8')]")), "holds no array of numbers"),
        (member(described("('<f8', (9,))")), "holds no array of numbers"),
        (member(b"(" * 9_000), "holds no array of numbers"),
        (member(b"-" * 9_000 + b"1"), "holds no array of numbers"),
        (member(described() + b" " * 20_000, TWO), "it is no array"),
        (member(described("'|O'")), "Python objects, which are never read"),
        (member(described("'<f16'")), "holds <f16"),
        (member(described("'<c16'")), "holds <c16"),
        (member(described("'|V99999999999'")), "holds |V99999999999"),
        (member(described(shape="(-1, 2)"), TWO), "holds no array of numbers"),
        (member(described(shape="()")), "its data do not fill the shape ()"),
        (member(described(shape="(0, 2)")), "at least one number"),
        (member(described(shape="(1, 1, 1, 1, 1, 1, 1, 1, 2)"), TWO), "at most 8 axes"),
        (member(described(shape="(1000000000000,)")), "1,000,000,000,000 numbers are too many"),
        (member(described(shape=f"({'9' * 18}, {'9' * 18})")), "far more numbers are too many"),
        (member(described(shape="(1, 3)"), TWO), "its data do not fill the shape (1, 3)"),
        (member(described(shape="(1,)"), TWO), "its data do not fill the shape (1,)"),
        (b"\x93NUMPX" + bytes(100), "it is no array"),
        (b"", "it is no array"),
    ],
)  # fmt: skip
def test_a_header_is_read_before_its_data(tmp_path: Path, content: bytes, problem: str) -> None:
    def write(path: Path) -> None:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("x.npy", content)

    assert problem in refusal(tmp_path, write)


@pytest.mark.parametrize(
    ("array", "problem"),
    [
        (np.array([np.nan]), "not finite"),
        (np.array([np.inf]), "not finite"),
        (np.array([2**53 + 1]), "beyond 2^53"),
        (np.array([2**64 - 1], np.uint64), "beyond 2^53"),
        (np.array([True]), "holds |b1"),
        (np.array(["a"]), "holds <U1"),
        (np.array([1j]), "holds <c16"),
        (np.zeros(30_000_000), "30,000,000 numbers are too many"),
    ],
    ids=str,
)
def test_what_float64_does_not_hold_is_refused(
    tmp_path: Path, array: np.ndarray, problem: str
) -> None:
    assert problem in refusal(tmp_path, lambda path: np.savez_compressed(path, x=array))


def test_no_bit_of_an_archive_can_be_flipped_unseen(tmp_path: Path) -> None:
    right = np.arange(6.0).reshape(1, 3, 2) / 7
    np.savez_compressed(tmp_path / "a.npz", x=right)
    whole = (tmp_path / "a.npz").read_bytes()
    for place in range(len(whole)):
        flipped = bytearray(whole)
        flipped[place] ^= 1 << place % 8
        (tmp_path / "a.npz").write_bytes(flipped)
        try:
            got = Reader(tmp_path / "c.toml").given({"npz": "a.npz", "key": "x"}, "x").value
        except ClaimError:
            continue  # refused, by nothing but that
        assert got.tolist() == right.tolist(), place
    for length in range(len(whole)):
        assert refusal(tmp_path, lambda path, n=length: path.write_bytes(whole[:n]))


@pytest.mark.parametrize("dtype", ["<f2", ">f4", "<f8", "|i1", ">i2", "<u4", "<i8"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_every_kind_of_number_is_read_as_numpy_reads_it(
    tmp_path: Path, dtype: str, order: Literal["C", "F"]
) -> None:
    array = np.asarray(np.arange(6).reshape(1, 3, 2), dtype, order=order)
    np.savez(tmp_path / "a.npz", x=array)
    read = Reader(tmp_path / "c.toml").given({"npz": "a.npz", "key": "x"}, "x")
    with np.load(tmp_path / "a.npz") as archive:
        assert read.value.tolist() == archive["x"].astype(float).tolist()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="a system without pipes that have names")
def test_only_regular_files_in_the_same_folder_are_opened(tmp_path: Path) -> None:
    def link(to: Path | str) -> Callable[[Path], object]:
        return lambda path: (path.unlink(missing_ok=True), path.symlink_to(to))

    np.savez(tmp_path / "good.npz", x=np.ones(2))
    assert "is a link" in refusal(tmp_path, link("/dev/zero"))
    assert "is a link" in refusal(tmp_path, link(tmp_path / "good.npz"))
    (tmp_path / "a.npz").unlink()
    assert "is not a regular file" in refusal(tmp_path, os.mkfifo)
    (tmp_path / "a.npz").unlink()
    assert "directory" in refusal(tmp_path, Path.mkdir)
    for name in ("../good.npz", "/etc/passwd", "..", ".", "", "a\x00b", "x" * 300, 1, []):
        with pytest.raises(ClaimError, match="a file beside this one"):
            Reader(tmp_path / "c.toml").given({"npz": name, "key": "x"}, "x")


def test_numbers_are_counted_over_the_whole_file_before_they_are_made(tmp_path: Path) -> None:
    reader = Reader(tmp_path / "claim.toml")
    np.savez(tmp_path / "a.npz", x=np.zeros(900_000))
    recipe = {"full": 1, "shape": [1_000_000]}
    reader.given(recipe, "w")
    reader.given({"npz": "a.npz", "key": "x"}, "w")
    for more in (recipe, {"npz": "a.npz", "key": "x"}, {"identity": 400, "times": 1},
                 {"arange": 200_000, "shape": [200_000]},
                 {"linspace": [0, 1], "shape": [200_000]}):  # fmt: skip
        before = list(reader.made)
        with pytest.raises(ClaimError, match=r"beside 1,900,000 others are too many"):
            reader.given(more, "w")
        reader.made[:] = before
    (tmp_path / "big.npz").write_bytes(bytes(20_000_001))
    with pytest.raises(ClaimError, match=r"larger than"):
        reader.given({"npz": "big.npz", "key": "x"}, "w")


def test_a_complaint_is_short_and_cannot_command_a_terminal() -> None:
    error = ClaimError("f.toml", "k" * 10**6, "\x1b[2J\n\u202e" + "x" * 10**6)
    assert len(str(error)) < 1_000
    assert str(error).isprintable()
    assert error.problem.startswith(r"\x1b[2J\n\u202e")


def test_the_sum_of_two_biases_is_off_by_its_rounding() -> None:
    one, small = READER.given([1], "bias"), READER.given(["0x1p-60"], "recurrent_bias")
    total = one.plus(small)
    assert total.value[0] == 1
    assert total.error[0] == 2.0**-60
    assert not one.plus(one).error.any()
