"""How are subjects asked about a model, for `compare --model`?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rnn_check.cli.commands import BadInput
from rnn_check.cli.model import question_of, ran_on_of
from rnn_check.reports.terminal import say

if TYPE_CHECKING:
    from rnn_check.models.asking import Question
    from rnn_check.models.recorded import Said
    from rnn_check.upgrades.models import Compared, Side
    from rnn_check.upgrades.subjects import How, Prepared, Word
    from rnn_check.verdicts.known import Known


def compared(
    words: Sequence[Word], how: How, what: str, given: Path | None, own: Sequence[str],
    dtype: str | None, known: Known,
) -> Compared:  # fmt: skip
    """What each subject says of the model, run on the same input as the first that was asked.

    BadInput for what is seen to be wrong before that, and for records that hold no such model.
    """
    from rnn_check.subjects import environments
    from rnn_check.upgrades import subjects
    from rnn_check.upgrades.models import Compared

    question = question_of(what, how.setting.mode, dtype, own)
    recorded = {i: _of_record(word, question) for i, word in enumerate(words) if word.observed}
    try:
        prepared = subjects.prepared(words, how)
    except environments.Unmade as error:
        raise BadInput(str(error)) from None
    inputs: Mapping[str, Any] | None = None
    ran_on = ""
    if given is None and recorded:
        first = next(iter(recorded.values()))
        inputs, ran_on = first.ran_on, "run on what the record was run on"
    sides = []
    for number, each in enumerate(prepared):
        if number in recorded:
            said = recorded[number]
            sides.append(_side(each, said, known))
            continue
        found, told = _asked(each, question, how, given, inputs)
        if isinstance(found, str):
            sides.append(_failed(each, found))
        else:
            sides.append(_side(each, found, known))
            inputs, ran_on = found.ran_on, ran_on or told
    return Compared(question.where, sides, ran_on)


def _of_record(word: Word, question: Question) -> Said:
    from rnn_check.models import recorded

    assert word.observed is not None
    found = recorded.of(word.observed)
    names = [Path(said.question.where).name for said in found]
    for said, name in zip(found, names, strict=True):
        if name == Path(question.where).name:
            return said
    raise BadInput(
        f"{word.text}: it holds no model {Path(question.where).name}"
        + (f", but {', '.join(names)}" if names else "; `rnn-check model --record` makes one")
    )


def _asked(
    each: Prepared, question: Question, how: How, given: Path | None, inputs: Any
) -> tuple[Said | str, str]:
    """What it says, and on what it was run in words; or why it says nothing."""
    from rnn_check.models.asking import Unreadable
    from rnn_check.models.recorded import Said
    from rnn_check.subjects import environments
    from rnn_check.subjects.ask import Subject, SubjectError

    if each.target is None:
        return each.failure, ""
    if each.target.framework != "keras":
        return "it is no Keras, and the model is one of Keras's", ""
    made, told = each.target.environment, ""
    with environments.interruptible(how.stopped):
        say(f"{each.word.text}: asked about {Path(question.where).name}")
        options: dict[str, Any] = {"timeout": how.timeout, "memory": how.memory}

        def answer(**more: Any) -> Said:
            nonlocal inputs, told
            backend = each.target.backend if each.target else None
            with Subject(backend, **options, **more) as subject:
                if inputs is None:
                    inputs, told = ran_on_of(question, subject, given, None, None, None)
                return Said(question, subject.identity, question.ask(subject, inputs), inputs)

        try:
            if made is None:
                return answer(), told
            with made.held(lambda stage: say(f"{each.word.text}: {stage}")) as python:
                return answer(python=python), told
        except (SubjectError, Unreadable) as error:
            return str(error), told


def _side(each: Prepared, said: Said, known: Known) -> Side:
    from rnn_check.upgrades.models import Side

    return Side(each.word.text, said.who, said.judged(known), notes=each.notes)


def _failed(each: Prepared, failure: str) -> Side:
    from rnn_check.upgrades.models import Side

    return Side(each.word.text, failure=failure, notes=each.notes)
