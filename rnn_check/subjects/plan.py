"""What is a subject to do?

A plan is plain data: steps, each a verb of `asked.session.Session` and its arguments, which are
numbers, words, arrays, lists and tables of these, and earlier steps. There are no conditionals, no
arithmetic and no loops in it: whoever composes it has done all that.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from rnn_check.subjects.asked.session import VERBS
from rnn_check.subjects.asked.wire import encode


@dataclass(frozen=True, eq=False)
class Step:
    """A verb and its arguments. Steps that say the same are the same: their digests are."""

    do: str
    arguments: Mapping[str, Any]

    @cached_property
    def digest(self) -> str:
        text = json.dumps({"do": self.do, **self.arguments}, default=_digest, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


def step(do: str, **arguments: Any) -> Step:
    """A step; what is None is left out."""
    assert do in VERBS, do
    return Step(do, {name: value for name, value in arguments.items() if value is not None})


def _digest(part: Any) -> Any:
    return {"step": part.digest} if isinstance(part, Step) else encode(part)


class Message:
    """Steps as they are written on the pipe, each once, and each array once.

    how: what holds for all of them (see `Session.begin`). names: what each is called, by digest.
    """

    def __init__(self, steps: Iterable[Step], how: Mapping[str, Any]) -> None:
        self.how = dict(how)
        self.steps: dict[str, dict[str, Any]] = {}
        self._arrays: dict[str, tuple[str, dict[str, Any]]] = {}
        self.names: dict[str, str] = {}
        for each in steps:
            self._write(each)

    @property
    def request(self) -> dict[str, Any]:
        return {"how": self.how, "arrays": dict(self._arrays.values()), "steps": self.steps}

    @property
    def digest(self) -> str:
        return hashlib.sha256(json.dumps(self.request, sort_keys=True).encode()).hexdigest()

    def _write(self, node: Any) -> Any:
        if isinstance(node, Step):
            if node.digest not in self.names:
                written = {key: self._write(value) for key, value in node.arguments.items()}
                name = f"{node.do}_{sum(s['do'] == node.do for s in self.steps.values()) + 1}"
                self.steps[name] = {"do": node.do, **written}
                self.names[node.digest] = name
            return self.names[node.digest]
        if isinstance(node, np.ndarray):
            encoded = encode(node)
            key = json.dumps(encoded)
            name, _ = self._arrays.setdefault(key, (f"a{len(self._arrays) + 1}", encoded))
            return {"array": name}
        if isinstance(node, Mapping):
            return {key: self._write(value) for key, value in node.items()}
        return [self._write(each) for each in node] if isinstance(node, list | tuple) else node
