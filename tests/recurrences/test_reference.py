"""The reference, checked by things that are not itself.

Four oracles: exact fractions, 50 digits of mpmath, complex step, central differences. The first
two run `recurrence` below, the definition spelled out over plain Python numbers; its derivatives
are dual numbers', not back-propagation's. Each check is a function of the implementation it
judges, so that the last part can hand it faulty ones and demand that it goes red.
"""

import dataclasses
import itertools
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import mpmath
import numpy as np
import pytest

from rnn_check.numbers import activations
from rnn_check.numbers.activations import ACTIVATIONS
from rnn_check.numbers.formats import Array
from rnn_check.recurrences import dense, losses, over_time
from tests.support.sampling import thinned

PARAMETERS = ("x", "kernel", "recurrent_kernel", "bias", "initial_state")
NAMES = sorted(a for a in ACTIVATIONS if a not in ("swish", "hard_swish"))
ANALYTIC = [name for name in NAMES if name != "gelu"]  # its erfc is real only

MASK = np.array([[1, 1, 0, 1, 1], [0, 1, 1, 0, 0], [0, 0, 0, 0, 0]], bool)  # (B,T)
OPTIONS = {
    "plain": {},
    "no bias": {"bias": None},
    "no initial state": {"initial_state": None},
    "mask": {"mask": MASK},
    "backwards": {"go_backwards": True},
    "mask, backwards": {"mask": MASK, "go_backwards": True},
    "bare": {"bias": None, "initial_state": None, "mask": MASK, "go_backwards": True},
}
every_option = pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)


@dataclass(frozen=True)
class Implementation:
    """What is judged: the reference, or a faulty copy of it."""

    forward: Callable[..., Any] = over_time.forward
    backward: Callable[..., Any] = over_time.backward


REFERENCE = Implementation()


def problem(options: dict[str, Any], draw: Callable[..., Array]) -> tuple[dict[str, Any], Array]:
    """Arguments of forward, all sizes different and no two numbers alike, and a cotangent.

    The recurrent kernel is a fourth of the others: errors then hardly grow, and bounds stay sharp.
    """
    B, T, F, H = 3, 5, 2, 4
    arguments = {
        "x": draw(B, T, F),
        "kernel": draw(F, H),
        "recurrent_kernel": draw(H, H) / 4,
        "bias": draw(H),
        "initial_state": draw(B, H),
    }
    return arguments | options, draw(B, T, H)


def integers(*shape: int) -> Array:
    rng = np.random.default_rng(sum(shape))
    return rng.integers(-4, 5, shape).astype(float)


def normal(scale: float = 0.7) -> Callable[..., Array]:
    rng = np.random.default_rng(7)
    return lambda *shape: rng.normal(scale=scale, size=shape)


def given(arguments: dict[str, Any]) -> list[str]:
    return [name for name in PARAMETERS if arguments[name] is not None]


# The oracle: the definition over plain numbers -----------------------------------------------


@dataclass(frozen=True)
class Dual:
    """value + slope·ε with ε² = 0: carries a derivative forward through any number type."""

    value: Any
    slope: Any

    def __add__(self, other: Any) -> "Dual":
        return Dual(self.value + other.value, self.slope + other.slope)

    def __mul__(self, other: Any) -> "Dual":
        return Dual(self.value * other.value, self.value * other.slope + self.slope * other.value)


def recurrence(
    act: Callable[[Any], Any],
    x: Array,
    kernel: Array,
    recurrent_kernel: Array,
    bias: Array | None,
    initial_state: Array | None,
    zero: Any,
    mask: Array | None = None,
    go_backwards: bool = False,
) -> Array:
    """h_t[j] = act(Σ x_t[i] W[i,j] + Σ h_{t-1}[i] U[i,j] + b[j]), sample by sample, unit by unit.

    Arrays of objects in, an array of objects (B,T,H) out.
    """
    B, T, F = x.shape
    H = len(recurrent_kernel)
    states = np.empty((B, T, H), object)
    for s in range(B):
        h = [zero] * H if initial_state is None else list(initial_state[s])
        for step, t in enumerate(reversed(range(T)) if go_backwards else range(T)):
            if mask is None or mask[s, t]:
                new = []
                for j in range(H):
                    z = zero if bias is None else bias[j]
                    for i in range(F):
                        z = z + x[s, t, i] * kernel[i, j]
                    for i in range(H):
                        z = z + h[i] * recurrent_kernel[i, j]
                    new.append(act(z))
                h = new
            states[s, step] = h
    return states


def over(number: Callable[[Any], Any], arguments: dict[str, Any]) -> dict[str, Any]:
    """The arguments of forward with every number converted."""
    convert = np.vectorize(number, otypes=[object])
    return arguments | {name: convert(arguments[name]) for name in given(arguments)}


def slope(
    number: Callable[[float], Any],
    act: Callable[[Dual], Dual],
    arguments: dict[str, Any],
    direction: dict[str, Array],
    cotangent: Array,
) -> Any:
    """The derivative of Σ cotangent·h along a direction, by dual numbers."""
    dual = np.vectorize(lambda v, d: Dual(number(v), number(d)), otypes=[object])
    duals = {name: dual(arguments[name], direction[name]) for name in given(arguments)}
    states = recurrence(act, **(arguments | duals), zero=Dual(number(0), number(0)))
    return sum(number(c) * h.slope for c, h in zip(cotangent.flat, states.flat, strict=True))


# How far rounding may take it ------------------------------------------------------------------


@dataclass(frozen=True)
class Size:
    """Largest entries, over samples and units, of a layer's output and of what goes wrong in it."""

    value: float  # |h|
    error: float = 0.0  # of h, in unit roundoffs
    tangent: float = 0.0  # Σ over all paths of |products| that make dh along a direction
    tangent_error: float = 0.0  # of dh, in unit roundoffs


def column_sum(matrix: Array) -> float:
    return float(np.abs(matrix).sum(axis=0).max())


def largest(array: Array | None) -> float:
    return 0.0 if array is None else float(np.abs(array).max())


def through(
    before: Size,
    kernel: Array,
    dkernel: Array,
    rest: float,
    drest: float,
    terms: int,
    value: float,
) -> Size:
    """The output of act(before·kernel + rest), for any activation of the tests.

    For each of them |act'| <= 2 and |act''| <= 2 where the tests use it (selu' = 1.76 and
    softsign''(0) = 2 come nearest; for the softmax family these are absolute row sums; exp is used
    below log 2 only), and none is more than 16 operations, each right within 2 unit roundoffs of
    numbers no larger than 1 + |z| + |h|. A sum of `terms` products rounds each at most terms + 1
    times, forward or backward.
    """
    K, c = terms + 1, 32
    U, dU = column_sum(kernel), column_sum(dkernel)
    z = before.value * U + rest
    dz = before.tangent * U + before.value * dU + drest
    z_error = K * z + before.error * U
    dz_error = K * dz + before.tangent_error * U + before.error * dU
    return Size(
        value=value,
        error=2 * z_error + c * (1 + z + value),
        tangent=2 * dz,
        tangent_error=2 * dz_error + 2 * z_error * dz + c * dz,
    )


def through_time(arguments: dict[str, Any], direction: dict[str, Array], states: Array) -> Size:
    """`through`, once a step; errors of a mask's copied states are among those of fewer steps."""
    x, W, U = (arguments[name] for name in PARAMETERS[:3])
    dx, dW, dU = (direction[name] for name in PARAMETERS[:3])
    rest = largest(x) * column_sum(W) + largest(arguments["bias"])
    drest = (
        largest(dx) * column_sum(W) + largest(x) * column_sum(dW) + largest(direction.get("bias"))
    )
    terms = len(W) + 2 * len(U) + 2
    h = Size(largest(arguments["initial_state"]), tangent=largest(direction.get("initial_state")))
    for _ in range(x.shape[1]):
        h = through(h, U, dU, rest, drest, terms, max(h.value, largest(states)))
    return h


def loss_bound(h: Size, cotangent: Array) -> float:
    """Rounding of Σ cotangent·h in float64; a sum of n rounds each at most n times.

    First order in u, so doubled: the second order is u times smaller.
    """
    u = 2.0**-53
    return 2 * u * float(np.abs(cotangent).sum()) * (h.error + cotangent.size * h.value)


def slope_bound(h: Size, cotangent: Array, entries: int) -> float:
    """Rounding of its derivative along a direction in float64, computed by any order of sums.

    `entries` are those of the direction: what an inner product with a gradient sums over.
    """
    u = 2.0**-53
    roundings = cotangent.size + entries
    return 2 * u * float(np.abs(cotangent).sum()) * (h.tangent_error + roundings * h.tangent)


def directions(arguments: dict[str, Any], seed: int = 11) -> dict[str, Array]:
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=arguments[name].shape) for name in given(arguments)}


def inner(gradients: Any, direction: dict[str, Array]) -> float:
    return float(sum((getattr(gradients, name) * d).sum() for name, d in direction.items()))


def shifted(arguments: dict[str, Any], direction: dict[str, Array], by: complex) -> dict[str, Any]:
    return arguments | {name: arguments[name] + by * d for name, d in direction.items()}


def tame(name: str) -> float:
    """Scale of the numbers: enough to reach every piece of an activation; exp stays below 2."""
    return 0.1 if name == "exponential" else 0.7


# The checks ------------------------------------------------------------------------------------


def check_states_exactly(judged: Implementation, act: str, options: dict[str, Any]) -> None:
    arguments, _ = problem(options, integers)
    states, _ = judged.forward(**arguments, activation=act)
    exact_act = {"linear": lambda z: z, "relu": lambda z: max(z, Fraction(0))}[act]
    expected = recurrence(exact_act, **over(Fraction, arguments), zero=Fraction(0))
    assert states.dtype == np.float64
    assert states.tolist() == expected.tolist()


def check_gradients_exactly(judged: Implementation, act: str, options: dict[str, Any]) -> None:
    arguments, cotangent = problem(options, integers)
    exact_act = {
        "linear": lambda z: z,
        "relu": lambda z: z if z.value > 0 else Dual(Fraction(0), Fraction(0)),
    }[act]
    _, cache = judged.forward(**arguments, activation=act)
    gradients = judged.backward(cotangent, cache)
    for name in given(arguments):
        gradient = getattr(gradients, name)
        assert gradient.shape == arguments[name].shape
        for index in np.ndindex(gradient.shape):
            direction = {n: np.zeros_like(arguments[n]) for n in given(arguments)}
            direction[name][index] = 1
            expected = slope(Fraction, exact_act, arguments, direction, cotangent)
            assert Fraction(gradient[index]) == expected, (name, index)


def check_states_to_50_digits(judged: Implementation, dtype: str, options: dict[str, Any]) -> None:
    """|error_t| <= Δ_t + error_{t-1}·|U| + tanh's own, as |tanh'| <= 1; Δ_t = γ·Σ|terms|.

    NumPy promises its functions within 4 units in the last place, which are 8 unit roundoffs.
    """
    arguments, _ = problem(options, normal())
    arguments |= {name: arguments[name].astype(dtype) for name in given(arguments)}
    states, _ = judged.forward(**arguments, activation="tanh")
    with mpmath.workdps(50):
        exact = over(lambda v: mpmath.mpf(float(v)), arguments)
        expected = recurrence(mpmath.tanh, **exact, zero=mpmath.mpf(0))
        error = np.abs(np.vectorize(mpmath.mpf, otypes=[object])(states.tolist()) - expected)
        error = error.astype(float)

    assert states.dtype == dtype
    u = float(np.finfo(dtype).eps) / 2
    x, W, U = (np.abs(arguments[name]).astype(float) for name in PARAMETERS[:3])
    b, h = (0.0 if arguments[n] is None else np.abs(arguments[n]) for n in PARAMETERS[3:])
    h = np.broadcast_to(h, error[:, 0].shape)  # (B,H)
    k = len(W) + len(U) + 2
    gamma = k * u / (1 - k * u)
    bound = np.zeros_like(error[:, 0])
    mask = arguments.get("mask", np.ones(x.shape[:2], bool))
    backwards = slice(None, None, -1 if options.get("go_backwards") else 1)
    for t, (x_t, counts) in enumerate(
        zip(x[:, backwards].swapaxes(0, 1), mask[:, backwards].T, strict=True)
    ):
        step = gamma * (x_t @ W + h @ U + b) + bound @ U + 8 * u
        bound = np.where(counts[:, np.newaxis], step, bound)
        assert (error[:, t] <= bound).all(), (t, error[:, t], bound)
        h = np.abs(states[:, t])


def check_gradients_to_50_digits(judged: Implementation, act: str, options: dict[str, Any]) -> None:
    def tanh(z: Dual) -> Dual:
        t = mpmath.tanh(z.value)
        return Dual(t, (1 - t * t) * z.slope)

    assert act == "tanh"
    arguments, cotangent = problem(options, normal())
    states, cache = judged.forward(**arguments, activation=act)
    gradients = judged.backward(cotangent, cache)
    for seed in range(3):
        direction = directions(arguments, seed)
        with mpmath.workdps(50):
            expected = slope(mpmath.mpf, tanh, arguments, direction, cotangent)
            error = float(abs(inner(gradients, direction) - expected))
        h = through_time(arguments, direction, states)
        assert error <= slope_bound(h, cotangent, sum(d.size for d in direction.values()))


def check_by_complex_step(judged: Implementation, act: str, options: dict[str, Any]) -> None:
    """Im L(p + i·s·d)/s is the derivative but for s²: nothing, at s = 1e-100; rounding remains."""
    arguments, cotangent = problem(options, normal(tame(act)))
    states, cache = judged.forward(**arguments, activation=act)
    gradients = judged.backward(cotangent, cache)
    for seed in range(3):
        direction = directions(arguments, seed)
        stepped, _ = judged.forward(**shifted(arguments, direction, 1e-100j), activation=act)
        expected = (cotangent * (stepped.imag / 1e-100)).sum()
        entries = sum(d.size for d in direction.values())
        h = through_time(arguments, direction, states)
        bound = 2 * slope_bound(h, cotangent, entries)  # both sides round
        assert abs(inner(gradients, direction) - expected) <= bound


def check_by_central_differences(judged: Implementation, act: str, options: dict[str, Any]) -> None:
    """D(s) = (L(p + s·d) - L(p - s·d))/2s is off by C·s² + O(s⁴), so D(s) - D(s/2) is three times
    what D(s/2) is off: taken whole, it leaves room for the rest. And L rounds twice, over 2·s/2.
    """
    arguments, cotangent = problem(options, normal(tame(act)))
    states, cache = judged.forward(**arguments, activation=act)
    gradients = judged.backward(cotangent, cache)

    def loss(by: float) -> float:
        moved, _ = judged.forward(**shifted(arguments, direction, by), activation=act)
        return float((cotangent * moved).sum())

    for seed in range(3):
        direction = directions(arguments, seed)
        s = 2.0**-14
        whole = (loss(s) - loss(-s)) / (2 * s)
        half = (loss(s / 2) - loss(-s / 2)) / s
        h = through_time(arguments, direction, states)
        bound = abs(whole - half) + 2 * loss_bound(h, cotangent) / s
        bound += slope_bound(h, cotangent, sum(d.size for d in direction.values()))
        assert abs(inner(gradients, direction) - half) <= bound
        assert bound < 1e-3 * abs(half) / 2, "too loose to see a gradient that is off by 0.1 %"


# The recurrence --------------------------------------------------------------------------------


@every_option
@pytest.mark.parametrize("act", ["linear", "relu"])
def test_states_are_exact_on_integers(act: str, options: dict[str, Any]) -> None:
    check_states_exactly(REFERENCE, act, options)


@thinned(9)
@every_option
@pytest.mark.parametrize("act", ["linear", "relu"])
def test_gradients_are_exact_on_integers(act: str, options: dict[str, Any]) -> None:
    check_gradients_exactly(REFERENCE, act, options)


@every_option
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_tanh_states_agree_with_50_digits(dtype: str, options: dict[str, Any]) -> None:
    check_states_to_50_digits(REFERENCE, dtype, options)


@every_option
def test_tanh_gradients_agree_with_50_digits(options: dict[str, Any]) -> None:
    check_gradients_to_50_digits(REFERENCE, "tanh", options)


@pytest.mark.thinned(4)
@every_option
@pytest.mark.parametrize("act", ANALYTIC)
def test_gradients_agree_with_complex_step(act: str, options: dict[str, Any]) -> None:
    check_by_complex_step(REFERENCE, act, options)


@pytest.mark.thinned(4)
@every_option
@pytest.mark.parametrize("act", NAMES)
def test_gradients_agree_with_central_differences(act: str, options: dict[str, Any]) -> None:
    check_by_central_differences(REFERENCE, act, options)


def test_exponential_is_tested_below_two() -> None:
    """`through` takes |exp'| <= 2 for granted."""
    for options in OPTIONS.values():
        arguments, _ = problem(options, normal(tame("exponential")))
        states, _ = over_time.forward(**arguments, activation="exponential")
        assert np.abs(states).max() < 2


def test_a_masked_step_copies_the_state_whatever_its_input() -> None:
    arguments, _ = problem({"mask": MASK}, normal())
    states, _ = over_time.forward(**arguments)
    before = np.concatenate([arguments["initial_state"][:, np.newaxis], states[:, :-1]], axis=1)
    assert (states[~MASK] == before[~MASK]).all()
    arguments["x"][~MASK] = 1e30
    garbage, cache = over_time.forward(**arguments)
    assert (garbage == states).all()
    gradients = over_time.backward(np.ones_like(states), cache)
    assert (gradients.delta[~MASK] == 0).all()
    assert (gradients.x[~MASK] == 0).all()


def test_delta_is_what_features_with_an_identity_kernel_receive() -> None:
    """The probe that reads delta out of a framework: appended features, all zero. Exact."""
    arguments, cotangent = problem({"mask": MASK, "go_backwards": True}, integers)
    B, T, H = cotangent.shape
    probed = arguments | {
        "x": np.concatenate([arguments["x"], np.zeros((B, T, H))], axis=2),
        "kernel": np.concatenate([arguments["kernel"], np.eye(H)]),
    }
    delta = gradients_of(arguments, cotangent).delta
    assert (gradients_of(probed, cotangent).x[:, ::-1, -H:] == delta).all()


def gradients_of(arguments: dict[str, Any], cotangent: Array) -> over_time.Gradients:
    return over_time.backward(cotangent, over_time.forward(**arguments, activation="linear")[1])


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "longdouble"])
@pytest.mark.parametrize("act", NAMES)
def test_precision_is_kept(dtype: str, act: str) -> None:
    arguments, cotangent = problem({}, normal(tame(act)))
    arguments |= {name: arguments[name].astype(dtype) for name in given(arguments)}
    states, cache = over_time.forward(**arguments, activation=act)
    assert states.dtype == dtype
    gradients = over_time.backward(cotangent.astype(dtype), cache)
    assert {g.dtype for g in gradients} == {np.dtype(dtype)}
    output, dense_cache = dense.dense(
        states, arguments["kernel"].T, arguments["x"][0, 0], activation=act
    )
    assert output.dtype == dtype
    assert {g.dtype for g in dense.dense_backward(output, dense_cache)} == {np.dtype(dtype)}


def test_integers_become_float64() -> None:
    states, _ = over_time.forward(
        np.ones((1, 2, 3), int), np.ones((3, 4), int), np.ones((4, 4), int), activation=None
    )
    assert states.dtype == np.float64
    assert states.tolist() == [[[3.0] * 4, [15.0] * 4]]


@pytest.mark.parametrize(("B", "T", "F"), [(0, 3, 2), (2, 0, 2), (2, 3, 0), (0, 0, 0)])
def test_empty_sizes(B: int, T: int, F: int) -> None:
    x, W, U, b = np.ones((B, T, F)), np.ones((F, 4)), np.ones((4, 4)), np.ones(4)
    states, cache = over_time.forward(x, W, U, b)
    assert states.shape == (B, T, 4)
    gradients = over_time.backward(np.ones((B, T, 4)), cache)
    assert [g.shape for g in gradients[:5]] == [x.shape, W.shape, U.shape, b.shape, (B, 4)]


def test_arguments_are_left_alone() -> None:
    arguments, cotangent = problem({"mask": MASK, "go_backwards": True}, normal())
    copies = {name: np.copy(value) for name, value in arguments.items()}
    _, cache = over_time.forward(**arguments)
    over_time.backward(cotangent, cache)
    assert all((arguments[name] == copies[name]).all() for name in copies)


@pytest.mark.parametrize("act", ["linear", "tanh", "relu", "exponential"])
def test_the_loop_allocates_nothing(act: str) -> None:
    """More steps cost memory for more states, and for the time-major copy of x: nothing else."""
    B, F, H = 8, 2, 64

    def peak(T: int) -> int:
        """The least of nine: other threads, of which there are some here, may allocate, too."""
        arguments, sizes = normal(0.01), []
        x, W, U = arguments(B, T, F), arguments(F, H), arguments(H, H)
        for _ in range(9):
            tracemalloc.start()
            over_time.forward(x, W, U, activation=act)
            sizes.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
        return min(sizes)

    peak(10)  # what a first call imports and caches is not the loop's
    one_state, one_input = B * H * 8, B * F * 8
    assert abs(peak(300) - peak(100) - 200 * (one_state + one_input)) < one_state


# The activations -------------------------------------------------------------------------------

TEXTBOOK: dict[str, Callable[[Any], Any]] = {
    "linear": lambda z: z,
    "tanh": mpmath.tanh,
    "relu": lambda z: max(z, 0),
    "relu6": lambda z: min(max(z, 0), 6),
    "leaky_relu": lambda z: z if z > 0 else z * mpmath.mpf("0.2"),
    "elu": lambda z: z if z > 0 else mpmath.expm1(z),
    "celu": lambda z: max(z, 0) + min(mpmath.expm1(z), 0),
    "selu": lambda z: selu(z),
    "gelu": lambda z: z * mpmath.ncdf(z),
    "silu": lambda z: z / (1 + mpmath.exp(-z)),
    "softplus": lambda z: mpmath.log(1 + mpmath.exp(z)),
    "softsign": lambda z: z / (1 + abs(z)),
    "sigmoid": lambda z: 1 / (1 + mpmath.exp(-z)),
    "log_sigmoid": lambda z: -mpmath.log(1 + mpmath.exp(-z)),
    "exponential": mpmath.exp,
    "hard_sigmoid": lambda z: min(max(z / 6 + mpmath.mpf(1) / 2, 0), 1),
    "hard_silu": lambda z: z * min(max(z / 6 + mpmath.mpf(1) / 2, 0), 1),
    "hard_tanh": lambda z: min(max(z, -1), 1),
    "hard_shrink": lambda z: z if abs(z) > 0.5 else 0,
    "soft_shrink": lambda z: mpmath.sign(z) * max(abs(z) - 0.5, 0),
    "tanh_shrink": lambda z: z - mpmath.tanh(z),
    "squareplus": lambda z: (z + mpmath.sqrt(z * z + 4)) / 2,
    "sparse_plus": lambda z: 0 if z <= -1 else z if z >= 1 else (z + 1) ** 2 / 4,
    "sparse_sigmoid": lambda z: 0 if z <= -1 else 1 if z >= 1 else (z + 1) / 2,
    "mish": lambda z: z * mpmath.tanh(mpmath.log(1 + mpmath.exp(z))),
}
JUMPS_AND_KINKS = (-3, -1, -0.5, 0, 0.5, 1, 3, 6)


def selu(z: Any) -> Any:
    """Klambauer et al. 2017, equation 14: the two constants in closed form."""
    a, e = mpmath.erfc(1 / mpmath.sqrt(2)), mpmath.e
    alpha = -mpmath.sqrt(2 / mpmath.pi) / (a * mpmath.sqrt(e) - 1)
    scale = (1 - a * mpmath.sqrt(e)) * mpmath.sqrt(2 * mpmath.pi)
    scale /= mpmath.sqrt(
        2 * mpmath.erfc(mpmath.sqrt(2)) * e**2
        + mpmath.pi * a**2 * e
        - 2 * (2 + mpmath.pi) * a * mpmath.sqrt(e)
        + mpmath.pi
        + 2
    )
    return scale * z if z > 0 else scale * alpha * mpmath.expm1(z)


def test_every_elementwise_activation_has_its_textbook_formula() -> None:
    elementwise = {name for name in NAMES if ACTIVATIONS[name].derivative is not None}
    assert set(TEXTBOOK) == elementwise
    assert set(NAMES) - elementwise == {"softmax", "log_softmax", "sparsemax"}


@pytest.mark.thinned(3)
@pytest.mark.parametrize("name", TEXTBOOK)
def test_activation_agrees_with_its_formula(name: str) -> None:
    """No activation is more than 16 operations right within 2u each, so 32u of |h|, except where
    a formula subtracts what is not small: tanh_shrink's z, the pieces' shift by at most 3.
    """
    z = np.concatenate(
        [np.linspace(-30, 30, 1201), np.logspace(-8, 0, 33), -np.logspace(-8, 0, 33)]
    )
    h = ACTIVATIONS[name].function(z)
    with mpmath.workdps(60):
        exact = np.array([TEXTBOOK[name](mpmath.mpf(v)) for v in z])
        error = np.abs([mpmath.mpf(got) - want for got, want in zip(h, exact, strict=True)])
    subtracted = {"tanh_shrink": np.abs(z), "soft_shrink": 0.5, "sparse_plus": 1.0}
    subtracted |= dict.fromkeys(("sparse_sigmoid", "hard_sigmoid", "hard_silu"), 3.0)
    scale = np.abs(h) + np.minimum(1, subtracted.get(name, 0.0))
    if name == "gelu":  # erfc(w) is exp(-w²), which multiplies the rounding of w by 2w²
        scale = np.abs(h) * (1 + z * z)
    assert (error.astype(float) <= 32 * 2.0**-53 * scale).all()


@pytest.mark.thinned(3)
@pytest.mark.parametrize("name", TEXTBOOK)
def test_derivative_agrees_with_its_formula(name: str) -> None:
    """As above; tanh' is made from h, and 1 - h² is off by 2u of 1 however small it is."""
    z = np.linspace(-9.97, 9.98, 250)
    assert np.isin(z, JUMPS_AND_KINKS).sum() == 0
    activation = ACTIVATIONS[name]
    assert activation.derivative is not None
    derivative = activation.derivative(z, activation.function(z))
    with mpmath.workdps(60):
        exact = [mpmath.diff(TEXTBOOK[name], mpmath.mpf(v), h=mpmath.mpf("1e-25")) for v in z]
        error = np.abs([mpmath.mpf(d) - want for d, want in zip(derivative, exact, strict=True)])
    assert (error.astype(float) <= 32 * 2.0**-53 * (1 + np.abs(derivative)) * (1 + z * z)).all()


@pytest.mark.parametrize(
    ("name", "at", "derivative"),
    [
        ("relu", 0, 0),
        ("relu6", 0, 0),
        ("relu6", 6, 0),
        ("leaky_relu", 0, 0.2),
        ("elu", 0, 1),
        ("celu", 0, 1),
        ("selu", 0, 1.0507009873554804934193349852946),
        ("hard_sigmoid", -3, 0),
        ("hard_sigmoid", 3, 0),
        ("hard_tanh", -1, 1),
        ("hard_tanh", 1, 1),
        ("hard_shrink", 0.5, 0),
        ("hard_shrink", -0.5, 0),
        ("soft_shrink", 0.5, 0),
        ("soft_shrink", -0.5, 0),
        ("sparse_plus", -1, 0),
        ("sparse_plus", 1, 1),
        ("sparse_sigmoid", -1, 0),
        ("sparse_sigmoid", 1, 0),
    ],
)
def test_derivative_at_a_kink(name: str, at: float, derivative: float) -> None:
    activation = ACTIVATIONS[name]
    z = np.array([at], float)
    assert activation.derivative is not None
    assert activation.derivative(z, activation.function(z)).tolist() == [derivative]


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("name", NAMES)
def test_large_numbers_do_not_overflow(name: str, dtype: str) -> None:
    """Warnings are errors here. exp(1000) alone is truly too large."""
    top = 10 if name == "exponential" else 1000
    z = np.array([[-1000, -100, -40, -1, 0, 1, 40, 100, 1000]], dtype).clip(max=top)
    activation = ACTIVATIONS[name]
    h = activation.function(z)
    assert np.isfinite(h).all()
    assert np.isfinite(activation.vjp(np.ones_like(z), z, h)).all()
    for sign in (-1, 1):  # the whole row at once, for the softmax family
        assert np.isfinite(activation.function(np.full_like(z, sign * top))).all()


@pytest.mark.parametrize("name", TEXTBOOK)
def test_vjp_is_the_derivative_times_g(name: str) -> None:
    z, g = normal(3)(2, 3, 4), normal()(2, 3, 4)
    activation = ACTIVATIONS[name]
    h = activation.function(z)
    assert activation.derivative is not None
    assert (activation.vjp(g, z, h) == g * activation.derivative(z, h)).all()


@pytest.mark.parametrize("name", ["linear", "tanh", "relu", "exponential"])
def test_into_writes_what_function_returns(name: str) -> None:
    z = normal(3)(4, 5)
    out = np.full_like(z, np.nan)
    activation = ACTIVATIONS[name]
    assert activation.into is not None
    activation.into(z, out)
    assert (out == activation.function(z)).all()


def test_sparsemax_is_the_nearest_point_of_the_simplex() -> None:
    """Optimal where it satisfies the conditions of Karush, Kuhn and Tucker; dyadic, so exact."""
    z = np.array([[0.5, 0.25, -1.0], [3.0, 0.0, 0.0], [0.25, 0.25, 0.25], [0.0, 1.0, 1.0]])
    nearest = [[0.625, 0.375, 0.0], [1.0, 0.0, 0.0], [1 / 3] * 3, [0.0, 0.5, 0.5]]
    h = ACTIVATIONS["sparsemax"].function(z)
    assert h[[0, 1, 3]].tolist() == [nearest[0], nearest[1], nearest[3]]
    assert np.abs(h[2] - 1 / 3).max() <= 2.0**-53  # a third of 1, rounded once, after exact sums


def test_aliases_and_none() -> None:
    assert activations.activation(None) is ACTIVATIONS["linear"]
    assert activations.activation("swish") is ACTIVATIONS["silu"]
    assert activations.activation("hard_swish") is ACTIVATIONS["hard_silu"]
    assert all(ACTIVATIONS[name].name == name for name in NAMES)


@pytest.mark.parametrize(("typed", "meant"), [("tahn", "tanh"), ("ReLU", "relu")])
def test_unknown_activation_names_the_nearest(typed: str, meant: str) -> None:
    with pytest.raises(ValueError, match=f"unknown activation '{typed}'; did you mean `{meant}`"):
        activations.activation(typed)


# The output layer and the losses ---------------------------------------------------------------


@pytest.mark.parametrize("leading", [(), (3,), (3, 5)])
@pytest.mark.parametrize("use_bias", [True, False])
def test_dense_is_exact_on_integers(leading: tuple[int, ...], use_bias: bool) -> None:
    h, V, c = integers(*leading, 4), integers(4, 2), integers(2) if use_bias else None
    do = integers(*leading, 2)
    output, cache = dense.dense(h, V, c)
    gradients = dense.dense_backward(do, cache)
    dh, dV, dc = np.zeros_like(h), np.zeros_like(V), np.zeros(2)
    for index in np.ndindex(leading):
        for j in range(2):
            o = sum(Fraction(h[index][i]) * Fraction(V[i, j]) for i in range(4))
            assert Fraction(output[index][j]) == o + (Fraction(c[j]) if c is not None else 0)
            dc[j] += do[index][j]
            for i in range(4):
                dh[index][i] += do[index][j] * V[i, j]
                dV[i, j] += do[index][j] * h[index][i]
    assert gradients.h.tolist() == dh.tolist()
    assert gradients.kernel.tolist() == dV.tolist()
    assert gradients.bias.tolist() == dc.tolist()


def test_mean_squared_error_is_exact_on_dyadics() -> None:
    target, prediction = np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([[1.5, 0.0], [3.0, 8.0]])
    loss, dprediction = losses.mean_squared_error(target, prediction)
    assert (type(loss), loss) == (float, (0.25 + 4 + 16) / 4)
    assert dprediction.tolist() == [[0.25, -1.0], [0.0, 2.0]]


OUTPUTS = [[0.5, 0.75, 0.25], [3.0, 0.0, 1.0], [1.0, 2.0**-30, 0.5], [-0.5, 2.0, 1.0]]
TARGETS = [[1.0, 0.5, 0.0], [0.0, 0.25, 1.0], [0.0, 1.0, 0.0], [1.0, 1.0, 0.0]]


@pytest.mark.parametrize("epsilon", [1e-7, 0.0])
def test_cross_entropy_is_of_shares_in_the_sum(epsilon: float) -> None:
    """By mpmath, from Keras's definition; the gradient by central differences of that.

    The truth is an execution without rounding, within what one in float64 may be off. A step of
    h = 1e-20 is off by f'''·h²/6, which is below 1e-12 where p = 2^-30 and 1e-39 elsewhere.
    """
    target, output = np.array(TARGETS), np.array(OUTPUTS)
    if not epsilon:
        output = output[[0, 2]]
        target = target[[0, 2]]

    def loss_of(o: list[list[Any]]) -> Any:
        least = mpmath.mpf(epsilon)
        total = mpmath.mpf(0)
        for row, wanted in zip(o, target.tolist(), strict=True):
            for each, t in zip(row, wanted, strict=True):
                share = each / mpmath.fsum(row)
                kept = min(max(share, least), 1 - least)
                total -= t * mpmath.log(kept) if t else 0
        return total / len(o)

    loss, gradient = losses.categorical_cross_entropy(target, output, epsilon=epsilon)
    assert type(loss) is float
    which: Any = ("categorical_crossentropy", target, output)
    how: Any = {"arithmetic": "float64", "clipped": bool(epsilon)}
    (_, off), (_, slopes) = (
        bound(*which, **how) for bound in (losses.running_loss, losses.running_loss_gradient)
    )
    with mpmath.workdps(60):
        exact = [[mpmath.mpf(v) for v in row] for row in output.tolist()]
        assert abs(loss - loss_of(exact)) <= off
        for i, j in np.ndindex(output.shape):
            step = mpmath.mpf(10) ** -20
            if epsilon and output[i, j] in (0, -0.5):  # clipped, on its side of the limit
                assert exact[i][j] / mpmath.fsum(exact[i]) < epsilon
            ends = []
            for sign in (1, -1):
                moved = [list(row) for row in exact]
                moved[i][j] += sign * step
                ends.append(loss_of(moved))
            slope = (ends[0] - ends[1]) / (2 * step)
            assert abs(gradient[i, j] - slope) <= slopes[i, j], (i, j)


def test_cross_entropy_of_an_impossible_event_is_infinite_unless_it_is_clipped() -> None:
    target, output = np.eye(2), np.array([[0, 1.0], [0, 1]])
    loss, gradient = losses.categorical_cross_entropy(target, output, epsilon=0.0)
    assert loss == np.inf
    assert not np.isfinite(gradient[0, 0])
    loss, gradient = losses.categorical_cross_entropy(target, output)
    which: Any = ("categorical_crossentropy", target, output)
    _, off = losses.running_loss(*which, arithmetic="float64", clipped=True)
    least = mpmath.mpf(1e-7)
    assert abs(loss + (mpmath.log(least) + mpmath.log1p(-least)) / 2) <= off
    assert not gradient.any()


@pytest.mark.parametrize("head", ["mse", "softmax and cross-entropy", "one state"])
def test_the_whole_network_agrees_with_complex_step(head: str) -> None:
    """SimpleRNN + Dense + loss, through every parameter at once."""
    O = 3  # noqa: E741
    draw = normal()
    arguments, _ = problem({"mask": MASK}, draw)
    H = len(arguments["bias"])
    parameters = {n: arguments[n] for n in PARAMETERS} | {"V": draw(H, O), "c": draw(O)}
    target = np.abs(draw(*MASK.shape, O))
    if head == "one state":
        target = target[:, -1]
    elif head != "mse":
        target /= target.sum(axis=-1, keepdims=True)
    last = -1 if head == "one state" else slice(None)
    act = "softmax" if "softmax" in head else "linear"
    loss_of = losses.categorical_cross_entropy if "softmax" in head else losses.mean_squared_error

    def network(p: dict[str, Array]) -> tuple[Any, ...]:
        states, cache = over_time.forward(**{n: p[n] for n in PARAMETERS}, mask=MASK)
        output, dense_cache = dense.dense(states[:, last], p["V"], p["c"], activation=act)
        loss, doutput = loss_of(target, output)
        return loss, doutput, output, dense_cache, states, cache

    loss, doutput, output, dense_cache, states, cache = network(parameters)
    above = dense.dense_backward(doutput, dense_cache)
    dstates = np.zeros_like(states)
    dstates[:, last] = above.h
    gradients = over_time.backward(dstates, cache)._asdict() | {"V": above.kernel, "c": above.bias}

    rng = np.random.default_rng(5)
    for _ in range(5):
        direction = {n: rng.normal(size=p.shape) for n, p in parameters.items()}
        stepped, *_ = network({n: p + 1e-100j * direction[n] for n, p in parameters.items()})
        slope = sum((gradients[n] * d).sum() for n, d in direction.items())
        # Dense is one step more. What stands above it is a weighted sum of its output (mse, whose
        # weights 2(ŷ - y)/n are off by twice the error of ŷ) or of its log-softmax (weights y/B).
        h = through_time(arguments, direction, states)
        o = through(
            h,
            parameters["V"],
            direction["V"],
            largest(parameters["c"]),
            largest(direction["c"]),
            2 * H + 2,
            max(largest(output), largest(np.log(output)) if "softmax" in head else 0.0),
        )
        weights = target / (target.size / O) if "softmax" in head else doutput
        entries = sum(d.size for d in direction.values())
        bound = 2 * slope_bound(o, weights, entries)
        bound += 2 * 2.0**-53 * 2 * (o.error + 3 * o.value) * o.tangent  # those weights' own
        assert isinstance(loss, float)
        assert abs(slope - stepped.imag / 1e-100) <= bound


# Bad input -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"x": np.ones((5, 2))}, r"x has shape \(5, 2\), but should have \(batch, timesteps"),
        ({"kernel": np.ones((4, 2))}, r"kernel has shape \(4, 2\), but should have \(2, 4\)"),
        (
            {"recurrent_kernel": np.ones((4, 3))},
            r"recurrent_kernel .* should have \(4, 4\): square",
        ),
        ({"recurrent_kernel": np.ones(4)}, r"recurrent_kernel has shape \(4,\)"),
        ({"bias": np.ones((2, 4))}, r"bias has shape \(2, 4\), but should have \(4,\)"),
        ({"initial_state": np.ones(4)}, r"initial_state has shape \(4,\), .* \(3, 4\)"),
        ({"mask": np.ones((5, 3))}, r"mask has shape \(5, 3\), but should have \(3, 5\)"),
        ({"activation": "tanhh"}, "did you mean `tanh`"),
    ],
)
def test_misshapen_arguments_are_named(changed: dict[str, Any], message: str) -> None:
    arguments, _ = problem({}, normal())
    with pytest.raises(ValueError, match=message):
        over_time.forward(**(arguments | changed))


def test_misshapen_cotangents_and_targets_are_named() -> None:
    arguments, _ = problem({}, normal())
    states, cache = over_time.forward(**arguments)
    with pytest.raises(ValueError, match=r"dstates has shape \(5, 4\), .* \(3, 5, 4\)"):
        over_time.backward(states[0], cache)
    output, dense_cache = dense.dense(states, np.ones((4, 2)))
    with pytest.raises(ValueError, match=r"doutput has shape \(3, 5, 4\), .* \(3, 5, 2\)"):
        dense.dense_backward(states, dense_cache)
    with pytest.raises(ValueError, match=r"h has shape \(3, 5, 4\), .* \(3, 5, 2\)"):
        dense.dense(states, np.ones((2, 4)))
    with pytest.raises(ValueError, match=r"bias has shape \(4,\), .* \(2,\)"):
        dense.dense(states, np.ones((4, 2)), np.ones(4))
    for loss in (losses.mean_squared_error, losses.categorical_cross_entropy):
        with pytest.raises(ValueError, match=r"target has shape \(2,\), .* \(3, 5, 2\)"):
            loss(np.ones(2), output)


# The checks can fail ---------------------------------------------------------------------------


def faulty_forward(**fault: Callable[[Any], Any]) -> Implementation:
    """The reference with some arguments replaced by a function of themselves."""

    def forward(**arguments: Any) -> Any:
        return over_time.forward(**(arguments | {n: f(arguments[n]) for n, f in fault.items()}))

    return Implementation(forward)


def faulty_backward(fault: Callable[..., Any]) -> Implementation:
    return Implementation(backward=fault)


def without_bias(dstates: Array, cache: over_time.Cache) -> over_time.Gradients:
    gradients = over_time.backward(dstates, cache)
    return gradients._replace(bias=gradients.bias * 0)


def one_entry_off(array: Array) -> Array:
    array = array.copy()
    array.flat[np.abs(array).argmax()] *= array.dtype.type(1 + 1e-5)
    return array


FORWARD_FAULTS = {
    "recurrent kernel transposed": faulty_forward(recurrent_kernel=lambda U: U.T),
    "bias dropped": faulty_forward(bias=lambda b: None),
    "initial state ignored": faulty_forward(initial_state=lambda h: None),
    "mask ignored": faulty_forward(mask=lambda m: None),
    "mask not reversed": faulty_forward(mask=lambda m: m[:, ::-1]),
    "time reversed": faulty_forward(x=lambda x: x[:, ::-1]),
    "units permuted": faulty_forward(kernel=lambda W: W[:, [1, 0, 2, 3]]),
    "activation wrong": faulty_forward(activation=lambda a: "softsign"),
    "one weight off by 1e-5": faulty_forward(kernel=one_entry_off),
}
BACKWARD_FAULTS = {
    "scaled by 1.001": faulty_backward(
        lambda d, cache: over_time.Gradients(*(1.001 * g for g in over_time.backward(d, cache)))
    ),
    "recurrent kernel not transposed": faulty_backward(
        lambda d, cache: over_time.backward(
            d, dataclasses.replace(cache, recurrent_kernel=cache.recurrent_kernel.T)
        )
    ),
    "cut between timesteps": faulty_backward(
        lambda d, cache: over_time.backward(
            d, dataclasses.replace(cache, recurrent_kernel=0 * cache.recurrent_kernel)
        )
    ),
    "cotangent ignored": faulty_backward(
        lambda d, cache: over_time.backward(np.ones_like(d), cache)
    ),
    "cotangent reversed": faulty_backward(lambda d, cache: over_time.backward(d[:, ::-1], cache)),
    "mask ignored": faulty_backward(
        lambda d, cache: over_time.backward(d, dataclasses.replace(cache, skip=None))
    ),
    "bias has none": faulty_backward(without_bias),
}
FORWARD_CHECKS = [(check_states_exactly, "linear"), (check_states_to_50_digits, "float64")]
FORWARD_CHECKS += [(check_states_exactly, "relu"), (check_states_to_50_digits, "float32")]
BACKWARD_CHECKS = [
    (check_gradients_exactly, "linear"),
    (check_gradients_to_50_digits, "tanh"),
    (check_by_complex_step, "tanh"),
    (check_by_central_differences, "tanh"),
]
RED = [
    pytest.param(check, argument, faults[name], id=f"{name}-{check.__name__}-{argument}")
    for checks, faults in ((FORWARD_CHECKS, FORWARD_FAULTS), (BACKWARD_CHECKS, BACKWARD_FAULTS))
    for (check, argument), name in itertools.product(checks, faults)
]


@pytest.mark.thinned(4)
@pytest.mark.parametrize(("check", "argument", "faulty"), RED)
def test_each_check_sees_each_fault(
    check: Callable[..., None], argument: str, faulty: Implementation
) -> None:
    options = OPTIONS["mask, backwards"]
    check(REFERENCE, argument, options)
    with pytest.raises(AssertionError):
        check(faulty, argument, options)
