"""What is wrong, so that it stands alone; and what is wrong in the same way, once?"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rnn_check.certificates.comparison import Comparison
from rnn_check.subjects.process import cut
from rnn_check.verdicts.judge import AGREE, DIFFER, ERROR, NOT_RUN, Judged, Verdict

LONGEST = 8_000  # characters of one explanation


def explained_once(same: Sequence[Member], judged: Sequence[Judged]) -> list[str]:
    """What several verdicts show alike."""
    i, shown = same[0]
    rerun = judged[i].rerun
    if len(judged) == 1:
        return _explained(shown, rerun, also=_also(same[1:], whose=False))
    of_it = [member for member in same if place_of(member[1]) == place_of(shown)]
    of_others = [member for member in same if place_of(member[1]) != place_of(shown)]
    return _explained(
        shown,
        rerun,
        where=numbered({k for k, v in of_it}),
        also=_also(of_others, whose=True),
        elsewhere=[
            f"  {f'in {k + 1}':9} {v.detail.splitlines()[0]}"
            for k, v in of_it
            if v.verdict == DIFFER and v.detail != shown.detail
        ],
    )


def explanation(v: Verdict, rerun: Sequence[str] = ()) -> list[str]:
    """The same of one verdict, for who was told whose it is: what is wrong comes first."""
    _, file, source, wrong, *rest = _explained(v, rerun)
    return [wrong.lstrip(), file, source, *rest]


def _explained(
    v: Verdict,
    rerun: Sequence[str],
    where: str = "",
    also: str = "",
    elsewhere: Sequence[str] = (),
) -> list[str]:
    """A difference so that it stands alone: whose number, where, how far, allowed, the command."""
    lines = [f"{v.verdict}{' (known)' * v.is_known}  {v.claim} · {v.what}"]
    if where:
        lines[0] += f"  [{where}]"
    if also:
        lines.append(f"  also      {also}")
    lines += [f"  file      {near_path(v.file)}", f"  source    {v.source}"]
    if v.verdict == AGREE and v.known:
        lines.append(f"  this was known to differ ({v.known}) and agrees now; update the claim")
    elif v.verdict == AGREE:
        lines.append(
            f"  this was known ({v.deviation}) and agrees now; update the known deviations"
        )
    else:
        lines.append("  " + cut(v.detail, LONGEST).replace("\n", "\n    "))
    lines += elsewhere
    c = v.worst
    if v.verdict == DIFFER and c is not None:
        lines += arrays(c)
    lines += [f"  {'' if i else 'cause':9} agrees if {x}" for i, x in enumerate(v.causes)]
    lines += [f"  cause     {v.no_cause}"] * bool(v.no_cause)
    if v.verdict in (DIFFER, ERROR):
        lines += [f"  known: {why}" for why in (v.known, v.deviation) if why]
    lines.append("  rerun     " + shlex.join(["rnn-check", *rerun, "-k", v.claim]))
    return lines


Member = tuple[int, Verdict]  # of which subject


def alike(judged: Sequence[Judged]) -> list[list[Member]]:
    """What has to be explained, grouped so that each thing is said once.

    Alike are: one expectation on several subjects, whatever is known under one reason, and errors
    of one text (a subject that could not be started is an error of every claim).
    """
    groups: dict[tuple[Any, ...], list[Member]] = {}
    for i, j in enumerate(judged):
        for v in j.verdicts:
            if v.verdict == NOT_RUN or (v.verdict == AGREE and not v.is_red):
                continue
            key: tuple[Any, ...] = (v.verdict, v.is_red, *place_of(v))
            if v.deviation:
                key = (v.verdict, v.is_red, v.deviation)
            elif v.verdict == ERROR:
                key = (ERROR, v.detail)
            elif v.worst is not None:
                key = (*key, v.worst.who)
            groups.setdefault(key, []).append((i, v))
    return list(groups.values())


def place_of(v: Verdict) -> tuple[str, str]:
    return v.claim, v.what


def _also(members: Iterable[Member], whose: bool) -> str:
    places: dict[tuple[str, str], set[int]] = {}
    for i, v in members:
        places.setdefault(place_of(v), set()).add(i)
    return some(
        [
            f"{claim} · {what}" + (f" [{numbered(of)}]" if whose else "")
            for (claim, what), of in places.items()
        ]
    )


def numbered(subjects: Iterable[int]) -> str:
    return ", ".join(str(i + 1) for i in sorted(subjects))


def some(names: Sequence[str], most: int = 8) -> str:
    """All of them, unless they are very many."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more:,} more" if more > 0 else "")


def near_path(file: str) -> str:
    """The path as one would type it here."""
    path, here = Path(file).absolute(), Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else file


def arrays(c: Comparison) -> list[str]:
    """Both whole, with nine digits, or as many more as show a difference."""
    if c.got.size > 400:
        return []
    texts = ["", ""]
    for digits in range(9, 18):
        with np.printoptions(precision=digits, suppress=False, linewidth=100):
            texts = [str(array) for array in (c.got, c.expected)]
        if texts[0] != texts[1]:
            break
    names = (c.whose.removeprefix("the "), c.against)
    width = max(9, *map(len, names))
    return [
        f"  {name:{width}} " + text.replace("\n", "\n" + " " * (width + 3))
        for name, text in zip(names, texts, strict=True)
    ]
