"""What is shown of the layers of somebody's model?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from rnn_check.models.judged import GRADIENTS, KNOWN, OUTPUTS, UNPROVED, Model, Part, Row
from rnn_check.reports.cells import MARK, STYLE, as_text
from rnn_check.reports.documents import as_document
from rnn_check.reports.explaining import near_path
from rnn_check.reports.subject import header
from rnn_check.reports.terminal import line
from rnn_check.subjects.identity import Who
from rnn_check.subjects.process import cut
from rnn_check.verdicts.judge import AGREE, DIFFER, NOT_RUN

MARKS = {**MARK, UNPROVED: "?", KNOWN: MARK[DIFFER]}
STYLES = {**STYLE, UNPROVED: "yellow", KNOWN: "yellow"}
_LEGEND = (
    "ratio: how far a number is off its step, as a share of what rounding explains (more than 1 "
    "differs; in brackets: as is known). bits: the precision that the errors show (float32 has "
    "24). judged: the share of numbers of which an error would be seen."
)
_VAGUE = 0.1  # of numbers that are known in their first digits alone, from which on it is said
SCHEMA = 1
_WORDS = {True: AGREE, False: DIFFER, None: UNPROVED}


def short(ratio: float | None) -> str:
    if ratio is None:
        return ""
    if ratio == 0:
        return "0"
    if ratio < 0.01:
        return "<.01"
    return f"{ratio:.2f}" if ratio < 99.95 else f"{ratio:.0e}" if ratio < float("inf") else "∞"


def terminal(model: Model, who: Who, ran_on: str, console: Console, everything: bool) -> None:
    """A table of layers, then what is wrong with any of them. everything: each array's own."""
    console.print(as_text(line(near_path(model.where)), style="bold"))
    console.print(as_text(header(who), style="dim"))
    console.print(as_text(ran_on, style="dim"))
    console.print()
    if not model.rows:
        console.print(as_text("It holds no recurrent layer."))
        return
    console.print(_table(model.rows, console.width))
    for row in model.rows:
        for heading, style, sentence in remarks(row, model.silent):
            console.print()
            console.print(as_text(line(heading), style=style))
            console.print(Padding(as_text(cut(sentence, 4_000)), (0, 0, 0, 2)))
    if everything:
        console.print()
        for row in model.rows:
            console.print(as_text(line(row.path), style="bold"))
            console.print(Padding(_arrays(row), (0, 0, 0, 2)))
    if model.silent:
        console.print()
        console.print(as_text(f"gradients are not certified: {cut(model.silent, 4_000)}"))
    console.print()
    console.print(as_text(_LEGEND, style="dim"))
    console.print(as_text(summary(model), style=STYLES[model.verdict]))


def summary(model: Model) -> str:
    """One line: "3 layers agree · 1 differs"."""
    verdicts = [row.verdict for row in model.rows]
    words = ((AGREE, "agree", "agrees"), (DIFFER, "differ", "differs"),
             (KNOWN, "differ as is known", "differs as is known"),
             (UNPROVED, "are not proved", "is not proved"),
             (NOT_RUN, "are not certified", "is not certified"))  # fmt: skip
    said: list[str] = []
    for verdict, many, one in words:
        if (n := verdicts.count(verdict)) or verdict == AGREE:
            said.append(f"{n} {'recurrences' if n != 1 else 'recurrence'} {one if n == 1 else many}"
                        if not said else f"{n} {one if n == 1 else many}")  # fmt: skip
    return " · ".join(said)


def _table(rows: Sequence[Row], width: int) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold dim")
    table.add_column("layer", overflow="fold", ratio=1)
    for name in ("computes", "on", "outputs", "gradients"):
        table.add_column(name, no_wrap=True)
    for name in ("bits", "judged"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        sizes = "×".join(map(str, row.sizes)) if row.sizes else ""
        if row.refused:
            mark = Text(f"{MARKS[NOT_RUN]} not certified", style=STYLES[NOT_RUN])
            table.add_row(folded(row.path, width), line(row.what), sizes, mark)
            continue
        bits = [part.bits for part in row.parts if part.bits is not None]
        judged = [part.judged for part in row.parts if part.judged is not None]
        table.add_row(
            folded(row.path, width), line(row.what), sizes,
            *(cell(part.verdict, part.ratio) for part in row.parts),
            f"{min(bits):.1f}" if bits else "", f"{min(judged):.0%}" if judged else "",
        )  # fmt: skip
    return table


def folded(path: str, width: int) -> Text:
    """A path on two lines if there is no room for it on one, so that no name is cut."""
    path = line(path)
    fits = len(path) <= width - _OTHERS
    return as_text(path if fits else path.replace("/", "/\n  ", 1))


_OTHERS = 60  # columns of a table that are not a layer's


def cell(verdict: str, ratio: float | None) -> Text:
    words = f"{MARKS[verdict]} {short(ratio)}".rstrip()
    return Text(f"({words})" if verdict == KNOWN else words, style=STYLES[verdict])


def remarks(row: Row, silent: str) -> Iterator[tuple[str, str, str]]:
    if row.refused:
        yield f"not certified  {row.path}", STYLES[NOT_RUN], row.refused
    for part in row.parts:
        if part.known:
            heading = f"known  {row.path} · {part.name}"
            yield heading, STYLES[KNOWN], f"{part.known}\n{next(part.wrong())[1]}"
            continue
        for name, sentence in part.wrong():
            if part.silent:
                if part.silent != silent:  # which is said once of all
                    yield f"not certified  {row.path} · {part.name}", STYLES[NOT_RUN], sentence
                continue
            what = f"{part.name} · {name}" if part.name == GRADIENTS or name != "steps" else name
            yield f"{part.verdict}  {row.path} · {what}", STYLES[part.verdict], sentence
        if part.verdict == AGREE and part.blind > _VAGUE:
            name, worst = max(part.found.items(), key=lambda item: item[1].blind)
            what = "steps" if part.name == OUTPUTS else f"gradient of {name}"
            yield f"seen in part  {row.path} · {what}", STYLES[UNPROVED], worst.reason


def _arrays(row: Row) -> Table:
    """Each array of one layer."""
    table = Table(box=None, pad_edge=False, header_style="bold dim")
    for name in ("array", "verdict", "ratio", "bits", "judged"):
        table.add_column(name, justify="right" if name in ("ratio", "bits", "judged") else "left")

    def add(what: str, verdict: str, ratio: float, bits: float | None, judged: str) -> None:
        said = Text(verdict, style=STYLES[verdict])
        table.add_row(what, said, short(ratio), "" if bits is None else f"{bits:.1f}", judged)

    for part in row.parts:
        for name, each in part.found.items():
            what = name if part.name == OUTPUTS else _gradient(name)
            add(what, _WORDS[each.ok], each.ratio, each.bits, f"{each.judged:.0%}")
        for name, other in part.without.items():
            what = f"{_gradient(name)}, without the probe"
            add(what, AGREE if other.ok else DIFFER, other.ratio, None, "")
    return table


def _gradient(name: str) -> str:
    if name == "steps":
        return "steps, with the probe"
    return name if name == "delta" else f"gradient of {name}"


def document(model: Model, who: Who, ran_on: str) -> str:
    """The same as one JSON document, without NaN and Infinity."""
    return as_document(
        {
            "schema": SCHEMA,
            "model": model.where,
            "subject": who.told(),
            "ran_on": ran_on,
            "verdict": model.verdict,
            "layers": [told(row) for row in model.rows],
            "no_gradients": model.silent or None,
        }
    )


def told(row: Row) -> dict[str, Any]:
    said: dict[str, Any] = {"layer": row.path, "computes": row.what, "verdict": row.verdict}
    if row.sizes:
        said |= {"samples": row.sizes[0], "timesteps": row.sizes[1]}
    if row.refused:
        return said | {"reason": row.refused}
    return said | {part.name: _part(part) for part in row.parts}


def _part(part: Part) -> dict[str, Any]:
    if part.silent:
        return {"verdict": part.verdict, "reason": part.silent}
    arrays: dict[str, Any] = {
        name: {
            "verdict": _WORDS[each.ok],
            "ratio": finite(each.ratio),
            "where": list(each.where),
            "bits": each.bits,
            "judged": each.judged,
            "blind": each.blind,
            "reason": each.reason,
        }
        for name, each in part.found.items()
    }
    without = {
        name: {"verdict": AGREE if c.ok else DIFFER, "ratio": finite(c.ratio)}
        for name, c in part.without.items()
    }
    said = {"verdict": part.verdict, "ratio": finite(part.ratio), "bits": part.bits,
            "judged": part.judged, "blind": part.blind, "arrays": arrays}  # fmt: skip
    if part.known:
        said["known"] = part.known
    if part.name == GRADIENTS:
        said["without_the_probe"] = {"bit_for_bit": part.same, "bounded": without}
    return said


def finite(number: float | None) -> float | None:
    return None if number is None or not abs(number) < float("inf") else number
