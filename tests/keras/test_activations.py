"""Do the constants of activations hold on every backend, and is what they do not cover still so?"""

import itertools
import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mpmath import mp, mpf

from rnn_check.numbers.activations import ACTIVATIONS
from rnn_check.numbers.formats import ARITHMETICS
from tests.numbers.test_rounding import ELEMENTWISE, TRUTH, arguments, slope_truth
from tests.support.sampling import long
from tools import measure_activations as measuring
from tools.measure_activations import CONSTANTS, DEVIATIONS, DTYPES, MODES, NAMES, ROWS

HERE = Path(__file__).parents[2]
FLOAT64 = ARITHMETICS["float64"]
BACKENDS = [pytest.param(b, marks=[] if find_spec(b) else pytest.mark.skip) for b in MODES]
DIFFERENTIATE = ("tensorflow", "jax", "torch")


def run(module: str, *words: str) -> str:
    """In a process of its own: Keras is asked about one backend a process."""
    environment = {**os.environ, "PYTHONPATH": str(HERE), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "ignore", "-m", module, *words]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=HERE)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


# The truth ------------------------------------------------------------------------------------


@pytest.mark.skipif(np.finfo(np.longdouble).nmant < 63, reason="longdouble is float64 here")
@pytest.mark.parametrize("name", ELEMENTWISE)
def test_the_truth_for_float64_is_of_80_bits(name: str) -> None:
    """Off by less than a hundredth of the unit in which errors of float64 are given."""
    z = arguments(name, seed=4)
    with mp.workdps(60):
        given = measuring.allowances(name, z.astype(np.longdouble), FLOAT64)
        exactly = {"value": TRUTH[name], "derivative": lambda v: slope_truth(name, v)}
        for what, (found, unit, beside) in given.items():
            for v, t, one, free in zip(z, found, unit, beside, strict=True):
                if what == "derivative" and any(v == at for at, _ in ACTIVATIONS[name].slopes):
                    continue  # at a kink mpmath takes the middle
                high = float(t)
                error = abs(mpf(high) + mpf(float(t - np.longdouble(high))) - exactly[what](mpf(v)))
                assert error <= max(one / 100, 2.0**-62 * abs(high)) + min(free, 1e-300)


# What was measured ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def lines() -> list[dict[str, Any]]:
    return measuring.read(HERE / measuring.RESULTS)


def test_every_activation_was_measured_on_every_backend(lines: list[dict[str, Any]]) -> None:
    rest, known = measuring.largest(lines)
    wanted = {
        (name, dtype, what, backend, mode)
        for backend, name, dtype in itertools.product(MODES, NAMES, DTYPES)
        for mode in MODES[backend]
        for what in CONSTANTS
        if what == "value" or (backend in DIFFERENTIATE and name not in ROWS)
    }
    assert {*rest, *known} == wanted


@long
def test_the_table_is_that_of_the_results(lines: list[dict[str, Any]]) -> None:
    text = (HERE / "docs" / "activations.md").read_text(encoding="utf-8")
    assert text == measuring.table(lines)


@pytest.mark.parametrize("name", NAMES)
def test_the_constants_are_twice_the_largest_that_was_measured(
    name: str, lines: list[dict[str, Any]]
) -> None:
    rest, _ = measuring.largest(lines)
    for part, (what, constants) in enumerate(CONSTANTS.items()):
        most = ACTIVATIONS[name].measured[part]
        found = [
            one["worst"]
            for key, one in rest.items()
            if key[::2][:2] == (name, what) and "worst" in one
        ]
        largest = max(found, default=0)
        assert largest <= most
        if name not in ROWS:  # of which only a few are asked
            assert most <= 1.02 * largest
        assert constants[name] == 2 * most


def test_every_known_deviation_was_seen_where_it_is_said_to_be(lines: list[dict[str, Any]]) -> None:
    """So that nothing is left out that is not wrong: and each has a script that shows it."""
    _, known = measuring.largest(lines)
    for d in DEVIATIONS:
        script = HERE / "fixtures" / "known" / d.reproducer
        assert "rnn_check" not in script.read_text("utf-8")
        for name, dtype in itertools.product(d.activations, d.dtypes):
            for mode in d.modes or MODES[d.backend]:
                one = known[name, dtype, d.what, d.backend, mode]
                assert one["beyond"] > 0, (d.backend, name, dtype, d.what, mode)
                assert one["worst"] > 10 * CONSTANTS[d.what][name]  # no matter of a constant


# What is installed ----------------------------------------------------------------------------


@long
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_backend_is_within_the_constants_but_for_what_is_known(
    backend: str, tmp_path: Path
) -> None:
    """When a known deviation is not seen any more: measure again, and drop it."""
    results = tmp_path / "results.jsonl"
    words = ["--backend", backend, "--count", "20000", "--results", str(results)]
    compiles = backend in ("tensorflow", "jax")  # each function anew, for each dtype
    dtypes = ("float32",) if compiles else DTYPES
    run("tools.measure_activations", *words, *(w for d in dtypes for w in ("--dtype", d)))
    rest, known = measuring.largest(measuring.read(results))
    assert {key[:2] for key in (*rest, *known)} == set(itertools.product(NAMES, dtypes))
    beyond = {
        key: one for key, one in rest.items() if one.get("worst", 0) > CONSTANTS[key[2]][key[0]]
    }
    assert not beyond
    gone = [key for key, one in known.items() if not one.get("beyond")]
    if not has_avx512():
        gone = [key for key in gone if not any(d.avx512 and d.holds(*of(key)) for d in DEVIATIONS)]
    assert not gone


def of(key: tuple[str, str, str, str, str]) -> tuple[str, str, str, str, str]:
    name, dtype, what, backend, mode = key
    return backend, name, dtype, what, mode


def has_avx512() -> bool:
    flags = Path("/proc/cpuinfo")
    return not flags.exists() or "avx512f" in flags.read_text("utf-8")


@long
def test_what_is_measured_is_not_measured_again(tmp_path: Path) -> None:
    results, table = tmp_path / "results.jsonl", tmp_path / "table.md"
    words = ["--backend", "numpy", "--dtype", "float16", "--activation", "tanh"]
    words += ["--results", str(results)]
    assert "tanh" in run("tools.measure_activations", *words)
    first = results.read_text("utf-8")
    assert run("tools.measure_activations", *words, "--table", str(table)) == ""
    assert results.read_text("utf-8") == first
    (line,) = measuring.read(results)
    (found,) = line["found"]
    assert found["numbers"] == 2 * (2**15 - 2**10)
    assert f"| tanh | float16 | {measuring.upward(found['worst']):g} |" in table.read_text("utf-8")


def test_an_error_of_a_hundredth_of_a_percent_is_measured() -> None:
    """The measuring itself: what is off by 1e-4 is off by 1,678 units of float32, where it is."""
    z = np.array([0.5, 1.0, 2.0], np.float32)
    truth = np.tanh(z.astype(np.float64))
    found: dict[Any, measuring.Found] = {}
    got = truth * np.array([1, 1 + 1e-4, 1])
    measuring.judge("numpy", "tanh", "float32", z, {"eager": [got]}, found)
    (one,) = found.values()
    assert one.at == 1.0
    # the function, the product and the truth round in float64, and 1e-4 of it is left
    assert one.worst == pytest.approx(1e-4 * 2**24, rel=4 * 2.0**-53 / 1e-4)


LAYERS = {"tensorflow": 1, "jax": 1, "torch": 3, "numpy": 6, "openvino": 3}
# JAX compiles each layer: those that JAX evaluates otherwise than TensorFlow
ASKED = {"jax": ("celu", "softsign", "softplus", "sparse_sigmoid", "sparse_plus")}


@long
@pytest.mark.parametrize("backend", BACKENDS)
def test_no_honest_layer_is_called_wrong_but_for_what_is_known(backend: str) -> None:
    words = ["--backend", backend, "--layers", str(LAYERS[backend])]
    words += [w for name in ASKED.get(backend, ()) for w in ("--activation", name)]
    reply = json.loads(run("tools.real_layers", *words).splitlines()[-1])
    assert reply["certificates"] >= 20
    known = {
        (name, d.what == "value")
        for d in DEVIATIONS
        if d.backend == backend and "float32" in d.dtypes
        for name in d.activations
    }
    assert not [a for a in reply["alarms"] if (a[0], a[1] == "states") not in known]
