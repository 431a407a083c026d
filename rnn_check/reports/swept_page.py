"""What does the reader see of a sweep, as a page?

One HTML file that needs nothing else, as that of claims (see `page`), of what is in a sweep's
folder.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from rnn_check.reports import pictures
from rnn_check.reports.outcome import how_many
from rnn_check.reports.page import rendered
from rnn_check.reports.swept import KINDS, Counted, by_subject, known, sentence
from rnn_check.sweep import axes, findings
from rnn_check.sweep.results import About, Written
from rnn_check.sweep.space import AXES, FAMILY, Case, Space
from rnn_check.sweep.work import Outcome
from rnn_check.verdicts.judge import AGREE, DIFFER, ERROR, NOT_RUN

HEADS = ("cases", *KINDS, "error/bound", "bits", "ms a case")
MOST = 12  # lines of a list that may be long
_TONE = {AGREE: "same", "known": "other", DIFFER: "worse", ERROR: "worse", NOT_RUN: "same"}


@dataclass(frozen=True)
class _Row:
    """One line of a table of counts: cells of (what it says, how it is coloured)."""

    name: str
    note: str
    cells: Sequence[tuple[str, str]]


def html(
    about: About, everything: Sequence[Outcome], written: Sequence[Written], interrupted: bool
) -> str:
    """The page. everything: in the order in which it was asked; written: what was found."""
    wrong = any(each.is_found for each in everything)
    kinds = findings.groups(everything)
    return rendered(
        "swept_page.html.j2",
        sentence=sentence(everything),
        tone="worse" if wrong else "same",
        interrupted=interrupted,
        cases=_cases(everything),
        drawn=_drawn(about),
        heads=HEADS,
        subjects=[
            _row(subject, of, _packages(of)) for subject, of in by_subject(everything).items()
        ],
        throughput=Counted.of(everything),
        tables=list(_tables(about, everything)),
        known=known(everything),
        not_run=_few(each.detail for each in everything if each.verdict == NOT_RUN),
        groups=[(*key, len(of), min(each.index for each in of)) for key, of in kinds.items()],
        found=written,
        picture=_picture(everything),
    )  # fmt: skip


def _cases(everything: Sequence[Outcome]) -> str:
    cases = len({(each.seed, each.index) for each in everything})
    families = len({(each.seed, each.index // FAMILY) for each in everything})
    structures = how_many(families, "structure")
    return f"{how_many(cases, 'case')} of {structures}, {how_many(len(everything), 'outcome')}"


def _drawn(about: About) -> str:
    """Which cases these are."""
    only = [f"{a}={','.join(v)}" for a, v in about.axes.items() if tuple(v) != AXES.get(a)]
    words = f"seed {about.seed} of version {about.version} of the space"
    return f"{words}; {' '.join(only)}" if only else words


def _row(name: str, of: Sequence[Outcome], note: str = "") -> _Row:
    counted = Counted.of(of)
    counts = [(kind, counted.of_kind[kind]) for kind in KINDS]
    return _Row(
        name,
        note,
        [
            (f"{counted.many:,}", ""),
            *((f"{n:,}" if n else "·", _TONE[kind] if n else "same") for kind, n in counts),
            *((figure, "") for figure in counted.figures()),
            (f"{1000 / counted.rate:.0f}" if counted.rate else "", ""),
        ],
    )


def _packages(of: Sequence[Outcome]) -> str:
    """Who that was: more than one if the packages changed while it was interrupted."""
    return "; ".join(dict.fromkeys(each.packages for each in of if each.packages))


def _tables(about: About, everything: Sequence[Outcome]) -> Iterator[tuple[str, list[_Row]]]:
    """Of each axis: its values, and what came of the cases that have them."""
    space, families = Space(about.axes), {}
    by_value: Mapping[str, dict[str, list[Outcome]]] = {axis: {} for axis in axes.SEEN}
    for each in everything:
        family = each.seed, each.index // FAMILY
        if family not in families:
            families[family] = axes.of_family(Case(each.seed, each.index), space)
        for axis, values in families[family].items():
            for value in values:
                by_value[axis].setdefault(value, []).append(each)
    for axis, found in by_value.items():
        yield axis, [_row(value, found[value]) for value in AXES[axis] if value in found]


def _few(words: Iterable[str]) -> list[tuple[str, int]]:
    return Counter(words).most_common(MOST)


def _picture(everything: Sequence[Outcome]) -> str:
    """Of the cases that were proved, and of those that differ; "" where none has a ratio."""
    ratios = [each.ratio for each in everything if each.ratio is not None and not each.known]
    if not ratios:
        return ""
    return pictures.shares("shares", np.array(ratios), "How many cases have which error/bound.")
