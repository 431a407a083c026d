"""How did the author train: what were `compile` and `fit` given?

Each class is the [training] of one optimizer; its keys are Keras's, and so are its defaults.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Annotated, Any, ClassVar

import msgspec

from rnn_check.claims.tables import MOST_EPOCHS, MOST_WEIGHTS, Flag, Number, Table
from rnn_check.recurrences import optimizers

Option = Number | msgspec.UnsetType
_NOT_DERIVED = (
    *("weight_decay", "clipnorm", "clipvalue", "global_clipnorm", "use_ema", "ema_momentum"),
    *("ema_overwrite_frequency", "loss_scale_factor", "gradient_accumulation_steps"),
)  # of Keras's keys


class Training(Table, frozen=True, tag_field="optimizer"):
    """What every optimizer takes; the samples are not shuffled.

    batch_size: all samples if it is not given, and not Keras's 32.
    """

    learning_rate: Number
    epochs: Annotated[int, msgspec.Meta(ge=1, le=MOST_EPOCHS)]
    batch_size: Annotated[int, msgspec.Meta(ge=1, le=MOST_WEIGHTS)] | None = None
    below_one: ClassVar[tuple[str, ...]] = ()  # options from 0 to less than 1
    refused: ClassVar[dict[str, str]] = {
        key: f"no update with {key} is derived here; leave [training] out, and mark what it ended "
        "with `not_run`"
        for key in _NOT_DERIVED
    }

    @property
    def kind(self) -> str:
        return str(self.__struct_config__.tag)

    @property
    def options(self) -> dict[str, Any]:
        """What the optimizer is given, as it was written."""
        names = [n for n in self.__struct_fields__ if n not in ("epochs", "batch_size")]
        given = {name: getattr(self, name) for name in names}
        return {
            name: value if isinstance(value, bool) else float(value)
            for name, value in given.items()
            if value is not msgspec.UNSET
        }

    @property
    def optimizer(self) -> optimizers.Optimizer:
        """What it computes."""
        return optimizers.OPTIMIZERS[self.kind](**self.options)

    def updates(self, samples: int) -> int:
        """How many there are in all epochs."""
        return self.epochs * -(-samples // (self.batch_size or samples))

    def problems(self) -> Iterator[tuple[str, str]]:
        """(key, what is wrong with it)."""
        for key, value in self.options.items():
            if isinstance(value, bool):
                continue
            written = Decimal(getattr(self, key))
            if key in self.below_one:
                if not (written.is_finite() and 0 <= value < 1):
                    yield key, f"expected a number from 0 to less than 1, got {written}"
            elif not (written.is_finite() and 0 < value < float("inf")):
                yield key, f"expected a positive number of a float64's range, got {written}"


class SGDTraining(Training, frozen=True, tag="SGD"):
    """By gradient descent."""

    momentum: Option = msgspec.UNSET
    nesterov: Flag = msgspec.UNSET

    below_one: ClassVar[tuple[str, ...]] = ("momentum",)


class RMSpropTraining(Training, frozen=True, tag="RMSprop"):
    """By gradients divided by the root of the running mean of their squares."""

    rho: Option = msgspec.UNSET
    momentum: Option = msgspec.UNSET
    epsilon: Option = msgspec.UNSET
    centered: Flag = msgspec.UNSET

    below_one: ClassVar[tuple[str, ...]] = ("rho", "momentum")


class AdamTraining(Training, frozen=True, tag="Adam"):
    """By running means of gradients and of their squares."""

    beta_1: Option = msgspec.UNSET
    beta_2: Option = msgspec.UNSET
    epsilon: Option = msgspec.UNSET
    amsgrad: Flag = msgspec.UNSET

    below_one: ClassVar[tuple[str, ...]] = ("beta_1", "beta_2")


AnyTraining = AdamTraining | SGDTraining | RMSpropTraining
