"""What is asserted, on whose word?  A claim: an experiment and what somebody says of it.

Sizes: B batch, T timesteps, F features, H units of the recurrent layer, O units of the Dense layer.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rnn_check.claims import truth
from rnn_check.claims.expectations.expectation import Expectation
from rnn_check.claims.experiment import Experiment
from rnn_check.claims.tables import Source
from rnn_check.claims.written import Array, Given


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

    def rounded_by_hand(self) -> dict[str, Array]:
        """Half a unit of the last digit that the claim prints of what is carried on.

        Of states, pre-activations and outputs, 0 where none is printed; the finest, where several
        are. Somebody who computes by hand goes on with the number on the paper.
        """
        if self.x is None:
            return {}
        steps = (*self.x.shape[:2], self.rnn.units) if not self.is_stack else ()
        shapes = {name: steps for name in ("preactivation", "states") if steps}
        shapes["output"] = self.output_shape
        finest = {name: np.full(shape, np.inf) for name, shape in shapes.items()}
        for e in self.expectations:
            if e.what not in ("preactivation", "output", "states", "last_state") or (
                e.computed_in != "hand" or not isinstance(e.value, Given)
            ):
                continue
            name, last = e.what, e.what == "last_state"
            if e.what == "output" and not self.is_stack and self.dense is None:
                name, last = "states", not self.rnn.option("return_sequences")
            if (name := "states" if last else name) not in finest:
                continue  # of gates nothing is rounded by hand
            whole = finest[name]
            part = whole[:, -1] if last else whole  # a view
            at = e.select(np.arange(part.size).reshape(part.shape))
            part[np.unravel_index(at, part.shape)] = np.minimum(e.select(part), e.value.half_unit)
        rounded = {n: np.where(np.isfinite(part), part, 0.0) for n, part in finest.items()}
        zero = None if self.is_stack else truth.shown_as_zero(self)
        if zero is not None:  # what is shown there is no state
            rounded["states"] = np.where(zero, 0.0, rounded["states"])
        return rounded
