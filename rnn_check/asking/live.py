"""Which claim does a layer or model of somebody's make, as it is now?"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rnn_check.claims import toml
from rnn_check.claims.document import MOST_BYTES, MOST_VALUES
from rnn_check.claims.files import loads_each
from rnn_check.claims.written import Array
from rnn_check.refusal import ClaimError, Refused
from rnn_check.subjects.ask import Subject, decode
from rnn_check.subjects.plan import Message, step

BATCH = 2  # samples of a generated input


class Unclaimable(Refused):
    """What no claim can be made of."""


@dataclass(frozen=True)
class Live:
    """A layer or model as its subject describes it (see the verb `describe`), run on x."""

    where: str
    layers: list[dict[str, Any]]
    weights: Mapping[str, Mapping[str, Array]]
    parameters: int
    dtype: str
    x: Array
    output: Array
    subject: str

    def claim(self, arrays: dict[str, Array] | None = None, beside: str = "") -> str:
        """The text of a claim file. arrays: takes those that are to stand in the file `beside`.

        Raises Unclaimable for what a claim cannot hold.
        """

        def numbers(name: str, array: Array) -> str:
            if not np.isfinite(array).all():
                raise Unclaimable(f"{self.where}: {name} holds what is no finite number")
            if arrays is None:
                return toml.written(array)
            arrays[name] = array
            return f'{{ npz = "{beside}", key = "{name}" }}'

        return "\n".join(self._lines(numbers)) + "\n"

    def _lines(self, numbers: Callable[[str, Array], str]) -> Iterator[str]:
        yield from (
            "schema = 1",
            f"title  = {toml.text(f'{self.where}, as it is')}",
            "",
            "[source]",
            f"document = {toml.text(self.where)}",
            f"notes    = {toml.text(f'written down by rnn-check new, of {self.subject}')}",
            "",
        )
        for layer in self.layers:
            yield "[[layers]]"
            yield from (f"{key} = {toml.value(value)}" for key, value in layer.items())
            yield ""
        for name, table in self.weights.items():
            if table:
                yield f"[weights.{name}]"
                for path, array in table.items():
                    yield f"{path} = {numbers(f'{name}.{path}', array)}"
                yield ""
        yield from ("[input]  # (batch, timesteps, features)", f"x = {numbers('x', self.x)}", "")
        whose = toml.text(f"what {self.subject} gave")
        yield from ("[[expect]]", 'what  = "parameters"', f"value = {self.parameters}")
        yield from (f"from  = {whose}", "")
        yield from ("[[expect]]", 'what  = "certified"', "value = true")
        yield from ('from  = "the recurrence itself: each step follows from the one before"', "")
        if self.dtype == "float32":
            yield from ("[[expect]]", 'what        = "output"')
            yield f"value       = {numbers('output', self.output)}"
            yield from (f"from        = {whose}", 'computed_in = "float32"')


def described(
    where: str, subject: Subject, only: str = "", x: Array | None = None, timesteps: int = 4
) -> Live:
    """What the subject says of FILE.keras, FILE.h5, FILE.py:NAME or MODULE:NAME, run on x.

    Without an x it is run on multiples of 1/8, or on indices. Raises Unclaimable, and SubjectError
    if the subject cannot be asked.
    """
    said = _asked(subject, where, only)
    if x is None:
        x = _generated(where, said, timesteps)
    wide = x if said["layers"][0]["kind"] == "Embedding" else x.astype(np.float32)
    output = decode(_asked(subject, where, only, wide)["output"])
    identity = subject.identity
    who = f"keras {identity.keras} on {identity.backend} {identity.backend_version}"
    return Live(
        where=f"{where} · {only}" if only else where,
        layers=[_ordered(layer) for layer in said["layers"]],
        weights=decode(said["weights"]),
        parameters=said["parameters"],
        dtype=said["dtype"],
        x=x,
        output=output,
        subject=who,
    )


def _asked(subject: Subject, where: str, only: str, x: Array | None = None) -> dict[str, Any]:
    asked = step("describe", where=where, only=only, x=x)
    message = Message([asked], {})
    answers = subject.follow(message, ["a description"])
    said: dict[str, Any] = answers[message.names[asked.digest]]
    for why in ("refused", "unsupported", "error"):
        if why in said:
            raise Unclaimable(f"{where}: {said[why]}")
    return said


def _generated(where: str, said: Mapping[str, Any], timesteps: int) -> Array:
    """An input in which no two numbers side by side are alike, and all are exact."""
    shape = said["input_shape"]
    first = said["layers"][0]
    if len(shape) < 2 or (shape[-1] is None and first["kind"] != "Embedding"):
        raise Unclaimable(f"{where}: it does not say what input it takes; --input gives one")
    sizes = [BATCH, shape[1] or timesteps, *shape[2:]]
    rng = np.random.default_rng(1)
    if first["kind"] == "Embedding":
        return rng.integers(0, first["input_dim"], sizes[:2])
    return rng.integers(-12, 13, sizes) / 8


def _ordered(layer: dict[str, Any]) -> dict[str, Any]:
    return {"kind": layer["kind"], "name": layer["name"], **layer}


def checked(live: Live, text: str, file: Path) -> str:
    """The same text, if it is a claim. Raises Unclaimable, which says what no claim can have."""
    try:
        loads_each(text, file)
    except ClaimError as problem:
        raise Unclaimable(f"{live.where}: no claim can be made of it: {problem.key}: "
                          f"{problem.problem}") from None  # fmt: skip
    return text


def fits(text: str) -> bool:
    """Whether it is no longer than a claim file may be."""
    return len(text.encode()) <= MOST_BYTES and text.count(",") + text.count("=") < MOST_VALUES
