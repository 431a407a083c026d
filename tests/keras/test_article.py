"""Does the Keras installed here do what the article says?  Its claims, in its order, spelled out.

《边写代码边学习之RNN》, sections 2.1 to 2.3. The same numbers stand as data in fixtures/article;
here they can be read beside the code that makes them. B batch, T timesteps, F features, H units.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from rnn_check.certificates.public import certify, certify_gradients
from rnn_check.numbers import formats
from rnn_check.numbers import printed as numbers_printed
from tests.support.lazily import Lazily

keras: Any = Lazily("keras")
Array = npt.NDArray[Any]

F, H = 2, 3
U32 = 2.0**-24  # unit roundoff of float32

# Section 2.2, the weights set by hand.
W = np.array([[1, 0, 2], [2, 1, 3]], np.float32)  # kernel (F,H)
U = np.array([[1, 2, 1], [1, 0, 1], [0, 1, 0]], np.float32)  # recurrent_kernel (H,H)
b = np.array([0, 0, 1], np.float32)  # bias (H,)
x = np.array([[[1, 3], [1, 1], [2, 3]]], np.float32)  # (1,3,F)

# Sections 2.2 and 2.3, the batch.
BATCH = np.array(
    [[[1, 2], [2, 3], [3, 4]], [[5, 6], [6, 7], [7, 8]], [[9, 10], [10, 11], [11, 12]]], np.float32
)  # (3,3,F)


def numpy(tensor: Any) -> Array:
    return np.asarray(keras.ops.convert_to_numpy(tensor))


def layer_with(kernel: Array, recurrent_kernel: Array, bias: Array, **options: Any) -> Any:
    layer = keras.layers.SimpleRNN(len(bias), **options)
    layer.build((None, None, len(kernel)))
    layer.set_weights([kernel, recurrent_kernel, bias])
    return layer


def weights_of(layer: Any) -> list[Array]:
    """kernel, recurrent_kernel, bias; [:] is the tensor in a Keras variable, on every backend."""
    return [numpy(weight[:]) for weight in layer.weights]


def same_bits(got: Array, expected: Any) -> bool:
    return got.tobytes() == np.asarray(expected, got.dtype).tobytes()


# -- 2.1 and 2.3: parameter counts -----------------------------------------------------------------


@pytest.fixture(params=[3, 4], ids=["section 2.1", "section 2.3"])
def model(request: pytest.FixtureRequest) -> Any:
    rnn, dense = keras.layers.SimpleRNN(request.param), keras.layers.Dense(1)
    return keras.Sequential([keras.Input((3, F)), rnn, dense])


PRINTED = {3: (18, 4, 22), 4: (28, 5, 33)}  # units: SimpleRNN, Dense, total


def test_parameter_counts(model: Any) -> None:
    rnn, dense = model.layers
    assert (rnn.count_params(), dense.count_params(), model.count_params()) == PRINTED[rnn.units]


def test_the_counts_by_hand(model: Any) -> None:
    units = model.layers[0].units
    rnn = F * units + units * units + units  # kernel, recurrent_kernel, bias
    dense = units * 1 + 1
    assert (rnn, dense, rnn + dense) == PRINTED[units]


def test_all_parameters_are_trainable(model: Any) -> None:
    trainable = sum(math.prod(w.shape) for w in model.trainable_weights)
    assert trainable == PRINTED[model.layers[0].units][2]
    assert model.non_trainable_weights == []


def test_output_shapes(model: Any) -> None:
    rnn, dense = model.layers
    assert tuple(rnn.output.shape) == (None, rnn.units)
    assert tuple(dense.output.shape) == (None, 1)


# -- 2.2: the recurrence by hand -------------------------------------------------------------------

OUTPUT = [[[7, 3, 12], [13, 27, 16], [48, 45, 54]]]  # (1,3,H)


@pytest.mark.parametrize("t", [0, 1, 2])
def test_each_step_by_hand(t: int) -> None:
    before = OUTPUT[0][t - 1] if t else [0, 0, 0]
    for j in range(H):
        from_input = sum(int(x[0, t, i]) * int(W[i, j]) for i in range(F))
        from_before = sum(before[i] * int(U[i, j]) for i in range(H))
        assert from_input + from_before + int(b[j]) == OUTPUT[0][t][j]


@pytest.mark.parametrize("options", [{}, {"unroll": True}], ids=["loop", "unrolled"])
def test_keras_gives_the_same_bits(options: dict[str, Any]) -> None:
    layer = layer_with(W, U, b, activation=None, return_sequences=True, **options)
    output = numpy(layer(x))
    assert (output.shape, output.dtype) == ((1, 3, 3), np.float32)
    assert same_bits(output, OUTPUT)


def test_weights_read_back_unchanged() -> None:
    read = weights_of(layer_with(W, U, b))
    assert [w.dtype for w in read] == [np.float32] * 3
    assert all(same_bits(got, given) for got, given in zip(read, (W, U, b), strict=True))


# -- 2.2, ours: gradients of that layer ------------------------------------------------------------
# L = Σ c·h with every entry of c different. Small integers have no rounding, so equality is asked.

COTANGENT = np.array([[[1, -2, 3], [-4, 5, 7], [6, -8, 9]]], np.float32)  # (1,3,H)

GRADIENTS = {  # worked out in fixtures/derived/derive.py
    "x": [[[81, 131], [-7, 7], [24, 31]]],
    "initial_state": [[42, 58, -8]],
    "kernel": [[42, -4, 40], [118, -28, 95]],
    "recurrent_kernel": [[43, 36, 110], [147, -156, 240], [36, 112, 132]],
    "bias": [36, 4, 31],
}


Run = Callable[[Any, Array, Array, Array], tuple[Array, dict[str, Array]]]


@pytest.fixture
def run() -> Run:
    """(layer, x, initial_state, cotangent) -> output, and the gradients of Σ cotangent·output."""
    backend = keras.backend.backend()
    if backend != "tensorflow":
        pytest.skip(f"written with TensorFlow's GradientTape; on {backend} ask rnn-check instead")
    import tensorflow as tf

    def run(
        layer: Any, x: Array, initial_state: Array, cotangent: Array
    ) -> tuple[Array, dict[str, Array]]:
        inputs, state = tf.constant(x), tf.constant(initial_state)
        weights = [w.value for w in layer.trainable_weights]
        with tf.GradientTape() as tape:
            tape.watch([inputs, state])
            output = layer(inputs, initial_state=state)
            loss = tf.reduce_sum(cotangent * output)
        found = tape.gradient(loss, [inputs, state, *weights])
        return numpy(output), dict(zip(GRADIENTS, map(numpy, found), strict=True))

    return run


@pytest.mark.parametrize("of", GRADIENTS)
def test_gradients_are_exact(of: str, run: Run) -> None:
    layer = layer_with(W, U, b, activation=None, return_sequences=True)
    _, gradients = run(layer, x, np.zeros((1, H), np.float32), COTANGENT)
    assert same_bits(gradients[of], GRADIENTS[of])


# -- 1, ours: the same with tanh, where every step is rounded --------------------------------------


@pytest.fixture
def tanh_layer() -> dict[str, Array]:
    rng = np.random.default_rng(20230805)
    sizes = {"x": (2, 5, 3), "initial_state": (2, 4), "kernel": (3, 4)}
    sizes |= {"recurrent_kernel": (4, 4), "bias": (4,)}
    return {name: rng.uniform(-1, 1, size).astype(np.float32) for name, size in sizes.items()}


def test_tanh_follows_from_step_to_step(tanh_layer: dict[str, Array]) -> None:
    weights = [tanh_layer[name] for name in ("kernel", "recurrent_kernel", "bias")]
    layer = layer_with(*weights, return_sequences=True)
    states = numpy(layer(tanh_layer["x"], initial_state=tanh_layer["initial_state"]))
    certificate = certify(states, **tanh_layer)
    assert certificate.ok, certificate.reason


@pytest.mark.parametrize("name", ["kernel", "recurrent_kernel"])
def test_one_weight_off_does_not_follow(tanh_layer: dict[str, Array], name: str) -> None:
    weights = [tanh_layer[name] for name in ("kernel", "recurrent_kernel", "bias")]
    layer = layer_with(*weights, return_sequences=True)
    states = numpy(layer(tanh_layer["x"], initial_state=tanh_layer["initial_state"]))
    claimed = tanh_layer[name].astype(np.float64)
    claimed[np.unravel_index(abs(claimed).argmax(), claimed.shape)] *= 1 + 1e-5
    assert not certify(states, **{**tanh_layer, name: claimed}).ok


def test_tanh_gradients_follow_from_step_to_step(tanh_layer: dict[str, Array], run: Run) -> None:
    """δ = dL/dz is read out by H more features: zero in x, the identity in the kernel."""
    x, kernel, bias = (tanh_layer[name] for name in ("x", "kernel", "bias"))
    B, T, F = x.shape
    H = len(bias)
    cotangent = np.arange(1, B * T * H + 1, dtype=np.float32).reshape(B, T, H) / 8
    wide_x = np.concatenate([x, np.zeros((B, T, H), np.float32)], axis=2)  # (B,T,F+H)
    wide_kernel = np.concatenate([kernel, np.eye(H, dtype=np.float32)])  # (F+H,H)
    layer = layer_with(wide_kernel, tanh_layer["recurrent_kernel"], bias, return_sequences=True)
    states, observed = run(layer, wide_x, tanh_layer["initial_state"], cotangent)
    observed["delta"] = observed["x"][:, :, F:]
    observed["x"], observed["kernel"] = observed["x"][:, :, :F], observed["kernel"][:F]
    certificates = certify_gradients(observed, cotangent=cotangent, states=states, **tanh_layer)
    assert set(certificates) == {"delta", *GRADIENTS}
    for of, certificate in certificates.items():
        assert certificate.ok, f"{of}: {certificate.reason}"


# -- 2.2 and 2.3: initial weights ------------------------------------------------------------------
# Random, and no seed is given: what can be checked is what Keras promises of every draw.

INITIAL = {
    "section 2.2": {
        "kernel": """-0.48868906  0.52718353 -0.08321357
                     -1.0569452  -0.9872779   0.72809434""",
        "recurrent_kernel": """0.06973135  0.40464386  0.9118119
                               0.6186313  -0.7345941   0.27868783
                               0.7825809   0.5446422  -0.3015495""",
    },
    "section 2.3": {
        "kernel": """-0.00466371  0.53100157  0.5298798   0.05514288
                     -0.08896947  0.43185067  0.7861788  -0.80616236""",
        "recurrent_kernel": """-0.10712242 -0.03620092 -0.02182053 -0.9933471
                               -0.6549012  -0.02620655  0.7532524   0.05503315
                               -0.01986913  0.9989996   0.02001702 -0.03470401
                               -0.74781984  0.00159313 -0.657065    0.09502006""",
    },
}


def printed(section: str, name: str) -> tuple[Array, Array]:
    """The numbers, and half a unit of each one's last digit."""
    rows = [[Decimal(d) for d in row.split()] for row in INITIAL[section][name].splitlines()]
    lo, hi, value = numbers_printed.printed_interval(rows)
    return value, np.maximum(value - lo, hi - value)


@pytest.fixture(params=[3, 4])
def drawn(request: pytest.FixtureRequest) -> list[Array]:
    layer = keras.layers.SimpleRNN(request.param)
    layer.build((None, 3, F))
    return weights_of(layer)


def is_orthogonal(matrix: Array, error: Array) -> bool:
    """|QᵀQ − I| is no more than the digits printed and a float32 QR decomposition explain.

    QR multiplies n reflections x − τ·v·(vᵀx), n = len(Q). An entry of v or τ has been rounded
    n + 5 times at most. Applying them rounds n + 2 times more, so a term τ·v_i·v_j·x_j has 4n + 17
    roundings; the terms' norm is at most |τ|·‖v‖² = 2 and the difference is rounded once. In sum a
    unit vector is moved by less than γ(8n + 36), by n of them γ(n(8n + 36)), and in QᵀQ are two.
    """
    n = len(matrix)
    bound = formats.gamma(2 * n * (8 * n + 36), U32)
    bound += abs(matrix).T @ error + error.T @ abs(matrix) + error.T @ error
    return bool((abs(matrix.T @ matrix - np.eye(n)) <= bound).all())


def is_within_glorot(kernel: Array, error: Array) -> bool:
    """|w| ≤ sqrt(6/(F+H)). limit, hi − lo, times r and plus lo: four roundings in float32."""
    limit = math.sqrt(6 / sum(kernel.shape)) * (1 + formats.gamma(4, U32))
    return bool((abs(kernel) <= limit + error).all())


@pytest.mark.parametrize("section", INITIAL)
def test_the_printed_recurrent_kernel_is_orthogonal(section: str) -> None:
    assert is_orthogonal(*printed(section, "recurrent_kernel"))


@pytest.mark.parametrize("section", INITIAL)
def test_a_wrong_digit_is_not_orthogonal(section: str) -> None:
    recurrent_kernel, error = printed(section, "recurrent_kernel")
    recurrent_kernel[1, 0] += 1e-3
    assert not is_orthogonal(recurrent_kernel, error)


@pytest.mark.parametrize("section", INITIAL)
def test_the_printed_kernel_is_within_glorots_limit(section: str) -> None:
    assert is_within_glorot(*printed(section, "kernel"))


def test_keras_draws_an_orthogonal_recurrent_kernel(drawn: list[Array]) -> None:
    recurrent_kernel = drawn[1].astype(np.float64)
    assert is_orthogonal(recurrent_kernel, 0 * recurrent_kernel)


def test_keras_draws_a_kernel_within_glorots_limit(drawn: list[Array]) -> None:
    assert is_within_glorot(drawn[0], 0 * drawn[0])
    assert len(np.unique(drawn[0])) == drawn[0].size


def test_keras_starts_with_no_bias(drawn: list[Array]) -> None:
    assert not drawn[2].any()


# -- 2.3: training ---------------------------------------------------------------------------------

PREDICTIONS = [Decimal("10.000422"), Decimal("19.999924"), Decimal("29.85534")]
TARGETS = [10, 20, 30]

TRAINED = [
    np.array(
        [
            [0.27645147, 0.6025058, 1.6083356, -0.38382724],
            [0.11586202, 0.32901326, 1.4760928, -1.2268958],
        ],
        np.float32,
    ),  # kernel (2,4)
    np.array(
        [
            [-0.99628973, -2.444563, 1.7412992, -1.5265529],
            [0.80340594, 0.9488743, 2.44552, -0.7439341],
            [-0.1827681, -1.3091801, 1.547736, -0.6644555],
            [-0.5724374, 2.3090494, -2.1779017, 0.35992467],
        ],
        np.float32,
    ),  # recurrent_kernel (4,4)
    np.array([-0.40184066, -1.2391611, 0.33460653, -0.29144585], np.float32),  # bias (4,)
]


def test_the_data_has_the_printed_shape() -> None:
    assert BATCH.shape == (3, 3, 2)


def test_the_trained_weights_have_the_printed_shapes() -> None:
    layer = keras.layers.SimpleRNN(4)
    layer.build((None, 3, 2))
    assert [w.shape for w in weights_of(layer)] == [(2, 4), (4, 4), (4,)]
    assert [w.shape for w in TRAINED] == [(2, 4), (4, 4), (4,)]


def test_the_printed_predictions_have_the_printed_loss() -> None:
    errors = [p - target for p, target in zip(PREDICTIONS, TARGETS, strict=True)]
    loss = sum(e * e for e in errors) / len(errors)
    assert str(loss.quantize(Decimal("0.0001"))) == "0.0070"


def test_dense_weights_that_give_the_printed_predictions_exist() -> None:
    """The article does not print its own, so four weights and a bias are solved for."""
    rnn = layer_with(*TRAINED)
    states = numpy(rnn(BATCH)).astype(float)  # (3,4)
    augmented = np.concatenate([states, np.ones((3, 1))], axis=1)  # (3,5)
    wanted = np.array([float(p) for p in PREDICTIONS])
    solution = np.linalg.lstsq(augmented, wanted, rcond=None)[0]  # (5,)

    dense = keras.layers.Dense(1)
    network = keras.Sequential([keras.Input((3, 2)), rnn, dense])
    dense.set_weights([solution[:4, None], solution[4:]])
    predictions = numpy(network(BATCH))[:, 0].astype(float)

    # Σ h·v + c in float32: each of the 5 terms is rounded once with its weight, once as a product
    # and at most 5 times as it is added up; what is left over of the solution is known.
    rounded = formats.gamma(7, U32) * (abs(augmented) @ abs(solution))
    left = abs(augmented @ solution - wanted)
    lo, hi, _ = numbers_printed.printed_interval(PREDICTIONS)
    half = np.maximum(wanted - lo, hi - wanted)
    assert (abs(predictions - wanted) <= rounded + left + half).all()
