"""Does what a layer of a model gives follow, step by step, from what it takes there?"""

from __future__ import annotations

import numpy as np

from rnn_check.certificates import public
from rnn_check.certificates.comparison import bits
from rnn_check.certificates.result import Certificate
from rnn_check.claims.written import Array
from rnn_check.models.places import Answer, Layer, Taken, numbered


def certified(layer: Layer, call: Answer) -> list[dict[str, Certificate]]:
    """Of each cell, of its "steps"; and where the layer gives other bits, of what it "gives".

    The steps are those that it gives, if it gives them all; otherwise it was called twice, and
    showed them the second time. Raises ValueError for what no certificate reads.
    """
    taken = Taken.of(layer, call)
    given, told = numbered(call, "given "), numbered(call, "state ")
    steps = steps_of(layer, call)
    of_states = layer.by_cell(given[1:] if layer.states else told)
    found: list[dict[str, Certificate]] = []
    below = taken.x
    for index, (cell, shown, states) in enumerate(zip(layer.cells, steps, of_states, strict=True)):
        options = {"x": below, **taken.options(layer, index)}
        options["zero_output_for_mask"] = layer.zeroed
        if cell.states > 1:
            options["cell_states"] = states[1]
        found.append({"steps": public.certify(shown, **options)})
        below = shown
        ends = {}
        if layer.states:
            ends["the state that it returns"] = states[0], taken.carried(layer, shown)[:, -1]
        if index == len(layer.cells) - 1 and not layer.sequences:
            ends["its output"] = given[0], shown[:, -1]
        for what, (got, expected) in ends.items():
            if not _same(got, expected, taken, what):
                other = _ending(shown, got, taken, layer.zeroed)
                found[-1][what] = public.certify(other, **options)
    return found


def steps_of(layer: Layer, call: Answer) -> list[Array]:
    """Of each cell (B,T,H), as it was shown."""
    if "shown" not in call:
        return [call["given 0"]]
    shown = layer.parts(call["shown"])
    return [*shown[:-1], call["given 0"]] if layer.sequences else shown


def _same(got: Array, expected: Array, taken: Taken, what: str) -> bool:
    same: Array = np.equal(bits(got), bits(expected))
    if taken.mask is not None and what != "its output":
        same = same | ~taken.mask.any(axis=1, keepdims=True)  # without a step zeros may be shown
    return bool(np.all(same))


def _ending(states: Array, last: Array, taken: Taken, zeroed: bool) -> Array:
    """The same steps, but for the last that counts, and its copies."""
    steps = np.arange(states.shape[1])
    at = np.full(len(states), states.shape[1] - 1)
    if taken.mask is not None:
        at = np.where(taken.mask, steps, 0).max(axis=1)
    replaced = steps == at[:, None] if zeroed else steps >= at[:, None]
    return np.where(replaced[:, :, None], last[:, None], states)
