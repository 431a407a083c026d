"""A subject without a framework: it computes in NumPy, and does what it is told.

PUPPET in its environment says what becomes of which backend, at which layer's name:
{"jax": {"unlucky": "segfault"}, "torch": {"start": "exit"}}.  It is a script in a process of its
own, and really does it.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import re
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rnn_check.recurrences import over_time
from rnn_check.subjects import ask as observe
from rnn_check.subjects.asked.session import Made, Session, Unsupported, reply_to
from rnn_check.subjects.asked.wire import encode, end_with_the_host

if TYPE_CHECKING:
    import pytest

    from rnn_check.subjects.plan import Message

CLAIM = """
schema = 1
title = "a tanh layer"
source = {{document = "a test"}}
reading = {{computed_in = "float32", weights = "float32"}}
layer = {{kind = "SimpleRNN", name = "{name}", units = 2, return_sequences = true}}
[weights]
kernel = [[0.5, -0.25]]
recurrent_kernel = [[0.3, 0.1], [-0.2, 0.4]]
bias = [0.1, 0.2]
[input]
x = [[[1], [-2], [0.5]]]
[[expect]]
what = "output"
from = "float32 NumPy"
value = [[[0.5370496, -0.04995837], [-0.6223879, 0.62533695], [0.03819761, 0.25700226]]]
[[expect]]
what = "weights_read_back"
from = "Keras's word"
value = true
"""


def claims(folder: Path, *names: str) -> Path:
    """A folder of claims, each with a layer of its own name, _ for what is no letter in it."""
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / f"{name}.toml").write_text(CLAIM.format(name=re.sub(r"\W", "_", name)))
    return folder


def play(monkeypatch: pytest.MonkeyPatch, **fates: dict[str, str]) -> None:
    """From here on puppets answer for every backend."""
    from rnn_check.asking import run  # not by the puppet itself, which is started often

    monkeypatch.setenv("PUPPET", json.dumps(fates))
    monkeypatch.setattr(run, "installed", lambda backend: fates.get(backend) != {"absent": ""})
    monkeypatch.setattr(observe, "Subject", subject)


def subject(backend: str | None = None, *, python: str = "", **limits: Any) -> Any:
    return _Subject(backend, command=[sys.executable, __file__], **limits)


_Subject = observe.Subject


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
    def __init__(self, name: str, weights: dict[str, Any]) -> None:
        self.name = name
        self.weights = weights


class _Puppet(Session):
    """It has three verbs."""

    framework = "a puppet"

    def __init__(self, backend: str, fates: dict[str, str]) -> None:
        self.backend = backend
        self.fates = fates

    def make(self, layers: Any, weights: Any, **_: Any) -> Any:
        (layer,) = layers
        given = {k: v.astype(np.float32) for k, v in weights[layer["name"]].items()}
        return _Layer(layer["name"], given)

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
        states = over_time.forward(x, **of.weights, activation="tanh")[0]
        if fate == "wrong":
            states[0, 1, 0] += np.float32(1e-3)
        if fate == "drift":
            states[0, 1, 0] = np.nextafter(states[0, 1, 0], np.float32(1))
        if fate == "shape":
            states = states[:, :1]
        return {name: encode(states) for name in keep}

    def identity(self) -> dict[str, Any]:
        return {
            **{"keras": "3.15.1", "backend": self.backend, "backend_version": "1.2.3"},
            **{"python": "3.11.7", "numpy": np.__version__, "device": "CPU", "dtype": "float32"},
            **{"cpu": "A CPU", "threads": 2, "settings": {}, "platform": str(os.getpid())},
        }

    def reply(self, line: str) -> dict[str, Any]:
        request = json.loads(line)
        name = request["steps"]["make_1"]["layers"][0]["name"]
        fate = self.fates.get(name, "")
        if asked := os.environ.get("PUPPET_ASKED"):
            with open(asked, "a") as file:
                file.write(f"{self.backend}:{name}\n")
        _becomes(fate)
        if fate == "raise":
            return {"id": request["id"], "error": "ValueError: no such thing", "traceback": "Trace"}
        return reply_to(self, line)


class InThisProcess:
    """A subject whose session runs here: quick, and faults can be planted in it."""

    check = _Subject.check
    understood = _Subject.understood
    _name = "the subject in this process"

    def __init__(self, session: Session | None = None) -> None:
        self.session = session or _Puppet("puppet", {})

    def follow(self, message: Message, wanted: Any = ()) -> Any:
        line = json.dumps({"id": 1, **message.request})
        return reply_to(self.session, line)["observed"]


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
    if log := os.environ.get("PUPPET_LOG"):
        with open(log, "a") as file:
            file.write(f"{backend} {os.getpid()}\n")
    if dies:
        with died.open("a") as file:
            file.write(".")
        sys.exit(4)
    if "missing" in fates:
        say({"error": "ModuleNotFoundError", "missing": fates["missing"]})
        return
    _becomes(fates.get("start", ""))
    session = _Puppet(backend, fates)
    say({"hello": session.identity()})
    for line in sys.stdin:
        say(session.reply(line))


if __name__ == "__main__":
    main()
