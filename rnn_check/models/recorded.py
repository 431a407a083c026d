"""What was said of a model, in a file that is judged elsewhere?

A record as of claims (see `asking.records`), whose one answer is what the verb `inspect` said.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rnn_check.asking import records
from rnn_check.asking.observations import Observations
from rnn_check.asking.request import Answer, Setting
from rnn_check.claims.written import Array
from rnn_check.models.asking import Question
from rnn_check.models.excused import Excuses
from rnn_check.models.judged import Model, judged
from rnn_check.refusal import Refused
from rnn_check.subjects.ask import SubjectError, decode, encode
from rnn_check.subjects.identity import Identity, Who
from rnn_check.verdicts.known import Known

_NAME = "a model: "  # before what it is kept as, which no claim is called


class NoModel(Refused):
    """A record in which there is no model."""


@dataclass(frozen=True)
class Said:
    """What one subject said of a model, arrays still encoded; ran_on: of which inputs."""

    question: Question
    identity: Identity
    said: Mapping[str, Any]
    ran_on: Mapping[str, Array]

    @property
    def who(self) -> Who:
        return self.identity.asked(self.question.mode, self.question.dtype or self.identity.dtype)

    def judged(self, known: Known) -> Model:
        """What is to be said of each layer. Raises SubjectError for what is no answer."""
        excuses = Excuses(known, self.identity, self.question.mode, self.question.dtype)
        try:
            return judged(self.question.where, decode(dict(self.said)), excuses)
        except (KeyError, IndexError, TypeError, AttributeError) as error:
            words = f"{type(error).__name__}: {error}"
            raise SubjectError(f"{self.question.where}: what was said of it is no answer: {words}"
                               ) from None  # fmt: skip

    def observations(self) -> Observations:
        question = self.question
        kept = {
            **self.said,
            "question": {"dtype": question.dtype, "own": dict(question.own)},
            "ran_on": [[name, encode(array)] for name, array in self.ran_on.items()],
        }
        setting = Setting(question.mode, question.dtype or "float32")
        answer = Answer({}, said=kept)
        return Observations(setting, self.identity, {f"{_NAME}{question.where}": answer})


def write(path: Path, subjects: Sequence[Said]) -> None:
    """Raises RecordError if it cannot be written."""
    records.write(path, [each.observations() for each in subjects])


def of(observed: Observations) -> list[Said]:
    """The models in what one subject said."""
    found = []
    for name, answer in observed.answers.items():
        if not name.startswith(_NAME):
            continue
        said = dict(answer.said)
        asked, ran_on = said.pop("question"), said.pop("ran_on")
        mode = observed.setting.mode
        question = Question(name[len(_NAME) :], mode, asked["dtype"], asked["own"])
        inputs = {name: decode(array) for name, array in ran_on}
        found.append(Said(question, observed.identity, said, inputs))
    return found


def read(path: Path) -> list[Said]:
    """Raises RecordError for what is no record, and NoModel."""
    try:
        found = [said for each in records.read(path).subjects for said in of(each)]
    except (KeyError, TypeError, ValueError):
        found = []
    if not found:
        raise NoModel(f"{path}: a record, but of no model; `rnn-check judge` reads those of claims")
    return found
