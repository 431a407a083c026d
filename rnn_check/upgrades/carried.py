"""Can a subject read what another one wrote?

The baseline writes the models of those claims that are about files, and everybody reads them: who
cannot, or finds something else in them, got worse. What the last subject writes the baseline reads
too; nobody promised that an older version reads a newer one's files, so that is told, and is no
worsening.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rnn_check.asking.run import Asked
from rnn_check.claims.claim import Claim
from rnn_check.claims.expectations.carried import reading, writing
from rnn_check.verdicts.gathered import Verdicts
from rnn_check.verdicts.known import Known

# whose models are carried where nobody says of which claims: each way of writing, layers with gates
# and without, stacked, masked, in both directions, and one that was trained
FEW = (
    *("options/saving/masking[of=weights]", "options/saving/masking[of=keras]"),
    *("options/saving/bidirectional_lstm[of=keras]", "options/saving/gru"),
    *("options/saving/lstm[of=h5]", "options/saving/resumed[training=accumulated]"),
    "options/saving/exported[stateful=false, mask=none]",
)


def few(claims: Sequence[Claim]) -> list[Claim]:
    return [claim for claim in claims if claim.name in FEW]


@dataclass(frozen=True)
class _File:
    """writer: which subject it is of. claim: as it is judged and shown. asked: the same, called as
    nothing else that is asked."""

    writer: int
    claim: Claim
    asked: Claim


class Carried:
    """Files between subjects: words, of which None cannot be asked. known: to be wrong."""

    def __init__(self, claims: Sequence[Claim], words: Sequence[str | None], known: Known) -> None:
        self._words = words
        self._known = known
        able = [i for i, word in enumerate(words) if word is not None]
        self._writers = [0, able[-1]] if 0 in able and len(able) > 1 else []
        wanted = [each for each in map(writing, claims) if each is not None]
        self._writing = {f"{each.name} written": each for each in wanted}
        self._asked = [dataclasses.replace(c, name=name) for name, c in self._writing.items()]
        self._files: list[_File] = []
        self._said: list[tuple[_File, Asked]] = []

    def to_write(self, subject: int) -> list[Claim]:
        """What a subject is asked first."""
        return self._asked if subject in self._writers else []

    def is_written(self, subject: int, asked: Asked) -> bool:
        """Whether this is an answer to that, which is taken."""
        if not any(asked.claim is each for each in self._asked):
            return False
        claim = self._writing[asked.claim.name]
        said = (asked.answer.observed or {}).get("written")
        if isinstance(said, dict) and "file" in said:
            read = reading(claim, said, promised=subject == 0)
            name = f"{claim.name} written by {self._words[subject]}"
            self._files.append(_File(subject, read, dataclasses.replace(read, name=name)))
        return True

    def to_read(self, subject: int) -> list[Claim]:
        """What a subject is asked then: the baseline everything, others its files and theirs."""
        return [f.asked for f in self._files if not subject or f.writer in (0, subject)]

    def read(self, subject: int, asked: Asked) -> None:
        """Take an answer to that."""
        (file,) = (f for f in self._files if f.asked is asked.claim)
        self._said.append((file, dataclasses.replace(asked, subject=subject, claim=file.claim)))

    def verdicts(self) -> Iterator[tuple[int, list[Claim], Verdicts]]:
        """Of each subject that wrote any: which it is, its claims, and what readers deserve."""
        for writer in sorted({f.writer for f in self._files}):
            claims = [f.claim for f in self._files if f.writer == writer]
            found = Verdicts(claims, self._known)
            for file, asked in self._said:
                if file.writer == writer:
                    found.add(asked)
            yield writer, claims, found
