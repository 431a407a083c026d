"""What does one timestep cost?

    pytest -n 0 --benchmark-only           every implementation at every size, grouped by size
    python tests/keras/test_benchmarks.py  the table of docs/speed.md: interleaved runs, and ratios

    ... test_benchmarks.py lstm gru        of these recurrences alone
    ... test_benchmarks.py --sizes 3       at the first three sizes
    ... test_benchmarks.py --certificates  of XLA and the certificates alone, in less time

SimpleRNN, LSTM and GRU (the reset after the product); one thread each, float32, Keras's default
activations, states for every step. Time is that of the processor. Every result is certified before
it is timed; the certificates that are timed themselves are those of what XLA returns, and of an
LSTM's cell states those of the reference, which shows them. Skipped in the plain test run; nothing
here fails for being slow.

What is left out, and why: unrolling 1000 steps, which traces a graph for minutes; with gates
unrolling at all, a second loop in NumPy, which the reference is, and Keras on NumPy.
"""

import argparse
import itertools
import multiprocessing
import os
import random
import sys
import time
from collections.abc import Callable, Collection, Iterator
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
from rnn_check.recurrences import gated, kinds, over_time

RECURRENCES = {"simple": "SimpleRNN", "lstm": "LSTM", "gru": "GRU"}
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
    kernel: Array  # (F,GH)
    recurrent_kernel: Array  # (H,GH)
    bias: Array  # (GH,), of a GRU (2,GH)
    recurrence: str = "simple"

    @property
    def weights(self) -> list[Array]:
        return [self.kernel, self.recurrent_kernel, self.bias]

    @property
    def recurrent(self) -> kinds.Recurrence:
        return kinds.recurrence(self.recurrence)

    def columns(self, order: str) -> list[Array]:
        """The weights, their gates in another order; two biases to one row each."""
        gates = self.recurrent.gates
        at = [gates.index(letter) for letter in order]
        split = (np.split(part, len(gates), axis=-1) for part in self.weights)
        return [np.concatenate([part[k] for k in at], axis=-1) for part in split]


@cache
def problem(recurrence: str, B: int, T: int, F: int, H: int) -> Problem:
    rng = np.random.default_rng(0)
    r = kinds.recurrence(recurrence)
    G, biases = len(r.gates), r.biases

    def normal(*shape: int, scale: float = 1.0) -> Array:
        return (scale * rng.normal(size=shape)).astype(np.float32)

    return Problem(
        normal(B, T, F), normal(F, G * H, scale=F**-0.5), normal(H, G * H, scale=H**-0.5),
        normal(*((G * H,) if biases == 1 else (biases, G * H))), recurrence,
    )  # fmt: skip


# The implementations: each takes a problem, prepares, and returns what is to be timed ------------


def matrix_products(p: Problem) -> Run:
    """The floor: the products that no implementation can do without, and nothing else."""
    B, T, F = p.x.shape
    H, wide = p.recurrent_kernel.shape
    x, projected = p.x.reshape(B * T, F), np.empty((B * T, wide), np.float32)
    h, product = np.tanh(p.x[:, 0] @ p.kernel[:, :H]), np.empty((B, wide), np.float32)

    def run() -> Any:
        np.dot(x, p.kernel, out=projected)
        for _ in range(T):
            np.dot(h, p.recurrent_kernel, out=product)
        return (x, p.kernel, projected), (h, p.recurrent_kernel, product)

    return run


def naive_loop(p: Problem) -> Run:
    x, W, U, b, _ = p

    def run() -> Any:
        h, states = np.zeros((len(x), len(U)), np.float32), []
        for t in range(x.shape[1]):
            h = np.tanh(x[:, t] @ W + h @ U + b)
            states.append(h)
        return np.stack(states, axis=1)

    return run


def the_reference(p: Problem) -> Run:
    if p.recurrence == "simple":
        return lambda: over_time.forward(*p[:4])[0]
    return lambda: gated.forward(p.recurrent, *p[:4]).states["h"]


def onnx_reference(p: Problem) -> Run:
    from onnx import TensorProto, checker, helper
    from onnx.reference import ReferenceEvaluator

    (B, T, _), H = p.x.shape, len(p.recurrent_kernel)
    kind = {"simple": "RNN", "lstm": "LSTM", "gru": "GRU"}[p.recurrence]
    W, U, b = p.weights if kind == "RNN" else p.columns({"LSTM": "iofc", "GRU": "zrh"}[kind])
    feed = {
        "X": p.x.swapaxes(0, 1).copy(),  # (T,B,F)
        "W": W.T[np.newaxis].copy(),  # (1,GH,F)
        "R": U.T[np.newaxis].copy(),  # (1,GH,H)
        "B": np.concatenate([b.ravel(), *([] if kind == "GRU" else [0 * b])])[np.newaxis],  # Wb, Rb
    }
    how = {"linear_before_reset": 1} if kind == "GRU" else {}
    inputs = [helper.make_tensor_value_info(n, TensorProto.FLOAT, a.shape) for n, a in feed.items()]
    output = helper.make_tensor_value_info("Y", TensorProto.FLOAT, (T, 1, B, H))
    node = helper.make_node(kind, list(feed), ["Y"], hidden_size=H, **how)
    model = helper.make_model(helper.make_graph([node], "rnn", inputs, [output]))
    checker.check_model(model)
    evaluator = ReferenceEvaluator(model)
    return lambda: evaluator.run(None, feed)[0][:, 0].swapaxes(0, 1)  # (T,1,B,H) to (B,T,H)


def torch_nn(p: Problem) -> Run:
    import torch

    torch.set_num_threads(1)
    kind = {"simple": "RNN", "lstm": "LSTM", "gru": "GRU"}[p.recurrence]
    order = {"LSTM": "ifco", "GRU": "rzh"}.get(kind, "")
    W, U, b = p.columns(order) if order else p.weights
    layer = getattr(torch.nn, kind)(p.x.shape[-1], len(U), batch_first=True)
    given = {"weight_ih_l0": W.T, "weight_hh_l0": U.T}
    given |= {"bias_ih_l0": b[0], "bias_hh_l0": b[1]} if kind == "GRU" else {
        "bias_ih_l0": b, "bias_hh_l0": 0 * b}  # fmt: skip
    layer.load_state_dict({n: torch.from_numpy(part.copy()) for n, part in given.items()})
    x = torch.from_numpy(p.x)

    def run() -> Any:
        with torch.inference_mode():
            return layer(x)[0].numpy()

    return run


def keras_layer(p: Problem, **options: Any) -> Any:
    import keras

    kind = getattr(keras.layers, RECURRENCES[p.recurrence])
    layer = kind(len(p.recurrent_kernel), return_sequences=True, **options)
    layer.build(p.x.shape)
    layer.set_weights(p.weights)
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
                start = time.process_time()
                states = layer(x)
                connection.send((time.process_time() - start, states))


def the_certificate(p: Problem) -> Run:
    """Of the states that Keras's XLA layer returned."""
    states = np.asarray(keras_xla(p)())
    return lambda: certify(states, **p._asdict())


def the_certificate_with_cell_states(p: Problem) -> Run:
    states = gated.forward(p.recurrent, *p[:4]).states
    return lambda: certify(states["h"], **p._asdict(), cell_states=states["c"])


def the_projected_certificate(p: Problem) -> Run:
    states, asked = np.asarray(keras_xla(p)()), p._asdict()
    del asked["recurrence"]
    return lambda: certify_projected(states, **asked)


IMPLEMENTATIONS: dict[str, Callable[[Problem], Run]] = {
    "matrix products alone": matrix_products,
    "reference": the_reference,
    "naive loop": naive_loop,
    "ONNX reference evaluator": onnx_reference,
    "torch.nn": torch_nn,
    "Keras, NumPy": KerasOnNumpy.prepare,
    "Keras, eager": keras_eager,
    "Keras, tf.function": keras_function,
    "Keras, tf.function unrolled": keras_unrolled,
    "Keras, XLA": keras_xla,
    "certify": the_certificate,
    "certify, cell states seen": the_certificate_with_cell_states,
    "certify_projected": the_projected_certificate,
}


def applies(name: str, recurrence: str, size: tuple[int, int, int, int]) -> bool:
    if name == "certify_projected":
        return recurrence == "simple" and size in SIZES[3:]
    if name == "certify, cell states seen":
        return recurrence == "lstm"
    if name in ("naive loop", "Keras, NumPy", "Keras, tf.function unrolled"):
        return recurrence == "simple" and not ("unrolled" in name and size[1] > 256)
    return True


def one_thread() -> Any:
    return threadpoolctl.threadpool_limits(limits=1)


def prepared(name: str, recurrence: str, size: tuple[int, int, int, int]) -> Run:
    """The implementation at this size, once run (traced, compiled) and its result certified."""
    p = problem(recurrence, *size)
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
    clock = KerasOnNumpy.clock if name == "Keras, NumPy" else time.process_time
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
    for recurrence, size in itertools.product(RECURRENCES, SIZES):
        sizes = ",".join(map(str, size))
        for name in IMPLEMENTATIONS:
            if applies(name, recurrence, size):
                timer = KerasOnNumpy.clock if name == "Keras, NumPy" else time.process_time
                group = f"{RECURRENCES[recurrence]}, B,T,F,H = {sizes}"
                mark = pytest.mark.benchmark(group=group, timer=timer)
                words = f"{name}-{recurrence}-{sizes}"
                found.append(pytest.param(name, recurrence, size, marks=mark, id=words))
    return found


@pytest.mark.parametrize(("name", "recurrence", "size"), cases())
def test_forward(
    benchmark: Any, name: str, recurrence: str, size: tuple[int, int, int, int]
) -> None:
    run = prepared(name, recurrence, size)
    once = seconds(name, run)
    calls = max(1, int(1e-3 / once))  # a round lasts a millisecond or more,
    rounds = min(max(5, int(1 / (once * calls))), 200)  # all of them a second or more
    benchmark.pedantic(run, iterations=calls, rounds=rounds, warmup_rounds=1)
    benchmark.extra_info["µs per timestep (median)"] = benchmark.stats["median"] / size[1] * 1e6


# python tests/keras/test_benchmarks.py -----------------------------------------------------------

AIMS = [  # of SimpleRNN: (implementation, at most or at least, times, of what, sizes)
    ("reference", "≤", 1.15, "matrix products alone", SIZES[3:]),
    ("reference", "≤", 2.2, "matrix products alone", SIZES[1:2]),
    ("ONNX reference evaluator", "≥", 3, "reference", SIZES[1:2]),
    ("Keras, NumPy", "≥", 50, "reference", SIZES[1:2]),
    ("certify", "≤", 0.4, "Keras, XLA", SIZES[1:2]),
    ("certify", "≤", 1.0, "Keras, XLA", SIZES[2:]),
    ("certify_projected", "≤", 0.05, "Keras, XLA", SIZES[4:]),
]
TO_XLA = ("reference", "torch.nn", "certify", "certify, cell states seen", "certify_projected")
CERTIFICATES = ("matrix products alone", "Keras, XLA", *(n for n in TO_XLA if "certify" in n))
Measured = dict[str, float]  # implementation: seconds per pass


def measure(
    recurrence: str,
    size: tuple[int, int, int, int],
    names: Collection[str] = IMPLEMENTATIONS,
    budget: float = 30.0,
) -> Measured:
    """Seconds of the processor per pass, the least of several: rounds in which each implementation
    runs once, in any order, so that what else the machine does disturbs all of them alike.

    Three rounds of all, then more without the slow ones, seven at least and until the budget (in
    seconds on the wall) is spent; but no round begins after four times that, if there were two. The
    least is what was disturbed least.
    """
    runs = {}
    for name in names:
        if applies(name, recurrence, size):
            try:
                runs[name] = prepared(name, recurrence, size)
            except pytest.skip.Exception as reason:
                print(f"{name}: {reason}", file=sys.stderr)
    once = {name: seconds(name, run) for name, run in runs.items()}
    calls = {name: max(1, int(2e-3 / once[name])) for name in runs}
    quick = [name for name in runs if once[name] < 20 * min(once.values())]
    least = dict.fromkeys(runs, float("inf"))
    start, rounds = time.perf_counter(), 0
    while (spent := time.perf_counter() - start) < budget or rounds < 7:
        if rounds >= 2 and spent > 4 * budget:
            break
        now = list(runs) if rounds < 3 else quick
        for name in random.sample(now, len(now)):
            took = seconds(name, runs[name], calls[name]) / calls[name]
            least[name] = min(least[name], took)
        rounds += 1
    print(recurrence, size, rounds, "rounds:", least, file=sys.stderr, flush=True)
    return least


def table(measured: dict[tuple[int, int, int, int], Measured]) -> Iterator[str]:
    """Markdown: µs per timestep, and what of that is said as a share of XLA's time."""
    yield "| B,T,F,H | " + " | ".join(",".join(map(str, size)) for size in measured) + " |"
    yield "|---|" + "---:|" * len(measured)
    for name in IMPLEMENTATIONS:
        cells = [
            f"{least[name] / size[1] * 1e6:.3g}" if name in least else "–"
            for size, least in measured.items()
        ]
        if set(cells) != {"–"}:
            yield f"| {name} | " + " | ".join(cells) + " |"
    for name in TO_XLA:
        ratios = [
            f"{least[name] / least['Keras, XLA']:.2f}" if name in least else "–"
            for least in measured.values()
        ]
        if set(ratios) != {"–"}:
            yield f"| *{name}, times XLA* | " + " | ".join(ratios) + " |"


def aims(measured: dict[tuple[int, int, int, int], Measured]) -> Iterator[str]:
    yield "| aim | B,T,F,H | measured | |"
    yield "|---|---|---:|---|"
    for name, sign, times, of, sizes in AIMS:
        for size in sizes:
            least = measured.get(size, {})
            if name in least and of in least:
                ratio = least[name] / least[of]
                met = "met" if (ratio <= times) == (sign == "≤") else "missed"
                words = f"{name} {sign} {times} × {of}", ",".join(map(str, size)), f"{ratio:.2f}"
                yield "| " + " | ".join((*words, met)) + " |"


def main() -> None:
    """Prints Markdown: a table for each recurrence, and of SimpleRNN what was aimed at."""
    import cpuinfo  # comes with pytest-benchmark

    parser = argparse.ArgumentParser()
    parser.add_argument("recurrences", nargs="*", metavar="recurrence", help=", ".join(RECURRENCES))
    parser.add_argument("--sizes", type=int, default=len(SIZES), help="the first so many alone")
    parser.add_argument("--certificates", action="store_true", help="these and XLA alone")
    parser.add_argument("--seconds", type=float, default=30.0, help="of each size, at least")
    given = parser.parse_args()
    asked = given.recurrences or list(RECURRENCES)
    if unknown := set(asked) - RECURRENCES.keys():
        parser.error(f"unknown {sorted(unknown)}; known: {', '.join(RECURRENCES)}")
    if given.sizes < 1:
        parser.error(f"--sizes {given.sizes}: 1 at least")
    cpu = cpuinfo.get_cpu_info()
    simd = "AVX-512" if "avx512f" in cpu["flags"] else "no AVX-512"
    packages = (
        f"{name} {version(name)}" for name in ("numpy", "keras", "tensorflow", "torch", "onnx")
    )
    print(f"µs per timestep; one thread of {cpu['brand_raw']} ({simd}); {', '.join(packages)}")
    for recurrence in asked:
        with one_thread():
            names = CERTIFICATES if given.certificates else IMPLEMENTATIONS
            sizes = SIZES[: given.sizes]
            measured = {size: measure(recurrence, size, names, given.seconds) for size in sizes}
        lines = [f"\n{RECURRENCES[recurrence]}\n", *table(measured)]
        print("\n".join([*lines, *(["", *aims(measured)] if recurrence == "simple" else [])]))


if __name__ == "__main__":
    main()
