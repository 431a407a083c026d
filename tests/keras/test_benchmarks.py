"""What does one timestep cost?

    pytest -n 0 --benchmark-only           every implementation at every size, grouped by size
    python tests/keras/test_benchmarks.py  the table of docs/speed.md: interleaved runs, and ratios

One thread each, float32, tanh, states for every step. Every result is certified before it is
timed; the certificates that are timed themselves are those of what XLA returns. Skipped in the
plain test run; nothing here fails for being slow.

What is left out, and why: unrolling 1000 steps, which traces a graph for minutes.
"""

import multiprocessing
import os
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from functools import cache
from importlib import util
from importlib.metadata import version
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

import numpy as np
import pytest
import threadpoolctl

from rnn_check.certificates.dense import certify_dense
from rnn_check.certificates.public import certify, certify_projected
from rnn_check.certificates.result import Certificate
from rnn_check.numbers.formats import Array
from rnn_check.recurrences import over_time

SIZES = [  # B,T,F,H
    (1, 3, 2, 3),
    (1, 1000, 2, 3),
    (32, 100, 16, 32),
    (32, 100, 128, 256),
    (64, 256, 512, 512),
]
Run = Callable[[], Any]  # one pass over the sequence; what it returns, `states_of` reads


class Problem(NamedTuple):
    """One layer and its input, float32."""

    x: Array  # (B,T,F)
    kernel: Array  # (F,H)
    recurrent_kernel: Array  # (H,H)
    bias: Array  # (H,)


@cache
def problem(B: int, T: int, F: int, H: int) -> Problem:
    rng = np.random.default_rng(0)

    def normal(*shape: int, scale: float = 1.0) -> Array:
        return (scale * rng.normal(size=shape)).astype(np.float32)

    return Problem(
        normal(B, T, F), normal(F, H, scale=F**-0.5), normal(H, H, scale=H**-0.5), normal(H)
    )


# The implementations: each takes a problem, prepares, and returns what is to be timed ------------


def matrix_products(p: Problem) -> Run:
    """The floor: the products that no implementation can do without, and nothing else."""
    B, T, F = p.x.shape
    H = len(p.recurrent_kernel)
    x, projected = p.x.reshape(B * T, F), np.empty((B * T, H), np.float32)
    h, product = np.tanh(p.x[:, 0] @ p.kernel), np.empty((B, H), np.float32)

    def run() -> Any:
        np.dot(x, p.kernel, out=projected)
        for _ in range(T):
            np.dot(h, p.recurrent_kernel, out=product)
        return (x, p.kernel, projected), (h, p.recurrent_kernel, product)

    return run


def naive_loop(p: Problem) -> Run:
    x, W, U, b = p

    def run() -> Any:
        h, states = np.zeros((len(x), len(U)), np.float32), []
        for t in range(x.shape[1]):
            h = np.tanh(x[:, t] @ W + h @ U + b)
            states.append(h)
        return np.stack(states, axis=1)

    return run


def the_reference(p: Problem) -> Run:
    return lambda: over_time.forward(*p)[0]


def onnx_reference(p: Problem) -> Run:
    from onnx import TensorProto, checker, helper
    from onnx.reference import ReferenceEvaluator

    (B, T, _), H = p.x.shape, len(p.recurrent_kernel)
    feed = {
        "X": p.x.swapaxes(0, 1).copy(),  # (T,B,F)
        "W": p.kernel.T[np.newaxis].copy(),  # (1,H,F)
        "R": p.recurrent_kernel.T[np.newaxis].copy(),  # (1,H,H)
        "B": np.concatenate([p.bias, 0 * p.bias])[np.newaxis],  # (1,2H) Wb and Rb
    }
    inputs = [helper.make_tensor_value_info(n, TensorProto.FLOAT, a.shape) for n, a in feed.items()]
    output = helper.make_tensor_value_info("Y", TensorProto.FLOAT, (T, 1, B, H))
    node = helper.make_node("RNN", list(feed), ["Y"], hidden_size=H)
    model = helper.make_model(helper.make_graph([node], "rnn", inputs, [output]))
    checker.check_model(model)
    evaluator = ReferenceEvaluator(model)
    return lambda: evaluator.run(None, feed)[0][:, 0].swapaxes(0, 1)  # (T,1,B,H) to (B,T,H)


def keras_layer(p: Problem, **options: Any) -> Any:
    import keras

    layer = keras.layers.SimpleRNN(len(p.bias), return_sequences=True, **options)
    layer.build(p.x.shape)
    layer.set_weights(p[1:])
    return layer


@cache
def tensorflow() -> Any:
    """TensorFlow on one thread, under Keras."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import keras
    import tensorflow

    if keras.backend.backend() != "tensorflow":
        pytest.skip(f"Keras runs on {keras.backend.backend()} here, not on TensorFlow")
    tensorflow.config.threading.set_intra_op_parallelism_threads(1)
    tensorflow.config.threading.set_inter_op_parallelism_threads(1)
    return tensorflow


def keras_eager(p: Problem) -> Run:
    x, layer = tensorflow().constant(p.x), keras_layer(p)
    return lambda: layer(x)


def keras_function(p: Problem, *, jit_compile: bool = False, unroll: bool = False) -> Run:
    tf = tensorflow()
    x, compiled = (
        tf.constant(p.x),
        tf.function(keras_layer(p, unroll=unroll), jit_compile=jit_compile),
    )
    return lambda: compiled(x)


def keras_unrolled(p: Problem) -> Run:
    return keras_function(p, unroll=True)


def keras_xla(p: Problem) -> Run:
    return keras_function(p, jit_compile=True)


class KerasOnNumpy:
    """Keras's NumPy backend. Keras fixes its backend at import, so it runs in a process of its own;
    that process reads the clock itself, and `clock` is what it has read: no pipe is ever timed.
    """

    connection: Connection | None = None
    seconds = 0.0

    @classmethod
    def clock(cls) -> float:
        return cls.seconds

    @classmethod
    def prepare(cls, p: Problem) -> Run:
        missing = [m for m in ("keras", "jax", "scipy") if util.find_spec(m) is None]
        if missing:
            pytest.skip(f"Keras's NumPy backend needs {' and '.join(missing)}: not installed")
        if cls.connection is None:
            spawn = multiprocessing.get_context("spawn")
            cls.connection, theirs = spawn.Pipe()
            spawn.Process(target=cls._serve, args=(theirs,), daemon=True).start()
        cls._ask(p)
        return cls._run

    @classmethod
    def _run(cls) -> Any:
        seconds, states = cls._ask(None)
        cls.seconds += seconds
        return states

    @classmethod
    def _ask(cls, request: Problem | None) -> Any:
        assert cls.connection is not None
        cls.connection.send(request)
        return cls.connection.recv()

    @staticmethod
    def _serve(connection: Connection) -> None:
        os.environ["KERAS_BACKEND"] = "numpy"
        with one_thread():
            while True:
                try:
                    request = connection.recv()
                except EOFError:
                    return
                if request is not None:
                    x, layer = request.x, keras_layer(request)
                    connection.send(None)
                    continue
                start = time.perf_counter()
                states = layer(x)
                connection.send((time.perf_counter() - start, states))


def the_certificate(p: Problem) -> Run:
    """Of the states that Keras's XLA layer returned."""
    states = np.asarray(keras_xla(p)())
    return lambda: certify(states, **p._asdict())


def the_projected_certificate(p: Problem) -> Run:
    states = np.asarray(keras_xla(p)())
    return lambda: certify_projected(states, **p._asdict())


IMPLEMENTATIONS: dict[str, Callable[[Problem], Run]] = {
    "matrix products alone": matrix_products,
    "reference": the_reference,
    "naive loop": naive_loop,
    "ONNX reference evaluator": onnx_reference,
    "Keras, NumPy": KerasOnNumpy.prepare,
    "Keras, eager": keras_eager,
    "Keras, tf.function": keras_function,
    "Keras, tf.function unrolled": keras_unrolled,
    "Keras, XLA": keras_xla,
    "certify": the_certificate,
    "certify_projected": the_projected_certificate,
}


def applies(name: str, size: tuple[int, int, int, int]) -> bool:
    if name == "certify_projected":
        return size in SIZES[3:]
    return not ("unrolled" in name and size[1] > 256)


def one_thread() -> Any:
    return threadpoolctl.threadpool_limits(limits=1)


def prepared(name: str, size: tuple[int, int, int, int]) -> Run:
    """The implementation at this size, once run (traced, compiled) and its result certified."""
    p = problem(*size)
    run = IMPLEMENTATIONS[name](p)
    result = run()
    if isinstance(result, Certificate):
        assert result.ok, result.reason
    elif name == "matrix products alone":
        for h, kernel, product in result:
            certificate = certify_dense(product, h=h, kernel=kernel)
            assert certificate.ok, certificate.reason
    else:
        certificate = certify(np.asarray(result), **p._asdict())
        assert certificate.ok, certificate.reason
    return run


def seconds(name: str, run: Run, calls: int = 1) -> float:
    clock = KerasOnNumpy.clock if name == "Keras, NumPy" else time.perf_counter
    start = clock()
    for _ in range(calls):
        run()
    return clock() - start


# pytest --benchmark-only -------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    with one_thread():
        yield


def cases() -> list[Any]:
    found = []
    for size in SIZES:
        sizes = ",".join(map(str, size))
        for name in IMPLEMENTATIONS:
            if applies(name, size):
                timer = KerasOnNumpy.clock if name == "Keras, NumPy" else time.perf_counter
                mark = pytest.mark.benchmark(group=f"B,T,F,H = {sizes}", timer=timer)
                found.append(pytest.param(name, size, marks=mark, id=f"{name}-{sizes}"))
    return found


@pytest.mark.parametrize(("name", "size"), cases())
def test_forward(benchmark: Any, name: str, size: tuple[int, int, int, int]) -> None:
    run = prepared(name, size)
    once = seconds(name, run)
    calls = max(1, int(1e-3 / once))  # a round lasts a millisecond or more,
    rounds = min(max(5, int(1 / (once * calls))), 200)  # all of them a second or more
    benchmark.pedantic(run, iterations=calls, rounds=rounds, warmup_rounds=1)
    benchmark.extra_info["µs per timestep (median)"] = benchmark.stats["median"] / size[1] * 1e6


# python tests/keras/test_benchmarks.py -----------------------------------------------------------

AIMS = [  # (implementation, at most or at least, times, of what, sizes)
    ("reference", "≤", 1.25, "matrix products alone", SIZES[3:]),
    ("reference", "≤", 2.2, "matrix products alone", SIZES[1:2]),
    ("ONNX reference evaluator", "≥", 3, "reference", SIZES[1:2]),
    ("Keras, NumPy", "≥", 50, "reference", SIZES[1:2]),
    ("certify", "≤", 0.2, "Keras, XLA", SIZES[1:2]),
    ("certify", "≤", 1.0, "Keras, XLA", SIZES[2:3]),
    ("certify", "≤", 2.0, "Keras, XLA", SIZES[3:]),
    ("certify_projected", "≤", 0.1, "Keras, XLA", SIZES[4:]),
]


def measure(size: tuple[int, int, int, int], budget: float = 30.0) -> dict[str, list[float]]:
    """Seconds per pass: rounds in which each implementation runs once, in any order.

    Seven rounds of all, then more without the slow ones until the budget (in seconds) is spent. The
    i-th samples of any two were taken side by side, so their ratio outlives a change of clock.
    """
    runs = {}
    for name in IMPLEMENTATIONS:
        if applies(name, size):
            try:
                runs[name] = prepared(name, size)
            except pytest.skip.Exception as reason:
                print(f"{name}: {reason}", file=sys.stderr)
    once = {name: seconds(name, run) for name, run in runs.items()}
    calls = {name: max(1, int(2e-3 / once[name])) for name in runs}
    quick = [name for name in runs if once[name] < 20 * min(once.values())]
    samples: dict[str, list[float]] = {name: [] for name in runs}
    start, rounds = time.perf_counter(), 0
    while rounds < 7 or time.perf_counter() - start < budget:
        names = list(runs) if rounds < 7 else quick
        for name in random.sample(names, len(names)):
            samples[name].append(seconds(name, runs[name], calls[name]) / calls[name])
        rounds += 1
    return samples


def main() -> None:
    """Prints Markdown: µs per timestep, and the ratios aimed at (medians over all rounds)."""
    import cpuinfo  # comes with pytest-benchmark

    with one_thread():
        measured = {size: measure(size) for size in SIZES}
    cpu = cpuinfo.get_cpu_info()
    simd = "AVX-512" if "avx512f" in cpu["flags"] else "no AVX-512"
    packages = (f"{name} {version(name)}" for name in ("numpy", "keras", "tensorflow", "onnx"))
    print(f"µs per timestep; one thread of {cpu['brand_raw']} ({simd}); {', '.join(packages)}\n")
    print("| B,T,F,H |", " | ".join(",".join(map(str, size)) for size in SIZES), "|")
    print("|---|" + "---:|" * len(SIZES))
    for name in IMPLEMENTATIONS:
        cells = [
            f"{statistics.median(samples[name]) / size[1] * 1e6:.3g}" if name in samples else "–"
            for size, samples in measured.items()
        ]
        print(f"| {name} |", " | ".join(cells), "|")
    print("\n| aim | B,T,F,H | measured | |\n|---|---|---:|---|")
    for name, sign, times, of, sizes in AIMS:
        for size in sizes:
            pairs = zip(measured[size].get(name, []), measured[size][of], strict=False)
            if ratios := [a / b for a, b in pairs]:
                ratio = statistics.median(ratios)
                met = "met" if (ratio <= times) == (sign == "≤") else "missed"
                row = (f"{name} {sign} {times} × {of}", ",".join(map(str, size)), f"{ratio:.2f}")
                print("|", " | ".join(row), "|", met, "|")


if __name__ == "__main__":
    main()
