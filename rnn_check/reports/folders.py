"""What became of each folder of claims?"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from rnn_check.claims.files import bundled
from rnn_check.reports.cells import (
    MARK,
    NARROW,
    STYLE,
    as_text,
    is_wrong,
    ratio_of,
    short_ratio,
    style_of,
)
from rnn_check.reports.explaining import near_path
from rnn_check.reports.outcome import verdicts_of
from rnn_check.reports.terminal import line
from rnn_check.verdicts.judge import AGREE, DIFFER, ERROR, NOT_RUN, Judged, Verdict


def _folders(judged: Sequence[Judged]) -> dict[str, list[list[Verdict]]]:
    """The verdicts in each folder of claims, of each subject.

    A folder is one of those that are bundled, with all in it, or that which a file of the user's is
    in; or the file, if there is no other from there, or few others and one is there.
    """
    verdicts = verdicts_of(judged)
    files: dict[Path, set[str]] = {}
    for v in verdicts:
        files.setdefault(Path(v.file).parent, set()).add(v.file)
    ours = bundled()
    names: dict[str, str] = {}
    for file in {v.file for v in verdicts}:
        folder = Path(file).parent
        if folder.is_relative_to(ours) and folder != ours:
            names[file] = folder.relative_to(ours).parts[0]
        else:
            names[file] = _name(folder, file, len(files[folder]))
    found: dict[str, list[list[Verdict]]] = {}
    for i, j in enumerate(judged):
        for v in j.verdicts:
            found.setdefault(names[v.file], [[] for _ in judged])[i].append(v)
    return found


_FEW = 8  # files of the folder that one is in, up to which each has a row


def _name(folder: Path, file: str, many: int) -> str:
    """Of a file's row: the folder as one would type it here, or the file, if it stands here."""
    near = near_path(str(folder))
    if many == 1 or (near == "." and many <= _FEW):
        return near_path(file)
    return f"{folder.absolute().name}/" if near == "." else near


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
        return math.inf if ratio_of(v) else None
    return v.ratio


def folders(judged: Sequence[Judged], console: Console) -> None:
    with_bits = console.width >= NARROW
    gap = 2 if console.width >= 80 else 1
    table = Table(box=None, pad_edge=False, header_style="bold dim", padding=(0, gap, 0, 0))
    table.add_column("claims", overflow="fold", min_width=9)
    for head in (AGREE, DIFFER, ERROR, NOT_RUN, "error/bound", *(["bits"] * with_bits)):
        table.add_column(head, justify="right", overflow="fold")
    for name, (verdicts,) in _folders(judged).items():
        of = {kind: [v for v in verdicts if v.verdict == kind] for kind in STYLE}
        worst = _worst(verdicts)
        bits = [v.bits for v in verdicts if v.bits is not None and not v.is_known]
        cells = [
            Text(line(name), style="bold"),
            _count(of[AGREE], "gone"),
            _count(of[DIFFER], "known"),
            _count(of[ERROR], "known"),
            Text(f"{len(of[NOT_RUN]):,}", "dim"),
            Text(
                "" if worst is None else ratio_of(worst), "" if worst is None else style_of(worst)
            ),
        ]
        table.add_row(*cells, *([f"{min(bits):.1f}" if bits else ""] * with_bits))
    console.print(table)
    console.print()
    console.print(as_text(_SHORT_LEGEND, style="dim"))


def _count(verdicts: Sequence[Verdict], special: str) -> Text:
    """How many: "0", "3", "5 known", "3 + 5 known"."""
    marked = [v for v in verdicts if v.is_known or (v.verdict == AGREE and v.is_red)]
    rest = len(verdicts) - len(marked)
    parts = [f"{rest:,}"] * bool(rest or not marked) + [f"{len(marked):,} {special}"] * bool(marked)
    wrong = [v for v in verdicts if is_wrong(v)]
    style = style_of(wrong[0]) if wrong else style_of(verdicts[0]) if verdicts else "dim"
    return Text(" + ".join(parts), style)


def folders_side_by_side(judged: Sequence[Judged], console: Console) -> None:
    """Folders down, the subjects across, as many as there is room for; the others below."""
    folders = _folders(judged)
    console.print(as_text(_MARKS, style="dim"))
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
        mark = f"({MARK[v.verdict]}{{}})" if v.is_known else MARK[v.verdict] + "{}"
        if v.verdict == AGREE and v.is_red:
            mark = "✓{} gone"
        style = "" if v.verdict == AGREE and not v.is_red else style_of(v)
        counted[mark, style] = counted.get((mark, style), 0) + 1
    text = Text()
    for (mark, style), n in sorted(counted.items(), key=lambda item: _ORDER(item[0][0])):
        text.append(" " * bool(text) + mark.format(n), style)
        if mark == "✓{}" and (worst := _worst(verdicts)) is not None:
            text.append(f" ≤{short_ratio(worst)}", style_of(worst) if worst.is_red else "dim")
    return text


_ORDER = ("✓{}", "✓{} gone", "✗{}", "!{}", "(✗{})", "(!{})", "–{}").index
_MARKS = "✓ agree, ≤ the largest error/bound  ✗ differ  ! error  – not run  ( ) known"
_SHORT_LEGEND = (
    "error/bound: the largest error, as a share of what is allowed; bits: the least effective "
    "precision (float32 has 24); known ones aside. -v shows every number."
)
