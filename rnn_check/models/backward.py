"""Does each gradient of a layer of a model follow from its adjoints there?

The adjoints are shown by a copy of the layer with further features, called as the model calls it
(see `asked.probed`). What the model itself gave has to be the same bits, or as near to the truth as
a whole sequence allows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from rnn_check.certificates import public
from rnn_check.certificates.comparison import Comparison, bits
from rnn_check.certificates.result import Certificate
from rnn_check.claims import stack
from rnn_check.claims.written import Array
from rnn_check.models.places import Answer, Cell, Layer, Taken, numbered
from rnn_check.numbers.bounded import Bounded, exactly
from rnn_check.numbers.formats import arithmetic
from rnn_check.recurrences.running import Running


def unprobed(layer: Layer, call: Answer, said: Answer) -> str:
    """Why nothing is certified, if nothing is."""
    for why in ("unsupported", "error"):
        if why in said:
            return str(said[why])
    mask = call.get("mask")
    if layer.states and mask is not None and not mask.any(axis=1).all():
        return "a sample is masked from its first step to its last, and its state is returned"
    return ""


class Back:
    """The gradients of one layer. call: what it took while they were computed, and "d x", ...;
    said: what the probe showed; weights: the gradients of the model itself."""

    def __init__(
        self, layer: Layer, call: Answer, said: Answer, weights: Mapping[str, Array]
    ) -> None:
        self.layer, self.call, self.said, self.weights = layer, call, said, weights
        self.taken = Taken.of(layer, call)
        self.a = arithmetic(layer.dtype.removeprefix("mixed_"))
        self.steps = layer.parts(said["shown"])
        self.starts = layer.by_cell(said["starts"])
        of_states = [said["cotangents"].get(f"state {i}") for i in range(len(said["starts"]))]
        self.of_states = layer.by_cell(of_states)
        self.of_x, self.delta = self._split(self._ordered(said["x"]))

    def _ordered(self, array: Array) -> Array:
        return array[:, ::-1] if self.layer.backwards else array

    def _split(self, wide: Array) -> tuple[list[Array], list[Array]]:
        """Of each cell dL/d of what it takes, and its delta."""
        of_x, delta, at = [], [], 0
        for cell in self.layer.cells:
            width = cell.weights["kernel"].shape[1]
            of_x.append(wide[..., at : at + cell.below])
            delta.append(wide[..., at + cell.below : at + cell.below + width])
            at += cell.below + width
        return of_x, delta

    def _below(self, index: int) -> Array:
        return self.steps[index - 1] if index else self.taken.x

    def _cotangent(self, index: int) -> tuple[Array, Array | None]:
        """dL/dh (B,T,H) of a cell, and its error."""
        if index < len(self.layer.cells) - 1:
            found = self.of_x[index + 1].astype(np.float64)
        else:
            found = self.said["cotangents"]["shown"].astype(np.float64)
            if self.layer.zeroed and self.taken.mask is not None:
                found = np.where(self.taken.mask[:, :, None], found, 0.0)
        if (own := self.of_states[index][0]) is None:
            return found, None
        value, error = self._with_end(exactly(found, self.a), own)
        return value, error

    def _with_end(self, found: Bounded, own: Array) -> Bounded:
        """With what reaches the state that is returned, in a sum that is rounded."""
        value, error = found.value.copy(), found.error + 4 * self.a.min_subnormal
        value[:, -1] += own
        error[:, -1] += 4 * self.a.u_stored * (np.abs(value[:, -1]) + np.abs(own))
        return Bounded(value, error, self.a)

    def _of_c(self, index: int) -> Array | None:
        own = self.of_states[index][1:]
        if not own or own[0] is None:
            return None
        return stack_at_end(own[0], self.taken.x.shape[1])

    def observed(self, index: int) -> dict[str, Array]:
        """What the probe shows of a cell's gradients."""
        cell = self.layer.cells[index]
        found = {"delta": self.delta[index], "x": self.of_x[index]}
        found |= {name: self.said["weights"][cell.prefix + name] for name in cell.weights}
        names = ("initial_state", "initial_cell_state")
        return found | dict(zip(names, self.starts[index], strict=False))

    def certified(self) -> list[dict[str, Certificate]]:
        """Of each cell, of each of its gradients, and of "steps" that the probe showed."""
        found = []
        for index in range(len(self.layer.cells)):
            states = self.taken.carried(self.layer, self.steps[index])
            options = {"x": self._below(index), **self.taken.options(self.layer, index)}
            cotangent, error = self._cotangent(index)
            steps = public.certify(states, **options)
            gradients = public.certify_gradients(
                self.observed(index), cotangent=cotangent, cotangent_error=error,
                cell_cotangent=self._of_c(index), states=states, **options,
            )  # fmt: skip
            found.append({"steps": steps, **gradients})
        return found

    # what the model gave itself

    def without_probe(self) -> Iterator[tuple[int, str, Comparison | None]]:
        """(cell, which gradient, a comparison) of the model itself; None if it is bit for bit."""
        own = list(self._own())
        probe = [self.observed(index) for index in range(len(self.layer.cells))]
        other = [
            (index, name, got)
            for index, name, got in own
            if got.shape != probe[index][name].shape
            or not (bits(got) == bits(probe[index][name].astype(got.dtype))).all()
        ]
        changed = {(index, name) for index, name, _ in other}
        for index, name, _ in own:
            if (index, name) not in changed:
                yield index, name, None
        if other:
            truth = self._truth()
            for index, name, got in other:
                yield index, name, stack.bounded(name, got, truth[index][name], "subject")

    def _own(self) -> Iterator[tuple[int, str, Array]]:
        yield 0, "x", self._ordered(self.call["d x"])
        for index, cell in enumerate(self.layer.cells):
            for name in cell.weights:
                if (path := cell.prefix + name) in self.weights:
                    yield index, name, self.weights[path]
        mask = self.taken.mask
        if mask is None or mask[:, 0].all():  # else either zeros or the start are shown before
            starts = self.layer.by_cell(numbered(self.call, "d start "))
            for index, own in enumerate(starts):
                for name, got in zip(("initial_state", "initial_cell_state"), own, strict=False):
                    yield index, name, got

    def _truth(self) -> list[dict[str, Bounded]]:
        """Of each cell the gradients of the whole sequence, and how far they may be off."""
        runs, x = [], exactly(self.taken.x, self.a)
        for cell, start in zip(self.layer.cells, self.layer.by_cell(self.taken.start), strict=True):
            runs.append(_run(cell, x, start, self.taken.mask))
            x = runs[-1].states["h"]
        given = self.said["cotangents"]["shown"].astype(np.float64)
        if self.layer.zeroed and self.taken.mask is not None:
            given = np.where(self.taken.mask[:, :, None], given, 0.0)
        # what reaches a state that is returned may have been added to the last step's in any order
        off = 4 * self.a.u_stored * np.abs(given) if self.layer.states else np.zeros(given.shape)
        cotangent = Bounded(given, off, self.a)
        found: list[dict[str, Bounded]] = []
        for index in reversed(range(len(runs))):
            of_h, *of_c = self.of_states[index]
            if of_h is not None:
                cotangent = self._with_end(cotangent, of_h)
            cotangents = {"h": cotangent.value}
            if of_c and of_c[0] is not None:
                cotangents["c"] = stack_at_end(of_c[0], self.taken.x.shape[1])
            value, far = runs[index].gradients(cotangents, {"h": cotangent.error})
            own = {
                name: Bounded(getattr(value, name), getattr(far, name), self.a)
                for name in ("x", *self.layer.cells[index].weights)
            }
            names = ("initial_state", "initial_cell_state")
            for name, start, off in zip(
                names, value.initial_state, far.initial_state, strict=False
            ):
                own[name] = Bounded(start, off, self.a)
            found.insert(0, own)
            cotangent = own["x"]
        return found


def _run(cell: Cell, x: Bounded, start: list[Array], mask: Array | None) -> Running:
    activations: dict[str, Any] = {
        name: cell.what[name]
        for name in ("activation", "recurrent_activation")
        if name in cell.what
    }
    w = cell.weights
    return Running(
        cell.kind, x.value, w["kernel"], w["recurrent_kernel"], w.get("bias"), **activations,
        initial_state=tuple(start) or None, mask=mask, arithmetic=x.a, errors={"x": x.error},
        round_inputs=True,
    )  # fmt: skip


def stack_at_end(array: Array, timesteps: int) -> Array:
    """(B,T,H) of what reaches the last step alone."""
    found = np.zeros((len(array), timesteps, array.shape[-1]))
    found[:, -1] = array
    return found
