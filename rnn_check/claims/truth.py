"""What should an experiment's numbers be, and how far from them may an arithmetic end?

The float64 reference of a claim's experiment (layers, weights, input, loss), each array with its
rigorous running bound: for the arithmetic that the author computed in, and for the subject's.

Sizes: B batch, T timesteps, F features, H units, O units of the Dense layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from rnn_check.claims import gates, stack
from rnn_check.claims.experiment import Experiment
from rnn_check.claims.layers import Carrying, Gated
from rnn_check.claims.layers.cells import Recurrence
from rnn_check.claims.layers.signal import (
    Back,
    Course,
    Pass,
    Signal,
    Unbegun,
    at_the_end,
    last_of,
)
from rnn_check.claims.loss import (
    from_logits,
    given_to_loss,
    loss_of_kept,
    of_output,
    regularization,
    weighted_sum,
)
from rnn_check.claims.written import Array
from rnn_check.numbers import formats, spread
from rnn_check.numbers.bounded import Bounded, _given, stacked


@dataclass(frozen=True)
class Truth:
    """Each number with its bound; derived when it is first asked for.

    computed_in: the arithmetic for which the bounds are asked ("real": none but the reference's
    own float64; "hand": none either, but what is carried on is rounded first).
    loss_in: what a loss of Keras's is computed in, if that is coarser.
    of: a recurrence by its name, and what of it: "second.c" (see `Experiment.recurrence_of`).
    """

    claim: Experiment
    computed_in: str
    loss_in: str = ""

    @property
    def arithmetic(self) -> str:
        return "exact" if self.computed_in == "real" else self.computed_in

    @property
    def a(self) -> formats.Arithmetic:
        return formats.arithmetic(self.arithmetic)

    @cached_property
    def passes(self) -> list[Pass]:
        """Of each layer."""
        rounded = self.claim.rounded_by_hand() if self.computed_in == "hand" else self._mirrored
        return stack.passes(self.claim, self.arithmetic, rounded)

    @property
    def _mirrored(self) -> dict[str, dict[str, Array]]:
        """How far off z is, in addition, of somebody whose own weighs the candidate.

        By the names of layers, as what is rounded by hand.
        """
        claim, found = self.claim, dict[str, dict[str, Array]]()
        if claim.x is None or claim.gates.z_weighs == "state":
            return found
        for layer in claim.layers:
            for prefix, part in layer.recurrences if isinstance(layer, Carrying) else ():
                if isinstance(part, Gated) and (update := part.letters.update):
                    off = np.full((*claim.x.shape[:2], part.units), self._of_one_minus_z(part))
                    found.setdefault(layer.name, {})[f"{prefix}gate {update}"] = off
        return found

    def _of_one_minus_z(self, part: Gated) -> float:
        """How far off 1 - z is if both are near 1: z's own error, and a rounding of 1."""
        of_z = spread.activation_error(part.gate_function, np.asarray(3.0), np.asarray(1.0), self.a)
        return float(of_z) + self.a.u_stored + 2.0**-53

    def _course(self, of: str) -> tuple[Carrying, Course, str]:
        layer, index, word = self.claim.recurrence_of(of)
        return layer, self.passes[self.claim.layers.index(layer)].courses[index], word

    @property
    def output(self) -> Bounded:
        return _limited(self.passes[-1].out.number, self.claim.layers[-1].reach)

    def in_batches(self, batches: Sequence[slice], unbegun: Unbegun = "") -> stack.Shown:
        """The output, in whichever batches it is asked for: those of a stateful layer go on.

        unbegun: see `Call`.
        """
        claim = self.claim
        if not claim.is_stateful:
            return stack.Shown(Signal(self.output, self.passes[-1].out.mask), self.returned)
        found = stack.carried_on(claim, self.arithmetic, batches, unbegun)
        last = _limited(found.last.number, claim.layers[-1].reach)
        return found._replace(last=Signal(last, found.last.mask))

    @cached_property
    def returned(self) -> stack.Returned:
        return stack.returned(self.claim, self.passes, self.arithmetic)

    def states(self, of: str = "") -> Bounded:
        """(B,T,H) as Keras returns the sequence; of what it does not show, as they are carried."""
        layer, course, word = self._course(of)
        if word:
            return course.states[word]
        states = course.states["h"]
        index = self.claim.layers.index(layer)
        mask = self.passes[index - 1].out.mask if index else self.claim.mask
        if mask is not None and layer.shows_states_of(self.claim.recurrence_of(of)[1]):
            states = layer.returning_sequences().shown(states, layer.in_order(mask)).number
        return _limited(states, self._reach(of))

    def last_state(self, of: str = "") -> Bounded:  # (B,H)
        _, course, word = self._course(of)
        last = course.states[word or "h"].each(last_of)
        return last if word else _limited(last, self._reach(of))

    def _reach(self, of: str) -> tuple[float, float]:
        return self._part(of).reach

    def preactivation(self, of: str = "") -> Bounded:
        """(B,T,H): what the activation is taken of, of gates that of the letter's."""
        _, course, word = self._course(of)
        if not word:
            return course.arguments[""]
        letters = self._part(of).letters
        name, mirrored = gates.gate_of(letters, word, self.claim.gates)
        found = course.arguments[name]
        return -found if mirrored else found  # 1 − σ(z) is σ(−z)

    def gate(self, of: str) -> Bounded:
        """(B,T,H): a gate as its author has it, or the candidate."""
        _, course, word = self._course(of)
        part = self._part(of)
        letters = part.letters
        name, mirrored = gates.gate_of(letters, word or letters.candidate, self.claim.gates)
        found = course.gates[name]
        if mirrored and isinstance(part, Gated):
            found = Bounded(1.0 - found.value, found.error + self._of_one_minus_z(part), found.a)
        return found

    def _part(self, of: str) -> Recurrence:
        layer, index, _ = self.claim.recurrence_of(of)
        return layer.recurrences[index][1]

    @cached_property
    def regularization(self) -> Bounded:  # ()
        return regularization(self.claim, self.returned, self.a)

    @property
    def _handed_on(self) -> Signal:  # the output as a loss takes it
        return self.passes[-1].out.handed_on

    @cached_property
    def losses(self) -> list[Bounded]:  # () each
        """The loss in each of the forms that frameworks give it.

        They are two where a cross-entropy follows a softmax and is clipped: from its logits
        TensorFlow computes one that is not.
        """
        loss = self.claim.loss
        assert loss is not None
        given = loss.value.value
        if loss.kind == "cotangent":
            return [weighted_sum(given, self._handed_on.number)]
        forms = [True, False] if from_logits(self.claim) else [True]
        output, mask = given_to_loss(self._handed_on.number, self.loss_in), self._handed_on.mask
        found = [loss_of_kept(loss.kind, given, output, mask, clipped) for clipped in forms]
        return list({tuple(map(float, number)): number for number in found}.values())

    @property
    def loss(self) -> Bounded:  # () in its usual form
        return self.losses[0]

    @cached_property
    def _backs(self) -> dict[str, Back]:
        """Of each layer."""
        if (cell := self.claim.cell_cotangent) is not None:
            (layer,), (course,) = self.claim.layers, self.passes[0].courses
            assert isinstance(layer, Carrying)
            last = at_the_end(cell.value, course.states["c"].value.shape[1])
            found = course.back({"c": _given(last, 0.0, course.states["c"].a, rounded=True)})
            return {layer.name: layer.back_of([found], found.x)}
        handed = of_output(self.claim, self._handed_on, self.loss_in)
        return stack.back(self.claim, self.passes, handed)

    def gradient(self, of: str) -> Bounded:
        """Of the loss, see `Experiment.gradients`."""
        layer, path = self.claim.gradients[of]
        found = self._backs[layer.name]
        if path == "x":
            return found.x
        if path != "initial_state":
            return found.weights[path]
        return stacked(found.starts) if len(found.starts) > 1 else found.starts[0]

    def reach(self, what: str) -> Array | None:
        """How far from the truth what a comparison calls `what` may be at the end of all its steps.

        Of the output and each layer's, of states that are certified step by step (as they are
        carried, whatever is shown of a step that the mask skips), and of gradients; None of
        anything else.
        """
        claim = self.claim
        if claim.x is None or claim.weights is None:
            return None
        kind, _, of = what.partition(" of ")
        if of in claim.names and kind in ("output", "states"):
            index = claim.names.index(of)
            given = Signal.exactly(claim.x.value, self.a, claim.mask)
            signals = [given, *(p.out for p in self.passes)]
            layer, out = claim.layers[index], signals[index + 1]
            return layer.carried_error(out, signals[index].mask) if kind == "states" else out.error
        alone = claim.begins_recurrent and len(claim.layers) == 1
        if claim.begins_recurrent and (
            what == "states" or (what == "output" and alone and claim.layers[0].returns_sequences)
        ):
            return self.passes[0].courses[0].states["h"].error
        if what == "output":
            return self.output.error
        if claim.begins_recurrent and what == "last_state":
            return self.last_state().error
        name = of if kind == "gradient" else what
        if claim.loss is None or name not in claim.gradients:
            return None
        return self.gradient(name).error


def _limited(found: Bounded, reach: tuple[float, float]) -> Bounded:
    """Infinite where the bound spans all that the activation may give: no number exceeds it."""
    (value, bound), (low, high) = found, reach
    with np.errstate(invalid="ignore"):  # inf - inf, of what overflowed
        spans = bound >= np.maximum(high - value, value - low)
    return Bounded(value, np.where(spans, np.inf, bound), found.a)
