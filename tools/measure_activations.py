"""How far is each activation of Keras from the truth, on each backend?

    python -m tools.measure_activations --table docs/activations.md

Evaluates every elementwise activation, and its derivative where the backend differentiates, on one
thread of a CPU: on every finite float16 and bfloat16, on a dense sample of float32 (all of them
with --exhaustive, hours) and of float64. Errors are in the units of spread.activation_unit and
derivative_unit, after what is allowed beside; an Activation's `measured` holds the largest, and
DEVIATIONS what is no rounding. The truth is activations.py's in float64, and in 80 bits for
float64; the tests hold both against mpmath. One line of JSON a backend, activation and dtype; what
is there is not measured again, so that a run can be stopped, and done one --backend and --dtype at
a time. --workers and --scheduler share the activations: for --exhaustive, as each is a process.
"""

import argparse
import functools
import itertools
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import version
from importlib.util import find_spec
from math import ceil, floor, log10
from pathlib import Path
from typing import Any

import numpy as np

from rnn_check.numbers import activations as numbers_activations
from rnn_check.numbers import spread
from rnn_check.numbers.formats import ARITHMETICS, Arithmetic
from tools import sharing

ROWS = ("softmax", "log_softmax")  # of several numbers; sparsemax is wrong on every backend
ACTIVATIONS = numbers_activations.ACTIVATIONS
ELEMENTWISE = tuple(n for n, act in ACTIVATIONS.items() if act.derivative and act.name == n)
NAMES = (*ELEMENTWISE, *ROWS)
DTYPES = ("float16", "bfloat16", "float32", "float64")
MODES = {
    "tensorflow": ("eager", "function", "xla"),
    "jax": ("eager", "xla"),
    "torch": ("eager",),
    "numpy": ("eager",),
    "openvino": ("eager", "predict"),  # a constant folded, and a compiled model
}
CONSTANTS = {
    "value": {name: ACTIVATIONS[name].c for name in NAMES},
    "derivative": {name: ACTIVATIONS[name].c_slope for name in NAMES},
}
CHUNK, BLOCK = 2**20, 2**15  # what Keras is asked at once; what fits into a cache in float64
# Of 2^-24 <= |z| < 2^7, where almost everything happens, that many; of all the rest a quarter.
COUNTS = {"float32": 4_000_000, "float64": 400_000}
RESULTS = Path("docs/activations.jsonl")
COMMAND = [sys.executable, "-m", "tools.measure_activations"]


# What is no rounding --------------------------------------------------------------------------


@dataclass(frozen=True)
class Deviation:
    """Where a backend is off by more than its format's precision or its documentation admits."""

    backend: str
    activations: tuple[str, ...]
    what: str
    dtypes: tuple[str, ...]
    place: str
    where: Callable[[Any, Arithmetic], Any]  # which of the numbers z: the place, with some room
    why: str
    reproducer: str  # in fixtures/known/
    modes: tuple[str, ...] = ()  # all, if none are named
    avx512: bool = False  # seen where the processor has AVX-512, and not where it has AVX2 alone

    def holds(self, backend: str, activation: str, dtype: str, what: str, mode: str) -> bool:
        return (
            backend == self.backend
            and activation in self.activations
            and dtype in self.dtypes
            and what == self.what
            and (not self.modes or mode in self.modes)
        )


V, D = "value", "derivative"
WIDE, LARGE, ALL = ("float64",), ("bfloat16", "float32", "float64"), DTYPES
SINGLE = ("bfloat16", "float32")  # float64 is then judged as a whole
_PLACES: dict[str, Callable[[Any, Arithmetic], Any]] = {
    "everywhere": lambda z, a: np.ones(z.shape, bool),
    "z < 0": lambda z, a: z < 0,
    "z > 0": lambda z, a: z > 0,
    "-1 < z < 0": lambda z, a: (z > -1) & (z < 0),
    "|z| < 3": lambda z, a: abs(z) <= 3,
    "z > 20": lambda z, a: z > 20,
    "z > 88.37": lambda z, a: z > 88.37,
    "0, subnormals": lambda z, a: abs(z) < a.min_normal,
    "z > max/6": lambda z, a: z > a.max / 6.1,
    "z > max/2": lambda z, a: z > a.max / 2.1,
    "|z| > max/2": lambda z, a: abs(z) > a.max / 2.1,
}


def _deviations() -> Iterator[Deviation]:
    def entry(
        backend: str,
        names: str,
        whats: str,
        dtypes: tuple[str, ...],
        place: str,
        why: str,
        file: str,
        *modes: str,
        avx512: bool = False,
    ) -> Iterator[Deviation]:
        for what in whats.split():
            activations = tuple(names.split())
            where = _PLACES[place]
            yield Deviation(
                backend, activations, what, dtypes, place, where, why, file, modes, avx512
            )

    narrow = "computed in float32: Keras makes float32 of float64"
    constant = "a constant of float32 in float64"
    file = "float64_activations.py"
    every = [name for name in NAMES if name != "linear"]
    yield from entry("openvino", " ".join(every), V, WIDE, "everywhere", narrow, file)
    every = [n for n in every if n not in (*ROWS, "hard_sigmoid", "soft_shrink", "sparse_plus")]
    yield from entry("numpy", " ".join(every), V, WIDE, "everywhere", narrow, file)
    yield from entry("jax", "tanh", f"{V} {D}", WIDE, "everywhere", narrow, file)
    yield from entry("tensorflow", "leaky_relu", f"{V} {D}", WIDE, "z < 0", constant, file)
    yield from entry("tensorflow", "gelu", f"{V} {D}", WIDE, "everywhere", constant, file)
    yield from entry("torch", "hard_sigmoid", D, WIDE, "|z| < 3", constant, file)
    why = "z itself, right to float32's precision only (PyTorch's `threshold`)"
    yield from entry("torch", "softplus", f"{V} {D}", WIDE, "z > 20", why, file)

    file = "activation_overflow.py"
    why = "z·6 overflows before it is divided by 6"
    yield from entry("torch", "hard_silu", V, LARGE, "z > max/6", why, file)
    yield from entry("openvino", "hard_silu", V, SINGLE, "z > max/6", why, file, "eager")
    why = "z·(1 + erf) overflows before it is halved"
    yield from entry("numpy", "gelu", V, ("float16", *SINGLE), "z > max/2", why, file)
    yield from entry("torch", "gelu", V, SINGLE, "z > max/2", why, file, avx512=True)
    yield from entry("openvino", "gelu", V, SINGLE, "z > max/2", why, file, "predict", avx512=True)
    why = "the branch not taken overflows, and 0·inf is NaN"
    yield from entry("jax", "sparse_plus", D, ALL, "|z| > max/2", why, file)
    yield from entry("torch", "sparse_plus", D, ALL, "|z| > max/2", why, file)
    why = "infinite, though exp(z) is below 3.4e38 up to 88.72"
    yield from entry("openvino", "exponential", V, SINGLE, "z > 88.37", why, file, "predict")

    file = "activation_cancels.py"
    why = "exp(z) - 1 cancels"
    yield from entry("openvino", "celu", V, SINGLE, "-1 < z < 0", why, file)
    why = "log(1 + exp(z)) cancels, and what is left is not 0"
    yield from entry("openvino", "softplus mish", V, SINGLE, "z < 0", why, file)
    yield from entry("openvino", "log_sigmoid", V, SINGLE, "z > 0", why, file)

    why = "tf.function fuses it into one that cancels, where no gradient is asked for"
    file = "fused_mish.py"
    yield from entry("tensorflow", "mish", V, SINGLE, "z < 0", why, file, "function", avx512=True)

    why = "maximum and minimum both pass the gradient on: 2, not 1"
    yield from entry("tensorflow", "celu", D, ALL, "0, subnormals", why, "celu_at_zero.py")


DEVIATIONS = tuple(_deviations())


# The truth ------------------------------------------------------------------------------------


def _normal(z: Any) -> tuple[Any, Any]:
    """Φ(z) and its density in 80 bits: a series of positive terms, and a continued fraction."""
    x = abs(z).clip(0, 200) / np.sqrt(np.longdouble(2))
    square = x * x
    term = series = 2 * x
    for n in range(1, 90):
        term = term * 2 * square / (2 * n + 1)
        series = series + term
    far = fraction = np.maximum(x, 2)
    for n in range(120, 0, -1):
        fraction = far + np.longdouble(n) / 2 / fraction
    root = np.sqrt(np.longdouble(PI))
    decay = np.exp(-square)
    tail = np.where(x < 2.5, 1 - series * decay / root, decay / root / fraction) / 2
    return np.where(z < 0, tail, 1 - tail), decay / root / np.sqrt(np.longdouble(2))


PI = np.longdouble("3.14159265358979323846264338327950288")
SELU = np.longdouble("1.0507009873554804934193349852946")
SELU_ALPHA = SELU * np.longdouble("1.6732632423543772848170429916717")


def _gelu(z: Any) -> tuple[Any, Any]:
    whole, density = _normal(z)
    return z * whole, whole + z * density


# reference.py's constants, and the C library's erfc, are of 53 bits
EXTENDED: dict[str, Callable[[Any], tuple[Any, Any]]] = {
    "gelu": _gelu,
    "leaky_relu": lambda z: (np.where(z > 0, z, z / 5), np.where(z > 0, 1, 1 / np.longdouble(5))),
    "selu": lambda z: (
        np.where(z > 0, SELU * z, SELU_ALPHA * np.expm1(np.minimum(z, 0))),
        np.where(z >= 0, SELU, SELU_ALPHA * np.exp(np.minimum(z, 0))),
    ),
}


def truth(name: str, z: Any) -> tuple[Any, Any]:
    """act(z) and act'(z) in the precision of z: float64 or longdouble."""
    if z.dtype == np.longdouble and name in EXTENDED:
        return EXTENDED[name](z)
    act = numbers_activations.activation(name)
    assert act.derivative is not None
    h = act.function(z)
    return h, act.derivative(z, h)


# The numbers ----------------------------------------------------------------------------------


def kind_of(dtype: str) -> Any:
    import ml_dtypes

    return np.dtype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)


def borders(dtype: str) -> list[float]:
    """Where activations turn, bend, jump, saturate, change formula or overflow."""
    a = ARITHMETICS[dtype]
    listed = {abs(at) for s in ACTIVATIONS.values() for at, _ in (*s.turns, *s.slopes)}
    ends = [0.02, 0.1, 0.3, 0.55, 0.625, 1, 2, 4, 5, 8, 9, 10, 13, 14.5, 16.6, 17.3, 18, 20, 37, 40]
    ends += [87.3, 88.7, 103.9, 708, 745, *(v for v in listed if v)]
    ends += [a.min_normal, a.u, a.u**0.5, a.max / 6, a.max / 4, a.max / 2, a.max, a.max**0.5]
    return [v for v in ends if a.min_normal <= v <= a.max]


@functools.cache
def numbers(dtype: str, count: int | None) -> Any:
    """Finite numbers in the order of their bits: all if count is None (not for float64)."""
    kind = kind_of(dtype)
    whole = np.dtype(f"u{kind.itemsize}")

    def bits(v: float) -> int:
        return int(np.array([v]).astype(kind).view(whole)[0])

    end = bits(ARITHMETICS[dtype].max) + 1
    if count is None or kind.itemsize == 2:
        positive = np.arange(end, dtype=whole)
    else:
        low, high = bits(2.0**-24), bits(2.0**7)
        near = np.arange(low, high, max((high - low) * 2 // count, 1) | 1, dtype=whole)
        far = max((end - high + low) * 8 // count, 1) | 1
        parts = [near, np.arange(0, low, far, dtype=whole), np.arange(high, end, far, dtype=whole)]
        for border in (0, *map(bits, borders(dtype))):
            parts.append(np.arange(max(border - 1024, 0), min(border + 1025, end), dtype=whole))
        positive = np.unique(np.concatenate(parts))
    return np.concatenate([positive, positive | whole.type(1 << (8 * whole.itemsize - 1))])


WIDTH, ROW_COUNT = 9, 2**16


def rows(dtype: str) -> Any:
    """Rows (N,9) of normal numbers, of standard deviations from 1/100 to 100."""
    rng = np.random.default_rng(0)
    size = 10 ** rng.uniform(-2, 2, (ROW_COUNT, 1))
    return (size * rng.normal(size=(ROW_COUNT, WIDTH))).astype(kind_of(dtype))


def chunks(name: str, dtype: str, count: int | None) -> Iterator[Any]:
    """The numbers in chunks of one size, so that nothing is compiled twice."""
    if name in ROWS:
        yield rows(dtype)
        return
    found = numbers(dtype, count)
    size = min(CHUNK, found.size)
    for start in range(0, found.size, size):
        yield np.resize(found[start : start + size], size).view(kind_of(dtype))


# The backends ---------------------------------------------------------------------------------


def asker(backend: str, name: str, mode: str, dtype: str) -> Callable[[Any], tuple[Any, ...]]:
    """A function of numbers that returns act, and act' where the backend differentiates.

    act is asked without act': compilers fuse what nothing else needs (mish, in tf.function).
    """
    import keras

    act = keras.activations.get(name)
    if backend == "tensorflow":
        import tensorflow as tf

        def both(x: Any) -> Any:
            with tf.GradientTape() as tape:
                tape.watch(x)
                y = act(x)
            return y, tape.gradient(y, x)

        alone, run = act, both
        if mode != "eager":
            alone, run = (tf.function(f, jit_compile=mode == "xla") for f in (act, both))

        def ask(z: Any) -> Any:
            x = tf.constant(z)
            return alone(x).numpy(), run(x)[1].numpy()

        return ask
    if backend == "jax":
        import jax
        import jax.numpy as jnp

        jax.config.update("jax_enable_x64", dtype == "float64")

        def both(x: Any) -> Any:
            y, vjp = jax.vjp(act, x)
            return y, *vjp(jnp.ones_like(y))

        alone, run = (act, both) if mode == "eager" else (jax.jit(act), jax.jit(both))

        def ask(z: Any) -> Any:
            x = jnp.asarray(z)
            return np.asarray(alone(x)), np.asarray(run(x)[1])

        return ask
    if backend == "torch":
        import torch

        narrow = dtype == "bfloat16"  # of which NumPy knows nothing

        def both(z: Any) -> Any:
            x = torch.from_numpy(z.view(np.int16) if narrow else z)
            x = (x.view(torch.bfloat16) if narrow else x).requires_grad_()
            y = act(x)
            parts = (y.detach(), *torch.autograd.grad(y, x, torch.ones_like(y)))
            return tuple((p.float() if narrow else p).numpy() for p in parts)

        return both
    if backend == "openvino" and mode == "predict":
        import openvino as ov
        from keras.src.backend.openvino.core import OpenVINOKerasTensor

        kind = ov.Type.bf16 if dtype == "bfloat16" else ov.Type(kind_of(dtype))
        x = ov.opset16.parameter([-1, WIDTH] if name in ROWS else [-1], kind)
        model = ov.Model([act(OpenVINOKerasTensor(x.output(0))).output], [x])
        config = {"INFERENCE_PRECISION_HINT": "f32"}  # as Keras's predict has it
        compiled = ov.compile_model(model, "CPU", config)

        def predict(z: Any) -> Any:
            given = ov.Tensor(z.view("u2"), list(z.shape), kind) if dtype == "bfloat16" else z
            y = compiled([given])[0]
            return (y.view(z.dtype) if dtype == "bfloat16" else y,)

        return predict
    ops = keras.ops
    return lambda z: (ops.convert_to_numpy(act(ops.convert_to_tensor(z, dtype))),)


def settle(backend: str) -> None:
    """One thread, no GPU, no chatter."""
    os.environ.update(
        {"KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"},
        XLA_FLAGS="--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1",
        JAX_PLATFORMS="cpu",
        OMP_NUM_THREADS="1",
    )
    if backend == "tensorflow":
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(1)
    elif backend == "torch":
        import torch

        torch.set_num_threads(1)


# Measuring ------------------------------------------------------------------------------------


@dataclass
class Found:
    """The largest error in one mode, in units: of a deviation, or (reproducer "") of all the rest.

    Of a deviation also how many numbers are beyond what is allowed, and between which magnitudes.
    """

    what: str
    mode: str
    reproducer: str = ""
    numbers: int = 0
    worst: float = 0.0
    at: float | None = None
    got: float | None = None
    true: float | None = None
    beyond: int = 0
    least: float | None = None
    most: float | None = None

    def add(self, z: Any, got: Any, allowances: tuple[Any, Any, Any], allowed: float) -> None:
        true, unit, beside = allowances
        self.numbers += z.size
        error = abs(got - true) - beside
        judged = beside < np.inf
        error[judged & ~np.isfinite(got)] = np.inf
        if not (wrong := judged & (error > 0)).any():
            return
        size = np.where(wrong, error / unit, 0)
        k = int(size.argmax())
        if size[k] > self.worst:
            self.worst, self.at = float(size[k]), float(z[k])
            self.got, self.true = float(got[k]), float(true[k])
        if self.reproducer and (far := abs(z[size > allowed])).size:
            ends = [float(far.min()), float(far.max())]
            ends += [v for v in (self.least, self.most) if v is not None]
            self.beyond, self.least, self.most = self.beyond + far.size, min(ends), max(ends)


def allowances(name: str, z: Any, a: Arithmetic) -> dict[str, tuple[Any, Any, Any]]:
    """The truth, the unit of its errors, and what is allowed beside: inf where nothing is judged.

    z (N,), or (N,9) of ROWS, in float64 or longdouble, in which the truth is then.
    """
    if name in ROWS:
        h = numbers_activations.activation(name).function(z)
        rough = z.astype(np.float64), h.astype(np.float64)
        return {"value": (h, *spread.activation_unit(name, *rough, a))}
    h, s = truth(name, z)
    z, rough = z.astype(np.float64), h.astype(np.float64)
    unit, beside = spread.derivative_unit(name, z, rough, a)
    # Near a kink either side will do, as vjp_bound has it; and what is subnormal may be read as 0.
    flushed = np.where(abs(z) < a.min_normal, abs(z), 0.0)
    slopes = ACTIVATIONS[name].slopes
    for (kink, _), (after, _) in itertools.pairwise(slopes):
        if kink == after and (k := np.flatnonzero(abs(z - kink) <= flushed)).size:
            beside[k] += spread.derivative_spread(name, z[k], flushed[k])
    value = (h, *spread.activation_unit(name, z, rough, a))
    return {"value": value, "derivative": (s, unit, beside)}


def judge(
    backend: str, name: str, dtype: str, z: Any, replies: Any, found: dict[Any, Found]
) -> None:
    """One block of numbers, and what was replied in each mode."""
    a = ARITHMETICS[dtype]
    z = z.astype(np.float64)
    given = allowances(name, z.astype(np.longdouble) if dtype == "float64" else z, a)
    for mode, reply in replies.items():
        for what, got in zip(given, reply, strict=False):
            got, rest = got.astype(given[what][0].dtype), np.ones(z.shape, bool)
            known = [d for d in DEVIATIONS if d.holds(backend, name, dtype, what, mode)]
            for place in (*known, None):
                here = rest if place is None else rest & place.where(z, a)
                rest = rest & ~here
                file = "" if place is None else place.reproducer
                one = found.setdefault((what, mode, file), Found(what, mode, file))
                if here.any():
                    parts = tuple(part[here] for part in given[what])
                    one.add(z[here], got[here], parts, CONSTANTS[what][name])


def measure(backend: str, name: str, dtype: str, count: int | None) -> list[Found]:
    asked = {mode: asker(backend, name, mode, dtype) for mode in MODES[backend]}
    found: dict[Any, Found] = {}
    with np.errstate(all="ignore"):
        for z in chunks(name, dtype, count):
            replies = {mode: ask(z) for mode, ask in asked.items()}
            for start in range(0, z.size, BLOCK):
                block = slice(start, start + BLOCK)
                parts = {mode: [r[block] for r in reply] for mode, reply in replies.items()}
                judge(backend, name, dtype, z[block], parts, found)
    return list(found.values())


def environment(backend: str) -> dict[str, str]:
    info = Path("/proc/cpuinfo")
    text = info.read_text("utf-8") if info.exists() else f"model name: {platform.processor()}\n"
    widest = "AVX-512" if "avx512f" in text else "AVX2" if "avx2" in text else "no AVX2"
    cpu = f"{re.findall(r'model name.*: (.*)', text)[0]} ({widest})"
    return {"backend": backend, "version": version(backend), "keras": version("keras"), "cpu": cpu}


def read(file: Path) -> list[dict[str, Any]]:
    if not file.exists():
        return []
    return [json.loads(line) for line in file.read_text("utf-8").splitlines()]


def brief(one: Found) -> dict[str, Any]:
    """Without what is 0 or unknown; what was got is of interest where it deviates."""
    left = () if one.reproducer else ("got", "true")
    kept = {k: v for k, v in asdict(one).items() if v or (k == "at" and v is not None)}
    if "worst" in kept:
        kept["worst"] = float(f"{one.worst:.6g}")
    return {k: v for k, v in kept.items() if k not in left}


def measure_all(backend: str, asked: argparse.Namespace) -> None:
    """What of one backend is not in the results yet."""
    settle(backend)
    who = environment(backend)
    done = [{k: v for k, v in line.items() if k != "found"} for line in read(asked.results)]
    for dtype in asked.dtype or DTYPES:
        half = dtype in ("float16", "bfloat16")
        count = None if half or asked.exhaustive else asked.count or COUNTS[dtype]
        for name in asked.activation or NAMES:
            job = {**who, "activation": name, "dtype": dtype, "count": count}
            if job in done:
                continue
            clock = time.monotonic()
            found = [brief(one) for one in measure(backend, name, dtype, count)]
            with asked.results.open("a", encoding="utf-8") as file:
                file.write(json.dumps({**job, "found": found}, ensure_ascii=False) + "\n")
            print(f"{backend} {dtype} {name}: {time.monotonic() - clock:.1f} s", flush=True)


def share(client: Any, backends: list[str], asked: argparse.Namespace) -> None:
    """The same by workers, each activation in a process of its own."""
    there = asked.results.read_text("utf-8") if asked.results.exists() else ""
    pieces = list(itertools.product(backends, asked.dtype or DTYPES, asked.activation or NAMES))
    measured = functools.partial(measured_elsewhere, how=_how(asked), there=there)
    for lines, said in sharing.each(client, measured, pieces):
        with asked.results.open("a", encoding="utf-8") as file:
            file.write(lines)
        print(said, end="", flush=True)


def measured_elsewhere(piece: tuple[str, str, str], how: list[str], there: str) -> tuple[str, str]:
    """Of a worker: the lines that were not there yet, and what was said meanwhile."""
    backend, dtype, name = piece
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder) / "results.jsonl"
        results.write_text(there, encoding="utf-8")
        words = ["--backend", backend, "--dtype", dtype, "--activation", name]
        command = [*COMMAND, *words, "--results", str(results), *how]
        root = Path(__file__).parents[1]
        done = subprocess.run(command, check=True, cwd=root, stdout=subprocess.PIPE, text=True)
        return results.read_text("utf-8")[len(there) :], done.stdout


def _how(asked: argparse.Namespace) -> list[str]:
    """The options that hold for whoever measures."""
    count = [] if asked.count is None else ["--count", str(asked.count)]
    return [*["--exhaustive"] * asked.exhaustive, *count]


# The table ------------------------------------------------------------------------------------


TITLES = {
    "tensorflow": {"eager": "TensorFlow", "function": "tf.function", "xla": "XLA"},
    "jax": {"eager": "JAX", "xla": "jit"},
    "torch": {"eager": "PyTorch"},
    "numpy": {"eager": "NumPy"},
    "openvino": {"eager": "OpenVINO", "predict": "predict"},
}
COLUMNS = [(backend, mode) for backend, modes in TITLES.items() for mode in modes]
INTRODUCTION = """\
# How far activations are off

Generated by

    python -m tools.measure_activations --table docs/activations.md

which resumes what docs/activations.jsonl holds; `--backend` and `--dtype` measure a part, and
`--exhaustive` every float32. On one thread of a CPU:

{who}

Every figure is the largest error found, rounded up to three digits; "at" is where the largest of
its row is. The unit is that of `spread.activation_unit` and `derivative_unit`, u·scale
(`Activation.scale` says which), after what underflow may add. "Allowed" is the constant of
the bounds, `Activation.c` or `c_slope`: twice the largest figure of an activation. The truth is
`activations.py`'s in float64, and in 80 bits for float64; the tests hold both against mpmath.

* float16, bfloat16: every finite number.
* float32: {float32} numbers of both signs, most of them between 2^-24 and 2^7, evenly among the
  bit patterns; with them all 2,049 neighbours of each of {borders} places: 0, subnormals, kinks,
  where activations turn or saturate, where z², 2z, 6z or exp(z) overflow. float64: {float64}.
{exhaustive}* softmax and log_softmax: {rows} random rows of {width} numbers, of standard
  deviations from 1/100 to 100. Their derivatives follow from their values (`activated.vjp_bound`).
  sparsemax is not measured: every backend sums the wrong numbers (fixtures/known/sparsemax.py).
* Not judged: NaN and infinity as arguments; results that the dtype cannot hold; squareplus where z²
  overflows. Near a kink the derivative may be either side's.
* NumPy's and OpenVINO's backends do not differentiate. OpenVINO has two implementations: one folds
  constants ("OpenVINO"), one is compiled for a model ("predict"). torch.compile is not measured.
* † Some or all numbers are left out here: a known deviation, in the last table.
"""
HEAD_KNOWN = """\
## Worse than allowed

Not rounding, but an implementation that is worse than its format or its documentation: the bounds
do not allow for it, and a layer that shows it is reported as different. Counts are of the numbers
that were measured, between the least and the largest magnitude; "got" is the worst of them. In
float64 OpenVINO, and NumPy but for a few, compute in float32; one activation stands for all. The
unit is that of the tables above.

| backend | activation | of | dtype | where | beyond | from | to | at | got | truth | units | why | see |
|---|---|---|---|---|---:|---:|---:|---:|---:|---:|---:|---|---|"""  # noqa: E501


def upward(v: float) -> float:
    """Three digits, never less than v (but for 10^-7, by which the truth may be off)."""
    unit = 10.0 ** (floor(log10(v)) - 2) if 0 < v < np.inf else 1.0
    return round(ceil((v - 1e-7) / unit) * unit, 9) if v < np.inf else v


Key = tuple[str, str, str, str, str]  # activation, dtype, what, backend, mode


def largest(lines: list[dict[str, Any]]) -> tuple[dict[Key, Any], dict[Key, Any]]:
    """Of what was found, the worst of all measurements: outside of deviations, and of those."""
    rest: dict[Key, Any] = {}
    known: dict[Key, Any] = {}
    for line in lines:
        for one in line["found"]:
            key = (line["activation"], line["dtype"], one["what"], line["backend"], one["mode"])
            part = known if "reproducer" in one else rest
            if one.get("worst", 0) >= part.get(key, {}).get("worst", 0):
                part[key] = one
    return rest, known


def introduction(lines: list[dict[str, Any]]) -> str:
    who = {(x["backend"], x["version"], x["keras"], x["cpu"]) for x in lines}
    order = sorted(who, key=lambda w: (list(MODES).index(w[0]), w))
    named = (f"* {TITLES[b]['eager']} {v}, Keras {k}, {c}" for b, v, k, c in order)
    full: dict[tuple[str, str, str], list[str]] = {}
    for x in lines:
        full_values = x["count"] is None and any(one["what"] == "value" for one in x["found"])
        if x["dtype"] == "float32" and full_values and x["activation"] not in ROWS:
            full.setdefault((x["backend"], x["version"], x["cpu"]), []).append(x["activation"])
    said = ""
    for (backend, v, cpu), names in full.items():
        title = TITLES[backend]["eager"]
        said += textwrap.fill(
            f"* Every float32 besides, on {title} {v}, {cpu}, eager and by XLA: the values of "
            f"{', '.join(names)}. (By tf.function every 4,099th, and derivatives every 17th.)",
            width=100,
            subsequent_indent="  ",
        )
        said += "\n"
    sizes = {d: f"{numbers(d, COUNTS[d]).size:,}" for d in COUNTS}
    return INTRODUCTION.format(
        who="\n".join(named), exhaustive=said, borders=1 + len(set(borders("float32"))),
        rows=f"{ROW_COUNT:,}", width=WIDTH, **sizes,
    )  # fmt: skip


def table(lines: list[dict[str, Any]]) -> str:
    """docs/activations.md from what is finished."""
    rest, known = largest(lines)
    out = [introduction(lines)]
    for what, constants in CONSTANTS.items():
        shown = [c for c in COLUMNS if any(k[2:] == (what, *c) for k in rest)]
        out += [f"## {what.capitalize()}s\n"]
        titles = [TITLES[backend][mode] for backend, mode in shown]
        out += [f"| activation | dtype | {' | '.join(titles)} | at | allowed | margin |"]
        out += ["|---|---|" + "---:|" * (len(shown) + 3)]
        for name, dtype in itertools.product(NAMES, DTYPES):
            cells, worst, at = [], 0.0, None
            for column in shown:
                key = (name, dtype, what, *column)
                one = rest.get(key, {})
                mark = "†" if key in known else ""
                seen = one.get("worst", 0.0)
                cells.append((f"{upward(seen):g}" if "numbers" in one else "") + mark)
                if seen > worst:
                    worst, at = seen, one["at"]
            if any(cells):
                margin = f"{constants[name] / worst:.2f}" if worst else ""
                place = "" if at is None else f"{at:.9g}"
                cells += [place, f"{constants[name]:g}", margin]
                out.append(f"| {name} | {dtype} | {' | '.join(cells)} |")
        out.append("")
    out.append(HEAD_KNOWN)
    for d in sorted(DEVIATIONS, key=lambda d: list(MODES).index(d.backend)):
        names = d.activations if len(d.activations) < 5 else ("tanh",)
        for name, dtype in itertools.product(names, d.dtypes):
            modes = [m for m in MODES[d.backend] if d.holds(d.backend, name, dtype, d.what, m)]
            ones = [known.get((name, dtype, d.what, d.backend, mode)) for mode in modes]
            if seen := [one for one in ones if one and "beyond" in one]:
                one = max(seen, key=lambda one: float(one["worst"]))
                ends = [f"{one.get(k, 0.0):.6g}" for k in ("least", "most", "at")]
                digits = 17 if dtype == "float64" else 9
                pair = [f"{one.get(k, 0.0):.{digits}g}" for k in ("got", "true")]
                cells = [TITLES[d.backend]["eager"], name, d.what, dtype, d.place]
                cells += [f"{one['beyond']:,}", *ends, *pair, f"{float(one['worst']):.2g}"]
                cells += [d.why, f"fixtures/known/{d.reproducer}"]
                out.append("| " + " | ".join(c.replace("|", "\\|") for c in cells) + " |")
    return "\n".join(out) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    several = {"action": "append", "help": "one or several; default: all"}
    parser.add_argument("--backend", choices=MODES, **several)
    parser.add_argument("--dtype", choices=DTYPES, **several)
    parser.add_argument("--activation", choices=NAMES, **several)
    parser.add_argument("--results", type=Path, default=RESULTS, help=f"default: {RESULTS}")
    parser.add_argument("--table", type=Path, help="written at the end, from all results")
    parser.add_argument("--count", type=int, help="numbers of float32, and of float64")
    parser.add_argument("--exhaustive", action="store_true", help="float32: every number")
    sharing.add_options(parser)
    asked = parser.parse_args()
    dtypes = asked.dtype or DTYPES
    if asked.exhaustive and dtypes != ["float32"]:
        parser.error("--exhaustive is for --dtype float32: there are 2^64 numbers of float64")
    if asked.count is not None and (asked.count < 1 or asked.exhaustive):
        parser.error("--count takes a positive number, and does not go with --exhaustive")
    if "float64" in dtypes and np.finfo(np.longdouble).nmant < 63:
        parser.error("float64 needs a longdouble of 80 bits; --dtype names the others")
    backends = asked.backend or list(MODES)
    if missing := [b for b in backends if find_spec(b) is None]:
        parser.error(f"{missing[0]} is not installed; --backend names those that are")
    with sharing.client(parser, asked) as client:
        if client is not None:
            share(client, backends, asked)
        elif len(backends) == 1:
            measure_all(backends[0], asked)
        else:  # Keras can be asked about one backend a process
            words = [w for dtype in asked.dtype or () for w in ("--dtype", dtype)]
            words += [w for name in asked.activation or () for w in ("--activation", name)]
            for backend in backends:
                words_of = ["--backend", backend, "--results", str(asked.results)]
                subprocess.run([*COMMAND, *words_of, *words, *_how(asked)], check=True)
    if asked.table:
        asked.table.write_text(table(read(asked.results)), encoding="utf-8")


if __name__ == "__main__":
    from tools import measure_activations  # what workers know it as

    measure_activations.main()
