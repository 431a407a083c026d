"""What does the reader see?  Verdicts as a terminal table, as explanations, as JSON.

One subject has a report of its own; several stand side by side, a narrow column each.
"""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from rnn_check.claim import Claim
from rnn_check.comparison import Comparison
from rnn_check.judge import AGREE, DIFFER, ERROR, NOT_RUN, Verdict
from rnn_check.process import cut
from rnn_check.terminal import as_json as quoted
from rnn_check.terminal import line, plain

SCHEMA = 1
LONGEST = 8_000  # characters of one explanation
_STYLE = {AGREE: "green", DIFFER: "bold red", ERROR: "bold magenta", NOT_RUN: "dim"}


@dataclass(frozen=True)
class Judged:
    """One subject and the verdicts on it; rerun: the arguments that ask it alone."""

    subject: Mapping[str, Any]
    verdicts: Sequence[Verdict]
    rerun: Sequence[str] = ()


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


def header(subject: Mapping[str, Any]) -> str:
    """The subject in full, on one line."""
    if "keras" not in subject:
        return f"{subject['backend']} · {subject.get('mode', 'eager')} · did not start"
    parts = [
        f"keras {subject['keras']}",
        f"{subject['backend']} {subject['backend_version']}",
        str(subject.get("mode", "eager")),
        f"Python {subject['python']}",
        f"NumPy {subject['numpy']}",
        str(subject["device"]),
        str(subject["dtype"]),
    ]
    if "output_dtype" in subject:
        parts[-1] += f" (output: {subject['output_dtype']})"
    return " · ".join(parts)


def machine(subject: Mapping[str, Any]) -> list[str]:
    """What else may change its numbers: processor, threads, settings that are not the default."""
    parts = [str(subject["cpu"])] if subject.get("cpu") else []
    if threads := subject.get("threads"):
        parts.append(f"{threads} thread" + "s" * (threads != 1))
    parts += [f"{name}={value}" for name, value in sorted(subject.get("settings", {}).items())]
    if subject.get("layer", "keras.layers.SimpleRNN") != "keras.layers.SimpleRNN":
        parts.append(f"layer {subject['layer']}")
    return parts


def as_json(subject: Mapping[str, Any], verdicts: Sequence[Verdict]) -> str:
    """The JSON document of one subject; no NaN or Infinity ever stands in it."""
    return as_document(
        {
            "schema": SCHEMA,
            "subject": subject,
            "verdicts": [_row(v) for v in verdicts],
            "summary": summary(verdicts),
        }
    )


def as_json_of_several(judged: Sequence[Judged]) -> str:
    """The JSON document of several: each row says of which subject it is, by its place."""
    return as_document(
        {
            "schema": SCHEMA,
            "subjects": [j.subject for j in judged],
            "verdicts": [
                {"subject": i, **_row(v)} for i, j in enumerate(judged) for v in j.verdicts
            ],
            "summary": [summary(j.verdicts) for j in judged],
        }
    )


def _row(v: Verdict) -> dict[str, Any]:
    return {
        "claim": v.claim,
        "file": v.file,
        "what": v.what,
        "verdict": v.verdict,
        "ratio": v.ratio,
        "source": v.source,
        "detail": v.detail,
        "bits": v.bits,
        "known": v.known or v.deviation or None,
    }


def as_document(document: dict[str, Any]) -> str:
    """One JSON document, to be read by people too.

    What is no text in it is quoted, half characters of file names that are no UTF-8 too.
    """
    try:
        encoded = msgspec.json.encode(document)
    except UnicodeEncodeError:
        encoded = msgspec.json.encode(_plain_throughout(msgspec.to_builtins(document)))
    return quoted(msgspec.json.format(encoded, indent=2).decode())


def _plain_throughout(node: Any) -> Any:
    if isinstance(node, str):
        return node.encode("utf-8", "backslashreplace").decode()
    if isinstance(node, dict):
        return {_plain_throughout(key): _plain_throughout(value) for key, value in node.items()}
    return [_plain_throughout(each) for each in node] if isinstance(node, list) else node


def _text(said: str, style: str = "") -> Text:
    """Other people's words in a report: plain, so that they are laid out as they are seen."""
    return Text(plain(said), style=style)


def listing(claims: Iterable[Claim], console: Console) -> None:
    """The claims and what each asserts, without asking anybody."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    columns = ["claim", "asserts", "title", "on whose word"]
    columns = columns if console.width >= _WIDE else columns[:-1]
    for column in columns:
        table.add_column(column, overflow="fold", no_wrap=column == "claim" and len(columns) > 3)
    for name, group in groupby(claims, key=lambda c: c.name.partition("[")[0]):
        c, *others = group
        kinds = Counter(e.what for e in c.expectations)
        asserts = ", ".join(what if n == 1 else f"{what} ×{n}" for what, n in kinds.items())
        many = f" ×{len(others) + 1}" if others else ""  # of a file that varies
        cells = [name + many, asserts, c.title, c.source.document]
        table.add_row(*(Text(line(cell)) for cell in cells[: len(columns)]))
    console.print(table)


def terminal(
    subject: Mapping[str, Any] | None,
    verdicts: Sequence[Verdict],
    titles: Mapping[str, str],
    console: Console,
    rerun: Sequence[str] = (),
) -> None:
    """The table, then each difference and each error explained, then the counts."""
    if subject is not None:
        console.print(_text(header(subject), style="bold"))
        if more := machine(subject):
            console.print(_text(" · ".join(more), style="dim"), soft_wrap=True)
        console.print()
    if verdicts:
        console.print(_text(_LEGEND, style="dim"))
        console.print()
        console.print(_table((), console.width))
    for name, group in groupby(verdicts, key=lambda v: v.claim):
        rows = list(group)
        heading = Text(line(name), style="bold")
        heading.append(f"  {line(titles.get(name, ''))}", style="not bold")
        heading.append(f"  [{line(rows[0].document)}]", style="not bold dim")
        console.print(heading, soft_wrap=True)
        console.print(_table(rows, console.width))
    for same in _alike([Judged(subject or {}, verdicts)]):
        shown, also = same[0][1], _also(same[1:], whose=False)
        console.print()
        console.print(_text("\n".join(_explained(shown, rerun, also=also))), soft_wrap=True)
    reasons = [v for v in verdicts if v.verdict == NOT_RUN]
    if reasons:
        console.print()
        for reason, group in groupby(sorted(reasons, key=lambda v: v.detail), lambda v: v.detail):
            what = ", ".join(f"{v.claim} {v.what}" for v in group)
            console.print(_text(f"not_run  {what}: {_cut(reason)}", style="dim"), soft_wrap=True)
    console.print()
    console.print(_text(counts(verdicts), style="bold"))


def terminal_of_several(judged: Sequence[Judged], console: Console) -> None:
    """Who was asked; claims × subjects; each thing that is wrong, once; the counts of each."""
    machines = [machine(j.subject) for j in judged if "keras" in j.subject]
    common = [part for part in (machines or [[]])[0] if all(part in other for other in machines)]
    for i, j in enumerate(judged, 1):
        console.print(_text(f"{i}  {header(j.subject)}", style="bold"), soft_wrap=True)
        if own := [part for part in machine(j.subject) if part not in common]:
            console.print(_text(f"   {' · '.join(own)}", style="dim"), soft_wrap=True)
    if common:
        console.print(_text(f"   all on {' · '.join(common)}", style="dim"), soft_wrap=True)
    console.print()
    legend = "✓ agree  ✗ differ  error  – not run  ( ) known; beside it error/bound"
    if any(v.verdict == AGREE and v.is_red for j in judged for v in j.verdicts):
        legend += "; ✓ gone: known, but agrees now"
    console.print(_text(legend, style="dim"))
    console.print()
    _print_side_by_side(judged, console)
    for same in _alike(judged):
        i, shown = same[0]
        of_it = [member for member in same if _place(member[1]) == _place(shown)]
        of_others = [member for member in same if _place(member[1]) != _place(shown)]
        lines = _explained(
            shown,
            judged[i].rerun,
            where=_list({k for k, v in of_it}),
            also=_also(of_others, whose=True),
            elsewhere=[
                f"  {f'in {k + 1}':9} {v.detail.splitlines()[0]}"
                for k, v in of_it
                if v.verdict == DIFFER and v.detail != shown.detail
            ],
        )
        console.print()
        console.print(_text("\n".join(lines)), soft_wrap=True)
    reasons: dict[str, list[tuple[int, Verdict]]] = {}
    for i, j in enumerate(judged):
        for v in j.verdicts:
            if v.verdict == NOT_RUN:
                reasons.setdefault(v.detail, []).append((i, v))
    if reasons:
        console.print()
    for reason, members in reasons.items():
        what = _some([f"{c} {w}" for c, w in dict.fromkeys(_place(v) for _, v in members)])
        words = f"not_run  [{_list({i for i, _ in members})}]  {_cut(reason)}: {what}"
        console.print(_text(words, style="dim"), soft_wrap=True)
    console.print()
    for i, j in enumerate(judged, 1):
        name = f"{j.subject['backend']} {j.subject.get('mode', 'eager')}"
        console.print(_text(f"{i}  {name:20}  {counts(j.verdicts)}", style="bold"), soft_wrap=True)


def counts(verdicts: Iterable[Verdict]) -> str:
    """The last line: "41 agree · 1 differ (1 known) · 0 error · 6 not_run"."""
    verdicts = list(verdicts)
    s = summary(verdicts)
    known = Counter(v.verdict for v in verdicts if v.is_known)
    differ, error = (f" ({known[kind]} known)" * bool(known[kind]) for kind in (DIFFER, ERROR))
    return f"{s[AGREE]} agree · {s[DIFFER]} differ{differ} · {s[ERROR]} error{error} · " + (
        f"{s[NOT_RUN]} not_run"
    )


def explanation(v: Verdict, rerun: Sequence[str] = ()) -> str:
    """A difference so that it stands alone: whose number, where, how far, allowed, the command."""
    return "\n".join(_explained(v, rerun))


def _explained(
    v: Verdict,
    rerun: Sequence[str],
    where: str = "",
    also: str = "",
    elsewhere: Sequence[str] = (),
) -> list[str]:
    lines = [f"{v.verdict}{' (known)' * v.is_known}  {v.claim} · {v.what}"]
    if where:
        lines[0] += f"  [{where}]"
    if also:
        lines.append(f"  also      {also}")
    lines += [f"  file      {_near(v.file)}", f"  source    {v.source}"]
    if v.verdict == AGREE and v.known:
        lines.append(f"  this was known to differ ({v.known}) and agrees now; update the claim")
    elif v.verdict == AGREE:
        lines.append(
            f"  this was known ({v.deviation}) and agrees now; update the known deviations"
        )
    else:
        lines.append("  " + _cut(v.detail).replace("\n", "\n    "))
    lines += elsewhere
    c = v.worst
    if v.verdict == DIFFER and c is not None:
        lines += _arrays(c)
    if v.verdict in (DIFFER, ERROR):
        lines += [f"  known: {why}" for why in (v.known, v.deviation) if why]
    lines.append("  rerun     " + shlex.join(["rnn-check", *rerun, "-k", v.claim]))
    return lines


# --- what is wrong in the same way, in many places ------------------------------------------------

_Member = tuple[int, Verdict]  # of which subject


def _alike(judged: Sequence[Judged]) -> list[list[_Member]]:
    """What has to be explained, grouped so that each thing is said once.

    Alike are: one expectation on several subjects, whatever is known under one reason, and errors
    of one text (a subject that could not be started is an error of every claim).
    """
    groups: dict[tuple[Any, ...], list[_Member]] = {}
    for i, j in enumerate(judged):
        for v in j.verdicts:
            if v.verdict == NOT_RUN or (v.verdict == AGREE and not v.is_red):
                continue
            key: tuple[Any, ...] = (v.verdict, v.is_red, *_place(v))
            if v.deviation:
                key = (v.verdict, v.is_red, v.deviation)
            elif v.verdict == ERROR:
                key = (ERROR, v.detail)
            elif v.worst is not None:
                key = (*key, v.worst.who)
            groups.setdefault(key, []).append((i, v))
    return list(groups.values())


def _place(v: Verdict) -> tuple[str, str]:
    return v.claim, v.what


def _also(members: Iterable[_Member], whose: bool) -> str:
    places: dict[tuple[str, str], set[int]] = {}
    for i, v in members:
        places.setdefault(_place(v), set()).add(i)
    return _some(
        [
            f"{claim} · {what}" + (f" [{_list(of)}]" if whose else "")
            for (claim, what), of in places.items()
        ]
    )


def _list(subjects: Iterable[int]) -> str:
    return ", ".join(str(i + 1) for i in sorted(subjects))


def _some(names: Sequence[str], most: int = 8) -> str:
    """All of them, unless they are very many."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more:,} more" if more > 0 else "")


def _near(file: str) -> str:
    """The path as one would type it here."""
    path, here = Path(file).absolute(), Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else file


def _arrays(c: Comparison) -> list[str]:
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


_WIDE = 100  # columns from which on there is room to say on whose word
_NARROW = 60  # below which there is none for the bits
_LEGEND = (
    "error/bound: how far it is off, as a share of what is allowed (more than 1 differs; "
    "∞: nothing is). bits: the effective precision that the error shows (float32 has 24)."
)


def _table(verdicts: Iterable[Verdict], width: int) -> Table:
    """One claim's verdicts, or the headings over them all if there are none.

    Widths are fixed so that the tables of all claims line up; names are folded, never cut.
    """
    table = Table(box=None, pad_edge=False, show_header=False, expand=True)
    table.add_column(width=1)
    table.add_column(ratio=5, overflow="fold")
    if width >= _WIDE:
        table.add_column(ratio=7, overflow="fold")
    table.add_column(width=14)
    table.add_column(width=11, justify="right")
    if width >= _NARROW:
        table.add_column(width=9, justify="right")

    def row(what: Text, word: Text, verdict: Text, ratio: Text | str, bits: Text | str) -> None:
        words = [word] if width >= _WIDE else []
        table.add_row("", what, *words, verdict, ratio, *([bits] if width >= _NARROW else []))

    verdicts = list(verdicts)
    if not verdicts:
        heads = ("what", "on whose word", "verdict", "error/bound", "bits")
        row(*(Text(head, style="bold dim") for head in heads))
    for v in verdicts:
        remarks = line(_remarks(v))
        row(
            Text(line(v.what) + (remarks if width < _WIDE else "")),
            Text(line(v.word) + remarks, style="dim"),
            Text(v.verdict + " (known)" * v.is_known, _style(v)),
            _ratio(v),
            "" if v.bits is None else f"{v.bits:.1f} bits",
        )
    return table


def _cut(words: str) -> str:
    return cut(words, LONGEST)


def _print_side_by_side(judged: Sequence[Judged], console: Console) -> None:
    """One table a claim: its expectations down, the subjects across, as many as there is room for.

    Those that there is none for stand below, under their own numbers.
    """
    fit = max(1, (console.width - _NAME) // (_CELL + 1))
    for start in range(0, len(judged), fit):
        if start:
            console.print()
        _print_some_side_by_side(judged[start : start + fit], start, console)


def _print_some_side_by_side(judged: Sequence[Judged], start: int, console: Console) -> None:
    places = {_place(v): None for j in judged for v in j.verdicts}
    found = [{_place(v): v for v in j.verdicts} for j in judged]
    for claim, group in groupby(places, key=lambda place: place[0]):
        table = Table(
            box=None, pad_edge=False, show_header=False, expand=True, padding=(0, 0, 0, 1)
        )
        table.add_column(ratio=1, overflow="fold")
        for _ in judged:
            table.add_column(width=_CELL, no_wrap=True)
        numbers = [Text(str(start + i + 1), style="dim") for i in range(len(judged))]
        table.add_row(Text(line(claim), style="bold"), *numbers)
        for place in group:
            cells = (_cell(verdicts.get(place)) for verdicts in found)
            table.add_row(Text(f"  {line(place[1])}"), *cells)
        console.print(table)


_NAME = 24  # columns that what is judged has at least
_CELL = 8  # "(✗ 1e38)"


def _cell(v: Verdict | None) -> Text:
    if v is None:
        return Text("")
    if v.verdict == NOT_RUN:
        text = "–"
    elif v.verdict == ERROR:
        text = "error"
    elif v.verdict == AGREE and v.is_red:
        text = "✓ gone"
    else:
        text = f"{'✓' if v.verdict == AGREE else '✗'} {short_ratio(v)}".rstrip()
    return _text(f"({text})" if v.is_known else text, _style(v))


def short_ratio(v: Verdict) -> str:
    """In few characters: 0, 0.20, <.01, 12, 1e38, ∞."""
    if v.ratio is None or v.ratio == 0:
        return _ratio(v)
    if v.ratio < 0.01:
        return "<.01"
    if v.ratio < 999.5:
        return f"{v.ratio:.2f}" if v.ratio < 9.995 else f"{v.ratio:.0f}"
    mantissa, exponent = f"{v.ratio:.0e}".split("e")
    return f"{mantissa}e{int(exponent)}"


def _style(v: Verdict) -> str:
    if v.is_known:
        return "yellow"
    return _STYLE[DIFFER] if v.is_red else _STYLE[v.verdict]


def _remarks(v: Verdict) -> str:
    """What an agreeing verdict has to say beyond its ratio: "; 2,000 updates"."""
    remarks = [c.praise for c in v.comparisons if c.praise and v.verdict == AGREE]
    return "".join(f"; {remark}" for remark in remarks)


def _ratio(v: Verdict) -> str:
    if v.ratio is None:
        worst = v.worst
        return "∞" if v.verdict == DIFFER and worst is not None and worst.ratio > 1 else ""
    if v.ratio == 0:
        return "0"
    return f"{v.ratio:.2f}" if 0.01 <= v.ratio < 1000 else f"{v.ratio:.1e}"
