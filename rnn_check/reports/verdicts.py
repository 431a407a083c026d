"""What does the reader see?  Verdicts as a terminal table, as explanations, as JSON.

What is well is said in few lines, what is wrong in full. One subject is a table of its own; several
stand side by side, a column each.
"""

from __future__ import annotations

import math
import shlex
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from itertools import groupby
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from rnn_check.certificates.comparison import Comparison
from rnn_check.claims.claim import Claim
from rnn_check.claims.files import bundled
from rnn_check.reports.terminal import as_json as quoted
from rnn_check.reports.terminal import line, plain
from rnn_check.subjects.identity import Who
from rnn_check.subjects.process import cut
from rnn_check.verdicts.judge import AGREE, DIFFER, ERROR, NOT_RUN, Judged, Verdict

SCHEMA = 2
LONGEST = 8_000  # characters of one explanation
_STYLE = {AGREE: "green", DIFFER: "bold red", ERROR: "bold magenta", NOT_RUN: "dim"}


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


def header(subject: Who) -> str:
    """The subject in full, on one line."""
    if subject.did_not_start:
        return f"{subject.backend} · {subject.mode} · did not start"
    parts = [
        *([f"keras {subject.keras}"] if subject.is_keras else []),
        f"{subject.backend} {subject.backend_version}",
        subject.mode,
        f"Python {subject.python}",
        f"NumPy {subject.numpy}",
        subject.device,
        subject.dtype,
    ]
    if subject.output_dtype:
        parts[-1] += f" (output: {subject.output_dtype})"
    return " · ".join(parts)


def machine(subject: Who) -> list[str]:
    """What else may change its numbers: processor, threads, settings that are not the default."""
    parts = [subject.cpu] if subject.cpu else []
    if threads := subject.threads:
        parts.append(f"{threads} thread" + "s" * (threads != 1))
    parts += [f"{name}={value}" for name, value in sorted(subject.settings.items())]
    if subject.has_own_layer:
        parts.append(f"layer {subject.layer}")
    return parts


def as_json(judged: Sequence[Judged]) -> str:
    """The JSON document, of one shape however many subjects: each row says of which it is.

    No NaN or Infinity ever stands in it.
    """
    return as_document(
        {
            "schema": SCHEMA,
            "subjects": [j.subject.told() for j in judged],
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
        console.print(_text(sentence(judged, interrupted), style="bold"))
        console.print()
        if not any(j.verdicts for j in judged):
            pass
        elif amount is Amount.SHORT:
            (_print_folders_side_by_side if several else _print_folders)(judged, console)
        elif several:
            _print_side_by_side(judged, console)
        else:
            _print_all(judged[0].verdicts, titles or {}, console)
    known, any_yet = [], False
    for same in _alike(judged):
        if same[0][1].is_known and amount is not Amount.ALL:
            known.append(same)
            continue
        if amount is not Amount.WRONG or any_yet:
            console.print()
        any_yet = True
        console.print(_text("\n".join(_explained_once(same, judged))), soft_wrap=True)
    if amount is not Amount.WRONG:
        if known:
            _print_known(known, console, several)
        _print_not_run(judged, console, amount, several)
    if amount is not Amount.WRONG or any_yet:
        console.print()
    for i, j in enumerate(judged, 1):
        name = f"{j.subject.backend} {j.subject.mode}"
        words = f"{i}  {name:20}  " * several + counts(j.verdicts)
        console.print(_text(words, style="bold"), soft_wrap=True)


def sentence(judged: Sequence[Judged], interrupted: bool = False) -> str:
    """Whether all is well: "Everything agrees, but for 5 differences that are known."

    One number is one, on however many subjects.
    """
    verdicts = _all(judged)

    def places(which: Iterable[Verdict]) -> int:
        return len({_place(v) for v in which})

    differ = [v for v in verdicts if v.verdict == DIFFER and v.is_red]
    errors = places(v for v in verdicts if v.verdict == ERROR and not v.is_known)
    gone = places(v for v in verdicts if v.verdict == AGREE and v.is_red)
    known = {
        kind: places(v for v in verdicts if v.verdict == kind and v.is_known)
        for kind in (DIFFER, ERROR)
    }
    excused = " and ".join(
        _number(n, word)
        for n, word in ((known[DIFFER], "difference"), (known[ERROR], "error"))
        if n
    )
    many = sum(known.values()) != 1
    parts = []
    if differ:
        numeric = all(c.got.dtype.kind == "f" for v in differ if (c := v.worst) is not None)
        n = places(differ)
        word = "number" if numeric else "thing"
        parts.append(f"{_number(n, word)} differ{'s' * (n == 1)} that {_was(n)} not known to")
    if errors:
        parts.append(f"{_number(errors, 'thing')} could not be judged for an error")
    if gone:
        parts.append(f"{_number(gone, 'thing')} known to be wrong agree{'s' * (gone == 1)} now")
    if parts:
        words = ", ".join(parts[:-1]) + " and " * (len(parts) > 1) + parts[-1]
        words += f", beside {excused} that {_are(many)} known" * bool(excused)
    elif not any(v.verdict != NOT_RUN for v in verdicts):
        words = "Nothing was compared"
    else:
        words = "Everything agrees" if not interrupted else "What was judged agrees"
        words += f", but for {excused} that {_are(many)} known" * bool(excused)
    return f"{words}{' so far' * interrupted}."


def _number(n: int, word: str) -> str:
    return f"{n:,} {word}{'s' * (n != 1)}"


def _was(n: int) -> str:
    return "was" if n == 1 else "were"


def _are(many: bool) -> str:
    return "are" if many else "is"


def _all(judged: Sequence[Judged]) -> list[Verdict]:
    return [v for j in judged for v in j.verdicts]


def _is_wrong(v: Verdict) -> bool:
    return v.is_red or (v.verdict == ERROR and not v.is_known)


def _print_subject(judged: Sequence[Judged], console: Console) -> None:
    (only,) = judged
    words = _text(header(only.subject), style="bold")
    if more := machine(only.subject):
        words.append(plain(" · " + " · ".join(more)), style="not bold dim")
    console.print(words)


def _print_subjects(judged: Sequence[Judged], console: Console) -> None:
    machines = [machine(j.subject) for j in judged if not j.subject.did_not_start]
    common = [part for part in (machines or [[]])[0] if all(part in other for other in machines)]
    for i, j in enumerate(judged, 1):
        console.print(_text(f"{i}  {header(j.subject)}", style="bold"), soft_wrap=True)
        if own := [part for part in machine(j.subject) if part not in common]:
            console.print(_text(f"   {' · '.join(own)}", style="dim"), soft_wrap=True)
    if common:
        console.print(_text(f"   all on {' · '.join(common)}", style="dim"), soft_wrap=True)


def _explained_once(same: Sequence[_Member], judged: Sequence[Judged]) -> list[str]:
    """What several verdicts show alike."""
    i, shown = same[0]
    rerun = judged[i].rerun
    if len(judged) == 1:
        return _explained(shown, rerun, also=_also(same[1:], whose=False))
    of_it = [member for member in same if _place(member[1]) == _place(shown)]
    of_others = [member for member in same if _place(member[1]) != _place(shown)]
    return _explained(
        shown,
        rerun,
        where=_list({k for k, v in of_it}),
        also=_also(of_others, whose=True),
        elsewhere=[
            f"  {f'in {k + 1}':9} {v.detail.splitlines()[0]}"
            for k, v in of_it
            if v.verdict == DIFFER and v.detail != shown.detail
        ],
    )


def _print_known(groups: Sequence[Sequence[_Member]], console: Console, several: bool) -> None:
    """A line each: what it is, and why."""
    console.print()
    console.print(_text("known (-v explains them):"))
    over = len(groups) - _KNOWN
    for same in groups[: _KNOWN - (over > 0)]:
        _, v = same[0]
        others = len({_place(other) for _, other in same}) - 1
        words = f"{line(v.claim)} · {line(v.what)}" + f" and {others:,} more" * bool(others)
        words += f" [{_list({i for i, _ in same})}]" * several
        _print_line(f"  {words}: {line(v.known or v.deviation)}", console, "yellow")
    if over > 0:
        _print_line(f"  and {over + 1:,} more, which -v shows", console, "yellow")


def _print_not_run(
    judged: Sequence[Judged], console: Console, amount: Amount, several: bool
) -> None:
    """Grouped by the reason, the most frequent first, a line each unless everything is shown."""
    reasons: dict[str, list[_Member]] = {}
    for i, j in enumerate(judged):
        for v in j.verdicts:
            if v.verdict == NOT_RUN:
                reasons.setdefault(v.detail, []).append((i, v))
    if not reasons:
        return
    console.print()
    console.print(_text("not_run:"))
    ranked = sorted(reasons.items(), key=lambda item: -len(item[1]))
    shown = ranked if amount is Amount.ALL else ranked[:_REASONS]
    width = max(len(f"{len(members):,}") for _, members in ranked)
    for reason, members in shown:
        whose = f"[{_list({i for i, _ in members})}] " * several
        words = f"  {len(members):>{width},}  {whose}{line(_cut(reason))}"
        names = [f"{c} · {w}" for c, w in dict.fromkeys(_place(v) for _, v in members)]
        if amount is Amount.ALL:
            console.print(_text(words, style="dim"))
            indented = _text(_some([line(name) for name in names]), style="dim")
            console.print(Padding(indented, (0, 0, 0, 4 + width)))
        else:
            _print_line(f"{words}: {line(names[0])}", console, "dim")
    if rest := ranked[len(shown) :]:
        n = sum(len(members) for _, members in rest)
        words = f"  {n:>{width},}  for {_number(len(rest), 'other reason')}, which -v shows"
        _print_line(words, console, "dim")


def _print_line(words: str, console: Console, style: str) -> None:
    """One line, cut where there is no more room."""
    console.print(_text(words, style=style), no_wrap=True, overflow="ellipsis")


def _print_all(verdicts: Sequence[Verdict], titles: Mapping[str, str], console: Console) -> None:
    """Every verdict, a table a claim."""
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


# --- a line a folder ------------------------------------------------------------------------------


def _folders(judged: Sequence[Judged]) -> dict[str, list[list[Verdict]]]:
    """The verdicts in each folder of claims, of each subject.

    A folder is one of those that are bundled, or that which a file of the user's is in; or the
    file, if there is no other from there.
    """
    verdicts = _all(judged)
    files: dict[Path, set[str]] = {}
    for v in verdicts:
        files.setdefault(Path(v.file).parent, set()).add(v.file)
    ours = bundled()
    names: dict[str, str] = {}
    for file in {v.file for v in verdicts}:
        folder = Path(file).parent
        if folder.is_relative_to(ours) and folder != ours:
            names[file] = folder.relative_to(ours).as_posix()
        else:
            names[file] = _near(file if len(files[folder]) == 1 else str(folder))
    found: dict[str, list[list[Verdict]]] = {}
    for i, j in enumerate(judged):
        for v in j.verdicts:
            found.setdefault(names[v.file], [[] for _ in judged])[i].append(v)
    return found


def _worst(verdicts: Iterable[Verdict]) -> Verdict | None:
    """The verdict with the largest ratio of those that are not excused."""
    sizes = [(_size(v), v) for v in verdicts if not v.is_known and v.verdict in (AGREE, DIFFER)]
    return max(
        ((size, v) for size, v in sizes if size is not None),
        key=lambda pair: pair[0],
        default=(0, None),
    )[1]


def _size(v: Verdict) -> float | None:
    if v.ratio is None:
        return math.inf if _ratio(v) else None
    return v.ratio


def _print_folders(judged: Sequence[Judged], console: Console) -> None:
    with_bits = console.width >= _NARROW
    gap = 2 if console.width >= 80 else 1
    table = Table(box=None, pad_edge=False, header_style="bold dim", padding=(0, gap, 0, 0))
    table.add_column("claims", overflow="fold", min_width=9)
    for head in (AGREE, DIFFER, ERROR, NOT_RUN, "error/bound", *(["bits"] * with_bits)):
        table.add_column(head, justify="right", overflow="fold")
    for name, (verdicts,) in _folders(judged).items():
        of = {kind: [v for v in verdicts if v.verdict == kind] for kind in _STYLE}
        worst = _worst(verdicts)
        bits = [v.bits for v in verdicts if v.bits is not None and not v.is_known]
        cells = [
            Text(line(name), style="bold"),
            _count(of[AGREE], "gone"),
            _count(of[DIFFER], "known"),
            _count(of[ERROR], "known"),
            Text(f"{len(of[NOT_RUN]):,}", "dim"),
            Text("" if worst is None else _ratio(worst), "" if worst is None else _style(worst)),
        ]
        table.add_row(*cells, *([f"{min(bits):.1f}" if bits else ""] * with_bits))
    console.print(table)
    console.print()
    console.print(_text(_SHORT_LEGEND, style="dim"))


def _count(verdicts: Sequence[Verdict], special: str) -> Text:
    """How many: "0", "3", "5 known", "3 + 5 known"."""
    marked = [v for v in verdicts if v.is_known or (v.verdict == AGREE and v.is_red)]
    rest = len(verdicts) - len(marked)
    parts = [f"{rest:,}"] * bool(rest or not marked) + [f"{len(marked):,} {special}"] * bool(marked)
    wrong = [v for v in verdicts if _is_wrong(v)]
    style = _style(wrong[0]) if wrong else _style(verdicts[0]) if verdicts else "dim"
    return Text(" + ".join(parts), style)


def _print_folders_side_by_side(judged: Sequence[Judged], console: Console) -> None:
    """Folders down, the subjects across, as many as there is room for; the others below."""
    folders = _folders(judged)
    console.print(_text(_MARKS, style="dim"))
    cells = {name: [_sum(verdicts) for verdicts in of] for name, of in folders.items()}
    names = min(max(map(len, folders)), max(9, console.width // 3))
    width = max(cell.cell_len for row in cells.values() for cell in row)
    fit = max(1, (console.width - names) // (width + 2))
    for start in range(0, len(judged), fit):
        table = Table(box=None, pad_edge=False, header_style="bold dim", padding=(0, 2, 0, 0))
        table.add_column("claims", width=names, overflow="fold")
        for i in range(start, min(start + fit, len(judged))):
            table.add_column(str(i + 1), width=width, overflow="fold")
        for name, row in cells.items():
            table.add_row(Text(line(name), style="bold"), *row[start : start + fit])
        console.print()
        console.print(table)


def _sum(verdicts: Sequence[Verdict]) -> Text:
    """A folder of one subject: "✓72 ≤0.96 (✗5) –12"."""
    counted: dict[tuple[str, str], int] = {}
    for v in verdicts:
        mark = f"({_MARK[v.verdict]}{{}})" if v.is_known else _MARK[v.verdict] + "{}"
        if v.verdict == AGREE and v.is_red:
            mark = "✓{} gone"
        style = "" if v.verdict == AGREE and not v.is_red else _style(v)
        counted[mark, style] = counted.get((mark, style), 0) + 1
    text = Text()
    for (mark, style), n in sorted(counted.items(), key=lambda item: _ORDER(item[0][0])):
        text.append(" " * bool(text) + mark.format(n), style)
        if mark == "✓{}" and (worst := _worst(verdicts)) is not None:
            text.append(f" ≤{short_ratio(worst)}", _style(worst) if worst.is_red else "dim")
    return text


_MARK = {AGREE: "✓", DIFFER: "✗", ERROR: "!", NOT_RUN: "–"}
_ORDER = ("✓{}", "✓{} gone", "✗{}", "!{}", "(✗{})", "(!{})", "–{}").index
_MARKS = "✓ agree, ≤ the largest error/bound  ✗ differ  ! error  – not run  ( ) known"


def counts(verdicts: Iterable[Verdict]) -> str:
    """The last line: "41 agree · 1 differ (1 known) · 0 error · 6 not_run"."""
    verdicts = list(verdicts)
    s = summary(verdicts)
    known = Counter(v.verdict for v in verdicts if v.is_known)
    differ, error = (f" ({known[kind]} known)" * bool(known[kind]) for kind in (DIFFER, ERROR))
    return f"{s[AGREE]} agree · {s[DIFFER]} differ{differ} · {s[ERROR]} error{error} · " + (
        f"{s[NOT_RUN]} not_run"
    )


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
_SHORT_LEGEND = (
    "error/bound: the largest error, as a share of what is allowed; bits: the least effective "
    "precision (float32 has 24); known ones aside. -v shows every number."
)
_KNOWN, _REASONS = 10, 6  # lines of what is known and of what was not run, at most


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
    legend = "✓ agree  ✗ differ  error  – not run  ( ) known; beside it error/bound"
    if any(v.verdict == AGREE and v.is_red for v in _all(judged)):
        legend += "; ✓ gone: known, but agrees now"
    console.print(_text(legend, style="dim"))
    console.print()
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
