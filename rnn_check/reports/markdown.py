"""What does a pull request show of what changed?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from rnn_check.reports.change import LEGEND, cell, groups, is_known, packages
from rnn_check.reports.github import escaped
from rnn_check.upgrades.changes import BETTER, BEYOND, DRIFT, OTHER, SAID, WORSE, Compared
from rnn_check.upgrades.sentence import effects, sentence, ulps


def markdown(compared: Compared) -> str:
    """For a pull request, or the summary of a run in CI."""
    lines = [f"**{escaped(sentence(compared))}**", ""]
    for side in compared.sides:
        lines += [f"- of {escaped(side.word)}: {escaped(note)}" for note in side.notes]
    lines += [""] * any(side.notes for side in compared.sides)
    lines += ["| | asked | against the first |", "|---|---|---|"]
    for number, side in enumerate(compared.sides, 1):
        against = "baseline" if number == 1 else effects(compared, number - 1)
        if side.failure or compared.sides[0].failure:
            against = "could not be asked" if side.failure else "the baseline could not be asked"
        lines.append(f"| {number} | {escaped(packages(side))} | {escaped(against)} |")
    if len(compared.sides) > 2:
        lines += ["", *_history(compared)]
    for heading, rows in groups(compared.changed):
        numbers = [str(i + 1) for i in range(len(compared.sides))]
        grave = rows[0].gravest in (WORSE, BEYOND) and not is_known(rows[0])
        lines += ["", f"<details{' open' * grave}>"]
        lines += [f"<summary>{heading} ({len(rows)})</summary>", ""]
        lines.append("| claim | " + " | ".join(numbers) + " |")
        lines.append("|---|" + "---|" * len(numbers))
        for row in rows:
            cells = [cell(*each) for each in zip(row.verdicts, row.changes, strict=True)]
            name = escaped(f"{row.name} · {row.what}")
            lines.append(f"| {name} | " + " | ".join(cells) + " |")
        lines += ["", "</details>"]
    lines += ["", escaped(LEGEND)] if compared.changed else []
    return "\n".join(lines) + "\n"


def _history(compared: Compared) -> Iterator[str]:
    """A table of what each subject changed since the one before it, by the files of claims."""
    yield "| from | to | verdicts and answers that changed | last bits |"
    yield "|---|---|---|---|"
    names = compared.names()
    for i, step in enumerate(compared.steps):
        if any(side.failure for side in step.sides):
            yield f"| {escaped(names[i])} | {escaped(names[i + 1])} | could not be asked | |"
            continue
        told = []
        words = {WORSE: "worse", BEYOND: "moved", BETTER: "better", OTHER: "else", SAID: "says"}
        for kind, word in words.items():
            files = Counter(row.name.partition("[")[0] for row in step.of_kind(kind))
            told += [
                f"{word}: {escaped(name)}" + f" ×{count}" * (count > 1)
                for name, count in files.items()
            ]
        drifted = step.of_kind(DRIFT)
        most = max((row.ulp or 0.0 for row in drifted), default=0.0)
        bits = f"{len(drifted)}, at most {ulps(most)}" if drifted else "the same"
        yield f"| {escaped(names[i])} | {escaped(names[i + 1])} | {'; '.join(told)} | {bits} |"
