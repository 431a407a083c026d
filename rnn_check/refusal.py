"""How is bad input refused, in one message that names the nearest thing that is known?"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

_SHOWN = 400  # characters of a complaint before and after what is left out of its middle


class Refused(Exception):
    """Bad input; the message stands alone: the command prints it, and exits with 2."""


class ClaimError(Refused):
    """A claim file or a path to one that cannot be used; the message is on one line.

    Of what the file says it quotes no more than fits, and nothing that a terminal would obey.
    """

    def __init__(self, file: Path | str, key: str, problem: str) -> None:
        self.file, self.key, self.problem = str(file), _quoted(key, 60), _quoted(problem, _SHOWN)
        where = ": ".join(filter(None, (_quoted(self.file, _SHOWN), self.key)))
        super().__init__(f"{where}: {self.problem}")


def _quoted(text: str, most: int) -> str:
    if len(text) > 2 * most:
        text = f"{text[:most]} … {text[-most:]}"
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def closest(word: str, known: Iterable[str], alike: float = 0.5) -> str | None:
    """The known word that was meant, if one is that much alike."""
    import difflib  # not before it is needed: `rnn-check --help` reads this module

    return next(iter(difflib.get_close_matches(word[:100], sorted(known), 1, alike)), None)


def meant(known: str | None) -> str:
    """The end of a complaint about an unknown word, where another was meant."""
    return "" if known is None else f"; did you mean `{known}`?"


def one_of(names: Iterable[str]) -> str:
    """SimpleRNN, LSTM or GRU."""
    *some, last = names
    return f"{', '.join(some)} or {last}" if some else last


def any_of(names: Iterable[str]) -> str:
    """With the articles that they are read with: a SimpleRNN, an LSTM or a GRU."""
    vowels = {False: "AEIOU", True: "AEFHILMNORSX"}  # of a word, and of what is read by letters
    return one_of(f"a{'n' * (name[0] in vowels[name[:2].isupper()])} {name}" for name in names)


def nearest(word: str, known: Iterable[str]) -> str:
    """The same: the nearest known word, and all of them if they are few."""
    known = sorted(known)
    hint = meant(closest(word, known))
    return hint if hint and len(known) > 8 else f"{hint}; known: {', '.join(known) or 'none'}"
