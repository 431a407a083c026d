"""The puppet's own process: a session without a framework, started often, so it imports little.

PUPPET in its environment says what becomes of it, see puppet.play.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from rnn_check.recurrences import over_time
from rnn_check.subjects.asked.session import Made, Session, Unsupported, reply_to
from rnn_check.subjects.asked.wire import encode, end_with_the_host


def _becomes(fate: str) -> None:
    if fate == "segfault":
        ctypes.string_at(0)
    elif fate == "hang":
        time.sleep(600)
    elif fate == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif fate == "garbage":
        print("Loading ...", flush=True)
    elif fate == "exit":
        print("my last words", file=sys.stderr)
        sys.exit(3)
    elif fate == "greed":
        taken = bytearray(b"y") * (600 << 20)
        time.sleep(600 + len(taken))
    elif fate == "once":  # and never starts again, or not PUPPET_DIED_TIMES
        Path(os.environ["PUPPET_DIED"]).touch()
        sys.exit(3)


class _Layer(Made):
    def __init__(self, name: str, weights: dict[str, Any], activation: str) -> None:
        self.name = name
        self.weights = weights
        self.activation = activation


class Puppet(Session):
    """It has few verbs. What it writes are the bytes of its weights, one array after the other."""

    framework = "a puppet"

    def __init__(self, backend: str, fates: dict[str, str]) -> None:
        self.backend = backend
        self.fates = fates

    def make(self, layers: Any, weights: Any = None, like: Any = None, **_: Any) -> Any:
        (layer,) = layers
        own = like.weights if weights is None else weights[layer["name"]]
        given = {k: v.astype(np.float32) for k, v in own.items()}
        return _Layer(layer["name"], given, layer.get("activation", "tanh"))

    def reload(self, of: Any, how: str, after: str = "") -> Any:
        again = _Layer(of.name, dict(of.weights), of.activation)
        again.told = {"same_config": True, "same_weights": True}
        return again

    def save(self, of: Any, how: str, after: str = "") -> Any:
        if self.fates.get(of.name) == "cannot write":
            raise OSError("the disk is full")
        data = b"".join(array.tobytes() for array in of.weights.values())
        return {"file": encode(np.frombuffer(data, np.uint8))}

    def read_file(
        self, layers: Any, input_shape: Any, data: Any, name: str, own: bool = False
    ) -> Any:
        (layer,) = layers
        units, numbers = layer["units"], np.frombuffer(data.tobytes(), np.float32)
        kernel, recurrent, bias = np.split(numbers, [len(numbers) - units * (units + 1), -units])
        given = {
            "kernel": kernel.reshape(-1, units),
            "recurrent_kernel": recurrent.reshape(units, units),
            "bias": bias.copy(),
        }
        fate = self.fates.get(layer["name"], "")
        if fate == "cannot read":
            raise ValueError(f"{name}: of another version\nand so on")
        if fate == "permuted":
            given["recurrent_kernel"] = given["recurrent_kernel"].T.copy()
        if fate == "one weight":
            given["bias"][0] = np.nextafter(given["bias"][0], np.float32(1))
        return _Layer(layer["name"], given, layer.get("activation", "tanh"))

    def weights(self, of: Any, after: str = "") -> dict[str, Any]:
        return {
            "weights": {of.name: {k: encode(v) for k, v in of.weights.items()}},
            "trainable": {of.name: list(of.weights)},
        }

    def run(self, of: Any, x: Any, keep: Any = ("output",), **_: Any) -> dict[str, Any]:  # type: ignore[override]
        fate = self.fates.get(of.name, "")
        if fate == "unsupported":
            raise Unsupported("no such mode")
        x = x.astype(np.float32)
        states = over_time.forward(x, **of.weights, activation=of.activation)[0]
        if fate == "wrong":
            states[0, 1, 0] += np.float32(1e-3)
        if fate == "drift":
            states[0, 1, 0] = np.nextafter(states[0, 1, 0], np.float32(1))
        if fate == "shape":
            states = states[:, :1]
        return {name: encode(states) for name in keep}

    def identity(self) -> dict[str, Any]:
        return {
            **{"keras": os.environ.get("PUPPET_KERAS", "3.15.1"), "backend": self.backend},
            **{"backend_version": "1.2.3"},
            **{"python": "3.11.7", "numpy": np.__version__, "device": "CPU", "dtype": "float32"},
            **{"cpu": os.environ.get("PUPPET_CPU", "A CPU"), "threads": 2, "settings": {}},
            "platform": str(os.getpid()),
        }

    def hello(self) -> dict[str, Any]:
        if "missing" in self.fates:
            return {"error": "ModuleNotFoundError", "missing": self.fates["missing"]}
        return {"hello": self.identity()}

    def reply(self, line: str) -> dict[str, Any]:
        request = json.loads(line)
        named = next(s for s in request["steps"].values() if "layers" in s)
        name = named["layers"][0]["name"]
        fate = self.fates.get(name, "")
        if asked := os.environ.get("PUPPET_ASKED"):
            with open(asked, "a") as file:
                file.write(f"{self.backend}:{name}\n")
        _becomes(fate)
        if fate == "raise":
            return {"id": request["id"], "error": "ValueError: no such thing", "traceback": "Trace"}
        return reply_to(self, line)


def log_start(backend: str) -> None:
    if log := os.environ.get("PUPPET_LOG"):
        with open(log, "a") as file:
            file.write(f"{backend} {os.getpid()}\n")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--framework")
    parser.add_argument("--backend", required=True)
    backend = parser.parse_args().backend
    end_with_the_host()
    fates = json.loads(os.environ.get("PUPPET", "{}")).get(backend, {})

    def say(document: dict[str, Any]) -> None:
        print(json.dumps(document), flush=True)

    died = Path(os.environ.get("PUPPET_DIED", "/no_such_file"))
    times = int(os.environ.get("PUPPET_DIED_TIMES", "1000"))
    dies = died.exists() and len(died.read_text()) < times
    log_start(backend)
    if dies:
        with died.open("a") as file:
            file.write(".")
        sys.exit(4)
    _becomes(fates.get("start", ""))
    session = Puppet(backend, fates)
    say(session.hello())
    for line in sys.stdin:
        say(session.reply(line))


if __name__ == "__main__":
    main()
