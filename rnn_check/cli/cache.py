"""What does `compare` keep, and what of it may go?"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import click

from rnn_check.cli.commands import BadInput, main
from rnn_check.reports.terminal import console, say


@main.group()
def cache() -> None:
    """List or clear what `compare` keeps: environments, and what they said."""


@cache.command("list")
def list_() -> None:
    """The environments in the cache, the last used first.

    Their keys, as they are shown, are what `cache clear` takes.
    """
    from rich.filesize import decimal
    from rich.table import Table
    from rich.text import Text

    from rnn_check.subjects import environments
    from rnn_check.subjects.environments import kept

    found = kept.cached()
    click.echo(f"{environments.environments()}")
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("key", "used", "size", "Python", "made for"):
        table.add_column(column, overflow="fold", justify="right" if column == "size" else "left")
    for each in found:
        python, made_for = "", "not whole"
        if each.about is not None:
            python, made_for = each.about.python, ", ".join(each.about.requirements)
        shown = (_short(each.key), _ago(each.used), decimal(each.size), python, made_for)
        table.add_row(*map(Text, shown))  # jax[cpu] is no markup
    if found:
        console().print(table)
    total = decimal(sum(each.size for each in found))
    many = f"{len(found)} environment" + "s" * (len(found) != 1)
    click.echo(f"{many}, {total} (what uv's own cache shares counted in)")


def _short(key: str) -> str:
    """As much of a key as tells it from all others."""
    return key[:8] if re.fullmatch("[0-9a-f]{20}", key) else key


def _ago(when: datetime) -> str:
    age = datetime.now(UTC) - when
    if age < timedelta(hours=1):
        return "just now"
    return f"{age // timedelta(hours=1)} h ago" if age.days < 2 else f"{age.days} d ago"


def _age(context: click.Context, option: click.Parameter, value: str | None) -> timedelta | None:
    """30d, 12h, 8w."""
    if value is None:
        return None
    given = re.fullmatch(r"(\d{1,5})([hdw])", value)
    if given is None:
        raise click.BadParameter(f"expected an age such as 30d, 12h or 8w, got {value!r}")
    unit = {"h": "hours", "d": "days", "w": "weeks"}[given[2]]
    return timedelta(**{unit: int(given[1])})


def _bytes(context: click.Context, option: click.Parameter, value: str | None) -> int | None:
    """20GB, 500 MB, 1GiB."""
    if value is None:
        return None
    given = re.fullmatch(r"(\d{1,9}(?:\.\d{1,3})?) ?(?:([kMGT])(i?))?B?", value)
    if given is None:
        raise click.BadParameter(f"expected a size such as 20GB or 500MB, got {value!r}")
    base = 1024 if given[3] else 1000
    return int(float(given[1]) * base ** " kMGT".index(given[2] or " "))


@cache.command()
@click.argument("keys", nargs=-1, metavar="[KEY...]")
@click.option(
    "--older-than",
    callback=_age,
    metavar="AGE",
    help="Remove environments that were not used for AGE (30d, 12h, 8w), and what was resolved and "
    "answered longer ago.",
)
@click.option(
    "--size",
    callback=_bytes,
    metavar="SIZE",
    help="Remove environments, the longest unused first, until they take SIZE (20GB) at most.",
)
def clear(keys: tuple[str, ...], older_than: timedelta | None, size: int | None) -> None:
    """Remove the environments whose KEYS `cache list` shows; without one, everything.

    Everything is environments, what was resolved, what they answered, and what jax compiled. An
    environment that another run uses, or installs, is left, and is named.

    Exit codes: 0 removed (with --older-than or --size also if some of it was left), 2 bad input, or
    something was left or cannot be removed.
    """
    from rich.filesize import decimal

    from rnn_check.subjects import environments
    from rnn_check.subjects.environments import kept

    if keys and (older_than is not None or size is not None):
        raise BadInput("a KEY goes with neither --older-than nor --size")
    if keys:
        cleared = kept.remove(kept.keyed(kept.cached(), keys))
    elif older_than is None and size is None:
        cleared = kept.clear()
    else:
        found = kept.cached()
        cleared = kept.remove(kept.unused(found, older_than, size))
        cleared.freed += kept.forget(older_than) if older_than is not None else 0
    click.echo(f"removed {decimal(cleared.freed)} from {environments.cache()}")
    left = [f"{each}; it stays" for each in cleared.left]
    if left and older_than is None and size is None:
        raise BadInput("\n".join(left))
    for each in left:
        say(each)
