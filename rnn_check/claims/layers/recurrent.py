"""Which keys do the layers take that carry states, and what do they make of their steps?"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Literal, Self, get_args

import msgspec
import numpy as np

from rnn_check.certificates import public
from rnn_check.certificates.comparison import Comparison, step
from rnn_check.claims.layers.cells import Cell, GatedUnit, LongShortTerm, Recurrence
from rnn_check.claims.layers.layer import (
    Constraint,
    Initializer,
    Layer,
    Part,
    Regularizer,
)
from rnn_check.claims.layers.signal import (
    Back,
    ByHand,
    Call,
    Course,
    Pass,
    Signal,
    at_the_end,
    axes,
    bounded,
    carried,
    last_of,
    shown_as_zero,
    zeros,
)
from rnn_check.claims.tables import Flag, Name, Number, Seed
from rnn_check.claims.written import Array
from rnn_check.numbers.bounded import Bounded, where
from rnn_check.recurrences import running

Implementation = Literal[1, 2] | msgspec.UnsetType  # of gates: one product each, or one for all
UseCudnn = bool | Literal["auto"] | msgspec.UnsetType


class Carrying(Layer, frozen=True):
    """A layer that carries states from step to step, those of each of its parts."""

    is_recurrent: ClassVar[bool] = True

    @property
    def recurrences(self) -> list[tuple[str, Recurrence]]:
        """Its parts, each with the prefix of its weights' paths."""
        found = []
        for prefix, part, _ in self.parts(1):
            assert isinstance(part, Recurrence)
            found.append((prefix, part))
        return found

    @property
    def state_sizes(self) -> list[int]:
        """How wide each state is, in the order in which Keras takes and returns them."""
        return [part.units for _, part in self.recurrences for _ in part.states]

    @property
    def takes_start(self) -> bool:
        """Whether Keras takes an initial state of it: of stacked cells it takes none."""
        return True

    @property
    def backward_part(self) -> int | None:
        """Which of its parts, if any, is beside the others and takes the steps in reverse."""
        return None

    def shows_states_of(self, index: int) -> bool:
        """Whether the sequence that it returns is the states of that part."""
        return self.backward_part is None and index == len(self.recurrences) - 1

    def in_order(self, mask: Array) -> Array:
        """The mask (B,T) in the order in which the layer takes the steps."""
        return mask[:, ::-1] if self.option("go_backwards") else mask

    def by_hand_of(self, index: int, by_hand: ByHand) -> running.ByHand:
        """What of it belongs to one of its parts.

        The output's digits are those of the states of the last, unless these are printed. The last
        state is carried no further.
        """
        prefix = self.recurrences[index][0]
        last = index == len(self.recurrences) - 1 and self.returns_sequences
        output = by_hand.get("output", 0.0) if last else 0.0
        states: dict[str, Array | float] = {"h": by_hand.get(f"{prefix}states", output)}
        others = self.recurrences[index][1].letters.states[1:]
        states |= {name: by_hand[prefix + name] for name in others if prefix + name in by_hand}

        def named(kind: str) -> dict[str, Array | float]:
            return {
                key.removeprefix(kind).lstrip(): part
                for key, part in by_hand.items()
                if key.startswith(kind)
            }

        return running.ByHand(states, named(f"{prefix}gate"), named(f"{prefix}preactivation"))

    def courses(self, call: Call) -> list[Course]:
        """Of each of its parts."""
        given, left, by_hand = call.given, list(call.starts), call.by_hand
        mask = None if given.mask is None else self.in_order(given.mask)
        backwards, weights = self.option("go_backwards"), call.weights.items()
        found: list[Course] = []
        for index, (prefix, part) in enumerate(self.recurrences):
            own = {n.removeprefix(prefix): w for n, w in weights if n.startswith(prefix)}
            start, left = left[: len(part.states)], left[len(part.states) :]
            turned = index == self.backward_part or backwards
            of_part = Call(own, given, start)
            found.append(part.course(of_part, turned, self.by_hand_of(index, by_hand)))
            if self.backward_part is None:  # the next cell runs on in the order of this one
                rounded = by_hand.get(f"{prefix}states", 0.0)
                given, backwards = Signal(found[-1].states["h"].off_by(rounded), mask), False
        return found

    def ends(self, call: Call) -> dict[str, Bounded]:
        """The states that its parts end with, (B,H), by what to call them: "forward state"."""
        found = {}
        for (prefix, part), course in zip(self.recurrences, self.courses(call), strict=True):
            for name, state in zip(part.states, course.states.values(), strict=True):
                found[prefix.replace(".", " ") + name] = state.each(last_of)
        return found

    def mask_after(self, mask: Array | None) -> Array | None:
        """In processing order."""
        turned = mask is not None and self.backward_part is None
        return super().mask_after(self.in_order(mask) if turned else mask)  # type: ignore[arg-type]

    def returning_sequences(self) -> Self:
        """The same layer, returning sequences."""
        return msgspec.structs.replace(self, return_sequences=True)

    def shown(self, states: Bounded, mask: Array | None, zeros: bool = False) -> Signal:
        """What Keras shows of the states; the mask (B,T) in processing order."""
        if mask is not None:
            zero = shown_as_zero(mask, zeros or self.option("zero_output_for_mask"))
            states = states.each(lambda part: np.where(zero, 0.0, part))
        if not self.returns_sequences:
            return Signal(states.each(last_of))
        return Signal(states, mask)

    def shown_from(
        self, cotangent: Bounded, mask: Array | None, timesteps: int, zeros: bool = False
    ) -> Bounded:
        """dL/d of the states (B,T,H), of dL/d of what is shown of them: a zero depends on none."""
        if not self.returns_sequences:
            cotangent = cotangent.each(lambda part: at_the_end(part, timesteps))
        if mask is None:
            return cotangent
        zero = shown_as_zero(mask, zeros or self.option("zero_output_for_mask"))
        return cotangent.each(lambda part: np.where(zero, 0.0, part))

    def back_of(self, found: Sequence[Back], x: Bounded) -> Back:
        """Of its parts' own."""
        weights = {
            prefix + name: gradient
            for (prefix, _), part in zip(self.recurrences, found, strict=True)
            for name, gradient in part.weights.items()
        }
        return Back(x, weights, [start for part in found for start in part.starts])

    def passed(self, call: Call) -> Pass:
        given, by_hand = call.given, call.by_hand
        mask = None if given.mask is None else self.in_order(given.mask)
        lost = by_hand.get("output", 0.0)
        if (states := by_hand.get("states")) is not None:
            if mask is not None:  # a zero that is shown is no state
                zero = shown_as_zero(mask, self.option("zero_output_for_mask"))
                states = np.where(zero, 0.0, states)
            by_hand = {**by_hand, "states": states}
            lost = states if self.returns_sequences else last_of(states)
        courses = self.courses(dataclasses.replace(call, by_hand=by_hand))
        out = dataclasses.replace(self.shown(courses[-1].states["h"], mask), rounded=lost)

        def back(cotangent: Bounded) -> Back:
            cotangent = self.shown_from(cotangent, mask, given.value.shape[1])
            found: list[Back] = []
            for course in reversed(courses):
                found.insert(0, course.back({"h": cotangent}))
                cotangent = found[0].x
            return self.back_of(found, found[0].x)

        return Pass(out, back, courses)

    def returned(self, call: Call, passed: Pass) -> list[Bounded]:
        """Its output, and where it returns them the states that each of its parts ends with."""
        each = self.outputs(call, passed)
        zeros = self.backward_part is not None or self.option("zero_output_for_mask")
        if call.starts and call.given.mask is not None and not zeros:  # or where it starts from
            none_yet = shown_as_zero(self.in_order(call.given.mask), False)
            unknown = none_yet if self.returns_sequences else none_yet[:, -1]
            each = [call.with_unbegun(number, unknown) for number in each]
        if not self.returns_state:
            return each
        states = (state for course in passed.courses for state in course.states.values())
        return [*each, *(state.each(last_of) for state in states)]

    def outputs(self, call: Call, passed: Pass) -> list[Bounded]:
        """What each layer in it puts out."""
        return [passed.out.handed_on.number]

    def compared(
        self,
        call: Call,
        weights: dict[str, Array],
        output: Array,
        dtype: str,
        beside: Sequence[Array] = (),
    ) -> Iterator[Comparison]:
        yield from super().compared(call, weights, output, dtype, beside)
        yield from self.ends_compared(call, beside)

    def shows(self, what: str, got: Array, call: Call, who: str = "step") -> Comparison:
        """Before the first step that counts a subject may show zeros or the state that it starts
        from."""
        signal, mask = self.passed(call).out, call.given.mask
        zeros = bounded(what, got, signal.number, who)
        if zeros.ok or mask is None or not call.starts:
            return zeros
        if self.backward_part is not None or self.option("zero_output_for_mask"):
            return zeros
        start = call.starts[-len(self.recurrences[-1][1].states)]
        none_yet = shown_as_zero(self.in_order(mask), False)  # (B,T,1)
        if self.returns_sequences:
            start = start.each(lambda part: part[:, None])
        else:
            none_yet = none_yet[:, -1]
        found = bounded(what, got, where(none_yet, start, signal.number), who)
        return found if found.ok else zeros

    def ends_compared(self, call: Call, beside: Sequence[Array]) -> Iterator[Comparison]:
        """The states that it returned beside its output."""
        if not self.returns_state:
            return
        for (name, state), got in zip(self.ends(call).items(), beside, strict=True):
            yield bounded(f"{name} of {self.name}", got, state)

    def carried_error(self, signal: Signal, mask: Array | None) -> Array:
        if mask is None or not self.option("zero_output_for_mask"):
            return signal.error
        return carried(signal.error, self.in_order(mask))


class Recurrent(Carrying, Recurrence, frozen=True):
    """What a layer of one recurrence takes.  A key left out is not passed: its default holds.

    activation: Keras's name; "None" passes None, "callable NAME" a Python function that is NAME.
    """

    return_sequences: Flag = msgspec.UNSET
    return_state: Flag = msgspec.UNSET
    go_backwards: Flag = msgspec.UNSET
    stateful: Flag = msgspec.UNSET
    unroll: Flag = msgspec.UNSET
    zero_output_for_mask: Flag = msgspec.UNSET
    trainable: Flag = msgspec.UNSET
    dropout: Number | msgspec.UnsetType = msgspec.UNSET
    recurrent_dropout: Number | msgspec.UnsetType = msgspec.UNSET
    seed: Seed | msgspec.UnsetType = msgspec.UNSET
    kernel_initializer: Initializer = msgspec.UNSET
    recurrent_initializer: Initializer = msgspec.UNSET
    bias_initializer: Initializer = msgspec.UNSET
    kernel_regularizer: Regularizer = msgspec.UNSET
    recurrent_regularizer: Regularizer = msgspec.UNSET
    bias_regularizer: Regularizer = msgspec.UNSET
    activity_regularizer: Regularizer = msgspec.UNSET
    kernel_constraint: Constraint = msgspec.UNSET
    recurrent_constraint: Constraint = msgspec.UNSET
    bias_constraint: Constraint = msgspec.UNSET

    reach = Recurrence.reach

    def compared(
        self,
        call: Call,
        weights: dict[str, Array],
        output: Array,
        dtype: str,
        beside: Sequence[Array] = (),
    ) -> Iterator[Comparison]:
        """Step by step, where it shows its states."""
        if not self.returns_sequences:
            yield from super().compared(call, weights, output, dtype, beside)
            return
        told: dict[str, Any] = {"x": call.given.value, "bias": None, **weights, **self.definition}
        shown, mask = output, call.given.mask
        if mask is not None and self.option("zero_output_for_mask"):
            yield zeros(output, self.in_order(mask))
            shown = carried(output, self.in_order(mask))
        if call.starts:
            values = tuple(start.value for start in call.starts)
            told["initial_state"] = values if len(values) > 1 else values[0]
        if self.returns_state and len(beside) > 1:
            told["cell_states"] = beside[1]
        found = public.certify(
            shown, mask=mask, go_backwards=self.option("go_backwards"), dtype=dtype, **told
        )
        yield step(f"states of {self.name}", found, axes(output))
        yield from self.ends_compared(call, beside)


class SimpleRNN(Recurrent, frozen=True, tag_field="kind", tag="SimpleRNN"):
    """Keras's layer of that name."""

    name: Name = "simple_rnn"


class LSTM(LongShortTerm, Recurrent, frozen=True, tag_field="kind", tag="LSTM"):
    """Keras's layer of that name."""

    name: Name = "lstm"
    recurrent_activation: str | msgspec.UnsetType = msgspec.UNSET
    unit_forget_bias: Flag = msgspec.UNSET
    implementation: Implementation = msgspec.UNSET
    use_cudnn: UseCudnn = msgspec.UNSET


class GRU(GatedUnit, Recurrent, frozen=True, tag_field="kind", tag="GRU"):
    """Keras's layer of that name."""

    name: Name = "gru"
    recurrent_activation: str | msgspec.UnsetType = msgspec.UNSET
    reset_after: Flag = msgspec.UNSET
    implementation: Implementation = msgspec.UNSET
    use_cudnn: UseCudnn = msgspec.UNSET


AnyRecurrent = SimpleRNN | LSTM | GRU  # what a Bidirectional layer may be over
LETTERS = {each.letters.kind: each.letters for each in get_args(AnyRecurrent)}


class RNN(Carrying, frozen=True, tag_field="kind", tag="RNN"):
    """Keras's RNN over one cell, or over several stacked ones (StackedRNNCells)."""

    cell: Cell | list[Cell]
    name: Name = "rnn"
    return_sequences: Flag = msgspec.UNSET
    return_state: Flag = msgspec.UNSET
    go_backwards: Flag = msgspec.UNSET
    unroll: Flag = msgspec.UNSET
    zero_output_for_mask: Flag = msgspec.UNSET

    @property
    def cells(self) -> list[Cell]:
        return self.cell if isinstance(self.cell, list) else [self.cell]

    @property
    def units(self) -> int:
        return self.cells[-1].units

    @property
    def takes_start(self) -> bool:
        return len(self.cells) == 1

    def parts(self, features: int) -> list[tuple[str, Part, int]]:
        sizes = [features, *(cell.units for cell in self.cells)]
        names = [f"cell_{i}." for i in range(len(sizes))] if isinstance(self.cell, list) else [""]
        return list(zip(names, self.cells, sizes, strict=False))
