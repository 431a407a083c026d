"""What does each subject deserve, as the answers come?"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterator, Sequence

from rnn_check.asking.observations import Observations
from rnn_check.asking.request import Answer
from rnn_check.asking.run import Asked
from rnn_check.claims.claim import Claim
from rnn_check.verdicts.judge import DIFFER, Judged, Verdict, judge
from rnn_check.verdicts.known import Known

MOST_DIAGNOSED = 8  # claims of a subject: where more differ, what is wrong is no claim's number


class Verdicts:
    """Verdicts as the answers come: one claim is judged while the next is asked."""

    def __init__(self, claims: Sequence[Claim], known: Known) -> None:
        self.claims = claims
        self.known = known
        self.answers: dict[tuple[int, int], Answer] = {}
        self.of: dict[tuple[int, int], list[Verdict]] = {}
        self._of_words: dict[tuple[int, str, bytes], list[Verdict]] = {}

    def add(self, asked: Asked) -> None:
        key = asked.subject, id(asked.claim)
        self.answers[key] = asked.answer
        self.of[key] = self._judged(asked.claim, asked.answer, asked.setting.dtype)

    def _judged(self, claim: Claim, answer: Answer, dtype: str) -> list[Verdict]:
        """What the same words deserve is derived once: most releases say the same to the bit."""
        if not answer.said:
            return judge(claim, answer, dtype=dtype)
        words = json.dumps([answer.said, answer.error, answer.skip]).encode()
        key = id(claim), dtype, hashlib.sha256(words).digest()
        if key not in self._of_words:
            self._of_words[key] = judge(claim, answer, dtype=dtype)
        return self._of_words[key]

    def judged(
        self,
        index: int,
        subject: Observations,
        rerun: Sequence[str] = (),
        *,
        causes: bool = True,
    ) -> Judged:
        """All of one subject, what is known of it marked.

        causes: whether what may be the cause is looked for where a few differ (seconds each).
        """
        verdicts = [(claim, self.of.get((index, id(claim)), [])) for claim in self.claims]
        given = [(claim, each) for claim, each in verdicts if each]

        def again(claim: Claim, arithmetic: str) -> list[Verdict]:
            return judge(claim, self.answers[index, id(claim)], dtype=arithmetic)

        marked = self.known.mark(given, subject.identity, subject.setting, again)
        if causes:
            marked = list(self._diagnosed(index, subject, given, marked))
        return Judged(subject.subject, marked, rerun)

    def _diagnosed(
        self,
        index: int,
        subject: Observations,
        given: Sequence[tuple[Claim, Sequence[Verdict]]],
        marked: Sequence[Verdict],
    ) -> Iterator[Verdict]:
        """The same verdicts, those that differ unexpectedly with what may be the cause."""
        rest, looked_for = iter(marked), 0
        for claim, each in given:
            own = list(itertools.islice(rest, len(each)))
            if looked_for < MOST_DIAGNOSED and any(v.verdict == DIFFER and v.is_red for v in own):
                looked_for += 1
                from rnn_check.verdicts.diagnosis import diagnosed

                own = diagnosed(claim, self.answers[index, id(claim)], subject.setting.dtype, own)
            yield from own
