"""What does the reader see of verdicts, in a terminal?

What is well is said in few lines, what is wrong in full. One subject is a table of its own; several
stand side by side, a column each.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum

from rich.console import Console
from rich.padding import Padding

from rnn_check.reports.cells import as_text
from rnn_check.reports.explaining import (
    LONGEST,
    Member,
    alike,
    explained_once,
    numbered,
    place_of,
    some,
)
from rnn_check.reports.folders import folders, folders_side_by_side
from rnn_check.reports.outcome import counts, how_many, sentence
from rnn_check.reports.rows import rows, rows_side_by_side
from rnn_check.reports.subject import header, machine
from rnn_check.reports.terminal import line, plain
from rnn_check.subjects.process import cut
from rnn_check.verdicts.judge import NOT_RUN, Judged


class Amount(Enum):
    """How much is printed: what is wrong and the counts; what is needed to see that all is well;
    every verdict, and all that is known in full."""

    WRONG = "wrong"
    SHORT = "short"
    ALL = "all"


def terminal(
    judged: Sequence[Judged],
    console: Console,
    titles: Mapping[str, str] | None = None,
    amount: Amount = Amount.SHORT,
    *,
    interrupted: bool = False,
) -> None:
    """Who was asked; the answer in a sentence; a table; each thing that is wrong, once; the counts.

    titles: of claims, by name.  interrupted: whether more was to be asked.
    """
    several = len(judged) != 1
    if amount is not Amount.WRONG:
        (_print_subjects if several else _print_subject)(judged, console)
        console.print()
        console.print(as_text(sentence(judged, interrupted), style="bold"))
        console.print()
        if not any(j.verdicts for j in judged):
            pass
        elif amount is Amount.SHORT:
            (folders_side_by_side if several else folders)(judged, console)
        elif several:
            rows_side_by_side(judged, console)
        else:
            rows(judged[0].verdicts, titles or {}, console)
    known, any_yet = [], False
    for same in alike(judged):
        if same[0][1].is_known and amount is not Amount.ALL:
            known.append(same)
            continue
        if amount is not Amount.WRONG or any_yet:
            console.print()
        any_yet = True
        console.print(as_text("\n".join(explained_once(same, judged))), soft_wrap=True)
    if amount is not Amount.WRONG:
        if known:
            _print_known(known, console, several)
        _print_not_run(judged, console, amount, several)
    if amount is not Amount.WRONG or any_yet:
        console.print()
    for i, j in enumerate(judged, 1):
        name = f"{j.subject.backend} {j.subject.mode}"
        words = f"{i}  {name:20}  " * several + counts(j.verdicts)
        console.print(as_text(words, style="bold"), soft_wrap=True)


def _print_subject(judged: Sequence[Judged], console: Console) -> None:
    (only,) = judged
    words = as_text(header(only.subject), style="bold")
    if more := machine(only.subject):
        words.append(plain(" · " + " · ".join(more)), style="not bold dim")
    console.print(words)


def _print_subjects(judged: Sequence[Judged], console: Console) -> None:
    machines = [machine(j.subject) for j in judged if not j.subject.did_not_start]
    common = [part for part in (machines or [[]])[0] if all(part in other for other in machines)]
    for i, j in enumerate(judged, 1):
        console.print(as_text(f"{i}  {header(j.subject)}", style="bold"), soft_wrap=True)
        if own := [part for part in machine(j.subject) if part not in common]:
            console.print(as_text(f"   {' · '.join(own)}", style="dim"), soft_wrap=True)
    if common:
        console.print(as_text(f"   all on {' · '.join(common)}", style="dim"), soft_wrap=True)


def _print_known(groups: Sequence[Sequence[Member]], console: Console, several: bool) -> None:
    """A line each: what it is, and why."""
    console.print()
    console.print(as_text("known (-v explains them):"))
    over = len(groups) - _KNOWN
    for same in groups[: _KNOWN - (over > 0)]:
        _, v = same[0]
        others = len({place_of(other) for _, other in same}) - 1
        words = f"{line(v.claim)} · {line(v.what)}" + f" and {others:,} more" * bool(others)
        words += f" [{numbered({i for i, _ in same})}]" * several
        _print_line(f"  {words}: {line(v.known or v.deviation)}", console, "yellow")
    if over > 0:
        _print_line(f"  and {over + 1:,} more, which -v shows", console, "yellow")


def _print_not_run(
    judged: Sequence[Judged], console: Console, amount: Amount, several: bool
) -> None:
    """Grouped by the reason, the most frequent first, a line each unless everything is shown."""
    ranked = reasons_not_run(judged)
    if not ranked:
        return
    console.print()
    console.print(as_text("not_run:"))
    shown = ranked if amount is Amount.ALL else ranked[:_REASONS]
    width = max(len(f"{len(members):,}") for _, members in ranked)
    for reason, members in shown:
        whose = f"[{numbered({i for i, _ in members})}] " * several
        words = f"  {len(members):>{width},}  {whose}{line(cut(reason, LONGEST))}"
        names = [f"{c} · {w}" for c, w in dict.fromkeys(place_of(v) for _, v in members)]
        if amount is Amount.ALL:
            console.print(as_text(words, style="dim"))
            indented = as_text(some([line(name) for name in names]), style="dim")
            console.print(Padding(indented, (0, 0, 0, 4 + width)))
        else:
            _print_line(f"{words}: {line(names[0])}", console, "dim")
    if rest := ranked[len(shown) :]:
        n = sum(len(members) for _, members in rest)
        words = f"  {n:>{width},}  for {how_many(len(rest), 'other reason')}, which -v shows"
        _print_line(words, console, "dim")


def reasons_not_run(judged: Sequence[Judged]) -> list[tuple[str, list[Member]]]:
    """What was not run by its reason, the most frequent first."""
    reasons: dict[str, list[Member]] = {}
    for i, j in enumerate(judged):
        for v in j.verdicts:
            if v.verdict == NOT_RUN:
                reasons.setdefault(v.detail, []).append((i, v))
    return sorted(reasons.items(), key=lambda item: -len(item[1]))


def _print_line(words: str, console: Console, style: str) -> None:
    """One line, cut where there is no more room."""
    console.print(as_text(words, style=style), no_wrap=True, overflow="ellipsis")


_KNOWN, _REASONS = 10, 6  # lines of what is known and of what was not run, at most
