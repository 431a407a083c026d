"""Which experiments stand in one file?  One, or one for each [[experiment]].

What the file says holds for each of them; a key that an experiment gives itself stands in the place
of the file's, whole. [vary] varies each.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rnn_check.claims.document import MOST_KEY, MOST_VALUES, size
from rnn_check.refusal import ClaimError, nearest

MOST_EXPERIMENTS = 64
# what an experiment may give itself; the rest the file says once
OWN = (
    "title", "expect", "catches", "notes", "slow", "covers", "layer", "layers", "reading",
    "weights", "input", "loss", "printed", "training", "wrong",
)  # fmt: skip


@dataclass(frozen=True)
class OfFile:
    """One experiment of a file.

    values: how many it holds. suffix: of its claims' names. key: where it stands, and own: what is
    said there and not above.
    """

    document: dict[str, Any]
    values: int
    suffix: str = ""
    key: str = ""
    own: frozenset[str] = frozenset()

    def placed(self, error: ClaimError) -> ClaimError:
        """A complaint with the key as it stands in the file."""
        first = error.key.partition(".")[0].partition("[")[0]
        if first not in self.own:
            return error
        return ClaimError(error.file, f"{self.key}.{error.key}", error.problem)


def experiments(document: dict[str, Any], file: Path, values: int) -> Iterator[OfFile]:
    """Each with what the file says of all. Raises ClaimError for what is no list of them.

    values: how many the file holds.
    """
    if "experiment" not in document:
        yield OfFile(document, values)
        return
    shared = {key: node for key, node in document.items() if key != "experiment"}
    tables = document["experiment"]
    if not isinstance(tables, list) or not 0 < len(tables) <= MOST_EXPERIMENTS:
        problem = f"expected 1 to {MOST_EXPERIMENTS} tables, as [[experiment]]"
        raise ClaimError(file, "experiment", problem)
    names: list[str] = []
    found: list[OfFile] = []
    for i, table in enumerate(tables):
        key = f"experiment[{i}]"
        if not isinstance(table, dict):
            raise ClaimError(file, key, "expected a table, as [[experiment]]")
        name = table.get("name")
        if not isinstance(name, str) or not name.strip() or len(name) > MOST_KEY:
            problem = f"expected a word of at most {MOST_KEY} characters: what it is called"
            raise ClaimError(file, f"{key}.name", problem)
        if not name.isprintable() or set(name) & set("[]"):
            raise ClaimError(file, f"{key}.name", "a name has no brackets and nothing unseen")
        if name in names:
            raise ClaimError(file, f"{key}.name", f"two experiments are called {name!r}")
        names.append(name)
        own = {k: node for k, node in table.items() if k != "name"}
        for k in own:
            if k not in OWN:
                once = "; the file says it once" if k in ("schema", "source", "vary") else ""
                raise ClaimError(file, f"{key}.{k}", f"unknown key{once or nearest(k, OWN)}")
        whole = copy.deepcopy(shared)
        for one, other in (("layer", "layers"), ("layers", "layer")):
            if one in own:
                whole.pop(other, None)
        whole |= own
        found.append(OfFile(whole, size(whole, file), f"[{name}]", key, frozenset(own)))
        if sum(each.values for each in found) > MOST_VALUES:
            problem = f"the experiments hold more than {MOST_VALUES:,} values, counted in each anew"
            raise ClaimError(file, "experiment", problem)
    yield from found
