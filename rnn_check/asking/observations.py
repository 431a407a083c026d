"""What did a subject say, and to which claims?"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from rnn_check.asking import request
from rnn_check.asking.request import Answer, Setting
from rnn_check.claims.beside import MOST_ARCHIVE, beside
from rnn_check.claims.claim import Claim
from rnn_check.refusal import ClaimError
from rnn_check.subjects import ask as observe
from rnn_check.subjects.identity import Identity, Who
from rnn_check.subjects.policy import Policy

NOT_RECORDED = "not in the record"
CHANGED = "the claim asks something else now than when it was recorded"


class Digests(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """What a claim was when it was asked.

    file: SHA-256 of the claim's file and of what it points to.
    question: SHA-256 of what is asked of a subject, whatever is expected of its answer.
    """

    file: str
    question: str


@dataclass
class Observations:
    """What one subject said, claim by claim.

    claims: what each was when it was asked.
    """

    setting: Setting
    identity: Identity
    answers: dict[str, Answer] = field(default_factory=dict)
    claims: Mapping[str, Digests] = field(default_factory=dict)

    @property
    def subject(self) -> Who:
        """The subject in full: who was asked, and how."""
        outputs = {
            output["dtype"]
            for answer in self.answers.values()
            if isinstance(output := answer.said.get("output"), Mapping) and "dtype" in output
        }
        as_promised = Policy(self.setting.dtype).computed_in in outputs
        how = self.setting
        came = "" if as_promised else ", ".join(sorted(outputs))
        return self.identity.asked(how.mode, how.dtype, how.layer, came)

    def answer(self, claim: Claim) -> Answer:
        """What was answered to this very claim, or that it was not asked.

        A claim may expect something else than it did; what it asks has to be the same.
        """
        digests = self.claims.get(claim.name)
        if digests is None or claim.name not in self.answers:
            return Answer(skip=NOT_RECORDED)
        if digests.file != _file_digest(claim.file) and digests.question != _question(claim):
            return Answer(skip=CHANGED)
        return self.answers[claim.name]


def digests(claims: Iterable[Claim]) -> dict[str, Digests]:
    """Claim by claim, under its name; ClaimError if two have the same."""
    found: dict[str, Digests] = {}
    files: dict[str, Path] = {}
    for claim in claims:
        other = files.setdefault(claim.name, claim.file)
        if claim.name in found:
            raise ClaimError(
                claim.file, "", f"its claim {claim.name!r} is called like one of {other}; "
                "in a record each has its own name (name a folder above both)",
            )  # fmt: skip
        found[claim.name] = Digests(_file_digest(claim.file), _question(claim))
    return found


def _file_digest(file: Path) -> str:
    try:
        return _digest_of(file, file.stat().st_mtime_ns)
    except OSError:
        return ""


@functools.lru_cache(4096)
def _digest_of(file: Path, modified: int) -> str:
    """Of the file as it is at that time; many claims may stand in one."""
    text = file.read_bytes()
    digest = hashlib.sha256(text)
    for name in _pointed_to(tomllib.loads(text.decode())):
        with contextlib.suppress(ValueError):  # what is no such file was not read for the claim
            digest.update(beside(file, name, MOST_ARCHIVE))
    return digest.hexdigest()


def _pointed_to(node: Any) -> Iterator[str]:
    """The files that a claim's arrays are read from, and what else it may call npz."""
    if isinstance(node, dict):
        if isinstance(node.get("npz"), str):
            yield node["npz"]
        node = list(node.values())
    if isinstance(node, list):
        for child in node:
            yield from _pointed_to(child)


def _question(claim: Claim) -> str:
    asked = request.request(claim, request.asks(claim), Setting())
    for how in ("ask", "of", "mode", "dtype"):
        asked.pop(how, None)
    text = json.dumps(asked, default=observe.encode, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
