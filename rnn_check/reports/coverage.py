"""Which options are covered, on which subjects, and with what result?

A table for the docs: options down (what claims say they cover, in the order in which they first
appear), subjects across.  A cell counts verdicts, not claims.  An option that no claim covers on a
subject has an empty cell.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from rnn_check.claims.claim import Claim
from rnn_check.reports.terminal import plain
from rnn_check.subjects.identity import Who
from rnn_check.verdicts.judge import AGREE, DIFFER, ERROR, NOT_RUN, Judged, Verdict

_ORDER = ("✓", "**differ**", "**error**", "differ (known)", "error (known)", "not supported")
_OTHER = "not run"


def table(claims: Sequence[Claim], judged: Sequence[Judged]) -> str:
    """The Markdown page."""
    covered: dict[str, set[str]] = {}
    for claim in claims:
        for option in getattr(claim, "covers", ()):
            covered.setdefault(option, set()).add(claim.name)
    lines = [
        "# What is covered",
        "",
        "Made by `rnn-check coverage` from what these subjects said:",
        "",
        *(f"- {_escaped(_name(j))}: {_escaped(_who(j.subject))}" for j in judged),
        "",
        "Each cell counts verdicts: ✓ those that agree; not supported, those that the subject says "
        "it cannot answer; not run, those left out (slow, or not reproducible). An empty cell: no "
        "claim covers it.",
        "",
        _row(["option", *map(_name, judged)]),
        _row(["---", *(["---"] * len(judged))]),
    ]
    for option, names in covered.items():
        lines.append(_row([option, *(_cell(j.verdicts, names) for j in judged)]))
    known = _known(judged)
    if known:
        lines += ["", "## Known deviations", ""]
        for why, places in known.items():
            lines.append(f"- {_escaped(why)}")
            lines += [
                f"    - {_escaped(name)}: {', '.join(where)}" for name, where in places.items()
            ]
    return "\n".join(lines) + "\n"


def _name(judged: Judged) -> str:
    s = judged.subject
    parts = [s.backend, s.mode, s.dtype]
    return " ".join(part for part in parts if part != "float32")


def _who(subject: Who) -> str:
    if subject.did_not_start:
        return "could not be started"
    keras = f"Keras {subject.keras} on " if subject.is_keras else ""
    return (
        f"{keras}{subject.backend} {subject.backend_version}, "
        f"Python {subject.python}, NumPy {subject.numpy}, {subject.device}"
    )


def _cell(verdicts: Iterable[Verdict], names: set[str]) -> str:
    counted = Counter(_kind(v) for v in verdicts if v.claim in names)
    return ", ".join(f"{kind} {counted[kind]}" for kind in (*_ORDER, _OTHER) if counted[kind])


def _kind(v: Verdict) -> str:
    if v.verdict == NOT_RUN:
        return "not supported" if v.unsupported or v.deviation else _OTHER
    if v.verdict == AGREE and not v.is_red:
        return "✓"
    if v.is_known:
        return f"{v.verdict} (known)"
    return "**error**" if v.verdict == ERROR else f"**{DIFFER}**"


def _known(judged: Sequence[Judged]) -> dict[str, dict[str, list[str]]]:
    """Reason → subject → what shows it there."""
    found: dict[str, dict[str, list[str]]] = {}
    for j in judged:
        for v in j.verdicts:
            why = v.deviation or v.known
            if why and (v.is_known or v.verdict == NOT_RUN):
                where = found.setdefault(why, {}).setdefault(_name(j), [])
                name = _escaped(v.claim.replace("`", "'"))
                where.append(f"`{name}` {_escaped(v.what)}")
    return found


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(map(_escaped, cells)) + " |"


def _escaped(text: str) -> str:
    """So that what a claim or a record says is not markup, nor the end of a cell."""
    text = plain(text.replace("\n", " ")).replace("\t", " ")
    return text.replace("|", "\\|").replace("<", "&lt;")
