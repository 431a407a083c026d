"""What does a reader see of which features differ where, as one table?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import date

from rnn_check.reports.github import escaped
from rnn_check.reports.outcome import how_many
from rnn_check.upgrades.history import LETTERS, Feature, History

MARKS = "¹²³⁴⁵⁶⁷⁸⁹ᵃᵇᶜᵈᵉᶠᵍʰⁱʲᵏˡᵐⁿᵒᵖ"  # of the ways, in their order
UNASKED = "–"
LONGEST = 300  # characters of why somebody could not be asked


def markdown(history: History, today: date) -> str:
    """A part of a page: what was asked of whom and when, the table, and its legend."""
    lines = [f"{said(history)} Asked on {escaped(when(history, today))}.", ""]
    if history.differing:
        lines += [*_table(history), ""]
        lines += [*(f"{line}  " for line in legend(history)), ""]
    lines += [f"- {escaped(note)}" for note in notes(history)]
    return "\n".join(lines).rstrip() + "\n"


def _table(history: History) -> Iterator[str]:
    columns = history.columns
    yield _row(["", *columns])
    yield _row(["---", *["---"] * len(columns)])
    yield _row(["*asked on*", *map(history.letters, columns)])
    for group in history.differing:
        cells = (cell(history, group[0], column) for column in columns)
        yield _row([escaped(name(group)), *cells])


def said(history: History) -> str:
    """What there is to see, in a sentence."""
    differ = sum(map(len, history.differing))
    features = how_many(differ + len(history.same), "feature")
    claims, subjects = how_many(history.claims, "claim"), how_many(len(history.places), "subject")
    return f"{differ} of {features} differ somewhere, in {claims} asked of {subjects}."


def when(history: History, today: date) -> str:
    """The day, and on which processors and Pythons."""
    who = [place.side.subject for place in history.places]
    cpus = dict.fromkeys(each.cpu for each in who if each.cpu)
    pythons = dict.fromkeys(f"Python {each.python}" for each in who)
    return ", ".join([f"{today.day} {today:%B %Y}", *cpus, *pythons])


def name(group: Sequence[Feature]) -> str:
    """What features of one folder are called together: "options/masks/loss, masking"."""
    folder, slash, first = group[0].name.rpartition("/")
    rest = [each.name.rpartition("/")[2] for each in group[1:]]
    return ", ".join([f"{folder}{slash}{first}", *rest])


def cell(history: History, feature: Feature, column: str) -> str:
    """On which backends it differs there, each with the ways in which alone it does: "TJ¹"."""
    if not feature.asked.get(column):
        return UNASKED
    found = []
    for letter in history.letters(column):
        ways = feature.marks.get((column, letter))
        if ways is not None:
            found.append(letter + "".join(MARKS[history.alone.index(way)] for way in ways if way))
    return "".join(found)


def legend(history: History) -> Iterator[str]:
    used = {letter for column in history.columns for letter in history.letters(column)}
    yield ", ".join(f"{letter} {backend}" for backend, letter in LETTERS.items() if letter in used)
    if history.alone:
        ways = zip(MARKS, history.alone, strict=False)
        yield "only asked so: " + ", ".join(f"{mark} {way}" for mark, way in ways)
    blank = "empty: whoever there can be asked it agrees"
    some = any(history.unasked(group[0]) for group in history.differing)
    yield f"{blank}; {UNASKED} nobody can" if some else blank


def notes(history: History) -> Iterator[str]:
    """What differs nowhere, what has to be known of subjects, and who could not be asked."""
    if history.same:
        yield f"Nothing differs in {len(history.same)} others: {_folders(history.same)}."
    if history.nowhere:
        yield f"{len(history.nowhere)} could be asked of nobody: {_folders(history.nowhere)}."
    told: dict[str, list[str]] = {}
    for place in history.places:
        for note in place.side.notes:
            told.setdefault(note, []).append(place.side.word)
    for note, words in told.items():
        yield f"{', '.join(words) if len(words) < len(history.places) else 'Of all'}: {note}"
    for side in history.failed:
        yield f"{side.word} could not be asked: {_cut(' '.join(side.failure.split()))}"


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else text[:LONGEST] + " …"


def _folders(features: Sequence[Feature]) -> str:
    """How many of which folder: "6 of article, 2 of options/masks"."""
    many = Counter(each.name.rpartition("/")[0] for each in features)
    return ", ".join(f"{n} of {folder}" if folder else f"{n}" for folder, n in many.items())


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
