"""What does a notebook show of a certificate, and of a run of claims?

HTML that stands by itself: no script, no style sheet of the page, colours written out, on a ground
of its own, so that it is read alike in any notebook and where a notebook is only shown.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from html import escape

import numpy as np

from rnn_check.certificates.comparison import Comparison
from rnn_check.certificates.result import Certificate
from rnn_check.claims.written import Array
from rnn_check.reports import pictures
from rnn_check.reports.cells import ratio_of
from rnn_check.reports.explaining import explanation
from rnn_check.reports.outcome import sentence
from rnn_check.reports.subject import header
from rnn_check.reports.terminal import plain
from rnn_check.subjects.process import cut
from rnn_check.verdicts.judge import AGREE, DIFFER, ERROR, NOT_RUN, Judged, Verdict

_COLOURS = {  # of the page's light theme
    "quiet": "#5a6472", "rule": "#d8dde4", "page": "#ffffff", "band": "#e6eaef",
    "series-1": "#0b6bc2", "series-2": "#5a6472", "series-3": "#b4530a", "series-4": "#7b3fa8",
}  # fmt: skip
_INK, _GREEN, _RED, _ORANGE = "#1c2127", "#1a6b3a", "#a8201a", "#8a5a00"
_OK = {True: ("proved", _GREEN), False: ("wrong", _RED), None: ("not proved", _ORANGE)}
_OF = {AGREE: _GREEN, DIFFER: _RED, ERROR: _RED, NOT_RUN: _COLOURS["quiet"]}
MOST_DRAWN = 2**24  # numbers of an array, which are all computed once more for a picture
_PICTURES, _EXPLAINED = 4, 20  # of a run, at most
_TIMES = ("timestep", "update")


def certificate(found: Certificate) -> str:
    """A verdict, its reason, what was seen of it, and where there is time the errors over it."""
    word, colour = _OK[found.ok]
    said = f"<b style='color:{colour}'>{word}</b> in {_text(found.claimed)}: "
    parts = [f"<div>{said}{_text(cut(found.reason, 2_000))}</div>"]
    bits = "too few sums to tell" if found.bits is None else f"{found.bits:.1f}"
    if found.consistent_with is not None:
        bits += f", as {found.consistent_with} has"
    facts = {
        "largest error / bound": f"{found.ratio:.3g}" + (f" at {found.where}" * bool(found.where)),
        "beyond the bound": f"{found.wrong:,} of {found._given.size:,}",
        **({"first in time": f"{found.first}"} if found.first else {}),
        "an error would be seen of": f"{found.judged:.1%}",
        "known in the first digits alone": f"{found.blind:.1%}",
        "bits": bits,
    }
    told = "; ".join(f"agrees if {cause}" for cause in found.causes) or found.no_cause
    facts |= {"cause": told} if told else {}
    parts.append(_table(facts.items()))
    shape = found._given.shape
    if len(shape) > 2 and 0 < found._given.size <= MOST_DRAWN:
        time = np.broadcast_to(np.arange(shape[-2])[:, None], shape)
        with np.errstate(all="ignore"):
            parts.append(_drawn(time, found.residual, found.bound, "timestep"))
    return _whole(parts)


def run(judged: Sequence[Judged]) -> str:
    """Every verdict of every subject, and what differs explained, with its errors over time."""
    parts = [f"<div><b>{_text(sentence(judged))}</b></div>"]
    pictures_left, left = _PICTURES, _EXPLAINED
    for each in judged:
        parts.append(f"<div style='color:{_COLOURS['quiet']}'>{_text(header(each.subject))}</div>")
        parts.append(_verdicts(each.verdicts))
        for v in each.verdicts:
            if not (v.is_red or v.verdict == ERROR) or not left:
                continue
            left -= 1
            told = [line for line in explanation(v) if not line.startswith("  rerun ")]
            text = _text("\n".join(told))
            parts.append(f"<pre style='white-space:pre-wrap;margin:8px 0'>{text}</pre>")
            c = next((c for c in v.comparisons if not c.ok and set(_TIMES) & set(c.axes)), None)
            if c is not None and pictures_left:
                pictures_left -= 1
                parts.append(_of_comparison(c))
    return _whole(parts)


def _text(said: str) -> str:
    """Other people's words, as text and nothing else."""
    return escape(plain(said))


def _verdicts(verdicts: Sequence[Verdict]) -> str:
    rows = []
    for v in verdicts:
        known = " (known)" * v.is_known
        word = f"<span style='color:{_OF[v.verdict]}'>{_text(v.verdict + known)}</span>"
        bits = "" if v.bits is None else f"{v.bits:.1f}"
        cells = [_text(v.claim), _text(v.what), word, _text(ratio_of(v)), bits]
        rows.append(cells)
    heads = ("claim", "what", "verdict", "error/bound", "bits")
    head = "".join(f"<th style='{_CELL};color:{_COLOURS['quiet']}'>{h}</th>" for h in heads)
    body = "".join(
        "<tr>" + "".join(f"<td style='{_CELL}'>{cell}</td>" for cell in row) + "</tr>"
        for row in rows
    )
    return f"<table style='{_OF_TABLE}'><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


_CELL = "text-align:left;padding:2px 14px 2px 0;background:none;border:none;vertical-align:top"
_OF_TABLE = "border-collapse:collapse;margin:8px 0;border:none;font-size:13px"


def _table(facts: Iterable[tuple[str, str]]) -> str:
    rows = "".join(
        f"<tr style='background:none'><td style='{_CELL};color:{_COLOURS['quiet']}'>{name}</td>"
        f"<td style='{_CELL}'>{_text(value)}</td></tr>"
        for name, value in facts
    )
    return f"<table style='{_OF_TABLE}'>{rows}</table>"


def _of_comparison(c: Comparison) -> str:
    axis = next(axis for axis in _TIMES if axis in c.axes)
    return _drawn(c.coordinates[c.axes.index(axis)], c.error, c.bound, axis)


def _drawn(time: Array, error: Array, bound: Array, axis: str) -> str:
    """The largest error at each time over what the widest bound allows; crosses are beyond it."""
    error = np.where(np.isnan(error), np.inf, error)
    series = pictures.Series(*(part.ravel() for part in (time, error, bound, error > bound)))
    if not (series.error.any() or series.bound.any()):
        return ""  # exactly what is expected, at every time
    parts = (series.time, series.error, series.bound)
    digest = hashlib.sha256(b"".join(np.ascontiguousarray(p).tobytes() for p in parts))
    beyond = series.time[series.beyond]
    first = f" The first beyond its bound is at {axis} {int(beyond.min())}." if beyond.size else ""
    told = f"Error against {axis}.{first}"
    drawn = pictures.against_time(f"rnn-check-{digest.hexdigest()[:12]}", [series], axis, told)
    drawn = re.sub(r"var\(--([a-z0-9-]+)\)", lambda m: _COLOURS.get(m[1], _INK), drawn)
    caption = (
        f"<div style='color:{_COLOURS['quiet']};font-size:12px'>the largest error at each {axis}; "
        f"shaded: what rounding explains; ✕: beyond it.{_text(first)}</div>"
    )
    return f"<div style='max-width:640px;margin:8px 0 0'>{drawn}</div>{caption}"


def _whole(parts: Sequence[str]) -> str:
    style = (
        f"background:{_COLOURS['page']};color:{_INK};font:14px/1.5 system-ui,sans-serif;"
        "padding:10px 14px;max-width:860px;overflow-x:auto;overflow-wrap:break-word"
    )
    return f"<div style='{style}'>{''.join(parts)}</div>"
