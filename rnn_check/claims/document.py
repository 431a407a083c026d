"""What may the text of a claim file hold?  TOML, of no more depth, length and size than it needs.

Whatever is too much is refused before a parser, or anybody else, spends time or memory on it
(docs/claims.md).
"""

from __future__ import annotations

import re
import tomllib
from decimal import Decimal
from pathlib import Path
from typing import Any

from rnn_check.refusal import ClaimError

MOST_BYTES = 2**18
MOST_DEPTH = 16  # of lists and tables in each other; of the parts of a dotted key
MOST_VALUES = 50_000  # counted anew in each claim that [vary] makes
MOST_KEY, MOST_DIGITS = 100, 1000  # characters of a key or of the label of a variant; of a number


def parsed(text: str, file: Path) -> tuple[dict[str, Any], int]:
    """The document, and how many values it holds.  Raises ClaimError for what is no such TOML."""
    _scan(text, file)
    try:
        document = tomllib.loads(text, parse_float=_decimal)
    except tomllib.TOMLDecodeError as error:
        raise ClaimError(file, "", f"not TOML: {error}") from None
    except (RecursionError, ValueError) as error:
        raise ClaimError(file, "", f"not readable as TOML: {error}") from None
    return document, size(document, file)


# TOML's strings and comments whole, then what a key is made of; each matches in linear time
_TOKEN = re.compile(
    r'"""(?:[^"\\]|\\.|"(?!""))*+(?:""")?|'
    r"'''(?:[^']|'(?!''))*+(?:''')?|"
    r'"(?:[^"\\\n]|\\.)*+"?|'
    r"'[^'\n]*+'?|#[^\n]*+|[A-Za-z0-9_+:-]++|[ \t]++|[^\S ]|[\s\S]",
    re.DOTALL,
)


def _scan(text: str, file: Path) -> None:
    """Refuse what takes a parser of TOML more time than its size: it is not asked."""
    depth = dots = 0
    for found in _TOKEN.finditer(text):
        token = found[0]
        if token in ("[", "{"):
            depth += 1
        elif token in ("]", "}"):
            depth -= 1
        if token == ".":
            dots += 1
        elif not (token[0].isalnum() or token[0] in "_+-\"' \t"):
            dots = 0
        if max(depth, dots) > 2 * MOST_DEPTH:
            line = text.count("\n", 0, found.start()) + 1
            problem = f"line {line}: lists and tables stand in each other at most {MOST_DEPTH} deep"
            raise ClaimError(file, "", problem)


def _decimal(text: str) -> Decimal:
    try:
        return Decimal(text)
    except ArithmeticError:  # 1e9999999999999999999
        raise ValueError(f"{text[:20]}... is out of any float's range") from None


def size(document: dict[str, Any], file: Path) -> int:
    """How many values a document holds.  Refuses what no claim needs: depth, length, size."""
    count = 0
    stack: list[tuple[Any, int, Any]] = [(document, 0, None)]  # (node, depth, (key, those above))
    while stack:
        node, depth, way = stack.pop()
        count += 1
        problem = ""
        if count > MOST_VALUES:
            raise ClaimError(file, "", f"holds more than {MOST_VALUES:,} values; an .npz has room")
        if isinstance(node, dict | list) and depth > MOST_DEPTH:
            problem = f"lists and tables stand in each other at most {MOST_DEPTH} deep"
        elif isinstance(node, dict):
            for key, value in node.items():
                if len(key) > MOST_KEY or not key.isprintable():
                    problem = f"{key!r}: a key is at most {MOST_KEY} characters that can be printed"
                stack.append((value, depth + 1, (key, way)))
        elif isinstance(node, list):
            stack.extend((value, depth + 1, (index, way)) for index, value in enumerate(node))
        elif isinstance(node, str):
            if unseen := _UNSEEN.search(node):
                problem = f"the character {unseen[0]!r} cannot be shown; leave it out"
        elif isinstance(node, Decimal):
            if len(node.as_tuple().digits) > MOST_DIGITS:
                problem = f"a number has at most {MOST_DIGITS:,} digits"
        elif isinstance(node, int) and node.bit_length() > 3 * MOST_DIGITS:
            problem = f"an integer has less than {MOST_DIGITS:,} digits"
        if problem:
            raise ClaimError(file, _path(way), problem)
    return count


# what moves a cursor, turns text around or ends a line somewhere else than here
_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]"
)


def _path(way: Any) -> str:
    """ "expect[0].value", of (its last part, (the part before it, ...))."""
    path = ""
    while way is not None:
        part, way = way
        path = (f"[{part}]" if isinstance(part, int) else f".{part}") + path
    return path.lstrip(".")
