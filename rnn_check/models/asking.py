"""What does a subject say of somebody's model?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rnn_check.claims.written import Array
from rnn_check.models.inputs import unlike
from rnn_check.refusal import Refused
from rnn_check.subjects.ask import Subject
from rnn_check.subjects.plan import Message, step
from rnn_check.subjects.policy import Policy


class Unreadable(Refused):
    """What is no model whose layers could be looked at."""


@dataclass(frozen=True)
class Question:
    """How a model is looked at.

    own: the class of Keras's that a class of the user's computes the same as, by FILE.py:CLASS.
    dtype: one of `policy.NAMES`, in which it is made anew; None: as it is.
    """

    where: str
    mode: str = "eager"
    dtype: str | None = None
    own: Mapping[str, str] = field(default_factory=dict)

    def ask(self, subject: Subject, inputs: Mapping[str, Array] | None = None) -> dict[str, Any]:
        """The answer to the verb `inspect`, arrays still encoded; without inputs it is not run.

        Raises Unreadable, and SubjectError if the subject cannot be asked.
        """
        how: dict[str, Any] = {"mode": self.mode}
        if self.dtype is not None:
            policy = Policy(self.dtype)
            how |= {"dtype": policy.layer, "floatx": policy.floatx}
        given = None if inputs is None else [[name, array] for name, array in inputs.items()]
        asked = step("inspect", where=self.where, own=dict(self.own), inputs=given)
        message = Message([asked], how)
        answers = subject.follow(message, ["its layers"])
        said: dict[str, Any] = answers[message.names[asked.digest]]
        for why in ("refused", "unsupported", "error"):
            if why in said:
                problem = str(said[why])
                if inputs and (shape := unlike(inputs, self.ask(subject)["inputs"])):
                    problem = f"{shape}: {problem.splitlines()[0]}"
                raise Unreadable(f"{self.where}: {problem}")
        return said
