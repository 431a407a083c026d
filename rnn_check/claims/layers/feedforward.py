"""Which keys do the layers take that carry no state, and what do they hold?"""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec
import numpy as np

from rnn_check.certificates import layer as certificates_layer
from rnn_check.claims.layers.layer import Constraint, Layer, Regularizer, Shapes
from rnn_check.claims.layers.signal import (
    Back,
    Call,
    Pass,
    Signal,
)
from rnn_check.claims.tables import Flag, Name, Number, Rows, Size
from rnn_check.claims.written import Array
from rnn_check.numbers import formats
from rnn_check.numbers.bounded import Bounded, _given, exactly
from rnn_check.recurrences import dense


class Dense(Layer, frozen=True, tag_field="kind", tag="Dense"):
    """The article's output layer, o = h·V + c."""

    units: Size
    name: Name = "dense"
    activation: str | msgspec.UnsetType = msgspec.UNSET
    use_bias: Flag = msgspec.UNSET
    trainable: Flag = msgspec.UNSET
    kernel_regularizer: Regularizer = msgspec.UNSET
    bias_regularizer: Regularizer = msgspec.UNSET
    activity_regularizer: Regularizer = msgspec.UNSET
    kernel_constraint: Constraint = msgspec.UNSET
    bias_constraint: Constraint = msgspec.UNSET

    @property
    def reach(self) -> tuple[float, float]:
        return certificates_layer.reach_of(self.function)

    def own_shapes(self, features: int) -> Shapes:
        bias = {"bias": (self.units,)} if self.option("use_bias") else {}
        return {"kernel": (features, self.units), **bias}

    def passed(self, call: Call) -> Pass:
        given, rounded = call.given, call.by_hand.get("output", 0.0)
        own: dict[str, Any] = {name: value for name, (value, _) in call.weights.items()}
        own["errors"] = {name: error for name, (_, error) in call.weights.items()}
        own |= {"activation": self.function, "arithmetic": call.a}
        ran = dense.RunningDense(given.value, given.error, **own)

        def back(cotangent: Bounded) -> Back:
            found = ran.gradients(cotangent.value, cotangent.error, rounded)
            h, kernel, bias = (Bounded(*both, call.a) for both in zip(*found, strict=True))
            return Back(h, {"kernel": kernel, "bias": bias})

        return Pass(Signal(Bounded(ran.output, ran.bound, call.a), given.mask, rounded), back)


class Masking(Layer, frozen=True, tag_field="kind", tag="Masking"):
    """Masks the timesteps whose features all equal mask_value."""

    makes_mask: ClassVar[bool] = True
    name: Name = "masking"
    mask_value: Number = 0

    def passed(self, call: Call) -> Pass:
        """Both are compared, and what counts is handed on, as the arithmetic stores them."""
        given, a = call.given, call.a
        padding = formats.rounded(float(self.mask_value), a)
        mask = (formats.rounded(given.value, a) != padding).any(axis=-1)
        shown = mask[..., None]
        stored = 2 * a.u_stored * np.abs(given.value) + a.min_normal
        kept = formats.held(given.value, a) & ~(np.abs(given.value) < a.min_normal)
        stored = np.where(kept, 0.0, stored)  # what counts is multiplied by 1, which may flush it
        stored[given.value == 0] = 0.0

        def what_counts(number: Bounded) -> Bounded:
            return number.each(lambda part: np.where(shown, part, 0.0))

        out = Signal(what_counts(given.number.off_by(stored)), mask)
        return Pass(out, lambda cotangent: Back(what_counts(cotangent.known)))

    def is_doubtful(self, x: Array, a: formats.Arithmetic) -> bool:
        """Whether some step counts unless subnormal numbers are taken for zeros, as some do."""

        def counts(flushed: bool) -> Array:
            given, padding = (formats.rounded(part, a) for part in (x, float(self.mask_value)))
            if flushed:
                given, padding = (p * (np.abs(p) >= a.min_normal) for p in (given, padding))
            return np.asarray((given != padding).any(axis=-1))

        return bool((counts(True) != counts(False)).any())


class Embedding(Layer, frozen=True, tag_field="kind", tag="Embedding"):
    """Rows of a table; with mask_zero, index 0 is padding."""

    makes_mask: ClassVar[bool] = True
    input_dim: Rows
    output_dim: Size
    name: Name = "embedding"
    mask_zero: Flag = msgspec.UNSET

    @property
    def units(self) -> int:
        return self.output_dim

    @property
    def width(self) -> int:
        return self.units

    def own_shapes(self, features: int) -> Shapes:
        return {"embeddings": (self.input_dim, self.output_dim)}

    def shape_after(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return (*shape, self.units)

    def passed(self, call: Call) -> Pass:
        given, rows = call.given, call.given.value.astype(np.int64)
        value, error = (part[rows] for part in call.weights["embeddings"])
        held = _given(value, error, call.a, rounded=True)
        mask = given.value != 0 if self.option("mask_zero") else None

        def back(cotangent: Bounded) -> Back:
            """Of each row the sum, in any order, of what reaches the steps that look it up."""
            c, table = cotangent.known, call.weights["embeddings"].value
            sums = [np.zeros_like(table) for _ in range(3)]
            for total, part in zip(sums, (c.value, c.most, c.error), strict=True):
                np.add.at(total, rows.ravel(), part.reshape(-1, self.units))
            total, most, off = sums
            n = np.bincount(rows.ravel(), minlength=len(table))[:, None] + 1
            u = (n * c.a.u_stored, n * 2.0**-53)
            relative = sum(np.where(each < 1, each / (1 - each), np.inf) for each in u)
            bound = (off + relative * most) * (1 + 2.0**-40) + 2 * n * c.a.min_normal
            known_to_fit = most + bound <= c.a.max  # False of NaN, too
            bound = np.where(known_to_fit, bound, np.inf)
            found = Bounded(total, np.where(n > 1, bound, 0.0), call.a)
            return Back(exactly(np.zeros_like(given.value), call.a), {"embeddings": found})

        return Pass(Signal(held, mask), back)
