"""How does a calculation on paper look, in a terminal and as Markdown with formulas?"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Iterator, Sequence

from rnn_check.claims.paper import Count, Line, Paper, Unit, number

WIDTH = 80


def heading(paper: Paper, title: str) -> str:
    part = paper.part
    return f"{title} · {paper.name}: {part.family}, {part.units} units"


def step_heading(paper: Paper, sample: int, t: int) -> str:
    """Which step, what goes in, and what is carried to it."""
    text = f"step {t} of {paper.timesteps}, sample {sample}"
    if paper.backwards:
        text += f" (taken in reverse: timestep {paper.timesteps - 1 - t})"
    before = {name: paper.before(name, sample, t) for name in paper.carried}
    parts = {"x": paper.x(sample, t), **{f"{name} before": a for name, a in before.items()}}
    return f"{text}: " + "; ".join(f"{name} = {_row(a.tolist())}" for name, a in parts.items())


def _row(values: Sequence[float]) -> str:
    shown = [number(value, inside=False) for value in values[:8]]
    more = [f"… ({len(values) - 8} more)"] if len(values) > 8 else []
    return f"({', '.join([*shown, *more])})"


def folded(text: str) -> list[str]:
    """Of at most 80 columns."""
    return textwrap.wrap(text, WIDTH, subsequent_indent="    ", break_on_hyphens=False)


def as_text(units: Iterable[Unit]) -> Iterator[str]:
    """Lines of at most 80 columns."""
    for unit in units:
        yield f"  unit {unit.unit}"
        width = max(len(line.name) for line in unit.lines)
        for line in unit.lines:
            start = f"    {line.name:{width}} = "
            said = "".join(f"; {who} {number(v, inside=False)}" for who, v in line.beside.items())
            yield from textwrap.wrap(
                " + ".join(line.terms) + " = " * bool(line.terms) + _value(line) + said,
                WIDTH,
                initial_indent=start,
                subsequent_indent=" " * len(start),
                break_long_words=False,
                break_on_hyphens=False,
            )


def _value(line: Line) -> str:
    return number(line.value, inside=False)


def as_markdown(units: Iterable[Unit]) -> Iterator[str]:
    for unit in units:
        yield f"unit {unit.unit}"
        yield ""
        yield "$$"
        yield r"\begin{aligned}"
        for line in unit.lines:
            terms = " + ".join(map(formula, line.terms))
            equals = f" = {_value(line)}" if terms else _value(line)
            yield rf"{formula(line.name)} &= {terms}{equals} \\"
        yield r"\end{aligned}"
        yield "$$"
        for line in unit.lines:
            for who, value in line.beside.items():
                yield f"- {line.name}: {who} {number(value, inside=False)}"
        yield ""


def formula(text: str) -> str:
    r"""As TeX has it: "tanh(0.5)·x_1" is \mathrm{tanh}(0.5) \cdot x_1."""
    text = re.sub(r"\b([a-z][a-z_]+)\(", _named, text)
    text = re.sub(r"(\d)e([+-]\d+)", r"\1 \\cdot 10^{\2}", text)
    text = re.sub(r"[a-z]+(?: [a-z,]+){2,}", lambda words: rf"\text{{{words[0]}}}", text)
    text = re.sub(r"… \((\d+) more\)", r"\\ldots (\1 \\text{ more})", text)
    return text.replace("·", r" \cdot ")


def _named(function: re.Match[str]) -> str:
    name = function[1].replace("_", r"\_")
    return rf"\mathrm{{{name}}}("


def of_counts(counts: Sequence[Count], markdown: bool) -> Iterator[str]:
    """A line for each layer, and their sum where there are several."""
    for count in counts:
        text = f"{count.formula} = {count.filled} = {count.value:,}"
        if markdown:
            text = f"$${formula(text.replace('units', 'u').replace('features', 'f'))}$$"
        yield f"{count.layer}: {text}"
    if len(counts) > 1:
        yield f"together: {sum(count.value for count in counts):,}"
