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
    Cotangent,
    Pass,
    Signal,
    known,
)
from rnn_check.claims.tables import Flag, Name, Number, Rows, Size
from rnn_check.numbers import bounded as numbers
from rnn_check.numbers import formats
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
        own |= {"activation": self.function, "arithmetic": call.arithmetic}
        ran = dense.RunningDense(given.value, given.error, **own)

        def back(cotangent: Cotangent) -> Back:
            c, off = cotangent
            found = ran.gradients(c, np.zeros_like(c) if off is None else off, rounded)
            of = {n: (getattr(found[0], n), getattr(found[1], n)) for n in ("h", "kernel", "bias")}
            return Back(of.pop("h"), of)

        return Pass(Signal(ran.output, ran.bound, given.mask, rounded), back)


class Masking(Layer, frozen=True, tag_field="kind", tag="Masking"):
    """Masks the timesteps whose features all equal mask_value."""

    makes_mask: ClassVar[bool] = True
    name: Name = "masking"
    mask_value: Number = 0

    def passed(self, call: Call) -> Pass:
        """Both are compared, and what counts is handed on, as the arithmetic stores them."""
        given, a = call.given, formats.arithmetic(call.arithmetic)
        padding = formats.rounded(float(self.mask_value), a)
        mask = (formats.rounded(given.value, a) != padding).any(axis=-1)
        shown = mask[..., None]
        stored = 2 * a.u_stored * np.abs(given.value) + a.min_normal
        error = given.error + np.where(formats.held(given.value, a), 0.0, stored)

        def back(cotangent: Cotangent) -> Back:
            c = known(cotangent, call.arithmetic)
            return Back((c.value * shown, c.error * shown))

        value = np.where(shown, given.value, 0.0)
        return Pass(Signal(value, np.where(shown, error, 0.0), mask), back)


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
        held = numbers._given(value, error, formats.arithmetic(call.arithmetic), rounded=True)
        mask = given.value != 0 if self.option("mask_zero") else None

        def back(cotangent: Cotangent) -> Back:
            """Of each row the sum, in any order, of what reaches the steps that look it up."""
            c, table = known(cotangent, call.arithmetic), call.weights["embeddings"][0]
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
            nothing = np.zeros_like(given.value)
            return Back((nothing, nothing), {"embeddings": (total, np.where(n > 1, bound, 0.0))})

        return Pass(Signal(held.value, held.error, mask), back)
