"""How far is each activation of the installed Keras from the truth, over all its arguments?

    python -m tests.measure_activations --results FILE --table docs/activations.md

Evaluates every elementwise activation on every finite float16, bfloat16 and float32, and its
derivative (GradientTape) on every finite float16 and bfloat16 and on every STRIDE-th float32, by
TensorFlow on one thread of a CPU. Errors are in the units of rounding.activation_error and
derivative_error, u·scale after what underflow may add; rounding._MEASURED holds the largest. The
truth is reference.py's in float64, which test_rounding.py holds against mpmath: it is off by
C_ACT·2^-53·scale, less than 10^-7 of a float32's unit. Minutes for each activation; FILE keeps what
is finished, a line of JSON each, which is not measured again.
"""

import argparse
import json
import os
import platform
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from math import ceil, floor, log10
from pathlib import Path
from typing import Any

import numpy as np

from rnn_check import reference, rounding
from rnn_check.rounding import ARITHMETICS, C_ACT, C_DERIVATIVE, Arithmetic

NAMES = tuple(rounding._SHAPES)  # softmax and its like are no functions of one number
DTYPES, MODES = ("float16", "bfloat16", "float32"), ("eager", "function", "xla")
CONSTANTS = {"value": C_ACT, "derivative": C_DERIVATIVE}
CHUNK, BLOCK = 2**20, 2**15  # what Keras is asked at once; what fits into a cache in float64
STRIDE, SAMPLE = 17, 4099  # odd, so that every bit of a float32 takes part


def over(function: Callable[[Any], Any], z: Any) -> Any:
    """function(z), which is act or act', for numbers in the order of their bits.

    Beyond [1/4, 8] every act, act(z)/z and act' is monotone on either side of 0, so what is equal
    at both ends is equal between: four fifths of all float32 are tiny or far off, and need no exp.
    """
    ends = z[[0, -1]]
    near, far = abs(ends)
    if (far <= 0.25 or near >= 8) and ends[0] * ends[1] > 0:
        first, last = function(ends)
        if first == last:
            return np.full(z.shape, first)
        if first / ends[0] == last / ends[1]:
            return z * (first / ends[0])
    return function(z)


def unless_too_large(name: str, size: Any, reach: Any, allowed: Any, a: Arithmetic) -> Any:
    largest = np.maximum(size, reach * reach) if name == "squareplus" else size
    return allowed if largest.max() <= a.max else np.where(largest > a.max, np.inf, allowed)


def value(name: str, z: Any, a: Arithmetic) -> tuple[Any, Any, Any]:
    """act(z), the unit of its error, and what is allowed beside: inf where nothing is judged."""
    h = over(reference.activation(name).function, z)
    size, reach = abs(h), abs(z)
    unit = a.u_stored * rounding._SHAPES[name].scale(rounding._Reach(z, reach, size, size))
    allowed = 2 * a.min_normal * (1 + reach)
    if name in rounding._EXACT_ACTIVATIONS:
        allowed = np.where(size < a.min_normal, size, 0.0)  # flushed
    return h, unit, unless_too_large(name, size, reach, allowed, a)


def derivative(name: str, z: Any, a: Arithmetic) -> tuple[Any, Any, Any]:
    """The same of act'. Near a kink either side will do, as rounding.derivative_error has it."""
    act, shape = reference.activation(name), rounding._SHAPES[name]
    slope = act.derivative
    assert slope is not None
    h, s = over(act.function, z), over(lambda z: slope(z, act.function(z)), z)
    reach = abs(z)
    unit = a.u_stored * shape.slope_scale(rounding._Reach(z, reach, abs(h), abs(s)))
    allowed = 2 * a.min_normal * (1 + reach)
    if name in rounding._EXACT_DERIVATIVES:
        allowed = np.zeros(z.shape)
    allowed = unless_too_large(name, abs(s), reach, allowed, a)
    flushed = np.where(reach < a.min_normal, reach, 0)
    if name == "celu":  # Keras's derivative at 0 is 2: see test_rounding.KERAS_IS_WRONG
        allowed[reach < a.min_normal] = np.inf
    for (kink, left), (after, right) in zip(shape.slopes, shape.slopes[1:], strict=False):
        if kink == after and left != right:
            k = np.flatnonzero(abs(z - kink) <= flushed + shape.blur * a.u_stored)
            allowed[k] = rounding.derivative_error(name, z[k], h[k], a)
            allowed[k] += rounding.derivative_spread(name, z[k], flushed[k])
    return s, unit, allowed


@dataclass
class Found:
    """In one mode: the largest error in units; what is no number where the truth is one."""

    what: str
    mode: str
    worst: float = 0.0
    at: float | None = None
    nonfinite: int = 0
    least: float | None = None  # the smallest |z| of those

    def add(self, worst: float, at: float, bad: Any) -> None:
        if worst > self.worst:
            self.worst, self.at = worst, at
        if bad.size:
            self.nonfinite += bad.size
            least = float(abs(bad).min())
            self.least = least if self.least is None else min(self.least, least)


def compare(z: Any, got: Any, truth: Any, unit: Any, allowed: Any, most: float) -> tuple[Any, ...]:
    """For Found.add, in few passes: there are 2^32 numbers."""
    error, bad = abs(got - truth), z[:0]
    error -= allowed
    if error.max() <= 0:
        return 0.0, 0.0, bad
    if not np.isfinite(error.max()):
        finite = np.isfinite(got)
        bad = z[~finite & (abs(truth) <= most)]
        error[~finite] = -1
    error /= unit
    worst = float(np.fmax.reduce(error))
    return worst, float(z[np.flatnonzero(error == worst)[0]]) if worst > 0 else 0.0, bad


def judge(name: str, z: Any, what: str, replies: Any, found: list[Found], a: Arithmetic) -> None:
    for start in range(0, z.size, BLOCK):
        block = slice(start, start + BLOCK)
        wide = z[block].astype(np.float64)
        truth = (value if what == "value" else derivative)(name, wide, a)
        first: Any = None  # the first mode's numbers, and what was found: the others often agree
        for one in found:
            if one.what == what and one.mode in replies:
                got = replies[one.mode][block]
                same = first is not None and np.array_equal(got, first[0])
                result = first[1] if same else compare(wide, got.astype(np.float64), *truth, a.max)
                first = first or (got, result)
                one.add(*result)


def numbers(dtype: str, stride: int = 1) -> Iterator[Any]:
    """Every stride-th finite number of a dtype, in chunks."""
    import ml_dtypes

    kinds = {"float16": np.float16, "bfloat16": ml_dtypes.bfloat16, "float32": np.float32}
    end = 2**32 if dtype == "float32" else 2**16
    for start in range(0, end, CHUNK * stride):
        count = -(-(min(start + CHUNK * stride, end) - start) // stride)
        bits = np.arange(count, dtype=np.uint32) * np.uint32(stride) + np.uint32(start)
        z = bits.astype("u4" if dtype == "float32" else "u2").view(kinds[dtype])
        if (z := z[np.isfinite(z)]).size:
            yield z


def measure(name: str, dtype: str, modes: list[str], every: int) -> list[Found]:
    import keras
    import tensorflow as tf

    act, clock = keras.activations.get(name), time.monotonic()

    def both(x: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = act(x)
        return y, tape.gradient(y, x)

    found = [Found(what, mode) for what in CONSTANTS for mode in modes]

    def run(chunks: Iterator[Any], modes: list[str], slopes: bool = True) -> None:
        f: Any = both if slopes else lambda x: (act(x),)
        asked = {m: f if m == "eager" else tf.function(f, jit_compile=m == "xla") for m in modes}
        for n, z in enumerate(chunks):
            replies = {m: [y.numpy() for y in ask(tf.constant(z))] for m, ask in asked.items()}
            for k, what in enumerate(list(CONSTANTS)[: 1 + slopes]):
                given = {m: reply[k] for m, reply in replies.items()}
                judge(name, z, what, given, found, ARITHMETICS[dtype])
            if n % 256 == 255:
                print(f"{name} at {z[-1]:.3g}, {time.monotonic() - clock:.0f} s", flush=True)

    with np.errstate(all="ignore"):
        if dtype == "float32":
            many = [m for m in modes if m != "function"]
            if every < STRIDE:
                run(numbers(dtype, every), many, slopes=False)
            run(numbers(dtype, max(STRIDE, every)), many)
            run(numbers(dtype, max(SAMPLE, every)), [m for m in modes if m == "function"])
        else:
            run(numbers(dtype), modes)
    print(f"{name} {dtype}: {time.monotonic() - clock:.0f} s", flush=True)
    return found


def environment() -> dict[str, str]:
    import keras
    import tensorflow as tf

    info = Path("/proc/cpuinfo")
    text = info.read_text("utf-8") if info.exists() else f"model name: {platform.processor()}\n"
    widest = "AVX-512" if "avx512f" in text else "AVX2" if "avx2" in text else "no AVX2"
    cpu = f"{re.findall(r'model name.*: (.*)', text)[0]} ({widest})"
    return {"keras": keras.__version__, "tensorflow": tf.__version__, "cpu": cpu}


def upward(v: float) -> float:
    """Three digits, never less than v (but for 10^-7, by which the truth may be off)."""
    unit = 10.0 ** (floor(log10(v)) - 2) if 0 < v < np.inf else 1.0
    return round(ceil((v - 1e-7) / unit) * unit, 9) if v < np.inf else v


INTRODUCTION = """\
# How far activations are off

Generated by `python -m tests.measure_activations --results FILE --table docs/activations.md`.
{by}.

Every number is the largest error found, rounded up, and the argument where it happens. The unit is
that of `rounding.activation_error` and `derivative_error`, u·scale, after what underflow may add
(`rounding._SHAPES` says which scale). "Allowed" is the constant of the bounds, `C_ACT` or
`C_DERIVATIVE`, and "margin" is allowed / largest. The truth is `reference.py`'s in float64, which
the tests hold against mpmath.

* float16, bfloat16: values and derivatives on every finite number, in all modes.
* float32: values on every finite number, eager and by XLA. Derivatives, and the values that come
  with them, on every {stride}th only. tf.function (which rewrites some graphs: a division by 6
  becomes a product) on every {sample}th only.
* Not judged: NaN and infinity as arguments; results that the dtype cannot hold; squareplus where z²
  overflows; celu's derivative at 0 and at subnormals, which is 2 (see the README). Near a kink the
  derivative may be either side's.
* softmax, log_softmax and sparsemax are no functions of one number, and not measured here.
{late}"""
HEADS = {
    "": "| activation | dtype | eager | at | tf.function | at | XLA | at | allowed | margin |",
    "bad": "| activation | dtype | of | mode | arguments | least magnitude |",
}


def table(done: list[dict[str, Any]]) -> str:
    """docs/activations.md from what is finished."""
    done = sorted(done, key=lambda d: -d.get("every", 1))  # the finer replaces the coarser
    key = {(d["activation"], d["dtype"], f["what"], f["mode"]): f for d in done for f in d["found"]}
    who = sorted({(d["keras"], d["tensorflow"], d["cpu"]) for d in done})
    by = "; ".join(f"Keras {k}, TensorFlow {t}, one thread of an {cpu}" for k, t, cpu in who)
    every = {d["activation"]: d.get("every", 1) for d in done if d["dtype"] == "float32"}
    late = ""
    for n in sorted({*every.values()} - {1}):
        names = ", ".join(name for name in NAMES if every.get(name) == n)
        late += f"* Not exhaustive in float32 yet, only on every {n}th number: {names}.\n"
    lines = [INTRODUCTION.format(by=by, stride=STRIDE, sample=SAMPLE, late=late)]
    for what, constants in CONSTANTS.items():
        lines += [f"## {what.capitalize()}s\n", HEADS[""], "|---|---|" + "---:|" * 8]
        for name, dtype in ((n, d) for n in NAMES for d in DTYPES if (n, d, what, "eager") in key):
            row, allowed = [key[name, dtype, what, mode] for mode in MODES], constants[name]
            worst = max(f["worst"] for f in row)
            pairs = [(upward(f["worst"]), f["at"]) for f in row]
            cells = [f"{v:g} | {'' if at is None else format(at, '.9g')}" for v, at in pairs]
            left = f"{allowed / worst:.2f}" if worst else ""
            lines.append(f"| {name} | {dtype} | {' | '.join(cells)} | {allowed:g} | {left} |")
        lines.append("")
    lines += ["## Infinite or NaN, where the truth is a number that the dtype holds\n"]
    lines += [HEADS["bad"], "|---|---|---|---|---:|---:|"]
    for names, f in sorted((k, f) for k, f in key.items() if f["nonfinite"]):
        lines.append(f"| {' | '.join(names)} | {f['nonfinite']} | {f['least']:.9g} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--activations", default=",".join(NAMES))
    parser.add_argument("--dtypes", default=",".join(DTYPES))
    parser.add_argument("--modes", default=",".join(MODES))
    parser.add_argument("--results", type=Path, required=True, help="what is finished: resumed")
    parser.add_argument("--table", type=Path, help="written at the end, from all results")
    parser.add_argument("--every", type=int, default=1, help="of float32 only every N-th number")
    asked = parser.parse_args()
    os.environ.update(TF_CPP_MIN_LOG_LEVEL="3", KERAS_BACKEND="tensorflow")
    lines = asked.results.read_text("utf-8").splitlines() if asked.results.exists() else []
    done = [json.loads(line) for line in lines]
    finished = {(d["activation"], d["dtype"]) for d in done if d.get("every", 1) <= asked.every}
    jobs = [(n, d) for d in asked.dtypes.split(",") for n in asked.activations.split(",")]
    if jobs := [job for job in jobs if job not in finished]:
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(1)
    for name, dtype in jobs:
        found = [asdict(f) for f in measure(name, dtype, asked.modes.split(","), asked.every)]
        done.append({"activation": name, "dtype": dtype, **environment(), "found": found})
        done[-1]["every"] = asked.every if dtype == "float32" else 1
        with asked.results.open("a", encoding="utf-8") as file:
            file.write(json.dumps(done[-1]) + "\n")
    if asked.table:
        asked.table.write_text(table(done), encoding="utf-8")


if __name__ == "__main__":
    main()
