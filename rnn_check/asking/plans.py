"""What does a subject have to do, so that all questions of an experiment can be answered?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rnn_check.asking import questions as _all  # noqa: F401  (registers them)
from rnn_check.asking.questions.plan import QUESTIONS, Experiment, Plan, question
from rnn_check.subjects.ask import Subject
from rnn_check.subjects.plan import Message

__all__ = ["QUESTIONS", "Experiment", "Plan", "ask", "planned", "question"]
HOW = ("mode", "dtype", "floatx", "replace")


def planned(e: Mapping[str, Any]) -> tuple[dict[str, Plan], Message]:
    """The plan of each question that the experiment asks, and all of them as one message."""
    e = Experiment(e)
    plans = {name: QUESTIONS[name](e) for name in e["ask"]}
    how = {name: e[name] for name in HOW if e.get(name) is not None}
    return plans, Message((each for p in plans.values() for each in p.steps.values()), how)


def ask(subject: Subject, e: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What was observed, question by question: arrays still encoded, and as NumPy's.

    Raises Raised if the layers of the experiment could not be made, and SubjectError if there is no
    answer. What breaks one question is the answer to it, {"error", "traceback"} or {"unsupported"}.
    """
    plans, message = planned(e)
    answers = subject.follow(message, e["ask"])
    if (own := message.names.get(Experiment(e).made.digest)) is not None:
        subject.check(answers[own])

    def observed() -> dict[str, Any]:
        return {
            question: plan.observed(
                {name: answers[message.names[s.digest]] for name, s in plan.steps.items()}
            )
            for question, plan in plans.items()
        }

    return subject.understood(observed)
