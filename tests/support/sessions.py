"""Sessions of other frameworks in this process, where faults can be planted in them."""

from __future__ import annotations

import importlib
import json
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from rnn_check.asking import request
from rnn_check.claims import files
from rnn_check.claims.claim import Claim
from rnn_check.subjects.asked.named import FRAMEWORKS
from rnn_check.subjects.asked.session import reply_to
from rnn_check.subjects.asked.wire import encode
from rnn_check.verdicts import judge
from tests.support import bundled
from tests.support.puppet import InThisProcess

OTHERS = ("torch", "onnx", "onnxruntime")  # whose layers have all that a claim asks of most
CELLS = ("flax", "equinox")  # which have cells, and a loop around them


def module_of(framework: str) -> ModuleType:
    """The module of its session, which is imported without the framework."""
    return importlib.import_module(f"rnn_check.subjects.asked.{FRAMEWORKS[framework]}")


def opened(framework: str) -> Any:
    """The session; skips the test where the framework is not installed."""
    try:
        return module_of(framework).open_session(framework)
    except ModuleNotFoundError as error:
        pytest.skip(f"{framework} is not installed: {error}")


def claimed(name: str) -> Claim:
    """A bundled claim, of a file that varies one by the name of the variant."""
    file = files.bundled() / f"{name.partition('[')[0]}.toml"
    if "[" not in name:
        return files.load(file)
    return next(c for c in bundled.in_file(file) if c.name.endswith(name.partition("/")[2]))


def verdicts(session: Any, claim: Claim, dtype: str = "float32") -> dict[str, str]:
    """The verdict on each of the claim's expectations."""
    setting = request.Setting(dtype=dtype)
    answer = request.ask(claim, InThisProcess(session), setting)  # type: ignore[arg-type]
    return {v.what: v.verdict for v in judge.judge(claim, answer)}


def takes_no_argument_of_keras(framework: str) -> None:
    """What a verb may be asked of Keras alone is unsupported, and costs nothing else."""
    session, of = opened(framework), {"kind": "LSTM", "units": 2}
    made = {"do": "make", "layers": [of], "input_shape": [1, 2, 2]}
    run = {"do": "run", "of": "layer", "x": {"array": "x"}, "sample_weight": 1}
    given = {
        "kernel": np.ones((2, 8)), "recurrent_kernel": np.ones((2, 8)), "bias": np.ones(8)
    }  # fmt: skip
    arrays = {name: encode(array) for name, array in given.items()}
    weights = {"lstm": {name: {"array": name} for name in given}}
    steps = {"seeded": {**made, "seed": 3}, "layer": {**made, "weights": weights}, "run": run}
    arrays["x"] = encode(np.ones((1, 2, 2)))
    said = reply_to(session, json.dumps({"id": 1, "arrays": arrays, "steps": steps}))["observed"]
    assert said["layer"] == {}
    assert said["seeded"] == {"unsupported": f"{framework} has no seed"}
    assert said["run"] == {"unsupported": f"{framework} has no sample_weight"}
