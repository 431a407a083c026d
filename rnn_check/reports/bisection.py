"""What does the reader see of a bisection?"""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from rnn_check.reports import changes
from rnn_check.upgrades.bisection import Found


def terminal(found: Found, console: Console) -> None:
    """The versions, what was seen of each that was asked, and what changed."""
    longest = max(map(len, found.versions))
    for word in found.versions:
        seen = found.tried.get(word)
        line = Text(f"  {word:{longest}}  ", style="" if seen else "dim")
        console.print(line.append(seen or "not asked", style="dim"), soft_wrap=True)
    console.print()
    console.print(Text(found.sentence, style="bold"), soft_wrap=True)
    if found.after is not None or found.exit_code == 3:
        console.print()
        changes.terminal(found.compared, console)
