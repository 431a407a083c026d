"""Which keys do the layers take that wrap another, and what do they hold?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Self

import msgspec
import numpy as np

from rnn_check.claims.layers.feedforward import Dense
from rnn_check.claims.layers.layer import Layer, Part
from rnn_check.claims.layers.recurrent import GRU, LSTM, Carrying, SimpleRNN
from rnn_check.claims.layers.signal import (
    Back,
    Bounded,
    ByHand,
    Call,
    Cotangent,
    Course,
    Pass,
    Signal,
    each,
    known,
)
from rnn_check.claims.tables import Name
from rnn_check.numbers import formats
from rnn_check.numbers.bounded import exactly, operand
from rnn_check.recurrences import running


class Bidirectional(Carrying, frozen=True, tag_field="kind", tag="Bidirectional"):
    """A recurrent layer and its mirror image, or another that reads backwards; outputs merged."""

    layer: SimpleRNN | LSTM | GRU
    name: Name = "bidirectional"
    merge_mode: Literal["concat", "sum", "mul", "ave", "None"] = "concat"
    backward_layer: SimpleRNN | LSTM | GRU | msgspec.UnsetType = msgspec.UNSET

    @property
    def has_two(self) -> bool:
        """Whether the backward direction is another layer than the mirror image."""
        return not isinstance(self.backward_layer, msgspec.UnsetType)

    @property
    def directions(self) -> tuple[SimpleRNN | LSTM | GRU, SimpleRNN | LSTM | GRU]:
        """The layer of each, forward and backward."""
        own = self.backward_layer
        return self.layer, self.layer if isinstance(own, msgspec.UnsetType) else own

    @property
    def inner(self) -> SimpleRNN | LSTM | GRU:
        return self.layer

    @property
    def merges(self) -> bool:
        """Whether one number is made of two, one of each direction."""
        return self.merge_mode not in ("concat", "None")

    @property
    def puts_out_two(self) -> bool:
        return self.merge_mode == "None"

    @property
    def units(self) -> int:
        forward, backward = (layer.units for layer in self.directions)
        return forward if self.merges else forward + backward

    @property
    def reach(self) -> tuple[float, float]:
        if self.merges:
            return -np.inf, np.inf
        lowest, highest = zip(*(layer.reach for layer in self.directions), strict=True)
        return min(lowest), max(highest)

    @property
    def takes_start(self) -> bool:
        """Keras hands each direction half of the states, so that both have to have as many."""
        one, other = ([layer.units] * len(layer.states) for layer in self.directions)
        return one == other

    @property
    def backward_part(self) -> int:
        return 1

    def parts(self, features: int) -> list[tuple[str, Part, int]]:
        sides = zip(("forward", "backward"), self.directions, strict=True)
        return [(f"{side}.", layer, features) for side, layer in sides]

    def by_hand_of(self, index: int, by_hand: ByHand) -> running.ByHand:
        """Of merged states neither is printed."""
        own, output = dict(by_hand), by_hand.get("output")
        own.pop("output", None)
        if output is not None and self.returns_sequences and not self.merges:
            units = self.layer.units
            part = output[:, ::-1, units:] if index else output[..., :units]
            own.setdefault(f"{self.recurrences[index][0]}states", part)
        return super().by_hand_of(index, own)

    def returning_sequences(self) -> Self:
        forward, backward = (
            msgspec.structs.replace(layer, return_sequences=True) for layer in self.directions
        )
        own = {"backward_layer": backward} if self.has_two else {}
        return msgspec.structs.replace(self, layer=forward, **own)

    def passed(self, call: Call) -> Pass:
        """The merged outputs: one more rounding of a sum or a product, none of a concatenation.

        A sequence has zeros at the steps that are skipped, whatever zero_output_for_mask is: so
        Keras says of Bidirectional.
        """
        arithmetic, by_hand = call.arithmetic, call.by_hand
        mask, sequence = call.given.mask, self.returns_sequences
        masks = [mask, None if mask is None else mask[:, ::-1]]
        courses = self.courses(call)
        sides = self._sides(call, courses)
        value, error = self._merged(sides, arithmetic)

        def back(cotangent: Cotangent) -> Back:
            found, T = [], call.given.value.shape[1]
            of_sides = self._to_sides(cotangent, sides, arithmetic)
            for course, own, turned, c, layer in zip(
                courses, masks, (False, sequence), of_sides, self.directions, strict=True
            ):
                c = each(lambda p: p[:, ::-1], c) if turned else c
                found.append(course.back({"h": layer.shown_from(c, own, T, zeros=sequence)}))
            x = known(found[0].x, arithmetic) + known(found[1].x, arithmetic)
            return self.back_of(found, (x.value, x.error))

        out = Signal(value, error, mask if sequence else None, by_hand.get("output", 0.0))
        return Pass(out, back, courses)

    def _sides(self, call: Call, courses: Sequence[Course]) -> list[Bounded]:
        """What each direction shows, in the order of what both were given."""
        mask, sequence = call.given.mask, self.returns_sequences
        masks = [mask, None if mask is None else mask[:, ::-1]]
        sides: list[Bounded] = []
        parts = zip(
            courses, masks, (False, sequence), self.recurrences, self.directions, strict=True
        )
        for course, own, turned, (prefix, _), layer in parts:
            value, error = course.states["h"]
            if self.merges:  # what is printed of one is what is merged
                error = error + call.by_hand.get(f"{prefix}states", 0.0)
            value, error = layer.shown((value, error), own, zeros=sequence).bounded
            sides.append((value[:, ::-1], error[:, ::-1]) if turned else (value, error))
        return sides

    def outputs(self, call: Call, passed: Pass) -> list[Bounded]:
        return self._sides(call, passed.courses)

    def _merged(self, sides: list[Bounded], arithmetic: str) -> Bounded:
        if not self.merges:
            (a, da), (b, db) = sides
            return np.concatenate([a, b], axis=-1), np.concatenate([da, db], axis=-1)
        with np.errstate(all="ignore"):  # of 0 · inf, and of inf - inf, nothing is known
            one, other = (operand(*side, formats.arithmetic(arithmetic)) for side in sides)
            merged = one * other if self.merge_mode == "mul" else one + other
            if self.merge_mode == "ave":
                merged = merged * exactly(np.asarray(0.5), merged.a)
        return merged.value, merged.error

    def _to_sides(
        self, cotangent: Cotangent, sides: list[Bounded], arithmetic: str
    ) -> list[Cotangent]:
        """dL/d of what each direction shows."""
        if not self.merges:
            units = self.layer.units
            forward = each(lambda part: part[..., :units], cotangent)
            return [forward, each(lambda part: part[..., units:], cotangent)]
        if self.merge_mode == "mul":
            c, a = known(cotangent, arithmetic), formats.arithmetic(arithmetic)
            products = [c * operand(*other, a) for other in reversed(sides)]
            return [(product.value, product.error) for product in products]
        if self.merge_mode == "ave":  # exact, but for what is flushed
            c = known(cotangent, arithmetic)
            half = c * exactly(np.asarray(0.5), c.a)
            return [(half.value, half.error)] * 2
        return [cotangent] * 2


class TimeDistributed(Layer, frozen=True, tag_field="kind", tag="TimeDistributed"):
    """A Dense layer at each timestep."""

    layer: Dense
    name: Name = "time_distributed"

    @property
    def inner(self) -> Dense:
        return self.layer

    @property
    def units(self) -> int:
        return self.layer.units

    @property
    def reach(self) -> tuple[float, float]:
        return self.layer.reach

    def parts(self, features: int) -> list[tuple[str, Part, int]]:
        return self.layer.parts(features)

    def passed(self, call: Call) -> Pass:
        return self.layer.passed(call)
