"""What is asserted, on whose word?  A claim: an experiment and what somebody says of it.

Sizes: B batch, T timesteps, F features, H units of the recurrent layer, O units of the Dense layer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rnn_check.claims.expectations.expectation import Expectation
from rnn_check.claims.experiment import Experiment
from rnn_check.claims.layers.cells import Recurrence
from rnn_check.claims.layers.signal import ByHand
from rnn_check.claims.tables import Source
from rnn_check.claims.written import Array, Given

# what is gone on with of each kind, as `ByHand` calls it
_CARRIED = {
    "states": "states", "last_state": "states", "preactivation": "preactivation",
    "gate": "gate", "candidate": "gate",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Claim(Experiment):
    """An experiment and what is said of it; everything validated, arrays in Keras's layout."""

    name: str
    file: Path
    title: str
    source: Source
    expectations: tuple[Expectation, ...]
    catches: tuple[str, ...] = ()
    notes: str = ""
    slow: bool = False
    covers: tuple[str, ...] = ()

    def rounded_by_hand(self) -> Mapping[str, ByHand]:
        """Of what is printed as computed by hand: of states, gates, pre-activations and outputs.

        0 where none is printed; the finest, where several are. Somebody who computes by hand goes
        on with the number on the paper.
        """
        finest: dict[str, dict[str, Array]] = {}
        for e in self.expectations:
            if e.computed_in != "hand" or self.x is None or not isinstance(e.value, Given):
                continue
            if (carried := self._carried(e)) is None:
                continue
            layer, name, shape, last = carried
            whole = finest.setdefault(layer, {}).setdefault(name, np.full(shape, np.inf))
            part = whole[:, -1] if last else whole  # a view
            at = np.unravel_index(e.select(np.arange(part.size).reshape(part.shape)), part.shape)
            part[at] = np.minimum(e.select(part), e.value.half_unit)
        return {
            layer: {n: np.where(np.isfinite(part), part, 0.0) for n, part in table.items()}
            for layer, table in finest.items()
        }

    def _carried(self, e: Expectation) -> tuple[str, str, tuple[int, ...], bool] | None:
        """What of its numbers is carried on: (layer, what, its shape, whether the last alone)."""
        assert self.x is not None
        last_layer = self.layers[-1]
        part: Recurrence
        if e.what == "output":
            if not isinstance(last_layer, Recurrence):
                return last_layer.name, "output", self.output_shape, False
            layer, prefix, name, part = last_layer.name, "", "states", last_layer
        elif e.what in _CARRIED:
            of, index, word = self.recurrence_of(e.of)
            layer, (prefix, part) = of.name, of.recurrences[index]
            name = _CARRIED[e.what]
            if name == "states":
                name = word or name
            elif part.letters.authors:
                name += f" {part.letters.authors[word or part.letters.candidate]}"
        else:
            return None
        last = e.what == "last_state" or (
            e.what == "output" and not part.option("return_sequences")
        )
        return layer, prefix + name, (*self.x.shape[:2], part.units), last
