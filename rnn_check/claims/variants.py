"""Which claims does one file make?  One, or one for each combination of what [vary] lists."""

from __future__ import annotations

import collections
import copy
import itertools
import json
import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rnn_check.claims.document import MOST_DEPTH, MOST_KEY, MOST_VALUES
from rnn_check.claims.schema import ClaimFile
from rnn_check.refusal import ClaimError
from rnn_check.subjects.asked.named import FAMILIES, default_name

MOST_VARIANTS = 512


def variants(
    document: dict[str, Any], file: Path, size: int
) -> Iterator[tuple[str, dict[str, Any]]]:
    """(suffix of the claim's name, document) for each combination of what [vary] lists.

    A key is the path of another key; its values are a list, or a table that names them. An empty
    table as a value leaves the other key out.
    """
    table = document.pop("vary", None)
    if table is None:
        yield "", document
        return
    choices: list[list[tuple[str, str, Any]]] = []
    for path, values in table.items():
        key = f'vary."{path}"'
        parts = path.split(".")
        if parts[0] not in ClaimFile.__struct_fields__ or parts[0] in ("vary", "schema"):
            raise ClaimError(file, key, "there is no such place in the file")
        if len(parts) > MOST_DEPTH:
            raise ClaimError(file, key, f"at most {MOST_DEPTH} parts")
        if isinstance(values, list):
            labels = [v if isinstance(v, str) else json.dumps(v, default=str) for v in values]
            if twice := [label for label, n in collections.Counter(labels).items() if n > 1]:
                problem = f"two of the values are called {twice[0]!r}; a table gives each its name"
                raise ClaimError(file, key, problem)
            values = dict(zip(labels, values, strict=True))
        if not values:
            raise ClaimError(file, key, "expected a list of values, or a table that names them")
        for label in values:
            if len(label) > MOST_KEY or not label.isprintable():
                problem = f"a name of at most {MOST_KEY} characters wanted; a table gives each one"
                raise ClaimError(file, key, problem)
        choices.append([(path, label, value) for label, value in values.items()])
    count = math.prod(map(len, choices))
    if not choices or count > MOST_VARIANTS:
        raise ClaimError(file, "vary", f"expected 1 to {MOST_VARIANTS} combinations, got {count:,}")
    if count * size > MOST_VALUES:
        raise ClaimError(
            file, "vary", f"{count} claims of {size:,} values each are {count * size:,}; "
            f"a file holds at most {MOST_VALUES:,}",
        )  # fmt: skip
    for chosen in itertools.product(*choices):
        varied = copy.deepcopy(document)
        for path, _, value in chosen:
            _put(varied, path, copy.deepcopy(value), file)
        names = [[part for part in path.split(".") if not _INDEX.fullmatch(part)] for path in table]
        shown = ", ".join(f"{name[-1]}={c[1]}" for name, c in zip(names, chosen, strict=True))
        yield f"[{shown}]", varied


def covering(names: Sequence[str]) -> list[str]:
    """Of claims of one file, or of its like, so few that each value that varies occurs in one.

    Of each file one is among them. First those with most values that occurred in none yet; of
    these, with most pairs of them.
    """
    values = {name: (name.partition("[")[0], *_labels(name)) for name in names}
    pairs = {name: {*itertools.combinations(each, 2)} for name, each in values.items()}
    missing, unpaired = set().union(*values.values()), set().union(*pairs.values())
    chosen: set[str] = set()
    while missing:
        best = max(names, key=lambda n: (len(missing & {*values[n]}), len(unpaired & pairs[n])))
        chosen.add(best)
        missing.difference_update(values[best])
        unpaired.difference_update(pairs[best])
    return [name for name in names if name in chosen]


def like(name: str) -> str:
    """What files are called that say the same of different layers, by the name of a claim."""
    return _KIND.sub("", name.partition("[")[0])


def _labels(name: str) -> tuple[str, ...]:
    """The values of a variant by the suffix of its name, "[kind=GRU, unroll=true]"."""
    _, bracket, suffix = name.partition("[")
    return tuple(_PARTS.split(suffix[:-1])) if bracket else ()


_PARTS = re.compile(r", (?=\w+=)")
_KIND = re.compile(f"[_/]({'|'.join(map(default_name, FAMILIES))})$")
_INDEX = re.compile("0|[1-9][0-9]*")


def _put(document: dict[str, Any], path: str, value: Any, file: Path) -> None:
    *way, last = path.split(".")
    node: Any = document
    try:
        for part in way:
            node = _entry(node, part) if isinstance(node, list) else node.setdefault(part, {})
        if isinstance(node, list):
            _entry(node, last)
            node[int(last)] = value
        elif value == {}:
            node.pop(last, None)
        else:
            node[last] = value
    except (IndexError, AttributeError, TypeError):
        raise ClaimError(file, f'vary."{path}"', "there is no such place in the file") from None


def _entry(node: list[Any], index: str) -> Any:
    if not _INDEX.fullmatch(index) or len(index) > 9:
        raise IndexError
    return node[int(index)]
