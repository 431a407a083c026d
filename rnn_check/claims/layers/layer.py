"""What does every layer have: options with defaults, parts that hold weights, shapes?

A layer in a claim file is one class, which owns its keys, the shapes of its weights and of its
output, and what Keras does where a key is left out.

Sizes: B batch, T timesteps, F features, H units.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, ClassVar

import msgspec

from rnn_check.certificates.comparison import Comparison
from rnn_check.claims.layers.signal import (
    Call,
    Pass,
    Signal,
    bounded,
)
from rnn_check.claims.tables import Table
from rnn_check.claims.written import Array
from rnn_check.numbers.bounded import Bounded

Shapes = dict[str, tuple[int, ...]]


def _one_of(family: str) -> msgspec.Meta:
    return msgspec.Meta(extra_json_schema={"$ref": f"#/$defs/{family}"})


Initializer = Annotated[Any, _one_of("initializer")]
Regularizer = Annotated[Any, _one_of("regularizer")]
Constraint = Annotated[Any, _one_of("constraint")]


def described(option: Any) -> dict[str, Any] | None:
    """{"kind": class, its arguments} of a regularizer or a constraint; None if there is none."""
    if option is msgspec.UNSET or option in (None, "None"):
        return None
    return option if isinstance(option, dict) else {"kind": option}


def penalizes_outputs(layer: Layer) -> bool:
    """Whether it has an activity_regularizer."""
    return described(getattr(layer.inner, "activity_regularizer", None)) is not None


class Part(Table, frozen=True):
    """What has options: a layer, or a cell inside one.

    defaults: Keras's of boolean options; those that are not named here are False.
    """

    defaults: ClassVar[dict[str, bool]] = {"use_bias": True, "trainable": True}
    default_activation: ClassVar[str] = "linear"

    @property
    def gates(self) -> int:
        """How many kernels stand side by side in one."""
        return 1

    def option(self, name: str) -> bool:
        """The value of a boolean option, Keras's default if the claim leaves it out."""
        value = getattr(self, name, msgspec.UNSET)
        return self.defaults.get(name, False) if value is msgspec.UNSET else bool(value)

    @property
    def function(self) -> str:
        """Its activation."""
        return self._function("activation", self.default_activation)

    def _function(self, key: str, default: str) -> str:
        given = getattr(self, key, msgspec.UNSET)
        if given is msgspec.UNSET:
            return default
        name: str = given.removeprefix("callable ")
        return "linear" if name == "None" else name

    def weight_shapes(self, features: int) -> Shapes:
        """The shapes of its weights by path: "kernel", "forward.bias", "cell_0.kernel"."""
        return {
            prefix + name: shape
            for prefix, part, fan_in in self.parts(features)
            for name, shape in part.own_shapes(fan_in).items()
        }

    def holder(self, path: str) -> Part:
        """The layer or cell that holds the weight of that path."""
        return next(part for prefix, part, _ in self.parts(1) if path.startswith(prefix))

    def own_shapes(self, features: int) -> Shapes:
        """The shapes of the weights that it holds itself."""
        return {}

    def parts(self, features: int) -> list[tuple[str, Part, int]]:
        """The layers or cells that hold its weights: (prefix of their paths, part, features)."""
        return [("", self, features)]

    @property
    def width(self) -> int:
        """How many numbers it puts out or computes at a timestep, to limit them."""
        return sum(part.gates * getattr(part, "units", 0) for _, part, _ in self.parts(1))


class Layer(Part, frozen=True):
    """What stands in [layer] or [[layers]].

    is_recurrent: whether it carries a state.
    """

    is_recurrent: ClassVar[bool] = False

    @property
    def puts_out_two(self) -> bool:
        """Whether it returns two arrays, which are told and claimed side by side."""
        return False

    @property
    def name(self) -> str:
        """As the claim calls it; of each class a key, with Keras's own name for a default."""
        raise NotImplementedError

    @property
    def inner(self) -> Part:
        """The layer that it wraps; itself if it wraps none."""
        return self

    @property
    def options(self) -> tuple[str, ...]:
        """The keys of its description that Keras takes."""
        return tuple(name for name in self.__struct_fields__ if name not in ("units", "name"))

    @property
    def returns_sequences(self) -> bool:
        """Whether (B,T,...) goes in and (B,T,...) comes out."""
        return not self.is_recurrent or self.inner.option("return_sequences")

    @property
    def returns_state(self) -> bool:
        return self.inner.option("return_state")

    @property
    def is_trainable(self) -> bool:
        return self.inner.option("trainable")

    def features_after(self, features: int) -> int:
        """The size of its output's last axis."""
        units: int = getattr(self, "units", features)
        return units

    def shape_after(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of its output, without the batch."""
        kept = shape[:-1] if self.returns_sequences else ()
        return (*kept, self.features_after(shape[-1]))

    # what it computes

    @property
    def reach(self) -> tuple[float, float]:
        """Between which numbers its output lies, whatever its weights are."""
        return -math.inf, math.inf

    def passed(self, call: Call) -> Pass:
        """What it makes of what it is given, in float64, how far the arithmetic may be off, and the
        same of the way back."""
        raise NotImplementedError

    def returned(self, call: Call, passed: Pass) -> list[Bounded]:
        """All that the call gives back, of which an activity_regularizer is."""
        return [passed.out.handed_on.number]

    makes_mask: ClassVar[bool] = False  # whether it masks by what it is given

    def mask_after(self, mask: Array | None) -> Array | None:
        """The mask (B,T) that it hands on, of a layer that makes none itself."""
        return mask if self.returns_sequences else None

    def compared(
        self,
        call: Call,
        weights: dict[str, Array],
        output: Array,
        dtype: str,
        beside: Sequence[Array] = (),
    ) -> Iterator[Comparison]:
        """Its output, as observed, against what was observed of the layer before.

        weights: as they read back, those of the call. beside: the states that it returned beside
        its output.
        """
        yield self.shows(f"output of {self.name}", output, call)

    def shows(self, what: str, got: Array, call: Call, who: str = "step") -> Comparison:
        """What is observed of it, called `what`, against what it should hand on."""
        return bounded(what, got, self.passed(call).out.number, who)

    def carried_error(self, signal: Signal, mask: Array | None) -> Array:
        """How far off its states may be, of what it hands on and the mask that it was given."""
        return signal.error
