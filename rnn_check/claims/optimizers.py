"""How did the author train: what were `compile` and `fit` given?

Each class is the [training] of one optimizer; its keys are Keras's, and so are its defaults.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal
from itertools import pairwise
from typing import Annotated, Any, ClassVar

import msgspec

from rnn_check.claims.tables import MOST_EPOCHS, MOST_WEIGHTS, Flag, Number, Numbers, Table
from rnn_check.recurrences import optimizers, schedules

Option = Number | msgspec.UnsetType
Count = Annotated[int, msgspec.Meta(ge=0, le=MOST_WEIGHTS)]
Several = Annotated[int, msgspec.Meta(ge=2, le=MOST_WEIGHTS)]
Some = Annotated[int, msgspec.Meta(ge=1, le=MOST_WEIGHTS)]
# and not of the optimizer
_OF_FIT = ("epochs", "batch_size", "sample_weight", "class_weight", "reset_states")
_CLIPS = ("clipnorm", "clipvalue", "global_clipnorm")
_SHARE = "expected a number from 0 to less than 1, got {}"
_POSITIVE = "expected a positive number of a float64's range, got {}"


def _is_positive(value: Number) -> bool:
    return Decimal(value).is_finite() and 0 < float(value) < float("inf")


def _is_share(value: Number) -> bool:
    return Decimal(value).is_finite() and 0 <= float(value) < 1


# --- learning rates -------------------------------------------------------------------------------


class ScheduleTable(Table, frozen=True, tag_field="kind"):
    """A learning rate for each update, as Keras has it by that name."""

    @property
    def given(self) -> dict[str, Any]:
        """What it is given, as it was written."""
        named = ((name, getattr(self, name)) for name in self.__struct_fields__)
        return {name: _plain(value) for name, value in named if value is not msgspec.UNSET}

    @property
    def schedule(self) -> schedules.Schedule:
        """What it computes."""
        given = {n: tuple(v) if isinstance(v, list) else v for n, v in self.given.items()}
        return schedules.SCHEDULES[str(self.__struct_config__.tag)](**given)

    def problems(self) -> Iterator[tuple[str, str]]:
        """(key, what is wrong with it)."""
        for name in ("initial_learning_rate", "decay_rate", "warmup_target"):
            value = getattr(self, name, msgspec.UNSET)
            if value is not msgspec.UNSET and not _is_positive(value):
                yield name, _POSITIVE.format(value)


class ExponentialDecayTable(ScheduleTable, frozen=True, tag="ExponentialDecay"):
    """It decays by a power."""

    initial_learning_rate: Number
    decay_steps: Some
    decay_rate: Number
    staircase: Flag = msgspec.UNSET


class CosineDecayTable(ScheduleTable, frozen=True, tag="CosineDecay"):
    """It decays by half a wave."""

    initial_learning_rate: Number
    decay_steps: Some
    alpha: Option = msgspec.UNSET
    warmup_target: Option = msgspec.UNSET
    warmup_steps: Some | msgspec.UnsetType = msgspec.UNSET

    def problems(self) -> Iterator[tuple[str, str]]:
        yield from super().problems()
        if not isinstance(self.alpha, msgspec.UnsetType) and not _is_share(self.alpha):
            yield "alpha", _SHARE.format(self.alpha)
        given = (self.warmup_target is msgspec.UNSET, self.warmup_steps is msgspec.UNSET)
        if given in ((True, False), (False, True)):
            yield "warmup_steps", "expected both warmup_target and warmup_steps, or neither"


class PiecewiseConstantDecayTable(ScheduleTable, frozen=True, tag="PiecewiseConstantDecay"):
    """It is a number until each boundary."""

    boundaries: Annotated[list[Count], msgspec.Meta(min_length=1, max_length=64)]
    values: Annotated[list[Number], msgspec.Meta(max_length=65)]

    def problems(self) -> Iterator[tuple[str, str]]:
        if len(self.values) != len(self.boundaries) + 1:
            wanted = len(self.boundaries) + 1
            yield "values", f"expected {wanted}, one more than boundaries, got {len(self.values)}"
        if any(low >= high for low, high in pairwise(self.boundaries)):
            yield "boundaries", f"expected them to grow, got {self.boundaries}"
        for index, value in enumerate(self.values):
            if not _is_positive(value):
                yield f"values[{index}]", _POSITIVE.format(value)


AnySchedule = ExponentialDecayTable | CosineDecayTable | PiecewiseConstantDecayTable


def _plain(value: Any) -> Any:
    """As it is handed on: decimals as floats."""
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if isinstance(value, ScheduleTable):
        return {"kind": str(value.__struct_config__.tag), **value.given}
    return float(value) if isinstance(value, Decimal) else value


# --- optimizers -----------------------------------------------------------------------------------


class Training(Table, frozen=True, tag_field="optimizer"):
    """What every optimizer takes; the samples are not shuffled.

    batch_size: all samples if it is not given, and not Keras's 32. sample_weight (B,), or (B,T) of
    each timestep; class_weight: by the class of each sample's target, and 1 of others.
    reset_states: of stateful layers, when an epoch ends.
    """

    learning_rate: Number | AnySchedule
    epochs: Annotated[int, msgspec.Meta(ge=1, le=MOST_EPOCHS)]
    batch_size: Annotated[int, msgspec.Meta(ge=1, le=MOST_WEIGHTS)] | None = None
    sample_weight: Numbers = None
    class_weight: dict[str, Number] | None = None
    reset_states: Flag = msgspec.UNSET
    weight_decay: Option = msgspec.UNSET
    clipnorm: Option = msgspec.UNSET
    clipvalue: Option = msgspec.UNSET
    global_clipnorm: Option = msgspec.UNSET
    use_ema: Flag = msgspec.UNSET
    ema_momentum: Option = msgspec.UNSET
    ema_overwrite_frequency: Some | msgspec.UnsetType = msgspec.UNSET
    gradient_accumulation_steps: Several | msgspec.UnsetType = msgspec.UNSET

    below_one: ClassVar[tuple[str, ...]] = ("ema_momentum",)  # from 0 to less than 1
    refused: ClassVar[dict[str, str]] = {
        "loss_scale_factor": "no update with loss_scale_factor is derived here; leave [training] "
        "out, and mark what it ended with `not_run`"
    }

    @property
    def kind(self) -> str:
        return str(self.__struct_config__.tag)

    @property
    def given(self) -> dict[str, Any]:
        """The optimizer's keys that were written."""
        names = [n for n in self.__struct_fields__ if n not in _OF_FIT]
        named = {name: getattr(self, name) for name in names}
        return {name: value for name, value in named.items() if value is not msgspec.UNSET}

    @property
    def options(self) -> dict[str, Any]:
        """What the optimizer is given, as it was written; where Keras wants floats, floats."""
        counts = ("ema_overwrite_frequency", "gradient_accumulation_steps")
        return {
            name: value
            if isinstance(value, bool) or name in counts
            else _plain(value)
            if isinstance(value, ScheduleTable)
            else float(value)
            for name, value in self.given.items()
        }

    @property
    def optimizer(self) -> optimizers.Optimizer:
        """What it computes."""
        options = self.options
        if isinstance(self.learning_rate, ScheduleTable):
            options["learning_rate"] = self.learning_rate.schedule
        return optimizers.OPTIMIZERS[self.kind](**options)

    @property
    def is_weighted(self) -> bool:
        """Whether samples weigh in the loss."""
        return self.sample_weight is not None or self.class_weight is not None

    def updates(self, samples: int) -> int:
        """How many batches there are in all epochs."""
        return self.epochs * -(-samples // (self.batch_size or samples))

    def problems(self) -> Iterator[tuple[str, str]]:
        """(key, what is wrong with it)."""
        given = self.given
        for key, value in given.items():
            if isinstance(value, ScheduleTable):
                yield from ((f"{key}.{inner}", problem) for inner, problem in value.problems())
            elif isinstance(value, bool):
                continue
            elif key in self.below_one:
                if not _is_share(value):
                    yield key, _SHARE.format(Decimal(value))
            elif not _is_positive(value):
                yield key, _POSITIVE.format(Decimal(value))
        for key, weight in (self.class_weight or {}).items():
            if not re.fullmatch("0|[1-9][0-9]{0,5}", key):
                yield f"class_weight.{key}", "expected the number of a class: 0, 1, 2, ..."
            if not (Decimal(weight).is_finite() and 0 <= float(weight) < float("inf")):
                yield f"class_weight.{key}", f"expected a finite number of 0 or more, got {weight}"
        if self.class_weight == {}:
            yield "class_weight", "expected the weight of a class at least, as { 0 = 1, 1 = 2.5 }"
        if self.class_weight is not None and self.sample_weight is not None:
            yield "class_weight", "expected it or sample_weight, as Keras does"
        for key in [key for key in _CLIPS if key in given][1:]:
            yield key, f"expected one of {', '.join(_CLIPS)} at most, as Keras does"
        averages = [key for key in given if key.startswith("ema_")]
        if averages and not given.get("use_ema"):
            yield averages[0], "expected use_ema = true, without which it changes nothing"


class SGDTraining(Training, frozen=True, tag="SGD"):
    """By gradient descent."""

    momentum: Option = msgspec.UNSET
    nesterov: Flag = msgspec.UNSET

    below_one: ClassVar[tuple[str, ...]] = (*Training.below_one, "momentum")


class RMSpropTraining(Training, frozen=True, tag="RMSprop"):
    """By gradients divided by the root of the running mean of their squares."""

    rho: Option = msgspec.UNSET
    momentum: Option = msgspec.UNSET
    epsilon: Option = msgspec.UNSET
    centered: Flag = msgspec.UNSET

    below_one: ClassVar[tuple[str, ...]] = (*Training.below_one, "rho", "momentum")


class AdamTraining(Training, frozen=True, tag="Adam"):
    """By running means of gradients and of their squares."""

    beta_1: Option = msgspec.UNSET
    beta_2: Option = msgspec.UNSET
    epsilon: Option = msgspec.UNSET
    amsgrad: Flag = msgspec.UNSET

    below_one: ClassVar[tuple[str, ...]] = (*Training.below_one, "beta_1", "beta_2")


class AdamWTraining(AdamTraining, frozen=True, tag="AdamW"):
    """The same, and the weights decay."""


AnyTraining = AdamTraining | AdamWTraining | SGDTraining | RMSpropTraining
