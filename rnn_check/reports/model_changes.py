"""What does the reader see of what changed in a model of theirs?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from rnn_check.models.judged import Row
from rnn_check.reports.cells import as_text
from rnn_check.reports.documents import as_document
from rnn_check.reports.explaining import near_path
from rnn_check.reports.models import cell, finite, folded, remarks, told
from rnn_check.reports.subject import header
from rnn_check.reports.terminal import line, plain
from rnn_check.subjects.process import cut
from rnn_check.upgrades.models import Change, Compared

LEGEND = (
    "before, after: the verdict of all that was certified of the layer, and the largest error as a "
    "share of what rounding explains. change: the largest, of any step that it puts out; bounds: "
    "how far rounding may put that one step off, in either. Beyond their sum, what the layer takes "
    "had changed already, or changes grow from step to step."
)
SCHEMA = 1
_NAMED = 3  # layers in a sentence


def terminal(compared: Compared, console: Console, everything: bool) -> None:
    """Who was asked, and for each but the first what changed, a table of layers."""
    console.print(as_text(line(near_path(compared.where)), style="bold"))
    console.print(as_text(compared.ran_on, style="dim"))
    for number, side in enumerate(compared.sides, 1):
        console.print(as_text(f"{number}  {side.word}", style="bold"))
        if side.who is not None:
            console.print(Padding(as_text(header(side.who), style="dim"), (0, 0, 0, 3)))
        for note in side.notes:
            console.print(Padding(as_text(note, style="yellow"), (0, 0, 0, 3)))
        if side.failure:
            said = as_text(cut(side.failure, 600), style="magenta")
            console.print(Padding(said, (0, 0, 0, 3)))
    for number in range(1, len(compared.sides)):
        if compared.sides[0].model is None or compared.sides[number].model is None:
            continue
        changes = compared.changes(number)
        console.print()
        console.print(as_text(sentence(compared, number), style="bold"))
        shown = [each for each in changes if everything or each.has_changed]
        if shown:
            console.print(_table(shown, console.width))
        for each in shown:
            for which, row in (("before", each.before), ("after", each.after)):
                for heading, style, words in [] if row is None else remarks(row, ""):
                    if everything or each.is_worse:
                        console.print(as_text(line(f"{which}: {heading}"), style=style))
                        console.print(Padding(as_text(cut(words, 4_000)), (0, 0, 0, 2)))
    console.print()
    console.print(as_text(LEGEND, style="dim"))


def sentence(compared: Compared, number: int) -> str:
    """What became of the baseline's layers with that subject."""
    changes = compared.changes(number)
    said = [f"1 → {number + 1}: "]
    worse = [each for each in changes if each.is_worse and not each.is_known]
    known = [each for each in changes if each.is_known]
    moved = [each for each in changes if each.has_changed and not each.is_worse]
    if worse:
        said.append(f"{_many(len(worse))} got worse: {', '.join(each.path for each in worse)}")
    else:
        said.append(f"no verdict of {_many(len(changes))} got worse")
    if known:
        paths = ", ".join(each.path for each in known)
        said.append(f"; {_many(len(known))} got worse as is known: {paths}")
    if not moved:
        others = "; all others are the same, bit for bit"
        said.append(others if worse or known else ", bit for bit the same")
    else:
        far = max(moved, key=lambda each: each.size or 0.0)
        said.append(f"; {len(moved)} changed, by at most {far.size or 0:.2g} ({far.path})")
        beyond = [each.path for each in moved if not each.is_within]
        more = f" and {len(beyond) - _NAMED} more" * (len(beyond) > _NAMED)
        said.append(f", beyond both bounds in {', '.join(beyond[:_NAMED])}{more}" if beyond else
                    ", within both bounds")  # fmt: skip
    if changed := sum(each.has_other_weights for each in changes):
        said.append(f"; the weights of {changed} are others, so that their numbers have to be")
    outputs = compared.of_outputs(number)
    if outputs is not None:
        said.append(f"; what the model gives changed by at most {outputs:.2g}" if outputs else
                    "; what the model gives is the same")  # fmt: skip
    return "".join(said)


def _many(n: int) -> str:
    return f"{n} recurrence" + "s" * (n != 1)


def _table(changes: Sequence[Change], width: int) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold dim")
    table.add_column("layer", overflow="fold")
    for name in ("computes", "before", "after"):
        table.add_column(name, no_wrap=True)
    for name in ("change", "bounds", "gradients"):
        table.add_column(name, justify="right", no_wrap=True)
    for each in changes:
        _, what, _, _, *figures = cells(each)
        before, after = _cell(each.before), _cell(each.after)
        table.add_row(folded(each.path, width), line(what), before, after, *figures)
    return table


def cells(change: Change) -> list[str]:
    """layer, computes, before, after, change, bounds, gradients."""
    row = change.after or change.before
    bounds = "" if change.size is None else " + ".join(f"{b:.0e}" for b in change.bounds)
    return [
        change.path, row.what if row else "", _cell(change.before).plain, _cell(change.after).plain,
        _size(change.size), bounds, _size(change.gradients),
    ]  # fmt: skip


def told_of(change: Change) -> Iterator[str]:
    """Of what got worse, what is wrong or not proved, before and after."""
    for which, row in (("before", change.before), ("after", change.after)):
        for heading, _, words in remarks(row, "") if row is not None and change.is_worse else ():
            yield line(f"{which}: {heading}") + f"\n  {plain(cut(words, 4_000))}"


def _size(size: float | None) -> str:
    return "" if size is None else "0" if size == 0 else f"{size:.1e}"


def _cell(row: Row | None) -> Text:
    if row is None:
        return Text("absent", style="magenta")
    ratios = [part.ratio for part in row.parts if part.ratio is not None]
    return cell(row.verdict, max(ratios, default=None))


def document(compared: Compared) -> str:
    """The same as one JSON document."""
    return as_document(
        {
            "schema": SCHEMA,
            "model": compared.where,
            "ran_on": compared.ran_on,
            "subjects": [
                {
                    "word": side.word,
                    **({} if side.who is None else side.who.told()),
                    "failure": side.failure or None,
                    "layers": [told(row) for row in side.rows.values()],
                }
                for side in compared.sides
            ],
            "changes": [
                {"subject": number, **_told(each)}
                for number in range(1, len(compared.sides))
                if not compared.sides[number].failure and not compared.sides[0].failure
                for each in compared.changes(number)
            ],
        }
    )


def _told(change: Change) -> dict[str, Any]:
    known = change.size is not None
    return {
        "layer": change.path,
        "before": None if change.before is None else change.before.verdict,
        "after": None if change.after is None else change.after.verdict,
        "worse": change.is_worse,
        "known": change.is_known,
        "same_bits": change.same_bits,
        "same_weights": not change.has_other_weights,
        "change": finite(change.size),
        "where": list(change.where),
        "bounds": [finite(bound) for bound in change.bounds] if known else None,
        "gradients": finite(change.gradients),
    }
