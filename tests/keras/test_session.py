"""Does a session of Keras ask the framework what it was told to ask, and pass on what it hears?

Everything here is made of small integers, so the framework's numbers must equal the reference's
bit for bit: what is tested is the asking, and rounding has no part in it.
"""

from __future__ import annotations

import platform
import re
from collections.abc import Iterator
from importlib.metadata import version
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from rnn_check.asking import plans
from rnn_check.asking.questions.plan import state_sizes
from rnn_check.recurrences import dense as recurrences_dense
from rnn_check.recurrences import losses, over_time
from rnn_check.recurrences.kinds import SIMPLE
from rnn_check.recurrences.running import Running
from rnn_check.subjects.ask import NotInstalled, Raised, Subject, SubjectError
from tests.support.sampling import long, sampled, thinned

Array = npt.NDArray[Any]

B, T, F, H, O = 2, 4, 3, 3, 2  # noqa: E741
RNG = np.random.default_rng(20230805)


def integers(*shape: int) -> Array:
    return RNG.integers(-3, 4, shape).astype(float)


KERNEL, RECURRENT, BIAS = integers(F, H), integers(H, H), integers(H)
DENSE_KERNEL, DENSE_BIAS = integers(H, O), integers(O)
X, STATE = integers(B, T, F), integers(B, H)
# Holes only: backends differ in what they output before a sample's first step that counts.
MASK = np.array([[True, True, False, True], [True, False, False, True]])
COTANGENT = np.arange(B * T * H).reshape(B, T, H) - 7.0  # all entries different

RNN = {"kind": "SimpleRNN", "units": H, "activation": "relu", "return_sequences": True}
DENSE = {"kind": "Dense", "units": O}
WEIGHTS = {"simple_rnn": {"kernel": KERNEL, "recurrent_kernel": RECURRENT, "bias": BIAS}}
REQUEST = {
    "layers": [RNN],
    "weights": WEIGHTS,
    "x": X,
    "loss": {"kind": "cotangent", "value": COTANGENT},
}


def request(*ask: str, **changes: Any) -> dict[str, Any]:
    return {**REQUEST, "ask": list(ask), **changes}


def rnn(**changes: Any) -> list[dict[str, Any]]:
    return [{**RNN, **changes}]


def answers(asked: Subject, request: dict[str, Any]) -> dict[str, Any]:
    """What was observed, question by question."""
    return plans.ask(asked, request)[1]


def complaint(asked: Subject, request: dict[str, Any]) -> dict[str, str]:
    """What is said to be wrong: of the whole request, or of its one question."""
    try:
        (found,) = answers(asked, request).values()
    except Raised as error:
        return {"error": error.message, "traceback": error.stderr}
    except ValueError as error:  # before anybody is asked
        return {"error": str(error), "traceback": ""}
    assert found.keys() >= {"error", "traceback"}, found
    return found  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def asked(subject: Subject) -> Subject:
    """The subject under test; gradients are asked only of one that has them."""
    return subject


@pytest.fixture
def with_gradients(asked: Subject) -> Subject:
    if not asked.identity.gradients:
        pytest.skip(f"the {asked.backend} backend has no gradients")
    return asked


# -- who is asked ----------------------------------------------------------------------------------


def test_the_identity_is_that_of_the_installed_packages(asked: Subject) -> None:
    identity = asked.identity
    assert identity.framework == "keras"
    assert identity.keras == version("keras")
    assert identity.backend == asked.backend
    assert identity.backend_version.startswith(version(asked.backend))
    assert identity.python == platform.python_version()
    assert identity.numpy == version("numpy")
    assert identity.dtype == "float32"
    assert identity.device
    assert identity.cpu
    assert identity.threads >= 1
    assert "eager" in identity.modes


# -- summary and weights ---------------------------------------------------------------------------


@pytest.mark.parametrize(("units", "counts"), [(3, (18, 4, 22)), (4, (28, 5, 33))])
def test_summary(asked: Subject, units: int, counts: tuple[int, int, int]) -> None:
    rnn = {"kind": "SimpleRNN", "units": units, "name": "simpleRNN"}
    layers = [rnn, {"kind": "Dense", "units": 1}]
    found = answers(asked, {"layers": layers, "input_shape": [3, 2], "ask": ["summary"]})["summary"]
    each = [(c["name"], c["kind"], c["output_shape"], c["parameters"]) for c in found["layers"]]
    assert each == [
        ("simpleRNN", "SimpleRNN", [None, units], counts[0]),
        ("dense", "Dense", [None, 1], counts[1]),
    ]
    total = (found["parameters"], found["trainable"], found["non_trainable"])
    assert total == (counts[2], counts[2], 0)


@pytest.mark.parametrize(
    ("changes", "shape"),
    [
        ({"return_sequences": False}, [None, H]),
        ({"return_state": True}, [None, T, H]),
        ({"stateful": True}, [B, T, H]),
        ({"trainable": False}, [None, T, H]),
    ],
    ids=str,
)
def test_summary_of_options(asked: Subject, changes: dict[str, Any], shape: list[Any]) -> None:
    found = answers(asked, request("summary", layers=rnn(**changes)))["summary"]
    assert found["layers"][0]["output_shape"] == shape
    assert found["parameters"] == F * H + H * H + H
    assert found["non_trainable"] == (0 if changes.get("trainable", True) else found["parameters"])


def test_initial_weights_are_the_framework_s_and_weights_those_given(asked: Subject) -> None:
    found = answers(asked, request("initial_weights", "weights", "output"))
    again = answers(asked, request("initial_weights"))
    initial = found["initial_weights"]["simple_rnn"]
    assert {k: v.shape for k, v in initial.items()} == {
        "kernel": (F, H), "recurrent_kernel": (H, H), "bias": (H,)}  # fmt: skip
    assert not np.array_equal(initial["kernel"], again["initial_weights"]["simple_rnn"]["kernel"])
    for name, given in WEIGHTS["simple_rnn"].items():
        assert np.array_equal(found["weights"]["simple_rnn"][name], given)


def test_weights_read_back_bit_for_bit(asked: Subject) -> None:
    special = np.array(
        [0.0, -0.0, np.inf, -np.inf, 1e-40, 1 / 3, 3.4e38, 5e-324, np.nan], np.float32
    )
    weights = {"simple_rnn": {"recurrent_kernel": special.reshape(H, H)}}
    layers = rnn(kernel_initializer={"kind": "RandomUniform", "seed": 1})
    asks = request("weights", "initial_weights", layers=layers, weights=weights)
    found = answers(asked, asks)
    read, initial = found["weights"]["simple_rnn"], found["initial_weights"]["simple_rnn"]
    assert read["recurrent_kernel"].tobytes() == special.tobytes()
    assert read["kernel"].tobytes() == initial["kernel"].tobytes()  # not given: left as it was


# -- the recurrence and its gradients, under every option, exactly ---------------------------------


def expected(
    *, mask: bool = False, initial_state: bool = False, go_backwards: bool = False,
    return_sequences: bool = True, recurrent: Array = RECURRENT,
) -> dict[str, Any]:  # fmt: skip
    """What Keras should answer, by the reference. The cotangent of a last output is its last."""
    states, cache = over_time.forward(
        X, KERNEL, recurrent, BIAS, activation="relu", go_backwards=go_backwards,
        mask=MASK if mask else None, initial_state=STATE if initial_state else None,
    )  # fmt: skip
    cotangent = COTANGENT.copy()
    if not return_sequences:
        cotangent[:, :-1] = 0
    gradients = over_time.backward(cotangent, cache)._asdict()
    delta = gradients.pop("delta")
    output = states if return_sequences else states[:, -1]
    gradients["loss"] = np.sum(states * cotangent)
    return {
        "output": output,
        "states": states,
        "last_state": states[:, -1],
        "gradients": gradients,
        "probe": {**gradients, "delta": delta, "states": states, "output": output},
    }


def assert_same(found: Any, wanted: Any, where: str) -> None:
    if isinstance(wanted, dict):
        assert found.keys() == wanted.keys(), where
        for name in wanted:
            assert_same(found[name], wanted[name], f"{where} {name}")
    else:
        assert found.dtype == np.float32, where
        assert np.array_equal(found, wanted), f"{where}: got\n{found}\nexpected\n{wanted}"


def check(
    asked: Subject, mode: str, *, unroll: bool = False, mask: bool = False,
    initial_state: bool = False, go_backwards: bool = False, return_sequences: bool = True,
) -> None:  # fmt: skip
    layers = rnn(unroll=unroll, go_backwards=go_backwards, return_sequences=return_sequences)
    loss = {"kind": "cotangent", "value": COTANGENT if return_sequences else COTANGENT[:, -1]}
    asks = ["output", "states", "last_state"]
    if asked.identity.gradients:
        asks += ["gradients", "probe"]
    found = answers(
        asked,
        request(
            *asks, layers=layers, loss=loss, mode=mode,
            mask=MASK if mask else None, initial_state=STATE if initial_state else None,
        )
    )  # fmt: skip
    wanted = expected(
        mask=mask, initial_state=initial_state, go_backwards=go_backwards,
        return_sequences=return_sequences,
    )  # fmt: skip
    assert_same(found, {ask: wanted[ask] for ask in asks}, mode)


OPTIONS = ("return_sequences", "mask", "initial_state", "go_backwards", "unroll")
EVERY = [dict(zip(OPTIONS, on, strict=True)) for on in product((True, False), repeat=len(OPTIONS))]


@thinned(6)
@pytest.mark.parametrize(
    "options", EVERY, ids=lambda options: "+".join(k for k, on in options.items() if on) or "plain"
)
def test_every_option_crossed_with_every_other(asked: Subject, options: dict[str, bool]) -> None:
    if asked.backend == "torch" and options["mask"] and options["go_backwards"] & options["unroll"]:
        # Keras 3.15's rnn for torch flips a tuple here; this line fails when it no longer does
        layers = rnn(**{name: on for name, on in options.items() if name != "mask"})
        layers[0].pop("initial_state")
        found = complaint(asked, request("output", layers=layers, mask=MASK))
        assert "'tuple' object has no attribute 'shape'" in found["error"]
        return
    check(asked, "eager", **options)


@pytest.mark.parametrize("mode", ["function", pytest.param("xla", marks=long)])
@pytest.mark.parametrize(
    "options",
    [
        {"return_sequences": False, "go_backwards": True},
        pytest.param({"mask": True, "initial_state": True}, marks=long),
    ],
    ids=str,
)
def test_compiled(asked: Subject, mode: str, options: dict[str, bool]) -> None:
    if mode not in asked.identity.modes:
        pytest.skip(f"the {asked.backend} backend has no mode {mode}")
    check(asked, mode, **options)


def test_this_comparison_can_fail(with_gradients: Subject) -> None:
    found = answers(with_gradients, request("output", "states", "last_state", "gradients", "probe"))
    with pytest.raises(AssertionError, match="output"):
        assert_same(found, expected(recurrent=RECURRENT.T), "transposed")
    with pytest.raises(AssertionError, match="states"):
        assert_same(found["states"], expected(go_backwards=True)["states"], "states")


def test_no_bias(with_gradients: Subject) -> None:
    weights = {"simple_rnn": {"kernel": KERNEL, "recurrent_kernel": RECURRENT}}
    found = answers(
        with_gradients, request("output", "probe", layers=rnn(use_bias=False), weights=weights)
    )
    states, cache = over_time.forward(X, KERNEL, RECURRENT, activation="relu")
    gradients = over_time.backward(COTANGENT, cache)
    assert np.array_equal(found["output"], states)
    assert np.array_equal(found["probe"]["delta"], gradients.delta)
    assert "bias" not in found["probe"]


def test_the_output_layer(with_gradients: Subject) -> None:
    cotangent = np.arange(B * T * O).reshape(B, T, O) - 5.0
    found = answers(
        with_gradients,
        request(
            "output", "states", "gradients", "probe",
            layers=[RNN, {**DENSE, "name": "output"}],
            weights={**WEIGHTS, "output": {"kernel": DENSE_KERNEL, "bias": DENSE_BIAS}},
            loss={"kind": "cotangent", "value": cotangent},
        )
    )  # fmt: skip
    states, cache = over_time.forward(X, KERNEL, RECURRENT, BIAS, activation="relu")
    output, dense_cache = recurrences_dense.dense(states, DENSE_KERNEL, DENSE_BIAS)
    dense = recurrences_dense.dense_backward(cotangent, dense_cache)
    wanted = over_time.backward(dense.h, cache)
    assert np.array_equal(found["states"], states)
    for answer in (found, found["probe"]):
        assert np.array_equal(answer["output"], output)
    for answer in (found["gradients"], found["probe"]):
        assert np.array_equal(answer["output.kernel"], dense.kernel)
        assert np.array_equal(answer["output.bias"], dense.bias)
        for name in ("x", "kernel", "recurrent_kernel", "bias", "initial_state"):
            assert np.array_equal(answer[name], getattr(wanted, name)), name
    assert np.array_equal(found["probe"]["delta"], wanted.delta)


def test_mean_squared_error(with_gradients: Subject) -> None:
    layers = [{**RNN, "return_sequences": False}]
    target = integers(B, H)
    loss = {"kind": "mse", "target": target}
    found = answers(with_gradients, request("gradients", "probe", layers=layers, loss=loss))
    states, cache = over_time.forward(X, KERNEL, RECURRENT, BIAS, activation="relu")
    cotangent = np.zeros_like(states)
    value, cotangent[:, -1] = losses.mean_squared_error(target, states[:, -1])
    delta = over_time.backward(cotangent, cache).delta[:, -1]
    u = 2.0**-24
    for answer in (found["gradients"], found["probe"]):
        # B·H squares and their sum round once each, and so does each of two means
        assert abs(answer["loss"] - value) <= (2 * B * H + 2) * u * value
    # the error is an integer; 2, 1/H and 1/B are multiplied into it, a rounding each
    assert np.all(abs(found["probe"]["delta"][:, -1] - delta) <= 4 * u * abs(delta))


def test_categorical_cross_entropy(with_gradients: Subject) -> None:
    """Probabilities 1/4, 1/4, 1/2 whatever the input: gradients -t/p, less the normalization's."""
    zeros = {"kernel": 0 * KERNEL, "recurrent_kernel": 0 * RECURRENT}
    probabilities = np.array([0.25, 0.25, 0.5])
    target = np.eye(3)[[0, 2]]
    found = answers(
        with_gradients,
        request(
            "gradients",
            layers=rnn(activation="linear", return_sequences=False),
            weights={"simple_rnn": {**zeros, "bias": probabilities}},
            loss={"kind": "categorical_crossentropy", "target": target},
        ),
    )["gradients"]
    assert np.array_equal(found["bias"], np.sum(-target / probabilities + 1, axis=0) / 2)
    truth = -np.mean(np.log(probabilities[[0, 2]]))
    assert abs(found["loss"] - truth) <= 4 * 2.0**-24 * truth  # two logarithms, a sum, a mean


# -- what is asked is what is run ------------------------------------------------------------------


def test_of_names_the_gradients_that_are_wanted(with_gradients: Subject) -> None:
    found = answers(with_gradients, request("gradients", of=["kernel"]))["gradients"]
    assert found.keys() == {"loss", "kernel"}


def test_the_state_that_return_state_gives(asked: Subject) -> None:
    found = answers(asked, request("output", "last_state", layers=rnn(return_state=True)))
    wanted = expected()
    assert np.array_equal(found["output"], wanted["output"])
    assert np.array_equal(found["last_state"], wanted["last_state"])


def test_zeroed_output_is_passed_on_as_it_is(with_gradients: Subject) -> None:
    layers = rnn(zero_output_for_mask=True)
    found = answers(
        with_gradients, request("output", "states", "probe", "last_state", layers=layers, mask=MASK)
    )
    states, cache = over_time.forward(X, KERNEL, RECURRENT, BIAS, activation="relu", mask=MASK)
    zeroed = np.where(MASK[..., None], states, 0)
    for output in (found["output"], found["states"], found["probe"]["output"]):
        assert np.array_equal(output, zeroed)
    assert np.array_equal(found["last_state"], states[:, -1])
    delta = over_time.backward(np.where(MASK[..., None], COTANGENT, 0), cache).delta
    assert np.array_equal(found["probe"]["delta"], delta)


def test_a_stateful_layer_starts_every_run_afresh(asked: Subject) -> None:
    layers = rnn(stateful=True)
    found = answers(asked, request("output", "states", "last_state", layers=layers))
    assert np.array_equal(found["states"], expected()["states"])
    assert np.array_equal(found["last_state"], expected()["last_state"])


def test_bare_defaults(asked: Subject) -> None:
    """No weights, no mode, no loss: a layer as somebody meets it."""
    found = answers(
        asked, {"layers": [{"kind": "SimpleRNN", "units": 2}], "x": X, "ask": ["output"]}
    )
    assert found["output"].shape == (B, 2)


# -- stacks of layers ------------------------------------------------------------------------------

MODES = ["eager", "function", "xla"]  # compiling takes seconds
SECOND = {
    "kernel": integers(H, H) // 2,
    "recurrent_kernel": integers(H, H) // 2,
    "bias": integers(H),
}
FIRST = WEIGHTS["simple_rnn"]
CELL = {"kind": "SimpleRNNCell", "units": H, "activation": "relu"}
SKIPPED = 9.0  # the value that marks a timestep to be skipped
X_SKIPPED = np.where(MASK[..., None], X, SKIPPED)


def states_of(x: Array, weights: dict[str, Array] = FIRST, **options: Any) -> Array:
    return over_time.forward(x, *weights.values(), activation="relu", **options)[0]


def under(prefix: str, weights: dict[str, Array]) -> dict[str, Array]:
    return {f"{prefix}.{name}": array for name, array in weights.items()}


def ask(asked: Subject, question: str, **changes: Any) -> Any:
    """The answer; a test of what this backend or mode cannot answer is skipped."""
    if changes.get("mode", "eager") not in asked.identity.modes:
        pytest.skip(f"the {asked.backend} backend has no mode {changes['mode']}")
    answer = answers(asked, request(question, **changes))[question]
    if isinstance(answer, dict) and "unsupported" in answer:
        pytest.skip(answer["unsupported"])
    return answer


@pytest.mark.thinned(3)
@pytest.mark.parametrize("mode", MODES)
def test_outputs_of_a_masked_stack(asked: Subject, mode: str) -> None:
    masking = {"kind": "Masking", "mask_value": SKIPPED}
    dense = {"kernel": DENSE_KERNEL, "bias": DENSE_BIAS}
    found = ask(
        asked, "outputs", mode=mode, x=X_SKIPPED, layers=[masking, RNN, RNN, DENSE],
        weights={"simple_rnn": FIRST, "simple_rnn_1": SECOND, "dense": dense},
    )  # fmt: skip
    once = states_of(X, mask=MASK)
    twice = states_of(once, SECOND, mask=MASK)
    last, _ = recurrences_dense.dense(twice, DENSE_KERNEL, DENSE_BIAS)
    wanted = [np.where(MASK[..., None], X, 0), once, twice, last]
    assert [np.array_equal(*pair) for pair in zip(found["layers"], wanted, strict=True)] == [
        True
    ] * 4
    assert [np.array_equal(mask, MASK) for mask in found["masks"]] == [True] * 4


def test_the_mask_and_the_state_that_are_given_go_to_the_first_recurrent_layer(
    asked: Subject,
) -> None:
    weights = {"simple_rnn": FIRST, "simple_rnn_1": SECOND}
    more = {"mask": MASK, "initial_state": STATE}
    layers = [{**RNN, "return_state": True}, {**RNN, "return_sequences": False}]
    found = ask(asked, "outputs", layers=layers, weights=weights, **more)
    once = states_of(X, mask=MASK, initial_state=STATE)
    assert np.array_equal(found["layers"][0], once)
    assert np.array_equal(found["layers"][1], states_of(once, SECOND, mask=MASK)[:, -1])
    assert np.array_equal(found["masks"][0], MASK)
    assert found["masks"][1] is None


@pytest.mark.parametrize("merge_mode", ["concat", "sum", "mul", "ave", None])
def test_bidirectional(asked: Subject, merge_mode: str | None) -> None:
    layer = {"kind": "Bidirectional", "layer": RNN, "merge_mode": merge_mode}
    weights = {**under("forward", FIRST), **under("backward", SECOND)}
    asks = request("outputs", "weights", layers=[layer], weights={"bidirectional": weights})
    found = answers(asked, asks)
    forward, backward = states_of(X), states_of(X, SECOND, go_backwards=True)[:, ::-1]
    merged = {
        "concat": np.concatenate([forward, backward], axis=-1),
        "sum": forward + backward,
        "mul": forward * backward,
        "ave": (forward + backward) / 2,
        None: np.concatenate([forward, backward], axis=-1),  # two arrays, told side by side
    }
    assert np.array_equal(found["outputs"]["layers"][0], merged[merge_mode])
    read = found["weights"]["bidirectional"]
    assert read.keys() == weights.keys()
    assert all(np.array_equal(read[path], weights[path]) for path in weights)


def test_cells(asked: Subject) -> None:
    both = {**under("cell_0", FIRST), **under("cell_1", SECOND)}
    one = {"kind": "RNN", "cell": CELL, "return_sequences": True}
    two = {"kind": "RNN", "cell": [CELL, CELL], "return_sequences": True, "name": "two"}
    found = ask(asked, "outputs", layers=[one], weights={"rnn": FIRST})
    assert np.array_equal(found["layers"][0], states_of(X))
    found = ask(asked, "outputs", layers=[two], weights={"two": both})
    assert np.array_equal(found["layers"][0], states_of(states_of(X), SECOND))


def test_both_directions_from_given_states_and_the_states_they_end_in(asked: Subject) -> None:
    layer = {"kind": "Bidirectional", "layer": {**RNN, "return_state": True}, "merge_mode": "sum"}
    weights = {**under("forward", FIRST), **under("backward", SECOND)}
    starts = np.stack([STATE, -STATE])
    found = ask(
        asked, "outputs", layers=[layer], weights={"bidirectional": weights}, initial_state=starts
    )
    forward = states_of(X, initial_state=STATE)
    backward = states_of(X, SECOND, go_backwards=True, initial_state=-STATE)
    assert np.array_equal(found["layers"][0], forward + backward[:, ::-1])
    assert len(found["states"]) == 2
    assert np.array_equal(found["states"][0], forward[:, -1])
    assert np.array_equal(found["states"][1], backward[:, -1])


@pytest.mark.parametrize("mode", sampled(MODES, 3))
@pytest.mark.parametrize("kind", ["SimpleRNNCell", "CustomCell"])
@pytest.mark.parametrize("use_bias", [True, False])
def test_a_cell_by_itself(asked: Subject, kind: str, use_bias: bool, mode: str) -> None:
    weights = {name: array for name, array in FIRST.items() if use_bias or name != "bias"}
    cell = {"kind": kind, "units": H, "activation": "relu", "use_bias": use_bias}
    layers = [{"kind": "RNN", "cell": cell, "return_sequences": True}]
    given = {"layers": layers, "weights": {"rnn": weights}, "initial_state": STATE, "mode": mode}
    found = ask(asked, "cell", **given)
    wanted = states_of(X, weights, initial_state=STATE)
    assert np.array_equal(found["outputs"], wanted)
    assert np.array_equal(found["states"], wanted)
    assert np.array_equal(ask(asked, "outputs", **given)["layers"][0], wanted)


def test_embedding_and_time_distributed(asked: Subject) -> None:
    words = np.array([[1, 2, 3, 0], [4, 0, 1, 0]])
    vectors = integers(5, F)
    layers = [
        {"kind": "Embedding", "input_dim": 5, "output_dim": F, "mask_zero": True},
        RNN,
        {"kind": "TimeDistributed", "layer": DENSE},
    ]
    weights = {
        "embedding": {"embeddings": vectors},
        "simple_rnn": FIRST,
        "time_distributed": {"kernel": DENSE_KERNEL, "bias": DENSE_BIAS},
    }
    found = ask(asked, "outputs", layers=layers, weights=weights, x=words)
    states = states_of(vectors[words], mask=words != 0)
    assert np.array_equal(found["layers"][1], states)
    assert np.array_equal(
        found["layers"][2], recurrences_dense.dense(states, DENSE_KERNEL, DENSE_BIAS)[0]
    )
    assert np.array_equal(found["masks"][0], words != 0)


def test_integers_and_a_function_of_the_user_s(asked: Subject) -> None:
    found = ask(asked, "output", x=X + 0.5, x_dtype="int32", layers=rnn(activation="callable relu"))
    assert np.array_equal(found, states_of((X + 0.5).astype(np.int32)))


def test_a_stack_s_weights_are_checked_by_path(asked: Subject) -> None:
    layer = {"kind": "Bidirectional", "layer": RNN}
    wrong = request("output", layers=[layer], weights={"bidirectional": FIRST})
    assert "bidirectional has no weight 'kernel'" in complaint(asked, wrong)["error"]


@pytest.mark.parametrize("how", ["config", "weights", "keras", "clone"])
def test_a_cell_of_the_user_s_is_saved_and_loaded(asked: Subject, how: str) -> None:
    layers = [{"kind": "RNN", "cell": {**CELL, "kind": "CustomCell"}, "return_sequences": True}]
    found = ask(asked, "round_trip", layers=layers, weights={"rnn": FIRST}, how=how)
    assert np.array_equal(found["before"], states_of(X))
    assert np.array_equal(found["after"], states_of(X))
    assert found["same_config"] is found["same_weights"] is True


def test_a_question_that_fails_leaves_the_others_answered(asked: Subject) -> None:
    layers = [{"kind": "Bidirectional", "layer": RNN}]
    found = answers(asked, request("summary", "states", layers=layers, weights=None))
    assert found["summary"]["parameters"] == 2 * (F * H + H * H + H)
    assert "has no sequence of states that is its own" in found["states"]["error"]
    assert "Traceback" in found["states"]["traceback"]


# -- behaviours ------------------------------------------------------------------------------------


@pytest.mark.thinned(2)
@pytest.mark.parametrize("mode", sampled(MODES, 3))
@pytest.mark.parametrize("through", ["call", "predict", "fit", "evaluate"])
def test_stateful(asked: Subject, through: str, mode: str) -> None:
    if through != "call" and (asked.backend in ("jax", "openvino") or mode == "xla"):
        pytest.skip("Keras 3.15 loses a state in there on these backends; XLA takes long")
    x = X[:, :2]  # short, so that three runs stay exact
    found = ask(asked, "stateful", x=x, through=through, mode=mode)
    once = states_of(x)
    again = states_of(x, initial_state=once[:, -1])
    for run, state, wanted in zip(
        found["runs"], found["states"], (once, again, once), strict=False
    ):
        assert np.array_equal(state, wanted[:, -1])
        assert run is None if through in ("fit", "evaluate") else np.array_equal(run, wanted)
    assert np.array_equal(found["states"][3], np.zeros((B, H)))


def test_a_stateful_layer_of_another_batch(asked: Subject) -> None:
    found = ask(asked, "shrunk")
    assert found["raised"][0] == "ValueError"
    assert found["at"] == "call"
    assert found["control"] == {"returned": [B, T, H]}


@pytest.mark.parametrize(
    ("wrong", "at"),
    [
        ({"layer": {"units": 0}}, "construct"),
        ({"layer": {"kernel_initializer": "identitty"}}, "construct"),
        ({"x_shape": [B, F]}, "call"),
        ({"x_shape": [B, T, F + 1]}, "call"),
        ({"initial_state_shape": [B, H + 1]}, "call"),
        ({"mask_shape": [B + 1, T]}, "call"),
    ],
    ids=str,
)
def test_what_is_wrong_raises(asked: Subject, wrong: dict[str, Any], at: str) -> None:
    found = ask(asked, "raises", wrong=wrong)
    assert found["raised"][-2:] == ["Exception", "BaseException"]
    assert found["at"] == at
    assert 0 < len(found["message"]) <= 300
    samples = B if "mask_shape" in wrong or "x_shape" in wrong else found["control"]["returned"][0]
    assert found["control"] == {"returned": [samples, T, H]}


def test_what_is_not_wrong_returns(asked: Subject) -> None:
    found = ask(asked, "raises", wrong={"x_shape": [B + 1, T + 1, F], "layer": {"units": H + 1}})
    assert found == {"returned": [B + 1, T + 1, H + 1], "control": {"returned": [B, T, H]}}


@pytest.mark.thinned(2)
@pytest.mark.parametrize("how", ["config", "weights", "keras", "clone"])
def test_round_trips(asked: Subject, how: str) -> None:
    l2 = {"kind": "L2", "l2": 0.5}
    layers = [
        {**RNN, "kernel_regularizer": l2, "activation": "callable relu"},
        {"kind": "Bidirectional", "layer": RNN, "merge_mode": "sum"},
        {"kind": "TimeDistributed", "layer": DENSE},
    ]
    both = {**under("forward", SECOND), **under("backward", SECOND)}
    weights = {"simple_rnn": FIRST, "bidirectional": both}
    found = ask(asked, "round_trip", layers=layers, weights=weights, how=how)
    assert np.array_equal(found["before"], found["after"])
    assert found["before"].shape == (B, T, O)
    assert found["same_config"] is found["same_weights"] is True


@pytest.mark.parametrize("mode", sampled(MODES, 3))
def test_dropout(asked: Subject, mode: str) -> None:
    p, q = 0.5, 0.75  # scales of 2 and 4
    layers = rnn(dropout=p, recurrent_dropout=q, seed=7)
    found = ask(asked, "dropout", layers=layers, mode=mode)
    masks = found["input"] / 2, found["recurrent"][:, 1] / 4
    for mask, rate in zip(masks, (p, q), strict=True):
        assert set(np.unique(mask)) == {0.0, 1.0}
        n = mask[:, 0].size if mask.ndim == 3 else mask.size
        allowed = np.sqrt(np.log(2e12) / (2 * n))  # Hoeffding: beyond it once in 1e12
        assert abs(np.mean(mask == 0) - rate) <= allowed
    assert np.array_equal(masks[0], np.repeat(masks[0][:, :1], 4, axis=1))
    powers = (4 * masks[1])[:, None] ** np.arange(4)[:, None]
    assert np.array_equal(found["recurrent"], powers)
    for name in ("input", "recurrent"):
        assert np.array_equal(found["again"][name], found[name])
        repeats = np.array_equal(found["next"][name], found[name])
        assert repeats is (asked.backend == "openvino")  # in Keras 3.15
        assert np.array_equal(found["inference"][name], np.ones((64, 4, 64)))


def test_dropout_without_a_seed(asked: Subject) -> None:
    found = ask(asked, "dropout", layers=rnn(dropout=0.5))
    assert found["recurrent"] is found["again"] is found["inference"]["recurrent"] is None


def test_config(asked: Subject) -> None:
    l2 = {"kind": "L2", "l2": 0.5}
    orthogonal = {"kind": "Orthogonal", "gain": 0.5, "seed": 7}
    layers = [
        {**RNN, "kernel_regularizer": l2, "recurrent_initializer": orthogonal},
        {"kind": "Bidirectional", "layer": RNN},
    ]
    found = ask(asked, "config", layers=layers, weights=None)
    rnn, both = (found["layers"][name] for name in ("simple_rnn", "bidirectional"))
    assert rnn["activation"] == "relu"
    assert rnn["kernel_regularizer"] == l2
    assert rnn["recurrent_initializer"] == orthogonal
    assert (rnn["dtype"]["name"], rnn["bias_initializer"]) == ("float32", {"kind": "Zeros"})
    assert (both["layer"]["kind"], both["layer"]["activation"]) == ("SimpleRNN", "relu")
    assert found["optimizers"]["Adam"]["learning_rate"] == float(np.float32(0.001))
    assert found["optimizers"]["SGD"]["momentum"] == 0.0


def test_weights_are_made_twice(asked: Subject) -> None:
    seeded = {"kind": "RandomUniform", "seed": 0}
    found = ask(asked, "initialized", layers=rnn(kernel_initializer=seeded), weights=None)
    first, second = (found[which]["simple_rnn"] for which in ("first", "second"))
    assert first["kernel"].shape == (F, H)
    assert np.array_equal(first["kernel"], second["kernel"])
    assert not np.array_equal(first["recurrent_kernel"], second["recurrent_kernel"])


@pytest.mark.parametrize("mode", sampled(MODES, 3))
def test_losses(asked: Subject, mode: str) -> None:
    l1, l2 = {"kind": "L1", "l1": 2.0}, {"kind": "L2", "l2": 0.5}
    layers = rnn(kernel_regularizer=l2, recurrent_regularizer=l1)
    found = ask(asked, "losses", layers=layers, mode=mode)
    wanted = [np.sum(KERNEL**2) / 2, 2 * np.sum(abs(RECURRENT))]
    assert sorted(map(float, found["each"])) == sorted(wanted)
    assert found["losses"] == sum(wanted)
    assert found["activities"] == {}


def test_no_losses(asked: Subject) -> None:
    assert ask(asked, "losses") == {"losses": 0.0, "each": [], "activities": {}}


@pytest.mark.parametrize("mode", sampled(MODES, 3))
@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_losses_come_with_the_outputs_that_they_are_of(
    asked: Subject, kind: str, mode: str
) -> None:
    gated = {"kind": kind, "units": H, "activity_regularizer": {"kind": "L2", "l2": 0.5}}
    found = ask(asked, "losses", layers=[gated, DENSE], weights=None, mode=mode)
    output = found["activities"][kind.lower()].astype(np.float64)
    assert output.shape == (B, H)
    assert found["activities"].keys() == {kind.lower()}
    # squares and their sum, the share, and the division by the batch
    truth = np.sum(output**2) / 2 / B
    assert abs(found["losses"] - truth) <= (B * H + 4) * 2.0**-24 * truth


def test_a_mask_reaches_the_loss(asked: Subject) -> None:
    layers = [{"kind": "Masking", "mask_value": SKIPPED}, RNN]
    target = integers(B, T, H)
    loss = {"kind": "mse", "target": target}
    found = ask(asked, "evaluate", layers=layers, x=X_SKIPPED, loss=loss)
    states = states_of(X, mask=MASK)
    assert np.array_equal(found["output"], states)
    assert found["loss"].dtype == np.float64
    truth = np.mean((states - target)[MASK] ** 2)
    # B·T·H squares and their sum, the mask's weights, and two means
    assert abs(found["loss"] - truth) <= (2 * B * T * H + 8) * 2.0**-24 * truth


def test_one_step_of_fit(with_gradients: Subject) -> None:
    """Of B·T·H = 16 numbers, so that all is dyadic and exact."""
    x, target = X[:, :2], integers(B, 2, 4)
    small = {
        "kernel": RNG.integers(-1, 2, (F, 4)) * 1.0,
        "recurrent_kernel": RNG.integers(-1, 2, (4, 4)) * 1.0,
        "bias": np.array([1.0, 0.0, 2.0, -1.0]),
    }
    dense = {"kernel": np.eye(4), "bias": np.zeros(4)}
    found = ask(
        with_gradients, "fit_once",
        layers=[
            {**RNN, "units": 4, "recurrent_constraint": {"kind": "NonNeg"}},
            {**DENSE, "units": 4, "trainable": False},
        ],
        weights={"simple_rnn": small, "dense": dense},
        x=x, loss={"kind": "mse", "target": target}, learning_rate=0.5,
    )  # fmt: skip
    states, cache = over_time.forward(x, *small.values(), activation="relu")
    gradients = over_time.backward(2 * (states - target) / states.size, cache)._asdict()
    after = {name: array - gradients[name] / 2 for name, array in small.items()}
    after["recurrent_kernel"] = np.maximum(after["recurrent_kernel"], 0)
    for name, array in small.items():
        assert np.array_equal(found["before"]["simple_rnn"][name], array)
        assert np.array_equal(found["after"]["simple_rnn"][name], after[name]), name
    assert np.array_equal(found["after"]["dense"]["kernel"], np.eye(4))
    assert found["trainable"] == {"simple_rnn": list(small), "dense": []}


@pytest.mark.parametrize("mode", sampled(MODES, 3))
def test_one_update_of_a_layer_without_dropout(with_gradients: Subject, mode: str) -> None:
    x, target = X[:, :2], integers(B, 2, 4)
    small = {"kernel": np.eye(F, 4), "recurrent_kernel": np.eye(4)[::-1], "bias": np.ones(4)}
    found = ask(
        with_gradients, "one_update", layers=rnn(units=4), weights={"simple_rnn": small}, x=x,
        loss={"kind": "mse", "target": target}, learning_rate=0.5, mode=mode,
    )  # fmt: skip
    states, cache = over_time.forward(x, *small.values(), activation="relu")
    gradients = over_time.backward(2 * (states - target) / states.size, cache)._asdict()
    after = {name: array - gradients[name] / 2 for name, array in small.items()}
    assert found["loss"] == np.mean((states - target) ** 2)
    for name in small:
        assert np.array_equal(found["before"]["simple_rnn"][name], small[name])
        assert np.array_equal(found["after"]["simple_rnn"][name], after[name]), name
    # not exact any more: the weights are fractions by now
    states, bound = Running(SIMPLE, x, *after.values(), activation="relu").states["h"]
    assert (np.abs(found["output"] - states) <= bound).all()


@pytest.mark.parametrize("mode", sampled(MODES, 3))
def test_unknown_numbers_of_samples_and_timesteps(asked: Subject, mode: str) -> None:
    layers = [RNN, {**RNN, "return_sequences": False}]
    weights = {"simple_rnn": FIRST, "simple_rnn_1": SECOND}
    found = ask(asked, "dynamic", layers=layers, weights=weights, mode=mode)
    cuts = (X, X[:1], X[:, :1], X[:, : T // 2 + 1])
    for output, x in zip(found["outputs"], cuts, strict=True):
        assert np.array_equal(output, states_of(states_of(x), SECOND)[:, -1])


# -- dtypes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layer", "states"),
    [
        ({"kind": "SimpleRNN", "units": H}, 1),
        ({"kind": "LSTM", "units": H}, 2),
        ({"kind": "RNN", "cell": [{"kind": "SimpleRNNCell", "units": u} for u in (H, 2)]}, 2),
        ({"kind": "Bidirectional", "layer": {"kind": "SimpleRNN", "units": H}}, 2),
    ],
    ids=lambda value: value["kind"] if isinstance(value, dict) else "",
)
def test_the_control_of_a_wrong_state_is_given_every_state(
    asked: Subject, layer: dict[str, Any], states: int
) -> None:
    assert len(state_sizes(layer)) == states
    wrong = {"initial_state_shape": [B, H + 2]}
    question = request("raises", layers=[layer], wrong=wrong, weights={})
    found = answers(asked, question)["raises"]
    assert "raised" in found
    assert "returned" in found["control"], found["control"]


def test_a_float64_layer_leaves_floatx_as_it_is(asked: Subject) -> None:
    """What is no layer, a loss, computes in floatx: one that is float32 rounds."""
    layers = [{"kind": "Dense", "units": 1, "activation": "linear"}]
    target = np.full((B, T, 1), 1 + 2.0**-30)
    layers = rnn(units=H) + layers
    weights = {"dense": {"kernel": np.zeros((H, 1)), "bias": np.ones(1)}}
    asks = {"layers": layers, "weights": weights, "loss": {"kind": "mse", "target": target}}
    for floatx, loss in ((None, 0.0), ("float64", 2.0**-60)):
        more = {} if floatx is None else {"floatx": floatx}
        found = answers(asked, request("evaluate", dtype="float64", **asks, **more))["evaluate"]
        if "loss" in found:  # not every backend can evaluate in float64
            assert found["loss"] == loss


POLICIES = {
    "float32": "float32",
    "float64": "float64",
    "float16": "float16",
    "bfloat16": "bfloat16",
    "mixed_float16": "float16",
    "mixed_bfloat16": "bfloat16",
}


@pytest.mark.thinned(3)
@pytest.mark.parametrize("policy", POLICIES)
def test_dtype_policies(asked: Subject, policy: str) -> None:
    """Steps of ±1/0 weights: exact in 8 bits."""
    small = {"kernel": np.eye(F, H), "recurrent_kernel": np.eye(H)[::-1], "bias": np.ones(H)}
    weights = {"simple_rnn": small}
    # orthogonal initial weights need a QR factorization, which frameworks lack in bfloat16
    layers = rnn(recurrent_initializer="zeros")
    asks = ["output", "weights"] + (["probe"] if asked.identity.gradients else [])
    question = request(*asks, layers=layers, weights=weights, dtype=policy)
    observed, _ = plans.ask(asked, question)
    assert observed["output"]["dtype"] == POLICIES[policy]
    stored = "float32" if policy.startswith("mixed") else policy
    assert observed["weights"]["simple_rnn"]["kernel"]["dtype"] == stored
    states, cache = over_time.forward(X, *small.values(), activation="relu")
    assert np.array_equal(answers(asked, question)["output"], states)
    if asked.identity.gradients:
        assert observed["probe"]["delta"]["dtype"] == POLICIES[policy]
        delta = over_time.backward(COTANGENT, cache).delta
        assert np.array_equal(answers(asked, question)["probe"]["delta"], delta)


def test_64_bits_reach_the_framework_and_the_next_question_is_float32_again(
    asked: Subject,
) -> None:
    kernel = np.full((F, H), 1 + 2.0**-40)
    question = request("weights", "output", weights={"simple_rnn": {"kernel": kernel}})
    read = answers(asked, {**question, "dtype": "float64"})["weights"]["simple_rnn"]["kernel"]
    assert np.array_equal(read, kernel)
    after = answers(asked, question)
    assert after["output"].dtype == np.float32
    assert np.array_equal(after["weights"]["simple_rnn"]["kernel"], np.ones((F, H)))


# -- what cannot be asked --------------------------------------------------------------------------


def test_a_mode_that_the_backend_has_not_is_unsupported(asked: Subject) -> None:
    found = answers(asked, request("summary", "output", "probe", mode="warp"))
    assert found["summary"]["parameters"] == F * H + H * H + H
    reason = f"the {asked.backend} backend has no mode 'warp'"
    assert found["output"] == found["probe"] == {"unsupported": reason}


@pytest.mark.parametrize(
    "layers",
    [
        rnn(activation="tanhh"),
        [{"kind": "RNN", "cell": [{"kind": "SimpleRNNCell", "units": H, "activation": "tanhh"}]}],
        [{"kind": "Bidirectional", "layer": rnn(activation="tanhh")[0]}],
    ],
    ids=["layer", "cell", "wrapped"],
)
def test_what_this_keras_has_not_is_unsupported(asked: Subject, layers: Any) -> None:
    found = answers(
        asked, request("output", "round_trip", layers=layers, weights=None, how="keras")
    )
    reason = f"Keras {asked.identity.keras} has no activation 'tanhh'"
    assert found == {"output": {"unsupported": reason}, "round_trip": {"unsupported": reason}}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"layers": [{"kind": "NoSuchLayer"}]}, "NoSuchLayer"),
        ({"layers": rnn(units=0)}, "units"),
        ({"layers": rnn(colour="red")}, "colour"),
        ({"layers": [DENSE], "weights": None}, "none of the layers is recurrent"),
        ({"weights": {"lstm": {}}}, r"weights for \['lstm'\], but the layers are \['simple_rnn'\]"),
        ({"weights": {"simple_rnn": {"bais": BIAS}}}, "simple_rnn has no weight 'bais'"),
        (
            {"weights": {"simple_rnn": {"bias": KERNEL}}},
            r"bias of simple_rnn has shape \(3,\), not \(3, 3\)",
        ),
        ({"x": None, "input_shape": [T, F]}, "needs an input x"),
        ({"x": X[..., :2]}, "kernel of simple_rnn has shape"),
    ],
    ids=str,
)
def test_a_wrong_question_is_told_and_the_next_is_answered(
    asked: Subject, changes: dict[str, Any], words: str
) -> None:
    assert re.search(words, complaint(asked, {**request("output"), **changes})["error"])
    assert np.array_equal(answers(asked, request("output"))["output"], expected()["output"])


@pytest.mark.parametrize(
    ("loss", "words"),
    [
        (None, "this needs a loss"),
        ({"kind": "mae", "target": COTANGENT}, "unknown loss 'mae'"),
        (
            {"kind": "cotangent", "value": COTANGENT[:1]},
            r"shape \(1, 4, 3\), the output \(2, 4, 3\)",
        ),
    ],
    ids=["none", "unknown", "misshapen"],
)
def test_a_wrong_loss(with_gradients: Subject, loss: Any, words: str) -> None:
    for question in ("gradients", "probe"):
        assert re.search(words, complaint(with_gradients, request(question, loss=loss))["error"])


# -- a layer of the user's own ---------------------------------------------------------------------

LAYERS = """
import os, subprocess, sys
import keras
from beside import FACTOR

class Chatty(keras.layers.SimpleRNN):
    def call(self, sequences, **kwargs):
        print("calling", flush=True)
        os.write(1, b"to the file descriptor\\n")
        subprocess.run(["echo", "from a child"])
        sys.stdin.read()
        return super().call(sequences, **kwargs)

class Doubled(keras.layers.SimpleRNN):
    def call(self, sequences, **kwargs):
        return super().call(FACTOR * sequences, **kwargs)

class Raising(keras.layers.SimpleRNN):
    def call(self, sequences, **kwargs):
        raise NotImplementedError("not today")

class Leaving(keras.layers.SimpleRNN):
    def call(self, sequences, **kwargs):
        sys.exit(7)
"""


@pytest.fixture(scope="module")
def layers_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("user")
    (folder / "beside.py").write_text("FACTOR = 2.0")
    (folder / "json.py").write_text(LAYERS)  # called like a module that the subject uses
    return folder / "json.py"


def replaced(file: Path, name: str, *ask: str) -> dict[str, Any]:
    return request(*ask, replace={"SimpleRNN": f"{file}:{name}"})


def test_a_layer_that_stands_in_for_keras_s(asked: Subject, layers_file: Path) -> None:
    found = answers(asked, replaced(layers_file, "Doubled", "output"))
    states, _ = over_time.forward(2 * X, KERNEL, RECURRENT, BIAS, activation="relu")
    assert np.array_equal(found["output"], states)
    plain = answers(asked, request("output"))
    assert np.array_equal(plain["output"], expected()["output"])


def test_nothing_that_is_printed_reaches_the_pipe(asked: Subject, layers_file: Path) -> None:
    found = answers(asked, replaced(layers_file, "Chatty", "output", "states", "last_state"))
    assert np.array_equal(found["output"], expected()["output"])


def test_what_it_raises_is_told_with_its_traceback(asked: Subject, layers_file: Path) -> None:
    found = complaint(asked, replaced(layers_file, "Raising", "output"))
    assert re.search(r"NotImplementedError(.|\n)*not today", found["error"])
    assert f'File "{layers_file}"' in found["traceback"]


@pytest.mark.parametrize(
    ("where", "words"),
    [
        ("{}:Absent", "has no attribute 'Absent'"),
        ("{}", "is no Python file"),
        ("/no/such/file.py:Layer", "No such file"),
    ],
)
def test_a_layer_that_is_not_there(
    asked: Subject, layers_file: Path, where: str, words: str
) -> None:
    with pytest.raises(Raised, match=words):
        answers(asked, request("output", replace={"SimpleRNN": where.format(layers_file)}))


# -- a backend without gradients, and the end of a real process ------------------------------------


@pytest.fixture(scope="module")
def numpy_subject() -> Iterator[Subject]:
    with Subject("numpy") as subject:
        try:
            assert subject.identity.backend == "numpy"
        except NotInstalled as error:
            pytest.skip(str(error))
        yield subject


def test_a_backend_without_gradients_says_so(numpy_subject: Subject) -> None:
    found = answers(numpy_subject, request("output", "gradients", "probe"))
    assert np.array_equal(found["output"], expected()["output"])
    reason = "the numpy backend has no gradients"
    assert found["gradients"] == found["probe"] == {"unsupported": reason}


@long
def test_a_layer_that_ends_the_process(numpy_subject: Subject, layers_file: Path) -> None:
    with pytest.raises(SubjectError, match="ended with exit code 7"):
        answers(numpy_subject, replaced(layers_file, "Leaving", "output"))
    assert np.array_equal(answers(numpy_subject, request("output"))["output"], expected()["output"])
