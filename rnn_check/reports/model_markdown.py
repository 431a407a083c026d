"""What does a pull request show of what changed in somebody's model?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rnn_check.reports.explaining import near_path
from rnn_check.reports.github import escaped, fenced
from rnn_check.reports.model_changes import cells, sentence, told_of
from rnn_check.reports.subject import header
from rnn_check.upgrades.models import Change, Compared

HEADS = ("layer", "computes", "before", "after", "change", "bounds", "gradients")


def markdown(compared: Compared) -> str:
    """Who was asked; of each but the first what changed, in a sentence and a table of layers."""
    asked = numbers_asked(compared)
    lines = [f"**{escaped(sentence(compared, n))}**" for n in asked] or [
        "**Nothing was compared.**"
    ]
    lines += ["", f"{escaped(near_path(compared.where))}, {escaped(compared.ran_on)}", ""]
    lines += ["| | asked | |", "|---|---|---|"]
    for number, side in enumerate(compared.sides, 1):
        who = side.word if side.who is None else f"{side.word}: {header(side.who)}"
        notes = "; ".join([*side.notes, *([f"could not be asked: {side.failure}"] if side.failure
                                          else [])])  # fmt: skip
        lines.append(f"| {number} | {escaped(who)} | {escaped(notes)} |")
    for number in asked:
        changes = compared.changes(number)
        changed = [each for each in changes if each.has_changed]
        same = [each for each in changes if not each.has_changed]
        for heading, shown in (("changed", changed), ("the same", same)):
            if shown:
                is_open = " open" * any(c.is_worse and not c.is_known for c in shown)
                title = f"1 → {number + 1}: {heading} ({len(shown)})"
                lines += ["", f"<details{is_open}>", f"<summary>{title}</summary>", ""]
                lines += [*_table(shown), "", "</details>"]
    return "\n".join(lines) + "\n"


def numbers_asked(compared: Compared) -> list[int]:
    """The subjects beside the first that said something, if the first did."""
    sides = range(1, len(compared.sides) if compared.sides[0].model is not None else 1)
    return [number for number in sides if compared.sides[number].model is not None]


def _table(changes: Sequence[Change]) -> Iterator[str]:
    yield "| " + " | ".join(HEADS) + " |"
    yield "|" + "---|" * len(HEADS)
    for each in changes:
        yield "| " + " | ".join(escaped(cell) for cell in cells(each)) + " |"
    for each in changes:
        for words in told_of(each):
            yield ""
            yield from fenced(words)
