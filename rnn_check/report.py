"""What does the reader see?  Verdicts as a terminal table, as explanations, as JSON."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
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

SCHEMA = 1
_STYLE = {AGREE: "green", DIFFER: "bold red", ERROR: "bold magenta", NOT_RUN: "dim"}


def summary(verdicts: Iterable[Verdict]) -> dict[str, int]:
    """How many verdicts of each kind; `known` of the differing ones are expected to differ."""
    verdicts = list(verdicts)
    counts = Counter(v.verdict for v in verdicts)
    known = sum(1 for v in verdicts if v.verdict == DIFFER and not v.is_red)
    return {kind: counts[kind] for kind in (AGREE, DIFFER, ERROR, NOT_RUN)} | {"known": known}


def exit_code(verdicts: Iterable[Verdict]) -> int:
    """0 all agree (or differ as known) · 1 something differs · 3 a subject could not be asked.

    A run in which nothing was compared is not green: 3 as well.
    """
    verdicts = list(verdicts)
    if any(v.is_red for v in verdicts):
        return 1
    if any(v.verdict == ERROR for v in verdicts):
        return 3
    return 0 if any(v.verdict in (AGREE, DIFFER) for v in verdicts) else 3


def header(subject: Mapping[str, Any]) -> str:
    """The subject in full, on one line."""
    parts = [
        f"keras {subject['keras']}",
        f"{subject['backend']} {subject['backend_version']}",
        str(subject.get("mode", "eager")),
        f"Python {subject['python']}",
        f"NumPy {subject['numpy']}",
        str(subject["device"]),
        str(subject["dtype"]),
    ]
    return " · ".join(parts)


def as_json(subject: Mapping[str, Any], verdicts: Sequence[Verdict]) -> str:
    """The JSON document of `rnn-check verify --json`; no NaN or Infinity ever stands in it."""
    rows = []
    for v in verdicts:
        row: dict[str, Any] = {
            "claim": v.claim,
            "file": v.file,
            "what": v.what,
            "verdict": v.verdict,
            "ratio": v.ratio,
            "source": v.source,
            "detail": v.detail,
            "bits": v.bits,
            "known": v.known or None,
        }
        rows.append(row)
    document = {
        "schema": SCHEMA,
        "subject": subject,
        "verdicts": rows,
        "summary": summary(verdicts),
    }
    return msgspec.json.format(msgspec.json.encode(document), indent=2).decode()


def listing(claims: Iterable[Claim], console: Console) -> None:
    """The claims and what each asserts, without asking anybody."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("claim", no_wrap=True)
    for column in ("asserts", "title", "on whose word"):
        table.add_column(column, overflow="fold")
    for c in claims:
        kinds = Counter(e.what for e in c.expectations)
        asserts = ", ".join(what if n == 1 else f"{what} ×{n}" for what, n in kinds.items())
        table.add_row(
            Text(c.name), Text(asserts), Text(c.title), Text(c.source.document, style="dim")
        )
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
        console.print(Text(header(subject), style="bold"))
        console.print()
    for name, group in groupby(verdicts, key=lambda v: v.claim):
        rows = list(group)
        heading = Text(name, style="bold").append(f"  {titles.get(name, '')}", style="not bold")
        console.print(
            heading.append(f"  [{rows[0].document}]", style="not bold dim"), soft_wrap=True
        )
        console.print(_table(rows))
    for v in verdicts:
        if v.verdict in (DIFFER, ERROR) or (v.is_red and v.verdict == AGREE):
            console.print()
            console.print(Text(explanation(v, rerun)), soft_wrap=True)
    reasons = [v for v in verdicts if v.verdict == NOT_RUN]
    if reasons:
        console.print()
        for reason, group in groupby(sorted(reasons, key=lambda v: v.detail), lambda v: v.detail):
            what = ", ".join(f"{v.claim} {v.what}" for v in group)
            console.print(Text(f"not_run  {what}: {reason}", style="dim"), soft_wrap=True)
    console.print()
    console.print(Text(counts(verdicts), style="bold"))


def counts(verdicts: Iterable[Verdict]) -> str:
    """The last line: "41 agree · 1 differ (1 known) · 0 error · 6 not_run"."""
    s = summary(verdicts)
    known = f" ({s['known']} known)" if s["known"] else ""
    return f"{s[AGREE]} agree · {s[DIFFER]} differ{known} · {s[ERROR]} error · {s[NOT_RUN]} not_run"


def explanation(v: Verdict, rerun: Sequence[str] = ()) -> str:
    """A difference so that it stands alone: got, expected, where, how far, allowed, the command."""
    known = " (known)" if v.verdict == DIFFER and not v.is_red else ""
    lines = [f"{v.verdict}{known}  {v.claim} · {v.what}", f"  file      {_near(v.file)}"]
    lines.append(f"  source    {v.source}")
    if v.verdict == AGREE:
        lines.append(f"  this was known to differ ({v.known}) and agrees now; update the claim")
    else:
        lines.append(f"  {v.detail}")
    c = v.worst
    if v.verdict == DIFFER and c is not None:
        lines += _arrays(c)
    if v.known and v.verdict == DIFFER:
        lines.append(f"  known: {v.known}")
    lines.append("  rerun     " + shlex.join(["rnn-check", *rerun, "-k", v.claim]))
    return "\n".join(lines)


def _near(file: str) -> str:
    """The path as one would type it here."""
    path, here = Path(file).absolute(), Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else file


def _arrays(c: Comparison) -> list[str]:
    if c.got.size > 400:
        return []
    with np.printoptions(precision=9, suppress=False, linewidth=100):
        return [
            f"  {name:9} " + str(array).replace("\n", "\n" + " " * 12)
            for name, array in (("got", c.got), ("expected", c.expected))
        ]


def _table(verdicts: Iterable[Verdict]) -> Table:
    """One claim's verdicts; widths are fixed so that the tables of all claims line up."""
    table = Table(box=None, pad_edge=False, show_header=False, expand=True)
    table.add_column(width=1)
    table.add_column(ratio=5)
    table.add_column(ratio=7)
    table.add_column(width=14)
    table.add_column(width=10, justify="right")
    table.add_column(width=9, justify="right")
    for v in verdicts:
        known = v.verdict == DIFFER and not v.is_red
        table.add_row(
            "",
            Text(v.what),
            Text(v.word + _remarks(v), style="dim"),
            Text(v.verdict + " (known)" * bool(known), "yellow" if known else _STYLE[v.verdict]),
            _ratio(v),
            "" if v.bits is None else f"{v.bits:.1f} bits",
        )
    return table


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
