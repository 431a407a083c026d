"""What came of it all: in a sentence, in numbers, as an exit code?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from rnn_check.reports.explaining import place_of
from rnn_check.verdicts.judge import AGREE, DIFFER, ERROR, NOT_RUN, Judged, Verdict


def summary(verdicts: Iterable[Verdict]) -> dict[str, int]:
    """How many verdicts of each kind; `known` of those that differ or are errors were expected."""
    verdicts = list(verdicts)
    counts = Counter(v.verdict for v in verdicts)
    known = sum(1 for v in verdicts if v.is_known)
    return {kind: counts[kind] for kind in (AGREE, DIFFER, ERROR, NOT_RUN)} | {"known": known}


def exit_code(verdicts: Iterable[Verdict]) -> int:
    """0 all agree (or are as known) · 1 something differs · 3 a subject could not be asked.

    A run in which nothing was compared is not green: 3 as well.
    """
    verdicts = list(verdicts)
    if any(v.is_red for v in verdicts):
        return 1
    if any(v.verdict == ERROR and not v.is_known for v in verdicts):
        return 3
    return 0 if any(v.verdict != NOT_RUN for v in verdicts) else 3


def sentence(judged: Sequence[Judged], interrupted: bool = False) -> str:
    """Whether all is well: "Everything agrees, but for 5 differences that are known."

    One number is one, on however many subjects.
    """
    verdicts = verdicts_of(judged)

    def places(which: Iterable[Verdict]) -> int:
        return len({place_of(v) for v in which})

    differ = [v for v in verdicts if v.verdict == DIFFER and v.is_red]
    errors = places(v for v in verdicts if v.verdict == ERROR and not v.is_known)
    gone = places(v for v in verdicts if v.verdict == AGREE and v.is_red)
    known = {
        kind: places(v for v in verdicts if v.verdict == kind and v.is_known)
        for kind in (DIFFER, ERROR)
    }
    kinds = ((known[DIFFER], "difference"), (known[ERROR], "error"))
    excused = " and ".join(how_many(n, word) for n, word in kinds if n)
    many = sum(known.values()) != 1
    parts = []
    if differ:
        numeric = all(c.got.dtype.kind == "f" for v in differ if (c := v.worst) is not None)
        n = places(differ)
        word = "number" if numeric else "thing"
        parts.append(f"{how_many(n, word)} differ{'s' * (n == 1)} that {_was(n)} not known to")
    if errors:
        parts.append(f"{how_many(errors, 'thing')} could not be judged for an error")
    if gone:
        parts.append(f"{how_many(gone, 'thing')} known to be wrong agree{'s' * (gone == 1)} now")
    if parts:
        words = ", ".join(parts[:-1]) + " and " * (len(parts) > 1) + parts[-1]
        words += f", beside {excused} that {_are(many)} known" * bool(excused)
    elif not any(v.verdict != NOT_RUN for v in verdicts):
        words = "Nothing was compared"
    else:
        words = "Everything agrees" if not interrupted else "What was judged agrees"
        words += f", but for {excused} that {_are(many)} known" * bool(excused)
    return f"{words}{' so far' * interrupted}."


def how_many(n: int, word: str) -> str:
    return f"{n:,} {word}{'s' * (n != 1)}"


def _was(n: int) -> str:
    return "was" if n == 1 else "were"


def _are(many: bool) -> str:
    return "are" if many else "is"


def verdicts_of(judged: Sequence[Judged]) -> list[Verdict]:
    return [v for j in judged for v in j.verdicts]


def counts(verdicts: Iterable[Verdict]) -> str:
    """The last line: "41 agree · 1 differ (1 known) · 0 error · 6 not_run"."""
    verdicts = list(verdicts)
    s = summary(verdicts)
    known = Counter(v.verdict for v in verdicts if v.is_known)
    differ, error = (f" ({known[kind]} known)" * bool(known[kind]) for kind in (DIFFER, ERROR))
    return f"{s[AGREE]} agree · {s[DIFFER]} differ{differ} · {s[ERROR]} error{error} · " + (
        f"{s[NOT_RUN]} not_run"
    )
