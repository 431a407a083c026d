"""What did an environment say before, that does not change?"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import inspect
import json
import os
from dataclasses import dataclass, field
from pathlib import Path

from rnn_check.asking import plans, request
from rnn_check.asking.observations import Digests, Observations
from rnn_check.asking.records import RecordError, read, write
from rnn_check.asking.request import Answer, Setting
from rnn_check.claims.claim import Claim
from rnn_check.subjects.asked import machine
from rnn_check.subjects.identity import Identity


@dataclass
class Recalled:
    """What an environment that does not change said, and what exactly it was asked.

    asked: claim by claim, the digest of the plan that was sent. planned: the digests of plans that
    were made already, with the claims, of whoever is asked in the same setting.
    """

    setting: Setting
    identity: Identity | None = None
    answers: dict[str, Answer] = field(default_factory=dict)
    asked: dict[str, str] = field(default_factory=dict)
    planned: dict[tuple[int, Setting], tuple[Claim, str]] = field(default_factory=dict, repr=False)

    def answer(self, claim: Claim) -> Answer | None:
        """What was answered to this very question; None if that is not known."""
        if (answer := request.unasked(claim, self.setting)) is not None:
            return answer
        if self.asked.get(claim.name) != self._question(claim):
            return None
        return self.answers.get(claim.name)

    def keep(self, claim: Claim, answer: Answer) -> None:
        self.answers[claim.name] = answer
        self.asked[claim.name] = self._question(claim)

    def _question(self, claim: Claim) -> str:
        key = id(claim), self.setting
        if key not in self.planned:
            _, message = plans.planned(request.request(claim, request.asks(claim), self.setting))
            self.planned[key] = claim, message.digest
        return self.planned[key][1]


@dataclass(frozen=True)
class Memory:
    """A folder of what environments said: a record for each, on this machine, asked in one way.

    forget: whether everything is to be asked anew.
    """

    folder: Path
    forget: bool = False
    _plans: dict[tuple[int, Setting], tuple[Claim, str]] = field(default_factory=dict, repr=False)

    def recall(self, environment: str, backend: str, setting: Setting) -> Recalled:
        path = self._path(environment, backend, setting)
        if self.forget or not path.is_file():
            return Recalled(setting, planned=self._plans)
        try:
            (said,) = read(path).subjects
        except (RecordError, ValueError):  # of another version, or damaged: ask again
            return Recalled(setting, planned=self._plans)
        asked = {name: digests.question for name, digests in said.claims.items()}
        return Recalled(setting, said.identity, said.answers, asked, self._plans)

    def keep(self, environment: str, backend: str, said: Recalled) -> None:
        """Not what failed with the process. That nothing can be kept is no failure: it is asked."""
        path = self._path(environment, backend, said.setting)
        answers = {
            name: answer
            for name, answer in said.answers.items()
            if name in said.asked and not answer.fault
        }
        digests = {name: Digests("", said.asked[name]) for name in answers}
        assert said.identity is not None
        with contextlib.suppress(OSError, RecordError):
            path.parent.mkdir(parents=True, exist_ok=True)
            write(path, [Observations(said.setting, said.identity, answers, digests)])

    def _path(self, environment: str, backend: str, setting: Setting) -> Path:
        """What may change an answer besides the question is in the name."""
        settings = {k: v for k, v in os.environ.items() if machine.SETTINGS.match(k)}
        parts = [
            *(environment, backend, dataclasses.asdict(setting), settings),
            *(machine.cpu_model(), machine.available_cores(), _programs()),
        ]
        digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
        return self.folder / f"{digest[:20]}.npz"


@functools.cache
def _programs() -> str:
    """A digest of the programs that ask and answer."""
    asked = sorted(Path(machine.__file__).parent.glob("*.py"))
    planned = {Path(inspect.getfile(plan)) for plan in plans.QUESTIONS.values()}
    planned |= {Path(inspect.getfile(plans.Plan))}  # and what they are made of
    texts = (file.read_bytes() for file in (*asked, *sorted(planned)))
    return hashlib.sha256(b"".join(texts)).hexdigest()
