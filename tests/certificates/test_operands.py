"""Were the operands of these sums cut, which ones, and how?

Faults and honest layers alike stay within the bound here: what tells them apart are the errors.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from rnn_check.certificates import explained
from rnn_check.certificates.operands import FORMATS, narrowed
from rnn_check.certificates.public import certify, certify_gradients, certify_projected
from rnn_check.certificates.result import Certificate
from rnn_check.numbers.formats import Array
from rnn_check.recurrences import over_time
from tests.certificates.test_certificate import one_by_one, plain, to_bfloat16, to_float16, to_tf32
from tests.support.sampling import thinned

FORMAT = {f.name: f for f in FORMATS}


def cut(name: str, way: str) -> Callable[[Array], Array]:
    def to(array: Array) -> Array:
        return narrowed(array.astype(np.float64), FORMAT[name], way).astype(array.dtype)

    return to


def kept(array: Array) -> Array:
    return array


@pytest.mark.parametrize(
    ("name", "by_bits"), [("TF32", to_tf32), ("bfloat16", to_bfloat16), ("float16", to_float16)]
)
def test_narrower_formats_are_those_of_the_bits(
    name: str, by_bits: Callable[[Array], Array]
) -> None:
    rng = np.random.default_rng(0)
    values = (rng.normal(size=4000) * 2.0 ** rng.integers(-30, 14, 4000)).astype(np.float32)
    assert (cut(name, "rounded")(values) == by_bits(values)).all()
    truncated = cut(name, "truncated")(values)
    assert (np.abs(truncated) <= np.abs(values)).all()
    assert (by_bits(truncated) == truncated).all()
    far = np.abs(values - truncated) > np.abs(values) * 2.0 ** (1 - FORMAT[name].digits)
    assert (np.abs(values[far]) < 2.0**-14).all()  # but for float16's subnormals


def test_what_a_format_cannot_hold_is_infinite() -> None:
    assert (
        narrowed(np.array([7e4, -7e4]), FORMAT["float16"], "rounded") == [np.inf, -np.inf]
    ).all()
    assert narrowed(np.array([7e4]), FORMAT["TF32"], "rounded")[0] == 70016  # 1094·2^6


# The forward pass -------------------------------------------------------------------------------

WIDE = (4, 12, 400, 300)


def states_of(layer: Any, dot: Any = np.matmul, **how: Callable[[Array], Array]) -> Array:
    """tanh or linear, with some operands cut."""
    x, W, U, h = (how.get(n, kept) for n in ("x", "kernel", "recurrent_kernel", "states"))
    kernel, recurrent = W(layer.kernel), U(layer.recurrent_kernel)
    state, found = np.zeros((len(layer.x), len(recurrent)), layer.x.dtype), []
    for t in range(layer.x.shape[1]):
        z = dot(x(layer.x[:, t]), kernel) + layer.bias + dot(h(state), recurrent)
        state = np.tanh(z) if layer.activation == "tanh" else z
        found.append(state)
    return np.stack(found, axis=1)


@thinned(3)
@pytest.mark.parametrize("way", ["rounded", "truncated"])
@pytest.mark.parametrize("name", ["TF32", "bfloat16"])
@pytest.mark.parametrize("which", ["x", "kernel", "states", "recurrent_kernel"])
def test_the_operand_that_was_cut_is_named_and_how(which: str, name: str, way: str) -> None:
    layer = plain(*WIDE)
    found = certify(states_of(layer, **{which: cut(name, way)}), **layer.arguments)
    assert found.ok is False and found.consistent_with == name
    if found.ratio <= 1:
        assert f"but {which} {way} to {name}: " in found.reason


def test_each_operand_is_named_where_all_are_cut_each_in_its_own_way() -> None:
    layer = plain(8, 12, 700, 500)
    found = certify(
        states_of(
            layer, x=cut("TF32", "truncated"), kernel=cut("TF32", "rounded"),
            states=cut("TF32", "truncated"),
        ),
        **layer.arguments,
    )  # fmt: skip
    assert found.ok is False and found.ratio <= 1
    said = found.reason[: found.reason.index(":")]
    assert "kernel rounded to TF32" in said and "recurrent_kernel" not in said
    assert "x and states truncated to TF32" in said or "states and x truncated to TF32" in said


@pytest.mark.thinned(3)
@pytest.mark.parametrize("size", [(64, 16, 64, 512), (16, 64, 256, 256), (8, 32, 600, 512)])
def test_an_operand_of_the_recurrence_is_found_where_every_size_is_a_power_of_two(
    size: tuple[int, int, int, int],
) -> None:
    """A regular sample of such a layer may hold first steps alone, where the state is 0."""
    layer = plain(*size)
    for which in ("states", "recurrent_kernel"):
        found = certify(states_of(layer, **{which: cut("TF32", "rounded")}), **layer.arguments)
        assert found.ok is False and found.consistent_with == "TF32"
    assert certify(states_of(layer), **layer.arguments).ok


@pytest.mark.parametrize(
    ("rows", "columns"),
    [(slice(None), slice(3, None, 10)), (slice(1, 2), slice(None)), (slice(None), slice(-6, None))],
    ids=["every tenth step", "one sample", "the last steps"],
)
def test_an_operand_that_is_cut_in_some_of_the_sums_is_found(rows: slice, columns: slice) -> None:
    """All others explain nothing: of the whole sample these errors are no operand's."""
    layer = plain(8, 60, 300, 400)
    arguments = layer.arguments
    state, states = np.zeros((8, 400), np.float32), []
    now = np.zeros((8, 60), bool)
    now[rows, columns] = True
    U = cut("TF32", "rounded")(layer.recurrent_kernel)
    for t in range(60):
        inner = np.where(now[:, t, None], state @ U, state @ layer.recurrent_kernel)
        state = np.tanh(layer.x[:, t] @ layer.kernel + layer.bias + inner)
        states.append(state)
    found = certify(np.stack(states, axis=1), **arguments)
    assert found.ok is False and found.ratio <= 1 and found.consistent_with == "TF32"
    assert "recurrent_kernel rounded to TF32: " in found.reason
    found = certify_projected(np.stack(states, axis=1), **arguments)
    assert not found.ok or "recurrent_kernel, states, x it cannot be told" in found.reason


def test_errors_that_nothing_explains_are_not_said_to_be_explained() -> None:
    """A twentieth of what is allowed, in one direction: no operand was cut."""
    layer = plain(4, 20, 256, 512)
    state, states = np.zeros((4, 512), np.float32), []
    for t in range(20):
        z = layer.x[:, t] @ layer.kernel + layer.bias + state @ layer.recurrent_kernel
        size = np.abs(layer.x[:, t]) @ np.abs(layer.kernel)
        state = np.tanh(z + 0.05 * 2.0**-24 * 770 * size).astype(np.float32)
        states.append(state)
    for certified in (certify, certify_projected):
        found = certified(np.stack(states, axis=1), **layer.arguments)
        assert found.ok and found.bits is not None and found.consistent_with is None
        assert found.reason.endswith("fewer than float32 mostly does, and it is not seen why")


def test_float64_of_float32_operands_is_found() -> None:
    layer = plain(4, 8, 300, 200, np.float64)
    no_recurrence = {"activation": "linear", "recurrent_kernel": 0 * layer.recurrent_kernel}
    layer = type(layer)(**vars(layer) | no_recurrence)
    found = certify(states_of(layer, kernel=cut("float32", "rounded")), **layer.arguments)
    assert found.ok is False and found.consistent_with == "float32"


# Honest layers whose errors are as large as those of TF32 ---------------------------------------


def equal_terms(F: int = 512, H: int = 64, value: float = 0.7, weight: float = 0.3) -> Any:
    layer = plain(4, 6, F, H, activation="linear")
    parts = {
        "x": np.full_like(layer.x, value), "kernel": np.full_like(layer.kernel, weight),
        "recurrent_kernel": 0 * layer.recurrent_kernel, "bias": 0 * layer.bias,
    }  # fmt: skip
    return type(layer)(**vars(layer) | parts)


@pytest.mark.parametrize("F", [256, 1024, 4096])
def test_float32_sums_of_equal_terms_are_no_narrower_format(F: int) -> None:
    """Added one by one they show as few bits as TF32; of which nothing can be said, cut or not."""
    layer = equal_terms(F)
    found = certify(states_of(layer, one_by_one), **layer.arguments)
    assert found.bits is not None and found.bits < 16
    assert found.ok and found.consistent_with is None
    assert "cannot be told" in found.reason or "cut operands" in found.reason
    with_tf32 = certify(states_of(layer, kernel=cut("TF32", "rounded")), **layer.arguments)
    assert with_tf32.ok is not False or with_tf32.ratio > 1


@thinned(12)
@pytest.mark.parametrize("seed", range(12))
def test_no_honest_float32_looks_cut_even_where_its_bits_are_not_asked_first(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Inputs of few digits, of few kinds, that repeat, that stand still; large biases added first.

    In such sums rounding meets operands: a large partial sum rounds what is added to it as a format
    of fewer digits would. The regression alone has to tell it from a cut.
    """
    monkeypatch.setattr("rnn_check.certificates.precision.CLOSER", 0.0)
    rng = np.random.default_rng(seed)
    B, T, F, H = [(2, 10, 200, 312), (1, 5, 700, 30), (4, 8, 64, 64), (64, 3, 300, 8)][seed % 4]
    layer = plain(B, T, F, H, activation=("tanh", "linear")[seed % 2])
    x, W, U = layer.x, layer.kernel, layer.recurrent_kernel / 2
    b = layer.bias * np.float32(10.0 ** (seed % 5))
    some = {
        "ordinary": x,
        "spins": np.sign(x),
        "pixels": np.round(np.abs(x) * 64) / 256,
        "one-hot": np.eye(F, dtype=np.float32)[rng.integers(0, F, (B, T))],
        "two in turn": np.tile(x[:, :2], (1, T, 1))[:, :T],
        "standing still": np.repeat(x[:, :1], T, axis=1),
    }
    kernels = {"ordinary": W, "equal rows": np.repeat(W[:1], F, axis=0), "positive": np.abs(W)}
    for kind, inputs in some.items():
        for other, kernel in kernels.items():
            given = type(layer)(
                **vars(layer) | {"x": inputs, "kernel": kernel, "recurrent_kernel": U, "bias": b}
            )
            found = certify(
                states_of(given, (np.matmul, one_by_one)[seed // 4 % 2]), **given.arguments
            )
            assert found.ok is not False, f"{kind}, {other}: {found.reason}"


@pytest.mark.parametrize("seed", [396, 487, *range(16)])
def test_few_units_whose_sums_repeat_are_no_narrower_format(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What stands still makes the same few errors again and again, whose pattern many share."""
    monkeypatch.setattr("rnn_check.certificates.precision.CLOSER", 0.0)
    rng = np.random.default_rng(seed)
    B, T, F, H = rng.integers(1, 24), rng.integers(1, 9), rng.integers(1, 6), rng.integers(1, 5)
    name = rng.choice(["tanh", "linear", "relu", "gelu"])
    scales = (1.0, 1e-2, 1e-16, 10.0)

    def drawn(*shape: int) -> Array:
        return (rng.choice(scales) * rng.normal(size=shape)).astype(np.float32)

    x = np.stack([drawn(T, F) for _ in range(B)])
    if rng.random() < 0.4:
        x = np.repeat(x[:, :1], T, axis=1)
    weights = {"kernel": drawn(F, H), "recurrent_kernel": drawn(H, H) / 2, "bias": drawn(H)}
    given = {"x": x, **weights, "activation": str(name)}
    states, _ = over_time.forward(**given)
    found = certify(states, **given)
    assert found.ok is not False, found.reason


def grid_of(operand: Array, weight: float, states: Array) -> tuple[explained.Grid, Array]:
    """Errors of sums of one column, and what cutting an operand adds to them."""
    grid = explained.Grid(np.random.default_rng(0).normal(size=operand.shape))
    value = 0.1 + states * weight
    grid.take_out([states * weight, value, np.abs(value)])
    return grid, (narrowed(operand, FORMAT["TF32"], "rounded") - operand) * weight


def test_of_three_different_sums_nothing_can_be_said() -> None:
    states = np.random.default_rng(1).normal(size=3)[np.arange(60) % 3][:, None]
    grid, D = grid_of(states, 0.3, states)
    assert grid.left_of(D)[1] is False
    many = np.random.default_rng(1).normal(size=(60, 1))
    grid, D = grid_of(many, 0.3, many)
    flat, seen = grid.left_of(D)
    assert seen and grid.independent(D[grid.counted], flat) > 10


def test_one_that_is_larger_than_all_others_counts_alone() -> None:
    many = np.random.default_rng(1).normal(size=(60, 1)) * 2.0**-30
    many[7] = 1 / 3
    grid, D = grid_of(many, 0.3, np.random.default_rng(2).normal(size=(60, 1)))
    assert grid.left_of(D)[1] is False


def test_what_is_nearly_known_takes_no_more_dimensions() -> None:
    rng = np.random.default_rng(0)
    known = [rng.normal(size=(40, 3)) for _ in range(2)]
    grid = explained.Grid(rng.normal(size=(40, 3)))
    before = grid.free
    sums = 3 * known[0] - known[1]
    grid.take_out([*known, sums, sums * (1 + 2.0**-50), 0 * sums])
    assert grid.free == before - 2


@pytest.mark.parametrize("direction", [-1, 1])
@pytest.mark.parametrize("positive", [False, True])
def test_one_sided_rounding_is_no_narrower_format(direction: int, positive: bool) -> None:
    """Every operation off by 2^-24 to one side, as no float32 is but the model permits."""
    layer = plain(4, 6, 128, 128, activation="linear")
    x, W, U = (np.asarray(p, np.float64) for p in (layer.x, layer.kernel, layer.recurrent_kernel))
    if positive:
        x, W, U = np.abs(x), np.abs(W), np.abs(U) / 16
    U = U / 2
    off = 1 + direction * 2.0**-24
    h, found = np.zeros((4, 128)), []
    for t in range(6):
        total = np.zeros((4, 128))
        for left, right in zip((*x[:, t].T, *h.T), (*W, *U), strict=True):
            total = (total + left[:, None] * right * off) * off
        h = total
        found.append(h)
    given = {"x": x, "kernel": W, "recurrent_kernel": U, "activation": "linear"}
    certified = certify(np.stack(found, axis=1), **given, dtype="float32")
    assert certified.ok and certified.bits is not None and certified.bits < 20


@pytest.mark.parametrize(
    ("dtype", "narrow", "n"), [("float16", to_float16, 256), ("bfloat16", to_bfloat16, 512)]
)
def test_sixteen_bits_of_large_parts_that_cancel_are_no_narrower_format(
    dtype: str, narrow: Callable[[Array], Array], n: int
) -> None:
    """x·W = 25 and h·U = -25 are both stored in 16 bits: few of them are right of what is left."""
    rng = np.random.default_rng(0)
    x, h0 = rng.uniform(0.9, 1.1, (64, 1, n)), rng.uniform(0.9, 1.1, (64, n))
    W, U = (25 / n * rng.uniform(0.9, 1.1, (n, n)) for _ in range(2))
    x, h0, W, U = (narrow(part) for part in (x, h0, W, -U))
    z = narrow(narrow(x[:, 0] @ W) + narrow(h0 @ U))
    honest = certify(
        narrow(np.tanh(z))[:, None], x=x, kernel=W, recurrent_kernel=U, initial_state=h0,
        dtype=dtype,
    )  # fmt: skip
    # bfloat16 leaves so little that nothing is proved either
    assert honest.ok is (True if dtype == "float16" else None)
    assert honest.bits is not None and honest.bits < 10
    assert honest.consistent_with is None


def test_bfloat16_operands_show_in_float16() -> None:
    layer = plain(*WIDE)
    x, W, U = (to_float16(p) for p in (layer.x, layer.kernel, layer.recurrent_kernel))
    h, found = np.zeros((WIDE[0], WIDE[3]), np.float32), []
    for t in range(WIDE[1]):
        z = to_float16(to_float16(x[:, t] @ to_bfloat16(W)) + to_float16(h @ U))
        h = to_float16(np.tanh(z))
        found.append(h)
    given = {"x": x, "kernel": W, "recurrent_kernel": U, "dtype": "float16"}
    certified = certify(np.stack(found, axis=1), **given)
    assert certified.ok is False and certified.ratio <= 1
    assert "but kernel rounded to bfloat16: " in certified.reason


# Gradients --------------------------------------------------------------------------------------


def gradients_of(layer: Any, cotangent: Array) -> tuple[Array, dict[str, Array]]:
    states, cache = over_time.forward(
        layer.x, layer.kernel, layer.recurrent_kernel, layer.bias, activation=layer.activation
    )
    return states, over_time.backward(cotangent, cache)._asdict() | {
        "delta": over_time.backward(cotangent, cache).delta
    }


def certified_gradients(
    layer: Any, states: Array, gradients: dict[str, Array], cotangent: Array
) -> dict[str, Certificate]:
    return certify_gradients(
        gradients, cotangent=cotangent, states=states, x=layer.x, kernel=layer.kernel,
        recurrent_kernel=layer.recurrent_kernel, bias=layer.bias, activation=layer.activation,
    )  # fmt: skip


@thinned(10)
@pytest.mark.parametrize("name", ["TF32", "bfloat16"])
@pytest.mark.parametrize(
    ("array", "which"),
    [
        ("kernel", "x"), ("kernel", "delta"), ("recurrent_kernel", "states"),
        ("recurrent_kernel", "delta"), ("bias", "delta"), ("x", "delta"), ("x", "kernel"),
        ("initial_state", "delta"), ("initial_state", "recurrent_kernel"),
    ],
)  # fmt: skip
def test_the_operand_of_a_gradient_that_was_cut_is_named(array: str, which: str, name: str) -> None:
    layer = plain(32, 40, 200, 400)
    states, right = gradients_of(layer, layer.cotangent)
    delta, q = right["delta"], cut(name, "rounded")
    B, T, H = delta.shape
    flat = delta.reshape(B * T, H)
    before = np.concatenate([np.zeros_like(states[:, :1]), states[:, :-1]], axis=1)
    how = {
        n: q if n == which else kept for n in ("x", "states", "kernel", "delta", "recurrent_kernel")
    }
    made = {
        "kernel": lambda: how["x"](layer.x).reshape(B * T, -1).T @ how["delta"](flat),
        "recurrent_kernel": lambda: how["states"](before).reshape(B * T, H).T @ how["delta"](flat),
        "bias": lambda: how["delta"](flat).sum(axis=0),
        "x": lambda: how["delta"](delta) @ how["kernel"](layer.kernel).T,
        "initial_state": lambda: (
            how["delta"](delta[:, 0]) @ how["recurrent_kernel"](layer.recurrent_kernel).T
        ),
    }
    found = certified_gradients(layer, states, right | {array: made[array]()}, layer.cotangent)
    assert all(f.ok for n, f in found.items() if n != array)
    assert found[array].ok is False and found[array].consistent_with == name
    if found[array].ratio <= 1:
        assert f"but {which} rounded to {name}: " in found[array].reason


@pytest.mark.thinned(2)
@pytest.mark.parametrize("shape", ["square", "sine"])
def test_a_gradient_whose_partial_sums_wander_is_no_narrower_format(shape: str) -> None:
    """A cotangent of one sign in the first half of time and the other in the second."""
    B, T, H = 2, 3000, 32
    layer = plain(B, T, 4, H)
    rng, time = np.random.default_rng(0), np.arange(T)
    wave = np.where(time < T // 2, 1.0, -1.0) if shape == "square" else np.sin(2 * np.pi * time / T)
    x = (1 + 0.1 * rng.normal(size=layer.x.shape)).astype(np.float32)
    layer = type(layer)(
        **vars(layer)
        | {"x": x, "kernel": abs(layer.kernel) / 3, "recurrent_kernel": layer.recurrent_kernel / 4}
    )
    c = (wave[:, None] * (1 + 0.01 * rng.normal(size=(B, T, H)))).astype(np.float32)
    states, right = gradients_of(layer, c)
    sums = {n: np.zeros_like(right[n]) for n in ("kernel", "recurrent_kernel", "bias")}
    for t in reversed(range(T)):  # as a framework does it: one step after the other
        delta = right["delta"][:, t]
        before = states[:, t - 1] if t else 0 * states[:, 0]
        sums["kernel"] = sums["kernel"] + x[:, t].T @ delta
        sums["recurrent_kernel"] = sums["recurrent_kernel"] + before.T @ delta
        sums["bias"] = sums["bias"] + delta.sum(axis=0)
    found = certified_gradients(layer, states, right | sums, c)
    assert all(f.ok is not False for f in found.values()), [f.reason for f in found.values()]
    assert found["kernel"].ok and found["delta"].ok
    assert found["bias"].bits is not None and found["bias"].bits < 16


# What is computed -------------------------------------------------------------------------------


def test_chance_is_no_less_than_it_is() -> None:
    """Against a count: how often do p of M random directions explain so much of a random vector?"""
    rng = np.random.default_rng(0)
    n, tries = 12, 4000
    for p, share in ((1, 0.7), (2, 0.75), (3, 0.8)):
        hits = 0
        for _ in range(tries):
            e, D = rng.normal(size=n), rng.normal(size=(n, p))
            rest = e - D @ np.linalg.lstsq(D, e, rcond=None)[0]
            hits += rest @ rest < (1 - share) * (e @ e)
        assert hits / tries <= explained.chance(1.0, 1 - share, n, p) * (
            1 + 4 / max(hits, 1) ** 0.5
        )
    assert explained.chance(1.0, 1e-9, 3, 3) == 1  # nothing is left to be surprised by
    assert explained.chance(1e6, 1e-6, 40, 1) < 2.0**-40 < explained.chance(1.0, 1e-3, 9, 1)


def test_rows_that_repeat_count_once() -> None:
    rng = np.random.default_rng(0)
    grid = explained.Grid(rng.normal(size=(40, 20)))
    independent = rng.normal(size=(40, 20))
    few = rng.normal(size=(3, 20))[np.arange(40) % 3] * (1 + 1e-3 * rng.normal(size=(40, 1)))
    assert grid.left_of(np.ones((40, 20)))[1] is False
    assert grid.left_of(np.outer(np.arange(40.0), np.ones(20)) + np.arange(20.0))[1] is False
    assert grid.independent(independent.ravel(), grid.left_of(independent)[0]) > 200
    assert grid.independent(few.ravel(), grid.left_of(few)[0]) < 2.5 * 20
