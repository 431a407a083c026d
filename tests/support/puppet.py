"""A subject without a framework: it computes in NumPy, and does what it is told.

PUPPET in its environment says what becomes of which backend, at which layer's name:
{"jax": {"unlucky": "segfault"}, "torch": {"start": "exit"}}.  It is a script in a process of its
own, and really does it; where nothing becomes of any process it answers in this one.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rnn_check.asking import run
from rnn_check.subjects import ask as observe
from rnn_check.subjects import process
from rnn_check.subjects.asked.session import Session, reply_to
from rnn_check.verdicts import diagnosis
from tests.support import puppet_session
from tests.support.puppet_session import Puppet

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


MOST_STEPS = diagnosis.MOST_STEPS  # as the causes of a difference are looked for
# what becomes of an answer, and of no process
ANSWERS = {
    *("absent", "missing", "raise", "unsupported", "wrong", "drift", "shape"),
    *("cannot write", "cannot read", "permuted", "one weight"),
}


def play(
    monkeypatch: pytest.MonkeyPatch,
    *,
    processes: bool = False,
    causes: bool = False,
    **fates: dict[str, str],
) -> None:
    """From here on puppets answer for every backend.

    processes: each in its own, even if nothing becomes of any of them.
    causes: are looked for where one is wrong, which takes half a second a claim.
    """
    monkeypatch.setenv("PUPPET", json.dumps(fates))
    monkeypatch.setattr(run, "installed", lambda backend: fates.get(backend) != {"absent": ""})
    monkeypatch.setattr(observe, "Subject", subject)
    monkeypatch.setattr(diagnosis, "MOST_STEPS", MOST_STEPS if causes else 0)
    become = {fate if name not in ("absent", "missing") else name
              for of in fates.values() for name, fate in of.items()}  # fmt: skip
    processes = processes or bool(become - ANSWERS)
    monkeypatch.setattr(observe, "Process", process.Process if processes else _Here)


class _Here:
    """Stands for the puppet's process: the same lines, without one."""

    is_worn = False

    def __init__(self, command: Sequence[str], memory: int | None = None) -> None:
        backend = command[command.index("--backend") + 1]
        puppet_session.log_start(backend)
        self._puppet = Puppet(backend, json.loads(os.environ["PUPPET"]).get(backend, {}))
        self._killed = False

    def exchange(self, line: bytes, seconds: float) -> bytes:
        if self._killed:
            raise process.Ended("was ended by SIGKILL (out of memory?)")
        said = self._puppet.reply(line.decode()) if line else self._puppet.hello()
        return json.dumps(said).encode()

    def kill(self) -> None:
        self._killed = True

    close = kill

    def last_words(self) -> str:
        return ""


def subject(backend: str | None = None, *, python: str = "", **limits: Any) -> Any:
    return _Subject(backend, command=[sys.executable, puppet_session.__file__], **limits)


_Subject = observe.Subject


class InThisProcess:
    """A subject whose session runs here: quick, and faults can be planted in it."""

    check = _Subject.check
    understood = _Subject.understood
    _name = "the subject in this process"

    def __init__(self, session: Session | None = None) -> None:
        self.session = session or Puppet("puppet", {})

    def follow(self, message: Message, wanted: Any = ()) -> Any:
        line = json.dumps({"id": 1, **message.request})
        return reply_to(self.session, line)["observed"]
