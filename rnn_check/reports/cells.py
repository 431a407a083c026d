"""How is one verdict said in few characters?"""

from __future__ import annotations

from rich.text import Text

from rnn_check.reports.terminal import plain
from rnn_check.verdicts.judge import AGREE, DIFFER, ERROR, NOT_RUN, Verdict

STYLE = {AGREE: "green", DIFFER: "bold red", ERROR: "bold magenta", NOT_RUN: "dim"}


def as_text(said: str, style: str = "") -> Text:
    """Other people's words in a report: plain, so that they are laid out as they are seen."""
    return Text(plain(said), style=style)


def is_wrong(v: Verdict) -> bool:
    return v.is_red or (v.verdict == ERROR and not v.is_known)


MARK = {AGREE: "✓", DIFFER: "✗", ERROR: "!", NOT_RUN: "–"}


WIDE = 100  # columns from which on there is room to say on whose word
NARROW = 60  # below which there is none for the bits


def short_ratio(v: Verdict) -> str:
    """In few characters: 0, 0.20, <.01, 12, 1e38, ∞."""
    if v.ratio is None or v.ratio == 0:
        return ratio_of(v)
    if v.ratio < 0.01:
        return "<.01"
    if v.ratio < 999.5:
        return f"{v.ratio:.2f}" if v.ratio < 9.995 else f"{v.ratio:.0f}"
    mantissa, exponent = f"{v.ratio:.0e}".split("e")
    return f"{mantissa}e{int(exponent)}"


def style_of(v: Verdict) -> str:
    if v.is_known:
        return "yellow"
    return STYLE[DIFFER] if v.is_red else STYLE[v.verdict]


def remarks_of(v: Verdict) -> str:
    """What an agreeing verdict has to say beyond its ratio: "; 2,000 updates"."""
    remarks = [c.praise for c in v.comparisons if c.praise and v.verdict == AGREE]
    return "".join(f"; {remark}" for remark in remarks)


def ratio_of(v: Verdict) -> str:
    if v.ratio is None:
        worst = v.worst
        return "∞" if v.verdict == DIFFER and worst is not None and worst.ratio > 1 else ""
    if v.ratio == 0:
        return "0"
    return f"{v.ratio:.2f}" if 0.01 <= v.ratio < 1000 else f"{v.ratio:.1e}"
